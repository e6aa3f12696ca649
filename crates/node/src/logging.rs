// SPDX-License-Identifier: Apache-2.0
//! Log lines, on standard error. Nothing is logged per message above `debug`.

use std::io::IsTerminal;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging for the process.
pub fn start(format: &str, level: &str) {
    let level = match level {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // Fails only when logging was started before, and then it is on.
    let _ = if format == "json" {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}
