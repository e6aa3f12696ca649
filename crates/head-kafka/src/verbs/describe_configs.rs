// SPDX-License-Identifier: Apache-2.0
//! DescribeConfigs: the settings of topics, of the broker, of groups: their values, where each comes from, and what it would be
//! otherwise.
//!
//! What was given while the broker runs is asked of `coordinator/configs.rs`, once for all resources of the request.

use super::config_changes::{BROKER_LOGGER, CLIENT_METRICS, TOPIC, is_this_broker};
use super::{Cx, Outcome, first_error};
use crate::config::change::Wrong;
use crate::config::{Definition, Kind, TopicConfig, broker, group, topic};
use crate::coordinator::configs::{Answer, Ask, BROKER, GROUP, Get, Resource};
use crate::errors;
use crate::map;
use crate::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use kernel::auth::Action;
use kernel::error::CoordinatorError;
use std::collections::{BTreeMap, BTreeSet};

/// Settings told in one answer: all those of ten thousand topics. Resources beyond are refused (44). Each time that the broker is
/// asked about, all of its settings count, told or not: they have to be looked at.
const ROWS_MAX: usize = 350_000;

/// Where a value of any resource comes from, by the protocol's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Topic = 1,
    Broker = 2,
    AllBrokers = 3,
    Node = 4,
    Default = 5,
    Group = 8,
}

/// See the module.
pub struct Running {
    request: DescribeConfigsRequest,
    /// Of which resources the coordinator was asked: this broker, all brokers, then groups.
    groups: Vec<Text>,
}

type Values = BTreeMap<String, Text>;

/// What was given while the broker runs.
#[derive(Default)]
struct Given {
    broker: Values,
    all_brokers: Values,
    groups: BTreeMap<Text, Values>,
}

pub fn start(cx: &mut Cx<'_>, request: DescribeConfigsRequest) -> Result<Running, Outcome> {
    let of_type = |kind: i8| request.resources.iter().filter(move |resource| resource.resource_type == kind);
    let groups: BTreeSet<Text> = of_type(GROUP).map(|resource| resource.resource_name.clone()).collect();
    let is_given_wanted = [TOPIC, BROKER, GROUP].into_iter().any(|kind| of_type(kind).next().is_some());
    let running = Running { groups: groups.into_iter().collect(), request };
    if !is_given_wanted {
        return Err(running.answer(cx, &Given::default()));
    }
    let named = |resource_type: i8, name: &str| Resource { resource_type, resource_name: Text::from(name) };
    let mut resources = vec![named(BROKER, &cx.settings.node_id.to_string()), named(BROKER, "")];
    let groups = running.groups.iter().cloned();
    resources.extend(groups.map(|name| Resource { resource_type: GROUP, resource_name: name }));
    cx.send(0, map::configs(cx.catalog, cx.who, &Ask::Get(Get { resources })));
    Ok(running)
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, result: Result<Bytes, CoordinatorError>) -> Option<Outcome> {
        let found = match result.map(Answer::decode) {
            Ok(Ok(Answer::Got(got))) => got.found,
            Ok(_) => return Some(self.refuse_all(cx, ErrorCode::UnknownServerError)),
            Err(error) => return Some(self.refuse_all(cx, errors::configs(&error))),
        };
        let mut found = found.into_iter().map(|stored| {
            let setting = |setting: crate::coordinator::configs::Setting| (setting.name.to_string(), setting.value);
            stored.settings.into_iter().map(setting).collect::<Values>()
        });
        let given = Given {
            broker: found.next().unwrap_or_default(),
            all_brokers: found.next().unwrap_or_default(),
            groups: self.groups.iter().cloned().zip(found).collect(),
        };
        Some(self.answer(cx, &given))
    }

    fn refuse_all(&self, cx: &Cx<'_>, code: ErrorCode) -> Outcome {
        let refused = |resource: &DescribeConfigsResource| refused(resource, (code, String::new()));
        let results = self.request.resources.iter().map(refused).collect();
        cx.answer(&DescribeConfigsResponse { throttle_time_ms: 0, results }, code.number())
    }

    fn answer(&self, cx: &Cx<'_>, given: &Given) -> Outcome {
        let mut rows_left = ROWS_MAX;
        let mut results = Vec::with_capacity(self.request.resources.len());
        for resource in &self.request.resources {
            let described = match rows_left {
                0 => Err((ErrorCode::PolicyViolation, "Ask for fewer resources at once.".to_owned())),
                _ => self.describe(cx, resource, given),
            };
            results.push(match described {
                Ok(configs) => {
                    let looked_at = match resource.resource_type {
                        BROKER => broker::TABLE.len() + given.broker.len() + given.all_brokers.len(),
                        _ => configs.len(),
                    };
                    rows_left = rows_left.saturating_sub(looked_at);
                    DescribeConfigsResult {
                        error_code: 0,
                        error_message: None,
                        resource_type: resource.resource_type,
                        resource_name: resource.resource_name.clone(),
                        configs,
                    }
                }
                Err(wrong) => refused(resource, wrong),
            });
        }
        let error_code = first_error(results.iter().map(|result| result.error_code));
        cx.answer(&DescribeConfigsResponse { throttle_time_ms: 0, results }, error_code)
    }

    fn describe(
        &self,
        cx: &Cx<'_>,
        resource: &DescribeConfigsResource,
        given: &Given,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Wrong> {
        let name = resource.resource_name.as_str();
        let refuse = |code: ErrorCode, message: &str| Err((code, message.to_owned()));
        let may_describe = map::may(cx.who, Action::Describe);
        let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        let keys = keys.map(|keys| keys.iter().map(Text::as_str).collect());
        let writer = Rows { running: self, keys };
        match resource.resource_type {
            TOPIC if !map::is_topic_name(name) => refuse(ErrorCode::InvalidTopicException, "This is no topic's name."),
            TOPIC => match map::topic_named(cx.catalog, cx.who, name) {
                Err(code) => refuse(code, ""),
                Ok(topic) => Ok(writer.topic(&TopicConfig::stored(&topic.settings.stored), given)),
            },
            BROKER => {
                is_this_broker(cx, name)?;
                match may_describe {
                    false => refuse(ErrorCode::ClusterAuthorizationFailed, ""),
                    true if name.is_empty() => Ok(writer.all_brokers(given)),
                    true => Ok(writer.broker(cx, given)),
                }
            }
            // There are no loggers whose level could be looked at here.
            BROKER_LOGGER if name.is_empty() => refuse(ErrorCode::InvalidRequest, "Broker id must not be empty."),
            BROKER_LOGGER => is_this_broker(cx, name).map(|()| Vec::new()),
            GROUP if name.is_empty() => refuse(ErrorCode::InvalidRequest, "Group name must not be empty."),
            GROUP if !may_describe => refuse(ErrorCode::GroupAuthorizationFailed, ""),
            GROUP => Ok(writer.group(given.groups.get(&resource.resource_name))),
            CLIENT_METRICS => refuse(ErrorCode::InvalidRequest, "Metrics of clients are not collected by this broker."),
            other => refuse(ErrorCode::InvalidRequest, &format!("Unexpected resource type {other}.")),
        }
    }
}

fn refused(resource: &DescribeConfigsResource, (code, message): Wrong) -> DescribeConfigsResult {
    DescribeConfigsResult {
        error_code: code.number(),
        error_message: (!message.is_empty()).then(|| Text::from(message)),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: Vec::new(),
    }
}

/// Makes the rows that were asked for.
struct Rows<'a> {
    running: &'a Running,
    /// `None`: all.
    keys: Option<BTreeSet<&'a str>>,
}

impl Rows<'_> {
    fn wants(&self, name: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(name))
    }

    fn topic(&self, config: &TopicConfig, given: &Given) -> Vec<DescribeConfigsResourceResult> {
        let wanted = topic::TABLE.iter().filter(|definition| self.wants(definition.name));
        let row = |definition: &Definition| {
            let mut values = Vec::new();
            if let Some(value) = config.given_value(definition.name) {
                values.push((definition.name, Text::from(value), Source::Topic));
            }
            let broker_name = topic::broker_name(definition.name);
            if let Some(name) = broker_name.filter(|_| topic::BROKERS.contains(&definition.name)) {
                values.extend(given.broker.get(name).map(|value| (name, value.clone(), Source::Broker)));
                values.extend(given.all_brokers.get(name).map(|value| (name, value.clone(), Source::AllBrokers)));
            }
            values.extend(default_of(definition, broker_name));
            self.row(definition, definition.documentation(), false, values)
        };
        wanted.map(row).collect()
    }

    fn broker(&self, cx: &Cx<'_>, given: &Given) -> Vec<DescribeConfigsResourceResult> {
        let own = broker::values_of(cx.settings);
        let mut rows = Vec::new();
        for (definition, mode) in broker::TABLE.iter().filter(|row| self.wants(row.0.name)) {
            let name = definition.name;
            let mut values = Vec::new();
            values.extend(given.broker.get(name).map(|value| (name, value.clone(), Source::Broker)));
            values.extend(given.all_brokers.get(name).map(|value| (name, value.clone(), Source::AllBrokers)));
            values.extend(own.get(name).map(|value| (name, Text::from(value.as_str()), Source::Node)));
            values.extend(definition.default.map(|value| (name, Text::from(value), Source::Default)));
            let is_read_only = *mode == broker::Mode::ReadOnly;
            rows.push(self.row(definition, broker::documentation(name), is_read_only, values));
        }
        let unknown = |values: &Values, other: &Values| {
            let names = values.keys().filter(|name| broker::find(name).is_none() && !other.contains_key(*name));
            names.filter(|name| self.wants(name)).cloned().collect::<Vec<String>>()
        };
        rows.extend(unknown(&given.broker, &Values::new()).iter().map(|name| as_it_came(name, Source::Broker)));
        rows.extend(unknown(&given.all_brokers, &given.broker).iter().map(|name| as_it_came(name, Source::AllBrokers)));
        rows
    }

    /// Only what was given.
    fn all_brokers(&self, given: &Given) -> Vec<DescribeConfigsResourceResult> {
        let wanted = given.all_brokers.iter().filter(|(name, _)| self.wants(name));
        let row = |(name, value): (&String, &Text)| match broker::find(name) {
            None => as_it_came(name, Source::AllBrokers),
            Some((definition, _)) => {
                let values = vec![(definition.name, value.clone(), Source::AllBrokers)];
                self.row(definition, broker::documentation(definition.name), false, values)
            }
        };
        wanted.map(row).collect()
    }

    fn group(&self, given: Option<&Values>) -> Vec<DescribeConfigsResourceResult> {
        let wanted = group::TABLE.iter().filter(|definition| self.wants(definition.name));
        let row = |definition: &Definition| {
            let name = definition.name;
            let mut values = Vec::new();
            values.extend(given.and_then(|given| given.get(name)).map(|value| (name, value.clone(), Source::Group)));
            values.extend(default_of(definition, group::broker_name(name)));
            self.row(definition, definition.documentation(), false, values)
        };
        wanted.map(row).collect()
    }

    /// `values`: strongest first; the setting's is the first of them, or its default.
    fn row(
        &self,
        definition: &Definition,
        documentation: &str,
        read_only: bool,
        values: Vec<(&str, Text, Source)>,
    ) -> DescribeConfigsResourceResult {
        let is_sensitive = matches!(definition.kind, Kind::Password);
        let (value, source) = match values.first() {
            Some((_, value, source)) => ((!is_sensitive).then(|| value.clone()), *source),
            None => (definition.default.map(Text::from), Source::Default),
        };
        let request = &self.running.request;
        let synonym = |(name, value, source): (&str, Text, Source)| DescribeConfigsSynonym {
            name: Text::from(name),
            value: (!is_sensitive).then_some(value),
            source: source as i8,
        };
        DescribeConfigsResourceResult {
            name: Text::from(definition.name),
            value,
            read_only,
            config_source: source as i8,
            is_sensitive,
            synonyms: if request.include_synonyms { values.into_iter().map(synonym).collect() } else { Vec::new() },
            config_type: definition.kind.number(),
            documentation: request.include_documentation.then(|| Text::from(documentation)),
        }
    }
}

/// A default that is the value of a setting of the broker's, under its name there. As in Apache Kafka, a default that is not has no
/// place among the synonyms.
fn default_of(definition: &Definition, broker_name: Option<&'static str>) -> Option<(&'static str, Text, Source)> {
    let (broker, _) = broker::find(broker_name?)?;
    broker.default?;
    Some((broker.name, Text::from(definition.default?), Source::Default))
}

/// A setting that no table knows: its value is not shown, for it might be a secret.
fn as_it_came(name: &str, source: Source) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: Text::from(name),
        value: None,
        read_only: true,
        config_source: source as i8,
        is_sensitive: true,
        synonyms: Vec::new(),
        config_type: 0,
        documentation: None,
    }
}
