// SPDX-License-Identifier: Apache-2.0
//! What is to be sent: frames written into one buffer, with large bodies between its pieces as the slices that they are.
//!
//! Bound: the caller looks at [`Output::bytes`] before it writes more.

use super::Content;
use crate::wire::{ContentHeader, Method, frame};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A body of this size or more is sent as a slice: below it, copying costs less than one more piece to send.
const SLICE_BYTES_MIN: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    pieces_bytes: usize,
}

impl Output {
    /// What has not been taken.
    pub fn bytes(&self) -> usize {
        self.pieces_bytes + self.tail.len()
    }

    /// The next piece.
    pub fn take(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            self.pieces_bytes -= piece.len();
            return Some(piece);
        }
        (!self.tail.is_empty()).then(|| self.tail.split().freeze())
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    pub fn method(&mut self, channel: u16, method: &Method) {
        frame::put_method(&mut self.tail, channel, method);
    }

    pub fn heartbeat(&mut self) {
        frame::put_heartbeat(&mut self.tail);
    }

    /// A method with its content, the body in frames of at most `frame_max` (0: no limit).
    pub fn content(&mut self, channel: u16, method: &Method, content: &Content, frame_max: u32) {
        self.method(channel, method);
        let (class_id, body_bytes) = (method.id().class_id, content.body.len() as u64);
        let header = ContentHeader { class_id, body_bytes, properties: content.properties.clone() };
        frame::put_header(&mut self.tail, channel, &header);
        let limit = if frame_max == 0 { u32::MAX } else { frame_max };
        let payload_bytes_max = (limit as usize).saturating_sub(frame::OVERHEAD_BYTES).max(1);
        let mut rest = content.body.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(payload_bytes_max));
            frame::put_body_head(&mut self.tail, channel, piece.len() as u32);
            if piece.len() < SLICE_BYTES_MIN {
                self.tail.extend_from_slice(&piece);
            } else {
                let before = self.tail.split().freeze();
                self.pieces_bytes += before.len() + piece.len();
                self.pieces.extend([before, piece]);
            }
            self.tail.extend_from_slice(&[frame::END]);
        }
    }
}
