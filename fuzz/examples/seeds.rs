// SPDX-License-Identifier: Apache-2.0
//! Writes the seeds that the targets start from: small, whole, right inputs of every kind. `cargo run --example seeds` in `fuzz/`.

use bytes::Bytes;
use head_amqp::wire::frame as amqp_frame;
use head_kafka::wire::messages::{
    alter_configs, alter_partition_reassignments, alter_replica_log_dirs, create_partitions, delete_groups,
    delete_records, describe_cluster, describe_configs, describe_groups, describe_log_dirs, describe_producers,
    describe_quorum, describe_topic_partitions, elect_leaders, heartbeat, incremental_alter_configs, join_group,
    leave_group, list_config_resources, list_groups, list_partition_reassignments, offset_commit, offset_delete,
    offset_fetch, offset_for_leader_epoch, sync_group,
};
use head_kafka::wire::{ApiKey, Field, Format, Nullable, Text, Writer};
use kernel::format::v1::checkpoint::{self, CheckpointState, ObjectKey};
use kernel::format::v1::segment::SegmentWriter;
use media::local::wal::frame::{self, FrameHeader, FrameKind, Life, Place};
use media::local::wal::slot::SlotHeader;
use model::batch::{self, NewRecord, Numbering};
use model::media::{BlobKind, BlobName};
use model::{Lsn, Offset, PartitionId, ProducerEpoch, ProducerId, ShardEpoch, ShardId};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join("seeds");
    let put = |target: &str, name: &str, seed: &[u8]| {
        std::fs::create_dir_all(root.join(target))?;
        std::fs::write(root.join(target).join(name), seed)
    };
    let plain = some_batch(Numbering::NONE);
    let numbered =
        some_batch(Numbering { producer_id: ProducerId(5), producer_epoch: ProducerEpoch(1), base_sequence: 9 });
    put("record_batch", "plain", &plain)?;
    put("record_batch", "numbered", &numbered)?;
    for (name, api_key, version, flexible, body) in requests(&plain) {
        put("kafka_request", name, &request(api_key, version, flexible, &body))?;
    }
    for (name, stream) in later_requests() {
        put("kafka_request", name, &[&[9], stream.as_ref()].concat())?;
    }
    for (name, seed) in amqp_frames() {
        put("amqp_frame", &name, &seed)?;
        // Let in, a channel opened, then one method.
        if name.starts_with("method") {
            let open = framed_method(&[0, 20, 0, 10, 0]);
            put("amqp_session", &name, &[&[9], open.as_slice(), &seed].concat())?;
        }
    }
    put("wal_frame", "slot", &slot(&plain))?;
    put("wal_frame", "body", &[plain.as_ref(), &[0; 8]].concat())?;
    let (base, delta) = (checkpoint_file(true), checkpoint_file(false));
    put("checkpoint", "base", &base)?;
    put("checkpoint", "delta", &delta)?;
    for kind in 0..8u8 {
        put("checkpoint", &format!("object-{kind}"), &[&[kind, 16][..], &[1; 16], &[2; 64]].concat())?;
    }
    put("segment_footer", "file", &segment(&plain))?;
    put("segment_footer", "sections", &[1, 1, 1, 5, 1, 0, 0, 1, 0, 60, 0, 1, 2, 3, 4])?;
    Ok(())
}

fn some_batch(numbering: Numbering) -> Bytes {
    let record = |value: &'static str| NewRecord {
        timestamp_ms: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: vec![(Bytes::from_static(b"name"), None)],
    };
    batch::build(&[record("one"), record("two")], numbering).bytes().clone()
}

/// What the head's own tests hold, as one file for each kind: `testdata/*.txt`, where the bytes stand indented below their text.
fn amqp_frames() -> Vec<(String, Vec<u8>)> {
    let unhex = |line: &str| -> Vec<u8> {
        let digits: Vec<u8> = line.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
        digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    };
    let indented = |text: &'static str| text.lines().filter(|line| line.starts_with("  ")).map(unhex);
    let methods = indented(include_str!("../../crates/head-amqp/src/testdata/methods.txt"));
    let mut seeds: Vec<_> =
        methods.enumerate().map(|(at, payload)| (format!("method-{at:02}"), framed_method(&payload))).collect();
    let properties = indented(include_str!("../../crates/head-amqp/src/testdata/properties.txt"));
    seeds.extend(properties.enumerate().map(|(at, payload)| (format!("properties-{at}"), payload)));
    let tables = include_str!("../../crates/head-amqp/src/testdata/tables.txt").lines();
    let tables = tables.filter(|line| line.starts_with("000000")).map(|line| unhex(line)[4..].to_vec());
    seeds.extend(tables.enumerate().map(|(at, fields)| (format!("table-{at:02}"), fields)));
    seeds
}

/// On channel 1.
fn framed_method(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&[amqp_frame::METHOD, 0, 1][..], &length, payload, &[amqp_frame::END]].concat()
}

type Seed = (&'static str, i16, i16, bool, Vec<u8>);

/// Bodies written by hand from the protocol's tables.
fn requests(records: &[u8]) -> Vec<Seed> {
    let length = (records.len() as u32).to_be_bytes();
    // acks -1, timeout, one topic "t", one partition 0, its records.
    let produce =
        [&[0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0], &length[..], records]
            .concat();
    // replica -1, wait 0, min 1, max 1 MiB, isolation 0, one topic "t", partition 0, offset 0, 1 MiB.
    let fetch = vec![
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0,
    ];
    vec![
        ("api-versions", 18, 3, true, vec![2, b'x', 2, b'1', 0]),
        ("metadata-all", 3, 4, false, vec![0xff, 0xff, 0xff, 0xff, 1]),
        ("metadata-flexible", 3, 12, true, vec![1, 1, 0, 0]),
        ("produce", 0, 3, false, [&[0xff, 0xff][..], &produce].concat()),
        ("fetch", 1, 4, false, fetch),
        (
            "list-offsets",
            2,
            1,
            false,
            vec![
                0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0xff,
            ],
        ),
        (
            "create-topics",
            19,
            2,
            false,
            vec![0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        ),
        ("delete-topics", 20, 1, false, vec![0, 0, 0, 1, 0, 1, b't', 0, 0, 1, 0]),
        ("init-producer-id", 22, 0, false, vec![0xff, 0xff, 0, 0, 1, 0]),
    ]
}

/// A message, framed, in the newest version of its kind.
fn framed(key: ApiKey, message: &impl Field) -> Bytes {
    let version = *key.announced().end();
    let mut writer = Writer::request(key, version, 1, "c");
    message.write(&mut writer, Format { version, flexible: key.is_flexible(version) });
    writer.finish().concat().into()
}

/// Groups and administration, about topic "t" of the target and group "g": one request each, and what a lonely member says.
fn later_requests() -> Vec<(&'static str, Bytes)> {
    let t = || Text::from("t");
    let g = || Text::from("g");
    let join = join_group::JoinGroupRequest {
        group_id: g(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: Text::EMPTY,
        group_instance_id: Some(Text::from("i")),
        protocol_type: Text::from("consumer"),
        protocols: vec![join_group::JoinGroupRequestProtocol {
            name: Text::from("range"),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
        }],
        reason: None,
    };
    let sync = sync_group::SyncGroupRequest {
        group_id: g(),
        generation_id: 1,
        member_id: Text::EMPTY,
        group_instance_id: Some(Text::from("i")),
        protocol_type: Some(Text::from("consumer")),
        protocol_name: Some(Text::from("range")),
        assignments: Vec::new(),
    };
    let heartbeat = heartbeat::HeartbeatRequest {
        group_id: g(),
        generation_id: 1,
        member_id: Text::EMPTY,
        group_instance_id: Some(Text::from("i")),
    };
    let leave = leave_group::LeaveGroupRequest {
        group_id: g(),
        member_id: Text::EMPTY,
        members: vec![leave_group::MemberIdentity {
            member_id: Text::EMPTY,
            group_instance_id: Some(Text::from("i")),
            reason: None,
        }],
    };
    let commit = offset_commit::OffsetCommitRequest {
        group_id: g(),
        generation_id_or_member_epoch: -1,
        member_id: Text::EMPTY,
        group_instance_id: None,
        retention_time_ms: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: Text::EMPTY,
            topic_id: [7; 16],
            partitions: vec![offset_commit::OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: 5,
                committed_leader_epoch: 1,
                committed_metadata: Some(Text::from("note")),
            }],
        }],
    };
    let fetch = offset_fetch::OffsetFetchRequest {
        group_id: Text::EMPTY,
        topics: None,
        groups: vec![offset_fetch::OffsetFetchRequestGroup {
            group_id: g(),
            member_id: None,
            member_epoch: -1,
            topics: None,
        }],
        require_stable: true,
    };
    let delete_offsets = offset_delete::OffsetDeleteRequest {
        group_id: g(),
        topics: vec![offset_delete::OffsetDeleteRequestTopic {
            name: t(),
            partitions: vec![offset_delete::OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let describe = describe_groups::DescribeGroupsRequest { groups: vec![g()], include_authorized_operations: true };
    let list = list_groups::ListGroupsRequest {
        states_filter: vec![Text::from("Stable")],
        types_filter: vec![Text::from("classic")],
    };
    let delete = delete_groups::DeleteGroupsRequest { groups_names: vec![g()] };
    let delete_records = delete_records::DeleteRecordsRequest {
        topics: vec![delete_records::DeleteRecordsTopic {
            name: t(),
            partitions: vec![delete_records::DeleteRecordsPartition { partition_index: 0, offset: -1 }],
        }],
        timeout_ms: 1000,
    };
    let epochs = offset_for_leader_epoch::OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
            topic: t(),
            partitions: vec![offset_for_leader_epoch::OffsetForLeaderPartition {
                partition: 0,
                current_leader_epoch: -1,
                leader_epoch: 1,
            }],
        }],
    };
    let describe_configs = describe_configs::DescribeConfigsRequest {
        resources: vec![describe_configs::DescribeConfigsResource {
            resource_type: 2,
            resource_name: t(),
            configuration_keys: None,
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    let alter_configs = alter_configs::AlterConfigsRequest {
        resources: vec![alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: t(),
            configs: vec![alter_configs::AlterableConfig {
                name: Text::from("retention.ms"),
                value: Some(Text::from("1000")),
            }],
        }],
        validate_only: true,
    };
    let incremental = incremental_alter_configs::IncrementalAlterConfigsRequest {
        resources: vec![incremental_alter_configs::AlterConfigsResource {
            resource_type: 4,
            resource_name: Text::from("0"),
            configs: vec![incremental_alter_configs::AlterableConfig {
                name: Text::from("log.cleanup.policy"),
                config_operation: 2,
                value: Some(Text::from("compact")),
            }],
        }],
        validate_only: false,
    };
    let create_partitions = create_partitions::CreatePartitionsRequest {
        topics: vec![create_partitions::CreatePartitionsTopic {
            name: t(),
            count: 2,
            assignments: Some(vec![create_partitions::CreatePartitionsAssignment { broker_ids: vec![0] }]),
        }],
        timeout_ms: 1000,
        validate_only: false,
    };
    let log_dirs = describe_log_dirs::DescribeLogDirsRequest {
        topics: Some(vec![describe_log_dirs::DescribableLogDirTopic { topic: t(), partitions: vec![0] }]),
    };
    let cluster = describe_cluster::DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
        include_fenced_brokers: false,
    };
    let producers = describe_producers::DescribeProducersRequest {
        topics: vec![describe_producers::TopicRequest { name: t(), partition_indexes: vec![0] }],
    };
    let quorum = describe_quorum::DescribeQuorumRequest {
        topics: vec![describe_quorum::QuorumTopic {
            topic_name: Text::from("__cluster_metadata"),
            partitions: vec![describe_quorum::QuorumPartition { partition_index: 0 }],
        }],
    };
    let pages = describe_topic_partitions::DescribeTopicPartitionsRequest {
        topics: vec![describe_topic_partitions::TopicRequest { name: t() }],
        response_partition_limit: 10,
        cursor: Nullable(Some(describe_topic_partitions::Cursor { topic_name: t(), partition_index: 0 })),
    };
    let move_replicas = alter_replica_log_dirs::AlterReplicaLogDirsRequest {
        dirs: vec![alter_replica_log_dirs::AlterReplicaLogDir {
            path: Text::from("/data"),
            topics: vec![alter_replica_log_dirs::AlterReplicaLogDirTopic { name: t(), partitions: vec![0] }],
        }],
    };
    let reassign = alter_partition_reassignments::AlterPartitionReassignmentsRequest {
        timeout_ms: 1000,
        allow_replication_factor_change: true,
        topics: vec![alter_partition_reassignments::ReassignableTopic {
            name: t(),
            partitions: vec![alter_partition_reassignments::ReassignablePartition {
                partition_index: 0,
                replicas: Some(vec![0]),
            }],
        }],
    };
    let reassigned = list_partition_reassignments::ListPartitionReassignmentsRequest { timeout_ms: 1000, topics: None };
    let resources = list_config_resources::ListConfigResourcesRequest { resource_types: vec![4] };
    let elect = elect_leaders::ElectLeadersRequest {
        election_type: 0,
        topic_partitions: Some(vec![elect_leaders::TopicPartitions { topic: t(), partitions: vec![0] }]),
        timeout_ms: 1000,
    };
    let alone =
        [framed(ApiKey::JoinGroup, &join), framed(ApiKey::OffsetCommit, &commit), framed(ApiKey::OffsetFetch, &fetch)];
    vec![
        ("a-lonely-member", alone.concat().into()),
        ("alter-configs", framed(ApiKey::AlterConfigs, &alter_configs)),
        ("alter-partition-reassignments", framed(ApiKey::AlterPartitionReassignments, &reassign)),
        ("alter-replica-log-dirs", framed(ApiKey::AlterReplicaLogDirs, &move_replicas)),
        ("create-partitions", framed(ApiKey::CreatePartitions, &create_partitions)),
        ("delete-groups", framed(ApiKey::DeleteGroups, &delete)),
        ("delete-records", framed(ApiKey::DeleteRecords, &delete_records)),
        ("describe-cluster", framed(ApiKey::DescribeCluster, &cluster)),
        ("describe-configs", framed(ApiKey::DescribeConfigs, &describe_configs)),
        ("describe-groups", framed(ApiKey::DescribeGroups, &describe)),
        ("describe-log-dirs", framed(ApiKey::DescribeLogDirs, &log_dirs)),
        ("describe-producers", framed(ApiKey::DescribeProducers, &producers)),
        ("describe-quorum", framed(ApiKey::DescribeQuorum, &quorum)),
        ("describe-topic-partitions", framed(ApiKey::DescribeTopicPartitions, &pages)),
        ("elect-leaders", framed(ApiKey::ElectLeaders, &elect)),
        ("heartbeat", framed(ApiKey::Heartbeat, &heartbeat)),
        ("incremental-alter-configs", framed(ApiKey::IncrementalAlterConfigs, &incremental)),
        ("leave-group", framed(ApiKey::LeaveGroup, &leave)),
        ("list-config-resources", framed(ApiKey::ListConfigResources, &resources)),
        ("list-groups", framed(ApiKey::ListGroups, &list)),
        ("list-partition-reassignments", framed(ApiKey::ListPartitionReassignments, &reassigned)),
        ("offset-delete", framed(ApiKey::OffsetDelete, &delete_offsets)),
        ("offset-for-leader-epoch", framed(ApiKey::OffsetForLeaderEpoch, &epochs)),
        ("sync-group", framed(ApiKey::SyncGroup, &sync)),
    ]
}

/// With the byte before it that says where the stream is cut.
fn request(api_key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend_from_slice(&api_key.to_be_bytes());
    head.extend_from_slice(&version.to_be_bytes());
    head.extend_from_slice(&[0, 0, 0, 1, 0, 1, b'c']);
    if flexible {
        head.push(0);
    }
    let mut out = vec![9];
    out.extend_from_slice(&((head.len() + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    out
}

fn slot(body: &[u8]) -> Vec<u8> {
    let (cluster_id, shard, slot) = ([7; 16], ShardId(0), 3);
    let life = Life { epoch: ShardEpoch(1), turn: 1, nonce: 99 };
    let header = SlotHeader {
        cluster_id,
        shard,
        slot,
        life,
        base: Lsn(1),
        copies_through: Lsn(0),
        previous_crc: 0,
        slot_bytes: 16 * 1024,
    };
    let (page, page_crc) = header.encode();
    let mut file = page.to_vec();
    file.resize(4096, 0);
    let frame = FrameHeader {
        kind: FrameKind::Data,
        shard,
        body_bytes: body.len() as u32,
        life,
        lsn: Lsn(1),
        durable: Lsn(0),
        previous_crc: page_crc,
    };
    let (head, _) = frame::encode(&frame, Place { cluster_id: &cluster_id, slot, at: 4096 }, body);
    file.extend_from_slice(&head);
    file.extend_from_slice(body);
    file.resize(16 * 1024, 0);
    file
}

fn checkpoint_file(is_base: bool) -> Vec<u8> {
    let name = BlobName { shard: ShardId(0), kind: BlobKind::Checkpoint, number: 1 };
    let state = CheckpointState {
        name,
        epoch: ShardEpoch(1),
        is_base,
        base_number: if is_base { 1 } else { 0 },
        previous: (!is_base).then_some(0),
        lsn: Lsn(9),
        segments: vec![1, 2],
    };
    let objects: Vec<(ObjectKey, Vec<u8>)> =
        (1..4).map(|kind| (ObjectKey { kind, key: vec![kind; 16] }, vec![kind; 40])).collect();
    let parts = checkpoint::encode(&state, objects.iter().map(|(key, value)| (key, Some(value.as_slice()))));
    parts.concat()
}

fn segment(batch: &Bytes) -> Vec<u8> {
    let name = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number: 1 };
    let mut writer = SegmentWriter::new(name, ShardEpoch(1));
    for partition in 1..4 {
        writer.push(PartitionId(partition), batch, Offset(0), Offset(1), 1_700_000_000_000);
    }
    let (parts, _) = writer.finish();
    parts.concat()
}
