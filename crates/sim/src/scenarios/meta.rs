// SPDX-License-Identifier: Apache-2.0
//! The simulator itself: a seed run twice must do the same things at the same times. One that does not cannot be replayed.

use super::{Failure, Outcome, Run, Setup};

/// Runs a seed of the kernel scenario twice and compares the traces.
pub fn run(setup: &Setup) -> Outcome {
    twice(super::kernel::run, setup)
}

/// The same for any scenario.
pub fn twice(run: Run, setup: &Setup) -> Outcome {
    let (mut first, second) = (run(setup), run(setup));
    if first.trace_hash != second.trace_hash || first.failure != second.failure {
        let text = format!(
            "two runs of one seed differ: traces {:016x} and {:016x}, ends {:?} and {:?}",
            first.trace_hash, second.trace_hash, first.failure, second.failure
        );
        first.failure = Some(Failure::new(text));
    }
    first
}
