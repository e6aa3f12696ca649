// SPDX-License-Identifier: Apache-2.0
//! Conversations as text, in `testdata/session/`: what a client sends and what the kernel's side answers and, indented, what came of it.
//! `UPDATE_EXPECT=1` rewrites what came.
//!
//! ```text
//! > amqp 0 0 9 1                        the client's first eight bytes
//! > 1 queue.declare queue=q             a method on a channel, as in methods.txt
//! > 1 header 5 [delivery_mode=2 ...]    a header frame for a body of that many bytes, with properties
//! > 1 body hello                        a body frame
//! > 1 message hello [delivery_mode=2]   both, in one body frame
//! > 1 heartbeat        > hex 0800...    anything
//! k login yes | no       k open yes | no-vhost | no-access      k secret yes | no
//! k 1 answer queue.declare-ok queue=q   k 1 done (nowait)   k 1 refuse 50.10 | 60.40    refused as a missing queue q, or a missing exchange e
//! k 1 published 1 ok | rejected         the first of the connection's publishes; k 1 returned 1 before it
//! k 1 deliver c1 r7 hello [redelivered] record 7 to the channel's first consumer; k 1 got r7 hello 3 | k 1 got nothing
//! k 1 cancelled c1       k 1 released      k released      k blocked why | k blocked       k force why
//! wait 1500              milliseconds
//! connect [vhost /] [capabilities ...]  a whole handshake, not shown; then `open 1` a channel, not shown
//! set message_bytes_max 10              before the first line
//! ```
//! What came: `< 0 connection.tune ...` to the client, a message as its three frames' contents; `? ...` asked of the kernel's side; `x ...`
//! the connection is over; `not read` and `read again` where that changes.

use super::golden::{hex, play, unhex};
use crate::Settings;
use crate::errors::{Kind, Object, Refusal};
use crate::session::confirms::Outcome;
use crate::session::{ChannelKey, Content, Delivery, Opened, Publish, Request, Session};
use crate::wire::methods::{ChannelOpen, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk};
use crate::wire::sample::quote;
use crate::wire::{ContentHeader, Method, MethodId, Properties, Table, TableWriter, Value, frame};
use bytes::{Bytes, BytesMut};
use model::Now;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub struct Talk {
    pub session: Session,
    pub now: Now,
    pub input: BytesMut,
    pub output: BytesMut,
    publishes: Vec<Publish>,
    channels: BTreeMap<u16, ChannelKey>,
    was_read: bool,
    is_over: bool,
}

impl Talk {
    pub fn new(settings: Settings) -> Talk {
        let now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
        Talk {
            session: Session::new(Arc::new(settings), 7, now),
            now,
            input: BytesMut::new(),
            output: BytesMut::new(),
            publishes: Vec::new(),
            channels: BTreeMap::new(),
            was_read: true,
            is_over: false,
        }
    }

    pub fn send(&mut self, channel: u16, method: impl Into<Method>) {
        frame::put_method(&mut self.input, channel, &method.into());
        self.session.handle_input(self.now, &mut self.input);
    }

    /// A handshake, whose answers nobody looks at.
    pub fn connect(&mut self, virtual_host: &str, capabilities: &[&str]) {
        self.input.extend_from_slice(&frame::PROTOCOL_HEADER);
        let table = capabilities.iter().fold(TableWriter::new(), |writer, name| writer.field(name, &Value::Bool(true)));
        let client_properties = TableWriter::new().field("capabilities", &Value::Table(table.table())).table();
        let response = Bytes::from_static(b"\0guest\0guest");
        self.send(
            0,
            ConnectionStartOk { client_properties, mechanism: "PLAIN".into(), response, locale: "en_US".into() },
        );
        self.session.handle_login(self.now, true);
        let Settings { channel_max, frame_max, .. } = Settings::default();
        self.send(0, ConnectionTuneOk { channel_max, frame_max, heartbeat: 0 });
        self.send(0, ConnectionOpen { virtual_host: virtual_host.into() });
        self.session.handle_open(self.now, Opened::Yes);
        self.drain();
        self.output.clear();
    }

    pub fn open(&mut self, number: u16) {
        self.send(number, ChannelOpen {});
        self.drain();
        self.output.clear();
    }

    /// What is asked and sent meanwhile, as lines.
    pub fn drain(&mut self) -> String {
        let mut shown = String::new();
        while let Some(request) = self.session.poll_request() {
            writeln!(shown, "? {}", self.show_request(request)).expect("a string");
        }
        while let Some(piece) = self.session.poll_output(self.now) {
            self.output.extend_from_slice(&piece);
        }
        let is_read = self.session.wants_input() || self.session.poll_close().is_some();
        if is_read != self.was_read {
            shown.push_str(if is_read { "read again\n" } else { "not read\n" });
            self.was_read = is_read;
        }
        shown
    }

    /// The same, with what was sent.
    fn heard(&mut self) -> String {
        let mut shown = self.drain();
        while !self.output.is_empty() {
            if self.output.starts_with(b"AMQP") {
                let header = self.output.split_to(8);
                writeln!(shown, "< amqp {} {} {} {}", header[4], header[5], header[6], header[7]).expect("a string");
                continue;
            }
            let came = frame::next(&mut self.output, 0).expect("frames").expect("whole frames");
            let channel = came.channel;
            let line = match came.kind {
                frame::METHOD => Method::read(came.payload).expect("a method").show(),
                frame::HEADER => {
                    let header = ContentHeader::read(came.payload).expect("a header");
                    let properties = Properties::new(header.properties).expect("properties").show();
                    format!("header {}{}", header.body_bytes, properties.trim_start_matches("properties"))
                }
                frame::BODY => format!("body {}", shorten(&came.payload)),
                _ => "heartbeat".to_string(),
            };
            writeln!(shown, "< {channel} {line}").expect("a string");
        }
        if let Some(close) = self.session.poll_close()
            && !std::mem::replace(&mut self.is_over, true)
        {
            writeln!(shown, "x {}", close.reason).expect("a string");
        }
        shown
    }

    fn show_request(&mut self, request: Request) -> String {
        let tags = |deliveries: &[(u64, crate::session::Delivered)]| {
            let one = |(tag, delivered): &(u64, crate::session::Delivered)| {
                let consumer = delivered.consumer.map_or(String::new(), |consumer| format!("c{consumer}"));
                format!(" {tag}:r{}{consumer}", delivered.record)
            };
            deliveries.iter().map(one).collect::<String>()
        };
        let show_publish = |publish: &Publish| {
            let method = Method::from(publish.method.clone()).show();
            let properties = publish.properties.show();
            let confirm = publish.ticket.confirm.map_or(String::new(), |number| format!(" confirm {number}"));
            format!("{method} {properties} body {}{confirm}", shorten(&publish.content.body))
        };
        match request {
            Request::Login(credentials) => {
                format!("login {} {}", quote(credentials.user.as_bytes()), quote(&credentials.password.0))
            }
            Request::Open { virtual_host } => format!("open {}", quote(virtual_host.as_bytes())),
            Request::UpdateSecret { secret } => format!("secret {}", quote(&secret.0)),
            Request::Method { channel, method } => {
                self.channels.insert(channel.number, channel);
                format!("{} {}", channel.number, method.show())
            }
            Request::Consume { channel, consumer, method } => {
                self.channels.insert(channel.number, channel);
                format!("{} c{consumer} {}", channel.number, Method::from(method).show())
            }
            Request::Cancel { channel, consumer, tag } => {
                format!("{} cancel c{consumer} {}", channel.number, quote(tag.as_bytes()))
            }
            Request::Publish(publish) => {
                self.channels.insert(publish.ticket.channel.number, publish.ticket.channel);
                let shown = format!("{} {}", publish.ticket.channel.number, show_publish(&publish));
                self.publishes.push(*publish);
                shown
            }
            Request::Settle { channel, settled } => {
                format!("{} settle {:?}{}", channel.number, settled.settlement, tags(&settled.deliveries))
            }
            Request::Recover { channel, deliveries } => {
                self.channels.insert(channel.number, channel);
                format!("{} recover{}", channel.number, tags(&deliveries))
            }
            Request::Commit { channel, publishes, settled } => {
                self.channels.insert(channel.number, channel);
                let publishes = publishes.iter().map(|publish| format!(" [{}]", show_publish(publish)));
                let settled = settled.iter().map(|one| format!(" [{:?}{}]", one.settlement, tags(&one.deliveries)));
                format!("{} commit{}", channel.number, publishes.chain(settled).collect::<String>())
            }
            Request::ChannelGone { channel, deliveries } => {
                self.channels.insert(channel.number, channel);
                format!("{} gone{}", channel.number, tags(&deliveries))
            }
            Request::ConnectionGone => "gone".to_string(),
        }
    }

    fn key(&self, number: u16) -> ChannelKey {
        self.channels.get(&number).copied().unwrap_or(ChannelKey { number, life: 1 })
    }

    fn client(&mut self, rest: &str) {
        if let Some(bytes) = rest.strip_prefix("hex ") {
            self.input.extend_from_slice(&unhex(bytes));
        } else if let Some(version) = rest.strip_prefix("amqp ") {
            let version: Vec<u8> = version.split(' ').map(|digit| digit.parse().expect("a digit")).collect();
            self.input.extend_from_slice(&[&b"AMQP"[..], &version].concat());
        } else {
            let (channel, what) = rest.split_once(' ').expect("a channel");
            let channel: u16 = channel.parse().expect("a channel");
            let (kind, rest) = what.split_once(' ').unwrap_or((what, ""));
            match kind {
                "heartbeat" => {
                    let at = self.input.len();
                    frame::put_heartbeat(&mut self.input);
                    self.input[at + 1..at + 3].copy_from_slice(&channel.to_be_bytes());
                }
                "header" => self.header(channel, rest),
                "body" => self.body(channel, rest.as_bytes()),
                "message" => {
                    let (body, properties) = rest.split_once(' ').unwrap_or((rest, ""));
                    self.header(channel, &format!("{} {properties}", body.len()));
                    if !body.is_empty() {
                        self.body(channel, body.as_bytes());
                    }
                }
                _ => frame::put_method(&mut self.input, channel, &Method::parse(what)),
            }
        }
        self.session.handle_input(self.now, &mut self.input);
    }

    fn header(&mut self, channel: u16, rest: &str) {
        let (length, properties) = rest.split_once(' ').unwrap_or((rest, ""));
        let properties = Properties::parse(&format!("properties {properties}"));
        let body_bytes = length.parse().expect("a length");
        let header = ContentHeader { class_id: 60, body_bytes, properties: frame::properties_bytes(&properties) };
        frame::put_header(&mut self.input, channel, &header);
    }

    fn body(&mut self, channel: u16, body: &[u8]) {
        frame::put_body_head(&mut self.input, channel, body.len() as u32);
        self.input.extend_from_slice(body);
        self.input.extend_from_slice(&[frame::END]);
    }

    fn kernel(&mut self, rest: &str) {
        let now = self.now;
        let words: Vec<&str> = rest.split(' ').collect();
        let yes = words.get(1) == Some(&"yes");
        match words[0] {
            "login" => return self.session.handle_login(now, yes),
            "secret" => return self.session.handle_secret(now, yes),
            "open" => {
                let opened = match words[1] {
                    "yes" => Opened::Yes,
                    "no-vhost" => Opened::NoSuchVhost,
                    _ => Opened::NoAccess,
                };
                return self.session.handle_open(now, opened);
            }
            "released" => return self.session.handle_released(now),
            "blocked" => return self.session.handle_blocked(now, words.get(1).map(|_| &rest["blocked ".len()..])),
            "force" => return self.session.handle_forced_close(now, &rest["force ".len()..]),
            _ => {}
        }
        let number: u16 = words[0].parse().expect("a channel");
        let key = self.key(number);
        let consumer = |word: &str| word.trim_start_matches('c').parse().expect("a consumer");
        let delivery = |record: &str, body: &str, redelivered| Delivery {
            record: record.trim_start_matches('r').parse().expect("a record"),
            redelivered,
            exchange: "e".into(),
            routing_key: "k".into(),
            content: Content {
                properties: frame::properties_bytes(&Properties::default()),
                body: Bytes::copy_from_slice(body.as_bytes()),
            },
        };
        let publish = |word: &str| self.publishes[word.parse::<usize>().expect("a number") - 1].clone();
        match words[1] {
            "answer" => {
                let method = Method::parse(rest.split_once("answer ").expect("a method").1);
                self.session.handle_answer(now, key, &method);
            }
            "done" => self.session.handle_done(key),
            "refuse" => {
                let (class_id, method_id) = words[2].split_once('.').expect("an id");
                let method = MethodId {
                    class_id: class_id.parse().expect("a number"),
                    method_id: method_id.parse().expect("a number"),
                };
                let (kind, name) = if class_id == "60" { (Kind::Exchange, "e") } else { (Kind::Queue, "q") };
                let object = Box::new(Object { kind, name: name.into(), vhost: self.session.virtual_host().clone() });
                self.session.handle_refusal(now, key, method, Refusal::None { object });
            }
            "published" => {
                let outcome = if words[3] == "ok" { Outcome::Accepted } else { Outcome::Rejected };
                let ticket = publish(words[2]).ticket;
                self.session.handle_published(ticket, outcome);
            }
            "returned" => {
                let publish = publish(words[2]);
                self.session.handle_returned(publish.ticket.channel, &publish.method, &publish.content);
            }
            "deliver" => {
                let delivery = delivery(words[3], words[4], words.get(5) == Some(&"redelivered"));
                self.session.handle_delivery(key, consumer(words[2]), delivery);
            }
            "got" if words[2] == "nothing" => self.session.handle_got(now, key, None),
            "got" => {
                let count = words[4].parse().expect("a number");
                self.session.handle_got(now, key, Some((delivery(words[2], words[3], false), count)));
            }
            "cancelled" => self.session.handle_consumer_cancelled(key, consumer(words[2])),
            "released" => self.session.handle_channel_released(key),
            word => panic!("{word}"),
        }
        // What waited behind a bound.
        self.session.handle_input(now, &mut self.input);
    }

    fn wait(&mut self, ms: u64) {
        let end_us = self.now.mono_us + ms * 1000;
        while let Some(due_us) = self.session.poll_timeout().filter(|due_us| *due_us <= end_us) {
            self.now.mono_us = self.now.mono_us.max(due_us);
            let before = self.session.poll_timeout();
            self.session.handle_timeout(self.now);
            self.drain();
            assert!(self.session.poll_timeout() != before, "a timeout that stays due");
        }
        self.now.mono_us = end_us;
    }
}

fn shorten(bytes: &[u8]) -> String {
    if bytes.len() > 40 { format!("{} bytes", bytes.len()) } else { quote(bytes) }
}

fn set(settings: &mut Settings, name: &str, value: &str) {
    let number: usize = value.parse().expect("a number");
    match name {
        "message_bytes_max" => settings.message_bytes_max = number as u64,
        "inflight_bytes_max" => settings.inflight_bytes_max = number,
        "held_bytes_max" => settings.held_bytes_max = number,
        "transaction_bytes_max" => settings.transaction_bytes_max = number as u64,
        "confirm_window_max" => settings.confirm_window_max = number,
        "silent_methods_max" => settings.silent_methods_max = number,
        "unacked_max" => settings.unacked_max = number,
        "consumers_max" => settings.consumers_max = number,
        "channel_max" => settings.channel_max = number as u16,
        name => panic!("{name}"),
    }
}

fn talk(name: &str) {
    let mut settings = Settings::default();
    let mut talk = Talk::new(settings.clone());
    play(&format!("session/{name}"), |line| {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            ">" => talk.client(rest),
            "k" => talk.kernel(rest),
            "wait" => talk.wait(rest.parse().expect("milliseconds")),
            "set" => {
                let (name, value) = rest.split_once(' ').expect("a value");
                set(&mut settings, name, value);
                talk = Talk::new(settings.clone());
            }
            "again" => talk = Talk::new(settings.clone()),
            "connect" => {
                talk = Talk::new(settings.clone());
                let capabilities: Vec<&str> = rest.split(' ').filter(|name| !name.is_empty()).collect();
                talk.connect("/", &capabilities);
            }
            "open" => talk.open(rest.parse().expect("a channel")),
            verb => panic!("{verb}"),
        }
        talk.heard()
    });
    assert_eq!(hex(&talk.output), "", "something that is no frame");
}

macro_rules! talks {
    ($( $name:ident $file:literal; )*) => { $(
        #[test]
        fn $name() {
            talk($file);
        }
    )* };
}

talks! {
    clients_come_in_each_in_its_way "dialects.txt";
    whoever_is_refused_is_told_or_is_not "refused.txt";
    silence_is_noticed_on_either_side "heartbeats.txt";
    either_side_closes "closes.txt";
    channels_come_and_go "channels.txt";
    frames_that_should_not_be_there_end_the_connection "bad-frames.txt";
    contents_are_put_together "contents.txt";
    publishers_are_told_what_became_of_it "confirms.txt";
    deliveries_are_settled_once "deliveries.txt";
    transactions_are_kept_until_they_are_committed "transactions.txt";
    a_publisher_is_held_back "blocked.txt";
    order_is_kept_on_a_channel "order.txt";
}

/// `Table` is what scripts name capabilities in.
#[test]
fn what_is_announced_is_what_the_settings_say() {
    let settings = Settings::default();
    let table = settings.server_properties();
    let Some(Value::Table(capabilities)) = Table::get(&table, "capabilities") else { panic!("{table:?}") };
    assert_eq!(capabilities.iter().count(), settings.capabilities.len());
    assert_eq!(table.get("product"), Some(Value::String("RabbitMQ".into())));
}
