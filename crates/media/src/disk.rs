// SPDX-License-Identifier: Apache-2.0
//! What lies below the local medium: a disk of completions.
//!
//! Owns: the operations and what each promises when done. `real.rs` runs them with system calls; the simulator has a faulty one,
//! so that recovery itself is what gets tested.
//! Must not know: frames, blobs' contents.
//!
//! Promises, those of a POSIX file system and no more: written bytes survive a loss of power only after `Sync` of their file; a
//! made, renamed or removed name only after `SyncDir` of its directory; unsynced writes may survive in part, in any order, torn at
//! any byte. After a failed `Sync` nothing is known of what it covered, and a second `Sync` proves nothing.

pub mod real;

use bytes::Bytes;
use model::ShardId;
use model::media::{BlobKind, BlobName, MediaError};
use std::fmt;

/// A file, by role and number: nothing from the wire becomes a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `identity`: cluster id, format version, feature flags, shard count.
    Identity,
    /// `identity.tmp`, before its rename.
    IdentityTmp,
    /// `wal/<shard>/<slot>`.
    WalSlot { shard: ShardId, slot: u32 },
    /// The same with `.new`, before its rename: a shorter file in its place.
    WalSlotNew { shard: ShardId, slot: u32 },
    /// `seg/<shard>/<number>` or `ckpt/<shard>/<number>`.
    Blob(BlobName),
    /// The same with `.tmp`, before its rename.
    BlobTmp(BlobName),
    /// `reserve/<shard>/<part>`: room set aside. It has no contents.
    Reserve { shard: ShardId, part: u32 },
}

/// A directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirName {
    Root,
    Wal(ShardId),
    Blobs(ShardId, BlobKind),
    Reserve(ShardId),
}

impl FileName {
    /// Where it stands.
    pub fn dir(self) -> DirName {
        match self {
            FileName::Identity | FileName::IdentityTmp => DirName::Root,
            FileName::WalSlot { shard, .. } | FileName::WalSlotNew { shard, .. } => DirName::Wal(shard),
            FileName::Blob(name) | FileName::BlobTmp(name) => DirName::Blobs(name.shard, name.kind),
            FileName::Reserve { shard, .. } => DirName::Reserve(shard),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Identity => f.write_str("identity"),
            FileName::IdentityTmp => f.write_str("identity.tmp"),
            FileName::WalSlot { shard, slot } => write!(f, "wal/{:02}/{slot:04}", shard.0),
            FileName::WalSlotNew { shard, slot } => write!(f, "wal/{:02}/{slot:04}.new", shard.0),
            FileName::Blob(name) => name.fmt(f),
            FileName::BlobTmp(name) => write!(f, "{name}.tmp"),
            FileName::Reserve { shard, part } => write!(f, "reserve/{:02}/{part:04}", shard.0),
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Makes an empty file; fails if it exists. Directories are made as needed and made durable with `SyncDir`.
    Create { file: FileName },
    /// Writes the parts one after another from `at` on; the file grows if needed.
    WriteAt { file: FileName, at: u64, parts: Vec<Bytes> },
    /// Gives the file blocks up to `bytes`, if it is shorter, without writing them: they read as zeros, and what is written there later
    /// finds its place. Not every disk can; what it cannot do it refuses with an error other than `NoSpace`.
    Allocate { file: FileName, bytes: u64 },
    /// Makes the file's bytes and length durable (`fdatasync`).
    Sync { file: FileName },
    /// Reads up to `len` bytes; fewer only at the end of the file.
    ReadAt { file: FileName, at: u64, len: u32 },
    /// Replaces `to` by `from`.
    Rename { from: FileName, to: FileName },
    /// Makes the directory's names durable, and its own name in its parents.
    SyncDir { dir: DirName },
    /// Names and lengths in the directory, in no promised order. A missing directory is empty. Foreign names are left out.
    List { dir: DirName },
    /// Removes the file.
    Remove { file: FileName },
}

/// Outcome of an operation that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskDone {
    /// `Create`, `WriteAt` (all of it), `Allocate`, `Sync`, `Rename`, `SyncDir`, `Remove`.
    Done,
    Read(Bytes),
    Listed(Vec<(FileName, u64)>),
}

/// Why one failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    NoSpace,
    Exists,
    Missing,
    /// Anything else, in the system's words.
    Io(String),
}

/// The trait. Completions come in any order; the user keeps what must be ordered ordered by waiting.
pub trait Disk {
    /// Starts an operation; `tag` comes back with its outcome.
    fn submit(&mut self, tag: u64, op: DiskOp);
    /// The next outcome, if one is known.
    fn poll_done(&mut self) -> Option<(u64, Result<DiskDone, DiskError>)>;
    /// Waits for the next outcome.
    ///
    /// # Panics
    /// When nothing was submitted.
    fn wait_done(&mut self) -> (u64, Result<DiskDone, DiskError>);
}

/// Runs one operation to its end. For openings and offline tools, where nothing else is under way on the handle.
pub fn run(disk: &mut dyn Disk, op: DiskOp) -> Result<DiskDone, DiskError> {
    const TAG: u64 = u64::MAX;
    disk.submit(TAG, op);
    loop {
        let (tag, outcome) = disk.wait_done();
        if tag == TAG {
            return outcome;
        }
    }
}

/// Reads `len` bytes at `at`, in steps, fewer at the end of the file.
pub fn read_all(disk: &mut dyn Disk, file: FileName, at: u64, len: u64) -> Result<Vec<u8>, DiskError> {
    const STEP_BYTES: u64 = 4 * 1024 * 1024;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < len {
        let at = at + bytes.len() as u64;
        let step = (len - bytes.len() as u64).min(STEP_BYTES);
        match run(disk, DiskOp::ReadAt { file, at, len: step as u32 })? {
            DiskDone::Read(piece) if piece.is_empty() => break,
            DiskDone::Read(piece) => bytes.extend_from_slice(&piece),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(bytes)
}

/// Names and lengths in a directory, ascending by name.
pub fn list(disk: &mut dyn Disk, dir: DirName) -> Result<Vec<(FileName, u64)>, DiskError> {
    match run(disk, DiskOp::List { dir })? {
        DiskDone::Listed(mut files) => {
            files.sort_unstable();
            Ok(files)
        }
        other => Err(unexpected(&other)),
    }
}

/// The error for an answer of the wrong kind.
pub(crate) fn unexpected(done: &DiskDone) -> DiskError {
    let kind = match done {
        DiskDone::Done => "done",
        DiskDone::Read(_) => "read",
        DiskDone::Listed(_) => "listed",
    };
    DiskError::Io(format!("the disk answered \"{kind}\" to another operation"))
}

impl DiskError {
    /// The same in the words of the storage roles.
    pub fn on(self, name: impl fmt::Display) -> MediaError {
        let name = name.to_string();
        match self {
            DiskError::NoSpace => MediaError::NoSpace { name },
            DiskError::Exists => MediaError::Exists { name },
            DiskError::Missing => MediaError::Missing { name },
            DiskError::Io(why) => MediaError::Io { name, why },
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::NoSpace => f.write_str("no space left"),
            DiskError::Exists => f.write_str("the file exists already"),
            DiskError::Missing => f.write_str("the file does not exist"),
            DiskError::Io(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for DirName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirName::Root => f.write_str("."),
            DirName::Wal(shard) => write!(f, "wal/{:02}", shard.0),
            DirName::Blobs(shard, BlobKind::Segment) => write!(f, "seg/{:02}", shard.0),
            DirName::Blobs(shard, BlobKind::Checkpoint) => write!(f, "ckpt/{:02}", shard.0),
            DirName::Blobs(shard, BlobKind::Slot) => DirName::Wal(*shard).fmt(f),
            DirName::Reserve(shard) => write!(f, "reserve/{:02}", shard.0),
        }
    }
}
