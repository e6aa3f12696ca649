// SPDX-License-Identifier: Apache-2.0
//! Behaviour as text: each script of `testdata/` is commands, and under each what came out, indented. `UPDATE_EXPECT=1` rewrites
//! the files with what comes out now.

use super::counter::COUNTER;
use super::system::{Out, System};
use crate::command::{
    AlterTopic, Command, Compaction, DeclareTopic, Describe, Isolation, Locate, LocateBy, Origin, Publish, Read,
    TopicSettings, Trim,
};
use crate::reply::{ReadReply, Reply};
use crate::shard::ShardConfig;
use bytes::Bytes;
use model::batch::{Batch, CRC_START, HEADER_BYTES, Header, NewRecord, Numbering, Records, build, inflate};
use model::media::{BlobKind, BlobName};
use model::{HolderId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ShardId, TopicId, crc};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

struct Script {
    system: System,
    ticket: u64,
    topics: BTreeMap<String, TopicId>,
}

/// One line, split: words, and `name=value`.
struct Line<'a> {
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        let (mut words, mut options) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => {
                    options.insert(name, value);
                }
                None => words.push(word),
            }
        }
        Line { words, options }
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.options.get(name).map(|value| value.parse().ok().unwrap_or_else(|| panic!("{name}={value}")))
    }
}

pub fn values(piece: &Bytes) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < piece.len() {
        let header = Header::read(&piece[at..]).expect("a header");
        let batch = piece.slice(at..at + header.bytes);
        let records = inflate(&batch, &header).expect("records");
        for record in Records::of(&records, &header) {
            let record = record.expect("a record");
            let value = String::from_utf8_lossy(record.value.unwrap_or(b"")).into_owned();
            found.push((header.base_offset.0 + record.offset_delta as u64, value));
        }
        at += header.bytes;
    }
    found
}

impl Script {
    fn partition(&self, word: &str) -> (ShardId, PartitionId) {
        let (name, index) = word.split_once('/').expect("topic/index");
        let index: usize = index.parse().expect("an index");
        let id = self.topics.get(name).copied().unwrap_or(TopicId::NONE);
        let known = self.system.members[0].shard.catalog().by_id(&super::system::ctx(0), id).cloned();
        match known.as_ref().and_then(|topic| topic.partitions.get(index)) {
            Some(placement) => (placement.shard, placement.partition),
            None => (ShardId(0), PartitionId(1_000_000)),
        }
    }

    fn batch(&self, line: &Line<'_>) -> Batch {
        let timestamp_ms = line.number("ts").unwrap_or(self.system.now.wall_ms as i64);
        let records: Vec<NewRecord> = line.words[2..]
            .iter()
            .enumerate()
            .map(|(number, value)| {
                let value = match value.strip_prefix('*') {
                    Some(bytes) => vec![b'x'; bytes.parse().expect("*BYTES")],
                    None => value.as_bytes().to_vec(),
                };
                let step: i64 = line.number("step").unwrap_or(0);
                let timestamp_ms = timestamp_ms + step * number as i64;
                let key = line.options.get("key").map(|key| Bytes::copy_from_slice(key.as_bytes()));
                NewRecord { timestamp_ms, key, value: Some(value.into()), headers: Vec::new() }
            })
            .collect();
        let numbering = match line.number("pid") {
            Some(pid) => Numbering {
                producer_id: ProducerId(pid),
                producer_epoch: ProducerEpoch(line.number("epoch").unwrap_or(0)),
                base_sequence: line.number("seq").expect("seq="),
            },
            None => Numbering::NONE,
        };
        let batch = build(&records, numbering);
        let mut bytes = batch.bytes().to_vec();
        match line.options.get("spoil") {
            Some(&"records") => {
                // Says gzip and holds none.
                bytes[22] |= 1;
            }
            Some(&"transactional") => bytes[22] |= 1 << 4,
            _ => return batch,
        }
        assert!(bytes.len() > HEADER_BYTES);
        let crc = crc::crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        Batch::check(bytes.into(), usize::MAX).expect("its header is good")
    }

    fn run(&mut self, text: &str) -> String {
        let line = Line::of(text);
        let holder = line.number("as").unwrap_or(1);
        self.ticket += 1;
        let ticket = self.ticket;
        let leader_epoch = line.number("leader").map(LeaderEpoch);
        let mut extra = String::new();
        match line.words[0] {
            "declare" => {
                let name = line.words[1];
                let mut id = [0; 16];
                let bytes = format!("{name}{ticket}");
                let count = bytes.len().min(16);
                id[..count].copy_from_slice(&bytes.as_bytes()[..count]);
                let id = TopicId::from_random(id);
                self.topics.entry(name.to_string()).or_insert(id);
                let settings = TopicSettings {
                    retention_ms: line.number("retention_ms"),
                    retention_bytes: line.number("retention_bytes"),
                    batch_bytes_max: line.number("batch_max").unwrap_or(1 << 20),
                    compaction: line.options.contains_key("compacted").then(Compaction::default),
                    ..TopicSettings::default()
                };
                let declare = DeclareTopic {
                    topic: id,
                    name: name.into(),
                    partition_count: line.number("partitions").unwrap_or(1),
                    settings,
                    validate_only: line.options.contains_key("validate"),
                };
                self.system.submit(ShardId(0), holder, ticket, Command::DeclareTopic(declare));
            }
            "alter" => {
                let topic = self.topics.get(line.words[1]).copied().unwrap_or(TopicId::NONE);
                let known = self.system.members[0].shard.catalog().by_id(&super::system::ctx(0), topic).cloned();
                let mut seen = known.as_ref().map_or(TopicSettings::default(), |topic| topic.settings.clone());
                let count = known.map_or(1, |topic| topic.partitions.len() as u32);
                let settings = TopicSettings {
                    retention_ms: line.number("retention_ms").or(seen.retention_ms),
                    batch_bytes_max: line.number("batch_max").unwrap_or(seen.batch_bytes_max),
                    compaction: match line.options.get("compacted") {
                        Some(&"no") => None,
                        Some(_) => Some(Compaction::default()),
                        None => seen.compaction,
                    },
                    ..seen.clone()
                };
                if line.options.contains_key("stale") {
                    seen.batch_bytes_max += 1;
                }
                let alter = AlterTopic {
                    topic,
                    seen,
                    seen_partition_count: line.number("seen").unwrap_or(count),
                    settings,
                    partition_count: line.number("partitions").unwrap_or(count),
                    validate_only: line.options.contains_key("validate"),
                };
                let shard = ShardId(line.number("shard").unwrap_or(0));
                self.system.submit(shard, holder, ticket, Command::AlterTopic(alter));
            }
            "describe" => {
                let (shard, partition) = self.partition(line.words[1]);
                let describe = Describe { partition, producers_max: line.number("max").unwrap_or(10) };
                self.system.submit(shard, holder, ticket, Command::Describe(describe));
            }
            "settings" => {
                for topic in self.system.catalog.topics(&super::system::ctx(1)) {
                    let settings = &topic.settings;
                    let (retention_ms, batch_max) = (settings.retention_ms, settings.batch_bytes_max);
                    writeln!(extra, "{} retention {retention_ms:?} batch {batch_max}", topic.name).expect("text");
                }
            }
            "delete" => {
                let topic = self.topics.remove(line.words[1]).unwrap_or(TopicId::NONE);
                self.system.submit(ShardId(0), holder, ticket, Command::DeleteTopic { topic });
            }
            "publish" => {
                let (shard, partition) = self.partition(line.words[1]);
                let batch = self.batch(&line);
                // As a head that knows of the compaction: a key that is there was seen.
                let has_keys = line.options.contains_key("key");
                let publish = Publish { partition, leader_epoch, batch, has_keys, origin: Origin::Kafka };
                self.system.submit(shard, holder, ticket, Command::Publish(publish));
            }
            "read" => {
                let (shard, partition) = self.partition(line.words[1]);
                let read = Read {
                    partition,
                    from: Offset(line.number("from").unwrap_or(0)),
                    bytes_max: line.number("max").unwrap_or(1_000_000),
                    isolation: Isolation::High,
                    leader_epoch,
                    watch: line.number("watch"),
                };
                self.system.submit(shard, holder, ticket, Command::Read(read));
            }
            "locate" => {
                let (shard, partition) = self.partition(line.words[1]);
                let by = match (line.words.get(2), line.number("time")) {
                    _ if line.options.contains_key("epoch") => {
                        LocateBy::EpochEnd(LeaderEpoch(line.number("epoch").expect("epoch=")))
                    }
                    (_, Some(time)) => LocateBy::Timestamp(time),
                    (Some(&"start"), _) => LocateBy::Start,
                    (Some(&"end"), _) => LocateBy::End,
                    (Some(&"max"), _) => LocateBy::MaxTimestamp,
                    other => panic!("locate by {other:?}"),
                };
                let locate = Locate { partition, by, isolation: Isolation::High, leader_epoch };
                self.system.submit(shard, holder, ticket, Command::Locate(locate));
            }
            "trim" => {
                let (shard, partition) = self.partition(line.words[1]);
                let before = line.number("before").map(Offset);
                self.system.submit(shard, holder, ticket, Command::Trim(Trim { partition, before }));
            }
            "init" => self.system.submit(ShardId(0), holder, ticket, Command::InitProducer),
            "count" => {
                let input = Bytes::copy_from_slice(line.words[1].as_bytes());
                let which = line.number("which").unwrap_or(COUNTER);
                self.system.submit(ShardId(0), holder, ticket, Command::Coordinator { which, input });
            }
            "gone" => {
                for shard in 0..self.system.members.len() {
                    self.system.submit(ShardId(shard as u32), holder, ticket, Command::Gone);
                }
            }
            "hold" => match line.words[1] {
                "wal" => self.system.hold_wal = true,
                "blobs" => self.system.hold_blobs = true,
                "messages" => self.system.hold_messages = true,
                other => panic!("hold {other}"),
            },
            "let" => match line.words[1] {
                "wal" => self.system.hold_wal = false,
                "blobs" => self.system.hold_blobs = false,
                "messages" => self.system.hold_messages = false,
                other => panic!("let {other}"),
            },
            "sync" => {
                self.system.sync(line.words.get(1).map_or(usize::MAX, |count| count.parse().expect("a count")));
            }
            "fail" => self.system.fail_wal(0),
            // What the log tells.
            "room" => self.system.tell_room(line.words[1] == "some"),
            "advance" => self.system.advance(line.words[1].parse().expect("milliseconds")),
            "checkpoint" => self.system.checkpoint(),
            "crash" => self.system.crash(line.number("kept").unwrap_or(0)),
            "space" => {
                for member in &mut self.system.members {
                    member.blobs.no_space = line.words[1] == "none";
                    member.blobs.room = line.words[1].parse().ok();
                }
            }
            "rot" => {
                let number = line.number("segment").expect("segment=");
                let name = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number };
                let at: usize = line.number("at").expect("at=");
                self.system.members[0].blobs.files.get_mut(&name).expect("a segment")[at] ^= 1;
            }
            "lose" => {
                let number = line.number("segment").expect("segment=");
                let name = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number };
                self.system.members[0].blobs.files.remove(&name).expect("a segment");
            }
            "files" => {
                for member in &self.system.members {
                    for name in member.blobs.files.keys() {
                        writeln!(extra, "{name}").expect("text");
                    }
                }
            }
            "reserve" => {
                for member in &self.system.members {
                    writeln!(extra, "{} set aside, {:?} free", member.blobs.reserve, member.blobs.room).expect("text");
                }
            }
            "topics" => {
                for topic in self.system.catalog.topics(&super::system::ctx(1)) {
                    let shards: Vec<String> =
                        topic.partitions.iter().map(|row| format!("{}@{}", row.partition, row.shard)).collect();
                    writeln!(extra, "{} {}", topic.name, shards.join(" ")).expect("text");
                }
            }
            "figures" => {
                let figures = format!("{:?}", self.system.members[0].shard.figures());
                for name in &line.words[1..] {
                    let at = figures.find(&format!(" {name}: ")).unwrap_or_else(|| panic!("no figure {name}"));
                    let value = figures[at + name.len() + 3..].split([',', ' ']).next().expect("a value");
                    writeln!(extra, "{name} {value}").expect("text");
                }
            }
            other => panic!("unknown command {other}"),
        }
        self.system.pump();
        let mut out = String::new();
        for event in std::mem::take(&mut self.system.out) {
            let told = |of: u64| if of == ticket { String::new() } else { format!("line {of}: ") };
            match event {
                Out::Reply(_, of, reply) => writeln!(out, "{}{}", told(of.0), describe(&reply)),
                Out::Wake(HolderId(holder), watch) => writeln!(out, "wake {holder} watch {watch}"),
                Out::Fatal => writeln!(out, "fatal"),
            }
            .expect("text");
        }
        out + &extra
    }
}

fn describe(reply: &Reply) -> String {
    match reply {
        Reply::Published(Ok(published)) => {
            let duplicate = if published.duplicate { " duplicate" } else { "" };
            format!("published at {}{duplicate}", published.base_offset)
        }
        Reply::Read(Ok(reply)) => describe_read(reply),
        Reply::Located(Ok(located)) => match (located.offset, located.timestamp_ms) {
            (None, _) => "nothing".to_string(),
            (Some(offset), None) => format!("offset {offset} epoch {}", located.leader_epoch),
            (Some(offset), Some(time)) => format!("offset {offset} time {time} epoch {}", located.leader_epoch),
        },
        Reply::Trimmed(Ok(trimmed)) => format!("start {}", trimmed.start),
        Reply::Declared(Ok(declared)) => format!("declared {} partitions", declared.partition_count),
        Reply::Altered(Ok(altered)) => format!("altered {} partitions", altered.partition_count),
        Reply::Described(Ok(described)) => {
            let mut out = format!("{}..{} {} bytes", described.start, described.high, described.stored_bytes);
            if described.pinned_bytes > 0 {
                write!(out, " pinned {}", described.pinned_bytes).expect("text");
            }
            for producer in &described.producers {
                write!(out, " producer {} epoch {}", producer.id, producer.epoch).expect("text");
                write!(out, " sequence {}", producer.last_sequence).expect("text");
            }
            out
        }
        Reply::Deleted(Ok(())) => "deleted".to_string(),
        Reply::Producer(Ok(ready)) => format!("producer {} epoch {}", ready.id, ready.epoch),
        Reply::Coordinated(Ok(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Published(Err(error)) => format!("error {error:?}"),
        Reply::Read(Err(error)) => format!("error {error:?}"),
        Reply::Located(Err(error)) => format!("error {error:?}"),
        Reply::Trimmed(Err(error)) => format!("error {error:?}"),
        Reply::Declared(Err(error)) => format!("error {error:?}"),
        Reply::Altered(Err(error)) => format!("error {error:?}"),
        Reply::Described(Err(error)) => format!("error {error:?}"),
        Reply::Deleted(Err(error)) => format!("error {error:?}"),
        Reply::Producer(Err(error)) => format!("error {error:?}"),
        Reply::Coordinated(Err(error)) => format!("error {error:?}"),
    }
}

fn describe_read(reply: &ReadReply) -> String {
    let mut out = format!("{}..{}", reply.start, reply.high);
    for (offset, value) in reply.pieces.iter().flat_map(values) {
        let value = if value.len() > 20 { format!("*{}", value.len()) } else { value };
        write!(out, " {offset}:{value}").expect("text");
    }
    out
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata").join(name);
    let text = std::fs::read_to_string(&path).expect("the script");
    let mut script: Option<Script> = None;
    let mut found = String::new();
    for line in text.lines() {
        if line.starts_with("  ") {
            continue;
        }
        found.push_str(line);
        found.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = Line::of(line);
        if parsed.words[0] == "shards" {
            let defaults = ShardConfig::default();
            let config = ShardConfig {
                tail_bytes_max: parsed.number("tail").unwrap_or(defaults.tail_bytes_max),
                read_ahead_bytes_max: parsed.number("ahead").unwrap_or(defaults.read_ahead_bytes_max),
                producers_max: parsed.number("producers").unwrap_or(defaults.producers_max),
                producer_expiry_ms: parsed.number("expiry_ms").unwrap_or(defaults.producer_expiry_ms),
                ..defaults
            };
            let shard_count = parsed.words[1].parse().expect("a count");
            script = Some(Script { system: System::with(shard_count, config), ticket: 0, topics: BTreeMap::new() });
            continue;
        }
        let script = script.as_mut().expect("`shards N` first");
        // `repeat N command` shows what the last one gave.
        let (count, command) = match line.strip_prefix("repeat ").and_then(|rest| rest.split_once(' ')) {
            Some((count, command)) => (count.parse().expect("a count"), command),
            None => (1, line),
        };
        let out = (0..count).map(|_| script.run(command)).last().unwrap_or_default();
        out.lines().for_each(|line| writeln!(found, "  {line}").expect("text"));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).expect("the script is written");
    } else {
        assert!(text == found, "{name} has changed; UPDATE_EXPECT=1 writes what comes out now:\n{found}");
    }
}

macro_rules! scripts {
    ($($test:ident),* $(,)?) => {
        $(#[test] fn $test() { check(concat!(stringify!($test), ".txt")); })*
    };
}

scripts!(
    publish_and_read,
    idempotent_producers,
    watches,
    locate,
    trim_and_retention,
    topics,
    two_shards,
    spill_and_cold_reads,
    merges,
    pinned,
    rotten_segment,
    read_ahead,
    admission,
    disk_full,
    producer_ids,
    coordinator,
    coordinator_room,
    log_failure,
    altered_topics,
    keys,
    epoch_ends,
);
