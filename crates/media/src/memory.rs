// SPDX-License-Identifier: Apache-2.0
//! The medium that keeps nothing: a log and blobs in memory, for tests and trials.
//!
//! Owns: one shared map of what was written. A handle can be cloned and "reopened", so that what is written above can be tested as
//! on any other medium. Must not know: files.

use bytes::{Bytes, BytesMut};
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs, MediaError, Wal, WalDone, WalOp, WalOpened};
use model::{Corrupt, Lsn, ShardEpoch, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all handles share.
#[derive(Clone, Default)]
pub struct MemoryMedia {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    logs: BTreeMap<ShardId, Log>,
    blobs: BTreeMap<BlobName, Bytes>,
}

#[derive(Default)]
struct Log {
    epoch: ShardEpoch,
    frames: BTreeMap<Lsn, Bytes>,
    last: Lsn,
}

impl MemoryMedia {
    /// An empty medium.
    pub fn new() -> MemoryMedia {
        MemoryMedia::default()
    }

    /// Another handle on the blobs.
    pub fn blobs(&self) -> MemoryBlobs {
        MemoryBlobs { media: self.clone(), begun: BTreeMap::new(), done: VecDeque::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere leaves whole entries behind: every change is one insert or remove.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log in memory. Every append is "durable" at once.
pub struct MemoryWal {
    media: MemoryMedia,
    shard: ShardId,
    epoch: ShardEpoch,
    failed: Option<MediaError>,
    done: VecDeque<WalDone>,
}

impl MemoryWal {
    /// Opens the shard's log; an earlier handle on it is fenced.
    pub fn open(
        media: &MemoryMedia,
        shard: ShardId,
        from: Lsn,
        epoch_min: ShardEpoch,
    ) -> Result<(MemoryWal, WalOpened), MediaError> {
        let mut kept = media.lock();
        let log = kept.logs.entry(shard).or_default();
        let from = from.max(Lsn(1));
        let first = log.frames.keys().next().copied().unwrap_or(log.last.next());
        if log.last == Lsn(0) {
            // Nothing was ever written: the log begins where it is asked to.
            log.last = Lsn(from.0 - 1);
        } else if from < first || from > log.last.next() {
            let why = format!("frame {from} was asked for, there are those from {first} to {}", log.last);
            return Err(MediaError::Corrupt(Corrupt { name: format!("wal/{:02}", shard.0), at: 0, why }));
        }
        log.epoch = ShardEpoch(log.epoch.max(epoch_min).0 + 1);
        let opened = WalOpened {
            epoch: log.epoch,
            frames: log.frames.range(from..).map(|(lsn, body)| (*lsn, body.clone())).collect(),
            next: log.last.next(),
            copied_forward: 0,
            torn_at: None,
        };
        let epoch = log.epoch;
        drop(kept);
        Ok((MemoryWal { media: media.clone(), shard, epoch, failed: None, done: VecDeque::new() }, opened))
    }

    fn append(&mut self, lsn: Lsn, body: Bytes) -> Result<(), MediaError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut kept = self.media.lock();
        let log = kept.logs.entry(self.shard).or_default();
        if log.epoch != self.epoch {
            return Err(MediaError::Closed);
        }
        if lsn != log.last.next() {
            let why = format!("frame {lsn} was given where frame {} was due", log.last.next());
            return Err(MediaError::Io { name: format!("wal/{:02}", self.shard.0), why });
        }
        log.last = lsn;
        log.frames.insert(lsn, body);
        Ok(())
    }
}

impl Wal for MemoryWal {
    fn submit(&mut self, op: WalOp) {
        match op {
            WalOp::Append { lsn, body } => match self.append(lsn, body) {
                Ok(()) => self.done.push_back(WalDone::Durable { through: lsn }),
                Err(error) => {
                    self.failed = Some(error.clone());
                    self.done.push_back(WalDone::Failed(error));
                }
            },
            WalOp::Trim { below } => {
                let mut kept = self.media.lock();
                if let Some(log) = kept.logs.get_mut(&self.shard).filter(|log| log.epoch == self.epoch) {
                    log.frames = log.frames.split_off(&below);
                }
            }
            WalOp::Settle | WalOp::GiveBack { .. } => {}
            // Frames are no files here.
            WalOp::Lend { .. } => self.done.push_back(WalDone::Lent { slots: Vec::new() }),
        }
    }

    fn poll_done(&mut self) -> Option<WalDone> {
        self.done.pop_front()
    }
}

/// Blobs in memory.
pub struct MemoryBlobs {
    media: MemoryMedia,
    /// In pieces, not whole yet.
    begun: BTreeMap<BlobName, Vec<Bytes>>,
    done: VecDeque<(BlobTag, BlobDone)>,
}

impl MemoryBlobs {
    fn put(&self, name: BlobName, parts: Vec<Bytes>) -> Result<(), MediaError> {
        let mut kept = self.media.lock();
        if kept.blobs.contains_key(&name) {
            return Err(MediaError::Exists { name: name.to_string() });
        }
        let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in parts {
            whole.extend_from_slice(&part);
        }
        kept.blobs.insert(name, whole.freeze());
        Ok(())
    }

    fn put_piece(&mut self, name: BlobName, at: u64, parts: Vec<Bytes>, is_last: bool) -> Result<(), MediaError> {
        if at == 0 {
            self.begun.insert(name, Vec::new());
            if self.media.lock().blobs.contains_key(&name) {
                return Err(MediaError::Exists { name: name.to_string() });
            }
        }
        let Some(begun) = self.begun.get_mut(&name) else {
            return Err(MediaError::Missing { name: name.to_string() });
        };
        begun.extend(parts);
        let whole = if is_last { self.begun.remove(&name) } else { None };
        whole.map_or(Ok(()), |whole| self.put(name, whole))
    }

    fn get(&self, name: BlobName, at: u64, len: u32) -> Result<Bytes, MediaError> {
        let kept = self.media.lock();
        let blob = kept.blobs.get(&name).ok_or_else(|| MediaError::Missing { name: name.to_string() })?;
        let end = at.saturating_add(u64::from(len));
        if end > blob.len() as u64 {
            let why = format!("{len} bytes were asked for at {at}, the blob has {}", blob.len());
            return Err(MediaError::Corrupt(Corrupt { name: name.to_string(), at: blob.len() as u64, why }));
        }
        Ok(blob.slice(at as usize..end as usize))
    }

    fn list(&self, shard: ShardId, kind: BlobKind) -> Vec<(BlobName, u64)> {
        let kept = self.media.lock();
        let wanted = kept.blobs.iter().filter(|(name, _)| name.shard == shard && name.kind == kind);
        wanted.map(|(name, blob)| (*name, blob.len() as u64)).collect()
    }
}

impl Blobs for MemoryBlobs {
    fn submit(&mut self, tag: BlobTag, op: BlobOp) {
        if let Some(refusal) = op.refusal() {
            return self.done.push_back((tag, refusal));
        }
        let done = match op {
            BlobOp::Put { name, parts } => BlobDone::Put(self.put(name, parts)),
            BlobOp::PutPiece { name, at, parts, is_last } => {
                BlobDone::PutPiece(self.put_piece(name, at, parts, is_last))
            }
            BlobOp::Get { name, at, len } => BlobDone::Got(self.get(name, at, len)),
            BlobOp::List { shard, kind } => BlobDone::Listed(Ok(self.list(shard, kind))),
            BlobOp::Delete { name } => {
                self.begun.remove(&name);
                self.media.lock().blobs.remove(&name);
                BlobDone::Deleted(Ok(()))
            }
            // Memory is not a disk that could be full.
            BlobOp::Reserve { .. } | BlobOp::UseReserve { .. } => BlobDone::Reserved(Ok(())),
        };
        self.done.push_back((tag, done));
    }

    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)> {
        self.done.pop_front()
    }

    fn wait_done(&mut self) -> (BlobTag, BlobDone) {
        self.done.pop_front().expect("waited for an outcome though nothing was submitted")
    }
}
