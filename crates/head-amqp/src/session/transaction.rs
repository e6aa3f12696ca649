// SPDX-License-Identifier: Apache-2.0
//! What a transactional channel has published and settled since its last commit or rollback: kept, and done all at once.
//!
//! A tag is known or unknown when it is settled, not at the commit; settled tags that are rolled back are out again. Publishes that are
//! rolled back were never made.
//!
//! Bound: what all of a connection's hold is counted in a number of the connection, at which the caller looks.

use super::{Delivered, Publish, Settlement};

/// What an acknowledgement, or its opposite, named.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    pub settlement: Settlement,
    pub deliveries: Vec<(u64, Delivered)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Transaction {
    publishes: Vec<Publish>,
    settled: Vec<Settled>,
    /// About what it takes in memory.
    bytes: u64,
}

/// Of a publish or a delivery, besides its body: about what it takes in memory.
const ITEM_BYTES: u64 = 256;

impl Transaction {
    /// Keeps a publish; counts it in `held_bytes`.
    pub fn publish(&mut self, publish: Publish, held_bytes: &mut u64) {
        self.count(ITEM_BYTES + publish.content.bytes() as u64, held_bytes);
        self.publishes.push(publish);
    }

    /// Keeps what was settled; counts it in `held_bytes`.
    pub fn settle(&mut self, settled: Settled, held_bytes: &mut u64) {
        self.count(ITEM_BYTES * (1 + settled.deliveries.len() as u64), held_bytes);
        self.settled.push(settled);
    }

    fn count(&mut self, bytes: u64, held_bytes: &mut u64) {
        self.bytes += bytes;
        *held_bytes += bytes;
    }

    /// Takes everything out, in the order in which it came in, and how much was counted for it: that is to be given back when it is
    /// in memory no more.
    pub fn take(&mut self) -> (Vec<Publish>, Vec<Settled>, u64) {
        let bytes = std::mem::take(&mut self.bytes);
        (std::mem::take(&mut self.publishes), std::mem::take(&mut self.settled), bytes)
    }
}
