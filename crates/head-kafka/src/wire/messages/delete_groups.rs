// SPDX-License-Identifier: Apache-2.0
//! DeleteGroups.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 2.
    DeleteGroupsRequest {
        groups_names: Vec<Text>,
    }

    DeleteGroupsResponse {
        throttle_time_ms: i32,
        results: Vec<DeletableGroupResult>,
    }

    DeletableGroupResult {
        group_id: Text,
        error_code: i16,
    }
}
