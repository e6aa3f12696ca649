// SPDX-License-Identifier: Apache-2.0
//! One record as text: a JSON object, or what a format with placeholders makes of it; and JSON objects as records.
//!
//! Owns: the fields' names, the placeholders, escapes. What `consume --json` writes, `produce --input json` reads.
//! Keys, values and header values are strings where they are UTF-8, and `…_base64` where they are not.

use super::base64;
use super::moment::write_rfc3339;
use bytes::Bytes;
use model::batch::{NewRecord, Record};
use serde::{Deserialize, Serialize};

/// A record with its place.
#[derive(Serialize)]
pub struct JsonRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// RFC 3339; null without one.
    pub timestamp: Option<String>,
    pub timestamp_ms: i64,
    pub key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    pub value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
    pub headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
pub struct JsonHeader<'a> {
    pub name: String,
    pub value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl<'a> JsonRecord<'a> {
    pub fn new(topic: &'a str, partition: i32, offset: i64, record: &Record<'a>) -> JsonRecord<'a> {
        let (key, key_base64) = in_json(record.key);
        let (value, value_base64) = in_json(record.value);
        let header = |(name, value): (&[u8], Option<&'a [u8]>)| {
            let (value, value_base64) = in_json(value);
            JsonHeader { name: String::from_utf8_lossy(name).into_owned(), value, value_base64 }
        };
        JsonRecord {
            topic,
            partition,
            offset,
            timestamp: time_of(record),
            timestamp_ms: record.timestamp_ms,
            key,
            key_base64,
            value,
            value_base64,
            headers: record.headers().map(header).collect(),
        }
    }
}

/// -1: nobody stamped it.
fn time_of(record: &Record<'_>) -> Option<String> {
    (record.timestamp_ms >= 0).then(|| write_rfc3339(record.timestamp_ms)).flatten()
}

fn in_json(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| base64::write(bytes))) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(text)) => (None, Some(text)),
    }
}

/// A record to be written. Where a record came from (topic, offset) may stand there and is passed over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRecord {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<GivenHeader>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    #[serde(default, rename = "topic")]
    _topic: serde::de::IgnoredAny,
    #[serde(default, rename = "offset")]
    _offset: serde::de::IgnoredAny,
    #[serde(default, rename = "timestamp")]
    _timestamp: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenHeader {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

/// Reads a record of one line of JSON, and the partition it names.
///
/// # Errors
/// What is wrong with it.
pub fn read_json(line: &[u8], now_ms: i64) -> Result<(NewRecord, Option<i32>), String> {
    let given: GivenRecord = serde_json::from_slice(line).map_err(|why| why.to_string())?;
    let mut headers = Vec::with_capacity(given.headers.len());
    for header in given.headers {
        let value = from_json("value", header.value, header.value_base64)?;
        headers.push((Bytes::from(header.name), value));
    }
    let record = NewRecord {
        timestamp_ms: given.timestamp_ms.filter(|ms| *ms >= 0).unwrap_or(now_ms),
        key: from_json("key", given.key, given.key_base64)?,
        value: from_json("value", given.value, given.value_base64)?,
        headers,
    };
    Ok((record, given.partition))
}

fn from_json(name: &str, text: Option<String>, encoded: Option<String>) -> Result<Option<Bytes>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => Err(format!("{name} and {name}_base64 exclude each other")),
        (text, None) => Ok(text.map(Bytes::from)),
        (None, Some(encoded)) => match base64::read(&encoded) {
            Some(bytes) => Ok(Some(bytes.into())),
            None => Err(format!("{name}_base64 is no base64")),
        },
    }
}

enum Piece {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Headers,
    Time,
    TimeMs,
}

/// A format with placeholders, read once.
pub struct Format {
    pieces: Vec<Piece>,
    /// Stands for a key or value that is null.
    null: Vec<u8>,
}

/// Shown in the help.
pub const PLACEHOLDERS: &str = "%k key, %v value, %p partition, %o offset, %t time, %T time in milliseconds, \
                                %h headers, %s topic, %% percent; \\n \\t \\r \\0 \\\\";

impl Format {
    /// # Errors
    /// Which placeholder there is not.
    pub fn read(text: &str, null: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let piece = match letter {
                '%' => match letters.next() {
                    Some('k') => Piece::Key,
                    Some('v') => Piece::Value,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('t') => Piece::Time,
                    Some('T') => Piece::TimeMs,
                    Some('h') => Piece::Headers,
                    Some('s') => Piece::Topic,
                    Some('%') => {
                        literal.push(b'%');
                        continue;
                    }
                    other => {
                        let other = other.map(String::from).unwrap_or_default();
                        return Err(format!("there is no placeholder %{other}: {PLACEHOLDERS}"));
                    }
                },
                letter => {
                    let letter = if letter == '\\' { read_escape(letters.next())? } else { letter };
                    literal.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Format { pieces, null: null.as_bytes().to_vec() })
    }

    /// Appends one record.
    pub fn write(&self, out: &mut Vec<u8>, topic: &str, partition: i32, offset: i64, record: &Record<'_>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(offset.to_string().as_bytes()),
                Piece::Key => out.extend_from_slice(record.key.unwrap_or(&self.null)),
                Piece::Value => out.extend_from_slice(record.value.unwrap_or(&self.null)),
                Piece::Time => out.extend_from_slice(time_of(record).as_deref().unwrap_or("-").as_bytes()),
                Piece::TimeMs => out.extend_from_slice(record.timestamp_ms.to_string().as_bytes()),
                Piece::Headers => {
                    for (at, (name, value)) in record.headers().enumerate() {
                        if at > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(name);
                        out.push(b'=');
                        out.extend_from_slice(value.unwrap_or(&self.null));
                    }
                }
            }
        }
    }
}

/// Text in which `\n`, `\t`, `\r`, `\0` and `\\` stand for what they stand for everywhere.
///
/// # Errors
/// Which other there is.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.push(if letter == '\\' { read_escape(letters.next())? } else { letter });
    }
    Ok(out)
}

fn read_escape(letter: Option<char>) -> Result<char, String> {
    match letter {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        other => Err(format!(
            "\\{} stands for nothing: \\n \\t \\r \\0 \\\\ do",
            other.map(String::from).unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::batch::{Numbering, Records, build, inflate};

    fn with_record(new: NewRecord, look: impl Fn(&Record<'_>)) {
        let batch = build(&[new], Numbering::NONE);
        let records = inflate(batch.bytes(), batch.header()).unwrap();
        look(&Records::of(&records, batch.header()).next().unwrap().unwrap());
    }

    fn sample() -> NewRecord {
        NewRecord {
            timestamp_ms: 1_795_593_600_000,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(&[0xff, 0])),
            headers: vec![(Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))), (Bytes::from_static(b"b"), None)],
        }
    }

    #[test]
    fn a_record_in_json_is_read_as_it_was() {
        with_record(sample(), |record| {
            let json = serde_json::to_string(&JsonRecord::new("t", 3, 7, record)).unwrap();
            assert_eq!(
                json,
                r#"{"topic":"t","partition":3,"offset":7,"timestamp":"2026-11-25T08:00:00.000Z","timestamp_ms":1795593600000,"#
                    .to_owned()
                    + r#""key":"k","value":null,"value_base64":"/wA=","headers":[{"name":"a","value":"1"},{"name":"b","value":null}]}"#
            );
            assert_eq!(read_json(json.as_bytes(), 5), Ok((sample(), Some(3))));
        });
        assert_eq!(read_json(b"{\"value\":null}", 5).unwrap().0, NewRecord { timestamp_ms: 5, ..NewRecord::default() });
        assert!(read_json(b"{\"vlaue\":1}", 5).unwrap_err().contains("vlaue"));
        assert!(read_json(b"{\"key\":\"a\",\"key_base64\":\"YQ==\"}", 5).unwrap_err().contains("exclude"));
    }

    #[test]
    fn placeholders_are_filled_in() {
        let format = Format::read(r"%s-%p@%o %t %T %k [%h] 100%%\t%k\n", "NULL").unwrap();
        with_record(sample(), |record| {
            let mut out = Vec::new();
            format.write(&mut out, "t", 3, 7, record);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text, "t-3@7 2026-11-25T08:00:00.000Z 1795593600000 k [a=1,b=NULL] 100%\tk\n");
        });
        assert!(Format::read("%x", "").is_err());
        assert!(Format::read("%", "").is_err());
        assert!(Format::read("\\x", "").is_err());
        assert_eq!(unescape(r"a\tb\\"), Ok("a\tb\\".to_owned()));
    }
}
