// SPDX-License-Identifier: Apache-2.0
//! Fetch. The records of a response are slices of what was read. Tagged fields are passed over and not written: those of the
//! request are for followers, those of the response for leader changes.

use crate::wire::{ErrorCode, Records, Text, Uuid};

crate::wire::field::messages! {
    /// Versions 4 to 18.
    FetchRequest {
        replica_id: i32 [..=14 => -1],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32,
        isolation_level: i8,
        session_id: i32 [7.. => 0],
        session_epoch: i32 [7.. => -1],
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [7.. => Vec::new()],
        rack_id: Text [11.. => Text::EMPTY],
    }

    FetchTopic {
        topic: Text [..=12 => Text::EMPTY],
        topic_id: Uuid [13.. => [0; 16]],
        partitions: Vec<FetchPartition>,
    }

    FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [9.. => -1],
        fetch_offset: i64,
        last_fetched_epoch: i32 [12.. => -1],
        log_start_offset: i64 [5.. => -1],
        partition_max_bytes: i32,
    }

    ForgottenTopic {
        topic: Text [..=12 => Text::EMPTY],
        topic_id: Uuid [13.. => [0; 16]],
        partitions: Vec<i32>,
    }

    FetchResponse {
        throttle_time_ms: i32,
        error_code: i16 [7.. => 0],
        session_id: i32 [7.. => 0],
        responses: Vec<FetchableTopicResponse>,
    }

    FetchableTopicResponse {
        topic: Text [..=12 => Text::EMPTY],
        topic_id: Uuid [13.. => [0; 16]],
        partitions: Vec<PartitionData>,
    }

    PartitionData {
        partition_index: i32,
        error_code: i16,
        high_watermark: i64,
        last_stable_offset: i64,
        log_start_offset: i64 [5.. => -1],
        /// Null unless transactions were looked at.
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32 [11.. => -1],
        records: Records,
    }

    AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }
}

impl PartitionData {
    /// Of a partition from which nothing can be read.
    pub fn refused(partition_index: i32, error: ErrorCode) -> PartitionData {
        PartitionData {
            partition_index,
            error_code: error.number(),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Records::default(),
        }
    }
}
