// SPDX-License-Identifier: Apache-2.0
//! What the data directory takes, and what its file system has left.
//!
//! Owns: the walk over the directory and its age: it is done again after `KEPT_MAX`, and by one asker at a time. Must not know:
//! what the files are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old an answer may be.
const KEPT_MAX: Duration = Duration::from_secs(10);
/// Directory levels below the data directory: kind, shard.
const DEPTH_MAX: usize = 3;
/// `st_blocks` counts these, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Taken by files of the directory, holes not counted.
    pub used_bytes: u64,
    pub disk_bytes: u64,
    /// What this process may still use.
    pub disk_free_bytes: u64,
}

/// See the module.
pub struct DiskUsage {
    /// `None`: nothing is at rest.
    dir: Option<PathBuf>,
    last: Mutex<Option<(Instant, Option<Usage>)>>,
}

impl DiskUsage {
    pub fn new(dir: Option<PathBuf>) -> DiskUsage {
        DiskUsage { dir, last: Mutex::default() }
    }

    /// The usage, at most `KEPT_MAX` old. `None`: there is no directory, or the system does not tell.
    pub async fn look(&self) -> Option<Usage> {
        let dir = self.dir.clone()?;
        let mut last = self.last.lock().await;
        if let Some((at, usage)) = *last
            && at.elapsed() < KEPT_MAX
        {
            return usage;
        }
        let usage = tokio::task::spawn_blocking(move || measure(&dir)).await.ok().flatten();
        *last = Some((Instant::now(), usage));
        usage
    }
}

fn measure(dir: &Path) -> Option<Usage> {
    let system = rustix::fs::statvfs(dir).ok()?;
    Some(Usage {
        used_bytes: taken_bytes(dir, DEPTH_MAX),
        disk_bytes: system.f_blocks.saturating_mul(system.f_frsize),
        disk_free_bytes: system.f_bavail.saturating_mul(system.f_frsize),
    })
}

/// Files that go away during the walk are not counted.
fn taken_bytes(dir: &Path, depth: usize) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += metadata.blocks() * BLOCK_BYTES;
        if metadata.is_dir() && depth > 1 {
            bytes += taken_bytes(&entry.path(), depth - 1);
        }
    }
    bytes
}
