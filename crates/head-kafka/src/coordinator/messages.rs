// SPDX-License-Identifier: Apache-2.0
//! What the verbs ask the group coordinator, and what it answers: one layout of our own, whatever version the client speaks.
//!
//! Owns: the asks and answers and their bytes (they pass through the kernel, which knows them as opaque). Must not know: wire
//! versions, what the coordinator does. They live in memory only and are never stored, so the layout may change freely.
//! Topics are named by id: the verbs translate names with the catalog that they see, and check there what exists.

use crate::wire::{ErrorCode, Field, Format, Malformed, Reader, Text, Uuid, Writer};
use bytes::Bytes;

const FORMAT: Format = Format { version: 0, flexible: true };

crate::wire::field::messages! {
    Join {
        group: Text,
        /// Empty: a new member.
        member_id: Text,
        group_instance_id: Option<Text>,
        /// For a member that has no id yet: made of the client id and random bits by the session, because the coordinator has
        /// no source of randomness.
        fresh_member_id: Text,
        /// A new dynamic member is first told its id (MEMBER_ID_REQUIRED) and joins with its next request: versions 4 and later.
        must_know_member_id: bool,
        client_id: Text,
        client_host: Text,
        session_timeout_ms: i32,
        /// -1: the session time-out (version 0).
        rebalance_timeout_ms: i32,
        protocol_type: Text,
        protocols: Vec<Protocol>,
        /// A static leader that comes back can be told to skip the assignment: versions 9 and later.
        can_skip_assignment: bool,
    }

    Protocol {
        name: Text,
        metadata: Bytes,
    }

    Joined {
        error_code: i16,
        generation_id: i32,
        protocol_type: Option<Text>,
        protocol_name: Option<Text>,
        leader: Text,
        skip_assignment: bool,
        member_id: Text,
        /// For the leader; empty for the others.
        members: Vec<JoinedMember>,
    }

    JoinedMember {
        member_id: Text,
        group_instance_id: Option<Text>,
        metadata: Bytes,
    }

    Sync {
        group: Text,
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text>,
        protocol_type: Option<Text>,
        protocol_name: Option<Text>,
        assignments: Vec<Assignment>,
    }

    Assignment {
        member_id: Text,
        assignment: Bytes,
    }

    Synced {
        error_code: i16,
        protocol_type: Option<Text>,
        protocol_name: Option<Text>,
        assignment: Bytes,
    }

    Heartbeat {
        group: Text,
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text>,
    }

    /// The whole answer to a heartbeat, and to a group's deletion.
    Done {
        error_code: i16,
    }

    Leave {
        group: Text,
        members: Vec<LeavingMember>,
    }

    LeavingMember {
        /// Empty with an instance id: whoever holds that.
        member_id: Text,
        group_instance_id: Option<Text>,
    }

    Left {
        error_code: i16,
        members: Vec<LeftMember>,
    }

    LeftMember {
        member_id: Text,
        group_instance_id: Option<Text>,
        error_code: i16,
    }

    Commit {
        group: Text,
        /// -1 with an empty member id: a client that manages its partitions itself.
        generation_id: i32,
        member_id: Text,
        group_instance_id: Option<Text>,
        topics: Vec<CommitTopic>,
    }

    CommitTopic {
        topic_id: Uuid,
        /// As members subscribe to it: what a live group no longer subscribes to may expire.
        name: Text,
        partitions: Vec<CommitPartition>,
    }

    CommitPartition {
        partition: i32,
        offset: i64,
        /// -1: not known.
        leader_epoch: i32,
        metadata: Text,
    }

    /// One code for each topic and partition of the ask, in its order. GROUP_ID_NOT_FOUND (69) is for versions from 9 on; before,
    /// it is ILLEGAL_GENERATION (22).
    Committed {
        topics: Vec<CodesOfTopic>,
    }

    CodesOfTopic {
        topic_id: Uuid,
        partitions: Vec<CodeOfPartition>,
    }

    CodeOfPartition {
        partition: i32,
        error_code: i16,
    }

    FetchOffsets {
        group: Text,
        /// Null: everything that is committed.
        topics: Option<Vec<PartitionsOfTopic>>,
        /// Empty unless the client says who it is (versions 9 and later). Groups of the classic protocol do not look at it.
        member_id: Text,
        member_epoch: i32,
    }

    PartitionsOfTopic {
        topic_id: Uuid,
        partitions: Vec<i32>,
    }

    FetchedOffsets {
        error_code: i16,
        topics: Vec<OffsetsOfTopic>,
    }

    OffsetsOfTopic {
        topic_id: Uuid,
        partitions: Vec<OffsetOfPartition>,
    }

    OffsetOfPartition {
        partition: i32,
        /// -1: nothing is committed.
        offset: i64,
        leader_epoch: i32,
        metadata: Text,
    }

    DeleteOffsets {
        group: Text,
        topics: Vec<NamedPartitionsOfTopic>,
    }

    NamedPartitionsOfTopic {
        topic_id: Uuid,
        /// As members subscribe to it.
        name: Text,
        partitions: Vec<i32>,
    }

    /// `error_code` is that of the group.
    DeletedOffsets {
        error_code: i16,
        topics: Vec<CodesOfTopic>,
    }

    Describe {
        group: Text,
    }

    Described {
        error_code: i16,
        /// As the protocol says it: Empty, PreparingRebalance, CompletingRebalance, Stable, Dead.
        state: Text,
        protocol_type: Text,
        /// The chosen protocol, or empty.
        protocol_name: Text,
        generation_id: i32,
        members: Vec<DescribedMember>,
        /// How many partitions have a committed offset.
        offset_count: i32,
    }

    DescribedMember {
        member_id: Text,
        group_instance_id: Option<Text>,
        client_id: Text,
        client_host: Text,
        metadata: Bytes,
        assignment: Bytes,
    }

    /// Empty filters take all. Letters of filters count as the protocol has it: small or capital alike.
    List {
        states: Vec<Text>,
        types: Vec<Text>,
    }

    Listed {
        error_code: i16,
        groups: Vec<ListedGroup>,
    }

    ListedGroup {
        group: Text,
        protocol_type: Text,
        state: Text,
        /// "classic".
        group_type: Text,
    }

    Delete {
        group: Text,
    }
}

impl Joined {
    /// Nobody joined.
    pub fn refused(member_id: Text, code: ErrorCode) -> Joined {
        Joined {
            error_code: code.number(),
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Text::EMPTY,
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl Synced {
    /// Nothing is assigned.
    pub fn refused(code: ErrorCode) -> Synced {
        Synced { error_code: code.number(), protocol_type: None, protocol_name: None, assignment: Bytes::new() }
    }
}

/// Declares the two enums and their bytes: a number, then the message.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $( $variant:ident ( $message:ident ) = $number:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $variant($message), )*
        }

        impl $name {
            pub fn encode(&self) -> Bytes {
                let mut writer = Writer::body();
                match self {
                    $( $name::$variant(message) => {
                        writer.i8($number);
                        message.write(&mut writer, FORMAT);
                    } )*
                }
                writer.into_bytes()
            }

            /// # Errors
            /// It is no such message: a bug of who made it, never of a client.
            pub fn decode(bytes: Bytes) -> Result<$name, Malformed> {
                let reader = &mut Reader::own(bytes);
                match reader.i8()? {
                    $( $number => Ok($name::$variant(Field::read(reader, FORMAT)?)), )*
                    _ => Err(Malformed::Length),
                }
            }
        }
    };
}

numbered! {
    /// To the coordinator.
    Ask {
        Join(Join) = 0,
        Sync(Sync) = 1,
        Heartbeat(Heartbeat) = 2,
        Leave(Leave) = 3,
        Commit(Commit) = 4,
        FetchOffsets(FetchOffsets) = 5,
        DeleteOffsets(DeleteOffsets) = 6,
        Describe(Describe) = 7,
        List(List) = 8,
        Delete(Delete) = 9,
    }
}

numbered! {
    /// From the coordinator, one to each ask, of the same number.
    Answer {
        Joined(Joined) = 0,
        Synced(Synced) = 1,
        HeartbeatDone(Done) = 2,
        Left(Left) = 3,
        Committed(Committed) = 4,
        FetchedOffsets(FetchedOffsets) = 5,
        DeletedOffsets(DeletedOffsets) = 6,
        Described(Described) = 7,
        Listed(Listed) = 8,
        Deleted(Done) = 9,
    }
}

pub(super) use numbered;

impl Ask {
    /// Are these the bytes of an ask that changes nothing which is remembered?
    pub fn only_reads(bytes: &Bytes) -> bool {
        // Heartbeat, FetchOffsets, Describe, List.
        matches!(bytes.first(), Some(2 | 5 | 7 | 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_back() {
        let ask = Ask::Join(Join {
            group: Text::from("g"),
            member_id: Text::EMPTY,
            group_instance_id: None,
            fresh_member_id: Text::from("c-1"),
            must_know_member_id: true,
            client_id: Text::from("c"),
            client_host: Text::from("/127.0.0.1"),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            protocol_type: Text::from("consumer"),
            protocols: vec![Protocol { name: Text::from("range"), metadata: Bytes::from(vec![7; 2000]) }],
            can_skip_assignment: true,
        });
        assert_eq!(Ask::decode(ask.encode()), Ok(ask));
    }
}
