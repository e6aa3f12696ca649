// SPDX-License-Identifier: Apache-2.0
//! What is tried. A scenario makes a plan of operations from a seed and carries it out; any part of the plan may be left out.

pub mod compaction;
pub mod drive;
pub mod groups;
pub mod kafka;
pub mod kernel;
pub mod meta;
pub mod rot;
pub mod trouble;

use crate::history::History;
use crate::sometimes::Sightings;
use crate::world::World;
use model::planted::Bug;
use std::fmt;

/// What to run.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub shard_count: u32,
    /// Only the operations with these numbers; `None` = all.
    pub keep: Option<Vec<usize>>,
    /// Keep a line of text for everything that happens.
    pub trace: bool,
    /// Judge by what clients see, and by nothing that only the simulator can see.
    pub clients_alone: bool,
}

impl Setup {
    /// All of a seed, judged by everything.
    pub fn of(seed: u64, shard_count: u32) -> Setup {
        Setup { seed, shard_count, keep: None, trace: false, clients_alone: false }
    }

    /// Is this operation of the plan to be carried out?
    pub fn keeps(&self, index: usize) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.contains(&index))
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which promise, for comparing failures with each other.
    pub kind: String,
    pub text: String,
}

impl Failure {
    /// A failure of the kind that its text begins with, numbers left out.
    pub fn new(text: impl Into<String>) -> Failure {
        let text = text.into();
        let kind = text.chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect();
        Failure { kind, text }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub failure: Option<Failure>,
    /// Of everything that happened, in order.
    pub trace_hash: u64,
    pub sightings: Sightings,
    /// The options that the seed chose.
    pub options: String,
    /// The operations of the plan that were carried out, with their numbers.
    pub operations: Vec<(usize, String)>,
    /// With [`Setup::trace`].
    pub trace: Vec<String>,
    /// The history as text, when it failed.
    pub history: String,
    /// Virtual time of the run.
    pub virtual_us: u64,
}

impl Outcome {
    /// Of a run that has ended. What is written out for a person is so only where the run failed.
    fn of(
        failure: Option<Failure>,
        world: &mut World,
        history: &History,
        options: &dyn fmt::Debug,
        operations: impl Iterator<Item = (usize, String)>,
    ) -> Outcome {
        let failed = failure.is_some();
        Outcome {
            failure,
            trace_hash: world.clock.trace_hash(),
            virtual_us: world.clock.us(),
            trace: world.clock.take_lines(),
            options: format!("{options:?}"),
            operations: if failed { operations.collect() } else { Vec::new() },
            history: if failed { history.to_text() } else { String::new() },
            sightings: std::mem::take(&mut world.sightings),
        }
    }
}

/// A scenario by name.
pub type Run = fn(&Setup) -> Outcome;

/// All scenarios.
pub const ALL: &[(&str, Run)] = &[
    ("kernel", kernel::run),
    ("compaction", compaction::run),
    ("kafka", kafka::run),
    ("groups", groups::run),
    ("rot", rot::run),
    ("meta", meta::run),
];

/// The scenario of that name.
pub fn named(name: &str) -> Option<Run> {
    ALL.iter().find(|(other, _)| *other == name).map(|(_, run)| *run)
}

/// The scenario that has the best chance against a planted bug.
pub fn suited(bug: Bug) -> &'static str {
    match bug {
        Bug::RottenBlockServed => "rot",
        Bug::OffsetsLeftOutOfCheckpoint
        | Bug::FencedCommitAccepted
        | Bug::AssignmentGivenTwice
        | Bug::GenerationReused
        | Bug::ReplacedMemberHeard
        | Bug::KnownOutcomeUnknown => "groups",
        Bug::CompactionLosesLast | Bug::TombstoneDroppedEarly | Bug::SupersededKept | Bug::TombstonesKept => {
            "compaction"
        }
        Bug::AnnouncedLengthReserved | Bug::LengthUnchecked => "kafka",
        _ => "kernel",
    }
}

/// Does it cost time or memory, and nothing that clients can tell until it is too late? Then a bound of the simulator's must catch it.
pub fn costs_only(bug: Bug) -> bool {
    matches!(bug, Bug::RecoveryReadsAll | Bug::AnnouncedLengthReserved)
}

#[cfg(test)]
mod tests;
