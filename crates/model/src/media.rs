// SPDX-License-Identifier: Apache-2.0
//! The two roles of a storage medium, as completions: an operation is submitted, its outcome polled later.
//!
//! Owns: the operations, what is durable when each is done, and how they fail.
//! Must not know: records, topics, offsets, protocols. A frame's body and a blob are bytes.
//!
//! A driver may delay completions, so nothing may be inferred from a submit. `media/src/contract.rs` is the suite that every
//! medium passes; it quotes the MUSTs below.

use crate::{Corrupt, ErrorKind, Lsn, ShardEpoch, ShardId};
use bytes::Bytes;
use std::fmt;

/// A numbered log of frames.
///
/// Order: appends MUST be given with dense, ascending numbers. Bodies become durable in that order, without holes.
pub trait Wal {
    /// Takes an operation; never blocks on the outcome being known.
    fn submit(&mut self, op: WalOp);
    /// The next outcome, if one is known.
    fn poll_done(&mut self) -> Option<WalDone>;
}

/// What a [`Wal`] is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalOp {
    /// Appends the frame `lsn`. Frames submitted while a flush is under way are gathered into the next one (group commit).
    Append { lsn: Lsn, body: Bytes },
    /// Frames below `below` are needed no more: their room may be used again. MUST NOT be submitted before what replaces them
    /// is durable.
    Trim { below: Lsn },
    /// Nothing more will come for a while: the log MAY write an empty proof frame, so that the last frame, should it rot, is
    /// known to have been durable. It takes no number and is never seen by a reader.
    Settle,
    /// Lends files of the log to whoever goes on serving their bytes: those that are written for good and all of whose frames are
    /// below `below`. A log MAY lend nothing. MUST NOT be submitted before the frames below `below` are durable.
    Lend { below: Lsn },
    /// Takes a lent file back. MUST NOT be submitted while anybody reads it or anything durable names it.
    GiveBack { slot: u32 },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalDone {
    /// Every frame up to and including `through` survives a loss of power. MUST never go back.
    Durable { through: Lsn },
    /// A write or sync failed. Nothing after the last `Durable` is known; the log MUST take nothing more and answers every later
    /// append with this again.
    Failed(MediaError),
    /// The log has nothing to go on in behind the file that it writes to, and its medium no space for more: what is left is for what
    /// makes room, and beyond it appends wait, taken and not lost. Or it has again. Each is told once, in turns.
    Room { is_there: bool },
    /// The answer to [`WalOp::Lend`], exactly one to each, in their order. Each body stands in its file as it was appended, and does
    /// so until the file is given back: the log MUST NOT write to it, whatever is trimmed.
    Lent { slots: Vec<LentSlot> },
}

/// A file of the log that is lent: its frames, ascending, and where in the file the body of each begins. Its bytes are read as those
/// of a [`BlobKind::Slot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LentSlot {
    pub slot: u32,
    pub frames: Vec<(Lsn, u64)>,
}

/// What a log found when it was opened.
#[derive(Clone, Debug)]
pub struct WalOpened {
    /// This life's epoch, higher than that of any earlier life on the same bytes.
    pub epoch: ShardEpoch,
    /// The frames from the one asked for to the end, all durable by now, in order, without holes.
    pub frames: Vec<(Lsn, Bytes)>,
    /// The number that the next append must carry.
    pub next: Lsn,
    /// Frames found that were never proven durable, and were made so before this was returned.
    pub copied_forward: u64,
    /// A half-written end was cut here: file and position (no acknowledged frame stood there).
    pub torn_at: Option<(String, u64)>,
}

/// Immutable named byte strings. A [`BlobKind::Slot`] is there to be read: what would make, list or remove one MUST be refused.
pub trait Blobs {
    /// Takes an operation; `tag` comes back with its outcome.
    fn submit(&mut self, tag: BlobTag, op: BlobOp);
    /// The next outcome, if one is known.
    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)>;
    /// Waits for the next outcome. Called at open and by offline tools, where there is nothing else to do.
    ///
    /// # Panics
    /// When nothing was submitted.
    fn wait_done(&mut self) -> (BlobTag, BlobDone);
}

/// The submitter's number for one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobTag(pub u64);

/// A blob's name. Numbers only, so that nothing from the wire becomes a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    pub shard: ShardId,
    pub kind: BlobKind,
    pub number: u64,
}

/// What kind of blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// `seg/<shard>/<number>`: records, sorted by partition and offset.
    Segment,
    /// `ckpt/<shard>/<number>`: state at one position of the log.
    Checkpoint,
    /// `wal/<shard>/<number>`: a file that the log has lent. Only [`BlobOp::Get`] is for it: it is made by the log and goes back to it.
    Slot,
}

impl BlobOp {
    /// The answer to an operation that is not for blobs of this kind; `None`: it is for them.
    pub fn refusal(&self) -> Option<BlobDone> {
        let refused = |name: &dyn fmt::Display| {
            let why = "a file of the log can only be read as a blob".into();
            MediaError::Io { name: name.to_string(), why }
        };
        let is_slot = |name: &BlobName| name.kind == BlobKind::Slot;
        match self {
            BlobOp::Put { name, .. } if is_slot(name) => Some(BlobDone::Put(Err(refused(name)))),
            BlobOp::PutPiece { name, .. } if is_slot(name) => Some(BlobDone::PutPiece(Err(refused(name)))),
            BlobOp::Delete { name } if is_slot(name) => Some(BlobDone::Deleted(Err(refused(name)))),
            BlobOp::List { shard, kind: BlobKind::Slot } => {
                Some(BlobDone::Listed(Err(refused(&format_args!("wal/{:02}", shard.0)))))
            }
            _ => None,
        }
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, number) = (self.shard.0, self.number);
        match self.kind {
            BlobKind::Segment => write!(f, "seg/{shard:02}/{number:012}"),
            BlobKind::Checkpoint => write!(f, "ckpt/{shard:02}/{number:012}"),
            BlobKind::Slot => write!(f, "wal/{shard:02}/{number:04}"),
        }
    }
}

/// What [`Blobs`] are asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobOp {
    /// Makes the blob if its name is free. When done it is whole and durable, or not there at all.
    Put { name: BlobName, parts: Vec<Bytes> },
    /// Makes a blob out of pieces that come one after another, for one that is too large to be held at once. The first is at 0 and
    /// begins it, if its name is free; the next is asked for when the one before is done; the last makes it whole and durable.
    /// Until then, and when one fails, the blob is not there at all. Given up with [`BlobOp::Delete`].
    PutPiece { name: BlobName, at: u64, parts: Vec<Bytes>, is_last: bool },
    /// Reads `len` bytes at `at`. A blob that ends first is an error, never a shorter answer.
    Get { name: BlobName, at: u64, len: u32 },
    /// All blobs of one kind of one shard with their lengths, ascending by number.
    List { shard: ShardId, kind: BlobKind },
    /// Removes the blob, also one that was begun in pieces. Removing what is not there succeeds.
    Delete { name: BlobName },
    /// Sets so much room aside for the shard, over any number of openings: nobody else gets it, and from when this is done nor do puts.
    /// What is there already stays. Where there is not room enough, what there is stays set aside, and this fails with `NoSpace`; a
    /// medium that cannot set room aside fails with something else.
    Reserve { shard: ShardId, bytes: u64 },
    /// From now on puts of the shard that find no space take from what is set aside, as much as they need, until a
    /// [`BlobOp::Reserve`] is done.
    UseReserve { shard: ShardId },
}

/// What became of it, in the order of [`BlobOp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobDone {
    Put(Result<(), MediaError>),
    /// As `Put`: the piece is taken, the last is durable.
    PutPiece(Result<(), MediaError>),
    Got(Result<Bytes, MediaError>),
    Listed(Result<Vec<(BlobName, u64)>, MediaError>),
    Deleted(Result<(), MediaError>),
    /// Of `Reserve` and `UseReserve`.
    Reserved(Result<(), MediaError>),
}

/// Why a medium failed, by what the caller can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaError {
    /// No space is left: reads go on, and a later try may succeed.
    NoSpace { name: String },
    /// The name is taken ([`BlobOp::Put`]).
    Exists { name: String },
    /// Nothing has that name ([`BlobOp::Get`]).
    Missing { name: String },
    /// The bytes are not what was written.
    Corrupt(Corrupt),
    /// The device or the system refused; what was being written may or may not be there.
    Io { name: String, why: String },
    /// The medium was closed or has failed before.
    Closed,
}

impl MediaError {
    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            MediaError::NoSpace { .. } | MediaError::Io { .. } | MediaError::Closed => ErrorKind::Storage,
            MediaError::Exists { .. } => ErrorKind::Invalid,
            MediaError::Missing { .. } => ErrorKind::NotFound,
            MediaError::Corrupt(_) => ErrorKind::Corrupt,
        }
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MediaError::NoSpace { name } => write!(f, "no space left for {name}"),
            MediaError::Exists { name } => write!(f, "{name} exists already"),
            MediaError::Missing { name } => write!(f, "{name} does not exist"),
            MediaError::Corrupt(corrupt) => corrupt.fmt(f),
            MediaError::Io { name, why } => write!(f, "{name}: {why}"),
            MediaError::Closed => f.write_str("the medium is closed after an earlier failure"),
        }
    }
}

impl std::error::Error for MediaError {}
