// SPDX-License-Identifier: Apache-2.0
//! Publisher confirms: the numbers of a channel's publishes, and what the publisher is told of them.
//!
//! Numbers count up from 1, from the `confirm.select` on. Outcomes may come in any order. What is told is made when output is taken, so
//! that everything decided meanwhile is in it: a run of numbers with nothing undecided before it is one `ack` with `multiple`, everything
//! else is told one by one. A `nack` is always told one by one and before the `ack` that passes over it, because an `ack` with
//! `multiple` speaks of all that were not told of yet.
//!
//! Bound: one byte a publish between the oldest undecided and the newest; the caller lets no more in.

use crate::wire::Method;
use crate::wire::methods::{BasicAck, BasicNack};
use std::collections::VecDeque;

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where it should be, safely; or there was nowhere to bring it.
    Accepted,
    /// A queue would not have it.
    Rejected,
}

/// `basic.ack` or `basic.nack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub tag: u64,
    pub multiple: bool,
    pub outcome: Outcome,
}

impl From<Told> for Method {
    fn from(told: Told) -> Method {
        let Told { tag: delivery_tag, multiple, outcome } = told;
        match outcome {
            Outcome::Accepted => BasicAck { delivery_tag, multiple }.into(),
            // Clients that are told so must not take it for asking again by itself: `requeue` means nothing to a publisher.
            Outcome::Rejected => BasicNack { delivery_tag, multiple, requeue: false }.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Undecided,
    Decided(Outcome),
    Told,
}

/// See the module.
#[derive(Debug)]
pub struct Confirms {
    /// The number of the first in `window`.
    first: u64,
    window: VecDeque<State>,
    /// Decided since the last time something was told.
    fresh: Vec<u64>,
}

impl Default for Confirms {
    fn default() -> Confirms {
        Confirms { first: 1, window: VecDeque::new(), fresh: Vec::new() }
    }
}

impl Confirms {
    /// The number of the next publish.
    pub fn publish(&mut self) -> u64 {
        self.window.push_back(State::Undecided);
        self.first + self.window.len() as u64 - 1
    }

    /// A publish is decided; a second time changes nothing.
    pub fn decide(&mut self, number: u64, outcome: Outcome) {
        let state = number.checked_sub(self.first).and_then(|at| self.window.get_mut(at as usize));
        if let Some(state) = state
            && *state == State::Undecided
        {
            *state = State::Decided(outcome);
            self.fresh.push(number);
        }
    }

    /// What is to be told now, in this order.
    pub fn tell(&mut self, mut say: impl FnMut(Told)) {
        let mut run = None;
        let mut run_count = 0;
        while let Some(state) = self.window.front()
            && *state != State::Undecided
        {
            match state {
                State::Decided(Outcome::Accepted) => {
                    run = Some(self.first);
                    run_count += 1;
                }
                State::Decided(outcome) => say(Told { tag: self.first, multiple: false, outcome: *outcome }),
                State::Undecided | State::Told => {}
            }
            self.window.pop_front();
            self.first += 1;
        }
        if let Some(tag) = run {
            say(Told { tag, multiple: run_count > 1, outcome: Outcome::Accepted });
        }
        for number in self.fresh.drain(..) {
            let state = number.checked_sub(self.first).and_then(|at| self.window.get_mut(at as usize));
            if let Some(state) = state
                && let State::Decided(outcome) = *state
            {
                *state = State::Told;
                say(Told { tag: number, multiple: false, outcome });
            }
        }
    }

    /// Something is to be told.
    pub fn has_news(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// From the oldest undecided to the newest.
    pub fn window(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn told(confirms: &mut Confirms) -> Vec<String> {
        let mut lines = Vec::new();
        confirms.tell(|told| {
            let name = if told.outcome == Outcome::Accepted { "ack" } else { "nack" };
            lines.push(format!("{name} {}{}", told.tag, if told.multiple { " multiple" } else { "" }));
        });
        lines
    }

    #[test]
    fn a_run_is_told_at_once_and_what_is_ahead_of_it_one_by_one() {
        let mut confirms = Confirms::default();
        assert_eq!((1..=6).map(|_| confirms.publish()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        confirms.decide(3, Outcome::Accepted);
        assert_eq!(told(&mut confirms), ["ack 3"]);
        confirms.decide(1, Outcome::Accepted);
        confirms.decide(2, Outcome::Rejected);
        confirms.decide(2, Outcome::Accepted);
        confirms.decide(4, Outcome::Accepted);
        confirms.decide(6, Outcome::Rejected);
        assert_eq!(told(&mut confirms), ["nack 2", "ack 4 multiple", "nack 6"]);
        assert_eq!(told(&mut confirms), Vec::<String>::new());
        confirms.decide(5, Outcome::Accepted);
        confirms.decide(0, Outcome::Accepted);
        confirms.decide(7, Outcome::Accepted);
        assert_eq!(told(&mut confirms), ["ack 5"]);
        assert_eq!((confirms.window(), confirms.has_news()), (0, false));
    }

    proptest! {
        /// Steps: publish, decide one, tell. A client that believes what it is told knows what was decided, and nothing else.
        #[test]
        fn what_a_client_makes_of_it_is_what_was_decided(steps in proptest::collection::vec((0..4u8, 0..40u64), 0..120)) {
            let mut confirms = Confirms::default();
            let mut decided: BTreeMap<u64, Outcome> = BTreeMap::new();
            let mut waiting: Vec<u64> = Vec::new();
            let mut known: BTreeMap<u64, Outcome> = BTreeMap::new();
            for (step, number) in steps {
                match step {
                    0 | 1 => waiting.push(confirms.publish()),
                    2 if number > 0 && number <= (waiting.len() + known.len()) as u64 => {
                        let outcome = if number % 5 == 0 { Outcome::Rejected } else { Outcome::Accepted };
                        confirms.decide(number, outcome);
                        decided.entry(number).or_insert(outcome);
                    }
                    _ => {
                        confirms.tell(|told| {
                            let about = |number: &u64| *number == told.tag || (told.multiple && *number < told.tag);
                            for number in waiting.iter().copied().filter(about) {
                                known.insert(number, told.outcome);
                            }
                            waiting.retain(|number| !about(number));
                        });
                        prop_assert_eq!(&known, &decided);
                    }
                }
            }
        }
    }
}
