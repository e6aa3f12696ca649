// SPDX-License-Identifier: Apache-2.0
//! Kernel errors to the protocol's numbers, exhaustively: a new kernel error does not compile until it has a number here.
//!
//! Rules. A known outcome is never UNKNOWN_SERVER_ERROR. What was certainly not done and may work later gets a number that
//! clients retry; what may or may not have been done gets REQUEST_TIMED_OUT, the one number that clients read as "possibly
//! done". The numbers clients treat alike are chosen by their text.

use crate::wire::ErrorCode;
use kernel::error::{
    AlterError, CoordinatorError, DeclareError, DeleteError, DescribeError, EpochMismatch, LocateError, ProducerError,
    PublishError, ReadError, TrimError,
};
use model::batch::BatchError;

fn epoch(mismatch: &EpochMismatch) -> ErrorCode {
    match mismatch {
        EpochMismatch::Older { .. } => ErrorCode::FencedLeaderEpoch,
        EpochMismatch::Newer { .. } => ErrorCode::UnknownLeaderEpoch,
    }
}

/// Produce.
pub fn publish(error: &PublishError) -> ErrorCode {
    match error {
        PublishError::NotFound => ErrorCode::UnknownTopicOrPartition,
        PublishError::Denied => ErrorCode::TopicAuthorizationFailed,
        PublishError::Epoch(mismatch) => epoch(mismatch),
        PublishError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        PublishError::OutOfSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        // Clients take this for success without an offset, which it is.
        PublishError::DuplicateForgotten => ErrorCode::DuplicateSequenceNumber,
        PublishError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        // The topic has become a compacted one just now: clients look again, and by then the head knows it too.
        PublishError::KeysUnknown => ErrorCode::NotLeaderOrFollower,
        PublishError::NotInTransaction => ErrorCode::InvalidTxnState,
        // Retried by every client as "certainly not appended"; the answer's throttle time says when.
        PublishError::Overloaded { .. } => ErrorCode::NotEnoughReplicas,
        PublishError::StorageFull => ErrorCode::KafkaStorageError,
        PublishError::LogFailed => ErrorCode::RequestTimedOut,
    }
}

/// Fetch.
pub fn read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::NotFound => ErrorCode::UnknownTopicOrPartition,
        ReadError::Denied => ErrorCode::TopicAuthorizationFailed,
        ReadError::Epoch(mismatch) => epoch(mismatch),
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        // Not KAFKA_STORAGE_ERROR, which consumers retry for ever in silence: this one reaches the application.
        ReadError::Corrupt(_) => ErrorCode::CorruptMessage,
        ReadError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// A topic that was found by its id and is gone before its shard was asked: the client hears of the id, not of a name that it did
/// not say.
pub fn by_id(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition => ErrorCode::UnknownTopicId,
        other => other,
    }
}

/// ListOffsets.
pub fn locate(error: &LocateError) -> ErrorCode {
    match error {
        LocateError::NotFound => ErrorCode::UnknownTopicOrPartition,
        LocateError::Denied => ErrorCode::TopicAuthorizationFailed,
        LocateError::Epoch(mismatch) => epoch(mismatch),
        LocateError::Corrupt(_) => ErrorCode::CorruptMessage,
        LocateError::Storage => ErrorCode::KafkaStorageError,
    }
}

/// CreateTopics.
pub fn declare(error: &DeclareError) -> ErrorCode {
    match error {
        DeclareError::Denied => ErrorCode::TopicAuthorizationFailed,
        DeclareError::Exists => ErrorCode::TopicAlreadyExists,
        DeclareError::Name(_) => ErrorCode::InvalidTopicException,
        DeclareError::PartitionCount { .. } => ErrorCode::InvalidPartitions,
        DeclareError::Setting(_) => ErrorCode::InvalidConfig,
        DeclareError::Overloaded { .. } => ErrorCode::ThrottlingQuotaExceeded,
        DeclareError::StorageFull => ErrorCode::KafkaStorageError,
        DeclareError::LogFailed => ErrorCode::RequestTimedOut,
        DeclareError::NotOwner => ErrorCode::NotController,
    }
}

/// Metadata that was to make a topic: what will pass by itself is LEADER_NOT_AVAILABLE, upon which every client asks again.
pub fn auto_create(error: &DeclareError) -> ErrorCode {
    match error {
        DeclareError::Exists | DeclareError::Overloaded { .. } | DeclareError::LogFailed | DeclareError::NotOwner => {
            ErrorCode::LeaderNotAvailable
        }
        DeclareError::Denied
        | DeclareError::Name(_)
        | DeclareError::PartitionCount { .. }
        | DeclareError::Setting(_)
        | DeclareError::StorageFull => declare(error),
    }
}

/// CreatePartitions, AlterConfigs, IncrementalAlterConfigs.
pub fn alter(error: &AlterError) -> ErrorCode {
    match error {
        AlterError::NotFound => ErrorCode::UnknownTopicOrPartition,
        AlterError::Denied => ErrorCode::TopicAuthorizationFailed,
        // Planned anew, so often; clients may ask again.
        AlterError::Changed => ErrorCode::RequestTimedOut,
        AlterError::Fewer { .. } | AlterError::PartitionCount { .. } => ErrorCode::InvalidPartitions,
        AlterError::Setting(_) => ErrorCode::InvalidConfig,
        AlterError::Overloaded { .. } => ErrorCode::ThrottlingQuotaExceeded,
        AlterError::StorageFull => ErrorCode::KafkaStorageError,
        AlterError::LogFailed => ErrorCode::RequestTimedOut,
        AlterError::NotOwner => ErrorCode::NotController,
    }
}

/// DeleteRecords.
pub fn trim(error: &TrimError) -> ErrorCode {
    match error {
        TrimError::NotFound => ErrorCode::UnknownTopicOrPartition,
        TrimError::Denied => ErrorCode::TopicAuthorizationFailed,
        TrimError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        TrimError::LogFailed => ErrorCode::RequestTimedOut,
    }
}

/// DescribeLogDirs, DescribeProducers.
pub fn describe(error: &DescribeError) -> ErrorCode {
    match error {
        DescribeError::NotFound => ErrorCode::UnknownTopicOrPartition,
        DescribeError::Denied => ErrorCode::TopicAuthorizationFailed,
        DescribeError::LogFailed => ErrorCode::KafkaStorageError,
    }
}

/// Settings that are not a topic's.
pub fn configs(error: &CoordinatorError) -> ErrorCode {
    match error {
        CoordinatorError::Denied => ErrorCode::ClusterAuthorizationFailed,
        CoordinatorError::NotFound => ErrorCode::CoordinatorNotAvailable,
        CoordinatorError::TooLarge => ErrorCode::PolicyViolation,
        CoordinatorError::Overloaded { .. } => ErrorCode::ThrottlingQuotaExceeded,
        CoordinatorError::StorageFull => ErrorCode::KafkaStorageError,
        CoordinatorError::LogFailed => ErrorCode::RequestTimedOut,
    }
}

/// DeleteTopics.
pub fn delete(error: &DeleteError) -> ErrorCode {
    match error {
        DeleteError::NotFound => ErrorCode::UnknownTopicOrPartition,
        DeleteError::Denied => ErrorCode::TopicAuthorizationFailed,
        DeleteError::LogFailed => ErrorCode::RequestTimedOut,
        DeleteError::NotOwner => ErrorCode::NotController,
    }
}

/// InitProducerId. All but the first are retried by clients.
pub fn producer(error: &ProducerError) -> ErrorCode {
    match error {
        ProducerError::Denied => ErrorCode::ClusterAuthorizationFailed,
        ProducerError::Overloaded { .. } => ErrorCode::CoordinatorLoadInProgress,
        ProducerError::StorageFull => ErrorCode::KafkaStorageError,
        ProducerError::LogFailed => ErrorCode::RequestTimedOut,
        ProducerError::NotOwner => ErrorCode::NotController,
    }
}

/// The requests of groups. After COORDINATOR_NOT_AVAILABLE and NOT_COORDINATOR clients look for the coordinator and try again;
/// REQUEST_TIMED_OUT would end most of them.
pub fn coordinator(error: &CoordinatorError) -> ErrorCode {
    match error {
        CoordinatorError::Denied => ErrorCode::GroupAuthorizationFailed,
        CoordinatorError::NotFound => ErrorCode::NotCoordinator,
        CoordinatorError::TooLarge => ErrorCode::MessageTooLarge,
        // To wait and ask again is all that clients do about it.
        CoordinatorError::Overloaded { .. } => ErrorCode::CoordinatorLoadInProgress,
        CoordinatorError::StorageFull => ErrorCode::CoordinatorNotAvailable,
        // What may have been done is the same when it is done again.
        CoordinatorError::LogFailed => ErrorCode::CoordinatorNotAvailable,
    }
}

/// OffsetCommit.
pub fn commit(error: &CoordinatorError) -> ErrorCode {
    match error {
        CoordinatorError::TooLarge => ErrorCode::InvalidCommitOffsetSize,
        CoordinatorError::Denied
        | CoordinatorError::NotFound
        | CoordinatorError::Overloaded { .. }
        | CoordinatorError::StorageFull
        | CoordinatorError::LogFailed => coordinator(error),
    }
}

/// A batch that was refused before it came to the kernel.
pub fn batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Length | BatchError::Crc => ErrorCode::CorruptMessage,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        // The lowest three bits are the compression; five to seven have no meaning.
        BatchError::Attributes(attributes) if attributes & 7 > 4 => ErrorCode::UnsupportedCompressionType,
        // Message sets (magic 0 and 1) included: that is what Apache Kafka 4 answers in versions that are for batches only.
        BatchError::Empty
        | BatchError::Magic(_)
        | BatchError::Attributes(_)
        | BatchError::Count
        | BatchError::Sequence
        | BatchError::Record => ErrorCode::InvalidRecord,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Corrupt, LeaderEpoch, Offset};

    const EPOCH: LeaderEpoch = LeaderEpoch(3);

    fn corrupt() -> Corrupt {
        Corrupt { name: "seg/00/000000000001".into(), at: 4096, why: "checksum".into() }
    }

    #[test]
    fn every_publish_error_has_its_number() {
        let numbers = [
            (PublishError::NotFound, 3),
            (PublishError::Denied, 29),
            (PublishError::Epoch(EpochMismatch::Older { current: EPOCH }), 74),
            (PublishError::Epoch(EpochMismatch::Newer { current: EPOCH }), 75),
            (PublishError::TooLarge { bytes_max: 1 }, 10),
            (PublishError::OutOfSequence { expected: 1 }, 45),
            (PublishError::DuplicateForgotten, 46),
            (PublishError::ProducerFenced, 47),
            (PublishError::KeysUnknown, 6),
            (PublishError::NotInTransaction, 48),
            (PublishError::Overloaded { retry_after_ms: 1 }, 19),
            (PublishError::StorageFull, 56),
            (PublishError::LogFailed, 7),
        ];
        for (error, number) in numbers {
            assert_eq!(publish(&error).number(), number, "{error:?}");
        }
    }

    #[test]
    fn every_read_and_locate_error_has_its_number() {
        let reads = [
            (ReadError::NotFound, 3),
            (ReadError::Denied, 29),
            (ReadError::Epoch(EpochMismatch::Older { current: EPOCH }), 74),
            (ReadError::Epoch(EpochMismatch::Newer { current: EPOCH }), 75),
            (ReadError::OutOfRange { start: Offset(1), high: Offset(2) }, 1),
            (ReadError::Corrupt(corrupt()), 2),
            (ReadError::Storage, 56),
        ];
        for (error, number) in reads {
            assert_eq!(read(&error).number(), number, "{error:?}");
        }
        let locates = [
            (LocateError::NotFound, 3),
            (LocateError::Denied, 29),
            (LocateError::Epoch(EpochMismatch::Older { current: EPOCH }), 74),
            (LocateError::Epoch(EpochMismatch::Newer { current: EPOCH }), 75),
            (LocateError::Corrupt(corrupt()), 2),
            (LocateError::Storage, 56),
        ];
        for (error, number) in locates {
            assert_eq!(locate(&error).number(), number, "{error:?}");
        }
    }

    #[test]
    fn every_error_about_names_has_its_number() {
        let declares = [
            (DeclareError::Denied, 29, 29),
            (DeclareError::Exists, 36, 5),
            (DeclareError::Name("bad"), 17, 17),
            (DeclareError::PartitionCount { max: 1 }, 37, 37),
            (DeclareError::Setting("bad"), 40, 40),
            (DeclareError::Overloaded { retry_after_ms: 1 }, 89, 5),
            (DeclareError::StorageFull, 56, 56),
            (DeclareError::LogFailed, 7, 5),
            (DeclareError::NotOwner, 41, 5),
        ];
        for (error, made, asked) in declares {
            assert_eq!((declare(&error).number(), auto_create(&error).number()), (made, asked), "{error:?}");
        }
        let deletes = [
            (DeleteError::NotFound, 3),
            (DeleteError::Denied, 29),
            (DeleteError::LogFailed, 7),
            (DeleteError::NotOwner, 41),
        ];
        for (error, number) in deletes {
            assert_eq!(delete(&error).number(), number, "{error:?}");
        }
        let alters = [
            (AlterError::NotFound, 3),
            (AlterError::Denied, 29),
            (AlterError::Changed, 7),
            (AlterError::Fewer { current: 2 }, 37),
            (AlterError::PartitionCount { max: 1 }, 37),
            (AlterError::Setting("bad"), 40),
            (AlterError::Overloaded { retry_after_ms: 1 }, 89),
            (AlterError::StorageFull, 56),
            (AlterError::LogFailed, 7),
            (AlterError::NotOwner, 41),
        ];
        for (error, number) in alters {
            assert_eq!(alter(&error).number(), number, "{error:?}");
        }
        let trims = [
            (TrimError::NotFound, 3),
            (TrimError::Denied, 29),
            (TrimError::OutOfRange { high: Offset(1) }, 1),
            (TrimError::LogFailed, 7),
        ];
        for (error, number) in trims {
            assert_eq!(trim(&error).number(), number, "{error:?}");
        }
        let describes = [(DescribeError::NotFound, 3), (DescribeError::Denied, 29), (DescribeError::LogFailed, 56)];
        for (error, number) in describes {
            assert_eq!(describe(&error).number(), number, "{error:?}");
        }
        let settings = [
            (CoordinatorError::Denied, 31),
            (CoordinatorError::NotFound, 15),
            (CoordinatorError::TooLarge, 44),
            (CoordinatorError::Overloaded { retry_after_ms: 1 }, 89),
            (CoordinatorError::StorageFull, 56),
            (CoordinatorError::LogFailed, 7),
        ];
        for (error, number) in settings {
            assert_eq!(configs(&error).number(), number, "{error:?}");
        }
        let producers = [
            (ProducerError::Denied, 31),
            (ProducerError::Overloaded { retry_after_ms: 1 }, 14),
            (ProducerError::StorageFull, 56),
            (ProducerError::LogFailed, 7),
            (ProducerError::NotOwner, 41),
        ];
        for (error, number) in producers {
            assert_eq!(producer(&error).number(), number, "{error:?}");
        }
        let coordinators = [
            (CoordinatorError::Denied, 30, 30),
            (CoordinatorError::NotFound, 16, 16),
            (CoordinatorError::TooLarge, 10, 28),
            (CoordinatorError::Overloaded { retry_after_ms: 1 }, 14, 14),
            (CoordinatorError::StorageFull, 15, 15),
            (CoordinatorError::LogFailed, 15, 15),
        ];
        for (error, asked, committed) in coordinators {
            assert_eq!((coordinator(&error).number(), commit(&error).number()), (asked, committed), "{error:?}");
        }
    }

    #[test]
    fn every_refused_batch_has_its_number() {
        let batches = [
            (BatchError::Empty, 87),
            (BatchError::Length, 2),
            (BatchError::TooLarge { bytes: 2, bytes_max: 1 }, 10),
            (BatchError::Magic(1), 87),
            (BatchError::Crc, 2),
            (BatchError::Attributes(5), 76),
            (BatchError::Attributes(0x20), 87),
            (BatchError::Count, 87),
            (BatchError::Sequence, 87),
            (BatchError::Record, 87),
        ];
        for (error, number) in batches {
            assert_eq!(batch(&error).number(), number, "{error:?}");
        }
    }
}
