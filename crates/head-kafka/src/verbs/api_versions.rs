// SPDX-License-Identifier: Apache-2.0
//! ApiVersions: the kinds of request spoken here, and their versions.
//!
//! Features are not announced: `transaction.version` and the group features come with what they promise. Clients that miss them
//! use no more than what the versions say.

use super::{Cx, Outcome};
use crate::wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, ErrorCode, Format};

/// `request`: `None` when it came in a version above those known here. It is answered in the layout of version 0, which every
/// client can read, and the client asks again on the same connection.
pub fn answer(cx: &mut Cx<'_>, request: Option<ApiVersionsRequest>) -> Outcome {
    let (format, error) = match request {
        None => (Format { version: 0, flexible: false }, ErrorCode::UnsupportedVersion),
        Some(request)
            if cx.format.version >= 3
                && !(is_software_name(request.client_software_name.as_str())
                    && is_software_name(request.client_software_version.as_str())) =>
        {
            (cx.format, ErrorCode::InvalidRequest)
        }
        Some(_) => (cx.format, ErrorCode::None),
    };
    let range = |key: &ApiKey| ApiVersion {
        api_key: key.number(),
        min_version: *key.announced().start(),
        max_version: *key.announced().end(),
    };
    let api_keys =
        if error == ErrorCode::InvalidRequest { Vec::new() } else { ApiKey::ALL.iter().map(range).collect() };
    let response = ApiVersionsResponse { error_code: error.number(), api_keys, throttle_time_ms: 0 };
    cx.answer_as(format, &response, error.number())
}

/// Letters and digits, and between them dots and dashes.
fn is_software_name(name: &str) -> bool {
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    outer(bytes.first())
        && outer(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_letters_digits_dots_and_dashes() {
        for good in ["apache-kafka-java", "4.3.1", "x"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-x", "x.", "a b", "é", "a_b"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
