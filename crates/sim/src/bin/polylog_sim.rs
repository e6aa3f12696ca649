// SPDX-License-Identifier: Apache-2.0
//! `polylog-sim`: runs seeds of a scenario over a few threads, and says how to run a failing one again.
//!
//! ```text
//! polylog-sim [SCENARIO] [--seed N | --seeds N] [--shards 1|2] [--from N] [--jobs N] [--keep LIST] [--trace] [--all]
//!             [--clients-alone] [--require-sometimes] [--planted [NAME]]
//! ```
//! Exit codes: 0 clean, 1 a seed failed (or a planted bug was not caught), 2 wrong usage.
//!
//! Owns: the command line, threads, progress, reports. Must not know: what a scenario does.

use sim::scenarios::{self, Outcome, Run, Setup};
use sim::shrink;
use sim::sometimes::{BETTER_NEVER, Sightings, looked_for};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
struct Arguments {
    scenario: String,
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    shards: u32,
    jobs: u64,
    keep: Option<Vec<usize>>,
    trace: bool,
    planted: Option<Option<String>>,
    /// Goes on after failures and lists their kinds.
    all: bool,
    /// Judges by nothing that only the simulator can see.
    clients_alone: bool,
    /// A rare path that no seed reached is a failure.
    require_sometimes: bool,
}

const USAGE: &str = "usage: polylog-sim [SCENARIO] [--seed N | --seeds N] [--shards 1|2] [--from N] [--jobs N] [--keep LIST] \
                     [--trace] [--all] [--clients-alone] [--require-sometimes] [--planted [NAME]]";

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("polylog-sim: {wrong}\n{USAGE}\nscenarios: {}", names());
            return ExitCode::from(2);
        }
    };
    if let Some(name) = &arguments.planted {
        return planted(&arguments, name.as_deref());
    }
    let Some(run) = scenarios::named(&arguments.scenario) else {
        eprintln!("polylog-sim: no scenario is called {:?}; there are {}", arguments.scenario, names());
        return ExitCode::from(2);
    };
    if let Some(seed) = arguments.seed {
        return one(&arguments, run, seed);
    }
    many(&arguments, run)
}

fn names() -> String {
    scenarios::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let jobs = std::thread::available_parallelism().map_or(1, |jobs| jobs.get() as u64);
    let mut arguments = Arguments {
        scenario: "kernel".into(),
        seed: None,
        seeds: 1000,
        from: 1,
        shards: 1,
        jobs,
        keep: None,
        trace: false,
        planted: None,
        all: false,
        clients_alone: false,
        require_sometimes: false,
    };
    let mut next = words.next();
    while let Some(word) = next.take() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (word, None),
        };
        if name == "--trace" {
            arguments.trace = true;
        } else if name == "--all" {
            arguments.all = true;
        } else if name == "--clients-alone" {
            arguments.clients_alone = true;
        } else if name == "--require-sometimes" {
            arguments.require_sometimes = true;
        } else if name == "--planted" {
            let value = inline.or_else(|| words.next());
            match value {
                Some(value) if value.starts_with("--") => {
                    arguments.planted = Some(None);
                    next = Some(value);
                    continue;
                }
                value => arguments.planted = Some(value),
            }
        } else if !name.starts_with("--") {
            arguments.scenario = name;
        } else {
            let value = inline.or_else(|| words.next()).ok_or_else(|| format!("{name} wants a value"))?;
            let number = || value.replace('_', "").parse::<u64>().map_err(|_| format!("{name} {value}: not a number"));
            match name.as_str() {
                "--seed" => arguments.seed = Some(number()?),
                "--seeds" => arguments.seeds = number()?,
                "--from" => arguments.from = number()?,
                "--shards" => arguments.shards = number()?.clamp(1, 2) as u32,
                "--jobs" => arguments.jobs = number()?.max(1),
                "--keep" => {
                    arguments.keep = Some(parse_list(&value).ok_or_else(|| format!("--keep {value}: not a list"))?)
                }
                _ => return Err(format!("{name} is not known")),
            }
        }
        next = words.next();
    }
    Ok(arguments)
}

/// `1,4-7` is 1, 4, 5, 6, 7.
fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut out = Vec::new();
    for piece in text.split(',').filter(|piece| !piece.is_empty()) {
        match piece.split_once('-') {
            Some((from, to)) => out.extend(from.parse::<usize>().ok()?..=to.parse().ok()?),
            None => out.push(piece.parse().ok()?),
        }
    }
    Some(out)
}

fn list(numbers: &[usize]) -> String {
    let mut out = String::new();
    let mut index = 0;
    while index < numbers.len() {
        let from = index;
        while index + 1 < numbers.len() && numbers[index + 1] == numbers[index] + 1 {
            index += 1;
        }
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&numbers[from].to_string());
        if index > from {
            out.push_str(&format!("-{}", numbers[index]));
        }
        index += 1;
    }
    out
}

/// All of a seed.
fn setup(arguments: &Arguments, seed: u64) -> Setup {
    Setup { clients_alone: arguments.clients_alone, ..Setup::of(seed, arguments.shards) }
}

fn one(arguments: &Arguments, run: Run, seed: u64) -> ExitCode {
    let setup = Setup { keep: arguments.keep.clone(), trace: arguments.trace, ..setup(arguments, seed) };
    let outcome = run(&setup);
    for line in &outcome.trace {
        println!("{line}");
    }
    if outcome.failure.is_none() {
        println!(
            "seed {seed}: clean, trace {:016x}, {} ms of virtual time",
            outcome.trace_hash,
            outcome.virtual_us / 1000
        );
        return ExitCode::SUCCESS;
    }
    report(arguments, run, &setup, outcome, arguments.keep.is_none() && !arguments.trace);
    ExitCode::FAILURE
}

fn report(arguments: &Arguments, run: Run, setup: &Setup, outcome: Outcome, shrinks: bool) {
    let Some(failure) = outcome.failure.clone() else { return };
    println!("\nseed {} of {} with {} shard(s) FAILED: {failure}", setup.seed, arguments.scenario, setup.shard_count);
    let (setup, outcome) = if shrinks {
        println!("shrinking ...");
        let plan = outcome.operations.iter().map(|(index, _)| *index).collect();
        shrink::shrink(setup, plan, &failure, run)
    } else {
        (setup.clone(), outcome)
    };
    if !outcome.options.is_empty() {
        println!("options: {}", outcome.options);
    }
    println!("operations ({}):", outcome.operations.len());
    for (index, text) in &outcome.operations {
        println!("  #{index} {text}");
    }
    if let Some(failure) = &outcome.failure {
        println!("which end in: {failure}");
    }
    if !outcome.history.is_empty() && outcome.history.lines().count() < 400 {
        println!("history:\n{}", outcome.history);
    }
    let again = format!("cargo xtask sim {} --seed {} --shards {}", arguments.scenario, setup.seed, setup.shard_count);
    println!("the whole seed again:  {again}");
    if let Some(keep) = &setup.keep {
        println!("the operations above:  {again} --keep {} --trace", list(keep));
    }
}

fn many(arguments: &Arguments, run: Run) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let done = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let end = arguments.from.saturating_add(arguments.seeds);
    let failed: Mutex<Option<(Setup, Outcome)>> = Mutex::new(None);
    let sightings = Mutex::new(Sightings::default());
    let kinds: Mutex<BTreeMap<String, Vec<(u64, String)>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                let mut seen = Sightings::default();
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let setup = setup(arguments, seed);
                    let outcome = run(&setup);
                    seen.add(&outcome.sightings);
                    done.fetch_add(1, Ordering::Relaxed);
                    if let Some(failure) = &outcome.failure {
                        if arguments.all {
                            if let Ok(mut kinds) = kinds.lock() {
                                kinds.entry(failure.kind.clone()).or_default().push((seed, failure.text.clone()));
                            }
                            continue;
                        }
                        stop.store(true, Ordering::Relaxed);
                        if let Ok(mut failed) = failed.lock()
                            && failed.as_ref().is_none_or(|(other, _)| seed < other.seed)
                        {
                            *failed = Some((setup, outcome));
                        }
                    }
                }
                if let Ok(mut sightings) = sightings.lock() {
                    sightings.add(&seen);
                }
            });
        }
        let mut shown = Instant::now();
        while done.load(Ordering::Relaxed) < arguments.seeds && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            if shown.elapsed() > Duration::from_secs(if std::io::stderr().is_terminal() { 1 } else { 10 }) {
                shown = Instant::now();
                let done = done.load(Ordering::Relaxed);
                let rate = done as f64 / started.elapsed().as_secs_f64();
                eprintln!("{}: {done} of {} seeds, {:.0} seeds/min", arguments.scenario, arguments.seeds, rate * 60.0);
            }
        }
    });
    let done = done.load(Ordering::Relaxed);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}: {done} seeds from {} with {} shard(s) in {seconds:.1} s, {:.0} seeds/min",
        arguments.scenario,
        arguments.from,
        arguments.shards,
        done as f64 * 60.0 / seconds
    );
    let mut missed = Vec::new();
    if let Ok(sightings) = sightings.into_inner() {
        for what in looked_for(&arguments.scenario, arguments.shards) {
            println!("  sometimes {:>9}  {what}", sightings.count(what));
            if sightings.count(what) == 0 {
                missed.push(what);
            }
        }
        if sightings.count(BETTER_NEVER) > 0 {
            println!("  in the end {:>8}  {BETTER_NEVER}", sightings.count(BETTER_NEVER));
        }
    }
    let kinds = kinds.into_inner().unwrap_or_default();
    for mut seeds in kinds.values().cloned() {
        seeds.sort();
        let first: Vec<String> = seeds.iter().take(5).map(|(seed, _)| seed.to_string()).collect();
        println!("FAILED {:>6} seeds ({}): {}", seeds.len(), first.join(", "), seeds[0].1);
    }
    if !kinds.is_empty() {
        return ExitCode::FAILURE;
    }
    match failed.into_inner() {
        Ok(Some((setup, outcome))) => {
            report(arguments, run, &setup, outcome, true);
            ExitCode::FAILURE
        }
        _ if arguments.require_sometimes && !missed.is_empty() => {
            println!("clean, but no seed reached: {}", missed.join("; "));
            ExitCode::FAILURE
        }
        _ => {
            println!("clean");
            ExitCode::SUCCESS
        }
    }
}

#[cfg(not(feature = "planted"))]
fn planted(_arguments: &Arguments, _name: Option<&str>) -> ExitCode {
    eprintln!("polylog-sim: this build has no planted bugs; build it with --features planted");
    ExitCode::from(2)
}

#[cfg(feature = "planted")]
fn planted(arguments: &Arguments, name: Option<&str>) -> ExitCode {
    use model::planted::{Bug, plant};
    let bugs: Vec<Bug> = match name.map(|name| (name, Bug::named(name))) {
        None => Bug::ALL.to_vec(),
        Some((_, Some(bug))) => vec![bug],
        Some((name, None)) => {
            eprintln!("polylog-sim: no planted bug is called {name:?}; there are:");
            for bug in Bug::ALL {
                eprintln!("  {}", bug.name());
            }
            return ExitCode::from(2);
        }
    };
    let mut missed = 0;
    // As it stands in docs/reliability.md.
    println!(
        "| anomaly | planted | scenario | seed | caught by | seed, by clients alone | caught by |\n|---|---|---|---|---|---|---|"
    );
    for bug in bugs {
        let scenario = scenarios::suited(bug);
        let Some(run) = scenarios::named(scenario) else {
            missed += 1;
            continue;
        };
        plant(Some(bug));
        let caught = |clients_alone| {
            (arguments.from..arguments.from + PLANTED_SEEDS_MAX).find_map(|seed| {
                run(&Setup { clients_alone, ..setup(arguments, seed) }).failure.map(|failure| (seed, failure.text))
            })
        };
        let (by_all, by_clients) = (caught(false), caught(true));
        plant(None);
        missed += u32::from(by_all.is_none() || (by_clients.is_none() && !scenarios::costs_only(bug)));
        println!("{}{scenario} | {} | {} |", row(bug), cells(by_all), cells(by_clients));
    }
    if missed == 0 {
        println!("all caught");
        ExitCode::SUCCESS
    } else {
        println!("{missed} not caught");
        ExitCode::FAILURE
    }
}

/// The seed that caught a bug, and how.
#[cfg(feature = "planted")]
fn cells(caught: Option<(u64, String)>) -> String {
    let Some((seed, text)) = caught else { return format!("- | not in {PLANTED_SEEDS_MAX} seeds") };
    let text = text.lines().collect::<Vec<_>>().join(" ");
    // Where cargo keeps the crates of others differs from machine to machine.
    let from = text.find("panicked at ").map_or(0, |at| at + "panicked at ".len());
    let to = text.find("/src/index.crates.io-").map_or(from, |at| at + "/src/".len());
    let text: String = text[..from].chars().chain(text[to..].chars()).take(100).collect();
    format!("{seed} | {}", text.replace('|', "/"))
}

/// A row of the table begins with its anomaly and its name.
#[cfg(feature = "planted")]
fn row(bug: model::planted::Bug) -> String {
    format!("| {} | {} | ", bug.anomaly().unwrap_or("ours"), bug.name())
}

/// A bug that needs more seeds than this is not caught.
#[cfg(feature = "planted")]
const PLANTED_SEEDS_MAX: u64 = 1000;
