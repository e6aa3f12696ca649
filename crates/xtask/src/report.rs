// SPDX-License-Identifier: Apache-2.0
//! What passed, what failed and why, what was skipped and because of what.

use std::fmt::Write as _;

/// Lines of a failure's detail that are printed; the rest stands in the step's log.
const DETAIL_LINES_MAX: usize = 120;

/// Counts, printing failures and skips as they come.
#[derive(Default)]
pub struct Report {
    pub passed: usize,
    pub failed: Vec<String>,
    pub skipped: Vec<(String, String)>,
}

impl Report {
    pub fn pass(&mut self, count: usize) {
        self.passed += count;
    }

    /// Counts one failure and shows the end of its detail, which is where tools say what was wrong.
    pub fn fail(&mut self, name: &str, detail: &str) {
        println!("failed: {name}");
        let lines: Vec<&str> = detail.trim_end().lines().collect();
        let from = lines.len().saturating_sub(DETAIL_LINES_MAX);
        if from > 0 {
            println!("    ({from} lines before these are left out)");
        }
        for line in &lines[from..] {
            println!("    {line}");
        }
        self.failed.push(name.to_string());
    }

    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("{}", skip_line(name, reason));
        self.skipped.push((name.to_string(), reason.to_string()));
    }

    /// One check that passed or failed.
    pub fn check(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.pass(1),
            Err(detail) => self.fail(name, &detail),
        }
    }

    pub fn clean(&self) -> bool {
        self.failed.is_empty()
    }

    /// Adds what a step counted for itself.
    pub fn absorb(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// `N passed, N failed, N skipped`.
    pub fn last_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }

    /// What a reader of a long log wants to find at its end.
    pub fn recapitulation(&self) -> String {
        let mut text = String::new();
        for (name, reason) in &self.skipped {
            let _ = writeln!(text, "{}", skip_line(name, reason));
        }
        for name in &self.failed {
            let _ = writeln!(text, "failed: {name}");
        }
        text
    }
}

fn skip_line(name: &str, reason: &str) -> String {
    format!("skipped: {name}, because {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_a_failure_is_not_clean() {
        let mut report = Report::default();
        report.pass(3);
        report.skip("kcat", "it is not installed");
        assert!(report.clean());
        assert_eq!(report.last_line(), "3 passed, 0 failed, 1 skipped");
        let mut step = Report::default();
        step.check("tidy: edges", Err("kernel -> node".to_string()));
        report.absorb(step);
        assert!(!report.clean());
        assert_eq!(report.last_line(), "3 passed, 1 failed, 1 skipped");
        assert_eq!(report.recapitulation(), "skipped: kcat, because it is not installed\nfailed: tidy: edges\n");
    }
}
