// SPDX-License-Identifier: Apache-2.0
//! Any bytes: no panic; what is written is read back; a cut or a lie in any length is seen.

use crate::wire::sample::Sampler;
use crate::wire::{ContentHeader, Method, Properties, Writer, frame};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn payload(method: &Method) -> Bytes {
    let mut out = BytesMut::new();
    method.write(&mut Writer::new(&mut out));
    out.freeze()
}

/// Every method and some properties, framed, of arbitrary content.
fn stream(seed: Vec<u8>) -> (Vec<Method>, Properties, BytesMut) {
    let mut sampler = Sampler::new(seed);
    let methods = Method::samples(&mut sampler);
    let properties = Properties::sample(&mut sampler);
    let mut out = BytesMut::new();
    for method in &methods {
        frame::put_method(&mut out, 7, method);
    }
    let properties_bytes = frame::properties_bytes(&properties);
    frame::put_header(&mut out, 7, &ContentHeader { class_id: 60, body_bytes: 3, properties: properties_bytes });
    frame::put_body_head(&mut out, 7, 3);
    out.extend_from_slice(&[1, 2, 3, frame::END]);
    frame::put_heartbeat(&mut out);
    (methods, properties, out)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(seed in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (methods, properties, mut input) = stream(seed);
        for method in methods {
            let came = frame::next(&mut input, 0).unwrap().unwrap();
            prop_assert_eq!((came.kind, came.channel), (frame::METHOD, 7));
            prop_assert_eq!(Method::parse(&method.show()), method.clone(), "as text");
            prop_assert_eq!(Method::read(came.payload).unwrap(), method);
        }
        let came = frame::next(&mut input, 0).unwrap().unwrap();
        let header = ContentHeader::read(came.payload).unwrap();
        prop_assert_eq!(header.body_bytes, 3);
        prop_assert_eq!(Properties::new(header.properties).unwrap(), properties);
        prop_assert_eq!(&frame::next(&mut input, 0).unwrap().unwrap().payload[..], &[1, 2, 3]);
        prop_assert_eq!(frame::next(&mut input, 0).unwrap().unwrap().kind, frame::HEARTBEAT);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_payload_cut_anywhere_or_with_something_behind_it_is_refused(seed in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for method in Method::samples(&mut Sampler::new(seed)) {
            let whole = payload(&method);
            for end in 0..whole.len() {
                prop_assert!(Method::read(whole.slice(..end)).is_err(), "{} cut at {end}", method.name());
            }
            let longer = [&whole[..], &[0]].concat();
            prop_assert!(Method::read(longer.into()).is_err(), "{}", method.name());
        }
    }

    #[test]
    fn a_method_with_one_byte_changed_is_read_or_refused(
        seed in proptest::collection::vec(any::<u8>(), 0..600), at in any::<usize>(), value in any::<u8>()
    ) {
        for method in Method::samples(&mut Sampler::new(seed)) {
            let mut bytes = payload(&method).to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(other) = Method::read(bytes.into()) {
                prop_assert_eq!(Method::read(payload(&other)).unwrap(), other);
            }
        }
    }

    #[test]
    fn any_payload_is_read_or_refused(bytes in any::<Vec<u8>>()) {
        for (id, _) in Method::ALL {
            let head = [id.class_id.to_be_bytes(), id.method_id.to_be_bytes()].concat();
            let _ = Method::read([head, bytes.clone()].concat().into());
        }
        let _ = Properties::new(bytes.clone().into());
        let _ = ContentHeader::read(bytes.into());
    }

    #[test]
    fn any_stream_is_frames_or_refused_however_it_is_cut(bytes in any::<Vec<u8>>(), cut in any::<usize>()) {
        let mut whole = BytesMut::from(&bytes[..]);
        let mut frames = Vec::new();
        let end = loop {
            match frame::next(&mut whole, 64) {
                Ok(Some(came)) => frames.push(came),
                Ok(None) => break None,
                Err(why) => break Some(why),
            }
        };
        let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
        let mut input = BytesMut::new();
        let mut again = Vec::new();
        let mut ended = None;
        for piece in [first, second] {
            input.extend_from_slice(piece);
            while ended.is_none() {
                match frame::next(&mut input, 64) {
                    Ok(Some(came)) => again.push(came),
                    Ok(None) => break,
                    Err(why) => ended = Some(why),
                }
            }
        }
        prop_assert_eq!((again, ended), (frames, end));
    }
}

#[test]
fn an_announced_frame_takes_no_memory_before_it_comes() {
    let mut input = BytesMut::from(&[3, 0, 1, 0xff, 0xff, 0xff, 0xff][..]);
    let before = input.capacity();
    assert_eq!(frame::next(&mut input, 0), Ok(None));
    assert_eq!((input.len(), input.capacity()), (7, before));
}
