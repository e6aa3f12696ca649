// SPDX-License-Identifier: Apache-2.0
//! Who is given records, and in which order.
//!
//! Owns: consumers, their credit, whose turn it is, which single one is active. Must not know: records.
//!
//! Turns are RabbitMQ's: of the highest priority that can take something, the one at the front; having been given a record it goes to the
//! end. One that cannot take when its turn comes leaves the row, and comes back at the end when its credit has changed.
//!
//! With a single active consumer only that one is given records: the first that came; when it goes, that of the highest priority, then the first.
//! Where a queue says so, one of a higher priority takes over as soon as the active one holds nothing, and the active one is
//! given nothing more meanwhile.

use model::HolderId;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Most consumers of one ledger. Beyond, attaching is refused.
pub const CONSUMERS_MAX: usize = 100_000;

/// A consumer of a ledger: chosen by who attaches it, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// How a consumer wants to be given records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    pub consumer: ConsumerId,
    pub holder: HolderId,
    pub priority: i32,
    /// A record is settled when it is given.
    pub no_ack: bool,
    /// No other consumer may be there.
    pub exclusive: bool,
    /// It may hold so many leases; `None`: any number.
    pub records_max: Option<u32>,
    /// And of so many bytes, the last record not counted; `None`: any number.
    pub bytes_max: Option<u64>,
    /// There is room to send so many bytes, the last record not counted; `None`: any number.
    pub room_bytes: Option<u64>,
}

/// Why a consumer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// Its number is taken.
    Exists,
    /// Another has it for itself, or others are there.
    Exclusive,
    TooMany,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) attach: Attach,
    pub(super) leases: u32,
    pub(super) lease_bytes: u64,
    paused: bool,
    turn: Option<u64>,
    came: u64,
}

impl Consumer {
    fn can_take(&self) -> bool {
        let attach = &self.attach;
        let by_credit = attach.no_ack
            || (attach.records_max.is_none_or(|max| self.leases < max)
                && attach.bytes_max.is_none_or(|max| self.lease_bytes < max));
        !self.paused && by_credit && attach.room_bytes.is_none_or(|room| room > 0)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumers {
    by_id: BTreeMap<ConsumerId, Consumer>,
    row: BTreeMap<(Reverse<i32>, u64), ConsumerId>,
    next: u64,
    active: Option<ConsumerId>,
}

impl Consumers {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn get(&self, id: ConsumerId) -> Option<&Consumer> {
        self.by_id.get(&id)
    }

    pub(super) fn active(&self) -> Option<ConsumerId> {
        self.active
    }

    pub(super) fn of(&self, holder: HolderId) -> Vec<ConsumerId> {
        let own = self.by_id.values().filter(|consumer| consumer.attach.holder == holder);
        own.map(|consumer| consumer.attach.consumer).collect()
    }

    pub(super) fn attach(&mut self, attach: Attach, is_single: bool) -> Result<(), AttachError> {
        if self.by_id.contains_key(&attach.consumer) {
            return Err(AttachError::Exists);
        }
        let is_taken = self.by_id.values().next().is_some_and(|known| known.attach.exclusive);
        if is_taken || (attach.exclusive && !self.is_empty()) {
            return Err(AttachError::Exclusive);
        }
        if self.len() >= CONSUMERS_MAX {
            return Err(AttachError::TooMany);
        }
        self.next += 1;
        let consumer = Consumer { attach, leases: 0, lease_bytes: 0, paused: false, turn: None, came: self.next };
        self.by_id.insert(attach.consumer, consumer);
        self.line_up(attach.consumer);
        if is_single && self.active.is_none() {
            self.active = Some(attach.consumer);
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, id: ConsumerId) -> bool {
        let Some(consumer) = self.by_id.remove(&id) else { return false };
        if let Some(turn) = consumer.turn {
            self.row.remove(&(Reverse(consumer.attach.priority), turn));
        }
        if self.active == Some(id) {
            self.active = self.best().map(|consumer| consumer.attach.consumer);
        }
        true
    }

    /// Of the highest priority, the first that came.
    fn best(&self) -> Option<&Consumer> {
        self.by_id.values().min_by_key(|consumer| (Reverse(consumer.attach.priority), consumer.came))
    }

    /// It stands in the row from now on, behind those of its priority, unless it stands there already.
    fn line_up(&mut self, id: ConsumerId) {
        let Some(consumer) = self.by_id.get_mut(&id).filter(|consumer| consumer.turn.is_none()) else { return };
        self.next += 1;
        consumer.turn = Some(self.next);
        self.row.insert((Reverse(consumer.attach.priority), self.next), id);
    }

    fn leave(&mut self, place: (Reverse<i32>, u64), id: ConsumerId) {
        self.row.remove(&place);
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.turn = None;
        }
    }

    /// Who takes the next record. Whoever cannot take, and whose turn it would be, leaves the row.
    pub(super) fn turn(&mut self, is_single: bool, takes_over: bool) -> Option<ConsumerId> {
        if is_single {
            let active = self.by_id.get(&self.active?)?;
            if takes_over
                && let Some(best) = self.best()
                && best.attach.priority > active.attach.priority
            {
                if active.leases > 0 {
                    return None;
                }
                self.active = Some(best.attach.consumer);
            }
            let active = self.by_id.get(&self.active?)?;
            return active.can_take().then_some(active.attach.consumer);
        }
        while let Some((place, id)) = self.row.first_key_value().map(|(place, id)| (*place, *id)) {
            if self.by_id.get(&id).is_some_and(Consumer::can_take) {
                return Some(id);
            }
            self.leave(place, id);
        }
        None
    }

    /// It was given a record: after this its turn is over.
    pub(super) fn given(&mut self, id: ConsumerId, bytes: u32) {
        let Some(consumer) = self.by_id.get_mut(&id) else { return };
        if !consumer.attach.no_ack {
            consumer.leases += 1;
            consumer.lease_bytes += u64::from(bytes);
        }
        if let Some(room) = &mut consumer.attach.room_bytes {
            *room = room.saturating_sub(u64::from(bytes));
        }
        if let Some(turn) = consumer.turn {
            let place = (Reverse(consumer.attach.priority), turn);
            self.leave(place, id);
        }
        self.line_up(id);
    }

    /// A lease of its has ended.
    pub(super) fn ended(&mut self, id: ConsumerId, bytes: u32) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.leases -= 1;
            consumer.lease_bytes -= u64::from(bytes);
            self.line_up(id);
        }
    }

    pub(super) fn set_credit(&mut self, id: ConsumerId, records_max: Option<u32>, bytes_max: Option<u64>) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            (consumer.attach.records_max, consumer.attach.bytes_max) = (records_max, bytes_max);
            self.line_up(id);
        }
    }

    pub(super) fn add_room(&mut self, id: ConsumerId, bytes: u64) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.attach.room_bytes = consumer.attach.room_bytes.map(|room| room.saturating_add(bytes));
            self.line_up(id);
        }
    }

    pub(super) fn set_paused(&mut self, id: ConsumerId, paused: bool) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.paused = paused;
            self.line_up(id);
        }
    }

    /// Who stands in the row stands there once, where it says.
    pub(super) fn holds(&self) -> Result<(), String> {
        let turn = |(place, id): (&(Reverse<i32>, u64), &ConsumerId)| {
            self.by_id.get(id).is_some_and(|consumer| consumer.turn == Some(place.1))
        };
        let standing = self.by_id.values().filter(|consumer| consumer.turn.is_some()).count();
        if standing != self.row.len() || !self.row.iter().all(turn) {
            return Err("the row of consumers is not theirs".into());
        }
        match self.active {
            Some(active) if !self.by_id.contains_key(&active) => Err("the active consumer is not there".into()),
            _ => Ok(()),
        }
    }
}
