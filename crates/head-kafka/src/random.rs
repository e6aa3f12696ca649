// SPDX-License-Identifier: Apache-2.0
//! The session's random bits, all from the driver's seed: the same seed gives the same session (SplitMix64, Steele and others
//! 2014). For ids that must differ, not for secrets.

/// See the module.
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.u64().to_be_bytes());
        bytes
    }

    /// A number above zero, as ids of the protocol are.
    pub fn positive_i32(&mut self) -> i32 {
        ((self.u64() >> 33) as i32).max(1)
    }
}
