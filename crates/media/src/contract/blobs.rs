// SPDX-License-Identifier: Apache-2.0
//! What blobs must do, on every medium.

use bytes::Bytes;
use model::ShardId;
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs, MediaError};
use std::collections::BTreeMap;

/// Runs every case, each on fresh blobs.
pub fn blobs_suite<B: Blobs>(mut fresh: impl FnMut() -> B) {
    what_was_put_comes_back_by_ranges(&mut fresh());
    a_name_is_given_once(&mut fresh());
    two_puts_of_one_name_at_once_are_one(&mut fresh());
    what_is_missing_is_missing_and_may_be_deleted(&mut fresh());
    a_range_beyond_the_end_is_an_error(&mut fresh());
    lists_are_sorted_and_keep_shards_and_kinds_apart(&mut fresh());
    many_operations_may_be_under_way(&mut fresh());
    blobs_of_every_shape_come_back(&mut fresh());
    pieces_make_a_blob_with_the_last(&mut fresh());
    a_blob_begun_in_pieces_can_be_given_up(&mut fresh());
    files_of_the_log_can_only_be_read(&mut fresh());
}

/// A name of shard 0.
pub fn segment(number: u64) -> BlobName {
    BlobName { shard: ShardId(0), kind: BlobKind::Segment, number }
}

/// Submits one operation and waits for it.
pub fn run(blobs: &mut impl Blobs, op: BlobOp) -> BlobDone {
    blobs.submit(BlobTag(77), op);
    let (tag, done) = blobs.wait_done();
    assert_eq!(tag, BlobTag(77));
    done
}

fn put(blobs: &mut impl Blobs, name: BlobName, parts: &[&[u8]]) -> Result<(), MediaError> {
    let parts = parts.iter().map(|part| Bytes::copy_from_slice(part)).collect();
    match run(blobs, BlobOp::Put { name, parts }) {
        BlobDone::Put(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn get(blobs: &mut impl Blobs, name: BlobName, at: u64, len: u32) -> Result<Bytes, MediaError> {
    match run(blobs, BlobOp::Get { name, at, len }) {
        BlobDone::Got(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn list(blobs: &mut impl Blobs, shard: ShardId, kind: BlobKind) -> Vec<(u64, u64)> {
    match run(blobs, BlobOp::List { shard, kind }) {
        BlobDone::Listed(Ok(listed)) => {
            assert!(listed.iter().all(|(name, _)| name.shard == shard && name.kind == kind));
            listed.into_iter().map(|(name, bytes)| (name.number, bytes)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn what_was_put_comes_back_by_ranges(blobs: &mut impl Blobs) {
    put(blobs, segment(1), &[b"hello ", b"", b"world"]).unwrap();
    assert_eq!(get(blobs, segment(1), 0, 11).unwrap(), "hello world");
    assert_eq!(get(blobs, segment(1), 4, 3).unwrap(), "o w");
    assert_eq!(get(blobs, segment(1), 11, 0).unwrap(), "");
}

fn a_name_is_given_once(blobs: &mut impl Blobs) {
    put(blobs, segment(1), &[b"first"]).unwrap();
    assert!(matches!(put(blobs, segment(1), &[b"second"]), Err(MediaError::Exists { .. })));
    assert_eq!(get(blobs, segment(1), 0, 5).unwrap(), "first");
    assert_eq!(list(blobs, ShardId(0), BlobKind::Segment), [(1, 5)]);
}

fn two_puts_of_one_name_at_once_are_one(blobs: &mut impl Blobs) {
    for (tag, body) in [(1, "one"), (2, "two")] {
        blobs.submit(BlobTag(tag), BlobOp::Put { name: segment(4), parts: vec![Bytes::from(body)] });
    }
    let mut made = BTreeMap::new();
    for _ in 0..2 {
        match blobs.wait_done() {
            (tag, BlobDone::Put(outcome)) => made.insert(tag, outcome),
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(made.values().filter(|outcome| outcome.is_ok()).count(), 1, "{made:?}");
    let body = if made[&BlobTag(1)].is_ok() { "one" } else { "two" };
    assert_eq!(get(blobs, segment(4), 0, 3).unwrap(), body);
}

fn what_is_missing_is_missing_and_may_be_deleted(blobs: &mut impl Blobs) {
    assert!(matches!(get(blobs, segment(9), 0, 1), Err(MediaError::Missing { .. })));
    assert_eq!(run(blobs, BlobOp::Delete { name: segment(9) }), BlobDone::Deleted(Ok(())));
    put(blobs, segment(9), &[b"x"]).unwrap();
    assert_eq!(run(blobs, BlobOp::Delete { name: segment(9) }), BlobDone::Deleted(Ok(())));
    assert!(matches!(get(blobs, segment(9), 0, 1), Err(MediaError::Missing { .. })));
    assert!(list(blobs, ShardId(0), BlobKind::Segment).is_empty());
    put(blobs, segment(9), &[b"again"]).unwrap();
}

fn a_range_beyond_the_end_is_an_error(blobs: &mut impl Blobs) {
    put(blobs, segment(3), &[b"12345"]).unwrap();
    for (at, len) in [(0, 6), (5, 1), (3, 3), (1 << 40, 1), (0, u32::MAX)] {
        match get(blobs, segment(3), at, len) {
            Err(MediaError::Corrupt(corrupt)) => assert_eq!(corrupt.name, "seg/00/000000000003"),
            other => panic!("{len} bytes at {at}: {other:?}"),
        }
    }
}

fn lists_are_sorted_and_keep_shards_and_kinds_apart(blobs: &mut impl Blobs) {
    for number in [300, 2, 10, 1_000_000_000_000_000] {
        put(blobs, segment(number), &[b"abc"]).unwrap();
    }
    put(blobs, BlobName { shard: ShardId(1), kind: BlobKind::Segment, number: 7 }, &[b"other shard"]).unwrap();
    put(blobs, BlobName { shard: ShardId(0), kind: BlobKind::Checkpoint, number: 8 }, &[b"other kind"]).unwrap();
    assert_eq!(list(blobs, ShardId(0), BlobKind::Segment), [(2, 3), (10, 3), (300, 3), (1_000_000_000_000_000, 3)]);
    assert_eq!(list(blobs, ShardId(1), BlobKind::Segment), [(7, 11)]);
    assert_eq!(list(blobs, ShardId(0), BlobKind::Checkpoint), [(8, 10)]);
    assert!(list(blobs, ShardId(1), BlobKind::Checkpoint).is_empty());
}

fn many_operations_may_be_under_way(blobs: &mut impl Blobs) {
    for number in 0..20 {
        let parts = vec![Bytes::from(vec![number as u8; 3000 + number as usize])];
        blobs.submit(BlobTag(number), BlobOp::Put { name: segment(number), parts });
    }
    let mut seen = BTreeMap::new();
    for _ in 0..20 {
        let (tag, done) = blobs.wait_done();
        assert_eq!(done, BlobDone::Put(Ok(())));
        seen.insert(tag, ());
    }
    assert_eq!(seen.len(), 20);
    for number in 0..20 {
        blobs.submit(BlobTag(number), BlobOp::Get { name: segment(number), at: 2990, len: 10 });
    }
    for _ in 0..20 {
        let (tag, done) = blobs.wait_done();
        assert_eq!(done, BlobDone::Got(Ok(Bytes::from(vec![tag.0 as u8; 10]))));
    }
    assert_eq!(blobs.poll_done(), None);
}

fn put_piece(
    blobs: &mut impl Blobs,
    name: BlobName,
    at: u64,
    parts: &[&[u8]],
    is_last: bool,
) -> Result<(), MediaError> {
    let parts = parts.iter().map(|part| Bytes::copy_from_slice(part)).collect();
    match run(blobs, BlobOp::PutPiece { name, at, parts, is_last }) {
        BlobDone::PutPiece(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn pieces_make_a_blob_with_the_last(blobs: &mut impl Blobs) {
    let large: Vec<u8> = (0..2_500_000u32).map(|index| (index / 5) as u8).collect();
    put_piece(blobs, segment(1), 0, &[&large[..7], &large[7..1_000_000]], false).unwrap();
    put_piece(blobs, segment(1), 1_000_000, &[&large[1_000_000..2_400_000]], false).unwrap();
    assert!(matches!(get(blobs, segment(1), 0, 1), Err(MediaError::Missing { .. })), "it is not whole yet");
    assert!(list(blobs, ShardId(0), BlobKind::Segment).is_empty());
    put_piece(blobs, segment(1), 2_400_000, &[&large[2_400_000..]], true).unwrap();
    assert_eq!(get(blobs, segment(1), 0, large.len() as u32).unwrap(), large);
    assert!(matches!(put_piece(blobs, segment(1), 0, &[b"x"], true), Err(MediaError::Exists { .. })));
    put_piece(blobs, segment(2), 0, &[b"at once"], true).unwrap();
    assert_eq!(get(blobs, segment(2), 0, 7).unwrap(), "at once");
    put_piece(blobs, segment(3), 0, &[b"the end is "], false).unwrap();
    put_piece(blobs, segment(3), 11, &[], true).unwrap();
    assert_eq!(get(blobs, segment(3), 0, 11).unwrap(), "the end is ");
}

fn a_blob_begun_in_pieces_can_be_given_up(blobs: &mut impl Blobs) {
    put_piece(blobs, segment(5), 0, &[b"begun"], false).unwrap();
    assert_eq!(run(blobs, BlobOp::Delete { name: segment(5) }), BlobDone::Deleted(Ok(())));
    assert!(put_piece(blobs, segment(5), 5, &[b"more"], true).is_err());
    put_piece(blobs, segment(5), 0, &[b"anew"], true).unwrap();
    assert_eq!(get(blobs, segment(5), 0, 4).unwrap(), "anew");
}

fn blobs_of_every_shape_come_back(blobs: &mut impl Blobs) {
    put(blobs, segment(1), &[]).unwrap();
    assert_eq!(get(blobs, segment(1), 0, 0).unwrap(), "");
    let large: Vec<u8> = (0..2_500_000u32).map(|index| (index / 7) as u8).collect();
    put(blobs, segment(2), &[&large[..10], &large[10..1_500_000], &large[1_500_000..]]).unwrap();
    assert_eq!(get(blobs, segment(2), 0, large.len() as u32).unwrap(), large);
    let many: Vec<&[u8]> = large[..30_000].chunks(9).collect();
    put(blobs, segment(3), &many).unwrap();
    assert_eq!(get(blobs, segment(3), 0, 30_000).unwrap(), &large[..30_000]);
}

fn files_of_the_log_can_only_be_read(blobs: &mut impl Blobs) {
    let shard = ShardId(0);
    let refused = |error: MediaError| assert!(matches!(error, MediaError::Io { .. }), "{error}");
    for number in [0, 9, u64::MAX] {
        let name = BlobName { shard, kind: BlobKind::Slot, number };
        refused(put(blobs, name, &[b"x"]).unwrap_err());
        refused(put_piece(blobs, name, 0, &[b"x"], true).unwrap_err());
        match run(blobs, BlobOp::Delete { name }) {
            BlobDone::Deleted(outcome) => refused(outcome.unwrap_err()),
            other => panic!("{other:?}"),
        }
        assert!(matches!(get(blobs, name, 0, 1), Err(MediaError::Missing { .. })));
    }
    match run(blobs, BlobOp::List { shard, kind: BlobKind::Slot }) {
        BlobDone::Listed(outcome) => refused(outcome.unwrap_err()),
        other => panic!("{other:?}"),
    }
}
