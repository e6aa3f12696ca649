// SPDX-License-Identifier: Apache-2.0
//! Topics by name: their partitions, who leads them, and which offset stands at a time.

use super::refusal::ClientError;
use super::{Client, Tries, is_ok};
use crate::nearest::nearest;
use head_kafka::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, ListOffsetsTopicResponse,
};
use head_kafka::wire::messages::metadata::MetadataTopic;
use head_kafka::wire::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::time::Duration;

/// As a time in ListOffsets: the offset after the last record.
pub const LATEST: i64 = -1;
/// The first offset.
pub const EARLIEST: i64 = -2;

/// Brokers learn of changes within milliseconds.
const SEEN_MS_MAX: u64 = 5_000;

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    pub is_internal: bool,
    /// By index.
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    /// -1: nobody, now.
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

impl From<&MetadataTopic> for Topic {
    fn from(topic: &MetadataTopic) -> Topic {
        let partition = |partition: &head_kafka::wire::messages::metadata::MetadataPartition| Partition {
            index: partition.partition_index,
            leader: partition.leader_id,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        };
        let mut partitions: Vec<Partition> = topic.partitions.iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.index);
        Topic {
            name: topic.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            id: topic.topic_id,
            is_internal: topic.is_internal,
            partitions,
        }
    }
}

impl Topic {
    /// Who leads a partition; -1: nobody, or there is no such partition.
    pub fn leader(&self, index: i32) -> i32 {
        self.partitions.iter().find(|partition| partition.index == index).map_or(-1, |partition| partition.leader)
    }

    pub fn indexes(&self) -> Vec<i32> {
        self.partitions.iter().map(|partition| partition.index).collect()
    }
}

impl Client {
    /// All topics, by name.
    pub fn topics(&mut self) -> Result<Vec<Topic>, ClientError> {
        let answer = self.metadata(None)?;
        let mut topics: Vec<Topic> = answer.topics.iter().map(Topic::from).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic, once it can be used.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] with the nearest name.
    pub fn topic(&mut self, name: &str) -> Result<Topic, ClientError> {
        let tries = Tries::within(self.timeout());
        loop {
            let answer = self.metadata(Some(&[name]))?;
            let Some(found) = answer.topics.first() else {
                return Err(self.no_topic(name));
            };
            if found.error_code == ErrorCode::UnknownTopicOrPartition.number() {
                return Err(self.no_topic(name));
            }
            if is_ok(found.error_code) && !found.partitions.is_empty() {
                return Ok(Topic::from(found));
            }
            if !tries.again_after(found.error_code) {
                return Err(ClientError::refused(format!("topic {name:?}"), found.error_code));
            }
        }
    }

    /// A topic that was made a moment ago: a broker may answer that before it sees the topic itself.
    pub fn topic_just_made(&mut self, name: &str) -> Result<Topic, ClientError> {
        let tries = Tries::within(self.timeout());
        loop {
            match self.topic(name) {
                Err(ClientError::NotFound { .. }) if tries.again() => {}
                topic => return topic,
            }
        }
    }

    /// Waits until a change that a broker has acknowledged is seen in its own answers. After [`SEEN_MS_MAX`] it goes on: whether it
    /// was done is not in question.
    pub fn wait_until_seen(
        &mut self,
        is_seen: impl Fn(&mut Client) -> Result<bool, ClientError>,
    ) -> Result<(), ClientError> {
        let tries = Tries::within(Duration::from_millis(SEEN_MS_MAX));
        while !is_seen(self)? {
            if !tries.again() {
                break;
            }
        }
        Ok(())
    }

    /// That there is no such topic, with the name that was meant if one is near.
    pub fn no_topic(&mut self, name: &str) -> ClientError {
        let names = self.topics().map(|topics| topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>());
        ClientError::NotFound {
            what: "topic",
            name: name.to_owned(),
            nearest: nearest(name, names.unwrap_or_default()),
        }
    }

    /// The first offset at or after a time (milliseconds, or [`EARLIEST`], [`LATEST`]) for some partitions; -1 where there is none.
    pub fn offsets(&mut self, topic: &Topic, at: &[(i32, i64)]) -> Result<BTreeMap<i32, i64>, ClientError> {
        let tries = Tries::within(self.timeout());
        let mut topic = topic.clone();
        let mut found = BTreeMap::new();
        loop {
            let left: Vec<(i32, i64)> = at.iter().filter(|(index, _)| !found.contains_key(index)).copied().collect();
            let mut by_leader: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
            for (partition_index, timestamp) in left {
                let partition = ListOffsetsPartition { partition_index, current_leader_epoch: -1, timestamp };
                by_leader.entry(topic.leader(partition_index)).or_default().push(partition);
            }
            let mut refused = None;
            for (leader, partitions) in by_leader {
                if leader < 0 {
                    refused = Some((partitions[0].partition_index, ErrorCode::LeaderNotAvailable.number()));
                    continue;
                }
                let request = ListOffsetsRequest {
                    replica_id: -1,
                    isolation_level: 0,
                    topics: vec![ListOffsetsTopic { name: topic.name.as_str().into(), partitions }],
                    timeout_ms: millis(self.timeout()),
                };
                let answer = self.broker(leader)?.call(&request)?;
                for partition in answer.topics.iter().flat_map(|topic: &ListOffsetsTopicResponse| &topic.partitions) {
                    if is_ok(partition.error_code) {
                        found.insert(partition.partition_index, partition.offset);
                    } else {
                        refused = Some((partition.partition_index, partition.error_code));
                    }
                }
            }
            match refused {
                None => return Ok(found),
                Some((index, error_code)) => {
                    if !tries.again_after(error_code) {
                        return Err(ClientError::refused(format!("offsets of {}-{index}", topic.name), error_code));
                    }
                    topic = self.topic(&topic.name)?;
                }
            }
        }
    }

    /// First and next offset of each partition.
    pub fn bounds(&mut self, topic: &Topic) -> Result<BTreeMap<i32, (i64, i64)>, ClientError> {
        let every =
            |timestamp| topic.partitions.iter().map(|partition| (partition.index, timestamp)).collect::<Vec<_>>();
        // The end last, so that it is never before the start.
        let starts = self.offsets(topic, &every(EARLIEST))?;
        let ends = self.offsets(topic, &every(LATEST))?;
        Ok(starts.into_iter().filter_map(|(index, start)| Some((index, (start, *ends.get(&index)?)))).collect())
    }
}

/// For a request's field.
pub fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
