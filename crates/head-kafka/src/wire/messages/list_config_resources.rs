// SPDX-License-Identifier: Apache-2.0
//! ListConfigResources, which was ListClientMetricsResources in version 0.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 and 1.
    ListConfigResourcesRequest {
        /// None: all that the broker knows.
        resource_types: Vec<i8> [1.. => Vec::new()],
    }

    ListConfigResourcesResponse {
        throttle_time_ms: i32,
        error_code: i16,
        config_resources: Vec<ConfigResource>,
    }

    ConfigResource {
        resource_name: Text,
        /// 16: client metrics.
        resource_type: i8 [1.. => 16],
    }
}
