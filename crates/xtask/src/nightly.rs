// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask nightly`: everything that looks for a lost message, longer than anybody waits for it by day.
//!
//! Owns: which commands, in which order, each one's bound, the report. Must not know: what a command does; it is started as a person would
//! start it, and its last line is what the report shows.
//!
//! All of it is bounded to [`MINUTES_MAX`]: a step that runs over its own bound is interrupted (the rigs clear up after themselves) and has
//! failed; a step that nobody got to is listed as such. What has ended is kept below `target/nightly/COMMIT`, one file a step, so a run that
//! was cut off goes on where it was when it is started again on the same commit; `--fresh` begins from the start. The cheap and the deep come
//! first: what a short night leaves out is what runs longest.

use crate::process;
use crate::workspace::Workspace;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// All of it, over all starts of one night.
const MINUTES_MAX: u64 = 240;
/// From the interrupt until a step is killed.
const GRACE_S: u64 = 60;

/// One command of `cargo xtask`.
struct Step {
    words: &'static str,
    minutes_max: u64,
}

const fn step(minutes_max: u64, words: &'static str) -> Step {
    Step { words, minutes_max }
}

const STEPS: &[Step] = &[
    step(25, "test"),
    step(15, "sim --planted"),
    step(30, "sim kernel --seeds 1000000 --require-sometimes"),
    step(10, "sim kernel --seeds 100000 --shards 2 --require-sometimes"),
    step(8, "sim kafka --seeds 8000 --require-sometimes"),
    step(8, "sim groups --seeds 8000 --shards 2 --require-sometimes"),
    step(8, "sim compaction --seeds 8000 --shards 2 --require-sometimes"),
    step(8, "sim rot --seeds 8000 --require-sometimes"),
    step(5, "sim meta --seeds 10000"),
    step(10, "torture kill --rounds 200"),
    step(5, "torture power --cuts 10"),
    step(15, "torture rot --count 1000"),
    step(8, "torture disk --rounds 14"),
    step(10, "torture flood"),
    step(28, "torture soak --minutes 25"),
    step(30, "fuzz --seconds 300"),
    step(17, "mutants --count 100 --minutes 10"),
];

/// How a step ended.
struct Ended {
    passed: bool,
    seconds: u64,
    /// The last line that it printed.
    said: String,
}

impl Ended {
    fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", if self.passed { "passed" } else { "failed" }, self.seconds, self.said)
    }

    /// Nothing for a file that was cut off: the step runs again.
    fn read(text: &str) -> Option<Ended> {
        let mut lines = text.lines();
        let passed = match lines.next()? {
            "passed" => true,
            "failed" => false,
            _ => return None,
        };
        let seconds = lines.next()?.parse().ok()?;
        Some(Ended { passed, seconds, said: lines.next()?.to_owned() })
    }
}

/// `cargo xtask nightly [--fresh] [--list]`.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let mut fresh = false;
    for word in arguments {
        match word.as_str() {
            "--fresh" => fresh = true,
            "--list" => {
                STEPS.iter().for_each(|step| println!("{:>3} min  cargo xtask {}", step.minutes_max, step.words));
                return Ok(true);
            }
            other => return Err(format!("nightly does not know {other:?}")),
        }
    }
    let commit = commit(workspace)?;
    let folder = workspace.target.join("nightly").join(&commit);
    if fresh && folder.exists() {
        fs::remove_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let itself = std::env::current_exe().map_err(|why| why.to_string())?;
    let mut ended: Vec<Option<Ended>> = Vec::new();
    for step in STEPS {
        ended.push(fs::read_to_string(place(&folder, step)).ok().and_then(|text| Ended::read(&text)));
    }
    for (at, step) in STEPS.iter().enumerate() {
        if ended[at].is_some() {
            continue;
        }
        let spent_s: u64 = ended.iter().flatten().map(|ended| ended.seconds).sum();
        if spent_s + step.minutes_max * 60 > MINUTES_MAX * 60 {
            continue;
        }
        println!("nightly: cargo xtask {}", step.words);
        let outcome = run(workspace, &itself, step);
        println!("    {}, {} s: {}", if outcome.passed { "passed" } else { "FAILED" }, outcome.seconds, outcome.said);
        let place = place(&folder, step);
        fs::write(&place, outcome.to_text()).map_err(|why| format!("{}: {why}", place.display()))?;
        ended[at] = Some(outcome);
        write_report(&folder, &commit, &ended)?;
    }
    write_report(&folder, &commit, &ended)?;
    println!("report: {}", folder.join("report.md").display());
    Ok(ended.iter().all(|ended| ended.as_ref().is_some_and(|ended| ended.passed)))
}

/// Of a tree with changes that are not committed no report is made: nobody could say later what it speaks of.
fn commit(workspace: &Workspace) -> Result<String, String> {
    let git = |words: &[&str]| process::answer(Command::new("git").args(words).current_dir(&workspace.root));
    if !git(&["status", "--porcelain"])?.trim().is_empty() {
        return Err("there are changes that are not committed: a report names a commit".to_owned());
    }
    Ok(git(&["rev-parse", "--short", "HEAD"])?.trim().to_owned())
}

fn place(folder: &Path, step: &Step) -> PathBuf {
    folder.join(step.words.replace(' ', "_"))
}

fn run(workspace: &Workspace, itself: &Path, step: &Step) -> Ended {
    let begun = Instant::now();
    let mut command = Command::new("timeout");
    command
        .args(["--signal=INT", &format!("--kill-after={GRACE_S}"), &(step.minutes_max * 60).to_string()])
        .arg(itself)
        .args(step.words.split(' '))
        .current_dir(&workspace.root);
    let kept = process::keep(&mut command, &workspace.log(&format!("nightly {}", step.words)), |_| {});
    let took = begun.elapsed();
    let said = kept.output.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
    let over = took >= Duration::from_secs(step.minutes_max * 60);
    let said = if over { format!("over its {} min; {said}", step.minutes_max) } else { said.to_owned() };
    Ended { passed: kept.ok, seconds: took.as_secs(), said }
}

fn write_report(folder: &Path, commit: &str, ended: &[Option<Ended>]) -> Result<(), String> {
    let place = folder.join("report.md");
    fs::write(&place, report(commit, ended)).map_err(|why| format!("{}: {why}", place.display()))
}

fn report(commit: &str, ended: &[Option<Ended>]) -> String {
    let mut text =
        format!("# Nightly run of {commit}\n\n| command | outcome | took | its last line |\n|---|---|---|---|\n");
    for (step, ended) in STEPS.iter().zip(ended) {
        let _ = match ended {
            Some(ended) => writeln!(
                text,
                "| `cargo xtask {}` | {} | {} s of {} | {} |",
                step.words,
                if ended.passed { "passed" } else { "**failed**" },
                ended.seconds,
                step.minutes_max * 60,
                ended.said.replace('|', "\\|")
            ),
            None => writeln!(text, "| `cargo xtask {}` | not begun | | |", step.words),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_is_long_enough_for_every_step() {
        assert!(STEPS.iter().map(|step| step.minutes_max).sum::<u64>() <= MINUTES_MAX);
    }

    #[test]
    fn what_has_ended_is_read_again_and_what_was_cut_off_is_not() {
        let ended = Ended { passed: true, seconds: 61, said: "0 lost | 0 moved".to_owned() };
        let text = ended.to_text();
        assert!(Ended::read(&text).is_some_and(|read| read.passed && read.seconds == 61));
        assert!(Ended::read("passed\n61\n").is_none());
        assert!(Ended::read("pas").is_none());
    }

    #[test]
    fn the_report_tells_failures_and_what_nobody_got_to() {
        let mut ended: Vec<Option<Ended>> = STEPS.iter().map(|_| None).collect();
        ended[0] = Some(Ended { passed: false, seconds: 2, said: "1 failed".to_owned() });
        let text = report("abc", &ended);
        assert!(text.contains("| `cargo xtask test` | **failed** | 2 s of 1500 | 1 failed |"), "{text}");
        assert!(text.contains("| `cargo xtask sim --planted` | not begun | | |"), "{text}");
    }
}
