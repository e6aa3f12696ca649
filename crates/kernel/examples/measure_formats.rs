// SPDX-License-Identifier: Apache-2.0
//! Times what a spill and an open compute: `cargo run --release -p kernel --example measure_formats`.
//!
//! The figures stand in docs/internals/measurements.md, section "Formats".

// A measurement is what a clock is for; the crate itself has none.
#![allow(clippy::disallowed_methods)]

use bytes::Bytes;
use kernel::command::Origin;
use kernel::format::v1::checkpoint::ObjectKey;
use kernel::spill::{CheckpointPlan, PartitionPiece, PlannedBatch, SegmentPlan, Work, WorkDone};
use kernel::spill::{checkpoint, segment_index};
use model::batch::{NewRecord, Numbering, build, patch};
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, BlobTag, Blobs};
use model::{LeaderEpoch, Lsn, Offset, PartitionId, ShardEpoch, ShardId};
use std::collections::VecDeque;
use std::time::Instant;

const SEGMENT_BYTES: usize = 128 * 1024 * 1024;
const BATCH_BYTES: usize = 230;
const OBJECTS: u64 = 1_000_000;
const ROUNDS: usize = 7;

fn main() {
    let clients = [1, 100, 10_000, 500_000].map(|partitions| (partitions, Origin::Kafka));
    for (partitions, origin) in clients.into_iter().chain([(1, Origin::Amqp), (100, Origin::Amqp)]) {
        let plan = segment_plan(partitions, origin);
        let name = BlobName { shard: plan.shard, kind: BlobKind::Segment, number: plan.number };
        let mut file = OneFile { name, bytes: Bytes::new(), done: VecDeque::new() };
        let build_ms = median_ms(|| {
            let plan = plan.clone();
            let start = Instant::now();
            let WorkDone::Segment { parts, .. } = Work::BuildSegment(plan).run() else { unreachable!() };
            let took_ms = start.elapsed().as_secs_f64() * 1000.0;
            file.bytes = parts.concat().into();
            took_ms
        });
        let length = file.bytes.len() as u64;
        let load_ms = median_ms(|| {
            let start = Instant::now();
            segment_index::load(&mut file, name, length).expect("just built");
            start.elapsed().as_secs_f64() * 1000.0
        });
        let index = segment_index::load(&mut file, name, length).expect("just built");
        println!(
            "segment of {} MiB, {BATCH_BYTES} B batches of {origin:?}, {partitions} partitions: built in {build_ms:.0} ms, footer {} KiB, \
             index read in {load_ms:.1} ms ({:.0} ns a run)",
            index.data_bytes >> 20,
            (length - index.data_bytes) >> 10,
            load_ms * 1e6 / index.runs.len() as f64,
        );
    }

    let plan = checkpoint_plan();
    let raw_bytes: usize =
        plan.objects.iter().map(|(key, value)| key.key.len() + value.as_ref().map_or(0, Vec::len)).sum();
    let name = BlobName { shard: plan.shard, kind: BlobKind::Checkpoint, number: plan.number };
    let mut file = OneFile { name, bytes: Bytes::new(), done: VecDeque::new() };
    let encode_ms = median_ms(|| {
        let plan = plan.clone();
        let start = Instant::now();
        let WorkDone::Checkpoint { parts, .. } = Work::EncodeCheckpoint(plan).run() else { unreachable!() };
        let took_ms = start.elapsed().as_secs_f64() * 1000.0;
        file.bytes = parts.concat().into();
        took_ms
    });
    let load_ms = median_ms(|| {
        let start = Instant::now();
        let loaded = checkpoint::load(&mut file, ShardId(0)).expect("just encoded");
        let took_ms = start.elapsed().as_secs_f64() * 1000.0;
        assert_eq!(loaded.objects.len() as u64, OBJECTS);
        took_ms
    });
    println!(
        "checkpoint of {OBJECTS} objects, {} MiB raw, {} MiB stored: encoded in {encode_ms:.0} ms ({:.2} us each), \
         loaded and folded in {load_ms:.0} ms ({:.2} us each)",
        raw_bytes >> 20,
        file.bytes.len() >> 20,
        encode_ms * 1000.0 / OBJECTS as f64,
        load_ms * 1000.0 / OBJECTS as f64,
    );
}

fn median_ms(mut round: impl FnMut() -> f64) -> f64 {
    let mut took_ms: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    took_ms.sort_by(f64::total_cmp);
    took_ms[ROUNDS / 2]
}

/// Batches as a tail holds them: slices of frames, the partitions taking turns.
fn segment_plan(partitions: u64, origin: Origin) -> SegmentPlan {
    let record = |value_bytes: usize| NewRecord {
        timestamp_ms: 1_700_000_000_000,
        key: None,
        value: Some(vec![b'x'; value_bytes].into()),
        headers: Vec::new(),
    };
    let overhead = build(&[record(100)], Numbering::NONE).bytes().len() - 100;
    let template = build(&[record(BATCH_BYTES - overhead - 1)], Numbering::NONE).bytes().to_vec();
    let count = (SEGMENT_BYTES / template.len()) as u64;
    let mut pieces: Vec<PartitionPiece> =
        (0..partitions).map(|id| PartitionPiece { partition: PartitionId(id), batches: Vec::new() }).collect();
    const BATCHES_A_FRAME: u64 = 4096;
    for first in (0..count).step_by(BATCHES_A_FRAME as usize) {
        let mut frame = Vec::with_capacity(template.len() * BATCHES_A_FRAME as usize);
        let numbers = first..count.min(first + BATCHES_A_FRAME);
        for number in numbers.clone() {
            let from = frame.len();
            frame.extend_from_slice(&template);
            patch(&mut frame[from..], Offset(number / partitions), LeaderEpoch(1));
        }
        let frame = Bytes::from(frame);
        for (place, number) in numbers.enumerate() {
            pieces[(number % partitions) as usize].batches.push(PlannedBatch {
                bytes: frame.slice(place * template.len()..(place + 1) * template.len()),
                base_offset: Offset(number / partitions),
                last_delta: 0,
                max_timestamp_ms: 1_700_000_000_000,
                origin,
            });
        }
    }
    SegmentPlan { shard: ShardId(0), epoch: ShardEpoch(1), number: 1, pieces, lent: Default::default() }
}

/// Objects of the size of a partition's or a queue's: an 8-byte key, about 100 bytes of numbers and a name.
fn checkpoint_plan() -> CheckpointPlan {
    let objects = (0..OBJECTS)
        .map(|number| {
            let mut value = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().to_vec();
            value.extend_from_slice(&[0; 56]);
            value.extend_from_slice(format!("orders.of.customer.{number:012}").as_bytes());
            (ObjectKey { kind: 3, key: number.to_be_bytes().to_vec() }, Some(value))
        })
        .collect();
    CheckpointPlan {
        shard: ShardId(0),
        number: 1,
        is_base: true,
        base_number: 1,
        previous: None,
        epoch: ShardEpoch(1),
        lsn: Lsn(1),
        segments: Vec::new(),
        objects,
    }
}

/// A medium that holds one file and takes no time.
struct OneFile {
    name: BlobName,
    bytes: Bytes,
    done: VecDeque<(BlobTag, BlobDone)>,
}

impl Blobs for OneFile {
    fn submit(&mut self, tag: BlobTag, op: BlobOp) {
        let done = match op {
            BlobOp::Get { at, len, .. } => BlobDone::Got(Ok(self.bytes.slice(at as usize..at as usize + len as usize))),
            _ => BlobDone::Listed(Ok(vec![(self.name, self.bytes.len() as u64)])),
        };
        self.done.push_back((tag, done));
    }

    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)> {
        self.done.pop_front()
    }

    fn wait_done(&mut self) -> (BlobTag, BlobDone) {
        self.done.pop_front().expect("something was submitted")
    }
}
