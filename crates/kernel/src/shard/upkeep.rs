// SPDX-License-Identifier: Apache-2.0
//! What a shard does by itself, by the clock: retention, looking for what to compact, forgetting producers, waking those who wait, telling the log it is quiet.
//!
//! Owns: when. Must not know: the rules (they are in `log/` and `quota/`).
//! Bounds: a slice looks at `PARTITIONS_A_SLICE` partitions and removes at most `PIECES_A_SLICE` blocks and batches; what is left comes
//! a millisecond later. So what is past its bound goes within `retention_check_ms` and a pass: 100,000 partitions are 50 slices.

use crate::effect::Effect;
use crate::format::v1::entry::Record;
use crate::log::trim::{self, Removal};
use crate::shard::Shard;
use model::media::WalOp;
use model::{Now, PartitionId};

/// Partitions looked at for retention in one go.
const PARTITIONS_A_SLICE: usize = 2_000;
/// Blocks and batches that retention removes in one go.
const PIECES_A_SLICE: usize = 8_192;
/// Segments that hold nothing any more are worth a checkpoint from so many bytes on.
const UNREFERRED_BYTES_MIN: u64 = 1024 * 1024;
/// Producers forgotten in one go.
const FORGOTTEN_A_SLICE: usize = 1_000;
/// Quiet for so long, the log may prove its last frame.
const SETTLE_MS: u64 = 20;

/// What came due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Retention,
    Admission,
    Settle,
    SpillRetry,
    ReserveRetry,
    ReadAhead,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Where the next slice of retention begins.
    retention_from: Option<PartitionId>,
    /// A timer for the first who waits is set for then.
    admission_us: Option<u64>,
    settle_set: bool,
    /// When the last frame was closed.
    last_frame_us: u64,
    frames_seen: u64,
}

impl Shard {
    pub(super) fn start_upkeep(&mut self, now: Now) {
        self.upkeep.frames_seen = self.tail.next().0;
        self.timers.set(now.mono_us_after_ms(self.config.retention_check_ms), Timer::Retention);
    }

    pub(super) fn expire(&mut self, now: Now) {
        if self.failed {
            return;
        }
        for timer in self.timers.expire(now.mono_us) {
            match timer {
                Timer::Retention => self.retention_slice(now),
                Timer::Admission => {
                    self.upkeep.admission_us = None;
                    self.admit_parked(now);
                }
                Timer::Settle => self.settle(now),
                Timer::SpillRetry => self.spill_retry(),
                Timer::ReserveRetry => self.reserve_retry(now),
                Timer::ReadAhead => self.expire_ahead(now),
            }
        }
        let due: Vec<u8> = self
            .state
            .coordinators
            .iter()
            .filter(|(_, beside)| beside.machine.poll_timeout().is_some_and(|at_us| at_us <= now.mono_us))
            .map(|(which, _)| *which)
            .collect();
        for which in due {
            if let Some(beside) = self.state.coordinators.get_mut(&which) {
                let decision = beside.machine.handle_timeout(now);
                self.decided(which, decision);
            }
        }
    }

    fn retention_slice(&mut self, now: Now) {
        let from = self.upkeep.retention_from.take().unwrap_or(PartitionId(0));
        let ids: Vec<PartitionId> = self.state.partitions.ids_from(from).take(PARTITIONS_A_SLICE).collect();
        let mut pieces = PIECES_A_SLICE;
        for id in &ids {
            self.look_for_compaction(now, *id);
            let Some(partition) = self.state.partitions.get(*id) else { continue };
            let removal = trim::retention(partition, &self.tail, &self.segments, now.wall_ms, &mut pieces);
            if let Some(Removal { before, bytes }) = removal {
                self.log(Record::Trim { partition: *id, before });
                self.figures.retention_bytes += bytes;
            }
            if pieces == 0 {
                self.upkeep.retention_from = Some(*id);
                break;
            }
        }
        let more_producers = self.forget_idle(now);
        if ids.len() == PARTITIONS_A_SLICE && pieces > 0 {
            self.upkeep.retention_from = ids.last().map(|id| PartitionId(id.0 + 1));
        }
        if self.upkeep.retention_from.is_none() {
            self.free_space();
        }
        let more = more_producers || self.upkeep.retention_from.is_some();
        let wait_ms = if more { 1 } else { self.config.retention_check_ms.max(1) };
        self.timers.set(now.mono_us_after_ms(wait_ms), Timer::Retention);
    }

    /// Without load nothing else would ask for the checkpoint that sets dead segments free, or look for a merge of those half dead.
    fn free_space(&mut self) {
        if self.segments.unreferred_bytes() >= UNREFERRED_BYTES_MIN && !self.spill.is_under_way() {
            self.spill.request();
        }
        self.merge.look_now();
    }

    /// Forgets producers that have been idle for too long. True when there are more.
    fn forget_idle(&mut self, now: Now) -> bool {
        let oldest_kept_ms = now.wall_ms.saturating_sub(self.config.producer_expiry_ms);
        for _ in 0..FORGOTTEN_A_SLICE {
            match self.state.producers_idle.first() {
                Some((last_ms, ..)) if *last_ms < oldest_kept_ms => self.forget_longest_idle(oldest_kept_ms),
                _ => return false,
            }
        }
        true
    }

    /// Forgets producers beyond the bound, the longest idle first.
    pub(super) fn forget_surplus(&mut self) {
        for _ in 0..FORGOTTEN_A_SLICE {
            if self.state.producer_count <= u64::from(self.config.producers_max) {
                return;
            }
            self.forget_longest_idle(u64::MAX);
        }
    }

    /// Takes the first of the idle; forgets it if it has really been idle since before `before_ms`, else puts it where it belongs.
    /// The index is only as new as the last look, which is what makes it free on the way of an append.
    fn forget_longest_idle(&mut self, before_ms: u64) {
        let Some((entered_ms, id, producer)) = self.state.producers_idle.pop_first() else { return };
        let partition = self.state.partitions.get_mut(id);
        let Some(known) = partition.and_then(|partition| partition.producers.get_mut(producer)) else { return };
        let last_ms = known.last_ms;
        if last_ms > entered_ms || last_ms >= before_ms {
            known.indexed_ms = last_ms;
            self.state.producers_idle.insert((last_ms, id, producer));
        } else {
            self.log(Record::ProducerForget { partition: id, producer });
        }
    }

    pub(super) fn set_admission_timer(&mut self, now: Now) {
        let Some(due_us) = self.admission.due_us() else { return };
        if due_us > now.mono_us && self.upkeep.admission_us.is_none_or(|set_us| set_us > due_us) {
            self.upkeep.admission_us = Some(due_us);
            self.timers.set(due_us, Timer::Admission);
        }
    }

    pub(super) fn set_settle_timer(&mut self, now: Now) {
        if self.upkeep.frames_seen != self.tail.next().0 {
            self.upkeep.frames_seen = self.tail.next().0;
            self.upkeep.last_frame_us = now.mono_us;
            if !self.upkeep.settle_set {
                self.upkeep.settle_set = true;
                self.timers.set(now.mono_us_after_ms(SETTLE_MS), Timer::Settle);
            }
        }
    }

    fn settle(&mut self, now: Now) {
        let quiet_us = self.upkeep.last_frame_us + SETTLE_MS * 1000;
        if now.mono_us < quiet_us {
            self.timers.set(quiet_us, Timer::Settle);
        } else {
            self.upkeep.settle_set = false;
            self.effects.push_back(Effect::Wal(WalOp::Settle));
        }
    }
}
