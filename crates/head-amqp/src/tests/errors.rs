// SPDX-License-Identifier: Apache-2.0
//! Every refusal that RabbitMQ 4.0.5 was seen to answer, word for word, with its code and what it closes.

use crate::errors::{BadArgument, BadExpiration, Compared, Kind, Object, QueueType, Refusal, Snippet};
use crate::wire::{ShortString, Value};

fn object(kind: Kind, name: &str) -> Box<Object> {
    Box::new(Object { kind, name: name.into(), vhost: "/".into() })
}

fn queue(name: &str) -> Box<Object> {
    object(Kind::Queue, name)
}

fn exchange(name: &str) -> Box<Object> {
    object(Kind::Exchange, name)
}

fn flag(value: bool) -> Compared {
    Compared::Property(value.to_string())
}

fn differs(argument: &'static str, object: Box<Object>, received: Compared, current: Compared) -> Refusal {
    Refusal::Inequivalent { argument, object, received, current }
}

fn argument(argument: &'static str, name: &str, why: BadArgument) -> Refusal {
    Refusal::Argument { argument, queue: queue(name), why }
}

/// What the case is refused with; `None` if it is not.
fn refusal(case: &str) -> Option<Refusal> {
    let property = |value: &str| Compared::Property(value.to_string());
    Some(match case {
        "wrong password" => Refusal::Login { mechanism: "PLAIN".into() },
        "missing vhost" => Refusal::NoVhost { vhost: "none-TAG".into() },
        "queue.declare passive, missing"
        | "queue.purge missing"
        | "queue.bind missing queue"
        | "basic.get missing queue"
        | "consume missing queue" => Refusal::None { object: queue("none-TAG") },
        "queue.declare passive amq.name" => Refusal::None { object: queue("amq.TAG") },
        "queue.bind missing exchange"
        | "exchange.declare passive, missing"
        | "exchange.bind missing source"
        | "exchange.bind missing destination"
        | "publish to missing exchange" => Refusal::None { object: exchange("none-TAG") },
        "queue.declare durable differs" => differs("durable", queue("q-TAG"), flag(false), flag(true)),
        "queue.declare auto-delete differs" => differs("auto_delete", queue("q-TAG"), flag(true), flag(false)),
        "queue.declare exclusive differs" => Refusal::Locked { queue: queue("q-TAG") },
        "queue.declare another's exclusive" | "consume from another's exclusive" => {
            Refusal::Locked { queue: queue("x-TAG") }
        }
        "queue.declare argument added" => {
            differs("x-max-length", queue("q-TAG"), Compared::Argument(Box::new(Value::I32(5))), Compared::None)
        }
        "queue.declare type differs" => {
            differs("x-queue-type", queue("q-TAG"), property("quorum"), property("classic"))
        }
        "queue.declare unknown type" => argument("x-queue-type", "new-9-TAG", BadArgument::QueueType("nothing".into())),
        "queue.declare amq.name" => Refusal::ReservedName { kind: Kind::Queue, name: "amq.TAG".into() },
        "x-message-ttl negative" => argument("x-message-ttl", "new-14-TAG", BadArgument::Negative(-1)),
        "x-message-ttl string" => {
            argument("x-message-ttl", "new-15-TAG", BadArgument::Type { expected: "integer", got: "longstr" })
        }
        "x-expires 0" => argument("x-expires", "new-17-TAG", BadArgument::Zero),
        "x-max-length negative" => argument("x-max-length", "new-18-TAG", BadArgument::Negative(-1)),
        "x-overflow unknown" => argument("x-overflow", "new-19-TAG", BadArgument::Overflow),
        "x-max-priority 256" => argument("x-max-priority", "new-21-TAG", BadArgument::AboveMax(256)),
        "x-dead-letter-exchange number" => Refusal::ArgumentType {
            argument: "x-dead-letter-exchange",
            queue: queue("new-22-TAG"),
            got: Value::I32(1).type_name(),
        },
        "x-dead-letter-routing-key alone" => {
            argument("x-dead-letter-routing-key", "new-23-TAG", BadArgument::DeadLetterKeyAlone)
        }
        "quorum exclusive" => Refusal::Property { property: "exclusive-owner", queue: queue("new-24-TAG") },
        "quorum transient" => Refusal::Property { property: "auto-delete", queue: queue("new-25-TAG") },
        "stream transient" => Refusal::Property { property: "auto-delete", queue: queue("new-28-TAG") },
        "quorum x-max-priority" => Refusal::ArgumentOfOtherType {
            argument: "x-max-priority",
            queue: queue("new-26-TAG"),
            queue_type: QueueType::Quorum,
        },
        "quorum server-named" => Refusal::ServerNamed { queue_type: QueueType::Quorum },
        "queue.delete if-unused with a consumer" => Refusal::InUse { object: queue("q-TAG") },
        "queue.delete if-empty with a message" => Refusal::NotEmpty { queue: queue("q-TAG") },
        "queue.bind default exchange" | "exchange.declare default" | "exchange.delete default" => {
            Refusal::DefaultExchange
        }
        "queue.bind headers bad x-match" => Refusal::Match { value: "some".into() },
        "queue.bind empty name, none declared" => Refusal::NoneDeclared,
        "exchange.declare type differs" => differs("type", exchange("e-TAG"), property("fanout"), property("direct")),
        "exchange.declare durable differs" => differs("durable", exchange("e-TAG"), flag(true), flag(false)),
        "exchange.declare internal differs" => differs("internal", exchange("e-TAG"), flag(true), flag(false)),
        "exchange.declare alternate-exchange differs" => {
            let received = Compared::Argument(Box::new(Value::String("amq.fanout".into())));
            differs("alternate-exchange", exchange("e-TAG"), received, Compared::None)
        }
        "exchange.declare unknown type" => Refusal::ExchangeType { kind: "nothing".into() },
        "exchange.declare amq.name" => Refusal::ReservedName { kind: Kind::Exchange, name: "amq.TAG".into() },
        "exchange.delete amq.direct" => Refusal::SystemExchange { exchange: exchange("amq.direct") },
        "exchange.delete if-unused, bound" => Refusal::InUse { object: exchange("e-TAG") },
        "publish to internal exchange" => Refusal::InternalExchange { exchange: exchange("int-TAG") },
        "publish user-id of another" => Refusal::UserId { given: "other".into(), user: "guest".into() },
        "publish expiration not a number" => {
            Refusal::Expiration { given: "soon".into(), why: BadExpiration::NoInteger }
        }
        "publish expiration negative" => Refusal::Expiration { given: "-1".into(), why: BadExpiration::Negative(-1) },
        "publish CC not an array" => Refusal::HeaderType { header: "CC", got: Value::String("x".into()).type_name() },
        "publish reply-to direct, no consumer" => Refusal::NoReplyConsumer,
        "ack unknown tag" | "nack unknown tag" | "reject unknown tag" => Refusal::DeliveryTag(82),
        "basic.get from quorum single-active-consumer queue" => Refusal::GetFromSingleActive { queue: queue("qs-TAG") },
        "consume with a tag in use" => Refusal::ConsumerTagInUse { tag: "t".into() },
        "exclusive consume, another there" => Refusal::ExclusiveUse { queue: queue("sac-TAG") },
        "consume direct reply-to with acks" => Refusal::ReplyConsumerAcknowledges,
        "consume direct reply-to twice" => Refusal::ReplyConsumerTwice,
        "qos prefetch-size" => Refusal::PrefetchSize(1000),
        "recover requeue=false" => Refusal::RecoverWithoutRequeue,
        "publish immediate" => Refusal::Immediate,
        "tx.select then confirm.select" => Refusal::TxToConfirm,
        "confirm.select then tx.select" => Refusal::ConfirmToTx,
        "tx.commit without select" => Refusal::NotTransactional,
        "stream consume without qos" => Refusal::StreamWithoutPrefetch { queue: queue("st-TAG") },
        "stream consume no-ack" => Refusal::StreamWithoutAcks { queue: queue("st-TAG") },
        "stream purge" => Refusal::StreamPurge { queue: queue("st-TAG") },
        "stream basic.get" => Refusal::StreamGet { queue: queue("st-TAG") },
        _ => return None,
    })
}

/// Case, what it closes, and what came. A long case leaves one space behind it, so what it closes is looked for: a code follows it.
fn split(line: &str) -> (&str, &str, &str) {
    for level in ["auth", "access", "channel", "connection", "ok"] {
        for (at, found) in line.match_indices(&format!(" {level} ")) {
            let (case, answer) = (line[..at].trim_end(), line[at + found.len()..].trim());
            if level == "ok" || answer.starts_with(|letter: char| letter.is_ascii_digit()) {
                return (case, level, answer);
            }
        }
    }
    panic!("{line}");
}

#[test]
fn every_refusal_is_rabbitmq_s_word_for_word() {
    let rows = include_str!("../testdata/rabbitmq-4.0.5.txt").lines().filter(|line| !line.starts_with('#'));
    let (mut count, mut refused) = (0, 0);
    for line in rows {
        let (case, level, answer) = split(line);
        count += 1;
        let Some(refusal) = refusal(case) else {
            assert_eq!(level, "ok", "{case}: no refusal stands for it");
            continue;
        };
        refused += 1;
        // At login the answer stands as a client library printed it.
        let (code, text) = answer.split_once(' ').unwrap();
        let text = text.split_once(") '").map_or(text, |(_, text)| text.trim_end_matches('\''));
        assert_eq!(
            (refusal.code().number().to_string().as_str(), refusal.reply_text().to_string().as_str()),
            (code, text)
        );
        let closes = if refusal.code().is_hard() { "connection" } else { "channel" };
        assert!(closes == level || matches!(level, "auth" | "access"), "{case}");
    }
    assert_eq!((count, refused), (93, 74));
}

#[test]
fn a_text_that_is_too_long_is_cut_where_a_letter_ends() {
    let name = ShortString::clipped(&"é".repeat(200));
    assert_eq!(name.as_bytes().len(), 255);
    assert!(name.as_str().is_some_and(|text| text.ends_with("é...")));
    let text = Refusal::None { object: queue(&"q".repeat(250)) }.reply_text();
    assert_eq!(text.as_bytes().len(), 255);
}

#[test]
fn payloads_are_shown_as_rabbitmq_shows_them() {
    assert_eq!(Snippet::of(b"").to_string(), "all octets = <<>>");
    assert_eq!(Snippet::of(b"abc").to_string(), "all octets = <<\"abc\">>");
    assert_eq!(Snippet::of(&[0, 1, 255]).to_string(), "all octets = <<0,1,255>>");
    assert_eq!(Snippet::of(&[b'a'; 17]).to_string(), "first 16 octets = <<\"aaaaaaaaaaaaaaaa\">>");
}
