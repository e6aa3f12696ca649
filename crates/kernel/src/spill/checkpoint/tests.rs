// SPDX-License-Identifier: Apache-2.0
//! Chains of checkpoints: folded, broken, rotten and left over.

use super::*;
use crate::spill::test_blobs::TestBlobs;
use crate::spill::{CheckpointPlan, Work, WorkDone};

const SHARD: ShardId = ShardId(0);

fn name(number: u64) -> BlobName {
    BlobName { shard: SHARD, kind: BlobKind::Checkpoint, number }
}

/// Objects are written `key=value` or `key=` for one that is gone.
fn put(blobs: &mut TestBlobs, number: u64, previous: Option<u64>, lsn: u64, objects: &str) {
    let base_number = previous.map_or(number, |previous| {
        let file = &blobs.files[&name(previous)];
        checkpoint::decode_state(file, name(previous)).unwrap().base_number
    });
    let plan = CheckpointPlan {
        shard: SHARD,
        number,
        is_base: previous.is_none(),
        base_number,
        previous,
        epoch: ShardEpoch(7),
        lsn: Lsn(lsn),
        segments: vec![lsn / 10, lsn / 10 + 1],
        objects: objects
            .split_whitespace()
            .map(|object| {
                let (key, value) = object.split_once('=').unwrap();
                let key = ObjectKey { kind: 1, key: key.into() };
                (key, (!value.is_empty()).then(|| value.into()))
            })
            .collect(),
    };
    let WorkDone::Checkpoint { number: done, parts } = Work::EncodeCheckpoint(plan).run() else { panic!("asked so") };
    assert_eq!(done, number);
    blobs.put(name(number), &parts);
}

fn three() -> TestBlobs {
    let mut blobs = TestBlobs::default();
    put(&mut blobs, 2, None, 100, "c=1 a=1 b=1");
    put(&mut blobs, 3, Some(2), 200, "b= d=2");
    put(&mut blobs, 5, Some(3), 300, "b=3 a=");
    blobs
}

fn shown(loaded: &LoadedCheckpoints) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let objects: Vec<String> =
        loaded.objects.iter().map(|(key, value)| format!("{}={}", text(&key.key), text(value))).collect();
    format!("{:?} lsn {} segments {:?}: {}", loaded.number, loaded.lsn, loaded.segments, objects.join(" "))
}

#[test]
fn without_checkpoints_the_state_is_the_one_before_the_first_frame() {
    let loaded = load(&mut TestBlobs::default(), SHARD).unwrap();
    assert_eq!(loaded, LoadedCheckpoints::default());
}

#[test]
fn deltas_fold_into_their_base() {
    let mut blobs = three();
    let loaded = load(&mut blobs, SHARD).unwrap();
    assert_eq!(shown(&loaded), "Some(5) lsn 300 segments [30, 31]: b=3 c=1 d=2");
    assert_eq!((loaded.chain.as_slice(), loaded.highest_number), ([2, 3, 5].as_slice(), 5));
    assert_eq!(loaded.base_bytes, blobs.files[&name(2)].len() as u64);
    assert_eq!(loaded.delta_bytes, (blobs.files[&name(3)].len() + blobs.files[&name(5)].len()) as u64);
    assert_eq!((loaded.epoch, &loaded.passed_over), (ShardEpoch(7), &None));
}

#[test]
fn a_new_base_leaves_the_earlier_chain_behind() {
    let mut blobs = three();
    put(&mut blobs, 6, None, 400, "z=9");
    blobs.files.get_mut(&name(3)).unwrap()[70] ^= 1;
    let loaded = load(&mut blobs, SHARD).unwrap();
    assert_eq!(shown(&loaded), "Some(6) lsn 400 segments [40, 41]: z=9");
    assert_eq!((loaded.leftovers.as_slice(), loaded.passed_over), ([2, 3, 5].as_slice(), None));
}

#[test]
fn a_damaged_newest_one_is_passed_over_and_named() {
    let mut blobs = three();
    let whole = blobs.files[&name(5)].clone();
    for length in 0..whole.len() {
        blobs.files.insert(name(5), whole[..length].to_vec());
        let loaded = load(&mut blobs, SHARD).unwrap();
        assert_eq!(shown(&loaded), "Some(3) lsn 200 segments [20, 21]: a=1 c=1 d=2");
        assert_eq!(loaded.highest_number, 5);
        let passed_over = loaded.passed_over.unwrap();
        assert_eq!((passed_over.number, passed_over.corrupt.name.as_str()), (5, "ckpt/00/000000000005"));
        assert!(loaded.leftovers.is_empty());
    }
    let mut blobs = TestBlobs::default();
    put(&mut blobs, 1, None, 100, "a=1");
    blobs.files.get_mut(&name(1)).unwrap().clear();
    let loaded = load(&mut blobs, SHARD).unwrap();
    assert_eq!((loaded.number, loaded.lsn, loaded.highest_number), (None, Lsn(0), 1));
    assert!(loaded.passed_over.is_some());
}

#[test]
fn damage_below_the_newest_refuses_the_start() {
    for number in [2, 3] {
        let mut blobs = three();
        *blobs.files.get_mut(&name(number)).unwrap().last_mut().unwrap() ^= 1;
        let Err(OpenError::Corrupt(corrupt)) = load(&mut blobs, SHARD) else { panic!("{number} is rotten") };
        assert_eq!(corrupt.name, name(number).to_string());

        let mut blobs = three();
        blobs.files.remove(&name(number));
        let Err(OpenError::Corrupt(corrupt)) = load(&mut blobs, SHARD) else { panic!("{number} is missing") };
        assert!(corrupt.why.contains("not there"), "{corrupt}");

        // The newest and the one below it: only one may be passed over.
        let mut blobs = three();
        blobs.files.get_mut(&name(5)).unwrap().clear();
        blobs.files.get_mut(&name(number)).unwrap().truncate(100);
        assert!(matches!(load(&mut blobs, SHARD), Err(OpenError::Corrupt(_))), "{number} and 5 are damaged");
    }
}

#[test]
fn files_that_changed_places_are_damage() {
    let mut blobs = three();
    let (second, third) = (blobs.files[&name(2)].clone(), blobs.files[&name(3)].clone());
    blobs.files.insert(name(2), third);
    blobs.files.insert(name(3), second);
    let Err(OpenError::Corrupt(corrupt)) = load(&mut blobs, SHARD) else { panic!("swapped") };
    assert_eq!(corrupt.why, "the file says it is ckpt/00/000000000002");
}

#[test]
fn a_newer_newest_one_is_refused_not_passed_over() {
    let mut blobs = three();
    let file = blobs.files.get_mut(&name(5)).unwrap();
    file[8] = 2;
    let crc = model::crc::crc32c(&file[..60]);
    file[60..64].copy_from_slice(&crc.to_le_bytes());
    let refused = load(&mut blobs, SHARD).unwrap_err();
    let (name, feature) = (name(5).to_string(), "format version 2".to_owned());
    assert_eq!(refused, OpenError::Newer { name, feature });
}

#[test]
fn a_checkpoint_of_many_pieces_is_read_whole() {
    let mut blobs = TestBlobs::default();
    let mut word = 1u64;
    let objects: Vec<(ObjectKey, Option<Vec<u8>>)> = (0..24_000u32)
        .map(|number| {
            let value = (0..200)
                .flat_map(|_| {
                    word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((word >> 32) as u32).to_le_bytes()
                })
                .collect();
            (ObjectKey { kind: 1, key: number.to_be_bytes().to_vec() }, Some(value))
        })
        .collect();
    let plan = CheckpointPlan {
        shard: SHARD,
        number: 1,
        is_base: true,
        base_number: 1,
        previous: None,
        epoch: ShardEpoch(1),
        lsn: Lsn(5),
        segments: Vec::new(),
        objects: objects.clone(),
    };
    let WorkDone::Checkpoint { parts, .. } = Work::EncodeCheckpoint(plan).run() else { panic!("asked so") };
    assert!(parts.iter().map(bytes::Bytes::len).sum::<usize>() > 18_000_000, "more pieces than are read at once");
    blobs.put(name(1), &parts);
    let loaded = load(&mut blobs, SHARD).unwrap();
    let objects: BTreeMap<ObjectKey, Vec<u8>> =
        objects.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    assert!(loaded.objects == objects);
}
