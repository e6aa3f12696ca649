// SPDX-License-Identifier: Apache-2.0
//! Kafka clients on byte streams: the head's sessions, the kernel and the local medium under everything that can go wrong between
//! a client and a disk.
//!
//! Owns: clients (a topic maker, producers, consumers, strangers that send what is no request). Must not know: how requests are encoded (`actors/kafka.rs`), how they travel
//! and are served (`service.rs`), how the head works.
//!
//! At the end: heal, let producers finish and consumers catch up (one that does not is stuck), die once more, let a new consumer
//! read everything, judge.

pub mod plan;
mod stranger;

use super::drive::{Checked, Drive, SETTLE_US_MAX, Wired, judge, play};
use super::trouble::Fault;
use super::{Outcome, Setup};
use crate::actors::kafka::{Answer, Line, version_of};
use crate::actors::outbox::{Outbox, Parcel};
use crate::history::{Event, History, Op, Producer as Sender};
use crate::network::Arrival;
use crate::records;
use crate::rng::{Rng, scatter};
use crate::service::Service;
use crate::value;
use crate::world::{Death, World};
use bytes::Bytes;
use head_kafka::Settings;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, FetchRequest, FetchResponse, InitProducerIdRequest,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use model::batch::{Numbering, compressed, sequence_plus};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId};
use plan::{Options, Planned, Step};
use std::collections::{BTreeMap, VecDeque};

type Uuid = [u8; 16];

/// Runs a seed.
pub fn run(setup: &Setup) -> Outcome {
    let (options, plan) = plan::draw(setup.seed, setup.shard_count);
    play(setup, &options, plan, Run::new(setup, &options), Run::play)
}

/// A partition: topic and index, made one number for the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: u32,
    index: i32,
}

impl Key {
    fn number(self) -> u64 {
        u64::from(self.topic) * 1000 + self.index as u64
    }
}

/// What a client noted with a request.
#[derive(Clone, Debug)]
enum Note {
    Versions,
    Metadata,
    Create,
    Producer,
    Produce(Vec<(Key, Op)>),
    Fetch(Vec<(Key, Op, u64)>),
    Offsets(Vec<(Key, Op)>),
}

enum Kind {
    Maker,
    Producer {
        numbered: bool,
        identity: Option<(ProducerId, ProducerEpoch)>,
        boxes: BTreeMap<Key, Outbox>,
    },
    Consumer {
        sessions: bool,
        positions: BTreeMap<Key, u64>,
        highs: BTreeMap<Key, u64>,
        session: Option<(i32, i32)>,
        told: BTreeMap<Key, u64>,
        located: bool,
    },
}

/// A client and where it stands.
struct Client {
    kind: Kind,
    /// In the history.
    number: u32,
    link: Option<u64>,
    line: Line<Note>,
    /// Since this connection: metadata came.
    introduced: bool,
    /// Nothing is done before this.
    not_before_us: u64,
    rng: Rng,
    stopped: bool,
}

struct Run<'a> {
    world: World,
    options: &'a Options,
    history: History,
    clients: Vec<Client>,
    service: Service,
    /// Topics as clients learnt them.
    topics: BTreeMap<u32, Uuid>,
    next_values: Vec<u64>,
    /// Acknowledged up to here.
    acked: BTreeMap<Key, u64>,
    made: bool,
    /// Connections of strangers, the newest last.
    strangers: VecDeque<u64>,
}

/// Of more strangers the first goes.
const STRANGERS_MAX: usize = 4;
const STRANGER: usize = 999;

const REQUEST_US_MAX: u64 = 30_000_000;
const DRAINER: u32 = 201;
const COMPRESSIONS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn name_of(topic: u32) -> TopicName {
    TopicName(StrBytes::from_string(format!("topic-{topic}")))
}

impl<'a> Run<'a> {
    fn new(setup: &Setup, options: &'a Options) -> Run<'a> {
        let storage = &options.storage;
        let mut world = World::new(setup.seed, storage.settings.clone(), storage.knobs.clone());
        world.storm_one_in = storage.storm_one_in;
        world.rival_at_death = storage.odds.swarm.has(Fault::Rival);
        let mut clients = vec![Client::new(Kind::Maker, 300, setup.seed)];
        for index in 0..options.producers {
            let numbered = scatter(setup.seed ^ u64::from(index) << 32) % 100 < options.numbered_percent;
            let kind = Kind::Producer { numbered, identity: None, boxes: BTreeMap::new() };
            clients.push(Client::new(kind, index, setup.seed));
        }
        for index in 0..options.consumers {
            let sessions = scatter(setup.seed ^ u64::from(index) << 40) % 100 < options.sessions_percent;
            clients.push(Client::new(Kind::consumer(sessions), 100 + index, setup.seed));
        }
        Run {
            world,
            options,
            history: History::default(),
            clients,
            service: Service::new(
                setup.seed,
                Settings::default(),
                options.manners.clone(),
                storage.odds.swarm.has(Fault::Late),
                storage.settings.shard_count,
            ),
            topics: BTreeMap::new(),
            next_values: (0..options.producers).map(value::first_of_client).collect(),
            acked: BTreeMap::new(),
            made: false,
            strangers: VecDeque::new(),
        }
    }

    fn play(&mut self, plan: &[(usize, Planned)]) -> Checked {
        self.start()?;
        self.carry_out(plan)?;
        self.finish()
    }

    fn carry(&mut self, step: Step) -> Checked {
        match step {
            Step::Publish { producer, topic, partition, records, bytes } => {
                self.publish(producer, Key { topic, index: partition as i32 }, records, bytes as usize);
            }
            Step::Cut { client, half_open } => {
                let client = client as usize % self.clients.len();
                self.cut(client, half_open);
            }
            Step::Babble { how, salt } => {
                if self.strangers.len() == STRANGERS_MAX {
                    self.strangers_go(1);
                }
                let id = self.service.open(&self.world, STRANGER);
                self.service.send(&self.world, id, stranger::babble(how, salt));
                self.strangers.push_back(id);
            }
            Step::Trouble(trouble) => self.suffer(trouble)?,
        }
        Ok(())
    }

    /// They do not care for the answer.
    fn strangers_hear(&mut self, now_us: u64) -> bool {
        let mut busy = false;
        for id in &self.strangers {
            while let Some(arrival) = self.service.arrived(now_us, *id) {
                self.world.sightings.saw_if(arrival == Arrival::End, "stranger shown out");
                busy = true;
            }
        }
        busy
    }

    fn strangers_go(&mut self, count: usize) {
        for id in self.strangers.drain(..count) {
            self.service.cut(&mut self.world, id, false, true);
            self.service.forget(&self.world, id, STRANGER);
        }
    }

    // The clients' end.

    fn send(&mut self, client: usize, bytes: Bytes) {
        if let Some(id) = self.clients[client].link {
            self.service.send(&self.world, id, bytes);
        }
    }

    fn introduce(&mut self, client: usize) {
        let now_us = self.world.clock.us();
        let topics = (0..self.options.topics)
            .map(|topic| MetadataRequestTopic::default().with_name(Some(name_of(topic))))
            .collect();
        let state = &mut self.clients[client];
        let mut out = Vec::new();
        if state.rng.percent(50) {
            let version = version_of::<ApiVersionsRequest>(&mut state.rng, 0);
            let mut request = ApiVersionsRequest::default();
            if version >= 3 {
                request = request
                    .with_client_software_name(StrBytes::from_static_str("sim"))
                    .with_client_software_version(StrBytes::from_static_str("1"));
            }
            out.push(state.line.ask(now_us, version, &request, Note::Versions));
        }
        // From version 10 on topics have their ids.
        let version = version_of::<MetadataRequest>(&mut state.rng, 10);
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        out.push(state.line.ask(now_us, version, &request, Note::Metadata));
        for bytes in out {
            self.send(client, bytes);
        }
    }

    fn make_topics(&mut self, client: usize) {
        if self.made {
            self.clients[client].introduced = true;
            return;
        }
        let now_us = self.world.clock.us();
        let config = |name: &'static str, value: u64| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value.to_string())))
        };
        let expiry = self.options.storage.expiry;
        let state = &mut self.clients[client];
        let topics = (0..self.options.topics)
            .map(|topic| {
                let configs = if expiry && topic == 0 {
                    vec![config("retention.ms", 200), config("retention.bytes", 50_000)]
                } else {
                    Vec::new()
                };
                CreatableTopic::default()
                    .with_name(name_of(topic))
                    .with_num_partitions(self.options.partitions as i32)
                    .with_replication_factor(1)
                    .with_configs(configs)
            })
            .collect();
        let version = version_of::<CreateTopicsRequest>(&mut state.rng, 2);
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
        let bytes = state.line.ask(now_us, version, &request, Note::Create);
        self.send(client, bytes);
    }

    fn publish(&mut self, producer: u32, key: Key, records: u32, bytes: usize) {
        let client = 1 + producer as usize;
        let now = self.world.clock.now();
        let Kind::Producer { numbered, identity, boxes } = &mut self.clients[client].kind else { return };
        if *numbered && identity.is_none() {
            return;
        }
        let op = self.history.next_op();
        let first = self.next_values[producer as usize];
        self.next_values[producer as usize] += u64::from(records);
        let outbox = boxes.entry(key).or_default();
        outbox.numbered = *numbered;
        let numbering = match identity {
            Some((producer_id, producer_epoch)) if *numbered => Numbering {
                producer_id: *producer_id,
                producer_epoch: *producer_epoch,
                base_sequence: outbox.next_sequence,
            },
            _ => Numbering::NONE,
        };
        outbox.next_sequence = sequence_plus(outbox.next_sequence, records as i32);
        let batch = records::batch(first, records, bytes, now.wall_ms as i64, 1, numbering);
        let state = &mut self.clients[client];
        let batch = match state.rng.percent(self.options.compressed_percent) {
            true => compressed(&batch, state.rng.pick(&COMPRESSIONS)).expect("it can be compressed"),
            false => batch,
        };
        let is_compressed = batch.header().compression() != Some(Compression::None);
        self.world.sightings.saw_if(is_compressed, "compressed batch");
        let Kind::Producer { boxes, .. } = &mut self.clients[client].kind else { return };
        let outbox = boxes.entry(key).or_default();
        let sender = (numbering != Numbering::NONE).then_some(Sender {
            id: numbering.producer_id.0,
            epoch: numbering.producer_epoch.0,
            sequence: numbering.base_sequence,
        });
        let event =
            Event::Send { op, client: producer, partition: key.number(), first, count: records, producer: sender };
        self.history.push(now.mono_us, event);
        outbox.push(Parcel { op, first, count: records, batch, tries: 0, under_way: false, base: None });
    }

    fn produce(&mut self, client: usize) -> bool {
        let now_us = self.world.clock.us();
        let topics = self.topics.clone();
        let state = &mut self.clients[client];
        let Kind::Producer { numbered, identity, boxes } = &mut state.kind else { return false };
        if *numbered && identity.is_none() {
            if state.line.open() > 0 {
                return false;
            }
            let version = version_of::<InitProducerIdRequest>(&mut state.rng, 0);
            let request = InitProducerIdRequest::default()
                .with_transaction_timeout_ms(1000)
                .with_transactional_id(None)
                .with_producer_id(kafka_protocol::messages::ProducerId(-1))
                .with_producer_epoch(-1);
            let bytes = state.line.ask(now_us, version, &request, Note::Producer);
            self.send(client, bytes);
            return true;
        }
        if state.line.open() >= 5 {
            return false;
        }
        let mut data: BTreeMap<u32, Vec<PartitionProduceData>> = BTreeMap::new();
        let mut sent = Vec::new();
        let mut zstd = false;
        for (key, outbox) in boxes.iter_mut().filter(|(key, _)| topics.contains_key(&key.topic)) {
            if let Some(parcel) = outbox.next_parcel(now_us) {
                let records = Some(parcel.batch.bytes().clone());
                zstd |= parcel.batch.header().compression() == Some(Compression::Zstd);
                data.entry(key.topic)
                    .or_default()
                    .push(PartitionProduceData::default().with_index(key.index).with_records(records));
                sent.push((*key, parcel.op));
            }
        }
        if sent.is_empty() {
            return false;
        }
        // Older versions do not know zstd.
        let lowest = if zstd { 7 } else { 3 };
        let version = version_of::<ProduceRequest>(&mut state.rng, lowest);
        let data = data
            .into_iter()
            .map(|(topic, partitions)| {
                let data = TopicProduceData::default().with_partition_data(partitions);
                if version >= 13 {
                    data.with_topic_id(uuid::Uuid::from_bytes(topics[&topic]))
                } else {
                    data.with_name(name_of(topic))
                }
            })
            .collect();
        // A producer that repeats until it is answered cannot do without answers.
        let acks = match state.rng.below(10) {
            0 if !*numbered => 0,
            0..7 => -1,
            _ => 1,
        };
        if acks == 0 {
            for (key, op) in &sent {
                boxes.get_mut(key).and_then(|outbox| outbox.remove(*op));
                self.history.push(now_us, Event::SendInfo { op: *op });
            }
            self.world.sightings.saw("publish without an answer");
        }
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(acks)
            .with_timeout_ms(10_000)
            .with_topic_data(data);
        let bytes = state.line.ask(now_us, version, &request, Note::Produce(sent));
        if acks == 0 {
            state.line.forget_last();
        }
        self.send(client, bytes);
        true
    }

    fn consume(&mut self, client: usize) -> bool {
        let now_us = self.world.clock.us();
        let topics = self.topics.clone();
        let keys: Vec<Key> = topics
            .keys()
            .flat_map(|topic| (0..self.options.partitions as i32).map(|index| Key { topic: *topic, index }))
            .collect();
        let state = &mut self.clients[client];
        let Kind::Consumer { sessions, positions, session, told, located, .. } = &mut state.kind else { return false };
        if state.line.open() > 0 {
            return false;
        }
        if !*located || keys.iter().any(|key| !positions.contains_key(key)) {
            let ask = topics.keys().map(|topic| {
                let partitions = keys
                    .iter()
                    .filter(|key| key.topic == *topic)
                    .map(|key| ListOffsetsPartition::default().with_partition_index(key.index).with_timestamp(-2))
                    .collect();
                ListOffsetsTopic::default().with_name(name_of(*topic)).with_partitions(partitions)
            });
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(ask.collect());
            let version = version_of::<ListOffsetsRequest>(&mut state.rng, 1);
            let mut looks = Vec::new();
            for key in &keys {
                let op = self.history.next_op();
                self.history.push(now_us, Event::Look { op, client: state.number, partition: key.number() });
                looks.push((*key, op));
            }
            let bytes = state.line.ask(now_us, version, &request, Note::Offsets(looks));
            self.send(client, bytes);
            return true;
        }
        let version = version_of::<FetchRequest>(&mut state.rng, if *sessions { 7 } else { 4 });
        // An incremental fetch names what has changed; its version must stay by ids or by names.
        let version = if *sessions { version.max(13) } else { version };
        let (session_id, session_epoch) = if *sessions { session.unwrap_or((0, 0)) } else { (0, -1) };
        let incremental = session_epoch > 0;
        let mut asked: BTreeMap<u32, Vec<FetchPartition>> = BTreeMap::new();
        let mut reads = Vec::new();
        for key in &keys {
            let position = positions[key];
            let op = self.history.next_op();
            let event = Event::Read { op, client: state.number, partition: key.number(), from: position };
            self.history.push(now_us, event);
            reads.push((*key, op, position));
            if !incremental || told.get(key) != Some(&position) {
                told.insert(*key, position);
                asked.entry(key.topic).or_default().push(
                    FetchPartition::default()
                        .with_partition(key.index)
                        .with_fetch_offset(position as i64)
                        .with_partition_max_bytes(state.rng.pick(&[1, 10_000, 1_000_000])),
                );
            }
        }
        let asked = asked
            .into_iter()
            .map(|(topic, partitions)| {
                let ask = FetchTopic::default().with_partitions(partitions);
                if version >= 13 {
                    ask.with_topic_id(uuid::Uuid::from_bytes(topics[&topic]))
                } else {
                    ask.with_topic(name_of(topic))
                }
            })
            .collect();
        let mut request = FetchRequest::default()
            .with_max_wait_ms(state.rng.pick(&[0, 10, 500]))
            .with_min_bytes(state.rng.pick(&[0, 1, 1, 5_000]))
            .with_max_bytes(state.rng.pick(&[1, 100_000, 10_000_000]))
            .with_isolation_level(i8::from(state.rng.percent(50)))
            .with_topics(asked);
        if version >= 7 {
            request = request.with_session_id(session_id).with_session_epoch(session_epoch);
        }
        if version <= 14 {
            request = request.with_replica_id(BrokerId(-1));
        }
        let bytes = state.line.ask(now_us, version, &request, Note::Fetch(reads));
        self.send(client, bytes);
        true
    }

    fn learn(&mut self, client: usize, metadata: &MetadataResponse) -> Checked {
        let now_us = self.world.clock.us();
        for topic in &metadata.topics {
            match topic.error_code {
                0 => {}
                3 | 5 => continue,
                other => return Err(format!("Metadata answered {other} for {:?}", topic.name)),
            }
            let Some(number) =
                topic.name.as_ref().and_then(|name| name.0.as_str().strip_prefix("topic-")?.parse().ok())
            else {
                return Err(format!("Metadata names a topic that nobody asked for: {topic:?}"));
            };
            let id = *topic.topic_id.as_bytes();
            match self.topics.insert(number, id) {
                Some(before) if before != id => return Err(format!("topic {number} has another id than before")),
                Some(_) => {}
                None => {
                    for index in 0..self.options.partitions as i32 {
                        let key = Key { topic: number, index };
                        if self.options.storage.expiry && number == 0 {
                            self.history.push(now_us, Event::Expires { partition: key.number() });
                        }
                    }
                }
            }
            if topic.partitions.len() != self.options.partitions as usize {
                return Err(format!("topic {number} has {} partitions", topic.partitions.len()));
            }
        }
        let all = self.topics.len() == self.options.topics as usize;
        let state = &mut self.clients[client];
        state.introduced = all;
        if !all {
            state.not_before_us = now_us + 5_000;
        }
        Ok(())
    }

    fn produced(&mut self, client: usize, sent: Vec<(Key, Op)>, produced: &ProduceResponse) -> Checked {
        let now_us = self.world.clock.us();
        let lives = self.world.lives();
        let topics = self.topics.clone();
        let Kind::Producer { numbered, boxes, .. } = &mut self.clients[client].kind else { return Ok(()) };
        for (key, op) in sent {
            let id = uuid::Uuid::from_bytes(topics[&key.topic]);
            let answer = produced
                .responses
                .iter()
                .find(|topic| topic.name == name_of(key.topic) || (topic.name.0.is_empty() && topic.topic_id == id))
                .and_then(|topic| topic.partition_responses.iter().find(|answer| answer.index == key.index));
            let Some(answer) = answer else { return Err(format!("no answer for op {op} on {key:?}: {produced:?}")) };
            let Some(outbox) = boxes.get_mut(&key) else { continue };
            let Some(parcel) = outbox.parcel(op).cloned() else { continue };
            let front = outbox.is_front(op);
            match answer.error_code {
                0 => {
                    self.world.sightings.saw_if(parcel.tries > 1 && lives > 1, "dedupe hit after restart");
                    outbox.acked(op, answer.base_offset as u64);
                    self.history.push(now_us, Event::SendOk { op, offset: answer.base_offset as u64 });
                    let end = answer.base_offset as u64 + u64::from(parcel.count);
                    let acked = self.acked.entry(key).or_default();
                    *acked = (*acked).max(end);
                }
                // Wait and repeat: not there for sure (3, 5, 6, 19, 56, 74, 75, 89, 100), or perhaps there (7).
                code @ (3 | 5 | 6 | 7 | 19 | 56 | 74 | 75 | 89 | 100) => {
                    if *numbered {
                        outbox.again(op, now_us + 10_000);
                    } else {
                        outbox.remove(op);
                        let event = if code == 7 { Event::SendInfo { op } } else { Event::SendFail { op } };
                        self.history.push(now_us, event);
                    }
                }
                45 if *numbered && !front => outbox.again(op, now_us),
                other => {
                    return Err(format!("op {op} (try {}, front {front}) was answered {other}", parcel.tries));
                }
            }
        }
        Ok(())
    }

    fn located(&mut self, client: usize, looks: Vec<(Key, Op)>, offsets: &ListOffsetsResponse) -> Checked {
        let now_us = self.world.clock.us();
        let state = &mut self.clients[client];
        let Kind::Consumer { positions, located, .. } = &mut state.kind else { return Ok(()) };
        *located = true;
        for topic in &offsets.topics {
            let number = topic.name.0.as_str().strip_prefix("topic-").and_then(|number| number.parse().ok());
            let Some(number) = number else { return Err(format!("ListOffsets names {:?}", topic.name)) };
            for partition in &topic.partitions {
                match partition.error_code {
                    0 => {
                        let key = Key { topic: number, index: partition.partition_index };
                        let start = partition.offset.max(0) as u64;
                        if let Some((_, op)) = looks.iter().find(|(asked, _)| *asked == key) {
                            self.history.push(now_us, Event::LookOk { op: *op, start: Some(start), high: None });
                        }
                        let position = positions.entry(key).or_insert(start);
                        *position = (*position).max(start);
                    }
                    3 | 5 | 6 | 56 => *located = false,
                    other => return Err(format!("ListOffsets answered {other}")),
                }
            }
        }
        if !*located {
            state.not_before_us = now_us + 5_000;
        }
        Ok(())
    }

    fn fetched(&mut self, client: usize, reads: Vec<(Key, Op, u64)>, fetched: &FetchResponse) -> Checked {
        let now_us = self.world.clock.us();
        let topics = self.topics.clone();
        let state = &mut self.clients[client];
        state.not_before_us = now_us + state.rng.magnitude(12);
        let Kind::Consumer { positions, highs, session, told, located, sessions } = &mut state.kind else {
            return Ok(());
        };
        match fetched.error_code {
            0 => {}
            // Session lost: begin a new one.
            70 | 71 => {
                *session = None;
                told.clear();
                for (_, op, _) in reads {
                    self.history.push(now_us, Event::ReadFail { op });
                }
                return Ok(());
            }
            other => return Err(format!("Fetch answered {other}")),
        }
        if *sessions {
            *session = match (fetched.session_id, *session) {
                (0, _) => None,
                (id, Some((known, epoch))) if id == known => Some((id, epoch.wrapping_add(1).max(1))),
                (id, _) => Some((id, 1)),
            };
            if session.is_none() {
                told.clear();
            }
        }
        for (key, op, from) in reads {
            let id = uuid::Uuid::from_bytes(topics[&key.topic]);
            let answer = fetched
                .responses
                .iter()
                .find(|topic| topic.topic == name_of(key.topic) || (topic.topic.0.is_empty() && topic.topic_id == id))
                .and_then(|topic| topic.partitions.iter().find(|answer| answer.partition_index == key.index));
            let Some(answer) = answer else {
                // Nothing new in an incremental session.
                self.history.push(now_us, Event::ReadFail { op });
                continue;
            };
            let mark = |mark: i64| u64::try_from(mark).ok();
            match answer.error_code {
                0 => {
                    let pieces: Vec<Bytes> = answer.records.iter().cloned().collect();
                    let next = records::note_saw(&mut self.history, now_us, op, from, &pieces);
                    let (start, high) = (mark(answer.log_start_offset), mark(answer.high_watermark));
                    self.history.push(now_us, Event::ReadOk { op, start, high });
                    positions.insert(key, next);
                    if let Some(high) = high {
                        highs.insert(key, high);
                    }
                }
                1 => {
                    let (start, high) = (mark(answer.log_start_offset), mark(answer.high_watermark));
                    self.history.push(now_us, Event::ReadOutOfRange { op, start, high });
                    // The start has moved on: ask for it.
                    *located = false;
                    told.remove(&key);
                }
                2 => self.history.push(now_us, Event::ReadCorrupt { op }),
                3 | 5 | 6 | 56 | 74 | 75 | 100 | 103 => {
                    self.history.push(now_us, Event::ReadFail { op });
                    told.remove(&key);
                }
                other => return Err(format!("Fetch answered {other} for {key:?}")),
            }
        }
        Ok(())
    }

    // The end.

    fn finish(&mut self) -> Checked {
        self.world.heal();
        self.service.heal();
        self.strangers_go(self.strangers.len());
        self.settle()?;
        if let Some(death) = self.options.storage.last_death {
            self.die(death)?;
            self.settle()?;
        }
        for client in &mut self.clients {
            client.stopped = true;
        }
        for client in 0..self.clients.len() {
            self.cut(client, false);
        }
        self.history.push(self.world.clock.us(), Event::Drain);
        self.clients.push(Client::new(Kind::consumer(false), DRAINER, 1));
        self.caught_up(self.clients.len() - 1, "the last reader")?;
        self.world.note_figures();
        judge(&self.history, true, &mut self.world.sightings)
    }

    fn settle(&mut self) -> Checked {
        self.wait(5_000, SETTLE_US_MAX, |run| {
            let left = run.clients.iter().map(Client::left).sum::<usize>();
            let made = run.made && run.topics.len() == run.options.topics as usize;
            (left > 0 || !made).then(|| format!("{left} sends are open, topics made: {made}"))
        })?;
        for client in 0..self.clients.len() {
            if matches!(self.clients[client].kind, Kind::Consumer { .. }) {
                self.caught_up(client, "a consumer")?;
            }
        }
        Ok(())
    }

    fn caught_up(&mut self, client: usize, who: &str) -> Checked {
        self.wait(5_000, SETTLE_US_MAX, |run| {
            let Kind::Consumer { positions, highs, .. } = &run.clients[client].kind else { return None };
            let behind = (0..run.options.topics)
                .flat_map(|topic| (0..run.options.partitions as i32).map(move |index| Key { topic, index }))
                .find(|key| {
                    let position = positions.get(key).copied();
                    let acked = run.acked.get(key).copied().unwrap_or(0);
                    position
                        .is_none_or(|position| position < acked || highs.get(key).is_none_or(|high| position < *high))
                })?;
            let (at, acked) = (positions.get(&behind), run.acked.get(&behind));
            Some(format!("{who} is at {at:?} of {behind:?}, acknowledged are {acked:?}"))
        })
    }
}

impl Wired for Run<'_> {
    type Step = Step;
    type Note = Note;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn take_history(&mut self) -> History {
        std::mem::take(&mut self.history)
    }

    fn step(&mut self, step: Step) -> Checked {
        self.carry(step)
    }

    fn wire(&mut self) -> (&mut Service, &mut World) {
        (&mut self.service, &mut self.world)
    }

    fn client_count(&self) -> usize {
        self.clients.len()
    }

    fn end_of(&mut self, client: usize) -> (Option<u64>, &mut Line<Note>) {
        let client = &mut self.clients[client];
        (client.link, &mut client.line)
    }

    fn act_as(&mut self, client: usize) -> Result<bool, String> {
        let now_us = self.world.clock.us();
        let mut busy = self.hear(client)?;
        if matches!(self.clients[client].kind, Kind::Maker) {
            busy |= self.strangers_hear(now_us);
        }
        if self.clients[client].stopped || self.clients[client].not_before_us > now_us {
            return Ok(busy);
        }
        if self.clients[client].line.waiting_since_us().is_some_and(|since| since + REQUEST_US_MAX <= now_us) {
            self.cut(client, false);
            return Ok(true);
        }
        let Some(_) = self.clients[client].link else {
            self.clients[client].link = Some(self.service.open(&self.world, client));
            return Ok(true);
        };
        if !self.clients[client].introduced {
            if self.clients[client].line.open() > 0 {
                return Ok(busy);
            }
            if matches!(self.clients[client].kind, Kind::Maker) {
                self.make_topics(client);
            } else {
                self.introduce(client);
            }
            return Ok(true);
        }
        busy |= match self.clients[client].kind {
            Kind::Maker => false,
            Kind::Producer { .. } => self.produce(client),
            Kind::Consumer { .. } => self.consume(client),
        };
        Ok(busy)
    }

    fn answered(&mut self, client: usize, note: Note, answer: Answer) -> Checked {
        let now_us = self.world.clock.us();
        match (note, answer) {
            (Note::Versions, Answer::Versions(versions)) => {
                if versions.error_code != 0 || versions.api_keys.is_empty() {
                    return Err(format!("ApiVersions answered {versions:?}"));
                }
                Ok(())
            }
            (Note::Metadata, Answer::Metadata(metadata)) => self.learn(client, &metadata),
            (Note::Create, Answer::Created(created)) => {
                let done = created.topics.iter().all(|topic| matches!(topic.error_code, 0 | 36));
                for topic in &created.topics {
                    if !matches!(topic.error_code, 0 | 36 | 7 | 56 | 89 | 41) {
                        return Err(format!("CreateTopics answered {topic:?}"));
                    }
                }
                self.made |= done && !created.topics.is_empty();
                self.clients[client].introduced = self.made;
                self.clients[client].not_before_us = now_us + 20_000;
                Ok(())
            }
            (Note::Producer, Answer::Producer(ready)) => {
                let state = &mut self.clients[client];
                let Kind::Producer { identity, .. } = &mut state.kind else { return Ok(()) };
                match ready.error_code {
                    0 => *identity = Some((ProducerId(ready.producer_id.0), ProducerEpoch(ready.producer_epoch))),
                    7 | 14 | 15 | 56 => state.not_before_us = now_us + 20_000,
                    other => return Err(format!("InitProducerId answered {other}")),
                }
                Ok(())
            }
            (Note::Produce(sent), Answer::Produced(produced)) => self.produced(client, sent, &produced),
            (Note::Offsets(looks), Answer::Offsets(offsets)) => self.located(client, looks, &offsets),
            (Note::Fetch(reads), Answer::Fetched(fetched)) => self.fetched(client, reads, &fetched),
            (note, answer) => Err(format!("{note:?} was answered with {answer:?}")),
        }
    }

    fn lost(&mut self, client: usize) {
        let now_us = self.world.clock.us();
        let state = &mut self.clients[client];
        let Some(id) = state.link.take() else { return };
        self.service.forget(&self.world, id, client);
        while let Some(note) = state.line.forget_last() {
            if let Note::Fetch(reads) = note {
                for (_, op, _) in reads {
                    self.history.push(now_us, Event::ReadFail { op });
                }
            }
        }
        state.line = Line::default();
        state.introduced = false;
        state.not_before_us = now_us + state.rng.magnitude(14);
        match &mut state.kind {
            Kind::Producer { boxes, .. } => {
                for outbox in boxes.values_mut() {
                    for op in outbox.disconnected() {
                        self.history.push(now_us, Event::SendInfo { op });
                    }
                }
            }
            Kind::Consumer { session, located, told, .. } => {
                *session = None;
                *located = false;
                told.clear();
            }
            Kind::Maker => {}
        }
    }

    /// Without numbers there is no order between two connections.
    fn bears_lateness(&self, client: usize) -> bool {
        !matches!(self.clients[client].kind, Kind::Producer { numbered: false, .. })
    }

    fn due_after(&self, now_us: u64) -> Option<u64> {
        let clients = self.clients.iter().flat_map(|client| {
            let request = client.line.waiting_since_us().map(|at| at + REQUEST_US_MAX);
            [client.boxes_due_us(), Some(client.not_before_us), request].into_iter().flatten()
        });
        self.service.dues().chain(clients).filter(|due| *due > now_us).min()
    }

    fn died(&mut self, death: Death) {
        let now_us = self.world.clock.us();
        self.history.push(now_us, Event::Restart { power_lost: death == Death::Power });
    }
}

impl Kind {
    fn consumer(sessions: bool) -> Kind {
        Kind::Consumer {
            sessions,
            positions: BTreeMap::new(),
            highs: BTreeMap::new(),
            session: None,
            told: BTreeMap::new(),
            located: false,
        }
    }
}

impl Client {
    fn new(kind: Kind, number: u32, seed: u64) -> Client {
        Client {
            kind,
            number,
            link: None,
            line: Line::default(),
            introduced: false,
            not_before_us: 0,
            rng: Rng::of(seed, 1000 + u64::from(number)),
            stopped: false,
        }
    }

    fn left(&self) -> usize {
        match &self.kind {
            Kind::Producer { boxes, .. } => boxes.values().map(Outbox::len).sum(),
            _ => 0,
        }
    }

    fn boxes_due_us(&self) -> Option<u64> {
        match &self.kind {
            Kind::Producer { boxes, .. } => boxes.values().filter_map(Outbox::due_us).min(),
            _ => None,
        }
    }
}
