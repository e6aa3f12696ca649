// SPDX-License-Identifier: Apache-2.0
//! Checkpoints against a plain list of objects, against every flipped bit, and against the bytes of the first release.

use super::*;
use proptest::prelude::*;

type Object = (ObjectKey, Option<Vec<u8>>);

const NAME: BlobName = BlobName { shard: ShardId(1), kind: BlobKind::Checkpoint, number: 12 };

fn base() -> CheckpointState {
    CheckpointState {
        name: NAME,
        epoch: ShardEpoch(4),
        is_base: true,
        base_number: 12,
        previous: None,
        lsn: Lsn(90_001),
        segments: vec![0, 3, 4, 700, u64::MAX],
    }
}

fn delta() -> CheckpointState {
    CheckpointState { is_base: false, base_number: 10, previous: Some(11), segments: vec![], ..base() }
}

fn object(kind: u8, key: &[u8], value: Option<&[u8]>) -> Object {
    (ObjectKey { kind, key: key.to_vec() }, value.map(<[u8]>::to_vec))
}

fn small() -> Vec<Object> {
    vec![
        object(0, b"", Some(b"")),
        object(1, b"a", Some(b"one")),
        object(1, b"a\0", None),
        object(1, b"b", Some(&[7; 300])),
        object(255, &[0xff; 9], Some(b"last")),
    ]
}

fn write(state: &CheckpointState, objects: &[Object]) -> Vec<u8> {
    encode(state, objects.iter().map(|(key, value)| (key, value.as_deref()))).concat()
}

fn read(file: &[u8], name: BlobName) -> Result<(CheckpointState, Vec<Object>), FormatError> {
    let mut objects = Vec::new();
    let state = decode(file, name, |key, value| objects.push((key, value)))?;
    Ok((state, objects))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_checkpoint_is_read_back_as_it_was_written(
        objects in proptest::collection::btree_map(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..12)),
            proptest::option::of((any::<u8>(), prop_oneof![9 => 0..200usize, 1 => 0..600_000usize])),
            0..60,
        ),
        is_base in any::<bool>(),
    ) {
        let state = if is_base { base() } else { delta() };
        let objects: Vec<Object> = objects
            .into_iter()
            .map(|((kind, key), value)| (ObjectKey { kind, key }, value.map(|(byte, bytes)| varied(byte, bytes))))
            .collect();
        prop_assert_eq!(read(&write(&state, &objects), NAME), Ok((state, objects)));
    }

    #[test]
    fn any_bytes_give_a_checkpoint_or_an_error(noise in proptest::collection::vec(any::<u8>(), 0..600), raw in 0..600u32) {
        let _ = (read(&noise, NAME), salvage(&noise, NAME));
        // Checksums that fit, so that what lies behind them is reached: noise as the inflated bytes, and as the stored ones.
        for file in [
            with_block(&noise, &lz4_flex::block::compress(&noise), noise.len() as u32),
            with_block(&noise, &noise, raw),
        ] {
            let _ = (read(&file, NAME), salvage(&file, NAME));
        }
    }
}

/// Bytes that lz4 cannot make vanish.
fn varied(seed: u8, bytes: usize) -> Vec<u8> {
    let mut word = u32::from(seed) + 1;
    (0..bytes)
        .map(|_| {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (word >> 24) as u8
        })
        .collect()
}

/// A checkpoint of one block of which only `stored` and `raw_bytes` matter, every checksum right.
fn with_block(raw: &[u8], stored: &[u8], raw_bytes: u32) -> Vec<u8> {
    let head = FileHead::new(NAME, ShardEpoch(4));
    let mut writer = Writer::new(&base(), &head);
    let mut block_head = [0; BLOCK_HEAD_BYTES];
    block_head[4..8].copy_from_slice(&raw_bytes.to_le_bytes());
    block_head[8..12].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    let crc = block_crc(NAME, &block_head, stored);
    block_head[16..20].copy_from_slice(&crc.to_le_bytes());
    writer.out.extend_from_slice(&block_head);
    writer.out.extend_from_slice(stored);
    writer.blocks = 1;
    writer.finish(&head, raw.len() as u64 / 8).concat()
}

#[test]
fn every_flipped_bit_is_seen() {
    for state in [base(), delta()] {
        let file = write(&state, &small());
        let mut flipped = file.clone();
        for at in 0..file.len() {
            for bit in 0..8 {
                flipped[at] ^= 1 << bit;
                let read = read(&flipped, NAME);
                assert!(matches!(read, Err(FormatError::Damaged { .. })), "byte {at} bit {bit}: {read:?}");
                flipped[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn a_file_cut_or_grown_is_refused() {
    let file = write(&base(), &small());
    for length in 0..file.len() {
        assert!(matches!(read(&file[..length], NAME), Err(FormatError::Damaged { .. })), "cut to {length}");
    }
    for more in [1, 64, 4096] {
        let grown = [file.as_slice(), &vec![0; more]].concat();
        assert!(matches!(read(&grown, NAME), Err(FormatError::Damaged { .. })), "{more} bytes more");
    }
}

#[test]
fn a_checkpoint_under_another_name_is_refused() {
    let file = write(&base(), &small());
    for name in [
        BlobName { number: 11, ..NAME },
        BlobName { shard: ShardId(0), ..NAME },
        BlobName { kind: BlobKind::Segment, ..NAME },
    ] {
        assert!(matches!(read(&file, name), Err(FormatError::Damaged { at: 0, .. })), "{name}");
    }
}

/// Four objects, each about a block long and lying over the border of two.
fn four_blocks() -> (Vec<Object>, Vec<u8>, Vec<usize>) {
    let objects: Vec<Object> = (0..4).map(|key| object(key, b"k", Some(&varied(key, BLOCK_RAW_BYTES - 106)))).collect();
    let file = write(&base(), &objects);
    let mut raw = vec![0; BLOCK_RAW_BYTES];
    let mut starts = vec![read_state(&file, NAME).unwrap().1];
    while let Ok(block) = read_block(NAME, &file[starts[starts.len() - 1]..], &mut raw) {
        starts.push(starts[starts.len() - 1] + block.file_bytes);
    }
    assert_eq!(starts.len(), 5, "the last is where the trailer begins");
    (objects, file, starts)
}

#[test]
fn blocks_cannot_stand_in_for_each_other() {
    let (objects, file, starts) = four_blocks();
    assert_eq!(read(&file, NAME), Ok((base(), objects)));
    let [first, second, third, fourth, _] = starts[..] else { panic!("four blocks: {starts:?}") };
    let swapped = [&file[..first], &file[second..third], &file[first..second], &file[third..]].concat();
    assert!(matches!(read(&swapped, NAME), Err(FormatError::Damaged { at, .. }) if at == first as u64));
    let dropped = [&file[..third], &file[fourth..]].concat();
    assert!(matches!(read(&dropped, NAME), Err(FormatError::Damaged { at, .. }) if at == third as u64));
}

#[test]
fn what_is_good_of_a_damaged_checkpoint_is_saved() {
    let (objects, file, starts) = four_blocks();
    assert_eq!(salvage(&file, NAME), Remains { state: Some(base()), objects: objects.clone(), damage: vec![] });
    // A block lost: its object, and the one that ends in it, or begins in it.
    for (block, kept) in [(0, [2, 3].as_slice()), (1, &[0, 3]), (2, &[0, 1]), (3, &[0, 1, 2])] {
        let mut rotten = file.clone();
        rotten[starts[block] + 9_000] ^= 1;
        let remains = salvage(&rotten, NAME);
        let kept: Vec<Object> = kept.iter().map(|at| objects[*at].clone()).collect();
        assert!(remains.objects == kept, "block {block}: {} objects", remains.objects.len());
        assert_eq!(remains.state, Some(base()));
        assert_eq!(remains.damage, vec![FormatError::damaged(starts[block] as u64, "checksum of a block")]);
    }
    let mut rotten = file.clone();
    rotten[40] ^= 1;
    let remains = salvage(&rotten, NAME);
    assert_eq!((remains.state, remains.objects == objects, remains.damage.len()), (None, true, 2));
    let remains = salvage(&file[..starts[2] + 7], NAME);
    assert!(remains.objects == objects[..2] && remains.damage.len() == 1, "{:?}", remains.damage);
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    let file = write(&base(), &small());
    for at in [0, file.len() - HEAD_BYTES] {
        for (field, value, feature) in [(8, 2, "format version 2"), (17, 1, "feature bits 0x00000100")] {
            let mut file = file.clone();
            file[at + field] = value;
            let crc = crc::crc32c(&file[at..at + HEAD_BYTES - 4]);
            file[at + HEAD_BYTES - 4..at + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(read(&file, NAME), Err(FormatError::Newer { feature: feature.to_owned() }));
        }
    }
}

#[test]
fn an_object_over_many_blocks_is_whole() {
    let value = varied(1, 5 * BLOCK_RAW_BYTES + 3);
    let objects = vec![object(1, b"before", Some(b"x")), object(1, b"large", Some(&value)), object(2, b"after", None)];
    assert_eq!(read(&write(&delta(), &objects), NAME), Ok((delta(), objects)));
}

#[test]
#[should_panic = "objects come sorted"]
fn objects_out_of_order_are_never_written() {
    write(&base(), &[object(2, b"", None), object(1, b"", None)]);
}

/// Made by version 1. Never edited: a change of layout gets a version or a feature bit, and a fixture of its own.
const FIXTURE_BASE: &[u8] = include_bytes!("../testdata/checkpoint_base.bin");
const FIXTURE_DELTA: &[u8] = include_bytes!("../testdata/checkpoint_delta.bin");

#[test]
fn the_bytes_of_version_1_stay() {
    for (state, fixture) in [(base(), FIXTURE_BASE), (delta(), FIXTURE_DELTA)] {
        assert_eq!(read(fixture, NAME), Ok((state.clone(), small())));
        assert_eq!(write(&state, &small()), fixture);
    }
}
