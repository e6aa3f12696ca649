// SPDX-License-Identifier: Apache-2.0
//! What the threads of a running node share.
//!
//! Owns: nothing but the wiring: who is reached where. `docs/internals/threads.md` draws it.

use crate::clock::Clock;
use crate::failure::Failure;
use crate::holders::Holders;
use crate::jobs::Jobs;
use crate::shard_cell::ShardCell;
use crate::wal_thread::WalQueue;
use arc_swap::ArcSwap;
use kernel::{Catalog, Shard};
use model::ShardId;
use ops::{Health, Metrics};
use std::sync::Arc;

/// See the module.
pub struct Node {
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub failure: Failure,
    pub holders: Holders,
    /// What heads resolve names against: the home shard's, as last published.
    pub catalog: ArcSwap<Catalog>,
    pub shards: Vec<ShardCell>,
    pub wal: WalQueue,
    /// Writes and deletes of blobs, computations, preparation of log slots: one thread.
    pub background: Jobs,
    /// Reads of blobs: a small pool.
    pub cold_reads: Jobs,
    pub runtime: tokio::runtime::Handle,
}

/// The parts that are made before the node is.
pub struct Parts {
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub failure: Failure,
    pub runtime: tokio::runtime::Handle,
}

impl Node {
    /// Puts opened shards behind their tokens.
    pub fn new(parts: Parts, shards: Vec<Shard>) -> Arc<Node> {
        Arc::new(Node {
            clock: parts.clock,
            metrics: parts.metrics,
            health: parts.health,
            failure: parts.failure,
            holders: Holders::default(),
            catalog: ArcSwap::from_pointee(Catalog::default()),
            shards: shards.into_iter().enumerate().map(|(n, shard)| ShardCell::new(ShardId(n as u32), shard)).collect(),
            wal: WalQueue::default(),
            background: Jobs::default(),
            cold_reads: Jobs::default(),
            runtime: parts.runtime,
        })
    }

    /// The cell of a shard, if there is one of that number.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardCell> {
        self.shards.get(shard.0 as usize)
    }
}
