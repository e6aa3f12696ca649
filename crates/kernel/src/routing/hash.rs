// SPDX-License-Identifier: Apache-2.0
//! Sharing messages out by a hash: the same value to the same destination, each destination by its weight.
//!
//! Owns: the hash, the buckets. Must not know: where the value comes from.
//!
//! A binding has as many buckets as its weight says, in the order of the bindings. Which bucket a value belongs to is decided by jump
//! hashing (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm"): even to a percent, and a binding more at the end
//! takes values from the others without moving any between them. One that goes from the middle moves up those behind it. Both as in
//! RabbitMQ, whose own hash sends a value to another queue than this one.
//! Stable: the hash is written down here, it changes with no library.

use crate::routing::{Binding, Destination};
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;

/// Most bindings that share out by hash at one topic: a change makes the row of buckets anew. Beyond, binding is refused.
pub(super) const BINDINGS_MAX: usize = 10_000;
/// Largest weight.
pub(super) const WEIGHT_MAX: u32 = 1_000_000;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct HashTable {
    bindings: RedBlackTreeMapSync<u64, Arc<Binding>>,
    /// The bucket behind the last of each, ascending.
    ends: Arc<[(u64, Destination)]>,
}

/// The weight that a binding's key says.
pub(super) fn weight(key: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(key).ok()?;
    text.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight))
}

impl HashTable {
    pub(super) fn len(&self) -> usize {
        self.bindings.size()
    }

    pub(super) fn add(&mut self, binding: &Arc<Binding>) {
        self.bindings.insert_mut(binding.number, binding.clone());
        self.share_out();
    }

    pub(super) fn remove(&mut self, binding: &Binding) {
        self.bindings.remove_mut(&binding.number);
        self.share_out();
    }

    fn share_out(&mut self) {
        let mut end = 0;
        let ends = self.bindings.values().map(|binding| {
            end += u64::from(weight(&binding.key).unwrap_or(0));
            (end, binding.destination)
        });
        self.ends = ends.collect();
    }

    pub(super) fn of(&self, value: &[u8]) -> Option<Destination> {
        let (buckets, _) = self.ends.last().filter(|(buckets, _)| *buckets > 0)?;
        let bucket = jump(hash(value), *buckets);
        let at = self.ends.partition_point(|(end, _)| *end <= bucket);
        self.ends.get(at).map(|(_, destination)| *destination)
    }
}

/// FNV-1a, then mixed, because its high bits are poor for short values.
fn hash(value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in value {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn jump(mut key: u64, buckets: u64) -> u64 {
    let (mut bucket, mut next) = (0, 0u64);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let part = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * part) as u64;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_where_it_always_did() {
        let places: Vec<u64> = (0..8).map(|number| jump(hash(format!("order-{number}").as_bytes()), 10)).collect();
        assert_eq!(places, [8, 4, 9, 8, 6, 6, 5, 7], "a node of another version must send it there too");
    }

    #[test]
    fn a_bucket_more_only_takes() {
        for buckets in 1..40 {
            let mut moved = 0;
            for number in 0..2_000u32 {
                let key = hash(&number.to_le_bytes());
                let (before, after) = (jump(key, buckets), jump(key, buckets + 1));
                assert!(before == after || after == buckets);
                moved += usize::from(before != after);
            }
            let share = 2_000.0 / (buckets + 1) as f64;
            assert!((moved as f64 - share).abs() < 6.0 * share.sqrt() + 1.0, "{moved} of {share}");
        }
    }
}
