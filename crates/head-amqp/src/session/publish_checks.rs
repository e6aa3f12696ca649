// SPDX-License-Identifier: Apache-2.0
//! What of a publish can be refused by looking at it alone, in RabbitMQ's order.

use crate::errors::{BadExpiration, Refusal};
use crate::wire::methods::BasicPublish;
use crate::wire::{Properties, ShortString, Value};

/// Reads the properties of a publish of `user`.
///
/// # Errors
/// What it is refused with.
pub fn check(publish: &BasicPublish, properties: bytes::Bytes, user: &ShortString) -> Result<Properties, Refusal> {
    if publish.immediate {
        return Err(Refusal::Immediate);
    }
    let properties = Properties::new(properties).map_err(Refusal::Syntax)?;
    if let Some(given) = &properties.user_id
        && given != user
    {
        return Err(Refusal::UserId { given: given.clone(), user: user.clone() });
    }
    if let Some(given) = &properties.expiration {
        expiration_ms(given).map_err(|why| Refusal::Expiration { given: given.clone(), why })?;
    }
    for header in ["CC", "BCC"] {
        let value = properties.headers.as_ref().and_then(|headers| headers.get(header));
        if let Some(value) = value
            && !matches!(value, Value::Array(_))
        {
            return Err(Refusal::HeaderType { header, got: value.type_name() });
        }
    }
    Ok(properties)
}

/// Milliseconds, which the property holds as text. What is larger than any clock is as long as the longest.
///
/// # Errors
/// It is no number, or one below 0.
pub fn expiration_ms(given: &ShortString) -> Result<u64, BadExpiration> {
    let text = given.as_str().ok_or(BadExpiration::NoInteger)?;
    let digits = text.strip_prefix('-').or(text.strip_prefix('+')).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadExpiration::NoInteger);
    }
    match text.parse::<i64>() {
        Ok(negative) if negative < 0 => Err(BadExpiration::Negative(negative)),
        Ok(ms) => Ok(ms.unsigned_abs()),
        Err(_) if text.starts_with('-') => Err(BadExpiration::Negative(i64::MIN)),
        Err(_) => Ok(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiration_is_a_number_in_a_text() {
        let read = |text: &str| expiration_ms(&text.into());
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read("60000"), Ok(60_000));
        assert_eq!(read("99999999999999999999"), Ok(u64::MAX));
        assert_eq!(read("-1"), Err(BadExpiration::Negative(-1)));
        for text in ["", "-", "soon", "1s", " 1", "0x10"] {
            assert_eq!(read(text), Err(BadExpiration::NoInteger), "{text}");
        }
    }
}
