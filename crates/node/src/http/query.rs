// SPDX-License-Identifier: Apache-2.0
//! The part of an address behind `?`: a few known names, each at most once.
//!
//! Owns: splitting and decoding. Must not know: which names an operation takes.

/// Reads `name=value&name=value`; only these names are taken.
///
/// # Errors
/// What is wrong, for the asker.
pub fn read(query: &str, names: &[&'static str]) -> Result<Vec<(&'static str, String)>, String> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = names.iter().find(|known| **known == name);
        let Some(known) = known else {
            return Err(format!("unknown parameter {name:?}; known here: {}", names.join(", ")));
        };
        if found.iter().any(|(name, _)| name == known) {
            return Err(format!("{known} is given twice"));
        }
        let value = decoded(value).ok_or_else(|| format!("{known} is not percent-encoded UTF-8"))?;
        found.push((known, value));
    }
    Ok(found)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'%' => {
                let digits = rest.get(..2)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = &rest[2..];
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_read_and_their_values_decoded() {
        let read = |query| read(query, &["limit", "after"]);
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("limit=5&after=a%2Fb+%C3%A4"), Ok(vec![("limit", "5".into()), ("after", "a/b ä".into())]));
        assert_eq!(read("after=a%3Db=c"), Ok(vec![("after", "a=b=c".into())]));
        for wrong in ["lmit=5", "limit=5&limit=6", "after=%", "after=%f", "after=%ff", "after=%+1", "after=%zz"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
