// SPDX-License-Identifier: Apache-2.0
//! Memory tail to sorted segments, checkpoints, and the boundary they move together. (Surface only so far.)

/// Pure computation to be run off the shard.
#[derive(Debug)]
pub enum Work {}

/// Its result.
#[derive(Debug)]
pub enum WorkDone {}

impl Work {
    /// Does it. Takes milliseconds to tens of milliseconds of CPU.
    pub fn run(self) -> WorkDone {
        match self {}
    }
}
