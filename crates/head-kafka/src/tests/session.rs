// SPDX-License-Identifier: Apache-2.0
//! Framing, bounds, time-outs, figures.

use super::client::{Client, batch_of, produce_request};
use crate::Settings;
use crate::session::Served;
use bytes::BufMut;
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};

fn closes(input: &[u8]) -> String {
    let mut client = Client::new();
    client.input.extend_from_slice(input);
    client.run();
    assert!(client.output.is_empty());
    assert!(!client.session.wants_input(), "nothing more is read from it");
    client.closed.expect("closed").reason
}

fn head(length: i32, key: i16, version: i16) -> Vec<u8> {
    let mut head = Vec::new();
    head.put_i32(length);
    head.put_i16(key);
    head.put_i16(version);
    head
}

#[test]
fn what_is_not_this_protocol_ends_the_connection_at_its_first_bytes() {
    assert!(closes(b"GET / HTTP/1.1\r\n").contains("limit"));
    assert!(closes(&[0x16, 3, 1, 0, 0x80]).contains("limit"), "TLS");
    assert!(closes(&(-1i32).to_be_bytes()).contains("-1"));
    assert!(closes(&7i32.to_be_bytes()).contains('7'));
    assert!(closes(&(100 * 1024 * 1024 + 1i32).to_be_bytes()).contains("limit"));
}

#[test]
fn an_unknown_kind_or_version_ends_the_connection_before_its_body_came() {
    assert!(closes(&head(1_000_000, 17, 1)).contains("kind 17"));
    assert!(closes(&head(1_000_000, -1, 0)).contains("kind -1"));
    for version in [-1, 0, 1, 2, 14, i16::MAX] {
        assert!(closes(&head(1_000_000, 0, version)).contains("Produce version"), "announced from 0, taken from 3");
    }
    assert!(closes(&head(100, 1, 3)).contains("Fetch version 3"));
    assert!(closes(&head(100, 3, 14)).contains("Metadata version 14"));
    assert!(closes(&head(100, 18, -1)).contains("ApiVersions version -1"));
    assert!(closes(&head(100, 22, 6)).contains("InitProducerId version 6"));
}

#[test]
fn a_request_that_is_not_well_formed_ends_the_connection() {
    let metadata = |body: &[u8]| {
        let mut frame = head(10 + body.len() as i32, 3, 1);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.extend_from_slice(body);
        frame
    };
    assert!(closes(&metadata(&[0, 0])).contains("too early"));
    assert!(closes(&metadata(&[0x7f, 0xff, 0xff, 0xff, 0, 0])).contains("length"));
    assert!(closes(&metadata(&[0, 0, 0, 1, 0, 1, 0xff])).contains("UTF-8"));
    assert!(closes(&metadata(&[0, 0, 0, 1, 0xff, 0xfe])).contains("length"));
    let mut long_client_id = head(10, 3, 1);
    long_client_id.put_i32(1);
    long_client_id.put_i16(100);
    assert!(closes(&long_client_id).contains("header"));
}

#[test]
fn bytes_may_come_one_by_one() {
    let mut client = Client::with_topic("t", 1);
    client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    client.write(9, 9, &MetadataRequest::default().with_topics(None));
    let all = client.input.split();
    for byte in all {
        client.input.put_u8(byte);
        client.run();
    }
    assert_eq!(client.receive::<ProduceRequest>(9).unwrap().1.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(client.receive::<MetadataRequest>(9).unwrap().1.topics.len(), 1);
}

#[test]
fn requests_are_answered_in_their_order() {
    let mut client = Client::with_topic("t", 1);
    client.kernel.holding = true;
    let first = client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    // Known at once, but not its turn.
    let second = client.write(9, 9, &produce_request("nothing", 0, -1, Some(batch_of(&["a"]))));
    let third = client.write(4, 4, &MetadataRequest::default().with_topics(None));
    client.run();
    assert!(client.output.is_empty());
    client.kernel.release();
    client.run();
    assert_eq!(client.receive::<ProduceRequest>(9).unwrap().0, first);
    assert_eq!(client.receive::<ProduceRequest>(9).unwrap().0, second);
    assert_eq!(client.receive::<MetadataRequest>(4).unwrap().0, third);
}

#[test]
fn a_connection_with_enough_under_way_is_not_read() {
    let settings = Settings { inflight_requests_max: 2, ..Settings::default() };
    let mut client = Client::with(settings);
    client.make_topic("t", 1);
    client.kernel.holding = true;
    for _ in 0..5 {
        client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    }
    let all = client.input.len();
    client.run();
    assert!(!client.session.wants_input());
    assert_eq!(client.input.len(), all / 5 * 3, "two are taken, the rest is left");
    client.kernel.release();
    client.run();
    assert!(client.session.wants_input());
    assert_eq!(client.kernel.partition("t", 0).high(), 5);
}

#[test]
fn bytes_under_way_are_bounded_in_both_directions() {
    let settings = Settings { inflight_bytes_max: 1000, ..Settings::default() };
    let mut client = Client::with(settings);
    client.make_topic("t", 1);
    client.kernel.holding = true;
    client.send(9, &produce_request("t", 0, -1, Some(batch_of(&[&"x".repeat(2000)]))));
    assert!(!client.session.wants_input(), "one request may pass the bound, no second");
    client.kernel.release();
    client.run();
    assert!(client.session.wants_input());
    client.output.clear();

    // An answer that is not taken counts as well.
    let catalog = client.kernel.catalog.clone();
    client.write(4, 4, &MetadataRequest::default().with_topics(None));
    for _ in 0..20 {
        client.write(4, 4, &MetadataRequest::default().with_topics(None));
    }
    client.session.handle_input(client.now, &catalog, &mut client.input).unwrap();
    assert!(!client.session.wants_input());
    while client.session.poll_output().is_some() {}
    assert!(client.session.wants_input());
}

#[test]
fn a_request_that_does_not_arrive_ends_the_connection() {
    let settings = Settings { request_grace_ms: 1000, request_bytes_per_s_min: 100, ..Settings::default() };
    let mut client = Client::with(settings.clone());
    client.input.extend_from_slice(&head(5000, 0, 9));
    client.run();
    client.advance_ms(1000 + 79);
    assert!(client.closed.is_none());
    client.advance_ms(1);
    assert!(client.closed.unwrap().reason.contains("does not arrive"), "8 bytes are worth 80 ms");

    // One byte a second is too slow; the pace itself is not.
    let mut client = Client::with(settings.clone());
    client.input.extend_from_slice(&head(5000, 0, 9));
    let mut seconds = 0;
    while client.closed.is_none() {
        client.input.put_u8(0);
        client.run();
        client.advance_ms(1000);
        seconds += 1;
    }
    assert!(seconds <= 2);
    let mut client = Client::with(settings);
    client.input.extend_from_slice(&head(5000, 0, 9));
    for _ in 0..40 {
        client.input.extend_from_slice(&[0; 100]);
        client.run();
        client.advance_ms(1000);
    }
    assert!(client.closed.is_none());
}

#[test]
fn most_of_a_large_request_buys_no_more_than_a_second_grace() {
    let settings = Settings { request_grace_ms: 1000, request_bytes_per_s_min: 100, ..Settings::default() };
    let mut client = Client::with(settings);
    client.input.extend_from_slice(&head(1_000_000, 0, 9));
    client.input.extend_from_slice(&[0; 900_000]);
    client.run();
    client.advance_ms(1999);
    assert!(client.closed.is_none());
    client.advance_ms(1);
    assert!(client.closed.expect("closed").reason.contains("does not arrive"));
}

#[test]
fn a_peer_is_not_blamed_for_bytes_that_were_not_read() {
    let settings = Settings { request_grace_ms: 1000, inflight_requests_max: 1, ..Settings::default() };
    let mut client = Client::with(settings);
    client.make_topic("t", 1);
    client.kernel.holding = true;
    client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["b"]))));
    let cut = client.input.len() - 10;
    let rest = client.input.split_off(cut);
    client.run();
    client.advance_ms(10_000);
    assert!(client.closed.is_none());
    client.kernel.release();
    client.run();
    client.advance_ms(900);
    client.input.unsplit(rest);
    client.run();
    assert_eq!(client.kernel.partition("t", 0).high(), 2);
}

#[test]
fn a_silent_connection_is_closed_and_a_waiting_one_is_not() {
    let settings = Settings { idle_ms_max: 60_000, ..Settings::default() };
    let mut client = Client::with(settings.clone());
    client.make_topic("t", 1);
    client.output.clear();
    client.advance_ms(59_999);
    assert!(client.closed.is_none());
    client.call(4, &MetadataRequest::default().with_topics(None));
    client.advance_ms(59_999);
    assert!(client.closed.is_none());
    client.advance_ms(1);
    assert!(client.closed.unwrap().reason.contains("too long"));

    let mut client = Client::with(settings);
    client.make_topic("t", 1);
    client.kernel.holding = true;
    client.send(9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    client.advance_ms(120_000);
    assert!(client.closed.is_none(), "it is this side that is slow");
}

#[test]
fn every_request_is_counted_with_its_first_error_and_its_time() {
    let mut client = Client::with_topic("t", 1);
    while client.session.poll_served().is_some() {}
    client.call(
        4,
        &ApiVersionsRequest::default()
            .with_client_software_name("a".to_owned().into())
            .with_client_software_version("1".to_owned().into()),
    );
    client.call(9, &produce_request("t", 7, -1, Some(batch_of(&["a"]))));
    let waiting = FetchRequest::default().with_replica_id((-1).into()).with_session_epoch(-1);
    client.call(7, &waiting);
    let served: Vec<Served> = std::iter::from_fn(|| client.session.poll_served()).collect();
    let rows: Vec<_> = served.iter().map(|served| (served.api_key, served.api_version, served.error_code)).collect();
    assert_eq!(rows, [(18, 4, 0), (0, 9, 3), (1, 7, 0)]);

    client.kernel.holding = true;
    client.send(9, &produce_request("t", 0, -1, Some(batch_of(&["a"]))));
    client.advance_ms(250);
    client.kernel.release();
    client.run();
    assert_eq!(client.session.poll_served().unwrap().took_us, 250_000);
}

#[test]
fn replies_and_wakes_that_nobody_waits_for_change_nothing() {
    use kernel::Reply;
    use kernel::error::PublishError;
    let mut client = Client::with_topic("t", 1);
    let catalog = client.kernel.catalog.clone();
    for ticket in [0, 1, 1 << 32, u64::MAX] {
        let reply = Reply::Published(Err(PublishError::NotFound));
        client.session.handle_reply(client.now, &catalog, model::Ticket(ticket), reply);
    }
    client.session.handle_wake(client.now, &catalog, 12345);
    client.produce("t", 0, &["a"]);
}
