// SPDX-License-Identifier: Apache-2.0
//! `polylog consume`: records of a topic on standard output, up to where it ended when the command began, or on and on.
//!
//! Owns: where each partition begins and ends, how many, how shown; as a member of a group, when it commits: only what was shown and
//! flushed.
//! JSON: one object a record, see `record_text.rs`.

use super::broker::Broker;
use super::moment::{PLACES, Place, read_place};
use super::outcome::CommandError;
use super::output::{Output, Progress};
use super::record_text::{Format, JsonRecord, PLACEHOLDERS, unescape};
use super::topic::{chosen_partitions, now_ms};
use crate::client::Client;
use crate::client::fetcher::{Fetcher, Visit};
use crate::client::member::{Member, Standing};
use crate::client::refusal::ClientError;
use crate::client::topics::Topic;
use crate::interrupt;
use clap::Args;
use model::batch::Record;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// One fetch waits so long for news.
const WAIT_MS: u64 = 500;
/// A member of a group commits so often, and at its end.
const COMMIT_MS: u64 = 5_000;

#[derive(Args, Debug)]
pub struct Consume {
    topic: String,
    #[arg(long, short = 'o', value_name = "PLACE", allow_hyphen_values = true, help = format!("Where to begin: {PLACES} [default: earliest]"))]
    from: Option<String>,
    /// Where to end, this record not included: a place as for --from, or where the topic ends now if that comes first
    #[arg(long, short = 'u', value_name = "PLACE", allow_hyphen_values = true, conflicts_with = "follow")]
    until: Option<String>,
    /// End after so many records
    #[arg(long, short = 'c', value_name = "NUMBER")]
    count: Option<u64>,
    /// Do not end: wait for more
    #[arg(long, short = 'F')]
    follow: bool,
    /// Read this partition; may be given several times [default: all]
    #[arg(long, short, value_name = "NUMBER")]
    partition: Vec<i32>,
    /// Read as a member of this consumer group: from what it has committed (--from is where nothing is), and commit what was shown
    #[arg(long, short, value_name = "NAME", conflicts_with = "partition")]
    group: Option<String>,
    #[arg(long, short, value_name = "FORMAT", conflicts_with = "json", help = format!("How a record is shown: {PLACEHOLDERS} [default: %v\\n]"))]
    format: Option<String>,
    /// Show key, this and value
    #[arg(long, short = 'K', value_name = "TEXT", conflicts_with_all = ["format", "json"])]
    key_separator: Option<String>,
    /// What stands for a null key or value
    #[arg(long, value_name = "TEXT", default_value = "")]
    null: String,
    #[command(flatten)]
    broker: Broker,
}

/// Writes records.
struct Shown<'a> {
    topic: &'a str,
    format: Option<Format>,
    output: Output,
    text: Vec<u8>,
    left: u64,
    written: u64,
}

impl Shown<'_> {
    fn write(&mut self, partition: i32, offset: i64, record: &Record<'_>) -> Result<(), CommandError> {
        self.left -= 1;
        self.written += 1;
        match &self.format {
            None => self.output.line(&JsonRecord::new(self.topic, partition, offset, record)),
            Some(format) => {
                self.text.clear();
                format.write(&mut self.text, self.topic, partition, offset, record);
                self.output.bytes(&self.text)
            }
        }
    }
}

impl Consume {
    pub fn run(&self) -> Result<(), CommandError> {
        let now_ms = now_ms();
        let place = |text: &Option<String>, otherwise| match text {
            None => Ok(otherwise),
            Some(text) => read_place(text, now_ms).map_err(CommandError::usage),
        };
        let (from, until) = (place(&self.from, Place::Earliest)?, place(&self.until, Place::Latest)?);
        let mut shown = Shown {
            topic: &self.topic,
            format: self.format()?,
            output: Output::new(self.broker.json),
            text: Vec::new(),
            left: self.count.unwrap_or(u64::MAX),
            written: 0,
        };
        let mut client = self.broker.connect()?;
        let topic = client.topic(&self.topic)?;
        let chosen = chosen_partitions(&topic, &self.partition)?;
        interrupt::listen().map_err(|why| CommandError::failed(format!("cannot listen for signals: {why}")))?;

        let bounds = client.bounds(&topic)?;
        let mut ends =
            if self.follow { BTreeMap::new() } else { resolve(&mut client, &topic, &chosen, until, &bounds)? };
        // Nothing is waited for: that is what --follow is for.
        for (partition, end) in &mut ends {
            *end = (*end).min(bounds.get(partition).map_or(0, |bounds| bounds.1));
        }
        if let Some(group) = &self.group {
            let reader = InGroup { group, topic: &topic, from, bounds: &bounds, ends: &ends, follow: self.follow };
            let outcome = reader.run(&mut client, &mut shown);
            let flushed = shown.output.flush();
            return outcome.and(flushed);
        }
        let mut positions = resolve(&mut client, &topic, &chosen, from, &bounds)?;
        let asked = positions.clone();
        clamp(&mut positions, &bounds);
        for partition in positions.keys().filter(|partition| positions.get(*partition) != asked.get(*partition)) {
            let (first, end) = bounds.get(partition).copied().unwrap_or_default();
            eprintln!("polylog: {}-{partition} has offsets {first} to {end} (not included)", topic.name);
        }
        let mut fetcher = Fetcher::new(topic, positions);
        let outcome = read_on(&mut client, &mut fetcher, &ends, self.follow, &mut shown);
        let is_cut_short = !self.follow && shown.left > 0 && drop_ended(&mut fetcher, &ends, false);
        let outcome = match outcome {
            Ok(()) if is_cut_short => Err(CommandError::failed("interrupted: there is more")),
            outcome => outcome,
        };
        let flushed = shown.output.flush();
        outcome.and(flushed)
    }

    fn format(&self) -> Result<Option<Format>, CommandError> {
        if self.broker.json {
            return Ok(None);
        }
        let format = match (&self.format, &self.key_separator) {
            (Some(format), _) => format.clone(),
            (None, None) => "%v\\n".to_owned(),
            (None, Some(separator)) => {
                unescape(separator).map_err(CommandError::usage)?;
                format!("%k{}%v\\n", separator.replace('%', "%%"))
            }
        };
        Format::read(&format, &self.null).map(Some).map_err(CommandError::usage)
    }
}

/// Reads and shows until every partition has reached its end.
fn read_on(
    client: &mut Client,
    fetcher: &mut Fetcher,
    ends: &BTreeMap<i32, i64>,
    follow: bool,
    shown: &mut Shown<'_>,
) -> Result<(), CommandError> {
    let mut progress = Progress::new(!std::io::stdout().is_terminal());
    while shown.left > 0 && !interrupt::happened() {
        if !drop_ended(fetcher, ends, follow) {
            break;
        }
        read_once(client, fetcher, ends, shown)?;
        let written = shown.written;
        progress.show(|| format!("{written} records"));
    }
    progress.end();
    Ok(())
}

/// Whether there is anything left to read. A partition that was added since the command began has no end: it is read by who follows.
fn drop_ended(fetcher: &mut Fetcher, ends: &BTreeMap<i32, i64>, follow: bool) -> bool {
    for (partition, position) in fetcher.positions() {
        if ends.get(&partition).map_or(!follow, |end| position >= *end) {
            fetcher.drop_partition(partition);
        }
    }
    !fetcher.positions().is_empty()
}

/// One fetch, shown.
fn read_once(
    client: &mut Client,
    fetcher: &mut Fetcher,
    ends: &BTreeMap<i32, i64>,
    shown: &mut Shown<'_>,
) -> Result<(), CommandError> {
    let pieces = fetcher.poll(client, Duration::from_millis(WAIT_MS), &mut |jump| eprintln!("polylog: {jump}"))?;
    for piece in &pieces {
        let end = ends.get(&piece.partition).copied().unwrap_or(i64::MAX);
        fetcher.walk::<CommandError>(piece, |offset, record| {
            if offset >= end || shown.left == 0 || interrupt::happened() {
                return Ok(Visit::NotTaken);
            }
            shown.write(piece.partition, offset, record)?;
            Ok(if shown.left == 0 { Visit::TakenLast } else { Visit::Taken })
        })?;
    }
    if !pieces.is_empty() {
        shown.output.flush()?;
    }
    Ok(())
}

/// Reads as a member of a group, from where the group stands.
struct InGroup<'a> {
    group: &'a str,
    topic: &'a Topic,
    /// Where partitions begin of which nothing is committed.
    from: Place,
    bounds: &'a BTreeMap<i32, (i64, i64)>,
    ends: &'a BTreeMap<i32, i64>,
    follow: bool,
}

impl InGroup<'_> {
    fn run(&self, client: &mut Client, shown: &mut Shown<'_>) -> Result<(), CommandError> {
        let mut member = Member::new(self.group, &self.topic.name);
        let outcome = self.take_part(client, &mut member, shown);
        let left = member.leave(client).map_err(CommandError::from);
        outcome.and(left)
    }

    /// One round for each generation of the group.
    fn take_part(&self, client: &mut Client, member: &mut Member, shown: &mut Shown<'_>) -> Result<(), CommandError> {
        loop {
            let partitions = match member.join(client) {
                Ok(partitions) => partitions,
                Err(ClientError::Interrupted) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if partitions.is_empty() && !self.follow {
                eprintln!("polylog: the other members of group {:?} have all partitions", self.group);
            }
            let committed = self.committed(client, &partitions)?;
            let mut read = resolve(client, self.topic, &partitions, self.from, self.bounds)?;
            clamp(&mut read, self.bounds);
            read.extend(&committed);
            let mut fetcher = Fetcher::new(self.topic.clone(), read.clone());
            let mut reading = Reading { committed, read };
            if self.read_generation(client, member, &mut fetcher, &mut reading, shown)? {
                return Ok(());
            }
        }
    }

    /// True: done for good. False: the group has changed, join again.
    fn read_generation(
        &self,
        client: &mut Client,
        member: &mut Member,
        fetcher: &mut Fetcher,
        reading: &mut Reading,
        shown: &mut Shown<'_>,
    ) -> Result<bool, CommandError> {
        let mut next_commit = Instant::now() + Duration::from_millis(COMMIT_MS);
        loop {
            let any = drop_ended(fetcher, self.ends, self.follow);
            if interrupt::happened() || shown.left == 0 || (!any && !self.follow) {
                return match self.commit(client, member, reading)? {
                    Standing::Member => Ok(true),
                    Standing::Rebalancing | Standing::Lost => Err(CommandError::failed(format!(
                        "group {:?} has moved on: what was read since the last commit will be read again",
                        self.group
                    ))),
                };
            }
            let mut standing = self.beat(client, member)?;
            if standing == Standing::Rebalancing {
                self.commit(client, member, reading)?;
                return Ok(false);
            }
            if any {
                read_once(client, fetcher, self.ends, shown)?;
                reading.read.extend(fetcher.positions());
            } else {
                std::thread::sleep(Duration::from_millis(WAIT_MS));
            }
            if standing == Standing::Member && Instant::now() >= next_commit {
                next_commit = Instant::now() + Duration::from_millis(COMMIT_MS);
                standing = self.commit(client, member, reading)?;
            }
            match standing {
                Standing::Member => {}
                Standing::Rebalancing => return Ok(false),
                Standing::Lost => {
                    eprintln!("polylog: group {:?} has gone on without this member; it joins again", self.group);
                    return Ok(false);
                }
            }
        }
    }

    fn beat(&self, client: &mut Client, member: &mut Member) -> Result<Standing, CommandError> {
        match member.beat(client) {
            // The broker may be starting again, and the group with it.
            Err(error) if error.is_lost_connection() => {
                client.reconnect()?;
                Ok(Standing::Member)
            }
            standing => Ok(standing?),
        }
    }

    fn commit(
        &self,
        client: &mut Client,
        member: &mut Member,
        reading: &mut Reading,
    ) -> Result<Standing, CommandError> {
        let moved = reading.moved();
        let standing = match member.commit(client, &moved) {
            Err(error) if error.is_lost_connection() => {
                client.reconnect()?;
                member.commit(client, &moved)
            }
            standing => standing,
        }?;
        if standing == Standing::Member {
            reading.committed.extend(moved);
        }
        Ok(standing)
    }

    fn committed(&self, client: &mut Client, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, CommandError> {
        let committed = client.committed(self.group)?;
        let of = |partition: &i32| {
            let found = committed.get(&(self.topic.name.clone(), *partition))?;
            Some((*partition, found.committed_offset))
        };
        Ok(partitions.iter().filter_map(of).collect())
    }
}

/// Offsets to go on from, by partition.
struct Reading {
    /// A partition of which nothing is committed is not in it: its place is committed, too, be it where it began.
    committed: BTreeMap<i32, i64>,
    read: BTreeMap<i32, i64>,
}

impl Reading {
    fn moved(&self) -> BTreeMap<i32, i64> {
        let moved = |(partition, position): &(&i32, &i64)| self.committed.get(*partition) != Some(*position);
        self.read.iter().filter(moved).map(|(partition, position)| (*partition, *position)).collect()
    }
}

/// To where there is something.
fn clamp(offsets: &mut BTreeMap<i32, i64>, bounds: &BTreeMap<i32, (i64, i64)>) {
    for (partition, offset) in offsets {
        let (first, end) = bounds.get(partition).copied().unwrap_or_default();
        *offset = (*offset).clamp(first, end);
    }
}

/// The offset that a place is in each partition.
pub fn resolve(
    client: &mut Client,
    topic: &Topic,
    chosen: &[i32],
    place: Place,
    bounds: &BTreeMap<i32, (i64, i64)>,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let each = |offset: &dyn Fn(i64, i64) -> i64| {
        let of = |index: &i32| {
            let (start, end) = bounds.get(index).copied().unwrap_or_default();
            (*index, offset(start, end))
        };
        chosen.iter().map(of).collect::<BTreeMap<i32, i64>>()
    };
    Ok(match place {
        Place::Earliest => each(&|start, _| start),
        Place::Latest => each(&|_, end| end),
        Place::Offset(offset) => each(&|_, _| offset),
        Place::BeforeEnd(count) => each(&|start, end| (end - count).max(start)),
        Place::Time(time_ms) => {
            let asked: Vec<(i32, i64)> = chosen.iter().map(|index| (*index, time_ms.max(0))).collect();
            let found = client.offsets(topic, &asked)?;
            // No record is so young: the end.
            let mut ends = each(&|_, end| end);
            for (index, offset) in found.into_iter().filter(|(_, offset)| *offset >= 0) {
                ends.insert(index, offset);
            }
            ends
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_was_added_meanwhile_does_not_keep_the_command_from_ending() {
        let topic = Topic { name: "t".to_owned(), id: [1; 16], is_internal: false, partitions: Vec::new() };
        let ends = BTreeMap::from([(0, 5), (1, 7)]);
        let mut fetcher = Fetcher::new(topic.clone(), [(0, 5), (1, 6), (2, 0)]);
        assert!(drop_ended(&mut fetcher, &ends, false));
        assert_eq!(fetcher.positions(), BTreeMap::from([(1, 6)]));
        let mut fetcher = Fetcher::new(topic, [(2, 0)]);
        assert!(drop_ended(&mut fetcher, &BTreeMap::new(), true));
        assert!(!drop_ended(&mut fetcher, &ends, false));
    }
}
