// SPDX-License-Identifier: Apache-2.0
//! One group of the classic protocol while somebody is in it: its state, its members, who waits for what.
//!
//! Owns: what follows from what within one group. Must not know: timers' queue, answers, notes; when anything happens
//! (`rebalance.rs`).
//!
//! ```text
//!           join                      all joined, or time is up            the leader's assignment
//!   Empty ------> PreparingRebalance ---------------------------> CompletingRebalance -----------> Stable
//!                   ^      |  nobody is left: Empty                   |                              |
//!                   +------+------------- join, leave, a session ends, a sync too late --------------+
//! ```
//! Invariants:
//!   1. A protocol that all members support exists, or there are no members.
//!   2. The leader is a member; there is one whenever there are members.
//!   3. `awaiting_join` counts the members with a join that is not answered; `protocol_counts` counts supporters.
//!   4. An instance id belongs to one member.
//!   5. Empty means: no members.

use super::notes::{GroupNote, MemberNote};
use super::subscription;
use super::timers::Alarm;
use crate::wire::Text;
use bytes::Bytes;
use model::{HolderId, Ticket};
use std::collections::{BTreeMap, BTreeSet};

/// What a member costs beside the bytes it brought, and each of its protocols: so that many empty ones have a bound as well.
const MEMBER_BYTES: usize = 256;
const PROTOCOL_BYTES: usize = 64;

/// The protocol type of groups whose members say which topics they subscribe to.
pub const CONSUMER: &str = "consumer";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// As the protocol says it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// Whose answer is outstanding. Its connection may be gone: then the answer goes nowhere, and the member is one that joined, until
/// its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub holder: HolderId,
    pub ticket: Ticket,
}

/// Name and metadata, in the member's order of preference, each name once.
pub type Protocols = Vec<(Text, Bytes)>;

#[derive(Debug)]
pub struct Member {
    pub instance_id: Option<Text>,
    pub client_id: Text,
    pub client_host: Text,
    pub session_timeout_ms: u32,
    pub rebalance_timeout_ms: u32,
    pub protocols: Protocols,
    pub assignment: Bytes,
    pub join: Option<Asker>,
    pub sync: Option<Asker>,
    /// It has not been told yet that it is a member, so it sends no heartbeats.
    pub is_new: bool,
    pub session: Alarm,
}

impl Member {
    pub fn bytes(&self, id: &Text) -> usize {
        let texts = [Some(id), self.instance_id.as_ref(), Some(&self.client_id), Some(&self.client_host)];
        let texts: usize = texts.into_iter().flatten().map(|text| text.as_str().len()).sum();
        let protocols = self.protocols.iter().map(|(name, metadata)| (name, metadata));
        MEMBER_BYTES + texts + protocol_bytes(protocols) + self.assignment.len()
    }

    pub fn metadata(&self, protocol: Option<&Text>) -> Bytes {
        let metadata = self.protocols.iter().find(|(name, _)| Some(name) == protocol);
        metadata.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

pub fn protocol_bytes<'a>(protocols: impl Iterator<Item = (&'a Text, &'a Bytes)>) -> usize {
    protocols.map(|(name, metadata)| PROTOCOL_BYTES + name.as_str().len() + metadata.len()).sum()
}

/// See the module.
#[derive(Debug)]
pub struct Live {
    pub state: State,
    /// Wall-clock milliseconds.
    pub since_ms: u64,
    pub generation: i32,
    pub protocol_type: Option<Text>,
    pub protocol_name: Option<Text>,
    pub leader: Option<Text>,
    members: BTreeMap<Text, Member>,
    by_instance: BTreeMap<Text, Text>,
    /// Who was told an id and has not joined with it.
    pub pending: BTreeMap<Text, Alarm>,
    awaiting_join: usize,
    protocol_counts: BTreeMap<Text, usize>,
    /// Who has not asked for its assignment.
    pub pending_sync: BTreeSet<Text>,
    /// `None`: not known, or not such a group.
    subscribed: Option<BTreeSet<Text>>,
    pub join_alarm: Alarm,
    pub sync_alarm: Alarm,
    bytes: usize,
}

impl Live {
    /// A group that nobody was ever in.
    pub fn new(since_ms: u64) -> Live {
        Live {
            state: State::Empty,
            since_ms,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            pending: BTreeMap::new(),
            awaiting_join: 0,
            protocol_counts: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            join_alarm: Alarm::default(),
            sync_alarm: Alarm::default(),
            bytes: 0,
        }
    }

    /// As it was at its last stable generation. Sessions are not set.
    pub fn restore(note: GroupNote) -> Live {
        let mut live = Live::new(u64::try_from(note.since_ms).unwrap_or(0));
        live.generation = note.generation;
        live.protocol_type = (note.protocol_type != Text::EMPTY).then_some(note.protocol_type);
        live.protocol_name = note.protocol_name;
        if !note.members.is_empty() {
            live.state = State::Stable;
        }
        for member in note.members {
            let is_twice = live.members.contains_key(&member.member_id)
                || member
                    .group_instance_id
                    .as_ref()
                    .is_some_and(|instance_id| live.by_instance.contains_key(instance_id));
            if is_twice {
                // No note of ours. It is kept as it is; the group goes on with the first.
                continue;
            }
            let protocols = live.protocol_name.clone().map(|name| (name, member.metadata));
            live.add(
                member.member_id,
                Member {
                    instance_id: member.group_instance_id,
                    client_id: member.client_id,
                    client_host: member.client_host,
                    session_timeout_ms: u32::try_from(member.session_timeout_ms).unwrap_or(0),
                    rebalance_timeout_ms: u32::try_from(member.rebalance_timeout_ms).unwrap_or(0),
                    protocols: protocols.into_iter().collect(),
                    assignment: member.assignment,
                    join: None,
                    sync: None,
                    is_new: false,
                    session: Alarm::default(),
                },
            );
        }
        if note.leader.as_ref().is_some_and(|leader| live.members.contains_key(leader)) {
            live.leader = note.leader;
        }
        live.subscribed = live.subscriptions();
        live
    }

    /// What is to be remembered of it.
    pub fn note(&self) -> GroupNote {
        let member = |(id, member): (&Text, &Member)| MemberNote {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: i32::try_from(member.session_timeout_ms).unwrap_or(i32::MAX),
            rebalance_timeout_ms: i32::try_from(member.rebalance_timeout_ms).unwrap_or(i32::MAX),
            metadata: member.metadata(self.protocol_name.as_ref()),
            assignment: member.assignment.clone(),
        };
        GroupNote {
            generation: self.generation,
            since_ms: i64::try_from(self.since_ms).unwrap_or(i64::MAX),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(member).collect(),
        }
    }

    pub fn enter(&mut self, state: State, now_ms: u64) {
        (self.state, self.since_ms) = (state, now_ms);
    }

    /// What members brought and were assigned.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn members(&self) -> impl Iterator<Item = (&Text, &Member)> {
        self.members.iter()
    }

    pub fn ids(&self) -> Vec<Text> {
        self.members.keys().cloned().collect()
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    pub fn member(&self, id: &Text) -> Option<&Member> {
        self.members.get(id)
    }

    /// For its session and its sync; what is counted (joins, protocols, bytes) has methods of its own.
    pub fn member_mut(&mut self, id: &Text) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    /// Of a member, or of somebody expected.
    pub fn session_mut(&mut self, id: &Text) -> Option<&mut Alarm> {
        if self.members.contains_key(id) {
            self.members.get_mut(id).map(|member| &mut member.session)
        } else {
            self.pending.get_mut(id)
        }
    }

    pub fn holder_of(&self, instance_id: &Text) -> Option<&Text> {
        self.by_instance.get(instance_id)
    }

    pub fn is_leader(&self, id: &Text) -> bool {
        self.leader.as_ref() == Some(id)
    }

    pub fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending.is_empty()
    }

    /// Somebody who was told this id may join with it.
    pub fn expect(&mut self, id: Text) {
        self.bytes += MEMBER_BYTES + id.as_str().len();
        self.pending.insert(id, Alarm::default());
    }

    /// Gives out the alarm of who is expected no longer.
    pub fn unexpect(&mut self, id: &Text) -> Option<Alarm> {
        let alarm = self.pending.remove(id)?;
        self.bytes -= MEMBER_BYTES + id.as_str().len();
        Some(alarm)
    }

    pub fn add(&mut self, id: Text, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.by_instance.insert(instance_id.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.awaiting_join += usize::from(member.join.is_some());
        self.bytes += member.bytes(&id);
        self.count_protocols(&member.protocols, true);
        self.members.insert(id, member);
    }

    pub fn remove(&mut self, id: &Text) -> Option<Member> {
        let member = self.take_out(id)?;
        if let Some(instance_id) = &member.instance_id {
            self.by_instance.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_sync.remove(id);
        Some(member)
    }

    fn take_out(&mut self, id: &Text) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.awaiting_join -= usize::from(member.join.is_some());
        self.bytes -= member.bytes(id);
        self.count_protocols(&member.protocols, false);
        Some(member)
    }

    /// A static member came back under a new id: everything of the old one is its. Gives out who waited under the old id, and its
    /// alarm.
    pub fn rename(&mut self, old: &Text, new: Text) -> Option<(Option<Asker>, Option<Asker>, Alarm)> {
        let mut member = self.take_out(old)?;
        let waited = (member.join.take(), member.sync.take(), std::mem::take(&mut member.session));
        member.is_new = false;
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        self.pending_sync.remove(old);
        self.add(new, member);
        Some(waited)
    }

    /// A member joins again. Gives out the join that it had waiting.
    pub fn update(&mut self, id: &Text, renewed: Renewed) -> Option<Asker> {
        let mut member = self.take_out(id)?;
        let waited = member.join.replace(renewed.join);
        member.protocols = renewed.protocols;
        member.session_timeout_ms = renewed.session_timeout_ms;
        member.rebalance_timeout_ms = renewed.rebalance_timeout_ms;
        self.add(id.clone(), member);
        waited
    }

    /// Its join is being answered.
    pub fn take_join(&mut self, id: &Text) -> Option<Asker> {
        let asker = self.members.get_mut(id)?.join.take()?;
        self.awaiting_join -= 1;
        Some(asker)
    }

    pub fn assign(&mut self, id: &Text, assignment: Bytes) {
        if let Some(member) = self.members.get_mut(id) {
            self.bytes = self.bytes - member.assignment.len() + assignment.len();
            member.assignment = assignment;
        }
    }

    fn count_protocols(&mut self, protocols: &Protocols, comes: bool) {
        for (name, _) in protocols {
            match self.protocol_counts.get_mut(name) {
                Some(count) if comes => *count += 1,
                Some(count) if *count > 1 => *count -= 1,
                Some(_) => {
                    self.protocol_counts.remove(name);
                }
                None if comes => {
                    self.protocol_counts.insert(name.clone(), 1);
                }
                None => {}
            }
        }
    }

    /// May somebody with these protocols join?
    pub fn supports(&self, protocol_type: &Text, protocols: &Protocols) -> bool {
        if self.state == State::Empty {
            return *protocol_type != Text::EMPTY && !protocols.is_empty();
        }
        let by_all = |(name, _): &(Text, Bytes)| self.supporters(name) == self.members.len();
        self.protocol_type.as_ref() == Some(protocol_type) && protocols.iter().any(by_all)
    }

    fn supporters(&self, protocol: &Text) -> usize {
        self.protocol_counts.get(protocol).copied().unwrap_or(0)
    }

    /// Each member votes for the first of its protocols that all support; most votes win. `None`: there are no members.
    pub fn select_protocol(&self) -> Option<Text> {
        let mut votes: BTreeMap<&Text, usize> = BTreeMap::new();
        for member in self.members.values() {
            let candidate = member.protocols.iter().find(|(name, _)| self.supporters(name) == self.members.len());
            if let Some((name, _)) = candidate {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// Sees to it that the leader is one of those who joined. False: nobody did.
    pub fn elect(&mut self) -> bool {
        let joined = |id: &Text| self.members.get(id).is_some_and(|member| member.join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self.members.iter().find(|(_, member)| member.join.is_some()).map(|(id, _)| id.clone());
        match next {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Who joined is the next generation.
    pub fn begin_generation(&mut self, now_ms: u64) {
        // After two thousand million of them it begins again: below zero means "none" to clients.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol_name = self.select_protocol();
        self.subscribed = self.subscriptions();
        self.pending_sync.clear();
        self.enter(if self.members.is_empty() { State::Empty } else { State::CompletingRebalance }, now_ms);
    }

    /// How long a rebalance waits: as long as the most patient member.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| u64::from(member.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|protocol_type| protocol_type.as_str() == CONSUMER)
    }

    fn subscriptions(&self) -> Option<BTreeSet<Text>> {
        if !self.is_consumer() || (self.protocol_name.is_none() && !self.members.is_empty()) {
            return None;
        }
        let mut subscribed = BTreeSet::new();
        for member in self.members.values() {
            subscribed.extend(subscription::topics(&member.metadata(self.protocol_name.as_ref()))?);
        }
        Some(subscribed)
    }

    /// Do members read this topic, as far as is known? Where it is not known, those of consumers might.
    pub fn is_subscribed(&self, topic: &Text) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumer(), |subscribed| subscribed.contains(topic))
    }

    pub fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }
}

/// What a member brings when it joins again.
#[derive(Debug)]
pub struct Renewed {
    pub join: Asker,
    pub protocols: Protocols,
    pub session_timeout_ms: u32,
    pub rebalance_timeout_ms: u32,
}

#[cfg(test)]
impl Live {
    /// The invariants, in words: see the module.
    pub fn check(&self) -> Result<(), String> {
        let members = &self.members;
        let holds = [
            ("a protocol that all support", members.is_empty() || self.select_protocol().is_some()),
            ("a leader among the members", {
                self.leader.as_ref().map_or(members.is_empty(), |leader| members.contains_key(leader))
            }),
            ("joins are counted", {
                self.awaiting_join == members.values().filter(|member| member.join.is_some()).count()
            }),
            ("instances are one member's each", {
                self.by_instance.iter().all(|(instance, id)| {
                    members.get(id).is_some_and(|member| member.instance_id.as_ref() == Some(instance))
                }) && self.by_instance.len() == members.values().filter(|member| member.instance_id.is_some()).count()
            }),
            ("empty is empty", (self.state == State::Empty) <= members.is_empty()),
            ("syncs are awaited of members", self.pending_sync.iter().all(|id| members.contains_key(id))),
            ("bytes are counted", {
                let pending: usize = self.pending.keys().map(|id| MEMBER_BYTES + id.as_str().len()).sum();
                self.bytes == pending + members.iter().map(|(id, member)| member.bytes(id)).sum::<usize>()
            }),
        ];
        match holds.into_iter().find(|(_, holds)| !holds) {
            None => Ok(()),
            Some((what, _)) => Err(format!("does not hold: {what}: {self:?}")),
        }
    }
}
