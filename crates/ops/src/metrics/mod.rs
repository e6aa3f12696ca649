// SPDX-License-Identifier: Apache-2.0
//! The node's counters, and what else is looked at for `/metrics`.
//!
//! Owns: what is counted (`text.rs`: under which name, in which unit). Must not know: who counts it.
//! Hot paths add to an atomic each, relaxed; shards keep their own figures and are asked at a scrape, and so is whatever is a level
//! ([`Levels`]). The page of each figure's meaning is `docs/user/metrics.md`; a test holds it to the text.

mod text;

use crate::histogram::Histogram;
use kernel::shard::ShardFigures;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Api numbers with figures of their own; the head announces fewer. What is beyond is not counted.
const APIS_MAX: usize = 128;

/// Error codes with a counter of their own, starting at `ERROR_CODE_FIRST`; a code beyond them is counted as the last one.
const ERROR_CODES: usize = 160;
/// The lowest wire code: "unknown server error".
const ERROR_CODE_FIRST: i16 = -1;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the level.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Raises the level and returns the new one.
    pub fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }

    /// Lowers the level.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Somebody's part of the level was `from` and is `to`.
    pub fn change(&self, from: u64, to: u64) {
        if to > from {
            self.add(to - from);
        } else {
            self.sub(from - to);
        }
    }

    /// The level now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Kafka = 0,
    Http = 1,
}

const PROTOCOLS: [(Protocol, &str); 2] = [(Protocol::Kafka, "kafka"), (Protocol::Http, "http")];

/// Why a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it, or the node stopped.
    Done = 0,
    /// The socket failed.
    Lost = 1,
    /// Closed by the node: what came was not the protocol, came too slowly or not at all, or answers were not taken.
    Fault = 2,
    /// Closed by the node to make room: it had never made a request.
    Evicted = 3,
}

const CLOSE_REASONS: [(CloseReason, &str); 4] = [
    (CloseReason::Done, "done"),
    (CloseReason::Lost, "lost"),
    (CloseReason::Fault, "fault"),
    (CloseReason::Evicted, "evicted"),
];

/// What the background thread makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    Segment = 0,
    Checkpoint = 1,
    /// A step of a merge of segments.
    Merge = 2,
}

const MAKINGS: [(Making, &str); 3] =
    [(Making::Segment, "segment"), (Making::Checkpoint, "checkpoint"), (Making::Merge, "merge")];

/// Figures of one kind of background work.
#[derive(Debug, Default)]
pub struct Made {
    /// Sorting, packing, checksums.
    pub build: Histogram,
    /// Writing and syncing.
    pub put: Histogram,
    pub put_bytes: Counter,
    pub put_failures: Counter,
    /// 1 while such a piece of work is being done.
    pub running: Gauge,
}

/// Figures of one api of a head.
#[derive(Debug)]
struct ApiFigures {
    name: &'static str,
    duration: Histogram,
    by_error_code: [AtomicU64; ERROR_CODES],
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    pub connections: Gauge,
    pub connections_accepted: Counter,
    /// At a bound on connections, or while out of file descriptors.
    pub connections_refused: Counter,
    /// Half-open connections asked to close to make room for new ones.
    pub connections_evicted: Counter,
    pub connection_panics: Counter,
    pub accept_failures: Counter,
    closed: [Counter; CLOSE_REASONS.len()],
    received: [Counter; PROTOCOLS.len()],
    sent: [Counter; PROTOCOLS.len()],
    /// Bytes of requests that are arriving, held for connections now.
    pub input: Gauge,
    /// The same of answers that are leaving.
    pub output: Gauge,
    /// Records being read for consumers, or in answers that are not taken yet.
    pub fetch_memory: Gauge,
    /// Times a connection had to wait because the request memory was used up.
    pub request_memory_waits: Counter,
    /// The same of the fetch memory.
    pub fetch_memory_waits: Counter,
    /// From the start of a write to the log until it is synced.
    pub wal_flush: Histogram,
    /// From a frame's hand-over to the log until it is known to be durable.
    pub wal_append: Histogram,
    pub wal_frames: Counter,
    pub wal_written: Counter,
    /// From asking shards for records until all asked for are there, from memory or disk.
    pub fetch_read: Histogram,
    /// One read of stored bytes from the medium.
    pub blob_read: Histogram,
    pub blob_read_bytes: Counter,
    pub blob_read_failures: Counter,
    made: [Made; MAKINGS.len()],
    /// How long a shard was held by one drain.
    pub shard_drain: Histogram,
    pub shard_handovers: Counter,
    scrapes: Counter,
    apis: [OnceLock<ApiFigures>; APIS_MAX],
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_evicted: Counter::default(),
            connection_panics: Counter::default(),
            accept_failures: Counter::default(),
            closed: Default::default(),
            received: Default::default(),
            sent: Default::default(),
            input: Gauge::default(),
            output: Gauge::default(),
            fetch_memory: Gauge::default(),
            request_memory_waits: Counter::default(),
            fetch_memory_waits: Counter::default(),
            wal_flush: Histogram::default(),
            wal_append: Histogram::default(),
            wal_frames: Counter::default(),
            wal_written: Counter::default(),
            fetch_read: Histogram::default(),
            blob_read: Histogram::default(),
            blob_read_bytes: Counter::default(),
            blob_read_failures: Counter::default(),
            made: Default::default(),
            shard_drain: Histogram::default(),
            shard_handovers: Counter::default(),
            scrapes: Counter::default(),
            apis: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

/// What is looked at when the page is asked for, because it is a level or belongs to others.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    pub version: &'static str,
    /// Seconds since 1970.
    pub started_at_s: u64,
    /// In the order of their numbers.
    pub shards: Vec<ShardFigures>,
    pub mailbox_bytes: u64,
    pub resident_bytes: Option<u64>,
    pub limits: Limits,
    pub disk: Option<DiskLevels>,
    pub groups: Option<GroupLevels>,
}

/// What memory may at most be held for something, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub tail_bytes_max: u64,
    pub request_bytes_max: u64,
    pub fetch_bytes_max: u64,
    pub read_ahead_bytes_max: u64,
}

/// The data directory and its file system, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskLevels {
    pub used_bytes: u64,
    pub disk_bytes: u64,
    pub free_bytes: u64,
}

/// Consumer groups, as of `age_s` seconds ago.
#[derive(Clone, Debug, Default)]
pub struct GroupLevels {
    /// State in the words of the protocol, and how many groups are in it.
    pub by_state: Vec<(String, u64)>,
    pub lags: Vec<GroupLag>,
    /// Pairs of group and topic that are not in `lags`, because there are too many or their names are too long.
    pub left_out: u64,
    /// The largest lag of any group on any topic, left out or not.
    pub lag_max_records: u64,
    pub age_s: u64,
}

/// How far a group is behind on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    pub group: String,
    pub topic: String,
    pub records: u64,
}

impl Metrics {
    /// Bytes that came from clients.
    pub fn received(&self, protocol: Protocol) -> &Counter {
        &self.received[protocol as usize]
    }

    /// Bytes that went to them.
    pub fn sent(&self, protocol: Protocol) -> &Counter {
        &self.sent[protocol as usize]
    }

    /// A client's connection has ended.
    pub fn closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
    }

    /// Background work of one kind.
    pub fn made(&self, what: Making) -> &Made {
        &self.made[what as usize]
    }

    /// Counts one answered request: the head's number and name of the api, its first error code, and the time from the request's
    /// arrival until its answer was queued.
    pub fn served(&self, api: i16, name: &'static str, error_code: i16, took_us: u64) {
        let Some(slot) = usize::try_from(api).ok().and_then(|api| self.apis.get(api)) else { return };
        let figures = slot.get_or_init(|| ApiFigures {
            name,
            duration: Histogram::default(),
            by_error_code: std::array::from_fn(|_| AtomicU64::new(0)),
        });
        figures.duration.add_us(took_us);
        let index = i32::from(error_code) - i32::from(ERROR_CODE_FIRST);
        let index = usize::try_from(index).unwrap_or(0).min(ERROR_CODES - 1);
        figures.by_error_code[index].fetch_add(1, Ordering::Relaxed);
    }

    /// The text for a scrape.
    ///
    /// # Errors
    /// The library's, which a `String` never gives.
    pub fn text(self: &Arc<Metrics>, levels: Levels) -> Result<String, fmt::Error> {
        self.scrapes.add(1);
        text::write(self.clone(), levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// `cargo test --release -p ops -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn what_counting_adds_to_a_produce() {
        const EACH: u64 = 2_000_000;
        for threads in [1, 2, 4] {
            let metrics = Metrics::default();
            let began = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for number in 0..EACH {
                            // All that is counted for one request with one batch, though the log's part is shared by many.
                            metrics.received(Protocol::Kafka).add(1_000);
                            metrics.shard_drain.add_us(number % 64);
                            metrics.wal_frames.add(1);
                            metrics.wal_written.add(1_000);
                            metrics.wal_flush.add_us(number % 512);
                            metrics.wal_append.add_us(number % 512);
                            metrics.shard_drain.add_us(number % 64);
                            metrics.served(0, "Produce", 0, number % 1_024);
                            metrics.sent(Protocol::Kafka).add(60);
                        }
                    });
                }
            });
            let ns = began.elapsed().as_nanos() as u64 / EACH;
            println!("{threads} threads: {ns} ns for each produce of one of them");
        }
    }
}
