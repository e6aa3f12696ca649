// SPDX-License-Identifier: Apache-2.0
//! The trait of a head's cross-connection machine, run beside a shard (Kafka groups and transactions, MQTT sessions, RocketMQ
//! clients and queue locks).
//!
//! Owns: the contract between the shard and such a machine. Must not know: what the machine is about.
//! The machine is deterministic and sans-IO. What it must remember is a *note*: an opaque record in the same frame as whatever
//! else was decided; `apply` folds notes, live and at replay alike.

use crate::command::Ctx;
use bytes::Bytes;
use model::{HolderId, Now, Ticket, TopicId};

/// See the module.
pub trait Coordinator: Send {
    /// Which coordinator of its shard this is: fixed, written on media.
    fn which(&self) -> u8;
    /// Handles one verb. Changes volatile state only; durable changes are returned as notes and come back through `apply`
    /// before the machine is called again, and before the replies are released. Volatile state is not taken back when a decision
    /// is refused: see [`DECISION_BYTES_MAX`].
    fn handle(&mut self, now: Now, ctx: &Ctx, ticket: Ticket, input: &Bytes) -> Decision;
    /// Its own timer (monotonic microseconds) came due.
    fn handle_timeout(&mut self, now: Now) -> Decision;
    /// Does this verb never decide anything? Then it is answered whatever room the log has.
    fn only_reads(&self, _input: &Bytes) -> bool {
        false
    }
    /// When `handle_timeout` wants to be called next.
    fn poll_timeout(&self) -> Option<u64>;
    /// The holder is gone.
    fn handle_gone(&mut self, now: Now, holder: HolderId) -> Decision;
    /// Folds one note: total, no clock, no randomness.
    fn apply(&mut self, note: &Note);
    /// Folds the end of a topic of its namespace: whatever is remembered about it goes. Gives out the keys of the notes that are
    /// gone with it. Total, like `apply`, and part of the same fold: live and at replay alike.
    fn forget_topic(&mut self, _topic: TopicId) -> Vec<Bytes> {
        Vec::new()
    }
    /// All durable state as notes, in any order that `apply` accepts, for a checkpoint. Keys are unique.
    fn snapshot(&self, emit: &mut dyn FnMut(Note));
    /// The value that `snapshot` would give out for this key.
    fn note(&self, key: &Bytes) -> Option<Bytes>;
}

/// A durable piece of a coordinator's state: the latest value of a key wins, no value removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Notes of one decision may take this much in a frame. A larger decision is refused as a whole: nothing of it is logged or folded,
/// and its replies become [`crate::error::CoordinatorError::TooLarge`]. That is a net, not a way: a machine bounds what it remembers
/// so that it never decides more. (The other refusal, after the log has failed, needs no care: no machine is asked again.)
pub const DECISION_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!(DECISION_BYTES_MAX < model::limits::FRAME_BODY_BYTES_MAX);

/// What a coordinator decided: the notes go into one frame, the replies out when it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub notes: Vec<Note>,
    /// To whomever it concerns; a verb may be answered by a later decision.
    pub replies: Vec<(HolderId, Ticket, Bytes)>,
}
