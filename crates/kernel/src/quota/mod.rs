// SPDX-License-Identifier: Apache-2.0
//! Admission: how fast publishes may fill the memory tail.
//!
//! Owns: the publishes that wait, and for how long. Must not know: what is in them, how the tail is emptied.
//!
//! Up to three quarters of the tail a publish goes through at once. From there each waits, longer the fuller the tail is (linear, up
//! to `DELAY_MS_MAX`), so that senders slow down before there is a wall; a full tail lets nothing through until a spill has made
//! room. Who waits, waits in order: nothing overtakes. The waiting have a bound, `parked_bytes_max`; beyond it a publish is refused
//! with a time to come back. What was acknowledged is never dropped.

use crate::command::{Ctx, Publish};
use model::{Now, Ticket};
use std::collections::VecDeque;

/// Longest wait for pacing (a full tail makes publishes wait longer).
pub const DELAY_MS_MAX: u64 = 50;
/// What is counted for a waiting publish beside its batch.
const PARKED_OVERHEAD_BYTES: u64 = 256;

/// A publish that waits.
#[derive(Debug)]
pub struct Parked {
    pub ctx: Ctx,
    pub ticket: Ticket,
    pub publish: Publish,
    due_us: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Admission {
    tail_bytes_max: u64,
    parked_bytes_max: u64,
    parked: VecDeque<Parked>,
    parked_bytes: u64,
}

/// What to do with a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    Now,
    /// Into the queue; look again at this time (`None`: when there is room).
    Park(Option<u64>),
    /// The waiting have reached their bound.
    Refuse {
        retry_after_ms: u32,
    },
}

impl Admission {
    pub fn new(tail_bytes_max: u64) -> Admission {
        // Ten requests of a MiB each are what two producers send at once, and are not worth a refusal.
        let parked_bytes_max = (tail_bytes_max / 2).max(4 * 1024 * 1024);
        Admission { tail_bytes_max, parked_bytes_max, parked: VecDeque::new(), parked_bytes: 0 }
    }

    /// Does a publish of so many frame bytes fit into a tail that has `tail_bytes` by now? An empty tail takes anything.
    pub fn fits(&self, tail_bytes: u64, bytes: u64) -> bool {
        tail_bytes == 0 || tail_bytes + bytes <= self.tail_bytes_max
    }

    /// Is there room for what a coordinator may decide? Its notes are small, and nobody paces those who ask, so they have an eighth
    /// of the tail for themselves: publishes that fill theirs do not keep members of groups from committing.
    pub fn fits_notes(&self, tail_bytes: u64) -> bool {
        tail_bytes < self.tail_bytes_max + self.tail_bytes_max / 8
    }

    /// How long a publish waits at this fill.
    fn delay_us(&self, tail_bytes: u64) -> u64 {
        let threshold = self.tail_bytes_max / 4 * 3;
        let over = tail_bytes.saturating_sub(threshold);
        let range = (self.tail_bytes_max - threshold).max(1);
        DELAY_MS_MAX * 1000 * over.min(range) / range
    }

    /// Decides for a publish that arrives now.
    pub fn decide(&self, now: Now, tail_bytes: u64, frame_bytes: u64, batch_bytes: usize) -> Admit {
        let delay_us = self.delay_us(tail_bytes);
        let fits = self.fits(tail_bytes, frame_bytes);
        if fits && delay_us == 0 && self.parked.is_empty() {
            return Admit::Now;
        }
        if self.parked_bytes + batch_bytes as u64 + PARKED_OVERHEAD_BYTES > self.parked_bytes_max {
            return Admit::Refuse { retry_after_ms: DELAY_MS_MAX as u32 };
        }
        Admit::Park(fits.then_some(now.mono_us + delay_us))
    }

    /// Puts it at the end of the queue.
    pub fn park(&mut self, ctx: Ctx, ticket: Ticket, publish: Publish, due_us: Option<u64>) {
        self.parked_bytes += publish.batch.bytes().len() as u64 + PARKED_OVERHEAD_BYTES;
        self.parked.push_back(Parked { ctx, ticket, publish, due_us: due_us.unwrap_or(0) });
    }

    /// The next in the queue.
    pub fn front(&self) -> Option<&Publish> {
        self.parked.front().map(|parked| &parked.publish)
    }

    /// Takes the next out of the queue if its time has come.
    pub fn take_due(&mut self, now: Now) -> Option<Parked> {
        self.parked.front().filter(|parked| parked.due_us <= now.mono_us)?;
        self.take()
    }

    /// Takes the next out of the queue whatever its time.
    pub fn take(&mut self) -> Option<Parked> {
        let parked = self.parked.pop_front()?;
        self.parked_bytes -= parked.publish.batch.bytes().len() as u64 + PARKED_OVERHEAD_BYTES;
        Some(parked)
    }

    /// When the next one's time comes.
    pub fn due_us(&self) -> Option<u64> {
        self.parked.front().map(|parked| parked.due_us)
    }

    pub fn waiting(&self) -> u64 {
        self.parked.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_from_three_quarters_on() {
        let admission = Admission::new(1000);
        let delays: Vec<u64> = [0, 750, 800, 1000, 2000].iter().map(|bytes| admission.delay_us(*bytes)).collect();
        assert_eq!(delays, [0, 0, 10_000, 50_000, 50_000]);
    }

    #[test]
    fn a_full_tail_takes_nothing_and_an_empty_one_anything() {
        let admission = Admission::new(1000);
        let now = Now::default();
        assert_eq!(admission.decide(now, 0, 5000, 10), Admit::Now);
        assert_eq!(admission.decide(now, 900, 200, 10), Admit::Park(None));
        assert_eq!(admission.decide(now, 900, 200, 5 * 1024 * 1024), Admit::Refuse { retry_after_ms: 50 });
    }
}
