// SPDX-License-Identifier: Apache-2.0
//! OffsetForLeaderEpoch: where the records of a leader epoch end, so that a consumer sees whether what it read is still there.

use super::sent::Sent;
use super::{Cx, Outcome, first_error};
use crate::errors;
use crate::map;
use crate::wire::ErrorCode;
use crate::wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use kernel::error::LocateError;
use kernel::reply::Located;
use std::collections::BTreeSet;

/// See the module.
pub struct Running {
    response: OffsetForLeaderEpochResponse,
    /// For each command sent: topic and partition in the response.
    sent: Sent<(u32, u32)>,
}

pub fn start(cx: &mut Cx<'_>, request: OffsetForLeaderEpochRequest) -> Result<Running, Outcome> {
    let mut running = Running {
        response: OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: Vec::new() },
        sent: Sent::none(),
    };
    for topic in request.topics {
        let found = map::topic_named(cx.catalog, cx.who, topic.topic.as_str());
        let mut seen = BTreeSet::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let place = found.and_then(|topic| map::place(cx.catalog, topic, partition.partition));
            let command =
                place.map(|place| map::epoch_end(&place, partition.leader_epoch, partition.current_leader_epoch));
            let code = match command {
                _ if !seen.insert(partition.partition) => ErrorCode::InvalidRequest,
                // An epoch below 0 is none.
                Ok(None) => ErrorCode::None,
                Ok(Some(command)) => {
                    let at = (running.response.topics.len() as u32, partitions.len() as u32);
                    running.sent.send(cx, at, command);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            partitions
                .push(EpochEndOffset { error_code: code.number(), ..map::epoch_ended(partition.partition, None) });
        }
        running.response.topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    match running.finished(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Located, LocateError>) -> Option<Outcome> {
        let (topic_at, partition_at) = *self.sent.take(part)?;
        let topic = self.response.topics.get_mut(topic_at as usize)?;
        let response = topic.partitions.get_mut(partition_at as usize)?;
        match result {
            Ok(located) => *response = map::epoch_ended(response.partition, Some(located)),
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
