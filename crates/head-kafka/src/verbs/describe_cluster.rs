// SPDX-License-Identifier: Apache-2.0
//! DescribeCluster: this one broker.

use super::{Cx, Outcome};
use crate::map;
use crate::wire::messages::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use crate::wire::{ErrorCode, Text};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub fn answer(cx: &Cx<'_>, request: DescribeClusterRequest) -> Outcome {
    let (code, message) = match request.endpoint_type {
        BROKERS => (ErrorCode::None, None),
        CONTROLLERS => (ErrorCode::MismatchedEndpointType, Some("This is a broker's listener, not a controller's.")),
        _ => (ErrorCode::UnsupportedEndpointType, Some("There is no such type of endpoint.")),
    };
    let broker = DescribeClusterBroker {
        broker_id: cx.settings.node_id,
        host: Text::from(&*cx.settings.advertised_host),
        port: i32::from(cx.settings.advertised_port),
        rack: None,
        is_fenced: false,
    };
    let is_refused = code != ErrorCode::None;
    let response = DescribeClusterResponse {
        throttle_time_ms: 0,
        error_code: code.number(),
        error_message: message.map(Text::from),
        endpoint_type: BROKERS,
        cluster_id: if is_refused { Text::EMPTY } else { Text::from(&*cx.settings.cluster_id) },
        controller_id: if is_refused { -1 } else { cx.settings.node_id },
        brokers: if is_refused { Vec::new() } else { vec![broker] },
        cluster_authorized_operations: if request.include_cluster_authorized_operations && !is_refused {
            map::cluster_operations(cx.who)
        } else {
            i32::MIN
        },
    };
    cx.answer(&response, code.number())
}
