// SPDX-License-Identifier: Apache-2.0
//! Sets other people's clients up, runs `conformance/kafka/run.py` with them against the real broker, and counts its results.
//!
//! What is installed goes below the build's folder (`target/conformance`), but for kcat, which is a system package. A client whose
//! toolchain is not here is skipped with that reason; a client that is here and cannot be built is a failure.
//!
//! With `--peer` the same cases run against Apache Kafka: what they show is committed (`PEER`) and stands beside ours on the page.

use crate::process;
use crate::programs;
use crate::report::Report;
use crate::workspace::Workspace;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "conformance/kafka";
/// Generated from the results; one row a feature, one column a client.
const PAGE: &str = "docs/compat/kafka.md";
/// What Apache Kafka did with the same cases, from the last `--peer --write-page`.
const PEER: &str = "docs/compat/apache-kafka.jsonl";

/// A client's program, or why there is none.
pub type Found = Result<PathBuf, Missing>;

pub enum Missing {
    /// Not here: its cases are skipped.
    Absent(String),
    /// Should be here: a failure.
    Broken(String),
}

/// The step of `cargo xtask test`.
pub fn step(workspace: &Workspace, report: &mut Report) {
    run(workspace, &Options::default(), report);
}

#[derive(Default)]
struct Options {
    only: Option<String>,
    list: bool,
    write_page: bool,
    peer: bool,
    rounds: Option<String>,
    shown: bool,
}

/// `cargo xtask conformance`.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let mut options = Options { shown: true, ..Options::default() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => options.list = true,
            "--write-page" => options.write_page = true,
            "--peer" => options.peer = true,
            "--rounds" => options.rounds = Some(words.next().ok_or("--rounds needs a number")?.clone()),
            "--only" => options.only = Some(words.next().ok_or("--only needs a part of a case's name")?.clone()),
            other => return Err(format!("what is {other:?}? (--list, --only TEXT, --peer, --rounds N, --write-page)")),
        }
    }
    crate::counted(|report| run(workspace, &options, report))
}

fn run(workspace: &Workspace, options: &Options, report: &mut Report) {
    let place = workspace.target.join("conformance");
    if let Err(why) = std::fs::create_dir_all(&place) {
        return report.fail("conformance", &format!("{}: {why}", place.display()));
    }
    let Some(python) = process::which("python3") else {
        return report.skip("conformance", "there is no python3");
    };
    let python = match virtual_environment(workspace, &place, &python) {
        Ok(python) => python,
        Err(why) => return report.fail("conformance: python clients", &why),
    };
    if !options.peer {
        let build = process::keep(&mut workspace.cargo(programs::BROKER_BUILD), &workspace.log("broker build"), |_| {});
        if !build.ok {
            return report.fail("conformance: broker build", &build.output);
        }
    }
    let own_tests = kafka_python_tests(workspace, &place, &python);
    let results = place.join(if options.peer { "peer.jsonl" } else { "results.jsonl" });
    let mut command = Command::new(python);
    command.arg("-u").arg(workspace.root.join(FOLDER).join("run.py")).current_dir(&workspace.root);
    command.arg("--polylog").arg(programs::broker(workspace)).arg("--results").arg(&results);
    command.arg("--scratch").arg(place.join(if options.peer { "peer-scratch" } else { "scratch" }));
    let programs = [
        ("kcat", kcat()),
        ("java", java(workspace, &place)),
        ("franz-go", go(workspace, &place, "franz")),
        ("sarama", go(workspace, &place, "sarama")),
        ("kafka-go", go(workspace, &place, "segmentio")),
        ("kafkajs", kafkajs(workspace, &place)),
        ("apache-kafka", apache_kafka(workspace, &place)),
        ("kafka-python-tests", own_tests),
    ];
    for (name, found) in programs {
        match found {
            Ok(program) => command.arg("--with").arg(format!("{name}={}", program.display())),
            Err(Missing::Absent(reason)) => command.arg("--without").arg(format!("{name}={reason}")),
            Err(Missing::Broken(why)) => {
                report.fail(&format!("conformance: {name}"), &why);
                command.arg("--without").arg(format!("{name}=it could not be built"))
            }
        };
    }
    if let Some(only) = &options.only {
        command.arg("--only").arg(only);
    }
    if let Some(rounds) = &options.rounds {
        command.arg("--rounds").arg(rounds);
    }
    if options.peer {
        command.arg("--peer");
    }
    if options.list {
        command.arg("--list");
        if let Err(why) = process::pass_through(&mut command) {
            report.fail("conformance", &why);
        }
        return;
    }
    let shown = options.shown;
    let kept = process::keep(&mut command, &workspace.log("conformance"), |line| {
        if shown {
            println!("{line}");
        }
    });
    let before = report.passed + report.failed.len();
    match std::fs::read_to_string(&results) {
        Ok(text) => count(&text, report),
        Err(why) => return report.fail("conformance", &format!("{}: {why}\n{}", results.display(), kept.output)),
    }
    if !kept.ok {
        report.fail("conformance", &kept.output);
    } else if before == report.passed + report.failed.len() {
        report.fail("conformance", "no case was run");
    }
    if options.peer {
        if options.write_page {
            report.check(PEER, keep_peer(workspace, options, &results));
        }
    } else if options.only.is_none() {
        page(workspace, options, &results, report);
    }
}

/// What Apache Kafka did, reduced to what the page shows. A run of some cases only changes those.
fn keep_peer(workspace: &Workspace, options: &Options, results: &Path) -> Result<(), String> {
    let kept = workspace.root.join(PEER);
    let mut command = Command::new("python3");
    command.arg(workspace.root.join(FOLDER).join("peer_results.py")).arg(results);
    if options.only.is_some() && kept.exists() {
        command.arg("--into").arg(&kept);
    }
    let made = process::answer(&mut command)?;
    std::fs::write(&kept, made).map_err(|why| format!("{PEER}: {why}"))
}

/// Counts the results: one case a line.
fn count(results: &str, report: &mut Report) {
    for line in results.lines() {
        let Ok(result) = serde_json::from_str::<Value>(line) else {
            report.fail("conformance", &format!("not a result: {line}"));
            continue;
        };
        let name = result["case"].as_str().unwrap_or("a case without name");
        let reason = result["reason"].as_str().unwrap_or("");
        match result["outcome"].as_str() {
            Some("passed") => {
                if !reason.is_empty() {
                    println!("repeated: {name}: passed {}", reason.trim());
                }
                report.pass(1);
            }
            Some("skipped") => report.skip(name, reason),
            _ => report.fail(name, reason),
        }
    }
}

/// The page says what the results say. With a client missing, or a case failed, there is nothing to compare it with.
fn page(workspace: &Workspace, options: &Options, results: &Path, report: &mut Report) {
    let name = format!("{PAGE} says what was seen");
    let mut command = Command::new("python3");
    command.arg(workspace.root.join(FOLDER).join("page.py")).arg(results).arg(workspace.root.join(PEER));
    let made = match process::answer(&mut command) {
        Ok(made) => made,
        Err(why) => return report.fail(&name, &why),
    };
    if options.write_page {
        let page = workspace.root.join(PAGE);
        let folder = page.parent().map_or(Ok(()), std::fs::create_dir_all);
        let outcome = folder.and_then(|()| std::fs::write(&page, &made)).map_err(|why| format!("{PAGE}: {why}"));
        return report.check(&name, outcome);
    }
    if !report.clean() || !report.skipped.is_empty() {
        return report.skip(&name, "not every case was run and passed");
    }
    let outcome = workspace.read(PAGE).and_then(|committed| {
        if committed == made { Ok(()) } else { Err("run cargo xtask conformance --write-page".to_string()) }
    });
    report.check(&name, outcome);
}

/// Python's clients, pinned, in an environment that is made again when the pins change.
fn virtual_environment(workspace: &Workspace, place: &Path, python: &Path) -> Result<PathBuf, String> {
    let pins = workspace.root.join(FOLDER).join("requirements.txt");
    let wanted = std::fs::read_to_string(&pins).map_err(|why| format!("{}: {why}", pins.display()))?;
    let folder = place.join("venv");
    let stamp = folder.join("installed.txt");
    let inside = folder.join("bin").join("python");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(inside);
    }
    process::answer(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut install = Command::new(&inside);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&pins);
    process::keep(&mut install, &workspace.log("conformance python"), |_| {}).into_check()?;
    std::fs::write(&stamp, wanted).map_err(|why| format!("{}: {why}", stamp.display()))?;
    Ok(inside)
}

/// The source distribution of the kafka-python that is pinned: its own integration tests are in it.
fn kafka_python_tests(workspace: &Workspace, place: &Path, python: &Path) -> Found {
    let pins = workspace.root.join(FOLDER).join("requirements.txt");
    let pins = std::fs::read_to_string(&pins).map_err(|why| Missing::Broken(format!("{}: {why}", pins.display())))?;
    let pin = pins.lines().find(|line| line.starts_with("kafka-python=="));
    let pin = pin.ok_or_else(|| Missing::Broken("kafka-python is not pinned".to_string()))?;
    let name = pin.replace("kafka-python==", "kafka_python-");
    let folder = place.join("kafka-python");
    let inside = folder.join(&name);
    if inside.join("test").is_dir() {
        return Ok(inside);
    }
    let mut fetch = Command::new(python);
    fetch
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"])
        .arg(&folder)
        .arg(pin);
    let log = workspace.log("conformance kafka-python tests");
    process::keep(&mut fetch, &log, |_| {}).into_check().map_err(Missing::Broken)?;
    let mut unpack = Command::new(python);
    unpack.args(["-m", "tarfile", "--extract"]).arg(folder.join(format!("{name}.tar.gz"))).arg(&folder);
    process::keep(&mut unpack, &log, |_| {}).into_check().map_err(Missing::Broken)?;
    Ok(inside)
}

/// The system's kcat; installed where the system can do so and we may.
pub fn kcat() -> Found {
    if let Some(program) = process::which("kcat") {
        return Ok(program);
    }
    let root = process::answer(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if process::which("apt-get").is_none() {
        return Err(Missing::Absent("kcat is not installed and this system has no apt-get".to_string()));
    }
    if !root {
        return Err(Missing::Absent(
            "kcat is not installed and only root may install it (apt-get install kcat)".to_string(),
        ));
    }
    let install = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y kcat";
    process::answer(Command::new("sh").args(["-c", install])).map_err(Missing::Broken)?;
    process::which("kcat").ok_or_else(|| Missing::Broken("kcat was installed and is not there".to_string()))
}

/// A folder of jars and classes: the Java client and our small program around it.
fn java(workspace: &Workspace, place: &Path) -> Found {
    jars_and_classes(workspace, &place.join("java"), "java", &["ApiCases.java", "Client.java", "Member.java"])
}

/// A folder of jars and classes: Apache Kafka's broker, tools and Connect, and our small program that runs its tools.
fn apache_kafka(workspace: &Workspace, place: &Path) -> Found {
    jars_and_classes(workspace, &place.join("apache-kafka"), "java/apache", &["Tools.java"])
}

/// Fetches what the folder's `pom.xml` names into `jars`, and compiles our sources beside it into `classes`.
fn jars_and_classes(workspace: &Workspace, folder: &Path, from: &str, sources: &[&str]) -> Found {
    for tool in ["javac", "mvn"] {
        if process::which(tool).is_none() {
            return Err(Missing::Absent(format!("there is no {tool}")));
        }
    }
    let log = workspace.log(&format!("conformance {}", from.replace('/', " ")));
    let source = workspace.root.join(FOLDER).join(from);
    let jars = folder.join("jars");
    let mut fetch = Command::new("mvn");
    fetch.args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    fetch.arg(format!("-DoutputDirectory={}", jars.display()));
    fetch.arg(format!("-Dconformance.build={}", folder.join("build").display()));
    fetch.arg("--file").arg(source.join("pom.xml"));
    process::keep(&mut fetch, &log, |_| {}).into_check().map_err(Missing::Broken)?;
    let mut compile = Command::new("javac");
    compile.args(["-Xlint:all", "-Werror", "-cp"]).arg(jars.join("*")).arg("-d").arg(folder.join("classes"));
    compile.args(sources.iter().map(|name| source.join(name)));
    process::keep(&mut compile, &log, |_| {}).into_check().map_err(Missing::Broken)?;
    Ok(folder.to_path_buf())
}

/// Our small program around one of Go's clients: a folder of the Go module.
fn go(workspace: &Workspace, place: &Path, folder: &str) -> Found {
    if process::which("go").is_none() {
        return Err(Missing::Absent("there is no go".to_string()));
    }
    let program = place.join(format!("{folder}-client"));
    let mut build = Command::new("go");
    build.args(["build", "-mod=readonly", "-o"]).arg(&program).arg(format!("./{folder}"));
    build.current_dir(workspace.root.join(FOLDER).join("go"));
    let log = workspace.log(&format!("conformance go {folder}"));
    process::keep(&mut build, &log, |_| {}).into_check().map_err(Missing::Broken)?;
    Ok(program)
}

/// kafkajs and its codecs beside a copy of our small program: Node looks for modules beside the file that names them.
fn kafkajs(workspace: &Workspace, place: &Path) -> Found {
    for tool in ["node", "npm"] {
        if process::which(tool).is_none() {
            return Err(Missing::Absent(format!("there is no {tool}")));
        }
    }
    let source = workspace.root.join(FOLDER).join("node");
    let folder = place.join("node");
    let copy = |name: &str| {
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::copy(source.join(name), folder.join(name)))
            .map_err(|why| Missing::Broken(format!("{name}: {why}")))
    };
    copy("client.js")?;
    let pins = std::fs::read_to_string(source.join("package.json")).map_err(|why| Missing::Broken(why.to_string()))?;
    let stamp = folder.join("installed.json");
    if !std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        copy("package.json")?;
        let mut install = Command::new("npm");
        install
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"])
            .current_dir(&folder);
        process::keep(&mut install, &workspace.log("conformance node"), |_| {})
            .into_check()
            .map_err(Missing::Broken)?;
        std::fs::write(&stamp, pins).map_err(|why| Missing::Broken(why.to_string()))?;
    }
    Ok(folder.join("client.js"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_one_case_a_line() {
        let mut report = Report::default();
        count(
            "{\"case\":\"a\",\"outcome\":\"passed\"}\n{\"case\":\"b\",\"outcome\":\"skipped\",\"reason\":\"no go\"}\n\
             {\"case\":\"c\",\"outcome\":\"failed\",\"reason\":\"lost\"}\nnonsense\n",
            &mut report,
        );
        assert_eq!(report.last_line(), "1 passed, 2 failed, 1 skipped");
        assert_eq!(report.skipped, [("b".to_string(), "no go".to_string())]);
    }
}
