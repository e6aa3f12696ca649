// SPDX-License-Identifier: Apache-2.0
//! `polylog inspect FILE`: says what a file of a data directory is and what stands in it.
//!
//! Owns: telling the kind by the first bytes, and what is shown of each. Must not know: layouts.
//! Any bytes at all are shown or refused; checksums that are wrong are said and what can be read is shown nevertheless.

use super::{CannotRun, bytes, count, thousands};
use head_kafka::coordinator;
use kernel::format::FormatError;
use kernel::format::v1::checkpoint;
use kernel::format::v1::head::{self, FileHead, HEAD_BYTES};
use kernel::format::v1::object::{Compacted, Object};
use kernel::format::v1::segment::{SegmentIndex, Trailer, decode_footer};
use media::identity;
use media::local::wal::frame::FrameKind;
use media::local::wal::offline::{FrameReport, FrameState, inspect_slot};
use media::local::wal::slot::SlotPage;
use model::ids::base64_url;
use model::limits::PAGE_BYTES;
use model::media::{BlobKind, BlobName};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Lines of a list in the text; JSON has them all.
const LINES_MAX: usize = 100;
/// A checkpoint beyond this is not read.
const CHECKPOINT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// A slot beyond this is not read.
const SLOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What a file is.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    pub kind: &'static str,
    /// Something in it is not as written.
    pub is_damaged: bool,
    text: String,
    json: Value,
}

/// Looks at a file.
pub fn run(path: &Path) -> Result<Inspected, CannotRun> {
    let cannot = |error: std::io::Error| CannotRun(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(CannotRun(format!("{} is not a file (polylog fsck looks at a whole directory)", path.display())));
    }
    let length = metadata.len();
    let mut source = Source { file: &mut file, length };
    let start = source.read(0, PAGE_BYTES as u64).map_err(cannot)?;
    let mut inspected = match head::kind_of(&start) {
        Some(BlobKind::Segment) => segment(&mut source, &start).map_err(cannot)?,
        Some(BlobKind::Checkpoint) => checkpoint(&mut source).map_err(cannot)?,
        None if start.starts_with(b"PLWS") => log_slot(&mut source).map_err(cannot)?,
        None if start.starts_with(b"PLID") => identity(&start),
        None | Some(BlobKind::Slot) => unknown(&start, length),
    };
    inspected.text = format!("{}: {}, {}\n{}", path.display(), inspected.kind, bytes(length), inspected.text);
    inspected.json["file"] = json!(path.display().to_string());
    inspected.json["kind"] = json!(inspected.kind);
    inspected.json["bytes"] = json!(length);
    inspected.json["damaged"] = json!(inspected.is_damaged);
    Ok(inspected)
}

/// A file read by position.
struct Source<'a> {
    file: &'a mut File,
    length: u64,
}

impl Source<'_> {
    /// Up to `length` bytes, fewer at the end.
    fn read(&mut self, at: u64, length: u64) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.file.seek(SeekFrom::Start(at))?;
        self.file.take(length).read_to_end(&mut out)?;
        Ok(out)
    }
}

fn identity(start: &[u8]) -> Inspected {
    match identity::decode(start) {
        Ok(identity) => {
            let cluster_id = base64_url(&identity.cluster_id);
            let state = if identity.made { "made" } else { "being made: the next start makes its logs" };
            Inspected {
                kind: "identity",
                is_damaged: false,
                text: format!("cluster {cluster_id}\n{}\n{state}\n", count(u64::from(identity.shard_count), "shard")),
                json: json!({ "cluster_id": cluster_id, "shards": identity.shard_count, "made": identity.made }),
            }
        }
        Err(error) => damaged("identity", error.to_string()),
    }
}

fn damaged(kind: &'static str, error: String) -> Inspected {
    Inspected { kind, is_damaged: true, text: format!("{error}\n"), json: json!({ "error": error }) }
}

fn unknown(start: &[u8], length: u64) -> Inspected {
    let what = if length == 0 {
        "it is empty".to_owned()
    } else if start.iter().all(|byte| *byte == 0) {
        "it begins with zeros, as a log slot that is being prepared does".to_owned()
    } else {
        let first: Vec<String> = start.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("it begins with {}", first.join(" "))
    };
    Inspected {
        kind: "not a file of a data directory",
        is_damaged: true,
        text: format!("{what}\n"),
        json: json!({ "error": what }),
    }
}

fn head_lines(head: &FileHead) -> (String, Value) {
    let text = format!(
        "says it is {}, format {}, written in epoch {}, features {:#x} (must be known) {:#x} (may be ignored)\n",
        head.name, head.version, head.epoch, head.incompatible, head.compatible
    );
    let json = json!({
        "name": head.name.to_string(),
        "shard": head.name.shard.0,
        "number": head.name.number,
        "format": head.version,
        "epoch": head.epoch.0,
    });
    (text, json)
}

fn segment(source: &mut Source<'_>, start: &[u8]) -> std::io::Result<Inspected> {
    let head = match FileHead::decode(start) {
        Ok(head) => head,
        Err(error) => return Ok(damaged("segment", error.to_string())),
    };
    let name = head.name;
    let (mut text, mut json) = head_lines(&head);
    let mut is_damaged = false;
    match segment_index(source, name)? {
        Ok(index) => {
            text.push_str(&format!(
                "{} of batches in {}, {}\n",
                bytes(index.data_bytes),
                count(index.runs.len() as u64, "run"),
                count(index.blocks.len() as u64, "block")
            ));
            let slots: Vec<String> = index.slots.iter().map(|lent| lent.slot.to_string()).collect();
            if !slots.is_empty() {
                text.push_str(&format!("batches in log slots {} besides, which fsck looks at\n", slots.join(", ")));
            }
            let mut runs = Vec::new();
            let mut rotten = 0u64;
            for run in &index.runs {
                let mut blocks = Vec::new();
                let mut rotten_in_run = 0u64;
                for block in index.blocks_of(run) {
                    let check = match block.place.slot() {
                        None => block.check(name, &source.read(block.pos(), u64::from(block.bytes))?),
                        Some(_) => Ok(()),
                    };
                    rotten_in_run += u64::from(check.is_err());
                    blocks.push(json!({
                        "first_offset": block.first_offset.0,
                        "slot": block.place.slot(),
                        "at": block.pos(),
                        "bytes": block.bytes,
                        "max_timestamp_ms": block.max_timestamp_ms,
                        "crc": format!("{:08x}", block.crc),
                        "error": check.err().map(|corrupt| corrupt.why),
                    }));
                }
                rotten += rotten_in_run;
                let line = format!(
                    "  partition {} offsets {}..={} at byte {}, {} in {}, newest {} ms{}\n",
                    run.partition,
                    run.first_offset,
                    run.last_offset,
                    run.pos,
                    bytes(run.bytes),
                    count(u64::from(run.block_count), "block"),
                    run.max_timestamp_ms,
                    if rotten_in_run > 0 {
                        format!(", {} ROTTEN", count(rotten_in_run, "block"))
                    } else {
                        String::new()
                    },
                );
                if runs.len() < LINES_MAX {
                    text.push_str(&line);
                }
                runs.push(json!({
                    "partition": run.partition.0,
                    "first_offset": run.first_offset.0,
                    "last_offset": run.last_offset.0,
                    "at": run.pos,
                    "bytes": run.bytes,
                    "max_timestamp_ms": run.max_timestamp_ms,
                    "blocks": blocks,
                }));
            }
            text.push_str(&left_out(runs.len()));
            is_damaged |= rotten > 0;
            json["data_bytes"] = json!(index.data_bytes);
            json["slots"] = json!(index.slots.iter().map(|lent| lent.slot).collect::<Vec<_>>());
            json["rotten_blocks"] = json!(rotten);
            json["runs"] = Value::Array(runs);
        }
        Err(error) => {
            is_damaged = true;
            text.push_str(&format!("{error}\n"));
            json["error"] = json!(error.to_string());
        }
    }
    Ok(Inspected { kind: "segment", is_damaged, text, json })
}

fn segment_index(source: &mut Source<'_>, name: BlobName) -> std::io::Result<Result<SegmentIndex, FormatError>> {
    let length = source.length;
    let tail = source.read(length.saturating_sub(HEAD_BYTES as u64), HEAD_BYTES as u64)?;
    let trailer = match Trailer::decode(&tail, name, length) {
        Ok(trailer) => trailer,
        Err(error) => return Ok(Err(error)),
    };
    let (at, footer_bytes) = trailer.footer();
    let footer = source.read(at, footer_bytes)?;
    Ok(decode_footer(&trailer, &footer, length))
}

fn left_out(lines: usize) -> String {
    if lines > LINES_MAX {
        format!("  ... and {} more (--json has all)\n", thousands((lines - LINES_MAX) as u64))
    } else {
        String::new()
    }
}

fn log_slot(source: &mut Source<'_>) -> std::io::Result<Inspected> {
    if source.length > SLOT_BYTES_MAX {
        return Ok(damaged("log slot", format!("larger than {}, not read", bytes(SLOT_BYTES_MAX))));
    }
    let slot = inspect_slot(&source.read(0, source.length)?, None);
    let (mut text, mut json) = (String::new(), json!({}));
    let mut is_damaged = true;
    match &slot.page {
        SlotPage::Header(header, _) => {
            is_damaged = header.slot_bytes > slot.file_bytes;
            let cluster_id = base64_url(&header.cluster_id);
            text.push_str(&format!(
                "slot {} of shard {}, cluster {cluster_id}, {}\n",
                header.slot,
                header.shard,
                if header.life.epoch.0 == 0 {
                    "prepared, not yet used".to_owned()
                } else {
                    format!("epoch {}, turn {}, first frame {}", header.life.epoch, header.life.turn, header.base)
                },
            ));
            if header.copies_through.0 > 0 {
                text.push_str(&format!("frames up to {} are copies from older slots\n", header.copies_through));
            }
            if is_damaged {
                text.push_str(&format!("the file is cut short: its header says {} bytes\n", header.slot_bytes));
            }
            json = json!({
                "cluster_id": cluster_id,
                "shard": header.shard.0,
                "slot": header.slot,
                "epoch": header.life.epoch.0,
                "turn": header.life.turn,
                "first_frame": header.base.0,
                "copies_through": header.copies_through.0,
                "slot_bytes": header.slot_bytes,
            });
        }
        SlotPage::Blank => text.push_str("no header was written yet\n"),
        SlotPage::Bad(why) => text.push_str(&format!("{why}; without a header no frame can be told from chance\n")),
        SlotPage::Newer(feature) => {
            text.push_str(&format!("written by a newer version: {feature} is not known to this one\n"))
        }
    }
    is_damaged |= slot.frames.iter().any(|frame| frame.state == FrameState::Rotten);
    let shown: Vec<&FrameReport> = slot.frames.iter().filter(|frame| frame.state != FrameState::Stale).collect();
    let stale = (slot.frames.len() - shown.len()) as u64;
    text.push_str(&format!("{}, {} of earlier lives\n", count(shown.len() as u64, "frame"), thousands(stale)));
    for frame in shown.iter().take(LINES_MAX) {
        text.push_str(&format!("  byte {}: {}\n", frame.at, frame_text(frame)));
    }
    text.push_str(&left_out(shown.len()));
    json["frames"] = slot
        .frames
        .iter()
        .map(|frame| {
            json!({
                "at": frame.at,
                "bytes": frame.bytes,
                "state": state_word(frame.state),
                "kind": frame.kind.map(kind_word),
                "lsn": frame.lsn.0,
                "durable": frame.durable.0,
                "epoch": frame.life.map(|life| life.epoch.0),
                "body_bytes": frame.body_bytes,
            })
        })
        .collect();
    Ok(Inspected { kind: "log slot", is_damaged, text, json })
}

fn frame_text(frame: &FrameReport) -> String {
    match frame.kind {
        Some(FrameKind::Data) => {
            format!(
                "frame {}, body of {}, durable up to {}",
                frame.lsn,
                bytes(u64::from(frame.body_bytes)),
                frame.durable
            )
        }
        Some(FrameKind::Proof) => format!("proof that frame {} is durable", frame.durable),
        None => format!("frame {} is due here and is {}", frame.lsn, state_word(frame.state)),
    }
}

fn state_word(state: FrameState) -> &'static str {
    match state {
        FrameState::Good => "good",
        FrameState::Stale => "stale",
        FrameState::Torn => "torn",
        FrameState::Rotten => "rotten",
    }
}

fn kind_word(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Data => "data",
        FrameKind::Proof => "proof",
    }
}

fn checkpoint(source: &mut Source<'_>) -> std::io::Result<Inspected> {
    if source.length > CHECKPOINT_BYTES_MAX {
        return Ok(damaged("checkpoint", format!("larger than {}, not read", bytes(CHECKPOINT_BYTES_MAX))));
    }
    let file = source.read(0, source.length)?;
    let head = match FileHead::decode(&file) {
        Ok(head) => head,
        Err(error) => return Ok(damaged("checkpoint", error.to_string())),
    };
    let (mut text, mut json) = head_lines(&head);
    let remains = checkpoint::salvage(&file, head.name);
    if let Some(state) = &remains.state {
        let kind = if state.is_base {
            "base".to_owned()
        } else {
            format!("delta on {:?} of base {}", state.previous.unwrap_or(0), state.base_number)
        };
        text.push_str(&format!(
            "{kind}, state as of frame {}, {}\n",
            state.lsn,
            count(state.segments.len() as u64, "live segment")
        ));
        json["base"] = json!(state.is_base);
        json["base_number"] = json!(state.base_number);
        json["previous"] = json!(state.previous);
        json["lsn"] = json!(state.lsn.0);
        json["segments"] = json!(state.segments);
    }
    let mut is_damaged = !remains.damage.is_empty();
    text.push_str(&format!("{}\n", count(remains.objects.len() as u64, "object")));
    let mut objects = Vec::new();
    for (key, value) in &remains.objects {
        let shown = match value.as_ref().map(|value| Object::decode(key, value)) {
            None => "gone".to_owned(),
            Some(Ok(object)) => object_text(&object),
            Some(Err(error)) => {
                is_damaged = true;
                error.to_string()
            }
        };
        let key_text: String = key.key.iter().map(|byte| format!("{byte:02x}")).collect();
        if objects.len() < LINES_MAX {
            text.push_str(&format!("  {} {key_text}: {shown}\n", object_kind(key.kind)));
        }
        objects.push(json!({
            "kind": key.kind,
            "key": key_text,
            "bytes": value.as_ref().map(Vec::len),
            "value": shown,
        }));
    }
    text.push_str(&left_out(objects.len()));
    for error in &remains.damage {
        text.push_str(&format!("{error}\n"));
    }
    json["objects"] = Value::Array(objects);
    json["errors"] = json!(remains.damage.iter().map(ToString::to_string).collect::<Vec<_>>());
    Ok(Inspected { kind: "checkpoint", is_damaged, text, json })
}

fn object_kind(kind: u8) -> String {
    match kind {
        1 => "meta".to_owned(),
        2 => "topic".to_owned(),
        3 => "hosted topic".to_owned(),
        4 => "partition".to_owned(),
        5 => "note".to_owned(),
        6 => "spill".to_owned(),
        kind => format!("kind {kind}"),
    }
}

fn object_text(object: &Object) -> String {
    match object {
        Object::Meta { partition_next, producer_next } => {
            format!("next partition {partition_next}, next producer {producer_next}")
        }
        Object::Topic(topic) => {
            let partitions: Vec<String> = topic
                .partitions
                .iter()
                .take(16)
                .map(|placement| format!("{} in shard {}", placement.partition, placement.shard))
                .collect();
            let more = if topic.partitions.len() > partitions.len() { ", ..." } else { "" };
            format!(
                "{:?} {} namespace {} partitions [{}{more}]",
                topic.name,
                topic.id,
                topic.namespace,
                partitions.join(", ")
            )
        }
        Object::Hosted(hosted) => format!("{:?} {} namespace {}", hosted.name, hosted.topic, hosted.namespace),
        Object::Partition(partition) => format!(
            "{} of topic {} index {}, offsets {}..{}, {}, {}",
            partition.row.partition,
            partition.topic,
            partition.row.index,
            partition.start,
            partition.next,
            count(partition.epochs.len() as u64, "leader epoch"),
            count(partition.producers.len() as u64, "producer"),
        ),
        Object::Compacted(id, compacted) => {
            let Compacted { segment, replaced, clean, tombstones_due_ms } = compacted;
            let due = tombstones_due_ms.map_or("-".to_owned(), |ms| ms.to_string());
            format!(
                "partition {id} below {replaced} in segment {segment}, compacted below {clean}, tombstones due ms {due}"
            )
        }
        Object::Spill { segment_next } => format!("next segment {segment_next}"),
        Object::Note { which, key, value } => coordinator::note_text(*which, key, value)
            .unwrap_or_else(|| format!("coordinator {which}, key of {} B, value of {} B", key.len(), value.len())),
    }
}

impl Inspected {
    /// 0: as written. 1: damaged, or nothing that is known.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.is_damaged)
    }

    pub fn to_text(&self) -> String {
        self.text.clone()
    }

    pub fn to_json(&self) -> Value {
        self.json.clone()
    }
}
