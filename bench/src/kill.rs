// SPDX-License-Identifier: Apache-2.0
//! The kill loop: `kill -9` under load, start again, and look for anything that was acknowledged or seen and is not there.
//!
//! Owns: the rounds, the moments of the kills, the verdict. The rules are the checker's (`sim::checker`), shared with the simulator.
//! Must not know: how the broker keeps its promises.
//!
//! Rounds come in groups, each with settings and a data directory of its own: default settings, and a tail and WAL slots so small
//! that every round spills, writes checkpoints and trims; one shard and two. Within a group rounds come in stretches, and after a
//! stretch everything is read once more and the whole history of the group is judged.
//!
//! One round: the broker starts on the same directory (one time in eight it is killed on the way and started again), answers,
//! serves idempotent senders, plain senders, readers and clients that commit offsets (alone, and as members of a group), all of which
//! live on through the kills, makes one more topic, and is killed at a random moment.

pub mod committer;
pub mod load;
pub mod reader;
pub mod sender;
pub mod shared;
pub mod verdict;

use crate::broker::{Broker, BrokerPlan, SMALL_SETTINGS};
use crate::wire::{Code, Connection, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use shared::Shared;
use sim::checker::{self, Report};
use sim::history::{Event, History};
use sim::rng::Rng;
use sim::value;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use verdict::{percentile, show};

/// After so many rounds everything is read and judged.
const STRETCH_ROUNDS_MAX: u64 = 25;
const PATIENCE: Duration = Duration::from_secs(30);
/// The kill falls into this range after the broker's first answer.
const LOAD_MS: std::ops::Range<u64> = 80..1_100;

/// What to do.
pub struct KillPlan {
    pub rounds: u64,
    pub seed: u64,
    pub program: PathBuf,
    /// A mistake to be switched on in a broker that was built with them.
    pub planted: Option<String>,
    /// Where data directories and the evidence of a failure lie.
    pub folder: PathBuf,
}

struct Group {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const GROUPS: [Group; 4] = [
    Group { name: "default settings", arguments: &[], environment: &[] },
    Group { name: "small tail", arguments: &[], environment: SMALL_SETTINGS },
    Group { name: "two shards", arguments: &["--shards", "2"], environment: &[] },
    Group { name: "two shards, small tail", arguments: &["--shards", "2"], environment: SMALL_SETTINGS },
];

/// What came out.
#[derive(Default)]
struct Verdict {
    kills: u64,
    kills_while_starting: u64,
    acked: u64,
    lost: u64,
    duplicated: u64,
    moved: u64,
    reordered: u64,
    commits: u64,
    back: u64,
    refused: u64,
    restart_ms: Vec<f64>,
}

impl Verdict {
    fn clean(&self) -> bool {
        self.lost + self.duplicated + self.moved + self.reordered + self.back + self.refused == 0
    }
}

/// Runs all rounds and prints the verdict as the last line. True when nothing was wrong.
///
/// # Errors
/// A sentence: the loop could not be carried out, and says nothing about the broker's promises, unless the broker did not start
/// again, which is a failure too.
pub fn run(plan: &KillPlan) -> Result<bool, String> {
    let mut verdict = Verdict::default();
    println!("kill loop: {} rounds, seed {}", plan.rounds, plan.seed);
    let count = GROUPS.len() as u64;
    for (index, group) in (0..).zip(&GROUPS) {
        let rounds = plan.rounds / count + u64::from(index < plan.rounds % count);
        if rounds > 0 {
            run_group(plan, index, group, rounds, &mut verdict)?;
        }
        if !verdict.clean() {
            break;
        }
    }
    if verdict.kills_while_starting > 0 {
        println!("{} more kills fell into a start", verdict.kills_while_starting);
    }
    println!(
        "{} kills, {} acked: lost {}, duplicated {}, moved {}, reordered {}; commits {}, back {}; restart p50/p99 {:.0}/{:.0} ms",
        verdict.kills,
        verdict.acked,
        verdict.lost,
        verdict.duplicated,
        verdict.moved,
        verdict.reordered,
        verdict.commits,
        verdict.back,
        percentile(&verdict.restart_ms, 0.5),
        percentile(&verdict.restart_ms, 0.99)
    );
    Ok(verdict.clean())
}

/// A topic that one round made, to be found again after every later kill.
struct ExtraTopic {
    name: String,
    /// What its first partition is called in the history.
    first: u64,
    partitions: i32,
}

fn run_group(plan: &KillPlan, index: u64, group: &Group, rounds: u64, verdict: &mut Verdict) -> Result<(), String> {
    let folder = plan.folder.join(format!("seed-{}-group-{index}", plan.seed));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut broker = BrokerPlan::new(&plan.program, &folder.join("data"));
    broker.arguments = group.arguments.iter().map(|word| word.to_string()).collect();
    broker.environment = group.environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    broker.environment.extend(plan.planted.iter().map(|bug| ("POLYLOG_PLANTED".to_owned(), bug.clone())));
    let mut run = GroupRun {
        begin: Instant::now(),
        rng: Rng::of(plan.seed, index),
        broker,
        history: History::default(),
        extra: Vec::new(),
        next_client: 1,
        acked: 0,
        commits: 0,
    };
    let mut left = rounds;
    while left > 0 {
        let stretch = left.min(STRETCH_ROUNDS_MAX);
        left -= stretch;
        let (report, refusals) = run.stretch(stretch, verdict)?;
        verdict.acked += report.acked - run.acked;
        run.acked = report.acked;
        verdict.commits += report.commits - run.commits;
        run.commits = report.commits;
        verdict.back += report.back();
        verdict.lost += report.lost();
        verdict.duplicated += report.duplicated();
        verdict.moved += report.moved();
        verdict.reordered += report.reordered();
        verdict.refused += refusals.len() as u64;
        println!(
            "{}: {} of {rounds} rounds, {} acked, {} commits, {} read again, {} never answered{}",
            group.name,
            rounds - left,
            report.acked,
            report.commits,
            report.drained,
            report.unknown,
            if report.clean() && refusals.is_empty() { "" } else { ": WRONG" }
        );
        if !report.clean() || !refusals.is_empty() {
            show(&report, &refusals);
            let evidence = folder.join("history.txt");
            fs::write(&evidence, run.history.to_text()).map_err(|error| error.to_string())?;
            println!("evidence: {} and the data directory beside it", evidence.display());
            return Ok(());
        }
    }
    fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))
}

struct GroupRun {
    begin: Instant,
    rng: Rng,
    broker: BrokerPlan,
    /// Of all stretches, without the final readings.
    history: History,
    extra: Vec<ExtraTopic>,
    next_client: u32,
    acked: u64,
    commits: u64,
}

impl GroupRun {
    /// Some rounds, then everything is read and judged. The broker is down before and after.
    fn stretch(&mut self, rounds: u64, verdict: &mut Verdict) -> Result<(Report, Vec<String>), String> {
        let shared = Shared::new(std::mem::take(&mut self.history), self.begin);
        let first_client = self.next_client;
        // One more for the topic maker.
        self.next_client += load::CLIENTS + 1;
        let seed = self.rng.bits();
        let outcome = std::thread::scope(|scope| {
            load::start(scope, &shared, seed, first_client);
            let outcome = self.rounds(rounds, &shared, self.next_client - 1, verdict);
            if outcome.is_err() {
                // The threads must not wait for a broker that does not come.
                shared.abandon();
            }
            outcome
        });
        let broker = match outcome {
            Ok(broker) => broker,
            Err(why) => {
                let (history, refusals) = shared.into_parts();
                show(&Report::default(), &refusals);
                let _ = fs::write(self.broker.data_dir.with_file_name("history.txt"), history.to_text());
                return Err(why);
            }
        };
        let (history, refusals) = shared.into_parts();
        self.history = history.clone();
        let drained = Shared::new(history, self.begin);
        drained.record(|push| push(Event::Drain));
        self.drain(&broker, &drained).map_err(|error| format!("the last full reading failed: {error}"))?;
        broker.kill().map_err(|error| error.to_string())?;
        let (judged, _) = drained.into_parts();
        let mut refusals = refusals;
        refusals.sort();
        Ok((checker::check(&judged), refusals))
    }

    /// Returns the broker of after the last kill, with all senders settled by it.
    fn rounds(&mut self, rounds: u64, shared: &Shared, client: u32, verdict: &mut Verdict) -> Result<Broker, String> {
        let mut extra_number = value::first_of_client(client);
        for _ in 0..rounds {
            let mut broker = self.start(shared, verdict)?;
            let load = Duration::from_millis(self.rng.within(LOAD_MS));
            let until = Instant::now() + load;
            match self.make_topic(&broker, shared, client, &mut extra_number) {
                Ok(()) => {}
                Err(WireError::Io(error)) => return Err(format!("a connection broke before the kill: {error}")),
                Err(error) => shared.refuse(format!("the round's own topic: {error}")),
            }
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            if broker.has_ended() {
                return Err(format!("the broker ended by itself:\n{}", crate::process::tail_of(&self.broker.log)));
            }
            shared.gone();
            broker.kill().map_err(|error| error.to_string())?;
            shared.record(|push| push(Event::Restart { power_lost: false }));
            verdict.kills += 1;
        }
        let broker = self.start(shared, verdict)?;
        shared.end();
        Ok(broker)
    }

    /// Starts the broker and waits for its first answer about data.
    fn start(&mut self, shared: &Shared, verdict: &mut Verdict) -> Result<Broker, String> {
        if self.rng.once_in(8) && self.broker.data_dir.exists() {
            let starting = Broker::spawn(&self.broker).map_err(|error| error.to_string())?;
            std::thread::sleep(Duration::from_micros(self.rng.within(0..60_000)));
            starting.kill();
            shared.record(|push| push(Event::Restart { power_lost: false }));
            verdict.kills_while_starting += 1;
        }
        let restart = self.broker.data_dir.exists();
        let broker = Broker::start(&self.broker, PATIENCE).map_err(|error| error.to_string())?;
        let answer =
            load::first_answer(&broker, PATIENCE).map_err(|error| format!("no answer after the start: {error}"))?;
        if restart {
            verdict.restart_ms.push(answer.as_secs_f64() * 1e3);
        }
        shared.serve_at(broker.address);
        Ok(broker)
    }

    /// Makes a topic and puts a few records into it, so that the catalog is under the kills too.
    fn make_topic(&mut self, broker: &Broker, shared: &Shared, client: u32, number: &mut u64) -> Result<(), WireError> {
        let mut connection = Connection::open(broker.address, PATIENCE)?;
        let round = self.extra.len() as u64 + 1;
        let partitions = self.rng.within(1..4) as i32;
        let topic = ExtraTopic { name: format!("made-in-round-{round}"), first: round * 1_000, partitions };
        connection.create_topic(&topic.name, partitions, &[])?;
        for partition in 0..partitions {
            let (first, count) = (*number, self.rng.within(1..5) as u32);
            *number += u64::from(count);
            let timestamp_ms = now_ms();
            let records: Vec<NewRecord> = (first..*number)
                .map(|number| {
                    let value = Some(Bytes::from(value::payload(number, 40)));
                    NewRecord { value, timestamp_ms, ..NewRecord::default() }
                })
                .collect();
            let batch = batch::build(&records, Numbering::NONE);
            let op = shared.next_op();
            let named = topic.first + partition as u64;
            shared.record(|push| push(Event::Send { op, client, partition: named, first, count, producer: None }));
            connection.send_produce(&topic.name, -1, &[(partition, batch.bytes())])?;
            let mut produced = Vec::new();
            connection.receive_produce(&mut produced)?;
            match produced.first() {
                Some(answer) if answer.error == Code::NONE && answer.base_offset >= 0 => {
                    shared.record(|push| push(Event::SendOk { op, offset: answer.base_offset as u64 }));
                }
                answer => {
                    shared.record(|push| push(Event::SendInfo { op }));
                    shared.refuse(format!("a batch for {} was answered {answer:?}", topic.name));
                }
            }
        }
        self.extra.push(topic);
        Ok(())
    }

    fn drain(&self, broker: &Broker, shared: &Shared) -> Result<(), WireError> {
        let mut connection = Connection::open(broker.address, PATIENCE)?;
        for topic in &self.extra {
            reader::drain(&mut connection, shared, &topic.name, topic.first, topic.partitions)?;
        }
        load::read_everything(&mut connection, shared, self.next_client)
    }
}
