// SPDX-License-Identifier: Apache-2.0
//! CreateTopics: each topic of the request by itself; one that is refused does not keep the others from being made.
//!
//! `timeout_ms` is not looked at: a topic that was made is made, and the answer comes when it is durable.

use super::{Cx, Outcome, first_error, topic_defaults};
use crate::config::TopicConfig;
use crate::errors;
use crate::map::{self, Refusal};
use crate::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use kernel::error::{CoordinatorError, DeclareError};
use kernel::reply::Declared;
use std::collections::BTreeMap;

/// Topics of one request: the answer repeats every setting of each, so a request beyond this is refused whole (Apache Kafka's bound
/// is 10,000 partitions a request).
const TOPICS_MAX: usize = 10_000;

/// See the module.
pub struct Running {
    response: CreateTopicsResponse,
    /// For each command to be sent: the topic in the response, how many partitions, and its settings.
    sent: Vec<(u32, u32, TopicConfig)>,
    validate_only: bool,
    replies_left: usize,
}

pub fn start(cx: &mut Cx<'_>, request: CreateTopicsRequest) -> Result<Running, Outcome> {
    let mut running = Running {
        response: CreateTopicsResponse { throttle_time_ms: 0, topics: Vec::new() },
        sent: Vec::new(),
        validate_only: request.validate_only,
        replies_left: 0,
    };
    if request.topics.len() > TOPICS_MAX {
        let message = format!("At most {TOPICS_MAX} topics in one request.");
        let refuse = |topic: &CreatableTopic| refused(&topic.name, ErrorCode::PolicyViolation, Some(message.clone()));
        running.response.topics = request.topics.iter().map(refuse).collect();
        return Err(cx.answer(&running.response, ErrorCode::PolicyViolation.number()));
    }
    let mut times: BTreeMap<Text, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    for topic in &request.topics {
        let plan = match times.get(&topic.name) {
            // A name that comes more than once is answered once.
            None => continue,
            Some(1) => plan(cx, topic),
            Some(_) => {
                times.remove(&topic.name);
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            }
        };
        match plan {
            Ok((partition_count, config)) => {
                running.sent.push((running.response.topics.len() as u32, partition_count, config));
                // Stands until the reply takes its place.
                running.response.topics.push(refused(&topic.name, ErrorCode::RequestTimedOut, None));
            }
            Err(Refusal { code, message, .. }) => {
                running.response.topics.push(refused(&topic.name, code, Some(message)));
            }
        }
    }
    running.replies_left = running.sent.len();
    match running.finished(cx) {
        None => {
            topic_defaults::ask(cx);
            Ok(running)
        }
        Some(outcome) => Err(outcome),
    }
}

/// How many partitions and which settings; or what is wrong with the topic, name and existence first, as the broker of
/// reference does.
fn plan(cx: &Cx<'_>, topic: &CreatableTopic) -> Result<(u32, TopicConfig), Refusal> {
    let name = topic.name.as_str();
    if !map::is_topic_name(name) {
        return Err(Refusal::new(
            ErrorCode::InvalidTopicException,
            "A topic name is 1 to 249 letters, digits, dots, underscores and dashes, and neither . nor ..",
        ));
    }
    if map::topic_named(cx.catalog, cx.who, name).is_ok() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    if let Some(other) = map::colliding(cx.catalog, cx.who, name) {
        let message = format!("Topic '{name}' collides with existing topic: {}", other.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    let pairs = topic.configs.iter().map(|config| (config.name.as_str(), config.value.as_ref().map(Text::as_str)));
    let config = TopicConfig::check(pairs).map_err(|message| Refusal::new(ErrorCode::InvalidConfig, message))?;
    if !topic.assignments.is_empty() {
        return Ok((assigned(cx, topic)?, config));
    }
    if !is_replication_factor(cx, topic.replication_factor) {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicationFactor,
            format!("There is one broker, and the replication factor is {}.", topic.replication_factor),
        ));
    }
    match topic.num_partitions {
        -1 => Ok((cx.settings.default_partitions, config)),
        count => match u32::try_from(count) {
            Ok(count) if count > 0 => Ok((count, config)),
            _ => Err(Refusal::new(ErrorCode::InvalidPartitions, "Number of partitions must be larger than 0.")),
        },
    }
}

fn is_replication_factor(cx: &Cx<'_>, factor: i16) -> bool {
    matches!(factor, -1 | 1) || (cx.settings.accept_any_replication_factor && factor > 0)
}

/// The partitions of a manual assignment: numbered from 0, each on this broker alone.
fn assigned(cx: &Cx<'_>, topic: &CreatableTopic) -> Result<u32, Refusal> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "With a manual partition assignment, partitions and replication factor must be -1.",
        ));
    }
    let mut indexes = Vec::with_capacity(topic.assignments.len());
    for assignment in &topic.assignments {
        if assignment.broker_ids != [cx.settings.node_id] {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                format!("Every partition has one replica, on broker {}.", cx.settings.node_id),
            ));
        }
        indexes.push(assignment.partition_index);
    }
    indexes.sort_unstable();
    if indexes.iter().enumerate().any(|(at, index)| usize::try_from(*index) != Ok(at)) {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            "Partitions must be numbered from 0, without holes.",
        ));
    }
    Ok(indexes.len() as u32)
}

fn refused(name: &Text, code: ErrorCode, message: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        topic_id: [0; 16],
        error_code: code.number(),
        error_message: message.map(Text::from),
        num_partitions: -1,
        replication_factor: -1,
        configs: None,
    }
}

impl Running {
    /// The defaults of what was not given have come: now the topics are made.
    pub fn defaults(&mut self, cx: &mut Cx<'_>, result: Result<Bytes, CoordinatorError>) -> Option<Outcome> {
        let defaults = topic_defaults::read(result);
        for (part, (topic_at, partition_count, config)) in self.sent.iter_mut().enumerate() {
            let topic = self.response.topics.get_mut(*topic_at as usize)?;
            match &defaults {
                Ok(defaults) => {
                    *config = config.clone().under(defaults);
                    let (name, count) = (topic.name.as_str(), *partition_count);
                    let command = map::declare(cx.catalog, cx.who, cx.random, name, count, config, self.validate_only);
                    cx.send(part as u32, command);
                }
                Err(code) => {
                    *topic = refused(&topic.name, *code, None);
                    self.replies_left -= 1;
                }
            }
        }
        self.finished(cx)
    }

    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Declared, DeclareError>) -> Option<Outcome> {
        let (topic_at, _, config) = self.sent.get(part as usize)?;
        let topic = self.response.topics.get_mut(*topic_at as usize)?;
        *topic = match result {
            Ok(declared) => CreatableTopicResult {
                name: topic.name.clone(),
                topic_id: if self.validate_only { [0; 16] } else { declared.topic.0 },
                error_code: 0,
                error_message: None,
                num_partitions: declared.partition_count as i32,
                replication_factor: 1,
                configs: Some(configs(config)),
            },
            Err(error) => {
                if let DeclareError::Overloaded { retry_after_ms } = error {
                    let throttle_time_ms = i32::try_from(retry_after_ms).unwrap_or(i32::MAX);
                    self.response.throttle_time_ms = self.response.throttle_time_ms.max(throttle_time_ms);
                }
                refused(&topic.name, errors::declare(&error), message(&error))
            }
        };
        self.replies_left = self.replies_left.saturating_sub(1);
        self.finished(cx)
    }

    fn finished(&self, cx: &Cx<'_>) -> Option<Outcome> {
        let codes = self.response.topics.iter().map(|topic| topic.error_code);
        (self.replies_left == 0).then(|| cx.answer(&self.response, first_error(codes)))
    }
}

fn message(error: &DeclareError) -> Option<String> {
    match error {
        DeclareError::Name(why) | DeclareError::Setting(why) => Some((*why).to_owned()),
        DeclareError::PartitionCount { max } => Some(format!("A topic has 1 to {max} partitions.")),
        DeclareError::Exists => Some("The topic already exists.".to_owned()),
        DeclareError::StorageFull => Some("The disk is full.".to_owned()),
        DeclareError::Overloaded { .. } => Some("The broker is busy, nothing was made.".to_owned()),
        DeclareError::Denied | DeclareError::LogFailed | DeclareError::NotOwner => None,
    }
}

fn configs(config: &TopicConfig) -> Vec<CreatableTopicConfigs> {
    config
        .all()
        .map(|(name, value, source)| CreatableTopicConfigs {
            name: Text::from(name),
            value: Some(Text::from(value)),
            read_only: false,
            config_source: source as i8,
            is_sensitive: false,
        })
        .collect()
}
