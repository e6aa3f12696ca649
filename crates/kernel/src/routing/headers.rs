// SPDX-License-Identifier: Apache-2.0
//! Bindings that ask for headers: which of many a message satisfies, without looking at each.
//!
//! Owns: when a header's value is another's, what a binding asks for, the index. Must not know: how a protocol writes a table.
//!
//! Two values are the same as RabbitMQ compares them: numbers by value, whatever their width and also an integer with a
//! float; texts and bytes by their bytes; anything nested only if it is written the same, types included. A binding's void value asks for
//! presence alone. Names beginning with `x-` are not asked for unless the binding says so, and `x-match` never is. A binding that asks
//! for all of nothing takes every message; for any of nothing, none.
//!
//! The index: a binding that wants all is found under one of its pairs, that under which fewest were when it came, and then looked at
//! whole; one that wants any, under each. So a route costs a look-up or two a header of the message and a look at each binding that
//! shares the pair it is found under.

use crate::routing::{Binding, Destination};
use bytes::Bytes;
use foldhash::fast::FixedState;
use model::varint;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use std::sync::Arc;

/// Most headers that one binding asks for. Beyond, binding is refused.
pub const PAIRS_MAX: usize = 1_000;

/// A header's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Void,
    Bool(bool),
    /// Integers of any width, times.
    Int(i64),
    Float(f64),
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// A decimal, a list, a table: a byte for its type, then as it is written.
    Other(&'a [u8]),
}

const VOID: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const BYTES: u8 = 4;
const OTHER: u8 = 5;
/// Instead of a value: any.
const PRESENT: u8 = 255;

impl Value<'_> {
    /// The same bytes for values that are the same. (The one that is not the same as itself, no number, does no harm: it only
    /// meets what was bound to it.)
    fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Void => out.push(VOID),
            Value::Bool(value) => out.extend_from_slice(&[BOOL, u8::from(value)]),
            Value::Int(value) => put_int(out, value),
            // 2^63 itself is out of range, and exact as a float.
            Value::Float(value)
                if value.trunc() == value
                    && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) =>
            {
                put_int(out, value as i64);
            }
            Value::Float(value) => {
                out.push(FLOAT);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Bytes(value) => {
                out.push(BYTES);
                out.extend_from_slice(value);
            }
            Value::Other(value) => {
                out.push(OTHER);
                out.extend_from_slice(value);
            }
        }
    }
}

impl Value<'_> {
    /// The same bytes for values that are the same.
    pub(super) fn as_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    out.push(INT);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A name and a value (`None`: any) as the index has them.
fn put_pair(out: &mut Vec<u8>, name: &[u8], value: Option<&Value<'_>>) {
    varint::write_u64(out, name.len() as u64);
    out.extend_from_slice(name);
    match value {
        Some(value) => value.put(out),
        None => out.push(PRESENT),
    }
}

/// How many of the headers a binding wants, and whether those beginning with `x-` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matching {
    #[default]
    All,
    Any,
    AllWithX,
    AnyWithX,
}

impl Matching {
    fn is_any(self) -> bool {
        matches!(self, Matching::Any | Matching::AnyWithX)
    }

    fn counts(self, name: &[u8]) -> bool {
        let with_x = matches!(self, Matching::AllWithX | Matching::AnyWithX);
        name != b"x-match" && (with_x || !name.starts_with(b"x-"))
    }
}

/// What a binding asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    is_any: bool,
    /// Each as the index has it, sorted, once.
    pairs: Box<[Bytes]>,
}

impl Asked {
    /// Of a binding with these arguments.
    pub fn of<'a>(matching: Matching, arguments: impl Iterator<Item = (&'a [u8], Value<'a>)>) -> Asked {
        let mut pairs: Vec<Bytes> = Vec::new();
        let mut pair = Vec::new();
        for (name, value) in arguments.filter(|(name, _)| matching.counts(name)) {
            pair.clear();
            put_pair(&mut pair, name, if value == Value::Void { None } else { Some(&value) });
            pairs.push(Bytes::copy_from_slice(&pair));
        }
        pairs.sort();
        pairs.dedup();
        Asked { is_any: matching.is_any(), pairs: pairs.into() }
    }

    /// How many headers it asks for.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// It asks for none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// A message's headers as pairs, each with its value and without.
struct Offered {
    bytes: Vec<u8>,
    /// From where to where, sorted by what stands there.
    pairs: Vec<(usize, usize)>,
}

impl Offered {
    /// Of a name that stands more than once the last counts.
    fn of(headers: &[(&[u8], Value<'_>)]) -> Offered {
        let mut by_name: Vec<usize> = (0..headers.len()).collect();
        by_name.sort_by_key(|at| headers[*at].0);
        let mut offered = Offered { bytes: Vec::new(), pairs: Vec::with_capacity(headers.len() * 2) };
        for (place, at) in by_name.iter().enumerate() {
            let (name, value) = &headers[*at];
            if by_name.get(place + 1).is_some_and(|next| headers[*next].0 == *name) {
                continue;
            }
            for value in [Some(value), None] {
                let from = offered.bytes.len();
                put_pair(&mut offered.bytes, name, value);
                offered.pairs.push((from, offered.bytes.len()));
            }
        }
        let Offered { bytes, pairs } = &mut offered;
        pairs.sort_unstable_by(|one, other| bytes[one.0..one.1].cmp(&bytes[other.0..other.1]));
        offered
    }

    fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.pairs.iter().map(|(from, to)| &self.bytes[*from..*to])
    }

    fn has(&self, pair: &[u8]) -> bool {
        self.pairs.binary_search_by(|(from, to)| self.bytes[*from..*to].cmp(pair)).is_ok()
    }
}

type Found = RedBlackTreeMapSync<u64, Arc<Binding>>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct HeaderTable {
    by_pair: HashTrieMapSync<Bytes, Found, FixedState>,
    /// Those that want all of nothing.
    always: Found,
}

impl Default for HeaderTable {
    fn default() -> HeaderTable {
        let by_pair = HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::with_seed(0));
        HeaderTable { by_pair, always: Found::default() }
    }
}

impl HeaderTable {
    pub(super) fn add(&mut self, binding: &Arc<Binding>) {
        let asked = &binding.arguments.asked;
        if asked.is_any {
            asked.pairs.iter().for_each(|pair| self.put(pair, binding));
            return;
        }
        let beside = |pair: &&Bytes| self.by_pair.get(*pair).map_or(0, Found::size);
        match asked.pairs.iter().min_by_key(beside) {
            Some(pair) => self.put(pair, binding),
            None => self.always.insert_mut(binding.number, binding.clone()),
        }
    }

    fn put(&mut self, pair: &Bytes, binding: &Arc<Binding>) {
        let mut found = self.by_pair.get(pair).cloned().unwrap_or_default();
        // Taken out meanwhile, so that what no snapshot shares is not copied.
        self.by_pair.remove_mut(pair);
        found.insert_mut(binding.number, binding.clone());
        self.by_pair.insert_mut(pair.clone(), found);
    }

    pub(super) fn remove(&mut self, binding: &Binding) {
        self.always.remove_mut(&binding.number);
        for pair in &binding.arguments.asked.pairs {
            let Some(found) = self.by_pair.get(pair).filter(|found| found.contains_key(&binding.number)) else {
                continue;
            };
            let mut found = found.clone();
            self.by_pair.remove_mut(pair);
            found.remove_mut(&binding.number);
            if !found.is_empty() {
                self.by_pair.insert_mut(pair.clone(), found);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_pair.is_empty() && self.always.is_empty()
    }

    /// Gives out where the bindings lead that the message satisfies, some perhaps more than once. Takes its steps from those that are
    /// left; when there are none, something may be missing.
    pub(super) fn each(
        &self,
        headers: &[(&[u8], Value<'_>)],
        steps_left: &mut usize,
        take: &mut impl FnMut(Destination),
    ) {
        self.always.values().for_each(|binding| take(binding.destination));
        if self.by_pair.is_empty() {
            return;
        }
        let offered = Offered::of(headers);
        for pair in offered.all() {
            let Some(found) = self.by_pair.get(pair) else { continue };
            for binding in found.values() {
                let asked = &binding.arguments.asked;
                let is_met = asked.is_any || asked.pairs.iter().all(|pair| offered.has(pair));
                // One that is met is what the message goes to; it costs a step where it may be found again and again.
                if !is_met || (asked.is_any && asked.len() > 1) {
                    *steps_left = steps_left.saturating_sub(1);
                    if *steps_left == 0 {
                        return;
                    }
                }
                if is_met {
                    take(binding.destination);
                }
            }
        }
    }
}
