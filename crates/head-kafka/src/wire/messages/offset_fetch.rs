// SPDX-License-Identifier: Apache-2.0
//! OffsetFetch: one group up to version 7, several from then on; topics by name up to version 9, by id from then on.

use crate::wire::{Text, Uuid};

crate::wire::field::messages! {
    /// Versions 1 to 10.
    OffsetFetchRequest {
        group_id: Text [..=7 => Text::EMPTY],
        /// Null, from version 2 on: everything that is committed.
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7 => None],
        groups: Vec<OffsetFetchRequestGroup> [8.. => Vec::new()],
        require_stable: bool [7.. => false],
    }

    OffsetFetchRequestTopic {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    OffsetFetchRequestGroup {
        group_id: Text,
        member_id: Option<Text> [9.. => None],
        member_epoch: i32 [9.. => -1],
        /// Null: everything that is committed.
        topics: Option<Vec<OffsetFetchRequestTopics>>,
    }

    OffsetFetchRequestTopics {
        name: Text [..=9 => Text::EMPTY],
        topic_id: Uuid [10.. => [0; 16]],
        partition_indexes: Vec<i32>,
    }

    OffsetFetchResponse {
        throttle_time_ms: i32 [3.. => 0],
        topics: Vec<OffsetFetchResponseTopic> [..=7 => Vec::new()],
        error_code: i16 [2..=7 => 0],
        groups: Vec<OffsetFetchResponseGroup> [8.. => Vec::new()],
    }

    OffsetFetchResponseTopic {
        name: Text,
        partitions: Vec<OffsetFetchResponsePartition>,
    }

    /// One layout for one group and for several, in whose versions the epoch always is.
    OffsetFetchResponsePartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [5.. => -1],
        metadata: Option<Text>,
        error_code: i16,
    }

    OffsetFetchResponseGroup {
        group_id: Text,
        topics: Vec<OffsetFetchResponseTopics>,
        error_code: i16,
    }

    OffsetFetchResponseTopics {
        name: Text [..=9 => Text::EMPTY],
        topic_id: Uuid [10.. => [0; 16]],
        partitions: Vec<OffsetFetchResponsePartition>,
    }
}
