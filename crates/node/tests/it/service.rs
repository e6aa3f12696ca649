// SPDX-License-Identifier: Apache-2.0
//! The node as a service: what the manager is told, and what a health check is told.

use crate::process::{LONG, Node, TestDir, polylog, refused, serve};
use std::os::unix::net::UnixDatagram;

fn receive(manager: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let count = manager.recv(&mut message).unwrap();
    String::from_utf8(message[..count].to_vec()).unwrap()
}

#[test]
fn the_service_manager_is_told_of_recovery_readiness_and_the_stop() {
    let dir = TestDir::new();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();
    let mut command = serve(&dir.data());
    command.env("NOTIFY_SOCKET", &socket);
    let mut node = Node::from(command);
    let mut message = receive(&manager);
    assert_eq!(message, "STATUS=starting: shard 0: reading its checkpoint\n");
    while message.starts_with("STATUS=starting: ") {
        message = receive(&manager);
    }
    let ready = format!("READY=1\nSTATUS=serving Kafka clients on {}, HTTP on {}\n", node.kafka, node.http);
    assert_eq!(message, ready);
    assert_eq!(node.terminate(), 0);
    assert_eq!(receive(&manager), "STOPPING=1\nSTATUS=stopping after SIGTERM\n");
}

#[test]
fn a_manager_that_is_not_there_keeps_nobody_from_serving() {
    let dir = TestDir::new();
    let mut command = serve(&dir.data());
    command.env("NOTIFY_SOCKET", dir.path().join("nobody"));
    assert_eq!(Node::from(command).terminate(), 0);
}

#[test]
fn a_health_check_needs_nothing_but_the_binary() {
    let dir = TestDir::new();
    let mut node = Node::start(&dir.data());
    let http = node.http.to_string();
    let ready = || polylog().args(["ready", "--http", &http]).output().unwrap();
    let output = ready();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"ready\n".as_slice()));
    assert_eq!(node.terminate(), 0);
    let (code, error) = refused(&ready());
    assert_eq!(code, 1);
    assert!(error.starts_with(&format!("polylog: no answer from http://{http}/readyz: ")), "{error}");

    let other = TestDir::new();
    let node = Node::start(&other.data());
    let (code, error) = refused(&polylog().args(["ready", "--http", &node.kafka.to_string()]).output().unwrap());
    assert_eq!(code, 1);
    assert!(error.contains("is not Polylog") || error.contains("no answer"), "{error}");
}
