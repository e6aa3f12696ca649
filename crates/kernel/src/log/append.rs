// SPDX-License-Identifier: Apache-2.0
//! Deciding a publish: whether this batch may be appended to this partition now.
//!
//! Owns: the order of the checks. Must not know: the frame, the tail's room, who waits.

use crate::auth::{self, Action, Resource, Verdict};
use crate::command::{Ctx, Publish};
use crate::error::{EpochMismatch, PublishError};
use crate::log::partition::{Hosted, Partition};
use crate::log::producers;
use model::{LeaderEpoch, Offset, ShardEpoch};

/// What becomes of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Goes to this offset, under this epoch.
    Append(Offset, LeaderEpoch),
    /// Stands at this offset already.
    Repeat(Offset),
    Refuse(PublishError),
}

/// Decides; changes nothing.
pub fn decide(partition: &Partition, shard_epoch: ShardEpoch, ctx: &Ctx, publish: &Publish) -> Decision {
    if !allowed(ctx, &partition.hosted, Action::Write) {
        return Decision::Refuse(PublishError::Denied);
    }
    let leader_epoch = partition.leader_epoch(shard_epoch);
    if let Err(mismatch) = check_epoch(leader_epoch, publish.leader_epoch) {
        return Decision::Refuse(PublishError::Epoch(mismatch));
    }
    let header = publish.batch.header();
    if header.transactional() {
        return Decision::Refuse(PublishError::NotInTransaction);
    }
    let bytes_max = partition.hosted.batch_bytes_max;
    if publish.batch.bytes().len() > bytes_max as usize {
        return Decision::Refuse(PublishError::TooLarge { bytes_max });
    }
    match producers::decide(&partition.producers, header) {
        producers::Verdict::Append if partition.hosted.compaction.is_some() && !publish.has_keys => {
            Decision::Refuse(PublishError::KeysUnknown)
        }
        producers::Verdict::Append => Decision::Append(partition.next, leader_epoch),
        producers::Verdict::Repeat(offset) => Decision::Repeat(offset),
        producers::Verdict::Refuse(error) => Decision::Refuse(error),
    }
}

/// May the asker do this to the topic?
pub(crate) fn allowed(ctx: &Ctx, hosted: &Hosted, action: Action) -> bool {
    let resource = Resource::Topic { namespace: hosted.namespace, name: &hosted.name };
    auth::decide(&ctx.principal, ctx.namespace, resource, action) == Verdict::Allow
}

/// Does the client's belief about the epoch hold?
pub(crate) fn check_epoch(current: LeaderEpoch, believed: Option<LeaderEpoch>) -> Result<(), EpochMismatch> {
    match believed {
        Some(believed) if believed < current => Err(EpochMismatch::Older { current }),
        Some(believed) if believed > current => Err(EpochMismatch::Newer { current }),
        _ => Ok(()),
    }
}
