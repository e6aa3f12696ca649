// SPDX-License-Identifier: Apache-2.0
//! A disk for tests: it answers late if told so, fails where told so, and a cut of power loses what was not synced, in part and in
//! any order.
//!
//! Owns: files as bytes with the writes since their last sync, names with the changes since their directory's last sync. Handles
//! are clones; a cut applies to all. Small on purpose: the simulator's disk has many more faults.

use crate::disk::{DirName, Disk, DiskDone, DiskError, DiskOp, FileName};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a device writes whole.
const SECTOR_BYTES: usize = 512;

type Outcome = Result<DiskDone, DiskError>;
type Fault = Box<dyn FnMut(&DiskOp) -> Option<DiskError> + Send>;

/// See the module.
#[derive(Clone)]
pub struct TestDisk {
    store: Arc<Mutex<Store>>,
    late_polls: u32,
    polls_left: u32,
    queue: VecDeque<(u64, DiskOp, Option<Outcome>)>,
}

#[derive(Default)]
struct Store {
    files: BTreeMap<u64, File>,
    names: BTreeMap<FileName, u64>,
    durable_names: BTreeMap<FileName, u64>,
    next_file: u64,
    fault: Option<Fault>,
    room_bytes: Option<u64>,
    /// Power was cut: operations of older handles change nothing any more.
    cuts: u64,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Written since the last sync, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
    /// What a failed sync covered.
    forgotten: Vec<(u64, Vec<u8>)>,
}

impl Default for TestDisk {
    fn default() -> TestDisk {
        TestDisk::new()
    }
}

impl TestDisk {
    /// An empty disk that answers at once.
    pub fn new() -> TestDisk {
        TestDisk { store: Arc::default(), late_polls: 0, polls_left: 0, queue: VecDeque::new() }
    }

    /// A handle that gives each answer only after being polled that often. A sync takes effect with its answer, not before.
    pub fn late(mut self, polls: u32) -> TestDisk {
        self.late_polls = polls;
        self.polls_left = polls;
        self
    }

    /// From now on `fault` is asked about every operation.
    pub fn fail(&self, fault: impl FnMut(&DiskOp) -> Option<DiskError> + Send + 'static) {
        self.lock().fault = Some(Box::new(fault));
    }

    /// Ends `fail`.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// All files together may have that many bytes; `None` = no bound.
    pub fn room(&self, bytes: Option<u64>) {
        self.lock().room_bytes = bytes;
    }

    /// The power fails. Of what was not synced, `choose(n)` (0 to n-1) says what survives: each sector of each write (0 = nothing,
    /// 1 = all of it, 2 = some first bytes), each name changed (1 = the change does).
    pub fn cut_power(&self, mut choose: impl FnMut(u64) -> u64) {
        let mut store = self.lock();
        store.cuts += 1;
        let store = &mut *store;
        for file in store.files.values_mut() {
            let mut bytes = std::mem::take(&mut file.synced);
            let mut writes = std::mem::take(&mut file.forgotten);
            writes.append(&mut file.unsynced);
            for (at, written) in writes {
                for (index, sector) in written.chunks(SECTOR_BYTES).enumerate() {
                    let kept = match choose(3) {
                        0 => continue,
                        1 => sector.len(),
                        _ => choose(sector.len() as u64) as usize,
                    };
                    put(&mut bytes, at as usize + index * SECTOR_BYTES, &sector[..kept]);
                }
            }
            file.synced = bytes.clone();
            file.bytes = bytes;
        }
        let mut names = store.durable_names.clone();
        let changed: Vec<FileName> = store
            .names
            .keys()
            .chain(store.durable_names.keys())
            .filter(|name| store.names.get(name) != store.durable_names.get(name))
            .copied()
            .collect();
        for name in changed {
            if choose(2) == 1 {
                match store.names.get(&name) {
                    Some(file) => names.insert(name, *file),
                    None => names.remove(&name),
                };
            }
        }
        store.durable_names = names.clone();
        store.names = names;
    }

    /// The process dies, the system does not: everything written stays, nothing more is synced.
    pub fn kill(&self) {
        self.lock().cuts += 1;
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: FileName) -> Option<Vec<u8>> {
        let store = self.lock();
        store.names.get(&name).and_then(|file| store.files.get(file)).map(|file| file.bytes.clone())
    }

    /// Replaces a file's bytes, synced: rot.
    pub fn set_bytes(&self, name: FileName, bytes: Vec<u8>) {
        let mut store = self.lock();
        let store = &mut *store;
        if let Some(file) = store.names.get(&name).and_then(|file| store.files.get_mut(file)) {
            *file = File { synced: bytes.clone(), bytes, ..File::default() };
        }
    }

    /// The files there are.
    pub fn names(&self) -> Vec<FileName> {
        self.lock().names.keys().copied().collect()
    }

    /// A disk of its own with the same bytes, all of them synced.
    pub fn copy(&self) -> TestDisk {
        let copy = TestDisk::new();
        {
            let (from, mut to) = (self.lock(), copy.lock());
            for (name, file) in &from.names {
                let Some(file_bytes) = from.files.get(file).map(|file| file.bytes.clone()) else { continue };
                to.files.insert(*file, File { synced: file_bytes.clone(), bytes: file_bytes, ..File::default() });
                to.names.insert(*name, *file);
                to.durable_names.insert(*name, *file);
            }
            to.next_file = from.next_file;
        }
        copy
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&mut self) -> Option<(u64, Result<DiskDone, DiskError>)> {
        let (tag, op, outcome) = self.queue.pop_front()?;
        self.polls_left = self.late_polls;
        let outcome = outcome.unwrap_or_else(|| self.lock().run(op));
        Some((tag, outcome))
    }
}

impl Disk for TestDisk {
    fn submit(&mut self, tag: u64, op: DiskOp) {
        let when_answered = matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. });
        let outcome = (!when_answered).then(|| self.lock().run(op.clone()));
        self.queue.push_back((tag, op, outcome));
    }

    fn poll_done(&mut self) -> Option<(u64, Result<DiskDone, DiskError>)> {
        if self.polls_left > 0 && !self.queue.is_empty() {
            self.polls_left -= 1;
            return None;
        }
        self.pop()
    }

    fn wait_done(&mut self) -> (u64, Result<DiskDone, DiskError>) {
        self.pop().expect("waited for an outcome though nothing was submitted")
    }
}

impl Store {
    fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        if let Some(error) = self.fault.as_mut().and_then(|fault| fault(&op)) {
            if let DiskOp::Sync { file } = op
                && let Ok(file) = self.file(file)
            {
                // The system forgets that these were not written: they read well and no later sync covers them.
                file.forgotten.append(&mut file.unsynced);
            }
            return Err(error);
        }
        match op {
            DiskOp::Create { file } => {
                if self.names.contains_key(&file) {
                    return Err(DiskError::Exists);
                }
                self.next_file += 1;
                self.names.insert(file, self.next_file);
                self.files.insert(self.next_file, File::default());
                Ok(DiskDone::Done)
            }
            DiskOp::WriteAt { file, at, parts } => {
                let all: u64 =
                    self.names.values().filter_map(|file| self.files.get(file)).map(|f| f.bytes.len() as u64).sum();
                let room = self.room_bytes.map(|room| room.saturating_sub(all));
                let file = self.file(file)?;
                let bytes = parts.concat();
                let grown = (at + bytes.len() as u64).saturating_sub(file.bytes.len() as u64);
                if room.is_some_and(|room| grown > room) {
                    return Err(DiskError::NoSpace);
                }
                put(&mut file.bytes, at as usize, &bytes);
                file.unsynced.push((at, bytes));
                Ok(DiskDone::Done)
            }
            // The dearest way there is, which keeps the promise all the same.
            DiskOp::Allocate { file, bytes } => {
                let there = self.file(file)?.bytes.len() as u64;
                let zeros = Bytes::from(vec![0; bytes.saturating_sub(there) as usize]);
                self.run(DiskOp::WriteAt { file, at: there, parts: vec![zeros] })
            }
            DiskOp::Sync { file } => {
                let file = self.file(file)?;
                if !file.unsynced.is_empty() {
                    if file.forgotten.is_empty() {
                        file.synced.clone_from(&file.bytes);
                    } else {
                        for (at, written) in &file.unsynced {
                            put(&mut file.synced, *at as usize, written);
                        }
                    }
                    file.unsynced.clear();
                }
                Ok(DiskDone::Done)
            }
            DiskOp::ReadAt { file, at, len } => {
                let file = self.file(file)?;
                let from = (at as usize).min(file.bytes.len());
                let to = from.saturating_add(len as usize).min(file.bytes.len());
                Ok(DiskDone::Read(Bytes::copy_from_slice(&file.bytes[from..to])))
            }
            DiskOp::Rename { from, to } => {
                let file = self.names.remove(&from).ok_or(DiskError::Missing)?;
                self.names.insert(to, file);
                Ok(DiskDone::Done)
            }
            DiskOp::SyncDir { dir } => {
                self.durable_names.retain(|name, _| name.dir() != dir);
                let names = self.names.iter().filter(|(name, _)| name.dir() == dir);
                self.durable_names.extend(names.map(|(name, file)| (*name, *file)));
                Ok(DiskDone::Done)
            }
            DiskOp::List { dir } => Ok(DiskDone::Listed(self.listed(dir))),
            DiskOp::Remove { file } => {
                self.names.remove(&file).ok_or(DiskError::Missing)?;
                Ok(DiskDone::Done)
            }
        }
    }

    fn file(&mut self, name: FileName) -> Result<&mut File, DiskError> {
        self.names.get(&name).and_then(|file| self.files.get_mut(file)).ok_or(DiskError::Missing)
    }

    fn listed(&self, dir: DirName) -> Vec<(FileName, u64)> {
        let names = self.names.iter().filter(|(name, _)| name.dir() == dir);
        names.map(|(name, file)| (*name, self.files.get(file).map_or(0, |file| file.bytes.len() as u64))).collect()
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    let end = at + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(written);
}
