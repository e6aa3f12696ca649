// SPDX-License-Identifier: Apache-2.0
//! DescribeQuorum.

use crate::wire::{Text, Uuid};

crate::wire::field::messages! {
    /// Versions 0 to 2.
    DescribeQuorumRequest {
        topics: Vec<QuorumTopic>,
    }

    QuorumTopic {
        topic_name: Text,
        partitions: Vec<QuorumPartition>,
    }

    QuorumPartition {
        partition_index: i32,
    }

    DescribeQuorumResponse {
        error_code: i16,
        error_message: Option<Text> [2.. => None],
        topics: Vec<TopicData>,
        nodes: Vec<Node> [2.. => Vec::new()],
    }

    TopicData {
        topic_name: Text,
        partitions: Vec<PartitionData>,
    }

    PartitionData {
        partition_index: i32,
        error_code: i16,
        error_message: Option<Text> [2.. => None],
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        current_voters: Vec<ReplicaState>,
        observers: Vec<ReplicaState>,
    }

    ReplicaState {
        replica_id: i32,
        replica_directory_id: Uuid [2.. => [0; 16]],
        log_end_offset: i64,
        /// -1: not known.
        last_fetch_timestamp: i64 [1.. => -1],
        last_caught_up_timestamp: i64 [1.. => -1],
    }

    Node {
        node_id: i32,
        listeners: Vec<Listener>,
    }

    Listener {
        name: Text,
        host: Text,
        port: u16,
    }
}
