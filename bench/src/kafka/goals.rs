// SPDX-License-Identifier: Apache-2.0
//! What is expected of Polylog in each workload, and whether the medians keep it.
//!
//! Owns: the goals, how each is judged. Must not know: how figures are shown or taken.
//! Polylog is always on its default settings, synced before the acknowledgement; the peer is unsynced where nothing else is said.

use super::workload::Workload;

/// Medians that a goal is judged by; `None` where it was not measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Medians {
    pub records_per_s: Option<f64>,
    pub mb_per_s: Option<f64>,
    pub broker_cpu_s_per_million: Option<f64>,
    pub rss_mb: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p99_9_ms: Option<f64>,
    pub bare_p99_ms: Option<f64>,
    pub bare_p99_9_ms: Option<f64>,
    pub device_written_per_byte: Option<f64>,
}

/// Everything around one workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub polylog: Medians,
    pub apache: Medians,
    pub apache_synced: Medians,
    /// Polylog in the workload before: the same producers with nobody beside them.
    pub polylog_before: Medians,
    /// The disk's sequential rate in the same run.
    pub disk_mb_per_s: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub enum Bound {
    RateTimes(f64),
    RateTimesSynced(f64),
    /// The smaller of so many times the peer and that part of the disk's sequential rate.
    RateTimesOrDisk(f64, f64),
    DiskPart(f64),
    CpuMax(f64),
    P50Max(f64),
    /// p99 and p99.9 each so many times the bare loop's at most.
    P99TimesBare(f64),
    P99_9TimesBare(f64),
    WrittenMax(f64),
    /// p99 so many times what it is without the reader.
    P99TimesBefore(f64),
    MemoryPart(f64),
}

pub struct Goal {
    pub workload: &'static str,
    pub bounds: &'static [Bound],
}

pub const GOALS: &[Goal] = &[
    Goal { workload: "produce-1k-8p", bounds: &[Bound::RateTimesOrDisk(2.0, 0.85), Bound::CpuMax(1.2)] },
    Goal { workload: "produce-1k-1p", bounds: &[Bound::RateTimes(1.2), Bound::CpuMax(1.2)] },
    Goal { workload: "produce-100b-8p", bounds: &[Bound::RateTimes(1.3), Bound::CpuMax(0.3)] },
    Goal { workload: "replay-1k-1p", bounds: &[Bound::RateTimes(1.1), Bound::CpuMax(0.6)] },
    Goal { workload: "replay-1k-8p", bounds: &[Bound::RateTimes(1.1), Bound::CpuMax(0.6)] },
    Goal {
        workload: "latency-5000-1k",
        bounds: &[Bound::P50Max(0.6), Bound::P99TimesBare(2.0), Bound::P99_9TimesBare(2.0)],
    },
    Goal { workload: "crowd-1", bounds: &[Bound::RateTimesSynced(5.0), Bound::RateTimes(2.0)] },
    Goal { workload: "crowd-5", bounds: &[Bound::RateTimesSynced(5.0), Bound::RateTimes(2.0)] },
    Goal { workload: "partitions-10k", bounds: &[Bound::RateTimes(3.0), Bound::MemoryPart(0.25)] },
    Goal { workload: "bulk", bounds: &[Bound::DiskPart(0.85), Bound::WrittenMax(1.15)] },
    Goal { workload: "bulk-cold-reader", bounds: &[Bound::P99TimesBefore(2.0)] },
];

/// Of a start on an empty directory.
pub const START_MS_MAX: f64 = 300.0;
pub const IDLE_MB_MAX: f64 = 100.0;

/// One goal judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub goal: String,
    pub figure: String,
    /// `None`: something that it needs was not measured.
    pub met: Option<bool>,
}

impl Goal {
    pub fn of(workload: &Workload) -> Option<&'static Goal> {
        GOALS.iter().find(|goal| goal.workload == workload.name)
    }
}

impl Bound {
    /// What is missing gives a judgement without a verdict.
    pub fn judge(self, figures: &Figures, short: impl Fn(f64) -> String) -> Judged {
        let (mine, peer) = (&figures.polylog, &figures.apache);
        let times = |factor: f64, of: Option<f64>| of.map(|of| factor * of);
        let (goal, figure, limit, at_least, unit) = match self {
            Bound::RateTimes(factor) => {
                let limit = times(factor, peer.records_per_s);
                (format!("records/s >= {factor} x Apache Kafka"), mine.records_per_s, limit, true, "/s")
            }
            Bound::RateTimesSynced(factor) => {
                let limit = times(factor, figures.apache_synced.records_per_s);
                (format!("records/s >= {factor} x Apache Kafka, synced"), mine.records_per_s, limit, true, "/s")
            }
            Bound::RateTimesOrDisk(factor, part) => {
                let disk = times(part, figures.disk_mb_per_s);
                let limit = times(factor, peer.mb_per_s).zip(disk).map(|(peer, disk)| peer.min(disk));
                let goal = format!("MB/s >= min({factor} x Apache Kafka, {part} x the disk's sequential rate)");
                (goal, mine.mb_per_s, limit, true, " MB/s")
            }
            Bound::DiskPart(part) => {
                let limit = times(part, figures.disk_mb_per_s);
                (format!("MB/s >= {part} x the disk's sequential rate"), mine.mb_per_s, limit, true, " MB/s")
            }
            Bound::CpuMax(max) => {
                ("broker CPU s per million".to_owned(), mine.broker_cpu_s_per_million, Some(max), false, "")
            }
            Bound::P50Max(max) => ("p50".to_owned(), mine.p50_ms, Some(max), false, " ms"),
            Bound::P99TimesBare(factor) => {
                let limit = times(factor, mine.bare_p99_ms);
                (format!("p99 <= {factor} x the bare sync's"), mine.p99_ms, limit, false, " ms")
            }
            Bound::P99_9TimesBare(factor) => {
                let limit = times(factor, mine.bare_p99_9_ms);
                (format!("p99.9 <= {factor} x the bare sync's"), mine.p99_9_ms, limit, false, " ms")
            }
            Bound::WrittenMax(max) => {
                let goal = "bytes written to the device a byte ingested".to_owned();
                (goal, mine.device_written_per_byte, Some(max), false, "")
            }
            Bound::P99TimesBefore(factor) => {
                let limit = times(factor, figures.polylog_before.p99_ms);
                (format!("the producers' p99 <= {factor} x that without the reader"), mine.p99_ms, limit, false, " ms")
            }
            Bound::MemoryPart(part) => {
                (format!("memory <= {part} x Apache Kafka"), mine.rss_mb, times(part, peer.rss_mb), false, " MB")
            }
        };
        let sign = if at_least { ">=" } else { "<=" };
        let limit_text = limit.map_or("not measured".to_owned(), |limit| format!("{}{unit}", short(limit)));
        let goal = match goal.contains('=') {
            true => format!("{goal} = {limit_text}"),
            false => format!("{goal} {sign} {limit_text}"),
        };
        let met = figure.zip(limit).map(|(figure, limit)| if at_least { figure >= limit } else { figure <= limit });
        let figure = figure.map_or("not measured".to_owned(), |figure| format!("{}{unit}", short(figure)));
        Judged { goal, figure, met }
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::WORKLOADS;
    use super::*;

    fn judged(bound: Bound, figures: &Figures) -> Option<bool> {
        bound.judge(figures, |value| value.to_string()).met
    }

    #[test]
    fn every_goal_has_its_workload() {
        for goal in GOALS {
            assert!(WORKLOADS.iter().any(|workload| workload.name == goal.workload), "{}", goal.workload);
        }
    }

    #[test]
    fn a_goal_is_met_or_not_or_not_measured() {
        let mut figures = Figures::default();
        figures.polylog.mb_per_s = Some(400.0);
        assert_eq!(judged(Bound::RateTimesOrDisk(2.0, 0.85), &figures), None);
        figures.apache.mb_per_s = Some(300.0);
        figures.disk_mb_per_s = Some(450.0);
        assert_eq!(judged(Bound::RateTimesOrDisk(2.0, 0.85), &figures), Some(true), "382 of the disk is the smaller");
        figures.disk_mb_per_s = Some(1000.0);
        assert_eq!(judged(Bound::RateTimesOrDisk(2.0, 0.85), &figures), Some(false), "600 of the peer is");
        figures.polylog.broker_cpu_s_per_million = Some(1.3);
        assert_eq!(judged(Bound::CpuMax(1.2), &figures), Some(false));
        assert_eq!(judged(Bound::CpuMax(1.3), &figures), Some(true));
    }

    #[test]
    fn a_goal_names_its_limit() {
        let figures = Figures { polylog: Medians { p50_ms: Some(0.5), ..Medians::default() }, ..Figures::default() };
        let judged = Bound::P50Max(0.6).judge(&figures, |value| value.to_string());
        let expected = Judged { goal: "p50 <= 0.6 ms".to_owned(), figure: "0.5 ms".to_owned(), met: Some(true) };
        assert_eq!(judged, expected);
    }
}
