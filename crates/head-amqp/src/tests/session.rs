// SPDX-License-Identifier: Apache-2.0
//! A session against any bytes and against much of everything.

use super::session_script::Talk;
use crate::Settings;
use crate::session::content::{Assembled, Assembly};
use crate::wire::methods::{BasicPublish, BasicQos, ChannelOpen, ConnectionClose};
use crate::wire::sample::Sampler;
use crate::wire::{ContentHeader, Frame, Method, frame};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn connected() -> Talk {
    let mut talk = Talk::new(Settings::default());
    talk.connect("/", &["connection.blocked", "authentication_failure_close"]);
    talk
}

/// Everything that is read goes in, and the peer takes everything; the kernel never answers.
fn feed(talk: &mut Talk, bytes: &[u8]) {
    talk.input.extend_from_slice(bytes);
    talk.session.handle_input(talk.now, &mut talk.input);
    talk.drain();
}

proptest! {
    #[test]
    fn any_bytes_before_anybody_is_let_in(bytes in any::<Vec<u8>>(), is_header_good in any::<bool>()) {
        let mut talk = Talk::new(Settings::default());
        if is_header_good {
            feed(&mut talk, &frame::PROTOCOL_HEADER);
        }
        feed(&mut talk, &bytes);
        // Whatever it was, it does not stay.
        for _ in 0..4 {
            talk.now.mono_us += 40_000_000;
            talk.session.handle_timeout(talk.now);
        }
        prop_assert!(talk.session.poll_close().is_some());
    }

    #[test]
    fn any_bytes_on_an_open_channel(bytes in any::<Vec<u8>>(), payload in any::<Vec<u8>>(), kind in 0..10u8) {
        let mut talk = connected();
        talk.open(1);
        let mut whole = BytesMut::from(&[kind, 0, 1][..]);
        whole.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        whole.extend_from_slice(&payload);
        whole.extend_from_slice(&[frame::END]);
        feed(&mut talk, &whole);
        feed(&mut talk, &bytes);
    }

    #[test]
    fn any_methods_in_any_order(seed in proptest::collection::vec(any::<u8>(), 0..3000), order in proptest::collection::vec((0..66usize, 0..3u16), 0..60)) {
        let mut talk = connected();
        talk.open(1);
        let methods = Method::samples(&mut Sampler::new(seed));
        for (at, channel) in order {
            talk.send(channel, methods[at].clone());
            if methods[at].has_content() {
                frame::put_header(&mut talk.input, channel, &ContentHeader { class_id: 60, body_bytes: 0, properties: Bytes::from_static(&[0, 0]) });
                feed(&mut talk, &[]);
            }
            talk.drain();
        }
    }

    #[test]
    fn any_cut_of_a_stream_gives_the_same_answers(cuts in proptest::collection::vec(1..40usize, 0..30)) {
        let mut stream = BytesMut::new();
        for channel in 1..4 {
            frame::put_method(&mut stream, channel, &ChannelOpen {}.into());
            frame::put_method(&mut stream, channel, &BasicQos { prefetch_count: channel, ..BasicQos::default() }.into());
            frame::put_method(&mut stream, channel, &BasicPublish { exchange: "e".into(), ..BasicPublish::default() }.into());
            frame::put_header(&mut stream, channel, &ContentHeader { class_id: 60, body_bytes: 6, properties: Bytes::from_static(&[0, 0]) });
            for piece in [b"abc", b"def"] {
                frame::put_body_head(&mut stream, channel, 3);
                stream.extend_from_slice(piece);
                stream.extend_from_slice(&[frame::END]);
            }
        }
        frame::put_method(&mut stream, 0, &ConnectionClose::default().into());
        let mut whole = connected();
        whole.input.extend_from_slice(&stream);
        whole.session.handle_input(whole.now, &mut whole.input);
        let expected = whole.drain();
        let mut cut = connected();
        let mut came = String::new();
        for length in cuts {
            let piece = stream.split_to(length.min(stream.len()));
            cut.input.extend_from_slice(&piece);
            cut.session.handle_input(cut.now, &mut cut.input);
            came.push_str(&cut.drain());
        }
        cut.input.extend_from_slice(&stream);
        cut.session.handle_input(cut.now, &mut cut.input);
        came.push_str(&cut.drain());
        prop_assert_eq!(came, expected);
        prop_assert_eq!(cut.output, whole.output);
    }
}

#[test]
fn as_many_channels_as_were_agreed_on_and_not_one_more() {
    let mut talk = connected();
    for number in 1..=2047 {
        talk.send(number, ChannelOpen {});
    }
    assert_eq!(talk.session.channel_count(), 2047);
    talk.drain();
    talk.output.clear();
    talk.send(40_000, ChannelOpen {});
    talk.session.handle_released(talk.now);
    talk.drain();
    let came = frame::next(&mut talk.output, 0).unwrap().unwrap();
    let Ok(Method::ConnectionClose(close)) = Method::read(came.payload) else { panic!() };
    assert_eq!(close.reply_code, 530);
    let text = "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)";
    assert_eq!(close.reply_text, text);
}

#[test]
fn a_table_that_is_too_deep_closes_the_connection_and_no_more() {
    let mut fields = Vec::new();
    for _ in 0..10_000 {
        let inside = fields.len() as u32;
        fields = [&[0, b'F'][..], &inside.to_be_bytes(), &fields].concat();
    }
    // queue.declare: a reserved short, an empty name, the octet of bits.
    let payload = [&[0, 50, 0, 10, 0, 0, 0, 0][..], &(fields.len() as u32).to_be_bytes(), &fields].concat();
    let mut talk = connected();
    talk.open(1);
    let mut whole = [&[frame::METHOD, 0, 1][..], &(payload.len() as u32).to_be_bytes(), &payload].concat();
    whole.push(frame::END);
    feed(&mut talk, &whole);
    talk.session.handle_released(talk.now);
    talk.drain();
    let came = frame::next(&mut talk.output, 0).unwrap().unwrap();
    let Ok(Method::ConnectionClose(close)) = Method::read(came.payload) else { panic!() };
    assert_eq!((close.reply_code, close.class_id, close.method_id), (502, 50, 10));
}

#[test]
fn a_body_takes_no_memory_before_it_comes_and_one_frame_is_not_copied() {
    let mut assembly = Assembly::default();
    let header = |body_bytes: u64| {
        let mut out = BytesMut::new();
        frame::put_header(
            &mut out,
            1,
            &ContentHeader { class_id: 60, body_bytes, properties: Bytes::from_static(&[0, 0]) },
        );
        frame::next(&mut out, 0).unwrap().unwrap()
    };
    let body = |payload: Bytes| Frame { kind: frame::BODY, channel: 1, payload };
    assembly.begin(BasicPublish::default());
    assert!(matches!(assembly.frame(header(1 << 24), 1 << 24), Ok(Assembled::Part)));
    for _ in 0..1000 {
        // Frames without anything in them are allowed, and are nothing.
        assert!(matches!(assembly.frame(body(Bytes::new()), 1 << 24), Ok(Assembled::Part)));
    }
    let mut assembly = Assembly::default();
    assembly.begin(BasicPublish::default());
    assert!(matches!(assembly.frame(header(5), 1 << 24), Ok(Assembled::Part)));
    let payload = Bytes::from(vec![7; 5]);
    let Ok(Assembled::Whole(_, content)) = assembly.frame(body(payload.clone()), 1 << 24) else { panic!() };
    assert_eq!(content.body.as_ptr(), payload.as_ptr());
}
