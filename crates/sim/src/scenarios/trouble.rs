// SPDX-License-Identifier: Apache-2.0
//! What a process suffers, whoever uses it, and which of all faults a seed knows.
//!
//! Owns: the faults, the choice among them, the drawing of trouble into a plan. Must not know: how trouble is made (`drive.rs`,
//! `disk.rs`, `network.rs`).
//!
//! Each seed switches off a random half of the faults ("swarm"): a mistake may show only where another fault does not end the run
//! first. What a seed left on is printed with its options.

use crate::network::Manner;
use crate::rng::Rng;
use crate::world::Death;
use std::fmt;

/// The faults that a seed may switch off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    Kill,
    Power,
    /// Deaths while starting.
    Storm,
    /// Operations of the disk that take a second.
    Stall,
    SyncError,
    WriteError,
    ReadError,
    NoSpace,
    /// One sync that is certain to fail.
    FailedSync,
    ClockJump,
    Pause,
    /// A second process is started on the directory, while the first lives, is paused, or dies.
    Rival,
    /// Connections that take their time, each its own and unevenly so: what was sent later on another arrives earlier.
    Delay,
    /// Connections on which little fits, and which stand still now and then.
    Slow,
    /// Bytes that arrive in small pieces, down to one by one.
    Pieces,
    Cut,
    /// What was sent before a cut arrives all the same, behind what comes on the next connection.
    Late,
    HalfOpen,
}

impl Fault {
    const ALL: [Fault; 18] = [
        Fault::Kill,
        Fault::Power,
        Fault::Storm,
        Fault::Stall,
        Fault::SyncError,
        Fault::WriteError,
        Fault::ReadError,
        Fault::NoSpace,
        Fault::FailedSync,
        Fault::ClockJump,
        Fault::Pause,
        Fault::Rival,
        Fault::Delay,
        Fault::Slow,
        Fault::Pieces,
        Fault::Cut,
        Fault::Late,
        Fault::HalfOpen,
    ];
}

/// The faults that are on in a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Swarm {
    on: u32,
}

impl Swarm {
    /// A random half of all faults.
    pub fn draw(rng: &mut Rng) -> Swarm {
        let mut faults = Fault::ALL;
        rng.shuffle(&mut faults);
        Swarm { on: faults[..faults.len() / 2].iter().fold(0, |on, fault| on | 1 << *fault as u32) }
    }

    /// Switches one off.
    pub fn leave_out(&mut self, fault: Fault) {
        self.on &= !(1 << fault as u32);
    }

    /// Is it on?
    pub fn has(self, fault: Fault) -> bool {
        self.on >> fault as u32 & 1 == 1
    }
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Fault::ALL.iter().filter(|fault| self.has(**fault))).finish()
    }
}

impl Swarm {
    /// Of the connections that break.
    pub fn half_open_percent(self) -> u64 {
        match (self.has(Fault::Cut), self.has(Fault::HalfOpen)) {
            (true, true) => 30,
            (_, half_open) => 100 * u64::from(half_open),
        }
    }
}

/// The manners of which each connection of a run has one.
pub fn manners(swarm: Swarm, rng: &mut Rng) -> Vec<Manner> {
    let mut some = |fault, usual, from: &[u64]| if swarm.has(fault) { rng.pick(from) } else { usual };
    (0..4)
        .map(|_| Manner {
            latency_us: some(Fault::Delay, 5, &[5, 50, 500, 5_000]),
            jitter_bits: some(Fault::Delay, 0, &[0, 6, 10, 13]),
            piece_bytes_max: some(Fault::Pieces, 100_000, &[1, 7, 100, 100_000]),
            bytes_per_ms: some(Fault::Slow, 0, &[0, 50, 500]),
            stall_one_in: some(Fault::Slow, 0, &[0, 0, 300]),
        })
        .collect()
}

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
    /// Somebody starts a second process on the same directory, just after this one was paused for so long.
    Rival {
        pause_ms: u64,
    },
    /// None: what is under way may come to its end.
    Quiet {
        ms: u64,
    },
}

/// How much of it there is.
#[derive(Clone, Debug)]
pub struct Odds {
    pub swarm: Swarm,
    pub death_percent: u64,
    /// Of the deaths.
    pub power_percent: u64,
    /// How far the wall clock jumps, from and to.
    pub jump_ms: (i64, i64),
    /// A pause, and a time without space, is shorter than two to the power of this.
    pub pause_ms_bits: u64,
    pub full_ms_bits: u64,
}

impl Odds {
    /// Of a seed.
    pub fn draw(rng: &mut Rng) -> Odds {
        let swarm = Swarm::draw(rng);
        let (death_percent, power_percent) = (rng.pick(&[1, 3, 6]), rng.pick(&[20, 50, 80]));
        let (kill, power) = (swarm.has(Fault::Kill), swarm.has(Fault::Power));
        Odds {
            swarm,
            death_percent: if kill || power { death_percent } else { 0 },
            power_percent: if kill && power { power_percent } else { 100 * u64::from(power) },
            jump_ms: rng.pick(&[NEAR_MS, NEAR_MS, FAR_MS]),
            pause_ms_bits: rng.pick(&[6, 10, 12]),
            // Whoever found no space tries again after two seconds: some disks stay full for longer.
            full_ms_bits: rng.pick(&[8, 8, 13]),
        }
    }

    /// What the next place of a plan is, if it is trouble.
    pub fn trouble(&self, rng: &mut Rng) -> Option<Trouble> {
        if rng.percent(self.death_percent) {
            let death = if rng.percent(self.power_percent) { Death::Power } else { Death::Kill };
            return Some(Trouble::Die { death, after_operations: rng.magnitude(7) });
        }
        // Drawn whether it is wanted or not, so that a fault switched off leaves the others as they are.
        let (which, part) = (rng.below(100), rng.below(1000) as i64);
        let (pause_ms, full_ms) = (rng.magnitude(self.pause_ms_bits), rng.magnitude(self.full_ms_bits));
        let (start, end) = self.jump_ms;
        match which {
            0 if self.swarm.has(Fault::NoSpace) => Some(Trouble::Full { ms: full_ms }),
            1 if self.swarm.has(Fault::FailedSync) => Some(Trouble::FailSync),
            2 if self.swarm.has(Fault::ClockJump) => {
                Some(Trouble::WallJump { ms: start + (end - start) * part / 1000 })
            }
            3 if self.swarm.has(Fault::Pause) => Some(Trouble::Pause { ms: pause_ms }),
            5 if self.swarm.has(Fault::Rival) => {
                let paused = self.swarm.has(Fault::Pause) && part < 500;
                Some(Trouble::Rival { pause_ms: u64::from(paused) * pause_ms })
            }
            // Time passes on a full disk.
            4 if self.swarm.has(Fault::NoSpace) => Some(Trouble::Quiet { ms: full_ms }),
            _ => None,
        }
    }
}

/// As a clock is set right, and by as much as somebody who sets it by hand is wrong at most: an hour.
const NEAR_MS: (i64, i64) = (-500, 1_500);
const FAR_MS: (i64, i64) = (-3_600_000, 3_600_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_leaves_half_of_the_faults_and_no_fault_is_left_out_for_ever() {
        let mut seen = 0;
        for seed in 0..50 {
            let swarm = Swarm::draw(&mut Rng::new(seed));
            let on = Fault::ALL.iter().filter(|fault| swarm.has(**fault)).count();
            assert_eq!(on, Fault::ALL.len() / 2, "{swarm:?}");
            seen |= swarm.on;
        }
        assert_eq!(seen.count_ones() as usize, Fault::ALL.len());
    }
}
