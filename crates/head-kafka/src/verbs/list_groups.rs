// SPDX-License-Identifier: Apache-2.0
//! ListGroups: all groups, or those of some states (from version 4 on) and types (5). A list of more than 64 MiB, which takes a
//! hundred thousand groups with long names, is refused: its filters can make it shorter.

use super::asks::Coordinated;
use super::{Cx, Outcome, mixed_up};
use crate::coordinator::messages::{self, Answer, Ask, List, Listed};
use crate::errors;
use crate::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

pub fn start(cx: &mut Cx<'_>, request: ListGroupsRequest) {
    cx.ask(&Ask::List(List { states: request.states_filter, types: request.types_filter }));
}

pub fn reply(cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
    let (error_code, listed) = match coordinated.answer {
        Ok(Answer::Listed(Listed { error_code, groups })) => (error_code, groups),
        Ok(_) => return mixed_up(),
        Err(error) => (errors::coordinator(&error).number(), Vec::new()),
    };
    let group = |group: messages::ListedGroup| ListedGroup {
        group_id: group.group,
        protocol_type: group.protocol_type,
        group_state: group.state,
        group_type: group.group_type,
    };
    let groups = listed.into_iter().map(group).collect();
    cx.answer(&ListGroupsResponse { throttle_time_ms: 0, error_code, groups }, error_code)
}
