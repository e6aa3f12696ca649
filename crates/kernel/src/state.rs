// SPDX-License-Identifier: Apache-2.0
//! A shard's state: everything that survives, and the one fold that changes it.
//!
//! Owns: partitions, hosted topics, the cell catalog, the id counters, the coordinators' notes. Must not know: clocks, settings,
//! randomness, who asked, what is durable. The live path and replay call the same [`State::apply`], which is total: it cannot
//! refuse, because what it folds has been decided. [`State::check`] says whether a record read from a medium can have been.
//!
//! Invariants:
//!   1. Two states that folded the same records have the same `hash`, wherever the batches rest by now.
//!   2. What a running capture (`capture.rs`) has not written yet is written before it changes.

pub mod capture;

use crate::catalog::Catalog;
use crate::catalog::cell::Topics;
use crate::coordinator::{Coordinator, Note};
use crate::format::FormatError;
use crate::format::v1::checkpoint::ObjectKey;
use crate::format::v1::entry::{Append, Record};
use crate::format::v1::object::{self, Object, PartitionObject};
use crate::log::partition::{Hosted, HostedRow, Partition};
use crate::log::producers;
use crate::log::tail::TailEntry;
use capture::Changes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::{Lsn, PartitionId, ProducerId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// Most leader epochs remembered of a partition: one is added when something is appended in a new one, after a start. Beyond, the
/// oldest is forgotten; who asks for its end is told the start of the next that is known, which is never too low.
const EPOCHS_MAX: usize = 1_000;

/// Partitions by id: found by hash, walked in the order of their ids.
#[derive(Debug)]
pub struct Partitions {
    by_id: HashMap<PartitionId, Box<Partition>, FixedState>,
    ids: BTreeSet<PartitionId>,
}

impl Partitions {
    fn new() -> Partitions {
        Partitions { by_id: HashMap::with_hasher(FixedState::with_seed(0)), ids: BTreeSet::new() }
    }

    pub fn get(&self, id: PartitionId) -> Option<&Partition> {
        self.by_id.get(&id).map(|partition| &**partition)
    }

    pub fn get_mut(&mut self, id: PartitionId) -> Option<&mut Partition> {
        self.by_id.get_mut(&id).map(|partition| &mut **partition)
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Ids from `from` on, ascending.
    pub fn ids_from(&self, from: PartitionId) -> impl Iterator<Item = PartitionId> {
        self.ids.range(from..).copied()
    }

    /// All of them, ascending by id.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.ids.iter().filter_map(|id| self.get(*id))
    }

    fn insert(&mut self, partition: Partition) {
        self.ids.insert(partition.id);
        self.by_id.insert(partition.id, Box::new(partition));
    }

    fn remove(&mut self, id: PartitionId) -> Option<Box<Partition>> {
        self.ids.remove(&id);
        self.by_id.remove(&id)
    }
}

/// A topic with partitions here.
#[derive(Debug)]
pub struct HostedTopic {
    pub hosted: Arc<Hosted>,
    pub partitions: BTreeSet<PartitionId>,
}

/// A head's machine, and the last frame that changed what it remembers.
pub struct Beside {
    pub machine: Box<dyn Coordinator>,
    pub last_lsn: Lsn,
}

/// See the module.
pub struct State {
    /// The last frame folded.
    pub applied: Lsn,
    pub partitions: Partitions,
    pub hosted: BTreeMap<TopicId, HostedTopic>,
    /// The cell's topics, durable or not. Empty in a shard that is not a cell.
    pub topics: Topics,
    /// Ids below are given out.
    pub partition_next: u64,
    /// Ids below are leased.
    pub producer_next: u64,
    pub coordinators: BTreeMap<u8, Beside>,

    // Volatile.
    /// The last frame that changed which partitions are here, and the last that leased producer ids.
    pub placement_lsn: Lsn,
    pub producer_ids_lsn: Lsn,
    /// Partitions changed by the frame being folded, once each.
    pub touched: Vec<PartitionId>,
    /// Producers by idle time, as it was when they were entered here (`Producer::indexed_ms`): the true time is never earlier.
    pub producers_idle: BTreeSet<(u64, PartitionId, ProducerId)>,
    pub producer_count: u64,
    /// What partitions that are gone leave behind, for the shard to act upon when that is durable.
    pub dropped: Vec<Partition>,
    /// Segments whose files may go once that is durable, and may be missing in a replay.
    pub segments_gone: Vec<u64>,
    pub changes: Changes,
}

impl State {
    pub fn new(catalog: Catalog, coordinators: Vec<Box<dyn Coordinator>>) -> State {
        let coordinators =
            coordinators.into_iter().map(|machine| (machine.which(), Beside { machine, last_lsn: Lsn(0) }));
        State {
            applied: Lsn(0),
            partitions: Partitions::new(),
            hosted: BTreeMap::new(),
            topics: Topics::new(catalog),
            partition_next: 0,
            producer_next: 0,
            coordinators: coordinators.collect(),
            placement_lsn: Lsn(0),
            producer_ids_lsn: Lsn(0),
            touched: Vec::new(),
            segments_gone: Vec::new(),
            producers_idle: BTreeSet::new(),
            producer_count: 0,
            dropped: Vec::new(),
            changes: Changes::default(),
        }
    }

    /// Folds one record of frame `lsn`. Frames come in order, a frame's records in theirs.
    pub fn apply(&mut self, lsn: Lsn, record: &Record) {
        self.applied = lsn;
        match record {
            Record::Append(append) => self.append(lsn, append),
            Record::Trim { partition, before } => {
                if let Some(partition) = self.change(*partition, lsn) {
                    partition.start = partition.start.max((*before).min(partition.next));
                    // The epoch that the start stands in is the first that is still asked for.
                    let needed = partition.epochs.partition_point(|(_, first)| *first <= partition.start);
                    partition.epochs.drain(..needed.saturating_sub(1));
                }
            }
            Record::TopicPut(topic) => {
                let next = topic.partitions.iter().map(|placement| placement.partition.0.saturating_add(1)).max();
                self.partition_next = self.partition_next.max(next.unwrap_or(0));
                self.changes.topic(topic.id);
                self.topics.put(lsn, topic.clone());
            }
            Record::TopicDelete(topic) => {
                self.changes.topic(*topic);
                self.topics.delete(lsn, *topic);
                for (which, beside) in &mut self.coordinators {
                    for key in beside.machine.forget_topic(*topic) {
                        beside.last_lsn = lsn;
                        self.changes.note(*which, &key);
                    }
                }
            }
            Record::PartitionPut { hosted, rows } => {
                self.placement_lsn = lsn;
                self.host(hosted, rows, lsn);
            }
            Record::PartitionDrop { partitions } => {
                self.placement_lsn = lsn;
                partitions.iter().for_each(|partition| self.drop_partition(*partition));
            }
            Record::SegmentsGone { numbers } => self.segments_gone.extend(numbers),
            Record::ProducerIds { next } => {
                self.producer_ids_lsn = lsn;
                self.producer_next = self.producer_next.max(*next);
            }
            Record::ProducerForget { partition, producer } => {
                let id = *partition;
                if let Some(partition) = self.change(id, lsn)
                    && let Some(known) = partition.producers.remove(*producer)
                {
                    self.producer_count -= 1;
                    self.producers_idle.remove(&(known.indexed_ms, id, *producer));
                }
            }
            Record::Note { which, note } => {
                if let Some(beside) = self.coordinators.get_mut(which) {
                    beside.last_lsn = lsn;
                    self.changes.note(*which, &note.key);
                    beside.machine.apply(note);
                }
            }
        }
    }

    fn append(&mut self, lsn: Lsn, append: &Append) {
        let Some(partition) = self.change(append.partition, lsn) else { return };
        let header = &append.header;
        let last_delta = header.last_offset_delta.max(0) as u32;
        let entry = TailEntry::new(header.base_offset, last_delta, lsn, append.pos, header.bytes as u32);
        partition.tail.push_back(entry);
        partition.tail_bytes += u64::from(entry.bytes);
        partition.next = entry.end();
        if partition.epochs.last().is_none_or(|(epoch, _)| *epoch < header.leader_epoch) {
            if partition.epochs.len() >= EPOCHS_MAX {
                partition.epochs.remove(0);
            }
            partition.epochs.push((header.leader_epoch, header.base_offset));
        }
        let is_new = producers::record(&mut partition.producers, header, append.appended_ms);
        if is_new {
            self.producer_count += 1;
            self.producers_idle.insert((append.appended_ms, append.partition, header.producer_id));
        }
    }

    /// A partition about to be changed by frame `lsn`.
    fn change(&mut self, id: PartitionId, lsn: Lsn) -> Option<&mut Partition> {
        let partition = self.partitions.by_id.get_mut(&id)?;
        self.changes.before_change(partition);
        if partition.last_lsn != lsn {
            partition.last_lsn = lsn;
            self.touched.push(id);
        }
        Some(partition)
    }

    fn host(&mut self, hosted: &Arc<Hosted>, rows: &[HostedRow], lsn: Lsn) {
        self.changes.hosted(hosted.topic);
        let topic = self
            .hosted
            .entry(hosted.topic)
            .or_insert_with(|| HostedTopic { hosted: hosted.clone(), partitions: BTreeSet::new() });
        topic.hosted = hosted.clone();
        for row in rows {
            topic.partitions.insert(row.partition);
            match self.partitions.get_mut(row.partition) {
                Some(partition) => {
                    self.changes.before_change(partition);
                    (partition.index, partition.epoch_base) = (row.index, row.epoch_base);
                }
                None => {
                    let mut partition = Partition::new(hosted.clone(), *row);
                    partition.last_lsn = lsn;
                    // What is appended to it in this frame becomes visible with the frame.
                    self.touched.push(row.partition);
                    self.changes.made(&mut partition);
                    self.partitions.insert(partition);
                }
            }
        }
        // Settings are shared by all of the topic's partitions here.
        for id in &topic.partitions {
            if let Some(partition) = self.partitions.by_id.get_mut(id) {
                partition.hosted = hosted.clone();
            }
        }
    }

    fn drop_partition(&mut self, id: PartitionId) {
        let Some(mut partition) = self.partitions.remove(id) else { return };
        self.changes.dropped(&mut partition);
        self.producer_count -= partition.producers.len() as u64;
        for (producer, known) in partition.producers.iter() {
            self.producers_idle.remove(&(known.indexed_ms, id, producer));
        }
        let topic = partition.hosted.topic;
        if let Some(hosted) = self.hosted.get_mut(&topic) {
            hosted.partitions.remove(&id);
            if hosted.partitions.is_empty() {
                self.changes.hosted(topic);
                self.hosted.remove(&topic);
            }
        }
        self.dropped.push(*partition);
    }

    /// Could this record have been decided in this state? Asked before a record from a medium is folded: bytes with a good
    /// checksum can still be those of another log.
    pub fn check(&self, record: &Record) -> Result<(), FormatError> {
        match record {
            Record::Append(Append { partition: id, header, pos, .. }) => {
                let damaged = |why: String| FormatError::damaged(u64::from(*pos), why);
                let partition = self.partitions.get(*id);
                let partition =
                    partition.ok_or_else(|| damaged(format!("append to partition {id}, which is not here")))?;
                let (base, next) = (header.base_offset, partition.next);
                if base != next {
                    return Err(damaged(format!("append to partition {id} at offset {base}, where {next} comes next")));
                }
                Ok(())
            }
            Record::Note { which, .. } => self.check_coordinator(*which),
            _ => Ok(()),
        }
    }

    fn check_coordinator(&self, which: u8) -> Result<(), FormatError> {
        match self.coordinators.contains_key(&which) {
            true => Ok(()),
            false => Err(FormatError::Newer { feature: format!("coordinator {which}") }),
        }
    }

    /// Takes one object of a checkpoint, before any record is folded.
    pub fn load(&mut self, object: Object) -> Result<(), FormatError> {
        match object {
            Object::Meta { partition_next, producer_next } => {
                (self.partition_next, self.producer_next) = (partition_next, producer_next);
            }
            Object::Topic(topic) => self.topics.put(Lsn(0), Arc::new(topic)),
            Object::Hosted(hosted) => {
                let hosted = HostedTopic { hosted: Arc::new(hosted), partitions: BTreeSet::new() };
                self.hosted.insert(hosted.hosted.topic, hosted);
            }
            Object::Partition(object) => self.load_partition(object)?,
            Object::Spill { .. } | Object::Compacted(..) => {}
            Object::Note { which, key, value } => {
                self.check_coordinator(which)?;
                if let Some(beside) = self.coordinators.get_mut(&which) {
                    beside.machine.apply(&Note { key: key.into(), value: Some(value.into()) });
                }
            }
        }
        Ok(())
    }

    fn load_partition(&mut self, object: PartitionObject) -> Result<(), FormatError> {
        let (id, topic) = (object.row.partition, object.topic);
        let not_there = || FormatError::damaged(0, format!("partition {id} of topic {topic}, which is not there"));
        let topic = self.hosted.get_mut(&topic).ok_or_else(not_there)?;
        topic.partitions.insert(id);
        let mut partition = Partition::new(topic.hosted.clone(), object.row);
        (partition.start, partition.next) = (object.start, object.next);
        (partition.epochs, partition.producers) = (object.epochs, object.producers);
        self.producer_count += partition.producers.len() as u64;
        let idle = &mut self.producers_idle;
        partition.producers.each_mut(|producer, known| {
            known.indexed_ms = known.last_ms;
            idle.insert((known.last_ms, id, producer));
        });
        self.partitions.insert(partition);
        Ok(())
    }

    /// A hash of all durable state, in an order of its own, so that it does not depend on how the state came about.
    pub fn hash(&self) -> u64 {
        let mut hasher = FixedState::with_seed(1).build_hasher();
        self.each_object(&mut |key, value| {
            hasher.write_u8(key.kind);
            hasher.write_usize(key.key.len());
            hasher.write(&key.key);
            hasher.write_usize(value.len());
            hasher.write(&value);
        });
        hasher.write_u64(self.applied.0);
        hasher.finish()
    }

    /// Every object, as a base checkpoint would hold it, by kind and key.
    pub fn objects(&self) -> Vec<(ObjectKey, Vec<u8>)> {
        let mut objects = Vec::new();
        self.each_object(&mut |key, value| objects.push((key, value)));
        objects.sort();
        objects
    }

    fn each_object(&self, take: &mut dyn FnMut(ObjectKey, Vec<u8>)) {
        take(object::key_meta(), object::encode_meta(self.partition_next, self.producer_next));
        for topic in self.topics.all() {
            take(object::key_topic(topic.id), object::encode_topic(topic));
        }
        for (id, topic) in &self.hosted {
            take(object::key_hosted(*id), object::encode_hosted(&topic.hosted));
        }
        for partition in self.partitions.iter() {
            take(object::key_partition(partition.id), object::encode_partition(partition, true));
        }
        for (which, beside) in &self.coordinators {
            for (key, value) in capture::notes_of(&*beside.machine) {
                take(object::key_note(*which, &key), value.to_vec());
            }
        }
    }
}
