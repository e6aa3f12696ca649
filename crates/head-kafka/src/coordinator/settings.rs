// SPDX-License-Identifier: Apache-2.0
//! What the group coordinator is told when it is made: Kafka's `group.*` and `offsets.*` broker settings, and bounds of our own.
//!
//! Owns: names, defaults, what happens at each bound. Must not know: where the values come from.

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`, `group.max.session.timeout.ms`: a join that asks for another is refused (26). Kafka's own
    /// minimum of 6 s only makes tests slow: a client that asks for less knows why.
    pub session_timeout_ms_min: u32,
    pub session_timeout_ms_max: u32,
    /// `group.max.size`: a member beyond it is refused (81).
    pub members_max: u32,
    /// `offsets.retention.minutes`: offsets of a group that has been empty for this long are forgotten.
    pub offsets_retention_ms: u64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_check_ms: u64,
    /// `offset.metadata.max.bytes`: a longer one is refused (12).
    pub offset_metadata_bytes_max: u32,
    /// Groups: what would make another is refused (15).
    pub groups_max: u32,
    /// Longest group id: others do not exist (24).
    pub group_id_bytes_max: u32,
    /// Partitions with a committed offset in one group: commits that would make more are refused (28). A group with a long id has
    /// room for fewer, see `offsets.rs`.
    pub offsets_max: u32,
    /// What the offsets of one group may take, their metadata included: commits beyond are refused (28).
    pub offsets_bytes_max: u32,
    /// Members that were told their id and have not joined yet, in one group: the group takes no more (81).
    pub pending_members_max: u32,
    /// What the ids and protocols of one member may take, names and metadata together: a join with more is refused (10).
    pub member_bytes_max: u32,
    /// What members and assignments of one group may take: a join beyond it is refused (81), a leader's assignment as well (10). A
    /// stable generation is one note, so this stays well below `kernel::coordinator::DECISION_BYTES_MAX`.
    pub group_bytes_max: u32,
    /// What members and offsets of all groups may take: a join beyond it is refused (15), a commit as well (28).
    pub memory_bytes_max: usize,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            session_timeout_ms_min: 1_000,
            session_timeout_ms_max: 1_800_000,
            members_max: 10_000,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_check_ms: 600_000,
            offset_metadata_bytes_max: 4096,
            groups_max: 100_000,
            group_id_bytes_max: 4096,
            offsets_max: 200_000,
            offsets_bytes_max: 48 * 1024 * 1024,
            pending_members_max: 10_000,
            member_bytes_max: 1024 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            memory_bytes_max: 256 * 1024 * 1024,
        }
    }
}
