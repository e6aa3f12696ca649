// SPDX-License-Identifier: Apache-2.0
//! Keepers: clients that each change some things of their own, one request at a time, and know after every fault what must be there.
//!
//! Owns: the life of a keeper through faults; when it looks. Must not know: what is kept ([`Keeper`]).
//!
//! Nobody else changes what a keeper owns, so what it knows is exact: what was acknowledged stands, and of the one change that a
//! fault left without an answer either all is there or nothing. What was seen afterwards has then been decided, for ever. A
//! keeper looks as soon as a new broker answers, now and then in between, and once more at the end.

pub mod groups;
pub mod keyed;
pub mod settings;
pub mod stamped;
pub mod topics;
pub mod writer;

use super::shared::Shared;
use crate::wire::{self, Code, Connection, FetchBounds, WireError};
use bytes::Bytes;
use sim::rng::Rng;
use std::thread::Scope;
use std::time::Duration;

/// Requests in one life are this far apart.
const PACE_US: std::ops::Range<u64> = 500..6_000;
/// Changes between two looks at a broker that lives.
const LOOK_ONE_IN: u64 = 40;
/// So often a keeper fails at its last look, at a broker that lives; then it says so and ends.
const LAST_LOOKS_MAX: u32 = 20;
/// A broker that cannot now is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How many there are.
pub const KEEPERS: u32 = 5;

/// Who keeps something.
pub trait Keeper {
    /// Sees whether everything is as it must be, and what became of the change that nobody told about.
    ///
    /// # Errors
    /// Of the connection. What is wrong goes to `shared`.
    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError>;

    /// Changes something.
    ///
    /// # Errors
    /// Of the connection, or the broker could not say: what was asked is in doubt.
    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError>;
}

/// Starts all of them; they end when `shared` does. `named` is part of the names of what they keep.
pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared, seed: u64, named: u32) {
    let rng = move |part| Rng::of(seed, u64::MAX - part);
    scope.spawn(move || run(&mut topics::Topics::new(named), shared, rng(0)));
    scope.spawn(move || run(&mut stamped::Stamped::new(named), shared, rng(1)));
    scope.spawn(move || run(&mut keyed::Keyed::new(named), shared, rng(2)));
    scope.spawn(move || run(&mut groups::Groups::new(named), shared, rng(3)));
    scope.spawn(move || run(&mut settings::Settings::new(named), shared, rng(4)));
}

fn run(keeper: &mut impl Keeper, shared: &Shared, mut rng: Rng) {
    let (mut seen, mut broke, mut last_looks) = (0, false, 0);
    while let Some((mut connection, life)) = shared.connect(seen, true) {
        if life == seen && broke && !shared.ending() {
            // What was sent to this broker may still be under way: only its death decides.
            continue;
        }
        seen = life;
        broke = false;
        match live(keeper, &mut connection, shared, &mut rng) {
            Ok(()) => break,
            Err(WireError::Io(_)) => broke = true,
            Err(WireError::Refused { code, .. }) if code.coordinator_busy() => std::thread::sleep(BUSY_PAUSE),
            Err(error) => shared.refuse(format!("a keeper: {error}")),
        }
        last_looks += u32::from(shared.ending());
        if last_looks > LAST_LOOKS_MAX {
            return shared.refuse("a keeper could not look at what it keeps".to_owned());
        }
    }
}

/// Works on one connection until the stretch ends.
fn live(
    keeper: &mut impl Keeper,
    connection: &mut Connection,
    shared: &Shared,
    rng: &mut Rng,
) -> Result<(), WireError> {
    keeper.look(connection, shared)?;
    while !shared.ending() {
        keeper.change(connection, shared, rng)?;
        if rng.once_in(LOOK_ONE_IN) {
            keeper.look(connection, shared)?;
        }
        std::thread::sleep(Duration::from_micros(rng.within(PACE_US)));
    }
    keeper.look(connection, shared)
}

/// What became of a change.
enum Told {
    /// It is done, and stands.
    Done,
    /// It was refused and has no effect.
    Refused,
}

/// Sorts an answer to a change.
///
/// # Errors
/// Nobody told what became of it.
fn told<T>(answer: Result<T, WireError>, what: &str, shared: &Shared) -> Result<Told, WireError> {
    match answer {
        Ok(_) => {
            shared.changed();
            Ok(Told::Done)
        }
        Err(WireError::Refused { code, api }) if code == Code::REQUEST_TIMED_OUT => {
            Err(WireError::Refused { code, api })
        }
        Err(WireError::Refused { code, .. }) => {
            if code.coordinator_busy() {
                std::thread::sleep(BUSY_PAUSE);
            } else {
                shared.refuse(format!("{what} was answered {code}"));
            }
            Ok(Told::Refused)
        }
        Err(error) => Err(error),
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    offset: i64,
    timestamp_ms: i64,
    /// The broker's clock, not the sender's.
    stamped: bool,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

/// Reads a partition from one offset to another.
fn read(connection: &mut Connection, topic: &str, partition: i32, from: i64, end: i64) -> Result<Vec<Read>, WireError> {
    let (mut read, mut next) = (Vec::new(), from);
    while next < end {
        let bounds = FetchBounds { wait_ms_max: 0, ..FetchBounds::default() };
        connection.send_fetch(topic, &[(partition, next)], bounds)?;
        let fetched = connection.receive_fetch()?;
        let malformed = |why| WireError::Malformed { api: wire::Api::Fetch, why };
        let part = fetched.first().ok_or(malformed("no answer for the partition"))?;
        if part.error != Code::NONE {
            return Err(WireError::Refused { api: wire::Api::Fetch, code: part.error });
        }
        let after = wire::whole_records(part.records, next, |offset, record, header| {
            let copied = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
            read.push(Read {
                offset,
                timestamp_ms: record.timestamp_ms,
                stamped: header.log_append_time(),
                key: copied(record.key),
                value: copied(record.value),
            });
        })
        .map_err(malformed)?;
        if after == next {
            return Err(malformed("the partition ends before its end offset"));
        }
        next = after;
    }
    read.retain(|record| record.offset < end);
    Ok(read)
}
