// SPDX-License-Identifier: Apache-2.0
//! A file system of ours under the real broker, which does to its files what disks do: it forgets syncs, tears, fails, stalls, and
//! loses power.
//!
//! Owns: the mount, the threads that answer the system's requests, which fault hits which request. Must not know: who uses the files,
//! or what is in them. `files.rs` holds the files (in memory), `wire.rs` the bytes of the kernel's FUSE protocol (its version 7, as
//! in the system's `fuse.h`), spoken straight over `/dev/fuse`: no library, no helper program; mounting takes root.
//!
//! Every file is opened for direct IO, so that no page cache stands between the broker and a fault. A fault is a rule that waits for its
//! request: which call, on which files, after how many. What it does is seen and waited for (`hits`), so no test needs a clock.
//!
//! Bounds: `files::BYTES_MAX` of data, `THREADS` requests at once.

pub mod files;
mod wire;

use files::{Call, Errno, Files, Place};
use rustix::mount::{MountFlags, UnmountFlags};
use sim::rng::Rng;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::{Answer, Request};

/// Requests answered at once: so many can stall before the others wait behind them.
const THREADS: usize = 8;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails. A failed sync has written some of what it covered; a later one does not make up for the rest.
    Fails(Errno),
    /// Of a write only the first half of its bytes is taken, and that is what the caller is told.
    Short,
    /// Of a write only a part is taken, and the caller is told that it failed.
    Torn,
    /// It waits until [`Mounted::release`], or until the power goes.
    Stalls,
    /// A sync says yes and does nothing.
    Forgotten,
}

/// A fault that waits for its request.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub call: Call,
    pub place: Place,
    /// So many such requests go well before.
    pub after: u64,
    /// So many then do not.
    pub times: u64,
    pub fault: Fault,
}

#[derive(Default)]
struct State {
    files: Files,
    rules: Vec<Rule>,
    hits: u64,
    released: bool,
    power_off: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).map_or_else(|error| error.into_inner().0, |(state, _)| state)
    }
}

/// The disk: what stays when nothing is mounted.
pub struct Disk {
    shared: Arc<Shared>,
}

impl Disk {
    /// An empty one.
    pub fn new() -> Disk {
        Disk { shared: Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() }) }
    }

    /// Mounts it on `at`, a directory.
    ///
    /// # Errors
    /// Why that is impossible here.
    pub fn mount(&self, at: &Path) -> io::Result<Mounted> {
        {
            let mut state = self.shared.lock();
            state.power_off = false;
            state.files.forget_visitors();
        }
        let device = Arc::new(File::options().read(true).write(true).open("/dev/fuse")?);
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).map_err(io::Error::other)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("polylog-torture", at, "fuse", flags, options.as_c_str())?;
        let threads = (0..THREADS)
            .map(|_| {
                let (device, shared) = (device.clone(), self.shared.clone());
                std::thread::spawn(move || serve(&device, &shared))
            })
            .collect();
        Ok(Mounted { shared: self.shared.clone(), at: at.to_owned(), threads })
    }

    /// The power was lost: what was not synced is gone, or half there. Nothing may be mounted.
    pub fn lose_power(&self, rng: &mut Rng) {
        let mut state = self.shared.lock();
        state.rules.clear();
        state.files.lose_power(rng);
    }
}

/// The disk while it is mounted. Dropping it takes the mount away.
pub struct Mounted {
    shared: Arc<Shared>,
    at: PathBuf,
    threads: Vec<JoinHandle<()>>,
}

impl Mounted {
    /// Puts a fault where it will be met.
    pub fn plant(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Takes all faults away, and lets what stalls go on.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        state.rules.clear();
        state.released = true;
        self.shared.changed.notify_all();
    }

    /// Waits until `count` requests more than `before` have met a fault. False when they did not in time.
    pub fn wait_hits(&self, before: u64, count: u64, patience: Duration) -> bool {
        let begin = Instant::now();
        let mut state = self.shared.lock();
        while state.hits < before + count {
            let left = patience.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return false;
            }
            state = self.shared.wait(state, left);
        }
        true
    }

    /// Requests that have met a fault so far.
    pub fn hits(&self) -> u64 {
        self.shared.lock().hits
    }

    /// From here on nothing is done any more: what waits, fails without effect. The mount can then go whatever was under way.
    pub fn power_off(&self) {
        let mut state = self.shared.lock();
        state.power_off = true;
        self.shared.changed.notify_all();
    }

    /// Takes the mount away. All users must be gone.
    ///
    /// # Errors
    /// The system's reason, or threads that did not end.
    pub fn unmount(mut self) -> io::Result<()> {
        self.take_away()
    }

    fn take_away(&mut self) -> io::Result<()> {
        if self.threads.is_empty() {
            return Ok(());
        }
        rustix::mount::unmount(&self.at, UnmountFlags::DETACH)?;
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        match ended.into_iter().all(|thread| thread.is_ok()) {
            true => Ok(()),
            false => Err(io::Error::other("a thread of the file system panicked")),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.power_off();
        // A drop cannot report; the mount namespace of the run goes with it in any case.
        let _ = self.take_away();
    }
}

/// Answers requests until the mount is gone.
fn serve(device: &File, shared: &Shared) {
    let mut buffer = vec![0; wire::REQUEST_BYTES_MAX];
    loop {
        let mut reading = device;
        let count = match reading.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.0) => return,
            // Interrupted, or the request was taken back.
            Err(_) => continue,
        };
        let Some(request) = Request::parse(&buffer[..count]) else { continue };
        let Some(answer) = answer(&request, shared) else { continue };
        // A caller that was killed meanwhile wants no answer.
        let _ = (&mut &*device).write(&answer.bytes(request.unique));
    }
}

fn answer(request: &Request<'_>, shared: &Shared) -> Option<Answer> {
    if request.is_greeting() {
        return Some(wire::greeting());
    }
    let mut state = shared.lock();
    let fault = request.call().and_then(|call| {
        let place = state.files.place(request.node);
        take(&mut state.rules, call, place)
    });
    if let Some(fault) = fault {
        state.hits += 1;
        shared.changed.notify_all();
        if fault == Fault::Stalls {
            state.released = false;
            while !state.released && !state.power_off {
                state = shared.wait(state, Duration::from_secs(1));
            }
        }
    }
    if state.power_off && !request.is_silent() {
        return Some(Answer::Error(Errno::IO));
    }
    wire::carry_out(request, &mut state.files, fault.filter(|fault| *fault != Fault::Stalls))
}

/// The first rule for such a request whose turn has come.
fn take(rules: &mut Vec<Rule>, call: Call, place: Place) -> Option<Fault> {
    let at = rules.iter().position(|rule| rule.call == call && rule.place == place)?;
    let rule = &mut rules[at];
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    let fault = rule.fault;
    rule.times = rule.times.saturating_sub(1);
    if rule.times == 0 {
        rules.remove(at);
    }
    Some(fault)
}

#[cfg(test)]
mod tests;
