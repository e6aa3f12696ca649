// SPDX-License-Identifier: Apache-2.0
//! The node's two clocks. The only file of the product that reads them for the kernel and the heads.

use model::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// See the module. Copies agree: they count from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// One reading of both clocks.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono_us: self.mono_us(), wall_ms: wall.as_millis() as u64 }
    }

    /// Microseconds since the start.
    pub fn mono_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The instant of a monotonic reading, for the timers of the runtime. Far futures are cut to a day, after which the caller
    /// looks again.
    pub fn instant(&self, mono_us: u64) -> Instant {
        const FAR: Duration = Duration::from_secs(24 * 3600);
        let at = Duration::from_micros(mono_us);
        let horizon = self.start.elapsed() + FAR;
        self.start + at.min(horizon)
    }
}
