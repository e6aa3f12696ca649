// SPDX-License-Identifier: Apache-2.0
//! The group coordinator: the head's one machine across connections, run beside the shard of the namespace's cell.

pub mod messages;
mod settings;

pub use settings::GroupSettings;

use bytes::Bytes;
use kernel::Ctx;
use kernel::coordinator::{Coordinator, Decision, Note};
use model::{HolderId, Now, Ticket, TopicId};

/// The number of the group coordinator among its shard's coordinators. Written on media.
pub const GROUPS: u8 = 1;

/// See the module.
pub struct Groups {
    settings: GroupSettings,
}

impl Groups {
    pub fn new(settings: GroupSettings) -> Groups {
        Groups { settings }
    }

    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }
}

impl Coordinator for Groups {
    fn which(&self) -> u8 {
        GROUPS
    }

    fn handle(&mut self, _now: Now, _ctx: &Ctx, _ticket: Ticket, _input: &Bytes) -> Decision {
        Decision::default()
    }

    fn handle_timeout(&mut self, _now: Now) -> Decision {
        Decision::default()
    }

    fn poll_timeout(&self) -> Option<u64> {
        None
    }

    fn handle_gone(&mut self, _now: Now, _holder: HolderId) -> Decision {
        Decision::default()
    }

    fn apply(&mut self, _note: &Note) {}

    fn forget_topic(&mut self, _topic: TopicId) -> Vec<Bytes> {
        Vec::new()
    }

    fn snapshot(&self, _emit: &mut dyn FnMut(Note)) {}
}
