// SPDX-License-Identifier: Apache-2.0
//! CreateTopics.

use crate::wire::{Text, Uuid};

crate::wire::field::messages! {
    /// Versions 2 to 7.
    CreateTopicsRequest {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32,
        validate_only: bool,
    }

    CreatableTopic {
        name: Text,
        /// -1: the default, or what `assignments` say.
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>,
        configs: Vec<CreatableTopicConfig>,
    }

    CreatableReplicaAssignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    CreatableTopicConfig {
        name: Text,
        value: Option<Text>,
    }

    CreateTopicsResponse {
        throttle_time_ms: i32,
        topics: Vec<CreatableTopicResult>,
    }

    CreatableTopicResult {
        name: Text,
        topic_id: Uuid [7.. => [0; 16]],
        error_code: i16,
        error_message: Option<Text>,
        num_partitions: i32 [5.. => -1],
        replication_factor: i16 [5.. => -1],
        configs: Option<Vec<CreatableTopicConfigs>> [5.. => None],
    }

    CreatableTopicConfigs {
        name: Text,
        value: Option<Text>,
        read_only: bool,
        config_source: i8,
        is_sensitive: bool,
    }
}
