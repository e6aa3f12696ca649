// SPDX-License-Identifier: Apache-2.0
//! ListPartitionReassignments: nothing is ever being moved.

use super::{Cx, Outcome};
use crate::map;
use crate::wire::ErrorCode;
use crate::wire::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use kernel::auth::Action;

pub fn answer(cx: &Cx<'_>, _request: ListPartitionReassignmentsRequest) -> Outcome {
    let may = map::may(cx.who, Action::Describe);
    let code = if may { ErrorCode::None } else { ErrorCode::ClusterAuthorizationFailed };
    let response = ListPartitionReassignmentsResponse {
        throttle_time_ms: 0,
        error_code: code.number(),
        error_message: None,
        topics: Vec::new(),
    };
    cx.answer(&response, code.number())
}
