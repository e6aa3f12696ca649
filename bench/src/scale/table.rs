// SPDX-License-Identifier: Apache-2.0
//! The table of the engine's bounds in `docs/benchmarks.md`, made from the raw results.
//!
//! Owns: its layout. The page around it is written by hand.

use crate::results::{self, BoundFigure, Line};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- made by `cargo xtask bench scale`: begin -->";
const END: &str = "<!-- made by `cargo xtask bench scale`: end -->";

/// Puts the table of the newest results, full or quick, into the page.
///
/// # Errors
/// A sentence: no results, or the page has lost its marks.
pub fn write(root: &Path) -> Result<(), String> {
    let page = root.join("docs").join("benchmarks.md");
    fs::write(&page, renewed(root)?).map_err(|error| format!("{}: {error}", page.display()))?;
    println!("table: {}", page.display());
    Ok(())
}

/// The page with its table as the results make it.
fn renewed(root: &Path) -> Result<String, String> {
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
    let page = root.join("docs").join("benchmarks.md");
    let text = fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let lost = || format!("{} has lost its marks", page.display());
    let (before, rest) = text.split_once(BEGIN).ok_or_else(lost)?;
    let (_, after) = rest.split_once(END).ok_or_else(lost)?;
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", tables(&lines)))
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
        let page = fs::read_to_string(root.join("docs").join("benchmarks.md")).unwrap();
        assert!(page == renewed(root).unwrap(), "run `cargo xtask bench table`");
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
