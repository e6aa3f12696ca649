// SPDX-License-Identifier: Apache-2.0
//! Frames, and what a connection begins with.
//!
//! Layout: `kind u8 | channel u16 | length u32 | payload | 0xce`. A header frame's payload: `class u16 | weight u16 | body length u64 |
//! properties`. `frame_max` counts whole frames, so a payload of `frame_max - 8` is the largest that may be sent. Eight more are
//! taken, as RabbitMQ does, because clients are known to get this wrong by that much.
//! A connection begins with eight bytes: `AMQP`, 0, and the version.

use super::{Field, Malformed, Method, Properties, Reader, Writer};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a client of 0-9-1 begins with, and what others are answered.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

pub const METHOD: u8 = 1;
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;
pub const HEARTBEAT: u8 = 8;

/// Ends every frame.
pub const END: u8 = 0xce;

/// A frame without its payload: seven bytes before it, one behind it.
pub const OVERHEAD_BYTES: usize = 8;
const HEAD_BYTES: usize = 7;

/// A whole frame, its payload unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub channel: u16,
    pub payload: Bytes,
}

/// Why nothing that comes from this peer can be understood any more. Told with what RabbitMQ tells of such a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    TooLarge {
        kind: u8,
        channel: u16,
        payload_bytes: u32,
        payload_bytes_max: u32,
    },
    /// Not [`END`] where the frame should end.
    End {
        frame: Frame,
        end: u8,
    },
}

/// Takes the next whole frame out of `input`. `None`: it has not arrived yet. Its size is looked at as soon as it is known, so that
/// a frame that is too large is not gathered first. `frame_bytes_max` 0 is for peers that agreed on no limit; `u32::MAX` then is one.
///
/// # Errors
/// [`FrameError`]: the stream is lost.
pub fn next(input: &mut BytesMut, frame_bytes_max: u32) -> Result<Option<Frame>, FrameError> {
    let Some(head) = input.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let (kind, channel) = (head[0], u16::from_be_bytes([head[1], head[2]]));
    let payload_bytes = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if frame_bytes_max != 0 && payload_bytes > frame_bytes_max {
        let payload_bytes_max = frame_bytes_max.saturating_sub(OVERHEAD_BYTES as u32);
        return Err(FrameError::TooLarge { kind, channel, payload_bytes, payload_bytes_max });
    }
    let length = payload_bytes as usize;
    if input.len() - HEAD_BYTES <= length {
        return Ok(None);
    }
    input.advance(HEAD_BYTES);
    let frame = Frame { kind, channel, payload: input.split_to(length).freeze() };
    match input.get_u8() {
        END => Ok(Some(frame)),
        end => Err(FrameError::End { frame, end }),
    }
}

/// What precedes a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentHeader {
    pub class_id: u16,
    pub body_bytes: u64,
    /// As they came: [`Properties::new`] reads them.
    pub properties: Bytes,
}

impl ContentHeader {
    /// Reads the payload of a header frame; not the properties.
    ///
    /// # Errors
    /// [`Malformed::Short`].
    pub fn read(payload: Bytes) -> Result<ContentHeader, Malformed> {
        let mut reader = Reader::new(payload);
        let (class_id, _weight) = (reader.u16()?, reader.u16()?);
        Ok(ContentHeader { class_id, body_bytes: reader.u64()?, properties: reader.rest() })
    }
}

/// Writes a method's frame.
pub fn put_method(out: &mut BytesMut, channel: u16, method: &Method) {
    put_frame(out, METHOD, channel, |out| method.write(&mut Writer::new(out)));
}

/// Writes a header frame with properties as they came.
pub fn put_header(out: &mut BytesMut, channel: u16, header: &ContentHeader) {
    put_frame(out, HEADER, channel, |out| {
        out.put_u16(header.class_id);
        out.put_u16(0);
        out.put_u64(header.body_bytes);
        out.put_slice(&header.properties);
    });
}

/// Properties as a header frame carries them.
pub fn properties_bytes(properties: &Properties) -> Bytes {
    let mut out = BytesMut::new();
    properties.write(&mut Writer::new(&mut out));
    out.freeze()
}

/// Writes what stands before a piece of body. The piece and [`END`] follow.
pub fn put_body_head(out: &mut BytesMut, channel: u16, payload_bytes: u32) {
    out.put_u8(BODY);
    out.put_u16(channel);
    out.put_u32(payload_bytes);
}

pub fn put_heartbeat(out: &mut BytesMut) {
    put_frame(out, HEARTBEAT, 0, |_| {});
}

fn put_frame(out: &mut BytesMut, kind: u8, channel: u16, put_payload: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    out.put_u16(channel);
    let at = out.len();
    out.put_u32(0);
    put_payload(out);
    let payload_bytes = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&payload_bytes.to_be_bytes());
    out.put_u8(END);
}
