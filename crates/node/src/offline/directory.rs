// SPDX-License-Identifier: Apache-2.0
//! A data directory opened by a tool: locked against brokers, read only, however damaged.
//!
//! Owns: the lock, the identity (or what can be told without it), which shards there are. Must not know: what is in the files.

use super::{CannotRun, Finding};
use bytes::Bytes;
use kernel::shard::OpenError;
use kernel::spill::segment_index;
use media::disk::real::{DirLock, DirLockError, RealDisk};
use media::disk::{DirName, Disk, DiskError, FileName, list, read_all};
use media::identity::{self, Identity, IdentityError};
use media::local::blobs::file_of;
use media::local::wal::slot::{self, SlotPage};
use model::ShardId;
use model::limits::PAGE_BYTES;
use model::media::{BlobKind, BlobName, Blobs};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Shards looked for when the identity does not say how many there are.
const SHARDS_MAX: u32 = 64;

pub struct Directory {
    pub path: PathBuf,
    pub cluster_id: [u8; 16],
    pub shard_count: u32,
    /// The logs exist. (Otherwise the first start did not get so far.)
    pub made: bool,
    /// What is wrong with the identity.
    pub findings: Vec<Finding>,
    _lock: DirLock,
}

impl Directory {
    /// Locks and opens it.
    pub fn open(path: &Path) -> Result<Directory, CannotRun> {
        if !path.is_dir() {
            return Err(CannotRun(format!("{} is not a directory", path.display())));
        }
        if !["identity", "wal", "seg", "ckpt"].iter().any(|name| path.join(name).exists()) {
            return Err(CannotRun(format!("{} is not a data directory: nothing of one is in it", path.display())));
        }
        let lock = DirLock::take(path).map_err(|error| match error {
            DirLockError::Held { .. } => CannotRun(format!("{error}: stop the broker first")),
            DirLockError::Media(_) => CannotRun(error.to_string()),
        })?;
        let mut disk = RealDisk::open_read_only(path).map_err(|error| CannotRun(error.to_string()))?;
        let mut directory = Directory {
            path: path.to_owned(),
            cluster_id: [0; 16],
            shard_count: 0,
            made: true,
            findings: Vec::new(),
            _lock: lock,
        };
        let why = match identity::read(&mut disk) {
            Ok(Some(Identity { cluster_id, shard_count, made })) => {
                (directory.cluster_id, directory.shard_count, directory.made) = (cluster_id, shard_count, made);
                return Ok(directory);
            }
            Ok(None) => (None, "the file is missing".to_owned()),
            Err(IdentityError::Corrupt(corrupt)) => (Some(corrupt.at), corrupt.why),
            Err(error) => return Err(CannotRun(error.to_string())),
        };
        let consequence = "a broker does not start; cluster id and shards are told from the other files";
        directory.findings.push(Finding::damage(FileName::Identity, why.0, why.1, consequence));
        directory.guess(&mut disk)?;
        Ok(directory)
    }

    /// Tells the cluster and the number of shards from the slots and directories that are there.
    fn guess(&mut self, disk: &mut RealDisk) -> Result<(), CannotRun> {
        for shard in (0..SHARDS_MAX).map(ShardId) {
            let dirs = [
                DirName::Wal(shard),
                DirName::Blobs(shard, BlobKind::Segment),
                DirName::Blobs(shard, BlobKind::Checkpoint),
            ];
            for dir in dirs {
                for (file, _) in list(disk, dir).map_err(|error| CannotRun(error.on(dir).to_string()))? {
                    self.shard_count = self.shard_count.max(shard.0 + 1);
                    let FileName::WalSlot { .. } = file else { continue };
                    if self.cluster_id == [0; 16]
                        && let Ok(page) = read_all(disk, file, 0, PAGE_BYTES as u64)
                        && let SlotPage::Header(header, _) = slot::decode(&page)
                    {
                        self.cluster_id = header.cluster_id;
                    }
                }
            }
        }
        Ok(())
    }

    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shard_count).map(ShardId)
    }

    /// A handle that changes nothing.
    pub fn disk(&self) -> Result<RealDisk, CannotRun> {
        RealDisk::open_read_only(&self.path).map_err(|error| CannotRun(error.to_string()))
    }
}

/// The blobs of one kind of a shard with their lengths, ascending.
pub fn blobs_of(disk: &mut dyn Disk, shard: ShardId, kind: BlobKind) -> Result<Vec<(BlobName, u64)>, CannotRun> {
    let dir = DirName::Blobs(shard, kind);
    let files = list(disk, dir).map_err(|error| CannotRun(error.on(dir).to_string()))?;
    Ok(files
        .into_iter()
        .filter_map(|(file, bytes)| match file {
            FileName::Blob(name) => Some((name, bytes)),
            _ => None,
        })
        .collect())
}

/// Bytes of a block, which may stand in a slot of the log.
pub fn read_block(disk: &mut dyn Disk, file: BlobName, at: u64, bytes: u64) -> Result<Bytes, DiskError> {
    let file = file_of(file).ok_or(DiskError::Missing)?;
    read_all(disk, file, at, bytes).map(Bytes::from)
}

/// Slots that those of these segments have whose index can be read.
pub fn lent_to(blobs: &mut dyn Blobs, files: &[(BlobName, u64)], listed: &BTreeSet<u64>) -> BTreeSet<u32> {
    let live = files.iter().filter(|(name, _)| listed.contains(&name.number));
    let indexes = live.filter_map(|(name, length)| segment_index::load(blobs, *name, *length).ok());
    indexes.flat_map(|index| index.slots).map(|lent| lent.slot).collect()
}

/// Where and why, for a file that cannot be opened.
pub fn place_of(error: &OpenError) -> (Option<u64>, String) {
    match error {
        OpenError::Corrupt(corrupt) => (Some(corrupt.at), corrupt.why.clone()),
        OpenError::Newer { feature, .. } => {
            (None, format!("written by a newer version: {feature} is not known to this one"))
        }
        OpenError::Media(error) => (None, error.to_string()),
    }
}
