// SPDX-License-Identifier: Apache-2.0
//! The live segments: their indexes, and which of them still hold something.
//!
//! Owns: segment indexes in memory, a count of the runs that partitions still refer to and of their bytes. Must not know: how a
//! segment is written.

use crate::format::v1::segment::{Run, SegmentIndex};
use crate::log::partition::RunRef;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Segments {
    live: BTreeMap<u64, Live>,
    bytes: u64,
    lent_slots: u64,
    /// Of all runs that a partition refers to.
    live_bytes: u64,
}

#[derive(Debug)]
struct Live {
    index: SegmentIndex,
    /// Runs that a partition refers to, and their bytes.
    runs: u64,
    run_bytes: u64,
}

/// What of a segment is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of the data area, and of slots of the log that it keeps from being used again.
    pub data_bytes: u64,
    /// Of runs that a partition refers to (whole, also where a trim has taken some of one).
    pub live_bytes: u64,
    pub live_runs: u64,
}

fn data_bytes(index: &SegmentIndex) -> u64 {
    index.data_bytes + index.slot_bytes()
}

fn stored_bytes(index: &SegmentIndex) -> u64 {
    index.file_bytes + index.slot_bytes()
}

impl Segments {
    pub fn index(&self, number: u64) -> Option<&SegmentIndex> {
        self.live.get(&number).map(|live| &live.index)
    }

    /// The run that a partition refers to.
    pub fn run(&self, run_ref: &RunRef) -> Option<(&SegmentIndex, &Run)> {
        let index = self.index(run_ref.segment)?;
        Some((index, index.runs.get(run_ref.run as usize)?))
    }

    pub fn insert(&mut self, index: SegmentIndex) {
        self.bytes += stored_bytes(&index);
        self.lent_slots += index.slots.len() as u64;
        self.live.insert(index.number, Live { index, runs: 0, run_bytes: 0 });
    }

    /// A partition refers to this run. Tells its bytes.
    pub fn retain(&mut self, run: &RunRef) -> u64 {
        let Some(live) = self.live.get_mut(&run.segment) else { return 0 };
        let bytes = live.index.runs.get(run.run as usize).map_or(0, |run| run.bytes);
        live.runs += 1;
        live.run_bytes += bytes;
        self.live_bytes += bytes;
        bytes
    }

    /// A partition refers to this run no more. Tells its bytes.
    pub fn release(&mut self, run: &RunRef) -> u64 {
        let Some(live) = self.live.get_mut(&run.segment) else { return 0 };
        let bytes = live.index.runs.get(run.run as usize).map_or(0, |run| run.bytes);
        live.runs = live.runs.saturating_sub(1);
        live.run_bytes = live.run_bytes.saturating_sub(bytes);
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
        bytes
    }

    /// Runs of a segment that a partition refers to.
    pub fn live_runs(&self, number: u64) -> u64 {
        self.live.get(&number).map_or(0, |live| live.runs)
    }

    /// Every segment, by number, and what of it is in use.
    pub fn usages(&self) -> impl Iterator<Item = (u64, Usage)> {
        self.live.iter().map(|(number, live)| {
            let (data_bytes, live_bytes, live_runs) = (data_bytes(&live.index), live.run_bytes, live.runs);
            (*number, Usage { data_bytes, live_bytes, live_runs })
        })
    }

    /// Numbers of the segments that some partition refers to, ascending.
    pub fn referred(&self) -> Vec<u64> {
        self.live.iter().filter(|(_, live)| live.runs > 0).map(|(number, _)| *number).collect()
    }

    /// What nobody refers to, nor reads, ascending.
    pub fn dead(&self, is_read: impl Fn(u64) -> bool) -> Vec<u64> {
        self.live
            .iter()
            .filter(|(number, live)| live.runs == 0 && !is_read(**number))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Takes out what is neither referred to, nor in `listed` (ascending), nor being read: numbers, and the slots of each.
    pub fn take_dead(&mut self, listed: &[u64], is_read: impl Fn(u64) -> bool) -> Vec<(u64, Vec<u32>)> {
        let mut dead = self.dead(is_read);
        dead.retain(|number| listed.binary_search(number).is_err());
        dead.into_iter().map(|number| (number, self.remove(number))).collect()
    }

    /// Takes out one that nobody refers to. Tells the slots of the log that it has.
    pub fn remove(&mut self, number: u64) -> Vec<u32> {
        let Some(live) = self.live.remove(&number) else { return Vec::new() };
        self.bytes -= stored_bytes(&live.index);
        self.lent_slots -= live.index.slots.len() as u64;
        live.index.slots.iter().map(|lent| lent.slot).collect()
    }

    pub fn count(&self) -> u64 {
        self.live.len() as u64
    }

    /// Of their files, and of slots of the log that they keep from being used again.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Slots of the log that they have.
    pub fn lent_slots(&self) -> u64 {
        self.lent_slots
    }

    /// Of all runs that a partition refers to (whole, also where a trim has taken some of one).
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Of a segment's dead bytes, the part that this run keeps there: as large as its part of what is alive.
    pub fn pinned_by(&self, run: &RunRef) -> u64 {
        let Some(live) = self.live.get(&run.segment) else { return 0 };
        let bytes = live.index.runs.get(run.run as usize).map_or(0, |run| run.bytes);
        let dead = data_bytes(&live.index).saturating_sub(live.run_bytes);
        (u128::from(dead) * u128::from(bytes) / u128::from(live.run_bytes.max(1))) as u64
    }

    /// Of segments that no partition refers to: the next checkpoint sets them free.
    pub fn unreferred_bytes(&self) -> u64 {
        self.live.values().filter(|live| live.runs == 0).map(|live| stored_bytes(&live.index)).sum()
    }
}
