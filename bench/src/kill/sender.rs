// SPDX-License-Identifier: Apache-2.0
//! A client that sends numbered records through kills and says in the history what became of each batch.
//!
//! An idempotent sender (acks=all) repeats whatever a dead connection left unanswered, with the same producer id and sequence
//! numbers, until it is told: one operation with one outcome. A plain sender (acks=1) repeats nothing: what was under way stays
//! unknown for ever.
//!
//! Owns: the window of requests under way, sequences, the pace. Must not know: whether the answers are right (the checker).

use super::shared::{PARTITIONS, Shared, TOPIC};
use crate::wire::{Code, Connection, Produced, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId};
use sim::history::{Event, Op, Producer};
use sim::rng::Rng;
use sim::value;
use std::collections::VecDeque;
use std::time::Duration;

/// Requests under way on one connection, as many as an idempotent producer may have.
const WINDOW: usize = 5;

/// What a sender that compresses takes in turns.
const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// How one sender behaves.
#[derive(Clone, Copy, Debug)]
pub struct SenderPlan {
    /// Its number in the history; its records carry numbers of its own from `first_number` on.
    pub client: u32,
    pub first_number: u64,
    pub idempotent: bool,
    pub batch_records_max: u64,
    pub record_bytes_max: u64,
    /// Its batches are compressed, each with another codec.
    pub compresses: bool,
}

/// One batch of a request under way.
struct Part {
    op: Op,
    partition: u64,
    sequence: i32,
    bytes: Bytes,
}

struct Sender<'a> {
    plan: SenderPlan,
    shared: &'a Shared,
    rng: Rng,
    next_number: u64,
    /// Id and epoch; `None` until the broker gave them.
    producer: Option<(i64, i16)>,
    sequences: [i32; PARTITIONS as usize],
    under_way: VecDeque<Vec<Part>>,
}

/// What to do with the connection after an answer.
enum Next {
    GoOn,
    /// The broker could not do it now: take the other answers, then send again what is left.
    Repeat,
}

/// Runs until the stretch ends and everything under way has an outcome.
pub fn run(plan: SenderPlan, shared: &Shared, rng: Rng) {
    let mut sender = Sender {
        plan,
        shared,
        rng,
        next_number: plan.first_number,
        producer: None,
        sequences: [0; PARTITIONS as usize],
        under_way: VecDeque::new(),
    };
    let mut life = 0;
    while let Some((connection, now)) = shared.connect(life, !sender.under_way.is_empty()) {
        life = now;
        match sender.drive(connection) {
            Ok(()) => break,
            Err(WireError::Io(_)) => {}
            Err(error) => shared.refuse(format!("client {}: {error}", plan.client)),
        }
        if !plan.idempotent {
            sender.give_up();
        }
    }
    let unanswered = sender.under_way.len();
    if unanswered > 0 {
        shared.refuse(format!("client {}: {unanswered} requests were never answered", plan.client));
    }
}

impl Sender<'_> {
    /// Works on one connection. Returns when the stretch ends with nothing under way, or with the error that broke it.
    fn drive(&mut self, mut connection: Connection) -> Result<(), WireError> {
        if self.plan.idempotent && self.producer.is_none() {
            let producer = connection.init_producer_id()?;
            self.shared.producer_given(producer.0);
            self.producer = Some(producer);
        }
        self.send_again(&mut connection)?;
        let mut produced = Vec::new();
        let mut window = 1;
        loop {
            let ending = self.shared.ending();
            if ending && self.under_way.is_empty() {
                return Ok(());
            }
            if !ending && self.under_way.len() < window {
                self.send_new(&mut connection)?;
                continue;
            }
            connection.receive_produce(&mut produced)?;
            if let Next::Repeat = self.take(&produced) {
                while connection.under_way() > 0 {
                    connection.receive_produce(&mut produced)?;
                    let later = self.under_way.pop_front();
                    let left = later.map(|parts| self.settle(parts, &produced, true));
                    self.under_way.extend(left.filter(|parts| !parts.is_empty()));
                }
                std::thread::sleep(Duration::from_millis(10));
                self.send_again(&mut connection)?;
            }
            window = self.rng.within(1..WINDOW as u64 + 1) as usize;
            if self.rng.percent(60) {
                // A pace that leaves the machine's two cores some air: the moment of the kill matters, not the rate.
                std::thread::sleep(Duration::from_micros(self.rng.within(200..2_000)));
            }
        }
    }

    fn acks(&self) -> i16 {
        if self.plan.idempotent { -1 } else { 1 }
    }

    fn send_again(&mut self, connection: &mut Connection) -> Result<(), WireError> {
        // A connection that broke between the answers to a window has left what was put off behind what was never answered.
        self.under_way.make_contiguous().sort_by_key(|parts| parts.first().map(|part| part.op));
        for parts in &self.under_way {
            send(connection, self.acks(), parts)?;
        }
        Ok(())
    }

    fn send_new(&mut self, connection: &mut Connection) -> Result<(), WireError> {
        let first = self.rng.below(PARTITIONS);
        let count = if self.rng.once_in(4) { self.rng.within(2..4) } else { 1 };
        let parts: Vec<Part> = (0..count).map(|step| self.part((first + step) % PARTITIONS)).collect();
        self.under_way.push_back(parts);
        let parts = self.under_way.back().expect("just pushed");
        send(connection, self.acks(), parts)?;
        Ok(())
    }

    /// Makes a batch and says so in the history, before it leaves.
    fn part(&mut self, partition: u64) -> Part {
        let count = self.rng.within(1..self.plan.batch_records_max + 1) as u32;
        let first = self.next_number;
        self.next_number += u64::from(count);
        let timestamp_ms = now_ms();
        let records: Vec<NewRecord> = (first..self.next_number)
            .map(|number| {
                let bytes = self.rng.within(value::VALUE_BYTES_MIN as u64..self.plan.record_bytes_max) as usize;
                let value = Some(value::payload(number, bytes).into());
                NewRecord { value, timestamp_ms, headers: self.headers(), ..NewRecord::default() }
            })
            .collect();
        let sequence = self.sequences[partition as usize];
        let numbering = self.producer.map(|(id, epoch)| Numbering {
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: sequence,
        });
        self.sequences[partition as usize] = batch::sequence_plus(sequence, count as i32);
        let plain = batch::build(&records, numbering.unwrap_or(Numbering::NONE));
        let codec = if self.plan.compresses { self.rng.pick(&CODECS) } else { Compression::None };
        // A codec that fails is a fault of this program's, and leaves the batch as it is.
        let bytes = batch::compressed(&plain, codec).unwrap_or(plain).bytes().clone();
        let op = self.shared.next_op();
        let producer = self.producer.map(|(id, epoch)| Producer { id, epoch, sequence });
        let client = self.plan.client;
        self.shared.record(|push| push(Event::Send { op, client, partition, first, count, producer }));
        Part { op, partition, sequence, bytes }
    }

    /// Something that compresses, since the payload does not.
    fn headers(&self) -> Vec<(Bytes, Option<Bytes>)> {
        let padding = || (Bytes::from_static(b"padding"), Some(Bytes::from_static(&[b'.'; 150])));
        self.plan.compresses.then(padding).into_iter().collect()
    }

    /// Takes the answer to the oldest request.
    fn take(&mut self, produced: &[Produced]) -> Next {
        let Some(parts) = self.under_way.pop_front() else { return Next::GoOn };
        let left = self.settle(parts, produced, false);
        if left.is_empty() {
            return Next::GoOn;
        }
        self.under_way.push_front(left);
        // The requests behind it keep their order when they are sent again behind it.
        self.under_way.rotate_left(1);
        Next::Repeat
    }

    /// Records what became of each part and returns those that must be sent again. `behind` says that an earlier request of this
    /// connection was put off, so that a gap in the sequence is its consequence.
    fn settle(&mut self, parts: Vec<Part>, produced: &[Produced], behind: bool) -> Vec<Part> {
        let mut left = Vec::new();
        for part in parts {
            let answer = produced.iter().find(|answer| answer.partition as u64 == part.partition);
            let op = part.op;
            match answer {
                Some(answer) if answer.error == Code::NONE && answer.base_offset >= 0 => {
                    let offset = answer.base_offset as u64;
                    self.shared.record(|push| push(Event::SendOk { op, offset }));
                }
                Some(answer)
                    if self.plan.idempotent
                        && (answer.error.retriable()
                            || behind && answer.error == Code::OUT_OF_ORDER_SEQUENCE_NUMBER) =>
                {
                    left.push(part);
                }
                Some(answer) if answer.error.retriable() => {
                    self.shared.record(|push| push(Event::SendInfo { op }));
                }
                answer => {
                    // A correct broker has no reason to refuse any of these batches, a repeated one least of all.
                    let code = answer.map_or("no answer for the partition".into(), |answer| answer.error.to_string());
                    self.shared.record(|push| push(Event::SendInfo { op }));
                    self.shared.refuse(format!(
                        "client {}: batch with sequence {} for partition {} was answered {code}",
                        self.plan.client, part.sequence, part.partition
                    ));
                }
            }
        }
        left
    }

    /// A plain sender's connection broke: nobody will ever tell about what was under way.
    fn give_up(&mut self) {
        let lost: Vec<Op> = self.under_way.drain(..).flatten().map(|part| part.op).collect();
        self.shared.record(|push| {
            for op in lost {
                push(Event::SendInfo { op });
            }
        });
    }
}

fn send(connection: &mut Connection, acks: i16, parts: &[Part]) -> Result<(), WireError> {
    let batches: Vec<(i32, &[u8])> = parts.iter().map(|part| (part.partition as i32, &part.bytes[..])).collect();
    connection.send_produce(TOPIC, acks, &batches)?;
    Ok(())
}
