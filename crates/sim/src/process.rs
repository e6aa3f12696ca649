// SPDX-License-Identifier: Apache-2.0
//! One life of the product: every shard with its log and blobs over the simulated disk.
//!
//! Owns: what the driver of a node does, in its order: completions and messages in, `finish`, effects out.
//! Must not know: who sends commands, what they mean, when the process dies.

use crate::clock::Clock;
use crate::disk::{DiskHandle, SimDisk};
use crate::rng::Rng;
use head_kafka::coordinator::{GroupSettings, machines};
use kernel::command::Command;
use kernel::log::read::BlockRead;
use kernel::shard::{Loaded, OpenError, Shard, ShardConfig, ShardFigures, ShardMessage};
use kernel::spill::Work;
use kernel::{Catalog, Ctx, Effect, Reply};
use media::identity::{self, IdentityError};
use media::local::blobs::LocalBlobs;
use media::local::wal::{LocalWal, WalOpenError, WalOptions};
use model::media::{BlobDone, BlobOp, Blobs, MediaError, Wal, WalDone, WalOpened};
use model::planted::{Bug, planted};
use model::{HolderId, Lsn, ShardEpoch, ShardId, Ticket};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What is fixed for all lives of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shard_count: u32,
    pub tail_bytes_max: u64,
    pub lent_batch_bytes_min: u64,
    pub slot_bytes: u64,
    pub slot_count: u32,
    pub slot_count_max: u32,
    pub retention_check_ms: u64,
    pub producers_max: u32,
    pub groups: GroupSettings,
    /// How long computation off the shard takes, at most.
    pub work_us: u64,
    /// How long a message between shards takes, at most.
    pub message_us: u64,
}

/// What leaves the process towards whoever asked.
#[derive(Debug)]
pub enum Output {
    Reply { holder: HolderId, ticket: Ticket, reply: Reply },
    Wake { holder: HolderId, watch: u64 },
}

/// Why a start failed.
#[derive(Debug)]
pub enum StartError {
    /// Another process has the directory.
    Held,
    Identity(IdentityError),
    Wal(WalOpenError),
    Open(OpenError),
}

struct Unit {
    shard: Shard,
    wal: LocalWal<DiskHandle>,
    blobs: LocalBlobs<DiskHandle>,
    /// Blocks being read, by the tag of the operation.
    reads: BTreeMap<u64, BlockRead>,
    touched: bool,
    /// `Durable` was reported up to here in this life.
    durable: Lsn,
    puts_under_way: u32,
    /// Slots are prepared from then on: after a failure there is a pause.
    prepare_us: u64,
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub copied_forward: u64,
    pub lent_slots: u64,
    pub torn: bool,
    /// The last frame recovered, before anything new was written.
    pub recovered: Lsn,
    pub state_hash: u64,
    pub from: Lsn,
}

/// See the module.
pub struct Process {
    units: Vec<Unit>,
    work: Vec<(u64, usize, Work)>,
    messages: VecDeque<(u64, ShardId, ShardId, ShardMessage)>,
    catalog: Catalog,
    outputs: Vec<Output>,
    fatal: Option<MediaError>,
    clock: Clock,
    rng: Rng,
    settings: Settings,
}

/// A state hash at a frame: noted live, compared after a restart.
pub type HashAt = (ShardId, Lsn, u64);

impl Process {
    /// Starts: the directory's lock, recovery of every shard, then greetings.
    ///
    /// # Errors
    /// [`StartError`], also when the disk's fuse went out on the way.
    pub fn start(
        settings: &Settings,
        disk: &SimDisk,
        clock: &Clock,
        mut rng: Rng,
    ) -> Result<(Process, Vec<Found>), StartError> {
        if !disk.take_lock() && !planted(Bug::LockLeftOut) {
            return Err(StartError::Held);
        }
        let mut root = disk.handle();
        let identity = identity::open(&mut root, CLUSTER_ID, settings.shard_count).map_err(StartError::Identity)?;
        let mut units = Vec::new();
        let mut found = Vec::new();
        for shard in 0..settings.shard_count {
            let config = ShardConfig {
                shard: ShardId(shard),
                shard_count: settings.shard_count,
                tail_bytes_max: settings.tail_bytes_max,
                lent_batch_bytes_min: settings.lent_batch_bytes_min,
                retention_check_ms: settings.retention_check_ms,
                producers_max: settings.producers_max,
                ..ShardConfig::default()
            };
            let mut blobs = LocalBlobs::new(disk.handle());
            blobs.clean_tmp(ShardId(shard)).map_err(|error| StartError::Open(OpenError::Media(error)))?;
            let loaded = Loaded::load(&config, &mut blobs).map_err(StartError::Open)?;
            let from = loaded.wal_from();
            let mut options = WalOptions::new(ShardId(shard), identity.cluster_id, settings.tail_bytes_max);
            options.slot_bytes = settings.slot_bytes;
            options.slot_count = settings.slot_count;
            options.slot_count_max = settings.slot_count_max;
            options.epoch_min = loaded.epoch();
            options.lent = loaded.lent_slots();
            options.may_create = !identity.made;
            options.nonce = rng.bits();
            let (wal, opened) = LocalWal::open(disk.handle(), options, from).map_err(StartError::Wal)?;
            let WalOpened { copied_forward, next, .. } = opened;
            let torn = opened.torn_at.is_some();
            let coordinators = machines(&settings.groups);
            let shard = Shard::open(config, loaded, opened, coordinators, clock.now()).map_err(StartError::Open)?;
            let recovered = Lsn(next.0 - 1);
            let lent_slots = shard.figures().lent_slots;
            found.push(Found { copied_forward, lent_slots, torn, recovered, state_hash: shard.state_hash(), from });
            units.push(Unit {
                shard,
                wal,
                blobs,
                reads: BTreeMap::new(),
                touched: true,
                durable: recovered,
                puts_under_way: 0,
                prepare_us: 0,
            });
        }
        identity::finish(&mut root, identity).map_err(StartError::Identity)?;
        let epochs: Arc<[ShardEpoch]> = units.iter().map(|unit| unit.shard.epoch()).collect();
        for unit in &mut units {
            unit.shard.hello(clock.now(), epochs.clone());
        }
        let process = Process {
            units,
            work: Vec::new(),
            messages: VecDeque::new(),
            catalog: Catalog::new(epochs),
            outputs: Vec::new(),
            fatal: None,
            clock: clock.clone(),
            rng,
            settings: settings.clone(),
        };
        Ok((process, found))
    }

    /// Hands a command to a shard. It is decided at the next `pump`.
    pub fn submit(&mut self, shard: ShardId, ctx: &Ctx, ticket: Ticket, command: Command) {
        let Some(unit) = self.units.get_mut(shard.0 as usize) else { return };
        unit.shard.submit(self.clock.now(), ctx, ticket, command);
        unit.touched = true;
    }

    /// Asks every shard to write a checkpoint.
    pub fn request_checkpoint(&mut self) {
        for unit in &mut self.units {
            unit.shard.request_checkpoint(self.clock.now());
            unit.touched = true;
        }
    }

    /// Does everything that is due now. Stops in the middle when the disk is dead: then nothing of this call counts. Who hands in
    /// no list for hashes does not want to know what only an insider can see: invariants are not looked at either.
    pub fn pump(&mut self, disk: &SimDisk, mut hashes: Option<&mut Vec<HashAt>>) {
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "a shard asks to be called again at once, without end");
            let mut busy = false;
            for index in 0..self.units.len() {
                busy |= self.pump_unit(index);
                if disk.dead() {
                    return;
                }
                busy |= self.finish(index, hashes.as_deref_mut());
                if disk.dead() {
                    return;
                }
            }
            if !busy {
                return;
            }
        }
    }

    fn pump_unit(&mut self, index: usize) -> bool {
        let now = self.clock.now();
        let mut busy = false;
        let unit = &mut self.units[index];
        while let Some(done) = unit.wal.poll_done() {
            if let WalDone::Durable { through } = &done {
                assert!(*through >= unit.durable, "durable went back from {} to {through}", unit.durable);
                unit.durable = *through;
            }
            self.clock.note(10, [index as u64, unit.durable.0, 0], format_args!("shard {index} wal {done:?}"));
            unit.shard.handle_wal(now, done);
            unit.touched = true;
            busy = true;
        }
        if unit.prepare_us <= now.mono_us {
            unit.wal.prepare_step();
            if unit.wal.figures().preparing_failed.is_some() {
                unit.prepare_us = now.mono_us + PREPARE_AGAIN_US;
            }
        }
        while let Some((tag, done)) = unit.blobs.poll_done() {
            self.clock.note(11, [index as u64, tag.0, 0], format_args!("shard {index} blob {} done", tag.0));
            if matches!(done, BlobDone::Put(_) | BlobDone::PutPiece(_)) {
                unit.puts_under_way -= 1;
            }
            match unit.reads.remove(&tag.0) {
                Some(read) => unit.shard.handle_blocks(now, tag, read.check(done)),
                None => unit.shard.handle_blob(now, tag, done),
            }
            unit.touched = true;
            busy = true;
        }
        while let Some(at) = self.work.iter().position(|(due, of, _)| *of == index && *due <= now.mono_us) {
            let (_, _, work) = self.work.remove(at);
            self.clock.note(12, [index as u64, 0, 0], format_args!("shard {index} work done"));
            unit.shard.handle_work(now, work.run());
            unit.touched = true;
            busy = true;
        }
        while let Some(at) = self.due_message(index, now.mono_us) {
            let Some((_, from, _, message)) = self.messages.remove(at) else { break };
            self.clock.note(
                13,
                [index as u64, u64::from(from.0), 0],
                format_args!("shard {index} from {from}: {}", name_of(&message)),
            );
            let unit = &mut self.units[index];
            unit.shard.handle_message(now, from, message);
            unit.touched = true;
            busy = true;
        }
        let unit = &mut self.units[index];
        if unit.shard.poll_timeout().is_some_and(|due| due <= now.mono_us) {
            self.clock.note(14, [index as u64, 0, 0], format_args!("shard {index} timeout"));
            unit.shard.handle_timeout(now);
            unit.touched = true;
            busy = true;
        }
        busy
    }

    /// The first message to that shard, if it is due.
    fn due_message(&self, to: usize, mono_us: u64) -> Option<usize> {
        let at = self.messages.iter().position(|(_, _, shard, _)| shard.0 as usize == to)?;
        (self.messages[at].0 <= mono_us).then_some(at)
    }

    fn finish(&mut self, index: usize, hashes: Option<&mut Vec<HashAt>>) -> bool {
        let now = self.clock.now();
        let unit = &mut self.units[index];
        if !std::mem::take(&mut unit.touched) {
            return false;
        }
        let (before, had_open_frame) = (unit.shard.figures().applied, unit.shard.has_open_frame());
        unit.shard.finish(now);
        if let Some(hashes) = hashes {
            let figures = unit.shard.figures();
            assert!(figures.durable <= unit.durable, "shard {index} believes in frames that the log has not reported");
            if let Err(why) = kernel::invariants::shard(&unit.shard) {
                panic!("shard {index}: {why}");
            }
            // An open frame is still being filled: it is noted when it is closed, or lost with the process.
            if !unit.shard.has_open_frame() && (figures.applied != before || had_open_frame) {
                hashes.push((ShardId(index as u32), figures.applied, unit.shard.state_hash()));
            }
        }
        while let Some(effect) = unit.shard.poll_effect() {
            match effect {
                Effect::Reply { holder, ticket, reply } => {
                    self.clock.note(
                        15,
                        [holder.0, ticket.0, 0],
                        format_args!("reply {holder}/{ticket} {}", brief(&reply)),
                    );
                    self.outputs.push(Output::Reply { holder, ticket, reply });
                }
                Effect::Wake { holder, watch } => {
                    self.clock.note(16, [holder.0, watch, 0], format_args!("wake {holder}/{watch}"));
                    self.outputs.push(Output::Wake { holder, watch });
                }
                Effect::Catalog(catalog) => self.catalog = catalog,
                Effect::Wal(op) => unit.wal.submit(op),
                Effect::Blob(tag, op) => {
                    if let BlobOp::Put { name, .. } | BlobOp::PutPiece { name, .. } = &op {
                        self.clock.note(17, [name.number, tag.0, 0], format_args!("shard {index} puts {name}"));
                        unit.puts_under_way += 1;
                    }
                    unit.blobs.submit(tag, op);
                }
                Effect::Blocks(tag, read) => {
                    unit.blobs.submit(tag, read.op());
                    unit.reads.insert(tag.0, read);
                }
                Effect::Work(work) => {
                    let due = now.mono_us + self.rng.below(self.settings.work_us + 1);
                    self.work.push((due, index, work));
                }
                Effect::Send { shard, message } => {
                    // Never before an earlier one to the same shard: order between two shards is kept.
                    let before = self.messages.iter().rev().find(|(_, _, to, _)| *to == shard);
                    let due = now.mono_us + self.rng.below(self.settings.message_us + 1);
                    let due = due.max(before.map_or(0, |(due, ..)| *due));
                    self.messages.push_back((due, ShardId(index as u32), shard, message));
                }
                Effect::Fatal(error) => {
                    self.clock.note(18, [index as u64, 0, 0], format_args!("shard {index} fatal: {error}"));
                    self.fatal = Some(error);
                }
            }
        }
        true
    }

    /// What left the process since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When something is due, the disk not counted.
    pub fn next_due_us(&self) -> Option<u64> {
        let timers = self.units.iter().filter_map(|unit| unit.shard.poll_timeout());
        let work = self.work.iter().map(|(due, _, _)| *due);
        let messages = self.messages.iter().map(|(due, _, _, _)| *due);
        let now_us = self.clock.us();
        let prepare = self.units.iter().map(|unit| unit.prepare_us).filter(move |due| *due > now_us);
        timers.chain(prepare).chain(work).chain(messages).min()
    }

    /// Nothing is under way but timers.
    pub fn idle(&self) -> bool {
        self.work.is_empty()
            && self.messages.is_empty()
            && self.units.iter().all(|unit| unit.shard.idle() && unit.wal.idle())
    }

    /// The log has failed: the process must end.
    pub fn fatal(&self) -> Option<&MediaError> {
        self.fatal.as_ref()
    }

    /// The catalog that heads see.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// A shard.
    pub fn shard(&self, shard: ShardId) -> &Shard {
        &self.units[shard.0 as usize].shard
    }

    /// Reported durable so far, a shard.
    pub fn durable(&self) -> Vec<Lsn> {
        self.units.iter().map(|unit| unit.durable).collect()
    }

    /// Figures of all shards.
    pub fn figures(&self) -> impl Iterator<Item = ShardFigures> {
        self.units.iter().map(|unit| unit.shard.figures())
    }

    /// A segment or checkpoint is being written.
    pub fn spilling(&self) -> bool {
        self.units.iter().any(|unit| unit.puts_under_way > 0)
    }

    /// Frames were applied that are not durable yet.
    pub fn frames_under_way(&self) -> bool {
        self.units.iter().any(|unit| unit.shard.figures().applied > unit.durable)
    }
}

/// Pause after a slot could not be prepared.
const PREPARE_AGAIN_US: u64 = 50_000;
/// More turns than this in one moment are an endless loop.
const TURNS_MAX: u32 = 100_000;

/// Any 16 bytes.
const CLUSTER_ID: [u8; 16] = *b"simulated system";

fn name_of(message: &ShardMessage) -> &'static str {
    match message {
        ShardMessage::Reconcile { .. } => "reconcile",
        ShardMessage::Place { .. } => "place",
        ShardMessage::Unplace { .. } => "unplace",
        ShardMessage::Placed { .. } => "placed",
        ShardMessage::Epoch { .. } => "epoch",
    }
}

fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Read(Ok(read)) => {
            format!("Read {} bytes, start {} high {}", read.bytes, read.start, read.high)
        }
        other => format!("{other:?}"),
    }
}
