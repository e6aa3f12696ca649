// SPDX-License-Identifier: Apache-2.0
//! Writes one frame, as a rule a response. Records are not copied into it: the frame comes out as pieces, some written here, some
//! slices of the batches they were read from.

use super::reader::STRING_BYTES_MAX;
use super::{ApiKey, Format};
use bytes::{BufMut, Bytes, BytesMut};

/// Records up to this size are copied into the frame: cheaper than a piece of their own.
const COPIED_BYTES_MAX: usize = 512;

/// See the module.
pub struct Writer {
    written: BytesMut,
    /// Slices to be put in, each list at a position of `written`.
    inserts: Vec<(usize, Vec<Bytes>)>,
    insert_bytes: usize,
}

impl Writer {
    /// Starts the response to the request of that number. `tagged_header`: its header ends with (no) tagged fields.
    pub fn response(correlation_id: i32, tagged_header: bool) -> Writer {
        let mut written = BytesMut::with_capacity(128);
        written.put_i32(0);
        written.put_i32(correlation_id);
        if tagged_header {
            written.put_u8(0);
        }
        Writer { written, inserts: Vec::new(), insert_bytes: 0 }
    }

    /// Starts a request: the other side of this protocol, for our own command line.
    pub fn request(key: ApiKey, version: i16, correlation_id: i32, client_id: &str) -> Writer {
        let mut written = BytesMut::with_capacity(128);
        written.put_i32(0);
        written.put_i16(key.number());
        written.put_i16(version);
        written.put_i32(correlation_id);
        let mut writer = Writer { written, inserts: Vec::new(), insert_bytes: 0 };
        // A plain string in flexible versions, too.
        writer.string(Format { version, flexible: false }, Some(client_id));
        writer.no_tags(Format { version, flexible: key.is_flexible(version) });
        writer
    }

    /// Starts a message that is in no frame.
    pub fn body() -> Writer {
        Writer { written: BytesMut::with_capacity(128), inserts: Vec::new(), insert_bytes: 0 }
    }

    /// A message that is in no frame, in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        if self.inserts.is_empty() {
            return self.written.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.written.len() + self.insert_bytes);
        let mut at = 0;
        for (position, insert) in self.inserts {
            whole.put(self.written.split_to(position - at));
            at = position;
            insert.into_iter().for_each(|slice| whole.put(slice));
        }
        whole.put(self.written);
        whole.freeze()
    }

    /// Fills in the frame's length and gives out its pieces, in order.
    pub fn finish(mut self) -> Vec<Bytes> {
        let length = self.written.len() - 4 + self.insert_bytes;
        // A response is bounded far below this by what one request may ask for; a frame that lied would be worse.
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        self.written[..4].copy_from_slice(&length.to_be_bytes());
        let mut written = self.written.freeze();
        let mut pieces = Vec::with_capacity(1 + 2 * self.inserts.len());
        let mut at = 0;
        for (position, insert) in self.inserts {
            if position > at {
                pieces.push(written.split_to(position - at));
                at = position;
            }
            pieces.extend(insert);
        }
        if !written.is_empty() {
            pieces.push(written);
        }
        pieces
    }

    pub fn i8(&mut self, value: i8) {
        self.written.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.written.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.written.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.written.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.written.put_i64(value);
    }

    pub fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.written.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.written.put_u8(value as u8);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.written.put_slice(bytes);
    }

    /// A string or null. Cut at what the layout can say (32 KiB): only messages for people can be that long.
    pub fn string(&mut self, format: Format, value: Option<&str>) {
        match (value, format.flexible) {
            (None, false) => self.i16(-1),
            (None, true) => self.varint(0),
            (Some(text), flexible) => {
                let text = &text[..text.floor_char_boundary(STRING_BYTES_MAX)];
                if flexible {
                    self.varint(text.len() as u32 + 1)
                } else {
                    self.i16(text.len() as i16)
                }
                self.raw(text.as_bytes());
            }
        }
    }

    /// The count of an array, or null.
    pub fn count(&mut self, format: Format, count: Option<usize>) {
        match (count, format.flexible) {
            (None, false) => self.i32(-1),
            (None, true) => self.varint(0),
            (Some(count), false) => self.i32(count as i32),
            (Some(count), true) => self.varint(count as u32 + 1),
        }
    }

    /// A byte string given as slices.
    pub fn slices(&mut self, format: Format, slices: &[Bytes]) {
        let bytes: usize = slices.iter().map(Bytes::len).sum();
        self.count(format, Some(bytes));
        if bytes <= COPIED_BYTES_MAX {
            for slice in slices {
                self.raw(slice);
            }
        } else {
            self.inserts.push((self.written.len(), slices.to_vec()));
            self.insert_bytes += bytes;
        }
    }

    /// Ends a struct of a flexible version: no tagged fields.
    pub fn no_tags(&mut self, format: Format) {
        if format.flexible {
            self.written.put_u8(0);
        }
    }
}
