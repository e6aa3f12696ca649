// SPDX-License-Identifier: Apache-2.0
//! The group coordinator, run beside the shard of the namespace's cell; and beside it, small and apart, the settings that are given while
//! the broker runs (`configs.rs`).
//!
//! Owns: which group an ask is for, and when what is due. Must not know: connections, wire versions, the log.
//!
//! ```text
//! messages  what verbs ask and are answered          settings      bounds and times
//! stored    what survives: the fold of notes         notes         their bytes
//! group     one group while somebody is in it        rebalance     joins, syncs, heartbeats, leaves
//! offsets   commits, fetches, what expires           administer    describe, list, delete
//! timers    what is due                              subscription  topics of a member
//! ```
//! A group has two halves. What survives is the last note of each key and changes in `apply` alone. The other half, [`group::Live`],
//! exists while somebody is in the group, is never stored, and is made anew from the note of the last stable generation: after a
//! restart members are there as they were, and their sessions begin at the first call that knows the time.
//!
//! Invariants:
//!   1. A group in state Stable or Empty is what its note says. A decision carries the note that makes it so.
//!   2. The notes of a decision fit into one frame: everything that grows with what clients send is refused before it could not
//!      (`settings.rs`, `offsets.rs`). So no decision is ever refused by the kernel for its size.
//!   3. Who is gone (a connection) changes nothing: its members stay until their sessions end.

mod administer;
pub mod configs;
mod group;
pub mod messages;
mod notes;
mod offsets;
mod rebalance;
mod settings;
mod stored;
mod subscription;
mod timers;

#[cfg(test)]
mod tests;

pub use configs::{CONFIGS, Configs};
pub use settings::GroupSettings;

use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use group::{Asker, Live, State};
use kernel::Ctx;
use kernel::coordinator::{Coordinator, DECISION_BYTES_MAX, Decision, Note};
use messages::{
    Answer, Ask, Commit, DeleteOffsets, DeletedOffsets, Done, Heartbeat, Join, Leave, Left, LeftMember, Sync,
};
use model::{HolderId, NamespaceId, Now, Ticket, TopicId};
use notes::GroupName;
use rebalance::{Turn, answer, refused_join, refused_sync};
use std::collections::BTreeSet;
use stored::Stored;
use timers::{Alarm, Timer, Timers};

/// The number of the group coordinator among its shard's coordinators. Written on media.
pub const GROUPS: u8 = 1;

/// One call of the timer looks at so many deadlines, and at so many groups for offsets that expired; what is left comes at once.
const DEADLINES_A_SLICE: usize = 1_000;
const GROUPS_A_SLICE: usize = 1_000;
/// A slice of deadlines that has so many notes ends. Each of them is a group that is empty now, so it is small.
const NOTES_A_SLICE: usize = 1_000;
/// A slice of groups ends whose removals take so much. The last of its groups may add what one group may take.
const CHECK_NOTES_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(CHECK_NOTES_BYTES_MAX + offsets::NOTES_BYTES_MAX < DECISION_BYTES_MAX);

/// See the module.
pub struct Groups {
    settings: GroupSettings,
    stored: Stored,
    timers: Timers,
    check: Alarm,
    /// Where the next slice of the look for expired offsets begins.
    check_from: u64,
    /// Groups with members whose sessions wait for a call that knows the time.
    asleep: BTreeSet<u64>,
    is_awake: bool,
}

impl Groups {
    pub fn new(settings: GroupSettings) -> Groups {
        Groups {
            settings,
            stored: Stored::default(),
            timers: Timers::default(),
            check: Alarm::default(),
            check_from: 0,
            asleep: BTreeSet::new(),
            is_awake: false,
        }
    }

    /// The first call that knows the time sets what runs by it.
    fn wake_up(&mut self, now: Now) {
        if !std::mem::replace(&mut self.is_awake, true) {
            self.set_check(now, self.settings.offsets_check_ms);
        }
        while let Some(number) = self.asleep.pop_first() {
            self.wake(now, number);
            self.settle(number);
        }
    }

    fn set_check(&mut self, now: Now, wait_ms: u64) {
        self.timers.set(&mut self.check, Timer::Check, now.mono_us_after_ms(wait_ms));
    }

    /// Makes a group's other half, if it has none. Sessions of members begin.
    fn wake(&mut self, now: Now, number: u64) {
        let Some(group) = self.stored.get_mut(number) else { return };
        if group.live.is_some() {
            return;
        }
        let live = group.stored.as_ref().and_then(|stored| stored.restore());
        group.live = Some(Box::new(live.unwrap_or_else(|| Live::new(now.wall_ms))));
        self.asleep.remove(&number);
        self.turn(now, number, &mut Decision::default(), |turn| {
            turn.live.ids().iter().for_each(|id| turn.renew_session(id));
        });
    }

    /// Runs one group's turn.
    fn turn(&mut self, now: Now, number: u64, out: &mut Decision, act: impl FnOnce(&mut Turn<'_>)) {
        let room_bytes = self.settings.memory_bytes_max.saturating_sub(self.stored.bytes);
        if let Some((group, topic_names)) = self.stored.get_with_names(number)
            && let Some(live) = &mut group.live
        {
            act(&mut Turn {
                settings: &self.settings,
                now,
                timers: &mut self.timers,
                out,
                number,
                name: &group.name,
                live,
                offsets: &group.offsets,
                offset_bytes: group.offset_bytes,
                topic_names,
                room_bytes,
            });
        }
    }

    /// A group's other half goes with the last who was in it, or expected.
    fn settle(&mut self, number: u64) {
        if let Some(group) = self.stored.get_mut(number)
            && group.live.as_ref().is_some_and(|live| live.state == State::Empty && live.pending.is_empty())
        {
            group.live = None;
        }
        self.stored.settle(number);
    }

    /// Wakes a group, runs its turn, counts what it takes.
    fn visit(&mut self, now: Now, number: u64, out: &mut Decision, act: impl FnOnce(&mut Turn<'_>)) {
        self.wake(now, number);
        self.turn(now, number, out, act);
        self.settle(number);
    }

    fn decide(&mut self, now: Now, namespace: NamespaceId, asker: Asker, ask: Ask, out: &mut Decision) {
        let name = |group: &Text| GroupName { namespace, group: group.clone() };
        match ask {
            Ask::Join(join) => self.join(now, &name(&join.group), asker, &join, out),
            Ask::Sync(sync) => self.sync(now, &name(&sync.group), asker, &sync, out),
            Ask::Heartbeat(heartbeat) => self.heartbeat(now, &name(&heartbeat.group), asker, &heartbeat, out),
            Ask::Leave(leave) => self.leave(now, &name(&leave.group), asker, &leave, out),
            Ask::Commit(commit) => self.commit(now, &name(&commit.group), asker, &commit, out),
            Ask::FetchOffsets(fetch) => {
                let number = self.stored.number(&name(&fetch.group));
                let group = number.and_then(|number| self.stored.get(number));
                answer(out, asker, &offsets::fetch(group, &fetch));
            }
            Ask::DeleteOffsets(delete) => self.delete_offsets(now, &name(&delete.group), asker, &delete, out),
            Ask::Describe(describe) => match self.stored.number(&name(&describe.group)) {
                Some(number) => self.visit(now, number, out, |turn| turn.describe(asker)),
                None => answer(out, asker, &administer::described_dead()),
            },
            Ask::List(list) => answer(out, asker, &administer::list(&self.stored, namespace, &list)),
            Ask::Delete(delete) => match self.stored.number(&name(&delete.group)) {
                Some(number) => self.visit(now, number, out, |turn| turn.delete(asker)),
                None => answer(out, asker, &Answer::Deleted(Done { error_code: ErrorCode::GroupIdNotFound.number() })),
            },
        }
    }

    /// The number of a group that is to exist, or why it cannot.
    fn make(&mut self, name: &GroupName) -> Result<u64, ErrorCode> {
        if let Some(number) = self.stored.number(name) {
            return Ok(number);
        }
        if name.group.as_str().len() > self.settings.group_id_bytes_max as usize {
            return Err(ErrorCode::InvalidGroupId);
        }
        if self.stored.len() >= self.settings.groups_max as usize {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        Ok(self.stored.make(name))
    }

    fn join(&mut self, now: Now, name: &GroupName, asker: Asker, join: &Join, out: &mut Decision) {
        let (min_ms, max_ms) = (self.settings.session_timeout_ms_min, self.settings.session_timeout_ms_max);
        let is_session_allowed = u32::try_from(join.session_timeout_ms).is_ok_and(|ms| (min_ms..=max_ms).contains(&ms));
        let number = if name.group == Text::EMPTY {
            Err(ErrorCode::InvalidGroupId)
        } else if !is_session_allowed {
            Err(ErrorCode::InvalidSessionTimeout)
        } else if join.member_id == Text::EMPTY {
            self.make(name)
        } else {
            self.stored.number(name).ok_or(ErrorCode::UnknownMemberId)
        };
        match number {
            Ok(number) => self.visit(now, number, out, |turn| turn.join(asker, join)),
            Err(code) => answer(out, asker, &refused_join(join.member_id.clone(), code)),
        }
    }

    /// The number of a group that must exist.
    fn known(&self, name: &GroupName, otherwise: ErrorCode) -> Result<u64, ErrorCode> {
        if name.group == Text::EMPTY {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.stored.number(name).ok_or(otherwise)
    }

    fn sync(&mut self, now: Now, name: &GroupName, asker: Asker, sync: &Sync, out: &mut Decision) {
        match self.known(name, ErrorCode::UnknownMemberId) {
            Ok(number) => self.visit(now, number, out, |turn| turn.sync(asker, sync)),
            Err(code) => answer(out, asker, &refused_sync(code)),
        }
    }

    fn heartbeat(&mut self, now: Now, name: &GroupName, asker: Asker, heartbeat: &Heartbeat, out: &mut Decision) {
        match self.known(name, ErrorCode::UnknownMemberId) {
            Ok(number) => self.visit(now, number, out, |turn| turn.heartbeat(asker, heartbeat)),
            Err(code) => answer(out, asker, &Answer::HeartbeatDone(Done { error_code: code.number() })),
        }
    }

    fn leave(&mut self, now: Now, name: &GroupName, asker: Asker, leave: &Leave, out: &mut Decision) {
        let left = match self.known(name, ErrorCode::UnknownMemberId) {
            Ok(number) => return self.visit(now, number, out, |turn| turn.leave(asker, leave)),
            // Told to each by itself.
            Err(ErrorCode::UnknownMemberId) => Left {
                error_code: ErrorCode::None.number(),
                members: leave
                    .members
                    .iter()
                    .map(|leaving| LeftMember {
                        member_id: leaving.member_id.clone(),
                        group_instance_id: leaving.group_instance_id.clone(),
                        error_code: ErrorCode::UnknownMemberId.number(),
                    })
                    .collect(),
            },
            Err(code) => Left { error_code: code.number(), members: Vec::new() },
        };
        answer(out, asker, &Answer::Left(left));
    }

    fn commit(&mut self, now: Now, name: &GroupName, asker: Asker, commit: &Commit, out: &mut Decision) {
        let number = match self.stored.number(name) {
            Some(number) => Ok(number),
            None if commit.generation_id < 0 => self.make(name),
            None => Err(ErrorCode::GroupIdNotFound),
        };
        match number {
            Ok(number) => self.visit(now, number, out, |turn| turn.commit(asker, commit)),
            Err(code) => answer(out, asker, &offsets::commit_codes(commit, |_, _| code)),
        }
    }

    fn delete_offsets(&mut self, now: Now, name: &GroupName, asker: Asker, delete: &DeleteOffsets, out: &mut Decision) {
        match self.known(name, ErrorCode::GroupIdNotFound) {
            Ok(number) => self.visit(now, number, out, |turn| turn.delete_offsets(asker, delete)),
            Err(code) => {
                let refused = DeletedOffsets { error_code: code.number(), topics: Vec::new() };
                answer(out, asker, &Answer::DeletedOffsets(refused));
            }
        }
    }

    /// Looks for offsets that expired, a slice of the groups.
    fn check_slice(&mut self, now: Now, out: &mut Decision) {
        let numbers: Vec<u64> =
            self.stored.from(self.check_from).take(GROUPS_A_SLICE).map(|(number, _)| number).collect();
        let (mut looked_at, mut note_bytes) = (0, 0);
        for number in &numbers {
            if note_bytes > CHECK_NOTES_BYTES_MAX {
                break;
            }
            looked_at += 1;
            let before = out.notes.len();
            self.visit(now, *number, out, |turn| turn.expire_offsets());
            note_bytes += out.notes[before..].iter().map(notes::removal_bytes).sum::<usize>();
        }
        if looked_at == GROUPS_A_SLICE || looked_at < numbers.len() {
            self.check_from = numbers.get(looked_at - 1).map_or(0, |number| number + 1);
            self.set_check(now, 0);
        } else {
            self.check_from = 0;
            self.set_check(now, self.settings.offsets_check_ms);
        }
    }
}

/// A note in words, for people who look at a checkpoint. `None`: it is of no machine of this head, or of a later version.
pub fn note_text(which: u8, key: &[u8], value: &[u8]) -> Option<String> {
    match which {
        GROUPS => notes::text(key, value),
        _ => None,
    }
}

/// The machines that this head has beside every shard.
pub fn machines(groups: &GroupSettings) -> Vec<Box<dyn Coordinator>> {
    vec![Box::new(Groups::new(groups.clone())), Box::new(Configs::new())]
}

impl Coordinator for Groups {
    fn which(&self) -> u8 {
        GROUPS
    }

    fn handle(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, input: &Bytes) -> Decision {
        self.wake_up(now);
        let mut out = Decision::default();
        match Ask::decode(input.clone()) {
            Ok(ask) => self.decide(now, ctx.namespace, Asker { holder: ctx.holder, ticket }, ask, &mut out),
            // No ask of ours: whoever sent it finds no answer in this.
            Err(_) => out.replies.push((ctx.holder, ticket, Bytes::new())),
        }
        out
    }

    fn handle_timeout(&mut self, now: Now) -> Decision {
        self.wake_up(now);
        let mut out = Decision::default();
        for _ in 0..DEADLINES_A_SLICE {
            if out.notes.len() >= NOTES_A_SLICE {
                break;
            }
            match self.timers.take(now.mono_us) {
                None => break,
                Some(Timer::Check) => {
                    if self.timers.is_due(&mut self.check, Timer::Check, now.mono_us) {
                        // By itself: the removal of a group with many offsets takes nearly what a decision may take.
                        if out.notes.is_empty() {
                            self.check_slice(now, &mut out);
                        } else {
                            self.set_check(now, 0);
                        }
                        break;
                    }
                }
                Some(Timer::Join { group }) => self.visit(now, group, &mut out, |turn| turn.expire_join()),
                Some(Timer::Sync { group }) => self.visit(now, group, &mut out, |turn| turn.expire_sync()),
                Some(Timer::Session { group, member }) => {
                    self.visit(now, group, &mut out, |turn| turn.expire_session(&member));
                }
            }
        }
        out
    }

    fn only_reads(&self, input: &Bytes) -> bool {
        Ask::only_reads(input)
    }

    fn poll_timeout(&self) -> Option<u64> {
        let waits_for_time = !self.asleep.is_empty() || (!self.is_awake && self.stored.len() > 0);
        if waits_for_time { Some(0) } else { self.timers.next_us() }
    }

    /// Nothing: a member whose connection is gone comes back, or its session ends. What it waited for is answered to nobody.
    fn handle_gone(&mut self, _now: Now, _holder: HolderId) -> Decision {
        Decision::default()
    }

    fn apply(&mut self, note: &Note) {
        self.asleep.extend(self.stored.apply(note));
    }

    fn forget_topic(&mut self, topic: TopicId) -> Vec<Bytes> {
        self.stored.forget_topic(topic)
    }

    fn snapshot(&self, emit: &mut dyn FnMut(Note)) {
        self.stored.snapshot(emit);
    }

    fn note(&self, key: &Bytes) -> Option<Bytes> {
        self.stored.note(key)
    }
}
