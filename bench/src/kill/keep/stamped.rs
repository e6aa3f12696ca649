// SPDX-License-Identifier: Apache-2.0
//! Keeps a partition on which the broker stamps its own time, written in every codec, and asks for offsets in every way.
//!
//! The rules, over every fault: each batch stands at the offset and has the time that its acknowledgement told; a search by time
//! finds the first record that is not older, a search for the latest time finds it; the partition starts at 0, ends behind the last
//! batch, and so does its leader epoch; the partition knows its producer by the last number.

use super::super::shared::Shared;
use super::writer::{CODECS, Writer};
use super::{Keeper, read};
use crate::wire::{Connection, EARLIEST, LATEST, MAX_TIMESTAMP, Produced, WireError, now_ms};
use bytes::Bytes;
use model::batch::NewRecord;
use sim::rng::Rng;
use sim::value;

/// So many of the last batches are read again in a look, and as many from a place that moves on.
const BATCHES_READ: usize = 40;
/// Searches by time in a look.
const SEARCHES: usize = 6;

#[derive(Clone, Copy)]
struct Stamp {
    base: i64,
    count: i64,
    /// -1: the acknowledgement was of a repeat, whose time is first seen by reading.
    at_ms: i64,
}

/// See the module.
pub struct Stamped {
    topic: String,
    writer: Writer,
    stamps: Vec<Stamp>,
    end: i64,
    /// Records of the batch in doubt.
    count_in_doubt: i64,
    place: usize,
}

impl Stamped {
    pub fn new(named: u32) -> Stamped {
        let topic = format!("stamped-{named}");
        let writer = Writer::new(&topic, &[("message.timestamp.type", "LogAppendTime")]);
        Stamped { topic, writer, stamps: Vec::new(), end: 0, count_in_doubt: 0, place: 0 }
    }

    fn written(&mut self, told: Produced, count: i64, repeated: bool, shared: &Shared) {
        shared.changed();
        if told.base_offset != self.end {
            shared
                .broken(format!("a batch for the end of {}, {}, stands at {}", self.topic, self.end, told.base_offset));
        }
        if told.appended_ms < 0 && !repeated {
            shared.broken(format!("a batch of {} was not told its time", self.topic));
        }
        let at_ms = if repeated { -1 } else { told.appended_ms };
        self.stamps.push(Stamp { base: told.base_offset, count, at_ms });
        self.end = told.base_offset + count;
    }

    /// Reads batches again and learns the times that nobody told.
    fn read_again(&mut self, connection: &mut Connection, shared: &Shared, from: usize) -> Result<(), WireError> {
        let until = self.stamps.len().min(from + BATCHES_READ);
        let Some(first) = self.stamps.get(from).map(|stamp| stamp.base) else { return Ok(()) };
        let end = self.stamps[until - 1].base + self.stamps[until - 1].count;
        let mut records = read(connection, &self.topic, 0, first, end)?.into_iter();
        for stamp in &mut self.stamps[from..until] {
            for offset in stamp.base..stamp.base + stamp.count {
                let Some(record) = records.next() else {
                    shared.broken(format!("{} has nothing at {offset}, acknowledged", self.topic));
                    return Ok(());
                };
                let number = record.value.as_deref().and_then(value::number_of);
                if (record.offset, number) != (offset, Some(offset as u64)) {
                    shared.broken(format!("{}: record {number:?} at {}, not {offset}", self.topic, record.offset));
                }
                if stamp.at_ms < 0 {
                    stamp.at_ms = record.timestamp_ms;
                }
                if !record.stamped || record.timestamp_ms != stamp.at_ms {
                    shared.broken(format!(
                        "{}: the time at {offset} is {} (the broker's: {}), it was {}",
                        self.topic, record.timestamp_ms, record.stamped, stamp.at_ms
                    ));
                }
            }
        }
        Ok(())
    }

    fn search(&self, connection: &mut Connection, shared: &Shared, at_ms: i64) -> Result<(), WireError> {
        let must = self.stamps.iter().find(|stamp| stamp.at_ms >= at_ms).map_or(-1, |stamp| stamp.base);
        let (found, _) = connection.list_offset(&self.topic, 0, at_ms)?;
        if found != must {
            shared.broken(format!("{}: the first record from {at_ms} on is {found}, not {must}", self.topic));
        }
        Ok(())
    }
}

impl Keeper for Stamped {
    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        let producer = self.writer.ready(connection, shared)?;
        if let Some(told) = self.writer.settle(connection)? {
            self.written(told, self.count_in_doubt, true, shared);
        }
        let (start, _) = connection.list_offset(&self.topic, 0, EARLIEST)?;
        let (end, _) = connection.list_offset(&self.topic, 0, LATEST)?;
        if (start, end) != (0, self.end) {
            shared.broken(format!("{} reaches from {start} to {end}, not from 0 to {}", self.topic, self.end));
        }
        let described = connection.metadata(&[&self.topic], false)?;
        let epoch = described.first().map_or(-1, |topic| topic.leader_epoch);
        let ended = connection.epoch_end(&self.topic, 0, epoch)?;
        if ended != self.end {
            shared.broken(format!("{}: epoch {epoch} ends at {ended}, not {}", self.topic, self.end));
        }
        if self.end == 0 {
            return Ok(());
        }
        let producers = connection.describe_producers(&self.topic, 0)?;
        let last = self.writer.sequence - 1;
        if !producers.iter().any(|one| one.id == producer.0 && one.last_sequence == last) {
            shared.broken(format!("{}: producer {producer:?} at {last} is not among {producers:?}", self.topic));
        }
        self.read_again(connection, shared, self.stamps.len().saturating_sub(BATCHES_READ))?;
        self.read_again(connection, shared, self.place)?;
        self.place = (self.place + BATCHES_READ) % self.stamps.len();
        if self.stamps.iter().any(|stamp| stamp.at_ms < 0) {
            // A repeat that is not among the last any more; the place comes to it.
            return Ok(());
        }
        for step in 0..SEARCHES {
            let at_ms = self.stamps[(self.place + step * self.stamps.len() / SEARCHES) % self.stamps.len()].at_ms;
            self.search(connection, shared, at_ms)?;
        }
        let latest_ms = self.stamps.iter().map(|stamp| stamp.at_ms).max().unwrap_or(0);
        self.search(connection, shared, latest_ms + 1)?;
        let (found, at_ms) = connection.list_offset(&self.topic, 0, MAX_TIMESTAMP)?;
        let stands = self.stamps.iter().find(|stamp| (stamp.base..stamp.base + stamp.count).contains(&found));
        if at_ms != latest_ms || stands.is_none_or(|stamp| stamp.at_ms != latest_ms) {
            shared.broken(format!("{}: the latest time is {at_ms} at {found}, not {latest_ms}", self.topic));
        }
        Ok(())
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        let count = rng.within(1..6) as i64;
        let bytes = rng.within(100..1_000) as usize;
        let records: Vec<NewRecord> = (self.end..self.end + count)
            .map(|offset| {
                let value = Some(Bytes::from(value::payload(offset as u64, bytes)));
                // Something that compresses, since the payload does not.
                let headers = vec![(Bytes::from_static(b"padding"), Some(Bytes::from_static(&[b'.'; 200])))];
                // The sender's clock is wrong: nobody may see it.
                NewRecord { value, timestamp_ms: now_ms() - 5_000_000, headers, ..NewRecord::default() }
            })
            .collect();
        self.count_in_doubt = count;
        let told = self.writer.write(connection, shared, &records, rng.pick(&CODECS))?;
        self.written(told, count, false, shared);
        Ok(())
    }
}
