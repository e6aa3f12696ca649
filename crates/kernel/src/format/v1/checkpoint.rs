// SPDX-License-Identifier: Apache-2.0
//! A checkpoint: all objects of a shard's state (base), or those changed since the checkpoint before (delta), at one frame.
//!
//! Owns: the layout of the file. Must not know: what an object is.
//!
//! Invariants:
//!   1. Objects stand sorted by key, each once.
//!   2. Every byte of the file is covered by a checksum, and a block's knows its file and place, so that no block can stand in
//!      for another.
//!   3. A block inflates to at most 256 KiB; a reader's memory grows with bytes that are there, never with announced ones.
//!
//! Layout (little-endian):
//! ```text
//! head 64 B (head.rs)
//! state:  bytes u32 (of the body) | crc32c u32 (of bytes and body) | body:
//!         kind u8 (1 base, 2 delta) | has previous u8 | zero u16 | segments u32 | lsn u64 | base u64 | previous u64
//!         segments, ascending: the distance from the one before varint
//! blocks: 0 index u32 | 4 raw bytes u32 | 8 stored bytes u32 | 12 first object at u32 (raw bytes if none begins here)
//!         16 crc32c u32 of { shard u32, number u64, bytes 0..16, stored } | 20 stored: one lz4 block
//! trailer 64 B: 0 magic 8 B | 8 version u16 | 10 zero u16 | 12 shard u32 | 16 incompatible u32 | 20 compatible u32
//!         24 number u64 | 32 objects u64 | 40 blocks u32 | 44 zero u32 | 48 blocks at u64 | 56 zero u32 | 60 crc32c u32
//!
//! The inflated blocks one after another: { kind u8 | key bytes varint | key | 0 varint if gone, else value bytes + 1 varint | value }
//! ```

use crate::format::FormatError;
use crate::format::v1::head::{self, CHECKPOINT_MAGIC, FileHead, HEAD_BYTES};
use bytes::Bytes;
use model::media::{BlobKind, BlobName};
use model::{Lsn, ShardEpoch, ShardId, crc, varint};

/// Raw bytes of every block but the last.
pub const BLOCK_RAW_BYTES: usize = 256 * 1024;
/// Largest object, key and value together. A topic of the most partitions takes about 2 MB; a partition that remembers two million
/// producers with five batches each (the most that may be set), about 220 MB.
pub const OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most that lz4 makes of a block: bytes that do not shrink, and their lengths.
const STORED_BYTES_MAX: usize = BLOCK_RAW_BYTES + BLOCK_RAW_BYTES / 255 + 64;
const BLOCK_HEAD_BYTES: usize = 20;
const STATE_FIXED_BYTES: usize = 32;
const KIND_BASE: u8 = 1;
const KIND_DELTA: u8 = 2;

/// An object's name within a shard: sorted by kind, then by key. What kinds there are is the shard's business.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: u8,
    pub key: Vec<u8>,
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointState {
    pub name: BlobName,
    pub epoch: ShardEpoch,
    pub is_base: bool,
    /// Its own number if it is a base.
    pub base_number: u64,
    pub previous: Option<u64>,
    pub lsn: Lsn,
    /// Ascending.
    pub segments: Vec<u64>,
}

/// Writes a checkpoint. `objects` are sorted by key; the parts one after another are the file.
///
/// # Panics
/// When objects or segments are not sorted, one stands twice, or an object is beyond [`OBJECT_BYTES_MAX`].
pub fn encode<'a>(
    state: &CheckpointState,
    objects: impl Iterator<Item = (&'a ObjectKey, Option<&'a [u8]>)>,
) -> Vec<Bytes> {
    let head = FileHead::new(state.name, state.epoch);
    let mut writer = Writer::new(state, &head);
    let mut before: Option<&ObjectKey> = None;
    let mut count = 0u64;
    for (key, value) in objects {
        assert!(before.is_none_or(|before| before < key), "objects come sorted, each once");
        writer.object(key, value);
        count += 1;
        before = Some(key);
    }
    writer.finish(&head, count)
}

struct Writer {
    name: BlobName,
    out: Vec<u8>,
    parts: Vec<Bytes>,
    blocks_at: u64,
    raw: Vec<u8>,
    /// Of the block that `raw` begins: where the first object begins in it.
    first_object_at: Option<u32>,
    blocks: u32,
}

/// Finished blocks are handed on in parts of about this size.
const PART_BYTES: usize = 1024 * 1024;

impl Writer {
    fn new(state: &CheckpointState, head: &FileHead) -> Writer {
        let mut body = Vec::with_capacity(STATE_FIXED_BYTES + state.segments.len() * 2);
        body.push(if state.is_base { KIND_BASE } else { KIND_DELTA });
        body.push(u8::from(state.previous.is_some()));
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&(state.segments.len() as u32).to_le_bytes());
        body.extend_from_slice(&state.lsn.0.to_le_bytes());
        body.extend_from_slice(&state.base_number.to_le_bytes());
        body.extend_from_slice(&state.previous.unwrap_or(0).to_le_bytes());
        let mut before = None;
        for segment in &state.segments {
            assert!(before.is_none_or(|before| before < *segment), "segments come sorted, each once");
            varint::write_u64(&mut body, segment - before.unwrap_or(0));
            before = Some(*segment);
        }
        let bytes = (body.len() as u32).to_le_bytes();
        let mut out = head.encode().to_vec();
        out.extend_from_slice(&bytes);
        out.extend_from_slice(&crc::crc32c_of([bytes.as_slice(), &body]).to_le_bytes());
        out.extend_from_slice(&body);
        let blocks_at = out.len() as u64;
        let raw = Vec::with_capacity(BLOCK_RAW_BYTES * 2);
        Writer { name: state.name, out, parts: Vec::new(), blocks_at, raw, first_object_at: None, blocks: 0 }
    }

    fn object(&mut self, key: &ObjectKey, value: Option<&[u8]>) {
        assert!(key.key.len() + value.map_or(0, <[u8]>::len) <= OBJECT_BYTES_MAX, "an object beyond its bound");
        if self.first_object_at.is_none() {
            self.first_object_at = Some(self.raw.len() as u32);
        }
        self.raw.push(key.kind);
        varint::write_u64(&mut self.raw, key.key.len() as u64);
        self.raw.extend_from_slice(&key.key);
        match value {
            None => self.raw.push(0),
            Some(value) => {
                varint::write_u64(&mut self.raw, value.len() as u64 + 1);
                self.raw.extend_from_slice(value);
            }
        }
        let mut from = 0;
        while self.raw.len() - from >= BLOCK_RAW_BYTES {
            self.block(from, from + BLOCK_RAW_BYTES);
            from += BLOCK_RAW_BYTES;
        }
        if from > 0 {
            self.raw.drain(..from);
        }
    }

    fn block(&mut self, from: usize, to: usize) {
        let raw = &self.raw[from..to];
        let stored = lz4_flex::block::compress(raw);
        let mut block_head = [0; BLOCK_HEAD_BYTES];
        block_head[0..4].copy_from_slice(&self.blocks.to_le_bytes());
        block_head[4..8].copy_from_slice(&(raw.len() as u32).to_le_bytes());
        block_head[8..12].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        let first = self.first_object_at.take().unwrap_or(raw.len() as u32);
        block_head[12..16].copy_from_slice(&first.to_le_bytes());
        let crc = block_crc(self.name, &block_head, &stored);
        block_head[16..20].copy_from_slice(&crc.to_le_bytes());
        self.out.extend_from_slice(&block_head);
        self.out.extend_from_slice(&stored);
        self.blocks += 1;
        if self.out.len() >= PART_BYTES {
            self.parts.push(std::mem::take(&mut self.out).into());
        }
    }

    fn finish(mut self, head: &FileHead, objects: u64) -> Vec<Bytes> {
        if !self.raw.is_empty() {
            self.block(0, self.raw.len());
        }
        let mut trailer = [0; HEAD_BYTES];
        trailer[0..8].copy_from_slice(&CHECKPOINT_MAGIC);
        trailer[8..10].copy_from_slice(&head.version.to_le_bytes());
        trailer[12..16].copy_from_slice(&self.name.shard.0.to_le_bytes());
        trailer[16..20].copy_from_slice(&head.incompatible.to_le_bytes());
        trailer[20..24].copy_from_slice(&head.compatible.to_le_bytes());
        trailer[24..32].copy_from_slice(&self.name.number.to_le_bytes());
        trailer[32..40].copy_from_slice(&objects.to_le_bytes());
        trailer[40..44].copy_from_slice(&self.blocks.to_le_bytes());
        trailer[48..56].copy_from_slice(&self.blocks_at.to_le_bytes());
        head::seal(&mut trailer);
        self.out.extend_from_slice(&trailer);
        self.parts.push(self.out.into());
        self.parts
    }
}

fn block_crc(name: BlobName, block_head: &[u8; BLOCK_HEAD_BYTES], stored: &[u8]) -> u32 {
    let (shard, number) = (name.shard.0.to_le_bytes(), name.number.to_le_bytes());
    crc::crc32c_of([shard.as_slice(), &number, &block_head[..16], stored])
}

/// Reads the checkpoint called `name`: its state, and each object in order through `object`.
///
/// # Errors
/// At the first thing that is not as written; objects seen until then were good.
pub fn decode(
    bytes: &[u8],
    name: BlobName,
    mut object: impl FnMut(ObjectKey, Option<Vec<u8>>),
) -> Result<CheckpointState, FormatError> {
    let (state, mut at) = read_state(bytes, name)?;
    let end = bytes.len().checked_sub(HEAD_BYTES).filter(|end| *end >= at);
    let end = end.ok_or_else(|| FormatError::damaged(bytes.len() as u64, "the file is cut short"))?;
    let trailer = Trailer::read(&bytes[end..], end as u64, name)?;
    if trailer.blocks_at != at as u64 {
        return Err(FormatError::damaged(end as u64, "the blocks do not begin where the trailer says"));
    }
    let mut raw = vec![0; BLOCK_RAW_BYTES];
    // The start of an object whose end stands in a later block.
    let mut carried: Vec<u8> = Vec::new();
    let mut objects = Objects::default();
    let mut block_count = 0;
    while at < end {
        let damaged = |why: &str| FormatError::damaged(at as u64, why);
        let block = read_block(name, &bytes[at..end], &mut raw).map_err(damaged)?;
        if block.index != block_count {
            return Err(damaged("a block stands out of its place"));
        }
        let inflated = &raw[..block.raw_bytes];
        let malformed = || damaged("an object is not well formed, or out of order");
        if carried.is_empty() {
            let left = objects.read(inflated, &mut object).ok_or_else(malformed)?;
            carried.extend_from_slice(&inflated[inflated.len() - left..]);
        } else {
            carried.extend_from_slice(inflated);
            let left = objects.read(&carried, &mut object).ok_or_else(malformed)?;
            carried.drain(..carried.len() - left);
        }
        block_count += 1;
        at += block.file_bytes;
    }
    if !carried.is_empty() {
        return Err(FormatError::damaged(end as u64, "the last object is cut short"));
    }
    if (objects.count, block_count) != (trailer.objects, trailer.blocks) {
        let why = format!(
            "{} objects in {block_count} blocks stand in the file, {} in {} are stated",
            objects.count, trailer.objects, trailer.blocks
        );
        return Err(FormatError::damaged(end as u64, why));
    }
    Ok(state)
}

/// Reads head and state only, of the file's first bytes.
pub fn decode_state(bytes: &[u8], name: BlobName) -> Result<CheckpointState, FormatError> {
    read_state(bytes, name).map(|(state, _)| state)
}

/// What can still be read of a damaged checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// `None`: head or state is damaged.
    pub state: Option<CheckpointState>,
    pub objects: Vec<(ObjectKey, Option<Vec<u8>>)>,
    /// Empty: nothing was damaged.
    pub damage: Vec<FormatError>,
}

/// Reads what is good of the checkpoint called `name`: whole objects of the blocks whose checksum is right.
pub fn salvage(bytes: &[u8], name: BlobName) -> Remains {
    let mut remains = Remains::default();
    let whole = decode(bytes, name, |key, value| remains.objects.push((key, value)));
    match whole {
        Ok(state) => return Remains { state: Some(state), ..remains },
        Err(FormatError::Newer { feature }) => {
            return Remains { damage: vec![FormatError::Newer { feature }], ..Remains::default() };
        }
        Err(FormatError::Damaged { .. }) => remains.objects.clear(),
    }
    let mut at = HEAD_BYTES;
    match read_state(bytes, name) {
        Ok((state, blocks_at)) => (remains.state, at) = (Some(state), blocks_at),
        Err(error) => remains.damage.push(error),
    }
    let mut raw = vec![0; BLOCK_RAW_BYTES];
    let mut carried: Vec<u8> = Vec::new();
    let (mut objects, mut index, mut in_damage) = (Objects::default(), 0, false);
    while at < bytes.len() {
        match read_block(name, bytes.get(at..).unwrap_or_default(), &mut raw) {
            Ok(block) if block.index >= index => {
                let mut inflated = &raw[..block.raw_bytes];
                if block.index != index || in_damage {
                    carried.clear();
                    inflated = &inflated[block.first_object_at..];
                }
                carried.extend_from_slice(inflated);
                match objects.read(&carried, &mut |key, value| remains.objects.push((key, value))) {
                    Some(left) => drop(carried.drain(..carried.len() - left)),
                    None => {
                        carried.clear();
                        remains.damage.push(FormatError::damaged(at as u64, "an object is not well formed"));
                    }
                }
                (index, in_damage) = (block.index + 1, false);
                at += block.file_bytes;
            }
            // What is neither a block nor the trailer at the end: look for the next block.
            _ if Trailer::read(&bytes[at..], at as u64, name).is_ok() => {
                at = bytes.len();
                in_damage = false;
            }
            read => {
                if !in_damage {
                    let why = read.err().unwrap_or("a block stands out of its place");
                    remains.damage.push(FormatError::damaged(at as u64, why));
                }
                in_damage = true;
                at += 1;
            }
        }
    }
    if remains.damage.is_empty() {
        remains.damage.push(FormatError::damaged(bytes.len() as u64, "the trailer, or blocks before it, are missing"));
    }
    remains
}

struct Trailer {
    objects: u64,
    blocks: u32,
    blocks_at: u64,
}

impl Trailer {
    /// Reads the trailer of the checkpoint called `name` off the file's last bytes, which stand at `at`.
    fn read(bytes: &[u8], at: u64, name: BlobName) -> Result<Trailer, FormatError> {
        let trailer: &[u8; HEAD_BYTES] = bytes
            .try_into()
            .ok()
            .filter(|trailer: &&[u8; HEAD_BYTES]| trailer.starts_with(&CHECKPOINT_MAGIC))
            .ok_or_else(|| FormatError::damaged(at, "no trailer stands at the end: the file is cut short"))?;
        head::check_seal(trailer, at)?;
        head::check_version(head::u16_at(trailer, 8), head::u32_at(trailer, 16), 0)?;
        let shard = ShardId(head::u32_at(trailer, 12));
        let stated = BlobName { shard, kind: BlobKind::Checkpoint, number: head::u64_at(trailer, 24) };
        if stated != name {
            return Err(FormatError::damaged(at, format!("the trailer says it is {stated}")));
        }
        Ok(Trailer {
            objects: head::u64_at(trailer, 32),
            blocks: head::u32_at(trailer, 40),
            blocks_at: head::u64_at(trailer, 48),
        })
    }
}

struct BlockRead {
    index: u32,
    raw_bytes: usize,
    first_object_at: usize,
    /// Head and stored bytes.
    file_bytes: usize,
}

/// Inflates the block at the start of `bytes` into `raw` ([`BLOCK_RAW_BYTES`] long).
fn read_block(name: BlobName, bytes: &[u8], raw: &mut [u8]) -> Result<BlockRead, &'static str> {
    let (block_head, after) = bytes.split_first_chunk::<BLOCK_HEAD_BYTES>().ok_or("a block's head is cut short")?;
    let word = |from: usize| {
        u32::from_le_bytes([block_head[from], block_head[from + 1], block_head[from + 2], block_head[from + 3]])
    };
    let (index, raw_bytes, stored_bytes) = (word(0), word(4) as usize, word(8) as usize);
    let first_object_at = word(12) as usize;
    let stored = after.get(..stored_bytes).ok_or("a block goes beyond the file")?;
    if raw_bytes == 0 || raw_bytes > BLOCK_RAW_BYTES || stored_bytes > STORED_BYTES_MAX || first_object_at > raw_bytes {
        return Err("a block's head makes no sense");
    }
    if block_crc(name, block_head, stored) != word(16) {
        return Err("checksum of a block");
    }
    let inflated = raw.get_mut(..raw_bytes).and_then(|raw| lz4_flex::block::decompress_into(stored, raw).ok());
    if inflated != Some(raw_bytes) {
        return Err("a block does not inflate");
    }
    Ok(BlockRead { index, raw_bytes, first_object_at, file_bytes: BLOCK_HEAD_BYTES + stored_bytes })
}

fn read_state(bytes: &[u8], name: BlobName) -> Result<(CheckpointState, usize), FormatError> {
    const AT: usize = HEAD_BYTES;
    let head = FileHead::decode_named(bytes, name)?;
    let damaged = |why: &str| FormatError::damaged(AT as u64, why);
    let (prefix, rest) = bytes[AT..].split_first_chunk::<8>().ok_or_else(|| damaged("the file ends in its state"))?;
    let [b0, b1, b2, b3, c0, c1, c2, c3] = *prefix;
    let body = rest
        .get(..u32::from_le_bytes([b0, b1, b2, b3]) as usize)
        .ok_or_else(|| damaged("the file ends in its state"))?;
    if crc::crc32c_of([&prefix[..4], body]) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(damaged("checksum of the state"));
    }
    let nonsense = || damaged("the state makes no sense");
    let (fixed, mut rest) = body.split_first_chunk::<STATE_FIXED_BYTES>().ok_or_else(nonsense)?;
    let wide = |from: usize| fixed[from..from + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let segment_count = wide(0) >> 32;
    let mut segments: Vec<u64> = Vec::new();
    for _ in 0..segment_count {
        let distance = varint::read_u64(&mut rest).ok_or_else(nonsense)?;
        let segment = match segments.last() {
            None => distance,
            Some(_) if distance == 0 => return Err(nonsense()),
            Some(before) => before.checked_add(distance).ok_or_else(nonsense)?,
        };
        segments.push(segment);
    }
    let is_base = match fixed[0] {
        KIND_BASE => true,
        KIND_DELTA => false,
        _ => return Err(nonsense()),
    };
    let (base_number, previous) = (wide(16), (fixed[1] == 1).then_some(wide(24)));
    let links = if is_base {
        base_number == name.number
    } else {
        base_number < name.number && previous.is_some_and(|previous| previous < name.number)
    };
    if !rest.is_empty() || !links {
        return Err(nonsense());
    }
    let state =
        CheckpointState { name, epoch: head.epoch, is_base, base_number, previous, lsn: Lsn(wide(8)), segments };
    Ok((state, AT + 8 + body.len()))
}

/// Reads objects off the inflated bytes, checking their order.
#[derive(Default)]
struct Objects {
    count: u64,
    before: Option<ObjectKey>,
}

impl Objects {
    /// Reads all whole objects; the count of bytes left over, which begin one. `None`: malformed or out of order.
    fn read(&mut self, mut bytes: &[u8], object: &mut impl FnMut(ObjectKey, Option<Vec<u8>>)) -> Option<usize> {
        loop {
            match read_object(bytes) {
                Ok(None) => return Some(bytes.len()),
                Ok(Some((kind, key, value, rest))) => {
                    let in_order = |before: &ObjectKey| (before.kind, before.key.as_slice()) < (kind, key);
                    if !self.before.as_ref().is_none_or(in_order) {
                        return None;
                    }
                    let before = self.before.get_or_insert_with(|| ObjectKey { kind, key: Vec::new() });
                    before.kind = kind;
                    before.key.clear();
                    before.key.extend_from_slice(key);
                    self.count += 1;
                    object(ObjectKey { kind, key: key.to_vec() }, value.map(<[u8]>::to_vec));
                    bytes = rest;
                }
                Err(Malformed) => return None,
            }
        }
    }
}

struct Malformed;

type ObjectRead<'a> = (u8, &'a [u8], Option<&'a [u8]>, &'a [u8]);

/// `None`: the bytes end within the object.
fn read_object(bytes: &[u8]) -> Result<Option<ObjectRead<'_>>, Malformed> {
    let Some((&kind, mut rest)) = bytes.split_first() else { return Ok(None) };
    let Some(key_bytes) = read_length(&mut rest)? else { return Ok(None) };
    let Some((key, mut rest)) = rest.split_at_checked(key_bytes) else { return Ok(None) };
    let Some(value_bytes) = read_length(&mut rest)? else { return Ok(None) };
    if value_bytes == 0 {
        return Ok(Some((kind, key, None, rest)));
    }
    let Some((value, rest)) = rest.split_at_checked(value_bytes - 1) else { return Ok(None) };
    Ok(Some((kind, key, Some(value), rest)))
}

/// `None`: the bytes end within the number.
fn read_length(bytes: &mut &[u8]) -> Result<Option<usize>, Malformed> {
    match varint::read_u64(bytes) {
        Some(length) if length > OBJECT_BYTES_MAX as u64 + 1 => Err(Malformed),
        Some(length) => Ok(Some(length as usize)),
        None if bytes.iter().take(10).all(|byte| byte & 0x80 != 0) && bytes.len() < 10 => Ok(None),
        None => Err(Malformed),
    }
}

#[cfg(test)]
mod tests;
