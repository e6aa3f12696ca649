// SPDX-License-Identifier: Apache-2.0
//! Judges a history: was every promise of a log kept?
//!
//! Owns: the rules ([`Rule`]), one pass over the events and one over what they add up to, in O(n log n).
//! Must not know: who made the history, or how the product works. It believes only what clients saw.
//!
//! What "readable" means: it was read again after `drain`. So a history without a full final read shows acknowledged records as lost.

mod commits;
pub mod linear;

use crate::history::{Event, History, Op};
use commits::Commits;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An acknowledged record is readable at the end, unless it was trimmed.
    AckedIsReadable,
    /// What anyone ever saw is still there at the end, unless it was trimmed.
    SeenDoesNotVanish,
    /// An offset has one value for ever.
    OneValueAnOffset,
    /// A value has one offset for ever: one send lands once.
    OnceOnly,
    /// A refused send is never seen.
    FailedIsNeverSeen,
    /// Nobody sees what nobody sent, or a damaged payload.
    NothingInvented,
    /// A client's records stand in a partition in the order in which it sent them.
    ProducerOrder,
    /// A read returns neighbouring offsets, from the one asked for on.
    ContiguousReads,
    /// Start and high watermark never go back, and reach what was acknowledged before.
    WatermarksNeverBack,
    /// Records go only where someone trimmed.
    TrimsConserve,
    /// A partition that nobody removed is there; a removed one does not come back.
    PartitionsStay,
    /// Damage is reported only where damage was done.
    NoFalseAlarm,
    /// A committed offset is found again, or a later one.
    CommitsNeverBack,
    /// A refused commit is never found.
    RefusedCommitIsNeverFound,
    /// What is found was committed, there and so.
    CommitsNotInvented,
    /// What was forgotten does not come back.
    ForgottenStaysForgotten,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::AckedIsReadable => "an acknowledged record is readable",
            Rule::SeenDoesNotVanish => "what was seen does not vanish",
            Rule::OneValueAnOffset => "one value an offset for ever",
            Rule::OnceOnly => "one send lands once",
            Rule::FailedIsNeverSeen => "a refused send is never seen",
            Rule::NothingInvented => "nobody sees what nobody sent",
            Rule::ProducerOrder => "a producer's order is kept",
            Rule::ContiguousReads => "reads are contiguous",
            Rule::WatermarksNeverBack => "watermarks never go back",
            Rule::TrimsConserve => "records go only where someone trimmed",
            Rule::PartitionsStay => "partitions stay until they are removed",
            Rule::NoFalseAlarm => "damage is reported only where it was done",
            Rule::CommitsNeverBack => "a committed offset never goes back",
            Rule::RefusedCommitIsNeverFound => "a refused commit is never found",
            Rule::CommitsNotInvented => "nobody finds what nobody committed",
            Rule::ForgottenStaysForgotten => "a forgotten commit does not come back",
        })
    }
}

/// A promise broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    /// Where and how, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Verdict and figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first [`VIOLATIONS_MAX`] of them.
    pub violations: Vec<Violation>,
    /// How many there are of each rule.
    pub counts: BTreeMap<Rule, u64>,
    /// Records acknowledged.
    pub acked: u64,
    /// Records whose sender never learnt their fate.
    pub unknown: u64,
    /// Records seen after `drain`.
    pub drained: u64,
    /// Offsets committed, acknowledged.
    pub commits: u64,
}

/// More violations than this are counted, not described.
pub const VIOLATIONS_MAX: usize = 20;

impl Report {
    /// No promise was broken.
    pub fn clean(&self) -> bool {
        self.counts.is_empty()
    }

    fn count(&self, rules: &[Rule]) -> u64 {
        rules.iter().filter_map(|rule| self.counts.get(rule)).sum()
    }

    /// Records (or runs of them) acknowledged or seen, and not there.
    pub fn lost(&self) -> u64 {
        self.count(&[Rule::AckedIsReadable, Rule::SeenDoesNotVanish, Rule::PartitionsStay, Rule::TrimsConserve])
    }

    /// Records that stand twice.
    pub fn duplicated(&self) -> u64 {
        self.count(&[Rule::OnceOnly])
    }

    /// Offsets that mean another record than before, or none that was sent.
    pub fn moved(&self) -> u64 {
        self.count(&[
            Rule::OneValueAnOffset,
            Rule::NothingInvented,
            Rule::FailedIsNeverSeen,
            Rule::WatermarksNeverBack,
            Rule::NoFalseAlarm,
        ])
    }

    /// Records before one that was sent earlier, or reads that skip.
    pub fn reordered(&self) -> u64 {
        self.count(&[Rule::ProducerOrder, Rule::ContiguousReads])
    }

    /// Committed offsets that went back, or were never such.
    pub fn back(&self) -> u64 {
        self.count(&[
            Rule::CommitsNeverBack,
            Rule::RefusedCommitIsNeverFound,
            Rule::CommitsNotInvented,
            Rule::ForgottenStaysForgotten,
        ])
    }

    fn add(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        *self.counts.entry(rule).or_default() += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { rule, what: what() });
        }
    }
}

/// The payload of a record that was not made by any client. Give it as a value to `saw` when a payload is damaged.
pub const NOT_A_VALUE: u64 = u64::MAX;

/// Judges a history.
pub fn check(history: &History) -> Report {
    let mut checker = Checker::new(history);
    for entry in history.entries() {
        checker.take(&entry.event);
        checker.commits.take(entry, &mut checker.report);
    }
    checker.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unknown,
    Ok,
    Fail,
}

struct Sent {
    first: u64,
    count: u32,
    client: u32,
    partition: u64,
    outcome: Outcome,
    /// Where its first record stands, as first acknowledged or seen.
    base: Option<u64>,
}

/// An operation under way, and the watermarks that had been seen before it began.
struct Open {
    partition: u64,
    from: u64,
    next: u64,
    seen_high: u64,
    start_floor: u64,
    high_floor: u64,
    after_drop: bool,
    draining: bool,
}

const PAGE: usize = 512;

/// What stands at 512 neighbouring offsets.
struct Page {
    values: [u64; PAGE],
    /// Seen (not only acknowledged), seen after `drain`.
    seen: [u64; PAGE / 64],
    drained: [u64; PAGE / 64],
}

#[derive(Default)]
struct Partition {
    pages: BTreeMap<u64, Box<Page>>,
    start_floor: u64,
    high_floor: u64,
    /// How far trims that may have had an effect reach; `None` as everything.
    trims: Vec<(Op, u64)>,
    expires: bool,
    drop_asked: bool,
    drop_done: bool,
    /// Someone was told that it does not exist.
    absent: bool,
    /// Offsets at which a final read was answered "corrupt": lost, but not in silence.
    corrupt: BTreeSet<u64>,
}

impl Partition {
    fn page(&mut self, offset: u64) -> (&mut Page, usize) {
        let page = self.pages.entry(offset / PAGE as u64).or_insert_with(|| {
            Box::new(Page { values: [NOT_A_VALUE; PAGE], seen: [0; PAGE / 64], drained: [0; PAGE / 64] })
        });
        (page, (offset % PAGE as u64) as usize)
    }

    fn drained(&self, offset: u64) -> bool {
        let index = (offset % PAGE as u64) as usize;
        self.pages.get(&(offset / PAGE as u64)).is_some_and(|page| page.drained[index / 64] >> (index % 64) & 1 == 1)
    }

    fn trim_max(&self) -> u64 {
        if self.expires { u64::MAX } else { self.trims.iter().map(|(_, before)| *before).max().unwrap_or(0) }
    }
}

struct Checker {
    /// Sorted by first value.
    sent: Vec<Sent>,
    by_op: BTreeMap<Op, usize>,
    open: BTreeMap<Op, Open>,
    drops: BTreeMap<Op, u64>,
    trims: BTreeMap<Op, u64>,
    partitions: BTreeMap<u64, Partition>,
    draining: bool,
    damaged: bool,
    commits: Commits,
    report: Report,
}

impl Checker {
    fn new(history: &History) -> Checker {
        let mut report = Report::default();
        let mut sent = Vec::new();
        let mut ops = Vec::new();
        for entry in history.entries() {
            if let Event::Send { op, client, partition, first, count, .. } = entry.event {
                sent.push((op, Sent { first, count, client, partition, outcome: Outcome::Unknown, base: None }));
            }
        }
        sent.sort_by_key(|(_, sent)| sent.first);
        for pair in sent.windows(2) {
            if pair[0].1.first + u64::from(pair[0].1.count) > pair[1].1.first {
                report.add(Rule::NothingInvented, || {
                    format!("the history itself is wrong: two sends carry value {}", pair[1].1.first)
                });
            }
        }
        for (index, (op, _)) in sent.iter().enumerate() {
            ops.push((*op, index));
        }
        Checker {
            sent: sent.into_iter().map(|(_, sent)| sent).collect(),
            by_op: ops.into_iter().collect(),
            open: BTreeMap::new(),
            drops: BTreeMap::new(),
            trims: BTreeMap::new(),
            partitions: BTreeMap::new(),
            draining: false,
            damaged: false,
            commits: Commits::default(),
            report,
        }
    }

    fn take(&mut self, event: &Event) {
        match *event {
            Event::Send { op, partition, .. } => self.begin(op, partition, 0),
            Event::SendOk { op, offset } => {
                self.open.remove(&op);
                self.acknowledged(op, offset);
            }
            Event::SendFail { op } => {
                self.open.remove(&op);
                if let Some(index) = self.by_op.get(&op) {
                    self.sent[*index].outcome = Outcome::Fail;
                }
            }
            Event::SendInfo { op } | Event::ReadFail { op } | Event::LookFail { op } => {
                self.open.remove(&op);
            }
            Event::Read { op, partition, from, .. } => self.begin(op, partition, from),
            Event::Saw { op, offset, first, count } => self.saw(op, offset, first, count),
            Event::ReadOk { op, start, high } => {
                if let Some(open) = self.open.remove(&op) {
                    self.marks(&open, start, high);
                    if high.is_some_and(|high| open.seen_high > high) {
                        self.report.add(Rule::WatermarksNeverBack, || {
                            format!(
                                "op {op} saw partition {} up to offset {} with high watermark {high:?}",
                                open.partition, open.seen_high
                            )
                        });
                    }
                }
            }
            Event::ReadOutOfRange { op, start, high } => {
                if let Some(open) = self.open.remove(&op) {
                    self.marks(&open, start, high);
                    if let (Some(start), Some(high)) = (start, high)
                        && open.from >= start
                        && open.from <= high
                    {
                        self.report.add(Rule::ContiguousReads, || {
                            format!(
                                "op {op}: offset {} of partition {} called out of range {start}..={high}",
                                open.from, open.partition
                            )
                        });
                    }
                }
            }
            Event::ReadCorrupt { op } => {
                if let Some(open) = self.open.remove(&op) {
                    if !self.damaged {
                        self.report.add(Rule::NoFalseAlarm, || {
                            format!("op {op} on partition {} from {}", open.partition, open.from)
                        });
                    } else if open.draining {
                        self.partitions.entry(open.partition).or_default().corrupt.insert(open.from);
                    }
                }
            }
            Event::ReadAbsent { op } => {
                if let Some(open) = self.open.remove(&op) {
                    let state = self.partitions.entry(open.partition).or_default();
                    state.absent = true;
                    if !state.drop_asked {
                        self.report.add(Rule::PartitionsStay, || {
                            format!("op {op}: partition {} is said not to exist; nobody removed it", open.partition)
                        });
                    }
                }
            }
            Event::Look { op, partition, .. } => self.begin(op, partition, 0),
            Event::LookOk { op, start, high } => {
                if let Some(open) = self.open.remove(&op) {
                    self.marks(&open, start, high);
                }
            }
            Event::Trim { op, partition, before } => {
                self.begin(op, partition, 0);
                self.trims.insert(op, partition);
                let trims = &mut self.partitions.entry(partition).or_default().trims;
                trims.push((op, before.unwrap_or(u64::MAX)));
            }
            Event::TrimOk { op, start } => {
                if let Some(open) = self.open.remove(&op) {
                    self.marks(&open, Some(start), None);
                }
            }
            Event::TrimFail { op } => {
                self.open.remove(&op);
                if let Some(partition) = self.trims.remove(&op) {
                    self.partitions.entry(partition).or_default().trims.retain(|(other, _)| *other != op);
                }
            }
            Event::Expires { partition } => self.partitions.entry(partition).or_default().expires = true,
            Event::Drop { op, partition } => {
                self.drops.insert(op, partition);
                self.partitions.entry(partition).or_default().drop_asked = true;
            }
            Event::DropOk { op } => {
                if let Some(partition) = self.drops.remove(&op) {
                    self.partitions.entry(partition).or_default().drop_done = true;
                }
            }
            Event::DropFail { op } => {
                if let Some(partition) = self.drops.remove(&op) {
                    let asked = self.drops.values().any(|other| *other == partition);
                    let state = self.partitions.entry(partition).or_default();
                    state.drop_asked = asked || state.drop_done;
                }
            }
            Event::Restart { .. } => {}
            // `commits` takes them.
            Event::Commit { .. }
            | Event::CommitOk { .. }
            | Event::CommitFail { .. }
            | Event::CommitInfo { .. }
            | Event::Recall { .. }
            | Event::RecallOk { .. }
            | Event::RecallFail { .. }
            | Event::Forget { .. }
            | Event::ForgetOk { .. }
            | Event::ForgetFail { .. }
            | Event::ForgetInfo { .. }
            | Event::Lapses { .. } => {}
            Event::Damage => self.damaged = true,
            Event::Drain => self.draining = true,
        }
    }

    fn begin(&mut self, op: Op, partition: u64, from: u64) {
        let state = self.partitions.entry(partition).or_default();
        let open = Open {
            partition,
            from,
            next: from,
            seen_high: 0,
            start_floor: state.start_floor,
            high_floor: state.high_floor,
            // A removal may take a moment to reach everyone; from the first who was told, and after `drain`, it holds.
            after_drop: state.absent || (state.drop_done && self.draining),
            draining: self.draining,
        };
        self.open.insert(op, open);
    }

    fn acknowledged(&mut self, op: Op, offset: u64) {
        let Some(index) = self.by_op.get(&op).copied() else { return };
        let sent = &mut self.sent[index];
        sent.outcome = Outcome::Ok;
        let (partition, first, count) = (sent.partition, sent.first, sent.count);
        self.report.acked += u64::from(count);
        for step in 0..u64::from(count) {
            if !self.stands(index, partition, offset + step, first + step, "acknowledged") {
                break;
            }
        }
        let state = self.partitions.entry(partition).or_default();
        state.high_floor = state.high_floor.max(offset + u64::from(count));
    }

    /// Notes that a value stands at an offset; false when that cannot be.
    fn stands(&mut self, index: usize, partition: u64, offset: u64, value: u64, how: &str) -> bool {
        let sent = &mut self.sent[index];
        if sent.partition != partition {
            let of = sent.partition;
            self.report.add(Rule::NothingInvented, || {
                format!("value {value} was sent to partition {of}, {how} at offset {offset} of {partition}")
            });
            return false;
        }
        let base = offset.wrapping_sub(value - sent.first);
        let before = *sent.base.get_or_insert(base);
        let before = before.wrapping_add(value - sent.first);
        let (page, slot) = self.partitions.entry(partition).or_default().page(offset);
        let known = page.values[slot];
        if known == NOT_A_VALUE {
            page.values[slot] = value;
        } else if known != value {
            self.report.add(Rule::OneValueAnOffset, || {
                format!("offset {offset} of partition {partition} was value {known}, now {how}: value {value}")
            });
        }
        if before != offset {
            self.report.add(Rule::OnceOnly, || {
                format!("value {value} of partition {partition} stands at offset {before}, {how} at {offset} too")
            });
        }
        known == NOT_A_VALUE || known == value
    }

    fn sent_with(&self, value: u64) -> Option<usize> {
        let index = self.sent.partition_point(|sent| sent.first <= value).checked_sub(1)?;
        (value - self.sent[index].first < u64::from(self.sent[index].count)).then_some(index)
    }

    fn saw(&mut self, op: Op, offset: u64, first: u64, count: u32) {
        let Some(open) = self.open.get_mut(&op) else { return };
        let (partition, expected, draining) = (open.partition, open.next, open.draining);
        open.next = offset.saturating_add(u64::from(count));
        open.seen_high = open.seen_high.max(open.next);
        if std::mem::take(&mut open.after_drop) {
            self.report
                .add(Rule::PartitionsStay, || format!("op {op}: partition {partition} was removed, and is read"));
        }
        if expected != offset {
            self.report.add(Rule::ContiguousReads, || {
                format!("op {op} on partition {partition}: offset {offset} where {expected} was due")
            });
        }
        for step in 0..u64::from(count) {
            let (offset, value) = (offset.saturating_add(step), first.saturating_add(step));
            let index = if value == NOT_A_VALUE { None } else { self.sent_with(value) };
            let Some(index) = index else {
                self.report.add(Rule::NothingInvented, || {
                    let value =
                        if value == NOT_A_VALUE { "a damaged payload".into() } else { format!("value {value}") };
                    format!("op {op} saw {value} at offset {offset} of partition {partition}")
                });
                continue;
            };
            if self.stands(index, partition, offset, value, "seen") {
                let (page, slot) = self.partitions.entry(partition).or_default().page(offset);
                page.seen[slot / 64] |= 1 << (slot % 64);
                if draining {
                    page.drained[slot / 64] |= 1 << (slot % 64);
                    self.report.drained += 1;
                }
            }
        }
        let state = self.partitions.entry(partition).or_default();
        state.high_floor = state.high_floor.max(offset.saturating_add(u64::from(count)));
    }

    fn marks(&mut self, open: &Open, start: Option<u64>, high: Option<u64>) {
        let partition = open.partition;
        let state = self.partitions.entry(partition).or_default();
        if let Some(start) = start {
            if start < open.start_floor {
                self.report.add(Rule::WatermarksNeverBack, || {
                    format!("start of partition {partition} is {start}, it had been {}", open.start_floor)
                });
            }
            if start > state.trim_max() {
                let max = state.trim_max();
                self.report.add(Rule::TrimsConserve, || {
                    format!("partition {partition} starts at {start}; trims reach {max} at most")
                });
            }
            state.start_floor = state.start_floor.max(start);
        }
        if let Some(high) = high {
            if high < open.high_floor {
                self.report.add(Rule::WatermarksNeverBack, || {
                    format!("high watermark of partition {partition} is {high}, it had been {}", open.high_floor)
                });
            }
            state.high_floor = state.high_floor.max(high);
            if start.is_some_and(|start| start > high) {
                self.report.add(Rule::WatermarksNeverBack, || {
                    format!("partition {partition} starts at {start:?}, beyond its high watermark {high}")
                });
            }
        }
    }

    fn finish(mut self) -> Report {
        for sent in &self.sent {
            let first = sent.first;
            match sent.outcome {
                Outcome::Unknown => self.report.unknown += u64::from(sent.count),
                Outcome::Fail => {
                    if let Some(base) = sent.base {
                        self.report.add(Rule::FailedIsNeverSeen, || {
                            format!("value {first} was refused, and stands at {base} of partition {}", sent.partition)
                        });
                    }
                }
                Outcome::Ok => {
                    let (Some(base), Some(state)) = (sent.base, self.partitions.get(&sent.partition)) else { continue };
                    if state.drop_asked {
                        continue;
                    }
                    let start = state.start_floor;
                    let missing = (base..base + u64::from(sent.count))
                        .filter(|offset| *offset >= start && !state.drained(*offset) && !state.corrupt.contains(offset))
                        .count();
                    for _ in 0..missing {
                        self.report.add(Rule::AckedIsReadable, || {
                            format!("value {first} was acknowledged at offset {base} of partition {}", sent.partition)
                        });
                    }
                }
            }
        }
        self.vanished();
        self.producer_order();
        self.report
    }

    fn vanished(&mut self) {
        for (partition, state) in &self.partitions {
            if state.drop_asked {
                continue;
            }
            let start = state.start_floor;
            for (number, page) in &state.pages {
                for slot in 0..PAGE {
                    let offset = number * PAGE as u64 + slot as u64;
                    let (word, bit) = (slot / 64, slot % 64);
                    let seen = page.seen[word] >> bit & 1 == 1 && page.drained[word] >> bit & 1 == 0;
                    if offset >= start && seen && !state.corrupt.contains(&offset) {
                        let value = page.values[slot];
                        self.report.add(Rule::SeenDoesNotVanish, || {
                            format!("value {value} was seen at offset {offset} of partition {partition}")
                        });
                    }
                }
            }
        }
    }

    fn producer_order(&mut self) {
        let mut found = Vec::new();
        for (partition, state) in &self.partitions {
            let mut last: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            for (number, page) in &state.pages {
                for (slot, value) in page.values.iter().enumerate().filter(|(_, value)| **value != NOT_A_VALUE) {
                    let Some(index) = self.sent_with(*value) else { continue };
                    let offset = number * PAGE as u64 + slot as u64;
                    let client = self.sent[index].client;
                    if let Some((before, at)) = last.insert(client, (*value, offset))
                        && before > *value
                    {
                        found.push((*partition, client, before, at, *value, offset));
                    }
                }
            }
        }
        for (partition, client, before, at, value, offset) in found {
            self.report.add(Rule::ProducerOrder, || {
                format!(
                    "client {client} sent value {value} before {before}; partition {partition} has them at {offset} and {at}"
                )
            });
        }
    }
}

#[cfg(test)]
mod tests;
