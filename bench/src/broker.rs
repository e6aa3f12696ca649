// SPDX-License-Identifier: Apache-2.0
//! The real `polylog` program as a child process: started on ports of the kernel's choice, known to serve by its ready line.
//!
//! Owns: start, the ready line, `kill -9`, stop.
//! Must not know: what is sent to it.
//!
//! The ready line comes over a pipe whose writing end the child inherits (`--ready-json FD`), so no test polls a port or sleeps.

use crate::process;
use serde::Deserialize;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// So small that a short load fills several segments and checkpoints, and that the slots of the log come around; looked at so often that
/// a short life compacts something.
pub const SMALL_SETTINGS: &[(&str, &str)] = &[
    ("POLYLOG_MEMORY_TAIL_BYTES_MAX", "8MiB"),
    ("POLYLOG_WAL_SLOT_BYTES", "1MiB"),
    ("POLYLOG_RETENTION_CHECK_MS", "50ms"),
];

/// What to start.
#[derive(Clone, Debug)]
pub struct BrokerPlan {
    pub program: PathBuf,
    pub data_dir: PathBuf,
    /// Where its log goes, appended over restarts.
    pub log: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The door of a memory group that it enters before it starts.
    pub memory_group: Option<PathBuf>,
}

impl BrokerPlan {
    /// The program with its default settings on `data_dir`, whose log lies beside it.
    pub fn new(program: &Path, data_dir: &Path) -> BrokerPlan {
        BrokerPlan {
            program: program.to_owned(),
            data_dir: data_dir.to_owned(),
            log: data_dir.with_extension("log"),
            arguments: Vec::new(),
            environment: Vec::new(),
            memory_group: None,
        }
    }
}

/// It did not start: why, with the end of its log.
#[derive(Debug)]
pub struct StartError {
    why: String,
    log: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the broker did not start: {}\n{}", self.why, self.log)
    }
}

impl std::error::Error for StartError {}

#[derive(Deserialize)]
struct ReadyLine {
    kafka: Vec<ReadyListener>,
    #[serde(default)]
    http: Option<SocketAddr>,
}

#[derive(Deserialize)]
struct ReadyListener {
    address: SocketAddr,
}

/// A process that has not said yet that it serves. Dropping it kills it.
pub struct Starting {
    child: Option<Child>,
    reader: OwnedFd,
    log: PathBuf,
    started: Instant,
}

impl Starting {
    fn failed(&self, why: String) -> StartError {
        StartError { why, log: process::tail_of(&self.log) }
    }

    /// Waits for the ready line.
    pub fn ready(mut self, patience: Duration) -> Result<Broker, StartError> {
        match ready_line(&self.reader, patience) {
            Ok((address, http)) => {
                let child = self.child.take().expect("taken here only");
                Ok(Broker { child, address, http, started: self.started })
            }
            Err(why) => {
                // The pipe closes a moment before the process can be waited for.
                let status = self.child.as_mut().and_then(|child| {
                    child.kill().ok()?;
                    child.wait().ok()
                });
                Err(self.failed(status.map_or(why.clone(), |status| format!("{why} ({status})"))))
            }
        }
    }

    /// `kill -9`, wherever it is on its way.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running broker. Dropping it kills it.
pub struct Broker {
    child: Child,
    pub address: SocketAddr,
    /// Metrics and health.
    pub http: Option<SocketAddr>,
    /// When the process was started.
    pub started: Instant,
}

impl Broker {
    /// Starts the process and does not wait.
    pub fn spawn(plan: &BrokerPlan) -> Result<Starting, StartError> {
        let failed = |why: String| StartError { why, log: process::tail_of(&plan.log) };
        let io_failed = |error: io::Error| failed(error.to_string());
        if let Some(folder) = plan.log.parent() {
            fs::create_dir_all(folder).map_err(io_failed)?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&plan.log).map_err(io_failed)?;
        // Not close-on-exec: the child is to inherit the writing end.
        let (reader, writer) = rustix::pipe::pipe().map_err(|error| io_failed(error.into()))?;
        let started = Instant::now();
        let child = program(plan)
            .arg("serve")
            .arg("--data-dir")
            .arg(&plan.data_dir)
            .args(["--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-json"])
            .arg(writer.as_raw_fd().to_string())
            .args(&plan.arguments)
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io_failed)?)
            .stderr(log)
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", plan.program.display())))?;
        drop(writer);
        Ok(Starting { child: Some(child), reader, log: plan.log.clone(), started })
    }

    /// Starts it and waits for its ready line.
    pub fn start(plan: &BrokerPlan, patience: Duration) -> Result<Broker, StartError> {
        Broker::spawn(plan)?.ready(patience)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True when the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the process has ended by itself; `None` when it has not.
    pub fn wait_end(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            let ended = self.child.try_wait()?;
            if ended.is_some() || begin.elapsed() > patience {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`, without waiting: a process that is in a system call that cannot be interrupted goes when that returns.
    pub fn signal_kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// `kill -9`, and waits until the kernel has taken the process down.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM. True when it ended by itself with success within `patience`.
    pub fn stop(mut self, patience: Duration) -> io::Result<bool> {
        process::stop(&mut self.child, patience)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The program, or a shell that becomes the program once it is in the memory group: the program then finds its limit.
fn program(plan: &BrokerPlan) -> Command {
    match &plan.memory_group {
        None => Command::new(&plan.program),
        Some(door) => {
            let mut command = Command::new("sh");
            command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(door).arg(&plan.program);
            command
        }
    }
}

fn ready_line(reader: &OwnedFd, patience: Duration) -> Result<(SocketAddr, Option<SocketAddr>), String> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec::try_from(patience).map_err(|error| error.to_string())?;
    let mut waited = [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)];
    if poll(&mut waited, Some(&wait)).map_err(|error| error.to_string())? == 0 {
        return Err(format!("no ready line within {} s", patience.as_secs()));
    }
    let mut line = String::new();
    let reader = reader.try_clone().map_err(|error| error.to_string())?;
    BufReader::new(fs::File::from(reader)).read_line(&mut line).map_err(|error| error.to_string())?;
    if line.is_empty() {
        return Err("it ended before its ready line".to_owned());
    }
    let ready: ReadyLine = serde_json::from_str(&line).map_err(|error| format!("ready line {line:?}: {error}"))?;
    let kafka = ready.kafka.first().ok_or_else(|| "it has no Kafka listener".to_owned())?;
    Ok((kafka.address, ready.http))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str, body: &str) -> (PathBuf, BrokerPlan) {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("polylog-bench-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("broker.sh");
        fs::write(&program, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let plan = BrokerPlan::new(&program, &folder.join("data"));
        (folder, plan)
    }

    #[test]
    fn the_ready_line_is_read_from_the_inherited_pipe() {
        // The script stands in for the broker; its ninth argument is the number of the pipe.
        let (folder, plan) =
            script("ready", r#"echo '{"kafka":[{"address":"127.0.0.1:4"}]}' > /dev/fd/$9; exec sleep 60"#);
        let mut broker = Broker::start(&plan, Duration::from_secs(10)).unwrap();
        assert_eq!(broker.address.port(), 4);
        assert!(!broker.has_ended());
        broker.kill().unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_broker_that_ends_is_reported_with_its_log() {
        let (folder, plan) = script("ends", "echo no such disk >&2; exit 3");
        let error = Broker::start(&plan, Duration::from_secs(10)).err().unwrap().to_string();
        assert!(error.contains("ended before its ready line") && error.contains("no such disk"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
