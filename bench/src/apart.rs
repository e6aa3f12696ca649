// SPDX-License-Identifier: Apache-2.0
//! A rig that mounts runs apart: in a mount and a process namespace of its own, so that its mounts, its loop devices and its children
//! are gone with it, however it ends: an interrupt, a panic and `kill -9` included.
//!
//! Owns: starting this program once more in there. Must not know: what is run.
//!
//! `setpriv` and `unshare` are util-linux's: the first lets the namespace's first process die with this one, the second its children
//! with that. Loop devices are mounted so that the system frees them with their mount.

use std::ffi::OsString;
use std::process::Command;

/// Set for the program inside. (Not by a name that begins like a setting of the broker, which would refuse it.)
const INSIDE: &str = "TORTURE_APART";
const NAMESPACES: &[&str] = &[
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// What became of the wish.
pub enum Apart {
    /// This is the inside: go on.
    Inside,
    /// It has run inside; true when that went well.
    Ran(bool),
    /// The machine does not let us: why.
    Impossible(String),
}

/// Runs the whole command line once more, apart, unless this is there already.
///
/// # Errors
/// A sentence: it began to run and was lost.
pub fn run() -> Result<Apart, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(Apart::Inside);
    }
    let in_namespaces = |words: &[OsString]| {
        let mut command = Command::new("setpriv");
        command.args(NAMESPACES).args(words).env(INSIDE, "1");
        command
    };
    match in_namespaces(&["true".into()]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
            return Ok(Apart::Impossible(format!("namespaces of its own cannot be made here ({why})")));
        }
        Err(error) => return Ok(Apart::Impossible(format!("util-linux's setpriv cannot be run: {error}"))),
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let words: Vec<OsString> = std::iter::once(program.into_os_string()).chain(std::env::args_os().skip(1)).collect();
    let status = in_namespaces(&words).status().map_err(|error| error.to_string())?;
    match status.code() {
        Some(code) => Ok(Apart::Ran(code == 0)),
        None => Err(format!("the run ended with {status}")),
    }
}
