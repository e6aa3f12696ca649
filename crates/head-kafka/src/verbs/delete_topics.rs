// SPDX-License-Identifier: Apache-2.0
//! DeleteTopics, by name or by id.

use super::sent::Sent;
use super::{Cx, Outcome, first_error};
use crate::errors;
use crate::map;
use crate::wire::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::{ErrorCode, Text, Uuid};
use kernel::error::DeleteError;
use std::collections::BTreeSet;

/// See the module.
pub struct Running {
    response: DeleteTopicsResponse,
    /// For each command sent: the topic in the response.
    sent: Sent<u32>,
}

const NO_ID: Uuid = [0; 16];

pub fn start(cx: &mut Cx<'_>, request: DeleteTopicsRequest) -> Result<Running, Outcome> {
    let mut running =
        Running { response: DeleteTopicsResponse { throttle_time_ms: 0, responses: Vec::new() }, sent: Sent::none() };
    let named = request.topic_names.into_iter().map(|name| (Some(name), NO_ID));
    let stated = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id));
    let mut deleted = BTreeSet::new();
    for (name, id) in named.chain(stated) {
        let found = match (&name, id) {
            (Some(name), NO_ID) => map::topic_named(cx.catalog, cx.who, name.as_str()),
            (None, id) if id != NO_ID => map::topic_with_id(cx.catalog, cx.who, id),
            // Neither or both.
            (_, _) => Err(ErrorCode::InvalidRequest),
        };
        let result = match found {
            Ok(topic) if !deleted.insert(topic.id) => refused(name, id, ErrorCode::InvalidRequest),
            Ok(topic) => {
                let command = map::delete(cx.catalog, cx.who, topic);
                running.sent.send(cx, running.response.responses.len() as u32, command);
                DeletableTopicResult {
                    name: Some(Text::from(&*topic.name)),
                    topic_id: topic.id.0,
                    error_code: 0,
                    error_message: None,
                }
            }
            Err(code) => refused(name, id, code),
        };
        running.response.responses.push(result);
    }
    match running.finished(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

fn refused(name: Option<Text>, topic_id: Uuid, code: ErrorCode) -> DeletableTopicResult {
    let error_message = (code == ErrorCode::InvalidRequest)
        .then(|| Text::from("Each topic must be named once, by its name or by its id."));
    DeletableTopicResult { name, topic_id, error_code: code.number(), error_message }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<(), DeleteError>) -> Option<Outcome> {
        let topic_at = *self.sent.take(part)?;
        let response = self.response.responses.get_mut(topic_at as usize)?;
        if let Err(error) = result {
            response.error_code = errors::delete(&error).number();
        }
        self.finished(cx)
    }

    fn finished(&self, cx: &Cx<'_>) -> Option<Outcome> {
        let codes = self.response.responses.iter().map(|topic| topic.error_code);
        self.sent.all_replied().then(|| cx.answer(&self.response, first_error(codes)))
    }
}
