// SPDX-License-Identifier: Apache-2.0
//! The bare disk beside a broker that keeps a rate: a 4 KiB write and `fdatasync` for each record that the broker gets, into a file
//! of its own whose blocks exist. It works in the slices in which the client pauses, so that neither waits for the other and both see the
//! same machine.
//!
//! Owns: the loop, what counts as a stall, which slices lie beside each other. Must not know: any broker.
//! Time runs from the moment at which a write was due, as the client's does: a stall is charged to every write that waited for it.

use super::native_client::{ClientOutcome, Slow, Times};
use crate::floors;
use crate::results::Stall;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const FILE_BYTES: u64 = 64 << 20;
const WRITE_BYTES: u64 = 4 << 10;
/// A time above it is listed. The client has the same figure.
const STALL: Duration = Duration::from_millis(20);
/// As many as the client lists.
const STALLS_MAX: usize = 100;

/// When and how often.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub begin: Instant,
    /// The broker's slice comes first, then the loop's, and so on.
    pub slice: Duration,
    pub rate: u64,
    /// The first so many are not counted.
    pub warm_count: u64,
    pub count: u64,
}

/// What it took.
pub struct BareOutcome {
    pub times: Times,
    pub stalls: Vec<Slow>,
    pub slice_worst_ms: Vec<f64>,
}

/// Runs the loop; the file lies in `folder` and is removed again.
pub fn run(folder: &Path, pace: Pace) -> io::Result<BareOutcome> {
    let path = folder.join("bare-sync");
    let file = floors::prewritten(&path, FILE_BYTES)?;
    // The default slack of 50 us would be a quarter of the gap at 5,000/s.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000))?;
    let slice_count = (pace.slice.as_secs_f64() * pace.rate as f64) as u64;
    let gap = Duration::from_nanos(1_000_000_000 / pace.rate);
    let buffer = vec![7; WRITE_BYTES as usize];
    let mut times = Vec::with_capacity(pace.count as usize);
    let mut stalls: Vec<Slow> = Vec::new();
    let mut last_slow = Duration::ZERO;
    let mut slice_worst_ms = vec![0.0_f64; pace.count.div_ceil(slice_count) as usize];
    for index in 0..pace.count {
        let slice = index / slice_count;
        let since_begin = pace.slice * (2 * slice as u32 + 1) + gap * (index % slice_count) as u32;
        let due = pace.begin + since_begin;
        let slice_end = pace.begin + pace.slice * (2 * slice as u32 + 2);
        let took = if Instant::now() < slice_end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            file.write_all_at(&buffer, index * WRITE_BYTES % FILE_BYTES)?;
            file.sync_data()?;
            due.elapsed()
        } else {
            // A disk that does not keep the pace is not to write on in the broker's slice. What was due and not written waited until now
            // at least.
            slice_end - due
        };
        if index < pace.warm_count {
            continue;
        }
        times.push(took);
        let took_ms = took.as_secs_f64() * 1e3;
        let worst = &mut slice_worst_ms[slice as usize];
        *worst = worst.max(took_ms);
        if took <= STALL {
            continue;
        }
        let goes_on = since_begin - last_slow <= STALL;
        let listed = stalls.len();
        match stalls.last_mut() {
            Some(stall) if goes_on => {
                stall.ms = stall.ms.max(took_ms);
                stall.count += 1;
            }
            _ if listed < STALLS_MAX => {
                stalls.push(Slow { at_ms: since_begin.as_secs_f64() * 1e3, ms: took_ms, count: 1 });
            }
            _ => {}
        }
        last_slow = since_begin;
    }
    fs::remove_file(path)?;
    Ok(BareOutcome { times: spread(times), stalls, slice_worst_ms })
}

fn spread(mut times: Vec<Duration>) -> Times {
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len().saturating_sub(1) as f64 * part) as usize;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Times {
        count: times.len() as u64,
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p99_ms: at(0.99),
        p99_9_ms: at(0.999),
        max_ms: at(1.0),
    }
}

/// Both lists in one, by time, each with what the other did around it: the bare slice of a number comes right after the broker's.
pub fn stalls(broker: &ClientOutcome, bare: &BareOutcome, slice: Duration) -> Vec<Stall> {
    let slice_ms = slice.as_secs_f64() * 1e3;
    let worst = |slices: &[f64], around: [Option<usize>; 2]| {
        around.into_iter().flatten().filter_map(|index| slices.get(index)).fold(0.0_f64, |worst, ms| worst.max(*ms))
    };
    let number = |slow: &Slow| (slow.at_ms / (2.0 * slice_ms)) as usize;
    let of_broker = broker.stalls.iter().map(|slow| {
        let other_ms = worst(&bare.slice_worst_ms, [number(slow).checked_sub(1), Some(number(slow))]);
        Stall { bare: false, at_ms: slow.at_ms, ms: slow.ms, count: slow.count, other_ms }
    });
    let of_bare = bare.stalls.iter().map(|slow| {
        let other_ms = worst(&broker.slice_worst_ms, [Some(number(slow)), Some(number(slow) + 1)]);
        Stall { bare: true, at_ms: slow.at_ms, ms: slow.ms, count: slow.count, other_ms }
    });
    let mut all: Vec<Stall> = of_broker.chain(of_bare).collect();
    all.sort_by(|left, right| left.at_ms.total_cmp(&right.at_ms));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_timed_in_its_slice() {
        let folder = std::env::temp_dir().join(format!("polylog-bare-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let slice = Duration::from_millis(20);
        let begin = Instant::now();
        let outcome = run(&folder, Pace { begin, slice, rate: 500, warm_count: 5, count: 30 }).unwrap();
        assert_eq!((outcome.times.count, outcome.slice_worst_ms.len()), (25, 3));
        assert!(begin.elapsed() >= slice * 5, "the last slice begins after five");
        assert!(outcome.times.p50_ms > 0.0 && outcome.times.p50_ms <= outcome.times.max_ms);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_stall_is_listed_with_what_the_other_did_around_it() {
        let slow = |at_ms, ms| Slow { at_ms, ms, count: 3 };
        let broker = ClientOutcome {
            stalls: vec![slow(1_100.0, 40.0)],
            slice_worst_ms: vec![2.0, 40.0, 5.0],
            ..ClientOutcome::default()
        };
        let bare = BareOutcome {
            times: Times::default(),
            stalls: vec![slow(700.0, 30.0)],
            slice_worst_ms: vec![30.0, 1.0, 60.0],
        };
        let listed = stalls(&broker, &bare, Duration::from_millis(500));
        let listed: Vec<_> = listed.iter().map(|stall| (stall.bare, stall.at_ms, stall.other_ms)).collect();
        assert_eq!(listed, [(true, 700.0, 40.0), (false, 1_100.0, 30.0)]);
    }
}
