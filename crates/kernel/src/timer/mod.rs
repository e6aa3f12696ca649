// SPDX-License-Identifier: Apache-2.0
//! One timer for everything in a shard: a hierarchical wheel of one millisecond.
//!
//! Owns: what is due when. Must not know: what it is about; any clock (`now` is an argument).
//!
//! Six wheels of 64 slots. A deadline stands in the wheel of the highest digit (base 64) in which it differs from now, so whatever
//! is in a lower wheel is due before whatever is in a higher one, and the next deadline is found without a walk. When time reaches
//! a slot of a higher wheel, its deadlines move down. Never early: a deadline is rounded up to the tick. Ties fire in the order in
//! which they were set.

const LEVELS: usize = 6;
const SLOTS: usize = 64;
const TICK_US: u64 = 1_000;
/// Farther deadlines wait at this distance and are set again when it is reached: two years, less one slot of the top wheel, so
/// that none stands in the slot of now.
const TICKS_MAX: u64 = 63 << (6 * (LEVELS as u64 - 1));

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    order: u64,
    value: T,
}

/// See the module.
#[derive(Debug)]
pub struct Wheel<T> {
    now: u64,
    order: u64,
    slots: Vec<Vec<Entry<T>>>,
    occupied: [u64; LEVELS],
}

impl<T> Wheel<T> {
    /// An empty wheel at this time (monotonic microseconds).
    pub fn new(now_us: u64) -> Wheel<T> {
        let slots = (0..LEVELS * SLOTS).map(|_| Vec::new()).collect();
        Wheel { now: now_us / TICK_US, order: 0, slots, occupied: [0; LEVELS] }
    }

    /// `value` comes out of `expire` at `at_us` or up to a tick later.
    pub fn set(&mut self, at_us: u64, value: T) {
        self.order += 1;
        let entry = Entry { tick: at_us.div_ceil(TICK_US), order: self.order, value };
        self.place(entry);
    }

    fn place(&mut self, entry: Entry<T>) {
        let tick = entry.tick.clamp(self.now, self.now + TICKS_MAX);
        let differs = tick ^ self.now;
        let level = if differs == 0 { 0 } else { (differs.ilog2() / 6) as usize };
        // The top wheel turns over: there the digit alone is enough.
        let level = level.min(LEVELS - 1);
        let slot = ((tick >> (6 * level)) % SLOTS as u64) as usize;
        self.occupied[level] |= 1 << slot;
        self.slots[level * SLOTS + slot].push(entry);
    }

    /// The earliest occupied slot: level, slot, first tick.
    fn earliest(&self) -> Option<(usize, usize, u64)> {
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let digit = ((self.now >> (6 * level)) % SLOTS as u64) as u32;
            let ahead = self.occupied[level].rotate_right(digit).trailing_zeros();
            let slot = (digit + ahead) % SLOTS as u32;
            let start = ((self.now >> (6 * level)) + u64::from(ahead)) << (6 * level);
            return Some((level, slot as usize, start.max(self.now)));
        }
        None
    }

    /// When `expire` should be called next (monotonic microseconds).
    pub fn next_us(&self) -> Option<u64> {
        let (level, slot, _) = self.earliest()?;
        let tick = self.slots[level * SLOTS + slot].iter().map(|entry| entry.tick).min()?;
        Some(tick.saturating_mul(TICK_US))
    }

    /// Takes out what is due, in the order of deadlines.
    pub fn expire(&mut self, now_us: u64) -> Vec<T> {
        let target = (now_us / TICK_US).max(self.now);
        let mut due = Vec::new();
        while let Some((level, slot, start)) = self.earliest()
            && start <= target
        {
            self.now = start;
            self.occupied[level] &= !(1 << slot);
            for entry in std::mem::take(&mut self.slots[level * SLOTS + slot]) {
                if entry.tick <= target {
                    due.push(entry);
                } else {
                    self.place(entry);
                }
            }
        }
        self.now = target;
        due.sort_by_key(|entry| (entry.tick, entry.order));
        due.into_iter().map(|entry| entry.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fires_like_a_sorted_list(start in 0..1u64 << 40, steps in prop::collection::vec((0..4u8, any::<u64>()), 1..60)) {
            let mut wheel = Wheel::new(start);
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut now = start;
            for (number, (what, random)) in steps.into_iter().enumerate() {
                let distance = random % [5_000, 300_000, 50_000_000, 1 << 45][usize::from(what)];
                if random % 3 > 0 {
                    wheel.set(now + distance, number as u64);
                    model.push(((now + distance).div_ceil(TICK_US), number as u64));
                } else {
                    now += distance;
                    let mut due: Vec<(u64, u64)> = model.iter().copied().filter(|(tick, _)| *tick <= now / TICK_US).collect();
                    due.sort();
                    model.retain(|(tick, _)| *tick > now / TICK_US);
                    prop_assert_eq!(wheel.expire(now), due.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
                }
                let next = model.iter().map(|(tick, _)| *tick * TICK_US).min();
                prop_assert_eq!(wheel.next_us().is_some(), next.is_some());
                // A deadline that was in the past when it was set may be given as such.
                prop_assert!(wheel.next_us() <= next.map(|next| next.max(now)) || wheel.next_us() == next);
            }
        }
    }

    #[test]
    fn never_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(0);
        wheel.set(1_500, "a");
        assert!(wheel.expire(1_999).is_empty());
        assert_eq!(wheel.next_us(), Some(2_000));
        assert_eq!(wheel.expire(2_000), ["a"]);
    }
}
