// SPDX-License-Identifier: Apache-2.0
//! Catalogs: which topics exist and where their partitions are.
//!
//! Owns: the *cell catalog* (a namespace's topics, in the namespace's home shard) and, in shard 0, the *meta catalog*
//! (`meta.rs`: what is the whole system's). Must not know: records, offsets.
//!
//! The catalog is a persistent map: the shard changes its own, and hands out a clone (O(1)) whenever a change has become durable.
//! Heads resolve names against that clone, so a name is never visible before it is durable, and no lock is shared.

pub mod cell;
pub mod meta;

use crate::auth::{self, Action, Resource, Verdict};
use crate::command::{Ctx, TopicSettings};
use model::{LeaderEpoch, NamespaceId, PartitionId, ShardEpoch, ShardId, TopicId};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use std::ops::Bound;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    by_name: RedBlackTreeMapSync<(NamespaceId, Arc<str>), Arc<Topic>>,
    by_id: HashTrieMapSync<TopicId, Arc<Topic>>,
    /// One topic of those whose names differ in dots and underscores only, by the name with dots alone; for names that have any.
    alike: RedBlackTreeMapSync<(NamespaceId, Arc<str>), TopicId>,
    /// The epoch of each shard, by number.
    shard_epochs: Arc<[ShardEpoch]>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub namespace: NamespaceId,
    pub name: Arc<str>,
    pub partitions: Arc<[Placement]>,
    pub settings: TopicSettings,
}

/// Where a partition is: an explicit row, never a hash, so that it can move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub partition: PartitionId,
    pub shard: ShardId,
    /// `leader epoch = epoch_base + shard epoch`; a move sets it so that the leader epoch grows.
    pub epoch_base: i32,
}

impl Catalog {
    /// An empty catalog of a system whose shards are in these epochs.
    pub fn new(shard_epochs: Arc<[ShardEpoch]>) -> Catalog {
        Catalog { shard_epochs, ..Catalog::default() }
    }

    /// The topic of that name, if the asker may know of it.
    pub fn by_name(&self, ctx: &Ctx, name: &str) -> Option<&Arc<Topic>> {
        let topic = self.by_name.get(&(ctx.namespace, Arc::from(name)))?;
        describable(ctx, topic).then_some(topic)
    }

    /// The topic of that id, if the asker may know of it.
    pub fn by_id(&self, ctx: &Ctx, id: TopicId) -> Option<&Arc<Topic>> {
        let topic = self.by_id.get(&id)?;
        describable(ctx, topic).then_some(topic)
    }

    /// A topic whose name differs from this one in dots and underscores only, if the asker may know of it.
    pub fn alike(&self, ctx: &Ctx, name: &str) -> Option<&Arc<Topic>> {
        let alike = self.alike.get(&(ctx.namespace, with_dots(name)?))?;
        self.by_id(ctx, *alike).filter(|topic| &*topic.name != name)
    }

    /// All topics that the asker may know of, by name.
    pub fn topics<'a>(&'a self, ctx: &'a Ctx) -> impl Iterator<Item = &'a Arc<Topic>> {
        // No name is empty.
        self.topics_after(ctx, "")
    }

    /// The same, of those whose name comes behind this one.
    pub fn topics_after<'a>(&'a self, ctx: &'a Ctx, name: &str) -> impl Iterator<Item = &'a Arc<Topic>> {
        let behind = Bound::Excluded((ctx.namespace, Arc::from(name)));
        self.by_name
            .range((behind, Bound::Unbounded))
            .take_while(|((namespace, _), _)| *namespace == ctx.namespace)
            .map(|(_, topic)| topic)
            .filter(|topic| describable(ctx, topic))
    }

    /// How many topics there are, in all namespaces.
    pub fn topic_count(&self) -> usize {
        self.by_name.size()
    }

    /// The shard where a namespace's topics are made and removed.
    pub fn cell(&self, _namespace: NamespaceId) -> ShardId {
        ShardId::META
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> u32 {
        self.shard_epochs.len() as u32
    }

    /// The epoch clients see for a partition.
    pub fn leader_epoch(&self, placement: &Placement) -> LeaderEpoch {
        let shard_epoch = self.shard_epochs.get(placement.shard.0 as usize).copied().unwrap_or_default();
        LeaderEpoch(placement.epoch_base.saturating_add(shard_epoch.0 as i32))
    }

    /// The topic of that id, for the kernel itself.
    pub(crate) fn get(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The topic of that name, for the kernel itself.
    pub(crate) fn named(&self, namespace: NamespaceId, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(&(namespace, Arc::from(name)))
    }

    /// The same catalog of a system whose shards are in these epochs.
    pub(crate) fn set_shard_epochs(&mut self, shard_epochs: Arc<[ShardEpoch]>) {
        self.shard_epochs = shard_epochs;
    }

    /// The catalog with one topic more, as if it had been declared: for tests of heads, which see catalogs and make none.
    pub fn with(mut self, topic: Arc<Topic>) -> Catalog {
        self.insert(topic);
        self
    }

    pub(crate) fn insert(&mut self, topic: Arc<Topic>) {
        if let Some(name) = with_dots(&topic.name) {
            self.alike.insert_mut((topic.namespace, name), topic.id);
        }
        self.by_name.insert_mut((topic.namespace, topic.name.clone()), topic.clone());
        self.by_id.insert_mut(topic.id, topic);
    }

    pub(crate) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.get(&id)?.clone();
        self.by_id.remove_mut(&id);
        self.by_name.remove_mut(&(topic.namespace, topic.name.clone()));
        if let Some(name) = with_dots(&topic.name) {
            let key = (topic.namespace, name);
            if self.alike.get(&key) == Some(&id) {
                self.alike.remove_mut(&key);
            }
        }
        Some(topic)
    }

    /// All topics of all namespaces, by namespace and name. For the kernel itself.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }
}

/// The name with dots for underscores; `None`: it has neither.
fn with_dots(name: &str) -> Option<Arc<str>> {
    name.contains(['.', '_']).then(|| name.replace('_', ".").into())
}

fn describable(ctx: &Ctx, topic: &Topic) -> bool {
    let resource = Resource::Topic { namespace: topic.namespace, name: &topic.name };
    auth::decide(&ctx.principal, ctx.namespace, resource, Action::Describe) == Verdict::Allow
}
