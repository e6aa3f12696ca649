// SPDX-License-Identifier: Apache-2.0
//! Clients that read along, and the last full reading. What they saw goes into the history: nothing seen may vanish or change.

use super::shared::{PARTITIONS, Shared, TOPIC};
use crate::wire::{self, Api, Code, Connection, EARLIEST, FetchBounds, FetchSession, Fetched, WireError};
use sim::checker::NOT_A_VALUE;
use sim::history::{Event, Op};
use sim::rng::Rng;
use sim::value;

/// Nobody waits long: the moment of the fault matters.
const BOUNDS: FetchBounds =
    FetchBounds { wait_ms_max: 20, bytes_min: 1, bytes_max: 50 * 1024 * 1024, partition_bytes_max: 1024 * 1024 };

fn known(mark: i64) -> Option<u64> {
    u64::try_from(mark).ok()
}

/// How one reader behaves.
#[derive(Clone, Copy, Debug)]
pub struct ReaderPlan {
    /// Its number in the history.
    pub client: u32,
    /// It keeps a session of fetches, whose answers leave out what has nothing new.
    pub in_session: bool,
    /// After a fault it goes on where the partitions end, not where it was.
    pub from_tail: bool,
}

/// Reads along until the stretch ends, now and then again from an earlier offset.
pub fn run(plan: ReaderPlan, shared: &Shared, mut rng: Rng) {
    let mut positions: Vec<(i32, i64)> = (0..PARTITIONS as i32).map(|partition| (partition, 0)).collect();
    let (mut life, mut session) = (0, FetchSession::NEW);
    while let Some((mut connection, now)) = shared.connect(life, false) {
        life = now;
        for (_, next) in &mut positions {
            if rng.once_in(4) {
                *next = rng.below(*next as u64 + 1) as i64;
            }
        }
        let outcome = if plan.in_session {
            run_in_session(&mut connection, plan.client, shared, &mut session, &mut positions)
        } else {
            run_at_will(&mut connection, plan, shared, &mut rng, &mut positions)
        };
        match outcome {
            Ok(()) => return,
            Err(WireError::Io(_)) => {}
            Err(error) => shared.refuse(format!("reader {}: {error}", plan.client)),
        }
    }
}

/// Any neighbouring partitions with each fetch, no session.
fn run_at_will(
    connection: &mut Connection,
    plan: ReaderPlan,
    shared: &Shared,
    rng: &mut Rng,
    positions: &mut [(i32, i64)],
) -> Result<(), WireError> {
    if plan.from_tail {
        for (partition, next) in &mut *positions {
            *next = look(connection, plan.client, shared, *partition)?;
        }
    }
    while !shared.ending() {
        let from = rng.below(PARTITIONS) as usize;
        let to = (from + rng.within(1..PARTITIONS + 1) as usize).min(positions.len());
        let part = &mut positions[from..to];
        read(connection, plan.client, shared, (TOPIC, 0), part, BOUNDS)?;
        if plan.from_tail && rng.once_in(50) {
            look(connection, plan.client, shared, rng.below(PARTITIONS) as i32)?;
        }
    }
    Ok(())
}

/// All partitions with the first fetch, and then only those whose position has changed.
fn run_in_session(
    connection: &mut Connection,
    client: u32,
    shared: &Shared,
    session: &mut FetchSession,
    positions: &mut [(i32, i64)],
) -> Result<(), WireError> {
    if session.id != 0 {
        // The broker that knew it is dead.
        connection.send_fetch_in(*session, TOPIC, &[], BOUNDS)?;
        match connection.receive_fetch_in() {
            Err(WireError::Refused { code: Code::FETCH_SESSION_ID_NOT_FOUND, .. }) => {}
            Err(error @ WireError::Io(_)) => return Err(error),
            _ => shared.refuse(format!("reader {client}: a session of a dead broker goes on")),
        }
    }
    *session = FetchSession::NEW;
    let mut told: Vec<(i32, i64)> = Vec::new();
    while !shared.ending() {
        let changed: Vec<(i32, i64)> = positions.iter().copied().filter(|at| !told.contains(at)).collect();
        told = positions.to_vec();
        let ops = begin(client, shared, 0, positions);
        let sent = connection.send_fetch_in(*session, TOPIC, &changed, BOUNDS).map_err(WireError::Io);
        let fetched = sent.and_then(|()| connection.receive_fetch_in());
        let parts = fetched.as_ref().map(|(_, parts)| &parts[..]).map_err(|_| ());
        end(shared, &ops, positions, parts.unwrap_or_default());
        let (id, _) = fetched?;
        session.id = id;
        session.epoch = if id == 0 { 0 } else { session.epoch + 1 };
        if id == 0 {
            // The broker keeps no session now: all positions again.
            told.clear();
        }
    }
    Ok(())
}

/// Asks for both ends of a partition of the topic under load, and answers the upper one.
fn look(connection: &mut Connection, client: u32, shared: &Shared, partition: i32) -> Result<i64, WireError> {
    let op = shared.next_op();
    shared.record(|push| push(Event::Look { op, client, partition: partition as u64 }));
    let start = connection.list_offset(TOPIC, partition, EARLIEST);
    let high = start.and_then(|(start, _)| Ok((start, connection.list_offset(TOPIC, partition, wire::LATEST)?.0)));
    shared.record(|push| {
        push(match &high {
            Ok((start, high)) => Event::LookOk { op, start: known(*start), high: known(*high) },
            Err(_) => Event::LookFail { op },
        });
    });
    high.map(|(_, high)| high)
}

/// Says in the history that these positions are being read.
fn begin(client: u32, shared: &Shared, first: u64, positions: &[(i32, i64)]) -> Vec<Op> {
    let ops: Vec<Op> = positions.iter().map(|_| shared.next_op()).collect();
    shared.record(|push| {
        for (op, (partition, next)) in ops.iter().zip(positions) {
            push(Event::Read { op: *op, client, partition: first + *partition as u64, from: *next as u64 });
        }
    });
    ops
}

/// Says in the history what came, and moves the positions on. Returns how many records that were.
fn end(shared: &Shared, ops: &[Op], positions: &mut [(i32, i64)], parts: &[Fetched<'_>]) -> u64 {
    let mut records = 0;
    let mut events = Vec::new();
    for (op, (partition, next)) in ops.iter().zip(positions) {
        match parts.iter().find(|part| part.partition == *partition) {
            Some(part) => records += saw(&mut events, *op, part, next),
            None => events.push(Event::ReadFail { op: *op }),
        }
    }
    shared.record(|push| events.into_iter().for_each(push));
    records
}

/// One Fetch of `positions` (partition, next offset), moved on by what came. Returns how many records that were. Partition `n` of
/// the topic is called `first + n` in the history.
fn read(
    connection: &mut Connection,
    client: u32,
    shared: &Shared,
    (topic, first): (&str, u64),
    positions: &mut [(i32, i64)],
    bounds: FetchBounds,
) -> Result<u64, WireError> {
    let ops = begin(client, shared, first, positions);
    let fetched = connection.send_fetch(topic, positions, bounds).map_err(WireError::Io);
    let fetched = fetched.and_then(|()| connection.receive_fetch());
    let parts = fetched.as_ref().map(|parts| &parts[..]).map_err(|_| ());
    let records = end(shared, &ops, positions, parts.unwrap_or_default());
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
            records += read(connection, 0, shared, (topic, first), &mut position, bounds)?;
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
