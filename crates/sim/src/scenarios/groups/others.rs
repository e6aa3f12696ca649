// SPDX-License-Identifier: Apache-2.0
//! Everybody who is no member: who makes, alters and deletes topics and groups, looks at them, produces, commits alone, and speaks
//! out of turn with words that members were told a while ago.
//!
//! Owns: their tasks, one request each, and what the answers may be. Must not know: what members do.

use super::judge::{Before, Checked, Credentials, Handed};
use super::member::{assignment, heartbeat_request, read_assignment, sync_request};
use super::plan::Use;
use super::{Key, Kind, Note, PARTITIONS_MAX, Run, group_name, group_of, name_of, number, text};
use crate::actors::kafka::Answer;
use crate::history::{Event, Op};
use crate::records;
use crate::value;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use model::batch::Numbering;
use std::collections::BTreeSet;

/// What is to be done, or was asked.
#[derive(Clone, Debug)]
pub enum Task {
    Make {
        topic: u32,
    },
    Remove {
        topic: u32,
    },
    AddPartition {
        topic: u32,
    },
    Alter {
        topic: u32,
        retention_ms: u64,
    },
    Trim {
        key: Key,
        offset: i64,
    },
    Publish {
        key: Key,
        records: u32,
        bytes: usize,
    },
    Commit {
        group: u32,
        key: Key,
        offset: u64,
    },
    Recall {
        group: u32,
        all: bool,
    },
    Stale {
        group: u32,
        back: u32,
        use_for: Use,
    },
    List,
    Describe {
        group: u32,
    },
    DeleteGroup {
        group: u32,
    },
    DeleteOffset {
        group: u32,
        key: Key,
    },
    /// Asked: a forgetting, and for whom.
    Forgetting {
        op: Op,
        what: Box<Task>,
        asked_us: u64,
    },
    /// Asked: with old words.
    Spoken {
        who: Credentials,
        before: Before,
        use_for: Use,
    },
    /// Asked: who certainly exists.
    Listing {
        there: Vec<(u32, u64)>,
    },
}

/// What may be tried again.
fn later(code: i16) -> bool {
    matches!(code, 5 | 6 | 7 | 14 | 15 | 16 | 19 | 41 | 56 | 89)
}

impl Run<'_> {
    pub(super) fn ask_versions(&mut self, client: usize) {
        let request = ApiVersionsRequest::default();
        self.ask(client, 0, &request, Note::Versions);
    }

    fn next_task(&mut self, client: usize) -> Option<Task> {
        match &mut self.clients[client].kind {
            Kind::Worker { tasks } => tasks.pop_front(),
            Kind::Member(_) => None,
        }
    }

    fn again(&mut self, client: usize, task: Task, pause_us: u64) {
        let now_us = self.world.clock.us();
        if let Kind::Worker { tasks } = &mut self.clients[client].kind {
            tasks.push_front(task);
        }
        self.clients[client].not_before_us = now_us + pause_us;
    }

    /// Somebody is about to ask that commits be forgotten.
    fn forget(&mut self, group: Option<u32>, partition: u64, count: u64) -> Op {
        let op = self.history.next_op();
        self.history.push(self.world.clock.us(), Event::Forget { op, group, partition, count });
        self.judge.forgetting(group, partition, count);
        self.lapsing.clear();
        self.forgetting.insert(op);
        self.forgettings += 1;
        op
    }

    fn forgotten(&mut self, event: Event, op: Op) {
        self.history.push(self.world.clock.us(), event);
        // Where nobody was told, it may happen until the process dies.
        if !matches!(event, Event::ForgetInfo { .. }) {
            self.forgetting.remove(&op);
        }
        self.forgettings += 1;
    }

    /// Sends the next task's request; a task that this broker does not speak is left out.
    pub(super) fn work(&mut self, client: usize) -> Result<bool, String> {
        let Some(task) = self.next_task(client) else { return Ok(false) };
        let now_us = self.world.clock.us();
        match task.clone() {
            Task::Make { topic } => {
                let Some(version) = self.version::<CreateTopicsRequest>(client, 2, i16::MAX) else { return Ok(true) };
                let topics = vec![
                    CreatableTopic::default()
                        .with_name(name_of(topic))
                        .with_num_partitions(self.options.partitions as i32)
                        .with_replication_factor(1),
                ];
                let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
                // What was committed for the name is another's: made anew, nothing is.
                let op = self.forget(None, u64::from(topic) * PARTITIONS_MAX, PARTITIONS_MAX);
                let note = Task::Forgetting { op, what: Box::new(task), asked_us: now_us };
                self.ask(client, version, &request, Note::Task(note));
            }
            Task::Remove { topic } => {
                let Some(version) = self.version::<DeleteTopicsRequest>(client, 1, i16::MAX) else { return Ok(true) };
                let mut request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
                if version >= 6 {
                    request = request.with_topics(vec![DeleteTopicState::default().with_name(Some(name_of(topic)))]);
                } else {
                    request = request.with_topic_names(vec![name_of(topic)]);
                }
                let op = self.forget(None, u64::from(topic) * PARTITIONS_MAX, PARTITIONS_MAX);
                let note = Task::Forgetting { op, what: Box::new(task), asked_us: now_us };
                self.ask(client, version, &request, Note::Task(note));
            }
            Task::AddPartition { topic } => {
                let Some(version) = self.version::<CreatePartitionsRequest>(client, 0, i16::MAX) else {
                    return Ok(true);
                };
                let count = self.topics.get(&topic).map_or(1, |known| known.partitions) + 1;
                let topics = vec![
                    CreatePartitionsTopic::default().with_name(name_of(topic)).with_count(count).with_assignments(None),
                ];
                let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(10_000);
                self.ask(client, version, &request, Note::Task(task));
            }
            Task::Alter { topic, retention_ms } => {
                let Some(version) = self.version::<IncrementalAlterConfigsRequest>(client, 0, i16::MAX) else {
                    return Ok(true);
                };
                self.loses(topic);
                let config = AlterableConfig::default()
                    .with_name(text("retention.ms"))
                    .with_config_operation(0)
                    .with_value(Some(text(&retention_ms.to_string())));
                let resource = AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(name_of(topic).0)
                    .with_configs(vec![config]);
                let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
                self.ask(client, version, &request, Note::Task(task));
            }
            Task::Trim { key, offset } => {
                let Some(version) = self.version::<DeleteRecordsRequest>(client, 0, i16::MAX) else { return Ok(true) };
                self.loses(key.0);
                let partition = DeleteRecordsPartition::default().with_partition_index(key.1).with_offset(offset);
                let topic = DeleteRecordsTopic::default().with_name(name_of(key.0)).with_partitions(vec![partition]);
                let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
                self.ask(client, version, &request, Note::Task(task));
            }
            Task::Publish { key, records, bytes } => {
                let Some(version) = self.version::<ProduceRequest>(client, 3, 12) else { return Ok(true) };
                let now = self.world.clock.now();
                let first = value::first_of_client(client as u32);
                let batch = records::batch(first, records, bytes, now.wall_ms as i64, 1, Numbering::NONE);
                let data = PartitionProduceData::default().with_index(key.1).with_records(Some(batch.bytes().clone()));
                let topic = TopicProduceData::default().with_name(name_of(key.0)).with_partition_data(vec![data]);
                let request = ProduceRequest::default()
                    .with_transactional_id(None)
                    .with_acks(-1)
                    .with_timeout_ms(10_000)
                    .with_topic_data(vec![topic]);
                self.ask(client, version, &request, Note::Task(task));
            }
            Task::Commit { group, key, offset } => {
                let who = Credentials { group, generation: -1, member_id: String::new(), instance: None };
                self.commit(client, who, &[(key, offset)]);
            }
            Task::Recall { group, all } => {
                let mut keys = Vec::new();
                for topic in 0..self.options.topics {
                    let count = self.topics.get(&topic).map_or(0, |known| known.partitions);
                    keys.extend((0..count).map(|index| (topic, index)));
                }
                self.recall(client, group, &keys, all);
            }
            Task::Stale { group, back, use_for } => self.speak_out_of_turn(client, group, back, use_for),
            Task::List => {
                let Some(version) = self.version::<ListGroupsRequest>(client, 0, i16::MAX) else { return Ok(true) };
                let there: Vec<(u32, u64)> =
                    (0..self.groups()).filter_map(|group| Some((group, self.judge.anchored(group)?))).collect();
                let request = ListGroupsRequest::default();
                self.ask(client, version, &request, Note::Task(Task::Listing { there }));
            }
            Task::Describe { group } => {
                let Some(version) = self.version::<DescribeGroupsRequest>(client, 0, i16::MAX) else {
                    return Ok(true);
                };
                let request = DescribeGroupsRequest::default().with_groups(vec![group_name(group)]);
                self.ask(client, version, &request, Note::Task(task));
            }
            Task::DeleteGroup { group } => {
                let Some(version) = self.version::<DeleteGroupsRequest>(client, 0, i16::MAX) else { return Ok(true) };
                let request = DeleteGroupsRequest::default().with_groups_names(vec![group_name(group)]);
                let op = self.forget(Some(group), 0, u64::MAX);
                let note = Task::Forgetting { op, what: Box::new(task), asked_us: now_us };
                self.ask(client, version, &request, Note::Task(note));
            }
            Task::DeleteOffset { group, key } => {
                let Some(version) = self.version::<OffsetDeleteRequest>(client, 0, i16::MAX) else { return Ok(true) };
                let partition = OffsetDeleteRequestPartition::default().with_partition_index(key.1);
                let topic =
                    OffsetDeleteRequestTopic::default().with_name(name_of(key.0)).with_partitions(vec![partition]);
                let request = OffsetDeleteRequest::default().with_group_id(group_name(group)).with_topics(vec![topic]);
                let op = self.forget(Some(group), number(key), 1);
                let note = Task::Forgetting { op, what: Box::new(task), asked_us: now_us };
                self.ask(client, version, &request, Note::Task(note));
            }
            Task::Forgetting { .. } | Task::Spoken { .. } | Task::Listing { .. } => {}
        }
        Ok(true)
    }

    /// Uses once more what some member of the group was told.
    fn speak_out_of_turn(&mut self, client: usize, group: u32, back: u32, use_for: Use) {
        let words = self.old_words.get(&group).map_or(&[][..], |words| &words[..]);
        let Some(who) = words.len().checked_sub(1 + back as usize).map(|index| words[index].clone()) else { return };
        let before = self.judge.before(&who);
        let lowest = if who.instance.is_some() { 3 } else { 0 };
        let note = Note::Task(Task::Spoken { who: who.clone(), before, use_for });
        match use_for {
            Use::Commit => {
                let count = self.topics.get(&0).map_or(0, |known| known.partitions).max(1);
                let key = (0, self.clients[client].rng.below(count as u64) as i32);
                self.commit(client, who, &[(key, 1_000_000)]);
            }
            Use::Heartbeat => {
                let Some(version) = self.version::<HeartbeatRequest>(client, lowest, i16::MAX) else { return };
                self.ask(client, version, &heartbeat_request(version, &who), note);
            }
            Use::Sync => {
                // As if it led: another assignment, which must not count.
                let Some(version) = self.version::<SyncGroupRequest>(client, lowest, i16::MAX) else { return };
                let op = self.history.next_op();
                let whose = who.instance.clone().unwrap_or_else(|| who.member_id.clone());
                let handed = Handed { generation: who.generation, op, whose, partitions: vec![(0, 0)] };
                let bytes = assignment(&handed, group, 1, &mut self.clients[client].rng);
                let one =
                    SyncGroupRequestAssignment::default().with_member_id(text(&who.member_id)).with_assignment(bytes);
                self.ask(client, version, &sync_request(version, &who, vec![one]), note);
            }
        }
    }

    pub(super) fn task_unanswered(&mut self, client: usize, task: Task) {
        if let Task::Forgetting { op, what, .. } = task {
            self.forgotten(Event::ForgetInfo { op }, op);
            // What the others live on is done until it is done, and so is what the end of a run asks.
            if matches!(*what, Task::Make { .. } | Task::Remove { .. }) || self.calm {
                self.again(client, *what, 10_000);
            }
        } else if self.calm && !matches!(task, Task::Spoken { .. } | Task::Listing { .. }) {
            self.again(client, task, 10_000);
        }
    }

    pub(super) fn task_answered(&mut self, client: usize, task: Task, answer: Answer) -> Checked {
        match (task, answer) {
            (Task::Forgetting { op, what, asked_us }, answer) => {
                self.forget_answered(client, op, *what, asked_us, answer)
            }
            (Task::Spoken { who, before, use_for: Use::Heartbeat }, Answer::Beaten(beaten)) => {
                match beaten.error_code {
                    0 => self.judge.accepted(&who, before, "a heartbeat"),
                    22 | 25 | 27 | 82 => {
                        self.world.sightings.saw("old word refused");
                        Ok(())
                    }
                    code if later(code) => Ok(()),
                    code => Err(format!("Heartbeat answered {code} to {who:?}")),
                }
            }
            (Task::Spoken { who, before, .. }, Answer::Synced(synced)) => match synced.error_code {
                0 => {
                    let handed = read_assignment(who.group, &synced.assignment);
                    self.judge.synced(&who, before, handed.as_ref().map(|(_, handed)| handed))
                }
                22 | 25 | 27 | 82 => {
                    self.world.sightings.saw("old word refused");
                    Ok(())
                }
                code if later(code) => Ok(()),
                code => Err(format!("SyncGroup answered {code} to {who:?}")),
            },
            (Task::Publish { .. }, Answer::Produced(produced)) => {
                let code = produced
                    .responses
                    .first()
                    .and_then(|topic| topic.partition_responses.first())
                    .map(|partition| partition.error_code);
                match code {
                    Some(0 | 3 | 100) => Ok(()),
                    Some(code) if later(code) => Ok(()),
                    code => Err(format!("Produce answered {code:?}")),
                }
            }
            (Task::AddPartition { .. }, Answer::Partitioned(done)) => {
                match done.results.first().map(|result| result.error_code) {
                    Some(0) => {
                        self.world.sightings.saw("partition added");
                        Ok(())
                    }
                    Some(3 | 37 | 40) => Ok(()),
                    Some(code) if later(code) => Ok(()),
                    code => Err(format!("CreatePartitions answered {code:?}")),
                }
            }
            (Task::Alter { .. }, Answer::Altered(done)) => {
                match done.responses.first().map(|response| response.error_code) {
                    Some(0) => {
                        self.world.sightings.saw("topic altered");
                        Ok(())
                    }
                    Some(3) => Ok(()),
                    Some(code) if later(code) => Ok(()),
                    code => Err(format!("IncrementalAlterConfigs answered {code:?}")),
                }
            }
            (Task::Trim { .. }, Answer::Trimmed(done)) => {
                let code = done.topics.first().and_then(|topic| topic.partitions.first()).map(|one| one.error_code);
                match code {
                    Some(0) => {
                        self.world.sightings.saw("records deleted");
                        Ok(())
                    }
                    Some(1 | 3) => Ok(()),
                    Some(code) if later(code) => Ok(()),
                    code => Err(format!("DeleteRecords answered {code:?}")),
                }
            }
            (Task::Listing { there }, Answer::Listed(listed)) => self.listed(there, &listed),
            (Task::Describe { group }, Answer::Described(described)) => self.described(group, &described),
            (task, answer) => Err(format!("{task:?} was answered with {answer:?}")),
        }
    }

    fn forget_answered(&mut self, client: usize, op: Op, what: Task, asked_us: u64, answer: Answer) -> Checked {
        let code = match (&what, &answer) {
            (Task::Make { .. }, Answer::Created(done)) => done.topics.first().map(|topic| topic.error_code),
            (Task::Remove { .. }, Answer::Deleted(done)) => done.responses.first().map(|topic| topic.error_code),
            (Task::DeleteGroup { .. }, Answer::Removed(done)) => done.results.first().map(|group| group.error_code),
            (Task::DeleteOffset { .. }, Answer::Forgotten(done)) if done.error_code != 0 => Some(done.error_code),
            (Task::DeleteOffset { .. }, Answer::Forgotten(done)) => {
                done.topics.first().and_then(|topic| topic.partitions.first()).map(|one| one.error_code)
            }
            _ => return Err(format!("{what:?} was answered with {answer:?}")),
        };
        let Some(code) = code else { return Err(format!("{what:?} is left out of its answer: {answer:?}")) };
        let event = match code {
            0 => Event::ForgetOk { op },
            7 | 15 => Event::ForgetInfo { op },
            _ => Event::ForgetFail { op },
        };
        self.forgotten(event, op);
        match (&what, code) {
            (Task::Make { topic }, 0) => {
                let known = self.topics.entry(*topic).or_default();
                let again = !known.lives.is_empty();
                self.world.sightings.saw_if(again, "topic made again under its name");
            }
            (Task::Remove { .. }, 0) => self.world.sightings.saw("topic with offsets deleted"),
            (Task::DeleteGroup { group }, 0) => {
                self.world.sightings.saw("group deleted");
                let (now_us, grace_us) = (self.world.clock.us(), self.grace_us());
                let there = self
                    .members()
                    .find(|(_, member)| member.group == *group && member.surely_there(asked_us, now_us, grace_us));
                if let Some((member, _)) = there {
                    return Err(format!("a group with members is not deleted: client {member} is in group {group}"));
                }
            }
            (Task::DeleteOffset { .. }, 0) => self.world.sightings.saw("offset deleted"),
            (Task::Make { .. }, 36) | (Task::Remove { .. } | Task::DeleteOffset { .. }, 3) => {}
            (Task::DeleteGroup { .. }, 69) | (Task::DeleteOffset { .. }, 69 | 86) => {}
            (Task::DeleteGroup { .. } | Task::DeleteOffset { .. }, 68) => {
                // At the end members are leaving.
                if self.parting {
                    self.again(client, what, 50_000);
                }
            }
            (_, code) if later(code) => {
                if matches!(what, Task::Make { .. } | Task::Remove { .. }) || self.calm {
                    self.again(client, what, 20_000);
                }
            }
            (_, code) => return Err(format!("{what:?} was answered {code}")),
        }
        Ok(())
    }

    fn listed(&mut self, there: Vec<(u32, u64)>, listed: &ListGroupsResponse) -> Checked {
        if listed.error_code != 0 {
            return if later(listed.error_code) { Ok(()) } else { Err(format!("ListGroups answered {listed:?}")) };
        }
        let mut names = BTreeSet::new();
        for group in &listed.groups {
            let Some(number) = group_of(&group.group_id.0).filter(|number| *number < self.groups()) else {
                return Err(format!("ListGroups names a group that nobody made: {group:?}"));
            };
            names.insert(number);
            let state = &*group.group_state;
            if !matches!(state, "" | "Empty" | "PreparingRebalance" | "CompletingRebalance" | "Stable" | "Dead") {
                return Err(format!("ListGroups answers state {state:?}"));
            }
        }
        for (group, epoch) in there {
            if !names.contains(&group) && self.judge.anchored(group) == Some(epoch) {
                return Err(format!("a group with committed offsets is listed: group {group} is not in {names:?}"));
            }
        }
        Ok(())
    }

    fn described(&mut self, group: u32, described: &DescribeGroupsResponse) -> Checked {
        let Some(one) = described.groups.first() else { return Err("DescribeGroups answered nothing".into()) };
        match one.error_code {
            0 => {}
            69 => return Ok(()),
            code if later(code) => return Ok(()),
            code => return Err(format!("DescribeGroups answered {code}")),
        }
        let mut handed: Vec<(u64, Handed)> = Vec::new();
        for member in &one.members {
            if &*one.group_state == "Stable" && !member.member_assignment.is_empty() {
                let read = read_assignment(group, &member.member_assignment);
                handed
                    .push(read.ok_or_else(|| format!("DescribeGroups shows an assignment that nobody made: {one:?}"))?);
            }
        }
        let mut owned = BTreeSet::new();
        for (_, one) in &handed {
            if one.op != handed[0].1.op || one.partitions.iter().any(|partition| !owned.insert(*partition)) {
                return Err(format!("one owner a partition and generation: DescribeGroups shows {handed:?}"));
            }
        }
        Ok(())
    }
}
