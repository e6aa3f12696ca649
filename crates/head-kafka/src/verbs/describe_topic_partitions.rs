// SPDX-License-Identifier: Apache-2.0
//! DescribeTopicPartitions: topics by name, a page of partitions at a time; the cursor says where the next page begins.

use super::{Cx, Outcome, first_error};
use crate::map;
use crate::wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic, TopicRequest,
};
use crate::wire::{ErrorCode, Nullable, Text};
use kernel::catalog::Topic;
use std::collections::BTreeSet;

/// Most partitions of a page (the default of `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2_000;

pub fn answer(cx: &Cx<'_>, request: DescribeTopicPartitionsRequest) -> Outcome {
    let from = request.cursor.0;
    if from.as_ref().is_some_and(|cursor| cursor.partition_index < 0) {
        let refused = |topic: TopicRequest| nothing(topic.name, ErrorCode::InvalidRequest);
        let topics = request.topics.into_iter().map(refused).collect();
        let response = DescribeTopicPartitionsResponse { throttle_time_ms: 0, topics, next_cursor: Nullable(None) };
        return cx.answer(&response, ErrorCode::InvalidRequest.number());
    }
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    let mut names: BTreeSet<Text> = match request.topics.is_empty() {
        true => all_from(cx, from.as_ref(), left),
        false => request.topics.into_iter().map(|topic| topic.name).collect(),
    };
    if let Some(cursor) = &from {
        names = names.split_off(&cursor.topic_name);
    }
    let mut response =
        DescribeTopicPartitionsResponse { throttle_time_ms: 0, topics: Vec::new(), next_cursor: Nullable(None) };
    for name in names {
        if left == 0 {
            response.next_cursor = Nullable(Some(Cursor { topic_name: name, partition_index: 0 }));
            break;
        }
        let Ok(topic) = map::topic_named(cx.catalog, cx.who, name.as_str()) else {
            let code = match map::is_topic_name(name.as_str()) {
                true => ErrorCode::UnknownTopicOrPartition,
                false => ErrorCode::InvalidTopicException,
            };
            response.topics.push(nothing(name, code));
            continue;
        };
        let cursor = from.as_ref().filter(|cursor| cursor.topic_name == name);
        let first = cursor.map_or(0, |cursor| cursor.partition_index as usize).min(topic.partitions.len());
        let end = topic.partitions.len().min(first + left);
        left -= end - first;
        response.topics.push(described(cx, topic, first..end));
        if end < topic.partitions.len() {
            response.next_cursor = Nullable(Some(Cursor { topic_name: name, partition_index: end as i32 }));
            break;
        }
    }
    cx.answer(&response, first_error(response.topics.iter().map(|topic| topic.error_code)))
}

/// As many names as a page can need, and one for the cursor.
fn all_from(cx: &Cx<'_>, from: Option<&Cursor>, partitions_max: usize) -> BTreeSet<Text> {
    let name = from.map_or("", |cursor| cursor.topic_name.as_str());
    let at = map::topic_named(cx.catalog, cx.who, name).ok();
    let topics = at.into_iter().chain(cx.catalog.topics_after(cx.who, name));
    topics.take(partitions_max + 1).map(|topic| Text::from(&*topic.name)).collect()
}

fn nothing(name: Text, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.number(),
        name: Some(name),
        topic_id: [0; 16],
        is_internal: false,
        partitions: Vec::new(),
        topic_authorized_operations: i32::MIN,
    }
}

fn described(cx: &Cx<'_>, topic: &Topic, indexes: std::ops::Range<usize>) -> DescribeTopicPartitionsResponseTopic {
    let node_id = cx.settings.node_id;
    let partition = |index: usize| DescribeTopicPartitionsResponsePartition {
        error_code: 0,
        partition_index: index as i32,
        leader_id: node_id,
        leader_epoch: map::place(cx.catalog, topic, index as i32).map_or(-1, |place| place.leader_epoch),
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: Vec::new(),
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: 0,
        name: Some(Text::from(&*topic.name)),
        topic_id: topic.id.0,
        is_internal: false,
        partitions: indexes.map(partition).collect(),
        topic_authorized_operations: map::topic_operations(cx.who, topic),
    }
}
