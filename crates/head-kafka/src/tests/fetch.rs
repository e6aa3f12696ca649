// SPDX-License-Identifier: Apache-2.0
//! Fetch: reading, waiting, limits, incremental sessions.

use super::client::{Client, batch_of, produce_request, text};
use super::plain_kernel::EPOCH;
use super::produce::kafka_uuid;
use crate::Settings;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, ProduceRequest};
use kernel::error::ReadError;
use kernel::reply::ReadReply;
use kernel::{Command, Reply};
use model::batch::{Header, Records};
use model::{Corrupt, Offset, ProducerId};

/// (partition, offset)
type Wants<'a> = &'a [(i32, i64)];

fn partition((index, offset): &(i32, i64)) -> FetchPartition {
    FetchPartition::default().with_partition(*index).with_fetch_offset(*offset).with_partition_max_bytes(1 << 20)
}

fn topic(name: &str, wants: Wants<'_>) -> FetchTopic {
    FetchTopic::default().with_topic(text(name).into()).with_partitions(wants.iter().map(partition).collect())
}

/// Of topic `t`, without waiting.
fn fetch(wants: Wants<'_>) -> FetchRequest {
    let topics = if wants.is_empty() { vec![] } else { vec![topic("t", wants)] };
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// In version 7: the first with sessions and names.
fn session(id: i32, epoch: i32, wants: Wants<'_>) -> FetchRequest {
    fetch(wants).with_session_id(id).with_session_epoch(epoch)
}

fn forget(mut request: FetchRequest, partitions: &[i32]) -> FetchRequest {
    let forgotten = ForgottenTopic::default().with_topic(text("t").into()).with_partitions(partitions.to_vec());
    request.forgotten_topics_data = vec![forgotten];
    request
}

fn values(data: &PartitionData) -> Vec<String> {
    let records = data.records.clone().unwrap_or_default();
    let mut rest = &records[..];
    let mut values = Vec::new();
    while let Some(header) = Header::read(rest) {
        for record in Records::of(&rest[model::batch::HEADER_BYTES..header.bytes], &header) {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
        rest = &rest[header.bytes..];
    }
    assert!(rest.is_empty(), "whole batches only");
    values
}

/// (partition, error, values) of the whole answer.
fn rows(answer: &FetchResponse) -> Vec<(i32, i16, Vec<String>)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|data| (data.partition_index, data.error_code, values(data))).collect()
}

fn row(index: i32, expected: &[&str]) -> (i32, i16, Vec<String>) {
    (index, 0, expected.iter().map(|value| (*value).to_owned()).collect())
}

fn reads(client: &Client) -> usize {
    client.kernel.asked.iter().filter(|command| matches!(command, Command::Read(_))).count()
}

#[test]
fn records_are_read_in_every_version() {
    for version in 4..=18 {
        let mut client = Client::with_topic("t", 2);
        client.produce("t", 1, &["a", "b"]);
        client.kernel.partition("t", 1).stable = Some(1);
        let mut request = fetch(&[(1, 0)]);
        if version >= 13 {
            let id = client.kernel.topic("t").unwrap().id.0;
            request.topics[0] = FetchTopic::default()
                .with_topic_id(kafka_uuid(id))
                .with_partitions(request.topics[0].partitions.clone());
        }
        if version >= 15 {
            request.replica_id = (-1).into();
        }
        let answer = client.call(version, &request);
        assert_eq!((answer.error_code, answer.session_id, answer.throttle_time_ms), (0, 0, 0));
        assert_eq!(rows(&answer), [row(1, &["a", "b"])], "version {version}");
        let data = &answer.responses[0].partitions[0];
        assert_eq!((data.high_watermark, data.last_stable_offset), (2, 1));
        assert_eq!(data.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(data.preferred_read_replica.0, -1);
        assert!(data.aborted_transactions.is_none());
    }
}

#[test]
fn records_come_out_as_slices_of_what_was_read() {
    let mut client = Client::with_topic("t", 1);
    client.produce("t", 0, &["x".repeat(5000).as_str()]);
    client.pieces.clear();
    client.call(7, &fetch(&[(0, 0)]));
    let batch = client.pieces.iter().find(|piece| piece.len() > 5000).expect("one piece is the batch");
    assert!(Header::read(batch).is_some_and(|header| header.bytes == batch.len()), "all of it and no more");
}

#[test]
fn a_committed_reader_sees_what_is_decided_and_who_aborted() {
    let mut client = Client::with_topic("t", 1);
    client.produce("t", 0, &["a", "b", "c"]);
    client.kernel.partition("t", 0).stable = Some(2);
    let committed = fetch(&[(0, 0)]).with_isolation_level(1);
    let answer = client.call(7, &committed);
    assert_eq!(rows(&answer), [row(0, &["a", "b"])]);
    assert_eq!(answer.responses[0].partitions[0].aborted_transactions, Some(vec![]));
    let reply = ReadReply {
        pieces: vec![],
        bytes: 0,
        start: Offset(0),
        stable: Offset(3),
        high: Offset(3),
        aborted: vec![(ProducerId(5), Offset(1))],
    };
    let mut batch = batch_of(&["a", "b", "c"]).to_vec();
    model::batch::patch(&mut batch, Offset(0), model::LeaderEpoch(EPOCH));
    let reply = ReadReply { bytes: batch.len(), pieces: vec![batch.into()], ..reply };
    client.kernel.instead.push_back(Reply::Read(Ok(reply)));
    let answer = client.call(7, &committed);
    let aborted = answer.responses[0].partitions[0].aborted_transactions.clone().unwrap();
    assert_eq!((aborted[0].producer_id.0, aborted[0].first_offset), (5, 1));
}

#[test]
fn what_cannot_be_read_has_its_number_and_no_bytes() {
    let mut client = Client::with_topic("t", 1);
    client.kernel.partition("t", 0).start = 5;
    client.produce("t", 0, &["a"]);
    let mut code = |request: FetchRequest| {
        let answer = client.call(9, &request);
        let data = &answer.responses[0].partitions[0];
        assert!(data.records.as_ref().is_none_or(|records| records.is_empty()));
        assert_eq!(answer.error_code, 0, "the fetch itself is fine");
        if data.error_code != 0 {
            assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (-1, -1, -1));
        }
        data.error_code
    };
    assert_eq!(code(fetch(&[(0, 4)])), 1, "before the start");
    assert_eq!(code(fetch(&[(0, 7)])), 1, "beyond the end");
    assert_eq!(code(fetch(&[(0, -1)])), 1);
    assert_eq!(code(fetch(&[(0, 6)])), 0, "at the end");
    assert_eq!(code(fetch(&[(1, 0)])), 3);
    assert_eq!(code(fetch(&[(0, 5)]).with_topics(vec![topic("u", &[(0, 0)])])), 3);
    let believing = |epoch| {
        let mut request = fetch(&[(0, 6)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        request
    };
    assert_eq!(code(believing(EPOCH - 1)), 74);
    assert_eq!(code(believing(EPOCH + 1)), 75);
    assert_eq!(code(believing(EPOCH)), 0);
}

#[test]
fn damage_and_a_silent_medium_are_told_apart() {
    let mut client = Client::with_topic("t", 1);
    let corrupt = Corrupt { name: "seg/00/000000000001".into(), at: 1, why: "checksum".into() };
    for (error, code) in [(ReadError::Corrupt(corrupt), 2), (ReadError::Storage, 56), (ReadError::Denied, 29)] {
        client.kernel.instead.push_back(Reply::Read(Err(error)));
        assert_eq!(rows(&client.call(7, &fetch(&[(0, 0)]))), [(0, code, vec![])]);
    }
}

#[test]
fn an_id_that_names_no_topic_is_unknown() {
    let mut client = Client::with_topic("t", 1);
    let mut request = fetch(&[(0, 0)]);
    request.topics[0] =
        FetchTopic::default().with_topic_id(kafka_uuid([7; 16])).with_partitions(request.topics[0].partitions.clone());
    let answer = client.call(13, &request);
    assert_eq!(rows(&answer), [(0, 100, vec![])]);
    assert_eq!(*answer.responses[0].topic_id.as_bytes(), [7; 16]);
}

// Waiting

#[test]
fn an_empty_fetch_waits_for_its_time_and_no_longer() {
    let mut client = Client::with_topic("t", 1);
    client.send(7, &fetch(&[(0, 0)]).with_max_wait_ms(500));
    client.advance_ms(499);
    assert!(client.output.is_empty());
    client.advance_ms(1);
    let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
    assert_eq!(rows(&answer), [row(0, &[])]);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 0);
}

#[test]
fn a_waiting_fetch_is_answered_when_something_comes() {
    let mut client = Client::with_topic("t", 2);
    client.send(7, &fetch(&[(0, 0), (1, 0)]).with_max_wait_ms(500));
    assert!(client.output.is_empty());
    append(&mut client, 1, "a");
    let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
    assert_eq!(rows(&answer), [row(0, &[]), row(1, &["a"])]);
}

/// Appends past the session, as another connection would.
fn append(client: &mut Client, index: usize, value: &str) {
    let batch = model::batch::Batch::check(batch_of(&[value]), 1 << 20).unwrap();
    let partition = client.kernel.topic("t").unwrap().partitions[index].partition;
    let publish = kernel::command::Publish {
        partition,
        leader_epoch: None,
        batch,
        has_keys: false,
        origin: kernel::command::Origin::Kafka,
    };
    client.kernel.take(model::Ticket(u64::MAX), Command::Publish(publish));
    client.run();
}

#[test]
fn a_fetch_waits_until_min_bytes_are_there() {
    let mut client = Client::with_topic("t", 1);
    let batch_bytes = batch_of(&["a"]).len() as i32;
    client.send(7, &fetch(&[(0, 0)]).with_max_wait_ms(500).with_min_bytes(2 * batch_bytes));
    append(&mut client, 0, "a");
    assert!(client.output.is_empty(), "half is not enough");
    append(&mut client, 0, "b");
    let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
    assert_eq!(rows(&answer), [row(0, &["a", "b"])]);

    client.send(7, &fetch(&[(0, 2)]).with_max_wait_ms(500).with_min_bytes(2 * batch_bytes));
    append(&mut client, 0, "c");
    client.advance_ms(500);
    let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
    assert_eq!(rows(&answer), [row(0, &["c"])], "what there is when time is up");
}

#[test]
fn an_error_is_told_without_waiting() {
    let mut client = Client::with_topic("t", 1);
    let answer = client.call(7, &fetch(&[(0, 0), (5, 0)]).with_max_wait_ms(10_000));
    assert_eq!(rows(&answer), [row(0, &[]), (5, 3, vec![])]);
}

#[test]
fn a_caught_up_partition_is_not_asked_again_until_something_comes() {
    let mut client = Client::with_topic("t", 1);
    client.produce("t", 0, &["a"]);
    client.call(7, &fetch(&[(0, 0)]));
    assert_eq!(reads(&client), 1);
    for _ in 0..5 {
        assert_eq!(rows(&client.call(7, &fetch(&[(0, 1)]))), [row(0, &[])]);
    }
    assert_eq!(reads(&client), 1, "the first read ended at the end, and set the watch");
    append(&mut client, 0, "b");
    assert_eq!(rows(&client.call(7, &fetch(&[(0, 1)]))), [row(0, &["b"])]);
    assert_eq!(reads(&client), 2);
    // From elsewhere it is asked all the same.
    assert_eq!(rows(&client.call(7, &fetch(&[(0, 0)]))), [row(0, &["a", "b"])]);
}

#[test]
fn a_watch_that_fires_while_its_read_is_under_way_is_not_lost() {
    let mut client = Client::with_topic("t", 1);
    client.send(7, &fetch(&[(0, 0)]).with_max_wait_ms(500));
    assert_eq!(reads(&client), 1);
    client.kernel.holding = true;
    append(&mut client, 0, "a");
    // The second read is held; meanwhile its watch fires: more may have come after it was answered.
    let id = client.kernel.topic("t").unwrap().partitions[0].partition;
    client.kernel.events.push_back(super::client::Event::Wake(id.0));
    client.run();
    client.kernel.release();
    client.run();
    let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
    assert_eq!(rows(&answer), [row(0, &["a"])]);
    // Not remembered as caught up: the next fetch asks.
    let before = reads(&client);
    client.call(7, &fetch(&[(0, 1)]));
    assert_eq!(reads(&client), before + 1);
}

#[test]
fn what_follows_a_waiting_fetch_waits_for_it() {
    let mut client = Client::with_topic("t", 1);
    let first = client.send(7, &fetch(&[(0, 0)]).with_max_wait_ms(500));
    let second = client.send(9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    assert_eq!(client.kernel.partition("t", 0).high(), 0);
    client.advance_ms(500);
    assert_eq!(client.receive::<FetchRequest>(7).unwrap().0, first);
    assert_eq!(client.receive::<ProduceRequest>(9).unwrap().0, second);
}

#[test]
fn a_fetch_sees_what_was_produced_before_it_on_its_connection() {
    let mut client = Client::with_topic("t", 1);
    client.kernel.holding = true;
    client.send(9, &produce_request("t", 0, 0, Some(batch_of(&["a"]))));
    client.send(7, &fetch(&[(0, 0)]));
    assert_eq!(reads(&client), 0);
    client.kernel.release();
    client.run();
    let (_, answer) = client.receive::<FetchRequest>(7).unwrap();
    assert_eq!(rows(&answer), [row(0, &["a"])]);
}

// Limits

#[test]
fn the_first_batch_is_whole_whatever_the_limits() {
    let mut client = Client::with_topic("t", 1);
    let large = "x".repeat(3000);
    client.produce("t", 0, &[large.as_str(), "small"]);
    for (max_bytes, partition_max_bytes) in [(10, 1 << 20), (1 << 20, 10), (0, 0), (-1, -1)] {
        let mut request = fetch(&[(0, 0)]).with_max_bytes(max_bytes);
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        assert_eq!(rows(&client.call(7, &request)), [row(0, &[large.as_str()])]);
    }
}

#[test]
fn a_partition_that_had_no_room_comes_first_next_time() {
    let mut client = Client::with_topic("t", 3);
    let large = "x".repeat(3000);
    for index in 0..3 {
        client.produce("t", index, &[large.as_str(), large.as_str()]);
    }
    let wants = &[(0, 0), (1, 0), (2, 0)];
    let mut served = Vec::new();
    for _ in 0..3 {
        let answer = client.call(7, &fetch(wants).with_max_bytes(3500));
        let with_records: Vec<i32> =
            rows(&answer).into_iter().filter(|row| !row.2.is_empty()).map(|row| row.0).collect();
        assert_eq!(rows(&answer).len(), 3, "every partition is answered");
        served.extend(with_records);
    }
    served.sort_unstable();
    assert_eq!(served, [0, 1, 2], "none starves");
}

#[test]
fn the_answer_stays_within_max_bytes_and_the_nodes_own_bound() {
    let settings = Settings { fetch_bytes_max: 5000, ..Settings::default() };
    let mut client = Client::with(settings);
    client.make_topic("t", 4);
    let large = "x".repeat(2000);
    for index in 0..4 {
        client.produce("t", index, &[large.as_str(); 3]);
    }
    let answer = client.call(7, &fetch(&[(0, 0), (1, 0), (2, 0), (3, 0)]));
    let bytes: usize = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|data| data.records.as_ref().map_or(0, |records| records.len()))
        .sum();
    assert!((4000..=5000).contains(&bytes), "{bytes}");
}

// Sessions

#[test]
fn a_session_answers_only_what_is_new() {
    let mut client = Client::with_topic("t", 3);
    client.produce("t", 0, &["a"]);
    let answer = client.call(7, &session(0, 0, &[(0, 0), (1, 0), (2, 0)]));
    let id = answer.session_id;
    assert!(id > 0);
    assert_eq!(rows(&answer), [row(0, &["a"]), row(1, &[]), row(2, &[])]);

    let answer = client.call(7, &session(id, 1, &[(0, 1)]));
    assert_eq!((answer.session_id, rows(&answer)), (id, vec![]));
    append(&mut client, 2, "b");
    let answer = client.call(7, &session(id, 2, &[]));
    assert_eq!(rows(&answer), [row(2, &["b"])]);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 1);
    // Not taken by the client yet, so it comes again.
    let answer = client.call(7, &session(id, 3, &[]));
    assert_eq!(rows(&answer), [row(2, &["b"])]);
    let answer = client.call(7, &session(id, 4, &[(2, 1)]));
    assert_eq!(rows(&answer), []);
}

#[test]
fn a_sessions_wait_costs_one_read_a_partition() {
    let mut client = Client::with_topic("t", 3);
    let id = client.call(7, &session(0, 0, &[(0, 0), (1, 0), (2, 0)])).session_id;
    assert_eq!(reads(&client), 3);
    for epoch in 1..20 {
        client.send(7, &session(id, epoch, &[]).with_max_wait_ms(500));
        assert!(client.output.is_empty());
        client.advance_ms(500);
        assert_eq!(rows(&client.receive::<FetchRequest>(7).unwrap().1), []);
    }
    assert_eq!(reads(&client), 3);
    client.send(7, &session(id, 20, &[]).with_max_wait_ms(500));
    append(&mut client, 1, "a");
    assert_eq!(rows(&client.receive::<FetchRequest>(7).unwrap().1), [row(1, &["a"])]);
    assert_eq!(reads(&client), 4);
}

#[test]
fn a_partition_whose_bounds_moved_is_told_without_records() {
    let mut client = Client::with_topic("t", 1);
    client.produce("t", 0, &["a", "b"]);
    let id = client.call(7, &session(0, 0, &[(0, 2)])).session_id;
    client.kernel.partition("t", 0).start = 1;
    let partition = client.kernel.topic("t").unwrap().partitions[0].partition;
    client.kernel.wake(partition);
    client.run();
    let answer = client.call(7, &session(id, 1, &[]));
    assert_eq!(rows(&answer), [row(0, &[])]);
    assert_eq!(answer.responses[0].partitions[0].log_start_offset, 1);
    assert_eq!(rows(&client.call(7, &session(id, 2, &[]))), []);
}

#[test]
fn partitions_join_and_leave_a_session() {
    let mut client = Client::with_topic("t", 3);
    let id = client.call(7, &session(0, 0, &[(0, 0), (1, 0)])).session_id;
    let answer = client.call(7, &forget(session(id, 1, &[(2, 0)]), &[0]));
    assert_eq!(rows(&answer), [row(2, &[])], "told once");
    append(&mut client, 0, "nobody asks");
    append(&mut client, 2, "a");
    assert_eq!(rows(&client.call(7, &session(id, 2, &[]))), [row(2, &["a"])]);
    // When nothing is left, neither is the session.
    let answer = client.call(7, &forget(session(id, 3, &[]), &[1, 2]));
    assert_eq!((answer.error_code, answer.session_id), (0, 0));
    assert_eq!(client.call(7, &session(id, 4, &[])).error_code, 70);
}

#[test]
fn a_session_is_guarded_by_its_id_and_epoch() {
    let mut client = Client::with_topic("t", 1);
    let id = client.call(7, &session(0, 0, &[(0, 0)])).session_id;
    let answer = client.call(7, &session(id, 2, &[]));
    assert_eq!((answer.error_code, answer.session_id, answer.responses.len()), (71, 0, 0));
    assert_eq!(client.call(7, &session(id, 1, &[])).error_code, 0, "the session is as it was");
    assert_eq!(client.call(7, &session(id, 1, &[])).error_code, 71, "a repeat is refused");
    assert_eq!(client.call(7, &session(id ^ 1, 2, &[])).error_code, 70);
    assert_eq!(client.call(7, &session(0, 2, &[])).error_code, 70);
    // Topics by id in a session of names.
    assert_eq!(client.call(13, &session(id, 2, &[])).error_code, 106);
    assert_eq!(client.call(7, &session(id, 2, &[])).error_code, 0);
    client.reconnect();
    assert_eq!(client.call(7, &session(id, 3, &[])).error_code, 70, "it ended with its connection");
}

#[test]
fn a_final_fetch_ends_its_session() {
    let mut client = Client::with_topic("t", 1);
    client.produce("t", 0, &["a"]);
    let id = client.call(7, &session(0, 0, &[(0, 0)])).session_id;
    let answer = client.call(7, &session(id, -1, &[(0, 0)]));
    assert_eq!((answer.session_id, rows(&answer)), (0, vec![row(0, &["a"])]));
    assert_eq!(client.call(7, &session(id, 1, &[])).error_code, 70);
}

#[test]
fn another_full_fetch_makes_another_session() {
    let mut client = Client::with_topic("t", 1);
    let first = client.call(7, &session(0, 0, &[(0, 0)])).session_id;
    let second = client.call(7, &session(first, 0, &[(0, 0)])).session_id;
    assert!(second > 0 && second != first);
    assert_eq!(client.call(7, &session(first, 1, &[])).error_code, 70);
    assert_eq!(client.call(7, &session(second, 1, &[])).error_code, 0);
}

#[test]
fn an_error_is_told_in_every_answer_of_a_session() {
    let mut client = Client::with_topic("t", 1);
    let id = client.call(7, &session(0, 0, &[(0, 0), (9, 0)])).session_id;
    for epoch in 1..4 {
        assert_eq!(rows(&client.call(7, &session(id, epoch, &[]))), [(9, 3, vec![])]);
    }
}

#[test]
fn a_topic_deleted_under_a_session_becomes_unknown() {
    use kafka_protocol::messages::DeleteTopicsRequest;
    let mut client = Client::with_topic("t", 1);
    let id = client.call(7, &session(0, 0, &[(0, 0)])).session_id;
    client.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![text("t").into()]));
    assert_eq!(rows(&client.call(7, &session(id, 1, &[]))), [(0, 3, vec![])]);
    client.make_topic("t", 1);
    append(&mut client, 0, "new life");
    assert_eq!(rows(&client.call(7, &session(id, 2, &[]))), [row(0, &["new life"])]);
}

#[test]
fn a_topic_deleted_under_a_waiting_fetch_ends_the_wait() {
    let mut client = Client::with_topic("t", 1);
    client.send(7, &fetch(&[(0, 0)]).with_max_wait_ms(10_000));
    let id = client.kernel.topic("t").unwrap().id;
    client.kernel.take(model::Ticket(u64::MAX), Command::DeleteTopic { topic: id });
    client.run();
    assert_eq!(rows(&client.receive::<FetchRequest>(7).unwrap().1), [(0, 3, vec![])]);
}

#[test]
fn a_list_too_long_to_remember_is_served_without_a_session() {
    let settings = Settings { fetch_session_partitions_max: 2, ..Settings::default() };
    let mut client = Client::with(settings);
    client.make_topic("t", 3);
    client.produce("t", 2, &["a"]);
    let answer = client.call(7, &session(0, 0, &[(0, 0), (1, 0), (2, 0)]));
    assert_eq!((answer.session_id, rows(&answer)), (0, vec![row(0, &[]), row(1, &[]), row(2, &["a"])]));
    let id = client.call(7, &session(0, 0, &[(0, 0), (1, 0)])).session_id;
    assert!(id > 0);
    assert_eq!(client.call(7, &session(id, 1, &[(2, 0)])).error_code, 70, "outgrown");
}

#[test]
fn sessions_work_with_topic_ids() {
    let mut client = Client::with_topic("t", 2);
    let topic_id = client.kernel.topic("t").unwrap().id.0;
    let by_id = |id: i32, epoch: i32, wants: Wants<'_>| {
        let mut request = session(id, epoch, &[]);
        if !wants.is_empty() {
            let partitions = wants.iter().map(partition).collect();
            request.topics =
                vec![FetchTopic::default().with_topic_id(kafka_uuid(topic_id)).with_partitions(partitions)];
        }
        request
    };
    let id = client.call(18, &by_id(0, 0, &[(0, 0), (1, 0)])).session_id;
    append(&mut client, 1, "a");
    let answer = client.call(18, &by_id(id, 1, &[]));
    assert_eq!(rows(&answer), [row(1, &["a"])]);
    assert_eq!(*answer.responses[0].topic_id.as_bytes(), topic_id);
}

#[test]
fn a_topic_that_is_gone_is_told_as_it_was_asked_for() {
    let mut client = Client::with_topic("t", 1);
    let topic_id = client.kernel.topic("t").unwrap().id;
    let mut by_id = fetch(&[(0, 0)]).with_max_wait_ms(10_000);
    by_id.topics[0].topic = Default::default();
    by_id.topics[0].topic_id = kafka_uuid(topic_id.0);
    let gone = || Reply::Read(Err(ReadError::NotFound));
    client.kernel.instead.push_back(gone());
    assert_eq!(rows(&client.call(18, &by_id)), [(0, 100, vec![])], "its shard knows it no more");
    client.kernel.instead.push_back(gone());
    assert_eq!(rows(&client.call(12, &fetch(&[(0, 0)]))), [(0, 3, vec![])]);
    client.send(18, &by_id);
    client.kernel.take(model::Ticket(u64::MAX), Command::DeleteTopic { topic: topic_id });
    client.run();
    assert_eq!(rows(&client.receive::<FetchRequest>(18).unwrap().1), [(0, 100, vec![])], "while it waited");
}

#[test]
fn a_request_that_names_more_than_anybody_needs_ends_its_connection() {
    let mut client = Client::with_topic("t", 1);
    let wants: Vec<(i32, i64)> = (0..200_001).map(|index| (index, 0)).collect();
    client.send(7, &fetch(&wants));
    assert!(client.output.is_empty());
    assert!(client.closed.unwrap().reason.contains("names 200002 things"));
}
