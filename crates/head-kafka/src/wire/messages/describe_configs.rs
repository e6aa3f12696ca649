// SPDX-License-Identifier: Apache-2.0
//! DescribeConfigs.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 1 to 4.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool,
        include_documentation: bool [3.. => false],
    }

    DescribeConfigsResource {
        resource_type: i8,
        resource_name: Text,
        /// Null: all of them.
        configuration_keys: Option<Vec<Text>>,
    }

    DescribeConfigsResponse {
        throttle_time_ms: i32,
        results: Vec<DescribeConfigsResult>,
    }

    DescribeConfigsResult {
        error_code: i16,
        error_message: Option<Text>,
        resource_type: i8,
        resource_name: Text,
        configs: Vec<DescribeConfigsResourceResult>,
    }

    DescribeConfigsResourceResult {
        name: Text,
        value: Option<Text>,
        read_only: bool,
        config_source: i8,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym>,
        config_type: i8 [3.. => 0],
        documentation: Option<Text> [3.. => None],
    }

    DescribeConfigsSynonym {
        name: Text,
        value: Option<Text>,
        source: i8,
    }
}
