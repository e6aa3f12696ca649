// SPDX-License-Identifier: Apache-2.0
//! The settings that were given while the broker runs and are not a topic's: of the broker, of all brokers, of groups.
//!
//! Owns: the values, as they were given, and that a change of several of them is one change. Must not know: topics (their settings
//! are part of the catalog), what a value does.
//!
//! Invariants: what is kept has been checked against the tables of `config/`; a resource without values is not kept.
//! Bounds: `RESOURCES_MAX` resources, `RESOURCE_BYTES_MAX` of names and values each, `BYTES_MAX` of all of them; a change that would go
//! beyond is refused (44).
//!
//! A note: key = namespace u64 big-endian, type u8, name; value = its settings (`Stored`), or none when the last one has gone.

use super::messages::numbered;
use crate::config::change::{self, Change, Given, Operation, Rules, Wrong};
use crate::config::{Definition, broker, group};
use crate::wire::{ErrorCode, Field, Format, Malformed, Reader, Text, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use kernel::Ctx;
use kernel::coordinator::{Coordinator, Decision, Note};
use model::{HolderId, NamespaceId, Now, Ticket};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The number of this coordinator among its shard's. Written on media.
pub const CONFIGS: u8 = 2;

/// Most resources with values.
const RESOURCES_MAX: usize = 100_000;
/// What names and values of one resource may take.
const RESOURCE_BYTES_MAX: usize = 64 * 1024;
/// What names and values of all resources may take, their own names included. One ask about all of them is answered with no more.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// The broker, by its id; with an empty name: all brokers.
pub const BROKER: i8 = 4;
pub const GROUP: i8 = 32;

const FORMAT: Format = Format { version: 0, flexible: true };

crate::wire::field::messages! {
    Resource {
        resource_type: i8,
        resource_name: Text,
    }

    Setting {
        name: Text,
        value: Text,
    }

    /// What is asked of several resources is answered for each, in order.
    Get {
        resources: Vec<Resource>,
    }

    Got {
        found: Vec<Stored>,
    }

    /// The layout of a note's value as well: stored.
    Stored {
        settings: Vec<Setting>,
    }

    Alter {
        resource: Resource,
        operations: Vec<AlterOperation>,
        /// What is not named goes back to its default.
        is_complete: bool,
        validate_only: bool,
    }

    AlterOperation {
        name: Text,
        /// By the protocol's numbers.
        operation: i8,
        value: Option<Text>,
    }

    Altered {
        error_code: i16,
        error_message: Option<Text>,
    }

    /// The resources of a type that have values.
    List {
        resource_type: i8,
    }

    Listed {
        names: Vec<Text>,
    }
}

numbered! {
    /// To this coordinator.
    Ask {
        Get(Get) = 0,
        Alter(Alter) = 1,
        List(List) = 2,
    }
}

numbered! {
    /// From it, one to each ask, of the same number.
    Answer {
        Got(Got) = 0,
        Altered(Altered) = 1,
        Listed(Listed) = 2,
    }
}

type Key = (NamespaceId, i8, Arc<str>);

/// See the module.
#[derive(Debug, Default)]
pub struct Configs {
    given: BTreeMap<Key, Given>,
    /// Counted against `BYTES_MAX`.
    bytes: usize,
}

impl Configs {
    pub fn new() -> Configs {
        Configs::default()
    }

    fn get(&self, namespace: NamespaceId, resource: &Resource) -> Stored {
        let key = (namespace, resource.resource_type, Arc::from(resource.resource_name.as_str()));
        stored(self.given.get(&key))
    }

    fn alter(&self, namespace: NamespaceId, alter: &Alter) -> Result<Vec<Note>, Wrong> {
        let (kind, name) = (alter.resource.resource_type, alter.resource.resource_name.as_str());
        let find = |setting: &str| -> Result<Option<&'static Definition>, Wrong> {
            match kind {
                BROKER => broker::find_changeable(setting, name.is_empty()),
                GROUP => group::find(setting),
                _ => Err((ErrorCode::InvalidRequest, format!("Unexpected resource type {kind}"))),
            }
        };
        let mut changes = Vec::with_capacity(alter.operations.len());
        for change in &alter.operations {
            let operation = Operation::from_number(change.operation)
                .ok_or_else(|| (ErrorCode::InvalidRequest, format!("Unknown operation {}", change.operation)))?;
            changes.push(Change {
                name: change.name.as_str(),
                operation,
                value: change.value.as_ref().map(Text::as_str),
            });
        }
        let key = (namespace, kind, Arc::from(name));
        let (none, known) = (Given::new(), self.given.get(&key));
        let wrong_value = if kind == BROKER { ErrorCode::InvalidRequest } else { ErrorCode::InvalidConfig };
        let rules = Rules { find, wrong_value };
        let after = change::apply(known.unwrap_or(&none), &changes, alter.is_complete, &rules)?;
        let is_surplus = known.is_none() && !after.is_empty() && self.given.len() >= RESOURCES_MAX;
        let (before, bytes) = (known.map_or(0, |known| bytes_of(&key, known)), bytes_of(&key, &after));
        // What takes away is never refused.
        let is_too_much = bytes > RESOURCE_BYTES_MAX || self.bytes - before + bytes > BYTES_MAX;
        if is_surplus || (is_too_much && bytes > before) {
            return Err((ErrorCode::PolicyViolation, "There are too many settings.".to_owned()));
        }
        if alter.validate_only || after == *known.unwrap_or(&none) {
            return Ok(Vec::new());
        }
        Ok(vec![note(&key, &after)])
    }

    fn list(&self, namespace: NamespaceId, resource_type: i8) -> Listed {
        let from = Bound::Included((namespace, resource_type, Arc::from("")));
        let of = self.given.range((from, Bound::Unbounded));
        let of = of.take_while(|((at, kind, _), _)| (*at, *kind) == (namespace, resource_type));
        Listed { names: of.map(|((.., name), _)| Text::from(&**name)).collect() }
    }
}

fn bytes_of(key: &Key, given: &Given) -> usize {
    key.2.len() + given.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

fn stored(given: Option<&Given>) -> Stored {
    let setting =
        |(name, value): (&Arc<str>, &Arc<str>)| Setting { name: Text::from(&**name), value: Text::from(&**value) };
    Stored { settings: given.into_iter().flatten().map(setting).collect() }
}

fn note((namespace, kind, name): &Key, given: &Given) -> Note {
    let mut key = BytesMut::with_capacity(9 + name.len());
    key.put_u64(namespace.0);
    key.put_i8(*kind);
    key.extend_from_slice(name.as_bytes());
    let value = (!given.is_empty()).then(|| {
        let mut writer = Writer::body();
        stored(Some(given)).write(&mut writer, FORMAT);
        writer.into_bytes()
    });
    Note { key: key.freeze(), value }
}

fn read_key(key: &[u8]) -> Option<Key> {
    let (namespace, rest) = key.split_first_chunk::<8>()?;
    let (kind, name) = rest.split_first()?;
    let name = std::str::from_utf8(name).ok()?;
    Some((NamespaceId(u64::from_be_bytes(*namespace)), *kind as i8, Arc::from(name)))
}

impl Coordinator for Configs {
    fn which(&self) -> u8 {
        CONFIGS
    }

    fn handle(&mut self, _now: Now, ctx: &Ctx, ticket: Ticket, input: &Bytes) -> Decision {
        let mut notes = Vec::new();
        let namespace = ctx.namespace;
        let answer = match Ask::decode(input.clone()) {
            Ok(Ask::Get(get)) => {
                let found = get.resources.iter().map(|resource| self.get(namespace, resource)).collect();
                Answer::Got(Got { found })
            }
            Ok(Ask::Alter(alter)) => {
                let (code, message) = match self.alter(namespace, &alter) {
                    Ok(decided) => {
                        notes = decided;
                        (ErrorCode::None, None)
                    }
                    Err((code, message)) => (code, Some(Text::from(message))),
                };
                Answer::Altered(Altered { error_code: code.number(), error_message: message })
            }
            Ok(Ask::List(list)) => Answer::Listed(self.list(namespace, list.resource_type)),
            // A bug of a verb, which sees in the empty answer that it is one.
            Err(_) => return Decision { notes, replies: vec![(ctx.holder, ticket, Bytes::new())] },
        };
        Decision { notes, replies: vec![(ctx.holder, ticket, answer.encode())] }
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
        let Some(key) = read_key(&note.key) else { return };
        if let Some(before) = self.given.remove(&key) {
            self.bytes -= bytes_of(&key, &before);
        }
        let settings = note.value.clone().and_then(|value| Stored::read(&mut Reader::new(value), FORMAT).ok());
        if let Some(Stored { settings }) = settings.filter(|stored| !stored.settings.is_empty()) {
            let setting = |setting: Setting| (Arc::from(setting.name.as_str()), Arc::from(setting.value.as_str()));
            let given: Given = settings.into_iter().map(setting).collect();
            self.bytes += bytes_of(&key, &given);
            self.given.insert(key, given);
        }
    }

    fn only_reads(&self, input: &Bytes) -> bool {
        // Get, List.
        matches!(input.first(), Some(0 | 2))
    }

    fn note(&self, key: &Bytes) -> Option<Bytes> {
        let key = read_key(key)?;
        note(&key, self.given.get(&key)?).value
    }

    fn snapshot(&self, emit: &mut dyn FnMut(Note)) {
        self.given.iter().for_each(|(key, given)| emit(note(key, given)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::auth::Principal;

    fn ask(configs: &mut Configs, namespace: u64, ask: &Ask) -> (Answer, usize) {
        let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId(namespace), holder: HolderId(1) };
        let decision = configs.handle(Now { mono_us: 0, wall_ms: 0 }, &ctx, Ticket(1), &ask.encode());
        decision.notes.iter().for_each(|note| configs.apply(note));
        (Answer::decode(decision.replies[0].2.clone()).unwrap(), decision.notes.len())
    }

    type Operation<'a> = (&'a str, i8, Option<&'a str>);

    fn alter(kind: i8, name: &str, operations: &[Operation<'_>], validate_only: bool) -> Ask {
        let operation = |(name, operation, value): &Operation<'_>| AlterOperation {
            name: Text::from(*name),
            operation: *operation,
            value: value.map(Text::from),
        };
        Ask::Alter(Alter {
            resource: Resource { resource_type: kind, resource_name: Text::from(name) },
            operations: operations.iter().map(operation).collect(),
            is_complete: false,
            validate_only,
        })
    }

    fn get(configs: &mut Configs, namespace: u64, kind: i8, name: &str) -> Vec<(String, String)> {
        let resources = vec![Resource { resource_type: kind, resource_name: Text::from(name) }];
        let (Answer::Got(got), 0) = ask(configs, namespace, &Ask::Get(Get { resources })) else {
            panic!("another answer")
        };
        got.found[0].settings.iter().map(|setting| (setting.name.to_string(), setting.value.to_string())).collect()
    }

    fn code(answer: (Answer, usize)) -> (i16, usize) {
        let (Answer::Altered(altered), notes) = answer else { panic!("another answer") };
        (altered.error_code, notes)
    }

    #[test]
    fn what_is_given_is_kept_and_read_back_from_its_notes() {
        let mut configs = Configs::new();
        let threads = [("background.threads", 0, Some("4")), ("log.cleanup.policy", 2, Some("compact"))];
        assert_eq!(code(ask(&mut configs, 0, &alter(BROKER, "", &threads, false))), (0, 1));
        assert_eq!(code(ask(&mut configs, 0, &alter(BROKER, "", &threads, false))), (0, 0), "nothing new");
        assert_eq!(code(ask(&mut configs, 0, &alter(BROKER, "0", &[("a.plug.in", 0, Some("x"))], false))), (0, 1));
        let timeout = [("consumer.session.timeout.ms", 0, Some("50000"))];
        assert_eq!(code(ask(&mut configs, 0, &alter(GROUP, "g", &timeout, true))), (0, 0), "only asked");
        assert_eq!(code(ask(&mut configs, 0, &alter(GROUP, "g", &timeout, false))), (0, 1));
        let expected = [("background.threads", "4"), ("log.cleanup.policy", "delete,compact")];
        assert_eq!(get(&mut configs, 0, BROKER, ""), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(get(&mut configs, 1, BROKER, ""), [], "another namespace");
        let mut copy = Configs::new();
        configs.snapshot(&mut |note| {
            assert_eq!(configs.note(&note.key), note.value);
            copy.apply(&note);
        });
        assert_eq!(copy.given, configs.given);
        let (Answer::Listed(listed), 0) = ask(&mut copy, 0, &Ask::List(List { resource_type: GROUP })) else {
            panic!()
        };
        assert_eq!(listed.names, [Text::from("g")]);
        let gone = [("consumer.session.timeout.ms", 1, None)];
        assert_eq!(code(ask(&mut copy, 0, &alter(GROUP, "g", &gone, false))), (0, 1));
        assert_eq!(copy.given.len(), 2, "a resource without values is not kept");
        assert_eq!(copy.bytes, copy.given.iter().map(|(key, given)| bytes_of(key, given)).sum::<usize>());
    }

    #[test]
    fn all_resources_together_are_bounded_and_what_takes_away_is_taken() {
        let mut configs = Configs::new();
        let padded = format!("50000{}", " ".repeat(30_000));
        let long = [("consumer.session.timeout.ms", 0, Some(&*padded))];
        let mut taken = 0;
        while code(ask(&mut configs, 0, &alter(GROUP, &format!("g{taken}"), &long, false))).0 == 0 {
            taken += 1;
        }
        assert!(configs.bytes <= BYTES_MAX && taken > 1_000, "{taken}");
        assert_eq!(code(ask(&mut configs, 0, &alter(GROUP, "h", &long, false))), (44, 0));
        let short = [("consumer.session.timeout.ms", 0, Some("50000"))];
        assert_eq!(code(ask(&mut configs, 0, &alter(GROUP, "g0", &short, false))), (0, 1));
        assert_eq!(code(ask(&mut configs, 0, &alter(GROUP, "h", &short, false))), (0, 1));
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let mut configs = Configs::new();
        let large = "x".repeat(30_000);
        let wrong: [(i8, &str, Operation<'_>, i16); 8] = [
            (BROKER, "0", ("advertised.listeners", 0, Some("PLAINTEXT://elsewhere:1")), 42),
            (BROKER, "0", ("background.threads", 0, Some("many")), 42),
            (BROKER, "0", ("background.threads", 2, Some("1")), 40),
            (BROKER, "0", ("background.threads", 7, Some("1")), 42),
            (BROKER, "0", ("background.threads", 0, None), 42),
            (GROUP, "g", ("retention.ms", 0, Some("1")), 40),
            (GROUP, "g", ("consumer.session.timeout.ms", 0, Some("50")), 40),
            (16, "m", ("interval.ms", 0, Some("1")), 42),
        ];
        for (kind, name, operation, expected) in wrong {
            let good = ("background.threads", 0, Some("4"));
            let operations =
                if kind == BROKER && operation.0 != good.0 { vec![good, operation] } else { vec![operation] };
            assert_eq!(
                code(ask(&mut configs, 0, &alter(kind, name, &operations, false))),
                (expected, 0),
                "{operation:?}"
            );
        }
        let many = [("a", 0, Some(&*large)), ("b", 0, Some(&*large)), ("c", 0, Some(&*large))];
        assert_eq!(code(ask(&mut configs, 0, &alter(BROKER, "0", &many, false))), (44, 0));
        assert!(configs.given.is_empty());
    }
}
