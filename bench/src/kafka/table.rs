// SPDX-License-Identifier: Apache-2.0
//! The tables of `docs/benchmarks.md`, made from the raw results.
//!
//! Owns: medians, ranges, ratios, layout; which of several recorded runs a row comes from. The page around the tables is written by hand; what
//! stands between the two marks is not.
//!
//! Each run of `bench kafka` leaves a file. A row comes from the newest full run that has it, and where there is none from the newest quick
//! one: so a run of some rows replaces those rows alone. Why a goal is missed stands in `bench/reasons.txt`, one line a workload.

use super::goals::{Figures, Goal, IDLE_MB_MAX, Judged, Medians, START_MS_MAX};
use super::workload::{Kind, WORKLOADS, Workload};
use super::{APACHE, APACHE_SYNCED, POLYLOG};
use crate::floors::Floors;
use crate::page;
use crate::results::{self, Line, Machine, RunFigures, StartFigures};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What makes the tables; the marks on the page name it.
const COMMAND: &str = "cargo xtask bench kafka";
/// The two kinds of runs.
pub const FULL: &str = "kafka";
pub const QUICK: &str = "kafka-quick";
/// Stalls in the table; all are in the raw results.
const STALLS_SHOWN_MAX: usize = 40;

/// One file of results.
struct Recorded {
    machine: Machine,
    lines: Vec<Line>,
}

impl Recorded {
    fn runs(&self) -> Vec<&RunFigures> {
        self.lines.iter().filter_map(|line| if let Line::Run(run) = line { Some(&**run) } else { None }).collect()
    }

    fn starts(&self) -> Vec<&StartFigures> {
        self.lines.iter().filter_map(|line| if let Line::Start(start) = line { Some(start) } else { None }).collect()
    }

    fn floors(&self) -> Vec<&Floors> {
        self.lines.iter().filter_map(|line| if let Line::Floors(floors) = line { Some(floors) } else { None }).collect()
    }

    fn disk_mb_per_s(&self) -> Option<f64> {
        cell(&self.floors(), |floors| floors.sequential_write_mb_s).map(|cell| cell.median)
    }

    fn named(&self) -> String {
        format!("{} `{}`", self.machine.date, self.machine.commit)
    }
}

/// The file of a run, by date, time and commit.
pub fn file_name(machine: &Machine) -> String {
    let minutes = machine.unix_s / 60 % (24 * 60);
    let (hour, minute) = (minutes / 60, minutes % 60);
    let kind = if machine.bench == QUICK { "-quick" } else { "" };
    format!("kafka-{}-{hour:02}{minute:02}-{}{kind}.jsonl", machine.date, machine.commit)
}

/// Puts the tables into the page.
///
/// # Errors
/// A sentence: no results, or the page has lost its marks.
pub fn write(root: &Path) -> Result<(), String> {
    page::write(root, COMMAND, &recorded_tables(root)?)
}

/// The tables of all recorded results.
fn recorded_tables(root: &Path) -> Result<String, String> {
    let said = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let folder = root.join("bench").join("results");
    let mut recorded = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| said(&folder, error))? {
        let path = entry.map_err(|error| said(&folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("kafka") || !name.ends_with(".jsonl") {
            continue;
        }
        let mut lines = results::read(&path).map_err(|error| said(&path, error))?;
        if let Some(Line::Machine(machine)) = lines.first().cloned() {
            lines.remove(0);
            recorded.push(Recorded { machine, lines });
        }
    }
    recorded.sort_by_key(|file| (file.machine.bench == FULL, file.machine.unix_s));
    recorded.reverse();
    if recorded.is_empty() {
        return Err("there are no results in bench/results".to_owned());
    }
    let reasons = root.join("bench").join("reasons.txt");
    let reasons = fs::read_to_string(&reasons).map_err(|error| said(&reasons, error))?;
    Ok(tables(&recorded, &read_reasons(&reasons)?))
}

/// `workload: sentence` on each line; lines with `#` are for who edits it.
fn read_reasons(text: &str) -> Result<BTreeMap<&str, &str>, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let reasons = lines.map(|line| line.split_once(": ").ok_or(format!("a reason without its workload: {line}")));
    let reasons: BTreeMap<&str, &str> = reasons.collect::<Result<_, _>>()?;
    match reasons.keys().find(|name| **name != START && WORKLOADS.iter().all(|workload| workload.name != **name)) {
        Some(name) => Err(format!("a reason for a workload that there is not: {name}")),
        None => Ok(reasons),
    }
}

/// How the start is called beside the workloads.
const START: &str = "start";

/// All tables as Markdown. The first file that has a row gives it.
fn tables(recorded: &[Recorded], reasons: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut used: Vec<&Recorded> = Vec::new();
    for name in WORKLOADS.iter().map(|workload| workload.name).chain([START]) {
        if let Some(file) = source(recorded, name)
            && !used.iter().any(|other| std::ptr::eq(*other, file))
        {
            used.push(file);
        }
    }
    for file in &used {
        head(&mut out, file);
    }
    goals(&mut out, recorded, reasons);
    throughput(&mut out, recorded);
    latency(&mut out, recorded);
    if let Some(file) = source(recorded, START) {
        starts(&mut out, file);
    }
    for file in &used {
        floors(&mut out, file);
        for line in &file.lines {
            if let Line::Skipped { what, because } = line {
                let _ = writeln!(out, "\nskipped on {}: {what}, because {because}", file.named());
            }
        }
    }
    out
}

fn source<'a>(recorded: &'a [Recorded], workload: &str) -> Option<&'a Recorded> {
    recorded.iter().find(|file| match workload {
        START => !file.starts().is_empty(),
        _ => file.runs().iter().any(|run| run.workload == workload && run.broker == POLYLOG),
    })
}

fn head(out: &mut String, file: &Recorded) {
    let (machine, runs) = (&file.machine, file.runs());
    let disturbed = runs.iter().filter(|run| run.disturbed).count();
    let _ = writeln!(
        out,
        "Run `{}` of {} at commit `{}` on {}; load average before it {}. {} runs; {disturbed} of them disturbed (others and the \
         host took more than {:.0} % of the machine) and left out where two undisturbed ones of each broker remain.\n",
        machine.bench,
        machine.date,
        machine.commit,
        machine.machine,
        machine.load,
        runs.len(),
        super::measure::DISTURBED_PART_MAX * 100.0
    );
}

fn medians(runs: &[&RunFigures]) -> Medians {
    let median = |figure: &dyn Fn(&RunFigures) -> f64| cell(runs, |run| figure(run)).map(|cell| cell.median);
    let times = |run: &RunFigures| run.end_to_end.or(run.ack).unwrap_or_default();
    let bare = runs.iter().all(|run| run.bare_sync.is_some());
    let bare_median = |figure: &dyn Fn(&RunFigures) -> f64| if bare { median(figure) } else { None };
    Medians {
        records_per_s: median(&|run| run.records_per_s),
        mb_per_s: median(&|run| run.mb_per_s),
        broker_cpu_s_per_million: median(&|run| run.broker_cpu_s_per_million),
        rss_mb: median(&|run| run.rss_mb),
        p50_ms: median(&|run| times(run).p50_ms),
        p99_ms: median(&|run| times(run).p99_ms),
        p99_9_ms: median(&|run| times(run).p99_9_ms),
        bare_p99_ms: bare_median(&|run| run.bare_sync.unwrap_or_default().p99_ms),
        bare_p99_9_ms: bare_median(&|run| run.bare_sync.unwrap_or_default().p99_9_ms),
        device_written_per_byte: median(&|run| run.device_written_per_byte),
    }
}

/// Each goal, whether it is met, and why not.
fn goals(out: &mut String, recorded: &[Recorded], reasons: &BTreeMap<&str, &str>) {
    out.push_str("| workload | goal | Polylog | met? | run |\n|---|---|---|---|---|\n");
    let mut missed: Vec<(&str, &str)> = Vec::new();
    let mut row = |out: &mut String, name: &'static str, title: &'static str, judged: &Judged, run: &str| {
        let met = match judged.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        let _ = writeln!(out, "| {title} | {} | {} | {met} | {run} |", judged.goal, judged.figure);
        if judged.met != Some(true) && missed.last().is_none_or(|(other, _)| *other != name) {
            missed.push((name, title));
        }
    };
    for (index, workload) in WORKLOADS.iter().enumerate() {
        let Some(goal) = Goal::of(workload) else { continue };
        let file = source(recorded, workload.name);
        let figures = file.map_or(Figures::default(), |file| {
            let of = |workload: &Workload, broker| medians(&of(&file.runs(), workload.name, broker));
            Figures {
                polylog: of(workload, POLYLOG),
                apache: of(workload, APACHE),
                apache_synced: of(workload, APACHE_SYNCED),
                polylog_before: index.checked_sub(1).map_or(Medians::default(), |i| of(&WORKLOADS[i], POLYLOG)),
                disk_mb_per_s: file.disk_mb_per_s(),
            }
        });
        let run = file.map_or("–".to_owned(), Recorded::named);
        for bound in goal.bounds {
            row(out, workload.name, workload.title, &bound.judge(&figures, short), &run);
        }
    }
    if let Some(file) = source(recorded, START) {
        let starts: Vec<_> = file.starts().into_iter().filter(|start| start.broker == POLYLOG).collect();
        let first = cell(&starts, |start| start.first_answer_ms).map(|cell| cell.median);
        let memory = cell(&starts, |start| start.idle_rss_mb).map(|cell| cell.median);
        let judged = |what: &str, figure: Option<f64>, max: f64, unit: &str| Judged {
            goal: format!("{what} <= {max} {unit}"),
            figure: figure.map_or("not measured".to_owned(), |figure| format!("{} {unit}", short(figure))),
            met: figure.map(|figure| figure <= max),
        };
        let title = "start on an empty directory";
        row(out, START, title, &judged("first answer", first, START_MS_MAX, "ms"), &file.named());
        row(out, START, title, &judged("memory then", memory, IDLE_MB_MAX, "MB"), &file.named());
    }
    if !missed.is_empty() {
        out.push_str("\nWhere a goal is missed, why, and what would come next:\n\n");
    }
    for (name, title) in missed {
        let reason = reasons.get(name).copied().unwrap_or("nobody has said why yet (`bench/reasons.txt`).");
        let _ = writeln!(out, "- {title}: {reason}");
    }
    out.push('\n');
}

/// The runs of one cell. Disturbed ones are left out only where each of the two brokers keeps two undisturbed ones: a calm run of
/// one side against disturbed runs of the other would not be a comparison.
fn of<'a>(runs: &[&'a RunFigures], workload: &str, broker: &str) -> Vec<&'a RunFigures> {
    let calm_of = |broker: &str| {
        let of = runs.iter().filter(|run| run.workload == workload && run.broker == broker);
        (of.clone().count(), of.filter(|run| !run.disturbed).count())
    };
    let enough = [POLYLOG, APACHE].into_iter().map(calm_of).all(|(all, calm)| all == 0 || calm >= 2);
    let mine = runs.iter().filter(|run| run.workload == workload && run.broker == broker).copied();
    let (calm, all): (Vec<_>, Vec<_>) = (mine.clone().filter(|run| !run.disturbed).collect(), mine.collect());
    if enough && !calm.is_empty() { calm } else { all }
}

struct Cell {
    median: f64,
    low: f64,
    high: f64,
    count: usize,
}

fn cell<T>(measured: &[&T], figure: impl Fn(&T) -> f64) -> Option<Cell> {
    let mut values: Vec<f64> = measured.iter().map(|one| figure(one)).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Some(Cell { median, low, high, count: values.len() })
}

/// Three significant figures, thousands and millions by letter.
fn short(value: f64) -> String {
    let (value, letter) = match value {
        value if value >= 999_500.0 => (value / 1e6, " M"),
        value if value >= 999.5 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let decimals = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}{letter}")
}

fn shown(cell: &Option<Cell>) -> String {
    match cell {
        None => "–".to_owned(),
        Some(cell) if cell.count == 1 => short(cell.median),
        Some(cell) => format!("{} ({}–{})", short(cell.median), short(cell.low), short(cell.high)),
    }
}

fn ratio(left: &Option<Cell>, right: &Option<Cell>) -> String {
    match (left, right) {
        (Some(left), Some(right)) if right.median > 0.0 => format!("{:.2}", left.median / right.median),
        _ => "–".to_owned(),
    }
}

fn throughput(out: &mut String, recorded: &[Recorded]) {
    out.push_str(
        "| workload (client) | broker | at the ack | records/s | MB/s | broker CPU s per million | client CPU s per million | RSS MB | \
         request p50 / p99 / p99.9 ms | written a byte: device / process | runs |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in WORKLOADS.iter().filter(|workload| !matches!(workload.kind, Kind::Latency { .. })) {
        let Some(file) = source(recorded, workload.name) else { continue };
        let mut rates = Vec::new();
        for broker in [POLYLOG, APACHE, APACHE_SYNCED] {
            let mine = of(&file.runs(), workload.name, broker);
            let Some(first) = mine.first() else { continue };
            let replay = workload.kind == Kind::Replay;
            let durable = if replay { "–" } else { &first.durable_at_ack };
            let rate = cell(&mine, |run| run.records_per_s);
            let cpu = cell(&mine, |run| run.broker_cpu_s_per_million);
            let title = match rates.is_empty() {
                true => format!("{} ({})", workload.title, first.client),
                false => String::new(),
            };
            let times = |run: &RunFigures| run.ack.unwrap_or_default();
            let request = match first.ack {
                Some(_) => [Times::P50, Times::P99, Times::P99_9]
                    .map(|at| shown(&cell(&mine, |run| at.of(&times(run)))))
                    .join(" / "),
                None => "–".to_owned(),
            };
            let device = cell(&mine, |run| run.device_written_per_byte);
            let process: Option<Vec<f64>> = mine.iter().map(|run| run.process_written_per_byte).collect();
            let process = process.and_then(|all| cell(&all.iter().collect::<Vec<_>>(), |value| *value));
            let written = match replay {
                true => "–".to_owned(),
                false => format!("{} / {}", shown(&device), shown(&process)),
            };
            let cold: Option<Vec<f64>> = mine.iter().map(|run| run.cold_mb_per_s).collect();
            let cold = cold.and_then(|all| cell(&all.iter().collect::<Vec<_>>(), |value| *value));
            let reader = cold.map_or(String::new(), |cold| format!("; the reader {}", shown(&Some(cold))));
            let _ = writeln!(
                out,
                "| {title} | {broker} | {durable} | {} | {}{reader} | {} | {} | {} | {request} | {written} | {} |",
                shown(&rate),
                shown(&cell(&mine, |run| run.mb_per_s)),
                shown(&cpu),
                shown(&cell(&mine, |run| run.client_cpu_s_per_million)),
                shown(&cell(&mine, |run| run.rss_mb)),
                mine.len()
            );
            rates.push((broker, rate, cpu));
        }
        if let [(POLYLOG, rate, cpu), others @ ..] = &rates[..] {
            for (broker, other_rate, other_cpu) in others {
                let _ = writeln!(
                    out,
                    "| | *Polylog / {broker}* | | *{}* | | *{}* | | | | | |",
                    ratio(rate, other_rate),
                    ratio(cpu, other_cpu)
                );
            }
        }
    }
}

/// Which percentile.
#[derive(Clone, Copy)]
enum Times {
    P50,
    P99,
    P99_9,
    Max,
}

impl Times {
    fn of(self, times: &super::native_client::Times) -> f64 {
        match self {
            Times::P50 => times.p50_ms,
            Times::P99 => times.p99_ms,
            Times::P99_9 => times.p99_9_ms,
            Times::Max => times.max_ms,
        }
    }
}

fn latency(out: &mut String, recorded: &[Recorded]) {
    out.push_str(
        "\n| latency (client) | broker | at the ack | p50 ms | p99 ms | p99.9 ms | max ms | broker CPU s per million | runs |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let rates = WORKLOADS.iter().filter(|workload| matches!(workload.kind, Kind::Latency { .. }));
    let all = [Times::P50, Times::P99, Times::P99_9, Times::Max];
    for workload in rates.clone() {
        let Some(file) = source(recorded, workload.name) else { continue };
        for broker in [POLYLOG, APACHE, APACHE_SYNCED] {
            let mine = of(&file.runs(), workload.name, broker);
            let Some(first) = mine.first() else { continue };
            let end_to_end =
                all.map(|at| shown(&cell(&mine, |run| at.of(&run.end_to_end.unwrap_or_default())))).join(" | ");
            let cpu = shown(&cell(&mine, |run| run.broker_cpu_s_per_million));
            let (client, durable, count) = (&first.client, &first.durable_at_ack, mine.len());
            let _ = writeln!(
                out,
                "| {} ({client}) | {broker} | {durable} | {end_to_end} | {cpu} | {count} |",
                workload.title
            );
            if mine.iter().all(|run| run.bare_sync.is_some()) {
                let bare =
                    all.map(|at| shown(&cell(&mine, |run| at.of(&run.bare_sync.unwrap_or_default())))).join(" | ");
                let _ = writeln!(
                    out,
                    "| | *bare 4 KiB write + fdatasync in the pauses of {broker}* | synced to disk | {bare} | – | {count} |"
                );
            }
        }
    }
    for workload in rates {
        let Some(file) = source(recorded, workload.name) else { continue };
        let runs = file.runs();
        let runs = runs.iter().filter(|run| run.workload == workload.name && run.bare_sync.is_some());
        let stalls: Vec<_> = runs.flat_map(|run| run.stalls.iter().map(move |stall| (run, stall))).collect();
        if stalls.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "\n| stalls over 20 ms, {} | whose | at s | longest ms | waited | the other's longest just before and after, ms |\n\
             |---|---|---|---|---|---|",
            workload.title
        );
        for (run, stall) in stalls.iter().take(STALLS_SHOWN_MAX) {
            let whose = if stall.bare { "the bare loop's" } else { &run.broker };
            let _ = writeln!(
                out,
                "| beside {}, pair {} | {whose} | {:.2} | {} | {} | {} |",
                run.broker,
                run.pair,
                stall.at_ms / 1e3,
                short(stall.ms),
                stall.count,
                short(stall.other_ms)
            );
        }
        if stalls.len() > STALLS_SHOWN_MAX {
            let _ = writeln!(out, "\n{} more are in the raw results.", stalls.len() - STALLS_SHOWN_MAX);
        }
    }
}

fn starts(out: &mut String, file: &Recorded) {
    out.push_str("\n| start on an empty directory | first answer ms | memory then MB | starts |\n|---|---|---|---|\n");
    for broker in [POLYLOG, APACHE] {
        let mine: Vec<_> = file.starts().into_iter().filter(|start| start.broker == broker).collect();
        if mine.is_empty() {
            continue;
        }
        let first = shown(&cell(&mine, |start| start.first_answer_ms));
        let memory = shown(&cell(&mine, |start| start.idle_rss_mb));
        let _ = writeln!(out, "| {broker} | {first} | {memory} | {} |", mine.len());
    }
}

/// One column for each time that the floors were measured in the run.
fn floors(out: &mut String, file: &Recorded) {
    let all: Vec<_> = file.floors().iter().map(|floors| floors.rows()).collect();
    let Some(first) = all.first() else { return };
    let when = if all.len() > 1 { " before the brokers | after them |" } else { " |" };
    let _ = writeln!(out, "\n| the machine itself, run of {} |{when}", file.named());
    let _ = writeln!(out, "|---|{}", "---|".repeat(all.len()));
    for (index, (name, _)) in first.iter().enumerate() {
        let figures: Vec<&str> = all.iter().map(|rows| rows[index].1.as_str()).collect();
        let _ = writeln!(out, "| {name} | {} |", figures.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(broker: &str, rate: f64, disturbed: bool) -> Line {
        Line::Run(Box::new(RunFigures {
            workload: "produce-1k-8p".into(),
            client: "raw wire".into(),
            broker: broker.into(),
            durable_at_ack: "synced to disk".into(),
            pair: 1,
            records: 1,
            record_bytes: 1024,
            seconds: 1.0,
            records_per_s: rate,
            mb_per_s: rate / 1e3,
            broker_cpu_s_per_million: 1.5,
            client_cpu_s_per_million: 2.0,
            other_cpu_s: 0.0,
            steal_s: 0.0,
            rss_mb: 100.0,
            device_written_per_byte: 1.0,
            end_to_end: None,
            ack: None,
            process_written_per_byte: None,
            cold_mb_per_s: None,
            bare_sync: None,
            stalls: Vec::new(),
            disturbed,
        }))
    }

    fn recorded(bench: &str, unix_s: u64, lines: Vec<Line>) -> Recorded {
        let machine = Machine {
            bench: bench.into(),
            unix_s,
            date: "2026-11-25".into(),
            commit: format!("c{unix_s}"),
            machine: String::new(),
            load: String::new(),
        };
        Recorded { machine, lines }
    }

    fn text_of(lines: &[Line]) -> String {
        tables(&[recorded(FULL, 1, lines.to_vec())], &BTreeMap::new())
    }

    #[test]
    fn medians_leave_disturbed_runs_out() {
        let lines = [
            run(POLYLOG, 300e3, false),
            run(POLYLOG, 100e3, false),
            run(POLYLOG, 5.0, true),
            run(APACHE, 100e3, false),
        ];
        let text = text_of(&lines);
        assert!(
            text.contains("| Polylog | synced to disk | 100 k (5.00–300 k) |"),
            "one calm run is no comparison: {text}"
        );
        let lines: Vec<Line> = lines.into_iter().chain([run(APACHE, 100e3, false)]).collect();
        let text = text_of(&lines);
        assert!(text.contains("| Polylog | synced to disk | 200 k (100 k–300 k) | 200 (100–300) |"), "{text}");
        assert!(text.contains("*2.00*"), "{text}");
    }

    #[test]
    fn a_run_of_some_rows_leaves_the_others() {
        let mut replay = run(POLYLOG, 7e3, false);
        if let Line::Run(run) = &mut replay {
            run.workload = "replay-1k-8p".into();
        }
        let files = [
            recorded(FULL, 2, vec![run(POLYLOG, 200e3, false)]),
            recorded(FULL, 1, vec![run(POLYLOG, 100e3, false), replay]),
        ];
        let text = tables(&files, &BTreeMap::new());
        assert!(text.contains("| 200 k |") && text.contains("| 7.00 k |") && !text.contains("| 100 k |"), "{text}");
        assert!(text.contains("`c2`") && text.contains("`c1`"), "{text}");
    }

    #[test]
    fn a_missed_goal_is_told_with_its_reason() {
        let lines = vec![run(POLYLOG, 100e3, false), run(APACHE, 100e3, false), Line::Floors(Floors::default())];
        let reasons = read_reasons("# for who edits\nproduce-1k-8p: the disk was asleep.\n").unwrap();
        let text = tables(&[recorded(FULL, 1, lines)], &reasons);
        assert!(text.contains("broker CPU s per million <= 1.20 | 1.50 | **no** |"), "{text}");
        assert!(text.contains("128 KiB batches: the disk was asleep."), "{text}");
        assert!(text.contains("nobody has said why yet"), "rows that were not measured ask for a reason too: {text}");
        assert!(read_reasons("no-such: because").is_err());
    }

    #[test]
    fn the_page_shows_what_the_recorded_results_make() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        page::assert_shown(root, COMMAND, &recorded_tables(root).unwrap());
    }

    #[test]
    fn figures_are_short() {
        let cases = [
            (0.4567, "0.46"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.0, "1.23 k"),
            (244_000.0, "244 k"),
            (1.27e6, "1.27 M"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
