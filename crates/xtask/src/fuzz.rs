// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask fuzz`: each target for some seconds, where the tools for it are.
//!
//! `fuzz/` is a workspace of its own: it needs a nightly compiler and `cargo-fuzz`, and nothing else may. Who asks for fuzzing gets `cargo-fuzz`
//! installed; `cargo xtask test`, which should not take minutes to compile a tool, skips it where it is not.

use crate::process;
use crate::programs;
use crate::report::Report;
use crate::workspace::Workspace;
use std::process::Command;

/// Seconds a target runs when nothing was asked for.
const SECONDS_DEFAULT: u64 = 60;

/// Seconds a target gets inside `cargo xtask test`.
const SECONDS_IN_TEST: u64 = 10;

/// The step of `cargo xtask test`.
pub fn step(workspace: &Workspace, report: &mut Report) {
    match workspace.read("fuzz/Cargo.toml") {
        Ok(manifest) => run(workspace, SECONDS_IN_TEST, &names(&manifest), report),
        Err(why) => report.fail("fuzz", &why),
    }
}

/// `cargo xtask fuzz`.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let mut seconds = SECONDS_DEFAULT;
    let mut targets = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--seconds" {
            let number = words.next().ok_or("--seconds needs a number")?;
            seconds = number.parse().map_err(|_| format!("{number:?} is not a number of seconds"))?;
        } else {
            targets.push(word.clone());
        }
    }
    if targets.is_empty() {
        targets = names(&workspace.read("fuzz/Cargo.toml")?);
    }
    programs::install(workspace, "cargo-fuzz")?;
    crate::counted(|report| run(workspace, seconds, &targets, report))
}

fn run(workspace: &Workspace, seconds: u64, targets: &[String], report: &mut Report) {
    let missing = missing_tool(workspace);
    for target in targets {
        let name = format!("fuzz {target}");
        if let Some(reason) = &missing {
            report.skip(&name, reason);
            continue;
        }
        println!("{name}: {seconds} s");
        // Seeds are committed below corpus/seeds and never written to; what is found goes to corpus/found.
        let found = format!("fuzz/corpus/found/{target}");
        if let Err(why) = std::fs::create_dir_all(workspace.root.join(&found)) {
            report.fail(&name, &why.to_string());
            continue;
        }
        let mut command = Command::new("cargo");
        command
            .args(["+nightly", "fuzz", "run", target, &found, &format!("fuzz/corpus/seeds/{target}"), "--"])
            .args([format!("-max_total_time={seconds}"), "-rss_limit_mb=2048".to_string(), "-timeout=20".to_string()])
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .current_dir(&workspace.root);
        programs::with_installed(workspace, &mut command);
        let kept = process::keep(&mut command, &workspace.log(&name), |_| {});
        report.check(&name, kept.into_check());
    }
}

/// Why the targets cannot run here, if they cannot.
fn missing_tool(workspace: &Workspace) -> Option<String> {
    let nightly = process::answer(Command::new("cargo").args(["+nightly", "--version"]).env_remove("RUSTUP_TOOLCHAIN"));
    if nightly.is_err() {
        return Some("there is no nightly toolchain".to_string());
    }
    let mut fuzz = Command::new("cargo");
    fuzz.args(["+nightly", "fuzz", "--version"]).env_remove("RUSTUP_TOOLCHAIN");
    programs::with_installed(workspace, &mut fuzz);
    process::answer(&mut fuzz).is_err().then(|| "cargo-fuzz is not installed (cargo install cargo-fuzz)".to_string())
}

/// The targets named in the fuzz workspace's manifest.
fn names(manifest: &str) -> Vec<String> {
    let mut in_bin = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_bin = line == "[[bin]]";
        } else if in_bin && let Some(value) = line.strip_prefix("name = ") {
            names.push(value.trim_matches('"').to_string());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_the_manifest() {
        let manifest = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"one\"\npath = \"x\"\n\n[[bin]]\nname = \"two\"\n";
        assert_eq!(names(manifest), ["one", "two"]);
    }
}
