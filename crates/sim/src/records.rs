// SPDX-License-Identifier: Apache-2.0
//! What a client makes of the bytes it sends and gets: batches of payloads that say who they are (`value`).

use crate::checker::NOT_A_VALUE;
use crate::history::{Event, History, Op};
use crate::value;
use bytes::Bytes;
use model::batch::{self, Batch, CRC_START, HEADER_BYTES, Header, NewRecord, Numbering, Records};
use model::crc;

/// A batch of `count` records with neighbouring numbers; record `n` has the time `timestamp_ms + n * step_ms`.
pub fn batch(first: u64, count: u32, bytes: usize, timestamp_ms: i64, step_ms: i64, numbering: Numbering) -> Batch {
    let records: Vec<NewRecord> = (0..u64::from(count))
        .map(|step| NewRecord {
            timestamp_ms: timestamp_ms + step as i64 * step_ms,
            key: None,
            value: Some(value::payload(first + step, bytes).into()),
            headers: Vec::new(),
        })
        .collect();
    batch::build(&records, numbering)
}

/// Walks whole batches: offset, number and time of each record. A record or batch that is not as it was sent has the number
/// [`NOT_A_VALUE`].
pub fn walk(bytes: &Bytes, mut each: impl FnMut(u64, u64, i64)) {
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let Some(header) = Header::read(&rest).filter(|header| header.bytes <= rest.len()) else {
            each(0, NOT_A_VALUE, 0);
            return;
        };
        let one = rest.split_to(header.bytes);
        if header.bytes < HEADER_BYTES || crc::crc32c(&one[CRC_START..]) != header.crc {
            each(header.base_offset.0, NOT_A_VALUE, 0);
            continue;
        }
        let Ok(inner) = batch::inflate(&one, &header) else {
            each(header.base_offset.0, NOT_A_VALUE, 0);
            continue;
        };
        for record in Records::of(&inner, &header) {
            match record {
                Ok(record) => {
                    let number = record.value.and_then(value::number_of).unwrap_or(NOT_A_VALUE);
                    each(header.base_offset.0.wrapping_add(record.offset_delta as u64), number, record.timestamp_ms);
                }
                Err(_) => each(header.base_offset.0, NOT_A_VALUE, 0),
            }
        }
    }
}

/// Writes what a read returned into the history: runs of neighbours, what lies before `from` dropped. Returns the offset after the
/// last record.
pub fn note_saw(history: &mut History, at_us: u64, op: Op, from: u64, pieces: &[Bytes]) -> u64 {
    let mut next = from;
    let mut run: Option<(u64, u64, u32)> = None;
    let flush = |history: &mut History, run: Option<(u64, u64, u32)>| {
        if let Some((offset, first, count)) = run {
            history.push(at_us, Event::Saw { op, offset, first, count });
        }
    };
    for piece in pieces {
        walk(piece, |offset, number, _| {
            if offset < from && number != NOT_A_VALUE {
                return;
            }
            next = offset.saturating_add(1);
            match &mut run {
                Some((begin, first, count))
                    if begin.checked_add(u64::from(*count)) == Some(offset)
                        && number != NOT_A_VALUE
                        && first.checked_add(u64::from(*count)) == Some(number) =>
                {
                    *count += 1;
                }
                _ => {
                    flush(history, run.take());
                    run = Some((offset, number, 1));
                }
            }
        });
    }
    flush(history, run);
    next
}
