// SPDX-License-Identifier: Apache-2.0
//! Members come, stay and go: what JoinGroup, SyncGroup, Heartbeat, LeaveGroup and the end of a session do to a group.
//!
//! Owns: the order of a rebalance, as Apache Kafka 4.3 has it for classic groups (with no initial delay). Must not know: how a group
//! counts (`group.rs`), what becomes of offsets.
//!
//! Invariants:
//!   1. A generation is stable only together with its note; the answers to its syncs leave with that note, so after a restart no
//!      member knows of a generation that the coordinator does not.
//!   2. Whoever asked is answered: a join or sync that another one of the same member replaces is told to rejoin.
//!   3. What is refused changes nothing (a member for whom a full group has no room is gone, as in Kafka).

use super::group::{Asker, Live, Member, Protocols, Renewed, State, protocol_bytes};
use super::messages::{
    Answer, Assignment, Done, Heartbeat, Join, Joined, JoinedMember, Leave, LeavingMember, Left, LeftMember, Sync,
    Synced,
};
use super::notes::{self, GroupName, Key};
use super::settings::GroupSettings;
use super::stored::Committed;
use super::timers::{Alarm, Timer, Timers};
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use kernel::coordinator::{Decision, Note};
use model::planted::{Bug, planted};
use model::{Now, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// A member that joins for the first time sends no heartbeats until it is answered. It is taken for gone after this (Kafka's value).
const NEW_MEMBER_JOIN_MS: u64 = 5 * 60 * 1000;

/// One group's turn: what is decided about it now.
pub struct Turn<'a> {
    pub settings: &'a GroupSettings,
    pub now: Now,
    pub timers: &'a mut Timers,
    pub out: &'a mut Decision,
    pub number: u64,
    pub name: &'a GroupName,
    pub live: &'a mut Live,
    /// What is remembered of it.
    pub offsets: &'a BTreeMap<(TopicId, i32), Committed>,
    pub offset_bytes: usize,
    /// Of all topics that something is committed for.
    pub topic_names: &'a BTreeMap<TopicId, Text>,
    /// What all groups together may still take.
    pub room_bytes: usize,
}

/// A refused join: with which member id, and why.
type Refused = (Text, ErrorCode);

pub fn answer(out: &mut Decision, asker: Asker, answer: &Answer) {
    out.replies.push((asker.holder, asker.ticket, answer.encode()));
}

pub fn refused_join(member_id: Text, code: ErrorCode) -> Answer {
    Answer::Joined(Joined::refused(member_id, code))
}

pub fn refused_sync(code: ErrorCode) -> Answer {
    Answer::Synced(Synced::refused(code))
}

/// What is kept must not hold on to the request that it came in.
fn kept(text: &Text) -> Text {
    Text::from(text.as_str())
}

fn timeout_ms(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// The protocols of a join; where a name stands twice, the first counts.
fn distinct(join: &Join) -> Protocols {
    let mut names = BTreeSet::new();
    let first = join.protocols.iter().filter(|protocol| names.insert(&protocol.name));
    first.map(|protocol| (kept(&protocol.name), Bytes::copy_from_slice(&protocol.metadata))).collect()
}

impl Turn<'_> {
    pub fn answer(&mut self, asker: Asker, what: &Answer) {
        answer(self.out, asker, what);
    }

    /// JoinGroup.
    pub fn join(&mut self, asker: Asker, join: &Join) {
        if let Err((member_id, code)) = self.try_join(asker, join) {
            self.answer(asker, &refused_join(member_id, code));
        }
    }

    fn try_join(&mut self, asker: Asker, join: &Join) -> Result<(), Refused> {
        self.check_size(join).map_err(|code| (join.member_id.clone(), code))?;
        if !self.has_room_for(self.place_of(join)) {
            self.forget_member(&join.member_id);
            self.complete_join_if_all_joined();
            return Err((Text::EMPTY, ErrorCode::GroupMaxSizeReached));
        }
        let protocols = distinct(join);
        if !self.live.supports(&join.protocol_type, &protocols) {
            return Err((join.member_id.clone(), ErrorCode::InconsistentGroupProtocol));
        }
        if join.member_id == Text::EMPTY {
            self.join_new(asker, join, protocols)
        } else {
            self.join_known(asker, join, protocols)
        }
    }

    /// Counted before anything is copied.
    fn check_size(&self, join: &Join) -> Result<(), ErrorCode> {
        let texts =
            [&join.fresh_member_id, &join.client_id, &join.client_host].into_iter().chain(&join.group_instance_id);
        let texts: usize = texts.map(|text| text.as_str().len()).sum();
        let protocols = join.protocols.iter().map(|protocol| (&protocol.name, &protocol.metadata));
        let bytes = texts + protocol_bytes(protocols);
        let before = self.place_of(join).and_then(|id| Some(self.live.member(id)?.bytes(id))).unwrap_or(0);
        let group_bytes = (self.live.bytes() + bytes).saturating_sub(before);
        if bytes > self.settings.member_bytes_max as usize {
            Err(ErrorCode::MessageTooLarge)
        } else if group_bytes > self.settings.group_bytes_max as usize {
            Err(ErrorCode::GroupMaxSizeReached)
        } else if bytes.saturating_sub(before) > self.room_bytes {
            Err(ErrorCode::CoordinatorNotAvailable)
        } else {
            Ok(())
        }
    }

    /// The member that it is already, under this id or another.
    fn place_of<'b>(&'b self, join: &'b Join) -> Option<&'b Text> {
        match &join.group_instance_id {
            Some(instance_id) if join.member_id == Text::EMPTY => self.live.holder_of(instance_id),
            _ => self.live.member(&join.member_id).map(|_| &join.member_id),
        }
    }

    /// While a rebalance gathers members, those count that have joined: the last to come are left out.
    fn has_room_for(&self, place: Option<&Text>) -> bool {
        let member = place.and_then(|id| self.live.member(id));
        let members_max = self.settings.members_max as usize;
        match self.live.state {
            State::Empty => true,
            State::PreparingRebalance => {
                member.is_some_and(|member| member.join.is_some()) || self.live.awaiting_join() < members_max
            }
            State::CompletingRebalance | State::Stable => member.is_some() || self.live.member_count() < members_max,
        }
    }

    fn join_new(&mut self, asker: Asker, join: &Join, protocols: Protocols) -> Result<(), Refused> {
        let id = kept(&join.fresh_member_id);
        if id == Text::EMPTY || self.live.member(&id).is_some() || self.live.pending.contains_key(&id) {
            // The session's random bits met an id that exists: with the next ones it will work.
            return Err((Text::EMPTY, ErrorCode::CoordinatorNotAvailable));
        }
        let holder = join.group_instance_id.as_ref().and_then(|instance_id| self.live.holder_of(instance_id));
        match (holder.cloned(), &join.group_instance_id) {
            (Some(old), _) => self.replace_static(asker, join, &old, id, protocols),
            (None, None) if join.must_know_member_id => {
                if self.live.pending.len() >= self.settings.pending_members_max as usize {
                    return Err((Text::EMPTY, ErrorCode::GroupMaxSizeReached));
                }
                self.live.expect(id.clone());
                self.set_session(&id, u64::from(timeout_ms(join.session_timeout_ms)));
                self.answer(asker, &refused_join(id, ErrorCode::MemberIdRequired));
            }
            (None, _) => self.add_member(asker, join, id, protocols),
        }
        Ok(())
    }

    fn join_known(&mut self, asker: Asker, join: &Join, protocols: Protocols) -> Result<(), Refused> {
        let id = &join.member_id;
        if self.live.pending.contains_key(id) && join.group_instance_id.is_none() {
            self.add_member(asker, join, kept(id), protocols);
            return Ok(());
        }
        self.check_member(id, join.group_instance_id.as_ref()).map_err(|code| (id.clone(), code))?;
        let is_same = self.live.member(id).is_some_and(|member| member.protocols == protocols);
        match self.live.state {
            State::Empty => return Err((id.clone(), ErrorCode::UnknownMemberId)),
            // It may not have received the answer to its join.
            State::CompletingRebalance if is_same => self.answer(asker, &self.joined(id)),
            State::Stable if is_same && !self.live.is_leader(id) => self.answer(asker, &self.joined(id)),
            // A leader that joins again wants a rebalance: it knows of something that changes assignments.
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                self.update_member(asker, join, id, protocols);
                self.rebalance();
            }
        }
        Ok(())
    }

    pub fn check_member(&self, id: &Text, instance_id: Option<&Text>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.live.holder_of(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(_) if planted(Bug::ReplacedMemberHeard) => return Ok(()),
                Some(holder) if holder != id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.live.member(id).map(|_| ()).ok_or(ErrorCode::UnknownMemberId)
    }

    fn add_member(&mut self, asker: Asker, join: &Join, id: Text, protocols: Protocols) {
        self.forget_pending(&id);
        if self.live.member_count() == 0 {
            self.live.protocol_type = Some(kept(&join.protocol_type));
        }
        let member = Member {
            instance_id: join.group_instance_id.as_ref().map(kept),
            client_id: kept(&join.client_id),
            client_host: kept(&join.client_host),
            session_timeout_ms: timeout_ms(join.session_timeout_ms),
            rebalance_timeout_ms: rebalance_timeout_ms(join),
            protocols,
            assignment: Bytes::new(),
            join: Some(asker),
            sync: None,
            is_new: true,
            session: Alarm::default(),
        };
        self.live.add(id.clone(), member);
        self.set_session(&id, NEW_MEMBER_JOIN_MS);
        self.rebalance();
    }

    fn update_member(&mut self, asker: Asker, join: &Join, id: &Text, protocols: Protocols) {
        let renewed = Renewed {
            join: asker,
            protocols,
            session_timeout_ms: timeout_ms(join.session_timeout_ms),
            rebalance_timeout_ms: rebalance_timeout_ms(join),
        };
        if let Some(waited) = self.live.update(id, renewed) {
            self.answer(waited, &refused_join(id.clone(), ErrorCode::RebalanceInProgress));
        }
    }

    /// A static member came back without its id. It gets a new one; the old one is fenced.
    fn replace_static(&mut self, asker: Asker, join: &Join, old: &Text, id: Text, protocols: Protocols) {
        let leader_before = self.live.leader.clone();
        let Some((joining, syncing, mut alarm)) = self.live.rename(old, id.clone()) else { return };
        self.timers.cancel(&mut alarm, self.session_timer(old));
        if let Some(asker) = joining {
            self.answer(asker, &refused_join(old.clone(), ErrorCode::FencedInstanceId));
        }
        if let Some(asker) = syncing {
            self.answer(asker, &refused_sync(ErrorCode::FencedInstanceId));
        }
        let session_ms = self.live.member(&id).map_or(0, |member| u64::from(member.session_timeout_ms));
        self.set_session(&id, session_ms);
        self.update_member(asker, join, &id, protocols);
        match self.live.state {
            State::Stable if self.live.select_protocol() == self.live.protocol_name => {
                // Nothing changes for the others: it goes on with what it was assigned, under the new id.
                self.remember();
                self.live.take_join(&id);
                let is_leader = self.live.is_leader(&id);
                let joined = match self.joined(&id) {
                    Answer::Joined(joined) if join.can_skip_assignment => {
                        Joined { skip_assignment: is_leader, ..joined }
                    }
                    // A client that cannot be told to skip must not take itself for the leader: it is shown the old id as such.
                    Answer::Joined(joined) => {
                        Joined { leader: leader_before.unwrap_or_default(), members: Vec::new(), ..joined }
                    }
                    _ => return,
                };
                self.answer(asker, &Answer::Joined(joined));
            }
            State::Stable => self.rebalance(),
            // The leader may be assigning to the old id.
            State::CompletingRebalance => self.prepare(),
            State::PreparingRebalance | State::Empty => self.complete_join_if_all_joined(),
        }
    }

    /// Begins a rebalance, or goes on with the one under way.
    fn rebalance(&mut self) {
        match self.live.state {
            State::PreparingRebalance => self.complete_join_if_all_joined(),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare(),
        }
    }

    fn prepare(&mut self) {
        if self.live.state == State::CompletingRebalance {
            for id in self.live.ids() {
                self.live.assign(&id, Bytes::new());
                self.answer_sync(&id, &refused_sync(ErrorCode::RebalanceInProgress));
            }
        }
        self.live.pending_sync.clear();
        self.timers.cancel(&mut self.live.sync_alarm, Timer::Sync { group: self.number });
        let is_first = self.live.state == State::Empty;
        self.live.enter(State::PreparingRebalance, self.now.wall_ms);
        if is_first || self.live.all_joined() {
            self.complete_join();
        } else {
            self.wait_for_joins();
        }
    }

    fn wait_for_joins(&mut self) {
        let due_us = self.now.mono_us_after_ms(self.live.rebalance_timeout_ms());
        self.timers.set(&mut self.live.join_alarm, Timer::Join { group: self.number }, due_us);
    }

    fn complete_join_if_all_joined(&mut self) {
        if self.live.state == State::PreparingRebalance && self.live.all_joined() {
            self.complete_join();
        }
    }

    /// The next generation: those who joined, and static members whose session has not ended.
    fn complete_join(&mut self) {
        self.timers.cancel(&mut self.live.join_alarm, Timer::Join { group: self.number });
        let is_late = |member: &Member| member.join.is_none() && member.instance_id.is_none();
        let late: Vec<Text> =
            self.live.members().filter(|(_, member)| is_late(member)).map(|(id, _)| id.clone()).collect();
        late.iter().for_each(|id| self.forget_member(id));
        if !self.live.elect() && self.live.member_count() > 0 {
            // Only static members, none of them here: until one comes or their sessions end.
            return self.wait_for_joins();
        }
        let before = self.live.generation;
        self.live.begin_generation(self.now.wall_ms);
        if planted(Bug::GenerationReused) {
            self.live.generation = before.max(1);
        }
        if self.live.state == State::Empty {
            return self.remember();
        }
        for id in self.live.ids() {
            if let Some(asker) = self.live.take_join(&id) {
                self.answer(asker, &self.joined(&id));
            }
            self.renew_session(&id);
            if let Some(member) = self.live.member_mut(&id) {
                member.is_new = false;
            }
            self.live.pending_sync.insert(id);
        }
        let due_us = self.now.mono_us_after_ms(self.live.rebalance_timeout_ms());
        self.timers.set(&mut self.live.sync_alarm, Timer::Sync { group: self.number }, due_us);
    }

    fn joined(&self, id: &Text) -> Answer {
        let member = |(id, member): (&Text, &Member)| JoinedMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.live.protocol_name.as_ref()),
        };
        let is_leader = self.live.is_leader(id);
        Answer::Joined(Joined {
            error_code: ErrorCode::None.number(),
            generation_id: self.live.generation,
            protocol_type: self.live.protocol_type.clone(),
            protocol_name: self.live.protocol_name.clone(),
            leader: self.live.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.clone(),
            members: if is_leader { self.live.members().map(member).collect() } else { Vec::new() },
        })
    }

    /// The group as it is now is to be remembered.
    fn remember(&mut self) {
        let (key, value) = (Key::Group(self.name.clone()).encode(), notes::encode(&self.live.note()));
        self.out.notes.push(Note { key, value: Some(value) });
    }

    /// SyncGroup.
    pub fn sync(&mut self, asker: Asker, sync: &Sync) {
        if let Err(code) = self.try_sync(asker, sync) {
            self.answer(asker, &refused_sync(code));
        }
    }

    fn try_sync(&mut self, asker: Asker, sync: &Sync) -> Result<(), ErrorCode> {
        let id = &sync.member_id;
        self.check_member(id, sync.group_instance_id.as_ref())?;
        let differs = |given: &Option<Text>, ours: &Option<Text>| given.is_some() && given != ours;
        if sync.generation_id != self.live.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if differs(&sync.protocol_type, &self.live.protocol_type)
            || differs(&sync.protocol_name, &self.live.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.live.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance => {
                let is_leader = self.live.is_leader(id);
                if is_leader {
                    self.check_assignments(&sync.assignments)?;
                }
                let waited = self.live.member_mut(id).and_then(|member| member.sync.replace(asker));
                if let Some(waited) = waited {
                    self.answer(waited, &refused_sync(ErrorCode::RebalanceInProgress));
                }
                self.synced(id);
                if is_leader {
                    self.stabilize(&sync.assignments);
                }
                Ok(())
            }
            State::Stable => {
                self.synced(id);
                // Its earlier ones may have been refused for want of room: it is heard of only now.
                self.renew_session(id);
                self.answer(asker, &self.assigned(id));
                Ok(())
            }
        }
    }

    /// They take the place of those of the generation before.
    fn check_assignments(&self, assignments: &[Assignment]) -> Result<(), ErrorCode> {
        let bytes: usize = assignments.iter().map(|assigned| assigned.assignment.len()).sum();
        let before: usize = self.live.members().map(|(_, member)| member.assignment.len()).sum();
        let group_bytes = (self.live.bytes() + bytes).saturating_sub(before);
        let is_too_much =
            group_bytes > self.settings.group_bytes_max as usize || bytes.saturating_sub(before) > self.room_bytes;
        if is_too_much { Err(ErrorCode::MessageTooLarge) } else { Ok(()) }
    }

    fn synced(&mut self, id: &Text) {
        self.live.pending_sync.remove(id);
        if self.live.pending_sync.is_empty() {
            self.timers.cancel(&mut self.live.sync_alarm, Timer::Sync { group: self.number });
        }
    }

    /// The leader has assigned.
    fn stabilize(&mut self, assignments: &[Assignment]) {
        let assigned: BTreeMap<&Text, &Bytes> =
            assignments.iter().map(|assigned| (&assigned.member_id, &assigned.assignment)).collect();
        for id in self.live.ids() {
            let assignment = match assigned.get(&id) {
                _ if planted(Bug::AssignmentGivenTwice) => assigned.values().next(),
                found => found,
            };
            let assignment = assignment.map(|assignment| Bytes::copy_from_slice(assignment));
            self.live.assign(&id, assignment.unwrap_or_default());
        }
        self.live.enter(State::Stable, self.now.wall_ms);
        self.remember();
        for id in self.live.ids() {
            let assigned = self.assigned(&id);
            self.answer_sync(&id, &assigned);
        }
    }

    fn assigned(&self, id: &Text) -> Answer {
        Answer::Synced(Synced {
            error_code: ErrorCode::None.number(),
            protocol_type: self.live.protocol_type.clone(),
            protocol_name: self.live.protocol_name.clone(),
            assignment: self.live.member(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        })
    }

    /// Answers the sync that the member has waiting, if it has one; its session begins anew.
    fn answer_sync(&mut self, id: &Text, what: &Answer) {
        let asker = self.live.member_mut(id).and_then(|member| member.sync.take());
        if let Some(asker) = asker {
            self.answer(asker, what);
            self.renew_session(id);
        }
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, asker: Asker, heartbeat: &Heartbeat) {
        let id = &heartbeat.member_id;
        let code = match self.check_member(id, heartbeat.group_instance_id.as_ref()) {
            Err(code) => code,
            Ok(()) if heartbeat.generation_id != self.live.generation => ErrorCode::IllegalGeneration,
            Ok(()) => {
                self.renew_session(id);
                match self.live.state {
                    State::PreparingRebalance => ErrorCode::RebalanceInProgress,
                    State::Empty | State::CompletingRebalance | State::Stable => ErrorCode::None,
                }
            }
        };
        self.answer(asker, &Answer::HeartbeatDone(Done { error_code: code.number() }));
    }

    /// LeaveGroup: each member by itself, then one rebalance for all.
    pub fn leave(&mut self, asker: Asker, leave: &Leave) {
        let mut members = Vec::with_capacity(leave.members.len());
        let mut one_left = false;
        for leaving in &leave.members {
            let code = self.leave_one(leaving).err().unwrap_or(ErrorCode::None);
            one_left |= code == ErrorCode::None;
            members.push(LeftMember {
                member_id: leaving.member_id.clone(),
                group_instance_id: leaving.group_instance_id.clone(),
                error_code: code.number(),
            });
        }
        if one_left && self.live.state != State::Empty {
            self.rebalance();
        }
        self.answer(asker, &Answer::Left(Left { error_code: ErrorCode::None.number(), members }));
    }

    fn leave_one(&mut self, leaving: &LeavingMember) -> Result<(), ErrorCode> {
        let instance_id = leaving.group_instance_id.as_ref();
        let id = if leaving.member_id == Text::EMPTY {
            // An administrator removes a static member, whatever its id is.
            let holder = instance_id.and_then(|instance_id| self.live.holder_of(instance_id));
            holder.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else {
            leaving.member_id.clone()
        };
        if !self.live.pending.contains_key(&id) {
            self.check_member(&id, instance_id)?;
        }
        self.forget_member(&id);
        Ok(())
    }

    /// A member, expected or there, is gone. What it waits for is answered: if it is there after all, it joins anew.
    fn forget_member(&mut self, id: &Text) {
        self.forget_pending(id);
        let Some(mut member) = self.live.remove(id) else { return };
        self.timers.cancel(&mut member.session, self.session_timer(id));
        if let Some(asker) = member.join {
            self.answer(asker, &refused_join(Text::EMPTY, ErrorCode::UnknownMemberId));
        }
        if let Some(asker) = member.sync {
            self.answer(asker, &refused_sync(ErrorCode::UnknownMemberId));
        }
    }

    pub fn forget_pending(&mut self, id: &Text) {
        if let Some(mut alarm) = self.live.unexpect(id) {
            self.timers.cancel(&mut alarm, self.session_timer(id));
        }
    }

    fn session_timer(&self, id: &Text) -> Timer {
        Timer::Session { group: self.number, member: id.clone() }
    }

    /// A member was heard of.
    pub fn renew_session(&mut self, id: &Text) {
        if let Some(member) = self.live.member(id) {
            self.set_session(id, u64::from(member.session_timeout_ms));
        }
    }

    fn set_session(&mut self, id: &Text, session_ms: u64) {
        let timer = self.session_timer(id);
        let due_us = self.now.mono_us_after_ms(session_ms);
        if let Some(alarm) = self.live.session_mut(id) {
            self.timers.set(alarm, timer, due_us);
        }
    }

    /// A session may have ended, of a member or of somebody expected.
    pub fn expire_session(&mut self, id: &Text) {
        let timer = self.session_timer(id);
        let Some(alarm) = self.live.session_mut(id) else { return };
        if !self.timers.is_due(alarm, timer, self.now.mono_us) {
            return;
        }
        let member = self.live.member(id);
        // Who waits for the others is not heard of, and is not gone. Who waits for its first answer may be.
        if member.is_some_and(|member| !member.is_new && (member.join.is_some() || member.sync.is_some())) {
            return;
        }
        let was_member = member.is_some();
        self.forget_member(id);
        match self.live.state {
            State::Stable | State::CompletingRebalance if was_member => self.prepare(),
            _ => self.complete_join_if_all_joined(),
        }
    }

    /// A rebalance may have waited long enough for joins.
    pub fn expire_join(&mut self) {
        let timer = Timer::Join { group: self.number };
        if self.timers.is_due(&mut self.live.join_alarm, timer, self.now.mono_us)
            && self.live.state == State::PreparingRebalance
        {
            self.complete_join();
        }
    }

    /// A generation may have waited long enough for syncs: who joined and did not ask for its assignment is gone.
    pub fn expire_sync(&mut self) {
        let timer = Timer::Sync { group: self.number };
        let is_due = self.timers.is_due(&mut self.live.sync_alarm, timer, self.now.mono_us);
        let late = std::mem::take(&mut self.live.pending_sync);
        if !is_due || late.is_empty() {
            self.live.pending_sync = late;
            return;
        }
        late.iter().for_each(|id| self.forget_member(id));
        self.prepare();
    }
}

fn rebalance_timeout_ms(join: &Join) -> u32 {
    timeout_ms(if join.rebalance_timeout_ms < 0 { join.session_timeout_ms } else { join.rebalance_timeout_ms })
}
