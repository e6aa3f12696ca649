// SPDX-License-Identifier: Apache-2.0
//! Raw results: one JSON line a thing measured, so that every figure in `docs/benchmarks.md` can be traced to its run.
//!
//! Owns: the lines and their file. Must not know: how anything was measured.

use crate::floors::Floors;
use crate::kafka::native_client::Times;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The first line: where and when.
    Machine(Machine),
    Floors(Floors),
    Start(StartFigures),
    Run(Box<RunFigures>),
    Bound(BoundFigure),
    /// Something that was not measured, and why.
    Skipped {
        what: String,
        because: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub bench: String,
    pub unix_s: u64,
    pub date: String,
    /// Of the broker under test.
    pub commit: String,
    pub machine: String,
    /// Load average before the first run: what else was going on.
    pub load: String,
}

/// A broker's start on an empty directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartFigures {
    pub broker: String,
    pub first_answer_ms: f64,
    pub idle_rss_mb: f64,
}

/// One measured run of one client against one broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFigures {
    pub workload: String,
    pub client: String,
    pub broker: String,
    /// What was certain when the client got its answer.
    pub durable_at_ack: String,
    pub pair: u32,
    pub records: u64,
    pub record_bytes: u64,
    pub seconds: f64,
    pub records_per_s: f64,
    pub mb_per_s: f64,
    pub broker_cpu_s_per_million: f64,
    pub client_cpu_s_per_million: f64,
    /// CPU seconds of everything that is neither broker nor client; the kernel's own write-back counts here.
    pub other_cpu_s: f64,
    pub steal_s: f64,
    pub rss_mb: f64,
    /// Bytes written to the device until all was clean again, by whomever, for each byte of records.
    pub device_written_per_byte: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Times>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Times>,
    /// What the broker's process wrote for each byte of records, by `/proc/PID/io`: see [`crate::process::written_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_written_per_byte: Option<f64>,
    /// What a reader of old data beside the producers got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_mb_per_s: Option<f64>,
    /// A bare 4 KiB write and `fdatasync` at the same pace, in the pauses of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bare_sync: Option<Times>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<Stall>,
    /// True when others and steal took more than the rule allows: left out of medians.
    pub disturbed: bool,
}

/// A time over 20 ms in a run that keeps a rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stall {
    /// The broker's, or the bare loop's.
    pub bare: bool,
    /// Since the beginning of the run, pauses counted.
    pub at_ms: f64,
    /// The longest wait.
    pub ms: f64,
    /// Records, or writes, that waited over 20 ms.
    pub count: u64,
    /// The longest time of the other in its slices before and after.
    pub other_ms: f64,
}

/// A figure of the engine at size, and the bound that it is to keep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoundFigure {
    pub group: String,
    pub what: String,
    pub value: f64,
    pub unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl BoundFigure {
    /// `None`: it has no bound.
    pub fn kept(&self) -> Option<bool> {
        self.max.map(|max| self.value <= max)
    }

    /// With its unit.
    pub fn shown(&self) -> String {
        let digits = match self.value {
            value if value.fract() == 0.0 && self.unit.is_empty() || value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        format!("{:.digits$} {}", self.value, self.unit).trim_end().to_owned()
    }
}

/// A file of lines, written as they come.
pub struct Results {
    pub path: PathBuf,
    file: File,
}

impl Results {
    /// Begins the file anew: older results live on in the repository's history.
    pub fn create(path: &Path) -> io::Result<Results> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(Results { path: path.to_owned(), file: File::create(path)? })
    }

    pub fn push(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

/// Reads a file of lines.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = fs::read_to_string(path)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

/// Where, when and what.
pub fn machine(bench: &str, root: &Path) -> Machine {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let commit = Command::new("git").arg("-C").arg(root).args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Machine {
        bench: bench.to_owned(),
        unix_s,
        date: date_of(unix_s),
        commit: if commit.is_empty() { "unknown".to_owned() } else { commit },
        machine: crate::process::machine(),
        load: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
    }
}

/// `2026-11-24`, in UTC. Civil-from-days after Howard Hinnant's published algorithm.
fn date_of(unix_s: u64) -> String {
    let days = unix_s as i64 / 86_400 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named() {
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(951_782_400), "2000-02-29");
        assert_eq!(date_of(1_795_478_400), "2026-11-24");
    }

    #[test]
    fn a_line_reads_back() {
        let line = Line::Skipped { what: "Apache Kafka".into(), because: "`java` is not installed".into() };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"kind":"skipped","what":"Apache Kafka","because":"`java` is not installed"}"#);
        assert!(matches!(serde_json::from_str(&text), Ok(Line::Skipped { .. })));
    }
}
