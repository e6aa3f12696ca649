// SPDX-License-Identifier: Apache-2.0
//! DeleteRecords.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 2.
    DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>,
        timeout_ms: i32,
    }

    DeleteRecordsTopic {
        name: Text,
        partitions: Vec<DeleteRecordsPartition>,
    }

    DeleteRecordsPartition {
        partition_index: i32,
        /// -1: the high watermark.
        offset: i64,
    }

    DeleteRecordsResponse {
        throttle_time_ms: i32,
        topics: Vec<DeleteRecordsTopicResult>,
    }

    DeleteRecordsTopicResult {
        name: Text,
        partitions: Vec<DeleteRecordsPartitionResult>,
    }

    DeleteRecordsPartitionResult {
        partition_index: i32,
        low_watermark: i64,
        error_code: i16,
    }
}
