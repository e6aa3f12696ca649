// SPDX-License-Identifier: Apache-2.0
//! The producer against a broker that numbers sequences as a real one does and fails where the test says.

use super::super::connection::Connection;
use super::*;
use bytes::BytesMut;
use head_kafka::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use head_kafka::wire::messages::init_producer_id::InitProducerIdResponse;
use head_kafka::wire::messages::metadata::{MetadataBroker, MetadataPartition, MetadataResponse, MetadataTopic};
use head_kafka::wire::messages::produce::{ProduceResponse, TopicProduceResponse};
use head_kafka::wire::{ApiKey, Field, Format, Reader, Writer, frame};
use model::batch::{Header, Records, inflate};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const REQUEST_BYTES_MAX: u32 = 1 << 26;

/// What happens to one produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// Refused with this number.
    Refused(i16),
    /// The connection ends before it is looked at, or after it was done.
    Unheard,
    Unanswered,
}

#[derive(Default)]
struct Log {
    values: Vec<String>,
    next_sequence: i32,
    /// First sequence of each batch with its offset.
    batches: Vec<(i32, i64)>,
    produce_requests: usize,
}

/// A topic `t` of one partition.
struct Broker {
    address: String,
    log: Arc<Mutex<Log>>,
}

impl Broker {
    /// `fates` are those of the first produce requests; later ones go well.
    fn start(fates: Vec<Fate>, batch_bytes_max: usize) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = log.clone();
        // Ends with the process: it waits for a connection that does not come.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &shared, &fates, batch_bytes_max);
            }
        });
        Broker { address, log }
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Log>, fates: &[Fate], batch_bytes_max: usize) {
    let mut input = BytesMut::new();
    let mut chunk = [0; 65536];
    loop {
        match frame::next(&mut input, REQUEST_BYTES_MAX).unwrap() {
            Some(request) => {
                let flexible = request.key.has_flexible_response_header(request.version);
                let mut writer = Writer::response(request.correlation_id, flexible);
                if !answer(&request, &mut writer, log, fates, batch_bytes_max) {
                    return;
                }
                for piece in writer.finish() {
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                }
            }
            None => match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => input.extend_from_slice(&chunk[..count]),
            },
        }
    }
}

/// False: the connection ends here.
fn answer(
    request: &frame::Frame,
    writer: &mut Writer,
    log: &Mutex<Log>,
    fates: &[Fate],
    batch_bytes_max: usize,
) -> bool {
    let format = Format { version: request.version, flexible: request.key.is_flexible(request.version) };
    match request.key {
        ApiKey::ApiVersions => {
            let keys = [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::Produce];
            let api_keys = keys.map(|key| ApiVersion {
                api_key: key.number(),
                min_version: *key.announced().start(),
                max_version: *key.announced().end(),
            });
            ApiVersionsResponse { error_code: 0, api_keys: api_keys.to_vec(), throttle_time_ms: 0 }
                .write(writer, format);
        }
        ApiKey::Metadata => metadata().write(writer, format),
        ApiKey::InitProducerId => {
            InitProducerIdResponse { throttle_time_ms: 0, error_code: 0, producer_id: 7, producer_epoch: 0 }
                .write(writer, format);
        }
        ApiKey::Produce => {
            let asked = ProduceRequest::read(&mut Reader::new(request.body.clone()), format).unwrap();
            let bytes = asked.topic_data[0].partition_data[0].records.clone().unwrap();
            let mut log = log.lock().unwrap();
            let fate = fates.get(log.produce_requests).copied().unwrap_or(Fate::Well);
            log.produce_requests += 1;
            let (error_code, base_offset) = match fate {
                Fate::Unheard => return false,
                Fate::Refused(error_code) => (error_code, -1),
                Fate::Well | Fate::Unanswered => append(&mut log, &bytes, batch_bytes_max),
            };
            if fate == Fate::Unanswered {
                return false;
            }
            let partition = PartitionProduceResponse {
                index: 0,
                error_code,
                base_offset,
                log_append_time_ms: -1,
                log_start_offset: 0,
                record_errors: Vec::new(),
                error_message: None,
            };
            let topic =
                TopicProduceResponse { name: "t".into(), topic_id: [1; 16], partition_responses: vec![partition] };
            ProduceResponse { responses: vec![topic], throttle_time_ms: 0 }.write(writer, format);
        }
        other => panic!("nobody asks {other:?} here"),
    }
    true
}

fn metadata() -> MetadataResponse {
    let partition = MetadataPartition {
        error_code: 0,
        partition_index: 0,
        leader_id: 0,
        leader_epoch: 0,
        replica_nodes: vec![0],
        isr_nodes: vec![0],
        offline_replicas: Vec::new(),
    };
    MetadataResponse {
        throttle_time_ms: 0,
        brokers: vec![MetadataBroker { node_id: 0, host: "127.0.0.1".into(), port: 9, rack: None }],
        cluster_id: None,
        controller_id: 0,
        topics: vec![MetadataTopic {
            error_code: 0,
            name: Some("t".into()),
            topic_id: [1; 16],
            is_internal: false,
            partitions: vec![partition],
            topic_authorized_operations: i32::MIN,
        }],
        cluster_authorized_operations: i32::MIN,
        error_code: 0,
    }
}

/// As a broker does: in sequence, or known, or refused.
fn append(log: &mut Log, bytes: &Bytes, batch_bytes_max: usize) -> (i16, i64) {
    let header = Header::read(bytes).unwrap();
    if bytes.len() > batch_bytes_max {
        return (ErrorCode::MessageTooLarge.number(), -1);
    }
    let is_numbered = header.base_sequence >= 0;
    if let Some((_, offset)) =
        log.batches.iter().filter(|_| is_numbered).find(|(sequence, _)| *sequence == header.base_sequence)
    {
        return (0, *offset);
    }
    if is_numbered && header.base_sequence != log.next_sequence {
        return (ErrorCode::OutOfOrderSequenceNumber.number(), -1);
    }
    let offset = log.values.len() as i64;
    log.batches.push((header.base_sequence, offset));
    log.next_sequence += header.record_count;
    for record in Records::of(&inflate(bytes, &header).unwrap(), &header) {
        log.values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
    }
    (0, offset)
}

const WANTED: Wanted = Wanted { acks: -1, compression: Compression::None };

/// Writes ten batches of ten records, each pushed by itself, and gives back what came of it.
fn write_hundred(broker: &Broker) -> (Result<(), ProduceError>, Written) {
    let mut client = Client::connect(&broker.address, Duration::from_secs(60)).unwrap();
    let topic = client.topic("t").unwrap();
    let mut producer = Producer::new(&mut client, topic, WANTED).unwrap();
    let mut write = || {
        for line in 1..=100u64 {
            let value = Some(Bytes::from(line.to_string()));
            producer.add(&mut client, line, None, NewRecord { value, ..NewRecord::default() })?;
            if line.is_multiple_of(10) {
                producer.push(&mut client)?;
            }
        }
        producer.finish(&mut client)
    };
    let outcome = write();
    (outcome, producer.written().get(&0).copied().unwrap_or_default())
}

fn hundred() -> Vec<String> {
    (1..=100).map(|number| number.to_string()).collect()
}

#[test]
fn whatever_goes_wrong_for_a_while_every_record_is_written_once_and_in_order() {
    const BUSY: Fate = Fate::Refused(19);
    let fates: [&[Fate]; 8] = [
        &[],
        &[BUSY],
        &[Fate::Well, BUSY, Fate::Well, Fate::Well, BUSY],
        &[Fate::Well, Fate::Unheard],
        &[Fate::Well, Fate::Unanswered],
        &[Fate::Unanswered, Fate::Unheard, BUSY, Fate::Unanswered, BUSY, BUSY],
        &[Fate::Refused(6), Fate::Well, Fate::Refused(3), Fate::Well, Fate::Refused(56)],
        &[Fate::Well, Fate::Well, Fate::Unheard, Fate::Well, Fate::Unheard, Fate::Well, Fate::Unanswered],
    ];
    for fates in fates {
        let broker = Broker::start(fates.to_vec(), usize::MAX);
        let (outcome, written) = write_hundred(&broker);
        assert_eq!(outcome, Ok(()), "{fates:?}");
        assert_eq!(broker.log.lock().unwrap().values, hundred(), "{fates:?}");
        assert_eq!((written.records, written.last_offset), (100, Some(99)), "{fates:?}");
    }
}

#[test]
fn batches_that_are_too_large_are_halved_while_others_are_under_way() {
    // Ten records are about 150 bytes.
    let broker = Broker::start(Vec::new(), 100);
    let (outcome, _) = write_hundred(&broker);
    assert_eq!(outcome, Ok(()));
    assert_eq!(broker.log.lock().unwrap().values, hundred());
}

#[test]
fn a_lasting_refusal_ends_it_and_names_the_lines() {
    let broker = Broker::start(vec![Fate::Well, Fate::Refused(87)], usize::MAX);
    let (outcome, written) = write_hundred(&broker);
    let expected = ProduceError::Refused { first_line: 11, last_line: 20, partition: 0, error_code: 87, message: None };
    assert_eq!(outcome, Err(expected));
    assert_eq!(written.records, 10);
    assert_eq!(broker.log.lock().unwrap().values, hundred()[..10], "nothing overtakes what was refused");
}

#[test]
fn what_stands_before_a_line_that_makes_no_sense_is_written() {
    let broker = Broker::start(Vec::new(), usize::MAX);
    let mut client = Client::connect(&broker.address, Duration::from_secs(60)).unwrap();
    let topic = client.topic("t").unwrap();
    let mut producer = Producer::new(&mut client, topic, WANTED).unwrap();
    let record = |line: u64| NewRecord { value: Some(Bytes::from(line.to_string())), ..NewRecord::default() };
    (1..=5).for_each(|line| producer.add(&mut client, line, None, record(line)).unwrap());
    let outcome = producer.add(&mut client, 6, Some(7), record(6));
    assert_eq!(outcome, Err(ProduceError::NoPartition { line: 6, partition: 7, count: 1 }));
    assert_eq!(broker.log.lock().unwrap().values, hundred()[..5]);
    assert_eq!(producer.written()[&0].records, 5);
}

#[test]
fn without_numbers_nothing_overtakes_what_has_to_be_repeated() {
    // This broker takes what is not numbered as it comes.
    let broker = Broker::start(vec![Fate::Well, Fate::Refused(19)], usize::MAX);
    let mut client = Client::connect(&broker.address, Duration::from_secs(60)).unwrap();
    let topic = client.topic("t").unwrap();
    let mut producer = Producer::new(&mut client, topic, Wanted { acks: 1, ..WANTED }).unwrap();
    for line in 1..=100u64 {
        let value = Some(Bytes::from(line.to_string()));
        producer.add(&mut client, line, None, NewRecord { value, ..NewRecord::default() }).unwrap();
        if line.is_multiple_of(10) {
            producer.push(&mut client).unwrap();
        }
    }
    producer.finish(&mut client).unwrap();
    assert_eq!(broker.log.lock().unwrap().values, hundred());
}

#[test]
fn an_answer_is_not_awaited_on_another_connection() {
    use head_kafka::wire::messages::metadata::MetadataRequest;
    let broker = Broker::start(Vec::new(), usize::MAX);
    let mut first = Connection::open(&broker.address, Duration::from_secs(20)).unwrap();
    let request = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        include_cluster_authorized_operations: false,
        include_topic_authorized_operations: false,
    };
    let sent = first.send(&request).unwrap();
    drop(first);
    let mut second = Connection::open(&broker.address, Duration::from_secs(20)).unwrap();
    let answer = second.receive::<MetadataRequest>(sent, Duration::ZERO);
    assert!(matches!(answer, Err(ClientError::Unreachable { .. })), "{answer:?}");
    assert!(!second.is_broken());
}
