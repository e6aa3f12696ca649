// SPDX-License-Identifier: Apache-2.0
//! Merges of segments that something comes in between of, at every step.

use super::system::{System, ctx};
use crate::command::{Command, DeclareTopic, Origin, Publish, TopicSettings, Trim};
use crate::format::v1::segment::{Place, SegmentWriter};
use crate::log::read::Walk;
use crate::spill::merge::SOURCES_MAX;
use bytes::Bytes;
use model::batch::{NewRecord, Numbering, build};
use model::media::{BlobKind, BlobName};
use model::{Offset, PartitionId, ShardId, Ticket, TopicId};
use std::collections::BTreeSet;

/// More than a merge of these segments takes, with the checkpoint before and after it.
const STEPS: usize = 60;

fn declared() -> System {
    declared_with(2)
}

fn declared_with(partition_count: u32) -> System {
    let mut system = System::new(1, 16 << 20);
    let declare = DeclareTopic {
        topic: TopicId([1; 16]),
        name: "t".into(),
        partition_count,
        settings: TopicSettings { retention_ms: None, ..TopicSettings::default() },
        validate_only: false,
    };
    system.submit(ShardId(0), 1, 1, Command::DeclareTopic(declare));
    system.pump();
    system
}

fn publish(system: &mut System, partition: u64, bytes: usize) {
    let value = Some(vec![b'x'; bytes].into());
    let batch = build(&[NewRecord { value, ..NewRecord::default() }], Numbering::NONE);
    let partition = PartitionId(partition);
    let publish = Publish { partition, leader_epoch: None, batch, has_keys: false, origin: Origin::Kafka };
    system.submit(ShardId(0), 1, 2, Command::Publish(publish));
    system.sync(usize::MAX);
}

fn checkpoint(system: &mut System) {
    system.checkpoint();
    system.pump();
}

/// Segments of one class that a merge takes together, from 1 on, but for number 2: its runs are large, and it holds what lies between.
fn with_segments() -> System {
    let mut system = declared();
    publish(&mut system, 0, 20_000);
    checkpoint(&mut system);
    publish(&mut system, 0, 600_000);
    publish(&mut system, 1, 600_000);
    publish(&mut system, 1, 600_000);
    checkpoint(&mut system);
    publish(&mut system, 0, 20_000);
    publish(&mut system, 0, 20_000);
    checkpoint(&mut system);
    publish(&mut system, 0, 20_000);
    checkpoint(&mut system);
    publish(&mut system, 0, 20_000);
    system.checkpoint();
    system
}

/// Segments on the medium.
fn files(system: &System) -> BTreeSet<u64> {
    let names = system.members[0].blobs.files.keys();
    names.filter(|name| name.kind == BlobKind::Segment).map(|name| name.number).collect()
}

#[test]
fn what_a_trim_passes_over_in_the_middle_of_a_merge_is_covered_by_no_run_of_it() {
    // Trimmed before it begins, there is too little left to merge.
    let mut merges = 0;
    for count in 0..STEPS {
        let mut system = with_segments();
        system.steps(count);
        // Into the middle of a run of segment 3, past all of segment 2.
        let trim = Trim { partition: PartitionId(0), before: Some(Offset(3)) };
        system.submit(ShardId(0), 1, 3, Command::Trim(trim));
        system.pump();
        merges += system.members[0].shard.figures().merges;
        let segments = &system.members[0].shard.segments;
        let indexes = segments.referred().into_iter().filter_map(|number| segments.index(number));
        let mut runs: Vec<(Offset, Offset)> = indexes
            .flat_map(|index| index.runs_of(PartitionId(0)))
            .map(|run| (run.first_offset, run.last_offset))
            .collect();
        runs.sort_unstable();
        let overlap = runs.windows(2).find(|pair| pair[0].1 >= pair[1].0);
        assert_eq!(overlap, None, "trimmed after {count} steps: {runs:?}");
        system.crash(0);
        assert_eq!(system.offsets(0, 3), [3, 4, 5]);
        assert_eq!(system.offsets(1, 0), [0, 1]);
    }
    assert!(merges > STEPS as u64 / 2, "{merges}");
}

/// The same segments, their batches in slots, the other way round and among other bytes.
fn place(system: &mut System) {
    let shard_epoch = system.members[0].shard.epoch();
    for number in files(system) {
        let name = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number };
        let index = system.members[0].shard.segments.index(number).expect("it is live").clone();
        let files = &mut system.members[0].blobs.files;
        let Some(file) = files.get(&name) else { continue };
        let mut batches = Vec::new();
        for run in &index.runs {
            for block in index.blocks_of(run) {
                let bytes = Bytes::copy_from_slice(&file[block.pos() as usize..block.end() as usize]);
                for batch in Walk::of(&bytes) {
                    let (pos, header) = batch.unwrap();
                    batches.push((run.partition, header, bytes.slice(pos..pos + header.bytes), 0));
                }
            }
        }
        let mut slot = vec![7; 4096];
        for (_, _, bytes, pos) in batches.iter_mut().rev() {
            *pos = slot.len() as u64;
            slot.extend_from_slice(bytes);
            slot.extend_from_slice(&[9; 88]);
        }
        let mut writer = SegmentWriter::new(name, shard_epoch);
        for (partition, header, bytes, pos) in &batches {
            let place = Place::in_slot(number as u32, *pos).expect("a place");
            let offsets = (header.base_offset, Offset(header.next_offset().0 - 1));
            writer.push_lent(*partition, bytes, place, offsets, header.max_timestamp_ms);
        }
        files.insert(name, writer.finish().0.concat());
        files.insert(BlobName { kind: BlobKind::Slot, ..name }, slot);
    }
}

#[test]
fn segments_whose_records_stand_in_slots_are_read_and_merged_as_others() {
    let mut system = with_segments();
    system.crash(0);
    assert_eq!(files(&system), BTreeSet::from([1, 2, 3, 4]));
    place(&mut system);
    system.crash(0);
    assert_eq!(system.members[0].wal.lent, BTreeSet::from([1, 2, 3, 4]));
    assert_eq!(system.offsets(0, 0), [0, 1, 2, 3, 4, 5]);
    assert_eq!(system.offsets(1, 0), [0, 1]);
    checkpoint(&mut system);
    assert!(system.members[0].shard.figures().merges > 0 && files(&system).contains(&2), "{:?}", files(&system));
    // Small runs are copied, and give their slots back; large ones stay where they are.
    assert_eq!(system.members[0].wal.lent, BTreeSet::from([2]));
    for _ in 0..2 {
        assert_eq!(system.offsets(0, 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(system.offsets(1, 0), [0, 1]);
        system.crash(0);
    }
}

#[test]
fn without_space_a_merged_segment_does_not_stay_beside_its_sources() {
    for count in 0..STEPS {
        let mut system = with_segments();
        system.steps(count);
        publish(&mut system, 1, 100);
        system.checkpoint();
        system.members[0].blobs.no_space = true;
        system.pump();
        system.advance(5_000);
        let referred: BTreeSet<u64> = system.members[0].shard.segments.referred().into_iter().collect();
        let more: Vec<u64> = files(&system).difference(&referred).copied().collect();
        let is_ready = system.members[0].shard.figures().merges == 0;
        assert!(!is_ready || more != [6], "after {count} steps: {more:?} beside {referred:?}");
        system.crash(0);
        assert_eq!(system.offsets(0, 0), [0, 1, 2, 3, 4, 5]);
        system.members[0].blobs.no_space = false;
        checkpoint(&mut system);
        assert_eq!(system.offsets(0, 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(system.offsets(1, 0), [0, 1, 2]);
        system.crash(0);
        assert_eq!(system.offsets(0, 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(system.offsets(1, 0), [0, 1, 2]);
    }
}

#[test]
fn a_merge_that_found_no_space_is_not_begun_again_at_once() {
    let mut system = with_segments();
    // Every put but those of spills fails.
    system.members[0].blobs.no_space_for_pieces = true;
    system.pump();
    system.members[0].blobs.no_space_for_pieces = false;
    for spills in 0..9 {
        assert_eq!(system.members[0].shard.figures().merges, 0, "after {spills} more spills");
        publish(&mut system, 0, 100);
        checkpoint(&mut system);
    }
    assert_ne!(system.members[0].shard.figures().merges, 0);
}

/// What load without a pause leaves: the most segments that stood at once in each quarter of so many spills.
struct Load {
    system: System,
    most: [u64; 4],
    published: u64,
}

fn load(partition_count: u32, spills: u64) -> Load {
    let mut system = declared_with(partition_count);
    let (mut most, mut published) = ([0; 4], 0);
    let value = Some(vec![b'x'; 100].into());
    let batch = build(&[NewRecord { value, ..NewRecord::default() }], Numbering::NONE);
    loop {
        let figures = system.members[0].shard.figures();
        if figures.spills == spills {
            return Load { system, most, published };
        }
        let quarter = &mut most[(figures.spills * 4 / spills) as usize];
        *quarter = figures.segment_count.max(*quarter);
        for partition in (0..u64::from(partition_count)).map(PartitionId) {
            let publish =
                Publish { partition, leader_epoch: None, batch: batch.clone(), has_keys: false, origin: Origin::Kafka };
            let now = system.now;
            system.members[0].shard.submit(now, &ctx(1), Ticket(2), Command::Publish(publish));
        }
        published += 1;
        // Asked for while one is under way, the next begins in the moment in which that one ends.
        system.checkpoint();
        system.sync(usize::MAX);
        system.complete();
        assert!(published == 1 || system.members[0].shard.spill.is_under_way(), "there is a pause");
    }
}

#[test]
fn under_load_without_a_pause_small_segments_do_not_pile_up() {
    for (partition_count, spills) in [(1, 800), (2, 800), (200, 200)] {
        let Load { mut system, most, published } = load(partition_count, spills);
        // 16 sources of a merge under way and 16 of one that waits for its checkpoint; what was spilled meanwhile, because here an
        // operation of a merge takes as long as one of a spill; three of each class. It grows no more.
        assert!(most[3] <= 60, "{most:?} segments in {spills} spills of {partition_count} partitions");
        // A read a source and round, however many runs it has.
        let figures = system.members[0].shard.figures();
        let reads_max = figures.merges * SOURCES_MAX as u64 + figures.merge_read_bytes / (1 << 20);
        assert!(figures.merges > 0 && figures.merge_reads <= reads_max, "{figures:?}");
        system.pump();
        system.crash(0);
        for partition in [0, u64::from(partition_count) - 1] {
            assert_eq!(system.offsets(partition, 0), (0..published).collect::<Vec<u64>>());
        }
    }
}

#[test]
fn a_topic_deleted_in_a_frame_that_is_still_open_is_no_run_missed() {
    for count in 0..STEPS {
        let mut system = with_segments();
        system.steps(count);
        // The log is busy with the first frame, so the second stays open.
        for ticket in [3, 4] {
            let batch = build(&[NewRecord::default()], Numbering::NONE);
            let publish = Publish {
                partition: PartitionId(1),
                leader_epoch: None,
                batch,
                has_keys: false,
                origin: Origin::Kafka,
            };
            system.submit(ShardId(0), 1, ticket, Command::Publish(publish));
        }
        system.submit(ShardId(0), 1, 5, Command::DeleteTopic { topic: TopicId([1; 16]) });
        while system.complete() {}
        system.pump();
        assert_eq!(system.members[0].shard.segments.referred(), []);
    }
}
