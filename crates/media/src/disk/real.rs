// SPDX-License-Identifier: Apache-2.0
//! The disk of the machine, by system calls.
//!
//! Owns: paths below one root directory, open files (bounded), what a system error means, the lock of the directory.
//! Must not know: frames, slots' contents, blobs' contents.
//!
//! Every operation runs inside `submit`, on the caller's thread: a handle belongs to a thread whose work this is (the log's, the
//! background's, a cold reader's). Any number of handles may stand on one root; those made of each other ([`RealDisk::another`])
//! share their open files, so that a file which one of them removes is closed for all, and its space comes back. Directories are
//! made 0700, files 0600; nothing but numbers goes into a path.

use super::{DirName, Disk, DiskDone, DiskError, DiskOp, FileName};
use bytes::Bytes;
use model::media::{BlobKind, BlobName};
use model::planted::{Bug, planted};
use model::{ShardId, media::MediaError};
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files kept open by the handles of one root together; the longest unused is closed for another.
const OPEN_FILES_MAX: usize = 256;
/// Pieces of one `pwritev` (the kernel's bound).
const IO_SLICES_MAX: usize = 1024;
/// With `pace`, write-back of a blob is started each time this much has been written.
const PACE_BYTES: u64 = 1024 * 1024;
/// Writes held back by the planted lost sync.
const HELD_BACK_MAX: usize = 64;

const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// See the module.
pub struct RealDisk {
    root: Arc<OwnedFd>,
    path: PathBuf,
    read_only: bool,
    pace: bool,
    files: Arc<Mutex<OpenFiles>>,
    /// Directories whose own names in their parents are known to be durable.
    settled_dirs: BTreeSet<DirName>,
    /// Bytes of a blob written since its write-back was last started, and from where.
    paced: Option<(FileName, u64, u64)>,
    done: VecDeque<(u64, Result<DiskDone, DiskError>)>,
    held_back: VecDeque<(FileName, u64, Vec<Bytes>)>,
}

/// What the handles of one root have open.
#[derive(Default)]
struct OpenFiles {
    by_name: BTreeMap<FileName, Open>,
    /// Grows with every use of a file; the smallest is closed first.
    clock: u64,
}

struct Open {
    file: Arc<OwnedFd>,
    used: u64,
}

impl OpenFiles {
    fn get(&mut self, file: FileName) -> Option<Arc<OwnedFd>> {
        self.clock += 1;
        let open = self.by_name.get_mut(&file)?;
        open.used = self.clock;
        Some(open.file.clone())
    }

    /// Keeps a file open, and gives out the one that is closed for it.
    fn keep(&mut self, file: FileName, fd: Arc<OwnedFd>) -> Option<Open> {
        let oldest = match self.by_name.len() >= OPEN_FILES_MAX {
            true => self.by_name.iter().min_by_key(|(_, open)| open.used).map(|(name, _)| *name),
            false => None,
        };
        self.clock += 1;
        let before = self.by_name.insert(file, Open { file: fd, used: self.clock });
        oldest.and_then(|oldest| self.by_name.remove(&oldest)).or(before)
    }
}

impl RealDisk {
    /// A handle on `root`, which is made (and made durable) if it does not exist.
    pub fn open(root: &Path) -> Result<RealDisk, MediaError> {
        make_root(root).map_err(|error| on(error, root))?;
        RealDisk::on(root, false)
    }

    /// A handle that changes nothing: for offline tools.
    pub fn open_read_only(root: &Path) -> Result<RealDisk, MediaError> {
        RealDisk::on(root, true)
    }

    fn on(root: &Path, read_only: bool) -> Result<RealDisk, MediaError> {
        let fd = open_dir(root).map_err(|error| on(error, root))?;
        Ok(RealDisk {
            root: Arc::new(fd),
            path: root.to_owned(),
            read_only,
            pace: false,
            files: Arc::default(),
            settled_dirs: BTreeSet::new(),
            paced: None,
            done: VecDeque::new(),
            held_back: VecDeque::new(),
        })
    }

    /// Another handle on the same root, for another thread.
    pub fn another(&self) -> RealDisk {
        RealDisk {
            root: self.root.clone(),
            path: self.path.clone(),
            read_only: self.read_only,
            pace: false,
            files: self.files.clone(),
            settled_dirs: BTreeSet::new(),
            paced: None,
            done: VecDeque::new(),
            held_back: VecDeque::new(),
        }
    }

    /// Starts write-back of a blob as it is written, so that its sync, and the log's beside it, never meets a storm of dirty
    /// pages. (`sync_file_range` would say it directly, but has no safe wrapper here; `POSIX_FADV_DONTNEED` begins the same
    /// asynchronous write-back and drops only pages that are clean already.)
    pub fn paced(mut self) -> RealDisk {
        self.pace = true;
        self
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.path
    }

    fn run(&mut self, op: DiskOp) -> Result<DiskDone, DiskError> {
        match op {
            DiskOp::Create { file } => {
                let path = file.to_string();
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let fd = match rustix::fs::openat(&self.root, path.as_str(), flags, FILE_MODE) {
                    Err(Errno::NOENT) => {
                        self.make_dir(file.dir())?;
                        rustix::fs::openat(&self.root, path.as_str(), flags, FILE_MODE)
                    }
                    other => other,
                }
                .map_err(refused)?;
                let closed = self.files().keep(file, Arc::new(fd));
                drop(closed);
                Ok(DiskDone::Done)
            }
            DiskOp::WriteAt { file, at, parts } => {
                if planted(Bug::LostSync) && matches!(file, FileName::WalSlot { .. }) {
                    self.held_back.push_back((file, at, parts));
                    if self.held_back.len() > HELD_BACK_MAX
                        && let Some((file, at, parts)) = self.held_back.pop_front()
                    {
                        self.write(file, at, &parts)?;
                    }
                    return Ok(DiskDone::Done);
                }
                self.write(file, at, &parts)?;
                Ok(DiskDone::Done)
            }
            DiskOp::Allocate { file, bytes } => {
                let fd = self.file(file).map_err(refused)?;
                let there = rustix::fs::fstat(&fd).map_err(refused)?.st_size as u64;
                if there < bytes {
                    let allocate = || rustix::fs::fallocate(&fd, FallocateFlags::empty(), there, bytes - there);
                    rustix::io::retry_on_intr(allocate).map_err(refused)?;
                }
                Ok(DiskDone::Done)
            }
            DiskOp::Sync { file } => {
                if planted(Bug::LostSync) && matches!(file, FileName::WalSlot { .. }) {
                    return Ok(DiskDone::Done);
                }
                let fd = self.file(file).map_err(refused)?;
                rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&fd)).map_err(refused)?;
                Ok(DiskDone::Done)
            }
            DiskOp::ReadAt { file, at, len } => self.read(file, at, len).map(DiskDone::Read),
            DiskOp::Rename { from, to } => {
                rustix::fs::renameat(&self.root, from.to_string(), &self.root, to.to_string()).map_err(refused)?;
                self.close([from, to]);
                Ok(DiskDone::Done)
            }
            DiskOp::SyncDir { dir } => self.sync_dir(dir),
            DiskOp::List { dir } => self.list(dir),
            DiskOp::Remove { file } => {
                rustix::fs::unlinkat(&self.root, file.to_string(), AtFlags::empty()).map_err(refused)?;
                self.close([file]);
                Ok(DiskDone::Done)
            }
        }
    }

    fn files(&self) -> MutexGuard<'_, OpenFiles> {
        // A panic elsewhere leaves the table as good as it was.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file of that name. It is opened under the lock, so that a removal (which takes the name away first) either
    /// finds it in the table or keeps it from being opened.
    fn file(&self, file: FileName) -> Result<Arc<OwnedFd>, Errno> {
        let mut files = self.files();
        if let Some(open) = files.get(file) {
            return Ok(open);
        }
        let access = if self.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::io::retry_on_intr(|| rustix::fs::openat(&self.root, file.to_string(), flags, Mode::empty()))?;
        let fd = Arc::new(fd);
        let closed = files.keep(file, fd.clone());
        drop(files);
        drop(closed);
        Ok(fd)
    }

    /// Closes files whose names have changed or gone, for all handles. Giving back a large file's space takes its time, so that
    /// happens outside the lock.
    fn close<const N: usize>(&self, names: [FileName; N]) {
        let mut files = self.files();
        let closed = names.map(|name| files.by_name.remove(&name));
        drop(files);
        drop(closed);
    }

    fn write(&mut self, file: FileName, at: u64, parts: &[Bytes]) -> Result<(), DiskError> {
        let fd = self.file(file).map_err(refused)?;
        let mut position = at;
        for chunk in parts.chunks(IO_SLICES_MAX) {
            let mut slices: Vec<IoSlice<'_>> = chunk.iter().map(|part| IoSlice::new(part)).collect();
            let mut left = slices.as_mut_slice();
            // Empty pieces at the front would make a write of nothing look like a full disk.
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                let wrote = rustix::io::retry_on_intr(|| rustix::io::pwritev(&fd, left, position)).map_err(refused)?;
                if wrote == 0 {
                    return Err(DiskError::Io("the system wrote nothing and gave no reason".into()));
                }
                position += wrote as u64;
                IoSlice::advance_slices(&mut left, wrote);
            }
        }
        if self.pace && matches!(file, FileName::BlobTmp(_)) {
            self.start_write_back(file, at, position);
        }
        Ok(())
    }

    fn start_write_back(&mut self, file: FileName, at: u64, end: u64) {
        let (from, written) = match self.paced {
            Some((last, from, to)) if last == file && to == at => (from, end),
            _ => (at, end),
        };
        if written - from < PACE_BYTES {
            self.paced = Some((file, from, written));
            return;
        }
        self.paced = Some((file, written, written));
        if let Ok(fd) = self.file(file) {
            // Advice only: what it cannot start, the sync at the end does.
            let _ = rustix::fs::fadvise(&fd, from, NonZeroU64::new(written - from), Advice::DontNeed);
        }
    }

    fn read(&mut self, file: FileName, at: u64, len: u32) -> Result<Bytes, DiskError> {
        let fd = self.file(file).map_err(refused)?;
        // Never more memory than there are bytes, whatever length a damaged header announced.
        let there = rustix::fs::fstat(&fd).map_err(refused)?.st_size as u64;
        let wanted = u64::from(len).min(there.saturating_sub(at)) as usize;
        let mut bytes: Vec<u8> = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let position = at + bytes.len() as u64;
            let got = rustix::io::retry_on_intr(|| {
                rustix::io::pread(&fd, rustix::buffer::spare_capacity(&mut bytes), position)
            })
            .map_err(refused)?;
            if got == 0 {
                break;
            }
        }
        bytes.truncate(wanted);
        Ok(Bytes::from(bytes))
    }

    fn make_dir(&mut self, dir: DirName) -> Result<(), DiskError> {
        for path in lineage(dir) {
            match rustix::fs::mkdirat(&self.root, path.as_str(), DIR_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(())
    }

    fn sync_dir(&mut self, dir: DirName) -> Result<DiskDone, DiskError> {
        let mut paths = lineage(dir);
        if self.settled_dirs.contains(&dir) {
            paths.drain(..paths.len().saturating_sub(1));
        } else {
            paths.insert(0, ".".into());
        }
        if paths.is_empty() {
            paths.push(".".into());
        }
        for path in paths.iter().rev() {
            let fd = rustix::fs::openat(&self.root, path.as_str(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(refused)?;
            rustix::io::retry_on_intr(|| rustix::fs::fsync(&fd)).map_err(refused)?;
        }
        self.settled_dirs.insert(dir);
        Ok(DiskDone::Done)
    }

    fn list(&mut self, dir: DirName) -> Result<DiskDone, DiskError> {
        let path = dir.to_string();
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.root, path.as_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(DiskDone::Listed(Vec::new())),
            other => other.map_err(refused)?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd).map_err(refused)? {
            let entry = entry.map_err(refused)?;
            let Some(file) = entry.file_name().to_str().ok().and_then(|name| parse(dir, name)) else { continue };
            let stat = match rustix::fs::statat(&self.root, file.to_string(), AtFlags::SYMLINK_NOFOLLOW) {
                // Gone since the directory was read: another handle removed it.
                Err(Errno::NOENT) => continue,
                other => other.map_err(refused)?,
            };
            names.push((file, stat.st_size as u64));
        }
        Ok(DiskDone::Listed(names))
    }
}

impl Disk for RealDisk {
    fn submit(&mut self, tag: u64, op: DiskOp) {
        let changes = !matches!(op, DiskOp::ReadAt { .. } | DiskOp::List { .. });
        let outcome =
            if changes && self.read_only { Err(DiskError::Io("opened for reading only".into())) } else { self.run(op) };
        self.done.push_back((tag, outcome));
    }

    fn poll_done(&mut self) -> Option<(u64, Result<DiskDone, DiskError>)> {
        self.done.pop_front()
    }

    fn wait_done(&mut self) -> (u64, Result<DiskDone, DiskError>) {
        self.done.pop_front().expect("waited for an outcome though nothing was submitted")
    }
}

/// Exclusive use of a data directory, for as long as this lives. The system gives it back when the process ends, however it ends.
pub struct DirLock {
    _file: OwnedFd,
}

/// Why the lock was not had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirLockError {
    /// Another process has the directory open.
    Held {
        dir: PathBuf,
    },
    Media(MediaError),
}

impl DirLock {
    /// Locks `root`, which is made if it does not exist.
    pub fn take(root: &Path) -> Result<DirLock, DirLockError> {
        let lock = || -> Result<OwnedFd, Errno> {
            make_root(root)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(open_dir(root)?, "lock", flags, FILE_MODE)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        };
        match lock() {
            Ok(file) => Ok(DirLock { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(DirLockError::Held { dir: root.to_owned() }),
            Err(error) => Err(DirLockError::Media(on(error, root))),
        }
    }
}

impl fmt::Display for DirLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirLockError::Held { dir } => {
                write!(f, "the data directory {} is in use by another process", dir.display())
            }
            DirLockError::Media(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DirLockError {}

fn make_root(root: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(root, DIR_MODE) {
        Ok(()) => {
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            rustix::fs::fsync(open_dir(parent)?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => match root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                make_root(parent)?;
                make_root(root)
            }
            _ => Err(Errno::NOENT),
        },
        Err(error) => Err(error),
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The directories on the way from the root (left out) to `dir`, itself included.
fn lineage(dir: DirName) -> Vec<String> {
    let path = dir.to_string();
    match (dir, path.split_once('/')) {
        (DirName::Root, _) => Vec::new(),
        (_, Some((parent, _))) => vec![parent.to_owned(), path],
        (_, None) => vec![path],
    }
}

/// The file of that name in `dir`, if it is one of ours: what a name is must print as the same name again.
fn parse(dir: DirName, name: &str) -> Option<FileName> {
    let file = match dir {
        DirName::Root if name == "identity" => FileName::Identity,
        DirName::Root if name == "identity.tmp" => FileName::IdentityTmp,
        DirName::Root => return None,
        DirName::Wal(shard) => match name.strip_suffix(".new") {
            Some(slot) => FileName::WalSlotNew { shard, slot: slot.parse().ok()? },
            None => FileName::WalSlot { shard, slot: name.parse().ok()? },
        },
        // The log's own directory: no blob is made there.
        DirName::Blobs(_, BlobKind::Slot) => return None,
        DirName::Blobs(shard, kind) => match name.strip_suffix(".tmp") {
            Some(number) => FileName::BlobTmp(blob(shard, kind, number)?),
            None => FileName::Blob(blob(shard, kind, name)?),
        },
        DirName::Reserve(shard) => FileName::Reserve { shard, part: name.parse().ok()? },
    };
    (file.to_string().rsplit('/').next() == Some(name)).then_some(file)
}

fn blob(shard: ShardId, kind: BlobKind, number: &str) -> Option<BlobName> {
    Some(BlobName { shard, kind, number: number.parse().ok()? })
}

fn refused(error: Errno) -> DiskError {
    match error {
        Errno::NOSPC | Errno::DQUOT => DiskError::NoSpace,
        Errno::EXIST => DiskError::Exists,
        Errno::NOENT => DiskError::Missing,
        other => DiskError::Io(std::io::Error::from(other).to_string()),
    }
}

fn on(error: Errno, path: &Path) -> MediaError {
    refused(error).on(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::TempDir;
    use crate::disk::{list, read_all, run};
    use std::os::unix::fs::PermissionsExt;

    const SLOT: FileName = FileName::WalSlot { shard: ShardId(0), slot: 0 };

    fn segment(number: u64) -> BlobName {
        BlobName { shard: ShardId(3), kind: BlobKind::Segment, number }
    }

    #[test]
    fn files_and_directories_are_the_owners_alone() {
        let dir = TempDir::new();
        let mut disk = RealDisk::open(&dir.path().join("deep").join("er")).unwrap();
        run(&mut disk, DiskOp::Create { file: SLOT }).unwrap();
        run(&mut disk, DiskOp::SyncDir { dir: SLOT.dir() }).unwrap();
        let mode = |path: &str| std::fs::metadata(disk.root().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("wal"), mode("wal/00"), mode("wal/00/0000")), (0o700, 0o700, 0o700, 0o600));
    }

    #[test]
    fn a_write_of_thousands_of_pieces_is_one_write() {
        let dir = TempDir::new();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        run(&mut disk, DiskOp::Create { file: SLOT }).unwrap();
        let parts: Vec<Bytes> = (0..5000u32).map(|part| Bytes::from(vec![part as u8; (part % 7) as usize])).collect();
        let whole = parts.concat();
        run(&mut disk, DiskOp::WriteAt { file: SLOT, at: 100, parts }).unwrap();
        run(&mut disk, DiskOp::WriteAt { file: SLOT, at: 0, parts: vec![Bytes::new(); 3] }).unwrap();
        assert_eq!(read_all(&mut disk, SLOT, 100, u64::MAX).unwrap(), whole);
        assert_eq!(read_all(&mut disk, SLOT, 0, 100).unwrap(), [0; 100]);
        let at_the_end = DiskOp::ReadAt { file: SLOT, at: 100 + whole.len() as u64 - 5, len: u32::MAX };
        assert_eq!(run(&mut disk, at_the_end), Ok(DiskDone::Read(Bytes::copy_from_slice(&whole[whole.len() - 5..]))));
        let beyond = DiskOp::ReadAt { file: SLOT, at: 1 << 50, len: 10 };
        assert_eq!(run(&mut disk, beyond), Ok(DiskDone::Read(Bytes::new())));
    }

    #[test]
    fn allocated_blocks_read_as_zeros_and_take_nothing_away() {
        let dir = TempDir::new();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        run(&mut disk, DiskOp::Create { file: SLOT }).unwrap();
        run(&mut disk, DiskOp::WriteAt { file: SLOT, at: 0, parts: vec![Bytes::from_static(b"there")] }).unwrap();
        for bytes in [20_000, 10_000] {
            // A file system that has no such thing says so; then there is nothing to see.
            if let Err(DiskError::Io(_)) = run(&mut disk, DiskOp::Allocate { file: SLOT, bytes }) {
                return;
            }
            let stored = read_all(&mut disk, SLOT, 0, u64::MAX).unwrap();
            assert_eq!((stored.len(), &stored[..5]), (20_000, &b"there"[..]));
            assert!(stored[5..].iter().all(|byte| *byte == 0));
        }
        assert!(run(&mut disk, DiskOp::Allocate { file: SLOT, bytes: 1 << 60 }).is_err());
    }

    #[test]
    fn refusals_are_told_apart() {
        let dir = TempDir::new();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        assert_eq!(run(&mut disk, DiskOp::ReadAt { file: SLOT, at: 0, len: 1 }), Err(DiskError::Missing));
        assert_eq!(run(&mut disk, DiskOp::Remove { file: SLOT }), Err(DiskError::Missing));
        run(&mut disk, DiskOp::Create { file: SLOT }).unwrap();
        assert_eq!(run(&mut disk, DiskOp::Create { file: SLOT }), Err(DiskError::Exists));
        let mut reader = RealDisk::open_read_only(dir.path()).unwrap();
        assert!(matches!(run(&mut reader, DiskOp::Remove { file: SLOT }), Err(DiskError::Io(_))));
        assert!(RealDisk::open_read_only(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn lists_leave_foreign_names_out() {
        let dir = TempDir::new();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        let blobs = DirName::Blobs(ShardId(3), BlobKind::Segment);
        assert_eq!(list(&mut disk, blobs), Ok(vec![]));
        for file in [FileName::Blob(segment(7)), FileName::BlobTmp(segment(8)), FileName::Blob(segment(u64::MAX))] {
            run(&mut disk, DiskOp::Create { file }).unwrap();
        }
        for foreign in ["7", "000000000007.bak", "+00000000007", "notes.txt", "00000000000x"] {
            std::fs::write(dir.path().join("seg/03").join(foreign), "x").unwrap();
        }
        let names: Vec<FileName> = list(&mut disk, blobs).unwrap().into_iter().map(|(name, _)| name).collect();
        let expected = [FileName::Blob(segment(7)), FileName::Blob(segment(u64::MAX)), FileName::BlobTmp(segment(8))];
        assert_eq!(names, expected);
    }

    #[test]
    fn few_files_stay_open_however_many_are_used() {
        let dir = TempDir::new();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        for number in 0..600 {
            let file = FileName::Blob(segment(number));
            run(&mut disk, DiskOp::Create { file }).unwrap();
            let parts = vec![Bytes::from(number.to_string())];
            run(&mut disk, DiskOp::WriteAt { file, at: 0, parts }).unwrap();
        }
        for number in (0..600).rev() {
            let read = read_all(&mut disk, FileName::Blob(segment(number)), 0, 10).unwrap();
            assert_eq!(read, number.to_string().into_bytes());
        }
        assert!(disk.files().by_name.len() <= OPEN_FILES_MAX);
    }

    #[test]
    fn a_removed_file_stays_open_nowhere() {
        let dir = TempDir::new();
        let mut writer = RealDisk::open(dir.path()).unwrap();
        let mut reader = writer.another();
        let file = FileName::Blob(segment(1));
        run(&mut writer, DiskOp::Create { file }).unwrap();
        run(&mut writer, DiskOp::WriteAt { file, at: 0, parts: vec![Bytes::from_static(b"x")] }).unwrap();
        assert_eq!(read_all(&mut reader, file, 0, 10).unwrap(), b"x");
        let held = Arc::downgrade(&reader.file(file).unwrap());
        run(&mut writer, DiskOp::Remove { file }).unwrap();
        assert!(held.upgrade().is_none(), "its space would not come back");
        assert_eq!(run(&mut reader, DiskOp::ReadAt { file, at: 0, len: 1 }), Err(DiskError::Missing));
    }

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let dir = TempDir::new();
        let first = DirLock::take(dir.path()).unwrap();
        let second = DirLock::take(dir.path()).err().unwrap();
        assert_eq!(second, DirLockError::Held { dir: dir.path().to_owned() });
        let told = second.to_string();
        assert!(told.contains(&dir.path().display().to_string()) && told.contains("another process"), "{told}");
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
