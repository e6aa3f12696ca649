// SPDX-License-Identifier: Apache-2.0
//! DeleteRecords: a partition's records before an offset are removed.
//!
//! `timeout_ms` is not looked at: a start that has moved has moved, and the answer comes when that is durable.

use super::sent::Sent;
use super::{Cx, Outcome, first_error};
use crate::errors;
use crate::map;
use crate::wire::ErrorCode;
use crate::wire::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use kernel::error::TrimError;
use kernel::reply::Trimmed;
use std::collections::BTreeSet;

/// See the module.
pub struct Running {
    response: DeleteRecordsResponse,
    /// For each command sent: topic and partition in the response.
    sent: Sent<(u32, u32)>,
}

pub fn start(cx: &mut Cx<'_>, request: DeleteRecordsRequest) -> Result<Running, Outcome> {
    let mut running =
        Running { response: DeleteRecordsResponse { throttle_time_ms: 0, topics: Vec::new() }, sent: Sent::none() };
    for topic in request.topics {
        let found = map::topic_named(cx.catalog, cx.who, topic.name.as_str());
        let mut seen = BTreeSet::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let is_first = seen.insert(partition.partition_index);
            let place = found.and_then(|topic| map::place(cx.catalog, topic, partition.partition_index));
            let code = match place.and_then(|place| map::trim(&place, partition.offset)) {
                _ if !is_first => ErrorCode::InvalidRequest,
                Ok(command) => {
                    let at = (running.response.topics.len() as u32, partitions.len() as u32);
                    running.sent.send(cx, at, command);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: -1,
                error_code: code.number(),
            });
        }
        running.response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    match running.finished(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Trimmed, TrimError>) -> Option<Outcome> {
        let (topic_at, partition_at) = *self.sent.take(part)?;
        let topic = self.response.topics.get_mut(topic_at as usize)?;
        let response = topic.partitions.get_mut(partition_at as usize)?;
        match result {
            Ok(trimmed) => response.low_watermark = map::offset(trimmed.start),
            Err(error) => response.error_code = errors::trim(&error).number(),
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
