// SPDX-License-Identifier: Apache-2.0
//! SyncGroup: the leader brings the assignments of a generation, each member takes its own. Answered when they are there.

use super::asks::Coordinated;
use super::{Cx, Outcome, mixed_up};
use crate::coordinator::messages::{Answer, Ask, Assignment, Sync, Synced};
use crate::errors;
use crate::wire::ErrorCode;
use crate::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

pub fn start(cx: &mut Cx<'_>, request: SyncGroupRequest) -> Result<(), Outcome> {
    if request.group_id.is_empty() {
        return Err(answer(cx, Synced::refused(ErrorCode::InvalidGroupId)));
    }
    // From version 5 on both must be said.
    if cx.format.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(answer(cx, Synced::refused(ErrorCode::InconsistentGroupProtocol)));
    }
    let assignment = |assignment: SyncGroupRequestAssignment| Assignment {
        member_id: assignment.member_id,
        assignment: assignment.assignment,
    };
    let ask = Ask::Sync(Sync {
        group: request.group_id,
        generation_id: request.generation_id,
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        protocol_type: request.protocol_type,
        protocol_name: request.protocol_name,
        assignments: request.assignments.into_iter().map(assignment).collect(),
    });
    cx.ask(&ask);
    Ok(())
}

pub fn reply(cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
    match coordinated.answer {
        Ok(Answer::Synced(synced)) => answer(cx, synced),
        Ok(_) => mixed_up(),
        Err(error) => answer(cx, Synced::refused(errors::coordinator(&error))),
    }
}

fn answer(cx: &Cx<'_>, synced: Synced) -> Outcome {
    let response = SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: synced.error_code,
        protocol_type: synced.protocol_type,
        protocol_name: synced.protocol_name,
        assignment: synced.assignment,
    };
    cx.answer(&response, synced.error_code)
}
