// SPDX-License-Identifier: Apache-2.0
//! Settings: the list is what it was, and a wrong one stops the start with its place.

use crate::process::{Node, TestDir, polylog, refused, run, serve};
use std::fs;
use std::path::Path;

/// `UPDATE_EXPECT=1 cargo test` writes the list anew, for a reviewer to look at.
#[test]
fn the_list_of_settings_is_the_one_in_the_file() {
    let output = run(&["settings"]);
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/testdata/settings.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &list).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(list == expected, "the list has changed; if that is meant, run with UPDATE_EXPECT=1:\n{list}");
}

#[test]
fn the_list_as_json_has_every_fact_of_a_setting() {
    let output = polylog().args(["settings", "--json"]).env("POLYLOG_KAFKA_DEFAULT_PARTITIONS", "12").output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = list.as_array().unwrap().iter().find(|row| row["name"] == "kafka.default_partitions").unwrap();
    assert_eq!(setting["default"], "1");
    assert_eq!(setting["value"], "12");
    assert_eq!(setting["source"], "environment");
    assert_eq!(setting["env"], "POLYLOG_KAFKA_DEFAULT_PARTITIONS");
    assert_eq!(setting["unit"], "number");
}

#[test]
fn a_wrong_setting_stops_the_start_and_names_its_place() {
    let dir = TestDir::new();
    let file = dir.path().join("polylog.toml");
    fs::write(&file, "[kafka]\nidle_ms_max = \"5m\"\ndefualt_partitions = 3\n").unwrap();
    let output = serve(&dir.data()).arg("--config").arg(&file).output().unwrap();
    let (code, error) = refused(&output);
    assert_eq!(code, 2);
    let expected = format!(
        "polylog: {}:3: unknown setting \"kafka.defualt_partitions\"; did you mean \"kafka.default_partitions\"?\n",
        file.display()
    );
    assert_eq!(error, expected);

    let output = serve(&dir.data()).env("POLYLOG_KAFKA_IDLE_MS_MAX", "5").output().unwrap();
    let (code, error) = refused(&output);
    assert_eq!(code, 2);
    assert!(
        error.starts_with("polylog: environment: POLYLOG_KAFKA_IDLE_MS_MAX: kafka.idle_ms_max needs a unit"),
        "{error}"
    );

    let (code, error) = refused(&run(&["--stroage", "memory"]));
    assert_eq!(code, 2);
    assert!(error.contains("--storage"), "{error}");

    let (code, error) = refused(&run(&["--config", "/nonexistent/polylog.toml"]));
    assert_eq!(code, 2);
    assert!(error.starts_with("polylog: /nonexistent/polylog.toml: cannot read the settings file"), "{error}");
    assert!(!dir.data().exists(), "nothing was made");
}

#[test]
fn strangers_are_not_let_in_unless_the_operator_says_so() {
    let dir = TestDir::new();
    let open = |arguments: &[&str]| {
        let mut command = serve(&dir.data());
        command.args(["--kafka", "0.0.0.0:0"]);
        command.args(arguments);
        command
    };
    let (code, error) = refused(&open(&[]).output().unwrap());
    assert_eq!(code, 1);
    assert!(error.contains("0.0.0.0:0") && error.contains("--insecure-allow-anonymous"), "{error}");
    assert_eq!(error.lines().count(), 1);
    assert!(!dir.data().exists(), "nothing was made");

    let node = Node::from(open(&["--insecure-allow-anonymous"]));
    assert!(node.kafka.ip().is_unspecified());
}

#[test]
fn listeners_of_the_file_are_bound_and_told_to_clients() {
    let dir = TestDir::new();
    let file = dir.path().join("polylog.toml");
    let text = "[[kafka.listener]]\nname = \"inside\"\nbind = \"127.0.0.1:0\"\n\
                [[kafka.listener]]\nname = \"outside\"\nbind = \"127.0.0.1:0\"\nadvertise = \"broker.example:19092\"\n";
    fs::write(&file, text).unwrap();
    let mut command = serve(&dir.data());
    command.arg("--config").arg(&file);
    let node = Node::from(command);
    let listeners = node.ready["kafka"].as_array().unwrap();
    assert_eq!(listeners.len(), 2);
    assert_eq!(listeners[1]["advertised"], "broker.example:19092");
    let told = |listener: usize| {
        let address = listeners[listener]["address"].as_str().unwrap().parse().unwrap();
        let answer = crate::client::Client::connect(address).make_topic("t");
        (answer.brokers[0].host.to_string(), answer.brokers[0].port)
    };
    assert_eq!(told(0), ("127.0.0.1".to_owned(), i32::from(node.kafka.port())));
    assert_eq!(told(1), ("broker.example".to_owned(), 19092));
}

#[test]
fn an_ipv4_address_may_be_written_as_an_ipv6_one() {
    let dir = TestDir::new();
    let mut command = serve(&dir.data());
    command.args(["--kafka", "[::ffff:127.0.0.1]:0", "--http", "[::ffff:127.0.0.1]:0"]);
    let node = Node::from(command);
    assert_eq!((node.kafka.ip().to_string(), node.http.ip().to_string()), ("127.0.0.1".into(), "127.0.0.1".into()));
    let answer = crate::client::Client::connect(node.kafka).make_topic("t");
    assert_eq!(answer.brokers[0].host.as_str(), "127.0.0.1");
}
