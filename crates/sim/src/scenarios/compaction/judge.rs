// SPDX-License-Identifier: Apache-2.0
//! Was it right to leave a record out, and wrong to keep one?
//!
//! Owns: what is known of each record (sent, acknowledged, seen, passed over by a read) and the promises of a compacted log.
//! Must not know: how compaction works, when it runs. It believes only what clients sent, saw and were told.
//!
//! ```text
//! one offset, one record, for ever; in a producer's order; exactly as it was sent; only at or after the offset asked for
//! a record that a read passed over    has a later record of its key below that read's high watermark, both old enough;
//!                                     or is a tombstone whose time is up; or has no key, in a topic that was ever compacted
//! and once passed over                is not seen by any read that begins later (a restart brings nothing back)
//! at the end, in a topic all of which is due, each key stands once, and no tombstone or record without a key is left; but for the
//!                                     very last record of a partition, which stays whatever it is
//! start and high watermark never go back; the start moves only where someone trimmed or the topic expires
//! ```
//! When nobody knows what became of a send (it was under way when the process died) and it was never seen either, it may be what
//! a record of its key was left out for.

use super::batches::{Content, Got};
use super::plan::Keeps;
use model::PartitionId;
use model::batch::{Header, Numbering};
use model::compression::Compression;
use std::collections::BTreeMap;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Unknown,
    Acked,
    Refused,
}

#[derive(Clone, Debug)]
struct Sent {
    content: Content,
    partition: PartitionId,
    /// Wall clock when it was first handed over.
    at_ms: u64,
    fate: Fate,
    numbering: Numbering,
    compression: Compression,
    offset: Option<u64>,
}

/// A read under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub partition: PartitionId,
    pub from: u64,
    /// A later one has a larger number.
    pub moment: u64,
    start_floor: u64,
    high_floor: u64,
}

/// The first time that a read passed over an offset.
#[derive(Clone, Copy, Debug)]
struct Passed {
    /// When it was answered.
    moment: u64,
    high: u64,
    wall_ms: u64,
}

#[derive(Debug, Default)]
struct Place {
    /// What is known to stand, or to have stood, at an offset.
    at: BTreeMap<u64, u64>,
    passed: BTreeMap<u64, Passed>,
    start_floor: u64,
    high_floor: u64,
    trimmed_to: u64,
    limits: Limits,
}

/// The most that the topic ever allowed.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    compacted: bool,
    expires: bool,
    lag_ms: u64,
    tombstone_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Judge {
    sent: BTreeMap<u64, Sent>,
    places: BTreeMap<PartitionId, Place>,
    moment: u64,
    seen_rarely: Vec<&'static str>,
}

pub type Checked = Result<(), String>;

impl Judge {
    /// What was seen that is worth counting, since it was asked last.
    pub fn take_sightings(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.seen_rarely)
    }

    /// The topic of the partition keeps this now, or may.
    pub fn keeps(&mut self, partition: PartitionId, keeps: &Keeps) {
        let limits = &mut self.places.entry(partition).or_default().limits;
        limits.expires |= keeps.retention_ms.is_some() || keeps.retention_bytes.is_some();
        if let Some(compaction) = keeps.compaction {
            let first = !std::mem::replace(&mut limits.compacted, true);
            let least = |known: u64, new: u64| if first { new } else { known.min(new) };
            limits.lag_ms = least(limits.lag_ms, compaction.lag_ms_min);
            limits.tombstone_ms = least(limits.tombstone_ms, compaction.tombstone_ms);
        }
    }

    /// Handed over for the first time.
    pub fn sends(
        &mut self,
        partition: PartitionId,
        contents: &[Content],
        numbering: Numbering,
        compression: Compression,
        at_ms: u64,
    ) {
        for content in contents {
            let (content, fate) = (*content, Fate::Unknown);
            let sent = Sent { content, partition, at_ms, fate, numbering, compression, offset: None };
            self.sent.insert(content.number, sent);
        }
    }

    /// A batch was answered.
    pub fn acked(&mut self, partition: PartitionId, first: u64, count: u32, base: u64) -> Checked {
        for step in 0..u64::from(count) {
            self.stands(partition, base + step, first + step)?;
            if let Some(sent) = self.sent.get_mut(&(first + step)) {
                sent.fate = Fate::Acked;
            }
        }
        let place = self.places.entry(partition).or_default();
        place.high_floor = place.high_floor.max(base + u64::from(count));
        Ok(())
    }

    /// Nothing of a batch was taken.
    pub fn refused(&mut self, first: u64, count: u32) -> Checked {
        for number in first..first + u64::from(count) {
            if let Some(sent) = self.sent.get_mut(&number) {
                sent.fate = Fate::Refused;
                if let Some(offset) = sent.offset {
                    return Err(format!("record {number} was refused, and stands at {offset}"));
                }
            }
        }
        Ok(())
    }

    /// What was sent under that number.
    pub fn content(&self, number: u64) -> Option<Content> {
        self.sent.get(&number).map(|sent| sent.content)
    }

    fn stands(&mut self, partition: PartitionId, offset: u64, number: u64) -> Checked {
        let sent = self.sent.get_mut(&number).ok_or("a record that was never sent")?;
        if sent.partition != partition {
            return Err(format!("record {number} of partition {} stands in {partition}", sent.partition));
        }
        if sent.fate == Fate::Refused {
            return Err(format!("record {number} was refused, and stands at {offset}"));
        }
        if let Some(other) = sent.offset.filter(|other| *other != offset) {
            return Err(format!("record {number} stands at {other} and at {offset} of partition {partition}"));
        }
        sent.offset = Some(offset);
        match self.places.entry(partition).or_default().at.insert(offset, number) {
            Some(other) if other != number => {
                Err(format!("at {offset} of partition {partition} stood record {other}, now {number}"))
            }
            _ => Ok(()),
        }
    }

    /// A read, or another question about the watermarks, begins.
    pub fn asks(&mut self, partition: PartitionId, from: u64) -> Asked {
        self.moment += 1;
        let place = self.places.entry(partition).or_default();
        let (start_floor, high_floor) = (place.start_floor, place.high_floor);
        Asked { partition, from, moment: self.moment, start_floor, high_floor }
    }

    /// Somebody asked to trim.
    pub fn trims(&mut self, partition: PartitionId, before: u64) {
        let place = self.places.entry(partition).or_default();
        place.trimmed_to = place.trimmed_to.max(before);
    }

    /// Start and high watermark were told.
    pub fn marks(&mut self, asked: &Asked, start: u64, high: u64) -> Checked {
        let partition = asked.partition;
        let place = self.places.entry(partition).or_default();
        if start < asked.start_floor || high < asked.high_floor {
            return Err(format!(
                "partition {partition} reaches from {start} to {high}; it had reached from {} to {} before",
                asked.start_floor, asked.high_floor
            ));
        }
        if start > place.trimmed_to && !place.limits.expires {
            return Err(format!(
                "partition {partition} begins at {start}; it was trimmed up to {} and does not expire",
                place.trimmed_to
            ));
        }
        place.start_floor = place.start_floor.max(start);
        place.high_floor = place.high_floor.max(high);
        Ok(())
    }

    /// A read was answered. Returns where to read on.
    ///
    /// # Errors
    /// What was wrong with it.
    pub fn read(&mut self, asked: &Asked, got: &[Got], start: u64, high: u64, wall_ms: u64) -> Result<u64, String> {
        self.marks(asked, start, high)?;
        let Asked { partition, from, moment, .. } = *asked;
        let mut next = from;
        let mut seen = Vec::new();
        for (index, batch) in got.iter().enumerate() {
            let (base, end) = (batch.header.base_offset.0, batch.header.next_offset().0);
            if end <= next || end > high || (index > 0 && base < next) {
                return Err(format!(
                    "a read from {from} of partition {partition}, high {high}: a batch of {base}..{end} where {next} is next"
                ));
            }
            next = end;
            for (offset, number) in &batch.records {
                self.as_sent(&batch.header, *number)?;
                self.stands(partition, *offset, *number)?;
                if *offset < from {
                    continue;
                }
                let place = self.places.entry(partition).or_default();
                if let Some(passed) = place.passed.get(offset).filter(|passed| passed.moment < moment) {
                    return Err(format!(
                        "record {number} at {offset} of partition {partition} is back: it was passed over at moment {}, now is {moment}",
                        passed.moment
                    ));
                }
                if place.passed.range(*offset + 1..).next().is_some() {
                    self.seen_rarely.push("record kept below a gap");
                }
                seen.push(*offset);
            }
        }
        if next == from && from < high && from >= start {
            return Err(format!("nothing was read from {from} of partition {partition}, though high is {high}"));
        }
        self.moment += 1;
        let moment = self.moment;
        let place = self.places.entry(partition).or_default();
        if place.passed.contains_key(&from) && next > from {
            self.seen_rarely.push("read from within a gap");
        }
        let mut seen = seen.into_iter().peekable();
        for offset in from..next {
            if seen.next_if_eq(&offset).is_none() {
                place.passed.entry(offset).or_insert(Passed { moment, high, wall_ms });
            }
        }
        Ok(next)
    }

    /// Whatever was written anew, who sent it and how it is compressed is told as before.
    fn as_sent(&mut self, header: &Header, number: u64) -> Checked {
        let Some(sent) = self.sent.get(&number) else { return Ok(()) };
        let Numbering { producer_id, producer_epoch, base_sequence } = sent.numbering;
        let told = (header.producer_id, header.producer_epoch, header.base_sequence);
        if told != (producer_id, producer_epoch, base_sequence) {
            return Err(format!("record {number} was sent by {:?}, and is told to be of {told:?}", sent.numbering));
        }
        if header.compression() != Some(sent.compression) {
            return Err(format!(
                "record {number} was sent with {:?}, and is told with {:?}",
                sent.compression,
                header.compression()
            ));
        }
        if header.record_count <= header.last_offset_delta {
            self.seen_rarely.push("gap within a batch");
        }
        Ok(())
    }

    /// When everything was read: was all that was passed over rightly gone, and is a producer's order kept?
    ///
    /// # Errors
    /// What was not.
    pub fn finish(&mut self) -> Checked {
        for (partition, place) in &self.places {
            self.order(*partition, place)?;
            // The offsets of each key, and keys of records that nobody knows the end of.
            let mut of_key: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for (offset, number) in &place.at {
                if let Some(key) = self.sent[number].content.key {
                    of_key.entry(key).or_default().push(*offset);
                }
            }
            let lost_sends = self.sent.values().filter(|sent| sent.partition == *partition && sent.offset.is_none());
            let unsure: Vec<u64> =
                lost_sends.filter(|sent| sent.fate == Fate::Unknown).filter_map(|sent| sent.content.key).collect();
            for (offset, passed) in &place.passed {
                let Some(sent) = place.at.get(offset).map(|number| &self.sent[number]) else { continue };
                let found = self.right_to_leave(place, *offset, sent, passed, &of_key, &unsure);
                let what = found.map_err(|why| {
                    let Content { number, key, value_bytes, .. } = sent.content;
                    let kind = if value_bytes.is_some() { "record" } else { "tombstone" };
                    format!("{kind} {number} (key {key:?}) at {offset} of partition {partition} is gone: {why}")
                })?;
                self.seen_rarely.push(what);
            }
        }
        Ok(())
    }

    fn right_to_leave(
        &self,
        place: &Place,
        offset: u64,
        sent: &Sent,
        passed: &Passed,
        of_key: &BTreeMap<u64, Vec<u64>>,
        unsure: &[u64],
    ) -> Result<&'static str, String> {
        let limits = place.limits;
        if !limits.compacted {
            return Err("its topic was never compacted".into());
        }
        let old_enough = |sent: &Sent| {
            u64::try_from(sent.content.timestamp_ms).unwrap_or(0).saturating_add(limits.lag_ms) <= passed.wall_ms
        };
        if !old_enough(sent) {
            return Err(format!("it is younger than the least lag of {} ms", limits.lag_ms));
        }
        let Some(key) = sent.content.key else { return Ok("record without a key removed") };
        let mut later =
            of_key.get(&key).into_iter().flatten().filter(|later| **later > offset && **later < passed.high);
        if later.any(|later| old_enough(&self.sent[&place.at[later]])) {
            return Ok("superseded record removed");
        }
        if unsure.contains(&key) {
            return Ok("record gone for one that nobody knows of");
        }
        if sent.content.value_bytes.is_none() {
            if sent.at_ms.saturating_add(limits.tombstone_ms) <= passed.wall_ms {
                return Ok("tombstone removed");
            }
            return Err(format!(
                "it was sent at {} and may go {} ms later, that is after {}",
                sent.at_ms, limits.tombstone_ms, passed.wall_ms
            ));
        }
        Err("it is the last of its key".into())
    }

    fn order(&self, partition: PartitionId, place: &Place) -> Checked {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (offset, number) in &place.at {
            if let Some(before) = last.insert(number >> 40, *number).filter(|before| before > number) {
                return Err(format!(
                    "in partition {partition} record {number} at {offset} follows {before}, sent later"
                ));
            }
        }
        Ok(())
    }

    /// The last read of a partition found these records, of a topic all of which has been due for long: what is there that should not be?
    pub fn left_over(&self, partition: PartitionId, found: &[(u64, u64)]) -> Option<String> {
        let mut last_of: BTreeMap<u64, u64> = BTreeMap::new();
        for (offset, number) in found {
            if let Some(key) = self.sent[number].content.key {
                last_of.insert(key, *offset);
            }
        }
        let very_last = found.last().map(|(offset, _)| *offset);
        found.iter().filter(|(offset, _)| Some(*offset) != very_last).find_map(|(offset, number)| {
            let content = self.sent[number].content;
            let why = match content.key {
                None => "it has no key",
                Some(key) if last_of[&key] != *offset => "a later one has its key",
                Some(_) if content.value_bytes.is_none() => "it is a tombstone",
                Some(_) => return None,
            };
            Some(format!("record {number} at {offset} of partition {partition} is still there, though {why}"))
        })
    }
}
