// SPDX-License-Identifier: Apache-2.0
//! The only file that holds both vocabularies: the protocol's words become kernel commands here, and kernel replies become the
//! protocol's words.
//!
//! A topic is a topic, a partition index is a row of its placements, a leader epoch is the shard's. Batches go through as
//! received, but for topics that ask for more: LogAppendTime patches the header (time, one attribute, checksum; the records stay
//! as they are), a compacted topic has its records looked at for keys.

use crate::config::TopicConfig;
use crate::coordinator::configs;
use crate::coordinator::{self, messages::Ask};
use crate::errors;
use crate::random::Random;
use crate::wire::messages::describe_producers::ProducerState;
use crate::wire::messages::fetch::{AbortedTransaction, PartitionData};
use crate::wire::messages::list_offsets::ListOffsetsPartitionResponse;
use crate::wire::messages::offset_for_leader_epoch::EpochEndOffset;
use crate::wire::messages::produce::{BatchIndexAndErrorMessage, PartitionProduceResponse};
use crate::wire::{ErrorCode, Records, Text, Uuid};
use bytes::Bytes;
use kernel::auth::{self, Action, Resource, Verdict};
use kernel::catalog::{Placement, Topic};
use kernel::command::{
    AlterTopic, Compaction, DeclareTopic, Describe, Isolation, Locate, LocateBy, Origin, Publish, Read, TopicSettings,
    Trim,
};
use kernel::error::PublishError;
use kernel::reply::{Described, DescribedProducer, Located, ProducerReady, Published, ReadReply};
use kernel::{Catalog, Command, Ctx};
use model::batch::{self, Batch, BatchError, HEADER_BYTES, Header};
use model::compression::Compression;
use model::limits::TOPIC_NAME_BYTES_MAX;
use model::{LeaderEpoch, Now, Offset, PartitionId, ShardId, TopicId, crc};
use std::sync::Arc;

/// Where a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub shard: ShardId,
    pub partition: PartitionId,
    pub leader_epoch: i32,
}

/// Why something is refused here, without the kernel: the number, and a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    /// Which record of the batch it was, where one can be named.
    pub record: Option<i32>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), record: None }
    }
}

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

impl TopicKey {
    /// The topic of that name or id.
    pub fn find<'a>(&self, catalog: &'a Catalog, who: &Ctx) -> Result<&'a Arc<Topic>, ErrorCode> {
        match self {
            TopicKey::Name(name) => topic_named(catalog, who, name),
            TopicKey::Id(id) => topic_with_id(catalog, who, *id),
        }
    }
}

pub fn topic_named<'a>(catalog: &'a Catalog, who: &Ctx, name: &str) -> Result<&'a Arc<Topic>, ErrorCode> {
    catalog.by_name(who, name).ok_or(ErrorCode::UnknownTopicOrPartition)
}

pub fn topic_with_id<'a>(catalog: &'a Catalog, who: &Ctx, id: Uuid) -> Result<&'a Arc<Topic>, ErrorCode> {
    catalog.by_id(who, TopicId(id)).ok_or(ErrorCode::UnknownTopicId)
}

/// The place of a partition of a topic.
pub fn place(catalog: &Catalog, topic: &Topic, index: i32) -> Result<Place, ErrorCode> {
    let row = usize::try_from(index).ok().and_then(|index| topic.partitions.get(index));
    let placement = row.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok(Place {
        shard: placement.shard,
        partition: placement.partition,
        leader_epoch: catalog.leader_epoch(placement).0,
    })
}

/// A leader epoch in a request: -1 = the client does not say.
fn believed_epoch(leader_epoch: i32) -> Option<LeaderEpoch> {
    (leader_epoch >= 0).then_some(LeaderEpoch(leader_epoch))
}

/// Offsets are unsigned in the kernel; the protocol's never get near the sign bit.
pub fn offset(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

// Produce

/// A publish, and the time the broker stamps on its records (-1: none, the client's times stand).
pub struct Publishing {
    pub command: Command,
    pub log_append_time_ms: i64,
}

/// Checks the records of one partition and makes the command.
pub fn publish(
    topic: &Topic,
    place: &Place,
    records: Option<&Bytes>,
    version: i16,
    now: Now,
) -> Result<Publishing, Refusal> {
    let refused = |error: BatchError| Refusal::new(errors::batch(&error), error.to_string());
    let records = records.filter(|records| !records.is_empty()).ok_or_else(|| refused(BatchError::Empty))?;
    if let Some(header) = Header::read(records)
        && header.magic == 2
    {
        // What the protocol asks of a batch beyond its own soundness.
        if header.bytes > records.len() {
            return Err(Refusal::new(ErrorCode::InvalidRecord, "there is no whole record batch"));
        }
        if Header::read(&records[header.bytes..]).is_some() {
            return Err(Refusal::new(ErrorCode::InvalidRecord, "there is more than one record batch"));
        }
        if version < 7 && header.compression() == Some(Compression::Zstd) {
            return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, "zstd needs Produce version 7 or later"));
        }
        if header.base_offset != Offset(0) {
            return Err(Refusal::new(ErrorCode::InvalidRecord, "the base offset of a batch must be 0"));
        }
    }
    let bytes_max = topic.settings.batch_bytes_max as usize;
    let mut batch = Batch::check(records.clone(), bytes_max).map_err(refused)?;
    let config = TopicConfig::stored(&topic.settings.stored);
    let has_keys = config.is_compacted();
    if has_keys {
        every_record_has_a_key(&batch)?;
    }
    let mut log_append_time_ms = -1;
    if config.has_log_append_time() {
        log_append_time_ms = i64::try_from(now.wall_ms).unwrap_or(i64::MAX);
        batch = stamped(&batch, log_append_time_ms, bytes_max).map_err(refused)?;
    } else {
        within_time_window(batch.header(), &config, now)?;
    }
    let publish = Publish { partition: place.partition, leader_epoch: None, batch, has_keys, origin: Origin::Kafka };
    Ok(Publishing { command: Command::Publish(publish), log_append_time_ms })
}

fn every_record_has_a_key(batch: &Batch) -> Result<(), Refusal> {
    let malformed = || Refusal::new(ErrorCode::InvalidRecord, "the records are not well formed");
    let inflated = batch::inflate(batch.bytes(), batch.header()).map_err(|_| malformed())?;
    for record in batch::Records::of(&inflated, batch.header()) {
        let record = record.map_err(|_| malformed())?;
        if record.key.is_none() {
            let refusal = Refusal::new(ErrorCode::InvalidRecord, "a compacted topic takes no record without a key");
            return Err(Refusal { record: Some(record.offset_delta), ..refusal });
        }
    }
    Ok(())
}

/// The batch with the broker's time: all its records are then of that time.
fn stamped(batch: &Batch, time_ms: i64, bytes_max: usize) -> Result<Batch, BatchError> {
    const ATTRIBUTES: usize = 21;
    const MAX_TIMESTAMP: usize = 35;
    const CRC: usize = 17;
    let mut bytes = batch.bytes().to_vec();
    bytes[ATTRIBUTES + 1] |= 1 << 3;
    bytes[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&time_ms.to_be_bytes());
    let crc = crc::crc32c(&bytes[batch::CRC_START..]);
    bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    Batch::check(bytes.into(), bytes_max)
}

/// The header's two times stand for those of all records, so that nothing is inflated for this.
fn within_time_window(header: &Header, config: &TopicConfig, now: Now) -> Result<(), Refusal> {
    let now_ms = i64::try_from(now.wall_ms).unwrap_or(i64::MAX);
    let (before_max_ms, after_max_ms) = config.timestamp_window_ms();
    let outside = |time_ms: i64| {
        // -1: the record has no time.
        time_ms != -1
            && (time_ms.saturating_sub(now_ms) > after_max_ms || now_ms.saturating_sub(time_ms) > before_max_ms)
    };
    if outside(header.max_timestamp_ms) || outside(header.base_timestamp_ms) {
        return Err(Refusal::new(
            ErrorCode::InvalidTimestamp,
            format!(
                "record times {} to {} are too far from the broker's {now_ms}",
                header.base_timestamp_ms, header.max_timestamp_ms
            ),
        ));
    }
    Ok(())
}

/// The answer for one partition, and for how long the client should hold back (0: not at all).
pub fn published(
    index: i32,
    log_append_time_ms: i64,
    result: Result<Published, PublishError>,
) -> (PartitionProduceResponse, u32) {
    match result {
        Ok(published) => {
            let response = PartitionProduceResponse {
                index,
                error_code: 0,
                base_offset: offset(published.base_offset),
                log_append_time_ms,
                log_start_offset: offset(published.start),
                record_errors: Vec::new(),
                error_message: None,
            };
            (response, 0)
        }
        Err(error) => {
            let retry_after_ms = match error {
                PublishError::Overloaded { retry_after_ms } => retry_after_ms,
                _ => 0,
            };
            let message = match error {
                PublishError::TooLarge { bytes_max } => {
                    Some(format!("the batch is over the limit of {bytes_max} bytes"))
                }
                PublishError::OutOfSequence { expected } => Some(format!("the next sequence number is {expected}")),
                PublishError::StorageFull => Some("the disk is full".to_owned()),
                PublishError::Overloaded { .. } => Some("the broker is busy, nothing was appended".to_owned()),
                PublishError::NotInTransaction => Some("transactions are not open on this partition".to_owned()),
                _ => None,
            };
            let refusal = Refusal::new(errors::publish(&error), message.unwrap_or_default());
            (unpublished(index, refusal), retry_after_ms)
        }
    }
}

/// The answer for one partition that took nothing.
pub fn unpublished(index: i32, refusal: Refusal) -> PartitionProduceResponse {
    let Refusal { code, message, record } = refusal;
    let message = (!message.is_empty()).then(|| Text::from(message));
    let record_error =
        |batch_index| BatchIndexAndErrorMessage { batch_index, batch_index_error_message: message.clone() };
    PartitionProduceResponse {
        index,
        error_code: code.number(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        record_errors: record.into_iter().map(record_error).collect(),
        error_message: message,
    }
}

// Fetch

/// How far a consumer sees: 0 = everything, 1 = committed only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pub committed_only: bool,
}

impl Sight {
    fn isolation(self) -> Isolation {
        if self.committed_only { Isolation::Stable } else { Isolation::High }
    }
}

/// A read of one partition that, if it reaches the end, sets a watch numbered as the partition.
pub fn read(place: &Place, from: u64, bytes_max: u32, sight: Sight, leader_epoch: i32) -> Command {
    Command::Read(Read {
        partition: place.partition,
        from: Offset(from),
        bytes_max,
        isolation: sight.isolation(),
        leader_epoch: believed_epoch(leader_epoch),
        watch: Some(place.partition.0),
    })
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub pieces: Vec<Bytes>,
    pub bytes: usize,
    pub watermarks: Watermarks,
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// Everything there is has been read: the offset from which the kernel now watches.
    pub caught_up_at: Option<u64>,
}

/// A partition's bounds, as the protocol says them; -1: not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub log_start_offset: i64,
    pub last_stable_offset: i64,
    pub high_watermark: i64,
}

impl Watermarks {
    pub const UNKNOWN: Watermarks = Watermarks { log_start_offset: -1, last_stable_offset: -1, high_watermark: -1 };
}

/// Takes in a reply to [`read`].
pub fn found(from: u64, sight: Sight, reply: ReadReply) -> Found {
    let next = next_offset(&reply.pieces).map_or(from, |next| next.max(from));
    let end = if sight.committed_only { reply.stable } else { reply.high };
    let aborted = sight.committed_only.then(|| {
        let transaction = |(producer, first): &(model::ProducerId, Offset)| AbortedTransaction {
            producer_id: producer.0,
            first_offset: offset(*first),
        };
        reply.aborted.iter().map(transaction).collect()
    });
    Found {
        bytes: reply.bytes,
        watermarks: Watermarks {
            log_start_offset: offset(reply.start),
            last_stable_offset: offset(reply.stable),
            high_watermark: offset(reply.high),
        },
        aborted,
        caught_up_at: (next >= end.0).then_some(next),
        pieces: reply.pieces,
    }
}

/// The offset after the last batch, found by stepping over the headers.
fn next_offset(pieces: &[Bytes]) -> Option<u64> {
    let mut rest: &[u8] = pieces.last()?;
    let mut next = None;
    while let Some(header) = Header::read(rest) {
        next = Some(header.next_offset().0);
        rest = rest.get(header.bytes.max(HEADER_BYTES)..)?;
    }
    next
}

/// The answer for one partition.
pub fn partition_data(index: i32, found: Found) -> PartitionData {
    PartitionData {
        partition_index: index,
        error_code: 0,
        high_watermark: found.watermarks.high_watermark,
        last_stable_offset: found.watermarks.last_stable_offset,
        log_start_offset: found.watermarks.log_start_offset,
        aborted_transactions: found.aborted,
        preferred_read_replica: -1,
        records: Records(found.pieces),
    }
}

// ListOffsets

/// What a "timestamp" asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Ask(LocateBy),
    /// About the second tier, which does not exist: "no such offset".
    Nothing,
}

/// The meaning of a timestamp in a request of that version.
pub fn question(timestamp: i64, version: i16) -> Result<Question, ErrorCode> {
    match timestamp {
        // Latest, earliest.
        -1 => Ok(Question::Ask(LocateBy::End)),
        -2 => Ok(Question::Ask(LocateBy::Start)),
        -3 if version >= 7 => Ok(Question::Ask(LocateBy::MaxTimestamp)),
        // Earliest on this broker's own disk: there is no other.
        -4 if version >= 8 => Ok(Question::Ask(LocateBy::Start)),
        // Latest that is tiered; earliest that waits to be.
        -5 if version >= 9 => Ok(Question::Nothing),
        -6 if version >= 11 => Ok(Question::Nothing),
        timestamp if timestamp >= 0 => Ok(Question::Ask(LocateBy::Timestamp(timestamp))),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

pub fn locate(place: &Place, by: LocateBy, sight: Sight, leader_epoch: i32) -> Command {
    Command::Locate(Locate {
        partition: place.partition,
        by,
        isolation: sight.isolation(),
        leader_epoch: believed_epoch(leader_epoch),
    })
}

/// The answer for one partition. `None`: no record answers the question.
pub fn located(index: i32, located: Option<Located>) -> ListOffsetsPartitionResponse {
    let answer = located.and_then(|located| Some((located, located.offset?)));
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: 0,
        timestamp: answer.and_then(|(located, _)| located.timestamp_ms).unwrap_or(-1),
        offset: answer.map_or(-1, |(_, found)| offset(found)),
        leader_epoch: answer.map_or(-1, |(located, _)| located.leader_epoch.0),
    }
}

// Topics

/// Whether a topic may have that name. The kernel decides when one is made; this is for those that are only asked about.
pub fn is_topic_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(name, "" | "." | "..") && name.len() <= TOPIC_NAME_BYTES_MAX && name.bytes().all(letter)
}

/// A topic whose name differs from this one only in dots and underscores. Apache Kafka makes no such pair, because its metrics
/// could not tell them apart, and tools rely on that.
pub fn colliding<'a>(catalog: &'a Catalog, who: &'a Ctx, name: &str) -> Option<&'a Arc<Topic>> {
    catalog.alike(who, name)
}

/// A topic to be made, and where to ask for it.
pub fn declare(
    catalog: &Catalog,
    who: &Ctx,
    random: &mut Random,
    name: &str,
    partition_count: u32,
    config: &TopicConfig,
    validate_only: bool,
) -> (ShardId, Command) {
    let declare = DeclareTopic {
        topic: TopicId::from_random(random.bytes()),
        name: Arc::from(name),
        partition_count,
        settings: topic_settings(config),
        validate_only,
    };
    (catalog.cell(who.namespace), Command::DeclareTopic(declare))
}

/// What the kernel acts upon of a topic's settings.
fn topic_settings(config: &TopicConfig) -> TopicSettings {
    let (lag_ms_min, lag_ms_max) = config.compaction_lag_ms();
    TopicSettings {
        retention_ms: config.retention_ms(),
        retention_bytes: config.retention_bytes(),
        batch_bytes_max: config.batch_bytes_max(),
        compaction: config.is_compacted().then(|| Compaction {
            lag_ms_min,
            lag_ms_max,
            tail_ms_max: config.segment_ms(),
            tombstone_ms: config.delete_retention_ms(),
            dirty_permille_min: config.dirty_permille_min(),
        }),
        stored: config.given().clone(),
    }
}

/// A topic whose settings are to be changed from what they are in the catalog, and where to ask for it.
pub fn alter(
    catalog: &Catalog,
    who: &Ctx,
    topic: &Topic,
    config: &TopicConfig,
    validate_only: bool,
) -> (ShardId, Command) {
    let alter = AlterTopic { settings: topic_settings(config), validate_only, ..unaltered(topic) };
    (catalog.cell(who.namespace), Command::AlterTopic(alter))
}

/// A topic whose settings act differently now, because what it was not given has another default; and where to ask for it.
pub fn follow(catalog: &Catalog, who: &Ctx, topic: &Topic, config: &TopicConfig) -> Option<(ShardId, Command)> {
    (topic_settings(config) != topic.settings).then(|| alter(catalog, who, topic, config, false))
}

/// A topic that is to have so many partitions, and where to ask for it.
pub fn grow(
    catalog: &Catalog,
    who: &Ctx,
    topic: &Topic,
    partition_count: u32,
    validate_only: bool,
) -> (ShardId, Command) {
    let alter = AlterTopic { partition_count, validate_only, ..unaltered(topic) };
    (catalog.cell(who.namespace), Command::AlterTopic(alter))
}

fn unaltered(topic: &Topic) -> AlterTopic {
    let partition_count = topic.partitions.len() as u32;
    AlterTopic {
        topic: topic.id,
        seen: topic.settings.clone(),
        seen_partition_count: partition_count,
        settings: topic.settings.clone(),
        partition_count,
        validate_only: false,
    }
}

pub fn delete(catalog: &Catalog, who: &Ctx, topic: &Topic) -> (ShardId, Command) {
    (catalog.cell(who.namespace), Command::DeleteTopic { topic: topic.id })
}

/// The bits of what the asker may do to a topic, numbered as the protocol's ACL operations.
pub fn topic_operations(who: &Ctx, topic: &Topic) -> i32 {
    let resource = Resource::Topic { namespace: topic.namespace, name: &topic.name };
    // Read, write, create, delete, alter, describe, describe configs, alter configs.
    const BITS: [(Action, u8); 8] = [
        (Action::Read, 3),
        (Action::Write, 4),
        (Action::Create, 5),
        (Action::Delete, 6),
        (Action::Alter, 7),
        (Action::Describe, 8),
        (Action::Describe, 10),
        (Action::Alter, 11),
    ];
    operations(who, resource, &BITS)
}

/// The topic, if the asker may read it.
pub fn readable<'a>(who: &Ctx, topic: &'a Arc<Topic>) -> Result<&'a Topic, ErrorCode> {
    let resource = Resource::Topic { namespace: topic.namespace, name: &topic.name };
    match auth::decide(&who.principal, who.namespace, resource, Action::Read) {
        Verdict::Allow => Ok(topic),
        Verdict::Deny => Err(ErrorCode::TopicAuthorizationFailed),
    }
}

/// The bits of what the asker may do to the whole system.
pub fn cluster_operations(who: &Ctx) -> i32 {
    // Create, alter, describe, cluster action, describe configs, alter configs, idempotent write.
    const BITS: [(Action, u8); 7] = [
        (Action::Create, 5),
        (Action::Alter, 7),
        (Action::Describe, 8),
        (Action::Alter, 9),
        (Action::Describe, 10),
        (Action::Alter, 11),
        (Action::Write, 12),
    ];
    operations(who, Resource::Node, &BITS)
}

/// The bits of what the asker may do to a group.
pub fn group_operations(who: &Ctx) -> i32 {
    // Read, delete, describe, describe configs, alter configs.
    const BITS: [(Action, u8); 5] =
        [(Action::Read, 3), (Action::Delete, 6), (Action::Describe, 8), (Action::Describe, 10), (Action::Alter, 11)];
    operations(who, Resource::Node, &BITS)
}

fn operations(who: &Ctx, resource: Resource<'_>, bits: &[(Action, u8)]) -> i32 {
    bits.iter()
        .filter(|(action, _)| auth::decide(&who.principal, who.namespace, resource, *action) == Verdict::Allow)
        .fold(0, |all, (_, bit)| all | 1 << bit)
}

/// May the asker do this to the whole system?
pub fn may(who: &Ctx, action: Action) -> bool {
    auth::decide(&who.principal, who.namespace, Resource::Node, action) == Verdict::Allow
}

/// Something asked of the settings that are not a topic's, and where.
pub fn configs(catalog: &Catalog, who: &Ctx, ask: &configs::Ask) -> (ShardId, Command) {
    (catalog.cell(who.namespace), Command::Coordinator { which: configs::CONFIGS, input: ask.encode() })
}

/// The epoch of the shard that decides about topics.
pub fn cell_epoch(catalog: &Catalog, who: &Ctx) -> i32 {
    let placement = Placement { partition: PartitionId(0), shard: catalog.cell(who.namespace), epoch_base: 0 };
    catalog.leader_epoch(&placement).0
}

// DeleteRecords, OffsetForLeaderEpoch, DescribeLogDirs, DescribeProducers

/// Removes the records before an offset; -1: all there are.
pub fn trim(place: &Place, before: i64) -> Result<(ShardId, Command), ErrorCode> {
    let before = match before {
        -1 => None,
        before => Some(Offset(u64::try_from(before).map_err(|_| ErrorCode::OffsetOutOfRange)?)),
    };
    Ok((place.shard, Command::Trim(Trim { partition: place.partition, before })))
}

/// Asks where the records of an epoch end. `None`: it is no epoch.
pub fn epoch_end(place: &Place, epoch: i32, current_epoch: i32) -> Option<(ShardId, Command)> {
    let by = LocateBy::EpochEnd(believed_epoch(epoch)?);
    Some((place.shard, locate(place, by, Sight { committed_only: false }, current_epoch)))
}

/// The answer for one partition. `None`, or no offset: nothing is known of such an epoch.
pub fn epoch_ended(partition: i32, located: Option<Located>) -> EpochEndOffset {
    let answer = located.and_then(|located| Some((located.leader_epoch.0, offset(located.offset?))));
    let (leader_epoch, end_offset) = answer.unwrap_or((-1, -1));
    EpochEndOffset { error_code: 0, partition, leader_epoch, end_offset }
}

pub fn describe(place: &Place, producers_max: u32) -> (ShardId, Command) {
    (place.shard, Command::Describe(Describe { partition: place.partition, producers_max }))
}

/// A partition's producers, as the protocol says them. None of them has a transaction open.
pub fn producers(described: &Described) -> Vec<ProducerState> {
    let producer = |producer: &DescribedProducer| ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence,
        last_timestamp: i64::try_from(producer.last_ms).unwrap_or(i64::MAX),
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    };
    described.producers.iter().map(producer).collect()
}

// InitProducerId

/// A new producer, and where to ask for it.
pub fn init_producer() -> (ShardId, Command) {
    (ShardId::META, Command::InitProducer)
}

/// Its id and epoch, as the protocol says them.
pub fn producer(ready: ProducerReady) -> (i64, i16) {
    (ready.id.0, ready.epoch.0)
}

// Groups

/// Something for the group coordinator, and where it is.
pub fn ask(catalog: &Catalog, who: &Ctx, ask: &Ask) -> (ShardId, Command) {
    (catalog.cell(who.namespace), Command::Coordinator { which: coordinator::GROUPS, input: ask.encode() })
}
