// SPDX-License-Identifier: Apache-2.0
//! Produce: one batch a partition, each answered when it is durable.
//!
//! acks 1 and -1 mean the same: synced. acks 0 is as durable, only nobody is told; since nobody can be told of a failure either,
//! the connection is closed on one, as Apache Kafka does, so that the client looks again.
//! `timeout_ms` is not looked at: it bounds the wait for other replicas, of which there are none, and a batch that was handed to
//! the log cannot be taken back by a clock.

use super::sent::Sent;
use super::{Cx, Outcome, first_error};
use crate::map::{self, Refusal};
use crate::wire::ErrorCode;
use crate::wire::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use kernel::error::PublishError;
use kernel::reply::Published;

/// See the module.
pub struct Running {
    acks: i16,
    response: ProduceResponse,
    /// For each command sent: topic and partition in the response, and the time stamped on its records.
    sent: Sent<(u32, u32, i64)>,
}

pub fn start(cx: &mut Cx<'_>, request: ProduceRequest) -> Result<Running, Outcome> {
    let mut running = Running {
        acks: request.acks,
        response: ProduceResponse { responses: Vec::new(), throttle_time_ms: 0 },
        sent: Sent::none(),
    };
    for topic in request.topic_data {
        let partition_responses = if matches!(running.acks, -1..=1) {
            running.send(cx, &topic)
        } else {
            let refuse = |index| map::unpublished(index, Refusal::new(ErrorCode::InvalidRequiredAcks, ""));
            topic.partition_data.iter().map(|partition| refuse(partition.index)).collect()
        };
        let response = TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses };
        running.response.responses.push(response);
    }
    match running.finished(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

impl Running {
    fn send(&mut self, cx: &mut Cx<'_>, topic: &TopicProduceData) -> Vec<PartitionProduceResponse> {
        let found = if cx.format.version >= 13 {
            map::topic_with_id(cx.catalog, cx.who, topic.topic_id)
        } else {
            map::topic_named(cx.catalog, cx.who, topic.name.as_str())
        };
        let topic_at = self.response.responses.len() as u32;
        let mut responses = Vec::with_capacity(topic.partition_data.len());
        for partition in &topic.partition_data {
            let publishing = found.and_then(|topic| Ok((topic, map::place(cx.catalog, topic, partition.index)?)));
            let publishing = match publishing {
                Err(code) => Err(Refusal::new(code, "")),
                Ok((topic, place)) => {
                    map::publish(topic, &place, partition.records.as_ref(), cx.format.version, cx.now)
                        .map(|publishing| (place, publishing))
                }
            };
            match publishing {
                Ok((place, publishing)) => {
                    let at = (topic_at, responses.len() as u32, publishing.log_append_time_ms);
                    self.sent.send(cx, at, (place.shard, publishing.command));
                    // Stands until the reply takes its place.
                    let unknown = Refusal::new(ErrorCode::RequestTimedOut, "");
                    responses.push(map::unpublished(partition.index, unknown));
                }
                Err(refusal) => responses.push(map::unpublished(partition.index, refusal)),
            }
        }
        responses
    }

    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Published, PublishError>) -> Option<Outcome> {
        let (topic_at, partition_at, log_append_time_ms) = *self.sent.take(part)?;
        let topic = self.response.responses.get_mut(topic_at as usize)?;
        let response = topic.partition_responses.get_mut(partition_at as usize)?;
        let (mut answer, retry_after_ms) = map::published(response.index, log_append_time_ms, result);
        if cx.format.version >= 13 && answer.error_code == ErrorCode::UnknownTopicOrPartition.number() {
            answer.error_code = ErrorCode::UnknownTopicId.number();
        }
        *response = answer;
        let throttle_time_ms = i32::try_from(retry_after_ms).unwrap_or(i32::MAX);
        self.response.throttle_time_ms = self.response.throttle_time_ms.max(throttle_time_ms);
        self.finished(cx)
    }

    fn finished(&self, cx: &Cx<'_>) -> Option<Outcome> {
        if !self.sent.all_replied() {
            return None;
        }
        let partitions = self.response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let error_code = first_error(partitions.map(|partition| partition.error_code));
        if self.acks != 0 {
            return Some(cx.answer(&self.response, error_code));
        }
        if error_code == 0 {
            return Some(Outcome::Silent);
        }
        Some(Outcome::Close(format!("a batch sent with acks 0 was refused with error {error_code}")))
    }
}
