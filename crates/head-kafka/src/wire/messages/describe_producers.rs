// SPDX-License-Identifier: Apache-2.0
//! DescribeProducers.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Version 0.
    DescribeProducersRequest {
        topics: Vec<TopicRequest>,
    }

    TopicRequest {
        name: Text,
        partition_indexes: Vec<i32>,
    }

    DescribeProducersResponse {
        throttle_time_ms: i32,
        topics: Vec<TopicResponse>,
    }

    TopicResponse {
        name: Text,
        partitions: Vec<PartitionResponse>,
    }

    PartitionResponse {
        partition_index: i32,
        error_code: i16,
        error_message: Option<Text>,
        active_producers: Vec<ProducerState>,
    }

    ProducerState {
        producer_id: i64,
        producer_epoch: i32,
        last_sequence: i32,
        last_timestamp: i64,
        coordinator_epoch: i32,
        /// -1: no transaction is open.
        current_txn_start_offset: i64,
    }
}
