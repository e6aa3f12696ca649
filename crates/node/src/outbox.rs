// SPDX-License-Identifier: Apache-2.0
//! What the shards have for one connection: replies and wakes, in order, until its task takes them.
//!
//! Owns: the queue between a shard's drain (any thread) and the connection's task. Must not know: what is in a reply.
//!
//! Bound: a connection has at most `kafka.inflight_requests_max` requests under way and one watch a partition of its fetch
//! session, so the queue cannot outgrow what the session itself allows; nothing is ever dropped.

use kernel::Reply;
use model::Ticket;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// One thing for the connection.
#[derive(Debug)]
pub enum Delivery {
    Reply(Ticket, Reply),
    Wake(u64),
}

#[derive(Debug, Default)]
struct Inner {
    deliveries: Vec<Delivery>,
    /// Set while the task waits.
    waker: Option<Waker>,
    close_asked: bool,
    finish_asked: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    /// The client has made a request: it is not one of those that only hold a connection open.
    established: AtomicBool,
    /// The connection is no longer counted by `admission.rs`.
    released: AtomicBool,
}

/// What the waiting task finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub deliveries: bool,
    /// Close at once.
    pub close_asked: bool,
    /// Answer what is under way, then close.
    pub finish_asked: bool,
}

impl Outbox {
    /// Adds a delivery. The caller wakes the returned task once it holds no lock.
    pub fn push(&self, delivery: Delivery) -> Option<Waker> {
        let mut inner = self.inner.lock();
        inner.deliveries.push(delivery);
        inner.waker.take()
    }

    /// Asks the connection to close at once.
    pub fn ask_close(&self) {
        self.ask(|inner| inner.close_asked = true);
    }

    /// Asks the connection to answer what is under way and then to close.
    pub fn ask_finish(&self) {
        self.ask(|inner| inner.finish_asked = true);
    }

    fn ask(&self, set: impl FnOnce(&mut Inner)) {
        let waker = {
            let mut inner = self.inner.lock();
            set(&mut inner);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves all deliveries into `into`, which is empty.
    pub fn take(&self, into: &mut Vec<Delivery>) -> Pending {
        let mut inner = self.inner.lock();
        std::mem::swap(&mut inner.deliveries, into);
        Pending { deliveries: !into.is_empty(), close_asked: inner.close_asked, finish_asked: inner.finish_asked }
    }

    /// Ready as soon as there is a delivery or a demand that the task has not `seen`.
    pub fn poll(&self, context: &Context<'_>, seen_finish: bool) -> Poll<()> {
        let mut inner = self.inner.lock();
        if !inner.deliveries.is_empty() || inner.close_asked || (inner.finish_asked && !seen_finish) {
            return Poll::Ready(());
        }
        match &inner.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => inner.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// The client has made a request.
    pub fn set_established(&self) {
        if !self.established.load(Ordering::Relaxed) {
            self.established.store(true, Ordering::Relaxed);
        }
    }

    /// Has it?
    pub fn is_established(&self) -> bool {
        self.established.load(Ordering::Relaxed)
    }

    /// True for the first caller only: that one takes the connection out of the counts.
    pub fn release(&self) -> bool {
        !self.released.swap(true, Ordering::Relaxed)
    }

    /// No longer counted?
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }
}
