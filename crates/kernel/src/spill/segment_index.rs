// SPDX-License-Identifier: Apache-2.0
//! Reads a segment's index from its medium.
//!
//! Owns: which parts of the file are read, in which order. Must not know: the layout (`format/v1/segment.rs`), the records.

use crate::format::FormatError;
use crate::format::v1::head::{FileHead, HEAD_BYTES};
use crate::format::v1::segment::{self, SegmentIndex, Trailer};
use crate::shard::OpenError;
use crate::spill::read_blob;
use model::media::{BlobName, Blobs};
use model::planted::{Bug, planted};

/// A footer is read in one piece with the trailer when it fits in this.
const TAIL_BYTES: u64 = 64 * 1024;

/// Reads and checks head, trailer and footer of a segment of `length` bytes. The records are not read.
///
/// # Errors
/// `Corrupt`: file and byte of the damage. `Newer`: it has a feature that this version does not know.
pub fn load(blobs: &mut dyn Blobs, name: BlobName, length: u64) -> Result<SegmentIndex, OpenError> {
    let named = |error: FormatError| error.named(name);
    let too_short = || named(FormatError::damaged(length, "the file is too short for a segment"));
    if planted(Bug::RecoveryReadsAll) {
        read_blob::read(blobs, name, 0, length)?;
    }
    let trailer_at = length.checked_sub(HEAD_BYTES as u64).ok_or_else(too_short)?;
    let head = read_blob::read(blobs, name, 0, HEAD_BYTES as u64)?;
    let tail_at = length.saturating_sub(TAIL_BYTES);
    let tail = read_blob::read(blobs, name, tail_at, length - tail_at)?;
    FileHead::decode_named(&head, name).map_err(named)?;
    let trailer = Trailer::decode(&tail[(trailer_at - tail_at) as usize..], name, length).map_err(named)?;
    let (footer_at, footer_bytes) = trailer.footer();
    let footer = match footer_at.checked_sub(tail_at) {
        Some(from) => tail.slice(from as usize..(from + footer_bytes) as usize),
        None => read_blob::read(blobs, name, footer_at, footer_bytes)?,
    };
    segment::decode_footer(&trailer, &footer, length).map_err(named)
}
