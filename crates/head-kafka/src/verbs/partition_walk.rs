// SPDX-License-Identifier: Apache-2.0
//! What DescribeLogDirs and DescribeProducers have in common: each of many partitions is described by its shard, a window of them at a
//! time, so that a request about every partition of the system has few commands under way.

use super::Cx;
use crate::map;
use crate::wire::{ErrorCode, Text};
use kernel::error::DescribeError;
use kernel::reply::Described;
use std::sync::Arc;

/// Commands under way at once.
const WINDOW: usize = 1_000;

/// A topic of the walk, found or not, and what of it is asked.
pub struct Visited {
    pub name: Text,
    topic: Option<Arc<kernel::catalog::Topic>>,
    pub partitions: Vec<(i32, Result<Described, ErrorCode>)>,
}

/// See the module.
pub struct Walk {
    pub topics: Vec<Visited>,
    /// Where the next command comes from.
    next: (usize, usize),
    /// For each command sent: topic and partition.
    sent: Vec<(u32, u32)>,
    under_way: usize,
    producers_max: u32,
}

impl Walk {
    pub fn new(producers_max: u32) -> Walk {
        Walk { topics: Vec::new(), next: (0, 0), sent: Vec::new(), under_way: 0, producers_max }
    }

    /// How many partitions there are to visit.
    pub fn len(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len()).sum()
    }

    pub fn limit_producers(&mut self, producers_max: u32) {
        self.producers_max = producers_max;
    }

    /// All partitions of all topics.
    pub fn add_all(&mut self, cx: &Cx<'_>) {
        for topic in cx.catalog.topics(cx.who) {
            let indexes = 0..topic.partitions.len() as i32;
            let partitions = indexes.map(|index| (index, Err(ErrorCode::UnknownTopicOrPartition))).collect();
            self.topics.push(Visited { name: Text::from(&*topic.name), topic: Some(topic.clone()), partitions });
        }
    }

    /// Some partitions of a topic.
    pub fn add(&mut self, cx: &Cx<'_>, name: Text, indexes: &[i32]) {
        let topic = map::topic_named(cx.catalog, cx.who, name.as_str()).ok().cloned();
        let partitions = indexes.iter().map(|index| (*index, Err(ErrorCode::UnknownTopicOrPartition))).collect();
        self.topics.push(Visited { name, topic, partitions });
    }

    /// Sends what the window has room for. True when everything is visited.
    pub fn advance(&mut self, cx: &mut Cx<'_>) -> bool {
        while self.under_way < WINDOW {
            let (topic_at, partition_at) = self.next;
            let Some(visited) = self.topics.get(topic_at) else { break };
            let Some((index, _)) = visited.partitions.get(partition_at) else {
                self.next = (topic_at + 1, 0);
                continue;
            };
            self.next.1 += 1;
            let place = visited.topic.as_ref().map(|topic| map::place(cx.catalog, topic, *index));
            let Some(Ok(place)) = place else { continue };
            let part = self.sent.len() as u32;
            self.sent.push((topic_at as u32, partition_at as u32));
            self.under_way += 1;
            cx.send(part, map::describe(&place, self.producers_max));
        }
        self.under_way == 0
    }

    /// Takes a reply; `code` is the number for an error. True when everything is visited.
    pub fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        part: u32,
        result: Result<Described, DescribeError>,
        code: fn(&DescribeError) -> ErrorCode,
    ) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some((topic_at, partition_at)) = self.sent.get(part as usize)
            && let Some(visited) = self.topics.get_mut(*topic_at as usize)
            && let Some(partition) = visited.partitions.get_mut(*partition_at as usize)
        {
            partition.1 = result.map_err(|error| code(&error));
        }
        self.advance(cx)
    }
}
