// SPDX-License-Identifier: Apache-2.0
//! Reads the primitive types. Total: any bytes give a value or [`Malformed`].
//!
//! A length is believed only if that many bytes are there, and what it speaks of is then a slice of them. Bits that follow each other
//! share octets, lowest bit first; anything else begins at the next octet.

use super::short_string::ShortString;
use bytes::{Buf, Bytes};
use std::fmt;

/// The bytes are not laid out so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They end too early.
    Short,
    /// A length says more than what is there.
    Length,
    /// A field of a table is of a type that nobody knows.
    FieldType(u8),
    /// Tables within tables, deeper than anybody needs.
    TooDeep,
    /// A property that nobody knows.
    Property,
    /// Something is left over.
    TooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short => f.write_str("it ends too early"),
            Malformed::Length => f.write_str("a length in it is wrong"),
            Malformed::FieldType(tag) => write!(f, "a field in it is of the unknown type {tag}"),
            Malformed::TooDeep => f.write_str("tables in it are nested too deeply"),
            Malformed::Property => f.write_str("it has an unknown property"),
            Malformed::TooLong => f.write_str("something follows its end"),
        }
    }
}

impl std::error::Error for Malformed {}

/// See the module.
pub struct Reader {
    bytes: Bytes,
    /// Bits of the last octet of bits that have not been read, from the lowest, and how many.
    bits: u8,
    bit_count: u8,
}

impl Reader {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, bits: 0, bit_count: 0 }
    }

    /// What has not been read.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.bit_count = 0;
        self.bytes.try_get_u8().map_err(|_| Malformed::Short)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.bit_count = 0;
        self.bytes.try_get_u16().map_err(|_| Malformed::Short)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.bit_count = 0;
        self.bytes.try_get_u32().map_err(|_| Malformed::Short)
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.bit_count = 0;
        self.bytes.try_get_u64().map_err(|_| Malformed::Short)
    }

    pub fn bit(&mut self) -> Result<bool, Malformed> {
        if self.bit_count == 0 {
            self.bits = self.u8()?;
            self.bit_count = 8;
        }
        let bit = self.bits & 1 != 0;
        self.bits >>= 1;
        self.bit_count -= 1;
        Ok(bit)
    }

    /// The next `length` bytes, as a slice.
    pub fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        if length > self.bytes.len() {
            return Err(Malformed::Length);
        }
        self.bit_count = 0;
        Ok(self.bytes.split_to(length))
    }

    pub fn short_string(&mut self) -> Result<ShortString, Malformed> {
        let length = self.u8()?;
        let bytes = self.take(usize::from(length))?;
        Ok(ShortString::new(bytes).unwrap_or_default())
    }

    pub fn long_string(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32()?;
        self.take(length as usize)
    }
}
