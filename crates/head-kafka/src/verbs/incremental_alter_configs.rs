// SPDX-License-Identifier: Apache-2.0
//! IncrementalAlterConfigs: a resource's settings are changed one by one; those that are not named stay.

use super::config_changes::{self, Result, Running, Wanted};
use super::{Cx, Outcome};
use crate::coordinator::configs::AlterOperation;
use crate::wire::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

pub fn start(cx: &mut Cx<'_>, request: IncrementalAlterConfigsRequest) -> std::result::Result<Running, Outcome> {
    let wanted = request.resources.into_iter().map(|resource| Wanted {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        operations: resource
            .configs
            .into_iter()
            .map(|config| AlterOperation { name: config.name, operation: config.config_operation, value: config.value })
            .collect(),
    });
    config_changes::start(cx, wanted.collect(), false, request.validate_only, answer)
}

fn answer(cx: &Cx<'_>, throttle_time_ms: i32, results: Vec<Result>) -> Outcome {
    let error_code = config_changes::first(&results);
    let response = |result: Result| AlterConfigsResourceResponse {
        error_code: result.error_code,
        error_message: result.error_message,
        resource_type: result.resource_type,
        resource_name: result.resource_name,
    };
    let responses = results.into_iter().map(response).collect();
    cx.answer(&IncrementalAlterConfigsResponse { throttle_time_ms, responses }, error_code)
}
