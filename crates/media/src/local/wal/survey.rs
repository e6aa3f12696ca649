// SPDX-License-Identifier: Apache-2.0
//! Reads a shard's slots and finds out what its log holds; changes nothing.
//!
//! The rules (drawn in docs/internals/wal.md):
//! - Slots are ordered by life. A slot holds the frames from its base up to where the next younger slot begins: what an older
//!   slot has beyond that is superseded. A slot of copies does not count before it is known that they were synced: something was
//!   written behind them, or a younger slot begins behind them. (Their own marks say only what was durable in older places, and
//!   those places are the ones that a slot that counts sets free.) What shows it may itself have been lost with the power after an
//!   open that failed, when the older places were in use again already: so where the log is not whole without them, copies that
//!   are only seen count after all, and are copied once more before any place is set free.
//! - A frame continues the log if it stands right behind the one before, in the same life and epoch, carries its checksum, and
//!   the next number.
//! - Proven durable is: what the durable mark of any good frame of the slot's life says, what lies below the base of any good slot
//!   header, and what the checkpoint lies on (everything below `from`).
//! - Where the log ends before what is proven, something has rotted: the survey fails with file and position. Where it ends at
//!   or after that, whatever follows was never acknowledged: a torn end, cut.
//!
//! Owns: the above. Must not know: how the log goes on afterwards (`recovery.rs`), what bodies mean.

use super::WalOpenError;
use super::frame::{self, Frame, FrameFault, FrameKind, Life, PAGE, Place};
use super::slot::{self, SlotHeader, SlotPage};
use crate::disk::{DirName, Disk, FileName, list, read_all};
use bytes::Bytes;
use model::planted::{Bug, planted};
use model::{Corrupt, Lsn, ShardEpoch, ShardId};
use std::collections::BTreeSet;

/// A frame of the log, with where it stands.
#[derive(Clone, Debug)]
pub struct Found {
    pub lsn: Lsn,
    pub body: Bytes,
    pub crc: u32,
    pub slot: u32,
}

/// One slot as found.
#[derive(Clone, Debug)]
pub struct SlotFound {
    pub slot: u32,
    /// Size of the file, in whole pages.
    pub bytes: u64,
    pub page: SlotPage,
    /// The range of needed frames it holds: it must be kept until they are trimmed or copied.
    pub holds: Option<(Lsn, Lsn)>,
}

/// What a log holds.
#[derive(Debug)]
pub struct Survey {
    pub slots: Vec<SlotFound>,
    /// From `from` to `end`, without holes.
    pub frames: Vec<Found>,
    pub end: Lsn,
    /// Everything up to here was proven durable.
    pub proven: Lsn,
    /// From here on the frames may stand only in copies that were never synced: no used slot may be used again before they have been
    /// copied once more.
    pub seen_from: Option<Lsn>,
    pub epoch_max: ShardEpoch,
    pub torn_at: Option<(FileName, u64)>,
}

/// What is asked of the log.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub shard: ShardId,
    pub cluster_id: [u8; 16],
    pub from: Lsn,
    /// An empty directory is a new log, not a lost one.
    pub may_be_new: bool,
    /// Slots that are lent: all their frames lie below `from`.
    pub lent: &'a BTreeSet<u32>,
}

/// A good frame in a slot.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub at: u64,
    pub frame: Frame,
    pub body: Bytes,
}

impl Item {
    pub(super) fn end(&self) -> u64 {
        self.at + self.frame.bytes()
    }

    fn lsn(&self) -> Lsn {
        self.frame.header.lsn
    }

    fn is_data(&self) -> bool {
        self.frame.header.kind == FrameKind::Data
    }
}

/// What is known of a slot's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    /// Not all there.
    Missing,
    /// All there, but perhaps not on the disk.
    Seen,
    /// There are none, or they are on the disk.
    Synced,
}

/// A slot whose header is good, or whose life was told by its first frame, with its frames.
struct Read {
    slot: u32,
    header: Option<(SlotHeader, u32)>,
    items: Vec<Item>,
    /// A frame of this slot's life was begun where the good ones end.
    begun_at: Option<u64>,
    /// Planted bug only: what an earlier life left behind the last frame.
    stale: Vec<Bytes>,
}

impl Read {
    /// Frame `items[index]` continues the one before it (or the header).
    fn chained(&self, index: usize) -> bool {
        let Some(item) = self.items.get(index) else { return false };
        let (expected_at, expected_crc) =
            match (index.checked_sub(1).and_then(|before| self.items.get(before)), self.header) {
                (Some(before), _) => (before.end(), before.frame.crc),
                (None, Some((_, crc))) => (PAGE, crc),
                (None, None) => (PAGE, item.frame.header.previous_crc),
            };
        item.at == expected_at && item.frame.header.previous_crc == expected_crc
    }

    /// Number of frames, from the slot's beginning, that are chained.
    fn run(&self) -> usize {
        (0..self.items.len()).take_while(|index| self.chained(*index)).count()
    }

    /// What is known of the copies that its header announces, as far as frames from `from` on are wanted: if all of them lie below it,
    /// this slot or a younger one has served since, and what they look like now does not matter. Those that something written only after their sync stands behind,
    /// or a younger slot relies on (the farthest begins at `younger_base`), were synced.
    fn copies(&self, younger_base: Lsn, from: u64) -> Copies {
        let Some((header, _)) = self.header else { return Copies::Missing };
        if header.copies_through.0 < from {
            return Copies::Synced;
        }
        let run = &self.items[..self.run()];
        match run.iter().position(|item| item.is_data() && item.lsn() >= header.copies_through) {
            None => Copies::Missing,
            Some(last) if last + 1 < run.len() || younger_base > header.copies_through => Copies::Synced,
            Some(_) => Copies::Seen,
        }
    }

    /// Where frame `lsn` ought to stand.
    fn place_of(&self, lsn: Lsn) -> u64 {
        self.items.iter().take_while(|item| item.lsn() < lsn).last().map_or(PAGE, Item::end)
    }
}

/// Answers the question.
pub fn survey(disk: &mut dyn Disk, question: Question<'_>) -> Result<Survey, WalOpenError> {
    let mut passed_over = false;
    match survey_slots(disk, question, Copies::Synced, &mut passed_over) {
        Err(WalOpenError::Corrupt(_)) if passed_over => survey_slots(disk, question, Copies::Seen, &mut passed_over),
        answer => answer,
    }
}

/// The same, where slots count whose copies are at least what `wanted` says. Tells in `passed_over` if one was only seen.
fn survey_slots(
    disk: &mut dyn Disk,
    question: Question<'_>,
    wanted: Copies,
    passed_over: &mut bool,
) -> Result<Survey, WalOpenError> {
    let mut slots = find_slots(disk, question)?;
    let from = question.from.0.max(1);
    let mut epoch_max = ShardEpoch(0);
    let mut proven = Lsn(from - 1);

    // Youngest first: each good slot takes the numbers from its base up to the next younger one's.
    let mut used: Vec<(SlotHeader, u32)> = slots
        .iter()
        .filter_map(|found| match found.page {
            SlotPage::Header(header, crc) if header.life != Life::NONE => Some((header, crc)),
            _ => None,
        })
        .collect();
    used.sort_by_key(|(header, _)| std::cmp::Reverse(header.life));
    for pair in used.windows(2) {
        let ((younger, _), (older, _)) = (pair[0], pair[1]);
        if (younger.life.epoch, younger.life.turn) == (older.life.epoch, older.life.turn) {
            let why = format!("it bears the same epoch and turn as slot {}", older.slot);
            return Err(corrupt(question.shard, younger.slot, 0, why));
        }
    }
    let mut covers: Vec<(Read, Lsn)> = Vec::new();
    let mut excluded: Vec<Read> = Vec::new();
    let mut limit = u64::MAX;
    let mut farthest_base = Lsn(0);
    let mut seen_from = None;
    for (header, crc) in &used {
        let younger_base = farthest_base;
        farthest_base = farthest_base.max(header.base);
        epoch_max = epoch_max.max(header.life.epoch);
        proven = proven.max(Lsn(header.base.0.saturating_sub(1)));
        if limit <= from {
            continue;
        }
        let read = read_slot(
            disk,
            question,
            &slots[header.slot as usize],
            Some((*header, *crc)),
            &[header.life],
            limit == u64::MAX,
        )?;
        proven = proven.max(mark(&read.items));
        let copies = read.copies(younger_base, from);
        *passed_over |= copies == Copies::Seen;
        if copies == Copies::Synced || copies == wanted {
            if copies == Copies::Seen {
                seen_from = Some(header.base);
            }
            // All that it held may stand in a younger slot of copies by now.
            if header.base.0 < limit {
                covers.push((read, Lsn(limit)));
                limit = header.base.0;
            }
        } else {
            excluded.push(read);
        }
    }
    covers.reverse();

    // Slots whose header cannot be trusted: their frames still testify.
    let mut witnesses: Vec<Read> = Vec::new();
    for found in &slots {
        let header_life = match &found.page {
            SlotPage::Header(header, _) => header.life,
            _ => Life::NONE,
        };
        // Whatever a lent slot could tell lies below `from`.
        let testifies = !question.lent.contains(&found.slot);
        let testifies = testifies
            && match &found.page {
                SlotPage::Bad(_) | SlotPage::Blank => found.bytes > PAGE,
                SlotPage::Header(..) => first_life(disk, question, found)?.is_some_and(|life| life > header_life),
                SlotPage::Newer(_) => false,
            };
        if !testifies {
            continue;
        }
        // The first page behind the header always begins a frame, never a client's bytes: if it is good, its life is the slot's.
        let first = first_life(disk, question, found)?;
        let all = read_slot(disk, question, found, None, &[], false)?;
        let life = all.items.first().filter(|item| item.at == PAGE).map(|item| item.frame.header.life).or(first);
        let items: Vec<Item> = match life {
            Some(life) if all.items.iter().any(|item| item.frame.header.life == life) => {
                all.items.into_iter().filter(|item| item.frame.header.life == life).collect()
            }
            _ if header_life != Life::NONE => Vec::new(),
            _ => all.items,
        };
        let items: Vec<Item> = items.into_iter().filter(|item| item.frame.header.life > header_life).collect();
        for item in &items {
            epoch_max = epoch_max.max(item.frame.header.life.epoch);
        }
        proven = proven.max(mark(&items));
        witnesses.push(Read { items, ..all });
    }

    let place_of = |lsn: Lsn| -> (u32, u64) {
        if let Some(read) = witnesses.iter().find(|read| read.items.iter().any(|item| item.lsn() >= lsn)) {
            return (read.slot, 0);
        }
        let owner = covers
            .iter()
            .map(|(read, _)| read)
            .chain(&excluded)
            .filter(|read| read.header.is_some_and(|(header, _)| header.base <= lsn))
            .max_by_key(|read| read.header.map(|(header, _)| header.life));
        match owner {
            // Of copies that are not all there, the first that is missing.
            Some(read) if excluded.iter().any(|excluded| excluded.slot == read.slot) => {
                (read.slot, read.items[..read.run()].last().map_or(PAGE, Item::end))
            }
            Some(read) => (read.slot, read.place_of(lsn)),
            None => (used.last().map_or(0, |(header, _)| header.slot), 0),
        }
    };

    if used.is_empty() && witnesses.iter().all(|read| read.items.is_empty()) && !question.may_be_new {
        let why = "the log is missing: no slot was ever used".into();
        return Err(WalOpenError::Corrupt(Corrupt { name: DirName::Wal(question.shard).to_string(), at: 0, why }));
    }

    // The walk.
    let mut frames: Vec<Found> = Vec::new();
    let mut end = from - 1;
    // The log is known to reach the place where the walk begins.
    let mut anchored = used.is_empty();
    let mut torn_at = None;
    let mut before_crc = 0;
    let start = covers
        .iter()
        .position(|(read, limit)| read.header.is_some_and(|(header, _)| header.base.0 <= from) && from < limit.0);
    let walked = start.map_or(&[] as &[_], |start| &covers[start..]);
    for (read, limit) in walked {
        let Some((header, _)) = read.header else { break };
        if header.base.0 > end + 1 {
            break;
        }
        if header.base.0 == end + 1 {
            anchored = true;
            if before_crc != 0 && header.previous_crc != 0 && header.previous_crc != before_crc {
                let why = format!("it does not follow frame {end}: another frame stood there when it was begun");
                return Err(corrupt(question.shard, read.slot, 0, why));
            }
        }
        // Frames before the first one wanted need not be good.
        let begin = read.items.iter().position(|item| item.is_data() && item.lsn().0 == end + 1);
        let begin = begin.unwrap_or_else(|| {
            let before = read.items.iter().rposition(|item| item.lsn().0 == end);
            anchored |= before.is_some();
            before.map_or(0, |before| before + 1)
        });
        let mut last_end = begin.checked_sub(1).map_or(PAGE, |before| read.items[before].end());
        let mut broken = false;
        for index in begin..read.items.len() {
            let item = &read.items[index];
            if item.lsn() >= *limit {
                break;
            }
            let first_after_gap = index == begin && frames.is_empty() && index > 0 && item.lsn().0 == from;
            let expected = if item.is_data() { end + 1 } else { end };
            if !(first_after_gap || read.chained(index)) || item.lsn().0 != expected {
                // What follows in the same life bears the number that is due: only a proof frame can have stood between, and
                // that was synced before anything followed it.
                if item.is_data() && item.lsn().0 == end + 1 {
                    let why = "a frame that was durable is damaged (no record stood in it)".into();
                    return Err(corrupt(question.shard, read.slot, last_end, why));
                }
                broken = true;
                break;
            }
            last_end = item.end();
            if item.is_data() {
                anchored = true;
                end += 1;
                before_crc = item.frame.crc;
                frames.push(Found { lsn: Lsn(end), body: item.body.clone(), crc: item.frame.crc, slot: read.slot });
            }
        }
        let file = FileName::WalSlot { shard: question.shard, slot: read.slot };
        torn_at = (broken || read.begun_at == Some(last_end)).then_some((file, last_end));
        if planted(Bug::StaleFrameAccepted) && *limit == Lsn(u64::MAX) {
            for body in &read.stale {
                end += 1;
                frames.push(Found { lsn: Lsn(end), body: body.clone(), crc: 0, slot: read.slot });
            }
        }
        if end + 1 < limit.0 {
            break;
        }
    }
    if end < proven.0 || !anchored {
        let missing = if anchored { Lsn(end + 1) } else { Lsn(from) };
        let (slot, at) = place_of(missing);
        let why = if proven >= missing {
            format!("frame {missing} was durable and is damaged or missing (frames up to {proven} were)")
        } else {
            format!("the log does not reach frame {}, on which the checkpoint lies", from - 1)
        };
        return Err(corrupt(question.shard, slot, at, why));
    }

    for found in &frames {
        let holds = &mut slots[found.slot as usize].holds;
        *holds = Some((holds.map_or(found.lsn, |(first, _)| first), found.lsn));
    }
    Ok(Survey { slots, frames, end: Lsn(end), proven, seen_from, epoch_max, torn_at })
}

/// Highest durable mark.
fn mark(items: &[Item]) -> Lsn {
    items.iter().map(|item| item.frame.header.durable).max().unwrap_or(Lsn(0))
}

/// Lists the slots and reads their first pages. `slots[n]` is slot n.
pub(super) fn find_slots(disk: &mut dyn Disk, question: Question<'_>) -> Result<Vec<SlotFound>, WalOpenError> {
    let dir = DirName::Wal(question.shard);
    let files = list(disk, dir).map_err(|error| WalOpenError::Media(error.on(dir)))?;
    let mut slots = Vec::new();
    for (file, bytes) in files {
        let FileName::WalSlot { slot, .. } = file else { continue };
        if slot as usize != slots.len() {
            let missing = FileName::WalSlot { shard: question.shard, slot: slots.len() as u32 };
            let why = "the file is missing, though later ones exist".into();
            return Err(WalOpenError::Corrupt(Corrupt { name: missing.to_string(), at: 0, why }));
        }
        let page = read_all(disk, file, 0, PAGE).map_err(|error| WalOpenError::Media(error.on(file)))?;
        let page = slot::decode(&page);
        match &page {
            SlotPage::Newer(feature) => {
                return Err(WalOpenError::Newer { name: file.to_string(), feature: feature.clone() });
            }
            SlotPage::Header(header, _) => {
                if header.cluster_id != question.cluster_id {
                    let why = format!("it belongs to cluster {}", model::ids::base64_url(&header.cluster_id));
                    return Err(WalOpenError::Foreign { name: file.to_string(), why });
                }
                if header.shard != question.shard || header.slot != slot {
                    let why = format!("its header is that of slot {} of shard {}", header.slot, header.shard);
                    return Err(corrupt(question.shard, slot, 0, why));
                }
                if header.slot_bytes > bytes {
                    let why = format!("the file ends here, its header says {} bytes", header.slot_bytes);
                    return Err(corrupt(question.shard, slot, bytes, why));
                }
            }
            SlotPage::Blank | SlotPage::Bad(_) => {}
        }
        slots.push(SlotFound { slot, bytes: bytes / PAGE * PAGE, page, holds: None });
    }
    Ok(slots)
}

/// The life that the first frame's header claims.
fn first_life(disk: &mut dyn Disk, question: Question<'_>, found: &SlotFound) -> Result<Option<Life>, WalOpenError> {
    let file = FileName::WalSlot { shard: question.shard, slot: found.slot };
    let bytes =
        read_all(disk, file, PAGE, frame::HEADER_BYTES as u64).map_err(|error| WalOpenError::Media(error.on(file)))?;
    Ok(frame::claimed_life(&bytes))
}

/// All bytes of a slot's file.
pub(super) fn slot_bytes(disk: &mut dyn Disk, file: FileName, length: u64) -> Result<Vec<u8>, WalOpenError> {
    read_all(disk, file, 0, length).map_err(|error| WalOpenError::Media(error.on(file)))
}

/// The good frames among a slot's bytes, of the given lives (of any, if none is given), in their places.
pub(super) fn scan(
    bytes: &[u8],
    question: Question<'_>,
    slot: u32,
    lives: &[Life],
    with_bodies: bool,
) -> Result<Vec<Item>, WalOpenError> {
    let mut items = Vec::new();
    let mut at = PAGE;
    while let Some(rest) = bytes.get(at as usize..).filter(|rest| !rest.is_empty()) {
        let place = Place { cluster_id: &question.cluster_id, slot, at };
        match frame::decode(place, question.shard, rest) {
            Ok(frame) if lives.is_empty() || lives.contains(&frame.header.life) => {
                let wanted = with_bodies && frame.header.lsn >= question.from;
                let body = if wanted { Bytes::copy_from_slice(frame.body(rest)) } else { Bytes::new() };
                items.push(Item { at, frame, body });
                at += frame.bytes();
            }
            // Only what bears this life was written by a newer version; the rest may be anyone's bytes.
            Err(FrameFault::Newer(feature)) if frame::claimed_life(rest).is_some_and(|life| lives.contains(&life)) => {
                let name = FileName::WalSlot { shard: question.shard, slot }.to_string();
                return Err(WalOpenError::Newer { name, feature });
            }
            // A frame of another life is not skipped as a whole: its length is not to be trusted here.
            _ => at += PAGE,
        }
    }
    Ok(items)
}

fn read_slot(
    disk: &mut dyn Disk,
    question: Question<'_>,
    found: &SlotFound,
    header: Option<(SlotHeader, u32)>,
    lives: &[Life],
    youngest: bool,
) -> Result<Read, WalOpenError> {
    let file = FileName::WalSlot { shard: question.shard, slot: found.slot };
    let length = header.map_or(found.bytes, |(header, _)| header.slot_bytes.min(found.bytes));
    let bytes = slot_bytes(disk, file, length)?;
    let items = scan(&bytes, question, found.slot, lives, true)?;
    let mut read = Read { slot: found.slot, header, items, begun_at: None, stale: Vec::new() };
    let run = read.run();
    let run_end = read.items[..run].last().map_or(PAGE, Item::end);
    let after = bytes.get(run_end as usize..).unwrap_or_default();
    if header.is_some_and(|(header, _)| frame::claimed_life(after) == Some(header.life)) {
        read.begun_at = Some(run_end);
    }
    if planted(Bug::StaleFrameAccepted) && youngest {
        let mut at = run_end;
        while let Some(rest) = bytes.get(at as usize..) {
            let place = Place { cluster_id: &question.cluster_id, slot: found.slot, at };
            let Ok(frame) = frame::decode(place, question.shard, rest) else { break };
            if frame.header.kind == FrameKind::Data {
                read.stale.push(Bytes::copy_from_slice(frame.body(rest)));
            }
            at += frame.bytes();
        }
    }
    Ok(read)
}

pub(super) fn corrupt(shard: ShardId, slot: u32, at: u64, why: String) -> WalOpenError {
    WalOpenError::Corrupt(Corrupt { name: FileName::WalSlot { shard, slot }.to_string(), at, why })
}
