// SPDX-License-Identifier: Apache-2.0
//! The broker on our own file system: each round one fault, then the process is killed, or the power lost, and all must be there.
//!
//! Owns: the kinds of fault, when each counts as met, what the broker must do then. Must not know: how faults are made (`fuse.rs`).
//!
//! Nothing waits for a time: a fault has been met when the file system says so, a broker has given up when its process has ended,
//! and an answer that came too early is found by losing the power before the sync is let go on.

use super::DiskPlan;
use crate::broker::{Broker, BrokerPlan, SMALL_SETTINGS};
use crate::fuse::files::{Call, Errno, Place};
use crate::fuse::{Disk, Fault, Mounted, Rule};
use crate::kill::load;
use crate::kill::reader;
use crate::kill::shared::{PARTITIONS, Shared, TOPIC};
use crate::kill::verdict::{Findings, tell};
use crate::wire::{Code, Connection, EARLIEST, FetchBounds, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use sim::checker::{self, Report};
use sim::history::{Event, History};
use sim::rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Exit code of a broker that could not write its log.
const LOG_FAILED: i32 = 70;
/// The load before a fault.
const LOAD_MS: std::ops::Range<u64> = 200..1_200;
/// Faults planted until one has hit a flush of the log, and not the filling of a slot, which is tried again.
const TRIES_MAX: u32 = 20;
const CONTROLS: u64 = 10;
/// So many of them must have lost something.
const CONTROLS_LOST_MIN: u64 = 9;
/// The load of one of them.
const CONTROL_LOAD: Duration = Duration::from_millis(600);

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// `kill -9`; the disk is well.
    Kill,
    /// The power goes.
    Cut,
    /// A sync of the log fails once.
    LogSyncFails,
    /// A write to the log fails once: nothing, or a part, was written.
    LogWriteFails(Fault),
    /// Writes take less than they were given.
    ShortWrites,
    /// Segments or checkpoints cannot be written for a while.
    BlobsFail(Place, Call, Errno),
    /// Segments cannot be read for a while.
    ReadsFail,
    /// A sync of the log stalls, and the power goes meanwhile.
    StallThenCut,
    /// A sync of the log stalls and goes on after seconds.
    StallThenGo,
}

/// One of each.
pub const SCENES: [Scene; 14] = [
    Scene::Cut,
    Scene::LogSyncFails,
    Scene::StallThenCut,
    Scene::LogWriteFails(Fault::Fails(Errno::IO)),
    Scene::Kill,
    Scene::BlobsFail(Place::Segments, Call::Write, Errno::NOSPC),
    Scene::ShortWrites,
    Scene::LogWriteFails(Fault::Torn),
    Scene::BlobsFail(Place::Segments, Call::Sync, Errno::IO),
    Scene::StallThenGo,
    Scene::BlobsFail(Place::Checkpoints, Call::Sync, Errno::IO),
    Scene::ReadsFail,
    Scene::LogWriteFails(Fault::Fails(Errno::NOSPC)),
    Scene::BlobsFail(Place::Checkpoints, Call::Write, Errno::IO),
];

/// Rounds with faults, each stretch of them on a fresh disk.
pub fn run(plan: &DiskPlan, folder: &Path) -> Result<bool, String> {
    let mut rng = Rng::of(plan.seed, 1);
    let mut all = Figures::default();
    let mut left = plan.rounds;
    while left > 0 {
        let folder = folder.join(format!("faults-{left}"));
        let mut run = match FaultRun::new(&plan.program, &folder, rng.bits()) {
            Ok(run) => run,
            Err(why) => {
                println!("skipped: disk faults, because {why}");
                return Ok(true);
            }
        };
        let mut scenes = SCENES;
        rng.shuffle(&mut scenes);
        let count = left.min(SCENES.len() as u64);
        left -= count;
        let (report, findings) = run.stretch(&scenes[..count as usize])?;
        let what = format!("disk faults: {} of {} rounds", plan.rounds - left, plan.rounds);
        if !tell(&what, &report, &findings) {
            run.keep_evidence()?;
            return Ok(false);
        }
        all.add(run.figures);
    }
    println!(
        "disk faults: {} rounds, {} losses of power, {} requests met a fault, {} starts; the broker gave up {} times and said so each time",
        plan.rounds, all.cuts, all.hits, all.starts, all.gave_up
    );
    Ok(true)
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub cuts: u64,
    pub starts: u64,
    pub hits: u64,
    pub gave_up: u64,
}

impl Figures {
    fn add(&mut self, more: Figures) {
        self.cuts += more.cuts;
        self.starts += more.starts;
        self.hits += more.hits;
        self.gave_up += more.gave_up;
    }
}

/// A disk of ours, a broker on it, and the history of all stretches.
pub struct FaultRun {
    disk: Disk,
    mount: PathBuf,
    broker: BrokerPlan,
    folder: PathBuf,
    rng: Rng,
    begin: Instant,
    history: History,
    next_client: u32,
    pub figures: Figures,
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl FaultRun {
    /// # Errors
    /// Why the file system cannot be mounted here.
    pub fn new(program: &Path, folder: &Path, seed: u64) -> Result<FaultRun, String> {
        let mount = folder.join("disk");
        fs::create_dir_all(&mount).map_err(|error| format!("{}: {error}", mount.display()))?;
        let disk = Disk::new();
        disk.mount(&mount).and_then(Mounted::unmount).map_err(|error| format!("FUSE cannot be mounted: {error}"))?;
        let mut broker = BrokerPlan::new(program, &mount.join("data"));
        // Not on the disk that fails.
        broker.log = folder.join("broker.log");
        broker.environment = SMALL_SETTINGS.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Ok(FaultRun {
            disk,
            mount,
            broker,
            folder: folder.to_owned(),
            rng: Rng::new(seed),
            begin: Instant::now(),
            history: History::default(),
            next_client: 1,
            figures: Figures::default(),
        })
    }

    pub fn keep_evidence(&self) -> Result<(), String> {
        fs::write(self.folder.join("history.txt"), self.history.to_text()).map_err(words)
    }

    /// Some rounds under one load, then everything is read and judged. Nothing is mounted before and after.
    pub fn stretch(&mut self, scenes: &[Scene]) -> Result<(Report, Findings), String> {
        let shared = Shared::new(std::mem::take(&mut self.history), self.begin);
        let first_client = self.next_client;
        self.next_client += load::CLIENTS;
        let seed = self.rng.bits();
        let outcome = std::thread::scope(|scope| {
            load::start(scope, &shared, seed, first_client);
            let outcome = self.rounds(scenes, &shared);
            if outcome.is_err() {
                shared.abandon();
            }
            outcome
        });
        let (history, findings) = shared.into_parts();
        self.history = history.clone();
        let (mounted, broker) = outcome.inspect_err(|_| drop(self.keep_evidence()))?;
        let drained = Shared::new(history, self.begin);
        drained.record(|push| push(Event::Drain));
        let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
        load::read_everything(&mut connection, &drained, self.next_client)
            .map_err(|error| format!("the last full reading failed: {error}"))?;
        broker.kill().map_err(words)?;
        mounted.unmount().map_err(words)?;
        Ok((checker::check(&drained.into_parts().0), findings))
    }

    fn rounds(&mut self, scenes: &[Scene], shared: &Shared) -> Result<(Mounted, Broker), String> {
        for scene in scenes {
            let (mounted, broker) = self.start(shared)?;
            std::thread::sleep(Duration::from_millis(self.rng.within(LOAD_MS)));
            let before = mounted.hits();
            self.play(*scene, &mounted, broker, shared)
                .map_err(|why| format!("{scene:?}: {why}\n{}", crate::process::tail_of(&self.broker.log)))?;
            self.figures.hits += mounted.hits() - before;
            let cut = match scene {
                Scene::Kill => false,
                Scene::Cut | Scene::StallThenCut => true,
                _ => self.rng.once_in(2),
            };
            mounted.unmount().map_err(words)?;
            if cut {
                self.disk.lose_power(&mut self.rng);
                self.figures.cuts += 1;
            }
            shared.record(|push| push(Event::Restart { power_lost: cut }));
        }
        let (mounted, broker) = self.start(shared)?;
        shared.end();
        Ok((mounted, broker))
    }

    fn start(&mut self, shared: &Shared) -> Result<(Mounted, Broker), String> {
        let mounted = self.disk.mount(&self.mount).map_err(words)?;
        // What earlier rounds said is not about this one.
        let _ = fs::remove_file(&self.broker.log);
        let broker = Broker::start(&self.broker, PATIENCE).map_err(words)?;
        load::first_answer(&broker, PATIENCE).map_err(|error| format!("no answer after the start: {error}"))?;
        shared.serve_at(broker.address);
        self.figures.starts += 1;
        Ok((mounted, broker))
    }

    /// Ends with the broker gone.
    fn play(&mut self, scene: Scene, mounted: &Mounted, mut broker: Broker, shared: &Shared) -> Result<(), String> {
        let before = mounted.hits();
        let after = self.rng.below(20);
        let plant = |call, place, times, fault| mounted.plant(Rule { call, place, after, times, fault });
        match scene {
            Scene::Kill | Scene::Cut => {}
            Scene::LogSyncFails => return self.gives_up(mounted, broker, shared, Call::Sync, Fault::Fails(Errno::IO)),
            Scene::LogWriteFails(fault) => return self.gives_up(mounted, broker, shared, Call::Write, fault),
            Scene::ShortWrites => {
                plant(Call::Write, Place::Log, 10, Fault::Short);
                plant(Call::Write, Place::Segments, 3, Fault::Short);
                met(mounted, before, 8)?;
                accepted(&broker)?;
            }
            Scene::BlobsFail(place, call, error) => {
                mounted.plant(Rule { call, place, after: 0, times: 3, fault: Fault::Fails(error) });
                met(mounted, before, 1)?;
                accepted(&broker)?;
            }
            Scene::ReadsFail => {
                let (call, place, fault) = (Call::Read, Place::Segments, Fault::Fails(Errno::IO));
                mounted.plant(Rule { call, place, after: 0, times: u64::MAX, fault });
                let refused = read_while_failing(&broker)?;
                if refused == 0 && mounted.hits() > before {
                    return Err("reads of the disk failed and no reader was told".to_owned());
                }
                accepted(&broker)?;
                mounted.release();
                read_all(&broker, shared)?;
            }
            Scene::StallThenCut | Scene::StallThenGo => {
                plant(Call::Sync, Place::Log, 2, Fault::Stalls);
                met(mounted, before, 1)?;
                // Readers of what is durable do not wait for what is not.
                read_all(&broker, shared)?;
                if scene == Scene::StallThenGo {
                    std::thread::sleep(Duration::from_millis(self.rng.within(1_000..4_000)));
                    mounted.release();
                    accepted(&broker)?;
                }
            }
        }
        if broker.has_ended() {
            return Err("the broker ended by itself".to_owned());
        }
        shared.gone();
        // The signal first: nothing of what the power's end makes of its requests reaches the process.
        broker.signal_kill().map_err(words)?;
        mounted.power_off();
        broker.kill().map_err(words)
    }

    /// The log fails: the broker must say so, acknowledge nothing more, and end with its exit code.
    fn gives_up(
        &mut self,
        mounted: &Mounted,
        mut broker: Broker,
        shared: &Shared,
        call: Call,
        fault: Fault,
    ) -> Result<(), String> {
        for _ in 0..TRIES_MAX {
            let before = mounted.hits();
            mounted.plant(Rule { call, place: Place::Log, after: self.rng.below(20), times: 1, fault });
            met(mounted, before, 1)?;
            let Some(status) = broker.wait_end(Duration::from_secs(2)).map_err(words)? else { continue };
            shared.gone();
            let told = fs::read_to_string(&self.broker.log).map_err(words)?;
            if status.code() != Some(LOG_FAILED) {
                return Err(format!("the log failed and the broker ended with {status}"));
            }
            if !told.lines().any(|line| line.contains("cannot go on") && line.contains("wal/")) {
                return Err("the log failed and the broker does not say so".to_owned());
            }
            self.figures.gave_up += 1;
            return Ok(());
        }
        Err(format!("{TRIES_MAX} failures of the log's disk did not make the broker give up"))
    }

    /// The control. How many acknowledged records are lost; `None`: the broker saw it and refused to start.
    fn forgets(mut self) -> Result<Option<u64>, String> {
        let shared = Shared::new(History::default(), self.begin);
        let seed = self.rng.bits();
        let (mounted, mut broker) = self.start(&shared)?;
        let (call, place) = (Call::Sync, Place::Log);
        mounted.plant(Rule { call, place, after: 0, times: u64::MAX, fault: Fault::Forgotten });
        std::thread::scope(|scope| {
            load::start(scope, &shared, seed, 1);
            std::thread::sleep(CONTROL_LOAD);
            shared.gone();
            let killed = broker.signal_kill();
            mounted.power_off();
            shared.abandon();
            killed
        })
        .map_err(words)?;
        broker.kill().map_err(words)?;
        mounted.unmount().map_err(words)?;
        self.disk.lose_power(&mut self.rng);
        // What the senders have to say of a broker that does not come back is no finding.
        let drained = Shared::new(shared.into_parts().0, self.begin);
        drained.record(|push| {
            push(Event::Restart { power_lost: true });
            push(Event::Drain);
        });
        let mounted = self.disk.mount(&self.mount).map_err(words)?;
        let Ok(broker) = Broker::start(&self.broker, PATIENCE) else {
            mounted.unmount().map_err(words)?;
            return Ok(None);
        };
        let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
        let read = reader::drain(&mut connection, &drained, TOPIC, 0, PARTITIONS as i32);
        broker.kill().map_err(words)?;
        mounted.unmount().map_err(words)?;
        let report = checker::check(&drained.into_parts().0);
        match read {
            Ok(_) => Ok(Some(report.lost())),
            // Even the topic is gone.
            Err(WireError::Refused { .. }) => Ok(Some(report.acked)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The disk forgets the log's syncs and then loses its power: what was acknowledged must be missing, or the rig sees nothing.
pub fn control(plan: &DiskPlan, folder: &Path) -> Result<bool, String> {
    let mut rng = Rng::of(plan.seed, 2);
    let (mut lost, mut refused, mut records) = (0, 0, 0);
    for number in 0..CONTROLS {
        let folder = folder.join(format!("control-{number}"));
        let run = match FaultRun::new(&plan.program, &folder, rng.bits()) {
            Ok(run) => run,
            Err(why) => {
                println!("skipped: the control of disk faults, because {why}");
                return Ok(true);
            }
        };
        match run.forgets()? {
            None => refused += 1,
            Some(0) => {}
            Some(gone) => {
                lost += 1;
                records += gone;
            }
        }
    }
    let good = lost + refused >= CONTROLS_LOST_MIN;
    println!(
        "control, a disk that forgets the log's syncs: of {CONTROLS} losses of power {lost} lost acknowledged records ({records} in all), \
         {refused} were seen by the start{}",
        if good { "" } else { ": WRONG, the rig cannot see a loss" }
    );
    Ok(good)
}

fn met(mounted: &Mounted, before: u64, count: u64) -> Result<(), String> {
    match mounted.wait_hits(before, count, PATIENCE) {
        true => Ok(()),
        false => Err(format!("no request met the fault within {} s", PATIENCE.as_secs())),
    }
}

/// A record of ours is taken. It goes into a topic that the history does not know.
pub fn accepted(broker: &Broker) -> Result<(), String> {
    const OWN: &str = "of-the-rig";
    let begin = Instant::now();
    let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
    match connection.create_topic(OWN, 1, &[]) {
        Ok(()) | Err(WireError::Refused { code: Code::TOPIC_ALREADY_EXISTS, .. }) => {}
        Err(error) => return Err(error.to_string()),
    }
    let record =
        NewRecord { value: Some(Bytes::from_static(b"taken?")), timestamp_ms: now_ms(), ..NewRecord::default() };
    let batch = batch::build(&[record], Numbering::NONE);
    let mut produced = Vec::new();
    loop {
        connection.send_produce(OWN, -1, &[(0, batch.bytes())]).map_err(words)?;
        connection.receive_produce(&mut produced).map_err(words)?;
        match produced.first() {
            Some(answer) if answer.error == Code::NONE => return Ok(()),
            Some(answer) if answer.error.retriable() && begin.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return Err(format!("a record was answered {answer:?}")),
        }
    }
}

fn read_all(broker: &Broker, shared: &Shared) -> Result<(), String> {
    let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
    let read = reader::drain(&mut connection, shared, TOPIC, 0, PARTITIONS as i32);
    read.map(drop).map_err(|error| format!("reading: {error}"))
}

/// Reads the start of every partition while the disk cannot: how many answers were the protocol's storage error. Any other error is
/// wrong.
fn read_while_failing(broker: &Broker) -> Result<u64, String> {
    let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
    let mut refused = 0;
    for partition in 0..PARTITIONS as i32 {
        let (start, _) = connection.list_offset(TOPIC, partition, EARLIEST).map_err(words)?;
        let bounds = FetchBounds { wait_ms_max: 0, ..FetchBounds::default() };
        connection.send_fetch(TOPIC, &[(partition, start)], bounds).map_err(words)?;
        for part in connection.receive_fetch().map_err(words)? {
            match part.error {
                Code::NONE => {}
                Code::KAFKA_STORAGE_ERROR => refused += 1,
                other => return Err(format!("a disk that cannot be read was answered {other}")),
            }
        }
    }
    Ok(refused)
}
