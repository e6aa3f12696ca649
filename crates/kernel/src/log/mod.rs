// SPDX-License-Identifier: Apache-2.0
//! The log: partitions of record batches, from the append to the read and the trim.
//!
//! Owns: offsets, the producers' dedupe windows, leader epochs, the watermarks, where each batch is.
//! Must not know: who waits for a reply, how bytes reach a medium.
//!
//! `partition.rs` is the object; the other files are what can be done with it, one verb each. They decide and look; the only code
//! that changes durable state is `State::apply`.

pub mod append;
pub mod locate;
pub mod partition;
pub mod partition_producers;
pub mod producers;
pub mod read;
pub mod tail;
pub mod trim;
