// SPDX-License-Identifier: Apache-2.0
//! A histogram of durations that any thread may add to without a lock.
//!
//! Buckets are powers of two of a microsecond, 16 us to about 67 s: coarse enough to be 23 counters, fine enough that a quantile
//! read from it is off by less than a factor of two. Precise latencies are the business of the load tool, not of the server.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bound of the first bucket, in microseconds.
const FIRST_BOUND_US: u64 = 16;
/// Bounded buckets; one more counts what is above the last bound.
const BOUNDS: usize = 23;

/// See the module.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds one duration.
    pub fn add_us(&self, us: u64) {
        self.counts[bucket(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Sum in seconds, count, and (upper bound in seconds, count in that bucket alone).
    pub(crate) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS + 1);
        for (index, in_bucket) in self.counts.iter().enumerate() {
            let in_bucket = in_bucket.load(Ordering::Relaxed);
            let bound = if index < BOUNDS { seconds(FIRST_BOUND_US << index) } else { f64::INFINITY };
            count += in_bucket;
            buckets.push((bound, in_bucket));
        }
        (seconds(self.sum_us.load(Ordering::Relaxed)), count, buckets)
    }
}

fn bucket(us: u64) -> usize {
    // The smallest index whose bound (16 << index) is not below `us`.
    let steps = us.max(1).div_ceil(FIRST_BOUND_US).next_power_of_two().trailing_zeros() as usize;
    steps.min(BOUNDS)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_smallest_bucket_that_holds_it() {
        assert_eq!([0, 1, 16].map(bucket), [0, 0, 0]);
        assert_eq!([17, 32, 33, 64].map(bucket), [1, 1, 2, 2]);
        assert_eq!(bucket(FIRST_BOUND_US << (BOUNDS - 1)), BOUNDS - 1);
        assert_eq!(bucket((FIRST_BOUND_US << (BOUNDS - 1)) + 1), BOUNDS);
        assert_eq!(bucket(1 << 60), BOUNDS);
    }

    #[test]
    fn sum_and_count_are_those_of_what_was_added() {
        let histogram = Histogram::default();
        for us in [10, 1_000, 2_000_000] {
            histogram.add_us(us);
        }
        let (sum, count, buckets) = histogram.read();
        assert_eq!(count, 3);
        assert!((sum - 2.00101).abs() < 1e-9);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 3);
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
