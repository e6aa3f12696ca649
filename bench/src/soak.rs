// SPDX-License-Identifier: Apache-2.0
//! Everything together, for an hour: mixed load on one data directory, kills, pauses and cut connections, and a look at what grows.
//!
//! Owns: the stretches, when which fault comes, the verdict and its page. Must not know: how the broker keeps its promises.
//!
//! - The clients of the kill loop (senders, readers, groups that commit) over connections that are cut now and then (`cuts.rs`), on a
//!   topic that is made anew for each stretch; after a stretch everything of it is read and judged by the simulator's checker.
//! - `mixed.rs`, all the time: large batches into a topic that retention keeps small, a reader of its oldest records, a compacted
//!   topic whose last values are known, topics made and deleted, members that come and go.
//! - The first third of the time has many lives: each ends by `kill -9`. The rest is one life, paused now and then, in which
//!   `trend.rs` looks at what grows.
//!
//! What must hold beside the checker: retention has removed, compaction has lost no last value, and in the long life memory has not
//! grown by more than `trend::GROWN_BYTES_MAX`, threads and open files beyond those of the data directory not by more than
//! [`THREADS_MORE_MAX`] and [`FILES_MORE_MAX`] (of the data's own each segment is one, as many as there is data).
//! Everything else is printed.

mod cuts;
mod mixed;
mod trend;

use crate::apart::{self, Apart};
use crate::broker::{Broker, BrokerPlan, SMALL_SETTINGS};
use crate::kill::load;
use crate::kill::shared::{Shared, TOPIC};
use crate::kill::verdict::{percentile, tell};
use crate::process;
use crate::wire::Connection;
use cuts::Cuts;
use mixed::Mixed;
use rustix::process::{Pid, Signal};
use sim::checker;
use sim::history::{Event, History};
use sim::rng::Rng;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trend::Trend;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of one topic and one history: their size bounds what the rig itself holds.
const STRETCH: Duration = Duration::from_secs(120);
/// A life that a kill ends.
const LIFE_MS: std::ops::Range<u64> = 3_000..20_000;
/// Between two pauses of the long life, and how long one is: a member's session lasts longer.
const UNPAUSED_MS: std::ops::Range<u64> = 20_000..60_000;
const PAUSE_MS: std::ops::Range<u64> = 100..3_000;
const SAMPLE_PAUSE: Duration = Duration::from_millis(500);
const FILES_MORE_MAX: u64 = 64;
const THREADS_MORE_MAX: u64 = 8;

/// What to do.
pub struct SoakPlan {
    pub minutes: u64,
    pub seed: u64,
    pub program: PathBuf,
    pub folder: PathBuf,
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What was seen over all stretches.
#[derive(Default)]
struct Figures {
    kills: u64,
    pauses: u64,
    acked: u64,
    commits: u64,
    drained: u64,
    restart_ms: Vec<f64>,
    disk_bytes_max: u64,
    wrong: Vec<String>,
}

/// Runs it. True when nothing was wrong.
///
/// # Errors
/// A sentence: the rig could not be set up, or the broker did not come back.
pub fn run(plan: &SoakPlan) -> Result<bool, String> {
    match apart::run()? {
        Apart::Inside => {}
        Apart::Ran(good) => return Ok(good),
        Apart::Impossible(why) => {
            println!("skipped: soak, because {why}");
            return Ok(true);
        }
    }
    println!("soak: {} minutes, seed {}", plan.minutes, plan.seed);
    let folder = plan.folder.join(format!("soak-{}", plan.seed));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut broker = BrokerPlan::new(&plan.program, &folder.join("data"));
    // So small that retention and compaction have something to do.
    broker.environment = SMALL_SETTINGS.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    broker.environment.push(("POLYLOG_RETENTION_CHECK_MS".to_owned(), "1s".to_owned()));
    let all = Duration::from_secs(plan.minutes * 60);
    let begin = Instant::now();
    let mut soak = Soak {
        rng: Rng::of(plan.seed, 1),
        plan: broker,
        folder,
        cuts: Cuts::start(Rng::of(plan.seed, 2)).map_err(words)?,
        figures: Figures::default(),
        trend: Trend::default(),
        next_client: 1,
        many_lives_until: begin + all / 3,
        until: begin + all,
    };
    let good = soak.all()?;
    let page = plan.folder.join("soak.md");
    fs::write(&page, soak.page(plan)).map_err(|error| format!("{}: {error}", page.display()))?;
    println!("page: {}", page.display());
    if good {
        fs::remove_dir_all(&soak.folder).map_err(|error| format!("{}: {error}", soak.folder.display()))?;
    } else {
        println!("evidence: {}", soak.folder.display());
    }
    println!("{}", soak.last_line());
    Ok(good)
}

struct Soak {
    rng: Rng,
    plan: BrokerPlan,
    folder: PathBuf,
    cuts: Cuts,
    figures: Figures,
    /// Of the long life.
    trend: Trend,
    next_client: u32,
    many_lives_until: Instant,
    until: Instant,
}

impl Soak {
    fn all(&mut self) -> Result<bool, String> {
        let mixed = Mixed::default();
        let mut broker = self.start(None)?;
        mixed::prepare(broker.address)?;
        let outcome = std::thread::scope(|scope| {
            mixed::start(scope, &mixed, self.cuts.address(), self.rng.bits());
            let outcome = self.stretches(&mut broker);
            mixed.end();
            outcome
        });
        outcome.map_err(|why| format!("{why}\n{}", process::tail_of(&self.plan.log)))?;
        // Judged after one more kill: what was acknowledged last is at stake too.
        broker.kill().map_err(words)?;
        let broker = self.start(None)?;
        mixed.judge(broker.address, &mut self.figures.wrong)?;
        println!("{}", mixed.said());
        if !broker.stop(PATIENCE).map_err(words)? {
            self.figures.wrong.push("the broker did not stop well".to_owned());
        }
        self.figures.wrong.extend(self.trend.wrong(FILES_MORE_MAX, THREADS_MORE_MAX));
        println!("{}", self.trend.said());
        self.figures.wrong.iter().for_each(|why| println!("  WRONG: {why}"));
        Ok(self.figures.wrong.is_empty())
    }

    fn stretches(&mut self, broker: &mut Broker) -> Result<(), String> {
        while Instant::now() < self.until {
            let end = self.until.min(Instant::now() + STRETCH);
            self.stretch(broker, end)?;
            if !self.figures.wrong.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// One topic and one history, judged at the end.
    fn stretch(&mut self, broker: &mut Broker, end: Instant) -> Result<(), String> {
        let begin = Instant::now();
        let shared = Shared::new(History::default(), begin);
        let (first_client, seed) = (self.next_client, self.rng.bits());
        self.next_client += load::CLIENTS;
        load::first_answer(broker, PATIENCE).map_err(words)?;
        shared.serve_at(self.cuts.address());
        let outcome = std::thread::scope(|scope| {
            load::start(scope, &shared, seed, first_client);
            let outcome = self.lives(broker, &shared, end);
            if outcome.is_ok() {
                shared.end()
            } else {
                shared.abandon()
            }
            outcome
        });
        let (history, findings) = shared.into_parts();
        outcome.inspect_err(|_| drop(fs::write(self.folder.join("history.txt"), history.to_text())))?;
        let drained = Shared::new(history, begin);
        drained.record(|push| push(Event::Drain));
        let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
        load::read_everything(&mut connection, &drained, self.next_client)
            .map_err(|error| format!("the last full reading failed: {error}"))?;
        let history = drained.into_parts().0;
        let report = checker::check(&history);
        let what = format!("soak, {:.0} s, {} lives ended", begin.elapsed().as_secs_f64(), self.figures.kills);
        if !tell(&what, &report, &findings) {
            fs::write(self.folder.join("history.txt"), history.to_text()).map_err(words)?;
            self.figures.wrong.push("a stretch was not clean, see above".to_owned());
        }
        self.figures.acked += report.acked;
        self.figures.commits += report.commits;
        self.figures.drained += report.drained;
        connection.delete_topic(TOPIC).map_err(|error| format!("deleting the stretch's topic: {error}"))
    }

    /// Until `end`: one life after another at first, then the long one.
    fn lives(&mut self, broker: &mut Broker, shared: &Shared, end: Instant) -> Result<(), String> {
        while Instant::now() < end {
            let many = Instant::now() < self.many_lives_until;
            let lasts = self.rng.within(if many { LIFE_MS } else { UNPAUSED_MS });
            let until = end.min(Instant::now() + Duration::from_millis(lasts));
            while Instant::now() < until {
                std::thread::sleep(SAMPLE_PAUSE.min(until.saturating_duration_since(Instant::now())));
                if broker.has_ended() {
                    return Err("the broker ended by itself".to_owned());
                }
                self.look(broker.pid(), many)?;
            }
            if Instant::now() >= end {
                return Ok(());
            }
            if many {
                shared.gone();
                self.cuts.serve(None);
                broker.signal_kill().map_err(words)?;
                broker.wait_end(PATIENCE).map_err(words)?;
                shared.record(|push| push(Event::Restart { power_lost: false }));
                self.figures.kills += 1;
                *broker = self.start(Some(shared))?;
            } else {
                self.pause(broker.pid())?;
            }
        }
        Ok(())
    }

    /// Starts the broker and waits for its first answer about data.
    fn start(&mut self, shared: Option<&Shared>) -> Result<Broker, String> {
        let restart = self.plan.data_dir.exists();
        let broker = Broker::start(&self.plan, PATIENCE).map_err(words)?;
        let took = load::first_answer(&broker, PATIENCE).map_err(words)?;
        if restart {
            self.figures.restart_ms.push(took.as_secs_f64() * 1e3);
        }
        self.cuts.serve(Some(broker.address));
        if let Some(shared) = shared {
            shared.serve_at(self.cuts.address());
        }
        Ok(broker)
    }

    /// The process stands still for a moment, as on a machine that does.
    fn pause(&mut self, pid: u32) -> Result<(), String> {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no such process")?;
        rustix::process::kill_process(process, Signal::STOP).map_err(words)?;
        std::thread::sleep(Duration::from_millis(self.rng.within(PAUSE_MS)));
        rustix::process::kill_process(process, Signal::CONT).map_err(words)?;
        self.figures.pauses += 1;
        Ok(())
    }

    fn look(&mut self, pid: u32, many: bool) -> Result<(), String> {
        let (disk_files, disk_bytes) = held_under(&self.plan.data_dir);
        self.figures.disk_bytes_max = self.figures.disk_bytes_max.max(disk_bytes);
        if !many {
            self.trend.add(trend::Sample {
                at: Instant::now(),
                resident_bytes: process::resident_bytes(pid).map_err(words)?,
                files: process::entries(pid, "fd").map_err(words)?.saturating_sub(disk_files),
                threads: process::entries(pid, "task").map_err(words)?,
                disk_bytes,
            });
        }
        Ok(())
    }

    fn last_line(&self) -> String {
        let figures = &self.figures;
        format!(
            "{} kills, {} pauses, {} cuts; {} acked, {} commits, {} read again, {} wrong; restart p50/p99 {:.0}/{:.0} ms; {}",
            figures.kills,
            figures.pauses,
            self.cuts.count(),
            figures.acked,
            figures.commits,
            figures.drained,
            figures.wrong.len(),
            percentile(&figures.restart_ms, 0.5),
            percentile(&figures.restart_ms, 0.99),
            self.trend.in_short()
        )
    }

    fn page(&self, plan: &SoakPlan) -> String {
        let mut page = format!("# Soak of {} minutes, seed {}\n\n{}\n\n", plan.minutes, plan.seed, process::machine());
        let _ =
            writeln!(page, "{}\n\nDisk: {} MB at most.\n", self.last_line(), self.figures.disk_bytes_max / 1_000_000);
        let _ = writeln!(page, "## What was wrong\n");
        for why in &self.figures.wrong {
            let _ = writeln!(page, "- {why}");
        }
        if self.figures.wrong.is_empty() {
            let _ = writeln!(page, "Nothing.");
        }
        let _ = writeln!(page, "\n## The long life\n\n{}", self.trend.table());
        page
    }
}

/// The files under a directory, and what they hold. Those that vanish meanwhile hold nothing.
fn held_under(folder: &Path) -> (u64, u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.fold((0, 0), |(files, bytes), entry| {
        let (more_files, more_bytes) = match entry.metadata() {
            Ok(about) if about.is_dir() => held_under(&entry.path()),
            Ok(about) => (1, about.len()),
            Err(_) => (0, 0),
        };
        (files + more_files, bytes + more_bytes)
    })
}
