// SPDX-License-Identifier: Apache-2.0
//! Load over many partitions: topics made in bulk, records spread over all of them, and what another connection feels meanwhile.
//!
//! Owns: how much stands in one request. Must not know: which figures are wanted.

use super::{PATIENCE, Shape, connect};
use crate::broker::Broker;
use crate::kafka::generator::{Template, histogram};
use crate::wire::{self, Code, Connection, LATEST, WireError};
use hdrhistogram::Histogram;
use model::batch;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub const RECORD_BYTES: usize = 1_000;
/// Most partitions made by one request, so that each is answered well within a client's patience.
const PARTITIONS_A_REQUEST: u32 = 10_000;
/// Partitions that one Produce request has a batch for.
const BATCHES_A_REQUEST: i32 = 100;
const CONNECTIONS: u32 = 2;
const IN_FLIGHT_MAX: usize = 5;
/// Between two looks of the other connection.
const PAUSE: Duration = Duration::from_millis(1);

/// Makes all topics of a shape.
pub fn create(connection: &mut Connection, name: impl Fn(u32) -> String, shape: Shape) -> Result<(), String> {
    let names: Vec<String> = (0..shape.topics).map(name).collect();
    let at_once = (PARTITIONS_A_REQUEST / shape.partitions.unsigned_abs()).max(1);
    for names in names.chunks(at_once as usize) {
        let topics: Vec<(&str, i32)> = names.iter().map(|name| (name.as_str(), shape.partitions)).collect();
        connection.create_topics(&topics).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// One record into each of the first partitions of each topic, `each` of them in one request. How many records.
pub fn spread(broker: &Broker, topics: &[String], partitions: i32, each: i32) -> Result<u64, String> {
    let mut connection = connect(broker)?;
    let template = Template::new(1, RECORD_BYTES);
    let mut produced = Vec::new();
    let mut count = 0;
    for topic in topics {
        let batches: Vec<(i32, &[u8])> =
            (0..each.min(partitions)).map(|partition| (partition, template.bytes())).collect();
        connection.send_produce(topic, -1, &batches).map_err(|error| error.to_string())?;
        connection.receive_produce(&mut produced).map_err(|error| error.to_string())?;
        refused(&produced).map_or(Ok(()), Err).map_err(|error| error.to_string())?;
        count += produced.len() as u64;
    }
    Ok(count)
}

fn refused(produced: &[wire::Produced]) -> Option<WireError> {
    let part = produced.iter().find(|part| part.error != Code::NONE)?;
    Some(WireError::Refused { api: wire::Api::Produce, code: part.error })
}

/// A connection that asks for one partition's end, again and again: what others feel of the load.
pub struct Others {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<Histogram<u64>, WireError>>,
}

impl Others {
    pub fn start(address: SocketAddr, topic: &str) -> Others {
        let ended = Arc::new(AtomicBool::new(false));
        let (until, topic) = (ended.clone(), topic.to_owned());
        let thread = thread::spawn(move || {
            let mut times = histogram();
            let mut connection = Connection::open(address, PATIENCE)?;
            while !until.load(Ordering::Relaxed) {
                let begin = Instant::now();
                connection.list_offset(&topic, 0, LATEST)?;
                times.saturating_record(begin.elapsed().as_micros() as u64);
                thread::sleep(PAUSE);
            }
            Ok(times)
        });
        Others { ended, thread }
    }

    /// Microseconds of each answer.
    pub fn stop(self) -> Result<Histogram<u64>, String> {
        self.ended.store(true, Ordering::Relaxed);
        let times = self.thread.join().map_err(|_| "the other connection's thread panicked".to_owned())?;
        times.map_err(|error| format!("the other connection: {error}"))
    }
}

/// Writers that go on until the broker is gone.
pub struct Writing {
    bytes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<Acked, WireError>>>,
}

/// The end that was acknowledged, by topic and partition.
pub type Acked = Vec<Vec<u64>>;

impl Writing {
    pub fn start(address: SocketAddr, topics: &[String], partitions: i32) -> Writing {
        let bytes = Arc::new(AtomicU64::new(0));
        let threads = (0..CONNECTIONS)
            .map(|index| {
                let (bytes, topics) = (bytes.clone(), topics.to_vec());
                thread::spawn(move || write(address, index, &topics, partitions, &bytes))
            })
            .collect();
        Writing { bytes, threads }
    }

    /// Bytes of records acknowledged so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A writer that ended while the broker is there.
    pub fn failure(&self) -> Option<&'static str> {
        self.threads.iter().any(JoinHandle::is_finished).then_some("a writer's connection failed, or it was refused")
    }

    /// After the broker has gone: what it had acknowledged.
    pub fn join(self) -> Result<Acked, String> {
        let mut all: Acked = Vec::new();
        for thread in self.threads {
            let acked =
                thread.join().map_err(|_| "a writer panicked".to_owned())?.map_err(|error| error.to_string())?;
            if all.is_empty() {
                all = acked;
                continue;
            }
            for (ends, more) in all.iter_mut().zip(acked) {
                ends.iter_mut().zip(more).for_each(|(end, other)| *end = (*end).max(other));
            }
        }
        Ok(all)
    }
}

/// Goes round all partitions of all topics with a batch of one record each, numbered, until the connection breaks.
fn write(
    address: SocketAddr,
    index: u32,
    topics: &[String],
    partitions: i32,
    bytes: &AtomicU64,
) -> Result<Acked, WireError> {
    let mut connection = Connection::open(address, PATIENCE)?;
    let producer = connection.init_producer_id()?;
    let mut templates: Vec<Template> = (0..BATCHES_A_REQUEST).map(|_| Template::new(1, RECORD_BYTES)).collect();
    let mut sequences = vec![vec![0i32; partitions as usize]; topics.len()];
    let mut acked = vec![vec![0u64; partitions as usize]; topics.len()];
    let mut under_way: VecDeque<usize> = VecDeque::new();
    let mut produced = Vec::new();
    let requests_a_topic = partitions.unsigned_abs().div_ceil(BATCHES_A_REQUEST.unsigned_abs());
    // Connections start at different topics.
    for number in (topics.len() as u64 * u64::from(index) / u64::from(CONNECTIONS)).. {
        let topic = (number % topics.len() as u64) as usize;
        let first = ((number / topics.len() as u64) % u64::from(requests_a_topic)) as i32 * BATCHES_A_REQUEST;
        let mut batches = Vec::with_capacity(templates.len());
        for (partition, template) in (first..partitions).zip(&mut templates) {
            let sequence = &mut sequences[topic][partition as usize];
            batches.push((partition, template.stamp(producer, *sequence)));
            *sequence = batch::sequence_plus(*sequence, 1);
        }
        if connection.send_produce(&topics[topic], -1, &batches).is_err() {
            return Ok(acked);
        }
        under_way.push_back(topic);
        if under_way.len() < IN_FLIGHT_MAX {
            continue;
        }
        match connection.receive_produce(&mut produced) {
            Ok(()) => {}
            Err(WireError::Io(_)) => return Ok(acked),
            Err(error) => return Err(error),
        }
        if let Some(error) = refused(&produced) {
            return Err(error);
        }
        let Some(topic) = under_way.pop_front() else { continue };
        for part in &produced {
            let end = &mut acked[topic][part.partition as usize];
            *end = (*end).max(part.base_offset as u64 + 1);
        }
        bytes.fetch_add((produced.len() * RECORD_BYTES) as u64, Ordering::Relaxed);
    }
    Ok(acked)
}

/// Records that were acknowledged and are not there any more.
pub fn lost(broker: &Broker, topics: &[String], acked: &Acked) -> Result<u64, String> {
    let mut connection = connect(broker)?;
    let mut lost = 0;
    for (topic, ends) in topics.iter().zip(acked) {
        for (partition, acked) in (0..).zip(ends) {
            let (end, _) = connection.list_offset(topic, partition, LATEST).map_err(|error| error.to_string())?;
            lost += acked.saturating_sub(end as u64);
        }
    }
    Ok(lost)
}
