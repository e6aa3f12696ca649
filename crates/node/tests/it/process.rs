// SPDX-License-Identifier: Apache-2.0
//! A node in a process of its own, in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// However busy the machine is, by then something is wrong.
pub const LONG: Duration = Duration::from_secs(60);

/// A directory that goes away with this.
pub struct TestDir(PathBuf);

impl TestDir {
    pub fn new() -> TestDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("polylog-node-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        TestDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The binary, without any setting from the environment of the tests.
pub fn polylog() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polylog"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POLYLOG_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    polylog().args(arguments).output().unwrap()
}

/// Exit code and standard error.
pub fn refused(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A node that serves.
pub struct Node {
    child: Child,
    pub kafka: SocketAddr,
    pub http: SocketAddr,
    pub ready: serde_json::Value,
}

/// The command line of a node on free ports with a small log, to be added to. Its ready line comes on standard output, which it
/// otherwise leaves alone when it logs JSON.
pub fn serve(data: &Path) -> Command {
    let mut command = polylog();
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(data)
        .args(["--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json", "--ready-json", "1"])
        .env("POLYLOG_MEMORY_TAIL_BYTES_MAX", "8MiB");
    command
}

impl Node {
    pub fn start(data: &Path) -> Node {
        Node::from(serve(data))
    }

    pub fn start_with(data: &Path, env: &[(&str, &str)]) -> Node {
        let mut command = serve(data);
        command.envs(env.iter().copied());
        Node::from(command)
    }

    pub fn from(mut command: Command) -> Node {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let output = child.wait_with_output().unwrap();
            panic!("the node did not become ready: {:?}", refused(&output));
        }
        let mut stderr = child.stderr.take().unwrap();
        // Whoever does not read a pipe stops the writer; what it says is shown when a test fails.
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            eprint!("{text}");
        });
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
        Node { kafka: address(&ready["kafka"][0]["address"]), http: address(&ready["http"]), ready, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&mut self) -> i32 {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Status and body of one page.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
        (status, body)
    }

    /// One figure of `/metrics`: the first of that name, or the one of that name and those labels.
    pub fn figure(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let is_it = |line: &&str| {
            let series = line.rsplit_once(' ').map(|(series, _)| series);
            series == Some(name) || series.and_then(|series| series.split('{').next()) == Some(name)
        };
        let line = text.lines().filter(|line| !line.starts_with('#')).find(is_it);
        let line = line.unwrap_or_else(|| panic!("{name} is not in:\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// What its threads have run so far.
    pub fn ran_seconds(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let ran = threads.map(|thread| {
            let stat = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
            stat.split_whitespace().next().map_or(0.0, |nanos| nanos.parse::<f64>().unwrap())
        });
        ran.sum::<f64>() / 1e9
    }

    /// Memory of the process that is in use.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
