// SPDX-License-Identifier: Apache-2.0
//! The engine's bounds at size: 100,000 partitions in two shapes, 10 GB stored over 10,000 partitions, starts of all kinds.
//!
//! Owns: the order of things, the bounds. Must not know: how many topics are made at once or how load is spread (`load`), how a start is taken apart
//! (`starts`), what the broker says of itself (`scrape`), how it is shown (`table`).
//!
//! A bound is one line in `bench/results/scale.jsonl`: the figure, and where there is a bound, whether it was kept. Times are of
//! the whole way a client sees: from the start of the process, over its sockets.

mod load;
mod scrape;
mod starts;
pub mod table;

use crate::broker::{Broker, BrokerPlan};
use crate::process;
use crate::results::{self, BoundFigure, Line, Results};
use crate::wire::Connection;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(300);
/// For a clean stop, which the broker itself bounds at 4.5 s.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What to do.
pub struct ScalePlan {
    pub quick: bool,
    pub root: PathBuf,
    pub program: PathBuf,
    /// Only groups whose names contain one of these; all when empty. Else nothing is recorded.
    pub only: Vec<String>,
    /// Leaves the last data directory behind.
    pub keep: bool,
}

/// Topics and partitions of each.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    topics: u32,
    partitions: i32,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "1,000 topics of 100 partitions", topics: 1_000, partitions: 100 },
    Shape { name: "10 topics of 10,000 partitions", topics: 10, partitions: 10_000 },
];
/// What the stored bytes are spread over.
const STORED: Shape = Shape { name: "stored", topics: 10, partitions: 1_000 };

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 50;
/// How long the idle broker is watched.
const IDLE: Duration = Duration::from_secs(10);

const CREATED_S_MAX: f64 = 60.0;
const PARTITION_BYTES_MAX: f64 = 1024.0;
const RESTART_S_MAX: f64 = 2.0;
const START_S_MAX: f64 = 0.3;
const IDLE_MB_MAX: f64 = 100.0;

impl Shape {
    fn count(&self) -> u32 {
        self.topics * self.partitions as u32
    }

    fn topic(&self, number: u32) -> String {
        format!("scale-{number}")
    }
}

/// What a process holds.
struct Holds {
    rss_bytes: u64,
    threads: u64,
    files: u64,
}

impl Holds {
    /// Two looks that agree: a connection that was closed is a file of the broker's until it has noticed.
    fn of(broker: &Broker) -> io::Result<Holds> {
        let pid = broker.pid();
        let look = || io::Result::Ok((process::entries(pid, "task")?, process::entries(pid, "fd")?));
        let mut last = look()?;
        for _ in 0..LOOKS_MAX {
            std::thread::sleep(BETWEEN_LOOKS);
            let next = look()?;
            if next == last {
                break;
            }
            last = next;
        }
        Ok(Holds { rss_bytes: process::resident_bytes(pid)?, threads: last.0, files: last.1 })
    }
}

/// What others and the shard itself feel of something.
struct Meanwhile {
    others: load::Others,
    before: scrape::Scrape,
}

impl Meanwhile {
    fn begin(broker: &Broker, topic: &str) -> Result<Meanwhile, String> {
        Ok(Meanwhile { others: load::Others::start(broker.address, topic), before: scrape::look(broker)? })
    }
}

struct Bench {
    plan: ScalePlan,
    results: Option<Results>,
    figures: Vec<BoundFigure>,
    group: String,
}

/// Runs everything, writes results and table, and says what missed its bound. True when nothing did.
///
/// # Errors
/// A sentence: the broker failed, or lost something.
pub fn run(plan: ScalePlan) -> Result<bool, String> {
    let said = |error: io::Error| error.to_string();
    let folder = plan.root.join("target").join("bench").join("scale");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(said)?;
    let name = if plan.quick { "scale-quick" } else { "scale" };
    let path = plan.root.join("bench").join("results").join(format!("{name}.jsonl"));
    let results = if plan.only.is_empty() { Some(Results::create(&path).map_err(said)?) } else { None };
    let begin = Instant::now();
    let mut bench = Bench { plan, results, figures: Vec::new(), group: String::new() };
    bench.push(Line::Machine(results::machine(name, &bench.plan.root)))?;
    let outcome = bench.all(&folder);
    // Whatever happened, the next one needs the space.
    match bench.plan.keep {
        true => println!("kept: {}", folder.display()),
        false => drop(fs::remove_dir_all(&folder)),
    }
    outcome?;
    println!("{:.0} s in all", begin.elapsed().as_secs_f64());
    if let Some(results) = &bench.results {
        println!("results: {}", results.path.display());
        table::write(&bench.plan.root)?;
    }
    let (kept, bounds) = bench
        .figures
        .iter()
        .filter_map(BoundFigure::kept)
        .fold((0, 0), |(kept, bounds), is_kept| (kept + u32::from(is_kept), bounds + 1));
    println!("{kept} of {bounds} bounds kept");
    Ok(kept == bounds)
}

impl Bench {
    fn push(&mut self, line: Line) -> Result<(), String> {
        match &mut self.results {
            Some(results) => results.push(&line).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    /// Begins a group of figures; false when it is not wanted.
    fn begin(&mut self, group: &str) -> bool {
        let wanted = self.plan.only.is_empty() || self.plan.only.iter().any(|part| group.contains(part.as_str()));
        if wanted {
            println!("{group}:");
            group.clone_into(&mut self.group);
        }
        wanted
    }

    fn figure(&mut self, what: &str, value: f64, unit: &str) -> Result<(), String> {
        self.record(what, value, unit, None)
    }

    fn bound(&mut self, what: &str, value: f64, unit: &str, max: f64) -> Result<(), String> {
        self.record(what, value, unit, Some(max))
    }

    fn record(&mut self, what: &str, value: f64, unit: &str, max: Option<f64>) -> Result<(), String> {
        let figure = BoundFigure { group: self.group.clone(), what: what.into(), value, unit: unit.into(), max };
        println!(
            "  {what}: {}{}",
            figure.shown(),
            match (max, figure.kept()) {
                (Some(max), Some(true)) => format!(" (<= {max}: yes)"),
                (Some(max), _) => format!(" (<= {max}: NO)"),
                _ => String::new(),
            }
        );
        self.figures.push(figure.clone());
        self.push(Line::Bound(figure))
    }

    fn all(&mut self, folder: &Path) -> Result<(), String> {
        if self.plan.only.is_empty() {
            let floors = crate::floors::measure(folder, crate::floors::FloorPlan::QUICK);
            let floors = floors.map_err(|error| error.to_string())?;
            for (name, figure) in floors.rows() {
                println!("floor: {name}: {figure}");
            }
            self.push(Line::Floors(floors))?;
        }
        if self.begin("an empty directory") {
            self.empty(folder)?;
        }
        for shape in SHAPES {
            if self.begin(shape.name) {
                self.partitions(folder, shape)?;
            }
        }
        let gigabytes = if self.plan.quick { 1 } else { 10 };
        if self.begin(&format!("{gigabytes} GB stored over 10,000 partitions")) {
            self.stored(folder, gigabytes * 1_000_000_000)?;
        }
        Ok(())
    }

    fn fresh(&self, folder: &Path, name: &str) -> BrokerPlan {
        let data = folder.join(name);
        let _ = fs::remove_dir_all(&data);
        BrokerPlan::new(&self.plan.program, &data)
    }

    fn empty(&mut self, folder: &Path) -> Result<(), String> {
        const STARTS: usize = 5;
        let mut seconds = Vec::new();
        let mut rss_bytes = 0;
        for _ in 0..STARTS {
            let plan = self.fresh(folder, "empty");
            let broker = Broker::start(&plan, PATIENCE).map_err(|error| error.to_string())?;
            let mut connection = connect(&broker)?;
            connection.api_versions().map_err(|error| error.to_string())?;
            seconds.push(broker.started.elapsed().as_secs_f64());
            rss_bytes = rss_bytes.max(process::resident_bytes(broker.pid()).map_err(|error| error.to_string())?);
            stop(broker)?;
        }
        seconds.sort_by(f64::total_cmp);
        self.bound("start to first answer, median of 5", seconds[STARTS / 2], "s", START_S_MAX)?;
        self.figure("slowest of them", seconds[STARTS - 1], "s")?;
        self.bound("memory then", rss_bytes as f64 / 1e6, "MB", IDLE_MB_MAX)
    }

    fn partitions(&mut self, folder: &Path, shape: Shape) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        let plan = self.fresh(folder, "partitions");
        let broker = Broker::start(&plan, PATIENCE).map_err(|error| error.to_string())?;
        let mut connection = connect(&broker)?;
        // One of everything first, so that what the first use of a path takes is not counted.
        let warm = Shape { name: "warm", topics: 1, partitions: 1 };
        load::create(&mut connection, |_| "warm".to_owned(), warm)?;
        load::spread(&broker, &["warm".to_owned()], 1, 1)?;
        scrape::look(&broker)?;
        let before = Holds::of(&broker).map_err(said)?;

        let meanwhile = Meanwhile::begin(&broker, "warm")?;
        let cpu = process::cpu_seconds(broker.pid()).map_err(said)?;
        let begin = Instant::now();
        load::create(&mut connection, |number| shape.topic(number), shape)?;
        let created = begin.elapsed().as_secs_f64();
        let cpu = process::cpu_seconds(broker.pid()).map_err(said)? - cpu;
        self.bound("created", created, "s", CREATED_S_MAX)?;
        self.figure("broker CPU for it", cpu, "s")?;
        self.meanwhile(&broker, meanwhile)?;
        let after = Holds::of(&broker).map_err(said)?;
        let grown = after.rss_bytes.saturating_sub(before.rss_bytes) as f64;
        self.bound("memory an idle partition", grown / f64::from(shape.count()), "bytes", PARTITION_BYTES_MAX)?;
        self.bound("threads more", after.threads.abs_diff(before.threads) as f64, "", 0.0)?;
        self.bound("open files more", after.files.abs_diff(before.files) as f64, "", 0.0)?;

        let meanwhile = Meanwhile::begin(&broker, "warm")?;
        let begin = Instant::now();
        let (topics, partitions) = connection.metadata_of_all().map_err(|error| error.to_string())?;
        let seconds = begin.elapsed().as_secs_f64();
        if partitions < shape.count() as usize {
            return Err(format!("Metadata tells of {partitions} partitions in {topics} topics"));
        }
        self.figure("Metadata of everything", seconds * 1e3, "ms")?;
        self.meanwhile(&broker, meanwhile)?;

        let meanwhile = Meanwhile::begin(&broker, "warm")?;
        let begin = Instant::now();
        let produced = load::spread(&broker, &self.some_topics(shape), shape.partitions, 100)?;
        self.figure(
            "one record to each of some partitions",
            produced as f64 / begin.elapsed().as_secs_f64(),
            "records/s",
        )?;
        self.meanwhile(&broker, meanwhile)?;
        drop(connection);

        let scrape = scrape::look(&broker)?;
        self.figure("a look at /metrics", scrape.seconds * 1e3, "ms")?;
        self.figure("- of", scrape.bytes as f64 / 1e3, "KB")?;
        let ran = process::ran_seconds(broker.pid()).map_err(said)?;
        std::thread::sleep(IDLE);
        let ran = process::ran_seconds(broker.pid()).map_err(said)? - ran;
        self.figure("broker CPU while idle", ran / IDLE.as_secs_f64() * 1e3, "ms a second")?;

        let begin = Instant::now();
        stop(broker)?;
        self.figure("clean stop", begin.elapsed().as_secs_f64(), "s")?;
        let broker = self.restart(&plan, "clean", shape)?;
        let rss_bytes = process::resident_bytes(broker.pid()).map_err(said)?;
        self.figure("memory after it", rss_bytes as f64 / 1e6, "MB")?;
        broker.kill().map_err(said)?;
        let broker = self.restart(&plan, "after kill -9", shape)?;
        stop(broker)?;
        self.remove(&plan)
    }

    fn some_topics(&self, shape: Shape) -> Vec<String> {
        (0..10.min(shape.topics)).map(|number| shape.topic(number * (shape.topics / 10).max(1))).collect()
    }

    /// Starts it again on what is there, to the first answer about data and to the first record in and out.
    fn restart(&mut self, plan: &BrokerPlan, how: &str, shape: Shape) -> Result<Broker, String> {
        let restarted = starts::restart(plan, &self.some_topics(shape), shape.partitions)?;
        self.bound(&format!("restart, {how}, to first answer"), restarted.answer_s, "s", RESTART_S_MAX)?;
        self.figure("to records in and out of 10 partitions", restarted.records_s, "s")?;
        for (what, value, unit) in &restarted.parts {
            self.figure(what, *value, unit)?;
        }
        Ok(restarted.broker)
    }

    fn meanwhile(&mut self, broker: &Broker, meanwhile: Meanwhile) -> Result<(), String> {
        let times = meanwhile.others.stop()?;
        let hold_s = scrape::look(broker)?.longest_hold_s(&meanwhile.before);
        self.figure("- another connection meanwhile, p50", times.value_at_quantile(0.5) as f64 / 1e3, "ms")?;
        self.figure("- the same, longest", times.max() as f64 / 1e3, "ms")?;
        self.figure("- longest hold of the shard, at most", hold_s * 1e3, "ms")
    }

    fn stored(&mut self, folder: &Path, bytes: u64) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        let plan = self.fresh(folder, "stored");
        let broker = Broker::start(&plan, PATIENCE).map_err(|error| error.to_string())?;
        load::create(&mut connect(&broker)?, |number| STORED.topic(number), STORED)?;
        let topics: Vec<String> = (0..STORED.topics).map(|number| STORED.topic(number)).collect();

        let meanwhile = Meanwhile::begin(&broker, &topics[0])?;
        let cpu = process::cpu_seconds(broker.pid()).map_err(said)?;
        let begin = Instant::now();
        let writing = load::Writing::start(broker.address, &topics, STORED.partitions);
        let mut rss_bytes_max = 0;
        while writing.bytes() < bytes {
            if let Some(why) = writing.failure() {
                return Err(format!("producing ended early: {why}"));
            }
            std::thread::sleep(Duration::from_millis(100));
            rss_bytes_max = rss_bytes_max.max(process::resident_bytes(broker.pid()).map_err(said)?);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let records = writing.bytes() as f64 / load::RECORD_BYTES as f64;
        let cpu = process::cpu_seconds(broker.pid()).map_err(said)? - cpu;
        let holds = Holds::of(&broker).map_err(said)?;
        self.figure("written, 1 KB batches, 100 partitions a request", records / seconds, "records/s")?;
        self.figure("broker CPU", cpu / records * 1e6, "s a million")?;
        self.figure("most memory while producing", rss_bytes_max as f64 / 1e6, "MB")?;
        self.figure("threads", holds.threads as f64, "")?;
        self.figure("open files", holds.files as f64, "")?;
        self.meanwhile(&broker, meanwhile)?;

        // While the writers go on.
        broker.kill().map_err(said)?;
        let acked = writing.join()?;
        self.figure("on the disk at the kill", starts::stored_bytes(&plan.data_dir).map_err(said)? as f64 / 1e9, "GB")?;
        self.figure("files", starts::stored_files(&plan.data_dir).map_err(said)? as f64, "")?;
        let broker = self.restart(&plan, "after kill -9 while producing", STORED)?;
        let lost = load::lost(&broker, &topics, &acked)?;
        self.bound("acknowledged records that are gone", lost as f64, "", 0.0)?;
        let rss_bytes = process::resident_bytes(broker.pid()).map_err(said)?;
        self.figure("memory then", rss_bytes as f64 / 1e6, "MB")?;
        broker.kill().map_err(said)?;
        let rate = starts::forget_pages(&plan.data_dir).map_err(said)?;
        self.figure("the disk reads, page cache emptied", rate / 1e6, "MB/s")?;
        let broker = self.restart(&plan, "after kill -9, page cache emptied", STORED)?;
        stop(broker)?;
        let broker = self.restart(&plan, "clean", STORED)?;
        stop(broker)?;
        self.remove(&plan)
    }

    fn remove(&self, plan: &BrokerPlan) -> Result<(), String> {
        match self.plan.keep {
            true => Ok(()),
            false => fs::remove_dir_all(&plan.data_dir).map_err(|error| error.to_string()),
        }
    }
}

fn connect(broker: &Broker) -> Result<Connection, String> {
    Connection::open(broker.address, PATIENCE).map_err(|error| error.to_string())
}

fn stop(broker: Broker) -> Result<(), String> {
    match broker.stop(STOP_PATIENCE) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the broker did not stop cleanly".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
