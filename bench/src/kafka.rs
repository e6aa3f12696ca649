// SPDX-License-Identifier: Apache-2.0
//! Polylog beside Apache Kafka: the same clients, the same limits, the same machine, interleaved pairs in one run.
//!
//! Owns: the order of things. Must not know: how a figure is taken (`measure`), what is run (`workload`), how it is shown (`table`).
//!
//! Polylog always runs on its default settings, so its acknowledgements mean "on disk". Apache Kafka's mean "in the page cache" on
//! its defaults; where the table says "synced" the topic has `flush.messages=1`, which makes the two mean the same.

pub mod apache;
pub mod generator;
pub mod measure;
pub mod native_client;
pub mod table;
pub mod workload;

use crate::broker::{Broker, BrokerPlan};
use crate::process;
use crate::results::{self, Line, Results, RunFigures, StartFigures};
use crate::wire::{Connection, LATEST, WireError};
use apache::ApacheKafka;
use measure::Peer;
use native_client::NativeClient;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use workload::{Client, FULL_FACTOR, Kind, WORKLOADS, Workload};

const PATIENCE: Duration = Duration::from_secs(60);
/// A quick run begins no further pair after this, so that the whole ends within ten minutes.
const QUICK_TIME_MAX: Duration = Duration::from_secs(8 * 60);
/// Pairs of a workload; a full run takes as many again where the spread of either side passes [`SPREAD_MAX`].
const PAIRS: u32 = 3;
const SPREAD_MAX: f64 = 0.15;

pub const POLYLOG: &str = "Polylog";
pub const APACHE: &str = "Apache Kafka";
pub const APACHE_SYNCED: &str = "Apache Kafka, synced";

/// What to do.
pub struct KafkaPlan {
    pub quick: bool,
    /// Only workloads whose names contain one of these; all when empty.
    pub only: Vec<String>,
    pub root: PathBuf,
    pub program: PathBuf,
    /// Without the peer: for a look at Polylog alone. Nothing is written.
    pub alone: bool,
    /// Without Polylog: proves the clients against the reference. Nothing is written.
    pub peer_only: bool,
}

struct Bench {
    plan: KafkaPlan,
    begin: Instant,
    results: Option<Results>,
    client: Option<NativeClient>,
    polylog: Option<Peer>,
    apache: Option<Peer>,
    runs: Vec<RunFigures>,
    topics: u32,
}

/// Runs everything and writes results and table.
///
/// # Errors
/// A sentence: a broker or a client failed.
pub fn run(plan: KafkaPlan) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let folder = plan.root.join("target").join("bench");
    let _ = fs::remove_dir_all(folder.join("data"));
    fs::create_dir_all(folder.join("data")).map_err(said)?;
    let recorded = plan.only.is_empty() && !plan.alone && !plan.peer_only;
    let name = if plan.quick { "kafka-quick" } else { "kafka" };
    let path = plan.root.join("bench").join("results").join(format!("{name}.jsonl"));
    let mut bench = Bench {
        begin: Instant::now(),
        results: if recorded { Some(Results::create(&path).map_err(said)?) } else { None },
        client: None,
        polylog: None,
        apache: None,
        runs: Vec::new(),
        topics: 0,
        plan,
    };
    bench.push(Line::Machine(results::machine(name, &bench.plan.root)))?;

    let jars = if bench.plan.alone {
        Err("Polylog is measured alone".to_owned())
    } else {
        apache::fetch(&bench.plan.root.join("target").join("peers"))
    };
    match NativeClient::build(&bench.plan.root.join("bench/clients/librdkafka.c"), &folder) {
        Ok(client) => bench.client = Some(client),
        Err(because) => bench.skip("workloads with librdkafka", &because)?,
    }

    // The floors come first, while no broker is up; the disk's are taken once more at the end.
    let floors = crate::floors::measure(&folder, crate::floors::FloorPlan::QUICK).map_err(said)?;
    for (name, figure) in floors.rows() {
        println!("floor: {name}: {figure}");
    }
    bench.push(Line::Floors(floors))?;

    let broker = if bench.plan.peer_only { None } else { Some(bench.start_polylog(&folder)?) };
    let apache = match jars {
        Ok(jars) => Some(bench.start_apache(&jars, &folder)?),
        Err(because) => {
            bench.skip("Apache Kafka", &because)?;
            None
        }
    };
    bench.warm()?;
    bench.all_workloads()?;
    drop(apache);
    if let Some(broker) = broker {
        let clean = broker.stop(Duration::from_secs(20)).map_err(said)?;
        if !clean {
            return Err("Polylog did not stop cleanly within 20 s".to_owned());
        }
    }
    let _ = fs::remove_dir_all(folder.join("data"));
    println!("{:.0} s in all", bench.begin.elapsed().as_secs_f64());
    if let Some(results) = &bench.results {
        println!("results: {}", results.path.display());
        table::write(&bench.plan.root)?;
    }
    Ok(())
}

impl Bench {
    fn push(&mut self, line: Line) -> Result<(), String> {
        match &mut self.results {
            Some(results) => results.push(&line).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn skip(&mut self, what: &str, because: &str) -> Result<(), String> {
        println!("skipped: {what}, because {because}");
        self.push(Line::Skipped { what: what.to_owned(), because: because.to_owned() })
    }

    fn started(&mut self, broker: &str, pid: u32, first_answer: Duration) -> Result<(), String> {
        let idle_rss_mb = process::resident_bytes(pid).map_err(|error| error.to_string())? as f64 / 1e6;
        let first_answer_ms = first_answer.as_secs_f64() * 1e3;
        println!("{broker}: first answer after {first_answer_ms:.0} ms, {idle_rss_mb:.0} MB");
        self.push(Line::Start(StartFigures { broker: broker.to_owned(), first_answer_ms, idle_rss_mb }))
    }

    fn start_polylog(&mut self, folder: &Path) -> Result<Broker, String> {
        let plan = BrokerPlan::new(&self.plan.program, &folder.join("data").join("polylog"));
        let broker = Broker::start(&plan, PATIENCE).map_err(|error| error.to_string())?;
        let mut connection = Connection::open(broker.address, PATIENCE).map_err(|error| error.to_string())?;
        if let Some(api) = connection.first_unsupported().map_err(|error| error.to_string())? {
            return Err(format!("Polylog does not speak {api:?} as the raw client does"));
        }
        self.started(POLYLOG, broker.pid(), broker.started.elapsed())?;
        self.polylog = Some(Peer {
            name: POLYLOG,
            durable_at_ack: "synced to disk",
            address: broker.address,
            pid: broker.pid(),
            topic_settings: &[],
        });
        Ok(broker)
    }

    fn start_apache(&mut self, jars: &Path, folder: &Path) -> Result<ApacheKafka, String> {
        let node = ApacheKafka::start(jars, &folder.join("data").join("apache-kafka"))
            .map_err(|error| format!("Apache Kafka: {error}"))?;
        self.started(APACHE, node.pid(), node.first_answer)?;
        self.apache = Some(Peer {
            name: APACHE,
            durable_at_ack: "in the page cache",
            address: node.address,
            pid: node.pid(),
            topic_settings: &[],
        });
        Ok(node)
    }

    fn peers(&self) -> Vec<Peer> {
        self.polylog.iter().chain(&self.apache).cloned().collect()
    }

    /// Both brokers do some of everything once, unrecorded: a virtual machine of Java's kind needs it.
    fn warm(&mut self) -> Result<(), String> {
        for peer in self.peers() {
            let mut topic = String::new();
            for workload in WORKLOADS.iter().filter(|workload| !matches!(workload.kind, Kind::Latency { .. })) {
                if workload.client == Client::Librdkafka && self.client.is_none() {
                    continue;
                }
                let records = workload.records / 4;
                if workload.kind == Kind::Produce {
                    self.remove(&peer, &topic)?;
                    topic = self.make_topic(workload, &peer)?;
                }
                measure::run(workload, records, &peer, &topic, self.client.as_ref(), &self.plan.root, 0)?;
            }
            self.remove(&peer, &topic)?;
        }
        Ok(())
    }

    fn all_workloads(&mut self) -> Result<(), String> {
        let mut index = 0;
        while index < WORKLOADS.len() {
            // A produce and the replays behind it share their topic.
            let replays = WORKLOADS[index + 1..].iter().take_while(|workload| workload.kind == Kind::Replay).count();
            let group = &WORKLOADS[index..=index + replays];
            index += group.len();
            let wanted = |workload: &Workload| {
                self.plan.only.is_empty() || self.plan.only.iter().any(|part| workload.name.contains(part))
            };
            if !group.iter().any(wanted)
                || group.iter().any(|workload| workload.client == Client::Librdkafka && self.client.is_none())
            {
                continue;
            }
            self.pairs(group)?;
        }
        Ok(())
    }

    fn pairs(&mut self, group: &[Workload]) -> Result<(), String> {
        let mut pair = 0;
        loop {
            let late = self.plan.quick && self.begin.elapsed() > QUICK_TIME_MAX;
            let wanted = if self.plan.quick || !self.spread_is_wide(group) { PAIRS } else { 2 * PAIRS };
            if pair >= wanted || (late && pair > 0) {
                break;
            }
            if late {
                return self.skip(group[0].name, "the quick run's time is over");
            }
            pair += 1;
            let mut peers = self.peers();
            if pair % 2 == 0 {
                peers.reverse();
            }
            for peer in peers {
                self.group_once(group, &peer, pair, None)?;
            }
        }
        if let (Some(records), Some(apache)) = (group[0].synced_peer_records, self.apache.clone()) {
            let synced = Peer {
                name: APACHE_SYNCED,
                durable_at_ack: "synced to disk",
                topic_settings: &[("flush.messages", "1")],
                ..apache
            };
            self.group_once(&group[..1], &synced, 1, Some(records))?;
        }
        Ok(())
    }

    fn spread_is_wide(&self, group: &[Workload]) -> bool {
        [POLYLOG, APACHE].into_iter().any(|broker| {
            let rates: Vec<f64> = self
                .runs
                .iter()
                .filter(|run| run.workload == group[0].name && run.broker == broker && !run.disturbed)
                .map(|run| run.records_per_s)
                .collect();
            let (low, high) =
                rates.iter().fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
            rates.len() >= PAIRS as usize && (high - low) / high > SPREAD_MAX
        })
    }

    fn group_once(&mut self, group: &[Workload], peer: &Peer, pair: u32, records: Option<u64>) -> Result<(), String> {
        let topic = self.make_topic(&group[0], peer)?;
        for workload in group {
            // What earlier runs left dirty is written now and not during this one.
            rustix::fs::sync();
            std::thread::sleep(Duration::from_millis(if workload.kind == Kind::Replay { 200 } else { 1_000 }));
            let factor = if self.plan.quick || matches!(workload.kind, Kind::Latency { .. }) { 1 } else { FULL_FACTOR };
            let records = records.unwrap_or(workload.records * factor);
            let run = measure::run(workload, records, peer, &topic, self.client.as_ref(), &self.plan.root, pair)
                .map_err(|error| format!("{} on {}: {error}", workload.name, peer.name))?;
            println!("{}", one_line(&run));
            self.push(Line::Run(Box::new(run.clone())))?;
            self.runs.push(run);
        }
        self.remove(peer, &topic)
    }

    fn make_topic(&mut self, workload: &Workload, peer: &Peer) -> Result<String, String> {
        self.topics += 1;
        let topic = format!("{}-{}", workload.name, self.topics);
        with_connection(peer.address, |connection| {
            connection.create_topic(&topic, workload.partitions, peer.topic_settings)?;
            // Apache Kafka answers before every partition has its leader, and lists leaders that do not know it yet.
            let begin = Instant::now();
            for partition in 0..workload.partitions {
                while let Err(error) = connection.list_offset(&topic, partition, LATEST) {
                    let WireError::Refused { code, .. } = &error else { return Err(error) };
                    if !code.retriable() || begin.elapsed() > PATIENCE {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Ok(())
        })?;
        Ok(topic)
    }

    fn remove(&self, peer: &Peer, topic: &str) -> Result<(), String> {
        if topic.is_empty() {
            return Ok(());
        }
        with_connection(peer.address, |connection| connection.delete_topic(topic))
    }
}

fn with_connection(
    address: SocketAddr,
    act: impl FnOnce(&mut Connection) -> Result<(), WireError>,
) -> Result<(), String> {
    let mut connection = Connection::open(address, PATIENCE).map_err(|error| error.to_string())?;
    act(&mut connection).map_err(|error| error.to_string())
}

fn one_line(run: &RunFigures) -> String {
    let latency = run.end_to_end.or(run.ack).map_or(String::new(), |times| {
        format!(
            ", {} p50 {:.2} p99 {:.2} p99.9 {:.2} ms",
            if run.end_to_end.is_some() { "end to end" } else { "ack" },
            times.p50_ms,
            times.p99_ms,
            times.p99_9_ms
        )
    });
    format!(
        "{} #{} {}: {:.0} k/s, {:.0} MB/s, CPU {:.2} broker / {:.2} client, RSS {:.0} MB, {:.1} bytes to the disk a byte{latency}{}",
        run.workload,
        run.pair,
        run.broker,
        run.records_per_s / 1e3,
        run.mb_per_s,
        run.broker_cpu_s_per_million,
        run.client_cpu_s_per_million,
        run.rss_mb,
        run.device_written_per_byte,
        if run.disturbed { " (disturbed)" } else { "" }
    )
}
