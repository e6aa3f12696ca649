// SPDX-License-Identifier: Apache-2.0
//! Reads the primitive types of the protocol. Total: any bytes give a value or [`Malformed`].
//!
//! Bounds: a count must not exceed the bytes that are left (every element takes at least one), arrays grow as elements are
//! really read, and all arrays of one message together stop at [`DECODED_BYTES_MAX`]. A string has at most [`STRING_BYTES_MAX`].
//! Strings and byte strings are slices of the
//! request.

use super::Format;
use bytes::{Buf, Bytes};
use model::planted::{Bug, planted};
use std::fmt;

/// What the arrays of one message may take in memory, all together.
pub const DECODED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A string of the protocol, in plain or in compact form.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// The bytes are not such a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    Short,
    /// A length or count is negative, or larger than what is there.
    Length,
    /// A string is not UTF-8.
    Utf8,
    /// A field that must be there is null.
    Null,
    /// More elements than anybody needs.
    TooMany,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Short => "it ends too early",
            Malformed::Length => "a length in it is wrong",
            Malformed::Utf8 => "a string in it is not UTF-8",
            Malformed::Null => "a field in it is null",
            Malformed::TooMany => "it has too many elements",
        })
    }
}

impl std::error::Error for Malformed {}

/// See the module.
pub struct Reader {
    bytes: Bytes,
    memory_left: usize,
}

impl Reader {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, memory_left: DECODED_BYTES_MAX }
    }

    /// Reads what this program wrote itself: its size is bounded where it was made.
    pub fn own(bytes: Bytes) -> Reader {
        Reader { bytes, memory_left: usize::MAX }
    }

    /// What the arrays read so far take in memory.
    pub fn decoded_bytes(&self) -> usize {
        DECODED_BYTES_MAX.saturating_sub(self.memory_left)
    }

    /// What has not been read.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    pub fn i8(&mut self) -> Result<i8, Malformed> {
        self.bytes.try_get_i8().map_err(|_| Malformed::Short)
    }

    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.bytes.try_get_i16().map_err(|_| Malformed::Short)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.bytes.try_get_u16().map_err(|_| Malformed::Short)
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.bytes.try_get_i32().map_err(|_| Malformed::Short)
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.bytes.try_get_i64().map_err(|_| Malformed::Short)
    }

    /// An unsigned varint of at most five bytes.
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut rest = &self.bytes[..];
        let before = rest.len();
        let value = model::varint::read_u32(&mut rest).ok_or(Malformed::Short)?;
        let taken = before - rest.len();
        self.bytes.advance(taken);
        Ok(value)
    }

    /// The next `length` bytes, as a slice of the request.
    pub fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.bytes.len() && !planted(Bug::LengthUnchecked) {
            return Err(Malformed::Length);
        }
        Ok(self.bytes.split_to(length))
    }

    /// A length: -1 (or 0 in compact form, where it is counted from 1) is null.
    fn length_from(value: i64) -> Result<Option<usize>, Malformed> {
        match value {
            -1 => Ok(None),
            value => usize::try_from(value).map(Some).map_err(|_| Malformed::Length),
        }
    }

    /// The bytes of a string; `None` is null.
    pub fn string(&mut self, format: Format) -> Result<Option<Bytes>, Malformed> {
        let length = if format.flexible { i64::from(self.varint()?) - 1 } else { i64::from(self.i16()?) };
        match Reader::length_from(length)? {
            // The compact form could say more; no string of the protocol is longer.
            Some(length) if length > STRING_BYTES_MAX => Err(Malformed::Length),
            length => length.map(|length| self.take(length)).transpose(),
        }
    }

    /// A byte string; `None` is null.
    pub fn byte_string(&mut self, format: Format) -> Result<Option<Bytes>, Malformed> {
        let length = if format.flexible { i64::from(self.varint()?) - 1 } else { i64::from(self.i32()?) };
        Reader::length_from(length)?.map(|length| self.take(length)).transpose()
    }

    /// The count of an array's elements; `None` is null.
    pub fn count(&mut self, format: Format) -> Result<Option<usize>, Malformed> {
        let count = if format.flexible { i64::from(self.varint()?) - 1 } else { i64::from(self.i32()?) };
        match Reader::length_from(count)? {
            Some(count) if count > self.bytes.len() => Err(Malformed::Length),
            count => Ok(count),
        }
    }

    /// Called before an array grows by an element of that size.
    pub fn grow(&mut self, element_bytes: usize) -> Result<(), Malformed> {
        self.memory_left = self.memory_left.checked_sub(element_bytes).ok_or(Malformed::TooMany)?;
        Ok(())
    }

    /// Passes over the tagged fields that end every struct of a flexible version. None that a client sends matters here.
    pub fn skip_tags(&mut self, format: Format) -> Result<(), Malformed> {
        if format.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.take(length as usize)?;
            }
        }
        Ok(())
    }
}
