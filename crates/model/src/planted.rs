// SPDX-License-Identifier: Apache-2.0
//! Planted bugs: mistakes that a log server can make, built in on purpose to prove that the checks would see them.
//!
//! Only with the feature `planted`, which no release and no default build has; without it `planted` is a constant `false`
//! and the mistake is not in the program. At most one bug is on, chosen once per process before anything else runs, or
//! switched between simulator runs.

/// The bugs, each named after what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bug {
    /// A flush reports done though its bytes were never synced.
    LostSync = 1,
    /// A flush reports done when its bytes are written, and never syncs them: a killed process loses nothing, a power cut does.
    SyncLeftOut,
    /// Recovery accepts a frame whose bytes are not all there.
    TornFrameAccepted,
    /// Recovery accepts a frame left over from a slot's earlier life.
    StaleFrameAccepted,
    /// A publish is answered when it is ordered, not when it is durable.
    AckBeforeDurable,
    /// Readers see records that are ordered but not durable.
    ReadBeforeDurable,
    /// After a restart a repeated idempotent publish is appended again.
    DuplicateAfterRestart,
    /// After a restart a partition continues at an offset that was already used.
    OffsetReuse,
    /// A checkpoint holds the effect of frames that are not durable.
    CheckpointAheadOfData,
    /// The WAL is trimmed before the checkpoint that replaces it is durable.
    TrimTooEarly,
    /// A checkpoint leaves the producers' dedupe windows out.
    DedupeWindowLost,
    /// Recovered frames that were never proven durable are served without being synced first.
    RecoveredUnsynced,
    /// A block of a segment is served without its checksum being looked at.
    RottenBlockServed,
    /// A checkpoint leaves committed offsets out.
    OffsetsLeftOutOfCheckpoint,
    /// A commit's member and generation are not looked at.
    FencedCommitAccepted,
    /// Every member of a generation is given what one of them was assigned.
    AssignmentGivenTwice,
    /// A rebalance ends in the generation that it began in.
    GenerationReused,
    /// A merge of segments leaves partitions out, and replaces its sources all the same.
    MergeLosesRun,
    /// The process whose place another took, as the same static member, is heard on.
    ReplacedMemberHeard,
    /// A refused commit is answered as if nobody knew what became of it.
    KnownOutcomeUnknown,
    /// A read at the end of a partition is called out of range.
    ValidOffsetOutOfRange,
    /// Compaction removes the last record of a key.
    CompactionLosesLast,
    /// Compaction removes a tombstone as soon as it sees it.
    TombstoneDroppedEarly,
    /// Compaction leaves records that a later one has superseded.
    SupersededKept,
    /// Compaction never comes back for tombstones whose time is over.
    TombstonesKept,
    /// Retention by age removes what is half as old as it may become.
    RetentionTakesLive,
    /// Retention never removes anything.
    RetentionNeverDue,
    /// A spill that packs small batches together puts the last one first.
    PackedOutOfOrder,
    /// A numbered batch is appended though one before it is missing.
    SequenceGapAccepted,
    /// A read that begins within a block of a segment begins with the next one.
    ColdReadSkips,
    /// After a restart a partition starts where its oldest segment does, not where it was trimmed to.
    StartForgotten,
    /// The lock of the data directory is not looked at.
    LockLeftOut,
    /// Of several that wait for a partition one is told.
    WakeLost,
    /// Publishes that wait for room are not looked at when there is some.
    ParkedForgotten,
    /// A start reads all that is stored.
    RecoveryReadsAll,
    /// A request's memory is taken when its length is announced.
    AnnouncedLengthReserved,
    /// A length within a request is believed.
    LengthUnchecked,
    /// A slot of the log that is lent to a segment is written over.
    LentSlotRecycled,
    /// Slots of a segment are given back while the newest checkpoint still names it.
    SlotsGivenBackEarly,
}

impl Bug {
    /// Every bug there is.
    pub const ALL: [Bug; 39] = [
        Bug::LostSync,
        Bug::SyncLeftOut,
        Bug::TornFrameAccepted,
        Bug::StaleFrameAccepted,
        Bug::AckBeforeDurable,
        Bug::ReadBeforeDurable,
        Bug::DuplicateAfterRestart,
        Bug::OffsetReuse,
        Bug::CheckpointAheadOfData,
        Bug::TrimTooEarly,
        Bug::DedupeWindowLost,
        Bug::RecoveredUnsynced,
        Bug::RottenBlockServed,
        Bug::OffsetsLeftOutOfCheckpoint,
        Bug::FencedCommitAccepted,
        Bug::AssignmentGivenTwice,
        Bug::GenerationReused,
        Bug::MergeLosesRun,
        Bug::ReplacedMemberHeard,
        Bug::KnownOutcomeUnknown,
        Bug::ValidOffsetOutOfRange,
        Bug::CompactionLosesLast,
        Bug::TombstoneDroppedEarly,
        Bug::SupersededKept,
        Bug::TombstonesKept,
        Bug::RetentionTakesLive,
        Bug::RetentionNeverDue,
        Bug::PackedOutOfOrder,
        Bug::SequenceGapAccepted,
        Bug::ColdReadSkips,
        Bug::StartForgotten,
        Bug::LockLeftOut,
        Bug::WakeLost,
        Bug::ParkedForgotten,
        Bug::RecoveryReadsAll,
        Bug::AnnouncedLengthReserved,
        Bug::LengthUnchecked,
        Bug::LentSlotRecycled,
        Bug::SlotsGivenBackEarly,
    ];

    /// Which of the anomalies that peers have shown it is (their numbers are explained in `docs/reliability.md`); `None`: a promise
    /// of ours that their list does not know.
    pub const fn anomaly(self) -> Option<&'static str> {
        match self {
            Bug::CheckpointAheadOfData
            | Bug::TrimTooEarly
            | Bug::MergeLosesRun
            | Bug::CompactionLosesLast
            | Bug::RetentionTakesLive
            | Bug::LentSlotRecycled
            | Bug::SlotsGivenBackEarly => Some("A1"),
            Bug::DuplicateAfterRestart | Bug::DedupeWindowLost => Some("A2"),
            Bug::PackedOutOfOrder => Some("A3"),
            Bug::OffsetReuse => Some("A4"),
            Bug::SequenceGapAccepted | Bug::ColdReadSkips => Some("A5"),
            Bug::AckBeforeDurable => Some("A6"),
            Bug::ReadBeforeDurable | Bug::RecoveredUnsynced => Some("A7"),
            Bug::TornFrameAccepted | Bug::StaleFrameAccepted => Some("A8"),
            Bug::LostSync | Bug::SyncLeftOut => Some("A9"),
            Bug::RottenBlockServed => Some("A10"),
            Bug::StartForgotten => Some("A11"),
            Bug::LockLeftOut => Some("A14"),
            Bug::OffsetsLeftOutOfCheckpoint | Bug::FencedCommitAccepted => Some("A29"),
            Bug::AssignmentGivenTwice | Bug::GenerationReused | Bug::ReplacedMemberHeard => Some("A30"),
            Bug::KnownOutcomeUnknown | Bug::ValidOffsetOutOfRange => Some("A35"),
            Bug::WakeLost | Bug::ParkedForgotten => Some("A37"),
            Bug::RecoveryReadsAll => Some("A38"),
            Bug::AnnouncedLengthReserved => Some("A39"),
            Bug::LengthUnchecked => Some("A40"),
            Bug::TombstoneDroppedEarly | Bug::SupersededKept | Bug::TombstonesKept | Bug::RetentionNeverDue => None,
        }
    }

    /// The name on command lines: words joined by dashes.
    pub fn name(self) -> String {
        let mut name = String::new();
        for (index, letter) in format!("{self:?}").char_indices() {
            if letter.is_ascii_uppercase() && index > 0 {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// The bug of that name.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::sync::atomic::{AtomicU8, Ordering};

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Switches one bug on, or all off.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }

    /// True while `bug` is the one switched on.
    pub fn planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "planted")]
pub use switch::{plant, planted};

/// True while `bug` is switched on: never, in a build without the feature.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(&bug.name()), Some(bug));
        }
        assert_eq!(Bug::LostSync.name(), "lost-sync");
    }
}
