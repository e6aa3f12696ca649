// SPDX-License-Identifier: Apache-2.0
//! The one source of randomness of a run: a seed in, the same numbers out, for ever and on every machine.
//!
//! Owns: the generator (xoshiro256**, seeded through splitmix64, both in the public domain by Blackman and Vigna) and the few ways
//! in which it is asked. Must not know: what the numbers decide.
//! Each part of a run draws from a generator of its own (`fork`), so that dropping an operation while shrinking does not
//! change what every other part does.

use std::ops::Range;

/// One step of splitmix64: a bijection that scatters; also used to derive payloads from ids.
pub fn scatter(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of that seed.
    pub fn new(seed: u64) -> Rng {
        let mut word = seed;
        let state = std::array::from_fn(|_| {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            scatter(word)
        });
        Rng { state }
    }

    /// A generator of its own for the part of that number. Does not depend on how much was drawn here.
    pub fn of(seed: u64, part: u64) -> Rng {
        Rng::new(scatter(seed) ^ scatter(part.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c2, d2) = (c ^ a, d ^ b);
        self.state = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        out
    }

    /// A number below `end` (0 when `end` is 0).
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number in the range (its start when it is empty).
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True once in `one_in` times; never when that is 0.
    pub fn once_in(&mut self, one_in: u64) -> bool {
        one_in != 0 && self.below(one_in) == 0
    }

    /// True in `percent` of 100 times.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A number of random magnitude below 2^`bits_max`: small ones are as likely as large ones.
    pub fn magnitude(&mut self, bits_max: u64) -> u64 {
        let bits = self.below(bits_max + 1);
        self.below(1 << bits)
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::new(1);
        let first: Vec<u64> = (0..3).map(|_| rng.bits()).collect();
        let mut again = Rng::new(1);
        assert_eq!(first, (0..3).map(|_| again.bits()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::new(2).bits());
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut rng = Rng::new(7);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.within(3..6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&5)));
        assert_eq!(rng.within(5..5), 5);
        assert!((0..100).all(|_| !rng.once_in(0)));
    }
}
