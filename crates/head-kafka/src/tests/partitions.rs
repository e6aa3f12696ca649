// SPDX-License-Identifier: Apache-2.0
//! CreatePartitions, DeleteRecords, OffsetForLeaderEpoch, and what describes partitions, the log directory, producers and the cluster.

use super::client::{Client, batch_of, produce_request, text};
use super::shards::{Shards, clients};
use crate::{Settings, Volume};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_topic_partitions_request as page;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, CreatePartitionsRequest, DeleteRecordsRequest,
    DescribeClusterRequest, DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest, MetadataRequest,
    OffsetForLeaderEpochRequest,
};
use model::batch::{self, NewRecord, Numbering};
use model::{ProducerEpoch, ProducerId};
use std::sync::Arc;

fn grow(topic: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsRequest {
    let assignment = |brokers: &&[i32]| {
        CreatePartitionsAssignment::default().with_broker_ids(brokers.iter().map(|id| (*id).into()).collect())
    };
    let topic = CreatePartitionsTopic::default()
        .with_name(text(topic).into())
        .with_count(count)
        .with_assignments(assignments.map(|assignments| assignments.iter().map(assignment).collect()));
    CreatePartitionsRequest::default().with_topics(vec![topic])
}

fn partition_count(client: &mut Client<Shards>, topic: &str) -> usize {
    let answer = client.call(9, &MetadataRequest::default().with_topics(None));
    let topics = answer.topics.iter().find(|found| found.name.as_ref().is_some_and(|name| name.as_str() == topic));
    topics.map_or(0, |topic| topic.partitions.len())
}

#[test]
fn a_topic_gets_more_partitions_that_can_be_used_at_once() {
    for mut client in clients() {
        client.make_topic_with("t", 1, &[("retention.ms", "-1")]);
        client.produce("t", 0, &["a"]);
        for version in 0..=3 {
            let count = 2 + i32::from(version) * 2;
            let check = grow("t", count, None).with_validate_only(true);
            assert_eq!(client.call(version, &check).results[0].error_code, 0);
            assert_eq!(partition_count(&mut client, "t"), count as usize - 1 - usize::from(version > 0));
            assert_eq!(client.call(version, &grow("t", count, None)).results[0].error_code, 0);
            assert_eq!(partition_count(&mut client, "t"), count as usize);
            client.produce("t", count - 1, &["b"]);
        }
        assert_eq!(client.call(3, &grow("t", 10, Some(&[&[0], &[0]]))).results[0].error_code, 0);
        let kernel = std::mem::replace(&mut client.kernel, Shards::new(1));
        client.kernel = kernel.restart(client.now);
        client.reconnect();
        assert_eq!(partition_count(&mut client, "t"), 10);
        client.produce("t", 9, &["c"]);
    }
}

#[test]
fn partitions_that_cannot_be_made_have_their_number_and_change_nothing() {
    let mut client = clients().next().unwrap();
    client.make_topic("t", 2);
    let wrong: [(CreatePartitionsRequest, i16); 10] = [
        (grow("t", 2, None), 37),
        (grow("t", 1, None), 37),
        (grow("t", 0, None), 37),
        (grow("t", -5, None), 37),
        (grow("t", 1_000_000, None), 37),
        (grow("t", i32::MAX, None), 37),
        (grow("missing", 3, None), 3),
        (grow("t", 4, Some(&[&[0]])), 39),
        (grow("t", 3, Some(&[&[7]])), 39),
        (grow("t", 3, Some(&[&[0, 0]])), 39),
    ];
    for (request, code) in wrong {
        let answer = client.call(3, &request);
        assert_eq!(answer.results[0].error_code, code, "{request:?}");
        assert!(answer.results[0].error_message.is_some());
    }
    let topic = grow("t", 3, None).topics[0].clone();
    let answer = client.call(3, &CreatePartitionsRequest::default().with_topics(vec![topic.clone(), topic]));
    assert_eq!((answer.results.len(), answer.results[0].error_code), (1, 42));
    assert_eq!(partition_count(&mut client, "t"), 2);
}

fn delete_records(client: &mut Client<Shards>, version: i16, topic: &str, index: i32, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(index).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(text(topic).into()).with_partitions(vec![partition]);
    let answer = client.call(version, &DeleteRecordsRequest::default().with_topics(vec![topic]));
    let partition = &answer.topics[0].partitions[0];
    (partition.error_code, partition.low_watermark)
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    for mut client in clients() {
        client.make_topic("t", 2);
        client.produce("t", 1, &["a", "b", "c"]);
        assert_eq!(delete_records(&mut client, 0, "t", 1, 1), (0, 1));
        assert_eq!(delete_records(&mut client, 1, "t", 1, 0), (0, 1), "a start never moves back");
        assert_eq!(delete_records(&mut client, 2, "t", 1, 4), (1, -1));
        assert_eq!(delete_records(&mut client, 2, "t", 1, -2), (1, -1));
        assert_eq!(delete_records(&mut client, 2, "t", 1, -1), (0, 3), "all there are");
        assert_eq!(delete_records(&mut client, 2, "t", 2, 0), (3, -1));
        assert_eq!(delete_records(&mut client, 2, "missing", 0, 0), (3, -1));
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(0);
        let topic = DeleteRecordsTopic::default().with_name(text("t").into());
        let twice = topic.with_partitions(vec![partition.clone(), partition]);
        let answer = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![twice]));
        let codes: Vec<i16> = answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!(codes, [0, 42]);
        client.produce("t", 1, &["d"]);
        let kernel = std::mem::replace(&mut client.kernel, Shards::new(1));
        client.kernel = kernel.restart(client.now);
        client.reconnect();
        assert_eq!(delete_records(&mut client, 2, "t", 1, 0), (0, 3), "kept");
    }
}

/// (error, epoch, end)
fn epoch_end(client: &mut Client<Shards>, version: i16, index: i32, epoch: i32, current: i32) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(index)
        .with_leader_epoch(epoch)
        .with_current_leader_epoch(current);
    let topic = OffsetForLeaderTopic::default().with_topic(text("t").into()).with_partitions(vec![partition]);
    let answer = client.call(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]));
    let found = &answer.topics[0].partitions[0];
    (found.error_code, found.leader_epoch, found.end_offset)
}

#[test]
fn a_consumer_learns_where_an_epoch_ends() {
    for mut client in clients() {
        client.make_topic("t", 1);
        client.produce("t", 0, &["a", "b"]);
        let kernel = std::mem::replace(&mut client.kernel, Shards::new(1));
        client.kernel = kernel.restart(client.now);
        client.reconnect();
        client.produce("t", 0, &["c"]);
        for version in 2..=4 {
            assert_eq!(epoch_end(&mut client, version, 0, 1, -1), (0, 1, 2));
            assert_eq!(epoch_end(&mut client, version, 0, 2, 2), (0, 2, 3));
            assert_eq!(epoch_end(&mut client, version, 0, 3, -1), (0, -1, -1), "not begun yet");
            assert_eq!(epoch_end(&mut client, version, 0, -1, -1), (0, -1, -1));
            assert_eq!(epoch_end(&mut client, version, 0, 1, 1), (74, -1, -1));
            assert_eq!(epoch_end(&mut client, version, 0, 1, 3), (75, -1, -1));
            assert_eq!(epoch_end(&mut client, version, 1, 1, -1), (3, -1, -1));
        }
    }
}

/// Names with partition indexes, and the cursor.
type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn page(client: &mut Client<Shards>, topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Page {
    let topic = |name: &&str| page::TopicRequest::default().with_name(text(name).into());
    let cursor = cursor
        .map(|(name, index)| page::Cursor::default().with_topic_name(text(name).into()).with_partition_index(index));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.iter().map(topic).collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    let answer = client.call(0, &request);
    let topics = answer.topics.iter().map(|topic| {
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        (topic.name.as_ref().map_or(String::new(), |name| name.to_string()), topic.error_code, indexes)
    });
    (topics.collect(), answer.next_cursor.map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index)))
}

#[test]
fn topics_are_described_a_page_at_a_time() {
    for mut client in clients() {
        client.make_topic("a", 2);
        client.make_topic("b", 3);
        client.make_topic("c", 1);
        let row = |name: &str, indexes: &[i32]| (name.to_owned(), 0, indexes.to_vec());
        let at = |name: &str, index: i32| Some((name.to_owned(), index));
        let all = (vec![row("a", &[0, 1]), row("b", &[0, 1, 2]), row("c", &[0])], None);
        assert_eq!(page(&mut client, &[], 2000, None), all);
        assert_eq!(page(&mut client, &["c", "b", "a", "a"], 2000, None), all);
        assert_eq!(page(&mut client, &[], 3, None), (vec![row("a", &[0, 1]), row("b", &[0])], at("b", 1)));
        assert_eq!(page(&mut client, &[], 3, Some(("b", 1))), (vec![row("b", &[1, 2]), row("c", &[0])], None));
        assert_eq!(page(&mut client, &[], 2, None), (vec![row("a", &[0, 1])], at("b", 0)));
        assert_eq!(page(&mut client, &[], 0, Some(("c", 0))), (vec![row("c", &[0])], None), "one at least");
        assert_eq!(page(&mut client, &[], 9, Some(("bb", 4))), (vec![row("c", &[0])], None), "it is gone");
        let strange = page(&mut client, &["a", "missing", "no/name"], 9, None).0;
        assert_eq!(strange[1..], [("missing".to_owned(), 3, vec![]), ("no/name".to_owned(), 17, vec![])]);
        assert_eq!(page(&mut client, &["a"], 9, Some(("a", -1))).0, [("a".to_owned(), 42, vec![])]);
    }
}

#[test]
fn the_directory_says_how_much_each_partition_takes() {
    for count in [1, 2] {
        let volume = Arc::new(Volume::default());
        volume.total_bytes.store(1000, std::sync::atomic::Ordering::Relaxed);
        let settings = Settings { log_dir: "/data".into(), volume, ..Settings::default() };
        let mut client = Client::of(settings, Shards::new(count));
        client.make_topic("t", 3);
        client.make_topic("u", 1);
        let bytes = batch_of(&["0123456789"]).len() as i64;
        client.produce("t", 1, &["0123456789", "0123456789"]);
        for version in 1..=4 {
            let answer = client.call(version, &DescribeLogDirsRequest::default().with_topics(None));
            assert_eq!((answer.error_code, answer.results.len()), (0, 1));
            let dir = &answer.results[0];
            assert_eq!((dir.error_code, dir.log_dir.as_str()), (0, "/data"));
            assert_eq!((dir.total_bytes, dir.usable_bytes), if version >= 4 { (1000, -1) } else { (-1, -1) });
            let sizes = dir.topics.iter().map(|topic| {
                let sizes: Vec<i64> = topic.partitions.iter().map(|partition| partition.partition_size).collect();
                (topic.name.to_string(), sizes)
            });
            let sizes: Vec<_> = sizes.collect();
            assert_eq!(sizes, [("t".to_owned(), vec![0, 2 * bytes, 0]), ("u".to_owned(), vec![0])]);
        }
        let asked =
            |name: &str| DescribableLogDirTopic::default().with_topic(text(name).into()).with_partitions(vec![1, 9]);
        let request = DescribeLogDirsRequest::default().with_topics(Some(vec![asked("t"), asked("missing")]));
        let answer = client.call(4, &request);
        assert_eq!((answer.results[0].topics.len(), answer.results[0].topics[0].partitions.len()), (1, 1));
    }
}

#[test]
fn a_request_about_very_many_partitions_has_few_commands_under_way() {
    let mut client = clients().nth(1).unwrap();
    client.make_topic("t", 2_500);
    let answer = client.call(4, &DescribeLogDirsRequest::default().with_topics(None));
    assert_eq!(answer.results[0].topics[0].partitions.len(), 2_500);
    let mut client = Client::with_topic("t", 1_000);
    client.make_topic("u", 1_000);
    client.kernel.holding = true;
    client.send(4, &DescribeLogDirsRequest::default().with_topics(None));
    let asked = client.kernel.asked.iter().filter(|command| matches!(command, kernel::Command::Describe(_))).count();
    assert_eq!(asked, 1_000);
}

#[test]
fn producers_are_told_by_partition() {
    for mut client in clients() {
        client.make_topic("t", 2);
        let numbering = Numbering { producer_id: ProducerId(44), producer_epoch: ProducerEpoch(2), base_sequence: 0 };
        let records = vec![NewRecord { timestamp_ms: super::client::WALL_MS as i64, ..NewRecord::default() }; 3];
        let records = batch::build(&records, numbering).bytes().clone();
        let answer = client.call(9, &produce_request("t", 1, -1, Some(records)));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        use kafka_protocol::messages::describe_producers_request::TopicRequest;
        let topic = TopicRequest::default().with_name(text("t").into()).with_partition_indexes(vec![0, 1, 2]);
        let answer = client.call(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
        let partitions = &answer.topics[0].partitions;
        assert_eq!((partitions[0].error_code, partitions[0].active_producers.len()), (0, 0));
        assert_eq!((partitions[2].error_code, partitions[2].active_producers.len()), (3, 0));
        let producer = &partitions[1].active_producers[0];
        assert_eq!((producer.producer_id.0, producer.producer_epoch, producer.last_sequence), (44, 2, 2));
        assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
        assert!(producer.last_timestamp >= super::client::WALL_MS as i64);
    }
}

#[test]
fn the_cluster_is_this_broker() {
    let mut client = clients().next().unwrap();
    for version in 0..=2 {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let answer = client.call(version, &request);
        assert_eq!((answer.error_code, answer.cluster_id.as_str()), (0, "AAAAAAAAAAAAAAAAAAAAAA"));
        assert_eq!((answer.controller_id.0, answer.brokers.len()), (0, 1));
        assert_eq!((answer.brokers[0].broker_id.0, answer.brokers[0].port), (0, 9092));
        assert!(answer.cluster_authorized_operations > 0);
        if version >= 1 {
            for (endpoint_type, code) in [(2, 114), (3, 115)] {
                let answer = client.call(version, &request.clone().with_endpoint_type(endpoint_type));
                assert_eq!((answer.error_code, answer.brokers.len()), (code, 0));
            }
        }
    }
}

#[test]
fn the_quorum_is_this_broker() {
    let mut client = clients().next().unwrap();
    for version in 0..=2 {
        let partition = |index: i32| PartitionData::default().with_partition_index(index);
        let topic = |name: &str| {
            TopicData::default().with_topic_name(text(name).into()).with_partitions(vec![partition(0), partition(1)])
        };
        let request = DescribeQuorumRequest::default().with_topics(vec![topic("__cluster_metadata"), topic("t")]);
        let answer = client.call(version, &request);
        assert_eq!(answer.error_code, 0);
        let known = &answer.topics[0].partitions[0];
        assert_eq!((known.error_code, known.leader_id.0, known.current_voters.len()), (0, 0, 1));
        assert_eq!(known.current_voters[0].replica_id.0, 0);
        assert!(known.leader_epoch > 0 && known.observers.is_empty());
        let unknown = [&answer.topics[0].partitions[1], &answer.topics[1].partitions[0]];
        assert!(unknown.iter().all(|partition| partition.error_code == 3 && partition.leader_id.0 == -1));
        assert_eq!(answer.nodes.len(), usize::from(version >= 2));
    }
}

#[test]
fn partitions_stay_where_they_are() {
    let mut client = Client::of(Settings { log_dir: "/data".into(), ..Settings::default() }, Shards::new(2));
    client.make_topic("t", 1);
    for version in 1..=2 {
        let topic =
            |name: &str| AlterReplicaLogDirTopic::default().with_name(text(name).into()).with_partitions(vec![0]);
        let dir =
            |path: &str, name: &str| AlterReplicaLogDir::default().with_path(text(path)).with_topics(vec![topic(name)]);
        let dirs = vec![dir("/data", "t"), dir("/elsewhere", "t"), dir("/data", "missing")];
        let answer = client.call(version, &AlterReplicaLogDirsRequest::default().with_dirs(dirs));
        let codes: Vec<i16> = answer.results.iter().map(|topic| topic.partitions[0].error_code).collect();
        assert_eq!(codes, [0, 57, 3]);
    }
    let partition = |index: i32, replicas: Option<&[i32]>| {
        ReassignablePartition::default()
            .with_partition_index(index)
            .with_replicas(replicas.map(|replicas| replicas.iter().map(|id| (*id).into()).collect()))
    };
    for version in 0..=1 {
        let partitions = vec![
            partition(0, Some(&[0])),
            partition(0, Some(&[7])),
            partition(0, Some(&[])),
            partition(0, Some(&[0, 0])),
            partition(0, None),
            partition(1, Some(&[0])),
        ];
        let topic = ReassignableTopic::default().with_name(text("t").into()).with_partitions(partitions);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
        let answer = client.call(version, &request);
        let codes: Vec<i16> = answer.responses[0].partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!((answer.error_code, codes), (0, vec![0, 39, 39, 39, 85, 3]));
    }
    let answer = client.call(0, &ListPartitionReassignmentsRequest::default().with_topics(None));
    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
}

#[test]
fn no_election_is_needed() {
    let mut client = clients().next().unwrap();
    client.make_topic("t", 1);
    for version in 0..=2 {
        let topic = TopicPartitions::default().with_topic(text("t").into()).with_partitions(vec![0, 1]);
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic]));
        let answer = client.call(version, &request);
        let partitions = &answer.replica_election_results[0].partition_result;
        let codes: Vec<i16> = partitions.iter().map(|partition| partition.error_code).collect();
        assert_eq!((answer.error_code, codes), (0, vec![84, 3]));
        let all = client.call(version, &ElectLeadersRequest::default().with_topic_partitions(None));
        assert_eq!((all.error_code, all.replica_election_results.len()), (0, 0));
        if version >= 1 {
            assert_eq!(client.call(version, &request.with_election_type(2)).error_code, 42);
        }
    }
}
