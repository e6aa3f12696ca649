// SPDX-License-Identifier: Apache-2.0
//! Lending: what stands in the log for good, and is large, is not written a second time. The log lends the slot, and a segment has it.
//!
//! Owns: whether a spill asks for slots, which of those it takes, and when they are given back. Must not know: how the log keeps or
//! prepares slots; how a segment says where its blocks stand (`format/v1/segment.rs`).
//!
//! ```text
//! captured, and most of it large batches   wait until the cut is durable, ask the log (WalOp::Lend)
//! it answers (WalDone::Lent)               a slot is taken if large batches of this spill are three quarters of it;
//!                                          the others go back at once, and what is in them is copied as ever
//! the checkpoint that names the segment    decides; before it the slots are the log's, after it the segment's
//! the segment's blob is removed, durably   its slots go back (WalOp::GiveBack)
//! ```
//! The rule is one of bytes: a large batch is as long as a block or longer, so the index grows no finer by it, and of a slot that is taken
//! at most a quarter is kept for nothing. A spill of small batches asks for nothing. A slot that comes back is the best there is to
//! write over, so a stream in balance with its retention neither copies nor prepares.
//! Bound: `LENT_SLOTS_MAX`; beyond it everything is copied. Dead bytes of a slot count as its segment's, so a merge copies forward what
//! is alive in one that is mostly dead, and the slots come back.

use crate::effect::Effect;
use crate::format::v1::segment::Place;
use crate::log::tail::Tail;
use crate::shard::{BlobUse, Shard};
use crate::spill::Stage;
use model::media::{BlobKind, BlobName, BlobOp, LentSlot, WalOp};
use model::planted::{Bug, planted};
use model::{Lsn, Offset, PartitionId};
use std::collections::BTreeMap;

/// A start reads a page of each slot.
const LENT_SLOTS_MAX: u64 = 4_096;

/// A large batch that is spilled, and where it stands in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Large {
    pub partition: PartitionId,
    pub base_offset: Offset,
    pub bytes: u32,
    pub frame: Lsn,
    /// In the frame's body.
    pub pos: u32,
}

/// What a spill takes of the slots that it was lent.
#[derive(Debug, Default)]
struct Taken {
    places: BTreeMap<(PartitionId, Offset), Place>,
    slots: Vec<u32>,
    refused: Vec<u32>,
    bytes: u64,
}

/// Slot by slot: is it full of what this spill would copy otherwise?
fn take(slots: &[LentSlot], larges: &[Large], tail: &Tail, slots_max: u64) -> Taken {
    let mut by_frame: Vec<Large> = larges.to_vec();
    by_frame.sort_unstable_by_key(|large| (large.frame, large.pos));
    let mut taken = Taken::default();
    for lent in slots {
        let mut alive = 0;
        let mut places = Vec::new();
        for (frame, body_at) in &lent.frames {
            let from = by_frame.partition_point(|large| large.frame < *frame);
            for large in by_frame[from..].iter().take_while(|large| large.frame == *frame) {
                let Some(place) = Place::in_slot(lent.slot, body_at + u64::from(large.pos)) else { continue };
                alive += u64::from(large.bytes);
                places.push(((large.partition, large.base_offset), place));
            }
        }
        // One whose last frame is of an earlier spill holds nothing of this one.
        let end = lent.frames.last().and_then(|(frame, body_at)| Some(body_at + tail.body_bytes(*frame)?));
        let is_full = end.is_some_and(|end| alive > 0 && alive >= end - end / 4);
        if is_full && (taken.slots.len() as u64) < slots_max {
            taken.slots.push(lent.slot);
            taken.bytes += alive;
            taken.places.extend(places);
        } else {
            taken.refused.push(lent.slot);
        }
    }
    taken
}

impl Shard {
    /// All is captured: asks for slots, if there is something to be had by it, or goes on without.
    pub(super) fn ask_for_slots(&mut self) {
        let no_space = self.spill.no_space();
        let is_bounded = self.segments.lent_slots() < LENT_SLOTS_MAX;
        let Some(job) = &mut self.spill.job else { return };
        let large: u64 = job.larges.iter().map(|large| u64::from(large.bytes)).sum();
        if no_space || !is_bounded || large == 0 || large < job.captured_bytes / 2 {
            job.larges = Vec::new();
            return self.build_segment(BTreeMap::new());
        }
        job.stage = Stage::WaitingToAsk;
        self.spill_step();
    }

    /// The cut is durable, so the log knows which of its slots end below it.
    pub(super) fn ask_now(&mut self) {
        let Some(job) = &mut self.spill.job else { return };
        job.stage = Stage::Asking;
        self.effects.push_back(Effect::Wal(WalOp::Lend { below: job.cut.next() }));
    }

    /// The log has answered.
    pub(crate) fn slots_lent(&mut self, lent: &[LentSlot]) {
        if self.failed {
            return;
        }
        let slots_max = LENT_SLOTS_MAX.saturating_sub(self.segments.lent_slots());
        let Some(job) = self.spill.job.as_mut().filter(|job| job.stage == Stage::Asking) else {
            debug_assert!(false, "the log lends what nobody asked for");
            return self.give_back(lent.iter().map(|lent| lent.slot).collect());
        };
        let larges = std::mem::take(&mut job.larges);
        let Taken { places, slots, refused, bytes } = take(lent, &larges, &self.tail, slots_max);
        job.taken = slots;
        self.figures.spilled_in_place_bytes += bytes;
        self.give_back(refused);
        self.build_segment(places);
    }

    pub(super) fn give_back(&mut self, slots: Vec<u32>) {
        for slot in slots {
            self.effects.push_back(Effect::Wal(WalOp::GiveBack { slot }));
        }
    }

    /// Removes a segment that is no longer among the live ones; then its slots go back.
    pub(crate) fn delete_segment(&mut self, number: u64, slots: Vec<u32>) {
        let name = BlobName { shard: self.config.shard, kind: BlobKind::Segment, number };
        self.start_blob(BlobUse::Delete { slots }, BlobOp::Delete { name });
    }

    /// What could not be removed keeps its slots: a start that does not find it named sets them free.
    pub(crate) fn deleted(&mut self, slots: Vec<u32>, is_removed: bool) {
        if is_removed {
            self.figures.lent_slots_freed += slots.len() as u64;
            self.give_back(slots);
        }
    }

    /// A mistake, planted: slots go back as soon as nothing refers to their segment, though the newest checkpoint still names it.
    pub(super) fn give_back_early(&mut self) {
        if planted(Bug::SlotsGivenBackEarly) {
            let dead = self.segments.dead(|_| false);
            let slots = dead.iter().filter_map(|number| self.segments.index(*number)).flat_map(|index| &index.slots);
            let slots = slots.map(|lent| lent.slot).collect();
            self.give_back(slots);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Three frames of a body each; the second is of the next slot.
    fn tail() -> Tail {
        let mut tail = Tail::new(Lsn(5));
        for bytes in [10_000, 10_000, 5_000] {
            tail.push(Bytes::from(vec![0; bytes]), 1);
        }
        tail
    }

    fn large(base_offset: u64, frame: u64, pos: u32, bytes: u32) -> Large {
        Large { partition: PartitionId(1), base_offset: Offset(base_offset), bytes, frame: Lsn(frame), pos }
    }

    fn lent(slot: u32, frames: &[(u64, u64)]) -> LentSlot {
        LentSlot { slot, frames: frames.iter().map(|(lsn, at)| (Lsn(*lsn), *at)).collect() }
    }

    #[test]
    fn a_slot_is_taken_when_three_quarters_of_it_are_large_batches_of_this_spill() {
        let slots = [lent(0, &[(3, 64), (4, 900)]), lent(2, &[(5, 64)]), lent(7, &[(6, 64), (7, 12_352)])];
        let larges = [large(9, 6, 24, 9_000), large(0, 5, 24, 7_547), large(3, 7, 24, 4_900)];
        let taken = take(&slots, &larges, &tail(), 9);
        // Of slot 2 7,548 bytes would be three quarters of 10,064.
        assert_eq!(taken.refused, [0, 2]);
        let place = |pos| Place::in_slot(7, pos).unwrap();
        let expected = [((PartitionId(1), Offset(3)), place(12_376)), ((PartitionId(1), Offset(9)), place(88))];
        assert_eq!(taken.places.into_iter().collect::<Vec<_>>(), expected);
        let more = [large(0, 5, 24, 7_548), large(9, 6, 24, 9_000), large(3, 7, 24, 4_900)];
        assert_eq!(take(&slots, &more, &tail(), 9).refused, [0]);
        assert_eq!(take(&slots, &more, &tail(), 1).refused, [0, 7], "at the bound the rest is copied");
    }
}
