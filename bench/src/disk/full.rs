// SPDX-License-Identifier: Apache-2.0
//! A disk that is full: ext4 on a loop device of 64 MB, the real broker under load until nothing goes in any more.
//!
//! Owns: the loop device, what fills it, what frees it. Must not know: how the broker keeps room for itself.
//!
//! While the disk is full: records are refused with the protocol's storage error, reads go on, nothing acknowledged is lost, and a
//! restart works. When space comes back (somebody removes a file, a topic is deleted, retention lets records go) it takes records
//! again without a restart.

use super::DiskPlan;
use crate::broker::{Broker, BrokerPlan, SMALL_SETTINGS};
use crate::kill::load;
use crate::kill::reader;
use crate::kill::shared::{PARTITIONS, Shared, TOPIC};
use crate::kill::verdict::tell;
use crate::process;
use crate::wire::{Code, Connection, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use sim::checker;
use sim::history::{Event, History};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DISK_BYTES: u64 = 64 * 1024 * 1024;
/// Each of three files that somebody removes later.
const OTHERS_BYTES: usize = 6 * 1024 * 1024;
const BATCH_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);
/// Refusals in a row after which the disk counts as full: a spill that makes room again comes between fewer.
const REFUSALS: u32 = 100;
const REFUSAL_PAUSE: Duration = Duration::from_millis(25);
/// Batches after which a disk of this size must have been full.
const BATCHES_MAX: u64 = 4 * DISK_BYTES / BATCH_BYTES as u64;

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Makes the file system and mounts it; what it is mounted on.
fn mount(folder: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).map_err(words)?;
    let (image, at) = (folder.join("image"), folder.join("disk"));
    fs::create_dir_all(&at).map_err(words)?;
    fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).map_err(words)?;
    tool(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
    // The loop device is freed with its mount.
    tool(Command::new("mount").args(["-o", "loop,nosuid,nodev"]).arg(&image).arg(&at))?;
    Ok(at)
}

fn tool(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim().replace('\n', " "))),
    }
}

/// Fills, and asks whether anything goes in.
struct Filler {
    topic: &'static str,
    connection: Connection,
    batch: Bytes,
    acked_bytes: u64,
}

impl Filler {
    fn open(broker: &Broker, topic: &'static str, settings: &[(&str, &str)]) -> Result<Filler, String> {
        let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
        match connection.create_topic(topic, 1, settings) {
            Ok(()) | Err(WireError::Refused { code: Code::TOPIC_ALREADY_EXISTS, .. }) => {}
            Err(error) => return Err(format!("topic {topic}: {error}")),
        }
        // Bytes that nothing makes smaller.
        let mut rng = sim::rng::Rng::new(7);
        let value: Vec<u8> = (0..BATCH_BYTES / 8).flat_map(|_| rng.bits().to_le_bytes()).collect();
        let record = NewRecord { value: Some(value.into()), timestamp_ms: now_ms(), ..NewRecord::default() };
        let batch = batch::build(&[record], Numbering::NONE).bytes().clone();
        Ok(Filler { topic, connection, batch, acked_bytes: 0 })
    }

    /// True when it was taken, false when there is no room; anything else is wrong.
    fn one(&mut self) -> Result<bool, String> {
        let mut produced = Vec::new();
        self.connection.send_produce(self.topic, -1, &[(0, &self.batch)]).map_err(words)?;
        self.connection.receive_produce(&mut produced).map_err(words)?;
        match produced.first().map(|answer| answer.error) {
            Some(Code::NONE) => {
                self.acked_bytes += self.batch.len() as u64;
                Ok(true)
            }
            // The second: more waits already than a spill would make room for.
            Some(Code::KAFKA_STORAGE_ERROR | Code::NOT_ENOUGH_REPLICAS) => Ok(false),
            other => Err(format!("a batch for a full disk was answered {other:?}")),
        }
    }

    /// Until nothing goes in any more.
    fn fill(&mut self) -> Result<(), String> {
        let mut refusals = 0;
        for _ in 0..BATCHES_MAX {
            if self.one()? {
                refusals = 0;
                continue;
            }
            refusals += 1;
            if refusals == REFUSALS {
                return Ok(());
            }
            std::thread::sleep(REFUSAL_PAUSE);
        }
        Err(format!("{} bytes went into a disk of {DISK_BYTES}", self.acked_bytes))
    }

    /// Until it goes in again: how long that took.
    fn wait_room(&mut self, what: &str) -> Result<Duration, String> {
        let begin = Instant::now();
        while !self.one()? {
            if begin.elapsed() > PATIENCE {
                return Err(format!("nothing is taken {} s after {what}", PATIENCE.as_secs()));
            }
            std::thread::sleep(REFUSAL_PAUSE);
        }
        Ok(begin.elapsed())
    }
}

/// See the module.
pub fn run(plan: &DiskPlan, folder: &Path) -> Result<bool, String> {
    let folder = folder.join("full");
    let at = match mount(&folder) {
        Ok(at) => at,
        Err(why) => {
            println!("skipped: full disk, because {why}");
            return Ok(true);
        }
    };
    let mut broker = BrokerPlan::new(&plan.program, &at.join("data"));
    broker.log = folder.join("broker.log");
    broker.environment = SMALL_SETTINGS.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    // What somebody frees must be more than a spill, after a restart that of a full tail.
    broker.environment.push(("POLYLOG_MEMORY_TAIL_BYTES_MAX".to_string(), "4MiB".to_string()));
    let begin = Instant::now();
    let shared = Shared::new(History::default(), begin);
    let outcome = std::thread::scope(|scope| {
        load::start(scope, &shared, plan.seed, 1);
        let outcome = story(&broker, &at, &shared);
        if outcome.is_ok() {
            shared.end()
        } else {
            shared.abandon()
        }
        outcome
    });
    let (history, findings) = shared.into_parts();
    let judged = outcome.map_err(|why| format!("full disk: {why}\n{}", process::tail_of(&broker.log))).and_then(
        |(last, wrong)| {
            let drained = Shared::new(history, begin);
            drained.record(|push| push(Event::Drain));
            let mut connection = Connection::open(last.address, PATIENCE).map_err(words)?;
            load::read_everything(&mut connection, &drained, 1 + load::CLIENTS).map_err(words)?;
            last.kill().map_err(words)?;
            let history = drained.into_parts().0;
            let good = tell("full disk", &checker::check(&history), &findings) && wrong.is_empty();
            wrong.iter().for_each(|why| println!("  WRONG: {why}"));
            if !good {
                fs::write(folder.join("history.txt"), history.to_text()).map_err(words)?;
            }
            Ok(good)
        },
    );
    tool(Command::new("umount").arg("-l").arg(&at))?;
    judged
}

fn start(plan: &BrokerPlan, shared: &Shared) -> Result<Broker, String> {
    let broker = Broker::start(plan, PATIENCE).map_err(words)?;
    load::first_answer(&broker, PATIENCE).map_err(words)?;
    shared.serve_at(broker.address);
    Ok(broker)
}

/// What must go on while nothing goes in.
fn goes_on(broker: &Broker, shared: &Shared, when: &str) -> Result<(), String> {
    let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
    let records = reader::drain(&mut connection, shared, TOPIC, 0, PARTITIONS as i32)
        .map_err(|error| format!("reading from a full disk: {error}"))?;
    connection.metadata_of_all().map_err(words)?;
    match connection.create_topic("no-room", 1, &[]) {
        Ok(()) => connection.delete_topic("no-room").map_err(words)?,
        // The second: it may be asked again when a spill has made room.
        Err(WireError::Refused { code: Code::KAFKA_STORAGE_ERROR | Code::THROTTLING_QUOTA_EXCEEDED, .. }) => {}
        Err(error) => return Err(format!("making a topic on a full disk: {error}")),
    }
    println!("  {when}: {records} records read, topics described");
    Ok(())
}

/// The last broker, and what was wrong although the story could go on.
fn story(plan: &BrokerPlan, at: &Path, shared: &Shared) -> Result<(Broker, Vec<String>), String> {
    let mut wrong = Vec::new();
    let [others, more_of_others, last_of_others] = ["others-1", "others-2", "others-3"].map(|name| at.join(name));
    for file in [&others, &more_of_others, &last_of_others] {
        fs::write(file, vec![7; OTHERS_BYTES]).and_then(|()| fs::File::open(file)?.sync_all()).map_err(words)?;
    }
    let broker = start(plan, shared)?;

    // The load's records lie beside these in every segment, and the load takes its part of whatever becomes free: what is deleted must be
    // more than it has in a spill, or the disk is as full as before, of what is needed.
    let mut deleted = Filler::open(&broker, "deleted", &[])?;
    deleted.fill()?;
    println!("  full after {} MB acknowledged beside the load", deleted.acked_bytes / 1_000_000);
    goes_on(&broker, shared, "full")?;
    fs::remove_file(&others).map_err(words)?;
    let took = deleted.wait_room("somebody freed space")?;
    println!("  takes records again {:.1} s after somebody freed space", took.as_secs_f64());

    let mut kept = Filler::open(&broker, "kept", &[])?;
    kept.fill()?;
    goes_on(&broker, shared, "full again")?;
    // A restart on the full disk, after a kill and after a stop.
    shared.gone();
    broker.kill().map_err(words)?;
    shared.record(|push| push(Event::Restart { power_lost: false }));
    let broker = start(plan, shared)?;
    let took = broker.started.elapsed();
    goes_on(&broker, shared, &format!("full, started again after kill -9 in {:.2} s", took.as_secs_f64()))?;
    shared.gone();
    broker.stop(PATIENCE).map_err(words)?;
    shared.record(|push| push(Event::Restart { power_lost: false }));
    let broker = start(plan, shared)?;
    let took = broker.started.elapsed();
    goes_on(&broker, shared, &format!("full, started again after a stop in {:.2} s", took.as_secs_f64()))?;

    let mut kept = Filler::open(&broker, "kept", &[])?;
    let mut connection = Connection::open(broker.address, PATIENCE).map_err(words)?;
    connection.delete_topic("deleted").map_err(|error| format!("deleting a topic on a full disk: {error}"))?;
    match kept.wait_room("a topic was deleted") {
        Ok(took) => println!("  takes records again {:.1} s after a topic was deleted", took.as_secs_f64()),
        Err(why) => wrong.push(why),
    }
    fs::remove_file(&more_of_others).map_err(words)?;
    let took = kept.wait_room("somebody freed space once more")?;
    println!("  takes records again {:.1} s after somebody freed space once more", took.as_secs_f64());

    // Retention keeps pace, or catches up. The load would keep for good what comes back: it ends.
    shared.end();
    let mut short = Filler::open(&broker, "short", &[("retention.bytes", "2000000")])?;
    let begin = Instant::now();
    for _ in 0..2 * DISK_BYTES / BATCH_BYTES as u64 {
        if !short.one()?
            && let Err(why) = short.wait_room("retention had to let records go")
        {
            wrong.push(why);
            break;
        }
    }
    let (megabytes, seconds) = (short.acked_bytes / 1_000_000, begin.elapsed().as_secs_f64());
    println!("  retention made room for {megabytes} MB more in {seconds:.1} s");
    // So that the load's senders come to an end, whatever was wrong.
    fs::remove_file(&last_of_others).map_err(words)?;
    kept.wait_room("somebody freed the last space")?;
    Ok((broker, wrong))
}
