// SPDX-License-Identifier: Apache-2.0
//! The reserve: room set aside, so that on a full disk what is dead can be copied out from between what is alive.
//!
//! Owns: when room is set aside and when it is used, which segments are copied meanwhile. Must not know: how a medium sets room
//! aside, how segments are copied (`merge.rs`).
//!
//! A deleted topic's, trimmed or expired records lie beside others' in the same segments. Only a merge gives their space back, and it
//! needs space for its copy, as the spill and the checkpoint before it do. On a full disk there is none, and what is dead would stay for ever.
//!
//! ```text
//! set aside     when as much is stored as is set aside: less is not worth it. Asked again at each start, for it may be in use
//! in use        when a spill finds no space, and something is dead: spill, checkpoint, merge, checkpoint, merge, ...
//!               as little as is needed is used at a time, and publishes are refused, or they would fill what comes back
//! whole again   when what came back suffices; publishes go on
//! ```
//! Where it stops: others may take what becomes free in between. Then less is left of it, and in the end it is as without a
//! reserve: puts are tried again, reads go on, publishes are refused until space comes from outside. What is not dead enough to be worth it stays
//! until more is.
//! A medium that cannot set room aside has none.

use crate::shard::{BlobUse, Shard, Timer};
use crate::spill::merge::SOURCES_MAX;
use crate::spill::segments::Usage;
use crate::spill::{RETRY_MS, Stage};
use model::Now;
use model::media::{BlobOp, MediaError};
use std::collections::BTreeSet;

/// A merge copies a tail's worth at most at first; half as much when one found no space, twice as much when one did, so many times.
const HALVED_MAX: i32 = 5;
const DOUBLED_MAX: i32 = 5;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    is: Is,
    /// It was asked for, and not answered yet.
    asked: bool,
    /// Segments may be copied: something has changed since none was, or could be.
    look: bool,
    /// By how many powers of two what a merge may copy is more, or less, than a tail.
    copy_bits: i32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Is {
    #[default]
    NotThere,
    Whole,
    InUse,
    /// The medium cannot.
    Impossible,
}

impl Reserve {
    /// Publishes are refused.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is == Is::InUse
    }

    /// A merge found space, or none.
    pub(crate) fn copied(&mut self, has_space: bool) {
        self.copy_bits = (self.copy_bits + if has_space { 1 } else { -1 }).clamp(-HALVED_MAX, DOUBLED_MAX);
    }
}

fn dead_bytes(usage: &Usage) -> u64 {
    usage.data_bytes.saturating_sub(usage.live_bytes)
}

impl Shard {
    /// A tail that was full when the process ended, an eighth of notes on top, and what is alive in a segment of half a tail, of which that
    /// much is left: less, and after such a spill nothing can be copied. At most times a spill is half a tail.
    fn reserve_bytes(&self) -> u64 {
        self.config.tail_bytes_max / 2 * 3
    }

    /// What a merge may copy.
    fn copy_bytes_max(&self) -> u64 {
        let bits = self.spill.reserve.copy_bits;
        (self.config.tail_bytes_max << bits.max(0)) >> -bits.min(0)
    }

    /// The least that is worth copying a segment for.
    fn gain_bytes_min(&self) -> u64 {
        self.config.tail_bytes_max / 64
    }

    /// Asks for it, if it should be there and is not.
    pub(crate) fn look_after_reserve(&mut self) {
        let is_due = match self.spill.reserve.is {
            Is::NotThere => self.segments.bytes() >= self.reserve_bytes(),
            Is::InUse => !self.spill.is_under_way() && self.merge.is_idle(),
            Is::Whole | Is::Impossible => false,
        };
        if is_due && !self.spill.reserve.asked && !self.failed {
            self.spill.reserve.asked = true;
            let op = BlobOp::Reserve { shard: self.config.shard, bytes: self.reserve_bytes() };
            self.start_blob(BlobUse::Reserve, op);
        }
    }

    pub(crate) fn reserved(&mut self, now: Now, outcome: Result<(), MediaError>) {
        let reserve = &mut self.spill.reserve;
        reserve.asked = false;
        match outcome {
            Ok(()) => (reserve.is, reserve.copy_bits) = (Is::Whole, 0),
            Err(MediaError::NoSpace { .. }) => {
                if reserve.is != Is::InUse {
                    return self.begin_use(now);
                }
                reserve.look = true;
                self.timers.set(now.mono_us_after_ms(RETRY_MS), Timer::ReserveRetry);
            }
            Err(_) if reserve.is == Is::InUse => {
                self.timers.set(now.mono_us_after_ms(RETRY_MS), Timer::ReserveRetry);
            }
            Err(_) => reserve.is = Is::Impossible,
        }
    }

    pub(crate) fn reserve_retry(&mut self, now: Now) {
        self.look_after_reserve();
        if self.spill.reserve.is_in_use() && !self.spill.reserve.asked {
            // Something is under way. It asks when it ends well; when it does not, nothing else would.
            self.spill.reserve.look = true;
            self.timers.set(now.mono_us_after_ms(RETRY_MS), Timer::ReserveRetry);
        }
    }

    /// From now on until it is whole it is asked for every `RETRY_MS`, or has been.
    fn begin_use(&mut self, now: Now) {
        self.spill.reserve.is = Is::InUse;
        self.spill.reserve.look = true;
        self.figures.reserve_uses += 1;
        self.timers.set(now.mono_us_after_ms(RETRY_MS), Timer::ReserveRetry);
        self.start_blob(BlobUse::UseReserve, BlobOp::UseReserve { shard: self.config.shard });
    }

    /// A spill found no space: uses the reserve, if something is dead. True when there is something to be tried again with.
    ///
    /// What comes back may be less than the spill adds. Then publishes, which a full tail would refuse as well, are refused until more is dead, or
    /// space comes: but from then on all that dies lies in segments, and comes back without another spill.
    pub(super) fn use_reserve(&mut self, now: Now) -> bool {
        if self.spill.reserve.is != Is::Whole || self.spill.gone.is_some() {
            return false;
        }
        let dead: u64 = self.copies().map(|(_, usage)| dead_bytes(&usage)).sum();
        if dead + self.spill_dead_bytes() < 4 * self.gain_bytes_min() {
            return false;
        }
        self.begin_use(now);
        true
    }

    /// What has died of the spill's segment since the cut.
    fn spill_dead_bytes(&self) -> u64 {
        let Some(job) = self.spill.job.as_ref().filter(|job| job.stage == Stage::PuttingSegment) else { return 0 };
        let runs = job.index.iter().flat_map(|index| &index.runs);
        let dead = runs.filter(|run| {
            let partition = self.state.partitions.get(run.partition);
            partition.is_none_or(|partition| run.last_offset < partition.visible_start)
        });
        dead.map(|run| run.bytes).sum()
    }

    /// Segments that are worth copying, and small enough.
    fn copies(&self) -> impl Iterator<Item = (u64, Usage)> {
        let (copy_bytes_max, gain_bytes_min) = (self.copy_bytes_max(), self.gain_bytes_min());
        let riding = self.spill.riding();
        self.segments.usages().filter(move |(number, usage)| {
            let dead = dead_bytes(usage);
            usage.live_runs > 0
                && usage.live_bytes <= copy_bytes_max
                && dead >= gain_bytes_min.max(usage.live_bytes / 8)
                && !self.merge.is_left_alone(*number)
                && riding.is_none_or(|merged| !merged.sources.contains(number))
        })
    }

    /// While it is in use, and nobody waits for it to be whole: the segments to copy next, those first that give most back for a byte.
    pub(super) fn next_copy(&mut self) -> Option<BTreeSet<u64>> {
        let reserve = &mut self.spill.reserve;
        if reserve.asked || !std::mem::take(&mut reserve.look) {
            return None;
        }
        let mut copies: Vec<(u64, Usage)> = self.copies().collect();
        copies.sort_by_key(|(number, usage)| {
            let share = u128::from(dead_bytes(usage)) * 1024 / u128::from(usage.live_bytes.max(1));
            (std::cmp::Reverse(share), *number)
        });
        let mut left = self.copy_bytes_max();
        let fitting = copies.into_iter().take_while(|(_, usage)| {
            let fits = usage.live_bytes <= left;
            left = left.saturating_sub(usage.live_bytes);
            fits
        });
        let sources: BTreeSet<u64> = fitting.take(SOURCES_MAX).map(|(number, _)| number).collect();
        (!sources.is_empty()).then_some(sources)
    }
}
