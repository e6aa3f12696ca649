// SPDX-License-Identifier: Apache-2.0
//! A partition's producers by id: usually one or two, sometimes a hundred thousand.
//!
//! Owns: how they are kept. Must not know: what a producer may do (`producers.rs`), when it is forgotten.
//!
//! A node of a `BTreeMap` has room for eleven, 1.3 KB of them, which 100,000 partitions with one producer each would pay for. So a few
//! stand in a row, without room to spare; more than `FEW_MAX` in a tree, where one that comes or goes moves no others.
//! Invariant: whichever it is, the order is that of the ids, and equality is that of what is kept.

use crate::log::producers::Producer;
use model::ProducerId;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::slice;

/// From here on a tree takes less time, and little more memory.
const FEW_MAX: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub struct PartitionProducers(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Few(Vec<(ProducerId, Producer)>),
    #[expect(clippy::box_collection, reason = "it is rare, and would make every partition eight bytes larger")]
    Many(Box<BTreeMap<ProducerId, Producer>>),
}

impl Default for PartitionProducers {
    fn default() -> PartitionProducers {
        PartitionProducers(Kept::Few(Vec::new()))
    }
}

impl PartitionProducers {
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.len(),
            Kept::Many(many) => many.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        match &self.0 {
            Kept::Few(few) => few.iter().find(|(known, _)| *known == id).map(|(_, producer)| producer),
            Kept::Many(many) => many.get(&id),
        }
    }

    pub fn get_mut(&mut self, id: ProducerId) -> Option<&mut Producer> {
        match &mut self.0 {
            Kept::Few(few) => few.iter_mut().find(|(known, _)| *known == id).map(|(_, producer)| producer),
            Kept::Many(many) => many.get_mut(&id),
        }
    }

    /// Takes a producer in, in place of what was known of it.
    pub fn insert(&mut self, id: ProducerId, producer: Producer) {
        match &mut self.0 {
            Kept::Few(few) => match few.binary_search_by_key(&id, |(known, _)| *known) {
                Ok(at) => few[at].1 = producer,
                Err(_) if few.len() == FEW_MAX => {
                    let mut many: BTreeMap<ProducerId, Producer> = few.drain(..).collect();
                    many.insert(id, producer);
                    self.0 = Kept::Many(Box::new(many));
                }
                Err(at) => {
                    // By half: a growth of its own would begin with room for four.
                    if few.len() == few.capacity() {
                        few.reserve_exact((few.len() / 2).max(1));
                    }
                    few.insert(at, (id, producer));
                }
            },
            Kept::Many(many) => drop(many.insert(id, producer)),
        }
    }

    pub fn remove(&mut self, id: ProducerId) -> Option<Producer> {
        match &mut self.0 {
            Kept::Few(few) => {
                let at = few.binary_search_by_key(&id, |(known, _)| *known).ok()?;
                let (_, producer) = few.remove(at);
                if few.is_empty() {
                    *few = Vec::new();
                }
                Some(producer)
            }
            Kept::Many(many) => {
                let producer = many.remove(&id)?;
                // Half of the bound, so that one that comes and goes does not turn it round each time.
                if many.len() <= FEW_MAX / 2 {
                    self.0 = Kept::Few(std::mem::take(&mut **many).into_iter().collect());
                }
                Some(producer)
            }
        }
    }

    pub fn clear(&mut self) {
        *self = PartitionProducers::default();
    }

    /// By id, ascending.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Kept::Few(few) => Iter::Few(few.iter()),
            Kept::Many(many) => Iter::Many(many.iter()),
        }
    }

    /// Does something to each, by id, ascending.
    pub fn each_mut(&mut self, mut change: impl FnMut(ProducerId, &mut Producer)) {
        match &mut self.0 {
            Kept::Few(few) => few.iter_mut().for_each(|(id, producer)| change(*id, producer)),
            Kept::Many(many) => many.iter_mut().for_each(|(id, producer)| change(*id, producer)),
        }
    }
}

impl PartialEq for PartitionProducers {
    fn eq(&self, other: &PartitionProducers) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for PartitionProducers {}

/// See [`PartitionProducers::iter`].
pub enum Iter<'a> {
    Few(slice::Iter<'a, (ProducerId, Producer)>),
    Many(btree_map::Iter<'a, ProducerId, Producer>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (ProducerId, &'a Producer);

    fn next(&mut self) -> Option<(ProducerId, &'a Producer)> {
        match self {
            Iter::Few(few) => few.next().map(|(id, producer)| (*id, producer)),
            Iter::Many(many) => many.next().map(|(id, producer)| (*id, producer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProducerEpoch;
    use proptest::prelude::*;

    fn producer(epoch: i16) -> Producer {
        Producer::new(ProducerEpoch(epoch))
    }

    proptest! {
        #[test]
        fn few_or_many_they_are_kept_like_a_map(steps in proptest::collection::vec((0..40i64, any::<i16>(), 0..3u8), 0..200)) {
            let mut kept = PartitionProducers::default();
            let mut plain = BTreeMap::new();
            for (id, epoch, what) in steps {
                let id = ProducerId(id);
                match what {
                    0 => prop_assert_eq!(kept.remove(id), plain.remove(&id)),
                    _ => {
                        kept.insert(id, producer(epoch));
                        plain.insert(id, producer(epoch));
                    }
                }
                prop_assert_eq!(kept.get(id), plain.get(&id));
                prop_assert_eq!(kept.get_mut(id), plain.get_mut(&id));
                prop_assert_eq!(kept.len(), plain.len());
                prop_assert!(kept.iter().eq(plain.iter().map(|(id, producer)| (*id, producer))));
            }
        }
    }

    #[test]
    fn one_producer_takes_the_room_of_one() {
        let mut kept = PartitionProducers::default();
        kept.insert(ProducerId(1), producer(0));
        assert!(matches!(&kept.0, Kept::Few(few) if few.capacity() == 1));
        assert!(size_of::<(ProducerId, Producer)>() <= 120);
    }
}
