// SPDX-License-Identifier: Apache-2.0
//! One small error enum per operation. Every variant maps to a wire code in each head's `errors.rs`, exhaustively.

use model::{Corrupt, ErrorKind, LeaderEpoch, Offset};

/// The client's leader epoch is not the partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochMismatch {
    /// The client is behind: it must learn the new epoch first.
    Older { current: LeaderEpoch },
    /// The client is ahead of this shard.
    Newer { current: LeaderEpoch },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// No such partition (any more).
    NotFound,
    Denied,
    Epoch(EpochMismatch),
    /// Larger than the topic's limit.
    TooLarge {
        bytes_max: u32,
    },
    /// The numbered batch does not follow the producer's last one.
    OutOfSequence {
        expected: i32,
    },
    /// It repeats a batch that has left the dedupe window: it is in the log, its offset is no longer known.
    DuplicateForgotten,
    /// A newer life of this producer exists.
    ProducerFenced,
    /// The topic is compacted, and nobody has looked whether every record has a key: look, and publish again.
    KeysUnknown,
    /// Transactions are not open on this partition.
    NotInTransaction,
    /// A bound is reached; nothing was appended. Try again after the time.
    Overloaded {
        retry_after_ms: u32,
    },
    /// The medium has no space. Nothing was appended; reads go on.
    StorageFull,
    /// The log has failed: whether the batch is in it is not known.
    LogFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    NotFound,
    Denied,
    Epoch(EpochMismatch),
    /// Before the start or beyond the end.
    OutOfRange {
        start: Offset,
        high: Offset,
    },
    /// The bytes at rest are damaged there; nothing else is affected.
    Corrupt(Corrupt),
    /// The medium did not answer.
    Storage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocateError {
    NotFound,
    Denied,
    Epoch(EpochMismatch),
    Corrupt(Corrupt),
    Storage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrimError {
    NotFound,
    Denied,
    /// Beyond what is visible.
    OutOfRange {
        high: Offset,
    },
    LogFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclareError {
    Denied,
    Exists,
    /// Empty, too long, `.`, `..`, or a character outside `[A-Za-z0-9._-]`.
    Name(&'static str),
    /// Zero or more than the bound.
    PartitionCount {
        max: u32,
    },
    /// A setting has a value that cannot be acted upon.
    Setting(&'static str),
    Overloaded {
        retry_after_ms: u32,
    },
    StorageFull,
    LogFailed,
    /// Sent to a shard that is not the namespace's cell.
    NotOwner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterError {
    NotFound,
    Denied,
    /// It is not as it was seen: look again, and plan the change anew.
    Changed,
    /// There are more already: partitions are never taken away.
    Fewer {
        current: u32,
    },
    /// More than the bound.
    PartitionCount {
        max: u32,
    },
    /// A setting has a value that cannot be acted upon.
    Setting(&'static str),
    Overloaded {
        retry_after_ms: u32,
    },
    StorageFull,
    LogFailed,
    NotOwner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescribeError {
    NotFound,
    Denied,
    LogFailed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteError {
    NotFound,
    Denied,
    LogFailed,
    NotOwner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProducerError {
    Denied,
    Overloaded { retry_after_ms: u32 },
    StorageFull,
    LogFailed,
    NotOwner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorError {
    Denied,
    /// No coordinator of that number runs beside this shard.
    NotFound,
    /// What it decided does not fit into one frame ([`crate::coordinator::DECISION_BYTES_MAX`]).
    TooLarge,
    /// The log has no room. It was not asked; try again after the time.
    Overloaded {
        retry_after_ms: u32,
    },
    /// The medium has no space, and the log no room. It was not asked.
    StorageFull,
    LogFailed,
}

impl PublishError {
    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            PublishError::NotFound => ErrorKind::NotFound,
            PublishError::Denied => ErrorKind::Denied,
            PublishError::Epoch(_) | PublishError::ProducerFenced => ErrorKind::Fenced,
            PublishError::TooLarge { .. }
            | PublishError::OutOfSequence { .. }
            | PublishError::DuplicateForgotten
            | PublishError::NotInTransaction => ErrorKind::Invalid,
            PublishError::Overloaded { .. } | PublishError::KeysUnknown => ErrorKind::Unavailable,
            PublishError::StorageFull | PublishError::LogFailed => ErrorKind::Storage,
        }
    }
}
