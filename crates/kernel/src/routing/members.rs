// SPDX-License-Identifier: Apache-2.0
//! Where bindings of one place lead: destinations, each with how many bindings lead there.
//!
//! Owns: how they are kept. Must not know: why a message comes here.
//!
//! One binding a place is the usual case, a hundred thousand (a fanout) the other. Few stand in a row that is copied on a change; more in
//! a persistent tree of rows, so that a walk over all of them goes along rows. Either way a clone costs nothing.
//! Invariant: no row is empty or longer than `ROW_MAX`; all rows one after the other ascend.

use crate::routing::Destination;
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;

/// A longer row is parted: a change of a row copies all of it, 4 KiB.
const ROW_MAX: usize = 128;

/// Ascending, each with how many bindings lead there.
type Row = Arc<[(Destination, u32)]>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Members {
    Few(Row),
    /// By their first.
    Many(RedBlackTreeMapSync<Destination, Row>),
}

impl Default for Members {
    fn default() -> Members {
        Members::Few(Arc::default())
    }
}

fn with(row: &[(Destination, u32)], destination: Destination) -> Vec<(Destination, u32)> {
    match row.binary_search_by_key(&destination, |(known, _)| *known) {
        Ok(at) => {
            let mut row = row.to_vec();
            row[at].1 += 1;
            row
        }
        Err(at) => [&row[..at], &[(destination, 1)], &row[at..]].concat(),
    }
}

fn without(row: &[(Destination, u32)], destination: Destination) -> Vec<(Destination, u32)> {
    let mut row = row.to_vec();
    if let Ok(at) = row.binary_search_by_key(&destination, |(known, _)| *known) {
        match row[at].1 {
            1 => drop(row.remove(at)),
            _ => row[at].1 -= 1,
        }
    }
    row
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Members::Few(few) if few.is_empty())
    }

    pub(super) fn each(&self, take: &mut impl FnMut(Destination)) {
        match self {
            Members::Few(row) => row.iter().for_each(|(destination, _)| take(*destination)),
            Members::Many(rows) => {
                rows.values().for_each(|row| row.iter().for_each(|(destination, _)| take(*destination)));
            }
        }
    }

    /// One binding more.
    pub(super) fn add(&mut self, destination: Destination) {
        match self {
            Members::Few(row) => {
                let row = with(row, destination);
                if row.len() <= ROW_MAX {
                    return *self = Members::Few(row.into());
                }
                let mut rows = RedBlackTreeMapSync::default();
                put(&mut rows, &row);
                *self = Members::Many(rows);
            }
            Members::Many(rows) => {
                let row = take_row(rows, destination);
                put(rows, &with(&row, destination));
            }
        }
    }

    /// One binding less.
    pub(super) fn remove(&mut self, destination: Destination) {
        match self {
            Members::Few(row) => *row = without(row, destination).into(),
            Members::Many(rows) => {
                let row = take_row(rows, destination);
                put(rows, &without(&row, destination));
                if rows.size() <= 1 {
                    *self = Members::Few(rows.values().next().cloned().unwrap_or_default());
                }
            }
        }
    }
}

/// Takes out the row that a destination stands in, or would.
fn take_row(rows: &mut RedBlackTreeMapSync<Destination, Row>, destination: Destination) -> Row {
    let found = rows.range(..=destination).next_back().or_else(|| rows.first());
    let Some((first, row)) = found.map(|(first, row)| (*first, row.clone())) else { return Row::default() };
    rows.remove_mut(&first);
    row
}

fn put(rows: &mut RedBlackTreeMapSync<Destination, Row>, row: &[(Destination, u32)]) {
    let at = if row.len() > ROW_MAX { row.len() / 2 } else { row.len() };
    for part in [&row[..at], &row[at..]] {
        if let Some((first, _)) = part.first() {
            rows.insert_mut(*first, part.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::PartitionId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn counts_as_a_map_does(steps in prop::collection::vec((0..700u64, 0..5u8), 1..2_000)) {
            let (mut members, mut plain) = (Members::default(), BTreeMap::<u64, u32>::new());
            for (number, what) in steps {
                let queue = Destination::Queue(PartitionId(number));
                if what > 0 {
                    members.add(queue);
                    *plain.entry(number).or_default() += 1;
                } else {
                    members.remove(queue);
                    if let Some(count) = plain.get_mut(&number) {
                        *count -= 1;
                        if *count == 0 {
                            plain.remove(&number);
                        }
                    }
                }
            }
            let mut found = Vec::new();
            members.each(&mut |destination| found.push(destination));
            let expected: Vec<_> = plain.keys().map(|number| Destination::Queue(PartitionId(*number))).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(members.is_empty(), plain.is_empty());
            for (number, count) in plain {
                (0..count).for_each(|_| members.remove(Destination::Queue(PartitionId(number))));
            }
            prop_assert!(members.is_empty());
        }
    }
}
