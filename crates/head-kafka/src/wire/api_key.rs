// SPDX-License-Identifier: Apache-2.0
//! The kinds of request whose messages are known here, their versions, and which of them are spoken. What is not in
//! [`ApiKey::ALL`] is neither announced nor taken, though its messages may be there already.

use std::ops::RangeInclusive;

macro_rules! api_keys {
    ($($name:ident = $number:literal, $announced:expr, $flexible:literal;)*) => {
        /// A kind of request, by its number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $number,)*
        }

        impl ApiKey {
            /// The versions that are announced.
            pub fn announced(self) -> RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $announced,)*
                }
            }

            /// The protocol's name for it.
            pub fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            fn flexible_from(self) -> i16 {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }
        }
    };
}

// Number, versions as Apache Kafka 4.3.1 announces them, first "flexible" version (`i16::MAX` where there is none).
api_keys! {
    // librdkafka reads the lower end and stops compressing when it is not 0; see `taken`.
    Produce = 0, 0..=13, 9;
    Fetch = 1, 4..=18, 12;
    ListOffsets = 2, 1..=11, 6;
    Metadata = 3, 0..=13, 9;
    OffsetCommit = 8, 2..=10, 8;
    OffsetFetch = 9, 1..=10, 6;
    FindCoordinator = 10, 0..=6, 3;
    JoinGroup = 11, 0..=9, 6;
    Heartbeat = 12, 0..=4, 4;
    LeaveGroup = 13, 0..=5, 4;
    SyncGroup = 14, 0..=5, 4;
    DescribeGroups = 15, 0..=6, 5;
    ListGroups = 16, 0..=5, 3;
    ApiVersions = 18, 0..=4, 3;
    CreateTopics = 19, 2..=7, 5;
    DeleteTopics = 20, 1..=6, 4;
    DeleteRecords = 21, 0..=2, 2;
    InitProducerId = 22, 0..=5, 2;
    OffsetForLeaderEpoch = 23, 2..=4, 4;
    DescribeConfigs = 32, 1..=4, 4;
    AlterConfigs = 33, 0..=2, 2;
    AlterReplicaLogDirs = 34, 1..=2, 2;
    DescribeLogDirs = 35, 1..=5, 2;
    CreatePartitions = 37, 0..=3, 2;
    DeleteGroups = 42, 0..=2, 2;
    ElectLeaders = 43, 0..=2, 2;
    IncrementalAlterConfigs = 44, 0..=1, 1;
    AlterPartitionReassignments = 45, 0..=1, 0;
    ListPartitionReassignments = 46, 0..=0, 0;
    OffsetDelete = 47, 0..=0, 32767;
    DescribeQuorum = 55, 0..=2, 0;
    DescribeCluster = 60, 0..=2, 0;
    DescribeProducers = 61, 0..=0, 0;
    ListConfigResources = 74, 0..=1, 0;
    DescribeTopicPartitions = 75, 0..=0, 0;
}

impl ApiKey {
    /// All that are answered here, by number.
    pub const ALL: &'static [ApiKey] = &[
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::Heartbeat,
        ApiKey::LeaveGroup,
        ApiKey::SyncGroup,
        ApiKey::DescribeGroups,
        ApiKey::ListGroups,
        ApiKey::ApiVersions,
        ApiKey::CreateTopics,
        ApiKey::DeleteTopics,
        ApiKey::DeleteRecords,
        ApiKey::InitProducerId,
        ApiKey::OffsetForLeaderEpoch,
        ApiKey::DescribeConfigs,
        ApiKey::AlterConfigs,
        ApiKey::AlterReplicaLogDirs,
        ApiKey::DescribeLogDirs,
        ApiKey::CreatePartitions,
        ApiKey::DeleteGroups,
        ApiKey::ElectLeaders,
        ApiKey::IncrementalAlterConfigs,
        ApiKey::AlterPartitionReassignments,
        ApiKey::ListPartitionReassignments,
        ApiKey::OffsetDelete,
        ApiKey::DescribeQuorum,
        ApiKey::DescribeCluster,
        ApiKey::DescribeProducers,
        ApiKey::ListConfigResources,
        ApiKey::DescribeTopicPartitions,
    ];

    /// The kind of that number, if it is spoken here.
    pub fn from_number(number: i16) -> Option<ApiKey> {
        ApiKey::ALL.iter().copied().find(|key| key.number() == number)
    }

    /// Its number.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The versions that are really taken: Produce 0 to 2 are announced and refused, as Apache Kafka 4 does.
    pub fn taken(self) -> RangeInclusive<i16> {
        match self {
            ApiKey::Produce => 3..=13,
            other => other.announced(),
        }
    }

    /// From this version on, requests and responses are "flexible".
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Whether the response header has tagged fields. That of ApiVersions never has: a client that asks in a version unknown
    /// here must be able to read the answer.
    pub fn has_flexible_response_header(self, version: i16) -> bool {
        self != ApiKey::ApiVersions && self.is_flexible(version)
    }
}
