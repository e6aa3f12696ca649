// SPDX-License-Identifier: Apache-2.0
//! AlterPartitionReassignments: every partition is on this broker, and that is where it can be put.

use super::{Cx, Outcome, first_error};
use crate::map::{self, Refusal};
use crate::wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::wire::{ErrorCode, Text};
use kernel::auth::Action;

pub fn answer(cx: &Cx<'_>, request: AlterPartitionReassignmentsRequest) -> Outcome {
    let mut response = AlterPartitionReassignmentsResponse {
        throttle_time_ms: 0,
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_code: 0,
        error_message: None,
        responses: Vec::new(),
    };
    if !map::may(cx.who, Action::Alter) {
        response.error_code = ErrorCode::ClusterAuthorizationFailed.number();
        return cx.answer(&response, response.error_code);
    }
    for topic in request.topics {
        let found = map::topic_named(cx.catalog, cx.who, topic.name.as_str());
        let partition = |index: i32, replicas: Option<&Vec<i32>>| {
            let decided = found
                .and_then(|topic| map::place(cx.catalog, topic, index))
                .map_err(|code| Refusal::new(code, "There is no such partition."))
                .and_then(|_| decide(cx, replicas, request.allow_replication_factor_change));
            let refusal = decided.err();
            ReassignablePartitionResponse {
                partition_index: index,
                error_code: refusal.as_ref().map_or(0, |refusal| refusal.code.number()),
                error_message: refusal.map(|refusal| Text::from(refusal.message)),
            }
        };
        let partitions =
            topic.partitions.iter().map(|wanted| partition(wanted.partition_index, wanted.replicas.as_ref())).collect();
        response.responses.push(ReassignableTopicResponse { name: topic.name, partitions });
    }
    let codes = response.responses.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    cx.answer(&response, first_error(codes))
}

fn decide(cx: &Cx<'_>, replicas: Option<&Vec<i32>>, may_change_count: bool) -> Result<(), Refusal> {
    let Some(replicas) = replicas else {
        return Err(Refusal::new(ErrorCode::NoReassignmentInProgress, "Nothing is being moved."));
    };
    match replicas.as_slice() {
        [only] if *only == cx.settings.node_id => Ok(()),
        // Who there is comes before how many there should be.
        others if others.is_empty() || others.iter().any(|broker| *broker != cx.settings.node_id) => Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("Every partition has one replica, on broker {}.", cx.settings.node_id),
        )),
        _ if !may_change_count => Err(Refusal::new(ErrorCode::InvalidReplicationFactor, "There is one replica.")),
        _ => Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, "A broker is named more than once.")),
    }
}
