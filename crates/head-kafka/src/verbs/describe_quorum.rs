// SPDX-License-Identifier: Apache-2.0
//! DescribeQuorum: who votes about the cluster's metadata. That is this node alone, and there is no log of its own to tell positions
//! of: they are 0.

use super::{Cx, Outcome, first_error};
use crate::map;
use crate::wire::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionData, QuorumTopic, ReplicaState, TopicData,
};
use crate::wire::{ErrorCode, Text};
use kernel::auth::Action;

const METADATA: &str = "__cluster_metadata";

pub fn answer(cx: &Cx<'_>, request: DescribeQuorumRequest) -> Outcome {
    if !map::may(cx.who, Action::Describe) {
        let code = ErrorCode::ClusterAuthorizationFailed.number();
        let response =
            DescribeQuorumResponse { error_code: code, error_message: None, topics: Vec::new(), nodes: Vec::new() };
        return cx.answer(&response, code);
    }
    let topics: Vec<TopicData> = request.topics.iter().map(|topic| described(cx, topic)).collect();
    let listener = Listener {
        name: Text::from("PLAINTEXT"),
        host: Text::from(&*cx.settings.advertised_host),
        port: cx.settings.advertised_port,
    };
    let node = Node { node_id: cx.settings.node_id, listeners: vec![listener] };
    let response = DescribeQuorumResponse { error_code: 0, error_message: None, topics, nodes: vec![node] };
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    cx.answer(&response, first_error(codes))
}

fn described(cx: &Cx<'_>, topic: &QuorumTopic) -> TopicData {
    let is_metadata = topic.topic_name.as_str() == METADATA;
    let partition = |index: i32| {
        let is_known = is_metadata && index == 0;
        let now_ms = i64::try_from(cx.now.wall_ms).unwrap_or(i64::MAX);
        let voter = ReplicaState {
            replica_id: cx.settings.node_id,
            replica_directory_id: [0; 16],
            log_end_offset: 0,
            last_fetch_timestamp: now_ms,
            last_caught_up_timestamp: now_ms,
        };
        PartitionData {
            partition_index: index,
            error_code: if is_known { 0 } else { ErrorCode::UnknownTopicOrPartition.number() },
            error_message: None,
            leader_id: if is_known { cx.settings.node_id } else { -1 },
            leader_epoch: if is_known { map::cell_epoch(cx.catalog, cx.who) } else { -1 },
            high_watermark: if is_known { 0 } else { -1 },
            current_voters: if is_known { vec![voter] } else { Vec::new() },
            observers: Vec::new(),
        }
    };
    let partitions = topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect();
    TopicData { topic_name: topic.topic_name.clone(), partitions }
}
