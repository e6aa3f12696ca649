// SPDX-License-Identifier: Apache-2.0
//! Settings and sizes of topics, and changing topics: more partitions, other settings, fewer records.

use super::refusal::ClientError;
use super::topics::{Topic, millis};
use super::{Client, Tries, is_ok};
use head_kafka::wire::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use head_kafka::wire::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use head_kafka::wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use head_kafka::wire::messages::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use head_kafka::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use head_kafka::wire::{ErrorCode, Text};
use std::collections::BTreeMap;

const RESOURCE_TOPIC: i8 = 2;
/// The setting was given for this topic.
const SOURCE_TOPIC: i8 = 1;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;

impl Client {
    /// The settings of a topic that were given for it; `None`: this broker does not tell.
    pub fn topic_settings(&mut self, topic: &str) -> Result<Option<BTreeMap<String, String>>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: topic.into(),
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: false,
        };
        let answer = match self.call(&request) {
            Err(ClientError::Unspoken { .. }) => return Ok(None),
            answer => answer?,
        };
        let mut settings = BTreeMap::new();
        for result in answer.results {
            done(format!("settings of topic {topic:?}"), result.error_code, result.error_message)?;
            for setting in result.configs.into_iter().filter(|setting| setting.config_source == SOURCE_TOPIC) {
                let value = setting.value.map(|value| value.to_string()).unwrap_or_default();
                settings.insert(setting.name.to_string(), value);
            }
        }
        Ok(Some(settings))
    }

    /// Bytes of each partition of a topic, one copy of it; `None`: this broker does not tell.
    pub fn topic_bytes(&mut self, topic: &Topic) -> Result<Option<BTreeMap<i32, i64>>, ClientError> {
        let request = DescribeLogDirsRequest {
            topics: Some(vec![DescribableLogDirTopic {
                topic: topic.name.as_str().into(),
                partitions: topic.indexes(),
            }]),
        };
        let mut bytes = BTreeMap::new();
        for broker in self.brokers_known()? {
            let answer = match self.broker(broker)?.call(&request) {
                Err(ClientError::Unspoken { .. }) => return Ok(None),
                answer => answer?,
            };
            if !is_ok(answer.error_code) {
                return Err(ClientError::refused(format!("sizes of topic {:?}", topic.name), answer.error_code));
            }
            for found in answer.results.iter().flat_map(|result| &result.topics) {
                for partition in found.partitions.iter().filter(|partition| !partition.is_future_key) {
                    let largest: &mut i64 = bytes.entry(partition.partition_index).or_default();
                    *largest = (*largest).max(partition.partition_size);
                }
            }
        }
        Ok(Some(bytes))
    }

    /// Sets and takes back settings of a topic, all or none.
    pub fn alter_settings(
        &mut self,
        topic: &str,
        set: &[(String, String)],
        delete: &[String],
    ) -> Result<(), ClientError> {
        let setting = |name: &str, config_operation, value: Option<&str>| AlterableConfig {
            name: name.into(),
            config_operation,
            value: value.map(Text::from),
        };
        let set = set.iter().map(|(name, value)| setting(name, OPERATION_SET, Some(value)));
        let configs = set.chain(delete.iter().map(|name| setting(name, OPERATION_DELETE, None))).collect();
        let resource = AlterConfigsResource { resource_type: RESOURCE_TOPIC, resource_name: topic.into(), configs };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let tries = Tries::within(self.timeout());
        loop {
            let answer = self.call(&request)?;
            let Some(result) = answer.responses.into_iter().next() else { return Ok(()) };
            if !tries.again_after(result.error_code) {
                return done(format!("settings of topic {topic:?}"), result.error_code, result.error_message);
            }
        }
    }

    /// Gives a topic more partitions: `count` in all.
    pub fn add_partitions(&mut self, topic: &str, count: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic.into(), count, assignments: None }],
            timeout_ms: millis(self.timeout()),
            validate_only: false,
        };
        let tries = Tries::within(self.timeout());
        loop {
            let answer = self.call(&request)?;
            let Some(result) = answer.results.into_iter().next() else { return Ok(()) };
            if !tries.again_after(result.error_code) {
                return done(format!("partitions of topic {topic:?}"), result.error_code, result.error_message);
            }
        }
    }

    /// Deletes the records before an offset of each partition. Where each begins afterwards.
    pub fn trim(&mut self, topic: &Topic, before: &BTreeMap<i32, i64>) -> Result<BTreeMap<i32, i64>, ClientError> {
        let tries = Tries::within(self.timeout());
        let mut topic = topic.clone();
        let mut starts: BTreeMap<i32, i64> = BTreeMap::new();
        loop {
            let mut by_leader: BTreeMap<i32, Vec<DeleteRecordsPartition>> = BTreeMap::new();
            for (partition_index, offset) in before.iter().filter(|(index, _)| !starts.contains_key(*index)) {
                let partition = DeleteRecordsPartition { partition_index: *partition_index, offset: *offset };
                by_leader.entry(topic.leader(*partition_index)).or_default().push(partition);
            }
            let mut refused = None;
            for (leader, partitions) in by_leader {
                if leader < 0 {
                    refused = Some((partitions[0].partition_index, ErrorCode::LeaderNotAvailable.number()));
                    continue;
                }
                let request = DeleteRecordsRequest {
                    topics: vec![DeleteRecordsTopic { name: topic.name.as_str().into(), partitions }],
                    timeout_ms: millis(self.timeout()),
                };
                let answer = self.broker(leader)?.call(&request)?;
                for result in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                    if is_ok(result.error_code) {
                        starts.insert(result.partition_index, result.low_watermark);
                    } else {
                        refused = Some((result.partition_index, result.error_code));
                    }
                }
            }
            let Some((index, error_code)) = refused else { return Ok(starts) };
            if !tries.again_after(error_code) {
                return Err(ClientError::refused(format!("records of {}-{index}", topic.name), error_code));
            }
            topic = self.topic(&topic.name)?;
        }
    }
}

fn done(what: String, error_code: i16, message: Option<Text>) -> Result<(), ClientError> {
    if is_ok(error_code) {
        return Ok(());
    }
    Err(ClientError::Refused { what, error_code, message: message.map(|message| message.to_string()) })
}
