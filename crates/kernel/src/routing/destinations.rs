// SPDX-License-Identifier: Apache-2.0
//! Sets of queues that messages go to, each known by one number, and the routes that were found already.
//!
//! Owns: the numbering of sets, what is remembered of routes. Must not know: how a route is found.
//!
//! A route by key alone is looked up in a map while the router's version stays; the next version begins with an empty one. Sets are kept
//! over versions: most changes leave most sets as they were. Numbers are volatile and never used again.
//! Bounds: `ROUTES_MAX` routes and `ROUTES_BYTES_MAX` of their keys, then all are forgotten; `SETS_MAX` sets, then those that nobody else
//! holds.

use crate::routing::{Message, RouteError, Router};
use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use model::{PartitionId, TopicId};
use std::sync::Arc;

const ROUTES_MAX: usize = 16_384;
const ROUTES_BYTES_MAX: usize = 4 * 1024 * 1024;
const SETS_MAX: usize = 65_536;

/// Queues that some message goes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    pub id: u64,
    /// Ascending, each once; none for a message that goes nowhere.
    pub queues: Box<[PartitionId]>,
}

#[derive(Hash)]
struct RouteKey<'a>(TopicId, &'a [u8]);

impl Equivalent<(TopicId, Box<[u8]>)> for RouteKey<'_> {
    fn equivalent(&self, key: &(TopicId, Box<[u8]>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// See the module.
#[derive(Debug)]
pub struct Destinations {
    version: u64,
    routes: HashMap<(TopicId, Box<[u8]>), Arc<Set>, FixedState>,
    routes_bytes: usize,
    sets: HashMap<Box<[PartitionId]>, Arc<Set>, FixedState>,
    sets_kept: usize,
    id_next: u64,
}

impl Default for Destinations {
    fn default() -> Destinations {
        Destinations {
            version: 0,
            routes: HashMap::with_hasher(FixedState::with_seed(0)),
            routes_bytes: 0,
            sets: HashMap::with_hasher(FixedState::with_seed(0)),
            sets_kept: 0,
            id_next: 0,
        }
    }
}

impl Destinations {
    /// The same as [`Router::route`], remembered.
    pub fn route(&mut self, router: &Router, topic: TopicId, message: &Message<'_>) -> Result<Arc<Set>, RouteError> {
        if self.version != router.version() {
            self.forget_routes();
            self.version = router.version();
        }
        let [key] = message.keys else {
            let routed = router.route(topic, message)?;
            return Ok(self.set(&routed.queues));
        };
        if let Some(set) = self.routes.get(&RouteKey(topic, key)) {
            return Ok(set.clone());
        }
        let routed = router.route(topic, message)?;
        let set = self.set(&routed.queues);
        if routed.by_key_alone {
            if self.routes.len() >= ROUTES_MAX || self.routes_bytes + key.len() > ROUTES_BYTES_MAX {
                self.forget_routes();
            }
            if key.len() <= ROUTES_BYTES_MAX {
                self.routes_bytes += key.len();
                self.routes.insert((topic, (*key).into()), set.clone());
            }
        }
        Ok(set)
    }

    fn forget_routes(&mut self) {
        self.routes.clear();
        self.routes_bytes = 0;
    }

    /// The set of these queues, which are ascending, each once.
    pub fn set(&mut self, queues: &[PartitionId]) -> Arc<Set> {
        if let Some(set) = self.sets.get(queues) {
            return set.clone();
        }
        if self.sets.len() >= SETS_MAX.max(self.sets_kept * 2) {
            self.forget_routes();
            self.sets.retain(|_, set| Arc::strong_count(set) > 1);
            self.sets_kept = self.sets.len();
        }
        self.id_next += 1;
        let set = Arc::new(Set { id: self.id_next, queues: queues.into() });
        self.sets.insert(queues.into(), set.clone());
        set
    }
}
