// SPDX-License-Identifier: Apache-2.0
//! OffsetFetch: what groups have committed. One group up to version 7, several from then on.
//!
//! What was never committed, or belongs to a topic or partition that does not exist, is offset -1 without an error; an id that
//! names no topic is UNKNOWN_TOPIC_ID. `require_stable` is not looked at: there are no transactions whose commits could be open.

use super::asks::{Asks, Coordinated, Told};
use super::{Cx, Outcome, first_error, mixed_up};
use crate::coordinator::messages::{Answer, Ask, FetchOffsets, FetchedOffsets, OffsetOfPartition, PartitionsOfTopic};
use crate::map;
use crate::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::wire::{ErrorCode, Text, Uuid};
use model::TopicId;
use std::collections::VecDeque;

/// See the module.
pub struct Running {
    groups: Vec<Group>,
    asks: Asks,
}

/// One group of the request and, in the end, of the response.
struct Group {
    id: Text,
    wanted: Wanted,
    error_code: i16,
    topics: Vec<OffsetFetchResponseTopics>,
}

enum Wanted {
    All,
    These(Vec<WantedTopic>),
}

struct WantedTopic {
    name: Text,
    topic_id: Uuid,
    /// It is there, so the coordinator was asked about it. Else the error of all its partitions.
    found: Result<(), i16>,
    partitions: Vec<i32>,
}

const NO_ID: Uuid = [0; 16];

pub fn start(cx: &mut Cx<'_>, request: OffsetFetchRequest) -> Result<Running, Outcome> {
    let version = cx.format.version;
    let groups = if version >= 8 {
        request.groups
    } else if version < 2 && request.topics.is_none() {
        return Err(Outcome::Close("OffsetFetch version 1: its topics are null".to_owned()));
    } else {
        let topic = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
            name: topic.name,
            topic_id: NO_ID,
            partition_indexes: topic.partition_indexes,
        };
        let topics = request.topics.map(|topics| topics.into_iter().map(topic).collect());
        vec![OffsetFetchRequestGroup { group_id: request.group_id, member_id: None, member_epoch: -1, topics }]
    };
    let (mut asked, mut asks) = (Vec::with_capacity(groups.len()), Vec::with_capacity(groups.len()));
    for group in groups {
        let (group, ask) = ask(cx, group);
        asked.push(group);
        asks.push(ask);
    }
    let mut running = Running { groups: asked, asks: Asks::new(asks) };
    match running.go_on(cx) {
        None => Ok(running),
        Some(outcome) => Err(outcome),
    }
}

fn ask(cx: &Cx<'_>, group: OffsetFetchRequestGroup) -> (Group, Ask) {
    let mut asked = Vec::new();
    let mut find = |topic: OffsetFetchRequestTopics| {
        let (found, unknown) = if cx.format.version >= 10 {
            let found = map::topic_with_id(cx.catalog, cx.who, topic.topic_id);
            (found, ErrorCode::UnknownTopicId.number())
        } else {
            (map::topic_named(cx.catalog, cx.who, topic.name.as_str()), 0)
        };
        if let Ok(found) = found {
            asked.push(PartitionsOfTopic { topic_id: found.id.0, partitions: topic.partition_indexes.clone() });
        }
        WantedTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            found: found.map(|_| ()).map_err(|_| unknown),
            partitions: topic.partition_indexes,
        }
    };
    let wanted = match group.topics {
        None => Wanted::All,
        Some(topics) => Wanted::These(topics.into_iter().map(&mut find).collect()),
    };
    let ask = Ask::FetchOffsets(FetchOffsets {
        group: group.group_id.clone(),
        topics: matches!(wanted, Wanted::These(_)).then_some(asked),
        member_id: group.member_id.unwrap_or_default(),
        member_epoch: group.member_epoch,
    });
    (Group { id: group.group_id, wanted, error_code: 0, topics: Vec::new() }, ask)
}

impl Running {
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, coordinated: Coordinated) -> Option<Outcome> {
        let told = self.asks.take(coordinated);
        let group = self.groups.get_mut(part as usize)?;
        match told {
            Told::Answer(Answer::FetchedOffsets(fetched)) if fetched.error_code != 0 => {
                group.refuse(fetched.error_code)
            }
            Told::Answer(Answer::FetchedOffsets(fetched)) => group.fill(cx, fetched),
            Told::Answer(_) => return Some(mixed_up()),
            Told::Refused(code) => group.refuse(code.number()),
        }
        self.go_on(cx)
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        for (part, code) in self.asks.send(cx) {
            if let Some(group) = self.groups.get_mut(part as usize) {
                group.refuse(code.number());
            }
        }
        self.asks.are_done().then(|| self.answer(cx))
    }

    fn answer(&mut self, cx: &Cx<'_>) -> Outcome {
        let version = cx.format.version;
        let groups = std::mem::take(&mut self.groups);
        let error_code = first_error(groups.iter().map(Group::first_error));
        let mut response =
            OffsetFetchResponse { throttle_time_ms: 0, topics: Vec::new(), error_code: 0, groups: Vec::new() };
        if version >= 8 {
            let group = |group: Group| OffsetFetchResponseGroup {
                group_id: group.id,
                topics: group.topics,
                error_code: group.error_code,
            };
            response.groups = groups.into_iter().map(group).collect();
        } else if let Some(mut group) = groups.into_iter().next() {
            if version < 2 && group.error_code != 0 {
                // There is no other place for it yet.
                group.topics = group.nowhere(group.error_code);
            }
            response.error_code = group.error_code;
            let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
                name: topic.name,
                partitions: topic.partitions,
            };
            response.topics = group.topics.into_iter().map(topic).collect();
        }
        cx.answer(&response, error_code)
    }
}

impl Group {
    fn refuse(&mut self, error_code: i16) {
        self.error_code = error_code;
    }

    fn first_error(&self) -> i16 {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        first_error([self.error_code].into_iter().chain(partitions.map(|partition| partition.error_code)))
    }

    /// Takes in what is committed.
    fn fill(&mut self, cx: &Cx<'_>, fetched: FetchedOffsets) {
        match &self.wanted {
            Wanted::All => {
                let topics = fetched.topics.into_iter().filter_map(|topic| {
                    // A topic that is gone takes its offsets along; this answer was made before.
                    let found = cx.catalog.by_id(cx.who, TopicId(topic.topic_id))?;
                    Some(OffsetFetchResponseTopics {
                        name: Text::from(&*found.name),
                        topic_id: topic.topic_id,
                        partitions: topic.partitions.into_iter().map(partition).collect(),
                    })
                });
                self.topics = topics.collect();
            }
            Wanted::These(wanted) => {
                let mut fetched: VecDeque<_> = fetched.topics.into();
                let topic = |topic: &WantedTopic| {
                    let offsets = topic.found.is_ok().then(|| fetched.pop_front()).flatten();
                    let partitions = match offsets {
                        Some(offsets) => offsets.partitions.into_iter().map(partition).collect(),
                        None => topic.nowhere(topic.found.err().unwrap_or_default()),
                    };
                    OffsetFetchResponseTopics { name: topic.name.clone(), topic_id: topic.topic_id, partitions }
                };
                self.topics = wanted.iter().map(topic).collect();
            }
        }
    }

    /// All that was asked for, with one error.
    fn nowhere(&self, error_code: i16) -> Vec<OffsetFetchResponseTopics> {
        let Wanted::These(wanted) = &self.wanted else { return Vec::new() };
        let topic = |topic: &WantedTopic| OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.nowhere(error_code),
        };
        wanted.iter().map(topic).collect()
    }
}

impl WantedTopic {
    fn nowhere(&self, error_code: i16) -> Vec<OffsetFetchResponsePartition> {
        let partition = |index: &i32| OffsetFetchResponsePartition {
            partition_index: *index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(Text::EMPTY),
            error_code,
        };
        self.partitions.iter().map(partition).collect()
    }
}

fn partition(offset: OffsetOfPartition) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: offset.partition,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata),
        error_code: 0,
    }
}
