// SPDX-License-Identifier: Apache-2.0
//! A short string: up to 255 octets of any kind, mostly a name. A slice of what was received.
//!
//! The specification asks for UTF-8, RabbitMQ takes any octets and gives them back as they were, and so does this.

use bytes::Bytes;
use std::fmt;

/// The longest there is.
pub const SHORT_STRING_BYTES_MAX: usize = u8::MAX as usize;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortString(Bytes);

impl ShortString {
    /// No letters.
    pub const EMPTY: ShortString = ShortString(Bytes::new());

    /// `None`: too long.
    pub fn new(bytes: Bytes) -> Option<ShortString> {
        (bytes.len() <= SHORT_STRING_BYTES_MAX).then_some(ShortString(bytes))
    }

    /// As much of a text as fits, `...` at its end where something is left out: what is told to a person.
    pub fn clipped(text: &str) -> ShortString {
        if text.len() <= SHORT_STRING_BYTES_MAX {
            return ShortString(Bytes::copy_from_slice(text.as_bytes()));
        }
        let kept = &text[..text.floor_char_boundary(SHORT_STRING_BYTES_MAX - 3)];
        ShortString(format!("{kept}...").into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `None`: not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for ShortString {
    /// For texts of this program, which are short. See [`ShortString::clipped`] for what happens to one that is not.
    fn from(text: &str) -> ShortString {
        ShortString::clipped(text)
    }
}

impl PartialEq<str> for ShortString {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortString {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
