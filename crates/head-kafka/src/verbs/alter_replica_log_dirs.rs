// SPDX-License-Identifier: Apache-2.0
//! AlterReplicaLogDirs: there is one directory, and what is to be moved there is there.

use super::{Cx, Outcome, first_error};
use crate::map;
use crate::wire::ErrorCode;
use crate::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use kernel::auth::Action;

pub fn answer(cx: &Cx<'_>, request: AlterReplicaLogDirsRequest) -> Outcome {
    let may_alter = map::may(cx.who, Action::Alter);
    let mut results = Vec::new();
    for dir in request.dirs {
        let is_here = dir.path.as_str() == &*cx.settings.log_dir;
        for topic in dir.topics {
            let found = map::topic_named(cx.catalog, cx.who, topic.name.as_str());
            let partition = |partition_index: i32| {
                let place = found.and_then(|topic| map::place(cx.catalog, topic, partition_index));
                let code = match place {
                    _ if !may_alter => ErrorCode::ClusterAuthorizationFailed,
                    _ if !is_here => ErrorCode::LogDirNotFound,
                    Err(code) => code,
                    Ok(_) => ErrorCode::None,
                };
                AlterReplicaLogDirPartitionResult { partition_index, error_code: code.number() }
            };
            let partitions = topic.partitions.iter().map(|index| partition(*index)).collect();
            results.push(AlterReplicaLogDirTopicResult { topic_name: topic.name, partitions });
        }
    }
    let response = AlterReplicaLogDirsResponse { throttle_time_ms: 0, results };
    let codes = response.results.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    cx.answer(&response, first_error(codes))
}
