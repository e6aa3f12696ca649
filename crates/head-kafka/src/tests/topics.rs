// SPDX-License-Identifier: Apache-2.0
//! ApiVersions, Metadata, CreateTopics, DeleteTopics.

use super::client::{Client, text};
use super::plain_kernel::EPOCH;
use super::produce::kafka_uuid;
use crate::Settings;
use crate::wire::ApiKey;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
};
use kernel::Reply;
use kernel::error::{DeclareError, DeleteError};

// ApiVersions

fn software(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    request.with_client_software_name(text("tests")).with_client_software_version(text("1.0"))
}

#[test]
fn exactly_what_is_spoken_is_announced() {
    for version in 0..=4 {
        let mut client = Client::new();
        let answer = client.call(version, &software(version));
        assert_eq!(answer.error_code, 0);
        let ranges: Vec<_> =
            answer.api_keys.iter().map(|key| (key.api_key, key.min_version, key.max_version)).collect();
        let expected = [
            (0, 0, 13),
            (1, 4, 18),
            (2, 1, 11),
            (3, 0, 13),
            (8, 2, 10),
            (9, 1, 10),
            (10, 0, 6),
            (11, 0, 9),
            (12, 0, 4),
            (13, 0, 5),
            (14, 0, 5),
            (15, 0, 6),
            (16, 0, 5),
            (18, 0, 4),
            (19, 2, 7),
            (20, 1, 6),
            (21, 0, 2),
            (22, 0, 5),
            (23, 2, 4),
            (32, 1, 4),
            (33, 0, 2),
            (34, 1, 2),
            (35, 1, 5),
            (37, 0, 3),
            (42, 0, 2),
            (43, 0, 2),
            (44, 0, 1),
            (45, 0, 1),
            (46, 0, 0),
            (47, 0, 0),
            (55, 0, 2),
            (60, 0, 2),
            (61, 0, 0),
            (74, 0, 1),
            (75, 0, 0),
        ];
        assert_eq!(ranges, expected, "version {version}");
        assert!(answer.supported_features.is_empty() && answer.finalized_features.is_empty());
    }
}

#[test]
fn a_version_from_the_future_is_answered_in_the_oldest_layout_and_the_connection_goes_on() {
    let mut client = Client::new();
    for future in [5, 6, 99, i16::MAX] {
        let correlation_id = client.write(4, future, &software(4));
        client.run();
        let (answered, answer) = client.receive::<ApiVersionsRequest>(0).unwrap();
        assert_eq!((answered, answer.error_code), (correlation_id, 35));
        let own = answer.api_keys.iter().find(|key| key.api_key == 18).unwrap();
        assert_eq!((own.min_version, own.max_version), (0, 4));
    }
    assert_eq!(client.call(4, &software(4)).error_code, 0);
}

#[test]
fn a_client_that_will_not_say_its_name_is_refused() {
    let mut client = Client::new();
    let answer = client.call(3, &software(3).with_client_software_name(text("")));
    assert_eq!((answer.error_code, answer.api_keys.len()), (42, 0));
}

// FindCoordinator

#[test]
fn the_one_broker_coordinates_everything() {
    use kafka_protocol::messages::FindCoordinatorRequest;
    let mut client = Client::new();
    for version in 0..=6 {
        let types = if version >= 6 { 0..=2 } else { 0..=i8::from(version >= 1) };
        for key_type in types {
            let request = FindCoordinatorRequest::default().with_key_type(key_type);
            if version < 4 {
                let answer = client.call(version, &request.with_key(text("g")));
                assert_eq!((answer.error_code, answer.node_id.0, answer.port), (0, 0, 9092), "version {version}");
                assert_eq!(answer.host.as_str(), "127.0.0.1");
            } else {
                let answer = client.call(version, &request.with_coordinator_keys(vec![text("g"), text("h")]));
                let keys: Vec<_> = answer.coordinators.iter().map(|found| found.key.as_str()).collect();
                assert_eq!(keys, ["g", "h"]);
                let found = &answer.coordinators[1];
                assert_eq!((found.error_code, found.node_id.0, found.port), (0, 0, 9092));
                assert_eq!(found.host.as_str(), "127.0.0.1");
            }
        }
    }
    let strange = FindCoordinatorRequest::default().with_key_type(3).with_coordinator_keys(vec![text("g")]);
    let answer = client.call(6, &strange);
    assert_eq!((answer.coordinators[0].error_code, answer.coordinators[0].node_id.0), (42, -1));
}

// Metadata

fn metadata(topics: Option<&[&str]>) -> MetadataRequest {
    let named = |name: &&str| MetadataRequestTopic::default().with_name(Some(text(name).into()));
    MetadataRequest::default().with_topics(topics.map(|topics| topics.iter().map(named).collect()))
}

fn names(answer: &MetadataResponse) -> Vec<(String, i16)> {
    let row = |topic: &MetadataResponseTopic| (topic.name.clone().unwrap().to_string(), topic.error_code);
    answer.topics.iter().map(row).collect()
}

#[test]
fn the_broker_and_a_topic_are_told_in_every_version() {
    let settings = Settings {
        cluster_id: "abcdefghijklmnopqrstuv".into(),
        advertised_host: "broker.example".into(),
        advertised_port: 1234,
        ..Settings::default()
    };
    let mut client = Client::with(settings);
    client.make_topic("t", 2);
    let id = client.kernel.topic("t").unwrap().id.0;
    for version in 0..=13 {
        let answer = client.call(version, &metadata(Some(&["t"])));
        let broker = &answer.brokers[0];
        assert_eq!((broker.node_id.0, broker.host.as_str(), broker.port), (0, "broker.example", 1234));
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!(answer.controller_id.0, if version >= 1 { 0 } else { -1 });
        let cluster_id = answer.cluster_id.map(|id| id.to_string());
        assert_eq!(cluster_id, (version >= 2).then(|| "abcdefghijklmnopqrstuv".to_owned()));
        let topic = &answer.topics[0];
        assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, false, 2));
        assert_eq!(*topic.topic_id.as_bytes(), if version >= 10 { id } else { [0; 16] });
        assert_eq!(topic.topic_authorized_operations, i32::MIN);
        for (at, partition) in topic.partitions.iter().enumerate() {
            assert_eq!((partition.partition_index, partition.leader_id.0), (at as i32, 0));
            assert_eq!(partition.leader_epoch, if version >= 7 { EPOCH } else { -1 });
            assert_eq!(partition.replica_nodes, [0]);
            assert_eq!(partition.isr_nodes, [0]);
            assert!(partition.offline_replicas.is_empty());
        }
    }
}

#[test]
fn all_topics_or_none_is_said_differently_in_version_0() {
    let mut client = Client::with_topic("b", 1);
    client.make_topic("a", 1);
    let all = vec![("a".to_owned(), 0), ("b".to_owned(), 0)];
    assert_eq!(names(&client.call(0, &metadata(Some(&[])))), all);
    for version in 1..=13 {
        assert_eq!(names(&client.call(version, &metadata(None))), all);
        assert_eq!(names(&client.call(version, &metadata(Some(&[])))), []);
    }
}

#[test]
fn a_missing_topic_is_made_and_told_in_the_same_answer() {
    for version in 0..=13 {
        let settings = Settings { default_partitions: 4, ..Settings::default() };
        let mut client = Client::with(settings);
        let answer = client.call(version, &metadata(Some(&["fresh"])));
        assert_eq!(names(&answer), [("fresh".to_owned(), 0)], "version {version}");
        assert_eq!(answer.topics[0].partitions.len(), 4);
    }
}

#[test]
fn a_missing_topic_is_not_made_unless_all_agree() {
    let mut client = Client::new();
    for version in 4..=13 {
        let answer = client.call(version, &metadata(Some(&["t"])).with_allow_auto_topic_creation(false));
        assert_eq!(names(&answer), [("t".to_owned(), 3)]);
    }
    let mut client = Client::with(Settings { auto_create_topics: false, ..Settings::default() });
    assert_eq!(names(&client.call(0, &metadata(Some(&["t"])))), [("t".to_owned(), 3)]);
    assert_eq!(names(&client.call(9, &metadata(Some(&["t"])))), [("t".to_owned(), 3)]);
    assert!(client.kernel.topic("t").is_none());
}

#[test]
fn a_bad_name_is_invalid_whether_or_not_it_would_be_made() {
    let mut client = Client::new();
    let long = "x".repeat(250);
    for bad in ["", ".", "..", "a b", "a/b", "é", long.as_str()] {
        assert_eq!(names(&client.call(9, &metadata(Some(&[bad]))))[0].1, 17, "{bad}");
        let only_look = metadata(Some(&[bad])).with_allow_auto_topic_creation(false);
        assert_eq!(names(&client.call(9, &only_look))[0].1, 17, "{bad}");
    }
}

#[test]
fn each_topic_is_told_once_and_in_order() {
    let mut client = Client::with_topic("a", 1);
    let answer = client.call(9, &metadata(Some(&["z", "a", "z", "a"])));
    assert_eq!(names(&answer), [("z".to_owned(), 0), ("a".to_owned(), 0)]);
}

#[test]
fn topics_are_named_by_id_from_version_12_on() {
    let mut client = Client::with_topic("t", 1);
    let id = client.kernel.topic("t").unwrap().id.0;
    let by_id = |id| {
        let topic = MetadataRequestTopic::default().with_topic_id(kafka_uuid(id)).with_name(None);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    for version in 12..=13 {
        let answer = client.call(version, &by_id(id));
        assert_eq!(names(&answer), [("t".to_owned(), 0)]);
        let answer = client.call(version, &by_id([9; 16]));
        assert_eq!((answer.topics[0].error_code, &answer.topics[0].name), (100, &None));
        assert_eq!(*answer.topics[0].topic_id.as_bytes(), [9; 16]);
    }
    for version in 10..=11 {
        let answer = client.call(version, &by_id(id));
        assert_eq!(answer.topics[0].error_code, 42, "ids meant nothing yet");
    }
}

#[test]
fn what_the_asker_may_do_is_told_when_asked() {
    let mut client = Client::with_topic("t", 1);
    for version in 8..=13 {
        let request = metadata(Some(&["t"])).with_include_topic_authorized_operations(true);
        let answer = client.call(version, &request);
        assert_eq!(answer.topics[0].topic_authorized_operations, 0b1101_1111_1000);
    }
    for version in 8..=10 {
        let request = metadata(None).with_include_cluster_authorized_operations(true);
        assert_eq!(client.call(version, &request).cluster_authorized_operations, 0b1_1111_1010_0000);
    }
}

#[test]
fn what_keeps_a_topic_from_being_made_is_told() {
    let mut client = Client::new();
    for (error, code) in [
        (DeclareError::Overloaded { retry_after_ms: 1 }, 5),
        (DeclareError::StorageFull, 56),
        (DeclareError::Denied, 29),
        (DeclareError::Exists, 5),
    ] {
        client.kernel.instead.push_back(Reply::Declared(Err(error)));
        assert_eq!(names(&client.call(9, &metadata(Some(&["t"])))), [("t".to_owned(), code)]);
    }
}

// CreateTopics

fn topic(name: &str, partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(text(name).into())
        .with_num_partitions(partitions)
        .with_replication_factor(replication_factor)
}

fn create(client: &mut Client, version: i16, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    client.call(version, &CreateTopicsRequest::default().with_topics(topics)).topics
}

fn code(client: &mut Client, topic: CreatableTopic) -> i16 {
    let results = create(client, 7, vec![topic]);
    assert_eq!(results[0].error_code != 0, results[0].error_message.is_some(), "a refusal says why");
    results[0].error_code
}

#[test]
fn topics_are_made_in_every_version() {
    for version in 2..=7 {
        let mut client = Client::new();
        let result = create(&mut client, version, vec![topic("t", 3, 1)]).remove(0);
        assert_eq!((result.name.0.as_str(), result.error_code, &result.error_message), ("t", 0, &None));
        let made = client.kernel.topic("t").unwrap();
        assert_eq!(made.partitions.len(), 3);
        if version >= 5 {
            assert_eq!((result.num_partitions, result.replication_factor), (3, 1));
            let configs = result.configs.unwrap();
            let retention = configs.iter().find(|config| config.name.as_str() == "retention.ms").unwrap();
            assert_eq!(retention.value.as_ref().unwrap().as_str(), "604800000");
            assert_eq!((retention.config_source, retention.read_only), (5, false));
        }
        if version >= 7 {
            assert_eq!(*result.topic_id.as_bytes(), made.id.0);
        }
    }
}

#[test]
fn each_way_a_topic_can_be_wrong_has_its_number() {
    let mut client = Client::with_topic("exists", 1);
    let client = &mut client;
    assert_eq!(code(client, topic("exists", 1, 1)), 36);
    assert_eq!(code(client, topic("a b", 1, 1)), 17);
    assert_eq!(code(client, topic("", 1, 1)), 17);
    assert_eq!(code(client, topic("t", 0, 1)), 37);
    assert_eq!(code(client, topic("t", -2, 1)), 37);
    assert_eq!(code(client, topic("t", 2000, 1)), 37, "more than the kernel takes");
    assert_eq!(code(client, topic("t", 1, 0)), 38);
    assert_eq!(code(client, topic("t", 1, 3)), 38);
    assert_eq!(code(client, topic("t", 1, -2)), 38);
    let config = |name: &str, value: Option<&str>| {
        let config = CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text));
        topic("t", 1, 1).with_configs(vec![config])
    };
    assert_eq!(code(client, config("no.such.thing", Some("1"))), 40);
    assert_eq!(code(client, config("retention.ms", Some("x"))), 40);
    assert_eq!(code(client, config("retention.ms", None)), 40);
    assert!(client.kernel.topic("t").is_none());
    assert_eq!(code(client, config("retention.ms", Some("1000"))), 0);
    let made = client.kernel.topic("t").unwrap();
    assert_eq!(made.settings.retention_ms, Some(1000));
    assert_eq!((&*made.settings.stored[0].0, &*made.settings.stored[0].1), ("retention.ms", "1000"));
}

#[test]
fn names_that_differ_in_dots_and_underscores_only_are_not_made_together() {
    let mut client = Client::new();
    for name in ["a.b", "x_y.z", "._", "a-b", "ab", "many.dots_and.dots_and.dots_and.dots_and.dots_and.dots"] {
        assert_eq!(code(&mut client, topic(name, 1, 1)), 0, "{name}");
    }
    for name in
        ["a_b", "x.y.z", "x_y_z", "x.y_z", "__", "_.", "..", "many_dots_and.dots_and.dots.and.dots_and.dots_and_dots"]
    {
        assert_eq!(code(&mut client, topic(name, 1, 1)), 17, "{name}");
    }
    for name in ["a.", "a.b.", "a.b.c", "a_b_c_d", "x_y", "b", "many.dots_and.dots"] {
        assert_eq!(code(&mut client, topic(name, 1, 1)), 0, "{name}");
    }
    let wanted = MetadataRequestTopic::default().with_name(Some(text("a_b").into()));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
    assert_eq!(client.call(9, &request).topics[0].error_code, 17);
    assert!(client.kernel.topic("a_b").is_none());
}

#[test]
fn a_kernel_error_about_a_topic_has_its_number() {
    let mut client = Client::new();
    client.kernel.instead.push_back(Reply::Declared(Err(DeclareError::Overloaded { retry_after_ms: 70 })));
    let answer = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic("t", 1, 1)]));
    assert_eq!((answer.topics[0].error_code, answer.throttle_time_ms), (89, 70));
}

#[test]
fn defaults_are_taken_where_nothing_is_said() {
    let mut client = Client::with(Settings { default_partitions: 6, ..Settings::default() });
    assert_eq!(code(&mut client, topic("t", -1, -1)), 0);
    assert_eq!(client.kernel.topic("t").unwrap().partitions.len(), 6);
}

#[test]
fn more_replicas_are_taken_as_one_where_that_is_set() {
    let settings = Settings { accept_any_replication_factor: true, ..Settings::default() };
    let mut client = Client::with(settings);
    let result = create(&mut client, 7, vec![topic("t", 1, 3)]).remove(0);
    assert_eq!((result.error_code, result.replication_factor), (0, 1));
    assert_eq!(code(&mut client, topic("u", 1, 0)), 38);
}

#[test]
fn partitions_can_be_assigned_to_the_one_broker() {
    let mut client = Client::new();
    let client = &mut client;
    let assigned = |name: &str, rows: &[(i32, &[i32])]| {
        let row = |(index, brokers): &(i32, &[i32])| {
            CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers.iter().map(|broker| (*broker).into()).collect())
        };
        topic(name, -1, -1).with_assignments(rows.iter().map(row).collect())
    };
    assert_eq!(code(client, assigned("t", &[(1, &[0]), (0, &[0])])), 0);
    assert_eq!(client.kernel.topic("t").unwrap().partitions.len(), 2);
    assert_eq!(code(client, assigned("u", &[(0, &[1])])), 39);
    assert_eq!(code(client, assigned("u", &[(0, &[0, 1])])), 39);
    assert_eq!(code(client, assigned("u", &[(0, &[])])), 39);
    assert_eq!(code(client, assigned("u", &[(0, &[0]), (2, &[0])])), 39, "a hole");
    assert_eq!(code(client, assigned("u", &[(0, &[0]), (0, &[0])])), 39, "twice");
    assert_eq!(code(client, assigned("u", &[(1, &[0])])), 39, "not from 0");
    assert_eq!(code(client, assigned("u", &[(0, &[0])]).with_num_partitions(1)), 42);
    assert_eq!(code(client, assigned("u", &[(0, &[0])]).with_replication_factor(1)), 42);
}

#[test]
fn one_bad_topic_does_not_keep_the_others_from_being_made() {
    let mut client = Client::new();
    let topics =
        vec![topic("a", 1, 1), topic("b b", 1, 1), topic("c", 1, 1), topic("twice", 1, 1), topic("twice", 2, 1)];
    let results = create(&mut client, 7, topics);
    let codes: Vec<_> = results.iter().map(|result| (result.name.0.as_str(), result.error_code)).collect();
    assert_eq!(codes, [("a", 0), ("b b", 17), ("c", 0), ("twice", 42)]);
    assert!(client.kernel.topic("a").is_some() && client.kernel.topic("c").is_some());
    assert!(client.kernel.topic("twice").is_none());
}

#[test]
fn a_request_for_too_many_topics_is_refused_whole() {
    let mut client = Client::new();
    let topics = (0..=10_000).map(|number| topic(&format!("t{number}"), 1, 1)).collect();
    let results = create(&mut client, 7, topics);
    assert_eq!(results.len(), 10_001);
    assert!(results.iter().all(|result| result.error_code == 44 && result.error_message.is_some()));
    assert!(client.kernel.topic("t0").is_none());
}

#[test]
fn one_request_makes_a_thousand_topics_at_most() {
    let mut client = Client::new();
    let names: Vec<String> = (0..1_001).map(|number| format!("t{number}")).collect();
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let answer = client.call(13, &metadata(Some(&asked)));
    let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert!(codes[..1_000].iter().all(|code| *code == 0));
    assert_eq!(codes[1_000], 3, "the client asks again");
    assert_eq!(client.call(13, &metadata(Some(&["t1000"]))).topics[0].error_code, 0);
}

#[test]
fn validation_makes_nothing() {
    let mut client = Client::with_topic("exists", 1);
    let request = |name| CreateTopicsRequest::default().with_topics(vec![topic(name, 2, 1)]).with_validate_only(true);
    let result = client.call(7, &request("t")).topics.remove(0);
    assert_eq!((result.error_code, result.num_partitions), (0, 2));
    assert_eq!(*result.topic_id.as_bytes(), [0; 16]);
    assert!(client.kernel.topic("t").is_none());
    assert_eq!(client.call(7, &request("exists")).topics[0].error_code, 36);
}

// DeleteTopics

#[test]
fn topics_are_deleted_by_name_in_every_version() {
    for version in 1..=6 {
        let mut client = Client::with_topic("t", 1);
        let names = |names: &[&str]| {
            let request = DeleteTopicsRequest::default();
            if version < 6 {
                request.with_topic_names(names.iter().map(|name| text(name).into()).collect())
            } else {
                let state = |name: &&str| DeleteTopicState::default().with_name(Some(text(name).into()));
                request.with_topics(names.iter().map(state).collect())
            }
        };
        let answer = client.call(version, &names(&["t", "u", "t"]));
        let codes: Vec<_> = answer
            .responses
            .iter()
            .map(|result| (result.name.as_ref().unwrap().to_string(), result.error_code))
            .collect();
        let expected = [("t".to_owned(), 0), ("u".to_owned(), 3), ("t".to_owned(), 42)];
        assert_eq!(codes, expected, "version {version}");
        assert!(client.kernel.topic("t").is_none());
    }
}

#[test]
fn topics_are_deleted_by_id_in_version_6() {
    let mut client = Client::with_topic("t", 1);
    let id = client.kernel.topic("t").unwrap().id.0;
    let state = |name: Option<&str>, id| {
        DeleteTopicState::default().with_name(name.map(|name| text(name).into())).with_topic_id(kafka_uuid(id))
    };
    let states = vec![state(None, [8; 16]), state(None, [0; 16]), state(Some("t"), id), state(None, id)];
    let answer = client.call(6, &DeleteTopicsRequest::default().with_topics(states));
    let codes: Vec<_> = answer.responses.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [100, 42, 42, 0]);
    let deleted = &answer.responses[3];
    assert_eq!(deleted.name.as_ref().unwrap().as_str(), "t");
    assert_eq!(*deleted.topic_id.as_bytes(), id);
    client.make_topic("u", 1);
    client.kernel.instead.push_back(Reply::Deleted(Err(DeleteError::LogFailed)));
    let states = vec![state(Some("u"), [0; 16])];
    let answer = client.call(6, &DeleteTopicsRequest::default().with_topics(states));
    assert_eq!(answer.responses[0].error_code, 7, "it may be gone or not");
}

#[test]
fn every_announced_kind_has_a_name() {
    for key in ApiKey::ALL {
        assert_eq!(crate::session::api_name(key.number()), format!("{key:?}"));
    }
    assert_eq!(crate::session::api_name(99), "Unknown");
}
