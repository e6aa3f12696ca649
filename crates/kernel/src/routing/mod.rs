// SPDX-License-Identifier: Apache-2.0
//! Routing: which queues a message goes to, decided before it is appended anywhere.
//!
//! Owns: topics with a routing facet, their bindings, the walk from topic to topic. Must not know: what a queue is, whether it takes
//! the message, how a protocol writes its arguments.
//!
//! A topic's facet is of one kind: `Direct` (the key is the binding's), `Fanout` (always), `Pattern` (`trie.rs`), `Headers` (`headers.rs`),
//! `Hash` (`hash.rs`). A binding leads to a queue or to another topic, which then routes the same message in its own way.
//!
//! ```text
//! route(topic) -> its facet -> queues              each queue once, however many bindings lead there
//!                           -> topics not yet seen -> their facets ...      so cycles end
//!                           -> nothing at all here: its alternate, by name, if there is such a topic
//! ```
//! Whether a topic's alternate is asked depends on that topic's own bindings alone: one that leads to a topic which finds nothing counts
//! as met. That, and everything else here, is how RabbitMQ has it.
//!
//! Everything is a persistent map: a clone costs nothing and is a snapshot. Whoever decides, decides against one; what was decided stands
//! in the log, so routing is never asked at replay. Changes are total: a binding from nowhere is no binding.
//!
//! Invariants:
//!   1. `version` grows with every change. The same version, topic and message always give the same queues.
//!   2. A facet's table is a function of its bindings (`facet.rs`).

mod destinations;
mod facet;
mod hash;
mod headers;
mod members;
#[cfg(test)]
mod tests;
mod trie;

pub use destinations::{Destinations, Set};
pub use headers::{Asked, Matching, PAIRS_MAX, Value};

use crate::auth::Principal;
use bytes::Bytes;
use facet::Facet;
use foldhash::fast::FixedState;
use model::{NamespaceId, PartitionId, TopicId};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use std::borrow::Cow;
use std::sync::Arc;

/// Longest key of a binding. Beyond, binding is refused. (A message's may be longer: it costs by its words.)
pub const KEY_BYTES_MAX: usize = 255;
/// Most bindings of one router, about 500 bytes each. Beyond, binding is refused.
pub const BINDINGS_MAX: usize = 4_000_000;
/// Most bindings that differ in their arguments alone: they stand in one row. Beyond, binding is refused.
pub const ALIKE_MAX: usize = 10_000;

/// Most steps of one route: nodes of patterns reached word by word, bindings looked at for their headers, topics. A step takes some tens of
/// nanoseconds. Beyond, the message is refused: it is never sent to some of the queues that it should go to.
pub const STEPS_MAX: usize = 32_768;

/// Where a binding leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    Queue(PartitionId),
    Topic(TopicId),
}

/// How a topic routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Fanout,
    Pattern,
    Headers,
    Hash(HashOf),
}

/// What of a message is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOf {
    /// The first.
    Key,
    Header(Arc<[u8]>),
    MessageId,
    CorrelationId,
    Timestamp,
}

impl HashOf {
    /// What is missing counts as empty: all messages without it go to the same place.
    fn value<'a>(&self, message: &Message<'a>) -> Cow<'a, [u8]> {
        let value = match self {
            HashOf::Key => message.keys.first().copied(),
            HashOf::Header(name) => {
                let mut named = message.headers.iter().rev().filter(|(known, _)| **known == **name);
                return Cow::Owned(named.next().map_or(Vec::new(), |(_, value)| value.as_bytes()));
            }
            HashOf::MessageId => message.message_id,
            HashOf::CorrelationId => message.correlation_id,
            HashOf::Timestamp => message.timestamp,
        };
        Cow::Borrowed(value.unwrap_or_default())
    }
}

/// What routing sees of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    /// At least one, usually one.
    pub keys: &'a [&'a [u8]],
    /// Of a name that stands more than once the last counts.
    pub headers: &'a [(&'a [u8], Value<'a>)],
    pub message_id: Option<&'a [u8]>,
    pub correlation_id: Option<&'a [u8]>,
    /// In decimal.
    pub timestamp: Option<&'a [u8]>,
}

/// What a binding was made with, beside its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// As the head that set them writes them: bindings that differ here are two.
    pub stored: Bytes,
    /// What they ask for, where headers are asked for.
    pub asked: Asked,
}

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub source: TopicId,
    pub destination: Destination,
    pub key: Arc<[u8]>,
    pub arguments: Arguments,
    /// Who made it: it acts with their rights.
    pub principal: Principal,
    /// In the order in which they were made.
    pub number: u64,
}

/// Why a binding is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    NoSource,
    NoDestination,
    KeyTooLong {
        bytes_max: usize,
    },
    TooManyWildcards {
        max: usize,
    },
    TooManyHeaders {
        max: usize,
    },
    /// The key is not a weight from 1 to this.
    NotAWeight {
        max: u32,
    },
    TooMany {
        max: usize,
    },
}

/// Why a message cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// There is no such topic.
    NotFound,
    /// Its bindings are such that this message takes too long.
    TooCostly { steps_max: usize },
}

/// What came of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// Ascending, each once.
    pub queues: Vec<PartitionId>,
    /// Whatever else the message says, its keys alone decide at this version.
    pub by_key_alone: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Router {
    topics: HashTrieMapSync<TopicId, Arc<Facet>, FixedState>,
    by_name: HashTrieMapSync<(NamespaceId, Arc<str>), TopicId, FixedState>,
    /// From where bindings lead to a destination, and how many.
    into: RedBlackTreeMapSync<(Destination, TopicId), usize>,
    bindings: usize,
    number_next: u64,
    version: u64,
}

impl Default for Router {
    fn default() -> Router {
        Router {
            topics: HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::with_seed(0)),
            by_name: HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::with_seed(0)),
            into: RedBlackTreeMapSync::default(),
            bindings: 0,
            number_next: 0,
            version: 0,
        }
    }
}

impl Router {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn binding_count(&self) -> usize {
        self.bindings
    }

    /// How many bindings there are from a topic.
    pub fn bindings_from(&self, topic: TopicId) -> usize {
        self.topics.get(&topic).map_or(0, |facet| facet.len())
    }

    /// Those bindings, by destination and key.
    pub fn from(&self, topic: TopicId) -> impl Iterator<Item = &Arc<Binding>> {
        self.topics.get(&topic).into_iter().flat_map(|facet| facet.all())
    }

    /// The bindings that lead to a destination, by source, then key.
    pub fn leading_to(&self, destination: Destination) -> Vec<Arc<Binding>> {
        let sources = self.sources(destination).into_iter();
        sources.filter_map(|source| self.topics.get(&source)).flat_map(|facet| facet.leading_to(destination)).collect()
    }

    fn sources(&self, destination: Destination) -> Vec<TopicId> {
        let from = (destination, TopicId([0; 16]));
        let known = self.into.range(from..).take_while(|((to, _), _)| *to == destination);
        known.map(|((_, source), _)| *source).collect()
    }

    /// A topic with a facet is there from now on; or its alternate is another now. Of another kind than before it begins without bindings.
    pub fn put_topic(
        &mut self,
        topic: TopicId,
        namespace: NamespaceId,
        name: &Arc<str>,
        kind: Kind,
        alternate: Option<Arc<str>>,
    ) {
        let alternate = alternate.map(|alternate| (namespace, alternate));
        if self.topics.get(&topic).is_some_and(|facet| facet.kind != kind) {
            self.remove_topic(topic);
        }
        self.version += 1;
        let mut facet = match self.topics.get(&topic) {
            Some(facet) => Facet::clone(facet),
            None => Facet::new((namespace, name.clone()), kind, None),
        };
        facet.alternate = alternate;
        self.by_name.insert_mut(facet.name.clone(), topic);
        self.topics.insert_mut(topic, Arc::new(facet));
    }

    /// A topic is gone, and with it every binding from it and to it.
    pub fn remove_topic(&mut self, topic: TopicId) {
        let Some(facet) = self.topics.get(&topic).cloned() else { return };
        self.version += 1;
        self.remove_destination(Destination::Topic(topic));
        // One may have led to itself.
        let own: Vec<Arc<Binding>> = self.from(topic).cloned().collect();
        for binding in own {
            self.forget(&binding);
        }
        self.topics.remove_mut(&topic);
        if self.by_name.get(&facet.name) == Some(&topic) {
            self.by_name.remove_mut(&facet.name);
        }
    }

    /// A queue is gone (or a topic going), and with it every binding to it.
    pub fn remove_destination(&mut self, destination: Destination) {
        for source in self.sources(destination) {
            self.version += 1;
            let Some(mut facet) = self.take(source) else { continue };
            let inner = Arc::make_mut(&mut facet);
            for binding in inner.leading_to(destination) {
                inner.remove(&binding);
                self.forget(&binding);
            }
            self.topics.insert_mut(source, facet);
        }
    }

    /// Takes a facet out to change it, so that what no snapshot shares is not copied.
    fn take(&mut self, topic: TopicId) -> Option<Arc<Facet>> {
        let facet = self.topics.get(&topic)?.clone();
        self.topics.remove_mut(&topic);
        Some(facet)
    }

    fn forget(&mut self, binding: &Binding) {
        self.bindings -= 1;
        let place = (binding.destination, binding.source);
        match self.into.get(&place).copied() {
            Some(count) if count > 1 => self.into.insert_mut(place, count - 1),
            _ => {
                self.into.remove_mut(&place);
            }
        }
    }

    /// May this binding be made? True: it exists already. Whether a queue exists is not known here.
    pub fn check(
        &self,
        source: TopicId,
        destination: Destination,
        key: &Arc<[u8]>,
        arguments: &Arguments,
    ) -> Result<bool, BindError> {
        let facet = self.topics.get(&source).ok_or(BindError::NoSource)?;
        if let Destination::Topic(topic) = destination
            && !self.topics.contains_key(&topic)
        {
            return Err(BindError::NoDestination);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(BindError::KeyTooLong { bytes_max: KEY_BYTES_MAX });
        }
        match facet.kind {
            Kind::Headers if arguments.asked.len() > PAIRS_MAX => {
                return Err(BindError::TooManyHeaders { max: PAIRS_MAX });
            }
            Kind::Hash(_) if hash::weight(key).is_none() => {
                return Err(BindError::NotAWeight { max: hash::WEIGHT_MAX });
            }
            _ => {}
        }
        if facet.find(destination, key, arguments).is_some() {
            return Ok(true);
        }
        let alike = facet.alike(destination, key).len();
        for (count, max) in [(self.bindings, BINDINGS_MAX), (alike, ALIKE_MAX), (facet.hash_len(), hash::BINDINGS_MAX)]
        {
            if count >= max {
                return Err(BindError::TooMany { max });
            }
        }
        Ok(false)
    }

    /// A binding is there from now on.
    pub fn bind(
        &mut self,
        source: TopicId,
        destination: Destination,
        key: Arc<[u8]>,
        arguments: Arguments,
        principal: Principal,
    ) {
        if self.topics.get(&source).is_none_or(|facet| facet.find(destination, &key, &arguments).is_some()) {
            return;
        }
        let Some(mut facet) = self.take(source) else { return };
        self.version += 1;
        self.number_next += 1;
        let binding = Binding { source, destination, key, arguments, principal, number: self.number_next };
        Arc::make_mut(&mut facet).add(&Arc::new(binding));
        self.topics.insert_mut(source, facet);
        self.bindings += 1;
        let count = self.into.get(&(destination, source)).copied().unwrap_or(0);
        self.into.insert_mut((destination, source), count + 1);
    }

    /// A binding is gone. True: it was there.
    pub fn unbind(
        &mut self,
        source: TopicId,
        destination: Destination,
        key: &Arc<[u8]>,
        arguments: &Arguments,
    ) -> bool {
        let found = self.topics.get(&source).and_then(|facet| facet.find(destination, key, arguments)).cloned();
        let Some(binding) = found else { return false };
        let Some(mut facet) = self.take(source) else { return false };
        self.version += 1;
        Arc::make_mut(&mut facet).remove(&binding);
        self.topics.insert_mut(source, facet);
        self.forget(&binding);
        true
    }

    /// Where a message to this topic goes.
    pub fn route(&self, topic: TopicId, message: &Message<'_>) -> Result<Routed, RouteError> {
        let mut steps_left = STEPS_MAX;
        let mut routed = Routed { queues: Vec::new(), by_key_alone: true };
        let mut queues = Vec::new();
        // Most routes see one topic, few see ten.
        let mut seen = vec![topic];
        let mut seen_many = hashbrown::HashSet::with_hasher(FixedState::with_seed(0));
        let mut first = Some(self.topics.get(&topic).ok_or(RouteError::NotFound)?);
        let mut at = 0;
        while let Some(facet) = first.take().or_else(|| self.topics.get(seen.get(at)?)) {
            at += 1;
            routed.by_key_alone &= facet.by_key_alone();
            let mut is_met = false;
            let mut see = |topic: TopicId, seen: &mut Vec<TopicId>| {
                const SCANNED_MAX: usize = 16;
                let is_new = if seen.len() < SCANNED_MAX {
                    !seen.contains(&topic)
                } else {
                    if seen_many.is_empty() {
                        seen_many.extend(seen.iter().copied());
                    }
                    seen_many.insert(topic)
                };
                if is_new && self.topics.contains_key(&topic) {
                    seen.push(topic);
                }
            };
            facet.each(message, &mut steps_left, &mut |destination| {
                is_met = true;
                match destination {
                    Destination::Queue(queue) => queues.push(queue),
                    Destination::Topic(topic) => see(topic, &mut seen),
                }
            });
            if steps_left == 0 {
                return Err(RouteError::TooCostly { steps_max: STEPS_MAX });
            }
            if !is_met && let Some(alternate) = facet.alternate.as_ref().and_then(|name| self.by_name.get(name)) {
                see(*alternate, &mut seen);
            }
        }
        queues.sort_unstable();
        queues.dedup();
        routed.queues = queues;
        Ok(routed)
    }
}
