// SPDX-License-Identifier: Apache-2.0
//! One connection's machine: bytes in, commands out; replies and watches in, bytes out.
//!
//! Owns: framing, the order of requests, the bounds of the connection, its time-outs.
//! Must not know: sockets, clocks, threads; what a request means (that is `verbs/`).
//!
//! Order. Responses leave in the order of their requests. A request starts when all before it are answered, with one exception:
//! Produce starts while only Produces are before it. So a producer's pipeline is as deep as it likes, its batches reach the shard
//! in the order they were sent, and whatever follows a Produce on its connection sees what it wrote; Apache Kafka, which takes
//! one request of a connection at a time, promises no less.
//!
//! Bounds: `inflight_requests_max` and `inflight_bytes_max` (requests not yet answered, as sent and as decoded, and answers not yet taken). At
//! a bound the connection is not read. One request of up to `request_bytes_max` may pass the byte bound.
//!
//! Driver: after every call of a `handle_*`, take `poll_command`, `poll_output`, `poll_served` until they give nothing, then look
//! at `poll_timeout` and `wants_input`. When `wants_input` turns true, call `handle_input` again, with or without new bytes.
//! When the connection ends, tell every shard `Command::Gone`.

use crate::Settings;
use crate::random::Random;
use crate::verbs::fetch::FetchMemory;
use crate::verbs::{self, Cx, Outcome, Request, Running};
use crate::wire::frame::{self, Frame};
use crate::wire::{ApiKey, Format, Text};
use bytes::{Bytes, BytesMut};
use kernel::{Catalog, Command, Ctx, Reply};
use model::{Now, PartitionId, ShardId, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;

/// Why the connection must be closed, for one log line. What is already in `poll_output` should still be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub reason: String,
}

/// One request that was served, for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub api_key: i16,
    pub api_version: i16,
    /// The first error number in the answer, or 0.
    pub error_code: i16,
    /// From its last byte to its answer.
    pub took_us: u64,
}

/// The protocol's name of a kind of request.
pub fn api_name(api_key: i16) -> &'static str {
    ApiKey::from_number(api_key).map_or("Unknown", ApiKey::name)
}

/// See the module.
pub struct Session {
    settings: Arc<Settings>,
    ctx: Ctx,
    client_host: Arc<str>,
    random: Random,
    fetches: FetchMemory,
    /// Requests not answered yet, in the order they came.
    queue: VecDeque<Queued>,
    /// The number of the first in `queue`; they count up and wrap.
    front: u32,
    /// How many of `queue` have been started: they are the first ones.
    started: usize,
    queue_bytes: usize,
    commands: VecDeque<(ShardId, Ticket, Command)>,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    served: VecDeque<Served>,
    arriving: Option<Arriving>,
    /// When a request last came or was answered.
    active_us: u64,
    closing: Option<Close>,
}

struct Queued {
    key: ApiKey,
    format: Format,
    correlation_id: i32,
    /// Of its frame, and of its lists once decoded.
    bytes: usize,
    arrived_us: u64,
    state: State,
}

enum State {
    /// With what the client calls itself. Both are slices of the request, which is given back once it is started.
    Waiting(Request, Text),
    Running(Running),
    /// Waits for its turn to leave.
    Answered(Vec<Bytes>),
    /// While one of the above is being taken out and put back.
    Moving,
}

/// A request that has begun to arrive, and when it is given up if nothing more of it comes.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    give_up_us: u64,
    bytes: usize,
}

impl Session {
    /// `client_host` is where the client is, as group descriptions show it: `/127.0.0.1`, as Apache Kafka writes addresses.
    /// `seed` feeds the session's random bits (topic ids, member ids, fetch session ids), so that the driver decides what is random.
    pub fn new(settings: Arc<Settings>, ctx: Ctx, client_host: Arc<str>, seed: u64, now: Now) -> Session {
        Session {
            settings,
            ctx,
            client_host,
            random: Random::new(seed),
            fetches: FetchMemory::default(),
            queue: VecDeque::new(),
            front: 0,
            started: 0,
            queue_bytes: 0,
            commands: VecDeque::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            served: VecDeque::new(),
            arriving: None,
            active_us: now.mono_us,
            closing: None,
        }
    }

    /// Who is connected.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Takes all whole requests out of `input` (as slices, not copies) and leaves the rest. Stops early when a bound is reached;
    /// call again when `wants_input` is true.
    ///
    /// # Errors
    /// [`Close`]: what came is not this protocol, or is over a bound.
    pub fn handle_input(&mut self, now: Now, catalog: &Catalog, input: &mut BytesMut) -> Result<(), Close> {
        while self.wants_input() {
            let frame = match frame::next(input, self.settings.request_bytes_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return self.close(error.to_string()),
            };
            self.arriving = None;
            self.active_us = now.mono_us;
            self.enqueue(now, frame)?;
            self.advance(now, catalog);
        }
        self.note_arrival(now, input.len());
        match &self.closing {
            Some(close) => Err(close.clone()),
            None => Ok(()),
        }
    }

    /// A shard answered a command of this session.
    pub fn handle_reply(&mut self, now: Now, catalog: &Catalog, ticket: Ticket, reply: Reply) {
        let (sequence, part) = ((ticket.0 >> 32) as u32, ticket.0 as u32);
        let at = sequence.wrapping_sub(self.front) as usize;
        self.step(now, catalog, at, |running, cx| running.reply(cx, part, reply));
        self.advance(now, catalog);
    }

    /// A watch fired.
    pub fn handle_wake(&mut self, now: Now, catalog: &Catalog, watch: u64) {
        let partition = PartitionId(watch);
        self.fetches.wake(partition);
        if let Some(at) = self.running_fetch() {
            self.step(now, catalog, at, |running, cx| match running {
                Running::Fetch(fetch) => fetch.wake(cx, partition),
                _ => None,
            });
            self.advance(now, catalog);
        }
    }

    /// `poll_timeout` came due.
    ///
    /// # Errors
    /// [`Close`]: idle too long, or a request that does not arrive.
    pub fn handle_timeout(&mut self, now: Now, catalog: &Catalog) -> Result<(), Close> {
        if let Some(close) = &self.closing {
            return Err(close.clone());
        }
        if let Some(at) = self.running_fetch() {
            self.step(now, catalog, at, |running, cx| match running {
                Running::Fetch(fetch) => fetch.handle_timeout(cx),
                _ => None,
            });
            self.advance(now, catalog);
        }
        if let Some(arriving) = self.arriving
            && now.mono_us >= arriving.give_up_us
        {
            if !self.at_bound() {
                return self.close("a request does not arrive".to_owned());
            }
            // While a bound keeps the connection from being read, the peer cannot be blamed.
            let give_up_us = give_up_us(&self.settings, now, None, arriving.bytes);
            self.arriving = Some(Arriving { give_up_us, ..arriving });
        }
        if self.is_quiet() && now.mono_us >= self.idle_deadline_us() {
            return self.close("no request for too long".to_owned());
        }
        Ok(())
    }

    /// A request is under way that is answered when others do something, perhaps much later: a member that waits for its group.
    /// When its client goes, it need not be waited for.
    pub fn waits_for_others(&self) -> bool {
        self.queue
            .iter()
            .take(self.started)
            .any(|queued| matches!(&queued.state, State::Running(running) if running.waits_for_others()))
    }

    /// Bytes of records that a fetch holds while it waits for more.
    pub fn fetched_bytes(&self) -> usize {
        match self.running_fetch().map(|at| &self.queue[at].state) {
            Some(State::Running(Running::Fetch(fetch))) => fetch.bytes(),
            _ => 0,
        }
    }

    /// A fetch that waits for more answers with what it has: the driver needs the memory.
    pub fn answer_fetch_early(&mut self, now: Now, catalog: &Catalog) {
        if let Some(at) = self.running_fetch() {
            self.step(now, catalog, at, |running, cx| match running {
                Running::Fetch(fetch) => fetch.answer_early(cx),
                _ => None,
            });
            self.advance(now, catalog);
        }
    }

    /// The next command for a shard.
    pub fn poll_command(&mut self) -> Option<(ShardId, Ticket, Command)> {
        self.commands.pop_front()
    }

    /// The next bytes to be sent, in order: many small pieces or slices of record batches, to be gathered by the driver. Take
    /// them only as the peer does: what is not taken counts as under way.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        let piece = self.output.pop_front()?;
        self.output_bytes -= piece.len();
        Some(piece)
    }

    /// The next request that was served since the last call.
    pub fn poll_served(&mut self) -> Option<Served> {
        self.served.pop_front()
    }

    /// When `handle_timeout` wants to be called (monotonic microseconds).
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.closing.is_some() {
            return Some(0);
        }
        let fetch = self.running_fetch().and_then(|at| match &self.queue[at].state {
            State::Running(Running::Fetch(fetch)) => fetch.deadline_us(),
            _ => None,
        });
        let arrival = self.arriving.map(|arriving| arriving.give_up_us);
        let idle = self.is_quiet().then(|| self.idle_deadline_us());
        [fetch, arrival, idle].into_iter().flatten().min()
    }

    /// False while a bound on what is under way is reached: the driver then reads no more from the socket.
    pub fn wants_input(&self) -> bool {
        self.closing.is_none() && !self.at_bound()
    }

    fn at_bound(&self) -> bool {
        self.queue.len() >= self.settings.inflight_requests_max.max(1)
            || self.queue_bytes + self.output_bytes >= self.settings.inflight_bytes_max.max(1)
    }

    /// It is the peer's turn: to ask, or to take its last answers.
    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.arriving.is_none()
    }

    fn idle_deadline_us(&self) -> u64 {
        self.active_us.saturating_add(self.settings.idle_ms_max.saturating_mul(1000))
    }

    fn close(&mut self, reason: String) -> Result<(), Close> {
        let close = Close { reason };
        self.closing = Some(close.clone());
        Err(close)
    }

    /// Notes how much of the next request is there.
    fn note_arrival(&mut self, now: Now, bytes: usize) {
        let before = self.arriving;
        let fresh = bytes.saturating_sub(before.map_or(0, |before| before.bytes));
        self.arriving =
            (bytes > 0).then(|| Arriving { give_up_us: give_up_us(&self.settings, now, before, fresh), bytes });
    }

    fn enqueue(&mut self, now: Now, frame: Frame) -> Result<(), Close> {
        let Frame { key, version, correlation_id, client_id, body, bytes } = frame;
        let format = Format { version, flexible: key.is_flexible(version) };
        let (request, bytes) = match Request::read(key, format, body) {
            Ok((request, decoded_bytes)) => (request, bytes + decoded_bytes),
            Err(malformed) => return self.close(format!("{key:?} version {version}: {malformed}")),
        };
        self.queue_bytes += bytes;
        self.queue.push_back(Queued {
            key,
            format,
            correlation_id,
            bytes,
            arrived_us: now.mono_us,
            state: State::Waiting(request, client_id),
        });
        Ok(())
    }

    /// Where the running fetch stands in the queue. There is at most one, and nothing is started behind it.
    fn running_fetch(&self) -> Option<usize> {
        let at = self.started.checked_sub(1)?;
        matches!(self.queue.get(at)?.state, State::Running(Running::Fetch(_))).then_some(at)
    }

    /// Lets finished requests leave and waiting ones start.
    fn advance(&mut self, now: Now, catalog: &Catalog) {
        loop {
            while let Some(State::Answered(_)) = self.queue.front().map(|queued| &queued.state) {
                if let Some(Queued { state: State::Answered(pieces), bytes, .. }) = self.queue.pop_front() {
                    self.queue_bytes -= bytes;
                    self.output_bytes += pieces.iter().map(Bytes::len).sum::<usize>();
                    self.output.extend(pieces);
                }
                self.front = self.front.wrapping_add(1);
                self.started -= 1;
                self.active_us = now.mono_us;
            }
            let at = self.started;
            let may_start =
                |before: &Queued, next: &Queued| before.key == ApiKey::Produce && next.key == ApiKey::Produce;
            let starts = match (at.checked_sub(1).and_then(|before| self.queue.get(before)), self.queue.get(at)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(before), Some(next)) => may_start(before, next),
            };
            if !starts || self.closing.is_some() {
                return;
            }
            self.started += 1;
            self.start(now, catalog, at);
        }
    }

    fn start(&mut self, now: Now, catalog: &Catalog, at: usize) {
        let State::Waiting(request, client_id) = std::mem::replace(&mut self.queue[at].state, State::Moving) else {
            return;
        };
        let mut cx = self.cx(now, catalog, at);
        match verbs::start(&mut cx, &client_id, request) {
            Ok(running) => self.queue[at].state = State::Running(running),
            Err(outcome) => self.finish(now, at, outcome),
        }
    }

    /// Lets a running request make a step.
    fn step(
        &mut self,
        now: Now,
        catalog: &Catalog,
        at: usize,
        step: impl FnOnce(&mut Running, &mut Cx<'_>) -> Option<Outcome>,
    ) {
        let Some(queued) = self.queue.get_mut(at) else { return };
        let mut running = match std::mem::replace(&mut queued.state, State::Moving) {
            State::Running(running) => running,
            other => {
                queued.state = other;
                return;
            }
        };
        let mut cx = self.cx(now, catalog, at);
        match step(&mut running, &mut cx) {
            None => self.queue[at].state = State::Running(running),
            Some(outcome) => self.finish(now, at, outcome),
        }
    }

    fn finish(&mut self, now: Now, at: usize, outcome: Outcome) {
        let (pieces, error_code) = match outcome {
            Outcome::Answer { pieces, error_code } => (pieces, error_code),
            Outcome::Silent => (Vec::new(), 0),
            Outcome::Close(reason) => {
                self.closing.get_or_insert(Close { reason });
                (Vec::new(), 0)
            }
        };
        let queued = &mut self.queue[at];
        queued.state = State::Answered(pieces);
        self.served.push_back(Served {
            api_key: queued.key.number(),
            api_version: queued.format.version,
            error_code,
            took_us: now.mono_us.saturating_sub(queued.arrived_us),
        });
    }

    fn cx<'a>(&'a mut self, now: Now, catalog: &'a Catalog, at: usize) -> Cx<'a> {
        let queued = &self.queue[at];
        Cx {
            now,
            catalog,
            settings: &self.settings,
            who: &self.ctx,
            client_host: &self.client_host,
            random: &mut self.random,
            fetches: &mut self.fetches,
            commands: &mut self.commands,
            sequence: self.front.wrapping_add(at as u32),
            correlation_id: queued.correlation_id,
            key: queued.key,
            format: queued.format,
        }
    }
}

/// A request that has begun may take `request_grace_ms`, and a second more for each `request_bytes_per_s_min` it brings. No more
/// than another grace can be saved up: a peer that sends most of a large request at once and then nothing would hold that memory
/// for as long as the whole of it may take at the slowest pace.
fn give_up_us(settings: &Settings, now: Now, before: Option<Arriving>, fresh_bytes: usize) -> u64 {
    let grace_us = u64::from(settings.request_grace_ms) * 1000;
    let pace = u64::from(settings.request_bytes_per_s_min.max(1));
    let earned_us = (fresh_bytes as u64).saturating_mul(1_000_000) / pace;
    let from_us = before.map_or_else(|| now.mono_us.saturating_add(grace_us), |before| before.give_up_us);
    from_us.saturating_add(earned_us).min(now.mono_us.saturating_add(2 * grace_us))
}
