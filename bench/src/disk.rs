// SPDX-License-Identifier: Apache-2.0
//! The real broker on disks that misbehave: one that is full, one that fails, tears, stalls and loses its power, and one that forgets.
//!
//! Owns: which parts are run, the verdict. Must not know: how the broker keeps its promises.
//!
//! - `full.rs`: ext4 on a loop device of 64 MB, filled again and again.
//! - `faults.rs`: the file system of `fuse.rs`, with faults by seed; what was not synced is gone after each loss of power.
//! - The control (also there): the same disk forgets the syncs of the log. Then records *must* be lost, or the rig would see nothing.
//!
//! What is right is the checker's to say, as in the kill loop. Times are printed, not judged.

mod faults;
mod full;

use crate::apart::{self, Apart};
use std::fs;
use std::path::PathBuf;

/// What to do.
pub struct DiskPlan {
    /// Rounds with faults; a stretch has one of each kind.
    pub rounds: u64,
    pub seed: u64,
    pub program: PathBuf,
    pub folder: PathBuf,
    /// Only the parts whose names contain this.
    pub only: Option<String>,
}

/// Runs the parts. True when nothing was wrong.
///
/// # Errors
/// A sentence: the rig could not be set up.
pub fn run(plan: &DiskPlan) -> Result<bool, String> {
    match apart::run()? {
        Apart::Inside => {}
        Apart::Ran(good) => return Ok(good),
        Apart::Impossible(why) => {
            println!("skipped: disk, because {why}");
            return Ok(true);
        }
    }
    println!("disk: seed {}", plan.seed);
    let folder = plan.folder.join(format!("disk-{}", plan.seed));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut good = true;
    type Part = fn(&DiskPlan, &std::path::Path) -> Result<bool, String>;
    let parts: [(&str, Part); 3] = [("full", full::run), ("faults", faults::run), ("control", faults::control)];
    for (name, part) in parts {
        if plan.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            // A part that could not be carried to its end says nothing of the others, and is no good.
            good &= part(plan, &folder).unwrap_or_else(|why| {
                println!("{name}: WRONG, it could not go on: {why}");
                false
            });
        }
    }
    if good {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    } else {
        println!("evidence: {}", folder.display());
    }
    Ok(good)
}
