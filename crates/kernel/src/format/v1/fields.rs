// SPDX-License-Identifier: Apache-2.0
//! The small words that entries and checkpoint objects are made of: little-endian numbers, varints, counted bytes.
//!
//! Owns: how a field is written and read back. Must not know: what the fields mean.
//! Reading is total: [`Fields`] remembers the first failure, gives zeros from then on, and `end` reports it, so a decoder reads
//! like its layout. Nothing is allocated on an announced count.

use model::varint;
use std::sync::Arc;

/// Reads fields off a byte string.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    total: usize,
    failed_at: Option<usize>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes, total: bytes.len(), failed_at: None }
    }

    fn fail(&mut self) {
        let at = self.total - self.rest.len();
        self.failed_at.get_or_insert(at);
        self.rest = &[];
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        match self.rest.split_at_checked(count) {
            Some((piece, rest)) if self.failed_at.is_none() => {
                self.rest = rest;
                piece
            }
            _ => {
                self.fail();
                &[]
            }
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).first_chunk().copied().unwrap_or([0; N])
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn i16(&mut self) -> i16 {
        i16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn id(&mut self) -> [u8; 16] {
        self.array()
    }

    pub(crate) fn varint(&mut self) -> u64 {
        let mut rest = self.rest;
        match varint::read_u64(&mut rest) {
            Some(value) if self.failed_at.is_none() => {
                self.rest = rest;
                value
            }
            _ => {
                self.fail();
                0
            }
        }
    }

    /// How many items follow, each of which takes at least `item_bytes`: more cannot be there.
    pub(crate) fn count(&mut self, item_bytes: usize) -> usize {
        let count = usize::try_from(self.varint()).unwrap_or(usize::MAX);
        if count > self.rest.len() / item_bytes.max(1) {
            self.fail();
            return 0;
        }
        count
    }

    pub(crate) fn optional_u64(&mut self) -> Option<u64> {
        match self.u8() {
            0 => None,
            1 => Some(self.u64()),
            _ => {
                self.fail();
                None
            }
        }
    }

    pub(crate) fn text(&mut self) -> Arc<str> {
        let length = self.count(1);
        match std::str::from_utf8(self.bytes(length)) {
            Ok(text) => Arc::from(text),
            Err(_) => {
                self.fail();
                Arc::from("")
            }
        }
    }

    /// A rule of the layout that was just read does not hold.
    pub(crate) fn require(&mut self, holds: bool) {
        if !holds {
            self.fail();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed_at.is_some()
    }

    /// Fails where a field did not fit, or where bytes are left over.
    pub(crate) fn end(mut self) -> Result<(), usize> {
        if !self.rest.is_empty() {
            self.fail();
        }
        self.failed_at.map_or(Ok(()), Err)
    }
}

pub(crate) fn put_optional_u64(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    varint::write_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
