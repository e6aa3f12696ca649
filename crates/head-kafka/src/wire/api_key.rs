// SPDX-License-Identifier: Apache-2.0
//! The kinds of request that are spoken here, and their versions. What is not in this table is not announced.

use std::ops::RangeInclusive;

/// A kind of request, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    FindCoordinator = 10,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    InitProducerId = 22,
}

impl ApiKey {
    /// All of them, by number.
    pub const ALL: [ApiKey; 9] = [
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::FindCoordinator,
        ApiKey::ApiVersions,
        ApiKey::CreateTopics,
        ApiKey::DeleteTopics,
        ApiKey::InitProducerId,
    ];

    /// The kind of that number, if it is spoken here.
    pub fn from_number(number: i16) -> Option<ApiKey> {
        ApiKey::ALL.into_iter().find(|key| key.number() == number)
    }

    /// Its number.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The versions that are announced.
    pub fn announced(self) -> RangeInclusive<i16> {
        match self {
            // librdkafka reads the lower end and stops compressing when it is not 0; see `taken`.
            ApiKey::Produce => 0..=13,
            ApiKey::Fetch => 4..=18,
            ApiKey::ListOffsets => 1..=11,
            ApiKey::Metadata => 0..=13,
            ApiKey::FindCoordinator => 0..=6,
            ApiKey::ApiVersions => 0..=4,
            ApiKey::CreateTopics => 2..=7,
            ApiKey::DeleteTopics => 1..=6,
            ApiKey::InitProducerId => 0..=5,
        }
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
        let from = match self {
            ApiKey::Produce => 9,
            ApiKey::Fetch => 12,
            ApiKey::ListOffsets => 6,
            ApiKey::Metadata => 9,
            ApiKey::FindCoordinator => 3,
            ApiKey::ApiVersions => 3,
            ApiKey::CreateTopics => 5,
            ApiKey::DeleteTopics => 4,
            ApiKey::InitProducerId => 2,
        };
        version >= from
    }

    /// Whether the response header has tagged fields. That of ApiVersions never has: a client that asks in a version unknown
    /// here must be able to read the answer.
    pub fn has_flexible_response_header(self, version: i16) -> bool {
        self != ApiKey::ApiVersions && self.is_flexible(version)
    }
}
