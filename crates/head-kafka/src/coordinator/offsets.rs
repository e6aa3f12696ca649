// SPDX-License-Identifier: Apache-2.0
//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete, and what expires.
//!
//! Owns: who may commit, and for how long it is kept. Must not know: how notes are folded (`stored.rs`).
//!
//! Invariants:
//!   1. Nothing is committed in the name of a generation that is not the group's, or of a member that is not in it.
//!   2. A commit is one decision: all of its notes are in one frame, or none.
//!   3. A group can always be forgotten in one decision: no group has more offsets than there is room for their removal.

use super::group::{Asker, State};
use super::messages::{
    Answer, CodeOfPartition, CodesOfTopic, Commit, Committed as CommitDone, DeleteOffsets, DeletedOffsets,
    FetchOffsets, FetchedOffsets, OffsetOfPartition, OffsetsOfTopic, PartitionsOfTopic,
};
use super::notes::{self, Key};
use super::rebalance::Turn;
use super::stored::{Committed, Group, offset_note, topic_note};
use crate::wire::{ErrorCode, Text};
use kernel::coordinator::{DECISION_BYTES_MAX, Note};
use model::TopicId;
use model::planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet};

/// What the notes of one commit, or of one group's removal, may take: leaves room for other notes of the same decision.
pub const NOTES_BYTES_MAX: usize = DECISION_BYTES_MAX - 2 * 1024 * 1024;

impl Turn<'_> {
    /// OffsetCommit.
    pub fn commit(&mut self, asker: Asker, commit: &Commit) {
        let refused = if planted(Bug::FencedCommitAccepted) { None } else { self.check_commit(commit).err() };
        let done = match refused {
            Some(_) if planted(Bug::KnownOutcomeUnknown) => commit_codes(commit, |_, _| ErrorCode::UnknownServerError),
            Some(code) => commit_codes(commit, |_, _| code),
            None => {
                // In these states a commit is as good as a heartbeat.
                if matches!(self.live.state, State::Stable | State::PreparingRebalance) {
                    self.renew_session(&commit.member_id);
                }
                self.put_offsets(commit)
            }
        };
        self.answer(asker, &done);
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        let is_empty = self.live.state == State::Empty;
        if commit.generation_id < 0 && is_empty {
            // A client that assigns partitions by itself, or an administrator.
            return Ok(());
        }
        if commit.generation_id >= 0 || commit.member_id != Text::EMPTY || commit.group_instance_id.is_some() {
            self.check_member(&commit.member_id, commit.group_instance_id.as_ref())?;
            if commit.generation_id != self.live.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !is_empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        match self.live.state {
            // It knows the generation from its join, and not yet what it was assigned.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::Empty | State::PreparingRebalance | State::Stable => Ok(()),
        }
    }

    fn put_offsets(&mut self, commit: &Commit) -> Answer {
        let metadata_bytes_max = self.settings.offset_metadata_bytes_max as usize;
        let is_too_long = |metadata: &Text| metadata.as_str().len() > metadata_bytes_max;
        let mut notes = Vec::new();
        let mut frame_bytes = 0;
        // What each takes from now on: the last one counts where one is named twice.
        let mut put: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        let mut named: BTreeSet<TopicId> = BTreeSet::new();
        for topic in &commit.topics {
            let id = TopicId(topic.topic_id);
            for partition in topic.partitions.iter().filter(|partition| !is_too_long(&partition.metadata)) {
                if self.topic_names.get(&id) != Some(&topic.name) && named.insert(id) {
                    notes.push(topic_note(id, &topic.name));
                }
                let committed = Committed {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    committed_ms: self.now.wall_ms,
                    metadata: partition.metadata.clone(),
                };
                put.insert((id, partition.partition), committed.bytes());
                notes.push(offset_note(self.name, id, partition.partition, &committed));
            }
            let of_this = notes.iter().filter_map(|note| Some(notes::frame_bytes(&note.key, note.value.as_ref()?)));
            frame_bytes += of_this.sum::<usize>();
            if frame_bytes > NOTES_BYTES_MAX {
                break;
            }
            self.out.notes.append(&mut notes);
        }
        // What takes the place of as much is never refused: a group that has no room left goes on with what it has.
        let known: Vec<&Committed> = put.keys().filter_map(|key| self.offsets.get(key)).collect();
        let new_count = put.len() - known.len();
        let before: usize = known.into_iter().map(Committed::bytes).sum();
        let more_bytes = put.values().sum::<usize>().saturating_sub(before);
        let offset_count = self.offsets.len() + new_count;
        let are_too_many = offset_count * notes::tombstone_bytes(&self.name.group) > NOTES_BYTES_MAX
            || offset_count > self.settings.offsets_max as usize;
        let is_too_large =
            self.offset_bytes + more_bytes > self.settings.offsets_bytes_max as usize || more_bytes > self.room_bytes;
        let is_too_much =
            frame_bytes > NOTES_BYTES_MAX || (new_count > 0 && are_too_many) || (more_bytes > 0 && is_too_large);
        if is_too_much {
            self.out.notes.clear();
        }
        commit_codes(commit, |_, metadata| match (is_too_long(metadata), is_too_much) {
            (true, _) => ErrorCode::OffsetMetadataTooLarge,
            (false, true) => ErrorCode::InvalidCommitOffsetSize,
            (false, false) => ErrorCode::None,
        })
    }

    /// OffsetDelete.
    pub fn delete_offsets(&mut self, asker: Asker, delete: &DeleteOffsets) {
        let refused = self.live.state != State::Empty && !self.live.is_consumer();
        let done = if refused {
            DeletedOffsets { error_code: ErrorCode::NonEmptyGroup.number(), topics: Vec::new() }
        } else {
            let mut topics = Vec::with_capacity(delete.topics.len());
            let mut gone = BTreeSet::new();
            for topic in &delete.topics {
                let is_subscribed = self.live.is_subscribed(&topic.name);
                let code = if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
                let partitions = topic.partitions.iter().map(|partition| {
                    if !is_subscribed {
                        gone.insert((TopicId(topic.topic_id), *partition));
                    }
                    CodeOfPartition { partition: *partition, error_code: code.number() }
                });
                topics.push(CodesOfTopic { topic_id: topic.topic_id, partitions: partitions.collect() });
            }
            gone.retain(|key| self.offsets.contains_key(key));
            gone.into_iter().for_each(|(topic, partition)| self.remove_offset(topic, partition));
            DeletedOffsets { error_code: ErrorCode::None.number(), topics }
        };
        self.answer(asker, &Answer::DeletedOffsets(done));
    }

    pub fn remove_offset(&mut self, topic: TopicId, partition: i32) {
        let key = Key::Offset { name: self.name.clone(), topic, partition }.encode();
        self.out.notes.push(Note { key, value: None });
    }

    /// Removes what has not been needed for long enough; with its last offset goes a group that nobody is in.
    pub fn expire_offsets(&mut self) {
        let since_ms = match (self.live.state, &self.live.protocol_type) {
            // Nobody was ever in it: each offset counts from its commit.
            (State::Empty, None) => None,
            (State::Empty, Some(_)) => Some(self.live.since_ms),
            (State::Stable, Some(_)) if self.live.is_consumer() && self.live.knows_subscriptions() => None,
            _ => return,
        };
        let is_old = |from_ms: u64| self.now.wall_ms.saturating_sub(from_ms) >= self.settings.offsets_retention_ms;
        let is_read = |topic: &TopicId| match self.topic_names.get(topic) {
            Some(name) => self.live.is_subscribed(name),
            None => self.live.state != State::Empty,
        };
        let expired: Vec<(TopicId, i32)> = self
            .offsets
            .iter()
            .filter(|((topic, _), committed)| is_old(since_ms.unwrap_or(committed.committed_ms)) && !is_read(topic))
            .map(|(key, _)| *key)
            .collect();
        let is_nothing_left = expired.len() == self.offsets.len();
        expired.into_iter().for_each(|(topic, partition)| self.remove_offset(topic, partition));
        if is_nothing_left && self.live.state == State::Empty && self.live.pending.is_empty() {
            self.forget_group();
        }
    }

    pub fn forget_group(&mut self) {
        let key = Key::Group(self.name.clone()).encode();
        self.out.notes.push(Note { key, value: None });
    }
}

/// The answer to a commit: a code for each partition.
pub fn commit_codes(commit: &Commit, code: impl Fn(i32, &Text) -> ErrorCode) -> Answer {
    let of_topic = |topic: &super::messages::CommitTopic| CodesOfTopic {
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| CodeOfPartition {
                partition: partition.partition,
                error_code: code(partition.partition, &partition.metadata).number(),
            })
            .collect(),
    };
    Answer::Committed(CommitDone { topics: commit.topics.iter().map(of_topic).collect() })
}

/// OffsetFetch. A group that does not exist has committed nothing. Who asks is not looked at: in the classic protocol, anybody may.
pub fn fetch(group: Option<&Group>, fetch: &FetchOffsets) -> Answer {
    let of_partition = |partition: i32, committed: Option<&Committed>| OffsetOfPartition {
        partition,
        offset: committed.map_or(-1, |committed| committed.offset),
        leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch),
        metadata: committed.map(|committed| committed.metadata.clone()).unwrap_or_default(),
    };
    let topics = match &fetch.topics {
        Some(topics) => {
            let find = |topic: &PartitionsOfTopic, partition: i32| {
                group.and_then(|group| group.offsets.get(&(TopicId(topic.topic_id), partition)))
            };
            let of_topic = |topic: &PartitionsOfTopic| OffsetsOfTopic {
                topic_id: topic.topic_id,
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| of_partition(*partition, find(topic, *partition)))
                    .collect(),
            };
            topics.iter().map(of_topic).collect()
        }
        None => {
            let mut topics: BTreeMap<TopicId, Vec<OffsetOfPartition>> = BTreeMap::new();
            for ((topic, partition), committed) in group.into_iter().flat_map(|group| &group.offsets) {
                topics.entry(*topic).or_default().push(of_partition(*partition, Some(committed)));
            }
            topics.into_iter().map(|(topic, partitions)| OffsetsOfTopic { topic_id: topic.0, partitions }).collect()
        }
    };
    Answer::FetchedOffsets(FetchedOffsets { error_code: ErrorCode::None.number(), topics })
}
