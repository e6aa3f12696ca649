// SPDX-License-Identifier: Apache-2.0
//! A string of a message: a slice of the request, known to be UTF-8.

use super::Malformed;
use bytes::Bytes;
use std::fmt;

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// No letters.
    pub const EMPTY: Text = Text(Bytes::new());

    /// # Errors
    /// [`Malformed::Utf8`].
    pub fn new(bytes: Bytes) -> Result<Text, Malformed> {
        std::str::from_utf8(&bytes).map_err(|_| Malformed::Utf8)?;
        Ok(Text(bytes))
    }

    /// Looked at again on every call, which for a name costs less than an allocation would have.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
