// SPDX-License-Identifier: Apache-2.0
//! Every message in every version, both ways, against the other implementation: what is written here is read there and written
//! again to the same bytes, and what is read back here is what was written.

use crate::wire::messages::{
    self, api_versions, create_topics, delete_topics, fetch, find_coordinator, init_producer_id, list_offsets,
    metadata, produce,
};
use crate::wire::sample::{Sample, Sampler};
use crate::wire::{ApiKey, Field, Format, Malformed, Reader, Records, Text, Writer};
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use kafka_protocol::{messages as oracle, protocol};

fn text(text: &str) -> Text {
    Text::from(text)
}

fn written(message: &impl Field, format: Format) -> Bytes {
    let mut writer = Writer::response(0, false);
    message.write(&mut writer, format);
    let mut all = BytesMut::new();
    writer.finish().iter().for_each(|piece| all.extend_from_slice(piece));
    all.freeze().slice(8..)
}

fn read<M: Field>(bytes: Bytes, format: Format) -> Result<M, Malformed> {
    let mut reader = Reader::new(bytes);
    let message = M::read(&mut reader, format)?;
    assert!(reader.rest().is_empty(), "bytes are left over");
    Ok(message)
}

/// One version of it. The crate's newest version stands for newer ones of ours of the same layout.
fn agrees_in<M: Field + PartialEq + std::fmt::Debug, O: Encodable + Decodable + protocol::Message>(
    key: ApiKey,
    version: i16,
    message: &M,
) {
    let format = Format { version, flexible: key.is_flexible(version) };
    let bytes = written(message, format);
    let theirs = version.min(O::VERSIONS.max);
    let mut rest = bytes.clone();
    let decoded = O::decode(&mut rest, theirs).unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
    assert!(rest.is_empty(), "{key:?} {version}: {} bytes left over", rest.len());
    let mut again = BytesMut::new();
    decoded.encode(&mut again, theirs).unwrap();
    assert_eq!(again.freeze(), bytes, "{key:?} {version}");
    let back: M = read(bytes.clone(), format).unwrap();
    assert_eq!(written(&back, format), bytes, "{key:?} {version}");
    // Cut anywhere, it is refused.
    for length in 0..bytes.len() {
        assert!(read::<M>(bytes.slice(..length), format).is_err(), "{key:?} {version} cut at {length}");
    }
}

/// Every version of it.
fn agrees<M: Field + PartialEq + std::fmt::Debug, O: Encodable + Decodable + protocol::Message>(
    key: ApiKey,
    message: &M,
) {
    for version in key.taken() {
        agrees_in::<M, O>(key, version, message);
    }
    // In the newest version nothing is left out.
    let newest = *key.taken().end();
    let format = Format { version: newest, flexible: key.is_flexible(newest) };
    let names_are_ids = matches!(key, ApiKey::Produce | ApiKey::Fetch);
    let one_or_many = key == ApiKey::FindCoordinator;
    if !names_are_ids && !one_or_many && key != ApiKey::Metadata && key != ApiKey::DeleteTopics {
        assert_eq!(&read::<M>(written(message, format), format).unwrap(), message);
    }
}

/// As [`agrees`], with a message that holds two of everything and, in the newest version, one that holds nothing. The
/// versions that the crate does not know have their bytes below.
fn agrees_in_all<M, O>(key: ApiKey)
where
    M: Field + Sample + PartialEq + std::fmt::Debug,
    O: Encodable + Decodable + protocol::Message,
{
    let full = M::sample(&mut Sampler::new(false));
    for version in key.taken().filter(|version| *version <= O::VERSIONS.max) {
        agrees_in::<M, O>(key, version, &full);
    }
    agrees_in::<M, O>(key, O::VERSIONS.max, &M::sample(&mut Sampler::new(true)));
}

macro_rules! all_agree {
    ($($module:ident: $key:ident, $request:ident, $response:ident;)*) => { $(
        #[test]
        fn $module() {
            agrees_in_all::<messages::$module::$request, oracle::$request>(ApiKey::$key);
            agrees_in_all::<messages::$module::$response, oracle::$response>(ApiKey::$key);
        }
    )* };
}

mod agree {
    use super::*;

    all_agree! {
        offset_commit: OffsetCommit, OffsetCommitRequest, OffsetCommitResponse;
        offset_fetch: OffsetFetch, OffsetFetchRequest, OffsetFetchResponse;
        join_group: JoinGroup, JoinGroupRequest, JoinGroupResponse;
        heartbeat: Heartbeat, HeartbeatRequest, HeartbeatResponse;
        leave_group: LeaveGroup, LeaveGroupRequest, LeaveGroupResponse;
        sync_group: SyncGroup, SyncGroupRequest, SyncGroupResponse;
        describe_groups: DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse;
        list_groups: ListGroups, ListGroupsRequest, ListGroupsResponse;
        delete_records: DeleteRecords, DeleteRecordsRequest, DeleteRecordsResponse;
        offset_for_leader_epoch:
            OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
        describe_configs: DescribeConfigs, DescribeConfigsRequest, DescribeConfigsResponse;
        alter_configs: AlterConfigs, AlterConfigsRequest, AlterConfigsResponse;
        alter_replica_log_dirs: AlterReplicaLogDirs, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse;
        describe_log_dirs: DescribeLogDirs, DescribeLogDirsRequest, DescribeLogDirsResponse;
        create_partitions: CreatePartitions, CreatePartitionsRequest, CreatePartitionsResponse;
        delete_groups: DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse;
        elect_leaders: ElectLeaders, ElectLeadersRequest, ElectLeadersResponse;
        incremental_alter_configs:
            IncrementalAlterConfigs, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
        alter_partition_reassignments:
            AlterPartitionReassignments, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
        list_partition_reassignments:
            ListPartitionReassignments, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
        offset_delete: OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse;
        describe_quorum: DescribeQuorum, DescribeQuorumRequest, DescribeQuorumResponse;
        describe_cluster: DescribeCluster, DescribeClusterRequest, DescribeClusterResponse;
        describe_producers: DescribeProducers, DescribeProducersRequest, DescribeProducersResponse;
        list_config_resources: ListConfigResources, ListConfigResourcesRequest, ListConfigResourcesResponse;
        describe_topic_partitions:
            DescribeTopicPartitions, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    }
}

/// Layouts that are newer than the crate, as Apache Kafka's own client (kafka-clients 4.3.1) writes them.
#[test]
fn the_newest_versions_agree_with_bytes_of_the_java_client() {
    fn check<M: Field + PartialEq + std::fmt::Debug>(key: ApiKey, hex: &str, expected: M) {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let version = *key.taken().end();
        let format = Format { version, flexible: key.is_flexible(version) };
        assert_eq!(written(&expected, format), bytes, "{key:?}");
        assert_eq!(read::<M>(bytes, format).unwrap(), expected, "{key:?}");
    }
    let topic_id = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let partition = messages::offset_commit::OffsetCommitRequestPartition {
        partition_index: 1,
        committed_offset: 99,
        committed_leader_epoch: 7,
        committed_metadata: Some(text("note")),
    };
    let topic =
        messages::offset_commit::OffsetCommitRequestTopic { name: Text::EMPTY, topic_id, partitions: vec![partition] };
    check(
        ApiKey::OffsetCommit,
        "0667726f757000000005076d656d62657209696e7374616e6365020102030405060708090a0b0c0d0e0f100200000001\
         000000000000006300000007056e6f7465000000",
        messages::offset_commit::OffsetCommitRequest {
            group_id: text("group"),
            generation_id_or_member_epoch: 5,
            member_id: text("member"),
            group_instance_id: Some(text("instance")),
            retention_time_ms: -1,
            topics: vec![topic],
        },
    );
    let some = messages::offset_fetch::OffsetFetchRequestGroup {
        group_id: text("group"),
        member_id: Some(text("member")),
        member_epoch: 5,
        topics: Some(vec![messages::offset_fetch::OffsetFetchRequestTopics {
            name: Text::EMPTY,
            topic_id,
            partition_indexes: vec![1, 2],
        }]),
    };
    let all = messages::offset_fetch::OffsetFetchRequestGroup {
        group_id: text("all"),
        member_id: None,
        member_epoch: -1,
        topics: None,
    };
    check(
        ApiKey::OffsetFetch,
        "030667726f7570076d656d62657200000005020102030405060708090a0b0c0d0e0f1003000000010000000200000461\
         6c6c00ffffffff00000100",
        messages::offset_fetch::OffsetFetchRequest {
            group_id: Text::EMPTY,
            topics: None,
            groups: vec![some, all],
            require_stable: true,
        },
    );
    let partition = messages::describe_log_dirs::DescribeLogDirsPartition {
        partition_index: 1,
        partition_size: 77,
        offset_lag: 0,
        is_future_key: false,
    };
    let result = messages::describe_log_dirs::DescribeLogDirsResult {
        error_code: 0,
        log_dir: text("/data"),
        topics: vec![messages::describe_log_dirs::DescribeLogDirsTopic {
            name: text("t"),
            partitions: vec![partition],
        }],
        total_bytes: 1000,
        usable_bytes: 500,
        is_cordoned: true,
    };
    check(
        ApiKey::DescribeLogDirs,
        "000000030000020000062f646174610202740200000001000000000000004d0000000000000000000000000000000000\
         03e800000000000001f4010000",
        messages::describe_log_dirs::DescribeLogDirsResponse {
            throttle_time_ms: 3,
            error_code: 0,
            results: vec![result],
        },
    );
}

#[test]
fn header_versions_agree() {
    fn check<R: Request>(key: ApiKey) {
        assert_eq!(key.number(), R::KEY);
        for version in key.taken() {
            let theirs = version.min(R::VERSIONS.max);
            assert_eq!(R::header_version(theirs) == 2, key.is_flexible(version), "{key:?} {version}");
            assert_eq!(
                R::Response::header_version(theirs) == 1,
                key.has_flexible_response_header(version),
                "{key:?} {version}"
            );
        }
    }
    check::<oracle::ProduceRequest>(ApiKey::Produce);
    check::<oracle::FetchRequest>(ApiKey::Fetch);
    check::<oracle::ListOffsetsRequest>(ApiKey::ListOffsets);
    check::<oracle::MetadataRequest>(ApiKey::Metadata);
    check::<oracle::OffsetCommitRequest>(ApiKey::OffsetCommit);
    check::<oracle::OffsetFetchRequest>(ApiKey::OffsetFetch);
    check::<oracle::FindCoordinatorRequest>(ApiKey::FindCoordinator);
    check::<oracle::JoinGroupRequest>(ApiKey::JoinGroup);
    check::<oracle::HeartbeatRequest>(ApiKey::Heartbeat);
    check::<oracle::LeaveGroupRequest>(ApiKey::LeaveGroup);
    check::<oracle::SyncGroupRequest>(ApiKey::SyncGroup);
    check::<oracle::DescribeGroupsRequest>(ApiKey::DescribeGroups);
    check::<oracle::ListGroupsRequest>(ApiKey::ListGroups);
    check::<oracle::ApiVersionsRequest>(ApiKey::ApiVersions);
    check::<oracle::CreateTopicsRequest>(ApiKey::CreateTopics);
    check::<oracle::DeleteTopicsRequest>(ApiKey::DeleteTopics);
    check::<oracle::DeleteRecordsRequest>(ApiKey::DeleteRecords);
    check::<oracle::InitProducerIdRequest>(ApiKey::InitProducerId);
    check::<oracle::OffsetForLeaderEpochRequest>(ApiKey::OffsetForLeaderEpoch);
    check::<oracle::DescribeConfigsRequest>(ApiKey::DescribeConfigs);
    check::<oracle::AlterConfigsRequest>(ApiKey::AlterConfigs);
    check::<oracle::AlterReplicaLogDirsRequest>(ApiKey::AlterReplicaLogDirs);
    check::<oracle::DescribeLogDirsRequest>(ApiKey::DescribeLogDirs);
    check::<oracle::CreatePartitionsRequest>(ApiKey::CreatePartitions);
    check::<oracle::DeleteGroupsRequest>(ApiKey::DeleteGroups);
    check::<oracle::ElectLeadersRequest>(ApiKey::ElectLeaders);
    check::<oracle::IncrementalAlterConfigsRequest>(ApiKey::IncrementalAlterConfigs);
    check::<oracle::AlterPartitionReassignmentsRequest>(ApiKey::AlterPartitionReassignments);
    check::<oracle::ListPartitionReassignmentsRequest>(ApiKey::ListPartitionReassignments);
    check::<oracle::OffsetDeleteRequest>(ApiKey::OffsetDelete);
    check::<oracle::DescribeQuorumRequest>(ApiKey::DescribeQuorum);
    check::<oracle::DescribeClusterRequest>(ApiKey::DescribeCluster);
    check::<oracle::DescribeProducersRequest>(ApiKey::DescribeProducers);
    check::<oracle::ListConfigResourcesRequest>(ApiKey::ListConfigResources);
    check::<oracle::DescribeTopicPartitionsRequest>(ApiKey::DescribeTopicPartitions);
}

#[test]
fn api_versions_agrees() {
    let request = api_versions::ApiVersionsRequest {
        client_software_name: text("librdkafka"),
        client_software_version: text("2.15.1"),
    };
    agrees::<_, oracle::ApiVersionsRequest>(ApiKey::ApiVersions, &request);
    let key = api_versions::ApiVersion { api_key: 3, min_version: 1, max_version: 13 };
    let response = api_versions::ApiVersionsResponse { error_code: 35, api_keys: vec![key], throttle_time_ms: 7 };
    agrees::<_, oracle::ApiVersionsResponse>(ApiKey::ApiVersions, &response);
}

#[test]
fn metadata_agrees() {
    let topic = metadata::MetadataRequestTopic { topic_id: [7; 16], name: Some(text("t")) };
    for topics in [None, Some(vec![]), Some(vec![topic])] {
        // A null list came with version 1 and is read in any.
        let request = metadata::MetadataRequest {
            topics,
            allow_auto_topic_creation: true,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: true,
        };
        agrees::<_, oracle::MetadataRequest>(ApiKey::Metadata, &request);
    }
    let partition = metadata::MetadataPartition {
        error_code: 9,
        partition_index: 1,
        leader_id: 2,
        leader_epoch: 3,
        replica_nodes: vec![4, 5],
        isr_nodes: vec![4],
        offline_replicas: vec![5],
    };
    let topic = metadata::MetadataTopic {
        error_code: 3,
        name: Some(text("topic")),
        topic_id: [9; 16],
        is_internal: true,
        partitions: vec![partition.clone(), partition],
        topic_authorized_operations: 12,
    };
    let broker = metadata::MetadataBroker { node_id: 1, host: text("host"), port: 9092, rack: Some(text("r")) };
    let response = metadata::MetadataResponse {
        throttle_time_ms: 5,
        brokers: vec![broker],
        cluster_id: Some(text("AAAAAAAAAAAAAAAAAAAAAA")),
        controller_id: 1,
        topics: vec![topic],
        cluster_authorized_operations: 77,
        error_code: 0,
    };
    agrees::<_, oracle::MetadataResponse>(ApiKey::Metadata, &response);
}

#[test]
fn create_topics_agrees() {
    let topic = create_topics::CreatableTopic {
        name: text("t"),
        num_partitions: 3,
        replication_factor: 1,
        assignments: vec![create_topics::CreatableReplicaAssignment { partition_index: 2, broker_ids: vec![0, 1] }],
        configs: vec![
            create_topics::CreatableTopicConfig { name: text("a"), value: Some(text("b")) },
            create_topics::CreatableTopicConfig { name: text("c"), value: None },
        ],
    };
    let request = create_topics::CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: true };
    agrees::<_, oracle::CreateTopicsRequest>(ApiKey::CreateTopics, &request);
    let config = create_topics::CreatableTopicConfigs {
        name: text("a"),
        value: Some(text("b")),
        read_only: true,
        config_source: 5,
        is_sensitive: true,
    };
    let topic = create_topics::CreatableTopicResult {
        name: text("t"),
        topic_id: [3; 16],
        error_code: 40,
        error_message: Some(text("no")),
        num_partitions: 4,
        replication_factor: 1,
        configs: Some(vec![config]),
    };
    let response = create_topics::CreateTopicsResponse { throttle_time_ms: 3, topics: vec![topic] };
    agrees::<_, oracle::CreateTopicsResponse>(ApiKey::CreateTopics, &response);
}

#[test]
fn delete_topics_agrees() {
    let request = delete_topics::DeleteTopicsRequest {
        topics: vec![
            delete_topics::DeleteTopicState { name: Some(text("t")), topic_id: [0; 16] },
            delete_topics::DeleteTopicState { name: None, topic_id: [5; 16] },
        ],
        topic_names: vec![text("t"), text("u")],
        timeout_ms: 9,
    };
    agrees::<_, oracle::DeleteTopicsRequest>(ApiKey::DeleteTopics, &request);
    let result = delete_topics::DeletableTopicResult {
        name: Some(text("t")),
        topic_id: [4; 16],
        error_code: 3,
        error_message: Some(text("gone")),
    };
    let response = delete_topics::DeleteTopicsResponse { throttle_time_ms: 2, responses: vec![result] };
    agrees::<_, oracle::DeleteTopicsResponse>(ApiKey::DeleteTopics, &response);
}

#[test]
fn find_coordinator_agrees() {
    let request = find_coordinator::FindCoordinatorRequest {
        key: text("g"),
        key_type: 1,
        coordinator_keys: vec![text("g"), text("h")],
    };
    agrees::<_, oracle::FindCoordinatorRequest>(ApiKey::FindCoordinator, &request);
    let coordinator = find_coordinator::Coordinator {
        key: text("g"),
        node_id: 1,
        host: text("host"),
        port: 9092,
        error_code: 15,
        error_message: Some(text("why")),
    };
    let response = find_coordinator::FindCoordinatorResponse {
        throttle_time_ms: 3,
        error_code: 15,
        error_message: Some(text("why")),
        node_id: 1,
        host: text("host"),
        port: 9092,
        coordinators: vec![coordinator],
    };
    agrees::<_, oracle::FindCoordinatorResponse>(ApiKey::FindCoordinator, &response);
}

#[test]
fn init_producer_id_agrees() {
    for transactional_id in [None, Some(text("tx"))] {
        let request = init_producer_id::InitProducerIdRequest {
            transactional_id,
            transaction_timeout_ms: 60_000,
            producer_id: 12,
            producer_epoch: 3,
        };
        agrees::<_, oracle::InitProducerIdRequest>(ApiKey::InitProducerId, &request);
    }
    let response = init_producer_id::InitProducerIdResponse {
        throttle_time_ms: 1,
        error_code: 14,
        producer_id: i64::MAX,
        producer_epoch: 7,
    };
    agrees::<_, oracle::InitProducerIdResponse>(ApiKey::InitProducerId, &response);
}

#[test]
fn list_offsets_agrees() {
    let partition = list_offsets::ListOffsetsPartition { partition_index: 1, current_leader_epoch: 2, timestamp: -6 };
    let topic = list_offsets::ListOffsetsTopic { name: text("t"), partitions: vec![partition] };
    let request =
        list_offsets::ListOffsetsRequest { replica_id: -1, isolation_level: 1, topics: vec![topic], timeout_ms: 500 };
    agrees::<_, oracle::ListOffsetsRequest>(ApiKey::ListOffsets, &request);
    let partition = list_offsets::ListOffsetsPartitionResponse {
        partition_index: 1,
        error_code: 74,
        timestamp: 1_700_000_000_000,
        offset: 99,
        leader_epoch: 3,
    };
    let topic = list_offsets::ListOffsetsTopicResponse { name: text("t"), partitions: vec![partition] };
    let response = list_offsets::ListOffsetsResponse { throttle_time_ms: 4, topics: vec![topic] };
    agrees::<_, oracle::ListOffsetsResponse>(ApiKey::ListOffsets, &response);
}

#[test]
fn produce_agrees() {
    for records in [None, Some(Bytes::new()), Some(Bytes::from_static(&[1; 2000]))] {
        let partition = produce::PartitionProduceData { index: 3, records };
        let topic = produce::TopicProduceData { name: text("t"), topic_id: [8; 16], partition_data: vec![partition] };
        let request = produce::ProduceRequest {
            transactional_id: Some(text("tx")),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
        };
        agrees::<_, oracle::ProduceRequest>(ApiKey::Produce, &request);
    }
    let error =
        produce::BatchIndexAndErrorMessage { batch_index: 2, batch_index_error_message: Some(text("bad record")) };
    let partition = produce::PartitionProduceResponse {
        index: 3,
        error_code: 87,
        base_offset: 10,
        log_append_time_ms: 11,
        log_start_offset: 12,
        record_errors: vec![error],
        error_message: Some(text("bad batch")),
    };
    let topic =
        produce::TopicProduceResponse { name: text("t"), topic_id: [8; 16], partition_responses: vec![partition] };
    let response = produce::ProduceResponse { responses: vec![topic], throttle_time_ms: 9 };
    agrees::<_, oracle::ProduceResponse>(ApiKey::Produce, &response);
}

#[test]
fn fetch_agrees() {
    let partition = fetch::FetchPartition {
        partition: 1,
        current_leader_epoch: 2,
        fetch_offset: 3,
        last_fetched_epoch: 4,
        log_start_offset: 5,
        partition_max_bytes: 6,
    };
    let topic = fetch::FetchTopic { topic: text("t"), topic_id: [1; 16], partitions: vec![partition] };
    let forgotten = fetch::ForgottenTopic { topic: text("u"), topic_id: [2; 16], partitions: vec![7, 8] };
    let request = fetch::FetchRequest {
        replica_id: -1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 1,
        session_id: 77,
        session_epoch: 5,
        topics: vec![topic],
        forgotten_topics_data: vec![forgotten],
        rack_id: text("rack"),
    };
    agrees::<_, oracle::FetchRequest>(ApiKey::Fetch, &request);
    for records in [Records::default(), Records(vec![Bytes::from_static(&[9; 700]), Bytes::from_static(&[8; 9])])] {
        let aborted = fetch::AbortedTransaction { producer_id: 5, first_offset: 6 };
        let partition = fetch::PartitionData {
            partition_index: 1,
            error_code: 0,
            high_watermark: 9,
            last_stable_offset: 8,
            log_start_offset: 7,
            aborted_transactions: Some(vec![aborted]),
            preferred_read_replica: -1,
            records,
        };
        let without = fetch::PartitionData { aborted_transactions: None, partition_index: 2, ..partition.clone() };
        let topic =
            fetch::FetchableTopicResponse { topic: text("t"), topic_id: [1; 16], partitions: vec![partition, without] };
        let response = fetch::FetchResponse {
            throttle_time_ms: 1,
            error_code: 0,
            session_id: 77,
            responses: vec![topic.clone(), topic],
        };
        agrees::<_, oracle::FetchResponse>(ApiKey::Fetch, &response);
    }
}

#[test]
fn unknown_tagged_fields_are_passed_over() {
    let request = oracle::MetadataRequest::default()
        .with_topics(None)
        .with_unknown_tagged_field(3, Bytes::from_static(b"abc"))
        .with_unknown_tagged_field(99, Bytes::new());
    let mut bytes = BytesMut::new();
    request.encode(&mut bytes, 12).unwrap();
    let read: metadata::MetadataRequest = read(bytes.freeze(), Format { version: 12, flexible: true }).unwrap();
    assert_eq!(read.topics, None);
}

#[test]
fn a_count_is_no_reason_to_allocate() {
    let plain = Format { version: 0, flexible: false };
    let compact = Format { version: 9, flexible: true };
    let mut lie = BytesMut::from(&i32::MAX.to_be_bytes()[..]);
    lie.extend_from_slice(&[0; 100]);
    assert_eq!(read::<metadata::MetadataRequest>(lie.freeze(), plain), Err(Malformed::Length));
    let lie = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
    assert_eq!(read::<metadata::MetadataRequest>(lie, compact), Err(Malformed::Length));
    let negative = Bytes::copy_from_slice(&(-2i32).to_be_bytes());
    assert_eq!(read::<metadata::MetadataRequest>(negative, plain), Err(Malformed::Length));
    let endless = Bytes::from_static(&[0xff; 12]);
    assert_eq!(read::<metadata::MetadataRequest>(endless, compact), Err(Malformed::Short));
}

#[test]
fn a_list_longer_than_anybody_needs_is_refused_before_it_is_large() {
    // Two million empty names: 4 MB on the wire, over 100 MB as structs.
    let mut bytes = BytesMut::from(&2_000_000i32.to_be_bytes()[..]);
    bytes.resize(4 + 4_000_000, 0);
    let plain = Format { version: 0, flexible: false };
    assert_eq!(read::<metadata::MetadataRequest>(bytes.freeze(), plain), Err(Malformed::TooMany));
}

#[test]
fn a_message_for_people_is_cut_where_a_letter_ends() {
    let long = "é".repeat(40_000);
    let format = Format { version: 2, flexible: false };
    let topic = create_topics::CreatableTopicResult {
        name: text("t"),
        topic_id: [0; 16],
        error_code: 1,
        error_message: Some(Text::from(long)),
        num_partitions: 1,
        replication_factor: 1,
        configs: None,
    };
    let response = create_topics::CreateTopicsResponse { throttle_time_ms: 0, topics: vec![topic] };
    let back: create_topics::CreateTopicsResponse = read(written(&response, format), format).unwrap();
    assert_eq!(back.topics[0].error_message.as_ref().unwrap().as_str().len(), 32_766);
}
