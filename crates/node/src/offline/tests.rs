// SPDX-License-Identifier: Apache-2.0
//! The tools on real data directories: made by the kernel on the real disk, damaged, looked at, saved, opened again.

use super::directory::blobs_of;
use super::{fsck, inspect, salvage};
use bytes::Bytes;
use head_kafka::coordinator::messages::{Answer, Ask, Commit, CommitPartition, CommitTopic, FetchOffsets};
use head_kafka::coordinator::{self, GroupSettings};
use head_kafka::wire::Text;
use kernel::auth::Principal;
use kernel::command::{DeclareTopic, Isolation, Origin, Publish, Read, TopicSettings, Trim};
use kernel::reply::ReadReply;
use kernel::shard::{Loaded, ShardConfig};
use kernel::{Command, Ctx, Effect, Reply, Shard};
use media::disk::real::{DirLock, RealDisk};
use media::identity;
use media::local::blobs::LocalBlobs;
use media::local::wal::{LocalWal, WalOptions};
use model::batch::{Header, NewRecord, Numbering, Records, build, inflate};
use model::media::{BlobKind, Blobs, Wal};
use model::{HolderId, NamespaceId, Now, Offset, PartitionId, ShardEpoch, ShardId, Ticket, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const NOW: Now = Now { mono_us: 1, wall_ms: 1_700_000_000_000 };

/// A directory that goes with the test.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> TestDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("polylog-offline-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        TestDir(path)
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    /// A copy of the data directory to be damaged.
    fn copy(&self) -> TestDir {
        let copy = TestDir::new();
        copy_dir(&self.data(), &copy.data());
        copy
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy_dir(&from, &to) } else { assert!(std::fs::copy(from, to).is_ok()) }
    }
}

/// All files below a directory, sorted.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() { files.extend(files_of(&entry.path())) } else { files.push(entry.path()) }
    }
    files.sort();
    files
}

fn flip(file: &Path, at: u64, bit: u32) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at as usize] ^= 1 << bit;
    std::fs::write(file, bytes).unwrap();
}

/// Shards on a directory, driven to rest after every command.
struct Broker {
    shards: Vec<OneShard>,
    replies: BTreeMap<u64, Reply>,
    ticket: u64,
    _lock: DirLock,
}

struct OneShard {
    shard: Shard,
    wal: LocalWal<RealDisk>,
    blobs: LocalBlobs<RealDisk>,
}

impl Broker {
    fn open(dir: &Path, shard_count: u32) -> Result<Broker, String> {
        let lock = DirLock::take(dir).map_err(|error| error.to_string())?;
        let mut disk = RealDisk::open(dir).unwrap();
        let identity = identity::open(&mut disk, [7; 16], shard_count).map_err(|error| error.to_string())?;
        let mut shards = Vec::new();
        for number in 0..identity.shard_count {
            let config = ShardConfig {
                shard: ShardId(number),
                shard_count: identity.shard_count,
                tail_bytes_max: 8 * 1024 * 1024,
                ..ShardConfig::default()
            };
            let mut blobs = LocalBlobs::new(RealDisk::open(dir).unwrap());
            blobs.clean_tmp(config.shard).unwrap();
            let loaded = Loaded::load(&config, &mut blobs).map_err(|error| format!("{error:?}"))?;
            let options = WalOptions {
                slot_bytes: 1024 * 1024,
                may_create: !identity.made,
                epoch_min: loaded.epoch(),
                ..WalOptions::new(config.shard, identity.cluster_id, config.tail_bytes_max)
            };
            let disk = RealDisk::open(dir).unwrap();
            let (wal, opened) = LocalWal::open(disk, options, loaded.wal_from()).map_err(|error| error.to_string())?;
            let shard = Shard::open(config, loaded, opened, coordinator::machines(&GroupSettings::default()), NOW)
                .map_err(|error| format!("{error:?}"))?;
            shards.push(OneShard { shard, wal, blobs });
        }
        identity::finish(&mut disk, identity).unwrap();
        let epochs: Arc<[ShardEpoch]> = shards.iter().map(|one| one.shard.epoch()).collect();
        let mut broker = Broker { shards, replies: BTreeMap::new(), ticket: 0, _lock: lock };
        for one in &mut broker.shards {
            one.shard.hello(NOW, epochs.clone());
        }
        broker.settle();
        Ok(broker)
    }

    /// Runs everything until nothing moves.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for number in 0..self.shards.len() {
                let mut messages = Vec::new();
                let one = &mut self.shards[number];
                if one.shard.poll_timeout().is_some_and(|due_us| due_us <= NOW.mono_us) {
                    one.shard.handle_timeout(NOW);
                    moved = true;
                }
                one.shard.finish(NOW);
                while let Some(effect) = one.shard.poll_effect() {
                    moved = true;
                    match effect {
                        Effect::Reply { ticket, reply, .. } => drop(self.replies.insert(ticket.0, reply)),
                        Effect::Wal(op) => one.wal.submit(op),
                        Effect::Blob(tag, op) => one.blobs.submit(tag, op),
                        Effect::Blocks(tag, read) => one.blobs.submit(tag, read.op()),
                        Effect::Work(work) => one.shard.handle_work(NOW, work.run()),
                        Effect::Send { shard, message } => messages.push((shard, message)),
                        Effect::Wake { .. } | Effect::Catalog(_) => {}
                        Effect::Fatal(error) => panic!("{error}"),
                    }
                }
                while let Some(done) = one.wal.poll_done() {
                    moved = true;
                    one.shard.handle_wal(NOW, done);
                }
                while let Some((tag, done)) = one.blobs.poll_done() {
                    moved = true;
                    one.shard.handle_blob(NOW, tag, done);
                }
                for (to, message) in messages {
                    self.shards[to.0 as usize].shard.handle_message(NOW, ShardId(number as u32), message);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn ask(&mut self, shard: ShardId, command: Command) -> Reply {
        self.ticket += 1;
        let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(1) };
        self.shards[shard.0 as usize].shard.submit(NOW, &ctx, Ticket(self.ticket), command);
        self.settle();
        self.replies.remove(&self.ticket).expect("everything is answered")
    }

    fn declare(&mut self, name: &str, partition_count: u32) {
        let reply = self.ask(
            ShardId::META,
            Command::DeclareTopic(DeclareTopic {
                topic: topic_id(name),
                name: name.into(),
                partition_count,
                settings: TopicSettings { retention_ms: None, ..TopicSettings::default() },
                validate_only: false,
            }),
        );
        assert!(matches!(reply, Reply::Declared(Ok(_))), "{reply:?}");
    }

    fn placement(&self, name: &str, index: usize) -> (PartitionId, ShardId) {
        let catalog = self.shards[0].shard.catalog();
        let ctx = Ctx { principal: Principal::System, namespace: NamespaceId::DEFAULT, holder: HolderId(1) };
        let topic = catalog.by_name(&ctx, name).unwrap();
        (topic.partitions[index].partition, topic.partitions[index].shard)
    }

    /// Appends a batch of `count` records; each says where it belongs.
    fn publish(&mut self, name: &str, index: usize, first: u64, count: u64) {
        let records: Vec<NewRecord> = (first..first + count)
            .map(|offset| NewRecord {
                timestamp_ms: 1_700_000_000_000 + offset as i64,
                key: None,
                value: Some(value(name, index, offset)),
                headers: Vec::new(),
            })
            .collect();
        let (partition, shard) = self.placement(name, index);
        let batch = build(&records, Numbering::NONE);
        let publish = Publish { partition, leader_epoch: None, batch, has_keys: false, origin: Origin::Kafka };
        match self.ask(shard, Command::Publish(publish)) {
            Reply::Published(Ok(published)) => assert_eq!(published.base_offset, Offset(first)),
            other => panic!("{other:?}"),
        }
    }

    fn ask_groups(&mut self, ask: Ask) -> Answer {
        let input = ask.encode();
        match self.ask(ShardId::META, Command::Coordinator { which: coordinator::GROUPS, input }) {
            Reply::Coordinated(Ok(answer)) => Answer::decode(answer).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, group: &str, name: &str, partition: i32, offset: u64) {
        let metadata = Text::from(format!("{name}/{partition}@{offset}"));
        let partition = CommitPartition { partition, offset: offset as i64, leader_epoch: 1, metadata };
        let topic_id = topic_id(name).0;
        let commit = Commit {
            group: Text::from(group),
            generation_id: -1,
            member_id: Text::EMPTY,
            group_instance_id: None,
            topics: vec![CommitTopic { topic_id, name: Text::from(name), partitions: vec![partition] }],
        };
        match self.ask_groups(Ask::Commit(commit)) {
            Answer::Committed(committed) => assert_eq!(committed.topics[0].partitions[0].error_code, 0),
            other => panic!("{other:?}"),
        }
    }

    /// What a group has committed: topic, partition, offset and the text beside it.
    fn committed(&mut self, group: &str) -> BTreeSet<(TopicId, i32, i64, String)> {
        let fetch = FetchOffsets { group: Text::from(group), topics: None, member_id: Text::EMPTY, member_epoch: -1 };
        let Answer::FetchedOffsets(fetched) = self.ask_groups(Ask::FetchOffsets(fetch)) else { panic!() };
        let rows = fetched.topics.into_iter().flat_map(|topic| {
            let id = TopicId(topic.topic_id);
            topic.partitions.into_iter().map(move |row| (id, row.partition, row.offset, row.metadata.to_string()))
        });
        rows.collect()
    }

    fn checkpoint(&mut self) {
        for one in &mut self.shards {
            one.shard.request_checkpoint(NOW);
        }
        self.settle();
        assert!(self.shards.iter().all(|one| one.shard.idle()));
    }

    /// All that can be read, as offsets and values; reading goes on behind what is refused as corrupt.
    fn read(&mut self, name: &str, index: usize) -> BTreeMap<u64, Bytes> {
        let (partition, shard) = self.placement(name, index);
        let mut found = BTreeMap::new();
        let mut from = self.start(name, index).0;
        loop {
            let command = Command::Read(Read {
                partition,
                from: Offset(from),
                bytes_max: 100_000,
                isolation: Isolation::High,
                leader_epoch: None,
                watch: None,
            });
            let reply = match self.ask(shard, command) {
                Reply::Read(Ok(reply)) => reply,
                other => panic!("{name}/{index} from {from}: {other:?}"),
            };
            let next = take(&reply, &mut found);
            if from >= reply.high.0 {
                return found;
            }
            assert!(next > from, "a reader of {name}/{index} is stuck at {from} of {}", reply.high);
            from = next;
        }
    }

    fn start(&mut self, name: &str, index: usize) -> Offset {
        let (partition, shard) = self.placement(name, index);
        let command = Command::Trim(Trim { partition, before: Some(Offset(0)) });
        match self.ask(shard, command) {
            Reply::Trimmed(Ok(trimmed)) => trimmed.start,
            other => panic!("{other:?}"),
        }
    }
}

fn topic_id(name: &str) -> TopicId {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    TopicId::from_random(id)
}

fn take(reply: &ReadReply, found: &mut BTreeMap<u64, Bytes>) -> u64 {
    let mut next = 0;
    for piece in &reply.pieces {
        let mut rest = piece.clone();
        while !rest.is_empty() {
            let header = Header::read(&rest).unwrap();
            let batch = rest.split_to(header.bytes);
            next = header.next_offset().0;
            let records = inflate(&batch, &header).unwrap();
            for record in Records::of(&records, &header).map(Result::unwrap) {
                let offset = header.base_offset.0 + record.offset_delta as u64;
                found.insert(offset, Bytes::copy_from_slice(record.value.unwrap()));
            }
        }
    }
    next
}

fn value(name: &str, index: usize, offset: u64) -> Bytes {
    format!("{name}/{index}@{offset} {}", "x".repeat((offset % 90) as usize)).into()
}

const PARTITIONS: [(&str, usize); 4] = [("orders", 0), ("orders", 1), ("orders", 2), ("audit", 0)];
/// Records of each partition in the first segment, the second, and the log.
const FIRST: u64 = 900;
const SECOND: u64 = 1200;
const END: u64 = 1400;
const PER_BATCH: u64 = 10;

/// Two topics; two spills with their checkpoints; more in the log.
fn filled(shard_count: u32) -> TestDir {
    let dir = TestDir::new();
    let mut broker = Broker::open(&dir.data(), shard_count).unwrap();
    broker.declare("orders", 3);
    broker.declare("audit", 1);
    for (from, to) in [(0, FIRST), (FIRST, SECOND), (SECOND, END)] {
        for first in (from..to).step_by(PER_BATCH as usize) {
            for (name, index) in PARTITIONS {
                broker.publish(name, index, first, PER_BATCH);
            }
        }
        if to < END {
            broker.checkpoint();
        }
    }
    dir
}

/// Opens a directory and reads it; each record must be the one that was written there.
fn contents(dir: &Path) -> BTreeMap<(String, u64), Bytes> {
    let mut broker = Broker::open(dir, 9).unwrap();
    let mut all = BTreeMap::new();
    for (name, index) in PARTITIONS {
        for (offset, found) in broker.read(name, index) {
            assert_eq!(found, value(name, index, offset), "{name}/{index} at {offset}");
            all.insert((format!("{name}/{index}"), offset), found);
        }
    }
    all
}

/// Saves what is good, opens it, and compares: what is not there is what was said to be lost, and the new directory is clean.
fn salvaged(dir: &TestDir) -> (salvage::SalvageReport, u64) {
    let report = salvage::run(&dir.data(), &dir.out()).unwrap();
    let checked = fsck::run(&dir.out()).unwrap();
    assert_eq!(checked.damage_count(), 0, "{}", checked.to_text());
    let all = contents(&dir.out());
    let mut lost = 0;
    for (name, index) in PARTITIONS {
        let name = format!("{name}/{index}");
        for offset in 0..END {
            let said = report.lost.iter().any(|lost| lost.name == name && (lost.from.0..lost.to.0).contains(&offset));
            let is_there = all.contains_key(&(name.clone(), offset));
            assert_ne!(said, is_there, "{name} offset {offset} in\n{}", report.to_text());
            lost += u64::from(said);
        }
    }
    (report, lost)
}

/// The files of one kind in shard 0, ascending.
fn blob_files(dir: &TestDir, kind: BlobKind) -> Vec<PathBuf> {
    let mut disk = RealDisk::open_read_only(&dir.data()).unwrap();
    let files = blobs_of(&mut disk, ShardId(0), kind).unwrap();
    files.into_iter().map(|(name, _)| dir.data().join(name.to_string())).collect()
}

#[test]
fn a_whole_directory_is_clean_and_salvage_loses_nothing() {
    for shard_count in [1, 2] {
        let dir = filled(shard_count);
        let report = fsck::run(&dir.data()).unwrap();
        assert_eq!((report.exit_code(), report.looked_at.shards), (0, u64::from(shard_count)), "{}", report.to_text());
        assert_eq!(report.looked_at.partitions, 4);
        assert_eq!(report.looked_at.batches, 4 * END / PER_BATCH);
        assert!(report.to_text().ends_with("clean\n"));
        let (report, lost) = salvaged(&dir);
        assert_eq!((report.exit_code(), lost), (0, 0), "{}", report.to_text());
        assert_eq!((report.topics, report.partitions, report.records), (2, 4, 4 * END));
        assert_eq!(contents(&dir.data()), contents(&dir.out()));
    }
}

#[test]
fn a_salvaged_directory_goes_on_where_the_old_one_ended() {
    let dir = filled(1);
    salvaged(&dir);
    let mut broker = Broker::open(&dir.out(), 1).unwrap();
    broker.publish("orders", 1, END, PER_BATCH);
    broker.checkpoint();
    drop(broker);
    assert_eq!(contents(&dir.out()).len() as u64, 4 * END + PER_BATCH);
    assert_eq!(fsck::run(&dir.out()).unwrap().exit_code(), 0);
}

#[test]
fn what_groups_committed_is_shown_and_saved() {
    let dir = filled(1);
    let mut broker = Broker::open(&dir.data(), 1).unwrap();
    broker.declare("brief", 1);
    for (name, index, offset) in [("orders", 0, 900), ("audit", 0, 7), ("brief", 0, 1)] {
        broker.commit("billing", name, index, offset);
    }
    broker.checkpoint();
    // Behind the checkpoint: one more, one again, and a topic that takes its offsets along.
    broker.commit("billing", "orders", 1, 55);
    broker.commit("billing", "orders", 0, 950);
    let Reply::Deleted(Ok(())) = broker.ask(ShardId::META, Command::DeleteTopic { topic: topic_id("brief") }) else {
        panic!("not deleted");
    };
    let committed = broker.committed("billing");
    assert_eq!(committed.len(), 3);
    drop(broker);
    let checked = fsck::run(&dir.data()).unwrap();
    assert_eq!(checked.exit_code(), 0, "{}", checked.to_text());
    let newest = blob_files(&dir, BlobKind::Checkpoint).pop().unwrap();
    let shown = inspect::run(&newest).unwrap().to_text();
    assert!(shown.contains("group \"billing\": topic "), "{shown}");
    assert!(shown.contains("partition 0 committed 900"), "{shown}");
    let report = salvage::run(&dir.data(), &dir.out()).unwrap();
    assert_eq!(report.exit_code(), 0, "{}", report.to_text());
    assert_eq!(fsck::run(&dir.out()).unwrap().exit_code(), 0);
    assert_eq!(Broker::open(&dir.out(), 1).unwrap().committed("billing"), committed);
}

#[test]
fn a_rotten_record_costs_its_batch_and_nothing_else() {
    let dir = filled(1);
    let segments = blob_files(&dir, BlobKind::Segment);
    assert_eq!(segments.len(), 2);
    let needle = value("orders", 1, 444);
    let bytes = std::fs::read(&segments[0]).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap() as u64;
    flip(&segments[0], at + 3, 2);
    let report = fsck::run(&dir.data()).unwrap();
    assert_eq!(report.exit_code(), 1);
    let text = report.to_text();
    assert!(text.contains("damage: seg/00/") && text.contains("orders/1 offsets"), "{text}");
    assert_eq!(report.to_json()["damaged"], 1);
    let (report, lost) = salvaged(&dir);
    assert_eq!((report.exit_code(), lost), (1, PER_BATCH));
    assert!(report.to_text().contains("lost: orders/1 offsets 440..450 (10 records)"), "{}", report.to_text());
    assert_eq!(report.to_json()["lost"][0]["from"], 440);
}

#[test]
fn a_batch_whose_outer_header_rots_is_mended() {
    let dir = filled(1);
    let segments = blob_files(&dir, BlobKind::Segment);
    let needle = value("orders", 0, 440);
    let bytes = std::fs::read(&segments[0]).unwrap();
    let record_at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    let batch_at = bytes[..record_at].windows(8).rposition(|window| window == 440u64.to_be_bytes()).unwrap() as u64;
    for byte in 0..21 {
        let dir = dir.copy();
        flip(&blob_files(&dir, BlobKind::Segment)[0], batch_at + byte, 4);
        assert_eq!(fsck::run(&dir.data()).unwrap().exit_code(), 1, "byte {byte}");
        let (report, lost) = salvaged(&dir);
        assert_eq!((lost, report.exit_code()), (0, 0), "byte {byte}: {}", report.to_text());
    }
}

#[test]
fn a_lost_or_unreadable_segment_costs_its_records() {
    let dir = filled(1);
    for damage in 0..4 {
        let dir = dir.copy();
        let file = &blob_files(&dir, BlobKind::Segment)[usize::from(damage > 1)];
        let length = std::fs::metadata(file).unwrap().len();
        match damage {
            0 | 3 => std::fs::remove_file(file).unwrap(),
            1 => std::fs::write(file, &std::fs::read(file).unwrap()[..length as usize - 40]).unwrap(),
            _ => std::fs::write(file, b"").unwrap(),
        }
        assert_eq!(fsck::run(&dir.data()).unwrap().exit_code(), 1);
        assert!(Broker::open(&dir.data(), 1).is_err(), "a broker refuses it");
        let (report, lost) = salvaged(&dir);
        // What the log still has of the second is saved from there.
        let most = 4 * if damage > 1 { SECOND - FIRST } else { FIRST };
        assert!(lost <= most, "{lost} of {most}: {}", report.to_text());
        assert_eq!(report.exit_code(), 1);
    }
}

#[test]
fn a_flip_in_a_segment_outside_its_records_costs_nothing() {
    let dir = filled(1);
    let length = std::fs::metadata(&blob_files(&dir, BlobKind::Segment)[0]).unwrap().len();
    for at in [0, 33, 60, length - 1, length - 40, length - 64, length - 70, length - 120, length - 150] {
        let dir = dir.copy();
        flip(&blob_files(&dir, BlobKind::Segment)[0], at, 5);
        assert_eq!(fsck::run(&dir.data()).unwrap().exit_code(), 1, "byte {at}");
        assert!(Broker::open(&dir.data(), 1).is_err(), "a broker refuses it");
        let (report, lost) = salvaged(&dir);
        assert_eq!((lost, report.exit_code()), (0, 0), "byte {at}: {}", report.to_text());
    }
}

#[test]
fn the_lost_end_of_a_partition_is_never_given_out_again() {
    let dir = filled(1);
    drop(Broker::open(&dir.data(), 1).map(|mut broker| broker.checkpoint()));
    let segments = blob_files(&dir, BlobKind::Segment);
    // The log, too, which may still have it.
    for file in files_of(&dir.data().join("wal")) {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[4096..].fill(0);
        std::fs::write(&file, bytes).unwrap();
    }
    std::fs::remove_file(&segments[2]).unwrap();
    let (report, lost) = salvaged(&dir);
    assert_eq!(lost, 4 * (END - SECOND), "{}", report.to_text());
    let mut broker = Broker::open(&dir.out(), 1).unwrap();
    broker.publish("audit", 0, END, PER_BATCH);
}

#[test]
fn a_rotten_log_costs_its_frame_and_nothing_else() {
    let dir = filled(1);
    // The frame of one batch in the middle of the log.
    let needle = value("orders", 2, 1275);
    let found = files_of(&dir.data().join("wal")).into_iter().find_map(|file| {
        let bytes = std::fs::read(&file).unwrap();
        Some((file, bytes.windows(needle.len()).position(|window| window == needle)?))
    });
    let (file, at) = found.unwrap();
    flip(&file, at as u64, 0);
    let report = fsck::run(&dir.data()).unwrap();
    assert!(report.to_text().contains("damage: wal/00/"), "{}", report.to_text());
    assert!(Broker::open(&dir.data(), 1).is_err(), "a broker refuses it");
    let (report, lost) = salvaged(&dir);
    assert_eq!(lost, PER_BATCH, "{}", report.to_text());
    assert!(report.to_text().contains("lost: orders/2 offsets 1270..1280"), "{}", report.to_text());
}

#[test]
fn a_damaged_checkpoint_is_rebuilt_from_what_is_left() {
    let dir = filled(1);
    let checkpoints = blob_files(&dir, BlobKind::Checkpoint);
    for file in &checkpoints {
        let length = std::fs::metadata(file).unwrap().len();
        for at in [0, 40, 70, 100, 200, length / 2, length - 70, length - 1] {
            let dir = dir.copy();
            flip(&dir.data().join(file.strip_prefix(dir_of(file)).unwrap()), at.min(length - 1), 1);
            let checked = fsck::run(&dir.data()).unwrap();
            assert_ne!(checked.findings.len(), 0, "{} byte {at}", file.display());
            let report = salvage::run(&dir.data(), &dir.out()).unwrap();
            // Every record is saved; a topic's name may be lost, then under another one.
            assert_eq!(report.records, 4 * END, "{} byte {at}: {}", file.display(), report.to_text());
            let mut broker = Broker::open(&dir.out(), 1).unwrap();
            broker.checkpoint();
            drop(broker);
            assert_eq!(fsck::run(&dir.out()).unwrap().exit_code(), 0, "{}", report.to_text());
        }
    }
}

/// The data directory that a checkpoint file stands in.
fn dir_of(file: &Path) -> PathBuf {
    file.ancestors().nth(3).unwrap().to_owned()
}

#[test]
fn a_lost_identity_is_told_from_the_other_files() {
    let dir = filled(2);
    std::fs::remove_file(dir.data().join("identity")).unwrap();
    assert_eq!(fsck::run(&dir.data()).unwrap().exit_code(), 1);
    let (report, lost) = salvaged(&dir);
    assert_eq!(lost, 0, "{}", report.to_text());
    let identity = identity::read(&mut RealDisk::open(&dir.out()).unwrap()).unwrap().unwrap();
    assert_eq!((identity.cluster_id, identity.shard_count), ([7; 16], 2));
}

/// The one property: whatever bit flips, what a broker or a salvage then serves is what was written, and fsck tells of any flip that
/// a broker minds.
#[test]
fn a_flip_anywhere_is_found_or_harmless() {
    let dir = filled(1);
    let whole = contents(&dir.copy().data());
    let mut word = 1u64;
    let mut random = |below: u64| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 33) % below
    };
    for round in 0..60 {
        let copy = dir.copy();
        let files: Vec<PathBuf> = files_of(&copy.data()).into_iter().filter(|file| !file.ends_with("lock")).collect();
        let file = &files[random(files.len() as u64) as usize];
        let length = std::fs::metadata(file).unwrap().len();
        // Slots are mostly empty: the part in use is at the start.
        let at = random(length.min(100_000));
        flip(file, at, random(8) as u32);
        let place = format!("round {round}: {} byte {at}", file.display());
        let checked = fsck::run(&copy.data()).unwrap();
        assert!(inspect::run(file).is_ok());
        if checked.exit_code() == 0 {
            assert_eq!(contents(&copy.copy().data()), whole, "{place}: not found by fsck");
        }
        let report = salvage::run(&copy.data(), &copy.out()).unwrap();
        let saved = contents_there(&copy.out());
        assert!(saved.iter().all(|(key, value)| whole.get(key) == Some(value)), "{place}");
        let missing = whole.keys().filter(|key| !saved.contains_key(*key)).count() as u64;
        let said: u64 = report.lost.iter().map(|lost| lost.to.0 - lost.from.0).sum();
        assert!(
            missing == said || (missing > said && report.exit_code() == 1),
            "{place}: {missing} {said}\n{}",
            report.to_text()
        );
    }
}

/// Like `contents`, of the topics that are there.
fn contents_there(dir: &Path) -> BTreeMap<(String, u64), Bytes> {
    let mut broker = Broker::open(dir, 1).unwrap();
    let mut all = BTreeMap::new();
    let ctx = Ctx { principal: Principal::System, namespace: NamespaceId::DEFAULT, holder: HolderId(1) };
    for (name, index) in PARTITIONS {
        if broker.shards[0].shard.catalog().by_name(&ctx, name).is_some() {
            let found = broker.read(name, index);
            all.extend(found.into_iter().map(|(offset, value)| ((format!("{name}/{index}"), offset), value)));
        }
    }
    all
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let dir = filled(1);
    let lock = DirLock::take(&dir.data()).unwrap();
    assert!(fsck::run(&dir.data()).unwrap_err().0.contains("stop the broker first"));
    assert!(salvage::run(&dir.data(), &dir.out()).unwrap_err().0.contains("stop the broker first"));
    drop(lock);
    let before: Vec<Vec<u8>> = files_of(&dir.data()).iter().map(|file| std::fs::read(file).unwrap()).collect();
    fsck::run(&dir.data()).unwrap();
    salvage::run(&dir.data(), &dir.out()).unwrap();
    let after: Vec<Vec<u8>> = files_of(&dir.data()).iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(before == after, "nothing is changed");
    let refused = salvage::run(&dir.data(), &dir.out()).unwrap_err();
    assert!(refused.0.contains("is not an empty directory"), "{refused}");
    assert!(fsck::run(&dir.0).unwrap_err().0.contains("is not a data directory"));
    assert!(fsck::run(&dir.0.join("nothing")).unwrap_err().0.contains("is not a directory"));
}

#[test]
fn every_file_is_told_by_its_first_bytes() {
    let dir = filled(1);
    let mut kinds = Vec::new();
    for file in files_of(&dir.data()).into_iter().filter(|file| !file.ends_with("lock")) {
        let shown = inspect::run(&file).unwrap();
        assert_eq!(shown.exit_code(), 0, "{}", shown.to_text());
        assert_eq!(shown.to_json()["kind"], shown.kind);
        let expected = match shown.kind {
            "identity" => "1 shard",
            "segment" => "offsets 0..=",
            "checkpoint" => "\"orders\"",
            _ => "slot ",
        };
        if !kinds.contains(&shown.kind) {
            assert!(shown.to_text().contains(expected), "{}", shown.to_text());
        }
        kinds.push(shown.kind);
    }
    kinds.dedup();
    assert_eq!(kinds, ["checkpoint", "identity", "segment", "log slot"]);
}

#[test]
fn a_segment_says_which_of_its_batches_stand_in_the_log() {
    let dir = filled(1);
    let file = dir.0.join("with_slots");
    std::fs::write(&file, include_bytes!("../../../kernel/src/format/v1/testdata/segment_slots.bin")).unwrap();
    let shown = inspect::run(&file).unwrap();
    assert_eq!((shown.kind, shown.exit_code()), ("segment", 0), "{}", shown.to_text());
    assert!(shown.to_text().contains("batches in log slots 7, 40000 besides"), "{}", shown.to_text());
    let mut rotten = std::fs::read(&file).unwrap();
    rotten[80] ^= 1;
    std::fs::write(&file, rotten).unwrap();
    let shown = inspect::run(&file).unwrap();
    assert!(shown.exit_code() == 1 && shown.to_text().contains("1 block ROTTEN"), "{}", shown.to_text());
}

#[test]
fn any_bytes_are_shown_or_refused() {
    let dir = filled(1);
    let noise = dir.0.join("noise");
    for file in files_of(&dir.data()) {
        let whole = std::fs::read(&file).unwrap();
        for length in
            [0, 1, 8, 63, 64, 65, 127, 128, 200, 4095, 4096, 4200].into_iter().filter(|length| *length <= whole.len())
        {
            std::fs::write(&noise, &whole[..length]).unwrap();
            inspect::run(&noise).unwrap();
        }
        for at in (0..200.min(whole.len())).step_by(3) {
            let mut bytes = whole[..whole.len().min(20_000)].to_vec();
            bytes[at] ^= 0x55;
            std::fs::write(&noise, &bytes).unwrap();
            inspect::run(&noise).unwrap();
        }
    }
    assert!(inspect::run(&dir.data()).unwrap_err().0.contains("is not a file"));
}
