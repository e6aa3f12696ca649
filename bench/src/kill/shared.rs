// SPDX-License-Identifier: Apache-2.0
//! What the client threads of one stretch of rounds share: the history, where the broker is now, and whether to come to an end.
//!
//! The broker's place changes with every restart. It carries the number of its life, so that a thread whose connection broke waits
//! for a later life and does not connect to the one that it saw die.

use super::verdict::Findings;
use crate::wire::Connection;
use sim::history::{Event, History, Op};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No request of a healthy broker takes longer; a longer silence counts as a broken connection.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// A connection that breaks for another reason than a kill may be opened again to the same life after this.
const SAME_LIFE_AFTER: Duration = Duration::from_secs(2);
/// So long a sender tries, once it is time to end, to have what it has under way answered.
const RETURN_TIME_MAX: Duration = Duration::from_secs(60);

/// The topic that is under load, and its partitions.
pub const TOPIC: &str = "under-load";
pub const PARTITIONS: u64 = 6;

struct Place {
    life: u64,
    address: Option<SocketAddr>,
    /// Since when it is time to end. A broker serves then.
    ending: Option<Instant>,
    abandoned: bool,
}

/// See the module.
pub struct Shared {
    history: Mutex<History>,
    place: Mutex<Place>,
    moved: Condvar,
    begin: Instant,
    findings: Mutex<Findings>,
    producers: Mutex<BTreeSet<i64>>,
    acked_batches: AtomicU64,
    connections: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(history: History, begin: Instant) -> Shared {
        Shared {
            history: Mutex::new(history),
            place: Mutex::new(Place { life: 0, address: None, ending: None, abandoned: false }),
            moved: Condvar::new(),
            begin,
            findings: Mutex::default(),
            producers: Mutex::default(),
            acked_batches: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// Pushes what `events` makes in one piece; `at_us` is the same for all.
    pub fn record(&self, events: impl FnOnce(&mut dyn FnMut(Event))) {
        let mut history = lock(&self.history);
        let at_us = self.begin.elapsed().as_micros() as u64;
        events(&mut |event| {
            if let Event::SendOk { .. } = event {
                self.acked_batches.fetch_add(1, Ordering::Relaxed);
            }
            history.push(at_us, event);
        });
    }

    /// A number for a new operation.
    pub fn next_op(&self) -> Op {
        lock(&self.history).next_op()
    }

    /// How many batches were acknowledged so far: a measure of the load that does not depend on the machine.
    pub fn acked_batches(&self) -> u64 {
        self.acked_batches.load(Ordering::Relaxed)
    }

    /// How many connections the clients have opened: one each, where none broke.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// An answer that no correct broker gives, in words.
    pub fn refuse(&self, what: String) {
        lock(&self.findings).refused.push(what);
    }

    /// Something acknowledged, or seen, that does not stand, in words.
    pub fn broken(&self, what: String) {
        lock(&self.findings).broken.push(what);
    }

    /// A change that must stand from now on was acknowledged.
    pub fn changed(&self) {
        lock(&self.findings).changes += 1;
    }

    /// How many there were so far.
    pub fn changes(&self) -> u64 {
        lock(&self.findings).changes
    }

    /// So many records have been compacted away where somebody looked.
    pub fn compacted(&self, records: u64) {
        lock(&self.findings).compacted += records;
    }

    /// The broker gave this id to a producer: nobody may have had it before.
    pub fn producer_given(&self, id: i64) {
        if !lock(&self.producers).insert(id) {
            self.broken(format!("producer id {id} was given to two producers"));
        }
    }

    /// Takes everything out once the threads have ended.
    pub fn into_parts(self) -> (History, Findings) {
        let history = self.history.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        findings.refused.sort();
        (history, findings)
    }

    /// The broker serves at `address`.
    pub fn serve_at(&self, address: SocketAddr) {
        let mut place = lock(&self.place);
        place.life += 1;
        place.address = Some(address);
        self.moved.notify_all();
    }

    /// The broker is dead.
    pub fn gone(&self) {
        lock(&self.place).address = None;
    }

    /// Senders finish what is under way and end; readers end.
    pub fn end(&self) {
        lock(&self.place).ending = Some(Instant::now());
        self.moved.notify_all();
    }

    /// True once [`Shared::end`] was called.
    pub fn ending(&self) -> bool {
        lock(&self.place).ending.is_some()
    }

    /// No broker will come any more.
    pub fn abandon(&self) {
        let mut place = lock(&self.place);
        (place.ending, place.abandoned) = (Some(Instant::now()), true);
        self.moved.notify_all();
    }

    /// Connects to the broker and returns the number of its life, waiting for one later than `seen`: a connection breaks a moment
    /// before the kill is known here. `None` when it is time to end; a sender with unanswered requests is `patient` and waits on
    /// for [`RETURN_TIME_MAX`].
    pub fn connect(&self, seen: u64, patient: bool) -> Option<(Connection, u64)> {
        let begin = Instant::now();
        loop {
            let mut place = lock(&self.place);
            let address = loop {
                let waited = begin.elapsed();
                // Not from the break on: a slow machine may have taken longer to come back.
                let is_over = place.ending.is_some_and(|since| !patient || since.elapsed() > RETURN_TIME_MAX);
                if place.abandoned || is_over {
                    return None;
                }
                match place.address {
                    Some(address) if place.life > seen || waited > SAME_LIFE_AFTER => break address,
                    _ => place = self.wait(place),
                }
            };
            let life = place.life;
            drop(place);
            match Connection::open(address, ANSWER_TIME_MAX) {
                Ok(connection) => {
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    return Some((connection, life));
                }
                // It was killed between the two lines above: look again.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn wait<'a>(&self, place: MutexGuard<'a, Place>) -> MutexGuard<'a, Place> {
        self.moved
            .wait_timeout(place, Duration::from_millis(200))
            .map_or_else(|error| error.into_inner().0, |(place, _)| place)
    }
}
