// SPDX-License-Identifier: Apache-2.0
//! The tables of `docs/benchmarks.md`, made from the raw results.
//!
//! Owns: medians, ranges, ratios, layout. The page around the tables is written by hand; what stands between the two marks is not.

use super::workload::{Kind, WORKLOADS};
use super::{APACHE, APACHE_SYNCED, POLYLOG};
use crate::results::{self, Line, Machine, RunFigures, StartFigures};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- made by `cargo xtask bench kafka`: begin -->";
const END: &str = "<!-- made by `cargo xtask bench kafka`: end -->";

/// Puts the tables of the newest results, a full run's before a quick one's, into the page.
///
/// # Errors
/// A sentence: no results, or the page has lost its marks.
pub fn write(root: &Path) -> Result<(), String> {
    let folder = root.join("bench").join("results");
    let mut newest: Option<(u64, Vec<Line>)> = None;
    for name in ["kafka.jsonl", "kafka-quick.jsonl"] {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let lines = results::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let Some(Line::Machine(machine)) = lines.first() else { continue };
        let unix_s = machine.unix_s;
        if newest.as_ref().is_none_or(|(other, _)| unix_s > *other) {
            newest = Some((unix_s, lines));
        }
    }
    let (_, lines) = newest.ok_or("there are no results in bench/results")?;
    let page = root.join("docs").join("benchmarks.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let text = replace(&text, &tables(&lines)).ok_or_else(|| format!("{} has lost its marks", page.display()))?;
    fs::write(&page, text).map_err(|error| format!("{}: {error}", page.display()))?;
    println!("table: {}", page.display());
    Ok(())
}

fn replace(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"))
}

/// All tables as Markdown.
pub fn tables(lines: &[Line]) -> String {
    let mut out = String::new();
    let runs: Vec<&RunFigures> =
        lines.iter().filter_map(|line| if let Line::Run(run) = line { Some(&**run) } else { None }).collect();
    for line in lines {
        if let Line::Machine(machine) = line {
            head(&mut out, machine, &runs);
        }
    }
    throughput(&mut out, &runs);
    latency(&mut out, &runs);
    starts(&mut out, lines);
    for line in lines {
        match line {
            Line::Floors(floors) => {
                out.push_str("\n| the machine itself, in the same run | |\n|---|---|\n");
                for (name, figure) in floors.rows() {
                    let _ = writeln!(out, "| {name} | {figure} |");
                }
            }
            Line::Skipped { what, because } => {
                let _ = writeln!(out, "\nskipped: {what}, because {because}");
            }
            _ => {}
        }
    }
    out
}

fn head(out: &mut String, machine: &Machine, runs: &[&RunFigures]) {
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

fn cell(runs: &[&RunFigures], figure: impl Fn(&RunFigures) -> f64) -> Option<Cell> {
    let mut values: Vec<f64> = runs.iter().map(|run| figure(run)).collect();
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

fn throughput(out: &mut String, runs: &[&RunFigures]) {
    out.push_str(
        "| workload (client) | broker | at the ack | records/s | MB/s | broker CPU s per million | client CPU s per million | RSS MB | runs |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in WORKLOADS.iter().filter(|workload| !matches!(workload.kind, Kind::Latency { .. })) {
        let mut rates = Vec::new();
        for broker in [POLYLOG, APACHE, APACHE_SYNCED] {
            let mine = of(runs, workload.name, broker);
            let Some(first) = mine.first() else { continue };
            let durable = if workload.kind == Kind::Replay { "–" } else { &first.durable_at_ack };
            let rate = cell(&mine, |run| run.records_per_s);
            let cpu = cell(&mine, |run| run.broker_cpu_s_per_million);
            let _ = writeln!(
                out,
                "| {} ({}) | {broker} | {durable} | {} | {} | {} | {} | {} | {} |",
                workload.title,
                first.client,
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
                    "| | *Polylog / {broker}* | | *{}* | | *{}* | | | |",
                    ratio(rate, other_rate),
                    ratio(cpu, other_cpu)
                );
            }
        }
    }
}

fn latency(out: &mut String, runs: &[&RunFigures]) {
    out.push_str(
        "\n| latency (client) | broker | at the ack | p50 ms | p99 ms | p99.9 ms | max ms | broker CPU s per million | runs |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in WORKLOADS.iter().filter(|workload| matches!(workload.kind, Kind::Latency { .. })) {
        for broker in [POLYLOG, APACHE, APACHE_SYNCED] {
            let mine = of(runs, workload.name, broker);
            let Some(first) = mine.first() else { continue };
            let times = |run: &RunFigures| run.end_to_end.unwrap_or_default();
            let _ = writeln!(
                out,
                "| {} ({}) | {broker} | {} | {} | {} | {} | {} | {} | {} |",
                workload.title,
                first.client,
                first.durable_at_ack,
                shown(&cell(&mine, |run| times(run).p50_ms)),
                shown(&cell(&mine, |run| times(run).p99_ms)),
                shown(&cell(&mine, |run| times(run).p99_9_ms)),
                shown(&cell(&mine, |run| times(run).max_ms)),
                shown(&cell(&mine, |run| run.broker_cpu_s_per_million)),
                mine.len()
            );
        }
    }
}

fn starts(out: &mut String, lines: &[Line]) {
    let starts: Vec<&StartFigures> =
        lines.iter().filter_map(|line| if let Line::Start(start) = line { Some(start) } else { None }).collect();
    if starts.is_empty() {
        return;
    }
    out.push_str("\n| start on an empty directory | first answer | memory then |\n|---|---|---|\n");
    for start in starts {
        let _ = writeln!(out, "| {} | {:.0} ms | {:.0} MB |", start.broker, start.first_answer_ms, start.idle_rss_mb);
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
            disturbed,
        }))
    }

    #[test]
    fn medians_leave_disturbed_runs_out() {
        let lines = [
            run(POLYLOG, 300e3, false),
            run(POLYLOG, 100e3, false),
            run(POLYLOG, 5.0, true),
            run(APACHE, 100e3, false),
        ];
        let text = tables(&lines);
        assert!(
            text.contains("| Polylog | synced to disk | 100 k (5.00–300 k) |"),
            "one calm run is no comparison: {text}"
        );
        let lines: Vec<Line> = lines.into_iter().chain([run(APACHE, 100e3, false)]).collect();
        let text = tables(&lines);
        assert!(text.contains("| Polylog | synced to disk | 200 k (100 k–300 k) | 200 (100–300) |"), "{text}");
        assert!(text.contains("*2.00*"), "{text}");
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

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(replace(&page, "new\n"), Some(format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n")));
        assert_eq!(replace("no marks", "new"), None);
    }
}
