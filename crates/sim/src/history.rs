// SPDX-License-Identifier: Apache-2.0
//! What clients saw: the one history format of the simulator and of every loop that runs real clients.
//!
//! Owns: the events and their text. Must not know: whether what happened was right (`checker`), where clients come from.
//!
//! Rules for whoever writes one:
//! - Events stand in the order in which they happened, as seen by one observer: an `invoke` is pushed before the request leaves, its
//!   outcome after the answer came. Under a mutex that is push order; `at_us` is for the reader of a report only.
//! - `op` numbers are unique. An operation has one invoke and at most one outcome; without one it counts as unknown.
//! - Outcomes: `ok`; `fail` = certainly without effect, now and for ever; `info` = unknown, may have had its effect or not.
//!   A time-out, a closed connection, a killed node are `info`. An answer that refuses is `fail`.
//! - A send is one batch of `count` records with the values `first`, `first + 1`, ... which no other send has. The values that one
//!   client sends to one partition grow in the order of sending. A send that the client repeats by itself (same sequence numbers)
//!   is one operation with one outcome.
//! - What a read returned stands between its invoke and its outcome as `saw`, one for each run of neighbouring values, beginning at
//!   the offset asked for (a client drops what a batch brings from before it).
//! - A commit names itself (its metadata is its `op`), so that a recall says which commit it found. A request that commits several
//!   partitions is an operation for each. A partition is called by what its name means to whoever commits: made anew under its name
//!   it is the same to a commit, and the deletion and the making are `forget`s in between.
//! - After `restart` nothing that was sent before may still have its effect.
//! - After the event `drain` nothing fails any more; every partition is read once more from its start to its end, offset by offset
//!   where it is damaged.
//!
//! Text: a first line `polylog-history 1`, then a line an event: time, phase, verb, op, fields.
//! ```text
//! 120 invoke send 7 client=3 partition=12 values=1000+4 producer=5.0.16
//! 180 ok send 7 offset=40
//! 200 invoke read 8 client=9 partition=12 from=38
//! 230 saw 8 offset=38 values=998+2
//! 230 saw 8 offset=40 values=1000+4
//! 230 ok read 8 start=0 high=44
//! 240 invoke commit 9 client=3 group=2 partition=12 offset=44
//! 250 invoke recall 10 client=4 group=2 partition=12
//! 260 ok recall 10 offset=44 commit=9
//! ```

use std::fmt::{self, Write};

/// An operation's number.
pub type Op = u64;

/// A sender's numbering of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// One event. Small on purpose: a kill loop has millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A batch leaves a client.
    Send { op: Op, client: u32, partition: u64, first: u64, count: u32, producer: Option<Producer> },
    /// It was acknowledged: its first record has this offset.
    SendOk { op: Op, offset: u64 },
    /// It was refused: not there, now and for ever.
    SendFail { op: Op },
    /// Nobody told.
    SendInfo { op: Op },
    /// A read from an offset on leaves a client.
    Read { op: Op, client: u32, partition: u64, from: u64 },
    /// It returned these values at these offsets.
    Saw { op: Op, offset: u64, first: u64, count: u32 },
    /// It is complete; the watermarks that came with it, if any did.
    ReadOk { op: Op, start: Option<u64>, high: Option<u64> },
    /// It failed and says nothing about the data.
    ReadFail { op: Op },
    /// The answer was: there is nothing at that offset, the partition reaches from `start` to `high`.
    ReadOutOfRange { op: Op, start: Option<u64>, high: Option<u64> },
    /// The answer was: the bytes at rest are damaged. Legal only where damage was done.
    ReadCorrupt { op: Op },
    /// The answer was: there is no such partition.
    ReadAbsent { op: Op },
    /// The watermarks are asked for.
    Look { op: Op, client: u32, partition: u64 },
    /// They are these.
    LookOk { op: Op, start: Option<u64>, high: Option<u64> },
    /// No answer, or one that says nothing.
    LookFail { op: Op },
    /// Records before an offset shall go (`None`: all that are visible).
    Trim { op: Op, partition: u64, before: Option<u64> },
    /// They are gone: the partition starts here now.
    TrimOk { op: Op, start: u64 },
    /// Refused, without effect.
    TrimFail { op: Op },
    /// The partition may lose its oldest records by itself from now on.
    Expires { partition: u64 },
    /// The partition is being removed.
    Drop { op: Op, partition: u64 },
    /// It is gone, and does not come back.
    DropOk { op: Op },
    /// Refused, without effect.
    DropFail { op: Op },
    /// An offset is being committed for a partition in a group.
    Commit { op: Op, client: u32, group: u32, partition: u64, offset: u64 },
    /// It is committed.
    CommitOk { op: Op },
    /// It was refused: it has no effect, now and for ever.
    CommitFail { op: Op },
    /// Nobody told.
    CommitInfo { op: Op },
    /// What is committed is asked for.
    Recall { op: Op, client: u32, group: u32, partition: u64 },
    /// It is this: the commit that it came with, and the offset. `None`: nothing is.
    RecallOk { op: Op, found: Option<(Op, u64)> },
    /// No answer, or one that says nothing.
    RecallFail { op: Op },
    /// What is committed for `count` partitions from `partition` on is being forgotten, in one group or in all.
    Forget { op: Op, group: Option<u32>, partition: u64, count: u64 },
    /// It is forgotten.
    ForgetOk { op: Op },
    /// Refused, without effect.
    ForgetFail { op: Op },
    /// Nobody told.
    ForgetInfo { op: Op },
    /// What is committed may go by itself so long after it was.
    Lapses { after_us: u64 },
    /// The process died and was started again.
    Restart { power_lost: bool },
    /// Some bytes at rest were damaged on purpose: reads may answer `corrupt` from now on.
    Damage,
    /// From here on nothing fails, and everything is read once more.
    Drain,
}

/// An event and when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at_us: u64,
    pub event: Event,
}

const _: () = assert!(size_of::<Entry>() <= 64);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    entries: Vec<Entry>,
    last_op: Op,
}

impl History {
    /// A number for a new operation.
    pub fn next_op(&mut self) -> Op {
        self.last_op += 1;
        self.last_op
    }

    /// Adds what happened last.
    pub fn push(&mut self, at_us: u64, event: Event) {
        self.entries.push(Entry { at_us, event });
    }

    /// Everything, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// As text.
    pub fn to_text(&self) -> String {
        let mut out = String::from("polylog-history 1\n");
        for entry in &self.entries {
            let _ = writeln!(out, "{entry}");
        }
        out
    }

    /// Reads the text.
    ///
    /// # Errors
    /// The number of the first line that is not understood, from 1.
    pub fn parse(text: &str) -> Result<History, usize> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        if lines.next().is_none_or(|(_, line)| line != "polylog-history 1") {
            return Err(1);
        }
        let mut history = History::default();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let entry = parse_line(line).ok_or(number)?;
            history.last_op = history.last_op.max(op_of(&entry.event).unwrap_or(0));
            history.entries.push(entry);
        }
        Ok(history)
    }
}

fn op_of(event: &Event) -> Option<Op> {
    match *event {
        Event::Send { op, .. }
        | Event::SendOk { op, .. }
        | Event::SendFail { op }
        | Event::SendInfo { op }
        | Event::Read { op, .. }
        | Event::Saw { op, .. }
        | Event::ReadOk { op, .. }
        | Event::ReadFail { op }
        | Event::ReadOutOfRange { op, .. }
        | Event::ReadCorrupt { op }
        | Event::ReadAbsent { op }
        | Event::Look { op, .. }
        | Event::LookOk { op, .. }
        | Event::LookFail { op }
        | Event::Trim { op, .. }
        | Event::TrimOk { op, .. }
        | Event::TrimFail { op }
        | Event::Drop { op, .. }
        | Event::DropOk { op }
        | Event::DropFail { op }
        | Event::Commit { op, .. }
        | Event::CommitOk { op }
        | Event::CommitFail { op }
        | Event::CommitInfo { op }
        | Event::Recall { op, .. }
        | Event::RecallOk { op, .. }
        | Event::RecallFail { op }
        | Event::Forget { op, .. }
        | Event::ForgetOk { op }
        | Event::ForgetFail { op }
        | Event::ForgetInfo { op } => Some(op),
        Event::Lapses { .. } | Event::Expires { .. } | Event::Restart { .. } | Event::Damage | Event::Drain => None,
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at_us)?;
        let marks = |f: &mut fmt::Formatter<'_>, start: Option<u64>, high: Option<u64>| {
            start.map_or(Ok(()), |start| write!(f, " start={start}"))?;
            high.map_or(Ok(()), |high| write!(f, " high={high}"))
        };
        match self.event {
            Event::Send { op, client, partition, first, count, producer } => {
                write!(f, "invoke send {op} client={client} partition={partition} values={first}+{count}")?;
                producer.map_or(Ok(()), |p| write!(f, " producer={}.{}.{}", p.id, p.epoch, p.sequence))
            }
            Event::SendOk { op, offset } => write!(f, "ok send {op} offset={offset}"),
            Event::SendFail { op } => write!(f, "fail send {op}"),
            Event::SendInfo { op } => write!(f, "info send {op}"),
            Event::Read { op, client, partition, from } => {
                write!(f, "invoke read {op} client={client} partition={partition} from={from}")
            }
            Event::Saw { op, offset, first, count } => write!(f, "saw {op} offset={offset} values={first}+{count}"),
            Event::ReadOk { op, start, high } => {
                write!(f, "ok read {op}")?;
                marks(f, start, high)
            }
            Event::ReadFail { op } => write!(f, "fail read {op}"),
            Event::ReadOutOfRange { op, start, high } => {
                write!(f, "range read {op}")?;
                marks(f, start, high)
            }
            Event::ReadCorrupt { op } => write!(f, "corrupt read {op}"),
            Event::ReadAbsent { op } => write!(f, "absent read {op}"),
            Event::Look { op, client, partition } => {
                write!(f, "invoke look {op} client={client} partition={partition}")
            }
            Event::LookOk { op, start, high } => {
                write!(f, "ok look {op}")?;
                marks(f, start, high)
            }
            Event::LookFail { op } => write!(f, "fail look {op}"),
            Event::Trim { op, partition, before } => {
                write!(f, "invoke trim {op} partition={partition}")?;
                before.map_or(Ok(()), |before| write!(f, " before={before}"))
            }
            Event::TrimOk { op, start } => write!(f, "ok trim {op} start={start}"),
            Event::TrimFail { op } => write!(f, "fail trim {op}"),
            Event::Expires { partition } => write!(f, "expires partition={partition}"),
            Event::Drop { op, partition } => write!(f, "invoke drop {op} partition={partition}"),
            Event::DropOk { op } => write!(f, "ok drop {op}"),
            Event::DropFail { op } => write!(f, "fail drop {op}"),
            Event::Commit { op, client, group, partition, offset } => {
                write!(f, "invoke commit {op} client={client} group={group} partition={partition} offset={offset}")
            }
            Event::CommitOk { op } => write!(f, "ok commit {op}"),
            Event::CommitFail { op } => write!(f, "fail commit {op}"),
            Event::CommitInfo { op } => write!(f, "info commit {op}"),
            Event::Recall { op, client, group, partition } => {
                write!(f, "invoke recall {op} client={client} group={group} partition={partition}")
            }
            Event::RecallOk { op, found } => {
                write!(f, "ok recall {op}")?;
                found.map_or(Ok(()), |(commit, offset)| write!(f, " offset={offset} commit={commit}"))
            }
            Event::RecallFail { op } => write!(f, "fail recall {op}"),
            Event::Forget { op, group, partition, count } => {
                write!(f, "invoke forget {op} partitions={partition}+{count}")?;
                group.map_or(Ok(()), |group| write!(f, " group={group}"))
            }
            Event::ForgetOk { op } => write!(f, "ok forget {op}"),
            Event::ForgetFail { op } => write!(f, "fail forget {op}"),
            Event::ForgetInfo { op } => write!(f, "info forget {op}"),
            Event::Lapses { after_us } => write!(f, "lapses after={after_us}"),
            Event::Restart { power_lost: true } => f.write_str("restart power"),
            Event::Restart { power_lost: false } => f.write_str("restart kill"),
            Event::Damage => f.write_str("damage"),
            Event::Drain => f.write_str("drain"),
        }
    }
}

fn parse_line(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace();
    let at_us = words.next()?.parse().ok()?;
    let phase = words.next()?;
    let rest: Vec<&str> = words.collect();
    let field = |name: &str| rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    let range = |name: &str| {
        let (first, count) = field(name)?.split_once('+')?;
        Some((first.parse::<u64>().ok()?, count.parse::<u64>().ok()?))
    };
    let values = || range("values").and_then(|(first, count)| Some((first, u32::try_from(count).ok()?)));
    let small = |name: &str| u32::try_from(number(name)?).ok();
    let client = || small("client");
    let producer = || {
        let mut parts = field("producer")?.splitn(3, '.');
        Some(Producer {
            id: parts.next()?.parse().ok()?,
            epoch: parts.next()?.parse().ok()?,
            sequence: parts.next()?.parse().ok()?,
        })
    };
    let (start, high) = (number("start"), number("high"));
    let (verb, op) = match phase {
        "saw" => ("", rest.first()?.parse().ok()?),
        "expires" | "lapses" | "restart" | "damage" | "drain" => (rest.first().copied().unwrap_or(""), 0),
        _ => (*rest.first()?, rest.get(1)?.parse().ok()?),
    };
    let event = match (phase, verb) {
        ("invoke", "send") => {
            let (first, count) = values()?;
            Event::Send { op, client: client()?, partition: number("partition")?, first, count, producer: producer() }
        }
        ("ok", "send") => Event::SendOk { op, offset: number("offset")? },
        ("fail", "send") => Event::SendFail { op },
        ("info", "send") => Event::SendInfo { op },
        ("invoke", "read") => {
            Event::Read { op, client: client()?, partition: number("partition")?, from: number("from")? }
        }
        ("saw", _) => {
            let (first, count) = values()?;
            Event::Saw { op, offset: number("offset")?, first, count }
        }
        ("ok", "read") => Event::ReadOk { op, start, high },
        ("fail", "read") => Event::ReadFail { op },
        ("range", "read") => Event::ReadOutOfRange { op, start, high },
        ("corrupt", "read") => Event::ReadCorrupt { op },
        ("absent", "read") => Event::ReadAbsent { op },
        ("invoke", "look") => Event::Look { op, client: client()?, partition: number("partition")? },
        ("ok", "look") => Event::LookOk { op, start, high },
        ("fail", "look") => Event::LookFail { op },
        ("invoke", "trim") => Event::Trim { op, partition: number("partition")?, before: number("before") },
        ("ok", "trim") => Event::TrimOk { op, start: start? },
        ("fail", "trim") => Event::TrimFail { op },
        ("expires", _) => Event::Expires { partition: number("partition")? },
        ("invoke", "drop") => Event::Drop { op, partition: number("partition")? },
        ("ok", "drop") => Event::DropOk { op },
        ("fail", "drop") => Event::DropFail { op },
        ("invoke", "commit") => Event::Commit {
            op,
            client: client()?,
            group: small("group")?,
            partition: number("partition")?,
            offset: number("offset")?,
        },
        ("ok", "commit") => Event::CommitOk { op },
        ("fail", "commit") => Event::CommitFail { op },
        ("info", "commit") => Event::CommitInfo { op },
        ("invoke", "recall") => {
            Event::Recall { op, client: client()?, group: small("group")?, partition: number("partition")? }
        }
        ("ok", "recall") => Event::RecallOk { op, found: number("commit").zip(number("offset")) },
        ("fail", "recall") => Event::RecallFail { op },
        ("invoke", "forget") => {
            let (partition, count) = range("partitions")?;
            Event::Forget { op, group: small("group"), partition, count }
        }
        ("ok", "forget") => Event::ForgetOk { op },
        ("fail", "forget") => Event::ForgetFail { op },
        ("info", "forget") => Event::ForgetInfo { op },
        ("lapses", _) => Event::Lapses { after_us: number("after")? },
        ("restart", "power") => Event::Restart { power_lost: true },
        ("restart", "kill") => Event::Restart { power_lost: false },
        ("damage", _) => Event::Damage,
        ("drain", _) => Event::Drain,
        _ => return None,
    };
    Some(Entry { at_us, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "polylog-history 1
120 invoke send 7 client=3 partition=12 values=1000+4 producer=5.0.16
121 invoke send 9 client=3 partition=12 values=1004+1
180 ok send 7 offset=40
181 fail send 9
182 info send 10
200 invoke read 8 client=9 partition=12 from=38
230 saw 8 offset=38 values=998+2
230 ok read 8 start=0 high=44
231 ok read 8
232 fail read 8
233 range read 8 start=3 high=44
234 corrupt read 8
235 absent read 8
236 invoke look 11 client=1 partition=2
237 ok look 11 high=9
238 fail look 11
239 invoke trim 12 partition=2 before=5
240 invoke trim 13 partition=2
241 ok trim 12 start=5
242 fail trim 13
243 expires partition=2
244 invoke drop 14 partition=2
245 ok drop 14
246 fail drop 14
247 restart power
248 restart kill
249 damage
250 invoke commit 15 client=3 group=2 partition=2 offset=44
251 ok commit 15
252 fail commit 15
253 info commit 15
254 invoke recall 16 client=3 group=2 partition=2
255 ok recall 16 offset=44 commit=15
256 ok recall 16
257 fail recall 16
258 invoke forget 17 partitions=2+1 group=2
259 invoke forget 18 partitions=0+1000
260 ok forget 17
261 fail forget 17
262 info forget 18
263 lapses after=1000
264 drain
";

    #[test]
    fn every_event_reads_back_from_its_text() {
        let history = History::parse(ALL).expect("all lines are understood");
        assert_eq!(history.to_text(), ALL);
        assert_eq!(history.clone().next_op(), 19);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        assert_eq!(History::parse("something else"), Err(1));
        assert_eq!(History::parse("polylog-history 1\n\n5 ok send 1\n"), Err(3), "an ok without its offset");
    }
}
