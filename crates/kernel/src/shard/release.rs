// SPDX-License-Identifier: Apache-2.0
//! What waits for durability: replies, messages, watermarks, watches.
//!
//! Owns: how far the log is durable, and the order in which things leave. Must not know: what they are about.

use crate::effect::Effect;
use crate::error::{
    AlterError, CoordinatorError, DeclareError, DeleteError, DescribeError, LocateError, ProducerError, PublishError,
    ReadError, TrimError,
};
use crate::log::partition::Partition;
use crate::reply::{Published, Reply};
use crate::shard::Shard;
use model::media::MediaError;
use model::{HolderId, Lsn, Offset, PartitionId, Ticket};
use std::collections::VecDeque;

/// A closed frame that is not durable yet.
#[derive(Debug)]
pub(super) struct Closed {
    pub lsn: Lsn,
    pub touched: Vec<Touched>,
    /// Partitions that are gone with it.
    pub dropped: Vec<Partition>,
}

/// A partition at the end of a frame that changed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched {
    pub partition: PartitionId,
    pub start: Offset,
    pub next: Offset,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Release {
    durable: Lsn,
    closed: VecDeque<Closed>,
    /// By the frame waited for, then in the order in which they came.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    after: Lsn,
    what: What,
}

/// Publishes are answered by the million, so their answers wait in few bytes.
#[derive(Debug)]
enum What {
    Published { holder: HolderId, ticket: Ticket, published: Published },
    Other(Box<Effect>),
}

impl What {
    fn effect(self) -> Effect {
        match self {
            What::Published { holder, ticket, published } => {
                Effect::Reply { holder, ticket, reply: Reply::Published(Ok(published)) }
            }
            What::Other(effect) => *effect,
        }
    }
}

impl Release {
    pub(super) fn new(durable: Lsn) -> Release {
        Release { durable, closed: VecDeque::new(), waiting: VecDeque::new() }
    }

    pub(super) fn durable(&self) -> Lsn {
        self.durable
    }

    pub(super) fn is_idle(&self) -> bool {
        self.closed.is_empty() && self.waiting.is_empty()
    }

    /// The log has a frame that it has not answered for.
    pub(super) fn is_log_busy(&self) -> bool {
        !self.closed.is_empty()
    }

    pub(super) fn closed(&mut self, closed: Closed) {
        self.closed.push_back(closed);
    }
}

impl Shard {
    /// The last frame known to be durable.
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.release.durable
    }

    /// Lets an effect out when frame `after` is durable.
    pub(super) fn emit_after(&mut self, after: Lsn, effect: Effect) {
        if after <= self.release.durable {
            self.effects.push_back(effect);
        } else {
            self.wait(after, What::Other(Box::new(effect)));
        }
    }

    /// Answers a publish when frame `after` is durable.
    pub(super) fn published_after(&mut self, after: Lsn, holder: HolderId, ticket: Ticket, published: Published) {
        let waiting = &mut self.release.waiting;
        if after > self.release.durable && !self.failed && waiting.back().is_none_or(|last| last.after <= after) {
            // The usual case, written in place.
            waiting.push_back(Waiting { after, what: What::Published { holder, ticket, published } });
        } else {
            self.reply_after(after, holder, ticket, Reply::Published(Ok(published)));
        }
    }

    fn wait(&mut self, after: Lsn, what: What) {
        let waiting = &mut self.release.waiting;
        if self.failed {
            self.answer_failed(what.effect());
        } else if waiting.back().is_none_or(|last| last.after <= after) {
            waiting.push_back(Waiting { after, what });
        } else {
            let at = waiting.partition_point(|waiting| waiting.after <= after);
            waiting.insert(at, Waiting { after, what });
        }
    }

    fn answer_failed(&mut self, effect: Effect) {
        if let Effect::Reply { holder, ticket, reply } = effect {
            self.reply_now(holder, ticket, log_failed(&reply));
        }
    }

    pub(super) fn reply_after(&mut self, after: Lsn, holder: HolderId, ticket: Ticket, reply: Reply) {
        self.emit_after(after, Effect::Reply { holder, ticket, reply });
    }

    pub(super) fn reply_now(&mut self, holder: HolderId, ticket: Ticket, reply: Reply) {
        self.effects.push_back(Effect::Reply { holder, ticket, reply });
    }

    pub(super) fn durable(&mut self, through: Lsn) {
        if self.failed || through <= self.release.durable {
            return;
        }
        assert!(through < self.tail.next(), "the log reports a frame durable that was never given to it");
        self.release.durable = through;
        while self.release.closed.front().is_some_and(|closed| closed.lsn <= through)
            && let Some(closed) = self.release.closed.pop_front()
        {
            self.make_visible(&closed.touched);
            for partition in closed.dropped {
                self.cold.ahead.forget_before(partition.id, Offset(u64::MAX));
                self.wake_all(partition);
            }
        }
        // Before the answers: who reads after somebody was told of a record must find it, also a session that has been told by nobody yet
        // that there is something to ask for.
        self.flush_wakes();
        while self.release.waiting.front().is_some_and(|waiting| waiting.after <= through)
            && let Some(waiting) = self.release.waiting.pop_front()
        {
            self.effects.push_back(waiting.what.effect());
        }
        self.spill_step();
    }

    /// Moves the watermarks of partitions to where a durable frame left them.
    pub(super) fn make_visible(&mut self, touched: &[Touched]) {
        for touched in touched {
            let Some(partition) = self.state.partitions.get_mut(touched.partition) else { continue };
            // A start that moves is news as well: a reader that is told nothing would go on naming the old one.
            if (touched.next > partition.high || touched.start > partition.visible_start)
                && let Some(watches) = partition.watches.take()
            {
                self.watches.fire(touched.partition, *watches);
            }
            partition.high = partition.high.max(touched.next);
            if touched.start > partition.visible_start {
                partition.visible_start = touched.start;
                let segments = &mut self.segments;
                partition.release(|run| segments.release(run));
                self.cold.ahead.forget_before(touched.partition, touched.start);
            }
        }
    }

    /// The log has failed: nothing after the last durable frame is known, nothing is decided any more. Reads go on below `high`
    /// until the driver ends the process.
    pub(super) fn fail(&mut self, error: MediaError) {
        if std::mem::replace(&mut self.failed, true) {
            return;
        }
        self.effects.push_back(Effect::Fatal(error));
        for waiting in std::mem::take(&mut self.release.waiting) {
            self.answer_failed(waiting.what.effect());
        }
        while let Some(parked) = self.admission.take() {
            self.reply_now(parked.ctx.holder, parked.ticket, Reply::Published(Err(PublishError::LogFailed)));
        }
        self.fail_peers();
    }
}

/// The answer to a command whose frame may or may not be in the log.
pub(super) fn log_failed(reply: &Reply) -> Reply {
    match reply {
        Reply::Published(_) => Reply::Published(Err(PublishError::LogFailed)),
        Reply::Read(_) => Reply::Read(Err(ReadError::Storage)),
        Reply::Located(_) => Reply::Located(Err(LocateError::Storage)),
        Reply::Trimmed(_) => Reply::Trimmed(Err(TrimError::LogFailed)),
        Reply::Declared(_) => Reply::Declared(Err(DeclareError::LogFailed)),
        Reply::Altered(_) => Reply::Altered(Err(AlterError::LogFailed)),
        Reply::Described(_) => Reply::Described(Err(DescribeError::LogFailed)),
        Reply::Deleted(_) => Reply::Deleted(Err(DeleteError::LogFailed)),
        Reply::Producer(_) => Reply::Producer(Err(ProducerError::LogFailed)),
        Reply::Coordinated(_) => Reply::Coordinated(Err(CoordinatorError::LogFailed)),
    }
}
