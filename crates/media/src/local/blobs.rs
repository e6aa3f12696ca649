// SPDX-License-Identifier: Apache-2.0
//! Blobs as files: `seg/<shard>/<number>`, `ckpt/<shard>/<number>`; to be read only, `wal/<shard>/<slot>`.
//!
//! Put = a temporary file, written in steps, synced, renamed, the directory synced: a blob under its own name is whole and durable, or
//! it is not there. A put in pieces is the same, waited for between its writes. What a crash leaves behind ends in `.tmp` and is removed at the next start (`clean_tmp`).
//!
//! Room is set aside as `reserve/<shard>/<part>`, `RESERVE_PARTS` allocated files. A put that may use it and finds no space removes
//! one and does its step again: so the room is free for no longer than a step takes, and others on a full disk get little of it.
//!
//! Owns: the steps of each operation, several of which may be under way. Must not know: what blobs hold, when room is set aside.
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
/// Files that a shard's reserve consists of.
const RESERVE_PARTS: u32 = 16;
/// They are a multiple of this: what file systems allocate.
const PAGE_BYTES: u64 = 4096;

/// See the module.
pub struct LocalBlobs<D: Disk> {
    disk: D,
    jobs: BTreeMap<u64, Job>,
    next_tag: u64,
    done: VecDeque<(BlobTag, BlobDone)>,
    /// Shards whose puts may use their reserve, and the number of its parts that may still be there.
    in_use: BTreeMap<ShardId, u32>,
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
    /// It found no space: a part of the reserve goes, then this is done again; or the put gives up, where that would prove nothing.
    MakeRoom(Put, Option<Again>),
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
    /// A part of the reserve, if it is not there yet; its room; that it lasts.
    MakePart(Part),
    AllocatePart(Part),
    SyncPart(Part),
    /// It cannot be allocated here.
    DropPart(MediaError),
    SyncReserve(ShardId),
}

struct Put {
    name: BlobName,
    parts: VecDeque<Bytes>,
    written: u64,
    /// What is being written, and ends at `written`.
    step: Vec<Bytes>,
    kind: Kind,
}

/// A step that a put can do again.
#[derive(Clone, Copy)]
enum Again {
    Create,
    Write,
    Rename,
}

/// One file of a reserve.
#[derive(Clone, Copy)]
struct Part {
    shard: ShardId,
    part: u32,
    bytes: u64,
}

impl Part {
    fn file(self) -> FileName {
        FileName::Reserve { shard: self.shard, part: self.part }
    }
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
        LocalBlobs { disk, jobs: BTreeMap::new(), next_tag: 0, done: VecDeque::new(), in_use: BTreeMap::new() }
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
            | Step::SyncDir(put)
            | Step::MakeRoom(put, _) => put.name == wanted,
            _ => false,
        })
    }

    fn write_or_sync(&mut self, tag: BlobTag, mut put: Put) {
        put.step = put.take_step();
        if put.step.is_empty() {
            if put.kind == (Kind::Piece { is_last: false }) {
                return self.finish(tag, put.kind.done(Ok(())));
            }
            let file = FileName::BlobTmp(put.name);
            return self.start(tag, Step::Sync(put), DiskOp::Sync { file });
        }
        put.written += put.step.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.put_again(tag, put, Again::Write);
    }

    fn put_again(&mut self, tag: BlobTag, put: Put, again: Again) {
        let file = FileName::BlobTmp(put.name);
        match again {
            Again::Create => self.start(tag, Step::Create(put), DiskOp::Create { file }),
            Again::Write => {
                let (at, parts) = (put.written, put.step.clone());
                let at = at - parts.iter().map(|piece| piece.len() as u64).sum::<u64>();
                self.start(tag, Step::Write(put), DiskOp::WriteAt { file, at, parts });
            }
            Again::Rename => {
                let op = DiskOp::Rename { from: file, to: FileName::Blob(put.name) };
                self.start(tag, Step::Rename(put), op);
            }
        }
    }

    /// A step of a put failed. Without space it takes from the reserve, if it may and there is something left of it.
    fn put_failed(&mut self, tag: BlobTag, put: Put, again: Option<Again>, error: DiskError) {
        let shard = put.name.shard;
        match self.in_use.get_mut(&shard) {
            Some(parts) if error == DiskError::NoSpace && *parts > 0 => {
                *parts -= 1;
                let file = FileName::Reserve { shard, part: *parts };
                self.start(tag, Step::MakeRoom(put, again), DiskOp::Remove { file });
            }
            _ => {
                let error = error.on(put.name);
                self.give_up(tag, &put, error);
            }
        }
    }

    fn reserve_failed(&mut self, tag: BlobTag, part: Part, error: DiskError) {
        let error = error.on(part.file());
        match error {
            // What there is of it is there to be used, also what was made just now.
            MediaError::NoSpace { .. } => {
                self.in_use.entry(part.shard).and_modify(|parts| *parts = RESERVE_PARTS);
                self.finish(tag, BlobDone::Reserved(Err(error)));
            }
            _ => self.start(tag, Step::DropPart(error), DiskOp::Remove { file: part.file() }),
        }
    }

    fn took(&mut self, disk_tag: u64, outcome: Result<DiskDone, DiskError>) {
        let Some(Job { tag, step }) = self.jobs.remove(&disk_tag) else { return };
        match (step, outcome) {
            (Step::Look(put), Err(DiskError::Missing)) | (Step::ClearLeftover(put), Ok(_)) => {
                self.put_again(tag, put, Again::Create);
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
            (Step::Create(put) | Step::Write(put), Ok(_)) => self.write_or_sync(tag, put),
            (Step::Sync(put), Ok(_)) => self.put_again(tag, put, Again::Rename),
            (Step::Rename(put), Ok(_)) => {
                let dir = FileName::Blob(put.name).dir();
                self.start(tag, Step::SyncDir(put), DiskOp::SyncDir { dir });
            }
            (Step::SyncDir(put), Ok(_)) => self.finish(tag, put.kind.done(Ok(()))),
            (Step::Create(put), Err(error)) => self.put_failed(tag, put, Some(Again::Create), error),
            (Step::Write(put), Err(error)) => self.put_failed(tag, put, Some(Again::Write), error),
            (Step::Rename(put), Err(error)) => self.put_failed(tag, put, Some(Again::Rename), error),
            // A second sync would prove nothing of what the first one covered.
            (Step::Sync(put), Err(error)) => self.put_failed(tag, put, None, error),
            (Step::MakeRoom(put, Some(again)), Ok(_)) => self.put_again(tag, put, again),
            // The next try finds room.
            (Step::MakeRoom(put, None), Ok(_)) => self.give_up(tag, &put, DiskError::NoSpace.on(put.name)),
            // That part was used before: the next, until there is none.
            (Step::MakeRoom(put, again), Err(DiskError::Missing)) => {
                self.put_failed(tag, put, again, DiskError::NoSpace);
            }
            (Step::MakeRoom(put, _), Err(error)) => {
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
            (Step::MakePart(part), Ok(_) | Err(DiskError::Exists)) => {
                let op = DiskOp::Allocate { file: part.file(), bytes: part.bytes };
                self.start(tag, Step::AllocatePart(part), op);
            }
            (Step::AllocatePart(part), Ok(_)) => {
                self.start(tag, Step::SyncPart(part), DiskOp::Sync { file: part.file() });
            }
            (Step::SyncPart(Part { shard, part, bytes }), Ok(_)) if part + 1 < RESERVE_PARTS => {
                let part = Part { shard, part: part + 1, bytes };
                self.start(tag, Step::MakePart(part), DiskOp::Create { file: part.file() });
            }
            (Step::SyncPart(Part { shard, .. }), Ok(_)) => {
                self.start(tag, Step::SyncReserve(shard), DiskOp::SyncDir { dir: DirName::Reserve(shard) });
            }
            (Step::MakePart(part) | Step::AllocatePart(part) | Step::SyncPart(part), Err(error)) => {
                self.reserve_failed(tag, part, error);
            }
            (Step::DropPart(error), _) => self.finish(tag, BlobDone::Reserved(Err(error))),
            (Step::SyncReserve(shard), Ok(_)) => {
                self.in_use.remove(&shard);
                self.finish(tag, BlobDone::Reserved(Ok(())));
            }
            (Step::SyncReserve(shard), Err(error)) => {
                self.finish(tag, BlobDone::Reserved(Err(error.on(DirName::Reserve(shard)))));
            }
        }
    }
}

/// The file that a blob is. One of the log is the log's own, by the same name: what has it open is closed for both when another takes its
/// place.
pub fn file_of(name: BlobName) -> Option<FileName> {
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
                let put = Put { name, parts: parts.into(), written: 0, step: Vec::new(), kind: Kind::Whole };
                self.start(tag, Step::Look(put), DiskOp::ReadAt { file: FileName::Blob(name), at: 0, len: 0 });
            }
            BlobOp::PutPiece { name, at, parts, is_last } => {
                let kind = Kind::Piece { is_last };
                let put = Put { name, parts: parts.into(), written: at, step: Vec::new(), kind };
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
            BlobOp::Reserve { shard, bytes } => {
                let bytes = bytes.div_ceil(u64::from(RESERVE_PARTS)).next_multiple_of(PAGE_BYTES);
                let part = Part { shard, part: 0, bytes };
                self.start(tag, Step::MakePart(part), DiskOp::Create { file: part.file() });
            }
            BlobOp::UseReserve { shard } => {
                self.in_use.insert(shard, RESERVE_PARTS);
                self.finish(tag, BlobDone::Reserved(Ok(())));
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
    fn puts_that_may_use_the_reserve_find_room_in_it_and_nobody_else_does() {
        const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
        let shard = ShardId(0);
        let reserve = BlobOp::Reserve { shard, bytes: RESERVE_BYTES };
        let parts = |disk: &TestDisk| disk.names().iter().filter(|name| name.dir() == DirName::Reserve(shard)).count();
        let disk = TestDisk::new();
        let mut blobs = LocalBlobs::new(disk.clone());
        assert_eq!(ask(&mut blobs, reserve.clone()), BlobDone::Reserved(Ok(())));
        disk.cut_power(|_| 0);
        assert_eq!(parts(&disk), RESERVE_PARTS as usize, "it outlives a loss of power");

        disk.room(Some(RESERVE_BYTES + 100_000));
        let mut blobs = LocalBlobs::new(disk.clone());
        assert_eq!(put(&mut blobs), Err(MediaError::NoSpace { name: segment(1).to_string() }));
        assert_eq!(parts(&disk), RESERVE_PARTS as usize, "it is not used unless that was said");
        let use_it = BlobOp::UseReserve { shard };
        assert_eq!(ask(&mut blobs, use_it.clone()), BlobDone::Reserved(Ok(())));
        let other = BlobName { shard: ShardId(1), ..segment(1) };
        let done = ask(&mut blobs, BlobOp::Put { name: other, parts: vec![whole()] });
        assert!(matches!(done, BlobDone::Put(Err(MediaError::NoSpace { .. }))), "another shard has its own");
        put(&mut blobs).unwrap();
        let left = parts(&disk);
        assert!((10..13).contains(&left), "as much is used as is needed: {left} are left");
        let got = ask(&mut blobs, BlobOp::Get { name: segment(1), at: 0, len: whole().len() as u32 });
        assert_eq!(got, BlobDone::Got(Ok(whole())));

        // What cannot be made whole can be used all the same, with what was made again.
        disk.room(Some(RESERVE_BYTES + 1_000_000));
        assert!(matches!(ask(&mut blobs, reserve.clone()), BlobDone::Reserved(Err(MediaError::NoSpace { .. }))));
        let again = parts(&disk);
        assert!(again > left, "{again} after {left}");
        assert_eq!(ask(&mut blobs, BlobOp::Put { name: segment(3), parts: vec![whole()] }), BlobDone::Put(Ok(())));
        assert!(parts(&disk) < again);
        ask(&mut blobs, BlobOp::Delete { name: segment(3) });

        // What is left can be used by the next start as well.
        let mut blobs = LocalBlobs::new(disk.clone());
        assert!(matches!(ask(&mut blobs, reserve.clone()), BlobDone::Reserved(Err(MediaError::NoSpace { .. }))));
        ask(&mut blobs, use_it);
        for (at, part) in [(0, whole().slice(..700_000)), (700_000, whole().slice(700_000..))] {
            let piece = BlobOp::PutPiece { name: segment(2), at, parts: vec![part], is_last: at > 0 };
            assert_eq!(ask(&mut blobs, piece), BlobDone::PutPiece(Ok(())));
        }
        ask(&mut blobs, BlobOp::Delete { name: segment(1) });
        ask(&mut blobs, BlobOp::Delete { name: segment(2) });
        assert_eq!(ask(&mut blobs, reserve), BlobDone::Reserved(Ok(())));
        assert_eq!(parts(&disk), RESERVE_PARTS as usize);
        assert_eq!(put(&mut blobs), Err(MediaError::NoSpace { name: segment(1).to_string() }), "it is whole again");
    }

    #[test]
    fn a_disk_that_cannot_set_room_aside_says_so_and_keeps_nothing() {
        let disk = TestDisk::new();
        disk.fail(|op| matches!(op, DiskOp::Allocate { .. }).then(|| DiskError::Io("not supported".into())));
        let done = ask(&mut LocalBlobs::new(disk.clone()), BlobOp::Reserve { shard: ShardId(0), bytes: 1 });
        assert!(matches!(done, BlobDone::Reserved(Err(MediaError::Io { .. }))));
        assert_eq!(disk.names(), []);
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
