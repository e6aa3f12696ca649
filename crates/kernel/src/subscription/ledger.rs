// SPDX-License-Identifier: Apache-2.0
//! The ledger of a queue: which state each record is in, who is given which, what becomes of it.
//!
//! Owns: deliveries, acknowledgements, failures, the limits of a queue. Must not know: what a record says, where it rests, when an
//! outcome is durable, any clock (`now` is an argument), what a protocol calls any of it.
//!
//! ```text
//! apply(Appended) -> READY --step, take--> LEASED --ack--> SETTLED     reject, limits, expiry: the same, or by way of
//!                     ^ ^                   |  |                       LEAVING, while the shard makes a dead letter
//!                     | +--- release, gone -+  +-- half --> HALF --finish--> SETTLED
//!                     +-- due -- WAITING <--release(after)
//! ```
//! Whatever survives is changed by [`Ledger::apply`] alone: verbs decide outcomes, apply each at once, and give them out. The shard
//! puts those of one verb into one frame; replay applies the same in the same order. A verb that gives out none has changed nothing that
//! survives. Leases, consumers and turns do not survive: what was leased is ready again, at its place.
//!
//! After any verb the shard calls [`Ledger::step`] until it has nothing more to give. A grant is decided before its record is durable; the
//! shard delivers it afterwards, when the record is, and the last `Granted` outcome.
//!
//! READY is in the order of (priority, key): a release goes back to its place by keeping its key. Limits and expiry act at the head, after
//! consumers had their chance.
//!
//! Bounds: leases (`LEASES_MAX`: then nothing is given out until one ends), what is settled above a floor that is stuck
//! (`SETTLED_BYTES_MAX` a lane: then only what came back is given out), failures counted (`FAILED_MAX`: then not counted), records that wait
//! (`WAITING_MAX`: then ready at once), leaving for a limit's sake (`LEAVING_MAX`: then the head stays where it is until one has left).

use crate::subscription::consumers::{Attach, AttachError, ConsumerId, Consumers};
use crate::subscription::lane::{By, Lane, Lease};
use crate::subscription::outcome::{Outcome, Why, push_settled};
use model::{HolderId, Now};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// See the module.
pub const LEASES_MAX: usize = 1_000_000;
pub const SETTLED_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const FAILED_MAX: usize = 1_000_000;
pub const WAITING_MAX: usize = 1_000_000;
pub const LEAVING_MAX: usize = 1_000;
/// The watermark is logged so far ahead, when half of that is left.
const GRANTED_AHEAD: u64 = 4_096;

/// What is done with a record that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The head goes.
    #[default]
    DropHead,
    /// The publish is refused ([`Ledger::refuses`]).
    Reject,
}

/// How a queue treats its records. Shared by all that are alike; may change while records are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Records expire so long after they came.
    pub ttl_ms: Option<u64>,
    /// Ready records, and bytes of them.
    pub records_max: Option<u64>,
    pub bytes_max: Option<u64>,
    pub overflow: Overflow,
    /// Failures are counted; with one more than this a record is done with.
    pub counts_failures: bool,
    pub failures_max: Option<u32>,
    /// A holder that goes has failed with what it held.
    pub gone_counts: bool,
    /// What is rejected, expired, dropped or failed goes somewhere else first.
    pub has_dead_letters: bool,
    pub single_active: bool,
    /// Of single active consumers one of a higher priority takes over.
    pub takes_over: bool,
    /// A consumer holds a record no longer than this. Counts for what is given out while it is so.
    pub lease_ms_max: Option<u64>,
}

/// What must be known of a record to decide about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub bytes: u32,
    /// Wall clock, milliseconds.
    pub came_ms: u64,
    /// Its own, beside what the queue's settings say.
    pub expires_ms: Option<u64>,
}

/// An answer of [`Records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Known(Meta),
    /// It rests on a medium: [`Ledger::wanted`] says so, and all waits for it.
    Away,
    /// There is no such record.
    Absent,
}

/// The records that keys stand for.
pub trait Records {
    fn look(&self, lane: u8, key: u64) -> Look;
}

/// A lease, for who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    pub lane: u8,
    pub key: u64,
    pub number: u64,
}

/// A record for a consumer, or for who took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// None: it was taken.
    pub consumer: Option<ConsumerId>,
    pub holder: HolderId,
    pub handle: Handle,
    pub bytes: u32,
    /// Settled already: no answer is expected.
    pub no_ack: bool,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// How often it has failed, where that is counted.
    pub failures: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Deliver(Grant),
    /// A dead letter is to be made of it, and then [`Ledger::left`] called for the same frame.
    Leave {
        handle: Handle,
        why: Why,
    },
    /// This holder has held a record for longer than it may. Told once a record.
    Late {
        holder: HolderId,
        consumer: Option<ConsumerId>,
        handle: Handle,
    },
}

/// What came of a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Grant(Grant),
    Empty,
    /// Not known before the record is read; to be asked again then.
    Away,
    /// First these have to be done.
    First(Step),
}

/// Why a lease cannot be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleError {
    /// It is settled, or never was.
    Unknown,
    /// It has been granted again.
    NotHolder,
    /// It was released, and nobody has it.
    Expired,
}

/// How a lease ends, when its record is not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Release {
    pub counts: bool,
    /// Not again before then (wall-clock milliseconds).
    pub due_ms: Option<u64>,
}

/// How many records are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub ready: u64,
    pub ready_bytes: u64,
    pub leased: u64,
    /// Waiting, moving, half.
    pub held: u64,
    pub bytes: u64,
}

/// What a busy ledger has beside its lanes.
#[derive(Debug, Default)]
struct Busy {
    consumers: Consumers,
    /// Leases by holder: how many.
    holders: BTreeMap<HolderId, u32>,
    /// In the order of grants: when, and which. Some have ended since.
    by_age: VecDeque<(u64, Handle)>,
    leaving: VecDeque<(Handle, Why)>,
    /// Given out by `step` and not yet `left`, and in `leaving`.
    leaving_count: usize,
    leases: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    settings: Arc<Settings>,
    /// By priority, the highest first; the first that was used stands alone in most queues.
    pub(super) lanes: Vec<(u8, Lane)>,
    busy: Option<Box<Busy>>,
    number_next: u64,
    wanted: Option<(u8, u64)>,
    /// When the head expires, as far as is known (wall-clock milliseconds).
    head_expires_ms: Option<u64>,
}

impl Ledger {
    pub fn new(settings: Arc<Settings>) -> Ledger {
        Ledger { settings, lanes: Vec::new(), busy: None, number_next: 0, wanted: None, head_expires_ms: None }
    }

    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Other settings count from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    pub fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for (_, lane) in &self.lanes {
            depth.ready += lane.ready();
            depth.ready_bytes += lane.ready_bytes();
            depth.leased += lane.leased();
            depth.held += lane.unsettled() - lane.ready() - lane.leased();
            depth.bytes += lane.bytes;
        }
        depth
    }

    /// Keys below are settled: what they stood for may be freed.
    pub fn floor(&self, lane: u8) -> u64 {
        self.lane(lane).map_or(0, |lane| lane.floor)
    }

    /// Is this key settled? A piece of which every record is may be left out of what is written.
    pub fn is_settled(&self, lane: u8, key: u64) -> bool {
        self.lane(lane)
            .is_some_and(|lane| key < lane.floor || lane.busy.as_ref().is_some_and(|busy| busy.settled.contains(key)))
    }

    /// The record that everything waits for.
    pub fn wanted(&self) -> Option<(u8, u64)> {
        self.wanted
    }

    pub fn consumer_count(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.consumers.len())
    }

    /// The single active consumer.
    pub fn active(&self) -> Option<ConsumerId> {
        self.busy.as_ref()?.consumers.active()
    }

    pub(super) fn lane(&self, priority: u8) -> Option<&Lane> {
        self.lanes.iter().find(|(known, _)| *known == priority).map(|(_, lane)| lane)
    }

    fn lane_mut(&mut self, priority: u8) -> &mut Lane {
        let at = self.lanes.partition_point(|(known, _)| *known > priority);
        if self.lanes.get(at).is_none_or(|(known, _)| *known != priority) {
            if self.lanes.is_empty() {
                self.lanes.reserve_exact(1);
            }
            self.lanes.insert(at, (priority, Lane::default()));
        }
        &mut self.lanes[at].1
    }

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Lets go of what an idle ledger does not need.
    fn relax(&mut self) {
        let is_idle = |busy: &Busy| busy.consumers.is_empty() && busy.leases == 0 && busy.leaving.is_empty();
        if self.busy.as_deref().is_none_or(is_idle) {
            self.busy = None;
            self.lanes.iter_mut().for_each(|(_, lane)| lane.relax());
        }
    }

    // What survives.

    /// Folds an outcome. Total.
    pub fn apply(&mut self, outcome: &Outcome) {
        let mut ended: Vec<Lease> = Vec::new();
        let mut take = |lease: &Lease| ended.push(*lease);
        match outcome {
            Outcome::Appended { lane, first, count, bytes } => self.lane_mut(*lane).append(*first, *count, *bytes),
            Outcome::Settled { lane, ranges, bytes, .. } => {
                let lane = self.lane_mut(*lane);
                lane.bytes = lane.bytes.saturating_sub(*bytes);
                ranges.iter().for_each(|(first, end)| lane.settle(*first, *end, &mut take));
            }
            Outcome::Failed { lane, key } => self.lane_mut(*lane).count_failure(*key),
            Outcome::Later { lane, key, bytes, due_ms } => self.lane_mut(*lane).later(*key, *bytes, *due_ms, &mut take),
            Outcome::Granted { lane, below } => {
                let lane = self.lane_mut(*lane);
                lane.granted = lane.granted.max(*below);
            }
            Outcome::Moving { lane, key, bytes } => self.lane_mut(*lane).moves(*key, *bytes, &mut take),
            Outcome::Half { lane, key, bytes, tag } => self.lane_mut(*lane).is_half(*key, *bytes, *tag, &mut take),
        }
        ended.iter().for_each(|lease| self.ended(lease));
    }

    /// Decides: folds it and gives it out.
    fn decide(&mut self, outcome: Outcome, out: &mut Vec<Outcome>) {
        self.apply(&outcome);
        out.push(outcome);
    }

    fn settle(&mut self, lane: u8, key: u64, bytes: u32, why: Why, out: &mut Vec<Outcome>) {
        let bytes = u64::from(bytes);
        self.apply(&Outcome::Settled { lane, why, ranges: vec![(key, key + 1)], bytes });
        push_settled(out, lane, why, key, bytes);
    }

    /// Everything that survives has been folded; from now on records may be given out. What may have been delivered in an earlier life is
    /// given out as redelivered.
    pub fn recovered(&mut self) {
        self.lanes.iter_mut().for_each(|(_, lane)| lane.granted_before = lane.granted);
        self.relax();
    }

    // Consumers.

    pub fn attach(&mut self, attach: Attach) -> Result<(), AttachError> {
        let is_single = self.settings.single_active;
        let attached = self.busy().consumers.attach(attach, is_single);
        self.relax();
        attached
    }

    /// It is given nothing more. What it holds stays leased to its holder.
    pub fn detach(&mut self, consumer: ConsumerId) -> bool {
        let detached = self.busy.as_mut().is_some_and(|busy| busy.consumers.detach(consumer));
        self.relax();
        detached
    }

    /// How many leases a consumer may hold, and of how many bytes.
    pub fn set_credit(&mut self, consumer: ConsumerId, records_max: Option<u32>, bytes_max: Option<u64>) {
        if let Some(busy) = &mut self.busy {
            busy.consumers.set_credit(consumer, records_max, bytes_max);
        }
    }

    /// There is room to send it more.
    pub fn add_room(&mut self, consumer: ConsumerId, bytes: u64) {
        if let Some(busy) = &mut self.busy {
            busy.consumers.add_room(consumer, bytes);
        }
    }

    /// It is given nothing while it is paused: for credit that it shares with consumers of other ledgers.
    pub fn set_paused(&mut self, consumer: ConsumerId, paused: bool) {
        if let Some(busy) = &mut self.busy {
            busy.consumers.set_paused(consumer, paused);
        }
    }

    /// A holder is gone: its consumers with it, and what it held is ready again, at its place.
    pub fn gone(&mut self, holder: HolderId, out: &mut Vec<Outcome>) {
        let Some(busy) = &mut self.busy else { return };
        for consumer in busy.consumers.of(holder) {
            busy.consumers.detach(consumer);
        }
        if busy.holders.contains_key(&holder) {
            let release = Release { counts: self.settings.gone_counts, due_ms: None };
            for handle in self.held_by(holder) {
                self.release_lease(handle, release, out);
            }
        }
        self.relax();
    }

    fn held_by(&self, holder: HolderId) -> Vec<Handle> {
        let mut held = Vec::new();
        for (priority, lane) in &self.lanes {
            let leases = lane.busy.iter().flat_map(|busy| &busy.leases);
            let own = leases.filter(|(_, lease)| lease.holder() == Some(holder));
            held.extend(own.map(|(key, lease)| Handle { lane: *priority, key: *key, number: lease.number }));
        }
        held
    }

    // Deliveries.

    /// May a record of so many bytes be appended? Asked before it is, where the queue refuses what does not fit. One that a consumer would be
    /// given at once always may.
    pub fn refuses(&mut self, bytes: u64) -> bool {
        if self.settings.overflow != Overflow::Reject {
            return false;
        }
        let depth = self.depth();
        if !self.is_over(depth.ready + 1, depth.ready_bytes + bytes) {
            return false;
        }
        depth.ready > 0 || self.turn().is_none()
    }

    fn is_over(&self, ready: u64, ready_bytes: u64) -> bool {
        self.settings.records_max.is_some_and(|max| ready > max)
            || self.settings.bytes_max.is_some_and(|max| ready_bytes > max)
    }

    fn turn(&mut self) -> Option<ConsumerId> {
        let Settings { single_active, takes_over, .. } = *self.settings;
        let busy = self.busy.as_mut().filter(|busy| busy.leases < LEASES_MAX)?;
        busy.consumers.turn(single_active, takes_over)
    }

    /// The next thing to be done, if there is one: a delivery, a dead letter, somebody who is late.
    pub fn step(&mut self, now: Now, records: &dyn Records, out: &mut Vec<Outcome>) -> Option<Step> {
        if let Some(step) = self.first_step(now) {
            return Some(step);
        }
        (self.wanted, self.head_expires_ms) = (None, None);
        while let Some((lane, key, meta)) = self.head(records, out) {
            let expires_ms = self.expires_ms(&meta);
            let is_due = expires_ms.is_some_and(|expires_ms| expires_ms <= now.wall_ms);
            let is_past = expires_ms.is_some_and(|expires_ms| expires_ms < now.wall_ms);
            if !is_past
                && self.may_give(lane, key)
                && let Some(consumer) = self.turn()
            {
                return self.give(now, lane, key, meta.bytes, Some(consumer), out).map(Step::Deliver);
            }
            let depth = self.depth();
            let why = if is_due {
                Why::Expired
            } else if self.settings.overflow == Overflow::DropHead && self.is_over(depth.ready, depth.ready_bytes) {
                Why::Dropped
            } else {
                self.head_expires_ms = expires_ms;
                return None;
            };
            if !self.put_away(lane, key, meta.bytes, why, out) {
                return None;
            }
            if let Some(step) = self.first_step(now) {
                return Some(step);
            }
        }
        None
    }

    /// What does not depend on the head.
    fn first_step(&mut self, now: Now) -> Option<Step> {
        self.lanes.iter_mut().for_each(|(_, lane)| lane.come_due(now.wall_ms));
        let lease_us_max = self.settings.lease_ms_max.map(|ms| ms.saturating_mul(1_000));
        let busy = self.busy.as_mut()?;
        if let Some((handle, why)) = busy.leaving.pop_front() {
            return Some(Step::Leave { handle, why });
        }
        let Some(lease_us_max) = lease_us_max else {
            busy.by_age.clear();
            return None;
        };
        while let Some((since_us, handle)) = self.busy.as_ref()?.by_age.front().copied() {
            let by = self.lease(handle).ok().map(|lease| lease.by);
            if by.is_some() && now.mono_us < since_us.saturating_add(lease_us_max) {
                return None;
            }
            self.busy().by_age.pop_front();
            match by {
                Some(By::Consumer(consumer, holder)) => {
                    return Some(Step::Late { holder, consumer: Some(consumer), handle });
                }
                Some(By::Taken(holder)) => return Some(Step::Late { holder, consumer: None, handle }),
                Some(By::Leaving(_)) | None => {}
            }
        }
        None
    }

    /// The head, and what is known of it. Keys without a record are passed over.
    fn head(&mut self, records: &dyn Records, out: &mut Vec<Outcome>) -> Option<(u8, u64, Meta)> {
        loop {
            let (priority, key) = self.lanes.iter().find_map(|(priority, lane)| Some((*priority, lane.head()?)))?;
            match records.look(priority, key) {
                Look::Known(meta) => return Some((priority, key, meta)),
                Look::Away => {
                    self.wanted = Some((priority, key));
                    return None;
                }
                Look::Absent => {
                    self.lane_mut(priority).take(key);
                    self.settle(priority, key, 0, Why::Filtered, out);
                }
            }
        }
    }

    fn expires_ms(&self, meta: &Meta) -> Option<u64> {
        let by_queue = self.settings.ttl_ms.map(|ttl_ms| meta.came_ms.saturating_add(ttl_ms));
        match (by_queue, meta.expires_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Is there room to remember that it was given out, and settled before others?
    fn may_give(&self, lane: u8, key: u64) -> bool {
        let Some(lane) = self.lane(lane) else { return false };
        let Some(busy) = &lane.busy else { return true };
        key < lane.frontier
            || busy.settled.bytes_at_most() < SETTLED_BYTES_MAX
            || busy.settled.bytes() < SETTLED_BYTES_MAX
    }

    /// Leases a ready record.
    fn give(
        &mut self,
        now: Now,
        priority: u8,
        key: u64,
        bytes: u32,
        consumer: Option<ConsumerId>,
        out: &mut Vec<Outcome>,
    ) -> Option<Grant> {
        let attach = self.busy.as_ref()?.consumers.get(consumer?)?.attach;
        let by = By::Consumer(attach.consumer, attach.holder);
        let grant = self.lease_out(priority, key, bytes, attach.holder, out);
        self.busy().consumers.given(attach.consumer, bytes);
        let grant = Grant { consumer, no_ack: attach.no_ack, ..grant };
        if attach.no_ack {
            self.settle(priority, key, bytes, Why::Acked, out);
        } else {
            self.hold(now, grant, by);
        }
        Some(grant)
    }

    /// A ready record becomes somebody's: what is told to them.
    fn lease_out(&mut self, priority: u8, key: u64, bytes: u32, holder: HolderId, out: &mut Vec<Outcome>) -> Grant {
        let lane = self.lane_mut(priority);
        let redelivered = key < lane.frontier || key < lane.granted_before;
        let failures = lane.busy.as_ref().and_then(|busy| busy.failed.get(&key)).copied().unwrap_or(0);
        if key.saturating_add(GRANTED_AHEAD / 2) >= lane.granted {
            self.decide(Outcome::Granted { lane: priority, below: key.saturating_add(GRANTED_AHEAD) }, out);
        }
        self.lane_mut(priority).take(key);
        self.number_next += 1;
        let handle = Handle { lane: priority, key, number: self.number_next };
        Grant { consumer: None, holder, handle, bytes, no_ack: false, redelivered, failures }
    }

    fn hold(&mut self, now: Now, grant: Grant, by: By) {
        let Handle { lane, key, number } = grant.handle;
        let held = self.lane_mut(lane).busy();
        held.leases.insert(key, Lease { by, number, bytes: grant.bytes });
        held.held_bytes += u64::from(grant.bytes);
        let ages = self.settings.lease_ms_max.is_some();
        let busy = self.busy();
        busy.leases += 1;
        if !matches!(by, By::Leaving(_)) {
            *busy.holders.entry(grant.holder).or_insert(0) += 1;
            if ages {
                busy.by_age.push_back((now.mono_us, grant.handle));
            }
        }
        if busy.by_age.len() > busy.leases * 2 + 64 {
            let mut by_age = std::mem::take(&mut busy.by_age);
            by_age.retain(|(_, handle)| self.lease(*handle).is_ok());
            self.busy().by_age = by_age;
        }
    }

    /// A lease has ended, whatever became of its record.
    fn ended(&mut self, lease: &Lease) {
        let Some(busy) = &mut self.busy else { return };
        busy.leases -= 1;
        if let By::Consumer(consumer, _) = lease.by {
            busy.consumers.ended(consumer, lease.bytes);
        }
        match lease.holder() {
            None => busy.leaving_count -= 1,
            Some(holder) => match busy.holders.get_mut(&holder) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(busy.holders.remove(&holder)),
            },
        }
    }

    /// Somebody takes the head by themselves, past all consumers.
    pub fn take(
        &mut self,
        now: Now,
        holder: HolderId,
        no_ack: bool,
        records: &dyn Records,
        out: &mut Vec<Outcome>,
    ) -> Taken {
        if let Some(step) = self.first_step(now) {
            return Taken::First(step);
        }
        self.wanted = None;
        while let Some((priority, key, meta)) = self.head(records, out) {
            if self.expires_ms(&meta).is_some_and(|expires_ms| expires_ms <= now.wall_ms) {
                if !self.put_away(priority, key, meta.bytes, Why::Expired, out) {
                    return Taken::Empty;
                }
                match self.first_step(now) {
                    Some(step) => return Taken::First(step),
                    None => continue,
                }
            }
            let is_full = self.busy.as_ref().is_some_and(|busy| busy.leases >= LEASES_MAX);
            if is_full || !self.may_give(priority, key) {
                return Taken::Empty;
            }
            let by = By::Taken(holder);
            let grant = self.lease_out(priority, key, meta.bytes, holder, out);
            let grant = Grant { no_ack, ..grant };
            match no_ack {
                true => self.settle(priority, key, meta.bytes, Why::Acked, out),
                false => self.hold(now, grant, by),
            }
            return Taken::Grant(grant);
        }
        if self.wanted.is_some() { Taken::Away } else { Taken::Empty }
    }

    // What becomes of a record.

    fn lease(&self, handle: Handle) -> Result<Lease, SettleError> {
        let lane = self.lane(handle.lane).filter(|lane| handle.key < lane.end).ok_or(SettleError::Unknown)?;
        let busy = lane.busy.as_ref();
        match busy.and_then(|busy| busy.leases.get(&handle.key)) {
            Some(lease) if lease.number == handle.number => Ok(*lease),
            Some(_) => Err(SettleError::NotHolder),
            None if handle.key < lane.floor => Err(SettleError::Unknown),
            None if busy.is_some_and(|busy| busy.settled.contains(handle.key)) => Err(SettleError::Unknown),
            None => Err(SettleError::Expired),
        }
    }

    /// Of a holder's, not one that is leaving.
    fn held(&self, handle: Handle) -> Result<Lease, SettleError> {
        let lease = self.lease(handle)?;
        if lease.holder().is_none() { Err(SettleError::NotHolder) } else { Ok(lease) }
    }

    /// Done with.
    pub fn ack(&mut self, handle: Handle, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        let lease = self.held(handle)?;
        self.settle(handle.lane, handle.key, lease.bytes, Why::Acked, out);
        self.relax();
        Ok(())
    }

    /// Back to its place.
    pub fn release(&mut self, handle: Handle, release: Release, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        self.held(handle)?;
        self.release_lease(handle, release, out);
        self.relax();
        Ok(())
    }

    fn release_lease(&mut self, handle: Handle, release: Release, out: &mut Vec<Outcome>) {
        let Handle { lane, key, .. } = handle;
        let Ok(lease) = self.lease(handle) else { return };
        if release.counts && self.settings.counts_failures {
            let failed = |lane: &Lane| lane.busy.as_ref().map_or(0, |busy| busy.failed.len());
            let is_known = |lane: &Lane| lane.busy.as_ref().is_some_and(|busy| busy.failed.contains_key(&key));
            if self.lane(lane).is_some_and(is_known)
                || self.lanes.iter().map(|(_, lane)| failed(lane)).sum::<usize>() < FAILED_MAX
            {
                self.decide(Outcome::Failed { lane, key }, out);
            }
            let busy = self.lane(lane).and_then(|lane| lane.busy.as_ref());
            let failures = busy.and_then(|busy| busy.failed.get(&key)).copied().unwrap_or(0);
            if self.settings.failures_max.is_some_and(|max| failures > max) {
                return self.put_away_lease(handle, Why::Failed, out);
            }
        }
        let waiting: usize =
            self.lanes.iter().filter_map(|(_, lane)| lane.busy.as_ref()).map(|busy| busy.due.len()).sum();
        match release.due_ms.filter(|_| waiting < WAITING_MAX) {
            Some(due_ms) => self.decide(Outcome::Later { lane, key, bytes: lease.bytes, due_ms }, out),
            None => {
                let lane = self.lane_mut(lane);
                let held = lane.busy();
                held.leases.remove(&key);
                held.held_bytes -= u64::from(lease.bytes);
                lane.give_back(key);
                self.ended(&lease);
            }
        }
    }

    /// Not wanted by who holds it: settled, or a dead letter is to be made of it.
    pub fn reject(&mut self, handle: Handle, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        self.held(handle)?;
        self.put_away_lease(handle, Why::Rejected, out);
        self.relax();
        Ok(())
    }

    fn put_away_lease(&mut self, handle: Handle, why: Why, out: &mut Vec<Outcome>) {
        let Ok(lease) = self.lease(handle) else { return };
        if !self.settings.has_dead_letters {
            return self.settle(handle.lane, handle.key, lease.bytes, why, out);
        }
        self.ended(&lease);
        let held = self.lane_mut(handle.lane).busy();
        held.leases.remove(&handle.key);
        held.held_bytes -= u64::from(lease.bytes);
        self.leave(handle.lane, handle.key, lease.bytes, why);
    }

    /// A ready record is put away. False: not now, too many are leaving.
    fn put_away(&mut self, lane: u8, key: u64, bytes: u32, why: Why, out: &mut Vec<Outcome>) -> bool {
        if self.settings.has_dead_letters {
            if self.busy.as_ref().is_some_and(|busy| busy.leaving_count >= LEAVING_MAX) {
                return false;
            }
            self.lane_mut(lane).take(key);
            self.leave(lane, key, bytes, why);
        } else {
            self.lane_mut(lane).take(key);
            self.settle(lane, key, bytes, why, out);
        }
        true
    }

    /// The ledger itself holds the record while its dead letter is made.
    fn leave(&mut self, lane: u8, key: u64, bytes: u32, why: Why) {
        self.number_next += 1;
        let handle = Handle { lane, key, number: self.number_next };
        let by = By::Leaving(why);
        let grant = Grant {
            consumer: None,
            holder: HolderId(0),
            handle,
            bytes,
            no_ack: false,
            redelivered: false,
            failures: 0,
        };
        self.hold(Now::default(), grant, by);
        let busy = self.busy();
        busy.leaving_count += 1;
        busy.leaving.push_back((handle, why));
    }

    /// The dead letter is in the same frame (or none could be made): the record is settled.
    pub fn left(&mut self, handle: Handle, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        let lease = self.lease(handle)?;
        let By::Leaving(why) = lease.by else { return Err(SettleError::NotHolder) };
        self.settle(handle.lane, handle.key, lease.bytes, why, out);
        self.relax();
        Ok(())
    }

    /// The dead letter goes to another cell: the record is settled when it is durable there ([`Ledger::finish`]).
    pub fn moves(&mut self, handle: Handle, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        let lease = self.lease(handle)?;
        self.decide(Outcome::Moving { lane: handle.lane, key: handle.key, bytes: lease.bytes }, out);
        self.relax();
        Ok(())
    }

    /// Received, and to be completed under a tag.
    pub fn half(&mut self, handle: Handle, tag: u64, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        let lease = self.held(handle)?;
        self.decide(Outcome::Half { lane: handle.lane, key: handle.key, bytes: lease.bytes, tag }, out);
        self.relax();
        Ok(())
    }

    /// What was moving has arrived, what was half is completed.
    pub fn finish(&mut self, lane: u8, key: u64, why: Why, out: &mut Vec<Outcome>) -> Result<(), SettleError> {
        let busy = self.lane(lane).and_then(|lane| lane.busy.as_ref()).ok_or(SettleError::Unknown)?;
        let half = busy.half.get(&key).map(|(_, bytes)| *bytes);
        let bytes = busy.moving.get(&key).copied().or(half).ok_or(SettleError::Unknown)?;
        self.settle(lane, key, bytes, why, out);
        Ok(())
    }

    /// Everything that is ready is settled. How many.
    pub fn purge(&mut self, now: Now, out: &mut Vec<Outcome>) -> u64 {
        let mut count = 0;
        for at in 0..self.lanes.len() {
            let (priority, lane) = &mut self.lanes[at];
            lane.come_due(now.wall_ms);
            let (ready, bytes) = (lane.ready(), lane.ready_bytes());
            if ready == 0 {
                continue;
            }
            count += ready;
            let outcome = Outcome::Settled { lane: *priority, why: Why::Purged, ranges: lane.ready_ranges(), bytes };
            lane.frontier = lane.end;
            self.decide(outcome, out);
        }
        count
    }

    /// What always holds (`lane.rs`), and that what is counted is there: called by `invariants::ledger`.
    pub(crate) fn holds(&self) -> Result<(), String> {
        let mut leases = 0;
        let mut holders: BTreeMap<HolderId, u32> = BTreeMap::new();
        let mut leaving = 0;
        for (priority, lane) in &self.lanes {
            lane.holds().map_err(|why| format!("lane {priority}: {why}"))?;
            for lease in lane.busy.iter().flat_map(|busy| busy.leases.values()) {
                leases += 1;
                match lease.holder() {
                    Some(holder) => *holders.entry(holder).or_insert(0) += 1,
                    None => leaving += 1,
                }
            }
        }
        if !self.lanes.is_sorted_by(|(one, _), (other, _)| one > other) {
            return Err("lanes do not stand by priority, each once".into());
        }
        let Some(busy) = &self.busy else {
            return if leases == 0 { Ok(()) } else { Err(format!("{leases} leases, and nobody has any")) };
        };
        if (leases, leaving) != (busy.leases, busy.leaving_count) || holders != busy.holders {
            return Err(format!("{leases} leases are there, {leaving} of them leaving; counted otherwise"));
        }
        busy.consumers.holds()
    }

    /// When [`Ledger::step`] should be called next, if nothing happens before (monotonic microseconds).
    pub fn next_due_us(&self, now: Now) -> Option<u64> {
        let waiting = self.lanes.iter().filter_map(|(_, lane)| lane.busy.as_ref()?.waiting.first());
        let wall_ms = waiting.map(|(due_ms, _)| *due_ms).chain(self.head_expires_ms).min();
        let by_wall = wall_ms.map(|due_ms| now.mono_us_after_ms(due_ms.saturating_sub(now.wall_ms)));
        let lease_ms_max = self.settings.lease_ms_max;
        let oldest = self.busy.as_ref().and_then(|busy| busy.by_age.front());
        let by_lease =
            oldest.zip(lease_ms_max).map(|((since_us, _), ms)| since_us.saturating_add(ms.saturating_mul(1_000)));
        by_wall.into_iter().chain(by_lease).min()
    }
}

impl Lease {
    fn holder(&self) -> Option<HolderId> {
        match self.by {
            By::Consumer(_, holder) | By::Taken(holder) => Some(holder),
            By::Leaving(_) => None,
        }
    }
}
