// SPDX-License-Identifier: Apache-2.0
//! The batches of one segment block: walked when the block is good, saved one by one when it is not.
//!
//! Owns: which batches of damaged bytes may be believed. Must not know: files, topics.
//!
//! A batch's own checksum covers all from its byte 21 on. Before that stand base offset, length, leader epoch, magic and the
//! checksum itself. So of a damaged block a batch is kept only if its checksum is right *and* its offsets join up with what is on
//! both sides of it; then its first 17 bytes are known, whatever stands there. If the whole, so mended, has the block's checksum, the
//! damage is undone entirely.

use bytes::Bytes;
use model::batch::{CRC_START, HEADER_BYTES, Header, LENGTH_END};
use model::{LeaderEpoch, Offset, crc};

/// A whole batch to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Position in the block.
    pub pos: usize,
    pub bytes: Bytes,
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    pub max_timestamp_ms: i64,
}

/// What a block holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    pub kept: Vec<Kept>,
    /// Position in the block and what is wrong there. Empty: the block is good.
    pub faults: Vec<(usize, String)>,
    /// The damage was undone: nothing is lost.
    pub mended: bool,
}

/// What the index says of a block.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub crc: u32,
    pub first: Offset,
    /// The offset before which its last batch ends: the next block's first, or the end of the run.
    pub end: Offset,
    /// Its last batch ends exactly there.
    pub ends_there: bool,
}

/// Walks the block's bytes.
pub fn walk(bytes: &Bytes, expected: Expected) -> Walk {
    let found = crc::crc32c(bytes);
    if found == expected.crc {
        walk_good(bytes, expected)
    } else {
        let mut walk = save(bytes, expected);
        walk.faults.insert(
            0,
            (
                0,
                format!(
                    "checksum of the block's {} bytes is {found:#010x}, stated {:#010x}",
                    bytes.len(),
                    expected.crc
                ),
            ),
        );
        walk
    }
}

/// The block's checksum is right: whatever is wrong was written so.
fn walk_good(bytes: &Bytes, expected: Expected) -> Walk {
    let mut walk = Walk::default();
    let (mut pos, mut next) = (0, expected.first);
    while pos < bytes.len() {
        let Some(header) = whole_batch(&bytes[pos..]) else {
            walk.faults.push((pos, "no whole batch stands here".to_owned()));
            break;
        };
        let batch = bytes.slice(pos..pos + header.bytes);
        let end = header.next_offset();
        if header.base_offset < next || end > expected.end || (pos == 0 && header.base_offset != next) {
            let why =
                format!("batch of offsets {}..{end}, where {next}..{} is meant", header.base_offset, expected.end);
            walk.faults.push((pos, why));
        } else if crc::crc32c(&batch[CRC_START..]) != header.crc {
            walk.faults.push((pos, format!("checksum of the batch at offset {}", header.base_offset)));
            next = end;
        } else {
            walk.kept.push(kept(pos, batch, &header));
            next = end;
        }
        pos += header.bytes;
    }
    if walk.faults.is_empty() && expected.ends_there && next != expected.end {
        walk.faults.push((pos, format!("the run ends at offset {next}, its index says {}", expected.end)));
    }
    walk
}

fn kept(pos: usize, bytes: Bytes, header: &Header) -> Kept {
    let (base, end) = (header.base_offset, header.next_offset());
    Kept { pos, bytes, base, end, max_timestamp_ms: header.max_timestamp_ms }
}

/// The header of a batch that lies whole in `bytes`. Its checksum is not looked at.
fn whole_batch(bytes: &[u8]) -> Option<Header> {
    Header::read(bytes).filter(|header| {
        header.magic == 2
            && (HEADER_BYTES..=bytes.len()).contains(&header.bytes)
            && header.last_offset_delta >= 0
            && header.base_offset.0 <= i64::MAX as u64
    })
}

/// A batch whose own checksum is right, at `pos..end` of the block.
struct Candidate {
    pos: usize,
    end: usize,
    header: Header,
    /// Its offsets, once they are certain.
    base: Option<u64>,
}

impl Candidate {
    fn count(&self) -> u64 {
        u64::try_from(self.header.last_offset_delta).unwrap_or(0) + 1
    }
}

/// Finds the batches of a damaged block that may be believed.
fn save(bytes: &Bytes, expected: Expected) -> Walk {
    let mut candidates = find(bytes);
    join(&mut candidates, bytes.len(), expected);

    let mut mended = bytes.to_vec();
    let mut whole = candidates.first().is_some_and(|first| first.pos == 0);
    for (at, candidate) in candidates.iter().enumerate() {
        whole &=
            candidate.base.is_some() && candidate.end == candidates.get(at + 1).map_or(bytes.len(), |next| next.pos);
        let Some(base) = candidate.base else { continue };
        let header = &mut mended[candidate.pos..];
        header[..8].copy_from_slice(&base.to_be_bytes());
        header[8..LENGTH_END].copy_from_slice(&((candidate.end - candidate.pos - LENGTH_END) as i32).to_be_bytes());
        header[16] = 2;
    }
    let undone = whole && mend_epochs(&mut mended, &candidates, expected);
    let mended = Bytes::from(mended);
    // The one thing that neither neighbours nor its own checksum tell: that checksum. The block's tells.
    if !undone && let Some(undone) = with_checksums_renewed(&mended, expected) {
        return Walk { mended: true, ..undone };
    }
    let believed = candidates.iter().filter(|candidate| candidate.base.is_some());
    let saved = believed.filter_map(|candidate| {
        let batch = mended.slice(candidate.pos..candidate.end);
        let header = Header::read(&batch)?;
        Some(kept(candidate.pos, batch, &header))
    });
    Walk { kept: saved.collect(), faults: Vec::new(), mended: undone }
}

/// The block with the checksum of its one bad batch computed anew, if that makes the block's right.
fn with_checksums_renewed(bytes: &Bytes, expected: Expected) -> Option<Walk> {
    let mut renewed = bytes.to_vec();
    let mut pos = 0;
    while pos < renewed.len() {
        let length = whole_batch(&renewed[pos..])?.bytes;
        let own = crc::crc32c(&renewed[pos + CRC_START..pos + length]);
        renewed[pos + 17..pos + CRC_START].copy_from_slice(&own.to_be_bytes());
        pos += length;
    }
    let renewed = Bytes::from(renewed);
    let walk = (crc::crc32c(&renewed) == expected.crc).then(|| walk_good(&renewed, expected))?;
    walk.faults.is_empty().then_some(walk)
}

/// All places where a batch's own checksum is right.
fn find(bytes: &Bytes) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut pos = 0;
    while pos + HEADER_BYTES <= bytes.len() {
        let rest = &bytes[pos..];
        match whole_batch(rest).filter(|header| crc::crc32c(&rest[CRC_START..header.bytes]) == header.crc) {
            Some(header) => {
                fill(bytes, pos, &mut candidates);
                candidates.push(Candidate { pos, end: pos + header.bytes, header, base: None });
                pos += header.bytes;
            }
            None => pos += 1,
        }
    }
    fill(bytes, bytes.len(), &mut candidates);
    candidates
}

/// The bytes between the last candidate and `end` may be one batch whose length or magic is damaged: its checksum tells.
fn fill(bytes: &Bytes, end: usize, candidates: &mut Vec<Candidate>) {
    let pos = candidates.last().map_or(0, |last| last.end);
    let Some(batch) = bytes.get(pos..end).filter(|batch| batch.len() >= HEADER_BYTES) else { return };
    let Some(header) = read_unbounded(batch) else { return };
    if crc::crc32c(&batch[CRC_START..]) == header.crc && header.last_offset_delta >= 0 {
        candidates.push(Candidate { pos, end, header, base: None });
    }
}

/// A header whose length field is not believed.
fn read_unbounded(batch: &[u8]) -> Option<Header> {
    let mut header = batch[..HEADER_BYTES].to_vec();
    header[8..LENGTH_END].copy_from_slice(&[0; 4]);
    Header::read(&header)
}

/// Settles offsets from both ends of the block inwards.
fn join(candidates: &mut [Candidate], block_bytes: usize, expected: Expected) {
    let (mut pos, mut next) = (0, expected.first.0);
    let mut front = 0;
    for candidate in candidates.iter_mut() {
        if candidate.pos != pos || candidate.header.base_offset.0 != next {
            break;
        }
        candidate.base = Some(next);
        (pos, next) = (candidate.end, next.saturating_add(candidate.count()));
        front += 1;
    }
    let (mut end_pos, mut end) = (block_bytes, expected.end.0);
    let mut back = candidates.len();
    while back > front {
        let candidate = &mut candidates[back - 1];
        let base = candidate.header.base_offset.0;
        if candidate.end != end_pos || base.saturating_add(candidate.count()) != end {
            break;
        }
        candidate.base = Some(base);
        (end_pos, end) = (candidate.pos, base);
        back -= 1;
    }
    // What lies between, if it fills both the bytes and the offsets exactly.
    let between = &mut candidates[front..back];
    let mut joined = !between.is_empty();
    let (mut at, mut offset) = (pos, next);
    for candidate in between.iter() {
        joined &= candidate.pos == at;
        (at, offset) = (candidate.end, offset.saturating_add(candidate.count()));
    }
    if joined && at == end_pos && offset == end {
        for candidate in between {
            candidate.base = Some(next);
            next += candidate.count();
        }
    }
}

/// Sets right the one thing that is left, a leader epoch: true if the block's checksum says so. Epochs never go down, so one that
/// does not fit between its neighbours' is set to that of the one before, certain or not.
fn mend_epochs(bytes: &mut [u8], candidates: &[Candidate], expected: Expected) -> bool {
    let put = |bytes: &mut [u8], at: usize, epoch: LeaderEpoch| {
        let pos = candidates[at].pos;
        bytes[pos + LENGTH_END..pos + 16].copy_from_slice(&epoch.0.to_be_bytes());
    };
    if crc::crc32c(bytes) == expected.crc {
        return true;
    }
    let epochs: Vec<LeaderEpoch> = candidates.iter().map(|candidate| candidate.header.leader_epoch).collect();
    for at in 0..epochs.len() {
        let before = at.checked_sub(1).map(|before| epochs[before]);
        for neighbour in [before, epochs.get(at + 1).copied()].into_iter().flatten() {
            if neighbour != epochs[at] {
                put(bytes, at, neighbour);
                if crc::crc32c(bytes) == expected.crc {
                    return true;
                }
            }
        }
        put(bytes, at, epochs[at]);
    }
    for at in 1..epochs.len().saturating_sub(1) {
        let (before, after) = (epochs[at - 1], epochs[at + 1]);
        if before <= after && !(before..=after).contains(&epochs[at]) {
            put(bytes, at, before);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::batch::{NewRecord, Numbering, build, patch};

    const FIRST: u64 = 1000;

    /// Five batches of one to five records, the last two of a later epoch.
    fn block() -> (Vec<Bytes>, Bytes, Expected) {
        let mut base = FIRST;
        let batches: Vec<Bytes> = (0..5u64)
            .map(|number| {
                let record = |at: u64| NewRecord {
                    timestamp_ms: (number * 10 + at) as i64,
                    key: None,
                    value: Some(vec![number as u8; 20].into()),
                    headers: Vec::new(),
                };
                let records: Vec<NewRecord> = (0..=number).map(record).collect();
                let mut batch = build(&records, Numbering::NONE).bytes().to_vec();
                patch(&mut batch, Offset(base), LeaderEpoch(if number < 3 { 4 } else { 7 }));
                base += number + 1;
                batch.into()
            })
            .collect();
        let bytes = Bytes::from(batches.concat());
        let crc = crc::crc32c(&bytes);
        (batches, bytes, Expected { crc, first: Offset(FIRST), end: Offset(base), ends_there: true })
    }

    #[test]
    fn a_good_block_is_kept_whole() {
        let (batches, bytes, expected) = block();
        let walk = walk(&bytes, expected);
        assert_eq!((walk.faults.as_slice(), walk.mended), ([].as_slice(), false));
        assert_eq!(walk.kept.iter().map(|kept| kept.bytes.clone()).collect::<Vec<_>>(), batches);
    }

    #[test]
    fn any_flipped_bit_costs_at_most_its_batch() {
        let (batches, bytes, expected) = block();
        let mut starts = vec![0];
        for batch in &batches {
            starts.push(starts[starts.len() - 1] + batch.len());
        }
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.to_vec();
            rotten[bit / 8] ^= 1 << (bit % 8);
            let walk = walk(&rotten.into(), expected);
            assert!(!walk.faults.is_empty());
            let hit = starts.partition_point(|start| *start <= bit / 8) - 1;
            let in_outer_header = bit / 8 - starts[hit] < CRC_START;
            assert_eq!(walk.mended, in_outer_header, "bit {bit}");
            let kept: Vec<&Bytes> = walk.kept.iter().map(|kept| &kept.bytes).collect();
            let good: Vec<&Bytes> = batches
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != hit || in_outer_header)
                .map(|(_, batch)| batch)
                .collect();
            assert_eq!(kept, good, "bit {bit} in batch {hit}");
        }
    }

    #[test]
    fn two_rotten_batches_leave_the_others() {
        let (batches, bytes, expected) = block();
        let mut rotten = bytes.to_vec();
        for at in [1, 3] {
            let start: usize = batches[..at].iter().map(Bytes::len).sum();
            rotten[start + 70] ^= 0xff;
        }
        let walk = walk(&rotten.into(), expected);
        // What stands between two lost batches has no neighbour that would vouch for its offset.
        assert_eq!(
            walk.kept.iter().map(|kept| kept.bytes.clone()).collect::<Vec<_>>(),
            [batches[0].clone(), batches[4].clone()]
        );
    }

    #[test]
    fn any_bytes_are_walked() {
        let (_, bytes, expected) = block();
        for length in 0..bytes.len() {
            let _ = walk(&bytes.slice(..length), expected);
            let _ = walk(&bytes.slice(length..), expected);
        }
    }
}
