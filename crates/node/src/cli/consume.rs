// SPDX-License-Identifier: Apache-2.0
//! `polylog consume`: records of a topic on standard output, up to where it ended when the command began, or on and on.
//!
//! Owns: where each partition begins and ends, how many, how shown.
//! JSON: one object a record, see `record_text.rs`.

use super::broker::Broker;
use super::moment::{PLACES, Place, read_place};
use super::outcome::CommandError;
use super::output::{Output, Progress};
use super::record_text::{Format, JsonRecord, PLACEHOLDERS, unescape};
use super::topic::chosen_partitions;
use crate::client::Client;
use crate::client::fetcher::Fetcher;
use crate::client::refusal::ClientError;
use crate::client::topics::Topic;
use crate::interrupt;
use clap::Args;
use model::batch::Record;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One fetch waits so long for news.
const WAIT_MS: u64 = 500;

#[derive(Args, Debug)]
pub struct Consume {
    topic: String,
    #[arg(long, short = 'o', value_name = "PLACE", allow_hyphen_values = true, help = format!("Where to begin: {PLACES} [default: earliest]"))]
    from: Option<String>,
    /// Where to end, this record not included: a place as for --from [default: where the topic ends now]
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
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
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
        let starts = resolve(&mut client, &topic, &chosen, from, &bounds)?;
        let ends = if self.follow { BTreeMap::new() } else { resolve(&mut client, &topic, &chosen, until, &bounds)? };
        for (partition, start) in &starts {
            let (first, end) = bounds.get(partition).copied().unwrap_or_default();
            let asked = matches!(from, Place::Offset(_)) && !(first..=end).contains(start);
            if asked {
                eprintln!("polylog: {}-{partition} has offsets {first} to {end} (not included)", topic.name);
            }
        }
        let positions: Vec<(i32, i64)> = starts
            .iter()
            .map(|(partition, start)| {
                let (first, end) = bounds.get(partition).copied().unwrap_or_default();
                (*partition, (*start).clamp(first, end))
            })
            .collect();
        let mut fetcher = Fetcher::new(topic, positions);
        let outcome = read_on(&mut client, &mut fetcher, &ends, &mut shown);
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

/// Reads and shows until every partition has reached its end (one that is not in `ends` has none).
fn read_on(
    client: &mut Client,
    fetcher: &mut Fetcher,
    ends: &BTreeMap<i32, i64>,
    shown: &mut Shown<'_>,
) -> Result<(), CommandError> {
    let mut progress = Progress::new(!std::io::stdout().is_terminal());
    while shown.left > 0 && !interrupt::happened() {
        for (partition, position) in fetcher.positions() {
            if ends.get(&partition).is_some_and(|end| position >= *end) {
                fetcher.drop_partition(partition);
            }
        }
        if fetcher.positions().is_empty() {
            break;
        }
        let polled = fetcher.poll(client, Duration::from_millis(WAIT_MS), &mut |jump| eprintln!("polylog: {jump}"));
        let pieces = match polled {
            Ok(pieces) => pieces,
            Err(ClientError::Interrupted) => break,
            Err(error) => return Err(error.into()),
        };
        for piece in &pieces {
            let end = ends.get(&piece.partition).copied().unwrap_or(i64::MAX);
            let flow = fetcher.walk::<CommandError>(piece, |offset, record| {
                if offset >= end {
                    return Ok(ControlFlow::Break(()));
                }
                shown.write(piece.partition, offset, record)?;
                Ok(if shown.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if flow.is_break() && shown.left == 0 {
                break;
            }
        }
        if !pieces.is_empty() {
            shown.output.flush()?;
        }
        let written = shown.written;
        progress.show(|| format!("{written} records"));
    }
    progress.end();
    Ok(())
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
