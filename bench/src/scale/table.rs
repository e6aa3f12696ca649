// SPDX-License-Identifier: Apache-2.0
//! The table of the engine's bounds in `docs/benchmarks.md`, made from the raw results.
//!
//! Owns: its layout. The page around it is written by hand.

use crate::page;
use crate::results::{self, BoundFigure, Line};
use std::fmt::Write;
use std::path::Path;

/// What makes the table; the marks on the page name it.
const COMMAND: &str = "cargo xtask bench scale";

/// Puts the table of the newest results, full or quick, into the page.
///
/// # Errors
/// A sentence: no results, or the page has lost its marks.
pub fn write(root: &Path) -> Result<(), String> {
    page::write(root, COMMAND, &newest(root)?)
}

/// The table of the newest results.
fn newest(root: &Path) -> Result<String, String> {
    let folder = root.join("bench").join("results");
    let mut newest: Option<(u64, Vec<Line>)> = None;
    for name in ["scale.jsonl", "scale-quick.jsonl"] {
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
    let (_, lines) = newest.ok_or("there are no results of `bench scale` in bench/results")?;
    Ok(tables(&lines))
}

fn tables(lines: &[Line]) -> String {
    let mut out = String::new();
    let figures: Vec<&BoundFigure> =
        lines.iter().filter_map(|line| if let Line::Bound(figure) = line { Some(figure) } else { None }).collect();
    for line in lines {
        if let Line::Machine(machine) = line {
            let _ = writeln!(
                out,
                "Run `{}` of {} at commit `{}` on {}; load average before it {}.",
                machine.bench, machine.date, machine.commit, machine.machine, machine.load
            );
        }
    }
    for group in figures.chunk_by(|a, b| a.group == b.group) {
        let _ = writeln!(out, "\n| {} | figure | bound | kept |\n|---|---|---|---|", group[0].group);
        for figure in group {
            let bound =
                figure.max.map_or(String::new(), |max| format!("<= {max} {}", figure.unit).trim_end().to_owned());
            let kept = figure.kept().map_or("", |kept| if kept { "yes" } else { "**no**" });
            let _ = writeln!(out, "| {} | {} | {bound} | {kept} |", figure.what, figure.shown());
        }
    }
    for line in lines {
        if let Line::Floors(floors) = line {
            out.push_str("\n| the machine itself, in the same run | |\n|---|---|\n");
            for (name, figure) in floors.rows() {
                let _ = writeln!(out, "| {name} | {figure} |");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_the_recorded_results_make() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        page::assert_shown(root, COMMAND, &newest(root).unwrap());
    }

    #[test]
    fn a_bound_that_is_missed_is_told_so() {
        let figure = |what: &str, value, max| {
            let (group, what, unit) = ("starts".to_owned(), what.to_owned(), "s".to_owned());
            Line::Bound(BoundFigure { group, what, value, unit, max })
        };
        let table =
            tables(&[figure("first", 0.25, Some(0.3)), figure("second", 2.5, Some(2.0)), figure("third", 9.0, None)]);
        assert!(table.contains("| first | 0.25 s | <= 0.3 s | yes |"), "{table}");
        assert!(table.contains("| second | 2.50 s | <= 2 s | **no** |"), "{table}");
        assert!(table.contains("| third | 9.00 s |  |  |"), "{table}");
    }
}
