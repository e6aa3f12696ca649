// SPDX-License-Identifier: Apache-2.0
//! FindCoordinator: which node coordinates a group, a transactional id or a share partition. There is one node, so it is this one.
//!
//! Transactional ids and share partitions are told the same, though they are not spoken yet: a client that wants one is told where
//! to go, and fails at once on the request that is really missing, instead of looking for a coordinator for ever.

use super::{Cx, Outcome};
use crate::wire::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::{ErrorCode, Text};

/// Group, transaction, and from version 6 on share partition.
fn is_key_type(key_type: i8, version: i16) -> bool {
    matches!(key_type, 0 | 1) || (key_type == 2 && version >= 6)
}

pub fn answer(cx: &mut Cx<'_>, request: FindCoordinatorRequest) -> Outcome {
    let known = is_key_type(request.key_type, cx.format.version);
    let error = if known { ErrorCode::None } else { ErrorCode::InvalidRequest };
    let error_message = (!known).then(|| Text::from("There are no coordinators of that type."));
    let here = || Coordinator {
        key: Text::EMPTY,
        node_id: if known { cx.settings.node_id } else { -1 },
        host: if known { Text::from(&*cx.settings.advertised_host) } else { Text::EMPTY },
        port: if known { i32::from(cx.settings.advertised_port) } else { -1 },
        error_code: error.number(),
        error_message: error_message.clone(),
    };
    let one = here();
    let response = FindCoordinatorResponse {
        throttle_time_ms: 0,
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        coordinators: request.coordinator_keys.into_iter().map(|key| Coordinator { key, ..here() }).collect(),
    };
    cx.answer(&response, error.number())
}
