// SPDX-License-Identifier: Apache-2.0
//! The binary `polylog`: settings, sockets, threads, wiring.
//!
//! Owns: everything that the kernel and the heads must not know: clocks, random bits, threads, sockets, files' paths.
//! Must not know: what a request means (the head) or what a command does (the kernel).
//!
//! Read `serve.rs` for the life of a node, `shard_cell.rs` for how a shard is shared by threads, `connection.rs` for one client,
//! `docs/internals/threads.md` for the picture.

mod accept;
mod admission;
mod asker;
mod cli;
mod client;
mod clock;
mod connection;
mod disk_usage;
mod failure;
mod fetch_memory;
mod holders;
mod http;
mod interrupt;
mod jobs;
mod logging;
mod machine;
mod nearest;
mod node;
mod notify;
mod offline;
mod outbox;
mod planted;
mod random;
mod ready;
mod request_memory;
mod serve;
mod settings;
mod shard_cell;
mod storage;
mod timers;
mod volume;
mod wal_thread;

/// Small objects come and go on every thread; this allocator keeps them apart by thread and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// This build's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> std::process::ExitCode {
    cli::main()
}
