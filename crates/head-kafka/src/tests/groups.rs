// SPDX-License-Identifier: Apache-2.0
//! Groups, from the bytes of their clients to real shards with the group coordinator beside them: what each version is answered,
//! what a restart keeps, and what becomes of requests that make no sense.

use super::client::{CLIENT_HOST, Client, Kernel, text};
use super::plain_kernel::who;
use super::shards::Seat;
use crate::coordinator::messages::{
    self, Answer, Described, DescribedMember, FetchedOffsets, OffsetOfPartition, OffsetsOfTopic,
};
use crate::wire::messages::{offset_commit, offset_fetch};
use crate::wire::{ApiKey, Text};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest, SyncGroupResponse,
};
use kernel::Reply;
use kernel::error::CoordinatorError;

type Member = Client<Seat>;

/// The versions that one client speaks.
#[derive(Clone, Copy, Debug)]
struct Line {
    join: i16,
    sync: i16,
    heartbeat: i16,
    leave: i16,
    commit: i16,
    fetch: i16,
}

/// The lowest, three clients that exist, the highest that the other implementation knows.
const LINES: [Line; 5] = [
    Line { join: 0, sync: 0, heartbeat: 0, leave: 0, commit: 2, fetch: 1 },
    Line { join: 2, sync: 0, heartbeat: 0, leave: 2, commit: 3, fetch: 2 },
    Line { join: 5, sync: 3, heartbeat: 3, leave: 1, commit: 7, fetch: 7 },
    Line { join: 7, sync: 5, heartbeat: 4, leave: 3, commit: 8, fetch: 8 },
    Line { join: 9, sync: 5, heartbeat: 4, leave: 5, commit: 9, fetch: 9 },
];
const NEWEST: Line = LINES[4];

fn members(shard_count: u32) -> [Member; 2] {
    let mut clients = Seat::clients(shard_count, 2);
    let second = clients.pop().unwrap();
    let mut first = clients.pop().unwrap();
    first.make_topic("t", 2);
    [first, second]
}

fn join(line: Line, group: &str, member_id: &str) -> JoinGroupRequest {
    let protocol = |name: &'static str| {
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(Bytes::from_static(b"topics"))
    };
    JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if line.join >= 1 { 60_000 } else { -1 })
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range"), protocol("roundrobin")])
}

/// Joins as clients do: where the version wants the id to be known first, with a second request. `None`: the group waits.
fn enter(member: &mut Member, line: Line, group: &str) -> Option<JoinGroupResponse> {
    let mut request = join(line, group, "");
    if line.join >= 4 {
        let told = member.call(line.join, &request);
        assert_eq!((told.error_code, told.generation_id), (79, -1));
        request = join(line, group, &told.member_id);
    }
    member.send(line.join, &request);
    joined(member, line)
}

fn joined(member: &mut Member, line: Line) -> Option<JoinGroupResponse> {
    member.run();
    member.receive::<JoinGroupRequest>(line.join).map(|(_, response)| response)
}

fn sync(line: Line, group: &str, joined: &JoinGroupResponse, assignments: &[(&str, &'static str)]) -> SyncGroupRequest {
    let assignment = |(member_id, assignment): &(&str, &'static str)| {
        SyncGroupRequestAssignment::default().with_member_id(text(member_id)).with_assignment((*assignment).into())
    };
    let said = |word: &str| (line.sync >= 5).then(|| text(word));
    SyncGroupRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(said("consumer"))
        .with_protocol_name(said("range"))
        .with_assignments(assignments.iter().map(assignment).collect())
}

fn heartbeat(member: &mut Member, line: Line, group: &str, generation_id: i32, member_id: &str) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(generation_id)
        .with_member_id(text(member_id));
    member.call(line.heartbeat, &request).error_code
}

/// Commits one offset for each partition named, and gives their errors.
fn commit(
    member: &mut Member,
    line: Line,
    group: &str,
    (generation_id, member_id): (i32, &str),
    partitions: &[(&str, i32, i64)],
) -> Vec<i16> {
    let topic = |(topic, index, offset): &(&str, i32, i64)| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(if line.commit >= 6 { 1 } else { -1 })
            .with_committed_metadata(Some(text("note")));
        OffsetCommitRequestTopic::default().with_name(text(topic).into()).with_partitions(vec![partition])
    };
    let request = OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id_or_member_epoch(generation_id)
        .with_member_id(text(member_id))
        .with_topics(partitions.iter().map(topic).collect());
    let answer = member.call(line.commit, &request);
    answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

/// (error of the group, then partition, offset and error of each partition); `topics`: `None` for everything.
fn fetch(
    member: &mut Member,
    version: i16,
    group: &str,
    topics: Option<&[(&str, i32)]>,
) -> (i16, Vec<(String, i32, i64, i16)>) {
    let mut rows = Vec::new();
    if version >= 8 {
        let topic = |(topic, index): &(&str, i32)| {
            OffsetFetchRequestTopics::default().with_name(text(topic).into()).with_partition_indexes(vec![*index])
        };
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(text(group).into())
            .with_member_epoch(-1)
            .with_topics(topics.map(|topics| topics.iter().map(topic).collect()));
        let answer = member.call(version, &OffsetFetchRequest::default().with_groups(vec![asked]));
        let answer = &answer.groups[0];
        for topic in &answer.topics {
            let name = topic.name.as_str();
            rows.extend(topic.partitions.iter().map(|partition| {
                (name.to_owned(), partition.partition_index, partition.committed_offset, partition.error_code)
            }));
        }
        return (answer.error_code, rows);
    }
    let topic = |(topic, index): &(&str, i32)| {
        OffsetFetchRequestTopic::default().with_name(text(topic).into()).with_partition_indexes(vec![*index])
    };
    let request = OffsetFetchRequest::default()
        .with_group_id(text(group).into())
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()));
    let answer = member.call(version, &request);
    for topic in &answer.topics {
        let name = topic.name.as_str();
        rows.extend(topic.partitions.iter().map(|partition| {
            (name.to_owned(), partition.partition_index, partition.committed_offset, partition.error_code)
        }));
    }
    (answer.error_code, rows)
}

fn row(topic: &str, index: i32, offset: i64, error: i16) -> (String, i32, i64, i16) {
    (topic.to_owned(), index, offset, error)
}

/// Two members in a group of generation 2, `first` its leader.
fn settle(first: &mut Member, second: &mut Member, line: Line, group: &str) -> [JoinGroupResponse; 2] {
    let alone = enter(first, line, group).expect("nobody to wait for");
    assert_eq!((alone.error_code, alone.generation_id), (0, 1));
    assert_eq!((&alone.leader, alone.members.len()), (&alone.member_id, 1));
    assert_eq!(alone.protocol_name.as_ref().unwrap().as_str(), "range");
    let synced = first.call(line.sync, &sync(line, group, &alone, &[(&alone.member_id, "all")]));
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
    assert_eq!(heartbeat(first, line, group, 1, &alone.member_id), 0);

    assert!(enter(second, line, group).is_none(), "the first has to come again");
    assert_eq!(heartbeat(first, line, group, 1, &alone.member_id), 27);
    first.send(line.join, &join(line, group, &alone.member_id));
    let first_joined = joined(first, line).expect("all are there");
    let second_joined = joined(second, line).expect("all are there");
    assert_eq!((first_joined.error_code, first_joined.generation_id), (0, 2));
    assert_eq!((second_joined.error_code, second_joined.generation_id), (0, 2));
    assert_eq!(first_joined.leader, first_joined.member_id);
    assert_eq!(second_joined.leader, first_joined.member_id);
    assert_eq!((first_joined.members.len(), second_joined.members.len()), (2, 0));
    assert_eq!(&first_joined.members[1].metadata[..], b"topics");

    second.send(line.sync, &sync(line, group, &second_joined, &[]));
    assert!(second.output.is_empty(), "the leader has not assigned anything");
    let assignments = [(&*first_joined.member_id, "one"), (&*second_joined.member_id, "two")];
    let synced = first.call(line.sync, &sync(line, group, &first_joined, &assignments));
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"one"[..]));
    assert_eq!(assignment(second, line), (0, b"two".to_vec()));
    [first_joined, second_joined]
}

fn assignment(member: &mut Member, line: Line) -> (i16, Vec<u8>) {
    member.run();
    let (_, synced): (i32, SyncGroupResponse) = member.receive::<SyncGroupRequest>(line.sync).expect("assigned");
    (synced.error_code, synced.assignment.to_vec())
}

#[test]
fn two_members_share_a_group_commit_and_leave_in_every_line_of_versions_and_over_a_restart() {
    for (shard_count, line) in [1, 2].into_iter().flat_map(|count| LINES.map(|line| (count, line))) {
        let [mut a, mut b] = members(shard_count);
        let [a_joined, b_joined] = settle(&mut a, &mut b, line, "g");
        let (a_id, b_id) = (a_joined.member_id.to_string(), b_joined.member_id.to_string());
        assert!(a_id.starts_with("tests-") && a_id.len() == "tests-".len() + 36, "{a_id}");
        assert_eq!(commit(&mut a, line, "g", (2, &a_id), &[("t", 0, 7)]), [0]);
        assert_eq!(commit(&mut b, line, "g", (2, &b_id), &[("t", 1, 9), ("t", 1, 10)]), [0, 0]);
        let both = [("t", 0), ("t", 1)];
        let committed = (0, vec![row("t", 0, 7, 0), row("t", 1, 10, 0)]);
        assert_eq!(fetch(&mut a, line.fetch, "g", Some(&both)), committed, "{line:?}");

        let now = a.now;
        a.kernel.restart(now);
        a.reconnect();
        b.reconnect();
        assert_eq!(heartbeat(&mut a, line, "g", 2, &a_id), 0, "nobody has to join again");
        assert_eq!(heartbeat(&mut b, line, "g", 2, &b_id), 0);
        assert_eq!(fetch(&mut b, line.fetch, "g", Some(&both)), committed);
        assert_eq!(commit(&mut b, line, "g", (2, &b_id), &[("t", 1, 11)]), [0]);

        // Whoever is of another generation, or of none, changes nothing.
        assert_eq!(heartbeat(&mut a, line, "g", 1, &a_id), 22);
        assert_eq!(heartbeat(&mut a, line, "g", 2, "nobody"), 25);
        assert_eq!(commit(&mut a, line, "g", (1, &a_id), &[("t", 0, 99)]), [22]);
        assert_eq!(commit(&mut a, line, "g", (2, "nobody"), &[("t", 0, 99)]), [25]);
        assert_eq!(commit(&mut a, line, "g", (-1, ""), &[("t", 0, 99)]), [25], "the group has members");
        let stale = JoinGroupResponse::default().with_generation_id(1).with_member_id(text(&a_id));
        assert_eq!(a.call(line.sync, &sync(line, "g", &stale, &[])).error_code, 22);

        let leave = |member_id: &str| {
            let request = LeaveGroupRequest::default().with_group_id(text("g").into());
            if line.leave <= 2 {
                return request.with_member_id(text(member_id));
            }
            request.with_members(vec![MemberIdentity::default().with_member_id(text(member_id))])
        };
        let left = b.call(line.leave, &leave(&b_id));
        assert_eq!(left.error_code, 0);
        assert_eq!(left.members.len(), usize::from(line.leave >= 3));
        assert_eq!(heartbeat(&mut a, line, "g", 2, &a_id), 27);
        let left = b.call(line.leave, &leave(&b_id));
        let of_member = left.members.first().map_or(left.error_code, |member| member.error_code);
        assert_eq!(of_member, 25, "twice");
        assert_eq!(left.error_code, if line.leave <= 2 { 25 } else { 0 });
        let kept = (0, vec![row("t", 0, 7, 0), row("t", 1, 11, 0)]);
        assert_eq!(fetch(&mut a, line.fetch, "g", Some(&both)), kept);
    }
}

#[test]
fn offsets_are_committed_and_fetched_by_topic_id_in_version_10() {
    let [mut a, _] = members(1);
    let topic_id = a.kernel.catalog().by_name(&who(), "t").unwrap().id.0;
    let commit = |topic_id, partitions: &[(i32, i64)]| {
        let partition = |(index, offset): &(i32, i64)| offset_commit::OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: *offset,
            committed_leader_epoch: 3,
            committed_metadata: None,
        };
        offset_commit::OffsetCommitRequestTopic {
            name: Text::EMPTY,
            topic_id,
            partitions: partitions.iter().map(partition).collect(),
        }
    };
    let request = offset_commit::OffsetCommitRequest {
        group_id: Text::from("g"),
        generation_id_or_member_epoch: -1,
        member_id: Text::EMPTY,
        group_instance_id: None,
        retention_time_ms: -1,
        topics: vec![commit([9; 16], &[(0, 1), (1, 2)]), commit(topic_id, &[(0, 5), (2, 6)])],
    };
    let answer: offset_commit::OffsetCommitResponse = a.call_own(ApiKey::OffsetCommit, 10, &request);
    let codes: Vec<_> = answer
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, partition.error_code)))
        .collect();
    assert_eq!(codes, [([9; 16], 100), ([9; 16], 100), (topic_id, 0), (topic_id, 3)]);
    let wanted = |topic_id, partitions: &[i32]| offset_fetch::OffsetFetchRequestTopics {
        name: Text::EMPTY,
        topic_id,
        partition_indexes: partitions.to_vec(),
    };
    let group = |topics| offset_fetch::OffsetFetchRequestGroup {
        group_id: Text::from("g"),
        member_id: None,
        member_epoch: -1,
        topics,
    };
    let request = offset_fetch::OffsetFetchRequest {
        group_id: Text::EMPTY,
        topics: None,
        groups: vec![group(None), group(Some(vec![wanted([9; 16], &[0]), wanted(topic_id, &[1, 0])]))],
        require_stable: true,
    };
    let answer: offset_fetch::OffsetFetchResponse = a.call_own(ApiKey::OffsetFetch, 10, &request);
    let rows = |group: &offset_fetch::OffsetFetchResponseGroup| -> Vec<_> {
        let partitions = group.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let offset = (partition.partition_index, partition.committed_offset, partition.committed_leader_epoch);
                (topic.topic_id, offset, partition.error_code)
            })
        });
        partitions.collect()
    };
    assert_eq!(rows(&answer.groups[0]), [(topic_id, (0, 5, 3), 0)]);
    let expected = [([9; 16], (0, -1, -1), 100), (topic_id, (1, -1, -1), 0), (topic_id, (0, 5, 3), 0)];
    assert_eq!(rows(&answer.groups[1]), expected);
}

#[test]
fn what_is_not_there_is_refused_by_itself_and_the_rest_is_committed() {
    let [mut a, _] = members(1);
    let all = [("t", 0, 1), ("u", 0, 2), ("t", 2, 3), ("t", -1, 4), ("t", 1, 5)];
    assert_eq!(commit(&mut a, NEWEST, "g", (-1, ""), &all), [0, 3, 3, 3, 0]);
    assert_eq!(commit(&mut a, NEWEST, "g", (-1, ""), &[("u", 0, 2)]), [3], "nothing is left to be asked");
    for version in 2..=9 {
        let (error, mut rows) = fetch(&mut a, version, "g", None);
        rows.sort();
        assert_eq!((error, rows), (0, vec![row("t", 0, 1, 0), row("t", 1, 5, 0)]), "version {version}");
    }
    for version in 1..=9 {
        let some = [("t", 1), ("u", 0), ("t", 7)];
        let expected = vec![row("t", 1, 5, 0), row("u", 0, -1, 0), row("t", 7, -1, 0)];
        assert_eq!(fetch(&mut a, version, "g", Some(&some)), (0, expected), "version {version}");
        assert_eq!(fetch(&mut a, version, "other", Some(&[("t", 0)])), (0, vec![row("t", 0, -1, 0)]));
    }
    // A topic takes what was committed for it along, and another of its name begins anew.
    let delete = DeleteTopicsRequest::default().with_topic_names(vec![text("t").into()]);
    assert_eq!(a.call(5, &delete).responses[0].error_code, 0);
    a.make_topic("t", 2);
    assert_eq!(fetch(&mut a, 9, "g", Some(&[("t", 1)])), (0, vec![row("t", 1, -1, 0)]));
    assert_eq!(fetch(&mut a, 9, "g", None), (0, vec![]));
}

#[test]
fn an_empty_group_id_is_refused_where_apache_kafka_refuses_it() {
    for line in LINES {
        let [mut a, _] = members(1);
        let refused = a.call(line.join, &join(line, "", ""));
        assert_eq!((refused.error_code, refused.generation_id), (24, -1));
        let nothing = (line.join < 7).then(|| text(""));
        assert_eq!(refused.protocol_name, nothing, "null came with version 7");
        assert_eq!(a.call(line.sync, &sync(line, "", &refused, &[])).error_code, 24);
        assert_eq!(heartbeat(&mut a, line, "", 1, "m"), 24);
        assert_eq!(a.call(line.leave, &LeaveGroupRequest::default()).error_code, 24);
        // Offsets may be kept under no name, but not deleted.
        assert_eq!(commit(&mut a, line, "", (-1, ""), &[("t", 0, 4)]), [0]);
        assert_eq!(fetch(&mut a, line.fetch, "", Some(&[("t", 0)])), (0, vec![row("t", 0, 4, 0)]));
        assert_eq!(a.call(0, &OffsetDeleteRequest::default()).error_code, 24);
    }
}

#[test]
fn names_without_end_are_no_names_and_large_joins_are_refused() {
    let [mut a, _] = members(1);
    // The longest that a string of the protocol can be.
    let long = "g".repeat(32_767);
    assert_eq!(a.call(9, &join(NEWEST, &long, "")).error_code, 24);
    assert_eq!(commit(&mut a, NEWEST, &long, (-1, ""), &[("t", 0, 4)]), [24]);
    assert_eq!(heartbeat(&mut a, NEWEST, "g", 1, &long), 25);
    let client_id = a.call(9, &join(NEWEST, "g", "")).member_id;
    let protocol = |name: String, bytes: usize| {
        JoinGroupRequestProtocol::default().with_name(text(&name)).with_metadata(vec![7; bytes].into())
    };
    let large = vec![protocol("range".to_owned(), 10 * 1024 * 1024)];
    assert_eq!(a.call(9, &join(NEWEST, "g", &client_id).with_protocols(large.clone())).error_code, 10);
    assert_eq!(a.call(9, &join(NEWEST, "g", &client_id).with_protocols(vec![])).error_code, 23);
    for session_timeout_ms in [-1, 0, i32::MAX] {
        let request = join(NEWEST, "g", "").with_session_timeout_ms(session_timeout_ms);
        assert_eq!(a.call(9, &request).error_code, 26, "{session_timeout_ms} ms");
    }
    // Nothing has come of all that but a group of nobody, in which one was told its id.
    let groups = a.call(5, &ListGroupsRequest::default()).groups;
    assert_eq!((groups.len(), groups[0].group_state.as_str(), groups[0].protocol_type.as_str()), (1, "Empty", ""));
    // Many protocols are no more than that, as in Apache Kafka.
    let many = (0..10_000).map(|number| protocol(format!("p{number}"), 0)).collect();
    let joined = a.call(9, &join(NEWEST, "g", &client_id).with_protocols(many));
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.protocol_name.unwrap().as_str(), "p0");
    assert_eq!(a.call(9, &join(NEWEST, "g", &client_id).with_protocols(large)).error_code, 10);
    assert_eq!(heartbeat(&mut a, NEWEST, "g", 1, &client_id), 0, "the group is as it was");
}

#[test]
fn a_string_of_65536_letters_ends_the_connection_as_in_apache_kafka() {
    for key in [ApiKey::JoinGroup, ApiKey::Heartbeat, ApiKey::OffsetCommit] {
        let [mut a, _] = members(1);
        let version = *key.taken().end();
        let mut frame = BytesMut::new();
        frame.put_i16(key.number());
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.put_u8(0);
        // The compact form of the length: 65536 + 1.
        frame.put_slice(&[0x81, 0x80, 0x04]);
        frame.put_bytes(b'g', 65_536);
        frame.put_bytes(0, 64);
        a.input.put_i32(frame.len() as i32);
        a.input.extend_from_slice(&frame);
        a.run();
        assert!(a.closed.is_some_and(|close| close.reason.contains("length")), "{key:?}");
    }
}

#[test]
fn a_member_is_called_after_its_client_or_its_instance_and_its_name_has_an_end() {
    let [mut a, _] = members(1);
    let request = join(NEWEST, "g", "").with_group_instance_id(Some(text("instance")));
    let joined = a.call(9, &request);
    assert_eq!(joined.error_code, 0, "a static member need not know its id first");
    assert!(joined.member_id.starts_with("instance-"));
    let endless = "é".repeat(10_000);
    let request = join(NEWEST, "h", "").with_group_instance_id(Some(text(&endless)));
    let joined = a.call(9, &request);
    let id = joined.member_id.as_str();
    assert_eq!((id.chars().take_while(|letter| *letter == 'é').count(), id.len()), (127, 254 + 37));
}

#[test]
fn who_waits_for_its_group_is_not_idle_and_what_it_asks_behind_waits_too() {
    let [mut a, mut b] = members(1);
    let alone = enter(&mut a, NEWEST, "g").unwrap();
    let told = b.call(9, &join(NEWEST, "g", ""));
    let patient = join(NEWEST, "g", &told.member_id).with_session_timeout_ms(1_800_000);
    b.send(9, &patient);
    b.send(9, &MetadataRequest::default().with_topics(Some(vec![])));
    assert!(b.session.waits_for_others() && b.output.is_empty());
    b.advance_ms(700_000);
    assert!(b.closed.is_none());
    // The first has been silent for longer than its session may be, so the second is alone now.
    b.run();
    let joined = joined(&mut b, NEWEST).expect("nobody is left to wait for");
    assert_eq!((joined.error_code, joined.members.len()), (0, 1));
    assert_ne!(joined.leader, alone.member_id);
    assert!(b.receive::<MetadataRequest>(9).is_some(), "answered after it");
    assert!(!b.session.waits_for_others());
    b.advance_ms(599_000);
    assert!(b.closed.is_none());
    b.advance_ms(2_000);
    assert!(b.closed.is_some(), "now it is idle");
}

#[test]
fn a_client_that_goes_while_it_waits_keeps_nobody_waiting() {
    let [mut a, mut b] = members(2);
    let alone = enter(&mut a, NEWEST, "g").unwrap();
    a.call(5, &sync(NEWEST, "g", &alone, &[(&alone.member_id, "all")]));
    assert!(enter(&mut b, NEWEST, "g").is_none());
    b.kernel.leave(b.now);
    b.reconnect();
    a.send(9, &join(NEWEST, "g", &alone.member_id));
    a.run();
    let again = joined(&mut a, NEWEST).expect("the one that is gone had joined");
    assert_eq!((again.error_code, again.generation_id, again.members.len()), (0, 2, 2));
    b.run();
    assert!(b.output.is_empty(), "nothing of the old connection comes to the new one");
}

#[test]
fn groups_are_described_listed_and_deleted() {
    let [mut a, mut b] = members(1);
    let joined = settle(&mut a, &mut b, NEWEST, "g");
    assert_eq!(commit(&mut a, NEWEST, "simple", (-1, ""), &[("t", 0, 1)]), [0]);
    for version in 0..=6 {
        let names = ["g", "nobody's", "simple", "g"].map(|name| text(name).into()).to_vec();
        let request =
            DescribeGroupsRequest::default().with_groups(names).with_include_authorized_operations(version >= 3);
        let groups = a.call(version, &request).groups;
        let states: Vec<_> = groups.iter().map(|group| (group.error_code, group.group_state.as_str())).collect();
        let unknown = if version >= 6 { (69, "Dead") } else { (0, "Dead") };
        assert_eq!(states, [(0, "Stable"), unknown, (0, "Empty"), (0, "Stable")], "version {version}");
        assert_eq!(groups[0].protocol_type.as_str(), "consumer");
        assert_eq!(groups[0].protocol_data.as_str(), "range");
        let operations = if version >= 3 { 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11 } else { i32::MIN };
        assert_eq!(groups[0].authorized_operations, operations);
        let message = groups[1].error_message.as_ref().map(|message| message.as_str());
        assert_eq!(message, (version >= 6).then_some("Group nobody's not found."));
        let ids: Vec<_> = groups[0].members.iter().map(|member| member.member_id.clone()).collect();
        assert_eq!(ids, joined.each_ref().map(|joined| joined.member_id.clone()));
        let member = &groups[0].members[1];
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("tests", CLIENT_HOST));
        assert_eq!((&member.member_metadata[..], &member.member_assignment[..]), (&b"topics"[..], &b"two"[..]));
    }
    for version in 0..=5 {
        let listed = a.call(version, &ListGroupsRequest::default()).groups;
        let mut rows: Vec<_> = listed
            .iter()
            .map(|group| (group.group_id.as_str(), group.protocol_type.as_str(), group.group_state.as_str()))
            .collect();
        rows.sort();
        let state = |state| if version >= 4 { state } else { "" };
        assert_eq!(rows, [("g", "consumer", state("Stable")), ("simple", "", state("Empty"))], "version {version}");
        assert!(listed.iter().all(|group| group.group_type.as_str() == if version >= 5 { "classic" } else { "" }));
    }
    let states = |states: &[&str]| states.iter().map(|state| text(state)).collect::<Vec<_>>();
    let names = |groups: &[kafka_protocol::messages::list_groups_response::ListedGroup]| {
        groups.iter().map(|group| group.group_id.to_string()).collect::<Vec<_>>()
    };
    let request = ListGroupsRequest::default().with_states_filter(states(&["empty", "Dead"]));
    assert_eq!(names(&a.call(4, &request).groups), ["simple"]);
    let request = ListGroupsRequest::default().with_types_filter(states(&["Consumer"]));
    assert_eq!(names(&a.call(5, &request).groups), Vec::<String>::new());
    for version in 0..=2 {
        let names = ["g", "nobody's", "nobody's"].map(|name| text(name).into()).to_vec();
        let answer = a.call(version, &DeleteGroupsRequest::default().with_groups_names(names));
        let codes: Vec<_> = answer.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [68, 69], "each once");
    }
    let request = DeleteGroupsRequest::default().with_groups_names(vec![text("simple").into()]);
    assert_eq!(a.call(2, &request).results[0].error_code, 0);
    assert_eq!(a.call(2, &request).results[0].error_code, 69);
    assert_eq!(fetch(&mut a, 9, "simple", None), (0, vec![]));
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_can_be_deleted() {
    let [mut a, _] = members(1);
    assert_eq!(commit(&mut a, NEWEST, "g", (-1, ""), &[("t", 0, 1), ("t", 1, 2)]), [0, 0]);
    let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
    let topic = |name: &str, indexes: &[i32]| {
        OffsetDeleteRequestTopic::default()
            .with_name(text(name).into())
            .with_partitions(indexes.iter().copied().map(partition).collect())
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(text("g").into())
        .with_topics(vec![topic("u", &[0]), topic("t", &[5, 1])]);
    let answer = a.call(0, &request);
    let codes: Vec<_> = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|row| row.error_code).collect();
    assert_eq!((answer.error_code, codes), (0, vec![3, 3, 0]));
    assert_eq!(fetch(&mut a, 9, "g", None), (0, vec![row("t", 0, 1, 0)]));
    let answer = a.call(0, &request.with_group_id(text("nobody's").into()));
    assert_eq!((answer.error_code, answer.topics.len()), (69, 0), "what is wrong with the group is said once");
}

#[test]
fn what_the_coordinator_cannot_do_is_said_where_each_version_says_it() {
    let errors = [
        (CoordinatorError::Denied, 30, 30),
        (CoordinatorError::NotFound, 16, 16),
        (CoordinatorError::TooLarge, 10, 28),
        (CoordinatorError::LogFailed, 15, 15),
    ];
    for (error, code, commit_code) in errors {
        let mut client = Client::with_topic("t", 1);
        assert_eq!(instead(&mut client, &error).call(9, &join(NEWEST, "g", "m")).error_code, code);
        let joined = JoinGroupResponse::default();
        assert_eq!(instead(&mut client, &error).call(5, &sync(NEWEST, "g", &joined, &[])).error_code, code);
        let request = HeartbeatRequest::default().with_group_id(text("g").into());
        assert_eq!(instead(&mut client, &error).call(4, &request).error_code, code);
        let request = LeaveGroupRequest::default().with_group_id(text("g").into());
        assert_eq!(instead(&mut client, &error).call(5, &request).error_code, code);
        assert_eq!(instead(&mut client, &error).call(5, &ListGroupsRequest::default()).error_code, code);
        let request = OffsetDeleteRequest::default().with_group_id(text("g").into());
        assert_eq!(instead(&mut client, &error).call(0, &request).error_code, code);
        let request = DescribeGroupsRequest::default().with_groups(vec![text("g").into()]);
        assert_eq!(instead(&mut client, &error).call(5, &request).groups[0].error_code, code);
        let request = DeleteGroupsRequest::default().with_groups_names(vec![text("g").into()]);
        assert_eq!(instead(&mut client, &error).call(2, &request).results[0].error_code, code);
        let partition = OffsetCommitRequestPartition::default();
        let topic = OffsetCommitRequestTopic::default().with_name(text("t").into()).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default().with_topics(vec![topic]);
        assert_eq!(instead(&mut client, &error).call(9, &request).topics[0].partitions[0].error_code, commit_code);
        let topic = OffsetFetchRequestTopic::default().with_name(text("t").into()).with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_topics(Some(vec![topic]));
        let answer = instead(&mut client, &error).call(1, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, code, "no other place");
        let answer = instead(&mut client, &error).call(7, &request);
        assert_eq!((answer.error_code, answer.topics.len()), (code, 0));
        let request = OffsetFetchRequest::default().with_groups(vec![OffsetFetchRequestGroup::default()]);
        let answer = instead(&mut client, &error).call(8, &request);
        assert_eq!((answer.groups[0].error_code, answer.groups[0].topics.len()), (code, 0));
    }
}

/// The client, whose next command is answered with that.
fn instead<'a>(client: &'a mut Client, error: &CoordinatorError) -> &'a mut Client {
    client.kernel.instead.push_back(Reply::Coordinated(Err(error.clone())));
    client
}

#[test]
fn an_answer_about_many_groups_stops_growing() {
    let mut client = Client::with_topic("t", 1);
    let member = DescribedMember {
        member_id: Text::from("m"),
        group_instance_id: None,
        client_id: Text::EMPTY,
        client_host: Text::EMPTY,
        metadata: Bytes::from(vec![0; 5 << 20]),
        assignment: Bytes::new(),
    };
    let described = Answer::Described(Described {
        error_code: 0,
        state: Text::from("Stable"),
        protocol_type: Text::EMPTY,
        protocol_name: Text::EMPTY,
        generation_id: 1,
        members: vec![member],
        offset_count: 0,
    });
    let large = described.encode();
    let answers = |client: &mut Client, large: &Bytes| {
        client.kernel.instead.extend((0..40).map(|_| Reply::Coordinated(Ok(large.clone()))));
    };
    answers(&mut client, &large);
    let request = DescribeGroupsRequest::default().with_groups((0..1000).map(|_| text("g").into()).collect());
    let groups = client.call(6, &request).groups;
    let told = groups.iter().take_while(|group| group.error_code == 0).count();
    assert!((13..=21).contains(&told), "{told} groups of 5 MiB");
    assert!(groups[told..].iter().all(|group| group.error_code == 44 && group.error_message.is_some()));
    client.kernel.instead.clear();

    let partition =
        OffsetOfPartition { partition: 0, offset: 1, leader_epoch: 1, metadata: Text::from("m".repeat(32_000)) };
    let topics = (0..160).map(|_| OffsetsOfTopic { topic_id: [7; 16], partitions: vec![partition.clone()] }).collect();
    let large = Answer::FetchedOffsets(FetchedOffsets { error_code: 0, topics }).encode();
    answers(&mut client, &large);
    let group = || OffsetFetchRequestGroup::default().with_group_id(text("g").into()).with_topics(None);
    let request = OffsetFetchRequest::default().with_groups((0..1000).map(|_| group()).collect());
    let groups = client.call(8, &request).groups;
    let told = groups.iter().take_while(|group| group.error_code == 0).count();
    assert!((13..=21).contains(&told), "{told} groups of 5 MB");
    assert!(groups[told..].iter().all(|group| group.error_code == 44));
}

#[test]
fn a_list_of_groups_that_is_too_long_is_refused() {
    let mut client = Client::new();
    let listed = Answer::Listed(messages::Listed { error_code: 44, groups: Vec::new() });
    client.kernel.instead.push_back(Reply::Coordinated(Ok(listed.encode())));
    let answer = client.call(5, &ListGroupsRequest::default());
    assert_eq!((answer.error_code, answer.groups.len()), (44, 0));
}

#[test]
fn null_topics_came_with_version_2_of_offset_fetch() {
    let mut client = Client::new();
    let mut frame = BytesMut::new();
    frame.put_i16(9);
    frame.put_i16(1);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame.put_i16(1);
    frame.put_u8(b'g');
    frame.put_i32(-1);
    client.input.put_i32(frame.len() as i32);
    client.input.extend_from_slice(&frame);
    client.run();
    assert!(client.closed.is_some());
}

#[test]
fn offsets_of_more_partitions_than_anybody_has_end_the_connection() {
    let mut client = Client::with_topic("t", 1);
    let topic =
        OffsetFetchRequestTopic::default().with_name(text("t").into()).with_partition_indexes((0..200_000).collect());
    client.send(1, &OffsetFetchRequest::default().with_topics(Some(vec![topic])));
    assert!(client.output.is_empty());
    assert!(client.closed.unwrap().reason.contains("names 200001 things"), "the topic counts, too");
}
