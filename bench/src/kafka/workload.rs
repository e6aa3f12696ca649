// SPDX-License-Identifier: Apache-2.0
//! What is measured beside Apache Kafka: names, sizes, clients.
//!
//! Owns: the list. A workload is data, so that another is another entry. Must not know: what is expected of it (`goals`).

use std::time::Duration;

/// Which client carries the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A process of its own over librdkafka: what users run.
    Librdkafka,
    /// The generator of this program: batches made before the run, so that a client's own cost does not hide the broker's.
    RawWire { connections: u32, batch_records: u32, partitions_a_request: i32 },
    /// The same with one record a request over many connections, carried by two threads.
    Crowd { connections: u32, in_flight_max: i32 },
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Produce,
    /// Reads what the produce run before it wrote.
    Replay,
    /// Goes on producing into the topic of the run before it, while somebody reads that from its start, the page cache emptied.
    BesideColdReader,
    /// At a fixed rate, linger 0, one producer and one consumer; a bare write-and-sync loop in the pauses.
    Latency {
        rate: u64,
        warm_seconds: u64,
    },
}

/// What the brokers are when the workload comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Both have been up and warm since the beginning.
    Together,
    /// Both fresh, with one topic that stays.
    Kept,
    /// One at a time, fresh for each run, its data removed after it.
    Alone,
}

/// How many records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    Records {
        quick: u64,
        full: u64,
    },
    /// This part of `--bulk-gb`.
    Bulk(f64),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub client: Client,
    pub kind: Kind,
    pub stage: Stage,
    pub partitions: i32,
    pub record_bytes: u64,
    pub size: Size,
    /// Measured for Apache Kafka with a sync before each ack too, in so many records.
    pub synced_peer_records: Option<u64>,
}

impl Workload {
    pub fn records(&self, quick: bool, bulk_gb: f64) -> u64 {
        match self.size {
            Size::Records { quick: records, .. } if quick => records,
            Size::Records { full, .. } => full,
            Size::Bulk(part) => (bulk_gb * part * 1e9 / self.record_bytes as f64) as u64,
        }
    }

    /// It uses the topic of the one before it.
    pub fn follows(&self) -> bool {
        matches!(self.kind, Kind::Replay | Kind::BesideColdReader)
    }
}

/// Limits of a producer batch, the same for both brokers.
pub const BATCH_BYTES: u64 = 128 << 10;
pub const LINGER_MS: u64 = 5;
/// Of a run at a fixed rate: so long for the broker, so long for the bare disk, in turns.
pub const SLICE: Duration = Duration::from_millis(500);

const PRODUCE: Workload = Workload {
    name: "",
    title: "",
    client: Client::Librdkafka,
    kind: Kind::Produce,
    stage: Stage::Together,
    partitions: 8,
    record_bytes: 1024,
    size: Size::Records { quick: 1_000_000, full: 10_000_000 },
    synced_peer_records: None,
};
const fn raw(batch_records: u32) -> Client {
    Client::RawWire { connections: 2, batch_records, partitions_a_request: 1 }
}
/// Records of 1 KB in the largest batch of 1 MiB; with 9 or 10 bytes around each and 61 before them it is 1,046,461 bytes.
const BATCH_1_MIB: u32 = 1_012;

/// In the order in which they run: a replay reads what the produce before it left.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "produce-1k-8p",
        title: "produce 1 KB, 8 partitions, acks=all idempotent, linger 5 ms, 128 KiB batches",
        synced_peer_records: Some(200_000),
        ..PRODUCE
    },
    Workload { name: "replay-1k-8p", title: "replay 1 KB, 8 partitions", kind: Kind::Replay, ..PRODUCE },
    Workload {
        name: "latency-5000-1k",
        title: "5,000/s of 1 KB, linger 0, 1 partition, end to end",
        kind: Kind::Latency { rate: 5_000, warm_seconds: 2 },
        partitions: 1,
        size: Size::Records { quick: 40_000, full: 110_000 },
        ..PRODUCE
    },
    Workload {
        name: "produce-1k-1p",
        title: "produce 1 KB, 1 partition, the same settings",
        partitions: 1,
        size: Size::Records { quick: 700_000, full: 4_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "replay-1k-1p",
        title: "replay 1 KB, 1 partition",
        kind: Kind::Replay,
        partitions: 1,
        size: Size::Records { quick: 700_000, full: 4_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "produce-100b-8p",
        title: "produce 100 B, 8 partitions, the same settings",
        record_bytes: 100,
        size: Size::Records { quick: 3_000_000, full: 20_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "crowd-1",
        title: "100 B unbatched, 8 partitions, 200 connections, 1 request in flight each, acks=all idempotent",
        client: Client::Crowd { connections: 200, in_flight_max: 1 },
        record_bytes: 100,
        size: Size::Records { quick: 100_000, full: 600_000 },
        synced_peer_records: Some(20_000),
        ..PRODUCE
    },
    Workload {
        name: "crowd-5",
        title: "the same, 5 requests in flight each",
        client: Client::Crowd { connections: 200, in_flight_max: 5 },
        record_bytes: 100,
        size: Size::Records { quick: 100_000, full: 600_000 },
        synced_peer_records: Some(20_000),
        ..PRODUCE
    },
    Workload {
        name: "bulk-16k",
        title: "1 KB in batches of 16 KiB, 8 partitions, 2 connections, 5 requests in flight",
        client: raw(15),
        size: Size::Records { quick: 400_000, full: 2_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "bulk-128k",
        title: "the same, batches of 128 KiB",
        client: raw(124),
        size: Size::Records { quick: 700_000, full: 3_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "raw-replay-1k-8p",
        title: "replay of it, 2 connections, checksums not looked at",
        client: raw(124),
        kind: Kind::Replay,
        size: Size::Records { quick: 700_000, full: 3_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "bulk-1m",
        title: "the same, batches of 1 MiB",
        client: raw(BATCH_1_MIB),
        size: Size::Records { quick: 700_000, full: 3_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "partitions-10k",
        title: "1 KB over 9,900 partitions (10,000 in one request Apache Kafka refuses), one record a batch, 100 partitions a request, 2 connections, 5 in flight",
        client: Client::RawWire { connections: 2, batch_records: 1, partitions_a_request: 100 },
        stage: Stage::Kept,
        // Apache Kafka's controller makes at most 10,000 records of one request, the topic's own among them.
        partitions: 9_900,
        size: Size::Records { quick: 200_000, full: 1_000_000 },
        ..PRODUCE
    },
    Workload {
        name: "bulk",
        title: "bulk: 1 MiB batches without a pause, 8 partitions, 2 connections, 5 requests in flight",
        client: raw(BATCH_1_MIB),
        stage: Stage::Alone,
        size: Size::Bulk(1.0),
        ..PRODUCE
    },
    Workload {
        name: "bulk-cold-reader",
        title: "bulk goes on beside a reader of its beginning, page cache emptied",
        client: raw(BATCH_1_MIB),
        kind: Kind::BesideColdReader,
        stage: Stage::Alone,
        size: Size::Bulk(0.3),
        ..PRODUCE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_follows_the_produce_that_it_reads() {
        assert!(!WORKLOADS[0].follows());
        for pair in WORKLOADS.windows(2) {
            if pair[1].follows() {
                assert_eq!(pair[0].kind, Kind::Produce);
                assert_eq!(pair[0].stage, pair[1].stage);
                assert_eq!((pair[0].partitions, pair[0].record_bytes), (pair[1].partitions, pair[1].record_bytes));
            }
            if pair[1].kind == Kind::Replay {
                assert_eq!(pair[0].size, pair[1].size);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..index].iter().all(|other| other.name != workload.name), "{}", workload.name);
        }
    }

    #[test]
    fn the_largest_batch_is_one_that_every_broker_takes() {
        let batch = crate::kafka::generator::Template::new(BATCH_1_MIB, 1024);
        assert!((1_040_000..1 << 20).contains(&batch.bytes().len()), "{}", batch.bytes().len());
    }
}
