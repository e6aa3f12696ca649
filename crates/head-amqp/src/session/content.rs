// SPDX-License-Identifier: Apache-2.0
//! Puts a publish together: its method, then a header, then as much body as the header announced.
//!
//! ```text
//! method --publish--> header --0 bytes--> whole
//!                       |  \--n bytes--> body --the last of n--> whole
//! anything else, anywhere: the frame is not the expected one, and the connection is lost
//! ```
//! A body that comes in one frame stays the slice that it arrived as. One in several frames is gathered: its buffer grows with what
//! came, and is never made for what was announced. What is announced beyond the bound is refused when it is announced.

use super::Content;
use crate::errors::{Refusal, Snippet};
use crate::wire::methods::BasicPublish;
use crate::wire::{ContentHeader, Frame, frame};
use bytes::{Bytes, BytesMut};

/// Class basic: the only one with contents.
const BASIC: u16 = 60;

/// See the module.
#[derive(Debug, Default)]
pub struct Assembly {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Method,
    Header(BasicPublish),
    Body {
        publish: BasicPublish,
        properties: Bytes,
        announced: u64,
        body: BytesMut,
    },
}

/// What a frame completed.
#[derive(Debug)]
pub enum Assembled {
    /// Nothing yet.
    Part,
    Whole(BasicPublish, Content),
    /// A message larger than allowed is announced: it closes the channel.
    TooLarge(Refusal),
}

impl Assembly {
    /// A method may come now.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Method)
    }

    /// A publish came; its content follows.
    pub fn begin(&mut self, publish: BasicPublish) {
        self.state = State::Header(publish);
    }

    /// What is refused if a method comes now.
    pub fn instead_of_method(&self) -> Refusal {
        match self.state {
            State::Method | State::Header(_) => Refusal::NoContentHeader { class_id: BASIC },
            State::Body { .. } => Refusal::NoContentBody,
        }
    }

    /// A frame that is not a method.
    ///
    /// # Errors
    /// It is not the expected one. The connection is lost.
    pub fn frame(&mut self, came: Frame, bytes_max: u64) -> Result<Assembled, Refusal> {
        match std::mem::take(&mut self.state) {
            State::Method => Err(Refusal::NoMethod),
            State::Header(publish) if came.kind == frame::HEADER => {
                let unknown = Refusal::UnknownFrame { kind: came.kind, payload: Snippet::of(&came.payload) };
                let header = ContentHeader::read(came.payload).map_err(|_| unknown)?;
                if header.class_id != BASIC {
                    return Err(Refusal::ContentHeaderClass { class_id: BASIC, got: header.class_id });
                }
                if header.body_bytes > bytes_max {
                    return Ok(Assembled::TooLarge(Refusal::MessageTooLarge { bytes: header.body_bytes, bytes_max }));
                }
                if header.body_bytes == 0 {
                    return Ok(Assembled::Whole(
                        publish,
                        Content { properties: header.properties, body: Bytes::new() },
                    ));
                }
                let (properties, announced) = (header.properties, header.body_bytes);
                self.state = State::Body { publish, properties, announced, body: BytesMut::new() };
                Ok(Assembled::Part)
            }
            State::Header(_) => Err(Refusal::NoContentHeader { class_id: BASIC }),
            State::Body { publish, properties, announced, mut body } if came.kind == frame::BODY => {
                let bytes = (body.len() + came.payload.len()) as u64;
                if bytes > announced {
                    return Err(Refusal::BodyTooLong { bytes, announced });
                }
                if body.is_empty() && bytes == announced {
                    return Ok(Assembled::Whole(publish, Content { properties, body: came.payload }));
                }
                body.extend_from_slice(&came.payload);
                if bytes == announced {
                    return Ok(Assembled::Whole(publish, Content { properties, body: body.freeze() }));
                }
                self.state = State::Body { publish, properties, announced, body };
                Ok(Assembled::Part)
            }
            State::Body { .. } => Err(Refusal::NoContentBody),
        }
    }
}
