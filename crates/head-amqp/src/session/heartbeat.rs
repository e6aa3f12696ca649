// SPDX-License-Identifier: Apache-2.0
//! Heartbeats: how long either side may be silent.
//!
//! The client's `tune-ok` decides; 0 switches both directions off. Anything that is sent or received counts. This side speaks after half
//! an interval of silence, because clients give up after two without a word, some after less. A client is given up after two and
//! a half: it is told that two may be missed, and clients' own tests look for the end within 3.1 intervals.

use model::Now;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    interval_us: u64,
    sent_us: u64,
    received_us: u64,
}

impl Heartbeat {
    /// `None`: switched off.
    pub fn new(interval_s: u16, now: Now) -> Option<Heartbeat> {
        let interval_us = u64::from(interval_s) * 1_000_000;
        (interval_s > 0).then_some(Heartbeat { interval_us, sent_us: now.mono_us, received_us: now.mono_us })
    }

    pub fn sent(&mut self, now: Now) {
        self.sent_us = now.mono_us;
    }

    pub fn received(&mut self, now: Now) {
        self.received_us = now.mono_us;
    }

    /// It is time to say something.
    pub fn must_send(&self, now: Now) -> bool {
        now.mono_us >= self.send_us()
    }

    /// The client has been silent for too long.
    pub fn is_over(&self, now: Now) -> bool {
        now.mono_us >= self.over_us()
    }

    /// When to look again.
    pub fn timeout_us(&self) -> u64 {
        self.send_us().min(self.over_us())
    }

    fn send_us(&self) -> u64 {
        self.sent_us.saturating_add(self.interval_us / 2)
    }

    fn over_us(&self) -> u64 {
        self.received_us.saturating_add(self.interval_us / 2 * 5)
    }
}
