// SPDX-License-Identifier: Apache-2.0
//! Finding an offset by time: from runs to blocks to batches to the record inside.
//!
//! Owns: which pieces can hold the answer, and the search inside a batch. Must not know: who asked, how a medium is asked.
//!
//! For the first record at or after a time, pieces are looked into in the order of offsets. For the largest time, in the order of
//! what they say their largest is: the first that holds it ends the search. A piece may say more than it holds (its largest lies
//! before the start; a sender's header lies), then the next is looked into, `PIECES_MAX` at most.
//!
//! A batch whose records turn out not to be well formed is counted and skipped, except that a search for the largest time takes its
//! header, which is checksummed, by its word: the batch's last offset.

use crate::command::LocateBy;
use crate::format::v1::segment::Block;
use crate::log::partition::Partition;
use crate::log::read::{self, BlockRange};
use crate::log::tail::{Tail, TailEntry};
use crate::reply::Located;
use crate::spill::segments::Segments;
use bytes::Bytes;
use model::batch::{Header, Records, inflate};
use model::media::BlobName;
use model::{Corrupt, LeaderEpoch, Offset};

/// Pieces that a search for the largest time looks into.
const PIECES_MAX: usize = 32;

/// A search by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Time {
    /// The first record at or after it.
    AtLeast(i64),
    /// The first record with the largest time: the best so far, and the first offsets of the pieces looked into.
    Largest { best: Option<Found>, seen: Vec<Offset> },
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub leader_epoch: LeaderEpoch,
}

/// How a search goes on.
#[derive(Debug)]
pub enum Step {
    Done(Option<Found>),
    /// This block must be fetched and searched; if that does not end it the search goes on from the block's end.
    Block(BlockRange),
}

/// The search that a command asks for, if it is one by time.
pub fn search(by: LocateBy) -> Option<Time> {
    match by {
        LocateBy::Timestamp(timestamp_ms) => Some(Time::AtLeast(timestamp_ms)),
        LocateBy::MaxTimestamp => Some(Time::Largest { best: None, seen: Vec::new() }),
        LocateBy::Start | LocateBy::End | LocateBy::EpochEnd(_) => None,
    }
}

/// Where the records of an epoch end. `current` is the partition's epoch now, whether anything was appended in it or not.
/// Source: Apache Kafka's `LeaderEpochFileCache.endOffsetFor` (behaviour).
pub fn epoch_end(partition: &Partition, current: LeaderEpoch, epoch: LeaderEpoch) -> Located {
    let end_of = |leader_epoch: LeaderEpoch, end: Offset| {
        let offset = Some(end.min(partition.high));
        Located { offset, timestamp_ms: None, leader_epoch }
    };
    if epoch > current {
        return Located { offset: None, timestamp_ms: None, leader_epoch: current };
    }
    let after = partition.epochs.partition_point(|(of, _)| *of <= epoch);
    let found = match after.checked_sub(1).and_then(|at| partition.epochs.get(at)) {
        Some((found, _)) if epoch < current => *found,
        // Nothing is known of epochs before the first; the current one is answered whatever was appended in it.
        _ => epoch,
    };
    end_of(found, partition.epochs.get(after).map_or(partition.high, |(_, first)| *first))
}

/// Searches from `from` on.
pub fn step(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    time: &mut Time,
    from: Offset,
    malformed: &mut u64,
) -> Step {
    match time {
        Time::AtLeast(timestamp_ms) => step_at_least(partition, tail, segments, *timestamp_ms, from, malformed),
        Time::Largest { best, seen } => step_largest(partition, tail, segments, best, seen, malformed),
    }
}

fn step_at_least(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    timestamp_ms: i64,
    from: Offset,
    malformed: &mut u64,
) -> Step {
    let from = from.max(partition.visible_start);
    for run_ref in &partition.runs[partition.run_index(from)..] {
        let Some((index, run)) = segments.run(run_ref) else { continue };
        let blocks = index.blocks_from(run, from);
        if let Some(number) = blocks.iter().position(|block| block.max_timestamp_ms >= timestamp_ms) {
            let end = blocks.get(number + 1).map_or(run_ref.end, |next| next.first_offset);
            let blocks = vec![blocks[number]];
            return Step::Block(BlockRange { partition: partition.id, segment: run_ref.segment, blocks, end });
        }
    }
    for entry in partition.tail.range(partition.tail_index(from)..) {
        if entry.end() > partition.high {
            break;
        }
        let Some(batch) = tail.batch(entry) else { break };
        if let Some(header) = Header::read(&batch)
            && let Some(found) = first_at_least(&batch, &header, timestamp_ms, from, malformed)
        {
            return Step::Done(Some(found));
        }
    }
    Step::Done(None)
}

/// A piece that a search for the largest time may look into.
enum Piece {
    Block(u64, Block, Offset),
    Batch(TailEntry),
}

fn step_largest(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    best: &mut Option<Found>,
    seen: &mut Vec<Offset>,
    malformed: &mut u64,
) -> Step {
    while seen.len() < PIECES_MAX
        && let Some((largest_ms, first, piece)) = most_promising(partition, tail, segments, seen)
        && best.is_none_or(|best| (largest_ms, best.offset) > (best.timestamp_ms, first))
    {
        seen.push(first);
        match piece {
            Piece::Block(segment, block, end) => {
                return Step::Block(BlockRange { partition: partition.id, segment, blocks: vec![block], end });
            }
            Piece::Batch(entry) => {
                let Some(batch) = tail.batch(&entry) else { break };
                if let Some(header) = Header::read(&batch) {
                    better(best, largest_in(&batch, &header, partition.visible_start, malformed));
                }
            }
        }
    }
    Step::Done(*best)
}

/// The piece that says it holds the largest time, the first of several, of those not seen.
fn most_promising(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    seen: &[Offset],
) -> Option<(i64, Offset, Piece)> {
    let mut found: Option<(i64, Offset, Piece)> = None;
    let mut offer = |largest_ms: i64, first: Offset, piece: Piece| {
        let beats = found.as_ref().is_none_or(|(best_ms, ..)| largest_ms > *best_ms);
        if largest_ms >= 0 && beats && !seen.contains(&first) {
            found = Some((largest_ms, first, piece));
        }
    };
    for run_ref in &partition.runs {
        let Some((index, run)) = segments.run(run_ref) else { continue };
        let blocks = index.blocks_of(run);
        for (number, block) in blocks.iter().enumerate() {
            let end = blocks.get(number + 1).map_or(run_ref.end, |next| next.first_offset);
            if end > partition.visible_start {
                offer(block.max_timestamp_ms, block.first_offset, Piece::Block(run_ref.segment, *block, end));
            }
        }
    }
    for entry in partition.tail.iter().take_while(|entry| entry.end() <= partition.high) {
        if entry.end() > partition.visible_start
            && let Some(header) = tail.peek(entry).and_then(Header::read)
        {
            offer(header.max_timestamp_ms, entry.base, Piece::Batch(*entry));
        }
    }
    found
}

/// Keeps the larger time; of equal ones the lower offset.
fn better(best: &mut Option<Found>, found: Option<Found>) {
    if let Some(found) = found
        && best.is_none_or(|best| (found.timestamp_ms, best.offset) > (best.timestamp_ms, found.offset))
    {
        *best = Some(found);
    }
}

/// Searches fetched, checked blocks from `from` on. `Some` ends the search.
pub fn in_blocks(
    range: &BlockRange,
    name: BlobName,
    bytes: &Bytes,
    time: &mut Time,
    from: Offset,
    malformed: &mut u64,
) -> Result<Option<Found>, Corrupt> {
    for batch in read::batches(range.at(), name, bytes) {
        let (pos, header) = batch?;
        if header.next_offset() <= from {
            continue;
        }
        let batch = bytes.slice(pos..pos + header.bytes);
        match time {
            Time::AtLeast(timestamp_ms) => {
                let found = first_at_least(&batch, &header, *timestamp_ms, from, malformed);
                if found.is_some() {
                    return Ok(found);
                }
            }
            Time::Largest { best, .. } => {
                if best.is_none_or(|best| header.max_timestamp_ms >= best.timestamp_ms) {
                    better(best, largest_in(&batch, &header, from, malformed));
                }
            }
        }
    }
    Ok(None)
}

fn first_at_least(
    batch: &Bytes,
    header: &Header,
    timestamp_ms: i64,
    from: Offset,
    malformed: &mut u64,
) -> Option<Found> {
    if header.max_timestamp_ms < timestamp_ms {
        return None;
    }
    let mut first = None;
    let well_formed = each_record(batch, header, |found| {
        if first.is_none() && found.offset >= from && found.timestamp_ms >= timestamp_ms {
            first = Some(found);
        }
    });
    if !well_formed {
        *malformed += 1;
        return None;
    }
    first
}

fn largest_in(batch: &Bytes, header: &Header, from: Offset, malformed: &mut u64) -> Option<Found> {
    let mut largest = None;
    let well_formed = each_record(batch, header, |found| {
        if found.offset >= from && found.timestamp_ms >= 0 {
            better(&mut largest, Some(found));
        }
    });
    if well_formed {
        return largest;
    }
    *malformed += 1;
    let offset = Offset(header.next_offset().0 - 1);
    Some(Found { offset, timestamp_ms: header.max_timestamp_ms, leader_epoch: header.leader_epoch })
}

/// False when the records are not well formed; what was given before that is then not to be relied on.
fn each_record(batch: &Bytes, header: &Header, mut take: impl FnMut(Found)) -> bool {
    let Ok(records) = inflate(batch, header) else { return false };
    let mut before = -1;
    for record in Records::of(&records, header) {
        // Deltas ascend within the batch (with gaps, once compacted), or an offset beyond it could be answered.
        let Ok(record) = record else { return false };
        if record.offset_delta <= before || record.offset_delta > header.last_offset_delta {
            return false;
        }
        before = record.offset_delta;
        take(Found {
            offset: header.base_offset.plus(record.offset_delta as u64),
            timestamp_ms: record.timestamp_ms,
            leader_epoch: header.leader_epoch,
        });
    }
    true
}
