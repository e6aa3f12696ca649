// SPDX-License-Identifier: Apache-2.0
//! The well-behaved clients of a flood: one sends at a steady pace and says how long each answer took; one reads along; two commit.
//!
//! Owns: the pace, the times. Must not know: which wave goes on.
//!
//! The sender is due every [`PERIOD`] whatever happened before, and an answer's time counts from when its batch was due: a stall is
//! seen by all batches that it held up, not by one.

use crate::kill::committer::{self, CommitterPlan};
use crate::kill::reader::{self, ReaderPlan};
use crate::kill::shared::{PARTITIONS, Shared, TOPIC};
use crate::wire::{Code, Connection, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::{ProducerEpoch, ProducerId};
use sim::history::{Event, Producer};
use sim::rng::Rng;
use sim::value;
use std::sync::{Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Connections that they need, when none breaks.
pub const CLIENTS: u64 = 4;
const SENDER: u32 = 1;
const PERIOD: Duration = Duration::from_millis(10);
/// A refusal for now is asked again after this.
const PUT_OFF_PAUSE: Duration = Duration::from_millis(10);
const BATCH_RECORDS_MAX: u64 = 4;
const RECORD_BYTES_MAX: u64 = 1_000;

/// What the steady sender met.
#[derive(Default)]
pub struct Answers {
    pub took_ms: Vec<f64>,
    /// Times that it was told to come again.
    pub put_off: u64,
}

/// Where the sender leaves what it met, and the waves take it from.
#[derive(Default)]
pub struct Pace {
    answers: Mutex<Answers>,
}

impl Pace {
    /// Everything since the last time.
    pub fn take(&self) -> Answers {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, took: Duration, put_off: u64) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.took_ms.push(took.as_secs_f64() * 1e3);
        answers.put_off += put_off;
    }
}

/// Starts them; they end when `shared` does.
pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared, pace: &'scope Pace, seed: u64) {
    let rng = move |client: u32| Rng::of(seed, u64::from(client));
    scope.spawn(move || send(shared, pace, rng(SENDER)));
    scope.spawn(move || reader::run(ReaderPlan { client: 2, in_session: false, from_tail: false }, shared, rng(2)));
    for (client, group, slot) in [(3, 0, None), (4, 2, Some(0))] {
        scope.spawn(move || committer::run(CommitterPlan { client, group, slot }, shared, rng(client)));
    }
}

/// One batch, until it is told what became of it.
struct Sending {
    partition: u64,
    bytes: Bytes,
    op: u64,
    due: Instant,
    put_off: u64,
}

fn send(shared: &Shared, pace: &Pace, mut rng: Rng) {
    let mut life = 0;
    let mut producer = None;
    let mut sequences = [0i32; PARTITIONS as usize];
    let mut next_number = value::first_of_client(SENDER);
    let mut sending: Option<Sending> = None;
    let mut due = Instant::now();
    while let Some((mut connection, now)) = shared.connect(life, sending.is_some()) {
        life = now;
        let broken = loop {
            if sending.is_none() {
                if shared.ending() {
                    return;
                }
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let known = match producer {
                Some(known) => known,
                None => match connection.init_producer_id() {
                    Ok(new) => *producer.insert(new),
                    Err(error) => break error,
                },
            };
            let batch = sending.get_or_insert_with(|| {
                let batch = make(shared, &mut rng, known, &mut sequences, &mut next_number, due);
                due += PERIOD;
                batch
            });
            match one(&mut connection, shared, batch) {
                Ok(true) => {
                    pace.add(batch.due.elapsed(), batch.put_off);
                    sending = None;
                }
                Ok(false) => {
                    batch.put_off += 1;
                    std::thread::sleep(PUT_OFF_PAUSE);
                }
                Err(error) => break error,
            }
        };
        if !matches!(broken, WireError::Io(_)) {
            shared.refuse(format!("the steady sender: {broken}"));
        }
    }
    if sending.is_some() {
        shared.refuse("the steady sender's last batch was never answered".to_owned());
    }
}

fn make(
    shared: &Shared,
    rng: &mut Rng,
    (id, epoch): (i64, i16),
    sequences: &mut [i32; PARTITIONS as usize],
    next_number: &mut u64,
    due: Instant,
) -> Sending {
    let partition = rng.below(PARTITIONS);
    let count = rng.within(1..BATCH_RECORDS_MAX + 1) as u32;
    let first = *next_number;
    *next_number += u64::from(count);
    let timestamp_ms = now_ms();
    let records: Vec<NewRecord> = (first..*next_number)
        .map(|number| {
            let bytes = rng.within(value::VALUE_BYTES_MIN as u64..RECORD_BYTES_MAX) as usize;
            NewRecord { value: Some(value::payload(number, bytes).into()), timestamp_ms, ..NewRecord::default() }
        })
        .collect();
    let sequence = sequences[partition as usize];
    sequences[partition as usize] = batch::sequence_plus(sequence, count as i32);
    let numbering =
        Numbering { producer_id: ProducerId(id), producer_epoch: ProducerEpoch(epoch), base_sequence: sequence };
    let op = shared.next_op();
    let producer = Some(Producer { id, epoch, sequence });
    shared.record(|push| push(Event::Send { op, client: SENDER, partition, first, count, producer }));
    Sending { partition, bytes: batch::build(&records, numbering).bytes().clone(), op, due, put_off: 0 }
}

/// True when it was answered for good, false when it shall come again.
fn one(connection: &mut Connection, shared: &Shared, sending: &Sending) -> Result<bool, WireError> {
    let mut produced = Vec::new();
    connection.send_produce(TOPIC, -1, &[(sending.partition as i32, &sending.bytes)])?;
    connection.receive_produce(&mut produced)?;
    let op = sending.op;
    match produced.first() {
        Some(answer) if answer.error == Code::NONE && answer.base_offset >= 0 => {
            let offset = answer.base_offset as u64;
            shared.record(|push| push(Event::SendOk { op, offset }));
            Ok(true)
        }
        Some(answer) if answer.error.retriable() => Ok(false),
        answer => {
            shared.record(|push| push(Event::SendInfo { op }));
            shared.refuse(format!("the steady sender was answered {answer:?}"));
            Ok(true)
        }
    }
}
