// SPDX-License-Identifier: Apache-2.0
//! Bounds that more than one crate must agree on. A bound with one user stands beside that user.

/// Largest record batch in bytes (header included): the ceiling for any topic's own limit.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest body of one WAL frame in bytes: one largest batch, its entry header, and room for what is decided with it.
pub const FRAME_BODY_BYTES_MAX: usize = BATCH_BYTES_MAX + 1024 * 1024;

/// A drain closes its frame once the body has reached this size, so that few bytes are lost where a slot of the log ends: a frame does
/// not span two. (What is under way goes out with one flush all the same.)
pub const FRAME_BODY_BYTES_TARGET: usize = 1024 * 1024;

/// Frames are padded to this: the page of the device and of the page cache, and what O_DIRECT would ask for.
pub const PAGE_BYTES: usize = 4096;

/// Unit of checksumming and of reading in a segment; a block holds whole batches, so a larger batch is a block of its own.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Longest topic name in bytes (Kafka's bound, the narrowest of the four protocols).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Most partitions of one topic, and most partitions made by one command.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 100_000;

/// A compressed batch may not inflate beyond this many bytes, nor beyond `INFLATE_RATIO_MAX` times its own size (with a
/// floor of 1 MiB, below which the ratio is harmless).
pub const INFLATED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// See [`INFLATED_BYTES_MAX`]. Plain text of one repeated record does reach 1,000:1 with zstd, so the ratio is generous.
pub const INFLATE_RATIO_MAX: usize = 10_000;

const _: () = assert!(FRAME_BODY_BYTES_TARGET < FRAME_BODY_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(PAGE_BYTES));
