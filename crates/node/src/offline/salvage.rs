// SPDX-License-Identifier: Apache-2.0
//! `polylog salvage DIR --out NEW`: a new data directory with everything that is good, and a list of exactly what is not in it.
//!
//! Owns: which of several damaged sources is believed, and in what order. Must not know: layouts.
//! The old directory is not changed. The new one opens with the ordinary recovery. Exit code 0: nothing is lost; 1: something is;
//! 2: it could not run.
//!
//! Rules:
//!   1. A record keeps its partition and offset for ever; what is lost leaves a gap. A gap at a partition's end is closed by an empty
//!      batch, so that its offsets are never given out again and no reader waits there.
//!   2. Only bytes that a checksum proves are copied; of a block whose checksum is wrong, only batches that prove themselves
//!      (`batches.rs`).
//!   3. Sources of records, in this order: segments that the checkpoint names, other segments, frames of the log. An offset that is
//!      covered already is not taken again.
//!   4. Records whose topic's name is lost are saved under a name that says so (`salvaged-...`), and are kept whatever their age.
//!   5. What is lost = what a partition should have (start to next) less what was saved. Where even that is not known the file is named.
//!
//! The new directory: segments under their numbers, one more for what came out of the log, one base checkpoint before frame 1, an
//! identity that says that the logs are still to be made. The identity comes last: without it no broker takes the directory.

use super::batches::{self, Expected, Kept};
use super::directory::{Directory, blobs_of, lent_to, place_of, read_block};
use super::fsck::partition_name;
use super::{CannotRun, Finding, bytes, count, thousands};
use bytes::Bytes;
use head_kafka::coordinator::{self, GroupSettings};
use kernel::catalog::{Placement, Topic};
use kernel::command::TopicSettings;
use kernel::coordinator::{Coordinator, Decision, Note};
use kernel::format::FormatError;
use kernel::format::v1::checkpoint::{self, ObjectKey};
use kernel::format::v1::entry::{Entries, Record};
use kernel::format::v1::object::{Compacted, Object, hosted_of};
use kernel::format::v1::segment::{SegmentWriter, salvage_index};
use kernel::log::partition::{Hosted, HostedRow};
use kernel::shard::{Loaded, ShardConfig};
use kernel::spill::checkpoint::load;
use kernel::spill::{CheckpointPlan, Work, WorkDone, segment_index};
use kernel::state::{Beside, State};
use kernel::{Catalog, Ctx, Shard};
use media::disk::real::{DirLock, RealDisk};
use media::disk::{DirName, Disk, FileName, list, read_all};
use media::identity;
use media::local::blobs::LocalBlobs;
use media::local::wal::offline::read_for_salvage;
use media::local::wal::slot::{self, SlotPage};
use media::local::wal::survey::{Question, survey};
use model::batch::{CRC_START, HEADER_BYTES, Header, LENGTH_END};
use model::limits::{BATCH_BYTES_MAX, PAGE_BYTES};
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs, WalOpened};
use model::{HolderId, Lsn, NamespaceId, Now, Offset, PartitionId, ShardEpoch, ShardId, Ticket, TopicId, crc};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What became of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    pub source: String,
    pub target: String,
    pub topics: u64,
    pub partitions: u64,
    /// Offsets that have their record.
    pub records: u64,
    pub bytes: u64,
    /// Records that are lost, by partition and offset.
    pub lost: Vec<Lost>,
    /// Damaged places; those whose consequence could be undone are notes.
    pub findings: Vec<Finding>,
}

/// Records that were there and are not any more: `from..to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub shard: ShardId,
    pub partition: PartitionId,
    /// `topic/index`.
    pub name: String,
    pub from: Offset,
    pub to: Offset,
}

/// Copies what is good of `source` into `target`, which must not exist or be empty.
pub fn run(source: &Path, target: &Path) -> Result<SalvageReport, CannotRun> {
    let directory = Directory::open(source)?;
    let is_free = match std::fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(CannotRun(format!("{} exists and is not an empty directory", target.display())));
    }
    let mut report = SalvageReport {
        source: source.display().to_string(),
        target: target.display().to_string(),
        findings: directory.findings.clone(),
        ..SalvageReport::default()
    };
    let mut shards = Vec::new();
    for shard in directory.shards() {
        shards.push(OneShard::read(&directory, shard, &mut report)?);
    }
    mend_catalog(&mut shards, &directory, &mut report)?;

    let lock = DirLock::take(target).map_err(|error| CannotRun(error.to_string()))?;
    let open = || RealDisk::open(target).map_err(|error| CannotRun(error.to_string()));
    for shard in &mut shards {
        shard.write(&directory, &mut LocalBlobs::new(open()?), &mut report)?;
    }
    identity::open(&mut open()?, directory.cluster_id, directory.shard_count)
        .map_err(|error| CannotRun(error.to_string()))?;
    for shard in &shards {
        prove(&mut LocalBlobs::new(open()?), shard)?;
    }
    drop(lock);
    report.topics = shards.iter().map(|shard| shard.state.topics.all().count() as u64).sum();
    report.partitions = shards.iter().map(|shard| shard.state.partitions.len() as u64).sum();
    Ok(report)
}

/// One shard: its state, and where its records may be found.
struct OneShard {
    shard: ShardId,
    shard_count: u32,
    state: State,
    epoch: ShardEpoch,
    /// The state is certain up to this frame: later ones are folded over it.
    lsn: Lsn,
    /// Some checkpoint, good or not, went up to this frame: the log need not reach further back.
    lsn_reached: Lsn,
    /// Of the state something is missing.
    state_is_damaged: bool,
    /// Segments that the checkpoint names.
    listed: BTreeSet<u64>,
    checkpoint_highest: u64,
    /// What compaction has made of partitions.
    compacted: BTreeMap<PartitionId, Compacted>,
    /// Batches out of the log, by partition and offset.
    from_log: BTreeMap<(PartitionId, Offset), Kept>,
}

impl OneShard {
    /// Reads checkpoints and log, and folds them as far as possible.
    fn read(directory: &Directory, shard: ShardId, report: &mut SalvageReport) -> Result<OneShard, CannotRun> {
        let mut disk = directory.disk()?;
        let mut one = OneShard {
            shard,
            shard_count: directory.shard_count,
            state: State::new(Catalog::new(Arc::from([])), Vec::new()),
            epoch: ShardEpoch(0),
            lsn: Lsn(0),
            lsn_reached: Lsn(0),
            state_is_damaged: false,
            listed: BTreeSet::new(),
            checkpoint_highest: 0,
            compacted: BTreeMap::new(),
            from_log: BTreeMap::new(),
        };
        one.read_checkpoints(directory, &mut disk, report)?;
        one.read_log(directory, &mut disk, report)?;
        Ok(one)
    }

    /// Loads the state of the checkpoints.
    fn read_checkpoints(
        &mut self,
        directory: &Directory,
        disk: &mut dyn Disk,
        report: &mut SalvageReport,
    ) -> Result<(), CannotRun> {
        let mut objects: BTreeMap<ObjectKey, Vec<u8>> = BTreeMap::new();
        let mut certain: BTreeSet<u64> = BTreeSet::new();
        let mut certain_highest = 0;
        if let Ok(loaded) = load(&mut LocalBlobs::new(directory.disk()?), self.shard) {
            (objects, self.lsn, self.epoch) = (loaded.objects, loaded.lsn, loaded.epoch);
            self.lsn_reached = self.lsn;
            self.listed.extend(loaded.segments);
            certain.extend(loaded.leftovers);
            certain_highest = loaded.number.unwrap_or(0);
            certain.extend(loaded.chain);
            let (shard, cluster_id, from) = (self.shard, directory.cluster_id, loaded.lsn.next());
            let files = blobs_of(disk, self.shard, BlobKind::Segment)?;
            let lent = &lent_to(&mut LocalBlobs::new(directory.disk()?), &files, &self.listed);
            let question = Question { shard, cluster_id, from, may_be_new: !directory.made && from == Lsn(1), lent };
            if let Some(passed) = loaded.passed_over
                && survey(disk, question).is_ok()
            {
                certain.insert(passed.number);
                let consequence = "nothing is lost: the checkpoint before it and the log are whole";
                report.findings.push(Finding::note(
                    &passed.corrupt.name,
                    passed.corrupt.at,
                    passed.corrupt.why,
                    consequence,
                ));
            }
        }
        let mut bases_seen = !certain.is_empty();
        for (name, length) in blobs_of(disk, self.shard, BlobKind::Checkpoint)? {
            self.checkpoint_highest = self.checkpoint_highest.max(name.number);
            if certain.contains(&name.number) || name.number < certain_highest {
                continue;
            }
            let file = match read_all(disk, FileName::Blob(name), 0, length) {
                Ok(file) => file,
                Err(error) => {
                    self.state_is_damaged = true;
                    report.findings.push(Finding::damage(name, None, error.to_string(), "what it says is not known"));
                    continue;
                }
            };
            let remains = checkpoint::salvage(&file, name);
            for error in &remains.damage {
                match error {
                    FormatError::Newer { feature } => {
                        return Err(CannotRun(format!(
                            "{name} was written by a newer version: {feature} is not known to this one"
                        )));
                    }
                    FormatError::Damaged { at, why } => {
                        let consequence =
                            "topics, partitions or producers that stood only there are rebuilt as far as known";
                        report.findings.push(Finding::damage(name, *at, why, consequence));
                        self.state_is_damaged = true;
                    }
                }
            }
            if let Some(state) = &remains.state {
                self.epoch = self.epoch.max(state.epoch);
                self.lsn_reached = self.lsn_reached.max(state.lsn);
                self.listed.extend(&state.segments);
                // A base that is whole makes all before it superfluous; a delta that is whole is certain only on such.
                if state.is_base && remains.damage.is_empty() {
                    objects.clear();
                    self.lsn = state.lsn;
                    bases_seen = true;
                }
            }
            for (key, value) in remains.objects {
                match value {
                    Some(value) => objects.insert(key, value),
                    None => objects.remove(&key),
                };
            }
        }
        if !bases_seen && self.checkpoint_highest > 0 {
            self.state_is_damaged = true;
        }
        // Partitions need their hosted topics first: objects are sorted by kind, so they come in that order.
        for (key, value) in &objects {
            let loaded = match Object::decode(key, value) {
                Ok(Object::Note { which, key, value }) => {
                    self.keep_note(which, &Note { key: key.into(), value: Some(value.into()) });
                    Ok(())
                }
                Ok(Object::Partition(object)) => {
                    self.host_unnamed(object.topic, report)?;
                    self.state.load(Object::Partition(object))
                }
                Ok(Object::Compacted(id, row)) => {
                    self.compacted.insert(id, row);
                    Ok(())
                }
                Ok(object) => self.state.load(object),
                Err(FormatError::Newer { feature }) => {
                    return Err(CannotRun(format!(
                        "a checkpoint of a newer version: {feature} is not known to this one"
                    )));
                }
                Err(error) => Err(error),
            };
            if let Err(error) = loaded {
                self.state_is_damaged = true;
                let name = BlobName { shard: self.shard, kind: BlobKind::Checkpoint, number: self.checkpoint_highest };
                let what = error.to_string();
                report.findings.push(Finding::damage(
                    name,
                    None,
                    what,
                    "the object is left out, or rebuilt as far as known",
                ));
            }
        }
        Ok(())
    }

    /// Of a topic whose partition is there, what a shard knows of it may be lost.
    fn host_unnamed(&mut self, topic: TopicId, report: &mut SalvageReport) -> Result<(), CannotRun> {
        if self.state.hosted.contains_key(&topic) {
            return Ok(());
        }
        let hosted = match self.state.topics.get(topic) {
            Some(topic) => hosted_of(topic).as_ref().clone(),
            None => unnamed(topic, format!("salvaged-{topic}")),
        };
        self.state_is_damaged = true;
        let what = format!("the name and the settings of topic {topic} are lost");
        let consequence = format!("its partitions are saved as those of {}", hosted.name);
        report.findings.push(Finding::damage(format!("ckpt/{:02}", self.shard.0), None, what, consequence));
        self.state.load(Object::Hosted(hosted)).map_err(|error| CannotRun(error.to_string()))
    }

    /// Makes the partitions of which only records are left.
    fn host_orphans(&mut self, directory: &Directory, report: &mut SalvageReport) -> Result<(), CannotRun> {
        let mut disk = directory.disk()?;
        let mut orphans: BTreeSet<PartitionId> = BTreeSet::new();
        for (name, length) in blobs_of(&mut disk, self.shard, BlobKind::Segment)? {
            let index = match segment_index::load(&mut LocalBlobs::new(directory.disk()?), name, length) {
                Ok(index) => index,
                Err(_) => {
                    let mut read = |file, at, bytes| read_block(&mut disk, file, at, bytes).ok();
                    // What cannot be read here either is reported when its records are looked for.
                    let Ok((index, _)) = salvage_index(name, length, &mut read) else { continue };
                    index
                }
            };
            orphans.extend(index.runs.iter().map(|run| run.partition));
        }
        orphans.extend(self.from_log.keys().map(|(partition, _)| *partition));
        orphans.retain(|partition| self.state.partitions.get(*partition).is_none());
        for partition in orphans {
            let mut id = *b"salvaged\0\0\0\0\0\0\0\0";
            id[8..].copy_from_slice(&partition.0.to_be_bytes());
            let hosted = unnamed(TopicId(id), format!("salvaged-partition-{partition}"));
            let what = format!("of partition {partition} only records are left");
            let consequence =
                format!("they are saved as topic {}; it may have been deleted before the damage", hosted.name);
            report.findings.push(Finding::damage(format!("ckpt/{:02}", self.shard.0), None, what, consequence));
            let rows = vec![HostedRow { partition, index: 0, epoch_base: 0 }];
            self.state.apply(self.state.applied, &Record::PartitionPut { hosted: Arc::new(hosted), rows });
        }
        Ok(())
    }

    /// Folds the good frames of the log over the state, and remembers every batch in it.
    fn read_log(
        &mut self,
        directory: &Directory,
        disk: &mut dyn Disk,
        report: &mut SalvageReport,
    ) -> Result<(), CannotRun> {
        let dir = DirName::Wal(self.shard);
        self.read_epochs(disk, dir)?;
        let (shard, cluster_id) = (self.shard, directory.cluster_id);
        // What stands in these is read as their segments': of a large directory they are the most.
        let files = blobs_of(disk, self.shard, BlobKind::Segment)?;
        let lent = &lent_to(&mut LocalBlobs::new(directory.disk()?), &files, &self.listed);
        let question = Question { shard, cluster_id, from: Lsn(1), may_be_new: true, lent };
        let found = read_for_salvage(disk, question).map_err(|error| CannotRun(error.to_string()))?;
        for note in found.notes {
            let consequence = "no frame that was durable is lost by it, except those named";
            report.findings.push(Finding::note(note.name, note.at, note.why, consequence));
        }
        // Frames that a checkpoint has made superfluous may be gone; those still there may have what a segment has lost.
        let needed = self.lsn_reached.next();
        for lost in found.lost.iter().filter(|lost| lost.last >= needed) {
            let what = format!("frames {} to {} were durable and are lost", lost.first.max(needed), lost.last);
            let consequence = "what they held is not known, except for records that later frames show to be missing";
            report.findings.push(Finding::damage(&lost.place.name, lost.place.at, what, consequence));
        }
        for (frame, body) in &found.frames {
            for record in Entries::of(body) {
                let record = match record {
                    Ok(record) => record,
                    Err(FormatError::Newer { feature }) => {
                        return Err(CannotRun(format!(
                            "{dir} was written by a newer version: {feature} is not known to this one"
                        )));
                    }
                    Err(error) => {
                        let consequence = "the rest of the frame is lost";
                        report.findings.push(Finding::damage(
                            dir,
                            None,
                            format!("frame {frame}: {error}"),
                            consequence,
                        ));
                        break;
                    }
                };
                if let Record::Append(append) = &record {
                    let bytes = body.slice(append.pos as usize..append.pos as usize + append.header.bytes);
                    let (base, end) = (append.header.base_offset, append.header.next_offset());
                    let max_timestamp_ms = append.header.max_timestamp_ms;
                    self.from_log.insert((append.partition, base), Kept { pos: 0, bytes, base, end, max_timestamp_ms });
                }
                if *frame > self.lsn {
                    self.apply(*frame, &record);
                }
            }
        }
        Ok(())
    }

    /// The highest epoch of the log: that of the new one is above it.
    fn read_epochs(&mut self, disk: &mut dyn Disk, dir: DirName) -> Result<(), CannotRun> {
        for (file, _) in list(disk, dir).map_err(|error| CannotRun(error.on(dir).to_string()))? {
            if let Ok(page) = read_all(disk, file, 0, PAGE_BYTES as u64)
                && let SlotPage::Header(header, _) = slot::decode(&page)
            {
                self.epoch = self.epoch.max(header.life.epoch);
            }
        }
        Ok(())
    }

    fn apply(&mut self, lsn: Lsn, record: &Record) {
        match record {
            // Already in the state: frames can be older than what was saved of a checkpoint.
            Record::Append(append)
                if self
                    .state
                    .partitions
                    .get(append.partition)
                    .is_some_and(|partition| append.header.base_offset < partition.next) => {}
            Record::Note { which, note } => {
                self.keep_note(*which, note);
            }
            record => self.state.apply(lsn, record),
        }
    }

    fn keep_note(&mut self, which: u8, note: &Note) {
        let beside = self.state.coordinators.entry(which);
        let beside = beside.or_insert_with(|| Beside { machine: machine(which), last_lsn: Lsn(0) });
        beside.machine.apply(note);
    }

    /// Reads the records of all segments and writes what is good, then the checkpoint that names it.
    fn write(
        &mut self,
        directory: &Directory,
        target: &mut dyn Blobs,
        report: &mut SalvageReport,
    ) -> Result<(), CannotRun> {
        let mut disk = directory.disk()?;
        let mut covered = Covered::default();
        let mut segments = Vec::new();
        let mut files = blobs_of(&mut disk, self.shard, BlobKind::Segment)?;
        files.sort_by_key(|(name, _)| (!self.listed.contains(&name.number), name.number));
        let mut highest = self.listed.iter().copied().max().unwrap_or(0);
        for number in self.listed.iter().copied().filter(|number| !self.state.segments_gone.contains(number)) {
            let name = BlobName { shard: self.shard, kind: BlobKind::Segment, number };
            if !files.iter().any(|(file, _)| *file == name) {
                let what = "the file is missing, a checkpoint names it";
                report.findings.push(Finding::damage(
                    name,
                    None,
                    what,
                    "its records are lost where nothing else has them",
                ));
            }
        }
        for (name, length) in files {
            highest = highest.max(name.number);
            let batches = self.read_segment(directory, &mut disk, name, length, &mut covered, report)?;
            if self.write_segment(target, name, batches, &covered, report)? {
                segments.push(name.number);
            }
        }
        let batches = self.read_rest(&mut covered);
        let name = BlobName { shard: self.shard, kind: BlobKind::Segment, number: highest + 1 };
        if self.write_segment(target, name, batches, &covered, report)? {
            segments.push(name.number);
        }
        report.records += covered.saved;
        self.list_lost(&covered, report);

        let number = self.checkpoint_highest + 1;
        let objects = self.state.objects().into_iter().map(|(key, value)| (key, Some(value))).collect();
        let work = Work::EncodeCheckpoint(CheckpointPlan {
            shard: self.shard,
            number,
            is_base: true,
            base_number: number,
            previous: None,
            epoch: self.epoch,
            lsn: Lsn(0),
            segments,
            objects,
        });
        if let WorkDone::Checkpoint { parts, .. } = work.run() {
            put(target, BlobName { shard: self.shard, kind: BlobKind::Checkpoint, number }, parts)?;
        }
        Ok(())
    }

    /// The good batches of a segment that are wanted and not yet covered.
    fn read_segment(
        &self,
        directory: &Directory,
        disk: &mut dyn Disk,
        name: BlobName,
        length: u64,
        covered: &mut Covered,
        report: &mut SalvageReport,
    ) -> Result<Vec<(PartitionId, Kept)>, CannotRun> {
        let is_listed = self.listed.contains(&name.number);
        let index = match segment_index::load(&mut LocalBlobs::new(directory.disk()?), name, length) {
            Ok(index) => index,
            Err(kernel::shard::OpenError::Newer { feature, .. }) => {
                return Err(CannotRun(format!(
                    "{name} was written by a newer version: {feature} is not known to this one"
                )));
            }
            Err(error) => {
                let (at, why) = place_of(&error);
                let mut read = |file, at, bytes| read_block(disk, file, at, bytes).ok();
                let saved = salvage_index(name, length, &mut read);
                if let Ok((index, false)) = saved {
                    report.findings.push(Finding::note(name, at, why, "undone: nothing of it is lost"));
                    index
                } else {
                    let consequence =
                        "whose records it holds is not known, or not of all: they are lost where nothing else has them";
                    let finding = Finding::damage(name, at, why, consequence);
                    let matters = is_listed || self.state_is_damaged;
                    report.findings.push(Finding { is_damage: matters, ..finding });
                    let Ok((index, _)) = saved else { return Ok(Vec::new()) };
                    index
                }
            }
        };
        let mut batches = Vec::new();
        for run in &index.runs {
            let Some(partition) = self.state.partitions.get(run.partition) else {
                // Deleted with its topic, or lost with the state.
                if self.state_is_damaged {
                    let what =
                        format!("partition {} offsets {}..{}", run.partition, run.first_offset, run.last_offset.0 + 1);
                    report.findings.push(Finding::damage(
                        name,
                        None,
                        what,
                        "the topic is not known (any more): not saved",
                    ));
                }
                continue;
            };
            match self.compacted.get(&run.partition) {
                Some(row) if row.replaces(name.number, run.first_offset) => continue,
                // What stood before it, compaction has taken away.
                Some(row) if run.first_offset < row.replaced => {
                    covered.known(run.partition, partition.start, run.first_offset);
                }
                _ => {}
            }
            let blocks = index.blocks_of(run);
            for (at, block) in blocks.iter().enumerate() {
                let end = blocks.get(at + 1).map_or(run.last_offset.plus(1), |next| next.first_offset);
                if end <= partition.start {
                    continue;
                }
                let file = block.file(name);
                let read = read_block(disk, file, block.pos(), u64::from(block.bytes));
                // What no checkpoint names has no slots any more: the log may have written over them.
                let is_its = is_listed || block.place.slot().is_none();
                let walk = match read {
                    Ok(block_bytes) => {
                        let expected = Expected {
                            crc: block.crc,
                            first: block.first_offset,
                            end,
                            ends_there: at + 1 == blocks.len(),
                        };
                        batches::walk(&block_bytes, expected)
                    }
                    Err(error) => batches::Walk { faults: vec![(0, error.to_string())], ..batches::Walk::default() },
                };
                for (pos, what) in walk.faults.iter().filter(|_| is_its) {
                    let what = format!(
                        "{what} ({} offsets {}..{end})",
                        partition_name(Some(&self.state), run.partition),
                        block.first_offset
                    );
                    let at = block.pos() + *pos as u64;
                    report.findings.push(if walk.mended {
                        Finding::note(file, at, what, "undone: nothing of it is lost")
                    } else {
                        Finding::damage(file, at, what, "its good batches are saved")
                    });
                }
                if walk.faults.is_empty() || walk.mended {
                    // Offsets that have no batch here have had none before the damage.
                    covered.known(run.partition, block.first_offset, end);
                }
                for kept in walk.kept {
                    if kept.end > partition.start && covered.take(run.partition, kept.base, kept.end) {
                        batches.push((run.partition, kept));
                    }
                }
            }
        }
        Ok(batches)
    }

    /// What the segments do not have: batches of the log, and an empty batch where a partition's end is lost. Settles `next`.
    fn read_rest(&mut self, covered: &mut Covered) -> Vec<(PartitionId, Kept)> {
        let mut batches = Vec::new();
        for ((id, _), kept) in std::mem::take(&mut self.from_log) {
            let wanted = self.state.partitions.get(id).is_some_and(|partition| kept.end > partition.start);
            if wanted && covered.take(id, kept.base, kept.end) {
                batches.push((id, kept));
            }
        }
        let ids: Vec<PartitionId> = self.state.partitions.ids_from(PartitionId(0)).collect();
        for id in ids {
            let Some(partition) = self.state.partitions.get_mut(id) else { continue };
            let (first, end) = covered.bounds(id).unwrap_or((partition.start, partition.start));
            if partition.next == Offset(0) {
                // Made anew: where it began is not known.
                partition.start = partition.start.max(first);
            }
            partition.next = partition.next.max(end).max(partition.start);
            let mut from = end.max(partition.start);
            while from < partition.next {
                let count = (partition.next.0 - from.0).min(i32::MAX as u64);
                let end = from.plus(count);
                let bytes = empty_batch(from, count, partition.epochs.last().map_or(0, |(epoch, _)| epoch.0));
                batches.push((id, Kept { pos: 0, bytes, base: from, end, max_timestamp_ms: -1 }));
                from = end;
            }
        }
        batches
    }

    /// Writes a segment; false if there is nothing to be in it.
    fn write_segment(
        &self,
        target: &mut dyn Blobs,
        name: BlobName,
        mut batches: Vec<(PartitionId, Kept)>,
        covered: &Covered,
        report: &mut SalvageReport,
    ) -> Result<bool, CannotRun> {
        if batches.is_empty() {
            return Ok(false);
        }
        batches.sort_by_key(|(partition, kept)| (*partition, kept.base));
        let mut writer = SegmentWriter::new(name, self.epoch);
        let mut before: Option<(PartitionId, Offset)> = None;
        for (partition, kept) in &batches {
            report.bytes += kept.bytes.len() as u64;
            // A run must not reach over what stands in another segment.
            let gap = before.filter(|(before, end)| before == partition && *end < kept.base);
            if gap.is_some_and(|(_, end)| !covered.is_known_gap(*partition, end, kept.base)) {
                writer.end_run();
            }
            before = Some((*partition, kept.end));
            writer.push(*partition, &kept.bytes, kept.base, Offset(kept.end.0 - 1), kept.max_timestamp_ms);
        }
        put(target, name, writer.finish().0)?;
        Ok(true)
    }

    fn list_lost(&self, covered: &Covered, report: &mut SalvageReport) {
        for id in self.state.partitions.ids_from(PartitionId(0)) {
            let Some(partition) = self.state.partitions.get(id) else { continue };
            for (from, to) in covered.missing(id, partition.start, partition.next) {
                let name = partition_name(Some(&self.state), id);
                report.lost.push(Lost { shard: self.shard, partition: id, name, from, to });
            }
        }
    }
}

/// Which offsets are saved, and which are known never to have had a record.
#[derive(Default)]
struct Covered {
    /// By partition: from -> to, not overlapping.
    saved_ranges: BTreeMap<PartitionId, BTreeMap<Offset, Offset>>,
    known_ranges: BTreeMap<PartitionId, BTreeMap<Offset, Offset>>,
    saved: u64,
}

impl Covered {
    /// Takes a range, unless some of it is taken already.
    fn take(&mut self, partition: PartitionId, from: Offset, to: Offset) -> bool {
        let ranges = self.saved_ranges.entry(partition).or_default();
        if ranges.range(..to).next_back().is_some_and(|(_, end)| *end > from) {
            return false;
        }
        self.saved += to.0 - from.0;
        add(ranges, from, to);
        true
    }

    fn known(&mut self, partition: PartitionId, from: Offset, to: Offset) {
        add(self.known_ranges.entry(partition).or_default(), from, to);
    }

    /// Nothing stood there before the damage either, and nothing does now.
    fn is_known_gap(&self, partition: PartitionId, from: Offset, to: Offset) -> bool {
        let last_before =
            |ranges: &BTreeMap<Offset, Offset>, at: Offset| ranges.range(..at).next_back().map(|(_, end)| *end);
        let known = self.known_ranges.get(&partition).and_then(|ranges| last_before(ranges, from.plus(1)));
        let saved = self.saved_ranges.get(&partition).and_then(|ranges| last_before(ranges, to));
        known.is_some_and(|end| end >= to) && saved.is_none_or(|end| end <= from)
    }

    /// First offset and the one after the last.
    fn bounds(&self, partition: PartitionId) -> Option<(Offset, Offset)> {
        let ranges = self.saved_ranges.get(&partition)?;
        Some((*ranges.first_key_value()?.0, *ranges.last_key_value()?.1))
    }

    /// What of `from..to` is neither saved nor known to be empty.
    fn missing(&self, partition: PartitionId, from: Offset, to: Offset) -> Vec<(Offset, Offset)> {
        let mut ranges: Vec<(Offset, Offset)> = [&self.saved_ranges, &self.known_ranges]
            .into_iter()
            .filter_map(|all| all.get(&partition))
            .flat_map(|ranges| ranges.iter().map(|(from, to)| (*from, *to)))
            .collect();
        ranges.sort_unstable();
        let (mut missing, mut at) = (Vec::new(), from);
        for (range_from, range_to) in ranges {
            if range_from > at {
                missing.push((at, range_from.min(to)));
            }
            at = at.max(range_to);
            if at >= to {
                break;
            }
        }
        if at < to {
            missing.push((at, to));
        }
        missing.retain(|(from, to)| from < to);
        missing
    }
}

/// Adds a range, joined to the one that ends where it begins.
fn add(ranges: &mut BTreeMap<Offset, Offset>, from: Offset, to: Offset) {
    match ranges.range_mut(..=from).next_back() {
        Some((_, end)) if *end >= from => *end = (*end).max(to),
        _ => drop(ranges.insert(from, to)),
    }
}

/// Where something of the state is lost: makes partitions that a topic names, and topics that partitions name, and sees to it that
/// no id is given out twice.
fn mend_catalog(shards: &mut [OneShard], directory: &Directory, report: &mut SalvageReport) -> Result<(), CannotRun> {
    if !shards.iter().any(|one| one.state_is_damaged) {
        return Ok(());
    }
    let topics: Vec<Arc<Topic>> = shards.iter().flat_map(|one| one.state.topics.all().cloned()).collect();
    for topic in &topics {
        let hosted = hosted_of(topic);
        for one in shards.iter_mut().filter(|one| one.state_is_damaged) {
            let rows: Vec<HostedRow> = topic
                .partitions
                .iter()
                .enumerate()
                .filter(|(_, placement)| {
                    placement.shard == one.shard && one.state.partitions.get(placement.partition).is_none()
                })
                .map(|(index, placement)| HostedRow {
                    partition: placement.partition,
                    index: index as u32,
                    epoch_base: placement.epoch_base,
                })
                .collect();
            if rows.is_empty() {
                continue;
            }
            let what =
                format!("{} of {} were not in the state any more", count(rows.len() as u64, "partition"), topic.name);
            let consequence = "made anew, with the records that were found; producers' windows are lost";
            report.findings.push(Finding::damage(format!("ckpt/{:02}", one.shard.0), None, what, consequence));
            let lsn = one.state.applied;
            one.state.apply(lsn, &Record::PartitionPut { hosted: hosted.clone(), rows });
        }
    }
    // Where the home of the names is whole, what it does not name was deleted.
    if shards.first().is_some_and(|home| home.state_is_damaged) {
        for one in shards.iter_mut() {
            one.host_orphans(directory, report)?;
        }
        mend_topics(shards, &topics, report);
    }
    let partition_next = shards
        .iter()
        .flat_map(|one| one.state.partitions.ids_from(PartitionId(0)))
        .chain(topics.iter().flat_map(|topic| topic.partitions.iter().map(|placement| placement.partition)))
        .map(|partition| partition.0 + 1)
        .max()
        .unwrap_or(0);
    let producer_next = shards
        .iter()
        .flat_map(|one| one.state.partitions.ids_from(PartitionId(0)).filter_map(|id| one.state.partitions.get(id)))
        .flat_map(|partition| partition.producers.iter())
        .map(|(producer, _)| producer.0.unsigned_abs() + 1)
        .max()
        .unwrap_or(0);
    /// Ids may have been given out that nothing shows any more: as many are left out.
    const IDS_LEFT_OUT: u64 = 1_000_000;
    for one in shards.iter_mut().filter(|one| one.state_is_damaged) {
        one.state.partition_next = one.state.partition_next.max(partition_next + IDS_LEFT_OUT);
        one.state.producer_next = one.state.producer_next.max(producer_next + IDS_LEFT_OUT);
    }
    Ok(())
}

/// A topic whose name is not known. Its records stay, whatever their age: an operator wants to look at them first.
fn unnamed(topic: TopicId, name: String) -> Hosted {
    Hosted {
        topic,
        namespace: NamespaceId::DEFAULT,
        name: Arc::from(name),
        retention_ms: None,
        retention_bytes: None,
        batch_bytes_max: BATCH_BYTES_MAX as u32,
        compaction: None,
    }
}

/// Topics that only their partitions remember.
fn mend_topics(shards: &mut [OneShard], topics: &[Arc<Topic>], report: &mut SalvageReport) {
    let known: BTreeSet<TopicId> = topics.iter().map(|topic| topic.id).collect();
    let mut orphans: BTreeMap<TopicId, (Arc<Hosted>, BTreeMap<u32, Placement>)> = BTreeMap::new();
    for one in shards.iter() {
        for id in one.state.partitions.ids_from(PartitionId(0)) {
            let Some(partition) = one.state.partitions.get(id) else { continue };
            if known.contains(&partition.hosted.topic) {
                continue;
            }
            let placement = Placement { partition: id, shard: one.shard, epoch_base: partition.epoch_base };
            let (_, rows) =
                orphans.entry(partition.hosted.topic).or_insert_with(|| (partition.hosted.clone(), BTreeMap::new()));
            rows.insert(partition.index, placement);
        }
    }
    for (id, (hosted, rows)) in orphans {
        let place = format!("ckpt/{:02}", shards.first().map_or(0, |home| home.shard.0));
        let what = format!("topic {} is known by its partitions only", hosted.name);
        if !rows.keys().copied().eq(0..rows.len() as u32) {
            let indexes: Vec<String> = rows.keys().map(u32::to_string).collect();
            let consequence = format!(
                "not by all of them: those with numbers {} get the numbers from 0 to {}",
                indexes.join(", "),
                rows.len() - 1
            );
            report.findings.push(Finding::damage(&place, None, &what, consequence));
            for one in shards.iter_mut() {
                let rows = rows.values().zip(0..).filter(|(placement, _)| placement.shard == one.shard);
                let rows = rows.map(|(Placement { partition, epoch_base, .. }, index)| HostedRow {
                    partition: *partition,
                    index,
                    epoch_base: *epoch_base,
                });
                let rows: Vec<HostedRow> = rows.collect();
                if !rows.is_empty() {
                    one.state.apply(one.state.applied, &Record::PartitionPut { hosted: hosted.clone(), rows });
                }
            }
        }
        let consequence = "made again; settings that the kernel does not act upon are lost";
        report.findings.push(Finding::damage(place, None, what, consequence));
        let topic = Topic {
            id,
            namespace: hosted.namespace,
            name: hosted.name.clone(),
            partitions: rows.into_values().collect(),
            settings: TopicSettings {
                retention_ms: hosted.retention_ms,
                retention_bytes: hosted.retention_bytes,
                batch_bytes_max: hosted.batch_bytes_max,
                compaction: hosted.compaction,
                stored: Arc::from([]),
            },
        };
        if let Some(home) = shards.first_mut() {
            home.state.apply(home.state.applied, &Record::TopicPut(Arc::new(topic)));
        }
    }
}

/// A batch that has offsets and no records, as Kafka's compaction leaves them; every client goes on behind it.
fn empty_batch(base: Offset, count: u64, leader_epoch: i32) -> Bytes {
    let mut batch = vec![0; HEADER_BYTES];
    batch[0..8].copy_from_slice(&base.0.to_be_bytes());
    batch[8..LENGTH_END].copy_from_slice(&((HEADER_BYTES - LENGTH_END) as i32).to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&((count - 1) as i32).to_be_bytes());
    // No times, no producer: all ones is -1 in each of these fields. Then no records.
    batch[27..57].fill(0xff);
    let crc = crc::crc32c(&batch[CRC_START..]);
    batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    debug_assert!(Header::read(&batch).is_some_and(|header| header.next_offset() == base.plus(count)));
    batch.into()
}

fn put(target: &mut dyn Blobs, name: BlobName, parts: Vec<Bytes>) -> Result<(), CannotRun> {
    target.submit(BlobTag(0), BlobOp::Put { name, parts });
    match target.wait_done() {
        (_, BlobDone::Put(Ok(()))) => Ok(()),
        (_, BlobDone::Put(Err(error))) => Err(CannotRun(format!("the new directory cannot be written: {error}"))),
        (_, other) => Err(CannotRun(format!("the new directory cannot be written: {other:?}"))),
    }
}

/// Opens a shard of the new directory as a start would.
fn prove(blobs: &mut dyn Blobs, one: &OneShard) -> Result<(), CannotRun> {
    let config = ShardConfig { shard: one.shard, shard_count: one.shard_count, ..ShardConfig::default() };
    let refused = |error| CannotRun(format!("the new directory does not open, which is a bug of salvage: {error:?}"));
    let loaded = Loaded::load(&config, blobs).map_err(refused)?;
    let opened = WalOpened {
        epoch: ShardEpoch(one.epoch.0.saturating_add(1)),
        frames: Vec::new(),
        next: loaded.wal_from(),
        copied_forward: 0,
        torn_at: None,
    };
    let machines = one.state.coordinators.keys().copied().map(machine);
    Shard::open(config, loaded, opened, machines.collect(), Now::default()).map_err(refused)?;
    Ok(())
}

/// The head's own machine where there is one, because it knows which of its notes go with a topic that is deleted in the log.
fn machine(which: u8) -> Box<dyn Coordinator> {
    let known = coordinator::machines(&GroupSettings::default()).into_iter().find(|machine| machine.which() == which);
    known.unwrap_or_else(|| Box::new(NoteKeeper { which, notes: BTreeMap::new() }))
}

/// Stands in for the machine of a head that this program does not have: keeps its notes as they are.
struct NoteKeeper {
    which: u8,
    notes: BTreeMap<Bytes, Bytes>,
}

impl Coordinator for NoteKeeper {
    fn which(&self) -> u8 {
        self.which
    }

    fn handle(&mut self, _now: Now, _ctx: &Ctx, _ticket: Ticket, _input: &Bytes) -> Decision {
        Decision::default()
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
        match &note.value {
            Some(value) => self.notes.insert(note.key.clone(), value.clone()),
            None => self.notes.remove(&note.key),
        };
    }

    fn note(&self, key: &Bytes) -> Option<Bytes> {
        self.notes.get(key).cloned()
    }

    fn snapshot(&self, emit: &mut dyn FnMut(Note)) {
        for (key, value) in &self.notes {
            emit(Note { key: key.clone(), value: Some(value.clone()) });
        }
    }
}

impl SalvageReport {
    fn damage_count(&self) -> u64 {
        self.findings.iter().filter(|finding| finding.is_damage).count() as u64
    }

    /// 0: nothing is lost. 1: something is, or may be.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.lost.is_empty() || self.damage_count() > 0)
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            text.push_str(&format!("{finding}\n"));
        }
        for lost in &self.lost {
            let records = count(lost.to.0 - lost.from.0, "record");
            text.push_str(&format!("lost: {} offsets {}..{} ({records})\n", lost.name, lost.from, lost.to));
        }
        text.push_str(&format!(
            "saved {}, {}, {} ({}) to {}\n",
            count(self.topics, "topic"),
            count(self.partitions, "partition"),
            count(self.records, "record"),
            bytes(self.bytes),
            self.target,
        ));
        let lost: u64 = self.lost.iter().map(|lost| lost.to.0 - lost.from.0).sum();
        text.push_str(&match (lost, self.damage_count()) {
            (0, 0) => "nothing is lost\n".to_owned(),
            (0, _) => "no record is known to be lost; see the damage above\n".to_owned(),
            (lost, _) => format!("{} records are lost\n", thousands(lost)),
        });
        text
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "source": self.source,
            "target": self.target,
            "saved": {
                "topics": self.topics,
                "partitions": self.partitions,
                "records": self.records,
                "bytes": self.bytes,
            },
            "lost": self.lost.iter().map(|lost| serde_json::json!({
                "partition": lost.name,
                "partition_id": lost.partition.0,
                "shard": lost.shard.0,
                "from": lost.from.0,
                "to": lost.to.0,
            })).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}
