// SPDX-License-Identifier: Apache-2.0
//! The one storage kernel: a shard is a state machine, commands and completions in, effects out.
//!
//! Owns: the log's semantics, the catalogs, what is durable and therefore visible, the bytes at rest.
//! Must not know: any protocol, any socket, file, clock, thread or random source. `now` and random bits are arguments.

pub mod auth;
pub mod catalog;
pub mod command;
pub mod coordinator;
pub mod effect;
pub mod error;
pub mod format;
pub mod invariants;
pub mod log;
pub mod quota;
pub mod reply;
pub mod routing;
pub mod shard;
pub mod spill;
pub mod state;
pub mod subscription;
pub mod timer;

#[cfg(test)]
mod tests;

pub use catalog::Catalog;
pub use command::{Command, Ctx};
pub use effect::Effect;
pub use reply::Reply;
pub use shard::Shard;
