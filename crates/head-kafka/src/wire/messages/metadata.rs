// SPDX-License-Identifier: Apache-2.0
//! Metadata: which topics there are and where their partitions live.

use crate::wire::{Text, Uuid};

crate::wire::field::messages! {
    /// Versions 0 to 13.
    MetadataRequest {
        /// All topics: null, or in version 0 an empty list.
        topics: Option<Vec<MetadataRequestTopic>>,
        allow_auto_topic_creation: bool [4.. => true],
        include_cluster_authorized_operations: bool [8..=10 => false],
        include_topic_authorized_operations: bool [8.. => false],
    }

    MetadataRequestTopic {
        topic_id: Uuid [10.. => [0; 16]],
        name: Option<Text>,
    }

    MetadataResponse {
        throttle_time_ms: i32 [3.. => 0],
        brokers: Vec<MetadataBroker>,
        cluster_id: Option<Text> [2.. => None],
        controller_id: i32 [1.. => -1],
        topics: Vec<MetadataTopic>,
        cluster_authorized_operations: i32 [8..=10 => i32::MIN],
        error_code: i16 [13.. => 0],
    }

    MetadataBroker {
        node_id: i32,
        host: Text,
        port: i32,
        rack: Option<Text> [1.. => None],
    }

    MetadataTopic {
        error_code: i16,
        /// Null from version 12 on, for an id that names no topic.
        name: Option<Text>,
        topic_id: Uuid [10.. => [0; 16]],
        is_internal: bool [1.. => false],
        partitions: Vec<MetadataPartition>,
        topic_authorized_operations: i32 [8.. => i32::MIN],
    }

    MetadataPartition {
        error_code: i16,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [7.. => -1],
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5.. => Vec::new()],
    }
}
