// SPDX-License-Identifier: Apache-2.0
//! Tests only: methods and properties made out of arbitrary bytes, and as lines of text.
//!
//! A line is a name and what is not empty: `queue.declare queue=q durable arguments={x-max-length=I:5 x-overflow=S:drop-head}`. Strings
//! stand as they are or, where that could not be read back, in quotes with `\xNN`. Values carry their tag: `t:true b:-1 D:2/314 S:text
//! x:text A:[I:1 V:] F:{name=T:0}`.

use super::{Array, ShortString, Table, TableWriter, Value};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Deals out bytes; zeros when they run out.
pub struct Sampler {
    bytes: std::vec::IntoIter<u8>,
    depth: usize,
}

impl Sampler {
    pub fn new(bytes: Vec<u8>) -> Sampler {
        Sampler { bytes: bytes.into_iter(), depth: 0 }
    }

    fn next(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next())
    }

    fn some(&mut self) -> Vec<u8> {
        let length = self.next() % 8;
        (0..length).map(|_| self.next()).collect()
    }
}

/// Something that can be made for a test.
pub trait Sample: Sized {
    fn sample(sampler: &mut Sampler) -> Self;
}

macro_rules! numbers {
    ($($number:ident)*) => { $(
        impl Sample for $number {
            fn sample(sampler: &mut Sampler) -> $number {
                $number::from_be_bytes(sampler.bytes())
            }
        }

        impl Text for $number {
            fn show(&self) -> String {
                self.to_string()
            }

            fn parse(cursor: &mut Cursor<'_>) -> $number {
                cursor.number()
            }
        }
    )* };
}

numbers! { u8 u16 u32 u64 }

impl Sample for bool {
    fn sample(sampler: &mut Sampler) -> bool {
        sampler.next() % 2 == 1
    }
}

impl Sample for ShortString {
    fn sample(sampler: &mut Sampler) -> ShortString {
        ShortString::new(sampler.some().into()).unwrap()
    }
}

impl Sample for Bytes {
    fn sample(sampler: &mut Sampler) -> Bytes {
        sampler.some().into()
    }
}

impl Sample for Value {
    fn sample(sampler: &mut Sampler) -> Value {
        match sampler.next() % 17 {
            0 => Value::Bool(bool::sample(sampler)),
            1 => Value::I8(i8::from_be_bytes(sampler.bytes())),
            2 => Value::U8(u8::sample(sampler)),
            3 => Value::I16(i16::from_be_bytes(sampler.bytes())),
            4 => Value::U16(u16::sample(sampler)),
            5 => Value::I32(i32::from_be_bytes(sampler.bytes())),
            6 => Value::U32(u32::sample(sampler)),
            7 => Value::I64(i64::from_be_bytes(sampler.bytes())),
            8 => Value::F32(f32::from(i16::from_be_bytes(sampler.bytes()))),
            9 => Value::F64(f64::from(i32::from_be_bytes(sampler.bytes()))),
            10 => Value::Decimal { scale: u8::sample(sampler), value: u32::sample(sampler) },
            11 => Value::String(Bytes::sample(sampler)),
            12 => Value::Binary(Bytes::sample(sampler)),
            13 => Value::Timestamp(u64::sample(sampler)),
            14 => Value::Array(Array::sample(sampler)),
            15 => Value::Table(Table::sample(sampler)),
            _ => Value::Void,
        }
    }
}

impl Sample for Table {
    fn sample(sampler: &mut Sampler) -> Table {
        nested(sampler, |writer, sampler| writer.field(&format!("field {}", sampler.next()), &Value::sample(sampler)))
            .table()
    }
}

impl Sample for Array {
    fn sample(sampler: &mut Sampler) -> Array {
        nested(sampler, |writer, sampler| writer.value(&Value::sample(sampler))).array()
    }
}

fn nested(sampler: &mut Sampler, one: impl Fn(TableWriter, &mut Sampler) -> TableWriter) -> TableWriter {
    sampler.depth += 1;
    let count = if sampler.depth > 4 { 0 } else { sampler.next() % 4 };
    let writer = (0..count).fold(TableWriter::new(), |writer, _| one(writer, sampler));
    sampler.depth -= 1;
    writer
}

/// Something that stands in a line.
pub trait Text: Sized {
    fn show(&self) -> String;
    fn parse(cursor: &mut Cursor<'_>) -> Self;
}

impl Text for bool {
    fn show(&self) -> String {
        self.to_string()
    }

    fn parse(cursor: &mut Cursor<'_>) -> bool {
        cursor.word() == b"true"
    }
}

impl Text for ShortString {
    fn show(&self) -> String {
        quote(self.as_bytes())
    }

    fn parse(cursor: &mut Cursor<'_>) -> ShortString {
        ShortString::new(cursor.word().into()).expect("a short string")
    }
}

impl Text for Bytes {
    fn show(&self) -> String {
        quote(self)
    }

    fn parse(cursor: &mut Cursor<'_>) -> Bytes {
        cursor.word().into()
    }
}

impl Text for Table {
    fn show(&self) -> String {
        let fields = self.iter().map(|(name, value)| format!("{}={}", quote(name.as_bytes()), show_value(&value)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
    }

    fn parse(cursor: &mut Cursor<'_>) -> Table {
        let mut writer = TableWriter::new();
        cursor.expect('{');
        while !cursor.skip('}') {
            let name = String::from_utf8(cursor.word()).expect("a name");
            cursor.expect('=');
            writer = writer.field(&name, &parse_value(cursor));
            cursor.spaces();
        }
        writer.table()
    }
}

impl Text for Array {
    fn show(&self) -> String {
        format!("[{}]", self.iter().map(|value| show_value(&value)).collect::<Vec<_>>().join(" "))
    }

    fn parse(cursor: &mut Cursor<'_>) -> Array {
        let mut writer = TableWriter::new();
        cursor.expect('[');
        while !cursor.skip(']') {
            writer = writer.value(&parse_value(cursor));
            cursor.spaces();
        }
        writer.array()
    }
}

fn show_value(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("t:{value}"),
        Value::I8(value) => format!("b:{value}"),
        Value::U8(value) => format!("B:{value}"),
        Value::I16(value) => format!("s:{value}"),
        Value::U16(value) => format!("u:{value}"),
        Value::I32(value) => format!("I:{value}"),
        Value::U32(value) => format!("i:{value}"),
        Value::I64(value) => format!("l:{value}"),
        Value::F32(value) => format!("f:{value}"),
        Value::F64(value) => format!("d:{value}"),
        Value::Decimal { scale, value } => format!("D:{scale}/{value}"),
        Value::String(text) => format!("S:{}", quote(text)),
        Value::Binary(bytes) => format!("x:{}", quote(bytes)),
        Value::Array(array) => format!("A:{}", array.show()),
        Value::Timestamp(seconds) => format!("T:{seconds}"),
        Value::Table(table) => format!("F:{}", table.show()),
        Value::Void => "V:".to_string(),
    }
}

fn parse_value(cursor: &mut Cursor<'_>) -> Value {
    let tag = cursor.next().expect("a tag");
    cursor.expect(':');
    match tag {
        't' => Value::Bool(bool::parse(cursor)),
        'b' => Value::I8(cursor.number()),
        'B' => Value::U8(cursor.number()),
        's' => Value::I16(cursor.number()),
        'u' => Value::U16(cursor.number()),
        'I' => Value::I32(cursor.number()),
        'i' => Value::U32(cursor.number()),
        'l' => Value::I64(cursor.number()),
        'f' => Value::F32(cursor.number()),
        'd' => Value::F64(cursor.number()),
        'D' => {
            let scale = cursor.number();
            cursor.expect('/');
            Value::Decimal { scale, value: cursor.number() }
        }
        'S' => Value::String(Bytes::parse(cursor)),
        'x' => Value::Binary(Bytes::parse(cursor)),
        'A' => Value::Array(Array::parse(cursor)),
        'T' => Value::Timestamp(cursor.number()),
        'F' => Value::Table(Table::parse(cursor)),
        'V' => Value::Void,
        tag => panic!("no type {tag}"),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.,;:+*#@$%&!?/'()<>".contains(&byte)
}

/// As it stands in a line.
pub fn quote(bytes: &[u8]) -> String {
    if !bytes.is_empty() && bytes.iter().all(|byte| is_plain(*byte)) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut quoted = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => quoted.push(char::from(*byte)),
            byte => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted + "\""
}

/// Reads a line from its left.
pub struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub fn new(rest: &'a str) -> Cursor<'a> {
        Cursor { rest }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    fn skip(&mut self, letter: char) -> bool {
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, letter: char) {
        assert!(self.skip(letter), "{letter} expected before {:?}", self.rest);
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn number<T: std::str::FromStr>(&mut self) -> T {
        let end = self.rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-.+".contains(letter)));
        let (number, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        number.parse().unwrap_or_else(|_| panic!("{number:?} is no such number"))
    }

    /// A string, in quotes or not.
    pub fn word(&mut self) -> Vec<u8> {
        let mut word = Vec::new();
        if !self.skip('"') {
            let end = self.rest.bytes().position(|byte| !is_plain(byte)).unwrap_or(self.rest.len());
            let (plain, rest) = self.rest.split_at(end);
            self.rest = rest;
            return plain.as_bytes().to_vec();
        }
        loop {
            match self.next().expect("a closing quote") {
                '"' => return word,
                '\\' => match self.next() {
                    Some('x') => {
                        let (digits, rest) = self.rest.split_at(2);
                        word.push(u8::from_str_radix(digits, 16).expect("two digits"));
                        self.rest = rest;
                    }
                    letter => word.push(letter.expect("something escaped") as u8),
                },
                letter => word.extend(letter.to_string().as_bytes()),
            }
        }
    }

    /// The text of one field, up to the space behind it.
    fn field(&mut self) -> &'a str {
        let (mut depth, mut quoted, mut escaped) = (0, false, false);
        let end = self.rest.find(|letter| {
            if escaped {
                escaped = false;
                return false;
            }
            match letter {
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '{' | '[' if !quoted => depth += 1,
                '}' | ']' if !quoted => depth -= 1,
                ' ' => return !quoted && depth == 0,
                _ => {}
            }
            false
        });
        let (field, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        field
    }
}

/// A name and fields.
pub struct Line<'a> {
    name: &'a str,
    shown: String,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    pub fn new(name: &'a str) -> Line<'a> {
        Line { name, shown: name.to_string(), fields: BTreeMap::new() }
    }

    pub fn parse(text: &'a str) -> Line<'a> {
        let mut cursor = Cursor::new(text.trim());
        let mut line = Line::new(cursor.field());
        cursor.spaces();
        while !cursor.rest.is_empty() {
            let (name, value) = cursor.field().split_once('=').unwrap_or_default();
            assert!(!name.is_empty(), "name=value expected in {text:?}");
            line.fields.insert(name, value);
            cursor.spaces();
        }
        line
    }

    pub fn name(&self) -> &'a str {
        self.name
    }

    pub fn show<T: Text + Default + PartialEq>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.show_always(name, value);
        }
    }

    pub fn show_always<T: Text>(&mut self, name: &str, value: &T) {
        self.shown.push_str(&format!(" {name}={}", value.show()));
    }

    pub fn into_text(self) -> String {
        self.shown
    }

    pub fn take<T: Text + Default>(&mut self, name: &str) -> T {
        self.take_optional(name).unwrap_or_default()
    }

    pub fn take_optional<T: Text>(&mut self, name: &str) -> Option<T> {
        let text = self.fields.remove(name)?;
        let mut cursor = Cursor::new(text);
        let value = T::parse(&mut cursor);
        assert!(cursor.rest.is_empty(), "{:?} is left of {text:?}", cursor.rest);
        Some(value)
    }

    pub fn expect_empty(&self) {
        assert!(self.fields.is_empty(), "{} has no {:?}", self.name, self.fields.keys());
    }
}
