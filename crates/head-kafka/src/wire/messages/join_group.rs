// SPDX-License-Identifier: Apache-2.0
//! JoinGroup.

use crate::wire::Text;
use bytes::Bytes;

crate::wire::field::messages! {
    /// Versions 0 to 9.
    JoinGroupRequest {
        group_id: Text,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [1.. => -1],
        member_id: Text,
        group_instance_id: Option<Text> [5.. => None],
        protocol_type: Text,
        protocols: Vec<JoinGroupRequestProtocol>,
        reason: Option<Text> [8.. => None],
    }

    JoinGroupRequestProtocol {
        name: Text,
        metadata: Bytes,
    }

    JoinGroupResponse {
        throttle_time_ms: i32 [2.. => 0],
        error_code: i16,
        generation_id: i32,
        protocol_type: Option<Text> [7.. => None],
        /// May be null from version 7 on.
        protocol_name: Option<Text>,
        leader: Text,
        skip_assignment: bool [9.. => false],
        member_id: Text,
        members: Vec<JoinGroupResponseMember>,
    }

    JoinGroupResponseMember {
        member_id: Text,
        group_instance_id: Option<Text> [5.. => None],
        metadata: Bytes,
    }
}
