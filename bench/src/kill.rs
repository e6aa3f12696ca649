// SPDX-License-Identifier: Apache-2.0
//! The kill loop: `kill -9` under load, start again, and look for anything that was acknowledged or seen and is not there.
//!
//! Owns: the rounds, the moments of the kills, the verdict. The rules about records and commits are the checker's (`sim::checker`),
//! shared with the simulator; those about topics, settings and groups are the keepers' (`keep.rs`).
//! Must not know: how the broker keeps its promises.
//!
//! Rounds come in groups, each with settings and a data directory of its own: default settings, and a tail and WAL slots so small
//! that every round spills, writes checkpoints and trims; one shard and two. Within a group rounds come in stretches, and after a
//! stretch everything is read once more and the whole history of the group is judged.
//!
//! One round: the broker starts on the same directory (one time in eight it is killed on the way and started again), answers,
//! serves idempotent senders, plain senders, readers, clients that commit offsets (alone, and as members of a group) and keepers, all
//! of which live on through the kills, makes one more topic, and is killed at a random moment. Together they send every request that
//! the broker announces; in a run of [`ALL_ASKED_ROUNDS`] one that was never sent is a failure of its own.
//!
//! With a planted bug ([`control`]) the loop must see it.

pub mod committer;
mod control;
pub mod keep;
pub mod load;
pub mod reader;
pub mod sender;
pub mod shared;
pub mod verdict;

use crate::broker::{Broker, BrokerPlan, SMALL_SETTINGS};
use crate::process;
use crate::wire::{self, Code, Connection, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use shared::Shared;
use sim::checker::{self, Report};
use sim::history::{Event, History};
use sim::rng::Rng;
use sim::value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use verdict::{Findings, Tally, percentile, show, tell};

/// After so many rounds everything is read and judged.
const STRETCH_ROUNDS_MAX: u64 = 25;
const PATIENCE: Duration = Duration::from_secs(30);
/// In so many rounds every request that the broker announces must have been sent at least once.
const ALL_ASKED_ROUNDS: u64 = 20;
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

/// What came out of all groups.
#[derive(Default)]
struct Verdict {
    tally: Tally,
    kills: u64,
    kills_while_starting: u64,
    restart_ms: Vec<f64>,
    served: Duration,
    data_bytes_max: u64,
    /// Numbers of the requests that the broker announces.
    announced: BTreeSet<i16>,
}

/// Runs all rounds and prints the verdict as the last line. True when nothing was wrong, or, with a planted bug, when the loop saw it.
///
/// # Errors
/// A sentence: the loop could not be carried out, and says nothing about the broker's promises, unless the broker did not start
/// again, which is a failure too.
pub fn run(plan: &KillPlan) -> Result<bool, String> {
    println!("kill loop: {} rounds, seed {}", plan.rounds, plan.seed);
    match &plan.planted {
        None => honest(plan),
        Some(bug) => control::run(plan, bug),
    }
}

fn honest(plan: &KillPlan) -> Result<bool, String> {
    let mut verdict = Verdict::default();
    let count = GROUPS.len() as u64;
    for (index, group) in (0..).zip(&GROUPS) {
        let rounds = plan.rounds / count + u64::from(index < plan.rounds % count);
        if rounds > 0 {
            run_group(plan, index, group, rounds, &mut verdict)?;
        }
        if !verdict.tally.clean() {
            break;
        }
    }
    let never = verdict.never_sent(plan.rounds);
    if verdict.kills_while_starting > 0 {
        println!("{} more kills fell into a start", verdict.kills_while_starting);
    }
    let restarts = &verdict.restart_ms;
    println!(
        "restart to first answer p50/p99 {:.0}/{:.0} ms over {} starts, under {} clients, {:.0} records acknowledged a second served, data up to {} MB",
        percentile(restarts, 0.5),
        percentile(restarts, 0.99),
        restarts.len(),
        load::CLIENTS_AND_KEEPERS,
        verdict.tally.acked as f64 / verdict.served.as_secs_f64().max(1e-3),
        verdict.data_bytes_max / 1_000_000
    );
    println!("{} records were compacted away", verdict.tally.compacted);
    println!("{} kills, {}", verdict.kills, verdict.tally);
    Ok(verdict.tally.clean() && never.is_empty())
}

impl Verdict {
    /// Prints how often each request was sent, and names those that the broker announces and nobody sent.
    fn never_sent(&self, rounds: u64) -> Vec<i16> {
        let sent = wire::sent();
        let words: Vec<String> =
            sent.iter().filter(|(_, count)| *count > 0).map(|(api, count)| format!("{api:?} {count}")).collect();
        println!("sent: {}", words.join(", "));
        let was_sent = |key: &i16| sent.iter().any(|(api, count)| api.key_and_version().0 == *key && *count > 0);
        let never: Vec<i16> = self.announced.iter().copied().filter(|key| !was_sent(key)).collect();
        if !never.is_empty() {
            println!("requests that the broker announces and nobody sent: {never:?}");
        }
        if rounds < ALL_ASKED_ROUNDS { Vec::new() } else { never }
    }
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
    };
    let mut left = rounds;
    // The history is judged from its beginning each time: the last report has all, and findings are of one stretch each.
    let mut last = Tally::default();
    let mut kept = Findings::default();
    while left > 0 {
        let stretch = left.min(STRETCH_ROUNDS_MAX);
        left -= stretch;
        let (report, findings) = run.stretch(stretch, verdict)?;
        kept.changes += findings.changes;
        kept.compacted += findings.compacted;
        last = Tally::of(&report, &Findings { changes: kept.changes, compacted: kept.compacted, ..findings.clone() });
        if !tell(&format!("{}: {} of {rounds} rounds", group.name, rounds - left), &report, &findings) {
            let evidence = folder.join("history.txt");
            fs::write(&evidence, run.history.to_text()).map_err(|error| error.to_string())?;
            println!("evidence: {} and the data directory beside it", evidence.display());
            break;
        }
    }
    verdict.tally.add(&last);
    if !last.clean() {
        return Ok(());
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
}

impl GroupRun {
    /// Some rounds, then everything is read and judged. The broker is down before and after.
    fn stretch(&mut self, rounds: u64, verdict: &mut Verdict) -> Result<(Report, Findings), String> {
        let shared = Shared::new(std::mem::take(&mut self.history), self.begin);
        let first_client = self.next_client;
        // One more for the topic maker.
        self.next_client += load::CLIENTS_AND_KEEPERS + 1;
        let seed = self.rng.bits();
        let outcome = std::thread::scope(|scope| {
            load::start_with_keepers(scope, &shared, seed, first_client);
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
                let (history, findings) = shared.into_parts();
                show(&Report::default(), &findings);
                let _ = fs::write(self.broker.data_dir.with_file_name("history.txt"), history.to_text());
                return Err(why);
            }
        };
        let (history, findings) = shared.into_parts();
        self.history = history.clone();
        let drained = Shared::new(history, self.begin);
        drained.record(|push| push(Event::Drain));
        self.drain(&broker, &drained).map_err(|error| format!("the last full reading failed: {error}"))?;
        broker.kill().map_err(|error| error.to_string())?;
        let (judged, _) = drained.into_parts();
        Ok((checker::check(&judged), findings))
    }

    /// Returns the broker of after the last kill, with all senders settled by it.
    fn rounds(&mut self, rounds: u64, shared: &Shared, client: u32, verdict: &mut Verdict) -> Result<Broker, String> {
        let mut extra_number = value::first_of_client(client);
        for _ in 0..rounds {
            let mut broker = self.start(shared, verdict)?;
            let serves = Instant::now();
            let until = serves + Duration::from_millis(self.rng.within(LOAD_MS));
            match self.make_topic(&broker, shared, client, &mut extra_number) {
                Ok(()) => {}
                Err(WireError::Io(error)) => return Err(format!("a connection broke before the kill: {error}")),
                Err(error) => shared.refuse(format!("the round's own topic: {error}")),
            }
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            if broker.has_ended() {
                return Err(format!("the broker ended by itself:\n{}", process::tail_of(&self.broker.log)));
            }
            verdict.served += serves.elapsed();
            shared.gone();
            broker.kill().map_err(|error| error.to_string())?;
            shared.record(|push| push(Event::Restart { power_lost: false }));
            verdict.kills += 1;
            verdict.data_bytes_max = verdict.data_bytes_max.max(process::folder_bytes(&self.broker.data_dir));
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
        if verdict.announced.is_empty() {
            let spoken = Connection::open(broker.address, PATIENCE).map_err(WireError::Io);
            let spoken = spoken.and_then(|mut connection| connection.api_versions());
            let spoken = spoken.map_err(|error| format!("what is spoken: {error}"))?;
            verdict.announced.extend(spoken.into_iter().map(|(key, _, _)| key));
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
