// SPDX-License-Identifier: Apache-2.0
//! The live segments: their indexes, and which of them still hold something.
//!
//! Owns: segment indexes in memory, a count of the runs that partitions still refer to. Must not know: how a segment is written.

use crate::format::v1::segment::{Run, SegmentIndex};
use crate::log::partition::RunRef;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub struct Segments {
    live: BTreeMap<u64, Live>,
    bytes: u64,
}

#[derive(Debug)]
struct Live {
    index: SegmentIndex,
    /// Runs that a partition refers to.
    runs: u64,
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
        self.bytes += index.file_bytes;
        self.live.insert(index.number, Live { index, runs: 0 });
    }

    /// A partition refers to one run more of this segment.
    pub fn retain(&mut self, number: u64) {
        if let Some(live) = self.live.get_mut(&number) {
            live.runs += 1;
        }
    }

    /// A partition refers to one run less.
    pub fn release(&mut self, number: u64) {
        if let Some(live) = self.live.get_mut(&number) {
            live.runs = live.runs.saturating_sub(1);
        }
    }

    /// Numbers of the segments that some partition refers to, ascending.
    pub fn referred(&self) -> Vec<u64> {
        self.live.iter().filter(|(_, live)| live.runs > 0).map(|(number, _)| *number).collect()
    }

    /// Takes out what is neither referred to nor in `listed` (ascending).
    pub fn take_dead(&mut self, listed: &[u64]) -> Vec<u64> {
        let dead: Vec<u64> = self
            .live
            .iter()
            .filter(|(number, live)| live.runs == 0 && listed.binary_search(number).is_err())
            .map(|(number, _)| *number)
            .collect();
        for number in &dead {
            if let Some(live) = self.live.remove(number) {
                self.bytes -= live.index.file_bytes;
            }
        }
        dead
    }

    pub fn count(&self) -> u64 {
        self.live.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
