// SPDX-License-Identifier: Apache-2.0
//! A small Kafka client for tests, on a plain socket.

use crate::process::LONG;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use model::batch::{self, Header, NewRecord, Numbering, Records};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
const METADATA_VERSION: i16 = 9;

pub struct Client {
    pub stream: TcpStream,
    correlation_id: i32,
}

pub fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> BytesMut {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("tests")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).unwrap();
    request.encode(&mut body, version).unwrap();
    let mut frame = BytesMut::new();
    frame.put_i32(body.len() as i32);
    frame.extend_from_slice(&body);
    frame
}

fn name(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, correlation_id: 0 }
    }

    pub fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = frame(version, self.correlation_id, request);
        self.stream.write_all(&frame).unwrap();
    }

    pub fn receive<R: Request>(&mut self, version: i16) -> std::io::Result<R::Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body)?;
        let mut body = Bytes::from(body);
        ResponseHeader::decode(&mut body, R::Response::header_version(version)).unwrap();
        Ok(R::Response::decode(&mut body, version).unwrap())
    }

    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version).unwrap()
    }

    /// Asks what the node speaks: the cheapest proof that it answers.
    pub fn api_versions(&mut self) -> usize {
        self.call(0, &ApiVersionsRequest::default()).api_keys.len()
    }

    /// Names a topic until it is there.
    pub fn make_topic(&mut self, topic: &str) -> MetadataResponse {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(topic).into()));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
        loop {
            let answer = self.call(METADATA_VERSION, &request);
            match answer.topics[0].error_code {
                0 => return answer,
                3 | 5 => {}
                code => panic!("{topic}: error {code}"),
            }
        }
    }

    /// Appends to partition 0 and gives the offset of the first record.
    pub fn produce(&mut self, topic: &str, values: &[&[u8]]) -> i64 {
        self.try_produce(topic, values).unwrap()
    }

    /// The same, or the error code.
    pub fn try_produce(&mut self, topic: &str, values: &[&[u8]]) -> Result<i64, i16> {
        let answer = self.call(PRODUCE_VERSION, &produce_request(topic, values));
        let partition = &answer.responses[0].partition_responses[0];
        if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(partition.error_code) }
    }

    /// Appends to a partition of a topic that has several.
    pub fn produce_to(&mut self, topic: &str, partition: i32, values: &[&[u8]]) {
        let answer = self.call(PRODUCE_VERSION, &produce_request_to(topic, partition, values));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }

    /// Everything in partition 0 from an offset on.
    pub fn fetch_all(&mut self, topic: &str, mut offset: i64) -> Vec<Bytes> {
        let mut values = Vec::new();
        loop {
            let answer = self.call(FETCH_VERSION, &fetch_request(topic, offset));
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(partition.error_code, 0, "{answer:?}");
            let mut records = partition.records.clone().unwrap_or_default();
            while let Some(header) = Header::read(&records) {
                let batch = records.split_to(batch_bytes(&records));
                let base = header.base_offset.0 as i64;
                for (delta, record) in Records::of(&batch[batch::HEADER_BYTES..], &header).enumerate() {
                    if base + delta as i64 >= offset {
                        values.push(Bytes::copy_from_slice(record.unwrap().value.unwrap()));
                    }
                }
                offset = header.next_offset().0 as i64;
            }
            if offset >= partition.high_watermark {
                return values;
            }
        }
    }

    /// Waits until the node closes the connection; true if it did so without a word.
    pub fn closed_silently(&mut self) -> bool {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => true,
            Err(error) => panic!("{error}"),
        }
    }
}

fn batch_bytes(records: &[u8]) -> usize {
    12 + (&records[8..12]).get_i32() as usize
}

pub fn produce_request(topic: &str, values: &[&[u8]]) -> ProduceRequest {
    produce_request_to(topic, 0, values)
}

pub fn produce_request_to(topic: &str, partition: i32, values: &[&[u8]]) -> ProduceRequest {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let records: Vec<NewRecord> = values
        .iter()
        .map(|value| NewRecord {
            timestamp_ms: now_ms,
            key: None,
            value: Some(Bytes::copy_from_slice(value)),
            headers: Vec::new(),
        })
        .collect();
    let batch = batch::build(&records, Numbering::NONE);
    let partition = PartitionProduceData::default().with_index(partition).with_records(Some(batch.bytes().clone()));
    let data = TopicProduceData::default().with_name(name(topic).into()).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data])
}

pub fn fetch_request(topic: &str, offset: i64) -> FetchRequest {
    fetch_request_from(topic, 1, offset)
}

/// Of the first partitions of a topic.
pub fn fetch_request_from(topic: &str, partitions: i32, offset: i64) -> FetchRequest {
    let partition = |number| {
        let partition = FetchPartition::default().with_partition(number).with_fetch_offset(offset);
        partition.with_partition_max_bytes(8 * 1024 * 1024)
    };
    let partitions = (0..partitions).map(partition).collect();
    let topic = FetchTopic::default().with_topic(name(topic).into()).with_partitions(partitions);
    FetchRequest::default()
        .with_max_bytes(16 * 1024 * 1024)
        .with_min_bytes(0)
        .with_max_wait_ms(0)
        .with_topics(vec![topic])
}
