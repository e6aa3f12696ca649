// SPDX-License-Identifier: Apache-2.0
//! A disk that keeps every promise of `media::disk` and none beyond them.
//!
//! Owns: files as two images (what a reader of this moment gets, and what a loss of power leaves), the writes and names in between,
//! operations under way, and the faults, each a knob. Must not know: frames, blobs' contents, who uses it.
//!
//! - An operation takes effect when it is answered, at a virtual time drawn at its submit; those under way at once may overtake each
//!   other. A sync covers what was *answered* before it was submitted, no more.
//! - Killing the process leaves what was written, synced or not (the page cache); operations under way have happened, or not, or in part.
//! - Losing power leaves of the unsynced writes any subset, each torn at 512 B, 4 KiB or any byte; of the unsynced names any subset.
//! - A failed sync has written some of what it covered; the rest reads fine until the power goes, and a later sync does not cover it.
//!   Names whose sync failed stay to be synced.
//! - No space: whatever would make a file longer, or make one, fails, after having done a part of it.
//! - Writes and reads that fail have done a part. Short transfers are this: the trait has no shorter answers to give.
//! - The directory's lock is held by one process until that process is gone, whatever it does meanwhile (`flock`).
//! - Damage at rest (`flip`, `overwrite`, `cut`: bit rot, lost and misdirected writes, lost ends) is done by scenarios that then expect it to be found.
//!
//! `fuse` burns at every submit and every completion; when it is out the process is dead: every operation fails, nothing has any
//! effect, until the world calls `kill` or `cut_power`.

use crate::clock::Clock;
use crate::rng::Rng;
use bytes::Bytes;
use media::disk::{DirName, Disk, DiskDone, DiskError, DiskOp, FileName};
use model::media::BlobKind;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Where a write that was under way when the power went may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    Sector,
    Page,
    AnyByte,
}

/// The faults. `one_in` = 0 is never.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Shortest time of an operation, and how much longer (in bits) it may take.
    pub latency_us: u64,
    pub latency_bits: u64,
    pub sync_latency_us: u64,
    /// A stall of a second.
    pub stall_one_in: u64,
    pub tear: Tear,
    pub sync_error_one_in: u64,
    pub write_error_one_in: u64,
    pub read_error_one_in: u64,
    /// Percent of the operations under way that have happened when the process dies.
    pub under_way_percent: u64,
    /// A read of a page returns what stood there at the last restart, once.
    pub stale_read_one_in: u64,
}

impl Knobs {
    /// A disk without faults.
    pub fn calm() -> Knobs {
        Knobs {
            latency_us: 20,
            latency_bits: 5,
            sync_latency_us: 100,
            stall_one_in: 0,
            tear: Tear::Page,
            sync_error_one_in: 0,
            write_error_one_in: 0,
            read_error_one_in: 0,
            under_way_percent: 50,
            stale_read_one_in: 0,
        }
    }
}

/// What happened to the disk so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFigures {
    pub operations: u64,
    pub syncs: u64,
    pub failed_syncs: u64,
    pub failed_reads: u64,
    pub failed_writes: u64,
    pub no_space: u64,
    /// Segments that were removed while there was no space.
    pub removed_when_full: u64,
    pub torn_writes: u64,
    pub lost_writes: u64,
    pub lost_names: u64,
    pub stale_reads: u64,
    /// Bytes read of segments, and of everything else.
    pub segment_read_bytes: u64,
    pub other_read_bytes: u64,
}

/// Written but not synced.
struct Pending {
    sequence: u64,
    at: usize,
    parts: Vec<Bytes>,
    bytes: usize,
}

#[derive(Default)]
struct File {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// The images may differ (a write since, or a failed sync).
    differs: bool,
}

#[derive(Clone, Copy)]
enum NameChange {
    Made { name: FileName, file: usize },
    Renamed { from: FileName, to: FileName, file: usize },
    Removed { name: FileName },
}

struct PendingName {
    sequence: u64,
    dir: DirName,
    change: NameChange,
}

struct UnderWay {
    user: u32,
    due_us: u64,
    sequence: u64,
    tag: u64,
    op: DiskOp,
}

struct State {
    clock: Clock,
    rng: Rng,
    knobs: Knobs,
    files: Vec<File>,
    names: BTreeMap<FileName, usize>,
    durable_names: BTreeMap<FileName, usize>,
    pending_names: Vec<PendingName>,
    under_way: Vec<UnderWay>,
    sequence: u64,
    users: u32,
    fuse: Option<u64>,
    dead: bool,
    full_until_us: u64,
    /// Some process holds the directory's lock.
    locked: bool,
    /// What has been removed since the disk is full, and not been written instead; nothing where others take it.
    full_room: usize,
    full_for_others: bool,
    /// For stale reads: the bytes of each file at the last restart.
    earlier: BTreeMap<FileName, Vec<u8>>,
    figures: DiskFigures,
}

/// The disk itself, for the world. A clone is the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
}

/// One user's handle: its own completions over the shared disk.
pub struct DiskHandle {
    state: Rc<RefCell<State>>,
    user: u32,
}

const SECTOR: usize = 512;
/// The page of damage and of stale reads.
pub const PAGE: usize = 4096;

impl SimDisk {
    /// An empty disk.
    pub fn new(clock: Clock, rng: Rng, knobs: Knobs) -> SimDisk {
        let state = State {
            clock,
            rng,
            knobs,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            under_way: Vec::new(),
            sequence: 0,
            users: 0,
            fuse: None,
            dead: false,
            full_until_us: 0,
            locked: false,
            full_room: 0,
            full_for_others: false,
            earlier: BTreeMap::new(),
            figures: DiskFigures::default(),
        };
        SimDisk { state: Rc::new(RefCell::new(state)) }
    }

    /// A handle for one user.
    pub fn handle(&self) -> DiskHandle {
        let mut state = self.state.borrow_mut();
        state.users += 1;
        DiskHandle { state: self.state.clone(), user: state.users }
    }

    /// Takes the directory's lock for a process; false while another has it.
    pub fn take_lock(&self) -> bool {
        !std::mem::replace(&mut self.state.borrow_mut().locked, true)
    }

    /// When the next operation under way is answered.
    pub fn next_due_us(&self) -> Option<u64> {
        self.state.borrow().under_way.iter().map(|under_way| under_way.due_us).min()
    }

    /// The process dies after this many more submits and completions.
    pub fn light_fuse(&self, operations: u64) {
        self.state.borrow_mut().fuse = Some(operations);
    }

    /// True when the fuse is out.
    pub fn dead(&self) -> bool {
        self.state.borrow().dead
    }

    /// Files cannot grow until then, but for what is removed meanwhile; and not even that where others fill the disk as well.
    pub fn fill_until(&self, mono_us: u64) {
        let mut state = self.state.borrow_mut();
        if !state.full() {
            state.full_room = 0;
            state.full_for_others = state.rng.percent(50);
        }
        state.full_until_us = state.full_until_us.max(mono_us);
    }

    /// Other faults from here on.
    pub fn set_knobs(&self, knobs: Knobs) {
        self.state.borrow_mut().knobs = knobs;
    }

    /// There is space again, and no fuse.
    pub fn heal(&self) {
        let mut state = self.state.borrow_mut();
        state.full_until_us = 0;
        state.fuse = None;
        state.knobs = Knobs { stall_one_in: 0, ..Knobs::calm() };
    }

    /// The next sync of anything fails.
    pub fn fail_next_sync(&self) {
        self.state.borrow_mut().knobs.sync_error_one_in = 1;
    }

    /// Figures.
    pub fn figures(&self) -> DiskFigures {
        self.state.borrow().figures
    }

    /// The process is gone; the machine is not.
    pub fn kill(&self) {
        let mut state = self.state.borrow_mut();
        state.end_of_process();
        state.remember_earlier();
    }

    /// The machine loses its power.
    pub fn cut_power(&self) {
        let mut state = self.state.borrow_mut();
        state.end_of_process();
        state.lose_power();
        state.remember_earlier();
    }

    /// All files there are now, with their lengths.
    pub fn list(&self) -> Vec<(FileName, usize)> {
        let state = self.state.borrow();
        state.names.iter().map(|(name, file)| (*name, state.files[*file].current.len())).collect()
    }

    /// All files' bytes as they are read now.
    pub fn image(&self) -> BTreeMap<FileName, Vec<u8>> {
        let state = self.state.borrow();
        state.names.iter().map(|(name, file)| (*name, state.files[*file].current.clone())).collect()
    }

    /// A copy of a file's bytes as they are read now.
    pub fn bytes(&self, file: FileName) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        Some(state.files[*state.names.get(&file)?].current.clone())
    }

    /// Damage at rest: turns one bit over. False when the file does not reach that far.
    pub fn flip(&self, file: FileName, at: usize, bit: u32) -> bool {
        self.damage(file, at, 1, |bytes| bytes[0] ^= 1 << (bit & 7))
    }

    /// Damage at rest: the bytes from `at` on become these.
    pub fn overwrite(&self, file: FileName, at: usize, with: &[u8]) -> bool {
        self.damage(file, at, with.len(), |bytes| bytes.copy_from_slice(with))
    }

    /// Damage at rest: the file ends here.
    pub fn cut(&self, file: FileName, at: usize) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(index) = state.names.get(&file).copied() else { return false };
        let file = &mut state.files[index];
        let cut = at < file.current.len();
        file.current.truncate(at);
        file.durable.truncate(at);
        cut
    }

    fn damage(&self, file: FileName, at: usize, bytes: usize, how: impl Fn(&mut [u8])) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(index) = state.names.get(&file).copied() else { return false };
        let file = &mut state.files[index];
        let Some(current) = file.current.get_mut(at..at + bytes) else { return false };
        how(current);
        if let Some(durable) = file.durable.get_mut(at..at + bytes) {
            how(durable);
        }
        true
    }
}

impl State {
    fn burn(&mut self) {
        if let Some(fuse) = &mut self.fuse {
            *fuse = fuse.saturating_sub(1);
            if *fuse == 0 {
                self.fuse = None;
                self.dead = true;
            }
        }
    }

    fn submit(&mut self, user: u32, tag: u64, op: DiskOp) {
        self.figures.operations += 1;
        self.sequence += 1;
        let knobs = &self.knobs;
        let base = if matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. }) {
            knobs.sync_latency_us
        } else {
            knobs.latency_us
        };
        let mut due_us = self.clock.us() + base + self.rng.magnitude(knobs.latency_bits);
        if self.rng.once_in(knobs.stall_one_in) {
            due_us += 1_000_000;
        }
        self.note(&op, user);
        self.under_way.push(UnderWay { user, due_us, sequence: self.sequence, tag, op });
        if !self.dead {
            self.burn();
        }
    }

    fn note(&self, op: &DiskOp, user: u32) {
        let (what, file, at, bytes) = match op {
            DiskOp::Create { file } => ("create", *file, 0, 0),
            DiskOp::WriteAt { file, at, parts } => ("write", *file, *at, parts.iter().map(Bytes::len).sum()),
            DiskOp::Allocate { file, bytes } => ("allocate", *file, *bytes, 0),
            DiskOp::Sync { file } => ("sync", *file, 0, 0),
            DiskOp::ReadAt { file, at, len } => ("read", *file, *at, *len as usize),
            DiskOp::Rename { from, .. } => ("rename", *from, 0, 0),
            DiskOp::Remove { file } => ("remove", *file, 0, 0),
            DiskOp::SyncDir { dir } => {
                return self.clock.note(1, [u64::from(user), 1, 0], format_args!("disk {user} sync-dir {dir:?}"));
            }
            DiskOp::List { dir } => {
                return self.clock.note(1, [u64::from(user), 2, 0], format_args!("disk {user} list {dir:?}"));
            }
        };
        let numbers = [u64::from(user) << 32 | u64::from(what.as_bytes()[0]), at, bytes as u64];
        self.clock.note(2, numbers, format_args!("disk {user} {what} {file} at {at} +{bytes}"));
    }

    fn next_of(&self, user: u32) -> Option<usize> {
        let mine = self.under_way.iter().enumerate().filter(|(_, under_way)| under_way.user == user);
        mine.min_by_key(|(_, under_way)| (under_way.due_us, under_way.sequence)).map(|(index, _)| index)
    }

    fn answer(&mut self, index: usize) -> (u64, Result<DiskDone, DiskError>) {
        let under_way = self.under_way.swap_remove(index);
        if self.dead {
            return (under_way.tag, Err(DiskError::Io("the power is off".into())));
        }
        let outcome = self.execute(under_way.op, under_way.sequence);
        if let Err(error) = &outcome {
            self.clock.note(3, [under_way.tag, 0, 0], format_args!("disk {} answers {error:?}", under_way.user));
        }
        self.burn();
        if self.dead {
            // It has happened, and nobody learnt of it.
            return (under_way.tag, Err(DiskError::Io("the power is off".into())));
        }
        (under_way.tag, outcome)
    }

    fn full(&self) -> bool {
        self.clock.us() < self.full_until_us
    }

    fn file(&self, name: FileName) -> Result<usize, DiskError> {
        self.names.get(&name).copied().ok_or(DiskError::Missing)
    }

    fn execute(&mut self, op: DiskOp, submitted: u64) -> Result<DiskDone, DiskError> {
        match op {
            DiskOp::Create { file } => {
                if self.names.contains_key(&file) {
                    return Err(DiskError::Exists);
                }
                if self.full() && self.full_room == 0 {
                    self.figures.no_space += 1;
                    return Err(DiskError::NoSpace);
                }
                self.files.push(File::default());
                let index = self.files.len() - 1;
                self.names.insert(file, index);
                self.change_name(file.dir(), NameChange::Made { name: file, file: index });
                Ok(DiskDone::Done)
            }
            DiskOp::WriteAt { file, at, mut parts } => {
                let index = self.file(file)?;
                let at = usize::try_from(at).map_err(|_| DiskError::Io("too far".into()))?;
                let bytes: usize = parts.iter().map(Bytes::len).sum();
                let room = self.files[index].current.len().saturating_sub(at);
                let grown = bytes.saturating_sub(room);
                let mut outcome = Ok(DiskDone::Done);
                if self.full() && grown > self.full_room {
                    self.figures.no_space += 1;
                    // What fits into the file as it is may have been written.
                    let keep = if self.rng.percent(50) { room } else { 0 };
                    shorten(&mut parts, keep);
                    outcome = Err(DiskError::NoSpace);
                } else if self.rng.once_in(self.knobs.write_error_one_in) {
                    self.figures.failed_writes += 1;
                    let keep = self.rng.below(bytes as u64 + 1) as usize;
                    shorten(&mut parts, keep);
                    outcome = Err(DiskError::Io("input/output error on write".into()));
                }
                if outcome.is_ok() {
                    self.full_room = self.full_room.saturating_sub(grown);
                }
                self.write(index, at, parts);
                outcome
            }
            DiskOp::Allocate { file, bytes } => {
                let there = self.files[self.file(file)?].current.len() as u64;
                let zeros = Bytes::from(vec![0; bytes.saturating_sub(there) as usize]);
                self.execute(DiskOp::WriteAt { file, at: there, parts: vec![zeros] }, submitted)
            }
            DiskOp::Sync { file } => {
                let index = self.file(file)?;
                self.figures.syncs += 1;
                if self.rng.once_in(self.knobs.sync_error_one_in) {
                    self.figures.failed_syncs += 1;
                    let (tear, mut rng) = (self.knobs.tear, self.rng.clone());
                    let file = &mut self.files[index];
                    for pending in extract(&mut file.pending, |pending| pending.sequence <= submitted) {
                        survive(&mut file.durable, &pending, tear, &mut rng, &mut self.figures);
                    }
                    self.rng = rng;
                    return Err(DiskError::Io("input/output error on sync".into()));
                }
                let file = &mut self.files[index];
                for pending in extract(&mut file.pending, |pending| pending.sequence <= submitted) {
                    put(&mut file.durable, pending.at, &pending.parts);
                }
                Ok(DiskDone::Done)
            }
            DiskOp::ReadAt { file, at, len } => {
                let index = self.file(file)?;
                if self.rng.once_in(self.knobs.read_error_one_in) {
                    self.figures.failed_reads += 1;
                    return Err(DiskError::Io("input/output error on read".into()));
                }
                let current = &self.files[index].current;
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(current.len());
                let end = start.saturating_add(len as usize).min(current.len());
                let mut bytes = current[start..end].to_vec();
                let read_bytes = match file {
                    FileName::Blob(name) if name.kind == BlobKind::Segment => &mut self.figures.segment_read_bytes,
                    _ => &mut self.figures.other_read_bytes,
                };
                *read_bytes += bytes.len() as u64;
                if self.rng.once_in(self.knobs.stale_read_one_in)
                    && let Some(earlier) = self.earlier.get(&file)
                {
                    let page = (start + self.rng.below((end - start).max(1) as u64) as usize) / PAGE * PAGE;
                    let (from, to) = (page.max(start), (page + PAGE).min(end).min(earlier.len()));
                    if from < to && bytes[from - start..to - start] != earlier[from..to] {
                        bytes[from - start..to - start].copy_from_slice(&earlier[from..to]);
                        self.figures.stale_reads += 1;
                    }
                }
                Ok(DiskDone::Read(bytes.into()))
            }
            DiskOp::Rename { from, to } => {
                let index = self.names.remove(&from).ok_or(DiskError::Missing)?;
                self.names.insert(to, index);
                self.change_name(to.dir(), NameChange::Renamed { from, to, file: index });
                Ok(DiskDone::Done)
            }
            DiskOp::SyncDir { dir } => {
                if self.rng.once_in(self.knobs.sync_error_one_in) {
                    // Unlike data, names stay dirty in the system's memory: a later sync may still succeed.
                    self.figures.failed_syncs += 1;
                    return Err(DiskError::Io("input/output error on directory sync".into()));
                }
                let due =
                    extract(&mut self.pending_names, |pending| pending.dir == dir && pending.sequence <= submitted);
                for pending in due {
                    apply_name(&mut self.durable_names, pending.change);
                }
                Ok(DiskDone::Done)
            }
            DiskOp::List { dir } => {
                let mut listed: Vec<(FileName, u64)> = self
                    .names
                    .iter()
                    .filter(|(name, _)| name.dir() == dir)
                    .map(|(name, file)| (*name, self.files[*file].current.len() as u64))
                    .collect();
                self.rng.shuffle(&mut listed);
                Ok(DiskDone::Listed(listed))
            }
            DiskOp::Remove { file } => {
                let index = self.names.remove(&file).ok_or(DiskError::Missing)?;
                if self.full() && !self.full_for_others {
                    self.full_room += self.files[index].current.len();
                }
                let segment = matches!(file, FileName::Blob(name) if name.kind == BlobKind::Segment);
                self.figures.removed_when_full += u64::from(segment && self.full());
                self.change_name(file.dir(), NameChange::Removed { name: file });
                Ok(DiskDone::Done)
            }
        }
    }

    fn write(&mut self, index: usize, at: usize, parts: Vec<Bytes>) {
        let bytes = parts.iter().map(Bytes::len).sum();
        if bytes == 0 {
            return;
        }
        // Stamped when it happens, so that a sync submitted earlier does not cover it.
        self.sequence += 1;
        let file = &mut self.files[index];
        put(&mut file.current, at, &parts);
        file.differs = true;
        file.pending.push(Pending { sequence: self.sequence, at, parts, bytes });
    }

    fn change_name(&mut self, dir: DirName, change: NameChange) {
        self.sequence += 1;
        self.pending_names.push(PendingName { sequence: self.sequence, dir, change });
    }

    fn end_of_process(&mut self) {
        let mut under_way = std::mem::take(&mut self.under_way);
        self.rng.shuffle(&mut under_way);
        self.dead = false;
        self.locked = false;
        self.fuse = None;
        for UnderWay { op, sequence, .. } in under_way {
            if !self.rng.percent(self.knobs.under_way_percent) {
                continue;
            }
            // A write may have come half way; anything else happened or did not.
            let op = match op {
                DiskOp::WriteAt { file, at, mut parts } if self.rng.percent(30) => {
                    let bytes: usize = parts.iter().map(Bytes::len).sum();
                    let keep = self.rng.below(bytes as u64 + 1) as usize;
                    shorten(&mut parts, keep);
                    DiskOp::WriteAt { file, at, parts }
                }
                DiskOp::ReadAt { .. } | DiskOp::List { .. } => continue,
                op => op,
            };
            let _ = self.execute(op, sequence);
        }
        self.clock.note(4, [self.sequence, 0, 0], format_args!("disk: the process is gone"));
    }

    fn lose_power(&mut self) {
        let tear = self.knobs.tear;
        for file in self.files.iter_mut().filter(|file| file.differs) {
            let longest = file.pending.iter().map(|pending| pending.at + pending.bytes).max().unwrap_or(0);
            for pending in std::mem::take(&mut file.pending) {
                survive(&mut file.durable, &pending, tear, &mut self.rng, &mut self.figures);
            }
            if longest > file.durable.len() && self.rng.once_in(8) {
                // The length reached the disk, the bytes did not.
                file.durable.resize(longest, 0);
            }
            file.current.clear();
            file.current.extend_from_slice(&file.durable);
            file.differs = false;
        }
        let keep = self.rng.below(3);
        for pending in std::mem::take(&mut self.pending_names) {
            match keep {
                0 => self.figures.lost_names += 1,
                1 => apply_name(&mut self.durable_names, pending.change),
                _ if self.rng.percent(50) => apply_name(&mut self.durable_names, pending.change),
                _ => self.figures.lost_names += 1,
            }
        }
        self.names = self.durable_names.clone();
        self.clock.note(5, [self.figures.torn_writes, 0, 0], format_args!("disk: the power is gone"));
    }

    fn remember_earlier(&mut self) {
        if self.knobs.stale_read_one_in != 0 {
            self.earlier = self.names.iter().map(|(name, file)| (*name, self.files[*file].current.clone())).collect();
        }
    }
}

impl Disk for DiskHandle {
    fn submit(&mut self, tag: u64, op: DiskOp) {
        self.state.borrow_mut().submit(self.user, tag, op);
    }

    fn poll_done(&mut self) -> Option<(u64, Result<DiskDone, DiskError>)> {
        let mut state = self.state.borrow_mut();
        let index = state.next_of(self.user)?;
        (state.dead || state.under_way[index].due_us <= state.clock.us()).then(|| state.answer(index))
    }

    fn wait_done(&mut self) -> (u64, Result<DiskDone, DiskError>) {
        let mut state = self.state.borrow_mut();
        let index = state.next_of(self.user).expect("something was submitted");
        state.clock.advance_to(state.under_way[index].due_us);
        state.answer(index)
    }
}

impl Drop for DiskHandle {
    /// What a user that is gone had under way is answered to nobody, but happens: a dropped handle is not a dead process.
    fn drop(&mut self) {
        let Ok(mut state) = self.state.try_borrow_mut() else { return };
        if state.dead {
            return;
        }
        while let Some(index) = state.next_of(self.user) {
            let under_way = state.under_way.swap_remove(index);
            let _ = state.execute(under_way.op, under_way.sequence);
        }
    }
}

fn put(image: &mut Vec<u8>, at: usize, parts: &[Bytes]) {
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    if image.len() < at + bytes {
        image.resize(at + bytes, 0);
    }
    let mut at = at;
    for part in parts {
        image[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

/// Cuts the parts to `keep` bytes in all.
fn shorten(parts: &mut Vec<Bytes>, keep: usize) {
    let mut left = keep;
    for part in parts.iter_mut() {
        let here = part.len().min(left);
        part.truncate(here);
        left -= here;
    }
    parts.retain(|part| !part.is_empty());
}

/// The pieces of the parts between two positions.
fn slice(parts: &[Bytes], from: usize, to: usize) -> Vec<Bytes> {
    let mut at = 0;
    let mut out = Vec::new();
    for part in parts {
        let (begin, end) = (from.max(at), to.min(at + part.len()));
        if begin < end {
            out.push(part.slice(begin - at..end - at));
        }
        at += part.len();
    }
    out
}

/// Some of an unsynced write reaches the disk: nothing, all, a beginning, an end, or single units.
fn survive(durable: &mut Vec<u8>, pending: &Pending, tear: Tear, rng: &mut Rng, figures: &mut DiskFigures) {
    let unit = match tear {
        Tear::Sector => SECTOR,
        Tear::Page => PAGE,
        Tear::AnyByte => 1,
    };
    let cut = |rng: &mut Rng| {
        let cut = pending.at + rng.below(pending.bytes as u64 + 1) as usize;
        (cut / unit * unit).clamp(pending.at, pending.at + pending.bytes) - pending.at
    };
    match rng.below(100) {
        0..25 => figures.lost_writes += 1,
        25..45 => put(durable, pending.at, &pending.parts),
        45..70 => {
            let cut = cut(rng);
            figures.torn_writes += 1;
            put(durable, pending.at, &slice(&pending.parts, 0, cut));
        }
        70..80 => {
            let cut = cut(rng);
            figures.torn_writes += 1;
            put(durable, pending.at + cut, &slice(&pending.parts, cut, pending.bytes));
        }
        _ => {
            figures.torn_writes += 1;
            let unit = unit.max(SECTOR);
            let mut from = 0;
            while from < pending.bytes {
                let to = ((pending.at + from) / unit * unit + unit - pending.at).min(pending.bytes);
                if rng.percent(50) {
                    put(durable, pending.at + from, &slice(&pending.parts, from, to));
                }
                from = to;
            }
        }
    }
}

fn apply_name(names: &mut BTreeMap<FileName, usize>, change: NameChange) {
    match change {
        NameChange::Made { name, file } => {
            names.insert(name, file);
        }
        NameChange::Renamed { from, to, file } => {
            names.remove(&from);
            names.insert(to, file);
        }
        NameChange::Removed { name } => {
            names.remove(&name);
        }
    }
}

/// Takes out what matches, in order.
fn extract<T>(from: &mut Vec<T>, matches: impl Fn(&T) -> bool) -> Vec<T> {
    if from.iter().all(&matches) {
        return std::mem::take(from);
    }
    let (out, rest) = std::mem::take(from).into_iter().partition(matches);
    *from = rest;
    out
}

#[cfg(test)]
mod tests;
