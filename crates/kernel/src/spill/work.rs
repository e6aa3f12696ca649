// SPDX-License-Identifier: Apache-2.0
//! What spills, merges and compactions compute off the shard: laying out a segment, copying into one, noting keys, encoding a checkpoint.
//! Pure: plan in, bytes out.
//!
//! Owns: the plans, their outcome, the order of bytes. Must not know: when a spill is due, or whether it went well.

use crate::command::Origin;
use crate::format::v1::checkpoint::{self, CheckpointState, ObjectKey};
use crate::format::v1::segment::{Place, SegmentIndex, SegmentWriter};
use crate::log::read::{self, BlockRange};
use crate::spill::compaction::{Keys, Rule};
use crate::spill::packing;
use bytes::Bytes;
use model::batch::Header;
use model::media::{BlobKind, BlobName};
use model::{Corrupt, Lsn, Offset, PartitionId, ShardEpoch, ShardId};
use std::collections::BTreeMap;

/// Pure computation to be run off the shard.
#[derive(Debug)]
pub enum Work {
    BuildSegment(SegmentPlan),
    EncodeCheckpoint(CheckpointPlan),
    MergeCopy(MergeCopy),
    MergeFinish(Box<SegmentWriter>),
    CompactNote(CompactNote),
    CompactCopy(CompactCopy),
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
    MergeCopied(MergeCopied),
    MergeFinished(MergeFinished),
    CompactNoted(CompactNoted),
    CompactCopied(CompactCopied),
}

/// Blocks whose keys are to be noted.
#[derive(Debug)]
pub struct CompactNote {
    pub keys: Box<Keys>,
    /// Where they were read from.
    pub name: BlobName,
    pub range: BlockRange,
    pub bytes: Bytes,
    /// Only what begins before.
    pub until: Offset,
}

/// What became of it.
#[derive(Debug)]
pub struct CompactNoted {
    pub keys: Box<Keys>,
    pub source: u64,
    /// Damage: this partition is not to be compacted.
    pub outcome: Result<(), Corrupt>,
}

/// Blocks to be copied without what is superseded.
#[derive(Debug)]
pub struct CompactCopy {
    pub writer: Box<SegmentWriter>,
    /// Where they were read from.
    pub name: BlobName,
    pub range: BlockRange,
    pub bytes: Bytes,
    pub keys: Box<Keys>,
    pub rule: Rule,
}

/// What became of it.
#[derive(Debug)]
pub struct CompactCopied {
    pub copied: MergeCopied,
    pub keys: Box<Keys>,
    /// When the first of the tombstones among them may go.
    pub tombstones_due_ms: Option<u64>,
}

/// Blocks of segments to be copied into another one.
#[derive(Debug)]
pub struct MergeCopy {
    pub writer: Box<SegmentWriter>,
    /// Whose segments they are.
    pub shard: ShardId,
    /// By partition and offset.
    pub ranges: Vec<MergeRange>,
    pub pieces: Vec<MergePiece>,
}

/// Some of them, of one run.
#[derive(Debug)]
pub struct MergeRange {
    pub range: BlockRange,
    /// They go on with the run of what was copied last.
    pub joined: bool,
    /// The number of the piece that they stand in.
    pub piece: usize,
}

/// What was read of a segment in one go, from one file.
#[derive(Debug)]
pub struct MergePiece {
    pub segment: u64,
    /// Its own file, or a slot of the log.
    pub file: BlobName,
    pub at: u64,
    pub end: u64,
    pub bytes: Bytes,
}

/// What became of it.
#[derive(Debug)]
pub struct MergeCopied {
    pub writer: Box<SegmentWriter>,
    /// To be put next; often none.
    pub parts: Vec<Bytes>,
    /// In this source damage was found: nothing of this may be used.
    pub rotten: Option<u64>,
}

/// The end of a merged segment.
#[derive(Debug)]
pub struct MergeFinished {
    pub parts: Vec<Bytes>,
    pub index: SegmentIndex,
}

/// What shall stand in a segment.
#[derive(Clone, Debug)]
pub struct SegmentPlan {
    pub shard: ShardId,
    pub epoch: ShardEpoch,
    pub number: u64,
    /// In any order, a partition at most once. One without batches is left out.
    pub pieces: Vec<PartitionPiece>,
    /// Batches that stand in slots of the log, and stay there.
    pub lent: BTreeMap<(PartitionId, Offset), Place>,
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
    /// Those that a head made are packed with their neighbours.
    pub origin: Origin,
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
            Work::MergeCopy(copy) => WorkDone::MergeCopied(merge_copy(copy)),
            Work::MergeFinish(writer) => {
                let (parts, index) = writer.finish();
                WorkDone::MergeFinished(MergeFinished { parts, index })
            }
            Work::CompactNote(note) => WorkDone::CompactNoted(compact_note(note)),
            Work::CompactCopy(copy) => WorkDone::CompactCopied(compact_copy(copy)),
        }
    }
}

fn build_segment(mut plan: SegmentPlan) -> WorkDone {
    let name = BlobName { shard: plan.shard, kind: BlobKind::Segment, number: plan.number };
    plan.pieces.sort_unstable_by_key(|piece| piece.partition);
    let mut writer = SegmentWriter::new(name, plan.epoch);
    for piece in &plan.pieces {
        let mut rest = piece.batches.as_slice();
        while !rest.is_empty() {
            let (neighbours, after) = rest.split_at(packing::neighbours(rest));
            rest = after;
            // A large batch has no neighbour that it is packed with.
            if let [batch] = neighbours
                && let Some(place) = plan.lent.get(&(piece.partition, batch.base_offset))
            {
                let offsets = (batch.base_offset, batch.base_offset.plus(u64::from(batch.last_delta)));
                writer.push_lent(piece.partition, &batch.bytes, *place, offsets, batch.max_timestamp_ms);
                continue;
            }
            let packed = packing::packed(neighbours);
            for batch in packed.as_ref().map_or(neighbours, std::slice::from_ref) {
                let last_offset = batch.base_offset.plus(u64::from(batch.last_delta));
                writer.push(piece.partition, &batch.bytes, batch.base_offset, last_offset, batch.max_timestamp_ms);
            }
        }
    }
    let (parts, index) = writer.finish();
    WorkDone::Segment { number: plan.number, parts, index }
}

fn merge_copy(copy: MergeCopy) -> MergeCopied {
    let MergeCopy { mut writer, shard, ranges, pieces } = copy;
    let mut rotten = None;
    for MergeRange { range, joined, piece } in &ranges {
        if !joined {
            writer.end_run();
        }
        let name = range.file(shard);
        let from = (range.at() - pieces[*piece].at) as usize;
        let bytes = pieces[*piece].bytes.slice(from..from + range.bytes() as usize);
        if copy_blocks(&mut writer, name, range, &bytes).is_err() {
            rotten = Some(range.segment);
            break;
        }
    }
    MergeCopied { parts: writer.take_parts(), writer, rotten }
}

/// Only bytes that their checksum proves are copied: damage must not get a new checksum.
fn copy_blocks(writer: &mut SegmentWriter, name: BlobName, range: &BlockRange, bytes: &Bytes) -> Result<(), Corrupt> {
    for stored in whole_batches(name, range, bytes)? {
        push(writer, range.partition, &stored.bytes, &stored.header, stored.block_timestamp_ms);
    }
    Ok(())
}

/// A batch without times has that of its block, which counts from when it was appended.
fn push(writer: &mut SegmentWriter, partition: PartitionId, batch: &Bytes, header: &Header, block_timestamp_ms: i64) {
    let stated = header.max_timestamp_ms;
    let max_timestamp_ms = if stated >= 0 { stated } else { block_timestamp_ms };
    let last_offset = Offset(header.next_offset().0 - 1);
    writer.push(partition, batch, header.base_offset, last_offset, max_timestamp_ms);
}

/// A batch as it stands in a segment.
pub(crate) struct Stored {
    /// Its position in the file.
    pub pos: u64,
    pub bytes: Bytes,
    pub header: Header,
    /// The largest time of its block.
    pub block_timestamp_ms: i64,
}

/// The batches of fetched blocks, whose checksums are looked at first.
pub(crate) fn whole_batches(name: BlobName, range: &BlockRange, bytes: &Bytes) -> Result<Vec<Stored>, Corrupt> {
    let mut batches = Vec::new();
    let mut at = 0;
    for block in &range.blocks {
        let end = at + block.bytes as usize;
        let block_bytes = bytes.slice(at..end);
        block.check(name, &block_bytes)?;
        for batch in read::batches(block.pos(), name, &block_bytes) {
            let (pos, header) = batch?;
            batches.push(Stored {
                pos: block.pos() + pos as u64,
                bytes: block_bytes.slice(pos..pos + header.bytes),
                header,
                block_timestamp_ms: block.max_timestamp_ms,
            });
        }
        at = end;
    }
    Ok(batches)
}

/// For a batch whose records are not well formed.
pub(crate) fn unreadable(name: BlobName, at: u64) -> Corrupt {
    Corrupt { name: name.to_string(), at, why: "the records of the batch here cannot be read".to_owned() }
}

fn compact_note(note: CompactNote) -> CompactNoted {
    let CompactNote { mut keys, name, range, bytes, until } = note;
    let outcome = keys.note(name, &range, &bytes, until);
    CompactNoted { keys, source: range.segment, outcome }
}

fn compact_copy(copy: CompactCopy) -> CompactCopied {
    let CompactCopy { mut writer, name, range, bytes, keys, rule } = copy;
    let thinned = keys.thin_blocks(&rule, name, &range, &bytes, |batch, header, block_timestamp_ms| {
        push(&mut writer, range.partition, batch, header, block_timestamp_ms);
    });
    let rotten = thinned.is_err().then_some(range.segment);
    let copied = MergeCopied { parts: writer.take_parts(), writer, rotten };
    CompactCopied { copied, keys, tombstones_due_ms: thinned.unwrap_or_default() }
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
