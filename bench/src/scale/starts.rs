// SPDX-License-Identifier: Apache-2.0
//! A start on a directory with something in it: how long to the first answer, and where the time went.
//!
//! Owns: what counts as an answer, the parts that the broker's own log names, the page cache. Must not know: bounds.

use super::{PATIENCE, connect, load};
use crate::broker::{Broker, BrokerPlan};
use crate::process;
use crate::wire::{FetchBounds, LATEST};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A broker that serves again.
pub struct Restarted {
    pub broker: Broker,
    /// From the start of the process to the first answer about data.
    pub answer_s: f64,
    /// And to a record put into some partitions and read back.
    pub records_s: f64,
    /// What the broker says of its recovery.
    pub parts: Vec<(String, f64, &'static str)>,
}

/// Fields of the broker's line about its recovery, and how they are called here.
const PARTS: [(&str, &str, &str); 7] = [
    ("checkpoint_ms", "of it, checkpoint and segments read", "ms"),
    ("log_ms", "log read and made safe", "ms"),
    ("fold_ms", "state loaded, log folded", "ms"),
    ("log_bytes", "bytes of log folded", ""),
    ("frames", "frames of log folded", ""),
    ("objects", "objects of state", ""),
    ("runs", "runs of segments", ""),
];

/// # Errors
/// It did not start, or did not answer as it should.
pub fn restart(plan: &BrokerPlan, topics: &[String], partitions: i32) -> Result<Restarted, String> {
    let log_begin = fs::metadata(&plan.log).map_or(0, |meta| meta.len()) as usize;
    let broker = Broker::start(plan, PATIENCE).map_err(|error| error.to_string())?;
    let mut connection = connect(&broker)?;
    let topic = topics.first().ok_or("there are no topics")?;
    let mut ends = Vec::new();
    ends.push(connection.list_offset(topic, 0, LATEST).map_err(|error| error.to_string())?.0);
    let answer_s = broker.started.elapsed().as_secs_f64();
    for topic in &topics[1..] {
        ends.push(connection.list_offset(topic, 0, LATEST).map_err(|error| error.to_string())?.0);
    }
    load::spread(&broker, topics, partitions, 1)?;
    for (topic, end) in topics.iter().zip(ends) {
        // From the record before, so that what was stored is read as well.
        let from = (end - 1).max(0);
        connection.send_fetch(topic, &[(0, from)], FetchBounds::default()).map_err(|error| error.to_string())?;
        let fetched = connection.receive_fetch().map_err(|error| error.to_string())?;
        if fetched.iter().all(|part| part.records.is_empty()) {
            return Err(format!("{topic} has no record at offset {from} after the start"));
        }
    }
    let records_s = broker.started.elapsed().as_secs_f64();
    let log = fs::read(&plan.log).map_err(|error| error.to_string())?;
    let log = String::from_utf8_lossy(log.get(log_begin..).unwrap_or_default()).into_owned();
    let line = log.lines().find(|line| line.contains("shard recovered")).unwrap_or_default();
    let parts = PARTS.iter().filter_map(|(field, name, unit)| Some((name.to_string(), field_of(line, field)?, *unit)));
    Ok(Restarted { broker, answer_s, records_s, parts: parts.collect() })
}

/// `name=12` or `"name":12` in a line of the log.
fn field_of(line: &str, name: &str) -> Option<f64> {
    let plain: String = line.chars().filter(|c| !matches!(c, '"' | ' ')).collect();
    let at = plain.find(&format!("{name}=")).or_else(|| plain.find(&format!("{name}:")))? + name.len() + 1;
    let digits: String = plain[at..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().ok()
}

fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            match meta.is_dir() {
                true => folders.push(entry.path()),
                false => found.push((entry.path(), meta.len())),
            }
        }
    }
    Ok(found)
}

pub fn stored_bytes(folder: &Path) -> io::Result<u64> {
    Ok(files(folder)?.iter().map(|(_, bytes)| bytes).sum())
}

pub fn stored_files(folder: &Path) -> io::Result<usize> {
    Ok(files(folder)?.len())
}

/// Empties the page cache of a stopped directory, and reads the largest file from the device: its rate in bytes a second. What was read is
/// forgotten again.
pub fn forget_pages(folder: &Path) -> io::Result<f64> {
    const READ_BYTES_MAX: u64 = 512 << 20;
    let files = files(folder)?;
    for (path, _) in &files {
        process::forget_pages(path)?;
    }
    let Some((largest, bytes)) = files.iter().max_by_key(|(_, bytes)| *bytes) else { return Ok(0.0) };
    let mut buffer = vec![0; 1 << 20];
    let begin = Instant::now();
    let mut file = File::open(largest)?.take(READ_BYTES_MAX);
    while file.read(&mut buffer)? > 0 {}
    let rate = (*bytes).min(READ_BYTES_MAX) as f64 / begin.elapsed().as_secs_f64();
    process::forget_pages(largest)?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_both_forms_of_the_log() {
        assert_eq!(field_of("INFO shard recovered frames=12 log_ms=3", "log_ms"), Some(3.0));
        assert_eq!(field_of(r#"{"message":"shard recovered","frames":12,"log_ms":3}"#, "frames"), Some(12.0));
        assert_eq!(field_of("nothing", "frames"), None);
    }
}
