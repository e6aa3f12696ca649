// SPDX-License-Identifier: Apache-2.0
//! Tells the Kafka head how large the volume below the data directory is, and how much of it is left: every ten seconds, because
//! clients ask for it in the middle of a request, which waits for nothing.

use head_kafka::Volume;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Runtime;

const INTERVAL: Duration = Duration::from_secs(10);

/// Looks at once, then again and again until the runtime ends.
pub fn start(runtime: &Runtime, dir: PathBuf, volume: Arc<Volume>) {
    tell(&dir, &volume);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let (dir, volume) = (dir.clone(), volume.clone());
            // A file system that hangs holds this task and nothing else.
            if tokio::task::spawn_blocking(move || tell(&dir, &volume)).await.is_err() {
                return;
            }
        }
    });
}

/// What the system does not tell is left as it was.
fn tell(dir: &Path, volume: &Volume) {
    let Ok(system) = rustix::fs::statvfs(dir) else { return };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(system.f_frsize)).unwrap_or(i64::MAX);
    volume.total_bytes.store(bytes(system.f_blocks), Ordering::Relaxed);
    volume.usable_bytes.store(bytes(system.f_bavail), Ordering::Relaxed);
}
