// SPDX-License-Identifier: Apache-2.0
//! Memory tail to sorted segments, checkpoints, and the boundary they move together. (Surface only so far.)

pub mod checkpoint;
pub mod read_blob;
pub mod segment_index;
#[cfg(test)]
mod test_blobs;
pub mod work;

pub use work::{CheckpointPlan, PartitionPiece, PlannedBatch, SegmentPlan, Work, WorkDone};
