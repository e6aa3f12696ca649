// SPDX-License-Identifier: Apache-2.0
//! DescribeCluster.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 2.
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool,
        /// 1 brokers, 2 controllers.
        endpoint_type: i8 [1.. => 1],
        include_fenced_brokers: bool [2.. => false],
    }

    DescribeClusterResponse {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<Text>,
        endpoint_type: i8 [1.. => 1],
        cluster_id: Text,
        controller_id: i32,
        brokers: Vec<DescribeClusterBroker>,
        cluster_authorized_operations: i32,
    }

    DescribeClusterBroker {
        broker_id: i32,
        host: Text,
        port: i32,
        rack: Option<Text>,
        is_fenced: bool [2.. => false],
    }
}
