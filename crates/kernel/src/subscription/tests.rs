// SPDX-License-Identifier: Apache-2.0
//! Ledgers against a list of records, each with its state written beside it; against their own replay; and how much they take.

mod figures;
mod plain;

use super::ledger::Release;
use super::*;
use crate::invariants;
use model::{HolderId, Now};
use plain::{Plain, State};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Records in memory, some of which have to be asked for first.
#[derive(Clone, Debug, Default)]
struct Shelf {
    records: BTreeMap<(u8, u64), Look>,
    away: RefCell<BTreeSet<(u8, u64)>>,
}

impl Records for Shelf {
    fn look(&self, lane: u8, key: u64) -> Look {
        if self.away.borrow().contains(&(lane, key)) {
            return Look::Away;
        }
        self.records.get(&(lane, key)).copied().unwrap_or(Look::Absent)
    }
}

#[derive(Clone, Debug)]
enum Verb {
    Append {
        lane: u8,
        skipped: u64,
        records: Vec<(u32, Option<u64>, bool, bool)>,
    },
    Attach(Attach),
    Detach(u64),
    Credit(u64, Option<u32>, Option<u64>),
    Room(u64, u64),
    Pause(u64, bool),
    Ack(prop::sample::Index),
    /// The last so many grants.
    AckMany(usize),
    Release(prop::sample::Index, bool, Option<u64>),
    Reject(prop::sample::Index),
    Half(prop::sample::Index, u64),
    Finish(prop::sample::Index),
    Left(prop::sample::Index, bool),
    Take(u64, bool),
    Gone(u64),
    Purge,
    Advance(u64),
    Limits(Option<u64>, Option<u64>, Option<u64>, Overflow),
    Refuses(u64),
    Crash(prop::sample::Index),
}

const CONSUMERS: u64 = 5;

fn attach() -> impl Strategy<Value = Attach> {
    let limits =
        (prop::option::of(1..4u32), prop::option::weighted(0.3, 1..300u64), prop::option::weighted(0.3, 0..500u64));
    (0..CONSUMERS, -1..2i32, prop::bool::weighted(0.2), prop::bool::weighted(0.1), limits).prop_map(
        |(consumer, priority, no_ack, exclusive, (records_max, bytes_max, room_bytes))| Attach {
            consumer: ConsumerId(consumer),
            holder: HolderId(consumer / 2 + 1),
            priority,
            no_ack,
            exclusive,
            records_max,
            bytes_max,
            room_bytes,
        },
    )
}

fn verb() -> impl Strategy<Value = Verb> {
    let index = any::<prop::sample::Index>;
    let record =
        (0..120u32, prop::option::weighted(0.2, 0..300u64), prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    let limits = (
        prop::option::weighted(0.3, 0..300u64),
        prop::option::weighted(0.3, 0..6u64),
        prop::option::weighted(0.3, 0..500u64),
        prop_oneof![Just(Overflow::DropHead), Just(Overflow::Reject)],
    );
    prop_oneof![
        12 => (0..3u8, prop_oneof![6 => Just(0u64), 1 => 1..3u64], prop::collection::vec(record, 1..5))
            .prop_map(|(lane, skipped, records)| Verb::Append { lane: lane / 2 * 5, skipped, records }),
        4 => attach().prop_map(Verb::Attach),
        1 => (0..CONSUMERS).prop_map(Verb::Detach),
        1 => (0..CONSUMERS, prop::option::of(0..4u32), prop::option::weighted(0.2, 1..300u64))
            .prop_map(|(consumer, records, bytes)| Verb::Credit(consumer, records, bytes)),
        1 => (0..CONSUMERS, 1..300u64).prop_map(|(consumer, bytes)| Verb::Room(consumer, bytes)),
        1 => (0..CONSUMERS, any::<bool>()).prop_map(|(consumer, paused)| Verb::Pause(consumer, paused)),
        6 => index().prop_map(Verb::Ack),
        2 => (1..6usize).prop_map(Verb::AckMany),
        5 => (index(), any::<bool>(), prop::option::weighted(0.3, 0..200u64))
            .prop_map(|(at, counts, after)| Verb::Release(at, counts, after)),
        2 => index().prop_map(Verb::Reject),
        1 => (index(), any::<u64>()).prop_map(|(at, tag)| Verb::Half(at, tag)),
        1 => index().prop_map(Verb::Finish),
        3 => (index(), prop::bool::weighted(0.2)).prop_map(|(at, moves)| Verb::Left(at, moves)),
        3 => (1..4u64, any::<bool>()).prop_map(|(holder, no_ack)| Verb::Take(holder, no_ack)),
        1 => (1..4u64).prop_map(Verb::Gone),
        1 => Just(Verb::Purge),
        4 => (0..200u64).prop_map(Verb::Advance),
        1 => limits.prop_map(|(ttl, records, bytes, overflow)| Verb::Limits(ttl, records, bytes, overflow)),
        1 => (0..200u64).prop_map(Verb::Refuses),
        1 => index().prop_map(Verb::Crash),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let counts = (any::<bool>(), prop::option::of(0..4u32), any::<bool>());
    let lease_ms_max = prop::option::weighted(0.3, 0..400u64);
    (counts, any::<bool>(), prop::bool::weighted(0.3), any::<bool>(), lease_ms_max).prop_map(
        |((counts_failures, failures_max, gone_counts), has_dead_letters, single_active, takes_over, lease_ms_max)| {
            Settings {
                counts_failures,
                failures_max,
                gone_counts,
                has_dead_letters,
                single_active,
                takes_over,
                lease_ms_max,
                ..Settings::default()
            }
        },
    )
}

struct Check {
    ledger: Ledger,
    plain: Plain,
    shelf: Shelf,
    now: Now,
    log: Vec<Outcome>,
    /// After each verb: how long the log was, what survived by then, and what the plain list says of it.
    marks: Vec<(usize, Vec<u8>, Plain)>,
    grants: Vec<Handle>,
    /// The consumers' numbers: another each time one attaches.
    ids: [u64; CONSUMERS as usize],
}

fn encoded(ledger: &Ledger) -> Vec<u8> {
    let mut bytes = Vec::new();
    ledger.encode(&mut bytes);
    bytes
}

impl Check {
    fn new(settings: Settings) -> Check {
        let settings = Arc::new(settings);
        let ledger = Ledger::new(settings.clone());
        let plain = Plain::new(settings);
        let marks = vec![(0, encoded(&ledger), plain.clone())];
        let now = Now { mono_us: 5_000_000, wall_ms: 1_000 };
        Check {
            ledger,
            plain,
            shelf: Shelf::default(),
            now,
            log: Vec::new(),
            marks,
            grants: Vec::new(),
            ids: [0, 1, 2, 3, 4],
        }
    }

    /// A handle somebody was given, or that the ledger gave for a dead letter; perhaps long ago.
    fn handle(&self, at: &prop::sample::Index) -> Option<Handle> {
        let recent = &self.grants[self.grants.len().saturating_sub(12)..];
        (!recent.is_empty()).then(|| recent[at.index(recent.len())])
    }

    fn id(&self, slot: u64) -> ConsumerId {
        ConsumerId(self.ids[slot as usize])
    }

    fn run(&mut self, verb: &Verb) {
        let mut out = Vec::new();
        let now = self.now;
        match verb {
            Verb::Append { lane, skipped, records } => {
                let first = self.plain.end(*lane) + skipped;
                let bytes = records.iter().map(|(bytes, ..)| u64::from(*bytes)).sum();
                for (number, (bytes, expires, is_absent, is_away)) in records.iter().enumerate() {
                    let key = first + number as u64;
                    let expires_ms = expires.map(|after| now.wall_ms + after);
                    let meta = Meta { bytes: *bytes, came_ms: now.wall_ms, expires_ms };
                    // What is absent has no bytes to be counted.
                    let is_absent = *is_absent && *bytes == 0;
                    self.shelf.records.insert((*lane, key), if is_absent { Look::Absent } else { Look::Known(meta) });
                    if *is_away {
                        self.shelf.away.borrow_mut().insert((*lane, key));
                    }
                    self.plain.append(*lane, key, meta, is_absent);
                }
                let outcome = Outcome::Appended { lane: *lane, first, count: records.len() as u32, bytes };
                self.ledger.apply(&outcome);
                out.push(outcome);
            }
            Verb::Attach(attach) => {
                let id = &mut self.ids[attach.consumer.0 as usize];
                if !self.plain.has(ConsumerId(*id)) {
                    *id += CONSUMERS;
                }
                let attach = Attach { consumer: ConsumerId(*id), ..*attach };
                assert_eq!(self.ledger.attach(attach), self.plain.attach(attach));
            }
            Verb::Detach(slot) => {
                let id = self.id(*slot);
                assert_eq!(self.ledger.detach(id), self.plain.detach(id));
            }
            Verb::Credit(slot, records_max, bytes_max) => {
                let id = self.id(*slot);
                self.ledger.set_credit(id, *records_max, *bytes_max);
                self.plain.change(id, |consumer| {
                    (consumer.attach.records_max, consumer.attach.bytes_max) = (*records_max, *bytes_max);
                });
            }
            Verb::Room(slot, bytes) => {
                let id = self.id(*slot);
                self.ledger.add_room(id, *bytes);
                self.plain.change(id, |consumer| {
                    consumer.attach.room_bytes = consumer.attach.room_bytes.map(|room| room + bytes);
                });
            }
            Verb::Pause(slot, paused) => {
                let id = self.id(*slot);
                self.ledger.set_paused(id, *paused);
                self.plain.change(id, |consumer| consumer.paused = *paused);
            }
            Verb::Ack(at) => {
                let Some(handle) = self.handle(at) else { return };
                assert_eq!(self.ledger.ack(handle, &mut out), self.plain.ack(handle));
            }
            Verb::AckMany(count) => {
                for handle in self.grants.iter().rev().take(*count).copied().collect::<Vec<_>>() {
                    assert_eq!(self.ledger.ack(handle, &mut out), self.plain.ack(handle));
                }
            }
            Verb::Release(at, counts, after) => {
                let Some(handle) = self.handle(at) else { return };
                let due_ms = after.map(|after| now.wall_ms + after);
                let release = Release { counts: *counts, due_ms };
                assert_eq!(self.ledger.release(handle, release, &mut out), self.plain.release(handle, release));
            }
            Verb::Reject(at) => {
                let Some(handle) = self.handle(at) else { return };
                assert_eq!(self.ledger.reject(handle, &mut out), self.plain.reject(handle));
            }
            Verb::Half(at, tag) => {
                let Some(handle) = self.handle(at) else { return };
                assert_eq!(self.ledger.half(handle, *tag, &mut out), self.plain.half(handle));
            }
            Verb::Finish(at) => {
                let Some(handle) = self.handle(at) else { return };
                let finished = self.ledger.finish(handle.lane, handle.key, Why::Acked, &mut out);
                assert_eq!(finished.is_ok(), self.plain.finish(handle.lane, handle.key));
            }
            Verb::Left(at, moves) => {
                let Some(handle) = self.handle(at) else { return };
                if *moves && !self.plain.is_leaving(handle) {
                    return;
                }
                let left = match moves {
                    true => self.ledger.moves(handle, &mut out),
                    false => self.ledger.left(handle, &mut out),
                };
                assert_eq!(left, self.plain.left(handle, *moves));
            }
            Verb::Take(holder, no_ack) => loop {
                let taken = self.ledger.take(now, HolderId(*holder), *no_ack, &self.shelf, &mut out);
                match taken {
                    Taken::Away => self.fetch(),
                    Taken::First(step) => {
                        assert_eq!(self.plain.step(now, true), Some(self.plain.seen(step)));
                        self.note(step);
                    }
                    Taken::Grant(grant) => {
                        assert_eq!(self.plain.take(now, HolderId(*holder), *no_ack), Some(self.plain.told(&grant)));
                        self.plain.number(&grant);
                        self.grants.push(grant.handle);
                        break;
                    }
                    Taken::Empty => {
                        assert_eq!(self.plain.take(now, HolderId(*holder), *no_ack), None);
                        break;
                    }
                }
            },
            Verb::Gone(holder) => {
                self.ledger.gone(HolderId(*holder), &mut out);
                self.plain.gone(HolderId(*holder));
            }
            Verb::Purge => assert_eq!(self.ledger.purge(now, &mut out), self.plain.purge(now)),
            Verb::Advance(ms) => {
                let due_us = self.ledger.next_due_us(now);
                self.now = Now { mono_us: now.mono_us + ms * 1_000, wall_ms: now.wall_ms + ms };
                // Nothing comes due that was not told.
                if due_us.is_none_or(|due_us| due_us > self.now.mono_us) && self.ledger.wanted().is_none() {
                    let mut none = Vec::new();
                    assert_eq!(self.ledger.step(self.now, &self.shelf, &mut none), None);
                    assert!(none.is_empty(), "{none:?}");
                }
            }
            Verb::Limits(ttl_ms, records_max, bytes_max, overflow) => {
                let (ttl_ms, records_max, bytes_max, overflow) = (*ttl_ms, *records_max, *bytes_max, *overflow);
                let before = Settings::clone(self.ledger.settings());
                let settings = Arc::new(Settings { ttl_ms, records_max, bytes_max, overflow, ..before });
                self.ledger.set_settings(settings.clone());
                self.plain.settings = settings;
            }
            Verb::Refuses(bytes) => assert_eq!(self.ledger.refuses(*bytes), self.plain.refuses(*bytes)),
            Verb::Crash(at) => return self.crash(at),
        }
        self.settle_down(out);
    }

    fn fetch(&mut self) {
        let wanted = self.ledger.wanted().expect("something is wanted");
        assert!(self.shelf.away.borrow_mut().remove(&wanted), "what is wanted is away");
    }

    fn note(&mut self, step: Step) {
        match step {
            Step::Deliver(grant) => {
                self.plain.number(&grant);
                self.grants.push(grant.handle);
            }
            Step::Leave { handle, .. } => {
                self.plain.number_leaving(handle);
                self.grants.push(handle);
            }
            Step::Late { .. } => {}
        }
    }

    /// Everything that is to be done after a verb.
    fn settle_down(&mut self, mut out: Vec<Outcome>) {
        loop {
            let Some(step) = self.ledger.step(self.now, &self.shelf, &mut out) else {
                if self.ledger.wanted().is_some() {
                    self.fetch();
                    continue;
                }
                break;
            };
            assert_eq!(Some(self.plain.seen(step)), self.plain.step(self.now, false));
            self.note(step);
        }
        assert_eq!(self.plain.step(self.now, false), None);
        self.log.extend(out);
        self.look();
        self.marks.push((self.log.len(), encoded(&self.ledger), self.plain.clone()));
    }

    fn look(&self) {
        assert_eq!(invariants::ledger(&self.ledger), Ok(()));
        assert_eq!(self.ledger.depth(), self.plain.depth());
        assert_eq!(self.ledger.active(), self.plain.active);
        for (lane, key) in self.plain.records.keys() {
            let is_settled = self.plain.records[&(*lane, *key)].state == State::Settled;
            assert_eq!(self.ledger.is_settled(*lane, *key), is_settled, "{lane}/{key}");
            assert!(is_settled || *key >= self.ledger.floor(*lane));
        }
    }

    /// All that is left is the log up to some verb.
    fn crash(&mut self, at: &prop::sample::Index) {
        // Not too long ago, or nothing would ever grow.
        let from = self.marks.len().saturating_sub(6);
        let kept = from + at.index(self.marks.len() - from);
        self.marks.truncate(kept + 1);
        let (length, bytes, plain) = self.marks[kept].clone();
        self.log.truncate(length);
        let settings = self.ledger.settings().clone();
        let mut ledger = Ledger::new(settings.clone());
        self.log.iter().for_each(|outcome| ledger.apply(outcome));
        assert_eq!(encoded(&ledger), bytes);
        // Or a checkpoint of some verb before, and the rest of the log.
        let (before, checkpoint, _) = &self.marks[at.index(self.marks.len())];
        let mut loaded = Ledger::decode(settings.clone(), checkpoint).expect("a ledger");
        assert_eq!(encoded(&loaded), *checkpoint);
        self.log[*before..].iter().for_each(|outcome| loaded.apply(outcome));
        assert_eq!(encoded(&loaded), bytes);
        self.ledger = if at.index(2) == 0 { ledger } else { loaded };
        self.ledger.recovered();
        self.plain = plain.after_crash(settings, &self.log);
        self.grants.clear();
        // Keys beyond the log are given out again.
        let ends: BTreeMap<u8, u64> = [0, 5].map(|lane| (lane, self.plain.end(lane))).into();
        self.shelf.records.retain(|(lane, key), _| *key < ends[lane]);
        self.shelf.away.borrow_mut().retain(|(lane, key)| *key < ends[lane]);
        self.settle_down(Vec::new());
    }

    /// A crash at every verb leaves what survived of it.
    fn replay_everywhere(&self) {
        let mut ledger = Ledger::new(self.ledger.settings().clone());
        let mut at = 0;
        for (length, bytes, _) in &self.marks {
            self.log[at..*length].iter().for_each(|outcome| ledger.apply(outcome));
            at = *length;
            assert_eq!(encoded(&ledger), *bytes);
            assert_eq!(invariants::ledger(&ledger), Ok(()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_list_of_records_and_replays_as_it_lived(
        settings in settings(),
        verbs in prop::collection::vec(verb(), 1..80),
    ) {
        let mut check = Check::new(settings);
        for verb in &verbs {
            check.run(verb);
        }
        check.replay_everywhere();
    }

    #[test]
    fn any_outcomes_are_folded_and_any_bytes_are_a_ledger_or_refused(
        outcomes in prop::collection::vec((0..7u8, 0..3u8, 0..60u64, 0..20u64), 0..60),
        bytes in prop::collection::vec(0..20u8, 0..60),
    ) {
        let mut ledger = Ledger::new(Arc::default());
        for (what, lane, key, other) in outcomes {
            let outcome = match what {
                0 => Outcome::Appended { lane, first: key, count: other as u32, bytes: key },
                1 => Outcome::Settled { lane, why: Why::Acked, ranges: vec![(key, key + other)], bytes: other },
                2 => Outcome::Failed { lane, key },
                3 => Outcome::Later { lane, key, bytes: other as u32, due_ms: other },
                4 => Outcome::Granted { lane, below: key },
                5 => Outcome::Moving { lane, key, bytes: other as u32 },
                _ => Outcome::Half { lane, key, bytes: other as u32, tag: other },
            };
            ledger.apply(&outcome);
            prop_assert_eq!(invariants::ledger(&ledger), Ok(()), "{:?}", outcome);
        }
        let encoded_once = encoded(&ledger);
        let read = Ledger::decode(Arc::default(), &encoded_once);
        prop_assert_eq!(read.map(|read| encoded(&read)), Ok(encoded_once.clone()));
        for changed in [&bytes, &encoded_once[..encoded_once.len() / 2]] {
            if let Ok(read) = Ledger::decode(Arc::default(), changed) {
                prop_assert_eq!(invariants::ledger(&read), Ok(()));
            }
        }
    }
}
