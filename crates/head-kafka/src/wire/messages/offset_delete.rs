// SPDX-License-Identifier: Apache-2.0
//! OffsetDelete.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Version 0.
    OffsetDeleteRequest {
        group_id: Text,
        topics: Vec<OffsetDeleteRequestTopic>,
    }

    OffsetDeleteRequestTopic {
        name: Text,
        partitions: Vec<OffsetDeleteRequestPartition>,
    }

    OffsetDeleteRequestPartition {
        partition_index: i32,
    }

    OffsetDeleteResponse {
        error_code: i16,
        throttle_time_ms: i32,
        topics: Vec<OffsetDeleteResponseTopic>,
    }

    OffsetDeleteResponseTopic {
        name: Text,
        partitions: Vec<OffsetDeleteResponsePartition>,
    }

    OffsetDeleteResponsePartition {
        partition_index: i32,
        error_code: i16,
    }
}
