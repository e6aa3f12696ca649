// SPDX-License-Identifier: Apache-2.0
//! A shard: owns everything below it; the only place that orders effects. (Surface only so far.)

use crate::catalog::{Catalog, Topic};
use crate::command::{Command, Ctx};
use crate::coordinator::Coordinator;
use crate::effect::Effect;
use crate::spill::WorkDone;
use model::media::{BlobDone, BlobTag, Blobs, MediaError, WalDone, WalOpened};
use model::{Corrupt, Lsn, Now, PartitionId, ShardEpoch, ShardId, Ticket};
use std::sync::Arc;

/// What is fixed when a shard is opened.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub shard: ShardId,
    pub shard_count: u32,
    /// The memory tail (= the unspilled log) may take this many bytes; a spill starts at half of it, admission slows from three
    /// quarters.
    pub tail_bytes_max: u64,
    /// How often retention is looked at.
    pub retention_check_ms: u64,
    /// Idle producers are forgotten after this.
    pub producer_expiry_ms: u64,
    /// Most producers remembered by the shard, counted per partition; the longest idle are forgotten first.
    pub producers_max: u32,
}

impl Default for ShardConfig {
    fn default() -> ShardConfig {
        ShardConfig {
            shard: ShardId::META,
            shard_count: 1,
            tail_bytes_max: 256 * 1024 * 1024,
            retention_check_ms: 5_000,
            producer_expiry_ms: 24 * 60 * 60 * 1000,
            producers_max: 1_000_000,
        }
    }
}

/// Recovery, first step: the newest checkpoint is loaded, and with it is known where the log must be read from.
pub struct Loaded {
    _private: (),
}

/// Why a shard cannot be opened. All but `Media` name a place that the operator can look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    Corrupt(Corrupt),
    /// Written by a newer version: the feature that this one does not know.
    Newer {
        name: String,
        feature: String,
    },
    Media(MediaError),
}

impl Loaded {
    /// Reads the newest good checkpoint of the shard. A newest one that is torn is passed over if the log still reaches back to
    /// its predecessor (decided in `Shard::open`).
    pub fn load(_config: &ShardConfig, _blobs: &mut dyn Blobs) -> Result<Loaded, OpenError> {
        Ok(Loaded { _private: () })
    }

    /// The first frame needed: give it to the log's `open`.
    pub fn wal_from(&self) -> Lsn {
        Lsn(1)
    }
}

/// Message between shards of one node. At start each shard is told what its peers know (`Shard::hello`), which makes up for
/// messages lost with the previous life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardMessage {
    /// Home to owner: these are all the partitions placed on you; make what is missing, drop what is not named.
    Reconcile { topics: Vec<Arc<Topic>> },
    /// Home to owner: make the partitions of this topic that are placed on you.
    Place { topic: Arc<Topic> },
    /// Home to owner: drop them.
    Unplace { partitions: Vec<PartitionId> },
    /// Owner to home: the partitions of this topic are durable here.
    Placed { topic: model::TopicId },
    /// Owner to home: this shard has opened in this epoch.
    Epoch { epoch: ShardEpoch },
}

/// See the module.
pub struct Shard {
    _private: (),
}

/// Figures for `/metrics` and for tests; all cheap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardFigures {
    pub partitions: u64,
    pub topics: u64,
    pub producers: u64,
    pub tail_bytes: u64,
    pub tail_batches: u64,
    pub segment_count: u64,
    pub segment_bytes: u64,
    pub applied: Lsn,
    pub durable: Lsn,
    pub appended_batches: u64,
    pub appended_records: u64,
    pub appended_bytes: u64,
    pub read_bytes: u64,
    pub cold_read_bytes: u64,
    pub spills: u64,
    pub spill_failures: u64,
    pub checkpoints: u64,
    pub parked_publishes: u64,
    pub duplicate_publishes: u64,
    /// Batches whose compressed records turned out not to be well formed when a reader inside the broker opened them.
    pub malformed_batches: u64,
    pub corrupt_reads: u64,
}

impl Shard {
    /// Recovery, last step: folds the log's frames over the loaded state. Afterwards everything is as it was at the last durable
    /// frame.
    pub fn open(
        _config: ShardConfig,
        _loaded: Loaded,
        _wal: WalOpened,
        _coordinators: Vec<Box<dyn Coordinator>>,
        _now: Now,
    ) -> Result<Shard, OpenError> {
        Ok(Shard { _private: () })
    }

    /// Called once on every shard after all are open, with every shard's epoch. Emits the first catalog and what peers must know.
    pub fn hello(&mut self, _now: Now, _shard_epochs: Arc<[ShardEpoch]>) {}

    /// This life's epoch.
    pub fn epoch(&self) -> ShardEpoch {
        ShardEpoch(0)
    }

    /// Takes a command. Its reply comes as an effect, perhaps at once, perhaps never (a command without reply, or the log fails).
    pub fn submit(&mut self, _now: Now, _ctx: &Ctx, _ticket: Ticket, _command: Command) {}

    /// A message from a peer shard.
    pub fn handle_message(&mut self, _now: Now, _from: ShardId, _message: ShardMessage) {}

    /// The log answered.
    pub fn handle_wal(&mut self, _now: Now, _done: WalDone) {}

    /// A blob operation was answered.
    pub fn handle_blob(&mut self, _now: Now, _tag: BlobTag, _done: BlobDone) {}

    /// A computation is finished.
    pub fn handle_work(&mut self, _now: Now, _done: WorkDone) {}

    /// `poll_timeout` came due.
    pub fn handle_timeout(&mut self, _now: Now) {}

    /// Ends a drain: what was decided since the last call becomes one frame (or several, past the size target) and goes to the
    /// log. The driver calls it after every run of the calls above and before it takes effects.
    pub fn finish(&mut self, _now: Now) {}

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    /// When `handle_timeout` wants to be called (monotonic microseconds).
    pub fn poll_timeout(&self) -> Option<u64> {
        None
    }

    /// Asks for a spill and checkpoint now (clean stop). Done when `idle()`.
    pub fn request_checkpoint(&mut self, _now: Now) {}

    /// True when nothing is under way: no frame undurable, no spill, no reply waiting.
    pub fn idle(&self) -> bool {
        true
    }

    /// The catalog as decided, durable or not. For tests and offline tools.
    pub fn catalog(&self) -> &Catalog {
        unreachable!("surface only")
    }

    pub fn figures(&self) -> ShardFigures {
        ShardFigures::default()
    }

    /// A hash of all durable state at the last applied frame: equal for a live shard and one replayed to the same frame.
    pub fn state_hash(&self) -> u64 {
        0
    }
}
