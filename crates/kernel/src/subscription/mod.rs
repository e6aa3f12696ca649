// SPDX-License-Identifier: Apache-2.0
//! Subscriptions: who has had which records of a partition.
//!
//! Owns: ledgers, where each record has a state of its own (queues). Must not know: where records rest, what a frame is, any clock.
//!
//! `ledger.rs` is the machine, `outcome.rs` what it decides, `lane.rs` the states of one sequence of keys, `consumers.rs` who is given
//! records and in which order, `keys.rs` the sets of keys,
//! `stored.rs` its bytes in a checkpoint.

mod consumers;
pub mod keys;
mod lane;
pub mod ledger;
mod outcome;
mod stored;
#[cfg(test)]
mod tests;

pub use consumers::{Attach, AttachError, ConsumerId};
pub use ledger::{
    Depth, Grant, Handle, Ledger, Look, Meta, Overflow, Records, Release, Settings, SettleError, Step, Taken,
};
pub use outcome::{Outcome, Why};
