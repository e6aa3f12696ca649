// SPDX-License-Identifier: Apache-2.0
//! One memory budget for the records on their way to consumers of all connections (`memory.fetch_bytes_max`).
//!
//! Owns: the count and who has to wait. Must not know: what the bytes are, or who sends them.
//!
//! Counted are: what reads under way may bring, what a fetch that waits for more holds, what of an answer is not taken yet. At the
//! bound: reads *wait* in their connection until others have given back; nothing is refused. So that consumers who take nothing
//! cannot keep the others out for ever, one connection at a time is privileged: its reads go out whatever the count says, and it
//! stays so until its answer is taken, for which it has a bounded time (`connection.rs`). So the most that is ever counted is the
//! budget, one answer (`kafka.fetch_bytes_max`), and a batch beyond what each read asked for (the first is always whole).

use ops::Metrics;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// See the module.
#[derive(Debug)]
pub struct FetchMemory {
    used_bytes: AtomicUsize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    /// How many wait, for those who only want to know whether anybody does.
    waiting_count: AtomicUsize,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Waiting {
    privileged: bool,
    wakers: Vec<Waker>,
}

impl FetchMemory {
    /// A budget of so many bytes.
    pub fn new(bytes_max: u64, metrics: Arc<Metrics>) -> Arc<FetchMemory> {
        Arc::new(FetchMemory {
            used_bytes: AtomicUsize::new(0),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            waiting: Mutex::default(),
            waiting_count: AtomicUsize::new(0),
            metrics,
        })
    }

    /// The share of one connection, empty so far.
    pub fn share(self: &Arc<FetchMemory>) -> FetchShare {
        FetchShare { memory: self.clone(), bytes: 0, privileged: false }
    }

    // Who gives back changes the bytes and then looks whether anybody waits; who waits says so and then looks at the bytes. One of
    // the two must see the other, hence the one order of all (`SeqCst`).
    fn fits(&self, more: usize) -> bool {
        self.used_bytes.load(Ordering::SeqCst).saturating_add(more) <= self.bytes_max
    }

    fn wake_all(&self) {
        if self.waiting_count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let wakers = {
            let mut waiting = self.waiting.lock();
            self.waiting_count.store(0, Ordering::SeqCst);
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What one connection has.
#[derive(Debug)]
pub struct FetchShare {
    memory: Arc<FetchMemory>,
    bytes: usize,
    privileged: bool,
}

impl FetchShare {
    /// Reads that may bring so much want to go out. If they may, it is counted, as one byte at least.
    pub fn may_read(&mut self, more: usize) -> bool {
        if !self.privileged && !self.memory.fits(more) {
            let mut waiting = self.memory.waiting.lock();
            if waiting.privileged {
                return false;
            }
            waiting.privileged = true;
            self.privileged = true;
        }
        // Two that ask at the same moment may both find room: the bound is exceeded by what they ask for, once.
        self.set(self.bytes.saturating_add(more.max(1)));
        true
    }

    /// `may_read` has said no: the task is woken when it may make sense to ask again. True when it does right now.
    pub fn wait(&self, context: &Context<'_>, more: usize) -> bool {
        let mut waiting = self.memory.waiting.lock();
        if !waiting.privileged || self.memory.fits(more) {
            return true;
        }
        if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            self.memory.metrics.fetch_memory_waits.add(1);
            waiting.wakers.push(context.waker().clone());
            self.memory.waiting_count.store(waiting.wakers.len(), Ordering::SeqCst);
        }
        drop(waiting);
        // What was given back between the look and the entry would wake nobody.
        self.memory.fits(more)
    }

    /// The connection has this much now.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.memory.used_bytes.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else if bytes < self.bytes {
            self.memory.used_bytes.fetch_sub(self.bytes - bytes, Ordering::SeqCst);
        }
        if bytes != self.bytes {
            self.memory.metrics.fetch_memory.change(self.bytes as u64, bytes as u64);
        }
        let gave_back = bytes < self.bytes;
        self.bytes = bytes;
        if self.privileged && bytes == 0 {
            self.privileged = false;
            self.memory.waiting.lock().privileged = false;
        }
        if gave_back {
            self.memory.wake_all();
        }
    }

    /// Is memory so short that this one should not hold what it has for longer than it must?
    pub fn is_wanted(&self) -> bool {
        self.bytes > 0 && (self.privileged || self.others_wait())
    }

    /// Does anybody wait for memory?
    pub fn others_wait(&self) -> bool {
        self.memory.waiting_count.load(Ordering::SeqCst) > 0
    }

    /// Is it this connection that goes on although the budget is used up?
    pub fn is_privileged(&self) -> bool {
        self.privileged
    }
}

impl Drop for FetchShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1_000;

    #[test]
    fn over_the_budget_one_goes_on_and_the_others_wait_until_it_is_done() {
        let memory = FetchMemory::new(BYTES_MAX as u64, Arc::default());
        let context = Context::from_waker(Waker::noop());
        let (mut a, mut b, mut c) = (memory.share(), memory.share(), memory.share());
        assert!(a.may_read(BYTES_MAX) && !a.is_wanted());
        assert!(b.may_read(500), "the first to ask is privileged");
        assert!(b.is_wanted() && !b.others_wait(), "it goes on in peace while it is alone");
        assert!(!c.may_read(1) && !c.wait(&context, 1));
        assert!(a.is_wanted() && b.is_wanted() && b.others_wait(), "c waits for them");
        assert!(b.may_read(700), "whatever the count says");
        b.set(0);
        assert!(c.wait(&context, 1), "the privilege is free");
        assert!(c.may_read(1) && c.is_privileged());
        a.set(10);
        assert!(b.may_read(900) && !b.is_privileged());
        drop((a, b, c));
        assert_eq!(memory.used_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(memory.metrics.fetch_memory.get(), 0);
    }

    #[test]
    fn a_privileged_connection_that_ends_passes_the_privilege_on() {
        let memory = FetchMemory::new(0, Arc::default());
        let context = Context::from_waker(Waker::noop());
        let (mut a, mut b) = (memory.share(), memory.share());
        assert!(a.may_read(1) && !b.may_read(1) && !b.wait(&context, 1));
        drop(a);
        assert!(b.may_read(1));
    }

    #[test]
    fn a_read_larger_than_the_budget_goes_out_alone() {
        let memory = FetchMemory::new(BYTES_MAX as u64, Arc::default());
        let (mut a, mut b) = (memory.share(), memory.share());
        assert!(a.may_read(50 * BYTES_MAX) && a.is_privileged());
        assert!(!b.may_read(1));
        a.set(0);
        assert!(b.may_read(1) && !b.is_privileged());
    }
}
