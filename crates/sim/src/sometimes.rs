// SPDX-License-Identifier: Apache-2.0
//! Rare paths that a run should reach now and then. One that stays at zero over many seeds means that the tests no longer go there.

use std::collections::BTreeMap;

/// What was seen, and in how many places of how many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    counts: BTreeMap<&'static str, u64>,
}

/// Everything that is looked for, and the scenarios whose seeds should reach it; printed even at zero.
const LOOKED_FOR: &[(&str, &[&str])] = &[
    ("kill", EVERYWHERE),
    ("power cut", EVERYWHERE),
    ("death in recovery", FAULTY_DISK),
    ("death while a spill is under way", EVERYWHERE),
    ("death with frames under way", EVERYWHERE),
    ("torn tail cut", EVERYWHERE),
    ("frames copied forward", EVERYWHERE),
    ("checkpoint loaded", EVERYWHERE),
    ("spill", EVERYWHERE),
    ("spill failed", EVERYWHERE),
    ("reserve used", KERNEL),
    ("reserve used, and whole again", KERNEL),
    ("batches left in a slot of the log", KERNEL),
    ("start with lent slots", KERNEL),
    ("lent slot given back", KERNEL),
    ("cold read", COMMANDS),
    ("read ahead", COMMANDS),
    ("dedupe hit", COMMANDS),
    ("dedupe hit after restart", &["kernel", "kafka"]),
    ("compressed batch", &["compaction", "kafka"]),
    ("publish without an answer", KAFKA),
    ("publish parked", EVERYWHERE),
    ("publish refused: busy", COMMANDS),
    ("publish refused: no space", KERNEL),
    ("no space, and space again", KERNEL),
    ("disk full", FAULTY_DISK),
    ("segment removed from a full disk", KERNEL),
    ("wall clock set ahead", EVERYWHERE),
    ("wall clock set back", &["kernel", "kafka", "groups"]),
    ("process paused", EVERYWHERE),
    ("second process refused", FAULTY_DISK),
    ("second process refused while the first is paused", FAULTY_DISK),
    ("second process refused while the first dies", FAULTY_DISK),
    ("failed sync ended the process", FAULTY_DISK),
    ("read error ended a start", FAULTY_DISK),
    ("write error", FAULTY_DISK),
    ("trim", COMMANDS),
    ("retention moved a start", COMMANDS),
    ("topic deleted", COMMANDS),
    ("topic made again under its name", &["kernel", "groups"]),
    ("watch fired", COMMANDS),
    ("two shards with records", KERNEL),
    ("history in one order", &["kernel", "kafka"]),
    ("connection cut", WIRED),
    ("connection half open", WIRED),
    ("bytes late after a cut", WIRED),
    ("stranger shown out", KAFKA),
    ("group stable", GROUPS),
    ("death during a rebalance", GROUPS),
    ("generation kept over a restart", GROUPS),
    ("group held steady over a restart", GROUPS),
    ("member told of a rebalance", GROUPS),
    ("member left", GROUPS),
    ("session expired", GROUPS),
    ("join timed out", GROUPS),
    ("static member replaced", GROUPS),
    ("static member fenced", GROUPS),
    ("static leader came back", GROUPS),
    ("word of an older generation", GROUPS),
    ("old word refused", GROUPS),
    ("commit fenced", GROUPS),
    ("commit by a client alone", GROUPS),
    ("intruding commit refused", GROUPS),
    ("offset deleted", GROUPS),
    ("offset lapsed", GROUPS),
    ("group deleted", GROUPS),
    ("topic with offsets deleted", GROUPS),
    ("partition added", GROUPS),
    ("topic altered", GROUPS),
    ("records deleted", GROUPS),
    ("superseded record removed", COMPACTION),
    ("tombstone removed", COMPACTION),
    ("record without a key removed", COMPACTION),
    ("record gone for one that nobody knows of", COMPACTION),
    ("record kept below a gap", COMPACTION),
    ("gap within a batch", COMPACTION),
    ("read from within a gap", COMPACTION),
    ("each key found once", COMPACTION),
    ("damage refused at the start", ROT),
    ("damage answered to a reader", ROT),
    ("damage without effect", ROT),
    (BETTER_NEVER, &[]),
];

/// Nobody needs to reach it.
pub const BETTER_NEVER: &str = "search for an order given up";

const EVERYWHERE: &[&str] = &["kernel", "compaction", "kafka", "groups", "rot"];
const FAULTY_DISK: &[&str] = &["kernel", "compaction", "kafka", "groups"];
/// Straight into shards.
const COMMANDS: &[&str] = &["kernel", "rot"];
const KERNEL: &[&str] = &["kernel"];
const COMPACTION: &[&str] = &["compaction"];
const WIRED: &[&str] = &["kafka", "groups"];
const KAFKA: &[&str] = &["kafka"];
const GROUPS: &[&str] = &["groups"];
const ROT: &[&str] = &["rot"];

/// What many seeds of a scenario should reach.
pub fn looked_for(scenario: &str, shards: u32) -> impl Iterator<Item = &'static str> {
    // `meta` runs that twice.
    let scenario = if scenario == "meta" { "kernel" } else { scenario };
    let of_it = LOOKED_FOR.iter().filter(move |(_, scenarios)| scenarios.contains(&scenario)).map(|(what, _)| *what);
    of_it.filter(move |what| shards > 1 || *what != "two shards with records")
}

impl Sightings {
    /// It happened.
    pub fn saw(&mut self, what: &'static str) {
        debug_assert!(LOOKED_FOR.iter().any(|(other, _)| *other == what), "{what} is not looked for");
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
}
