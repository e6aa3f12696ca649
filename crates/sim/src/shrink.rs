// SPDX-License-Identifier: Apache-2.0
//! Makes a failing run smaller: leaves out operations as long as it still fails in the same way.
//!
//! Owns: the search (ever smaller pieces of the plan are tried without). Must not know: what operations are.

use crate::scenarios::{Failure, Outcome, Setup};

/// More runs than this are not spent on one failure.
pub const RUNS_MAX: u32 = 400;

/// The smallest set of operations found with which `run` still fails like `failure`, and how it fails with them.
pub fn shrink(setup: &Setup, plan: Vec<usize>, failure: &Failure, run: impl Fn(&Setup) -> Outcome) -> (Setup, Outcome) {
    let attempt = |keep: &[usize]| {
        let setup = Setup { keep: Some(keep.to_vec()), trace: false, ..setup.clone() };
        let outcome = run(&setup);
        let same = outcome.failure.as_ref().is_some_and(|other| other.kind == failure.kind);
        same.then_some(outcome)
    };
    let mut kept = plan;
    let mut best = None;
    let mut runs = 0;
    let mut piece = kept.len().div_ceil(2).max(1);
    loop {
        let mut smaller = false;
        let mut from = 0;
        while from < kept.len() && runs < RUNS_MAX {
            let to = (from + piece).min(kept.len());
            let without: Vec<usize> = kept[..from].iter().chain(&kept[to..]).copied().collect();
            runs += 1;
            if let Some(outcome) = attempt(&without) {
                kept = without;
                best = Some(outcome);
                smaller = true;
            } else {
                from = to;
            }
        }
        if runs >= RUNS_MAX || (piece == 1 && !smaller) {
            break;
        }
        if !smaller || piece > kept.len() {
            piece = (piece / 2).max(1);
        }
    }
    let setup = Setup { keep: Some(kept), trace: false, ..setup.clone() };
    let outcome = best.unwrap_or_else(|| run(&setup));
    (setup, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operations_that_matter_are_left() {
        let run = |setup: &Setup| {
            let keep = setup.keep.as_deref().unwrap_or(&[]);
            let fails = keep.contains(&17) && keep.contains(&42);
            Outcome { failure: fails.then(|| Failure::new("lost")), ..Outcome::default() }
        };
        let setup = Setup::of(1, 1);
        let (small, outcome) = shrink(&setup, (0..100).collect(), &Failure::new("lost"), run);
        assert_eq!(small.keep, Some(vec![17, 42]));
        assert_eq!(outcome.failure, Some(Failure::new("lost")));
    }
}
