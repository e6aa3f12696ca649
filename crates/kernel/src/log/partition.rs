// SPDX-License-Identifier: Apache-2.0
//! A partition: a dense sequence of offsets, and where its batches are.
//!
//! Owns: one partition's durable state, its index of batches, its watermarks and watches. Must not know: other partitions.
//!
//! ```text
//!          start     visible_start              high = stable          next
//! offsets ---|------------|-------------------------|--------------------|
//!            decided      what readers see,         durable              decided
//!            (a trim)     durable                                        (appends)
//!          [ runs, in segments          ][ tail entries, in frames       ]
//! ```
//! Invariants (`invariants::partition`):
//!   1. `visible_start <= start`, `visible_start <= stable <= high <= next`, and none of them ever moves back.
//!   2. Runs, then tail entries, stand in order, without overlap, and cover every offset from `visible_start` to `next`; only a
//!      salvage of damaged data leaves gaps among the runs, and a read goes on behind them.
//!   3. A batch leaves runs and tail only when the trim that removed it is durable.

use crate::command::Compaction;
use crate::format::v1::segment::Run;
use crate::log::partition_producers::PartitionProducers;
use crate::log::tail::TailEntry;
use model::{HolderId, LeaderEpoch, Lsn, NamespaceId, Offset, PartitionId, ShardEpoch, TopicId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What a shard with partitions of a topic must know to act upon them. Shared by all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosted {
    pub topic: TopicId,
    pub namespace: NamespaceId,
    pub name: Arc<str>,
    pub retention_ms: Option<u64>,
    pub retention_bytes: Option<u64>,
    pub batch_bytes_max: u32,
    pub compaction: Option<Compaction>,
}

/// One partition of a hosted topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostedRow {
    pub partition: PartitionId,
    /// Its place in the topic.
    pub index: u32,
    pub epoch_base: i32,
}

/// A contiguous piece of the partition in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRef {
    pub segment: u64,
    /// Its number among the segment's runs.
    pub run: u32,
    pub first: Offset,
    /// The offset after the last record.
    pub end: Offset,
}

impl RunRef {
    /// To a segment's run with this number.
    pub fn of(segment: u64, number: usize, run: &Run) -> RunRef {
        RunRef { segment, run: number as u32, first: run.first_offset, end: run.last_offset.plus(1) }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Partition {
    pub id: PartitionId,
    pub hosted: Arc<Hosted>,
    pub index: u32,
    pub epoch_base: i32,

    // Durable: in every checkpoint, folded from records.
    pub start: Offset,
    pub next: Offset,
    /// Leader epochs under which something was appended, with the first offset of each.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    pub producers: PartitionProducers,

    // Where the batches are: rebuilt at open.
    pub tail: VecDeque<TailEntry>,
    pub tail_bytes: u64,
    pub runs: Vec<RunRef>,
    /// Of the runs, whole, also where a trim has taken some of one.
    pub run_bytes: u64,

    // Volatile.
    /// The last frame that changed this partition.
    pub last_lsn: Lsn,
    pub visible_start: Offset,
    pub high: Offset,
    pub watches: Option<Box<BTreeSet<(HolderId, u64)>>>,
    /// Changed since the last checkpoint's cut.
    pub dirty: bool,
    /// The last checkpoint cut that this partition was written for, or did not yet exist at.
    pub captured: u32,
}

impl Partition {
    pub fn new(hosted: Arc<Hosted>, row: HostedRow) -> Partition {
        Partition {
            id: row.partition,
            hosted,
            index: row.index,
            epoch_base: row.epoch_base,
            start: Offset(0),
            next: Offset(0),
            epochs: Vec::new(),
            producers: PartitionProducers::default(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            runs: Vec::new(),
            run_bytes: 0,
            last_lsn: Lsn(0),
            visible_start: Offset(0),
            high: Offset(0),
            watches: None,
            dirty: false,
            captured: 0,
        }
    }

    /// The epoch that clients see while its shard is in `shard_epoch`.
    pub fn leader_epoch(&self, shard_epoch: ShardEpoch) -> LeaderEpoch {
        LeaderEpoch(self.epoch_base.saturating_add(i32::try_from(shard_epoch.0).unwrap_or(i32::MAX)))
    }

    /// Everything below is decided: no open transaction reaches below it. (No transaction exists yet.)
    pub fn stable(&self) -> Offset {
        self.high
    }

    /// The first offset that stands in the tail.
    pub fn tail_start(&self) -> Offset {
        self.tail.front().map_or(self.next, |entry| entry.base)
    }

    /// The tail entry that `offset` stands in, or the first after it.
    pub fn tail_index(&self, offset: Offset) -> usize {
        self.tail.partition_point(|entry| entry.end() <= offset)
    }

    /// The run that `offset` stands in, or the first after it.
    pub fn run_index(&self, offset: Offset) -> usize {
        self.runs.partition_point(|run| run.end <= offset)
    }

    /// Lets go of what a durable trim has removed; the runs that went are given to `released`, which tells their bytes.
    pub fn release(&mut self, mut released: impl FnMut(&RunRef) -> u64) {
        let gone = self.tail_index(self.visible_start);
        for entry in self.tail.drain(..gone) {
            self.tail_bytes -= u64::from(entry.bytes);
        }
        if self.tail.is_empty() && self.tail.capacity() > 64 {
            self.tail = VecDeque::new();
        }
        let gone = self.run_index(self.visible_start);
        self.run_bytes -= self.runs.drain(..gone).map(|run| released(&run)).sum::<u64>();
    }
}
