// SPDX-License-Identifier: Apache-2.0
//! AlterReplicaLogDirs.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 1 and 2.
    AlterReplicaLogDirsRequest {
        dirs: Vec<AlterReplicaLogDir>,
    }

    AlterReplicaLogDir {
        path: Text,
        topics: Vec<AlterReplicaLogDirTopic>,
    }

    AlterReplicaLogDirTopic {
        name: Text,
        partitions: Vec<i32>,
    }

    AlterReplicaLogDirsResponse {
        throttle_time_ms: i32,
        results: Vec<AlterReplicaLogDirTopicResult>,
    }

    AlterReplicaLogDirTopicResult {
        topic_name: Text,
        partitions: Vec<AlterReplicaLogDirPartitionResult>,
    }

    AlterReplicaLogDirPartitionResult {
        partition_index: i32,
        error_code: i16,
    }
}
