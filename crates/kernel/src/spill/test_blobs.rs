// SPDX-License-Identifier: Apache-2.0
//! Blobs in a map, for this folder's tests.

use bytes::Bytes;
use model::media::{BlobDone, BlobName, BlobOp, BlobTag, Blobs, MediaError};
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub struct TestBlobs {
    pub files: BTreeMap<BlobName, Vec<u8>>,
    done: VecDeque<(BlobTag, BlobDone)>,
}

impl TestBlobs {
    pub fn put(&mut self, name: BlobName, parts: &[Bytes]) {
        self.files.insert(name, parts.concat());
    }

    fn answer(&mut self, op: BlobOp) -> BlobDone {
        match op {
            BlobOp::Get { name, at, len } => {
                let bytes = self.files.get(&name).and_then(|file| file.get(at as usize..)?.get(..len as usize));
                BlobDone::Got(match bytes {
                    Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
                    None => Err(MediaError::Missing { name: name.to_string() }),
                })
            }
            BlobOp::List { shard, kind } => BlobDone::Listed(Ok(self
                .files
                .iter()
                .filter(|(name, _)| name.shard == shard && name.kind == kind)
                .map(|(name, file)| (*name, file.len() as u64))
                .collect())),
            BlobOp::Put { .. }
            | BlobOp::PutPiece { .. }
            | BlobOp::Delete { .. }
            | BlobOp::Reserve { .. }
            | BlobOp::UseReserve { .. } => {
                unreachable!("loading changes nothing")
            }
        }
    }
}

impl Blobs for TestBlobs {
    fn submit(&mut self, tag: BlobTag, op: BlobOp) {
        let done = self.answer(op);
        // Answers come in the opposite order, which is any order.
        self.done.push_front((tag, done));
    }

    fn poll_done(&mut self) -> Option<(BlobTag, BlobDone)> {
        self.done.pop_front()
    }

    fn wait_done(&mut self) -> (BlobTag, BlobDone) {
        self.poll_done().expect("something was submitted")
    }
}
