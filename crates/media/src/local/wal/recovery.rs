// SPDX-License-Identifier: Apache-2.0
//! Opening a log: what the survey found is made safe, then served.
//!
//! After `kill -9` the system may still show frames that were never synced. If they were served and the power failed, what was
//! seen would vanish. So every open begins a fresh slot: its header (new epoch), copies of all frames not proven durable, a sync,
//! and a proof frame, synced too; only then does `open` return. Until the copies are all there the older slots rule.
//!
//! A restart without a spill in between uses up a slot. So that restarts in a row do not use up all of them, the copying begins
//! further back when that sets old slots free at little cost.
//!
//! Owns: the above. Must not know: how frames are read (`survey.rs`), how the log goes on (`writer.rs`).

use super::frame::{self, FrameKind, Life, PAGE};
use super::slot::SlotPage;
use super::survey::{Question, Survey, corrupt, survey};
use super::writer::FrameWriter;
use super::{LocalWal, Slot, Usage, WalOpenError, WalOptions};
use crate::disk::{DirName, Disk, DiskOp, run};
use model::media::WalOpened;
use model::planted::{Bug, planted};
use model::{Lsn, ShardEpoch};
use std::collections::VecDeque;

impl<D: Disk> LocalWal<D> {
    /// Opens the log of a shard and reads the frames from `from` on. Returns when all it returns is durable; one slot is
    /// prepared, more follow with [`LocalWal::prepare_step`].
    pub fn open(mut disk: D, options: WalOptions, from: Lsn) -> Result<(LocalWal<D>, WalOpened), WalOpenError> {
        let question = Question {
            shard: options.shard,
            cluster_id: options.cluster_id,
            from: from.max(Lsn(1)),
            may_be_new: options.may_create,
            lent: &options.lent,
        };
        let from = question.from;
        let found = survey(&mut disk, question)?;
        if !found.slots.is_empty() {
            // A name that is seen may not be durable yet, if the last run ended between making and syncing it.
            let dir = DirName::Wal(options.shard);
            run(&mut disk, DiskOp::SyncDir { dir }).map_err(|error| WalOpenError::Media(error.on(dir)))?;
        }
        if let Some(missing) = options.lent.range(found.slots.len() as u32..).next() {
            let why = "the file is missing, though what stands in it is needed".into();
            return Err(corrupt(options.shard, *missing, 0, why));
        }
        let Some(epoch) = found.epoch_max.max(options.epoch_min).0.checked_add(1) else {
            return Err(corrupt(options.shard, 0, 0, "the last epoch there can be was used".into()));
        };
        let mut wal = LocalWal {
            disk,
            epoch: ShardEpoch(epoch),
            slots: usages(&found, &options),
            active: u32::MAX,
            active_life: Life::NONE,
            write_at: 0,
            chain_crc: 0,
            data_crc: 0,
            staged: VecDeque::new(),
            staged_bytes: 0,
            appended: found.end,
            durable: found.proven.min(found.end),
            marked: Lsn(0),
            trimmed_below: from,
            settle: false,
            lends: false,
            flight: None,
            preparing: None,
            preparing_failed: None,
            told_no_room: false,
            failed: None,
            done: VecDeque::new(),
            next_tag: 0,
            flushes: 0,
            flushed_frames: 0,
            flushed_bytes: 0,
            options,
        };
        wal.begin_life(&found)?;
        let copied_forward = found.end.0.saturating_sub(in_place(&found).0.max(from.0 - 1));
        let opened = WalOpened {
            epoch: wal.epoch,
            next: found.end.next(),
            copied_forward,
            torn_at: found.torn_at.map(|(file, at)| (file.to_string(), at)),
            frames: found.frames.into_iter().map(|frame| (frame.lsn, frame.body)).collect(),
        };
        Ok((wal, opened))
    }

    /// Begins a fresh slot with the copies that are needed or worth it.
    fn begin_life(&mut self, found: &Survey) -> Result<(), WalOpenError> {
        let mut first = copy_from(found, &self.slots, &self.options);
        if planted(Bug::RecoveredUnsynced) {
            first = found.end.next();
        }
        let kept = found.frames.partition_point(|frame| frame.lsn < first);
        let copies = &found.frames[kept..];
        // Header, copies, proof.
        let needed = 2 * PAGE + copies.iter().map(|frame| frame::frame_bytes(frame.body.len())).sum::<u64>();
        let slot = self.fresh_slot(needed)?;

        let previous_crc = kept.checked_sub(1).map_or(0, |before| found.frames[before].crc);
        let copies_through = copies.last().map_or(Lsn(0), |frame| frame.lsn);
        let mut writer = FrameWriter::default();
        // The mark in the copies says what was proven before this open, no more.
        writer.parts.push(self.begin_slot(slot, first, copies_through, previous_crc));
        self.data_crc = previous_crc;
        for frame in copies {
            self.put_frame(&mut writer, FrameKind::Data, frame.lsn, frame.body.clone());
        }
        self.write_and_sync(slot, 0, writer)?;
        self.durable = found.end;
        self.marked = Lsn(first.0 - 1);
        if !copies.is_empty() {
            let mut writer = FrameWriter::default();
            let at = self.write_at;
            self.put_frame(&mut writer, FrameKind::Proof, found.end, bytes::Bytes::new());
            self.write_and_sync(slot, at, writer)?;
            self.marked = found.end;
        }
        // What was copied is not needed in its old place any more.
        for slot in &mut self.slots {
            if let Usage::Held { last } = &mut slot.usage {
                *last = (*last).min(Lsn(first.0 - 1));
            }
        }
        for found in &found.slots {
            let usage = &mut self.slots[found.slot as usize].usage;
            if matches!(usage, Usage::Held { .. }) && found.holds.is_none_or(|(begin, _)| begin >= first) {
                *usage = Usage::Free;
            }
        }
        Ok(())
    }

    /// A slot that holds nothing needed and has the room, prepared if there is none.
    fn fresh_slot(&mut self, needed: u64) -> Result<u32, WalOpenError> {
        let usable = |slot: &Slot| slot.usage == Usage::Free && slot.bytes >= needed;
        if let Some(slot) = self.slots.iter().position(usable) {
            return Ok(slot as u32);
        }
        let usual = match self.slots.is_empty() {
            true => self.options.first_slot_bytes(),
            false => self.options.slot_bytes,
        };
        let bytes = needed.max(usual);
        let free = self.slots.iter().position(|slot| slot.usage == Usage::Free);
        let blank = self.slots.iter().position(|slot| slot.usage == Usage::Blank);
        let mut preparation = match (free, blank) {
            (Some(slot), _) => self.preparation(slot as u32, bytes, Some(self.slots[slot].bytes)),
            (None, Some(slot)) => self.preparation(slot as u32, bytes, Some(0)),
            // Even beyond `slot_count_max`: a start must not fail for a bound on disk use.
            (None, None) => self.preparation(self.slots.len() as u32, bytes, None),
        };
        while !preparation.step(&mut self.disk).map_err(WalOpenError::Media)? {}
        self.prepared(&preparation);
        Ok(preparation.slot())
    }

    fn write_and_sync(&mut self, slot: u32, at: u64, writer: FrameWriter) -> Result<(), WalOpenError> {
        let file = self.slot_file(slot);
        run(&mut self.disk, DiskOp::WriteAt { file, at, parts: writer.finish() })
            .and_then(|_| run(&mut self.disk, DiskOp::Sync { file }))
            .map_err(|error| WalOpenError::Media(error.on(file)))?;
        Ok(())
    }
}

/// Everything up to here is durable where it was found.
fn in_place(found: &Survey) -> Lsn {
    let seen = found.seen_from.map_or(Lsn(u64::MAX), |from| Lsn(from.0.saturating_sub(1)));
    found.proven.min(found.end).min(seen)
}

/// What each slot is good for before the fresh one is begun.
fn usages(found: &Survey, options: &WalOptions) -> Vec<Slot> {
    let life = |page: &SlotPage| match page {
        SlotPage::Header(header, _) => header.life,
        _ => Life::NONE,
    };
    let youngest = found.slots.iter().map(|slot| life(&slot.page)).max().filter(|life| *life != Life::NONE);
    found
        .slots
        .iter()
        .map(|slot| {
            let usage = match (&slot.page, slot.holds) {
                _ if options.lent.contains(&slot.slot) => {
                    Usage::Lent { last: slot.holds.map_or(Lsn(0), |(_, last)| last) }
                }
                (_, Some((_, last))) => Usage::Held { last },
                // The youngest testifies how far the log came: kept until a younger one is durable.
                (page, None) if Some(life(page)) == youngest => Usage::Held { last: found.end },
                (page @ SlotPage::Header(..), None) if found.seen_from.is_some() && life(page) != Life::NONE => {
                    Usage::Held { last: found.end }
                }
                (SlotPage::Header(..), None) => Usage::Free,
                // Its blocks are there, whatever its header is.
                (_, None) if slot.bytes >= options.slot_bytes && matches!(slot.page, SlotPage::Bad(_)) => Usage::Free,
                _ => Usage::Blank,
            };
            // What a header says is not more than the file has; the survey saw to that.
            let bytes = match &slot.page {
                SlotPage::Header(header, _) => header.slot_bytes,
                _ => slot.bytes,
            };
            Slot::new(bytes, usage)
        })
        .collect()
}

/// The first frame to copy into the fresh slot: at the latest the first that is not proven durable; further back, at the beginning of
/// what an older slot holds, as long as the copies stay small. They may be the larger the fewer slots are free.
fn copy_from(found: &Survey, slots: &[Slot], options: &WalOptions) -> Lsn {
    let first_read = found.frames.first().map_or(found.end.next(), |frame| frame.lsn);
    let unproven = in_place(found).next().max(first_read);
    let free = slots.iter().filter(|slot| slot.usage == Usage::Free).count() as u64;
    let room = options.slot_bytes.saturating_sub(2 * PAGE);
    let worth = if free * 2 >= u64::from(options.slot_count) {
        room / 16
    } else if free >= 2 {
        room / 2
    } else {
        room
    };
    let mut first = unproven;
    let mut bytes = 0;
    for frame in found.frames.iter().rev() {
        bytes += frame::frame_bytes(frame.body.len());
        if bytes > worth {
            break;
        }
        let begins_slot = found.slots[frame.slot as usize].holds.is_some_and(|(begin, _)| begin == frame.lsn);
        if begins_slot && frame.lsn < first {
            first = frame.lsn;
        }
    }
    first
}
