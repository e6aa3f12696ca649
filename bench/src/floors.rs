// SPDX-License-Identifier: Apache-2.0
//! The machine's floors: what this machine can do at best, whatever broker runs on it. Measured in the same run as the brokers,
//! because a virtual machine is not the same from one hour to the next.
//!
//! Owns: loopback, disk, memory and checksum figures, as single numbers with their names.
//! Must not know: any broker.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long each part runs.
#[derive(Clone, Copy, Debug)]
pub struct FloorPlan {
    pub loopback: Duration,
    pub syncs: usize,
    pub sequential_bytes: u64,
    pub memory_bytes: usize,
}

impl FloorPlan {
    /// About ten seconds in all.
    pub const QUICK: FloorPlan = FloorPlan {
        loopback: Duration::from_millis(1500),
        syncs: 3000,
        sequential_bytes: 2 << 30,
        memory_bytes: 256 << 20,
    };
    /// The disk over so much that no cache in between holds it.
    pub const FULL: FloorPlan = FloorPlan { sequential_bytes: 6 << 30, ..FloorPlan::QUICK };
}

/// Percentiles of one kind of operation, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
    pub per_s: f64,
}

impl Spread {
    /// # Panics
    /// When `times` is empty.
    pub fn of(mut times: Vec<Duration>, whole: Duration) -> Spread {
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
        Spread {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: at(1.0),
            per_s: times.len() as f64 / whole.as_secs_f64(),
        }
    }
}

/// All floors. Rates are in MB/s (10^6 bytes).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Floors {
    /// One connection, 64 KiB writes.
    pub loopback_mb_s: f64,
    /// A 64-byte message there and back.
    pub loopback_turn: Spread,
    /// Written into a file whose blocks exist, then `fdatasync`.
    pub sync_4_kib: Spread,
    pub sync_64_kib: Spread,
    /// A new file in 1 MiB writes, `fdatasync` every 64 MiB.
    pub sequential_write_mb_s: f64,
    /// The same into a file whose blocks exist, `fdatasync` after each 1 MiB: what a write-ahead log in recycled files can reach.
    pub recycled_write_mb_s: f64,
    /// Blocks far larger than the caches.
    pub memory_copy_mb_s: f64,
    /// Over the same blocks.
    pub crc32c_mb_s: f64,
}

/// Measures everything; files go to `folder` and are removed again.
pub fn measure(folder: &Path, plan: FloorPlan) -> io::Result<Floors> {
    fs::create_dir_all(folder)?;
    let (memory_copy_mb_s, crc32c_mb_s) = memory(plan.memory_bytes);
    Ok(Floors {
        loopback_mb_s: loopback_stream(plan.loopback)?,
        loopback_turn: loopback_turns(plan.loopback)?,
        sync_4_kib: sync_loop(folder, 4 << 10, plan.syncs)?,
        sync_64_kib: sync_loop(folder, 64 << 10, plan.syncs)?,
        sequential_write_mb_s: sequential_write(folder, plan.sequential_bytes)?,
        recycled_write_mb_s: recycled_write(folder, plan.sequential_bytes / 4)?,
        memory_copy_mb_s,
        crc32c_mb_s,
    })
}

impl Floors {
    /// Name and figure, for people.
    pub fn rows(&self) -> Vec<(String, String)> {
        let spread = |spread: &Spread| {
            format!(
                "p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, {:.0}/s",
                spread.p50_us, spread.p99_us, spread.p99_9_us, spread.per_s
            )
        };
        vec![
            ("loopback, one connection, 64 KiB writes".into(), format!("{:.0} MB/s", self.loopback_mb_s)),
            ("loopback, 64 bytes there and back".into(), spread(&self.loopback_turn)),
            ("4 KiB write + fdatasync, existing blocks".into(), spread(&self.sync_4_kib)),
            ("64 KiB write + fdatasync, existing blocks".into(), spread(&self.sync_64_kib)),
            (
                "sequential write, new file, fdatasync every 64 MiB".into(),
                format!("{:.0} MB/s", self.sequential_write_mb_s),
            ),
            ("1 MiB write + fdatasync, existing blocks".into(), format!("{:.0} MB/s", self.recycled_write_mb_s)),
            ("memory copy, 256 MiB blocks".into(), format!("{:.0} MB/s", self.memory_copy_mb_s)),
            ("CRC-32C, 256 MiB blocks".into(), format!("{:.0} MB/s", self.crc32c_mb_s)),
        ]
    }
}

fn mb_s(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

fn loopback_stream(time: Duration) -> io::Result<f64> {
    let (mut near, mut far) = pair()?;
    let reader = thread::spawn(move || {
        let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0u64);
        while let Ok(count @ 1..) = far.read(&mut buffer) {
            bytes += count as u64;
        }
        bytes
    });
    let (begin, buffer) = (Instant::now(), vec![1; 64 << 10]);
    while begin.elapsed() < time {
        near.write_all(&buffer)?;
    }
    drop(near);
    let bytes = reader.join().expect("the reader does not panic");
    Ok(mb_s(bytes, begin.elapsed()))
}

fn loopback_turns(time: Duration) -> io::Result<Spread> {
    let (mut near, mut far) = pair()?;
    let echo = thread::spawn(move || {
        let mut buffer = [0; 64];
        while far.read_exact(&mut buffer).is_ok() && far.write_all(&buffer).is_ok() {}
    });
    let (begin, mut buffer, mut times) = (Instant::now(), [0; 64], Vec::new());
    while begin.elapsed() < time {
        let turn = Instant::now();
        near.write_all(&buffer)?;
        near.read_exact(&mut buffer)?;
        times.push(turn.elapsed());
    }
    let spread = Spread::of(times, begin.elapsed());
    drop(near);
    echo.join().expect("the echo does not panic");
    Ok(spread)
}

/// A file of `bytes` whose blocks have been written once, as a recycled slot's have.
pub fn prewritten(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        file.write_all(&zeros[..piece as usize])?;
        left -= piece;
    }
    file.sync_all()?;
    Ok(file)
}

fn sync_loop(folder: &Path, bytes: usize, count: usize) -> io::Result<Spread> {
    let path = folder.join("floor-sync");
    let slots = (64 << 20) / bytes;
    let file = prewritten(&path, 64 << 20)?;
    let (buffer, mut times) = (vec![7; bytes], Vec::with_capacity(count));
    let begin = Instant::now();
    for index in 0..count {
        let turn = Instant::now();
        file.write_all_at(&buffer, (index % slots * bytes) as u64)?;
        file.sync_data()?;
        times.push(turn.elapsed());
    }
    let spread = Spread::of(times, begin.elapsed());
    fs::remove_file(path)?;
    Ok(spread)
}

fn sequential_write(folder: &Path, bytes: u64) -> io::Result<f64> {
    let path = folder.join("floor-sequential");
    let mut file = File::create(&path)?;
    let buffer = vec![9; 1 << 20];
    let begin = Instant::now();
    for index in 1..=bytes >> 20 {
        file.write_all(&buffer)?;
        if index % 64 == 0 {
            file.sync_data()?;
        }
    }
    file.sync_data()?;
    let rate = mb_s(bytes, begin.elapsed());
    fs::remove_file(path)?;
    Ok(rate)
}

fn recycled_write(folder: &Path, bytes: u64) -> io::Result<f64> {
    let path = folder.join("floor-recycled");
    let file = prewritten(&path, 64 << 20)?;
    let buffer = vec![5; 1 << 20];
    let begin = Instant::now();
    for index in 0..bytes >> 20 {
        file.write_all_at(&buffer, (index % 64) << 20)?;
        file.sync_data()?;
    }
    let rate = mb_s(bytes, begin.elapsed());
    fs::remove_file(path)?;
    Ok(rate)
}

fn memory(bytes: usize) -> (f64, f64) {
    let source = vec![3; bytes];
    // Written once before, so that the copy does not measure the kernel handing out pages.
    let mut target = vec![1; bytes];
    let begin = Instant::now();
    for _ in 0..4 {
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
    }
    let copy = mb_s(4 * bytes as u64, begin.elapsed());
    let begin = Instant::now();
    for _ in 0..4 {
        black_box(model::crc::crc32c(black_box(&source)));
    }
    (copy, mb_s(4 * bytes as u64, begin.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_is_measured() {
        let folder = std::env::temp_dir().join(format!("polylog-floors-{}", std::process::id()));
        let plan = FloorPlan {
            loopback: Duration::from_millis(20),
            syncs: 20,
            sequential_bytes: 8 << 20,
            memory_bytes: 1 << 20,
        };
        let floors = measure(&folder, plan).unwrap();
        assert!(floors.loopback_mb_s > 0.0 && floors.sequential_write_mb_s > 0.0 && floors.recycled_write_mb_s > 0.0);
        assert!(floors.sync_4_kib.p50_us > 0.0 && floors.sync_4_kib.p50_us <= floors.sync_4_kib.p99_us);
        assert!(floors.memory_copy_mb_s > 0.0 && floors.crc32c_mb_s > 0.0);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        fs::remove_dir_all(folder).unwrap();
    }
}
