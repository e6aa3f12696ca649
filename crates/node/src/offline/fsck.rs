// SPDX-License-Identifier: Apache-2.0
//! `polylog fsck DIR`: looks at every byte that has a checksum, and at whether the files agree with each other.
//!
//! Owns: which checks there are and what each kind of damage means to the user. Must not know: layouts.
//! Changes nothing. Exit code 0: clean; 1: something is damaged; 2: it could not run.
//!
//! Checks, in this order: identity · checkpoints (every file, every object) · the chain that a start would load · the log from
//! there on · its records folded over the state, as a start would · segments (footer, every block, every batch, offsets) · runs
//! against the partitions' offsets.

use super::batches::{self, Expected};
use super::directory::{Directory, blobs_of, lent_to, place_of, read_block};
use super::{CannotRun, Finding, bytes, count};
use kernel::Catalog;
use kernel::format::FormatError;
use kernel::format::v1::checkpoint;
use kernel::format::v1::entry::{Entries, Record};
use kernel::format::v1::object::{Compacted, Object, compacted_of};
use kernel::format::v1::segment::{Run, SegmentIndex};
use kernel::shard::OpenError;
use kernel::spill::checkpoint::{LoadedCheckpoints, load};
use kernel::spill::segment_index;
use kernel::state::State;
use media::disk::{Disk, FileName, read_all};
use media::local::blobs::LocalBlobs;
use media::local::wal::WalOpenError;
use media::local::wal::survey::{Question, Survey, survey};
use model::media::{BlobKind, BlobName};
use model::{Offset, PartitionId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Findings of one kind that are listed one by one.
const FINDINGS_MAX: usize = 10_000;

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    pub directory: String,
    pub findings: Vec<Finding>,
    /// Findings beyond the bound of the list.
    pub findings_left_out: u64,
    pub looked_at: LookedAt,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookedAt {
    pub shards: u64,
    pub slots: u64,
    pub frames: u64,
    pub checkpoints: u64,
    pub objects: u64,
    pub segments: u64,
    pub blocks: u64,
    pub batches: u64,
    pub bytes: u64,
    pub partitions: u64,
}

/// Checks a data directory.
pub fn run(path: &Path) -> Result<FsckReport, CannotRun> {
    let directory = Directory::open(path)?;
    let mut report = FsckReport { directory: path.display().to_string(), ..FsckReport::default() };
    directory.findings.iter().for_each(|finding| report.add(finding.clone()));
    if directory.shard_count == 0 {
        return Err(CannotRun(format!("{}: neither identity nor any shard's files are there", path.display())));
    }
    for shard in directory.shards() {
        report.looked_at.shards += 1;
        check_shard(&directory, shard, &mut report)?;
    }
    Ok(report)
}

fn check_shard(directory: &Directory, shard: ShardId, report: &mut FsckReport) -> Result<(), CannotRun> {
    let mut disk = directory.disk()?;
    let bad_checkpoints = check_checkpoints(&mut disk, shard, report)?;
    let mut blobs = LocalBlobs::new(directory.disk()?);
    let loaded = match load(&mut blobs, shard) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            let (at, why) = place_of(&error);
            let file = match &error {
                OpenError::Corrupt(corrupt) => corrupt.name.clone(),
                OpenError::Newer { name, .. } => name.clone(),
                OpenError::Media(_) => format!("ckpt/{:02}", shard.0),
            };
            if !bad_checkpoints.contains(&file) {
                report.add(Finding::damage(file, at, why, "a broker does not start"));
            }
            None
        }
    };
    let files = blobs_of(&mut disk, shard, BlobKind::Segment)?;
    let listed = loaded.iter().flat_map(|loaded| loaded.segments.iter().copied()).collect();
    let lent = lent_to(&mut blobs, &files, &listed);
    // Without state the log cannot be joined to it; what stands in it is still looked at.
    let from = loaded.as_ref().map_or(model::Lsn(1), |loaded| loaded.lsn.next());
    let question = Question {
        shard,
        cluster_id: directory.cluster_id,
        from,
        may_be_new: !directory.made && from == model::Lsn(1),
        lent: &lent,
    };
    let log = match survey(&mut disk, question) {
        Ok(log) => Some(log),
        Err(error) => {
            report.add(log_finding(&error, loaded.as_ref(), shard));
            None
        }
    };
    if let Some(log) = &log {
        note_log(log, shard, report);
    }
    if let (Some(loaded), Some(_)) = (&loaded, &log)
        && let Some(passed) = &loaded.passed_over
    {
        let consequence = "nothing is lost: the checkpoint before it and the log are whole, a start passes it over";
        report.add(Finding::note(&passed.corrupt.name, passed.corrupt.at, &passed.corrupt.why, consequence));
    }
    let Some(loaded) = loaded else {
        return check_segments(&mut disk, directory, shard, None, report);
    };
    let state = fold(&loaded, log.as_ref(), shard, report);
    check_segments(&mut disk, directory, shard, Some((&loaded, &state)), report)
}

/// Every checkpoint file, whether a start would read it or not. The names of those that are damaged.
fn check_checkpoints(
    disk: &mut dyn Disk,
    shard: ShardId,
    report: &mut FsckReport,
) -> Result<BTreeSet<String>, CannotRun> {
    let files = blobs_of(disk, shard, BlobKind::Checkpoint)?;
    let newest = files.last().map(|(name, _)| *name);
    let mut bad = BTreeSet::new();
    for (name, length) in files {
        report.looked_at.checkpoints += 1;
        report.looked_at.bytes += length;
        let file = match read_all(disk, FileName::Blob(name), 0, length) {
            Ok(file) => file,
            Err(error) => {
                report.add(Finding::damage(name, None, error.to_string(), "it cannot be read"));
                continue;
            }
        };
        let mut wrong = Vec::new();
        let decoded = checkpoint::decode(&file, name, |key, value| {
            report.looked_at.objects += 1;
            if let Some(value) = value
                && let Err(error) = Object::decode(&key, &value)
            {
                wrong.push(error.to_string());
            }
        });
        for what in wrong {
            report.add(Finding::damage(name, None, what, "a broker that needs this checkpoint does not start"));
            bad.insert(name.to_string());
        }
        match decoded {
            Ok(_) => {}
            Err(FormatError::Newer { feature }) => {
                bad.insert(name.to_string());
                let what = format!("written by a newer version: {feature} is not known to this one");
                report.add(Finding::damage(
                    name,
                    None,
                    what,
                    "only that version or a later one can open the directory",
                ));
            }
            // The newest may be legal to pass over: that is told when the log is known.
            Err(FormatError::Damaged { .. }) if Some(name) == newest => {
                bad.insert(name.to_string());
            }
            Err(FormatError::Damaged { at, why }) => {
                bad.insert(name.to_string());
                let consequence = "if a newer checkpoint builds on it a broker does not start";
                report.add(Finding::damage(name, at, why, consequence));
            }
        }
    }
    Ok(bad)
}

fn log_finding(error: &WalOpenError, loaded: Option<&LoadedCheckpoints>, shard: ShardId) -> Finding {
    let passed = loaded.and_then(|loaded| loaded.passed_over.as_ref());
    match (error, passed) {
        (_, Some(passed)) => Finding::damage(
            &passed.corrupt.name,
            passed.corrupt.at,
            &passed.corrupt.why,
            format!("the log does not make up for it ({error}): a broker does not start"),
        ),
        (WalOpenError::Corrupt(corrupt), None) => Finding::damage(
            &corrupt.name,
            corrupt.at,
            &corrupt.why,
            "a broker does not start; salvage saves what is good",
        ),
        (WalOpenError::Newer { name, feature }, None) => {
            let what = format!("written by a newer version: {feature} is not known to this one");
            Finding::damage(name, None, what, "only that version or a later one can open the directory")
        }
        (WalOpenError::Foreign { name, why }, None) => Finding::damage(name, None, why, "a broker does not start"),
        (WalOpenError::Media(error), None) => {
            Finding::damage(format!("wal/{:02}", shard.0), None, error.to_string(), "the log cannot be read")
        }
    }
}

fn note_log(log: &Survey, shard: ShardId, report: &mut FsckReport) {
    report.looked_at.slots += log.slots.len() as u64;
    report.looked_at.frames += log.frames.len() as u64;
    report.looked_at.bytes += log.slots.iter().map(|slot| slot.bytes).sum::<u64>();
    if let Some((file, at)) = log.torn_at {
        let consequence = "nobody was told that it was durable: the next start cuts it off";
        report.add(Finding::note(file, at, "a half-written end", consequence));
    }
    if log.proven < log.end {
        let what = format!("frames {} to {} are whole and were never proven durable", log.proven.0 + 1, log.end);
        let consequence = "the next start makes them durable before it serves them";
        report.add(Finding::note(format!("wal/{:02}", shard.0), None, what, consequence));
    }
}

/// State as a start would build it. What does not fit is reported.
fn fold(loaded: &LoadedCheckpoints, log: Option<&Survey>, shard: ShardId, report: &mut FsckReport) -> State {
    let mut state = State::new(Catalog::new(Arc::from([])), Vec::new());
    let name = loaded.number.map(|number| BlobName { shard, kind: BlobKind::Checkpoint, number });
    let checkpoint = name.map_or_else(|| "no checkpoint".to_owned(), |name| name.to_string());
    for (key, value) in &loaded.objects {
        // One that cannot be decoded was reported with its file.
        let Ok(object) = Object::decode(key, value) else { continue };
        // What heads' machines remember is opaque here.
        if matches!(object, Object::Note { .. }) {
            continue;
        }
        if let Err(error) = state.load(object) {
            report.add(Finding::damage(&checkpoint, None, error.to_string(), "a broker does not start"));
        }
    }
    for frame in log.map_or([].as_slice(), |log| &log.frames) {
        let file = FileName::WalSlot { shard, slot: frame.slot };
        for record in Entries::of(&frame.body) {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    report.add(Finding::damage(
                        file,
                        None,
                        format!("frame {}: {error}", frame.lsn),
                        "a broker does not start",
                    ));
                    break;
                }
            };
            if matches!(record, Record::Note { .. }) {
                continue;
            }
            if let Record::Append(_) = record {
                report.looked_at.batches += 1;
            }
            if let Err(error) = state.check(&record) {
                report.add(Finding::damage(
                    file,
                    None,
                    format!("frame {}: {error}", frame.lsn),
                    "a broker does not start",
                ));
                return state;
            }
            state.apply(frame.lsn, &record);
        }
    }
    state
}

/// All segments of a shard: each by itself, then against the partitions.
fn check_segments(
    disk: &mut dyn Disk,
    directory: &Directory,
    shard: ShardId,
    known: Option<(&LoadedCheckpoints, &State)>,
    report: &mut FsckReport,
) -> Result<(), CannotRun> {
    let files = blobs_of(disk, shard, BlobKind::Segment)?;
    let listed: BTreeSet<u64> = known.map(|(loaded, _)| loaded.segments.iter().copied().collect()).unwrap_or_default();
    let let_go = known.map(|(_, state)| state.segments_gone.as_slice()).unwrap_or_default();
    for number in listed.iter().filter(|number| !let_go.contains(number)) {
        let name = BlobName { shard, kind: BlobKind::Segment, number: *number };
        if !files.iter().any(|(file, _)| *file == name) {
            let what = "the file is missing, the checkpoint names it";
            report.add(Finding::damage(name, None, what, "a broker does not start; its records are lost"));
        }
    }
    let compacted = known.map(|(loaded, _)| compacted_of(&loaded.objects)).unwrap_or_default();
    let mut blobs = LocalBlobs::new(directory.disk()?);
    let mut runs: BTreeMap<PartitionId, Vec<(Run, BlobName)>> = BTreeMap::new();
    for (name, length) in files {
        let is_live = known.is_none() || listed.contains(&name.number);
        report.looked_at.segments += 1;
        report.looked_at.bytes += length;
        if !is_live {
            let what = "no checkpoint names it";
            let consequence =
                "left over from a spill that did not finish, or about to be deleted; its records are elsewhere";
            report.add(Finding::note(name, None, what, consequence));
        }
        let index = match segment_index::load(&mut blobs, name, length) {
            Ok(index) => index,
            Err(error) => {
                let (at, why) = place_of(&error);
                let consequence =
                    if is_live { "a broker does not start; its records are lost" } else { "none: it is left over" };
                report.add(Finding { is_damage: is_live, ..Finding::damage(name, at, why, consequence) });
                continue;
            }
        };
        check_blocks(disk, name, &index, known.map(|(_, state)| state), is_live, report);
        if is_live {
            let is_replaced = |run: &Run| {
                compacted.get(&run.partition).is_some_and(|row| row.replaces(name.number, run.first_offset))
            };
            for run in index.runs.iter().filter(|run| !is_replaced(run)) {
                runs.entry(run.partition).or_default().push((*run, name));
            }
        }
    }
    if let Some((_, state)) = known {
        check_runs(state, &runs, &compacted, report);
    }
    Ok(())
}

fn check_blocks(
    disk: &mut dyn Disk,
    name: BlobName,
    index: &SegmentIndex,
    state: Option<&State>,
    is_live: bool,
    report: &mut FsckReport,
) {
    for run in &index.runs {
        let blocks = index.blocks_of(run);
        for (at, block) in blocks.iter().enumerate() {
            if !is_live && block.place.slot().is_some() {
                // The log may have written over it.
                continue;
            }
            report.looked_at.blocks += 1;
            let file = block.file(name);
            let end = blocks.get(at + 1).map_or(run.last_offset.plus(1), |next| next.first_offset);
            let records = || {
                let partition = partition_name(state, run.partition);
                if is_live {
                    format!(
                        "{partition} offsets {}..{end} cannot be read; nothing else is affected",
                        block.first_offset
                    )
                } else {
                    "none: the file is left over".to_owned()
                }
            };
            let block_bytes = match read_block(disk, file, block.pos(), u64::from(block.bytes)) {
                Ok(block_bytes) => block_bytes,
                Err(error) => {
                    let finding = Finding::damage(file, block.pos(), error.to_string(), records());
                    report.add(Finding { is_damage: is_live, ..finding });
                    continue;
                }
            };
            let expected =
                Expected { crc: block.crc, first: block.first_offset, end, ends_there: at + 1 == blocks.len() };
            let walk = batches::walk(&block_bytes, expected);
            report.looked_at.batches += walk.kept.len() as u64;
            for (pos, what) in walk.faults {
                let finding = Finding::damage(file, block.pos() + pos as u64, what, records());
                report.add(Finding { is_damage: is_live, ..finding });
            }
        }
    }
}

/// Runs of one partition must not overlap, and none may go beyond what was appended.
fn check_runs(
    state: &State,
    runs: &BTreeMap<PartitionId, Vec<(Run, BlobName)>>,
    compacted: &BTreeMap<PartitionId, Compacted>,
    report: &mut FsckReport,
) {
    for id in state.partitions.ids_from(PartitionId(0)) {
        report.looked_at.partitions += 1;
        let Some(partition) = state.partitions.get(id) else { continue };
        let name = partition_name(Some(state), id);
        let mut covered = partition.start;
        let mut own: Vec<&(Run, BlobName)> = runs.get(&id).map(|runs| runs.iter().collect()).unwrap_or_default();
        own.sort_by_key(|(run, _)| run.first_offset);
        let mut before: Option<Offset> = None;
        for (run, file) in own {
            if let Some(before) = before.filter(|before| run.first_offset < *before) {
                let what = format!("{name} offsets {}..{before} stand in another segment too", run.first_offset);
                report.add(Finding::damage(file, None, what, "a broker does not start"));
            }
            let end = run.last_offset.plus(1);
            if end > partition.tail_start() {
                let what = format!("{name} goes up to offset {end}, where {} is next", partition.tail_start());
                report.add(Finding::damage(file, None, what, "a broker does not start"));
            }
            let is_compacted = compacted.get(&id).is_some_and(|row| run.first_offset < row.replaced);
            if run.first_offset > covered && !is_compacted {
                let what = format!("{name} offsets {covered}..{} are in no segment", run.first_offset);
                report.add(Finding::note(file, None, what, "as after a salvage; readers go on behind them"));
            }
            covered = covered.max(end);
            before = before.max(Some(end));
        }
        if covered < partition.tail_start() {
            let what =
                format!("{name} offsets {covered}..{} are neither in a segment nor in the log", partition.tail_start());
            report.add(Finding::damage(format!("seg/{:02}", partition_shard(runs)), None, what, "they are lost"));
        }
    }
}

fn partition_shard(runs: &BTreeMap<PartitionId, Vec<(Run, BlobName)>>) -> u32 {
    runs.values().flatten().next().map_or(0, |(_, name)| name.shard.0)
}

/// `orders/3`, or what is known of it.
pub fn partition_name(state: Option<&State>, id: PartitionId) -> String {
    match state.and_then(|state| state.partitions.get(id)) {
        Some(partition) => format!("{}/{}", partition.hosted.name, partition.index),
        None => format!("partition {id} (of a topic that is gone or not known)"),
    }
}

impl FsckReport {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_left_out += 1;
        }
    }

    pub fn damage_count(&self) -> u64 {
        self.findings.iter().filter(|finding| finding.is_damage).count() as u64 + self.findings_left_out
    }

    /// 0: clean. 1: something is damaged.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.damage_count() > 0)
    }

    pub fn to_text(&self) -> String {
        let looked_at = &self.looked_at;
        let mut text = format!(
            "{}: {}, {}, {} in {}, {} in {}, {} in {} ({})\n",
            self.directory,
            count(looked_at.shards, "shard"),
            count(looked_at.partitions, "partition"),
            count(looked_at.frames, "frame"),
            count(looked_at.slots, "log slot"),
            count(looked_at.objects, "object"),
            count(looked_at.checkpoints, "checkpoint"),
            count(looked_at.batches, "batch").replace("batchs", "batches"),
            count(looked_at.segments, "segment"),
            bytes(looked_at.bytes),
        );
        for finding in &self.findings {
            text.push_str(&format!("{finding}\n"));
        }
        if self.findings_left_out > 0 {
            text.push_str(&format!("and {} more\n", self.findings_left_out));
        }
        text.push_str(&match self.damage_count() {
            0 => "clean\n".to_owned(),
            damaged => format!("{} damaged\n", count(damaged, "place")),
        });
        text
    }

    pub fn to_json(&self) -> serde_json::Value {
        let looked_at = &self.looked_at;
        serde_json::json!({
            "directory": self.directory,
            "clean": self.damage_count() == 0,
            "damaged": self.damage_count(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "findings_left_out": self.findings_left_out,
            "looked_at": {
                "shards": looked_at.shards,
                "partitions": looked_at.partitions,
                "slots": looked_at.slots,
                "frames": looked_at.frames,
                "checkpoints": looked_at.checkpoints,
                "objects": looked_at.objects,
                "segments": looked_at.segments,
                "blocks": looked_at.blocks,
                "batches": looked_at.batches,
                "bytes": looked_at.bytes,
            },
        })
    }
}
