// SPDX-License-Identifier: Apache-2.0
//! From a data directory to recovered shards.
//!
//! Owns: which medium, the lock and the identity of the directory, the order of recovery. Must not know: sockets, threads.
//!
//! ```text
//! lock -> identity (made if there is none) -> for each shard: checkpoint -> log from there -> replay
//!      -> identity says "made" -> hello to every shard
//! ```

use crate::clock::Clock;
use crate::random;
use head_kafka::coordinator::{self, GroupSettings};
use kernel::Shard;
use kernel::shard::{Loaded, OpenError, ShardConfig};
use media::disk::real::{DirLock, RealDisk};
use media::identity::{self, Identity};
use media::local::blobs::LocalBlobs;
use media::local::wal::{LocalWal, SlotPreparation, WalOptions};
use media::memory::{MemoryMedia, MemoryWal};
use model::ids::base64_url;
use model::limits::BLOCK_BYTES;
use model::media::{Blobs, MediaError, Wal, WalDone, WalOp, WalOpened};
use model::{ShardEpoch, ShardId};
use ops::Health;
use std::path::PathBuf;
use std::sync::Arc;

/// Smallest memory tail of one shard: a spill of less is not worth a file.
const SHARD_TAIL_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// What the storage is made from.
#[derive(Clone, Debug)]
pub struct StorageSettings {
    pub mode: String,
    pub data_dir: PathBuf,
    /// What was asked for; the directory's own number rules.
    pub shards: Option<u32>,
    pub shards_default: u32,
    /// Over all shards.
    pub tail_bytes_max: u64,
    /// Over all shards.
    pub read_ahead_bytes_max: u64,
    pub slot_bytes: Option<u64>,
    pub retention_check_ms: u64,
    pub producer_expiry_ms: u64,
    pub producers_max: u32,
    /// For the machine of Kafka's groups, whose notes stand in the log.
    pub groups: GroupSettings,
}

enum Medium {
    /// The handle of which all others are made: they share their open files.
    Local {
        identity: Identity,
        disk: RealDisk,
        _lock: DirLock,
    },
    Memory(MemoryMedia),
}

/// An opened medium.
pub struct Storage {
    /// 22 characters.
    pub cluster_id: String,
    settings: StorageSettings,
    shard_count: u32,
    medium: Medium,
}

/// A shard's log on whichever medium.
pub enum AnyWal {
    Local(Box<LocalWal<RealDisk>>),
    Memory(MemoryWal),
}

impl AnyWal {
    /// Takes an operation.
    pub fn submit(&mut self, op: WalOp) {
        match self {
            AnyWal::Local(wal) => wal.submit(op),
            AnyWal::Memory(wal) => wal.submit(op),
        }
    }

    /// Writes and syncs what is staged; the next outcome.
    pub fn poll_done(&mut self) -> Option<WalDone> {
        match self {
            AnyWal::Local(wal) => wal.poll_done(),
            AnyWal::Memory(wal) => wal.poll_done(),
        }
    }

    /// A slot to be filled by another thread.
    pub fn take_preparation(&mut self) -> Option<SlotPreparation> {
        match self {
            AnyWal::Local(wal) => wal.take_preparation(),
            AnyWal::Memory(_) => None,
        }
    }

    /// It cannot be filled for now.
    pub fn preparation_fails(&mut self, error: MediaError) {
        if let AnyWal::Local(wal) = self {
            wal.preparation_fails(error);
        }
    }

    /// The slot, filled.
    pub fn give_preparation(&mut self, preparation: SlotPreparation) {
        if let AnyWal::Local(wal) = self {
            wal.give_preparation(preparation);
        }
    }
}

/// What recovery gives.
pub struct Recovered {
    pub shards: Vec<Shard>,
    pub wals: Vec<AnyWal>,
}

impl Storage {
    /// Locks the directory and reads or makes its identity.
    ///
    /// # Errors
    /// Why it cannot be used, for the operator.
    pub fn open(settings: &StorageSettings) -> Result<Storage, String> {
        if settings.mode == "memory" {
            return Ok(Storage {
                cluster_id: base64_url(&random::bytes::<16>()),
                settings: settings.clone(),
                shard_count: settings.shards.unwrap_or(settings.shards_default),
                medium: Medium::Memory(MemoryMedia::new()),
            });
        }
        let dir = settings.data_dir.display();
        let lock = DirLock::take(&settings.data_dir).map_err(|error| error.to_string())?;
        let mut disk = RealDisk::open(&settings.data_dir).map_err(|error| error.to_string())?;
        let shards_wanted = settings.shards.unwrap_or(settings.shards_default);
        let identity = identity::open(&mut disk, random::bytes(), shards_wanted)
            .map_err(|error| format!("data directory {dir}: {error}"))?;
        if let Some(shards) = settings.shards
            && shards != identity.shard_count
        {
            return Err(format!(
                "data directory {dir} was made with {} shard(s), which cannot be changed; {shards} was asked for",
                identity.shard_count
            ));
        }
        Ok(Storage {
            cluster_id: base64_url(&identity.cluster_id),
            settings: settings.clone(),
            shard_count: identity.shard_count,
            medium: Medium::Local { identity, disk, _lock: lock },
        })
    }

    /// The word of the setting `storage`.
    pub fn mode(&self) -> &str {
        &self.settings.mode
    }

    /// Recovers every shard and lets them say hello to each other.
    ///
    /// # Errors
    /// What is damaged or missing, with its place.
    pub fn recover(&mut self, health: &Health, clock: Clock) -> Result<Recovered, String> {
        let mut shards = Vec::new();
        let mut wals = Vec::new();
        for number in 0..self.shard_count {
            let shard = ShardId(number);
            let (opened, wal) = self.recover_shard(shard, health, clock)?;
            shards.push(opened);
            wals.push(wal);
        }
        if let Medium::Local { identity, disk, .. } = &mut self.medium {
            *identity = identity::finish(disk, *identity).map_err(|error| error.to_string())?;
        }
        let epochs: Arc<[ShardEpoch]> = shards.iter().map(Shard::epoch).collect();
        for shard in &mut shards {
            shard.hello(clock.now(), epochs.clone());
        }
        Ok(Recovered { shards, wals })
    }

    fn recover_shard(&self, shard: ShardId, health: &Health, clock: Clock) -> Result<(Shard, AnyWal), String> {
        let failed = |error: &dyn std::fmt::Display| format!("shard {shard} cannot be opened: {error}");
        let config = ShardConfig {
            shard,
            shard_count: self.shard_count,
            tail_bytes_max: self.shard_tail_bytes_max(),
            read_ahead_bytes_max: self.settings.read_ahead_bytes_max / u64::from(self.shard_count.max(1)),
            retention_check_ms: self.settings.retention_check_ms,
            producer_expiry_ms: self.settings.producer_expiry_ms,
            producers_max: self.settings.producers_max,
            lent_batch_bytes_min: BLOCK_BYTES as u64,
        };
        let started_us = clock.mono_us();
        health.starting(format!("shard {shard}: reading its checkpoint"));
        if let Medium::Local { disk, .. } = &self.medium {
            let removed = LocalBlobs::new(disk.another()).clean_tmp(shard).map_err(|error| failed(&error))?;
            if removed > 0 {
                tracing::info!(%shard, removed, "removed files that were half written when the node last ended");
            }
        }
        let mut blobs = self.blobs_for_reading();
        let loaded = Loaded::load(&config, &mut *blobs).map_err(|error| failed(&Told(&error)))?;
        let loaded_us = clock.mono_us();
        health.starting(format!("shard {shard}: reading its log"));
        let (wal, opened) = self.open_wal(shard, &loaded).map_err(|error| {
            let passed_over = loaded.passed_over();
            passed_over.map_or(error.clone(), |corrupt| {
                format!(
                    "{error}. The newest checkpoint is damaged ({corrupt}), and the one before it needs more of the log"
                )
            })
        })?;
        if let Some((file, at)) = &opened.torn_at {
            tracing::info!(%shard, file, at, "cut a half-written end of the log; nothing acknowledged stood there");
        }
        health.starting(format!("shard {shard}: replaying {} frames", opened.frames.len()));
        let read_us = clock.mono_us();
        let (frames, log_bytes) =
            (opened.frames.len(), opened.frames.iter().map(|(_, body)| body.len()).sum::<usize>());
        let (objects, segments, runs) = (loaded.objects(), loaded.segments(), loaded.runs());
        let machines = coordinator::machines(&self.settings.groups);
        let opened_shard =
            Shard::open(config, loaded, opened, machines, clock.now()).map_err(|error| failed(&Told(&error)))?;
        // What a start's time depends on, beside the time: docs/internals/recovery.md has the formula.
        tracing::info!(
            %shard,
            epoch = opened_shard.epoch().0,
            objects,
            segments,
            runs,
            frames,
            log_bytes,
            checkpoint_ms = (loaded_us - started_us) / 1000,
            log_ms = (read_us - loaded_us) / 1000,
            fold_ms = (clock.mono_us() - read_us) / 1000,
            "shard recovered"
        );
        Ok((opened_shard, wal))
    }

    fn open_wal(&self, shard: ShardId, loaded: &Loaded) -> Result<(AnyWal, WalOpened), String> {
        let (from, epoch_min) = (loaded.wal_from(), loaded.epoch());
        let failed = |error: &dyn std::fmt::Display| format!("the log of shard {shard} cannot be opened: {error}");
        match &self.medium {
            Medium::Memory(media) => {
                let (wal, opened) = MemoryWal::open(media, shard, from, epoch_min).map_err(|error| failed(&error))?;
                Ok((AnyWal::Memory(wal), opened))
            }
            Medium::Local { identity, disk, .. } => {
                let tail_bytes_max = self.shard_tail_bytes_max();
                let mut options = WalOptions::new(shard, identity.cluster_id, tail_bytes_max);
                if let Some(slot_bytes) = self.settings.slot_bytes {
                    options = options.with_slot_bytes(tail_bytes_max, slot_bytes);
                }
                options.epoch_min = epoch_min;
                options.lent = loaded.lent_slots();
                options.nonce = random::seed();
                options.may_create = !identity.made;
                let (wal, opened) = LocalWal::open(disk.another(), options, from).map_err(|error| failed(&error))?;
                Ok((AnyWal::Local(Box::new(wal)), opened))
            }
        }
    }

    /// How many shards the data is divided into.
    pub fn shard_count(&self) -> u32 {
        self.shard_count
    }

    /// The most of its log that one shard holds in memory.
    pub fn shard_tail_bytes_max(&self) -> u64 {
        (self.settings.tail_bytes_max / u64::from(self.shard_count.max(1))).max(SHARD_TAIL_BYTES_MIN)
    }

    /// A handle on the blobs for a thread that reads.
    pub fn blobs_for_reading(&self) -> Box<dyn Blobs + Send> {
        match &self.medium {
            Medium::Memory(media) => Box::new(media.blobs()),
            Medium::Local { disk, .. } => Box::new(LocalBlobs::new(disk.another())),
        }
    }

    /// A handle on the blobs for the thread that writes: its writes are paced, so that the log's syncs do not queue behind them.
    pub fn blobs_for_writing(&self) -> Box<dyn Blobs + Send> {
        match &self.medium {
            Medium::Memory(media) => Box::new(media.blobs()),
            Medium::Local { disk, .. } => Box::new(LocalBlobs::new(disk.another().paced())),
        }
    }

    /// A handle on the disk for the filling of log slots, where there is one.
    pub fn disk(&self) -> Option<RealDisk> {
        match &self.medium {
            Medium::Memory(_) => None,
            Medium::Local { disk, .. } => Some(disk.another()),
        }
    }
}

/// The kernel's reason in words.
struct Told<'a>(&'a OpenError);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            OpenError::Corrupt(corrupt) => {
                write!(f, "{corrupt}. `polylog fsck` tells all that is damaged, `polylog salvage` copies what is good")
            }
            OpenError::Newer { name, feature } => {
                write!(f, "{name} was written by a newer version: {feature} is not known to this one")
            }
            OpenError::Media(error) => error.fmt(f),
        }
    }
}
