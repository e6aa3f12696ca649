// SPDX-License-Identifier: Apache-2.0
//! CreatePartitions.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 3.
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }

    CreatePartitionsTopic {
        name: Text,
        /// How many there are to be, with those that are.
        count: i32,
        /// One for each new partition; null: as the broker likes.
        assignments: Option<Vec<CreatePartitionsAssignment>>,
    }

    CreatePartitionsAssignment {
        broker_ids: Vec<i32>,
    }

    CreatePartitionsResponse {
        throttle_time_ms: i32,
        results: Vec<CreatePartitionsTopicResult>,
    }

    CreatePartitionsTopicResult {
        name: Text,
        error_code: i16,
        error_message: Option<Text>,
    }
}
