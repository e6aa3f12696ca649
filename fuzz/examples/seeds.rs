// SPDX-License-Identifier: Apache-2.0
//! Writes the seeds that the targets start from: small, whole, right inputs of every kind. `cargo run --example seeds` in `fuzz/`.

use bytes::Bytes;
use kernel::format::v1::checkpoint::{self, CheckpointState, ObjectKey};
use kernel::format::v1::segment::SegmentWriter;
use media::local::wal::frame::{self, FrameHeader, FrameKind, Life, Place};
use media::local::wal::slot::SlotHeader;
use model::batch::{self, NewRecord, Numbering};
use model::media::{BlobKind, BlobName};
use model::{Lsn, Offset, PartitionId, ProducerEpoch, ProducerId, ShardEpoch, ShardId};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join("seeds");
    let put = |target: &str, name: &str, seed: &[u8]| {
        std::fs::create_dir_all(root.join(target))?;
        std::fs::write(root.join(target).join(name), seed)
    };
    let plain = some_batch(Numbering::NONE);
    let numbered =
        some_batch(Numbering { producer_id: ProducerId(5), producer_epoch: ProducerEpoch(1), base_sequence: 9 });
    put("record_batch", "plain", &plain)?;
    put("record_batch", "numbered", &numbered)?;
    for (name, api_key, version, flexible, body) in requests(&plain) {
        put("kafka_request", name, &request(api_key, version, flexible, &body))?;
    }
    put("wal_frame", "slot", &slot(&plain))?;
    put("wal_frame", "body", &[plain.as_ref(), &[0; 8]].concat())?;
    let (base, delta) = (checkpoint_file(true), checkpoint_file(false));
    put("checkpoint", "base", &base)?;
    put("checkpoint", "delta", &delta)?;
    for kind in 0..8u8 {
        put("checkpoint", &format!("object-{kind}"), &[&[kind, 16][..], &[1; 16], &[2; 64]].concat())?;
    }
    put("segment_footer", "file", &segment(&plain))?;
    put("segment_footer", "sections", &[1, 1, 1, 5, 1, 0, 0, 1, 0, 60, 0, 1, 2, 3, 4])?;
    Ok(())
}

fn some_batch(numbering: Numbering) -> Bytes {
    let record = |value: &'static str| NewRecord {
        timestamp_ms: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: vec![(Bytes::from_static(b"name"), None)],
    };
    batch::build(&[record("one"), record("two")], numbering).bytes().clone()
}

type Seed = (&'static str, i16, i16, bool, Vec<u8>);

/// Bodies written by hand from the protocol's tables.
fn requests(records: &[u8]) -> Vec<Seed> {
    let length = (records.len() as u32).to_be_bytes();
    // acks -1, timeout, one topic "t", one partition 0, its records.
    let produce =
        [&[0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0], &length[..], records]
            .concat();
    // replica -1, wait 0, min 1, max 1 MiB, isolation 0, one topic "t", partition 0, offset 0, 1 MiB.
    let fetch = vec![
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0,
    ];
    vec![
        ("api-versions", 18, 3, true, vec![2, b'x', 2, b'1', 0]),
        ("metadata-all", 3, 4, false, vec![0xff, 0xff, 0xff, 0xff, 1]),
        ("metadata-flexible", 3, 12, true, vec![1, 1, 0, 0]),
        ("produce", 0, 3, false, [&[0xff, 0xff][..], &produce].concat()),
        ("fetch", 1, 4, false, fetch),
        (
            "list-offsets",
            2,
            1,
            false,
            vec![
                0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0xff,
            ],
        ),
        (
            "create-topics",
            19,
            2,
            false,
            vec![0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        ),
        ("delete-topics", 20, 1, false, vec![0, 0, 0, 1, 0, 1, b't', 0, 0, 1, 0]),
        ("init-producer-id", 22, 0, false, vec![0xff, 0xff, 0, 0, 1, 0]),
    ]
}

/// With the byte before it that says where the stream is cut.
fn request(api_key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend_from_slice(&api_key.to_be_bytes());
    head.extend_from_slice(&version.to_be_bytes());
    head.extend_from_slice(&[0, 0, 0, 1, 0, 1, b'c']);
    if flexible {
        head.push(0);
    }
    let mut out = vec![9];
    out.extend_from_slice(&((head.len() + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    out
}

fn slot(body: &[u8]) -> Vec<u8> {
    let (cluster_id, shard, slot) = ([7; 16], ShardId(0), 3);
    let life = Life { epoch: ShardEpoch(1), turn: 1, nonce: 99 };
    let header = SlotHeader {
        cluster_id,
        shard,
        slot,
        life,
        base: Lsn(1),
        copies_through: Lsn(0),
        previous_crc: 0,
        slot_bytes: 16 * 1024,
    };
    let (page, page_crc) = header.encode();
    let mut file = page.to_vec();
    file.resize(4096, 0);
    let frame = FrameHeader {
        kind: FrameKind::Data,
        shard,
        body_bytes: body.len() as u32,
        life,
        lsn: Lsn(1),
        durable: Lsn(0),
        previous_crc: page_crc,
    };
    let (head, _) = frame::encode(&frame, Place { cluster_id: &cluster_id, slot, at: 4096 }, body);
    file.extend_from_slice(&head);
    file.extend_from_slice(body);
    file.resize(16 * 1024, 0);
    file
}

fn checkpoint_file(is_base: bool) -> Vec<u8> {
    let name = BlobName { shard: ShardId(0), kind: BlobKind::Checkpoint, number: 1 };
    let state = CheckpointState {
        name,
        epoch: ShardEpoch(1),
        is_base,
        base_number: if is_base { 1 } else { 0 },
        previous: (!is_base).then_some(0),
        lsn: Lsn(9),
        segments: vec![1, 2],
    };
    let objects: Vec<(ObjectKey, Vec<u8>)> =
        (1..4).map(|kind| (ObjectKey { kind, key: vec![kind; 16] }, vec![kind; 40])).collect();
    let parts = checkpoint::encode(&state, objects.iter().map(|(key, value)| (key, Some(value.as_slice()))));
    parts.concat()
}

fn segment(batch: &Bytes) -> Vec<u8> {
    let name = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number: 1 };
    let mut writer = SegmentWriter::new(name, ShardEpoch(1));
    for partition in 1..4 {
        writer.push(PartitionId(partition), batch, Offset(0), Offset(1), 1_700_000_000_000);
    }
    let (parts, _) = writer.finish();
    parts.concat()
}
