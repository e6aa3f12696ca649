// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, and the protocol's error numbers in words.
//!
//! Owns: the names of all numbers that a broker of this protocol may answer a client with, which of them may be tried again.

use head_kafka::wire::{ApiKey, Malformed};
use std::fmt;
use std::time::Duration;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// No connection, or it ended.
    Unreachable { server: String, why: String },
    /// Connected, but no answer came in time.
    Silent { server: String, what: ApiKey, waited: Duration },
    /// It does not know this kind of request, or only versions that are not known here.
    Unspoken { server: String, what: ApiKey },
    /// What it answered is not such a message, or larger than any.
    Malformed { server: String, what: ApiKey, why: String },
    /// Nobody leads it now.
    NoLeader { what: String },
    /// The broker's own answer.
    Refused { what: String, error_code: i16, message: Option<String> },
    /// It does not exist; something of a similar name may.
    NotFound { what: &'static str, name: String, nearest: Option<String> },
    /// A batch of a topic is not what its checksum says, or not readable.
    Damaged { topic: String, partition: i32, offset: i64, why: String },
    /// Somebody pressed Ctrl-C while there was nothing to be had.
    Interrupted,
}

impl ClientError {
    pub fn refused(what: impl Into<String>, error_code: i16) -> ClientError {
        ClientError::Refused { what: what.into(), error_code, message: None }
    }

    pub fn malformed(server: &str, what: ApiKey, why: Malformed) -> ClientError {
        ClientError::Malformed { server: server.to_owned(), what, why: why.to_string() }
    }

    /// True when the connection is of no use any more.
    pub fn is_lost_connection(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. } | ClientError::Silent { .. })
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable { server, why } => {
                write!(
                    f,
                    "cannot reach a broker at {server}: {why}. Is it running there? `polylog serve` starts one, "
                )?;
                f.write_str("--server or POLYLOG_SERVER names another")
            }
            ClientError::Silent { server, what, waited } => {
                write!(f, "the broker at {server} did not answer {what:?} within {} s", waited.as_secs_f64())
            }
            ClientError::Unspoken { server, what } => {
                write!(f, "the broker at {server} does not take the request {what:?}, which this needs")
            }
            ClientError::Malformed { server, what, why } => {
                write!(f, "what {server} answered to {what:?} cannot be read: {why}. Is that a Kafka listener?")
            }
            ClientError::NoLeader { what } => write!(f, "{what} has no leader now; try again later"),
            ClientError::Refused { what, error_code, message } => {
                write!(f, "{what}: {}", name_of(*error_code))?;
                match message {
                    Some(message) => write!(f, ": {message}"),
                    None => Ok(()),
                }
            }
            ClientError::NotFound { what, name, nearest } => {
                write!(f, "there is no {what} {name:?}")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
                    None => write!(f, "; `polylog {what} list` shows those there are"),
                }
            }
            ClientError::Damaged { topic, partition, offset, why } => {
                write!(f, "the batch at offset {offset} of {topic}-{partition} cannot be read: {why}")
            }
            ClientError::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for ClientError {}

/// Number, name, and whether the same request may work later.
const TABLE: &[(i16, &str, bool)] = &[
    (-1, "UNKNOWN_SERVER_ERROR", false),
    (1, "OFFSET_OUT_OF_RANGE", false),
    (2, "CORRUPT_MESSAGE", false),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", false),
    (5, "LEADER_NOT_AVAILABLE", true),
    (6, "NOT_LEADER_OR_FOLLOWER", true),
    (7, "REQUEST_TIMED_OUT", true),
    (10, "MESSAGE_TOO_LARGE", false),
    (12, "OFFSET_METADATA_TOO_LARGE", false),
    (13, "NETWORK_EXCEPTION", true),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", true),
    (15, "COORDINATOR_NOT_AVAILABLE", true),
    (16, "NOT_COORDINATOR", true),
    (17, "INVALID_TOPIC_EXCEPTION", false),
    (19, "NOT_ENOUGH_REPLICAS", true),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", true),
    (21, "INVALID_REQUIRED_ACKS", false),
    (22, "ILLEGAL_GENERATION", false),
    (23, "INCONSISTENT_GROUP_PROTOCOL", false),
    (24, "INVALID_GROUP_ID", false),
    (25, "UNKNOWN_MEMBER_ID", false),
    (26, "INVALID_SESSION_TIMEOUT", false),
    (27, "REBALANCE_IN_PROGRESS", false),
    (28, "INVALID_COMMIT_OFFSET_SIZE", false),
    (29, "TOPIC_AUTHORIZATION_FAILED", false),
    (30, "GROUP_AUTHORIZATION_FAILED", false),
    (31, "CLUSTER_AUTHORIZATION_FAILED", false),
    (32, "INVALID_TIMESTAMP", false),
    (34, "ILLEGAL_SASL_STATE", false),
    (35, "UNSUPPORTED_VERSION", false),
    (36, "TOPIC_ALREADY_EXISTS", false),
    (37, "INVALID_PARTITIONS", false),
    (38, "INVALID_REPLICATION_FACTOR", false),
    (39, "INVALID_REPLICA_ASSIGNMENT", false),
    (40, "INVALID_CONFIG", false),
    (41, "NOT_CONTROLLER", true),
    (42, "INVALID_REQUEST", false),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", false),
    (44, "POLICY_VIOLATION", false),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", false),
    (46, "DUPLICATE_SEQUENCE_NUMBER", false),
    (47, "INVALID_PRODUCER_EPOCH", false),
    (48, "INVALID_TXN_STATE", false),
    (51, "CONCURRENT_TRANSACTIONS", true),
    (56, "KAFKA_STORAGE_ERROR", true),
    (57, "LOG_DIR_NOT_FOUND", false),
    (59, "UNKNOWN_PRODUCER_ID", false),
    (60, "REASSIGNMENT_IN_PROGRESS", true),
    (68, "NON_EMPTY_GROUP", false),
    (69, "GROUP_ID_NOT_FOUND", false),
    (70, "FETCH_SESSION_ID_NOT_FOUND", false),
    (71, "INVALID_FETCH_SESSION_EPOCH", false),
    (73, "TOPIC_DELETION_DISABLED", false),
    (74, "FENCED_LEADER_EPOCH", true),
    (75, "UNKNOWN_LEADER_EPOCH", true),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", false),
    (78, "OFFSET_NOT_AVAILABLE", true),
    (79, "MEMBER_ID_REQUIRED", false),
    (81, "GROUP_MAX_SIZE_REACHED", false),
    (82, "FENCED_INSTANCE_ID", false),
    (84, "ELECTION_NOT_NEEDED", false),
    (85, "NO_REASSIGNMENT_IN_PROGRESS", false),
    (86, "GROUP_SUBSCRIBED_TO_TOPIC", false),
    (87, "INVALID_RECORD", false),
    (88, "UNSTABLE_OFFSET_COMMIT", true),
    (89, "THROTTLING_QUOTA_EXCEEDED", true),
    (90, "PRODUCER_FENCED", false),
    (100, "UNKNOWN_TOPIC_ID", false),
    (103, "INCONSISTENT_TOPIC_ID", true),
    (106, "FETCH_SESSION_TOPIC_ID_ERROR", false),
    (114, "MISMATCHED_ENDPOINT_TYPE", false),
    (115, "UNSUPPORTED_ENDPOINT_TYPE", false),
];

/// The number's name.
pub fn name_of(error_code: i16) -> String {
    match TABLE.iter().find(|row| row.0 == error_code) {
        Some((_, name, _)) => (*name).to_owned(),
        None => format!("error {error_code}"),
    }
}

/// Whether the same request may work later.
pub fn is_retriable(error_code: i16) -> bool {
    TABLE.iter().any(|row| row.0 == error_code && row.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use head_kafka::wire::ErrorCode;

    #[test]
    fn every_number_that_our_broker_answers_has_the_protocols_name() {
        assert!(TABLE.iter().zip(TABLE.iter().skip(1)).all(|(a, b)| a.0 < b.0), "sorted");
        for code in ErrorCode::ALL.iter().filter(|code| **code != ErrorCode::None) {
            let letters = name_of(code.number()).replace('_', "").to_ascii_lowercase();
            assert_eq!(letters, format!("{code:?}").to_ascii_lowercase());
        }
    }

    #[test]
    fn what_is_not_there_names_what_is() {
        let error = |nearest| ClientError::NotFound { what: "topic", name: "ordrs".into(), nearest }.to_string();
        assert_eq!(error(Some("orders".into())), "there is no topic \"ordrs\"; did you mean \"orders\"?");
        assert_eq!(error(None), "there is no topic \"ordrs\"; `polylog topic list` shows those there are");
    }
}
