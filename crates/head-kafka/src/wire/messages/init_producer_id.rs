// SPDX-License-Identifier: Apache-2.0
//! InitProducerId. Version 6 exists in newer schemas, marked unstable, and is not spoken.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 5.
    InitProducerIdRequest {
        transactional_id: Option<Text>,
        transaction_timeout_ms: i32,
        producer_id: i64 [3.. => -1],
        producer_epoch: i16 [3.. => -1],
    }

    InitProducerIdResponse {
        throttle_time_ms: i32,
        error_code: i16,
        producer_id: i64,
        producer_epoch: i16,
    }
}
