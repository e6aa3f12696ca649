// SPDX-License-Identifier: Apache-2.0
//! The record batch: the one format of messages on the wire of Kafka, in the log, in segments and in memory.
//!
//! Owns: the header's layout, its checks, the records inside. A batch is kept exactly as received; only base offset and leader
//! epoch, which lie outside its checksum, are patched.
//! Must not know: who sent it, where it rests.
//!
//! Layout (magic 2, all big-endian; the Kafka protocol guide, "Record Batch"):
//! ```text
//!  0 base_offset i64 | 8 length i32 (of what follows) | 12 leader_epoch i32 | 16 magic i8 | 17 crc u32 (of all from 21)
//! 21 attributes i16: bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 has delete horizon
//! 23 last_offset_delta i32 | 27 base_timestamp i64 | 35 max_timestamp i64
//! 43 producer_id i64 | 51 producer_epoch i16 | 53 base_sequence i32 | 57 record_count i32 | 61 records, compressed or not
//! record: length varint | attributes i8 | timestamp delta varlong | offset delta varint | key | value | headers
//! ```

use crate::compression::{self, Compression, InflateError};
use crate::limits::BATCH_BYTES_MAX;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, crc, varint};
use bytes::Bytes;
use std::fmt;

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before what the `length` field counts.
pub const LENGTH_END: usize = 12;
/// What the checksum covers starts here.
pub const CRC_START: usize = 21;

const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;
const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;

/// A batch header, decoded. Nothing of it is checked but that the bytes were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: Offset,
    /// Of the whole batch, header included.
    pub bytes: usize,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl Header {
    /// Decodes a header. `None` when fewer than [`HEADER_BYTES`] are there, or the length field is negative.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let length = i32::from_be_bytes(field(bytes, 8));
        Some(Header {
            base_offset: Offset(u64::from_be_bytes(field(bytes, 0))),
            bytes: LENGTH_END + usize::try_from(length).ok()?,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            magic: bytes[16] as i8,
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp_ms: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(bytes, 35)),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// How the records are compressed; `None` for a number that has no meaning.
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_number((self.attributes & 7) as u8)
    }

    /// True when the broker's clock stamped the batch (all its records carry `max_timestamp_ms`).
    pub fn log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// True when the batch belongs to a transaction.
    pub fn transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// True when the batch holds a transaction marker instead of messages.
    pub fn control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// When compaction may remove the tombstones of this batch: it has found them to be the last of their keys, and stamped
    /// the batch then. (The base timestamp gives up its place for it; record times count from there all the same.)
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & ATTRIBUTE_DELETE_HORIZON != 0).then_some(self.base_timestamp_ms)
    }

    /// True when the sender numbered its records, so that a repeat can be told.
    pub fn idempotent(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.base_offset.plus(u64::try_from(self.last_offset_delta).unwrap_or(0) + 1)
    }

    /// The sequence number of the last record. Sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        sequence_plus(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence number `count` later; sequences wrap from `i32::MAX` to 0.
pub fn sequence_plus(sequence: i32, count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1)) as i32
}

fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Why a batch from outside is refused. The head answers each with its protocol's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// No bytes at all.
    Empty,
    /// The length field and the bytes disagree, or there are fewer bytes than a header has.
    Length,
    /// More bytes than `BATCH_BYTES_MAX` (or the topic's own limit) allow.
    TooLarge { bytes: usize, bytes_max: usize },
    /// An older or unknown format: message sets (magic 0 and 1) are not taken.
    Magic(i8),
    /// The checksum is wrong.
    Crc,
    /// A compression that does not exist, or attributes a client may not set.
    Attributes(i16),
    /// `record_count` is not `last_offset_delta + 1`, is not positive, or is not the number of records there.
    Count,
    /// The sender's numbering makes no sense (a producer id without epoch or sequence).
    Sequence,
    /// A record inside is not well formed, or bytes are left over.
    Record,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Empty => f.write_str("the batch is empty"),
            BatchError::Length => f.write_str("the batch's length field and its bytes disagree"),
            BatchError::TooLarge { bytes, bytes_max } => {
                write!(f, "the batch has {bytes} bytes and the limit is {bytes_max}")
            }
            BatchError::Magic(magic) => write!(f, "record format {magic} is not taken, only format 2"),
            BatchError::Crc => f.write_str("the batch's checksum is wrong"),
            BatchError::Attributes(attributes) => write!(f, "batch attributes {attributes:#06x} are not allowed here"),
            BatchError::Count => f.write_str("the record count is wrong"),
            BatchError::Sequence => f.write_str("the producer id, epoch and sequence do not go together"),
            BatchError::Record => f.write_str("a record is not well formed"),
        }
    }
}

impl std::error::Error for BatchError {}

/// One whole batch whose header, checksum and (where they are not compressed) records have been checked. The kernel takes
/// messages in this form only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    header: Header,
}

impl Batch {
    /// Checks `bytes` as exactly one batch from a client. `bytes_max` is the topic's limit for one batch.
    ///
    /// Control batches are refused: only the broker writes them. Records inside a compressed batch are not opened.
    pub fn check(bytes: Bytes, bytes_max: usize) -> Result<Batch, BatchError> {
        if bytes.is_empty() {
            return Err(BatchError::Empty);
        }
        // Magic stands at the same place in all three formats, so an old message set gets its own answer.
        if let Some(&magic) = bytes.get(16)
            && magic as i8 != 2
        {
            return Err(BatchError::Magic(magic as i8));
        }
        let header = Header::read(&bytes).ok_or(BatchError::Length)?;
        if header.bytes != bytes.len() || header.bytes < HEADER_BYTES {
            return Err(BatchError::Length);
        }
        let bytes_max = bytes_max.min(BATCH_BYTES_MAX);
        if bytes.len() > bytes_max {
            return Err(BatchError::TooLarge { bytes: bytes.len(), bytes_max });
        }
        if crc::crc32c(&bytes[CRC_START..]) != header.crc {
            return Err(BatchError::Crc);
        }
        let compression = header.compression().ok_or(BatchError::Attributes(header.attributes))?;
        if header.control() {
            return Err(BatchError::Attributes(header.attributes));
        }
        if header.record_count < 1 || i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
            return Err(BatchError::Count);
        }
        if header.idempotent() && (header.producer_epoch.0 < 0 || header.base_sequence < 0) {
            return Err(BatchError::Sequence);
        }
        let batch = Batch { bytes, header };
        if compression == Compression::None {
            let mut count = 0;
            for record in Records::of(&batch.bytes[HEADER_BYTES..], &header) {
                let record = record?;
                if record.offset_delta != count {
                    return Err(BatchError::Record);
                }
                count += 1;
            }
            if count != header.record_count {
                return Err(BatchError::Count);
            }
        }
        Ok(batch)
    }

    /// The bytes as received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The header as received.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

/// Writes the two fields that the broker decides into the first 16 bytes of a batch.
///
/// # Panics
/// When `batch` is shorter than 16 bytes.
pub fn patch(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset_delta: i32,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Encoded headers, `header_count` of them: (key length, key, value length or -1, value).
    pub headers: &'a [u8],
    pub header_count: i32,
}

/// Walks the records of one batch, uncompressed. Ends after `record_count` records or at the first that is not well formed;
/// bytes left over after the last are reported as an error too.
pub struct Records<'a> {
    rest: &'a [u8],
    left: i32,
    base_timestamp_ms: i64,
    append_timestamp_ms: Option<i64>,
}

impl<'a> Records<'a> {
    /// `records` are the bytes behind the header, already inflated.
    pub fn of(records: &'a [u8], header: &Header) -> Records<'a> {
        Records {
            rest: records,
            left: header.record_count,
            base_timestamp_ms: header.base_timestamp_ms,
            append_timestamp_ms: header.log_append_time().then_some(header.max_timestamp_ms),
        }
    }

    fn read(&mut self) -> Option<Record<'a>> {
        let length = usize::try_from(varint::read_i32(&mut self.rest)?).ok()?;
        let (mut body, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let (_attributes, after) = body.split_first()?;
        body = after;
        let timestamp_delta = varint::read_i64(&mut body)?;
        let offset_delta = varint::read_i32(&mut body)?;
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let header_count = varint::read_i32(&mut body)?;
        if header_count < 0 {
            return None;
        }
        let headers = body;
        for _ in 0..header_count {
            nullable(&mut body)??;
            nullable(&mut body)?;
        }
        body.is_empty().then_some(Record {
            offset_delta,
            timestamp_ms: self
                .append_timestamp_ms
                .unwrap_or_else(|| self.base_timestamp_ms.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
            header_count,
        })
    }
}

impl<'a> Record<'a> {
    /// The headers, which were looked at when the record was read.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.headers;
        (0..self.header_count).map_while(move |_| Some((nullable(&mut rest)??, nullable(&mut rest)?)))
    }
}

/// Outer `None`: not well formed. Inner `None`: null.
fn nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_i32(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let (piece, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(piece))
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            let left_over = !std::mem::take(&mut self.rest).is_empty();
            return left_over.then_some(Err(BatchError::Record));
        }
        self.left -= 1;
        match self.read() {
            Some(record) => Some(Ok(record)),
            None => {
                self.left = 0;
                self.rest = &[];
                Some(Err(BatchError::Record))
            }
        }
    }
}

/// The records' bytes of one whole batch, inflated where they are compressed.
///
/// # Errors
/// [`InflateError`]: the inner bytes are not what the header says. A reader skips and counts such a batch.
pub fn inflate(batch: &Bytes, header: &Header) -> Result<Bytes, InflateError> {
    let records = batch.slice(HEADER_BYTES.min(batch.len())..);
    match header.compression() {
        Some(Compression::None) => Ok(records),
        Some(compression) => compression::inflate(compression, &records).map(Bytes::from),
        None => Err(InflateError::Malformed),
    }
}

/// A record to be put into a batch by [`build`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The sender's numbering of a batch made by [`build`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
}

impl Numbering {
    /// No numbering: a repeat cannot be told.
    pub const NONE: Numbering =
        Numbering { producer_id: ProducerId(-1), producer_epoch: ProducerEpoch(-1), base_sequence: -1 };
}

/// Makes an uncompressed batch at base offset 0 of at least one record.
///
/// # Panics
/// When `records` is empty or the result would not fit the format's 32-bit lengths.
pub fn build(records: &[NewRecord], numbering: Numbering) -> Batch {
    let (first, count) = (records.first().expect("a batch has a record"), i32::try_from(records.len()).expect("count"));
    let max_timestamp_ms = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(first.timestamp_ms);
    let mut out = vec![0; HEADER_BYTES];
    let mut body = Vec::new();
    for (delta, record) in records.iter().enumerate() {
        body.clear();
        body.push(0);
        varint::write_i64(&mut body, record.timestamp_ms - first.timestamp_ms);
        varint::write_i64(&mut body, delta as i64);
        write_nullable(&mut body, record.key.as_deref());
        write_nullable(&mut body, record.value.as_deref());
        varint::write_i64(&mut body, record.headers.len() as i64);
        for (key, value) in &record.headers {
            write_nullable(&mut body, Some(key));
            write_nullable(&mut body, value.as_deref());
        }
        varint::write_i64(&mut out, body.len() as i64);
        out.extend_from_slice(&body);
    }
    let length = i32::try_from(out.len() - LENGTH_END).expect("length");
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    out[16] = 2;
    out[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    out[27..35].copy_from_slice(&first.timestamp_ms.to_be_bytes());
    out[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    out[43..51].copy_from_slice(&numbering.producer_id.0.to_be_bytes());
    out[51..53].copy_from_slice(&numbering.producer_epoch.0.to_be_bytes());
    out[53..57].copy_from_slice(&numbering.base_sequence.to_be_bytes());
    out[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc::crc32c(&out[CRC_START..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    let header = Header::read(&out).expect("a whole header was just written");
    Batch { bytes: out.into(), header }
}

/// The same batch with its records compressed; as it was, where that makes it no smaller.
///
/// # Errors
/// The compressing library's.
pub fn compressed(batch: &Batch, compression: Compression) -> std::io::Result<Batch> {
    let records = compression::compress(compression, &batch.bytes[HEADER_BYTES..])?;
    if HEADER_BYTES + records.len() >= batch.bytes.len() {
        return Ok(batch.clone());
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len());
    out.extend_from_slice(&batch.bytes[..HEADER_BYTES]);
    out.extend_from_slice(&records);
    let attributes = (batch.header.attributes & !7) | i16::from(compression.number());
    let length = (out.len() - LENGTH_END) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    let crc = crc::crc32c(&out[CRC_START..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    let header = Header { bytes: out.len(), crc, attributes, ..batch.header };
    Ok(Batch { bytes: out.into(), header })
}

/// What [`thinned`] makes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thinned {
    /// All of it stays, byte for byte.
    Whole,
    /// These bytes take its place.
    Thinner(Bytes),
    /// Nothing of it is left.
    Gone,
}

/// Leaves records out of a stored batch. What is told of the batch as a whole stays: its offsets, its producer and numbering,
/// leader epoch, compression; so offsets inside get gaps, and the count no longer follows from the last offset.
/// Where a record without value stays, `horizon_ms` is stamped on the batch ([`Header::delete_horizon_ms`]), if it has no such stamp yet.
///
/// # Errors
/// `InflateError`: the records cannot be read, or not be compressed again; nothing is known of them.
pub fn thinned(
    batch: &Bytes,
    header: &Header,
    horizon_ms: i64,
    mut stays: impl FnMut(&Record<'_>) -> bool,
) -> Result<Thinned, InflateError> {
    let inner = inflate(batch, header)?;
    let mut kept = Vec::new();
    for record in Records::of(&inner, header) {
        let record = record.map_err(|_| InflateError::Malformed)?;
        if stays(&record) {
            kept.push(record);
        }
    }
    if kept.is_empty() {
        return Ok(Thinned::Gone);
    }
    let is_stamped = header.delete_horizon_ms().is_some() || kept.iter().all(|record| record.value.is_some());
    let horizon_ms = (!is_stamped).then_some(horizon_ms);
    if kept.len() == header.record_count as usize && horizon_ms.is_none() {
        return Ok(Thinned::Whole);
    }
    let base_timestamp_ms = horizon_ms.unwrap_or(header.base_timestamp_ms);
    let mut records = Vec::with_capacity(inner.len());
    let mut body = Vec::new();
    for record in &kept {
        body.clear();
        body.push(0);
        varint::write_i64(&mut body, record.timestamp_ms.wrapping_sub(base_timestamp_ms));
        varint::write_i64(&mut body, i64::from(record.offset_delta));
        write_nullable(&mut body, record.key);
        write_nullable(&mut body, record.value);
        varint::write_i64(&mut body, i64::from(record.header_count));
        body.extend_from_slice(record.headers);
        varint::write_i64(&mut records, body.len() as i64);
        records.extend_from_slice(&body);
    }
    let mut attributes = header.attributes;
    if horizon_ms.is_some() {
        attributes |= ATTRIBUTE_DELETE_HORIZON;
    }
    match header.compression() {
        Some(Compression::None) | None => {}
        Some(compression) => {
            records = compression::compress(compression, &records).map_err(|_| InflateError::Malformed)?;
        }
    }
    let latest = kept.iter().map(|record| record.timestamp_ms).max();
    let max_timestamp_ms = if header.log_append_time() { header.max_timestamp_ms } else { latest.unwrap_or(-1) };
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len());
    out.extend_from_slice(&batch[..HEADER_BYTES]);
    out.extend_from_slice(&records);
    let length = i32::try_from(out.len() - LENGTH_END).map_err(|_| InflateError::Malformed)?;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    out[27..35].copy_from_slice(&base_timestamp_ms.to_be_bytes());
    out[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    out[57..61].copy_from_slice(&(kept.len() as i32).to_be_bytes());
    let crc = crc::crc32c(&out[CRC_START..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Ok(Thinned::Thinner(out.into()))
}

fn write_nullable(out: &mut Vec<u8>, piece: Option<&[u8]>) {
    match piece {
        None => varint::write_i64(out, -1),
        Some(piece) => {
            varint::write_i64(out, piece.len() as i64);
            out.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests;
