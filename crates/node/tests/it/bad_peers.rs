// SPDX-License-Identifier: Apache-2.0
//! Peers that say nothing, say too little, say it too slowly, or do not listen: they end, others are unharmed, memory stays bounded.

use crate::client::{Client, fetch_request, fetch_request_from, frame};
use crate::process::{LONG, Node, TestDir};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const CLOSED_FOR_FAULT: &str = "polylog_connections_closed_total{reason=\"fault\"}";
const MIB: u64 = 1024 * 1024;

/// So many peers that send this, and do no more.
fn that_send(node: &Node, bytes: &[u8], count: usize) -> Vec<TcpStream> {
    let peers = (0..count).map(|_| {
        let mut peer = TcpStream::connect(node.kafka).unwrap();
        peer.write_all(bytes).unwrap();
        peer
    });
    peers.collect()
}

#[test]
fn a_connection_that_says_nothing_and_a_request_that_does_not_arrive_are_ended() {
    let dir = TestDir::new();
    let settings = [
        ("POLYLOG_KAFKA_IDLE_MS_MAX", "300ms"),
        ("POLYLOG_KAFKA_REQUEST_GRACE_MS", "200ms"),
        ("POLYLOG_KAFKA_REQUEST_BYTES_PER_S_MIN", "10KiB"),
    ];
    let node = Node::start_with(&dir.data(), &settings);
    let mut silent = Client::connect(node.kafka);
    let mut half_open = Client::connect(node.kafka);
    half_open.stream.write_all(&[0, 0]).unwrap();
    let mut half_said = Client::connect(node.kafka);
    half_said.stream.write_all(&[0, 0, 1, 0, 0, 18, 0, 0]).unwrap();
    // One byte at a time, with pauses in which the end would be noticed.
    let mut slow = Client::connect(node.kafka);
    slow.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut announced = vec![0, 16, 0, 0];
    announced.resize(4096, 0);
    let mut sent = 0;
    for byte in announced {
        let mut answer = [0; 1];
        match slow.stream.write_all(&[byte]).and_then(|()| slow.stream.read(&mut answer)) {
            Ok(0) => break,
            Ok(_) => panic!("half a request was answered"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        sent += 1;
    }
    assert!(sent < 4096, "a byte every 20 ms is too slow");
    assert!(silent.closed_silently());
    assert!(half_open.closed_silently());
    assert!(half_said.closed_silently());
    assert!(Client::connect(node.kafka).api_versions() > 0);
}

#[test]
fn a_length_over_the_bound_and_a_negative_one_end_the_connection_at_once() {
    let dir = TestDir::new();
    let node = Node::start(&dir.data());
    for length in [i32::MAX, 200 * 1024 * 1024, -1, i32::MIN] {
        let mut client = Client::connect(node.kafka);
        client.stream.write_all(&length.to_be_bytes()).unwrap();
        assert!(client.closed_silently(), "{length}");
    }
    // Counted just after the socket is closed.
    while node.figure(CLOSED_FOR_FAULT) < 4 {}
}

#[test]
fn announced_lengths_are_not_allocated() {
    let dir = TestDir::new();
    let node = Node::start(&dir.data());
    Client::connect(node.kafka).api_versions();
    let before = node.resident_bytes();
    let announced = (100 * MIB as i32).to_be_bytes();
    let peers: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut peer = TcpStream::connect(node.kafka).unwrap();
            peer.write_all(&announced).unwrap();
            // The beginning of a Produce request, so that nothing is wrong with it yet.
            peer.write_all(&[0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0]).unwrap();
            peer
        })
        .collect();
    // All were read once a later one is answered and the node has counted every byte.
    while node.figure("polylog_received_bytes_total") < 500 * 16 {
        assert!(Client::connect(node.kafka).api_versions() > 0);
    }
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(growth < 64 * MIB, "{} MiB for 500 connections that announced 100 MiB each", growth / MIB);
    drop(peers);
}

#[test]
fn ten_thousand_half_open_connections_harm_nobody() {
    let open_files_max = raise_open_files();
    // This process needs one descriptor a connection, the node one more.
    let count = 10_000.min(open_files_max.saturating_sub(600)) as usize;
    let dir = TestDir::new();
    let connections_max = (count + 100).to_string();
    let settings = [
        ("POLYLOG_KAFKA_CONNECTIONS_MAX", connections_max.as_str()),
        ("POLYLOG_KAFKA_CONNECTIONS_PER_ADDRESS_MAX", connections_max.as_str()),
    ];
    let node = Node::start_with(&dir.data(), &settings);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    let before = node.resident_bytes();
    let mut peers = Vec::with_capacity(count);
    for number in 0..count {
        let mut peer = TcpStream::connect(node.kafka).unwrap();
        peer.write_all(&[0, 0]).unwrap();
        peers.push(peer);
        if number % 1000 == 0 {
            client.produce("t", &[b"meanwhile"]);
        }
    }
    while node.figure("polylog_connections_accepted_total") < count as u64 + 1 {}
    client.produce("t", &[b"still there"]);
    assert!(Client::connect(node.kafka).api_versions() > 0);
    assert_eq!(node.figure("polylog_connections_evicted_total"), 0);
    let growth = node.resident_bytes().saturating_sub(before);
    let each = growth / count as u64;
    assert!(each < 32 * 1024, "{each} bytes for a half-open connection");
}

#[test]
fn at_the_bound_on_connections_those_that_said_nothing_make_room() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_KAFKA_CONNECTIONS_MAX", "20")]);
    let mut talking = Client::connect(node.kafka);
    talking.make_topic("t");
    let mut silent: Vec<Client> = (0..30).map(|_| Client::connect(node.kafka)).collect();
    assert!(silent[0].closed_silently(), "the oldest goes first");
    let mut newcomer = Client::connect(node.kafka);
    assert!(newcomer.api_versions() > 0);
    talking.produce("t", &[b"unharmed"]);
    assert!(node.figure("polylog_connections_evicted_total") >= 11);
    assert!(node.figure("polylog_connections") <= 20);
}

#[test]
fn a_client_that_does_not_take_its_answers_is_ended_and_memory_stays_bounded() {
    let dir = TestDir::new();
    let settings = [("POLYLOG_KAFKA_WRITE_STALL_MS", "500ms"), ("POLYLOG_KAFKA_OUTPUT_BYTES_MAX", "1MiB")];
    let node = Node::start_with(&dir.data(), &settings);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    let value = vec![7; 500_000];
    for _ in 0..4 {
        client.produce("t", &[&value]);
    }
    let before = node.resident_bytes();
    let mut deaf = TcpStream::connect(node.kafka).unwrap();
    deaf.set_write_timeout(Some(LONG)).unwrap();
    // Asks for 2 MB a hundred times and more, until the node has had enough of it.
    let request = frame(12, 1, &fetch_request("t", 0));
    let mut sent = 0;
    while deaf.write_all(&request).is_ok() {
        sent += 1;
        if sent % 100 == 0 && node.figure(CLOSED_FOR_FAULT) > 0 {
            break;
        }
    }
    while node.figure(CLOSED_FOR_FAULT) == 0 {}
    let growth = node.resident_bytes().saturating_sub(before);
    assert!(growth < 64 * MIB, "{} MiB", growth / MIB);
    assert_eq!(client.fetch_all("t", 0).len(), 4);
}

#[test]
fn consumers_that_take_nothing_hold_one_budget_and_keep_nobody_out() {
    const PARTITIONS: i32 = 16;
    const DEAF: usize = 24;
    let dir = TestDir::new();
    let settings = [
        ("POLYLOG_KAFKA_DEFAULT_PARTITIONS", "16"),
        ("POLYLOG_MEMORY_TAIL_BYTES_MAX", "4MiB"),
        ("POLYLOG_MEMORY_FETCH_BYTES_MAX", "20MiB"),
        ("POLYLOG_KAFKA_WRITE_STALL_MS", "300ms"),
    ];
    let node = Node::start_with(&dir.data(), &settings);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    // More than the tail holds, so that answers are made of bytes read for them.
    for partition in 0..PARTITIONS {
        client.produce_to("t", partition, &[&vec![partition as u8; 900_000]]);
        client.produce_to("t", partition, &[&vec![partition as u8; 900_000]]);
    }
    while node.figure("polylog_tail_bytes") > 3 * MIB {
        client.produce_to("t", 0, &[&[0; 100_000]]);
    }
    let before = node.resident_bytes();
    let request = frame(12, 1, &fetch_request_from("t", PARTITIONS, 0));
    let deaf = that_send(&node, &request, DEAF);
    // 24 answers of 14 MB and more do not fit into 20 MiB: some wait.
    let mut most = 0;
    while node.figure("polylog_memory_waits_total{owner=\"fetch\"}") == 0 {
        most = most.max(node.resident_bytes());
    }
    let held = node.figure("polylog_memory_bytes{owner=\"fetch\"}");
    assert!(held <= (20 + 16 + 2) * MIB, "{} MiB", held / MIB);
    // Whoever takes what it asked for comes to its turn.
    let answer = client.call(12, &fetch_request_from("t", PARTITIONS, 0));
    let count = answer.responses[0].partitions.iter().filter(|partition| partition.records.is_some()).count();
    assert!(count >= 8, "{count}");
    most = most.max(node.resident_bytes());
    let growth = most.saturating_sub(before);
    assert!(growth < 120 * MIB, "{} MiB for {DEAF} consumers that want {} MiB", growth / MIB, DEAF * 14);
    drop(deaf);
    while node.figure("polylog_memory_bytes{owner=\"fetch\"}") > 0 {}
}

#[test]
fn fetches_that_wait_for_memory_past_their_time_cost_no_processor() {
    const DEAF: usize = 8;
    let dir = TestDir::new();
    let settings = [
        ("POLYLOG_KAFKA_DEFAULT_PARTITIONS", "16"),
        ("POLYLOG_MEMORY_TAIL_BYTES_MAX", "64MiB"),
        ("POLYLOG_MEMORY_FETCH_BYTES_MAX", "1MiB"),
        ("POLYLOG_KAFKA_IDLE_MS_MAX", "2s"),
    ];
    let node = Node::start_with(&dir.data(), &settings);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    for partition in 0..16 {
        client.produce_to("t", partition, &[&vec![partition as u8; 900_000]]);
    }
    // They ask for 14 MB within 100 ms, and the first does not take it.
    let request = frame(12, 1, &fetch_request_from("t", 16, 0).with_max_wait_ms(100));
    let deaf = that_send(&node, &request, DEAF);
    while node.figure("polylog_memory_waits_total{owner=\"fetch\"}") < DEAF as u64 - 2 {}
    let before = node.ran_seconds();
    // Two seconds, in which those who wait have nothing to do.
    assert!(Client::connect(node.kafka).closed_silently());
    let ran = node.ran_seconds() - before;
    assert!(ran < 0.15, "{ran} s of processor time in two seconds");
    drop(deaf);
}

#[test]
fn large_requests_that_stop_half_way_lock_nobody_out_and_are_ended() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_MEMORY_REQUEST_BYTES_MAX", "1MiB")]);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    let mut half = (8 * MIB as u32).to_be_bytes().to_vec();
    // The beginning of a Produce request, so that nothing is wrong with it yet.
    half.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0]);
    half.resize(700_000, 0);
    let peers = that_send(&node, &half, 2);
    // They hold more than there is for requests once all of it was read.
    while node.figure("polylog_received_bytes_total") < 2 * half.len() as u64 {}
    assert_eq!(node.figure(CLOSED_FOR_FAULT), 0);
    client.produce("t", &[b"small"]);
    // What needs memory waits until they are ended; long before their requests are too slow (30 s and more).
    client.produce("t", &[&vec![7; 900_000]]);
    assert!(node.figure(CLOSED_FOR_FAULT) >= 1);
    drop(peers);
}

/// Raises this process's limit; what it is then.
fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let system = fs::read_to_string("/proc/sys/fs/file-max").ok().and_then(|text| text.trim().parse().ok());
    limit.maximum.unwrap_or(u64::MAX).min(system.unwrap_or(u64::MAX))
}
