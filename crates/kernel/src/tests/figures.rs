// SPDX-License-Identifier: Apache-2.0
//! Figures, not checks: run by name, optimised (`docs/internals/measurements.md` has the command and what came out).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a measurement reads the clock and the process's memory"
)]

use super::measured::resident_bytes;
use super::system::ctx;
use crate::command::{Command, DeclareTopic, Isolation, Origin, Publish, Read, TopicSettings};
use crate::format::v1::object::Object;
use crate::shard::{Loaded, Shard, ShardConfig};
use crate::spill::Work;
use crate::state::State;
use crate::{Catalog, Effect, Reply};
use bytes::Bytes;
use model::batch::{Batch, NewRecord, Numbering, build};
use model::media::{BlobDone, BlobOp, WalDone, WalOp, WalOpened};
use model::{Lsn, Now, Offset, PartitionId, ProducerEpoch, ProducerId, ShardEpoch, Ticket, TopicId};
use std::time::{Duration, Instant};

/// A shard whose log and blobs take everything at once.
struct Bench {
    shard: Shard,
    now: Now,
    replies: u64,
    /// Time in computations, which the node runs elsewhere.
    work: Duration,
    longest: Duration,
}

impl Bench {
    fn new(tail_bytes_max: u64) -> Bench {
        let config = ShardConfig { tail_bytes_max, ..ShardConfig::default() };
        let mut blobs = super::system::TestBlobs::default();
        let loaded = Loaded::load(&config, &mut blobs).expect("nothing to load");
        let epoch = ShardEpoch(1);
        let wal = WalOpened { epoch, frames: Vec::new(), next: Lsn(1), copied_forward: 0, torn_at: None };
        let shard = Shard::open(config, loaded, wal, Vec::new(), Now::default()).expect("an empty shard");
        let zero = Duration::ZERO;
        Bench { shard, now: Now::default(), replies: 0, work: zero, longest: zero }
    }

    fn declare(&mut self, number: u8, partition_count: u32) {
        let declare = DeclareTopic {
            topic: TopicId([number; 16]),
            name: format!("topic-{number}").into(),
            partition_count,
            settings: TopicSettings::default(),
            validate_only: false,
        };
        self.shard.submit(self.now, &ctx(1), Ticket(0), Command::DeclareTopic(declare));
        self.drain();
    }

    fn drain(&mut self) {
        let started = Instant::now();
        let mut elsewhere = Duration::ZERO;
        loop {
            let mut durable = None;
            let mut any = false;
            self.shard.finish(self.now);
            while let Some(effect) = self.shard.poll_effect() {
                match effect {
                    Effect::Reply { reply, .. } => {
                        self.replies += 1;
                        let bad = matches!(reply, Reply::Published(Err(_)) | Reply::Read(Err(_)));
                        assert!(!bad, "{reply:?} {:?}", self.shard.figures());
                    }
                    Effect::Wal(WalOp::Append { lsn, .. }) => durable = Some(lsn),
                    Effect::Work(work) => {
                        let started = Instant::now();
                        let done = Work::run(work);
                        elsewhere += started.elapsed();
                        self.shard.handle_work(self.now, done);
                        any = true;
                    }
                    Effect::Blob(tag, op) => {
                        let done = match op {
                            BlobOp::Put { .. } => BlobDone::Put(Ok(())),
                            BlobOp::Reserve { .. } => BlobDone::Reserved(Ok(())),
                            _ => BlobDone::Deleted(Ok(())),
                        };
                        self.shard.handle_blob(self.now, tag, done);
                        any = true;
                    }
                    _ => {}
                }
            }
            if let Some(through) = durable {
                self.shard.handle_wal(self.now, WalDone::Durable { through });
                any = true;
            }
            if !any {
                break;
            }
        }
        self.work += elsewhere;
        self.longest = self.longest.max(started.elapsed() - elsewhere);
    }
}

fn batch_of(value_bytes: usize, numbering: Numbering) -> Batch {
    build(&[NewRecord { value: Some(Bytes::from(vec![b'x'; value_bytes])), ..NewRecord::default() }], numbering)
}

fn appends(name: &str, partitions: u64, a_drain: u64, value_bytes: usize, numbered: bool, tail_bytes_max: u64) {
    const COUNT: u64 = 2_000_000;
    let count = COUNT / (1 + value_bytes as u64 / 500);
    let mut bench = Bench::new(tail_bytes_max);
    bench.declare(1, partitions as u32);
    let plain = batch_of(value_bytes, Numbering::NONE);
    bench.replies = 0;
    let holder = ctx(1);
    let batches: Vec<Batch> = match numbered {
        false => Vec::new(),
        true => (0..count / partitions + 1)
            .map(|sequence| Numbering {
                producer_id: ProducerId(1),
                producer_epoch: ProducerEpoch(0),
                base_sequence: sequence as i32,
            })
            .map(|numbering| batch_of(value_bytes, numbering))
            .collect(),
    };
    bench.longest = Duration::ZERO;
    let started = Instant::now();
    for number in 0..count {
        let batch = if numbered { batches[(number / partitions) as usize].clone() } else { plain.clone() };
        let partition = PartitionId(number % partitions);
        let publish = Publish { partition, leader_epoch: None, batch, has_keys: false, origin: Origin::Kafka };
        bench.shard.submit(bench.now, &holder, Ticket(number), Command::Publish(publish));
        if number % a_drain == a_drain - 1 {
            bench.drain();
        }
    }
    bench.drain();
    let took = started.elapsed() - bench.work;
    assert_eq!(bench.replies, count);
    println!(
        "append {name}: {} ns a batch of {} bytes ({} spills, computed elsewhere {} ms, longest drain {} us)",
        took.as_nanos() / u128::from(count),
        plain.bytes().len(),
        bench.shard.figures().spills,
        bench.work.as_millis(),
        bench.longest.as_micros(),
    );
}

#[test]
#[ignore = "a measurement"]
fn figures_of_appending() {
    let big = 4 << 30;
    appends("1 partition, 100 a drain", 1, 100, 100, false, big);
    appends("100 partitions, 100 a drain", 100, 100, 100, false, big);
    appends("10,000 partitions, 100 a drain", 10_000, 100, 100, false, big);
    appends("100 partitions, 1 a drain", 100, 1, 100, false, 16 * big);
    appends("100 partitions, 100 a drain, numbered", 100, 100, 100, true, big);
    appends("100 partitions, 16 KiB, 4 a drain", 100, 4, 16 * 1024, false, big);
    appends("1 partition, 100 a drain, with spills", 1, 100, 100, false, 256 << 20);
    appends("10,000 partitions, 100 a drain, with spills", 10_000, 100, 100, false, 256 << 20);
    appends("10,000 partitions, 1 KB, 100 a drain, numbered, with spills", 10_000, 100, 1_000, true, 256 << 20);
}

#[test]
#[ignore = "a measurement"]
fn figures_of_idle_partitions() {
    const PARTITIONS: u32 = 100_000;
    let mut bench = Bench::new(256 << 20);
    // The first topics leave freed memory behind, which later ones use: their growth is what partitions take.
    let mut sizes = Vec::new();
    for topic in 1..=8 {
        bench.declare(topic, PARTITIONS);
        bench.shard.request_checkpoint(bench.now);
        bench.longest = Duration::ZERO;
        while !bench.shard.idle() {
            bench.shard.handle_timeout(bench.now);
            bench.drain();
        }
        sizes.push(resident_bytes());
    }
    println!(
        "{PARTITIONS} idle partitions of one topic: {} bytes each, catalog row included (a Partition is {} bytes); \
         longest drain of a checkpoint {} us",
        (sizes[7] - sizes[3]) / (4 * u64::from(PARTITIONS)),
        size_of::<crate::log::partition::Partition>(),
        bench.longest.as_micros(),
    );
    println!("sizes: an effect {}, a command {}", size_of::<Effect>(), size_of::<Command>());
}

#[test]
#[ignore = "a measurement"]
fn figures_of_a_producer_on_each_partition() {
    const PARTITIONS: u32 = 100_000;
    let mut bench = Bench::new(1 << 30);
    bench.declare(1, PARTITIONS);
    let mut sizes = vec![resident_bytes()];
    for producer in 1..=3 {
        for partition in 0..PARTITIONS {
            let numbering =
                Numbering { producer_id: ProducerId(producer), producer_epoch: ProducerEpoch(0), base_sequence: 0 };
            let partition = PartitionId(u64::from(partition));
            let publish = Publish {
                partition,
                leader_epoch: None,
                batch: batch_of(10, numbering),
                has_keys: false,
                origin: Origin::Kafka,
            };
            bench.shard.submit(bench.now, &ctx(1), Ticket(0), Command::Publish(publish));
            if partition.0 % 100 == 99 {
                bench.drain();
            }
        }
        bench.shard.request_checkpoint(bench.now);
        while !bench.shard.idle() {
            bench.shard.handle_timeout(bench.now);
            bench.drain();
        }
        sizes.push(resident_bytes());
    }
    let grown: Vec<u64> = sizes.windows(2).map(|pair| (pair[1] - pair[0]) / u64::from(PARTITIONS)).collect();
    println!(
        "bytes a partition that the first, second, third producer adds, its run and what spilling left included: {grown:?}"
    );
}

#[test]
#[ignore = "a measurement"]
fn figures_of_decoding_state() {
    const PARTITIONS: u32 = 100_000;
    for numbered in [false, true] {
        let mut bench = Bench::new(1 << 30);
        bench.declare(1, PARTITIONS);
        for partition in 0..PARTITIONS {
            let numbering =
                Numbering { producer_id: ProducerId(1), producer_epoch: ProducerEpoch(0), base_sequence: 0 };
            let batch = batch_of(10, if numbered { numbering } else { Numbering::NONE });
            let partition = PartitionId(u64::from(partition));
            let publish = Publish { partition, leader_epoch: None, batch, has_keys: false, origin: Origin::Kafka };
            bench.shard.submit(bench.now, &ctx(1), Ticket(0), Command::Publish(publish));
        }
        bench.drain();
        let objects = bench.shard.state.objects();
        let bytes: usize = objects.iter().map(|(key, value)| key.key.len() + value.len()).sum();
        let started = Instant::now();
        let mut state = State::new(Catalog::default(), Vec::new());
        for (key, value) in &objects {
            state.load(Object::decode(key, value).expect("an object")).expect("it fits");
        }
        let took = started.elapsed();
        println!(
            "decode of {} objects (producers: {numbered}), {} bytes each: {} ns an object",
            objects.len(),
            bytes / objects.len(),
            took.as_nanos() / objects.len() as u128,
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn figures_of_reading_the_tail() {
    const COUNT: u64 = 100_000;
    let mut bench = Bench::new(4 << 30);
    bench.declare(1, 1);
    let batch = batch_of(1000, Numbering::NONE);
    for number in 0..COUNT {
        let (partition, batch) = (PartitionId(0), batch.clone());
        let publish = Publish { partition, leader_epoch: None, batch, has_keys: false, origin: Origin::Kafka };
        bench.shard.submit(bench.now, &ctx(1), Ticket(number), Command::Publish(publish));
        if number % 10 == 9 {
            bench.drain();
        }
    }
    let started = Instant::now();
    let mut from = 0;
    let mut reads = 0;
    while from < COUNT {
        let read = Read {
            partition: PartitionId(0),
            from: Offset(from),
            bytes_max: 64 * 1024,
            isolation: Isolation::High,
            leader_epoch: None,
            watch: None,
        };
        bench.shard.submit(bench.now, &ctx(1), Ticket(0), Command::Read(read));
        bench.shard.finish(bench.now);
        let Some(Effect::Reply { reply: Reply::Read(Ok(reply)), .. }) = bench.shard.poll_effect() else {
            panic!("a read is answered at once")
        };
        from += reply.pieces.len() as u64;
        reads += 1;
    }
    let took = started.elapsed();
    println!(
        "read of the tail: {} ns a 1 KB batch, {} ns a read of 64 KiB",
        took.as_nanos() / u128::from(COUNT),
        took.as_nanos() / reads
    );
}
