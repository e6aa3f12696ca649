// SPDX-License-Identifier: Apache-2.0
//! What a client says to be let in, in the mechanisms spoken here: PLAIN and AMQPLAIN. Neither has a challenge, so `connection.secure`
//! is never sent. Who is let in is not decided here.
//!
//! PLAIN: `0 | user | 0 | password`. AMQPLAIN, older than the standard mechanisms and still OpenStack's default: a table's fields, without its
//! length, with `LOGIN` and `PASSWORD` in it.

use crate::errors::Refusal;
use crate::wire::{ShortString, Table, Value};
use bytes::Bytes;
use std::fmt;

/// What is announced, in this order. EXTERNAL comes with TLS.
pub const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// Who wants to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub user: ShortString,
    pub password: Secret,
}

/// Something that is in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reads a response.
///
/// # Errors
/// A mechanism that is not announced, or a response that is not one of it.
pub fn credentials(mechanism: &ShortString, response: &Bytes) -> Result<Credentials, Refusal> {
    let (mechanism, credentials) = match mechanism.as_bytes() {
        b"PLAIN" => ("PLAIN", plain(response)),
        b"AMQPLAIN" => ("AMQPLAIN", amqplain(response)),
        _ => return Err(Refusal::UnknownMechanism { mechanism: mechanism.clone() }),
    };
    credentials.ok_or(Refusal::LoginResponse { mechanism })
}

fn plain(response: &Bytes) -> Option<Credentials> {
    let user_and_password = response.strip_prefix(&[0])?;
    let user_bytes = user_and_password.iter().position(|byte| *byte == 0)?;
    let user = ShortString::new(response.slice(1..=user_bytes))?;
    Some(Credentials { user, password: Secret(response.slice(user_bytes + 2..)) })
}

fn amqplain(response: &Bytes) -> Option<Credentials> {
    let fields = Table::new(response.clone()).ok()?;
    let (Some(Value::String(user)), Some(Value::String(password))) = (fields.get("LOGIN"), fields.get("PASSWORD"))
    else {
        return None;
    };
    Some(Credentials { user: ShortString::new(user)?, password: Secret(password) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::TableWriter;
    use proptest::prelude::*;

    fn read(mechanism: &str, response: &[u8]) -> Option<(String, Bytes)> {
        let read = credentials(&mechanism.into(), &Bytes::copy_from_slice(response));
        read.ok().map(|credentials| (credentials.user.to_string(), credentials.password.0))
    }

    fn guest(password: &'static str) -> Option<(String, Bytes)> {
        Some(("guest".to_string(), Bytes::from_static(password.as_bytes())))
    }

    #[test]
    fn both_mechanisms_are_read() {
        assert_eq!(read("PLAIN", b"\0guest\0secret"), guest("secret"));
        assert_eq!(read("PLAIN", b"\0guest\0"), guest(""));
        assert_eq!(read("PLAIN", b"\0guest\0a\0b"), guest("a\0b"));
        let fields = TableWriter::new().string("LOGIN", "guest").string("PASSWORD", "secret").table();
        assert_eq!(read("AMQPLAIN", fields.as_bytes()), guest("secret"));
        let fields =
            TableWriter::new().string("PASSWORD", "secret").string("OTHER", "x").string("LOGIN", "guest").table();
        assert_eq!(read("AMQPLAIN", fields.as_bytes()), guest("secret"));
    }

    #[test]
    fn what_is_not_such_a_response_is_refused() {
        for response in [&b""[..], b"\0", b"\0guest", b"guest\0secret", b"x\0guest\0secret"] {
            assert_eq!(read("PLAIN", response), None, "{response:?}");
        }
        let fields = TableWriter::new().string("LOGIN", "guest").table();
        assert_eq!(read("AMQPLAIN", fields.as_bytes()), None);
        let fields = TableWriter::new().string("LOGIN", "guest").field("PASSWORD", &Value::I32(5)).table();
        assert_eq!(read("AMQPLAIN", fields.as_bytes()), None);
        for mechanism in ["", "plain", "EXTERNAL", "ANONYMOUS", "SCRAM-SHA-256"] {
            assert_eq!(read(mechanism, b"\0guest\0secret"), None, "{mechanism}");
        }
    }

    proptest! {
        #[test]
        fn any_response_is_read_or_refused(response in any::<Vec<u8>>()) {
            read("PLAIN", &response);
            read("AMQPLAIN", &response);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Secret(Bytes::from_static(b"secret"))), "***");
    }
}
