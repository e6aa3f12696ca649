// SPDX-License-Identifier: Apache-2.0
//! Time is an argument. `node` reads the clocks, `sim` invents them; nothing below them asks.

/// One reading of both clocks, taken once per event by the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds since an arbitrary start; timers and waits are measured on it.
    pub mono_us: u64,
    /// Milliseconds since 1970-01-01 UTC, which may jump; retention and record times are measured on it.
    pub wall_ms: u64,
}

impl Now {
    /// The monotonic instant `ms` milliseconds from now, in microseconds.
    pub fn mono_us_after_ms(self, ms: u64) -> u64 {
        self.mono_us.saturating_add(ms.saturating_mul(1000))
    }
}
