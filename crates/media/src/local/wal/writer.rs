// SPDX-License-Identifier: Apache-2.0
//! The log going on: the next flush, the next slot, the next step of preparing one.
//!
//! Owns: which operation comes next, and what its outcome means. Must not know: how the log was opened.
//!
//! A flush goes to one slot. When the first staged frame does not fit behind the last one, the next flush begins a free slot: header
//! and frames in one write, after everything before is durable. When no slot is free, one is prepared first; if that fails (no
//! space), frames stay staged and nothing is lost: only a failed write or sync *of frames* poisons the log.
//!
//! One free slot is kept back, and a slot is filled only so far that an open can copy it whole behind its own header and proof: so the
//! next open finds a slot, and sets another one free, also where the disk is full.

use super::frame::{self, FrameHeader, FrameKind, Life, PAGE, Place};
use super::slot::{CUT_BYTES, How, SlotHeader, SlotPreparation};
use super::{Flight, FlightStage, LocalWal, Preparing, Slot, Usage};
use crate::disk::{Disk, DiskDone, DiskError, DiskOp, FileName};
use bytes::{Bytes, BytesMut};
use model::Lsn;
use model::crc::crc32c;
use model::media::{MediaError, WalDone};
use model::planted::{Bug, planted};

/// A flush takes no further frame once it has this many bytes, so that a wait for it stays short, and what a restart must copy
/// forward stays small.
const FLUSH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bodies up to this are copied beside their headers; larger ones are written from where they are.
const COPIED_BODY_BYTES_MAX: usize = 16 * 1024;

impl<D: Disk> LocalWal<D> {
    /// Takes what the disk has done and starts what can be started: the next flush if none is in flight.
    pub fn advance(&mut self) {
        loop {
            while let Some((tag, outcome)) = self.disk.poll_done() {
                self.took(tag, outcome);
            }
            if !self.start_next() {
                break;
            }
        }
        let has_failed = matches!(self.preparing_failed, Some(MediaError::NoSpace { .. }));
        if self.failed.is_none() && (self.told_no_room || has_failed) {
            // Told early: what is given meanwhile finds its room in the slot that was begun last.
            let is_there = self.free_slot(PAGE).is_some() && !self.waiting_for_slot();
            if is_there == self.told_no_room {
                self.told_no_room = !is_there;
                self.done.push_back(WalDone::Room { is_there });
            }
        }
    }

    /// Zero-fills up to 1 MiB of a slot that will be needed. True while there is more to prepare. Call it when the log is idle;
    /// a call after a failure tries again.
    pub fn prepare_step(&mut self) -> bool {
        self.preparing_failed = None;
        let mut synced = false;
        while !synced && matches!(self.preparing, None | Some(Preparing::Here { tag: None, .. })) {
            match self.start_preparing() {
                None => return false,
                Some(is_sync) => synced = is_sync,
            }
            self.advance();
            if self.preparing_failed.is_some() {
                return true;
            }
        }
        match self.preparing {
            None => self.wanted_preparation().is_some(),
            Some(Preparing::Here { .. }) => true,
            Some(Preparing::Away { .. }) => false,
        }
    }

    /// The next slot to prepare, to be done elsewhere with another handle on the same disk, then given back.
    pub fn take_preparation(&mut self) -> Option<SlotPreparation> {
        if self.failed.is_some() {
            return None;
        }
        let preparation = match self.preparing.take() {
            None => self.next_preparation()?,
            Some(Preparing::Here { preparation, tag: None }) => preparation,
            under_way => {
                self.preparing = under_way;
                return None;
            }
        };
        self.preparing = Some(Preparing::Away { slot: preparation.slot() });
        Some(preparation)
    }

    /// A preparation that is away cannot go on yet, whoever has it tries again. Poll afterwards: frames may wait for it.
    pub fn preparation_fails(&mut self, error: MediaError) {
        self.preparing_failed = Some(error);
    }

    /// Takes a preparation back, ready or not. Frames may have waited for it: poll afterwards.
    pub fn give_preparation(&mut self, preparation: SlotPreparation) {
        if !matches!(self.preparing, Some(Preparing::Away { slot }) if slot == preparation.slot()) {
            return;
        }
        if preparation.ready() {
            self.prepared(&preparation);
        } else {
            self.preparing = Some(Preparing::Here { preparation, tag: None });
        }
    }

    /// Staged frames wait because no slot can take them.
    pub(super) fn waiting_for_slot(&self) -> bool {
        let Some((_, body)) = self.staged.front() else { return false };
        let needed = frame::frame_bytes(body.len());
        self.flight.is_none() && !self.fits_active(needed) && self.free_slot(needed).is_none()
    }

    /// A frame of this size fits behind the last one, and a proof after it.
    fn fits_active(&self, needed: u64) -> bool {
        self.slots.get(self.active as usize).is_some_and(|slot| self.write_at + needed + PAGE <= slot.bytes)
    }

    /// The first free slot with room for a header and a frame, if another one is left for the next open. (While the usual number is
    /// still being prepared, frames do not wait for that.)
    fn free_slot(&self, needed: u64) -> Option<u32> {
        let is_free = |slot: &Slot, bytes: u64| slot.usage == Usage::Free && slot.bytes >= bytes;
        let found = self.slots.iter().position(|slot| is_free(slot, PAGE + needed))?;
        let kept_bytes = self.slots[found].bytes.min(self.options.slot_bytes);
        let mut others = self.slots.iter().enumerate().filter(|(number, _)| *number != found);
        let is_kept = others.any(|(_, slot)| is_free(slot, kept_bytes));
        (is_kept || self.full_slots().count() < self.options.slot_count as usize).then_some(found as u32)
    }

    /// Those that the log has for itself, but for what was cut down.
    pub(super) fn full_slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.bytes > CUT_BYTES && !matches!(slot.usage, Usage::Lent { .. }))
    }

    /// Starts one operation if one can be started.
    fn start_next(&mut self) -> bool {
        if self.failed.is_some() || self.flight.is_some() {
            return false;
        }
        let Some((_, body)) = self.staged.front() else {
            return self.settle && self.start_proof();
        };
        let needed = frame::frame_bytes(body.len());
        if self.fits_active(needed) {
            self.start_flush(None);
            return true;
        }
        if let Some(slot) = self.free_slot(needed) {
            self.start_flush(Some(slot));
            return true;
        }
        self.preparing_failed.is_none() && self.start_preparing().is_some()
    }

    /// Writes all staged frames that fit, behind the last one or into a fresh slot.
    fn start_flush(&mut self, fresh: Option<u32>) {
        let mut writer = FrameWriter::default();
        if let Some(slot) = fresh {
            writer.parts.push(self.begin_slot(slot, self.durable.next(), Lsn(0), self.data_crc));
        }
        let at = if fresh.is_some() { 0 } else { self.write_at };
        let room = self.slots[self.active as usize].bytes;
        let mut bytes = 0;
        let mut frames = 0;
        let mut through = self.durable;
        while let Some((lsn, body)) = self.staged.front() {
            let size = frame::frame_bytes(body.len());
            // A slot that was made for one large frame has no page more.
            let needed = if self.write_at == PAGE { size } else { size + PAGE };
            if self.write_at + needed > room || (frames > 0 && bytes + size > FLUSH_BYTES_MAX) {
                break;
            }
            let (lsn, body) = (*lsn, body.clone());
            self.staged.pop_front();
            self.put_frame(&mut writer, FrameKind::Data, lsn, body);
            self.staged_bytes -= size;
            bytes += size;
            frames += 1;
            through = lsn;
        }
        self.fly(at, writer.finish(), frames, bytes, through);
    }

    /// Writes a frame that carries nothing but the durable mark.
    fn start_proof(&mut self) -> bool {
        self.settle = false;
        if self.marked >= self.durable {
            return false;
        }
        let mut writer = FrameWriter::default();
        let mut at = self.write_at;
        if !self.fits_active(0) {
            // A proof is worth a free slot, not the preparing of one.
            let Some(slot) = self.free_slot(PAGE) else { return false };
            at = 0;
            writer.parts.push(self.begin_slot(slot, self.durable.next(), Lsn(0), self.data_crc));
        }
        self.put_frame(&mut writer, FrameKind::Proof, self.durable, Bytes::new());
        self.fly(at, writer.finish(), 0, PAGE, self.durable);
        true
    }

    fn fly(&mut self, at: u64, parts: Vec<Bytes>, frames: u64, bytes: u64, through: Lsn) {
        let tag = self.tag();
        let slot = self.active;
        self.flight =
            Some(Flight { tag, stage: FlightStage::Writing, slot, frames, bytes, through, mark: self.durable });
        self.disk.submit(tag, DiskOp::WriteAt { file: self.slot_file(slot), at, parts });
    }

    /// Makes `slot` the one written to: its header's page.
    pub(super) fn begin_slot(&mut self, slot: u32, base: Lsn, copies_through: Lsn, previous_crc: u32) -> Bytes {
        if let Some(old) = self.slots.get_mut(self.active as usize)
            && old.usage == Usage::Active
        {
            let last = Lsn(base.0 - 1);
            old.usage = if last < self.trimmed_below { Usage::Free } else { Usage::Held { last } };
        }
        let turn = self.active_life.turn.saturating_add(1);
        // An open that was cut off has left no trace of its epoch, perhaps, but some of its copies: another open of the same epoch
        // must not take them for its own, even where the random bits are always the same (as in a test).
        let facts = [base.0, copies_through.0, u64::from(previous_crc), self.durable.0].map(u64::to_le_bytes);
        let nonce = self.options.nonce ^ u64::from(crc32c(facts.as_flattened()));
        self.active_life = Life { epoch: self.epoch, turn, nonce };
        let state = &mut self.slots[slot as usize];
        (state.usage, state.base, state.pages) = (Usage::Active, base, Vec::new());
        let (page, crc) = SlotHeader {
            cluster_id: self.options.cluster_id,
            shard: self.options.shard,
            slot,
            life: self.active_life,
            base,
            copies_through,
            previous_crc,
            slot_bytes: state.bytes,
        }
        .encode();
        self.active = slot;
        self.write_at = PAGE;
        self.chain_crc = crc;
        page
    }

    /// Adds a frame to what is about to be written at `write_at`.
    pub(super) fn put_frame(&mut self, writer: &mut FrameWriter, kind: FrameKind, lsn: Lsn, body: Bytes) {
        let header = FrameHeader {
            kind,
            shard: self.options.shard,
            body_bytes: body.len() as u32,
            life: self.active_life,
            lsn,
            durable: self.durable,
            previous_crc: self.chain_crc,
        };
        let place = Place { cluster_id: &self.options.cluster_id, slot: self.active, at: self.write_at };
        let (head, crc) = frame::encode(&header, place, &body);
        self.write_at += frame::frame_bytes(body.len());
        self.chain_crc = crc;
        if kind == FrameKind::Data {
            self.data_crc = crc;
            if let Some(slot) = self.slots.get_mut(self.active as usize) {
                slot.pages.push((place.at / PAGE) as u32);
            }
        }
        writer.put(&head, body);
    }

    fn took(&mut self, tag: u64, outcome: Result<DiskDone, DiskError>) {
        if self.failed.is_some() {
            return;
        }
        match (&mut self.flight, &mut self.preparing) {
            (Some(flight), _) if flight.tag == tag => {
                let flight = *flight;
                self.flight_took(flight, outcome);
            }
            (_, Some(Preparing::Here { preparation, tag: waited })) if *waited == Some(tag) => {
                *waited = None;
                match preparation.took(outcome) {
                    Ok(()) if preparation.ready() => {
                        if let Some(Preparing::Here { preparation, .. }) = self.preparing.take() {
                            self.prepared(&preparation);
                        }
                    }
                    Ok(()) => {}
                    Err(error) => self.preparing_failed = Some(error),
                }
            }
            _ => {}
        }
    }

    fn flight_took(&mut self, flight: Flight, outcome: Result<DiskDone, DiskError>) {
        let file = self.slot_file(flight.slot);
        if let Err(error) = outcome {
            // Even for lack of space: what stands in the slot now is not known.
            let why = error.to_string();
            return self.fail(MediaError::Io { name: file.to_string(), why });
        }
        let left_out = planted(Bug::LostSync) || planted(Bug::SyncLeftOut);
        if flight.stage == FlightStage::Writing && !left_out {
            let tag = self.tag();
            self.flight = Some(Flight { tag, stage: FlightStage::Syncing, ..flight });
            self.disk.submit(tag, DiskOp::Sync { file });
            return;
        }
        self.flight = None;
        self.flushes += 1;
        self.flushed_frames += flight.frames;
        self.flushed_bytes += flight.bytes;
        self.marked = self.marked.max(flight.mark);
        if flight.through > self.durable {
            self.durable = flight.through;
            self.done.push_back(WalDone::Durable { through: flight.through });
        }
    }

    /// Starts the next step of preparing; `Some(true)` if it is a sync.
    fn start_preparing(&mut self) -> Option<bool> {
        if self.failed.is_some() {
            return None;
        }
        if self.preparing.is_none() {
            let preparation = self.next_preparation()?;
            self.preparing = Some(Preparing::Here { preparation, tag: None });
        }
        let step_tag = self.tag();
        let Some(Preparing::Here { preparation, tag: tag @ None }) = &mut self.preparing else { return None };
        let op = preparation.next_op()?;
        let is_sync = matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. });
        *tag = Some(step_tag);
        self.disk.submit(step_tag, op);
        Some(is_sync)
    }

    /// Whether, and which, slot ought to be prepared next.
    fn next_preparation(&mut self) -> Option<SlotPreparation> {
        let wanted = self.wanted_preparation()?;
        let preparation = match wanted {
            Wanted::Slot { slot, bytes, exists_to } => self.preparation(slot, bytes, exists_to),
            Wanted::CutDown { slot } => SlotPreparation::new(self.blank_header(slot, 0), None, How::CutDown),
        };
        if let Some(known) = self.slots.get_mut(preparation.slot() as usize) {
            known.usage = Usage::Blank;
        }
        Some(preparation)
    }

    /// A slot large enough for the frame that waits, then those of the usual number and some to lend, then one more if trims lag. When there are far
    /// too many, since lent ones came back: the last of them is cut down, until a slot is wanted again.
    fn wanted_preparation(&self) -> Option<Wanted> {
        let usual = self.options.slot_bytes;
        let there: u64 = self.full_slots().map(|slot| slot.bytes).sum();
        let count = self.full_slots().count() as u32;
        let unprepared = |slots_max: u32, bytes: u64| {
            // Slots made when the tail was smaller count for what they hold, not as one each.
            let room = count < slots_max || there + bytes <= u64::from(slots_max) * usual;
            if let Some(slot) = self.slots.iter().position(|slot| slot.usage == Usage::Blank) {
                return Some(Wanted::Slot { slot: slot as u32, bytes, exists_to: Some(0) });
            }
            let cut = self.slots.iter().position(|slot| slot.usage == Usage::Free && slot.bytes <= CUT_BYTES);
            let slot = cut.unwrap_or(self.slots.len()) as u32;
            room.then_some(Wanted::Slot { slot, bytes, exists_to: cut.map(|_| CUT_BYTES) })
        };
        if self.waiting_for_slot() {
            let needed = PAGE + self.staged.front().map_or(0, |(_, body)| frame::frame_bytes(body.len()));
            // A free slot that is too small for a frame of this size grows.
            let is_small = |slot: &Slot| slot.usage == Usage::Free && slot.bytes < needed;
            if let Some(slot) = self.slots.iter().position(is_small) {
                let exists_to = Some(self.slots[slot].bytes);
                return Some(Wanted::Slot { slot: slot as u32, bytes: needed.max(usual), exists_to });
            }
            return unprepared(self.options.slot_count_max, needed.max(usual));
        }
        let to_lend = if self.lends { self.options.slots_to_lend() } else { 0 };
        if let Some(wanted) = unprepared(self.options.slot_count + to_lend, usual) {
            return Some(wanted);
        }
        let is_ready = |slot: &Slot| slot.usage == Usage::Free && slot.bytes > CUT_BYTES;
        let slots_max = self.options.slot_count_max;
        match self.slots.iter().filter(|slot| is_ready(slot)).count() {
            0 | 1 => unprepared(slots_max, usual),
            ready if ready > slots_max as usize => {
                self.slots.iter().rposition(is_ready).map(|slot| Wanted::CutDown { slot: slot as u32 })
            }
            _ => None,
        }
    }

    pub(super) fn preparation(&self, slot: u32, bytes: u64, exists_to: Option<u64>) -> SlotPreparation {
        let is_lent = |slot: &Slot| matches!(slot.usage, Usage::Lent { .. });
        let how = if self.lends || self.slots.iter().any(is_lent) { How::Allocate } else { How::Fill };
        SlotPreparation::new(self.blank_header(slot, super::slot::whole_pages(bytes)), exists_to, how)
    }

    fn blank_header(&self, slot: u32, slot_bytes: u64) -> SlotHeader {
        SlotHeader {
            cluster_id: self.options.cluster_id,
            shard: self.options.shard,
            slot,
            life: Life::NONE,
            base: Lsn(0),
            copies_through: Lsn(0),
            previous_crc: 0,
            slot_bytes,
        }
    }

    /// A slot is ready.
    pub(super) fn prepared(&mut self, preparation: &SlotPreparation) {
        self.preparing = None;
        self.preparing_failed = None;
        let slot = preparation.slot() as usize;
        let ready = Slot::new(preparation.slot_bytes(), Usage::Free);
        match self.slots.get_mut(slot) {
            Some(known) => *known = ready,
            None => self.slots.push(ready),
        }
    }

    pub(super) fn slot_file(&self, slot: u32) -> FileName {
        FileName::WalSlot { shard: self.options.shard, slot }
    }

    fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }
}

/// What is to be prepared.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Its number and size, and how much of it is there already.
    Slot { slot: u32, bytes: u64, exists_to: Option<u64> },
    /// A free slot too many.
    CutDown { slot: u32 },
}

/// Frames one behind the other, as pieces for one write.
#[derive(Default)]
pub(super) struct FrameWriter {
    pub(super) parts: Vec<Bytes>,
    gathered: BytesMut,
}

impl FrameWriter {
    fn put(&mut self, head: &[u8; frame::HEADER_BYTES], body: Bytes) {
        let size = frame::frame_bytes(body.len()) as usize;
        self.gathered.extend_from_slice(head);
        let padding = size - head.len() - body.len();
        if body.len() <= COPIED_BODY_BYTES_MAX {
            self.gathered.extend_from_slice(&body);
        } else {
            self.parts.push(self.gathered.split().freeze());
            self.parts.push(body);
        }
        self.gathered.resize(self.gathered.len() + padding, 0);
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.gathered.is_empty() {
            self.parts.push(self.gathered.freeze());
        }
        self.parts
    }
}
