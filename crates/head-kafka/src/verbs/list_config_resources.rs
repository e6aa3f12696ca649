// SPDX-License-Identifier: Apache-2.0
//! ListConfigResources: what there is that has settings. Groups are listed when settings were given to them.

use super::config_changes::{BROKER_LOGGER, CLIENT_METRICS, TOPIC};
use super::{Cx, Outcome};
use crate::coordinator::configs::{Answer, Ask, BROKER, GROUP, List};
use crate::errors;
use crate::map;
use crate::wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use kernel::auth::Action;
use kernel::error::CoordinatorError;

/// See the module.
pub struct Running {
    resources: Vec<ConfigResource>,
}

const KNOWN: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];

pub fn start(cx: &mut Cx<'_>, request: ListConfigResourcesRequest) -> Result<Running, Outcome> {
    let types = match (cx.format.version, request.resource_types) {
        // The first version knows of nothing else.
        (0, _) => vec![CLIENT_METRICS],
        (_, types) if types.is_empty() => KNOWN.to_vec(),
        (_, types) => types,
    };
    if types.iter().any(|kind| !KNOWN.contains(kind)) {
        return Err(answer(cx, ErrorCode::UnsupportedVersion, Vec::new()));
    }
    if !map::may(cx.who, Action::Describe) {
        return Err(answer(cx, ErrorCode::ClusterAuthorizationFailed, Vec::new()));
    }
    let mut resources = Vec::new();
    for kind in KNOWN.into_iter().filter(|kind| types.contains(kind)) {
        match kind {
            TOPIC => {
                let topics = cx.catalog.topics(cx.who);
                resources.extend(topics.map(|topic| resource(Text::from(&*topic.name), TOPIC)));
            }
            BROKER | BROKER_LOGGER => resources.push(resource(Text::from(cx.settings.node_id.to_string()), kind)),
            // Groups come with the reply. Of clients' metrics there are none.
            _ => {}
        }
    }
    if !types.contains(&GROUP) {
        return Err(answer(cx, ErrorCode::None, resources));
    }
    cx.send(0, map::configs(cx.catalog, cx.who, &Ask::List(List { resource_type: GROUP })));
    Ok(Running { resources })
}

fn resource(resource_name: Text, resource_type: i8) -> ConfigResource {
    ConfigResource { resource_name, resource_type }
}

fn answer(cx: &Cx<'_>, code: ErrorCode, config_resources: Vec<ConfigResource>) -> Outcome {
    let error_code = code.number();
    cx.answer(&ListConfigResourcesResponse { throttle_time_ms: 0, error_code, config_resources }, error_code)
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, result: Result<Bytes, CoordinatorError>) -> Option<Outcome> {
        Some(match result.map(Answer::decode) {
            Ok(Ok(Answer::Listed(listed))) => {
                let groups = listed.names.into_iter().map(|name| resource(name, GROUP));
                answer(cx, ErrorCode::None, groups.chain(std::mem::take(&mut self.resources)).collect())
            }
            Ok(_) => answer(cx, ErrorCode::UnknownServerError, Vec::new()),
            Err(error) => answer(cx, errors::configs(&error), Vec::new()),
        })
    }
}
