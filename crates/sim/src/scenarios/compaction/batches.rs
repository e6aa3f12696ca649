// SPDX-License-Identifier: Apache-2.0
//! Batches of records with keys, that say who they are: each has its number in a header, and its key, value and time follow from what was
//! noted when it was sent. So whoever gets one, however often it was written anew, can tell whether it is as it was sent.
//!
//! Owns: making and walking them. Must not know: who reads, and whether a record should still be there.

use crate::value;
use bytes::Bytes;
use model::batch::{self, Batch, CRC_START, HEADER_BYTES, Header, NewRecord, Numbering, Records};
use model::compression::Compression;
use model::crc;

/// What was sent of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// No other record has it; a client's grow.
    pub number: u64,
    /// `None`: without a key.
    pub key: Option<u64>,
    /// `None`: a tombstone.
    pub value_bytes: Option<u32>,
    pub timestamp_ms: i64,
}

/// One batch of them.
///
/// # Errors
/// The compressing library's.
pub fn build(contents: &[Content], numbering: Numbering, compression: Compression) -> std::io::Result<Batch> {
    let records: Vec<NewRecord> = contents.iter().map(record).collect();
    let plain = batch::build(&records, numbering);
    if compression == Compression::None { Ok(plain) } else { batch::compressed(&plain, compression) }
}

fn record(content: &Content) -> NewRecord {
    NewRecord {
        timestamp_ms: content.timestamp_ms,
        key: content.key.map(key),
        value: content.value_bytes.map(|bytes| value::payload(content.number, bytes as usize).into()),
        headers: vec![(NAME.into(), Some(Bytes::copy_from_slice(&content.number.to_be_bytes()))), ("no".into(), None)],
    }
}

const NAME: &str = "number";

/// The key of that number: an empty one, short and long ones.
fn key(number: u64) -> Bytes {
    match number {
        0 => Bytes::new(),
        _ if number.is_multiple_of(3) => format!("key {number:>60}").into(),
        _ => format!("k{number}").into(),
    }
}

/// What a reader is given of one batch.
#[derive(Clone, Debug)]
pub struct Got {
    pub header: Header,
    /// Offset and number of each record.
    pub records: Vec<(u64, u64)>,
}

/// Walks whole batches, and compares each record with what was sent under its number.
///
/// # Errors
/// What is wrong with them, in words.
pub fn walk(piece: &Bytes, sent: impl Fn(u64) -> Option<Content>) -> Result<Vec<Got>, String> {
    let mut rest = piece.clone();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let header = Header::read(&rest).filter(|header| header.bytes <= rest.len() && header.bytes >= HEADER_BYTES);
        let header = header.ok_or("what was read is no whole batch")?;
        let one = rest.split_to(header.bytes);
        let base = header.base_offset.0;
        if crc::crc32c(&one[CRC_START..]) != header.crc {
            return Err(format!("the batch at {base} has a wrong checksum"));
        }
        let inner = batch::inflate(&one, &header).map_err(|_| format!("the batch at {base} cannot be inflated"))?;
        let mut records = Vec::new();
        let mut before = -1;
        let mut latest_ms = i64::MIN;
        for given in Records::of(&inner, &header) {
            let given = given.map_err(|error| format!("the batch at {base}: {error}"))?;
            if given.offset_delta <= before || given.offset_delta > header.last_offset_delta {
                return Err(format!("in the batch at {base} offset delta {} follows {before}", given.offset_delta));
            }
            before = given.offset_delta;
            latest_ms = latest_ms.max(given.timestamp_ms);
            let offset = base + given.offset_delta as u64;
            let number = given.headers().find(|(name, _)| *name == NAME.as_bytes()).and_then(|(_, value)| value);
            let number = number.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
            let content = number.and_then(&sent).ok_or_else(|| format!("nobody sent what stands at {offset}"))?;
            let wanted = record(&content);
            let headers = wanted.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref()));
            if given.key != wanted.key.as_deref()
                || given.value != wanted.value.as_deref()
                || given.timestamp_ms != wanted.timestamp_ms
                || !given.headers().eq(headers)
            {
                return Err(format!("record {} at {offset} is not as it was sent: {given:?}", content.number));
            }
            records.push((offset, content.number));
        }
        if latest_ms > header.max_timestamp_ms {
            return Err(format!("the batch at {base} has a record of {latest_ms}, later than its largest time"));
        }
        out.push(Got { header, records });
    }
    Ok(out)
}
