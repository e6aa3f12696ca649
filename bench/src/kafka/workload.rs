// SPDX-License-Identifier: Apache-2.0
//! What is measured beside Apache Kafka: names, sizes, clients.
//!
//! Owns: the list. A workload is data, so that another is another entry.

/// Which client carries the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A process of its own over librdkafka: what users run.
    Librdkafka,
    /// The generator of this program: batches made before the run, so that a client's own cost does not hide the broker's.
    RawWire { connections: u32, batch_records: u32 },
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Produce,
    /// Reads what the produce run before it wrote.
    Replay,
    /// At a fixed rate, linger 0, one producer and one consumer.
    Latency {
        rate: u64,
        seconds: u64,
        warm_seconds: u64,
    },
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub client: Client,
    pub kind: Kind,
    pub partitions: i32,
    pub record_bytes: u64,
    /// Of a quick run; a full one has [`FULL_FACTOR`] times as many.
    pub records: u64,
    /// Measured for Apache Kafka with a sync before each ack too, in fewer records.
    pub synced_peer_records: Option<u64>,
}

/// How much longer a full run is than a quick one.
pub const FULL_FACTOR: u64 = 8;

/// Limits of a producer batch, the same for both brokers.
pub const BATCH_BYTES: u64 = 128 << 10;
pub const LINGER_MS: u64 = 5;

/// In the order in which they run: a replay reads what the produce before it left.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "produce-1k-8p",
        title: "produce 1 KB, 8 partitions, acks=all idempotent, linger 5 ms, 128 KiB batches",
        client: Client::Librdkafka,
        kind: Kind::Produce,
        partitions: 8,
        record_bytes: 1024,
        records: 1_000_000,
        synced_peer_records: Some(200_000),
    },
    Workload {
        name: "replay-1k-8p",
        title: "replay 1 KB, 8 partitions",
        client: Client::Librdkafka,
        kind: Kind::Replay,
        partitions: 8,
        record_bytes: 1024,
        records: 1_000_000,
        synced_peer_records: None,
    },
    Workload {
        name: "latency-5000-1k",
        title: "5,000/s of 1 KB, linger 0, 1 partition, end to end",
        client: Client::Librdkafka,
        kind: Kind::Latency { rate: 5_000, seconds: 8, warm_seconds: 2 },
        partitions: 1,
        record_bytes: 1024,
        records: 50_000,
        synced_peer_records: None,
    },
    Workload {
        name: "produce-1k-1p",
        title: "produce 1 KB, 1 partition, the same settings",
        client: Client::Librdkafka,
        kind: Kind::Produce,
        partitions: 1,
        record_bytes: 1024,
        records: 700_000,
        synced_peer_records: None,
    },
    Workload {
        name: "replay-1k-1p",
        title: "replay 1 KB, 1 partition",
        client: Client::Librdkafka,
        kind: Kind::Replay,
        partitions: 1,
        record_bytes: 1024,
        records: 700_000,
        synced_peer_records: None,
    },
    Workload {
        name: "produce-100b-8p",
        title: "produce 100 B, 8 partitions, the same settings",
        client: Client::Librdkafka,
        kind: Kind::Produce,
        partitions: 8,
        record_bytes: 100,
        records: 4_000_000,
        synced_peer_records: None,
    },
    Workload {
        name: "raw-produce-1k-8p",
        title: "produce 1 KB, 8 partitions, 2 connections, 5 requests of 127 KB in flight, acks=all idempotent",
        client: Client::RawWire { connections: 2, batch_records: 124 },
        kind: Kind::Produce,
        partitions: 8,
        record_bytes: 1024,
        records: 1_500_000,
        synced_peer_records: None,
    },
    Workload {
        name: "raw-replay-1k-8p",
        title: "replay 1 KB, 8 partitions, 2 connections",
        client: Client::RawWire { connections: 2, batch_records: 124 },
        kind: Kind::Replay,
        partitions: 8,
        record_bytes: 1024,
        records: 1_500_000,
        synced_peer_records: None,
    },
    Workload {
        name: "raw-produce-small-8p",
        title: "produce 100 B unbatched, 8 partitions, 16 connections, 5 requests in flight, acks=all idempotent",
        client: Client::RawWire { connections: 16, batch_records: 1 },
        kind: Kind::Produce,
        partitions: 8,
        record_bytes: 100,
        records: 150_000,
        synced_peer_records: Some(20_000),
    },
    Workload {
        name: "latency-1000-1k",
        title: "1,000/s of 1 KB, linger 0, 1 partition, end to end",
        client: Client::Librdkafka,
        kind: Kind::Latency { rate: 1_000, seconds: 6, warm_seconds: 2 },
        partitions: 1,
        record_bytes: 1024,
        records: 8_000,
        synced_peer_records: Some(8_000),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_follows_the_produce_that_it_reads() {
        for pair in WORKLOADS.windows(2) {
            if pair[1].kind == Kind::Replay {
                assert_eq!(pair[0].kind, Kind::Produce);
                assert_eq!(
                    (pair[0].records, pair[0].partitions, pair[0].record_bytes),
                    (pair[1].records, pair[1].partitions, pair[1].record_bytes)
                );
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, workload) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..index].iter().all(|other| other.name != workload.name), "{}", workload.name);
        }
    }
}
