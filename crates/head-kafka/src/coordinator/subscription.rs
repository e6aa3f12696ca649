// SPDX-License-Identifier: Apache-2.0
//! The topics that a member of a consumer group subscribes to, read out of what it gives its leader.
//!
//! Owns: the one layout of a client-side protocol that the broker looks into, and only so far (protocol type `consumer`):
//! ```text
//! version i16 | topics: count i32, { length i16, name } | user data: length i32 (-1: none), bytes | later versions go on
//! ```
//! Every version begins so. What is not laid out so is not known, which is no error: the metadata belongs to the clients.

use crate::wire::{Field, Format, Malformed, Reader, Text};
use bytes::Bytes;

const FORMAT: Format = Format { version: 0, flexible: false };

/// The topics, or `None` where they cannot be read.
pub fn topics(metadata: &Bytes) -> Option<Vec<Text>> {
    let reader = &mut Reader::new(metadata.clone());
    let mut read = || -> Result<Vec<Text>, Malformed> {
        reader.i16()?;
        let topics = Field::read(reader, FORMAT)?;
        reader.byte_string(FORMAT)?;
        Ok(topics)
    };
    read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_whatever_follows_and_nothing_else_is_taken_for_them() {
        let metadata = b"\0\x03\0\0\0\x02\0\x01a\0\x02bb\xff\xff\xff\xff and more";
        assert_eq!(topics(&Bytes::from_static(metadata)), Some(vec![Text::from("a"), Text::from("bb")]));
        for cut in 0..17 {
            assert_eq!(topics(&Bytes::from_static(&metadata[..cut])), None, "{cut}");
        }
        assert_eq!(topics(&Bytes::from_static(b"\0\0\x7f\xff\xff\xff\0\x01a")), None);
    }
}
