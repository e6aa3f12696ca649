// SPDX-License-Identifier: Apache-2.0
//! The types that messages are made of, and the macro that makes a message out of its table of fields.

use super::{Format, Malformed, Reader, Text, Writer};
use bytes::Bytes;

/// Something with a layout.
pub trait Field: Sized {
    /// # Errors
    /// [`Malformed`]: the bytes are not laid out so.
    fn read(reader: &mut Reader, format: Format) -> Result<Self, Malformed>;
    fn write(&self, writer: &mut Writer, format: Format);
}

/// 16 bytes, the zero id meaning "none".
pub type Uuid = [u8; 16];

/// Record batches back to back: a byte string in pieces, never null when written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records(pub Vec<Bytes>);

macro_rules! numbers {
    ($($number:ident)*) => { $(
        impl Field for $number {
            fn read(reader: &mut Reader, _format: Format) -> Result<$number, Malformed> {
                reader.$number()
            }

            fn write(&self, writer: &mut Writer, _format: Format) {
                writer.$number(*self);
            }
        }
    )* };
}

numbers! { i8 i16 u16 i32 i64 }

impl Field for bool {
    fn read(reader: &mut Reader, _format: Format) -> Result<bool, Malformed> {
        Ok(reader.i8()? != 0)
    }

    fn write(&self, writer: &mut Writer, _format: Format) {
        writer.i8(i8::from(*self));
    }
}

impl Field for Uuid {
    fn read(reader: &mut Reader, _format: Format) -> Result<Uuid, Malformed> {
        let bytes = reader.take(16).map_err(|_| Malformed::Short)?;
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes);
        Ok(uuid)
    }

    fn write(&self, writer: &mut Writer, _format: Format) {
        writer.raw(self);
    }
}

impl Field for Option<Text> {
    fn read(reader: &mut Reader, format: Format) -> Result<Option<Text>, Malformed> {
        reader.string(format)?.map(Text::new).transpose()
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        writer.string(format, self.as_ref().map(Text::as_str));
    }
}

impl Field for Text {
    fn read(reader: &mut Reader, format: Format) -> Result<Text, Malformed> {
        Option::<Text>::read(reader, format)?.ok_or(Malformed::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        writer.string(format, Some(self.as_str()));
    }
}

impl Field for Option<Bytes> {
    fn read(reader: &mut Reader, format: Format) -> Result<Option<Bytes>, Malformed> {
        reader.byte_string(format)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        match self {
            None => writer.count(format, None),
            Some(bytes) => writer.slices(format, std::slice::from_ref(bytes)),
        }
    }
}

impl Field for Bytes {
    fn read(reader: &mut Reader, format: Format) -> Result<Bytes, Malformed> {
        reader.byte_string(format)?.ok_or(Malformed::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        writer.slices(format, std::slice::from_ref(self));
    }
}

impl Field for Records {
    fn read(reader: &mut Reader, format: Format) -> Result<Records, Malformed> {
        Ok(Records(reader.byte_string(format)?.into_iter().collect()))
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        writer.slices(format, &self.0);
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn read(reader: &mut Reader, format: Format) -> Result<Option<Vec<T>>, Malformed> {
        let Some(count) = reader.count(format)? else { return Ok(None) };
        let mut elements = Vec::new();
        for _ in 0..count {
            reader.grow(size_of::<T>())?;
            elements.push(T::read(reader, format)?);
        }
        Ok(Some(elements))
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        writer.count(format, self.as_ref().map(Vec::len));
        for element in self.iter().flatten() {
            element.write(writer, format);
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader, format: Format) -> Result<Vec<T>, Malformed> {
        Option::<Vec<T>>::read(reader, format)?.ok_or(Malformed::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        writer.count(format, Some(self.len()));
        for element in self {
            element.write(writer, format);
        }
    }
}

/// A struct that may be null: a byte says so, negative for null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nullable<T>(pub Option<T>);

impl<T: Field> Field for Nullable<T> {
    fn read(reader: &mut Reader, format: Format) -> Result<Nullable<T>, Malformed> {
        let value = if reader.i8()? < 0 { None } else { Some(T::read(reader, format)?) };
        Ok(Nullable(value))
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        match &self.0 {
            None => writer.i8(-1),
            Some(value) => {
                writer.i8(1);
                value.write(writer, format);
            }
        }
    }
}

/// Declares structs as the protocol's tables do: fields in order, each with the versions that have it and what it is in the
/// others: `name: Type [versions => otherwise],`. Every struct of a flexible version ends with its tagged fields.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $(#[$field_doc:meta])* $field:ident : $type:ty $([ $versions:expr => $otherwise:expr ])?, )* }
    )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl $crate::wire::Field for $name {
            fn read(
                reader: &mut $crate::wire::Reader,
                format: $crate::wire::Format,
            ) -> Result<$name, $crate::wire::Malformed> {
                let message = $name {
                    $( $field: $crate::wire::field::messages!(@read reader format $type $([ $versions => $otherwise ])?), )*
                };
                reader.skip_tags(format)?;
                Ok(message)
            }

            fn write(&self, writer: &mut $crate::wire::Writer, format: $crate::wire::Format) {
                $( $crate::wire::field::messages!(@write self writer format $field $([ $versions ])?); )*
                writer.no_tags(format);
            }
        }

        #[cfg(test)]
        impl $crate::wire::sample::Sample for $name {
            fn sample(sampler: &mut $crate::wire::sample::Sampler) -> $name {
                $name { $( $field: $crate::wire::sample::Sample::sample(sampler), )* }
            }
        }
    )* };
    (@read $reader:ident $format:ident $type:ty) => {
        <$type as $crate::wire::Field>::read($reader, $format)?
    };
    (@read $reader:ident $format:ident $type:ty [ $versions:expr => $otherwise:expr ]) => {
        if ($versions).contains(&$format.version) {
            <$type as $crate::wire::Field>::read($reader, $format)?
        } else {
            $otherwise
        }
    };
    (@write $self:ident $writer:ident $format:ident $field:ident) => {
        $crate::wire::Field::write(&$self.$field, $writer, $format)
    };
    (@write $self:ident $writer:ident $format:ident $field:ident [ $versions:expr ]) => {
        if ($versions).contains(&$format.version) {
            $crate::wire::Field::write(&$self.$field, $writer, $format)
        }
    };
}

pub(crate) use messages;
