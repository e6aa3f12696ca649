// SPDX-License-Identifier: Apache-2.0
//! ListPartitionReassignments.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Version 0.
    ListPartitionReassignmentsRequest {
        timeout_ms: i32,
        /// Null: all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    ListPartitionReassignmentsTopics {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    ListPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<Text>,
        topics: Vec<OngoingTopicReassignment>,
    }

    OngoingTopicReassignment {
        name: Text,
        partitions: Vec<OngoingPartitionReassignment>,
    }

    OngoingPartitionReassignment {
        partition_index: i32,
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}
