// SPDX-License-Identifier: Apache-2.0
//! Clients that read along, and the last full reading. What they saw goes into the history: nothing seen may vanish or change.

use super::shared::{PARTITIONS, Shared, TOPIC};
use crate::wire::{self, Api, Code, Connection, EARLIEST, FetchBounds, Fetched, WireError};
use sim::checker::NOT_A_VALUE;
use sim::history::{Event, Op};
use sim::rng::Rng;
use sim::value;

fn known(mark: i64) -> Option<u64> {
    u64::try_from(mark).ok()
}

/// Reads along until the stretch ends, now and then again from an earlier offset.
pub fn run(client: u32, shared: &Shared, mut rng: Rng) {
    let mut positions: Vec<(i32, i64)> = (0..PARTITIONS as i32).map(|partition| (partition, 0)).collect();
    let mut life = 0;
    while let Some((mut connection, now)) = shared.connect(life, false) {
        life = now;
        for (_, next) in &mut positions {
            if rng.once_in(4) {
                *next = rng.below(*next as u64 + 1) as i64;
            }
        }
        let bounds = FetchBounds { wait_ms_max: 20, ..FetchBounds::default() };
        let broken = loop {
            if shared.ending() {
                return;
            }
            let from = rng.below(PARTITIONS) as usize;
            let to = (from + rng.within(1..PARTITIONS + 1) as usize).min(positions.len());
            match read(&mut connection, client, shared, TOPIC, 0, &mut positions[from..to], bounds) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        if !matches!(broken, WireError::Io(_)) {
            shared.refuse(format!("reader {client}: {broken}"));
        }
    }
}

/// One Fetch of `positions` (partition, next offset), moved on by what came. Returns how many records that were. Partition `n` of
/// the topic is called `first + n` in the history.
fn read(
    connection: &mut Connection,
    client: u32,
    shared: &Shared,
    topic: &str,
    first: u64,
    positions: &mut [(i32, i64)],
    bounds: FetchBounds,
) -> Result<u64, WireError> {
    let ops: Vec<Op> = positions.iter().map(|_| shared.next_op()).collect();
    shared.record(|push| {
        for (op, (partition, next)) in ops.iter().zip(&*positions) {
            push(Event::Read { op: *op, client, partition: first + *partition as u64, from: *next as u64 });
        }
    });
    let fetched = connection.send_fetch(topic, positions, bounds).map_err(WireError::Io);
    let fetched = fetched.and_then(|()| connection.receive_fetch());
    let mut records = 0;
    let mut events = Vec::new();
    for (op, (partition, next)) in ops.iter().zip(positions) {
        let part = fetched.as_ref().ok().and_then(|parts| parts.iter().find(|part| part.partition == *partition));
        match part {
            Some(part) => records += saw(&mut events, *op, part, next),
            None => events.push(Event::ReadFail { op: *op }),
        }
    }
    shared.record(|push| events.into_iter().for_each(push));
    fetched.map(|_| records)
}

/// Turns one partition's answer into events.
fn saw(events: &mut Vec<Event>, op: Op, part: &Fetched<'_>, next: &mut i64) -> u64 {
    let (start, high) = (known(part.log_start), known(part.high_watermark));
    match part.error {
        Code::NONE => {}
        Code::OFFSET_OUT_OF_RANGE => {
            events.push(Event::ReadOutOfRange { op, start, high });
            return 0;
        }
        Code::CORRUPT_MESSAGE => {
            events.push(Event::ReadCorrupt { op });
            return 0;
        }
        Code::UNKNOWN_TOPIC_OR_PARTITION => {
            events.push(Event::ReadAbsent { op });
            return 0;
        }
        _ => {
            events.push(Event::ReadFail { op });
            return 0;
        }
    }
    let mut run: Option<(u64, u64, u32)> = None;
    let mut records = 0;
    let walked = wire::records(part.records, *next, |offset, bytes| {
        let (offset, number) = (offset as u64, bytes.and_then(value::number_of).unwrap_or(NOT_A_VALUE));
        records += 1;
        match &mut run {
            Some((base, first, count))
                if offset == *base + u64::from(*count)
                    && number != NOT_A_VALUE
                    && number == *first + u64::from(*count) =>
            {
                *count += 1;
            }
            _ => {
                let before = run.replace((offset, number, 1));
                events.extend(before.map(|(offset, first, count)| Event::Saw { op, offset, first, count }));
            }
        }
    });
    events.extend(run.map(|(offset, first, count)| Event::Saw { op, offset, first, count }));
    match walked {
        Ok(after) => {
            *next = after;
            events.push(Event::ReadOk { op, start, high });
        }
        // Bytes that no reader could take were served as good ones.
        Err(_) => events.push(Event::Saw { op, offset: *next as u64, first: NOT_A_VALUE, count: 1 }),
    }
    records
}

/// Reads everything of a topic from its start to its end. Partition `n` is called `first + n` in the history.
pub fn drain(
    connection: &mut Connection,
    shared: &Shared,
    topic: &str,
    first: u64,
    partitions: i32,
) -> Result<u64, WireError> {
    let mut records = 0;
    for partition in 0..partitions {
        let (begin, _) = connection.list_offset(topic, partition, EARLIEST)?;
        let mut position = [(partition, begin)];
        let (mut end, _) = connection.list_offset(topic, partition, wire::LATEST)?;
        // Once more where the end is thought to be: the answer's watermark says whether it is.
        end += 1;
        while position[0].1 < end {
            let bounds = FetchBounds { wait_ms_max: 0, ..FetchBounds::default() };
            let before = position[0].1;
            records += read(connection, 0, shared, topic, first, &mut position, bounds)?;
            if position[0].1 == before {
                if before + 1 < end {
                    return Err(WireError::Malformed {
                        api: Api::Fetch,
                        why: "the partition ends before its end offset",
                    });
                }
                break;
            }
        }
    }
    Ok(records)
}
