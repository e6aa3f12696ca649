// SPDX-License-Identifier: Apache-2.0
//! A frame's body: entries, back to back. Each is an outcome that `State::apply` folds.
//!
//! Owns: the layout, its encoder and decoder. Must not know: why something was decided; what a frame's header holds.
//!
//! Layout (little-endian; an entry starts 8-aligned, its payload is padded with zeros to a multiple of 8):
//! ```text
//!  0 len u32 (of the payload, without padding) | 4 kind u8 | 5 origin u8 | 6 flags u16 | 8 object u64 | 16 aux u64 | 24 payload
//!
//! kind                object         aux                      payload
//!  1 Append           partition      wall clock then, ms      one record batch, base offset and leader epoch in place
//!  2 Ref              reserved: a record whose payload rests in another partition (its home), with deadline and header patch
//!  3 Control          reserved: a transaction marker
//!  4 Void             reserved: offsets whose records were compacted away
//!  8 Trim             partition      the new start            none
//! 16 TopicPut         0              0                        a topic (object.rs)
//! 17 TopicDelete      0              0                        topic id 16 B
//! 18 PartitionPut     0              0                        a hosted topic (object.rs), then rows to the end:
//!                                                             { partition u64, index u32, epoch base i32 }
//! 19 PartitionDrop    0              0                        partition ids u64
//! 20 SegmentsGone     0              0                        segment numbers u64: the files may be missing from here on
//! 24 ProducerIds      0              first id not leased      none
//! 25 ProducerForget   partition      producer id              none
//! 32 Note             coordinator    length of the key        key, then value; flag 1: there is a value
//! ```
//! `origin` says through which head a batch came (`command::Origin`), outside the batch, so that no client can forge it; it is 0
//! elsewhere. A kind, origin or flag that is not in this table was written by a newer version: the start is refused by name.

use crate::catalog::Topic;
use crate::command::Origin;
use crate::coordinator::Note;
use crate::format::FormatError;
use crate::format::v1::fields::Fields;
use crate::format::v1::object::{OFFSET_MAX, put_hosted, put_topic, read_hosted, read_topic};
use crate::log::partition::{Hosted, HostedRow};
use bytes::Bytes;
use model::batch::{self, HEADER_BYTES, Header};
use model::{LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use std::sync::Arc;

/// Bytes before an entry's payload.
pub const ENTRY_HEADER_BYTES: usize = 24;
/// Where in them the origin stands.
pub(crate) const ORIGIN_AT: usize = 5;

const APPEND: u8 = 1;
const REF: u8 = 2;
const CONTROL: u8 = 3;
const VOID: u8 = 4;
const TRIM: u8 = 8;
const TOPIC_PUT: u8 = 16;
const TOPIC_DELETE: u8 = 17;
const PARTITION_PUT: u8 = 18;
const PARTITION_DROP: u8 = 19;
const SEGMENTS_GONE: u8 = 20;
const PRODUCER_IDS: u8 = 24;
const PRODUCER_FORGET: u8 = 25;
const NOTE: u8 = 32;

const NOTE_HAS_VALUE: u16 = 1;

/// One outcome. What `State::apply` folds, live and at replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Append(Append),
    Trim {
        partition: PartitionId,
        before: Offset,
    },
    TopicPut(Arc<Topic>),
    TopicDelete(TopicId),
    PartitionPut {
        hosted: Arc<Hosted>,
        rows: Vec<HostedRow>,
    },
    PartitionDrop {
        partitions: Vec<PartitionId>,
    },
    /// No partition refers to these any more, and their files are removed before a checkpoint says so.
    SegmentsGone {
        numbers: Vec<u64>,
    },
    ProducerIds {
        next: u64,
    },
    ProducerForget {
        partition: PartitionId,
        producer: ProducerId,
    },
    Note {
        which: u8,
        note: Note,
    },
}

/// A batch in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    pub partition: PartitionId,
    pub origin: Origin,
    /// The wall clock when it was ordered.
    pub appended_ms: u64,
    /// As patched.
    pub header: Header,
    /// Where the batch stands in its frame's body.
    pub pos: u32,
}

/// Bytes that an entry with this payload takes in a body.
pub const fn entry_bytes(payload_bytes: usize) -> usize {
    ENTRY_HEADER_BYTES + payload_bytes.next_multiple_of(8)
}

fn put_header(body: &mut Vec<u8>, len: usize, kind: u8, origin: u8, flags: u16, object: u64, aux: u64) {
    let mut header = [0; ENTRY_HEADER_BYTES];
    header[0..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4] = kind;
    header[ORIGIN_AT] = origin;
    header[6..8].copy_from_slice(&flags.to_le_bytes());
    header[8..16].copy_from_slice(&object.to_le_bytes());
    header[16..24].copy_from_slice(&aux.to_le_bytes());
    body.extend_from_slice(&header);
}

/// Appends a batch to a body, with its base offset and leader epoch patched into the copy. Returns what was logged.
pub(crate) fn put_append(
    body: &mut Vec<u8>,
    partition: PartitionId,
    origin: Origin,
    appended_ms: u64,
    batch: &batch::Batch,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
) -> Record {
    let bytes = batch.bytes();
    put_header(body, bytes.len(), APPEND, origin as u8, 0, partition.0, appended_ms);
    let pos = body.len();
    body.extend_from_slice(bytes);
    batch::patch(&mut body[pos..], base_offset, leader_epoch);
    pad(body);
    let header = Header { base_offset, leader_epoch, ..*batch.header() };
    Record::Append(Append { partition, origin, appended_ms, header, pos: pos as u32 })
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(8), 0);
}

/// Appends any other outcome.
///
/// # Panics
/// For `Append`, which has a function of its own because its bytes are elsewhere.
pub(crate) fn put(body: &mut Vec<u8>, record: &Record) {
    let start = body.len();
    let (mut kind, mut flags, mut object, mut aux) = (0, 0, 0, 0);
    put_header(body, 0, kind, 0, flags, object, aux);
    match record {
        Record::Append(_) => unreachable!("put_append"),
        Record::Trim { partition, before } => (kind, object, aux) = (TRIM, partition.0, before.0),
        Record::TopicPut(topic) => {
            kind = TOPIC_PUT;
            put_topic(body, topic);
        }
        Record::TopicDelete(topic) => {
            kind = TOPIC_DELETE;
            body.extend_from_slice(&topic.0);
        }
        Record::PartitionPut { hosted, rows } => {
            kind = PARTITION_PUT;
            put_hosted(body, hosted);
            for row in rows {
                body.extend_from_slice(&row.partition.0.to_le_bytes());
                body.extend_from_slice(&row.index.to_le_bytes());
                body.extend_from_slice(&row.epoch_base.to_le_bytes());
            }
        }
        Record::PartitionDrop { partitions } => {
            kind = PARTITION_DROP;
            for partition in partitions {
                body.extend_from_slice(&partition.0.to_le_bytes());
            }
        }
        Record::SegmentsGone { numbers } => {
            kind = SEGMENTS_GONE;
            numbers.iter().for_each(|number| body.extend_from_slice(&number.to_le_bytes()));
        }
        Record::ProducerIds { next } => (kind, aux) = (PRODUCER_IDS, *next),
        Record::ProducerForget { partition, producer } => {
            (kind, object, aux) = (PRODUCER_FORGET, partition.0, producer.0 as u64);
        }
        Record::Note { which, note } => {
            (kind, object, aux) = (NOTE, u64::from(*which), note.key.len() as u64);
            body.extend_from_slice(&note.key);
            if let Some(value) = &note.value {
                flags = NOTE_HAS_VALUE;
                body.extend_from_slice(value);
            }
        }
    }
    let mut header = Vec::with_capacity(ENTRY_HEADER_BYTES);
    put_header(&mut header, body.len() - start - ENTRY_HEADER_BYTES, kind, 0, flags, object, aux);
    body[start..start + ENTRY_HEADER_BYTES].copy_from_slice(&header);
    pad(body);
}

/// About how many bytes [`put`] will take: at least as many, for keeping a group in one frame.
pub(crate) fn put_bytes(record: &Record) -> usize {
    let payload = match record {
        Record::Append(append) => append.header.bytes,
        Record::TopicPut(topic) => {
            let stored: usize = topic.settings.stored.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
            80 + topic.name.len() + stored + topic.partitions.len() * 16
        }
        Record::PartitionPut { hosted, rows } => 80 + hosted.name.len() + rows.len() * 16,
        Record::PartitionDrop { partitions } => partitions.len() * 8,
        Record::SegmentsGone { numbers } => numbers.len() * 8,
        Record::Note { note, .. } => note.key.len() + note.value.as_ref().map_or(0, Bytes::len),
        Record::Trim { .. } | Record::TopicDelete(_) | Record::ProducerIds { .. } | Record::ProducerForget { .. } => 16,
    };
    entry_bytes(payload)
}

/// Walks the entries of a body. Total: ends after the first that is not well formed.
pub struct Entries<'a> {
    body: &'a Bytes,
    pos: usize,
}

impl<'a> Entries<'a> {
    pub fn of(body: &'a Bytes) -> Entries<'a> {
        Entries { body, pos: 0 }
    }

    fn read(&mut self) -> Result<Record, FormatError> {
        let start = self.pos;
        let damaged = |at: usize, why: &str| FormatError::damaged(at as u64, why);
        let header: &[u8; ENTRY_HEADER_BYTES] =
            self.body[start..].first_chunk().ok_or_else(|| damaged(start, "the body ends inside an entry's header"))?;
        let mut fields = Fields::of(header);
        let (len, kind, origin) = (fields.u32() as usize, fields.u8(), fields.u8());
        let flags = fields.i16() as u16;
        let (object, aux) = (fields.u64(), fields.u64());
        let pos = start + ENTRY_HEADER_BYTES;
        let end = pos.checked_add(len).filter(|end| end.next_multiple_of(8) <= self.body.len());
        let end = end.ok_or_else(|| damaged(start, "an entry is longer than its frame"))?;
        let padded = end.next_multiple_of(8);
        if self.body[end..padded].iter().any(|byte| *byte != 0) {
            return Err(damaged(end, "padding is not zero"));
        }
        let flags_known = if kind == NOTE { NOTE_HAS_VALUE } else { 0 };
        if flags & !flags_known != 0 {
            return Err(FormatError::Newer { feature: format!("flags {flags:#06x} of entry kind {kind}") });
        }
        let payload = &self.body[pos..end];
        let record = match kind {
            APPEND => Record::Append(read_append(PartitionId(object), origin, aux, payload, pos)?),
            REF | CONTROL | VOID => {
                return Err(FormatError::Newer { feature: format!("entry kind {kind}, reserved in version 1") });
            }
            TRIM => {
                if aux > OFFSET_MAX {
                    return Err(damaged(start, "a trim beyond the last possible offset"));
                }
                Record::Trim { partition: PartitionId(object), before: Offset(aux) }
            }
            TOPIC_PUT => {
                let mut fields = Fields::of(payload);
                let topic = read_topic(&mut fields);
                fields.end().map_err(|at| damaged(pos + at, "a topic is not well formed"))?;
                Record::TopicPut(Arc::new(topic))
            }
            TOPIC_DELETE => {
                let mut fields = Fields::of(payload);
                let topic = TopicId(fields.id());
                fields.end().map_err(|at| damaged(pos + at, "a topic id has 16 bytes"))?;
                Record::TopicDelete(topic)
            }
            PARTITION_PUT => {
                let mut fields = Fields::of(payload);
                let hosted = Arc::new(read_hosted(&mut fields));
                let mut rows = Vec::new();
                while !fields.failed() && !fields.is_empty() {
                    let row = HostedRow {
                        partition: PartitionId(fields.u64()),
                        index: fields.u32(),
                        epoch_base: fields.i32(),
                    };
                    fields.require(row.partition.0 < u64::MAX);
                    rows.push(row);
                }
                fields.end().map_err(|at| damaged(pos + at, "a hosted topic is not well formed"))?;
                Record::PartitionPut { hosted, rows }
            }
            PARTITION_DROP => {
                let mut fields = Fields::of(payload);
                let mut partitions = Vec::new();
                while !fields.failed() && !fields.is_empty() {
                    partitions.push(PartitionId(fields.u64()));
                }
                fields.end().map_err(|at| damaged(pos + at, "a partition id has 8 bytes"))?;
                Record::PartitionDrop { partitions }
            }
            SEGMENTS_GONE => {
                let mut fields = Fields::of(payload);
                let mut numbers = Vec::new();
                while !fields.failed() && !fields.is_empty() {
                    numbers.push(fields.u64());
                }
                fields.end().map_err(|at| damaged(pos + at, "a segment's number has 8 bytes"))?;
                Record::SegmentsGone { numbers }
            }
            PRODUCER_IDS => {
                if aux > i64::MAX as u64 {
                    return Err(damaged(start, "a producer id beyond the last possible"));
                }
                Record::ProducerIds { next: aux }
            }
            PRODUCER_FORGET => {
                Record::ProducerForget { partition: PartitionId(object), producer: ProducerId(aux as i64) }
            }
            NOTE => {
                let which = u8::try_from(object).map_err(|_| damaged(start, "a coordinator's number is below 256"))?;
                let key_bytes = usize::try_from(aux).ok().filter(|bytes| *bytes <= len);
                let key_bytes = key_bytes.ok_or_else(|| damaged(start, "a note's key is longer than the note"))?;
                let has_value = flags & NOTE_HAS_VALUE != 0;
                if !has_value && key_bytes != len {
                    return Err(damaged(start, "a note without value has bytes behind its key"));
                }
                // Copies: a note outlives its frame.
                let key = Bytes::copy_from_slice(&payload[..key_bytes]);
                let value = has_value.then(|| Bytes::copy_from_slice(&payload[key_bytes..]));
                Record::Note { which, note: Note { key, value } }
            }
            kind => return Err(FormatError::Newer { feature: format!("entry kind {kind}") }),
        };
        self.pos = padded;
        Ok(record)
    }
}

fn read_append(
    partition: PartitionId,
    origin: u8,
    appended_ms: u64,
    payload: &[u8],
    pos: usize,
) -> Result<Append, FormatError> {
    let origin = Origin::from_number(origin)
        .ok_or_else(|| FormatError::Newer { feature: format!("origin {origin} of a batch") })?;
    let header = Header::read(payload)
        .filter(|header| header.bytes == payload.len() && header.bytes >= HEADER_BYTES && header.last_offset_delta >= 0)
        .filter(|header| header.base_offset.0 < OFFSET_MAX - header.last_offset_delta as u64)
        .ok_or_else(|| FormatError::damaged(pos as u64, "an appended batch is not well formed"))?;
    Ok(Append { partition, origin, appended_ms, header, pos: pos as u32 })
}

impl Iterator for Entries<'_> {
    type Item = Result<Record, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.body.len() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.pos = self.body.len();
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Placement;
    use crate::command::TopicSettings;
    use crate::format::v1::object::hosted_of;
    use model::batch::{NewRecord, Numbering, build};
    use model::{NamespaceId, ShardId};
    use proptest::prelude::*;

    fn every_kind() -> (Bytes, Vec<Record>) {
        let topic = Arc::new(Topic {
            id: TopicId([1; 16]),
            namespace: NamespaceId(0),
            name: "t".into(),
            partitions: [Placement { partition: PartitionId(4), shard: ShardId(0), epoch_base: 0 }].into(),
            settings: TopicSettings::default(),
        });
        let hosted = hosted_of(&topic);
        let records = vec![
            Record::TopicPut(topic.clone()),
            Record::PartitionPut {
                hosted,
                rows: vec![HostedRow { partition: PartitionId(4), index: 0, epoch_base: 0 }],
            },
            Record::Trim { partition: PartitionId(4), before: Offset(1) },
            Record::ProducerIds { next: 1000 },
            Record::ProducerForget { partition: PartitionId(4), producer: ProducerId(3) },
            Record::Note { which: 2, note: Note { key: "key".into(), value: Some("value".into()) } },
            Record::Note { which: 2, note: Note { key: "key".into(), value: None } },
            Record::Note { which: 2, note: Note { key: "".into(), value: Some("".into()) } },
            Record::PartitionDrop { partitions: vec![PartitionId(4)] },
            Record::SegmentsGone { numbers: vec![3, 8] },
            Record::TopicDelete(topic.id),
        ];
        let mut body = Vec::new();
        let batch = build(&[NewRecord::default()], Numbering::NONE);
        let append = put_append(&mut body, PartitionId(4), Origin::Kafka, 77, &batch, Offset(9), LeaderEpoch(5));
        for record in &records {
            let before = body.len();
            put(&mut body, record);
            assert!(body.len() - before <= put_bytes(record), "{record:?}");
        }
        (body.into(), [vec![append], records].concat())
    }

    #[test]
    fn every_kind_is_read_back() {
        let (body, records) = every_kind();
        let read: Result<Vec<Record>, FormatError> = Entries::of(&body).collect();
        assert_eq!(read, Ok(records));
    }

    #[test]
    fn what_a_newer_version_wrote_is_named() {
        for kind in [REF, CONTROL, VOID, 200] {
            let mut body = Vec::new();
            put_header(&mut body, 0, kind, 0, 0, 0, 0);
            let Some(Err(FormatError::Newer { feature })) = Entries::of(&body.into()).next() else {
                panic!("kind {kind}")
            };
            assert!(feature.contains(&format!("kind {kind}")), "{feature}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_refused(bytes in any::<Vec<u8>>()) {
            for entry in Entries::of(&bytes.into()) {
                let _ = entry;
            }
        }

        #[test]
        fn any_change_of_good_entries_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut body = every_kind().0.to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            body.truncate(cut.index(body.len()) + 1);
            for entry in Entries::of(&body.into()) {
                let _ = entry;
            }
        }
    }
}
