// SPDX-License-Identifier: Apache-2.0
//! The rest of the load of a soak: large batches under retention and who reads their oldest, a compacted topic, topics and members
//! that come and go. Each is a thread that lives on through kills and cuts.
//!
//! Owns: what each does, what must be true of it at the end. Must not know: when the broker is killed.
//!
//! The compacted topic has one writer, which writes a growing number to each key and knows the last that was acknowledged: at
//! the end each key's last value is that one or a later one. Of the topic under retention the oldest records must be gone.

use super::{PATIENCE, words};
use crate::wire::groups::Membership;
use crate::wire::{self, Code, Connection, EARLIEST, FetchBounds, LATEST, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use sim::rng::Rng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

const BULK: &str = "soak-bulk";
const BULK_BATCH_BYTES: usize = 256 * 1024;
const BULK_SETTINGS: &[(&str, &str)] = &[("retention.bytes", "32000000")];
const COMPACTED: &str = "soak-compacted";
const COMPACTED_SETTINGS: &[(&str, &str)] = &[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.1")];
const KEYS: u64 = 500;
const BULK_PAUSE: Duration = Duration::from_millis(40);
const SMALL_PAUSE: Duration = Duration::from_millis(5);
/// Between two topics that are made and deleted, and two members that join.
const CHURN_PAUSE: Duration = Duration::from_millis(100);
/// After a connection broke.
const AGAIN_PAUSE: Duration = Duration::from_millis(100);
const SESSION_MS: i32 = 6_000;

/// What they share.
#[derive(Default)]
pub struct Mixed {
    ending: AtomicBool,
    bulk_bytes: AtomicU64,
    cold_bytes: AtomicU64,
    written: AtomicU64,
    topics: AtomicU64,
    members: AtomicU64,
    /// Of each key the last number that was acknowledged.
    last: Mutex<BTreeMap<u64, u64>>,
    /// Answers that no correct broker gives.
    wrong: Mutex<Vec<String>>,
}

/// Makes their topics.
pub fn prepare(address: SocketAddr) -> Result<(), String> {
    let mut connection = Connection::open(address, PATIENCE).map_err(words)?;
    connection.create_topic(BULK, 1, BULK_SETTINGS).map_err(words)?;
    connection.create_topic(COMPACTED, 1, COMPACTED_SETTINGS).map_err(words)
}

type Part = fn(&Mixed, &mut Connection, &mut Rng) -> Result<(), WireError>;

/// Starts them; they end with [`Mixed::end`].
pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, mixed: &'scope Mixed, address: SocketAddr, seed: u64) {
    let parts: [Part; 5] = [bulk, cold, compacted, topics, members];
    for (number, part) in (0..).zip(parts) {
        scope.spawn(move || {
            let mut rng = Rng::of(seed, number);
            while !mixed.ending() {
                let outcome = Connection::open(address, PATIENCE)
                    .map_err(WireError::Io)
                    .and_then(|mut connection| part(mixed, &mut connection, &mut rng));
                match outcome {
                    Ok(()) => return,
                    Err(WireError::Io(_)) => {}
                    Err(WireError::Refused { code, .. }) if code.coordinator_busy() => {}
                    Err(error) => mixed.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string()),
                }
                std::thread::sleep(AGAIN_PAUSE);
            }
        });
    }
}

impl Mixed {
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub fn said(&self) -> String {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        format!(
            "  beside it: {} MB under retention, {} MB of cold reads, {} records to {KEYS} keys, {} topics made and deleted, {} members",
            of(&self.bulk_bytes) / 1_000_000,
            of(&self.cold_bytes) / 1_000_000,
            of(&self.written),
            of(&self.topics),
            of(&self.members)
        )
    }

    /// What is not as it must be.
    pub fn judge(&self, address: SocketAddr, wrong: &mut Vec<String>) -> Result<(), String> {
        wrong.append(&mut self.wrong.lock().unwrap_or_else(PoisonError::into_inner));
        let mut connection = Connection::open(address, PATIENCE).map_err(words)?;
        let (begin, _) = connection.list_offset(BULK, 0, EARLIEST).map_err(words)?;
        let kept = u64::from(connection.list_offset(BULK, 0, LATEST).map_err(words)?.0.abs_diff(begin) > 0);
        if begin == 0 && self.bulk_bytes.load(Ordering::Relaxed) > 200_000_000 {
            wrong.push(format!("retention has removed nothing of {BULK} ({kept})"));
        }
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut next, _) = connection.list_offset(COMPACTED, 0, EARLIEST).map_err(words)?;
        let (end, _) = connection.list_offset(COMPACTED, 0, LATEST).map_err(words)?;
        while next < end {
            let bounds = FetchBounds { wait_ms_max: 0, ..FetchBounds::default() };
            connection.send_fetch(COMPACTED, &[(0, next)], bounds).map_err(words)?;
            let fetched = connection.receive_fetch().map_err(words)?;
            let part = fetched.first().ok_or("no partition in the answer")?;
            let after = wire::records(part.records, next, |_, value| {
                if let Some((key, number)) = value.and_then(read_value) {
                    found.insert(key, number);
                }
            })?;
            if after == next {
                return Err(format!("{COMPACTED} cannot be read from {next} on: {}", part.error));
            }
            next = after;
        }
        for (key, last) in &*self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            if found.get(key).is_none_or(|number| number < last) {
                wrong.push(format!("key {key} of {COMPACTED}: {last} was acknowledged, {:?} is there", found.get(key)));
            }
        }
        Ok(())
    }
}

/// The key in it, because a reader of ours is shown values.
fn value_of(key: u64, number: u64) -> Vec<u8> {
    [key.to_be_bytes(), number.to_be_bytes()].concat()
}

fn read_value(bytes: &[u8]) -> Option<(u64, u64)> {
    let (key, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*key), u64::from_be_bytes(*rest.first_chunk()?)))
}

/// Sends one batch. Ok(false): not now.
fn send(connection: &mut Connection, topic: &str, records: &[NewRecord]) -> Result<bool, WireError> {
    let mut produced = Vec::new();
    connection.send_produce(topic, -1, &[(0, batch::build(records, Numbering::NONE).bytes())])?;
    connection.receive_produce(&mut produced)?;
    match produced.first().map(|answer| answer.error) {
        Some(Code::NONE) => Ok(true),
        Some(code) if code.retriable() => Ok(false),
        Some(code) => Err(WireError::Refused { api: wire::Api::Produce, code }),
        None => Err(WireError::Malformed { api: wire::Api::Produce, why: "no partition in the answer" }),
    }
}

/// Large batches that nothing makes smaller.
fn bulk(mixed: &Mixed, connection: &mut Connection, rng: &mut Rng) -> Result<(), WireError> {
    while !mixed.ending() {
        let value: Vec<u8> = (0..BULK_BATCH_BYTES / 8).flat_map(|_| rng.bits().to_le_bytes()).collect();
        let record = NewRecord { value: Some(value.into()), timestamp_ms: now_ms(), ..NewRecord::default() };
        if send(connection, BULK, &[record])? {
            mixed.bulk_bytes.fetch_add(BULK_BATCH_BYTES as u64, Ordering::Relaxed);
        }
        std::thread::sleep(BULK_PAUSE);
    }
    Ok(())
}

/// Reads what is oldest, again and again.
fn cold(mixed: &Mixed, connection: &mut Connection, _: &mut Rng) -> Result<(), WireError> {
    while !mixed.ending() {
        let (mut next, _) = connection.list_offset(BULK, 0, EARLIEST)?;
        let (end, _) = connection.list_offset(BULK, 0, LATEST)?;
        while next < end && !mixed.ending() {
            connection.send_fetch(BULK, &[(0, next)], FetchBounds { wait_ms_max: 0, ..FetchBounds::default() })?;
            let fetched = connection.receive_fetch()?;
            let Some(part) = fetched.first().filter(|part| part.error == Code::NONE) else { break };
            mixed.cold_bytes.fetch_add(part.records.len() as u64, Ordering::Relaxed);
            let after = wire::records(part.records, next, |_, _| {})
                .map_err(|why| WireError::Malformed { api: wire::Api::Fetch, why })?;
            if after == next {
                break;
            }
            next = after;
        }
        std::thread::sleep(CHURN_PAUSE);
    }
    Ok(())
}

fn compacted(mixed: &Mixed, connection: &mut Connection, rng: &mut Rng) -> Result<(), WireError> {
    while !mixed.ending() {
        let key = rng.below(KEYS);
        // Grows over all connections: one that broke may have left its number there.
        let number = mixed.written.fetch_add(1, Ordering::Relaxed) + 1;
        let record = NewRecord {
            key: Some(Bytes::copy_from_slice(&key.to_be_bytes())),
            value: Some(value_of(key, number).into()),
            timestamp_ms: now_ms(),
            ..NewRecord::default()
        };
        if send(connection, COMPACTED, &[record])? {
            mixed.last.lock().unwrap_or_else(PoisonError::into_inner).insert(key, number);
        }
        std::thread::sleep(SMALL_PAUSE);
    }
    Ok(())
}

fn topics(mixed: &Mixed, connection: &mut Connection, rng: &mut Rng) -> Result<(), WireError> {
    while !mixed.ending() {
        let name = format!("soak-made-{}", mixed.topics.fetch_add(1, Ordering::Relaxed));
        connection.create_topic(&name, rng.within(1..20) as i32, &[])?;
        let record = NewRecord { value: Some(vec![7; 1_000].into()), timestamp_ms: now_ms(), ..NewRecord::default() };
        send(connection, &name, &vec![record; rng.within(1..20) as usize])?;
        connection.delete_topic(&name)?;
        std::thread::sleep(CHURN_PAUSE);
    }
    Ok(())
}

/// Members of small groups; half leave by silence, with their connection.
fn members(mixed: &Mixed, connection: &mut Connection, rng: &mut Rng) -> Result<(), WireError> {
    while !mixed.ending() {
        let mut who = Membership::none(&format!("soak-group-{}", rng.below(50)));
        who.instance = Some(format!("member-{}", rng.below(3)));
        match connection.join_group(&who, SESSION_MS, SESSION_MS) {
            Ok(joined) => {
                (who.member_id, who.generation) = (joined.member_id, joined.generation);
                mixed.members.fetch_add(1, Ordering::Relaxed);
                let assignments: Vec<(&str, &[u8])> =
                    joined.members.iter().map(|member| (member.as_str(), &b"share"[..])).collect();
                match connection.sync_group(&who, &assignments).and_then(|_| connection.heartbeat(&who)) {
                    Ok(()) | Err(WireError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            // Others of the group have moved on, or are waited for.
            Err(WireError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(CHURN_PAUSE);
    }
    Ok(())
}
