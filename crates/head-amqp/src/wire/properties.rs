// SPDX-License-Identifier: Apache-2.0
//! The properties of a message (class basic).
//!
//! Layout: `flags u16 | the fields whose flag is set, in order`. The highest flag is the first property; the lowest would say that more
//! flags follow, which no class of 0-9-1 needs. Flags that mean nothing are refused: what stands behind them could not be read.

use super::{Field, Malformed, Reader, ShortString, Table, Writer};
use bytes::Bytes;

macro_rules! properties {
    ($( $flag:literal $field:ident : $type:ty, )*) => {
        /// What is said about a message besides its body. The names are the specification's, but `kind`, which there is `type`.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Properties {
            $( pub $field: Option<$type>, )*
        }

        const KNOWN: u16 = $( 1 << $flag )|*;

        impl Field for Properties {
            fn read(reader: &mut Reader) -> Result<Properties, Malformed> {
                let flags = reader.u16()?;
                if flags & !KNOWN != 0 {
                    return Err(Malformed::Property);
                }
                Ok(Properties {
                    $( $field: if flags & (1 << $flag) != 0 { Some(<$type as Field>::read(reader)?) } else { None }, )*
                })
            }

            fn write(&self, writer: &mut Writer<'_>) {
                let mut flags = 0;
                $( flags |= u16::from(self.$field.is_some()) << $flag; )*
                writer.u16(flags);
                $( if let Some(value) = &self.$field { value.write(writer); } )*
            }
        }

        #[cfg(test)]
        impl Properties {
            pub fn sample(sampler: &mut super::sample::Sampler) -> Properties {
                use super::sample::Sample;
                Properties { $( $field: bool::sample(sampler).then(|| <$type>::sample(sampler)), )* }
            }

            /// As a line of a script.
            pub fn show(&self) -> String {
                let mut line = super::sample::Line::new("properties");
                $( if let Some(value) = &self.$field { line.show_always(stringify!($field), value); } )*
                line.into_text()
            }

            /// From a line of a script.
            pub fn parse(text: &str) -> Properties {
                let mut line = super::sample::Line::parse(text);
                let properties = Properties { $( $field: line.take_optional(stringify!($field)), )* };
                line.expect_empty();
                properties
            }
        }
    };
}

properties! {
    15 content_type: ShortString,
    14 content_encoding: ShortString,
    13 headers: Table,
    12 delivery_mode: u8,
    11 priority: u8,
    10 correlation_id: ShortString,
    9 reply_to: ShortString,
    8 expiration: ShortString,
    7 message_id: ShortString,
    6 timestamp: u64,
    5 kind: ShortString,
    4 user_id: ShortString,
    3 app_id: ShortString,
    2 cluster_id: ShortString,
}

impl Properties {
    /// Reads all of `bytes`.
    ///
    /// # Errors
    /// [`Malformed`]: they are not laid out so.
    pub fn new(bytes: Bytes) -> Result<Properties, Malformed> {
        let mut reader = Reader::new(bytes);
        let properties = Properties::read(&mut reader)?;
        if reader.rest().is_empty() { Ok(properties) } else { Err(Malformed::TooLong) }
    }
}
