// SPDX-License-Identifier: Apache-2.0
//! What administrators ask about groups: DescribeGroups, ListGroups, DeleteGroups.
//!
//! Owns: how a group is shown. Must not know: how it came to be so.

use super::group::{Asker, Member, State};
use super::messages::{Answer, Described, DescribedMember, Done, List, Listed, ListedGroup};
use super::rebalance::Turn;
use super::stored::{Group, Stored};
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use model::{NamespaceId, TopicId};

/// All groups here speak the classic protocol.
const CLASSIC: &str = "classic";

/// The state of groups that do not exist.
const DEAD: &str = "Dead";

impl Turn<'_> {
    pub fn describe(&mut self, asker: Asker) {
        // In between, members differ in what they speak.
        let protocol = if self.live.state == State::Stable { self.live.protocol_name.clone() } else { None };
        let member = |(id, member): (&Text, &Member)| DescribedMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if protocol.is_some() { member.metadata(protocol.as_ref()) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        };
        let described = Described {
            error_code: ErrorCode::None.number(),
            state: Text::from(self.live.state.name()),
            protocol_type: self.live.protocol_type.clone().unwrap_or_default(),
            protocol_name: protocol.clone().unwrap_or_default(),
            generation_id: self.live.generation,
            members: self.live.members().map(member).collect(),
            offset_count: i32::try_from(self.offsets.len()).unwrap_or(i32::MAX),
        };
        self.answer(asker, &Answer::Described(described));
    }

    pub fn delete(&mut self, asker: Asker) {
        let code = if self.live.state == State::Empty { ErrorCode::None } else { ErrorCode::NonEmptyGroup };
        if code == ErrorCode::None {
            let pending: Vec<Text> = self.live.pending.keys().cloned().collect();
            pending.iter().for_each(|id| self.forget_pending(id));
            let offsets: Vec<(TopicId, i32)> = self.offsets.keys().copied().collect();
            offsets.into_iter().for_each(|(topic, partition)| self.remove_offset(topic, partition));
            self.forget_group();
        }
        self.answer(asker, &Answer::Deleted(Done { error_code: code.number() }));
    }
}

/// The description of a group that does not exist.
pub fn described_dead() -> Answer {
    Answer::Described(Described {
        error_code: ErrorCode::GroupIdNotFound.number(),
        state: Text::from(DEAD),
        protocol_type: Text::EMPTY,
        protocol_name: Text::EMPTY,
        generation_id: -1,
        members: Vec::new(),
        offset_count: 0,
    })
}

/// The groups of a namespace in the states and of the types asked for.
pub fn list(stored: &Stored, namespace: NamespaceId, list: &List) -> Answer {
    let is_one_of = |filters: &[Text], value: &str| {
        filters.is_empty() || filters.iter().any(|filter| filter.as_str().trim().eq_ignore_ascii_case(value))
    };
    let state_of = |group: &Group| group.live.as_ref().map_or_else(|| asleep_state(group), |live| live.state);
    let groups = stored
        .by_name()
        .filter(|group| group.name.namespace == namespace)
        .filter(|group| is_one_of(&list.states, state_of(group).name()) && is_one_of(&list.types, CLASSIC))
        .map(|group| ListedGroup {
            group: group.name.group.clone(),
            protocol_type: protocol_type_of(group),
            state: Text::from(state_of(group).name()),
            group_type: Text::from(CLASSIC),
        });
    Answer::Listed(Listed { groups: groups.collect() })
}

fn asleep_state(group: &Group) -> State {
    if group.stored.as_ref().is_some_and(|stored| stored.has_members) { State::Stable } else { State::Empty }
}

fn protocol_type_of(group: &Group) -> Text {
    match (&group.live, &group.stored) {
        (Some(live), _) => live.protocol_type.clone().unwrap_or_default(),
        (None, Some(stored)) => stored.protocol_type.clone(),
        (None, None) => Text::EMPTY,
    }
}
