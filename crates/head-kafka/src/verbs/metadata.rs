// SPDX-License-Identifier: Apache-2.0
//! Metadata: this one broker, and the topics asked for. A topic that does not exist is made when the client allows it, and
//! answered when it is there and can be used; Apache Kafka would answer LEADER_NOT_AVAILABLE and be asked again.

use super::{Cx, Outcome, first_error, topic_defaults};
use crate::config::TopicConfig;
use crate::errors;
use crate::map;
use crate::wire::messages::metadata::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic,
};
use crate::wire::{ErrorCode, Text, Uuid};
use bytes::Bytes;
use kernel::catalog::Topic;
use kernel::error::{CoordinatorError, DeclareError};
use kernel::reply::Declared;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct Running {
    wanted: Wanted,
    include_cluster_operations: bool,
    include_topic_operations: bool,
    /// The names of the topics being made, by the number of the command.
    making: Vec<Text>,
    failed: BTreeMap<Text, ErrorCode>,
    replies_left: usize,
}

enum Wanted {
    All,
    These(Vec<MetadataRequestTopic>),
}

const NO_ID: Uuid = [0; 16];
/// Topics made for one request. Those beyond are answered as unknown; clients ask again, and get the next ones.
const CREATIONS_MAX: usize = 1_000;

pub fn start(cx: &mut Cx<'_>, request: MetadataRequest) -> Result<Running, Outcome> {
    let wanted = match request.topics {
        None => Wanted::All,
        Some(topics) if topics.is_empty() && cx.format.version == 0 => Wanted::All,
        Some(topics) => Wanted::These(topics),
    };
    let mut running = Running {
        wanted,
        include_cluster_operations: request.include_cluster_authorized_operations,
        include_topic_operations: request.include_topic_authorized_operations,
        making: Vec::new(),
        failed: BTreeMap::new(),
        replies_left: 0,
    };
    if let Wanted::These(topics) = &mut running.wanted {
        // Ids came into the layout two versions before they got a meaning.
        let by_id_too_early = |topic: &MetadataRequestTopic| topic.name.is_none() || topic.topic_id != NO_ID;
        if cx.format.version < 12 && topics.iter().any(by_id_too_early) {
            let refuse = |topic: &MetadataRequestTopic| {
                let name = Some(topic.name.clone().unwrap_or_default());
                nothing(name, topic.topic_id, ErrorCode::InvalidRequest)
            };
            let refused = topics.iter().map(refuse).collect();
            return Err(running.answer(cx, refused));
        }
        let mut seen = BTreeSet::new();
        topics.retain(|topic| seen.insert((topic.topic_id, topic.name.clone())));
        if cx.settings.auto_create_topics && request.allow_auto_topic_creation {
            for topic in topics.iter().filter(|topic| topic.topic_id == NO_ID) {
                let Some(name) = &topic.name else { continue };
                let missing = map::topic_named(cx.catalog, cx.who, name.as_str()).is_err();
                if !missing || !map::is_topic_name(name.as_str()) || running.making.len() >= CREATIONS_MAX {
                    continue;
                }
                if map::colliding(cx.catalog, cx.who, name.as_str()).is_some() {
                    running.failed.insert(name.clone(), ErrorCode::InvalidTopicException);
                    continue;
                }
                running.making.push(name.clone());
            }
        }
    }
    running.replies_left = running.making.len();
    if running.replies_left > 0 {
        topic_defaults::ask(cx);
        return Ok(running);
    }
    let topics = running.topics(cx);
    Err(running.answer(cx, topics))
}

impl Running {
    /// The defaults of their settings have come: now the topics are made.
    pub fn defaults(&mut self, cx: &mut Cx<'_>, result: Result<Bytes, CoordinatorError>) -> Option<Outcome> {
        let Ok(defaults) = topic_defaults::read(result) else {
            let failed = self.making.iter().map(|name| (name.clone(), ErrorCode::LeaderNotAvailable));
            self.failed.extend(failed);
            let topics = self.topics(cx);
            return Some(self.answer(cx, topics));
        };
        let config = TopicConfig::none().under(&defaults);
        for (part, name) in self.making.iter().enumerate() {
            let count = cx.settings.default_partitions;
            let command = map::declare(cx.catalog, cx.who, cx.random, name.as_str(), count, &config, false);
            cx.send(part as u32, command);
        }
        None
    }

    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, result: Result<Declared, DeclareError>) -> Option<Outcome> {
        let name = self.making.get(part as usize)?;
        match result {
            // Another connection was faster, or the topic was there in other words.
            Ok(_) | Err(DeclareError::Exists) => {}
            Err(error) => {
                self.failed.insert(name.clone(), errors::auto_create(&error));
            }
        }
        self.replies_left = self.replies_left.saturating_sub(1);
        if self.replies_left > 0 {
            return None;
        }
        let topics = self.topics(cx);
        Some(self.answer(cx, topics))
    }

    /// What is known now of the topics asked for.
    fn topics(&self, cx: &Cx<'_>) -> Vec<MetadataTopic> {
        let making: BTreeSet<&Text> = self.making.iter().collect();
        match &self.wanted {
            Wanted::All => cx.catalog.topics(cx.who).map(|topic| self.topic(cx, topic)).collect(),
            Wanted::These(topics) => topics.iter().map(|wanted| self.find(cx, wanted, &making)).collect(),
        }
    }

    fn find(&self, cx: &Cx<'_>, wanted: &MetadataRequestTopic, making: &BTreeSet<&Text>) -> MetadataTopic {
        if wanted.topic_id != NO_ID {
            return match map::topic_with_id(cx.catalog, cx.who, wanted.topic_id) {
                Ok(topic) => self.topic(cx, topic),
                Err(code) => nothing(None, wanted.topic_id, code),
            };
        }
        let Some(name) = &wanted.name else { return nothing(None, NO_ID, ErrorCode::UnknownTopicId) };
        match map::topic_named(cx.catalog, cx.who, name.as_str()) {
            Ok(topic) => self.topic(cx, topic),
            Err(unknown) => {
                let code = match self.failed.get(name) {
                    Some(code) => *code,
                    // Made a moment ago and not to be seen: the client should ask again.
                    None if making.contains(name) => ErrorCode::LeaderNotAvailable,
                    None if !map::is_topic_name(name.as_str()) => ErrorCode::InvalidTopicException,
                    None => unknown,
                };
                nothing(Some(name.clone()), NO_ID, code)
            }
        }
    }

    fn topic(&self, cx: &Cx<'_>, topic: &Topic) -> MetadataTopic {
        let node_id = cx.settings.node_id;
        let partition = |index: usize| MetadataPartition {
            error_code: 0,
            partition_index: index as i32,
            leader_id: node_id,
            leader_epoch: map::place(cx.catalog, topic, index as i32).map_or(-1, |place| place.leader_epoch),
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            offline_replicas: Vec::new(),
        };
        MetadataTopic {
            error_code: 0,
            name: Some(Text::from(&*topic.name)),
            topic_id: topic.id.0,
            is_internal: false,
            partitions: (0..topic.partitions.len()).map(partition).collect(),
            topic_authorized_operations: if self.include_topic_operations {
                map::topic_operations(cx.who, topic)
            } else {
                i32::MIN
            },
        }
    }

    fn answer(&self, cx: &Cx<'_>, topics: Vec<MetadataTopic>) -> Outcome {
        let error_code = first_error(topics.iter().map(|topic| topic.error_code));
        let response = MetadataResponse {
            throttle_time_ms: 0,
            brokers: vec![MetadataBroker {
                node_id: cx.settings.node_id,
                host: Text::from(&*cx.settings.advertised_host),
                port: i32::from(cx.settings.advertised_port),
                rack: None,
            }],
            cluster_id: Some(Text::from(&*cx.settings.cluster_id)),
            controller_id: cx.settings.node_id,
            topics,
            cluster_authorized_operations: if self.include_cluster_operations {
                map::cluster_operations(cx.who)
            } else {
                i32::MIN
            },
            error_code: 0,
        };
        cx.answer(&response, error_code)
    }
}

fn nothing(name: Option<Text>, topic_id: Uuid, code: ErrorCode) -> MetadataTopic {
    MetadataTopic {
        error_code: code.number(),
        name,
        topic_id,
        is_internal: false,
        partitions: Vec::new(),
        topic_authorized_operations: i32::MIN,
    }
}
