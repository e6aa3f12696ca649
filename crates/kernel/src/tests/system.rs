// SPDX-License-Identifier: Apache-2.0
//! Shards over media in memory, with every completion under the test's control.
//!
//! Owns: what is durable, what a crash takes, which faults there are. Must not know: what is tested.

use super::counter::Counter;
use crate::auth::Principal;
use crate::command::{Command, Ctx, Isolation, Read};
use crate::coordinator::Coordinator;
use crate::log::read::Walk;
use crate::shard::{Loaded, OpenError, Shard, ShardConfig, ShardMessage};
use crate::spill::Work;
use crate::{Catalog, Effect, Reply, invariants};
use bytes::Bytes;
use model::media::{
    BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs, LentSlot, MediaError, WalDone, WalOp, WalOpened,
};
use model::{HolderId, Lsn, NamespaceId, Now, Offset, PartitionId, ShardEpoch, ShardId, Ticket};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A log in memory.
#[derive(Clone, Debug)]
pub struct TestWal {
    /// Durable frames that were not trimmed.
    pub durable: VecDeque<(Lsn, Bytes)>,
    pub staged: VecDeque<(Lsn, Bytes)>,
    pub next: Lsn,
    epoch: u32,
    pub settles: u64,
    /// Frames of a slot; without any nothing is lent.
    pub frames_a_slot: usize,
    /// Slots that this life has written, the last of them not for good: frames, and where their bodies stand.
    slots: BTreeMap<u32, Vec<(Lsn, u64)>>,
    active: Option<u32>,
    pub lent: BTreeSet<u32>,
    /// What was asked for and not answered yet.
    lends: VecDeque<Lsn>,
}

impl TestWal {
    /// Frames also stand in slots, whose bytes are beside the blobs.
    fn write(&mut self, shard: ShardId, frames: &[(Lsn, Bytes)], blobs: &mut TestBlobs) {
        for (lsn, body) in frames.iter().filter(|_| self.frames_a_slot > 0) {
            let is_free = |slot: &u32| !self.slots.contains_key(slot) && !self.lent.contains(slot);
            let slot = self.active.or_else(|| (0..).find(is_free)).expect("numbers do not end");
            let held = self.slots.entry(slot).or_default();
            let file = blobs.files.entry(slot_name(shard, slot)).or_default();
            if held.is_empty() {
                *file = vec![0xa5; 4096];
            }
            file.extend_from_slice(&[0xa6; 64]);
            held.push((*lsn, file.len() as u64));
            file.extend_from_slice(body);
            self.active = (held.len() < self.frames_a_slot).then_some(slot);
        }
    }

    /// Nobody may read what stood in a slot that is the log's again.
    fn recycle(&mut self, shard: ShardId, slot: u32, blobs: &mut TestBlobs) {
        self.slots.remove(&slot);
        if let Some(file) = blobs.files.get_mut(&slot_name(shard, slot)) {
            file.fill(0xee);
        }
    }

    fn trim(&mut self, shard: ShardId, below: Lsn, blobs: &mut TestBlobs) {
        let is_over = |frames: &[(Lsn, u64)]| frames.last().is_none_or(|(last, _)| *last < below);
        let over = self.slots.iter().filter(|(slot, frames)| self.active != Some(**slot) && is_over(frames));
        for slot in over.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.recycle(shard, slot, blobs);
        }
    }

    fn lend(&mut self, below: Lsn) -> Vec<LentSlot> {
        assert!(below <= self.next, "what is lent is durable");
        let is_whole = |frames: &[(Lsn, u64)]| frames.last().is_some_and(|(last, _)| *last < below);
        let whole = self.slots.iter().filter(|(slot, frames)| self.active != Some(**slot) && is_whole(frames));
        let slots: Vec<u32> = whole.map(|(slot, _)| *slot).collect();
        self.lent.extend(&slots);
        slots.into_iter().map(|slot| LentSlot { slot, frames: self.slots.remove(&slot).unwrap_or_default() }).collect()
    }
}

fn slot_name(shard: ShardId, slot: u32) -> BlobName {
    BlobName { shard, kind: BlobKind::Slot, number: u64::from(slot) }
}

/// Blobs in memory. The bytes survive a crash, operations under way do not.
#[derive(Clone, Debug, Default)]
pub struct TestBlobs {
    pub files: BTreeMap<BlobName, Vec<u8>>,
    /// In pieces, not whole yet.
    begun: BTreeMap<BlobName, Vec<u8>>,
    waiting: VecDeque<(BlobTag, BlobOp)>,
    pub no_space: bool,
    /// None for the last piece of a blob that is put in pieces.
    pub no_space_for_pieces: bool,
    /// So many bytes are free; removing gives back.
    pub room: Option<u64>,
    /// Set aside, and to be set aside.
    pub reserve: u64,
    reserve_bytes: u64,
    reserve_in_use: bool,
    was_short: bool,
    /// Names that could once be put, to see that none is used for other bytes.
    pub ever: BTreeMap<BlobName, Vec<u8>>,
}

impl TestBlobs {
    fn run(&mut self, op: BlobOp) -> BlobDone {
        match op {
            BlobOp::Put { name, .. } if self.no_space => {
                self.was_short = true;
                BlobDone::Put(Err(MediaError::NoSpace { name: name.to_string() }))
            }
            BlobOp::PutPiece { name, is_last: true, .. } if self.no_space_for_pieces => {
                BlobDone::PutPiece(Err(MediaError::NoSpace { name: name.to_string() }))
            }
            BlobOp::PutPiece { name, at, parts, is_last } => {
                let mut bytes = self.begun.remove(&name).unwrap_or_default();
                assert_eq!(bytes.len() as u64, at, "pieces come one after another");
                bytes.extend_from_slice(&parts.concat());
                if is_last {
                    return match self.run(BlobOp::Put { name, parts: vec![bytes.into()] }) {
                        BlobDone::Put(outcome) => BlobDone::PutPiece(outcome),
                        other => other,
                    };
                }
                self.begun.insert(name, bytes);
                BlobDone::PutPiece(Ok(()))
            }
            BlobOp::Put { name, parts } => {
                let bytes = parts.concat();
                if self.files.contains_key(&name) {
                    return BlobDone::Put(Err(MediaError::Exists { name: name.to_string() }));
                }
                if !self.take_room(bytes.len() as u64) {
                    self.was_short = true;
                    return BlobDone::Put(Err(MediaError::NoSpace { name: name.to_string() }));
                }
                let earlier = self.ever.insert(name, bytes.clone());
                // Short of space, what a crash left behind is removed before a checkpoint remembers its number.
                let same = earlier.is_none_or(|earlier| earlier == bytes);
                assert!(same || self.was_short, "{name} was used for other bytes before");
                self.files.insert(name, bytes);
                BlobDone::Put(Ok(()))
            }
            BlobOp::Get { name, at, len } => BlobDone::Got(match self.files.get(&name) {
                None => Err(MediaError::Missing { name: name.to_string() }),
                Some(file) => match file.get(at as usize..).and_then(|file| file.get(..len as usize)) {
                    Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
                    None => Err(MediaError::Io { name: name.to_string(), why: "the blob ends first".into() }),
                },
            }),
            BlobOp::List { shard, kind } => {
                let of = self.files.iter().filter(|(name, _)| name.shard == shard && name.kind == kind);
                BlobDone::Listed(Ok(of.map(|(name, file)| (*name, file.len() as u64)).collect()))
            }
            BlobOp::Delete { name } => {
                self.begun.remove(&name);
                let bytes = self.files.remove(&name).map_or(0, |file| file.len() as u64);
                self.room = self.room.map(|room| room + bytes);
                BlobDone::Deleted(Ok(()))
            }
            BlobOp::Reserve { bytes, .. } => {
                self.reserve_bytes = bytes;
                let missing = bytes.saturating_sub(self.reserve);
                let taken = if self.no_space { 0 } else { missing.min(self.room.unwrap_or(missing)) };
                self.room = self.room.map(|room| room - taken);
                self.reserve += taken;
                self.reserve_in_use &= taken < missing;
                BlobDone::Reserved(match taken < missing {
                    true => Err(MediaError::NoSpace { name: "reserve".into() }),
                    false => Ok(()),
                })
            }
            BlobOp::UseReserve { .. } => {
                self.reserve_in_use = true;
                BlobDone::Reserved(Ok(()))
            }
        }
    }
}

impl TestBlobs {
    /// Takes room for a blob, out of what is set aside if that may be used.
    fn take_room(&mut self, bytes: u64) -> bool {
        let Some(room) = self.room else { return true };
        let from_reserve = bytes.saturating_sub(room);
        if from_reserve > 0 && (!self.reserve_in_use || from_reserve > self.reserve) {
            return false;
        }
        self.reserve -= from_reserve;
        self.room = Some(room - (bytes - from_reserve));
        true
    }
}

impl Blobs for TestBlobs {
    fn submit(&mut self, tag: BlobTag, op: BlobOp) {
        self.waiting.push_back((tag, op));
    }

    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)> {
        let (tag, op) = self.waiting.pop_front()?;
        Some((tag, self.run(op)))
    }

    fn wait_done(&mut self) -> (BlobTag, BlobDone) {
        self.poll_done().expect("something was submitted")
    }
}

/// A shard and its media.
pub struct Member {
    pub shard: Shard,
    pub wal: TestWal,
    pub blobs: TestBlobs,
    work: VecDeque<Work>,
    config: ShardConfig,
}

/// What came out for a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    Reply(HolderId, Ticket, Reply),
    Wake(HolderId, u64),
    Fatal,
}

/// See the module.
pub struct System {
    pub members: Vec<Member>,
    pub now: Now,
    pub catalog: Catalog,
    pub out: Vec<Out>,
    /// While held, nothing of it completes.
    pub hold_wal: bool,
    pub hold_blobs: bool,
    pub hold_messages: bool,
    messages: VecDeque<(ShardId, ShardId, ShardMessage)>,
    /// The hash of each shard's state at each frame.
    pub hashes: BTreeMap<(ShardId, Lsn), u64>,
}

fn coordinators() -> Vec<Box<dyn Coordinator>> {
    vec![Box::<Counter>::default()]
}

pub fn ctx(holder: u64) -> Ctx {
    Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(holder) }
}

fn open(config: &ShardConfig, wal: &mut TestWal, blobs: &mut TestBlobs, now: Now) -> Result<Shard, OpenError> {
    let loaded = Loaded::load(config, blobs)?;
    (wal.lent, wal.active) = (loaded.lent_slots(), None);
    let slots = blobs.files.keys().filter(|name| name.kind == BlobKind::Slot).map(|name| name.number as u32);
    for slot in slots.collect::<Vec<_>>() {
        if !wal.lent.contains(&slot) {
            wal.recycle(config.shard, slot, blobs);
        }
    }
    let from = loaded.wal_from();
    let frames = wal.durable.iter().filter(|(lsn, _)| *lsn >= from).cloned().collect();
    let opened = WalOpened { epoch: ShardEpoch(wal.epoch), frames, next: wal.next, copied_forward: 0, torn_at: None };
    Shard::open(config.clone(), loaded, opened, coordinators(), now)
}

impl System {
    pub fn new(shard_count: u32, tail_bytes_max: u64) -> System {
        let config = ShardConfig { tail_bytes_max, ..ShardConfig::default() };
        System::with(shard_count, config)
    }

    pub fn with(shard_count: u32, config: ShardConfig) -> System {
        let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
        let member = |shard| {
            let config = ShardConfig { shard: ShardId(shard), shard_count, ..config.clone() };
            let mut wal = TestWal {
                durable: VecDeque::new(),
                staged: VecDeque::new(),
                next: Lsn(1),
                epoch: 1,
                settles: 0,
                frames_a_slot: 0,
                slots: BTreeMap::new(),
                active: None,
                lent: BTreeSet::new(),
                lends: VecDeque::new(),
            };
            let mut blobs = TestBlobs::default();
            let shard = open(&config, &mut wal, &mut blobs, now).expect("an empty shard opens");
            Member { shard, wal, blobs, work: VecDeque::new(), config }
        };
        let mut system = System {
            members: (0..shard_count).map(member).collect(),
            now,
            catalog: Catalog::default(),
            out: Vec::new(),
            hold_wal: false,
            hold_blobs: false,
            hold_messages: false,
            messages: VecDeque::new(),
            hashes: BTreeMap::new(),
        };
        system.hello();
        system
    }

    fn hello(&mut self) {
        let epochs: Arc<[ShardEpoch]> = self.members.iter().map(|member| member.shard.epoch()).collect();
        for index in 0..self.members.len() {
            self.members[index].shard.hello(self.now, epochs.clone());
            self.drain(index);
        }
        self.pump();
    }

    /// Ends a drain: frames are closed, effects taken, and what must hold is looked at.
    fn drain(&mut self, index: usize) {
        let shard_id = ShardId(index as u32);
        let member = &mut self.members[index];
        member.shard.finish(self.now);
        let applied = member.shard.figures().applied;
        if !member.shard.has_open_frame() {
            let hash = member.shard.state_hash();
            assert_eq!(*self.hashes.entry((shard_id, applied)).or_insert(hash), hash, "state at frame {applied}");
        }
        invariants::shard(&member.shard).expect("invariants hold");
        for partition in member.shard.state.partitions.iter().filter(|found| found.hosted.compaction.is_none()) {
            invariants::dense(partition).expect("no gaps");
        }
        while let Some(effect) = member.shard.poll_effect() {
            match effect {
                Effect::Reply { holder, ticket, reply } => self.out.push(Out::Reply(holder, ticket, reply)),
                Effect::Wake { holder, watch } => self.out.push(Out::Wake(holder, watch)),
                Effect::Catalog(catalog) => self.catalog = catalog,
                Effect::Wal(WalOp::Append { lsn, body }) => {
                    assert_eq!(lsn, Lsn(member.wal.next.0 + member.wal.staged.len() as u64), "frames are dense");
                    member.wal.staged.push_back((lsn, body));
                }
                Effect::Wal(WalOp::Trim { below }) => {
                    assert!(below <= member.wal.next, "what is trimmed is durable");
                    while member.wal.durable.front().is_some_and(|(lsn, _)| *lsn < below) {
                        member.wal.durable.pop_front();
                    }
                    member.wal.trim(shard_id, below, &mut member.blobs);
                }
                Effect::Wal(WalOp::Lend { below }) => member.wal.lends.push_back(below),
                Effect::Wal(WalOp::GiveBack { slot }) => {
                    assert!(member.wal.lent.remove(&slot), "slot {slot} is given back twice");
                    member.wal.recycle(shard_id, slot, &mut member.blobs);
                }
                Effect::Wal(WalOp::Settle) => member.wal.settles += 1,
                Effect::Blob(tag, op) => member.blobs.submit(tag, op),
                Effect::Blocks(tag, read) => member.blobs.submit(tag, read.op()),
                Effect::Work(work) => member.work.push_back(work),
                Effect::Send { shard, message } => self.messages.push_back((shard_id, shard, message)),
                Effect::Fatal(_) => self.out.push(Out::Fatal),
            }
        }
    }

    pub fn submit(&mut self, shard: ShardId, holder: u64, ticket: u64, command: Command) {
        let index = shard.0 as usize;
        self.members[index].shard.submit(self.now, &ctx(holder), Ticket(ticket), command);
        self.drain(index);
    }

    /// Makes up to `count` staged frames of every shard durable, and tells the shard.
    pub fn sync(&mut self, count: usize) -> bool {
        let mut any = false;
        for index in 0..self.members.len() {
            let Member { shard, wal, .. } = &mut self.members[index];
            if let Some(below) = wal.lends.pop_front() {
                let slots = wal.lend(below);
                shard.handle_wal(self.now, WalDone::Lent { slots });
                self.drain(index);
                any = true;
            }
            let Member { wal, blobs, config, .. } = &mut self.members[index];
            let count = count.min(wal.staged.len());
            if count == 0 {
                continue;
            }
            any = true;
            let frames: Vec<(Lsn, Bytes)> = wal.staged.drain(..count).collect();
            wal.write(config.shard, &frames, blobs);
            wal.durable.extend(frames);
            wal.next = Lsn(wal.next.0 + count as u64);
            let through = Lsn(wal.next.0 - 1);
            self.members[index].shard.handle_wal(self.now, WalDone::Durable { through });
            self.drain(index);
        }
        any
    }

    /// Every log says whether it has room.
    pub fn tell_room(&mut self, is_there: bool) {
        for index in 0..self.members.len() {
            self.members[index].shard.handle_wal(self.now, WalDone::Room { is_there });
            self.drain(index);
        }
    }

    pub fn fail_wal(&mut self, index: usize) {
        let error = MediaError::Io { name: "wal".into(), why: "a failed sync".into() };
        self.members[index].shard.handle_wal(self.now, WalDone::Failed(error));
        self.drain(index);
    }

    /// Completes one computation or blob operation of every shard.
    pub fn complete(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.members.len() {
            if let Some(work) = self.members[index].work.pop_front() {
                let done = work.run();
                self.members[index].shard.handle_work(self.now, done);
                self.drain(index);
                any = true;
            }
            if !self.hold_blobs
                && let Some((tag, done)) = self.members[index].blobs.poll_done()
            {
                self.members[index].shard.handle_blob(self.now, tag, done);
                self.drain(index);
                any = true;
            }
        }
        any
    }

    pub fn checkpoint(&mut self) {
        for index in 0..self.members.len() {
            self.members[index].shard.request_checkpoint(self.now);
            self.drain(index);
        }
    }

    pub fn deliver(&mut self) -> bool {
        let Some((from, to, message)) = self.messages.pop_front() else { return false };
        let index = to.0 as usize;
        self.members[index].shard.handle_message(self.now, from, message);
        self.drain(index);
        true
    }

    fn timers(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.members.len() {
            if self.members[index].shard.poll_timeout().is_some_and(|at_us| at_us <= self.now.mono_us) {
                self.members[index].shard.handle_timeout(self.now);
                self.drain(index);
                any = true;
            }
        }
        any
    }

    /// Lets everything that is not held come to rest.
    pub fn pump(&mut self) {
        loop {
            let mut any = self.timers();
            any |= !self.hold_wal && self.sync(usize::MAX);
            any |= self.complete();
            any |= !self.hold_messages && self.deliver();
            if !any {
                return;
            }
        }
    }

    /// Lets time pass, timer by timer.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now.mono_us + ms * 1000;
        loop {
            self.pump();
            let next = self.members.iter().filter_map(|member| member.shard.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.set_now(next.max(self.now.mono_us));
        }
        self.set_now(end);
        self.pump();
    }

    fn set_now(&mut self, mono_us: u64) {
        self.now.wall_ms += mono_us / 1000 - self.now.mono_us / 1000;
        self.now.mono_us = mono_us;
    }

    /// The process ends and starts again. Of the frames that were not durable the first `kept` survive.
    pub fn crash(&mut self, kept: usize) {
        self.crash_without_hello(kept).expect("what survived opens");
        self.hello();
    }

    pub fn crash_without_hello(&mut self, kept: usize) -> Result<(), OpenError> {
        self.messages.clear();
        let mut lost = BTreeSet::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            let wal = &mut member.wal;
            let count = kept.min(wal.staged.len());
            wal.durable.extend(wal.staged.drain(..count));
            wal.next = Lsn(wal.next.0 + count as u64);
            wal.staged.clear();
            wal.lends.clear();
            wal.slots.clear();
            wal.epoch += 1;
            lost.insert((ShardId(index as u32), wal.next));
            member.blobs.waiting.clear();
            member.blobs.begun.clear();
            member.blobs.reserve_in_use = false;
            member.work.clear();
            member.shard = open(&member.config, &mut member.wal, &mut member.blobs, self.now)?;
        }
        for (shard, next) in lost {
            // Frames that are lost are written anew, with other contents.
            self.hashes.retain(|(of, lsn), _| *of != shard || *lsn < next);
        }
        Ok(())
    }

    /// The hash of a shard opened beside the living one, from its media and all frames it has given to the log.
    pub fn replayed_hash(&self, index: usize) -> u64 {
        let member = &self.members[index];
        let mut wal = member.wal.clone();
        let staged = wal.staged.len() as u64;
        wal.durable.extend(wal.staged.drain(..));
        wal.next = Lsn(wal.next.0 + staged);
        wal.epoch += 1;
        let mut blobs = TestBlobs { files: member.blobs.files.clone(), ..TestBlobs::default() };
        let shard = open(&member.config, &mut wal, &mut blobs, self.now).expect("the same frames open");
        invariants::shard(&shard).expect("invariants hold after replay");
        shard.state_hash()
    }

    /// Completes so many operations, or fewer if there are no more.
    pub fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.sync(usize::MAX);
            self.complete();
        }
    }

    /// The offsets of what can be read of a partition.
    pub fn offsets(&mut self, partition: u64, from: u64) -> Vec<u64> {
        let mut found = Vec::new();
        loop {
            self.out.clear();
            let from = Offset(found.last().map_or(from, |last| last + 1));
            let (bytes_max, isolation) = (1 << 20, Isolation::High);
            let read =
                Read { partition: PartitionId(partition), from, bytes_max, isolation, leader_epoch: None, watch: None };
            self.submit(ShardId(0), 1, 4, Command::Read(read));
            self.pump();
            let Some(Out::Reply(_, _, Reply::Read(Ok(reply)))) = self.out.first() else { panic!("{:?}", self.out) };
            if reply.pieces.is_empty() {
                return found;
            }
            let headers = reply.pieces.iter().flat_map(|piece| Walk::of(piece)).map(|batch| batch.unwrap().1);
            found.extend(headers.filter(|header| header.base_offset >= from).map(|header| header.base_offset.0));
        }
    }
}
