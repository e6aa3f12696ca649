// SPDX-License-Identifier: Apache-2.0
//! LeaveGroup: one member up to version 2, many from then on.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 5.
    LeaveGroupRequest {
        group_id: Text,
        member_id: Text [..=2 => Text::EMPTY],
        members: Vec<MemberIdentity> [3.. => Vec::new()],
    }

    MemberIdentity {
        member_id: Text,
        group_instance_id: Option<Text>,
        reason: Option<Text> [5.. => None],
    }

    LeaveGroupResponse {
        throttle_time_ms: i32 [1.. => 0],
        error_code: i16,
        members: Vec<MemberResponse> [3.. => Vec::new()],
    }

    MemberResponse {
        member_id: Text,
        group_instance_id: Option<Text>,
        error_code: i16,
    }
}
