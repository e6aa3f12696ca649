// SPDX-License-Identifier: Apache-2.0
//! Packing: neighbouring batches that heads made, often of one message, become one compressed batch when they are spilled.
//!
//! Owns: which batches may be packed, and their bytes as one. Must not know: when something is spilled, where it goes.
//!
//! A batch through the Kafka head is its client's and stays byte for byte. So does one that says more than its records do:
//! compressed, numbered, of a transaction, stamped by a broker's clock, or without times. The others keep offset, time, key, value
//! and headers of every record, and its order; what they have no more is that they were several. The result is a v2 batch in lz4,
//! which every client of Kafka reads, or is left uncompressed where that makes it no smaller.
//! Bounds: `RECORDS_MAX` records and `BYTES_MAX` bytes of records a packed batch, so a read of one record inflates no more.

use crate::command::Origin;
use crate::spill::work::PlannedBatch;
use model::batch::{CRC_START, HEADER_BYTES, Header, LENGTH_END, patch};
use model::compression::{self, Compression};
use model::planted::{Bug, planted};
use model::{crc, varint};

/// Of one packed batch.
const RECORDS_MAX: i64 = 256;
const BYTES_MAX: usize = 64 * 1024;

/// How many batches from the first on become one: 1 where it stays as it is, 0 without any.
pub(super) fn neighbours(batches: &[PlannedBatch]) -> usize {
    let Some(first) = batches.first() else { return 0 };
    let Some(mut before) = packable(first) else { return 1 };
    let (mut records, mut bytes) = (i64::from(before.record_count), before.bytes - HEADER_BYTES);
    let mut count = 1;
    for batch in &batches[1..] {
        let Some(header) = packable(batch) else { break };
        records += i64::from(header.record_count);
        bytes += header.bytes - HEADER_BYTES;
        let follows = header.base_offset == before.next_offset() && header.leader_epoch == before.leader_epoch;
        if !follows || records > RECORDS_MAX || bytes > BYTES_MAX {
            break;
        }
        before = header;
        count += 1;
    }
    count
}

/// The header of a batch that may be packed.
fn packable(batch: &PlannedBatch) -> Option<Header> {
    if batch.origin == Origin::Kafka {
        return None;
    }
    Header::read(&batch.bytes).filter(|header| {
        header.bytes == batch.bytes.len()
            && header.bytes >= HEADER_BYTES
            && header.magic == 2
            && header.attributes == 0
            && !header.idempotent()
            && header.base_timestamp_ms >= 0
            && header.max_timestamp_ms >= 0
            && header.record_count >= 1
            && header.record_count - 1 == header.last_offset_delta
    })
}

/// These batches, which are [`neighbours`], as one. `None` for a single one, and where a record is not well formed.
pub(super) fn packed(batches: &[PlannedBatch]) -> Option<PlannedBatch> {
    let [first_batch, _, ..] = batches else { return None };
    let first = Header::read(&first_batch.bytes)?;
    let mut records = Vec::with_capacity(BYTES_MAX);
    let mut varints = Vec::new();
    let (mut count, mut max_timestamp_ms) = (0, 0);
    for at in 0..batches.len() {
        let batch = &batches[if planted(Bug::PackedOutOfOrder) { batches.len() - 1 - at } else { at }];
        let header = Header::read(&batch.bytes)?;
        let later_ms = header.base_timestamp_ms.checked_sub(first.base_timestamp_ms)?;
        let mut rest = batch.bytes.get(HEADER_BYTES..)?;
        for _ in 0..header.record_count {
            let length = usize::try_from(varint::read_i32(&mut rest)?).ok()?;
            let (record, after) = rest.split_at_checked(length)?;
            let (attributes, mut record) = record.split_first()?;
            let timestamp_delta = varint::read_i64(&mut record)?.checked_add(later_ms)?;
            let _offset_delta = varint::read_i32(&mut record)?;
            varints.clear();
            varint::write_i64(&mut varints, timestamp_delta);
            varint::write_i64(&mut varints, count);
            varint::write_i64(&mut records, (1 + varints.len() + record.len()) as i64);
            records.push(*attributes);
            records.extend_from_slice(&varints);
            records.extend_from_slice(record);
            count += 1;
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
        max_timestamp_ms = max_timestamp_ms.max(header.max_timestamp_ms);
    }
    let compressed = compression::compress(Compression::Lz4, &records).ok().filter(|lz4| lz4.len() < records.len());
    let attributes = i16::from(if compressed.is_some() { Compression::Lz4.number() } else { 0 });
    let records = compressed.unwrap_or(records);
    let last_delta = u32::try_from(count).ok()? - 1;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len());
    // What is the same of all, numbering included, as it stands in the first.
    bytes.extend_from_slice(&first_batch.bytes[..HEADER_BYTES]);
    bytes.extend_from_slice(&records);
    let length = i32::try_from(bytes.len() - LENGTH_END).ok()?;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[23..27].copy_from_slice(&last_delta.to_be_bytes());
    bytes[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    bytes[57..61].copy_from_slice(&(last_delta + 1).to_be_bytes());
    let checksum = crc::crc32c(&bytes[CRC_START..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    patch(&mut bytes, first.base_offset, first.leader_epoch);
    Some(PlannedBatch {
        bytes: bytes.into(),
        base_offset: first_batch.base_offset,
        last_delta,
        max_timestamp_ms: batches.iter().map(|batch| batch.max_timestamp_ms).max()?,
        origin: first_batch.origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::batch::{Batch, NewRecord, Numbering, Records, build, inflate};
    use model::limits::BATCH_BYTES_MAX;
    use model::{LeaderEpoch, Offset};
    use proptest::prelude::*;

    fn planned(batch: &Batch, base_offset: u64, epoch: i32, origin: Origin) -> PlannedBatch {
        let mut bytes = batch.bytes().to_vec();
        patch(&mut bytes, Offset(base_offset), LeaderEpoch(epoch));
        let header = batch.header();
        let (last_delta, max_timestamp_ms) = (header.last_offset_delta as u32, header.max_timestamp_ms);
        PlannedBatch { bytes: bytes.into(), base_offset: Offset(base_offset), last_delta, max_timestamp_ms, origin }
    }

    /// All that a reader can tell of a record.
    type Told = (u64, i32, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn told(batch: &PlannedBatch) -> Vec<Told> {
        let header = Header::read(&batch.bytes).unwrap();
        assert_eq!((header.base_offset, header.last_offset_delta), (batch.base_offset, batch.last_delta as i32));
        let records = inflate(&batch.bytes, &header).unwrap();
        let records: Result<Vec<_>, _> = Records::of(&records, &header).collect();
        let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let told = records.unwrap().into_iter().map(|record| {
            let headers = record.headers().map(|(key, value)| (key.to_vec(), own(value))).collect();
            let offset = header.base_offset.0 + record.offset_delta as u64;
            (offset, header.leader_epoch.0, record.timestamp_ms, own(record.key), own(record.value), headers)
        });
        told.collect()
    }

    fn all_packed(batches: &[PlannedBatch]) -> Vec<PlannedBatch> {
        let mut rest = batches;
        let mut out = Vec::new();
        while !rest.is_empty() {
            let (group, after) = rest.split_at(neighbours(rest));
            match packed(group) {
                Some(batch) => out.push(batch),
                None => out.extend_from_slice(group),
            }
            rest = after;
        }
        out
    }

    fn bytes_up_to(max: usize) -> impl Strategy<Value = Bytes> {
        prop_oneof![
            4 => prop::collection::vec(0..4u8, 0..max.min(300)),
            1 => prop::collection::vec(any::<u8>(), 0..max),
        ]
        .prop_map(Bytes::from)
    }

    prop_compose! {
        fn record()(
            timestamp_ms in 0..2_000_000_000_000i64,
            key in prop::option::of(bytes_up_to(30)),
            value in prop::option::of(bytes_up_to(20_000)),
            headers in prop::collection::vec((bytes_up_to(10), prop::option::of(bytes_up_to(10))), 0..3),
        ) -> NewRecord {
            NewRecord { timestamp_ms, key, value, headers }
        }
    }

    #[derive(Clone, Debug)]
    struct Given {
        records: Vec<NewRecord>,
        is_kafkas: bool,
        is_numbered: bool,
        skipped: u64,
        next_epoch: bool,
    }

    prop_compose! {
        fn given()(
            records in prop::collection::vec(record(), 1..6),
            odd in 0..20u8,
        ) -> Given {
            let (is_kafkas, is_numbered) = (odd < 3, odd == 3);
            Given { records, is_kafkas, is_numbered, skipped: u64::from(odd == 4) * 7, next_epoch: odd == 5 }
        }
    }

    proptest! {
        #[test]
        fn a_reader_is_told_the_same(given in prop::collection::vec(given(), 1..60)) {
            let (mut next, mut epoch) = (0, 1);
            let mut batches = Vec::new();
            for given in &given {
                let numbering = Numbering {
                    producer_id: model::ProducerId(4),
                    producer_epoch: model::ProducerEpoch(0),
                    base_sequence: 9,
                };
                next += given.skipped;
                epoch += i32::from(given.next_epoch);
                let batch = build(&given.records, if given.is_numbered { numbering } else { Numbering::NONE });
                let origin = if given.is_kafkas { Origin::Kafka } else { Origin::Amqp };
                batches.push(planned(&batch, next, epoch, origin));
                next += given.records.len() as u64;
            }
            let out = all_packed(&batches);
            let told_before: Vec<Told> = batches.iter().flat_map(told).collect();
            prop_assert_eq!(out.iter().flat_map(told).collect::<Vec<Told>>(), told_before);
            for batch in &out {
                // Kafka's own check passes, and the times say what the records do.
                let checked = Batch::check(batch.bytes.clone(), BATCH_BYTES_MAX).expect("a valid batch");
                let times = told(batch).into_iter().map(|record| record.2);
                prop_assert_eq!(times.max(), Some(checked.header().max_timestamp_ms));
                prop_assert!(i64::from(checked.header().record_count) <= RECORDS_MAX);
                let is_packed = !batches.iter().any(|before| before.bytes == batch.bytes);
                prop_assert!(!is_packed || batch.origin != Origin::Kafka);
            }
            let unpacked = |out: &[PlannedBatch]| out.iter().filter(|batch| batch.origin == Origin::Kafka).cloned().collect::<Vec<_>>();
            let bytes_of = |batches: Vec<PlannedBatch>| batches.into_iter().map(|batch| batch.bytes).collect::<Vec<_>>();
            prop_assert_eq!(bytes_of(unpacked(&out)), bytes_of(unpacked(&batches)));
        }
    }

    #[test]
    fn messages_of_a_head_become_batches_of_bounded_size() {
        let value = |number: u64| Some(format!("message {number} {}", "x".repeat(160)).into());
        let batches: Vec<PlannedBatch> = (0..1_000)
            .map(|number| {
                let record = NewRecord { timestamp_ms: 5, value: value(number), ..NewRecord::default() };
                planned(&build(&[record], Numbering::NONE), number, 1, Origin::Mqtt)
            })
            .collect();
        let out = all_packed(&batches);
        assert_eq!(out.iter().map(|batch| batch.last_delta + 1).collect::<Vec<u32>>(), [256, 256, 256, 232]);
        let bytes = |batches: &[PlannedBatch]| batches.iter().map(|batch| batch.bytes.len()).sum::<usize>();
        assert!(bytes(&out) * 10 < bytes(&batches), "{} of {}", bytes(&out), bytes(&batches));
    }
}
