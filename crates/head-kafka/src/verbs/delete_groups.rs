// SPDX-License-Identifier: Apache-2.0
//! DeleteGroups: groups without members go, with all that they committed.

use super::asks::{Asks, Coordinated, Told};
use super::{Cx, Outcome, first_error, mixed_up};
use crate::coordinator::messages::{Answer, Ask, Delete};
use crate::wire::Text;
use crate::wire::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use std::collections::BTreeSet;

/// See the module.
pub struct Running {
    response: DeleteGroupsResponse,
    asks: Asks,
}

pub fn start(cx: &mut Cx<'_>, request: DeleteGroupsRequest) -> Result<Running, Outcome> {
    // A group that is named twice is deleted and answered once.
    let mut seen = BTreeSet::new();
    let named: Vec<Text> = request.groups_names.into_iter().filter(|group| seen.insert(group.clone())).collect();
    let asks = Asks::new(named.iter().map(|group| Ask::Delete(Delete { group: group.clone() })));
    let result = |group_id| DeletableGroupResult { group_id, error_code: 0 };
    let results = named.into_iter().map(result).collect();
    let mut running = Running { response: DeleteGroupsResponse { throttle_time_ms: 0, results }, asks };
    match running.go_on(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, coordinated: Coordinated) -> Option<Outcome> {
        let error_code = match self.asks.take(coordinated) {
            Told::Answer(Answer::Deleted(done)) => done.error_code,
            Told::Answer(_) => return Some(mixed_up()),
            Told::Refused(code) => code.number(),
        };
        self.response.results.get_mut(part as usize)?.error_code = error_code;
        self.go_on(cx)
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        for (part, code) in self.asks.send(cx) {
            if let Some(result) = self.response.results.get_mut(part as usize) {
                result.error_code = code.number();
            }
        }
        let codes = self.response.results.iter().map(|result| result.error_code);
        self.asks.are_done().then(|| cx.answer(&self.response, first_error(codes)))
    }
}
