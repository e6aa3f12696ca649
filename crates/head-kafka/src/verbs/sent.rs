// SPDX-License-Identifier: Apache-2.0
//! The commands of one request that stand for places in its response: where each reply belongs, and whether all have come.
//!
//! A verb whose request names many things fills its response with what is known at once, sends a command for each of the rest, and
//! puts every reply into the place that it was sent for. `P` is that place, and what else is needed when the reply comes.

use super::Cx;
use kernel::Command;
use model::ShardId;

/// See the module.
pub struct Sent<P> {
    places: Vec<P>,
    replies_left: usize,
}

impl<P> Sent<P> {
    pub fn none() -> Sent<P> {
        Sent { places: Vec::new(), replies_left: 0 }
    }

    /// Sends a command whose reply belongs to `place`.
    pub fn send(&mut self, cx: &mut Cx<'_>, place: P, command: (ShardId, Command)) {
        cx.send(self.places.len() as u32, command);
        self.places.push(place);
        self.replies_left += 1;
    }

    /// Takes in that the command of this `part` is replied to: its place. `None`: there is no such command.
    pub fn take(&mut self, part: u32) -> Option<&P> {
        let place = self.places.get(part as usize)?;
        self.replies_left = self.replies_left.saturating_sub(1);
        Some(place)
    }

    /// Every command is replied to, or none was sent.
    pub fn all_replied(&self) -> bool {
        self.replies_left == 0
    }
}
