// SPDX-License-Identifier: Apache-2.0
//! What survives: the last stable generation of each group, committed offsets, and the names of the topics they are of.
//!
//! Owns: the fold of notes, and its inverse. Must not know: why a note was written; time.
//!
//! Invariants:
//!   1. What `snapshot` gives out is what was folded: for every key its latest value, byte for byte. That holds for notes that cannot
//!      be read as well (a later version's): they are kept as they are.
//!   2. The end of a topic takes its offsets and its name with it.

use super::group::Live;
use super::notes::{self, GroupName, GroupNote, Key, OffsetNote, TopicNote};
use crate::wire::{Malformed, Text};
use bytes::Bytes;
use kernel::coordinator::Note;
use model::TopicId;
use model::planted::{Bug, planted};
use std::collections::BTreeMap;

/// What an offset costs in memory beside its metadata.
const OFFSET_BYTES: usize = 128;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub committed_ms: u64,
    pub metadata: Text,
}

impl Committed {
    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        OFFSET_BYTES + self.metadata.as_str().len()
    }
}

/// A group's last note.
#[derive(Clone, Debug)]
pub struct StoredGroup {
    value: Bytes,
    /// Empty: none.
    pub protocol_type: Text,
    pub has_members: bool,
}

impl StoredGroup {
    fn read(value: &Bytes) -> Result<StoredGroup, Malformed> {
        // A copy: what it is cut out of may be a frame of megabytes.
        let value = Bytes::copy_from_slice(value);
        let note: GroupNote = notes::decode(value.clone())?;
        Ok(StoredGroup { value, protocol_type: note.protocol_type, has_members: !note.members.is_empty() })
    }

    pub fn restore(&self) -> Option<Live> {
        notes::decode(self.value.clone()).ok().map(Live::restore)
    }
}

/// One group: what is remembered of it, and what it does while somebody is in it.
#[derive(Debug)]
pub struct Group {
    pub name: GroupName,
    pub stored: Option<StoredGroup>,
    pub offsets: BTreeMap<(TopicId, i32), Committed>,
    pub offset_bytes: usize,
    /// Its last offset was removed. It is there until it is removed itself, or at the next look for what expired.
    lingers: bool,
    /// `None`: nobody is in it, or nobody has been heard of since the last start.
    pub live: Option<Box<Live>>,
    /// What it takes, as it was counted last.
    pub counted_bytes: usize,
}

impl Group {
    fn is_nothing(&self) -> bool {
        self.stored.is_none() && self.offsets.is_empty() && self.live.is_none() && !self.lingers
    }

    fn bytes(&self) -> usize {
        let stored = self.stored.as_ref().map_or(0, |stored| stored.value.len());
        stored + self.offset_bytes + self.live.as_ref().map_or(0, |live| live.bytes())
    }

    fn put_offset(&mut self, topic: TopicId, partition: i32, committed: Option<Committed>) {
        self.offset_bytes += committed.as_ref().map_or(0, Committed::bytes);
        let before = match committed {
            Some(committed) => self.offsets.insert((topic, partition), committed),
            None => self.offsets.remove(&(topic, partition)),
        };
        self.offset_bytes -= before.as_ref().map_or(0, Committed::bytes);
        self.lingers = self.offsets.is_empty();
    }
}

/// All groups, by the numbers that this life gave them.
#[derive(Debug, Default)]
pub struct Stored {
    groups: BTreeMap<u64, Group>,
    numbers: BTreeMap<GroupName, u64>,
    number_next: u64,
    /// Of topics that something is committed for.
    topic_names: BTreeMap<TopicId, Text>,
    /// Notes that cannot be read.
    foreign: BTreeMap<Bytes, Bytes>,
    /// What all of them take.
    pub bytes: usize,
}

impl Stored {
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn number(&self, name: &GroupName) -> Option<u64> {
        self.numbers.get(name).copied()
    }

    pub fn get(&self, number: u64) -> Option<&Group> {
        self.groups.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Group> {
        self.groups.get_mut(&number)
    }

    /// A group to be changed, and the names of topics.
    pub fn get_with_names(&mut self, number: u64) -> Option<(&mut Group, &BTreeMap<TopicId, Text>)> {
        Some((self.groups.get_mut(&number)?, &self.topic_names))
    }

    /// By number, from this one on.
    pub fn from(&self, number: u64) -> impl Iterator<Item = (u64, &Group)> {
        self.groups.range(number..).map(|(number, group)| (*number, group))
    }

    /// By name.
    pub fn by_name(&self) -> impl Iterator<Item = &Group> {
        self.numbers.values().filter_map(|number| self.groups.get(number))
    }

    /// Its number; a group that does not exist is made.
    pub fn make(&mut self, name: &GroupName) -> u64 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.number_next;
        self.number_next += 1;
        let name = GroupName { namespace: name.namespace, group: Text::from(name.group.as_str()) };
        self.numbers.insert(name.clone(), number);
        let group = Group {
            name,
            stored: None,
            offsets: BTreeMap::new(),
            offset_bytes: 0,
            lingers: false,
            live: None,
            counted_bytes: 0,
        };
        self.groups.insert(number, group);
        number
    }

    /// Counts what it takes; a group that is nothing any more goes.
    pub fn settle(&mut self, number: u64) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let bytes = if group.is_nothing() { 0 } else { group.name.group.as_str().len() + group.bytes() };
        self.bytes = self.bytes + bytes - group.counted_bytes;
        group.counted_bytes = bytes;
        if group.is_nothing()
            && let Some(group) = self.groups.remove(&number)
        {
            self.numbers.remove(&group.name);
        }
    }

    /// Folds one note. Gives out the number of a group with members that nobody has been heard of.
    pub fn apply(&mut self, note: &Note) -> Option<u64> {
        self.foreign.remove(&note.key);
        match (self.put(note), &note.value) {
            (Ok(asleep), _) => asleep,
            (Err(_), Some(value)) => {
                self.foreign.insert(Bytes::copy_from_slice(&note.key), Bytes::copy_from_slice(value));
                None
            }
            (Err(_), None) => None,
        }
    }

    /// A value that cannot be read replaces what was there all the same.
    fn put(&mut self, note: &Note) -> Result<Option<u64>, Malformed> {
        match Key::decode(&note.key)? {
            Key::Group(name) => {
                let stored = note.value.as_ref().map(StoredGroup::read).transpose();
                let has_members = matches!(&stored, Ok(Some(stored)) if stored.has_members);
                let number = self.make(&name);
                let mut asleep = None;
                if let Some(group) = self.groups.get_mut(&number) {
                    group.stored = stored.as_ref().ok().cloned().flatten();
                    group.lingers = false;
                    asleep = (has_members && group.live.is_none()).then_some(number);
                }
                self.settle(number);
                stored.map(|_| asleep)
            }
            Key::Offset { name, topic, partition } => {
                let committed = note.value.as_ref().map(read_offset).transpose();
                let number = self.make(&name);
                if let Some(group) = self.groups.get_mut(&number) {
                    group.put_offset(topic, partition, committed.as_ref().ok().cloned().flatten());
                }
                self.settle(number);
                committed.map(|_| None)
            }
            Key::Topic(topic) => {
                let name = note.value.as_ref().map(read_topic).transpose();
                match name.as_ref() {
                    Ok(Some(name)) => self.topic_names.insert(topic, name.clone()),
                    Ok(None) | Err(_) => self.topic_names.remove(&topic),
                };
                name.map(|_| None)
            }
        }
    }

    /// Folds the end of a topic.
    pub fn forget_topic(&mut self, topic: TopicId) -> Vec<Bytes> {
        let mut keys = Vec::new();
        let numbers: Vec<u64> = self.groups.keys().copied().collect();
        for number in numbers {
            let Some(group) = self.groups.get_mut(&number) else { continue };
            let partitions: Vec<i32> = group
                .offsets
                .range((topic, i32::MIN)..=(topic, i32::MAX))
                .map(|((_, partition), _)| *partition)
                .collect();
            for partition in &partitions {
                group.put_offset(topic, *partition, None);
                keys.push(Key::Offset { name: group.name.clone(), topic, partition: *partition }.encode());
            }
            if !partitions.is_empty() {
                self.settle(number);
            }
        }
        if self.topic_names.remove(&topic).is_some() {
            keys.push(Key::Topic(topic).encode());
        }
        let of_topic = |key: &Bytes| match Key::decode(key) {
            Ok(Key::Offset { topic: of, .. } | Key::Topic(of)) => of == topic,
            Ok(Key::Group(_)) | Err(_) => false,
        };
        let foreign: Vec<Bytes> = self.foreign.keys().filter(|key| of_topic(key)).cloned().collect();
        foreign.iter().for_each(|key| {
            self.foreign.remove(key);
        });
        keys.extend(foreign);
        keys
    }

    /// What `snapshot` gives out for this key.
    pub fn note(&self, key: &Bytes) -> Option<Bytes> {
        let Ok(decoded) = Key::decode(key) else { return self.foreign.get(key).cloned() };
        let known = match decoded {
            Key::Group(name) => {
                let group = self.number(&name).and_then(|number| self.get(number));
                group.and_then(|group| group.stored.as_ref()).map(|stored| stored.value.clone())
            }
            Key::Offset { .. } if planted(Bug::OffsetsLeftOutOfCheckpoint) => None,
            Key::Offset { name, topic, partition } => {
                let group = self.number(&name).and_then(|number| self.get(number));
                let committed = group.and_then(|group| group.offsets.get(&(topic, partition)));
                committed.and_then(|committed| offset_note(&name, topic, partition, committed).value)
            }
            Key::Topic(topic) => self.topic_names.get(&topic).and_then(|name| topic_note(topic, name).value),
        };
        known.or_else(|| self.foreign.get(key).cloned())
    }

    /// Everything, as notes.
    pub fn snapshot(&self, emit: &mut dyn FnMut(Note)) {
        for group in self.groups.values() {
            if let Some(stored) = &group.stored {
                emit(Note { key: Key::Group(group.name.clone()).encode(), value: Some(stored.value.clone()) });
            }
            if planted(Bug::OffsetsLeftOutOfCheckpoint) {
                continue;
            }
            for ((topic, partition), committed) in &group.offsets {
                emit(offset_note(&group.name, *topic, *partition, committed));
            }
        }
        for (topic, name) in &self.topic_names {
            emit(topic_note(*topic, name));
        }
        for (key, value) in &self.foreign {
            emit(Note { key: key.clone(), value: Some(value.clone()) });
        }
    }
}

fn read_offset(value: &Bytes) -> Result<Committed, Malformed> {
    let note: OffsetNote = notes::decode(value.clone())?;
    Ok(Committed {
        offset: note.offset,
        leader_epoch: note.leader_epoch,
        committed_ms: u64::try_from(note.committed_ms).map_err(|_| Malformed::Length)?,
        metadata: Text::from(note.metadata.as_str()),
    })
}

fn read_topic(value: &Bytes) -> Result<Text, Malformed> {
    let note: TopicNote = notes::decode(value.clone())?;
    Ok(Text::from(note.name.as_str()))
}

pub fn offset_note(name: &GroupName, topic: TopicId, partition: i32, committed: &Committed) -> Note {
    let key = Key::Offset { name: name.clone(), topic, partition }.encode();
    let value = notes::encode(&OffsetNote {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        committed_ms: i64::try_from(committed.committed_ms).unwrap_or(i64::MAX),
        metadata: committed.metadata.clone(),
    });
    Note { key, value: Some(value) }
}

pub fn topic_note(topic: TopicId, name: &Text) -> Note {
    Note { key: Key::Topic(topic).encode(), value: Some(notes::encode(&TopicNote { name: name.clone() })) }
}
