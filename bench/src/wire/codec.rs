// SPDX-License-Identifier: Apache-2.0
//! The primitive types of Kafka's protocol, written and read: big-endian integers, strings with a 16-bit length, arrays and
//! byte strings with a 32-bit one; and those of the "flexible" versions, which some requests have only: lengths as varints that
//! are one more than the length (0 is null), ids of 16 bytes, and tagged fields, which are never written here and skipped when read.
//!
//! Reading trusts no length: a count larger than the bytes that are left is malformed.

/// The bytes are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Appends values to a request.
#[derive(Default)]
pub struct Encoder {
    pub bytes: Vec<u8>,
}

impl Encoder {
    pub fn i8(&mut self, value: i8) -> &mut Encoder {
        self.bytes.push(value as u8);
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Encoder {
        self.i8(i8::from(value))
    }

    pub fn i16(&mut self, value: i16) -> &mut Encoder {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i32(&mut self, value: i32) -> &mut Encoder {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i64(&mut self, value: i64) -> &mut Encoder {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An array's or a byte string's length.
    ///
    /// # Panics
    /// When it does not fit the protocol's 32 bits: the caller built something absurd.
    pub fn count(&mut self, count: usize) -> &mut Encoder {
        self.i32(i32::try_from(count).expect("a count of a request fits 32 bits"))
    }

    /// # Panics
    /// When the text is longer than 32,767 bytes.
    pub fn string(&mut self, text: &str) -> &mut Encoder {
        self.i16(i16::try_from(text.len()).expect("a name fits 16 bits"));
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub fn nullable_string(&mut self, text: Option<&str>) -> &mut Encoder {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    pub fn byte_string(&mut self, bytes: &[u8]) -> &mut Encoder {
        self.count(bytes.len());
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An array's length, in a flexible version.
    pub fn compact_count(&mut self, count: usize) -> &mut Encoder {
        let mut rest = count as u64 + 1;
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
        self
    }

    pub fn compact_string(&mut self, text: &str) -> &mut Encoder {
        self.compact_count(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// No string or no array, in a flexible version.
    pub fn compact_null(&mut self) -> &mut Encoder {
        self.i8(0)
    }

    pub fn uuid(&mut self, id: &[u8; 16]) -> &mut Encoder {
        self.bytes.extend_from_slice(id);
        self
    }

    /// No tagged fields: what a structure of a flexible version ends with.
    pub fn tags(&mut self) -> &mut Encoder {
        self.i8(0)
    }
}

/// Takes values off the front of an answer.
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn of(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: bytes }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (piece, rest) = self.rest.split_at_checked(count).ok_or(Malformed("the answer ends early"))?;
        self.rest = rest;
        Ok(piece)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (piece, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("the answer ends early"))?;
        self.rest = rest;
        Ok(*piece)
    }

    pub fn i8(&mut self) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub fn i16(&mut self) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    /// An array's length; null counts as 0.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        match self.i32()? {
            -1 => Ok(0),
            count => match usize::try_from(count) {
                Ok(count) if count <= self.rest.len() => Ok(count),
                _ => Err(Malformed("an array is longer than the answer")),
            },
        }
    }

    /// `None` for null.
    pub fn string(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a string of negative length"))?;
                std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| Malformed("a string is not UTF-8"))
            }
        }
    }

    fn unsigned_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a varint does not end"))
    }

    /// An array's length in a flexible version; null counts as 0.
    pub fn compact_count(&mut self) -> Result<usize, Malformed> {
        match usize::try_from(self.unsigned_varint()?.saturating_sub(1)) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            _ => Err(Malformed("an array is longer than the answer")),
        }
    }

    /// `None` for null.
    pub fn compact_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.unsigned_varint()? {
            0 => Ok(None),
            length => {
                let length = usize::try_from(length - 1).map_err(|_| Malformed("a string is too long"))?;
                std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| Malformed("a string is not UTF-8"))
            }
        }
    }

    pub fn uuid(&mut self) -> Result<[u8; 16], Malformed> {
        self.fixed()
    }

    /// Skips the tagged fields that a structure of a flexible version ends with.
    pub fn tags(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let length = usize::try_from(self.unsigned_varint()?).map_err(|_| Malformed("a field is too long"))?;
            self.take(length)?;
        }
        Ok(())
    }

    /// Null counts as empty.
    pub fn byte_string(&mut self) -> Result<&'a [u8], Malformed> {
        match self.i32()? {
            -1 => Ok(&[]),
            length => self.take(usize::try_from(length).map_err(|_| Malformed("bytes of negative length"))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Encoder::default();
        out.i8(-1).bool(true).i16(-2).i32(3).i64(-4).string("naïve").nullable_string(None).byte_string(b"xyz").count(0);
        let mut bytes = Decoder::of(&out.bytes);
        assert_eq!((bytes.i8(), bytes.i8(), bytes.i16(), bytes.i32()), (Ok(-1), Ok(1), Ok(-2), Ok(3)));
        assert_eq!((bytes.i64(), bytes.string(), bytes.string()), (Ok(-4), Ok(Some("naïve")), Ok(None)));
        assert_eq!((bytes.byte_string(), bytes.count()), (Ok(b"xyz".as_slice()), Ok(0)));
        assert!(bytes.i8().is_err());
    }

    #[test]
    fn what_is_written_in_a_flexible_version_is_read_back() {
        let mut out = Encoder::default();
        let long = "x".repeat(300);
        out.compact_count(2).compact_string("naïve").compact_string(&long).compact_null().uuid(&[7; 16]).tags().i8(5);
        // A tagged field, as a broker may send one: its number, its length, its bytes.
        out.i8(1).i8(9).i8(3).i8(0).i8(0).i8(0);
        let mut bytes = Decoder::of(&out.bytes);
        assert_eq!((bytes.compact_count(), bytes.compact_string()), (Ok(2), Ok(Some("naïve"))));
        assert_eq!((bytes.compact_string(), bytes.compact_string()), (Ok(Some(long.as_str())), Ok(None)));
        assert_eq!((bytes.uuid(), bytes.tags(), bytes.i8(), bytes.tags()), (Ok([7; 16]), Ok(()), Ok(5), Ok(())));
        assert!(bytes.i8().is_err());
    }

    #[test]
    fn a_lying_length_is_malformed() {
        assert!(Decoder::of(&i32::MAX.to_be_bytes()).count().is_err());
        assert!(Decoder::of(&1000i32.to_be_bytes()).byte_string().is_err());
        assert!(Decoder::of(&i16::MIN.to_be_bytes()).string().is_err());
        assert!(Decoder::of(&i32::MIN.to_be_bytes()).count().is_err());
        assert!(Decoder::of(&[0xff, 0xff, 0x03, 0]).compact_count().is_err());
        assert!(Decoder::of(&[0xff, 0xff, 0x03, 0]).compact_string().is_err());
        assert!(Decoder::of(&[0xff; 8]).compact_count().is_err());
    }
}
