// SPDX-License-Identifier: Apache-2.0
//! The clients that live on through the faults of a rig: senders, readers, committers, all over one topic.
//!
//! Owns: how many of each, and their sizes. Must not know: which faults come.

use super::committer::{self, CommitterPlan};
use super::reader;
use super::sender::{self, SenderPlan};
use super::shared::{PARTITIONS, Shared, TOPIC};
use crate::broker::Broker;
use crate::wire::{Code, Connection, LATEST, WireError};
use sim::rng::Rng;
use sim::value;
use std::thread::Scope;
use std::time::Duration;

/// Of each sender: idempotent, most records of a batch, most bytes of a record.
const SENDERS: [(bool, u64, u64); 6] =
    [(true, 4, 400), (true, 40, 200), (true, 12, 4_000), (true, 1, 100), (false, 8, 300), (false, 1, 1_000)];
const READERS: u32 = 2;
/// Of each committer: its group, and its place as a member.
const COMMITTERS: [(u32, Option<u32>); 4] = [(0, None), (1, None), (2, Some(0)), (2, Some(1))];
/// Numbers that the clients have in the history, from the first on.
pub const CLIENTS: u32 = SENDERS.len() as u32 + READERS + COMMITTERS.len() as u32;

/// Starts them; they end when `shared` does.
pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared, seed: u64, first_client: u32) {
    let mut clients = first_client..;
    let mut next = || {
        let client = clients.next().unwrap_or_default();
        (client, Rng::of(seed, u64::from(client)))
    };
    for (idempotent, batch_records_max, record_bytes_max) in SENDERS {
        let (client, rng) = next();
        let first_number = value::first_of_client(client);
        let plan = SenderPlan { client, first_number, idempotent, batch_records_max, record_bytes_max };
        scope.spawn(move || sender::run(plan, shared, rng));
    }
    for _ in 0..READERS {
        let (client, rng) = next();
        scope.spawn(move || reader::run(client, shared, rng));
    }
    for (group, slot) in COMMITTERS {
        let (client, rng) = next();
        let plan = CommitterPlan { client, group, slot };
        scope.spawn(move || committer::run(plan, shared, rng));
    }
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
