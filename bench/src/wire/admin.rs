// SPDX-License-Identifier: Apache-2.0
//! Topics, settings, and what a broker says about itself and about its partitions.
//!
//! Each request at the last version before the flexible ones, where it has one.

use super::codec::{Decoder, Malformed};
use super::{Api, Code, Connection, TopicUuid, WireError, first_error};
use std::collections::BTreeMap;

/// What has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Resource {
    Topic = 2,
    Broker = 4,
    Group = 32,
}

impl Resource {
    /// The source of the settings that were given to it by itself. For the broker that is: to all brokers.
    fn own_source(self) -> i8 {
        match self {
            Resource::Topic => 1,
            Resource::Broker => 3,
            Resource::Group => 8,
        }
    }
}

/// How one setting changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    Set(&'a str),
    Delete,
}

/// What a partition knows of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedProducer {
    pub id: i64,
    pub epoch: i32,
    pub last_sequence: i32,
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedCluster {
    pub id: String,
    pub controller: i32,
    pub brokers: Vec<i32>,
}

fn told<T>(code: Code, value: T) -> Result<Result<T, Code>, Malformed> {
    Ok(if code == Code::NONE { Ok(value) } else { Err(code) })
}

/// Reads an array of (topic, array of (partition, code)) and answers the first code that is not `NONE`.
fn first_of_partitions(answer: &mut Decoder<'_>) -> Result<Result<(), Code>, Malformed> {
    let mut first = Code::NONE;
    for _ in 0..answer.count()? {
        answer.string()?;
        for _ in 0..answer.count()? {
            answer.i32()?;
            let code = Code(answer.i16()?);
            if first == Code::NONE {
                first = code;
            }
        }
    }
    told(first, ())
}

/// Reads an array of (code, message, type, name) and answers the first code that is not `NONE`.
fn first_of_resources(answer: &mut Decoder<'_>) -> Result<Result<(), Code>, Malformed> {
    answer.i32()?;
    let mut first = Code::NONE;
    for _ in 0..answer.count()? {
        let code = Code(answer.i16()?);
        answer.string()?;
        answer.i8()?;
        answer.string()?;
        if first == Code::NONE {
            first = code;
        }
    }
    told(first, ())
}

impl Connection {
    /// A topic is to have `count` partitions.
    pub fn create_partitions(&mut self, topic: &str, count: i32) -> Result<(), WireError> {
        self.begin(Api::CreatePartitions).count(1).string(topic).i32(count).i32(-1).i32(30_000).bool(false);
        self.ask(Api::CreatePartitions, |answer| {
            answer.i32()?;
            first_error(answer, |answer| answer.string().map(drop))
        })
    }

    /// Records before `offset` (-1: all) go. Answers where the partition starts now.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64, WireError> {
        let request = self.begin(Api::DeleteRecords);
        request.count(1).string(topic).count(1).i32(partition).i64(offset).i32(30_000);
        self.ask(Api::DeleteRecords, |answer| {
            answer.i32()?;
            if answer.count()? != 1 || answer.string()?.is_none() || answer.count()? != 1 {
                return Err(Malformed("one partition was asked for"));
            }
            answer.i32()?;
            let start = answer.i64()?;
            told(Code(answer.i16()?), start)
        })
    }

    /// The settings that were given to a resource itself.
    pub fn given_settings(&mut self, kind: Resource, name: &str) -> Result<BTreeMap<String, String>, WireError> {
        self.begin(Api::DescribeConfigs).count(1).i8(kind as i8).string(name).i32(-1).bool(false);
        self.ask(Api::DescribeConfigs, |answer| {
            answer.i32()?;
            if answer.count()? != 1 {
                return Err(Malformed("one resource was asked for"));
            }
            let code = Code(answer.i16()?);
            answer.string()?;
            answer.i8()?;
            answer.string()?;
            let mut given = BTreeMap::new();
            for _ in 0..answer.count()? {
                let name = answer.string()?.unwrap_or_default().to_owned();
                let value = answer.string()?.unwrap_or_default().to_owned();
                answer.i8()?;
                let source = answer.i8()?;
                answer.i8()?;
                for _ in 0..answer.count()? {
                    answer.string()?;
                    answer.string()?;
                    answer.i8()?;
                }
                if source == kind.own_source() {
                    given.insert(name, value);
                }
            }
            told(code, given)
        })
    }

    /// A resource has these settings from now on and no others.
    pub fn alter_settings(
        &mut self,
        kind: Resource,
        name: &str,
        settings: &BTreeMap<String, String>,
    ) -> Result<(), WireError> {
        let request = self.begin(Api::AlterConfigs).count(1).i8(kind as i8).string(name).count(settings.len());
        for (name, value) in settings {
            request.string(name).string(value);
        }
        request.bool(false);
        self.ask(Api::AlterConfigs, first_of_resources)
    }

    /// One setting of a resource changes.
    pub fn change_setting(
        &mut self,
        kind: Resource,
        name: &str,
        setting: &str,
        change: Change<'_>,
    ) -> Result<(), WireError> {
        let request = self.begin(Api::IncrementalAlterConfigs);
        request.count(1).i8(kind as i8).string(name).count(1).string(setting);
        match change {
            Change::Set(value) => request.i8(0).string(value),
            Change::Delete => request.i8(1).nullable_string(None),
        };
        request.bool(false);
        self.ask(Api::IncrementalAlterConfigs, first_of_resources)
    }

    /// Where the records of a leader epoch end.
    pub fn epoch_end(&mut self, topic: &str, partition: i32, epoch: i32) -> Result<i64, WireError> {
        let request = self.begin(Api::OffsetForLeaderEpoch);
        request.i32(-1).count(1).string(topic).count(1).i32(partition).i32(-1).i32(epoch);
        self.ask(Api::OffsetForLeaderEpoch, |answer| {
            answer.i32()?;
            if answer.count()? != 1 || answer.string()?.is_none() || answer.count()? != 1 {
                return Err(Malformed("one partition was asked for"));
            }
            let code = Code(answer.i16()?);
            answer.i32()?;
            answer.i32()?;
            told(code, answer.i64()?)
        })
    }

    /// Who has written to a partition.
    pub fn describe_producers(&mut self, topic: &str, partition: i32) -> Result<Vec<DescribedProducer>, WireError> {
        let request = self.begin(Api::DescribeProducers).compact_count(1).compact_string(topic);
        request.compact_count(1).i32(partition).tags().tags();
        self.ask(Api::DescribeProducers, |answer| {
            answer.i32()?;
            if answer.compact_count()? != 1 || answer.compact_string()?.is_none() || answer.compact_count()? != 1 {
                return Err(Malformed("one partition was asked for"));
            }
            answer.i32()?;
            let code = Code(answer.i16()?);
            answer.compact_string()?;
            let mut producers = Vec::new();
            for _ in 0..answer.compact_count()? {
                let (id, epoch, last_sequence) = (answer.i64()?, answer.i32()?, answer.i32()?);
                answer.i64()?;
                answer.i32()?;
                answer.i64()?;
                answer.tags()?;
                producers.push(DescribedProducer { id, epoch, last_sequence });
            }
            told(code, producers)
        })
    }

    /// A topic's id and how many partitions it has, as told in pages.
    pub fn describe_topic_partitions(&mut self, topic: &str) -> Result<(TopicUuid, usize), WireError> {
        let request = self.begin(Api::DescribeTopicPartitions).compact_count(1).compact_string(topic).tags();
        // No cursor.
        request.i32(2_000).i8(-1).tags();
        self.ask(Api::DescribeTopicPartitions, |answer| {
            answer.i32()?;
            if answer.compact_count()? != 1 {
                return Err(Malformed("one topic was asked for"));
            }
            let code = Code(answer.i16()?);
            answer.compact_string()?;
            let id = answer.uuid()?;
            answer.i8()?;
            told(code, (id, answer.compact_count()?))
        })
    }

    /// Who serves.
    pub fn describe_cluster(&mut self) -> Result<DescribedCluster, WireError> {
        self.begin(Api::DescribeCluster).bool(false).tags();
        self.ask(Api::DescribeCluster, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            answer.compact_string()?;
            let id = answer.compact_string()?.unwrap_or_default().to_owned();
            let controller = answer.i32()?;
            let mut brokers = Vec::new();
            for _ in 0..answer.compact_count()? {
                brokers.push(answer.i32()?);
                answer.compact_string()?;
                answer.i32()?;
                answer.compact_string()?;
                answer.tags()?;
            }
            told(code, DescribedCluster { id, controller, brokers })
        })
    }

    /// How many topics have something in the log directories.
    pub fn describe_log_dirs(&mut self) -> Result<usize, WireError> {
        self.begin(Api::DescribeLogDirs).i32(-1);
        self.ask(Api::DescribeLogDirs, |answer| {
            answer.i32()?;
            let (mut first, mut topics) = (Code::NONE, 0);
            for _ in 0..answer.count()? {
                let code = Code(answer.i16()?);
                if first == Code::NONE {
                    first = code;
                }
                answer.string()?;
                for _ in 0..answer.count()? {
                    topics += 1;
                    answer.string()?;
                    for _ in 0..answer.count()? {
                        answer.i32()?;
                        answer.i64()?;
                        answer.i64()?;
                        answer.i8()?;
                    }
                }
            }
            told(first, topics)
        })
    }

    /// Who leads the quorum of the cluster's metadata.
    pub fn describe_quorum(&mut self) -> Result<i32, WireError> {
        let request = self.begin(Api::DescribeQuorum).compact_count(1).compact_string("__cluster_metadata");
        request.compact_count(1).i32(0).tags().tags().tags();
        self.ask(Api::DescribeQuorum, |answer| {
            let code = Code(answer.i16()?);
            if answer.compact_count()? != 1 || answer.compact_string()?.is_none() || answer.compact_count()? != 1 {
                return Err(Malformed("one partition was asked for"));
            }
            answer.i32()?;
            let of_partition = Code(answer.i16()?);
            told(if code == Code::NONE { of_partition } else { code }, answer.i32()?)
        })
    }

    /// Resources of clients' metrics.
    pub fn list_config_resources(&mut self) -> Result<usize, WireError> {
        self.begin(Api::ListConfigResources).tags();
        self.ask(Api::ListConfigResources, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            told(code, answer.compact_count()?)
        })
    }

    /// Partitions that are being moved.
    pub fn list_partition_reassignments(&mut self) -> Result<usize, WireError> {
        self.begin(Api::ListPartitionReassignments).i32(30_000).compact_null().tags();
        self.ask(Api::ListPartitionReassignments, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            answer.compact_string()?;
            told(code, answer.compact_count()?)
        })
    }

    /// A partition is to be on that broker alone.
    pub fn move_partition(&mut self, topic: &str, partition: i32, broker: i32) -> Result<(), WireError> {
        let request = self.begin(Api::AlterPartitionReassignments);
        request.i32(30_000).compact_count(1).compact_string(topic).compact_count(1).i32(partition);
        request.compact_count(1).i32(broker).tags().tags().tags();
        self.ask(Api::AlterPartitionReassignments, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            answer.compact_string()?;
            if answer.compact_count()? != 1 || answer.compact_string()?.is_none() || answer.compact_count()? != 1 {
                return Err(Malformed("one partition was asked for"));
            }
            answer.i32()?;
            let of_partition = Code(answer.i16()?);
            told(if code == Code::NONE { of_partition } else { code }, ())
        })
    }

    /// A partition is to lie in that directory.
    pub fn move_log_dir(&mut self, folder: &str, topic: &str, partition: i32) -> Result<(), WireError> {
        let request = self.begin(Api::AlterReplicaLogDirs);
        request.count(1).string(folder).count(1).string(topic).count(1).i32(partition);
        self.ask(Api::AlterReplicaLogDirs, |answer| {
            answer.i32()?;
            first_of_partitions(answer)
        })
    }

    /// The preferred leader of a partition is to lead it.
    pub fn elect_leader(&mut self, topic: &str, partition: i32) -> Result<(), WireError> {
        let request = self.begin(Api::ElectLeaders).i8(0);
        request.count(1).string(topic).count(1).i32(partition).i32(30_000);
        self.ask(Api::ElectLeaders, |answer| {
            answer.i32()?;
            let mut first = Code(answer.i16()?);
            for _ in 0..answer.count()? {
                answer.string()?;
                for _ in 0..answer.count()? {
                    answer.i32()?;
                    let code = Code(answer.i16()?);
                    answer.string()?;
                    if first == Code::NONE {
                        first = code;
                    }
                }
            }
            told(first, ())
        })
    }
}
