// SPDX-License-Identifier: Apache-2.0
//! Swarms of things that a broker remembers: topics, producers, members of groups.
//!
//! Owns: how many of each, and their names. Must not know: how the broker bounds them.

use super::bombs::TopicPlan;
use super::raw::{self, Field};
use super::{PATIENCE, words};
use crate::wire::codec::Encoder;
use crate::wire::{Code, Connection, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::{ProducerEpoch, ProducerId};
use std::io::Write;
use std::time::Duration;

/// Names that are made by describing them.
const NAMES_MAX: usize = 4_000;
/// Of one request.
const NAMES_A_REQUEST: usize = 50;
const BROAD_TOPICS: usize = 20;
const BROAD_PARTITIONS: i32 = 1_000;
/// One name in so many is deleted while others are made.
const DELETED_ONE_IN: usize = 4;

/// Where producers write.
pub const WIDE: TopicPlan = ("flood-wide", WIDE_PARTITIONS, &[]);
const WIDE_PARTITIONS: i32 = 500;
/// Pairs of producer and partition: more than are remembered by default.
const PAIRS_MAX: u64 = 1_200_000;
/// Their ids begin where the broker's own do not reach.
const FIRST_ID: i64 = 1 << 40;

const GROUPS_MAX: u64 = 3_000;
/// So long the broker waits for each.
const SESSION_MS: i32 = 6_000;
/// Members that join over one connection before it goes.
const JOINS_A_CONNECTION: u64 = 10;
const THREADS: usize = 4;

fn spam(number: usize) -> String {
    format!("flood-spam-{number}")
}

fn broad(number: usize) -> String {
    format!("flood-broad-{number}")
}

fn delete_request(names: &[String]) -> Vec<u8> {
    let mut body = Encoder::default();
    body.count(names.len());
    for name in names {
        body.string(name);
    }
    body.i32(30_000);
    raw::request(20, 1, &body.bytes)
}

/// Thousands of names, and topics of many partitions, made and in part deleted at once.
pub fn topics(field: &Field) -> Result<String, String> {
    let mut stream = field.connect(10).map_err(words)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(words)?;
    let (mut names, mut deleted, mut partitions, mut unanswered) = (0, 0, 0, 0u64);
    while !field.over() && names < NAMES_MAX {
        let batch: Vec<String> = (names..names + NAMES_A_REQUEST).map(spam).collect();
        let mut body = Encoder::default();
        body.count(batch.len());
        for name in &batch {
            body.string(name);
        }
        body.bool(true);
        let mut requests = vec![raw::request(3, 5, &body.bytes)];
        let gone: Vec<String> = batch.iter().step_by(DELETED_ONE_IN).cloned().collect();
        deleted += gone.len();
        requests.push(delete_request(&gone));
        if names.is_multiple_of(NAMES_MAX / BROAD_TOPICS) {
            let name = broad(names / (NAMES_MAX / BROAD_TOPICS));
            let mut body = Encoder::default();
            body.count(1).string(&name).i32(BROAD_PARTITIONS).i16(1).count(0).count(0).i32(30_000).bool(false);
            requests.push(raw::request(19, 2, &body.bytes));
            partitions += BROAD_PARTITIONS;
        }
        names += batch.len();
        for request in requests {
            unanswered += u64::from(stream.write_all(&request).is_err() || !raw::answered(&mut stream));
        }
    }
    field.pause(Duration::MAX);
    Ok(format!(
        "{names} names, {deleted} of them deleted, {partitions} partitions in {} topics, {unanswered} requests unanswered",
        partitions / BROAD_PARTITIONS
    ))
}

/// Deletes what [`topics`] made and left.
pub fn delete_all(connection: &mut Connection) -> Result<(), WireError> {
    let names: Vec<String> = (0..NAMES_MAX).map(spam).chain((0..BROAD_TOPICS).map(broad)).collect();
    for names in names.chunks(NAMES_A_REQUEST) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match connection.delete_topics(&names) {
            // Gone already, or never made.
            Ok(()) | Err(WireError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Idempotent producers that nobody gave an id, each with one record in each of many partitions; and ids asked for and never used.
pub fn producers(field: &Field) -> Result<String, String> {
    let mut connection = Connection::open(field.address, PATIENCE).map_err(words)?;
    let mut produced = Vec::new();
    let (mut pairs, mut put_off, mut refused, mut ids) = (0, 0u64, 0u64, 0u64);
    let mut id = FIRST_ID;
    while !field.over() && pairs < PAIRS_MAX {
        let numbering = Numbering { producer_id: ProducerId(id), producer_epoch: ProducerEpoch(0), base_sequence: 0 };
        let value = Some(Bytes::from_static(b"one"));
        let record = NewRecord { value, timestamp_ms: now_ms(), ..NewRecord::default() };
        let batch = batch::build(&[record], numbering);
        let batches: Vec<(i32, &[u8])> =
            (0..WIDE_PARTITIONS).map(|partition| (partition, &batch.bytes()[..])).collect();
        connection.send_produce(WIDE.0, -1, &batches).map_err(words)?;
        connection.receive_produce(&mut produced).map_err(words)?;
        for answer in &produced {
            match answer.error {
                Code::NONE => pairs += 1,
                code if code.retriable() => put_off += 1,
                _ => refused += 1,
            }
        }
        ids += u64::from(connection.init_producer_id().is_ok());
        id += 1;
    }
    field.pause(Duration::MAX);
    Ok(format!("{pairs} producers in partitions, {put_off} put off, {refused} refused; {ids} ids asked for"))
}

/// Members that join and are never heard of again, in groups that nobody else knows.
pub fn groups(field: &Field) -> Result<String, String> {
    let joins: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let part = field.part();
                scope.spawn(move || join(&part))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    Ok(format!("{joins} members of up to {GROUPS_MAX} groups"))
}

fn join(field: &Field) -> u64 {
    let mut joins = 0;
    while !field.over() {
        let Ok(mut stream) = field.connect(11) else { continue };
        for _ in 0..JOINS_A_CONNECTION {
            let group = field.rng().below(GROUPS_MAX);
            let mut body = Encoder::default();
            body.string(&format!("flood-group-{group}"))
                .i32(SESSION_MS)
                .i32(SESSION_MS)
                .string("")
                .nullable_string(None);
            body.string("consumer").count(1).string("range").byte_string(&[7; 500]);
            joins += u64::from(stream.write_all(&raw::request(11, 5, &body.bytes)).is_ok());
        }
        // Some wait for the first answer, some are gone before it.
        if field.rng().once_in(2) {
            raw::answered(&mut stream);
        }
    }
    joins
}
