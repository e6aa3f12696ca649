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

use bytes::Bytes;
use model::ShardId;
use model::media::{BlobKind, BlobName};
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
    /// `seg/<shard>/<number>` or `ckpt/<shard>/<number>`.
    Blob(BlobName),
    /// The same with `.tmp`, before its rename.
    BlobTmp(BlobName),
}

/// A directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirName {
    Root,
    Wal(ShardId),
    Blobs(ShardId, BlobKind),
}

impl FileName {
    /// Where it stands.
    pub fn dir(self) -> DirName {
        match self {
            FileName::Identity | FileName::IdentityTmp => DirName::Root,
            FileName::WalSlot { shard, .. } => DirName::Wal(shard),
            FileName::Blob(name) | FileName::BlobTmp(name) => DirName::Blobs(name.shard, name.kind),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Identity => f.write_str("identity"),
            FileName::IdentityTmp => f.write_str("identity.tmp"),
            FileName::WalSlot { shard, slot } => write!(f, "wal/{:02}/{slot:04}", shard.0),
            FileName::Blob(name) => name.fmt(f),
            FileName::BlobTmp(name) => write!(f, "{name}.tmp"),
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
    /// `Create`, `WriteAt` (all of it), `Sync`, `Rename`, `SyncDir`, `Remove`.
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
