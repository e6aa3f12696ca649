// SPDX-License-Identifier: Apache-2.0
//! Load without a client library: batches made once, stamped with their sequence and sent as fast as the window allows; answers
//! of a replay counted by their batch headers alone. What is left to measure is the broker.
//!
//! Owns: threads, one connection each; windows; the time from a request's last byte sent to its answer.
//! Must not know: which broker it loads, where results go.

use crate::wire::{self, Code, Connection, EARLIEST, FetchBounds, LATEST, WireError};
use bytes::Bytes;
use hdrhistogram::Histogram;
use model::batch::{self, NewRecord, Numbering};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// What to produce.
#[derive(Clone, Debug)]
pub struct ProduceLoad {
    pub topic: String,
    pub partitions: i32,
    pub connections: u32,
    /// Requests under way on one connection.
    pub in_flight_max: i32,
    pub batch_records: u32,
    /// Partitions that one request has a batch for.
    pub partitions_a_request: i32,
    pub record_bytes: usize,
    pub idempotent: bool,
    /// Of all connections together, rounded up to whole requests.
    pub records: u64,
}

/// What was carried out.
pub struct LoadOutcome {
    pub records: u64,
    pub seconds: f64,
    /// From a request sent to its answer, in microseconds.
    pub answer_us: Histogram<u64>,
}

/// The answer times of all load threads, or the first that failed.
pub fn together(outcomes: Vec<Result<Histogram<u64>, WireError>>) -> Result<Histogram<u64>, WireError> {
    let mut answer_us = histogram();
    for outcome in outcomes {
        answer_us.add(outcome?).expect("the same bounds");
    }
    Ok(answer_us)
}

/// Microseconds up to a minute, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds")
}

/// A batch whose numbering is written in later.
pub struct Template {
    bytes: Vec<u8>,
}

impl Template {
    /// `records` records of `record_bytes` each that do not compress.
    pub fn new(records: u32, record_bytes: usize) -> Template {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let value: Bytes = (0..record_bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let record = NewRecord { timestamp_ms: wire::now_ms(), value: Some(value), ..NewRecord::default() };
        let batch = batch::build(&vec![record; records as usize], Numbering::NONE);
        Template { bytes: batch.bytes().to_vec() }
    }

    /// The batch as it is, without a producer.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the numbering and the checksum, which covers it.
    pub fn stamp(&mut self, producer: (i64, i16), base_sequence: i32) -> &[u8] {
        self.bytes[43..51].copy_from_slice(&producer.0.to_be_bytes());
        self.bytes[51..53].copy_from_slice(&producer.1.to_be_bytes());
        self.bytes[53..57].copy_from_slice(&base_sequence.to_be_bytes());
        let crc = model::crc::crc32c(&self.bytes[batch::CRC_START..]);
        self.bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        &self.bytes
    }
}

/// Produces and waits for every answer.
///
/// # Errors
/// The first connection that fails or is refused.
pub fn produce(address: SocketAddr, load: &ProduceLoad) -> Result<LoadOutcome, WireError> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        let mut connection = Connection::open(address, PATIENCE)?;
        let producer = if load.idempotent { producer_id(&mut connection)? } else { (-1, -1) };
        connections.push((connection, producer));
    }
    let begin = Instant::now();
    let request_records = u64::from(load.batch_records) * u64::from(load.partitions_a_request.unsigned_abs());
    let requests = load.records.div_ceil(request_records);
    let count = u64::from(load.connections);
    let shares = (0..count).map(|index| requests / count + u64::from(index < requests % count));
    let outcomes: Vec<Result<Histogram<u64>, WireError>> = thread::scope(|scope| {
        let running: Vec<_> = connections
            .into_iter()
            .zip(shares)
            .enumerate()
            .map(|(index, ((connection, producer), share))| {
                scope.spawn(move || produce_on(connection, producer, index as i32, share, load))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let answer_us = together(outcomes)?;
    Ok(LoadOutcome { records: requests * request_records, seconds, answer_us })
}

/// A fresh producer. Apache Kafka takes its ids in blocks of a thousand and refuses while the next block is on its way.
pub fn producer_id(connection: &mut Connection) -> Result<(i64, i16), WireError> {
    let begin = Instant::now();
    loop {
        match connection.init_producer_id() {
            Err(WireError::Refused { code, .. }) if code.coordinator_busy() && begin.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}

fn produce_on(
    mut connection: Connection,
    producer: (i64, i16),
    index: i32,
    requests: u64,
    load: &ProduceLoad,
) -> Result<Histogram<u64>, WireError> {
    let together = load.partitions_a_request;
    let mut templates: Vec<Template> =
        (0..together).map(|_| Template::new(load.batch_records, load.record_bytes)).collect();
    let mut sequences = vec![0i32; load.partitions as usize];
    let mut sent_at = VecDeque::new();
    let mut produced = Vec::new();
    let mut answer_us = histogram();
    let mut take = |connection: &mut Connection, sent_at: &mut VecDeque<Instant>| {
        connection.receive_produce(&mut produced)?;
        if let Some(at) = sent_at.pop_front() {
            answer_us.saturating_record(at.elapsed().as_micros() as u64);
        }
        match produced.iter().find(|part| part.error != Code::NONE) {
            Some(part) => Err(WireError::Refused { api: wire::Api::Produce, code: part.error }),
            None if produced.len() == together as usize => Ok(()),
            None => Err(WireError::Malformed { api: wire::Api::Produce, why: "not as many partitions as were sent" }),
        }
    };
    for number in 0..requests {
        // Connections start at different partitions and each goes round all of them.
        let first = (number + index as u64) * together as u64;
        let mut batches = Vec::with_capacity(templates.len());
        for (place, template) in (first..).zip(&mut templates) {
            let partition = (place % load.partitions as u64) as i32;
            let sequence = &mut sequences[partition as usize];
            let bytes = if load.idempotent { template.stamp(producer, *sequence) } else { template.bytes() };
            *sequence = batch::sequence_plus(*sequence, load.batch_records as i32);
            batches.push((partition, bytes));
        }
        connection.send_produce(&load.topic, -1, &batches)?;
        sent_at.push_back(Instant::now());
        while connection.under_way() >= load.in_flight_max {
            take(&mut connection, &mut sent_at)?;
        }
    }
    while connection.under_way() > 0 {
        take(&mut connection, &mut sent_at)?;
    }
    Ok(answer_us)
}

/// Reads a topic from its start, and again, until `ended`: bytes of batches.
pub fn read_until(address: SocketAddr, topic: &str, partitions: i32, ended: &AtomicBool) -> Result<u64, WireError> {
    let mut connection = Connection::open(address, PATIENCE)?;
    let mut positions: Vec<(i32, i64)> = Vec::new();
    let (mut bytes, mut ends) = (0, Vec::new());
    while !ended.load(Ordering::Relaxed) {
        if positions.is_empty() {
            ends.clear();
            for partition in 0..partitions {
                positions.push((partition, connection.list_offset(topic, partition, EARLIEST)?.0));
                ends.push(connection.list_offset(topic, partition, LATEST)?.0);
            }
        }
        connection.send_fetch(topic, &positions, FetchBounds::default())?;
        for part in connection.receive_fetch()? {
            if part.error != Code::NONE {
                return Err(WireError::Refused { api: wire::Api::Fetch, code: part.error });
            }
            for (header, batch) in wire::batches(part.records) {
                bytes += batch.len() as u64;
                let position = positions.iter_mut().find(|(partition, _)| *partition == part.partition);
                let Some((_, next)) = position else {
                    return Err(WireError::Malformed { api: wire::Api::Fetch, why: "a partition not asked for" });
                };
                *next = header.next_offset().0 as i64;
            }
        }
        positions.retain(|(partition, next)| *next < ends[*partition as usize]);
    }
    Ok(bytes)
}

/// Reads every record of a topic once over `connections` connections, each with its share of the partitions.
pub fn replay(address: SocketAddr, topic: &str, partitions: i32, connections: u32) -> Result<LoadOutcome, WireError> {
    let begin = Instant::now();
    let connections = connections.min(partitions as u32);
    let counts: Vec<Result<(u64, Histogram<u64>), WireError>> = thread::scope(|scope| {
        let running: Vec<_> = (0..connections as i32)
            .map(|index| {
                let mine: Vec<i32> =
                    (0..partitions).filter(|partition| partition % connections as i32 == index).collect();
                scope.spawn(move || replay_on(address, topic, &mine))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect()
    });
    let mut outcome = LoadOutcome { records: 0, seconds: begin.elapsed().as_secs_f64(), answer_us: histogram() };
    for count in counts {
        let (records, answer_us) = count?;
        outcome.records += records;
        outcome.answer_us.add(answer_us).expect("the same bounds");
    }
    Ok(outcome)
}

fn replay_on(address: SocketAddr, topic: &str, partitions: &[i32]) -> Result<(u64, Histogram<u64>), WireError> {
    let mut connection = Connection::open(address, PATIENCE)?;
    let mut positions = Vec::new();
    for &partition in partitions {
        let (begin, _) = connection.list_offset(topic, partition, EARLIEST)?;
        let (end, _) = connection.list_offset(topic, partition, LATEST)?;
        positions.push((partition, begin, end));
    }
    let (mut records, mut answer_us) = (0, histogram());
    loop {
        let wanted: Vec<(i32, i64)> = positions
            .iter()
            .filter(|(_, next, end)| next < end)
            .map(|&(partition, next, _)| (partition, next))
            .collect();
        if wanted.is_empty() {
            return Ok((records, answer_us));
        }
        let sent_at = Instant::now();
        connection.send_fetch(topic, &wanted, FetchBounds::default())?;
        for part in connection.receive_fetch()? {
            if part.error != Code::NONE {
                return Err(WireError::Refused { api: wire::Api::Fetch, code: part.error });
            }
            let position = positions.iter_mut().find(|(partition, ..)| *partition == part.partition);
            let Some((_, next, _)) = position else {
                return Err(WireError::Malformed { api: wire::Api::Fetch, why: "a partition that was not asked for" });
            };
            for (header, _) in wire::batches(part.records) {
                records += u64::from(header.record_count as u32);
                *next = header.next_offset().0 as i64;
            }
        }
        answer_us.saturating_record(sent_at.elapsed().as_micros() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_batch_passes_the_broker_s_own_check() {
        let mut template = Template::new(7, 100);
        let bytes = Bytes::copy_from_slice(template.stamp((42, 3), 1000));
        let batch = batch::Batch::check(bytes, usize::MAX).unwrap();
        assert_eq!(batch.header().producer_id, model::ProducerId(42));
        assert_eq!((batch.header().base_sequence, batch.header().record_count), (1000, 7));
    }
}
