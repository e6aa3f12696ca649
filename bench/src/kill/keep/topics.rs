// SPDX-License-Identifier: Apache-2.0
//! Keeps topics: made, deleted, made again under their names; more partitions, other settings, records in and records away.
//!
//! The rules, over every fault: a topic that was acknowledged is there with the id that it had; a deleted one is not back, neither
//! by name nor by id, and made again it has an id that no topic ever had; it has exactly the partitions and the settings that it was
//! given; a partition starts where records were last deleted and ends behind the last that was acknowledged, and in between every
//! record is the one that was sent there.

use super::super::shared::Shared;
use super::{Keeper, Read, Told, read, told, writer};
use crate::wire::admin::{Change, Resource};
use crate::wire::{Code, Connection, EARLIEST, LATEST, TopicUuid, WireError, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::compression::Compression;
use sim::rng::Rng;
use sim::value;
use std::collections::{BTreeMap, BTreeSet};

const TOPICS: usize = 5;
const PARTITIONS_MAX: usize = 5;
const RECORD_BYTES: std::ops::Range<u64> = 12..3_000;

/// From where to where a partition's records reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    start: i64,
    end: i64,
}

/// What a topic is, but for its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Life {
    parts: Vec<Part>,
    settings: BTreeMap<String, String>,
}

struct Topic {
    name: String,
    /// Which of the topics, for the numbers of its records.
    number: u64,
    /// How often it was made, or may have been.
    lives: u64,
    life: Option<Life>,
    /// What it is if the change that nobody told about was done.
    or: Option<Option<Life>>,
    id: Option<TopicUuid>,
    /// Of lives that are over; the last is asked for.
    dead: Option<TopicUuid>,
}

/// See the module.
pub struct Topics {
    topics: Vec<Topic>,
    ids: BTreeSet<TopicUuid>,
}

impl Topics {
    pub fn new(named: u32) -> Topics {
        let topic = |number: u64| Topic {
            name: format!("kept-{named}-{number}"),
            number,
            lives: 0,
            life: None,
            or: None,
            id: None,
            dead: None,
        };
        Topics { topics: (0..TOPICS as u64).map(topic).collect(), ids: BTreeSet::new() }
    }
}

/// A setting that changes nothing that is looked at here.
fn setting(rng: &mut Rng) -> (&'static str, String) {
    match rng.below(5) {
        0 => ("retention.ms", rng.within(1_000_000_000..2_000_000_000).to_string()),
        1 => ("max.message.bytes", rng.within(500_000..1_000_000).to_string()),
        2 => ("flush.messages", rng.within(1..1_000).to_string()),
        3 => ("segment.bytes", rng.within(1_048_576..9_000_000).to_string()),
        _ => ("compression.type", rng.pick(&["producer", "zstd", "lz4", "gzip"]).to_owned()),
    }
}

impl Keeper for Topics {
    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        for topic in &mut self.topics {
            topic.look(connection, shared, &mut self.ids)?;
        }
        Ok(())
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        let at = rng.below(TOPICS as u64) as usize;
        let topic = &mut self.topics[at];
        let made = topic.life.is_none();
        topic.change(connection, shared, rng)?;
        // Its id is not told by the acknowledgement.
        if made { topic.look(connection, shared, &mut self.ids) } else { Ok(()) }
    }
}

impl Topic {
    /// The number of the record that stands at an offset, whichever request put it there.
    fn record(&self, part: usize, offset: i64) -> u64 {
        self.number << 56 | self.lives << 32 | (part as u64) << 28 | offset as u64
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        let Some(life) = self.life.clone() else { return self.make(connection, shared, rng) };
        let part = rng.below(life.parts.len() as u64) as usize;
        let Part { start, end } = life.parts[part];
        let mut then = life.clone();
        let name = self.name.clone();
        match rng.below(100) {
            0..8 => {
                self.or = Some(None);
                let answer = connection.delete_topic(&name);
                self.told(answer, &format!("deleting {name}"), shared)
            }
            8..18 if then.parts.len() < PARTITIONS_MAX => {
                let count = rng.within(then.parts.len() as u64 + 1..PARTITIONS_MAX as u64 + 1);
                then.parts.resize(count as usize, Part::default());
                self.or = Some(Some(then));
                let answer = connection.create_partitions(&name, count as i32);
                self.told(answer, &format!("giving {name} {count} partitions"), shared)
            }
            18..32 => {
                let (setting, value) = setting(rng);
                let change = if rng.once_in(3) { Change::Delete } else { Change::Set(&value) };
                match change {
                    Change::Set(value) => drop(then.settings.insert(setting.to_owned(), value.to_owned())),
                    Change::Delete => drop(then.settings.remove(setting)),
                }
                self.or = Some(Some(then));
                let answer = connection.change_setting(Resource::Topic, &name, setting, change);
                self.told(answer, &format!("{setting} of {name}, {change:?}"), shared)
            }
            32..42 => {
                then.settings = (0..rng.below(3)).map(|_| setting(rng)).map(|(name, to)| (name.into(), to)).collect();
                let settings = then.settings.clone();
                self.or = Some(Some(then));
                let answer = connection.alter_settings(Resource::Topic, &name, &settings);
                self.told(answer, &format!("all settings of {name}, {settings:?}"), shared)
            }
            42..55 if end > start => {
                let before = rng.within(start as u64..end as u64 + 1) as i64;
                then.parts[part].start = before;
                self.or = Some(Some(then));
                let asked = if before == end { -1 } else { before };
                let answer = connection.delete_records(&name, part as i32, asked);
                if let Ok(told) = answer
                    && told != before
                {
                    shared.broken(format!("records of {name}-{part} before {before} went, it starts at {told}"));
                }
                self.told(answer, &format!("deleting records of {name}-{part} before {before}"), shared)
            }
            _ => {
                let count = rng.within(1..4) as i64;
                then.parts[part].end = end + count;
                let records: Vec<NewRecord> = (end..end + count)
                    .map(|offset| {
                        let bytes = rng.within(RECORD_BYTES) as usize;
                        let value = Bytes::from(value::payload(self.record(part, offset), bytes));
                        NewRecord { value: Some(value), timestamp_ms: now_ms(), ..NewRecord::default() }
                    })
                    .collect();
                let plain = batch::build(&records, Numbering::NONE);
                let batch = match rng.pick(&writer::CODECS) {
                    Compression::None => plain,
                    codec => batch::compressed(&plain, codec)?,
                };
                self.or = Some(Some(then));
                let mut produced = Vec::new();
                connection.send_produce(&name, -1, &[(part as i32, batch.bytes())])?;
                connection.receive_produce(&mut produced)?;
                let answer = match produced.first() {
                    Some(answer) if answer.error == Code::NONE && answer.base_offset != end => {
                        let base = answer.base_offset;
                        shared.broken(format!("records for the end of {name}-{part}, {end}, are said to be at {base}"));
                        Ok(())
                    }
                    Some(answer) if answer.error == Code::NONE => Ok(()),
                    Some(answer) => Err(WireError::Refused { api: crate::wire::Api::Produce, code: answer.error }),
                    None => Ok(()),
                };
                self.told(answer, &format!("records for {name}-{part}"), shared)
            }
        }
    }

    fn make(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        self.lives += 1;
        let settings: BTreeMap<String, String> =
            (0..rng.below(3)).map(|_| setting(rng)).map(|(name, to)| (name.into(), to)).collect();
        let parts = vec![Part::default(); rng.within(1..3) as usize];
        let count = parts.len() as i32;
        let given: Vec<(&str, &str)> = settings.iter().map(|(name, to)| (name.as_str(), to.as_str())).collect();
        self.or = Some(Some(Life { parts, settings: settings.clone() }));
        let answer = connection.create_topic(&self.name, count, &given);
        let what = format!("making {} with {count} partitions", self.name);
        self.told(answer, &what, shared)
    }

    fn told<T>(&mut self, answer: Result<T, WireError>, what: &str, shared: &Shared) -> Result<(), WireError> {
        match told(answer, what, shared)? {
            Told::Done => {
                if let Some(life) = self.or.take() {
                    self.become_it(life);
                }
            }
            Told::Refused => self.or = None,
        }
        Ok(())
    }

    fn become_it(&mut self, life: Option<Life>) {
        if life.is_none() {
            self.dead = self.id.take().or(self.dead);
        }
        self.life = life;
    }

    fn look(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
        ids: &mut BTreeSet<TopicUuid>,
    ) -> Result<(), WireError> {
        let seen = self.seen(connection)?;
        let found = seen.as_ref().map(|(life, _)| life);
        let as_it_was = found == self.life.as_ref();
        let as_it_may_be = self.or.as_ref().is_some_and(|or| found == or.as_ref());
        if !as_it_was && !as_it_may_be {
            let or = self.or.as_ref().map_or(String::new(), |or| format!(" or {or:?}"));
            shared.broken(format!("topic {} is {found:?}, it must be {:?}{or}", self.name, self.life));
        }
        // What was seen is so from now on, wrong or not: one mistake is told once.
        self.or = None;
        let known = self.id;
        self.become_it(found.cloned());
        if let Some((_, id)) = seen {
            match known {
                Some(known) if known != id => {
                    shared.broken(format!("topic {} has another id than before: {id:02x?}, {known:02x?}", self.name));
                }
                None if !ids.insert(id) => {
                    shared.broken(format!("topic {} was made with an id that a topic had: {id:02x?}", self.name));
                }
                _ => {}
            }
            self.id = Some(id);
        }
        if let Some(dead) = self.dead {
            let asked = connection.metadata_of_id(&dead)?;
            if asked.first().is_none_or(|topic| topic.error != Code::UNKNOWN_TOPIC_ID) {
                shared.broken(format!("topic {} was deleted, its id is known: {asked:?}", self.name));
            }
        }
        self.look_at_records(connection, shared)
    }

    fn seen(&self, connection: &mut Connection) -> Result<Option<(Life, TopicUuid)>, WireError> {
        let asked = connection.metadata(&[&self.name], false)?;
        let malformed = |api, why| WireError::Malformed { api, why };
        let described = asked.first().ok_or(malformed(crate::wire::Api::Metadata, "no answer for the topic"))?;
        match described.error {
            Code::NONE => {}
            Code::UNKNOWN_TOPIC_OR_PARTITION => return Ok(None),
            code => return Err(WireError::Refused { api: crate::wire::Api::Metadata, code }),
        }
        let paged = connection.describe_topic_partitions(&self.name)?;
        if paged != (described.id, described.partitions.len()) {
            return Err(malformed(crate::wire::Api::DescribeTopicPartitions, "it is not what Metadata says"));
        }
        let mut life = Life { parts: Vec::new(), settings: connection.given_settings(Resource::Topic, &self.name)? };
        for partition in &described.partitions {
            let (start, _) = connection.list_offset(&self.name, *partition, EARLIEST)?;
            let (end, _) = connection.list_offset(&self.name, *partition, LATEST)?;
            life.parts.push(Part { start, end });
        }
        Ok(Some((life, described.id)))
    }

    fn look_at_records(&self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        let parts = self.life.iter().flat_map(|life| &life.parts);
        for (part, Part { start, end }) in parts.enumerate() {
            let records = read(connection, &self.name, part as i32, *start, *end)?;
            let right = |(offset, record): (i64, &Read)| {
                let number = record.value.as_deref().and_then(value::number_of);
                record.offset == offset && number == Some(self.record(part, offset))
            };
            if records.len() as i64 != end - start || !(*start..).zip(&records).all(right) {
                let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
                shared.broken(format!(
                    "records of {}-{part} from {start} to {end} are not those that were sent: {offsets:?}",
                    self.name
                ));
            }
        }
        Ok(())
    }
}
