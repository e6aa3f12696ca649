// SPDX-License-Identifier: Apache-2.0
//! Field tables and arrays: slices of what was received, checked once and then walked over in place.
//!
//! Layout. A table is `length u32 | fields`, a field `name short string | tag u8 | value`; an array is `length u32 | values`, a value
//! `tag u8 | value`. A [`Table`] holds what follows the length. Tags are RabbitMQ's, not the specification's: `s` is a 16-bit
//! number, not a short string. Strings (`S`) and byte strings (`x`) stay apart.
//!
//! Invariant: what a `Table` or an `Array` holds is well formed, at most [`NESTING_MAX`] deep. So walking over one cannot fail, and
//! whoever recurses into one recurses no deeper than that.

use super::{Malformed, ShortString};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;

/// Tables and arrays within each other, the outermost included. RabbitMQ has no such bound; x-death, the deepest that anybody is known to
/// send, is three deep. Beyond it: refused as malformed.
pub const NESTING_MAX: usize = 64;

/// Fields with names, in the order in which they came; names may repeat.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Table(Bytes);

/// Values in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Array(Bytes);

/// One value, by its tag.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`, and `L` from some clients
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: `value` with the point `scale` digits from its right
    Decimal { scale: u8, value: u32 },
    /// `S`: text, by custom UTF-8
    String(Bytes),
    /// `x`: bytes
    Binary(Bytes),
    /// `A`
    Array(Array),
    /// `T`: seconds since 1970-01-01 UTC
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `V`: nothing, which is still something: headers exchanges look whether it is there
    Void,
}

impl Table {
    /// No fields.
    pub const EMPTY: Table = Table(Bytes::new());

    /// Takes the fields of a table (what follows its length).
    ///
    /// # Errors
    /// [`Malformed`]: they are not laid out so.
    pub fn new(fields: Bytes) -> Result<Table, Malformed> {
        check(&fields, Inside::Table)?;
        Ok(Table(fields))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ShortString, Value)> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            let name = name(&mut rest)?;
            Some((name, value(&mut rest)?))
        })
    }

    /// The first field of that name.
    pub fn get(&self, wanted: &str) -> Option<Value> {
        self.iter().find(|(name, _)| name == wanted).map(|(_, value)| value)
    }
}

impl Array {
    /// No values.
    pub const EMPTY: Array = Array(Bytes::new());

    /// Takes the values of an array (what follows its length).
    ///
    /// # Errors
    /// [`Malformed`]: they are not laid out so.
    pub fn new(values: Bytes) -> Result<Array, Malformed> {
        check(&values, Inside::Array)?;
        Ok(Array(values))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every value, in order.
    pub fn iter(&self) -> impl Iterator<Item = Value> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || value(&mut rest))
    }
}

/// Writes the fields of a table, or the values of an array. Nests no deeper than the caller's code does.
#[derive(Debug, Default)]
pub struct TableWriter {
    out: BytesMut,
}

impl TableWriter {
    pub fn new() -> TableWriter {
        TableWriter::default()
    }

    /// A field of a table.
    #[must_use]
    pub fn field(mut self, name: &str, value: &Value) -> TableWriter {
        let name = ShortString::from(name);
        self.out.put_u8(name.as_bytes().len() as u8);
        self.out.put_slice(name.as_bytes());
        self.value(value)
    }

    /// A value of an array.
    #[must_use]
    pub fn value(mut self, value: &Value) -> TableWriter {
        put(&mut self.out, value);
        self
    }

    /// Text.
    #[must_use]
    pub fn string(self, name: &str, text: &str) -> TableWriter {
        self.field(name, &Value::String(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// As a table; empty if what was written is nested too deeply.
    pub fn table(self) -> Table {
        Table::new(self.out.freeze()).unwrap_or_default()
    }

    /// As an array; empty if what was written is nested too deeply.
    pub fn array(self) -> Array {
        Array::new(self.out.freeze()).unwrap_or_default()
    }
}

fn put(out: &mut BytesMut, value: &Value) {
    let sized = |out: &mut BytesMut, tag: u8, bytes: &[u8]| {
        out.put_u8(tag);
        out.put_u32(bytes.len() as u32);
        out.put_slice(bytes);
    };
    match value {
        Value::Bool(value) => out.put_slice(&[b't', u8::from(*value)]),
        Value::I8(value) => {
            out.put_u8(b'b');
            out.put_i8(*value);
        }
        Value::U8(value) => out.put_slice(&[b'B', *value]),
        Value::I16(value) => {
            out.put_u8(b's');
            out.put_i16(*value);
        }
        Value::U16(value) => {
            out.put_u8(b'u');
            out.put_u16(*value);
        }
        Value::I32(value) => {
            out.put_u8(b'I');
            out.put_i32(*value);
        }
        Value::U32(value) => {
            out.put_u8(b'i');
            out.put_u32(*value);
        }
        Value::I64(value) => {
            out.put_u8(b'l');
            out.put_i64(*value);
        }
        Value::F32(value) => {
            out.put_u8(b'f');
            out.put_f32(*value);
        }
        Value::F64(value) => {
            out.put_u8(b'd');
            out.put_f64(*value);
        }
        Value::Decimal { scale, value } => {
            out.put_slice(&[b'D', *scale]);
            out.put_u32(*value);
        }
        Value::String(text) => sized(out, b'S', text),
        Value::Binary(bytes) => sized(out, b'x', bytes),
        Value::Array(array) => sized(out, b'A', array.as_bytes()),
        Value::Timestamp(value) => {
            out.put_u8(b'T');
            out.put_u64(*value);
        }
        Value::Table(table) => sized(out, b'F', table.as_bytes()),
        Value::Void => out.put_u8(b'V'),
    }
}

/// What the bytes at hand are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Table,
    Array,
}

/// How long a value is, by its tag: so many bytes, or a length that says it, perhaps with values inside.
enum Extent {
    Fixed(usize),
    Sized,
    Nested(Inside),
}

fn extent(tag: u8) -> Result<Extent, Malformed> {
    Ok(match tag {
        b'V' => Extent::Fixed(0),
        b't' | b'b' | b'B' => Extent::Fixed(1),
        b's' | b'u' => Extent::Fixed(2),
        b'I' | b'i' | b'f' => Extent::Fixed(4),
        b'D' => Extent::Fixed(5),
        b'l' | b'L' | b'd' | b'T' => Extent::Fixed(8),
        b'S' | b'x' => Extent::Sized,
        b'A' => Extent::Nested(Inside::Array),
        b'F' => Extent::Nested(Inside::Table),
        tag => return Err(Malformed::FieldType(tag)),
    })
}

/// One pass over all of it. What it is inside of is remembered in an array of fixed size, not on the stack of the program, so that
/// no depth can exhaust that.
fn check(bytes: &[u8], outermost: Inside) -> Result<(), Malformed> {
    let mut open = [(bytes.len(), outermost); NESTING_MAX];
    let mut depth = 0;
    let mut at = 0;
    loop {
        let (end, inside) = open[depth];
        if at == end {
            let Some(outer) = depth.checked_sub(1) else { return Ok(()) };
            depth = outer;
            continue;
        }
        // What does not fit its own table is wrong even where bytes follow.
        let here = &bytes[..end];
        if inside == Inside::Table {
            let name_bytes = usize::from(*here.get(at).ok_or(Malformed::Short)?);
            at += 1 + name_bytes;
        }
        let tag = *here.get(at).ok_or(Malformed::Short)?;
        at += 1;
        match extent(tag)? {
            Extent::Fixed(length) => at += length,
            Extent::Sized => at += 4 + sized(here, at)?,
            Extent::Nested(inside) => {
                let end = at + 4 + sized(here, at)?;
                depth += 1;
                *open.get_mut(depth).ok_or(Malformed::TooDeep)? = (end, inside);
                at += 4;
            }
        }
        if at > end {
            return Err(Malformed::Short);
        }
    }
}

/// The length that stands at `at`, if that much follows it.
fn sized(here: &[u8], at: usize) -> Result<usize, Malformed> {
    let length = here.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Malformed::Short)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > here.len() - at - 4 { Err(Malformed::Length) } else { Ok(length) }
}

/// `None` at the end (and nowhere else: what is walked over was checked).
fn name(rest: &mut Bytes) -> Option<ShortString> {
    let length = usize::from(rest.try_get_u8().ok()?);
    (length <= rest.len()).then(|| rest.split_to(length)).and_then(ShortString::new)
}

fn value(rest: &mut Bytes) -> Option<Value> {
    let tag = rest.try_get_u8().ok()?;
    Some(match tag {
        b't' => Value::Bool(rest.try_get_u8().ok()? != 0),
        b'b' => Value::I8(rest.try_get_i8().ok()?),
        b'B' => Value::U8(rest.try_get_u8().ok()?),
        b's' => Value::I16(rest.try_get_i16().ok()?),
        b'u' => Value::U16(rest.try_get_u16().ok()?),
        b'I' => Value::I32(rest.try_get_i32().ok()?),
        b'i' => Value::U32(rest.try_get_u32().ok()?),
        b'l' | b'L' => Value::I64(rest.try_get_i64().ok()?),
        b'f' => Value::F32(rest.try_get_f32().ok()?),
        b'd' => Value::F64(rest.try_get_f64().ok()?),
        b'D' => Value::Decimal { scale: rest.try_get_u8().ok()?, value: rest.try_get_u32().ok()? },
        b'S' => Value::String(sized_slice(rest)?),
        b'x' => Value::Binary(sized_slice(rest)?),
        b'A' => Value::Array(Array(sized_slice(rest)?)),
        b'T' => Value::Timestamp(rest.try_get_u64().ok()?),
        b'F' => Value::Table(Table(sized_slice(rest)?)),
        b'V' => Value::Void,
        _ => return None,
    })
}

fn sized_slice(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.try_get_u32().ok()? as usize;
    (length <= rest.len()).then(|| rest.split_to(length))
}

impl Value {
    /// What RabbitMQ calls the type where it tells of an argument.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::I8(_) => "byte",
            Value::U8(_) => "unsignedbyte",
            Value::I16(_) => "short",
            Value::U16(_) => "unsignedshort",
            Value::I32(_) => "signedint",
            Value::U32(_) => "unsignedint",
            Value::I64(_) => "long",
            Value::F32(_) => "float",
            Value::F64(_) => "double",
            Value::Decimal { .. } => "decimal",
            Value::String(_) => "longstr",
            Value::Binary(_) => "binary",
            Value::Array(_) => "array",
            Value::Timestamp(_) => "timestamp",
            Value::Table(_) => "table",
            Value::Void => "void",
        }
    }

    /// The number, whatever its width.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::I8(value) => Some(i64::from(*value)),
            Value::U8(value) => Some(i64::from(*value)),
            Value::I16(value) => Some(i64::from(*value)),
            Value::U16(value) => Some(i64::from(*value)),
            Value::I32(value) => Some(i64::from(*value)),
            Value::U32(value) => Some(i64::from(*value)),
            Value::I64(value) => Some(*value),
            _ => None,
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
