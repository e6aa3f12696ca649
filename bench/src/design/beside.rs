// SPDX-License-Identifier: Apache-2.0
//! How long does a log's sync take while a large file is written beside it, as a spill does? It decides how a spill is paced and how
//! often it syncs.
//!
//! Owns: a log's loop (4 KiB into existing blocks, `fdatasync`, a little pause) and a sequential writer beside it.

use crate::floors::{Spread, prewritten};
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PIECE_BYTES: usize = 1 << 20;
/// A spill's file: after so many bytes it is synced, closed, and the next begins.
const FILE_BYTES: u64 = 128 << 20;

/// What goes on beside the log.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    /// Bytes a second; as fast as it goes when 0.
    pub pace_bytes_s: u64,
    /// Bytes between two syncs of the large file.
    pub sync_bytes: u64,
    /// Past the page cache.
    pub direct: bool,
}

/// The log's syncs, and how fast the writer beside it went.
#[derive(Clone, Copy, Debug)]
pub struct BesideFigures {
    pub log: Spread,
    pub beside_mb_s: f64,
}

/// Runs the log for `time` with `beside` (or nothing) beside it.
pub fn measure(folder: &Path, beside: Option<Beside>, time: Duration) -> io::Result<BesideFigures> {
    let path = folder.join("design-log");
    let log = prewritten(&path, 64 << 20)?;
    rustix::fs::sync();
    let over = AtomicBool::new(false);
    let figures = thread::scope(|scope| {
        let writer = beside.map(|plan| {
            let over = &over;
            scope.spawn(move || write_beside(folder, plan, over))
        });
        let begin = Instant::now();
        let log = log_loop(&log, time);
        over.store(true, Ordering::Relaxed);
        let time = begin.elapsed();
        let bytes = writer.map_or(Ok(0), |writer| writer.join().expect("the writer does not panic"))?;
        Ok(BesideFigures { log: log?, beside_mb_s: bytes as f64 / 1e6 / time.as_secs_f64() })
    });
    fs::remove_file(path)?;
    figures
}

fn log_loop(file: &File, time: Duration) -> io::Result<Spread> {
    let (page, begin, mut times, mut at) = (vec![5; 4096], Instant::now(), Vec::new(), 0);
    while begin.elapsed() < time {
        let turn = Instant::now();
        file.write_all_at(&page, at)?;
        file.sync_data()?;
        times.push(turn.elapsed());
        at = (at + 4096) % (64 << 20);
        // A log under moderate load, not one that saturates the disk by itself.
        thread::sleep(Duration::from_micros(300));
    }
    Ok(Spread::of(times, begin.elapsed()))
}

fn write_beside(folder: &Path, plan: Beside, over: &AtomicBool) -> io::Result<u64> {
    let path = folder.join("design-large");
    // Direct I/O asks for aligned memory: a page-aligned piece of a larger one.
    let memory = vec![9; PIECE_BYTES + 4096];
    let skip = memory.as_ptr().align_offset(4096);
    let piece = &memory[skip..skip + PIECE_BYTES];
    let (begin, mut bytes) = (Instant::now(), 0);
    while !over.load(Ordering::Relaxed) {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if plan.direct {
            options.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        let file = options.open(&path)?;
        let mut at = 0;
        while at < FILE_BYTES && !over.load(Ordering::Relaxed) {
            file.write_all_at(piece, at)?;
            at += PIECE_BYTES as u64;
            bytes += PIECE_BYTES as u64;
            if at.is_multiple_of(plan.sync_bytes) {
                file.sync_data()?;
            }
            if plan.pace_bytes_s > 0 {
                let due = Duration::from_secs_f64(bytes as f64 / plan.pace_bytes_s as f64);
                thread::sleep(due.saturating_sub(begin.elapsed()));
            }
        }
        file.sync_all()?;
    }
    fs::remove_file(path)?;
    Ok(bytes)
}
