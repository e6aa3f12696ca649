// SPDX-License-Identifier: Apache-2.0
//! The state at one frame, written down while later frames go on changing it.
//!
//! Owns: which objects changed since the last checkpoint, and the capture under way. Must not know: what becomes of it.
//!
//! A cut bumps the generation. From then on an object that is to be written and has not been is written *before* it changes; the
//! rest is written in slices, whenever there is time. So what is captured is the state at the cut, exactly, without a stop.
//! Topics, hosted topics and notes are few and small: they are taken at the cut itself (shared, not copied, where they can be).

use crate::catalog::Topic;
use crate::coordinator::{Coordinator, Note};
use crate::format::v1::checkpoint::ObjectKey;
use crate::format::v1::object;
use crate::log::partition::{Hosted, Partition};
use crate::state::State;
use bytes::Bytes;
use model::planted::{Bug, planted};
use model::{PartitionId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An object's new value; `None`: it is gone.
pub type Captured = (ObjectKey, Option<Vec<u8>>);

/// What changed since the last cut, and the capture under way.
#[derive(Debug, Default)]
pub struct Changes {
    generation: u32,
    partitions: Vec<PartitionId>,
    gone: Vec<PartitionId>,
    topics: BTreeSet<TopicId>,
    hosted: BTreeSet<TopicId>,
    notes: BTreeSet<(u8, Bytes)>,
    capture: Option<Capture>,
}

/// A capture under way.
#[derive(Debug)]
struct Capture {
    is_base: bool,
    /// Partitions still to be visited: all of them, or those that had changed.
    all_from: Option<PartitionId>,
    changed: Vec<PartitionId>,
    topics: Vec<Arc<Topic>>,
    hosted: Vec<Arc<Hosted>>,
    out: Vec<Captured>,
}

fn written(partition: &Partition) -> Captured {
    let with_producers = !planted(Bug::DedupeWindowLost);
    (object::key_partition(partition.id), Some(object::encode_partition(partition, with_producers)))
}

impl Capture {
    fn wants(&self, generation: u32, partition: &Partition) -> bool {
        partition.captured < generation && (self.is_base || partition.dirty)
    }
}

impl Changes {
    /// Called before a partition changes.
    pub(crate) fn before_change(&mut self, partition: &mut Partition) {
        if let Some(capture) = &mut self.capture
            && partition.captured < self.generation
        {
            if capture.wants(self.generation, partition) {
                capture.out.push(written(partition));
            }
            partition.captured = self.generation;
            partition.dirty = false;
        }
        if !partition.dirty {
            partition.dirty = true;
            self.partitions.push(partition.id);
        }
    }

    /// Called with a partition that did not exist before.
    pub(crate) fn made(&mut self, partition: &mut Partition) {
        partition.captured = self.generation;
        partition.dirty = true;
        self.partitions.push(partition.id);
    }

    /// Called with a partition that is going.
    pub(crate) fn dropped(&mut self, partition: &mut Partition) {
        self.before_change(partition);
        self.gone.push(partition.id);
    }

    pub(crate) fn topic(&mut self, id: TopicId) {
        self.topics.insert(id);
    }

    pub(crate) fn hosted(&mut self, id: TopicId) {
        self.hosted.insert(id);
    }

    pub(crate) fn note(&mut self, which: u8, key: &Bytes) {
        self.notes.insert((which, key.clone()));
    }
}

/// A coordinator's notes by key, whatever order it gives them out in.
pub(crate) fn notes_of(machine: &dyn Coordinator) -> BTreeMap<Bytes, Bytes> {
    let mut notes = BTreeMap::new();
    machine.snapshot(&mut |note: Note| {
        if let Some(value) = note.value {
            notes.insert(note.key, value);
        }
    });
    notes
}

impl State {
    /// Begins to capture the state as it is now: all of it, or what changed since the last capture began.
    ///
    /// # Panics
    /// While a capture is under way.
    pub(crate) fn begin_capture(&mut self, is_base: bool) {
        assert!(self.changes.capture.is_none(), "one capture at a time");
        let changes = &mut self.changes;
        changes.generation += 1;
        let changed = std::mem::take(&mut changes.partitions);
        let gone = std::mem::take(&mut changes.gone);
        let (topics, hosted) = (std::mem::take(&mut changes.topics), std::mem::take(&mut changes.hosted));
        let notes = std::mem::take(&mut changes.notes);
        let mut capture = Capture {
            is_base,
            all_from: is_base.then_some(PartitionId(0)),
            // A base visits everything.
            changed: if is_base { Vec::new() } else { changed },
            topics: Vec::new(),
            hosted: Vec::new(),
            out: vec![(object::key_meta(), Some(object::encode_meta(self.partition_next, self.producer_next)))],
        };
        if is_base {
            capture.topics = self.topics.all().cloned().collect();
            capture.hosted = self.hosted.values().map(|topic| topic.hosted.clone()).collect();
            for (which, beside) in &self.coordinators {
                beside.machine.snapshot(&mut |note| {
                    let value = note.value.map(|value| value.to_vec());
                    capture.out.push((object::key_note(*which, &note.key), value));
                });
            }
        } else {
            for id in topics {
                match self.topics.get(id) {
                    Some(topic) => capture.topics.push(topic.clone()),
                    None => capture.out.push((object::key_topic(id), None)),
                }
            }
            for id in hosted {
                match self.hosted.get(&id) {
                    Some(topic) => capture.hosted.push(topic.hosted.clone()),
                    None => capture.out.push((object::key_hosted(id), None)),
                }
            }
            capture.out.extend(gone.into_iter().map(|id| (object::key_partition(id), None)));
            for (which, key) in notes {
                let beside = self.coordinators.get(&which);
                let value = beside.and_then(|beside| beside.machine.note(&key)).map(|value| value.to_vec());
                capture.out.push((object::key_note(which, &key), value));
            }
        }
        self.changes.capture = Some(capture);
    }

    /// Writes at most `objects_max` more objects. The capture, when it is complete.
    pub(crate) fn continue_capture(&mut self, objects_max: usize) -> Option<Vec<Captured>> {
        let generation = self.changes.generation;
        let capture = self.changes.capture.as_mut()?;
        let mut left = objects_max;
        while left > 0
            && let Some(topic) = capture.topics.pop()
        {
            left -= 1;
            capture.out.push((object::key_topic(topic.id), Some(object::encode_topic(&topic))));
        }
        while left > 0
            && let Some(hosted) = capture.hosted.pop()
        {
            left -= 1;
            capture.out.push((object::key_hosted(hosted.topic), Some(object::encode_hosted(&hosted))));
        }
        while left > 0 {
            left -= 1;
            let id = match capture.all_from {
                Some(from) => {
                    let id = self.partitions.ids.range(from..).next().copied();
                    capture.all_from = id.map(|id| PartitionId(id.0.saturating_add(1)));
                    id
                }
                None => capture.changed.pop(),
            };
            let Some(id) = id else {
                return self.changes.capture.take().map(|capture| capture.out);
            };
            let Some(partition) = self.partitions.by_id.get_mut(&id) else { continue };
            if capture.wants(generation, partition) {
                capture.out.push(written(partition));
                partition.dirty = false;
            }
            partition.captured = generation;
        }
        None
    }
}
