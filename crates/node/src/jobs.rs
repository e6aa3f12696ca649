// SPDX-License-Identifier: Apache-2.0
//! Work that would hold a shard or a socket too long: reads, writes and deletes of blobs, computations, zero-filling of log slots.
//!
//! Owns: the queue and the loop of the threads that serve it: one background thread (writes in the order in which they were asked
//! for), and a small pool for cold reads. Must not know: what is in a blob.
//!
//! Bound: a shard has one spill, one checkpoint and one merge under way, and one read a read command, which connections bound; so
//! the queue holds what the kernel allows and needs no bound of its own. Slots are filled a step at a time, between jobs.

use crate::node::Node;
use crate::shard_cell::Mail;
use bytes::Bytes;
use kernel::log::read::BlockRead;
use kernel::spill::Work;
use media::disk::real::RealDisk;
use media::local::wal::SlotPreparation;
use model::ShardId;
use model::media::{BlobDone, BlobKind, BlobOp, BlobTag, Blobs};
use ops::metrics::Making;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One piece of work.
pub enum Job {
    Blob {
        shard: ShardId,
        tag: BlobTag,
        op: BlobOp,
    },
    /// Blocks to be read and checked.
    Blocks {
        shard: ShardId,
        tag: BlobTag,
        read: BlockRead,
    },
    Work {
        shard: ShardId,
        work: Work,
    },
    Prepare {
        shard: ShardId,
        preparation: SlotPreparation,
    },
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopping: bool,
}

/// See the module.
#[derive(Default)]
pub struct Jobs {
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Jobs {
    /// Adds a job.
    pub fn put(&self, job: Job) {
        self.queue.lock().jobs.push_back(job);
        self.more.notify_one();
    }

    /// Lets the threads end once the queue is empty.
    pub fn stop(&self) {
        self.queue.lock().stopping = true;
        self.more.notify_all();
    }

    /// The next job; waits for one, unless `busy`.
    fn take(&self, busy: bool) -> Next {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Next::Job(job);
            }
            if queue.stopping {
                return Next::Stop;
            }
            if busy {
                return Next::Nothing;
            }
            self.more.wait(&mut queue);
        }
    }
}

enum Next {
    Job(Job),
    Nothing,
    Stop,
}

/// A slot that is being filled, and the handle through which.
struct Filling {
    shard: ShardId,
    preparation: SlotPreparation,
    /// After an error (no space, mostly) the next step waits.
    not_before: Option<Instant>,
}

/// How long the filling of slots rests after an error.
const REST_AFTER_ERROR: Duration = Duration::from_millis(500);

/// The loop of one thread that serves a queue. `disk` is for log slots, where there are any.
pub fn run(node: &Arc<Node>, jobs: &Jobs, blobs: &mut dyn Blobs, mut disk: Option<RealDisk>) {
    let mut filling: VecDeque<Filling> = VecDeque::new();
    // Said once when it begins and once when it ends.
    let mut puts_fail = false;
    let mut reserve_fails = false;
    loop {
        let ready = filling.front().is_some_and(|slot| slot.not_before.is_none_or(|at| at <= Instant::now()));
        if !ready && let Some(slot) = filling.front() {
            // Resting: wait for a job, but not for ever.
            let rest = slot.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            let mut queue = jobs.queue.lock();
            if queue.jobs.is_empty() && !queue.stopping {
                jobs.more.wait_for(&mut queue, rest);
            }
        }
        match jobs.take(!filling.is_empty()) {
            Next::Job(Job::Blob { shard, tag, op }) => {
                let put = match &op {
                    BlobOp::Put { name, parts } => Some((making(name.kind), total(parts))),
                    BlobOp::PutPiece { parts, .. } => Some((Making::Merge, total(parts))),
                    _ => None,
                };
                let made = put.map(|(what, bytes)| (node.metrics.made(what), bytes));
                if let Some((made, _)) = made {
                    made.running.set(1);
                }
                let is_reserve = matches!(op, BlobOp::Reserve { .. });
                let started = node.clock.mono_us();
                blobs.submit(tag, op);
                let (tag, done) = blobs.wait_done();
                let took_us = node.clock.mono_us() - started;
                if let Some((made, bytes)) = made {
                    made.running.set(0);
                    if matches!(done, BlobDone::Put(Ok(())) | BlobDone::PutPiece(Ok(()))) {
                        made.put.add_us(took_us);
                        made.put_bytes.add(bytes);
                    } else {
                        made.put_failures.add(1);
                    }
                } else {
                    note_read(node, shard, &done, took_us);
                }
                match &done {
                    BlobDone::Put(Err(error)) if !puts_fail => {
                        puts_fail = true;
                        tracing::warn!(%shard, %error, "cannot write a segment or checkpoint; trying again until it works");
                    }
                    BlobDone::Reserved(Err(error)) if !reserve_fails => {
                        reserve_fails = true;
                        tracing::warn!(%shard, %error, "cannot set room aside for a full disk; if there is none, publishes are refused until there is");
                    }
                    BlobDone::Reserved(Ok(())) if is_reserve && reserve_fails => {
                        reserve_fails = false;
                        tracing::info!(%shard, "room is set aside again");
                    }
                    BlobDone::Put(Ok(())) if puts_fail => {
                        puts_fail = false;
                        tracing::info!(%shard, "segments and checkpoints can be written again");
                    }
                    _ => {}
                }
                answer(node, shard, Mail::Blob(tag, done));
            }
            Next::Job(Job::Blocks { shard, tag, read }) => {
                let started = node.clock.mono_us();
                blobs.submit(tag, read.op());
                let (tag, done) = blobs.wait_done();
                note_read(node, shard, &done, node.clock.mono_us() - started);
                // While they are in this processor's cache.
                answer(node, shard, Mail::Blocks(tag, read.check(done)));
            }
            Next::Job(Job::Work { shard, work }) => {
                let made = node.metrics.made(match &work {
                    Work::BuildSegment(_) => Making::Segment,
                    Work::EncodeCheckpoint(_) => Making::Checkpoint,
                    Work::MergeCopy(_) | Work::MergeFinish(_) => Making::Merge,
                    Work::CompactNote(_) | Work::CompactCopy(_) => Making::Merge,
                });
                made.running.set(1);
                let started = node.clock.mono_us();
                let done = work.run();
                made.build.add_us(node.clock.mono_us() - started);
                made.running.set(0);
                answer(node, shard, Mail::Work(done));
            }
            Next::Job(Job::Prepare { shard, preparation }) => {
                filling.push_back(Filling { shard, preparation, not_before: None });
            }
            Next::Stop => return,
            Next::Nothing => {
                if ready && let Some(mut slot) = filling.pop_front() {
                    match disk.as_mut().map(|disk| slot.preparation.step(disk)) {
                        Some(Ok(true)) | None => node.wal.give_preparation(slot.shard, slot.preparation),
                        Some(Ok(false)) => filling.push_front(slot),
                        Some(Err(error)) => {
                            if slot.not_before.is_none() {
                                tracing::warn!(shard = %slot.shard, %error, "cannot prepare a log slot; trying again until it works");
                            }
                            slot.not_before = Some(Instant::now() + REST_AFTER_ERROR);
                            node.wal.preparation_fails(slot.shard, error);
                            filling.push_back(slot);
                        }
                    }
                }
            }
        }
    }
}

fn note_read(node: &Node, shard: ShardId, done: &BlobDone, took_us: u64) {
    let BlobDone::Got(got) = done else { return };
    node.metrics.blob_read.add_us(took_us);
    match got {
        Ok(bytes) => node.metrics.blob_read_bytes.add(bytes.len() as u64),
        Err(error) => {
            node.metrics.blob_read_failures.add(1);
            tracing::warn!(%shard, %error, "cannot read stored records");
        }
    }
}

fn making(kind: BlobKind) -> Making {
    match kind {
        BlobKind::Segment => Making::Segment,
        BlobKind::Checkpoint => Making::Checkpoint,
        // The log makes its own: this is refused.
        BlobKind::Slot => Making::Segment,
    }
}

fn total(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

fn answer(node: &Arc<Node>, shard: ShardId, mail: Mail) {
    if let Some(cell) = node.shard(shard) {
        cell.send(node, mail);
    }
}
