// SPDX-License-Identifier: Apache-2.0
//! A client for tests: speaks through the other implementation of the protocol, drives the session and the plain kernel.

use super::plain_kernel::{PlainKernel, who};
use crate::Settings;
use crate::session::{Close, Session};
use crate::wire::{ApiKey, Field, Format, Reader, Writer};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kernel::{Catalog, Command, Ctx, Reply};
use model::batch::{self, NewRecord, Numbering};
use model::{Now, ShardId, Ticket};
use std::sync::Arc;

/// The wall clock of tests; record times lie near it.
pub const WALL_MS: u64 = 1_700_000_000_000;

/// Where the clients of tests are.
pub const CLIENT_HOST: &str = "/127.0.0.1";

/// What a session is driven against: the plain model, or real shards.
pub trait Kernel {
    fn catalog(&self) -> Catalog;
    fn submit(&mut self, now: Now, shard: ShardId, ticket: Ticket, command: Command);
    fn next_event(&mut self, now: Now) -> Option<Event>;
    /// As whom the client is known.
    fn who(&self) -> Ctx {
        who()
    }
}

pub enum Event {
    Reply(Ticket, Reply),
    Wake(u64),
}

pub struct Client<K = PlainKernel> {
    pub session: Session,
    pub kernel: K,
    pub now: Now,
    pub input: BytesMut,
    pub output: BytesMut,
    /// How many pieces the output came in.
    pub pieces: Vec<Bytes>,
    pub closed: Option<Close>,
    correlation_id: i32,
}

impl Client {
    pub fn new() -> Client {
        Client::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Client {
        Client::of(settings, PlainKernel::new())
    }

    pub fn with_topic(name: &str, partitions: i32) -> Client {
        let mut client = Client::new();
        client.make_topic(name, partitions);
        client
    }
}

impl<K: Kernel> Client<K> {
    pub fn of(settings: Settings, kernel: K) -> Client<K> {
        let now = Now { mono_us: 1_000_000, wall_ms: WALL_MS };
        Client {
            session: Session::new(Arc::new(settings), kernel.who(), CLIENT_HOST.into(), 42, now),
            kernel,
            now,
            input: BytesMut::new(),
            output: BytesMut::new(),
            pieces: Vec::new(),
            closed: None,
            correlation_id: 0,
        }
    }

    /// Another connection to the same kernel.
    pub fn reconnect(&mut self) {
        self.session = Session::new(Arc::new(Settings::default()), self.kernel.who(), CLIENT_HOST.into(), 43, self.now);
        self.input.clear();
        self.output.clear();
    }

    pub fn make_topic(&mut self, name: &str, partitions: i32) {
        self.make_topic_with(name, partitions, &[]);
    }

    pub fn make_topic_with(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        use kafka_protocol::messages::CreateTopicsRequest;
        use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        };
        let topic = CreatableTopic::default()
            .with_name(StrBytes::from_string(name.to_owned()).into())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let response = self.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }

    /// Puts a request into the input, laid out as `version`, its header saying `announced`.
    pub fn write<R: Request>(&mut self, version: i16, announced: i16, request: &R) -> i32 {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(announced)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("tests")));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        self.input.put_i32(frame.len() as i32);
        self.input.extend_from_slice(&frame);
        self.correlation_id
    }

    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let correlation_id = self.write(version, version, request);
        self.run();
        correlation_id
    }

    /// Lets everything happen that can without time passing.
    pub fn run(&mut self) {
        loop {
            let before = self.input.len();
            let catalog = self.kernel.catalog();
            if let Err(close) = self.session.handle_input(self.now, &catalog, &mut self.input) {
                self.closed = Some(close);
            }
            let mut moved = self.input.len() != before;
            while let Some((shard, ticket, command)) = self.session.poll_command() {
                self.kernel.submit(self.now, shard, ticket, command);
                moved = true;
            }
            if let Some(event) = self.kernel.next_event(self.now) {
                let catalog = self.kernel.catalog();
                match event {
                    Event::Reply(ticket, reply) => self.session.handle_reply(self.now, &catalog, ticket, reply),
                    Event::Wake(watch) => self.session.handle_wake(self.now, &catalog, watch),
                }
                moved = true;
            }
            while let Some(piece) = self.session.poll_output() {
                self.output.extend_from_slice(&piece);
                self.pieces.push(piece);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets time pass, with every time-out on its way.
    pub fn advance_ms(&mut self, ms: u64) {
        let until = self.now.mono_us + ms * 1000;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            let step_us = due.max(self.now.mono_us) - self.now.mono_us;
            self.pass(step_us);
            if let Err(close) = self.session.handle_timeout(self.now, &self.kernel.catalog()) {
                self.closed = Some(close);
                return;
            }
            self.run();
        }
        self.pass(until - self.now.mono_us);
    }

    fn pass(&mut self, us: u64) {
        self.now.mono_us += us;
        self.now.wall_ms += us / 1000;
    }

    /// The next response that came, if any.
    pub fn receive<R: Request>(&mut self, version: i16) -> Option<(i32, R::Response)> {
        let length = self.output.first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length) as usize;
        assert!(self.output.len() >= 4 + length, "a response came out in part");
        let mut frame = self.output.split_to(4 + length).freeze();
        frame.advance(4);
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).unwrap();
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "bytes are left over after the response");
        Some((header.correlation_id, response))
    }

    /// As [`Client::call`], with messages of our own: for versions that the other implementation does not know.
    pub fn call_own<Q: Field, A: Field>(&mut self, key: ApiKey, version: i16, request: &Q) -> A {
        self.correlation_id += 1;
        let format = Format { version, flexible: key.is_flexible(version) };
        let mut frame = BytesMut::new();
        frame.put_i16(key.number());
        frame.put_i16(version);
        frame.put_i32(self.correlation_id);
        frame.put_i16(-1);
        if format.flexible {
            frame.put_u8(0);
        }
        let mut writer = Writer::body();
        request.write(&mut writer, format);
        frame.extend_from_slice(&writer.into_bytes());
        self.input.put_i32(frame.len() as i32);
        self.input.extend_from_slice(&frame);
        self.run();
        let mut response = self.output.split().freeze();
        let header_bytes = 8 + usize::from(key.has_flexible_response_header(version));
        assert!(response.len() > header_bytes, "an answer at once");
        response.advance(header_bytes);
        let mut reader = Reader::new(response);
        let answer = A::read(&mut reader, format).unwrap();
        assert!(reader.rest().is_empty(), "one request, one response");
        answer
    }

    /// Sends a request and gives its response, which must come without time passing.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation_id = self.send(version, request);
        let (answered, response) = self.receive::<R>(version).expect("an answer at once");
        assert_eq!(answered, correlation_id);
        assert!(self.output.is_empty(), "one request, one response");
        response
    }

    /// Writes one-record batches to a partition through the protocol.
    pub fn produce(&mut self, topic: &str, index: i32, values: &[&str]) {
        for value in values {
            let response = self.call(9, &produce_request(topic, index, -1, Some(batch_of(&[value]))));
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        }
    }
}

pub fn batch_of(values: &[&str]) -> Bytes {
    let record = |value: &&str| NewRecord {
        timestamp_ms: WALL_MS as i64,
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    };
    let records: Vec<NewRecord> = values.iter().map(record).collect();
    batch::build(&records, Numbering::NONE).bytes().clone()
}

pub fn produce_request(
    topic: &str,
    index: i32,
    acks: i16,
    records: Option<Bytes>,
) -> kafka_protocol::messages::ProduceRequest {
    use kafka_protocol::messages::ProduceRequest;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let partition = PartitionProduceData::default().with_index(index).with_records(records);
    let topic = TopicProduceData::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic])
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
