// SPDX-License-Identifier: Apache-2.0
//! The write-ahead log on a disk: a state machine that stages frames and makes them durable with one write and one sync at a time.
//!
//! Owns: slots in use, what is staged, in flight and durable, what failed. Its parts: `frame.rs` and `slot.rs` (the bytes),
//! `survey.rs` (what is there), `recovery.rs` (opening), `writer.rs` (going on), `offline.rs` (tools that change nothing).
//! Must not know: what a body means, a thread, a clock.
//!
//! Group commit: `submit` only stages. [`LocalWal::advance`] starts the next flush when none is in flight: one write with all that
//! is staged, one sync, then `Durable`. On a disk that answers at once (`RealDisk`) all of it happens inside `advance`.
//!
//! Lending: a slot that is written to no more can be lent ([`LocalWal::lend`]) to whoever goes on serving its bytes. It is not written
//! again before it is given back, whatever is trimmed; after a restart whoever opens the log says which are lent. The log lends only
//! beyond the usual number, so that where no more can be made (a full disk) it goes on with what it has.
//!
//! Invariants: one flush in flight; a slot's header is written only when all frames below its base are durable; a frame never
//! spans slots; nothing proven durable is written over before it is trimmed or copied; what is lent is not written over; after a failed write or sync nothing
//! more is written, ever.

pub mod frame;
pub mod offline;
mod recovery;
pub mod slot;
pub mod survey;
mod writer;

#[cfg(test)]
mod tests;

use crate::disk::Disk;
use bytes::Bytes;
use frame::{HEADER_BYTES, Life, PAGE};
use model::limits::FRAME_BODY_BYTES_MAX;
use model::media::{LentSlot, MediaError, Wal, WalDone, WalOp};
use model::planted::{Bug, planted};
use model::{Corrupt, Lsn, ShardEpoch, ShardId};
pub use slot::SlotPreparation;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;

/// What is fixed when a log is opened.
#[derive(Clone, Debug)]
pub struct WalOptions {
    pub shard: ShardId,
    pub cluster_id: [u8; 16],
    /// Size of a slot that is made from now on.
    pub slot_bytes: u64,
    /// Slots to have; prepared in the background.
    pub slot_count: u32,
    /// Slots to grow to when trims lag. Beyond it appends wait, staged.
    pub slot_count_max: u32,
    /// The new epoch is above this: the epoch that stands in the checkpoint.
    pub epoch_min: ShardEpoch,
    /// Random bits, new at every open: what a client can publish must not look like a frame of this life.
    pub nonce: u64,
    /// Slots that are lent, and stay so until they are given back.
    pub lent: BTreeSet<u32>,
    /// The data directory is being made: no slots is a new log that begins at `from`, not a lost one.
    pub may_create: bool,
}

impl WalOptions {
    /// Slots for a memory tail of that size: 32 of a sixteenth of it, together twice the tail, and as many again when trims lag. In a
    /// small tail they are fewer, of 1 MiB.
    pub fn new(shard: ShardId, cluster_id: [u8; 16], tail_bytes_max: u64) -> WalOptions {
        const SLOT_BYTES_MIN: u64 = 1024 * 1024;
        let slot_bytes = (tail_bytes_max / 16).max(SLOT_BYTES_MIN);
        // A batch of a power of two makes a frame of one page more: it is to fit without another one's room being lost at the end.
        let with_heads = slot::whole_pages(slot_bytes + slot_bytes / 64);
        let options = WalOptions {
            shard,
            cluster_id,
            slot_bytes: with_heads,
            slot_count: 0,
            slot_count_max: 0,
            epoch_min: ShardEpoch(0),
            nonce: 0,
            lent: BTreeSet::new(),
            may_create: true,
        };
        options.with_slots_for(tail_bytes_max, slot_bytes)
    }

    /// The same with slots of another size.
    pub fn with_slot_bytes(self, tail_bytes_max: u64, slot_bytes: u64) -> WalOptions {
        WalOptions { slot_bytes: slot::whole_pages(slot_bytes), ..self }.with_slots_for(tail_bytes_max, slot_bytes)
    }

    fn with_slots_for(self, tail_bytes_max: u64, slot_bytes: u64) -> WalOptions {
        const SLOTS_MIN: u64 = 8;
        const SLOTS_MAX: u64 = 32;
        let slot_count = (2 * tail_bytes_max).div_ceil(slot_bytes.max(1)).clamp(SLOTS_MIN, SLOTS_MAX) as u32;
        WalOptions { slot_count, slot_count_max: 2 * slot_count, ..self }
    }

    /// Slots to have beyond the usual number once some are asked for: what a spill of half the tail can be lent.
    fn slots_to_lend(&self) -> u32 {
        (self.slot_count / 4).max(1)
    }

    /// Size of the very first slot: a new log's open waits until it is filled with zeros, so it is smaller than the others.
    fn first_slot_bytes(&self) -> u64 {
        const FIRST_SLOT_BYTES_MIN: u64 = 1024 * 1024;
        slot::whole_pages((self.slot_bytes / 8).max(FIRST_SLOT_BYTES_MIN)).min(self.slot_bytes)
    }
}

/// Why a log cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalOpenError {
    /// Something that was durable is damaged or gone.
    Corrupt(Corrupt),
    /// Written by a newer version: the feature that this one does not know.
    Newer {
        name: String,
        feature: String,
    },
    /// The files belong to another cluster.
    Foreign {
        name: String,
        why: String,
    },
    Media(MediaError),
}

impl fmt::Display for WalOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalOpenError::Corrupt(corrupt) => corrupt.fmt(f),
            WalOpenError::Newer { name, feature } => {
                write!(f, "{name} was written by a newer version: {feature} is not known to this one")
            }
            WalOpenError::Foreign { name, why } => write!(f, "{name} does not belong here: {why}"),
            WalOpenError::Media(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WalOpenError {}

/// Figures for metrics; all cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalFigures {
    pub staged_frames: u64,
    /// With headers and padding.
    pub staged_bytes: u64,
    pub in_flight_frames: u64,
    pub flushes: u64,
    pub flushed_frames: u64,
    /// With headers and padding.
    pub flushed_bytes: u64,
    pub slots: u32,
    /// Ready to be used.
    pub slots_free: u32,
    /// Hold frames that are not trimmed, or are written to.
    pub slots_held: u32,
    pub slots_lent: u32,
    /// Why the last try to prepare a slot failed: no space, most likely. Appends go on while slots are free.
    pub preparing_failed: Option<MediaError>,
    /// Staged frames wait for a slot.
    pub waiting_for_slot: bool,
}

/// See the module.
pub struct LocalWal<D: Disk> {
    disk: D,
    options: WalOptions,
    epoch: ShardEpoch,
    slots: Vec<Slot>,
    /// The slot written to, its life, where the next frame goes, and what that frame must repeat.
    active: u32,
    active_life: Life,
    write_at: u64,
    chain_crc: u32,
    /// Checksum of the last data frame.
    data_crc: u32,
    staged: VecDeque<(Lsn, Bytes)>,
    staged_bytes: u64,
    /// Last frame taken, last frame durable, highest durable mark that is itself durable.
    appended: Lsn,
    durable: Lsn,
    marked: Lsn,
    trimmed_below: Lsn,
    settle: bool,
    /// Slots were asked for in this life.
    lends: bool,
    flight: Option<Flight>,
    preparing: Option<Preparing>,
    preparing_failed: Option<MediaError>,
    /// What was last told.
    told_no_room: bool,
    failed: Option<MediaError>,
    done: VecDeque<WalDone>,
    next_tag: u64,
    flushes: u64,
    flushed_frames: u64,
    flushed_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    bytes: u64,
    usage: Usage,
    /// Number of its first frame, and the pages where that and those after it begin, if it was put to use in this life.
    base: Lsn,
    pages: Vec<u32>,
}

impl Slot {
    fn new(bytes: u64, usage: Usage) -> Slot {
        Slot { bytes, usage, base: Lsn(0), pages: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    /// Not prepared, or being prepared.
    Blank,
    Free,
    /// Needed until everything up to `last` is trimmed.
    Held {
        last: Lsn,
    },
    Active,
    /// Somebody else serves its bytes. The log needs them until everything up to `last` is trimmed.
    Lent {
        last: Lsn,
    },
}

/// What is being made durable.
#[derive(Clone, Copy, Debug)]
struct Flight {
    tag: u64,
    stage: FlightStage,
    slot: u32,
    frames: u64,
    bytes: u64,
    /// Durable when the flight is over.
    through: Lsn,
    /// Durable mark that its frames carry.
    mark: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlightStage {
    Writing,
    Syncing,
}

#[derive(Debug)]
enum Preparing {
    /// By this log's own disk; the tag of the step in flight.
    Here { preparation: SlotPreparation, tag: Option<u64> },
    /// Taken by someone else.
    Away { slot: u32 },
}

impl<D: Disk> LocalWal<D> {
    /// This life's epoch.
    pub fn epoch(&self) -> ShardEpoch {
        self.epoch
    }

    /// The last frame known to be durable.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Nothing is staged, in flight or still to be settled.
    pub fn idle(&self) -> bool {
        self.staged.is_empty() && self.flight.is_none() && (!self.settle || self.failed.is_some())
    }

    /// See [`WalFigures`].
    pub fn figures(&self) -> WalFigures {
        let count = |wanted: fn(Usage) -> bool| self.slots.iter().filter(|slot| wanted(slot.usage)).count() as u32;
        WalFigures {
            staged_frames: self.staged.len() as u64,
            staged_bytes: self.staged_bytes,
            in_flight_frames: self.flight.map_or(0, |flight| flight.frames),
            flushes: self.flushes,
            flushed_frames: self.flushed_frames,
            flushed_bytes: self.flushed_bytes,
            slots: self.slots.len() as u32,
            slots_free: count(|usage| usage == Usage::Free),
            slots_held: count(|usage| matches!(usage, Usage::Held { .. } | Usage::Active)),
            slots_lent: count(|usage| matches!(usage, Usage::Lent { .. })),
            preparing_failed: self.preparing_failed.clone(),
            waiting_for_slot: self.waiting_for_slot(),
        }
    }

    /// The disk, for a simulator to look at.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Lends the slots that are written for good, all of whose frames are below `below`, if it was this life that wrote them, the
    /// oldest first: as many as there are beyond the usual number. (So the first time none, and some are prepared for the next.) Nothing is
    /// written to them until they are given back.
    pub fn lend(&mut self, below: Lsn) -> Vec<LentSlot> {
        let mut lent = Vec::new();
        if self.failed.is_some() {
            return lent;
        }
        self.lends = true;
        let own = self.full_slots().filter(|slot| slot.usage != Usage::Blank).count();
        let spare = own.saturating_sub(self.options.slot_count as usize);
        let is_wanted = |slot: &Slot| match slot.usage {
            Usage::Held { .. } if slot.pages.is_empty() => false,
            Usage::Held { last } => last < below && slot.base.0 + slot.pages.len() as u64 == last.next().0,
            _ => false,
        };
        let mut wanted: Vec<usize> = (0..self.slots.len()).filter(|number| is_wanted(&self.slots[*number])).collect();
        wanted.sort_unstable_by_key(|number| self.slots[*number].base);
        for number in wanted.into_iter().take(spare) {
            let slot = &mut self.slots[number];
            let Usage::Held { last } = slot.usage else { continue };
            slot.usage = Usage::Lent { last };
            let pages = std::mem::take(&mut slot.pages);
            let places = (slot.base.0..).zip(pages);
            let body_at = |page: u32| u64::from(page) * PAGE + HEADER_BYTES as u64;
            let frames = places.map(|(lsn, page)| (Lsn(lsn), body_at(page))).collect();
            lent.push(LentSlot { slot: number as u32, frames });
        }
        lent
    }

    /// Takes a lent slot back: nobody serves its bytes any more, also after a loss of power.
    pub fn give_back(&mut self, slot: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize)
            && let Usage::Lent { last } = slot.usage
        {
            slot.usage = if last < self.trimmed_below { Usage::Free } else { Usage::Held { last } };
        }
    }

    fn fail(&mut self, error: MediaError) {
        if self.failed.is_none() {
            self.failed = Some(error.clone());
            self.done.push_back(WalDone::Failed(error));
        }
        self.flight = None;
        self.staged.clear();
        self.staged_bytes = 0;
    }

    fn take(&mut self, lsn: Lsn, body: Bytes) {
        if let Some(error) = &self.failed {
            self.done.push_back(WalDone::Failed(error.clone()));
            return;
        }
        if lsn != self.appended.next() || body.len() > FRAME_BODY_BYTES_MAX {
            let why = format!(
                "frame {lsn} of {} bytes was given where frame {} of at most {FRAME_BODY_BYTES_MAX} was due",
                body.len(),
                self.appended.next()
            );
            return self.fail(MediaError::Io { name: format!("wal/{:02}", self.options.shard.0), why });
        }
        self.appended = lsn;
        self.settle = false;
        self.staged_bytes += frame::frame_bytes(body.len());
        self.staged.push_back((lsn, body));
    }

    fn trim(&mut self, below: Lsn) {
        // What is not durable cannot have been replaced.
        let below = below.min(self.durable.next());
        self.trimmed_below = self.trimmed_below.max(below);
        for slot in &mut self.slots {
            let is_over = match slot.usage {
                Usage::Held { last } => last < self.trimmed_below,
                Usage::Lent { last } => last < self.trimmed_below && planted(Bug::LentSlotRecycled),
                Usage::Blank | Usage::Free | Usage::Active => false,
            };
            if is_over {
                slot.usage = Usage::Free;
                slot.pages = Vec::new();
            }
        }
    }
}

impl<D: Disk> Wal for LocalWal<D> {
    /// Stages; writes nothing.
    fn submit(&mut self, op: WalOp) {
        match op {
            WalOp::Append { lsn, body } => self.take(lsn, body),
            WalOp::Trim { below } => self.trim(below),
            WalOp::Settle => self.settle = self.marked < self.durable.max(self.appended) && self.failed.is_none(),
            WalOp::Lend { below } => {
                let slots = self.lend(below);
                self.done.push_back(WalDone::Lent { slots });
            }
            WalOp::GiveBack { slot } => self.give_back(slot),
        }
    }

    /// Advances when no outcome is waiting.
    fn poll_done(&mut self) -> Option<WalDone> {
        if self.done.is_empty() {
            self.advance();
        }
        self.done.pop_front()
    }
}
