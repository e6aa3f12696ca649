// SPDX-License-Identifier: Apache-2.0
//! A shard behind its token.
//!
//! Owns: the mailbox, the token, the routing of effects. Must not know: what a command means.
//!
//! Whoever puts mail into the mailbox tries to take the token; who gets it drains the mailbox, there and then, on its own thread.
//! So an uncontended message needs no thread switch to reach its shard. One owner at a time, and no owner waits for the token:
//! who does not get it leaves, because the one who has it looks into the mailbox once more after giving the token back.
//!
//! ```text
//! push mail -> try_lock(token) -> { take up to MAIL_MAX -> handle each -> finish -> route effects } until empty or DRAIN_US_MAX
//!           -> unlock -> wake connections, log thread -> mailbox empty? no: once more (as a task, when over time)
//! ```
//!
//! Effects are routed while the token is held, which keeps their order; the wakes they cause come after it is given back.
//! Bound: mail is at most what connections have under way (`kafka.inflight_*` each) plus one completion an operation; a connection
//! that finds more than `MAILBOX_BYTES_MAX` waiting stops reading until it is less.

use crate::jobs::Job;
use crate::node::Node;
use crate::outbox::Delivery;
use kernel::log::read::BlocksRead;
use kernel::shard::{ShardFigures, ShardMessage};
use kernel::spill::WorkDone;
use kernel::{Command, Ctx, Effect, Shard};
use model::media::{BlobDone, BlobOp, BlobTag, WalDone};
use model::{ShardId, Ticket};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

/// A drain holds its thread about this long; what is left is handed to a task.
const DRAIN_US_MAX: u64 = 200;
/// Mail handled between two looks at the clock, and at most so much ends up in one frame.
const MAIL_MAX: usize = 256;
/// Partitions that count as one piece of mail when a topic is made, changed or removed: one takes about as long as a publish takes,
/// divided by this. So a request for 100 topics of 100 partitions is some turns of a millisecond, with others' mail in between.
const PARTITIONS_A_MAIL: usize = 8;
/// Batches waiting in one mailbox; beyond, connections stop reading.
pub const MAILBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Something for a shard.
#[derive(Debug)]
pub enum Mail {
    Command {
        ctx: Arc<Ctx>,
        ticket: Ticket,
        command: Command,
    },
    Message {
        from: ShardId,
        message: ShardMessage,
    },
    Wal(WalDone),
    Blob(BlobTag, BlobDone),
    Blocks(BlobTag, BlocksRead),
    Work(WorkDone),
    /// The shard's timer came due.
    Timeout,
    /// Clean stop: spill and checkpoint now.
    Checkpoint,
}

impl Mail {
    fn bytes(&self) -> usize {
        match self {
            Mail::Command { command: Command::Publish(publish), .. } => publish.batch.bytes().len(),
            _ => 0,
        }
    }

    /// What it counts of `MAIL_MAX`.
    fn weight(&self) -> usize {
        let partitions = match self {
            Mail::Command { command: Command::DeclareTopic(declare), .. } => declare.partition_count as usize,
            Mail::Command { command: Command::AlterTopic(alter), .. } => alter.partition_count as usize,
            Mail::Message { message: ShardMessage::Place { topic }, .. } => topic.partitions.len(),
            Mail::Message { message: ShardMessage::Unplace { partitions }, .. } => partitions.len(),
            _ => 0,
        };
        1 + partitions / PARTITIONS_A_MAIL
    }
}

/// Takes the mail of one turn: the first piece whatever it weighs, others as long as they fit.
fn take_turn(mailbox: &mut VecDeque<Mail>, mails: &mut Vec<Mail>) {
    let mut left = MAIL_MAX;
    while let Some(mail) = mailbox.front() {
        let weight = mail.weight();
        if weight > left && !mails.is_empty() {
            break;
        }
        left = left.saturating_sub(weight);
        mails.extend(mailbox.pop_front());
        if left == 0 {
            break;
        }
    }
}

/// See the module.
pub struct ShardCell {
    id: ShardId,
    mailbox: Mutex<VecDeque<Mail>>,
    mailbox_bytes: AtomicUsize,
    token: Mutex<Shard>,
    /// A panic left the shard in the middle of something: nothing is asked of it any more.
    broken: AtomicBool,
    /// A task that will drain is on its way.
    handed_over: AtomicBool,
    /// When the shard wants its timer (monotonic microseconds); `u64::MAX` = never.
    timeout_us: AtomicU64,
    /// Told when `timeout_us` has become earlier.
    pub timeout_earlier: tokio::sync::Notify,
}

/// What is to be done once the token is given back.
#[derive(Default)]
struct After {
    wakers: Vec<Waker>,
    wal: bool,
    /// Mail for peers: drained in turn.
    peers: Vec<ShardId>,
    timeout_earlier: bool,
}

/// Why a drain stopped.
#[derive(PartialEq, Eq)]
enum Stopped {
    Empty,
    OverTime,
}

impl ShardCell {
    /// An opened shard, which has said hello.
    pub fn new(id: ShardId, shard: Shard) -> ShardCell {
        ShardCell {
            id,
            mailbox: Mutex::default(),
            mailbox_bytes: AtomicUsize::new(0),
            token: Mutex::new(shard),
            broken: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            timeout_us: AtomicU64::new(u64::MAX),
            timeout_earlier: tokio::sync::Notify::new(),
        }
    }

    /// Adds mail and drains if nobody else does.
    pub fn send(&self, node: &Arc<Node>, mail: Mail) {
        self.put(mail);
        self.drain(node);
    }

    /// Adds mail without draining: for many pieces in a row, followed by `drain`.
    pub fn put(&self, mail: Mail) {
        self.mailbox_bytes.fetch_add(mail.bytes(), Ordering::Relaxed);
        self.mailbox.lock().push_back(mail);
    }

    /// Bytes of batches waiting.
    pub fn mailbox_bytes(&self) -> usize {
        self.mailbox_bytes.load(Ordering::Relaxed)
    }

    /// When the shard wants `Mail::Timeout`.
    pub fn timeout_us(&self) -> Option<u64> {
        Some(self.timeout_us.load(Ordering::Acquire)).filter(|at| *at != u64::MAX)
    }

    /// The timer of the shard has come due: asks for it once.
    pub fn send_timeout(&self, node: &Arc<Node>) {
        self.timeout_us.store(u64::MAX, Ordering::Release);
        self.send(node, Mail::Timeout);
    }

    /// Handles what is in the mailbox, unless another thread is at it.
    pub fn drain(&self, node: &Arc<Node>) {
        loop {
            if self.broken.load(Ordering::Acquire) {
                return;
            }
            let Some(shard) = self.token.try_lock() else { return };
            let mut after = After::default();
            let stopped = self.drain_held(node, shard, &mut after);
            self.finish_after(node, after);
            if stopped == Stopped::OverTime {
                self.hand_over(node);
                return;
            }
            // Mail that came while the token was held was left to us.
            if self.mailbox.lock().is_empty() {
                return;
            }
        }
    }

    /// Looks at the shard between two drains.
    pub fn with<R>(&self, node: &Arc<Node>, look: impl FnOnce(&Shard) -> R) -> R {
        let result = look(&self.token.lock());
        // Mail that came meanwhile was left to us.
        if !self.mailbox.lock().is_empty() {
            self.drain(node);
        }
        result
    }

    /// Figures for a scrape.
    pub fn figures(&self, node: &Arc<Node>) -> ShardFigures {
        self.with(node, Shard::figures)
    }

    fn drain_held(&self, node: &Arc<Node>, mut shard: MutexGuard<'_, Shard>, after: &mut After) -> Stopped {
        let panic_is_fatal = PanicIsFatal { node, cell: self };
        let started = node.clock.mono_us();
        let mut now = node.clock.now();
        let mut mails: Vec<Mail> = Vec::new();
        let stopped = loop {
            take_turn(&mut self.mailbox.lock(), &mut mails);
            let was_empty = mails.is_empty();
            let mut bytes = 0;
            for mail in mails.drain(..) {
                bytes += mail.bytes();
                match mail {
                    Mail::Command { ctx, ticket, command } => shard.submit(now, &ctx, ticket, command),
                    Mail::Message { from, message } => shard.handle_message(now, from, message),
                    Mail::Wal(done) => shard.handle_wal(now, done),
                    Mail::Blob(tag, done) => shard.handle_blob(now, tag, done),
                    Mail::Blocks(tag, got) => shard.handle_blocks(now, tag, got),
                    Mail::Work(done) => shard.handle_work(now, done),
                    Mail::Timeout => shard.handle_timeout(now),
                    Mail::Checkpoint => shard.request_checkpoint(now),
                }
            }
            self.mailbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
            shard.finish(now);
            while let Some(effect) = shard.poll_effect() {
                self.route(node, effect, after);
            }
            if was_empty {
                break Stopped::Empty;
            }
            now = node.clock.now();
            if now.mono_us - started > DRAIN_US_MAX {
                break if self.mailbox.lock().is_empty() { Stopped::Empty } else { Stopped::OverTime };
            }
        };
        let timeout_us = shard.poll_timeout().unwrap_or(u64::MAX);
        after.timeout_earlier = timeout_us < self.timeout_us.swap(timeout_us, Ordering::AcqRel);
        drop(shard);
        node.metrics.shard_drain.add_us(now.mono_us - started);
        std::mem::forget(panic_is_fatal);
        stopped
    }

    fn route(&self, node: &Arc<Node>, effect: Effect, after: &mut After) {
        match effect {
            Effect::Reply { holder, ticket, reply } => {
                if let Some(outbox) = node.holders.outbox(holder) {
                    after.wakers.extend(outbox.push(Delivery::Reply(ticket, reply)));
                }
            }
            Effect::Wake { holder, watch } => {
                if let Some(outbox) = node.holders.outbox(holder) {
                    after.wakers.extend(outbox.push(Delivery::Wake(watch)));
                }
            }
            // The home of names is shard 0; what other shards know of them came from there.
            Effect::Catalog(catalog) if self.id == ShardId::META => node.catalog.store(Arc::new(catalog)),
            Effect::Catalog(_) => {}
            Effect::Wal(op) => {
                node.wal.put(self.id, op, node.clock.mono_us());
                after.wal = true;
            }
            Effect::Blob(tag, op @ BlobOp::Get { .. }) => node.cold_reads.put(Job::Blob { shard: self.id, tag, op }),
            Effect::Blob(tag, op) => node.background.put(Job::Blob { shard: self.id, tag, op }),
            Effect::Blocks(tag, read) => node.cold_reads.put(Job::Blocks { shard: self.id, tag, read }),
            Effect::Work(work) => node.background.put(Job::Work { shard: self.id, work }),
            Effect::Send { shard, message } => {
                if let Some(peer) = node.shard(shard) {
                    peer.put(Mail::Message { from: self.id, message });
                    if !after.peers.contains(&shard) {
                        after.peers.push(shard);
                    }
                }
            }
            Effect::Fatal(error) => node.failure.report(format!("the log of shard {} failed: {error}", self.id)),
        }
    }

    fn finish_after(&self, node: &Arc<Node>, after: After) {
        if after.wal {
            node.wal.wake();
        }
        after.wakers.into_iter().for_each(Waker::wake);
        if after.timeout_earlier {
            self.timeout_earlier.notify_one();
        }
        for peer in after.peers {
            // A task, not a call: two shards that answer each other must not grow the stack.
            if let Some(cell) = node.shard(peer) {
                cell.drain_soon(node);
            }
        }
    }

    /// Lets a task drain.
    pub fn drain_soon(&self, node: &Arc<Node>) {
        self.start_task(node);
    }

    fn hand_over(&self, node: &Arc<Node>) {
        node.metrics.shard_handovers.add(1);
        self.start_task(node);
    }

    fn start_task(&self, node: &Arc<Node>) {
        if self.handed_over.swap(true, Ordering::AcqRel) {
            return;
        }
        let (id, for_task) = (self.id, node.clone());
        node.runtime.spawn(async move {
            if let Some(cell) = for_task.shard(id) {
                cell.handed_over.store(false, Ordering::Release);
                cell.drain(&for_task);
            }
        });
    }
}

/// A panic in the middle of a shard leaves a state that nobody can vouch for. The process ends; recovery reads what is durable.
struct PanicIsFatal<'a> {
    node: &'a Arc<Node>,
    cell: &'a ShardCell,
}

impl Drop for PanicIsFatal<'_> {
    fn drop(&mut self) {
        self.cell.broken.store(true, Ordering::Release);
        self.node.failure.report(format!("a bug in shard {}: see the panic above", self.cell.id));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::failure::Failure;
    use crate::node::Parts;
    use crate::outbox::Outbox;
    use kernel::Reply;
    use kernel::auth::Principal;
    use kernel::command::{DeclareTopic, TopicSettings};
    use kernel::error::DeclareError;
    use kernel::shard::{Loaded, ShardConfig};
    use media::memory::{MemoryMedia, MemoryWal};
    use model::media::MediaError;
    use model::{Lsn, NamespaceId, ShardEpoch, TopicId};
    use ops::health::Phase;
    use ops::{Health, Metrics};

    pub struct Rig {
        pub runtime: tokio::runtime::Runtime,
        pub node: Arc<Node>,
    }

    /// A node without threads of its own: the test answers for the log.
    pub fn rig() -> Rig {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let media = MemoryMedia::new();
        let config = ShardConfig::default();
        let loaded = Loaded::load(&config, &mut media.blobs()).unwrap();
        let (_wal, opened) = MemoryWal::open(&media, ShardId::META, Lsn(1), ShardEpoch(0)).unwrap();
        let clock = Clock::start();
        let mut shard = Shard::open(config, loaded, opened, Vec::new(), clock.now()).unwrap();
        let epochs: Arc<[ShardEpoch]> = Arc::from([shard.epoch()]);
        shard.hello(clock.now(), epochs);
        let health = Arc::new(Health::default());
        let parts = Parts {
            clock,
            metrics: Arc::new(Metrics::default()),
            failure: Failure::new(health.clone()),
            health,
            runtime: runtime.handle().clone(),
        };
        let node = Node::new(parts, vec![shard]);
        node.health.ready();
        Rig { runtime, node }
    }

    fn declare(node: &Arc<Node>, name: &str) -> (Arc<Outbox>, Mail) {
        let (holder, outbox) = node.holders.join();
        let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder };
        let command = Command::DeclareTopic(DeclareTopic {
            topic: TopicId::from_random(crate::random::bytes()),
            name: Arc::from(name),
            partition_count: 1,
            settings: TopicSettings::default(),
            validate_only: false,
        });
        (outbox, Mail::Command { ctx: Arc::new(ctx), ticket: Ticket(1), command })
    }

    fn replies(outbox: &Outbox) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        outbox.take(&mut deliveries);
        deliveries
    }

    #[test]
    fn a_failed_log_fails_what_is_in_flight_and_the_node() {
        let Rig { node, .. } = rig();
        let (outbox, mail) = declare(&node, "t");
        node.shards[0].send(&node, mail);
        assert!(replies(&outbox).is_empty(), "nothing is answered before it is durable");
        let error = MediaError::Io { name: "wal/00/0000".to_owned(), why: "sync failed".to_owned() };
        node.shards[0].send(&node, Mail::Wal(WalDone::Failed(error)));
        assert!(node.failure.happened());
        assert!(matches!(node.health.phase(), Phase::Failed { why } if why.contains("wal/00/0000: sync failed")));
        let replies = replies(&outbox);
        assert!(
            matches!(replies.as_slice(), [Delivery::Reply(Ticket(1), Reply::Declared(Err(DeclareError::LogFailed)))]),
            "{replies:?}"
        );
    }

    #[test]
    fn topics_of_many_partitions_are_made_in_turns_of_few() {
        let Rig { node, .. } = rig();
        let of = |partition_count: u32, count: usize| {
            let mail = |_| match declare(&node, "t").1 {
                Mail::Command { ctx, ticket, command: Command::DeclareTopic(declare) } => {
                    let command = Command::DeclareTopic(DeclareTopic { partition_count, ..declare });
                    Mail::Command { ctx, ticket, command }
                }
                other => other,
            };
            (0..count).map(mail).collect::<VecDeque<Mail>>()
        };
        let turns = |mut mailbox: VecDeque<Mail>| {
            let mut turns = Vec::new();
            while !mailbox.is_empty() {
                let mut mails = Vec::new();
                take_turn(&mut mailbox, &mut mails);
                turns.push(mails.len());
            }
            turns
        };
        assert_eq!(turns(of(1, 300)), [256, 44], "small mail as much as ever");
        assert_eq!(turns(of(100, 40)), [19, 19, 2]);
        assert_eq!(turns(of(100_000, 2)), [1, 1], "the first whatever it weighs");
    }

    #[test]
    fn mail_sent_while_another_thread_holds_the_token_is_not_left_lying() {
        const THREADS: usize = 4;
        const EACH: usize = 500;
        let Rig { node, runtime } = rig();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let node = &node;
                scope.spawn(move || {
                    for number in 0..EACH {
                        // Refused, and so answered at once: the name is not allowed.
                        let (outbox, mail) = declare(node, &format!("no/such name {thread} {number}"));
                        node.shards[0].send(node, mail);
                        while replies(&outbox).is_empty() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!(node.shards[0].mailbox_bytes(), 0);
        drop(runtime);
    }
}
