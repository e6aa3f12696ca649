// SPDX-License-Identifier: Apache-2.0
//! Heartbeat.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 4.
    HeartbeatRequest {
        group_id: Text,
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text> [3.. => None],
    }

    HeartbeatResponse {
        throttle_time_ms: i32 [1.. => 0],
        error_code: i16,
    }
}
