// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask mutants`: small changes to the code of the log and of the spill that some test of the kernel should notice.
//!
//! Owns: which code, how large the sample is, which one a seed takes. Must not know: what a survivor means; that is judged by people, and what
//! they found stands in `docs/reliability.md`.
//!
//! cargo-mutants deals its mutants out over [`shards`](shard) like cards; a seed names one hand, so the same seed takes the same mutants of the same code.

use crate::process;
use crate::programs;
use crate::workspace::Workspace;
use std::process::Command;

/// Where a wrong line would lose records.
const CODE: &[&str] = &["crates/kernel/src/log/**", "crates/kernel/src/spill/**"];
const COUNT_DEFAULT: usize = 100;
/// A test that does not end is a mutant that was noticed.
const TEST_S_MAX: &str = "300";

/// How cargo-mutants ends: all were noticed, some survived, a test did not end. Anything else is no run.
const RUNS: &[i32] = &[0, 2, 3];

/// `cargo xtask mutants [--count N] [--seed N]`. True when the sample was run: a survivor is printed and fails nothing, since many change
/// what no caller can see, and only a reader can tell.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let (mut count, mut seed) = (COUNT_DEFAULT, 0);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let into = match word.as_str() {
            "--count" => &mut count,
            "--seed" => &mut seed,
            other => return Err(format!("mutants does not know {other:?}")),
        };
        let number = words.next().ok_or_else(|| format!("{word} needs a number"))?;
        *into = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    }
    programs::install(workspace, "cargo-mutants")?;
    let all = process::answer(mutants(workspace).arg("--list"))?.lines().count();
    let shard = shard(all, count, seed);
    println!("{all} mutants, of them shard {shard}");
    let output = workspace.scratch.join("mutants");
    let mut run = mutants(workspace);
    run.args(["--shard", &shard, "--sharding", "round-robin", "--timeout", TEST_S_MAX, "--output"]).arg(output);
    let status = run.status().map_err(|why| format!("cargo mutants: {why}"))?;
    Ok(status.code().is_some_and(|code| RUNS.contains(&code)))
}

fn mutants(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo(&["mutants", "--package", "kernel"]);
    programs::with_installed(workspace, &mut command);
    CODE.iter().for_each(|code| {
        command.args(["--file", code]);
    });
    command
}

/// The part of `all` that has about `count` in it and that `seed` chooses, as cargo-mutants writes it.
fn shard(all: usize, count: usize, seed: usize) -> String {
    let shards = (all / count.max(1)).max(1);
    format!("{}/{shards}", seed % shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_takes_one_of_the_samples() {
        assert_eq!(shard(1104, 100, 3), "3/11");
        assert_eq!(shard(1104, 100, 14), "3/11");
        assert_eq!(shard(40, 100, 7), "0/1");
    }
}
