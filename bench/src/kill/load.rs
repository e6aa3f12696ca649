// SPDX-License-Identifier: Apache-2.0
//! The clients that live on through the faults of a rig: senders, readers, committers, all over one topic; and, where a rig asks for
//! them, keepers of all else (`keep.rs`).
//!
//! Owns: how many of each, and their sizes. Must not know: which faults come.

use super::committer::{self, CommitterPlan};
use super::keep;
use super::reader::{self, ReaderPlan};
use super::sender::{self, SenderPlan};
use super::shared::{PARTITIONS, Shared, TOPIC};
use crate::broker::Broker;
use crate::wire::{Code, Connection, LATEST, WireError};
use sim::rng::Rng;
use sim::value;
use std::thread::Scope;
use std::time::Duration;

/// Of each sender: idempotent, most records of a batch, most bytes of a record, whether it compresses.
const SENDERS: [(bool, u64, u64, bool); 7] = [
    (true, 4, 400, false),
    (true, 40, 200, false),
    (true, 12, 4_000, false),
    (true, 1, 100, false),
    (false, 8, 300, false),
    (false, 1, 1_000, false),
    (true, 16, 300, true),
];
/// Beside keepers: batches so large that the log lends its slots to segments.
const LARGE_SENDER: (bool, u64, u64, bool) = (true, 3, 150_000, false);
/// Of each reader: in a session of fetches, from the tail.
const READERS: [(bool, bool); 3] = [(false, false), (true, false), (false, true)];
/// Of each committer: its group, and its place as a member.
const COMMITTERS: [(u32, Option<u32>); 4] = [(0, None), (1, None), (2, Some(0)), (2, Some(1))];
/// Numbers that the clients have in the history, from the first on.
pub const CLIENTS: u32 = (SENDERS.len() + READERS.len() + COMMITTERS.len()) as u32;
/// The same with keepers and what comes with them.
pub const CLIENTS_AND_KEEPERS: u32 = CLIENTS + 1 + keep::KEEPERS;

/// Starts them; they end when `shared` does.
pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared, seed: u64, first_client: u32) {
    let mut clients = first_client..;
    let mut next = || {
        let client = clients.next().unwrap_or_default();
        (client, Rng::of(seed, u64::from(client)))
    };
    for sender in SENDERS {
        let (client, rng) = next();
        start_sender(scope, shared, sender, client, rng);
    }
    for (in_session, from_tail) in READERS {
        let (client, rng) = next();
        scope.spawn(move || reader::run(ReaderPlan { client, in_session, from_tail }, shared, rng));
    }
    for (group, slot) in COMMITTERS {
        let (client, rng) = next();
        let plan = CommitterPlan { client, group, slot };
        scope.spawn(move || committer::run(plan, shared, rng));
    }
}

fn start_sender<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    (idempotent, batch_records_max, record_bytes_max, compresses): (bool, u64, u64, bool),
    client: u32,
    rng: Rng,
) {
    let first_number = value::first_of_client(client);
    let plan = SenderPlan { client, first_number, idempotent, batch_records_max, record_bytes_max, compresses };
    scope.spawn(move || sender::run(plan, shared, rng));
}

/// Starts the keepers too, and a sender of large batches. What they keep has names of its own, after the number of the first client.
pub fn start_with_keepers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    seed: u64,
    first_client: u32,
) {
    start(scope, shared, seed, first_client);
    let client = first_client + CLIENTS;
    start_sender(scope, shared, LARGE_SENDER, client, Rng::of(seed, u64::from(client)));
    keep::start(scope, shared, seed, first_client);
}

/// From the start of the process to its first answer about data, the topic made when it is not there yet.
pub fn first_answer(broker: &Broker, patience: Duration) -> Result<Duration, WireError> {
    let mut connection = Connection::open(broker.address, patience)?;
    match connection.list_offset(TOPIC, 0, LATEST) {
        Err(WireError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. }) => {
            connection.create_topic(TOPIC, PARTITIONS as i32, &[])?
        }
        answer => drop(answer?),
    }
    Ok(broker.started.elapsed())
}

/// Reads everything that the clients wrote and committed. `client` is the number of who asks.
pub fn read_everything(connection: &mut Connection, shared: &Shared, client: u32) -> Result<(), WireError> {
    reader::drain(connection, shared, TOPIC, 0, PARTITIONS as i32)?;
    for group in 0..committer::GROUPS {
        committer::recall(connection, shared, client, group)?;
    }
    Ok(())
}
