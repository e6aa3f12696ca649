// SPDX-License-Identifier: Apache-2.0
//! Identifiers. Objects are known by number, never by name, and a number is never used again.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A shard: the unit of ownership, with one write-ahead log.
    ShardId(u32)
);
number!(
    /// One life of a shard: grows by at least one at every open, so a later life fences an earlier one.
    ShardEpoch(u32)
);
number!(
    /// The epoch clients see: `partition.epoch_base + shard epoch`. Grows over restarts and moves.
    LeaderEpoch(i32)
);
number!(
    /// A frame's number in its shard's log: dense, from 1, never reused once durable. 0 = before the first frame.
    Lsn(u64)
);
number!(
    /// A record's position in its partition: dense, from 0.
    Offset(u64)
);
number!(
    /// A partition, unique in the whole system.
    PartitionId(u64)
);
number!(
    /// A namespace: vhost (AMQP), mountpoint (MQTT), tenant (Kafka, RocketMQ). Its cell is the shard that owns its catalog.
    NamespaceId(u64)
);
number!(
    /// Who asked: a connection or a durable identity. Replies and wakes are addressed to it.
    HolderId(u64)
);
number!(
    /// A holder's own number for one command, returned with the reply.
    Ticket(u64)
);
number!(
    /// An idempotent producer.
    ProducerId(i64)
);
number!(
    /// One life of an idempotent producer.
    ProducerEpoch(i16)
);

impl NamespaceId {
    /// The namespace of clients that name none.
    pub const DEFAULT: NamespaceId = NamespaceId(0);
}

impl ShardId {
    /// The shard that holds the meta catalog and the default namespace's cell.
    pub const META: ShardId = ShardId(0);
}

impl Lsn {
    /// The frame after this one.
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl Offset {
    /// The position `count` records later.
    pub fn plus(self, count: u64) -> Offset {
        Offset(self.0 + count)
    }
}

/// A topic: 16 bytes, random (version 4 layout). The zero id means "none".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id that names no topic.
    pub const NONE: TopicId = TopicId([0; 16]);

    /// Makes an id from 16 random bytes: sets the version and variant bits, and the first bit to 0 so that its text never
    /// starts with a dash (which command lines would read as a flag).
    pub fn from_random(mut bytes: [u8; 16]) -> TopicId {
        bytes[0] &= 0x7f;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        TopicId(bytes)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64_url(&self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// URL-safe base64 without padding: 16 bytes become the 22 characters of a cluster or topic id.
pub fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for index in 0..=group.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * index)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_are_twenty_two_characters() {
        assert_eq!(base64_url(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64_url(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw");
        assert_eq!(base64_url(&[0xff, 0xfe]), "__4");
    }
}
