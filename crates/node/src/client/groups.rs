// SPDX-License-Identifier: Apache-2.0
//! Groups from outside: which there are, what one has committed, and changing that.
//!
//! Owns: who coordinates a group, and asking again while that moves. Must not know: being a member (`member.rs`).

use super::connection::Sent;
use super::refusal::{ClientError, is_retriable};
use super::request::Request;
use super::{Client, Tries, is_ok};
use crate::nearest::nearest;
use head_kafka::wire::messages::delete_groups::DeleteGroupsRequest;
use head_kafka::wire::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use head_kafka::wire::messages::find_coordinator::FindCoordinatorRequest;
use head_kafka::wire::messages::list_groups::{ListGroupsRequest, ListedGroup};
use head_kafka::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use head_kafka::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponsePartition,
};
use head_kafka::wire::{ErrorCode, Text};
use std::collections::BTreeMap;
use std::time::Duration;

/// Topic and partition.
pub type Place = (String, i32);

/// Who commits: a member of a generation, or (the default) somebody outside, while the group has no members.
#[derive(Clone, Debug)]
pub struct Committer {
    pub generation_id: i32,
    pub member_id: Text,
    pub instance_id: Option<Text>,
}

impl Default for Committer {
    fn default() -> Committer {
        Committer { generation_id: -1, member_id: Text::EMPTY, instance_id: None }
    }
}

impl Client {
    /// The broker that coordinates a group.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let tries = Tries::within(self.timeout());
        self.brokers_known()?;
        let request = FindCoordinatorRequest { key: group.into(), key_type: 0, coordinator_keys: vec![group.into()] };
        loop {
            let answer = self.look_up(&request)?;
            let (error_code, message, node_id) = match answer.coordinators.into_iter().next() {
                Some(found) => (found.error_code, found.error_message, found.node_id),
                None => (answer.error_code, answer.error_message, answer.node_id),
            };
            if is_ok(error_code) {
                return Ok(node_id);
            }
            if !tries.again_after(error_code) {
                let message = message.map(|message| message.to_string());
                return Err(ClientError::Refused { what: format!("group {group:?}"), error_code, message });
            }
        }
    }

    /// Asks a group's coordinator, again while it moves or loads. `error_of` finds the error number in the answer.
    pub fn ask_coordinator<R: Request>(
        &mut self,
        group: &str,
        request: &R,
        error_of: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let tries = Tries::within(self.timeout());
        loop {
            let coordinator = self.coordinator(group)?;
            let answer = self.broker(coordinator)?.call(request)?;
            if !is_retriable(error_of(&answer)) || !tries.again() {
                return Ok(answer);
            }
        }
    }

    /// Asks a group's coordinator what it may answer late; Ctrl-C ends the wait.
    pub fn ask_and_wait<R: Request>(
        &mut self,
        group: &str,
        request: &R,
        longer: Duration,
    ) -> Result<R::Response, ClientError> {
        let coordinator = self.coordinator(group)?;
        let broker = self.broker(coordinator)?;
        let sent: Sent = broker.send(request)?;
        broker.receive_unless_interrupted::<R>(sent, longer)
    }

    /// All groups of all brokers, by name.
    pub fn groups(&mut self) -> Result<Vec<ListedGroup>, ClientError> {
        let mut groups = Vec::new();
        let request = ListGroupsRequest { states_filter: Vec::new(), types_filter: Vec::new() };
        for broker in self.brokers_known()? {
            let tries = Tries::within(self.timeout());
            loop {
                let answer = self.broker(broker)?.call(&request)?;
                if is_ok(answer.error_code) {
                    groups.extend(answer.groups);
                    break;
                }
                if !tries.again_after(answer.error_code) {
                    return Err(ClientError::refused("the list of groups", answer.error_code));
                }
            }
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// One group as its coordinator knows it; `None`: it does not.
    pub fn group(&mut self, group: &str) -> Result<Option<DescribedGroup>, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![group.into()], include_authorized_operations: false };
        let code = |answer: &<DescribeGroupsRequest as Request>::Response| {
            answer.groups.first().map_or(0, |found| found.error_code)
        };
        let answer = self.ask_coordinator(group, &request, code)?;
        let Some(found) = answer.groups.into_iter().next() else { return Ok(None) };
        // Before version 6 a group that is not there is described as dead.
        if found.error_code == ErrorCode::GroupIdNotFound.number() || found.group_state.as_str() == "Dead" {
            return Ok(None);
        }
        if !is_ok(found.error_code) {
            let message = found.error_message.map(|message| message.to_string());
            let what = format!("group {group:?}");
            return Err(ClientError::Refused { what, error_code: found.error_code, message });
        }
        Ok(Some(found))
    }

    /// That there is no such group, with the name that was meant if one is near; or that it is of a kind that is asked otherwise.
    pub fn no_group(&mut self, group: &str) -> ClientError {
        let groups = self.groups().unwrap_or_default();
        if let Some(found) = groups.iter().find(|found| found.group_id.as_str() == group) {
            return ClientError::Refused {
                what: format!("group {group:?}"),
                error_code: ErrorCode::GroupIdNotFound.number(),
                message: Some(format!(
                    "it is of the type {:?}, and only classic groups are told about",
                    found.group_type
                )),
            };
        }
        let names: Vec<String> = groups.iter().map(|found| found.group_id.to_string()).collect();
        ClientError::NotFound { what: "group", name: group.to_owned(), nearest: nearest(group, names) }
    }

    /// Everything that a group has committed.
    pub fn committed(&mut self, group: &str) -> Result<BTreeMap<Place, OffsetFetchResponsePartition>, ClientError> {
        let request = OffsetFetchRequest {
            group_id: group.into(),
            topics: None,
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                member_id: None,
                member_epoch: -1,
                topics: None,
            }],
            require_stable: true,
        };
        let code = |answer: &<OffsetFetchRequest as Request>::Response| {
            answer.groups.first().map_or(answer.error_code, |group| group.error_code)
        };
        let answer = self.ask_coordinator(group, &request, code)?;
        let error_code = code(&answer);
        if error_code == ErrorCode::GroupIdNotFound.number() {
            return Ok(BTreeMap::new());
        }
        if !is_ok(error_code) {
            return Err(ClientError::refused(format!("offsets of group {group:?}"), error_code));
        }
        let of_groups =
            answer.groups.into_iter().flat_map(|group| group.topics).map(|topic| (topic.name, topic.partitions));
        let topics = answer.topics.into_iter().map(|topic| (topic.name, topic.partitions)).chain(of_groups);
        let mut committed = BTreeMap::new();
        for (name, partitions) in topics {
            for partition in partitions.into_iter().filter(|partition| partition.committed_offset >= 0) {
                if !is_ok(partition.error_code) {
                    let what = format!("the offset of {name}-{}", partition.partition_index);
                    return Err(ClientError::refused(what, partition.error_code));
                }
                committed.insert((name.to_string(), partition.partition_index), partition);
            }
        }
        Ok(committed)
    }

    /// Commits offsets for a group. The first error number that is not "done" is given back.
    pub fn commit(
        &mut self,
        group: &str,
        committer: &Committer,
        offsets: &BTreeMap<Place, i64>,
    ) -> Result<i16, ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition_index), committed_offset) in offsets {
            topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: *committed_offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(Text::EMPTY),
            });
        }
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: committer.generation_id,
            member_id: committer.member_id.clone(),
            group_instance_id: committer.instance_id.clone(),
            retention_time_ms: -1,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic { name: name.into(), topic_id: [0; 16], partitions })
                .collect(),
        };
        let code = |answer: &<OffsetCommitRequest as Request>::Response| {
            let mut codes =
                answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
            codes.find(|code| !is_ok(*code)).unwrap_or(0)
        };
        let answer = self.ask_coordinator(group, &request, code)?;
        Ok(code(&answer))
    }

    /// Deletes a group and what it committed.
    pub fn delete_group(&mut self, group: &str) -> Result<i16, ClientError> {
        let request = DeleteGroupsRequest { groups_names: vec![group.into()] };
        let code = |answer: &<DeleteGroupsRequest as Request>::Response| {
            answer.results.first().map_or(0, |result| result.error_code)
        };
        let answer = self.ask_coordinator(group, &request, code)?;
        Ok(code(&answer))
    }
}
