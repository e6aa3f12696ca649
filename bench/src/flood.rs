// SPDX-License-Identifier: Apache-2.0
//! The real broker in 512 MiB of memory, flooded by clients that mean no good, while well-behaved ones go on.
//!
//! Owns: the order of the waves, what is measured in each, the verdict. Must not know: how the broker defends itself.
//!
//! - `cap.rs`: the memory group that the broker is started in, and whether the system killed anything there.
//! - `client.rs`: the well-behaved clients: one that sends at a steady pace, one that reads, two that commit.
//! - `raw.rs`: connections that say whatever bytes they are given, from addresses of their own.
//! - `waves.rs`, `lies.rs`, `bombs.rs`, `swarms.rs`: the attacks. Each is bounded in time and in count.
//! - The control: the same attacks against a broker whose memory bounds are raised beyond the cap. The system *must* kill it, or
//!   the rig would see nothing.
//!
//! What must hold: the process lives, nothing in its memory group was killed, no connection of a well-behaved client was closed and
//! nothing refused to it but for now (`Code::retriable`), and all that it was told is there, also after a `kill -9` and a restart
//! within the same cap. Times and memory are printed, not judged. The attackers come from other addresses of the loopback network
//! than the well-behaved, as they would elsewhere: bounds by address are bounds of theirs.

mod bombs;
mod cap;
mod client;
mod lies;
mod raw;
mod swarms;
mod waves;

use crate::apart::{self, Apart};
use crate::broker::{Broker, BrokerPlan};
use crate::kill::load;
use crate::kill::shared::Shared;
use crate::kill::verdict::{percentile, tell};
use crate::process;
use crate::wire::Connection;
use cap::MemoryCap;
use client::Pace;
use raw::Field;
use sim::checker;
use sim::history::{Event, History};
use sim::rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CAP_BYTES: u64 = 512 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);
const SAMPLE_PAUSE: Duration = Duration::from_millis(50);
/// The attackers' connections are closed; the broker's files come back to what they were, and these more.
const FILES_MORE_MAX: u64 = 64;
/// Memory is looked at until it is back by so much, or for so long.
const RESIDENT_MORE_BYTES: u64 = 64 << 20;
const SETTLING_TIME_MAX: Duration = Duration::from_secs(20);
/// More threads than the broker had at rest.
const THREADS_MORE_MAX: u64 = 8;
/// Bounds of the broker that the control switches off by raising them.
const RAISED: &[(&str, &str)] = &[
    ("POLYLOG_MEMORY_REQUEST_BYTES_MAX", "1TiB"),
    ("POLYLOG_MEMORY_FETCH_BYTES_MAX", "1TiB"),
    ("POLYLOG_KAFKA_INFLIGHT_BYTES_MAX", "1GiB"),
    ("POLYLOG_KAFKA_OUTPUT_BYTES_MAX", "1GiB"),
];

/// What to do.
pub struct FloodPlan {
    /// How long each wave lasts.
    pub seconds: u64,
    pub seed: u64,
    pub program: PathBuf,
    pub folder: PathBuf,
    /// Only the waves whose names contain this; `control` is one of them.
    pub only: Option<String>,
}

impl FloodPlan {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs the waves and the control. True when nothing was wrong.
///
/// # Errors
/// A sentence: the rig could not be set up.
pub fn run(plan: &FloodPlan) -> Result<bool, String> {
    match apart::run()? {
        Apart::Inside => {}
        Apart::Ran(good) => return Ok(good),
        Apart::Impossible(why) => {
            println!("skipped: flood, because {why}");
            return Ok(true);
        }
    }
    let cap = match MemoryCap::new(&format!("polylog-flood-{}", plan.seed), CAP_BYTES) {
        Ok(cap) => cap,
        Err(why) => {
            println!("skipped: flood, because {why}");
            return Ok(true);
        }
    };
    println!("flood: seed {}, {} MiB by {}", plan.seed, CAP_BYTES >> 20, cap.kind());
    let folder = plan.folder.join(format!("flood-{}", plan.seed));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut good = true;
    if plan.only.as_deref() != Some("control") {
        good &= flood(plan, &cap, &folder.join("waves")).unwrap_or_else(|why| {
            println!("flood: WRONG, it could not go on: {why}");
            false
        });
    }
    if plan.wants("control") {
        good &= control(plan, &cap, &folder.join("control"))?;
    }
    if good {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    } else {
        println!("evidence: {}", folder.display());
    }
    Ok(good)
}

fn broker_plan(plan: &FloodPlan, cap: &MemoryCap, folder: &Path, more: &[(&str, &str)]) -> BrokerPlan {
    let mut broker = BrokerPlan::new(&plan.program, &folder.join("data"));
    broker.memory_group = Some(cap.door());
    // Bounds by address are what they are by default; the attackers have more than one address.
    broker.environment = more.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    broker
}

/// What was seen of the process in a wave.
#[derive(Clone, Copy, Default)]
struct Peak {
    resident_bytes: u64,
    files: u64,
    threads: u64,
}

impl Peak {
    /// Looks until `done`; the process may end meanwhile.
    fn watch(pid: u32, done: &AtomicBool) -> Peak {
        let mut peak = Peak::default();
        while !done.load(Ordering::Relaxed) {
            let Ok(now) = Peak::now(pid) else { break };
            peak.resident_bytes = peak.resident_bytes.max(now.resident_bytes);
            peak.files = peak.files.max(now.files);
            peak.threads = peak.threads.max(now.threads);
            std::thread::sleep(SAMPLE_PAUSE);
        }
        peak
    }

    fn now(pid: u32) -> std::io::Result<Peak> {
        Ok(Peak {
            resident_bytes: process::resident_bytes(pid)?,
            files: process::entries(pid, "fd")?,
            threads: process::entries(pid, "task")?,
        })
    }
}

fn flood(plan: &FloodPlan, cap: &MemoryCap, folder: &Path) -> Result<bool, String> {
    let broker_plan = broker_plan(plan, cap, folder, &[]);
    let begin = Instant::now();
    let shared = Shared::new(History::default(), begin);
    let pace = Pace::default();
    let mut wrong = Vec::new();
    let outcome = std::thread::scope(|scope| {
        let outcome = (|| {
            let mut broker = Broker::start(&broker_plan, PATIENCE).map_err(words)?;
            load::first_answer(&broker, PATIENCE).map_err(words)?;
            shared.serve_at(broker.address);
            waves::prepare(broker.address)?;
            client::start(scope, &shared, &pace, plan.seed);
            all_waves(plan, &mut broker, &shared, &pace, &mut wrong)?;
            Ok(broker)
        })();
        if outcome.is_ok() {
            shared.end()
        } else {
            shared.abandon()
        }
        outcome
    });
    let connections = shared.connections();
    let (history, findings) = shared.into_parts();
    let broker = outcome
        .inspect_err(|_| drop(fs::write(folder.join("history.txt"), history.to_text())))
        .map_err(|why: String| format!("{why}\n{}", process::tail_of(&broker_plan.log)))?;
    if connections != client::CLIENTS {
        wrong.push(format!("{} connections of well-behaved clients broke", connections.abs_diff(client::CLIENTS)));
    }
    // What a flood leaves behind must not keep the next start from its memory either.
    broker.kill().map_err(words)?;
    let drained = Shared::new(history, begin);
    drained.record(|push| push(Event::Restart { power_lost: false }));
    let broker = Broker::start(&broker_plan, PATIENCE).map_err(words)?;
    let took = load::first_answer(&broker, PATIENCE).map_err(words)?;
    let resident = process::resident_bytes(broker.pid()).map_err(words)?;
    println!("  after kill -9 and a start: first answer {:.0} ms, {} MiB", took.as_secs_f64() * 1e3, resident >> 20);
    drained.record(|push| push(Event::Drain));
    let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
    load::read_everything(&mut connection, &drained, client::CLIENTS as u32 + 1).map_err(words)?;
    if !broker.stop(PATIENCE).map_err(words)? {
        wrong.push("the broker did not stop well".to_owned());
    }
    if cap.killed()? > 0 {
        wrong.push("the system killed for want of memory".to_owned());
    }
    let history = drained.into_parts().0;
    let report = checker::check(&history);
    let good = tell("flood", &report, &findings) && wrong.is_empty();
    wrong.iter().for_each(|why| println!("  WRONG: {why}"));
    if !good {
        fs::write(folder.join("history.txt"), history.to_text()).map_err(words)?;
    }
    Ok(good)
}

/// One after another, with the broker and the well-behaved alive through all of them.
fn all_waves(
    plan: &FloodPlan,
    broker: &mut Broker,
    shared: &Shared,
    pace: &Pace,
    wrong: &mut Vec<String>,
) -> Result<(), String> {
    let at_rest = Peak::now(broker.pid()).map_err(words)?;
    let mut said = format!(
        "  {:<16} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6}  what it did\n",
        "wave", "answers", "p50 ms", "p99 ms", "later", "CPU s", "MiB", "files", "thr."
    );
    for (number, wave) in (0..).zip(waves::WAVES).filter(|(_, wave)| wave.name == "idle" || plan.wants(wave.name)) {
        let field = Field::new(broker.address, Duration::from_secs(plan.seconds), Rng::of(plan.seed, 100 + number));
        pace.take();
        let done = AtomicBool::new(false);
        let pid = broker.pid();
        let cpu_s = process::cpu_seconds(pid).map_err(words)?;
        let (did, peak) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| Peak::watch(pid, &done));
            let did = (wave.run)(&field);
            done.store(true, Ordering::Relaxed);
            (did, watching.join().unwrap_or_default())
        });
        if broker.has_ended() {
            return Err(format!("the broker died in the wave {:?}", wave.name));
        }
        let answers = pace.take();
        said += &format!(
            "  {:<16} {:>7} {:>7.1} {:>7.1} {:>6} {:>6.1} {:>6} {:>6} {:>6}  {}\n",
            wave.name,
            answers.took_ms.len(),
            percentile(&answers.took_ms, 0.5),
            percentile(&answers.took_ms, 0.99),
            answers.put_off,
            process::cpu_seconds(pid).map_err(words)? - cpu_s,
            peak.resident_bytes >> 20,
            peak.files,
            peak.threads,
            did?
        );
        print!("{said}");
        said.clear();
        if answers.took_ms.is_empty() {
            wrong.push(format!("in the wave {:?} the steady sender got no answer at all", wave.name));
        }
        if peak.threads > at_rest.threads + THREADS_MORE_MAX {
            wrong.push(format!("{} threads in the wave {:?}, {} at rest", peak.threads, wave.name, at_rest.threads));
        }
    }
    if shared.ending() {
        return Err("the load ended by itself".to_owned());
    }
    let begin = Instant::now();
    waves::clear_up(broker.address)?;
    let mut now = Peak::now(broker.pid()).map_err(words)?;
    while now.files > at_rest.files + FILES_MORE_MAX && begin.elapsed() < PATIENCE {
        std::thread::sleep(SAMPLE_PAUSE);
        now = Peak::now(broker.pid()).map_err(words)?;
    }
    if now.files > at_rest.files + FILES_MORE_MAX {
        wrong.push(format!("{} files are open after the waves, {} before", now.files, at_rest.files));
    }
    // Members that joined and went are waited for until their sessions are over.
    while now.resident_bytes > at_rest.resident_bytes + RESIDENT_MORE_BYTES && begin.elapsed() < SETTLING_TIME_MAX {
        std::thread::sleep(SAMPLE_PAUSE);
        now = Peak::now(broker.pid()).map_err(words)?;
    }
    println!(
        "  after the waves: {} MiB ({} before), {} files ({}), {} threads ({}), {:.0} s later",
        now.resident_bytes >> 20,
        at_rest.resident_bytes >> 20,
        now.files,
        at_rest.files,
        now.threads,
        at_rest.threads,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A broker without bounds under the waves that fill memory by sheer size: the system must kill it.
fn control(plan: &FloodPlan, cap: &MemoryCap, folder: &Path) -> Result<bool, String> {
    let broker_plan = broker_plan(plan, cap, folder, RAISED);
    let before = cap.killed()?;
    let mut broker = Broker::start(&broker_plan, PATIENCE).map_err(words)?;
    load::first_answer(&broker, PATIENCE).map_err(words)?;
    let field = Field::new(broker.address, Duration::from_secs(plan.seconds.max(20)), Rng::of(plan.seed, 99));
    // Once it is dead nobody takes the attackers' bytes: what they say then does not matter.
    let _ = waves::half_sent(&field);
    let died = broker.wait_end(Duration::from_secs(5)).map_err(words)?.is_some();
    let killed = cap.killed()? - before;
    if died && killed > 0 {
        println!("flood control: with bounds beyond the cap the system killed the broker, as it must");
        return Ok(true);
    }
    println!("flood control: WRONG, a broker without bounds lived ({killed} kills): the rig would see nothing");
    Ok(false)
}
