// SPDX-License-Identifier: Apache-2.0
//! DescribeTopicPartitions: metadata in pages.

use crate::wire::{Nullable, Text, Uuid};

crate::wire::field::messages! {
    /// Version 0.
    DescribeTopicPartitionsRequest {
        /// None: all.
        topics: Vec<TopicRequest>,
        response_partition_limit: i32,
        /// Where to go on.
        cursor: Nullable<Cursor>,
    }

    TopicRequest {
        name: Text,
    }

    Cursor {
        topic_name: Text,
        partition_index: i32,
    }

    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32,
        topics: Vec<DescribeTopicPartitionsResponseTopic>,
        next_cursor: Nullable<Cursor>,
    }

    DescribeTopicPartitionsResponseTopic {
        error_code: i16,
        name: Option<Text>,
        topic_id: Uuid,
        is_internal: bool,
        partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        topic_authorized_operations: i32,
    }

    DescribeTopicPartitionsResponsePartition {
        error_code: i16,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
