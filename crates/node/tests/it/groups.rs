// SPDX-License-Identifier: Apache-2.0
//! Consumer groups on the real binary: what a kill keeps, and connections whose members wait for others.

use crate::client::Client;
use crate::process::{Node, TestDir};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use std::net::Shutdown;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// In a version in which a member need not know its id first.
fn join() -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    JoinGroupRequest::default()
        .with_group_id(text("g").into())
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(600_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// The only member of a stable group.
fn settle(client: &mut Client) -> JoinGroupResponse {
    let joined = client.call(2, &join());
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    let assignment = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    let sync = SyncGroupRequest::default()
        .with_group_id(text("g").into())
        .with_generation_id(1)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment.with_assignment("all".into())]);
    assert_eq!(client.call(0, &sync).error_code, 0);
    joined
}

fn heartbeat(client: &mut Client, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(text("g").into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    client.call(0, &request).error_code
}

#[test]
fn members_and_committed_offsets_outlive_a_kill_and_a_clean_stop() {
    for shards in ["1", "2"] {
        let dir = TestDir::new();
        let mut node = Node::start_with(&dir.data(), &[("POLYLOG_SHARDS", shards)]);
        let mut client = Client::connect(node.kafka);
        client.make_topic("t");
        let joined = settle(&mut client);
        let commit = |client: &mut Client, offset| {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
            let topic =
                OffsetCommitRequestTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(text("g").into())
                .with_generation_id_or_member_epoch(1)
                .with_member_id(joined.member_id.clone())
                .with_topics(vec![topic]);
            client.call(2, &request).topics[0].partitions[0].error_code
        };
        let committed = |client: &mut Client| {
            let topic = OffsetFetchRequestTopic::default().with_name(text("t").into()).with_partition_indexes(vec![0]);
            let request = OffsetFetchRequest::default().with_group_id(text("g").into()).with_topics(Some(vec![topic]));
            client.call(1, &request).topics[0].partitions[0].committed_offset
        };
        assert_eq!(commit(&mut client, 7), 0);
        node.kill();
        let mut node = Node::start(&dir.data());
        let mut client = Client::connect(node.kafka);
        assert_eq!((heartbeat(&mut client, &joined), committed(&mut client)), (0, 7));
        assert_eq!(commit(&mut client, 8), 0);
        assert_eq!(node.terminate(), 0);
        let node = Node::start(&dir.data());
        let mut client = Client::connect(node.kafka);
        assert_eq!((heartbeat(&mut client, &joined), committed(&mut client)), (0, 8));
        let request = DescribeGroupsRequest::default().with_groups(vec![text("g").into()]);
        let group = client.call(0, &request).groups.remove(0);
        assert_eq!((group.group_state.as_str(), group.members[0].client_host.as_str()), ("Stable", "/127.0.0.1"));
    }
}

#[test]
fn a_client_that_ends_while_its_member_waits_is_let_go_and_so_is_a_node_that_stops() {
    let dir = TestDir::new();
    let mut node = Node::start(&dir.data());
    let mut first = Client::connect(node.kafka);
    let joined = settle(&mut first);
    let wait = |first: &mut Client| {
        let mut second = Client::connect(node.kafka);
        second.send(2, &join());
        // From the join on, the first member must come again.
        while heartbeat(first, &joined) == 0 {}
        second
    };
    let mut second = wait(&mut first);
    second.stream.shutdown(Shutdown::Write).unwrap();
    assert!(second.closed_silently(), "long before the rebalance time-out");
    let mut third = wait(&mut first);
    assert_eq!(node.terminate(), 0, "nobody waits for an answer that only others could bring");
    assert!(third.closed_silently());
}
