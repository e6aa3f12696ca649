// SPDX-License-Identifier: Apache-2.0
//! Who is connected: from the number that a reply is addressed to, to the outbox it goes into.

use crate::outbox::Outbox;
use model::HolderId;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Holders {
    outboxes: RwLock<HashMap<HolderId, Arc<Outbox>>>,
    last: AtomicU64,
}

impl Holders {
    /// Makes a holder with a number that no other ever had or has.
    pub fn join(&self) -> (HolderId, Arc<Outbox>) {
        let holder = HolderId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let outbox = Arc::new(Outbox::default());
        self.outboxes.write().insert(holder, outbox.clone());
        (holder, outbox)
    }

    /// The connection is gone: what is still addressed to it is dropped.
    pub fn leave(&self, holder: HolderId) {
        self.outboxes.write().remove(&holder);
    }

    /// The outbox of a holder that is still here.
    pub fn outbox(&self, holder: HolderId) -> Option<Arc<Outbox>> {
        self.outboxes.read().get(&holder).cloned()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.outboxes.read().len()
    }

    /// Calls `with` for each.
    pub fn each(&self, with: impl Fn(&Outbox)) {
        // Cloned first: `with` wakes tasks, which may leave.
        let outboxes: Vec<Arc<Outbox>> = self.outboxes.read().values().cloned().collect();
        outboxes.iter().for_each(|outbox| with(outbox));
    }
}
