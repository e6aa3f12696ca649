// SPDX-License-Identifier: Apache-2.0
//! The open frame: what has been decided since the last one was closed.
//!
//! Owns: filling and closing frames. Must not know: why something was decided, who waits for it.
//!
//! A batch is copied once, from the connection's buffer into the body; the closed body is the memory tail and what the log writes.

use crate::command::Publish;
use crate::effect::Effect;
use crate::format::v1::entry::{self, Record};
use crate::log::tail::frame_bytes;
use crate::shard::Shard;
use crate::shard::release::{Closed, Touched};
use bytes::Bytes;
use model::limits::{FRAME_BODY_BYTES_MAX, FRAME_BODY_BYTES_TARGET, PAGE_BYTES};
use model::media::WalOp;
use model::planted::{Bug, planted};
use model::{LeaderEpoch, Lsn, Now, Offset};

/// A frame this long goes to the log whatever the log is doing: a flush costs the same up to about this size, and a batch that
/// is larger than it should not share a body that must grow for it.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OpenFrame {
    body: Vec<u8>,
    batches: u64,
    /// Length of the last closed body: a guess at the next one's.
    last_bytes: usize,
}

impl OpenFrame {
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    fn bytes(&self) -> u64 {
        if self.body.is_empty() { 0 } else { frame_bytes(self.body.len()) }
    }
}

impl Shard {
    /// Bytes of the tail, the open frame included.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.tail.bytes() + self.frame.bytes()
    }

    /// Bytes of the tail, and how many more a batch of this size would take.
    pub(super) fn frame_need(&self, batch_bytes: usize) -> (u64, u64) {
        let open = self.frame.bytes();
        let with = frame_bytes(self.frame.body.len() + entry::entry_bytes(batch_bytes));
        (self.tail.bytes() + open, with - open)
    }

    /// While the log makes an earlier frame durable, what is decided gathers in the open one: many small batches then share one
    /// frame, hence one header and one page, where each would have had its own. The log's answer closes it, so it waits no longer
    /// than it would have waited behind the flush under way.
    pub(super) fn may_hold_frame(&self) -> bool {
        self.release.is_log_busy() && self.frame.body.len() < HELD_BYTES_MAX && !self.failed
    }

    /// Closes the open frame if so many bytes more would make it longer than it should be.
    fn make_room(&mut self, bytes: usize) {
        if !self.frame.is_empty() && self.frame.body.len() + bytes > FRAME_BODY_BYTES_TARGET {
            self.close_frame();
        }
        let guess = self.frame.last_bytes.min(FRAME_BODY_BYTES_TARGET);
        if self.frame.is_empty() {
            self.frame.body.reserve_exact(bytes.max(guess).next_multiple_of(64));
        }
    }

    pub(super) fn log_append(
        &mut self,
        now: Now,
        publish: &Publish,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> Lsn {
        self.make_room(entry::entry_bytes(publish.batch.bytes().len()));
        let lsn = self.tail.next();
        let record = entry::put_append(
            &mut self.frame.body,
            publish.partition,
            publish.origin,
            now.wall_ms,
            &publish.batch,
            base_offset,
            leader_epoch,
        );
        let header = publish.batch.header();
        self.frame.batches += 1;
        self.figures.appended_batches += 1;
        self.figures.appended_records += header.record_count.max(0) as u64;
        self.figures.appended_bytes += header.bytes as u64;
        self.state.apply(lsn, &record);
        lsn
    }

    pub(crate) fn log(&mut self, record: Record) -> Lsn {
        self.make_room(entry::put_bytes(&record));
        let lsn = self.tail.next();
        entry::put(&mut self.frame.body, &record);
        self.state.apply(lsn, &record);
        lsn
    }

    /// Logs several records in one frame.
    pub(super) fn log_group(&mut self, records: Vec<Record>) -> Lsn {
        let bytes = records.iter().map(entry::put_bytes).sum();
        self.make_room(bytes);
        let lsn = self.tail.next();
        for record in records {
            entry::put(&mut self.frame.body, &record);
            self.state.apply(lsn, &record);
        }
        lsn
    }

    /// Closes the open frame, if there is something in it: into the tail, and to the log.
    pub(super) fn close_frame(&mut self) {
        if self.frame.is_empty() {
            return;
        }
        let lsn = self.tail.next();
        let mut body = std::mem::take(&mut self.frame.body);
        assert!(body.len() <= FRAME_BODY_BYTES_MAX, "a group of records is bounded before it is logged");
        self.frame.last_bytes = body.len();
        // The body stays in memory until it is spilled: no more than a quarter of it may be air.
        if body.capacity() - body.len() > body.len() / 4 + PAGE_BYTES {
            body.shrink_to_fit();
        }
        let body = Bytes::from(body);
        self.tail.push(body.clone(), std::mem::take(&mut self.frame.batches));
        let touched = std::mem::take(&mut self.state.touched);
        let touched: Vec<Touched> = touched
            .into_iter()
            .filter_map(|id| self.state.partitions.get(id))
            .map(|partition| Touched { partition: partition.id, start: partition.start, next: partition.next })
            .collect();
        if planted(Bug::ReadBeforeDurable) {
            self.make_visible(&touched);
        }
        let dropped = std::mem::take(&mut self.state.dropped);
        dropped.iter().for_each(|partition| self.gaps.forget(partition.id));
        for run in dropped.iter().flat_map(|partition| &partition.runs) {
            self.segments.release(run);
        }
        self.release.closed(Closed { lsn, touched, dropped });
        self.effects.push_back(Effect::Wal(WalOp::Append { lsn, body }));
    }
}
