// SPDX-License-Identifier: Apache-2.0
//! Asks the shards on the node's own behalf: for pages and figures that no client's connection asks for.
//!
//! Owns: a holder of its own, how many asks are under way, when the answers are given up. Must not know: what is asked.
//!
//! Asks go out `AT_ONCE_MAX` at a time and the task yields in between, so that a shard of thousands of partitions is asked in pieces
//! and clients' commands come in between. Nothing asked here sets a watch or belongs to a session, so nothing is left at the shards
//! when an asker ends; answers that are still on their way are dropped with its outbox.

use crate::node::Node;
use crate::outbox::{Delivery, Outbox};
use crate::shard_cell::Mail;
use kernel::auth::Principal;
use kernel::{Command, Ctx, Reply};
use model::{HolderId, NamespaceId, ShardId, Ticket};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Asks of one asker under way at once; the next go out as answers come.
const AT_ONCE_MAX: usize = 64;

/// There is no answer, and there will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The time is up.
    TooLate,
    /// The node is closing what is open.
    Stopping,
}

/// See the module.
pub struct Asker {
    node: Arc<Node>,
    ctx: Arc<Ctx>,
    holder: HolderId,
    outbox: Arc<Outbox>,
    deadline: Instant,
    deliveries: Vec<Delivery>,
}

impl Asker {
    /// Everything asked must be answered within `patience` from now.
    pub fn join(node: &Arc<Node>, patience: Duration) -> Asker {
        let (holder, outbox) = node.holders.join();
        let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder };
        Asker {
            node: node.clone(),
            ctx: Arc::new(ctx),
            holder,
            outbox,
            deadline: Instant::now() + patience,
            deliveries: Vec::new(),
        }
    }

    /// Who asks: for looking at the catalog with the same eyes.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Asks `count` times what `ask` says for each number from 0, and gives each answer with its number to `take`, in the order in
    /// which they come.
    ///
    /// # Errors
    /// Some were not answered. The asker is of no use then.
    pub async fn ask_each(
        &mut self,
        count: usize,
        ask: impl Fn(usize) -> (ShardId, Command),
        mut take: impl FnMut(usize, Reply),
    ) -> Result<(), Unanswered> {
        let mut numbers = 0..count;
        let mut under_way = 0;
        let mut mailed: Vec<ShardId> = Vec::new();
        loop {
            for number in numbers.by_ref().take(AT_ONCE_MAX - under_way) {
                let (shard, command) = ask(number);
                let Some(cell) = self.node.shard(shard) else { continue };
                cell.put(Mail::Command { ctx: self.ctx.clone(), ticket: Ticket(number as u64), command });
                under_way += 1;
                if !mailed.contains(&shard) {
                    mailed.push(shard);
                }
            }
            for shard in mailed.drain(..) {
                if let Some(cell) = self.node.shard(shard) {
                    cell.drain(&self.node);
                }
            }
            if under_way == 0 {
                return Ok(());
            }
            let outbox = &self.outbox;
            // What a stopping node lets finish, it lets finish here, too: `true`.
            let arrived = poll_fn(|context| outbox.poll(context, true));
            timeout_at(self.deadline, arrived).await.map_err(|_| Unanswered::TooLate)?;
            if outbox.take(&mut self.deliveries).close_asked {
                return Err(Unanswered::Stopping);
            }
            for delivery in self.deliveries.drain(..) {
                if let Delivery::Reply(ticket, reply) = delivery {
                    under_way -= 1;
                    take(ticket.0 as usize, reply);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn ask(&mut self, shard: ShardId, command: Command) -> Result<Reply, Unanswered> {
        let mut answer = None;
        self.ask_each(1, |_| (shard, command.clone()), |_, reply| answer = Some(reply)).await?;
        answer.ok_or(Unanswered::Stopping)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.node.holders.leave(self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard_cell::tests::{Rig, rig};
    use kernel::command::{DeclareTopic, Describe, TopicSettings};
    use kernel::error::DescribeError;
    use model::{PartitionId, TopicId};

    const LONG: Duration = Duration::from_secs(60);

    fn describe(number: usize) -> (ShardId, Command) {
        let partition = PartitionId(number as u64);
        (ShardId::META, Command::Describe(Describe { partition, producers_max: 0 }))
    }

    #[test]
    fn more_asks_than_go_out_at_once_are_all_answered_by_number() {
        let Rig { node, runtime } = rig();
        let mut asker = Asker::join(&node, LONG);
        let mut answered = vec![0; 10 * AT_ONCE_MAX + 7];
        let count = answered.len();
        let take = |number: usize, reply| {
            assert_eq!(reply, Reply::Described(Err(DescribeError::NotFound)));
            answered[number] += 1;
        };
        assert_eq!(runtime.block_on(asker.ask_each(count, describe, take)), Ok(()));
        assert!(answered.iter().all(|times| *times == 1));
        drop(asker);
        assert_eq!(node.holders.count(), 0);
    }

    #[test]
    fn what_is_not_answered_in_time_is_given_up() {
        let Rig { node, runtime } = rig();
        let _inside = runtime.enter();
        let mut asker = Asker::join(&node, Duration::from_millis(1));
        // Nobody answers for the log, so this is never durable.
        let declare = Command::DeclareTopic(DeclareTopic {
            topic: TopicId([7; 16]),
            name: Arc::from("t"),
            partition_count: 1,
            settings: TopicSettings::default(),
            validate_only: false,
        });
        assert_eq!(runtime.block_on(asker.ask(ShardId::META, declare)), Err(Unanswered::TooLate));
    }

    #[test]
    fn a_node_that_closes_what_is_open_ends_the_asking() {
        let Rig { node, runtime } = rig();
        let mut asker = Asker::join(&node, LONG);
        asker.outbox.ask_close();
        assert_eq!(runtime.block_on(asker.ask_each(1, describe, |_, _| {})), Err(Unanswered::Stopping));
    }
}
