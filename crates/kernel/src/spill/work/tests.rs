// SPDX-License-Identifier: Apache-2.0
//! Segments as a spill makes and an open loads them.

use super::*;
use crate::command::Origin;
use crate::shard::OpenError;
use crate::spill::segment_index;
use crate::spill::test_blobs::TestBlobs;
use model::batch::{Header, NewRecord, Numbering, build, patch};
use model::{LeaderEpoch, Offset};

const NAME: BlobName = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number: 4 };

fn batch(base_offset: u64, records: usize, value_bytes: usize) -> PlannedBatch {
    let records: Vec<NewRecord> = (0..records)
        .map(|number| NewRecord {
            timestamp_ms: 1_000 + number as i64,
            key: None,
            value: Some(vec![number as u8; value_bytes].into()),
            headers: Vec::new(),
        })
        .collect();
    let mut bytes = build(&records, Numbering::NONE).bytes().to_vec();
    patch(&mut bytes, Offset(base_offset), LeaderEpoch(1));
    let header = Header::read(&bytes).unwrap();
    PlannedBatch {
        bytes: bytes.into(),
        base_offset: header.base_offset,
        last_delta: header.last_offset_delta as u32,
        max_timestamp_ms: header.max_timestamp_ms,
        origin: Origin::Kafka,
    }
}

fn plan(partitions: &[u64], batches: u64) -> SegmentPlan {
    let piece = |partition: &u64| PartitionPiece {
        partition: PartitionId(*partition),
        batches: (0..batches).map(|number| batch(number * 3, 3, 200)).collect(),
    };
    SegmentPlan {
        shard: NAME.shard,
        epoch: ShardEpoch(2),
        number: 4,
        pieces: partitions.iter().map(piece).collect(),
        lent: BTreeMap::new(),
    }
}

#[test]
fn a_segment_is_loaded_with_the_index_it_was_built_with() {
    // One whose footer comes with the trailer, and one whose footer has to be read by itself.
    let many: Vec<u64> = (0..9_000).rev().collect();
    for (partitions, batches) in [([9, 2, 5].as_slice(), 500), (many.as_slice(), 1), (&[], 0)] {
        let work = Work::BuildSegment(plan(partitions, batches));
        let WorkDone::Segment { number: 4, parts, index } = work.run() else { panic!("asked so") };
        let mut blobs = TestBlobs::default();
        blobs.put(NAME, &parts);
        let length = blobs.files[&NAME].len() as u64;
        assert_eq!(segment_index::load(&mut blobs, NAME, length), Ok(index.clone()));
        assert_eq!(index.file_bytes, length);
        for run in &index.runs {
            let mut next = run.first_offset;
            let run_bytes = &blobs.files[&NAME][run.pos as usize..(run.pos + run.bytes) as usize];
            let mut rest = run_bytes;
            while !rest.is_empty() {
                let header = Header::read(rest).unwrap();
                assert_eq!(header.base_offset, next);
                next = header.next_offset();
                rest = &rest[header.bytes..];
            }
            assert_eq!(next, run.last_offset.plus(1));
        }
    }
}

#[test]
fn damage_names_the_file_and_the_byte() {
    let WorkDone::Segment { parts, .. } = Work::BuildSegment(plan(&[1], 5)).run() else { panic!("asked so") };
    let mut blobs = TestBlobs::default();
    blobs.put(NAME, &parts);
    let length = blobs.files[&NAME].len();
    blobs.files.get_mut(&NAME).unwrap()[length - 30] ^= 4;
    let refused = segment_index::load(&mut blobs, NAME, length as u64);
    let Err(OpenError::Corrupt(corrupt)) = refused else { panic!("a flipped bit") };
    assert_eq!((corrupt.name.as_str(), corrupt.at), ("seg/00/000000000004", length as u64 - 64));
    for length in [0, 1, 63, 64, 127] {
        let refused = segment_index::load(&mut blobs, NAME, length);
        assert!(matches!(refused, Err(OpenError::Corrupt(_))), "cut to {length}: {refused:?}");
    }
}
