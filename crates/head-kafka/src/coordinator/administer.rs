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

/// What one list of groups may take: it takes a hundred thousand groups with long names to reach it.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Of it, a group beside what it and its members are called.
const LISTED_BYTES: usize = 32;

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

/// The groups of a namespace in the states and of the types asked for. A list of more than [`LIST_BYTES_MAX`] is not made.
pub fn list(stored: &Stored, namespace: NamespaceId, list: &List) -> Answer {
    let is_one_of = |filters: &[Text], value: &str| {
        filters.is_empty() || filters.iter().any(|filter| filter.as_str().trim().eq_ignore_ascii_case(value))
    };
    // Looked at once, not for each group: both may be many.
    let mut states = vec![State::Empty, State::PreparingRebalance, State::CompletingRebalance, State::Stable];
    states.retain(|state| is_one_of(&list.states, state.name()) && is_one_of(&list.types, CLASSIC));
    let mut bytes = 0;
    let mut groups = Vec::new();
    for group in stored.by_name().filter(|group| group.name.namespace == namespace) {
        let state = group.live.as_ref().map_or_else(|| asleep_state(group), |live| live.state);
        if !states.contains(&state) {
            continue;
        }
        let listed = ListedGroup {
            group: group.name.group.clone(),
            protocol_type: protocol_type_of(group),
            state: Text::from(state.name()),
            group_type: Text::from(CLASSIC),
        };
        bytes += listed.group.as_str().len() + listed.protocol_type.as_str().len() + LISTED_BYTES;
        if bytes > LIST_BYTES_MAX {
            let error_code = ErrorCode::PolicyViolation.number();
            return Answer::Listed(Listed { error_code, groups: Vec::new() });
        }
        groups.push(listed);
    }
    Answer::Listed(Listed { error_code: ErrorCode::None.number(), groups })
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
