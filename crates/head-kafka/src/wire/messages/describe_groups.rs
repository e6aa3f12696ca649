// SPDX-License-Identifier: Apache-2.0
//! DescribeGroups.

use crate::wire::Text;
use bytes::Bytes;

crate::wire::field::messages! {
    /// Versions 0 to 6.
    DescribeGroupsRequest {
        groups: Vec<Text>,
        include_authorized_operations: bool [3.. => false],
    }

    DescribeGroupsResponse {
        throttle_time_ms: i32 [1.. => 0],
        groups: Vec<DescribedGroup>,
    }

    DescribedGroup {
        error_code: i16,
        error_message: Option<Text> [6.. => None],
        group_id: Text,
        group_state: Text,
        protocol_type: Text,
        /// The name of the protocol in use.
        protocol_data: Text,
        members: Vec<DescribedGroupMember>,
        authorized_operations: i32 [3.. => i32::MIN],
    }

    DescribedGroupMember {
        member_id: Text,
        group_instance_id: Option<Text> [4.. => None],
        client_id: Text,
        client_host: Text,
        member_metadata: Bytes,
        member_assignment: Bytes,
    }
}
