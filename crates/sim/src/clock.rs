// SPDX-License-Identifier: Apache-2.0
//! Virtual time, and the trace of a run.
//!
//! Owns: the one clock that everything in a run shares, and a running hash (on demand with lines) of everything that happened, so
//! that two runs of a seed can be compared. Must not know: what happens.

use crate::rng::scatter;
use model::Now;
use std::cell::{Cell, RefCell};
use std::fmt::Arguments;
use std::rc::Rc;

/// Where a run's wall clock starts: an arbitrary moment in 2026.
const WALL_START_MS: u64 = 1_780_000_000_000;

/// See the module. A clone is the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    inner: Rc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    mono_us: Cell<u64>,
    wall_jump_ms: Cell<i64>,
    hash: Cell<u64>,
    tracing: Cell<bool>,
    lines: RefCell<Vec<String>>,
}

impl Clock {
    /// Microseconds since the run began.
    pub fn us(&self) -> u64 {
        self.inner.mono_us.get()
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let wall_ms = WALL_START_MS.saturating_add_signed(self.inner.wall_jump_ms.get()) + self.us() / 1000;
        Now { mono_us: self.us(), wall_ms }
    }

    /// Moves on to a later moment; an earlier one changes nothing.
    pub fn advance_to(&self, mono_us: u64) {
        self.inner.mono_us.set(self.us().max(mono_us));
    }

    /// The wall clock is set by someone.
    pub fn jump_wall_ms(&self, by: i64) {
        self.inner.wall_jump_ms.set(self.inner.wall_jump_ms.get() + by);
    }

    /// Keeps a line of text for everything from now on.
    pub fn trace_lines(&self) {
        self.inner.tracing.set(true);
    }

    /// Something happened: `what` and three numbers go into the hash, the text is made only when lines are kept.
    pub fn note(&self, what: u8, numbers: [u64; 3], text: Arguments<'_>) {
        let mut hash = self.inner.hash.get() ^ u64::from(what) ^ self.us().rotate_left(8);
        for number in numbers {
            hash = scatter(hash ^ number);
        }
        self.inner.hash.set(hash);
        if self.inner.tracing.get() {
            self.inner.lines.borrow_mut().push(format!("{:>9} {text}", self.us()));
        }
    }

    /// The hash of everything so far.
    pub fn trace_hash(&self) -> u64 {
        self.inner.hash.get()
    }

    /// The lines kept.
    pub fn take_lines(&self) -> Vec<String> {
        self.inner.lines.take()
    }
}
