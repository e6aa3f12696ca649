// SPDX-License-Identifier: Apache-2.0
//! What a process suffers, whoever uses it.
//!
//! Owns: the troubles that stand in the plans of all scenarios. Must not know: how they are made (`drive.rs`, `disk.rs`), how often.

use crate::world::Death;

/// What happens to the process at a place of a plan.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// At once, or so many operations of the disk later.
    Die {
        death: Death,
        after_operations: u64,
    },
    /// There is no space for so long.
    Full {
        ms: u64,
    },
    FailSync,
    /// Somebody sets the wall clock.
    WallJump {
        ms: i64,
    },
    /// It gets no time for so long; everything else goes on.
    Pause {
        ms: u64,
    },
    /// None: what is under way may come to its end.
    Quiet {
        ms: u64,
    },
}
