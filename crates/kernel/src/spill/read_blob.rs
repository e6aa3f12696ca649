// SPDX-License-Identifier: Apache-2.0
//! Reads blobs at open, where there is nothing else to do but wait.
//!
//! Owns: cutting a long read into pieces and keeping some of them under way. Must not know: what the bytes mean.

use crate::shard::OpenError;
use bytes::Bytes;
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs, MediaError};
use model::{ShardId, media};
use std::collections::BTreeMap;

/// One read.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Reads under way at once.
const PIECES_MAX: u64 = 4;

/// Lists the blobs of one kind of a shard with their lengths, ascending by number.
pub fn list(blobs: &mut dyn Blobs, shard: ShardId, kind: BlobKind) -> Result<Vec<(BlobName, u64)>, OpenError> {
    blobs.submit(BlobTag(0), BlobOp::List { shard, kind });
    match blobs.wait_done() {
        (_, BlobDone::Listed(Ok(listed))) => Ok(listed),
        (_, BlobDone::Listed(Err(error))) => Err(refused(error)),
        (_, other) => Err(unexpected(&format!("{other:?}"))),
    }
}

/// Reads `bytes` bytes at `at`; the caller knows from a listing or a checked trailer that they are there.
pub fn read(blobs: &mut dyn Blobs, name: BlobName, at: u64, bytes: u64) -> Result<Bytes, OpenError> {
    let piece_count = bytes.div_ceil(PIECE_BYTES);
    let mut out: Vec<u8> = Vec::new();
    // Pieces that came before their turn.
    let mut early: BTreeMap<u64, Bytes> = BTreeMap::new();
    let (mut submitted, mut taken, mut under_way) = (0, 0, 0);
    let mut failed = None;
    while under_way > 0 || (taken < piece_count && failed.is_none()) {
        while failed.is_none() && submitted < piece_count && submitted < taken + PIECES_MAX {
            let from = submitted * PIECE_BYTES;
            let len = PIECE_BYTES.min(bytes - from) as u32;
            blobs.submit(BlobTag(submitted), BlobOp::Get { name, at: at + from, len });
            submitted += 1;
            under_way += 1;
        }
        let (tag, done) = blobs.wait_done();
        under_way -= 1;
        match done {
            BlobDone::Got(Ok(piece)) if piece_count == 1 => return Ok(piece),
            BlobDone::Got(Ok(piece)) => {
                early.insert(tag.0, piece);
            }
            BlobDone::Got(Err(error)) => failed = failed.or(Some(refused(error))),
            other => failed = failed.or(Some(unexpected(&format!("{other:?}")))),
        }
        while let Some(piece) = early.remove(&taken) {
            out.extend_from_slice(&piece);
            taken += 1;
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(out.into()),
    }
}

fn refused(error: MediaError) -> OpenError {
    match error {
        media::MediaError::Corrupt(corrupt) => OpenError::Corrupt(corrupt),
        error => OpenError::Media(error),
    }
}

fn unexpected(answer: &str) -> OpenError {
    OpenError::Media(MediaError::Io { name: "blobs".to_owned(), why: format!("answered out of turn: {answer}") })
}
