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
//! A block may stand in a slot of the log instead, which was lent for it (`docs/internals/wal.md`): one large batch that is on the medium already,
//! and need not be written again. Section 3 says which, and where. The data area is what the other blocks are, as ever. Slot-standing blocks are never
//! over one another; what stands between them is not the segment's, and under none of its checksums.
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
//! section 3, places (with incompatible feature 1, and only then), a block each: 0, or 1 + the slot varint, then its position there varint
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
/// Incompatible feature of a trailer: some blocks stand in slots of the log, and section 3 says which.
const FEATURE_SLOTS: u32 = 1;

/// What is kept in memory of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    pub number: u64,
    /// Bytes of the data area: record batches.
    pub data_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Sorted by partition, then by first offset.
    pub runs: Vec<Run>,
    /// All runs' blocks, in the order of the runs.
    pub blocks: Vec<Block>,
    /// Slots of the log in which some of them stand, ascending.
    pub slots: Vec<LentBytes>,
}

/// A slot of the log in which a segment's blocks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentBytes {
    pub slot: u32,
    /// Of the file, up to the end of the last block there: what the segment keeps from being used again.
    pub bytes: u64,
}

/// One partition's contiguous piece of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub partition: PartitionId,
    pub first_offset: Offset,
    /// Of the last record.
    pub last_offset: Offset,
    /// Of its first block, in the file in which that stands.
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
    pub place: Place,
    pub bytes: u32,
    pub crc: u32,
    pub max_timestamp_ms: i64,
}

/// Where a block stands: in its segment's data area, or in a slot of the log; and at which byte of that file. One word, because there
/// may be millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// The low bits of a place: 16 TiB are more than a file has. Above them stands 1 + the slot.
const PLACE_POS_BITS: u32 = 44;
/// Slots are numbered below this.
const PLACE_SLOTS_MAX: u32 = (1 << (u64::BITS - PLACE_POS_BITS)) - 1;

impl Place {
    /// In the segment's own file. `None`: no file is so large.
    pub fn own(pos: u64) -> Option<Place> {
        (pos >> PLACE_POS_BITS == 0).then_some(Place(pos))
    }

    /// In a slot of the log. `None`: none has such a number, or is so large.
    pub fn in_slot(slot: u32, pos: u64) -> Option<Place> {
        let Place(pos) = Place::own(pos)?;
        (slot < PLACE_SLOTS_MAX).then_some(Place((u64::from(slot) + 1) << PLACE_POS_BITS | pos))
    }

    /// Position in its file.
    pub fn pos(self) -> u64 {
        self.0 & ((1 << PLACE_POS_BITS) - 1)
    }

    /// The slot, if it is in one.
    pub fn slot(self) -> Option<u32> {
        ((self.0 >> PLACE_POS_BITS) as u32).checked_sub(1)
    }

    /// The place so many bytes further on in the same file.
    fn plus(self, bytes: u32) -> Option<Place> {
        let end = self.pos().checked_add(u64::from(bytes))?;
        Place::own(end).map(|Place(pos)| Place(self.0 - self.pos() + pos))
    }
}

impl SegmentIndex {
    /// Bytes of the slots that it keeps from being used again.
    pub fn slot_bytes(&self) -> u64 {
        self.slots.iter().map(|lent| lent.bytes).sum()
    }

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

/// The slots that blocks stand in, and how far. `None` when two blocks there stand over one another.
fn slots_of(blocks: &[Block]) -> Option<Vec<LentBytes>> {
    let mut places: Vec<(Place, u32)> = blocks.iter().map(|block| (block.place, block.bytes)).collect();
    places.retain(|(place, _)| place.slot().is_some());
    places.sort_unstable();
    let mut slots: Vec<LentBytes> = Vec::new();
    for (place, bytes) in places {
        let (slot, end) = (place.slot()?, place.pos() + u64::from(bytes));
        match slots.last_mut().filter(|last| last.slot == slot) {
            Some(last) if last.bytes > place.pos() => return None,
            Some(last) => last.bytes = end,
            None => slots.push(LentBytes { slot, bytes: end }),
        }
    }
    Some(slots)
}

impl Block {
    /// Position in the file where it stands.
    pub fn pos(&self) -> u64 {
        self.place.pos()
    }

    /// Position of the byte behind it. Blocks that were read or written fit their file, so this does not overflow.
    pub fn end(&self) -> u64 {
        self.pos() + u64::from(self.bytes)
    }

    /// Does it stand right behind `before`?
    pub fn follows(&self, before: &Block) -> bool {
        before.place.plus(before.bytes) == Some(self.place)
    }

    /// The file in which it stands, being a block of the segment `name`.
    pub fn file(&self, name: BlobName) -> BlobName {
        match self.place.slot() {
            Some(slot) => BlobName { shard: name.shard, kind: BlobKind::Slot, number: u64::from(slot) },
            None => name,
        }
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
        Err(Corrupt { name: self.file(name).to_string(), at: self.pos(), why })
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
        self.add(partition, batch, (base_offset, last_offset), timestamp_ms, None);
    }

    /// The same for one that stands in a slot of the log, and stays there.
    ///
    /// # Panics
    /// As `push`, and when `place` is not in a slot.
    pub fn push_lent(
        &mut self,
        partition: PartitionId,
        batch: &Bytes,
        place: Place,
        offsets: (Offset, Offset),
        timestamp_ms: i64,
    ) {
        assert!(place.slot().is_some(), "a batch in the data area is pushed there");
        self.add(partition, batch, offsets, timestamp_ms, Some(place));
    }

    fn add(
        &mut self,
        partition: PartitionId,
        batch: &Bytes,
        (base_offset, last_offset): (Offset, Offset),
        timestamp_ms: i64,
        lent: Option<Place>,
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
        let alone = batch.len() >= ALONE_BYTES || lent.is_some();
        let place = lent.or_else(|| Place::own(self.pos)).expect("no segment is that large");
        let fits = self.block_from.is_some_and(|from| self.staged.len() - from + batch.len() <= BLOCK_BYTES);
        if new_run || alone || !fits {
            self.close_block();
        }
        if new_run {
            self.index.runs.push(Run {
                partition,
                first_offset: base_offset,
                last_offset,
                pos: place.pos(),
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
                place,
                bytes: batch.len() as u32,
                crc: 0,
                max_timestamp_ms: timestamp_ms,
            });
        } else if let Some(open) = self.index.blocks.last_mut() {
            open.bytes += batch.len() as u32;
            open.max_timestamp_ms = open.max_timestamp_ms.max(timestamp_ms);
        }
        if alone && let Some(block) = self.index.blocks.last_mut() {
            block.crc = crc::crc32c(batch);
        }
        if lent.is_some() {
            return;
        }
        self.pos += batch.len() as u64;
        if alone {
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
    ///
    /// # Panics
    /// When batches in a slot stand over one another.
    pub fn finish(mut self) -> (Vec<Bytes>, SegmentIndex) {
        self.close_block();
        self.index.data_bytes = self.pos - DATA_START;
        self.index.slots = slots_of(&self.index.blocks).expect("batches do not overlap");
        let footer = encode_footer(&self.head, &self.index);
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

fn encode_footer(head: &FileHead, index: &SegmentIndex) -> Vec<u8> {
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
    let has_slots = !index.slots.is_empty();
    for block in index.blocks.iter().filter(|_| has_slots) {
        match block.place.slot() {
            None => varint::write_u64(&mut places, 0),
            Some(slot) => {
                varint::write_u64(&mut places, u64::from(slot) + 1);
                varint::write_u64(&mut places, block.pos());
            }
        }
    }
    let mut table = Vec::new();
    let mut out = Vec::with_capacity(runs.len() + blocks.len() + places.len() + 3 * TABLE_ENTRY_BYTES + HEAD_BYTES);
    let sections = [(SECTION_RUNS, &runs), (SECTION_BLOCKS, &blocks), (SECTION_PLACES, &places)];
    let sections = &sections[..if has_slots { 3 } else { 2 }];
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
        has_slots,
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
    /// Some blocks stand in slots of the log.
    pub has_slots: bool,
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
        let slots = if self.has_slots { FEATURE_SLOTS } else { 0 };
        out[16..20].copy_from_slice(&(head.incompatible | slots).to_le_bytes());
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
        head::check_version(head::u16_at(bytes, 8), incompatible, FEATURE_SLOTS)?;
        let trailer = Trailer {
            has_slots: incompatible & FEATURE_SLOTS != 0,
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

/// A section's bytes and where they stand in the file.
type Standing<'a> = (u64, &'a [u8]);

/// The sections that an index is made of.
struct Known<'a> {
    runs: Standing<'a>,
    blocks: Standing<'a>,
    /// Where blocks stand in slots.
    places: Option<Standing<'a>>,
}

/// Finds them. Another one that must be understood was written by a newer version.
fn known_sections<'a>(trailer: &Trailer, sections: &[(Section, &'a [u8])]) -> Result<Known<'a>, FormatError> {
    let (mut runs, mut blocks, mut places) = (None, None, None);
    for (section, body) in sections {
        match section.tag {
            SECTION_RUNS => runs = Some((section.at, *body)),
            SECTION_BLOCKS => blocks = Some((section.at, *body)),
            SECTION_PLACES if trailer.has_slots => places = Some((section.at, *body)),
            tag if section.must_be_understood => {
                return Err(FormatError::Newer { feature: format!("segment section {tag}") });
            }
            _ => {}
        }
    }
    let missing = |what: &str| FormatError::damaged(trailer.table_at, what);
    if trailer.has_slots && places.is_none() {
        return Err(missing("a segment with blocks in slots has section 3"));
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
        ..SegmentIndex::default()
    };
    // Where the next block of the data area stands.
    let mut pos = DATA_START;
    let mut timestamp_before = 0;
    for _ in 0..trailer.runs {
        let run = read_run(&mut run_bytes, index.runs.last())
            .ok_or_else(|| FormatError::damaged(runs_at, format!("run {} makes no sense", index.runs.len())))?;
        let mut run = Run { pos, block_first: index.blocks.len() as u32, ..run };
        let mut first_offset = None;
        for number in 0..run.block_count {
            let nonsense = |at| FormatError::damaged(at, format!("block {} makes no sense", index.blocks.len()));
            let lent = match &mut places {
                Some((at, bytes)) => read_place(bytes).ok_or_else(|| nonsense(*at))?,
                None => None,
            };
            let block = lent
                .or_else(|| Place::own(pos))
                .and_then(|place| read_block(&mut block_bytes, &run, first_offset, place, timestamp_before))
                .filter(|block| lent.is_some() || block.end() <= trailer.sections_at)
                .ok_or_else(|| nonsense(blocks_at))?;
            if lent.is_none() {
                pos = block.end();
            }
            if number == 0 {
                run.pos = block.pos();
            }
            run.bytes += u64::from(block.bytes);
            run.max_timestamp_ms = run.max_timestamp_ms.max(block.max_timestamp_ms);
            (first_offset, timestamp_before) = (Some(block.first_offset), block.max_timestamp_ms);
            index.blocks.push(block);
        }
        index.runs.push(run);
    }
    let all_read = run_bytes.is_empty() && block_bytes.is_empty() && index.blocks.len() == trailer.blocks as usize;
    let fits = pos == trailer.sections_at && places.is_none_or(|(_, bytes)| bytes.is_empty());
    let slots = slots_of(&index.blocks).filter(|_| all_read && fits);
    index.slots = slots.ok_or_else(|| {
        FormatError::damaged(
            trailer.sections_at,
            "runs and blocks do not add up to the data, or stand over one another",
        )
    })?;
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

/// Where a block stands in a slot. `Some(None)`: it is in the data area.
fn read_place(bytes: &mut &[u8]) -> Option<Option<Place>> {
    match varint::read_u64(bytes)?.checked_sub(1) {
        None => Some(None),
        Some(slot) => Some(Some(Place::in_slot(u32::try_from(slot).ok()?, varint::read_u64(bytes)?)?)),
    }
}

fn read_block(
    bytes: &mut &[u8],
    run: &Run,
    before: Option<Offset>,
    place: Place,
    timestamp_before: i64,
) -> Option<Block> {
    let first_offset = match before {
        None => run.first_offset.0,
        Some(before) => before.0.checked_add(varint::read_u64(bytes).filter(|distance| *distance > 0)?)?,
    };
    if first_offset > run.last_offset.0 {
        return None;
    }
    let length = varint::read_u32(bytes).filter(|length| *length > 0)?;
    place.plus(length)?;
    let max_timestamp_ms = timestamp_before.wrapping_add(varint::read_i64(bytes)?);
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    let first_offset = Offset(first_offset);
    Some(Block { first_offset, place, bytes: length, crc: u32::from_le_bytes(*crc), max_timestamp_ms })
}

mod salvage;

pub use salvage::salvage_index;

#[cfg(test)]
mod tests;
