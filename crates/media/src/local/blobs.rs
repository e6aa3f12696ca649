// SPDX-License-Identifier: Apache-2.0
//! Blobs as files: `seg/<shard>/<number>`, `ckpt/<shard>/<number>`; to be read only, `wal/<shard>/<slot>`.
//!
//! Put = a temporary file, written in steps, synced, renamed, the directory synced: a blob under its own name is whole and durable, or
//! it is not there. A put in pieces is the same, waited for between its writes. What a crash leaves behind ends in `.tmp` and is removed at the next start (`clean_tmp`).
//!
//! Owns: the steps of each operation, several of which may be under way. Must not know: what blobs hold.
//!
//! The name is free if no file has it. Two puts of one name on one handle are told apart here; on two handles they do not happen,
//! since one shard owns a name and has one writer.

use crate::disk::{DirName, Disk, DiskDone, DiskError, DiskOp, FileName, list, run, unexpected};
use bytes::Bytes;
use model::Corrupt;
use model::ShardId;
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs, MediaError};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of one write.
const STEP_BYTES: usize = 1024 * 1024;

/// See the module.
pub struct LocalBlobs<D: Disk> {
    disk: D,
    jobs: BTreeMap<u64, Job>,
    next_tag: u64,
    done: VecDeque<(BlobTag, BlobDone)>,
}

struct Job {
    tag: BlobTag,
    step: Step,
}

enum Step {
    /// Is the name free?
    Look(Put),
    Create(Put),
    /// A temporary file of that name was left behind.
    ClearLeftover(Put),
    Write(Put),
    Sync(Put),
    Rename(Put),
    SyncDir(Put),
    /// It failed: the file goes, then the error is reported.
    GiveUp(MediaError, Kind),
    Get {
        name: BlobName,
        at: u64,
        len: u32,
    },
    List {
        shard: ShardId,
        kind: BlobKind,
    },
    Delete(BlobName),
    /// There is none of that name; perhaps one was begun in pieces.
    DeleteBegun(BlobName),
    SyncDelete(BlobName),
}

struct Put {
    name: BlobName,
    parts: VecDeque<Bytes>,
    written: u64,
    kind: Kind,
}

/// Which operation a put answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Piece { is_last: bool },
}

impl Kind {
    fn done(self, outcome: Result<(), MediaError>) -> BlobDone {
        match self {
            Kind::Whole => BlobDone::Put(outcome),
            Kind::Piece { .. } => BlobDone::PutPiece(outcome),
        }
    }
}

impl Put {
    /// The next pieces to write.
    fn take_step(&mut self) -> Vec<Bytes> {
        let mut left = STEP_BYTES;
        let mut pieces = Vec::new();
        while left > 0 {
            let Some(mut part) = self.parts.pop_front() else { break };
            if part.len() > left {
                self.parts.push_front(part.split_off(left));
            }
            left -= part.len();
            if !part.is_empty() {
                pieces.push(part);
            }
        }
        pieces
    }
}

impl<D: Disk> LocalBlobs<D> {
    /// Blobs on that disk.
    pub fn new(disk: D) -> LocalBlobs<D> {
        LocalBlobs { disk, jobs: BTreeMap::new(), next_tag: 0, done: VecDeque::new() }
    }

    /// Removes what unfinished puts of an earlier run left behind, and makes the names that are there durable: a run that was killed
    /// between a rename and its sync left a name that is seen and could still vanish. Call it for every shard at a start, before
    /// any blob is read.
    pub fn clean_tmp(&mut self, shard: ShardId) -> Result<u64, MediaError> {
        let mut removed = 0;
        for kind in [BlobKind::Segment, BlobKind::Checkpoint] {
            let dir = DirName::Blobs(shard, kind);
            for (file, _) in list(&mut self.disk, dir).map_err(|error| error.on(dir))? {
                if matches!(file, FileName::BlobTmp(_)) {
                    run(&mut self.disk, DiskOp::Remove { file }).map_err(|error| error.on(file))?;
                    removed += 1;
                }
            }
            match run(&mut self.disk, DiskOp::SyncDir { dir }) {
                Ok(_) | Err(DiskError::Missing) => {}
                Err(error) => return Err(error.on(dir)),
            }
        }
        Ok(removed)
    }

    /// Takes one outcome from the disk and starts what follows from it. False when the disk has none: a driver that must not hog
    /// its thread, or paces a large put, calls this instead of polling.
    pub fn step(&mut self) -> bool {
        match self.disk.poll_done() {
            Some((tag, outcome)) => {
                self.took(tag, outcome);
                true
            }
            None => false,
        }
    }

    /// Operations under way.
    pub fn under_way(&self) -> usize {
        self.jobs.len()
    }

    /// The disk, for a simulator to look at.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    fn start(&mut self, tag: BlobTag, step: Step, op: DiskOp) {
        self.next_tag += 1;
        self.jobs.insert(self.next_tag, Job { tag, step });
        self.disk.submit(self.next_tag, op);
    }

    fn finish(&mut self, tag: BlobTag, done: BlobDone) {
        self.done.push_back((tag, done));
    }

    fn give_up(&mut self, tag: BlobTag, put: &Put, error: MediaError) {
        self.start(tag, Step::GiveUp(error, put.kind), DiskOp::Remove { file: FileName::BlobTmp(put.name) });
    }

    fn being_put(&self, wanted: BlobName) -> bool {
        self.jobs.values().any(|job| match &job.step {
            Step::Look(put)
            | Step::Create(put)
            | Step::ClearLeftover(put)
            | Step::Write(put)
            | Step::Sync(put)
            | Step::Rename(put)
            | Step::SyncDir(put) => put.name == wanted,
            _ => false,
        })
    }

    fn write_or_sync(&mut self, tag: BlobTag, mut put: Put) {
        let file = FileName::BlobTmp(put.name);
        let pieces = put.take_step();
        if pieces.is_empty() {
            if put.kind == (Kind::Piece { is_last: false }) {
                return self.finish(tag, put.kind.done(Ok(())));
            }
            return self.start(tag, Step::Sync(put), DiskOp::Sync { file });
        }
        let at = put.written;
        put.written += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.start(tag, Step::Write(put), DiskOp::WriteAt { file, at, parts: pieces });
    }

    fn took(&mut self, disk_tag: u64, outcome: Result<DiskDone, DiskError>) {
        let Some(Job { tag, step }) = self.jobs.remove(&disk_tag) else { return };
        match (step, outcome) {
            (Step::Look(put), Err(DiskError::Missing)) => {
                let file = FileName::BlobTmp(put.name);
                self.start(tag, Step::Create(put), DiskOp::Create { file });
            }
            (Step::Look(put), Ok(_)) => {
                let error = MediaError::Exists { name: put.name.to_string() };
                self.finish(tag, put.kind.done(Err(error)));
            }
            // Nothing was made yet.
            (Step::Look(put) | Step::ClearLeftover(put), Err(error)) => {
                let error = error.on(put.name);
                self.finish(tag, put.kind.done(Err(error)));
            }
            (Step::Create(put), Err(DiskError::Exists)) => {
                let file = FileName::BlobTmp(put.name);
                self.start(tag, Step::ClearLeftover(put), DiskOp::Remove { file });
            }
            (Step::ClearLeftover(put), Ok(_)) => {
                let file = FileName::BlobTmp(put.name);
                self.start(tag, Step::Create(put), DiskOp::Create { file });
            }
            (Step::Create(put) | Step::Write(put), Ok(_)) => self.write_or_sync(tag, put),
            (Step::Sync(put), Ok(_)) => {
                let (from, to) = (FileName::BlobTmp(put.name), FileName::Blob(put.name));
                self.start(tag, Step::Rename(put), DiskOp::Rename { from, to });
            }
            (Step::Rename(put), Ok(_)) => {
                let dir = FileName::Blob(put.name).dir();
                self.start(tag, Step::SyncDir(put), DiskOp::SyncDir { dir });
            }
            (Step::SyncDir(put), Ok(_)) => self.finish(tag, put.kind.done(Ok(()))),
            (Step::Create(put) | Step::Write(put) | Step::Sync(put) | Step::Rename(put), Err(error)) => {
                let error = error.on(put.name);
                self.give_up(tag, &put, error);
            }
            // Whether its name would last is not known: it goes, and another try finds the name free.
            (Step::SyncDir(put), Err(error)) => {
                let error = error.on(put.name);
                self.start(tag, Step::GiveUp(error, put.kind), DiskOp::Remove { file: FileName::Blob(put.name) });
            }
            (Step::GiveUp(error, kind), _) => self.finish(tag, kind.done(Err(error))),
            (Step::Get { name, at, len }, Ok(DiskDone::Read(bytes))) => {
                let got = if bytes.len() == len as usize {
                    Ok(bytes)
                } else {
                    let why = format!("{len} bytes were asked for at {at}, the file ends here");
                    Err(MediaError::Corrupt(Corrupt { name: name.to_string(), at: at + bytes.len() as u64, why }))
                };
                self.finish(tag, BlobDone::Got(got));
            }
            (Step::Get { name, .. }, Ok(other)) => {
                self.finish(tag, BlobDone::Got(Err(unexpected(&other).on(name))));
            }
            (Step::Get { name, .. }, Err(error)) => self.finish(tag, BlobDone::Got(Err(error.on(name)))),
            (Step::List { shard, kind }, Ok(DiskDone::Listed(files))) => {
                let mut blobs: Vec<(BlobName, u64)> = files
                    .into_iter()
                    .filter_map(|(file, bytes)| match file {
                        FileName::Blob(name) if name.shard == shard && name.kind == kind => Some((name, bytes)),
                        _ => None,
                    })
                    .collect();
                blobs.sort_unstable();
                self.finish(tag, BlobDone::Listed(Ok(blobs)));
            }
            (Step::List { shard, kind }, other) => {
                let error = other.map_or_else(|error| error, |done| unexpected(&done));
                self.finish(tag, BlobDone::Listed(Err(error.on(DirName::Blobs(shard, kind)))));
            }
            (Step::Delete(name), Ok(_)) => {
                // Or a loss of power would bring it back.
                let dir = FileName::Blob(name).dir();
                self.start(tag, Step::SyncDelete(name), DiskOp::SyncDir { dir });
            }
            (Step::Delete(name), Err(DiskError::Missing)) => {
                let file = FileName::BlobTmp(name);
                self.start(tag, Step::DeleteBegun(name), DiskOp::Remove { file });
            }
            // A name that ends in .tmp may come back after a loss of power: the next start removes it.
            (Step::DeleteBegun(_), Ok(_) | Err(DiskError::Missing)) | (Step::SyncDelete(_), Ok(_)) => {
                self.finish(tag, BlobDone::Deleted(Ok(())));
            }
            (Step::Delete(name) | Step::DeleteBegun(name) | Step::SyncDelete(name), Err(error)) => {
                self.finish(tag, BlobDone::Deleted(Err(error.on(name))));
            }
        }
    }
}

/// The file to read. One of the log is the log's own, by the same name: what has it open is closed for both when another takes its
/// place.
fn file_of(name: BlobName) -> Option<FileName> {
    match name.kind {
        BlobKind::Segment | BlobKind::Checkpoint => Some(FileName::Blob(name)),
        BlobKind::Slot => Some(FileName::WalSlot { shard: name.shard, slot: u32::try_from(name.number).ok()? }),
    }
}

impl<D: Disk> Blobs for LocalBlobs<D> {
    fn submit(&mut self, tag: BlobTag, op: BlobOp) {
        if let Some(refusal) = op.refusal() {
            return self.finish(tag, refusal);
        }
        match op {
            BlobOp::Put { name, .. } if self.being_put(name) => {
                self.finish(tag, BlobDone::Put(Err(MediaError::Exists { name: name.to_string() })));
            }
            BlobOp::Put { name, parts } => {
                let put = Put { name, parts: parts.into(), written: 0, kind: Kind::Whole };
                self.start(tag, Step::Look(put), DiskOp::ReadAt { file: FileName::Blob(name), at: 0, len: 0 });
            }
            BlobOp::PutPiece { name, at, parts, is_last } => {
                let put = Put { name, parts: parts.into(), written: at, kind: Kind::Piece { is_last } };
                if at > 0 {
                    return self.write_or_sync(tag, put);
                }
                self.start(tag, Step::Look(put), DiskOp::ReadAt { file: FileName::Blob(name), at: 0, len: 0 });
            }
            BlobOp::Get { name, at, len } => {
                let Some(file) = file_of(name) else {
                    return self.finish(tag, BlobDone::Got(Err(MediaError::Missing { name: name.to_string() })));
                };
                self.start(tag, Step::Get { name, at, len }, DiskOp::ReadAt { file, at, len });
            }
            BlobOp::List { shard, kind } => {
                let op = DiskOp::List { dir: DirName::Blobs(shard, kind) };
                self.start(tag, Step::List { shard, kind }, op);
            }
            BlobOp::Delete { name } => {
                self.start(tag, Step::Delete(name), DiskOp::Remove { file: FileName::Blob(name) });
            }
        }
    }

    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)> {
        while self.done.is_empty() && self.step() {}
        self.done.pop_front()
    }

    fn wait_done(&mut self) -> (BlobTag, BlobDone) {
        loop {
            if let Some(done) = self.poll_done() {
                return done;
            }
            let (tag, outcome) = self.disk.wait_done();
            self.took(tag, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::blobs::{run as ask, segment};
    use crate::contract::disk::TestDisk;

    fn random(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below.max(1)
        }
    }

    fn whole() -> Bytes {
        Bytes::from((0..1_300_000u32).map(|index| (index / 3) as u8).collect::<Vec<u8>>())
    }

    fn put(blobs: &mut LocalBlobs<TestDisk>) -> Result<(), MediaError> {
        match ask(blobs, BlobOp::Put { name: segment(1), parts: vec![whole()] }) {
            BlobDone::Put(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_put_cut_off_at_any_operation_is_whole_or_not_there() {
        for operations in 0..12 {
            for seed in 0..6 {
                let disk = TestDisk::new();
                let mut left: u64 = operations;
                disk.fail(move |_| {
                    left = left.saturating_sub(1);
                    (left == 0 && operations > 0).then(|| DiskError::Io("power".into()))
                });
                let made = put(&mut LocalBlobs::new(disk.clone()));
                disk.heal();
                disk.cut_power(random(seed * 50 + operations));

                let mut blobs = LocalBlobs::new(disk.clone());
                blobs.clean_tmp(ShardId(0)).unwrap();
                let got = ask(&mut blobs, BlobOp::Get { name: segment(1), at: 0, len: whole().len() as u32 });
                match got {
                    BlobDone::Got(Ok(bytes)) => assert_eq!(bytes, whole()),
                    BlobDone::Got(Err(MediaError::Missing { .. })) => {
                        assert!(made.is_err(), "a put that was done is lost");
                        put(&mut blobs).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(disk.names(), [FileName::Blob(segment(1))], "nothing is left behind");
            }
        }
    }

    #[test]
    fn a_name_that_is_seen_after_a_kill_is_durable_once_the_start_is_over() {
        let disk = TestDisk::new();
        let killed = |op: &DiskOp| matches!(op, DiskOp::SyncDir { .. } | DiskOp::Remove { .. });
        disk.fail(move |op| killed(op).then(|| DiskError::Io("killed".into())));
        assert!(put(&mut LocalBlobs::new(disk.clone())).is_err());
        disk.heal();
        let mut blobs = LocalBlobs::new(disk.clone());
        blobs.clean_tmp(ShardId(0)).unwrap();
        disk.cut_power(|_| 0);
        assert_eq!(disk.names(), [FileName::Blob(segment(1))]);
    }

    #[test]
    fn a_put_whose_name_could_not_be_made_durable_can_be_tried_again() {
        let disk = TestDisk::new();
        disk.fail(|op| matches!(op, DiskOp::SyncDir { .. }).then(|| DiskError::Io("input/output error".into())));
        let mut blobs = LocalBlobs::new(disk.clone());
        assert!(matches!(put(&mut blobs), Err(MediaError::Io { .. })));
        disk.heal();
        put(&mut blobs).unwrap();
        disk.cut_power(|_| 0);
        assert_eq!(disk.names(), [FileName::Blob(segment(1))]);
    }

    #[test]
    fn without_space_a_put_fails_and_leaves_nothing_behind() {
        let disk = TestDisk::new();
        disk.room(Some(1_100_000));
        let mut blobs = LocalBlobs::new(disk.clone());
        assert_eq!(put(&mut blobs), Err(MediaError::NoSpace { name: segment(1).to_string() }));
        assert_eq!(disk.names(), []);
        disk.room(None);
        put(&mut blobs).unwrap();
    }

    #[test]
    fn what_an_earlier_run_left_behind_is_written_over_or_removed() {
        let disk = TestDisk::new();
        run(&mut disk.clone(), DiskOp::Create { file: FileName::BlobTmp(segment(1)) }).unwrap();
        put(&mut LocalBlobs::new(disk.clone())).unwrap();
        run(&mut disk.clone(), DiskOp::Create { file: FileName::BlobTmp(segment(2)) }).unwrap();
        assert_eq!(LocalBlobs::new(disk.clone()).clean_tmp(ShardId(0)), Ok(1));
        assert_eq!(disk.names(), [FileName::Blob(segment(1))]);
    }

    #[test]
    fn a_file_that_lost_its_end_is_told_from_a_missing_one() {
        let disk = TestDisk::new();
        let mut blobs = LocalBlobs::new(disk.clone());
        put(&mut blobs).unwrap();
        disk.set_bytes(FileName::Blob(segment(1)), whole()[..700].to_vec());
        match ask(&mut blobs, BlobOp::Get { name: segment(1), at: 500, len: 300 }) {
            BlobDone::Got(Err(MediaError::Corrupt(corrupt))) => assert_eq!(corrupt.at, 700),
            other => panic!("{other:?}"),
        }
        disk.fail(|_| Some(DiskError::Io("input/output error".into())));
        let got = ask(&mut blobs, BlobOp::Get { name: segment(1), at: 0, len: 1 });
        assert!(matches!(got, BlobDone::Got(Err(MediaError::Io { .. }))));
    }
}
