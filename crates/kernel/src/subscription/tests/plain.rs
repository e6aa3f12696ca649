// SPDX-License-Identifier: Apache-2.0
//! The ledger written down plainly: a list of records with a state each, looked through from the front for everything.

use super::super::ledger::Release;
use super::super::*;
use model::{HolderId, Now};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    Leased { consumer: Option<ConsumerId>, holder: HolderId, since_us: u64, told_late: bool, order: u64 },
    Leaving(Why),
    Waiting(u64),
    Moving,
    Half,
    Settled,
}

#[derive(Clone, Debug)]
pub struct Record {
    meta: Meta,
    is_absent: bool,
    pub state: State,
    /// Of the lease, or of the leave.
    number: u64,
    failures: u32,
    /// It was given back in this life.
    came_back: bool,
    /// It has been given out in any life.
    was_given: bool,
    due_ms: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Consumer {
    pub attach: Attach,
    pub paused: bool,
    came: u64,
}

#[derive(Clone, Debug)]
pub struct Plain {
    pub settings: Arc<Settings>,
    pub records: BTreeMap<(u8, u64), Record>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    /// Whose turn it is, from the front; each priority has its own order among them.
    row: Vec<ConsumerId>,
    pub active: Option<ConsumerId>,
    leaving: Vec<(u8, u64)>,
    below: BTreeMap<u8, u64>,
    count: u64,
}

/// What a step is without its numbers, which only the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Deliver {
        consumer: Option<ConsumerId>,
        holder: HolderId,
        lane: u8,
        key: u64,
        bytes: u32,
        no_ack: bool,
        redelivered: bool,
        failures: u32,
    },
    Leave {
        lane: u8,
        key: u64,
        why: Why,
    },
    Late {
        holder: HolderId,
        consumer: Option<ConsumerId>,
        lane: u8,
        key: u64,
    },
}

impl Plain {
    pub fn new(settings: Arc<Settings>) -> Plain {
        Plain {
            settings,
            records: BTreeMap::new(),
            consumers: BTreeMap::new(),
            row: Vec::new(),
            active: None,
            leaving: Vec::new(),
            below: BTreeMap::new(),
            count: 0,
        }
    }

    /// What of it survives, with what the log says of what was given out.
    pub fn after_crash(&self, settings: Arc<Settings>, log: &[Outcome]) -> Plain {
        let mut plain = Plain { records: self.records.clone(), ..Plain::new(settings) };
        for outcome in log {
            if let Outcome::Granted { lane, below } = outcome {
                let known = plain.below.entry(*lane).or_default();
                *known = (*known).max(*below);
            }
        }
        for ((lane, key), record) in &mut plain.records {
            record.came_back = false;
            record.state = match record.state {
                State::Leased { .. } | State::Leaving(_) | State::Ready => State::Ready,
                other => other,
            };
            if let (State::Ready, Some(due_ms)) = (record.state, record.due_ms) {
                record.state = State::Waiting(due_ms);
            }
            // No false "never seen".
            assert!(
                !record.was_given
                    || record.state == State::Settled
                    || *key < plain.below.get(lane).copied().unwrap_or(0)
            );
        }
        plain
    }

    pub fn end(&self, lane: u8) -> u64 {
        self.records.range((lane, 0)..=(lane, u64::MAX)).next_back().map_or(0, |((_, key), _)| key + 1)
    }

    pub fn append(&mut self, lane: u8, key: u64, meta: Meta, is_absent: bool) {
        let record = Record {
            meta,
            is_absent,
            state: State::Ready,
            number: 0,
            failures: 0,
            came_back: false,
            was_given: false,
            due_ms: None,
        };
        self.records.insert((lane, key), record);
    }

    pub fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for record in self.records.values() {
            let bytes = u64::from(record.meta.bytes);
            match record.state {
                State::Settled => continue,
                State::Ready => (depth.ready, depth.ready_bytes) = (depth.ready + 1, depth.ready_bytes + bytes),
                State::Leased { .. } | State::Leaving(_) => depth.leased += 1,
                State::Waiting(_) | State::Moving | State::Half => depth.held += 1,
            }
            depth.bytes += bytes;
        }
        depth
    }

    // Consumers.

    pub fn attach(&mut self, attach: Attach) -> Result<(), AttachError> {
        if self.consumers.contains_key(&attach.consumer) {
            return Err(AttachError::Exists);
        }
        let exclusive = self.consumers.values().any(|consumer| consumer.attach.exclusive);
        if exclusive || (attach.exclusive && !self.consumers.is_empty()) {
            return Err(AttachError::Exclusive);
        }
        self.count += 1;
        self.consumers.insert(attach.consumer, Consumer { attach, paused: false, came: self.count });
        self.row.push(attach.consumer);
        if self.settings.single_active && self.active.is_none() {
            self.active = Some(attach.consumer);
        }
        Ok(())
    }

    pub fn has(&self, id: ConsumerId) -> bool {
        self.consumers.contains_key(&id)
    }

    pub fn detach(&mut self, id: ConsumerId) -> bool {
        self.row.retain(|known| *known != id);
        let was_there = self.consumers.remove(&id).is_some();
        if self.active == Some(id) {
            self.active = self.best();
        }
        was_there
    }

    fn best(&self) -> Option<ConsumerId> {
        let best = self.consumers.values().min_by_key(|consumer| (Reverse(consumer.attach.priority), consumer.came));
        best.map(|consumer| consumer.attach.consumer)
    }

    pub fn change(&mut self, id: ConsumerId, change: impl FnOnce(&mut Consumer)) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            change(consumer);
            self.line_up(id);
        }
    }

    fn line_up(&mut self, id: ConsumerId) {
        if self.consumers.contains_key(&id) && !self.row.contains(&id) {
            self.row.push(id);
        }
    }

    fn leases(&self, id: ConsumerId) -> (u32, u64) {
        let own = self
            .records
            .values()
            .filter(|record| matches!(record.state, State::Leased { consumer: Some(consumer), .. } if consumer == id));
        own.fold((0, 0), |(count, bytes), record| (count + 1, bytes + u64::from(record.meta.bytes)))
    }

    fn can_take(&self, id: ConsumerId) -> bool {
        let Consumer { attach, paused, .. } = &self.consumers[&id];
        let (count, bytes) = self.leases(id);
        let by_credit = attach.no_ack
            || (attach.records_max.is_none_or(|max| count < max) && attach.bytes_max.is_none_or(|max| bytes < max));
        !paused && by_credit && attach.room_bytes.is_none_or(|room| room > 0)
    }

    fn turn(&mut self) -> Option<ConsumerId> {
        if self.settings.single_active {
            let active = self.active?;
            let best = self.best()?;
            if self.settings.takes_over
                && self.consumers[&best].attach.priority > self.consumers[&active].attach.priority
            {
                if self.leases(active).0 > 0 {
                    return None;
                }
                self.active = Some(best);
            }
            return self.active.filter(|active| self.can_take(*active));
        }
        loop {
            let highest = self.row.iter().map(|id| self.consumers[id].attach.priority).max()?;
            let id = *self.row.iter().find(|id| self.consumers[*id].attach.priority == highest)?;
            if self.can_take(id) {
                return Some(id);
            }
            self.row.retain(|known| *known != id);
        }
    }

    pub fn refuses(&mut self, bytes: u64) -> bool {
        let Depth { ready, ready_bytes, .. } = self.depth();
        let is_over = self.settings.records_max.is_some_and(|max| ready + 1 > max)
            || self.settings.bytes_max.is_some_and(|max| ready_bytes + bytes > max);
        self.settings.overflow == Overflow::Reject && is_over && (ready > 0 || self.turn().is_none())
    }

    // Deliveries.

    fn head(&mut self) -> Option<(u8, u64)> {
        loop {
            let ready = self.records.iter().filter(|(_, record)| record.state == State::Ready);
            let place = *ready.min_by_key(|((lane, key), _)| (Reverse(*lane), *key))?.0;
            if !self.records[&place].is_absent {
                return Some(place);
            }
            self.settle(place);
        }
    }

    fn settle(&mut self, place: (u8, u64)) {
        self.end_lease(place, State::Settled);
    }

    fn end_lease(&mut self, place: (u8, u64), after: State) {
        let Some(record) = self.records.get_mut(&place) else { return };
        let before = std::mem::replace(&mut record.state, after);
        if let State::Leased { consumer: Some(consumer), .. } = before {
            self.line_up(consumer);
        }
    }

    fn first(&mut self, now: Now) -> Option<Seen> {
        for record in self.records.values_mut() {
            if matches!(record.state, State::Waiting(due_ms) if due_ms <= now.wall_ms) {
                record.state = State::Ready;
            }
        }
        if !self.leaving.is_empty() {
            let (lane, key) = self.leaving.remove(0);
            let State::Leaving(why) = self.records[&(lane, key)].state else { panic!("{lane}/{key} is not leaving") };
            return Some(Seen::Leave { lane, key, why });
        }
        let lease_us_max = self.settings.lease_ms_max? * 1_000;
        let late = self.records.iter_mut().filter_map(|(place, record)| match &mut record.state {
            State::Leased { consumer, holder, since_us, told_late, order }
                if !*told_late && now.mono_us >= *since_us + lease_us_max =>
            {
                Some((*order, *place, *consumer, *holder, told_late))
            }
            _ => None,
        });
        let (_, (lane, key), consumer, holder, told_late) = late.min_by_key(|(order, ..)| *order)?;
        *told_late = true;
        Some(Seen::Late { holder, consumer, lane, key })
    }

    fn expires_ms(&self, meta: &Meta) -> Option<u64> {
        let by_queue = self.settings.ttl_ms.map(|ttl_ms| meta.came_ms + ttl_ms);
        by_queue.into_iter().chain(meta.expires_ms).min()
    }

    pub fn step(&mut self, now: Now, first_only: bool) -> Option<Seen> {
        loop {
            if let Some(seen) = self.first(now) {
                return Some(seen);
            }
            let place = self.head()?;
            let record = self.records[&place].clone();
            let expires_ms = self.expires_ms(&record.meta);
            if !first_only
                && expires_ms.is_none_or(|expires_ms| expires_ms >= now.wall_ms)
                && let Some(id) = self.turn()
            {
                let consumer = self.consumers.get_mut(&id)?;
                let attach = consumer.attach;
                if let Some(room) = &mut consumer.attach.room_bytes {
                    *room = room.saturating_sub(u64::from(record.meta.bytes));
                }
                self.row.retain(|known| *known != id);
                self.row.push(id);
                return Some(self.give(now, place, Some(id), attach.holder, attach.no_ack));
            }
            let depth = self.depth();
            let is_over = self.settings.records_max.is_some_and(|max| depth.ready > max)
                || self.settings.bytes_max.is_some_and(|max| depth.ready_bytes > max);
            let why = if expires_ms.is_some_and(|expires_ms| expires_ms <= now.wall_ms) {
                Why::Expired
            } else if !first_only && self.settings.overflow == Overflow::DropHead && is_over {
                Why::Dropped
            } else {
                return None;
            };
            self.put_away(place, why);
        }
    }

    fn put_away(&mut self, place: (u8, u64), why: Why) {
        if self.settings.has_dead_letters {
            self.end_lease(place, State::Leaving(why));
            // The number is the ledger's, told with the step.
            self.records.get_mut(&place).expect("a record").number = 0;
            self.leaving.push(place);
        } else {
            self.settle(place);
        }
    }

    fn give(
        &mut self,
        now: Now,
        place: (u8, u64),
        consumer: Option<ConsumerId>,
        holder: HolderId,
        no_ack: bool,
    ) -> Seen {
        self.count += 1;
        let order = self.count;
        let below = self.below.get(&place.0).copied().unwrap_or(0);
        let record = self.records.get_mut(&place).expect("a record");
        let seen = Seen::Deliver {
            consumer,
            holder,
            lane: place.0,
            key: place.1,
            bytes: record.meta.bytes,
            no_ack,
            redelivered: record.came_back || place.1 < below,
            failures: record.failures,
        };
        (record.came_back, record.was_given) = (true, true);
        record.state = match no_ack {
            true => State::Settled,
            false => State::Leased { consumer, holder, since_us: now.mono_us, told_late: false, order },
        };
        seen
    }

    pub fn take(&mut self, now: Now, holder: HolderId, no_ack: bool) -> Option<Seen> {
        assert_eq!(self.step(now, true), None);
        let place = self.head()?;
        Some(self.give(now, place, None, holder, no_ack))
    }

    pub fn seen(&self, step: Step) -> Seen {
        match step {
            Step::Deliver(grant) => self.told(&grant),
            Step::Leave { handle, why } => Seen::Leave { lane: handle.lane, key: handle.key, why },
            Step::Late { holder, consumer, handle } => {
                Seen::Late { holder, consumer, lane: handle.lane, key: handle.key }
            }
        }
    }

    pub fn told(&self, grant: &Grant) -> Seen {
        let Grant { consumer, holder, handle, bytes, no_ack, redelivered, failures } = *grant;
        Seen::Deliver { consumer, holder, lane: handle.lane, key: handle.key, bytes, no_ack, redelivered, failures }
    }

    pub fn number(&mut self, grant: &Grant) {
        self.number_leaving(grant.handle);
    }

    pub fn number_leaving(&mut self, handle: Handle) {
        self.records.get_mut(&(handle.lane, handle.key)).expect("a record").number = handle.number;
    }

    // What becomes of a record.

    fn lease(&self, handle: Handle) -> Result<State, SettleError> {
        let record = self.records.get(&(handle.lane, handle.key)).ok_or(SettleError::Unknown)?;
        match record.state {
            State::Settled => Err(SettleError::Unknown),
            State::Leased { .. } | State::Leaving(_) if record.number == handle.number => Ok(record.state),
            State::Leased { .. } | State::Leaving(_) => Err(SettleError::NotHolder),
            State::Ready | State::Waiting(_) | State::Moving | State::Half => Err(SettleError::Expired),
        }
    }

    fn held(&self, handle: Handle) -> Result<(u8, u64), SettleError> {
        match self.lease(handle)? {
            State::Leased { .. } => Ok((handle.lane, handle.key)),
            _ => Err(SettleError::NotHolder),
        }
    }

    pub fn is_leaving(&self, handle: Handle) -> bool {
        matches!(self.lease(handle), Ok(State::Leaving(_)))
    }

    pub fn ack(&mut self, handle: Handle) -> Result<(), SettleError> {
        let place = self.held(handle)?;
        self.settle(place);
        Ok(())
    }

    pub fn release(&mut self, handle: Handle, release: Release) -> Result<(), SettleError> {
        let place = self.held(handle)?;
        self.release_place(place, release);
        Ok(())
    }

    fn release_place(&mut self, place: (u8, u64), release: Release) {
        let record = self.records.get_mut(&place).expect("a record");
        if release.counts && self.settings.counts_failures {
            record.failures += 1;
            if self.settings.failures_max.is_some_and(|max| record.failures > max) {
                return self.put_away(place, Why::Failed);
            }
        }
        let after = match release.due_ms {
            Some(due_ms) => {
                record.due_ms = Some(due_ms);
                State::Waiting(due_ms)
            }
            None => State::Ready,
        };
        self.end_lease(place, after);
    }

    pub fn reject(&mut self, handle: Handle) -> Result<(), SettleError> {
        let place = self.held(handle)?;
        self.put_away(place, Why::Rejected);
        Ok(())
    }

    pub fn half(&mut self, handle: Handle) -> Result<(), SettleError> {
        let place = self.held(handle)?;
        self.records.get_mut(&place).expect("a record").due_ms = None;
        self.end_lease(place, State::Half);
        Ok(())
    }

    pub fn finish(&mut self, lane: u8, key: u64) -> bool {
        let finishes = matches!(self.records.get(&(lane, key)), Some(record) if matches!(record.state, State::Moving | State::Half));
        if finishes {
            self.settle((lane, key));
        }
        finishes
    }

    pub fn left(&mut self, handle: Handle, moves: bool) -> Result<(), SettleError> {
        let State::Leaving(_) = self.lease(handle)? else { return Err(SettleError::NotHolder) };
        let place = (handle.lane, handle.key);
        if moves {
            self.records.get_mut(&place).expect("a record").due_ms = None;
        }
        self.end_lease(place, if moves { State::Moving } else { State::Settled });
        Ok(())
    }

    pub fn gone(&mut self, holder: HolderId) {
        let own: Vec<ConsumerId> = self
            .consumers
            .values()
            .map(|consumer| consumer.attach)
            .filter(|attach| attach.holder == holder)
            .map(|attach| attach.consumer)
            .collect();
        for id in own {
            self.detach(id);
        }
        let mut held: Vec<(u8, u64)> = self
            .records
            .iter()
            .filter(|(_, record)| matches!(record.state, State::Leased { holder: known, .. } if known == holder))
            .map(|(place, _)| *place)
            .collect();
        held.sort_by_key(|(lane, key)| (Reverse(*lane), *key));
        for place in held {
            self.release_place(place, Release { counts: self.settings.gone_counts, due_ms: None });
        }
    }

    pub fn purge(&mut self, now: Now) -> u64 {
        let mut count = 0;
        for record in self.records.values_mut() {
            if record.state == State::Ready || matches!(record.state, State::Waiting(due_ms) if due_ms <= now.wall_ms) {
                record.state = State::Settled;
                count += 1;
            }
        }
        count
    }
}
