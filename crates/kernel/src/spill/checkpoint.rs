// SPDX-License-Identifier: Apache-2.0
//! Finds and folds a shard's checkpoints at open.
//!
//! Owns: which files are read, which may be passed over, and how deltas fold into their base. Must not know: the layout
//! (`format/v1/checkpoint.rs`), what an object is, where the log begins.

use crate::format::FormatError;
use crate::format::v1::checkpoint::{self, CheckpointState, ObjectKey};
use crate::format::v1::head::HEAD_BYTES;
use crate::shard::OpenError;
use crate::spill::read_blob;
use model::media::{BlobKind, BlobName, Blobs};
use model::{Corrupt, Lsn, ShardEpoch, ShardId};
use std::collections::BTreeMap;

/// The newest state that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedCheckpoints {
    /// The newest good checkpoint; `None`: there is none, and the state is the empty one before frame 1.
    pub number: Option<u64>,
    /// Base first, then its deltas; the last is `number`.
    pub chain: Vec<u64>,
    /// The base's file length, for deciding when a new base is due; and that of all deltas after it.
    pub base_bytes: u64,
    pub delta_bytes: u64,
    /// State is as of the end of this frame: the log is needed from the next on.
    pub lsn: Lsn,
    pub epoch: ShardEpoch,
    /// Live segments, ascending.
    pub segments: Vec<u64>,
    /// Base and deltas folded.
    pub objects: BTreeMap<ObjectKey, Vec<u8>>,
    /// No checkpoint has a higher number, good or bad: the next one must.
    pub highest_number: u64,
    /// Files that are part of nothing (an earlier chain): they may be deleted.
    pub leftovers: Vec<u64>,
    /// The newest file, if it is damaged. Legal only if the log still holds frame `lsn + 1` and on, and so all that the file held;
    /// otherwise the start is refused with `corrupt`. (If accepted, the file may be deleted.)
    pub passed_over: Option<PassedOver>,
}

/// See [`LoadedCheckpoints::passed_over`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub number: u64,
    pub corrupt: Corrupt,
}

/// Reads the newest chain of checkpoints of a shard.
///
/// # Errors
/// `Corrupt`: a file that is not the newest is damaged or missing from the chain. `Newer`: written by a newer version.
pub fn load(blobs: &mut dyn Blobs, shard: ShardId) -> Result<LoadedCheckpoints, OpenError> {
    let listed: BTreeMap<u64, u64> = read_blob::list(blobs, shard, BlobKind::Checkpoint)?
        .into_iter()
        .map(|(name, length)| (name.number, length))
        .collect();
    let Some(&highest_number) = listed.keys().next_back() else { return Ok(LoadedCheckpoints::default()) };
    let (newest, passed_over) = match read_one(blobs, shard, highest_number, &listed) {
        Ok(newest) => (newest, None),
        Err(OpenError::Corrupt(corrupt)) => {
            let passed_over = Some(PassedOver { number: highest_number, corrupt });
            match listed.keys().rev().nth(1) {
                Some(predecessor) => (read_one(blobs, shard, *predecessor, &listed)?, passed_over),
                None => return Ok(LoadedCheckpoints { highest_number, passed_over, ..LoadedCheckpoints::default() }),
            }
        }
        Err(error) => return Err(error),
    };

    // Newest first, down to the base.
    let mut chain = vec![newest];
    while let Some(above) = chain.last()
        && !above.state.is_base
    {
        let (name, lsn, base_number) = (above.state.name, above.state.lsn, above.state.base_number);
        let broken = |why: String| FormatError::damaged(HEAD_BYTES as u64, why).named(name);
        // A delta without predecessor, or one that does not go down, was refused by the decoder.
        let previous = above.state.previous.unwrap_or(0);
        if !listed.contains_key(&previous) {
            return Err(broken(format!("it builds on checkpoint {previous}, which is not there")));
        }
        let below = read_one(blobs, shard, previous, &listed)?;
        if below.state.lsn > lsn || below.state.base_number != base_number {
            return Err(broken(format!("checkpoint {previous}, on which it builds, is not of its chain")));
        }
        chain.push(below);
    }
    chain.reverse();

    let file_bytes = |number: u64| listed.get(&number).copied().unwrap_or(0);
    let numbers: Vec<u64> = chain.iter().map(|part| part.state.name.number).collect();
    let passed_number = passed_over.as_ref().map(|passed: &PassedOver| passed.number);
    let mut loaded = LoadedCheckpoints {
        number: numbers.last().copied(),
        base_bytes: numbers.first().map_or(0, |number| file_bytes(*number)),
        delta_bytes: numbers.iter().skip(1).map(|number| file_bytes(*number)).sum(),
        highest_number,
        leftovers: listed
            .keys()
            .copied()
            .filter(|number| !numbers.contains(number) && Some(*number) != passed_number)
            .collect(),
        chain: numbers,
        passed_over,
        ..LoadedCheckpoints::default()
    };
    for part in chain {
        (loaded.lsn, loaded.epoch, loaded.segments) = (part.state.lsn, part.state.epoch, part.state.segments);
        fold(&mut loaded.objects, part.objects);
    }
    Ok(loaded)
}

struct OneCheckpoint {
    state: CheckpointState,
    objects: Vec<(ObjectKey, Option<Vec<u8>>)>,
}

fn read_one(
    blobs: &mut dyn Blobs,
    shard: ShardId,
    number: u64,
    listed: &BTreeMap<u64, u64>,
) -> Result<OneCheckpoint, OpenError> {
    let name = BlobName { shard, kind: BlobKind::Checkpoint, number };
    let length = listed.get(&number).copied().unwrap_or(0);
    let bytes = read_blob::read(blobs, name, 0, length)?;
    let mut objects = Vec::new();
    let state =
        checkpoint::decode(&bytes, name, |key, value| objects.push((key, value))).map_err(|error| error.named(name))?;
    Ok(OneCheckpoint { state, objects })
}

fn fold(objects: &mut BTreeMap<ObjectKey, Vec<u8>>, changes: Vec<(ObjectKey, Option<Vec<u8>>)>) {
    if objects.is_empty() {
        // Sorted already, so the map is built in one pass.
        *objects = changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        return;
    }
    for (key, value) in changes {
        match value {
            Some(value) => objects.insert(key, value),
            None => objects.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests;
