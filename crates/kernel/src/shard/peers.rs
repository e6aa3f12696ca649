// SPDX-License-Identifier: Apache-2.0
//! Declaring and deleting topics, and the shards that own their partitions.
//!
//! Owns: the cell's side (what peers must still confirm, when the catalog is published) and the owner's side (making and dropping
//! partitions). Must not know: how messages travel; they arrive in order, or both sides restart.
//!
//! A topic is visible, and its declare answered, when it and all its partitions are durable. A message leaves when what it rests on
//! is durable, so a peer never makes or drops a partition on account of something a crash takes back. No outbox is kept: after a
//! start the cell sends every peer all topics (`Reconcile`), and the peer makes what is missing and drops what is not named.

use crate::catalog::{Catalog, Topic, cell};
use crate::command::{Ctx, DeclareTopic};
use crate::effect::Effect;
use crate::error::{DeclareError, DeleteError};
use crate::format::v1::entry::Record;
use crate::format::v1::object::hosted_of;
use crate::log::partition::HostedRow;
use crate::quota::DELAY_MS_MAX;
use crate::reply::{Declared, Reply};
use crate::shard::{Shard, ShardMessage};
use model::limits::PARTITIONS_PER_TOPIC_MAX;
use model::{HolderId, Lsn, PartitionId, ShardEpoch, ShardId, Ticket, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Peers {
    shard_epochs: Option<Arc<[ShardEpoch]>>,
    /// Topics whose partitions are not all confirmed.
    pending: BTreeMap<TopicId, Pending>,
    /// The visible catalog must be published anew at the end of this drain, with these replies behind it.
    catalog_changed: bool,
    after_catalog: Vec<(HolderId, Ticket, Reply)>,
}

#[derive(Debug)]
struct Pending {
    unconfirmed: BTreeSet<ShardId>,
    replies: Vec<(HolderId, Ticket, Reply)>,
}

impl Peers {
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }
}

impl Shard {
    fn is_cell(&self) -> bool {
        self.config.shard == ShardId::META
    }

    pub(super) fn greet(&mut self, shard_epochs: Arc<[ShardEpoch]>) {
        self.peers.shard_epochs = Some(shard_epochs.clone());
        if !self.is_cell() {
            return;
        }
        self.state.topics.catalog.set_shard_epochs(shard_epochs);
        self.peers.catalog_changed = true;
        let topics: Vec<Arc<Topic>> = self.state.topics.all().cloned().collect();
        for shard in (0..self.config.shard_count).map(ShardId).filter(|shard| *shard != self.config.shard) {
            let placed = |topic: &&Arc<Topic>| topic.partitions.iter().any(|placement| placement.shard == shard);
            let topics = topics.iter().filter(placed).cloned().collect();
            self.effects.push_back(Effect::Send { shard, message: ShardMessage::Reconcile { topics } });
        }
    }

    pub(super) fn declare_topic(&mut self, ctx: &Ctx, ticket: Ticket, declare: &DeclareTopic) {
        if let Err(error) = self.try_declare(ctx, ticket, declare) {
            let reply = Reply::Declared(Err(error.clone()));
            // Who is told that it exists may use it at once, so it must be visible by then.
            let existing = self.state.topics.catalog.named(ctx.namespace, &declare.name).map(|topic| topic.id);
            if error == DeclareError::Exists
                && let Some(pending) = existing.and_then(|id| self.peers.pending.get_mut(&id))
            {
                return pending.replies.push((ctx.holder, ticket, reply));
            }
            let after = if self.failed { Lsn(0) } else { self.state.topics.last_lsn };
            self.reply_after(after, ctx.holder, ticket, reply);
        }
    }

    fn try_declare(&mut self, ctx: &Ctx, ticket: Ticket, declare: &DeclareTopic) -> Result<(), DeclareError> {
        if !self.is_cell() {
            return Err(DeclareError::NotOwner);
        }
        if self.failed {
            return Err(DeclareError::LogFailed);
        }
        let (topics, next) = (&self.state.topics, self.state.partition_next);
        let topic = Arc::new(cell::decide_declare(topics, next, self.config.shard_count, ctx, declare)?);
        let declared = Declared { topic: topic.id, partition_count: declare.partition_count };
        let reply = Reply::Declared(Ok(declared));
        if declare.validate_only {
            self.reply_after(self.state.topics.last_lsn, ctx.holder, ticket, reply);
            return Ok(());
        }
        if !self.admission.fits(self.tail_bytes(), 1) {
            return Err(match self.spill.no_space() {
                true => DeclareError::StorageFull,
                false => DeclareError::Overloaded { retry_after_ms: DELAY_MS_MAX as u32 },
            });
        }
        let mut records = vec![Record::TopicPut(topic.clone())];
        let rows = rows_of(&topic, self.config.shard);
        if !rows.is_empty() {
            records.push(Record::PartitionPut { hosted: hosted_of(&topic), rows });
        }
        let lsn = self.log_group(records);
        let unconfirmed: BTreeSet<ShardId> = topic
            .partitions
            .iter()
            .map(|placement| placement.shard)
            .filter(|shard| *shard != self.config.shard)
            .collect();
        for shard in &unconfirmed {
            let message = ShardMessage::Place { topic: topic.clone() };
            self.emit_after(lsn, Effect::Send { shard: *shard, message });
        }
        let replies = vec![(ctx.holder, ticket, reply)];
        if unconfirmed.is_empty() {
            self.topic_changed(replies);
        } else {
            self.peers.pending.insert(topic.id, Pending { unconfirmed, replies });
        }
        Ok(())
    }

    pub(super) fn delete_topic(&mut self, ctx: &Ctx, ticket: Ticket, id: TopicId) {
        let decided = if !self.is_cell() {
            Err(DeleteError::NotOwner)
        } else if self.failed {
            Err(DeleteError::LogFailed)
        } else {
            cell::decide_delete(&self.state.topics, ctx, id)
        };
        let topic = match decided {
            Ok(topic) => topic,
            Err(error) => {
                let after = if self.failed { Lsn(0) } else { self.state.topics.last_lsn };
                return self.reply_after(after, ctx.holder, ticket, Reply::Deleted(Err(error)));
            }
        };
        let mut records = vec![Record::TopicDelete(id)];
        let mut by_shard: BTreeMap<ShardId, Vec<PartitionId>> = BTreeMap::new();
        for placement in topic.partitions.iter() {
            by_shard.entry(placement.shard).or_default().push(placement.partition);
        }
        if let Some(partitions) = by_shard.remove(&self.config.shard) {
            records.push(Record::PartitionDrop { partitions });
        }
        let lsn = self.log_group(records);
        for (shard, partitions) in by_shard {
            self.emit_after(lsn, Effect::Send { shard, message: ShardMessage::Unplace { partitions } });
        }
        let mut replies = self.peers.pending.remove(&id).map_or(Vec::new(), |pending| pending.replies);
        replies.push((ctx.holder, ticket, Reply::Deleted(Ok(()))));
        self.topic_changed(replies);
    }

    fn topic_changed(&mut self, replies: Vec<(HolderId, Ticket, Reply)>) {
        self.peers.catalog_changed = true;
        self.peers.after_catalog.extend(replies);
    }

    /// Ends a drain: if what heads should see has changed, they get it when it is durable, before the replies that rest on it.
    pub(super) fn publish_catalog(&mut self) {
        if !std::mem::take(&mut self.peers.catalog_changed) {
            return;
        }
        let after = self.state.topics.last_lsn;
        let mut catalog: Catalog = self.state.topics.catalog.clone();
        for id in self.peers.pending.keys() {
            catalog.remove(*id);
        }
        if self.peers.shard_epochs.is_some() {
            self.emit_after(after, Effect::Catalog(catalog));
        }
        for (holder, ticket, reply) in std::mem::take(&mut self.peers.after_catalog) {
            self.reply_after(after, holder, ticket, reply);
        }
    }

    pub(super) fn message(&mut self, from: ShardId, message: ShardMessage) {
        if self.failed {
            return;
        }
        match message {
            ShardMessage::Reconcile { topics } => {
                let named: BTreeSet<PartitionId> = topics
                    .iter()
                    .flat_map(|topic| rows_of(topic, self.config.shard))
                    .map(|row| row.partition)
                    .collect();
                let here = self.state.partitions.ids_from(PartitionId(0));
                let partitions: Vec<PartitionId> = here.filter(|id| !named.contains(id)).collect();
                // In pieces, because a frame has a bound.
                for partitions in partitions.chunks(PARTITIONS_PER_TOPIC_MAX as usize) {
                    self.log(Record::PartitionDrop { partitions: partitions.to_vec() });
                }
                topics.into_iter().for_each(|topic| self.place(from, &topic));
            }
            ShardMessage::Place { topic } => self.place(from, &topic),
            ShardMessage::Unplace { partitions } => {
                let here = |id: &PartitionId| self.state.partitions.get(*id).is_some();
                let partitions: Vec<PartitionId> = partitions.into_iter().filter(here).collect();
                if !partitions.is_empty() {
                    self.log(Record::PartitionDrop { partitions });
                }
            }
            ShardMessage::Placed { topic } => self.placed(from, topic),
            ShardMessage::Epoch { epoch } => self.peer_epoch(from, epoch),
        }
    }

    /// Makes the partitions of a topic that belong here and are missing, and confirms them when they are durable.
    fn place(&mut self, home: ShardId, topic: &Topic) {
        let rows = rows_of(topic, self.config.shard);
        let missing: Vec<HostedRow> =
            rows.into_iter().filter(|row| self.state.partitions.get(row.partition).is_none()).collect();
        if !missing.is_empty() {
            self.log(Record::PartitionPut { hosted: hosted_of(topic), rows: missing });
        }
        let message = ShardMessage::Placed { topic: topic.id };
        self.emit_after(self.state.placement_lsn, Effect::Send { shard: home, message });
    }

    fn placed(&mut self, from: ShardId, id: TopicId) {
        let Some(pending) = self.peers.pending.get_mut(&id) else { return };
        pending.unconfirmed.remove(&from);
        if pending.unconfirmed.is_empty()
            && let Some(pending) = self.peers.pending.remove(&id)
        {
            self.topic_changed(pending.replies);
        }
    }

    fn peer_epoch(&mut self, from: ShardId, epoch: ShardEpoch) {
        let Some(epochs) = &self.peers.shard_epochs else { return };
        let mut epochs: Vec<ShardEpoch> = epochs.to_vec();
        let Some(known) = epochs.get_mut(from.0 as usize).filter(|known| **known != epoch) else { return };
        *known = epoch;
        let epochs: Arc<[ShardEpoch]> = epochs.into();
        self.peers.shard_epochs = Some(epochs.clone());
        if self.is_cell() {
            self.state.topics.catalog.set_shard_epochs(epochs);
            self.peers.catalog_changed = true;
        }
    }

    pub(super) fn fail_peers(&mut self) {
        let pending = std::mem::take(&mut self.peers.pending);
        let replies = pending.into_values().flat_map(|pending| pending.replies);
        let replies: Vec<_> = replies.chain(std::mem::take(&mut self.peers.after_catalog)).collect();
        for (holder, ticket, reply) in replies {
            self.reply_now(holder, ticket, super::release::log_failed(&reply));
        }
    }
}

/// A topic's partitions on one shard.
fn rows_of(topic: &Topic, shard: ShardId) -> Vec<HostedRow> {
    let rows = topic.partitions.iter().enumerate().filter(|(_, placement)| placement.shard == shard);
    rows.map(|(index, placement)| HostedRow {
        partition: placement.partition,
        index: index as u32,
        epoch_base: placement.epoch_base,
    })
    .collect()
}
