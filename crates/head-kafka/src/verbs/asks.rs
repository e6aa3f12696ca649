// SPDX-License-Identifier: Apache-2.0
//! Asking the group coordinator about several groups in one request.
//!
//! Bounds: a request may name as many groups as fit into it, so the asks go out a few at a time, and what comes back is counted:
//! beyond [`ANSWER_BYTES_MAX`] the groups that are left are refused with POLICY_VIOLATION instead of asked. One group's answer is
//! bounded by the coordinator's own settings.

use super::Cx;
use crate::coordinator::messages::{Answer, Ask};
use crate::wire::ErrorCode;
use crate::{errors, map};
use kernel::error::CoordinatorError;
use std::collections::VecDeque;

/// Asks of one request that are under way at once.
const UNDER_WAY_MAX: usize = 8;
/// What the answers for one request may hold together, but for those under way when it is passed.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the coordinator answered, and how many bytes that took.
pub struct Coordinated {
    pub answer: Result<Answer, CoordinatorError>,
    pub bytes: usize,
}

/// See the module.
pub struct Asks {
    /// With the number of the group within the request.
    waiting: VecDeque<(u32, Ask)>,
    under_way: usize,
    bytes: usize,
}

/// What becomes of one group of the request.
pub enum Told {
    Answer(Answer),
    Refused(ErrorCode),
}

impl Asks {
    /// Asks that are not sent yet: one for each group, in the order of the request.
    pub fn new(asks: impl IntoIterator<Item = Ask>) -> Asks {
        Asks { waiting: (0..).zip(asks).collect(), under_way: 0, bytes: 0 }
    }

    /// Sends what may be sent. What no longer may comes out, refused.
    pub fn send(&mut self, cx: &mut Cx<'_>) -> Vec<(u32, ErrorCode)> {
        if self.bytes > ANSWER_BYTES_MAX {
            return self.waiting.drain(..).map(|(part, _)| (part, ErrorCode::PolicyViolation)).collect();
        }
        while self.under_way < UNDER_WAY_MAX
            && let Some((part, ask)) = self.waiting.pop_front()
        {
            self.under_way += 1;
            cx.send(part, map::ask(cx.catalog, cx.who, &ask));
        }
        Vec::new()
    }

    /// Takes in an answer.
    pub fn take(&mut self, coordinated: Coordinated) -> Told {
        self.under_way = self.under_way.saturating_sub(1);
        self.bytes = self.bytes.saturating_add(coordinated.bytes);
        match coordinated.answer {
            Ok(answer) => Told::Answer(answer),
            Err(error) => Told::Refused(errors::coordinator(&error)),
        }
    }

    /// All were sent and answered.
    pub fn are_done(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }
}
