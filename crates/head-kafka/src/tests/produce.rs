// SPDX-License-Identifier: Apache-2.0
//! Produce: every refusal has its number, every batch its offset, in every version.

use super::client::{Client, WALL_MS, batch_of, produce_request, text};
use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kernel::error::PublishError;
use kernel::reply::Published;
use kernel::{Command, Reply};
use model::batch::{CRC_START, Header};
use model::{Offset, crc};
use std::fmt::Debug;
use std::str::FromStr;

fn only(response: ProduceResponse) -> PartitionProduceResponse {
    assert_eq!(response.responses.len(), 1);
    assert_eq!(response.responses[0].partition_responses.len(), 1);
    response.responses[0].partition_responses[0].clone()
}

fn refused(client: &mut Client, records: Option<Bytes>) -> i16 {
    let answer = only(client.call(9, &produce_request("t", 0, -1, records)));
    assert_eq!((answer.base_offset, answer.log_append_time_ms, answer.log_start_offset), (-1, -1, -1));
    assert!(answer.error_message.is_some(), "the client is told why");
    answer.error_code
}

/// A batch with one place changed and its checksum mended.
fn changed(at: usize, bytes: &[u8]) -> Option<Bytes> {
    let mut batch = batch_of(&["a", "b"]).to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(batch.into())
}

#[test]
fn batches_are_taken_in_every_version_and_answered_with_their_offset() {
    for version in 3..=12 {
        let mut client = Client::with_topic("t", 2);
        client.kernel.partition("t", 1).start = 40;
        let request = produce_request("t", 1, -1, Some(batch_of(&["a", "b", "c"])));
        let answer = client.call(version, &request);
        assert_eq!(answer.responses[0].name.0.as_str(), "t");
        let answer = only(answer);
        assert_eq!((answer.index, answer.error_code, answer.base_offset), (1, 0, 40), "version {version}");
        assert_eq!(answer.log_append_time_ms, -1);
        assert_eq!(answer.log_start_offset, if version >= 5 { 40 } else { -1 });
        assert_eq!(only(client.call(version, &request)).base_offset, 43);
    }
}

#[test]
fn topics_are_named_by_id_from_version_13_on() {
    let mut client = Client::with_topic("t", 1);
    let id = client.kernel.topic("t").unwrap().id.0;
    let request = |id| {
        let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch_of(&["a"])));
        let topic = TopicProduceData::default().with_topic_id(kafka_uuid(id)).with_partition_data(vec![partition]);
        ProduceRequest::default().with_acks(1).with_topic_data(vec![topic])
    };
    let answer = client.call(13, &request(id));
    assert_eq!(*answer.responses[0].topic_id.as_bytes(), id);
    assert_eq!(only(answer).error_code, 0);
    assert_eq!(only(client.call(13, &request([9; 16]))).error_code, 100);
    assert_eq!(only(client.call(13, &request([0; 16]))).error_code, 100);
}

/// An id as the other implementation wants it.
pub fn kafka_uuid<T: FromStr<Err: Debug>>(id: [u8; 16]) -> T {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.parse().unwrap()
}

#[test]
fn a_topic_or_partition_that_is_not_there_is_unknown_and_not_made() {
    let mut client = Client::with_topic("t", 1);
    for (topic, index) in [("u", 0), ("t", 1), ("t", -1), ("t", i32::MAX)] {
        let answer = only(client.call(9, &produce_request(topic, index, -1, Some(batch_of(&["a"])))));
        assert_eq!((answer.index, answer.error_code, answer.base_offset), (index, 3, -1));
    }
    assert!(client.kernel.topic("u").is_none());
}

#[test]
fn each_unsound_batch_has_its_number() {
    let mut client = Client::with_topic("t", 1);
    let client = &mut client;
    let good = batch_of(&["a", "b"]);
    assert_eq!(refused(client, None), 87);
    assert_eq!(refused(client, Some(Bytes::new())), 87);
    assert_eq!(refused(client, Some(good.slice(..40))), 2, "not even a header");
    assert_eq!(refused(client, Some(good.slice(..good.len() - 1))), 87, "no whole batch");
    assert_eq!(refused(client, Some([&good[..], &[0; 5]].concat().into())), 2, "bytes left over");
    assert_eq!(refused(client, Some([&good[..], &good[..]].concat().into())), 87, "two batches");
    let mut rotten = good.to_vec();
    rotten[70] ^= 1;
    assert_eq!(refused(client, Some(rotten.into())), 2, "checksum");
    assert_eq!(refused(client, changed(16, &[1])), 87, "a message set");
    assert_eq!(refused(client, changed(16, &[0])), 87, "a message set");
    assert_eq!(refused(client, changed(0, &7u64.to_be_bytes())), 87, "base offset");
    assert_eq!(refused(client, changed(21, &[0, 5])), 76, "a compression that does not exist");
    assert_eq!(refused(client, changed(21, &[0, 0x20])), 87, "only the broker writes markers");
    assert_eq!(refused(client, changed(57, &9i32.to_be_bytes())), 87, "record count");
    assert_eq!(refused(client, changed(61, &[0x7e])), 87, "record");
    assert_eq!(client.kernel.partition("t", 0).high(), 0, "nothing was appended");
}

#[test]
fn message_sets_of_old_clients_are_refused_as_invalid_records() {
    let mut client = Client::with_topic("t", 1);
    // offset, size, crc, magic 1, attributes, timestamp, null key, value.
    let mut message = vec![0u8; 8];
    message.extend_from_slice(&23i32.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&[1, 0]);
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&(-1i32).to_be_bytes());
    message.extend_from_slice(&1i32.to_be_bytes());
    message.push(b'v');
    let answer = only(client.call(3, &produce_request("t", 0, -1, Some(message.into()))));
    assert_eq!(answer.error_code, 87);
}

#[test]
fn zstd_needs_version_7() {
    let mut client = Client::with_topic("t", 1);
    // The records need not be zstd: they are not opened.
    let batch = changed(21, &[0, 4]);
    assert_eq!(only(client.call(6, &produce_request("t", 0, 1, batch.clone()))).error_code, 76);
    assert_eq!(only(client.call(7, &produce_request("t", 0, 1, batch))).error_code, 0);
}

#[test]
fn a_batch_over_the_topics_limit_is_too_large() {
    let mut client = Client::new();
    client.make_topic_with("t", 1, &[("max.message.bytes", "100")]);
    assert_eq!(refused(&mut client, Some(batch_of(&[&"x".repeat(100)]))), 10);
    assert_eq!(only(client.call(9, &produce_request("t", 0, 1, Some(batch_of(&["x"]))))).error_code, 0);
}

#[test]
fn only_three_kinds_of_acks_are_asked_for() {
    let mut client = Client::with_topic("t", 1);
    for acks in [-2, 2, i16::MAX] {
        let answer = only(client.call(9, &produce_request("t", 0, acks, Some(batch_of(&["a"])))));
        assert_eq!(answer.error_code, 21);
    }
    for acks in [-1, 1] {
        assert_eq!(only(client.call(9, &produce_request("t", 0, acks, Some(batch_of(&["a"]))))).error_code, 0);
    }
}

#[test]
fn acks_0_is_not_answered_but_appended() {
    let mut client = Client::with_topic("t", 1);
    client.send(9, &produce_request("t", 0, 0, Some(batch_of(&["a"]))));
    assert!(client.output.is_empty());
    assert_eq!(client.kernel.partition("t", 0).high(), 1);
    assert!(client.closed.is_none());
    client.produce("t", 0, &["b"]);
}

#[test]
fn acks_0_that_fails_ends_the_connection() {
    let mut client = Client::with_topic("t", 1);
    client.send(9, &produce_request("nothing", 0, 0, Some(batch_of(&["a"]))));
    assert!(client.output.is_empty());
    assert!(client.closed.unwrap().reason.contains("acks 0"));

    let mut client = Client::with_topic("t", 1);
    client.kernel.instead.push_back(Reply::Published(Err(PublishError::StorageFull)));
    client.send(9, &produce_request("t", 0, 0, Some(batch_of(&["a"]))));
    assert!(!client.session.wants_input());
    client.advance_ms(0);
    assert!(client.closed.unwrap().reason.contains("error 56"));
}

#[test]
fn a_kernel_error_has_its_number_and_says_how_long_to_hold_back() {
    let mut client = Client::with_topic("t", 1);
    client.kernel.instead.push_back(Reply::Published(Err(PublishError::Overloaded { retry_after_ms: 250 })));
    let answer = client.call(9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    assert_eq!(answer.throttle_time_ms, 250);
    assert_eq!(only(answer).error_code, 19);
    client.kernel.instead.push_back(Reply::Published(Err(PublishError::OutOfSequence { expected: 5 })));
    let answer = only(client.call(9, &produce_request("t", 0, -1, Some(batch_of(&["a"])))));
    assert_eq!(answer.error_code, 45);
    assert_eq!(answer.error_message.unwrap().as_str(), "the next sequence number is 5");
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_offset() {
    let mut client = Client::with_topic("t", 1);
    let published = Published { base_offset: Offset(17), start: Offset(2), duplicate: true };
    client.kernel.instead.push_back(Reply::Published(Ok(published)));
    let answer = only(client.call(9, &produce_request("t", 0, -1, Some(batch_of(&["a"])))));
    assert_eq!((answer.error_code, answer.base_offset, answer.log_start_offset), (0, 17, 2));
}

#[test]
fn a_request_with_many_partitions_is_answered_in_its_own_order() {
    let mut client = Client::with_topic("t", 3);
    let partition = |index| PartitionProduceData::default().with_index(index).with_records(Some(batch_of(&["a"])));
    let topic = |name: &str, indexes: &[i32]| {
        TopicProduceData::default()
            .with_name(text(name).into())
            .with_partition_data(indexes.iter().copied().map(partition).collect())
    };
    let request =
        ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic("t", &[2, 7, 0]), topic("u", &[0])]);
    let answer = client.call(8, &request);
    let codes: Vec<_> = answer
        .responses
        .iter()
        .flat_map(|topic| topic.partition_responses.iter().map(|part| (part.index, part.error_code)))
        .collect();
    assert_eq!(codes, [(2, 0), (7, 3), (0, 0), (0, 3)]);
}

#[test]
fn pipelined_batches_reach_the_kernel_in_order_before_any_is_answered() {
    let mut client = Client::with_topic("t", 1);
    client.kernel.holding = true;
    let sent: Vec<i32> = ["a", "b", "c"]
        .iter()
        .map(|value| client.send(9, &produce_request("t", 0, -1, Some(batch_of(&[value])))))
        .collect();
    assert!(client.output.is_empty());
    let asked = client.kernel.asked.iter().filter(|command| matches!(command, Command::Publish(_)));
    assert_eq!(asked.count(), 3);
    client.kernel.release();
    client.run();
    for (at, correlation_id) in sent.into_iter().enumerate() {
        let (answered, response) = client.receive::<ProduceRequest>(9).unwrap();
        assert_eq!(answered, correlation_id);
        assert_eq!(only(response).base_offset, at as i64);
    }
}

#[test]
fn a_topic_of_the_brokers_time_has_its_batches_stamped() {
    let mut client = Client::new();
    client.make_topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let answer = only(client.call(9, &produce_request("t", 0, -1, Some(batch_of(&["a", "b"])))));
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, WALL_MS as i64));
    let Some(Command::Publish(publish)) = client.kernel.asked.last() else { panic!("a publish") };
    let header: &Header = publish.batch.header();
    assert!(header.log_append_time());
    assert_eq!(header.max_timestamp_ms, WALL_MS as i64);
}

#[test]
fn record_times_far_from_the_clock_are_refused() {
    let mut client = Client::with_topic("t", 1);
    let at = |time: u64| changed(35, &time.to_be_bytes());
    assert_eq!(refused(&mut client, at(WALL_MS + 3_600_001)), 32);
    assert_eq!(only(client.call(9, &produce_request("t", 0, 1, at(WALL_MS + 3_600_000)))).error_code, 0);
    client.make_topic_with("u", 1, &[("message.timestamp.before.max.ms", "1000")]);
    let old = changed(27, &(WALL_MS - 1001).to_be_bytes());
    assert_eq!(only(client.call(9, &produce_request("u", 0, 1, old.clone()))).error_code, 32);
    assert_eq!(only(client.call(9, &produce_request("t", 0, 1, old))).error_code, 0, "any age by default");
}

#[test]
fn a_compacted_topic_takes_only_records_with_keys() {
    use model::batch::{self, NewRecord, Numbering};
    let mut client = Client::new();
    client.make_topic_with("t", 1, &[("cleanup.policy", "compact")]);
    let record =
        NewRecord { timestamp_ms: WALL_MS as i64, value: Some(Bytes::from_static(b"v")), ..NewRecord::default() };
    let without_key = batch::build(&[record], Numbering::NONE).bytes().clone();
    let answer = only(client.call(9, &produce_request("t", 0, -1, Some(without_key))));
    assert_eq!((answer.error_code, answer.base_offset), (87, -1));
    assert_eq!(answer.record_errors[0].batch_index, 0);
    assert_eq!(answer.record_errors[0].batch_index_error_message, answer.error_message);
    client.produce("t", 0, &["v"]);
}

#[test]
fn a_topic_that_was_not_a_compacted_one_a_moment_ago_is_tried_again() {
    let mut client = Client::with_topic("t", 1);
    client.kernel.instead.push_back(Reply::Published(Err(PublishError::KeysUnknown)));
    let answer = only(client.call(9, &produce_request("t", 0, -1, Some(batch_of(&["v"])))));
    assert_eq!((answer.error_code, answer.base_offset, answer.record_errors.len()), (6, -1, 0));
    client.produce("t", 0, &["v"]);
}

#[test]
fn a_topic_that_vanishes_is_told_by_its_id_where_it_was_named_so() {
    let mut client = Client::with_topic("t", 1);
    let mut request = produce_request("t", 0, -1, Some(batch_of(&["a"])));
    request.topic_data[0].topic_id = kafka_uuid(client.kernel.topic("t").unwrap().id.0);
    for (version, code) in [(12, 3), (13, 100)] {
        client.kernel.instead.push_back(Reply::Published(Err(PublishError::NotFound)));
        let mut request = request.clone();
        if version == 12 {
            request.topic_data[0].topic_id = Default::default();
        } else {
            request.topic_data[0].name = Default::default();
        }
        let answer = client.call(version, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, code, "version {version}");
    }
}
