// SPDX-License-Identifier: Apache-2.0
//! Reads everything from a broker and holds it against what was written.
//!
//! Owns: what is right, refused, missing and wrong. Must not know: where the damage is.

use super::directory::{Record, Written};
use crate::wire::{self, Code, Connection, EARLIEST, FetchBounds, LATEST, WireError};
use sim::value;
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Sentences about one directory: what is wrong once is wrong many times.
const WRONG_MAX: usize = 5;

/// What a full reading showed.
#[derive(Default)]
pub struct Seen {
    /// Records that the broker refuses to read because they are damaged, and their bytes.
    pub refused_records: u64,
    pub refused_bytes: u64,
    /// Records that are not there (allowed after a salvage that says so).
    pub missing_records: u64,
    /// Partitions that do not exist (the same).
    pub absent: Vec<String>,
    pub wrong: Vec<String>,
}

impl Seen {
    fn wrong(&mut self, sentence: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(sentence);
        }
    }
}

/// From a damaged directory: every record is served, or refused as damaged.
pub fn all(address: SocketAddr, written: &Written) -> Result<Seen, String> {
    let mut seen = read(address, written)?;
    if let Some(name) = seen.absent.first() {
        let sentence = format!("{name} does not exist");
        seen.wrong(sentence);
    }
    if seen.missing_records > 0 {
        let missing = seen.missing_records;
        seen.wrong(format!("{missing} records are not there, and no error says so"));
    }
    Ok(seen)
}

/// From a salvaged directory: every record is served, or not there.
pub fn salvaged(address: SocketAddr, written: &Written) -> Result<Seen, String> {
    let mut seen = read(address, written)?;
    if seen.refused_records > 0 {
        let refused = seen.refused_records;
        seen.wrong(format!("{refused} records cannot be read"));
    }
    Ok(seen)
}

fn read(address: SocketAddr, written: &Written) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut connection = Connection::open(address, PATIENCE).map_err(|error| error.to_string())?;
    for topic in &written.topics {
        for (partition, records) in topic.partitions.iter().enumerate() {
            let name = format!("{} partition {partition}", topic.name);
            match ends(&mut connection, &topic.name, partition as i32) {
                Ok((start, end)) if start >= 0 && start <= end && end <= records.len() as i64 => {
                    seen.missing_records += records.len() as u64 - (end - start) as u64;
                    partition_records(&mut connection, &topic.name, partition as i32, (start, end), records, &mut seen)
                        .map_err(|error| format!("{name}: {error}"))?;
                }
                Ok((start, end)) => seen.wrong(format!("{name} has offsets {start}..{end} of {}", records.len())),
                Err(WireError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. }) => {
                    seen.missing_records += records.len() as u64;
                    seen.absent.push(name);
                }
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
    }
    Ok(seen)
}

fn ends(connection: &mut Connection, topic: &str, partition: i32) -> Result<(i64, i64), WireError> {
    let (start, _) = connection.list_offset(topic, partition, EARLIEST)?;
    let (end, _) = connection.list_offset(topic, partition, LATEST)?;
    Ok((start, end))
}

fn partition_records(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    (start, end): (i64, i64),
    records: &[Record],
    seen: &mut Seen,
) -> Result<(), WireError> {
    let bounds = FetchBounds { wait_ms_max: 0, bytes_min: 0, ..FetchBounds::default() };
    let mut next = start;
    while next < end {
        connection.send_fetch(topic, &[(partition, next)], bounds)?;
        let from = next;
        let fetched = connection.receive_fetch()?;
        let Some(part) = fetched.first() else { return Ok(()) };
        match part.error {
            Code::NONE => {
                let walked = wire::records(part.records, from, |offset, bytes| {
                    // What lies between was left out.
                    seen.missing_records += (offset - next).max(0) as u64;
                    let number = bytes.and_then(value::number_of);
                    let expected = usize::try_from(offset).ok().and_then(|offset| records.get(offset));
                    if number != expected.map(|record| record.number) {
                        seen.wrong(format!("{topic} partition {partition}: offset {offset} holds {number:?}"));
                    }
                    next = offset + 1;
                });
                match walked {
                    // Nothing more although the end is further on.
                    Ok(after) if after <= from => {
                        seen.missing_records += (end - from) as u64;
                        return Ok(());
                    }
                    Ok(after) => next = after,
                    Err(why) => {
                        seen.wrong(format!("{topic} partition {partition}: at offset {from}: {why}"));
                        return Ok(());
                    }
                }
            }
            Code::CORRUPT_MESSAGE => {
                seen.refused_records += 1;
                seen.refused_bytes += records.get(from as usize).map_or(0, |record| u64::from(record.bytes));
                next = from + 1;
            }
            code => {
                seen.wrong(format!("{topic} partition {partition}: offset {from} is answered {code}"));
                return Ok(());
            }
        }
    }
    Ok(())
}
