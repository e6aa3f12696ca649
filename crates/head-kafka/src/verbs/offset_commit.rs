// SPDX-License-Identifier: Apache-2.0
//! OffsetCommit. Partitions that do not exist are refused one by one; the others are committed, all of them or none.

use super::asks::Coordinated;
use super::{Cx, Outcome, first_error, mixed_up};
use crate::coordinator::messages::{Answer, Ask, Commit, CommitPartition, CommitTopic, Committed};
use crate::wire::ErrorCode;
use crate::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::{errors, map};
use kernel::catalog::Topic;

/// See the module.
pub struct Running {
    response: OffsetCommitResponse,
    /// For each partition that was asked, in order: topic and partition in the response.
    asked: Vec<(u32, u32)>,
}

pub fn start(cx: &mut Cx<'_>, request: OffsetCommitRequest) -> Result<Running, Outcome> {
    let mut running = Running {
        response: OffsetCommitResponse { throttle_time_ms: 0, topics: Vec::with_capacity(request.topics.len()) },
        asked: Vec::new(),
    };
    let mut topics = Vec::new();
    for topic in request.topics {
        let asked = running.add(cx, topic);
        topics.extend(asked);
    }
    if topics.is_empty() {
        return Err(running.answer(cx));
    }
    let ask = Ask::Commit(Commit {
        group: request.group_id,
        generation_id: request.generation_id_or_member_epoch,
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        topics,
    });
    cx.ask(&ask);
    Ok(running)
}

/// A topic of the request, if its offsets may be committed.
fn find<'a>(cx: &Cx<'a>, topic: &OffsetCommitRequestTopic) -> Result<&'a Topic, ErrorCode> {
    let found = if cx.format.version >= 10 {
        map::topic_with_id(cx.catalog, cx.who, topic.topic_id)
    } else {
        map::topic_named(cx.catalog, cx.who, topic.name.as_str())
    };
    found.and_then(|topic| map::readable(cx.who, topic))
}

impl Running {
    /// Puts a topic into the response and gives out what is to be asked about it.
    fn add(&mut self, cx: &Cx<'_>, topic: OffsetCommitRequestTopic) -> Option<CommitTopic> {
        let found = find(cx, &topic);
        let mut asked = Vec::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let placed = found.and_then(|topic| map::place(cx.catalog, topic, index));
            let error_code = match placed {
                Ok(_) => {
                    self.asked.push((self.response.topics.len() as u32, partitions.len() as u32));
                    asked.push(committed(partition));
                    0
                }
                Err(code) => code.number(),
            };
            partitions.push(OffsetCommitResponsePartition { partition_index: index, error_code });
        }
        let (name, topic_id) = (topic.name, topic.topic_id);
        self.response.topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
        let found = found.ok().filter(|_| !asked.is_empty())?;
        Some(CommitTopic { topic_id: found.id.0, name: (&*found.name).into(), partitions: asked })
    }

    pub fn reply(&mut self, cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
        match coordinated.answer {
            Ok(Answer::Committed(Committed { topics })) => {
                let codes = topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
                if codes.clone().count() != self.asked.len() {
                    return mixed_up();
                }
                self.set(codes.map(|code| code_in(cx.format.version, code)));
            }
            Ok(_) => return mixed_up(),
            Err(error) => self.set(std::iter::repeat(errors::commit(&error).number())),
        }
        self.answer(cx)
    }

    /// The codes of what was asked, in order.
    fn set(&mut self, codes: impl Iterator<Item = i16>) {
        for ((topic_at, partition_at), code) in self.asked.iter().zip(codes) {
            let topic = self.response.topics.get_mut(*topic_at as usize);
            if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(*partition_at as usize)) {
                partition.error_code = code;
            }
        }
    }

    fn answer(&self, cx: &Cx<'_>) -> Outcome {
        let partitions = self.response.topics.iter().flat_map(|topic| &topic.partitions);
        cx.answer(&self.response, first_error(partitions.map(|partition| partition.error_code)))
    }
}

fn committed(partition: OffsetCommitRequestPartition) -> CommitPartition {
    CommitPartition {
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.unwrap_or_default(),
    }
}

/// A member of a group that does not exist (any more) heard ILLEGAL_GENERATION before version 9 gave that a number of its own.
fn code_in(version: i16, code: i16) -> i16 {
    if version < 9 && code == ErrorCode::GroupIdNotFound.number() {
        return ErrorCode::IllegalGeneration.number();
    }
    code
}
