// SPDX-License-Identifier: Apache-2.0
//! Which connections are let in: a bound on all, and one on those from one address.
//!
//! Owns: the counts and the choice at a bound. Must not know: sockets.
//!
//! At a bound the oldest connection that never made a request is closed to make room (*evict*); only if there is none the new one
//! is *refused*. So a peer that opens connections and says nothing cannot lock out clients that talk.

use crate::outbox::Outbox;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// The outcome for a new connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted,
    /// Admitted after another one was asked to close.
    AdmittedInstead,
    Refused,
}

/// See the module.
#[derive(Debug)]
pub struct Admission {
    connections_max: usize,
    per_address_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    count: usize,
    silent: Silent,
    by_address: HashMap<IpAddr, OfAddress>,
}

#[derive(Debug, Default)]
struct OfAddress {
    count: usize,
    silent: Silent,
}

/// Connections that had made no request when they were last looked at, oldest first.
#[derive(Debug, Default)]
struct Silent {
    queue: VecDeque<(IpAddr, Arc<Outbox>)>,
    /// Length at which the queue is gone through; twice what was left then, so that the cost a connection is constant.
    look_at: usize,
}

impl Silent {
    fn push(&mut self, address: IpAddr, outbox: &Arc<Outbox>) {
        self.queue.push_back((address, outbox.clone()));
        if self.queue.len() > self.look_at {
            self.queue.retain(|(_, outbox)| !outbox.is_established() && !outbox.is_released());
            self.look_at = 2 * self.queue.len() + 64;
        }
    }

    fn pop(&mut self) -> Option<(IpAddr, Arc<Outbox>)> {
        while let Some((address, outbox)) = self.queue.pop_front() {
            if !outbox.is_established() && outbox.release() {
                return Some((address, outbox));
            }
        }
        None
    }
}

impl Inner {
    fn forget(&mut self, address: IpAddr) {
        self.count -= 1;
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.count -= 1;
            if of_address.count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Admission {
    /// Bounds on all connections and on those of one address.
    pub fn new(connections_max: usize, per_address_max: usize) -> Admission {
        Admission { connections_max, per_address_max, inner: Mutex::default() }
    }

    /// Decides about a new connection. Whoever is admitted must be given to `leave` once.
    pub fn enter(&self, address: IpAddr, outbox: &Arc<Outbox>) -> Verdict {
        let mut evicted = Vec::new();
        let verdict = {
            let mut inner = self.inner.lock();
            let of_address = inner.by_address.entry(address).or_default();
            let mut refused = false;
            if of_address.count >= self.per_address_max {
                evicted.extend(of_address.silent.pop());
                refused = evicted.is_empty();
            } else if inner.count >= self.connections_max {
                evicted.extend(inner.silent.pop());
                refused = evicted.is_empty();
            }
            for (address, _) in &evicted {
                inner.forget(*address);
            }
            if refused {
                if inner.by_address.get(&address).is_some_and(|of_address| of_address.count == 0) {
                    inner.by_address.remove(&address);
                }
                Verdict::Refused
            } else {
                inner.count += 1;
                inner.silent.push(address, outbox);
                let of_address = inner.by_address.entry(address).or_default();
                of_address.count += 1;
                of_address.silent.push(address, outbox);
                if evicted.is_empty() { Verdict::Admitted } else { Verdict::AdmittedInstead }
            }
        };
        evicted.iter().for_each(|(_, outbox)| outbox.ask_close());
        verdict
    }

    /// The system is out of file descriptors: closes the oldest connection that never made a request, if there is one.
    pub fn make_room(&self) {
        let evicted = {
            let mut inner = self.inner.lock();
            let evicted = inner.silent.pop();
            if let Some((address, _)) = &evicted {
                inner.forget(*address);
            }
            evicted
        };
        if let Some((_, outbox)) = evicted {
            outbox.ask_close();
        }
    }

    /// An admitted connection has ended.
    pub fn leave(&self, address: IpAddr, outbox: &Outbox) {
        let mut inner = self.inner.lock();
        if outbox.release() {
            inner.forget(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    fn enter(admission: &Admission, last: u8) -> (Verdict, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::default());
        (admission.enter(address(last), &outbox), outbox)
    }

    #[test]
    fn silent_connections_make_room_and_talking_ones_do_not() {
        let admission = Admission::new(3, 100);
        let (_, first) = enter(&admission, 1);
        let (_, second) = enter(&admission, 1);
        let (_, third) = enter(&admission, 2);
        first.set_established();
        let (verdict, fourth) = enter(&admission, 3);
        assert_eq!(verdict, Verdict::AdmittedInstead);
        assert!(second.is_released() && !first.is_released() && !third.is_released(), "the oldest silent one went");
        third.set_established();
        fourth.set_established();
        assert_eq!(enter(&admission, 4).0, Verdict::Refused);
        admission.leave(address(1), &second);
        assert_eq!(enter(&admission, 4).0, Verdict::Refused, "the evicted one was counted out already");
        admission.leave(address(1), &first);
        assert_eq!(enter(&admission, 4).0, Verdict::Admitted);
    }

    #[test]
    fn one_address_cannot_take_everything() {
        let admission = Admission::new(100, 2);
        let (_, first) = enter(&admission, 1);
        let (_, second) = enter(&admission, 1);
        let (_, other) = enter(&admission, 2);
        first.set_established();
        second.set_established();
        assert_eq!(enter(&admission, 1).0, Verdict::Refused);
        assert_eq!(enter(&admission, 2).0, Verdict::Admitted);
        assert!(!other.is_released());
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let admission = Admission::new(10, 10);
        for _ in 0..10_000 {
            let (verdict, outbox) = enter(&admission, 1);
            assert_eq!(verdict, Verdict::Admitted);
            admission.leave(address(1), &outbox);
        }
        let inner = admission.inner.lock();
        assert_eq!(inner.count, 0);
        assert!(inner.silent.queue.len() <= 65 && inner.by_address.is_empty());
    }
}
