// SPDX-License-Identifier: Apache-2.0
//! Declaring and deleting topics, and the shards that own their partitions.
//!
//! Owns: the cell's side (what peers must still confirm, when the catalog is published) and the owner's side (making and dropping
//! partitions). Must not know: how messages travel; they arrive in order, or both sides restart.
//!
//! A topic is visible, and its declare answered, when it and all its partitions are durable; a change of it likewise, and until
//! then heads see the topic as it was. A message leaves when what it rests on is durable, so a peer never makes, changes or drops a
//! partition on account of something a crash takes back. No outbox is kept: after a start the cell sends every peer all topics
//! (`Reconcile`), and the peer makes what is missing, takes the settings that are new, and drops what is not named.
//! Each `Place` is confirmed by one `Placed`, so that what confirms an earlier change is not taken for the confirmation of a later.

use crate::catalog::{Catalog, Topic, cell};
use crate::command::{AlterTopic, Ctx, DeclareTopic};
use crate::effect::Effect;
use crate::error::{AlterError, DeclareError, DeleteError};
use crate::format::v1::entry::Record;
use crate::format::v1::object::hosted_of;
use crate::log::partition::{Hosted, HostedRow};
use crate::quota::DELAY_MS_MAX;
use crate::reply::{Altered, Declared, Reply};
use crate::shard::{Shard, ShardMessage};
use model::limits::PARTITIONS_PER_TOPIC_MAX;
use model::{HolderId, Lsn, PartitionId, ShardEpoch, ShardId, Ticket, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Peers {
    shard_epochs: Option<Arc<[ShardEpoch]>>,
    /// Topics whose partitions or settings are not all confirmed.
    pending: BTreeMap<TopicId, Pending>,
    /// The visible catalog must be published anew at the end of this drain, with these replies behind it.
    catalog_changed: bool,
    after_catalog: Vec<(HolderId, Ticket, Reply)>,
}

#[derive(Debug)]
struct Pending {
    /// What heads go on seeing: the topic before it was changed, nothing while it is new.
    visible: Option<Arc<Topic>>,
    /// How often each peer must still confirm.
    unconfirmed: BTreeMap<ShardId, u32>,
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
            // Who is told that it exists may use it at once, so it must be visible by then.
            let existing = self.state.topics.catalog.named(ctx.namespace, &declare.name).map(|topic| topic.id);
            let existing = existing.filter(|_| error == DeclareError::Exists);
            self.reply_with_topic(existing, ctx.holder, ticket, Reply::Declared(Err(error)));
        }
    }

    /// Answers something about a topic when heads see the topic as the answer has it.
    fn reply_with_topic(&mut self, id: Option<TopicId>, holder: HolderId, ticket: Ticket, reply: Reply) {
        if self.failed {
            self.reply_now(holder, ticket, reply);
        } else if let Some(pending) = id.and_then(|id| self.peers.pending.get_mut(&id)) {
            pending.replies.push((holder, ticket, reply));
        } else if self.peers.catalog_changed {
            self.peers.after_catalog.push((holder, ticket, reply));
        } else {
            self.reply_after(self.state.topics.last_lsn, holder, ticket, reply);
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
        if !self.has_room() {
            return Err(match self.is_storage_full() {
                true => DeclareError::StorageFull,
                false => DeclareError::Overloaded { retry_after_ms: DELAY_MS_MAX as u32 },
            });
        }
        let rows = rows_of(&topic, self.config.shard);
        self.put_topic(None, topic, rows, (ctx.holder, ticket, reply));
        Ok(())
    }

    pub(super) fn alter_topic(&mut self, ctx: &Ctx, ticket: Ticket, alter: &AlterTopic) {
        if let Err(error) = self.try_alter(ctx, ticket, alter) {
            // Who is told that it has changed looks again, and must then see it.
            let changed = (error == AlterError::Changed).then_some(alter.topic);
            self.reply_with_topic(changed, ctx.holder, ticket, Reply::Altered(Err(error)));
        }
    }

    fn try_alter(&mut self, ctx: &Ctx, ticket: Ticket, alter: &AlterTopic) -> Result<(), AlterError> {
        if !self.is_cell() {
            return Err(AlterError::NotOwner);
        }
        if self.failed {
            return Err(AlterError::LogFailed);
        }
        let (topics, next) = (&self.state.topics, self.state.partition_next);
        let topic = cell::decide_alter(topics, next, self.config.shard_count, ctx, alter)?;
        let reply = Reply::Altered(Ok(Altered { topic: topic.id, partition_count: alter.partition_count }));
        let before = self.state.topics.get(topic.id).cloned();
        let is_same = before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &topic));
        if alter.validate_only || is_same {
            self.reply_with_topic(Some(topic.id), ctx.holder, ticket, reply);
            return Ok(());
        }
        if !self.has_room() {
            return Err(match self.is_storage_full() {
                true => AlterError::StorageFull,
                false => AlterError::Overloaded { retry_after_ms: DELAY_MS_MAX as u32 },
            });
        }
        let rows = self.missing_rows(&topic);
        self.put_topic(before, topic, rows, (ctx.holder, ticket, reply));
        Ok(())
    }

    /// Logs a topic as it is from now on, with the partitions that are to be made here, and has its other shards follow. The reply
    /// leaves when they have.
    fn put_topic(
        &mut self,
        before: Option<Arc<Topic>>,
        topic: Arc<Topic>,
        rows: Vec<HostedRow>,
        reply: (HolderId, Ticket, Reply),
    ) {
        let mut records = vec![Record::TopicPut(topic.clone())];
        let hosted = hosted_of(&topic);
        if !rows.is_empty() || self.hosts_otherwise(&hosted) {
            records.push(Record::PartitionPut { hosted, rows });
        }
        let lsn = self.log_group(records);
        let placed = topic.partitions.iter().map(|placement| placement.shard);
        let peers: BTreeSet<ShardId> = placed.filter(|shard| *shard != self.config.shard).collect();
        for shard in &peers {
            let message = ShardMessage::Place { topic: topic.clone() };
            self.emit_after(lsn, Effect::Send { shard: *shard, message });
        }
        // What was pending before is still what heads see; it has a say in nothing else.
        if peers.is_empty() {
            return self.topic_changed(vec![reply]);
        }
        let pending = self.peers.pending.entry(topic.id);
        let pending =
            pending.or_insert_with(|| Pending { visible: before, unconfirmed: BTreeMap::new(), replies: Vec::new() });
        pending.replies.push(reply);
        for shard in peers {
            *pending.unconfirmed.entry(shard).or_default() += 1;
        }
    }

    /// Partitions of the topic are here under other settings.
    fn hosts_otherwise(&self, hosted: &Hosted) -> bool {
        self.state.hosted.get(&hosted.topic).is_some_and(|here| *here.hosted != *hosted)
    }

    /// The partitions of a topic that belong here and are not here.
    fn missing_rows(&self, topic: &Topic) -> Vec<HostedRow> {
        let mut rows = rows_of(topic, self.config.shard);
        rows.retain(|row| self.state.partitions.get(row.partition).is_none());
        rows
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
        for (id, pending) in &self.peers.pending {
            catalog.remove(*id);
            if let Some(topic) = &pending.visible {
                catalog.insert(topic.clone());
            }
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
                topics.into_iter().for_each(|topic| self.place(&topic));
            }
            ShardMessage::Place { topic } => {
                self.place(&topic);
                let message = ShardMessage::Placed { topic: topic.id };
                self.emit_after(self.state.placement_lsn, Effect::Send { shard: from, message });
            }
            ShardMessage::Unplace { partitions } => {
                // Those that never came here, too.
                partitions.iter().for_each(|id| self.gaps.forget(*id));
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

    /// Makes the partitions of a topic that belong here and are missing, and has those that are here follow its settings.
    fn place(&mut self, topic: &Topic) {
        let hosted = hosted_of(topic);
        let rows = self.missing_rows(topic);
        if !rows.is_empty() || self.hosts_otherwise(&hosted) {
            self.log(Record::PartitionPut { hosted, rows });
        }
    }

    fn placed(&mut self, from: ShardId, id: TopicId) {
        let Some(pending) = self.peers.pending.get_mut(&id) else { return };
        if let Some(count) = pending.unconfirmed.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                pending.unconfirmed.remove(&from);
            }
        }
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
