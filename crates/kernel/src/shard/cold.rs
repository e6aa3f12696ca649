// SPDX-License-Identifier: Apache-2.0
//! Reads and searches that a medium must answer first.
//!
//! Owns: the blob operations under way and what each is for. Must not know: how blobs are kept.
//! Bounds: `FETCHES_MAX` are under way at once, `WAITING_MAX` wait for their turn; beyond, a read is answered with the storage
//! error, which clients try again.

use crate::command::Read;
use crate::effect::Effect;
use crate::error::{LocateError, ReadError};
use crate::log::locate::{self, Time};
use crate::log::read::{self, BlockRange};
use crate::reply::{Located, ReadReply, Reply};
use crate::shard::Shard;
use bytes::Bytes;
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, MediaError};
use model::planted::{Bug, planted};
use model::{Corrupt, HolderId, Now, Offset, PartitionId, Ticket};
use std::collections::{BTreeMap, VecDeque};

/// Fetches under way at once.
const FETCHES_MAX: usize = 64;
/// Fetches that wait.
const WAITING_MAX: usize = 100_000;

/// What a fetch is for.
#[derive(Debug)]
pub(super) enum Ask {
    Read(Read),
    Search { time: Time, from: Offset },
}

/// Blocks to be fetched, and for whom.
#[derive(Debug)]
pub(crate) struct Fetch {
    holder: HolderId,
    ticket: Ticket,
    range: BlockRange,
    ask: Ask,
}

/// Why a blob operation was started.
#[derive(Debug)]
pub(crate) enum BlobUse {
    Fetch(Fetch),
    /// The spill's segment or checkpoint.
    SpillPut,
    /// The same name is removed before it is put again, because an earlier try may have left it.
    SpillClear,
    /// Something that nobody needs any more.
    Delete,
    /// Blocks of a segment that is merged into another one.
    MergeRead {
        range: BlockRange,
        joined: bool,
    },
    /// A piece of that one.
    MergePut,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    next_tag: u64,
    under_way: BTreeMap<u64, BlobUse>,
    fetches: usize,
    waiting: VecDeque<Fetch>,
}

impl Cold {
    /// The holder is gone: what it waits for sets no watch any more.
    pub(super) fn forget(&mut self, holder: HolderId) {
        self.waiting.retain(|fetch| fetch.holder != holder);
        for what in self.under_way.values_mut() {
            if let BlobUse::Fetch(Fetch { holder: of, ask: Ask::Read(read), .. }) = what
                && *of == holder
            {
                read.watch = None;
            }
        }
    }

    /// A merge does not count: what it has begun can be given up at any time.
    pub(super) fn is_idle(&self) -> bool {
        let is_merge = |what: &BlobUse| matches!(what, BlobUse::MergeRead { .. } | BlobUse::MergePut);
        self.under_way.values().all(is_merge) && self.waiting.is_empty()
    }

    /// Somebody waits for blocks of this segment.
    pub(crate) fn reads(&self, segment: u64) -> bool {
        let under_way = self.under_way.values().any(|what| match what {
            BlobUse::Fetch(fetch) => fetch.range.segment == segment,
            BlobUse::MergeRead { range, .. } => range.segment == segment,
            _ => false,
        });
        under_way || self.waiting.iter().any(|fetch| fetch.range.segment == segment)
    }
}

impl Shard {
    pub(crate) fn start_blob(&mut self, what: BlobUse, op: BlobOp) {
        let tag = self.cold.next_tag;
        self.cold.next_tag += 1;
        self.cold.under_way.insert(tag, what);
        self.effects.push_back(Effect::Blob(BlobTag(tag), op));
    }

    fn segment_name(&self, number: u64) -> BlobName {
        BlobName { shard: self.config.shard, kind: BlobKind::Segment, number }
    }

    pub(super) fn fetch(&mut self, holder: HolderId, ticket: Ticket, range: BlockRange, ask: Ask) {
        let fetch = Fetch { holder, ticket, range, ask };
        if self.cold.fetches >= FETCHES_MAX {
            if self.cold.waiting.len() >= WAITING_MAX {
                return self.answer_fetch_error(&fetch, ReadError::Storage);
            }
            self.cold.waiting.push_back(fetch);
        } else {
            self.start_fetch(fetch);
        }
    }

    fn start_fetch(&mut self, fetch: Fetch) {
        let name = self.segment_name(fetch.range.segment);
        let op = BlobOp::Get { name, at: fetch.range.at(), len: fetch.range.bytes() };
        self.cold.fetches += 1;
        self.start_blob(BlobUse::Fetch(fetch), op);
    }

    pub(super) fn blob_done(&mut self, now: Now, tag: BlobTag, done: BlobDone) {
        let Some(what) = self.cold.under_way.remove(&tag.0) else { return };
        if self.failed && !matches!(what, BlobUse::Fetch(_)) {
            // What the log did not keep must not be trimmed from it.
            return;
        }
        match (what, done) {
            (BlobUse::Fetch(fetch), BlobDone::Got(got)) => {
                self.cold.fetches -= 1;
                if let Some(next) = self.cold.waiting.pop_front() {
                    self.start_fetch(next);
                }
                self.fetched(fetch, got);
            }
            (BlobUse::SpillPut, BlobDone::Put(outcome)) => self.spill_put_done(now, outcome),
            (BlobUse::SpillClear, BlobDone::Deleted(outcome)) => self.spill_clear_done(now, outcome),
            // What could not be removed is removed at the next start.
            (BlobUse::Delete, BlobDone::Deleted(_)) => {}
            (BlobUse::MergeRead { range, joined }, BlobDone::Got(got)) => self.merge_read_done(range, joined, got),
            (BlobUse::MergePut, BlobDone::PutPiece(outcome)) => self.merge_put_done(outcome),
            (what, done) => debug_assert!(false, "{what:?} was answered with {done:?}"),
        }
    }

    fn fetched(&mut self, fetch: Fetch, got: Result<Bytes, MediaError>) {
        let partition = fetch.range.partition;
        let Some(found) = self.state.partitions.get(partition) else {
            let reply = match fetch.ask {
                Ask::Read(_) => Reply::Read(Err(ReadError::NotFound)),
                Ask::Search { .. } => Reply::Located(Err(LocateError::NotFound)),
            };
            return self.reply_after(self.state.placement_lsn, fetch.holder, fetch.ticket, reply);
        };
        let (start, high) = (found.visible_start, found.high);
        let name = self.segment_name(fetch.range.segment);
        let bytes = match got {
            Ok(bytes) if bytes.len() == fetch.range.bytes() as usize => bytes,
            // A segment goes away when all of it was trimmed: then that is the answer.
            _ if fetch.range.end <= start => {
                return match fetch.ask {
                    Ask::Read(_) => self.answer_fetch_error(&fetch, ReadError::OutOfRange { start, high }),
                    Ask::Search { time, .. } => self.search(fetch.holder, fetch.ticket, partition, time, start),
                };
            }
            Ok(bytes) => {
                let why = format!("{} bytes were read, {} are there", bytes.len(), fetch.range.bytes());
                return self.answer_corrupt(&fetch, Corrupt { name: name.to_string(), at: fetch.range.at(), why });
            }
            Err(MediaError::Corrupt(corrupt)) => return self.answer_corrupt(&fetch, corrupt),
            Err(MediaError::Missing { name }) => {
                let why = "the segment is missing".to_string();
                return self.answer_corrupt(&fetch, Corrupt { name, at: fetch.range.at(), why });
            }
            Err(_) => return self.answer_fetch_error(&fetch, ReadError::Storage),
        };
        // Damage ends the answer before it, and is the answer only where it begins.
        let (good, damage) = check_blocks(&fetch.range, name, &bytes);
        let bytes = bytes.slice(..good);
        self.figures.cold_read_bytes += bytes.len() as u64;
        match fetch.ask {
            Ask::Read(ref read) => {
                match read::trim_to(&fetch.range, name, &bytes, read.from, read.bytes_max as usize) {
                    Err(corrupt) => self.answer_corrupt(&fetch, corrupt),
                    Ok(piece) if piece.is_empty() => match damage {
                        Some(corrupt) => self.answer_corrupt(&fetch, corrupt),
                        None => self.read_on(fetch),
                    },
                    Ok(piece) => {
                        let reply = read::reply(found, vec![piece]);
                        self.answer_read(fetch.holder, fetch.ticket, read, reply);
                    }
                }
            }
            Ask::Search { ref time, from } => {
                let mut time = time.clone();
                let malformed = &mut self.figures.malformed_batches;
                match locate::in_blocks(&fetch.range, name, &bytes, &mut time, from, malformed) {
                    Err(corrupt) => self.answer_corrupt(&fetch, corrupt),
                    Ok(Some(found)) => self.answer_search(fetch.holder, fetch.ticket, partition, Some(found)),
                    Ok(None) => match damage {
                        Some(corrupt) => self.answer_corrupt(&fetch, corrupt),
                        None => self.search(fetch.holder, fetch.ticket, partition, time, fetch.range.end),
                    },
                }
            }
        }
    }

    /// The blocks held nothing from the offset on (offsets may have gaps): the answer begins behind them.
    fn read_on(&mut self, fetch: Fetch) {
        let Ask::Read(read) = fetch.ask else { return };
        let Some(partition) = self.state.partitions.get(read.partition) else { return };
        let from = fetch.range.end;
        if let Some(range) = read::blocks_from(partition, &self.segments, from, u64::from(read.bytes_max)) {
            return self.fetch(fetch.holder, fetch.ticket, range, Ask::Read(Read { from, ..read }));
        }
        let read = Read { from, ..read };
        let reply = read::from_tail(partition, &self.tail, &read);
        self.answer_read(fetch.holder, fetch.ticket, &read, reply);
    }

    /// Searches a partition by time from `from` on.
    pub(super) fn search(
        &mut self,
        holder: HolderId,
        ticket: Ticket,
        partition: PartitionId,
        mut time: Time,
        from: Offset,
    ) {
        let Some(found) = self.state.partitions.get(partition) else { return };
        let malformed = &mut self.figures.malformed_batches;
        match locate::step(found, &self.tail, &self.segments, &mut time, from, malformed) {
            locate::Step::Done(found) => self.answer_search(holder, ticket, partition, found),
            locate::Step::Block(range) => self.fetch(holder, ticket, range, Ask::Search { time, from }),
        }
    }

    fn answer_search(
        &mut self,
        holder: HolderId,
        ticket: Ticket,
        partition: PartitionId,
        found: Option<locate::Found>,
    ) {
        let current = self.state.partitions.get(partition).map(|partition| partition.leader_epoch(self.epoch));
        let located = Located {
            offset: found.map(|found| found.offset),
            timestamp_ms: found.map(|found| found.timestamp_ms),
            leader_epoch: found.map(|found| found.leader_epoch).or(current).unwrap_or_default(),
        };
        self.reply_now(holder, ticket, Reply::Located(Ok(located)));
    }

    /// Sends a read's answer, and sets its watch if it reached the end.
    pub(super) fn answer_read(&mut self, holder: HolderId, ticket: Ticket, read: &Read, reply: ReadReply) {
        self.figures.read_bytes += reply.bytes as u64;
        if let Some(watch) = read.watch
            && let Some(partition) = self.state.partitions.get(read.partition)
        {
            let after = reply.pieces.last().and_then(last_offset_of).unwrap_or(read.from);
            if after >= read::end_of(partition, read.isolation) {
                self.watch(read.partition, holder, watch);
            }
        }
        self.reply_now(holder, ticket, Reply::Read(Ok(reply)));
    }

    fn answer_corrupt(&mut self, fetch: &Fetch, corrupt: Corrupt) {
        self.figures.corrupt_reads += 1;
        self.answer_fetch_error(fetch, ReadError::Corrupt(corrupt));
    }

    fn answer_fetch_error(&mut self, fetch: &Fetch, error: ReadError) {
        let reply = match (&fetch.ask, error) {
            (Ask::Read(_), error) => Reply::Read(Err(error)),
            (Ask::Search { .. }, ReadError::Corrupt(corrupt)) => Reply::Located(Err(LocateError::Corrupt(corrupt))),
            (Ask::Search { .. }, _) => Reply::Located(Err(LocateError::Storage)),
        };
        self.reply_now(fetch.holder, fetch.ticket, reply);
    }
}

/// The offset after the last batch of a piece.
fn last_offset_of(piece: &Bytes) -> Option<Offset> {
    read::Walk::of(piece).filter_map(Result::ok).last().map(|(_, header)| header.next_offset())
}

/// How many of the bytes are good, from the first on, and what is wrong behind them.
fn check_blocks(range: &BlockRange, name: BlobName, bytes: &Bytes) -> (usize, Option<Corrupt>) {
    let mut at = 0;
    for block in &range.blocks {
        let end = at + block.bytes as usize;
        if !planted(Bug::RottenBlockServed)
            && let Err(corrupt) = block.check(name, &bytes[at..end])
        {
            return (at, Some(corrupt));
        }
        at = end;
    }
    (at, None)
}
