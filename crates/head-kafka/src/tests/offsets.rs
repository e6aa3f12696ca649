// SPDX-License-Identifier: Apache-2.0
//! ListOffsets and InitProducerId.

use super::client::{Client, WALL_MS, text};
use super::plain_kernel::EPOCH;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{InitProducerIdRequest, ListOffsetsRequest};
use kernel::Reply;
use kernel::error::{LocateError, ProducerError};

fn request(timestamp: i64) -> ListOffsetsRequest {
    request_for("t", 0, timestamp, -1)
}

fn request_for(topic: &str, index: i32, timestamp: i64, leader_epoch: i32) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(index)
        .with_timestamp(timestamp)
        .with_current_leader_epoch(leader_epoch);
    let topic = ListOffsetsTopic::default().with_name(text(topic).into()).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic])
}

fn ask(client: &mut Client, version: i16, request: &ListOffsetsRequest) -> ListOffsetsPartitionResponse {
    client.call(version, request).topics[0].partitions[0].clone()
}

/// A partition of offsets 2 to 5, of which 4 is not decided yet, one record a second.
fn client() -> Client {
    let mut client = Client::with_topic("t", 1);
    client.kernel.partition("t", 0).start = 2;
    client.produce("t", 0, &["a", "b", "c"]);
    client.kernel.partition("t", 0).stable = Some(4);
    client
}

#[test]
fn start_and_end_are_found_in_every_version() {
    let mut client = client();
    for version in 1..=10 {
        let end = ask(&mut client, version, &request(-1));
        assert_eq!((end.error_code, end.offset, end.timestamp), (0, 5, -1), "version {version}");
        assert_eq!(end.leader_epoch, if version >= 4 { EPOCH } else { -1 });
        let start = ask(&mut client, version, &request(-2));
        assert_eq!((start.error_code, start.offset, start.timestamp), (0, 2, -1));
    }
}

#[test]
fn a_committed_reader_sees_the_end_of_what_is_decided() {
    let mut client = client();
    let committed = request(-1).with_isolation_level(1);
    assert_eq!(ask(&mut client, 2, &committed).offset, 4);
    assert_eq!(ask(&mut client, 2, &request(-1)).offset, 5);
}

#[test]
fn each_special_time_has_a_first_version() {
    let mut client = client();
    for (timestamp, first) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11), (-7, 99), (i64::MIN, 99)] {
        for version in 1..=11 {
            // Version 11 is laid out as version 10.
            client.write(version.min(10), version, &request(timestamp));
            client.run();
            let (_, response) = client.receive::<ListOffsetsRequest>(version.min(10)).unwrap();
            let answer = &response.topics[0].partitions[0];
            let expected = if version >= first { 0 } else { 35 };
            assert_eq!(answer.error_code, expected, "{timestamp} in version {version}");
        }
    }
    let largest = ask(&mut client, 7, &request(-3));
    assert_eq!((largest.offset, largest.timestamp), (4, WALL_MS as i64));
    assert_eq!(ask(&mut client, 8, &request(-4)).offset, 2);
    let tiered = ask(&mut client, 9, &request(-5));
    assert_eq!((tiered.offset, tiered.timestamp, tiered.leader_epoch), (-1, -1, -1));
}

#[test]
fn a_time_finds_the_first_record_of_it_or_nothing() {
    let mut client = client();
    let found = ask(&mut client, 5, &request(WALL_MS as i64));
    assert_eq!((found.offset, found.timestamp, found.leader_epoch), (2, WALL_MS as i64, EPOCH));
    let later = ask(&mut client, 5, &request(WALL_MS as i64 + 1));
    assert_eq!((later.error_code, later.offset, later.timestamp, later.leader_epoch), (0, -1, -1, -1));
}

#[test]
fn what_cannot_be_asked_has_its_number() {
    let mut client = client();
    assert_eq!(ask(&mut client, 5, &request_for("u", 0, -1, -1)).error_code, 3);
    assert_eq!(ask(&mut client, 5, &request_for("t", 1, -1, -1)).error_code, 3);
    assert_eq!(ask(&mut client, 5, &request_for("t", 0, -1, EPOCH - 1)).error_code, 74);
    assert_eq!(ask(&mut client, 5, &request_for("t", 0, -1, EPOCH + 1)).error_code, 75);
    assert_eq!(ask(&mut client, 5, &request_for("t", 0, -1, EPOCH)).error_code, 0);
    client.kernel.instead.push_back(Reply::Located(Err(LocateError::Storage)));
    let failed = ask(&mut client, 5, &request(-1));
    assert_eq!((failed.error_code, failed.offset), (56, -1));
    let mut twice = request(-1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    let answer = client.call(5, &twice);
    let codes: Vec<_> = answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 42], "the second of a pair is refused");
}

fn producer() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000)
}

#[test]
fn each_producer_gets_an_id_of_its_own() {
    let mut client = Client::new();
    let mut last = 0;
    for version in 0..=5 {
        let answer = client.call(version, &producer());
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "version {version}");
        assert!(answer.producer_id.0 > last);
        last = answer.producer_id.0;
    }
    let again = producer().with_producer_id(5.into()).with_producer_epoch(2);
    let answer = client.call(4, &again);
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "an old id is not continued");
    assert!(answer.producer_id.0 > last);
}

#[test]
fn a_producer_that_asks_for_more_is_refused() {
    let mut client = Client::new();
    let answer = client.call(4, &producer().with_transactional_id(Some(text("tx").into())));
    assert_eq!((answer.error_code, answer.producer_id.0, answer.producer_epoch), (35, -1, -1));
    let answer = client.call(4, &producer().with_transactional_id(Some(text("").into())));
    assert_eq!(answer.error_code, 42);
    assert_eq!(client.call(4, &producer().with_producer_id(7.into())).error_code, 42);
    assert_eq!(client.call(4, &producer().with_producer_epoch(7)).error_code, 42);
    client.kernel.instead.push_back(Reply::Producer(Err(ProducerError::Overloaded { retry_after_ms: 1 })));
    assert_eq!(client.call(4, &producer()).error_code, 14);
}
