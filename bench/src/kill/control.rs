// SPDX-License-Identifier: Apache-2.0
//! The control: a broker that is meant to fail, and a loop that must say so.
//!
//! Owns: what counts as seen. Must not know: how a bug fails; any broken rule, a refusal, and a broker that does not start again count. One
//! that does not start on an empty directory does not: it may not know the bug, or be a build without any.
//! `all` takes each of [`BUGS`] in turn.

use super::{GROUPS, KillPlan, PATIENCE, Verdict, run_group};
use crate::broker::{Broker, BrokerPlan};
use std::fs;

/// Bugs that a killed process shows through its clients. Those that only a loss of power, a damaged disk or a group's rebalance shows
/// are for the other rigs and the simulator.
const BUGS: [&str; 7] = [
    "lost-sync",
    "ack-before-durable",
    "offset-reuse",
    "duplicate-after-restart",
    "start-forgotten",
    "offsets-left-out-of-checkpoint",
    "compaction-loses-last",
];

/// Runs the loop until the bug was seen, at most `plan.rounds` rounds with each group of settings. True when each bug was.
///
/// # Errors
/// The loop could not be carried out.
pub fn run(plan: &KillPlan, bug: &str) -> Result<bool, String> {
    let bugs: Vec<&str> = if bug == "all" { BUGS.to_vec() } else { vec![bug] };
    let mut unseen = Vec::new();
    for bug in &bugs {
        match seen(plan, bug)? {
            Some(how) => println!("{bug} planted: seen: {how}"),
            None => {
                println!("{bug} planted: NOT seen");
                unseen.push(*bug);
            }
        }
    }
    println!("{} of {} planted bugs seen", bugs.len() - unseen.len(), bugs.len());
    Ok(unseen.is_empty())
}

/// How it was seen: after how many kills, and what was told. The settings under which most is written to disk come first.
fn seen(plan: &KillPlan, bug: &str) -> Result<Option<String>, String> {
    let (program, folder) = (plan.program.clone(), plan.folder.join(format!("planted-{bug}")));
    let plan = KillPlan { planted: Some(bug.to_owned()), program, folder, ..*plan };
    knows(&plan, bug)?;
    let mut verdict = Verdict::default();
    for (index, group) in GROUPS.iter().enumerate().rev() {
        match run_group(&plan, index as u64, group, plan.rounds, &mut verdict) {
            Ok(()) if verdict.tally.clean() => {}
            Ok(()) => return Ok(Some(format!("{} kills, {}", verdict.kills, verdict.tally))),
            Err(why) => {
                let first = why.lines().next().unwrap_or_default();
                return Ok(Some(format!("after {} kills: {first}", verdict.kills)));
            }
        }
    }
    Ok(None)
}

/// The broker has the bug and says so.
fn knows(plan: &KillPlan, bug: &str) -> Result<(), String> {
    let _ = fs::remove_dir_all(&plan.folder);
    let mut broker = BrokerPlan::new(&plan.program, &plan.folder.join("empty"));
    broker.environment.push(("POLYLOG_PLANTED".to_owned(), bug.to_owned()));
    let started = Broker::start(&broker, PATIENCE).map_err(|error| format!("{bug} cannot be planted: {error}"))?;
    started.kill().map_err(|error| error.to_string())?;
    let said = fs::read_to_string(&broker.log).map_err(|error| error.to_string())?;
    if said.contains(&format!("the bug {bug} is planted")) {
        Ok(())
    } else {
        Err(format!("{bug} cannot be planted: the broker does not say so"))
    }
}
