// SPDX-License-Identifier: Apache-2.0
//! What the kernel says about a process and about the machine: CPU seconds, memory, bytes written, time stolen.
//!
//! Owns: reading `/proc`, ending a child and seeing that it ended.
//! Must not know: which program the process runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not as expected"))
}

/// User and system time of a whole process, all its threads, ended ones too.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name stands in brackets and may itself hold blanks and brackets.
    let (_, rest) = stat.rsplit_once(')').ok_or_else(|| malformed("/proc/PID/stat"))?;
    let ticks: Vec<u64> = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) as f64 / ticks_per_second()),
        _ => Err(malformed("/proc/PID/stat")),
    }
}

/// What the threads of a process have run so far, to the microsecond. (`cpu_seconds` counts whole ticks: who wakes at every tick for a moment looks
/// busy there.) Threads that have ended are not in it.
pub fn ran_seconds(pid: u32) -> io::Result<f64> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = stat.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        nanos += ran.ok_or_else(|| malformed("/proc/PID/task/TID/schedstat"))?;
    }
    Ok(nanos as f64 / 1e9)
}

/// Memory of a process that is in RAM now.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kibibytes(&status, "VmRSS:").ok_or_else(|| malformed("/proc/PID/status"))
}

/// Entries of a folder of `/proc/PID`: `task` has the threads, `fd` the open files.
pub fn entries(pid: u32, folder: &str) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count() as u64)
}

/// Bytes written so far to the device under `folder`, by whomever. (A process's own count in `/proc/PID/io` is no use here: it counts
/// every page of a large folio as written when one of them is.)
pub fn device_written_bytes(folder: &Path) -> io::Result<u64> {
    let device = rustix::fs::stat(folder)?.st_dev;
    let (major, minor) = (rustix::fs::major(device).to_string(), rustix::fs::minor(device).to_string());
    let stats = fs::read_to_string("/proc/diskstats")?;
    // major minor name, then reads (4 fields), writes: completed, merged, sectors of 512 bytes.
    let line = stats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sectors =
        line.filter(|fields| fields.len() > 9 && fields[0] == major && fields[1] == minor).map(|fields| fields[9]);
    let sectors = sectors.filter_map(|sectors| sectors.parse::<u64>().ok()).next();
    sectors.map(|sectors| sectors * 512).ok_or_else(|| malformed("/proc/diskstats"))
}

/// Bytes that a process has caused to be written, as the kernel counts them when pages become dirty or are written past the cache. For a
/// process that writes through the page cache it counts every page of a large folio when one of them is touched: an upper bound.
pub fn written_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    bytes.and_then(|bytes| bytes.trim().parse().ok()).ok_or_else(|| malformed("/proc/PID/io"))
}

/// Takes a file, or all files under a folder, out of the page cache. Files that vanish meanwhile are none.
pub fn forget_pages(path: &Path) -> io::Result<()> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            forget_pages(&entry?.path())?;
        }
        return Ok(());
    }
    match fs::File::open(path) {
        Ok(file) => {
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(io::Error::from)
        }
        Err(error) => gone(error),
    }
}

/// What the files of a folder take on its disk. Files that vanish meanwhile are none.
pub fn folder_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, facts)| if facts.is_dir() { folder_bytes(&path) } else { facts.blocks() * 512 })
        .sum()
}

/// Memory of the whole machine.
pub fn machine_memory_bytes() -> io::Result<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo")?, "MemTotal:").ok_or_else(|| malformed("/proc/meminfo"))
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// CPU time of the whole machine since it started.
#[derive(Clone, Copy, Debug)]
pub struct MachineCpu {
    /// All but idle and waiting for a disk.
    pub busy_s: f64,
    /// Taken away by the host.
    pub steal_s: f64,
}

impl MachineCpu {
    pub fn now() -> io::Result<MachineCpu> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line =
            stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or_else(|| malformed("/proc/stat"))?;
        // user nice system idle iowait irq softirq steal
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        if ticks.len() < 8 {
            return Err(malformed("/proc/stat"));
        }
        let busy: u64 = ticks.iter().sum::<u64>() - ticks[3] - ticks[4];
        Ok(MachineCpu { busy_s: busy as f64 / ticks_per_second(), steal_s: ticks[7] as f64 / ticks_per_second() })
    }
}

/// The machine in one line, for the head of a result.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_gib = machine_memory_bytes().unwrap_or(0) as f64 / f64::from(1 << 30);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores ({name}), {memory_gib:.0} GiB, Linux {}", kernel.trim())
}

/// The first of `names` found in the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Asks a child to end and waits; after `patience` it is killed. True when it ended by itself with success.
pub fn stop(child: &mut Child, patience: Duration) -> io::Result<bool> {
    if let Some(status) = child.try_wait()? {
        return Ok(status.success());
    }
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    let begin = Instant::now();
    while begin.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// The last lines of a log file, for an error message.
pub fn tail_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(MachineCpu::now().unwrap().busy_s > 0.0);
        assert!(machine_memory_bytes().unwrap() > resident_bytes(pid).unwrap());
    }
}
