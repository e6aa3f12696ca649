// SPDX-License-Identifier: Apache-2.0
//! What one producer has to say to one partition: batches in order, some of them under way.
//!
//! Owns: which batch may be sent next, and what a refusal or a lost connection means for those behind it. A numbered producer
//! repeats until it is answered, in order, at most five batches ahead; a plain one sends once and never knows.
//! Must not know: how batches travel.

use crate::history::Op;
use model::batch::Batch;
use std::collections::VecDeque;

/// A numbered producer has at most this many unanswered batches in a partition: as many as a broker remembers.
pub const UNDER_WAY_MAX: usize = 5;

/// One batch.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub op: Op,
    pub first: u64,
    pub count: u32,
    pub batch: Batch,
    /// How often it was sent.
    pub tries: u32,
    pub under_way: bool,
    /// Where it stands, once acknowledged.
    pub base: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pub numbered: bool,
    pub next_sequence: i32,
    parcels: VecDeque<Parcel>,
    /// Set by a refusal: nothing is sent before this, and not before everything under way is answered.
    blocked_until_us: Option<u64>,
    last_acked: Option<Parcel>,
}

impl Outbox {
    /// One more to be sent.
    pub fn push(&mut self, parcel: Parcel) {
        self.parcels.push_back(parcel);
    }

    /// Nothing is left to be sent or answered.
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.parcels.len()
    }

    /// When it makes sense to ask `next_parcel` again, if that is known.
    pub fn due_us(&self) -> Option<u64> {
        self.blocked_until_us.filter(|_| !self.parcels.iter().any(|parcel| parcel.under_way))
    }

    /// The batch to send now; it is under way from here on.
    pub fn next_parcel(&mut self, now_us: u64) -> Option<&Parcel> {
        if let Some(until_us) = self.blocked_until_us {
            if now_us < until_us || self.parcels.iter().any(|parcel| parcel.under_way) {
                return None;
            }
            self.blocked_until_us = None;
        }
        // Refused ones that wait count too: a client sends nothing that would push an unanswered batch out of the broker's memory.
        let unanswered_max = if self.numbered { UNDER_WAY_MAX } else { usize::MAX };
        let parcel = self.parcels.iter_mut().take(unanswered_max).find(|parcel| !parcel.under_way)?;
        parcel.under_way = true;
        parcel.tries += 1;
        Some(parcel)
    }

    /// The batch of that operation was acknowledged.
    pub fn acked(&mut self, op: Op, base: u64) -> Option<Parcel> {
        let mut parcel = self.remove(op)?;
        parcel.base = Some(base);
        self.last_acked = Some(parcel.clone());
        Some(parcel)
    }

    /// Takes a batch out for good.
    pub fn remove(&mut self, op: Op) -> Option<Parcel> {
        let at = self.parcels.iter().position(|parcel| parcel.op == op)?;
        self.parcels.remove(at)
    }

    /// Is this the oldest unanswered batch?
    pub fn is_front(&self, op: Op) -> bool {
        self.parcels.front().is_some_and(|parcel| parcel.op == op)
    }

    /// The batch of that operation.
    pub fn parcel(&self, op: Op) -> Option<&Parcel> {
        self.parcels.iter().find(|parcel| parcel.op == op)
    }

    /// The batch must be sent again, not before that time.
    pub fn again(&mut self, op: Op, at_us: u64) {
        if let Some(parcel) = self.parcels.iter_mut().find(|parcel| parcel.op == op) {
            parcel.under_way = false;
        }
        self.blocked_until_us = Some(self.blocked_until_us.unwrap_or(0).max(at_us));
    }

    /// The connection is gone. A numbered producer will repeat everything; a plain one learns nothing more of what was under way:
    /// those operations are returned.
    pub fn disconnected(&mut self) -> Vec<Op> {
        self.blocked_until_us = None;
        if self.numbered {
            for parcel in &mut self.parcels {
                parcel.under_way = false;
            }
            return Vec::new();
        }
        let lost = self.parcels.iter().filter(|parcel| parcel.under_way).map(|parcel| parcel.op).collect();
        self.parcels.retain(|parcel| !parcel.under_way);
        lost
    }

    /// The last batch that was acknowledged, while nothing newer has been sent: a broker must know it again.
    pub fn repeatable(&self) -> Option<&Parcel> {
        self.last_acked.as_ref().filter(|_| self.numbered && self.parcels.iter().all(|parcel| parcel.tries == 0))
    }

    /// All that are left, in order.
    pub fn drain(&mut self) -> Vec<Parcel> {
        self.blocked_until_us = None;
        self.parcels.drain(..).collect()
    }
}
