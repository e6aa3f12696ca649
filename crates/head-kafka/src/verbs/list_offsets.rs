// SPDX-License-Identifier: Apache-2.0
//! ListOffsets: where a partition starts and ends, and what stands at a time.

use super::sent::Sent;
use super::{Cx, Outcome, first_error};
use crate::errors;
use crate::map::{self, Question, Sight};
use crate::wire::ErrorCode;
use crate::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use kernel::error::LocateError;
use kernel::reply::Located;
use std::collections::BTreeSet;

/// See the module.
pub struct Running {
    response: ListOffsetsResponse,
    /// For each command sent: topic and partition in the response.
    sent: Sent<(u32, u32)>,
}

pub fn start(cx: &mut Cx<'_>, request: ListOffsetsRequest) -> Result<Running, Outcome> {
    let mut running =
        Running { response: ListOffsetsResponse { throttle_time_ms: 0, topics: Vec::new() }, sent: Sent::none() };
    let sight = Sight { committed_only: request.isolation_level == 1 };
    for topic in request.topics {
        let found = map::topic_named(cx.catalog, cx.who, topic.name.as_str());
        let mut seen = BTreeSet::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let response = if seen.insert(partition.partition_index) {
                let place = found.and_then(|topic| map::place(cx.catalog, topic, partition.partition_index));
                let question = map::question(partition.timestamp, cx.format.version);
                match (place, question) {
                    (Err(code), _) | (_, Err(code)) => refuse(partition, code),
                    (Ok(_), Ok(Question::Nothing)) => map::located(partition.partition_index, None),
                    (Ok(place), Ok(Question::Ask(by))) => {
                        let at = (running.response.topics.len() as u32, partitions.len() as u32);
                        let command = map::locate(&place, by, sight, partition.current_leader_epoch);
                        running.sent.send(cx, at, (place.shard, command));
                        map::located(partition.partition_index, None)
                    }
                }
            } else {
                refuse(partition, ErrorCode::InvalidRequest)
            };
            partitions.push(response);
        }
        running.response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    match running.finished(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

fn refuse(partition: &ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { error_code: code.number(), ..map::located(partition.partition_index, None) }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Located, LocateError>) -> Option<Outcome> {
        let (topic_at, partition_at) = *self.sent.take(part)?;
        let topic = self.response.topics.get_mut(topic_at as usize)?;
        let response = topic.partitions.get_mut(partition_at as usize)?;
        match result {
            Ok(located) => *response = map::located(response.partition_index, Some(located)),
            Err(error) => response.error_code = errors::locate(&error).number(),
        }
        self.finished(cx)
    }

    fn finished(&self, cx: &Cx<'_>) -> Option<Outcome> {
        let partitions = || self.response.topics.iter().flat_map(|topic| &topic.partitions);
        self.sent
            .all_replied()
            .then(|| cx.answer(&self.response, first_error(partitions().map(|partition| partition.error_code))))
    }
}
