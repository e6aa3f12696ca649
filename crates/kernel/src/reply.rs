// SPDX-License-Identifier: Apache-2.0
//! What a shard answers. A reply is released only when everything it was read from is durable.

use crate::error::{
    AlterError, CoordinatorError, DeclareError, DeleteError, DescribeError, LocateError, ProducerError, PublishError,
    ReadError, TrimError,
};
use bytes::Bytes;
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};

/// One variant a command, in the order of [`crate::Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Published(Result<Published, PublishError>),
    Read(Result<ReadReply, ReadError>),
    Located(Result<Located, LocateError>),
    Trimmed(Result<Trimmed, TrimError>),
    Declared(Result<Declared, DeclareError>),
    Altered(Result<Altered, AlterError>),
    Deleted(Result<(), DeleteError>),
    Described(Result<Described, DescribeError>),
    Producer(Result<ProducerReady, ProducerError>),
    Coordinated(Result<Bytes, CoordinatorError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub base_offset: Offset,
    /// The partition's first readable offset.
    pub start: Offset,
    /// The same numbered batch had been appended before: `base_offset` is where. Nothing was appended now.
    pub duplicate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadReply {
    /// Whole batches in offset order, one or more to a piece; the first may begin before the offset asked for.
    pub pieces: Vec<Bytes>,
    /// Total of `pieces`.
    pub bytes: usize,
    pub start: Offset,
    pub stable: Offset,
    pub high: Offset,
    /// Aborted transactions in range: producer and first offset. Empty at isolation [`crate::command::Isolation::High`].
    pub aborted: Vec<(ProducerId, Offset)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// `None`: no record answers the question.
    pub offset: Option<Offset>,
    /// The found record's time, where the question was about time.
    pub timestamp_ms: Option<i64>,
    /// The partition's; of a record found by time, the record's; of the end of an epoch, the epoch that ends there.
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    pub start: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    pub topic: TopicId,
    pub partition_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Altered {
    pub topic: TopicId,
    pub partition_count: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub start: Offset,
    pub high: Offset,
    /// What its records take, as they are stored, in memory or at rest.
    pub stored_bytes: u64,
    /// What cannot be freed yet because of it: what was trimmed of its own runs, and of the dead bytes of the segments that it has
    /// records in, its part by what it has in them. Those of all partitions together are all dead bytes of segments in use.
    pub pinned_bytes: u64,
    /// By id.
    pub producers: Vec<DescribedProducer>,
}

/// A producer that a partition knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// Of its last record.
    pub last_sequence: i32,
    /// When it last appended.
    pub last_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerReady {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}
