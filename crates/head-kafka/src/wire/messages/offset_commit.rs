// SPDX-License-Identifier: Apache-2.0
//! OffsetCommit: topics by name up to version 9, by id from then on. The retention of versions 2 to 4 is not looked at, as in
//! Apache Kafka: what a group has committed expires by the broker's own rule.

use crate::wire::{Text, Uuid};

crate::wire::field::messages! {
    /// Versions 2 to 10.
    OffsetCommitRequest {
        group_id: Text,
        /// The generation; -1 for a client that manages its partitions itself.
        generation_id_or_member_epoch: i32,
        member_id: Text,
        group_instance_id: Option<Text> [7.. => None],
        retention_time_ms: i64 [..=4 => -1],
        topics: Vec<OffsetCommitRequestTopic>,
    }

    OffsetCommitRequestTopic {
        name: Text [..=9 => Text::EMPTY],
        topic_id: Uuid [10.. => [0; 16]],
        partitions: Vec<OffsetCommitRequestPartition>,
    }

    OffsetCommitRequestPartition {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [6.. => -1],
        committed_metadata: Option<Text>,
    }

    OffsetCommitResponse {
        throttle_time_ms: i32 [3.. => 0],
        topics: Vec<OffsetCommitResponseTopic>,
    }

    OffsetCommitResponseTopic {
        name: Text [..=9 => Text::EMPTY],
        topic_id: Uuid [10.. => [0; 16]],
        partitions: Vec<OffsetCommitResponsePartition>,
    }

    OffsetCommitResponsePartition {
        partition_index: i32,
        error_code: i16,
    }
}
