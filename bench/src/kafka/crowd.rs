// SPDX-License-Identifier: Apache-2.0
//! Many connections with a little each: one record a request, sent as soon as an answer makes room. Few threads carry them all, so that
//! what is measured is the broker under a crowd and not the scheduler under a crowd of clients.
//!
//! Owns: which connection may send. Must not know: which broker it loads.

use super::generator::{LoadOutcome, ProduceLoad, Template, histogram, producer_id, together};
use crate::wire::{Api, Code, Connection, WireError};
use hdrhistogram::Histogram;
use model::batch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const THREADS: u32 = 2;

/// One client: a connection with its own producer.
struct Member {
    connection: Connection,
    producer: (i64, i16),
    sequences: Vec<i32>,
    next_partition: i32,
    sent_at: VecDeque<Instant>,
}

/// Produces and waits for every answer.
///
/// # Errors
/// The first connection that fails or is refused.
pub fn produce(address: SocketAddr, load: &ProduceLoad) -> Result<LoadOutcome, WireError> {
    let mut crowds: Vec<Vec<Member>> = (0..THREADS).map(|_| Vec::new()).collect();
    for index in 0..load.connections {
        let mut connection = Connection::open(address, PATIENCE)?;
        let producer = if load.idempotent { producer_id(&mut connection)? } else { (-1, -1) };
        crowds[(index % THREADS) as usize].push(Member {
            connection,
            producer,
            sequences: vec![0; load.partitions as usize],
            next_partition: index as i32 % load.partitions,
            sent_at: VecDeque::new(),
        });
    }
    let requests = load.records.div_ceil(u64::from(load.batch_records));
    let share = |thread: u64| requests / u64::from(THREADS) + u64::from(thread < requests % u64::from(THREADS));
    let begin = Instant::now();
    let outcomes: Vec<Result<Histogram<u64>, WireError>> = thread::scope(|scope| {
        let running: Vec<_> = (0u64..)
            .zip(crowds)
            .map(|(number, crowd)| scope.spawn(move || carry(crowd, share(number), load)))
            .collect();
        running.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect()
    });
    let seconds = begin.elapsed().as_secs_f64();
    let answer_us = together(outcomes)?;
    let records = answer_us.len() * u64::from(load.batch_records);
    Ok(LoadOutcome { records, seconds, answer_us })
}

/// Sends `requests` over the connections of one thread. Every answer is counted.
fn carry(mut crowd: Vec<Member>, requests: u64, load: &ProduceLoad) -> Result<Histogram<u64>, WireError> {
    let mut template = Template::new(load.batch_records, load.record_bytes);
    let (mut left, mut answered) = (requests, 0);
    let (mut answer_us, mut produced) = (histogram(), Vec::new());
    let mut send = |member: &mut Member, left: &mut u64| -> Result<(), WireError> {
        while *left > 0 && member.connection.under_way() < load.in_flight_max {
            let partition = member.next_partition;
            member.next_partition = (partition + 1) % load.partitions;
            let sequence = &mut member.sequences[partition as usize];
            let bytes = if load.idempotent { template.stamp(member.producer, *sequence) } else { template.bytes() };
            member.connection.send_produce(&load.topic, -1, &[(partition, bytes)])?;
            *sequence = batch::sequence_plus(*sequence, load.batch_records as i32);
            member.sent_at.push_back(Instant::now());
            *left -= 1;
        }
        Ok(())
    };
    // One each before the second each, so that all take part from the beginning.
    for member in &mut crowd {
        send(member, &mut left)?;
    }
    let wait = Timespec::try_from(PATIENCE).map_err(|_| WireError::Io(io::ErrorKind::InvalidInput.into()))?;
    while answered < requests {
        let ready: Vec<bool> = {
            let mut waited: Vec<PollFd<'_>> =
                crowd.iter().map(|member| PollFd::new(&member.connection, PollFlags::IN)).collect();
            if poll(&mut waited, Some(&wait)).map_err(io::Error::from)? == 0 {
                return Err(WireError::Io(io::ErrorKind::TimedOut.into()));
            }
            waited.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (member, _) in crowd.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            loop {
                member.connection.receive_produce(&mut produced)?;
                let Some(at) = member.sent_at.pop_front() else {
                    return Err(WireError::Malformed { api: Api::Produce, why: "an answer to no request" });
                };
                answer_us.saturating_record(at.elapsed().as_micros() as u64);
                match produced[..] {
                    [part] if part.error == Code::NONE && part.base_offset >= 0 => answered += 1,
                    [part] => return Err(WireError::Refused { api: Api::Produce, code: part.error }),
                    _ => return Err(WireError::Malformed { api: Api::Produce, why: "not one partition" }),
                }
                if !member.connection.has_read_ahead() {
                    break;
                }
            }
            send(member, &mut left)?;
        }
    }
    Ok(answer_us)
}
