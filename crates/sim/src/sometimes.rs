// SPDX-License-Identifier: Apache-2.0
//! Rare paths that a run should reach now and then. One that stays at zero over many seeds means that the tests no longer go there.

use std::collections::BTreeMap;

/// What was seen, and in how many places of how many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    counts: BTreeMap<&'static str, u64>,
}

/// Everything that is looked for; printed even at zero.
pub const LOOKED_FOR: &[&str] = &[
    "kill",
    "power cut",
    "death in recovery",
    "death while a spill is under way",
    "death with frames under way",
    "torn tail cut",
    "frames copied forward",
    "checkpoint loaded",
    "spill",
    "spill failed",
    "cold read",
    "read ahead",
    "dedupe hit",
    "dedupe hit after restart",
    "compressed batch",
    "publish without an answer",
    "publish parked",
    "publish refused: busy",
    "publish refused: no space",
    "no space, and space again",
    "process paused",
    "failed sync ended the process",
    "read error ended a start",
    "write error",
    "trim",
    "retention moved a start",
    "topic deleted",
    "topic made again under its name",
    "watch fired",
    "two shards with records",
    "connection cut",
    "connection half open",
    "group stable",
    "death during a rebalance",
    "generation kept over a restart",
    "group held steady over a restart",
    "member told of a rebalance",
    "member left",
    "session expired",
    "join timed out",
    "static member replaced",
    "static member fenced",
    "static leader came back",
    "word of an older generation",
    "old word refused",
    "commit fenced",
    "commit by a client alone",
    "intruding commit refused",
    "offset deleted",
    "offset lapsed",
    "group deleted",
    "topic with offsets deleted",
    "partition added",
    "topic altered",
    "records deleted",
    "superseded record removed",
    "tombstone removed",
    "record without a key removed",
    "record gone for one that nobody knows of",
    "record kept below a gap",
    "gap within a batch",
    "read from within a gap",
    "each key found once",
    "damage refused at the start",
    "damage answered to a reader",
    "damage without effect",
];

impl Sightings {
    /// It happened.
    pub fn saw(&mut self, what: &'static str) {
        debug_assert!(LOOKED_FOR.contains(&what) || what.contains(": "), "{what} is not looked for");
        *self.counts.entry(what).or_default() += 1;
    }

    /// It happened if so.
    pub fn saw_if(&mut self, condition: bool, what: &'static str) {
        if condition {
            self.saw(what);
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Sightings) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// How often it happened.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// All that were counted, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }
}
