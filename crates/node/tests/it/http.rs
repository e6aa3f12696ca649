// SPDX-License-Identifier: Apache-2.0
//! The read-only API: what it answers is what its document says, and is true.

use crate::client::Client;
use crate::process::{LONG, Node, TestDir, serve};
use crate::schema;
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn get(node: &Node, path: &str) -> (u16, Value) {
    let (status, body) = node.get(path);
    let value = serde_json::from_str(&body).unwrap_or_else(|why| panic!("{path}: {why}:\n{body}"));
    (status, value)
}

fn good(node: &Node, path: &str) -> Value {
    let (status, value) = get(node, path);
    assert_eq!(status, 200, "{path}: {value}");
    value
}

/// Status line, headers and body as they come.
fn raw(node: &Node, request: &str) -> String {
    let mut stream = TcpStream::connect(node.http).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn every_route_is_in_the_document_and_answers_what_it_says() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_KAFKA_DEFAULT_PARTITIONS", "3"), ("POLYLOG_SHARDS", "2")]);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    client.produce("t", &[b"one", b"two"]);
    let document = good(&node, "/v1/openapi.json");
    assert_eq!(document["openapi"], "3.1.1");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 9);
    for (path, operations) in paths {
        let answers = &operations["get"]["responses"];
        let asked = path.replace("{name}", "t").replace("{id}", "no%20such%2Fgroup");
        let (status, body) = node.get(&asked);
        let content = &answers[status.to_string()]["content"];
        assert!(content.is_object(), "{asked} answered {status}, which the document does not know:\n{body}");
        if let Some(json) = content.get("application/json").or(content.get("application/problem+json")) {
            schema::check(&document, &json["schema"], &serde_json::from_str(&body).unwrap());
        } else {
            assert_eq!(content["text/plain"]["schema"]["type"], "string");
        }
    }
    // What the front page leads to is there, too.
    for link in node.get("/").1.split("href=\"").skip(1) {
        assert!(paths.contains_key(link.split('"').next().unwrap()), "{link}");
    }
}

#[test]
fn the_node_says_who_it_is_and_what_it_holds() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_SHARDS", "2")]);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    client.produce("t", &[&[7; 50_000]]);
    let about = good(&node, "/v1/node");
    assert_eq!(about["cluster_id"], node.ready["cluster_id"]);
    assert_eq!(about["version"], node.ready["version"]);
    assert_eq!((&about["phase"], &about["phase_text"]), (&json!("ready"), &json!("ready")));
    assert_eq!(about["listeners"][0]["address"], node.ready["kafka"][0]["address"]);
    assert_eq!(about["connections"], 1);
    let storage = &about["storage"];
    assert_eq!(storage["data_dir"], dir.data().display().to_string());
    let shards = storage["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    assert!(shards.iter().all(|shard| shard["durable_lsn"].as_u64() <= shard["applied_lsn"].as_u64()));
    let tail: u64 = shards.iter().map(|shard| shard["tail_bytes"].as_u64().unwrap()).sum();
    assert!(tail > 50_000);
    assert_eq!(about["memory"]["tail_bytes"], tail);
    assert!(storage["used_bytes"].as_u64() > Some(50_000));
    assert!(storage["disk_free_bytes"].as_u64() <= storage["disk_bytes"].as_u64());
    assert!(about["memory"]["resident_bytes"].as_u64() > Some(1_000_000));

    let mut in_memory = serve(&dir.data());
    in_memory.args(["--storage", "memory"]);
    let about = good(&Node::from(in_memory), "/v1/node");
    assert_eq!((&about["storage"]["mode"], &about["storage"]["data_dir"]), (&json!("memory"), &Value::Null));
}

#[test]
fn topics_are_listed_by_name_a_page_at_a_time() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_KAFKA_DEFAULT_PARTITIONS", "2"), ("POLYLOG_SHARDS", "2")]);
    let mut client = Client::connect(node.kafka);
    for name in ["c", "a", "b", "e", "d"] {
        client.make_topic(name);
    }
    client.produce("b", &[b"one", b"two", b"three"]);
    let mut names = Vec::new();
    let mut path = "/v1/topics?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = good(&node, &path);
        assert_eq!(page["total"], 5);
        pages += 1;
        for topic in page["topics"].as_array().unwrap() {
            assert_eq!(topic["partition_count"], 2);
            let records = if topic["name"] == "b" { 3 } else { 0 };
            assert_eq!(topic["records"], records);
            assert_eq!(topic["stored_bytes"].as_u64() > Some(0), records > 0);
            names.push(topic["name"].as_str().unwrap().to_owned());
        }
        match page["next_after"].as_str() {
            Some(after) => path = format!("/v1/topics?limit=2&after={after}"),
            None => break,
        }
    }
    assert_eq!((names.join(""), pages), ("abcde".to_owned(), 3));
}

#[test]
fn a_topic_shows_its_partitions_and_what_was_set() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_KAFKA_DEFAULT_PARTITIONS", "250"), ("POLYLOG_SHARDS", "2")]);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    client.produce("t", &[b"one", b"two"]);
    let topic = good(&node, "/v1/topics/t");
    assert_eq!((&topic["name"], &topic["partition_count"]), (&json!("t"), &json!(250)));
    assert_eq!(topic["topic_id"].as_str().unwrap().len(), 22);
    assert_eq!(topic["settings"]["retention_ms"], 7 * 24 * 3_600_000);
    let partitions = topic["partitions"].as_array().unwrap();
    assert_eq!((partitions.len(), &topic["next_after"]), (100, &json!(99)));
    assert_eq!((&partitions[0]["start_offset"], &partitions[0]["end_offset"]), (&json!(0), &json!(2)));
    assert!(partitions[0]["stored_bytes"].as_u64() > Some(0));
    assert_eq!((&partitions[99]["partition"], &partitions[99]["end_offset"]), (&json!(99), &json!(0)));
    let last = good(&node, "/v1/topics/t?limit=1000&after=199");
    assert_eq!(last["partitions"].as_array().unwrap().len(), 50);
    assert_eq!((&last["partitions"][0]["partition"], &last["next_after"]), (&json!(200), &Value::Null));
    let beyond = good(&node, "/v1/topics/t?after=4294967295");
    assert_eq!(beyond["partitions"], json!([]));
}

#[test]
fn what_cannot_be_answered_is_a_problem_in_one_shape() {
    let dir = TestDir::new();
    let node = Node::start(&dir.data());
    let document = good(&node, "/v1/openapi.json");
    let long = "x".repeat(5000);
    for (path, status, detail) in [
        ("/v1/topics/none", 404, "there is no topic \"none\""),
        ("/v1/topics/..%2F..%2Fidentity", 404, "there is no topic \"../../identity\""),
        ("/v1/topics/%ff", 400, "percent-encoded"),
        (&format!("/v1/topics/{long}"), 404, "there is no topic"),
        ("/v1/topics?limit=0", 400, "limit is 1 to 1000"),
        ("/v1/topics?limit=99999999999999999999", 400, "limit is 1 to 1000"),
        ("/v1/topics?lmit=1", 400, "unknown parameter \"lmit\""),
        ("/v1/topics?after=%", 400, "percent-encoded"),
        ("/v1/nothing", 404, "/v1/openapi.json"),
        ("/v1/", 404, "/v1/openapi.json"),
    ] {
        let (found, problem) = get(&node, path);
        assert_eq!(found, status, "{path}: {problem}");
        schema::check(&document, &json!({ "$ref": "#/components/schemas/Problem" }), &problem);
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{path}: {problem}");
    }
    let text = raw(&node, "DELETE /v1/topics/t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("content-type: application/problem+json"), "{text}");
    let text = raw(&node, "GET /v1/topics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("content-type: application/json"), "{text}");
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Commits an offset of partition 0 without being a member.
fn commit(client: &mut Client, group: &str, topic: &str, offset: i64) {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(text(topic).into()).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    assert_eq!(client.call(7, &request).topics[0].partitions[0].error_code, 0);
}

/// Becomes the only member of a group; its member id.
fn join(client: &mut Client, group: &str) -> String {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let joined = client.call(3, &request);
    assert_eq!(joined.error_code, 0);
    // Version, one topic, one partition, no user data.
    let assigned = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\xff\xff\xff\xff");
    let assignment = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    let assignment = assignment.with_assignment(assigned);
    let request = SyncGroupRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    assert_eq!(client.call(3, &request).error_code, 0);
    joined.member_id.to_string()
}

#[test]
fn groups_show_members_offsets_and_lag() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_SHARDS", "2")]);
    let mut client = Client::connect(node.kafka);
    for topic in ["t", "u"] {
        client.make_topic(topic);
        client.produce(topic, &[b"one", b"two", b"three"]);
    }
    commit(&mut client, "billing/eu", "t", 1);
    commit(&mut client, "billing/eu", "u", 3);
    commit(&mut client, "audit", "u", 0);
    let member_id = join(&mut client, "billing/eu");

    let document = good(&node, "/v1/openapi.json");
    let shaped = |path: &str, name: &str| {
        let answer = good(&node, path);
        schema::check(&document, &json!({ "$ref": format!("#/components/schemas/{name}") }), &answer);
        answer
    };
    let page = shaped("/v1/groups?limit=1", "GroupsAnswer");
    assert_eq!((&page["total"], &page["next_after"]), (&json!(2), &json!("audit")));
    assert_eq!(page["groups"], json!([{ "group_id": "audit", "protocol_type": "", "state": "Empty" }]));
    let page = shaped("/v1/groups?limit=1&after=audit", "GroupsAnswer");
    assert_eq!(page["next_after"], Value::Null);
    let billing = json!([{ "group_id": "billing/eu", "protocol_type": "consumer", "state": "Stable" }]);
    assert_eq!(page["groups"], billing);

    let group = shaped("/v1/groups/billing%2Feu", "GroupAnswer");
    assert_eq!((&group["state"], &group["protocol_name"]), (&json!("Stable"), &json!("range")));
    assert_eq!(group["members"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&group["members"][0]["member_id"], &group["members"][0]["client_id"]),
        (&json!(member_id), &json!("tests"))
    );
    assert_eq!(group["members"][0]["assigned"], json!({ "t": [0] }));
    let offset = |topic: &str, committed: u64, lag: u64| json!({ "topic": topic, "partition": 0, "committed_offset": committed, "start_offset": 0, "end_offset": 3, "lag": lag });
    assert_eq!(group["offsets"], json!([offset("t", 1, 2), offset("u", 3, 0)]));
    assert_eq!((&group["lag_total"], &group["offsets_complete"]), (&json!(2), &json!(true)));

    let (status, problem) = get(&node, "/v1/groups/nobody");
    assert_eq!((status, &problem["detail"]), (404, &json!("there is no group \"nobody\"")));

    // The first scrape counts.
    let (_, text) = node.get("/metrics");
    for line in [
        "polylog_kafka_groups{state=\"Empty\"} 1",
        "polylog_kafka_groups{state=\"Stable\"} 1",
        "polylog_kafka_group_lag{group=\"audit\",topic=\"u\"} 3",
        "polylog_kafka_group_lag{group=\"billing/eu\",topic=\"t\"} 2",
        "polylog_kafka_group_lag{group=\"billing/eu\",topic=\"u\"} 0",
        "polylog_kafka_group_lag_largest 3",
        "polylog_kafka_group_lag_left_out 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn series_of_lag_are_bounded_and_what_is_left_out_is_counted() {
    let dir = TestDir::new();
    let node = Node::start_with(&dir.data(), &[("POLYLOG_METRICS_GROUP_LAG_SERIES_MAX", "10")]);
    let mut client = Client::connect(node.kafka);
    client.make_topic("t");
    client.produce("t", &[b"one", b"two", b"three"]);
    for number in 0..30 {
        commit(&mut client, &format!("g{number:02}"), "t", 2);
    }
    commit(&mut client, "last", "t", 0);
    commit(&mut client, &"long".repeat(100), "t", 0);
    let (_, text) = node.get("/metrics");
    let series: Vec<&str> = text.lines().filter(|line| line.starts_with("polylog_kafka_group_lag{")).collect();
    assert_eq!(series.len(), 10, "{text}");
    assert_eq!(series[9], "polylog_kafka_group_lag{group=\"g09\",topic=\"t\"} 1");
    for line in ["polylog_kafka_group_lag_left_out 22", "polylog_kafka_group_lag_largest 3"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn an_address_that_others_reach_is_warned_of() {
    for (address, is_warned_of) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
        let dir = TestDir::new();
        let mut command = serve(&dir.data());
        command.args(["--http", address, "--insecure-allow-anonymous"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(!ready.is_empty());
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(log.contains("HTTP is not bound to a loopback address"), is_warned_of, "{log}");
    }
}
