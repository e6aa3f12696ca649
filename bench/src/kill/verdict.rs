// SPDX-License-Identifier: Apache-2.0
//! How a rig tells what it found: what clients had to say, the tally of all rules, the first of what was wrong, times as percentiles.
//!
//! Owns: what counts as clean, how much is shown. Must not know: how the load was made, what took the broker down.

use sim::checker::Report;
use std::fmt;

/// Violations and findings that are shown; the evidence has all of them.
const SHOWN_MAX: usize = 12;

/// What clients found that is wrong by itself, without a look at the whole history, and how much they looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Answers that no correct broker gives.
    pub refused: Vec<String>,
    /// Acknowledged changes of topics, settings and groups that did not stand, records of the keepers that are not what they were.
    pub broken: Vec<String>,
    /// Changes that keepers had acknowledged.
    pub changes: u64,
    /// Records that compaction had removed when keepers looked.
    pub compacted: u64,
}

impl Findings {
    pub fn clean(&self) -> bool {
        self.refused.is_empty() && self.broken.is_empty()
    }
}

/// What came out, rule by rule. The same for every rig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acked: u64,
    pub unknown: u64,
    pub drained: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub moved: u64,
    pub reordered: u64,
    pub commits: u64,
    pub back: u64,
    pub changes: u64,
    pub compacted: u64,
    pub broken: u64,
    pub refused: u64,
}

impl Tally {
    pub fn of(report: &Report, findings: &Findings) -> Tally {
        Tally {
            acked: report.acked,
            unknown: report.unknown,
            drained: report.drained,
            lost: report.lost(),
            duplicated: report.duplicated(),
            moved: report.moved(),
            reordered: report.reordered(),
            commits: report.commits,
            back: report.back(),
            changes: findings.changes,
            compacted: findings.compacted,
            broken: findings.broken.len() as u64,
            refused: findings.refused.len() as u64,
        }
    }

    pub fn add(&mut self, more: &Tally) {
        self.acked += more.acked;
        self.unknown += more.unknown;
        self.drained += more.drained;
        self.lost += more.lost;
        self.duplicated += more.duplicated;
        self.moved += more.moved;
        self.reordered += more.reordered;
        self.commits += more.commits;
        self.back += more.back;
        self.changes += more.changes;
        self.compacted += more.compacted;
        self.broken += more.broken;
        self.refused += more.refused;
    }

    /// Nothing was wrong.
    pub fn clean(&self) -> bool {
        self.lost + self.duplicated + self.moved + self.reordered + self.back + self.broken + self.refused == 0
    }
}

/// The line that everybody reads last.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acked: lost {}, duplicated {}, moved {}, reordered {}; {} commits: back {}; {} changes of topics, settings and groups: broken {}",
            self.acked,
            self.lost,
            self.duplicated,
            self.moved,
            self.reordered,
            self.commits,
            self.back,
            self.changes,
            self.broken
        )?;
        if self.refused > 0 {
            write!(f, "; refused without reason {}", self.refused)?;
        }
        Ok(())
    }
}

/// One line about a part of a run, and what is wrong below it. True when nothing is.
pub fn tell(what: &str, report: &Report, findings: &Findings) -> bool {
    let tally = Tally::of(report, findings);
    let wrong = if tally.clean() { "" } else { ": WRONG" };
    println!("{what}: {tally}; {} read again, {} never answered{wrong}", tally.drained, tally.unknown);
    show(report, findings);
    tally.clean()
}

/// Prints what was wrong.
pub fn show(report: &Report, findings: &Findings) {
    for violation in report.violations.iter().take(SHOWN_MAX) {
        println!("  {violation}");
    }
    for (kind, sentences) in [("broken", &findings.broken), ("refused without reason", &findings.refused)] {
        for sentence in sentences.iter().take(SHOWN_MAX) {
            println!("  {kind}: {sentence}");
        }
        if sentences.len() > SHOWN_MAX {
            println!("  … {} in all", sentences.len());
        }
    }
}

/// The value that `part` of them (0 to 1) do not exceed, in any order; 0 where there are none.
pub fn percentile(of: &[f64], part: f64) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_found_is_not_clean() {
        let nothing = Findings { changes: 3, ..Findings::default() };
        assert!(Tally::of(&Report::default(), &nothing).clean());
        let broken = Findings { broken: vec!["a topic is gone".to_owned()], ..nothing.clone() };
        let refused = Findings { refused: vec!["no".to_owned()], ..nothing };
        for findings in [broken, refused] {
            let mut all = Tally::default();
            all.add(&Tally::of(&Report::default(), &findings));
            assert!(!all.clean() && !findings.clean() && all.changes == 3, "{all}");
        }
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let of = [3.0, 1.0, 2.0];
        assert_eq!((percentile(&of, 0.5), percentile(&of, 0.99), percentile(&[], 0.5)), (2.0, 3.0, 0.0));
    }
}
