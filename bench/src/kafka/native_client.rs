// SPDX-License-Identifier: Apache-2.0
//! The librdkafka client (`bench/clients/librdkafka.c`): built once with the system's compiler and library, run as a process of
//! its own so that its CPU time stands apart.

use crate::process;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The built client.
pub struct NativeClient {
    program: PathBuf,
    /// The library's own version.
    pub version: String,
}

/// Percentiles as the client prints them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
}

/// The one line that the client prints.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClientOutcome {
    pub records: u64,
    pub failed: u64,
    pub missing: i64,
    pub seconds: f64,
    pub client_cpu_s: f64,
    pub end_to_end: Option<Times>,
    pub ack: Option<Times>,
    pub stalls: Vec<Slow>,
    /// The longest time of each slice.
    pub slice_worst_ms: Vec<f64>,
}

/// Slow ones in a row.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Slow {
    /// Since the beginning.
    pub at_ms: f64,
    pub ms: f64,
    pub count: u64,
}

impl NativeClient {
    /// Compiles the client into `folder`. Where the library is missing and this is root on a Debian, it is installed first.
    ///
    /// # Errors
    /// A sentence that says what is missing, to stand behind "skipped: …, because".
    pub fn build(source: &Path, folder: &Path) -> Result<NativeClient, String> {
        process::find_program("cc").ok_or("no C compiler (`cc`) is installed")?;
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let program = folder.join("librdkafka-client");
        let compile = || {
            Command::new("cc").arg("-O2").arg("-o").arg(&program).arg(source).args(["-lrdkafka", "-lpthread"]).output()
        };
        let mut done = compile().map_err(|error| format!("cc: {error}"))?;
        if !done.status.success() && rustix::process::geteuid().is_root() && process::find_program("apt-get").is_some()
        {
            let _ = Command::new("apt-get")
                .args(["install", "-y", "-q", "librdkafka-dev"])
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                .output();
            done = compile().map_err(|error| format!("cc: {error}"))?;
        }
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let why =
                said.lines().find(|line| line.contains("error")).unwrap_or("the compiler said nothing").to_owned();
            return Err(format!("the client does not build without librdkafka-dev: {why}"));
        }
        let version = Command::new(&program).arg("version").output().map_err(|error| error.to_string())?;
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        Ok(NativeClient { program, version })
    }

    /// Runs it once. Arguments are `name=value`, as its source says.
    pub fn run(&self, mode: &str, broker: SocketAddr, arguments: &[String]) -> Result<ClientOutcome, String> {
        let done = Command::new(&self.program)
            .arg(mode)
            .arg(format!("broker={broker}"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&done.stderr);
        let last = said.lines().last().unwrap_or_default();
        let outcome: ClientOutcome = serde_json::from_slice(&done.stdout)
            .map_err(|error| format!("the librdkafka client ({mode}) ended with {}: {error}; {last}", done.status))?;
        if outcome.failed > 0 || outcome.missing != 0 {
            return Err(format!(
                "the librdkafka client ({mode}) saw {} failed and {} missing of {}; {last}",
                outcome.failed, outcome.missing, outcome.records
            ));
        }
        Ok(outcome)
    }
}
