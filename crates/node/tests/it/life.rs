// SPDX-License-Identifier: Apache-2.0
//! Start, serve, stop, and start again.

use crate::client::Client;
use crate::process::{Node, TestDir, refused, serve};
use bytes::Bytes;
use std::fs;
use std::process::Command;

fn values(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| Bytes::from(format!("value {number}"))).collect()
}

fn produce_each(client: &mut Client, topic: &str, values: &[Bytes]) {
    for (offset, value) in values.iter().enumerate() {
        assert_eq!(client.produce(topic, &[value]), offset as i64);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_kill_and_after_a_clean_stop() {
    for shards in ["1", "2"] {
        let dir = TestDir::new();
        let values = values(50);
        let mut node = Node::start_with(&dir.data(), &[("POLYLOG_SHARDS", shards)]);
        let cluster_id = node.ready["cluster_id"].clone();
        assert_eq!(cluster_id.as_str().unwrap().len(), 22);
        let mut client = Client::connect(node.kafka);
        client.make_topic("t");
        produce_each(&mut client, "t", &values);
        node.kill();

        let mut node = Node::start(&dir.data());
        assert_eq!(node.ready["cluster_id"], cluster_id);
        assert_eq!(Client::connect(node.kafka).fetch_all("t", 0), values);
        assert_eq!(node.terminate(), 0);

        let node = Node::start(&dir.data());
        let mut client = Client::connect(node.kafka);
        assert_eq!(client.fetch_all("t", 0), values);
        assert_eq!(client.produce("t", &[b"one more"]), values.len() as i64);
        assert!(node.figure("polylog_segments") >= 1, "the clean stop has written a segment");
    }
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    let dir = TestDir::new();
    let node = Node::start(&dir.data());
    let (code, error) = refused(&serve(&dir.data()).output().unwrap());
    assert_eq!(code, 1);
    assert_eq!(error, format!("polylog: the data directory {} is in use by another process\n", dir.data().display()));
    assert!(Client::connect(node.kafka).api_versions() > 0, "the first one goes on");
}

#[test]
fn the_number_of_shards_is_fixed_when_the_directory_is_made() {
    let dir = TestDir::new();
    Node::start_with(&dir.data(), &[("POLYLOG_SHARDS", "2")]).terminate();
    let (code, error) = refused(&serve(&dir.data()).args(["--shards", "3"]).output().unwrap());
    assert_eq!(code, 1);
    assert!(error.contains("was made with 2 shard(s)") && error.contains("3 was asked for"), "{error}");
    assert_eq!(Node::start(&dir.data()).ready["shards"], 2);
}

#[test]
fn an_address_in_use_is_named() {
    let (first, second) = (TestDir::new(), TestDir::new());
    let node = Node::start(&first.data());
    for flag in ["--kafka", "--http"] {
        let (code, error) = refused(&serve(&second.data()).args([flag, &node.kafka.to_string()]).output().unwrap());
        assert_eq!(code, 1);
        assert!(error.contains(&node.kafka.to_string()) && error.contains("in use"), "{error}");
    }
}

#[test]
fn memory_storage_serves_and_leaves_nothing_behind() {
    let dir = TestDir::new();
    let mut command = serve(&dir.data());
    command.args(["--storage", "memory"]);
    let mut node = Node::from(command);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    let values = values(10);
    produce_each(&mut client, "t", &values);
    assert_eq!(client.fetch_all("t", 3), values[3..]);
    assert_eq!(node.terminate(), 0);
    assert!(!dir.data().exists());
}

#[test]
fn health_readiness_and_metrics_are_served() {
    let dir = TestDir::new();
    let node = Node::start(&dir.data());
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    client.produce("t", &[b"one", b"two"]);
    assert_eq!(node.get("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(node.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(node.get("/").0, 200);
    assert_eq!(node.get("/nothing").0, 404);
    let (status, metrics) = node.get("/metrics");
    assert_eq!(status, 200);
    for line in [
        "polylog_connections 1",
        "polylog_topics{shard=\"0\"} 1",
        "polylog_appended_records_total{shard=\"0\"} 2",
        "polylog_kafka_requests_total{api=\"Produce\",error_code=\"0\"} 1",
        "polylog_kafka_request_duration_seconds_count{api=\"Produce\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    assert!(node.figure("polylog_wal_flush_seconds_count") >= 1);
}

#[test]
fn a_spilled_log_is_read_from_segments() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_MEMORY_TAIL_BYTES_MAX", "4MiB")]);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    let values: Vec<Bytes> = (0..200u8).map(|number| Bytes::from(vec![number; 100_000])).collect();
    for value in &values {
        client.produce("t", &[value]);
    }
    assert_eq!(client.fetch_all("t", 0), values);
    assert!(node.figure("polylog_cold_read_bytes_total") > 0);
    assert!(node.figure("polylog_spills_total") > 0);
    assert!(node.figure("polylog_tail_bytes") <= 4 * 1024 * 1024);
}

/// KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: i16 = 56;

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_takes_appends_again_when_there_is_space() {
    // A small file system of the node's own, which ends with it.
    let allowed = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a full disk, because this system lets a user mount nothing (unshare -rm)");
        return;
    }
    let dir = TestDir::new();
    let plain = serve(&dir.path().join("small/data"));
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=40m none \"$0\" && head -c 15000000 /dev/zero > \"$0/ballast\" && exec \"$@\"";
    command.args(["-rm", "sh", "-c", script]).arg(&small).arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut node = Node::from(command);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    let value = Bytes::from(vec![5; 500_000]);
    let mut appended = 0;
    let code = loop {
        match client.try_produce("t", &[&value]) {
            Ok(_) => appended += 1,
            Err(code) => break code,
        }
        assert!(appended < 100, "more than fits was acknowledged");
    };
    assert_eq!(code, STORAGE_ERROR);
    assert_eq!(client.fetch_all("t", 0).len(), appended);
    assert_eq!(node.get("/healthz").0, 200);

    fs::remove_file(format!("/proc/{}/root{}", node.pid(), small.join("ballast").display())).unwrap();
    while client.try_produce("t", &[b"after"]).is_err() {}
    assert_eq!(client.fetch_all("t", 0).len(), appended + 1);
    assert_eq!(node.terminate(), 0);
}
