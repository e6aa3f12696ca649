// SPDX-License-Identifier: Apache-2.0
//! One task a shard that calls it when its timer comes due. Connections keep their own.

use crate::node::Node;
use model::ShardId;
use std::sync::Arc;

/// Starts the tasks; they end with the runtime.
pub fn start(node: &Arc<Node>) {
    for number in 0..node.shards.len() {
        let node = node.clone();
        let runtime = node.runtime.clone();
        runtime.spawn(async move { keep(&node, ShardId(number as u32)).await });
    }
}

async fn keep(node: &Arc<Node>, shard: ShardId) {
    let Some(cell) = node.shard(shard) else { return };
    loop {
        match cell.timeout_us() {
            None => cell.timeout_earlier.notified().await,
            Some(at) if at <= node.clock.mono_us() => {
                cell.send_timeout(node);
                // A shard in the middle of a long piece of work asks for its timer again at once.
                tokio::task::yield_now().await;
            }
            Some(at) => {
                let due = tokio::time::sleep_until(node.clock.instant(at).into());
                tokio::select! {
                    () = due => {}
                    () = cell.timeout_earlier.notified() => {}
                }
            }
        }
    }
}
