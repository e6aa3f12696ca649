// SPDX-License-Identifier: Apache-2.0
//! JoinGroup: a member enters a group, or comes back to it in another generation. Answered when all members have come, which may
//! take as long as their rebalance time-out.

use super::asks::Coordinated;
use super::{Cx, Outcome, mixed_up};
use crate::coordinator::messages::{Answer, Ask, Join, Joined, Protocol};
use crate::errors;
use crate::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use crate::wire::{ErrorCode, Text};

/// What is known while the coordinator is asked.
pub struct Running {
    /// A copy: this may wait for minutes, and a slice would keep the whole request.
    member_id: Text,
}

/// Made into a member's id, whose rest is random: the instance's id or the client's, cut here.
const ID_PREFIX_BYTES_MAX: usize = 255;

pub fn start(cx: &mut Cx<'_>, client_id: &Text, request: JoinGroupRequest) -> Result<Running, Outcome> {
    let running = Running { member_id: Text::from(request.member_id.as_str()) };
    if request.group_id.is_empty() {
        return Err(answer(cx, Joined::refused(running.member_id, ErrorCode::InvalidGroupId)));
    }
    let prefix = request.group_instance_id.as_ref().unwrap_or(client_id).as_str();
    let prefix = &prefix[..prefix.floor_char_boundary(ID_PREFIX_BYTES_MAX)];
    let fresh_member_id = Text::from(format!("{prefix}-{}", cx.random.uuid()));
    let protocol = |protocol: JoinGroupRequestProtocol| Protocol { name: protocol.name, metadata: protocol.metadata };
    let ask = Ask::Join(Join {
        group: request.group_id,
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        fresh_member_id,
        must_know_member_id: cx.format.version >= 4,
        client_id: client_id.clone(),
        client_host: Text::from(cx.client_host),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(protocol).collect(),
        can_skip_assignment: cx.format.version >= 9,
    });
    cx.ask(&ask);
    Ok(running)
}

impl Running {
    pub fn reply(&self, cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
        match coordinated.answer {
            Ok(Answer::Joined(joined)) => answer(cx, joined),
            Ok(_) => mixed_up(),
            Err(error) => answer(cx, Joined::refused(self.member_id.clone(), errors::coordinator(&error))),
        }
    }
}

fn answer(cx: &Cx<'_>, joined: Joined) -> Outcome {
    // Null came with version 7.
    let null = (cx.format.version < 7).then_some(Text::EMPTY);
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        metadata: member.metadata,
    });
    let response = JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: joined.error_code,
        generation_id: joined.generation_id,
        protocol_type: joined.protocol_type,
        protocol_name: joined.protocol_name.or(null),
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
    };
    cx.answer(&response, joined.error_code)
}
