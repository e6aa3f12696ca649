// SPDX-License-Identifier: Apache-2.0
//! The simulator: the very code of the kernel, of the local medium with its recovery, and of the heads, run in one thread over a
//! virtual clock, a faulty disk and a byte-stream network, from one seed.
//!
//! Owns: the world around the product (`clock`, `disk`, `network`, `process`, `world`), who uses it (`actors`), what happened
//! (`history`), whether that was right (`checker`), and what is tried (`scenarios`). Must not know: `node`, threads (the binary
//! spreads seeds over them), real files, sockets or clocks.
//!
//! `history`, `checker` and `value` stand alone: the kill loop writes the same history from real clients and is judged by the same
//! checker. More: `docs/internals/simulation.md`.

pub mod actors;
pub mod checker;
pub mod clock;
pub mod disk;
pub mod guard;
pub mod history;
pub mod network;
pub mod process;
pub mod records;
pub mod rng;
pub mod scenarios;
pub mod service;
pub mod shrink;
pub mod sometimes;
pub mod value;
pub mod world;
