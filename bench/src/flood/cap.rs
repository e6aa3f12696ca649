// SPDX-License-Identifier: Apache-2.0
//! A memory group with a limit, made for one run and taken away after it: a cgroup of version 1 or 2, whichever the machine has.
//!
//! Owns: the group's files. Must not know: what runs in it.
//!
//! A process enters by writing itself into the group's door before it becomes the program under test, so that the program finds
//! the limit when it looks for one. A group without processes can be removed; groups that a cut-off run left are removed by the next.

use std::fs;
use std::path::{Path, PathBuf};

/// See the module.
pub struct MemoryCap {
    group: PathBuf,
    version: u8,
}

const ROOT: &str = "/sys/fs/cgroup";

impl MemoryCap {
    /// # Errors
    /// Why such a group cannot be made here.
    pub fn new(name: &str, bytes: u64) -> Result<MemoryCap, String> {
        let first = Path::new(ROOT).join("memory");
        let (parent, version) = if first.join("memory.limit_in_bytes").exists() {
            (first, 1)
        } else {
            let parent = PathBuf::from(ROOT);
            let controllers = fs::read_to_string(parent.join("cgroup.controllers"))
                .map_err(|error| format!("the machine has no memory groups: {ROOT}: {error}"))?;
            if !controllers.split_whitespace().any(|word| word == "memory") {
                return Err("the machine's groups do not count memory".to_owned());
            }
            // Children count memory once their parent says so.
            fs::write(parent.join("cgroup.subtree_control"), "+memory")
                .map_err(|error| format!("memory groups cannot be made here: {error}"))?;
            (parent, 2)
        };
        sweep(&parent);
        let group = parent.join(name);
        fs::create_dir(&group).map_err(|error| format!("no memory group can be made here: {error}"))?;
        let cap = MemoryCap { group, version };
        let limit = if version == 1 { "memory.limit_in_bytes" } else { "memory.max" };
        cap.write(limit, bytes)?;
        // Where there is swap it must not hide what would not fit. Neither file is there without it.
        let _ = if version == 1 { cap.write("memory.swappiness", 0) } else { cap.write("memory.swap.max", 0) };
        Ok(cap)
    }

    fn write(&self, file: &str, value: u64) -> Result<(), String> {
        let file = self.group.join(file);
        fs::write(&file, value.to_string()).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// In words.
    pub fn kind(&self) -> String {
        format!("a memory group (cgroup version {})", self.version)
    }

    /// The file through which a process enters.
    pub fn door(&self) -> PathBuf {
        self.group.join("cgroup.procs")
    }

    /// Processes in it that the system has killed for want of memory.
    pub fn killed(&self) -> Result<u64, String> {
        let file = self.group.join(if self.version == 1 { "memory.oom_control" } else { "memory.events" });
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        count_of(&text, "oom_kill").ok_or_else(|| format!("{} does not tell how many were killed", file.display()))
    }
}

impl Drop for MemoryCap {
    fn drop(&mut self) {
        // It has processes only where the run was cut off; then the next run sweeps it.
        let _ = fs::remove_dir(&self.group);
    }
}

/// Removes what earlier runs left. A group with a process in it stays.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("polylog-flood-") {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn count_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions_files() {
        assert_eq!(count_of("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(count_of("low 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n", "oom_kill"), Some(2));
        assert_eq!(count_of("oom_kill_disable 0\n", "oom_kill"), None);
    }
}
