// SPDX-License-Identifier: Apache-2.0
//! One measured run: a client against a broker, with the CPU time of broker, client, everything else and the host taken before and
//! after.
//!
//! Owns: the figures of a run and the rule by which a run counts as disturbed. Must not know: how brokers are started.

use super::bare::{self, BareOutcome, Pace};
use super::generator::{self, LoadOutcome, ProduceLoad};
use super::native_client::{ClientOutcome, NativeClient, Times};
use super::workload::{BATCH_BYTES, Client, Kind, LINGER_MS, SLICE, Workload};
use super::{PATIENCE, crowd};
use crate::process::{self, MachineCpu};
use crate::results::RunFigures;
use crate::wire::{Connection, LATEST, WireError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A client at a fixed rate needs this long until its consumer stands at the end of the topic, on a busy machine too.
const PREPARES: Duration = Duration::from_secs(5);

/// A run is disturbed when others and the host took more than this part of the machine's time. Fixed before any run.
pub const DISTURBED_PART_MAX: f64 = 0.15;

/// A broker as a client sees it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: &'static str,
    pub durable_at_ack: &'static str,
    pub address: SocketAddr,
    pub pid: u32,
    pub data_dir: PathBuf,
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
    let partitions = workload.partitions;
    let stored_before = stored(peer.address, topic, partitions).map_err(|error| error.to_string())?;
    if workload.kind == Kind::BesideColdReader {
        process::forget_pages(&peer.data_dir).map_err(failed)?;
    }
    let (broker_before, own_before) =
        (process::cpu_seconds(peer.pid).map_err(failed)?, process::cpu_seconds(own).map_err(failed)?);
    let written_before = process::device_written_bytes(folder).unwrap_or(0);
    let process_written_before = process::written_bytes(peer.pid).ok();
    let (machine_before, begin) = (MachineCpu::now().map_err(failed)?, Instant::now());

    let mut beside = Beside::default();
    let (name, mut outcome) = match workload.client {
        Client::Librdkafka => {
            let client = client.ok_or("the librdkafka client is not there")?;
            let outcome = with_library(workload, records, peer, topic, client, folder, &mut beside)?;
            (format!("librdkafka {}", client.version), outcome)
        }
        Client::RawWire { .. } | Client::Crowd { .. } => {
            ("raw wire".to_owned(), raw(workload, records, peer, topic, &mut beside)?)
        }
    };
    let own_cpu_s = process::cpu_seconds(own).map_err(failed)? - own_before;
    // The bare loop is nobody's client, but it is known and thus no disturbance.
    let known_cpu_s = outcome.client_cpu_s + own_cpu_s;
    if workload.client != Client::Librdkafka {
        outcome.client_cpu_s = own_cpu_s;
    }

    let (wall, machine) = (begin.elapsed().as_secs_f64(), MachineCpu::now().map_err(failed)?);
    let broker_cpu_s = process::cpu_seconds(peer.pid).map_err(failed)? - broker_before;
    let steal_s = machine.steal_s - machine_before.steal_s;
    let busy_s = machine.busy_s - machine_before.busy_s - steal_s;
    let other_cpu_s = (busy_s - broker_cpu_s - known_cpu_s).max(0.0);
    rustix::fs::sync();
    let written = process::device_written_bytes(folder).unwrap_or(0).saturating_sub(written_before);
    let process_written = process::written_bytes(peer.pid).ok().zip(process_written_before);
    let stored = stored(peer.address, topic, partitions).map_err(|error| error.to_string())? - stored_before;
    let wanted = if workload.kind == Kind::Replay { 0 } else { outcome.records };
    if stored != wanted || outcome.records < records {
        return Err(format!("{stored} records stored, {} acknowledged or read, of {records}", outcome.records));
    }
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
        process_written_per_byte: process_written.map(|(after, before)| (after - before) as f64 / bytes),
        cold_mb_per_s: beside.cold_bytes.map(|count| count as f64 / 1e6 / outcome.seconds),
        stalls: beside.bare.as_ref().map_or(Vec::new(), |bare| bare::stalls(&outcome, bare, SLICE)),
        bare_sync: beside.bare.map(|bare| bare.times),
        disturbed: (other_cpu_s + steal_s) / (wall * cores) > DISTURBED_PART_MAX,
    })
}

/// What went on beside the client.
#[derive(Default)]
struct Beside {
    bare: Option<BareOutcome>,
    cold_bytes: Option<u64>,
}

/// Records in a topic, by the ends of its partitions.
fn stored(address: SocketAddr, topic: &str, partitions: i32) -> Result<u64, WireError> {
    let mut connection = Connection::open(address, PATIENCE)?;
    let mut count = 0;
    for partition in 0..partitions {
        count += connection.list_offset(topic, partition, LATEST)?.0.unsigned_abs();
    }
    Ok(count)
}

fn with_library(
    workload: &Workload,
    records: u64,
    peer: &Peer,
    topic: &str,
    client: &NativeClient,
    folder: &Path,
    beside: &mut Beside,
) -> Result<ClientOutcome, String> {
    let mut arguments = vec![
        format!("topic={topic}"),
        format!("partitions={}", workload.partitions),
        format!("bytes={}", workload.record_bytes),
    ];
    match workload.kind {
        Kind::Produce => {
            arguments.extend([
                format!("records={records}"),
                format!("linger_ms={LINGER_MS}"),
                format!("batch_bytes={BATCH_BYTES}"),
            ]);
            client.run("produce", peer.address, &arguments)
        }
        Kind::Replay => {
            arguments.push(format!("records={records}"));
            client.run("replay", peer.address, &arguments)
        }
        Kind::BesideColdReader => Err("only the raw generator works beside a reader".to_owned()),
        Kind::Latency { rate, warm_seconds } => {
            let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let begin = Instant::now() + PREPARES;
            let begin_ns = (clock.tv_sec as u64 + PREPARES.as_secs()) * 1_000_000_000 + clock.tv_nsec as u64;
            arguments.extend([
                format!("rate={rate}"),
                format!("seconds={}", (records / rate).saturating_sub(warm_seconds)),
                format!("warm_seconds={warm_seconds}"),
                "linger_ms=0".to_owned(),
                format!("begin_ns={begin_ns}"),
                format!("slice_ms={}", SLICE.as_millis()),
            ]);
            let pace = Pace { begin, slice: SLICE, rate, warm_count: rate * warm_seconds, count: records };
            let (outcome, bare) = thread::scope(|scope| {
                let bare = scope.spawn(|| bare::run(folder, pace));
                (client.run("latency", peer.address, &arguments), bare.join().expect("the bare loop does not panic"))
            });
            beside.bare = Some(bare.map_err(|error| format!("the bare loop: {error}"))?);
            outcome
        }
    }
}

fn raw(
    workload: &Workload,
    records: u64,
    peer: &Peer,
    topic: &str,
    beside: &mut Beside,
) -> Result<ClientOutcome, String> {
    let mut load = ProduceLoad {
        topic: topic.to_owned(),
        partitions: workload.partitions,
        connections: 1,
        in_flight_max: 5,
        batch_records: 1,
        partitions_a_request: 1,
        record_bytes: workload.record_bytes as usize,
        idempotent: true,
        records,
    };
    match workload.client {
        Client::Librdkafka => return Err("it has a client of its own".to_owned()),
        Client::RawWire { connections, batch_records, partitions_a_request } => {
            (load.connections, load.batch_records) = (connections, batch_records);
            load.partitions_a_request = partitions_a_request;
        }
        Client::Crowd { connections, in_flight_max } => {
            (load.connections, load.in_flight_max) = (connections, in_flight_max);
        }
    }
    let is_crowd = matches!(workload.client, Client::Crowd { .. });
    let outcome = match workload.kind {
        Kind::Produce if is_crowd => crowd::produce(peer.address, &load),
        Kind::Produce => generator::produce(peer.address, &load),
        Kind::Replay => generator::replay(peer.address, topic, workload.partitions, load.connections),
        Kind::BesideColdReader => {
            let ended = AtomicBool::new(false);
            thread::scope(|scope| {
                let reader = scope.spawn(|| generator::read_until(peer.address, topic, workload.partitions, &ended));
                let outcome = generator::produce(peer.address, &load);
                ended.store(true, Ordering::Relaxed);
                let read = reader.join().expect("the reader does not panic")?;
                beside.cold_bytes = Some(read);
                outcome
            })
        }
        Kind::Latency { .. } => return Err("the raw generator keeps no rate".to_owned()),
    };
    let outcome = outcome.map_err(|error| format!("the raw generator ({}): {error}", workload.name))?;
    if beside.cold_bytes == Some(0) {
        return Err("the reader beside the producers read nothing".to_owned());
    }
    Ok(client_outcome(&outcome))
}

/// The generator's outcome in the shape of the other client's.
pub fn client_outcome(outcome: &LoadOutcome) -> ClientOutcome {
    let ms = |part: f64| outcome.answer_us.value_at_quantile(part) as f64 / 1e3;
    ClientOutcome {
        records: outcome.records,
        seconds: outcome.seconds,
        ack: Some(Times {
            count: outcome.answer_us.len(),
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p99_9_ms: ms(0.999),
            max_ms: outcome.answer_us.max() as f64 / 1e3,
        }),
        ..ClientOutcome::default()
    }
}
