// SPDX-License-Identifier: Apache-2.0
//! An AMQP connection's bytes, before anybody is let in and after: the session answers, refuses or closes, and never panics. Whatever it
//! asks is answered at once. The first byte says where the stream is cut; its lowest bit, whether the stream begins let in.
#![no_main]

use bytes::{Bytes, BytesMut};
use head_amqp::Settings;
use head_amqp::session::confirms::Outcome;
use head_amqp::session::{Content, Delivery, Opened, Request, Session};
use head_amqp::wire::Method;
use head_amqp::wire::frame::PROTOCOL_HEADER;
use head_amqp::wire::methods::{
    BasicCancelOk, BasicConsumeOk, BasicRecoverOk, ConnectionOpen, ConnectionStartOk, ConnectionTuneOk, QueueDeclareOk,
    TxCommitOk,
};
use libfuzzer_sys::fuzz_target;
use model::Now;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let mut now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
    let mut session = Session::new(Arc::new(Settings::default()), 7, now);
    let mut input = BytesMut::new();
    if cut & 1 == 1 {
        come_in(&mut input);
    }
    let (first, second) = stream.split_at(usize::from(*cut).min(stream.len()));
    for piece in [first, second] {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            session.handle_input(now, &mut input);
            let mut was_asked = false;
            while let Some(request) = session.poll_request() {
                was_asked = true;
                answer(&mut session, now, request);
            }
            while session.poll_output(now).is_some() {}
            if !was_asked && input.len() == before {
                break;
            }
        }
        now.mono_us += 1000;
    }
    for _ in 0..4 {
        now.mono_us += 40_000_000;
        session.handle_timeout(now);
        while session.poll_output(now).is_some() {}
    }
});

fn come_in(input: &mut BytesMut) {
    input.extend_from_slice(&PROTOCOL_HEADER);
    let response = Bytes::from_static(b"\0guest\0guest");
    let methods: [Method; 3] = [
        ConnectionStartOk { mechanism: "PLAIN".into(), response, ..ConnectionStartOk::default() }.into(),
        ConnectionTuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 60 }.into(),
        ConnectionOpen { virtual_host: "/".into() }.into(),
    ];
    for method in &methods {
        head_amqp::wire::frame::put_method(input, 0, method);
    }
}

fn answer(session: &mut Session, now: Now, request: Request) {
    let delivery = || Delivery {
        record: 1,
        redelivered: false,
        exchange: "e".into(),
        routing_key: "k".into(),
        content: Content { properties: Bytes::from_static(&[0, 0]), body: Bytes::from_static(b"body") },
    };
    match request {
        Request::Login(_) => session.handle_login(now, true),
        Request::Open { .. } => session.handle_open(now, Opened::Yes),
        Request::UpdateSecret { .. } => session.handle_secret(now, true),
        Request::Method { channel, method: Method::BasicGet(_) } => {
            session.handle_got(now, channel, Some((delivery(), 0)));
        }
        Request::Method { channel, method: Method::QueueDeclare(declare) } if declare.nowait => {
            session.handle_done(channel)
        }
        Request::Method { channel, .. } => session.handle_answer(now, channel, &QueueDeclareOk::default().into()),
        Request::Consume { channel, consumer, method } => {
            session.handle_answer(now, channel, &BasicConsumeOk { consumer_tag: method.consumer_tag }.into());
            for _ in 0..4 {
                let room = session.room(channel, consumer);
                assert_eq!(session.handle_delivery(channel, consumer, delivery()).is_some(), room > 0);
            }
        }
        Request::Cancel { channel, tag, .. } => {
            session.handle_answer(now, channel, &BasicCancelOk { consumer_tag: tag }.into());
        }
        Request::Publish(publish) => {
            if publish.method.mandatory {
                session.handle_returned(publish.ticket.channel, &publish.method, &publish.content);
            }
            session.handle_published(publish.ticket, Outcome::Accepted);
        }
        Request::Settle { .. } => {}
        Request::Recover { channel, .. } => session.handle_answer(now, channel, &BasicRecoverOk {}.into()),
        Request::Commit { channel, .. } => session.handle_answer(now, channel, &TxCommitOk {}.into()),
        Request::ChannelGone { channel, .. } => session.handle_channel_released(channel),
        Request::ConnectionGone => session.handle_released(now),
    }
}
