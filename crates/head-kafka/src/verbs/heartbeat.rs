// SPDX-License-Identifier: Apache-2.0
//! Heartbeat: a member says that it lives, and hears when it must join again.

use super::asks::Coordinated;
use super::{Cx, Outcome, mixed_up};
use crate::coordinator::messages::{Answer, Ask, Heartbeat};
use crate::errors;
use crate::wire::ErrorCode;
use crate::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

pub fn start(cx: &mut Cx<'_>, request: HeartbeatRequest) -> Result<(), Outcome> {
    if request.group_id.is_empty() {
        return Err(answer(cx, ErrorCode::InvalidGroupId.number()));
    }
    let ask = Ask::Heartbeat(Heartbeat {
        group: request.group_id,
        generation_id: request.generation_id,
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
    });
    cx.ask(&ask);
    Ok(())
}

pub fn reply(cx: &Cx<'_>, coordinated: Coordinated) -> Outcome {
    match coordinated.answer {
        Ok(Answer::HeartbeatDone(done)) => answer(cx, done.error_code),
        Ok(_) => mixed_up(),
        Err(error) => answer(cx, errors::coordinator(&error).number()),
    }
}

fn answer(cx: &Cx<'_>, error_code: i16) -> Outcome {
    cx.answer(&HeartbeatResponse { throttle_time_ms: 0, error_code }, error_code)
}
