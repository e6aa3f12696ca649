// SPDX-License-Identifier: Apache-2.0
//! The meta catalog, in shard 0: what is the whole system's. So far the producer ids.
//!
//! Owns: handing out producer ids, each once for ever. Must not know: what producers do.
//!
//! Ids are leased in blocks: a record says up to where, and only then are they handed out, from memory. What a restart leaves of a
//! block is never used.

/// Ids in one block.
pub const PRODUCER_IDS_LEASED: u64 = 1_000;

/// The block being handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIds {
    next: u64,
    end: u64,
}

impl ProducerIds {
    /// After a restart: nothing is left of the last block.
    pub fn after(leased: u64) -> ProducerIds {
        ProducerIds { next: leased, end: leased }
    }

    /// The next id, while there is one.
    pub fn take(&mut self) -> Option<u64> {
        (self.next < self.end).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// A lease up to `end` was decided.
    pub fn leased(&mut self, end: u64) {
        self.end = end;
    }
}
