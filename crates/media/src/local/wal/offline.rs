// SPDX-License-Identifier: Apache-2.0
//! Looking at a log without opening it, for `inspect`, `fsck` and `salvage`. Changes nothing.
//!
//! Owns: the three views. Must not know: how they are printed.
//!
//! Salvage takes what recovery refuses. Of each frame number it takes the youngest slot's frame whose checksum is right; what an
//! older slot holds beyond the base of a younger one was cut off before and stays away. Behind the last number that is proven
//! durable it stops at the first hole, as recovery does. What stands in lent slots lies below the first frame asked for: they are left to
//! those who have them.

use super::WalOpenError;
use super::frame::{self, FrameFault, FrameKind, Life, PAGE, Place};
use super::slot::{self, SlotHeader, SlotPage};
use super::survey::{Item, Question, scan, survey};
use crate::disk::{DirName, Disk, FileName, list, read_all};
use bytes::Bytes;
use model::media::MediaError;
use model::{Corrupt, Lsn, ShardId};
use std::collections::BTreeMap;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameState {
    /// Whole, and of this life.
    Good,
    /// Whole, left behind by an earlier life of the slot.
    Stale,
    /// Begun in this life and not whole; nothing proves that it ever was.
    Torn,
    /// Not whole, though something later proves that it was durable.
    Rotten,
}

/// A frame, or the place of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameReport {
    pub at: u64,
    /// Bytes in the slot; 0 where that is not known.
    pub bytes: u64,
    pub state: FrameState,
    /// Only of frames that are whole.
    pub kind: Option<FrameKind>,
    /// Of one that is not whole: the number that is due there.
    pub lsn: Lsn,
    pub durable: Lsn,
    pub life: Option<Life>,
    pub body_bytes: u32,
}

/// A slot's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReport {
    pub page: SlotPage,
    pub file_bytes: u64,
    pub frames: Vec<FrameReport>,
}

/// What a slot's header would tell, for a file whose header is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotOf {
    pub cluster_id: [u8; 16],
    pub shard: ShardId,
    pub slot: u32,
}

/// Looks at one slot's bytes. Without a good header, `of` must say whose they are, else no frame can be told from chance.
pub fn inspect_slot(bytes: &[u8], of: Option<SlotOf>) -> SlotReport {
    let page = slot::decode(bytes.get(..PAGE as usize).unwrap_or(bytes));
    let header = match &page {
        SlotPage::Header(header, _) => Some(*header),
        _ => None,
    };
    let of = header.map(|h| SlotOf { cluster_id: h.cluster_id, shard: h.shard, slot: h.slot }).or(of);
    let mut frames = Vec::new();
    if let Some(of) = of {
        let life = header.map(|header| header.life).or_else(|| frame::claimed_life(bytes.get(PAGE as usize..)?));
        let base = header.map_or(Lsn(1), |header| header.base);
        frames = reports(bytes, of, life, base);
    }
    SlotReport { page, file_bytes: bytes.len() as u64, frames }
}

fn reports(bytes: &[u8], of: SlotOf, life: Option<Life>, base: Lsn) -> Vec<FrameReport> {
    let mut frames: Vec<FrameReport> = Vec::new();
    let mut due = base;
    let mut at = PAGE;
    // The last place where a frame of this life was due and none stood.
    let mut hole: Option<FrameReport> = None;
    while let Some(rest) = bytes.get(at as usize..).filter(|rest| !rest.is_empty()) {
        let place = Place { cluster_id: &of.cluster_id, slot: of.slot, at };
        let begun = frame::claimed_life(rest);
        match frame::decode(place, of.shard, rest) {
            Ok(frame) => {
                let good = Some(frame.header.life) == life;
                if good {
                    if let Some(mut hole) = hole.take() {
                        // Durable by its own number, or a proof frame, which was synced before anything followed it.
                        let number_follows = frame.header.kind == FrameKind::Data && frame.header.lsn == due;
                        if frame.header.durable >= hole.lsn || number_follows {
                            hole.state = FrameState::Rotten;
                        }
                        frames.push(hole);
                    }
                    due = frame.header.lsn.next();
                }
                frames.push(FrameReport {
                    at,
                    bytes: frame.bytes(),
                    state: if good { FrameState::Good } else { FrameState::Stale },
                    kind: Some(frame.header.kind),
                    lsn: frame.header.lsn,
                    durable: frame.header.durable,
                    life: Some(frame.header.life),
                    body_bytes: frame.header.body_bytes,
                });
                at += if good { frame.bytes() } else { PAGE };
            }
            Err(_) => {
                if hole.is_none() {
                    hole = Some(FrameReport {
                        at,
                        bytes: 0,
                        state: FrameState::Torn,
                        kind: None,
                        lsn: due,
                        durable: Lsn(0),
                        life: begun,
                        body_bytes: 0,
                    });
                }
                at += PAGE;
            }
        }
    }
    // Behind the last frame: only what was begun in this life is worth a word.
    frames.extend(hole.filter(|hole| hole.life.is_some() && hole.life == life));
    // Later marks prove earlier damage.
    let mark = |frame: &FrameReport| if frame.state == FrameState::Good { frame.durable } else { Lsn(0) };
    let proven = frames.iter().map(mark).max().unwrap_or(Lsn(0));
    for frame in frames.iter_mut().filter(|frame| frame.state == FrameState::Torn && frame.lsn <= proven) {
        frame.state = FrameState::Rotten;
    }
    frames.sort_by_key(|frame| frame.at);
    frames
}

/// What `verify` found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// First and last frame needed; `first` is above `last` when there are none.
    pub first: Lsn,
    pub last: Lsn,
    pub body_bytes: u64,
    /// Frames at the end that the next open would have to make durable.
    pub unproven: u64,
    pub torn_at: Option<(String, u64)>,
    pub slots: u32,
}

/// Reads the log as an open would. An error is what would stop the start.
pub fn verify(disk: &mut dyn Disk, question: Question<'_>) -> Result<Verified, WalOpenError> {
    let found = survey(disk, question)?;
    Ok(Verified {
        first: question.from.max(Lsn(1)),
        last: found.end,
        body_bytes: found.frames.iter().map(|frame| frame.body.len() as u64).sum(),
        unproven: found.end.0.saturating_sub(found.proven.0),
        torn_at: found.torn_at.map(|(file, at)| (file.to_string(), at)),
        slots: found.slots.len() as u32,
    })
}

/// What could be read of a damaged log.
#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    /// In order; holes are named in `lost`.
    pub frames: Vec<(Lsn, Bytes)>,
    /// Frames that were durable and are gone.
    pub lost: Vec<Lost>,
    /// Damage that cost no frame.
    pub notes: Vec<Corrupt>,
}

/// Frames that were durable and are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub first: Lsn,
    pub last: Lsn,
    /// Where they ought to be, as far as that can be told.
    pub place: Corrupt,
}

struct Readable {
    slot: u32,
    header: Option<SlotHeader>,
    items: Vec<Item>,
}

impl Readable {
    fn life(&self) -> Option<Life> {
        self.header.map(|header| header.life).or(self.items.first().map(|item| item.frame.header.life))
    }

    fn base(&self) -> Option<Lsn> {
        self.header.map(|header| header.base).or(self.data().map(|(lsn, _)| lsn).min())
    }

    fn data(&self) -> impl Iterator<Item = (Lsn, &Bytes)> {
        let data = self.items.iter().filter(|item| item.frame.header.kind == FrameKind::Data);
        data.map(|item| (item.frame.header.lsn, &item.body))
    }
}

/// Takes every good frame from `question.from` on. Fails only where nothing can be read at all.
pub fn read_for_salvage(disk: &mut dyn Disk, question: Question<'_>) -> Result<Salvaged, WalOpenError> {
    let from = question.from.max(Lsn(1));
    let dir = DirName::Wal(question.shard);
    let mut salvaged = Salvaged::default();
    let mut readable: Vec<Readable> = Vec::new();
    for (file, length) in list(disk, dir).map_err(|error| WalOpenError::Media(error.on(dir)))? {
        let FileName::WalSlot { slot, .. } = file else { continue };
        if question.lent.contains(&slot) {
            continue;
        }
        let mut note = |at: u64, why: String| {
            salvaged.notes.push(Corrupt { name: file.to_string(), at, why });
        };
        let bytes = match read_all(disk, file, 0, length) {
            Ok(bytes) => bytes,
            Err(error) => {
                note(0, MediaError::to_string(&error.on(file)));
                continue;
            }
        };
        let header = match slot::decode(bytes.get(..PAGE as usize).unwrap_or(&bytes)) {
            SlotPage::Header(header, _) if header.cluster_id != question.cluster_id => {
                note(0, format!("it belongs to cluster {}", model::ids::base64_url(&header.cluster_id)));
                continue;
            }
            SlotPage::Header(header, _) if header.shard == question.shard && header.slot == slot => Some(header),
            SlotPage::Header(header, _) => {
                note(0, format!("its header is that of slot {} of shard {}", header.slot, header.shard));
                None
            }
            SlotPage::Newer(feature) => return Err(WalOpenError::Newer { name: file.to_string(), feature }),
            SlotPage::Bad(why) => {
                note(0, why);
                None
            }
            SlotPage::Blank => None,
        };
        if header.is_some_and(|header| header.slot_bytes > length) {
            note(length, "the file ends before its header says".into());
        }
        let header = header.filter(|header| header.life != Life::NONE);
        // A younger life at the place of the first frame: the header was lost when it was written.
        let first = first_life(&bytes, question, slot);
        let outlived = first > header.map(|header| header.life);
        let header = header.filter(|_| !outlived);
        let lives: Vec<Life> = header.map(|header| header.life).or(first).into_iter().collect();
        let items = scan(&bytes, Question { from, ..question }, slot, &lives, true)?;
        if !items.is_empty() || header.is_some() {
            readable.push(Readable { slot, header, items });
        }
    }
    readable.sort_by_key(Readable::life);

    let mut frames: BTreeMap<Lsn, Bytes> = BTreeMap::new();
    let mut proven = Lsn(from.0 - 1);
    for slot in &readable {
        // What younger slots do not have a copy of, older ones held before it was cut off.
        let cut = match slot.header {
            Some(header) => header.base.max(header.copies_through.next()),
            None => slot.data().map(|(lsn, _)| lsn.next()).max().unwrap_or(Lsn(u64::MAX)),
        };
        frames.split_off(&cut);
        frames.extend(slot.data().filter(|(lsn, _)| *lsn >= from).map(|(lsn, body)| (lsn, body.clone())));
        proven = proven.max(slot.header.map_or(Lsn(0), |header| Lsn(header.base.0.saturating_sub(1))));
        proven = proven.max(slot.items.iter().map(|item| item.frame.header.durable).max().unwrap_or(Lsn(0)));
    }

    let mut due = from;
    for (lsn, body) in frames {
        if lsn > due {
            if due > proven {
                break;
            }
            salvaged.lost.push(lost(&readable, question.shard, due, Lsn(lsn.0 - 1).min(proven)));
            if lsn > proven.next() {
                break;
            }
        }
        salvaged.frames.push((lsn, body));
        due = lsn.next();
    }
    if due <= proven && salvaged.lost.last().is_none_or(|lost| lost.last < proven) {
        salvaged.lost.push(lost(&readable, question.shard, due, proven));
    }
    Ok(salvaged)
}

fn first_life(bytes: &[u8], question: Question<'_>, slot: u32) -> Option<Life> {
    let rest = bytes.get(PAGE as usize..)?;
    let place = Place { cluster_id: &question.cluster_id, slot, at: PAGE };
    match frame::decode(place, question.shard, rest) {
        Ok(frame) => Some(frame.header.life),
        Err(FrameFault::Crc | FrameFault::Length) => frame::claimed_life(rest),
        Err(_) => None,
    }
}

fn lost(readable: &[Readable], shard: ShardId, first: Lsn, last: Lsn) -> Lost {
    let owner = readable.iter().rev().find(|slot| slot.base().is_some_and(|base| base <= first));
    let place = match owner {
        Some(owner) => {
            let before = owner.items.iter().take_while(|item| item.frame.header.lsn < first).last();
            Corrupt {
                name: FileName::WalSlot { shard, slot: owner.slot }.to_string(),
                at: before.map_or(PAGE, Item::end),
                why: format!("frames {first} to {last} were durable and are damaged"),
            }
        }
        None => Corrupt {
            name: DirName::Wal(shard).to_string(),
            at: 0,
            why: format!("frames {first} to {last} were durable and are in no slot"),
        },
    };
    Lost { first, last, place }
}
