// SPDX-License-Identifier: Apache-2.0
//! Patterns of words: which of many match a key, without looking at each.
//!
//! Owns: the trie, how patterns and keys are cut into words. Must not know: who is bound.
//!
//! Words stand between dots and may be empty; the empty key has none. `*` is one word, `#` any number of words, none included, wherever
//! it stands. A run of wildcards is put in order first (`#.*.#` is `*.#`), so no `#` follows another.
//!
//! ```text
//! a.#.b   a.*    root -a-> . -#-> . -b-> (a.#.b)
//!                           \-*-> (a.*)
//! ```
//! A key is walked word by word with all the nodes that can be reached so far. What stands behind a `#` stays reached to the end, and is
//! entered once; any other node has one parent, so it is reached at most once a word. Hence the cost: at most one step for each
//! reached node and word, never more than nodes times words, whatever the patterns: `#.a.#.a.#.a...` is 129 nodes. Ten thousand patterns
//! like it, each a little different, are still too much for one route: it ends after as many steps as its asker allows.

use crate::routing::Destination;
use crate::routing::members::Members;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use rpds::HashTrieMapSync;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entered `#` nodes are searched in a row up to here.
const SCANNED_MAX: usize = 16;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Trie {
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    words: Words,
    star: Option<Arc<Node>>,
    hash: Option<Arc<Node>>,
    members: Members,
}

/// Children by word. Most nodes have one.
#[derive(Clone, Debug, Default)]
enum Words {
    #[default]
    None,
    One(Arc<[u8]>, Arc<Node>),
    Many(HashTrieMapSync<Arc<[u8]>, Arc<Node>, FixedState>),
}

impl Words {
    fn get(&self, word: &[u8]) -> Option<&Arc<Node>> {
        match self {
            Words::None => None,
            Words::One(known, node) => (**known == *word).then_some(node),
            Words::Many(many) => many.get(word),
        }
    }

    /// Takes out the child; an empty one if there is none.
    fn take(&mut self, word: &[u8]) -> Arc<Node> {
        match self {
            Words::One(known, _) if **known == *word => match std::mem::take(self) {
                Words::One(_, node) => node,
                _ => Arc::default(),
            },
            Words::None | Words::One(..) => Arc::default(),
            Words::Many(many) => {
                let node = many.get(word).cloned().unwrap_or_default();
                many.remove_mut(word);
                node
            }
        }
    }

    fn put(&mut self, word: &[u8], node: Arc<Node>) {
        *self = match std::mem::take(self) {
            Words::None => Words::One(word.into(), node),
            Words::One(known, other) => {
                let mut many = HashTrieMapSync::new_with_hasher_and_ptr_kind(FixedState::with_seed(0));
                many.insert_mut(known, other);
                many.insert_mut(word.into(), node);
                Words::Many(many)
            }
            Words::Many(mut many) => {
                many.insert_mut(word.into(), node);
                Words::Many(many)
            }
        };
        self.shrink();
    }

    fn shrink(&mut self) {
        if let Words::Many(many) = self
            && many.size() <= 1
        {
            let only = many.iter().next().map(|(word, node)| (word.clone(), node.clone()));
            *self = only.map_or(Words::None, |(word, node)| Words::One(word, node));
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Words::None)
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.words.is_empty() && self.star.is_none() && self.hash.is_none()
    }

    fn change(&mut self, pattern: &[&[u8]], change: &mut impl FnMut(&mut Members)) {
        let Some((word, rest)) = pattern.split_first() else { return change(&mut self.members) };
        let slot = match *word {
            b"*" => Some(&mut self.star),
            b"#" => Some(&mut self.hash),
            _ => None,
        };
        match slot {
            Some(slot) => {
                let node = slot.get_or_insert_default();
                Arc::make_mut(node).change(rest, change);
                if node.is_empty() {
                    *slot = None;
                }
            }
            None => {
                // Taken out meanwhile, so that a child which no snapshot shares is not copied.
                let mut node = self.words.take(word);
                Arc::make_mut(&mut node).change(rest, change);
                if node.is_empty() {
                    self.words.shrink();
                } else {
                    self.words.put(word, node);
                }
            }
        }
    }
}

/// The words of a key or a pattern.
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = if key.is_empty() { 0 } else { usize::MAX };
    key.split(|byte| *byte == b'.').take(count)
}

/// A pattern's words, runs of wildcards in order.
pub(super) fn ordered(pattern: &[u8]) -> Vec<&[u8]> {
    let mut out: Vec<&[u8]> = Vec::new();
    let mut hash = false;
    for word in words(pattern) {
        match word {
            b"#" => hash = true,
            b"*" => out.push(word),
            _ => {
                if std::mem::take(&mut hash) {
                    out.push(b"#");
                }
                out.push(word);
            }
        }
    }
    if hash {
        out.push(b"#");
    }
    out
}

/// The nodes reached at one place of the key.
struct Reached<'a> {
    nodes: Vec<&'a Node>,
    /// Behind a `#`: reached to the end.
    staying: Vec<&'a Node>,
    entered: HashSet<*const Node, FixedState>,
}

impl<'a> Reached<'a> {
    fn enter(&mut self, node: &'a Node) {
        let Some(hash) = &node.hash else { return };
        let place = Arc::as_ptr(hash);
        let is_new = if self.staying.len() < SCANNED_MAX {
            !self.staying.iter().any(|known| std::ptr::eq(*known, place))
        } else {
            if self.entered.is_empty() {
                self.entered.extend(self.staying.iter().map(|node| std::ptr::from_ref(*node)));
            }
            self.entered.insert(place)
        };
        if is_new {
            self.staying.push(hash);
        }
    }
}

impl Trie {
    pub(super) fn add(&mut self, pattern: &[u8], destination: Destination) {
        self.root.change(&ordered(pattern), &mut |members| members.add(destination));
    }

    pub(super) fn remove(&mut self, pattern: &[u8], destination: Destination) {
        self.root.change(&ordered(pattern), &mut |members| members.remove(destination));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// Gives out where the patterns that match lead, some perhaps more than once. Takes its steps from those that are left; when there
    /// are none, nothing was given out.
    pub(super) fn each(&self, key: &[u8], steps_left: &mut usize, take: &mut impl FnMut(Destination)) {
        let mut reached = Reached {
            nodes: vec![&self.root],
            staying: Vec::new(),
            entered: HashSet::with_hasher(FixedState::with_seed(0)),
        };
        reached.enter(&self.root);
        let mut next = Vec::new();
        let walked = words(key).try_for_each(|word| {
            *steps_left = steps_left.saturating_sub(reached.nodes.len() + reached.staying.len());
            if *steps_left == 0 {
                return ControlFlow::Break(());
            }
            for node in reached.nodes.iter().chain(&reached.staying) {
                next.extend(node.words.get(word).map(|node| &**node));
                next.extend(node.star.as_deref());
            }
            std::mem::swap(&mut reached.nodes, &mut next);
            next.clear();
            for at in 0..reached.nodes.len() {
                reached.enter(reached.nodes[at]);
            }
            match reached.nodes.is_empty() && reached.staying.is_empty() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if walked.is_continue() {
            reached.nodes.iter().chain(&reached.staying).for_each(|node| node.members.each(take));
        }
    }
}

/// As the rule is written down, for tests: slow, and exponential in the `#` of a pattern.
#[cfg(test)]
pub(super) fn matches_plainly(pattern: &[u8], key: &[u8]) -> bool {
    fn rest(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some((&b"#", after)) => (0..=key.len()).any(|taken| rest(after, &key[taken..])),
            Some((word, after)) => {
                key.split_first().is_some_and(|(first, others)| (*word == b"*" || word == first) && rest(after, others))
            }
        }
    }
    rest(&words(pattern).collect::<Vec<_>>(), &words(key).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::PartitionId;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("")], 0..7).prop_map(|words| words.join("."))
    }

    fn pattern() -> impl Strategy<Value = String> {
        let word = prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just(""), 3 => Just("*"), 3 => Just("#")];
        prop::collection::vec(word, 0..7).prop_map(|words| words.join("."))
    }

    fn found(trie: &Trie, key: &str) -> Vec<Destination> {
        let mut found = Vec::new();
        let mut steps_left = usize::MAX;
        trie.each(key.as_bytes(), &mut steps_left, &mut |destination| found.push(destination));
        found.sort();
        found.dedup();
        found
    }

    proptest! {
        #[test]
        fn finds_what_each_pattern_alone_would_match(
            patterns in prop::collection::vec((pattern(), any::<bool>()), 1..40),
            keys in prop::collection::vec(key(), 1..20),
        ) {
            let queue = |number: usize| Destination::Queue(PartitionId(number as u64));
            let mut trie = Trie::default();
            for (number, (pattern, _)) in patterns.iter().enumerate() {
                trie.add(pattern.as_bytes(), queue(number));
            }
            let all = trie.clone();
            for (number, (pattern, stays)) in patterns.iter().enumerate() {
                if !stays {
                    trie.remove(pattern.as_bytes(), queue(number));
                }
            }
            for key in &keys {
                let expected = |counts: &dyn Fn(bool) -> bool| -> Vec<Destination> {
                    let numbered = patterns.iter().enumerate();
                    let matching = numbered.filter(|(_, (pattern, stays))| {
                        counts(*stays) && matches_plainly(pattern.as_bytes(), key.as_bytes())
                    });
                    matching.map(|(number, _)| queue(number)).collect()
                };
                prop_assert_eq!(found(&trie, key), expected(&|stays| stays), "{}", key);
                // A snapshot is not changed by what comes later.
                prop_assert_eq!(found(&all, key), expected(&|_| true), "{}", key);
            }
            for (number, (pattern, stays)) in patterns.iter().enumerate() {
                if *stays {
                    trie.remove(pattern.as_bytes(), queue(number));
                }
            }
            prop_assert!(trie.root.is_empty());
        }
    }

    #[test]
    fn a_bomb_costs_nodes_times_words() {
        let bomb = ["#.a"; 64].join(".");
        let mut trie = Trie::default();
        trie.add(bomb.as_bytes(), Destination::Queue(PartitionId(1)));
        let key = ["a"; 128].join(".");
        let mut found = 0;
        let mut steps_left = 129 * 129;
        trie.each(key.as_bytes(), &mut steps_left, &mut |_| found += 1);
        // 129 nodes, 128 words. Tried one way after the other it would be about 10^37.
        assert_eq!(found, 1);
        trie.each(format!("{key}.b").as_bytes(), &mut (129 * 129), &mut |_| found += 1);
        assert_eq!(found, 1);
        let mut too_few = 129 * 129 - steps_left;
        trie.each(key.as_bytes(), &mut too_few, &mut |_| found += 1);
        assert_eq!((found, too_few), (1, 0));
    }

    #[test]
    fn a_run_of_wildcards_is_one_way_to_say_it() {
        let text = |pattern: &str| {
            ordered(pattern.as_bytes()).iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(".")
        };
        assert_eq!(text("#.#.#"), "#");
        assert_eq!(text("#.*.#.*.a.#"), "*.*.#.a.#");
        assert_eq!(text("a..#"), "a..#");
        assert_eq!(text(""), "");
    }
}
