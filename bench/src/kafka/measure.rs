// SPDX-License-Identifier: Apache-2.0
//! One measured run: a client against a broker, with the CPU time of broker, client, everything else and the host taken before and
//! after.
//!
//! Owns: the figures of a run and the rule by which a run counts as disturbed. Must not know: how brokers are started.

use super::generator::{self, LoadOutcome, ProduceLoad};
use super::native_client::{ClientOutcome, NativeClient, Times};
use super::workload::{BATCH_BYTES, Client, Kind, LINGER_MS, Workload};
use crate::process::{self, MachineCpu};
use crate::results::RunFigures;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

/// A run is disturbed when others and the host took more than this part of the machine's time. Fixed before any run.
pub const DISTURBED_PART_MAX: f64 = 0.15;

/// A broker as a client sees it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: &'static str,
    pub durable_at_ack: &'static str,
    pub address: SocketAddr,
    pub pid: u32,
    /// For the topics of its runs.
    pub topic_settings: &'static [(&'static str, &'static str)],
}

/// Runs `workload` once with `records` records on the topic, which exists. `folder` lies on the disk that the broker writes to.
///
/// # Errors
/// A sentence: the client could not do it, or saw something missing.
pub fn run(
    workload: &Workload,
    records: u64,
    peer: &Peer,
    topic: &str,
    client: Option<&NativeClient>,
    folder: &Path,
    pair: u32,
) -> Result<RunFigures, String> {
    let failed = |error: std::io::Error| error.to_string();
    let own = std::process::id();
    let (broker_before, own_before) =
        (process::cpu_seconds(peer.pid).map_err(failed)?, process::cpu_seconds(own).map_err(failed)?);
    let written_before = process::device_written_bytes(folder).unwrap_or(0);
    let (machine_before, begin) = (MachineCpu::now().map_err(failed)?, Instant::now());

    let (name, outcome) = match workload.client {
        Client::Librdkafka => {
            let client = client.ok_or("the librdkafka client is not there")?;
            (format!("librdkafka {}", client.version), with_library(workload, records, peer, topic, client)?)
        }
        Client::RawWire { connections, batch_records } => {
            let outcome = raw(workload, records, peer, topic, connections, batch_records)?;
            let used = process::cpu_seconds(own).map_err(failed)? - own_before;
            let mut outcome = outcome;
            outcome.client_cpu_s = used;
            ("raw wire".to_owned(), outcome)
        }
    };

    let (wall, machine) = (begin.elapsed().as_secs_f64(), MachineCpu::now().map_err(failed)?);
    let broker_cpu_s = process::cpu_seconds(peer.pid).map_err(failed)? - broker_before;
    let steal_s = machine.steal_s - machine_before.steal_s;
    let busy_s = machine.busy_s - machine_before.busy_s - steal_s;
    let other_cpu_s = (busy_s - broker_cpu_s - outcome.client_cpu_s).max(0.0);
    rustix::fs::sync();
    let written = process::device_written_bytes(folder).unwrap_or(0).saturating_sub(written_before);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let millions = outcome.records as f64 / 1e6;
    let bytes = (outcome.records * workload.record_bytes) as f64;
    Ok(RunFigures {
        workload: workload.name.to_owned(),
        client: name,
        broker: peer.name.to_owned(),
        durable_at_ack: peer.durable_at_ack.to_owned(),
        pair,
        records: outcome.records,
        record_bytes: workload.record_bytes,
        seconds: outcome.seconds,
        records_per_s: outcome.records as f64 / outcome.seconds,
        mb_per_s: bytes / 1e6 / outcome.seconds,
        broker_cpu_s_per_million: broker_cpu_s / millions,
        client_cpu_s_per_million: outcome.client_cpu_s / millions,
        other_cpu_s,
        steal_s,
        rss_mb: process::resident_bytes(peer.pid).map_err(failed)? as f64 / 1e6,
        device_written_per_byte: written as f64 / bytes,
        end_to_end: outcome.end_to_end,
        ack: outcome.ack,
        disturbed: (other_cpu_s + steal_s) / (wall * cores) > DISTURBED_PART_MAX,
    })
}

fn with_library(
    workload: &Workload,
    records: u64,
    peer: &Peer,
    topic: &str,
    client: &NativeClient,
) -> Result<ClientOutcome, String> {
    let mut arguments = vec![
        format!("topic={topic}"),
        format!("partitions={}", workload.partitions),
        format!("bytes={}", workload.record_bytes),
    ];
    let mode = match workload.kind {
        Kind::Produce => {
            arguments.extend([
                format!("records={records}"),
                format!("linger_ms={LINGER_MS}"),
                format!("batch_bytes={BATCH_BYTES}"),
            ]);
            "produce"
        }
        Kind::Replay => {
            arguments.push(format!("records={records}"));
            "replay"
        }
        Kind::Latency { rate, seconds, warm_seconds } => {
            arguments.extend([
                format!("rate={rate}"),
                format!("seconds={seconds}"),
                format!("warm_seconds={warm_seconds}"),
                "linger_ms=0".to_owned(),
            ]);
            "latency"
        }
    };
    client.run(mode, peer.address, &arguments)
}

fn raw(
    workload: &Workload,
    records: u64,
    peer: &Peer,
    topic: &str,
    connections: u32,
    batch_records: u32,
) -> Result<ClientOutcome, String> {
    let load = ProduceLoad {
        topic: topic.to_owned(),
        partitions: workload.partitions,
        connections,
        in_flight_max: 5,
        batch_records,
        record_bytes: workload.record_bytes as usize,
        idempotent: true,
        records,
    };
    let outcome = match workload.kind {
        Kind::Produce => generator::produce(peer.address, &load),
        Kind::Replay => generator::replay(peer.address, topic, workload.partitions, connections),
        Kind::Latency { .. } => return Err("the raw generator keeps no rate".to_owned()),
    };
    let outcome = outcome.map_err(|error| format!("the raw generator ({}): {error}", workload.name))?;
    if outcome.records < records {
        return Err(format!("the raw generator ({}) saw {} of {records} records", workload.name, outcome.records));
    }
    Ok(client_outcome(&outcome))
}

/// The generator's outcome in the shape of the other client's.
pub fn client_outcome(outcome: &LoadOutcome) -> ClientOutcome {
    let ms = |part: f64| outcome.answer_us.value_at_quantile(part) as f64 / 1e3;
    ClientOutcome {
        records: outcome.records,
        failed: 0,
        missing: 0,
        seconds: outcome.seconds,
        client_cpu_s: 0.0,
        end_to_end: None,
        ack: Some(Times {
            count: outcome.answer_us.len(),
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p99_9_ms: ms(0.999),
            max_ms: outcome.answer_us.max() as f64 / 1e3,
        }),
    }
}
