// SPDX-License-Identifier: Apache-2.0
//! A checkpoint: all objects of a shard's state (base), or those changed since the checkpoint before (delta), at one frame.

/// An object's name within a shard: sorted by kind, then by key. What kinds there are is the shard's business.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: u8,
    pub key: Vec<u8>,
}
