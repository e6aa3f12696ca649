// SPDX-License-Identifier: Apache-2.0
//! SyncGroup.

use crate::wire::Text;
use bytes::Bytes;

crate::wire::field::messages! {
    /// Versions 0 to 5.
    SyncGroupRequest {
        group_id: Text,
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text> [3.. => None],
        protocol_type: Option<Text> [5.. => None],
        protocol_name: Option<Text> [5.. => None],
        assignments: Vec<SyncGroupRequestAssignment>,
    }

    SyncGroupRequestAssignment {
        member_id: Text,
        assignment: Bytes,
    }

    SyncGroupResponse {
        throttle_time_ms: i32 [1.. => 0],
        error_code: i16,
        protocol_type: Option<Text> [5.. => None],
        protocol_name: Option<Text> [5.. => None],
        assignment: Bytes,
    }
}
