// SPDX-License-Identifier: Apache-2.0
//! Which response goes with which request.

use head_kafka::wire::messages::{
    api_versions, create_partitions, create_topics, delete_groups, delete_records, delete_topics, describe_configs,
    describe_groups, describe_log_dirs, fetch, find_coordinator, heartbeat, incremental_alter_configs,
    init_producer_id, join_group, leave_group, list_groups, list_offsets, metadata, offset_commit, offset_fetch,
    produce, sync_group,
};
use head_kafka::wire::{ApiKey, Field};

/// A message that is answered by another.
pub trait Request: Field {
    const KEY: ApiKey;
    /// The newest version that is used from here, where that is not the newest there is.
    const VERSION_MAX: i16 = i16::MAX;
    type Response: Field;
}

macro_rules! requests {
    ($($key:ident: $module:ident::$request:ident => $response:ident $([..=$version_max:literal])?,)*) => { $(
        impl Request for $module::$request {
            const KEY: ApiKey = ApiKey::$key;
            $(const VERSION_MAX: i16 = $version_max;)?
            type Response = $module::$response;
        }
    )* };
}

requests! {
    ApiVersions: api_versions::ApiVersionsRequest => ApiVersionsResponse,
    CreatePartitions: create_partitions::CreatePartitionsRequest => CreatePartitionsResponse,
    CreateTopics: create_topics::CreateTopicsRequest => CreateTopicsResponse,
    DeleteGroups: delete_groups::DeleteGroupsRequest => DeleteGroupsResponse,
    DeleteRecords: delete_records::DeleteRecordsRequest => DeleteRecordsResponse,
    DeleteTopics: delete_topics::DeleteTopicsRequest => DeleteTopicsResponse,
    DescribeConfigs: describe_configs::DescribeConfigsRequest => DescribeConfigsResponse,
    DescribeGroups: describe_groups::DescribeGroupsRequest => DescribeGroupsResponse,
    DescribeLogDirs: describe_log_dirs::DescribeLogDirsRequest => DescribeLogDirsResponse,
    Fetch: fetch::FetchRequest => FetchResponse,
    FindCoordinator: find_coordinator::FindCoordinatorRequest => FindCoordinatorResponse,
    Heartbeat: heartbeat::HeartbeatRequest => HeartbeatResponse,
    IncrementalAlterConfigs: incremental_alter_configs::IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse,
    InitProducerId: init_producer_id::InitProducerIdRequest => InitProducerIdResponse,
    JoinGroup: join_group::JoinGroupRequest => JoinGroupResponse,
    LeaveGroup: leave_group::LeaveGroupRequest => LeaveGroupResponse,
    ListGroups: list_groups::ListGroupsRequest => ListGroupsResponse,
    ListOffsets: list_offsets::ListOffsetsRequest => ListOffsetsResponse,
    Metadata: metadata::MetadataRequest => MetadataResponse,
    // Topics by name: what a group has committed may be of topics that are gone.
    OffsetCommit: offset_commit::OffsetCommitRequest => OffsetCommitResponse [..=9],
    OffsetFetch: offset_fetch::OffsetFetchRequest => OffsetFetchResponse [..=9],
    Produce: produce::ProduceRequest => ProduceResponse,
    SyncGroup: sync_group::SyncGroupRequest => SyncGroupResponse,
}
