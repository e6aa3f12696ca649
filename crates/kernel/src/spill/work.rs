// SPDX-License-Identifier: Apache-2.0
//! What a spill computes off the shard: laying out a segment, encoding a checkpoint. Pure: plan in, bytes out.
//!
//! Owns: the plans, their outcome, the order of bytes. Must not know: when a spill is due, or whether it went well.

use crate::format::v1::checkpoint::{self, CheckpointState, ObjectKey};
use crate::format::v1::segment::{SegmentIndex, SegmentWriter};
use bytes::Bytes;
use model::media::{BlobKind, BlobName};
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
    ///
    /// # Panics
    /// When a plan breaks its own rules (order, overlap): better no file than one that lies.
    pub fn run(self) -> WorkDone {
        match self {
            Work::BuildSegment(plan) => build_segment(plan),
            Work::EncodeCheckpoint(plan) => encode_checkpoint(plan),
        }
    }
}

fn build_segment(mut plan: SegmentPlan) -> WorkDone {
    let name = BlobName { shard: plan.shard, kind: BlobKind::Segment, number: plan.number };
    plan.pieces.sort_unstable_by_key(|piece| piece.partition);
    let mut writer = SegmentWriter::new(name, plan.epoch);
    for piece in &plan.pieces {
        for batch in &piece.batches {
            let last_offset = batch.base_offset.plus(u64::from(batch.last_delta));
            writer.push(piece.partition, &batch.bytes, batch.base_offset, last_offset, batch.max_timestamp_ms);
        }
    }
    let (parts, index) = writer.finish();
    WorkDone::Segment { number: plan.number, parts, index }
}

fn encode_checkpoint(mut plan: CheckpointPlan) -> WorkDone {
    let name = BlobName { shard: plan.shard, kind: BlobKind::Checkpoint, number: plan.number };
    plan.objects.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    plan.segments.sort_unstable();
    if plan.is_base {
        // Nothing lies below a base that would have to be hidden.
        plan.objects.retain(|(_, value)| value.is_some());
    }
    let state = CheckpointState {
        name,
        epoch: plan.epoch,
        is_base: plan.is_base,
        base_number: plan.base_number,
        previous: plan.previous,
        lsn: plan.lsn,
        segments: plan.segments,
    };
    let parts = checkpoint::encode(&state, plan.objects.iter().map(|(key, value)| (key, value.as_deref())));
    WorkDone::Checkpoint { number: plan.number, parts }
}

#[cfg(test)]
mod tests;
