// SPDX-License-Identifier: Apache-2.0
//! The real binary, started as a user starts it: one test binary for all of it.
//!
//! Nodes listen on port 0 and say where in their ready line; tests wait on events (a line, an answer, an end), never on time.

mod bad_peers;
mod cli;
mod client;
mod groups;
mod http;
mod life;
mod process;
mod schema;
mod service;
mod settings;
