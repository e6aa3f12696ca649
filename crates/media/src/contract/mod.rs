// SPDX-License-Identifier: Apache-2.0
//! The suite that every medium passes: what `model::media` says a medium MUST do, asked of each.
//!
//! Owns: the cases for `Wal` and `Blobs`, and a disk for tests (`disk.rs`) that answers late and loses what was not synced. A new
//! medium is a new implementation of [`WalMedium`] or a new closure for [`blobs_suite`], never a new case left out.
//!
//! Panics with the case's name on a breach: it is a test, run from tests.

pub mod blobs;
pub mod disk;
pub mod wal;

pub use blobs::blobs_suite;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
pub use wal::{WalMedium, wal_suite};

/// A directory that does not exist yet, of its own for each test, removed at the end.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A name that nobody else uses.
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("polylog-media-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        TempDir(std::env::temp_dir().join(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> TempDir {
        TempDir::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::disk::TestDisk;
    use super::*;
    use crate::disk::Disk;
    use crate::disk::real::RealDisk;
    use crate::local::blobs::LocalBlobs;
    use crate::local::wal::{LocalWal, WalOptions};
    use crate::memory::{MemoryBlobs, MemoryMedia, MemoryWal};
    use model::media::WalOpened;
    use model::{Lsn, ShardEpoch, ShardId};
    use std::collections::BTreeSet;

    struct Memory(MemoryMedia);

    impl WalMedium for Memory {
        type Wal = MemoryWal;
        type Blobs = MemoryBlobs;
        fn open_lent(&mut self, from: Lsn, lent: &BTreeSet<u32>) -> (MemoryWal, WalOpened) {
            assert!(lent.is_empty());
            MemoryWal::open(&self.0, ShardId(0), from, ShardEpoch(0)).unwrap()
        }
        fn blobs(&mut self) -> MemoryBlobs {
            self.0.blobs()
        }
    }

    /// A local log over a fresh handle at every open.
    struct Local<D> {
        disk: Box<dyn FnMut() -> D>,
        room: Option<TestDisk>,
    }

    impl<D: Disk> WalMedium for Local<D> {
        type Wal = LocalWal<D>;
        type Blobs = LocalBlobs<D>;
        fn open_lent(&mut self, from: Lsn, lent: &BTreeSet<u32>) -> (LocalWal<D>, WalOpened) {
            let mut options = WalOptions::new(ShardId(0), [5; 16], 0);
            options.slot_bytes = 64 * 1024;
            options.slot_count = 3;
            options.slot_count_max = 40;
            options.lent = lent.clone();
            LocalWal::open((self.disk)(), options, from).unwrap()
        }
        fn blobs(&mut self) -> LocalBlobs<D> {
            LocalBlobs::new((self.disk)())
        }
        fn space(&mut self, wal: &mut LocalWal<D>, is_there: bool) -> bool {
            let Some(disk) = &self.room else { return false };
            disk.room((!is_there).then_some(0));
            wal.prepare_step();
            true
        }
    }

    #[test]
    fn the_log_in_memory_keeps_the_contract() {
        wal_suite(|| Memory(MemoryMedia::new()));
    }

    #[test]
    fn the_log_on_the_test_disk_keeps_the_contract() {
        wal_suite(|| {
            let disk = TestDisk::new();
            Local { room: Some(disk.clone()), disk: Box::new(move || disk.clone().late(3)) }
        });
    }

    #[test]
    fn the_log_on_the_real_disk_keeps_the_contract() {
        wal_suite(|| {
            let dir = TempDir::new();
            Local { room: None, disk: Box::new(move || RealDisk::open(dir.path()).unwrap()) }
        });
    }

    #[test]
    fn blobs_in_memory_keep_the_contract() {
        blobs_suite(|| MemoryMedia::new().blobs());
    }

    #[test]
    fn blobs_on_the_test_disk_keep_the_contract() {
        blobs_suite(|| LocalBlobs::new(TestDisk::new().late(3)));
    }

    #[test]
    fn blobs_on_the_real_disk_keep_the_contract() {
        let dirs = std::cell::RefCell::new(Vec::new());
        blobs_suite(|| {
            let dir = TempDir::new();
            let blobs = LocalBlobs::new(RealDisk::open(dir.path()).unwrap().paced());
            dirs.borrow_mut().push(dir);
            blobs
        });
    }
}
