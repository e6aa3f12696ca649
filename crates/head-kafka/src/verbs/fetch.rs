// SPDX-License-Identifier: Apache-2.0
//! Fetch: reads in waves, waits for more by watches, answers with slices.
//!
//! A fetch asks the partitions whose turn it is, in waves that together stay within the bytes the answer may have; partitions
//! known to be read to their end are not asked (`fetch_session.rs`). With enough bytes (`min_bytes`), an error, or no time left
//! (`max_wait_ms`) it answers; else it waits until a watch fires, and asks that partition again.
//!
//! The first batch of an answer is whole even when it is larger than every limit, so that no consumer is stuck; a later
//! partition's first batch that would not fit is left for the next fetch. Partitions that had no room come first next time.
//!
//! Only one fetch of a connection runs at a time (`session.rs`), so it owns the fetch session while it runs.

use super::{Cx, Outcome};
use crate::errors;
pub use crate::fetch_session::FetchMemory;
use crate::fetch_session::{CaughtUp, FetchSession, Slot, Want, next_epoch};
use crate::map::{self, Found, Sight, TopicKey, Watermarks};
use crate::wire::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, ForgottenTopic, PartitionData,
};
use crate::wire::{ErrorCode, Text};
use kernel::error::ReadError;
use kernel::reply::ReadReply;
use model::PartitionId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// See the module.
pub struct Running {
    session: FetchSession,
    kind: Kind,
    sight: Sight,
    min_bytes: usize,
    bytes_max: usize,
    deadline_us: u64,
    /// Partitions still to be asked, in the order of their turn.
    turns: VecDeque<Slot>,
    reads: BTreeMap<u32, Reading>,
    next_part: u32,
    results: BTreeMap<Slot, PartResult>,
    bytes: usize,
    /// What the reads under way may bring.
    bytes_reserved: usize,
    failed: bool,
    expired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No session: every partition is answered, nothing is remembered.
    Sessionless,
    /// Every partition is answered, and a session is made of them.
    Full,
    /// Only what changed is answered.
    Incremental,
}

struct Reading {
    slot: Slot,
    partition: PartitionId,
    want: Want,
    bytes_reserved: usize,
    /// The watch fired meanwhile: the end that this read will report may not be the end any more.
    woken: bool,
}

enum PartResult {
    Found(Found),
    /// There is nothing new.
    Nothing(Watermarks),
    Failed(ErrorCode),
}

/// The session id that means none.
const NO_SESSION: i32 = 0;
/// The epoch of a request that makes a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none, or no more.
const FINAL_EPOCH: i32 = -1;

pub fn start(cx: &mut Cx<'_>, request: FetchRequest) -> Result<Running, Outcome> {
    let (session, kind) = session_for(cx, &request).map_err(|code| refuse(cx, code))?;
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(cx.settings.fetch_bytes_max as usize);
    let mut running = Running {
        session,
        kind,
        sight: Sight { committed_only: request.isolation_level == 1 },
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
        bytes_max,
        deadline_us: cx.now.mono_us_after_ms(u64::try_from(request.max_wait_ms).unwrap_or(0)),
        turns: VecDeque::new(),
        reads: BTreeMap::new(),
        next_part: 0,
        results: BTreeMap::new(),
        bytes: 0,
        bytes_reserved: 0,
        failed: false,
        expired: request.max_wait_ms <= 0,
    };
    running.turns = running.session.take_turns();
    if running.kind != Kind::Incremental && !cx.fetches.unserved.is_empty() {
        running.unserved_first(cx);
    }
    match running.advance(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

/// The list of partitions this fetch is about, and what becomes of it.
fn session_for(cx: &mut Cx<'_>, request: &FetchRequest) -> Result<(FetchSession, Kind), ErrorCode> {
    let by_id = cx.format.version >= 13;
    let held = cx.fetches.session.take();
    if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
        // A full fetch ends the session that it names; making a new one replaces any other.
        if request.session_epoch == FINAL_EPOCH {
            cx.fetches.session = held.filter(|held| held.id != request.session_id);
        }
        let mut session = FetchSession::new(by_id);
        want(&mut session, request);
        let makes_session = request.session_epoch == INITIAL_EPOCH
            && !session.is_empty()
            && session.len() <= cx.settings.fetch_session_partitions_max;
        return Ok((session, if makes_session { Kind::Full } else { Kind::Sessionless }));
    }
    let mut session = match held {
        Some(held) if held.id == request.session_id => held,
        other => {
            cx.fetches.session = other;
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
    };
    let error = if session.epoch != request.session_epoch {
        Some(ErrorCode::InvalidFetchSessionEpoch)
    } else if session.by_id != by_id {
        Some(ErrorCode::FetchSessionTopicIdError)
    } else {
        None
    };
    if let Some(error) = error {
        cx.fetches.session = Some(session);
        return Err(error);
    }
    for ForgottenTopic { topic, topic_id, partitions } in &request.forgotten_topics_data {
        let key = if by_id { TopicKey::Id(*topic_id) } else { TopicKey::Name(Arc::from(topic.as_str())) };
        for partition in partitions {
            session.forget(&key, *partition);
        }
    }
    want(&mut session, request);
    if session.is_empty() {
        // Nothing is left to remember.
        return Ok((session, Kind::Sessionless));
    }
    if session.len() > cx.settings.fetch_session_partitions_max {
        // It has outgrown what is remembered: the client starts again, and is served without a session.
        return Err(ErrorCode::FetchSessionIdNotFound);
    }
    session.epoch = next_epoch(session.epoch);
    Ok((session, Kind::Incremental))
}

fn want(session: &mut FetchSession, request: &FetchRequest) {
    for topic in &request.topics {
        let key =
            if session.by_id { TopicKey::Id(topic.topic_id) } else { TopicKey::Name(Arc::from(topic.topic.as_str())) };
        for partition in &topic.partitions {
            let want = Want {
                fetch_offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                leader_epoch: partition.current_leader_epoch,
            };
            session.want(&key, partition.partition, want);
        }
    }
}

fn refuse(cx: &Cx<'_>, code: ErrorCode) -> Outcome {
    let response =
        FetchResponse { throttle_time_ms: 0, error_code: code.number(), session_id: NO_SESSION, responses: Vec::new() };
    cx.answer(&response, code.number())
}

impl Running {
    fn unserved_first(&mut self, cx: &mut Cx<'_>) {
        let unserved = std::mem::take(&mut cx.fetches.unserved);
        let rank: BTreeMap<PartitionId, usize> =
            unserved.into_iter().enumerate().map(|(rank, partition)| (partition, rank)).collect();
        let place = |slot: &Slot| {
            let wanted = self.session.get(*slot)?;
            let topic = wanted.topic.find(cx.catalog, cx.who).ok()?;
            map::place(cx.catalog, topic, wanted.index).ok()
        };
        let rank_of =
            |slot: &Slot| place(slot).and_then(|place| rank.get(&place.partition)).copied().unwrap_or(usize::MAX);
        // The sort keeps the request's order among those that did not wait.
        self.turns.make_contiguous().sort_by_cached_key(rank_of);
    }

    /// When this fetch answers at the latest (monotonic microseconds). `None`: as soon as its reads are answered.
    pub fn deadline_us(&self) -> Option<u64> {
        (!self.expired).then_some(self.deadline_us)
    }

    /// What it holds of records.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// It answers with what it has, as soon as its reads are answered.
    pub fn answer_early(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        self.expired = true;
        self.advance(cx)
    }

    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        if cx.now.mono_us >= self.deadline_us {
            self.expired = true;
        }
        self.advance(cx)
    }

    /// A watch fired.
    pub fn wake(&mut self, cx: &mut Cx<'_>, partition: PartitionId) -> Option<Outcome> {
        let mut being_read = false;
        for reading in self.reads.values_mut().filter(|reading| reading.partition == partition) {
            reading.woken = true;
            being_read = true;
        }
        if let Some(slot) = self.session.slot_of(partition)
            && !being_read
            && !self.turns.contains(&slot)
        {
            self.turns.push_back(slot);
        }
        self.advance(cx)
    }

    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<ReadReply, ReadError>) -> Option<Outcome> {
        let reading = self.reads.remove(&part)?;
        self.bytes_reserved -= reading.bytes_reserved;
        self.take_out(reading.slot);
        let result = match result {
            Ok(reply) => self.take_in(cx, &reading, reply),
            Err(error) => {
                self.failed = true;
                let code = errors::read(&error);
                PartResult::Failed(if self.session.by_id { errors::by_id(code) } else { code })
            }
        };
        self.results.insert(reading.slot, result);
        self.advance(cx)
    }

    /// Forgets what an earlier read of the partition brought: the new one begins at the same offset.
    fn take_out(&mut self, slot: Slot) {
        if let Some(PartResult::Found(found)) = self.results.remove(&slot) {
            self.bytes -= found.bytes;
        }
    }

    fn take_in(&mut self, cx: &mut Cx<'_>, reading: &Reading, reply: ReadReply) -> PartResult {
        let from = reading.want.fetch_offset;
        let found = map::found(u64::try_from(from).unwrap_or(0), self.sight, reply);
        if reading.woken {
            // The watch fired while this was under way: whether before or after the read, nobody knows.
            if found.bytes == 0 {
                self.turns.push_back(reading.slot);
            }
        } else if let Some(at) = found.caught_up_at {
            let caught_up = CaughtUp {
                at: i64::try_from(at).unwrap_or(i64::MAX),
                sight: self.sight,
                leader_epoch: reading.want.leader_epoch,
                watermarks: found.watermarks,
            };
            cx.fetches.set_caught_up(reading.partition, caught_up, cx.settings.fetch_session_partitions_max);
        } else if found.bytes == 0 {
            // Nothing came though there is more: ask next time.
            self.session.ask_again(reading.slot);
        }
        if found.bytes == 0 {
            return PartResult::Nothing(found.watermarks);
        }
        if self.bytes > 0 && self.bytes + found.bytes > self.bytes_max {
            // Larger than the room left, and not the first: next time.
            self.session.ask_again(reading.slot);
            if self.kind == Kind::Sessionless {
                cx.fetches.unserved.push(reading.partition);
            }
            return PartResult::Nothing(found.watermarks);
        }
        self.bytes += found.bytes;
        PartResult::Found(found)
    }

    /// Asks what can be asked, and answers when there is no more to wait for.
    fn advance(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        while let Some(slot) = self.turns.front().copied() {
            if self.bytes > 0 && self.bytes >= self.bytes_max {
                break;
            }
            if !self.ask(cx, slot) {
                break;
            }
            self.turns.pop_front();
        }
        if !self.reads.is_empty() {
            return None;
        }
        let enough = self.bytes >= self.min_bytes || (self.bytes > 0 && self.bytes >= self.bytes_max);
        let done = enough || self.failed || self.expired || self.session.is_empty();
        done.then(|| self.answer(cx))
    }

    /// Asks one partition. False: not in this wave.
    fn ask(&mut self, cx: &mut Cx<'_>, slot: Slot) -> bool {
        let Some(wanted) = self.session.get(slot) else { return true };
        let want = wanted.want;
        let found = wanted.topic.find(cx.catalog, cx.who);
        let place = found.and_then(|topic| map::place(cx.catalog, topic, wanted.index));
        self.session.found_at(slot, place.as_ref().ok().map(|place| place.partition));
        let from = u64::try_from(want.fetch_offset).map_err(|_| ErrorCode::OffsetOutOfRange);
        let (place, from) = match place.and_then(|place| Ok((place, from?))) {
            Ok(both) => both,
            Err(code) => {
                self.take_out(slot);
                self.results.insert(slot, PartResult::Failed(code));
                self.failed = true;
                return true;
            }
        };
        if let Some(caught_up) = cx.fetches.caught_up(place.partition)
            && (caught_up.at, caught_up.sight, caught_up.leader_epoch)
                == (want.fetch_offset, self.sight, want.leader_epoch)
        {
            let watermarks = caught_up.watermarks;
            self.take_out(slot);
            self.results.insert(slot, PartResult::Nothing(watermarks));
            return true;
        }
        let room = self.bytes_max.saturating_sub(self.bytes + self.bytes_reserved);
        let limit = usize::try_from(want.bytes_max).unwrap_or(0).min(self.bytes_max.saturating_sub(self.bytes));
        if limit > room && !self.reads.is_empty() {
            return false;
        }
        let part = self.next_part;
        self.next_part = self.next_part.wrapping_add(1);
        let command = map::read(&place, from, limit as u32, self.sight, want.leader_epoch);
        cx.send(part, (place.shard, command));
        self.bytes_reserved += limit;
        let reading = Reading { slot, partition: place.partition, want, bytes_reserved: limit, woken: false };
        self.reads.insert(part, reading);
        true
    }

    fn answer(&mut self, cx: &mut Cx<'_>) -> Outcome {
        let mut session = std::mem::take(&mut self.session);
        let mut results = std::mem::take(&mut self.results);
        let answered: Vec<Slot> = match self.kind {
            Kind::Incremental => results.keys().copied().collect(),
            Kind::Sessionless | Kind::Full => session.slots().collect(),
        };
        let mut responses: Vec<(TopicKey, Vec<PartitionData>)> = Vec::new();
        let mut first_error = ErrorCode::None;
        for slot in answered {
            let result = results.remove(&slot);
            let Some(wanted) = session.get_mut(slot) else { continue };
            let data = match result {
                Some(PartResult::Failed(code)) => {
                    // Told again each time, until the client does something about it.
                    wanted.told = None;
                    if first_error == ErrorCode::None {
                        first_error = code;
                    }
                    PartitionData::refused(wanted.index, code)
                }
                Some(PartResult::Nothing(watermarks)) => {
                    let told = Some((watermarks.high_watermark, watermarks.log_start_offset));
                    if self.kind == Kind::Incremental && wanted.told == told {
                        continue;
                    }
                    wanted.told = told;
                    nothing(wanted.index, watermarks, self.sight)
                }
                Some(PartResult::Found(found)) => {
                    wanted.told = Some((found.watermarks.high_watermark, found.watermarks.log_start_offset));
                    let data = map::partition_data(wanted.index, found);
                    // Until the client asks from further on, it has not got this.
                    session.ask_again(slot);
                    data
                }
                None => {
                    wanted.told = None;
                    let known = wanted.partition.and_then(|partition| cx.fetches.caught_up(partition));
                    let watermarks = known.map_or(Watermarks::UNKNOWN, |caught_up| caught_up.watermarks);
                    nothing(wanted.index, watermarks, self.sight)
                }
            };
            let failed = data.error_code != 0;
            let topic = session.get(slot).map(|wanted| wanted.topic.clone());
            if failed {
                session.ask_again(slot);
            }
            let Some(topic) = topic else { continue };
            match responses.last_mut() {
                Some((last, partitions)) if *last == topic => partitions.push(data),
                _ => responses.push((topic, vec![data])),
            }
        }
        let session_id = self.keep(cx, session);
        let named = |(topic, partitions)| match topic {
            TopicKey::Name(name) => FetchableTopicResponse { topic: Text::from(&*name), topic_id: [0; 16], partitions },
            TopicKey::Id(topic_id) => FetchableTopicResponse { topic: Text::EMPTY, topic_id, partitions },
        };
        let response = FetchResponse {
            throttle_time_ms: 0,
            error_code: 0,
            session_id,
            responses: responses.into_iter().map(named).collect(),
        };
        cx.answer(&response, first_error.number())
    }

    /// What is remembered of this fetch; gives the id of the session in the answer.
    fn keep(&mut self, cx: &mut Cx<'_>, mut session: FetchSession) -> i32 {
        let turns = std::mem::take(&mut self.turns);
        match self.kind {
            Kind::Sessionless => {
                for slot in turns {
                    if let Some(wanted) = session.get(slot)
                        && let Ok(topic) = wanted.topic.find(cx.catalog, cx.who)
                        && let Ok(place) = map::place(cx.catalog, topic, wanted.index)
                        && cx.fetches.unserved.len() < cx.settings.fetch_session_partitions_max
                    {
                        cx.fetches.unserved.push(place.partition);
                    }
                }
                return NO_SESSION;
            }
            Kind::Full => {
                session.id = cx.random.positive_i32();
                session.epoch = next_epoch(INITIAL_EPOCH);
            }
            Kind::Incremental => {}
        }
        session.give_back_turns(turns);
        let id = session.id;
        cx.fetches.session = Some(session);
        id
    }
}

fn nothing(index: i32, watermarks: Watermarks, sight: Sight) -> PartitionData {
    let aborted = sight.committed_only.then(Vec::new);
    let found = Found { pieces: Vec::new(), bytes: 0, watermarks, aborted, caught_up_at: None };
    map::partition_data(index, found)
}
