// SPDX-License-Identifier: Apache-2.0
//! OffsetDelete: a group forgets what it committed for some partitions. Those of topics that a member subscribes to stay.

use super::asks::Coordinated;
use super::{Cx, Outcome, first_error, mixed_up};
use crate::coordinator::messages::{Answer, Ask, DeleteOffsets, DeletedOffsets, NamedPartitionsOfTopic};
use crate::wire::ErrorCode;
use crate::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::{errors, map};

/// See the module.
pub struct Running {
    response: OffsetDeleteResponse,
    /// For each partition that was asked, in order: topic and partition in the response.
    asked: Vec<(u32, u32)>,
}

pub fn start(cx: &mut Cx<'_>, request: OffsetDeleteRequest) -> Result<Running, Outcome> {
    if request.group_id.is_empty() {
        return Err(refuse(cx, ErrorCode::InvalidGroupId.number()));
    }
    let mut running = Running {
        response: OffsetDeleteResponse { error_code: 0, throttle_time_ms: 0, topics: Vec::new() },
        asked: Vec::new(),
    };
    let mut topics = Vec::new();
    for topic in request.topics {
        let found =
            map::topic_named(cx.catalog, cx.who, topic.name.as_str()).and_then(|topic| map::readable(cx.who, topic));
        let mut asked = Vec::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let placed = found.and_then(|topic| map::place(cx.catalog, topic, index));
            if placed.is_ok() {
                running.asked.push((running.response.topics.len() as u32, partitions.len() as u32));
                asked.push(index);
            }
            let error_code = placed.err().map_or(0, ErrorCode::number);
            partitions.push(OffsetDeleteResponsePartition { partition_index: index, error_code });
        }
        if let Ok(found) = found
            && !asked.is_empty()
        {
            let name = topic.name.clone();
            topics.push(NamedPartitionsOfTopic { topic_id: found.id.0, name, partitions: asked });
        }
        running.response.topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    cx.ask(&Ask::DeleteOffsets(DeleteOffsets { group: request.group_id, topics }));
    Ok(running)
}

impl Running {
    pub fn reply(&mut self, cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
        let deleted = match coordinated.answer {
            Ok(Answer::DeletedOffsets(DeletedOffsets { error_code: 0, topics })) => topics,
            Ok(Answer::DeletedOffsets(DeletedOffsets { error_code, .. })) => return refuse(cx, error_code),
            Ok(_) => return mixed_up(),
            Err(error) => return refuse(cx, errors::coordinator(&error).number()),
        };
        let codes = deleted.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        if codes.clone().count() != self.asked.len() {
            return mixed_up();
        }
        for ((topic_at, partition_at), code) in self.asked.iter().zip(codes) {
            let topic = self.response.topics.get_mut(*topic_at as usize);
            if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(*partition_at as usize)) {
                partition.error_code = code;
            }
        }
        let partitions = self.response.topics.iter().flat_map(|topic| &topic.partitions);
        cx.answer(&self.response, first_error(partitions.map(|partition| partition.error_code)))
    }
}

/// What is wrong with the group is said once.
fn refuse(cx: &Cx<'_>, error_code: i16) -> Outcome {
    let response = OffsetDeleteResponse { error_code, throttle_time_ms: 0, topics: Vec::new() };
    cx.answer(&response, error_code)
}
