// SPDX-License-Identifier: Apache-2.0
//! Reply codes, and everything that this head refuses with the words that RabbitMQ 4 has for it.
//!
//! Applications and client libraries compare these texts whole, or search in them; so each stands here once, as a variant that says
//! what was wrong, and a test holds them against what RabbitMQ 4.0.5 was seen to answer (`testdata/rabbitmq-4.0.5.txt`). Texts that
//! that file does not have are marked: from RabbitMQ's public source, or ours where RabbitMQ closes the socket without a word.
//!
//! Soft codes close the channel, hard ones the connection. On channel 0 every code closes the connection.

use crate::wire::{Malformed, MethodId, ShortString, Value};
use std::fmt;

macro_rules! reply_codes {
    ($( $code:ident $number:literal $name:literal $hard:literal; )*) => {
        /// A number that a close, or a return, gives as its reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ReplyCode {
            $( $code, )*
        }

        impl ReplyCode {
            pub fn number(self) -> u16 {
                match self {
                    $( ReplyCode::$code => $number, )*
                }
            }

            /// As texts begin: `NOT_FOUND`.
            pub fn name(self) -> &'static str {
                match self {
                    $( ReplyCode::$code => $name, )*
                }
            }

            /// It closes the connection, not only the channel.
            pub fn is_hard(self) -> bool {
                match self {
                    $( ReplyCode::$code => $hard, )*
                }
            }
        }
    };
}

// Name, number, name in texts, hard.
reply_codes! {
    NoRoute 312 "NO_ROUTE" false;
    ConnectionForced 320 "CONNECTION_FORCED" true;
    AccessRefused 403 "ACCESS_REFUSED" false;
    NotFound 404 "NOT_FOUND" false;
    ResourceLocked 405 "RESOURCE_LOCKED" false;
    PreconditionFailed 406 "PRECONDITION_FAILED" false;
    FrameError 501 "FRAME_ERROR" true;
    SyntaxError 502 "SYNTAX_ERROR" true;
    CommandInvalid 503 "COMMAND_INVALID" true;
    ChannelError 504 "CHANNEL_ERROR" true;
    UnexpectedFrame 505 "UNEXPECTED_FRAME" true;
    ResourceError 506 "RESOURCE_ERROR" true;
    NotAllowed 530 "NOT_ALLOWED" true;
    NotImplemented 540 "NOT_IMPLEMENTED" true;
    InternalError 541 "INTERNAL_ERROR" true;
}

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Queue,
    Exchange,
}

/// A queue or an exchange, as texts tell of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    pub name: ShortString,
    pub vhost: ShortString,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Queue => "queue",
            Kind::Exchange => "exchange",
        };
        write!(f, "{kind} '{}' in vhost '{}'", self.name, self.vhost)
    }
}

/// One side of a comparison that failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Compared {
    /// A property of the declaration itself: `'true'`.
    Property(String),
    /// An argument: `the value '5' of type 'signedint'`.
    Argument(Box<Value>),
    None,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compared::Property(value) => write!(f, "'{value}'"),
            Compared::Argument(value) => write!(f, "the value '{}' of type '{}'", Plain(value), value.type_name()),
            Compared::None => f.write_str("none"),
        }
    }
}

/// A value as it stands between quotes.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Bool(value) => value.fmt(f),
            Value::String(text) | Value::Binary(text) => f.write_str(&String::from_utf8_lossy(text)),
            Value::F32(value) => value.fmt(f),
            Value::F64(value) => value.fmt(f),
            Value::Timestamp(value) => value.fmt(f),
            other => match other.as_integer() {
                Some(value) => value.fmt(f),
                None => fmt::Debug::fmt(other, f),
            },
        }
    }
}

/// Why a known argument cannot be taken. RabbitMQ lets the terms of its language show through, and clients' tests know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadArgument {
    QueueType(ShortString),
    Negative(i64),
    Zero,
    AboveMax(i64),
    Type { expected: &'static str, got: &'static str },
    Overflow,
    DeadLetterKeyAlone,
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadArgument::QueueType(kind) => write!(f, "\"unsupported queue type '{kind}'\""),
            BadArgument::Negative(value) => write!(f, "{{value_negative,{value}}}"),
            BadArgument::Zero => f.write_str("{value_zero,0}"),
            BadArgument::AboveMax(value) => write!(f, "{{max_value_exceeded,{value}}}"),
            BadArgument::Type { expected, got } => write!(f, "\"expected {expected}, got {got}\""),
            BadArgument::Overflow => f.write_str("invalid_overflow"),
            BadArgument::DeadLetterKeyAlone => f.write_str("routing_key_but_no_dlx_defined"),
        }
    }
}

/// Why the `expiration` of a message cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadExpiration {
    NoInteger,
    Negative(i64),
}

impl fmt::Display for BadExpiration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadExpiration::NoInteger => f.write_str("no_integer"),
            BadExpiration::Negative(value) => write!(f, "{{value_negative,{value}}}"),
        }
    }
}

/// The kinds of queue that RabbitMQ's texts call by the names of its modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueType {
    Classic,
    Quorum,
    Stream,
}

impl fmt::Display for QueueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueueType::Classic => "rabbit_classic_queue",
            QueueType::Quorum => "rabbit_quorum_queue",
            QueueType::Stream => "rabbit_stream_queue",
        })
    }
}

/// Something that was asked for and is not done. Its text without the name of the code is what it displays.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    // The connection.
    Login {
        mechanism: ShortString,
    },
    NoVhost {
        vhost: ShortString,
    },
    /// From source.
    VhostAccess {
        vhost: ShortString,
        user: ShortString,
    },
    /// From source.
    UnknownMechanism {
        mechanism: ShortString,
    },
    /// Ours: RabbitMQ is silent.
    LoginResponse {
        mechanism: &'static str,
    },
    /// From source.
    Negotiation {
        field: &'static str,
        value: u32,
        bound: u32,
        is_floor: bool,
    },
    /// From source.
    ConnectionState {
        state: &'static str,
    },
    /// From source.
    Secret,
    /// An operator's word, or ours.
    Forced {
        reason: String,
    },

    // Frames; texts from source.
    FrameTooLarge {
        kind: u8,
        payload_bytes: u32,
        payload_bytes_max: u32,
    },
    FrameEnd {
        kind: u8,
        payload: Snippet,
        end: u8,
    },
    UnknownFrame {
        kind: u8,
        payload: Snippet,
    },
    UnexpectedFrame {
        kind: u8,
        payload: Snippet,
    },
    NoContentHeader {
        class_id: u16,
    },
    ContentHeaderClass {
        class_id: u16,
        got: u16,
    },
    NoContentBody,
    NoMethod,
    /// Ours: RabbitMQ waits for ever.
    BodyTooLong {
        bytes: u64,
        announced: u64,
    },
    /// Ours: RabbitMQ closes the socket without a word.
    UnknownMethod(MethodId),
    /// Ours in its words; the code is RabbitMQ's for tables.
    Syntax(Malformed),
    /// From source.
    NotForServers,

    // Channels; from source but where a test's file has them.
    ChannelNotOpen,
    ChannelOpenTwice,
    TooManyChannels {
        count: u32,
        channel_max: u16,
    },
    FlowOff,
    MessageTooLarge {
        bytes: u64,
        bytes_max: u64,
    },
    /// Ours: a bound that RabbitMQ does not have.
    TransactionTooLarge {
        bytes_max: u64,
    },
    /// Ours: RabbitMQ has no bound unless one is set.
    TooManyConsumers {
        consumers_max: usize,
    },
    /// Ours: RabbitMQ has no bound. Only `basic.get` meets it; consumers are not delivered to.
    TooManyUnacked {
        unacked_max: usize,
    },

    // Everything below is in the test's file.
    None {
        object: Box<Object>,
    },
    NoneDeclared,
    Inequivalent {
        argument: &'static str,
        object: Box<Object>,
        received: Compared,
        current: Compared,
    },
    Locked {
        queue: Box<Object>,
    },
    Argument {
        argument: &'static str,
        queue: Box<Object>,
        why: BadArgument,
    },
    ArgumentType {
        argument: &'static str,
        queue: Box<Object>,
        got: &'static str,
    },
    ArgumentOfOtherType {
        argument: &'static str,
        queue: Box<Object>,
        queue_type: QueueType,
    },
    Property {
        property: &'static str,
        queue: Box<Object>,
    },
    ServerNamed {
        queue_type: QueueType,
    },
    ReservedName {
        kind: Kind,
        name: ShortString,
    },
    InUse {
        object: Box<Object>,
    },
    NotEmpty {
        queue: Box<Object>,
    },
    DefaultExchange,
    SystemExchange {
        exchange: Box<Object>,
    },
    InternalExchange {
        exchange: Box<Object>,
    },
    ExchangeType {
        kind: ShortString,
    },
    Match {
        value: ShortString,
    },
    UserId {
        given: ShortString,
        user: ShortString,
    },
    Expiration {
        given: ShortString,
        why: BadExpiration,
    },
    HeaderType {
        header: &'static str,
        got: &'static str,
    },
    NoReplyConsumer,
    ReplyConsumerAcknowledges,
    ReplyConsumerTwice,
    DeliveryTag(u64),
    GetFromSingleActive {
        queue: Box<Object>,
    },
    ConsumerTagInUse {
        tag: ShortString,
    },
    ExclusiveUse {
        queue: Box<Object>,
    },
    PrefetchSize(u32),
    RecoverWithoutRequeue,
    Immediate,
    TxToConfirm,
    ConfirmToTx,
    NotTransactional,
    StreamWithoutPrefetch {
        queue: Box<Object>,
    },
    StreamWithoutAcks {
        queue: Box<Object>,
    },
    StreamPurge {
        queue: Box<Object>,
    },
    StreamGet {
        queue: Box<Object>,
    },
}

impl Refusal {
    pub fn code(&self) -> ReplyCode {
        match self {
            Refusal::Forced { .. } => ReplyCode::ConnectionForced,
            Refusal::Login { .. }
            | Refusal::ReservedName { .. }
            | Refusal::DefaultExchange
            | Refusal::SystemExchange { .. }
            | Refusal::InternalExchange { .. }
            | Refusal::ExclusiveUse { .. } => ReplyCode::AccessRefused,
            Refusal::None { .. } | Refusal::NoneDeclared => ReplyCode::NotFound,
            Refusal::Locked { .. } | Refusal::GetFromSingleActive { .. } => ReplyCode::ResourceLocked,
            Refusal::MessageTooLarge { .. }
            | Refusal::Inequivalent { .. }
            | Refusal::Argument { .. }
            | Refusal::ArgumentType { .. }
            | Refusal::ArgumentOfOtherType { .. }
            | Refusal::Property { .. }
            | Refusal::ServerNamed { .. }
            | Refusal::InUse { .. }
            | Refusal::NotEmpty { .. }
            | Refusal::ExchangeType { .. }
            | Refusal::Match { .. }
            | Refusal::UserId { .. }
            | Refusal::Expiration { .. }
            | Refusal::HeaderType { .. }
            | Refusal::NoReplyConsumer
            | Refusal::ReplyConsumerAcknowledges
            | Refusal::ReplyConsumerTwice
            | Refusal::DeliveryTag(_)
            | Refusal::TxToConfirm
            | Refusal::ConfirmToTx
            | Refusal::NotTransactional
            | Refusal::StreamWithoutPrefetch { .. } => ReplyCode::PreconditionFailed,
            Refusal::FrameTooLarge { .. }
            | Refusal::FrameEnd { .. }
            | Refusal::UnknownFrame { .. }
            | Refusal::BodyTooLong { .. } => ReplyCode::FrameError,
            Refusal::Syntax(_) | Refusal::LoginResponse { .. } => ReplyCode::SyntaxError,
            Refusal::UnknownMechanism { .. } | Refusal::NotForServers => ReplyCode::CommandInvalid,
            Refusal::ConnectionState { .. } | Refusal::ChannelNotOpen | Refusal::ChannelOpenTwice => {
                ReplyCode::ChannelError
            }
            Refusal::UnexpectedFrame { .. }
            | Refusal::NoContentHeader { .. }
            | Refusal::ContentHeaderClass { .. }
            | Refusal::NoContentBody
            | Refusal::NoMethod => ReplyCode::UnexpectedFrame,
            Refusal::TransactionTooLarge { .. } | Refusal::TooManyConsumers { .. } | Refusal::TooManyUnacked { .. } => {
                ReplyCode::ResourceError
            }
            Refusal::NoVhost { .. }
            | Refusal::VhostAccess { .. }
            | Refusal::Negotiation { .. }
            | Refusal::Secret
            | Refusal::TooManyChannels { .. }
            | Refusal::ConsumerTagInUse { .. } => ReplyCode::NotAllowed,
            Refusal::UnknownMethod(_)
            | Refusal::FlowOff
            | Refusal::PrefetchSize(_)
            | Refusal::RecoverWithoutRequeue
            | Refusal::Immediate
            | Refusal::StreamWithoutAcks { .. }
            | Refusal::StreamPurge { .. }
            | Refusal::StreamGet { .. } => ReplyCode::NotImplemented,
        }
    }

    /// What a close says: the code's name and the text, shortened to what fits.
    pub fn reply_text(&self) -> ShortString {
        ShortString::clipped(&format!("{} - {self}", self.code().name()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Login { mechanism } => write!(
                f,
                "Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
            ),
            Refusal::NoVhost { vhost } => write!(f, "vhost {vhost} not found"),
            Refusal::VhostAccess { vhost, user } => write!(f, "access to vhost '{vhost}' refused for user '{user}'"),
            Refusal::UnknownMechanism { mechanism } => write!(f, "unknown authentication mechanism '{mechanism}'"),
            Refusal::LoginResponse { mechanism } => write!(f, "the response is not one of {mechanism}"),
            Refusal::Negotiation { field, value, bound, is_floor } => {
                let no_limit = if *value == 0 && *field == "channel_max" { " (no limit)" } else { "" };
                let (than, allowed) = if *is_floor { ("lower", "minimum") } else { ("higher", "maximum") };
                write!(f, "negotiated {field} = {value}{no_limit} is {than} than the {allowed} allowed value ({bound})")
            }
            Refusal::ConnectionState { state } => write!(f, "unexpected method in connection state {state}"),
            Refusal::Secret => f.write_str("New secret was refused by one of the backends"),
            Refusal::Forced { reason } => f.write_str(reason),
            Refusal::FrameTooLarge { kind, payload_bytes, payload_bytes_max } => {
                write!(f, "type {kind}, all octets = <<>>: {{frame_too_large,{payload_bytes},{payload_bytes_max}}}")
            }
            Refusal::FrameEnd { kind, payload, end } => {
                write!(f, "type {kind}, {payload}: {{invalid_frame_end_marker,{end}}}")
            }
            Refusal::UnknownFrame { kind, payload } => write!(f, "type {kind}, {payload}: unknown_frame"),
            Refusal::UnexpectedFrame { kind, payload } => write!(f, "type {kind}, {payload}"),
            Refusal::NoContentHeader { class_id } => {
                write!(f, "expected content header for class {class_id}, got non content header frame instead")
            }
            Refusal::ContentHeaderClass { class_id, got } => {
                write!(f, "expected content header for class {class_id}, got one for class {got} instead")
            }
            Refusal::NoContentBody => f.write_str("expected content body, got non content body frame instead"),
            Refusal::NoMethod => f.write_str("expected method frame, got non method frame instead"),
            Refusal::BodyTooLong { bytes, announced } => {
                write!(f, "a content body of {announced} octets was announced, and {bytes} came")
            }
            Refusal::UnknownMethod(id) => write!(f, "unknown method {id}"),
            Refusal::Syntax(malformed) => write!(f, "what was sent cannot be read: {malformed}"),
            Refusal::NotForServers => f.write_str("unimplemented method"),
            Refusal::ChannelNotOpen => f.write_str("expected 'channel.open'"),
            Refusal::ChannelOpenTwice => f.write_str("second 'channel.open' seen"),
            Refusal::TooManyChannels { count, channel_max } => {
                write!(f, "number of channels opened ({count}) has reached the negotiated channel_max ({channel_max})")
            }
            Refusal::FlowOff => f.write_str("active=false"),
            Refusal::MessageTooLarge { bytes, bytes_max } => {
                write!(f, "message size {bytes} is larger than configured max size {bytes_max}")
            }
            Refusal::TransactionTooLarge { bytes_max } => {
                write!(f, "a transaction may hold {bytes_max} octets until it is committed")
            }
            Refusal::TooManyConsumers { consumers_max } => {
                write!(f, "a channel may have {consumers_max} consumers")
            }
            Refusal::TooManyUnacked { unacked_max } => {
                write!(f, "a channel may have {unacked_max} unacknowledged deliveries")
            }
            Refusal::None { object } => write!(f, "no {object}"),
            Refusal::NoneDeclared => f.write_str("no previously declared queue"),
            Refusal::Inequivalent { argument, object, received, current } => {
                write!(f, "inequivalent arg '{argument}' for {object}: received {received} but current is {current}")
            }
            Refusal::Locked { queue } => write!(
                f,
                "cannot obtain exclusive access to locked {queue}. It could be originally declared on another \
                 connection or the exclusive property value does not match that of the original declaration."
            ),
            Refusal::Argument { argument, queue, why } => write!(f, "invalid arg '{argument}' for {queue}: {why}"),
            Refusal::ArgumentType { argument, queue, got } => {
                write!(f, "invalid type '{got}' for arg '{argument}' in {queue}")
            }
            Refusal::ArgumentOfOtherType { argument, queue, queue_type } => {
                write!(f, "invalid arg '{argument}' for {queue} of queue type {queue_type}")
            }
            Refusal::Property { property, queue } => write!(f, "invalid property '{property}' for {queue}"),
            Refusal::ServerNamed { queue_type } => {
                write!(f, "Cannot declare a server-named queue for type {queue_type}")
            }
            Refusal::ReservedName { kind, name } => {
                let kind = if *kind == Kind::Queue { "queue" } else { "exchange" };
                write!(f, "{kind} name '{name}' contains reserved prefix 'amq.*'")
            }
            Refusal::InUse { object } => write!(f, "{object} in use"),
            Refusal::NotEmpty { queue } => write!(f, "{queue} not empty"),
            Refusal::DefaultExchange => f.write_str("operation not permitted on the default exchange"),
            Refusal::SystemExchange { exchange } => write!(f, "deletion of system {exchange} not allowed"),
            Refusal::InternalExchange { exchange } => write!(f, "cannot publish to internal {exchange}"),
            Refusal::ExchangeType { kind } => write!(f, "invalid exchange type '{kind}'"),
            Refusal::Match { value } => {
                let value = Snippet::term(value.as_bytes());
                write!(f, "Invalid x-match field value {value}; expected all, any, all-with-x, or any-with-x")
            }
            Refusal::UserId { given, user } => {
                write!(f, "user_id property set to '{given}' but authenticated user was '{user}'")
            }
            Refusal::Expiration { given, why } => write!(f, "invalid expiration '{given}': {why}"),
            Refusal::HeaderType { header, got } => {
                write!(f, "invalid message: {{unacceptable_type_in_header,\"{header}\",{got}}}")
            }
            Refusal::NoReplyConsumer => f.write_str("fast reply consumer does not exist"),
            Refusal::ReplyConsumerAcknowledges => f.write_str("reply consumer cannot acknowledge"),
            Refusal::ReplyConsumerTwice => f.write_str("reply consumer already set"),
            Refusal::DeliveryTag(tag) => write!(f, "unknown delivery tag {tag}"),
            Refusal::GetFromSingleActive { queue } => write!(
                f,
                "cannot obtain access to locked {queue}. basic.get operations are not supported by quorum queues with \
                 single active consumer"
            ),
            Refusal::ConsumerTagInUse { tag } => write!(f, "attempt to reuse consumer tag '{tag}'"),
            Refusal::ExclusiveUse { queue } => write!(f, "{queue} in exclusive use"),
            Refusal::PrefetchSize(bytes) => write!(f, "prefetch_size!=0 ({bytes})"),
            Refusal::RecoverWithoutRequeue => f.write_str("requeue=false"),
            Refusal::Immediate => f.write_str("immediate=true"),
            Refusal::TxToConfirm => f.write_str("cannot switch from tx to confirm mode"),
            Refusal::ConfirmToTx => f.write_str("cannot switch from confirm to tx mode"),
            Refusal::NotTransactional => f.write_str("channel is not transactional"),
            Refusal::StreamWithoutPrefetch { queue } => {
                write!(f, "consumer prefetch count is not set for stream {queue}")
            }
            Refusal::StreamWithoutAcks { queue } => {
                write!(f, "automatic acknowledgement not supported by stream {queue}")
            }
            Refusal::StreamPurge { queue } => write!(f, "queue.purge not supported by stream queues {queue}"),
            Refusal::StreamGet { queue } => write!(f, "basic.get not supported by stream queues {queue}"),
        }
    }
}

/// The beginning of a payload, written as RabbitMQ's language writes it: `first 16 octets = <<1,2,...>>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet(String);

/// How much of a payload is shown.
const SNIPPET_BYTES_MAX: usize = 16;

impl Snippet {
    pub fn of(payload: &[u8]) -> Snippet {
        match payload.get(..SNIPPET_BYTES_MAX) {
            Some(first) if payload.len() > SNIPPET_BYTES_MAX => {
                Snippet(format!("first 16 octets = {}", Snippet::term(first)))
            }
            _ => Snippet(format!("all octets = {}", Snippet::term(payload))),
        }
    }

    /// `<<"text">>` if all of it can be printed, else `<<1,2,3>>`.
    fn term(bytes: &[u8]) -> String {
        if bytes.is_empty() {
            return "<<>>".to_string();
        }
        if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return format!("<<\"{}\">>", String::from_utf8_lossy(bytes).replace('\\', "\\\\").replace('"', "\\\""));
        }
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        format!("<<{}>>", numbers.join(","))
    }
}

impl fmt::Display for Snippet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
