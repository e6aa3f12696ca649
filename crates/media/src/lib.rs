// SPDX-License-Identifier: Apache-2.0
//! Where bytes rest: implementations of the `Wal` and `Blobs` roles of `model::media`.
//!
//! Owns: WAL frames and slots, recovery of the log, blob files, the data directory's identity and lock.
//! Must not know: what a frame's body or a blob holds.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod disk;
pub mod identity;
pub mod local;
pub mod memory;
