// SPDX-License-Identifier: Apache-2.0
//! What a head can ask of a shard, in neutral words. One command, one reply (`reply.rs`), except where said.
//!
//! The numbering of the whole set is the design's; the commands of queues, subscriptions, holds, bindings and transactions join
//! this enum with the protocols that need them.

use crate::auth::Principal;
use bytes::Bytes;
use model::batch::Batch;
use model::{HolderId, LeaderEpoch, NamespaceId, Offset, PartitionId, TopicId};
use std::sync::Arc;

/// Who asks: carried by every command, and stored with every intent that outlives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ctx {
    pub principal: Principal,
    pub namespace: NamespaceId,
    /// Replies and wakes go here.
    pub holder: HolderId,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Appends one batch to a partition. Replied when durable.
    Publish(Publish),
    /// Reads whole batches. Never waits for data: replied with what is there, or when the medium has answered.
    Read(Read),
    /// Finds an offset.
    Locate(Locate),
    /// Moves a partition's start. Replied when durable.
    Trim(Trim),
    /// Makes a topic. To the namespace's cell. Replied when every partition can be used and all of it is durable.
    DeclareTopic(DeclareTopic),
    /// Changes a topic's settings, or gives it more partitions. To the namespace's cell. Replied when every shard acts upon it and
    /// all of it is durable.
    AlterTopic(AlterTopic),
    /// Removes a topic and all its records. To the namespace's cell. Replied when durable.
    DeleteTopic { topic: TopicId },
    /// Tells what there is of a partition.
    Describe(Describe),
    /// Hands out a new producer id. To [`model::ShardId::META`]. Replied when the id can never be handed out again.
    InitProducer,
    /// A head's coordinator verb, opaque here. Replied when what it decided is durable.
    Coordinator { which: u8, input: Bytes },
    /// The holder is gone: its watches end. No reply.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub partition: PartitionId,
    /// The sender's belief, if it has one: another epoch is refused.
    pub leader_epoch: Option<LeaderEpoch>,
    pub batch: Batch,
    /// Somebody has looked, and every record has a key. A topic that is compacted takes nothing else. Heads look only where they know the
    /// topic to be; that it has become so since is for them to hear ([`crate::error::PublishError::KeysUnknown`]).
    pub has_keys: bool,
    pub origin: Origin,
}

/// Which head a batch came through; stored beside the batch, outside it, so that no client can forge reserved headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Origin {
    Kernel = 0,
    Kafka = 1,
    Amqp = 2,
    RocketMq = 3,
    Mqtt = 4,
}

impl Origin {
    /// The origin of that number.
    pub fn from_number(number: u8) -> Option<Origin> {
        match number {
            0 => Some(Origin::Kernel),
            1 => Some(Origin::Kafka),
            2 => Some(Origin::Amqp),
            3 => Some(Origin::RocketMq),
            4 => Some(Origin::Mqtt),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub partition: PartitionId,
    pub from: Offset,
    /// The first batch is returned whole even when it is larger; after it, whole batches while they fit.
    pub bytes_max: u32,
    pub isolation: Isolation,
    pub leader_epoch: Option<LeaderEpoch>,
    /// When nothing (more) is readable at the end of this read, the holder is woken once ([`crate::Effect::Wake`] with this
    /// number) as soon as more is, the partition's start has moved, or it is gone. A watch that is set already costs nothing, so a caught-up
    /// partition is asked for once, not once per poll.
    pub watch: Option<u64>,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everything durable, decided or not.
    High,
    /// Up to the first undecided transaction; aborted records are named in the reply.
    Stable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locate {
    pub partition: PartitionId,
    pub by: LocateBy,
    pub isolation: Isolation,
    pub leader_epoch: Option<LeaderEpoch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocateBy {
    /// The first offset that can be read.
    Start,
    /// The offset the next visible record will get (`high` or `stable`, by isolation).
    End,
    /// The first record whose time is at or after this (milliseconds since 1970).
    Timestamp(i64),
    /// The record with the largest time; the first of them if several.
    MaxTimestamp,
    /// Where the records of this leader epoch end: the last epoch up to this one that has records, and the offset after its last.
    /// A reader whose position is beyond it has read what is not there any more.
    EpochEnd(LeaderEpoch),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trim {
    pub partition: PartitionId,
    /// `None`: everything visible now.
    pub before: Option<Offset>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclareTopic {
    /// Random bytes from the head's driver, made into the topic's id.
    pub topic: TopicId,
    pub name: Arc<str>,
    pub partition_count: u32,
    pub settings: TopicSettings,
    /// Only checks: nothing is made, the reply is what making it would have answered.
    pub validate_only: bool,
}

/// All of the topic's settings, new; and how many partitions it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterTopic {
    pub topic: TopicId,
    /// What the change was planned from: refused when it is not so any more.
    pub seen: TopicSettings,
    pub seen_partition_count: u32,
    pub settings: TopicSettings,
    /// Never fewer than there are.
    pub partition_count: u32,
    /// Only checks: nothing is changed, the reply is what changing it would have answered.
    pub validate_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Describe {
    pub partition: PartitionId,
    /// At most so many producers are told, the first by id.
    pub producers_max: u32,
}

/// What the kernel acts upon of a topic's settings, and what it keeps for the head that set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Records older than this are removed; `None` = never for their age.
    pub retention_ms: Option<u64>,
    /// The oldest records of a partition beyond this are removed; `None` = never for their size.
    pub retention_bytes: Option<u64>,
    /// Largest batch.
    pub batch_bytes_max: u32,
    /// Of records with the same key only the last is kept; `None`: all are.
    pub compaction: Option<Compaction>,
    /// Name and value as the head's users wrote them, sorted by name, opaque here.
    pub stored: Arc<[(Arc<str>, Arc<str>)]>,
}

/// When and how a topic's partitions are compacted (`spill/compaction.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Records younger than this stay, whatever follows them.
    pub lag_ms_min: u64,
    /// A record older than this is compacted, however little there is to do.
    pub lag_ms_max: u64,
    /// The memory tail of a partition with something older than this is spilled, because only what is stored is compacted.
    pub tail_ms_max: u64,
    /// A tombstone (a record without value) stays for so long after it was first found to be the last of its key.
    pub tombstone_ms: u64,
    /// The part of the stored bytes, in thousandths, that must not have been compacted yet for it to be worth while.
    pub dirty_permille_min: u32,
}

impl Default for Compaction {
    /// Kafka's defaults, which its users expect.
    fn default() -> Compaction {
        Compaction {
            lag_ms_min: 0,
            lag_ms_max: i64::MAX as u64,
            tail_ms_max: 7 * 24 * 60 * 60 * 1000,
            tombstone_ms: 24 * 60 * 60 * 1000,
            dirty_permille_min: 500,
        }
    }
}

impl Default for TopicSettings {
    /// Seven days, any size, batches up to 1 MiB and 12 bytes: Kafka's defaults, which its users expect.
    fn default() -> TopicSettings {
        TopicSettings {
            retention_ms: Some(7 * 24 * 60 * 60 * 1000),
            retention_bytes: None,
            batch_bytes_max: 1024 * 1024 + 12,
            compaction: None,
            stored: Arc::from([]),
        }
    }
}
