// SPDX-License-Identifier: Apache-2.0
//! The directory that is damaged: made by the real broker under a load that leaves every kind of file, and what stands in it.
//!
//! Owns: the load. Must not know: layouts.
//! At the end the broker is killed, started, and killed again: a start makes what it found durable and proves it, so nothing that
//! was acknowledged can be taken for the torn end of the last flush.

use crate::broker::{Broker, BrokerPlan, SMALL_SETTINGS};
use crate::wire::{Code, Connection, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use sim::rng::Rng;
use sim::value;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Acknowledged bytes in all.
const LOAD_BYTES: u64 = 14 * 1024 * 1024;
const BATCH_RECORDS_MAX: u64 = 60;
const RECORD_BYTES_MAX: u64 = 4_000;
/// The largest batch there is.
pub const BATCH_BYTES_MAX: u64 = BATCH_RECORDS_MAX * RECORD_BYTES_MAX;

/// One topic, and the numbers of the records of each partition: the record at an offset is the one of that index.
pub struct WrittenTopic {
    pub name: String,
    pub partitions: Vec<Vec<Record>>,
}

#[derive(Clone, Copy)]
pub struct Record {
    pub number: u64,
    pub bytes: u32,
}

/// Everything that was acknowledged.
pub struct Written {
    pub topics: Vec<WrittenTopic>,
}

/// How the broker is started on such a directory.
pub fn broker(program: &Path, path: &Path, arguments: &[&str]) -> BrokerPlan {
    let mut plan = BrokerPlan::new(program, path);
    plan.environment = SMALL_SETTINGS.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    plan.arguments = arguments.iter().map(|word| word.to_string()).collect();
    plan
}

/// Makes one.
pub fn make(program: &Path, path: &Path, shards: u32, mut rng: Rng) -> Result<Written, String> {
    let shards = shards.to_string();
    let plan = broker(program, path, &["--shards", &shards]);
    let start = || Broker::start(&plan, PATIENCE).map_err(|error| error.to_string());
    let mut written = Written { topics: Vec::new() };
    let mut number = 0;
    let mut bytes = 0;
    let mut running = start()?;
    let mut connection = Connection::open(running.address, PATIENCE).map_err(|error| error.to_string())?;
    for (name, partitions) in [("few-and-large", 2), ("many-and-small", 12), ("one", 1)] {
        connection.create_topic(name, partitions, &[]).map_err(|error| error.to_string())?;
        let partitions = vec![Vec::new(); partitions as usize];
        written.topics.push(WrittenTopic { name: name.to_owned(), partitions });
    }
    while bytes < LOAD_BYTES {
        let at = rng.below(written.topics.len() as u64) as usize;
        let topic = &mut written.topics[at];
        let partition = rng.below(topic.partitions.len() as u64) as usize;
        let size = if topic.name == "few-and-large" { RECORD_BYTES_MAX } else { 200 };
        let records: Vec<Record> = (0..rng.within(1..BATCH_RECORDS_MAX + 1))
            .map(|_| {
                number += 1;
                Record { number, bytes: rng.within(20..size) as u32 }
            })
            .collect();
        bytes += records.iter().map(|record| u64::from(record.bytes)).sum::<u64>();
        publish(&mut connection, topic, partition, &records)?;
        // Restarts along the way: lives, torn ends, copies forward. A clean stop leaves a checkpoint.
        if rng.once_in(700) {
            match rng.once_in(2) {
                true => running.kill().map_err(|error| error.to_string())?,
                false => drop(running.stop(PATIENCE).map_err(|error| error.to_string())?),
            }
            running = start()?;
            connection = Connection::open(running.address, PATIENCE).map_err(|error| error.to_string())?;
        }
    }
    running.kill().map_err(|error| error.to_string())?;
    start()?.kill().map_err(|error| error.to_string())?;
    Ok(written)
}

fn publish(
    connection: &mut Connection,
    topic: &mut WrittenTopic,
    partition: usize,
    records: &[Record],
) -> Result<(), String> {
    let timestamp_ms = now_ms();
    let new: Vec<NewRecord> = records
        .iter()
        .map(|record| NewRecord {
            value: Some(Bytes::from(value::payload(record.number, record.bytes as usize))),
            timestamp_ms,
            ..NewRecord::default()
        })
        .collect();
    let batch = batch::build(&new, Numbering::NONE);
    let mut produced = Vec::new();
    connection
        .send_produce(&topic.name, -1, &[(partition as i32, batch.bytes())])
        .map_err(|error| error.to_string())?;
    connection.receive_produce(&mut produced).map_err(|error| error.to_string())?;
    let expected = topic.partitions[partition].len() as i64;
    match produced.first() {
        Some(answer) if answer.error == Code::NONE && answer.base_offset == expected => {
            topic.partitions[partition].extend_from_slice(records);
            Ok(())
        }
        answer => Err(format!("a batch of {} partition {partition} was answered {answer:?}", topic.name)),
    }
}
