// SPDX-License-Identifier: Apache-2.0
//! Read-ahead: what a reader that goes on where it stopped will ask for next, fetched while it is busy with what it has.
//!
//! Owns: where readers stopped, what was read ahead for them, the budget of that. Must not know: how blocks are read and checked.
//!
//! A place is a partition and the offset at which a reader is expected, whoever it is. The first read notes where it stopped;
//! the one that begins there is known to go on, and from then on the next `COLD_READ_BYTES_MAX` of the run are on their way or
//! here when it comes. What is here has been checked, and is served only to a read whose own blocks it holds (same segment, same
//! block), so a trim, a merge or a delete in between needs no care; they drop it only so that it holds no memory.
//!
//! Bounds: `bytes_max` of blocks are here or on their way. Beyond, what nobody came for in `KEPT_US` makes room, or nothing is
//! read ahead: what younger readers are about to take is not thrown away for an older one. `PLACES_MAX` places, the longest
//! unused forgotten. What is not used for `UNUSED_US_MAX` goes.

use crate::log::read::{BlockRange, Checked};
use model::{Now, Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet};

/// Places remembered.
const PLACES_MAX: usize = 4_096;
/// What was read ahead is not dropped for another reader before this.
const KEPT_US: u64 = 1_000_000;
/// And is dropped when nobody came for so long: a reader this slow gains nothing by it.
const UNUSED_US_MAX: u64 = 10_000_000;

/// Where a reader is expected.
pub(super) type Place = (PartitionId, Offset);

/// What there is for it.
#[derive(Debug)]
pub(super) enum Expected {
    /// Nothing but that somebody stopped here.
    Stopped,
    /// The blob operation of this number brings it.
    UnderWay(u64, u64),
    Here(Held),
}

/// Blocks read ahead.
#[derive(Debug)]
pub(super) struct Held {
    pub range: BlockRange,
    pub checked: Checked,
    /// Counted in the budget: of the read that brought it, also when only a part is left.
    pub ahead_bytes: u64,
}

impl Expected {
    fn bytes(&self) -> u64 {
        match self {
            Expected::Stopped => 0,
            Expected::UnderWay(_, bytes) => *bytes,
            Expected::Here(held) => held.ahead_bytes,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ahead {
    places: BTreeMap<Place, (u64, Expected)>,
    by_age: BTreeSet<(u64, Place)>,
    bytes: u64,
    bytes_max: u64,
}

impl Ahead {
    pub(super) fn new(bytes_max: u64) -> Ahead {
        Ahead { places: BTreeMap::new(), by_age: BTreeSet::new(), bytes: 0, bytes_max }
    }

    /// Bytes here and on their way.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn put(&mut self, now: Now, place: Place, expected: Expected) {
        self.take(place);
        if self.places.len() >= PLACES_MAX
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.take(oldest);
        }
        self.bytes += expected.bytes();
        self.by_age.insert((now.mono_us, place));
        self.places.insert(place, (now.mono_us, expected));
    }

    pub(super) fn take(&mut self, place: Place) -> Option<Expected> {
        let (since_us, expected) = self.places.remove(&place)?;
        self.by_age.remove(&(since_us, place));
        self.bytes -= expected.bytes();
        Some(expected)
    }

    /// Is it this operation that shall bring something here?
    pub(super) fn waits_for(&self, place: Place, operation: u64) -> bool {
        matches!(self.places.get(&place), Some((_, Expected::UnderWay(of, _))) if *of == operation)
    }

    /// May so much more be held?
    pub(super) fn make_room(&mut self, now: Now, more: u64) -> bool {
        while self.bytes + more > self.bytes_max {
            let Some((since_us, oldest)) = self.by_age.first().copied() else { return false };
            if since_us + KEPT_US > now.mono_us {
                return false;
            }
            self.take(oldest);
        }
        true
    }

    /// Forgets what nobody came for.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some((since_us, oldest)) = self.by_age.first().copied()
            && since_us + UNUSED_US_MAX <= now.mono_us
        {
            self.take(oldest);
        }
    }

    /// When `expire` has something to do.
    pub(super) fn expires_us(&self) -> Option<u64> {
        self.by_age.first().map(|(since_us, _)| since_us + UNUSED_US_MAX)
    }

    /// Forgets the places of a partition before an offset.
    pub(super) fn forget_before(&mut self, partition: PartitionId, before: Offset) {
        let places: Vec<Place> =
            self.places.range((partition, Offset(0))..(partition, before)).map(|(place, _)| *place).collect();
        for place in places {
            self.take(place);
        }
    }

    /// The segments of the partition have changed: readers go on, but what is here is of no use.
    pub(super) fn forget_held(&mut self, partition: PartitionId) {
        for (_, (_, expected)) in self.places.range_mut((partition, Offset(0))..=(partition, Offset(u64::MAX))) {
            self.bytes -= expected.bytes();
            *expected = Expected::Stopped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn at(ms: u64) -> Now {
        Now { mono_us: ms * 1000, wall_ms: ms }
    }

    fn place(offset: u64) -> Place {
        (PartitionId(7), Offset(offset))
    }

    fn here(ahead_bytes: u64) -> Expected {
        let range = BlockRange { partition: PartitionId(7), segment: 1, blocks: Vec::new(), end: Offset(9) };
        Expected::Here(Held { range, checked: Checked { bytes: Bytes::new(), damage: None }, ahead_bytes })
    }

    fn counted(ahead: &Ahead) -> u64 {
        assert_eq!(ahead.places.len(), ahead.by_age.len());
        ahead.places.values().map(|(_, expected)| expected.bytes()).sum()
    }

    #[test]
    fn at_the_budget_only_what_nobody_came_for_makes_room() {
        let mut ahead = Ahead::new(100);
        assert!(ahead.make_room(at(0), 60));
        ahead.put(at(0), place(1), here(60));
        assert!(!ahead.make_room(at(999), 60), "its reader is about to come");
        assert!(ahead.make_room(at(999), 40));
        ahead.put(at(999), place(2), Expected::UnderWay(5, 40));
        assert!(ahead.waits_for(place(2), 5) && !ahead.waits_for(place(2), 4) && !ahead.waits_for(place(1), 5));
        assert!(ahead.make_room(at(1_000), 60));
        assert!(ahead.take(place(1)).is_none() && ahead.take(place(2)).is_some());
        assert_eq!((ahead.bytes(), counted(&ahead)), (0, 0));
        assert!(!ahead.make_room(at(9_999), 101), "more than the budget is never read ahead");
    }

    #[test]
    fn places_are_bounded_and_the_oldest_is_forgotten() {
        let mut ahead = Ahead::new(100);
        for offset in 0..PLACES_MAX as u64 + 10 {
            ahead.put(at(offset), place(offset), if offset == 3 { here(100) } else { Expected::Stopped });
        }
        assert_eq!((ahead.places.len(), ahead.bytes(), counted(&ahead)), (PLACES_MAX, 0, 0));
        assert!(ahead.take(place(9)).is_none() && ahead.take(place(10)).is_some());
        ahead.put(at(5_000), place(11), Expected::Stopped);
        assert_eq!(counted(&ahead), 0);
    }

    #[test]
    fn what_is_not_used_goes() {
        let mut ahead = Ahead::new(100);
        ahead.put(at(0), place(1), here(60));
        ahead.put(at(5_000), place(2), here(30));
        assert_eq!(ahead.expires_us(), Some(10_000_000));
        ahead.expire(at(10_000));
        assert_eq!((ahead.bytes(), counted(&ahead)), (30, 30));
        ahead.expire(at(15_000));
        assert!(ahead.places.is_empty() && ahead.expires_us().is_none());
    }

    #[test]
    fn a_trim_forgets_places_and_a_merge_what_is_held() {
        let mut ahead = Ahead::new(100);
        let other = (PartitionId(8), Offset(1));
        ahead.put(at(0), place(1), here(10));
        ahead.put(at(0), place(5), here(20));
        ahead.put(at(0), other, here(40));
        ahead.forget_before(PartitionId(7), Offset(5));
        assert_eq!((ahead.bytes(), counted(&ahead)), (60, 60));
        ahead.forget_held(PartitionId(7));
        assert_eq!((ahead.bytes(), counted(&ahead)), (40, 40));
        assert!(matches!(ahead.take(place(5)), Some(Expected::Stopped)));
        assert!(ahead.take(place(1)).is_none() && ahead.take(other).is_some());
    }
}
