// SPDX-License-Identifier: Apache-2.0
//! Trimming: by command, and what retention removes.
//!
//! Owns: how far a partition's start may move. Must not know: who asked; when retention is looked at.
//!
//! Retention removes whole pieces, oldest first: batches of the tail, blocks of a segment. A record that claims to be from the
//! future stays longer, and with it what comes after it; a batch without times (Kafka's -1) counts from when it was appended.

use crate::error::TrimError;
use crate::log::partition::Partition;
use crate::log::tail::{Tail, TailEntry};
use crate::spill::segments::Segments;
use model::Offset;
use model::batch::Header;
use model::planted::{Bug, planted};

/// Where a trim moves the start to. `before: None` means everything visible now.
pub fn decide(partition: &Partition, before: Option<Offset>) -> Result<Offset, TrimError> {
    let before = before.unwrap_or(partition.high);
    if before > partition.high { Err(TrimError::OutOfRange { high: partition.high }) } else { Ok(before) }
}

/// What retention takes off the front of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The new start.
    pub before: Offset,
    /// What went, as stored.
    pub bytes: u64,
}

/// What retention removes now, if anything. Looks at no more than `pieces` pieces, and takes from it what it has looked at: with
/// none left there may be more to remove.
pub fn retention(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    wall_ms: u64,
    pieces: &mut usize,
) -> Option<Removal> {
    let hosted = &partition.hosted;
    if (hosted.retention_ms.is_none() && hosted.retention_bytes.is_none()) || planted(Bug::RetentionNeverDue) {
        return None;
    }
    if partition.start >= partition.high {
        return None;
    }
    let kept_ms = hosted.retention_ms.map(|ms| if planted(Bug::RetentionTakesLive) { ms / 2 } else { ms });
    let oldest_kept_ms = kept_ms.map(|ms| i64::try_from(wall_ms.saturating_sub(ms)).unwrap_or(i64::MAX));
    let mut surplus = hosted.retention_bytes.map(|bytes_max| {
        // What is counted whole is never too little, and for most partitions says that nothing is due.
        let whole = partition.run_bytes + partition.tail_bytes;
        if whole <= bytes_max { 0 } else { stored_bytes(partition, segments).saturating_sub(bytes_max) }
    });
    let mut removal = Removal { before: partition.start, bytes: 0 };
    // Takes one more piece off the front, if its age or the partition's size says so.
    let mut removes = |max_timestamp_ms: i64, bytes: u32, end: Offset| {
        let bytes = u64::from(bytes);
        let is_old = oldest_kept_ms.is_some_and(|oldest_ms| max_timestamp_ms < oldest_ms);
        let is_surplus = surplus.is_some_and(|surplus| surplus >= bytes);
        if *pieces == 0 || end > partition.high || !(is_old || is_surplus) {
            return false;
        }
        *pieces -= 1;
        surplus = surplus.map(|surplus| surplus.saturating_sub(bytes));
        removal = Removal { before: end, bytes: removal.bytes + bytes };
        true
    };
    'pieces: {
        for run_ref in &partition.runs[partition.run_index(partition.start)..] {
            let Some((index, run)) = segments.run(run_ref) else { break 'pieces };
            let blocks = index.blocks_from(run, partition.start);
            for (number, block) in blocks.iter().enumerate() {
                let end = blocks.get(number + 1).map_or(run_ref.end, |next| next.first_offset);
                if !removes(block.max_timestamp_ms, block.bytes, end) {
                    break 'pieces;
                }
            }
        }
        for entry in partition.tail.range(partition.tail_index(partition.start)..) {
            if !removes(max_timestamp_ms(tail, entry), entry.bytes, entry.end()) {
                break 'pieces;
            }
        }
    }
    (removal.before > partition.start).then_some(removal)
}

/// What the partition's records take, as stored.
pub fn stored_bytes(partition: &Partition, segments: &Segments) -> u64 {
    // What a trim has taken of a run lies in its segment as long as the rest does, but is stored no more: counted, it would make
    // every pass find the same surplus again. Runs that a trim has taken whole are still here until it is durable.
    let at = partition.run_index(partition.start);
    let gone = partition.runs[..at].iter().filter_map(|run_ref| Some(segments.run(run_ref)?.1.bytes)).sum::<u64>();
    let begun = partition.runs.get(at).filter(|run_ref| run_ref.first < partition.start);
    let begun = begun.and_then(|run_ref| segments.run(run_ref)).map_or(0, |(index, run)| {
        run.bytes - index.blocks_from(run, partition.start).iter().map(|block| u64::from(block.bytes)).sum::<u64>()
    });
    let trimmed = partition.tail.iter().take_while(|entry| entry.end() <= partition.start);
    let trimmed: u64 = trimmed.map(|entry| u64::from(entry.bytes)).sum();
    partition.run_bytes - gone - begun + partition.tail_bytes - trimmed
}

/// What cannot be freed yet because of the partition (`reply::Described::pinned_bytes`).
pub fn pinned_bytes(partition: &Partition, segments: &Segments) -> u64 {
    let trimmed = (partition.run_bytes + partition.tail_bytes).saturating_sub(stored_bytes(partition, segments));
    trimmed + partition.runs.iter().map(|run| segments.pinned_by(run)).sum::<u64>()
}

/// The time that retention counts a batch's age from.
pub fn max_timestamp_ms(tail: &Tail, entry: &TailEntry) -> i64 {
    let stated = tail.peek(entry).and_then(Header::read).map(|header| header.max_timestamp_ms);
    match stated {
        Some(stated) if stated >= 0 => stated,
        _ => tail.appended_ms(entry).and_then(|ms| i64::try_from(ms).ok()).unwrap_or(i64::MAX),
    }
}
