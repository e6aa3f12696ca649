// SPDX-License-Identifier: Apache-2.0
//! The waves of a flood, and those of them that work by the sheer number and slowness of connections.
//!
//! Owns: their order, what stands ready before the first, what is cleared up after the last. Must not know: what the broker does.
//!
//! A wave ends when its time is over; until then it does what it does again and again, within the counts that stand here. Requests
//! refused and connections closed are what a wave wants to see: they are counted, never judged.

use super::raw::{self, Field};
use super::{PATIENCE, bombs, lies, swarms, words};
use crate::wire::codec::Encoder;
use crate::wire::{Code, Connection, WireError, now_ms};
use model::batch::{self, NewRecord, Numbering};
use sim::rng::Rng;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One of them.
pub struct Wave {
    pub name: &'static str,
    /// Says what it did.
    pub run: fn(&Field) -> Result<String, String>,
}

pub const WAVES: &[Wave] = &[
    Wave { name: "idle", run: idle },
    Wave { name: "connections", run: connections },
    Wave { name: "half-sent", run: half_sent },
    Wave { name: "byte-by-byte", run: byte_by_byte },
    Wave { name: "slow-consumers", run: slow_consumers },
    Wave { name: "lies", run: lies::run },
    Wave { name: "bombs", run: bombs::run },
    Wave { name: "topics", run: swarms::topics },
    Wave { name: "metadata", run: metadata },
    Wave { name: "producers", run: swarms::producers },
    Wave { name: "groups", run: swarms::groups },
    Wave { name: "idle again", run: idle },
];

/// Records that slow consumers ask for.
const BULK: &str = "flood-bulk";
const BULK_BATCHES: u64 = 96;
const BULK_BATCH_BYTES: usize = 1_000_000;

/// Connections of the flood, by the last part of their address. One address may have 5,000.
const CONNECTIONS: [(u8, usize); 2] = [(2, 5_200), (3, 1_300)];
/// Replaced in one step, once all are there.
const CHURN: usize = 50;
const CHURN_PAUSE: Duration = Duration::from_millis(100);

const HALF_SENT_CONNECTIONS: usize = 48;
const HALF_SENT_BYTES: usize = 15 * 1024 * 1024;
const HALF_SENT_ANNOUNCED: i32 = 16 * 1024 * 1024;
/// What is written to one connection before the next has its turn.
const HALF_SENT_STEP_BYTES: usize = 256 * 1024;

const DRIPS: usize = 600;
const DRIP_PAUSE: Duration = Duration::from_millis(250);

const SLOW_CONSUMERS: usize = 400;
/// Fetches under way on each.
const SLOW_FETCHES: usize = 4;

const DESCRIBERS: usize = 24;
/// Requests that each has under way at once.
const DESCRIBER_REQUESTS: usize = 8;

/// Makes the topics that the waves need.
pub fn prepare(address: SocketAddr) -> Result<(), String> {
    let mut connection = Connection::open(address, PATIENCE).map_err(words)?;
    for (name, partitions, settings) in
        [(BULK, 1, &[][..]), bombs::COMPACTED, bombs::STAMPED, bombs::PLAIN, swarms::WIDE]
    {
        connection.create_topic(name, partitions, settings).map_err(|error| format!("topic {name}: {error}"))?;
    }
    // Bytes that nothing makes smaller.
    let mut rng = Rng::new(7);
    let value: Vec<u8> = (0..BULK_BATCH_BYTES / 8).flat_map(|_| rng.bits().to_le_bytes()).collect();
    let record = NewRecord { value: Some(value.into()), timestamp_ms: now_ms(), ..NewRecord::default() };
    let batch = batch::build(&[record], Numbering::NONE);
    let mut produced = Vec::new();
    let mut taken = 0;
    while taken < BULK_BATCHES {
        connection.send_produce(BULK, -1, &[(0, batch.bytes())]).map_err(words)?;
        connection.receive_produce(&mut produced).map_err(words)?;
        match produced.first().map(|answer| answer.error) {
            Some(Code::NONE) => taken += 1,
            Some(code) if code.retriable() => std::thread::sleep(Duration::from_millis(10)),
            other => return Err(format!("a batch for {BULK} was answered {other:?}")),
        }
    }
    Ok(())
}

/// Deletes what the waves made.
pub fn clear_up(address: SocketAddr) -> Result<(), String> {
    let mut connection = Connection::open(address, PATIENCE).map_err(words)?;
    for name in [BULK, bombs::COMPACTED.0, bombs::STAMPED.0, bombs::PLAIN.0, swarms::WIDE.0] {
        connection.delete_topic(name).map_err(|error| format!("topic {name}: {error}"))?;
    }
    swarms::delete_all(&mut connection).map_err(|error: WireError| error.to_string())
}

/// Nothing: what the well-behaved have for themselves.
fn idle(field: &Field) -> Result<String, String> {
    field.pause(Duration::MAX);
    Ok("nothing".to_owned())
}

/// Half of them silent, a quarter in the middle of a request, a quarter that has asked once and does not read the answer.
fn connections(field: &Field) -> Result<String, String> {
    let reached: Vec<(usize, u64, u64)> = std::thread::scope(|scope| {
        let threads = CONNECTIONS.map(|(host, most)| {
            let part = field.part();
            scope.spawn(move || crowd(&part, host, most))
        });
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let total = |of: fn(&(usize, u64, u64)) -> u64| reached.iter().map(of).sum::<u64>();
    Ok(format!(
        "{} connections at once, {} opened, {} attempts failed",
        total(|one| one.0 as u64),
        total(|one| one.1),
        total(|one| one.2)
    ))
}

fn crowd(field: &Field, host: u8, most: usize) -> (usize, u64, u64) {
    let asks = raw::request(18, 0, &[]);
    let half = raw::beginning(3, 5, &[0; 4], 1_000);
    let (mut open, mut reached, mut opened, mut failed) = (Vec::new(), 0, 0u64, 0);
    while !field.over() {
        if open.len() == most {
            for _ in 0..CHURN {
                let at = field.rng().below(most as u64) as usize;
                let gone: TcpStream = open.swap_remove(at.min(open.len() - 1));
                drop(gone);
            }
            field.pause(CHURN_PAUSE);
        }
        match field.connect(host) {
            Ok(mut stream) => {
                // A connection that was closed at once is one of those that the wave wants to see.
                let _ = match opened % 4 {
                    0 => stream.write_all(&half),
                    1 => stream.write_all(&asks),
                    _ => Ok(()),
                };
                opened += 1;
                open.push(stream);
            }
            Err(_) => {
                failed += 1;
                field.pause(Duration::from_millis(1));
            }
        }
        reached = reached.max(open.len());
    }
    (reached, opened, failed)
}

/// Large requests of which the last part never comes, more together than there is memory.
pub fn half_sent(field: &Field) -> Result<String, String> {
    let mut body = Encoder::default();
    body.nullable_string(None).i16(-1).i32(30_000).count(1).string(BULK).count(1).i32(0);
    body.i32(HALF_SENT_ANNOUNCED - 100).bytes.resize(HALF_SENT_BYTES, 0);
    let bytes = raw::beginning(0, 7, &body.bytes, HALF_SENT_ANNOUNCED);
    let mut streams: Vec<(TcpStream, &[u8])> = Vec::new();
    let (mut sent_bytes, mut closed) = (0, 0u64);
    while !field.over() {
        if streams.len() < HALF_SENT_CONNECTIONS
            && let Ok(stream) = field.connect(4)
        {
            stream.set_nonblocking(true).map_err(words)?;
            streams.push((stream, &bytes));
        }
        let mut moved = 0;
        streams.retain_mut(|(stream, rest)| {
            let mut step = &rest[..rest.len().min(HALF_SENT_STEP_BYTES)];
            let before = step.len();
            let alive = before == 0 || raw::write_some(stream, &mut step);
            let count = before - step.len();
            *rest = &rest[count..];
            moved += count;
            closed += u64::from(!alive);
            alive
        });
        sent_bytes += moved;
        if moved == 0 {
            field.pause(Duration::from_millis(5));
        }
    }
    Ok(format!("{} connections, {} MiB taken of {}, {closed} closed", streams.len(), sent_bytes >> 20, {
        (HALF_SENT_CONNECTIONS * HALF_SENT_BYTES) >> 20
    }))
}

/// Requests that arrive one byte at a time.
fn byte_by_byte(field: &Field) -> Result<String, String> {
    let mut body = Encoder::default();
    body.nullable_string(None).i16(-1).i32(30_000).count(1).string(BULK).count(1).i32(0).byte_string(&[0; 4_000]);
    let bytes = raw::request(0, 7, &body.bytes);
    let mut streams: Vec<(TcpStream, &[u8])> = Vec::new();
    let (mut sent, mut closed) = (0u64, 0u64);
    while !field.over() {
        while streams.len() < DRIPS && !field.over() {
            match field.connect(5) {
                Ok(stream) => streams.push((stream, &bytes)),
                Err(_) => break,
            }
        }
        streams.retain_mut(|(stream, rest)| {
            let mut step = &rest[..rest.len().min(1)];
            let alive = !step.is_empty() && raw::write_some(stream, &mut step);
            *rest = &rest[rest.len().min(1)..];
            sent += u64::from(alive);
            closed += u64::from(!alive);
            alive
        });
        field.pause(DRIP_PAUSE);
    }
    Ok(format!("{} connections, {sent} bytes in as many writes, {closed} closed", streams.len()))
}

/// Each asks for everything, several times; half read nothing, half a byte now and then.
fn slow_consumers(field: &Field) -> Result<String, String> {
    let mut body = Encoder::default();
    body.i32(-1).i32(500).i32(1).i32(i32::MAX).i8(0).i32(0).i32(-1).count(1).string(BULK).count(1);
    body.i32(0).i32(-1).i64(0).i64(-1).i32(i32::MAX).count(0).string("");
    let fetches = raw::request(1, 11, &body.bytes).repeat(SLOW_FETCHES);
    let mut streams: Vec<TcpStream> = Vec::new();
    let (mut taken, mut opened) = (0u64, 0u64);
    while !field.over() {
        while streams.len() < SLOW_CONSUMERS && !field.over() {
            let Ok(mut stream) = field.connect(6) else { break };
            if stream.write_all(&fetches).and_then(|()| stream.set_nonblocking(true)).is_ok() {
                opened += 1;
                streams.push(stream);
            }
        }
        let mut number = 0;
        streams.retain_mut(|stream| {
            number += 1;
            if number % 2 == 0 {
                return true;
            }
            match stream.read(&mut [0]) {
                Ok(count) => {
                    taken += count as u64;
                    count > 0
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        field.pause(Duration::from_millis(20));
    }
    Ok(format!("{} connections at the end, {opened} opened, {taken} bytes read", streams.len()))
}

/// Everything described again and again, to clients that take their time.
fn metadata(field: &Field) -> Result<String, String> {
    let mut body = Encoder::default();
    body.i32(-1).bool(false);
    let asks = raw::request(3, 5, &body.bytes).repeat(DESCRIBER_REQUESTS);
    let mut answers = 0u64;
    let mut streams: Vec<TcpStream> = Vec::new();
    while !field.over() {
        while streams.len() < DESCRIBERS && !field.over() {
            let Ok(mut stream) = field.connect(7) else { break };
            if stream.write_all(&asks).is_ok() {
                streams.push(stream);
            }
        }
        // A third reads; the others leave their answers where they are.
        let mut number = 0;
        streams.retain_mut(|stream| {
            number += 1;
            if number % 3 != 0 {
                return true;
            }
            let whole = raw::answered(stream);
            answers += u64::from(whole);
            whole && stream.write_all(&asks[..asks.len() / DESCRIBER_REQUESTS]).is_ok()
        });
        field.pause(Duration::from_millis(5));
    }
    Ok(format!("{} connections, {answers} answers read", streams.len()))
}
