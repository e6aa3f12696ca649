// SPDX-License-Identifier: Apache-2.0
//! What members of a consumer group tell each other through the broker, which does not look at it: which topics a member wants,
//! and which partitions it got. And who gets what, when it falls to us to decide.
//!
//! Layout: `version i16 | topics | user data, nullable`; a topic is a name in a subscription, a name and partition numbers in an
//! assignment. Later versions add fields behind, which are passed over.
//! Source: the protocol guide's "consumer" embedded protocol and the range assignor of Apache Kafka's clients.

use bytes::Bytes;
use head_kafka::wire::{Field, Format, Malformed, Reader, Text, Writer};
use std::collections::{BTreeMap, BTreeSet};

const FORMAT: Format = Format { version: 0, flexible: false };

/// Topics and their partitions.
pub type Assigned = BTreeMap<String, Vec<i32>>;

/// A subscription to these topics.
pub fn write_subscription(topics: &[String]) -> Bytes {
    let mut writer = Writer::body();
    writer.i16(FORMAT.version);
    writer.count(FORMAT, Some(topics.len()));
    topics.iter().for_each(|topic| writer.string(FORMAT, Some(topic)));
    writer.count(FORMAT, None);
    writer.into_bytes()
}

/// The topics of a subscription.
pub fn read_subscription(bytes: Bytes) -> Result<Vec<String>, Malformed> {
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    let topics = Vec::<Text>::read(&mut reader, FORMAT)?;
    Ok(topics.iter().map(ToString::to_string).collect())
}

/// An assignment.
pub fn write_assignment(assigned: &Assigned) -> Bytes {
    let mut writer = Writer::body();
    writer.i16(FORMAT.version);
    writer.count(FORMAT, Some(assigned.len()));
    for (topic, partitions) in assigned {
        writer.string(FORMAT, Some(topic));
        partitions.write(&mut writer, FORMAT);
    }
    writer.count(FORMAT, None);
    writer.into_bytes()
}

/// What an assignment says; nothing at all where it is empty, as it is for a member that gets nothing.
pub fn read_assignment(bytes: Bytes) -> Result<Assigned, Malformed> {
    let mut assigned = Assigned::new();
    if bytes.is_empty() {
        return Ok(assigned);
    }
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    let count = reader.count(FORMAT)?.unwrap_or(0);
    for _ in 0..count {
        let topic = Text::read(&mut reader, FORMAT)?;
        reader.grow(topic.as_str().len())?;
        assigned.insert(topic.to_string(), Vec::<i32>::read(&mut reader, FORMAT)?);
    }
    Ok(assigned)
}

/// A member as the leader sees it.
pub struct Subscriber {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub topics: Vec<String>,
}

/// Range assignment: of each topic, its subscribers in order get neighbouring partitions, the first ones one more where it does not
/// come out even. Members with an instance id are ordered by it and come first, so that a restart changes nothing.
pub fn assign_ranges(subscribers: &[Subscriber], partitions: &BTreeMap<String, usize>) -> BTreeMap<String, Assigned> {
    let mut assignments: BTreeMap<String, Assigned> =
        subscribers.iter().map(|subscriber| (subscriber.member_id.clone(), Assigned::new())).collect();
    for (topic, partition_count) in partitions {
        let wanted: BTreeSet<(bool, &str, &str)> = subscribers
            .iter()
            .filter(|subscriber| subscriber.topics.contains(topic))
            .map(|subscriber| match &subscriber.instance_id {
                Some(instance_id) => (false, instance_id.as_str(), subscriber.member_id.as_str()),
                None => (true, subscriber.member_id.as_str(), subscriber.member_id.as_str()),
            })
            .collect();
        let (each, more) = (partition_count / wanted.len().max(1), partition_count % wanted.len().max(1));
        let mut next = 0;
        for (place, (_, _, member_id)) in wanted.into_iter().enumerate() {
            let end = next + each + usize::from(place < more);
            if end > next
                && let Some(assigned) = assignments.get_mut(member_id)
            {
                assigned.insert(topic.clone(), (next as i32..end as i32).collect());
            }
            next = end;
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(member_id: &str, instance_id: Option<&str>, topics: &[&str]) -> Subscriber {
        Subscriber {
            member_id: member_id.to_owned(),
            instance_id: instance_id.map(str::to_owned),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_later_fields_are_passed_over() {
        let topics = vec!["a".to_owned(), "b".to_owned()];
        let mut bytes = write_subscription(&topics).to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(read_subscription(bytes.into()), Ok(topics));
        let assigned = Assigned::from([("a".to_owned(), vec![0, 1]), ("b".to_owned(), vec![7])]);
        assert_eq!(read_assignment(write_assignment(&assigned)), Ok(assigned.clone()));
        assert_eq!(read_assignment(Bytes::new()), Ok(Assigned::new()));
        assert!(read_assignment(write_assignment(&assigned).slice(..9)).is_err());
        assert!(read_subscription(Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])).is_err());
    }

    #[test]
    fn ranges_are_neighbours_and_each_partition_has_one_owner() {
        let members = [
            subscriber("m2", None, &["t", "u"]),
            subscriber("m1", None, &["t"]),
            subscriber("m9", Some("fixed"), &["t"]),
        ];
        let partitions = BTreeMap::from([("t".to_owned(), 8), ("u".to_owned(), 2)]);
        let assigned = assign_ranges(&members, &partitions);
        assert_eq!(assigned["m9"]["t"], [0, 1, 2]);
        assert_eq!(assigned["m1"]["t"], [3, 4, 5]);
        assert_eq!(assigned["m2"]["t"], [6, 7]);
        assert_eq!(assigned["m2"]["u"], [0, 1]);
        let few = BTreeMap::from([("t".to_owned(), 1)]);
        assert!(assign_ranges(&members, &few)["m2"].is_empty());
    }
}
