// SPDX-License-Identifier: Apache-2.0
//! How a rig tells what it found: the first of what was wrong, and times as percentiles.
//!
//! Owns: how much is shown. Must not know: how the load was made, what took the broker down.

use sim::checker::Report;

/// Violations and refusals that are shown; the evidence has all of them.
const VIOLATIONS_SHOWN_MAX: usize = 12;

/// Prints what was wrong.
pub fn show(report: &Report, refusals: &[String]) {
    for violation in report.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        println!("  {violation}");
    }
    for refusal in refusals.iter().take(VIOLATIONS_SHOWN_MAX) {
        println!("  refused without reason: {refusal}");
    }
    if refusals.len() > VIOLATIONS_SHOWN_MAX {
        println!("  … {} refusals in all", refusals.len());
    }
}

/// The value that `part` of them (0 to 1) do not exceed, in any order; 0 where there are none.
pub fn percentile(of: &[f64], part: f64) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len().saturating_sub(1) as f64 * part).round() as usize).copied().unwrap_or(0.0)
}
