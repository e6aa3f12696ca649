// SPDX-License-Identifier: Apache-2.0
//! The read-only API: what it answers is what its document says, and is true.

use crate::client::Client;
use crate::process::{LONG, Node, TestDir, serve};
use crate::schema;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

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
