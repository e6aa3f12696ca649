// SPDX-License-Identifier: Apache-2.0
//! A shard: owns everything below it; the only place that orders effects.
//!
//! Owns: the order in which things are decided, logged, made visible and answered. Must not know: any protocol, clock, file, thread.
//!
//! ```text
//! submit ---> decide (log/, catalog/) ---> entry in the open frame + State::apply ---> reply waits for the frame
//! finish ---> frame closed, unless the log is busy and it is small: into the tail and to the log; a spill's cut is made here,
//!             where state = the frames closed so far
//! handle_wal(Durable) ---> watermarks move, watches fire, replies go out (shard/release.rs)
//! ```
//! The files of `shard/`: `frame` (the open frame), `release` (what waits for durability), `watches`, `cold` (reads that a medium
//! answers), `ahead` (what a reader will ask for next), `peers` (declares, deletes, the other shards), `upkeep` (retention, forgetting, timers), `open` (recovery).
//! The spill is in `spill/`.
//!
//! Invariants (`invariants::shard`):
//!   1. `durable < first open frame`; a frame is closed before it is durable; both only grow.
//!   2. A reply leaves when every frame that it was read from is durable; reads of records never wait but end at `high`.
//!   3. After the log has failed nothing is decided any more.

mod ahead;
mod cold;
mod frame;
mod open;
mod peers;
mod release;
mod upkeep;
mod watches;

pub(crate) use cold::BlobUse;
pub use open::Loaded;
pub(crate) use upkeep::Timer;

use crate::auth::{self, Action, Resource, Verdict};
use crate::catalog::Catalog;
use crate::catalog::meta::{PRODUCER_IDS_LEASED, ProducerIds};
use crate::command::{Command, Ctx, Describe, Locate, LocateBy, Publish, Read, Trim};
use crate::coordinator::{Coordinator, DECISION_BYTES_MAX, Decision};
use crate::effect::Effect;
use crate::error::{CoordinatorError, DescribeError, LocateError, ProducerError, PublishError, ReadError, TrimError};
use crate::format::v1::entry::{self, Record};
use crate::log::producers::Gaps;
use crate::log::read::BlocksRead;
use crate::log::{append, locate, producers, read, trim};
use crate::quota::{Admission, Admit};
use crate::reply::{Described, Located, ProducerReady, Published, Reply, Trimmed};
use crate::spill::compaction::Compaction;
use crate::spill::merge::Merge;
use crate::spill::segments::Segments;
use crate::spill::{Spill, WorkDone};
use crate::state::State;
use crate::timer::Wheel;
use model::limits::BLOCK_BYTES;
use model::media::{BlobDone, BlobTag, MediaError, WalDone, WalOpened};
use model::planted::{Bug, planted};
use model::{Corrupt, HolderId, Lsn, Now, PartitionId, ProducerEpoch, ProducerId, ShardEpoch, ShardId, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;

/// What is fixed when a shard is opened.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub shard: ShardId,
    pub shard_count: u32,
    /// The memory tail (= the unspilled log) may take this many bytes; a spill starts at half of it, admission slows from three
    /// quarters.
    pub tail_bytes_max: u64,
    /// Batches of so many bytes or more stay where the log has them, if the log lends.
    pub lent_batch_bytes_min: u64,
    /// What was read ahead of cold readers may take this many bytes.
    pub read_ahead_bytes_max: u64,
    /// How often retention is looked at.
    pub retention_check_ms: u64,
    /// Idle producers are forgotten after this.
    pub producer_expiry_ms: u64,
    /// Most producers remembered by the shard, counted per partition; the longest idle are forgotten first.
    pub producers_max: u32,
}

impl Default for ShardConfig {
    fn default() -> ShardConfig {
        ShardConfig {
            shard: ShardId::META,
            shard_count: 1,
            tail_bytes_max: 256 * 1024 * 1024,
            lent_batch_bytes_min: BLOCK_BYTES as u64,
            read_ahead_bytes_max: 32 * 1024 * 1024,
            retention_check_ms: 5_000,
            producer_expiry_ms: 24 * 60 * 60 * 1000,
            producers_max: 1_000_000,
        }
    }
}

/// Why a shard cannot be opened. All but `Media` name a place that the operator can look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    Corrupt(Corrupt),
    /// Written by a newer version: the feature that this one does not know.
    Newer {
        name: String,
        feature: String,
    },
    Media(MediaError),
}

/// Message between shards of one node. At start each shard is told what its peers know (`Shard::hello`), which makes up for
/// messages lost with the previous life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardMessage {
    /// Home to owner: these are all the topics with partitions placed on you; make what is missing, take their settings, drop what
    /// is not named.
    Reconcile { topics: Vec<Arc<crate::catalog::Topic>> },
    /// Home to owner: make the partitions of this topic that are placed on you and missing, and take its settings.
    Place { topic: Arc<crate::catalog::Topic> },
    /// Home to owner: drop them.
    Unplace { partitions: Vec<PartitionId> },
    /// Owner to home: what `Place` said of this topic is durable here. One for each.
    Placed { topic: model::TopicId },
    /// Owner to home: this shard has opened in this epoch.
    Epoch { epoch: ShardEpoch },
}

/// See the module.
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) epoch: ShardEpoch,
    pub(crate) state: State,
    /// Closed frames that are not in a segment yet.
    pub(crate) tail: crate::log::tail::Tail,
    pub(crate) segments: Segments,
    /// The body of the frame being filled; its number is `tail.next()`.
    frame: frame::OpenFrame,
    release: release::Release,
    watches: watches::Watches,
    pub(crate) cold: cold::Cold,
    peers: peers::Peers,
    admission: Admission,
    gaps: Gaps,
    producer_ids: ProducerIds,
    pub(crate) spill: Spill,
    pub(crate) merge: Merge,
    pub(crate) compaction: Compaction,
    pub(crate) timers: Wheel<Timer>,
    upkeep: upkeep::Upkeep,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) failed: bool,
    /// The log has little room left, and its medium no space: that is for what the shard decides itself, and so makes room.
    pub(crate) is_log_short: bool,
    pub(crate) figures: ShardFigures,
}

/// Figures for `/metrics` and for tests; all cheap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardFigures {
    pub partitions: u64,
    pub topics: u64,
    pub producers: u64,
    pub tail_bytes: u64,
    pub tail_batches: u64,
    pub segment_count: u64,
    /// With those of log slots that they have.
    pub segment_bytes: u64,
    /// Slots of the log in which records of segments stand.
    pub lent_slots: u64,
    /// Of runs in them that a partition refers to.
    pub segment_live_bytes: u64,
    pub applied: Lsn,
    pub durable: Lsn,
    pub appended_batches: u64,
    pub appended_records: u64,
    pub appended_bytes: u64,
    pub read_bytes: u64,
    pub cold_read_bytes: u64,
    /// Cold reads that found what they wanted read ahead, or on its way.
    pub read_ahead_hits: u64,
    /// What was read ahead and is held, or on its way.
    pub read_ahead_bytes: u64,
    pub spills: u64,
    pub spill_failures: u64,
    /// Times that what is set aside for a full disk was used.
    pub reserve_uses: u64,
    /// It is in use: publishes are refused until it is whole again.
    pub reserve_in_use: bool,
    /// Bytes of batches that were not copied into a segment, because the log lent it the slots in which they stand.
    pub spilled_in_place_bytes: u64,
    /// Slots that went back to the log when their segments were removed.
    pub lent_slots_freed: u64,
    pub checkpoints: u64,
    pub merges: u64,
    /// What merges have read of their sources, and in how many reads.
    pub merge_reads: u64,
    pub merge_read_bytes: u64,
    pub compactions: u64,
    /// A spill with its checkpoint is under way.
    pub spill_running: bool,
    /// Stored bytes that retention has removed.
    pub retention_bytes: u64,
    pub parked_publishes: u64,
    pub duplicate_publishes: u64,
    /// Batches whose compressed records turned out not to be well formed when a reader inside the broker opened them.
    pub malformed_batches: u64,
    pub corrupt_reads: u64,
}

impl Shard {
    /// Recovery, last step: folds the log's frames over the loaded state. Afterwards everything is as it was at the last durable
    /// frame.
    pub fn open(
        config: ShardConfig,
        loaded: Loaded,
        wal: WalOpened,
        coordinators: Vec<Box<dyn Coordinator>>,
        now: Now,
    ) -> Result<Shard, OpenError> {
        open::open(config, loaded, wal, coordinators, now)
    }

    /// Called once on every shard after all are open, with every shard's epoch. Emits the first catalog and what peers must know.
    pub fn hello(&mut self, _now: Now, shard_epochs: Arc<[ShardEpoch]>) {
        self.greet(shard_epochs);
        self.look_after_reserve();
    }

    /// This life's epoch.
    pub fn epoch(&self) -> ShardEpoch {
        self.epoch
    }

    /// Takes a command. Its reply comes as an effect, perhaps at once, perhaps never (a command without reply, or the log fails).
    pub fn submit(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, command: Command) {
        match command {
            Command::Publish(publish) => self.publish(now, ctx, ticket, publish),
            Command::Read(read) => self.read(now, ctx, ticket, read),
            Command::Locate(locate) => self.locate(ctx, ticket, &locate),
            Command::Trim(trim) => self.trim(ctx, ticket, &trim),
            Command::DeclareTopic(declare) => self.declare_topic(ctx, ticket, &declare),
            Command::AlterTopic(alter) => self.alter_topic(ctx, ticket, &alter),
            Command::DeleteTopic { topic } => self.delete_topic(ctx, ticket, topic),
            Command::Describe(describe) => self.describe(ctx, ticket, describe),
            Command::InitProducer => self.init_producer(ctx, ticket),
            Command::Coordinator { which, input } => self.coordinate(now, ctx, ticket, which, &input),
            Command::Gone => self.gone(now, ctx.holder),
        }
    }

    fn publish(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, publish: Publish) {
        if self.failed {
            return self.reply_now(ctx.holder, ticket, Reply::Published(Err(PublishError::LogFailed)));
        }
        if self.takes_no_publishes() && !self.needs_no_room(ctx, &publish) {
            return self.refuse(ctx, ticket, &publish, PublishError::StorageFull);
        }
        let batch_bytes = publish.batch.bytes().len();
        let (tail_bytes, more) = self.frame_need(batch_bytes);
        match self.admission.decide(now, tail_bytes, more, batch_bytes) {
            Admit::Now => self.publish_now(now, ctx, ticket, &publish),
            _ if self.needs_no_room(ctx, &publish) => self.publish_now(now, ctx, ticket, &publish),
            Admit::Park(None) | Admit::Refuse { .. } if self.spill.no_space() => {
                self.refuse(ctx, ticket, &publish, PublishError::StorageFull);
            }
            Admit::Park(due_us) => {
                self.figures.parked_publishes += 1;
                self.admission.park(ctx.clone(), ticket, publish, due_us);
                self.set_admission_timer(now);
            }
            Admit::Refuse { retry_after_ms } => {
                self.refuse(ctx, ticket, &publish, PublishError::Overloaded { retry_after_ms });
            }
        }
    }

    /// Refuses a publish that might have been appended at another time.
    fn refuse(&mut self, ctx: &Ctx, ticket: Ticket, publish: &Publish, error: PublishError) {
        let here = self.state.partitions.get(publish.partition);
        self.gaps.refused(publish.partition, here, publish.batch.header());
        self.reply_now(ctx.holder, ticket, Reply::Published(Err(error)));
    }

    /// Its answer is known whatever the tail has room for: it stands in the log already, or is refused for its size. A repeat that
    /// was made to wait while later batches got in would leave its window, and its offset be forgotten.
    fn needs_no_room(&self, ctx: &Ctx, publish: &Publish) -> bool {
        let partition = self.state.partitions.get(publish.partition);
        partition.is_some_and(|partition| {
            matches!(
                append::decide(partition, self.epoch, ctx, publish),
                append::Decision::Repeat(_)
                    | append::Decision::Refuse(PublishError::TooLarge { .. } | PublishError::DuplicateForgotten)
            )
        })
    }

    fn publish_now(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, publish: &Publish) {
        let Some(partition) = self.state.partitions.get(publish.partition) else {
            // With one shard, what is not here is nowhere. With more, its owner may hear of it only now.
            if self.config.shard_count > 1 {
                self.gaps.refused(publish.partition, None, publish.batch.header());
            }
            let reply = Reply::Published(Err(PublishError::NotFound));
            return self.reply_after(self.state.placement_lsn, ctx.holder, ticket, reply);
        };
        let (start, visible_start) = (partition.start, partition.visible_start);
        // What refuses may be the settings, which came with the placement.
        let last_lsn = partition.last_lsn.max(self.state.placement_lsn);
        let mut decision = append::decide(partition, self.epoch, ctx, publish);
        if matches!(decision, append::Decision::Append(..))
            && let Some(expected) = self.gaps.expected(partition, publish.batch.header())
        {
            decision = append::Decision::Refuse(PublishError::OutOfSequence { expected });
        }
        match decision {
            append::Decision::Append(base_offset, leader_epoch) => {
                let lsn = self.log_append(now, publish, base_offset, leader_epoch);
                let after = if planted(Bug::AckBeforeDurable) { Lsn(0) } else { lsn };
                let published = Published { base_offset, start, duplicate: false };
                self.published_after(after, ctx.holder, ticket, published);
            }
            append::Decision::Repeat(base_offset) => {
                // The first copy may not be durable yet; then it still stands in the tail.
                let original = partition.tail.get(partition.tail_index(base_offset));
                let after = match original {
                    Some(entry) if base_offset >= partition.high => self.tail.lsn(entry),
                    _ => Lsn(0),
                };
                self.figures.duplicate_publishes += 1;
                // Nothing is waited for that moved the start since.
                let published = Published { base_offset, start: visible_start, duplicate: true };
                self.published_after(after, ctx.holder, ticket, published);
            }
            append::Decision::Refuse(error) => {
                if error == PublishError::KeysUnknown {
                    // It will come again, before later ones of its producer.
                    self.gaps.refused(publish.partition, Some(partition), publish.batch.header());
                }
                self.reply_after(last_lsn, ctx.holder, ticket, Reply::Published(Err(error)));
            }
        }
    }

    /// Is there room for something small that is decided, not published?
    pub(super) fn has_room(&self) -> bool {
        !self.is_log_short && self.admission.fits(self.tail_bytes(), 1)
    }

    /// Whatever room the tail has: the log has none, or what would come would fill what comes back.
    fn takes_no_publishes(&self) -> bool {
        self.is_log_short || self.spill.reserve.is_in_use()
    }

    /// The medium has no space: for a spill, so that the tail stays full, or for the log itself, or for what is set aside.
    pub(super) fn is_storage_full(&self) -> bool {
        self.spill.no_space() || self.takes_no_publishes()
    }

    /// Is there room for the first publish that waits?
    fn parked_fits(&self) -> bool {
        self.admission.front().is_none_or(|front| {
            let (tail_bytes, more) = self.frame_need(front.batch.bytes().len());
            self.admission.fits(tail_bytes, more)
        })
    }

    /// Publishes that waited and may go now. While the medium has no space, those for which there is no room are refused: who
    /// waits, waits for a spill that is under way, not for an operator.
    fn admit_parked(&mut self, now: Now) {
        while !self.admission.is_empty() {
            if self.takes_no_publishes() || !self.parked_fits() {
                if !self.is_storage_full() {
                    return;
                }
                let Some(parked) = self.admission.take() else { return };
                self.refuse(&parked.ctx, parked.ticket, &parked.publish, PublishError::StorageFull);
                continue;
            }
            let Some(parked) = self.admission.take_due(now) else {
                return self.set_admission_timer(now);
            };
            self.publish_now(now, &parked.ctx, parked.ticket, &parked.publish);
        }
    }

    fn read(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, read: Read) {
        let Some(partition) = self.state.partitions.get(read.partition) else {
            let reply = Reply::Read(Err(ReadError::NotFound));
            return self.reply_after(self.state.placement_lsn, ctx.holder, ticket, reply);
        };
        match read::plan(partition, &self.tail, &self.segments, self.epoch, ctx, &read) {
            Ok(read::Source::Now(reply)) => self.answer_tail_read(ctx.holder, ticket, &read, reply),
            Ok(read::Source::Blocks(range)) => self.read_blocks(now, ctx.holder, ticket, range, read),
            Err(error) => self.reply_now(ctx.holder, ticket, Reply::Read(Err(error))),
        }
    }

    fn locate(&mut self, ctx: &Ctx, ticket: Ticket, locate: &Locate) {
        let Some(partition) = self.state.partitions.get(locate.partition) else {
            let reply = Reply::Located(Err(LocateError::NotFound));
            return self.reply_after(self.state.placement_lsn, ctx.holder, ticket, reply);
        };
        let leader_epoch = partition.leader_epoch(self.epoch);
        let refused = if !append::allowed(ctx, &partition.hosted, Action::Describe) {
            Some(LocateError::Denied)
        } else {
            append::check_epoch(leader_epoch, locate.leader_epoch).err().map(LocateError::Epoch)
        };
        if let Some(error) = refused {
            return self.reply_now(ctx.holder, ticket, Reply::Located(Err(error)));
        }
        if let LocateBy::EpochEnd(epoch) = locate.by {
            let located = locate::epoch_end(partition, leader_epoch, epoch);
            return self.reply_now(ctx.holder, ticket, Reply::Located(Ok(located)));
        }
        let offset = match locate.by {
            LocateBy::Start => Some(partition.visible_start),
            LocateBy::End => Some(read::end_of(partition, locate.isolation)),
            LocateBy::Timestamp(_) | LocateBy::MaxTimestamp | LocateBy::EpochEnd(_) => None,
        };
        if offset.is_none()
            && let Some(time) = locate::search(locate.by)
        {
            let from = partition.visible_start;
            return self.search(ctx.holder, ticket, locate.partition, time, from);
        }
        let located = Located { offset, timestamp_ms: None, leader_epoch };
        self.reply_now(ctx.holder, ticket, Reply::Located(Ok(located)));
    }

    fn trim(&mut self, ctx: &Ctx, ticket: Ticket, trim: &Trim) {
        let Some(partition) = self.state.partitions.get(trim.partition) else {
            let reply = Reply::Trimmed(Err(TrimError::NotFound));
            return self.reply_after(self.state.placement_lsn, ctx.holder, ticket, reply);
        };
        let decided = if self.failed {
            Err(TrimError::LogFailed)
        } else if !append::allowed(ctx, &partition.hosted, Action::Delete) {
            Err(TrimError::Denied)
        } else {
            trim::decide(partition, trim.before)
        };
        let (start, after) = (partition.start, partition.last_lsn);
        match decided {
            Err(error) => self.reply_now(ctx.holder, ticket, Reply::Trimmed(Err(error))),
            Ok(before) if before <= start => {
                self.reply_after(after, ctx.holder, ticket, Reply::Trimmed(Ok(Trimmed { start })));
            }
            Ok(before) => {
                let lsn = self.log(Record::Trim { partition: trim.partition, before });
                self.reply_after(lsn, ctx.holder, ticket, Reply::Trimmed(Ok(Trimmed { start: before })));
            }
        }
    }

    fn describe(&mut self, ctx: &Ctx, ticket: Ticket, describe: Describe) {
        let (described, after) = match self.state.partitions.get(describe.partition) {
            None => (Err(DescribeError::NotFound), self.state.placement_lsn),
            Some(partition) if !append::allowed(ctx, &partition.hosted, Action::Describe) => {
                (Err(DescribeError::Denied), Lsn(0))
            }
            Some(partition) => {
                // As it is when its last change, which the answer waits for, is durable.
                let described = Described {
                    start: partition.start,
                    high: partition.next,
                    stored_bytes: trim::stored_bytes(partition, &self.segments),
                    pinned_bytes: trim::pinned_bytes(partition, &self.segments),
                    producers: producers::described(&partition.producers, describe.producers_max as usize),
                };
                (Ok(described), partition.last_lsn)
            }
        };
        self.reply_after(after, ctx.holder, ticket, Reply::Described(described));
    }

    fn init_producer(&mut self, ctx: &Ctx, ticket: Ticket) {
        let allowed = auth::decide(&ctx.principal, ctx.namespace, Resource::Node, Action::Write) == Verdict::Allow;
        let refused = if !allowed {
            Some(ProducerError::Denied)
        } else if self.config.shard != ShardId::META {
            Some(ProducerError::NotOwner)
        } else if self.failed {
            Some(ProducerError::LogFailed)
        } else {
            None
        };
        if let Some(error) = refused {
            return self.reply_now(ctx.holder, ticket, Reply::Producer(Err(error)));
        }
        let id = match self.producer_ids.take() {
            Some(id) => id,
            None => {
                if !self.has_room() {
                    let error = match self.is_storage_full() {
                        true => ProducerError::StorageFull,
                        false => ProducerError::Overloaded { retry_after_ms: crate::quota::DELAY_MS_MAX as u32 },
                    };
                    return self.reply_now(ctx.holder, ticket, Reply::Producer(Err(error)));
                }
                let id = self.state.producer_next;
                self.log(Record::ProducerIds { next: id + PRODUCER_IDS_LEASED });
                self.producer_ids = ProducerIds::after(id);
                self.producer_ids.leased(self.state.producer_next);
                self.producer_ids.take().unwrap_or(id)
            }
        };
        let ready = ProducerReady { id: ProducerId(id as i64), epoch: ProducerEpoch(0) };
        self.reply_after(self.state.producer_ids_lsn, ctx.holder, ticket, Reply::Producer(Ok(ready)));
    }

    fn coordinate(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, which: u8, input: &bytes::Bytes) {
        let allowed = auth::decide(&ctx.principal, ctx.namespace, Resource::Node, Action::Write) == Verdict::Allow;
        let has_room = !self.is_log_short && self.admission.fits_notes(self.tail_bytes());
        let is_full = self.is_storage_full();
        let error = match self.state.coordinators.get_mut(&which) {
            _ if !allowed => CoordinatorError::Denied,
            _ if self.failed => CoordinatorError::LogFailed,
            None => CoordinatorError::NotFound,
            Some(beside) if !has_room && !beside.machine.only_reads(input) => match is_full {
                true => CoordinatorError::StorageFull,
                false => CoordinatorError::Overloaded { retry_after_ms: crate::quota::DELAY_MS_MAX as u32 },
            },
            Some(beside) => {
                let decision = beside.machine.handle(now, ctx, ticket, input);
                return self.decided(which, decision);
            }
        };
        self.reply_now(ctx.holder, ticket, Reply::Coordinated(Err(error)));
    }

    /// Logs what a coordinator decided, all of it in one frame.
    fn decided(&mut self, which: u8, decision: Decision) {
        let Decision { notes, replies } = decision;
        let records: Vec<Record> = notes.into_iter().map(|note| Record::Note { which, note }).collect();
        let bytes: usize = records.iter().map(entry::put_bytes).sum();
        if bytes > DECISION_BYTES_MAX || (self.failed && !records.is_empty()) {
            let error = if self.failed { CoordinatorError::LogFailed } else { CoordinatorError::TooLarge };
            for (holder, ticket, _) in replies {
                self.reply_now(holder, ticket, Reply::Coordinated(Err(error.clone())));
            }
            return;
        }
        self.log_group(records);
        let after = self.state.coordinators.get(&which).map_or(Lsn(0), |beside| beside.last_lsn);
        for (holder, ticket, reply) in replies {
            self.reply_after(after, holder, ticket, Reply::Coordinated(Ok(reply)));
        }
    }

    fn gone(&mut self, now: Now, holder: HolderId) {
        self.unwatch(holder);
        let numbers: Vec<u8> = self.state.coordinators.keys().copied().collect();
        for which in numbers {
            if let Some(beside) = self.state.coordinators.get_mut(&which) {
                let decision = beside.machine.handle_gone(now, holder);
                self.decided(which, decision);
            }
        }
    }

    /// A message from a peer shard.
    pub fn handle_message(&mut self, _now: Now, from: ShardId, message: ShardMessage) {
        self.message(from, message);
    }

    /// The log answered.
    pub fn handle_wal(&mut self, _now: Now, done: WalDone) {
        match done {
            WalDone::Durable { through } => self.durable(through),
            WalDone::Failed(error) => self.fail(error),
            WalDone::Room { is_there } => self.is_log_short = !is_there,
            WalDone::Lent { slots } => self.slots_lent(&slots),
        }
    }

    /// A blob operation was answered.
    pub fn handle_blob(&mut self, now: Now, tag: BlobTag, done: BlobDone) {
        self.blob_done(now, tag, done);
    }

    /// Blocks were read and checked.
    pub fn handle_blocks(&mut self, now: Now, tag: BlobTag, got: BlocksRead) {
        self.blocks_done(now, tag, got);
    }

    /// A computation is finished.
    pub fn handle_work(&mut self, _now: Now, done: WorkDone) {
        self.work_done(done);
    }

    /// `poll_timeout` came due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.expire(now);
    }

    /// Ends a drain: what was decided since the last call becomes one frame (or several, past the size target) and goes to the
    /// log, at once if the log is idle, else with what is decided until it is. The driver calls it after every run of the calls
    /// above and before it takes effects.
    pub fn finish(&mut self, now: Now) {
        if !self.failed {
            // First what makes room in the tail, then those who wait for it.
            self.spill_step();
            if !planted(Bug::ParkedForgotten) {
                self.admit_parked(now);
            }
            self.forget_surplus();
        }
        // Publishes that wait for room in a tail that is not half full (large ones, in a small tail) need a spill as well.
        // So does a log that is short of room: a trim gives it some.
        let is_wanted = self.is_log_short || (!self.admission.is_empty() && !self.parked_fits());
        // A cut is made at the last closed frame.
        if !self.may_hold_frame() || self.spill_is_due(is_wanted) {
            self.close_frame();
        }
        self.publish_catalog();
        if !self.failed {
            if self.frame.is_empty() && self.spill_start(is_wanted) {
                self.spill_step();
            }
            self.merge_step(now);
        }
        self.set_settle_timer(now);
    }

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When `handle_timeout` wants to be called (monotonic microseconds).
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.failed {
            return None;
        }
        let coordinators = self.state.coordinators.values().filter_map(|beside| beside.machine.poll_timeout());
        let wants_checkpoint = self.merge.is_ready() && !self.spill.is_under_way();
        let wants_slice =
            self.spill.wants_slice() || self.merge.wants_slice(self.spill.is_under_way()) || wants_checkpoint;
        coordinators.chain(self.timers.next_us()).chain(wants_slice.then_some(0)).min()
    }

    /// Asks for a spill and checkpoint now (clean stop). Done when `idle()`.
    pub fn request_checkpoint(&mut self, _now: Now) {
        self.spill.request();
    }

    /// True when nothing is under way: no frame undurable, no spill, no reply waiting. After the log has failed nothing is waited
    /// for.
    pub fn idle(&self) -> bool {
        let at_rest = self.frame.is_empty()
            && self.release.is_idle()
            && self.admission.is_empty()
            && self.cold.is_idle()
            && self.peers.is_idle()
            && self.spill.is_idle();
        self.failed || at_rest
    }

    /// The catalog as decided, durable or not. For tests and offline tools.
    pub fn catalog(&self) -> &Catalog {
        &self.state.topics.catalog
    }

    pub fn figures(&self) -> ShardFigures {
        ShardFigures {
            partitions: self.state.partitions.len() as u64,
            topics: self.state.topics.catalog.topic_count() as u64,
            producers: self.state.producer_count,
            tail_bytes: self.tail_bytes(),
            tail_batches: self.tail.batches(),
            segment_count: self.segments.count(),
            segment_bytes: self.segments.bytes(),
            lent_slots: self.segments.lent_slots(),
            segment_live_bytes: self.segments.live_bytes(),
            applied: self.state.applied,
            durable: self.release.durable(),
            spill_running: !self.spill.is_idle(),
            reserve_in_use: self.spill.reserve.is_in_use(),
            read_ahead_bytes: self.cold.ahead.bytes(),
            ..self.figures
        }
    }

    /// Something has been decided that no closed frame holds: the state is ahead of the log.
    pub fn has_open_frame(&self) -> bool {
        !self.frame.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// A hash of all durable state at the last applied frame: equal for a live shard and one replayed to the same frame, once that
    /// frame is closed.
    pub fn state_hash(&self) -> u64 {
        self.state.hash()
    }
}
