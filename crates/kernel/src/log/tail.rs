// SPDX-License-Identifier: Apache-2.0
//! The memory tail: the frames of the log that are not in a segment yet. They are the log's bytes, not a copy of them.
//!
//! Owns: frames in memory by number, and the small entries that point into them. Must not know: what is durable, what is visible.
//!
//! Bytes are counted as the log counts them: a frame takes its 64-byte header and its body, rounded up to a page. So a full tail is
//! full in memory and on the medium at once.

use crate::command::Origin;
use crate::format::v1::entry::{ENTRY_HEADER_BYTES, ORIGIN_AT};
use bytes::Bytes;
use model::limits::PAGE_BYTES;
use model::{Lsn, Offset};
use std::collections::VecDeque;

/// What a medium puts before a body.
const FRAME_HEADER_BYTES: u64 = 64;

/// What a frame with a body of so many bytes counts for.
pub fn frame_bytes(body_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES + body_bytes as u64).next_multiple_of(PAGE_BYTES as u64)
}

/// A batch in the tail. 24 bytes, because there may be a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailEntry {
    pub base: Offset,
    /// The low half of its frame's number; the tail never spans so many frames that this could be misread.
    frame: u32,
    pos: u32,
    pub bytes: u32,
    pub last_delta: u32,
}

const _: () = assert!(size_of::<TailEntry>() == 24);

impl TailEntry {
    pub fn new(base: Offset, last_delta: u32, lsn: Lsn, pos: u32, bytes: u32) -> TailEntry {
        TailEntry { base, frame: lsn.0 as u32, pos, bytes, last_delta }
    }

    /// Where it stands in its frame's body.
    pub fn pos(&self) -> u32 {
        self.pos
    }

    /// The offset after its last record.
    pub fn end(&self) -> Offset {
        Offset(self.base.0 + u64::from(self.last_delta) + 1)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Tail {
    frames: VecDeque<Frame>,
    /// Number of the front frame; of the next one, while there is none.
    first: Lsn,
    bytes: u64,
    batches: u64,
}

#[derive(Debug)]
struct Frame {
    body: Bytes,
    batches: u64,
}

impl Tail {
    /// An empty tail before frame `first`.
    pub fn new(first: Lsn) -> Tail {
        Tail { frames: VecDeque::new(), first, bytes: 0, batches: 0 }
    }

    /// The number that the next frame must have.
    pub fn next(&self) -> Lsn {
        Lsn(self.first.0 + self.frames.len() as u64)
    }

    /// The first frame still here.
    pub fn first(&self) -> Lsn {
        self.first
    }

    /// Bytes of all frames, as the log counts them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn frames(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Batches in all frames, trimmed or not.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    pub fn push(&mut self, body: Bytes, batches: u64) {
        self.bytes += frame_bytes(body.len());
        self.batches += batches;
        self.frames.push_back(Frame { body, batches });
    }

    fn body(&self, entry: &TailEntry) -> Option<&Bytes> {
        let number = entry.frame.wrapping_sub(self.first.0 as u32);
        self.frames.get(number as usize).map(|frame| &frame.body)
    }

    /// The frame that an entry points into. Entries of frames still open, or let go of, point to a number out of range.
    pub fn lsn(&self, entry: &TailEntry) -> Lsn {
        Lsn(self.first.0 + u64::from(entry.frame.wrapping_sub(self.first.0 as u32)))
    }

    /// How long a frame's body is; `None` when it is not here.
    pub fn body_bytes(&self, lsn: Lsn) -> Option<u64> {
        let number = lsn.0.checked_sub(self.first.0)?;
        self.frames.get(usize::try_from(number).ok()?).map(|frame| frame.body.len() as u64)
    }

    /// A batch's bytes. `None` when its frame is not closed yet.
    pub fn batch(&self, entry: &TailEntry) -> Option<Bytes> {
        let body = self.body(entry)?;
        let (from, to) = (entry.pos as usize, entry.pos as usize + entry.bytes as usize);
        (to <= body.len()).then(|| body.slice(from..to))
    }

    /// The same, only to be looked at.
    pub fn peek(&self, entry: &TailEntry) -> Option<&[u8]> {
        let body = self.body(entry)?;
        body.get(entry.pos as usize..entry.pos as usize + entry.bytes as usize)
    }

    /// The wall clock when the batch was appended: it stands in the entry's header, 8 bytes before the batch.
    pub fn appended_ms(&self, entry: &TailEntry) -> Option<u64> {
        let body = self.body(entry)?;
        let at = (entry.pos as usize).checked_sub(8)?;
        Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?))
    }

    /// Through which head the batch came, as its entry's header says.
    pub fn origin(&self, entry: &TailEntry) -> Origin {
        let at = (entry.pos as usize).checked_sub(ENTRY_HEADER_BYTES - ORIGIN_AT);
        let number = at.and_then(|at| self.body(entry)?.get(at).copied());
        number.and_then(Origin::from_number).unwrap_or(Origin::Kafka)
    }

    /// Lets go of frames up to and including `through`, of about so many bytes at once. True when none of them is left.
    pub fn free(&mut self, through: Lsn, bytes_max: u64) -> bool {
        let bytes = self.bytes;
        while self.first <= through
            && let Some(frame) = self.frames.pop_front()
        {
            self.bytes -= frame_bytes(frame.body.len());
            self.batches -= frame.batches;
            self.first = self.first.next();
            if bytes - self.bytes >= bytes_max {
                break;
            }
        }
        self.first > through
    }
}
