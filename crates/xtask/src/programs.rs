// SPDX-License-Identifier: Apache-2.0
//! Builds and runs the project's own programs: the broker, the simulator, the load and kill programs; installs the tools of cargo that a
//! machine may lack.
//!
//! Few builds: the broker and `polylog-bench` in profile `release`, the simulator in profile `sim`. The environment that cargo looks at
//! is never changed between them, so nothing is compiled twice for that reason.

use crate::process;
use crate::workspace::Workspace;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The real broker, as a user would build it.
pub const BROKER_BUILD: &[&str] = &["build", "--release", "--locked", "--package", "node"];
/// Load generator and kill loop.
pub const BENCH_BUILD: &[&str] = &["build", "--release", "--locked", "--package", "bench"];
/// The simulator, with assertions and with the bugs that it can switch on.
pub const SIM_BUILD: &[&str] = &["build", "--profile", "sim", "--locked", "--package", "sim", "--features", "planted"];

/// Where the broker is once built.
pub fn broker(workspace: &Workspace) -> PathBuf {
    workspace.program("release", "polylog")
}

/// Where `polylog-bench` is once built.
pub fn bench_program(workspace: &Workspace) -> PathBuf {
    workspace.program("release", "polylog-bench")
}

/// Where the simulator is once built.
pub fn sim_program(workspace: &Workspace) -> PathBuf {
    workspace.program("sim", "polylog-sim")
}

/// `cargo xtask sim ARGS`.
pub fn sim(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    if !process::pass_through(&mut workspace.cargo(SIM_BUILD))? {
        return Ok(false);
    }
    process::pass_through(Command::new(sim_program(workspace)).args(arguments).current_dir(&workspace.root))
}

/// `cargo xtask torture ARGS` and `cargo xtask bench ARGS`. With `--planted BUG` the broker is built with its bugs, in a folder of
/// its own, so that the one that is kept stays clean.
pub fn bench(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let planted = arguments.iter().any(|word| word == "--planted" || word.starts_with("--planted="));
    if !process::pass_through(&mut workspace.cargo(BENCH_BUILD))? {
        return Ok(false);
    }
    let broker = if planted { planted_broker(workspace)? } else { clean_broker(workspace)? };
    let Some(broker) = broker else { return Ok(false) };
    process::pass_through(&mut bench_command(workspace, &broker, arguments))
}

/// `polylog-bench` told where the broker is.
pub fn bench_command(workspace: &Workspace, broker: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(bench_program(workspace));
    command.args(arguments).arg("--polylog").arg(broker).current_dir(&workspace.root);
    command
}

fn clean_broker(workspace: &Workspace) -> Result<Option<PathBuf>, String> {
    Ok(process::pass_through(&mut workspace.cargo(BROKER_BUILD))?.then(|| broker(workspace)))
}

fn planted_broker(workspace: &Workspace) -> Result<Option<PathBuf>, String> {
    let target = workspace.target.join("planted");
    let mut build = workspace.cargo(BROKER_BUILD);
    build.args(["--features", "planted", "--target-dir"]).arg(&target);
    Ok(process::pass_through(&mut build)?.then(|| target.join("release").join("polylog")))
}

/// A tool of cargo's, installed below `target` where the machine has none.
///
/// # Errors
/// What cargo said.
pub fn install(workspace: &Workspace, tool: &str) -> Result<(), String> {
    let place = tools(workspace);
    if process::which(tool).is_some() || place.join("bin").join(tool).is_file() {
        return Ok(());
    }
    println!("installing {tool}");
    let mut command = workspace.cargo(&["install", "--quiet", "--locked", tool, "--root"]);
    if process::pass_through(command.arg(&place))? { Ok(()) } else { Err(format!("{tool} could not be installed")) }
}

/// A command that finds what [`install`] has installed.
pub fn with_installed(workspace: &Workspace, command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([tools(workspace).join("bin")]);
    // Only a folder with a colon in its name cannot be joined; then what is in PATH is all there is.
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}
