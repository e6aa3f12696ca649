// SPDX-License-Identifier: Apache-2.0
//! Keeps groups: made by a commit, joined and left, offsets committed and forgotten, deleted and made again.
//!
//! The rules, over every fault: a group is listed and described exactly while it is there; it has committed what was acknowledged,
//! and nothing that was forgotten; a deleted group comes back with nothing of what it had; a member is there until it leaves or its
//! session is over, and one that has left is not; a group with members cannot be deleted.

use super::super::shared::{PARTITIONS, Shared, TOPIC};
use super::{Keeper, Told, told};
use crate::wire::groups::Membership;
use crate::wire::{Code, Connection, WireError};
use sim::rng::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const GROUPS: u32 = 4;
/// Longer than a broker needs to come back, where it does.
const SESSION_MS: i32 = 60_000;

/// What a group is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    there: bool,
    /// Committed, by partition.
    offsets: BTreeMap<i32, i64>,
    member_id: Option<String>,
}

struct Group {
    name: String,
    state: State,
    /// What it is if the change that nobody told about was done.
    or: Option<State>,
    who: Membership,
    /// When the member's session certainly began anew.
    contact: Option<Instant>,
    /// The member is to leave: nobody knows how far it got.
    lost_way: bool,
}

/// See the module.
pub struct Groups {
    groups: Vec<Group>,
    next_offset: i64,
}

impl Groups {
    pub fn new(named: u32) -> Groups {
        let group = |number: u32| {
            let name = format!("kept-{named}-{number}");
            let who = Membership::none(&name);
            Group { name, state: State::default(), or: None, who, contact: None, lost_way: false }
        };
        Groups { groups: (0..GROUPS).map(group).collect(), next_offset: 0 }
    }
}

impl Keeper for Groups {
    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        for group in &mut self.groups {
            group.look(connection, shared)?;
        }
        Ok(())
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        self.next_offset += 1;
        let at = rng.below(u64::from(GROUPS)) as usize;
        self.groups[at].change(connection, shared, rng, self.next_offset)
    }
}

impl Group {
    fn change(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
        rng: &mut Rng,
        offset: i64,
    ) -> Result<(), WireError> {
        if self.lost_way {
            return self.leave(connection, shared);
        }
        let is_member = self.state.member_id.is_some();
        let is_over = self.contact.is_none_or(|at| at.elapsed() > Duration::from_millis(SESSION_MS as u64 / 2));
        match rng.below(100) {
            // Only what was heard of lately is sure to be a member still.
            _ if is_member && is_over => self.leave(connection, shared),
            0..45 => self.commit(connection, shared, rng.below(PARTITIONS) as i32, offset),
            _ if !self.state.there => self.commit(connection, shared, rng.below(PARTITIONS) as i32, offset),
            45..60 if is_member => self.leave(connection, shared),
            60..70 if is_member => match connection.delete_group(&self.name) {
                Err(WireError::Refused { code: Code::NON_EMPTY_GROUP, .. }) => Ok(()),
                Err(WireError::Refused { code, .. }) if code.coordinator_busy() => Ok(()),
                Err(error @ WireError::Io(_)) => Err(error),
                other => {
                    shared.broken(format!("deleting group {}, which has a member, was answered {other:?}", self.name));
                    Ok(())
                }
            },
            _ if is_member => self.heartbeat(connection, shared),
            45..65 => self.join(connection, shared),
            65..85 if self.state.offsets.len() > 1 => {
                let at = rng.below(self.state.offsets.len() as u64) as usize;
                let partition = self.state.offsets.keys().nth(at).copied().unwrap_or_default();
                let mut then = self.state.clone();
                then.offsets.remove(&partition);
                self.or = Some(then);
                let answer = connection.delete_offset(&self.name, TOPIC, partition);
                let what = format!("forgetting partition {partition} of group {}", self.name);
                self.told(answer, &what, shared)
            }
            _ => {
                self.or = Some(State::default());
                let answer = connection.delete_group(&self.name);
                let what = format!("deleting group {}", self.name);
                self.told(answer, &what, shared)
            }
        }
    }

    fn told<T>(&mut self, answer: Result<T, WireError>, what: &str, shared: &Shared) -> Result<(), WireError> {
        match told(answer, what, shared)? {
            Told::Done => self.state = self.or.take().unwrap_or_default(),
            Told::Refused => self.or = None,
        }
        Ok(())
    }

    fn commit(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
        partition: i32,
        offset: i64,
    ) -> Result<(), WireError> {
        let mut then = self.state.clone();
        then.there = true;
        then.offsets.insert(partition, offset);
        self.or = Some(then);
        let asked = Instant::now();
        let answer = connection.commit_offsets(&self.who, TOPIC, &[(partition, offset, "")]);
        let code = answer.map(|codes| codes.first().map_or(Code::NONE, |(_, code)| *code));
        let answer = match code {
            Ok(Code::NONE) => Ok(()),
            Ok(code) => Err(WireError::Refused { api: crate::wire::Api::OffsetCommit, code }),
            Err(error) => Err(error),
        };
        if answer.is_ok() && self.state.member_id.is_some() {
            self.contact = Some(asked);
        }
        let what = format!("committing for partition {partition} in group {}", self.name);
        self.told(answer, &what, shared)
    }

    fn join(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        let asked = Instant::now();
        let busy = |error: WireError| match error {
            WireError::Refused { code, .. } if code.coordinator_busy() => Ok(()),
            error => Err(error),
        };
        let named = match connection.join_group(&self.who, SESSION_MS, SESSION_MS) {
            Ok(named) => named,
            Err(error) => return busy(error),
        };
        // From here on the member may be there, until it is known to have left.
        self.who.member_id = named.member_id;
        let mut then = self.state.clone();
        then.member_id = Some(self.who.member_id.clone());
        self.or = Some(then);
        self.lost_way = true;
        let joined = connection.join_group(&self.who, SESSION_MS, SESSION_MS)?;
        self.who.generation = joined.generation;
        self.state = self.or.take().unwrap_or_default();
        connection.sync_group(&self.who, &[(&self.who.member_id.clone(), b"all")])?;
        (self.lost_way, self.contact) = (false, Some(asked));
        shared.changed();
        Ok(())
    }

    fn heartbeat(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        let asked = Instant::now();
        match connection.heartbeat(&self.who) {
            Ok(()) => {
                self.contact = Some(asked);
                Ok(())
            }
            Err(WireError::Refused { code, .. }) if code.coordinator_busy() => Ok(()),
            Err(WireError::Refused { code, .. }) => {
                if self.lasts() {
                    shared.broken(format!("a member of group {} is not known any more: {code}", self.name));
                }
                self.lost_way = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn lasts(&self) -> bool {
        self.contact.is_some_and(|at| at.elapsed() < Duration::from_millis(SESSION_MS as u64))
    }

    fn leave(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        let mut then = self.state.clone();
        then.member_id = None;
        self.or = Some(then);
        let answer = match connection.leave_group(&self.who) {
            // It never was one, or its session was over.
            Err(WireError::Refused { code: Code::UNKNOWN_MEMBER_ID, .. }) if self.lost_way || !self.lasts() => Ok(()),
            answer => answer,
        };
        let what = format!("leaving group {}", self.name);
        match answer {
            Ok(()) => {
                (self.lost_way, self.contact) = (false, None);
                (self.who.generation, self.who.member_id) = (-1, String::new());
            }
            Err(_) => self.lost_way = true,
        }
        self.told(answer, &what, shared)
    }

    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        let seen = self.seen(connection, shared)?;
        let mut may = vec![self.state.clone()];
        may.extend(self.or.take());
        if !self.lasts() || self.lost_way {
            let without = may.iter().cloned().map(|state| State { member_id: None, ..state });
            may.extend(without.collect::<Vec<_>>());
        }
        if !may.contains(&seen) {
            shared.broken(format!("group {} is {seen:?}, it must be one of {may:?}", self.name));
        }
        if seen.member_id.is_none() && self.state.member_id.is_some() {
            (self.who.generation, self.who.member_id) = (-1, String::new());
            (self.lost_way, self.contact) = (false, None);
        }
        self.state = seen;
        Ok(())
    }

    fn seen(&self, connection: &mut Connection, shared: &Shared) -> Result<State, WireError> {
        let partitions: Vec<i32> = (0..PARTITIONS as i32).collect();
        let mut offsets = BTreeMap::new();
        for committed in connection.committed_offsets(&self.name, TOPIC, &partitions)? {
            if committed.error != Code::NONE {
                return Err(WireError::Refused { api: crate::wire::Api::OffsetFetch, code: committed.error });
            }
            if committed.offset >= 0 {
                offsets.insert(committed.partition, committed.offset);
            }
        }
        let described = connection.describe_group(&self.name)?;
        let listed = connection.list_groups()?.contains(&self.name);
        if listed == (described.state == "Dead") {
            shared.broken(format!("group {} is listed: {listed}, and described as {described:?}", self.name));
        }
        let member_id = described.member_ids.into_iter().next();
        Ok(State { there: listed, offsets, member_id })
    }
}
