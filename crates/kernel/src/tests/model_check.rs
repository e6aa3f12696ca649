// SPDX-License-Identifier: Apache-2.0
//! Random commands, completions in any order, crashes and spills, against a plain model: a list of values a partition.

use super::script::values;
use super::system::{Out, System};
use crate::command::{
    AlterTopic, Command, DeclareTopic, Describe, Isolation, Origin, Publish, Read, TopicSettings, Trim,
};
use crate::error::{AlterError, CoordinatorError, PublishError, ReadError};
use crate::reply::Reply;
use crate::shard::ShardConfig;
use bytes::Bytes;
use model::batch::{NewRecord, Numbering, build};
use model::media::BlobKind;
use model::{Offset, PartitionId, ProducerEpoch, ProducerId, ShardId, TopicId};
use proptest::prelude::*;
use std::collections::BTreeMap;

const PARTITIONS: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Publish {
        partition: u64,
        records: usize,
        bytes: usize,
        numbered: bool,
    },
    /// The last numbered batch of the partition is sent again.
    Repeat {
        partition: u64,
    },
    Read {
        partition: u64,
        from: u64,
        bytes_max: u32,
    },
    Trim {
        partition: u64,
        part: u64,
    },
    Count {
        name: u8,
    },
    /// The topic's largest batch grows, and perhaps the topic.
    Alter {
        partitions: u32,
    },
    Describe {
        partition: u64,
    },
    Sync(usize),
    Complete,
    Checkpoint,
    Advance(u64),
    Crash {
        kept: usize,
    },
    NoSpace(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![8 => 0..200usize, 1 => 3_000..9_000usize];
    prop_oneof![
        12 => (0..PARTITIONS, 1..4usize, bytes, any::<bool>())
            .prop_map(|(partition, records, bytes, numbered)| Step::Publish { partition, records, bytes, numbered }),
        2 => (0..PARTITIONS).prop_map(|partition| Step::Repeat { partition }),
        4 => (0..PARTITIONS, 0..60u64, 1..3_000u32)
            .prop_map(|(partition, from, bytes_max)| Step::Read { partition, from, bytes_max }),
        1 => (0..PARTITIONS, 0..4u64).prop_map(|(partition, part)| Step::Trim { partition, part }),
        1 => (0..3u8).prop_map(|name| Step::Count { name }),
        1 => (0..2u32).prop_map(|partitions| Step::Alter { partitions }),
        1 => (0..PARTITIONS).prop_map(|partition| Step::Describe { partition }),
        6 => (1..4usize).prop_map(Step::Sync),
        8 => Just(Step::Complete),
        1 => Just(Step::Checkpoint),
        2 => (0..3_000u64).prop_map(Step::Advance),
        1 => (0..3usize).prop_map(|kept| Step::Crash { kept }),
        1 => any::<bool>().prop_map(Step::NoSpace),
    ]
}

#[derive(Clone, Debug, Default)]
struct Log {
    values: Vec<String>,
    /// Records below are acknowledged, or were seen.
    safe: u64,
    start: u64,
    /// The trim that is decided last, durable or not.
    start_decided: u64,
    sequence: i32,
    last: Option<(i32, usize, u64)>,
}

#[derive(Clone, Debug)]
enum Asked {
    Publish { partition: u64, records: Vec<String>, sequence: Option<i32> },
    Repeat { partition: u64, offset: u64 },
    Read { partition: u64, from: u64 },
    Trim { partition: u64 },
    Alter { altered: (u32, u32) },
    Describe { partition: u64 },
    Other,
}

struct Check {
    system: System,
    logs: Vec<Log>,
    asked: BTreeMap<u64, Asked>,
    /// Publishes in the order in which they were handed over, a partition: the order in which they must land.
    order: Vec<Vec<u64>>,
    ticket: u64,
    counts: BTreeMap<u8, u64>,
    /// The topic's largest batch and partition count: as acknowledged.
    altered: (u32, u32),
}

impl Check {
    fn new(shard_count: u32) -> Check {
        let config = ShardConfig { tail_bytes_max: 64 * 1024, ..ShardConfig::default() };
        let mut system = System::with(shard_count, config);
        let declare = DeclareTopic {
            topic: TopicId([1; 16]),
            name: "t".into(),
            partition_count: PARTITIONS as u32,
            settings: TopicSettings { retention_ms: None, ..TopicSettings::default() },
            validate_only: false,
        };
        system.submit(ShardId(0), 1, 0, Command::DeclareTopic(declare));
        system.pump();
        system.out.clear();
        (system.hold_wal, system.hold_blobs) = (true, true);
        let logs = vec![Log::default(); PARTITIONS as usize];
        let order = vec![Vec::new(); PARTITIONS as usize];
        let altered = (TopicSettings::default().batch_bytes_max, PARTITIONS as u32);
        Check { system, logs, asked: BTreeMap::new(), order, ticket: 0, counts: BTreeMap::new(), altered }
    }

    /// The topic's largest batch and partition count: as decided, and as heads see them.
    fn topic(&self) -> ((u32, u32), (u32, u32)) {
        let ctx = super::system::ctx(1);
        let of = |catalog: &crate::Catalog| {
            let topic = catalog.by_name(&ctx, "t").expect("the topic");
            (topic.settings.batch_bytes_max, topic.partitions.len() as u32)
        };
        (of(self.system.members[0].shard.catalog()), of(&self.system.catalog))
    }

    fn shard_of(&self, partition: u64) -> ShardId {
        ShardId((partition % self.system.members.len() as u64) as u32)
    }

    fn submit(&mut self, shard: ShardId, asked: Asked, command: Command) {
        self.ticket += 1;
        if let Asked::Publish { partition, .. } = &asked {
            self.order[*partition as usize].push(self.ticket);
        }
        self.asked.insert(self.ticket, asked);
        self.system.submit(shard, 1, self.ticket, command);
        self.look();
    }

    fn publish(&mut self, partition: u64, values: Vec<String>, sequence: Option<i32>, asked: Asked) {
        let records: Vec<NewRecord> = values
            .iter()
            .map(|value| NewRecord { value: Some(Bytes::from(value.clone())), ..NewRecord::default() })
            .collect();
        let numbering = sequence.map_or(Numbering::NONE, |base_sequence| Numbering {
            producer_id: ProducerId(partition as i64),
            producer_epoch: ProducerEpoch(0),
            base_sequence,
        });
        let batch = build(&records, numbering);
        // What heads make is packed at the spill, beside what is a client's.
        let origin = if self.ticket.is_multiple_of(8) { Origin::Kafka } else { Origin::Amqp };
        let publish = Publish { partition: PartitionId(partition), leader_epoch: None, batch, has_keys: false, origin };
        self.submit(self.shard_of(partition), asked, Command::Publish(publish));
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Publish { partition, records, bytes, numbered } => {
                let values: Vec<String> = (0..*records)
                    .map(|number| format!("{}-{number}-{}", self.ticket + 1, "x".repeat(*bytes)))
                    .collect();
                // Numbered batches are sent one after the other's answer, so that the model knows what must follow.
                let waiting = self.order[*partition as usize]
                    .iter()
                    .any(|ticket| matches!(self.asked.get(ticket), Some(Asked::Publish { sequence: Some(_), .. })));
                let log = &self.logs[*partition as usize];
                let sequence = (*numbered && !waiting).then_some(log.sequence);
                let asked = Asked::Publish { partition: *partition, records: values.clone(), sequence };
                self.publish(*partition, values, sequence, asked);
            }
            Step::Repeat { partition } => {
                let Some((sequence, count, offset)) = self.logs[*partition as usize].last else { return };
                let from = offset as usize;
                let values = self.logs[*partition as usize].values[from..from + count].to_vec();
                let asked = Asked::Repeat { partition: *partition, offset };
                self.publish(*partition, values, Some(sequence), asked);
            }
            Step::Read { partition, from, bytes_max } => {
                let read = Read {
                    partition: PartitionId(*partition),
                    from: Offset(*from),
                    bytes_max: *bytes_max,
                    isolation: Isolation::Stable,
                    leader_epoch: None,
                    watch: None,
                };
                let asked = Asked::Read { partition: *partition, from: *from };
                self.submit(self.shard_of(*partition), asked, Command::Read(read));
            }
            Step::Trim { partition, part } => {
                let log = &self.logs[*partition as usize];
                let before = log.start_decided + (log.safe - log.start_decided.min(log.safe)) * part / 3;
                let trim = Trim { partition: PartitionId(*partition), before: Some(Offset(before)) };
                self.submit(self.shard_of(*partition), Asked::Trim { partition: *partition }, Command::Trim(trim));
                let log = &mut self.logs[*partition as usize];
                log.start_decided = log.start_decided.max(before);
            }
            Step::Count { name } => {
                let command = Command::Coordinator { which: super::counter::COUNTER, input: vec![b'a' + name].into() };
                *self.counts.entry(*name).or_default() += 1;
                self.submit(ShardId(0), Asked::Other, command);
            }
            Step::Alter { partitions } => {
                let seen = self.system.members[0].shard.catalog().by_name(&super::system::ctx(1), "t").cloned();
                let seen = seen.expect("the topic");
                let count = seen.partitions.len() as u32;
                let batch_bytes_max = seen.settings.batch_bytes_max + 1;
                let alter = AlterTopic {
                    topic: seen.id,
                    seen: seen.settings.clone(),
                    seen_partition_count: count,
                    settings: TopicSettings { batch_bytes_max, ..seen.settings.clone() },
                    partition_count: count + partitions,
                    validate_only: false,
                };
                let altered = (batch_bytes_max, count + partitions);
                self.submit(ShardId(0), Asked::Alter { altered }, Command::AlterTopic(alter));
            }
            Step::Describe { partition } => {
                let describe = Describe { partition: PartitionId(*partition), producers_max: 10 };
                let asked = Asked::Describe { partition: *partition };
                self.submit(self.shard_of(*partition), asked, Command::Describe(describe));
            }
            Step::Sync(count) => {
                self.system.sync(*count);
                self.look();
            }
            Step::Complete => {
                self.system.hold_blobs = false;
                self.system.complete();
                self.system.hold_blobs = true;
                self.look();
            }
            Step::Checkpoint => {
                self.system.checkpoint();
                self.look();
            }
            Step::Advance(ms) => {
                self.system.advance(*ms);
                self.look();
            }
            Step::Crash { kept } => {
                self.system.crash(*kept);
                self.system.out.clear();
                self.recovered();
            }
            Step::NoSpace(none) => {
                self.system.members.iter_mut().for_each(|member| member.blobs.no_space = *none);
            }
        }
    }

    /// Looks at what came out.
    fn look(&mut self) {
        for out in std::mem::take(&mut self.system.out) {
            let Out::Reply(_, ticket, reply) = out else { panic!("{out:?}") };
            let asked = self.asked.remove(&ticket.0).expect("one answer to a question");
            self.answered(ticket.0, asked, reply);
        }
        for index in 0..self.system.members.len() {
            if self.system.members[index].shard.has_open_frame() {
                // No log holds it yet.
                continue;
            }
            assert_eq!(self.system.replayed_hash(index), self.system.members[index].shard.state_hash(), "replay");
        }
    }

    fn answered(&mut self, ticket: u64, asked: Asked, reply: Reply) {
        match (asked, reply) {
            (Asked::Publish { partition, records, sequence }, Reply::Published(Ok(published))) => {
                assert!(!published.duplicate);
                // Batches handed over before land before; they are acknowledged no later.
                let order = &mut self.order[partition as usize];
                assert_eq!(order.remove(0), ticket, "publishes are answered in order");
                let log = &mut self.logs[partition as usize];
                assert_eq!(published.base_offset.0, log.values.len() as u64, "offsets are dense");
                if let Some(sequence) = sequence {
                    log.last = Some((sequence, records.len(), published.base_offset.0));
                    log.sequence = sequence + records.len() as i32;
                }
                log.values.extend(records);
                log.safe = log.values.len() as u64;
            }
            (
                Asked::Publish { partition, .. },
                Reply::Published(Err(PublishError::StorageFull | PublishError::Overloaded { .. })),
            ) => {
                self.order[partition as usize].retain(|waiting| *waiting != ticket);
            }
            (Asked::Repeat { partition, offset }, Reply::Published(Ok(published))) => {
                assert_eq!((published.duplicate, published.base_offset.0), (true, offset), "partition {partition}");
            }
            (Asked::Repeat { .. }, Reply::Published(Err(PublishError::StorageFull))) => {}
            (Asked::Read { partition, from }, Reply::Read(Ok(reply))) => {
                let log = &mut self.logs[partition as usize];
                assert!(reply.stable <= reply.high);
                assert!(reply.high.0 >= log.safe, "what was acknowledged is readable");
                let found: Vec<(u64, String)> = reply.pieces.iter().flat_map(values).collect();
                if from < reply.high.0 {
                    assert!(found.first().is_some_and(|(offset, _)| *offset <= from), "a read is never empty");
                    assert!(found.last().is_some_and(|(offset, _)| *offset >= from), "a read gets on");
                }
                for (number, (offset, value)) in found.iter().enumerate() {
                    assert_eq!(*offset, found[0].0 + number as u64, "offsets are contiguous");
                    match log.values.get(*offset as usize) {
                        Some(known) => assert_eq!(known, value, "one value an offset for ever"),
                        None => panic!("partition {partition}: {offset} was read, {} are known", log.values.len()),
                    }
                }
            }
            (Asked::Read { partition, from }, Reply::Read(Err(ReadError::OutOfRange { start, high }))) => {
                let log = &self.logs[partition as usize];
                assert!(from < start.0 || from > high.0);
                assert!(start.0 <= log.start_decided && high.0 >= log.safe);
            }
            (Asked::Trim { partition }, Reply::Trimmed(Ok(trimmed))) => {
                let log = &mut self.logs[partition as usize];
                assert!(trimmed.start.0 >= log.start);
                log.start = trimmed.start.0;
            }
            (Asked::Alter { altered }, Reply::Altered(Ok(_))) => {
                // A later change may have become visible with it.
                let (_, visible) = self.topic();
                assert!(visible.0 >= altered.0 && visible.1 >= altered.1, "{visible:?} is seen, not {altered:?}");
                for member in &self.system.members {
                    for topic in member.shard.state.hosted.values() {
                        assert!(topic.hosted.batch_bytes_max >= altered.0, "a shard acts upon earlier settings");
                    }
                }
                self.altered = self.altered.max(altered);
            }
            (Asked::Alter { .. }, Reply::Altered(Err(AlterError::StorageFull | AlterError::Overloaded { .. }))) => {}
            (Asked::Describe { partition }, Reply::Described(Ok(described))) => {
                let log = &self.logs[partition as usize];
                assert!(described.high.0 >= log.safe && described.start.0 >= log.start);
                assert_eq!(described.stored_bytes == 0, described.start == described.high, "{described:?}");
                assert!(described.producers.len() <= 1);
            }
            (Asked::Other, Reply::Coordinated(Ok(_))) => {}
            (
                Asked::Other,
                Reply::Coordinated(Err(CoordinatorError::Overloaded { .. } | CoordinatorError::StorageFull)),
            ) => {}
            (asked, reply) => panic!("{asked:?} was answered with {reply:?}"),
        }
    }

    /// After a crash: what was acknowledged is there, what is there beyond was handed over, in that order.
    fn recovered(&mut self) {
        let mut lost = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let shard = &self.system.members[self.shard_of(partition).0 as usize].shard;
            let found = shard.state.partitions.get(PartitionId(partition)).expect("the partition");
            let (start, high) = (found.visible_start.0, found.high.0);
            let log = &mut self.logs[partition as usize];
            assert!(high >= log.safe, "{} were acknowledged, {high} are there", log.safe);
            assert!(start >= log.start && start <= log.start_decided, "a trim is kept");
            (log.start, log.start_decided) = (start, start);
            for ticket in self.order[partition as usize].drain(..) {
                let Some(Asked::Publish { records, sequence, .. }) = self.asked.remove(&ticket) else { continue };
                if (log.values.len() as u64) < high {
                    if let Some(sequence) = sequence {
                        log.last = Some((sequence, records.len(), log.values.len() as u64));
                        log.sequence = sequence + records.len() as i32;
                    }
                    log.values.extend(records);
                }
            }
            lost.insert(partition, (log.values.len() as u64, high));
            log.safe = high;
        }
        for (partition, (known, high)) in lost {
            assert_eq!(known, high, "partition {partition}: the known batches end where the log ends");
        }
        self.asked.clear();
        let (decided, visible) = self.topic();
        assert_eq!(decided, visible, "what was decided and survived is seen");
        assert!(decided >= self.altered && decided.1 >= self.altered.1, "an acknowledged change is kept");
        self.altered = decided;
    }

    /// Every shard has its partitions of the topic, and acts upon its settings.
    fn is_placed(&self) {
        let ((batch_bytes_max, count), visible) = self.topic();
        assert_eq!((batch_bytes_max, count), visible);
        let shards = self.system.members.iter().map(|member| &member.shard.state);
        let placed: usize = shards.clone().map(|state| state.partitions.len()).sum();
        assert_eq!(placed, count as usize);
        for hosted in shards.flat_map(|state| state.hosted.values()) {
            assert_eq!(hosted.hosted.batch_bytes_max, batch_bytes_max);
        }
    }

    /// Everything comes to rest, and every partition is read from its start to its end.
    fn finish(&mut self) {
        self.system.members.iter_mut().for_each(|member| member.blobs.no_space = false);
        (self.system.hold_wal, self.system.hold_blobs) = (false, false);
        self.system.advance(10_000);
        self.look();
        assert!(self.asked.is_empty(), "every question was answered: {:?}", self.asked);
        self.is_placed();
        self.read_all();
        self.system.checkpoint();
        self.system.advance(1);
        for member in &self.system.members {
            assert!(member.shard.idle());
            assert_eq!(member.shard.figures().tail_bytes, 0, "a checkpoint empties the tail");
            assert!(member.wal.durable.is_empty(), "and the log");
            let listed = member.blobs.files.keys().filter(|name| name.kind == BlobKind::Segment).count();
            // Where nothing new was logged there was no checkpoint to take an earlier life's leftovers away.
            let waiting = member.shard.spill.leftovers().iter().filter(|name| name.kind == BlobKind::Segment).count();
            let expected = member.shard.figures().segment_count + waiting as u64;
            assert_eq!(listed as u64, expected, "no segment is left behind");
        }
        self.read_all();
        self.system.crash(0);
        self.system.out.clear();
        self.recovered();
        self.read_all();
    }

    fn read_all(&mut self) {
        for partition in 0..PARTITIONS {
            let mut from = self.logs[partition as usize].start;
            while from < self.logs[partition as usize].values.len() as u64 {
                let read = Read {
                    partition: PartitionId(partition),
                    from: Offset(from),
                    bytes_max: 10_000,
                    isolation: Isolation::High,
                    leader_epoch: None,
                    watch: None,
                };
                self.ticket += 1;
                self.system.submit(self.shard_of(partition), 1, self.ticket, Command::Read(read));
                self.system.pump();
                let out = std::mem::take(&mut self.system.out);
                let [Out::Reply(_, ticket, reply @ Reply::Read(Ok(_)))] = out.as_slice() else { panic!("{out:?}") };
                let Reply::Read(Ok(read)) = reply else { unreachable!("matched") };
                let last = read.pieces.iter().flat_map(values).last().expect("a record").0;
                self.answered(ticket.0, Asked::Read { partition, from }, reply.clone());
                from = last + 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_shard_does_what_a_list_would_do(steps in prop::collection::vec(step(), 1..160), shard_count in 1..3u32) {
        #[cfg(feature = "planted")]
        model::planted::plant(std::env::var_os("PLANT").and_then(|name| model::planted::Bug::named(name.to_str()?)));
        let mut check = Check::new(shard_count);
        for step in &steps {
            check.run(step);
        }
        check.finish();
    }
}
