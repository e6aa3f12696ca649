// SPDX-License-Identifier: Apache-2.0
//! A placed segment: a footer behind bytes that are on the medium already, so that large batches need not be written twice.
//!
//! Owns: its footer. Must not know: who laid the bytes out, or how; what stands between the batches.
//!
//! ```text
//! 0        area_bytes
//! | somebody else's bytes, batches among them | sections 1, 2, 3 | table | trailer |
//! ```
//! Every batch is a block of its own: two of them hardly ever stand side by side, and batches that are worth it are as large as a
//! block. Bytes between the blocks are under no checksum of the segment; nobody reads them through it.

use super::*;

/// Lays the footer out, batch by batch.
#[derive(Debug)]
pub struct PlacedWriter {
    head: FileHead,
    area_bytes: u64,
    run_ended: bool,
    index: SegmentIndex,
}

impl PlacedWriter {
    /// `area_bytes` stand before the footer.
    ///
    /// # Panics
    /// When that is less than a head, or `name` is no segment's.
    pub fn new(name: BlobName, epoch: ShardEpoch, area_bytes: u64) -> PlacedWriter {
        assert!(
            name.kind == BlobKind::Segment && area_bytes >= DATA_START,
            "{name} of {area_bytes} bytes is no segment"
        );
        let index =
            SegmentIndex { number: name.number, data_bytes: area_bytes - DATA_START, ..SegmentIndex::default() };
        PlacedWriter { head: FileHead::new(name, epoch), area_bytes, run_ended: false, index }
    }

    /// Adds a whole batch that stands at `pos`. Batches come sorted by partition and offset.
    ///
    /// # Panics
    /// When they do not, or when a batch is empty or stands outside of the area: a segment that says so would be served wrongly for ever.
    pub fn push(
        &mut self,
        partition: PartitionId,
        batch: &[u8],
        pos: u64,
        (base_offset, last_offset): (Offset, Offset),
        timestamp_ms: i64,
    ) {
        assert!(!batch.is_empty() && last_offset >= base_offset, "a batch has bytes and records");
        let end = pos.checked_add(batch.len() as u64);
        assert!(pos >= DATA_START && end.is_some_and(|end| end <= self.area_bytes), "a batch stands in the area");
        let is_first = match self.index.runs.last() {
            Some(run) if run.partition == partition => {
                assert!(base_offset > run.last_offset, "batches of a partition come by offset");
                std::mem::take(&mut self.run_ended)
            }
            Some(run) => {
                assert!(partition > run.partition, "partitions come by id");
                true
            }
            None => true,
        };
        self.run_ended = false;
        if is_first {
            self.index.runs.push(Run {
                partition,
                first_offset: base_offset,
                last_offset,
                pos,
                bytes: 0,
                max_timestamp_ms: timestamp_ms,
                block_first: self.index.blocks.len() as u32,
                block_count: 0,
            });
        }
        if let Some(run) = self.index.runs.last_mut() {
            run.last_offset = last_offset;
            run.bytes += batch.len() as u64;
            run.max_timestamp_ms = run.max_timestamp_ms.max(timestamp_ms);
            run.block_count += 1;
        }
        self.index.blocks.push(Block {
            first_offset: base_offset,
            pos,
            bytes: batch.len() as u32,
            crc: crc::crc32c(batch),
            max_timestamp_ms: timestamp_ms,
        });
    }

    /// The next batch begins a run of its own, though it is of the same partition: what lies between stands in another segment.
    pub fn end_run(&mut self) {
        self.run_ended = true;
    }

    /// The footer, to stand right behind the area.
    ///
    /// # Panics
    /// When batches stand over one another.
    pub fn finish(mut self) -> (Bytes, SegmentIndex) {
        assert!(is_apart(&self.index.blocks), "batches do not overlap");
        let footer = encode_footer(&self.head, &self.index, true);
        self.index.file_bytes = self.area_bytes + footer.len() as u64;
        (footer.into(), self.index)
    }
}

/// No block stands over another one.
pub(super) fn is_apart(blocks: &[Block]) -> bool {
    let mut places: Vec<(u64, u64)> = blocks.iter().map(|block| (block.pos, block.end())).collect();
    places.sort_unstable();
    places.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}
