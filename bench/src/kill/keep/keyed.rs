// SPDX-License-Identifier: Apache-2.0
//! Keeps a compacted partition: values and tombstones under some keys, over and over.
//!
//! The rules, over every fault: what stands at an offset is what was sent there; the last value of each key stays; of a key whose
//! last word was a tombstone nothing older is there once the tombstone has gone. Compaction takes away what it may, and how much it
//! took is counted: a rule over what it never did would show nothing.

use super::super::shared::Shared;
use super::writer::{CODECS, Writer};
use super::{Keeper, read};
use crate::wire::{Connection, LATEST, Produced, WireError, now_ms};
use bytes::Bytes;
use model::batch::NewRecord;
use sim::rng::Rng;
use sim::value;
use std::collections::BTreeMap;

const KEYS: u64 = 60;
const RECORD_BYTES: std::ops::Range<u64> = 100..2_000;

/// Compacted as soon as there is something to do, stored soon, tombstones gone at once.
const SETTINGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "500"),
    ("delete.retention.ms", "100"),
];

/// One record: its key, and whether it has a value.
type Sent = (u64, bool);

/// See the module.
pub struct Keyed {
    topic: String,
    writer: Writer,
    /// By offset.
    sent: Vec<Sent>,
    in_doubt: Vec<Sent>,
    /// Records that were not there any more in the last look.
    gone: u64,
}

impl Keyed {
    pub fn new(named: u32) -> Keyed {
        let topic = format!("keyed-{named}");
        let writer = Writer::new(&topic, SETTINGS);
        Keyed { topic, writer, sent: Vec::new(), in_doubt: Vec::new(), gone: 0 }
    }

    fn written(&mut self, told: Produced, shared: &Shared) {
        shared.changed();
        if told.base_offset != self.sent.len() as i64 {
            let end = self.sent.len();
            shared.broken(format!("a batch for the end of {}, {end}, stands at {}", self.topic, told.base_offset));
        }
        self.sent.append(&mut self.in_doubt);
    }
}

impl Keeper for Keyed {
    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        self.writer.ready(connection, shared)?;
        if let Some(told) = self.writer.settle(connection)? {
            self.written(told, shared);
        }
        let (end, _) = connection.list_offset(&self.topic, 0, LATEST)?;
        if end != self.sent.len() as i64 {
            shared.broken(format!("{} ends at {end}, not {}", self.topic, self.sent.len()));
            return Ok(());
        }
        let records = read(connection, &self.topic, 0, 0, end)?;
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        let mut before = -1;
        for record in &records {
            let offset = record.offset;
            let right = usize::try_from(offset).ok().and_then(|offset| self.sent.get(offset)).is_some_and(|sent| {
                let (key, has_value) = *sent;
                let value = record.value.as_deref().map(value::number_of);
                record.key.as_deref() == Some(&key.to_be_bytes()[..])
                    && value == has_value.then_some(Some(offset as u64))
            });
            if !right || offset <= before {
                shared.broken(format!("{} has at {offset} what was not sent there, after {before}", self.topic));
                return Ok(());
            }
            before = offset;
            seen.insert(self.sent[offset as usize].0, offset as usize);
        }
        let mut last: BTreeMap<u64, usize> = BTreeMap::new();
        last.extend(self.sent.iter().enumerate().map(|(offset, (key, _))| (*key, offset)));
        for (key, offset) in last {
            let found = seen.get(&key).copied();
            let may_be_gone = !self.sent[offset].1 && found.is_none();
            if found != Some(offset) && !may_be_gone {
                shared.broken(format!(
                    "{}: the last record of key {key}, at {offset}, is not there; the last that is stands at {found:?}",
                    self.topic
                ));
            }
        }
        let gone = (self.sent.len() - records.len()) as u64;
        shared.compacted(gone.saturating_sub(self.gone));
        self.gone = self.gone.max(gone);
        Ok(())
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        let first = self.sent.len() as u64;
        self.in_doubt = (0..rng.within(1..8)).map(|_| (rng.below(KEYS), !rng.once_in(6))).collect();
        let records: Vec<NewRecord> = (first..)
            .zip(&self.in_doubt)
            .map(|(offset, (key, has_value))| {
                let bytes = rng.within(RECORD_BYTES) as usize;
                let key = Some(Bytes::copy_from_slice(&key.to_be_bytes()));
                let value = has_value.then(|| Bytes::from(value::payload(offset, bytes)));
                NewRecord { key, value, timestamp_ms: now_ms(), ..NewRecord::default() }
            })
            .collect();
        let told = self.writer.write(connection, shared, &records, rng.pick(&CODECS))?;
        self.written(told, shared);
        Ok(())
    }
}
