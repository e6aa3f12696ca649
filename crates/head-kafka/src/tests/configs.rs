// SPDX-License-Identifier: Apache-2.0
//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources, over real shards, restarts included.

use super::client::{Client, batch_of, produce_request, text};
use super::shards::{Shards, clients};
use crate::Settings;
use kafka_protocol::messages::alter_configs_request as alter;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    MetadataRequest,
};
use kernel::Reply;
use kernel::error::AlterError;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Operation<'a> = (&'a str, i8, Option<&'a str>);

fn change_request(kind: i8, name: &str, operations: &[Operation<'_>]) -> IncrementalAlterConfigsRequest {
    let config = |(name, operation, value): &Operation<'_>| {
        incremental::AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    let resource = incremental::AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(operations.iter().map(config).collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn change(client: &mut Client<Shards>, kind: i8, name: &str, operations: &[Operation<'_>]) -> i16 {
    client.call(1, &change_request(kind, name, operations)).responses[0].error_code
}

fn describe_request(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
    DescribeConfigsRequest::default().with_resources(vec![resource])
}

fn describe(client: &mut Client<Shards>, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let request = describe_request(kind, name, keys).with_include_synonyms(true);
    client.call(4, &request).results[0].clone()
}

/// (value, source) of one setting.
fn value(client: &mut Client<Shards>, kind: i8, name: &str, key: &str) -> (Option<String>, i8) {
    let result = describe(client, kind, name, Some(&[key]));
    assert_eq!((result.error_code, result.configs.len()), (0, 1), "{key}: {result:?}");
    (result.configs[0].value.as_ref().map(ToString::to_string), result.configs[0].config_source)
}

fn some(value: &str, source: i8) -> (Option<String>, i8) {
    (Some(value.to_owned()), source)
}

fn synonyms(row: &DescribeConfigsResourceResult) -> Vec<(String, i8)> {
    row.synonyms.iter().map(|synonym| (synonym.name.to_string(), synonym.source)).collect()
}

fn restart(client: &mut Client<Shards>) {
    let kernel = std::mem::replace(&mut client.kernel, Shards::new(1));
    client.kernel = kernel.restart(client.now);
    client.reconnect();
}

#[test]
fn a_topic_is_described_with_what_was_given_and_what_is_the_default() {
    for mut client in clients() {
        client.make_topic_with("t", 1, &[("retention.bytes", "5")]);
        let result = describe(&mut client, TOPIC, "t", None);
        assert_eq!((result.error_code, result.configs.len()), (0, 33));
        let row = |name: &str| result.configs.iter().find(|row| row.name.as_str() == name).unwrap();
        let given = row("retention.bytes");
        assert_eq!((given.value.as_deref(), given.config_source, given.config_type), (Some("5"), 1, 5));
        assert_eq!(synonyms(given), [("retention.bytes".to_owned(), 1), ("log.retention.bytes".to_owned(), 5)]);
        let default = row("retention.ms");
        assert_eq!((default.value.as_deref(), default.config_source), (Some("604800000"), 5));
        assert_eq!(synonyms(default), [], "the broker's has no default of its own");
        for (name, kind) in [("preallocate", 1), ("compression.type", 2), ("segment.bytes", 3), ("cleanup.policy", 7)] {
            assert_eq!(row(name).config_type, kind, "{name}");
        }
        assert_eq!(row("min.cleanable.dirty.ratio").config_type, 6);
        assert!(result.configs.iter().all(|row| !row.read_only && !row.is_sensitive && row.documentation.is_none()));
    }
}

#[test]
fn only_what_is_asked_for_is_told() {
    let mut client = clients().next().unwrap();
    client.make_topic("t", 1);
    for version in 1..=4 {
        let request = describe_request(TOPIC, "t", Some(&["retention.ms", "segment.bytes", "nonsense"]));
        let answer = client.call(version, &request);
        let names: Vec<&str> = answer.results[0].configs.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["retention.ms", "segment.bytes"], "version {version}");
        assert!(answer.results[0].configs.iter().all(|row| row.synonyms.is_empty()));
        if version >= 3 {
            let answer = client.call(version, &request.with_include_documentation(true));
            assert!(answer.results[0].configs[0].documentation.as_ref().unwrap().starts_with("Acts."));
            assert!(answer.results[0].configs[1].documentation.as_ref().unwrap().starts_with("Kept and listed."));
        }
    }
    assert_eq!(describe(&mut client, TOPIC, "t", Some(&[])).configs.len(), 33, "no key is every key");
}

#[test]
fn what_cannot_be_described_has_its_number() {
    let mut client = clients().next().unwrap();
    let wrong = [
        (TOPIC, "missing", 3),
        (TOPIC, "no/name", 17),
        (TOPIC, "", 17),
        (BROKER, "7", 42),
        (BROKER, "+0", 42),
        (BROKER, "x", 42),
        (GROUP, "", 42),
        (CLIENT_METRICS, "m", 42),
        (BROKER_LOGGER, "7", 42),
        (99, "x", 42),
    ];
    for (kind, name, code) in wrong {
        let result = describe(&mut client, kind, name, None);
        assert_eq!((result.error_code, result.configs.len()), (code, 0), "{kind} {name}");
        assert_eq!((result.resource_type, result.resource_name.as_str()), (kind, name));
    }
    let loggers = describe(&mut client, BROKER_LOGGER, "0", None);
    assert_eq!((loggers.error_code, loggers.configs.len()), (0, 0));
}

#[test]
fn a_topics_settings_are_changed_act_and_are_kept() {
    for mut client in clients() {
        client.make_topic("t", 2);
        client.produce("t", 1, &["0123456789"]);
        let changes = [
            ("max.message.bytes", SET, Some("70")),
            ("cleanup.policy", APPEND, Some("compact")),
            ("retention.ms", SET, Some("1000")),
        ];
        assert_eq!(change(&mut client, TOPIC, "t", &changes), 0);
        let check = |client: &mut Client<Shards>| {
            assert_eq!(value(client, TOPIC, "t", "max.message.bytes"), some("70", 1));
            assert_eq!(value(client, TOPIC, "t", "cleanup.policy"), some("delete,compact", 1));
            for index in 0..2 {
                let request = produce_request("t", index, -1, Some(batch_of(&["0123456789"])));
                let answer = client.call(9, &request);
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 10, "too large now");
            }
        };
        check(&mut client);
        restart(&mut client);
        check(&mut client);
        let back = [("max.message.bytes", DELETE, Some("ignored")), ("cleanup.policy", SUBTRACT, Some("compact"))];
        assert_eq!(change(&mut client, TOPIC, "t", &back), 0);
        assert_eq!(value(&mut client, TOPIC, "t", "max.message.bytes"), some("1048588", 5));
        assert_eq!(value(&mut client, TOPIC, "t", "cleanup.policy"), some("delete", 1));
        client.produce("t", 0, &["0123456789"]);
    }
}

#[test]
fn the_older_request_leaves_only_what_it_names() {
    let mut client = clients().next().unwrap();
    client.make_topic_with("t", 1, &[("retention.ms", "5"), ("segment.ms", "6")]);
    for version in 0..=2 {
        let config = alter::AlterableConfig::default()
            .with_name(text("segment.ms"))
            .with_value(Some(text(&version.to_string())));
        let resource = alter::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("t"))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = client.call(version, &request.clone().with_validate_only(true));
        // No segment lives for no time at all.
        let expected = if version == 0 { 40 } else { 0 };
        assert_eq!(answer.responses[0].error_code, expected);
        assert_eq!(client.call(version, &request).responses[0].error_code, expected);
    }
    assert_eq!(value(&mut client, TOPIC, "t", "segment.ms"), some("2", 1));
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms"), some("604800000", 5));
}

#[test]
fn what_is_only_checked_changes_nothing() {
    for mut client in clients() {
        client.make_topic("t", 1);
        for (kind, name, key, now) in [
            (TOPIC, "t", "retention.ms", some("604800000", 5)),
            (BROKER, "0", "background.threads", some("10", 5)),
            (GROUP, "g", "consumer.session.timeout.ms", some("45000", 5)),
        ] {
            let request = change_request(kind, name, &[(key, SET, Some("50000"))]).with_validate_only(true);
            assert_eq!(client.call(1, &request).responses[0].error_code, 0);
            assert_eq!(value(&mut client, kind, name, key), now);
        }
    }
}

#[test]
fn a_wrong_change_has_its_number_and_changes_nothing() {
    let mut client = clients().next().unwrap();
    client.make_topic("t", 1);
    let every_type = [
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("retention.ms", "9223372036854775808"),
        ("segment.bytes", "1.5"),
        ("segment.bytes", "2147483648"),
        ("max.message.bytes", "16777217"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("preallocate", "yes"),
        ("message.timestamp.type", "Now"),
        ("cleanup.policy", "shred"),
        ("compression.gzip.level", "0"),
        ("leader.replication.throttled.replicas", "1:"),
        ("remote.storage.enable", "true"),
        ("no.such.setting", "1"),
    ];
    for (name, value) in every_type {
        let changes = [("flush.ms", SET, Some("7")), (name, SET, Some(value))];
        assert_eq!(change(&mut client, TOPIC, "t", &changes), 40, "{name}={value}");
    }
    let wrong: [(i8, &str, &[Operation<'_>], i16); 15] = [
        (TOPIC, "t", &[("retention.ms", APPEND, Some("1"))], 40),
        (TOPIC, "t", &[("retention.ms", SET, None)], 42),
        (TOPIC, "t", &[("retention.ms", 9, Some("1"))], 42),
        (TOPIC, "t", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)], 42),
        (TOPIC, "t", &[("min.compaction.lag.ms", SET, Some("9")), ("max.compaction.lag.ms", SET, Some("5"))], 40),
        (TOPIC, "missing", &[("retention.ms", SET, Some("1"))], 3),
        (TOPIC, "", &[("retention.ms", SET, Some("1"))], 42),
        (TOPIC, "no/name", &[("retention.ms", SET, Some("1"))], 17),
        (BROKER, "0", &[("background.threads", SET, Some("many"))], 42),
        (BROKER, "7", &[("background.threads", SET, Some("4"))], 42),
        (BROKER, "00", &[("background.threads", SET, Some("4"))], 42),
        (BROKER_LOGGER, "0", &[("root", SET, Some("DEBUG"))], 40),
        (CLIENT_METRICS, "m", &[("interval.ms", SET, Some("5000"))], 42),
        (GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("never"))], 40),
        (99, "x", &[], 42),
    ];
    for (kind, name, operations, code) in wrong {
        assert_eq!(change(&mut client, kind, name, operations), code, "{kind} {name} {operations:?}");
    }
    let given = describe(&mut client, TOPIC, "t", None).configs;
    assert!(given.iter().all(|row| row.config_source == 5), "nothing was changed");
    let resource = change_request(TOPIC, "t", &[("retention.ms", SET, Some("1"))]).resources[0].clone();
    let twice = IncrementalAlterConfigsRequest::default().with_resources(vec![resource.clone(), resource]);
    let codes: Vec<i16> = client.call(1, &twice).responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [42, 42]);
}

#[test]
fn one_wrong_resource_does_not_keep_the_others_from_being_changed() {
    for mut client in clients() {
        client.make_topic("t", 1);
        let resources = [
            change_request(TOPIC, "t", &[("retention.ms", SET, Some("9"))]),
            change_request(TOPIC, "t2", &[("retention.ms", SET, Some("9"))]),
            change_request(BROKER, "", &[("background.threads", SET, Some("4"))]),
            change_request(GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("x"))]),
        ];
        let resources = resources.into_iter().map(|request| request.resources[0].clone()).collect();
        let answer = client.call(0, &IncrementalAlterConfigsRequest::default().with_resources(resources));
        let codes: Vec<i16> = answer.responses.iter().map(|response| response.error_code).collect();
        assert_eq!(codes, [0, 3, 0, 40]);
        assert_eq!(value(&mut client, TOPIC, "t", "retention.ms"), some("9", 1));
        assert_eq!(value(&mut client, BROKER, "0", "background.threads"), some("4", 3));
    }
}

#[test]
fn the_brokers_settings_are_listed_changed_and_kept() {
    for count in [1, 2] {
        let settings = Settings {
            default_partitions: 7,
            log_dir: "/data".into(),
            broker_config: [("max.connections".into(), "77".into())].into(),
            ..Settings::default()
        };
        let mut client = Client::of(settings.clone(), Shards::new(count));
        let all = describe(&mut client, BROKER, "0", None);
        assert!(all.error_code == 0 && all.configs.len() > 300, "{}", all.configs.len());
        let row = |name: &str| all.configs.iter().find(|row| row.name.as_str() == name).unwrap();
        let listeners = row("advertised.listeners");
        assert_eq!(listeners.value.as_deref(), Some("PLAINTEXT://127.0.0.1:9092"));
        assert_eq!((listeners.config_source, listeners.read_only, listeners.config_type), (4, true, 7));
        assert_eq!((row("num.partitions").value.as_deref(), row("num.partitions").config_source), (Some("7"), 4));
        assert_eq!(
            (row("log.dirs").value.as_deref(), row("max.connections").value.as_deref()),
            (Some("/data"), Some("77"))
        );
        assert_eq!((row("log.retention.ms").value.as_deref(), row("log.retention.ms").config_source), (None, 5));
        assert!(row("ssl.key.password").is_sensitive);
        assert_eq!(describe(&mut client, BROKER, "", None).configs.len(), 0, "nothing was given for all brokers");

        let own = [
            ("sasl.kerberos.min.time.before.relogin", SET, Some("58000")),
            ("background.threads", SET, Some("5")),
            ("log.cleanup.policy", APPEND, Some("compact")),
            ("a.plug.in", SET, Some("secret")),
        ];
        assert_eq!(change(&mut client, BROKER, "0", &own), 0);
        assert_eq!(change(&mut client, BROKER, "", &[("background.threads", SET, Some("3"))]), 0);
        for wrong in ["advertised.listeners", "ssl.key.password"] {
            assert_eq!(change(&mut client, BROKER, "0", &[(wrong, SET, Some("x"))]), 42, "{wrong}");
        }
        let for_all = [("sasl.kerberos.min.time.before.relogin", SET, Some("58000"))];
        assert_eq!(change(&mut client, BROKER, "", &for_all), 42);

        restart(&mut client);
        assert_eq!(value(&mut client, BROKER, "0", "sasl.kerberos.min.time.before.relogin"), some("58000", 2));
        assert_eq!(value(&mut client, BROKER, "0", "log.cleanup.policy"), some("delete,compact", 2));
        let threads = describe(&mut client, BROKER, "0", Some(&["background.threads"])).configs[0].clone();
        assert_eq!((threads.value.as_deref(), threads.config_source), (Some("5"), 2));
        assert_eq!(synonyms(&threads).iter().map(|synonym| synonym.1).collect::<Vec<i8>>(), [2, 3, 5]);
        assert_eq!(value(&mut client, BROKER, "", "background.threads"), some("3", 3));
        let unknown = describe(&mut client, BROKER, "0", Some(&["a.plug.in"])).configs[0].clone();
        assert_eq!((unknown.value.as_deref(), unknown.is_sensitive, unknown.config_type), (None, true, 0));

        let back = [("background.threads", DELETE, None), ("log.cleanup.policy", SUBTRACT, Some("compact"))];
        assert_eq!(change(&mut client, BROKER, "0", &back), 0);
        assert_eq!(value(&mut client, BROKER, "0", "background.threads"), some("3", 3));
        assert_eq!(value(&mut client, BROKER, "0", "log.cleanup.policy"), some("delete", 2));
    }
}

/// The error of a batch that is larger than 70 bytes.
fn large(client: &mut Client<Shards>, topic: &str) -> i16 {
    let request = produce_request(topic, 0, -1, Some(batch_of(&["0123456789"])));
    client.call(9, &request).responses[0].partition_responses[0].error_code
}

#[test]
fn a_default_given_to_the_broker_acts_upon_every_topic_without_a_value_of_its_own() {
    for mut client in clients() {
        client.make_topic_with("own", 2, &[("max.message.bytes", "1000")]);
        for number in 0..150 {
            client.make_topic(&format!("t{number}"), 1);
        }
        let set = [("message.max.bytes", SET, Some("70")), ("log.retention.ms", SET, Some("9"))];
        let check = change_request(BROKER, "", &set).with_validate_only(true);
        assert_eq!(client.call(1, &check).responses[0].error_code, 0);
        assert_eq!(large(&mut client, "t0"), 0, "it was only asked");

        assert_eq!(change(&mut client, BROKER, "", &set), 0);
        client.make_topic("made", 1);
        let auto = MetadataRequestTopic::default().with_name(Some(text("auto").into()));
        let auto = client.call(9, &MetadataRequest::default().with_topics(Some(vec![auto])));
        assert_eq!(auto.topics[0].error_code, 0);
        let act = |client: &mut Client<Shards>| {
            for topic in ["t0", "t77", "t149", "made", "auto"] {
                assert_eq!(large(client, topic), 10, "{topic}");
            }
            assert_eq!(large(client, "own"), 0);
            assert_eq!(value(client, TOPIC, "t0", "max.message.bytes"), some("70", 3));
            assert_eq!(value(client, TOPIC, "own", "max.message.bytes"), some("1000", 1));
            assert_eq!(value(client, TOPIC, "own", "retention.ms"), some("9", 3));
        };
        act(&mut client);
        restart(&mut client);
        act(&mut client);
        // What changes something else of a topic leaves the default.
        assert_eq!(change(&mut client, TOPIC, "t0", &[("segment.ms", SET, Some("5"))]), 0);
        assert_eq!(change(&mut client, TOPIC, "own", &[("max.message.bytes", DELETE, None)]), 0);
        assert_eq!((large(&mut client, "t0"), large(&mut client, "own")), (10, 10));
        // This broker's value is stronger than all brokers'.
        assert_eq!(change(&mut client, BROKER, "0", &[("message.max.bytes", SET, Some("500"))]), 0);
        assert_eq!((large(&mut client, "t0"), large(&mut client, "own")), (0, 0));
        let row = describe(&mut client, TOPIC, "t0", Some(&["max.message.bytes"])).configs[0].clone();
        assert_eq!((row.value.as_deref(), row.config_source), (Some("500"), 2));
        let names = |name: &str, source: i8| (name.to_owned(), source);
        let name = "message.max.bytes";
        assert_eq!(synonyms(&row), [names(name, 2), names(name, 3), names(name, 5)]);
        assert_eq!(change(&mut client, BROKER, "0", &[("message.max.bytes", DELETE, None)]), 0);
        assert_eq!(large(&mut client, "t149"), 10);
        // The older request, which names nothing, takes all back.
        let resource = alter::AlterConfigsResource::default().with_resource_type(BROKER).with_resource_name(text(""));
        let answer = client.call(2, &AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(answer.responses[0].error_code, 0);
        assert_eq!(value(&mut client, TOPIC, "t0", "max.message.bytes"), some("1048588", 5));
        assert_eq!((large(&mut client, "t0"), large(&mut client, "auto")), (0, 0));
        for wrong in ["16777217", "-1", "x"] {
            assert_eq!(change(&mut client, BROKER, "", &[("message.max.bytes", SET, Some(wrong))]), 42);
        }
    }
}

#[test]
fn a_groups_settings_are_kept_and_listed() {
    for mut client in clients() {
        assert_eq!(value(&mut client, GROUP, "g", "consumer.session.timeout.ms"), some("45000", 5));
        assert_eq!(change(&mut client, GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("50000"))]), 0);
        client.make_topic("t", 1);
        restart(&mut client);
        assert_eq!(value(&mut client, GROUP, "g", "consumer.session.timeout.ms"), some("50000", 8));
        assert_eq!(value(&mut client, GROUP, "h", "consumer.session.timeout.ms"), some("45000", 5));
        let mut list = |version: i16, types: &[i8]| {
            let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
            let answer = client.call(version, &request);
            let resources = answer.config_resources.iter();
            let resources = resources.map(|resource| (resource.resource_type, resource.resource_name.to_string()));
            (answer.error_code, resources.collect::<Vec<(i8, String)>>())
        };
        let row = |kind: i8, name: &str| (kind, name.to_owned());
        let all = vec![row(GROUP, "g"), row(BROKER_LOGGER, "0"), row(BROKER, "0"), row(TOPIC, "t")];
        assert_eq!(list(1, &[]), (0, all));
        assert_eq!(list(1, &[BROKER]), (0, vec![row(BROKER, "0")]));
        assert_eq!(list(1, &[GROUP, TOPIC]), (0, vec![row(GROUP, "g"), row(TOPIC, "t")]));
        assert_eq!(list(1, &[CLIENT_METRICS]), (0, vec![]));
        assert_eq!(list(1, &[99]), (35, vec![]));
        assert_eq!(list(0, &[]), (0, vec![]));
    }
}

#[test]
fn a_change_that_met_another_is_planned_anew_so_often() {
    let mut client = Client::with_topic("t", 1);
    for _ in 0..9 {
        client.kernel.instead.push_back(Reply::Altered(Err(AlterError::Changed)));
    }
    let request = change_request(TOPIC, "t", &[("retention.ms", SET, Some("9"))]);
    assert_eq!(client.call(1, &request).responses[0].error_code, 0);
    for _ in 0..10 {
        client.kernel.instead.push_back(Reply::Altered(Err(AlterError::Changed)));
    }
    assert_eq!(client.call(1, &request).responses[0].error_code, 7);
    client.kernel.instead.push_back(Reply::Altered(Err(AlterError::Overloaded { retry_after_ms: 12 })));
    let answer = client.call(1, &request);
    assert_eq!((answer.responses[0].error_code, answer.throttle_time_ms), (89, 12));
}

#[test]
fn a_broker_that_is_asked_about_over_and_over_is_told_about_so_often_and_no_more() {
    let mut client = clients().next().unwrap();
    let resource = describe_request(BROKER, "0", Some(&["no.such.setting"])).resources[0].clone();
    let many = DescribeConfigsRequest::default().with_resources(vec![resource; 50_000]);
    let results = client.call(4, &many).results;
    let told = results.iter().take_while(|result| result.error_code == 0).count();
    assert!((100..5_000).contains(&told), "{told}");
    assert!(results[told..].iter().all(|result| result.error_code == 44));
}
