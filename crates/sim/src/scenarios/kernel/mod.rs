// SPDX-License-Identifier: Apache-2.0
//! Commands straight into shards: the fastest way to many crashes.
//!
//! Owns: carrying out a plan (`plan.rs`) with producers, readers and trouble; what must hold beyond the checker's rules (topics
//! survive, watches fire, times are found, replies fit their commands). Must not know: any wire.
//!
//! A run: make topics, carry out the operations, die now and then; at the end heal the disk, repeat what is unanswered, die once
//! more, read everything, judge.

pub mod plan;

use super::drive::{Checked, Drive, SETTLE_US_MAX, judge, play};
use super::trouble::{Fault, Trouble};
use super::{Outcome, Setup};
use crate::actors::outbox::{Outbox, Parcel};
use crate::history::{Event, History, Op, Producer as Sender};
use crate::process::Output;
use crate::records;
use crate::rng::scatter;
use crate::value;
use crate::world::{Death, World};
use kernel::Ctx;
use kernel::auth::Principal;
use kernel::catalog::Placement;
use kernel::command::{Command, DeclareTopic, Isolation, Locate, LocateBy, Origin, Publish, Read, TopicSettings, Trim};
use kernel::error::{DeclareError, DeleteError, LocateError, PublishError, ReadError, TrimError};
use kernel::reply::{Published, ReadReply, Reply};
use kernel::shard::ShardFigures;
use model::batch::{Numbering, sequence_plus};
use model::{HolderId, NamespaceId, Offset, PartitionId, ProducerEpoch, ProducerId, ShardId, Ticket, TopicId};
use plan::{From, Options, Step};
use std::collections::{BTreeMap, BTreeSet};
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Publish {
        producer: usize,
        partition: PartitionId,
        op: Op,
    },
    Repeat {
        op: Op,
        base: u64,
    },
    InitProducer {
        producer: usize,
    },
    Read(ReadAsked),
    Look {
        op: Op,
        end: bool,
    },
    Trim {
        op: Op,
        partition: PartitionId,
        before: Option<u64>,
    },
    Declare {
        id: TopicId,
        topic: u32,
    },
    Delete {
        id: TopicId,
        drops: Vec<Op>,
    },
    /// The drain waits for it.
    Direct,
}

/// A read as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReadAsked {
    reader: usize,
    /// The reader's at the time: one that left and came back gets no wake for it.
    generation: u64,
    partition: PartitionId,
    op: Op,
    from: u64,
    at_position: bool,
    watch: bool,
}

#[derive(Default)]
struct Producer {
    numbered: bool,
    identity: Option<(ProducerId, ProducerEpoch)>,
    asking: bool,
    next_value: u64,
    boxes: BTreeMap<PartitionId, Outbox>,
}

#[derive(Default)]
struct Reader {
    generation: u64,
    positions: BTreeMap<PartitionId, u64>,
    /// Watches set and not fired.
    armed: BTreeSet<PartitionId>,
    /// Partitions to be read because a watch fired, and when.
    woken: Vec<(u64, PartitionId)>,
}

#[derive(Clone, Debug)]
struct KnownTopic {
    name: Arc<str>,
    acked: bool,
    delete_asked: bool,
    deleted: bool,
    expires: bool,
    /// By this age alone.
    kept_ms: Option<u64>,
    partitions: Vec<Placement>,
}

pub(super) struct Run<'a> {
    pub(super) world: World,
    options: &'a Options,
    pub(super) history: History,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    topics: BTreeMap<TopicId, KnownTopic>,
    partitions: BTreeMap<PartitionId, (Placement, TopicId)>,
    asked: BTreeMap<Ticket, Asked>,
    answer: Option<Reply>,
    next_ticket: u64,
    ids_given: BTreeSet<i64>,
    /// First values of all sends and the time of the first record and between records, for finding by time.
    times: BTreeMap<u64, (i64, i64)>,
    /// Of acknowledged batches that only their age removes, by partition and base offset: the time of each record, while it is there.
    ages: BTreeMap<PartitionId, BTreeMap<u64, Vec<i64>>>,
    /// How far trims by command may reach.
    trims: BTreeMap<PartitionId, u64>,
    /// Highest marks any client saw, for choosing where to read.
    seen: BTreeMap<PartitionId, (u64, u64)>,
    was_full: bool,
}

/// The longest age of a plan, and what a record's time may be ahead of the clock.
const KEPT_MS_MAX: u64 = 400 + 100;
/// What a trim takes beyond the next look at retention: its frame on a slow disk, and a pass in slices.
const RETENTION_SLACK_MS: u64 = 2_000;
/// What one flood brings: more than the 4 MiB that may wait for room in a small tail.
const FLOOD_BYTES: usize = 6 << 20;
const FLOOD_BATCHES: usize = 48;

impl<'a> Run<'a> {
    pub(super) fn new(setup: &Setup, options: &'a Options) -> Run<'a> {
        let mut world = World::new(setup.seed, options.settings.clone(), options.knobs.clone());
        world.storm_one_in = options.storm_one_in;
        world.rival_at_death = options.odds.swarm.has(Fault::Rival);
        let producers = (0..options.producers)
            .map(|index| Producer {
                numbered: scatter(setup.seed ^ u64::from(index) << 32) % 100 < options.numbered_percent,
                next_value: value::first_of_client(index),
                ..Producer::default()
            })
            .collect();
        Run {
            world,
            options,
            history: History::default(),
            producers,
            readers: (0..options.readers).map(|_| Reader::default()).collect(),
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            asked: BTreeMap::new(),
            answer: None,
            next_ticket: 1,
            ids_given: BTreeSet::new(),
            times: BTreeMap::new(),
            ages: BTreeMap::new(),
            trims: BTreeMap::new(),
            seen: BTreeMap::new(),
            was_full: false,
        }
    }

    /// Producers and woken readers do what they can; true if anything was sent.
    fn clients(&mut self) -> bool {
        let now_us = self.world.clock.us();
        let mut any = false;
        for producer in 0..self.producers.len() {
            let keys: Vec<PartitionId> = self.producers[producer].boxes.keys().copied().collect();
            for partition in keys {
                while self.send_next(producer, partition, now_us) {
                    any = true;
                }
            }
        }
        for reader in 0..self.readers.len() {
            let (due, later) =
                std::mem::take(&mut self.readers[reader].woken).into_iter().partition(|(at, _)| *at <= now_us);
            self.readers[reader].woken = later;
            let due: Vec<(u64, PartitionId)> = due;
            for (_, partition) in due {
                let from = self.readers[reader].positions.get(&partition).copied().unwrap_or(0);
                self.read(reader, partition, from, 100_000, true, true);
                any = true;
            }
        }
        any
    }

    fn ask(&mut self, holder: HolderId, shard: ShardId, asked: Asked, command: Command) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.asked.insert(ticket, asked);
        let ctx = ctx(holder);
        self.world.process().submit(shard, &ctx, ticket, command);
        ticket
    }

    // Operations.

    fn carry(&mut self, step: Step) -> Checked {
        match step {
            Step::Declare { topic, partitions, id, retention_ms, retention_bytes } => {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&id.to_be_bytes());
                bytes[8..].copy_from_slice(&scatter(id).to_be_bytes());
                let id = TopicId::from_random(bytes);
                let name: Arc<str> = format!("topic-{topic}").into();
                let expires = retention_ms.is_some() || retention_bytes.is_some();
                self.topics.insert(
                    id,
                    KnownTopic {
                        name: name.clone(),
                        acked: false,
                        delete_asked: false,
                        deleted: false,
                        expires,
                        kept_ms: retention_ms.filter(|_| retention_bytes.is_none()),
                        partitions: Vec::new(),
                    },
                );
                let settings = TopicSettings { retention_ms, retention_bytes, ..TopicSettings::default() };
                let declare =
                    DeclareTopic { topic: id, name, partition_count: partitions, settings, validate_only: false };
                self.ask(ADMIN, ShardId::META, Asked::Declare { id, topic }, Command::DeclareTopic(declare));
            }
            Step::Delete { topic } => {
                let Some(id) = self.topic_id(topic) else { return Ok(()) };
                self.learn(id);
                let at_us = self.world.clock.us();
                let mut drops = Vec::new();
                if let Some(known) = self.topics.get_mut(&id) {
                    known.delete_asked = true;
                    for placement in &known.partitions {
                        let op = self.history.next_op();
                        self.history.push(at_us, Event::Drop { op, partition: placement.partition.0 });
                        drops.push(op);
                    }
                }
                self.ask(ADMIN, ShardId::META, Asked::Delete { id, drops }, Command::DeleteTopic { topic: id });
            }
            Step::Publish { producer, topic, partition, records, bytes } => {
                self.publish(producer as usize, topic, partition, records, bytes as usize);
            }
            Step::Flood { producer, topic, partition } => {
                // Whoever repeats in order sends only a few at once.
                let batches = if self.producers[producer as usize].numbered { 0 } else { FLOOD_BATCHES };
                for _ in 0..batches {
                    self.publish(producer as usize, topic, partition, 16, FLOOD_BYTES / FLOOD_BATCHES / 16);
                }
            }
            Step::Repeat { producer, topic, partition } => {
                let Some((placement, _)) = self.place(topic, partition) else { return Ok(()) };
                let Some(outbox) = self.producers[producer as usize].boxes.get(&placement.partition) else {
                    return Ok(());
                };
                let Some(parcel) = outbox.repeatable().cloned() else { return Ok(()) };
                let Some(base) = parcel.base else { return Ok(()) };
                let asked = Asked::Repeat { op: parcel.op, base };
                self.submit_batch(producer as usize, placement, &parcel, asked);
            }
            Step::Renew { producer } => {
                let producer = &mut self.producers[producer as usize];
                if producer.boxes.values().all(Outbox::is_empty) {
                    producer.identity = None;
                    producer.boxes.clear();
                }
            }
            Step::Read { reader, topic, partition, from, bytes_max, watch } => {
                let Some((placement, _)) = self.place(topic, partition) else { return Ok(()) };
                let reader = reader as usize;
                let (start, high) = self.seen.get(&placement.partition).copied().unwrap_or((0, 0));
                let (from, at_position) = match from {
                    From::Position => {
                        let position = self.readers[reader].positions.get(&placement.partition).copied();
                        (position.unwrap_or(start), true)
                    }
                    From::Percent(percent) => (start + (high - start) * u64::from(percent) / 100, false),
                    From::Beyond(by) => (high + by, false),
                };
                self.read(reader, placement.partition, from, bytes_max, at_position, watch && at_position);
            }
            Step::Look { topic, partition, end } => {
                let Some((placement, _)) = self.place(topic, partition) else { return Ok(()) };
                let op = self.history.next_op();
                let at_us = self.world.clock.us();
                self.history.push(at_us, Event::Look { op, client: LOOKER, partition: placement.partition.0 });
                let locate = Locate {
                    partition: placement.partition,
                    by: if end { LocateBy::End } else { LocateBy::Start },
                    isolation: if end { Isolation::High } else { Isolation::Stable },
                    leader_epoch: None,
                };
                self.ask(ADMIN, placement.shard, Asked::Look { op, end }, Command::Locate(locate));
            }
            Step::Trim { topic, partition, percent, all } => {
                let Some((placement, _)) = self.place(topic, partition) else { return Ok(()) };
                let (start, high) = self.seen.get(&placement.partition).copied().unwrap_or((0, 0));
                let before = (!all).then_some(start + (high - start) * u64::from(percent) / 100);
                let op = self.history.next_op();
                let at_us = self.world.clock.us();
                self.history.push(at_us, Event::Trim { op, partition: placement.partition.0, before });
                let reach = self.trims.entry(placement.partition).or_default();
                *reach = (*reach).max(before.unwrap_or(u64::MAX));
                let trim = Trim { partition: placement.partition, before: before.map(Offset) };
                let asked = Asked::Trim { op, partition: placement.partition, before };
                self.ask(ADMIN, placement.shard, asked, Command::Trim(trim));
            }
            Step::Leave { reader } => {
                let holder = reader_holder(reader as usize, self.readers[reader as usize].generation);
                let reader = &mut self.readers[reader as usize];
                reader.generation += 1;
                reader.armed.clear();
                reader.woken.clear();
                let ctx = ctx(holder);
                for shard in 0..self.options.settings.shard_count {
                    self.world.process().submit(ShardId(shard), &ctx, Ticket(0), Command::Gone);
                }
            }
            Step::Checkpoint => self.world.process().request_checkpoint(),
            Step::Trouble(trouble) => {
                self.was_full |= matches!(trouble, Trouble::Full { .. });
                self.suffer(trouble)?;
            }
        }
        Ok(())
    }

    fn topic_id(&mut self, topic: u32) -> Option<TopicId> {
        let ctx = ctx(ADMIN);
        Some(self.world.process().catalog().by_name(&ctx, &format!("topic-{topic}"))?.id)
    }

    /// Notes a topic's partitions as the catalog shows them.
    fn learn(&mut self, id: TopicId) {
        let ctx = ctx(ADMIN);
        let at_us = self.world.clock.us();
        let Some(topic) = self.world.process().catalog().by_id(&ctx, id).cloned() else { return };
        let Some(known) = self.topics.get_mut(&id) else { return };
        if !known.partitions.is_empty() {
            return;
        }
        known.partitions = topic.partitions.to_vec();
        for placement in topic.partitions.iter() {
            self.partitions.insert(placement.partition, (*placement, id));
            if known.expires {
                self.history.push(at_us, Event::Expires { partition: placement.partition.0 });
            }
        }
    }

    fn place(&mut self, topic: u32, partition: u32) -> Option<(Placement, TopicId)> {
        let id = self.topic_id(topic)?;
        self.learn(id);
        let partitions = &self.topics.get(&id)?.partitions;
        let placement = partitions.get(partition as usize % partitions.len().max(1))?;
        Some((*placement, id))
    }

    fn publish(&mut self, producer: usize, topic: u32, partition: u32, records: u32, bytes: usize) {
        let Some((placement, _)) = self.place(topic, partition) else { return };
        let now = self.world.clock.now();
        if self.producers[producer].numbered && self.producers[producer].identity.is_none() {
            if !std::mem::replace(&mut self.producers[producer].asking, true) {
                let asked = Asked::InitProducer { producer };
                self.ask(producer_holder(producer), ShardId::META, asked, Command::InitProducer);
            }
            return;
        }
        let op = self.history.next_op();
        let state = &mut self.producers[producer];
        let first = state.next_value;
        state.next_value += u64::from(records);
        let outbox = state.boxes.entry(placement.partition).or_default();
        outbox.numbered = state.numbered;
        let numbering = match state.identity {
            Some((producer_id, producer_epoch)) if state.numbered => {
                Numbering { producer_id, producer_epoch, base_sequence: outbox.next_sequence }
            }
            _ => Numbering::NONE,
        };
        outbox.next_sequence = sequence_plus(outbox.next_sequence, records as i32);
        let step_ms = (first % 3) as i64;
        let timestamp_ms = now.wall_ms as i64 - (scatter(first) % 50) as i64;
        self.times.insert(first, (timestamp_ms, step_ms));
        let batch = records::batch(first, records, bytes, timestamp_ms, step_ms, numbering);
        let sender = (numbering != Numbering::NONE).then_some(Sender {
            id: numbering.producer_id.0,
            epoch: numbering.producer_epoch.0,
            sequence: numbering.base_sequence,
        });
        let event = Event::Send {
            op,
            client: producer as u32,
            partition: placement.partition.0,
            first,
            count: records,
            producer: sender,
        };
        self.history.push(now.mono_us, event);
        outbox.push(Parcel { op, first, count: records, batch, tries: 0, under_way: false, base: None });
    }

    fn send_next(&mut self, producer: usize, partition: PartitionId, now_us: u64) -> bool {
        let Some((placement, _)) = self.partitions.get(&partition).copied() else { return false };
        let outbox = self.producers[producer].boxes.get_mut(&partition);
        let Some(parcel) = outbox.and_then(|outbox| outbox.next_parcel(now_us)).cloned() else { return false };
        let asked = Asked::Publish { producer, partition, op: parcel.op };
        self.submit_batch(producer, placement, &parcel, asked);
        true
    }

    fn submit_batch(&mut self, producer: usize, placement: Placement, parcel: &Parcel, asked: Asked) {
        let epoch = self.world.process().catalog().leader_epoch(&placement);
        let publish = Publish {
            partition: placement.partition,
            leader_epoch: (self.options.leader_epochs && parcel.op.is_multiple_of(2)).then_some(epoch),
            batch: parcel.batch.clone(),
            has_keys: false,
            // What heads make is packed at the spill.
            origin: if producer.is_multiple_of(2) { Origin::Kafka } else { Origin::Amqp },
        };
        self.ask(producer_holder(producer), placement.shard, asked, Command::Publish(publish));
    }

    fn read(
        &mut self,
        reader: usize,
        partition: PartitionId,
        from: u64,
        bytes_max: u32,
        at_position: bool,
        watch: bool,
    ) {
        let Some((placement, _)) = self.partitions.get(&partition).copied() else { return };
        let op = self.history.next_op();
        let at_us = self.world.clock.us();
        let client = FIRST_READER + reader as u32;
        self.history.push(at_us, Event::Read { op, client, partition: partition.0, from });
        let epoch = self.world.process().catalog().leader_epoch(&placement);
        let read = Read {
            partition,
            from: Offset(from),
            bytes_max,
            isolation: if op.is_multiple_of(2) { Isolation::High } else { Isolation::Stable },
            leader_epoch: (self.options.leader_epochs && op.is_multiple_of(3)).then_some(epoch),
            watch: watch.then_some(partition.0),
        };
        let holder = reader_holder(reader, self.readers[reader].generation);
        let generation = self.readers[reader].generation;
        let asked = Asked::Read(ReadAsked { reader, generation, partition, op, from, at_position, watch });
        self.ask(holder, placement.shard, asked, Command::Read(read));
    }

    // Answers.

    fn answered(&mut self, ticket: Ticket, reply: Reply) -> Checked {
        let Some(asked) = self.asked.remove(&ticket) else {
            return Err(format!("an answer to nothing that was asked: {reply:?}"));
        };
        let at_us = self.world.clock.us();
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
                Ok(other) => Err(format!("the repeat of op {op}, which stands at {base}, was answered {other:?}")),
                Err(PublishError::NotFound | PublishError::LogFailed) => Ok(()),
                Err(PublishError::Overloaded { .. } | PublishError::StorageFull) => Ok(()),
                Err(error) => Err(format!("the repeat of op {op}, which stands at {base}, was refused: {error:?}")),
            },
            (Asked::InitProducer { producer }, Reply::Producer(outcome)) => {
                self.producers[producer].asking = false;
                if let Ok(ready) = outcome {
                    if !self.ids_given.insert(ready.id.0) {
                        return Err(format!("producer id {} was handed out twice", ready.id));
                    }
                    self.producers[producer].identity = Some((ready.id, ready.epoch));
                }
                Ok(())
            }
            (Asked::Read(asked), Reply::Read(outcome)) => self.was_read(asked, outcome),
            (Asked::Look { op, end }, Reply::Located(outcome)) => {
                let event = match outcome {
                    Ok(located) => {
                        let offset = located.offset.map(|offset| offset.0);
                        Event::LookOk { op, start: offset.filter(|_| !end), high: offset.filter(|_| end) }
                    }
                    Err(_) => Event::LookFail { op },
                };
                self.history.push(at_us, event);
                Ok(())
            }
            (Asked::Trim { op, partition, before }, Reply::Trimmed(outcome)) => match outcome {
                Ok(trimmed) => {
                    self.world.sightings.saw("trim");
                    self.history.push(at_us, Event::TrimOk { op, start: trimmed.start.0 });
                    let seen = self.seen.entry(partition).or_default();
                    seen.0 = seen.0.max(trimmed.start.0);
                    seen.1 = seen.1.max(trimmed.start.0);
                    match before {
                        Some(before) if trimmed.start.0 < before => {
                            Err(format!("trim before {before} left the start at {}", trimmed.start))
                        }
                        _ => Ok(()),
                    }
                }
                Err(TrimError::OutOfRange { high }) => {
                    self.history.push(at_us, Event::TrimFail { op });
                    match before {
                        Some(before) if before > high.0 => Ok(()),
                        _ => Err(format!("trim before {before:?} is called out of range with high {high}")),
                    }
                }
                Err(TrimError::NotFound | TrimError::Denied) => {
                    self.history.push(at_us, Event::TrimFail { op });
                    Ok(())
                }
                Err(TrimError::LogFailed) => Ok(()),
            },
            (Asked::Declare { id, topic }, Reply::Declared(outcome)) => self.declared(id, topic, outcome.map(drop)),
            (Asked::Delete { id, drops }, Reply::Deleted(outcome)) => {
                let event = match outcome {
                    Ok(()) => {
                        self.world.sightings.saw("topic deleted");
                        if let Some(known) = self.topics.get_mut(&id) {
                            known.deleted = true;
                        }
                        |op| Event::DropOk { op }
                    }
                    Err(DeleteError::LogFailed) => return Ok(()),
                    // Gone already: an earlier request did it.
                    Err(DeleteError::NotFound) => |op| Event::DropOk { op },
                    Err(error) => return Err(format!("a topic cannot be deleted: {error:?}")),
                };
                for op in drops {
                    self.history.push(at_us, event(op));
                }
                Ok(())
            }
            (asked, reply) => Err(format!("{asked:?} was answered with {reply:?}")),
        }
    }

    fn published(
        &mut self,
        producer: usize,
        partition: PartitionId,
        op: Op,
        outcome: Result<Published, PublishError>,
    ) -> Checked {
        let now_us = self.world.clock.us();
        let drop_asked = self.drop_asked(partition);
        let acked_topic = self.topic_acked(partition);
        let restarted = self.world.lives() > 1;
        let sightings = &mut self.world.sightings;
        let Some(outbox) = self.producers[producer].boxes.get_mut(&partition) else { return Ok(()) };
        let Some(parcel) = outbox.parcel(op).cloned() else {
            if drop_asked {
                // Given up when the partition was found to be gone.
                return Ok(());
            }
            return Err(format!("op {op} was answered twice: {outcome:?}"));
        };
        let (front, numbered) = (outbox.is_front(op), outbox.numbered);
        match outcome {
            Ok(published) => {
                if published.duplicate {
                    sightings.saw("dedupe hit");
                    sightings.saw_if(restarted, "dedupe hit after restart");
                    if parcel.tries == 1 {
                        return Err(format!("op {op}, sent once, was answered as a repeat: {published:?}"));
                    }
                }
                outbox.acked(op, published.base_offset.0);
                self.history.push(now_us, Event::SendOk { op, offset: published.base_offset.0 });
                self.world.sightings.saw_if(self.was_full, "no space, and space again");
                self.was_full = false;
                let seen = self.seen.entry(partition).or_default();
                seen.1 = seen.1.max(published.base_offset.0 + u64::from(parcel.count));
                if self.kept_ms(partition).is_some() && !published.duplicate {
                    let (time_ms, step_ms) = self.times.get(&parcel.first).copied().unwrap_or_default();
                    let times = (0..i64::from(parcel.count)).map(|number| time_ms + number * step_ms).collect();
                    self.ages.entry(partition).or_default().insert(published.base_offset.0, times);
                }
                return Ok(());
            }
            Err(PublishError::LogFailed) => {
                // The process is about to end; `restart` decides what that means.
                return Ok(());
            }
            Err(PublishError::Overloaded { retry_after_ms }) => {
                sightings.saw("publish refused: busy");
                if numbered {
                    outbox.again(op, now_us + u64::from(retry_after_ms.max(1)) * 1000);
                    return Ok(());
                }
            }
            Err(PublishError::StorageFull) => {
                sightings.saw("publish refused: no space");
                if numbered {
                    outbox.again(op, now_us + 20_000);
                    return Ok(());
                }
            }
            Err(PublishError::OutOfSequence { .. }) if numbered && !front => {
                outbox.again(op, now_us);
                return Ok(());
            }
            Err(PublishError::NotFound) if drop_asked => {
                // What was sent before may have been there.
                let lost = self.producers[producer].boxes.remove(&partition).map(|mut outbox| outbox.drain());
                for parcel in lost.unwrap_or_default() {
                    self.history.push(now_us, Event::SendInfo { op: parcel.op });
                }
                return Ok(());
            }
            Err(PublishError::NotFound) if !acked_topic => {
                // Not placed yet.
                if numbered {
                    outbox.again(op, now_us + 1_000);
                    return Ok(());
                }
            }
            Err(error) => {
                return Err(format!("op {op} (try {}, front {front}) was refused: {error:?}", parcel.tries));
            }
        }
        outbox.remove(op);
        self.history.push(now_us, Event::SendFail { op });
        Ok(())
    }

    fn drop_asked(&self, partition: PartitionId) -> bool {
        let topic = self.partitions.get(&partition).and_then(|(_, id)| self.topics.get(id));
        topic.is_none_or(|topic| topic.delete_asked)
    }

    fn kept_ms(&self, partition: PartitionId) -> Option<u64> {
        self.topics.get(&self.partitions.get(&partition)?.1)?.kept_ms
    }

    /// A partition was seen to begin at `start`: did everything that went have the age for it?
    fn check_start(&mut self, partition: PartitionId, start: u64) -> Checked {
        let Some(kept_ms) = self.kept_ms(partition) else { return Ok(()) };
        let wall_ms = self.world.latest_wall_ms();
        let trimmed = self.trims.get(&partition).copied().unwrap_or(0);
        let Some(ages) = self.ages.get_mut(&partition) else { return Ok(()) };
        while let Some(batch) = ages.first_entry().filter(|batch| *batch.key() < start) {
            let (base, times) = batch.remove_entry();
            let went = times.iter().enumerate().map(|(number, time_ms)| (base + number as u64, *time_ms));
            for (offset, time_ms) in went.filter(|(offset, _)| (trimmed..start).contains(offset)) {
                if time_ms + kept_ms as i64 >= wall_ms as i64 {
                    return Err(format!(
                        "retention took offset {offset} of partition {partition}, of {time_ms}, at {wall_ms}: {kept_ms} ms are kept"
                    ));
                }
            }
        }
        Ok(())
    }

    /// After the longest time that a record is kept, and a pass of retention, nothing is left of what only age removes.
    fn check_expired(&mut self) -> Checked {
        let aged: Vec<(PartitionId, Placement)> =
            self.partitions.iter().map(|(id, (placement, _))| (*id, *placement)).collect();
        let aged: Vec<_> = aged
            .into_iter()
            .filter(|(id, _)| self.kept_ms(*id).is_some() && !self.drop_asked(*id) && self.topic_acked(*id))
            .collect();
        if aged.is_empty() {
            return Ok(());
        }
        let behind_ms = self.world.latest_wall_ms() - self.world.clock.now().wall_ms;
        self.world.clock.jump_wall_ms(behind_ms as i64);
        let wait_ms = KEPT_MS_MAX + self.options.settings.retention_check_ms + RETENTION_SLACK_MS;
        self.run_for(wait_ms * 1000)?;
        for (partition, placement) in aged {
            let mut ends = [0; 2];
            for (end, by) in ends.iter_mut().zip([LocateBy::Start, LocateBy::End]) {
                *end = match self.direct(placement, locate(partition, by))? {
                    Reply::Located(Ok(located)) => located.offset.map_or(0, |offset| offset.0),
                    other => return Err(format!("the ends of partition {partition} cannot be found: {other:?}")),
                };
            }
            if ends[0] != ends[1] {
                return Err(format!("of partition {partition} {ends:?} are kept beyond their age"));
            }
        }
        Ok(())
    }

    fn topic_acked(&self, partition: PartitionId) -> bool {
        let topic = self.partitions.get(&partition).and_then(|(_, id)| self.topics.get(id));
        topic.is_some_and(|topic| topic.acked)
    }

    fn was_read(&mut self, asked: ReadAsked, outcome: Result<ReadReply, ReadError>) -> Checked {
        let ReadAsked { reader, generation, partition, op, from, at_position, watch } = asked;
        let at_us = self.world.clock.us();
        match outcome {
            Ok(read) => {
                let (start, high) = (read.start.0, read.high.0);
                let total: usize = read.pieces.iter().map(|piece| piece.len()).sum();
                if total != read.bytes {
                    return Err(format!("op {op}: {} bytes announced, {total} given", read.bytes));
                }
                if read.stable > read.high {
                    return Err(format!("op {op}: stable {} beyond high {}", read.stable, read.high));
                }
                let next = records::note_saw(&mut self.history, at_us, op, from, &read.pieces);
                self.history.push(at_us, Event::ReadOk { op, start: Some(start), high: Some(high) });
                self.check_start(partition, start)?;
                let seen = self.seen.entry(partition).or_insert((0, 0));
                self.world.sightings.saw_if(
                    start > seen.0 && self.partitions.get(&partition).is_some_and(|(_, id)| self.topics[id].expires),
                    "retention moved a start",
                );
                *seen = (seen.0.max(start), seen.1.max(high));
                if next == from && from < high && from >= start {
                    return Err(format!("op {op}: nothing was read from {from} of {partition} though high is {high}"));
                }
                let position = self.readers[reader].positions.entry(partition).or_insert(next);
                if at_position {
                    // Answers to reads that overtook each other do not lead back.
                    *position = (*position).max(next);
                }
                let same = self.readers[reader].generation == generation;
                if watch && same && next >= high && next == self.readers[reader].positions[&partition] {
                    self.readers[reader].armed.insert(partition);
                }
            }
            Err(ReadError::OutOfRange { start, high }) => {
                self.history.push(at_us, Event::ReadOutOfRange { op, start: Some(start.0), high: Some(high.0) });
                let position = self.readers[reader].positions.entry(partition).or_insert(start.0);
                if at_position && *position == from {
                    *position = start.0;
                }
            }
            Err(ReadError::NotFound) if self.topic_acked(partition) => {
                self.history.push(at_us, Event::ReadAbsent { op });
            }
            Err(ReadError::NotFound | ReadError::Storage) => self.history.push(at_us, Event::ReadFail { op }),
            Err(ReadError::Corrupt(_)) => self.history.push(at_us, Event::ReadCorrupt { op }),
            Err(error) => return Err(format!("op {op}: a read was refused: {error:?}")),
        }
        Ok(())
    }

    fn woken(&mut self, holder: HolderId, watch: u64) -> Checked {
        let Some((index, reader)) = self
            .readers
            .iter_mut()
            .enumerate()
            .find(|(index, reader)| reader_holder(*index, reader.generation) == holder)
        else {
            return Ok(());
        };
        let partition = PartitionId(watch);
        // A wake may overtake the reply of the read that set the watch.
        reader.armed.remove(&partition);
        let due = self.world.clock.us() + scatter(watch ^ index as u64) % 300;
        reader.woken.push((due, partition));
        self.world.sightings.saw("watch fired");
        Ok(())
    }

    fn declared(&mut self, id: TopicId, topic: u32, outcome: Result<(), DeclareError>) -> Checked {
        match outcome {
            Ok(()) => {
                let ctx = ctx(ADMIN);
                let there = self.world.process().catalog().by_id(&ctx, id).is_some();
                self.learn(id);
                let name: Arc<str> = format!("topic-{topic}").into();
                let again =
                    self.topics.iter().any(|(other, known)| *other != id && known.name == name && known.deleted);
                self.world.sightings.saw_if(again, "topic made again under its name");
                let Some(known) = self.topics.get_mut(&id) else { return Ok(()) };
                known.acked = true;
                if !there && !known.delete_asked {
                    return Err(format!("topic {id} was answered as made, and is not in the catalog"));
                }
                Ok(())
            }
            Err(DeclareError::Exists | DeclareError::Overloaded { .. } | DeclareError::StorageFull) => {
                self.topics.remove(&id);
                Ok(())
            }
            Err(DeclareError::LogFailed) => Ok(()),
            Err(error) => Err(format!("a topic cannot be made: {error:?}")),
        }
    }

    // The end.

    fn finish(&mut self) -> Checked {
        self.world.heal();
        self.settle()?;
        if let Some(death) = self.options.last_death {
            self.die(death)?;
            self.settle()?;
        }
        self.check_watches()?;
        self.check_topics()?;
        self.drain_all()?;
        self.check_expired()
    }

    /// Reads everything, and judges.
    pub(super) fn drain_all(&mut self) -> Checked {
        let at_us = self.world.clock.us();
        self.history.push(at_us, Event::Drain);
        let partitions: Vec<(PartitionId, Placement)> =
            self.partitions.iter().map(|(partition, (placement, _))| (*partition, *placement)).collect();
        for (partition, placement) in partitions {
            self.drain(partition, placement)?;
        }
        self.world.note_figures();
        judge(&self.history, true, &mut self.world.sightings)
    }

    /// Until everything is answered and nothing is under way.
    pub(super) fn settle(&mut self) -> Checked {
        self.wait(1_000, SETTLE_US_MAX, |run| {
            let sends: usize = run.producers.iter().flat_map(|producer| producer.boxes.values().map(Outbox::len)).sum();
            let woken = run.readers.iter().any(|reader| !reader.woken.is_empty());
            let idle = run.world.process().idle();
            let (open, first) = (run.asked.len(), run.asked.iter().next());
            (sends > 0 || open > 0 || woken || !idle).then(|| {
                format!(
                    "{sends} sends and {open} other requests are open, a watch fired: {woken}, idle: {idle}: {first:?}"
                )
            })
        })
    }

    /// A reader that waits at the end waits for nothing that is there.
    fn check_watches(&mut self) -> Checked {
        for index in 0..self.readers.len() {
            let armed: Vec<PartitionId> = self.readers[index].armed.iter().copied().collect();
            for partition in armed {
                let position = self.readers[index].positions.get(&partition).copied().unwrap_or(0);
                let (placement, _) = self.partitions[&partition];
                if let Reply::Located(Ok(located)) = self.direct(placement, locate(partition, LocateBy::End))?
                    && located.offset.is_some_and(|high| high.0 > position)
                {
                    return Err(format!(
                        "reader {index} waits at {position} of partition {partition}, high is {:?}, no wake came",
                        located.offset
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_topics(&mut self) -> Checked {
        let ctx = ctx(ADMIN);
        let catalog = self.world.process().catalog().clone();
        for (id, known) in &self.topics {
            let there = catalog.by_id(&ctx, *id);
            if known.deleted && there.is_some() {
                return Err(format!("topic {id} was deleted, and is in the catalog"));
            }
            if known.acked && !known.delete_asked {
                let Some(topic) = there else {
                    return Err(format!("topic {id} was made and is not in the catalog"));
                };
                if !known.partitions.is_empty() && *known.partitions != *topic.partitions {
                    return Err(format!("topic {id} has other partitions than it had"));
                }
                if catalog.by_name(&ctx, &known.name).map(|topic| topic.id) != Some(*id) {
                    return Err(format!("topic {id} is not what its name {} means", known.name));
                }
            }
        }
        let mut with_records = BTreeSet::new();
        for (partition, (placement, _)) in &self.partitions {
            if self.seen.get(partition).is_some_and(|seen| seen.1 > 0) {
                with_records.insert(placement.shard);
            }
        }
        self.world.sightings.saw_if(with_records.len() > 1, "two shards with records");
        Ok(())
    }

    /// Asks and waits for the answer.
    fn direct(&mut self, placement: Placement, command: Command) -> Result<Reply, String> {
        self.answer = None;
        let what = format!("{command:?}");
        self.ask(ADMIN, placement.shard, Asked::Direct, command);
        self.await_answer(&what, |run| run.answer.take())
    }

    /// Reads a partition from its start to its end, and looks things up in it by time.
    fn drain(&mut self, partition: PartitionId, placement: Placement) -> Checked {
        let (_, id) = self.partitions[&partition];
        let known = self.topics.get(&id).cloned();
        let there = self.world.process().catalog().by_id(&ctx(ADMIN), id).is_some();
        if !there && known.as_ref().is_none_or(|known| !known.deleted) {
            // Being made or being removed when everything ended.
            return Ok(());
        }
        let look = self.history.next_op();
        let at_us = self.world.clock.us();
        self.history.push(at_us, Event::Look { op: look, client: DRAINER, partition: partition.0 });
        let mut from = match self.direct(placement, locate(partition, LocateBy::Start))? {
            Reply::Located(Ok(located)) => {
                let at_us = self.world.clock.us();
                let start = located.offset.map(|offset| offset.0);
                self.history.push(at_us, Event::LookOk { op: look, start, high: None });
                start.unwrap_or(0)
            }
            Reply::Located(Err(LocateError::NotFound)) => 0,
            other => return Err(format!("the start of partition {partition} cannot be found: {other:?}")),
        };
        let mut times: Vec<(u64, i64)> = Vec::new();
        let mut damaged = false;
        loop {
            let op = self.history.next_op();
            let at_us = self.world.clock.us();
            self.history.push(at_us, Event::Read { op, client: DRAINER, partition: partition.0, from });
            let read = Read {
                partition,
                from: Offset(from),
                bytes_max: 50_000,
                isolation: Isolation::Stable,
                leader_epoch: None,
                watch: None,
            };
            let before = self.shard_figures(placement.shard);
            let reply = self.direct(placement, Command::Read(read))?;
            let at_us = self.world.clock.us();
            match reply {
                Reply::Read(Ok(read)) => {
                    let after = self.shard_figures(placement.shard);
                    self.world.sightings.saw_if(after.cold_read_bytes > before.cold_read_bytes, "cold read");
                    self.world.sightings.saw_if(after.read_ahead_hits > before.read_ahead_hits, "read ahead");
                    let next = records::note_saw(&mut self.history, at_us, op, from, &read.pieces);
                    for piece in &read.pieces {
                        records::walk(piece, |offset, _, timestamp_ms| {
                            if offset >= from {
                                times.push((offset, timestamp_ms));
                            }
                        });
                    }
                    let (start, high) = (read.start.0, read.high.0);
                    self.history.push(at_us, Event::ReadOk { op, start: Some(start), high: Some(high) });
                    self.check_start(partition, start)?;
                    let seen = self.seen.entry(partition).or_default();
                    seen.1 = seen.1.max(high);
                    if next >= high {
                        break;
                    }
                    if next == from {
                        return Err(format!("the drain is stuck at {from} of {high} in partition {partition}"));
                    }
                    from = next;
                }
                Reply::Read(Err(ReadError::OutOfRange { start, .. })) if start.0 > from => {
                    // Retention moved on.
                    self.history.push(at_us, Event::ReadFail { op });
                    times.clear();
                    from = start.0;
                }
                Reply::Read(Err(ReadError::NotFound)) => {
                    self.history.push(at_us, Event::ReadAbsent { op });
                    return Ok(());
                }
                Reply::Read(Err(ReadError::Corrupt(corrupt))) if self.world.damage_done => {
                    // Named with file and place; what comes after it must be readable still.
                    self.world.sightings.saw("damage answered to a reader");
                    self.history.push(at_us, Event::ReadCorrupt { op });
                    if corrupt.name.is_empty() {
                        return Err(format!("damage without a file's name: {corrupt:?}"));
                    }
                    damaged = true;
                    from += 1;
                    if self.seen.get(&partition).is_none_or(|(_, high)| from >= *high) {
                        break;
                    }
                }
                other => return Err(format!("partition {partition} cannot be read from {from}: {other:?}")),
            }
        }
        if damaged {
            return Ok(());
        }
        if known.is_none_or(|known| known.expires) {
            return Ok(());
        }
        self.check_times(partition, placement, &times)
    }

    fn shard_figures(&mut self, shard: ShardId) -> ShardFigures {
        self.world.process().shard(shard).figures()
    }

    fn check_times(&mut self, partition: PartitionId, placement: Placement, times: &[(u64, i64)]) -> Checked {
        let Some(latest) = times.iter().map(|(_, time)| *time).max() else { return Ok(()) };
        let probe = times[scatter(partition.0) as usize % times.len()].1;
        for (by, expected) in [
            (LocateBy::Timestamp(probe), times.iter().find(|(_, time)| *time >= probe)),
            (LocateBy::Timestamp(latest + 1), None),
            (LocateBy::MaxTimestamp, times.iter().find(|(_, time)| *time == latest)),
        ] {
            let expected = expected.copied();
            match self.direct(placement, locate(partition, by))? {
                Reply::Located(Ok(located))
                    if located.offset.map(|offset| offset.0) == expected.map(|(offset, _)| offset)
                        && (expected.is_none() || located.timestamp_ms == expected.map(|(_, time)| time)) => {}
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

    fn take_history(&mut self) -> History {
        std::mem::take(&mut self.history)
    }

    fn step(&mut self, step: Step) -> Checked {
        self.carry(step)
    }

    fn take(&mut self, outputs: Vec<Output>) -> Checked {
        for output in outputs {
            match output {
                Output::Reply { ticket, reply, .. } => self.answered(ticket, reply)?,
                Output::Wake { holder, watch } => self.woken(holder, watch)?,
            }
        }
        Ok(())
    }

    fn act(&mut self) -> Result<bool, String> {
        Ok(self.clients())
    }

    fn due_after(&self, now_us: u64) -> Option<u64> {
        let woken = self.readers.iter().flat_map(|reader| reader.woken.iter().map(|(due, _)| *due));
        let boxes = self.producers.iter().flat_map(|producer| producer.boxes.values().filter_map(Outbox::due_us));
        woken.chain(boxes).filter(|due| *due > now_us).min()
    }

    fn died(&mut self, death: Death) {
        let at_us = self.world.clock.us();
        self.history.push(at_us, Event::Restart { power_lost: death == Death::Power });
        for (_, asked) in std::mem::take(&mut self.asked) {
            match asked {
                Asked::Read(ReadAsked { op, .. }) => self.history.push(at_us, Event::ReadFail { op }),
                Asked::Look { op, .. } => self.history.push(at_us, Event::LookFail { op }),
                Asked::Publish { .. }
                | Asked::Repeat { .. }
                | Asked::InitProducer { .. }
                | Asked::Trim { .. }
                | Asked::Declare { .. }
                | Asked::Delete { .. }
                | Asked::Direct => {}
            }
        }
        for producer in &mut self.producers {
            producer.asking = false;
            for outbox in producer.boxes.values_mut() {
                for op in outbox.disconnected() {
                    self.history.push(at_us, Event::SendInfo { op });
                }
            }
        }
        for reader in &mut self.readers {
            reader.armed.clear();
            reader.woken.clear();
        }
    }
}

fn locate(partition: PartitionId, by: LocateBy) -> Command {
    Command::Locate(Locate { partition, by, isolation: Isolation::High, leader_epoch: None })
}

const ADMIN: HolderId = HolderId(1);
const FIRST_READER: u32 = 100;
const LOOKER: u32 = 200;
const DRAINER: u32 = 201;

fn producer_holder(index: usize) -> HolderId {
    HolderId(10 + index as u64)
}

fn reader_holder(index: usize, generation: u64) -> HolderId {
    HolderId(1000 + generation * 100 + index as u64)
}

fn ctx(holder: HolderId) -> Ctx {
    Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder }
}
