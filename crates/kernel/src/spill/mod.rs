// SPDX-License-Identifier: Apache-2.0
//! The spill: memory tail to sorted segment, and the checkpoint with it. One boundary, C, moves.
//!
//! Owns: when a spill is due, its order, what it frees. Must not know: how segment and checkpoint are laid out (`work.rs`, computed
//! elsewhere), how blobs are kept.
//!
//! ```text
//! cut at the last closed frame C     state at C begins to be captured (state/capture.rs), in slices
//! ask the log for slots (lending.rs)  only where most of it is large batches, which then stay where they are
//! segment: build, put                the tail's batches up to C, sorted by partition; none if nothing is left of them
//! wait until C is durable            a checkpoint never holds what a crash could take back
//! checkpoint: encode, put            names all live segments; base, or delta to the one before
//! then, and not before:              the log is trimmed to C, tail entries become runs, frames are freed (in slices),
//!                                    what no checkpoint names any more is deleted
//! ```
//! A merge or a compaction that is ready (`merge.rs`, `compaction.rs`) rides on the next checkpoint.
//! Where it stops: a put without space, or failed, is tried again every `RETRY_MS`. Nothing is given up meanwhile: reads go on, the
//! tail fills, and admission refuses publishes when it is full.
//! On a full disk that would be for ever: what deleting a topic or a trim sets free goes with a checkpoint, and there is no room for one. So
//! while space is short a record in the log, which has its room already, says which segments hold nothing any more, and when that is durable they go; a
//! start does not miss them. Where what is dead shares segments with what is alive, a reserve lets it be copied out (`reserve.rs`).
//! Invariant: numbers of segments and checkpoints are never used again, for other bytes.

pub mod checkpoint;
pub(crate) mod compaction;
mod lending;
pub(crate) mod merge;
mod packing;
pub mod read_blob;
pub(crate) mod reserve;
pub mod segment_index;
pub mod segments;
#[cfg(test)]
mod test_blobs;
pub mod work;

pub use work::{CheckpointPlan, PartitionPiece, PlannedBatch, SegmentPlan, Work, WorkDone};

use crate::effect::Effect;
use crate::format::v1::entry::Record;
use crate::format::v1::object;
use crate::format::v1::segment::{Place, Run, SegmentIndex};
use crate::log::partition::RunRef;
use crate::log::trim::max_timestamp_ms;
use crate::shard::Shard;
use crate::shard::{BlobUse, Timer};
use crate::state::capture::Captured;
use bytes::Bytes;
use checkpoint::LoadedCheckpoints;
use lending::Large;
use merge::Merged;
use model::media::{BlobKind, BlobName, BlobOp, MediaError, WalOp};
use model::planted::{Bug, planted};
use model::{Lsn, Now, Offset, PartitionId};
use reserve::Reserve;
use std::collections::BTreeMap;

/// Between tries of a put that failed.
const RETRY_MS: u64 = 2_000;
/// Segments that one record lets go.
const GONE_A_RECORD_MAX: usize = 1_024;
/// Work of one slice of a capture.
const BATCHES_A_SLICE: usize = 4_096;
const PARTITIONS_A_SLICE: usize = 8_192;
const OBJECTS_A_SLICE: usize = 1_024;
/// Work of one slice of what comes after the checkpoint.
const RUNS_A_SLICE: usize = 1_024;
const BYTES_FREED_A_SLICE: u64 = 4 * 1024 * 1024;
/// Deltas on one base, and the least bytes of them, before a new base is due.
const CHAIN_MAX: usize = 32;
const DELTA_BYTES_MIN: u64 = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Spill {
    segment_next: u64,
    checkpoint_next: u64,
    /// The newest checkpoint's chain: base, then deltas.
    chain: Vec<u64>,
    base_bytes: u64,
    delta_bytes: u64,
    /// The newest checkpoint's frame.
    done_lsn: Lsn,
    requested: bool,
    no_space: bool,
    /// Blobs found at open that are part of nothing. They go when the next checkpoint is durable, which remembers that their
    /// numbers were used; or at once when space is short.
    leftovers: Vec<BlobName>,
    /// Segments that go before a checkpoint says so, when this frame is durable.
    gone: Option<(Lsn, Vec<u64>)>,
    pub(crate) reserve: Reserve,
    job: Option<Job>,
}

/// A spill under way.
#[derive(Debug)]
struct Job {
    cut: Lsn,
    /// The frame that must be durable before the checkpoint: the cut, or a later drop of a partition that the capture did not see any
    /// more. Else the partition could come back without its records.
    needs: Lsn,
    stage: Stage,
    requested: bool,
    is_base: bool,
    /// Where the next slice goes on.
    from: Option<(PartitionId, Offset)>,
    pieces: Vec<PartitionPiece>,
    captured_bytes: u64,
    /// The large ones among the batches of the pieces.
    larges: Vec<Large>,
    /// Slots that the segment being built is to have.
    taken: Vec<u32>,
    objects: Option<Vec<Captured>>,
    /// Live at the cut, and then the new one.
    segments: Vec<u64>,
    index: Option<SegmentIndex>,
    checkpoint: u64,
    /// What is being put.
    name: BlobName,
    parts: Vec<Bytes>,
    /// The segment's bytes after they were put: freed in slices, because a hundred megabytes at once take milliseconds.
    spent: Vec<Bytes>,
    /// Runs of the new segment that are still to take the place of tail entries.
    runs: Vec<(PartitionId, RunRef)>,
    /// A merge that this checkpoint makes true: segments that go, and runs that are still to take the place of theirs.
    merged: Option<Merged>,
    merged_runs: Vec<(PartitionId, RunRef)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Capturing,
    WaitingToAsk,
    Asking,
    BuildingSegment,
    PuttingSegment,
    WaitingDurable,
    EncodingCheckpoint,
    PuttingCheckpoint,
    Moving,
}

impl Spill {
    pub(crate) fn new(loaded: &LoadedCheckpoints, segment_next: u64, leftovers: Vec<BlobName>) -> Spill {
        Spill {
            segment_next,
            checkpoint_next: loaded.highest_number + 1,
            chain: loaded.chain.clone(),
            base_bytes: loaded.base_bytes,
            delta_bytes: loaded.delta_bytes,
            done_lsn: loaded.lsn,
            requested: false,
            no_space: false,
            leftovers,
            gone: None,
            reserve: Reserve::default(),
            job: None,
        }
    }

    /// The last put found no space.
    pub(crate) fn no_space(&self) -> bool {
        self.no_space
    }

    /// Blobs of an earlier life that are part of nothing: they go with the next checkpoint, which remembers their numbers.
    #[cfg(test)]
    pub(crate) fn leftovers(&self) -> &[BlobName] {
        &self.leftovers
    }

    pub(crate) fn request(&mut self) {
        self.requested = true;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.job.is_none() && !self.requested
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.job.is_some()
    }

    /// Its runs, and those of the merge that rides on it, are being handed out to partitions.
    pub(crate) fn is_moving(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.stage == Stage::Moving)
    }

    /// The merge that the checkpoint under way makes true.
    pub(crate) fn riding(&self) -> Option<&Merged> {
        self.job.as_ref()?.merged.as_ref()
    }

    /// A number for a new segment.
    pub(crate) fn take_segment_number(&mut self) -> u64 {
        self.segment_next += 1;
        self.segment_next - 1
    }

    /// There is more to do for which no event must be waited.
    pub(crate) fn wants_slice(&self) -> bool {
        self.job.as_ref().is_some_and(|job| matches!(job.stage, Stage::Capturing | Stage::Moving))
    }
}

fn total(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

/// What partitions are to know of a segment's runs.
fn run_refs(index: &SegmentIndex) -> Vec<(PartitionId, RunRef)> {
    let run_ref = |(number, run): (usize, &Run)| (run.partition, RunRef::of(index.number, number, run));
    index.runs.iter().enumerate().map(run_ref).collect()
}

impl Shard {
    /// There is a reason to begin a spill, and none is under way.
    pub(crate) fn spill_is_due(&self, is_wanted: bool) -> bool {
        let is_half_full = self.tail_bytes() >= self.config.tail_bytes_max / 2;
        self.spill.job.is_none() && (is_half_full || is_wanted || self.spill.requested || self.merge.is_ready())
    }

    /// Begins a spill if one is due; true when it did. Called when the open frame has just been closed, so that the state is that of the last closed
    /// frame.
    pub(crate) fn spill_start(&mut self, is_wanted: bool) -> bool {
        if self.spill.job.is_some() {
            return false;
        }
        let cut = self.state.applied;
        let is_merged = self.merge.is_ready();
        let is_due = self.spill_is_due(is_wanted);
        let requested = std::mem::take(&mut self.spill.requested);
        if !is_due || (cut <= self.spill.done_lsn && !is_merged) {
            return false;
        }
        let spill = &mut self.spill;
        let is_base = spill.chain.is_empty()
            || spill.chain.len() >= CHAIN_MAX
            || spill.delta_bytes > spill.base_bytes.max(DELTA_BYTES_MIN);
        let checkpoint = spill.checkpoint_next;
        spill.checkpoint_next += 1;
        self.state.begin_capture(is_base);
        self.merge.spill_begins(self.tail.bytes());
        let mut segments = self.segments.referred();
        let merged = self.merge.take_ready();
        if let Some(merged) = &merged {
            let emptied = match merged.compacted {
                None => merged.sources.clone(),
                Some((id, row)) => self.emptied_by(id, row.replaced),
            };
            segments.retain(|number| !emptied.contains(number));
            segments.push(merged.index.number);
            // Its number was taken before those of later spills.
            segments.sort_unstable();
        }
        self.spill.job = Some(Job {
            cut,
            needs: cut,
            stage: Stage::Capturing,
            requested,
            is_base,
            from: Some((PartitionId(0), Offset(0))),
            pieces: Vec::new(),
            captured_bytes: 0,
            larges: Vec::new(),
            taken: Vec::new(),
            objects: None,
            segments,
            index: None,
            checkpoint,
            name: BlobName { shard: self.config.shard, kind: BlobKind::Checkpoint, number: checkpoint },
            parts: Vec::new(),
            spent: Vec::new(),
            runs: Vec::new(),
            merged,
            merged_runs: Vec::new(),
        });
        true
    }

    /// Goes on with a spill as far as it can without an event.
    pub(crate) fn spill_step(&mut self) {
        let durable = self.durable_lsn();
        self.remove_gone(durable);
        self.give_back_early();
        match self.spill.job.as_ref().map(|job| (job.stage, job.cut, job.needs)) {
            Some((Stage::Capturing, cut, _)) => self.capture_slice(cut),
            Some((Stage::Moving, cut, _)) => self.move_slice(cut),
            Some((Stage::WaitingToAsk, cut, _)) if durable >= cut => self.ask_now(),
            Some((Stage::WaitingDurable, _, needs)) if durable >= needs || planted(Bug::CheckpointAheadOfData) => {
                self.encode_checkpoint();
            }
            _ => {}
        }
    }

    fn capture_slice(&mut self, cut: Lsn) {
        let Some(job) = &mut self.spill.job else { return };
        if job.objects.is_none() {
            job.objects = self.state.continue_capture(OBJECTS_A_SLICE);
        }
        let mut batches = 0;
        let mut partitions = 0;
        while batches < BATCHES_A_SLICE
            && partitions < PARTITIONS_A_SLICE
            && let Some((id, offset)) = job.from
        {
            partitions += 1;
            let Some(partition) =
                self.state.partitions.ids_from(id).next().and_then(|id| self.state.partitions.get(id))
            else {
                job.from = None;
                break;
            };
            let offset = if partition.id == id { offset } else { Offset(0) };
            job.from = Some((PartitionId(partition.id.0 + 1), Offset(0)));
            for entry in partition.tail.range(partition.tail_index(offset)..) {
                if self.tail.lsn(entry) > cut {
                    break;
                }
                if batches == BATCHES_A_SLICE {
                    job.from = Some((partition.id, entry.base));
                    break;
                }
                let Some(bytes) = self.tail.batch(entry) else { break };
                batches += 1;
                job.captured_bytes += bytes.len() as u64;
                if bytes.len() as u64 >= self.config.lent_batch_bytes_min {
                    let (frame, pos) = (self.tail.lsn(entry), entry.pos());
                    let (partition, base_offset, bytes) = (partition.id, entry.base, entry.bytes);
                    job.larges.push(Large { partition, base_offset, bytes, frame, pos });
                }
                let max_timestamp_ms = max_timestamp_ms(&self.tail, entry);
                let (base_offset, last_delta) = (entry.base, entry.last_delta);
                let origin = self.tail.origin(entry);
                let batch = PlannedBatch { bytes, base_offset, last_delta, max_timestamp_ms, origin };
                match job.pieces.last_mut() {
                    Some(piece) if piece.partition == partition.id => piece.batches.push(batch),
                    _ => {
                        // All of them at once: growing would copy megabytes in one slice.
                        let count = partition.tail.partition_point(|entry| self.tail.lsn(entry) <= cut);
                        let mut batches = Vec::with_capacity(count);
                        batches.push(batch);
                        job.pieces.push(PartitionPiece { partition: partition.id, batches });
                    }
                }
            }
        }
        if job.from.is_none() && job.objects.is_some() {
            self.ask_for_slots();
        }
    }

    /// `lent`: batches that stay where they are.
    fn build_segment(&mut self, lent: BTreeMap<(PartitionId, Offset), Place>) {
        let Some(job) = &mut self.spill.job else { return };
        job.needs = job.cut.max(self.state.placement_lsn);
        if job.pieces.is_empty() {
            job.stage = Stage::WaitingDurable;
            return self.spill_step();
        }
        job.stage = Stage::BuildingSegment;
        let pieces = std::mem::take(&mut job.pieces);
        let number = self.spill.take_segment_number();
        let plan = SegmentPlan { shard: self.config.shard, epoch: self.epoch, number, pieces, lent };
        self.effects.push_back(Effect::Work(Work::BuildSegment(plan)));
    }

    fn encode_checkpoint(&mut self) {
        let Some(job) = &mut self.spill.job else { return };
        job.stage = Stage::EncodingCheckpoint;
        let mut objects = job.objects.take().unwrap_or_default();
        objects.push((object::key_spill(), Some(object::encode_spill(self.spill.segment_next))));
        let compacted = job.merged.as_ref().and_then(|merged| merged.compacted);
        let older = self.compaction.rows().filter(|(id, _)| compacted.is_none_or(|(compacted, _)| compacted != *id));
        let rows = older.filter(|_| job.is_base).map(|(id, row)| (id, *row)).chain(compacted);
        objects.extend(rows.map(|(id, row)| (object::key_compacted(id), Some(object::encode_compacted(&row)))));
        let plan = CheckpointPlan {
            shard: self.config.shard,
            number: job.checkpoint,
            is_base: job.is_base,
            base_number: if job.is_base { job.checkpoint } else { self.spill.chain.first().copied().unwrap_or(0) },
            previous: if job.is_base { None } else { self.spill.chain.last().copied() },
            epoch: self.epoch,
            lsn: job.cut,
            segments: job.segments.clone(),
            objects,
        };
        if planted(Bug::TrimTooEarly) {
            self.effects.push_back(Effect::Wal(WalOp::Trim { below: job.cut.next() }));
        }
        self.effects.push_back(Effect::Work(Work::EncodeCheckpoint(plan)));
    }

    pub(crate) fn work_done(&mut self, done: WorkDone) {
        let shard = self.config.shard;
        let done = match done {
            WorkDone::MergeCopied(copied) => return self.merge_copied(copied),
            WorkDone::MergeFinished(finished) => return self.merge_finished(finished),
            WorkDone::CompactNoted(noted) => return self.compaction_noted(noted),
            WorkDone::CompactCopied(copied) => return self.compaction_copied(copied),
            done => done,
        };
        let Some(job) = &mut self.spill.job else { return };
        match (job.stage, done) {
            (Stage::BuildingSegment, WorkDone::Segment { number, parts, index }) => {
                job.stage = Stage::PuttingSegment;
                (job.name, job.parts) = (BlobName { shard, kind: BlobKind::Segment, number }, parts);
                let mut unused = std::mem::take(&mut job.taken);
                unused.retain(|slot| index.slots.iter().all(|lent| lent.slot != *slot));
                job.index = Some(index);
                job.segments.push(number);
                self.give_back(unused);
            }
            (Stage::EncodingCheckpoint, WorkDone::Checkpoint { number, parts }) => {
                job.stage = Stage::PuttingCheckpoint;
                (job.name, job.parts) = (BlobName { shard, kind: BlobKind::Checkpoint, number }, parts);
            }
            (stage, _) => {
                debug_assert!(false, "a computation that was not asked for ended at stage {stage:?}");
                return;
            }
        }
        self.spill_put();
    }

    fn spill_put(&mut self) {
        let Some(job) = &self.spill.job else { return };
        let op = BlobOp::Put { name: job.name, parts: job.parts.clone() };
        self.start_blob(BlobUse::SpillPut, op);
    }

    pub(crate) fn spill_put_done(&mut self, now: Now, outcome: Result<(), MediaError>) {
        if let Err(error) = outcome {
            self.figures.spill_failures += 1;
            self.spill.no_space = matches!(error, MediaError::NoSpace { .. });
            if self.spill.no_space {
                self.give_back_merged();
                self.delete_leftovers();
                self.let_dead_go();
                if self.use_reserve(now) {
                    return self.spill_retry();
                }
            }
            self.timers.set(now.mono_us_after_ms(RETRY_MS), Timer::SpillRetry);
            return;
        }
        self.spill.no_space = false;
        let Some(job) = &mut self.spill.job else { return };
        match job.stage {
            Stage::PuttingSegment => {
                job.spent = std::mem::take(&mut job.parts);
                job.stage = Stage::WaitingDurable;
                self.spill_step();
            }
            _ => self.complete_spill(),
        }
    }

    /// Tries a put again. An earlier try may have left the name behind, so that is cleared away first.
    pub(crate) fn spill_retry(&mut self) {
        let Some(job) = &self.spill.job else { return };
        let op = BlobOp::Delete { name: job.name };
        self.start_blob(BlobUse::SpillClear, op);
    }

    pub(crate) fn spill_clear_done(&mut self, now: Now, outcome: Result<(), MediaError>) {
        match outcome {
            Ok(()) => self.spill_put(),
            Err(error) => self.spill_put_done(now, Err(error)),
        }
    }

    /// The checkpoint is durable: everything moves to the cut.
    fn complete_spill(&mut self) {
        let spill = &mut self.spill;
        let Some(job) = &mut spill.job else { return };
        job.stage = Stage::Moving;
        spill.done_lsn = job.cut;
        let superseded = if job.is_base { std::mem::take(&mut spill.chain) } else { Vec::new() };
        if job.is_base {
            (spill.base_bytes, spill.delta_bytes) = (total(&job.parts), 0);
        } else {
            spill.delta_bytes += total(&job.parts);
        }
        job.parts = Vec::new();
        spill.chain.push(job.checkpoint);
        self.figures.checkpoints += 1;
        self.effects.push_back(Effect::Wal(WalOp::Trim { below: job.cut.next() }));
        if let Some(index) = job.index.take() {
            self.figures.spills += 1;
            job.runs = run_refs(&index);
            self.segments.insert(index);
        }
        if job.is_base {
            self.compaction.forget(|id| self.state.partitions.get(id).is_some());
        }
        if let Some(merged) = &mut job.merged {
            match merged.compacted {
                None => self.figures.merges += 1,
                Some((id, row)) => {
                    self.figures.compactions += 1;
                    self.compaction.put(id, row);
                }
            }
            job.merged_runs = run_refs(&merged.index);
            self.segments.insert(std::mem::take(&mut merged.index));
        }
        let shard = self.config.shard;
        for number in superseded {
            self.delete_blob(BlobName { shard, kind: BlobKind::Checkpoint, number });
        }
        self.delete_leftovers();
        self.spill_step();
    }

    /// Tail entries become runs, then frames are freed. Until then both say the same, and reads take the tail.
    fn move_slice(&mut self, cut: Lsn) {
        let Some(job) = &mut self.spill.job else { return };
        let left = job.runs.len().saturating_sub(RUNS_A_SLICE);
        let runs = job.runs.split_off(left);
        let left = job.merged_runs.len().saturating_sub(RUNS_A_SLICE - runs.len().min(RUNS_A_SLICE));
        let merged_runs = job.merged_runs.split_off(left);
        let is_last = job.runs.is_empty() && job.merged_runs.is_empty();
        let merged = job.merged.take();
        for (id, run) in runs {
            let Some(partition) = self.state.partitions.get_mut(id) else { continue };
            let spilled = partition.tail.partition_point(|entry| self.tail.lsn(entry) <= cut);
            for entry in partition.tail.drain(..spilled) {
                partition.tail_bytes -= u64::from(entry.bytes);
            }
            if partition.tail.capacity() > 64 + 4 * partition.tail.len() {
                partition.tail.shrink_to(2 * partition.tail.len());
            }
            if run.end > partition.visible_start {
                partition.runs.push(run);
                partition.run_bytes += self.segments.retain(&run);
            }
        }
        if let Some(merged) = &merged {
            for (id, run) in merged_runs {
                match &merged.compacted {
                    None => self.merge_swap(id, run, &merged.sources),
                    Some((_, row)) => self.compaction_swap(id, run, row),
                }
            }
        }
        let Some(job) = &mut self.spill.job else { return };
        job.merged = merged;
        let mut freed = 0;
        while is_last
            && freed < BYTES_FREED_A_SLICE
            && let Some(part) = job.spent.pop()
        {
            freed += part.len() as u64;
        }
        let is_spent = is_last && job.spent.is_empty();
        if is_spent && self.tail.free(cut, BYTES_FREED_A_SLICE) {
            self.end_spill();
        }
    }

    fn end_spill(&mut self) {
        let Some(job) = self.spill.job.take() else { return };
        let (cold, merge) = (&self.cold, &self.merge);
        for (number, slots) in
            self.segments.take_dead(&job.segments, |number| cold.reads(number) || merge.reads(number))
        {
            self.delete_segment(number, slots);
        }
        if job.requested {
            self.effects.push_back(Effect::Wal(WalOp::Settle));
        }
        self.merge.look_again();
        self.look_after_reserve();
    }

    /// Without space a merged segment would stay beside its sources, for want of the checkpoint that removes them: as long as that is
    /// not written down, the sources can stay instead.
    fn give_back_merged(&mut self) {
        let mut merged = self.merge.take_ready();
        if let Some(job) = self.spill.job.as_mut().filter(|job| job.stage == Stage::PuttingSegment)
            && let Some(riding) = job.merged.take()
        {
            job.segments.retain(|number| *number != riding.index.number);
            job.segments.extend(riding.sources.iter().filter(|number| self.segments.index(**number).is_some()));
            job.segments.sort_unstable();
            job.segments.dedup();
            merged = Some(riding);
        }
        if let Some(merged) = merged {
            self.merge.rest();
            self.delete_blob(BlobName {
                shard: self.config.shard,
                kind: BlobKind::Segment,
                number: merged.index.number,
            });
        }
    }

    /// Logs which segments hold nothing any more. What set them free stands in the log before it.
    fn let_dead_go(&mut self) {
        if self.spill.gone.is_some() || self.failed {
            return;
        }
        let (cold, merge) = (&self.cold, &self.merge);
        let mut numbers = self.segments.dead(|number| cold.reads(number) || merge.reads(number));
        numbers.truncate(GONE_A_RECORD_MAX);
        if !numbers.is_empty() {
            let lsn = self.log(Record::SegmentsGone { numbers });
            self.spill.gone = Some((lsn, std::mem::take(&mut self.state.segments_gone)));
        }
    }

    /// Removes them. One that somebody has begun to read stays until it is let go again.
    fn remove_gone(&mut self, durable: Lsn) {
        let Some((_, numbers)) = self.spill.gone.take_if(|(lsn, _)| *lsn <= durable) else {
            return;
        };
        for number in numbers {
            if !self.cold.reads(number) && !self.merge.reads(number) {
                let slots = self.segments.remove(number);
                self.delete_segment(number, slots);
            }
        }
    }

    fn delete_leftovers(&mut self) {
        for name in std::mem::take(&mut self.spill.leftovers) {
            self.delete_blob(name);
        }
    }

    pub(crate) fn delete_blob(&mut self, name: BlobName) {
        self.start_blob(BlobUse::Delete { slots: Vec::new() }, BlobOp::Delete { name });
    }
}
