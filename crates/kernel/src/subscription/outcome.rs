// SPDX-License-Identifier: Apache-2.0
//! What a ledger decides: outcomes that go into a frame and are folded, live and at replay alike.
//!
//! Owns: their vocabulary. Must not know: why something was decided.

/// Why a record needs no more attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Why {
    Acked = 1,
    Expired,
    /// The queue was longer than it may be.
    Dropped,
    Purged,
    Rejected,
    /// It failed more often than it may.
    Failed,
    /// There is no such record for this subscription.
    Filtered,
    Aborted,
    Trimmed,
}

/// See the module. `lane` is the lane's priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Records came: `count` keys from `first` on. Keys that were left out before them are settled.
    Appended { lane: u8, first: u64, count: u32, bytes: u64 },
    /// Ranges from first to before end.
    Settled { lane: u8, why: Why, ranges: Vec<(u64, u64)>, bytes: u64 },
    /// A lease failed: this record's count is one more.
    Failed { lane: u8, key: u64 },
    /// Not before then (wall-clock milliseconds).
    Later { lane: u8, key: u64, bytes: u32, due_ms: u64 },
    /// Keys below may have been delivered.
    Granted { lane: u8, below: u64 },
    /// On its way to another cell; settled when it is durable there.
    Moving { lane: u8, key: u64, bytes: u32 },
    /// Received and not yet completed, under this tag.
    Half { lane: u8, key: u64, bytes: u32, tag: u64 },
}

/// A key is settled: as part of the last outcome where that says the same of others, so that the acks of a drain are one.
pub(super) fn push_settled(out: &mut Vec<Outcome>, lane: u8, why: Why, key: u64, bytes: u64) {
    if let Some(Outcome::Settled { lane: known, why: known_why, ranges, bytes: sum }) = out.last_mut()
        && (*known, *known_why) == (lane, why)
    {
        *sum += bytes;
        match ranges.last_mut() {
            Some((_, end)) if *end == key => *end += 1,
            _ => ranges.push((key, key + 1)),
        }
        return;
    }
    out.push(Outcome::Settled { lane, why, ranges: vec![(key, key + 1)], bytes });
}
