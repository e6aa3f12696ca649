// SPDX-License-Identifier: Apache-2.0
//! What stands in `deploy/`, looked at by the tools that will use it.
//!
//! The unit: `systemd-analyze verify` with the built broker in the place of the installed one; any word of it is a failure, because
//! an option that it does not know is only a warning to it. The container: built by whatever builder works here, then asked for its
//! version; that it is built with the repository's own toolchain is checked in any case. The dashboard is checked by the tests of `ops`, which know the names of all figures.

use crate::process;
use crate::programs;
use crate::report::Report;
use crate::workspace::Workspace;
use std::path::Path;
use std::process::Command;

const UNIT: &str = "deploy/systemd/polylog.service";
const INSTALLED: &str = "/usr/bin/polylog";
const CONTAINERFILE: &str = "deploy/Containerfile";
const TOOLCHAIN: &str = "rust-toolchain.toml";
/// Name of the image that the step makes.
const IMAGE: &str = "polylog-xtask-deploy";
/// Programs that build a Containerfile, first choice first, and a command that fails where they cannot.
const BUILDERS: [(&str, &[&str]); 3] = [("podman", &["info"]), ("docker", &["info"]), ("buildah", &["info"])];

/// The step of `cargo xtask test`.
pub fn step(workspace: &Workspace, report: &mut Report) {
    let kept = process::keep(&mut workspace.cargo(programs::BROKER_BUILD), &workspace.log("deploy build"), |_| {});
    if !kept.ok {
        return report.fail("broker build", &kept.output);
    }
    unit(workspace, report);
    report.check("container toolchain", toolchain(workspace));
    container(workspace, report);
}

fn unit(workspace: &Workspace, report: &mut Report) {
    const NAME: &str = "systemd unit";
    if process::which("systemd-analyze").is_none() {
        return report.skip(NAME, "systemd-analyze is not installed");
    }
    report.check(NAME, verify(workspace));
}

fn verify(workspace: &Workspace) -> Result<(), String> {
    let text = std::fs::read_to_string(workspace.root.join(UNIT)).map_err(|why| format!("{UNIT}: {why}"))?;
    let text = with_broker(&text, &programs::broker(workspace))?;
    let folder = workspace.target.join("xtask");
    let file = folder.join("polylog.service");
    std::fs::write(&file, text).map_err(|why| format!("{}: {why}", file.display()))?;
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(&file);
    let kept = process::keep(&mut command, &workspace.log("deploy unit"), |_| {});
    if kept.ok && kept.output.trim().is_empty() { Ok(()) } else { Err(kept.output) }
}

/// The unit as if the broker were installed where it was built.
fn with_broker(unit: &str, broker: &Path) -> Result<String, String> {
    let starts = unit.lines().filter(|line| line.starts_with(&format!("ExecStart={INSTALLED} "))).count();
    if starts != 1 {
        return Err(format!("{UNIT}: one line ExecStart={INSTALLED} is expected, found {starts}"));
    }
    Ok(unit.replace(INSTALLED, &broker.display().to_string()))
}

/// The image that builds is of the version that the repository names.
fn toolchain(workspace: &Workspace) -> Result<(), String> {
    let read = |file: &str| std::fs::read_to_string(workspace.root.join(file)).map_err(|why| format!("{file}: {why}"));
    builds_with(&read(CONTAINERFILE)?, &read(TOOLCHAIN)?)
}

fn builds_with(containerfile: &str, toolchain: &str) -> Result<(), String> {
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    let channel = channel.ok_or_else(|| format!("{TOOLCHAIN} names no channel"))?;
    let minor = channel.rsplit_once('.').map_or(channel, |(minor, _)| minor);
    let image = containerfile.lines().find_map(|line| line.strip_prefix("ARG RUST_IMAGE=rust:"));
    match image {
        Some(image) if image.split('-').next() == Some(minor) => Ok(()),
        _ => Err(format!("{CONTAINERFILE} builds with rust:{}, not rust:{minor}", image.unwrap_or("?"))),
    }
}

fn container(workspace: &Workspace, report: &mut Report) {
    const NAME: &str = "container image";
    let builder = match builder() {
        Ok(builder) => builder,
        Err(reason) => return report.skip(NAME, &reason),
    };
    let mut build = Command::new(builder);
    let verb = if builder == "buildah" { "bud" } else { "build" };
    build.args([verb, "-f", CONTAINERFILE, "-t", IMAGE, "."]).current_dir(&workspace.root);
    let kept = process::keep(&mut build, &workspace.log("deploy container"), |_| {});
    if !kept.ok {
        return report.fail(NAME, &kept.output);
    }
    report.pass(1);
    if builder == "buildah" {
        return report.skip("container version", "buildah builds images and runs none");
    }
    let mut run = Command::new(builder);
    run.args(["run", "--rm", IMAGE, "version"]);
    let answered = process::answer(&mut run).and_then(|answer| match answer.starts_with("polylog ") {
        true => Ok(()),
        false => Err(format!("it says {answer:?}")),
    });
    report.check("container version", answered);
}

/// The first builder that is there and answers.
fn builder() -> Result<&'static str, String> {
    let mut reasons = Vec::new();
    for (program, works) in BUILDERS {
        if process::which(program).is_none() {
            continue;
        }
        match process::answer(Command::new(program).args(works)) {
            Ok(_) => return Ok(program),
            Err(why) => reasons.push(format!("{program} does not work here ({})", last_line(&why))),
        }
    }
    if reasons.is_empty() {
        reasons.push("none of podman, docker and buildah is installed".to_string());
    }
    Err(reasons.join("; "))
}

fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it gives no reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_tried_with_the_broker_that_was_built() {
        let unit = "[Service]\nExecStart=/usr/bin/polylog serve\n";
        assert_eq!(with_broker(unit, Path::new("/x/polylog")).unwrap(), "[Service]\nExecStart=/x/polylog serve\n");
        assert!(with_broker("[Service]\nExecStart=/bin/false\n", Path::new("/x/polylog")).is_err());
    }

    #[test]
    fn the_image_that_builds_is_of_the_toolchains_version() {
        let toolchain = "[toolchain]\nchannel = \"1.95.0\"\n";
        assert_eq!(builds_with("ARG RUST_IMAGE=rust:1.95-slim-trixie\n", toolchain), Ok(()));
        assert!(builds_with("ARG RUST_IMAGE=rust:1.94-slim\n", toolchain).is_err());
        assert!(builds_with("FROM scratch\n", toolchain).is_err());
    }

    #[test]
    fn a_builder_that_does_not_answer_is_named_with_its_last_words() {
        assert_eq!(last_line("Client:\nCannot connect\n\n"), "Cannot connect");
        assert_eq!(last_line(""), "it gives no reason");
    }
}
