// SPDX-License-Identifier: Apache-2.0
//! The session's random bits, all from the driver's seed: the same seed gives the same session (SplitMix64, Steele and others
//! 2014). For names that must differ, not for secrets.

/// See the module.
#[derive(Debug)]
pub struct Random {
    state: u64,
}

/// The 64 letters of URL-safe base64.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 128 bits in base64.
const NAME_LETTERS: usize = 22;

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A name as RabbitMQ makes them: the prefix, then 128 bits in 22 URL-safe letters.
    pub fn name(&mut self, prefix: &str) -> String {
        let mut bits = (u128::from(self.u64()) << 64) | u128::from(self.u64());
        let mut name = String::with_capacity(prefix.len() + NAME_LETTERS);
        name.push_str(prefix);
        for _ in 0..NAME_LETTERS {
            name.push(char::from(LETTERS[(bits & 63) as usize]));
            bits >>= 6;
        }
        name
    }
}
