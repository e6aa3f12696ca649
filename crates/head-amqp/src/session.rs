// SPDX-License-Identifier: Apache-2.0
//! One connection's machine: bytes in, requests to the kernel's side out; answers and deliveries in, bytes out.
//!
//! Owns: the handshake, heartbeats, the close from either side, which channels there are, the bounds of the connection.
//! Must not know: sockets, clocks, threads; what the kernel does with a request; who may come in.
//!
//! ```text
//! header --AMQP 0 0 9 1--> starting --start-ok--> securing --let in--> tuning --tune-ok--> opening --let into the vhost--> running
//! running --close, a hard error, forced--> releasing --released--> (close-ok or close is sent) closed --close-ok, time--> ended
//! before running, what is refused is told, if the client can be told, and then: closed; else: silent, for a while, then ended
//! ```
//! While releasing, the kernel takes back what the connection held, so that whoever sees the close sees that done. Whoever is refused before
//! it was let in waits [`SILENT_MS`] for nothing, so that guessing passwords takes time.
//!
//! Bounds: publishes and methods with `nowait` that the kernel has not answered, what waits for its turn, what has not been taken for sending, undecided confirms:
//! at any of them the connection is not read (`wants_input`). Transactions and message sizes: refused beyond. Channels: `channel_max`.
//!
//! Driver: after every call take `poll_request` and `poll_output` until they give nothing, then look at `poll_timeout`, `wants_input` and
//! `poll_close`. When `wants_input` turns true, call `handle_input` again, with or without new bytes. Give answers in the order of
//! the requests of a channel. When the socket ends, whoever drives it tells the kernel itself, whether or not `ConnectionGone` was asked.

pub mod channel;
pub mod confirms;
pub mod content;
pub mod heartbeat;
pub mod login;
pub mod output;
pub mod prefetch;
pub mod publish_checks;
pub mod transaction;
pub mod unacked;

use crate::Settings;
use crate::errors::{Refusal, Snippet};
use crate::random::Random;
use crate::wire::methods::{
    BasicConsume, BasicPublish, ChannelClose, ChannelOpenOk, ConnectionBlocked, ConnectionClose, ConnectionCloseOk,
    ConnectionOpenOk, ConnectionStart, ConnectionStartOk, ConnectionTune, ConnectionTuneOk, ConnectionUnblocked,
    ConnectionUpdateSecretOk, MethodError,
};
use crate::wire::{Frame, FrameError, Method, MethodId, Properties, ShortString, Table, Value, frame};
use bytes::{Bytes, BytesMut};
use channel::{Channel, Cx, Failure, Work};
use confirms::Outcome;
use content::Assembled;
use heartbeat::Heartbeat;
use login::Credentials;
use model::Now;
use output::Output;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use transaction::Settled;

/// The smallest frame size that a client may ask for, from the specification.
const FRAME_BYTES_MIN: u32 = 4096;
/// Frames before a size is agreed on: start-ok may be longer than the smallest frame when it carries a token.
const EARLY_FRAME_BYTES_MAX: u32 = 8192;
/// How long whoever is refused without a word is kept waiting, as by RabbitMQ.
const SILENT_MS: u64 = 3000;
/// How long a close is waited to be answered, or the socket to be closed; no longer than a heartbeat, as by RabbitMQ.
const CLOSING_S: u16 = 30;

/// A channel, and which of those that had its number: what is said of an earlier one is not taken for the later one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelKey {
    pub number: u16,
    pub life: u64,
}

/// What a message says besides where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// As they came.
    pub properties: Bytes,
    pub body: Bytes,
}

impl Content {
    pub fn bytes(&self) -> usize {
        self.properties.len() + self.body.len()
    }
}

/// Tells the session which publish is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishTicket {
    pub channel: ChannelKey,
    /// Its number, if the channel confirms.
    pub confirm: Option<u64>,
    pub bytes: usize,
}

/// A message to be routed.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    pub ticket: PublishTicket,
    pub method: BasicPublish,
    pub properties: Properties,
    pub content: Content,
}

/// A delivery that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Whose prefetch it counts for; `None` after `basic.get`.
    pub consumer: Option<u64>,
    /// What the kernel's side knows it by.
    pub record: u64,
}

/// A message on its way to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub record: u64,
    pub redelivered: bool,
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub content: Content,
}

/// What a client does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    Ack,
    Requeue,
    /// Dropped, or to the dead letters.
    Discard,
}

impl Settlement {
    fn rejected(requeue: bool) -> Settlement {
        if requeue { Settlement::Requeue } else { Settlement::Discard }
    }
}

/// What the kernel's side is asked. Each says how it is answered.
#[derive(Debug)]
pub enum Request {
    /// Who is this? [`Session::handle_login`].
    Login(Credentials),
    /// May it use that vhost? [`Session::handle_open`].
    Open { virtual_host: ShortString },
    /// A new token. [`Session::handle_secret`].
    UpdateSecret { secret: login::Secret },
    /// Exchanges, queues, bindings, `basic.get`: [`Session::handle_answer`] (if it says `nowait`: [`Session::handle_done`]),
    /// [`Session::handle_got`] or [`Session::handle_refusal`].
    Method { channel: ChannelKey, method: Method },
    /// As `Method`; the tag is there even if the client left it open.
    Consume { channel: ChannelKey, consumer: u64, method: BasicConsume },
    /// As `Method`. After the answer nothing more is delivered.
    Cancel { channel: ChannelKey, consumer: u64, tag: ShortString },
    /// [`Session::handle_returned`] if it is to be returned, then [`Session::handle_published`] or [`Session::handle_refusal`].
    Publish(Box<Publish>),
    /// No answer.
    Settle { channel: ChannelKey, settled: Settled },
    /// All that is out goes back to its queues; answered with recover-ok.
    Recover { channel: ChannelKey, deliveries: Vec<(u64, Delivered)> },
    /// All at once or not at all: returns as for `Publish`, then commit-ok or a refusal.
    Commit { channel: ChannelKey, publishes: Vec<Publish>, settled: Vec<Settled> },
    /// What the channel held goes back: [`Session::handle_channel_released`].
    ChannelGone { channel: ChannelKey, deliveries: Vec<(u64, Delivered)> },
    /// The same for the connection, its exclusive queues included: [`Session::handle_released`].
    ConnectionGone,
}

/// Whether a client may use a vhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    Yes,
    NoSuchVhost,
    NoAccess,
}

/// Why the connection must be closed, for one log line. What is already in `poll_output` should still be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub reason: String,
}

#[derive(Debug)]
enum State {
    Header,
    Starting,
    Securing,
    Tuning,
    Opening,
    Running,
    /// With the close that is to be sent; `None`: the client's own close is to be answered.
    Releasing(Option<ConnectionClose>),
    /// A close or close-ok was sent.
    Closed {
        until_us: u64,
    },
    /// Nothing more is said or heard.
    Silent {
        until_us: u64,
    },
    Ended,
}

impl State {
    /// As RabbitMQ's texts name it.
    fn name(&self) -> &'static str {
        match self {
            State::Header => "pre_init",
            State::Starting => "starting",
            State::Securing => "securing",
            State::Tuning => "tuning",
            State::Opening => "opening",
            State::Running => "running",
            State::Releasing(_) => "closing",
            State::Closed { .. } | State::Silent { .. } | State::Ended => "closed",
        }
    }
}

/// What of the client's capabilities changes what it is told.
#[derive(Clone, Copy, Debug, Default)]
struct ClientCapabilities {
    authentication_failure_close: bool,
    connection_blocked: bool,
    consumer_cancel_notify: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    random: Random,
    state: State,
    /// The kernel's side is asked whether to go on, and nothing is read meanwhile.
    asked: bool,
    handshake_until_us: u64,
    client_properties: Table,
    capabilities: ClientCapabilities,
    mechanism: ShortString,
    user: ShortString,
    virtual_host: ShortString,
    channel_max: u16,
    frame_max: u32,
    heartbeat_s: u16,
    heartbeat: Option<Heartbeat>,
    channels: BTreeMap<u16, Channel>,
    channel_lives: u64,
    /// Channels that have something to tell of their publishes.
    news: BTreeSet<u16>,
    /// Channels whose undecided publishes are at their bound.
    crowded: BTreeSet<u16>,
    inflight_bytes: usize,
    held_bytes: usize,
    silent_count: usize,
    transaction_bytes: u64,
    blocked: Option<ShortString>,
    /// It was told so, and is not read.
    is_blocked: bool,
    /// Framing is lost: after the close nothing is read any more.
    lost: bool,
    requests: VecDeque<Request>,
    output: Output,
    /// Of the input, what was there and not taken: more than that is something new.
    left_bytes: usize,
    close: Option<Close>,
}

impl Session {
    /// `seed` feeds the session's random names, so that the driver decides what is random.
    pub fn new(settings: Arc<Settings>, seed: u64, now: Now) -> Session {
        Session {
            random: Random::new(seed),
            state: State::Header,
            asked: false,
            handshake_until_us: now.mono_us_after_ms(settings.handshake_ms_max),
            client_properties: Table::EMPTY,
            capabilities: ClientCapabilities::default(),
            mechanism: ShortString::EMPTY,
            user: ShortString::EMPTY,
            virtual_host: ShortString::EMPTY,
            channel_max: 0,
            frame_max: EARLY_FRAME_BYTES_MAX,
            heartbeat_s: 0,
            heartbeat: None,
            channels: BTreeMap::new(),
            channel_lives: 0,
            news: BTreeSet::new(),
            crowded: BTreeSet::new(),
            inflight_bytes: 0,
            held_bytes: 0,
            silent_count: 0,
            transaction_bytes: 0,
            blocked: None,
            is_blocked: false,
            lost: false,
            requests: VecDeque::new(),
            output: Output::default(),
            left_bytes: 0,
            close: None,
            settings,
        }
    }

    /// Who is connected, once it is let in.
    pub fn user(&self) -> &ShortString {
        &self.user
    }

    pub fn virtual_host(&self) -> &ShortString {
        &self.virtual_host
    }

    /// As the client describes itself.
    pub fn client_properties(&self) -> &Table {
        &self.client_properties
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Takes all whole frames out of `input` (as slices, not copies) and leaves the rest. Stops early when a bound is reached.
    pub fn handle_input(&mut self, now: Now, input: &mut BytesMut) {
        if input.len() > self.left_bytes
            && let Some(heartbeat) = &mut self.heartbeat
        {
            heartbeat.received(now);
        }
        while self.wants_input() {
            match self.state {
                State::Header => {
                    if input.len() < frame::PROTOCOL_HEADER.len() {
                        break;
                    }
                    let header = input.split_to(frame::PROTOCOL_HEADER.len());
                    self.begin(&header);
                }
                State::Silent { .. } | State::Ended => {
                    input.clear();
                    break;
                }
                _ if self.lost => {
                    input.clear();
                    break;
                }
                _ => match frame::next(input, self.frame_max) {
                    Ok(Some(came)) => self.frame(now, came),
                    Ok(None) => break,
                    Err(error) => self.frame_error(now, error),
                },
            }
        }
        self.left_bytes = input.len();
    }

    /// `poll_timeout` came due.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.state {
            State::Silent { until_us } | State::Closed { until_us } if now.mono_us >= until_us => {
                self.end("nothing more is waited for");
            }
            State::Header | State::Starting | State::Securing | State::Tuning | State::Opening
                if now.mono_us >= self.handshake_until_us =>
            {
                self.end("the handshake takes too long");
            }
            _ => {}
        }
        let wants_input = self.wants_input();
        if let Some(heartbeat) = &mut self.heartbeat {
            if !wants_input {
                // It is not read, so it cannot be blamed for its silence.
                heartbeat.received(now);
            }
            if heartbeat.is_over(now) {
                self.end("no heartbeat came");
            } else if heartbeat.must_send(now) {
                heartbeat.sent(now);
                // What waits to be sent says as much.
                if self.output.bytes() == 0 {
                    self.output.heartbeat();
                }
            }
        }
    }

    /// The next request for the kernel's side.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next bytes to be sent, in order. Take them only as the peer does: what is not taken counts as under way.
    pub fn poll_output(&mut self, now: Now) -> Option<Bytes> {
        while let Some(number) = self.news.pop_first() {
            self.with_channel(number, |channel, cx| channel.tell_confirms(cx));
            self.look_at_window(number);
        }
        let piece = self.output.take()?;
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.sent(now);
        }
        Some(piece)
    }

    /// When `handle_timeout` wants to be called (monotonic microseconds).
    pub fn poll_timeout(&self) -> Option<u64> {
        let state_us = match self.state {
            State::Silent { until_us } | State::Closed { until_us } => Some(until_us),
            State::Header | State::Starting | State::Securing | State::Tuning | State::Opening => {
                Some(self.handshake_until_us)
            }
            State::Running | State::Releasing(_) | State::Ended => None,
        };
        let heartbeat_us = self.heartbeat.as_ref().map(Heartbeat::timeout_us);
        [state_us, heartbeat_us].into_iter().flatten().min()
    }

    /// Set once the connection is over: send what is in `poll_output`, then close the socket.
    pub fn poll_close(&self) -> Option<&Close> {
        self.close.as_ref()
    }

    /// False while a bound is reached, or an answer decides how to go on: the driver then reads no more from the socket.
    pub fn wants_input(&self) -> bool {
        !self.asked
            && !self.is_blocked
            && self.close.is_none()
            && self.crowded.is_empty()
            && self.inflight_bytes < self.settings.inflight_bytes_max
            && self.held_bytes < self.settings.held_bytes_max
            && self.silent_count < self.settings.silent_methods_max
            && self.output.bytes() < self.settings.output_bytes_max
    }

    // What the kernel's side answers.

    /// Whether the credentials are somebody's.
    pub fn handle_login(&mut self, now: Now, is_let_in: bool) {
        if !matches!(self.state, State::Securing) || !std::mem::take(&mut self.asked) {
            return;
        }
        if !is_let_in {
            let mechanism = self.mechanism.clone();
            return self.fail(now, MethodId::NONE, Refusal::Login { mechanism });
        }
        self.state = State::Tuning;
        let Settings { channel_max, frame_max, heartbeat_s, .. } = *self.settings;
        self.say(ConnectionTune { channel_max, frame_max, heartbeat: heartbeat_s });
    }

    /// Whether the vhost may be used.
    pub fn handle_open(&mut self, now: Now, opened: Opened) {
        if !matches!(self.state, State::Opening) || !std::mem::take(&mut self.asked) {
            return;
        }
        let (vhost, user) = (self.virtual_host.clone(), self.user.clone());
        let method = crate::wire::methods::ConnectionOpen::ID;
        match opened {
            Opened::Yes => {
                self.state = State::Running;
                self.say(ConnectionOpenOk {});
            }
            Opened::NoSuchVhost => self.fail(now, method, Refusal::NoVhost { vhost }),
            Opened::NoAccess => self.fail(now, method, Refusal::VhostAccess { vhost, user }),
        }
    }

    /// Whether the new secret is taken.
    pub fn handle_secret(&mut self, now: Now, is_taken: bool) {
        if !std::mem::take(&mut self.asked) || !matches!(self.state, State::Running) {
            return;
        }
        match is_taken {
            true => self.say(ConnectionUpdateSecretOk {}),
            false => self.fail(now, crate::wire::methods::ConnectionUpdateSecret::ID, Refusal::Secret),
        }
    }

    /// The answer that a channel waits for.
    pub fn handle_answer(&mut self, now: Now, channel: ChannelKey, method: &Method) {
        self.with_key(channel, |channel, cx| channel.answer(cx, method));
        self.advance(now, channel);
    }

    /// A method with `nowait` is done: nobody is told, but as many more may come.
    pub fn handle_done(&mut self, channel: ChannelKey) {
        self.with_key(channel, |channel, _| channel.done());
    }

    /// The answer to `basic.get`: a message and how many are left, or nothing.
    pub fn handle_got(&mut self, now: Now, channel: ChannelKey, got: Option<(Delivery, u32)>) {
        self.with_key(channel, |channel, cx| channel.answer_get(cx, got));
        self.advance(now, channel);
    }

    /// Something that a channel asked for is refused: that closes it, or the connection.
    pub fn handle_refusal(&mut self, now: Now, channel: ChannelKey, method: MethodId, refusal: Refusal) {
        if self.with_key(channel, |channel, _| channel.is_open()) == Some(true) {
            self.fail_on_channel(now, channel.number, Failure { refusal, method });
        }
    }

    /// A publish with `mandatory` found nobody: it goes back. Comes before what becomes of it.
    pub fn handle_returned(&mut self, channel: ChannelKey, method: &BasicPublish, content: &Content) {
        self.with_key(channel, |channel, cx| channel.returned(cx, method, content));
    }

    /// A publish is where it should be, or was rejected. A refused one is told too, besides its refusal.
    pub fn handle_published(&mut self, ticket: PublishTicket, outcome: Outcome) {
        self.inflight_bytes = self.inflight_bytes.saturating_sub(ticket.bytes);
        if self.with_key(ticket.channel, |channel, _| channel.published(ticket.confirm, outcome)) == Some(true) {
            self.news.insert(ticket.channel.number);
        }
    }

    /// How many messages a consumer may be sent now.
    pub fn room(&self, channel: ChannelKey, consumer: u64) -> u32 {
        let found = self.channels.get(&channel.number).filter(|found| found.key() == channel);
        if self.output.bytes() >= self.settings.output_bytes_max {
            return 0;
        }
        found.map_or(0, |channel| channel.room(&self.settings, consumer))
    }

    /// Sends a message to a consumer, and gives its tag. `None`: there is no room; the kernel keeps the message.
    pub fn handle_delivery(&mut self, channel: ChannelKey, consumer: u64, delivery: Delivery) -> Option<u64> {
        if self.output.bytes() >= self.settings.output_bytes_max {
            return None;
        }
        self.with_key(channel, |channel, cx| channel.deliver(cx, consumer, delivery)).flatten()
    }

    /// A consumer is no more: its queue is gone, say.
    pub fn handle_consumer_cancelled(&mut self, channel: ChannelKey, consumer: u64) {
        self.with_key(channel, |channel, cx| channel.consumer_cancelled(cx, consumer));
    }

    /// What a channel held is taken back.
    pub fn handle_channel_released(&mut self, channel: ChannelKey) {
        if self.with_key(channel, |channel, cx| channel.released(cx)) == Some(true) {
            self.channels.remove(&channel.number);
        }
    }

    /// What the connection held is taken back.
    pub fn handle_released(&mut self, now: Now) {
        let State::Releasing(close) = &mut self.state else { return };
        let close = close.take();
        self.channels.clear();
        match close {
            None => self.say(ConnectionCloseOk {}),
            Some(close) => self.say(close),
        }
        self.wait_for_end(now);
    }

    /// Resources are short, or no longer: whoever publishes is told if it can be told, and is not read.
    pub fn handle_blocked(&mut self, now: Now, reason: Option<&str>) {
        self.blocked = reason.map(ShortString::clipped);
        if self.blocked.is_none() && std::mem::take(&mut self.is_blocked) {
            if let Some(heartbeat) = &mut self.heartbeat {
                heartbeat.received(now);
            }
            if self.capabilities.connection_blocked {
                self.say(ConnectionUnblocked {});
            }
        }
    }

    /// The connection must go: an operator says so, its vhost is deleted, the broker stops.
    pub fn handle_forced_close(&mut self, now: Now, reason: &str) {
        match self.state {
            State::Running => self.fail(now, MethodId::NONE, Refusal::Forced { reason: reason.to_string() }),
            State::Releasing(_) | State::Closed { .. } | State::Silent { .. } | State::Ended => {}
            _ => self.end(reason),
        }
    }

    // What the client says.

    fn begin(&mut self, header: &[u8]) {
        // The header of 0-9, which some clients send, means the same.
        if header != frame::PROTOCOL_HEADER && header != b"AMQP\x01\x01\x00\x09" {
            self.output.raw(&frame::PROTOCOL_HEADER);
            return self.end("another protocol");
        }
        self.state = State::Starting;
        let server_properties = self.settings.server_properties();
        self.say(ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties,
            mechanisms: Bytes::from_static(login::MECHANISMS.as_bytes()),
            locales: Bytes::from_static(b"en_US"),
        });
    }

    fn frame_error(&mut self, now: Now, error: FrameError) {
        self.lost = true;
        let refusal = match error {
            FrameError::TooLarge { kind, payload_bytes, payload_bytes_max, .. } => {
                Refusal::FrameTooLarge { kind, payload_bytes, payload_bytes_max }
            }
            FrameError::End { frame, end } => {
                Refusal::FrameEnd { kind: frame.kind, payload: Snippet::of(&frame.payload), end }
            }
        };
        self.fail(now, MethodId::NONE, refusal);
    }

    fn frame(&mut self, now: Now, came: Frame) {
        let is_running = matches!(self.state, State::Running);
        if is_running && came.channel != 0 && matches!(came.kind, frame::HEADER | frame::BODY) {
            return self.content_frame(now, came.channel, came);
        }
        if matches!(self.state, State::Releasing(_) | State::Closed { .. }) {
            return self.late_frame(came);
        }
        let (kind, payload) = (came.kind, came.payload.clone());
        let unexpected = || Refusal::UnexpectedFrame { kind, payload: Snippet::of(&payload) };
        let unknown = || Refusal::UnknownFrame { kind, payload: Snippet::of(&payload) };
        match (kind, came.channel) {
            (frame::METHOD, 0) => match Method::read(came.payload) {
                Ok(method) => {
                    let id = method.id();
                    if let Err(refusal) = self.method(now, method) {
                        self.fail(now, id, refusal);
                    }
                }
                Err(error) => self.method_error(now, error, unknown()),
            },
            (frame::METHOD, _) if !is_running => self.fail(now, MethodId::NONE, unexpected()),
            (frame::METHOD, number) => match Method::read(came.payload) {
                Ok(method) => self.channel_method(now, number, method),
                Err(_) if self.is_deaf(number) => {}
                Err(error) => self.method_error(now, error, unknown()),
            },
            (frame::HEADER | frame::BODY, _) => self.fail(now, MethodId::NONE, unexpected()),
            (frame::HEARTBEAT, 0) if payload.is_empty() => {}
            (frame::HEARTBEAT, _) if payload.is_empty() => self.fail(now, MethodId::NONE, unexpected()),
            _ => self.fail(now, MethodId::NONE, unknown()),
        }
    }

    fn method_error(&mut self, now: Now, error: MethodError, unknown: Refusal) {
        match error {
            MethodError::Short => self.fail(now, MethodId::NONE, unknown),
            MethodError::Unknown(id) => self.fail(now, id, Refusal::UnknownMethod(id)),
            MethodError::Fields(id, malformed) => self.fail(now, id, Refusal::Syntax(malformed)),
        }
    }

    /// After a close, or before one that waits: only the client's own close counts, and its answer to ours.
    fn late_frame(&mut self, came: Frame) {
        if (came.kind, came.channel) != (frame::METHOD, 0) {
            return;
        }
        match (Method::read(came.payload), &mut self.state) {
            (Ok(Method::ConnectionClose(_)), State::Releasing(close)) => *close = None,
            (Ok(Method::ConnectionClose(_)), _) => self.say(ConnectionCloseOk {}),
            (Ok(Method::ConnectionCloseOk(_)), State::Closed { .. }) => self.end("closed"),
            _ => {}
        }
    }

    fn method(&mut self, now: Now, method: Method) -> Result<(), Refusal> {
        match (method, &self.state) {
            (Method::ConnectionStartOk(start_ok), State::Starting) => self.start_ok(start_ok),
            (Method::ConnectionTuneOk(tune_ok), State::Tuning) => self.tune_ok(now, &tune_ok),
            (Method::ConnectionOpen(open), State::Opening) => {
                self.virtual_host = open.virtual_host.clone();
                self.ask(Request::Open { virtual_host: open.virtual_host });
                Ok(())
            }
            (Method::ConnectionUpdateSecret(update), State::Running) => {
                self.ask(Request::UpdateSecret { secret: login::Secret(update.new_secret) });
                Ok(())
            }
            (Method::ConnectionClose(_), State::Running) => {
                self.release(None);
                Ok(())
            }
            // RabbitMQ takes this for a mistake; clients that give up in the handshake are better served with an answer.
            (Method::ConnectionClose(_), _) => {
                self.say(ConnectionCloseOk {});
                self.wait_for_end(now);
                Ok(())
            }
            (_, state) => Err(Refusal::ConnectionState { state: state.name() }),
        }
    }

    fn start_ok(&mut self, start_ok: ConnectionStartOk) -> Result<(), Refusal> {
        if let Some(Value::Table(capabilities)) = start_ok.client_properties.get("capabilities") {
            let has = |name| capabilities.get(name) == Some(Value::Bool(true));
            self.capabilities = ClientCapabilities {
                authentication_failure_close: has("authentication_failure_close"),
                connection_blocked: has("connection.blocked"),
                consumer_cancel_notify: has("consumer_cancel_notify"),
            };
        }
        self.client_properties = start_ok.client_properties;
        let credentials = login::credentials(&start_ok.mechanism, &start_ok.response)?;
        self.mechanism = start_ok.mechanism;
        self.user = credentials.user.clone();
        self.state = State::Securing;
        self.ask(Request::Login(credentials));
        Ok(())
    }

    /// The client's answer decides, within what was offered.
    fn tune_ok(&mut self, now: Now, tune_ok: &ConnectionTuneOk) -> Result<(), Refusal> {
        let offered = &self.settings;
        negotiated("frame_max", tune_ok.frame_max, FRAME_BYTES_MIN, offered.frame_max)?;
        negotiated("channel_max", u32::from(tune_ok.channel_max), 1, u32::from(offered.channel_max))?;
        (self.frame_max, self.channel_max) = (tune_ok.frame_max, tune_ok.channel_max);
        self.heartbeat_s = tune_ok.heartbeat;
        self.heartbeat = Heartbeat::new(tune_ok.heartbeat, now);
        self.state = State::Opening;
        Ok(())
    }

    fn ask(&mut self, request: Request) {
        self.asked = true;
        self.requests.push_back(request);
    }

    /// Nothing that comes on it counts, but closes.
    fn is_deaf(&self, number: u16) -> bool {
        self.channels.get(&number).is_some_and(|channel| !channel.is_open())
    }

    fn channel_method(&mut self, now: Now, number: u16, method: Method) {
        let id = method.id();
        let Some(channel) = self.channels.get_mut(&number) else {
            return match method {
                Method::ChannelOpen(_) => self.open_channel(now, number),
                _ => self.fail(now, id, Refusal::ChannelNotOpen),
            };
        };
        if !channel.is_open() {
            match method {
                Method::ChannelClose(_) => {
                    self.with_channel(number, |channel, cx| channel.crossing_close(cx));
                }
                Method::ChannelCloseOk(_) if channel.is_closing() => {
                    self.channels.remove(&number);
                }
                _ => {}
            }
            return;
        }
        if !channel.assembly.is_idle() {
            let refusal = channel.assembly.instead_of_method();
            return self.fail(now, BasicPublish::ID, refusal);
        }
        match method {
            Method::BasicPublish(publish) => channel.assembly.begin(publish),
            method => self.work(now, number, Work::Method(method)),
        }
    }

    fn open_channel(&mut self, now: Now, number: u16) {
        let (count, channel_max) = (self.channels.len() as u32, self.channel_max);
        if channel_max != 0 && count >= u32::from(channel_max) {
            return self.fail(now, MethodId::NONE, Refusal::TooManyChannels { count, channel_max });
        }
        self.channel_lives += 1;
        let key = ChannelKey { number, life: self.channel_lives };
        self.channels.insert(number, Channel::new(key));
        self.output.method(number, &ChannelOpenOk {}.into());
    }

    fn content_frame(&mut self, now: Now, number: u16, came: Frame) {
        if self.blocked.is_some() && !self.is_blocked {
            self.is_blocked = true;
            if self.capabilities.connection_blocked {
                let reason = self.blocked.clone().unwrap_or_default();
                self.say(ConnectionBlocked { reason });
            }
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return self.fail(now, MethodId::NONE, Refusal::NoMethod);
        };
        if !channel.is_open() {
            return;
        }
        match channel.assembly.frame(came, self.settings.message_bytes_max) {
            Ok(Assembled::Part) => {}
            Ok(Assembled::Whole(publish, content)) => self.work(now, number, Work::Publish(publish, content)),
            Ok(Assembled::TooLarge(refusal)) => {
                self.fail_on_channel(now, number, Failure { refusal, method: BasicPublish::ID });
            }
            Err(refusal @ Refusal::NoMethod) => self.fail(now, MethodId::NONE, refusal),
            // The method whose content it should have been.
            Err(refusal) => self.fail(now, BasicPublish::ID, refusal),
        }
    }

    fn work(&mut self, now: Now, number: u16, work: Work) {
        let done = self.with_channel(number, |channel, cx| channel.take(cx, work));
        if let Some(Err(failure)) = done {
            self.fail_on_channel(now, number, failure);
        }
        self.look_at_window(number);
    }

    fn advance(&mut self, now: Now, channel: ChannelKey) {
        if let Some(Err(failure)) = self.with_key(channel, |channel, cx| channel.advance(cx)) {
            self.fail_on_channel(now, channel.number, failure);
        }
        self.look_at_window(channel.number);
    }

    fn look_at_window(&mut self, number: u16) {
        let window = self.channels.get(&number).map_or(0, Channel::confirm_window);
        if window >= self.settings.confirm_window_max {
            self.crowded.insert(number);
        } else {
            self.crowded.remove(&number);
        }
    }

    fn with_key<T>(&mut self, key: ChannelKey, act: impl FnOnce(&mut Channel, &mut Cx<'_>) -> T) -> Option<T> {
        let is_it = self.channels.get(&key.number).is_some_and(|channel| channel.key() == key);
        if is_it && !matches!(self.state, State::Releasing(_)) { self.with_channel(key.number, act) } else { None }
    }

    fn with_channel<T>(&mut self, number: u16, act: impl FnOnce(&mut Channel, &mut Cx<'_>) -> T) -> Option<T> {
        let channel = self.channels.get_mut(&number)?;
        let (held_before, silent_before) = (channel.held_bytes(), channel.silent_count());
        let mut cx = Cx {
            settings: &self.settings,
            user: &self.user,
            frame_max: self.frame_max,
            cancel_notify: self.capabilities.consumer_cancel_notify,
            output: &mut self.output,
            requests: &mut self.requests,
            random: &mut self.random,
            inflight_bytes: &mut self.inflight_bytes,
            transaction_bytes: &mut self.transaction_bytes,
        };
        let done = act(channel, &mut cx);
        self.held_bytes = self.held_bytes + channel.held_bytes() - held_before;
        self.silent_count = self.silent_count + channel.silent_count() - silent_before;
        Some(done)
    }

    // How it ends.

    fn fail_on_channel(&mut self, now: Now, number: u16, failure: Failure) {
        let Failure { refusal, method } = failure;
        if refusal.code().is_hard() {
            return self.fail(now, method, refusal);
        }
        let close = ChannelClose {
            reply_code: refusal.code().number(),
            reply_text: refusal.reply_text(),
            class_id: method.class_id,
            method_id: method.method_id,
        };
        self.with_channel(number, |channel, cx| channel.release(cx, Some(close)));
        self.look_at_window(number);
    }

    /// Something closes the connection.
    fn fail(&mut self, now: Now, method: MethodId, refusal: Refusal) {
        let close = ConnectionClose {
            reply_code: refusal.code().number(),
            reply_text: refusal.reply_text(),
            class_id: method.class_id,
            method_id: method.method_id,
        };
        match self.state {
            State::Running => self.release(Some(close)),
            State::Starting | State::Securing if !self.capabilities.authentication_failure_close => {
                self.state = State::Silent { until_us: now.mono_us_after_ms(SILENT_MS) };
            }
            State::Starting | State::Securing | State::Tuning | State::Opening => {
                self.say(close);
                self.wait_for_end(now);
            }
            State::Header | State::Releasing(_) | State::Closed { .. } | State::Silent { .. } | State::Ended => {}
        }
    }

    /// Gives everything back, channel by channel, before the last word is said.
    fn release(&mut self, close: Option<ConnectionClose>) {
        let numbers: Vec<u16> = self.channels.keys().copied().collect();
        for number in numbers {
            self.with_channel(number, |channel, cx| {
                if channel.is_open() {
                    channel.release(cx, None);
                }
            });
        }
        self.news.clear();
        self.crowded.clear();
        self.is_blocked = false;
        self.state = State::Releasing(close);
        self.requests.push_back(Request::ConnectionGone);
    }

    /// The last word is said.
    fn wait_for_end(&mut self, now: Now) {
        let wait_s = if self.heartbeat_s == 0 { CLOSING_S } else { self.heartbeat_s.min(CLOSING_S) };
        let until_us = now.mono_us_after_ms(u64::from(wait_s) * 1000);
        self.heartbeat = None;
        self.asked = false;
        self.state = match self.lost {
            // What comes cannot be read, so its answer cannot be waited for; a while for ours to arrive.
            true => State::Silent { until_us: now.mono_us_after_ms(SILENT_MS) },
            false => State::Closed { until_us },
        };
    }

    fn end(&mut self, reason: &str) {
        self.state = State::Ended;
        self.heartbeat = None;
        self.close.get_or_insert(Close { reason: reason.to_string() });
    }

    fn say(&mut self, method: impl Into<Method>) {
        self.output.method(0, &method.into());
    }
}

fn negotiated(field: &'static str, value: u32, floor: u32, offered: u32) -> Result<(), Refusal> {
    if value != 0 && value < floor {
        return Err(Refusal::Negotiation { field, value, bound: floor, is_floor: true });
    }
    if offered != 0 && (value == 0 || value > offered) {
        return Err(Refusal::Negotiation { field, value, bound: offered, is_floor: false });
    }
    Ok(())
}
