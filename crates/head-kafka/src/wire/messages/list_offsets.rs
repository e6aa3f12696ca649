// SPDX-License-Identifier: Apache-2.0
//! ListOffsets.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 1 to 11.
    ListOffsetsRequest {
        replica_id: i32,
        isolation_level: i8 [2.. => 0],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32 [10.. => 0],
    }

    ListOffsetsTopic {
        name: Text,
        partitions: Vec<ListOffsetsPartition>,
    }

    ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4.. => -1],
        timestamp: i64,
    }

    ListOffsetsResponse {
        throttle_time_ms: i32 [2.. => 0],
        topics: Vec<ListOffsetsTopicResponse>,
    }

    ListOffsetsTopicResponse {
        name: Text,
        partitions: Vec<ListOffsetsPartitionResponse>,
    }

    ListOffsetsPartitionResponse {
        partition_index: i32,
        error_code: i16,
        timestamp: i64,
        offset: i64,
        leader_epoch: i32 [4.. => -1],
    }
}
