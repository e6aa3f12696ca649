// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask mutants`: small changes to the code of the log and of the spill that some test of the kernel should notice.
//!
//! Owns: which code, how large the sample is, which one a seed takes, which tests are worth a mutant's time, what is known already. Must
//! not know: what a survivor means; that is judged by people, and what they found stands in `docs/reliability.md`.
//!
//! Most of a mutant's time used to be a build from nothing and the few slowest tests. Now the build folder stays (`target/mutants/build`), there
//! is no debug information, and the slowest tests, which no mutant of this code needs, are left out ([`SKIPPED`]). cargo-mutants deals its
//! mutants out over many small hands like cards; a seed says which hands make the sample. What a hand came to is written down
//! (`target/mutants/results.txt`), so a run that was cut off, or that had only some minutes, goes on where it was. `--fresh` forgets all
//! of it, as one must when code or tests have changed.

use crate::process;
use crate::programs;
use crate::workspace::Workspace;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where a wrong line would lose records.
const CODE: &[&str] = &["crates/kernel/src/log/**", "crates/kernel/src/spill/**"];
/// Half of the time of all tests: those that look at every bit of a layout (which is not the code here), and one that waits for a balance.
const SKIPPED: &[&str] = &[
    "under_load_without_a_pause_small_segments_do_not_pile_up",
    "every_flipped_bit",
    "a_segment_is_read_back_as_it_was_written",
    "a_placed_segment_is_read_back_wherever_its_batches_stand",
    "a_checkpoint_is_read_back_as_it_was_written",
    "a_checkpoint_of_many_pieces_is_read_whole",
];
const COUNT_DEFAULT: usize = 100;
/// Mutants of a hand: between two notes of what they came to.
const HAND: usize = 4;
/// A test that does not end is a mutant that was noticed.
const TEST_S_MAX: &str = "300";
const BUILD_S_MAX: &str = "900";
/// What a mutant may come to: noticed, not noticed, its tests did not end, it does not compile. Files of cargo-mutants with these names.
const OUTCOMES: [&str; 4] = ["caught", "missed", "timeout", "unviable"];
/// How cargo-mutants ends: all were noticed, some survived, a test did not end. Anything else is no run.
const RUNS: &[i32] = &[0, 2, 3];

/// `cargo xtask mutants [--count N] [--seed N] [--minutes N] [--fresh]`. True when the sample, or what there was time for, was run: a
/// survivor is printed and fails nothing, since many change what no caller can see, and only a reader can tell.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let (mut count, mut seed, mut minutes) = (COUNT_DEFAULT as u64, 0, u64::MAX);
    let folder = workspace.target.join("mutants");
    let results = folder.join("results.txt");
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let into = match word.as_str() {
            "--count" => &mut count,
            "--seed" => &mut seed,
            "--minutes" => &mut minutes,
            "--fresh" => {
                let _ = fs::remove_file(&results);
                continue;
            }
            other => return Err(format!("mutants does not know {other:?}")),
        };
        let number = words.next().ok_or_else(|| format!("{word} needs a number"))?;
        *into = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    }
    programs::install(workspace, "cargo-mutants")?;
    fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let all = process::answer(mutants(workspace).arg("--list"))?.lines().count();
    let hands = (all / HAND).max(1);
    let sample = sample(hands, (count as usize).div_ceil(HAND), seed);
    let mut known = fs::read_to_string(&results).map(|text| read(&text, hands)).unwrap_or_default();
    let begun = Instant::now();
    let mut run = 0;
    for hand in &sample {
        let time_is_up = begun.elapsed() >= Duration::from_secs(minutes.saturating_mul(60));
        if time_is_up || known.iter().any(|ended| ended.hand == *hand) {
            continue;
        }
        let ended = run_hand(workspace, &folder, *hand, hands)?;
        run += ended.mutants.len();
        known.push(ended);
        fs::write(&results, text(&known, hands)).map_err(|why| format!("{}: {why}", results.display()))?;
    }
    let of_sample = || known.iter().filter(|ended| sample.contains(&ended.hand)).flat_map(|ended| &ended.mutants);
    of_sample().filter(|mutant| mutant.0 == "missed").for_each(|mutant| println!("survives: {}", mutant.1));
    let count = |outcome: &str| of_sample().filter(|mutant| mutant.0 == outcome).count();
    let counts: Vec<String> = OUTCOMES.iter().map(|outcome| format!("{outcome} {}", count(outcome))).collect();
    let seconds = begun.elapsed().as_secs_f64() / run.max(1) as f64;
    println!(
        "of {all} mutants {} with seed {seed}: {}; {run} of them run now, {seconds:.0} s each",
        of_sample().count(),
        counts.join(", ")
    );
    Ok(true)
}

/// What a hand came to: for each mutant one of [`OUTCOMES`], and its name.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    hand: usize,
    mutants: Vec<(String, String)>,
}

fn run_hand(workspace: &Workspace, folder: &Path, hand: usize, hands: usize) -> Result<Ended, String> {
    let mut run = mutants(workspace);
    run.args(["--shard", &format!("{hand}/{hands}"), "--sharding", "round-robin"]);
    run.args(["--baseline", "skip", "--timeout", TEST_S_MAX, "--build-timeout", BUILD_S_MAX, "--jobs", "1"]);
    run.arg("--output").arg(folder).args(["--", "--lib", "--"]);
    SKIPPED.iter().for_each(|test| {
        run.args(["--skip", test]);
    });
    run.env("CARGO_TARGET_DIR", folder.join("build")).env("CARGO_INCREMENTAL", "1");
    run.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    let status = run.status().map_err(|why| format!("cargo mutants: {why}"))?;
    if !status.code().is_some_and(|code| RUNS.contains(&code)) {
        return Err(format!("cargo mutants: {status}"));
    }
    let mut ended = Ended { hand, mutants: Vec::new() };
    for outcome in OUTCOMES {
        let file = folder.join("mutants.out").join(format!("{outcome}.txt"));
        let names = fs::read_to_string(&file).map_err(|why| format!("{}: {why}", file.display()))?;
        ended.mutants.extend(names.lines().map(|name| (outcome.to_owned(), name.to_owned())));
    }
    Ok(ended)
}

fn mutants(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo(&["mutants", "--package", "kernel"]);
    programs::with_installed(workspace, &mut command);
    CODE.iter().for_each(|code| {
        command.args(["--file", code]);
    });
    command
}

/// `count` of so many hands, chosen by the seed; the same seed takes the same mutants of the same code.
fn sample(hands: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..hands).collect();
    let mut state = seed;
    let mut taken = Vec::new();
    while taken.len() < count && !rest.is_empty() {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        taken.push(rest.swap_remove((bits % rest.len() as u64) as usize));
    }
    taken
}

/// A line for each hand, and below it one for each of its mutants.
fn text(known: &[Ended], hands: usize) -> String {
    let mut text = String::new();
    for ended in known {
        let _ = writeln!(text, "hand {}/{hands}", ended.hand);
        for (outcome, name) in &ended.mutants {
            let _ = writeln!(text, "{outcome} {name}");
        }
    }
    text
}

/// Hands of another number of hands are of other code, and count for nothing.
fn read(text: &str, hands: usize) -> Vec<Ended> {
    let mut known: Vec<Ended> = Vec::new();
    for (word, rest) in text.lines().filter_map(|line| line.split_once(' ')) {
        if word == "hand" {
            let of = rest.split_once('/').filter(|(_, of)| of.parse() == Ok(hands));
            let Some(hand) = of.and_then(|(hand, _)| hand.parse().ok()) else { return Vec::new() };
            known.push(Ended { hand, mutants: Vec::new() });
        } else if let Some(ended) = known.last_mut().filter(|_| OUTCOMES.contains(&word)) {
            ended.mutants.push((word.to_owned(), rest.to_owned()));
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_takes_one_of_the_samples() {
        let first = sample(200, 3, 1);
        assert_eq!(first, sample(200, 3, 1));
        assert_ne!(first, sample(200, 3, 2));
        let mut every = sample(20, 100, 7);
        every.sort_unstable();
        assert_eq!(every, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_known_is_read_again_unless_it_is_of_other_code() {
        let mutants = vec![("missed".to_owned(), "x.rs:1:2: replace + with - in f".to_owned())];
        let known = vec![Ended { hand: 3, mutants }, Ended { hand: 9, mutants: Vec::new() }];
        assert_eq!(read(&text(&known, 50), 50), known);
        assert!(read(&text(&known, 50), 51).is_empty() && read("nonsense", 50).is_empty());
    }
}
