// SPDX-License-Identifier: Apache-2.0
//! Large batches that stay in the slots of the log in which they stand, and slots that come back, with a crash at every step.

use super::system::System;
use crate::command::{Command, DeclareTopic, Origin, Publish, TopicSettings, Trim};
use model::batch::{NewRecord, Numbering, build};
use model::media::BlobKind;
use model::{Offset, PartitionId, ShardId, TopicId};

const TOPIC: TopicId = TopicId([1; 16]);
/// More than a spill of these takes, with its checkpoint.
const STEPS: usize = 14;

fn declared() -> System {
    let mut system = System::new(1, 16 << 20);
    system.members[0].wal.frames_a_slot = 3;
    let settings = TopicSettings { retention_ms: None, batch_bytes_max: 2 << 20, ..TopicSettings::default() };
    let declare = DeclareTopic { topic: TOPIC, name: "t".into(), partition_count: 2, settings, validate_only: false };
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

/// Eight large batches, and a few small ones among them.
fn with_large() -> System {
    let mut system = declared();
    for number in 0..8 {
        publish(&mut system, number % 2, 600_000);
        if number % 3 == 0 {
            publish(&mut system, 0, 1_000);
        }
    }
    system
}

fn trim(system: &mut System, partition: u64, before: u64) {
    let trim = Trim { partition: PartitionId(partition), before: Some(Offset(before)) };
    system.submit(ShardId(0), 1, 3, Command::Trim(trim));
    system.pump();
}

fn checkpoint(system: &mut System) {
    system.checkpoint();
    system.pump();
}

fn all(system: &mut System) -> (Vec<u64>, Vec<u64>) {
    (system.offsets(0, 0), system.offsets(1, 0))
}

fn whole() -> (Vec<u64>, Vec<u64>) {
    ((0..7).collect(), (0..4).collect())
}

fn segment_bytes(system: &System) -> usize {
    let files = system.members[0].blobs.files.iter().filter(|(name, _)| name.kind == BlobKind::Segment);
    files.map(|(_, file)| file.len()).sum()
}

#[test]
fn large_batches_are_written_once_and_their_slots_come_back() {
    let mut system = with_large();
    checkpoint(&mut system);
    let figures = system.members[0].shard.figures();
    assert!(figures.lent_slots >= 2 && figures.spilled_in_place_bytes > 2_400_000, "{figures:?}");
    assert_eq!(figures.lent_slots, system.members[0].wal.lent.len() as u64, "what is not taken went back");
    // Of the slot that is written to, all is copied.
    assert!(segment_bytes(&system) < 2_500_000 && figures.segment_bytes > 4_800_000, "{figures:?}");
    for _ in 0..2 {
        assert_eq!(all(&mut system), whole());
        system.crash(0);
    }
    // Retention passes over all of it: with the segment the slots go.
    trim(&mut system, 0, 7);
    trim(&mut system, 1, 4);
    assert!(!system.members[0].wal.lent.is_empty());
    checkpoint(&mut system);
    checkpoint(&mut system);
    assert_eq!(system.members[0].wal.lent.len(), 0);
    assert_eq!((system.members[0].shard.figures().lent_slots, segment_bytes(&system)), (0, 0));
}

#[test]
fn a_crash_at_any_step_of_a_spill_loses_nothing_and_keeps_no_slot() {
    for count in 0..STEPS {
        let mut system = with_large();
        system.checkpoint();
        system.steps(count);
        system.crash(0);
        assert_eq!(all(&mut system), whole(), "after {count} steps");
        publish(&mut system, 0, 600_000);
        checkpoint(&mut system);
        assert_eq!(all(&mut system), ((0..8).collect(), (0..4).collect()), "after {count} steps");
        trim(&mut system, 0, 8);
        trim(&mut system, 1, 4);
        checkpoint(&mut system);
        checkpoint(&mut system);
        assert_eq!(system.members[0].wal.lent.len(), 0, "after {count} steps");
    }
}

#[test]
fn a_segment_that_is_mostly_dead_is_copied_forward_and_its_slots_come_back() {
    let mut system = declared();
    for number in 0..8 {
        publish(&mut system, u64::from(number % 4 != 0), 600_000);
    }
    checkpoint(&mut system);
    assert!(system.members[0].wal.lent.len() >= 2);
    // Of each slot a batch is left.
    trim(&mut system, 1, 6);
    publish(&mut system, 0, 1_000);
    checkpoint(&mut system);
    checkpoint(&mut system);
    assert!(system.members[0].shard.figures().merges > 0);
    assert_eq!(system.members[0].wal.lent.len(), 0);
    for _ in 0..2 {
        assert_eq!(system.offsets(0, 0), [0, 1, 2]);
        system.crash(0);
    }
}

#[test]
fn a_topic_deleted_beside_the_spill_gives_its_slots_back() {
    for count in 0..STEPS {
        let mut system = with_large();
        system.checkpoint();
        system.steps(count);
        system.submit(ShardId(0), 1, 5, Command::DeleteTopic { topic: TOPIC });
        system.pump();
        checkpoint(&mut system);
        checkpoint(&mut system);
        assert_eq!((system.members[0].wal.lent.len(), segment_bytes(&system)), (0, 0), "after {count} steps");
    }
}

#[test]
fn small_batches_ask_for_no_slot_and_neither_does_a_full_disk() {
    let mut system = declared();
    for _ in 0..40 {
        publish(&mut system, 0, 30_000);
    }
    publish(&mut system, 0, 600_000);
    checkpoint(&mut system);
    assert_eq!(system.members[0].shard.figures().spilled_in_place_bytes, 0);

    let mut system = with_large();
    system.members[0].blobs.no_space = true;
    system.checkpoint();
    system.pump();
    system.advance(5_000);
    // The segment waits for space, and what stands in slots with it.
    assert!(system.members[0].shard.figures().spill_failures > 0);
    assert_eq!(all(&mut system), whole());
    system.members[0].blobs.no_space = false;
    system.advance(5_000);
    assert_eq!(system.members[0].shard.figures().lent_slots, system.members[0].wal.lent.len() as u64);
    system.crash(0);
    assert_eq!(all(&mut system), whole());
}
