// SPDX-License-Identifier: Apache-2.0
//! ElectLeaders.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 2.
    ElectLeadersRequest {
        /// 0 the preferred leader, 1 whoever is left.
        election_type: i8 [1.. => 0],
        /// Null: all.
        topic_partitions: Option<Vec<TopicPartitions>>,
        timeout_ms: i32,
    }

    TopicPartitions {
        topic: Text,
        partitions: Vec<i32>,
    }

    ElectLeadersResponse {
        throttle_time_ms: i32,
        error_code: i16 [1.. => 0],
        replica_election_results: Vec<ReplicaElectionResult>,
    }

    ReplicaElectionResult {
        topic: Text,
        partition_result: Vec<PartitionResult>,
    }

    PartitionResult {
        partition_id: i32,
        error_code: i16,
        error_message: Option<Text>,
    }
}
