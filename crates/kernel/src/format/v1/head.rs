// SPDX-License-Identifier: Apache-2.0
//! The first 64 bytes of every segment and checkpoint: what the file is, so that an empty, swapped or newer one is told at once.
//!
//! Layout (little-endian; the places of magic, version, features and crc hold for every later version too):
//! ```text
//!  0 magic 8 B | 8 version u16 | 10 zero u16 | 12 shard u32
//! 16 incompatible features u32 | 20 compatible features u32 | 24 epoch u32 | 28 zero u32
//! 32 number u64 | 40 zero 20 B | 60 crc32c u32 of bytes 0..60
//! ```
//! An unknown incompatible feature refuses the file by name; an unknown compatible one may be ignored.

use crate::format::FormatError;
use model::media::{BlobKind, BlobName};
use model::{ShardEpoch, ShardId, crc};

/// Length of a head, and of a trailer.
pub const HEAD_BYTES: usize = 64;
/// The version written, and the newest one understood.
pub const VERSION: u16 = 1;
/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"POLYSEG\x1a";
/// First bytes of a checkpoint.
pub const CHECKPOINT_MAGIC: [u8; 8] = *b"POLYCKP\x1a";
/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// Shard, kind and number: must be those of the file's name.
    pub name: BlobName,
    pub version: u16,
    pub incompatible: u32,
    pub compatible: u32,
    /// The life that wrote it.
    pub epoch: ShardEpoch,
}

/// The kind of blob that starts with these bytes.
pub fn kind_of(bytes: &[u8]) -> Option<BlobKind> {
    match *bytes.first_chunk::<8>()? {
        SEGMENT_MAGIC => Some(BlobKind::Segment),
        CHECKPOINT_MAGIC => Some(BlobKind::Checkpoint),
        _ => None,
    }
}

pub(crate) fn magic(kind: BlobKind) -> [u8; 8] {
    match kind {
        BlobKind::Segment => SEGMENT_MAGIC,
        BlobKind::Checkpoint => CHECKPOINT_MAGIC,
        // The log's files have heads of their own, which no reader of blobs looks at.
        BlobKind::Slot => [0; 8],
    }
}

impl FileHead {
    /// The head of a file written now.
    pub fn new(name: BlobName, epoch: ShardEpoch) -> FileHead {
        FileHead { name, version: VERSION, incompatible: 0, compatible: 0, epoch }
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[0..8].copy_from_slice(&magic(self.name.kind));
        out[8..10].copy_from_slice(&self.version.to_le_bytes());
        out[12..16].copy_from_slice(&self.name.shard.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.incompatible.to_le_bytes());
        out[20..24].copy_from_slice(&self.compatible.to_le_bytes());
        out[24..28].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.name.number.to_le_bytes());
        seal(&mut out);
        out
    }

    /// Reads a head of whatever kind it says it is.
    pub fn decode(bytes: &[u8]) -> Result<FileHead, FormatError> {
        let bytes: &[u8; HEAD_BYTES] =
            bytes.first_chunk().ok_or_else(|| FormatError::damaged(0, "the file ends before its head does"))?;
        let kind = kind_of(bytes).ok_or_else(|| FormatError::damaged(0, "no known magic"))?;
        check_seal(bytes, 0)?;
        let head = FileHead {
            name: BlobName { shard: ShardId(u32_at(bytes, 12)), kind, number: u64_at(bytes, 32) },
            version: u16_at(bytes, 8),
            incompatible: u32_at(bytes, 16),
            compatible: u32_at(bytes, 20),
            epoch: ShardEpoch(u32_at(bytes, 24)),
        };
        // No feature of a head is known yet.
        check_version(head.version, head.incompatible, 0)?;
        Ok(head)
    }

    /// Reads the head of the file called `name`: one of another name or kind does not belong there.
    pub fn decode_named(bytes: &[u8], name: BlobName) -> Result<FileHead, FormatError> {
        let head = FileHead::decode(bytes)?;
        if head.name != name {
            return Err(FormatError::damaged(0, format!("the file says it is {}", head.name)));
        }
        Ok(head)
    }
}

/// `known` are the incompatible features that this place may have.
pub(crate) fn check_version(version: u16, incompatible: u32, known: u32) -> Result<(), FormatError> {
    let unknown = incompatible & !known;
    if version > VERSION {
        Err(FormatError::Newer { feature: format!("format version {version}") })
    } else if unknown != 0 {
        Err(FormatError::Newer { feature: format!("feature bits {unknown:#010x}") })
    } else {
        Ok(())
    }
}

/// Writes the checksum that ends a head or trailer.
pub(crate) fn seal(bytes: &mut [u8; HEAD_BYTES]) {
    let crc = crc::crc32c(&bytes[..HEAD_BYTES - 4]);
    bytes[HEAD_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn check_seal(bytes: &[u8; HEAD_BYTES], at: u64) -> Result<(), FormatError> {
    let (found, stated) = (crc::crc32c(&bytes[..HEAD_BYTES - 4]), u32_at(bytes, HEAD_BYTES - 4));
    if found == stated {
        Ok(())
    } else {
        Err(FormatError::damaged(at, format!("checksum of these 64 bytes is {found:#010x}, stated {stated:#010x}")))
    }
}

/// `at` is a constant of a layout, below the array's end.
pub(crate) fn u16_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
