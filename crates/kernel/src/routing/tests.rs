// SPDX-License-Identifier: Apache-2.0
//! Routing against the rule written down plainly, as text scripts, and how long it takes.
use super::*;
use crate::tests::measured::{Started, resident_bytes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

const QUEUES: u64 = 6;
const TOPICS: u8 = 7;
const WORDS: [&str; 6] = ["a", "b", "a.b", "a.b.c", "", "a..b"];

#[derive(Clone, Debug, PartialEq)]
enum Own {
    Void,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'static str),
    Other(&'static str),
}

impl Own {
    fn lent(&self) -> Value<'_> {
        match self {
            Own::Void => Value::Void,
            Own::Bool(value) => Value::Bool(*value),
            Own::Int(value) => Value::Int(*value),
            Own::Float(value) => Value::Float(*value),
            Own::Text(value) => Value::Bytes(value.as_bytes()),
            Own::Other(value) => Value::Other(value.as_bytes()),
        }
    }

    fn is_same(&self, other: &Own) -> bool {
        match (self, other) {
            (Own::Int(int), Own::Float(float)) | (Own::Float(float), Own::Int(int)) => *int as f64 == *float,
            _ => self == other,
        }
    }
}

type Pairs = Vec<(&'static str, Own)>;

#[derive(Clone, Debug, PartialEq)]
struct Made {
    source: u8,
    destination: Destination,
    key: &'static str,
    matching: Matching,
    pairs: Pairs,
}

impl Made {
    fn arguments(&self) -> Arguments {
        let pairs = self.pairs.iter().map(|(name, value)| (name.as_bytes(), value.lent()));
        let stored = format!("{:?}{:?}", self.matching, self.pairs).into();
        Arguments { stored, asked: Asked::of(self.matching, pairs) }
    }

    /// The rule, word by word.
    fn is_met(&self, kind: &Kind, keys: &[&str], headers: &Pairs) -> bool {
        match kind {
            Kind::Direct => keys.contains(&self.key),
            Kind::Fanout => true,
            Kind::Pattern => keys.iter().any(|key| trie::matches_plainly(self.key.as_bytes(), key.as_bytes())),
            Kind::Headers => {
                let with_x = matches!(self.matching, Matching::AllWithX | Matching::AnyWithX);
                let asked = self.pairs.iter().filter(|(name, _)| with_x || !name.starts_with("x-"));
                let mut met = asked.map(|(name, value)| {
                    let last = headers.iter().rfind(|(known, _)| known == name);
                    last.is_some_and(|(_, offered)| *value == Own::Void || value.is_same(offered))
                });
                match self.matching {
                    Matching::All | Matching::AllWithX => met.all(|met| met),
                    Matching::Any | Matching::AnyWithX => met.any(|met| met),
                }
            }
            Kind::Hash(_) => unreachable!("has a test of its own"),
        }
    }
}

fn topic(number: u8) -> TopicId {
    TopicId([number + 1; 16])
}

fn name(number: u8) -> Arc<str> {
    format!("t{number}").into()
}

#[derive(Clone, Debug, Default)]
struct Plain {
    topics: BTreeMap<u8, (Kind, Option<u8>)>,
    bindings: Vec<Made>,
}

impl Plain {
    fn route(&self, from: u8, keys: &[&str], headers: &Pairs) -> Option<BTreeSet<PartitionId>> {
        self.topics.get(&from)?;
        let (mut queues, mut seen, mut waiting) = (BTreeSet::new(), BTreeSet::from([from]), vec![from]);
        while let Some(at) = waiting.pop() {
            let Some((kind, alternate)) = self.topics.get(&at) else { continue };
            let here = self.bindings.iter().filter(|binding| binding.source == at);
            let met: Vec<_> = here.filter(|binding| binding.is_met(kind, keys, headers)).collect();
            let mut next: Vec<u8> = if met.is_empty() { alternate.iter().copied().collect() } else { Vec::new() };
            for binding in met {
                match binding.destination {
                    Destination::Queue(queue) => drop(queues.insert(queue)),
                    Destination::Topic(topic) => next.push(topic.0[0] - 1),
                }
            }
            waiting.extend(next.into_iter().filter(|topic| seen.insert(*topic)));
        }
        Some(queues)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Kind, Option<u8>),
    Remove(u8),
    RemoveQueue(u64),
    Bind(Made),
    Unbind(prop::sample::Index),
    Route(u8, Vec<&'static str>, Pairs),
    Snapshot,
}

fn value() -> impl Strategy<Value = Own> {
    prop_oneof![
        Just(Own::Void),
        any::<bool>().prop_map(Own::Bool),
        (0..3i64).prop_map(Own::Int),
        prop_oneof![Just(0.0), Just(1.0), Just(1.5), Just(-0.0), Just(1e300)].prop_map(Own::Float),
        prop_oneof![Just("a"), Just("1"), Just("")].prop_map(Own::Text),
        prop_oneof![Just("F1"), Just("a")].prop_map(Own::Other),
    ]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let name = prop_oneof![2 => Just("n"), 2 => Just("m"), 1 => Just("x-n"), 1 => Just("")];
    prop::collection::vec((name, value()), 0..4)
}

/// A table has a name once: a binding's, that is, which is checked by its head.
fn once(mut pairs: Pairs) -> Pairs {
    pairs.sort_by_key(|(name, _)| *name);
    pairs.dedup_by_key(|(name, _)| *name);
    pairs
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Direct), Just(Kind::Fanout), Just(Kind::Pattern), Just(Kind::Headers)];
    let destination = prop_oneof![
        3 => (0..QUEUES).prop_map(|queue| Destination::Queue(PartitionId(queue))),
        2 => (0..TOPICS).prop_map(|number| Destination::Topic(topic(number))),
    ];
    let matching =
        prop_oneof![Just(Matching::All), Just(Matching::Any), Just(Matching::AllWithX), Just(Matching::AnyWithX)];
    let key = prop_oneof![
        prop::sample::select(&WORDS[..]),
        prop::sample::select(&["#", "*", "a.#", "#.b", "*.b", "a.*.#.c"][..])
    ];
    let bind = (0..TOPICS, destination, key, matching, pairs().prop_map(once));
    prop_oneof![
        3 => (0..TOPICS, kind, prop::option::of(0..TOPICS)).prop_map(|(at, kind, next)| Step::Put(at, kind, next)),
        1 => (0..TOPICS).prop_map(Step::Remove),
        1 => (0..QUEUES).prop_map(Step::RemoveQueue),
        12 => bind.prop_map(|(source, destination, key, matching, pairs)| {
            Step::Bind(Made { source, destination, key, matching, pairs })
        }),
        3 => any::<prop::sample::Index>().prop_map(Step::Unbind),
        10 => (0..TOPICS, prop::collection::vec(prop::sample::select(&WORDS[..]), 1..3), pairs())
            .prop_map(|(from, keys, headers)| Step::Route(from, keys, headers)),
        1 => Just(Step::Snapshot),
    ]
}

fn queues_of(router: &Router, from: u8, keys: &[&str], headers: &Pairs) -> Option<BTreeSet<PartitionId>> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.lent())).collect();
    let message = Message { keys: &keys, headers: &headers, ..Message::default() };
    let routed = router.route(topic(from), &message).ok()?;
    assert!(routed.queues.is_sorted_by(|one, other| one < other), "each once: {:?}", routed.queues);
    Some(routed.queues.into_iter().collect())
}

proptest! {
    #[test]
    fn routes_as_the_rule_says_and_a_snapshot_stays_as_it_was(steps in prop::collection::vec(step(), 1..120)) {
        let (mut router, mut plain) = (Router::default(), Plain::default());
        let mut snapshot = (router.clone(), plain.clone());
        let mut destinations = Destinations::default();
        for step in steps {
            match step {
                Step::Put(at, kind, alternate) => {
                    if plain.topics.get(&at).is_some_and(|(known, _)| *known != kind) {
                        plain.bindings.retain(|made| made.source != at && made.destination != Destination::Topic(topic(at)));
                    }
                    router.put_topic(topic(at), NamespaceId(0), &name(at), kind.clone(), alternate.map(name));
                    plain.topics.insert(at, (kind, alternate));
                }
                Step::Remove(at) => {
                    plain.topics.remove(&at);
                    plain.bindings.retain(|made| made.source != at && made.destination != Destination::Topic(topic(at)));
                    router.remove_topic(topic(at));
                }
                Step::RemoveQueue(queue) => {
                    plain.bindings.retain(|made| made.destination != Destination::Queue(PartitionId(queue)));
                    router.remove_destination(Destination::Queue(PartitionId(queue)));
                }
                Step::Bind(made) => {
                    let key: Arc<[u8]> = made.key.as_bytes().into();
                    let checked = router.check(topic(made.source), made.destination, &key, &made.arguments());
                    let to_nowhere = match made.destination {
                        Destination::Topic(topic) => !plain.topics.contains_key(&(topic.0[0] - 1)),
                        Destination::Queue(_) => false,
                    };
                    let expected = match (plain.topics.contains_key(&made.source), to_nowhere) {
                        (false, _) => Err(BindError::NoSource),
                        (true, true) => Err(BindError::NoDestination),
                        (true, false) => Ok(plain.bindings.contains(&made)),
                    };
                    prop_assert_eq!(checked, expected);
                    if checked.is_ok() {
                        router.bind(topic(made.source), made.destination, key, made.arguments(), Principal::Anonymous);
                        if checked == Ok(false) {
                            plain.bindings.push(made);
                        }
                    }
                }
                Step::Unbind(index) => {
                    if plain.bindings.is_empty() {
                        continue;
                    }
                    let made = plain.bindings.remove(index.index(plain.bindings.len()));
                    let (source, key) = (topic(made.source), Arc::from(made.key.as_bytes()));
                    prop_assert!(router.unbind(source, made.destination, &key, &made.arguments()));
                    prop_assert!(!router.unbind(source, made.destination, &key, &made.arguments()));
                }
                Step::Route(from, keys, headers) => {
                    let expected = plain.route(from, &keys, &headers);
                    prop_assert_eq!(&queues_of(&router, from, &keys, &headers), &expected);
                    let lent: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
                    let headers_lent: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.lent())).collect();
                    let message = Message { keys: &lent, headers: &headers_lent, ..Message::default() };
                    let set = destinations.route(&router, topic(from), &message).ok();
                    prop_assert_eq!(set.map(|set| set.queues.iter().copied().collect()), expected);
                    let (router, plain) = &snapshot;
                    prop_assert_eq!(queues_of(router, from, &keys, &headers), plain.route(from, &keys, &headers));
                }
                Step::Snapshot => snapshot = (router.clone(), plain.clone()),
            }
            prop_assert_eq!(router.binding_count(), plain.bindings.len());
            for at in 0..TOPICS {
                let own = plain.bindings.iter().filter(|made| made.source == at).count();
                prop_assert_eq!(router.bindings_from(topic(at)), own);
                prop_assert_eq!(router.from(topic(at)).count(), own);
                let to = Destination::Topic(topic(at));
                let leading = plain.bindings.iter().filter(|made| made.destination == to).count();
                prop_assert_eq!(router.leading_to(to).len(), leading);
            }
        }
        for made in &plain.bindings {
            router.unbind(topic(made.source), made.destination, &Arc::from(made.key.as_bytes()), &made.arguments());
        }
        prop_assert!(router.topics.values().all(|facet| facet.table_is_empty()));
        prop_assert!(router.into.is_empty());
    }

    #[test]
    fn no_change_from_a_medium_is_refused_or_miscounted(made in prop::collection::vec((0..3u8, 0..3u64, any::<bool>()), 1..40)) {
        // Bindings from topics that are not there, of hash topics without a weight.
        let mut router = Router::default();
        router.put_topic(topic(0), NamespaceId(0), &name(0), Kind::Hash(HashOf::Key), None);
        for (source, queue, unbinds) in made {
            let (source, queue, key) = (topic(source), Destination::Queue(PartitionId(queue)), Arc::from(&b"no"[..]));
            match unbinds {
                true => drop(router.unbind(source, queue, &key, &Arguments::default())),
                false => router.bind(source, queue, key, Arguments::default(), Principal::Anonymous),
            }
            prop_assert_eq!(router.binding_count(), router.bindings_from(topic(0)));
        }
        let message = Message { keys: &[b"k"], ..Message::default() };
        prop_assert_eq!(router.route(topic(0), &message).map(|routed| routed.queues), Ok(Vec::new()));
    }
}

#[test]
fn a_hash_shares_out_by_weight_and_stays_where_it_was() {
    let mut router = Router::default();
    router.put_topic(topic(0), NamespaceId(0), &name(0), Kind::Hash(HashOf::Header(Arc::from(&b"h"[..]))), None);
    let bind = |router: &mut Router, queue: u64, weight: &str| {
        let (destination, key) = (Destination::Queue(PartitionId(queue)), Arc::from(weight.as_bytes()));
        assert_eq!(router.check(topic(0), destination, &key, &Arguments::default()), Ok(false));
        router.bind(topic(0), destination, key, Arguments::default(), Principal::Anonymous);
    };
    for bad in ["", "0", "-1", "x", "1000001", "1.5"] {
        let key = Arc::from(bad.as_bytes());
        let checked = router.check(topic(0), Destination::Queue(PartitionId(1)), &key, &Arguments::default());
        assert_eq!(checked, Err(BindError::NotAWeight { max: 1_000_000 }), "{bad}");
    }
    bind(&mut router, 1, "1");
    bind(&mut router, 2, "3");
    let place = |router: &Router, value: i64| {
        let headers = [(&b"h"[..], Value::Int(value))];
        let message = Message { keys: &[b""], headers: &headers, ..Message::default() };
        let queues = router.route(topic(0), &message).ok().map(|routed| routed.queues);
        queues.and_then(|queues| queues.first().copied()).map(|queue| queue.0)
    };
    let before: Vec<_> = (0..10_000).map(|value| place(&router, value)).collect();
    let to_first = before.iter().filter(|queue| **queue == Some(1)).count();
    assert!((2_300..2_700).contains(&to_first), "{to_first}");
    bind(&mut router, 3, "4");
    let mut moved = 0;
    for (value, before) in before.iter().enumerate() {
        let now = place(&router, value as i64);
        assert!(now == *before || now == Some(3));
        moved += usize::from(now != *before);
    }
    assert!((4_700..5_300).contains(&moved), "{moved}");
    let key = Arc::from(&b"4"[..]);
    assert!(router.unbind(topic(0), Destination::Queue(PartitionId(3)), &key, &Arguments::default()));
    assert_eq!((0..10_000).map(|value| place(&router, value)).collect::<Vec<_>>(), before);
    // Without the header all go to one place.
    let message = Message { keys: &[b"k"], ..Message::default() };
    assert_eq!(router.route(topic(0), &message).map(|routed| routed.queues.len()), Ok(1));
}

#[test]
fn a_ring_of_many_topics_ends() {
    let mut router = Router::default();
    let id = |number: u32| TopicId([&[1; 12][..], &number.to_be_bytes()].concat().try_into().expect("16 bytes"));
    const COUNT: u32 = 1_000;
    for number in 0..COUNT {
        router.put_topic(id(number), NamespaceId(0), &format!("{number}").into(), Kind::Fanout, None);
    }
    for number in 0..COUNT {
        for next in [(number + 1) % COUNT, (number * 7) % COUNT] {
            let to = Destination::Topic(id(next));
            router.bind(id(number), to, Arc::default(), Arguments::default(), Principal::Anonymous);
        }
    }
    let last = Destination::Queue(PartitionId(7));
    router.bind(id(COUNT - 1), last, Arc::default(), Arguments::default(), Principal::Anonymous);
    let message = Message { keys: &[b"k"], ..Message::default() };
    assert_eq!(router.route(id(0), &message).map(|routed| routed.queues), Ok(vec![PartitionId(7)]));
}

/// `testdata/routing.txt`: what is bound and sent, and under each route the queues.
#[test]
fn routing_reads_as_it_behaves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata/routing.txt");
    let text = std::fs::read_to_string(&path).expect("the script");
    let mut out = String::new();
    let mut script = Script::default();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(out, "{line}").expect("a string");
        if !line.is_empty() && !line.starts_with('#') {
            script.run(line).lines().for_each(|line| writeln!(out, "  {line}").expect("a string"));
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &out).expect("written");
    } else {
        assert_eq!(out, text, "UPDATE_EXPECT=1 rewrites the file");
    }
}

#[derive(Default)]
struct Script {
    router: Router,
    names: BTreeMap<String, Destination>,
    /// How many names there have been.
    named: u8,
}

/// `i:1`, `f:1.5`, `b:true`, `v:`, `o:bytes`, or a text.
fn script_value(text: &str) -> Value<'_> {
    match text.split_once(':') {
        Some(("i", value)) => Value::Int(value.parse().expect("an integer")),
        Some(("f", value)) => Value::Float(value.parse().expect("a float")),
        Some(("b", value)) => Value::Bool(value == "true"),
        Some(("v", _)) => Value::Void,
        Some(("o", value)) => Value::Other(value.as_bytes()),
        _ => Value::Bytes(text.as_bytes()),
    }
}

impl Script {
    fn destination(&mut self, name: &str) -> Destination {
        self.named += 1;
        *self.names.entry(name.to_string()).or_insert(Destination::Queue(PartitionId(u64::from(self.named))))
    }

    fn topic(&self, name: &str) -> TopicId {
        match self.names.get(name) {
            Some(Destination::Topic(topic)) => *topic,
            _ => TopicId::NONE,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let mut words = Vec::new();
        let (mut headers, mut options) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name @ ("alternate" | "by" | "match" | "id"), value)) => drop(options.insert(name, value)),
                Some((name, value)) => headers.push((name.as_bytes(), script_value(value))),
                None => words.push(word.trim_matches('"')),
            }
        }
        let matching = match options.get("match").copied() {
            None | Some("all") => Matching::All,
            Some("any") => Matching::Any,
            Some("all-with-x") => Matching::AllWithX,
            Some("any-with-x") => Matching::AnyWithX,
            Some(other) => panic!("match={other}"),
        };
        let asked = Asked::of(matching, headers.iter().copied());
        let arguments =
            Arguments { stored: line.split_once("match=").map_or("", |(_, rest)| rest).to_string().into(), asked };
        match words[..] {
            ["topic", name, kind] => {
                let kind = match kind {
                    "direct" => Kind::Direct,
                    "fanout" => Kind::Fanout,
                    "pattern" => Kind::Pattern,
                    "headers" => Kind::Headers,
                    "hash" => Kind::Hash(match options.get("by").copied() {
                        None => HashOf::Key,
                        Some("id") => HashOf::MessageId,
                        Some(header) => HashOf::Header(header.as_bytes().into()),
                    }),
                    other => panic!("{other}"),
                };
                self.named += 1;
                let id = TopicId([self.named; 16]);
                self.names.insert(name.to_string(), Destination::Topic(id));
                let alternate = options.get("alternate").map(|name| Arc::from(*name));
                self.router.put_topic(id, NamespaceId(0), &name.into(), kind, alternate);
                String::new()
            }
            ["remove", name] => {
                match self.names.remove(name) {
                    Some(Destination::Topic(topic)) => self.router.remove_topic(topic),
                    Some(queue) => self.router.remove_destination(queue),
                    None => {}
                }
                format!("{} bindings", self.router.binding_count())
            }
            ["bind", source, to, key] => {
                let (source, to, key) = (self.topic(source), self.destination(to), Arc::from(key.as_bytes()));
                match self.router.check(source, to, &key, &arguments) {
                    Err(why) => format!("{why:?}"),
                    Ok(existed) => {
                        self.router.bind(source, to, key, arguments, Principal::Anonymous);
                        if existed { "existed".to_string() } else { String::new() }
                    }
                }
            }
            ["unbind", source, to, key] => {
                let (source, to) = (self.topic(source), self.destination(to));
                let was_there = self.router.unbind(source, to, &Arc::from(key.as_bytes()), &arguments);
                if was_there { String::new() } else { "was not there".to_string() }
            }
            ["route", from, ref keys @ ..] => {
                let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
                let message_id = options.get("id").map(|id| id.as_bytes());
                let message = Message { keys: &keys, headers: &headers, message_id, ..Message::default() };
                let routed = match self.router.route(self.topic(from), &message) {
                    Ok(routed) => routed,
                    Err(why) => return format!("{why:?}"),
                };
                let mut queues: Vec<&str> = Vec::new();
                for queue in &routed.queues {
                    let named = self.names.iter().find(|(_, known)| **known == Destination::Queue(*queue));
                    queues.push(named.map_or("?", |(name, _)| name));
                }
                queues.sort_unstable();
                if queues.is_empty() { "nowhere".to_string() } else { queues.join(" ") }
            }
            _ => panic!("{line}"),
        }
    }
}

/// How long a route takes by the number of bindings. Run by name, optimised: `cargo test --release -p kernel routing_figures -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn routing_figures() {
    type Make = fn(usize) -> (String, &'static [(&'static str, i64)]);
    let kinds: [(&str, Kind, Make); 6] = [
        ("direct", Kind::Direct, |at| (format!("key-{at}"), &[])),
        ("pattern, words", Kind::Pattern, |at| (format!("stock.{}.{at}.price", at % 50), &[])),
        ("pattern, *", Kind::Pattern, |at| (format!("*.{}.{at}.*", at % 50), &[])),
        ("pattern, #", Kind::Pattern, |at| (format!("#.{at}.price"), &[])),
        ("headers, all", Kind::Headers, |at| (format!("{at}"), &[("number", 0), ("type", 1)])),
        ("hash", Kind::Hash(HashOf::Key), |_| ("1".to_string(), &[])),
    ];
    for count in [1, 100, 10_000, 100_000] {
        for (what, kind, make) in &kinds {
            let count = if matches!(kind, Kind::Hash(_)) { count.min(hash::BINDINGS_MAX) } else { count };
            let mut router = Router::default();
            router.put_topic(topic(0), NamespaceId(0), &name(0), kind.clone(), None);
            let memory_before = resident_bytes();
            let started = Started::now();
            // A row of buckets is made anew with every binding: bound by the thousand where that is all that is waited for.
            for at in 0..count {
                let (key, pairs) = make(at);
                let pairs = pairs
                    .iter()
                    .map(|(name, value)| (name.as_bytes(), Value::Int(if *value == 0 { at as i64 } else { *value })));
                let arguments = Arguments { stored: Bytes::new(), asked: Asked::of(Matching::All, pairs) };
                let destination = Destination::Queue(PartitionId(at as u64));
                router.bind(topic(0), destination, key.into_bytes().into(), arguments, Principal::Anonymous);
            }
            let bind_ns = started.elapsed().as_nanos() / count as u128;
            let bytes = resident_bytes().saturating_sub(memory_before) / count as u64;
            let keys: Vec<String> = (0..1_000)
                .map(|number| number * 7_919 % count)
                .map(|at| match *what {
                    "direct" => format!("key-{at}"),
                    "headers, all" => String::new(),
                    _ => format!("stock.{}.{at}.price", at % 50),
                })
                .collect();
            const ROUNDS: usize = 200;
            let mut found = 0;
            let mut route = |router: &mut dyn FnMut(&Message<'_>) -> usize| {
                let started = Started::now();
                for _ in 0..ROUNDS {
                    for (number, key) in keys.iter().enumerate() {
                        let at = number * 7_919 % count;
                        let headers = [(&b"number"[..], Value::Int(at as i64)), (&b"type"[..], Value::Int(1))];
                        let headers = if *what == "headers, all" { &headers[..] } else { &[] };
                        let message = Message { keys: &[key.as_bytes()], headers, ..Message::default() };
                        found += router(black_box(&message));
                    }
                }
                started.elapsed().as_nanos() / (ROUNDS * keys.len()) as u128
            };
            let plain_ns =
                route(&mut |message| router.route(topic(0), message).map_or(0, |routed| routed.queues.len()));
            let mut destinations = Destinations::default();
            let remembered_ns =
                route(&mut |message| destinations.route(&router, topic(0), message).map_or(0, |set| set.queues.len()));
            println!(
                "{what:15} {count:7} bindings: {plain_ns:5} ns a route, {remembered_ns:4} remembered, {bind_ns:6} ns and {bytes:4} B a binding, {} queues each",
                found / (2 * ROUNDS * keys.len()),
            );
        }
        let mut router = Router::default();
        router.put_topic(topic(0), NamespaceId(0), &name(0), Kind::Fanout, None);
        for at in 0..count {
            let destination = Destination::Queue(PartitionId(at as u64));
            router.bind(topic(0), destination, Arc::default(), Arguments::default(), Principal::Anonymous);
        }
        let message = Message { keys: &[b"k"], ..Message::default() };
        let (started, rounds) = (Started::now(), 2_000_000 / (count + 100));
        let mut found = 0;
        for _ in 0..rounds {
            found += router.route(topic(0), black_box(&message)).map_or(0, |routed| routed.queues.len());
        }
        let ns = started.elapsed().as_nanos() / rounds as u128;
        println!("fanout          {count:7} bindings: {ns:5} ns a route, {} queues each", found / rounds);
    }
    // The worst that patterns can be made to cost.
    let (router, key) = bombs(10_000);
    let message = Message { keys: &[key.as_bytes()], ..Message::default() };
    let started = Started::now();
    assert!(router.route(topic(0), &message).is_err());
    println!("10,000 bombs: refused after {} us", started.elapsed().as_micros());
}

/// Patterns each a little different, all with many `#`, and a key that reaches nearly all of their nodes.
fn bombs(count: u64) -> (Router, String) {
    let mut router = Router::default();
    router.put_topic(topic(0), NamespaceId(0), &name(0), Kind::Pattern, None);
    for at in 0..count {
        let words: Vec<&str> = (0..16).map(|bit| if at >> bit & 1 == 1 { "#.b" } else { "#.a" }).collect();
        let key = Arc::from(words.join(".").as_bytes());
        let destination = Destination::Queue(PartitionId(at));
        router.bind(topic(0), destination, key, Arguments::default(), Principal::Anonymous);
    }
    (router, ["a.b"; 64].join("."))
}

#[test]
fn what_takes_too_long_is_refused_and_others_are_not() {
    let (mut router, key) = bombs(1_000);
    let route = |router: &Router, key: &str| {
        let message = Message { keys: &[key.as_bytes()], ..Message::default() };
        router.route(topic(0), &message).map(|routed| routed.queues.len())
    };
    assert_eq!(route(&router, &key), Err(RouteError::TooCostly { steps_max: STEPS_MAX }));
    assert_eq!(route(&router, "a.c.a"), Ok(0));
    // Not in silence through another topic either.
    router.put_topic(topic(1), NamespaceId(0), &name(1), Kind::Fanout, None);
    for to in [Destination::Queue(PartitionId(0)), Destination::Topic(topic(0))] {
        router.bind(topic(1), to, Arc::default(), Arguments::default(), Principal::Anonymous);
    }
    let message = Message { keys: &[key.as_bytes()], ..Message::default() };
    assert!(router.route(topic(1), &message).is_err());
    assert_eq!(route(&router, &["a"; 16].join(".")), Ok(1));
    // Nor by headers: bindings that are found under each of many pairs.
    router.put_topic(topic(2), NamespaceId(0), &name(2), Kind::Headers, None);
    let names: Vec<String> = (0..40).map(|number| format!("n{number}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_bytes(), Value::Int(1))).collect();
    for at in 0..1_000 {
        let arguments = Arguments { stored: Bytes::new(), asked: Asked::of(Matching::Any, pairs.iter().copied()) };
        let destination = Destination::Queue(PartitionId(at));
        router.bind(topic(2), destination, Arc::default(), arguments, Principal::Anonymous);
    }
    let message = Message { keys: &[b"k"], headers: &pairs, ..Message::default() };
    assert!(router.route(topic(2), &message).is_err());
}
