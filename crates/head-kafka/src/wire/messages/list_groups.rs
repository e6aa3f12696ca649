// SPDX-License-Identifier: Apache-2.0
//! ListGroups.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 5.
    ListGroupsRequest {
        states_filter: Vec<Text> [4.. => Vec::new()],
        types_filter: Vec<Text> [5.. => Vec::new()],
    }

    ListGroupsResponse {
        throttle_time_ms: i32 [1.. => 0],
        error_code: i16,
        groups: Vec<ListedGroup>,
    }

    ListedGroup {
        group_id: Text,
        protocol_type: Text,
        group_state: Text [4.. => Text::EMPTY],
        group_type: Text [5.. => Text::EMPTY],
    }
}
