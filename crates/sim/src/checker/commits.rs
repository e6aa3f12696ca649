// SPDX-License-Identifier: Apache-2.0
//! Judges committed offsets: each group's offset of a partition is a register that commits write, deletions empty and recalls read.
//!
//! Owns: the four rules about them. Must not know: members, generations, who was allowed to commit what.
//!
//! A write lies between its invoke and its end: its outcome, or the next restart when nobody told one. A recall may find a write
//! that is not over yet; a write that was over before another began, which in turn was acknowledged (or found) before the recall
//! began, is overwritten, and to find it is to see the offset go back. So each register needs one number, its `floor`: where the
//! latest write that certainly happened began.

use super::{Report, Rule};
use crate::history::{Entry, Event, Op};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unknown,
    Ok,
    Fail,
}

/// A commit or a forgetting. Moments are counts of events.
struct Write {
    began: u64,
    ended: Option<u64>,
    outcome: Outcome,
    found: bool,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Commit { group: u32, partition: u64, offset: u64, at_us: u64 },
    Forget { group: Option<u32>, partition: u64, count: u64 },
}

impl What {
    fn forgets(&self, (group, partition): (u32, u64)) -> bool {
        match *self {
            What::Commit { .. } => false,
            What::Forget { group: of, partition: first, count } => {
                of.is_none_or(|of| of == group) && (first..first.saturating_add(count)).contains(&partition)
            }
        }
    }
}

/// One group's offset of one partition.
#[derive(Clone, Copy, Default)]
struct Register {
    /// When the latest write that certainly happened began, and which it was.
    floor: u64,
    op: Op,
}

struct Open {
    key: (u32, u64),
    floor: Register,
}

/// See the module.
#[derive(Default)]
pub struct Commits {
    moment: u64,
    writes: BTreeMap<Op, Write>,
    /// Those without an end.
    under_way: BTreeSet<Op>,
    forgets: Vec<Op>,
    registers: BTreeMap<(u32, u64), Register>,
    open: BTreeMap<Op, Open>,
    lapses_after_us: Option<u64>,
}

impl Commits {
    pub fn take(&mut self, entry: &Entry, report: &mut Report) {
        self.moment += 1;
        match entry.event {
            Event::Commit { op, group, partition, offset, .. } => {
                self.registers.entry((group, partition)).or_default();
                self.begin(op, What::Commit { group, partition, offset, at_us: entry.at_us });
            }
            Event::CommitOk { op } => {
                report.commits += 1;
                self.end(op, Outcome::Ok);
                self.happened(op);
            }
            Event::CommitFail { op } => {
                self.end(op, Outcome::Fail);
                if self.writes.get(&op).is_some_and(|write| write.found) {
                    report.add(Rule::RefusedCommitIsNeverFound, || format!("commit {op} was found, and refused then"));
                }
            }
            Event::Forget { op, group, partition, count } => {
                self.forgets.push(op);
                self.begin(op, What::Forget { group, partition, count });
            }
            Event::ForgetOk { op } => {
                self.end(op, Outcome::Ok);
                self.happened(op);
            }
            Event::ForgetFail { op } => self.end(op, Outcome::Fail),
            // Whoever was not told does not know when, either.
            Event::CommitInfo { .. } | Event::ForgetInfo { .. } => {}
            Event::Recall { op, group, partition, .. } => {
                let key = (group, partition);
                let floor = self.registers.get(&key).copied().unwrap_or_default();
                self.open.insert(op, Open { key, floor });
            }
            Event::RecallOk { op, found } => {
                let Some(open) = self.open.remove(&op) else { return };
                match found {
                    Some((commit, offset)) => self.found(op, &open, commit, offset, report),
                    None => self.found_nothing(op, &open, entry.at_us, report),
                }
            }
            Event::RecallFail { op } => {
                self.open.remove(&op);
            }
            Event::Lapses { after_us } => {
                self.lapses_after_us = Some(self.lapses_after_us.map_or(after_us, |before| before.min(after_us)));
            }
            Event::Restart { .. } => {
                for op in std::mem::take(&mut self.under_way) {
                    if let Some(write) = self.writes.get_mut(&op) {
                        write.ended = Some(self.moment);
                    }
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, op: Op, what: What) {
        let write = Write { began: self.moment, ended: None, outcome: Outcome::Unknown, found: false, what };
        self.writes.insert(op, write);
        self.under_way.insert(op);
    }

    fn end(&mut self, op: Op, outcome: Outcome) {
        self.under_way.remove(&op);
        if let Some(write) = self.writes.get_mut(&op) {
            write.outcome = outcome;
            write.ended.get_or_insert(self.moment);
        }
    }

    /// The write certainly had its effect.
    fn happened(&mut self, op: Op) {
        let Some(write) = self.writes.get(&op) else { return };
        let raise = |register: &mut Register| {
            if register.floor < write.began {
                *register = Register { floor: write.began, op };
            }
        };
        match write.what {
            What::Commit { group, partition, .. } => raise(self.registers.entry((group, partition)).or_default()),
            What::Forget { .. } => {
                self.registers.iter_mut().filter(|(key, _)| write.what.forgets(**key)).for_each(|(_, it)| raise(it));
            }
        }
    }

    fn found(&mut self, op: Op, open: &Open, commit: Op, offset: u64, report: &mut Report) {
        let (group, partition) = open.key;
        let place = || format!("recall {op}, group {group}, partition {partition}");
        let floor = open.floor;
        let over_it = self.writes.get(&floor.op).map(|write| write.what);
        let Some(write) = self.writes.get_mut(&commit) else {
            report.add(Rule::CommitsNotInvented, || format!("{}: there is no commit {commit}", place()));
            return;
        };
        match write.what {
            What::Commit { group: of, partition: at, offset: committed, .. }
                if (of, at) == open.key && committed == offset => {}
            _ => {
                report.add(Rule::CommitsNotInvented, || {
                    format!("{}: offset {offset} as commit {commit}, which was another", place())
                });
                return;
            }
        }
        write.found = true;
        if write.outcome == Outcome::Fail {
            report.add(Rule::RefusedCommitIsNeverFound, || {
                format!("{}: commit {commit} (offset {offset}) was refused", place())
            });
            return;
        }
        if write.ended.is_some_and(|ended| ended < floor.floor) {
            match over_it {
                Some(What::Forget { .. }) => report.add(Rule::ForgottenStaysForgotten, || {
                    format!("{}: commit {commit} (offset {offset}) was forgotten by {}", place(), floor.op)
                }),
                Some(What::Commit { offset: later, .. }) => report.add(Rule::CommitsNeverBack, || {
                    format!("{}: offset {offset} of commit {commit}, after {later} of commit {}", place(), floor.op)
                }),
                None => {}
            }
            return;
        }
        self.happened(commit);
    }

    fn found_nothing(&mut self, op: Op, open: &Open, now_us: u64, report: &mut Report) {
        let floor = open.floor;
        let Some(over) = self.writes.get(&floor.op) else { return };
        let What::Commit { offset, at_us, .. } = over.what else { return };
        if self.lapses_after_us.is_some_and(|after_us| at_us.saturating_add(after_us) <= now_us) {
            return;
        }
        let mut emptied = self.forgets.iter().filter(|forget| {
            self.writes.get(*forget).is_some_and(|write| {
                write.outcome != Outcome::Fail
                    && write.what.forgets(open.key)
                    && write.ended.is_none_or(|ended| ended >= floor.floor)
            })
        });
        match (emptied.next().copied(), emptied.next()) {
            (Some(only), None) => self.happened(only),
            (Some(_), Some(_)) => {}
            (None, _) => report.add(Rule::CommitsNeverBack, || {
                let (group, partition) = open.key;
                format!(
                    "recall {op}, group {group}, partition {partition}: nothing, after {offset} of commit {}",
                    floor.op
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checker::{Report, Rule, check};
    use crate::history::History;

    fn judge(lines: &str) -> Report {
        let text = format!("polylog-history 1\n{lines}");
        check(&History::parse(&text).expect("a history"))
    }

    #[track_caller]
    fn clean(lines: &str) {
        let report = judge(lines);
        assert!(report.clean(), "{:?}", report.violations);
    }

    #[track_caller]
    fn broken(rule: Rule, lines: &str) {
        let report = judge(lines);
        assert!(report.counts.contains_key(&rule), "{rule} must be broken, found {:?}", report.violations);
        assert_eq!(report.back(), 1);
    }

    const TWO: &str = "1 invoke commit 1 client=1 group=1 partition=7 offset=10\n2 ok commit 1
        3 invoke commit 2 client=1 group=1 partition=7 offset=20\n4 ok commit 2\n";
    const RECALL: &str = "8 invoke recall 9 client=2 group=1 partition=7\n";

    #[test]
    fn the_last_commit_is_found() {
        clean(&format!("{TWO}{RECALL}9 ok recall 9 offset=20 commit=2"));
        assert_eq!(judge(TWO).commits, 2);
    }

    #[test]
    fn an_overwritten_one_is_not() {
        broken(Rule::CommitsNeverBack, &format!("{TWO}{RECALL}9 ok recall 9 offset=10 commit=1"));
        broken(Rule::CommitsNeverBack, &format!("{TWO}5 restart kill\n{RECALL}9 ok recall 9"));
    }

    #[test]
    fn one_that_nobody_told_about_may_be_found_or_not() {
        let third = "5 invoke commit 3 client=1 group=1 partition=7 offset=30\n6 info commit 3\n";
        clean(&format!("{TWO}{third}{RECALL}9 ok recall 9 offset=20 commit=2"));
        clean(&format!("{TWO}{third}{RECALL}9 ok recall 9 offset=30 commit=3"));
    }

    #[test]
    fn what_was_found_once_is_not_lost_by_a_restart() {
        let third = "5 invoke commit 3 client=1 group=1 partition=7 offset=30\n
            6 invoke recall 4 client=2 group=1 partition=7\n6 ok recall 4 offset=30 commit=3\n7 restart power\n";
        broken(Rule::CommitsNeverBack, &format!("{TWO}{third}{RECALL}9 ok recall 9 offset=20 commit=2"));
    }

    #[test]
    fn after_a_restart_no_older_request_has_its_effect() {
        let late = "1 invoke commit 1 client=1 group=1 partition=7 offset=10\n2 restart kill
            3 invoke commit 2 client=1 group=1 partition=7 offset=20\n4 ok commit 2\n";
        broken(Rule::CommitsNeverBack, &format!("{late}{RECALL}9 ok recall 9 offset=10 commit=1"));
        let within = late.replace("2 restart kill", "");
        clean(&format!("{within}{RECALL}9 ok recall 9 offset=10 commit=1"));
    }

    #[test]
    fn a_refused_one_is_never_found() {
        let refused = "5 invoke commit 3 client=1 group=1 partition=7 offset=30\n6 fail commit 3\n";
        broken(Rule::RefusedCommitIsNeverFound, &format!("{TWO}{refused}{RECALL}9 ok recall 9 offset=30 commit=3"));
        let early = "5 invoke commit 3 client=1 group=1 partition=7 offset=30\n";
        let found = format!("{TWO}{early}{RECALL}9 ok recall 9 offset=30 commit=3\n10 fail commit 3");
        broken(Rule::RefusedCommitIsNeverFound, &found);
    }

    #[test]
    fn nothing_else_is_found() {
        broken(Rule::CommitsNotInvented, &format!("{TWO}{RECALL}9 ok recall 9 offset=20 commit=5"));
        broken(Rule::CommitsNotInvented, &format!("{TWO}{RECALL}9 ok recall 9 offset=21 commit=2"));
        let other = RECALL.replace("group=1", "group=2");
        broken(Rule::CommitsNotInvented, &format!("{TWO}{other}9 ok recall 9 offset=20 commit=2"));
    }

    #[test]
    fn what_was_forgotten_stays_so_until_the_next_commit() {
        let forget = "5 invoke forget 5 partitions=0+1000\n6 ok forget 5\n";
        clean(&format!("{TWO}{forget}{RECALL}9 ok recall 9"));
        broken(Rule::ForgottenStaysForgotten, &format!("{TWO}{forget}{RECALL}9 ok recall 9 offset=20 commit=2"));
        let other = forget.replace("0+1000", "0+5");
        broken(Rule::CommitsNeverBack, &format!("{TWO}{other}{RECALL}9 ok recall 9"));
        let next = "7 invoke commit 6 client=1 group=1 partition=7 offset=1\n7 ok commit 6\n";
        clean(&format!("{TWO}{forget}{next}{RECALL}9 ok recall 9 offset=1 commit=6"));
    }

    #[test]
    fn what_lapses_may_be_gone_after_its_time_and_not_before() {
        broken(Rule::CommitsNeverBack, &format!("1 lapses after=7\n{TWO}{RECALL}9 ok recall 9"));
        clean(&format!("1 lapses after=6\n{TWO}{RECALL}9 ok recall 9"));
    }
}
