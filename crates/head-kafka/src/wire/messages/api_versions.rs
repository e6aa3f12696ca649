// SPDX-License-Identifier: Apache-2.0
//! ApiVersions: what is spoken here. Its tagged fields (features) are not written: none is announced yet.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 4. The fields exist from version 3 on.
    ApiVersionsRequest {
        client_software_name: Text [3.. => Text::EMPTY],
        client_software_version: Text [3.. => Text::EMPTY],
    }

    ApiVersionsResponse {
        error_code: i16,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [1.. => 0],
    }

    ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }
}
