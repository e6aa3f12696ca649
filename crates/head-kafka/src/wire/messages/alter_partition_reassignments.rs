// SPDX-License-Identifier: Apache-2.0
//! AlterPartitionReassignments.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 and 1.
    AlterPartitionReassignmentsRequest {
        timeout_ms: i32,
        allow_replication_factor_change: bool [1.. => true],
        topics: Vec<ReassignableTopic>,
    }

    ReassignableTopic {
        name: Text,
        partitions: Vec<ReassignablePartition>,
    }

    ReassignablePartition {
        partition_index: i32,
        /// Null: take back what is under way.
        replicas: Option<Vec<i32>>,
    }

    AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1.. => true],
        error_code: i16,
        error_message: Option<Text>,
        responses: Vec<ReassignableTopicResponse>,
    }

    ReassignableTopicResponse {
        name: Text,
        partitions: Vec<ReassignablePartitionResponse>,
    }

    ReassignablePartitionResponse {
        partition_index: i32,
        error_code: i16,
        error_message: Option<Text>,
    }
}
