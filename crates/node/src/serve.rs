// SPDX-License-Identifier: Apache-2.0
//! The life of a node: start, serve, stop.
//!
//! Owns: the order of both. Must not know: what the parts do.
//!
//! Start: bind rule -> open-file limit -> lock and identity -> HTTP (so that `/readyz` can speak) -> recovery of every shard ->
//! hello -> threads -> Kafka listeners -> ready line. Nothing is answered to a client before everything recovered is durable.
//!
//! Stop (SIGTERM, SIGINT): not ready -> no new connections -> what is under way is answered, for `shutdown.drain_ms` -> spill and
//! checkpoint -> log settled -> exit 0, within `STOP_MAX`. Whatever is not done by then, recovery does at the next start: a stop
//! that is cut short loses nothing.
//!
//! Failure (`failure.rs`): what is in flight has been failed by the kernel; its answers get `LAST_ANSWERS` to leave; exit 70.

use crate::accept::{Bound, Shared};
use crate::admission::Admission;
use crate::clock::Clock;
use crate::connection::Bounds;
use crate::failure::{self, Failure};
use crate::fetch_memory::FetchMemory;
use crate::http::{self, About, Pages};
use crate::node::{Node, Parts};
use crate::notify::Notify;
use crate::request_memory::RequestMemory;
use crate::settings::{Listener, Loaded, Settings};
use crate::shard_cell::Mail;
use crate::storage::{self, Storage, StorageSettings};
use crate::{jobs, machine, timers, volume, wal_thread};
use head_kafka::coordinator::GroupSettings;
use kernel::Shard;
use ops::health::Phase;
use ops::metrics::Limits;
use ops::{Health, Metrics};
use serde::Serialize;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A stop takes at most this long, checkpoint included.
const STOP_MAX: Duration = Duration::from_millis(4_500);
/// Kept of that for the log's last sync.
const LOG_STOP: Duration = Duration::from_millis(500);
/// How long answers may take to leave after a failure.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How often a stopping node looks whether it is done.
const STOP_LOOK: Duration = Duration::from_millis(5);
/// Open files kept for everything but Kafka connections.
const OTHER_FILES: u64 = 512;
const MIB: u64 = 1024 * 1024;

/// Serves until stopped; the process's exit code.
///
/// # Errors
/// Why the node cannot start.
pub fn run(loaded: &Loaded, ready_fd: Option<u32>) -> Result<u8, String> {
    let started = Instant::now();
    let settings = &loaded.settings;
    check_bind_rule(settings, &loaded.kafka_listeners)?;
    let notify = Arc::new(Notify::from_env());
    let open_files_max = machine::raise_open_files();
    let memory_bytes = machine::memory_limit_bytes();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(machine::processors())
        .thread_name("polylog-socket")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let _inside = runtime.enter();
    let mut signals = Signals::listen()?;

    let health = Arc::new(Health::default());
    let told = notify.clone();
    health.tell(move |phase| {
        // The other two are told with more to say.
        if matches!(phase, Phase::Starting { .. } | Phase::Failed { .. }) {
            told.status(&phase.to_string());
        }
    });
    let metrics = Arc::new(Metrics::default());
    let tail_bytes_max = settings.memory_tail_bytes_max.unwrap_or((memory_bytes / 8).clamp(4 * MIB, 64 * MIB));
    let read_ahead_bytes_max = settings.memory_read_ahead_bytes_max.unwrap_or((memory_bytes / 32).min(64 * MIB));
    let mut storage = Storage::open(&StorageSettings {
        mode: settings.storage.clone(),
        data_dir: settings.data_dir.clone(),
        shards: settings.shards.map(|shards| shards as u32),
        shards_default: (machine::processors() / 8).clamp(1, 8) as u32,
        tail_bytes_max,
        read_ahead_bytes_max,
        slot_bytes: settings.wal_slot_bytes,
        retention_check_ms: settings.retention_check_ms,
        producer_expiry_ms: settings.producer_expiry_ms,
        producers_max: settings.producers_max as u32,
        groups: group_settings(settings),
    })?;

    let clock = Clock::start();
    let template = head_settings(settings, &storage.cluster_id);
    let limits = Limits {
        tail_bytes_max: storage.shard_tail_bytes_max() * u64::from(storage.shard_count()),
        request_bytes_max: settings.memory_request_bytes_max.unwrap_or(memory_bytes / 8),
        fetch_bytes_max: settings.memory_fetch_bytes_max.unwrap_or(memory_bytes / 8),
        read_ahead_bytes_max,
    };
    let about = About {
        node_id: template.node_id,
        cluster_id: storage.cluster_id.clone(),
        started_at_ms: clock.now().wall_ms,
        started,
        storage: storage.mode().to_owned(),
        data_dir: (storage.mode() == "local").then(|| settings.data_dir.clone()),
        tail_bytes_max: storage.shard_tail_bytes_max(),
        limits,
    };
    let lag_series_max = settings.metrics_group_lag_series_max as usize;
    let pages = Arc::new(Pages::new(health.clone(), metrics.clone(), about, lag_series_max));
    let http_address = http::start(settings.http_bind, pages.clone())?;

    let recovered = storage.recover(&health, clock)?;
    let parts = Parts {
        clock,
        metrics: metrics.clone(),
        health: health.clone(),
        failure: Failure::new(health.clone()),
        runtime: runtime.handle().clone(),
    };
    let node = Node::new(parts, recovered.shards);
    let _ = pages.node.set(node.clone());
    let threads = Threads::start(&node, &storage, recovered.wals, settings.threads_cold_read as usize)?;
    timers::start(&node);
    if storage.mode() == "local" {
        volume::start(&runtime, settings.data_dir.clone(), template.volume.clone());
    }
    for cell in &node.shards {
        // What hello has decided.
        cell.drain(&node);
    }

    let connections_max = settings.kafka_connections_max.min(open_files_max.saturating_sub(OTHER_FILES).max(16));
    if connections_max < settings.kafka_connections_max {
        tracing::warn!(
            connections_max,
            open_files_max,
            "fewer connections than set: the limit on open files is too low"
        );
    }
    let shared = Arc::new(Shared {
        node: node.clone(),
        admission: Admission::new(connections_max as usize, settings.kafka_connections_per_address_max as usize),
        memory: RequestMemory::new(limits.request_bytes_max, metrics.clone()),
        fetch_memory: FetchMemory::new(limits.fetch_bytes_max, metrics),
        bounds: Bounds {
            output_bytes_max: settings.kafka_output_bytes_max as usize,
            write_stall_us: settings.kafka_write_stall_ms * 1000,
        },
    });
    let listeners = loaded
        .kafka_listeners
        .iter()
        .map(|listener| Bound::listen(listener, &template))
        .collect::<Result<Vec<Bound>, String>>()?;
    let _ = pages.listeners.set(listeners.iter().map(Bound::shape).collect());
    let report = Report::new(&listeners, http_address, &storage, node.shards.len(), started);
    let (stop, stopped) = watch::channel(false);
    for listener in listeners {
        runtime.spawn(listener.run(shared.clone(), stopped.clone()));
    }
    health.ready();
    report.log();
    if settings.log_format == "text" {
        report.print(settings);
    }
    if let Some(fd) = ready_fd {
        report.write_to(fd)?;
    }
    notify.ready(&report.line());

    let ending = runtime.block_on(signals.or_failure(&node));
    let _ = stop.send(true);
    let code = match ending {
        Ending::Asked(signal) => {
            let asked_at = Instant::now();
            tracing::info!(signal, "stopping");
            notify.stopping(&format!("stopping after {signal}"));
            let drain = Duration::from_millis(settings.shutdown_drain_ms);
            runtime.block_on(stop_gently(&node, drain, asked_at + STOP_MAX - LOG_STOP));
            threads.stop(&node, asked_at + STOP_MAX);
            // A log that failed on the way out must not look like a clean end.
            if node.failure.happened() { failure::EXIT_CODE } else { 0 }
        }
        Ending::Failed => {
            runtime.block_on(tokio::time::sleep(LAST_ANSWERS));
            failure::EXIT_CODE
        }
    };
    tracing::info!(code, "stopped");
    runtime.shutdown_background();
    Ok(code)
}

/// From other machines only clients that prove who they are, unless the operator says otherwise.
fn check_bind_rule(settings: &Settings, listeners: &[Listener]) -> Result<(), String> {
    if settings.insecure_allow_anonymous {
        return Ok(());
    }
    let named = listeners.iter().map(|listener| (format!("Kafka listener {:?}", listener.name), listener.bind));
    for (what, address) in named.chain([("HTTP".to_owned(), settings.http_bind)]) {
        if !address.ip().to_canonical().is_loopback() {
            return Err(format!(
                "{what} would listen on {address} for clients that nobody has to vouch for: bind to a loopback address, or give \
                 --insecure-allow-anonymous if the network itself keeps strangers out"
            ));
        }
    }
    Ok(())
}

fn group_settings(settings: &Settings) -> GroupSettings {
    GroupSettings {
        session_timeout_ms_min: settings.kafka_group_session_timeout_ms_min as u32,
        session_timeout_ms_max: settings.kafka_group_session_timeout_ms_max as u32,
        members_max: settings.kafka_group_members_max as u32,
        groups_max: settings.kafka_groups_max as u32,
        offsets_retention_ms: settings.kafka_offsets_retention_ms,
        offsets_check_ms: settings.kafka_offsets_check_ms,
        offset_metadata_bytes_max: settings.kafka_offset_metadata_bytes_max as u32,
        ..GroupSettings::default()
    }
}

fn head_settings(settings: &Settings, cluster_id: &str) -> head_kafka::Settings {
    head_kafka::Settings {
        cluster_id: Arc::from(cluster_id),
        default_partitions: settings.kafka_default_partitions as u32,
        auto_create_topics: settings.kafka_auto_create_topics,
        accept_any_replication_factor: settings.kafka_accept_any_replication_factor,
        request_bytes_max: settings.kafka_request_bytes_max as u32,
        inflight_bytes_max: settings.kafka_inflight_bytes_max as usize,
        inflight_requests_max: settings.kafka_inflight_requests_max as usize,
        fetch_bytes_max: settings.kafka_fetch_bytes_max as u32,
        fetch_session_partitions_max: settings.kafka_fetch_session_partitions_max as usize,
        request_bytes_per_s_min: settings.kafka_request_bytes_per_s_min as u32,
        request_grace_ms: settings.kafka_request_grace_ms as u32,
        idle_ms_max: settings.kafka_idle_ms_max,
        log_dir: log_dir(settings),
        broker_config: broker_config(settings),
        ..head_kafka::Settings::default()
    }
}

/// The data directory as clients are told it: whole, so that tools can compare.
fn log_dir(settings: &Settings) -> Arc<str> {
    match settings.storage.as_str() {
        "local" => {
            let dir = std::path::absolute(&settings.data_dir).unwrap_or_else(|_| settings.data_dir.clone());
            Arc::from(dir.to_string_lossy())
        }
        other => Arc::from(other),
    }
}

/// Kafka's names for what this node's settings decide and its head need not know.
fn broker_config(settings: &Settings) -> Arc<[(Arc<str>, Arc<str>)]> {
    let values: [(&str, u64); 11] = [
        ("group.initial.rebalance.delay.ms", 0),
        ("group.max.session.timeout.ms", settings.kafka_group_session_timeout_ms_max),
        ("group.max.size", settings.kafka_group_members_max),
        ("group.min.session.timeout.ms", settings.kafka_group_session_timeout_ms_min),
        ("log.retention.check.interval.ms", settings.retention_check_ms),
        ("max.connections", settings.kafka_connections_max),
        ("max.connections.per.ip", settings.kafka_connections_per_address_max),
        ("offset.metadata.max.bytes", settings.kafka_offset_metadata_bytes_max),
        ("offsets.retention.check.interval.ms", settings.kafka_offsets_check_ms),
        ("offsets.retention.minutes", settings.kafka_offsets_retention_ms / 60_000),
        ("producer.id.expiration.ms", settings.producer_expiry_ms),
    ];
    values.iter().map(|(name, value)| (Arc::from(*name), Arc::from(value.to_string()))).collect()
}

/// The threads beside the runtime's.
struct Threads {
    wal: JoinHandle<()>,
    background: JoinHandle<()>,
    cold_reads: Vec<JoinHandle<()>>,
}

impl Threads {
    fn start(
        node: &Arc<Node>,
        storage: &Storage,
        wals: Vec<storage::AnyWal>,
        cold_reads: usize,
    ) -> Result<Threads, String> {
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|error| format!("cannot start the thread {name}: {error}"))
        };
        let (for_wal, for_background) = (node.clone(), node.clone());
        let wal = spawn("polylog-wal", Box::new(move || guarded(&for_wal, "log", |node| wal_thread::run(node, wals))))?;
        let (mut blobs, disk) = (storage.blobs_for_writing(), storage.disk());
        let background = spawn(
            "polylog-spill",
            Box::new(move || {
                guarded(&for_background, "background", |node| jobs::run(node, &node.background, &mut *blobs, disk));
            }),
        )?;
        let mut readers = Vec::new();
        for number in 0..cold_reads {
            let (node, mut blobs) = (node.clone(), storage.blobs_for_reading());
            readers.push(spawn(
                &format!("polylog-read-{number}"),
                Box::new(move || {
                    guarded(&node, "cold read", |node| jobs::run(node, &node.cold_reads, &mut *blobs, None));
                }),
            )?);
        }
        Ok(Threads { wal, background, cold_reads: readers })
    }

    /// Lets them finish what they have, log last: spills may still append. What is not finished by the deadline is left: a
    /// half-written file is cleared away at the next start.
    fn stop(self, node: &Node, deadline: Instant) {
        node.background.stop();
        node.cold_reads.stop();
        let finished = |thread: &JoinHandle<()>| {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(STOP_LOOK);
            }
        };
        self.cold_reads.iter().chain([&self.background]).for_each(finished);
        node.wal.stop();
        finished(&self.wal);
    }
}

/// A thread that ends by a panic takes the node with it: half of it would go on without answering.
fn guarded(node: &Arc<Node>, name: &'static str, body: impl FnOnce(&Arc<Node>)) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(node)));
    if outcome.is_err() {
        node.failure.report(format!("a bug in the {name} thread: see the panic above"));
    }
}

enum Ending {
    Asked(&'static str),
    Failed,
}

/// The signals that ask for a stop. Listened for from the start, so that one that comes during recovery is obeyed after it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, String> {
        let wrong = |error: std::io::Error| format!("cannot listen for signals: {error}");
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).map_err(wrong)?,
            interrupt: signal(SignalKind::interrupt()).map_err(wrong)?,
        })
    }

    async fn or_failure(&mut self, node: &Node) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::Asked("SIGTERM"),
            _ = self.interrupt.recv() => Ending::Asked("SIGINT"),
            _why = node.failure.wait() => Ending::Failed,
        }
    }
}

async fn stop_gently(node: &Arc<Node>, drain: Duration, deadline: Instant) {
    node.health.stopping();
    node.holders.each(|outbox| outbox.ask_finish());
    let drained = until(Instant::now() + drain, || node.holders.count() == 0).await;
    if !drained {
        tracing::info!(connections = node.holders.count(), "closing connections that are not done");
        node.holders.each(|outbox| outbox.ask_close());
    }
    for cell in &node.shards {
        cell.send(node, Mail::Checkpoint);
    }
    let idle = || node.failure.happened() || node.shards.iter().all(|cell| cell.with(node, Shard::idle));
    if !until(deadline, idle).await {
        tracing::warn!("stopped before the checkpoint was written: the next start replays the log instead");
    }
}

/// Looks until `done` or the deadline; true when done.
async fn until(deadline: Instant, mut done: impl FnMut() -> bool) -> bool {
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(STOP_LOOK).await;
    }
}

/// What a started node says of itself.
#[derive(Serialize)]
struct Report {
    event: &'static str,
    pid: u32,
    version: &'static str,
    cluster_id: String,
    shards: usize,
    storage: String,
    kafka: Vec<ListenerReport>,
    http: SocketAddr,
    start_ms: u64,
    #[serde(skip)]
    local: Option<SocketAddr>,
}

#[derive(Serialize)]
struct ListenerReport {
    name: String,
    address: SocketAddr,
    advertised: String,
}

impl Report {
    fn new(listeners: &[Bound], http: SocketAddr, storage: &Storage, shards: usize, started: Instant) -> Report {
        Report {
            event: "ready",
            pid: std::process::id(),
            version: crate::VERSION,
            cluster_id: storage.cluster_id.clone(),
            shards,
            storage: storage.mode().to_owned(),
            kafka: listeners
                .iter()
                .map(|listener| ListenerReport {
                    name: listener.name.clone(),
                    address: listener.address,
                    advertised: listener.advertised(),
                })
                .collect(),
            http,
            start_ms: started.elapsed().as_millis() as u64,
            local: listeners.first().map(Bound::local_address),
        }
    }

    fn kafka_addresses(&self) -> String {
        let addresses: Vec<String> = self.kafka.iter().map(|listener| listener.address.to_string()).collect();
        addresses.join(",")
    }

    /// For a service manager.
    fn line(&self) -> String {
        format!("serving Kafka clients on {}, HTTP on {}", self.kafka_addresses(), self.http)
    }

    fn log(&self) {
        tracing::info!(
            kafka = self.kafka_addresses(),
            http = %self.http,
            cluster_id = self.cluster_id,
            storage = self.storage,
            shards = self.shards,
            start_ms = self.start_ms,
            "serving"
        );
    }

    fn print(&self, settings: &Settings) {
        let mut text = format!("Polylog {} serves.\n\n", self.version);
        let kept = match self.storage.as_str() {
            "memory" => "in memory only: all is lost at the end".to_owned(),
            _ => format!("{} (synced before anything is acknowledged)", settings.data_dir.display()),
        };
        text.push_str(&format!("  data   {kept}\n"));
        for listener in &self.kafka {
            text.push_str(&format!("  kafka  {} (clients are told: {})\n", listener.address, listener.advertised));
        }
        text.push_str(&format!("  http   http://{}/ (v1/node, v1/topics, v1/groups, metrics, readyz)\n", self.http));
        if let Some(address) = self.local {
            text.push_str(&format!(
                "\nTry it:\n\n  seq 100000 | kcat -P -b {address} -t demo\n  kcat -C -b {address} -t demo -o beginning -e -q | sha256sum\n  \
                 seq 100000 | sha256sum\n\n"
            ));
        }
        let mut out = std::io::stdout().lock();
        // Standard output may be closed; the node serves all the same.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// The descriptor was opened by whoever started the process; its name under `/proc` is the safe way to it.
    fn write_to(&self, fd: u32) -> Result<(), String> {
        let wrong =
            |error: &dyn std::fmt::Display| format!("cannot write the ready line to file descriptor {fd}: {error}");
        let mut line = serde_json::to_string(self).map_err(|error| wrong(&error))?;
        line.push('\n');
        std::fs::OpenOptions::new()
            .append(true)
            .open(format!("/proc/self/fd/{fd}"))
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|error| wrong(&error))
    }
}
