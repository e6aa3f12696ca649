// SPDX-License-Identifier: Apache-2.0
use super::*;
use proptest::prelude::*;

fn records(values: &[&'static str]) -> Vec<NewRecord> {
    values
        .iter()
        .map(|value| NewRecord {
            timestamp_ms: 1_700_000_000_000,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(value.as_bytes())),
            headers: vec![(Bytes::from_static(b"h"), None)],
        })
        .collect()
}

fn numbered(base_sequence: i32) -> Numbering {
    Numbering { producer_id: ProducerId(7), producer_epoch: ProducerEpoch(0), base_sequence }
}

/// Changes one byte range of a good batch and, unless the checksum itself is the point, mends the checksum.
fn changed(at: usize, bytes: &[u8], mend: bool) -> Bytes {
    let mut batch = build(&records(&["a", "b", "c"]), numbered(0)).bytes().to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    if mend {
        let crc = crc::crc32c(&batch[CRC_START..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    batch.into()
}

#[test]
fn a_good_batch_is_taken_and_its_records_are_walked() {
    let batch = build(&records(&["a", "b"]), Numbering::NONE);
    let checked = Batch::check(batch.bytes().clone(), BATCH_BYTES_MAX).unwrap();
    assert_eq!(checked.header().record_count, 2);
    assert!(!checked.header().idempotent());
    let inflated = inflate(checked.bytes(), checked.header()).unwrap();
    let values: Vec<_> =
        Records::of(&inflated, checked.header()).map(|record| record.unwrap().value.unwrap().to_vec()).collect();
    assert_eq!(values, [b"a", b"b"]);
}

#[test]
fn a_compressed_batch_is_a_good_batch_with_the_same_records() {
    let words: Vec<&'static str> = std::iter::repeat_n("the same again", 50).collect();
    let plain = build(&records(&words), numbered(5));
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = compressed(&plain, compression).unwrap();
        let checked = Batch::check(batch.bytes().clone(), BATCH_BYTES_MAX).unwrap();
        assert_eq!(&checked, &batch);
        assert_eq!(checked.header().compression(), Some(compression));
        assert_eq!(checked.header().base_sequence, 5);
        let inflated = inflate(checked.bytes(), checked.header()).unwrap();
        let record = Records::of(&inflated, checked.header()).last().unwrap().unwrap();
        assert_eq!((record.offset_delta, record.value), (49, Some(b"the same again".as_slice())));
        assert_eq!(record.headers().collect::<Vec<_>>(), [(b"h".as_slice(), None)]);
    }
    let short = build(&records(&["a"]), Numbering::NONE);
    assert_eq!(compressed(&short, Compression::Gzip).unwrap(), short, "nothing is gained");
}

#[test]
fn each_lie_in_the_header_has_its_own_refusal() {
    let check = |bytes| Batch::check(bytes, BATCH_BYTES_MAX).unwrap_err();
    let good = changed(0, &[], true);
    assert_eq!(check(Bytes::new()), BatchError::Empty);
    assert_eq!(check(good.slice(..60)), BatchError::Length);
    assert_eq!(check(good.slice(..good.len() - 1)), BatchError::Length);
    assert_eq!(check(changed(8, &(-1i32).to_be_bytes(), true)), BatchError::Length);
    assert_eq!(check(changed(8, &i32::MAX.to_be_bytes(), true)), BatchError::Length);
    assert_eq!(check(changed(16, &[1], true)), BatchError::Magic(1));
    assert_eq!(check(changed(16, &[0], true)), BatchError::Magic(0));
    assert_eq!(check(changed(40, &[0x55], false)), BatchError::Crc);
    assert_eq!(check(changed(21, &[0, 5], true)), BatchError::Attributes(5));
    assert_eq!(check(changed(21, &[0, 0x20], true)), BatchError::Attributes(0x20), "only the broker writes markers");
    assert_eq!(check(changed(57, &4i32.to_be_bytes(), true)), BatchError::Count);
    assert_eq!(check(changed(57, &(-1i32).to_be_bytes(), true)), BatchError::Count);
    assert_eq!(check(changed(57, &i32::MIN.to_be_bytes(), true)), BatchError::Count);
    assert_eq!(check(changed(23, &[0x7f, 0xff, 0xff, 0xff, 0, 0], true)), BatchError::Count);
    assert_eq!(check(changed(53, &(-5i32).to_be_bytes(), true)), BatchError::Sequence);
    assert_eq!(check(changed(51, &(-1i16).to_be_bytes(), true)), BatchError::Sequence);
    assert_eq!(check(changed(61, &[0x7e], true)), BatchError::Record);
    assert_eq!(Batch::check(good.clone(), 50).unwrap_err(), BatchError::TooLarge { bytes: good.len(), bytes_max: 50 });
}

#[test]
fn patching_leaves_the_checksum_good() {
    let mut bytes = changed(0, &[], true).to_vec();
    patch(&mut bytes, Offset(99), LeaderEpoch(3));
    let batch = Batch::check(bytes.into(), BATCH_BYTES_MAX).unwrap();
    assert_eq!(batch.header().base_offset, Offset(99));
    assert_eq!(batch.header().next_offset(), Offset(102));
    assert_eq!(batch.header().leader_epoch, LeaderEpoch(3));
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_plus(i32::MAX, 1), 0);
    assert_eq!(sequence_plus(i32::MAX - 1, 3), 1);
    assert_eq!(sequence_plus(0, 5), 5);
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Batch::check(bytes.into(), BATCH_BYTES_MAX);
    }

    #[test]
    fn any_change_of_one_byte_is_noticed(at in CRC_START..100usize, bit in 0..8u32) {
        let good = build(&records(&["aaaaaaaaaaaaaaaaaaaa", "b", "c"]), numbered(0)).bytes().to_vec();
        let mut bad = good.clone();
        let at = at.min(bad.len() - 1);
        bad[at] ^= 1 << bit;
        prop_assert!(Batch::check(bad.into(), BATCH_BYTES_MAX).is_err());
    }

    #[test]
    fn records_come_back_as_built(
        parts in proptest::collection::vec(
            (any::<u32>(), any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>()), 1..20)
    ) {
        let records: Vec<_> = parts.iter().map(|(time, key, value)| NewRecord {
            timestamp_ms: i64::from(*time),
            key: key.clone().map(Bytes::from),
            value: value.clone().map(Bytes::from),
            headers: vec![],
        }).collect();
        let batch = build(&records, Numbering::NONE);
        let batch = Batch::check(batch.bytes().clone(), BATCH_BYTES_MAX).unwrap();
        let inflated = inflate(batch.bytes(), batch.header()).unwrap();
        let back: Vec<_> = Records::of(&inflated, batch.header()).map(Result::unwrap).collect();
        prop_assert_eq!(back.len(), records.len());
        for (back, record) in back.iter().zip(&records) {
            prop_assert_eq!(back.key, record.key.as_deref());
            prop_assert_eq!(back.value, record.value.as_deref());
            prop_assert_eq!(back.timestamp_ms, record.timestamp_ms);
        }
    }
}
