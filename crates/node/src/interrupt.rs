// SPDX-License-Identifier: Apache-2.0
//! Ctrl-C (and SIGTERM) for commands that run until they are told to stop: the first asks for a clean end, the second ends.
//!
//! Owns: whether it has happened. A command looks between two steps, a wait several times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second Ctrl-C: 128 and the signal's number, as shells have it.
const EXIT_CODE: i32 = 130;

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Has it happened?
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// Listens from now on.
///
/// # Errors
/// The system has no thread or no signal for us.
pub fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _in_runtime = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if HAPPENED.swap(true, Ordering::Relaxed) {
                    std::process::exit(EXIT_CODE);
                }
            }
        });
    })?;
    Ok(())
}
