// SPDX-License-Identifier: Apache-2.0
//! A model of the kernel for tests: topics and batches in plain maps, everything durable at once, no errors but those a test
//! asks for.

use super::client::{Event, Kernel};
use crate::coordinator::{CONFIGS, Configs, GROUPS, GroupSettings, Groups};
use bytes::Bytes;
use kernel::auth::Principal;
use kernel::catalog::{Placement, Topic};
use kernel::command::{Isolation, LocateBy};
use kernel::coordinator::{Coordinator, Decision};
use kernel::error::{DeclareError, DeleteError, DescribeError, EpochMismatch, LocateError, PublishError, ReadError};
use kernel::reply::{Altered, Declared, Located, ProducerReady, Published, ReadReply};
use kernel::{Catalog, Command, Ctx, Reply};
use model::batch::{self, Header};
use model::{
    HolderId, LeaderEpoch, NamespaceId, Now, Offset, PartitionId, ProducerEpoch, ProducerId, ShardEpoch, ShardId,
    Ticket, TopicId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Every shard is in this epoch, and every partition's leader epoch is the same.
pub const EPOCH: i32 = 3;

#[derive(Default)]
pub struct Partition {
    pub start: u64,
    pub stable: Option<u64>,
    /// Next offset and bytes of each batch.
    batches: Vec<(u64, Bytes)>,
}

impl Partition {
    pub fn high(&self) -> u64 {
        self.batches.last().map_or(self.start, |batch| batch.0)
    }
}

pub struct PlainKernel {
    pub catalog: Catalog,
    pub partitions: BTreeMap<PartitionId, Partition>,
    pub events: VecDeque<Event>,
    /// The next commands are answered with these instead.
    pub instead: VecDeque<Reply>,
    /// Replies are kept back while this is set.
    pub holding: bool,
    held: VecDeque<Event>,
    watches: BTreeSet<(PartitionId, u64)>,
    topics: BTreeMap<TopicId, Arc<Topic>>,
    next_partition: u64,
    next_producer: i64,
    groups: Groups,
    /// Every command there was, for tests that look at how they were asked.
    pub asked: Vec<Command>,
}

pub fn who() -> Ctx {
    Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(1) }
}

impl Kernel for PlainKernel {
    fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    fn submit(&mut self, now: Now, _shard: ShardId, ticket: Ticket, command: Command) {
        match command {
            Command::Coordinator { which: GROUPS, input } if self.instead.is_empty() => {
                let decision = self.groups.handle(now, &who(), ticket, &input);
                self.decided(decision);
            }
            // Nothing was given to the broker.
            Command::Coordinator { which: CONFIGS, input } => {
                for (_, ticket, answer) in Configs::new().handle(now, &who(), ticket, &input).replies {
                    self.reply(ticket, Reply::Coordinated(Ok(answer)));
                }
            }
            command => self.take(ticket, command),
        }
    }

    fn next_event(&mut self, now: Now) -> Option<Event> {
        if self.groups.poll_timeout().is_some_and(|due| due <= now.mono_us) {
            let decision = self.groups.handle_timeout(now);
            self.decided(decision);
        }
        self.events.pop_front()
    }
}

impl PlainKernel {
    pub fn new() -> PlainKernel {
        PlainKernel {
            catalog: empty_catalog(),
            partitions: BTreeMap::new(),
            events: VecDeque::new(),
            instead: VecDeque::new(),
            holding: false,
            held: VecDeque::new(),
            watches: BTreeSet::new(),
            topics: BTreeMap::new(),
            next_partition: 1,
            next_producer: 1000,
            groups: Groups::new(GroupSettings::default()),
            asked: Vec::new(),
        }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.catalog.by_name(&who(), name)
    }

    pub fn partition(&mut self, topic: &str, index: usize) -> &mut Partition {
        let id = self.topic(topic).unwrap().partitions[index].partition;
        self.partitions.get_mut(&id).unwrap()
    }

    /// Lets what was kept back go.
    pub fn release(&mut self) {
        self.holding = false;
        self.events.append(&mut self.held);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        let queue = if self.holding { &mut self.held } else { &mut self.events };
        queue.push_back(Event::Reply(ticket, reply));
    }

    /// What a coordinator decided is durable at once.
    fn decided(&mut self, decision: Decision) {
        decision.notes.iter().for_each(|note| self.groups.apply(note));
        for (_, ticket, answer) in decision.replies {
            self.reply(ticket, Reply::Coordinated(Ok(answer)));
        }
    }

    /// Takes a command, from the session or past it.
    pub fn take(&mut self, ticket: Ticket, command: Command) {
        self.asked.push(command.clone());
        if let Some(reply) = self.instead.pop_front() {
            return self.reply(ticket, reply);
        }
        let reply = match command {
            Command::Publish(publish) => Reply::Published(self.publish(publish)),
            Command::Read(read) => Reply::Read(self.read(read)),
            Command::Locate(locate) => Reply::Located(self.locate(&locate)),
            Command::DeclareTopic(declare) => Reply::Declared(self.declare(declare)),
            Command::AlterTopic(alter) => {
                Reply::Altered(Ok(Altered { topic: alter.topic, partition_count: alter.partition_count }))
            }
            Command::Describe(_) => Reply::Described(Err(DescribeError::NotFound)),
            Command::DeleteTopic { topic } => Reply::Deleted(self.delete(topic)),
            Command::InitProducer => {
                self.next_producer += 1;
                Reply::Producer(Ok(ProducerReady { id: ProducerId(self.next_producer), epoch: ProducerEpoch(0) }))
            }
            other => panic!("this head does not ask {other:?}"),
        };
        self.reply(ticket, reply);
    }

    fn publish(&mut self, publish: kernel::command::Publish) -> Result<Published, PublishError> {
        let partition = self.partitions.get_mut(&publish.partition).ok_or(PublishError::NotFound)?;
        let base = partition.high();
        let mut bytes = publish.batch.bytes().to_vec();
        batch::patch(&mut bytes, Offset(base), LeaderEpoch(EPOCH));
        let next = Header::read(&bytes).unwrap().next_offset().0;
        partition.batches.push((next, bytes.into()));
        let start = Offset(partition.start);
        self.wake(publish.partition);
        Ok(Published { base_offset: Offset(base), start, duplicate: false })
    }

    pub fn wake(&mut self, id: PartitionId) {
        let fired: Vec<_> = self.watches.iter().filter(|watch| watch.0 == id).copied().collect();
        for watch in fired {
            self.watches.remove(&watch);
            self.events.push_back(Event::Wake(watch.1));
        }
    }

    fn read(&mut self, read: kernel::command::Read) -> Result<ReadReply, ReadError> {
        let partition = self.partitions.get(&read.partition).ok_or(ReadError::NotFound)?;
        epoch(read.leader_epoch).map_err(ReadError::Epoch)?;
        let (start, high) = (Offset(partition.start), Offset(partition.high()));
        if read.from < start || read.from > high {
            return Err(ReadError::OutOfRange { start, high });
        }
        let stable = Offset(partition.stable.unwrap_or(high.0));
        let end = if read.isolation == Isolation::Stable { stable } else { high };
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        let mut reached = read.from;
        for (next, batch) in &partition.batches {
            if *next <= read.from.0 || *next > end.0 {
                continue;
            }
            if bytes > 0 && bytes + batch.len() > read.bytes_max as usize {
                break;
            }
            bytes += batch.len();
            pieces.push(batch.clone());
            reached = Offset(*next);
        }
        if reached >= end
            && let Some(watch) = read.watch
        {
            self.watches.insert((read.partition, watch));
        }
        Ok(ReadReply { pieces, bytes, start, stable, high, aborted: Vec::new() })
    }

    fn locate(&mut self, locate: &kernel::command::Locate) -> Result<Located, LocateError> {
        let partition = self.partitions.get(&locate.partition).ok_or(LocateError::NotFound)?;
        epoch(locate.leader_epoch).map_err(LocateError::Epoch)?;
        let times = || {
            partition.batches.iter().map(|(_, bytes)| {
                let header = Header::read(bytes).unwrap();
                (header.max_timestamp_ms, header.base_offset)
            })
        };
        let (offset, timestamp_ms) = match locate.by {
            LocateBy::Start => (Some(Offset(partition.start)), None),
            LocateBy::End if locate.isolation == Isolation::Stable => {
                (Some(Offset(partition.stable.unwrap_or(partition.high()))), None)
            }
            LocateBy::End => (Some(Offset(partition.high())), None),
            LocateBy::Timestamp(at) => {
                times().find(|time| time.0 >= at).map_or((None, None), |(time, offset)| (Some(offset), Some(time)))
            }
            LocateBy::EpochEnd(epoch) if epoch.0 > EPOCH => (None, None),
            LocateBy::EpochEnd(_) => (Some(Offset(partition.high())), None),
            LocateBy::MaxTimestamp => times().max().map_or((None, None), |(time, offset)| (Some(offset), Some(time))),
        };
        Ok(Located { offset, timestamp_ms, leader_epoch: LeaderEpoch(EPOCH) })
    }

    fn declare(&mut self, declare: kernel::command::DeclareTopic) -> Result<Declared, DeclareError> {
        if self.topic(&declare.name).is_some() {
            return Err(DeclareError::Exists);
        }
        if !crate::map::is_topic_name(&declare.name) {
            return Err(DeclareError::Name("not a name"));
        }
        if declare.partition_count == 0 || declare.partition_count > 1000 {
            return Err(DeclareError::PartitionCount { max: 1000 });
        }
        let declared = Declared { topic: declare.topic, partition_count: declare.partition_count };
        if declare.validate_only {
            return Ok(declared);
        }
        let mut placements = Vec::new();
        for _ in 0..declare.partition_count {
            let partition = PartitionId(self.next_partition);
            self.next_partition += 1;
            self.partitions.insert(partition, Partition::default());
            placements.push(Placement { partition, shard: ShardId::META, epoch_base: 0 });
        }
        let topic = Arc::new(Topic {
            id: declare.topic,
            namespace: NamespaceId::DEFAULT,
            name: declare.name,
            partitions: placements.into(),
            settings: declare.settings,
        });
        self.topics.insert(topic.id, topic.clone());
        self.catalog = std::mem::take(&mut self.catalog).with(topic);
        Ok(declared)
    }

    fn delete(&mut self, id: TopicId) -> Result<(), DeleteError> {
        let topic = self.topics.remove(&id).ok_or(DeleteError::NotFound)?;
        for placement in topic.partitions.iter() {
            self.partitions.remove(&placement.partition);
            self.wake(placement.partition);
        }
        self.catalog = self.topics.values().cloned().fold(empty_catalog(), Catalog::with);
        Ok(())
    }
}

fn empty_catalog() -> Catalog {
    Catalog::new(Arc::from([ShardEpoch(EPOCH as u32)]))
}

fn epoch(believed: Option<LeaderEpoch>) -> Result<(), EpochMismatch> {
    let current = LeaderEpoch(EPOCH);
    match believed {
        Some(believed) if believed < current => Err(EpochMismatch::Older { current }),
        Some(believed) if believed > current => Err(EpochMismatch::Newer { current }),
        _ => Ok(()),
    }
}
