// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask test`: every check there is, one step after another, one line a step, and a last line that counts.
//!
//! Ordered from the quick to the slow, so that a slip is told in seconds. A step that fails does not stop the next: one run tells all.

use crate::process;
use crate::programs;
use crate::report::Report;
use crate::workspace::Workspace;
use crate::{conformance, deploy, fuzz, readme, tidy};
use std::process::Command;
use std::time::Instant;

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace, &mut Report),
}

const STEPS: &[Step] = &[
    Step { name: "format", about: "cargo fmt --check", run: format },
    Step { name: "tidy", about: "the repository's own rules", run: |workspace, report| tidy::run(workspace, report) },
    Step { name: "clippy", about: "no warning in any target", run: clippy },
    Step { name: "unit", about: "cargo test: unit, property, contract, script and node tests", run: unit },
    Step { name: "sim", about: "simulator seeds with one shard and two, planted bugs found", run: sim },
    Step { name: "conformance", about: "real clients and bad input against the real broker", run: conformance::step },
    Step {
        name: "deploy",
        about: "the systemd unit and the container image, by the tools that use them",
        run: deploy::step,
    },
    Step { name: "torture", about: "kill -9 under load, and damage at rest, a few rounds each", run: torture },
    Step {
        name: "readme",
        about: "the blocks of README.md and docs/user/, as a user would run them",
        run: readme::step,
    },
    Step { name: "fuzz", about: "each fuzz target for a moment, where the tools are", run: fuzz::step },
];

/// See the module.
pub fn run(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let mut only = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => {
                for step in STEPS {
                    println!("{:12} {}", step.name, step.about);
                }
                return Ok(true);
            }
            "--only" => {
                let name = words.next().ok_or("--only needs a step (--list tells them)")?;
                if !STEPS.iter().any(|step| step.name == name) {
                    return Err(format!("no step is called {name:?} (--list tells them)"));
                }
                only.push(name.clone());
            }
            other => return Err(format!("what is {other:?}? (--list, --only STEP)")),
        }
    }
    let began = Instant::now();
    let mut whole = Report::default();
    for step in STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)) {
        let step_began = Instant::now();
        let mut report = Report::default();
        (step.run)(workspace, &mut report);
        let seconds = step_began.elapsed().as_secs_f64();
        println!("{:12} {}, {seconds:.1} s: {}", step.name, report.last_line(), step.about);
        whole.absorb(report);
    }
    println!("\nall steps: {:.1} s", began.elapsed().as_secs_f64());
    print!("{}", whole.recapitulation());
    println!("{}", whole.last_line());
    Ok(whole.clean())
}

fn format(workspace: &Workspace, report: &mut Report) {
    let kept = process::keep(&mut workspace.cargo(&["fmt", "--all", "--check"]), &workspace.log("format"), |_| {});
    report.check("format", kept.into_check());
}

fn clippy(workspace: &Workspace, report: &mut Report) {
    let mut command = workspace.cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    report.check("clippy", process::keep(&mut command, &workspace.log("clippy"), |_| {}).into_check());
}

fn unit(workspace: &Workspace, report: &mut Report) {
    let mut command = workspace.cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    let kept = process::keep(&mut command, &workspace.log("unit"), |_| {});
    count_tests(&kept.output, report);
    if !kept.ok && report.clean() {
        report.fail("unit", &kept.output);
    } else if !kept.ok {
        // The failures were named by name; what they said stands at the end of the output.
        println!("{}", failure_text(&kept.output));
    } else if report.passed == 0 {
        report.fail("unit", "no test was run");
    }
}

/// Reads what test programs print: `test NAME ... ok`, `FAILED`, `ignored` with its reason, and their closing lines.
fn count_tests(output: &str, report: &mut Report) {
    for line in output.lines() {
        if let Some(counts) = line.strip_prefix("test result: ") {
            report.pass(count_before(counts, " passed"));
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... ")) {
            if outcome.starts_with("FAILED") {
                report.fail(name, "");
            } else if let Some(reason) = outcome.strip_prefix("ignored") {
                let reason = reason.trim_start_matches(", ");
                report.skip(name, if reason.is_empty() { "its source gives no reason" } else { reason });
            }
        }
    }
}

/// The number that stands before `word`.
fn count_before(text: &str, word: &str) -> usize {
    let Some((before, _)) = text.split_once(word) else { return 0 };
    let digits = before.rsplit(|letter: char| !letter.is_ascii_digit()).next().unwrap_or("");
    digits.parse().unwrap_or(0)
}

/// The parts of the output between a program's `failures:` and its closing line.
fn failure_text(output: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in output.lines() {
        inside = (inside || line == "failures:") && !line.starts_with("test result: ");
        if inside {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Seeds of a run inside `cargo xtask test`: some seconds each. `cargo xtask sim --seeds 100000` is for a longer look.
const SIM_RUNS: &[(&str, &[&str])] = &[
    ("sim kernel, 1 shard", &["kernel", "--seeds", "3000", "--shards", "1"]),
    ("sim kernel, 2 shards", &["kernel", "--seeds", "3000", "--shards", "2"]),
    ("sim kafka, 1 shard", &["kafka", "--seeds", "300", "--shards", "1"]),
    ("sim kafka, 2 shards", &["kafka", "--seeds", "300", "--shards", "2"]),
    ("sim groups, 1 shard", &["groups", "--seeds", "500", "--shards", "1"]),
    ("sim groups, 2 shards", &["groups", "--seeds", "300", "--shards", "2"]),
    ("sim rot, 1 shard", &["rot", "--seeds", "2000", "--shards", "1"]),
    ("sim rot, 2 shards", &["rot", "--seeds", "2000", "--shards", "2"]),
    ("sim meta: the same seed twice gives the same trace", &["meta", "--seeds", "50"]),
    ("sim: planted bugs are found", &["--planted"]),
];

fn sim(workspace: &Workspace, report: &mut Report) {
    let kept = process::keep(&mut workspace.cargo(programs::SIM_BUILD), &workspace.log("sim build"), |_| {});
    if !kept.ok {
        return report.fail("sim build", &kept.output);
    }
    for (name, arguments) in SIM_RUNS {
        let mut command = Command::new(programs::sim_program(workspace));
        command.args(*arguments).current_dir(&workspace.root);
        report.check(name, process::keep(&mut command, &workspace.log(name), |_| {}).into_check());
    }
}

/// Rounds inside `cargo xtask test`.
const TORTURE_ROUNDS: &str = "10";
/// Pieces of damage at rest in the torture step.
const TORTURE_PIECES: &str = "60";

fn torture(workspace: &Workspace, report: &mut Report) {
    for (name, build) in [("broker build", programs::BROKER_BUILD), ("bench build", programs::BENCH_BUILD)] {
        let kept = process::keep(&mut workspace.cargo(build), &workspace.log(name), |_| {});
        if !kept.ok {
            return report.fail(name, &kept.output);
        }
    }
    let rigs =
        [("torture kill", ["kill", "--rounds", TORTURE_ROUNDS]), ("torture rot", ["rot", "--count", TORTURE_PIECES])];
    for (name, arguments) in rigs {
        let arguments = arguments.map(str::to_string);
        let mut command = programs::bench_command(workspace, &programs::broker(workspace), &arguments);
        report.check(name, process::keep(&mut command, &workspace.log(name), |_| {}).into_check());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
test a::b ... ok
test a::c ... ignored, needs a disk of its own
test a::d ... FAILED

failures:

---- a::d stdout ----
left is not right

failures:
    a::d

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
running 40 tests
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn what_test_programs_print_is_counted_and_named() {
        let mut report = Report::default();
        count_tests(OUTPUT, &mut report);
        assert_eq!(report.last_line(), "41 passed, 1 failed, 1 skipped");
        assert_eq!(report.failed, ["a::d"]);
        assert_eq!(report.skipped, [("a::c".to_string(), "needs a disk of its own".to_string())]);
        assert!(failure_text(OUTPUT).contains("left is not right"));
        assert!(!failure_text(OUTPUT).contains("running 40"));
    }

    #[test]
    fn steps_have_names_of_their_own() {
        let mut names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
