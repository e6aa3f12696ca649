// SPDX-License-Identifier: Apache-2.0
//! IncrementalAlterConfigs: what is not named stays as it is.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 and 1.
    IncrementalAlterConfigsRequest {
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
        /// 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8,
        value: Option<Text>,
    }

    IncrementalAlterConfigsResponse {
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
