// SPDX-License-Identifier: Apache-2.0
//! The cell catalog: a namespace's topics, made and removed in one place.
//!
//! Owns: the rules of names and settings, the placement of new partitions, the decided topics. Must not know: records, offsets,
//! when a topic becomes visible (`shard/peers.rs`).

use crate::auth::{self, Action, Resource, Verdict};
use crate::catalog::{Catalog, Placement, Topic};
use crate::command::{AlterTopic, Ctx, DeclareTopic, TopicSettings};
use crate::error::{AlterError, DeclareError, DeleteError};
use model::limits::{BATCH_BYTES_MAX, PARTITIONS_PER_TOPIC_MAX, TOPIC_NAME_BYTES_MAX};
use model::{Lsn, PartitionId, ShardId, TopicId};
use std::sync::Arc;

/// Most bytes of settings kept for a topic's head.
const STORED_BYTES_MAX: usize = 64 * 1024;
/// Most partitions of all topics of a cell together. Beyond, declaring is refused until some are deleted.
const PARTITIONS_MAX: u64 = 4_000_000;

/// The topics that are decided, durable or not.
#[derive(Debug)]
pub struct Topics {
    pub catalog: Catalog,
    partitions: u64,
    /// The last frame that changed them.
    pub last_lsn: Lsn,
}

impl Topics {
    pub(crate) fn new(catalog: Catalog) -> Topics {
        Topics { catalog, partitions: 0, last_lsn: Lsn(0) }
    }

    pub(crate) fn put(&mut self, lsn: Lsn, topic: Arc<Topic>) {
        self.delete(lsn, topic.id);
        self.partitions += topic.partitions.len() as u64;
        self.catalog.insert(topic);
    }

    pub(crate) fn delete(&mut self, lsn: Lsn, id: TopicId) {
        self.last_lsn = lsn;
        if let Some(topic) = self.catalog.remove(id) {
            self.partitions -= topic.partitions.len() as u64;
        }
    }

    pub fn get(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.catalog.get(id)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.catalog.all()
    }
}

/// Decides a declare: the topic as it would be made. Changes nothing.
pub fn decide_declare(
    topics: &Topics,
    partition_next: u64,
    shard_count: u32,
    ctx: &Ctx,
    declare: &DeclareTopic,
) -> Result<Topic, DeclareError> {
    let resource = Resource::Topic { namespace: ctx.namespace, name: &declare.name };
    if auth::decide(&ctx.principal, ctx.namespace, resource, Action::Create) == Verdict::Deny {
        return Err(DeclareError::Denied);
    }
    check_name(&declare.name).map_err(DeclareError::Name)?;
    if topics.catalog.named(ctx.namespace, &declare.name).is_some() || topics.get(declare.topic).is_some() {
        return Err(DeclareError::Exists);
    }
    if declare.topic == TopicId::NONE {
        return Err(DeclareError::Setting("the zero topic id names no topic"));
    }
    if declare.partition_count == 0 || declare.partition_count > PARTITIONS_PER_TOPIC_MAX {
        return Err(DeclareError::PartitionCount { max: PARTITIONS_PER_TOPIC_MAX });
    }
    check_settings(&declare.settings).map_err(DeclareError::Setting)?;
    if topics.partitions + u64::from(declare.partition_count) > PARTITIONS_MAX {
        return Err(DeclareError::Overloaded { retry_after_ms: 60_000 });
    }
    Ok(Topic {
        id: declare.topic,
        namespace: ctx.namespace,
        name: declare.name.clone(),
        partitions: placements(partition_next, declare.partition_count, shard_count).collect(),
        settings: declare.settings.clone(),
    })
}

/// New partitions, round robin over the shards; written down, so that it is only a rule for new ones.
fn placements(partition_next: u64, count: u32, shard_count: u32) -> impl Iterator<Item = Placement> {
    (0..u64::from(count)).map(move |number| {
        let partition = PartitionId(partition_next + number);
        let shard = ShardId((partition.0 % u64::from(shard_count.max(1))) as u32);
        Placement { partition, shard, epoch_base: 0 }
    })
}

/// Decides a change: the topic as it would be, the same one if nothing changes. Changes nothing.
pub fn decide_alter(
    topics: &Topics,
    partition_next: u64,
    shard_count: u32,
    ctx: &Ctx,
    alter: &AlterTopic,
) -> Result<Arc<Topic>, AlterError> {
    let topic = topics.get(alter.topic).filter(|topic| topic.namespace == ctx.namespace).ok_or(AlterError::NotFound)?;
    let resource = Resource::Topic { namespace: topic.namespace, name: &topic.name };
    if auth::decide(&ctx.principal, ctx.namespace, resource, Action::Alter) == Verdict::Deny {
        return Err(AlterError::Denied);
    }
    let current = topic.partitions.len() as u32;
    if topic.settings != alter.seen || current != alter.seen_partition_count {
        return Err(AlterError::Changed);
    }
    let more = alter.partition_count.checked_sub(current).ok_or(AlterError::Fewer { current })?;
    if alter.partition_count > PARTITIONS_PER_TOPIC_MAX {
        return Err(AlterError::PartitionCount { max: PARTITIONS_PER_TOPIC_MAX });
    }
    check_settings(&alter.settings).map_err(AlterError::Setting)?;
    if topics.partitions + u64::from(more) > PARTITIONS_MAX {
        return Err(AlterError::Overloaded { retry_after_ms: 60_000 });
    }
    if more == 0 && topic.settings == alter.settings {
        return Ok(topic.clone());
    }
    let partitions = topic.partitions.iter().copied().chain(placements(partition_next, more, shard_count));
    let partitions = partitions.collect();
    Ok(Arc::new(Topic { partitions, settings: alter.settings.clone(), ..Topic::clone(topic) }))
}

/// Decides a delete: the topic to be removed.
pub fn decide_delete(topics: &Topics, ctx: &Ctx, id: TopicId) -> Result<Arc<Topic>, DeleteError> {
    let topic = topics.get(id).ok_or(DeleteError::NotFound)?;
    let resource = Resource::Topic { namespace: topic.namespace, name: &topic.name };
    if topic.namespace != ctx.namespace {
        return Err(DeleteError::NotFound);
    }
    match auth::decide(&ctx.principal, ctx.namespace, resource, Action::Delete) {
        Verdict::Allow => Ok(topic.clone()),
        Verdict::Deny => Err(DeleteError::Denied),
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a topic name is not empty");
    }
    if name == "." || name == ".." {
        return Err("a topic name is not \".\" or \"..\"");
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err("a topic name has at most 249 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err("a topic name has only letters, digits, '.', '_' and '-'");
    }
    Ok(())
}

fn check_settings(settings: &TopicSettings) -> Result<(), &'static str> {
    if settings.batch_bytes_max as usize > BATCH_BYTES_MAX {
        return Err("a batch has at most 16 MiB");
    }
    let stored: usize = settings.stored.iter().map(|(name, value)| name.len() + value.len()).sum();
    if stored > STORED_BYTES_MAX {
        return Err("a topic's settings have at most 64 KiB");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_neither_paths_nor_surprises() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(250)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "-", "A.b_c-9", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
    }
}
