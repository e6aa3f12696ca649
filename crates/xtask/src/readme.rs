// SPDX-License-Identifier: Apache-2.0
//! Runs the blocks of README.md, and of the pages in `docs/user/` that have any, exactly as they stand there.
//!
//! A comment before each block says how its outcome is judged:
//! ```text
//! <!-- tested: ends well -->           every line is run by bash, which must end with 0
//! <!-- tested: prints -->              ends well, and prints to the letter what the next block (```text) shows
//! <!-- tested: server -->              runs on in the background until the block that kills it; the next block waits for port 9092
//! <!-- tested: same lines -->          what it prints is one line, repeated: two sums that must be equal
//! <!-- tested: kills the server -->    ends well, and the server's process is gone
//! <!-- tested: is this command -->     `cargo xtask test` itself
//! <!-- not run: WHY -->                is for readers only
//! ```
//! In README.md every block has such a comment, in the other pages every one that is marked as `sh`.
//! The blocks use the ports and process names that a user would. So that they meet no other broker and hit no other process, each
//! page runs in network and process namespaces of its own, with a data directory of its own (`POLYLOG_DATA_DIR`). `polylog` is on
//! the path, as if it had been installed.

use crate::conformance::{self, Missing};
use crate::process;
use crate::programs;
use crate::report::Report;
use crate::tidy::Text;
use crate::workspace::Workspace;
use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PAGE: &str = "README.md";
/// Pages below it are run if they have something that runs.
const MORE_PAGES: &str = "docs/user/";
const TESTED: &str = "<!-- tested: ";
const NOT_RUN: &str = "<!-- not run: ";
const SERVER_ADDRESS: &str = "127.0.0.1:9092";
/// Includes a build, should none have been made before.
const SERVER_READY_S_MAX: u64 = 900;
const POLL_MS: u64 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    EndsWell,
    Prints,
    Server,
    SameLines,
    KillsTheServer,
    IsThisCommand,
    NotRun,
}

impl Judged {
    fn named(name: &str) -> Option<Judged> {
        Some(match name {
            "ends well" => Judged::EndsWell,
            "prints" => Judged::Prints,
            "server" => Judged::Server,
            "same lines" => Judged::SameLines,
            "kills the server" => Judged::KillsTheServer,
            "is this command" => Judged::IsThisCommand,
            _ => return None,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Of the opening fence, from 1.
    line: usize,
    /// `None`: nothing (or nothing known) says how it is tested.
    judged: Option<Judged>,
    is_shell: bool,
    text: String,
}

/// The pages that are run, README.md first.
fn pages(workspace: &Workspace) -> Result<Vec<(String, String)>, String> {
    let mut pages = vec![(PAGE.to_string(), workspace.read(PAGE)?)];
    for path in workspace.files()?.into_iter().filter(|path| is_other_page(path)) {
        let text = workspace.read(&path)?;
        if text.contains(TESTED) {
            pages.push((path, text));
        }
    }
    Ok(pages)
}

fn is_other_page(path: &str) -> bool {
    path.starts_with(MORE_PAGES) && path.ends_with(".md")
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (index, line) in page.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            if let Some(block) = open.take() {
                blocks.push(block);
            } else {
                let after = |start| before.strip_prefix(start).and_then(|rest: &str| rest.strip_suffix(" -->"));
                let is_shell = trimmed == "```sh";
                let judged = match after(TESTED) {
                    Some(name) => Judged::named(name).filter(|_| is_shell),
                    None => after(NOT_RUN).map(|_| Judged::NotRun),
                };
                open = Some(Block { line: index + 1, judged, is_shell, text: String::new() });
            }
        } else if let Some(block) = &mut open {
            block.text.push_str(line);
            block.text.push('\n');
        }
        if !trimmed.is_empty() {
            before = trimmed;
        }
    }
    blocks
}

/// For tidy: blocks that no run of [`step`] would run.
pub fn untested_blocks(texts: &[Text]) -> Vec<String> {
    let Some(page) = texts.iter().find(|text| text.path == PAGE) else {
        return vec![format!("{PAGE}: missing")];
    };
    let others = texts.iter().filter(|text| is_other_page(&text.path) && text.text.contains(TESTED));
    let mut findings = Vec::new();
    for page in std::iter::once(page).chain(others) {
        let path = &page.path;
        let blocks = blocks(&page.text);
        if blocks.is_empty() {
            findings.push(format!("{path}: no block that runs"));
        }
        for (at, block) in blocks.iter().enumerate() {
            let line = block.line;
            match block.judged {
                None if block.is_shell || path == PAGE => {
                    findings.push(format!("{path}:{line}: no `<!-- tested: … -->` before the block"));
                }
                Some(Judged::IsThisCommand) if block.text.trim() != "cargo xtask test" => {
                    findings.push(format!("{path}:{line}: only `cargo xtask test` is this command"));
                }
                Some(Judged::Prints) if shown_after(&blocks, at).is_none() => {
                    findings.push(format!("{path}:{line}: no block after it shows what it prints"));
                }
                _ => {}
            }
        }
    }
    findings
}

/// What the block after this one shows.
fn shown_after(blocks: &[Block], at: usize) -> Option<&str> {
    blocks.get(at + 1).filter(|block| !block.is_shell).map(|block| block.text.as_str())
}

/// The step of `cargo xtask test`.
pub fn step(workspace: &Workspace, report: &mut Report) {
    run_pages(workspace, report, None);
}

/// `cargo xtask readme [PAGE]`; `--inside PAGE` is how it calls itself in the namespaces.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    match arguments {
        [inside_word, page] if inside_word == "--inside" => inside(workspace, page),
        [] => crate::counted(|report| step(workspace, report)),
        [page] => crate::counted(|report| run_pages(workspace, report, Some(page))),
        _ => Err("readme takes one page at most".to_string()),
    }
}

fn run_pages(workspace: &Workspace, report: &mut Report, only: Option<&str>) {
    let mut pages = match pages(workspace) {
        Ok(pages) => pages,
        Err(why) => return report.fail("readme", &why),
    };
    pages.retain(|(path, _)| only.is_none_or(|only| path == only));
    if pages.is_empty() {
        return report.fail("readme", "no such page has a block that runs");
    }
    // Looked for once, and only if a page needs it.
    let kcat = pages.iter().any(|(_, text)| text.contains("kcat")).then(conformance::kcat);
    for (path, text) in &pages {
        if text.contains("kcat") {
            match &kcat {
                Some(Err(Missing::Absent(reason))) => {
                    report.skip(path, reason);
                    continue;
                }
                Some(Err(Missing::Broken(why))) => {
                    report.fail(&format!("{path}: kcat"), why);
                    continue;
                }
                _ => {}
            }
        }
        match namespaces() {
            Ok(mut command) => run_in_namespaces(workspace, &mut command, path, report),
            Err(reason) => report.skip(path, &reason),
        }
    }
}

/// A command that runs another in fresh namespaces, tried once.
fn namespaces() -> Result<Command, String> {
    let fresh = ["--net", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let mut reason = String::new();
    for way in ways {
        let words: Vec<&str> = way.iter().chain(&fresh).copied().collect();
        match process::answer(Command::new("unshare").args(&words).args(["ip", "link", "set", "lo", "up"])) {
            Ok(_) => {
                let mut command = Command::new("unshare");
                command.args(words);
                return Ok(command);
            }
            Err(why) => reason = why.trim().replace('\n', " "),
        }
    }
    Err(format!("namespaces of its own cannot be made here ({reason})"))
}

fn run_in_namespaces(workspace: &Workspace, command: &mut Command, page: &str, report: &mut Report) {
    // Built outside: a fresh network namespace reaches no registry. Only README.md speaks of more than the broker.
    let builds = [("broker", programs::BROKER_BUILD), ("bench", programs::BENCH_BUILD), ("sim", programs::SIM_BUILD)];
    let needed = if page == PAGE { builds.len() } else { 1 };
    for (name, build) in builds.into_iter().take(needed) {
        let name = format!("{name} build");
        let build = process::keep(&mut workspace.cargo(build), &workspace.log(&name), |_| {});
        if !build.ok {
            return report.fail(&format!("readme: {name}"), &build.output);
        }
    }
    let this = match std::env::current_exe() {
        Ok(this) => this,
        Err(why) => return report.fail("readme", &why.to_string()),
    };
    command.arg(this).args(["readme", "--inside", page]).current_dir(&workspace.root);
    let mut counted = 0;
    let mut failed: Vec<String> = Vec::new();
    let kept = process::keep(command, &workspace.log(&format!("readme {page}")), |line| {
        if line.starts_with("passed: ") {
            counted += 1;
        } else if let Some(name) = line.strip_prefix("failed: ") {
            failed.push(name.to_string());
        }
    });
    report.pass(counted);
    for name in &failed {
        report.fail(name, &kept.output);
    }
    if failed.is_empty() && (!kept.ok || counted == 0) {
        report.fail(page, &kept.output);
    }
}

fn inside(workspace: &Workspace, page: &str) -> Result<bool, String> {
    process::answer(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let data = workspace.scratch.join("readme-data");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let release = programs::broker(workspace).parent().map(Path::to_path_buf);
    let path =
        std::env::join_paths(release.into_iter().chain(std::env::split_paths(&path))).map_err(|why| why.to_string())?;
    if data.exists() {
        std::fs::remove_dir_all(&data).map_err(|why| format!("{}: {why}", data.display()))?;
    }
    let mut server: Option<Child> = None;
    let mut well = true;
    let text = workspace.read(page)?;
    let blocks = blocks(&text);
    for (at, block) in blocks.iter().enumerate() {
        let first = block.text.lines().next().unwrap_or_default();
        let name = format!("{page}:{} {first}", block.line);
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &block.text]);
        shell.env("POLYLOG_DATA_DIR", &data).env("PATH", &path);
        shell.current_dir(&workspace.root).stdin(Stdio::null());
        let outcome = match block.judged {
            // Shown, not run; tidy knows which may be.
            None | Some(Judged::NotRun) => continue,
            Some(Judged::IsThisCommand) => Ok(()),
            Some(Judged::Prints) => ends_well(&mut shell).and_then(|output| {
                let shown = shown_after(&blocks, at).ok_or("no block after it shows what it prints")?;
                if output == shown { Ok(()) } else { Err(format!("it prints\n{output}and the page shows\n{shown}")) }
            }),
            Some(Judged::Server) => start(&mut shell, workspace).map(|child| server = Some(child)),
            Some(Judged::EndsWell) => ends_well(&mut shell).map(drop),
            Some(Judged::SameLines) => ends_well(&mut shell).and_then(|output| same_lines(&output)),
            Some(Judged::KillsTheServer) => ends_well(&mut shell).and_then(|_| gone(server.take())),
        };
        match outcome {
            Ok(()) => println!("passed: {name}"),
            Err(why) => {
                println!("{why}\nfailed: {name}");
                well = false;
            }
        }
    }
    Ok(well)
}

fn start(shell: &mut Command, workspace: &Workspace) -> Result<Child, String> {
    let log = workspace.log("readme server");
    let file = File::create(&log).map_err(|why| format!("{}: {why}", log.display()))?;
    let errors = file.try_clone().map_err(|why| why.to_string())?;
    let mut child = shell.stdout(file).stderr(errors).spawn().map_err(|why| why.to_string())?;
    let deadline = Instant::now() + Duration::from_secs(SERVER_READY_S_MAX);
    while TcpStream::connect(SERVER_ADDRESS).is_err() {
        let ended = child.try_wait().map_err(|why| why.to_string())?;
        if ended.is_some() || Instant::now() > deadline {
            return Err(format!(
                "no server on {SERVER_ADDRESS}:\n{}",
                std::fs::read_to_string(&log).unwrap_or_default()
            ));
        }
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
    println!("{}", std::fs::read_to_string(&log).unwrap_or_default());
    Ok(child)
}

fn ends_well(shell: &mut Command) -> Result<String, String> {
    let output = shell.output().map_err(|why| why.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

fn same_lines(output: &str) -> Result<(), String> {
    let lines: Vec<&str> = output.lines().collect();
    let alike = lines.len() > 1 && lines.iter().all(|line| *line == lines[0]);
    if alike { Ok(()) } else { Err(format!("the lines are not the same:\n{output}")) }
}

fn gone(server: Option<Child>) -> Result<(), String> {
    let mut server = server.ok_or("no server was started before")?;
    server.wait().map_err(|why| why.to_string())?;
    match TcpStream::connect(SERVER_ADDRESS) {
        Err(_) => Ok(()),
        Ok(_) => Err(format!("something still answers on {SERVER_ADDRESS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::made_up;

    const PAGE_TEXT: &str = "\
# Title
<!-- tested: server -->
```sh
cargo run --release
```
Text.

<!-- tested: same lines -->

```sh
echo a
echo a
```
```text
not run
```
";

    #[test]
    fn blocks_are_found_with_how_they_are_judged() {
        let found = blocks(PAGE_TEXT);
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[0],
            Block { line: 3, judged: Some(Judged::Server), is_shell: true, text: "cargo run --release\n".to_string() }
        );
        assert_eq!(found[1].judged, Some(Judged::SameLines));
        assert_eq!(found[1].text, "echo a\necho a\n");
        assert_eq!(found[2].judged, None);
    }

    #[test]
    fn a_block_that_nothing_runs_is_found() {
        assert_eq!(untested_blocks(&[made_up(PAGE, PAGE_TEXT)]).len(), 1);
        assert_eq!(untested_blocks(&[]).len(), 1);
        let other = "<!-- tested: is this command -->\n```sh\ncargo xtask bench\n```\n";
        assert_eq!(untested_blocks(&[made_up(PAGE, other)]).len(), 1);
    }

    #[test]
    fn other_pages_are_held_to_what_they_promise() {
        let readme = || made_up(PAGE, "<!-- tested: ends well -->\n```sh\ntrue\n```\n");
        let other = |text: &str| untested_blocks(&[readme(), made_up("docs/user/a.md", text)]);
        let tested = "<!-- tested: ends well -->\n```sh\ntrue\n```\n";
        assert!(other("```sh\nno block of it is run\n```\n").is_empty());
        assert!(other(&format!("{tested}```toml\na = 1\n```\n")).is_empty());
        assert_eq!(other(&format!("{tested}```sh\nnobody runs this\n```\n")).len(), 1);
        assert!(other(&format!("{tested}<!-- not run: it installs -->\n```sh\ncargo install x\n```\n")).is_empty());
        let prints = "<!-- tested: prints -->\n```sh\necho a\n```\n";
        assert_eq!(other(prints).len(), 1);
        assert!(other(&format!("{prints}```text\na\n```\n")).is_empty());
    }

    #[test]
    fn two_equal_lines_pass_and_two_others_do_not() {
        assert!(same_lines("a\na\n").is_ok());
        assert!(same_lines("a\nb\n").is_err());
        assert!(same_lines("a\n").is_err());
    }
}
