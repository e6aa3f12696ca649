// SPDX-License-Identifier: Apache-2.0
//! OffsetForLeaderEpoch.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 2 to 4.
    OffsetForLeaderEpochRequest {
        replica_id: i32 [3.. => -2],
        topics: Vec<OffsetForLeaderTopic>,
    }

    OffsetForLeaderTopic {
        topic: Text,
        partitions: Vec<OffsetForLeaderPartition>,
    }

    OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32,
        leader_epoch: i32,
    }

    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32,
        topics: Vec<OffsetForLeaderTopicResult>,
    }

    OffsetForLeaderTopicResult {
        topic: Text,
        partitions: Vec<EpochEndOffset>,
    }

    EpochEndOffset {
        error_code: i16,
        partition: i32,
        leader_epoch: i32,
        end_offset: i64,
    }
}
