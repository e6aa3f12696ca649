// SPDX-License-Identifier: Apache-2.0
//! Polylog beside Apache Kafka: the same clients, the same limits, the same machine, interleaved pairs in one run.
//!
//! Owns: the order of things, and how long they may take. Must not know: how a figure is taken (`measure`), what is run (`workload`), what is
//! expected (`goals`), how it is shown (`table`).
//!
//! Polylog always runs on its default settings, so its acknowledgements mean "on disk". Apache Kafka's mean "in the page cache" on
//! its defaults; where the table says "synced" the topic has `flush.messages=1`, which makes the two mean the same.

pub mod apache;
pub mod bare;
pub mod crowd;
pub mod generator;
pub mod goals;
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
use std::path::PathBuf;
use std::time::{Duration, Instant};
use workload::{Client, Kind, Stage, WORKLOADS, Workload};

const PATIENCE: Duration = Duration::from_secs(60);
/// Until all partitions of a new topic have their leader: thousands of them take Apache Kafka a while.
const TOPIC_PATIENCE: Duration = Duration::from_secs(300);
/// A run makes only one pair of what comes after this, so that a quick one ends within ten minutes and a full one within forty.
const QUICK_TIME_MAX: Duration = Duration::from_secs(5 * 60);
const FULL_TIME_MAX: Duration = Duration::from_secs(33 * 60);
/// And no second three pairs after this.
const MORE_PAIRS_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// Begins nothing after this.
const QUICK_END: Duration = Duration::from_secs(7 * 60);
const FULL_END: Duration = Duration::from_secs(40 * 60);
/// Pairs of a workload; a full run takes as many again where the spread of either side passes [`SPREAD_MAX`].
const PAIRS: u32 = 3;
const SPREAD_MAX: f64 = 0.15;
/// A start on an empty directory is looked at so often, its memory so long after the first answer.
const STARTS: u32 = 3;
const IDLE: Duration = Duration::from_secs(2);
/// What a fresh Apache Kafka does unrecorded before a run of its own: a virtual machine of Java's kind needs it.
const WARM_BYTES: u64 = 400_000_000;
/// Deleted data is to be gone before the next run needs the space; the default is a minute.
const APACHE_TOPIC: &[(&str, &str)] = &[("file.delete.delay.ms", "1000")];
const APACHE_SYNCED_TOPIC: &[(&str, &str)] = &[("file.delete.delay.ms", "1000"), ("flush.messages", "1")];

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
    /// For a look.
    pub unrecorded: bool,
    /// Of the row that writes without a pause.
    pub bulk_gb: f64,
}

struct Bench {
    plan: KafkaPlan,
    begin: Instant,
    results: Option<Results>,
    client: Option<NativeClient>,
    /// Kafka's classes, where they can be had.
    jars: Option<PathBuf>,
    /// Where everything that a run needs lies, on the disk that is measured.
    folder: PathBuf,
    /// The brokers that are up.
    polylog: Option<(Broker, Peer)>,
    apache: Option<(ApacheKafka, Peer)>,
    runs: Vec<RunFigures>,
    topics: u32,
    /// Workloads that went wrong. The others are measured all the same; the run fails at its end.
    failures: Vec<String>,
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
    let recorded = !plan.alone && !plan.peer_only && !plan.unrecorded;
    let name = if plan.quick { table::QUICK } else { table::FULL };
    let machine = results::machine(name, &plan.root);
    let mut bench = Bench {
        begin: Instant::now(),
        results: None,
        client: None,
        jars: None,
        folder: folder.clone(),
        polylog: None,
        apache: None,
        runs: Vec::new(),
        topics: 0,
        failures: Vec::new(),
        plan,
    };
    if recorded {
        let path = bench.plan.root.join("bench").join("results").join(table::file_name(&machine));
        bench.results = Some(Results::create(&path).map_err(said)?);
    }
    bench.push(Line::Machine(machine))?;

    if !bench.plan.alone {
        match apache::fetch(&bench.plan.root.join("target").join("peers")) {
            Ok(jars) => bench.jars = Some(jars),
            Err(because) => bench.skip("Apache Kafka", &because)?,
        }
    }
    match NativeClient::build(&bench.plan.root.join("bench/clients/librdkafka.c"), &folder) {
        Ok(client) => bench.client = Some(client),
        Err(because) => bench.skip("workloads with librdkafka", &because)?,
    }

    // The floors come first, while no broker is up, and once more at the end.
    bench.floors()?;
    for stage in [Stage::Together, Stage::Kept, Stage::Alone] {
        let groups: Vec<&[Workload]> = groups().filter(|group| group[0].stage == stage && bench.wants(group)).collect();
        if groups.is_empty() {
            continue;
        }
        if stage == Stage::Alone {
            for group in groups {
                let outcome = bench.pairs(group, None);
                bench.noted(group, outcome)?;
                bench.down()?;
            }
            continue;
        }
        bench.up(true, true)?;
        if stage == Stage::Together {
            bench.warm(&groups)?;
        }
        for group in groups {
            let outcome = match stage {
                Stage::Kept => bench.kept_topics(&group[0]).and_then(|kept| bench.pairs(group, Some(&kept))),
                _ => bench.pairs(group, None),
            };
            bench.noted(group, outcome)?;
        }
        bench.down()?;
    }
    bench.starts()?;
    bench.floors()?;
    let _ = fs::remove_dir_all(folder.join("data"));
    println!("{:.0} s in all", bench.begin.elapsed().as_secs_f64());
    if let Some(results) = &bench.results {
        println!("results: {}", results.path.display());
        table::write(&bench.plan.root)?;
    }
    match bench.failures.len() {
        0 => Ok(()),
        _ => Err(bench.failures.join("; ")),
    }
}

/// A produce and what follows it share their topic.
fn groups() -> impl Iterator<Item = &'static [Workload]> {
    WORKLOADS.chunk_by(|_, next| next.follows())
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

    fn noted(&mut self, group: &[Workload], outcome: Result<(), String>) -> Result<(), String> {
        let Err(why) = outcome else { return Ok(()) };
        self.skip(group[0].name, &format!("it failed: {why}"))?;
        self.failures.push(why);
        Ok(())
    }

    fn wants_name(&self, name: &str) -> bool {
        self.plan.only.is_empty() || self.plan.only.iter().any(|part| name.contains(part))
    }

    fn wants(&self, group: &[Workload]) -> bool {
        let can = group.iter().all(|workload| workload.client != Client::Librdkafka || self.client.is_some());
        can && group.iter().any(|workload| self.wants_name(workload.name))
    }

    fn floors(&mut self) -> Result<(), String> {
        use crate::floors::{FloorPlan, measure};
        if self.results.is_none() {
            return Ok(());
        }
        let plan = if self.plan.quick { FloorPlan::QUICK } else { FloorPlan::FULL };
        let floors = measure(&self.folder, plan).map_err(|error| error.to_string())?;
        for (name, figure) in floors.rows() {
            println!("floor: {name}: {figure}");
        }
        self.push(Line::Floors(floors))
    }

    /// Starts those of the two that are wanted, on empty directories.
    fn up(&mut self, polylog: bool, apache: bool) -> Result<(), String> {
        if polylog && !self.plan.peer_only {
            let plan = BrokerPlan::new(&self.plan.program, &self.folder.join("data").join("polylog"));
            let broker = Broker::start(&plan, PATIENCE).map_err(|error| error.to_string())?;
            let mut connection = Connection::open(broker.address, PATIENCE).map_err(|error| error.to_string())?;
            if let Some(api) = connection.first_unsupported().map_err(|error| error.to_string())? {
                return Err(format!("Polylog does not speak {api:?} as the raw client does"));
            }
            let peer = Peer {
                name: POLYLOG,
                durable_at_ack: "synced to disk",
                address: broker.address,
                pid: broker.pid(),
                data_dir: plan.data_dir,
                topic_settings: &[],
            };
            self.polylog = Some((broker, peer));
        }
        if let (true, Some(jars)) = (apache, &self.jars) {
            let data_dir = self.folder.join("data").join("apache-kafka");
            let node = ApacheKafka::start(jars, &data_dir).map_err(|error| format!("Apache Kafka: {error}"))?;
            let peer = Peer {
                name: APACHE,
                durable_at_ack: "in the page cache",
                address: node.address,
                pid: node.pid(),
                data_dir,
                topic_settings: APACHE_TOPIC,
            };
            self.apache = Some((node, peer));
        }
        Ok(())
    }

    /// Stops what is up and removes its data.
    fn down(&mut self) -> Result<(), String> {
        let said = |error: std::io::Error| error.to_string();
        self.apache = None;
        if let Some((broker, _)) = self.polylog.take()
            && !broker.stop(Duration::from_secs(20)).map_err(said)?
        {
            return Err("Polylog did not stop cleanly within 20 s".to_owned());
        }
        fs::remove_dir_all(self.folder.join("data")).map_err(said)?;
        fs::create_dir_all(self.folder.join("data")).map_err(said)
    }

    fn peers(&self) -> Vec<Peer> {
        let polylog = self.polylog.iter().map(|(_, peer)| peer);
        polylog.chain(self.apache.iter().map(|(_, peer)| peer)).cloned().collect()
    }

    /// A few starts on empty directories, in turns.
    fn starts(&mut self) -> Result<(), String> {
        if !self.wants_name("start") {
            return Ok(());
        }
        for _ in 0..STARTS {
            for is_polylog in [true, false] {
                self.up(is_polylog, !is_polylog)?;
                let (broker, pid, first_answer) = match (&self.polylog, &self.apache) {
                    (Some((broker, _)), _) => {
                        let mut connection =
                            Connection::open(broker.address, PATIENCE).map_err(|error| error.to_string())?;
                        connection.metadata(&[], false).map_err(|error| error.to_string())?;
                        (POLYLOG, broker.pid(), broker.started.elapsed())
                    }
                    (None, Some((node, _))) => (APACHE, node.pid(), node.first_answer),
                    (None, None) => continue,
                };
                std::thread::sleep(IDLE);
                let idle_rss_mb = process::resident_bytes(pid).map_err(|error| error.to_string())? as f64 / 1e6;
                let first_answer_ms = first_answer.as_secs_f64() * 1e3;
                println!("{broker}: first answer after {first_answer_ms:.0} ms, {idle_rss_mb:.0} MB");
                self.push(Line::Start(StartFigures { broker: broker.to_owned(), first_answer_ms, idle_rss_mb }))?;
                self.down()?;
            }
        }
        Ok(())
    }

    /// Both brokers do some of everything once, unrecorded: a virtual machine of Java's kind needs it.
    fn warm(&mut self, groups: &[&[Workload]]) -> Result<(), String> {
        for peer in self.peers() {
            for group in groups.iter().filter(|group| !matches!(group[0].kind, Kind::Latency { .. })) {
                let topic = self.make_topic(&group[0], &peer)?;
                for workload in *group {
                    let records = workload.records(true, 1.0) / 4;
                    self.measure(workload, records, &peer, &topic, 0)?;
                }
                self.remove(&peer, &topic)?;
            }
        }
        Ok(())
    }

    /// One topic a broker that stays through all pairs, and a first unrecorded run on it.
    fn kept_topics(&mut self, workload: &Workload) -> Result<Vec<(&'static str, String)>, String> {
        let mut topics = Vec::new();
        for peer in self.peers() {
            let begin = Instant::now();
            let topic = self.make_topic(workload, &peer)?;
            println!("{}: {} partitions after {:.1} s", peer.name, workload.partitions, begin.elapsed().as_secs_f64());
            self.measure(workload, workload.records(true, 1.0), &peer, &topic, 0)?;
            topics.push((peer.name, topic));
        }
        Ok(topics)
    }

    fn pairs(&mut self, group: &[Workload], kept: Option<&[(&'static str, String)]>) -> Result<(), String> {
        let (late, end) = if self.plan.quick { (QUICK_TIME_MAX, QUICK_END) } else { (FULL_TIME_MAX, FULL_END) };
        let mut pair = 0;
        loop {
            let elapsed = self.begin.elapsed();
            let more = !self.plan.quick && elapsed < MORE_PAIRS_TIME_MAX && self.spread_is_wide(group);
            let wanted = match (elapsed > late, more) {
                (true, _) => 1,
                (_, true) => 2 * PAIRS,
                _ => PAIRS,
            };
            if pair >= wanted {
                return Ok(());
            }
            if elapsed > end {
                return self.skip(group[0].name, "the run's time is over");
            }
            pair += 1;
            let mut order = [POLYLOG, APACHE];
            if pair % 2 == 0 {
                order.reverse();
            }
            for broker in order {
                match group[0].stage {
                    Stage::Together => self.group_once(group, broker, pair)?,
                    Stage::Kept => {
                        let topics = kept.unwrap_or_default();
                        let Some((_, topic)) = topics.iter().find(|(name, _)| *name == broker) else { continue };
                        let Some(peer) = self.peers().into_iter().find(|peer| peer.name == broker) else { continue };
                        self.recorded(&group[0], None, &peer, topic, pair)?;
                    }
                    Stage::Alone => {
                        self.up(broker == POLYLOG, broker == APACHE)?;
                        self.warm_alone(&group[0])?;
                        self.group_once(group, broker, pair)?;
                        self.down()?;
                    }
                }
            }
        }
    }

    fn warm_alone(&mut self, workload: &Workload) -> Result<(), String> {
        for peer in self.peers() {
            let topic = self.make_topic(workload, &peer)?;
            self.measure(workload, WARM_BYTES / workload.record_bytes, &peer, &topic, 0)?;
            self.remove(&peer, &topic)?;
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

    /// A group on one broker; on Apache Kafka its first workload once more with a sync before each acknowledgement, where it asks for that.
    fn group_once(&mut self, group: &[Workload], broker: &str, pair: u32) -> Result<(), String> {
        let Some(peer) = self.peers().into_iter().find(|peer| peer.name == broker) else { return Ok(()) };
        let topic = self.make_topic(&group[0], &peer)?;
        for workload in group {
            self.recorded(workload, None, &peer, &topic, pair)?;
        }
        self.remove(&peer, &topic)?;
        if let (Some(records), APACHE) = (group[0].synced_peer_records, peer.name) {
            let synced = Peer {
                name: APACHE_SYNCED,
                durable_at_ack: "synced to disk",
                topic_settings: APACHE_SYNCED_TOPIC,
                ..peer
            };
            let topic = self.make_topic(&group[0], &synced)?;
            self.recorded(&group[0], Some(records), &synced, &topic, pair)?;
            self.remove(&synced, &topic)?;
        }
        Ok(())
    }

    fn recorded(
        &mut self,
        workload: &Workload,
        records: Option<u64>,
        peer: &Peer,
        topic: &str,
        pair: u32,
    ) -> Result<(), String> {
        // What earlier runs left dirty is written now and not during this one.
        rustix::fs::sync();
        std::thread::sleep(Duration::from_millis(if workload.follows() { 200 } else { 1_000 }));
        let records = records.unwrap_or(workload.records(self.plan.quick, self.plan.bulk_gb));
        let run = self.measure(workload, records, peer, topic, pair)?;
        println!("{}", one_line(&run));
        self.push(Line::Run(Box::new(run.clone())))?;
        self.runs.push(run);
        Ok(())
    }

    fn measure(
        &self,
        workload: &Workload,
        records: u64,
        peer: &Peer,
        topic: &str,
        pair: u32,
    ) -> Result<RunFigures, String> {
        measure::run(workload, records, peer, topic, self.client.as_ref(), &self.folder, pair)
            .map_err(|error| format!("{} on {}: {error}", workload.name, peer.name))
    }

    fn make_topic(&mut self, workload: &Workload, peer: &Peer) -> Result<String, String> {
        self.topics += 1;
        let topic = format!("{}-{}", workload.name, self.topics);
        with_connection(peer.address, |connection| {
            connection.create_topic(&topic, workload.partitions, peer.topic_settings)?;
            // Apache Kafka answers before every partition has its leader, and lists leaders that do not know it yet.
            let begin = Instant::now();
            let waits = |error: WireError| {
                let WireError::Refused { code, .. } = &error else { return Err(error) };
                if !code.retriable() || begin.elapsed() > TOPIC_PATIENCE {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(20));
                Ok(())
            };
            for partition in 0..workload.partitions {
                while let Err(error) = connection.list_offset(&topic, partition, LATEST) {
                    waits(error)?;
                }
            }
            Ok(())
        })?;
        Ok(topic)
    }

    fn remove(&self, peer: &Peer, topic: &str) -> Result<(), String> {
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
    let cold = run.cold_mb_per_s.map_or(String::new(), |rate| format!(", the reader {rate:.0} MB/s"));
    let beside = run.bare_sync.map_or(cold, |bare| {
        let stalls = run.stalls.len();
        format!(", bare sync p99 {:.2} p99.9 {:.2} ms, {stalls} stalls", bare.p99_ms, bare.p99_9_ms)
    });
    format!(
        "{} #{} {}: {:.0} k/s, {:.0} MB/s, CPU {:.2} broker / {:.2} client, RSS {:.0} MB, {:.1} bytes to the disk a byte{latency}{beside}{}",
        run.workload,
        run.pair,
        run.broker,
        run.records_per_s / 1e3,
        run.mb_per_s,
        run.broker_cpu_s_per_million,
        run.client_cpu_s_per_million,
        run.rss_mb,
        run.device_written_per_byte,
        if run.disturbed { " (disturbed)" } else { "" },
    )
}
