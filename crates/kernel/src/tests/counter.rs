// SPDX-License-Identifier: Apache-2.0
//! The smallest coordinator: named counters, each a note.

use crate::command::Ctx;
use crate::coordinator::{Coordinator, Decision, Note};
use bytes::Bytes;
use model::{HolderId, Now, Ticket};
use std::collections::BTreeMap;

pub const COUNTER: u8 = 9;

/// Input: a counter's name; it is counted up and answered. `-name` removes it. `?name` answers and changes nothing.
#[derive(Default)]
pub struct Counter {
    counts: BTreeMap<Bytes, u64>,
}

impl Counter {
    fn answer(&self, name: &[u8]) -> Bytes {
        self.counts.get(name).copied().unwrap_or(0).to_string().into()
    }
}

impl Coordinator for Counter {
    fn which(&self) -> u8 {
        COUNTER
    }

    fn handle(&mut self, _now: Now, ctx: &Ctx, ticket: Ticket, input: &Bytes) -> Decision {
        let (note, answer) = match input.first() {
            Some(b'?') => (None, self.answer(&input[1..])),
            Some(b'-') => (Some(Note { key: input.slice(1..), value: None }), "0".into()),
            _ => {
                let count = self.counts.get(input).copied().unwrap_or(0) + 1;
                let value: Bytes = count.to_string().into();
                (Some(Note { key: input.clone(), value: Some(value.clone()) }), value)
            }
        };
        Decision { notes: note.into_iter().collect(), replies: vec![(ctx.holder, ticket, answer)] }
    }

    fn handle_timeout(&mut self, _now: Now) -> Decision {
        Decision::default()
    }

    fn poll_timeout(&self) -> Option<u64> {
        None
    }

    fn handle_gone(&mut self, _now: Now, _holder: HolderId) -> Decision {
        Decision::default()
    }

    fn apply(&mut self, note: &Note) {
        let count = note.value.as_ref().and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        match count {
            Some(count) => self.counts.insert(note.key.clone(), count),
            None => self.counts.remove(&note.key),
        };
    }

    fn only_reads(&self, input: &Bytes) -> bool {
        input.first() == Some(&b'?')
    }

    fn note(&self, key: &Bytes) -> Option<Bytes> {
        self.counts.get(key).map(|count| count.to_string().into())
    }

    fn snapshot(&self, emit: &mut dyn FnMut(Note)) {
        for (key, count) in &self.counts {
            emit(Note { key: key.clone(), value: Some(count.to_string().into()) });
        }
    }
}
