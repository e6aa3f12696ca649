// SPDX-License-Identifier: Apache-2.0
//! The requests, one kind a file.
//!
//! A verb is started with its decoded request and either has its outcome at once or is *running*: it has sent commands, and gets
//! their replies by the number it gave each (`part`). Only Fetch also waits for time and for watches.

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod asks;
mod config_changes;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
mod named;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
mod partition_walk;
pub mod produce;
mod sent;
pub mod sync_group;
mod topic_defaults;

use crate::Settings;
use crate::coordinator::messages::{Answer, Ask};
use crate::map;
use crate::random::Random;
use crate::wire::messages as wire;
use crate::wire::{ApiKey, ErrorCode, Field, Format, Malformed, Reader, Text, Writer};
use asks::Coordinated;
use bytes::Bytes;
use fetch::FetchMemory;
use kernel::error::CoordinatorError;
use kernel::{Catalog, Command, Ctx, Reply};
use model::{Now, ShardId, Ticket};
use std::collections::VecDeque;

/// What a verb sees of the session.
pub struct Cx<'a> {
    pub now: Now,
    pub catalog: &'a Catalog,
    pub settings: &'a Settings,
    pub who: &'a Ctx,
    /// Where the client is.
    pub client_host: &'a str,
    pub random: &'a mut Random,
    pub fetches: &'a mut FetchMemory,
    pub commands: &'a mut VecDeque<(ShardId, Ticket, Command)>,
    /// Of the request, within the connection.
    pub sequence: u32,
    pub correlation_id: i32,
    pub key: ApiKey,
    pub format: Format,
}

/// How a request ends.
pub enum Outcome {
    /// With a response frame, in pieces; and the first error number in it, for the figures.
    Answer { pieces: Vec<Bytes>, error_code: i16 },
    /// Without: the client wants none.
    Silent,
    /// With the connection.
    Close(String),
}

impl Cx<'_> {
    /// Sends a command; its reply comes back to this request with the same `part`.
    pub fn send(&mut self, part: u32, (shard, command): (ShardId, Command)) {
        let ticket = Ticket(u64::from(self.sequence) << 32 | u64::from(part));
        self.commands.push_back((shard, ticket, command));
    }

    /// Asks the group coordinator; its answer is the only reply to this request.
    pub fn ask(&mut self, ask: &Ask) {
        self.send(0, map::ask(self.catalog, self.who, ask));
    }

    pub fn answer(&self, body: &impl Field, error_code: i16) -> Outcome {
        self.answer_as(self.format, body, error_code)
    }

    /// An answer in another layout than the request's.
    pub fn answer_as(&self, format: Format, body: &impl Field, error_code: i16) -> Outcome {
        let mut writer = Writer::response(self.correlation_id, self.key.has_flexible_response_header(format.version));
        body.write(&mut writer, format);
        Outcome::Answer { pieces: writer.finish(), error_code }
    }
}

/// A decoded request.
pub enum Request {
    AlterConfigs(wire::alter_configs::AlterConfigsRequest),
    AlterPartitionReassignments(wire::alter_partition_reassignments::AlterPartitionReassignmentsRequest),
    AlterReplicaLogDirs(wire::alter_replica_log_dirs::AlterReplicaLogDirsRequest),
    ApiVersions(Option<wire::api_versions::ApiVersionsRequest>),
    CreatePartitions(wire::create_partitions::CreatePartitionsRequest),
    CreateTopics(wire::create_topics::CreateTopicsRequest),
    DeleteGroups(wire::delete_groups::DeleteGroupsRequest),
    DeleteRecords(wire::delete_records::DeleteRecordsRequest),
    DeleteTopics(wire::delete_topics::DeleteTopicsRequest),
    DescribeCluster(wire::describe_cluster::DescribeClusterRequest),
    DescribeConfigs(wire::describe_configs::DescribeConfigsRequest),
    DescribeGroups(wire::describe_groups::DescribeGroupsRequest),
    DescribeLogDirs(wire::describe_log_dirs::DescribeLogDirsRequest),
    DescribeProducers(wire::describe_producers::DescribeProducersRequest),
    DescribeQuorum(wire::describe_quorum::DescribeQuorumRequest),
    DescribeTopicPartitions(wire::describe_topic_partitions::DescribeTopicPartitionsRequest),
    ElectLeaders(wire::elect_leaders::ElectLeadersRequest),
    Fetch(wire::fetch::FetchRequest),
    FindCoordinator(wire::find_coordinator::FindCoordinatorRequest),
    Heartbeat(wire::heartbeat::HeartbeatRequest),
    IncrementalAlterConfigs(wire::incremental_alter_configs::IncrementalAlterConfigsRequest),
    InitProducerId(wire::init_producer_id::InitProducerIdRequest),
    JoinGroup(wire::join_group::JoinGroupRequest),
    LeaveGroup(wire::leave_group::LeaveGroupRequest),
    ListConfigResources(wire::list_config_resources::ListConfigResourcesRequest),
    ListGroups(wire::list_groups::ListGroupsRequest),
    ListOffsets(wire::list_offsets::ListOffsetsRequest),
    ListPartitionReassignments(wire::list_partition_reassignments::ListPartitionReassignmentsRequest),
    Metadata(wire::metadata::MetadataRequest),
    OffsetCommit(wire::offset_commit::OffsetCommitRequest),
    OffsetDelete(wire::offset_delete::OffsetDeleteRequest),
    OffsetFetch(wire::offset_fetch::OffsetFetchRequest),
    OffsetForLeaderEpoch(wire::offset_for_leader_epoch::OffsetForLeaderEpochRequest),
    Produce(wire::produce::ProduceRequest),
    SyncGroup(wire::sync_group::SyncGroupRequest),
}

impl Request {
    /// Decodes `body`; says also how many bytes of memory that took beside the body itself.
    ///
    /// Bytes left over are passed over, as Apache Kafka does: librdkafka 2.16 asks for all topics (Metadata 9 and later) with
    /// three bytes too many. They stand in the request's own frame, so they cannot be taken for anything else.
    ///
    /// # Errors
    /// It is not such a request.
    pub fn read(key: ApiKey, format: Format, body: Bytes) -> Result<(Request, usize), Malformed> {
        let reader = &mut Reader::new(body);
        let request = match key {
            // Its body is of a layout unknown here; the answer does not depend on it.
            ApiKey::ApiVersions if !key.taken().contains(&format.version) => {
                return Ok((Request::ApiVersions(None), 0));
            }
            ApiKey::ApiVersions => Request::ApiVersions(Some(Field::read(reader, format)?)),
            ApiKey::AlterConfigs => Request::AlterConfigs(Field::read(reader, format)?),
            ApiKey::AlterPartitionReassignments => Request::AlterPartitionReassignments(Field::read(reader, format)?),
            ApiKey::AlterReplicaLogDirs => Request::AlterReplicaLogDirs(Field::read(reader, format)?),
            ApiKey::CreatePartitions => Request::CreatePartitions(Field::read(reader, format)?),
            ApiKey::CreateTopics => Request::CreateTopics(Field::read(reader, format)?),
            ApiKey::DeleteGroups => Request::DeleteGroups(Field::read(reader, format)?),
            ApiKey::DeleteRecords => Request::DeleteRecords(Field::read(reader, format)?),
            ApiKey::DeleteTopics => Request::DeleteTopics(Field::read(reader, format)?),
            ApiKey::DescribeCluster => Request::DescribeCluster(Field::read(reader, format)?),
            ApiKey::DescribeConfigs => Request::DescribeConfigs(Field::read(reader, format)?),
            ApiKey::DescribeGroups => Request::DescribeGroups(Field::read(reader, format)?),
            ApiKey::DescribeLogDirs => Request::DescribeLogDirs(Field::read(reader, format)?),
            ApiKey::DescribeProducers => Request::DescribeProducers(Field::read(reader, format)?),
            ApiKey::DescribeQuorum => Request::DescribeQuorum(Field::read(reader, format)?),
            ApiKey::DescribeTopicPartitions => Request::DescribeTopicPartitions(Field::read(reader, format)?),
            ApiKey::ElectLeaders => Request::ElectLeaders(Field::read(reader, format)?),
            ApiKey::Fetch => Request::Fetch(Field::read(reader, format)?),
            ApiKey::FindCoordinator => Request::FindCoordinator(Field::read(reader, format)?),
            ApiKey::Heartbeat => Request::Heartbeat(Field::read(reader, format)?),
            ApiKey::IncrementalAlterConfigs => Request::IncrementalAlterConfigs(Field::read(reader, format)?),
            ApiKey::InitProducerId => Request::InitProducerId(Field::read(reader, format)?),
            ApiKey::JoinGroup => Request::JoinGroup(Field::read(reader, format)?),
            ApiKey::LeaveGroup => Request::LeaveGroup(Field::read(reader, format)?),
            ApiKey::ListConfigResources => Request::ListConfigResources(Field::read(reader, format)?),
            ApiKey::ListGroups => Request::ListGroups(Field::read(reader, format)?),
            ApiKey::ListOffsets => Request::ListOffsets(Field::read(reader, format)?),
            ApiKey::ListPartitionReassignments => Request::ListPartitionReassignments(Field::read(reader, format)?),
            ApiKey::Metadata => Request::Metadata(Field::read(reader, format)?),
            ApiKey::OffsetCommit => Request::OffsetCommit(Field::read(reader, format)?),
            ApiKey::OffsetDelete => Request::OffsetDelete(Field::read(reader, format)?),
            ApiKey::OffsetFetch => Request::OffsetFetch(Field::read(reader, format)?),
            ApiKey::OffsetForLeaderEpoch => Request::OffsetForLeaderEpoch(Field::read(reader, format)?),
            ApiKey::Produce => Request::Produce(Field::read(reader, format)?),
            ApiKey::SyncGroup => Request::SyncGroup(Field::read(reader, format)?),
        };
        Ok((request, reader.decoded_bytes()))
    }
}

/// A request whose outcome is not known yet.
pub enum Running {
    ConfigChanges(config_changes::Running),
    CreatePartitions(create_partitions::Running),
    CreateTopics(create_topics::Running),
    DeleteGroups(delete_groups::Running),
    DeleteRecords(delete_records::Running),
    DeleteTopics(delete_topics::Running),
    DescribeConfigs(describe_configs::Running),
    DescribeGroups(describe_groups::Running),
    DescribeLogDirs(describe_log_dirs::Running),
    DescribeProducers(describe_producers::Running),
    Fetch(Box<fetch::Running>),
    Heartbeat,
    InitProducerId,
    JoinGroup(join_group::Running),
    LeaveGroup,
    ListConfigResources(list_config_resources::Running),
    ListGroups,
    ListOffsets(list_offsets::Running),
    Metadata(metadata::Running),
    OffsetCommit(offset_commit::Running),
    OffsetDelete(offset_delete::Running),
    OffsetFetch(offset_fetch::Running),
    OffsetForLeaderEpoch(offset_for_leader_epoch::Running),
    Produce(produce::Running),
    SyncGroup,
}

/// Starts a request of a client that calls itself `client_id`.
///
/// # Errors
/// Not an error: its outcome, when that is known at once.
pub fn start(cx: &mut Cx<'_>, client_id: &Text, request: Request) -> Result<Running, Outcome> {
    request.names_at_most()?;
    match request {
        Request::AlterConfigs(request) => alter_configs::start(cx, request).map(Running::ConfigChanges),
        Request::AlterPartitionReassignments(request) => Err(alter_partition_reassignments::answer(cx, request)),
        Request::AlterReplicaLogDirs(request) => Err(alter_replica_log_dirs::answer(cx, request)),
        Request::ApiVersions(request) => Err(api_versions::answer(cx, request)),
        Request::CreatePartitions(request) => create_partitions::start(cx, request).map(Running::CreatePartitions),
        Request::CreateTopics(request) => create_topics::start(cx, request).map(Running::CreateTopics),
        Request::DeleteGroups(request) => delete_groups::start(cx, request).map(Running::DeleteGroups),
        Request::DeleteRecords(request) => delete_records::start(cx, request).map(Running::DeleteRecords),
        Request::DeleteTopics(request) => delete_topics::start(cx, request).map(Running::DeleteTopics),
        Request::DescribeCluster(request) => Err(describe_cluster::answer(cx, request)),
        Request::DescribeConfigs(request) => describe_configs::start(cx, request).map(Running::DescribeConfigs),
        Request::DescribeGroups(request) => describe_groups::start(cx, request).map(Running::DescribeGroups),
        Request::DescribeLogDirs(request) => describe_log_dirs::start(cx, request).map(Running::DescribeLogDirs),
        Request::DescribeProducers(request) => describe_producers::start(cx, request).map(Running::DescribeProducers),
        Request::DescribeQuorum(request) => Err(describe_quorum::answer(cx, request)),
        Request::DescribeTopicPartitions(request) => Err(describe_topic_partitions::answer(cx, request)),
        Request::ElectLeaders(request) => Err(elect_leaders::answer(cx, request)),
        Request::Fetch(request) => fetch::start(cx, request).map(|running| Running::Fetch(Box::new(running))),
        Request::FindCoordinator(request) => Err(find_coordinator::answer(cx, request)),
        Request::Heartbeat(request) => heartbeat::start(cx, request).map(|()| Running::Heartbeat),
        Request::IncrementalAlterConfigs(request) => {
            incremental_alter_configs::start(cx, request).map(Running::ConfigChanges)
        }
        Request::InitProducerId(request) => init_producer_id::start(cx, request).map(|()| Running::InitProducerId),
        Request::JoinGroup(request) => join_group::start(cx, client_id, request).map(Running::JoinGroup),
        Request::LeaveGroup(request) => leave_group::start(cx, request).map(|()| Running::LeaveGroup),
        Request::ListConfigResources(request) => {
            list_config_resources::start(cx, request).map(Running::ListConfigResources)
        }
        Request::ListGroups(request) => {
            list_groups::start(cx, request);
            Ok(Running::ListGroups)
        }
        Request::ListOffsets(request) => list_offsets::start(cx, request).map(Running::ListOffsets),
        Request::ListPartitionReassignments(request) => Err(list_partition_reassignments::answer(cx, request)),
        Request::Metadata(request) => metadata::start(cx, request).map(Running::Metadata),
        Request::OffsetCommit(request) => offset_commit::start(cx, request).map(Running::OffsetCommit),
        Request::OffsetDelete(request) => offset_delete::start(cx, request).map(Running::OffsetDelete),
        Request::OffsetFetch(request) => offset_fetch::start(cx, request).map(Running::OffsetFetch),
        Request::OffsetForLeaderEpoch(request) => {
            offset_for_leader_epoch::start(cx, request).map(Running::OffsetForLeaderEpoch)
        }
        Request::Produce(request) => produce::start(cx, request).map(Running::Produce),
        Request::SyncGroup(request) => sync_group::start(cx, request).map(|()| Running::SyncGroup),
    }
}

impl Running {
    /// Takes the reply to the command sent with that `part`.
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, reply: Reply) -> Option<Outcome> {
        match (self, reply) {
            (Running::CreateTopics(running), Reply::Declared(result)) => running.reply(cx, part, result),
            (Running::CreateTopics(running), Reply::Coordinated(result)) => running.defaults(cx, result),
            (Running::DeleteTopics(running), Reply::Deleted(result)) => running.reply(cx, part, result),
            (Running::Fetch(running), Reply::Read(result)) => running.reply(cx, part, result),
            (Running::InitProducerId, Reply::Producer(result)) => Some(init_producer_id::reply(cx, result)),
            (Running::ListOffsets(running), Reply::Located(result)) => running.reply(cx, part, result),
            (Running::Metadata(running), Reply::Declared(result)) => running.reply(cx, part, result),
            (Running::Metadata(running), Reply::Coordinated(result)) => running.defaults(cx, result),
            (Running::ConfigChanges(running), reply) => running.reply(cx, part, reply),
            (Running::CreatePartitions(running), Reply::Altered(result)) => running.reply(cx, part, result),
            (Running::DeleteRecords(running), Reply::Trimmed(result)) => running.reply(cx, part, result),
            (Running::DescribeConfigs(running), Reply::Coordinated(result)) => running.reply(cx, result),
            (Running::DescribeLogDirs(running), Reply::Described(result)) => running.reply(cx, part, result),
            (Running::DescribeProducers(running), Reply::Described(result)) => running.reply(cx, part, result),
            (Running::ListConfigResources(running), Reply::Coordinated(result)) => running.reply(cx, result),
            (Running::OffsetForLeaderEpoch(running), Reply::Located(result)) => running.reply(cx, part, result),
            (Running::Produce(running), Reply::Published(result)) => running.reply(cx, part, result),
            (running, Reply::Coordinated(result)) => running.coordinated(cx, part, result),
            (_, _) => Some(mixed_up()),
        }
    }

    /// Takes an answer of the group coordinator.
    fn coordinated(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Bytes, CoordinatorError>) -> Option<Outcome> {
        let bytes = result.as_ref().map_or(0, Bytes::len);
        let answer = match result.map(Answer::decode) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => return Some(mixed_up()),
            Err(error) => Err(error),
        };
        let coordinated = Coordinated { answer, bytes };
        match self {
            Running::DeleteGroups(running) => running.reply(cx, part, coordinated),
            Running::DescribeGroups(running) => running.reply(cx, part, coordinated),
            Running::Heartbeat => Some(heartbeat::reply(cx, coordinated)),
            Running::JoinGroup(running) => Some(running.reply(cx, coordinated)),
            Running::LeaveGroup => Some(leave_group::reply(cx, coordinated)),
            Running::ListGroups => Some(list_groups::reply(cx, coordinated)),
            Running::OffsetCommit(running) => Some(running.reply(cx, coordinated)),
            Running::OffsetDelete(running) => Some(running.reply(cx, coordinated)),
            Running::OffsetFetch(running) => running.reply(cx, part, coordinated),
            Running::SyncGroup => Some(sync_group::reply(cx, coordinated)),
            _ => Some(mixed_up()),
        }
    }

    /// It is answered when other members of a group do something: nobody can say when.
    pub fn waits_for_others(&self) -> bool {
        matches!(self, Running::JoinGroup(_) | Running::SyncGroup)
    }
}

/// The end of a connection whose driver mixed up its tickets: an answer made of such a reply would be a lie.
fn mixed_up() -> Outcome {
    Outcome::Close("a reply came for a command of another kind".to_owned())
}

/// The first error among these numbers.
pub fn first_error(codes: impl IntoIterator<Item = i16>) -> i16 {
    codes.into_iter().find(|code| *code != 0).unwrap_or(ErrorCode::None.number())
}
