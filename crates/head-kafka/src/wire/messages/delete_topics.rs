// SPDX-License-Identifier: Apache-2.0
//! DeleteTopics.

use crate::wire::{Text, Uuid};

crate::wire::field::messages! {
    /// Versions 1 to 6.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6.. => Vec::new()],
        topic_names: Vec<Text> [..=5 => Vec::new()],
        timeout_ms: i32,
    }

    /// One of the two says which.
    DeleteTopicState {
        name: Option<Text>,
        topic_id: Uuid,
    }

    DeleteTopicsResponse {
        throttle_time_ms: i32,
        responses: Vec<DeletableTopicResult>,
    }

    DeletableTopicResult {
        /// Null from version 6 on, for an id that names no topic.
        name: Option<Text>,
        topic_id: Uuid [6.. => [0; 16]],
        error_code: i16,
        error_message: Option<Text> [5.. => None],
    }
}
