// SPDX-License-Identifier: Apache-2.0
//! One connection's machine. (Surface only so far.)

use crate::Settings;
use bytes::{Bytes, BytesMut};
use kernel::{Catalog, Command, Ctx, Reply};
use model::{Now, ShardId, Ticket};
use std::sync::Arc;

/// Why the connection must be closed, for one log line. What is already in `poll_output` should still be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub reason: String,
}

/// See the module. The driver calls a `handle_*`, then drains `poll_command` and `poll_output`.
pub struct Session {
    ctx: Ctx,
}

impl Session {
    /// `seed` feeds the session's random bits (topic ids), so that the driver decides what is random.
    pub fn new(_settings: Arc<Settings>, ctx: Ctx, _seed: u64, _now: Now) -> Session {
        Session { ctx }
    }

    /// Who is connected.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Takes all whole requests out of `input` (as slices, not copies) and leaves the rest. Stops early when a bound is reached;
    /// call again when `wants_input` is true.
    ///
    /// # Errors
    /// [`Close`]: what came is not this protocol, or is over a bound.
    pub fn handle_input(&mut self, _now: Now, _catalog: &Catalog, _input: &mut BytesMut) -> Result<(), Close> {
        Ok(())
    }

    /// A shard answered a command of this session.
    pub fn handle_reply(&mut self, _now: Now, _catalog: &Catalog, _ticket: Ticket, _reply: Reply) {}

    /// A watch fired.
    pub fn handle_wake(&mut self, _now: Now, _catalog: &Catalog, _watch: u64) {}

    /// `poll_timeout` came due.
    ///
    /// # Errors
    /// [`Close`]: idle too long, or a request that does not arrive.
    pub fn handle_timeout(&mut self, _now: Now, _catalog: &Catalog) -> Result<(), Close> {
        Ok(())
    }

    /// The next command for a shard.
    pub fn poll_command(&mut self) -> Option<(ShardId, Ticket, Command)> {
        None
    }

    /// The next bytes to be sent, in order: many small pieces or slices of record batches, to be gathered by the driver.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        None
    }

    /// When `handle_timeout` wants to be called (monotonic microseconds).
    pub fn poll_timeout(&self) -> Option<u64> {
        None
    }

    /// False while a bound on what is under way is reached: the driver then reads no more from the socket.
    pub fn wants_input(&self) -> bool {
        true
    }
}
