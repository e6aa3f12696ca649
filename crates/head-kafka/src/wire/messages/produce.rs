// SPDX-License-Identifier: Apache-2.0
//! Produce. The records of a request are slices of it. The response's tagged fields (a new leader's address) are never written:
//! no partition has another leader.

use crate::wire::{Text, Uuid};
use bytes::Bytes;

crate::wire::field::messages! {
    /// Versions 3 to 13.
    ProduceRequest {
        transactional_id: Option<Text>,
        acks: i16,
        timeout_ms: i32,
        topic_data: Vec<TopicProduceData>,
    }

    TopicProduceData {
        name: Text [..=12 => Text::EMPTY],
        topic_id: Uuid [13.. => [0; 16]],
        partition_data: Vec<PartitionProduceData>,
    }

    PartitionProduceData {
        index: i32,
        records: Option<Bytes>,
    }

    ProduceResponse {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32,
    }

    TopicProduceResponse {
        name: Text [..=12 => Text::EMPTY],
        topic_id: Uuid [13.. => [0; 16]],
        partition_responses: Vec<PartitionProduceResponse>,
    }

    PartitionProduceResponse {
        index: i32,
        error_code: i16,
        base_offset: i64,
        log_append_time_ms: i64,
        log_start_offset: i64 [5.. => -1],
        record_errors: Vec<BatchIndexAndErrorMessage> [8.. => Vec::new()],
        error_message: Option<Text> [8.. => None],
    }

    BatchIndexAndErrorMessage {
        batch_index: i32,
        batch_index_error_message: Option<Text>,
    }
}
