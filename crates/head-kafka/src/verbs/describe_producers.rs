// SPDX-License-Identifier: Apache-2.0
//! DescribeProducers: which numbered producers a partition knows.

use super::partition_walk::Walk;
use super::{Cx, Outcome, first_error};
use crate::errors;
use crate::map;
use crate::wire::ErrorCode;
use crate::wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, TopicResponse,
};
use kernel::error::DescribeError;
use kernel::reply::Described;

/// Producers told in one answer, spread over the partitions asked for: the first of each, by id.
const PRODUCERS_MAX: usize = 200_000;

/// See the module.
pub struct Running {
    walk: Walk,
}

pub fn start(cx: &mut Cx<'_>, request: DescribeProducersRequest) -> Result<Running, Outcome> {
    let mut walk = Walk::new(0);
    for topic in request.topics {
        walk.add(cx, topic.name, &topic.partition_indexes);
    }
    walk.limit_producers((PRODUCERS_MAX / walk.len().max(1)).max(1) as u32);
    let mut running = Running { walk };
    match running.walk.advance(cx) {
        false => Ok(running),
        true => Err(running.answer(cx)),
    }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Described, DescribeError>) -> Option<Outcome> {
        self.walk.reply(cx, part, result, errors::describe).then(|| self.answer(cx))
    }

    fn answer(&mut self, cx: &Cx<'_>) -> Outcome {
        let partition = |(partition_index, described): (i32, Result<Described, ErrorCode>)| PartitionResponse {
            partition_index,
            error_code: described.as_ref().err().map_or(0, |code| code.number()),
            error_message: None,
            active_producers: described.map_or(Vec::new(), |described| map::producers(&described)),
        };
        let topics = std::mem::take(&mut self.walk.topics).into_iter().map(|visited| TopicResponse {
            name: visited.name,
            partitions: visited.partitions.into_iter().map(partition).collect(),
        });
        let response = DescribeProducersResponse { throttle_time_ms: 0, topics: topics.collect() };
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
        cx.answer(&response, first_error(codes))
    }
}
