// SPDX-License-Identifier: Apache-2.0
//! The words that every other crate shares.
//!
//! Owns: identifiers, offsets, time as an argument, the record batch, the storage-media roles, limits, error kinds.
//! Must not know: any protocol's requests, any file or socket, any clock, any thread.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "Polylog runs on Linux on x86_64 and aarch64 only: elsewhere a sync call may return before the bytes are on the disk, \
     and an acknowledgement would be a lie."
);

pub mod batch;
pub mod compression;
pub mod crc;
pub mod error;
pub mod ids;
pub mod limits;
pub mod media;
pub mod planted;
pub mod time;
pub mod varint;

pub use error::{Corrupt, ErrorKind};
pub use ids::{
    HolderId, LeaderEpoch, Lsn, NamespaceId, Offset, PartitionId, ProducerEpoch, ProducerId, ShardEpoch, ShardId,
    Ticket, TopicId,
};
pub use time::Now;
