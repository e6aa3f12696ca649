// SPDX-License-Identifier: Apache-2.0
//! The world around the product: its one disk, its clock, and its lives one after another.
//!
//! Owns: starting, dying (kill, loss of power, failed log), dying again while starting, and what must hold across lives whatever
//! clients do: a frame reported durable is there after every restart, and the state at a frame is the one that was live at it.
//! Must not know: clients, scenarios.

use crate::clock::Clock;
use crate::disk::{DiskFigures, Knobs, SimDisk};
use crate::process::{HashAt, Output, Process, Settings, StartError};
use crate::rng::Rng;
use crate::sometimes::Sightings;
use kernel::shard::OpenError;
use media::disk::FileName;
use media::identity::IdentityError;
use media::local::wal::WalOpenError;
use model::media::{BlobKind, MediaError};
use model::{Corrupt, Lsn};
use std::collections::BTreeMap;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Kill,
    Power,
}

/// What a run found wrong, in words. The first ends the run.
pub type Wrong = String;

/// See the module.
pub struct World {
    pub clock: Clock,
    pub disk: SimDisk,
    pub sightings: Sightings,
    process: Option<Process>,
    settings: Settings,
    knobs: Knobs,
    rng: Rng,
    lives: u64,
    /// A shard: the hash of its state at each frame, as noted live; and how far it was durable.
    hashes: Vec<BTreeMap<Lsn, u64>>,
    durable: Vec<Lsn>,
    /// A start is killed again once in so many times.
    pub storm_one_in: u64,
    /// How the process dies when the fuse is out.
    pub fuse_death: Death,
    /// A sync was made to fail, until the next start.
    failing_sync: bool,
    paused_until_us: u64,
    /// The latest that the wall clock has shown, before it was set back.
    wall_ms_max: u64,
    /// How far it has been set from the true time.
    wall_off_ms: i64,
    /// A refused start (damage found) is what the scenario hopes for.
    pub damage_done: bool,
    /// Whenever the process dies by itself, somebody starts another before it is gone; what came of that.
    pub rival_at_death: bool,
    rival: Result<(), Wrong>,
    /// Nobody looks inside: what the process is, not what it does, goes unjudged.
    pub clients_alone: bool,
}

/// A start was refused because of damage, with the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Damage(Corrupt),
    Wrong(Wrong),
}

const STARTS_MAX: u32 = 60;
/// What a start may read of a segment beside an eighth of it: its head and its end, where the index stands.
const SEGMENT_HEAD_BYTES: u64 = 4096;
const SEGMENT_END_BYTES: u64 = 64 * 1024;
/// How often it may read everything else: once to look, once to take, once to be sure.
const OTHERS_READ_TIMES_MAX: u64 = 3;
/// From one side to the other it is an hour: Kafka refuses records whose time is further from its clock than that.
const WALL_OFF_MS_MAX: i64 = 1_800_000;

impl World {
    /// An empty disk and no process.
    pub fn new(seed: u64, settings: Settings, knobs: Knobs) -> World {
        let clock = Clock::default();
        let disk = SimDisk::new(clock.clone(), Rng::of(seed, 100), knobs.clone());
        let shards = settings.shard_count as usize;
        World {
            clock,
            disk,
            sightings: Sightings::default(),
            process: None,
            settings,
            knobs,
            rng: Rng::of(seed, 101),
            lives: 0,
            hashes: vec![BTreeMap::new(); shards],
            durable: vec![Lsn(0); shards],
            storm_one_in: 0,
            fuse_death: Death::Kill,
            failing_sync: false,
            paused_until_us: 0,
            wall_ms_max: 0,
            wall_off_ms: 0,
            damage_done: false,
            rival_at_death: false,
            rival: Ok(()),
            clients_alone: false,
        }
    }

    /// The running process.
    ///
    /// # Panics
    /// When none runs.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process runs")
    }

    /// How many lives there were.
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// Starts the process, however often it dies on the way.
    ///
    /// # Errors
    /// [`Refused`]: it does not start, or not to the state that it had.
    pub fn start(&mut self) -> Result<(), Refused> {
        std::mem::replace(&mut self.rival, Ok(())).map_err(Refused::Wrong)?;
        if std::mem::take(&mut self.failing_sync) {
            self.disk.set_knobs(self.knobs.clone());
        }
        for attempt in 0..STARTS_MAX {
            let storm = self.storm_one_in != 0 && attempt < 8 && self.rng.once_in(self.storm_one_in);
            if storm {
                let fuse = 1 + self.rng.magnitude(7);
                self.disk.light_fuse(fuse);
                self.fuse_death = if self.rng.percent(50) { Death::Kill } else { Death::Power };
            }
            // Whoever starts while the disk has trouble tries again later; the trouble ends.
            if attempt > 12 {
                self.disk.heal();
            }
            let rng = Rng::new(self.rng.bits());
            let before = self.disk.figures();
            let started = Process::start(&self.settings, &self.disk, &self.clock, rng);
            if self.disk.dead() {
                self.sightings.saw("death in recovery");
                drop_after(started, || self.end(self.fuse_death));
                continue;
            }
            match started {
                Ok((process, found)) => {
                    self.lives += 1;
                    self.check_reads(before)?;
                    for (shard, found) in found.iter().enumerate() {
                        self.sightings.saw_if(found.torn, "torn tail cut");
                        self.sightings.saw_if(found.copied_forward > 0, "frames copied forward");
                        self.sightings.saw_if(found.lent_slots > 0, "start with lent slots");
                        self.sightings.saw_if(found.from > Lsn(1), "checkpoint loaded");
                        self.clock.note(
                            20,
                            [shard as u64, found.recovered.0, found.state_hash],
                            format_args!("life {}: shard {shard} {found:?}", self.lives),
                        );
                        if self.clients_alone {
                            continue;
                        }
                        if found.recovered < self.durable[shard] {
                            return Err(Refused::Wrong(format!(
                                "shard {shard}: frames up to {} were reported durable, recovered are {}",
                                self.durable[shard], found.recovered
                            )));
                        }
                        if let Some(live) = self.hashes[shard].get(&found.recovered)
                            && *live != found.state_hash
                        {
                            return Err(Refused::Wrong(format!(
                                "shard {shard}: the state replayed to frame {} is not the state that was live at it",
                                found.recovered
                            )));
                        }
                        self.durable[shard] = found.recovered;
                        self.hashes[shard].split_off(&found.recovered.next());
                    }
                    self.process = Some(process);
                    return Ok(());
                }
                Err(StartError::Open(OpenError::Corrupt(corrupt)))
                | Err(StartError::Open(OpenError::Media(MediaError::Corrupt(corrupt))))
                | Err(StartError::Identity(IdentityError::Corrupt(corrupt)))
                | Err(StartError::Wal(WalOpenError::Corrupt(corrupt))) => return Err(self.refused(corrupt)),
                Err(error) => {
                    // A disk that fails: the process ends, somebody starts it again.
                    self.clock.note(21, [u64::from(attempt), 0, 0], format_args!("start failed: {error:?}"));
                    self.sightings.saw("read error ended a start");
                    self.disk.kill();
                    self.clock.advance_to(self.clock.us() + 100_000);
                    if attempt + 1 == STARTS_MAX {
                        return Err(Refused::Wrong(format!("the start fails for ever: {error:?}")));
                    }
                }
            }
        }
        Err(Refused::Wrong("the start fails for ever".into()))
    }

    /// A start reads the log, the checkpoint and of each segment its end: how long it takes does not grow with what is stored.
    fn check_reads(&self, before: DiskFigures) -> Result<(), Refused> {
        if self.clients_alone {
            return Ok(());
        }
        let (mut segments_max, mut others_max) = (0, 0);
        for (file, bytes) in self.disk.list() {
            match file {
                FileName::Blob(name) if name.kind == BlobKind::Segment => {
                    segments_max += SEGMENT_END_BYTES.min(bytes as u64) + SEGMENT_HEAD_BYTES + bytes as u64 / 8;
                }
                _ => others_max += OTHERS_READ_TIMES_MAX * bytes as u64,
            }
        }
        let now = self.disk.figures();
        let segments = now.segment_read_bytes - before.segment_read_bytes;
        let others = now.other_read_bytes - before.other_read_bytes;
        if segments > segments_max || others > others_max {
            return Err(Refused::Wrong(format!(
                "a start takes the longer the more is stored: it read {segments} bytes of segments and {others} others, \
                 {segments_max} and {others_max} should do"
            )));
        }
        Ok(())
    }

    /// A second process is started on the same directory, while the first lives, is paused, or is about to be gone.
    ///
    /// # Errors
    /// In words: it serves.
    pub fn start_rival(&mut self) -> Result<(), Wrong> {
        let rng = Rng::new(self.rng.bits());
        match Process::start(&self.settings, &self.disk, &self.clock, rng) {
            Err(StartError::Held) => {
                self.sightings.saw("second process refused");
                self.sightings.saw_if(self.paused(), "second process refused while the first is paused");
                self.sightings.saw_if(self.disk.dead(), "second process refused while the first dies");
                Ok(())
            }
            Ok(_) => Err("two processes serve one data directory".into()),
            Err(error) => Err(format!("a second process got to the data of the first: {error:?}")),
        }
    }

    fn refused(&self, corrupt: Corrupt) -> Refused {
        if self.damage_done {
            Refused::Damage(corrupt)
        } else {
            Refused::Wrong(format!("the start is refused though nothing was damaged: {corrupt}"))
        }
    }

    fn end(&self, death: Death) {
        match death {
            Death::Kill => self.disk.kill(),
            Death::Power => self.disk.cut_power(),
        }
    }

    /// The next sync of anything fails; from the next start on the disk is as it was.
    pub fn fail_next_sync(&mut self) {
        self.failing_sync = true;
        self.disk.fail_next_sync();
    }

    /// No more trouble: there is space, the disk is well, starts succeed.
    pub fn heal(&mut self) {
        self.disk.heal();
        self.failing_sync = false;
        self.storm_one_in = 0;
    }

    /// Somebody sets the wall clock, never further from the true time than [`WALL_OFF_MS_MAX`].
    pub fn jump_wall_ms(&mut self, by: i64) {
        self.wall_ms_max = self.latest_wall_ms();
        let off_ms = (self.wall_off_ms + by).clamp(-WALL_OFF_MS_MAX, WALL_OFF_MS_MAX);
        self.clock.jump_wall_ms(off_ms - self.wall_off_ms);
        self.wall_off_ms = off_ms;
    }

    /// The latest that the wall clock has ever shown.
    pub fn latest_wall_ms(&self) -> u64 {
        self.wall_ms_max.max(self.clock.now().wall_ms)
    }

    /// The process gets no time until then; disk, network and clients go on.
    pub fn pause_until(&mut self, mono_us: u64) {
        self.sightings.saw("process paused");
        self.paused_until_us = self.paused_until_us.max(mono_us);
    }

    /// It gets no time now.
    pub fn paused(&self) -> bool {
        self.clock.us() < self.paused_until_us
    }

    /// When it got time again last, or will.
    pub fn paused_until_us(&self) -> u64 {
        self.paused_until_us
    }

    /// The process dies now.
    pub fn die(&mut self, death: Death) {
        self.paused_until_us = self.paused_until_us.min(self.clock.us());
        if let Some(process) = self.process.take() {
            for figures in process.figures() {
                self.sightings.saw_if(figures.spills > 0, "spill");
                self.sightings.saw_if(figures.spill_failures > 0, "spill failed");
                self.sightings.saw_if(figures.reserve_uses > 0, "reserve used");
                self.sightings
                    .saw_if(figures.reserve_uses > 0 && !figures.reserve_in_use, "reserve used, and whole again");
                self.sightings.saw_if(figures.spilled_in_place_bytes > 0, "batches left in a slot of the log");
                self.sightings.saw_if(figures.lent_slots_freed > 0, "lent slot given back");
                self.sightings.saw_if(figures.parked_publishes > 0, "publish parked");
            }
            self.sightings.saw_if(process.spilling(), "death while a spill is under way");
            self.sightings.saw_if(process.frames_under_way(), "death with frames under way");
            self.end(death);
            drop(process);
        } else {
            self.end(death);
        }
        self.sightings.saw(match death {
            Death::Kill => "kill",
            Death::Power => "power cut",
        });
    }

    /// Writes down what the run saw that only figures tell.
    pub fn note_figures(&mut self) {
        let disk = self.disk.figures();
        self.sightings.saw_if(disk.failed_writes > 0, "write error");
        self.sightings.saw_if(disk.removed_when_full > 0, "segment removed from a full disk");
        if self.process.is_some() {
            self.die(Death::Kill);
        }
    }

    /// When something happens next, clients not counted.
    pub fn next_due_us(&self) -> Option<u64> {
        if self.paused() {
            return Some(self.paused_until_us);
        }
        let process = self.process.as_ref().and_then(Process::next_due_us);
        [process, self.disk.next_due_us()].into_iter().flatten().min()
    }

    /// Does what is due now. `None`: the process died, what it would have answered is lost.
    ///
    /// The outputs of a process whose log failed are delivered; then it must be restarted.
    pub fn pump(&mut self) -> Option<Vec<Output>> {
        let process = self.process.as_mut()?;
        let mut hashes: Vec<HashAt> = Vec::new();
        process.pump(&self.disk, (!self.clients_alone).then_some(&mut hashes));
        for (shard, lsn, hash) in hashes {
            self.hashes[shard.0 as usize].insert(lsn, hash);
        }
        if self.disk.dead() {
            let death = self.fuse_death;
            if self.rival_at_death {
                self.rival = self.start_rival();
            }
            self.die(death);
            return None;
        }
        let process = self.process.as_mut()?;
        self.durable = process.durable();
        Some(process.take_outputs())
    }

    /// The process has given up (its log failed).
    pub fn failed(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.fatal().is_some())
    }
}

/// Drops what is left of a start only after the disk was told, so that nothing under way is answered.
fn drop_after<T>(left: T, told: impl FnOnce()) {
    told();
    drop(left);
}
