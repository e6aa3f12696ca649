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

/// Buffers up to this size are to be used again (`keep_buffers`): bodies of frames, pieces of segments, what is read of blobs.
const BUFFER_BYTES_KEPT: usize = 4 * 1024 * 1024;

/// This build's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The system's allocator maps every large block afresh, and pays for each of its pages, until it has seen one of that size come
/// back: from then on it keeps those for the next (glibc's dynamic threshold for `mmap`; others take no notice). So it is shown one.
fn keep_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BUFFER_BYTES_KEPT)));
}

fn main() -> std::process::ExitCode {
    keep_buffers();
    cli::main()
}
