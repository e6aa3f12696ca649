// SPDX-License-Identifier: Apache-2.0
//! Topics of which only the last record of each key is kept, beside others, on a failing disk.
//!
//! Owns: carrying out a plan (`plan.rs`) with producers, readers, changed settings and trouble, straight into shards. What is right is
//! known by `judge.rs`. Must not know: any wire, how or when compaction runs.
//!
//! A run: make topics, carry out the operations, die now and then; at the end heal the disk, repeat what is unanswered, perhaps make
//! everything due, die once more, wait as long as the settings say, read everything, judge.

mod batches;
mod judge;
mod plan;

use super::drive::{Checked, Drive, SETTLE_US_MAX, play};
use super::trouble::Fault;
use super::{Outcome, Setup};
use crate::actors::outbox::{Outbox, Parcel};
use crate::history::{History, Op};
use crate::process::Output;
use crate::rng::scatter;
use crate::value;
use crate::world::{Death, World};
use batches::{Content, Got};
use judge::{Asked as ReadAsked, Judge};
use kernel::Ctx;
use kernel::auth::Principal;
use kernel::catalog::{Placement, Topic};
use kernel::command::{
    AlterTopic, Command, Compaction, DeclareTopic, Isolation, Locate, LocateBy, Origin, Publish, Read, TopicSettings,
    Trim,
};
use kernel::error::{AlterError, DeclareError, PublishError, ReadError, TrimError};
use kernel::reply::{Published, ReadReply, Reply};
use model::batch::{Numbering, sequence_plus};
use model::compression::Compression;
use model::{HolderId, NamespaceId, Offset, PartitionId, ProducerEpoch, ProducerId, ShardId, Ticket, TopicId};
use plan::{Keeps, Options, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs a seed.
pub fn run(setup: &Setup) -> Outcome {
    let (options, plan) = plan::draw(setup.seed, setup.shard_count);
    play(setup, &options, plan, Run::new(setup, &options), |run, plan| {
        run.start()?;
        run.carry_out(plan)?;
        run.finish()
    })
}

#[derive(Clone, Debug)]
enum Asked {
    Publish { producer: usize, partition: PartitionId, op: Op },
    Repeat { op: Op, base: u64 },
    InitProducer { producer: usize },
    Read(ReadAsked),
    Trim { asked: ReadAsked },
    Declare { id: TopicId },
    Alter,
    Direct,
}

#[derive(Default)]
struct Producer {
    numbered: bool,
    identity: Option<(ProducerId, ProducerEpoch)>,
    asking: bool,
    next_number: u64,
    boxes: BTreeMap<PartitionId, Outbox>,
}

struct KnownTopic {
    id: TopicId,
    acked: bool,
    /// What it was, or may have been, told to keep, in this order.
    keeps: Vec<Keeps>,
    partitions: Vec<Placement>,
}

struct Run<'a> {
    world: World,
    options: &'a Options,
    judge: Judge,
    producers: Vec<Producer>,
    /// By their place in the plan.
    topics: BTreeMap<u32, KnownTopic>,
    partitions: BTreeMap<PartitionId, (Placement, u32)>,
    asked: BTreeMap<Ticket, Asked>,
    answer: Option<Reply>,
    next_ticket: u64,
    next_op: Op,
    /// Start and high as last told, for choosing where to read.
    seen: BTreeMap<PartitionId, (u64, u64)>,
}

/// How long what is due may take to happen: many looks for it, one partition after another, on a disk that has been healed.
const SLACK_MS: u64 = 20_000;
/// What everything is made due with at the end.
const LAST_ORDERS: Compaction =
    Compaction { lag_ms_min: 0, lag_ms_max: 100, tail_ms_max: 100, tombstone_ms: 100, dirty_permille_min: 500 };

impl<'a> Run<'a> {
    fn new(setup: &Setup, options: &'a Options) -> Run<'a> {
        let around = &options.around;
        let mut world = World::new(setup.seed, around.settings.clone(), around.knobs.clone());
        world.storm_one_in = around.storm_one_in;
        world.rival_at_death = around.odds.swarm.has(Fault::Rival);
        let producers = (0..around.producers)
            .map(|index| Producer {
                numbered: scatter(setup.seed ^ u64::from(index) << 32) % 100 < around.numbered_percent,
                next_number: value::first_of_client(index),
                ..Producer::default()
            })
            .collect();
        Run {
            world,
            options,
            judge: Judge::default(),
            producers,
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            asked: BTreeMap::new(),
            answer: None,
            next_ticket: 1,
            next_op: 1,
            seen: BTreeMap::new(),
        }
    }

    fn send_all(&mut self) -> bool {
        let now_us = self.world.clock.us();
        let mut any = false;
        for producer in 0..self.producers.len() {
            let partitions: Vec<PartitionId> = self.producers[producer].boxes.keys().copied().collect();
            for partition in partitions {
                while let Some(parcel) = self.producers[producer]
                    .boxes
                    .get_mut(&partition)
                    .and_then(|outbox| outbox.next_parcel(now_us))
                    .cloned()
                {
                    let asked = Asked::Publish { producer, partition, op: parcel.op };
                    self.submit_batch(producer, partition, &parcel, asked);
                    any = true;
                }
            }
        }
        any
    }

    fn submit_batch(&mut self, producer: usize, partition: PartitionId, parcel: &Parcel, asked: Asked) {
        let Some((placement, _)) = self.partitions.get(&partition).copied() else { return };
        let batch = parcel.batch.clone();
        // Also where it has none: stored before anybody looked, they must be found and removed.
        let publish = Publish { partition, leader_epoch: None, batch, has_keys: true, origin: Origin::Kafka };
        self.ask(HolderId(10 + producer as u64), placement.shard, asked, Command::Publish(publish));
    }

    fn ask(&mut self, holder: HolderId, shard: ShardId, asked: Asked, command: Command) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.asked.insert(ticket, asked);
        self.world.process().submit(shard, &ctx(holder), ticket, command);
    }

    // Operations.

    fn carry(&mut self, step: Step) -> Checked {
        match step {
            Step::Declare { topic, partitions, id, keeps } => self.declare(topic, partitions, id, keeps),
            Step::Alter { topic, keeps } => {
                self.alter(topic, keeps);
            }
            Step::Publish { producer, topic, partition, records, bytes, salt, compression, bare } => {
                let compression = Compression::from_number(compression).unwrap_or(Compression::None);
                self.publish(producer as usize, topic, partition, (records, bytes, salt), compression, bare)?;
            }
            Step::Repeat { producer, topic, partition } => {
                let Some(placement) = self.place(topic, partition) else { return Ok(()) };
                let outbox = self.producers[producer as usize].boxes.get(&placement.partition);
                let Some(parcel) = outbox.and_then(Outbox::repeatable).cloned() else { return Ok(()) };
                let Some(base) = parcel.base else { return Ok(()) };
                let asked = Asked::Repeat { op: parcel.op, base };
                self.submit_batch(producer as usize, placement.partition, &parcel, asked);
            }
            Step::Read { topic, partition, percent, bytes_max } => {
                let Some(placement) = self.place(topic, partition) else { return Ok(()) };
                let from = self.between(placement.partition, percent);
                let asked = self.judge.asks(placement.partition, from);
                self.ask(ADMIN, placement.shard, Asked::Read(asked), read(placement.partition, from, bytes_max));
            }
            Step::Trim { topic, partition, percent } => {
                let Some(placement) = self.place(topic, partition) else { return Ok(()) };
                let before = self.between(placement.partition, percent);
                let asked = self.judge.asks(placement.partition, before);
                self.judge.trims(placement.partition, before);
                let trim = Trim { partition: placement.partition, before: Some(Offset(before)) };
                self.ask(ADMIN, placement.shard, Asked::Trim { asked }, Command::Trim(trim));
            }
            Step::Checkpoint => self.world.process().request_checkpoint(),
            Step::Trouble(trouble) => self.suffer(trouble)?,
        }
        Ok(())
    }

    fn declare(&mut self, topic: u32, partition_count: u32, id: u64, keeps: Keeps) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&id.to_be_bytes());
        bytes[8..].copy_from_slice(&scatter(id).to_be_bytes());
        let id = TopicId::from_random(bytes);
        let known = KnownTopic { id, acked: false, keeps: vec![keeps], partitions: Vec::new() };
        self.topics.insert(topic, known);
        let name: Arc<str> = format!("topic-{topic}").into();
        let settings = settings(keeps);
        let declare = DeclareTopic { topic: id, name, partition_count, settings, validate_only: false };
        self.ask(ADMIN, ShardId::META, Asked::Declare { id }, Command::DeclareTopic(declare));
    }

    /// True when it was asked for.
    fn alter(&mut self, topic: u32, keeps: Keeps) -> bool {
        let Some(seen) = self.learn(topic) else { return false };
        for placement in seen.partitions.iter() {
            self.judge.keeps(placement.partition, &keeps);
        }
        if let Some(known) = self.topics.get_mut(&topic) {
            known.keeps.push(keeps);
        }
        let partition_count = seen.partitions.len() as u32;
        let alter = AlterTopic {
            topic: seen.id,
            seen: seen.settings.clone(),
            seen_partition_count: partition_count,
            settings: settings(keeps),
            partition_count,
            validate_only: false,
        };
        self.ask(ADMIN, ShardId::META, Asked::Alter, Command::AlterTopic(alter));
        true
    }

    /// A topic as the catalog shows it, its partitions noted.
    fn learn(&mut self, topic: u32) -> Option<Topic> {
        let id = self.topics.get(&topic)?.id;
        let shown = self.world.process().catalog().by_id(&ctx(ADMIN), id)?.clone();
        let known = self.topics.get_mut(&topic)?;
        if known.partitions.is_empty() {
            known.partitions = shown.partitions.to_vec();
            for placement in shown.partitions.iter() {
                self.partitions.insert(placement.partition, (*placement, topic));
                for keeps in &known.keeps {
                    self.judge.keeps(placement.partition, keeps);
                }
            }
        }
        Some(Topic::clone(&shown))
    }

    fn place(&mut self, topic: u32, partition: u32) -> Option<Placement> {
        self.learn(topic)?;
        let partitions = &self.topics.get(&topic)?.partitions;
        partitions.get(partition as usize % partitions.len().max(1)).copied()
    }

    fn between(&self, partition: PartitionId, percent: u32) -> u64 {
        let (start, high) = self.seen.get(&partition).copied().unwrap_or((0, 0));
        start + high.saturating_sub(start) * u64::from(percent) / 100
    }

    fn publish(
        &mut self,
        producer: usize,
        topic: u32,
        partition: u32,
        (records, bytes, salt): (u32, u32, u64),
        compression: Compression,
        bare: Option<u32>,
    ) -> Checked {
        let Some(Placement { partition, .. }) = self.place(topic, partition) else { return Ok(()) };
        let now = self.world.clock.now();
        if self.producers[producer].numbered && self.producers[producer].identity.is_none() {
            if !std::mem::replace(&mut self.producers[producer].asking, true) {
                let asked = Asked::InitProducer { producer };
                self.ask(HolderId(10 + producer as u64), ShardId::META, asked, Command::InitProducer);
            }
            return Ok(());
        }
        let op = self.next_op;
        self.next_op += 1;
        let state = &mut self.producers[producer];
        let first = state.next_number;
        state.next_number += u64::from(records);
        let outbox = state.boxes.entry(partition).or_default();
        outbox.numbered = state.numbered;
        let numbering = match state.identity {
            Some((producer_id, producer_epoch)) if state.numbered => {
                Numbering { producer_id, producer_epoch, base_sequence: outbox.next_sequence }
            }
            _ => Numbering::NONE,
        };
        outbox.next_sequence = sequence_plus(outbox.next_sequence, records as i32);
        let timestamp_ms = now.wall_ms as i64 - (scatter(first) % 30) as i64;
        let contents: Vec<Content> = (0..records)
            .map(|index| {
                let chance = scatter(salt.wrapping_add(u64::from(index)));
                let key = (bare != Some(index)).then_some(chance % self.options.keys);
                let tombstone = (chance >> 32) % 100 < self.options.tombstone_percent;
                Content {
                    number: first + u64::from(index),
                    key,
                    value_bytes: (!tombstone || key.is_none()).then_some(bytes),
                    timestamp_ms: timestamp_ms + i64::from(index % 3),
                }
            })
            .collect();
        let batch = batches::build(&contents, numbering, compression).map_err(|error| error.to_string())?;
        let compression = batch.header().compression().unwrap_or(Compression::None);
        self.world.sightings.saw_if(compression != Compression::None, "compressed batch");
        self.judge.sends(partition, &contents, numbering, compression, now.wall_ms);
        outbox.push(Parcel { op, first, count: records, batch, tries: 0, under_way: false, base: None });
        Ok(())
    }

    // Answers.

    fn answered(&mut self, ticket: Ticket, reply: Reply) -> Checked {
        let Some(asked) = self.asked.remove(&ticket) else {
            return Err(format!("an answer to nothing that was asked: {reply:?}"));
        };
        match (asked, reply) {
            (Asked::Direct, reply) => {
                self.answer = Some(reply);
                Ok(())
            }
            (Asked::Publish { producer, partition, op }, Reply::Published(outcome)) => {
                self.published(producer, partition, op, outcome)
            }
            (Asked::Repeat { op, base }, Reply::Published(outcome)) => match outcome {
                Ok(Published { base_offset, duplicate: true, .. }) if base_offset.0 == base => {
                    self.world.sightings.saw("dedupe hit");
                    Ok(())
                }
                Err(PublishError::LogFailed | PublishError::Overloaded { .. } | PublishError::StorageFull) => Ok(()),
                other => Err(format!("the repeat of send {op}, which stands at {base}, was answered {other:?}")),
            },
            (Asked::InitProducer { producer }, Reply::Producer(outcome)) => {
                self.producers[producer].asking = false;
                if let Ok(ready) = outcome {
                    self.producers[producer].identity = Some((ready.id, ready.epoch));
                }
                Ok(())
            }
            (Asked::Read(asked), Reply::Read(outcome)) => match outcome {
                Ok(read) => self.was_read(&asked, &read).map(|_| ()),
                Err(ReadError::OutOfRange { start, high }) => {
                    self.note_marks(&asked, start.0, high.0)?;
                    if (start.0..=high.0).contains(&asked.from) {
                        return Err(format!("{asked:?} is called out of the range {start}..={high}"));
                    }
                    Ok(())
                }
                Err(ReadError::Storage) => Ok(()),
                Err(ReadError::NotFound) if self.not_made(asked.partition) => Ok(()),
                Err(error) => Err(format!("{asked:?} was refused: {error:?}")),
            },
            (Asked::Trim { asked }, Reply::Trimmed(outcome)) => match outcome {
                Ok(trimmed) if trimmed.start.0 >= asked.from => {
                    self.world.sightings.saw("trim");
                    let seen = self.seen.entry(asked.partition).or_default();
                    seen.0 = seen.0.max(trimmed.start.0);
                    seen.1 = seen.1.max(trimmed.start.0);
                    Ok(())
                }
                Err(TrimError::LogFailed) => Ok(()),
                Err(TrimError::NotFound) if self.not_made(asked.partition) => Ok(()),
                other => Err(format!("the trim of {asked:?} was answered {other:?}")),
            },
            (Asked::Declare { id }, Reply::Declared(outcome)) => match outcome {
                Ok(_) => {
                    self.topics.values_mut().filter(|known| known.id == id).for_each(|known| known.acked = true);
                    Ok(())
                }
                Err(DeclareError::Overloaded { .. } | DeclareError::StorageFull | DeclareError::LogFailed) => Ok(()),
                Err(error) => Err(format!("a topic cannot be made: {error:?}")),
            },
            (Asked::Alter, Reply::Altered(outcome)) => match outcome {
                Ok(_) => {
                    self.world.sightings.saw("topic altered");
                    Ok(())
                }
                Err(AlterError::Changed | AlterError::Overloaded { .. }) => Ok(()),
                Err(AlterError::StorageFull | AlterError::LogFailed) => Ok(()),
                Err(error) => Err(format!("a topic cannot be altered: {error:?}")),
            },
            (asked, reply) => Err(format!("{asked:?} was answered with {reply:?}")),
        }
    }

    /// Was the partition's topic never answered as made?
    fn not_made(&self, partition: PartitionId) -> bool {
        let topic = self.partitions.get(&partition).and_then(|(_, topic)| self.topics.get(topic));
        topic.is_none_or(|topic| !topic.acked)
    }

    fn published(
        &mut self,
        producer: usize,
        partition: PartitionId,
        op: Op,
        outcome: Result<Published, PublishError>,
    ) -> Checked {
        let now_us = self.world.clock.us();
        let not_made = self.not_made(partition);
        let Some(outbox) = self.producers[producer].boxes.get_mut(&partition) else { return Ok(()) };
        let Some(parcel) = outbox.parcel(op).cloned() else {
            return Err(format!("send {op} was answered twice: {outcome:?}"));
        };
        let (front, numbered) = (outbox.is_front(op), outbox.numbered);
        match outcome {
            Ok(published) => {
                if published.duplicate && parcel.tries == 1 {
                    return Err(format!("send {op}, sent once, was answered as a repeat: {published:?}"));
                }
                self.world.sightings.saw_if(published.duplicate, "dedupe hit");
                let base = published.base_offset.0;
                outbox.acked(op, base);
                let seen = self.seen.entry(partition).or_default();
                seen.1 = seen.1.max(base + u64::from(parcel.count));
                return self.judge.acked(partition, parcel.first, parcel.count, base);
            }
            Err(PublishError::LogFailed) => return Ok(()),
            Err(PublishError::Overloaded { retry_after_ms }) if numbered => {
                outbox.again(op, now_us + u64::from(retry_after_ms.max(1)) * 1000);
                return Ok(());
            }
            Err(PublishError::StorageFull) if numbered => {
                outbox.again(op, now_us + 20_000);
                return Ok(());
            }
            Err(PublishError::OutOfSequence { .. }) if numbered && !front => {
                outbox.again(op, now_us);
                return Ok(());
            }
            Err(PublishError::NotFound) if not_made && numbered => {
                outbox.again(op, now_us + 1_000);
                return Ok(());
            }
            Err(PublishError::NotFound) if not_made => {}
            Err(PublishError::Overloaded { .. } | PublishError::StorageFull) => {}
            Err(error) => return Err(format!("send {op} (try {}) was refused: {error:?}", parcel.tries)),
        }
        outbox.remove(op);
        self.judge.refused(parcel.first, parcel.count)
    }

    fn note_marks(&mut self, asked: &ReadAsked, start: u64, high: u64) -> Checked {
        let seen = self.seen.entry(asked.partition).or_default();
        *seen = (seen.0.max(start), seen.1.max(high));
        self.judge.marks(asked, start, high)
    }

    fn was_read(&mut self, asked: &ReadAsked, read: &ReadReply) -> Result<(u64, Vec<(u64, u64)>), String> {
        self.note_marks(asked, read.start.0, read.high.0)?;
        let mut got: Vec<Got> = Vec::new();
        for piece in &read.pieces {
            got.extend(batches::walk(piece, |number| self.judge.content(number))?);
        }
        let wall_ms = self.world.clock.now().wall_ms;
        let next = self.judge.read(asked, &got, read.start.0, read.high.0, wall_ms)?;
        let records = got.iter().flat_map(|got| got.records.iter().copied());
        Ok((next, records.filter(|(offset, _)| *offset >= asked.from).collect()))
    }

    // The end.

    fn finish(&mut self) -> Checked {
        self.world.heal();
        self.settle()?;
        let topics: Vec<u32> = self.topics.keys().copied().collect();
        if self.options.last_orders {
            for topic in &topics {
                if self.learn(*topic).is_some_and(|topic| topic.settings.compaction.is_some()) {
                    self.alter(
                        *topic,
                        Keeps { compaction: Some(LAST_ORDERS), retention_ms: None, retention_bytes: None },
                    );
                }
            }
            self.settle()?;
        }
        if let Some(death) = self.options.around.last_death {
            self.die(death)?;
            self.settle()?;
        }
        let mut all: Vec<Placement> = Vec::new();
        let mut wait_ms = 0;
        for topic in topics {
            let Some(shown) = self.learn(topic) else { continue };
            let compaction = shown.settings.compaction.filter(is_bounded);
            if let Some(Compaction { lag_ms_min, lag_ms_max, tail_ms_max, tombstone_ms, .. }) = compaction {
                // Twice the time of tombstones: only once the first compaction is done does it begin.
                let lag_ms = if lag_ms_max == i64::MAX as u64 { 0 } else { lag_ms_max };
                wait_ms = wait_ms.max(lag_ms_min + lag_ms + tail_ms_max + 2 * tombstone_ms + SLACK_MS);
            }
            all.extend(shown.partitions.iter().copied());
        }
        self.run_for(wait_ms * 1000)?;
        self.settle()?;
        for placement in all {
            self.drain(placement)?;
        }
        self.judge.finish()?;
        self.world.note_figures();
        Ok(())
    }

    /// Until everything is answered and nothing is under way.
    fn settle(&mut self) -> Checked {
        self.wait(1_000, SETTLE_US_MAX, |run| {
            let sent = run.producers.iter().all(|producer| producer.boxes.values().all(Outbox::is_empty));
            let (open, idle) = (run.asked.len(), run.world.process().idle());
            (!sent || open > 0 || !idle).then(|| format!("{open} requests are open, all sent: {sent}, idle: {idle}"))
        })
    }

    /// Asks and waits for the answer.
    fn direct(&mut self, placement: Placement, command: Command) -> Result<Reply, String> {
        self.answer = None;
        let what = format!("{command:?}");
        self.ask(ADMIN, placement.shard, Asked::Direct, command);
        self.await_answer(&what, |run| run.answer.take())
    }

    /// Reads a partition from its start to its end, and looks things up in it by time.
    fn drain(&mut self, placement: Placement) -> Checked {
        let partition = placement.partition;
        let mut from = self.seen.get(&partition).map_or(0, |seen| seen.0);
        let mut found = Vec::new();
        let (start, high) = loop {
            let asked = self.judge.asks(partition, from);
            match self.direct(placement, read(partition, from, 50_000))? {
                Reply::Read(Ok(read)) => {
                    let (next, records) = self.was_read(&asked, &read)?;
                    found.extend(records);
                    if next >= read.high.0 {
                        break (read.start.0, read.high.0);
                    }
                    from = next;
                }
                Reply::Read(Err(ReadError::OutOfRange { start, .. })) if start.0 > from => {
                    found.clear();
                    from = start.0;
                }
                Reply::Read(Err(ReadError::NotFound)) if self.not_made(partition) => return Ok(()),
                other => return Err(format!("partition {partition} cannot be read from {from}: {other:?}")),
            }
        };
        let Some((_, topic)) = self.partitions.get(&partition).copied() else { return Ok(()) };
        let Some(shown) = self.learn(topic) else { return Ok(()) };
        if shown.settings.compaction.as_ref().is_some_and(is_bounded) {
            if let Some(left_over) = self.judge.left_over(partition, &found) {
                return Err(format!("{left_over} ({start}..{high}, {:?})", shown.settings.compaction));
            }
            self.world.sightings.saw_if(found.len() > 1, "each key found once");
        }
        let expires = shown.settings.retention_ms.is_some() || shown.settings.retention_bytes.is_some();
        if expires { Ok(()) } else { self.check_times(placement, &found) }
    }

    fn check_times(&mut self, placement: Placement, found: &[(u64, u64)]) -> Checked {
        let time_of = |number: &u64| self.judge.content(*number).map_or(0, |content| content.timestamp_ms);
        let times: Vec<(u64, i64)> = found.iter().map(|(offset, number)| (*offset, time_of(number))).collect();
        let Some(latest) = times.iter().map(|(_, time)| *time).max() else { return Ok(()) };
        let partition = placement.partition;
        let probe = times[scatter(partition.0) as usize % times.len()].1;
        for (by, expected) in [
            (LocateBy::Timestamp(probe), times.iter().find(|(_, time)| *time >= probe)),
            (LocateBy::Timestamp(latest + 1), None),
            (LocateBy::MaxTimestamp, times.iter().find(|(_, time)| *time == latest)),
        ] {
            let locate = Locate { partition, by, isolation: Isolation::High, leader_epoch: None };
            match self.direct(placement, Command::Locate(locate))? {
                Reply::Located(Ok(located))
                    if located.offset.map(|offset| offset.0) == expected.map(|(offset, _)| *offset)
                        && (expected.is_none() || located.timestamp_ms == expected.map(|(_, time)| *time)) => {}
                other => {
                    return Err(format!("{by:?} in partition {partition} gives {other:?}, it should be {expected:?}"));
                }
            }
        }
        Ok(())
    }
}

impl Drive for Run<'_> {
    type Step = Step;
    const APART: bool = false;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// The judge keeps what it needs, and no more.
    fn take_history(&mut self) -> History {
        for what in self.judge.take_sightings() {
            self.world.sightings.saw(what);
        }
        History::default()
    }

    fn step(&mut self, step: Step) -> Checked {
        self.carry(step)
    }

    fn take(&mut self, outputs: Vec<Output>) -> Checked {
        for output in outputs {
            if let Output::Reply { ticket, reply, .. } = output {
                self.answered(ticket, reply)?;
            }
        }
        Ok(())
    }

    fn act(&mut self) -> Result<bool, String> {
        Ok(self.send_all())
    }

    fn due_after(&self, now_us: u64) -> Option<u64> {
        let boxes = self.producers.iter().flat_map(|producer| producer.boxes.values().filter_map(Outbox::due_us));
        boxes.filter(|due| *due > now_us).min()
    }

    fn died(&mut self, _: Death) {
        self.asked.clear();
        for producer in &mut self.producers {
            producer.asking = false;
            for outbox in producer.boxes.values_mut() {
                // What a plain producer had under way stays of unknown fate.
                outbox.disconnected();
            }
        }
    }
}

/// Is there a time after which everything is compacted, however little there is to do?
fn is_bounded(compaction: &Compaction) -> bool {
    compaction.lag_ms_max < i64::MAX as u64 || compaction.dirty_permille_min == 0
}

fn settings(keeps: Keeps) -> TopicSettings {
    let Keeps { compaction, retention_ms, retention_bytes } = keeps;
    TopicSettings { compaction, retention_ms, retention_bytes, ..TopicSettings::default() }
}

fn read(partition: PartitionId, from: u64, bytes_max: u32) -> Command {
    let isolation = Isolation::High;
    Command::Read(Read { partition, from: Offset(from), bytes_max, isolation, leader_epoch: None, watch: None })
}

const ADMIN: HolderId = HolderId(1);

fn ctx(holder: HolderId) -> Ctx {
    Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder }
}
