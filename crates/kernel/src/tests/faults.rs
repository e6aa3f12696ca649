// SPDX-License-Identifier: Apache-2.0
//! What must stop a start, and what a start must not have lost.

use super::system::{Out, System};
use crate::Reply;
use crate::command::{Command, DeclareTopic, Isolation, Origin, Publish, Read, TopicSettings};
use crate::log::read::Walk;
use crate::shard::OpenError;
use bytes::Bytes;
use model::batch::{NewRecord, Numbering, build};
use model::media::BlobKind;
use model::{Lsn, Offset, PartitionId, ShardId, TopicId};

fn declared() -> System {
    declared_with_tail(1 << 20)
}

fn declared_with_tail(tail_bytes_max: u64) -> System {
    let mut system = System::new(1, tail_bytes_max);
    let declare = DeclareTopic {
        topic: TopicId([1; 16]),
        name: "t".into(),
        partition_count: 1,
        settings: TopicSettings::default(),
        validate_only: false,
    };
    system.submit(ShardId(0), 1, 1, Command::DeclareTopic(declare));
    publish(&mut system);
    system
}

fn publish(system: &mut System) {
    let batch = build(&[NewRecord::default()], Numbering::NONE);
    let publish =
        Publish { partition: PartitionId(0), leader_epoch: None, batch, has_keys: false, origin: Origin::Kafka };
    system.submit(ShardId(0), 1, 2, Command::Publish(publish));
    system.pump();
}

fn checkpoint(system: &mut System) {
    system.checkpoint();
    system.pump();
}

fn corrupt(system: &mut System) -> String {
    match system.crash_without_hello(0) {
        Err(OpenError::Corrupt(corrupt)) => corrupt.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_that_begins_behind_the_checkpoint_is_refused() {
    let mut system = declared();
    checkpoint(&mut system);
    publish(&mut system);
    publish(&mut system);
    system.members[0].wal.durable.pop_front();
    assert!(corrupt(&mut system).contains("the newest checkpoint needs it from frame 3 on"));
}

#[test]
fn a_log_that_ends_before_the_checkpoint_is_refused() {
    let mut system = declared();
    checkpoint(&mut system);
    system.members[0].wal.next = Lsn(2);
    assert!(corrupt(&mut system).contains("the log ends before frame 2"));
}

#[test]
fn a_frame_of_another_log_is_refused() {
    let mut system = declared();
    publish(&mut system);
    let frame = system.members[0].wal.durable[1].1.clone();
    system.members[0].wal.durable[2].1 = frame;
    let why = corrupt(&mut system);
    assert!(why.contains("frame 3") && why.contains("at offset 0, where 1 comes next"), "{why}");
}

#[test]
fn an_entry_of_a_newer_version_is_refused_by_name() {
    let mut system = declared();
    let mut body = system.members[0].wal.durable[1].1.to_vec();
    body[4] = 99;
    system.members[0].wal.durable[1].1 = Bytes::from(body);
    let refused = system.crash_without_hello(0);
    assert_eq!(refused, Err(OpenError::Newer { name: "wal/00, frame 2".into(), feature: "entry kind 99".into() }),);
}

#[test]
fn a_missing_segment_is_refused() {
    let mut system = declared();
    checkpoint(&mut system);
    system.members[0].blobs.files.retain(|name, _| name.kind == BlobKind::Checkpoint);
    assert!(corrupt(&mut system).contains("a checkpoint names this segment, and it is not there"));
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over_only_while_the_log_reaches_back() {
    let mut system = declared();
    checkpoint(&mut system);
    publish(&mut system);
    let log = system.members[0].wal.clone();
    checkpoint(&mut system);
    let newest = *system.members[0].blobs.files.keys().last().expect("a checkpoint");
    system.members[0].blobs.files.get_mut(&newest).expect("it")[70] ^= 1;
    assert!(corrupt(&mut system).starts_with("corrupt: ckpt/00/000000000002"), "the log was trimmed on its account");
    // The process ended between the checkpoint and the trim.
    system.members[0].wal = log;
    system.crash_without_hello(0).expect("the log still holds everything");
}

/// The capture of a spill takes several slices here, and no longer finds a partition whose drop is decided but not durable yet.
#[test]
fn a_delete_that_did_not_last_takes_no_records_with_it() {
    const BATCHES: u64 = 5_000;
    let mut system = declared_with_tail(1 << 28);
    for _ in 1..BATCHES {
        publish(&mut system);
    }
    system.hold_wal = true;
    system.checkpoint();
    let topic = TopicId([1; 16]);
    system.submit(ShardId(0), 1, 3, Command::DeleteTopic { topic });
    system.pump();
    assert!(!system.out.iter().any(|out| matches!(out, Out::Reply(_, _, Reply::Deleted(_)))), "it is not durable");
    system.crash(0);
    system.hold_wal = false;
    let mut from = Offset(0);
    while from < Offset(BATCHES) {
        system.out.clear();
        let partition = PartitionId(0);
        let (bytes_max, isolation) = (1 << 20, Isolation::High);
        let read = Read { partition, from, bytes_max, isolation, leader_epoch: None, watch: None };
        system.submit(ShardId(0), 1, 4, Command::Read(read));
        system.pump();
        let Some(Out::Reply(_, _, Reply::Read(Ok(reply)))) = system.out.first() else { panic!("{:?}", system.out) };
        let records = reply.pieces.iter().flat_map(|piece| Walk::of(piece)).map(|batch| batch.unwrap().1.base_offset);
        for offset in records {
            assert_eq!(offset, from, "no record is missing");
            from = offset.plus(1);
        }
    }
}
