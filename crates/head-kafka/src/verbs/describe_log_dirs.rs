// SPDX-License-Identifier: Apache-2.0
//! DescribeLogDirs: the one directory, and how much of it each partition takes.
//!
//! A partition's size is that of its records as they are stored, wherever they rest by now (memory and log, or segments).

use super::partition_walk::Walk;
use super::{Cx, Outcome};
use crate::errors;
use crate::map;
use crate::wire::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::wire::{ErrorCode, Text};
use kernel::auth::Action;
use kernel::error::DescribeError;
use kernel::reply::Described;
use std::sync::atomic::Ordering;

/// See the module.
pub struct Running {
    walk: Walk,
}

pub fn start(cx: &mut Cx<'_>, request: DescribeLogDirsRequest) -> Result<Running, Outcome> {
    if !map::may(cx.who, Action::Describe) {
        let code = ErrorCode::ClusterAuthorizationFailed.number();
        // Before version 3 an empty answer says it.
        return Err(
            cx.answer(&DescribeLogDirsResponse { throttle_time_ms: 0, error_code: code, results: Vec::new() }, code)
        );
    }
    let mut walk = Walk::new(0);
    match request.topics {
        None => walk.add_all(cx),
        Some(topics) => topics.into_iter().for_each(|topic| walk.add(cx, topic.topic, &topic.partitions)),
    }
    let mut running = Running { walk };
    match running.walk.advance(cx) {
        false => Ok(running),
        true => Err(running.answer(cx)),
    }
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Described, DescribeError>) -> Option<Outcome> {
        self.walk.reply(cx, part, result, errors::describe).then(|| self.answer(cx))
    }

    /// Partitions that are not here are not told.
    fn answer(&mut self, cx: &Cx<'_>) -> Outcome {
        let mut topics = Vec::new();
        for visited in std::mem::take(&mut self.walk.topics) {
            let partition = |(index, described): (i32, Result<Described, ErrorCode>)| {
                Some(DescribeLogDirsPartition {
                    partition_index: index,
                    partition_size: i64::try_from(described.ok()?.stored_bytes).unwrap_or(i64::MAX),
                    offset_lag: 0,
                    is_future_key: false,
                })
            };
            let partitions: Vec<_> = visited.partitions.into_iter().filter_map(partition).collect();
            if !partitions.is_empty() {
                topics.push(DescribeLogDirsTopic { name: visited.name, partitions });
            }
        }
        let volume = &cx.settings.volume;
        let result = DescribeLogDirsResult {
            error_code: 0,
            log_dir: Text::from(&*cx.settings.log_dir),
            topics,
            total_bytes: volume.total_bytes.load(Ordering::Relaxed),
            usable_bytes: volume.usable_bytes.load(Ordering::Relaxed),
            is_cordoned: false,
        };
        cx.answer(&DescribeLogDirsResponse { throttle_time_ms: 0, error_code: 0, results: vec![result] }, 0)
    }
}
