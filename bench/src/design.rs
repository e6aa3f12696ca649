// SPDX-License-Identifier: Apache-2.0
//! Measurements that decided parts of the design, kept so that they can be taken again on another machine. What they came to and
//! what follows stands in `docs/internals/measurements.md`.
//!
//! Owns: the cases. Must not know: the broker; these are models of a part of it, over the real disk.

pub mod beside;
pub mod token;

use crate::floors::Spread;
use crate::process;
use beside::Beside;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use token::TokenPlan;

const CASE_TIME: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

/// Runs all cases and prints tables. Cases are taken twice, in turn, because the machine is not the same twice.
pub fn run(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    println!("{}", process::machine());
    println!(
        "\n| shard | cores | commands/s | p50 us | p99 us | p99.9 us | CPU us a command |\n|---|---|---|---|---|---|---|"
    );
    for rate in [1_000, 5_000] {
        for busy_threads in [0, std::thread::available_parallelism()?.get()] {
            for token in [true, false, true, false] {
                token_case(folder, TokenPlan { token, busy_threads, sockets: 2, rate, time: CASE_TIME })?;
            }
        }
    }
    println!(
        "\n| beside the log | p50 us | p99 us | p99.9 us | max ms | written beside MB/s |\n|---|---|---|---|---|---|"
    );
    let case =
        |pace: u64, sync: u64, direct| Some(Beside { pace_bytes_s: pace * 1_000_000, sync_bytes: sync * MIB, direct });
    let cases = [
        ("nothing", None),
        ("unpaced, sync at 128 MiB", case(0, 128, false)),
        ("100 MB/s, sync at 128 MiB", case(100, 128, false)),
        ("100 MB/s, sync every 8 MiB", case(100, 8, false)),
        ("100 MB/s, sync every 1 MiB", case(100, 1, false)),
        ("300 MB/s, sync at 128 MiB", case(300, 128, false)),
        ("300 MB/s, sync every 8 MiB", case(300, 8, false)),
        ("300 MB/s, sync every 1 MiB", case(300, 1, false)),
        ("300 MB/s, past the page cache", case(300, 128, true)),
    ];
    for _ in 0..2 {
        for (name, beside) in cases {
            let figures = beside::measure(folder, beside, CASE_TIME)?;
            let Spread { p50_us, p99_us, p99_9_us, max_us, .. } = figures.log;
            println!(
                "| {name} | {p50_us:.0} | {p99_us:.0} | {p99_9_us:.0} | {:.1} | {:.0} |",
                max_us / 1e3,
                figures.beside_mb_s
            );
        }
    }
    Ok(())
}

fn token_case(folder: &Path, plan: TokenPlan) -> io::Result<()> {
    let own = std::process::id();
    let (cpu, begin) = (process::cpu_seconds(own)?, Instant::now());
    let figures = token::measure(folder, plan)?;
    let spun = plan.busy_threads as f64 * begin.elapsed().as_secs_f64();
    // What the busy threads used cannot be told apart here; on idle cores there are none.
    let cpu_us = (process::cpu_seconds(own)? - cpu) * 1e6 / figures.commands as f64;
    let Spread { p50_us, p99_us, p99_9_us, per_s, .. } = figures.spread;
    println!(
        "| {} | {} | {per_s:.0} | {p50_us:.0} | {p99_us:.0} | {p99_9_us:.0} | {} |",
        if plan.token { "token" } else { "own thread" },
        if plan.busy_threads == 0 { "idle" } else { "busy" },
        if spun == 0.0 { format!("{cpu_us:.0}") } else { "–".to_owned() }
    );
    Ok(())
}
