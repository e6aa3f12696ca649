// SPDX-License-Identifier: Apache-2.0
//! The local medium: the storage roles on a disk of completions (`disk.rs`).

pub mod blobs;
pub mod wal;
