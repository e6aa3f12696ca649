// SPDX-License-Identifier: Apache-2.0
//! One memory budget for the requests and answers of all connections (`memory.request_bytes_max`).
//!
//! Owns: the count and who has to wait. Must not know: what the bytes are.
//!
//! At the bound: connections stop reading until others have given back (they *wait*, nothing is refused). So that many half-read
//! requests cannot lock each other out for ever, one connection at a time is privileged: it may go on whatever the count says,
//! until its request is complete. And so that a few large requests cannot lock out all the small ones, a connection that holds
//! nothing that counts may read a little, until half as much again as the bound is used.
//!
//! Who holds memory that others wait for must move: a client that neither sends its request nor takes its answers is closed by its
//! connection after some seconds (`connection.rs`), long before its pace alone would be a fault.

use ops::Metrics;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// Counts are kept in steps, so that small requests do not touch the shared counter at all.
pub const STEP_BYTES: usize = 32 * 1024;

/// See the module.
#[derive(Debug)]
pub struct RequestMemory {
    used_bytes: AtomicUsize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Waiting {
    privileged: bool,
    wakers: Vec<Waker>,
}

impl RequestMemory {
    /// A budget of so many bytes.
    pub fn new(bytes_max: u64, metrics: Arc<Metrics>) -> Arc<RequestMemory> {
        Arc::new(RequestMemory {
            used_bytes: AtomicUsize::new(0),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            waiting: Mutex::default(),
            metrics,
        })
    }

    /// The share of one connection, empty so far.
    pub fn share(self: &Arc<RequestMemory>) -> Share {
        Share { memory: self.clone(), held_bytes: 0, told: (0, 0), privileged: false }
    }

    fn over(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    /// Not even those that hold nothing may read.
    fn far_over(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.bytes_max.saturating_add(self.bytes_max / 2)
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.waiting.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What one connection holds.
#[derive(Debug)]
pub struct Share {
    memory: Arc<RequestMemory>,
    held_bytes: usize,
    /// What of it is told as requests that arrive, and as answers that leave.
    told: (u64, u64),
    privileged: bool,
}

impl Share {
    /// The connection holds this much now: of requests that are arriving, and of answers that are leaving.
    pub fn set(&mut self, input_bytes: usize, output_bytes: usize) {
        let bytes = (input_bytes + output_bytes) / STEP_BYTES * STEP_BYTES;
        if bytes > self.held_bytes {
            let more = bytes - self.held_bytes;
            self.memory.used_bytes.fetch_add(more, Ordering::Relaxed);
        } else if bytes < self.held_bytes {
            let less = self.held_bytes - bytes;
            let was_over = self.memory.over();
            self.memory.used_bytes.fetch_sub(less, Ordering::Relaxed);
            if was_over {
                self.memory.wake_all();
            }
        }
        self.held_bytes = bytes;
        self.tell(input_bytes, output_bytes);
        if self.privileged && input_bytes == 0 {
            self.privileged = false;
            self.memory.waiting.lock().privileged = false;
            self.memory.wake_all();
        }
    }

    /// The levels that operators see move in steps, too.
    fn tell(&mut self, input_bytes: usize, output_bytes: usize) {
        let metrics = &self.memory.metrics;
        let step = |bytes: usize| (bytes / STEP_BYTES * STEP_BYTES) as u64;
        let now = (step(input_bytes), step(output_bytes));
        if self.told != now {
            metrics.input.change(self.told.0, now.0);
            metrics.output.change(self.told.1, now.1);
            self.told = now;
        }
    }

    /// It holds what counts, and others wait for memory.
    pub fn is_wanted(&self) -> bool {
        self.held_bytes > 0 && self.memory.over() && !self.memory.waiting.lock().wakers.is_empty()
    }

    /// It holds what counts.
    pub fn holds(&self) -> bool {
        self.held_bytes > 0
    }

    /// How much may the connection read now? If nothing, the task is woken when it may make sense to ask again.
    pub fn may_read(&mut self, context: &Context<'_>) -> usize {
        if self.privileged || !self.memory.over() {
            return usize::MAX;
        }
        if self.held_bytes == 0 && !self.memory.far_over() {
            return STEP_BYTES / 2;
        }
        let mut waiting = self.memory.waiting.lock();
        if !waiting.privileged {
            waiting.privileged = true;
            self.privileged = true;
            return usize::MAX;
        }
        self.memory.metrics.request_memory_waits.add(1);
        waiting.wakers.push(context.waker().clone());
        drop(waiting);
        // What was given back between the look and the entry would wake nobody.
        if self.memory.over() { 0 } else { usize::MAX }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn over_the_budget_one_goes_on_and_the_others_wait_until_it_is_done() {
        let memory = RequestMemory::new(2 * STEP_BYTES as u64, Arc::default());
        let context = Context::from_waker(Waker::noop());
        let (mut a, mut b, mut c) = (memory.share(), memory.share(), memory.share());
        a.set(2 * STEP_BYTES, 0);
        assert_eq!(a.may_read(&context), usize::MAX);
        b.set(2 * STEP_BYTES, 0);
        assert_eq!(b.may_read(&context), usize::MAX, "the first to ask is privileged");
        assert!(!b.is_wanted(), "nobody waits yet");
        assert_eq!(a.may_read(&context), 0);
        assert_eq!(c.may_read(&context), 0);
        assert!(a.is_wanted() && b.is_wanted() && !c.is_wanted());
        b.set(9 * STEP_BYTES, 0);
        assert_eq!(b.may_read(&context), usize::MAX, "whatever the count says");
        b.set(0, 0);
        assert_eq!((a.may_read(&context), c.may_read(&context)), (usize::MAX, usize::MAX));
        drop(a);
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 0);
        c.set(STEP_BYTES - 1, 0);
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 0, "small requests are not counted");
    }

    #[test]
    fn a_privileged_connection_that_ends_passes_the_privilege_on() {
        let memory = RequestMemory::new(0, Arc::default());
        let context = Context::from_waker(Waker::noop());
        let (mut a, mut b) = (memory.share(), memory.share());
        a.set(STEP_BYTES, 0);
        b.set(STEP_BYTES, 0);
        assert_eq!((a.may_read(&context), b.may_read(&context)), (usize::MAX, 0));
        drop(a);
        assert_eq!(b.may_read(&context), usize::MAX);
    }

    #[test]
    fn large_requests_do_not_lock_the_small_ones_out() {
        let memory = RequestMemory::new(8 * STEP_BYTES as u64, Arc::default());
        let context = Context::from_waker(Waker::noop());
        let (mut large, mut other, mut small) = (memory.share(), memory.share(), memory.share());
        large.set(5 * STEP_BYTES, 0);
        other.set(4 * STEP_BYTES, 0);
        assert_eq!((large.may_read(&context), other.may_read(&context)), (usize::MAX, 0));
        let little = small.may_read(&context);
        assert!(little > 0 && little < STEP_BYTES, "it holds nothing, and cannot come to hold much by one read");
        small.set(STEP_BYTES, 0);
        assert_eq!(small.may_read(&context), 0, "it holds what counts now");
        small.set(0, 4 * STEP_BYTES);
        let mut smaller = memory.share();
        assert_eq!(smaller.may_read(&context), 0, "half as much again as the bound is used");
    }
}
