// SPDX-License-Identifier: Apache-2.0
//! AlterConfigs: what is not named goes back to its default.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 2.
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    }

    AlterConfigsResource {
        resource_type: i8,
        resource_name: Text,
        configs: Vec<AlterableConfig>,
    }

    AlterableConfig {
        name: Text,
        value: Option<Text>,
    }

    AlterConfigsResponse {
        throttle_time_ms: i32,
        responses: Vec<AlterConfigsResourceResponse>,
    }

    AlterConfigsResourceResponse {
        error_code: i16,
        error_message: Option<Text>,
        resource_type: i8,
        resource_name: Text,
    }
}
