// SPDX-License-Identifier: Apache-2.0
//! `/v1/node`: who this node is, and what it holds. Answered in every phase; what is not known yet is missing or empty.

use super::Pages;
use crate::node::Node;
use kernel::shard::ShardFigures;
use ops::api::shapes::{ListenerShape, MemoryShape, NodeAnswer, PhaseWord, ShardShape, StorageShape};
use ops::health::Phase;
use ops::metrics::Limits;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What is fixed from the start on.
pub struct About {
    pub node_id: i32,
    pub cluster_id: String,
    pub started_at_ms: u64,
    pub started: Instant,
    pub storage: String,
    /// Where there is one.
    pub data_dir: Option<PathBuf>,
    /// Of one shard.
    pub tail_bytes_max: u64,
    pub limits: Limits,
}

/// The answer.
pub async fn node(pages: &Pages) -> NodeAnswer {
    let about = &pages.about;
    let phase = pages.health.phase();
    let node = pages.node.get();
    let figures: Vec<ShardFigures> = node.map_or_else(Vec::new, figures);
    let disk = pages.disk.look().await;
    NodeAnswer {
        version: crate::VERSION.to_owned(),
        node_id: about.node_id,
        cluster_id: about.cluster_id.clone(),
        started_at_ms: about.started_at_ms,
        uptime_ms: about.started.elapsed().as_millis() as u64,
        phase: match phase {
            Phase::Starting { .. } => PhaseWord::Starting,
            Phase::Ready => PhaseWord::Ready,
            Phase::Stopping => PhaseWord::Stopping,
            Phase::Failed { .. } => PhaseWord::Failed,
        },
        phase_text: phase.to_string(),
        listeners: pages.listeners.get().map_or_else(Vec::new, Vec::<ListenerShape>::clone),
        storage: StorageShape {
            mode: about.storage.clone(),
            data_dir: about.data_dir.as_ref().map(|dir| dir.display().to_string()),
            used_bytes: disk.map(|disk| disk.used_bytes),
            disk_bytes: disk.map(|disk| disk.disk_bytes),
            disk_free_bytes: disk.map(|disk| disk.disk_free_bytes),
            shards: figures.iter().enumerate().map(|(number, figures)| shard(pages, number, figures)).collect(),
        },
        memory: MemoryShape {
            resident_bytes: crate::machine::resident_bytes(),
            tail_bytes: figures.iter().map(|figures| figures.tail_bytes).sum(),
            mailbox_bytes: node.map_or(0, |node| mailbox_bytes(node)),
            input_bytes: pages.metrics.input.get(),
            output_bytes: pages.metrics.output.get(),
            fetch_bytes: pages.metrics.fetch_memory.get(),
        },
        connections: pages.metrics.connections.get(),
    }
}

fn shard(pages: &Pages, number: usize, figures: &ShardFigures) -> ShardShape {
    ShardShape {
        shard: number as u32,
        partitions: figures.partitions,
        applied_lsn: figures.applied.0,
        durable_lsn: figures.durable.0,
        tail_bytes: figures.tail_bytes,
        tail_bytes_max: pages.about.tail_bytes_max,
        segment_count: figures.segment_count,
        segment_bytes: figures.segment_bytes,
        segment_live_bytes: figures.segment_live_bytes,
        spill_running: figures.spill_running,
        spills: figures.spills,
        spill_failures: figures.spill_failures,
        checkpoints: figures.checkpoints,
    }
}

/// Of every shard, in the order of their numbers.
pub fn figures(node: &Arc<Node>) -> Vec<ShardFigures> {
    node.shards.iter().map(|cell| cell.figures(node)).collect()
}

/// Batches on their way to any shard.
pub fn mailbox_bytes(node: &Node) -> u64 {
    node.shards.iter().map(|cell| cell.mailbox_bytes() as u64).sum()
}
