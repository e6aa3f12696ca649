// SPDX-License-Identifier: Apache-2.0
//! FindCoordinator.

use crate::wire::Text;

crate::wire::field::messages! {
    /// Versions 0 to 6. One key up to version 3, many from then on.
    FindCoordinatorRequest {
        key: Text [..=3 => Text::EMPTY],
        key_type: i8 [1.. => 0],
        coordinator_keys: Vec<Text> [4.. => Vec::new()],
    }

    FindCoordinatorResponse {
        throttle_time_ms: i32 [1.. => 0],
        error_code: i16 [..=3 => 0],
        error_message: Option<Text> [1..=3 => None],
        node_id: i32 [..=3 => -1],
        host: Text [..=3 => Text::EMPTY],
        port: i32 [..=3 => -1],
        coordinators: Vec<Coordinator> [4.. => Vec::new()],
    }

    Coordinator {
        key: Text,
        node_id: i32,
        host: Text,
        port: i32,
        error_code: i16,
        error_message: Option<Text>,
    }
}
