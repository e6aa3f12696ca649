// SPDX-License-Identifier: Apache-2.0
//! Delivery tags: which deliveries of a channel are out, by the number that the client was told.
//!
//! Tags count up from 1 in each channel and never repeat; a delivery that needs no acknowledgement takes one too. An acknowledgement
//! names one tag that is out, or with `multiple` that one and all before it; 0 with `multiple` is all there are, even if there are
//! none. Anything else is an unknown tag, which closes the channel, as in RabbitMQ.
//!
//! Bound: as many as the caller lets out.

use std::collections::BTreeMap;

/// Not out: never told, or settled already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTag(pub u64);

/// See the module.
#[derive(Debug)]
pub struct Unacked<T> {
    last_tag: u64,
    out: BTreeMap<u64, T>,
}

impl<T> Default for Unacked<T> {
    fn default() -> Unacked<T> {
        Unacked { last_tag: 0, out: BTreeMap::new() }
    }
}

impl<T> Unacked<T> {
    /// The tag of a delivery that is settled with its sending.
    pub fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// The tag of a delivery that is out from now on.
    pub fn deliver(&mut self, delivery: T) -> u64 {
        let tag = self.next_tag();
        self.out.insert(tag, delivery);
        tag
    }

    /// What an acknowledgement names, in the order of delivery; none of it is out any more.
    ///
    /// # Errors
    /// [`UnknownTag`]: nothing changed.
    pub fn settle(&mut self, tag: u64, multiple: bool) -> Result<Vec<(u64, T)>, UnknownTag> {
        if tag == 0 && multiple {
            return Ok(self.take_all());
        }
        if !multiple {
            return self.out.remove(&tag).map(|delivery| vec![(tag, delivery)]).ok_or(UnknownTag(tag));
        }
        if !self.out.contains_key(&tag) {
            return Err(UnknownTag(tag));
        }
        let later = self.out.split_off(&(tag + 1));
        Ok(std::mem::replace(&mut self.out, later).into_iter().collect())
    }

    /// Takes back what was settled: the transaction that settled it was rolled back.
    pub fn put_back(&mut self, settled: Vec<(u64, T)>) {
        self.out.extend(settled);
    }

    /// Everything that is out, in the order of delivery.
    pub fn take_all(&mut self) -> Vec<(u64, T)> {
        std::mem::take(&mut self.out).into_iter().collect()
    }

    pub fn count(&self) -> usize {
        self.out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tag_is_settled_once() {
        let mut unacked = Unacked::default();
        assert_eq!([unacked.deliver('a'), unacked.next_tag(), unacked.deliver('c')], [1, 2, 3]);
        assert_eq!(unacked.settle(2, false), Err(UnknownTag(2)), "needs no acknowledgement");
        assert_eq!(unacked.settle(3, false), Ok(vec![(3, 'c')]));
        assert_eq!(unacked.settle(3, false), Err(UnknownTag(3)));
        assert_eq!(unacked.settle(3, true), Err(UnknownTag(3)), "though an earlier one is out");
        assert_eq!(unacked.settle(0, false), Err(UnknownTag(0)));
        assert_eq!(unacked.settle(u64::MAX, true), Err(UnknownTag(u64::MAX)));
        assert_eq!(unacked.settle(1, true), Ok(vec![(1, 'a')]));
        assert_eq!(unacked.settle(0, true), Ok(vec![]), "all of none");
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_what_is_out(steps in proptest::collection::vec((0..4u8, 0..20u64), 0..60)) {
            let mut unacked = Unacked::default();
            let mut model: Vec<u64> = Vec::new();
            let mut rolled_back = Vec::new();
            for (step, tag) in steps {
                match step {
                    0 => model.push(unacked.deliver(())),
                    1 | 2 => {
                        let multiple = step == 2;
                        let known = model.contains(&tag) || (tag == 0 && multiple);
                        let named = |out: &u64| *out == tag || (multiple && (*out < tag || tag == 0));
                        let expected: Vec<u64> = model.iter().copied().filter(named).collect();
                        match unacked.settle(tag, multiple) {
                            Err(UnknownTag(unknown)) => prop_assert!(!known && unknown == tag),
                            Ok(settled) => {
                                prop_assert!(known);
                                prop_assert_eq!(settled.iter().map(|(tag, ())| *tag).collect::<Vec<_>>(), expected);
                                model.retain(|out| !named(out));
                                rolled_back = settled;
                            }
                        }
                    }
                    _ => {
                        model.extend(rolled_back.iter().map(|(tag, ())| *tag));
                        model.sort_unstable();
                        unacked.put_back(std::mem::take(&mut rolled_back));
                    }
                }
                prop_assert_eq!(unacked.count(), model.len());
            }
        }
    }
}
