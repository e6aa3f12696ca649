// SPDX-License-Identifier: Apache-2.0
//! What the coordinator remembers, as bytes: keys and values of its notes.
//!
//! Owns: their layout on media. Must not know: what a group does.
//!
//! Numbers are big-endian; a `text` is length + 1 as varint, then UTF-8; a `bytes` the same; a list its count + 1 as varint (0 in
//! place of a text: none), then the elements; every value and element ends with a zero byte (no further fields). Keys:
//! ```text
//! group   1 u8 | namespace u64 | group id, to the end
//! offset  2 u8 | namespace u64 | topic id 16 B | partition i32 | group id, to the end
//! topic   3 u8 | topic id 16 B
//! ```
//! Values, version 0:
//! ```text
//! group   version i16 | generation i32 | since i64 | protocol type text | protocol name text or none | leader text or none | members:
//!         { member id text | instance id text or none | client id text | client host text | session timeout i32 |
//!           rebalance timeout i32 | metadata bytes | assignment bytes }
//! offset  version i16 | offset i64 | leader epoch i32 | committed i64 | metadata text
//! topic   version i16 | name text
//! ```
//! `since` and `committed` are wall-clock milliseconds. A member's metadata is what it gave for the chosen protocol. A group without
//! members is empty since then.
//!
//! What cannot be read (a later version wrote it) is kept as it is: see `stored.rs`.

use crate::wire::{Field, Format, Malformed, Reader, Text, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use kernel::coordinator::Note;
use model::{NamespaceId, TopicId};

const GROUP: u8 = 1;
const OFFSET: u8 = 2;
const TOPIC: u8 = 3;

const VERSION: i16 = 0;

/// A frame keeps this much and less beside a note's key and value, see `kernel`'s entry header and its padding.
const ENTRY_BYTES: usize = 32;

/// A group's name: each namespace has its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName {
    pub namespace: NamespaceId,
    pub group: Text,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Group(GroupName),
    Offset { name: GroupName, topic: TopicId, partition: i32 },
    Topic(TopicId),
}

crate::wire::field::messages! {
    GroupNote {
        generation: i32,
        since_ms: i64,
        protocol_type: Text,
        protocol_name: Option<Text>,
        leader: Option<Text>,
        members: Vec<MemberNote>,
    }

    MemberNote {
        member_id: Text,
        group_instance_id: Option<Text>,
        client_id: Text,
        client_host: Text,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32,
        metadata: Bytes,
        assignment: Bytes,
    }

    OffsetNote {
        offset: i64,
        leader_epoch: i32,
        committed_ms: i64,
        metadata: Text,
    }

    TopicNote {
        name: Text,
    }
}

impl Key {
    pub fn encode(&self) -> Bytes {
        let mut key = BytesMut::with_capacity(64);
        match self {
            Key::Group(name) => {
                key.put_u8(GROUP);
                key.put_u64(name.namespace.0);
                key.put_slice(name.group.as_str().as_bytes());
            }
            Key::Offset { name, topic, partition } => {
                key.put_u8(OFFSET);
                key.put_u64(name.namespace.0);
                key.put_slice(&topic.0);
                key.put_i32(*partition);
                key.put_slice(name.group.as_str().as_bytes());
            }
            Key::Topic(topic) => {
                key.put_u8(TOPIC);
                key.put_slice(&topic.0);
            }
        }
        key.freeze()
    }

    /// # Errors
    /// It is no key of ours.
    pub fn decode(key: &[u8]) -> Result<Key, Malformed> {
        // A copy: keys are small, and what they are cut out of may be a frame of megabytes.
        let reader = &mut Reader::new(Bytes::copy_from_slice(key));
        match reader.i8()? as u8 {
            GROUP => Ok(Key::Group(GroupName { namespace: namespace(reader)?, group: rest(reader)? })),
            OFFSET => {
                let namespace = namespace(reader)?;
                let (topic, partition) = (topic(reader)?, reader.i32()?);
                Ok(Key::Offset { name: GroupName { namespace, group: rest(reader)? }, topic, partition })
            }
            TOPIC => {
                let topic = topic(reader)?;
                if rest(reader)? == Text::EMPTY { Ok(Key::Topic(topic)) } else { Err(Malformed::Length) }
            }
            _ => Err(Malformed::Length),
        }
    }
}

fn namespace(reader: &mut Reader) -> Result<NamespaceId, Malformed> {
    Ok(NamespaceId(reader.i64()? as u64))
}

fn topic(reader: &mut Reader) -> Result<TopicId, Malformed> {
    Ok(TopicId(Field::read(reader, format(VERSION))?))
}

fn rest(reader: &mut Reader) -> Result<Text, Malformed> {
    Text::new(std::mem::replace(reader, Reader::new(Bytes::new())).rest())
}

fn format(version: i16) -> Format {
    Format { version, flexible: true }
}

/// A value's bytes.
pub fn encode<T: Field>(value: &T) -> Bytes {
    let mut writer = Writer::body();
    writer.i16(VERSION);
    value.write(&mut writer, format(VERSION));
    writer.into_bytes()
}

/// # Errors
/// It is no such value, or a later version's. Whatever is read is written back as the same bytes.
pub fn decode<T: Field>(value: Bytes) -> Result<T, Malformed> {
    let reader = &mut Reader::new(value.clone());
    let version = reader.i16()?;
    if version != VERSION {
        return Err(Malformed::Length);
    }
    let note = T::read(reader, format(version))?;
    if encode(&note) == value { Ok(note) } else { Err(Malformed::Length) }
}

/// A note in words.
pub fn text(key: &[u8], value: &[u8]) -> Option<String> {
    let value = Bytes::copy_from_slice(value);
    match Key::decode(key).ok()? {
        Key::Group(name) => {
            let note: GroupNote = decode(value).ok()?;
            let protocol = note.protocol_name.unwrap_or_default();
            let (generation, members) = (note.generation, note.members.len());
            Some(format!("group {:?}: generation {generation}, protocol {protocol:?}, members: {members}", name.group))
        }
        Key::Offset { name, topic, partition } => {
            let note: OffsetNote = decode(value).ok()?;
            Some(format!("group {:?}: topic {topic} partition {partition} committed {}", name.group, note.offset))
        }
        Key::Topic(topic) => {
            let note: TopicNote = decode(value).ok()?;
            Some(format!("topic {topic} of committed offsets: {:?}", note.name))
        }
    }
}

/// What the note that removes an offset of this group takes in a frame, at most.
pub fn tombstone_bytes(group: &Text) -> usize {
    ENTRY_BYTES + 1 + 8 + 16 + 4 + group.as_str().len()
}

/// What a note that removes something takes in a frame, at most.
pub fn removal_bytes(note: &Note) -> usize {
    ENTRY_BYTES + note.key.len()
}

/// What a note takes in a frame, at most.
pub fn frame_bytes(key: &Bytes, value: &Bytes) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> GroupName {
        GroupName { namespace: NamespaceId(7), group: Text::from("g") }
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let topic = TopicId([5; 16]);
        assert_eq!(Key::Group(name()).encode()[..], *b"\x01\0\0\0\0\0\0\0\x07g");
        let offset = Key::Offset { name: name(), topic, partition: 3 };
        assert_eq!(offset.encode()[..], [&b"\x02\0\0\0\0\0\0\0\x07"[..], &[5; 16], b"\0\0\0\x03g"].concat());
        assert_eq!(Key::Topic(topic).encode()[..], [&b"\x03"[..], &[5; 16]].concat());
        let value = OffsetNote { offset: 9, leader_epoch: -1, committed_ms: 256, metadata: Text::from("m") };
        assert_eq!(encode(&value)[..], *b"\0\0\0\0\0\0\0\0\0\x09\xff\xff\xff\xff\0\0\0\0\0\0\x01\0\x02m\0");
        let value = GroupNote {
            generation: 2,
            since_ms: 3,
            protocol_type: Text::from("consumer"),
            protocol_name: Some(Text::from("range")),
            leader: None,
            members: vec![MemberNote {
                member_id: Text::from("a"),
                group_instance_id: None,
                client_id: Text::from("c"),
                client_host: Text::from("/h"),
                session_timeout_ms: 4,
                rebalance_timeout_ms: 5,
                metadata: Bytes::from_static(b"me"),
                assignment: Bytes::from_static(b"as"),
            }],
        };
        let drawn = b"\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\x09consumer\x06range\0\x02\
            \x02a\0\x02c\x03/h\0\0\0\x04\0\0\0\x05\x03me\x03as\0\0";
        assert_eq!(encode(&value)[..], drawn[..]);
        assert_eq!(decode(encode(&value)), Ok(value));
    }

    #[test]
    fn notes_are_told_in_words_as_far_as_they_are_known() {
        let topic = TopicId([5; 16]);
        let key = Key::Offset { name: name(), topic, partition: 3 }.encode();
        let value = encode(&OffsetNote { offset: 9, leader_epoch: -1, committed_ms: 256, metadata: Text::EMPTY });
        assert_eq!(text(&key, &value).unwrap(), format!("group \"g\": topic {topic} partition 3 committed 9"));
        assert_eq!(text(&key, &value[1..]), None);
        assert_eq!(text(b"\x09", &value), None);
    }

    #[test]
    fn keys_are_read_back_and_nothing_else_is_a_key() {
        let topic = TopicId([5; 16]);
        for key in [Key::Group(name()), Key::Offset { name: name(), topic, partition: -1 }, Key::Topic(topic)] {
            assert_eq!(Key::decode(&key.encode()), Ok(key));
        }
        for wrong in [&b""[..], b"\x09", b"\x01\0\0", b"\x01\0\0\0\0\0\0\0\x07\xff", &[3; 18]] {
            assert!(Key::decode(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_value_of_a_later_version_is_not_read() {
        let mut value = encode(&TopicNote { name: Text::from("t") }).to_vec();
        assert_eq!(decode(value.clone().into()), Ok(TopicNote { name: Text::from("t") }));
        value.push(0);
        assert_eq!(decode::<TopicNote>(value.clone().into()), Err(Malformed::Length));
        value[1] = 1;
        assert_eq!(decode::<TopicNote>(value.into()), Err(Malformed::Length));
    }

    #[test]
    fn a_note_in_a_frame_takes_no_more_than_is_counted() {
        let key = Key::Offset { name: name(), topic: TopicId([5; 16]), partition: 3 }.encode();
        assert_eq!(frame_bytes(&key, &Bytes::new()), tombstone_bytes(&name().group));
    }
}
