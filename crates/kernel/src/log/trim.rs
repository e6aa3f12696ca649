// SPDX-License-Identifier: Apache-2.0
//! Trimming: by command, and what retention removes.
//!
//! Owns: how far a partition's start may move. Must not know: who asked; when retention is looked at.
//!
//! Retention removes whole pieces, oldest first: batches of the tail, blocks of a segment. A record that claims to be from the
//! future stays longer; a batch without times (Kafka's -1) counts from when it was appended.

use crate::error::TrimError;
use crate::log::partition::Partition;
use crate::log::tail::{Tail, TailEntry};
use crate::spill::segments::Segments;
use model::Offset;
use model::batch::Header;

/// Where a trim moves the start to. `before: None` means everything visible now.
pub fn decide(partition: &Partition, before: Option<Offset>) -> Result<Offset, TrimError> {
    let before = before.unwrap_or(partition.high);
    if before > partition.high { Err(TrimError::OutOfRange { high: partition.high }) } else { Ok(before) }
}

/// Where retention moves the start to, if it moves.
pub fn retention(partition: &Partition, tail: &Tail, segments: &Segments, wall_ms: u64) -> Option<Offset> {
    let hosted = &partition.hosted;
    if hosted.retention_ms.is_none() && hosted.retention_bytes.is_none() {
        return None;
    }
    if partition.start >= partition.high {
        return None;
    }
    let oldest_kept_ms = hosted.retention_ms.map(|ms| i64::try_from(wall_ms.saturating_sub(ms)).unwrap_or(i64::MAX));
    let mut surplus =
        hosted.retention_bytes.map(|bytes_max| stored_bytes(partition, segments).saturating_sub(bytes_max));
    let mut start = partition.start;
    // Takes one more piece off the front, if its age or the partition's size says so.
    let mut removes = |max_timestamp_ms: i64, bytes: u64| {
        if oldest_kept_ms.is_some_and(|oldest_ms| max_timestamp_ms < oldest_ms) {
            surplus = surplus.map(|surplus| surplus.saturating_sub(bytes));
            return true;
        }
        match &mut surplus {
            Some(surplus) if *surplus >= bytes => {
                *surplus -= bytes;
                true
            }
            _ => false,
        }
    };
    for run_ref in &partition.runs {
        let Some((index, run)) = segments.run(run_ref) else { return moved(partition, start) };
        let blocks = index.blocks_of(run);
        for (number, block) in blocks.iter().enumerate() {
            let end = blocks.get(number + 1).map_or(run_ref.end, |next| next.first_offset);
            if end <= partition.start {
                continue;
            }
            if end > partition.high || !removes(block.max_timestamp_ms, u64::from(block.bytes)) {
                return moved(partition, start);
            }
            start = end;
        }
    }
    for entry in &partition.tail {
        if entry.end() <= partition.start {
            continue;
        }
        if entry.end() > partition.high || !removes(max_timestamp_ms(tail, entry), u64::from(entry.bytes)) {
            break;
        }
        start = entry.end();
    }
    moved(partition, start)
}

fn moved(partition: &Partition, start: Offset) -> Option<Offset> {
    (start > partition.start).then_some(start)
}

/// What the partition's records take, as stored.
pub fn stored_bytes(partition: &Partition, segments: &Segments) -> u64 {
    // What a trim has taken of a run lies in its segment as long as the rest does, but is stored no more: counted, it would make
    // every pass find the same surplus again.
    let runs = partition.runs.iter().filter(|run_ref| run_ref.end > partition.start).filter_map(|run_ref| {
        let (index, run) = segments.run(run_ref)?;
        if run_ref.first >= partition.start {
            return Some(run.bytes);
        }
        Some(index.blocks_from(run, partition.start).iter().map(|block| u64::from(block.bytes)).sum())
    });
    let trimmed = partition.tail.iter().take_while(|entry| entry.end() <= partition.start);
    let trimmed: u64 = trimmed.map(|entry| u64::from(entry.bytes)).sum();
    runs.sum::<u64>() + partition.tail_bytes - trimmed
}

/// The time that retention counts a batch's age from.
pub fn max_timestamp_ms(tail: &Tail, entry: &TailEntry) -> i64 {
    let stated = tail.peek(entry).and_then(Header::read).map(|header| header.max_timestamp_ms);
    match stated {
        Some(stated) if stated >= 0 => stated,
        _ => tail.appended_ms(entry).and_then(|ms| i64::try_from(ms).ok()).unwrap_or(i64::MAX),
    }
}
