// SPDX-License-Identifier: Apache-2.0
//! Recovery: checkpoint, segments' indexes, then the log's frames, folded in that order.
//!
//! Owns: what must fit together, and what is refused when it does not. Must not know: how any of it is kept.
//!
//! ```text
//! checkpoint (newest good)  = state at frame C, and the list of live segments
//! segments' footers         = where the batches below C are
//! log from C + 1 on         = folded over it; the frames become the memory tail
//! ```
//! A listed segment that is not there is missed only when all is folded: a record of the log may have let it go (`spill/mod.rs`).
//! Whatever stands in no list (segments of a spill that did not finish, earlier checkpoints) is removed with the next checkpoint. A
//! log that does not reach
//! from C + 1, or ends before it, or holds a record that cannot follow, stops the start: it is not this checkpoint's log.

use crate::catalog::Catalog;
use crate::catalog::meta::ProducerIds;
use crate::coordinator::Coordinator;
use crate::effect::Effect;
use crate::format::FormatError;
use crate::format::v1::entry::Entries;
use crate::format::v1::object::{Compacted, Object};
use crate::format::v1::segment::SegmentIndex;
use crate::log::partition::RunRef;
use crate::log::tail::Tail;
use crate::quota::Admission;
use crate::shard::cold::Cold;
use crate::shard::release::Release;
use crate::shard::{OpenError, Shard, ShardConfig, ShardFigures};
use crate::spill::checkpoint::{self, LoadedCheckpoints};
use crate::spill::compaction::Compaction;
use crate::spill::segments::Segments;
use crate::spill::{Spill, read_blob, segment_index};
use crate::state::State;
use crate::timer::Wheel;
use model::media::{BlobKind, BlobName, Blobs, WalOpened};
use model::planted::{Bug, planted};
use model::{Corrupt, Lsn, Now, PartitionId, ShardEpoch, ShardId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Recovery, first step: the newest checkpoint is loaded, and with it is known where the log must be read from.
pub struct Loaded {
    checkpoints: LoadedCheckpoints,
    /// Indexes of the live segments, ascending by number.
    segments: Vec<SegmentIndex>,
    /// Live as the checkpoint says, and not there. The log must say that they were let go.
    missing: Vec<u64>,
    /// Blobs that are part of nothing.
    leftovers: Vec<BlobName>,
    segment_next: u64,
}

impl Loaded {
    /// Reads the newest good checkpoint of the shard. A newest one that is torn is passed over if the log still reaches back to
    /// its predecessor (decided in `Shard::open`).
    pub fn load(config: &ShardConfig, blobs: &mut dyn Blobs) -> Result<Loaded, OpenError> {
        let shard = config.shard;
        let checkpoints = checkpoint::load(blobs, shard)?;
        let kind = BlobKind::Segment;
        let listed = read_blob::list(blobs, shard, kind)?;
        let (mut segments, mut missing) = (Vec::new(), Vec::new());
        for number in &checkpoints.segments {
            let name = BlobName { shard, kind, number: *number };
            let Some((_, bytes)) = listed.iter().find(|(listed, _)| *listed == name) else {
                missing.push(*number);
                continue;
            };
            segments.push(segment_index::load(blobs, name, *bytes)?);
        }
        check_lent(shard, &segments)?;
        let part_of_it = |name: &BlobName| checkpoints.segments.contains(&name.number);
        let mut leftovers: Vec<BlobName> =
            listed.iter().map(|(name, _)| *name).filter(|name| !part_of_it(name)).collect();
        let passed_over = checkpoints.passed_over.iter().map(|passed_over| passed_over.number);
        let checkpoint = |number| BlobName { shard, kind: BlobKind::Checkpoint, number };
        leftovers.extend(checkpoints.leftovers.iter().copied().chain(passed_over).map(checkpoint));
        let segment_next = listed.iter().map(|(name, _)| name.number.saturating_add(1)).max().unwrap_or(1);
        Ok(Loaded { checkpoints, segments, missing, leftovers, segment_next })
    }

    /// The first frame needed: give it to the log's `open`.
    pub fn wal_from(&self) -> Lsn {
        self.checkpoints.lsn.next()
    }

    /// Slots of the log in which segments have records: the log's `open` must leave them alone.
    pub fn lent_slots(&self) -> BTreeSet<u32> {
        self.segments.iter().flat_map(|index| &index.slots).map(|lent| lent.slot).collect()
    }

    /// Objects of state in the checkpoint.
    pub fn objects(&self) -> usize {
        self.checkpoints.objects.len()
    }

    /// Live segments.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Runs in them.
    pub fn runs(&self) -> usize {
        self.segments.iter().map(|index| index.runs.len()).sum()
    }

    /// The newest checkpoint, if it is damaged. Should the log then not reach back to the one before, this is what is really wrong.
    pub fn passed_over(&self) -> Option<&Corrupt> {
        self.checkpoints.passed_over.as_ref().map(|passed_over| &passed_over.corrupt)
    }

    /// The log's new epoch must be above this one: give it to the log's `open`, which cannot know it where its own slots are new
    /// (after a salvage).
    pub fn epoch(&self) -> ShardEpoch {
        self.checkpoints.epoch
    }
}

/// A slot is one segment's, or its bytes were written over while another one still had it.
fn check_lent(shard: ShardId, segments: &[SegmentIndex]) -> Result<(), OpenError> {
    let mut lent_to = BTreeMap::new();
    for index in segments {
        for lent in &index.slots {
            if let Some(other) = lent_to.insert(lent.slot, index.number) {
                let name = BlobName { shard, kind: BlobKind::Segment, number: index.number }.to_string();
                let why = format!("records of it stand in log slot {}, which segment {other} has", lent.slot);
                return Err(OpenError::Corrupt(Corrupt { name, at: 0, why }));
            }
        }
    }
    Ok(())
}

pub(super) fn open(
    config: ShardConfig,
    loaded: Loaded,
    wal: WalOpened,
    coordinators: Vec<Box<dyn Coordinator>>,
    now: Now,
) -> Result<Shard, OpenError> {
    let from = loaded.wal_from();
    check_reach(&config, &loaded, &wal)?;
    let Loaded { checkpoints, segments: indexes, missing, leftovers, mut segment_next } = loaded;

    let mut state = State::new(Catalog::default(), coordinators);
    let mut compacted = BTreeMap::new();
    for (key, value) in &checkpoints.objects {
        let name = checkpoints.number.map_or(String::new(), |number| {
            BlobName { shard: config.shard, kind: BlobKind::Checkpoint, number }.to_string()
        });
        let object = Object::decode(key, value).map_err(|error| refuse(&name, error))?;
        match object {
            Object::Spill { segment_next: next } => segment_next = segment_next.max(next),
            Object::Compacted(id, row) => drop(compacted.insert(id, row)),
            _ => {}
        }
        state.load(object).map_err(|error| refuse(&name, error))?;
    }
    state.applied = checkpoints.lsn;
    let mut segments = Segments::default();
    for index in indexes {
        for (number, run) in index.runs.iter().enumerate() {
            if let Some(partition) = state.partitions.get_mut(run.partition)
                && run.last_offset >= partition.start
                && !compacted
                    .get(&run.partition)
                    .is_some_and(|row: &Compacted| row.replaces(index.number, run.first_offset))
            {
                partition.runs.push(RunRef::of(index.number, number, run));
            }
        }
        segments.insert(index);
    }
    for id in state.partitions.ids_from(PartitionId(0)).collect::<Vec<_>>() {
        if let Some(partition) = state.partitions.get_mut(id) {
            partition.runs.sort_by_key(|run| run.first);
            partition.run_bytes = partition.runs.iter().map(|run| segments.retain(run)).sum();
            if let Some(pair) = partition.runs.windows(2).find(|pair| pair[0].end > pair[1].first) {
                let name = BlobName { shard: config.shard, kind: BlobKind::Segment, number: pair[1].segment };
                let why = format!("holds offsets of partition {id} that segment {} holds too", pair[0].segment);
                return Err(OpenError::Corrupt(Corrupt { name: name.to_string(), at: 0, why }));
            }
            if partition.runs.last().is_some_and(|run| run.end > partition.next) {
                let name = format!("checkpoint of frame {}", checkpoints.lsn);
                let why = format!("partition {id} ends at {}, a segment goes on", partition.next);
                return Err(OpenError::Corrupt(Corrupt { name, at: 0, why }));
            }
        }
    }

    let mut tail = Tail::new(from);
    for (lsn, body) in wal.frames {
        if lsn < from {
            continue;
        }
        let name = format!("wal/{:02}, frame {lsn}", config.shard.0);
        if lsn != tail.next() {
            let why = format!("frame {} should stand here", tail.next());
            return Err(OpenError::Corrupt(Corrupt { name, at: 0, why }));
        }
        let mut batches = 0;
        for record in Entries::of(&body) {
            let record = record.map_err(|error| refuse(&name, error))?;
            if !planted(Bug::OffsetReuse) {
                state.check(&record).map_err(|error| refuse(&name, error))?;
            }
            batches += u64::from(matches!(record, crate::format::v1::entry::Record::Append(_)));
            state.apply(lsn, &record);
        }
        state.applied = lsn;
        tail.push(body, batches);
    }
    if tail.next() != wal.next {
        let name = format!("wal/{:02}", config.shard.0);
        let why = format!("the log goes on at frame {}, its frames end before {}", wal.next, tail.next());
        return Err(OpenError::Corrupt(Corrupt { name, at: 0, why }));
    }
    let gone = std::mem::take(&mut state.segments_gone);
    if let Some(number) = missing.iter().find(|number| !gone.contains(number)) {
        return Err(missed(&config, &checkpoints, *number));
    }
    state.touched.clear();
    for run in state.dropped.drain(..).flat_map(|partition| partition.runs) {
        segments.release(&run);
    }
    settle_partitions(&mut state, &mut segments);

    let mut shard = Shard {
        epoch: wal.epoch,
        release: Release::new(Lsn(wal.next.0 - 1)),
        producer_ids: ProducerIds::after(state.producer_next),
        spill: Spill::new(&checkpoints, segment_next, leftovers),
        merge: Default::default(),
        compaction: Compaction::new(compacted),
        admission: Admission::new(config.tail_bytes_max),
        timers: Wheel::new(now.mono_us),
        cold: Cold::new(config.read_ahead_bytes_max),
        config,
        state,
        tail,
        segments,
        frame: Default::default(),
        watches: Default::default(),
        peers: Default::default(),
        gaps: Default::default(),
        upkeep: Default::default(),
        effects: VecDeque::<Effect>::new(),
        failed: false,
        is_log_short: false,
        figures: ShardFigures::default(),
    };
    shard.start_upkeep(now);
    Ok(shard)
}

/// A segment that is not there, and nobody let go.
fn missed(config: &ShardConfig, checkpoints: &LoadedCheckpoints, number: u64) -> OpenError {
    // The newest checkpoint was relied on: segments went on its account. That it is damaged is then the real cause.
    if let Some(passed_over) = &checkpoints.passed_over {
        return OpenError::Corrupt(passed_over.corrupt.clone());
    }
    let name = BlobName { shard: config.shard, kind: BlobKind::Segment, number }.to_string();
    let why = "a checkpoint names this segment, and it is not there".to_string();
    OpenError::Corrupt(Corrupt { name, at: 0, why })
}

/// Everything that was read is durable: it is visible.
fn settle_partitions(state: &mut State, segments: &mut Segments) {
    for id in state.partitions.ids_from(PartitionId(0)).collect::<Vec<_>>() {
        let Some(partition) = state.partitions.get_mut(id) else { continue };
        if planted(Bug::DuplicateAfterRestart) {
            state.producer_count -= partition.producers.len() as u64;
            partition.producers.clear();
            state.producers_idle.clear();
        }
        if planted(Bug::OffsetReuse)
            && let Some(last) = partition.tail.pop_back()
        {
            partition.tail_bytes -= u64::from(last.bytes);
            partition.next = last.base;
            partition.start = partition.start.min(partition.next);
        }
        if planted(Bug::StartForgotten)
            && let Some(run) = partition.runs.first()
        {
            partition.start = partition.start.min(run.first);
        }
        (partition.visible_start, partition.high) = (partition.start, partition.next);
        partition.release(|run| segments.release(run));
    }
}

fn refuse(name: &str, error: FormatError) -> OpenError {
    match error {
        FormatError::Damaged { at, why } => OpenError::Corrupt(Corrupt { name: name.to_string(), at, why }),
        FormatError::Newer { feature } => OpenError::Newer { name: name.to_string(), feature },
    }
}

/// Does the log begin where the checkpoint ends?
fn check_reach(config: &ShardConfig, loaded: &Loaded, wal: &WalOpened) -> Result<(), OpenError> {
    let from = loaded.wal_from();
    let name = format!("wal/{:02}", config.shard.0);
    let corrupt = |why: String| Err(OpenError::Corrupt(Corrupt { name: name.clone(), at: 0, why }));
    let first = wal.frames.first().map_or(wal.next, |(lsn, _)| *lsn);
    if wal.next < from {
        return corrupt(format!(
            "the log ends before frame {}, the newest checkpoint holds frame {}",
            wal.next, loaded.checkpoints.lsn
        ));
    }
    if first > from {
        // The newest checkpoint was relied on: the log was cut at it. That it is damaged is then the real cause.
        if let Some(passed_over) = &loaded.checkpoints.passed_over {
            return Err(OpenError::Corrupt(passed_over.corrupt.clone()));
        }
        return corrupt(format!(
            "the log begins at frame {first}, the newest checkpoint needs it from frame {from} on"
        ));
    }
    if loaded.checkpoints.number.is_some() && wal.epoch <= loaded.checkpoints.epoch {
        let (log, checkpoint) = (wal.epoch, loaded.checkpoints.epoch);
        return corrupt(format!("the log is in epoch {log}, the newest checkpoint was written in epoch {checkpoint}"));
    }
    Ok(())
}
