// SPDX-License-Identifier: Apache-2.0
//! LeaveGroup: one member (up to version 2) or several go. Who goes may be named by its instance id alone, which is how admin
//! tools remove static members.

use super::asks::Coordinated;
use super::{Cx, Outcome, first_error, mixed_up};
use crate::coordinator::messages::{Answer, Ask, Leave, LeavingMember, Left, LeftMember};
use crate::errors;
use crate::wire::ErrorCode;
use crate::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};

pub fn start(cx: &mut Cx<'_>, request: LeaveGroupRequest) -> Result<(), Outcome> {
    if request.group_id.is_empty() {
        return Err(refuse(cx, ErrorCode::InvalidGroupId));
    }
    let named = |member: MemberIdentity| LeavingMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
    };
    let members = if cx.format.version <= 2 {
        vec![LeavingMember { member_id: request.member_id, group_instance_id: None }]
    } else {
        request.members.into_iter().map(named).collect()
    };
    cx.ask(&Ask::Leave(Leave { group: request.group_id, members }));
    Ok(())
}

pub fn reply(cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
    match coordinated.answer {
        Ok(Answer::Left(left)) => answer(cx, left),
        Ok(_) => mixed_up(),
        Err(error) => refuse(cx, errors::coordinator(&error)),
    }
}

fn refuse(cx: &Cx<'_>, code: ErrorCode) -> Outcome {
    answer(cx, Left { error_code: code.number(), members: Vec::new() })
}

fn answer(cx: &Cx<'_>, left: Left) -> Outcome {
    let of_members = first_error(left.members.iter().map(|member| member.error_code));
    let first = first_error([left.error_code, of_members]);
    let member = |member: LeftMember| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: member.error_code,
    };
    let response = LeaveGroupResponse {
        throttle_time_ms: 0,
        // The one member's error has no other place in old versions.
        error_code: if cx.format.version <= 2 { first } else { left.error_code },
        members: left.members.into_iter().map(member).collect(),
    };
    cx.answer(&response, first)
}
