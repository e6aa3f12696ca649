// SPDX-License-Identifier: Apache-2.0
//! Clients that commit offsets all the time, alone or as static members of a group, and ask what is committed after every kill.
//!
//! Each commit carries its number in the history as offset and as metadata: they grow, and whoever asks learns which one it is.
//! The members share one group, so the group lives through every kill in the generation that it had: a member whose session lasts
//! and that is thrown out by a restart is a refusal without reason.

use super::shared::{PARTITIONS, Shared, TOPIC};
use crate::wire::groups::Membership;
use crate::wire::{Code, Connection, WireError};
use sim::history::{Event, Op};
use sim::rng::Rng;
use std::time::{Duration, Instant};

const SESSION_MS: i32 = 15_000;
/// A coordinator that has no room now is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How one committer behaves.
#[derive(Clone, Debug)]
pub struct CommitterPlan {
    /// Its number in the history, and its group's.
    pub client: u32,
    pub group: u32,
    /// The place that it has as a static member; `None`: it commits alone.
    pub slot: Option<u32>,
}

/// The groups of a loop: the first two are of clients alone, the third has members.
pub const GROUPS: u32 = 3;

/// A group's name.
pub fn group_name(group: u32) -> String {
    format!("commits-{group}")
}

struct Committer<'a> {
    plan: CommitterPlan,
    shared: &'a Shared,
    rng: Rng,
    who: Membership,
    owned: Vec<i32>,
    /// When it asked what was last answered well, as a member.
    contact: Option<Instant>,
}

/// Runs until the stretch ends.
pub fn run(plan: CommitterPlan, shared: &Shared, rng: Rng) {
    let mut who = Membership::none(&group_name(plan.group));
    let mut owned: Vec<i32> = (0..PARTITIONS as i32).collect();
    if let Some(slot) = plan.slot {
        who.instance = Some(format!("slot-{slot}"));
        owned.clear();
    }
    let mut committer = Committer { plan, shared, rng, who, owned, contact: None };
    let mut life = 0;
    while let Some((connection, now)) = shared.connect(life, false) {
        life = now;
        match committer.drive(connection) {
            Ok(()) => break,
            Err(WireError::Io(_)) => {}
            // Asked on a fresh connection what is committed, it could not say now.
            Err(WireError::Refused { code, .. }) if code.coordinator_busy() => std::thread::sleep(BUSY_PAUSE),
            Err(error) => shared.refuse(format!("committer {}: {error}", committer.plan.client)),
        }
    }
}

impl Committer<'_> {
    fn drive(&mut self, mut connection: Connection) -> Result<(), WireError> {
        self.recall(&mut connection)?;
        let mut rest = 0;
        loop {
            if self.shared.ending() {
                return Ok(());
            }
            if self.plan.slot.is_some() && rest == 0 {
                if !self.be_a_member(&mut connection)? {
                    continue;
                }
                rest = self.rng.within(2..20);
            }
            rest = if self.plan.slot.is_some() && self.who.generation < 0 { 0 } else { rest.saturating_sub(1) };
            self.commit(&mut connection)?;
            if self.rng.once_in(20) {
                self.recall(&mut connection)?;
            }
            std::thread::sleep(Duration::from_micros(self.rng.within(500..4_000)));
        }
    }

    /// Says that it is alive, or joins. False: there is nothing to commit for now.
    fn be_a_member(&mut self, connection: &mut Connection) -> Result<bool, WireError> {
        let asked = Instant::now();
        if self.who.generation >= 0 {
            match connection.heartbeat(&self.who) {
                Ok(()) => {
                    self.contact = Some(asked);
                    return Ok(true);
                }
                Err(WireError::Refused { code, .. }) => {
                    self.fallen_out(code);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        let joined = match connection.join_group(&self.who, SESSION_MS, SESSION_MS) {
            Ok(joined) => joined,
            Err(WireError::Refused { code, .. }) => {
                self.fallen_out(code);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        (self.who.member_id, self.who.generation) = (joined.member_id, joined.generation);
        // An assignment is one byte a partition.
        let count = joined.members.len().max(1);
        let shares: Vec<Vec<u8>> = (0..count)
            .map(|slot| (0..PARTITIONS as u8).filter(|partition| *partition as usize % count == slot).collect())
            .collect();
        let assignments: Vec<(&str, &[u8])> =
            joined.members.iter().map(String::as_str).zip(shares.iter().map(Vec::as_slice)).collect();
        match connection.sync_group(&self.who, &assignments) {
            Ok(assignment) => {
                self.owned = assignment.into_iter().map(i32::from).collect();
                self.contact = Some(asked);
                Ok(!self.owned.is_empty())
            }
            Err(WireError::Refused { code, .. }) => {
                self.fallen_out(code);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// A member's word was refused with that code.
    fn fallen_out(&mut self, code: Code) {
        if code.coordinator_busy() {
            return std::thread::sleep(BUSY_PAUSE);
        }
        let lasts = self.contact.is_some_and(|contact| contact.elapsed() < Duration::from_millis(SESSION_MS as u64));
        let thrown_out = matches!(code, Code::UNKNOWN_MEMBER_ID | Code::FENCED_INSTANCE_ID);
        if thrown_out && lasts && self.who.generation >= 0 {
            self.shared.refuse(format!("member {:?} was thrown out while its session lasts: {code}", self.who));
        } else if !thrown_out && !matches!(code, Code::ILLEGAL_GENERATION | Code::REBALANCE_IN_PROGRESS) {
            self.shared.refuse(format!("member {:?} was answered {code}", self.who));
        }
        if thrown_out {
            self.who.member_id.clear();
        }
        (self.who.generation, self.contact) = (-1, None);
        self.owned.clear();
    }

    fn commit(&mut self, connection: &mut Connection) -> Result<(), WireError> {
        let Some(first) = self.owned.len().checked_sub(1).map(|last| self.rng.below(last as u64 + 1) as usize) else {
            return Ok(());
        };
        let last = self.owned.len().min(first + self.rng.within(1..4) as usize);
        let parts: Vec<(i32, Op)> =
            self.owned[first..last].iter().map(|partition| (*partition, self.shared.next_op())).collect();
        let (client, group) = (self.plan.client, self.plan.group);
        self.shared.record(|push| {
            for (partition, op) in &parts {
                push(Event::Commit { op: *op, client, group, partition: *partition as u64, offset: *op });
            }
        });
        let texts: Vec<String> = parts.iter().map(|(_, op)| op.to_string()).collect();
        let offsets: Vec<(i32, i64, &str)> =
            parts.iter().zip(&texts).map(|((partition, op), text)| (*partition, *op as i64, text.as_str())).collect();
        let answered = connection.commit_offsets(&self.who, TOPIC, &offsets);
        let mut events = Vec::new();
        let mut fenced = None;
        for (partition, op) in &parts {
            let codes = answered.as_ref().map_or(&[][..], |codes| &codes[..]);
            let code = codes.iter().find(|(of, _)| of == partition).map(|(_, code)| *code);
            events.push(match code {
                Some(Code::NONE) => Event::CommitOk { op: *op },
                Some(Code::REQUEST_TIMED_OUT | Code::COORDINATOR_NOT_AVAILABLE) | None => Event::CommitInfo { op: *op },
                Some(code) => {
                    fenced = Some(code);
                    Event::CommitFail { op: *op }
                }
            });
        }
        self.shared.record(|push| events.into_iter().for_each(push));
        answered?;
        match fenced {
            Some(code) if self.plan.slot.is_some() => self.fallen_out(code),
            Some(code) if code.coordinator_busy() => std::thread::sleep(BUSY_PAUSE),
            Some(code) => self.shared.refuse(format!("a commit alone was answered {code}")),
            None => {}
        }
        Ok(())
    }

    fn recall(&mut self, connection: &mut Connection) -> Result<(), WireError> {
        recall(connection, self.shared, self.plan.client, self.plan.group)
    }
}

/// Asks what a group has committed for every partition, and writes it down.
pub fn recall(connection: &mut Connection, shared: &Shared, client: u32, group: u32) -> Result<(), WireError> {
    let partitions: Vec<i32> = (0..PARTITIONS as i32).collect();
    let ops: Vec<Op> = partitions.iter().map(|_| shared.next_op()).collect();
    shared.record(|push| {
        for (op, partition) in ops.iter().zip(&partitions) {
            push(Event::Recall { op: *op, client, group, partition: *partition as u64 });
        }
    });
    let answered = connection.committed_offsets(&group_name(group), TOPIC, &partitions);
    let mut events = Vec::new();
    for (op, partition) in ops.iter().zip(&partitions) {
        let found = answered.as_ref().ok().and_then(|all| all.iter().find(|one| one.partition == *partition));
        events.push(match found {
            Some(one) if one.error == Code::NONE && one.offset < 0 => Event::RecallOk { op: *op, found: None },
            Some(one) if one.error == Code::NONE => {
                // A text that no commit had is a commit that nobody made.
                let commit = one.metadata.parse().unwrap_or(Op::MAX);
                Event::RecallOk { op: *op, found: Some((commit, one.offset as u64)) }
            }
            _ => Event::RecallFail { op: *op },
        });
    }
    shared.record(|push| events.into_iter().for_each(push));
    answered.map(drop)
}
