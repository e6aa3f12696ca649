// SPDX-License-Identifier: Apache-2.0
//! One lane: a sequence of keys, and the state that each is in.
//!
//! Owns: which key is settled, leased, waiting, moving, half or ready; the counts of them. Must not know: consumers, other lanes, limits.
//!
//! ```text
//!       floor                    frontier                          end
//! keys ---|--------------------------|------------------------------|
//! settled   settled  returned         ready, but for what is settled,
//!           leased   waiting ...      waiting, moving or half
//! ```
//! Ready costs nothing: from the frontier on it is what is in none of the other states. Below, what came back stands in `returned`.
//!
//! Invariants (`invariants::ledger`):
//!   1. Every key from floor to end is in exactly one state; `ready` is what the others leave over. The floor itself is not settled.
//!   2. `floor <= frontier <= end`. A lease is below the frontier.
//!   3. Durable: floor, end, bytes, granted, settled, failed, due, moving, half. The rest begins empty, the frontier at the floor.

use crate::subscription::consumers::ConsumerId;
use crate::subscription::keys::KeySet;
use crate::subscription::outcome::Why;
use model::HolderId;
use std::collections::{BTreeMap, BTreeSet};

/// Who has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Until it is settled or released, also when the consumer has been detached meanwhile.
    Consumer(ConsumerId, HolderId),
    /// Took it by itself.
    Taken(HolderId),
    /// The ledger, while somebody else makes its dead letter.
    Leaving(Why),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) by: By,
    /// Of its grant.
    pub(super) number: u64,
    pub(super) bytes: u32,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub(super) floor: u64,
    pub(super) end: u64,
    /// Of all that is not settled.
    pub(super) bytes: u64,
    /// Keys below may have been delivered.
    pub(super) granted: u64,
    /// Keys below may have been delivered in an earlier life.
    pub(super) granted_before: u64,
    pub(super) frontier: u64,
    /// Most lanes have none of it.
    pub(super) busy: Option<Box<Busy>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Busy {
    pub(super) settled: KeySet,
    pub(super) failed: BTreeMap<u64, u32>,
    /// Not before which time, and the record's bytes. Stays until the key is settled.
    pub(super) due: BTreeMap<u64, (u64, u32)>,
    pub(super) moving: BTreeMap<u64, u32>,
    pub(super) half: BTreeMap<u64, (u64, u32)>,
    pub(super) returned: KeySet,
    pub(super) leases: BTreeMap<u64, Lease>,
    /// By due time: those of `due` whose time has not come.
    pub(super) waiting: BTreeSet<(u64, u64)>,
    /// Of what is neither settled nor ready.
    pub(super) held_bytes: u64,
}

impl Lane {
    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// How many are not settled.
    pub(super) fn unsettled(&self) -> u64 {
        self.end - self.floor - self.busy.as_ref().map_or(0, |busy| busy.settled.len())
    }

    pub(super) fn leased(&self) -> u64 {
        self.busy.as_ref().map_or(0, |busy| busy.leases.len() as u64)
    }

    pub(super) fn ready(&self) -> u64 {
        let held = self.busy.as_ref().map_or(0, |busy| busy.held_count());
        self.unsettled() - held
    }

    pub(super) fn ready_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.busy.as_ref().map_or(0, |busy| busy.held_bytes))
    }

    /// The next that is ready: what came back first, since it is below all others.
    pub(super) fn head(&self) -> Option<u64> {
        if let Some(key) = self.busy.as_ref().and_then(|busy| busy.returned.next_in(0)) {
            return Some(key);
        }
        let key = match &self.busy {
            Some(busy) => busy.next_unheld(self.frontier),
            None => self.frontier,
        };
        (key < self.end).then_some(key)
    }

    /// The ready ones as ranges.
    pub(super) fn ready_ranges(&self) -> Vec<(u64, u64)> {
        let Some(busy) = &self.busy else {
            return if self.frontier < self.end { vec![(self.frontier, self.end)] } else { Vec::new() };
        };
        let mut ranges: Vec<(u64, u64)> = busy.returned.ranges().collect();
        let mut held: Vec<(u64, u64)> = busy.held().map(|key| (key, key + 1)).collect();
        held.extend(busy.settled.ranges());
        held.retain(|(_, end)| *end > self.frontier);
        held.sort_unstable();
        let mut from = self.frontier;
        for (first, end) in held {
            if first > from {
                ranges.push((from, first.min(self.end)));
            }
            from = from.max(end);
        }
        if from < self.end {
            ranges.push((from, self.end));
        }
        ranges
    }

    /// A ready key is ready no more: it stands, or is about to stand, in another state.
    pub(super) fn take(&mut self, key: u64) {
        if key >= self.frontier {
            self.frontier = key + 1;
        } else if let Some(busy) = &mut self.busy {
            busy.returned.remove(key, key + 1);
        }
    }

    /// A key is in no other state any more: it is ready.
    pub(super) fn give_back(&mut self, key: u64) {
        if key < self.frontier {
            self.busy().returned.insert(key, key + 1);
        }
    }

    /// Its wait is over, if the time has come.
    pub(super) fn come_due(&mut self, now_ms: u64) {
        while let Some(busy) = &mut self.busy
            && let Some((due_ms, key)) = busy.waiting.first().copied()
            && due_ms <= now_ms
        {
            busy.waiting.pop_first();
            busy.held_bytes -= busy.due.get(&key).map_or(0, |(_, bytes)| u64::from(*bytes));
            self.give_back(key);
        }
    }

    pub(super) fn append(&mut self, first: u64, count: u32, bytes: u64) {
        let first = first.max(self.end);
        if self.floor == self.end {
            // Nothing is there: keys left out need not be remembered.
            self.floor = first;
            self.frontier = first;
        } else if first > self.end {
            let end = self.end;
            self.busy().settled.insert(end, first);
        }
        self.end = first.saturating_add(u64::from(count));
        self.bytes += bytes;
    }

    /// Settles a range. `ended` is told the leases that end with it.
    pub(super) fn settle(&mut self, first: u64, end: u64, ended: &mut dyn FnMut(&Lease)) {
        let (first, end) = (first.max(self.floor), end.min(self.end));
        if first >= end {
            return;
        }
        if first == self.floor && self.busy.as_ref().is_none_or(|busy| busy.is_idle()) {
            self.floor = end;
            self.frontier = self.frontier.max(end);
            return;
        }
        let (floor, whole_end) = (self.floor, self.end);
        let busy = self.busy();
        for (_, lease) in take_range(&mut busy.leases, first, end) {
            busy.held_bytes -= u64::from(lease.bytes);
            ended(&lease);
        }
        for (key, (due_ms, bytes)) in take_range(&mut busy.due, first, end) {
            if busy.waiting.remove(&(due_ms, key)) {
                busy.held_bytes -= u64::from(bytes);
            }
        }
        busy.held_bytes -= take_range(&mut busy.moving, first, end).map(|(_, bytes)| u64::from(bytes)).sum::<u64>();
        busy.held_bytes -= take_range(&mut busy.half, first, end).map(|(_, (_, bytes))| u64::from(bytes)).sum::<u64>();
        take_range(&mut busy.failed, first, end).for_each(drop);
        busy.returned.remove(first, end);
        if first == floor {
            // What follows may be settled already.
            let floor = busy.settled.next_out(end).min(whole_end);
            busy.settled.remove(0, floor);
            self.floor = floor;
            self.frontier = self.frontier.max(floor);
        } else {
            busy.settled.insert(first, end);
        }
    }

    /// Lets go of what is empty, also of the room it took.
    pub(super) fn relax(&mut self) {
        if self.busy.as_ref().is_some_and(|busy| busy.is_idle()) {
            self.busy = None;
        }
    }

    pub(super) fn count_failure(&mut self, key: u64) {
        let is_settled = self.busy.as_ref().is_some_and(|busy| busy.settled.contains(key));
        if key >= self.floor && key < self.end && !is_settled {
            *self.busy().failed.entry(key).or_insert(0) += 1;
        }
    }

    /// A key that is ready or leased is held back otherwise. False: it is not there.
    fn hold(&mut self, key: u64, bytes: u32, ended: &mut dyn FnMut(&Lease)) -> bool {
        let is_settled = self.busy.as_ref().is_some_and(|busy| busy.settled.contains(key));
        if key < self.floor || key >= self.end || is_settled {
            return false;
        }
        let busy = self.busy();
        match busy.leases.remove(&key) {
            Some(lease) => {
                busy.held_bytes -= u64::from(lease.bytes);
                ended(&lease);
            }
            None => drop(busy.returned.remove(key, key + 1)),
        }
        if let Some((due_ms, known)) = busy.due.remove(&key)
            && busy.waiting.remove(&(due_ms, key))
        {
            busy.held_bytes -= u64::from(known);
        }
        busy.held_bytes -= u64::from(busy.moving.remove(&key).unwrap_or(0));
        busy.held_bytes -= busy.half.remove(&key).map_or(0, |(_, bytes)| u64::from(bytes));
        busy.held_bytes += u64::from(bytes);
        true
    }

    pub(super) fn later(&mut self, key: u64, bytes: u32, due_ms: u64, ended: &mut dyn FnMut(&Lease)) {
        if self.hold(key, bytes, ended) {
            let busy = self.busy();
            busy.due.insert(key, (due_ms, bytes));
            busy.waiting.insert((due_ms, key));
        }
    }

    pub(super) fn moves(&mut self, key: u64, bytes: u32, ended: &mut dyn FnMut(&Lease)) {
        if self.hold(key, bytes, ended) {
            self.busy().moving.insert(key, bytes);
        }
    }

    pub(super) fn is_half(&mut self, key: u64, bytes: u32, tag: u64, ended: &mut dyn FnMut(&Lease)) {
        if self.hold(key, bytes, ended) {
            self.busy().half.insert(key, (tag, bytes));
        }
    }
}

impl Lane {
    /// The invariants.
    pub(super) fn holds(&self) -> Result<(), &'static str> {
        if self.floor > self.frontier || self.frontier > self.end {
            return Err("floor, frontier and end do not ascend");
        }
        let Some(busy) = &self.busy else { return Ok(()) };
        if busy.settled.contains(self.floor) {
            return Err("the floor is settled");
        }
        // Every key in exactly one state: as many as there are, and none in two.
        let mut held: Vec<u64> = busy.held().collect();
        held.sort_unstable();
        if held.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a record is in two states");
        }
        let is_elsewhere = |key: &u64| busy.settled.contains(*key) || busy.returned.contains(*key);
        if held.iter().any(is_elsewhere) || busy.returned.ranges().any(|(first, _)| busy.settled.contains(first)) {
            return Err("a record is in two states");
        }
        let inside = |(first, end): (u64, u64)| first >= self.floor && end <= self.end;
        if !busy.settled.ranges().all(inside) || !held.iter().all(|key| inside((*key, *key + 1))) {
            return Err("a record that is not there has a state");
        }
        if busy.returned.ranges().any(|(_, end)| end > self.frontier)
            || busy.leases.keys().any(|key| *key >= self.frontier)
        {
            return Err("a record beyond the frontier was given out");
        }
        let ready: u64 = self.ready_ranges().iter().map(|(first, end)| end - first).sum();
        if ready != self.ready() {
            return Err("what is ready is miscounted");
        }
        if self.unsettled() != ready + held.len() as u64 {
            return Err("a record is in no state");
        }
        let leased: u64 = busy.leases.values().map(|lease| u64::from(lease.bytes)).sum();
        let waiting = busy.waiting.iter().filter_map(|(_, key)| busy.due.get(key)).map(|(_, bytes)| u64::from(*bytes));
        let moving = busy.moving.values().map(|bytes| u64::from(*bytes));
        let half = busy.half.values().map(|(_, bytes)| u64::from(*bytes));
        if leased + waiting.chain(moving).chain(half).sum::<u64>() != busy.held_bytes {
            return Err("the bytes of what is held are miscounted");
        }
        if busy.failed.keys().chain(busy.due.keys()).any(|key| busy.settled.contains(*key) || *key < self.floor) {
            return Err("something is remembered of a settled record");
        }
        Ok(())
    }
}

impl Busy {
    pub(super) fn held_count(&self) -> u64 {
        (self.leases.len() + self.waiting.len() + self.moving.len() + self.half.len()) as u64
    }

    /// What is neither settled nor ready, in no order.
    pub(super) fn held(&self) -> impl Iterator<Item = u64> {
        let waiting = self.waiting.iter().map(|(_, key)| key);
        self.leases.keys().chain(waiting).chain(self.moving.keys()).chain(self.half.keys()).copied()
    }

    fn is_held(&self, key: u64) -> bool {
        // Leases are below the frontier, where nobody asks.
        self.moving.contains_key(&key)
            || self.half.contains_key(&key)
            || self.due.get(&key).is_some_and(|(due_ms, _)| self.waiting.contains(&(*due_ms, key)))
    }

    /// The first from here on that is neither settled nor held back; perhaps beyond the end.
    fn next_unheld(&self, from: u64) -> u64 {
        let mut key = self.settled.next_out(from);
        while self.is_held(key) {
            key = self.settled.next_out(key + 1);
        }
        key
    }

    pub(super) fn is_idle(&self) -> bool {
        self.settled.is_empty()
            && self.failed.is_empty()
            && self.due.is_empty()
            && self.moving.is_empty()
            && self.half.is_empty()
            && self.returned.is_empty()
            && self.leases.is_empty()
    }
}

/// Takes out what stands in a range, usually one or nothing.
fn take_range<T>(map: &mut BTreeMap<u64, T>, first: u64, end: u64) -> impl Iterator<Item = (u64, T)> {
    std::iter::from_fn(move || {
        let key = *map.range(first..end).next()?.0;
        map.remove_entry(&key)
    })
}
