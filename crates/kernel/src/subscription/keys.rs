// SPDX-License-Identifier: Apache-2.0
//! A set of keys, of which there may be ten million, mostly in ranges.
//!
//! Owns: how they are kept. Must not know: what is said of a key by its being here.
//!
//! Keys are kept by their upper 48 bits, a part each of up to 65,536 keys: as ranges, 4 bytes each, while there are no more than
//! `RANGES_MAX`, else as a bitmap of 8 KiB. So a key costs at most a bit where they are many, and every second of ten million 1.3 MB.
//!
//! Invariants: no part is empty; ranges ascend and do not touch; `len` is the number of keys. The same keys are kept the same way
//! unless a part's ranges were many before: equality is that of keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A bitmap takes as much as 2,048 ranges. It becomes ranges again below an eighth, so that one key more or less does not turn it over.
const RANGES_MAX: usize = 2_048;
const RANGES_AGAIN: usize = RANGES_MAX / 8;
const WORDS: usize = 1_024;
/// A part as a node of the tree has it: key, discriminant, a vector.
const PART_BYTES: usize = 48;

#[derive(Clone, Debug)]
enum Part {
    /// First and last.
    Ranges(Vec<(u16, u16)>),
    Bits(Box<[u64; WORDS]>),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    parts: BTreeMap<u64, Part>,
    len: u64,
}

/// The bits of word `word` that lie in a range of a part.
fn mask(word: usize, first: u16, last: u16) -> u64 {
    let (from, to) = (word * 64, word * 64 + 63);
    let (first, last) = (usize::from(first).max(from), usize::from(last).min(to));
    if first > last {
        return 0;
    }
    (u64::MAX >> (63 - (last - first))) << (first - from)
}

fn words_of(first: u16, last: u16) -> std::ops::RangeInclusive<usize> {
    usize::from(first) / 64..=usize::from(last) / 64
}

impl Part {
    fn contains(&self, low: u16) -> bool {
        match self {
            Part::Ranges(ranges) => {
                let at = ranges.partition_point(|(_, last)| *last < low);
                ranges.get(at).is_some_and(|(first, _)| *first <= low)
            }
            Part::Bits(bits) => bits[usize::from(low) / 64] >> (low % 64) & 1 == 1,
        }
    }

    /// Puts them in or takes them out. How many came or went.
    fn set(&mut self, first: u16, last: u16, is_in: bool) -> u64 {
        let changed = match self {
            Part::Bits(bits) => {
                let mut changed = 0;
                for word in words_of(first, last) {
                    let mask = mask(word, first, last);
                    let after = if is_in { bits[word] | mask } else { bits[word] & !mask };
                    changed += u64::from((bits[word] ^ after).count_ones());
                    bits[word] = after;
                }
                changed
            }
            Part::Ranges(ranges) => {
                // Those that touch what is put in, or overlap what is taken out.
                let reach = u16::from(is_in);
                let from = ranges.partition_point(|(_, end)| end.saturating_add(reach) < first);
                let to = from + ranges[from..].partition_point(|(start, _)| *start <= last.saturating_add(reach));
                let within = |(start, end): &(u16, u16)| {
                    let (start, end) = ((*start).max(first), (*end).min(last));
                    if start > end { 0 } else { u64::from(end - start) + 1 }
                };
                let there: u64 = ranges[from..to].iter().map(within).sum();
                let mut kept: [(u16, u16); 2] = [(0, 0); 2];
                let mut count = 0;
                if is_in {
                    let start = ranges[from..to].first().map_or(first, |(start, _)| first.min(*start));
                    let end = ranges[from..to].last().map_or(last, |(_, end)| last.max(*end));
                    (kept[0], count) = ((start, end), 1);
                } else {
                    if let Some((start, _)) = ranges[from..to].first().filter(|(start, _)| *start < first) {
                        (kept[count], count) = ((*start, first - 1), count + 1);
                    }
                    if let Some((_, end)) = ranges[from..to].last().filter(|(_, end)| *end > last) {
                        (kept[count], count) = ((last + 1, *end), count + 1);
                    }
                }
                ranges.splice(from..to, kept[..count].iter().copied());
                if is_in { u64::from(last - first) + 1 - there } else { there }
            }
        };
        self.fit();
        changed
    }

    /// Takes the form that needs less.
    fn fit(&mut self) {
        match self {
            Part::Ranges(ranges) if ranges.len() > RANGES_MAX => {
                let mut bits = Box::new([0; WORDS]);
                for (first, last) in ranges.iter() {
                    words_of(*first, *last).for_each(|word| bits[word] |= mask(word, *first, *last));
                }
                *self = Part::Bits(bits);
            }
            Part::Ranges(ranges) if ranges.capacity() > 64 && ranges.len() < ranges.capacity() / 4 => {
                ranges.shrink_to(ranges.len() * 2);
            }
            Part::Ranges(_) => {}
            Part::Bits(bits) => {
                let mut carry = 0;
                let mut count = 0;
                for word in bits.iter() {
                    // A range begins where a bit is set and the one before is not.
                    count += (word & !(word << 1 | carry)).count_ones() as usize;
                    carry = word >> 63;
                    if count > RANGES_AGAIN {
                        return;
                    }
                }
                let mut ranges = Vec::with_capacity(count);
                let mut at = Some(0);
                while let Some(first) = at.and_then(|at| self.next(at, true)) {
                    let end = self.next(first, false);
                    ranges.push((first, end.map_or(u16::MAX, |end| end - 1)));
                    at = end;
                }
                *self = Part::Ranges(ranges);
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Part::Ranges(ranges) => ranges.is_empty(),
            Part::Bits(_) => false,
        }
    }

    /// The first from here on that is in, or that is out.
    fn next(&self, from: u16, is_in: bool) -> Option<u16> {
        match self {
            Part::Ranges(ranges) => {
                let at = ranges.partition_point(|(_, last)| *last < from);
                match (ranges.get(at), is_in) {
                    (Some((first, _)), true) => Some((*first).max(from)),
                    (None, true) => None,
                    (Some((first, last)), false) if *first <= from => last.checked_add(1),
                    (_, false) => Some(from),
                }
            }
            Part::Bits(bits) => {
                let mut word = usize::from(from) / 64;
                let mut skipped = u64::MAX << (from % 64);
                while word < WORDS {
                    let wanted = if is_in { bits[word] } else { !bits[word] } & skipped;
                    if wanted != 0 {
                        return Some((word * 64) as u16 + wanted.trailing_zeros() as u16);
                    }
                    (word, skipped) = (word + 1, u64::MAX);
                }
                None
            }
        }
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &KeySet) -> bool {
        self.len == other.len && self.ranges().eq(other.ranges())
    }
}

impl Eq for KeySet {}

impl KeySet {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        if self.parts.is_empty() {
            return 0;
        }
        let heap = |part: &Part| match part {
            Part::Ranges(ranges) => ranges.capacity() * 4,
            Part::Bits(_) => WORDS * 8,
        };
        self.parts.values().map(|part| PART_BYTES + heap(part)).sum()
    }

    /// How many parts there are: `bytes` is at most `PART_BYTES` and 8 KiB for each, without looking.
    pub fn bytes_at_most(&self) -> usize {
        self.parts.len() * (PART_BYTES + WORDS * 8)
    }

    pub fn contains(&self, key: u64) -> bool {
        self.parts.get(&(key >> 16)).is_some_and(|part| part.contains(key as u16))
    }

    /// Puts in all from `first` to before `end`. How many were not there.
    pub fn insert(&mut self, first: u64, end: u64) -> u64 {
        let mut came = 0;
        each_part(first, end, |high, first, last| {
            let part = self.parts.entry(high).or_insert_with(|| Part::Ranges(Vec::new()));
            came += part.set(first, last, true);
        });
        self.len += came;
        came
    }

    /// Takes out all from `first` to before `end`. How many were there.
    pub fn remove(&mut self, first: u64, end: u64) -> u64 {
        let Some(last) = end.checked_sub(1).filter(|last| *last >= first) else { return 0 };
        let mut went = 0;
        // Only parts that are there: the range may be all keys.
        let mut from = first >> 16;
        while from <= last >> 16
            && let Some(high) = self.parts.range(from..=last >> 16).next().map(|(high, _)| *high)
        {
            let start = if high == first >> 16 { first as u16 } else { 0 };
            let stop = if high == last >> 16 { last as u16 } else { u16::MAX };
            if let Entry::Occupied(mut part) = self.parts.entry(high) {
                went += part.get_mut().set(start, stop, false);
                if part.get().is_empty() {
                    part.remove();
                }
            }
            from = high + 1;
        }
        self.len -= went;
        went
    }

    /// The first key from here on that is in the set.
    pub fn next_in(&self, from: u64) -> Option<u64> {
        let high = from >> 16;
        if let Some(low) = self.parts.get(&high).and_then(|part| part.next(from as u16, true)) {
            return Some(high << 16 | u64::from(low));
        }
        let (high, part) = self.parts.range(high + 1..).next()?;
        part.next(0, true).map(|low| high << 16 | u64::from(low))
    }

    /// The first key from here on that is not.
    pub fn next_out(&self, from: u64) -> u64 {
        let (mut high, mut low) = (from >> 16, from as u16);
        while let Some(part) = self.parts.get(&high) {
            if let Some(found) = part.next(low, false) {
                low = found;
                break;
            }
            (high, low) = (high + 1, 0);
        }
        high << 16 | u64::from(low)
    }

    /// Ranges from first to before end, ascending; two that touch are one.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut from = self.next_in(0);
        std::iter::from_fn(move || {
            let first = from?;
            let end = self.next_out(first);
            from = self.next_in(end);
            Some((first, end))
        })
    }
}

/// The pieces of a range by part: upper bits, first, last.
fn each_part(first: u64, end: u64, mut take: impl FnMut(u64, u16, u16)) {
    let Some(last) = end.checked_sub(1).filter(|last| *last >= first) else { return };
    for high in first >> 16..=last >> 16 {
        let start = if high == first >> 16 { first as u16 } else { 0 };
        let stop = if high == last >> 16 { last as u16 } else { u16::MAX };
        take(high, start, stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(set: &KeySet, plain: &BTreeSet<u64>, probes: &[u64]) {
        assert_eq!(set.len(), plain.len() as u64);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for key in plain {
            match ranges.last_mut() {
                Some((_, end)) if end == key => *end += 1,
                _ => ranges.push((*key, key + 1)),
            }
        }
        assert!(set.ranges().eq(ranges.iter().copied()));
        for probe in probes {
            assert_eq!(set.contains(*probe), plain.contains(probe));
            assert_eq!(set.next_in(*probe), plain.range(probe..).next().copied());
            let out = (*probe..).find(|key| !plain.contains(key));
            assert_eq!(Some(set.next_out(*probe)), out);
        }
        assert!(set.parts.values().all(|part| !part.is_empty()));
        assert!(set.bytes() <= set.bytes_at_most());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn is_a_set(steps in prop::collection::vec((any::<bool>(), 0..4u8, 0..150_000u64, 1..100u64), 1..20)) {
            let (mut set, mut plain) = (KeySet::default(), BTreeSet::new());
            for (is_in, what, at, count) in steps {
                let (first, step, count) = match what {
                    0 => (at, 1, count),
                    1 => (at, 1, count * 100),
                    // Many ranges in one part, so that it becomes a bitmap, and back.
                    2 => (at, 2, count * 100),
                    _ if at % 4 == 0 => (at & !0xffff, 1, 0x1_0000),
                    _ => (at, 1, count),
                };
                if step == 1 {
                    let before = plain.len();
                    match is_in {
                        true => {
                            plain.extend(first..first + count);
                            prop_assert_eq!(set.insert(first, first + count), (plain.len() - before) as u64);
                        }
                        false => {
                            (first..first + count).for_each(|key| _ = plain.remove(&key));
                            prop_assert_eq!(set.remove(first, first + count), (before - plain.len()) as u64);
                        }
                    }
                } else {
                    for key in (first..first + count).step_by(2) {
                        match is_in {
                            true => prop_assert_eq!(set.insert(key, key + 1), u64::from(plain.insert(key))),
                            false => prop_assert_eq!(set.remove(key, key + 1), u64::from(plain.remove(&key))),
                        }
                    }
                }
                check(&set, &plain, &[0, first.saturating_sub(1), first, first + count / 2, first + count]);
            }
            let anew = set.ranges().fold(KeySet::default(), |mut anew, (first, end)| {
                anew.insert(first, end);
                anew
            });
            prop_assert_eq!(&anew, &set);
            prop_assert_eq!(set.remove(0, u64::MAX), plain.len() as u64);
            prop_assert!(set.parts.is_empty());
        }
    }

    #[test]
    fn every_second_of_ten_million_takes_little() {
        let mut set = KeySet::default();
        for key in (0..10_000_000).step_by(2) {
            set.insert(key, key + 1);
        }
        assert_eq!(set.len(), 5_000_000);
        assert!(set.bytes() < 1_300_000, "{}", set.bytes());
        let mut set = KeySet::default();
        set.insert(1, 1_000_000_000);
        assert!(set.bytes() < 1_000_000, "{}", set.bytes());
        assert_eq!(set.next_out(1), 1_000_000_000);
    }
}
