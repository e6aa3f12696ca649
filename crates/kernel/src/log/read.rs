// SPDX-License-Identifier: Apache-2.0
//! Reading: whole batches from an offset on, out of the tail's frames or out of a segment's blocks.
//!
//! Owns: which bytes answer a read, and that they never reach beyond what is durable. Must not know: who asked, how a medium is
//! asked.
//!
//! A read has one source. The tail answers at once with a slice a batch. A segment answers with one slice of checked blocks; those
//! are fetched in one piece of at most `COLD_READ_BYTES_MAX`, or one block, and checked off the shard (`BlockRead`).

use crate::auth::Action;
use crate::command::{Ctx, Isolation, Read};
use crate::error::ReadError;
use crate::format::v1::object::OFFSET_MAX;
use crate::format::v1::segment::{Block, Run, SegmentIndex};
use crate::log::append::{allowed, check_epoch};
use crate::log::partition::{Partition, RunRef};
use crate::log::tail::Tail;
use crate::reply::ReadReply;
use crate::spill::segments::Segments;
use bytes::Bytes;
use model::batch::{HEADER_BYTES, Header};
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, MediaError};
use model::planted::{Bug, planted};
use model::{Corrupt, Offset, PartitionId, ShardEpoch, ShardId};

/// A read of a segment asks for at most this, or for one block, whatever the reader would take.
pub const COLD_READ_BYTES_MAX: u64 = 1024 * 1024;

/// Where a read's answer comes from.
#[derive(Debug)]
pub enum Source {
    Now(ReadReply),
    /// These blocks must be fetched first.
    Blocks(BlockRange),
}

/// Consecutive blocks of one run that stand back to back in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRange {
    pub partition: PartitionId,
    pub segment: u64,
    pub blocks: Vec<Block>,
    /// The offset after the last record of the last block.
    pub end: Offset,
}

impl BlockRange {
    pub fn at(&self) -> u64 {
        self.blocks.first().map_or(0, Block::pos)
    }

    /// The file in which they stand: their segment's, or a slot of the log.
    pub fn file(&self, shard: ShardId) -> BlobName {
        let segment = BlobName { shard, kind: BlobKind::Segment, number: self.segment };
        self.blocks.first().map_or(segment, |block| block.file(segment))
    }

    pub fn bytes(&self) -> u32 {
        self.blocks.iter().map(|block| block.bytes).sum()
    }

    /// The part that begins with the first block of another range, and how many bytes stand before it.
    pub fn from_first_of(&self, other: &BlockRange) -> Option<(BlockRange, usize)> {
        let first = other.blocks.first().filter(|_| self.segment == other.segment)?;
        let number = self.blocks.iter().position(|block| block == first)?;
        let before = self.blocks[..number].iter().map(|block| block.bytes as usize).sum();
        Some((BlockRange { blocks: self.blocks[number..].to_vec(), ..self.clone() }, before))
    }
}

/// Blocks to be read, and checked, off the shard: a megabyte's checksum takes a tenth of a millisecond, for which no producer waits.
#[derive(Debug)]
pub struct BlockRead {
    /// Of the file in which they stand.
    name: BlobName,
    range: BlockRange,
}

/// What came of it.
pub type BlocksRead = Result<Checked, MediaError>;

/// Blocks that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// From the first on, as far as they are good.
    pub bytes: Bytes,
    /// What is wrong behind them.
    pub damage: Option<Corrupt>,
}

impl BlockRead {
    pub fn new(shard: ShardId, range: BlockRange) -> BlockRead {
        BlockRead { name: range.file(shard), range }
    }

    /// What the blobs are to be asked.
    pub fn op(&self) -> BlobOp {
        BlobOp::Get { name: self.name, at: self.range.at(), len: self.range.bytes() }
    }

    /// Looks at what they answered.
    pub fn check(&self, done: BlobDone) -> BlocksRead {
        let (at, wanted) = (self.range.at(), self.range.bytes() as usize);
        let corrupt =
            |at, why| Checked { bytes: Bytes::new(), damage: Some(Corrupt { name: self.name.to_string(), at, why }) };
        match done {
            BlobDone::Got(Ok(bytes)) if bytes.len() == wanted => Ok(self.check_bytes(&bytes)),
            BlobDone::Got(Ok(bytes)) => Ok(corrupt(at, format!("{} bytes were read, {wanted} are there", bytes.len()))),
            BlobDone::Got(Err(MediaError::Corrupt(damage))) => {
                Ok(Checked { bytes: Bytes::new(), damage: Some(damage) })
            }
            BlobDone::Got(Err(MediaError::Missing { .. })) => Ok(corrupt(at, "the file is missing".to_owned())),
            BlobDone::Got(Err(error)) => Err(error),
            other => {
                debug_assert!(false, "a read was answered with {other:?}");
                Err(MediaError::Closed)
            }
        }
    }

    fn check_bytes(&self, bytes: &Bytes) -> Checked {
        let mut at = 0;
        for block in &self.range.blocks {
            let end = at + block.bytes as usize;
            if !planted(Bug::RottenBlockServed)
                && let Err(corrupt) = block.check(self.name, &bytes[at..end])
            {
                return Checked { bytes: bytes.slice(..at), damage: Some(corrupt) };
            }
            at = end;
        }
        Checked { bytes: bytes.clone(), damage: None }
    }
}

/// Where the reader's view ends.
pub fn end_of(partition: &Partition, isolation: Isolation) -> Offset {
    match isolation {
        Isolation::High => partition.high,
        Isolation::Stable => partition.stable(),
    }
}

/// Checks a read and finds its source. Changes nothing.
pub fn plan(
    partition: &Partition,
    tail: &Tail,
    segments: &Segments,
    shard_epoch: ShardEpoch,
    ctx: &Ctx,
    read: &Read,
) -> Result<Source, ReadError> {
    if !allowed(ctx, &partition.hosted, Action::Read) {
        return Err(ReadError::Denied);
    }
    check_epoch(partition.leader_epoch(shard_epoch), read.leader_epoch).map_err(ReadError::Epoch)?;
    let at_end = planted(Bug::ValidOffsetOutOfRange) && read.from == partition.high;
    if read.from < partition.visible_start || read.from > partition.high || at_end {
        return Err(ReadError::OutOfRange { start: partition.visible_start, high: partition.high });
    }
    let end = end_of(partition, read.isolation);
    if read.from >= end {
        return Ok(Source::Now(reply(partition, Vec::new())));
    }
    if read.from < partition.tail_start()
        && let Some(range) = blocks_from(partition, segments, read.from, u64::from(read.bytes_max))
    {
        return Ok(Source::Blocks(range));
    }
    Ok(Source::Now(from_tail(partition, tail, read)))
}

/// The answer of the tail.
pub fn from_tail(partition: &Partition, tail: &Tail, read: &Read) -> ReadReply {
    let end = end_of(partition, read.isolation);
    reply(partition, tail_batches(partition, tail, read.from, end, read.bytes_max as usize))
}

/// An answer with these pieces and the watermarks of now.
pub fn reply(partition: &Partition, pieces: Vec<Bytes>) -> ReadReply {
    ReadReply {
        bytes: pieces.iter().map(Bytes::len).sum(),
        pieces,
        start: partition.visible_start,
        stable: partition.stable(),
        high: partition.high,
        aborted: Vec::new(),
    }
}

fn tail_batches(partition: &Partition, tail: &Tail, from: Offset, end: Offset, bytes_max: usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut bytes = 0;
    for entry in partition.tail.range(partition.tail_index(from)..) {
        let over = !pieces.is_empty() && bytes + entry.bytes as usize > bytes_max;
        if entry.end() > end || over {
            break;
        }
        // A batch below `high` is durable, so its frame is closed and here.
        let Some(batch) = tail.batch(entry) else { break };
        bytes += batch.len();
        pieces.push(batch);
    }
    pieces
}

/// The blocks to fetch for a read from `from` on: of the run that holds it, or the first after it.
pub fn blocks_from(partition: &Partition, segments: &Segments, from: Offset, bytes_max: u64) -> Option<BlockRange> {
    let run_ref = partition.runs.get(partition.run_index(from))?;
    let (index, run) = segments.run(run_ref)?;
    Some(blocks_of_run(partition.id, run_ref, index, run, from, bytes_max.min(COLD_READ_BYTES_MAX)))
}

/// The blocks of a run from the one that `from` may stand in, as far as they stand back to back in one file: as many as fit into `bytes_max`, so
/// that none is read for nothing, and one at least.
pub fn blocks_of_run(
    partition: PartitionId,
    run_ref: &RunRef,
    index: &SegmentIndex,
    run: &Run,
    from: Offset,
    bytes_max: u64,
) -> BlockRange {
    let mut blocks = index.blocks_from(run, from);
    if planted(Bug::ColdReadSkips) && blocks.len() > 1 && blocks[0].first_offset < from {
        blocks = &blocks[1..];
    }
    let mut bytes = 0;
    let mut count = 0;
    for block in blocks {
        if count > 0 && !block.follows(&blocks[count - 1]) {
            break;
        }
        // A block that begins before `from` may hold little from there on, so its bytes do not count.
        if block.first_offset >= from {
            bytes += u64::from(block.bytes);
        }
        if count > 0 && bytes > bytes_max {
            break;
        }
        count += 1;
    }
    let end = blocks.get(count).map_or(run_ref.end, |next| next.first_offset);
    BlockRange { partition, segment: run_ref.segment, blocks: blocks[..count].to_vec(), end }
}

/// Batches of fetched blocks, one by one: where each stands, and its header. Ends at the first that is not well formed.
pub struct Walk<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Walk<'a> {
    pub fn of(bytes: &'a [u8]) -> Walk<'a> {
        Walk { bytes, pos: 0 }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<(usize, Header), usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.bytes.len() {
            return None;
        }
        let (pos, rest) = (self.pos, &self.bytes[self.pos..]);
        let header = Header::read(rest).filter(|header| {
            header.bytes >= HEADER_BYTES
                && header.bytes <= rest.len()
                && header.last_offset_delta >= 0
                && header.base_offset.0 < OFFSET_MAX - header.last_offset_delta as u64
        });
        self.pos = header.map_or(self.bytes.len(), |header| pos + header.bytes);
        Some(header.map(|header| (pos, header)).ok_or(pos))
    }
}

/// The same of bytes fetched from a segment, from position `at` on: what is not well formed is reported with its place.
pub fn batches(at: u64, name: BlobName, bytes: &[u8]) -> impl Iterator<Item = Result<(usize, Header), Corrupt>> {
    Walk::of(bytes).map(move |batch| {
        batch.map_err(|pos| Corrupt {
            name: name.to_string(),
            at: at + pos as u64,
            why: "no well-formed record batch stands here".into(),
        })
    })
}

/// The whole batches of fetched, checked blocks that answer a read, and the offset after the last of them.
pub fn trim_to(
    range: &BlockRange,
    name: BlobName,
    bytes: &Bytes,
    from: Offset,
    bytes_max: usize,
) -> Result<(Bytes, Offset), Corrupt> {
    let mut start = None;
    let mut end = 0;
    let mut next = from;
    for batch in batches(range.at(), name, bytes) {
        let (pos, header) = batch?;
        if header.next_offset() <= from {
            continue;
        }
        let first = *start.get_or_insert(pos);
        if end > 0 && pos + header.bytes - first > bytes_max {
            break;
        }
        end = pos + header.bytes;
        next = header.next_offset();
    }
    Ok((start.map_or(Bytes::new(), |start| bytes.slice(start..end)), next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::v1::segment::{Place, SegmentWriter};

    #[test]
    fn a_range_ends_where_the_next_block_stands_elsewhere() {
        let name = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number: 7 };
        let mut writer = SegmentWriter::new(name, ShardEpoch(1));
        let batch = Bytes::from_static(&[1; 100]);
        let places =
            [Some((4, 64)), None, None, Some((4, 1_000)), Some((4, 1_100)), Some((4, 1_300)), Some((5, 1_400))];
        for (number, lent) in places.into_iter().enumerate() {
            let (base, last) = (Offset(number as u64 * 10), Offset(number as u64 * 10 + 9));
            match lent.and_then(|(slot, pos)| Place::in_slot(slot, pos)) {
                Some(place) => writer.push_lent(PartitionId(3), &batch, place, (base, last), 0),
                None => writer.push(PartitionId(3), &batch, base, last, 0),
            }
        }
        let (_, index) = writer.finish();
        let run_ref = RunRef { segment: 7, run: 0, first: Offset(0), end: Offset(70) };
        let mut at = Offset(0);
        let mut pieces = Vec::new();
        while at < run_ref.end {
            let range = blocks_of_run(PartitionId(3), &run_ref, &index, &index.runs[0], at, COLD_READ_BYTES_MAX);
            pieces.push((range.file(ShardId(0)).to_string(), range.at(), range.bytes(), range.end.0));
            at = range.end;
        }
        let expected = [
            ("wal/00/0004", 64, 100, 10),
            ("seg/00/000000000007", 64, 200, 30),
            ("wal/00/0004", 1_000, 200, 50),
            ("wal/00/0004", 1_300, 100, 60),
            ("wal/00/0005", 1_400, 100, 70),
        ];
        assert_eq!(pieces, expected.map(|(file, at, bytes, end)| (file.to_owned(), at, bytes, end)));
    }
}
