// SPDX-License-Identifier: Apache-2.0
//! The write-ahead log's bytes: a slot, a frame, and the entries inside a frame's body.
#![no_main]

use bytes::Bytes;
use kernel::format::v1::entry::Entries;
use libfuzzer_sys::fuzz_target;
use media::local::wal::frame::{self, FrameHeader, FrameKind, Life, Place};
use media::local::wal::offline::{SlotOf, inspect_slot};
use model::{Lsn, ShardEpoch, ShardId};

fuzz_target!(|data: &[u8]| {
    let of = SlotOf { cluster_id: [7; 16], shard: ShardId(0), slot: 3 };
    let _ = inspect_slot(data, Some(of));
    let _ = inspect_slot(data, None);

    // The input as a body: what was written is what is read.
    let place = Place { cluster_id: &of.cluster_id, slot: of.slot, at: 4096 };
    let header = FrameHeader {
        kind: FrameKind::Data,
        shard: of.shard,
        body_bytes: data.len() as u32,
        life: Life { epoch: ShardEpoch(1), turn: 1, nonce: 1 },
        lsn: Lsn(1),
        durable: Lsn(0),
        previous_crc: 0,
    };
    let (head, _) = frame::encode(&header, place, data);
    let whole = [head.as_slice(), data].concat();
    let read = frame::decode(place, of.shard, &whole).expect("a frame that was just written");
    assert_eq!(read.body(&whole), data);

    // A body's length is a multiple of eight.
    let body = Bytes::copy_from_slice(&data[..data.len() & !7]);
    for entry in Entries::of(&body) {
        if entry.is_err() {
            break;
        }
    }
});
