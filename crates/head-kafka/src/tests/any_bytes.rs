// SPDX-License-Identifier: Apache-2.0
//! Any bytes: no panic, no more memory than a bound, and a session that answers or closes.

use super::client::{Client, batch_of, produce_request};
use crate::verbs::Request;
use crate::wire::{ApiKey, Format};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{FetchRequest, MetadataRequest};
use proptest::prelude::*;

fn key_and_version() -> impl Strategy<Value = (ApiKey, i16)> {
    proptest::sample::select(ApiKey::ALL.to_vec())
        .prop_flat_map(|key| (Just(key), *key.taken().start()..=*key.taken().end()))
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused((key, version) in key_and_version(), body in any::<Vec<u8>>()) {
        let format = Format { version, flexible: key.is_flexible(version) };
        let length = body.len();
        if let Ok((_, decoded_bytes)) = Request::read(key, format, Bytes::from(body)) {
            prop_assert!(decoded_bytes <= 64 * length, "{decoded_bytes} bytes of {length}");
        }
    }

    #[test]
    fn any_stream_is_answered_or_closed(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut client = Client::with_topic("t", 1);
        for chunk in chunks {
            client.input.extend_from_slice(&chunk);
            client.run();
        }
        client.advance_ms(700_000);
        prop_assert!(client.closed.is_some());
    }

    #[test]
    fn any_framed_body_is_answered_or_closed((key, version) in key_and_version(), body in any::<Vec<u8>>()) {
        let mut client = Client::with_topic("t", 1);
        let mut frame = BytesMut::new();
        frame.put_i32(body.len() as i32 + 11);
        frame.put_i16(key.number());
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.put_u8(0);
        frame.extend_from_slice(&body);
        client.input.extend_from_slice(&frame);
        client.run();
    }

    #[test]
    fn a_good_stream_with_one_byte_changed_is_answered_or_closed(at in 0..700usize, value in any::<u8>()) {
        let mut client = Client::with_topic("t", 1);
        client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["a", "b"]))));
        client.write(7, 7, &FetchRequest::default().with_replica_id((-1).into()));
        client.write(9, 9, &MetadataRequest::default().with_topics(None));
        client.write(7, 7, &produce_request("t", 0, 1, Some(batch_of(&["c"]))));
        let at = at % client.input.len();
        client.input[at] = value;
        client.run();
        client.advance_ms(700_000);
        prop_assert!(client.closed.is_some(), "at least for its silence");
    }

    #[test]
    fn any_cut_of_a_stream_gives_the_same_answers(cuts in proptest::collection::vec(1..200usize, 0..12)) {
        let build = || {
            let mut client = Client::with_topic("t", 1);
            client.write(9, 9, &produce_request("t", 0, -1, Some(batch_of(&["a", "b"]))));
            client.write(9, 9, &MetadataRequest::default().with_topics(None));
            client.write(12, 12, &produce_request("t", 0, -1, Some(batch_of(&["c"]))));
            client
        };
        let mut whole = build();
        whole.run();
        let mut cut = build();
        let mut all = cut.input.split();
        for length in cuts {
            let piece = all.split_to(length.min(all.len()));
            cut.input.extend_from_slice(&piece);
            cut.run();
        }
        cut.input.extend_from_slice(&all);
        cut.run();
        prop_assert_eq!(cut.output, whole.output);
    }
}

#[test]
fn a_hundred_announced_megabytes_take_no_memory_before_they_come() {
    let mut client = Client::new();
    let mut frame = BytesMut::new();
    frame.put_i32(100 * 1024 * 1024);
    frame.put_i16(0);
    frame.put_i16(9);
    client.input.extend_from_slice(&frame);
    let before = client.input.capacity();
    client.run();
    assert_eq!(client.input.capacity(), before, "not even the buffer of the input grows");
    assert!(client.closed.is_none());
}
