// SPDX-License-Identifier: Apache-2.0
//! The types that methods and properties are made of.

use super::{Malformed, Reader, ShortString, Table, Writer};
use bytes::Bytes;

/// Something with a layout: `u8` octet, `u16` short, `u32` long, `u64` long long and timestamp (seconds), `bool` bit,
/// [`ShortString`], [`Bytes`] long string, [`Table`].
pub trait Field: Sized {
    /// # Errors
    /// [`Malformed`]: the bytes are not laid out so.
    fn read(reader: &mut Reader) -> Result<Self, Malformed>;
    fn write(&self, writer: &mut Writer<'_>);
}

macro_rules! numbers {
    ($($number:ident)*) => { $(
        impl Field for $number {
            fn read(reader: &mut Reader) -> Result<$number, Malformed> {
                reader.$number()
            }

            fn write(&self, writer: &mut Writer<'_>) {
                writer.$number(*self);
            }
        }
    )* };
}

numbers! { u8 u16 u32 u64 }

impl Field for bool {
    fn read(reader: &mut Reader) -> Result<bool, Malformed> {
        reader.bit()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.bit(*self);
    }
}

impl Field for ShortString {
    fn read(reader: &mut Reader) -> Result<ShortString, Malformed> {
        reader.short_string()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.short_string(self);
    }
}

impl Field for Bytes {
    fn read(reader: &mut Reader) -> Result<Bytes, Malformed> {
        reader.long_string()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.long_string(self);
    }
}

impl Field for Table {
    fn read(reader: &mut Reader) -> Result<Table, Malformed> {
        Table::new(reader.long_string()?)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.long_string(self.as_bytes());
    }
}
