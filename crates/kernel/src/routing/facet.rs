// SPDX-License-Identifier: Apache-2.0
//! One topic's routing: its bindings, and the table that finds those that a message meets.
//!
//! Owns: which table a kind has, the bindings by destination and key. Must not know: other topics.
//!
//! Invariant: the table is a function of the bindings.

use crate::routing::hash::HashTable;
use crate::routing::headers::HeaderTable;
use crate::routing::members::Members;
use crate::routing::trie::Trie;
use crate::routing::{Arguments, Binding, Destination, HashOf, Kind, Message};
use foldhash::fast::FixedState;
use model::NamespaceId;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use std::sync::Arc;

type ByKey = HashTrieMapSync<Arc<[u8]>, Members, FixedState>;
/// Bindings that differ in nothing but their arguments.
type Row = Arc<[Arc<Binding>]>;

#[derive(Clone, Debug)]
enum Table {
    Direct(ByKey),
    Fanout(Members),
    Pattern(Trie),
    Headers(HeaderTable),
    Hash(HashTable),
}

/// See the module. A clone costs nothing.
#[derive(Clone, Debug)]
pub(super) struct Facet {
    pub(super) name: (NamespaceId, Arc<str>),
    pub(super) kind: Kind,
    /// Where messages go that meet no binding here; that topic need not exist.
    pub(super) alternate: Option<(NamespaceId, Arc<str>)>,
    /// By destination and key.
    bindings: RedBlackTreeMapSync<(Destination, Arc<[u8]>), Row>,
    count: usize,
    table: Table,
}

impl Facet {
    pub(super) fn new(name: (NamespaceId, Arc<str>), kind: Kind, alternate: Option<(NamespaceId, Arc<str>)>) -> Facet {
        let table = match kind {
            Kind::Direct => Table::Direct(HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::with_seed(0))),
            Kind::Fanout => Table::Fanout(Members::default()),
            Kind::Pattern => Table::Pattern(Trie::default()),
            Kind::Headers => Table::Headers(HeaderTable::default()),
            Kind::Hash(_) => Table::Hash(HashTable::default()),
        };
        Facet { name, kind, alternate, bindings: RedBlackTreeMapSync::default(), count: 0, table }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bindings that are alike but for their arguments.
    pub(super) fn alike(&self, destination: Destination, key: &Arc<[u8]>) -> &[Arc<Binding>] {
        self.bindings.get(&(destination, key.clone())).map_or(&[], |row| row)
    }

    pub(super) fn find(
        &self,
        destination: Destination,
        key: &Arc<[u8]>,
        arguments: &Arguments,
    ) -> Option<&Arc<Binding>> {
        self.alike(destination, key).iter().find(|binding| binding.arguments.stored == arguments.stored)
    }

    /// All of them, by destination and key.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.values().flat_map(|row| row.iter())
    }

    /// Those that lead there.
    pub(super) fn leading_to(&self, destination: Destination) -> Vec<Arc<Binding>> {
        let from = (destination, Arc::<[u8]>::default());
        let rows = self.bindings.range(from..).take_while(|((to, _), _)| *to == destination);
        rows.flat_map(|(_, row)| row.iter().cloned()).collect()
    }

    /// Takes one in that is not there.
    pub(super) fn add(&mut self, binding: &Arc<Binding>) {
        let place = (binding.destination, binding.key.clone());
        let row = [self.alike(binding.destination, &binding.key), std::slice::from_ref(binding)].concat();
        self.bindings.insert_mut(place, row.into());
        self.count += 1;
        let destination = binding.destination;
        match &mut self.table {
            Table::Direct(by_key) => change(by_key, &binding.key, |members| members.add(destination)),
            Table::Fanout(members) => members.add(destination),
            Table::Pattern(trie) => trie.add(&binding.key, destination),
            Table::Headers(headers) => headers.add(binding),
            Table::Hash(hash) => hash.add(binding),
        }
    }

    /// Takes one out that is there.
    pub(super) fn remove(&mut self, binding: &Arc<Binding>) {
        let place = (binding.destination, binding.key.clone());
        let row = self.alike(binding.destination, &binding.key);
        let left: Vec<_> = row.iter().filter(|known| known.number != binding.number).cloned().collect();
        if left.is_empty() {
            self.bindings.remove_mut(&place);
        } else {
            self.bindings.insert_mut(place, left.into());
        }
        self.count -= 1;
        let destination = binding.destination;
        match &mut self.table {
            Table::Direct(by_key) => change(by_key, &binding.key, |members| members.remove(destination)),
            Table::Fanout(members) => members.remove(destination),
            Table::Pattern(trie) => trie.remove(&binding.key, destination),
            Table::Headers(headers) => headers.remove(binding),
            Table::Hash(hash) => hash.remove(binding),
        }
    }

    /// Sees nothing of a message but its keys.
    pub(super) fn by_key_alone(&self) -> bool {
        matches!(self.kind, Kind::Direct | Kind::Fanout | Kind::Pattern | Kind::Hash(HashOf::Key))
    }

    /// Gives out where the bindings lead that the message meets, some perhaps more than once. Takes its steps from those that are left;
    /// when there are none, something may be missing.
    pub(super) fn each(&self, message: &Message<'_>, steps_left: &mut usize, take: &mut impl FnMut(Destination)) {
        *steps_left = steps_left.saturating_sub(1);
        match &self.table {
            Table::Direct(by_key) => {
                for key in message.keys {
                    if let Some(members) = by_key.get(*key) {
                        members.each(take);
                    }
                }
            }
            Table::Fanout(members) => members.each(take),
            Table::Pattern(trie) => message.keys.iter().for_each(|key| {
                trie.each(key, steps_left, take);
            }),
            Table::Headers(headers) => headers.each(message.headers, steps_left, take),
            Table::Hash(hash) => {
                if let Kind::Hash(of) = &self.kind
                    && let Some(destination) = hash.of(&of.value(message))
                {
                    take(destination);
                }
            }
        }
    }

    /// How many bindings share out by hash.
    pub(super) fn hash_len(&self) -> usize {
        match &self.table {
            Table::Hash(hash) => hash.len(),
            _ => 0,
        }
    }

    #[cfg(test)]
    pub(super) fn table_is_empty(&self) -> bool {
        match &self.table {
            Table::Direct(by_key) => by_key.is_empty(),
            Table::Fanout(members) => members.is_empty(),
            Table::Pattern(trie) => trie.is_empty(),
            Table::Headers(headers) => headers.is_empty(),
            Table::Hash(hash) => hash.len() == 0,
        }
    }
}

fn change(by_key: &mut ByKey, key: &Arc<[u8]>, change: impl FnOnce(&mut Members)) {
    let mut members = by_key.get(key).cloned().unwrap_or_default();
    change(&mut members);
    if members.is_empty() {
        by_key.remove_mut(key);
    } else {
        by_key.insert_mut(key.clone(), members);
    }
}
