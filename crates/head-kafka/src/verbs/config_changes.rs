// SPDX-License-Identifier: Apache-2.0
//! What AlterConfigs and IncrementalAlterConfigs have in common: each resource by itself, all of its changes or none.
//!
//! A topic's settings are part of the catalog: the change is planned from what is seen there and planned anew when somebody else was
//! faster, `TRIES_MAX` times. All else is decided by the coordinator of `coordinator/configs.rs`.

use super::{Cx, Outcome, first_error, topic_defaults};
use crate::config::change::{self, Change, Operation, Wrong};
use crate::config::topic::Defaults;
use crate::config::{TopicConfig, topic};
use crate::coordinator::configs::{Alter, AlterOperation, Answer, Ask, BROKER, GROUP, Resource};
use crate::errors;
use crate::map;
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use kernel::auth::Action;
use kernel::error::{AlterError, CoordinatorError};
use kernel::reply::Altered;
use kernel::{Command, Reply};
use model::{ShardId, TopicId};
use std::collections::BTreeMap;

/// How often a change of a topic is planned; then it is answered as one that did not come through in time.
const TRIES_MAX: u8 = 10;
/// Topics that follow a default at once.
const SPREAD_WINDOW: usize = 64;

pub const TOPIC: i8 = 2;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;

/// One resource of a request.
pub struct Wanted {
    pub resource_type: i8,
    pub resource_name: Text,
    pub operations: Vec<AlterOperation>,
}

/// What became of it.
pub struct Result {
    pub error_code: i16,
    pub error_message: Option<Text>,
    pub resource_type: i8,
    pub resource_name: Text,
}

/// See the module.
pub struct Running {
    resources: Vec<(Wanted, u8)>,
    results: Vec<Result>,
    /// Of topics' settings; known when a topic is to be changed.
    defaults: Defaults,
    spread: Spread,
    throttle_time_ms: i32,
    is_complete: bool,
    validate_only: bool,
    replies_left: usize,
    answer: fn(&Cx<'_>, i32, Vec<Result>) -> Outcome,
}

/// `is_complete`: what is not named goes back to its default. `answer` writes the response of the request's kind.
pub fn start(
    cx: &mut Cx<'_>,
    wanted: Vec<Wanted>,
    is_complete: bool,
    validate_only: bool,
    answer: fn(&Cx<'_>, i32, Vec<Result>) -> Outcome,
) -> std::result::Result<Running, Outcome> {
    let result = |wanted: &Wanted| Result {
        // Stands until the reply takes its place.
        error_code: ErrorCode::RequestTimedOut.number(),
        error_message: None,
        resource_type: wanted.resource_type,
        resource_name: wanted.resource_name.clone(),
    };
    let mut running = Running {
        results: wanted.iter().map(result).collect(),
        defaults: Defaults::default(),
        spread: Spread::default(),
        resources: wanted.into_iter().map(|wanted| (wanted, TRIES_MAX)).collect(),
        throttle_time_ms: 0,
        is_complete,
        validate_only,
        replies_left: 0,
        answer,
    };
    if running.resources.iter().any(|(wanted, _)| wanted.resource_type == TOPIC) {
        topic_defaults::ask(cx);
        return Ok(running);
    }
    match running.begin(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> std::result::Result<T, Wrong> {
    Err((code, message.into()))
}

impl Result {
    fn set(&mut self, (code, message): Wrong) {
        self.error_code = code.number();
        self.error_message = (!message.is_empty()).then(|| Text::from(message));
    }
}

/// A default of topics has changed: every topic that was given no value of its own follows, a few at a time.
#[derive(Default)]
struct Spread {
    /// The resources of the request that changed it.
    causes: Vec<usize>,
    is_running: bool,
    /// Topics up to this name have been looked at.
    behind: String,
    /// For each command sent: the topic, and how often it may still be planned.
    sent: Vec<(TopicId, u8)>,
    under_way: usize,
}

impl Running {
    fn begin(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        let mut times: BTreeMap<(i8, Text), usize> = BTreeMap::new();
        for (wanted, _) in &self.resources {
            *times.entry((wanted.resource_type, wanted.resource_name.clone())).or_default() += 1;
        }
        for at in 0..self.resources.len() {
            let (wanted, _) = &self.resources[at];
            let planned = match times.get(&(wanted.resource_type, wanted.resource_name.clone())) {
                Some(1) => self.plan(cx, wanted),
                _ => refuse(ErrorCode::InvalidRequest, "Each resource must appear at most once."),
            };
            match planned {
                Ok(command) => {
                    cx.send(at as u32, command);
                    self.replies_left += 1;
                }
                Err(wrong) => self.results[at].set(wrong),
            }
        }
        self.finished(cx)
    }

    fn plan(&self, cx: &Cx<'_>, wanted: &Wanted) -> std::result::Result<(ShardId, Command), Wrong> {
        let name = wanted.resource_name.as_str();
        match wanted.resource_type {
            TOPIC => return self.plan_topic(cx, wanted),
            BROKER => {
                is_this_broker(cx, name)?;
                if !map::may(cx.who, Action::Alter) {
                    return refuse(ErrorCode::ClusterAuthorizationFailed, "");
                }
            }
            GROUP if name.is_empty() => {
                return refuse(ErrorCode::InvalidRequest, "Default group resources are not allowed.");
            }
            GROUP if !map::may(cx.who, Action::Alter) => return refuse(ErrorCode::GroupAuthorizationFailed, ""),
            GROUP => {}
            BROKER_LOGGER => {
                is_this_broker(cx, name)?;
                let logger = wanted.operations.first().map_or("", |operation| operation.name.as_str());
                return refuse(ErrorCode::InvalidConfig, format!("Logger {logger} does not exist."));
            }
            CLIENT_METRICS => {
                return refuse(ErrorCode::InvalidRequest, "Metrics of clients are not collected by this broker.");
            }
            other => return refuse(ErrorCode::InvalidRequest, format!("Unexpected resource type {other}.")),
        }
        let ask = Ask::Alter(Alter {
            resource: Resource { resource_type: wanted.resource_type, resource_name: wanted.resource_name.clone() },
            operations: wanted.operations.clone(),
            is_complete: self.is_complete,
            validate_only: self.validate_only,
        });
        Ok(map::configs(cx.catalog, cx.who, &ask))
    }

    fn plan_topic(&self, cx: &Cx<'_>, wanted: &Wanted) -> std::result::Result<(ShardId, Command), Wrong> {
        let name = wanted.resource_name.as_str();
        if name.is_empty() {
            return refuse(ErrorCode::InvalidRequest, "Default topic resources are not allowed.");
        }
        if !map::is_topic_name(name) {
            return refuse(ErrorCode::InvalidTopicException, "This is no topic's name.");
        }
        let Ok(topic) = map::topic_named(cx.catalog, cx.who, name) else {
            return refuse(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
        };
        let mut changes = Vec::with_capacity(wanted.operations.len());
        for change in &wanted.operations {
            let Some(operation) = Operation::from_number(change.operation) else {
                return refuse(ErrorCode::InvalidRequest, format!("Unknown operation {}", change.operation));
            };
            let (name, value) = (change.name.as_str(), change.value.as_ref().map(Text::as_str));
            changes.push(Change { name, operation, value });
        }
        let given = topic.settings.stored.iter().cloned().collect();
        let given = change::apply(&given, &changes, self.is_complete, &topic::RULES)?;
        let config = TopicConfig::of(&given).map_err(|message| (ErrorCode::InvalidConfig, message))?;
        let config = config.under(&self.defaults);
        Ok(map::alter(cx.catalog, cx.who, topic, &config, self.validate_only))
    }

    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, reply: Reply) -> Option<Outcome> {
        match reply {
            Reply::Coordinated(result) if part == topic_defaults::PART => {
                return match (topic_defaults::read(result), self.spread.is_running) {
                    (Ok(defaults), false) => {
                        self.defaults = defaults;
                        self.begin(cx)
                    }
                    (Ok(defaults), true) => {
                        self.defaults = defaults;
                        self.spread(cx)
                    }
                    (Err(code), false) => {
                        self.results.iter_mut().for_each(|result| result.set((code, String::new())));
                        self.finished(cx)
                    }
                    (Err(code), true) => {
                        self.not_followed(code);
                        self.finished(cx)
                    }
                };
            }
            Reply::Altered(result) if self.spread.is_running => return self.followed(cx, part, result),
            Reply::Altered(result) => self.topic_altered(cx, part, result)?,
            Reply::Coordinated(result) => self.decided(part, result)?,
            _ => return Some(Outcome::Close("a reply came for a command of another kind".to_owned())),
        }
        self.finished(cx)
    }

    /// `None`: it is asked again.
    fn topic_altered(
        &mut self,
        cx: &mut Cx<'_>,
        part: u32,
        result: std::result::Result<Altered, AlterError>,
    ) -> Option<()> {
        let (_, tries_left) = self.resources.get_mut(part as usize)?;
        *tries_left -= 1;
        let may_try = *tries_left > 0;
        let outcome = match result {
            Ok(_) => Ok(()),
            Err(AlterError::Changed) if may_try => match self.plan(cx, &self.resources[part as usize].0) {
                Ok(command) => {
                    cx.send(part, command);
                    return None;
                }
                Err(wrong) => Err(wrong),
            },
            Err(error) => {
                if let AlterError::Overloaded { retry_after_ms } = error {
                    self.throttle_time_ms = i32::try_from(retry_after_ms).unwrap_or(i32::MAX);
                }
                let message = match error {
                    AlterError::Setting(why) => why,
                    _ => "",
                };
                refuse(errors::alter(&error), message)
            }
        };
        self.replies_left = self.replies_left.saturating_sub(1);
        self.outcome(part, outcome)
    }

    fn decided(&mut self, part: u32, result: std::result::Result<Bytes, CoordinatorError>) -> Option<()> {
        self.replies_left = self.replies_left.saturating_sub(1);
        let outcome = match result.map(Answer::decode) {
            Ok(Ok(Answer::Altered(altered))) => {
                let result = self.results.get_mut(part as usize)?;
                (result.error_code, result.error_message) = (altered.error_code, altered.error_message);
                let (wanted, _) = &self.resources[part as usize];
                let is_default =
                    wanted.resource_type == BROKER && (self.is_complete || names(wanted).any(Defaults::are_changed_by));
                if altered.error_code == 0 && is_default && !self.validate_only {
                    self.spread.causes.push(part as usize);
                }
                return Some(());
            }
            Ok(_) => refuse(ErrorCode::UnknownServerError, ""),
            Err(error) => refuse(errors::configs(&error), ""),
        };
        self.outcome(part, outcome)
    }

    fn outcome(&mut self, part: u32, outcome: std::result::Result<(), Wrong>) -> Option<()> {
        let result = self.results.get_mut(part as usize)?;
        match outcome {
            Ok(()) => (result.error_code, result.error_message) = (0, None),
            Err(wrong) => result.set(wrong),
        }
        Some(())
    }

    fn finished(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        if self.replies_left > 0 {
            return None;
        }
        if !self.spread.causes.is_empty() && !self.spread.is_running {
            self.spread.is_running = true;
            topic_defaults::ask(cx);
            return None;
        }
        Some((self.answer)(cx, self.throttle_time_ms, std::mem::take(&mut self.results)))
    }

    /// Lets topics follow the defaults that have changed.
    fn spread(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        while self.spread.under_way < SPREAD_WINDOW {
            let Some(topic) = cx.catalog.topics_after(cx.who, &self.spread.behind).next() else { break };
            self.spread.behind = topic.name.to_string();
            let config = TopicConfig::stored(&topic.settings.stored).under(&self.defaults);
            if let Some(command) = map::follow(cx.catalog, cx.who, topic, &config) {
                let part = self.spread.sent.len() as u32;
                self.spread.sent.push((topic.id, TRIES_MAX));
                self.spread.under_way += 1;
                cx.send(part, command);
            }
        }
        if self.spread.under_way == 0 { self.finished(cx) } else { None }
    }

    fn followed(
        &mut self,
        cx: &mut Cx<'_>,
        part: u32,
        result: std::result::Result<Altered, AlterError>,
    ) -> Option<Outcome> {
        let (id, tries_left) = self.spread.sent.get_mut(part as usize)?;
        *tries_left -= 1;
        let (id, may_try) = (*id, *tries_left > 0);
        self.spread.under_way = self.spread.under_way.saturating_sub(1);
        match result {
            // A topic that is gone follows nothing.
            Ok(_) | Err(AlterError::NotFound) => {}
            Err(AlterError::Changed) if may_try => {
                let topic = cx.catalog.by_id(cx.who, id);
                let config = topic.map(|topic| TopicConfig::stored(&topic.settings.stored).under(&self.defaults));
                let command =
                    topic.zip(config).and_then(|(topic, config)| map::follow(cx.catalog, cx.who, topic, &config));
                if let Some(command) = command {
                    self.spread.under_way += 1;
                    cx.send(part, command);
                }
            }
            Err(error) => self.not_followed(errors::alter(&error)),
        }
        self.spread(cx)
    }

    /// The value is kept, and not every topic follows it: the client is told, and may ask again.
    fn not_followed(&mut self, code: ErrorCode) {
        for at in &self.spread.causes {
            self.results[*at].set((code, "The value is kept. Not every topic follows it yet.".to_owned()));
        }
    }
}

fn names(wanted: &Wanted) -> impl Iterator<Item = &str> {
    wanted.operations.iter().map(|operation| operation.name.as_str())
}

/// The name of a broker's resource: this broker's id, or empty for all brokers.
pub fn is_this_broker(cx: &Cx<'_>, name: &str) -> std::result::Result<(), Wrong> {
    if name.is_empty() {
        return Ok(());
    }
    match name.parse::<i32>() {
        // Only as it is written everywhere: under `01` it would be kept apart, and never found.
        Ok(id) if id == cx.settings.node_id && name == id.to_string() => Ok(()),
        Ok(_) => refuse(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {} or empty string, but received {name}", cx.settings.node_id),
        ),
        Err(_) => refuse(ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")),
    }
}

/// The first error of these, for the figures.
pub fn first(results: &[Result]) -> i16 {
    first_error(results.iter().map(|result| result.error_code))
}
