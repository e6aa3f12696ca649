// SPDX-License-Identifier: Apache-2.0
//! Writes the primitive types, straight into the output buffer.

use super::short_string::ShortString;
use bytes::{BufMut, BytesMut};

/// See the module.
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    /// The bit that comes next in the last octet of `out`; 0 begins another.
    next_bit: u8,
}

impl<'a> Writer<'a> {
    /// Writes behind what is in `out`.
    pub fn new(out: &'a mut BytesMut) -> Writer<'a> {
        Writer { out, next_bit: 0 }
    }

    pub fn u8(&mut self, value: u8) {
        self.next_bit = 0;
        self.out.put_u8(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.next_bit = 0;
        self.out.put_u16(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.next_bit = 0;
        self.out.put_u32(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.next_bit = 0;
        self.out.put_u64(value);
    }

    pub fn bit(&mut self, value: bool) {
        if self.next_bit == 0 {
            self.out.put_u8(0);
            self.next_bit = 1;
        }
        if value && let Some(last) = self.out.last_mut() {
            *last |= self.next_bit;
        }
        self.next_bit = self.next_bit.checked_shl(1).unwrap_or(0);
    }

    pub fn short_string(&mut self, text: &ShortString) {
        let bytes = text.as_bytes();
        // Not longer than 255: that is what the type is for.
        self.u8(bytes.len() as u8);
        self.out.put_slice(bytes);
    }

    /// Anything of up to 4 GiB: callers bound what they write by the size of a frame.
    pub fn long_string(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.out.put_slice(bytes);
    }
}
