// SPDX-License-Identifier: Apache-2.0
//! The objects of a checkpoint: what is remembered of each thing that a shard owns.
//!
//! Owns: their kinds, keys and values. Must not know: how a checkpoint file is laid out, when one is written.
//!
//! Layout (little-endian; `text` = varint length, UTF-8; `opt` = u8 0 or 1, then u64):
//! ```text
//! kind 1, meta       key: none       value: next partition id u64 | next producer id to lease u64
//! kind 2, topic      key: id 16 B    value: a topic (below)
//! kind 3, hosted     key: topic id   value: a hosted topic (below)
//! kind 4, partition  key: id u64 big-endian
//!                                    value: topic id 16 B | index u32 | epoch base i32 | start u64 | next u64
//!                                    | epochs varint, each { epoch i32, first offset u64 }
//!                                    | producers varint, each { id u64, epoch i16, last append ms u64,
//!                                                               records taken varint, batches u8,
//!                                                               each { first sequence i32, last i32, base offset u64 } }
//! kind 5, note       key: coordinator u8, then the note's key
//!                                    value: the note's value
//! kind 6, spill      key: none       value: number of the next segment u64 (no earlier one is used again)
//! kind 7, compacted  key: partition id u64 big-endian
//!                                    value: segment u64 | replaced u64 | clean u64 | tombstones due ms opt
//! topic:  id 16 B | namespace u64 | name text | limits | stored settings varint, each { name text, value text }
//!         | partitions varint, each { id u64, shard u32, epoch base i32 }
//! hosted: id 16 B | namespace u64 | name text | limits
//! limits: given u8 (1 = retention ms, 2 = compaction) | [retention ms u64] | retention bytes opt | batch bytes max u32
//!         | [compaction: lag ms min u64, lag ms max u64, tail ms max u64, tombstone ms u64, dirty permille min u32]
//! ```
//! A topic stands in its namespace's cell; a hosted topic is what a shard with partitions of it must know to act upon them.

use crate::catalog::{Placement, Topic};
use crate::command::{Compaction, TopicSettings};
use crate::format::FormatError;
use crate::format::v1::checkpoint::ObjectKey;
use crate::format::v1::fields::{Fields, put_optional_u64, put_text};
use crate::log::partition::{Hosted, HostedRow, Partition};
use crate::log::partition_producers::PartitionProducers;
use crate::log::producers::{Producer, SEQUENCED_MAX, Sequenced};
use model::{LeaderEpoch, NamespaceId, Offset, PartitionId, ProducerEpoch, ProducerId, ShardId, TopicId, varint};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const META: u8 = 1;
pub const TOPIC: u8 = 2;
pub const HOSTED: u8 = 3;
pub const PARTITION: u8 = 4;
pub const NOTE: u8 = 5;
pub const SPILL: u8 = 6;
pub const COMPACTED: u8 = 7;

/// No offset beyond this is ever given out, so that sums of offsets and batch lengths cannot overflow.
pub const OFFSET_MAX: u64 = i64::MAX as u64;

/// One object, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Meta {
        partition_next: u64,
        producer_next: u64,
    },
    Topic(Topic),
    Hosted(Hosted),
    Partition(PartitionObject),
    Note {
        which: u8,
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// Not part of the state that records are folded into.
    Spill {
        segment_next: u64,
    },
    /// Nor is this: where a partition's batches are.
    Compacted(PartitionId, Compacted),
}

/// What compaction has made of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// What stands of the partition in segments with lower numbers, below the offset `replaced`, is there no more: this segment took its
    /// place (or a later one has since taken that one's).
    pub segment: u64,
    pub replaced: Offset,
    /// Below this each key stands once.
    pub clean: Offset,
    /// When the first of the tombstones there may go.
    pub tombstones_due_ms: Option<u64>,
}

/// What is remembered of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionObject {
    pub row: HostedRow,
    pub topic: TopicId,
    pub start: Offset,
    pub next: Offset,
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    pub producers: PartitionProducers,
}

impl Compacted {
    /// A run of the partition, in this segment and beginning at this offset, counts no more.
    pub fn replaces(&self, segment: u64, first: Offset) -> bool {
        segment < self.segment && first < self.replaced
    }
}

/// What compaction has made of the partitions of a checkpoint. What cannot be decoded is left out.
pub fn compacted_of(objects: &BTreeMap<ObjectKey, Vec<u8>>) -> BTreeMap<PartitionId, Compacted> {
    let rows = objects.iter().filter(|(key, _)| key.kind == COMPACTED);
    let decoded = rows.filter_map(|(key, value)| match Object::decode(key, value) {
        Ok(Object::Compacted(id, row)) => Some((id, row)),
        _ => None,
    });
    decoded.collect()
}

pub(crate) fn key_meta() -> ObjectKey {
    ObjectKey { kind: META, key: Vec::new() }
}

pub(crate) fn key_topic(id: TopicId) -> ObjectKey {
    ObjectKey { kind: TOPIC, key: id.0.to_vec() }
}

pub(crate) fn key_hosted(id: TopicId) -> ObjectKey {
    ObjectKey { kind: HOSTED, key: id.0.to_vec() }
}

pub(crate) fn key_partition(id: PartitionId) -> ObjectKey {
    ObjectKey { kind: PARTITION, key: id.0.to_be_bytes().to_vec() }
}

pub(crate) fn key_note(which: u8, key: &[u8]) -> ObjectKey {
    ObjectKey { kind: NOTE, key: [&[which], key].concat() }
}

pub(crate) fn key_spill() -> ObjectKey {
    ObjectKey { kind: SPILL, key: Vec::new() }
}

pub(crate) fn key_compacted(id: PartitionId) -> ObjectKey {
    ObjectKey { kind: COMPACTED, key: id.0.to_be_bytes().to_vec() }
}

pub(crate) fn encode_compacted(compacted: &Compacted) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&compacted.segment.to_le_bytes());
    out.extend_from_slice(&compacted.replaced.0.to_le_bytes());
    out.extend_from_slice(&compacted.clean.0.to_le_bytes());
    put_optional_u64(&mut out, compacted.tombstones_due_ms);
    out
}

fn read_compacted(fields: &mut Fields<'_>) -> Compacted {
    let (segment, replaced, clean) = (fields.u64(), Offset(fields.u64()), Offset(fields.u64()));
    fields.require(clean <= replaced && replaced.0 <= OFFSET_MAX);
    Compacted { segment, replaced, clean, tombstones_due_ms: fields.optional_u64() }
}

pub(crate) fn encode_spill(segment_next: u64) -> Vec<u8> {
    segment_next.to_le_bytes().to_vec()
}

pub(crate) fn encode_meta(partition_next: u64, producer_next: u64) -> Vec<u8> {
    [partition_next.to_le_bytes(), producer_next.to_le_bytes()].concat()
}

pub(crate) fn encode_topic(topic: &Topic) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + topic.partitions.len() * 16);
    put_topic(&mut out, topic);
    out
}

pub(crate) fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    let settings = &topic.settings;
    out.extend_from_slice(&topic.id.0);
    out.extend_from_slice(&topic.namespace.0.to_le_bytes());
    put_text(out, &topic.name);
    let TopicSettings { retention_ms, retention_bytes, batch_bytes_max, compaction, .. } = *settings;
    put_limits(out, &Limits { retention_ms, retention_bytes, batch_bytes_max, compaction });
    varint::write_u64(out, settings.stored.len() as u64);
    for (name, value) in settings.stored.iter() {
        put_text(out, name);
        put_text(out, value);
    }
    varint::write_u64(out, topic.partitions.len() as u64);
    for placement in topic.partitions.iter() {
        out.extend_from_slice(&placement.partition.0.to_le_bytes());
        out.extend_from_slice(&placement.shard.0.to_le_bytes());
        out.extend_from_slice(&placement.epoch_base.to_le_bytes());
    }
}

pub(crate) fn read_topic(fields: &mut Fields<'_>) -> Topic {
    let id = TopicId(fields.id());
    let namespace = NamespaceId(fields.u64());
    let name = fields.text();
    let Limits { retention_ms, retention_bytes, batch_bytes_max, compaction } = read_limits(fields);
    let mut stored = Vec::new();
    for _ in 0..fields.count(2) {
        stored.push((fields.text(), fields.text()));
    }
    let mut partitions = Vec::new();
    for _ in 0..fields.count(16) {
        let partition = PartitionId(fields.u64());
        fields.require(partition.0 < u64::MAX);
        partitions.push(Placement { partition, shard: ShardId(fields.u32()), epoch_base: fields.i32() });
    }
    let settings = TopicSettings { retention_ms, retention_bytes, batch_bytes_max, compaction, stored: stored.into() };
    Topic { id, namespace, name, partitions: partitions.into(), settings }
}

pub(crate) fn encode_hosted(hosted: &Hosted) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_hosted(&mut out, hosted);
    out
}

pub(crate) fn put_hosted(out: &mut Vec<u8>, hosted: &Hosted) {
    out.extend_from_slice(&hosted.topic.0);
    out.extend_from_slice(&hosted.namespace.0.to_le_bytes());
    put_text(out, &hosted.name);
    let Hosted { retention_ms, retention_bytes, batch_bytes_max, compaction, .. } = *hosted;
    put_limits(out, &Limits { retention_ms, retention_bytes, batch_bytes_max, compaction });
}

pub(crate) fn read_hosted(fields: &mut Fields<'_>) -> Hosted {
    let (topic, namespace, name) = (TopicId(fields.id()), NamespaceId(fields.u64()), fields.text());
    let Limits { retention_ms, retention_bytes, batch_bytes_max, compaction } = read_limits(fields);
    Hosted { topic, namespace, name, retention_ms, retention_bytes, batch_bytes_max, compaction }
}

/// What a topic and a hosted topic have in common.
struct Limits {
    retention_ms: Option<u64>,
    retention_bytes: Option<u64>,
    batch_bytes_max: u32,
    compaction: Option<Compaction>,
}

const GIVEN_RETENTION_MS: u8 = 1;
const GIVEN_COMPACTION: u8 = 2;

fn put_limits(out: &mut Vec<u8>, limits: &Limits) {
    let retention = if limits.retention_ms.is_some() { GIVEN_RETENTION_MS } else { 0 };
    let compaction = if limits.compaction.is_some() { GIVEN_COMPACTION } else { 0 };
    out.push(retention | compaction);
    if let Some(retention_ms) = limits.retention_ms {
        out.extend_from_slice(&retention_ms.to_le_bytes());
    }
    put_optional_u64(out, limits.retention_bytes);
    out.extend_from_slice(&limits.batch_bytes_max.to_le_bytes());
    if let Some(compaction) = limits.compaction {
        for ms in [compaction.lag_ms_min, compaction.lag_ms_max, compaction.tail_ms_max, compaction.tombstone_ms] {
            out.extend_from_slice(&ms.to_le_bytes());
        }
        out.extend_from_slice(&compaction.dirty_permille_min.to_le_bytes());
    }
}

fn read_limits(fields: &mut Fields<'_>) -> Limits {
    let given = fields.u8();
    fields.require(given & !(GIVEN_RETENTION_MS | GIVEN_COMPACTION) == 0);
    let retention_ms = (given & GIVEN_RETENTION_MS != 0).then(|| fields.u64());
    let (retention_bytes, batch_bytes_max) = (fields.optional_u64(), fields.u32());
    let compaction = (given & GIVEN_COMPACTION != 0).then(|| Compaction {
        lag_ms_min: fields.u64(),
        lag_ms_max: fields.u64(),
        tail_ms_max: fields.u64(),
        tombstone_ms: fields.u64(),
        dirty_permille_min: fields.u32(),
    });
    Limits { retention_ms, retention_bytes, batch_bytes_max, compaction }
}

/// `with_producers` is false only for a planted bug.
pub(crate) fn encode_partition(partition: &Partition, with_producers: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + partition.producers.len() * 104);
    out.extend_from_slice(&partition.hosted.topic.0);
    out.extend_from_slice(&partition.index.to_le_bytes());
    out.extend_from_slice(&partition.epoch_base.to_le_bytes());
    out.extend_from_slice(&partition.start.0.to_le_bytes());
    out.extend_from_slice(&partition.next.0.to_le_bytes());
    varint::write_u64(&mut out, partition.epochs.len() as u64);
    for (epoch, first) in &partition.epochs {
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&first.0.to_le_bytes());
    }
    let count = if with_producers { partition.producers.len() } else { 0 };
    varint::write_u64(&mut out, count as u64);
    for (id, producer) in partition.producers.iter().take(count) {
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(&producer.epoch.0.to_le_bytes());
        out.extend_from_slice(&producer.last_ms.to_le_bytes());
        varint::write_u64(&mut out, producer.accepted);
        out.push(producer.sequenced().len() as u8);
        for batch in producer.sequenced() {
            out.extend_from_slice(&batch.first.to_le_bytes());
            out.extend_from_slice(&batch.last.to_le_bytes());
            out.extend_from_slice(&batch.base_offset.0.to_le_bytes());
        }
    }
    out
}

fn read_partition(id: PartitionId, fields: &mut Fields<'_>) -> PartitionObject {
    let topic = TopicId(fields.id());
    let row = HostedRow { partition: id, index: fields.u32(), epoch_base: fields.i32() };
    let (start, next) = (Offset(fields.u64()), Offset(fields.u64()));
    fields.require(start <= next && next.0 <= OFFSET_MAX && id.0 < u64::MAX);
    let mut epochs = Vec::new();
    for _ in 0..fields.count(12) {
        epochs.push((LeaderEpoch(fields.i32()), Offset(fields.u64())));
    }
    let mut producers = PartitionProducers::default();
    for _ in 0..fields.count(20) {
        let producer = ProducerId(fields.u64() as i64);
        let epoch = ProducerEpoch(fields.i16());
        let last_ms = fields.u64();
        let accepted = fields.varint();
        let count = usize::from(fields.u8());
        fields.require(count <= SEQUENCED_MAX);
        let mut entry = Producer::new(epoch);
        for _ in 0..count.min(SEQUENCED_MAX) {
            let (first, last) = (fields.i32(), fields.i32());
            entry.push(Sequenced { first, last, base_offset: Offset(fields.u64()) }, last_ms);
        }
        (entry.last_ms, entry.accepted) = (last_ms, accepted);
        producers.insert(producer, entry);
    }
    PartitionObject { row, topic, start, next, epochs, producers }
}

impl Object {
    /// Decodes one object of a checkpoint.
    ///
    /// # Errors
    /// `Newer`: a kind that this version does not know. `Damaged`: the byte in the value where it stops making sense.
    pub fn decode(key: &ObjectKey, value: &[u8]) -> Result<Object, FormatError> {
        let mut fields = Fields::of(value);
        let id = |fields: &mut Fields<'_>| {
            let id: Option<[u8; 16]> = key.key.as_slice().try_into().ok();
            fields.require(id.is_some());
            TopicId(id.unwrap_or_default())
        };
        let object = match key.kind {
            META => Object::Meta { partition_next: fields.u64(), producer_next: fields.u64() },
            TOPIC => {
                let topic = read_topic(&mut fields);
                let named = topic.id == id(&mut fields);
                require_at_end(&mut fields, named);
                Object::Topic(topic)
            }
            HOSTED => {
                let hosted = read_hosted(&mut fields);
                let named = hosted.topic == id(&mut fields);
                require_at_end(&mut fields, named);
                Object::Hosted(hosted)
            }
            PARTITION => {
                let partition: Option<[u8; 8]> = key.key.as_slice().try_into().ok();
                let object =
                    read_partition(PartitionId(u64::from_be_bytes(partition.unwrap_or_default())), &mut fields);
                require_at_end(&mut fields, partition.is_some());
                Object::Partition(object)
            }
            NOTE => {
                let (which, note_key) = key.key.split_first().map_or((0, [].as_slice()), |(which, key)| (*which, key));
                fields.require(!key.key.is_empty());
                let value = fields.bytes(value.len()).to_vec();
                Object::Note { which, key: note_key.to_vec(), value }
            }
            SPILL => Object::Spill { segment_next: fields.u64() },
            COMPACTED => {
                let partition: Option<[u8; 8]> = key.key.as_slice().try_into().ok();
                let compacted = read_compacted(&mut fields);
                require_at_end(&mut fields, partition.is_some());
                Object::Compacted(PartitionId(u64::from_be_bytes(partition.unwrap_or_default())), compacted)
            }
            kind => return Err(FormatError::Newer { feature: format!("checkpoint object kind {kind}") }),
        };
        fields.end().map_err(|at| {
            FormatError::damaged(at as u64, format!("object kind {} key {:02x?} is not well formed", key.kind, key.key))
        })?;
        Ok(object)
    }
}

fn require_at_end(fields: &mut Fields<'_>, holds: bool) {
    if !fields.failed() {
        fields.require(holds);
    }
}

/// What a shard with partitions of a topic keeps of it; name and settings are shared by all of them.
pub fn hosted_of(topic: &Topic) -> Arc<Hosted> {
    Arc::new(Hosted {
        topic: topic.id,
        namespace: topic.namespace,
        name: topic.name.clone(),
        retention_ms: topic.settings.retention_ms,
        retention_bytes: topic.settings.retention_bytes,
        batch_bytes_max: topic.settings.batch_bytes_max,
        compaction: topic.settings.compaction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_an_object_or_refused(kind in 0..9u8, key in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
            let _ = Object::decode(&ObjectKey { kind, key }, &value);
        }

        #[test]
        fn any_change_of_a_topic_is_a_topic_or_refused(at in 0..120usize, byte in any::<u8>(), cut in 0..120usize) {
            let topic = topic();
            let mut value = encode_topic(&topic);
            let at = at % value.len();
            value[at] = byte;
            value.truncate(value.len() - cut % value.len());
            let _ = Object::decode(&key_topic(topic.id), &value);
        }
    }

    fn topic() -> Topic {
        Topic {
            id: TopicId([7; 16]),
            namespace: NamespaceId(3),
            name: "orders".into(),
            partitions: [Placement { partition: PartitionId(9), shard: ShardId(1), epoch_base: -2 }].into(),
            settings: TopicSettings { stored: [("a".into(), "b".into())].into(), ..TopicSettings::default() },
        }
    }

    #[test]
    fn a_topic_is_read_back() {
        let topic = topic();
        let value = encode_topic(&topic);
        assert_eq!(Object::decode(&key_topic(topic.id), &value), Ok(Object::Topic(topic.clone())));
        assert!(Object::decode(&key_topic(TopicId([8; 16])), &value).is_err(), "under another topic's key");
        let hosted = hosted_of(&topic);
        let value = encode_hosted(&hosted);
        assert_eq!(Object::decode(&key_hosted(topic.id), &value), Ok(Object::Hosted((*hosted).clone())));
    }

    #[test]
    fn a_partition_is_read_back() {
        let row = HostedRow { partition: PartitionId(5), index: 2, epoch_base: 1 };
        let mut partition = Partition::new(hosted_of(&topic()), row);
        (partition.start, partition.next) = (Offset(3), Offset(300));
        partition.epochs = vec![(LeaderEpoch(1), Offset(0)), (LeaderEpoch(4), Offset(200))];
        let mut producer = Producer::new(ProducerEpoch(2));
        for n in 0..7 {
            producer.push(Sequenced { first: n, last: n, base_offset: Offset(n as u64) }, 1000 + n as u64);
        }
        partition.producers.insert(ProducerId(44), producer);
        let Ok(Object::Partition(read)) =
            Object::decode(&key_partition(row.partition), &encode_partition(&partition, true))
        else {
            panic!("a partition");
        };
        assert_eq!(read.row, row);
        assert_eq!((read.start, read.next, &read.epochs), (partition.start, partition.next, &partition.epochs));
        assert_eq!(read.producers, partition.producers);
    }
}
