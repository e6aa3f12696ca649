// SPDX-License-Identifier: Apache-2.0
//! Finding an offset by time: from runs to blocks to batches to the record inside.
//!
//! Owns: which pieces can hold the answer, and the search inside a batch. Must not know: who asked, how a medium is asked.
//!
//! A batch whose records turn out not to be well formed is skipped by a search for a time, and counted; a search for the largest
//! time then answers with the batch's last offset, because its header, which is checksummed, says that the time is in there.

use crate::command::LocateBy;
use crate::log::partition::Partition;
use crate::log::read::{BlockRange, Walk};
use crate::log::tail::Tail;
use crate::spill::segments::Segments;
use bytes::Bytes;
use model::batch::{Header, Records, inflate};
use model::media::BlobName;
use model::{Corrupt, LeaderEpoch, Offset};

/// A search by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The first record at or after it.
    AtLeast(i64),
    /// The first record with exactly the partition's largest time, which is known by now.
    Largest(i64),
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
    /// This block must be fetched and searched; if it holds no answer the search goes on from the block's end.
    Block(BlockRange),
}

/// Turns a command's question into a search, or says that there is none to be made.
pub fn search(partition: &Partition, tail: &Tail, segments: &Segments, by: LocateBy) -> Option<Time> {
    match by {
        LocateBy::Timestamp(timestamp_ms) => Some(Time::AtLeast(timestamp_ms)),
        LocateBy::MaxTimestamp => largest(partition, tail, segments).map(Time::Largest),
        LocateBy::Start | LocateBy::End => None,
    }
}

fn largest(partition: &Partition, tail: &Tail, segments: &Segments) -> Option<i64> {
    let mut largest = None;
    for run_ref in &partition.runs {
        let (index, run) = segments.run(run_ref)?;
        let blocks = index.blocks_of(run);
        for (number, block) in blocks.iter().enumerate() {
            let end = blocks.get(number + 1).map_or(run_ref.end, |next| next.first_offset);
            if end > partition.visible_start {
                largest = largest.max(Some(block.max_timestamp_ms));
            }
        }
    }
    for entry in partition.tail.iter().take_while(|entry| entry.end() <= partition.high) {
        let header = tail.peek(entry).and_then(Header::read);
        largest = largest.max(header.map(|header| header.max_timestamp_ms));
    }
    largest.filter(|largest| *largest >= 0)
}

/// Searches from `from` on.
pub fn step(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    time: Time,
    from: Offset,
    malformed: &mut u64,
) -> Step {
    let from = from.max(partition.visible_start);
    for run_ref in &partition.runs[partition.run_index(from)..] {
        let Some((index, run)) = segments.run(run_ref) else { continue };
        let blocks = index.blocks_from(run, from);
        if let Some(number) = blocks.iter().position(|block| may_hold(time, block.max_timestamp_ms)) {
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
            && let Some(found) = in_batch(&batch, &header, time, from, malformed)
        {
            return Step::Done(Some(found));
        }
    }
    Step::Done(None)
}

fn may_hold(time: Time, max_timestamp_ms: i64) -> bool {
    match time {
        Time::AtLeast(timestamp_ms) => max_timestamp_ms >= timestamp_ms,
        Time::Largest(timestamp_ms) => max_timestamp_ms == timestamp_ms,
    }
}

/// Searches fetched, checked blocks.
pub fn in_blocks(
    range: &BlockRange,
    name: BlobName,
    bytes: &Bytes,
    time: Time,
    from: Offset,
    malformed: &mut u64,
) -> Result<Option<Found>, Corrupt> {
    for batch in Walk::of(bytes) {
        let (pos, header) = batch.map_err(|pos| Corrupt {
            name: name.to_string(),
            at: range.at() + pos as u64,
            why: "no well-formed record batch stands here".into(),
        })?;
        if header.next_offset() <= from {
            continue;
        }
        if let Some(found) = in_batch(&bytes.slice(pos..pos + header.bytes), &header, time, from, malformed) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_batch(batch: &Bytes, header: &Header, time: Time, from: Offset, malformed: &mut u64) -> Option<Found> {
    if !may_hold(time, header.max_timestamp_ms) {
        return None;
    }
    let found = |delta: i32, timestamp_ms: i64| Found {
        offset: header.base_offset.plus(u64::try_from(delta).unwrap_or(0)),
        timestamp_ms,
        leader_epoch: header.leader_epoch,
    };
    let unreadable = |malformed: &mut u64| {
        *malformed += 1;
        match time {
            Time::AtLeast(_) => None,
            Time::Largest(timestamp_ms) => Some(found(header.last_offset_delta, timestamp_ms)),
        }
    };
    let Ok(records) = inflate(batch, header) else { return unreadable(malformed) };
    let mut first = None;
    for (number, record) in Records::of(&records, header).enumerate() {
        // The delta must be the record's place, or an offset beyond the batch could be answered.
        let Ok(record) = record else { return unreadable(malformed) };
        if usize::try_from(record.offset_delta) != Ok(number) {
            return unreadable(malformed);
        }
        let offset = header.base_offset.plus(number as u64);
        if first.is_none() && offset >= from && may_hold_record(time, record.timestamp_ms) {
            first = Some(found(record.offset_delta, record.timestamp_ms));
        }
    }
    first
}

fn may_hold_record(time: Time, timestamp_ms: i64) -> bool {
    match time {
        Time::AtLeast(at_least_ms) => timestamp_ms >= at_least_ms,
        Time::Largest(largest_ms) => timestamp_ms >= largest_ms,
    }
}
