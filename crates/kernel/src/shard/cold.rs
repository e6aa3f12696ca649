// SPDX-License-Identifier: Apache-2.0
//! Reads and searches that a medium must answer first.
//!
//! Owns: the blob operations under way and what each is for. Must not know: how blobs are kept.
//! Bounds: `FETCHES_MAX` fetches of `FETCH_BYTES_MAX` together (or one) are under way at once, `WAITING_MAX` wait for their turn;
//! beyond, a read is answered with the storage error, which clients try again. Read-ahead (`ahead.rs`) has a budget of its own
//! and begins only while nobody waits and few are served: it never takes the turn of one that was asked for.

use crate::command::Read;
use crate::effect::Effect;
use crate::error::{LocateError, ReadError};
use crate::log::locate::{self, Time};
use crate::log::read::{self, BlockRange, BlockRead, BlocksRead, COLD_READ_BYTES_MAX, Checked};
use crate::reply::{Located, ReadReply, Reply};
use crate::shard::ahead::{Ahead, Expected, Held};
use crate::shard::{Shard, Timer};
use model::batch::Header;
use model::media::{BlobDone, BlobOp, BlobTag};
use model::{Corrupt, HolderId, Now, Offset, PartitionId, Ticket};
use std::collections::{BTreeMap, VecDeque};

/// Fetches under way at once.
const FETCHES_MAX: usize = 64;
/// And what they may bring.
const FETCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Reads ahead begin while fewer than so many of either kind are under way: twice what one consumer of eight partitions asks for.
const AHEAD_UNDER_WAY_MAX: usize = 16;
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
    /// The reader went on where one had stopped: what comes next is read ahead.
    goes_on: bool,
    /// It is answered by what was read ahead, which is so large.
    ahead_bytes: u64,
}

/// Why a blob operation was started.
#[derive(Debug)]
pub(crate) enum BlobUse {
    Fetch(Fetch),
    /// Blocks for the reader that is expected at `from`.
    Ahead {
        range: BlockRange,
        from: Offset,
    },
    /// The spill's segment or checkpoint.
    SpillPut,
    /// The same name is removed before it is put again, because an earlier try may have left it.
    SpillClear,
    /// Something that nobody needs any more; these slots of the log go back with it.
    Delete {
        slots: Vec<u32>,
    },
    /// A piece of a segment that is merged into another one.
    MergeRead {
        segment: u64,
    },
    /// Blocks of a segment for a compaction.
    CompactRead {
        range: BlockRange,
    },
    /// A piece of what either makes.
    MergePut,
    /// Room to set aside.
    Reserve,
    /// That it may be used.
    UseReserve,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cold {
    next_tag: u64,
    under_way: BTreeMap<u64, BlobUse>,
    fetches: usize,
    fetch_bytes: u64,
    aheads: usize,
    waiting: VecDeque<Fetch>,
    pub(super) ahead: Ahead,
    /// A timer for the first that nobody comes for is set.
    timer_set: bool,
}

impl Cold {
    pub(super) fn new(read_ahead_bytes_max: u64) -> Cold {
        Cold {
            next_tag: 0,
            under_way: BTreeMap::new(),
            fetches: 0,
            fetch_bytes: 0,
            aheads: 0,
            waiting: VecDeque::new(),
            ahead: Ahead::new(read_ahead_bytes_max),
            timer_set: false,
        }
    }

    fn fits(&self, range: &BlockRange) -> bool {
        let bytes = self.fetch_bytes + u64::from(range.bytes());
        self.fetches == 0 || (self.fetches < FETCHES_MAX && bytes <= FETCH_BYTES_MAX)
    }

    fn began(&mut self, range: &BlockRange) {
        self.fetches += 1;
        self.fetch_bytes += u64::from(range.bytes());
    }

    /// Takes a read ahead out that will bring what a reader asks for.
    fn take_ahead(&mut self, operation: u64, wanted: &BlockRange) -> Option<BlockRange> {
        match self.under_way.remove(&operation)? {
            BlobUse::Ahead { range, .. } if range.from_first_of(wanted).is_some() => {
                self.aheads -= 1;
                Some(range)
            }
            other => {
                self.under_way.insert(operation, other);
                None
            }
        }
    }

    fn ended(&mut self, range: &BlockRange) {
        self.fetches -= 1;
        self.fetch_bytes -= u64::from(range.bytes());
    }

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

    /// Other segments hold the partition's records now.
    pub(crate) fn forget_held(&mut self, partition: PartitionId) {
        self.ahead.forget_held(partition);
    }

    /// Merges, reads ahead and the reserve do not count: what they have begun can be given up at any time.
    pub(super) fn is_idle(&self) -> bool {
        let may_be_left = |what: &BlobUse| {
            use BlobUse::{Ahead, CompactRead, MergePut, MergeRead, Reserve, UseReserve};
            matches!(what, Ahead { .. } | MergeRead { .. } | CompactRead { .. } | MergePut | Reserve | UseReserve)
        };
        self.under_way.values().all(may_be_left) && self.waiting.is_empty()
    }

    /// Somebody waits for blocks of this segment.
    pub(crate) fn reads(&self, segment: u64) -> bool {
        let under_way = self.under_way.values().any(|what| match what {
            BlobUse::Fetch(fetch) => fetch.range.segment == segment,
            BlobUse::Ahead { range, .. } | BlobUse::CompactRead { range } => range.segment == segment,
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

    /// A read of stored records: out of what was read ahead, or from the medium.
    pub(super) fn read_blocks(&mut self, now: Now, holder: HolderId, ticket: Ticket, range: BlockRange, read: Read) {
        let expected = self.cold.ahead.take((read.partition, read.from));
        let goes_on = expected.is_some();
        match expected {
            Some(Expected::Here(held)) => {
                if let Some((range, before)) = held.range.from_first_of(&range) {
                    self.figures.read_ahead_hits += 1;
                    let checked = Checked { bytes: held.checked.bytes.slice(before..), ..held.checked };
                    let ahead_bytes = held.ahead_bytes;
                    let fetch = Fetch { holder, ticket, range, ask: Ask::Read(read), goes_on, ahead_bytes };
                    return self.fetched(now, fetch, Ok(checked));
                }
            }
            Some(Expected::UnderWay(operation, ahead_bytes)) => {
                if let Some(held) = self.cold.take_ahead(operation, &range) {
                    self.figures.read_ahead_hits += 1;
                    self.cold.began(&held);
                    let fetch = Fetch { holder, ticket, range: held, ask: Ask::Read(read), goes_on, ahead_bytes };
                    self.cold.under_way.insert(operation, BlobUse::Fetch(fetch));
                    return;
                }
            }
            Some(Expected::Stopped) | None => {}
        }
        self.fetch(Fetch { holder, ticket, range, ask: Ask::Read(read), goes_on, ahead_bytes: 0 });
    }

    fn fetch(&mut self, fetch: Fetch) {
        if self.cold.waiting.is_empty() && self.cold.fits(&fetch.range) {
            self.start_fetch(fetch);
        } else if self.cold.waiting.len() >= WAITING_MAX {
            self.answer_fetch_error(&fetch, ReadError::Storage);
        } else {
            self.cold.waiting.push_back(fetch);
        }
    }

    fn start_fetch(&mut self, fetch: Fetch) {
        let range = fetch.range.clone();
        self.cold.began(&range);
        self.start_read(BlobUse::Fetch(fetch), range);
    }

    fn start_read(&mut self, what: BlobUse, range: BlockRange) {
        let read = BlockRead::new(self.config.shard, range);
        let tag = self.cold.next_tag;
        self.cold.next_tag += 1;
        self.cold.under_way.insert(tag, what);
        self.effects.push_back(Effect::Blocks(BlobTag(tag), read));
    }

    /// Reads what a reader that goes on will ask for at `from`, if there is room for it.
    fn read_ahead(&mut self, now: Now, id: PartitionId, from: Offset) {
        let Some(partition) = self.state.partitions.get(id).filter(|partition| from < partition.tail_start()) else {
            return;
        };
        let Some(range) = read::blocks_from(partition, &self.segments, from, COLD_READ_BYTES_MAX) else { return };
        let bytes = u64::from(range.bytes());
        let is_calm = self.cold.waiting.is_empty() && self.cold.fetches + self.cold.aheads < AHEAD_UNDER_WAY_MAX;
        if !is_calm || !self.cold.ahead.make_room(now, bytes) {
            return self.expect(now, (id, from), Expected::Stopped);
        }
        let operation = self.cold.next_tag;
        self.cold.aheads += 1;
        self.start_read(BlobUse::Ahead { range: range.clone(), from }, range);
        self.expect(now, (id, from), Expected::UnderWay(operation, bytes));
    }

    fn expect(&mut self, now: Now, place: (PartitionId, Offset), expected: Expected) {
        self.cold.ahead.put(now, place, expected);
        self.set_ahead_timer();
    }

    fn set_ahead_timer(&mut self) {
        if !self.cold.timer_set
            && let Some(at_us) = self.cold.ahead.expires_us()
        {
            self.cold.timer_set = true;
            self.timers.set(at_us, Timer::ReadAhead);
        }
    }

    pub(super) fn expire_ahead(&mut self, now: Now) {
        self.cold.timer_set = false;
        self.cold.ahead.expire(now);
        self.set_ahead_timer();
    }

    /// Blocks came that nobody had asked for when they were asked for.
    fn ahead_done(&mut self, now: Now, operation: u64, range: BlockRange, from: Offset, got: BlocksRead) {
        let place = (range.partition, from);
        if !self.cold.ahead.waits_for(place, operation) {
            return;
        }
        let expected = match got {
            // Damage behind what is good is found again when it is asked for; and so is what begins with damage.
            Ok(checked) if !checked.bytes.is_empty() => {
                self.figures.cold_read_bytes += checked.bytes.len() as u64;
                let ahead_bytes = u64::from(range.bytes());
                Expected::Here(Held { range, checked, ahead_bytes })
            }
            _ => Expected::Stopped,
        };
        self.expect(now, place, expected);
    }

    pub(super) fn blob_done(&mut self, now: Now, tag: BlobTag, done: BlobDone) {
        let Some(what) = self.cold.under_way.get(&tag.0) else { return };
        if let BlobUse::Fetch(Fetch { range, .. }) | BlobUse::Ahead { range, .. } = what {
            let got = BlockRead::new(self.config.shard, range.clone()).check(done);
            return self.blocks_done(now, tag, got);
        }
        let Some(what) = self.cold.under_way.remove(&tag.0) else { return };
        if self.failed {
            // What the log did not keep must not be trimmed from it.
            return;
        }
        match (what, done) {
            (BlobUse::SpillPut, BlobDone::Put(outcome)) => self.spill_put_done(now, outcome),
            (BlobUse::SpillClear, BlobDone::Deleted(outcome)) => self.spill_clear_done(now, outcome),
            // What could not be removed is removed at the next start.
            (BlobUse::Delete { slots }, BlobDone::Deleted(outcome)) => self.deleted(slots, outcome.is_ok()),
            (BlobUse::MergeRead { segment }, BlobDone::Got(got)) => self.merge_read_done(segment, got),
            (BlobUse::CompactRead { range }, BlobDone::Got(got)) => self.compaction_read_done(range, got),
            (BlobUse::MergePut, BlobDone::PutPiece(outcome)) => self.merge_put_done(outcome),
            (BlobUse::Reserve, BlobDone::Reserved(outcome)) => self.reserved(now, outcome),
            (BlobUse::UseReserve, BlobDone::Reserved(_)) => {}
            (what, done) => debug_assert!(false, "{what:?} was answered with {done:?}"),
        }
    }

    pub(super) fn blocks_done(&mut self, now: Now, tag: BlobTag, got: BlocksRead) {
        match self.cold.under_way.remove(&tag.0) {
            Some(BlobUse::Fetch(fetch)) => {
                self.cold.ended(&fetch.range);
                while self.cold.waiting.front().is_some_and(|next| self.cold.fits(&next.range))
                    && let Some(next) = self.cold.waiting.pop_front()
                {
                    self.start_fetch(next);
                }
                if let Ok(checked) = &got {
                    self.figures.cold_read_bytes += checked.bytes.len() as u64;
                }
                self.fetched(now, fetch, got);
            }
            Some(BlobUse::Ahead { range, from }) => {
                self.cold.aheads -= 1;
                self.ahead_done(now, tag.0, range, from, got);
            }
            what => debug_assert!(what.is_none(), "{what:?} was answered with blocks"),
        }
    }

    fn fetched(&mut self, now: Now, fetch: Fetch, got: BlocksRead) {
        let id = fetch.range.partition;
        let Some(found) = self.state.partitions.get(id) else {
            let reply = match fetch.ask {
                Ask::Read(_) => Reply::Read(Err(ReadError::NotFound)),
                Ask::Search { .. } => Reply::Located(Err(LocateError::NotFound)),
            };
            return self.reply_after(self.state.placement_lsn, fetch.holder, fetch.ticket, reply);
        };
        let (start, high) = (found.visible_start, found.high);
        let name = fetch.range.file(self.config.shard);
        let Checked { bytes, damage } = match got {
            Ok(checked) if !checked.bytes.is_empty() => checked,
            // A segment goes away when all of it was trimmed: then that is the answer.
            _ if fetch.range.end <= start => {
                return match fetch.ask {
                    Ask::Read(_) => self.answer_fetch_error(&fetch, ReadError::OutOfRange { start, high }),
                    Ask::Search { time, .. } => self.search(fetch.holder, fetch.ticket, id, time, start),
                };
            }
            Ok(checked) => checked,
            Err(_) => return self.answer_fetch_error(&fetch, ReadError::Storage),
        };
        // Damage ends the answer before it, and is the answer only where it begins.
        match fetch.ask {
            Ask::Read(ref read) => {
                match read::trim_to(&fetch.range, name, &bytes, read.from, read.bytes_max as usize) {
                    Err(corrupt) => self.answer_corrupt(&fetch, corrupt),
                    Ok((piece, _)) if piece.is_empty() => match damage {
                        Some(corrupt) => self.answer_corrupt(&fetch, corrupt),
                        None => self.read_on(fetch),
                    },
                    Ok((piece, next)) => {
                        let reply = read::reply(found, vec![piece]);
                        self.answer_read(fetch.holder, fetch.ticket, read, reply, next);
                        let held = Held {
                            range: fetch.range,
                            checked: Checked { bytes, damage },
                            ahead_bytes: fetch.ahead_bytes,
                        };
                        self.goes_on_at(now, fetch.goes_on, next, held);
                    }
                }
            }
            Ask::Search { ref time, from } => {
                let mut time = time.clone();
                let malformed = &mut self.figures.malformed_batches;
                match locate::in_blocks(&fetch.range, name, &bytes, &mut time, from, malformed) {
                    Err(corrupt) => self.answer_corrupt(&fetch, corrupt),
                    Ok(Some(found)) => self.answer_search(fetch.holder, fetch.ticket, id, Some(found)),
                    Ok(None) => match damage {
                        Some(corrupt) => self.answer_corrupt(&fetch, corrupt),
                        None => self.search(fetch.holder, fetch.ticket, id, time, fetch.range.end),
                    },
                }
            }
        }
    }

    /// A reader has been given records up to `next`: what is left of what was read ahead is kept for it, or the next is read ahead.
    fn goes_on_at(&mut self, now: Now, goes_on: bool, next: Offset, held: Held) {
        let place = (held.range.partition, next);
        if !goes_on {
            self.expect(now, place, Expected::Stopped);
        } else if held.ahead_bytes > 0
            && next < held.range.end
            && held.checked.damage.is_none()
            && self.cold.ahead.make_room(now, held.ahead_bytes)
        {
            self.expect(now, place, Expected::Here(held));
        } else {
            self.read_ahead(now, place.0, next);
        }
    }

    /// The blocks held nothing from the offset on (offsets may have gaps): the answer begins behind them.
    fn read_on(&mut self, fetch: Fetch) {
        let Ask::Read(read) = fetch.ask else { return };
        let Some(partition) = self.state.partitions.get(read.partition) else { return };
        let from = fetch.range.end;
        if let Some(range) = read::blocks_from(partition, &self.segments, from, u64::from(read.bytes_max)) {
            return self.fetch(Fetch { range, ask: Ask::Read(Read { from, ..read }), ahead_bytes: 0, ..fetch });
        }
        let read = Read { from, ..read };
        let reply = read::from_tail(partition, &self.tail, &read);
        self.answer_tail_read(fetch.holder, fetch.ticket, &read, reply);
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
            locate::Step::Block(range) => {
                let ask = Ask::Search { time, from };
                self.fetch(Fetch { holder, ticket, range, ask, goes_on: false, ahead_bytes: 0 });
            }
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

    /// Sends the answer of the tail.
    pub(super) fn answer_tail_read(&mut self, holder: HolderId, ticket: Ticket, read: &Read, reply: ReadReply) {
        // A slice of the tail is one batch.
        let last = reply.pieces.last().and_then(|piece| Header::read(piece));
        let next = last.map_or(read.from, |header| header.next_offset());
        self.answer_read(holder, ticket, read, reply, next);
    }

    /// Sends a read's answer, which ends at `next`, and sets its watch if that is the end.
    fn answer_read(&mut self, holder: HolderId, ticket: Ticket, read: &Read, reply: ReadReply, next: Offset) {
        self.figures.read_bytes += reply.bytes as u64;
        if let Some(watch) = read.watch
            && let Some(partition) = self.state.partitions.get(read.partition)
            && next >= read::end_of(partition, read.isolation)
        {
            self.watch(read.partition, holder, watch);
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
