// SPDX-License-Identifier: Apache-2.0
//! The Kafka head: speaks the protocol of Apache Kafka 4.3.1's client listener.
//!
//! Spoken: what stands in `ApiKey::ALL` (`wire/api_key.rs`), each kind in every version that Apache Kafka 4.3.1 announces: producing and
//! fetching, topics and their settings, consumer groups of the classic protocol. The error numbers are in `errors.rs`, an overview is in
//! `docs/internals/kafka-head.md`.
//! Not spoken, and not announced: transactions, share groups, groups of the protocol of KIP-848, ACLs, SASL. Message sets (record formats
//! 0 and 1) are refused.
//!
//! Owns: one connection's machine ([`session::Session`]) and the machine across connections ([`coordinator`]). Must not know: sockets,
//! threads, clocks, random sources, other heads.

mod config;
pub mod coordinator;
mod errors;
mod fetch_session;
mod map;
mod random;
pub mod session;
mod verbs;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// What a listener tells its clients, and the bounds of its connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// 22 characters, the same for the life of the data.
    pub cluster_id: Arc<str>,
    pub node_id: i32,
    /// Where clients of this listener should connect.
    pub advertised_host: Arc<str>,
    pub advertised_port: u16,
    /// Partitions of a topic whose maker did not say.
    pub default_partitions: u32,
    /// Metadata makes missing topics, where the client allows it.
    pub auto_create_topics: bool,
    /// Replication factors other than 1 and -1 are taken (and mean 1).
    pub accept_any_replication_factor: bool,
    /// Largest request.
    pub request_bytes_max: u32,
    /// Requests of one connection that are under way at once, in bytes and in number: beyond, no more is read from it.
    pub inflight_bytes_max: usize,
    pub inflight_requests_max: usize,
    /// A fetch answers with at most this much, whatever the client would take (the first batch always fits).
    pub fetch_bytes_max: u32,
    /// Incremental fetch sessions and partitions remembered for one connection.
    pub fetch_session_partitions_max: usize,
    /// A request that has begun must arrive at this pace at least, after `request_grace_ms`.
    pub request_bytes_per_s_min: u32,
    pub request_grace_ms: u32,
    /// A connection without any request for this long is closed.
    pub idle_ms_max: u64,
    /// Where records are kept, as clients are told; and the volume that it stands on.
    pub log_dir: Arc<str>,
    pub volume: Arc<Volume>,
    /// The broker's settings that the driver knows better than this head, by the protocol's names.
    pub broker_config: Arc<[(Arc<str>, Arc<str>)]>,
}

/// The size of the volume that records are kept on, told by the driver as often as it likes. Below 0: not known.
#[derive(Debug)]
pub struct Volume {
    pub total_bytes: AtomicI64,
    pub usable_bytes: AtomicI64,
}

impl Default for Volume {
    fn default() -> Volume {
        Volume { total_bytes: AtomicI64::new(-1), usable_bytes: AtomicI64::new(-1) }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cluster_id: Arc::from("AAAAAAAAAAAAAAAAAAAAAA"),
            node_id: 0,
            advertised_host: Arc::from("127.0.0.1"),
            advertised_port: 9092,
            default_partitions: 1,
            auto_create_topics: true,
            accept_any_replication_factor: false,
            request_bytes_max: 100 * 1024 * 1024,
            inflight_bytes_max: 8 * 1024 * 1024,
            inflight_requests_max: 64,
            fetch_bytes_max: 55 * 1024 * 1024,
            fetch_session_partitions_max: 100_000,
            request_bytes_per_s_min: 1024,
            request_grace_ms: 30_000,
            idle_ms_max: 600_000,
            log_dir: Arc::from("/polylog-data"),
            volume: Arc::default(),
            broker_config: Arc::from([]),
        }
    }
}
