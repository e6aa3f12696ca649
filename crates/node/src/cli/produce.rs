// SPDX-License-Identifier: Apache-2.0
//! `polylog produce`: a record a line.
//!
//! Owns: what a line means. Must not know: batches, requests.
//! What was read is sent as soon as no more comes for a moment, so that typed lines are written as they are typed.
//!
//! JSON: one document at the end, {topic, records, partitions: [{partition, records, first_offset, last_offset}]}, also when it
//! ended early: it says what was acknowledged.

use super::broker::Broker;
use super::lines;
use super::outcome::CommandError;
use super::output::{Output, Progress};
use super::record_text::{read_json, unescape};
use super::topic::{counted, now_ms};
use crate::client::Client;
use crate::client::producer::{Producer, Wanted};
use crate::interrupt;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use model::batch::NewRecord;
use model::compression::Compression;
use serde::Serialize;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// With nothing new for so long, what there is is sent.
const IDLE_MS: u64 = 20;
/// With nothing to be sent: how often to look whether somebody pressed Ctrl-C.
const LOOK_MS: u64 = 200;

#[derive(Args, Debug)]
pub struct Produce {
    topic: String,
    /// Read this file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What a line is: a value (lines), or an object as `consume --json` writes it (json)
    #[arg(long, value_enum, default_value = "lines")]
    input: Input,
    /// A line is KEY, this, VALUE; \t is a tabulator
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_separator: Option<String>,
    /// A key or value of exactly this text is null
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// A header of every record; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = read_header)]
    headers: Vec<(Bytes, Bytes)>,
    /// Write to this partition, whatever the key
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    #[arg(long, short = 'z', value_enum, default_value = "none")]
    compression: Compressed,
    /// Whose word counts: all who keep a copy (repeats are then never written twice), the leader alone, nobody
    #[arg(long, value_enum, default_value = "all")]
    acks: Acks,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Input {
    Lines,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Compressed {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Acks {
    All,
    #[value(name = "1")]
    Leader,
    #[value(name = "0")]
    Nobody,
}

fn read_header(text: &str) -> Result<(Bytes, Bytes), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((Bytes::from(name.to_owned()), Bytes::from(value.to_owned()))),
        None => Err("a header is written NAME=VALUE".to_owned()),
    }
}

/// What a line means.
struct Reading {
    input: Input,
    key_separator: Option<Vec<u8>>,
    null: Option<Vec<u8>>,
    headers: Vec<(Bytes, Option<Bytes>)>,
    partition: Option<i32>,
}

impl Reading {
    fn record(&self, line: Bytes) -> Result<(NewRecord, Option<i32>), String> {
        let timestamp_ms = now_ms();
        if self.input == Input::Json {
            let (mut record, partition) = read_json(&line, timestamp_ms)?;
            record.headers.extend(self.headers.iter().cloned());
            return Ok((record, self.partition.or(partition)));
        }
        let (key, value) = match &self.key_separator {
            None => (None, line),
            Some(separator) => match line.windows(separator.len()).position(|part| part == separator) {
                Some(at) => (Some(line.slice(..at)), line.slice(at + separator.len()..)),
                None => return Err("the key separator is not in it".to_owned()),
            },
        };
        let unless_null = |bytes: Bytes| (self.null.as_deref() != Some(&bytes[..])).then_some(bytes);
        let (key, value) = (key.and_then(unless_null), unless_null(value));
        Ok((NewRecord { timestamp_ms, key, value, headers: self.headers.clone() }, self.partition))
    }
}

#[derive(Serialize)]
struct Summary {
    topic: String,
    records: u64,
    partitions: Vec<SummaryPartition>,
}

#[derive(Serialize)]
struct SummaryPartition {
    partition: i32,
    records: u64,
    first_offset: Option<i64>,
    last_offset: Option<i64>,
}

impl Produce {
    pub fn run(&self) -> Result<(), CommandError> {
        let reading = Reading {
            input: self.input,
            key_separator: self.key_separator()?,
            null: self.null.as_ref().map(|null| null.clone().into_bytes()),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect(),
            partition: self.partition,
        };
        let (input, typed): (Box<dyn Read + Send>, bool) = match &self.file {
            None => (Box::new(std::io::stdin()), std::io::stdin().is_terminal()),
            Some(path) => {
                let file = File::open(path)
                    .map_err(|why| CommandError::failed(format!("cannot read {}: {why}", path.display())))?;
                (Box::new(file), false)
            }
        };
        let mut client = self.broker.connect()?;
        let topic = client.topic(&self.topic)?;
        let wanted = Wanted {
            acks: match self.acks {
                Acks::All => -1,
                Acks::Leader => 1,
                Acks::Nobody => 0,
            },
            compression: match self.compression {
                Compressed::None => Compression::None,
                Compressed::Gzip => Compression::Gzip,
                Compressed::Snappy => Compression::Snappy,
                Compressed::Lz4 => Compression::Lz4,
                Compressed::Zstd => Compression::Zstd,
            },
        };
        let mut producer = Producer::new(&mut client, topic, wanted)?;
        interrupt::listen().map_err(|why| CommandError::failed(format!("cannot listen for signals: {why}")))?;
        let outcome = send_all(&mut client, &mut producer, &reading, input, typed);
        let said = self.summary(&producer);
        outcome.and(said)
    }

    fn key_separator(&self) -> Result<Option<Vec<u8>>, CommandError> {
        let Some(text) = &self.key_separator else { return Ok(None) };
        if self.input == Input::Json {
            return Err(CommandError::usage("--key-separator is for --input lines"));
        }
        let separator = unescape(text).map_err(CommandError::usage)?.into_bytes();
        if separator.is_empty() {
            Err(CommandError::usage("a key separator has a letter at least"))
        } else {
            Ok(Some(separator))
        }
    }

    fn summary(&self, producer: &Producer) -> Result<(), CommandError> {
        let partitions: Vec<SummaryPartition> = producer
            .written()
            .iter()
            .map(|(partition, written)| SummaryPartition {
                partition: *partition,
                records: written.records,
                first_offset: written.first_offset,
                last_offset: written.last_offset,
            })
            .collect();
        let records = partitions.iter().map(|partition| partition.records).sum();
        let mut output = Output::new(self.broker.json);
        if output.is_json() {
            return output.document(&Summary { topic: self.topic.clone(), records, partitions });
        }
        let mut text = format!("{} written to {}", counted(records, "record"), self.topic);
        if let [one] = &partitions[..]
            && let (Some(first), Some(last)) = (one.first_offset, one.last_offset)
        {
            text.push_str(&format!(", partition {}, offsets {first} to {last}", one.partition));
        } else if partitions.len() > 1 {
            text.push_str(&format!(", {}", counted(partitions.len() as u64, "partition")));
        }
        eprintln!("{text}");
        Ok(())
    }
}

fn send_all(
    client: &mut Client,
    producer: &mut Producer,
    reading: &Reading,
    input: Box<dyn Read + Send>,
    typed: bool,
) -> Result<(), CommandError> {
    let pieces =
        lines::read(input).map_err(|why| CommandError::failed(format!("cannot start reading the input: {why}")))?;
    let mut line: u64 = 0;
    let mut bytes: u64 = 0;
    let mut progress = Progress::new(!typed);
    let mut outcome = Ok(());
    let mut wait_ms = LOOK_MS;
    'reading: while !interrupt::happened() {
        match pieces.recv_timeout(Duration::from_millis(wait_ms)) {
            Ok(Ok(piece)) => {
                wait_ms = IDLE_MS;
                bytes += piece.len() as u64;
                for text in lines::lines(&piece) {
                    line += 1;
                    match reading.record(text) {
                        Ok((record, partition)) => producer.add(client, line, partition, record)?,
                        Err(why) => {
                            outcome = Err(CommandError::failed(format!("line {line}: {why}")));
                            break 'reading;
                        }
                    }
                }
                progress.show(|| format!("{line} records, {} MiB", bytes >> 20));
            }
            Ok(Err(why)) => {
                outcome = Err(CommandError::failed(format!("line {}: {why}", line + 1)));
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                producer.finish(client)?;
                wait_ms = LOOK_MS;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // What stands before a line that makes no sense is written.
    producer.finish(client)?;
    progress.end();
    // Who types ends so. A file or another command's output was not read to its end, and whoever waits for that must know.
    if interrupt::happened() && !typed && outcome.is_ok() {
        return Err(CommandError::failed(format!("interrupted: line {line} is the last that was read")));
    }
    outcome
}
