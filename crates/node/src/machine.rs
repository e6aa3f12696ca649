// SPDX-License-Identifier: Apache-2.0
//! What this machine allows: open files, memory, processors.
//!
//! Owns: the reading of limits, container limits included. Must not know: what they are divided into.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Raises the soft limit on open files to the hard one and returns what holds now.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

/// Processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory of this process that is in use, as the system counts it.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kib_of(&status, "VmRSS:")
}

/// Bytes of memory that this process may use: the smallest of the machine's memory and the limits of its control groups
/// (version 1 and 2, each up to the root).
pub fn memory_limit_bytes() -> u64 {
    let machine =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib_of(&text, "MemTotal:")).unwrap_or(1 << 30);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    smallest_limit(machine, limit_files(&groups).iter().filter_map(|file| fs::read_to_string(file).ok()))
}

/// The figure that stands behind a name, in bytes.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files that may hold a limit, for the groups listed in `/proc/self/cgroup`.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        // In a container the path may be that of the host and not exist here; the root then is the container's own group.
        for ancestor in Path::new(path.trim_start_matches('/')).ancestors() {
            files.push(Path::new(root).join(ancestor).join(name));
        }
    }
    files
}

fn smallest_limit(machine: u64, limits: impl Iterator<Item = String>) -> u64 {
    limits.filter_map(|text| text.trim().parse().ok()).filter(|limit| *limit > 0).fold(machine, u64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_looked_at_up_to_the_root() {
        let files = limit_files("5:cpu:/x\n4:memory:/a/b\n0::/c\n");
        let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        assert_eq!(
            shown,
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/c/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }

    #[test]
    fn the_smallest_limit_counts_and_none_is_no_limit() {
        let limits = || ["max\n", "2147483648\n", "9223372036854771712\n"].map(str::to_owned).into_iter();
        assert_eq!(smallest_limit(8 << 30, limits()), 2 << 30);
        assert_eq!(smallest_limit(1 << 30, limits()), 1 << 30);
        assert_eq!(kib_of("MemTotal:       16384 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(16 << 20));
    }
}
