// SPDX-License-Identifier: Apache-2.0
//! DescribeGroups. A group that does not exist is `Dead` without an error up to version 5, GROUP_ID_NOT_FOUND from then on.

use super::asks::{Asks, Coordinated, Told};
use super::{Cx, Outcome, first_error, mixed_up};
use crate::coordinator::messages::{self, Answer, Ask, Describe, Described};
use crate::map;
use crate::wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use crate::wire::{ErrorCode, Text};

/// See the module.
pub struct Running {
    response: DescribeGroupsResponse,
    include_authorized_operations: bool,
    asks: Asks,
}

pub fn start(cx: &mut Cx<'_>, request: DescribeGroupsRequest) -> Result<Running, Outcome> {
    let asks = Asks::new(request.groups.iter().map(|group| Ask::Describe(Describe { group: group.clone() })));
    let nothing = |group_id| nothing(group_id, 0, None);
    let groups = request.groups.into_iter().map(nothing).collect();
    let mut running = Running {
        response: DescribeGroupsResponse { throttle_time_ms: 0, groups },
        include_authorized_operations: request.include_authorized_operations,
        asks,
    };
    match running.go_on(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, coordinated: Coordinated) -> Option<Outcome> {
        let told = self.asks.take(coordinated);
        let operations = if self.include_authorized_operations { map::group_operations(cx.who) } else { i32::MIN };
        let group = self.response.groups.get_mut(part as usize)?;
        match told {
            Told::Answer(Answer::Described(described)) => *group = answered(cx, group, described, operations),
            Told::Answer(_) => return Some(mixed_up()),
            Told::Refused(code) => *group = nothing(group.group_id.clone(), code.number(), None),
        }
        self.go_on(cx)
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        for (part, code) in self.asks.send(cx) {
            if let Some(group) = self.response.groups.get_mut(part as usize) {
                let message = "The groups before it are all that one answer can hold.";
                *group = nothing(group.group_id.clone(), code.number(), Some(message.into()));
            }
        }
        let codes = self.response.groups.iter().map(|group| group.error_code);
        self.asks.are_done().then(|| cx.answer(&self.response, first_error(codes)))
    }
}

fn answered(cx: &Cx<'_>, group: &DescribedGroup, described: Described, operations: i32) -> DescribedGroup {
    let group_id = group.group_id.clone();
    let is_unknown = described.error_code == ErrorCode::GroupIdNotFound.number();
    if described.error_code != 0 {
        if is_unknown && cx.format.version < 6 {
            let dead = nothing(group_id, 0, None);
            return DescribedGroup { group_state: described.state, authorized_operations: operations, ..dead };
        }
        let message = is_unknown.then(|| Text::from(format!("Group {group_id} not found.")));
        return DescribedGroup { group_state: described.state, ..nothing(group_id, described.error_code, message) };
    }
    let member = |member: messages::DescribedMember| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    DescribedGroup {
        error_code: 0,
        error_message: None,
        group_id,
        group_state: described.state,
        protocol_type: described.protocol_type,
        protocol_data: described.protocol_name,
        members: described.members.into_iter().map(member).collect(),
        authorized_operations: operations,
    }
}

fn nothing(group_id: Text, error_code: i16, error_message: Option<Text>) -> DescribedGroup {
    DescribedGroup {
        error_code,
        error_message,
        group_id,
        group_state: Text::EMPTY,
        protocol_type: Text::EMPTY,
        protocol_data: Text::EMPTY,
        members: Vec::new(),
        authorized_operations: i32::MIN,
    }
}
