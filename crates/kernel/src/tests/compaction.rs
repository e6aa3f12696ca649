// SPDX-License-Identifier: Apache-2.0
//! Compaction against a plain list of what was published: nothing live is lost, nothing dead comes back, nothing dead stays.

use super::system::{Out, System};
use crate::command::{
    Command, Compaction, DeclareTopic, Isolation, Locate, LocateBy, Origin, Publish, Read, TopicSettings, Trim,
};
use crate::log::read::Walk;
use crate::reply::Reply;
use crate::shard::ShardConfig;
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering, Records, build};
use model::compression::Compression;
use model::{Offset, PartitionId, ShardId, TopicId};
use proptest::prelude::*;
use std::collections::BTreeMap;

const CHECK_MS: u64 = 1_000;
const TOMBSTONE_MS: u64 = 20_000;

/// A record as published, or as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    offset: u64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp_ms: i64,
}

struct Run {
    system: System,
    /// All of partition 0, in order.
    published: Vec<Row>,
    trimmed: u64,
}

impl Run {
    fn new(compaction: Compaction) -> Run {
        #[cfg(feature = "planted")]
        model::planted::plant(std::env::var_os("PLANT").and_then(|name| model::planted::Bug::named(name.to_str()?)));
        let config = ShardConfig { tail_bytes_max: 16 << 20, retention_check_ms: CHECK_MS, ..ShardConfig::default() };
        let mut system = System::with(1, config);
        let settings = TopicSettings { retention_ms: None, compaction: Some(compaction), ..TopicSettings::default() };
        let declare = DeclareTopic {
            topic: TopicId([1; 16]),
            name: "t".into(),
            partition_count: 2,
            settings,
            validate_only: false,
        };
        system.submit(ShardId(0), 1, 1, Command::DeclareTopic(declare));
        system.pump();
        Run { system, published: Vec::new(), trimmed: 0 }
    }

    /// One batch. An empty value is a tombstone.
    fn publish(&mut self, records: &[(u8, &str)], compression: Compression) {
        let timestamp_ms = self.system.now.wall_ms as i64;
        let new = |(key, value): &(u8, &str)| NewRecord {
            timestamp_ms,
            key: Some(Bytes::from(vec![*key; 3])),
            value: (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes())),
            headers: vec![("h".into(), None)],
        };
        let new: Vec<NewRecord> = records.iter().map(new).collect();
        for record in &new {
            self.published.push(Row {
                offset: self.published.len() as u64,
                key: record.key.as_deref().map(<[u8]>::to_vec),
                value: record.value.as_deref().map(<[u8]>::to_vec),
                timestamp_ms,
            });
        }
        let batch = batch::compressed(&build(&new, Numbering::NONE), compression).expect("it compresses");
        for partition in [PartitionId(0), PartitionId(1)] {
            let publish =
                Publish { partition, leader_epoch: None, batch: batch.clone(), has_keys: true, origin: Origin::Kafka };
            self.system.submit(ShardId(0), 1, 2, Command::Publish(publish));
            self.system.sync(usize::MAX);
        }
    }

    fn spill(&mut self) {
        self.system.checkpoint();
        self.system.pump();
    }

    fn trim(&mut self, before: u64) {
        let before = before.min(self.published.len() as u64);
        let trim = Trim { partition: PartitionId(0), before: Some(Offset(before)) };
        self.system.submit(ShardId(0), 1, 3, Command::Trim(trim));
        self.system.pump();
        self.trimmed = self.trimmed.max(before);
    }

    fn read(&mut self, from: u64) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let mut from = from;
        while from < self.published.len() as u64 {
            self.system.out.clear();
            let (partition, bytes_max) = (PartitionId(0), 1 << 20);
            let (isolation, leader_epoch, watch) = (Isolation::High, None, None);
            let read = Read { partition, from: Offset(from), bytes_max, isolation, leader_epoch, watch };
            self.system.submit(ShardId(0), 1, 4, Command::Read(read));
            self.system.pump();
            let reply = self.system.out.iter().find_map(|out| match out {
                Out::Reply(_, _, Reply::Read(reply)) => Some(reply.clone()),
                _ => None,
            });
            let pieces = reply.expect("an answer").expect("records").pieces;
            assert!(!pieces.is_empty(), "a reader that follows offsets comes to the end");
            for piece in &pieces {
                for batch in Walk::of(piece) {
                    let (pos, header) = batch.expect("well formed");
                    let bytes = piece.slice(pos..pos + header.bytes);
                    assert_eq!(model::crc::crc32c(&bytes[batch::CRC_START..]), header.crc);
                    let inner = batch::inflate(&bytes, &header).expect("it inflates");
                    for record in Records::of(&inner, &header) {
                        let record = record.expect("well formed");
                        let offset = header.base_offset.0 + record.offset_delta as u64;
                        let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
                        let row = Row { offset, key, value, timestamp_ms: record.timestamp_ms };
                        if offset >= from {
                            rows.push(row);
                        }
                    }
                    from = from.max(header.next_offset().0);
                }
            }
        }
        rows
    }

    /// What must hold at any time.
    fn check(&mut self) -> Vec<Row> {
        let found = self.read(self.trimmed);
        assert!(found.is_sorted_by_key(|row| row.offset), "{found:?}");
        for row in &found {
            assert_eq!(*row, self.published[row.offset as usize]);
        }
        let mut last: BTreeMap<&[u8], &Row> = BTreeMap::new();
        for row in &self.published {
            last.insert(row.key.as_deref().expect("a key"), row);
        }
        for (key, row) in last {
            let of_key = |found: &&Row| found.key.as_deref() == Some(key);
            let is_there = found.iter().any(|found| found == row);
            let age_ms = self.system.now.wall_ms - row.timestamp_ms as u64;
            if row.offset >= self.trimmed && (row.value.is_some() || age_ms < TOMBSTONE_MS) {
                assert!(is_there, "the last of its key is there: {row:?}");
            }
            if !is_there {
                assert_eq!(found.iter().rfind(of_key), None, "its tombstone is gone, an earlier record is not");
            }
        }
        found
    }

    /// Nothing more comes, and time passes: what stays is the last of each key, and no tombstone but where the log ends.
    fn check_at_rest(&mut self) {
        self.spill();
        for _ in 0..4 {
            self.system.advance(3 * CHECK_MS);
        }
        let found = self.check();
        let mut keys: Vec<_> = found.iter().map(|row| row.key.clone()).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "one record a key: {found:?}");
        self.system.advance(TOMBSTONE_MS + 3 * CHECK_MS);
        let found = self.check();
        let end = self.published.len() as u64;
        let tombstone = found.iter().find(|row| row.value.is_none() && row.offset + 1 < end);
        assert_eq!(tombstone, None, "tombstones go when their time is over");
    }

    /// The first offset whose time is this or later.
    fn locate(&mut self, timestamp_ms: u64) -> Option<u64> {
        self.system.out.clear();
        let by = LocateBy::Timestamp(timestamp_ms as i64);
        let locate = Locate { partition: PartitionId(0), by, isolation: Isolation::High, leader_epoch: None };
        self.system.submit(ShardId(0), 1, 5, Command::Locate(locate));
        self.system.pump();
        match self.system.out.first() {
            Some(Out::Reply(_, _, Reply::Located(Ok(located)))) => located.offset.map(|offset| offset.0),
            other => panic!("{other:?}"),
        }
    }

    fn compactions(&self) -> u64 {
        self.system.members[0].shard.figures().compactions
    }
}

fn eager() -> Compaction {
    Compaction { tombstone_ms: TOMBSTONE_MS, dirty_permille_min: 0, ..Compaction::default() }
}

#[test]
fn the_last_record_of_each_key_stays() {
    let mut run = Run::new(eager());
    run.publish(&[(1, "a"), (2, "b"), (1, "c")], Compression::None);
    run.publish(&[(2, ""), (3, "d")], Compression::Lz4);
    run.spill();
    run.publish(&[(3, "e"), (4, "f")], Compression::Zstd);
    run.check_at_rest();
    let rows: Vec<u64> = run.read(0).iter().map(|row| row.offset).collect();
    assert_eq!(rows, [2, 5, 6]);
    run.system.crash(0);
    assert_eq!(run.read(0).iter().map(|row| row.offset).collect::<Vec<_>>(), [2, 5, 6]);
    assert_eq!(run.read(3).iter().map(|row| row.offset).collect::<Vec<_>>(), [5, 6], "from within a gap");
    assert!(run.compactions() == 0, "after a start it is known that nothing is to be done");
    run.system.advance(10 * CHECK_MS);
    assert_eq!(run.compactions(), 0);
}

#[test]
fn a_time_is_found_among_what_stays() {
    let mut run = Run::new(eager());
    let at_ms = run.system.now.wall_ms;
    run.publish(&[(1, "a"), (2, "b"), (1, "c"), (3, "d"), (2, "e")], Compression::None);
    run.spill();
    run.system.advance(2 * CHECK_MS);
    assert_eq!(run.read(0).iter().map(|row| row.offset).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!((run.locate(at_ms), run.locate(at_ms + 1)), (Some(2), None));
}

#[test]
fn what_is_younger_than_the_least_lag_stays_and_too_little_waits() {
    let mut run = Run::new(Compaction { lag_ms_min: 60_000, ..eager() });
    run.publish(&[(1, "a"), (1, "b")], Compression::None);
    run.spill();
    run.system.advance(30_000);
    assert_eq!((run.read(0).len(), run.compactions()), (2, 0));
    run.system.advance(40_000);
    assert_eq!(run.read(0).len(), 1);

    let mut run = Run::new(Compaction { dirty_permille_min: 900, lag_ms_max: 100_000, ..eager() });
    run.publish(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")], Compression::None);
    run.spill();
    run.system.advance(5 * CHECK_MS);
    let before = run.compactions();
    assert!(before > 0, "all of it is new");
    run.publish(&[(1, "e")], Compression::None);
    run.spill();
    run.system.advance(50_000);
    assert_eq!(run.compactions(), before, "a fifth is");
    run.system.advance(60_000);
    assert!(run.compactions() > before, "but it is old");
    assert_eq!(run.read(0).len(), 4);
}

#[test]
fn an_old_tail_is_spilled_to_be_compacted() {
    let mut run = Run::new(Compaction { tail_ms_max: 10_000, ..eager() });
    run.publish(&[(1, "a"), (1, "b")], Compression::None);
    run.system.advance(5_000);
    assert_eq!(run.read(0).len(), 2);
    run.system.advance(10_000);
    assert_eq!(run.read(0).len(), 1);
}

#[test]
fn under_load_without_a_pause_it_takes_its_turn_and_so_do_merges() {
    const SPILLS: u64 = 400;
    let mut run = Run::new(eager());
    let mut spills = 0;
    let mut most = [0; 4];
    while spills < SPILLS {
        let value = format!("v{spills}");
        run.publish(&[(1, &value), (2, &value), ((spills % 100) as u8, &value)], Compression::None);
        run.system.now.mono_us += CHECK_MS * 100;
        run.system.now.wall_ms += CHECK_MS / 10;
        // Asked for while one is under way, the next spill begins in the moment in which that one ends.
        run.system.checkpoint();
        run.system.members[0].shard.handle_timeout(run.system.now);
        // Here a read of one small run takes as long as a spill's write.
        run.system.sync(usize::MAX);
        run.system.complete();
        assert!(run.published.len() == 3 || run.system.members[0].shard.spill.is_under_way(), "there is a pause");
        let figures = run.system.members[0].shard.figures();
        spills = figures.spills;
        let quarter = &mut most[(spills * 4 / (SPILLS + 1)) as usize];
        *quarter = figures.segment_count.max(*quarter);
    }
    let figures = run.system.members[0].shard.figures();
    assert!(figures.compactions >= 4 && figures.merges >= 20, "{figures:?}");
    // It grows no more: 800 spills leave 58.
    assert!(most[3] <= 75, "{most:?} segments");
    let found = run.read(0);
    assert!(found.len() < run.published.len() / 2, "{} of {} are left", found.len(), run.published.len());
    run.check();
    run.check_at_rest();
    run.system.crash(0);
    run.check_at_rest();
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    for count in 0..60 {
        let mut run = Run::new(eager());
        for round in 0..4u8 {
            run.publish(&[(1, "a"), (2, "b"), (round + 3, "c")], Compression::None);
            run.publish(&[(2, ""), (1, "d")], Compression::None);
            run.system.checkpoint();
            run.system.pump();
        }
        // The check finds it due; then so many operations, and no more.
        run.system.now.mono_us += 2 * CHECK_MS * 1000;
        run.system.now.wall_ms += 2 * CHECK_MS;
        run.system.members[0].shard.handle_timeout(run.system.now);
        for _ in 0..count {
            run.system.sync(usize::MAX);
            run.system.complete();
        }
        run.system.crash(0);
        run.check();
        run.check_at_rest();
        run.system.crash(0);
        run.check_at_rest();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Vec<(u8, bool)>, u8),
    Spill,
    Wait(u16),
    Trim(u8),
    Complete(u8),
    NoSpace(u8),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let records = prop::collection::vec((0..12u8, prop::bool::weighted(0.3)), 1..6);
    prop_oneof![
        8 => (records, 0..5u8).prop_map(|(records, compression)| Step::Publish(records, compression)),
        3 => Just(Step::Spill),
        3 => (1..8_000u16).prop_map(Step::Wait),
        1 => any::<u8>().prop_map(Step::Trim),
        2 => (1..20u8).prop_map(Step::Complete),
        1 => (1..10u8).prop_map(Step::NoSpace),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_live_is_lost_and_nothing_dead_stays(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new(eager());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Publish(records, compression) => {
                    let value = format!("v{number}");
                    let records: Vec<(u8, &str)> =
                        records.iter().map(|(key, gone)| (*key, if *gone { "" } else { value.as_str() })).collect();
                    run.publish(&records, Compression::from_number(compression).expect("a compression"));
                }
                Step::Spill => run.spill(),
                Step::Wait(ms) => run.system.advance(u64::from(ms)),
                Step::Trim(part) => {
                    let before = run.published.len() as u64 * u64::from(part) / 512;
                    run.trim(before);
                }
                Step::Complete(count) => {
                    run.system.checkpoint();
                    for _ in 0..count {
                        run.system.sync(usize::MAX);
                        run.system.complete();
                    }
                }
                Step::NoSpace(count) => {
                    run.system.members[0].blobs.no_space = true;
                    for _ in 0..count {
                        run.system.complete();
                    }
                    run.system.members[0].blobs.no_space = false;
                }
                Step::Crash => {
                    run.system.crash(0);
                    run.check();
                }
            }
        }
        run.system.advance(5_000);
        run.check();
        run.check_at_rest();
    }
}
