// SPDX-License-Identifier: Apache-2.0
//! What somebody sends who does not know the protocol, or means harm.
//!
//! Owns: the bytes. Must not know: connections, what comes of it. The answer may be anything but the broker's end, and nobody else may
//! notice. Only requests that change nothing are spoilt, and never their kind, so that nothing is changed by accident.

use super::plan::Babble;
use crate::actors::kafka::{Line, version_of};
use crate::rng::Rng;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

/// Length, kind and version stand before this in a request.
const HEAD_BYTES: usize = 8;
/// The most that a stranger announces: what a broker may take.
const ANNOUNCED_BYTES_MAX: u64 = 100 * 1024 * 1024;

/// Something of that sort.
pub fn babble(how: Babble, salt: u64) -> Bytes {
    let mut rng = Rng::new(salt);
    let mut request = BytesMut::from(&request(&mut rng)[..]);
    match how {
        Babble::Lie => {
            let announced = request.len() as u64 + rng.below(ANNOUNCED_BYTES_MAX);
            request[..4].copy_from_slice(&(announced as u32).to_be_bytes());
            let end = request.len().min(HEAD_BYTES + rng.below(100) as usize);
            request.truncate(end);
        }
        Babble::Flips => {
            for _ in 0..=rng.below(8) {
                let at = HEAD_BYTES + rng.below((request.len() - HEAD_BYTES) as u64) as usize;
                request[at] ^= 1 << rng.below(8);
            }
        }
        Babble::Stump => {
            let end = HEAD_BYTES + rng.below((request.len() - HEAD_BYTES) as u64) as usize;
            request.truncate(end);
            request[..4].copy_from_slice(&(end as u32 - 4).to_be_bytes());
        }
        Babble::Noise => request.iter_mut().for_each(|byte| *byte = rng.bits() as u8),
    }
    request.freeze()
}

fn request(rng: &mut Rng) -> Bytes {
    let name = || TopicName(StrBytes::from_static_str("topic-0"));
    let mut line = Line::<()>::default();
    match rng.below(3) {
        0 => {
            let topics = vec![MetadataRequestTopic::default().with_name(Some(name()))];
            let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
            line.ask(0, version_of::<MetadataRequest>(rng, 10), &request, ())
        }
        1 => {
            let partitions = vec![ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-2)];
            let topics = vec![ListOffsetsTopic::default().with_name(name()).with_partitions(partitions)];
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
            line.ask(0, version_of::<ListOffsetsRequest>(rng, 1), &request, ())
        }
        _ => {
            let partitions = vec![FetchPartition::default().with_partition_max_bytes(1000)];
            let topics = vec![FetchTopic::default().with_topic(name()).with_partitions(partitions)];
            let request =
                FetchRequest::default().with_max_bytes(1000).with_replica_id(BrokerId(-1)).with_topics(topics);
            line.ask(0, 4 + rng.below(9) as i16, &request, ())
        }
    }
}
