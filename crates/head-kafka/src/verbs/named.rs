// SPDX-License-Identifier: Apache-2.0
//! How much a request names: partitions, topics, groups, members, settings. Each costs work in one go, and often more room in the
//! answer than in the request, where it may be four bytes.
//!
//! No client has a use for more than [`NAMED_MAX`]. One that names more is disconnected, as is one whose lists are too long to be
//! read at all (`wire/reader.rs`).

use super::{Outcome, Request};

/// See the module.
const NAMED_MAX: usize = 200_000;

/// An element of a list that has a list of its own counts itself and what is in it.
fn with<T>(elements: &[T], inner: impl Fn(&T) -> usize) -> usize {
    elements.iter().map(|element| 1 + inner(element)).sum()
}

impl Request {
    /// # Errors
    /// Not an error: the end of a request that names too much.
    pub fn names_at_most(&self) -> Result<(), Outcome> {
        let count = self.named();
        if count > NAMED_MAX {
            return Err(Outcome::Close(format!("a request names {count} things and the limit is {NAMED_MAX}")));
        }
        Ok(())
    }

    fn named(&self) -> usize {
        match self {
            Request::ApiVersions(_)
            | Request::DescribeCluster(_)
            | Request::Heartbeat(_)
            | Request::InitProducerId(_) => 0,
            Request::AlterConfigs(request) => with(&request.resources, |resource| resource.configs.len()),
            Request::AlterPartitionReassignments(request) => with(&request.topics, |topic| {
                with(&topic.partitions, |partition| partition.replicas.as_ref().map_or(0, Vec::len))
            }),
            Request::AlterReplicaLogDirs(request) => {
                with(&request.dirs, |dir| with(&dir.topics, |topic| topic.partitions.len()))
            }
            Request::CreatePartitions(request) => with(&request.topics, |topic| {
                topic.assignments.as_ref().map_or(0, |all| with(all, |assignment| assignment.broker_ids.len()))
            }),
            Request::CreateTopics(request) => with(&request.topics, |topic| {
                with(&topic.assignments, |assignment| assignment.broker_ids.len()) + topic.configs.len()
            }),
            Request::DeleteGroups(request) => request.groups_names.len(),
            Request::DeleteRecords(request) => with(&request.topics, |topic| topic.partitions.len()),
            Request::DeleteTopics(request) => request.topics.len() + request.topic_names.len(),
            Request::DescribeConfigs(request) => {
                with(&request.resources, |resource| resource.configuration_keys.as_ref().map_or(0, Vec::len))
            }
            Request::DescribeGroups(request) => request.groups.len(),
            Request::DescribeLogDirs(request) => {
                request.topics.as_ref().map_or(0, |topics| with(topics, |topic| topic.partitions.len()))
            }
            Request::DescribeProducers(request) => with(&request.topics, |topic| topic.partition_indexes.len()),
            Request::DescribeQuorum(request) => with(&request.topics, |topic| topic.partitions.len()),
            Request::DescribeTopicPartitions(request) => request.topics.len(),
            Request::ElectLeaders(request) => {
                request.topic_partitions.as_ref().map_or(0, |topics| with(topics, |topic| topic.partitions.len()))
            }
            Request::Fetch(request) => {
                with(&request.topics, |topic| topic.partitions.len())
                    + with(&request.forgotten_topics_data, |topic| topic.partitions.len())
            }
            Request::FindCoordinator(request) => request.coordinator_keys.len(),
            Request::IncrementalAlterConfigs(request) => with(&request.resources, |resource| resource.configs.len()),
            Request::JoinGroup(request) => request.protocols.len(),
            Request::LeaveGroup(request) => request.members.len(),
            Request::ListConfigResources(request) => request.resource_types.len(),
            Request::ListGroups(request) => request.states_filter.len() + request.types_filter.len(),
            Request::ListOffsets(request) => with(&request.topics, |topic| topic.partitions.len()),
            Request::ListPartitionReassignments(request) => {
                request.topics.as_ref().map_or(0, |topics| with(topics, |topic| topic.partition_indexes.len()))
            }
            Request::Metadata(request) => request.topics.as_ref().map_or(0, Vec::len),
            Request::OffsetCommit(request) => with(&request.topics, |topic| topic.partitions.len()),
            Request::OffsetDelete(request) => with(&request.topics, |topic| topic.partitions.len()),
            Request::OffsetFetch(request) => {
                let of_one = request.topics.as_ref();
                of_one.map_or(0, |topics| with(topics, |topic| topic.partition_indexes.len()))
                    + with(&request.groups, |group| {
                        group.topics.as_ref().map_or(0, |all| with(all, |topic| topic.partition_indexes.len()))
                    })
            }
            Request::OffsetForLeaderEpoch(request) => with(&request.topics, |topic| topic.partitions.len()),
            Request::Produce(request) => with(&request.topic_data, |topic| topic.partition_data.len()),
            Request::SyncGroup(request) => request.assignments.len(),
        }
    }
}
