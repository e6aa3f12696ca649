// SPDX-License-Identifier: Apache-2.0
//! The machine, its notes in a map, and a clock that moves by hand.

use crate::coordinator::messages::{Answer, Ask};
use crate::coordinator::{GroupSettings, Groups};
use bytes::Bytes;
use kernel::Ctx;
use kernel::auth::Principal;
use kernel::coordinator::{Coordinator, DECISION_BYTES_MAX, Decision, Note};
use model::{HolderId, NamespaceId, Now, Ticket, TopicId};
use std::collections::BTreeMap;

/// What came out: who asked, under which number, and the answer.
pub type Answered = (HolderId, Ticket, Answer);

pub struct Desk {
    pub groups: Groups,
    pub settings: GroupSettings,
    pub now: Now,
    /// What the log remembers.
    pub notes: BTreeMap<Bytes, Bytes>,
    pub last_ticket: u64,
    /// Looks at everything at every decision; off for what is about size.
    pub is_strict: bool,
}

/// The topic of that name, in these tests.
pub fn topic_id(name: &str) -> TopicId {
    let mut id = [0; 16];
    for (at, byte) in name.bytes().enumerate().take(16) {
        id[at] = byte;
    }
    TopicId(id)
}

impl Desk {
    pub fn new(settings: GroupSettings) -> Desk {
        Desk {
            groups: Groups::new(settings.clone()),
            settings,
            now: Now { mono_us: 5, wall_ms: 1_700_000_000_000 },
            notes: BTreeMap::new(),
            last_ticket: 0,
            is_strict: true,
        }
    }

    pub fn ask(&mut self, holder: u64, ask: &Ask) -> Vec<Answered> {
        self.last_ticket += 1;
        let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(holder) };
        let decision = self.groups.handle(self.now, &ctx, Ticket(self.last_ticket), &ask.encode());
        self.decided(decision)
    }

    fn decided(&mut self, decision: Decision) -> Vec<Answered> {
        let bytes: usize =
            decision.notes.iter().map(|note| 32 + note.key.len() + note.value.as_ref().map_or(0, Bytes::len)).sum();
        assert!(bytes <= DECISION_BYTES_MAX, "a decision of {bytes} bytes");
        for note in decision.notes {
            self.groups.apply(&note);
            match note.value {
                Some(value) => self.notes.insert(note.key, value),
                None => self.notes.remove(&note.key),
            };
        }
        if self.is_strict {
            self.check();
        }
        let decode = |bytes| Answer::decode(bytes).expect("an answer");
        decision.replies.into_iter().map(|(holder, ticket, bytes)| (holder, ticket, decode(bytes))).collect()
    }

    /// What is remembered is what was noted, and groups hold their invariants.
    pub fn check(&self) {
        assert_eq!(snapshot(&self.groups), self.notes);
        for (key, value) in &self.notes {
            assert_eq!(self.groups.note(key).as_ref(), Some(value));
        }
        let mut bytes = 0;
        for (_, group) in self.groups.stored.from(0) {
            if let Some(live) = &group.live {
                live.check().unwrap_or_else(|why| panic!("{why}"));
            }
            bytes += group.counted_bytes;
        }
        assert_eq!(self.groups.stored.bytes, bytes);
    }

    /// Lets time pass, and whatever comes due happen.
    pub fn advance(&mut self, ms: u64) -> Vec<Answered> {
        let until_us = self.now.mono_us + ms * 1000;
        let mut answers = Vec::new();
        while let Some(due_us) = self.groups.poll_timeout().filter(|due_us| *due_us <= until_us) {
            let us = due_us.max(self.now.mono_us);
            self.pass((us - self.now.mono_us).div_ceil(1000) * 1000);
            let decision = self.groups.handle_timeout(self.now);
            answers.extend(self.decided(decision));
        }
        self.pass(until_us.saturating_sub(self.now.mono_us));
        answers
    }

    fn pass(&mut self, us: u64) {
        self.now.mono_us += us;
        self.now.wall_ms += us / 1000;
    }

    /// The process ends and another one begins, on what was noted.
    pub fn restart(&mut self) {
        self.groups = replayed(&self.settings, &self.notes);
        // A clock of its own.
        self.now.mono_us = 17;
        self.check();
    }

    pub fn forget_topic(&mut self, topic: TopicId) {
        for key in self.groups.forget_topic(topic) {
            assert!(self.notes.remove(&key).is_some(), "a note that is gone was there");
        }
        self.check();
    }
}

pub fn snapshot(groups: &Groups) -> BTreeMap<Bytes, Bytes> {
    let mut notes = BTreeMap::new();
    groups.snapshot(&mut |note| {
        let before = notes.insert(note.key, note.value.expect("what is there has a value"));
        assert!(before.is_none(), "keys are unique");
    });
    notes
}

pub fn replayed(settings: &GroupSettings, notes: &BTreeMap<Bytes, Bytes>) -> Groups {
    let mut groups = Groups::new(settings.clone());
    for (key, value) in notes.iter().rev() {
        groups.apply(&Note { key: key.clone(), value: Some(value.clone()) });
    }
    groups
}
