// SPDX-License-Identifier: Apache-2.0
//! `/v1/topics` and `/v1/topics/{name}`.
//!
//! Owns: paging, and which partitions are asked for a page. Must not know: how shards are reached (`asker.rs`).

use super::Pages;
use super::answer::Refused;
use super::page::Page;
use crate::node::Node;
use kernel::catalog::{Placement, Topic};
use kernel::command::Describe;
use kernel::reply::Described;
use kernel::{Command, Reply};
use model::ShardId;
use ops::api::shapes::{PartitionShape, TopicAnswer, TopicSettingsShape, TopicSummary, TopicsAnswer};
use std::sync::Arc;

/// Partitions asked for one page of topics: a page ends before the topic that would be beyond, but holds one topic at least.
const PARTITIONS_A_PAGE_MAX: usize = 20_000;

/// What asks a partition for its figures.
pub fn ask(place: &Placement) -> (ShardId, Command) {
    (place.shard, Command::Describe(Describe { partition: place.partition, producers_max: 0 }))
}

/// What it answered. `None`: it is just being made or removed.
pub fn figures(reply: Reply) -> Option<Described> {
    match reply {
        Reply::Described(described) => described.ok(),
        _ => None,
    }
}

/// A page of all topics.
///
/// # Errors
/// Why not.
pub async fn all(pages: &Pages, node: &Arc<Node>, query: &str) -> Result<TopicsAnswer, Refused> {
    let page = Page::read(query)?;
    let mut turn = pages.turn(node).await?;
    let catalog = node.catalog.load_full();
    let mut topics: Vec<Arc<Topic>> = Vec::new();
    let mut partitions = 0;
    let mut is_last = true;
    for topic in catalog.topics_after(turn.asker.ctx(), page.after.as_deref().unwrap_or_default()) {
        partitions += topic.partitions.len();
        if topics.len() == page.limit || (partitions > PARTITIONS_A_PAGE_MAX && !topics.is_empty()) {
            is_last = false;
            break;
        }
        topics.push(topic.clone());
    }
    let mut summaries: Vec<TopicSummary> = topics.iter().map(|topic| summary(topic)).collect();
    let mut places: Vec<(usize, Placement)> = Vec::new();
    for (at, topic) in topics.iter().enumerate() {
        places.extend(topic.partitions.iter().map(|place| (at, *place)));
    }
    let add = |number: usize, reply| {
        if let Some(figures) = figures(reply) {
            let summary = &mut summaries[places[number].0];
            summary.records += figures.high.0.saturating_sub(figures.start.0);
            summary.stored_bytes += figures.stored_bytes;
            summary.pinned_bytes += figures.pinned_bytes;
        }
    };
    turn.asker.ask_each(places.len(), |number| ask(&places[number].1), add).await?;
    let next_after = if is_last { None } else { summaries.last().map(|topic| topic.name.clone()) };
    Ok(TopicsAnswer { total: catalog.topic_count() as u64, topics: summaries, next_after })
}

fn summary(topic: &Topic) -> TopicSummary {
    TopicSummary {
        name: topic.name.to_string(),
        topic_id: topic.id.to_string(),
        partition_count: topic.partitions.len() as u32,
        records: 0,
        stored_bytes: 0,
        pinned_bytes: 0,
    }
}

/// One topic, with a page of its partitions.
///
/// # Errors
/// Why not.
pub async fn one(pages: &Pages, node: &Arc<Node>, name: &str, query: &str) -> Result<TopicAnswer, Refused> {
    let page = Page::read(query)?;
    let from = page.after_number()?.map_or(0, |after| after.saturating_add(1) as usize);
    let mut turn = pages.turn(node).await?;
    let catalog = node.catalog.load_full();
    let topic = catalog
        .by_name(turn.asker.ctx(), name)
        .ok_or_else(|| Refused::missing(format!("there is no topic {name:?}")))?
        .clone();
    let until = topic.partitions.len().min(from.saturating_add(page.limit));
    let places = topic.partitions.get(from..until).unwrap_or_default();
    let mut found: Vec<Option<Described>> = vec![None; places.len()];
    let put = |number: usize, reply| found[number] = figures(reply);
    turn.asker.ask_each(places.len(), |number| ask(&places[number]), put).await?;
    let partitions = places.iter().zip(found).enumerate().filter_map(|(at, (place, figures))| {
        let figures = figures?;
        Some(PartitionShape {
            partition: (from + at) as u32,
            shard: place.shard.0,
            leader_epoch: catalog.leader_epoch(place).0,
            start_offset: figures.start.0,
            end_offset: figures.high.0,
            stored_bytes: figures.stored_bytes,
            pinned_bytes: figures.pinned_bytes,
        })
    });
    Ok(TopicAnswer {
        name: topic.name.to_string(),
        topic_id: topic.id.to_string(),
        partition_count: topic.partitions.len() as u32,
        settings: TopicSettingsShape {
            retention_ms: topic.settings.retention_ms,
            retention_bytes: topic.settings.retention_bytes,
            batch_bytes_max: topic.settings.batch_bytes_max,
            set: topic.settings.stored.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        },
        partitions: partitions.collect(),
        next_after: (until < topic.partitions.len()).then(|| until as u32 - 1),
    })
}
