// SPDX-License-Identifier: Apache-2.0
//! Is there one order of everything that clients did to a partition, each operation somewhere between its invoke and its end, in
//! which a plain log would have answered the same?
//!
//! Owns: the search (after Wing and Gong; states met before are not searched again, as Lowe does) and its bounds. Must not know: the
//! rules of the checker beside it, which are cheaper and say better what is wrong; this one needs no rule to be thought of first.
//!
//! The log of a state is told by its length and a hash of all its records, each hash made from the one before ("prefix hash"), so that
//! a state is three numbers: two orders of the same operations that lead to the same records in the same places are one state. An
//! operation without an outcome may take effect at any later time, until a restart ends what was given up before it, or never. Where a record was once seen is where its send took
//! effect, if it did: that keeps the search narrow.
//!
//! Left out are partitions that lose records by themselves (retention), were removed, or of which everything was trimmed without an
//! answer that says how far, and histories with damage. Compaction is not known here.

use crate::history::{Event, History, Op};
use crate::rng::scatter;
use std::collections::{BTreeMap, BTreeSet};

/// What came of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linear {
    /// Partitions for which an order was found.
    pub found: u64,
    /// Partitions with more operations than [`OPERATIONS_MAX`], or whose search took more than [`STEPS_MAX`]: of those nothing is known.
    pub given_up: u64,
    /// The first partition without any order, in words.
    pub wrong: Option<String>,
}

/// A longer history of one partition is not searched.
pub const OPERATIONS_MAX: usize = 4_000;
/// More operations are not tried for one partition, those taken back included.
pub const STEPS_MAX: u64 = 50_000;

/// Searches the history of every partition.
pub fn check(history: &History) -> Linear {
    let mut linear = Linear::default();
    for (partition, operations) in operations(history) {
        if operations.len() > OPERATIONS_MAX {
            linear.given_up += 1;
            continue;
        }
        match Search::new(&operations).run() {
            Ok(true) => linear.found += 1,
            Ok(false) => linear.given_up += 1,
            Err(op) => {
                let what = operations.iter().find(|operation| operation.op == op).map(|operation| &operation.what);
                let wrong = format!("no order explains partition {partition}: op {op} fits nowhere: {what:?}");
                linear.wrong.get_or_insert(wrong);
            }
        }
    }
    linear
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Append {
        first: u64,
        count: u32,
        /// Where it was told or seen to stand.
        at: Option<u64>,
    },
    Read {
        /// Offset, first value, how many.
        seen: Vec<(u64, u64, u32)>,
        start: Option<u64>,
        high: Option<u64>,
    },
    Trim {
        /// `None`: everything that was visible when this was decided, which may be less than when it takes effect.
        before: Option<u64>,
        /// Where the partition began then.
        start: Option<u64>,
    },
}

#[derive(Clone, Debug)]
struct Operation {
    op: Op,
    /// Places in the history. Without an end nobody knows its outcome.
    began: usize,
    ended: Option<usize>,
    /// Without an outcome it has its effect before this or never.
    last: usize,
    what: What,
}

/// What is known of each partition's operations, by their beginning; none of partitions that are left out.
fn operations(history: &History) -> BTreeMap<u64, Vec<Operation>> {
    let mut open: BTreeMap<Op, (u64, Operation)> = BTreeMap::new();
    let mut done: Vec<(u64, Operation)> = Vec::new();
    let mut left_out: BTreeSet<u64> = BTreeSet::new();
    let mut given_up: Vec<Op> = Vec::new();
    let mut places: BTreeMap<u64, u64> = BTreeMap::new();
    for (now, entry) in history.entries().iter().enumerate() {
        let read = || What::Read { seen: Vec::new(), start: None, high: None };
        let mut begin = |op, partition, what| {
            open.insert(op, (partition, Operation { op, began: now, ended: None, last: usize::MAX, what }));
        };
        match entry.event {
            Event::Send { op, partition, first, count, .. } => {
                begin(op, partition, What::Append { first, count, at: None })
            }
            Event::Read { op, partition, .. } | Event::Look { op, partition, .. } => begin(op, partition, read()),
            Event::Trim { op, partition, before } => begin(op, partition, What::Trim { before, start: None }),
            Event::SendOk { op, offset } => {
                end(&mut open, &mut done, op, now, |what| {
                    if let What::Append { at, .. } = what {
                        *at = Some(offset);
                    }
                });
            }
            Event::Saw { op, offset, first, count } => {
                if let Some((_, Operation { what: What::Read { seen, .. }, .. })) = open.get_mut(&op) {
                    seen.push((offset, first, count));
                }
                for step in 0..u64::from(count) {
                    places.entry(first.saturating_add(step)).or_insert(offset + step);
                }
            }
            Event::ReadOk { op, start, high }
            | Event::ReadOutOfRange { op, start, high }
            | Event::LookOk { op, start, high } => {
                end(&mut open, &mut done, op, now, |what| {
                    if let What::Read { start: first, high: last, .. } = what {
                        (*first, *last) = (start, high);
                    }
                });
            }
            Event::TrimOk { op, start } => {
                end(&mut open, &mut done, op, now, |what| {
                    if let What::Trim { start: first, .. } = what {
                        *first = Some(start);
                    }
                });
            }
            // Refused: it did nothing, and if it did, what it did fits nowhere.
            Event::SendFail { op } | Event::ReadFail { op } | Event::LookFail { op } | Event::TrimFail { op } => {
                open.remove(&op);
            }
            Event::SendInfo { op } => given_up.push(op),
            // What was sent and given up before has no effect any more.
            Event::Restart { .. } => {
                for op in given_up.drain(..) {
                    if let Some((_, operation)) = open.get_mut(&op) {
                        operation.last = now;
                    }
                }
            }
            Event::Expires { partition } | Event::Drop { partition, .. } => {
                left_out.insert(partition);
            }
            Event::Damage => return BTreeMap::new(),
            _ => {}
        }
    }
    for (partition, operation) in open.values() {
        if matches!(operation.what, What::Trim { before: None, .. }) {
            left_out.insert(*partition);
        }
    }
    // What has no outcome may have had an effect; a read has none.
    done.extend(open.into_values().filter(|(_, operation)| !matches!(operation.what, What::Read { .. })));
    let mut by_partition: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    for (partition, mut operation) in done {
        if left_out.contains(&partition) {
            continue;
        }
        if let What::Append { first, at, .. } = &mut operation.what {
            *at = at.or_else(|| places.get(first).copied());
        }
        by_partition.entry(partition).or_default().push(operation);
    }
    for operations in by_partition.values_mut() {
        operations.sort_by_key(|operation| operation.began);
    }
    by_partition
}

fn end(
    open: &mut BTreeMap<Op, (u64, Operation)>,
    done: &mut Vec<(u64, Operation)>,
    op: Op,
    now: usize,
    told: impl FnOnce(&mut What),
) {
    if let Some((partition, mut operation)) = open.remove(&op) {
        operation.ended = Some(now);
        told(&mut operation.what);
        done.push((partition, operation));
    }
}

/// What to do to a state to take an operation back.
enum Undo {
    Nothing,
    Shorten(u32),
    Start(u64),
}

struct Search<'a> {
    operations: &'a [Operation],
    taken: Vec<bool>,
    /// Those before this are taken.
    first_open: usize,
    /// With an outcome, and not taken.
    left: usize,
    taken_hash: u64,
    /// The latest beginning among those taken.
    latest_began: usize,
    /// The log: every record's value, and the hash of all up to it.
    records: Vec<(u64, u64)>,
    start: u64,
    met: BTreeSet<(u64, u64)>,
    steps: u64,
}

/// An operation taken, how to take it back, and those that may be tried in its stead.
struct Level {
    taken: usize,
    undo: Undo,
    latest_began: usize,
    others: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Search<'a> {
        Search {
            operations,
            taken: vec![false; operations.len()],
            first_open: 0,
            left: operations.iter().filter(|operation| operation.ended.is_some()).count(),
            taken_hash: 0,
            latest_began: 0,
            records: Vec::new(),
            start: 0,
            met: BTreeSet::new(),
            steps: 0,
        }
    }

    /// True: there is an order. False: nobody knows.
    ///
    /// # Errors
    /// There is none; the operation at which the longest attempt ended.
    fn run(mut self) -> Result<bool, Op> {
        let mut levels: Vec<Level> = Vec::new();
        let mut candidates = self.candidates();
        let (mut fewest_left, mut stuck_at) = (usize::MAX, self.first_to_end());
        while self.left > 0 {
            if self.left < fewest_left {
                (fewest_left, stuck_at) = (self.left, self.first_to_end());
            }
            let Some(next) = candidates.pop() else {
                let Some(Level { taken, undo, latest_began, others }) = levels.pop() else {
                    return Err(stuck_at.map_or(0, |at| self.operations[at].op));
                };
                self.take_back(taken, undo);
                self.latest_began = latest_began;
                candidates = others;
                continue;
            };
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Ok(false);
            }
            let Some(undo) = self.take(next) else { continue };
            let records_hash = self.records.last().map_or(0, |(_, hash)| *hash);
            let state = scatter(records_hash ^ scatter(self.records.len() as u64 ^ self.start.rotate_left(32)));
            if !self.met.insert((self.taken_hash, state)) {
                self.take_back(next, undo);
                continue;
            }
            levels.push(Level {
                taken: next,
                undo,
                latest_began: self.latest_began,
                others: std::mem::take(&mut candidates),
            });
            self.latest_began = self.latest_began.max(self.operations[next].began);
            candidates = self.candidates();
        }
        Ok(true)
    }

    /// Of those not taken, the one that ended first.
    fn first_to_end(&self) -> Option<usize> {
        let open = (self.first_open..self.operations.len()).filter(|at| !self.taken[*at]);
        open.filter(|at| self.operations[*at].ended.is_some()).min_by_key(|at| self.operations[*at].ended)
    }

    /// What may come next: whatever began before anything not taken ended. The best guess stands last: what has an outcome, the
    /// first to end of those; then what was seen to happen; then what perhaps never did.
    fn candidates(&self) -> Vec<usize> {
        let mut end = usize::MAX;
        let mut candidates = Vec::new();
        for at in self.first_open..self.operations.len() {
            let operation = &self.operations[at];
            if operation.began > end {
                break;
            }
            if !self.taken[at] {
                end = end.min(operation.ended.unwrap_or(usize::MAX));
                candidates.push(at);
            }
        }
        let next = self.records.len() as u64;
        candidates.retain(|at| {
            let operation = &self.operations[*at];
            operation.began < end && operation.last > self.latest_began && self.may_fit(*at, next)
        });
        let rank = |at: &usize| match &self.operations[*at] {
            Operation { ended: Some(ended), .. } => *ended,
            Operation { what: What::Append { at: Some(_), .. }, .. } => usize::MAX - 1,
            _ => usize::MAX,
        };
        candidates.sort_by_key(|at| std::cmp::Reverse(rank(at)));
        candidates
    }

    /// Not for certain that it does.
    fn may_fit(&self, at: usize, next: u64) -> bool {
        match &self.operations[at].what {
            What::Append { at, .. } => at.is_none_or(|at| at == next),
            What::Read { high, .. } => high.is_none_or(|high| high == next),
            What::Trim { .. } => true,
        }
    }

    /// Lets the log do it; `None` when it would have answered otherwise.
    fn take(&mut self, at: usize) -> Option<Undo> {
        let next = self.records.len() as u64;
        let undo = match &self.operations[at].what {
            What::Append { at: place, .. } if place.is_some_and(|place| place != next) => return None,
            What::Append { first, count, .. } => {
                for step in 0..u64::from(*count) {
                    let before = self.records.last().map_or(0, |(_, hash)| *hash);
                    let value = first.saturating_add(step);
                    self.records.push((value, scatter(before ^ scatter(value))));
                }
                Undo::Shorten(*count)
            }
            What::Read { seen, start, high } => {
                let told = start.is_none_or(|start| start == self.start) && high.is_none_or(|high| high == next);
                let stand = |(offset, first, count): &(u64, u64, u32)| {
                    let (from, count) = (*offset as usize, *count as usize);
                    let stood = self.records.get(from..from.saturating_add(count));
                    stood.is_some_and(|stood| stood.iter().zip(*first..).all(|((value, _), seen)| *value == seen))
                };
                if !told || !seen.iter().all(stand) {
                    return None;
                }
                Undo::Nothing
            }
            What::Trim { before, start } => {
                // Of what is not told how far it went, nothing is searched.
                let before = before.or(*start).unwrap_or(next);
                let moved = self.start.max(before);
                if before > next || start.is_some_and(|start| start != moved) {
                    return None;
                }
                Undo::Start(std::mem::replace(&mut self.start, moved))
            }
        };
        self.mark(at, true);
        Some(undo)
    }

    fn take_back(&mut self, at: usize, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Shorten(count) => self.records.truncate(self.records.len() - count as usize),
            Undo::Start(start) => self.start = start,
        }
        self.mark(at, false);
    }

    fn mark(&mut self, at: usize, taken: bool) {
        self.taken[at] = taken;
        self.taken_hash ^= scatter(at as u64 + 1);
        if self.operations[at].ended.is_some() {
            self.left = if taken { self.left - 1 } else { self.left + 1 };
        }
        if taken {
            while self.taken.get(self.first_open) == Some(&true) {
                self.first_open += 1;
            }
        } else {
            self.first_open = self.first_open.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(text: &str) -> Linear {
        check(&History::parse(&format!("polylog-history 1\n{text}")).expect("a history"))
    }

    #[track_caller]
    fn explained(text: &str) {
        let linear = search(text);
        assert_eq!((linear.found, linear.wrong), (1, None));
    }

    #[track_caller]
    fn not_explained(text: &str) {
        let linear = search(text);
        assert!(linear.wrong.is_some(), "{linear:?}");
    }

    const SENT: &str = "1 invoke send 1 client=0 partition=7 values=10+2\n2 ok send 1 offset=0\n";

    #[test]
    fn one_thing_after_another_is_an_order() {
        explained(&format!(
            "{SENT}3 invoke read 2 client=9 partition=7 from=0\n4 saw 2 offset=0 values=10+2\n5 ok read 2 start=0 high=2\n"
        ));
    }

    #[test]
    fn a_read_that_began_before_a_send_ended_may_or_may_not_see_it() {
        for seen in ["4 saw 2 offset=0 values=10+2\n5 ok read 2 start=0 high=2\n", "5 ok read 2 start=0 high=0\n"] {
            explained(&format!(
                "1 invoke send 1 client=0 partition=7 values=10+2\n2 invoke read 2 client=9 partition=7 from=0\n\
                 3 ok send 1 offset=0\n{seen}"
            ));
        }
    }

    #[test]
    fn a_read_that_began_after_a_send_ended_must_see_it() {
        not_explained(&format!("{SENT}3 invoke read 2 client=9 partition=7 from=0\n4 ok read 2 start=0 high=0\n"));
    }

    #[test]
    fn what_one_reader_saw_a_later_one_sees_too_though_nobody_knows_the_senders_fate() {
        let begun = "1 invoke send 1 client=0 partition=7 values=10+1\n2 info send 1\n\
                     3 invoke read 2 client=9 partition=7 from=0\n4 saw 2 offset=0 values=10+1\n5 ok read 2 start=0 high=1\n\
                     6 invoke read 3 client=8 partition=7 from=0\n";
        explained(&format!("{begun}7 saw 3 offset=0 values=10+1\n8 ok read 3 start=0 high=1\n"));
        not_explained(&format!("{begun}8 ok read 3 start=0 high=0\n"));
    }

    #[test]
    fn a_send_without_an_outcome_happens_late_or_never() {
        let begun = "1 invoke send 1 client=0 partition=7 values=10+1\n2 info send 1\n\
                     3 invoke send 2 client=1 partition=7 values=20+1\n4 ok send 2 offset=0\n\
                     5 invoke read 3 client=9 partition=7 from=0\n6 saw 3 offset=0 values=20+1\n";
        explained(&format!("{begun}8 ok read 3 start=0 high=1\n"));
        explained(&format!("{begun}7 saw 3 offset=1 values=10+1\n8 ok read 3 start=0 high=2\n"));
        not_explained(&format!(
            "{begun}8 ok read 3 start=0 high=2\n9 invoke look 4 client=9 partition=7\n10 ok look 4 high=1\n"
        ));
    }

    #[test]
    fn what_was_given_up_does_not_happen_after_a_restart() {
        let begun = "1 invoke send 1 client=0 partition=7 values=10+1\n2 info send 1\n3 restart kill\n\
                     4 invoke look 2 client=9 partition=7\n5 ok look 2 high=";
        explained(&format!("{begun}1\n"));
        not_explained(&format!("{begun}0\n6 invoke look 3 client=9 partition=7\n7 ok look 3 high=1\n"));
    }

    #[test]
    fn records_in_another_order_than_an_earlier_read_saw_fit_nowhere() {
        not_explained(
            "1 invoke send 1 client=0 partition=7 values=10+1\n2 invoke send 2 client=1 partition=7 values=20+1\n\
             3 ok send 1 offset=0\n4 ok send 2 offset=1\n5 invoke read 3 client=9 partition=7 from=0\n\
             6 saw 3 offset=0 values=20+1\n7 saw 3 offset=1 values=10+1\n8 ok read 3 start=0 high=2\n",
        );
    }

    #[test]
    fn a_refused_send_that_shows_fits_nowhere() {
        not_explained(
            "1 invoke send 1 client=0 partition=7 values=10+1\n2 fail send 1\n3 invoke read 2 client=9 partition=7 from=0\n\
             4 saw 2 offset=0 values=10+1\n5 ok read 2 start=0 high=1\n",
        );
    }

    #[test]
    fn a_trim_moves_the_start_between_its_invoke_and_its_end_and_for_good() {
        let trimmed = format!("{SENT}3 invoke trim 2 partition=7 before=1\n4 ok trim 2 start=1\n");
        explained(&format!("{trimmed}5 invoke look 3 client=9 partition=7\n6 ok look 3 start=1 high=2\n"));
        not_explained(&format!("{trimmed}5 invoke look 3 client=9 partition=7\n6 ok look 3 start=0 high=2\n"));
    }

    #[test]
    fn everything_is_trimmed_up_to_what_was_visible_when_that_was_decided() {
        let text = format!(
            "{SENT}3 invoke send 2 client=0 partition=7 values=20+1\n4 invoke trim 3 partition=7\n5 ok send 2 offset=2\n\
             6 invoke look 4 client=9 partition=7\n7 ok look 4 start=0 high=3\n8 ok trim 3 start=2\n"
        );
        explained(&text);
        not_explained(&text.replace("trim 3 start=2", "trim 3 start=4"));
    }

    #[test]
    fn many_at_once_of_unknown_fate_are_searched_within_bounds() {
        let mut text = String::new();
        for op in 0..40 {
            text +=
                &format!("1 invoke send {op} client=0 partition=7 values={}+1\n2 info send {op}\n", 1000 * (op + 1));
        }
        text += "3 invoke look 90 client=9 partition=7\n4 ok look 90 start=0 high=41\n";
        let linear = search(&text);
        assert_eq!((linear.found, linear.given_up), (0, 1), "{linear:?}");
    }
}
