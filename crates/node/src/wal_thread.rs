// SPDX-License-Identifier: Apache-2.0
//! The thread of the log: one for a disk, serving the logs of all shards.
//!
//! Owns: the queue from the shards to their logs, and the thread that writes and syncs. Must not know: what is in a frame.
//!
//! Group commit needs no knob: while the thread is in a sync, each shard gathers in its open frame, and what is too large for that in
//! the queue; when it returns, all of it goes out with one write and one sync. When nothing is under way, a frame goes out at once. After `SETTLE_MS` of silence the log writes its
//! proof frame.
//!
//! Bound: the memory tail (`memory.tail_bytes_max`), from which the kernel admits frames.

use crate::jobs::Job;
use crate::node::Node;
use crate::shard_cell::Mail;
use media::local::wal::SlotPreparation;
use model::media::{MediaError, WalDone, WalOp};
use model::{Lsn, ShardId};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::storage::AnyWal;

/// Silence after which a log proves its last frame durable.
const SETTLE_MS: u64 = 20;
/// A log that waits for space looks again after this long.
const BLOCKED_MS: u64 = 100;

/// What became of a slot's filling.
enum Prepared {
    Ready(SlotPreparation),
    /// Not yet: it is tried again.
    Fails(MediaError),
}

#[derive(Default)]
struct Inbox {
    ops: Vec<(ShardId, WalOp, u64)>,
    prepared: Vec<(ShardId, Prepared)>,
    stopping: bool,
    asleep: bool,
}

/// See the module.
#[derive(Default)]
pub struct WalQueue {
    inbox: Mutex<Inbox>,
    more: Condvar,
}

impl WalQueue {
    /// Adds an operation; `wake` follows once the shard's token is given back.
    pub fn put(&self, shard: ShardId, op: WalOp, mono_us: u64) {
        self.inbox.lock().ops.push((shard, op, mono_us));
    }

    /// Wakes the thread if it sleeps.
    pub fn wake(&self) {
        let asleep = std::mem::take(&mut self.inbox.lock().asleep);
        if asleep {
            self.more.notify_one();
        }
    }

    /// Gives a slot back after its filling.
    pub fn give_preparation(&self, shard: ShardId, preparation: SlotPreparation) {
        self.inbox.lock().prepared.push((shard, Prepared::Ready(preparation)));
        self.wake();
    }

    /// Tells the log that a slot cannot be filled for now.
    pub fn preparation_fails(&self, shard: ShardId, error: MediaError) {
        self.inbox.lock().prepared.push((shard, Prepared::Fails(error)));
        self.wake();
    }

    /// Lets the thread end once everything is written and settled.
    pub fn stop(&self) {
        self.inbox.lock().stopping = true;
        self.wake();
    }
}

/// A log, and what the thread knows of it.
struct Lane {
    shard: ShardId,
    wal: AnyWal,
    /// Something was appended since the last proof frame.
    unsettled: bool,
    /// Hand-over times of appended frames that are not yet known to be durable.
    appended: VecDeque<(Lsn, u64)>,
    failed: bool,
}

/// The loop of the thread: until `stop`.
pub fn run(node: &Arc<Node>, wals: Vec<AnyWal>) {
    // Ahead of everything else that wants a processor: a sync that waits for one holds up every acknowledgement. Not allowed
    // without the privilege, and then it works without.
    let _ = rustix::process::setpriority_process(None, -10);
    let mut lanes: Vec<Lane> = wals
        .into_iter()
        .enumerate()
        .map(|(number, wal)| Lane {
            shard: ShardId(number as u32),
            wal,
            unsettled: false,
            appended: VecDeque::new(),
            failed: false,
        })
        .collect();
    let mut ops = Vec::new();
    let mut prepared = Vec::new();
    loop {
        let stopping = {
            let mut inbox = node.wal.inbox.lock();
            std::mem::swap(&mut inbox.ops, &mut ops);
            std::mem::swap(&mut inbox.prepared, &mut prepared);
            inbox.stopping
        };
        let had_mail = !ops.is_empty() || !prepared.is_empty();
        for (shard, op, mono_us) in ops.drain(..) {
            if let Some(lane) = lanes.get_mut(shard.0 as usize) {
                lane.submit(node, op, mono_us);
            }
        }
        for (shard, preparation) in prepared.drain(..) {
            if let Some(lane) = lanes.get_mut(shard.0 as usize) {
                match preparation {
                    Prepared::Ready(preparation) => lane.wal.give_preparation(preparation),
                    Prepared::Fails(error) => lane.wal.preparation_fails(error),
                }
            }
        }
        let mut progress = false;
        for lane in &mut lanes {
            progress |= lane.advance(node);
        }
        if progress || had_mail {
            continue;
        }
        if stopping && lanes.iter().all(|lane| lane.failed || (!lane.unsettled && lane.appended.is_empty())) {
            return;
        }
        let wait_ms = if lanes.iter().any(|lane| !lane.failed && !lane.appended.is_empty()) {
            // Nothing came of the last look, yet frames are waiting: the log has no room on its medium.
            BLOCKED_MS
        } else if lanes.iter().any(|lane| lane.unsettled) {
            SETTLE_MS
        } else {
            u64::MAX
        };
        if !sleep(node, wait_ms) || stopping {
            for lane in &mut lanes {
                lane.settle();
            }
        }
    }
}

/// Waits for mail; false when it did not come in time.
fn sleep(node: &Node, wait_ms: u64) -> bool {
    let mut inbox = node.wal.inbox.lock();
    if !inbox.ops.is_empty() || !inbox.prepared.is_empty() || inbox.stopping {
        return true;
    }
    inbox.asleep = true;
    if wait_ms == u64::MAX {
        node.wal.more.wait(&mut inbox);
        true
    } else {
        let timed_out = node.wal.more.wait_for(&mut inbox, Duration::from_millis(wait_ms)).timed_out();
        inbox.asleep = false;
        !timed_out
    }
}

impl Lane {
    fn submit(&mut self, node: &Node, op: WalOp, mono_us: u64) {
        if let WalOp::Append { lsn, body } = &op {
            node.metrics.wal_frames.add(1);
            node.metrics.wal_written.add(body.len() as u64);
            self.appended.push_back((*lsn, mono_us));
            self.unsettled = true;
        }
        self.wal.submit(op);
    }

    /// Writes and syncs what is staged, and tells the shard. True if anything came of it.
    fn advance(&mut self, node: &Arc<Node>) -> bool {
        let mut progress = false;
        loop {
            let started = node.clock.mono_us();
            let Some(done) = self.wal.poll_done() else { break };
            progress = true;
            let ended = node.clock.mono_us();
            match &done {
                WalDone::Durable { through } => {
                    node.metrics.wal_flush.add_us(ended - started);
                    while self.appended.front().is_some_and(|(lsn, _)| lsn <= through) {
                        if let Some((_, handed_over)) = self.appended.pop_front() {
                            node.metrics.wal_append.add_us(ended.saturating_sub(handed_over));
                        }
                    }
                }
                WalDone::Failed(_) => {
                    self.failed = true;
                    self.appended.clear();
                }
                WalDone::Room { is_there: false } => {
                    tracing::warn!(shard = %self.shard, "no space for another slot of the log: publishes are refused until there is");
                }
                WalDone::Room { is_there: true } => {
                    tracing::info!(shard = %self.shard, "the log has room again");
                }
                WalDone::Lent { .. } => {}
            }
            if let Some(cell) = node.shard(self.shard) {
                cell.send(node, Mail::Wal(done));
            }
        }
        if let Some(preparation) = self.wal.take_preparation() {
            node.background.put(Job::Prepare { shard: self.shard, preparation });
            progress = true;
        }
        progress
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.unsettled) && !self.failed {
            self.wal.submit(WalOp::Settle);
        }
    }
}
