// SPDX-License-Identifier: Apache-2.0
//! A segment: many partitions' record batches, sorted, with an index and a checksum a block in the footer.
//!
//! Owns: the layout of the file around the batches. Must not know: what is in a batch, who reads.
//!
//! Invariants:
//!   1. Batches stand back to back and whole, sorted by (partition, offset); offsets may have gaps, never overlap.
//!   2. Runs and blocks cover the data area without holes: a run is the next one's start, so positions are not stored.
//!   3. Every byte of the file is covered by exactly one checksum: head, blocks, sections, table, trailer.
//!
//! A *placed* segment (`segment/placed.rs`) is a footer behind bytes that somebody else laid out. Its footer is sorted and checked as any; its
//! blocks stand where section 3 says, never over one another, and what stands between them is not the segment's.
//!
//! Layout (little-endian):
//! ```text
//! head 64 B (head.rs)
//! data: [run: [block: batches back to back]...]...       a block is whole batches of one run, about 64 KiB; a larger batch is one
//! sections, back to back, in the order of the table
//! table: a section each { tag u32 | flags u32 (1 = must be understood) | at u64 | bytes u64 | crc32c u32 | zero u32 }
//! trailer 64 B: 0 magic 8 B | 8 version u16 | 10 sections u16 | 12 shard u32 | 16 incompatible u32 | 20 compatible u32
//!              24 number u64 | 32 sections at u64 | 40 table at u64 | 48 runs u32 | 52 blocks u32 | 56 crc of table u32
//!              60 crc32c u32 of bytes 0..60
//!
//! section 1, runs, a run each:    partition - that of the run before varint | first offset, or (same partition) its distance
//!                                 from the last offset before, less one varint | last - first offset varint | blocks varint
//! section 2, blocks, a block each: first offset - that of the block before in its run (the first: nothing) varint
//!                                 bytes varint | max timestamp - that of the block before, zigzag varint | crc32c u32
//! section 3, places (with incompatible feature 1, and only then), a block each: position in the file varint
//! ```

use crate::format::FormatError;
use crate::format::v1::head::{self, FileHead, HEAD_BYTES, SEGMENT_MAGIC};
use bytes::Bytes;
use model::limits::BLOCK_BYTES;
use model::media::{BlobKind, BlobName};
use model::planted::{Bug, planted};
use model::{Corrupt, Offset, PartitionId, ShardEpoch, ShardId, crc, varint};

/// Where the data area starts.
pub const DATA_START: u64 = HEAD_BYTES as u64;
/// Small batches are gathered into parts of this size, so that writing them takes few and long system calls.
pub const PART_BYTES: usize = 1024 * 1024;
/// A batch this large is a block of its own and is passed on without a copy.
pub const ALONE_BYTES: usize = BLOCK_BYTES / 2;

const TABLE_ENTRY_BYTES: usize = 32;
const SECTION_RUNS: u32 = 1;
const SECTION_BLOCKS: u32 = 2;
const SECTION_PLACES: u32 = 3;
const SECTION_MUST_BE_UNDERSTOOD: u32 = 1;
/// Incompatible feature of a trailer: the file has no head of its own, and its blocks stand where section 3 says.
const FEATURE_PLACED: u32 = 1;

/// What is kept in memory of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    pub number: u64,
    /// Bytes of the data area: record batches, and in a placed segment what stands between them.
    pub data_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Sorted by partition, then by first offset.
    pub runs: Vec<Run>,
    /// All runs' blocks, in the order of the runs.
    pub blocks: Vec<Block>,
}

/// One partition's contiguous piece of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub partition: PartitionId,
    pub first_offset: Offset,
    /// Of the last record.
    pub last_offset: Offset,
    /// Position in the file.
    pub pos: u64,
    pub bytes: u64,
    pub max_timestamp_ms: i64,
    /// Its blocks in [`SegmentIndex::blocks`].
    pub block_first: u32,
    pub block_count: u32,
}

/// Whole batches that are read and checked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub first_offset: Offset,
    /// Position in the file.
    pub pos: u64,
    pub bytes: u32,
    pub crc: u32,
    pub max_timestamp_ms: i64,
}

impl SegmentIndex {
    /// The runs of a partition, by offset.
    pub fn runs_of(&self, partition: PartitionId) -> &[Run] {
        let from = self.runs.partition_point(|run| run.partition < partition);
        let count = self.runs[from..].partition_point(|run| run.partition == partition);
        &self.runs[from..from + count]
    }

    /// The blocks of one of this segment's runs, by offset.
    pub fn blocks_of(&self, run: &Run) -> &[Block] {
        let from = run.block_first as usize;
        self.blocks.get(from..from.saturating_add(run.block_count as usize)).unwrap_or(&[])
    }

    /// The blocks of a run from the one that `offset` may stand in. (With gaps, the record may begin in the next.)
    pub fn blocks_from(&self, run: &Run, offset: Offset) -> &[Block] {
        let blocks = self.blocks_of(run);
        let from = blocks.partition_point(|block| block.first_offset <= offset).saturating_sub(1);
        &blocks[from..]
    }

    /// The blocks of a run from the first that holds a record of that time or later.
    pub fn blocks_from_timestamp(&self, run: &Run, timestamp_ms: i64) -> &[Block] {
        let blocks = self.blocks_of(run);
        let from = blocks.iter().position(|block| block.max_timestamp_ms >= timestamp_ms).unwrap_or(blocks.len());
        &blocks[from..]
    }
}

impl Block {
    /// Position of the byte behind it. Blocks that were read or written fit their file, so this does not overflow.
    pub fn end(&self) -> u64 {
        self.pos + u64::from(self.bytes)
    }

    /// Checks the bytes read for this block of the segment `name`. Only bytes that pass are served.
    pub fn check(&self, name: BlobName, bytes: &[u8]) -> Result<(), Corrupt> {
        if planted(Bug::RottenBlockServed) {
            return Ok(());
        }
        let why = if bytes.len() != self.bytes as usize {
            format!("block of {} bytes, {} were read", self.bytes, bytes.len())
        } else {
            let found = crc::crc32c(bytes);
            if found == self.crc {
                return Ok(());
            }
            format!("checksum of the block's {} bytes is {found:#010x}, stated {:#010x}", self.bytes, self.crc)
        };
        Err(Corrupt { name: name.to_string(), at: self.pos, why })
    }
}

/// Lays a segment out, batch by batch.
#[derive(Debug)]
pub struct SegmentWriter {
    head: FileHead,
    parts: Vec<Bytes>,
    /// Small batches gathered for the next part; a block is never split over two.
    staged: Vec<u8>,
    /// Where in `staged` the open block begins, if one is open (it is then the last of `index.blocks`).
    block_from: Option<usize>,
    run_ended: bool,
    /// The next byte's position in the file.
    pos: u64,
    index: SegmentIndex,
}

impl SegmentWriter {
    pub fn new(name: BlobName, epoch: ShardEpoch) -> SegmentWriter {
        assert!(name.kind == BlobKind::Segment, "{name} is no segment's name");
        let head = FileHead::new(name, epoch);
        let mut staged = Vec::with_capacity(PART_BYTES + BLOCK_BYTES);
        staged.extend_from_slice(&head.encode());
        let index = SegmentIndex { number: name.number, ..SegmentIndex::default() };
        SegmentWriter { head, parts: Vec::new(), staged, block_from: None, run_ended: false, pos: DATA_START, index }
    }

    /// Adds one whole batch. Batches come sorted by partition and offset.
    ///
    /// # Panics
    /// When they do not, or when a batch is empty: a segment that says so would be served wrongly for ever.
    pub fn push(
        &mut self,
        partition: PartitionId,
        batch: &Bytes,
        base_offset: Offset,
        last_offset: Offset,
        timestamp_ms: i64,
    ) {
        assert!(!batch.is_empty() && last_offset >= base_offset, "a batch has bytes and records");
        let new_run = match self.index.runs.last() {
            Some(run) if run.partition == partition => {
                assert!(base_offset > run.last_offset, "batches of a partition come by offset");
                self.run_ended
            }
            Some(run) => {
                assert!(partition > run.partition, "partitions come by id");
                true
            }
            None => true,
        };
        self.run_ended = false;
        let alone = batch.len() >= ALONE_BYTES;
        let fits = self.block_from.is_some_and(|from| self.staged.len() - from + batch.len() <= BLOCK_BYTES);
        if new_run || alone || !fits {
            self.close_block();
        }
        if new_run {
            self.index.runs.push(Run {
                partition,
                first_offset: base_offset,
                last_offset,
                pos: self.pos,
                bytes: 0,
                max_timestamp_ms: timestamp_ms,
                block_first: self.index.blocks.len() as u32,
                block_count: 0,
            });
        }
        let opens_block = alone || self.block_from.is_none();
        let run = self.index.runs.last_mut().expect("a run is open");
        run.last_offset = last_offset;
        run.bytes += batch.len() as u64;
        run.max_timestamp_ms = run.max_timestamp_ms.max(timestamp_ms);
        run.block_count += u32::from(opens_block);
        if opens_block {
            self.index.blocks.push(Block {
                first_offset: base_offset,
                pos: self.pos,
                bytes: batch.len() as u32,
                crc: 0,
                max_timestamp_ms: timestamp_ms,
            });
        } else if let Some(open) = self.index.blocks.last_mut() {
            open.bytes += batch.len() as u32;
            open.max_timestamp_ms = open.max_timestamp_ms.max(timestamp_ms);
        }
        self.pos += batch.len() as u64;
        if alone {
            if let Some(block) = self.index.blocks.last_mut() {
                block.crc = crc::crc32c(batch);
            }
            self.flush();
            self.parts.push(batch.clone());
            return;
        }
        if opens_block {
            if self.staged.len() >= PART_BYTES {
                self.flush();
            }
            self.block_from = Some(self.staged.len());
        }
        self.staged.extend_from_slice(batch);
    }

    /// Takes what is laid out and does not change any more.
    pub fn take_parts(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.parts)
    }

    /// No batch was added.
    pub fn is_empty(&self) -> bool {
        self.index.runs.is_empty()
    }

    /// The next batch begins a run of its own, though it is of the same partition: what lies between stands in another segment, or
    /// is lost.
    pub fn end_run(&mut self) {
        self.close_block();
        self.run_ended = true;
    }

    /// Writes the footer. The parts one after another are the file.
    pub fn finish(mut self) -> (Vec<Bytes>, SegmentIndex) {
        self.close_block();
        self.index.data_bytes = self.pos - DATA_START;
        let footer = encode_footer(&self.head, &self.index, false);
        self.index.file_bytes = self.pos + footer.len() as u64;
        self.staged.extend_from_slice(&footer);
        self.flush();
        (self.parts, self.index)
    }

    fn close_block(&mut self) {
        if let (Some(from), Some(block)) = (self.block_from.take(), self.index.blocks.last_mut()) {
            block.crc = crc::crc32c(&self.staged[from..]);
        }
    }

    fn flush(&mut self) {
        if !self.staged.is_empty() {
            let room = Vec::with_capacity(PART_BYTES + BLOCK_BYTES);
            self.parts.push(std::mem::replace(&mut self.staged, room).into());
        }
    }
}

fn encode_footer(head: &FileHead, index: &SegmentIndex, is_placed: bool) -> Vec<u8> {
    let mut runs = Vec::with_capacity(index.runs.len() * 8);
    let mut before: Option<&Run> = None;
    for run in &index.runs {
        varint::write_u64(&mut runs, run.partition.0 - before.map_or(0, |before| before.partition.0));
        let distance = match before {
            Some(before) if before.partition == run.partition => run.first_offset.0 - before.last_offset.0 - 1,
            _ => run.first_offset.0,
        };
        varint::write_u64(&mut runs, distance);
        varint::write_u64(&mut runs, run.last_offset.0 - run.first_offset.0);
        varint::write_u64(&mut runs, u64::from(run.block_count));
        before = Some(run);
    }
    let mut blocks = Vec::with_capacity(index.blocks.len() * 16);
    let mut timestamp_before = 0;
    for run in &index.runs {
        let mut before = run.first_offset;
        for (at, block) in index.blocks_of(run).iter().enumerate() {
            if at > 0 {
                varint::write_u64(&mut blocks, block.first_offset.0 - before.0);
            }
            varint::write_u64(&mut blocks, u64::from(block.bytes));
            varint::write_i64(&mut blocks, block.max_timestamp_ms.wrapping_sub(timestamp_before));
            blocks.extend_from_slice(&block.crc.to_le_bytes());
            before = block.first_offset;
            timestamp_before = block.max_timestamp_ms;
        }
    }

    let sections_at = DATA_START + index.data_bytes;
    let mut places = Vec::new();
    for block in index.blocks.iter().filter(|_| is_placed) {
        varint::write_u64(&mut places, block.pos);
    }
    let mut table = Vec::new();
    let mut out = Vec::with_capacity(runs.len() + blocks.len() + places.len() + 3 * TABLE_ENTRY_BYTES + HEAD_BYTES);
    let sections = [(SECTION_RUNS, &runs), (SECTION_BLOCKS, &blocks), (SECTION_PLACES, &places)];
    let sections = &sections[..if is_placed { 3 } else { 2 }];
    for (tag, section) in sections {
        table.extend_from_slice(&tag.to_le_bytes());
        table.extend_from_slice(&SECTION_MUST_BE_UNDERSTOOD.to_le_bytes());
        table.extend_from_slice(&(sections_at + out.len() as u64).to_le_bytes());
        table.extend_from_slice(&(section.len() as u64).to_le_bytes());
        table.extend_from_slice(&crc::crc32c(section).to_le_bytes());
        table.extend_from_slice(&[0; 4]);
        out.extend_from_slice(section);
    }
    let trailer = Trailer {
        name: head.name,
        is_placed,
        sections: sections.len() as u16,
        sections_at,
        table_at: sections_at + out.len() as u64,
        runs: index.runs.len() as u32,
        blocks: index.blocks.len() as u32,
        table_crc: crc::crc32c(&table),
    };
    out.extend_from_slice(&table);
    out.extend_from_slice(&trailer.encode(head));
    out
}

/// The last 64 bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub name: BlobName,
    /// The file has no head of its own: blocks stand where a section says.
    pub is_placed: bool,
    pub sections: u16,
    /// Where the data area ends and the footer begins.
    pub sections_at: u64,
    pub table_at: u64,
    pub runs: u32,
    pub blocks: u32,
    pub table_crc: u32,
}

impl Trailer {
    fn encode(&self, head: &FileHead) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..10].copy_from_slice(&head.version.to_le_bytes());
        out[10..12].copy_from_slice(&self.sections.to_le_bytes());
        out[12..16].copy_from_slice(&self.name.shard.0.to_le_bytes());
        let placed = if self.is_placed { FEATURE_PLACED } else { 0 };
        out[16..20].copy_from_slice(&(head.incompatible | placed).to_le_bytes());
        out[20..24].copy_from_slice(&head.compatible.to_le_bytes());
        out[24..32].copy_from_slice(&self.name.number.to_le_bytes());
        out[32..40].copy_from_slice(&self.sections_at.to_le_bytes());
        out[40..48].copy_from_slice(&self.table_at.to_le_bytes());
        out[48..52].copy_from_slice(&self.runs.to_le_bytes());
        out[52..56].copy_from_slice(&self.blocks.to_le_bytes());
        out[56..60].copy_from_slice(&self.table_crc.to_le_bytes());
        head::seal(&mut out);
        out
    }

    /// Reads the last 64 bytes of a segment of `file_bytes`.
    pub fn decode(bytes: &[u8], name: BlobName, file_bytes: u64) -> Result<Trailer, FormatError> {
        let at = file_bytes.saturating_sub(HEAD_BYTES as u64);
        if file_bytes < DATA_START + HEAD_BYTES as u64 {
            return Err(FormatError::damaged(file_bytes, "the file is too short for a segment"));
        }
        let bytes: &[u8; HEAD_BYTES] =
            bytes.first_chunk().ok_or_else(|| FormatError::damaged(at, "the file ends before its trailer does"))?;
        if !bytes.starts_with(&SEGMENT_MAGIC) {
            return Err(FormatError::damaged(
                at,
                "no trailer stands at the end of the file: it is cut short or overwritten",
            ));
        }
        head::check_seal(bytes, at)?;
        let incompatible = head::u32_at(bytes, 16);
        head::check_version(head::u16_at(bytes, 8), incompatible, FEATURE_PLACED)?;
        let trailer = Trailer {
            is_placed: incompatible & FEATURE_PLACED != 0,
            name: BlobName {
                shard: ShardId(head::u32_at(bytes, 12)),
                kind: BlobKind::Segment,
                number: head::u64_at(bytes, 24),
            },
            sections: head::u16_at(bytes, 10),
            sections_at: head::u64_at(bytes, 32),
            table_at: head::u64_at(bytes, 40),
            runs: head::u32_at(bytes, 48),
            blocks: head::u32_at(bytes, 52),
            table_crc: head::u32_at(bytes, 56),
        };
        if trailer.name != name {
            return Err(FormatError::damaged(at, format!("the trailer says it is {}", trailer.name)));
        }
        let table_bytes = u64::from(trailer.sections) * TABLE_ENTRY_BYTES as u64;
        if trailer.sections_at < DATA_START
            || trailer.table_at < trailer.sections_at
            || trailer.table_at.checked_add(table_bytes) != Some(at)
        {
            return Err(FormatError::damaged(at, "the trailer's positions do not fit the file"));
        }
        Ok(trailer)
    }

    /// What a placed segment's last 64 bytes say it is; `None` when they are not those of one.
    pub fn placed_name(bytes: &[u8]) -> Option<BlobName> {
        let bytes: &[u8; HEAD_BYTES] = bytes.first_chunk().filter(|bytes| bytes.starts_with(&SEGMENT_MAGIC))?;
        let is_placed = head::check_seal(bytes, 0).is_ok() && head::u32_at(bytes, 16) & FEATURE_PLACED != 0;
        is_placed.then_some(BlobName {
            shard: ShardId(head::u32_at(bytes, 12)),
            kind: BlobKind::Segment,
            number: head::u64_at(bytes, 24),
        })
    }

    /// Position and length of what [`decode_footer`] wants.
    pub fn footer(&self) -> (u64, u64) {
        (self.sections_at, self.table_at - self.sections_at + u64::from(self.sections) * TABLE_ENTRY_BYTES as u64)
    }
}

/// One row of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    pub tag: u32,
    pub must_be_understood: bool,
    pub at: u64,
    pub bytes: u64,
}

/// Reads the section table and checks every section, known or not. `footer` are the bytes at [`Trailer::footer`].
pub fn decode_sections<'a>(trailer: &Trailer, footer: &'a [u8]) -> Result<Vec<(Section, &'a [u8])>, FormatError> {
    let (sections_bytes, at) = ((trailer.table_at - trailer.sections_at) as usize, trailer.table_at);
    let (mut rest, table) = footer
        .split_at_checked(sections_bytes)
        .filter(|(_, table)| table.len() == usize::from(trailer.sections) * TABLE_ENTRY_BYTES)
        .ok_or_else(|| FormatError::damaged(at, "the footer is cut short"))?;
    if crc::crc32c(table) != trailer.table_crc {
        return Err(FormatError::damaged(at, "checksum of the section table"));
    }
    let mut sections = Vec::new();
    let mut section_at = trailer.sections_at;
    for (row, entry) in table.chunks_exact(TABLE_ENTRY_BYTES).enumerate() {
        let row_at = at + (row * TABLE_ENTRY_BYTES) as u64;
        let field = |from: usize| {
            entry
                .get(from..from + 4)
                .map_or(0, |four| four.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        };
        let wide = |from: usize| u64::from(field(from)) | u64::from(field(from + 4)) << 32;
        let section = Section {
            tag: field(0),
            must_be_understood: field(4) & SECTION_MUST_BE_UNDERSTOOD != 0,
            at: wide(8),
            bytes: wide(16),
        };
        let bytes =
            usize::try_from(section.bytes).ok().filter(|bytes| section.at == section_at && *bytes <= rest.len());
        let Some(bytes) = bytes else {
            return Err(FormatError::damaged(
                row_at,
                "a section does not begin where the one before ends, or goes too far",
            ));
        };
        let (body, after) = rest.split_at(bytes);
        if crc::crc32c(body) != field(24) {
            return Err(FormatError::damaged(section.at, format!("checksum of section {}", section.tag)));
        }
        sections.push((section, body));
        (rest, section_at) = (after, section_at + section.bytes);
    }
    if !rest.is_empty() {
        return Err(FormatError::damaged(section_at, "bytes stand between the sections and their table"));
    }
    Ok(sections)
}

/// Reads the index out of the footer: the bytes at [`Trailer::footer`].
pub fn decode_footer(trailer: &Trailer, footer: &[u8], file_bytes: u64) -> Result<SegmentIndex, FormatError> {
    let sections = decode_sections(trailer, footer)?;
    let known = known_sections(trailer, &sections)?;
    assemble(trailer, known, file_bytes)
}

/// What head and trailer of the segment `name` say together: whether it is one, and how to read it. A placed one has no head.
pub fn check_head(head: &[u8], name: BlobName, trailer: Result<Trailer, FormatError>) -> Result<Trailer, FormatError> {
    let is_known = head::kind_of(head).is_some();
    match (FileHead::decode_named(head, name), trailer) {
        (_, Ok(trailer)) if trailer.is_placed => Ok(trailer),
        // Where no head is seen there may be none to be seen.
        (Err(_), Err(error)) if !is_known => Err(error),
        (Err(error), _) => Err(error),
        (Ok(_), trailer) => trailer,
    }
}

/// A section's bytes and where they stand in the file.
type Placed<'a> = (u64, &'a [u8]);

/// The sections that an index is made of.
struct Known<'a> {
    runs: Placed<'a>,
    blocks: Placed<'a>,
    /// Of a placed segment.
    places: Option<Placed<'a>>,
}

/// Finds them. Another one that must be understood was written by a newer version.
fn known_sections<'a>(trailer: &Trailer, sections: &[(Section, &'a [u8])]) -> Result<Known<'a>, FormatError> {
    let (mut runs, mut blocks, mut places) = (None, None, None);
    for (section, body) in sections {
        match section.tag {
            SECTION_RUNS => runs = Some((section.at, *body)),
            SECTION_BLOCKS => blocks = Some((section.at, *body)),
            SECTION_PLACES if trailer.is_placed => places = Some((section.at, *body)),
            tag if section.must_be_understood => {
                return Err(FormatError::Newer { feature: format!("segment section {tag}") });
            }
            _ => {}
        }
    }
    let missing = |what: &str| FormatError::damaged(trailer.table_at, what);
    if trailer.is_placed && places.is_none() {
        return Err(missing("a placed segment has section 3"));
    }
    let runs = runs.ok_or_else(|| missing("a segment has sections 1 and 2"))?;
    let blocks = blocks.ok_or_else(|| missing("a segment has sections 1 and 2"))?;
    Ok(Known { runs, blocks, places })
}

fn assemble(trailer: &Trailer, known: Known<'_>, file_bytes: u64) -> Result<SegmentIndex, FormatError> {
    let ((runs_at, mut run_bytes), (blocks_at, mut block_bytes)) = (known.runs, known.blocks);
    let mut places = known.places;
    let mut index = SegmentIndex {
        number: trailer.name.number,
        data_bytes: trailer.sections_at - DATA_START,
        file_bytes,
        runs: Vec::new(),
        blocks: Vec::new(),
    };
    let mut pos = DATA_START;
    let mut timestamp_before = 0;
    for _ in 0..trailer.runs {
        let run = read_run(&mut run_bytes, index.runs.last())
            .ok_or_else(|| FormatError::damaged(runs_at, format!("run {} makes no sense", index.runs.len())))?;
        let mut run = Run { pos, block_first: index.blocks.len() as u32, ..run };
        let mut first_offset = None;
        for number in 0..run.block_count {
            if let Some((at, bytes)) = &mut places {
                pos = varint::read_u64(bytes).ok_or_else(|| FormatError::damaged(*at, "a block has no place"))?;
            }
            if number == 0 {
                run.pos = pos;
            }
            let block = read_block(&mut block_bytes, &run, first_offset, pos, timestamp_before)
                .filter(|block| block.pos >= DATA_START && block.end() <= trailer.sections_at)
                .ok_or_else(|| {
                    FormatError::damaged(blocks_at, format!("block {} makes no sense", index.blocks.len()))
                })?;
            pos = block.end();
            run.bytes += u64::from(block.bytes);
            run.max_timestamp_ms = run.max_timestamp_ms.max(block.max_timestamp_ms);
            (first_offset, timestamp_before) = (Some(block.first_offset), block.max_timestamp_ms);
            index.blocks.push(block);
        }
        index.runs.push(run);
    }
    let all_read = run_bytes.is_empty() && block_bytes.is_empty() && index.blocks.len() == trailer.blocks as usize;
    let fits = match places {
        Some((_, bytes)) => bytes.is_empty() && placed::is_apart(&index.blocks),
        None => pos == trailer.sections_at,
    };
    if !all_read || !fits {
        return Err(FormatError::damaged(trailer.sections_at, "runs and blocks do not add up to the data"));
    }
    Ok(index)
}

/// Reads a run as far as it is stored; position, bytes and time follow from its blocks.
fn read_run(bytes: &mut &[u8], before: Option<&Run>) -> Option<Run> {
    let distance = varint::read_u64(bytes)?;
    let partition = before.map_or(0, |before| before.partition.0).checked_add(distance)?;
    let mut first = varint::read_u64(bytes)?;
    if let Some(before) = before.filter(|before| before.partition.0 == partition) {
        first = first.checked_add(before.last_offset.0)?.checked_add(1)?;
    }
    let last = first.checked_add(varint::read_u64(bytes)?)?;
    let block_count = varint::read_u32(bytes).filter(|count| *count > 0)?;
    Some(Run {
        partition: PartitionId(partition),
        first_offset: Offset(first),
        last_offset: Offset(last),
        pos: 0,
        bytes: 0,
        max_timestamp_ms: i64::MIN,
        block_first: 0,
        block_count,
    })
}

fn read_block(bytes: &mut &[u8], run: &Run, before: Option<Offset>, pos: u64, timestamp_before: i64) -> Option<Block> {
    let first_offset = match before {
        None => run.first_offset.0,
        Some(before) => before.0.checked_add(varint::read_u64(bytes).filter(|distance| *distance > 0)?)?,
    };
    if first_offset > run.last_offset.0 {
        return None;
    }
    let length = varint::read_u32(bytes).filter(|length| *length > 0)?;
    pos.checked_add(u64::from(length))?;
    let max_timestamp_ms = timestamp_before.wrapping_add(varint::read_i64(bytes)?);
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    let first_offset = Offset(first_offset);
    Some(Block { first_offset, pos, bytes: length, crc: u32::from_le_bytes(*crc), max_timestamp_ms })
}

mod placed;
mod salvage;

pub use placed::PlacedWriter;
pub use salvage::salvage_index;

#[cfg(test)]
mod tests;
