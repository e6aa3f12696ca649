// SPDX-License-Identifier: Apache-2.0
//! What one flush of the log costs on this machine: wall time and CPU time of append + write + sync, on recycled slots.
//!
//! `cargo run --release -p media --example wal_flush [DIRECTORY]` prints one line a size, then the same with a paced blob written
//! beside it, then what the last sync of a blob costs with and without pacing. In between, the time to open a log with a full tail.
//! Ten seconds; about 1 GiB of disk, removed at the end.

use bytes::Bytes;
use media::disk::real::RealDisk;
use media::disk::{DiskOp, FileName, run};
use media::local::blobs::LocalBlobs;
use media::local::wal::{LocalWal, WalOptions};
use model::media::{BlobKind, BlobName, BlobOp, BlobTag, Blobs, Wal, WalDone, WalOp};
use model::{Lsn, ShardId};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SHARD: ShardId = ShardId(0);
const MIB: u64 = 1024 * 1024;

/// CPU time of the calling thread.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

struct Log {
    wal: LocalWal<RealDisk>,
    last: u64,
}

impl Log {
    /// A log whose slots have all been written once.
    fn recycled(directory: &Path) -> Log {
        let mut options = WalOptions::new(SHARD, [1; 16], 0);
        options.slot_bytes = 32 * MIB;
        options.slot_count = 4;
        let disk = RealDisk::open(directory).expect("a directory to write in");
        let (mut wal, opened) = LocalWal::open(disk, options, Lsn(1)).expect("a fresh log opens");
        while wal.prepare_step() {}
        Log { wal, last: opened.next.0 - 1 }
    }

    fn flush(&mut self, body: &Bytes) {
        self.last += 1;
        self.wal.submit(WalOp::Append { lsn: Lsn(self.last), body: body.clone() });
        match self.wal.poll_done() {
            Some(WalDone::Durable { .. }) => self.wal.submit(WalOp::Trim { below: Lsn(self.last) }),
            other => panic!("not durable: {other:?}"),
        }
    }
}

fn measure(log: &mut Log, title: &str, flush_bytes: usize, enough: Duration) {
    let body = Bytes::from(vec![7; flush_bytes - 64]);
    for _ in 0..20 {
        log.flush(&body);
    }
    let (began, cpu_began) = (Instant::now(), cpu());
    let mut took = Vec::new();
    while began.elapsed() < enough {
        let start = Instant::now();
        log.flush(&body);
        took.push(start.elapsed());
    }
    let (wall, used) = (began.elapsed(), cpu() - cpu_began);
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_micros();
    let count = took.len() as f64;
    println!(
        "{title:<22} {:>5} KiB  {:>6.0} flushes/s  {:>6.0} MB/s  wall p50 {:>5} us  p99 {:>6} us  p99.9 {:>6} us  max {:>6} us  cpu {:>5.1} us a flush",
        flush_bytes / 1024,
        count / wall.as_secs_f64(),
        count * flush_bytes as f64 / wall.as_secs_f64() / 1e6,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        used.as_secs_f64() * 1e6 / count,
    );
}

/// Writes blobs of 64 MiB, about 150 MB a second, until told to stop.
fn write_blobs(directory: &Path, paced: bool, stop: &AtomicBool) -> u64 {
    let disk = RealDisk::open(directory).expect("a directory to write in");
    let mut blobs = LocalBlobs::new(if paced { disk.paced() } else { disk });
    let piece = Bytes::from(vec![9; MIB as usize]);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let name = BlobName { shard: SHARD, kind: BlobKind::Segment, number };
        blobs.submit(BlobTag(number), BlobOp::Put { name, parts: vec![piece.clone(); 64] });
        while blobs.under_way() > 0 {
            blobs.step();
            std::thread::sleep(Duration::from_millis(6));
        }
        while blobs.poll_done().is_some() {}
        blobs.submit(BlobTag(number), BlobOp::Delete { name });
        blobs.wait_done();
    }
    number * 64
}

/// What a start spends on a full tail, with the files in the page cache.
fn open_of_a_tail(directory: &Path) {
    for (frames, frame_bytes) in [(2500, 64 * 1024), (40_000, 4096)] {
        let mut log = Log::recycled(directory);
        let from = log.last + 1;
        let body = Bytes::from(vec![7; frame_bytes - 64]);
        for _ in 0..frames {
            log.last += 1;
            log.wal.submit(WalOp::Append { lsn: Lsn(log.last), body: body.clone() });
        }
        while log.wal.poll_done().is_some() || !log.wal.idle() {}
        drop(log);
        let began = Instant::now();
        let mut options = WalOptions::new(SHARD, [1; 16], 0);
        options.slot_bytes = 32 * MIB;
        let disk = RealDisk::open(directory).expect("the directory");
        let (_, opened) = LocalWal::open(disk, options, Lsn(from)).expect("the log opens");
        println!(
            "open of {} frames, {} MiB of slots read: {} ms",
            opened.frames.len(),
            opened.frames.len() * frame_bytes / MIB as usize,
            began.elapsed().as_millis()
        );
    }
}

/// The sync at the end of a file of 64 MiB.
fn last_sync(directory: &Path, paced: bool) {
    let disk = RealDisk::open(directory).expect("a directory to write in");
    let mut disk = if paced { disk.paced() } else { disk };
    let file = FileName::BlobTmp(BlobName { shard: SHARD, kind: BlobKind::Segment, number: 1 });
    run(&mut disk, DiskOp::Create { file }).expect("create");
    let began = Instant::now();
    for step in 0..64 {
        let parts = vec![Bytes::from(vec![step as u8; MIB as usize])];
        run(&mut disk, DiskOp::WriteAt { file, at: step * MIB, parts }).expect("write");
        std::thread::sleep(Duration::from_millis(2));
    }
    let wrote = began.elapsed();
    let began = Instant::now();
    run(&mut disk, DiskOp::Sync { file }).expect("sync");
    println!(
        "blob of 64 MiB, {:<8} written in {:>4} ms, then its sync {:>4} ms",
        if paced { "paced:" } else { "unpaced:" },
        wrote.as_millis(),
        began.elapsed().as_millis()
    );
    run(&mut disk, DiskOp::Remove { file }).expect("remove");
}

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = base.join(format!("polylog-wal-flush-{}", std::process::id()));
    println!("loadavg {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let mut log = Log::recycled(&directory);
    for kib in [4, 32, 128, 1024] {
        measure(&mut log, "alone", kib * 1024, Duration::from_secs(1));
    }
    drop(log);
    open_of_a_tail(&directory.join("tail"));
    let mut log = Log::recycled(&directory.join("beside"));
    for (paced, title) in [(true, "beside a paced blob"), (false, "beside an unpaced one")] {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_blobs(&directory, paced, &stop));
            measure(&mut log, title, 32 * 1024, Duration::from_secs(2));
            stop.store(true, Ordering::Relaxed);
            println!("{:<22} {} MiB of blobs written meanwhile", "", writer.join().unwrap_or(0));
        });
    }
    for paced in [true, false] {
        last_sync(&directory, paced);
    }
    let _ = std::fs::remove_dir_all(&directory);
}
