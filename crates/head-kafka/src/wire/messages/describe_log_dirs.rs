// SPDX-License-Identifier: Apache-2.0
//! DescribeLogDirs.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 1 to 5.
    DescribeLogDirsRequest {
        /// Null: all.
        topics: Option<Vec<DescribableLogDirTopic>>,
    }

    DescribableLogDirTopic {
        topic: Text,
        partitions: Vec<i32>,
    }

    DescribeLogDirsResponse {
        throttle_time_ms: i32,
        error_code: i16 [3.. => 0],
        results: Vec<DescribeLogDirsResult>,
    }

    DescribeLogDirsResult {
        error_code: i16,
        log_dir: Text,
        topics: Vec<DescribeLogDirsTopic>,
        /// Of the volume; -1: not known.
        total_bytes: i64 [4.. => -1],
        usable_bytes: i64 [4.. => -1],
        is_cordoned: bool [5.. => false],
    }

    DescribeLogDirsTopic {
        name: Text,
        partitions: Vec<DescribeLogDirsPartition>,
    }

    DescribeLogDirsPartition {
        partition_index: i32,
        partition_size: i64,
        offset_lag: i64,
        is_future_key: bool,
    }
}
