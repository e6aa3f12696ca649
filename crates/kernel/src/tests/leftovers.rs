// SPDX-License-Identifier: Apache-2.0
//! What must not be left behind, and what must not run ahead: cases too fine for a script.

use super::system::{Out, System, ctx};
use crate::catalog::Catalog;
use crate::command::{Command, DeclareTopic, Origin, Publish, TopicSettings, Trim};
use crate::format::v1::entry::{Append, Record};
use crate::log::partition::{Hosted, HostedRow};
use crate::reply::Reply;
use crate::state::State;
use model::batch::{Header, NewRecord, Numbering, build};
use model::{LeaderEpoch, Lsn, NamespaceId, Offset, PartitionId, ProducerEpoch, ProducerId, ShardId, Ticket, TopicId};

const TOPIC: TopicId = TopicId([1; 16]);

fn declare(partition_count: u32) -> Command {
    Command::DeclareTopic(DeclareTopic {
        topic: TOPIC,
        name: "t".into(),
        partition_count,
        settings: TopicSettings::default(),
        validate_only: false,
    })
}

fn publish(partition: u64, producer: i64, base_sequence: i32) -> Command {
    let numbering = Numbering { producer_id: ProducerId(producer), producer_epoch: ProducerEpoch(0), base_sequence };
    let batch = build(&[NewRecord::default()], numbering);
    Command::Publish(Publish {
        partition: PartitionId(partition),
        leader_epoch: None,
        batch,
        has_keys: false,
        origin: Origin::Kafka,
    })
}

#[test]
fn a_partition_that_goes_takes_its_producers_out_of_the_index() {
    let mut system = System::new(1, 1 << 20);
    system.submit(ShardId(0), 1, 1, declare(2));
    for producer in 0..3 {
        system.submit(ShardId(0), 1, 2, publish(0, producer, 0));
        system.submit(ShardId(0), 1, 2, publish(1, producer, 0));
    }
    system.pump();
    // Some stand in the index under a time that is not their last.
    system.advance(10_000);
    system.submit(ShardId(0), 1, 3, publish(1, 0, 1));
    system.crash(9);
    assert_eq!(system.members[0].shard.state.producers_idle.len(), 6);
    system.submit(ShardId(0), 1, 4, Command::DeleteTopic { topic: TOPIC });
    assert!(system.members[0].shard.state.producers_idle.is_empty());
    system.crash(9);
    assert!(system.members[0].shard.state.producers_idle.is_empty());
}

#[test]
fn a_partition_that_goes_takes_its_refused_batches_along() {
    let mut system = System::new(2, 1 << 20);
    system.hold_messages = true;
    system.submit(ShardId(0), 1, 1, declare(2));
    system.pump();
    system.submit(ShardId(1), 1, 2, publish(1, 7, 0));
    assert_eq!(system.members[1].shard.gaps().count(), 1, "its partition is not placed yet");
    system.submit(ShardId(0), 1, 3, Command::DeleteTopic { topic: TOPIC });
    system.hold_messages = false;
    system.pump();
    assert_eq!(system.members[1].shard.gaps().count(), 0);
}

#[test]
fn what_is_appended_in_the_frame_that_makes_its_partition_is_visible_with_it() {
    let mut system = System::new(1, 1 << 20);
    let now = system.now;
    let shard = &mut system.members[0].shard;
    shard.submit(now, &ctx(1), Ticket(1), declare(1));
    shard.submit(now, &ctx(1), Ticket(2), publish(0, 7, 0));
    system.submit(ShardId(0), 1, 3, publish(0, 7, 1));
    assert_eq!(system.members[0].wal.staged.len(), 1, "one frame holds it all");
    system.pump();
    let partition = system.members[0].shard.state.partitions.get(PartitionId(0)).expect("the partition");
    assert_eq!((partition.high, partition.next), (Offset(2), Offset(2)));
}

#[test]
fn a_repeat_says_no_start_that_a_crash_takes_back() {
    let mut system = System::new(1, 1 << 20);
    system.submit(ShardId(0), 1, 1, declare(1));
    system.submit(ShardId(0), 1, 2, publish(0, 7, 0));
    system.submit(ShardId(0), 1, 2, publish(0, 7, 1));
    system.pump();
    system.out.clear();
    system.hold_wal = true;
    system.submit(ShardId(0), 1, 3, Command::Trim(Trim { partition: PartitionId(0), before: Some(Offset(1)) }));
    system.submit(ShardId(0), 1, 4, publish(0, 7, 1));
    let [Out::Reply(_, Ticket(4), Reply::Published(Ok(published)))] = system.out.as_slice() else {
        panic!("{:?}", system.out)
    };
    assert_eq!((published.duplicate, published.base_offset, published.start), (true, Offset(1), Offset(0)));
}

#[test]
fn leader_epochs_are_remembered_where_something_was_appended_and_only_so_many() {
    let mut system = System::new(1, 1 << 20);
    system.submit(ShardId(0), 1, 1, declare(1));
    system.pump();
    system.submit(ShardId(0), 1, 2, publish(0, 7, 0));
    (0..5).for_each(|_| system.crash(9));
    let partition = system.members[0].shard.state.partitions.get(PartitionId(0)).expect("the partition");
    assert_eq!(partition.epochs, [(LeaderEpoch(1), Offset(0))], "a start alone is not remembered");

    let mut state = State::new(Catalog::default(), Vec::new());
    let hosted = Hosted {
        topic: TOPIC,
        namespace: NamespaceId::DEFAULT,
        name: "t".into(),
        retention_ms: None,
        retention_bytes: None,
        batch_bytes_max: 1000,
        compaction: None,
    };
    let rows = vec![HostedRow { partition: PartitionId(0), index: 0, epoch_base: 0 }];
    state.apply(Lsn(1), &Record::PartitionPut { hosted: hosted.into(), rows });
    let batch = build(&[NewRecord::default()], Numbering::NONE);
    for number in 0..1_100 {
        let (base_offset, leader_epoch) = (Offset(number), LeaderEpoch(number as i32));
        let header = Header { base_offset, leader_epoch, ..*batch.header() };
        let append = Append { partition: PartitionId(0), origin: Origin::Kafka, appended_ms: 0, header, pos: 24 };
        state.apply(Lsn(2 + number), &Record::Append(append));
    }
    let epochs = &state.partitions.get(PartitionId(0)).expect("the partition").epochs;
    assert_eq!((epochs.len(), epochs[0]), (1_000, (LeaderEpoch(100), Offset(100))));
    state.apply(Lsn(2_000), &Record::Trim { partition: PartitionId(0), before: Offset(1_095) });
    let epochs = &state.partitions.get(PartitionId(0)).expect("the partition").epochs;
    assert_eq!((epochs.len(), epochs[0]), (5, (LeaderEpoch(1_095), Offset(1_095))));
}
