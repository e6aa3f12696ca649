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
    /// Groups, a namespace each for itself: what would make another is refused (15).
    pub groups_max: u32,
    /// Longest group id: others do not exist (24).
    pub group_id_bytes_max: u32,
    /// Partitions with a committed offset in one group: commits that would make more are refused (28).
    pub offsets_max: u32,
    /// Members that were told their id and have not joined yet, in one group: the group takes no more (81).
    pub pending_members_max: u32,
    /// Protocols of one member: a join with more is refused (23).
    pub protocols_max: u32,
    /// What the protocols of one member may take, names and metadata together: a join with more is refused (10).
    pub member_bytes_max: u32,
    /// What protocols, ids and assignments of all members of one group may take: a join or an assignment beyond it is refused
    /// (81, 10). A stable generation is one record of the log, so this stays below `kernel::coordinator::DECISION_BYTES_MAX`.
    pub group_bytes_max: u32,
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
            offsets_max: 1_000_000,
            pending_members_max: 10_000,
            protocols_max: 256,
            member_bytes_max: 1024 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
        }
    }
}
