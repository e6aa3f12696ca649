// SPDX-License-Identifier: Apache-2.0
//! What grows in a long life: samples, the line through them, and the rule.
//!
//! Owns: the rule. Must not know: what the process does.
//!
//! The rule: of the samples after the first quarter (caches fill, the allocator finds its size) a line is fitted by least squares; over
//! the time that they span it may not rise by more than [`GROWN_BYTES_MAX`]. A leak that is slower than this needs a longer run.

use std::fmt::Write as _;
use std::time::Instant;

/// See the module.
pub const GROWN_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;
/// Fewer samples say nothing.
const SAMPLES_MIN: usize = 20;
const TABLE_ROWS: usize = 20;
const MIB: f64 = 1024.0 * 1024.0;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Instant,
    pub resident_bytes: u64,
    /// Open ones, beyond as many as the data has.
    pub files: u64,
    pub threads: u64,
    pub disk_bytes: u64,
}

/// See the module.
#[derive(Default)]
pub struct Trend {
    samples: Vec<Sample>,
}

impl Trend {
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    fn settled(&self) -> &[Sample] {
        &self.samples[self.samples.len() / 4..]
    }

    /// (seconds, bytes) that the line through the settled samples spans and rises.
    fn grown(&self) -> Option<(f64, f64)> {
        let settled = self.settled();
        let first = settled.first().filter(|_| settled.len() >= SAMPLES_MIN)?;
        let points: Vec<(f64, f64)> = settled
            .iter()
            .map(|sample| (sample.at.duration_since(first.at).as_secs_f64(), sample.resident_bytes as f64))
            .collect();
        let span_s = points.last()?.0;
        Some((span_s, slope(&points)? * span_s))
    }

    /// What breaks the rule.
    pub fn wrong(&self, files_more_max: u64, threads_more_max: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.grown() {
            Some((span_s, bytes)) if bytes > GROWN_BYTES_MAX => {
                wrong.push(format!("memory has grown by {:.0} MiB in {span_s:.0} s", bytes / MIB))
            }
            Some(_) => {}
            None => wrong.push("the long life was too short to say whether memory grows".to_owned()),
        }
        let (Some(first), Some(last)) = (self.settled().first(), self.samples.last()) else { return wrong };
        for (what, first, last, more_max) in [
            ("files", first.files, last.files, files_more_max),
            ("threads", first.threads, last.threads, threads_more_max),
        ] {
            if last > first + more_max {
                wrong.push(format!("{last} {what} (of files: beside the data's) at the end, {first} before"));
            }
        }
        wrong
    }

    pub fn in_short(&self) -> String {
        match self.grown() {
            Some((span_s, bytes)) => {
                format!(
                    "memory {:+.1} MiB in {span_s:.0} s of one life ({:+.0} MiB/h)",
                    bytes / MIB,
                    bytes / MIB * 3600.0 / span_s
                )
            }
            None => "one life was too short for a trend".to_owned(),
        }
    }

    pub fn said(&self) -> String {
        let most = self.samples.iter().map(|sample| sample.resident_bytes).max().unwrap_or(0);
        format!("  {}, {} MiB at most", self.in_short(), most >> 20)
    }

    pub fn table(&self) -> String {
        let mut text = "| s | MiB | files beside the data's | threads | disk MB |\n|---|---|---|---|---|\n".to_owned();
        let Some(first) = self.samples.first() else { return text };
        for sample in self.samples.iter().step_by(self.samples.len().div_ceil(TABLE_ROWS)) {
            let _ = writeln!(
                text,
                "| {:.0} | {} | {} | {} | {} |",
                sample.at.duration_since(first.at).as_secs_f64(),
                sample.resident_bytes >> 20,
                sample.files,
                sample.threads,
                sample.disk_bytes / 1_000_000
            );
        }
        text
    }
}

/// Least squares; nothing where all points have one place.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (mut both, mut square) = (0.0, 0.0);
    for (x, y) in points {
        both += (x - mean_x) * (y - mean_y);
        square += (x - mean_x) * (x - mean_x);
    }
    (square > 0.0).then(|| both / square)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn trend(bytes_at: impl Fn(u64) -> u64, files_at: impl Fn(u64) -> u64) -> Trend {
        let begin = Instant::now();
        let sample = |second| Sample {
            at: begin + Duration::from_secs(second),
            resident_bytes: bytes_at(second),
            files: files_at(second),
            threads: 8,
            disk_bytes: 0,
        };
        Trend { samples: (0..600).map(sample).collect() }
    }

    #[test]
    fn a_leak_is_seen_through_ups_and_downs_and_they_alone_are_none() {
        let ups_and_downs = |second: u64| (100 << 20) + ((second % 30) << 20);
        assert!(trend(ups_and_downs, |_| 30).wrong(64, 8).is_empty());
        let leaking = |second: u64| ups_and_downs(second) + (second << 20) / 5;
        assert_eq!(trend(leaking, |_| 30).wrong(64, 8).len(), 1);
        // What fills in the first quarter is not a leak.
        assert!(trend(|second| second.min(100) << 20, |_| 30).wrong(64, 8).is_empty());
    }

    #[test]
    fn files_that_are_not_closed_are_seen_and_a_short_life_is_told() {
        assert_eq!(trend(|_| 0, |second| second).wrong(64, 8).len(), 1);
        assert_eq!(Trend::default().wrong(64, 8).len(), 1);
    }
}
