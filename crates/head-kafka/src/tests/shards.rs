// SPDX-License-Identifier: Apache-2.0
//! The head on real shards over media that keep everything in maps: what it promises holds with the kernel it is made for.

use super::client::{Client, Event, Kernel, batch_of, produce_request, text};
use super::plain_kernel::who;
use crate::Settings;
use crate::coordinator::{self, GroupSettings};
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DeleteTopicsRequest, FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
};
use kernel::shard::{Loaded, ShardConfig, ShardMessage};
use kernel::{Catalog, Command, Ctx, Effect, Shard};
use model::batch::{self, NewRecord, Numbering};
use model::media::{BlobDone, BlobName, BlobOp, BlobTag, Blobs, MediaError, WalDone, WalOp, WalOpened};
use model::{HolderId, Lsn, Now, ProducerEpoch, ProducerId, ShardEpoch, ShardId, Ticket};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

struct Member {
    shard: Shard,
    epoch: u32,
    frames: Vec<(Lsn, Bytes)>,
    next: Lsn,
    blobs: MapBlobs,
}

#[derive(Default)]
struct MapBlobs {
    files: BTreeMap<BlobName, Bytes>,
    done: VecDeque<(BlobTag, BlobDone)>,
}

impl Blobs for MapBlobs {
    fn submit(&mut self, tag: BlobTag, op: BlobOp) {
        let missing = |name: BlobName| MediaError::Missing { name: name.to_string() };
        let done = match op {
            BlobOp::Put { name, parts } => {
                self.files.insert(name, parts.concat().into());
                BlobDone::Put(Ok(()))
            }
            BlobOp::PutPiece { name, at, parts, is_last: _ } => {
                let mut file = self.files.remove(&name).unwrap_or_default().to_vec();
                file.truncate(at as usize);
                file.extend_from_slice(&parts.concat());
                self.files.insert(name, file.into());
                BlobDone::PutPiece(Ok(()))
            }
            BlobOp::Get { name, at, len } => {
                let file = self.files.get(&name);
                let range = at as usize..at as usize + len as usize;
                BlobDone::Got(
                    file.filter(|file| file.len() >= range.end).map(|file| file.slice(range)).ok_or(missing(name)),
                )
            }
            BlobOp::List { shard, kind } => {
                let of = |(name, file): (&BlobName, &Bytes)| {
                    (name.shard == shard && name.kind == kind).then_some((*name, file.len() as u64))
                };
                BlobDone::Listed(Ok(self.files.iter().filter_map(of).collect()))
            }
            BlobOp::Delete { name } => {
                self.files.remove(&name);
                BlobDone::Deleted(Ok(()))
            }
            BlobOp::Reserve { .. } | BlobOp::UseReserve { .. } => BlobDone::Reserved(Ok(())),
        };
        self.done.push_back((tag, done));
    }

    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)> {
        self.done.pop_front()
    }

    fn wait_done(&mut self) -> (BlobTag, BlobDone) {
        self.poll_done().expect("something was submitted")
    }
}

/// Shards whose log is durable as soon as it is asked.
pub struct Shards {
    members: Vec<Member>,
    catalog: Catalog,
    events: VecDeque<(HolderId, Event)>,
    messages: VecDeque<(ShardId, ShardId, ShardMessage)>,
}

fn config(shard: u32, count: u32) -> ShardConfig {
    ShardConfig { shard: ShardId(shard), shard_count: count, tail_bytes_max: 8 << 20, ..ShardConfig::default() }
}

fn open(
    now: Now,
    shard: u32,
    count: u32,
    epoch: u32,
    frames: Vec<(Lsn, Bytes)>,
    next: Lsn,
    mut blobs: MapBlobs,
) -> Member {
    let config = config(shard, count);
    let loaded = Loaded::load(&config, &mut blobs).expect("loads");
    let from = loaded.wal_from();
    let opened = WalOpened {
        epoch: ShardEpoch(epoch),
        frames: frames.iter().filter(|frame| frame.0 >= from).cloned().collect(),
        next,
        copied_forward: 0,
        torn_at: None,
    };
    let shard =
        Shard::open(config, loaded, opened, coordinator::machines(&GroupSettings::default()), now).expect("opens");
    Member { shard, epoch, frames, next, blobs }
}

impl Shards {
    pub fn new(count: u32) -> Shards {
        let now = Now { mono_us: 1, wall_ms: super::client::WALL_MS };
        let member = |shard| open(now, shard, count, 1, Vec::new(), Lsn(1), MapBlobs::default());
        Shards::of((0..count).map(member).collect(), now)
    }

    fn of(members: Vec<Member>, now: Now) -> Shards {
        let epochs: Arc<[ShardEpoch]> = members.iter().map(|member| member.shard.epoch()).collect();
        let mut shards =
            Shards { members, catalog: Catalog::default(), events: VecDeque::new(), messages: VecDeque::new() };
        for member in &mut shards.members {
            member.shard.hello(now, epochs.clone());
        }
        shards.pump(now);
        shards
    }

    /// The same media, another life.
    pub fn restart(self, now: Now) -> Shards {
        let count = self.members.len() as u32;
        let reopen = |(shard, member): (usize, Member)| {
            let Member { epoch, frames, next, blobs, .. } = member;
            open(now, shard as u32, count, epoch + 1, frames, next, blobs)
        };
        Shards::of(self.members.into_iter().enumerate().map(reopen).collect(), now)
    }

    fn pump(&mut self, now: Now) {
        loop {
            let mut moved = false;
            for at in 0..self.members.len() {
                self.members[at].shard.finish(now);
                while let Some(effect) = self.members[at].shard.poll_effect() {
                    moved = true;
                    self.take(now, at, effect);
                }
                if self.members[at].shard.poll_timeout().is_some_and(|due| due <= now.mono_us) {
                    self.members[at].shard.handle_timeout(now);
                    moved = true;
                }
            }
            while let Some((from, to, message)) = self.messages.pop_front() {
                self.members[to.0 as usize].shard.handle_message(now, from, message);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn take(&mut self, now: Now, at: usize, effect: Effect) {
        let member = &mut self.members[at];
        match effect {
            Effect::Reply { holder, ticket, reply } => self.events.push_back((holder, Event::Reply(ticket, reply))),
            Effect::Wake { holder, watch } => self.events.push_back((holder, Event::Wake(watch))),
            Effect::Catalog(catalog) => self.catalog = catalog,
            Effect::Wal(WalOp::Append { lsn, body }) => {
                member.frames.push((lsn, body));
                member.next = lsn.next();
                member.shard.handle_wal(now, WalDone::Durable { through: lsn });
            }
            Effect::Wal(WalOp::Trim { below }) => member.frames.retain(|frame| frame.0 >= below),
            Effect::Wal(WalOp::Settle | WalOp::GiveBack { .. }) => {}
            Effect::Wal(WalOp::Lend { .. }) => member.shard.handle_wal(now, WalDone::Lent { slots: Vec::new() }),
            Effect::Blob(tag, op) => {
                member.blobs.submit(tag, op);
                let (tag, done) = member.blobs.wait_done();
                member.shard.handle_blob(now, tag, done);
            }
            Effect::Blocks(tag, read) => {
                member.blobs.submit(tag, read.op());
                let (tag, done) = member.blobs.wait_done();
                member.shard.handle_blocks(now, tag, read.check(done));
            }
            Effect::Work(work) => {
                let done = work.run();
                member.shard.handle_work(now, done);
            }
            Effect::Send { shard, message } => self.messages.push_back((ShardId(at as u32), shard, message)),
            Effect::Fatal(error) => panic!("{error}"),
        }
    }
}

impl Kernel for Shards {
    fn catalog(&self) -> Catalog {
        self.catalog.clone()
    }

    fn submit(&mut self, now: Now, shard: ShardId, ticket: Ticket, command: Command) {
        self.members[shard.0 as usize].shard.submit(now, &who(), ticket, command);
    }

    fn next_event(&mut self, now: Now) -> Option<Event> {
        self.pump(now);
        self.events.pop_front().map(|(_, event)| event)
    }
}

/// Several clients at the same shards, each a holder of its own.
#[derive(Clone)]
pub struct Seat {
    shards: Rc<RefCell<Shards>>,
    holder: HolderId,
}

impl Seat {
    /// So many clients at one new set of shards.
    pub fn clients(shard_count: u32, clients: u64) -> Vec<Client<Seat>> {
        let shards = Rc::new(RefCell::new(Shards::new(shard_count)));
        let seat = |holder| Seat { shards: shards.clone(), holder: HolderId(holder) };
        (1..=clients).map(|holder| Client::of(Settings::default(), seat(holder))).collect()
    }

    /// All shards end and are opened from what is at rest. Every client has to connect again.
    pub fn restart(&self, now: Now) {
        let ended = self.shards.replace(Shards::of(Vec::new(), now));
        self.shards.replace(ended.restart(now));
    }

    /// The client's connection is gone.
    pub fn leave(&self, now: Now) {
        let mut shards = self.shards.borrow_mut();
        for member in &mut shards.members {
            member.shard.submit(now, &self.who(), Ticket(0), Command::Gone);
        }
    }
}

impl Kernel for Seat {
    fn catalog(&self) -> Catalog {
        self.shards.borrow().catalog.clone()
    }

    fn submit(&mut self, now: Now, shard: ShardId, ticket: Ticket, command: Command) {
        let mut shards = self.shards.borrow_mut();
        shards.members[shard.0 as usize].shard.submit(now, &self.who(), ticket, command);
    }

    fn next_event(&mut self, now: Now) -> Option<Event> {
        let mut shards = self.shards.borrow_mut();
        shards.pump(now);
        let at = shards.events.iter().position(|(holder, _)| *holder == self.holder)?;
        shards.events.remove(at).map(|(_, event)| event)
    }

    fn who(&self) -> Ctx {
        Ctx { holder: self.holder, ..who() }
    }
}

/// A client of one shard, and one of two.
pub fn clients() -> impl Iterator<Item = Client<Shards>> {
    [1, 2].into_iter().map(|count| Client::of(Settings::default(), Shards::new(count)))
}

fn metadata(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(text(topic).into()));
    MetadataRequest::default().with_topics(Some(vec![topic]))
}

fn fetch(topic: &str, wants: &[(i32, i64)]) -> FetchRequest {
    let partition = |(index, offset): &(i32, i64)| {
        FetchPartition::default().with_partition(*index).with_fetch_offset(*offset).with_partition_max_bytes(1 << 20)
    };
    let topic =
        FetchTopic::default().with_topic(text(topic).into()).with_partitions(wants.iter().map(partition).collect());
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// (partition, error, number of records, high watermark)
fn rows(answer: &FetchResponse) -> Vec<(i32, i16, i32, i64)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|data| {
            let records = data.records.clone().unwrap_or_default();
            let mut rest = &records[..];
            let mut count = 0;
            while let Some(header) = batch::Header::read(rest) {
                count += header.record_count;
                rest = &rest[header.bytes..];
            }
            (data.partition_index, data.error_code, count, data.high_watermark)
        })
        .collect()
}

fn offset(client: &mut Client<Shards>, topic: &str, index: i32, timestamp: i64) -> (i16, i64, i64) {
    let partition = ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(text(topic).into()).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let answer = client.call(7, &request).topics[0].partitions[0].clone();
    (answer.error_code, answer.offset, answer.timestamp)
}

#[test]
fn a_topic_is_made_written_read_and_deleted() {
    for mut client in clients() {
        let made = client.call(9, &metadata("t"));
        assert_eq!(made.topics[0].error_code, 0);
        let epoch = made.topics[0].partitions[0].leader_epoch;
        client.produce("t", 0, &["a", "b", "c"]);
        assert_eq!(rows(&client.call(7, &fetch("t", &[(0, 0)]))), [(0, 0, 3, 3)]);
        assert_eq!(rows(&client.call(7, &fetch("t", &[(0, 2)]))), [(0, 0, 1, 3)]);
        assert_eq!(rows(&client.call(7, &fetch("t", &[(0, 4)])))[0].1, 1);
        assert_eq!(offset(&mut client, "t", 0, -1), (0, 3, -1));
        assert_eq!(offset(&mut client, "t", 0, -2), (0, 0, -1));
        let time = super::client::WALL_MS as i64;
        assert_eq!(offset(&mut client, "t", 0, time), (0, 0, time));
        assert_eq!(offset(&mut client, "t", 0, time + 1), (0, -1, -1));
        assert_eq!(offset(&mut client, "t", 0, -3), (0, 0, time));
        let mut older = fetch("t", &[(0, 0)]);
        older.topics[0].partitions[0].current_leader_epoch = epoch - 1;
        assert_eq!(rows(&client.call(9, &older))[0].1, 74);
        older.topics[0].partitions[0].current_leader_epoch = epoch + 1;
        assert_eq!(rows(&client.call(9, &older))[0].1, 75);
        let delete = DeleteTopicsRequest::default().with_topic_names(vec![text("t").into()]);
        assert_eq!(client.call(5, &delete).responses[0].error_code, 0);
        assert_eq!(rows(&client.call(7, &fetch("t", &[(0, 0)])))[0].1, 3);
        assert_eq!(client.call(5, &delete).responses[0].error_code, 3);
    }
}

#[test]
fn partitions_are_spread_and_all_of_them_work() {
    for mut client in clients() {
        client.make_topic("t", 5);
        for index in 0..5 {
            client.produce("t", index, &["a"]);
        }
        let wants: Vec<_> = (0..5).map(|index| (index, 0)).collect();
        let expected: Vec<_> = (0..5).map(|index| (index, 0, 1, 1)).collect();
        assert_eq!(rows(&client.call(7, &fetch("t", &wants))), expected);
    }
}

#[test]
fn a_waiting_session_is_woken_by_what_another_connection_writes() {
    for mut client in clients() {
        client.make_topic("t", 3);
        let full = fetch("t", &[(0, 0), (1, 0), (2, 0)]).with_session_epoch(0).with_max_wait_ms(0);
        let id = client.call(7, &full).session_id;
        assert!(id > 0);
        for epoch in 1..4 {
            let moved = fetch("t", &[(2, i64::from(epoch) - 1)]);
            client.send(7, &moved.with_session_id(id).with_session_epoch(epoch));
            assert!(client.output.is_empty());
            let place = client.kernel.catalog.by_name(&who(), "t").unwrap().partitions[2];
            let publish = kernel::command::Publish {
                partition: place.partition,
                leader_epoch: None,
                batch: batch::Batch::check(batch_of(&["a"]), 1 << 20).unwrap(),
                has_keys: false,
                origin: kernel::command::Origin::Kafka,
            };
            client.kernel.submit(client.now, place.shard, Ticket(u64::MAX), Command::Publish(publish));
            client.run();
            let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
            assert_eq!(rows(&answer), [(2, 0, 1, i64::from(epoch))]);
        }
    }
}

#[test]
fn a_numbered_batch_lands_once_even_over_a_restart() {
    for mut client in clients() {
        client.make_topic("t", 1);
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let producer = client.call(4, &request);
        let numbered = |base_sequence| {
            let record = NewRecord {
                timestamp_ms: super::client::WALL_MS as i64,
                value: Some(Bytes::from_static(b"v")),
                ..NewRecord::default()
            };
            let numbering = Numbering {
                producer_id: ProducerId(producer.producer_id.0),
                producer_epoch: ProducerEpoch(producer.producer_epoch),
                base_sequence,
            };
            Some(batch::build(&[record], numbering).bytes().clone())
        };
        let send = |client: &mut Client<Shards>, base_sequence| {
            let answer = client.call(9, &produce_request("t", 0, -1, numbered(base_sequence)));
            let answer = &answer.responses[0].partition_responses[0];
            (answer.error_code, answer.base_offset)
        };
        assert_eq!(send(&mut client, 0), (0, 0));
        assert_eq!(send(&mut client, 1), (0, 1));
        assert_eq!(send(&mut client, 0), (0, 0), "the first again");
        assert_eq!(send(&mut client, 5), (45, -1));
        let now = client.now;
        let before = client.call(9, &metadata("t")).topics[0].partitions[0].leader_epoch;
        let mut client = Client::of(Settings::default(), client.kernel.restart(now));
        assert_eq!(send(&mut client, 1), (0, 1), "repeated after the restart");
        assert_eq!(send(&mut client, 2), (0, 2));
        assert_eq!(rows(&client.call(7, &fetch("t", &[(0, 0)]))), [(0, 0, 3, 3)]);
        assert!(client.call(9, &metadata("t")).topics[0].partitions[0].leader_epoch > before);
        assert!(client.call(4, &request).producer_id.0 > producer.producer_id.0, "ids are never used again");
    }
}

#[test]
fn batches_of_transactions_are_refused_while_there_are_none() {
    for mut client in clients() {
        client.make_topic("t", 1);
        let producer = client.call(4, &InitProducerIdRequest::default().with_transactional_id(None));
        let numbering = Numbering {
            producer_id: ProducerId(producer.producer_id.0),
            producer_epoch: ProducerEpoch(0),
            base_sequence: 0,
        };
        let record = NewRecord { timestamp_ms: super::client::WALL_MS as i64, ..NewRecord::default() };
        let mut bytes = batch::build(&[record], numbering).bytes().to_vec();
        bytes[22] |= 1 << 4;
        let crc = model::crc::crc32c(&bytes[batch::CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let answer = client.call(9, &produce_request("t", 0, -1, Some(bytes.into())));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 48);
    }
}

#[test]
fn what_was_spilled_reads_as_what_was_not() {
    for mut client in clients() {
        client.make_topic("t", 2);
        let large = "x".repeat(100_000);
        for _ in 0..60 {
            client.produce("t", 0, &[large.as_str()]);
            client.produce("t", 1, &[large.as_str()]);
        }
        let spilled: u64 = client.kernel.members.iter().map(|member| member.shard.figures().spills).sum();
        assert!(spilled > 0, "12 MB through tails of 8 MiB");
        for index in 0..2 {
            let mut at = 0;
            while at < 60 {
                let row = rows(&client.call(7, &fetch("t", &[(index, at)])))[0];
                assert_eq!((row.1, row.3), (0, 60));
                assert!(row.2 > 0);
                at += i64::from(row.2);
            }
            assert_eq!(at, 60);
        }
    }
}
