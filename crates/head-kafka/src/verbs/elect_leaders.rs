// SPDX-License-Identifier: Apache-2.0
//! ElectLeaders: every partition has its leader, this broker; no election is needed.

use super::{Cx, Outcome, first_error};
use crate::map;
use crate::wire::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::wire::{ErrorCode, Text};
use kernel::auth::Action;

pub fn answer(cx: &Cx<'_>, request: ElectLeadersRequest) -> Outcome {
    let code = match request.election_type {
        _ if !map::may(cx.who, Action::Alter) => ErrorCode::ClusterAuthorizationFailed,
        0 | 1 => ErrorCode::None,
        _ => ErrorCode::InvalidRequest,
    };
    let mut results = Vec::new();
    // Of all partitions only those are told that an election changed: none.
    for topic in request.topic_partitions.into_iter().flatten() {
        let found = map::topic_named(cx.catalog, cx.who, topic.topic.as_str());
        let partition = |partition_id: i32| {
            let (code, message) = match found.and_then(|topic| map::place(cx.catalog, topic, partition_id)) {
                _ if code != ErrorCode::None => (code, "No election was held."),
                Err(code) => (code, "There is no such partition."),
                Ok(_) => (ErrorCode::ElectionNotNeeded, "This broker leads the partition already."),
            };
            PartitionResult { partition_id, error_code: code.number(), error_message: Some(Text::from(message)) }
        };
        let partition_result = topic.partitions.iter().map(|index| partition(*index)).collect();
        results.push(ReplicaElectionResult { topic: topic.topic, partition_result });
    }
    let response =
        ElectLeadersResponse { throttle_time_ms: 0, error_code: code.number(), replica_election_results: results };
    let codes = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    let codes = codes.map(|partition| partition.error_code);
    cx.answer(&response, first_error([code.number()].into_iter().chain(codes)))
}
