// SPDX-License-Identifier: Apache-2.0
//! CreatePartitions: topics get more partitions, each topic by itself.
//!
//! `timeout_ms` is not looked at: the answer comes when the new partitions can be used.

use super::{Cx, Outcome, first_error};
use crate::errors;
use crate::map::{self, Refusal};
use crate::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::wire::{ErrorCode, Text};
use kernel::Command;
use kernel::error::AlterError;
use kernel::reply::Altered;
use model::ShardId;
use std::collections::BTreeMap;

/// How often a change is planned; then it is answered as one that did not come through in time.
const TRIES_MAX: u8 = 10;

/// See the module.
pub struct Running {
    request: CreatePartitionsRequest,
    response: CreatePartitionsResponse,
    tries_left: Vec<u8>,
    replies_left: usize,
}

pub fn start(cx: &mut Cx<'_>, request: CreatePartitionsRequest) -> Result<Running, Outcome> {
    let mut times: BTreeMap<Text, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    // A name that comes more than once is answered once.
    let mut topics = Vec::new();
    let mut results = Vec::new();
    let mut sent = 0;
    for topic in request.topics {
        let planned = match times.get(&topic.name) {
            None => continue,
            Some(1) => plan(cx, &topic, request.validate_only),
            Some(_) => {
                times.remove(&topic.name);
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            }
        };
        results.push(match planned {
            Ok(command) => {
                cx.send(topics.len() as u32, command);
                sent += 1;
                // Stands until the reply takes its place.
                result(&topic.name, ErrorCode::RequestTimedOut, None)
            }
            Err(refusal) => result(&topic.name, refusal.code, Some(refusal.message)),
        });
        topics.push(topic);
    }
    let mut running = Running {
        tries_left: vec![TRIES_MAX; topics.len()],
        request: CreatePartitionsRequest { topics, ..request },
        response: CreatePartitionsResponse { throttle_time_ms: 0, results },
        replies_left: sent,
    };
    match running.finished(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

fn result(name: &Text, code: ErrorCode, message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name: name.clone(),
        error_code: code.number(),
        error_message: message.filter(|message| !message.is_empty()).map(Text::from),
    }
}

fn plan(cx: &Cx<'_>, wanted: &CreatePartitionsTopic, validate_only: bool) -> Result<(ShardId, Command), Refusal> {
    let name = wanted.name.as_str();
    let topic = map::topic_named(cx.catalog, cx.who, name)
        .map_err(|code| Refusal::new(code, format!("The topic '{name}' does not exist.")))?;
    let (current, invalid) =
        (topic.partitions.len(), |message: String| Refusal::new(ErrorCode::InvalidPartitions, message));
    let count = usize::try_from(wanted.count).unwrap_or(0);
    if count == current {
        return Err(invalid(format!("Topic already has {current} partition(s).")));
    }
    if count < current {
        return Err(invalid(format!(
            "The topic {name} currently has {current} partition(s); {} would not be an increase.",
            wanted.count
        )));
    }
    if let Some(assignments) = &wanted.assignments {
        let more = count - current;
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        if assignments.len() != more {
            return invalid(format!(
                "Attempted to add {more} additional partition(s), but {} assignment(s) were specified.",
                assignments.len()
            ));
        }
        if assignments.iter().any(|assignment| assignment.broker_ids != [cx.settings.node_id]) {
            return invalid(format!("Every partition has one replica, on broker {}.", cx.settings.node_id));
        }
    }
    Ok(map::grow(cx.catalog, cx.who, topic, count as u32, validate_only))
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, outcome: Result<Altered, AlterError>) -> Option<Outcome> {
        let at = part as usize;
        let (topic, tries_left) = (self.request.topics.get(at)?, self.tries_left.get_mut(at)?);
        *tries_left -= 1;
        let outcome = match outcome {
            Ok(_) => Ok(()),
            Err(AlterError::Changed) if *tries_left > 0 => match plan(cx, topic, self.request.validate_only) {
                Ok(command) => {
                    cx.send(part, command);
                    return None;
                }
                Err(refusal) => Err(refusal),
            },
            Err(error) => {
                if let AlterError::Overloaded { retry_after_ms } = error {
                    let throttle_time_ms = i32::try_from(retry_after_ms).unwrap_or(i32::MAX);
                    self.response.throttle_time_ms = self.response.throttle_time_ms.max(throttle_time_ms);
                }
                Err(Refusal::new(errors::alter(&error), message(&error)))
            }
        };
        self.response.results[at] = match outcome {
            Ok(()) => result(&topic.name, ErrorCode::None, None),
            Err(refusal) => result(&topic.name, refusal.code, Some(refusal.message)),
        };
        self.replies_left = self.replies_left.saturating_sub(1);
        self.finished(cx)
    }

    fn finished(&mut self, cx: &Cx<'_>) -> Option<Outcome> {
        let codes = self.response.results.iter().map(|topic| topic.error_code);
        (self.replies_left == 0).then(|| cx.answer(&self.response, first_error(codes)))
    }
}

fn message(error: &AlterError) -> String {
    match error {
        AlterError::PartitionCount { max } => format!("A topic has at most {max} partitions."),
        AlterError::Fewer { current } => format!("Topic already has {current} partition(s)."),
        AlterError::StorageFull => "The disk is full.".to_owned(),
        AlterError::Overloaded { .. } => "The broker is busy, nothing was made.".to_owned(),
        AlterError::Setting(why) => (*why).to_owned(),
        AlterError::NotFound
        | AlterError::Denied
        | AlterError::Changed
        | AlterError::LogFailed
        | AlterError::NotOwner => String::new(),
    }
}
