// SPDX-License-Identifier: Apache-2.0
//! What a shard wants done. The driver takes effects in order and must keep the order of those to one holder.

use crate::catalog::Catalog;
use crate::log::read::BlockRead;
use crate::reply::Reply;
use crate::shard::ShardMessage;
use crate::spill::Work;
use model::media::{BlobOp, BlobTag, MediaError, WalOp};
use model::{HolderId, ShardId, Ticket};

/// See the module.
#[derive(Debug)]
pub enum Effect {
    /// To the holder that asked. Everything the reply was read from is durable.
    Reply { holder: HolderId, ticket: Ticket, reply: Reply },
    /// A watch fired (once): `watch` is the number given in [`crate::command::Read::watch`].
    Wake { holder: HolderId, watch: u64 },
    /// The catalog that heads should see from now on. Comes before the replies that depend on it.
    Catalog(Catalog),
    /// To the shard's log.
    Wal(WalOp),
    /// To the shard's blobs. The outcome comes back through [`crate::Shard::handle_blob`].
    Blob(BlobTag, BlobOp),
    /// To the shard's blobs as well: the driver asks them for `read.op()`, lets `read.check()` look at the outcome where there is time
    /// for it, and gives what comes of that to [`crate::Shard::handle_blocks`]. (`handle_blob` does both, on the shard's time.)
    Blocks(BlobTag, BlockRead),
    /// Pure computation that would hold the shard too long: the driver calls `work.run()` elsewhere and gives the result to
    /// [`crate::Shard::handle_work`].
    Work(Work),
    /// To another shard of this node, in order.
    Send { shard: ShardId, message: ShardMessage },
    /// The log has failed. The driver stops accepting, reports not ready, and ends the process, so that a restart begins with
    /// what is really on the medium.
    Fatal(MediaError),
}
