// SPDX-License-Identifier: Apache-2.0
//! Compaction: of the records of a partition that have the same key only the last is kept.
//!
//! Owns: which partition is compacted when, how far, and which records stay. Must not know: how a merge writes its segment
//! (`merge.rs`, whose job this is a kind of), layouts.
//! Source: Kafka's documentation of log compaction and of its settings; KIP-534 for tombstones.
//!
//! ```text
//!        start              clean                    end of what is compacted (X)      R          tail
//! runs ---|  each key once    |  may be superseded          |  too young, or too many |  not spilled yet
//! pass 1: read [clean, X), note the last offset of each key     (at most KEYS_MAX; what is beyond comes another time)
//! pass 2: copy [start, R) into one segment, without what pass 1 knows a later record of
//! then, as after any merge: the next checkpoint names the segment; with it goes a row that says what the segment replaces
//! ```
//! Only what is stored is compacted: the memory tail is what Kafka calls the active segment. R is the end of a run, so the partition's
//! runs below it go whole, though their segments stay as long as other partitions have something in them. After a start
//! the row ([`Compacted`]) tells which runs of such segments count no more: all of that partition in segments with lower numbers, below R.
//! Numbers are taken when a job begins and jobs follow one another, so what a later merge makes of the runs has a higher number. What it
//! takes over stands as it is until then: a spill beside it only adds runs behind R, and while a merge of its runs rides on that spill's
//! checkpoint it waits.
//!
//! Space: until the checkpoint that names it is durable the new segment stands beside the runs it replaces, so a compaction takes as much
//! space again as stays of its partition, at most what the partition has stored; one at a time. Where there is none it is given
//! up, as a merge is, and its runs stay. Afterwards the old runs' bytes are dead; a merge removes them once they are half of a segment.
//!
//! What stays: the last record of every key; what is younger than the least lag; a tombstone until `tombstone_ms` after it was
//! first found to be the last of its key (the batch is stamped then, in bytes that every client reads). The last record before R stays
//! whatever it is, so a reader that follows offsets always arrives there. A record without a key has nothing to be found by: it goes, as in Kafka.
//! Batches of transactions, and transaction markers, stay as they are.
//! Whatever goes wrong, nothing has changed. A partition in which damage is found is left alone in this life; a read that fails is tried again.

use crate::command::Compaction as Settings;
use crate::format::v1::object::Compacted;
use crate::log::partition::{Partition, RunRef};
use crate::log::read::{self, BlockRange};
use crate::shard::Shard;
use crate::spill::segments::Segments;
use crate::spill::work::{Stored, unreadable, whole_batches};
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::batch::{self, Header, Records, Thinned};
use model::media::BlobName;
use model::planted::{Bug, planted};
use model::{Corrupt, Now, Offset, PartitionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};

/// Keys that one compaction knows, a batch's more or less: 32 bytes each. A partition with more is compacted piece by piece.
const KEYS_MAX: usize = 1 << 20;
/// Partitions that wait for their turn. The next look finds those for which there was no room.
const DUE_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Of every partition that was ever compacted. Part of every checkpoint, but of no frame: it tells where batches are.
    rows: BTreeMap<PartitionId, Compacted>,
    due: VecDeque<PartitionId>,
    /// In these damage was found, or records that cannot be read.
    left_alone: BTreeSet<PartitionId>,
}

/// A compaction under way.
#[derive(Debug)]
pub(crate) struct Compacting {
    pub partition: PartitionId,
    /// Where pass 1 begins and the clean part will end, and the end of the runs that are replaced.
    from: Offset,
    until: Offset,
    pub replaced: Offset,
    settings: Settings,
    /// When it began.
    wall_ms: u64,
    pass: Pass,
    /// Not here while a computation has it.
    pub keys: Option<Box<Keys>>,
    pub tombstones_due_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Noting,
    Copying,
}

/// Whether a compaction may begin.
pub(crate) enum Turn {
    /// This one, of what is in these segments.
    Begins(Compacting, BTreeSet<u64>),
    /// The next one's runs are about to be replaced by what rides on the checkpoint under way.
    Waits,
    Nothing,
}

/// What to read next.
pub(crate) enum Next {
    Blocks(BlockRange),
    /// All is copied.
    End,
    /// What was to be read is not there any more.
    Gone,
}

/// What is to be done in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dirty {
    from: Offset,
    until: Offset,
    replaced: Offset,
}

impl Compaction {
    pub(crate) fn new(rows: BTreeMap<PartitionId, Compacted>) -> Compaction {
        Compaction { rows, ..Compaction::default() }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (PartitionId, &Compacted)> {
        self.rows.iter().map(|(id, row)| (*id, row))
    }

    /// The checkpoint that says so is durable.
    pub(crate) fn put(&mut self, id: PartitionId, row: Compacted) {
        self.rows.insert(id, row);
    }

    /// A base checkpoint is durable: rows of partitions that are gone were in it for the last time.
    pub(crate) fn forget(&mut self, is_there: impl Fn(PartitionId) -> bool) {
        self.rows.retain(|id, _| is_there(*id));
        self.left_alone.retain(|id| is_there(*id));
    }

    pub(crate) fn leave_alone(&mut self, id: PartitionId) {
        self.left_alone.insert(id);
    }
}

/// What compaction finds to do, if it is worth while.
fn dirty(partition: &Partition, segments: &Segments, row: Option<&Compacted>, wall_ms: u64) -> Option<Dirty> {
    let settings = partition.hosted.compaction?;
    let from = row.map_or(Offset(0), |row| row.clean).max(partition.visible_start);
    let youngest_ms = i64::try_from(wall_ms.saturating_sub(settings.lag_ms_min)).unwrap_or(i64::MAX);
    let mut found = Dirty { from, until: from, replaced: from };
    let (mut clean_bytes, mut dirty_bytes) = (0, 0);
    let mut oldest_ms = None;
    'runs: for run_ref in &partition.runs {
        let (index, run) = segments.run(run_ref)?;
        if run_ref.end <= from {
            clean_bytes += run.bytes;
            found.replaced = run_ref.end;
            continue;
        }
        let blocks = index.blocks_of(run);
        for (number, block) in blocks.iter().enumerate() {
            let end = blocks.get(number + 1).map_or(run_ref.end, |next| next.first_offset);
            if end <= from {
                clean_bytes += u64::from(block.bytes);
                found.replaced = run_ref.end;
                continue;
            }
            if settings.lag_ms_min > 0 && block.max_timestamp_ms > youngest_ms {
                break 'runs;
            }
            dirty_bytes += u64::from(block.bytes);
            oldest_ms.get_or_insert(block.max_timestamp_ms);
            (found.until, found.replaced) = (end, run_ref.end);
        }
    }
    let too_old_ms = i64::try_from(wall_ms.saturating_sub(settings.lag_ms_max)).unwrap_or(i64::MAX);
    let is_due = dirty_bytes > 0
        && (dirty_bytes.saturating_mul(1000) >= u64::from(settings.dirty_permille_min) * (clean_bytes + dirty_bytes)
            || oldest_ms.is_some_and(|oldest_ms| oldest_ms < too_old_ms));
    let tombstones_due = clean_bytes > 0
        && row.and_then(|row| row.tombstones_due_ms).is_some_and(|due_ms| due_ms <= wall_ms)
        && !planted(Bug::TombstonesKept);
    (is_due || tombstones_due).then_some(found)
}

impl Shard {
    /// Looks whether a partition should be compacted; one that is waits for its turn.
    pub(crate) fn look_for_compaction(&mut self, now: Now, id: PartitionId) {
        let Some(partition) = self.state.partitions.get(id) else { return };
        let Some(settings) = partition.hosted.compaction else { return };
        let appended_ms = partition.tail.front().and_then(|entry| self.tail.appended_ms(entry));
        let age_ms = settings.tail_ms_max.min(settings.lag_ms_max);
        if appended_ms.is_some_and(|appended_ms| appended_ms.saturating_add(age_ms) <= now.wall_ms)
            && self.spill.is_idle()
        {
            self.spill.request();
        }
        let compaction = &self.compaction;
        if compaction.due.len() < DUE_MAX
            && !compaction.due.contains(&id)
            && !compaction.left_alone.contains(&id)
            && dirty(partition, &self.segments, compaction.rows.get(&id), now.wall_ms).is_some()
        {
            self.compaction.due.push_back(id);
        }
    }

    /// The next partition's turn.
    pub(crate) fn next_compaction(&mut self, now: Now) -> Turn {
        while let Some(id) = self.compaction.due.pop_front() {
            let Some(partition) = self.state.partitions.get(id) else { continue };
            let Some(settings) = partition.hosted.compaction else { continue };
            let row = self.compaction.rows.get(&id);
            let Some(Dirty { from, until, replaced }) = dirty(partition, &self.segments, row, now.wall_ms) else {
                continue;
            };
            let sources: BTreeSet<u64> =
                partition.runs.iter().filter(|run| run.end <= replaced).map(|run| run.segment).collect();
            if self.spill.riding().is_some_and(|merged| !merged.sources.is_disjoint(&sources)) {
                self.compaction.due.push_front(id);
                return Turn::Waits;
            }
            let compacting = Compacting {
                partition: id,
                from,
                until,
                replaced,
                settings,
                wall_ms: now.wall_ms,
                pass: Pass::Noting,
                keys: Some(Box::default()),
                tombstones_due_ms: None,
            };
            return Turn::Begins(compacting, sources);
        }
        Turn::Nothing
    }

    /// The compaction is durable: its run takes the place of all that it replaces.
    pub(crate) fn compaction_swap(&mut self, id: PartitionId, run: RunRef, row: &Compacted) {
        let Some(partition) = self.state.partitions.get_mut(id) else { return };
        let count = partition.runs.partition_point(|run| run.end <= row.replaced);
        debug_assert!(partition.runs[..count].iter().all(|run| run.segment < row.segment));
        // None are left when a trim has passed over all of them.
        let place = (count > 0).then_some(run);
        if let Some(run) = &place {
            partition.run_bytes += self.segments.retain(run);
        }
        let gone: Vec<RunRef> = partition.runs.splice(..count, place).collect();
        partition.run_bytes -= gone.iter().map(|run| self.segments.release(run)).sum::<u64>();
        self.cold.forget_held(id);
    }

    /// The segments that nothing refers to any more once a partition's runs below `replaced` are gone.
    pub(crate) fn emptied_by(&self, id: PartitionId, replaced: Offset) -> BTreeSet<u64> {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        if let Some(partition) = self.state.partitions.get(id) {
            for run in partition.runs.iter().filter(|run| run.end <= replaced) {
                *counts.entry(run.segment).or_default() += 1;
            }
        }
        counts.retain(|segment, count| self.segments.live_runs(*segment) == *count);
        counts.into_keys().collect()
    }
}

impl Compacting {
    /// What to read after `from`, and where to go on after that.
    pub(crate) fn next(&mut self, partition: &Partition, segments: &Segments, from: &mut Offset) -> Next {
        if self.pass == Pass::Noting {
            let full_at = self.keys.as_ref().and_then(|keys| keys.full_at);
            self.until = full_at.map_or(self.until, |full_at| full_at.min(self.until));
            *from = (*from).max(self.from).max(partition.visible_start);
            if *from >= self.until {
                self.pass = Pass::Copying;
                *from = partition.visible_start;
            }
        }
        *from = (*from).max(partition.visible_start);
        let Some(run_ref) = partition.runs.get(partition.run_index(*from)).filter(|run| run.end <= self.replaced)
        else {
            return if self.pass == Pass::Copying { Next::End } else { Next::Gone };
        };
        let Some((index, run)) = segments.run(run_ref) else { return Next::Gone };
        let begin = (*from).max(run_ref.first);
        let range = read::blocks_of_run(partition.id, run_ref, index, run, begin, read::COLD_READ_BYTES_MAX);
        *from = range.end;
        Next::Blocks(range)
    }

    /// Pass 1 wants the blocks only looked at.
    pub(crate) fn is_noting(&self) -> bool {
        self.pass == Pass::Noting
    }

    /// Where noting ends.
    pub(crate) fn until(&self) -> Offset {
        self.until
    }

    /// What stays, for pass 2.
    pub(crate) fn rule(&self) -> Rule {
        Rule {
            until: self.until,
            replaced: self.replaced,
            wall_ms: self.wall_ms,
            horizon_ms: self.wall_ms.saturating_add(self.settings.tombstone_ms),
        }
    }

    /// What the checkpoint is to say.
    pub(crate) fn row(&self, segment: u64) -> Compacted {
        let (replaced, tombstones_due_ms) = (self.replaced, self.tombstones_due_ms);
        Compacted { segment, replaced, clean: self.until, tombstones_due_ms }
    }
}

/// The last offset of each key.
#[derive(Debug, Default)]
pub struct Keys {
    last: HashMap<u128, u64, FixedState>,
    /// There was no room for the keys of what begins here.
    full_at: Option<Offset>,
}

/// Which records stay.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What begins here or later stays.
    until: Offset,
    /// The record before stays.
    replaced: Offset,
    wall_ms: u64,
    /// Stamped on tombstones that have no such stamp yet.
    horizon_ms: u64,
}

/// Two keys are the same when this is: 128 bits of a keyed hash, for which no pair with the same ones is known or likely.
fn hash(key: &[u8]) -> u128 {
    let half = |which: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(which);
        hasher.write(key);
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}

impl Keys {
    /// Notes the keys of these blocks, up to an offset.
    ///
    /// # Errors
    /// Damage, or records that cannot be read: nothing is known of their keys.
    pub(crate) fn note(
        &mut self,
        name: BlobName,
        range: &BlockRange,
        bytes: &Bytes,
        until: Offset,
    ) -> Result<(), Corrupt> {
        for Stored { pos, bytes: batch, header, .. } in whole_batches(name, range, bytes)? {
            if header.base_offset >= until || self.full_at.is_some() {
                return Ok(());
            }
            if is_left_as_it_is(&header) {
                continue;
            }
            let inner = batch::inflate(&batch, &header).map_err(|_| unreadable(name, pos))?;
            for record in Records::of(&inner, &header) {
                let record = record.map_err(|_| unreadable(name, pos))?;
                let offset = header.base_offset.plus(record.offset_delta.max(0) as u64);
                if let Some(key) = record.key {
                    self.last.insert(hash(key), offset.0);
                }
            }
            if self.last.len() >= KEYS_MAX {
                self.full_at = Some(header.next_offset());
            }
        }
        Ok(())
    }

    /// What of a batch stays, and when its first tombstone may go.
    ///
    /// # Errors
    /// Its records cannot be read.
    fn thin(&self, rule: &Rule, batch: &Bytes, header: &Header) -> Result<(Thinned, Option<u64>), ()> {
        if header.base_offset >= rule.until || is_left_as_it_is(header) {
            return Ok((Thinned::Whole, None));
        }
        let is_last_batch = header.next_offset() >= rule.replaced;
        if header.record_count == 0 {
            return Ok((if is_last_batch { Thinned::Whole } else { Thinned::Gone }, None));
        }
        let stamped_ms = header.delete_horizon_ms().map(|ms| u64::try_from(ms).unwrap_or(0));
        let is_over = stamped_ms.is_some_and(|ms| ms <= rule.wall_ms);
        let mut left = header.record_count;
        let mut tombstones_due_ms = None;
        let stays = |record: &batch::Record<'_>| {
            left -= 1;
            let is_last = is_last_batch && left == 0;
            let offset = header.base_offset.plus(record.offset_delta.max(0) as u64);
            let Some(key) = record.key else { return is_last };
            let last = self.last.get(&hash(key));
            if last.is_some_and(|last| *last > offset.0) {
                return planted(Bug::SupersededKept) && offset.0.is_multiple_of(3);
            }
            if planted(Bug::CompactionLosesLast) && last.is_some() && offset.0 % 7 == 3 && !is_last {
                return false;
            }
            if record.value.is_some() {
                return true;
            }
            let goes = (is_over || planted(Bug::TombstoneDroppedEarly)) && !is_last;
            if !goes && !is_last {
                tombstones_due_ms = Some(stamped_ms.unwrap_or(rule.horizon_ms));
            }
            !goes
        };
        let horizon_ms = i64::try_from(rule.horizon_ms).unwrap_or(i64::MAX);
        let thinned = batch::thinned(batch, header, horizon_ms, stays).map_err(|_| ())?;
        Ok((thinned, tombstones_due_ms))
    }

    /// What of these blocks stays: batches one by one, with the time that the index keeps, and when the first tombstone among them may go.
    ///
    /// # Errors
    /// Damage, or records that cannot be read.
    pub(crate) fn thin_blocks(
        &self,
        rule: &Rule,
        name: BlobName,
        range: &BlockRange,
        bytes: &Bytes,
        mut keep: impl FnMut(&Bytes, &Header, i64),
    ) -> Result<Option<u64>, Corrupt> {
        let mut tombstones_due_ms: Option<u64> = None;
        for stored in whole_batches(name, range, bytes)? {
            let Stored { pos, bytes: batch, header, block_timestamp_ms } = stored;
            let (thinned, due_ms) = self.thin(rule, &batch, &header).map_err(|()| unreadable(name, pos))?;
            tombstones_due_ms = tombstones_due_ms.into_iter().chain(due_ms).min();
            match thinned {
                Thinned::Gone => {}
                Thinned::Whole => keep(&batch, &header, block_timestamp_ms),
                Thinned::Thinner(bytes) => {
                    let header = Header::read(&bytes).ok_or_else(|| unreadable(name, pos))?;
                    keep(&bytes, &header, block_timestamp_ms);
                }
            }
        }
        Ok(tombstones_due_ms)
    }
}

/// Nothing is known of what is decided about it, or it is no record of anybody.
fn is_left_as_it_is(header: &Header) -> bool {
    header.control() || header.transactional()
}
