// SPDX-License-Identifier: Apache-2.0
//! A checkpoint's bytes: the file, what salvage gets out of it, and each kind of object, whose bytes stand behind a checksum.
#![no_main]

use kernel::format::v1::checkpoint::{self, ObjectKey};
use kernel::format::v1::object::Object;
use libfuzzer_sys::fuzz_target;
use model::ShardId;
use model::media::{BlobKind, BlobName};

fuzz_target!(|data: &[u8]| {
    let name = BlobName { shard: ShardId(0), kind: BlobKind::Checkpoint, number: 1 };
    let _ = checkpoint::decode(data, name, |key, value| {
        if let Some(value) = value {
            let _ = Object::decode(&key, &value);
        }
    });
    let _ = checkpoint::salvage(data, name);
    let _ = checkpoint::decode_state(data, name);

    let [kind, key_bytes, rest @ ..] = data else { return };
    let (key, value) = rest.split_at(usize::from(*key_bytes % 32).min(rest.len()));
    let _ = Object::decode(&ObjectKey { kind: *kind, key: key.to_vec() }, value);
});
