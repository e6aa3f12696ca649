// SPDX-License-Identifier: Apache-2.0
//! Watches: who wants to be told when a partition has more.
//!
//! Owns: which are set, and firing each once. Must not know: what the holder does then.
//!
//! A watch is set by a read that reaches the end, per (holder, number, partition), and fires once. It stands in its partition, so an
//! append finds it without a search, and in an index by holder, so that a holder that is gone takes its watches along.

use crate::effect::Effect;
use crate::log::partition::Partition;
use crate::shard::Shard;
use model::planted::{Bug, planted};
use model::{HolderId, PartitionId};
use std::collections::BTreeSet;

/// Most watches of a shard. Beyond, a watch fires at once instead of being set: the holder polls.
const WATCHES_MAX: usize = 4_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watches {
    by_holder: BTreeSet<(HolderId, PartitionId, u64)>,
    /// Fired since the last flush, each (holder, number) once.
    fired: BTreeSet<(HolderId, u64)>,
}

impl Watches {
    pub(super) fn fire(&mut self, partition: PartitionId, watches: BTreeSet<(HolderId, u64)>) {
        for (holder, watch) in watches {
            self.by_holder.remove(&(holder, partition, watch));
            if planted(Bug::WakeLost) && !self.fired.is_empty() {
                continue;
            }
            self.fired.insert((holder, watch));
        }
    }
}

impl Shard {
    pub(super) fn watch(&mut self, partition: PartitionId, holder: HolderId, watch: u64) {
        if self.watches.by_holder.len() >= WATCHES_MAX {
            self.effects.push_back(Effect::Wake { holder, watch });
            return;
        }
        if let Some(found) = self.state.partitions.get_mut(partition)
            && found.watches.get_or_insert_default().insert((holder, watch))
        {
            self.watches.by_holder.insert((holder, partition, watch));
        }
    }

    /// A partition is gone: whoever watches it is told.
    pub(super) fn wake_all(&mut self, partition: Partition) {
        if let Some(watches) = partition.watches {
            self.watches.fire(partition.id, *watches);
        }
    }

    pub(super) fn flush_wakes(&mut self) {
        for (holder, watch) in std::mem::take(&mut self.watches.fired) {
            self.effects.push_back(Effect::Wake { holder, watch });
        }
    }

    /// The holder is gone.
    pub(super) fn unwatch(&mut self, holder: HolderId) {
        self.cold.forget(holder);
        let range = (holder, PartitionId(0), 0)..=(holder, PartitionId(u64::MAX), u64::MAX);
        let gone: Vec<(HolderId, PartitionId, u64)> = self.watches.by_holder.range(range).copied().collect();
        for key in gone {
            self.watches.by_holder.remove(&key);
            let (holder, partition, watch) = key;
            if let Some(partition) = self.state.partitions.get_mut(partition)
                && let Some(watches) = &mut partition.watches
            {
                watches.remove(&(holder, watch));
                if watches.is_empty() {
                    partition.watches = None;
                }
            }
        }
    }
}
