// SPDX-License-Identifier: Apache-2.0
//! Groups: membership, committed offsets, and what is said about groups, each at the last version before the flexible ones.

use super::codec::{Decoder, Malformed};
use super::{Api, Code, Connection, WireError, first_error};

/// Who a member is, once it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub group: String,
    pub member_id: String,
    pub instance: Option<String>,
    pub generation: i32,
}

impl Membership {
    /// A client that commits without being a member.
    pub fn none(group: &str) -> Membership {
        Membership { group: group.to_owned(), member_id: String::new(), instance: None, generation: -1 }
    }
}

/// What a join was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub member_id: String,
    /// All member ids, for the leader; nothing for the others.
    pub members: Vec<String>,
}

/// What is said about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// `Dead` where there is none.
    pub state: String,
    pub member_ids: Vec<String>,
}

/// What is committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub partition: i32,
    /// -1: nothing is.
    pub offset: i64,
    pub metadata: String,
    pub error: Code,
}

fn text(answer: &mut Decoder<'_>) -> Result<String, Malformed> {
    Ok(answer.string()?.unwrap_or_default().to_owned())
}

impl Connection {
    /// Joins with one protocol, `range`, and no subscription worth the name. Generation -1: it has a member id now and must ask once
    /// more under it.
    pub fn join_group(&mut self, who: &Membership, session_ms: i32, rebalance_ms: i32) -> Result<Joined, WireError> {
        let request = self.begin(Api::JoinGroup);
        request.string(&who.group).i32(session_ms).i32(rebalance_ms).string(&who.member_id);
        request.nullable_string(who.instance.as_deref()).string("consumer");
        request.count(1).string("range").byte_string(b"");
        self.ask(Api::JoinGroup, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            let generation = answer.i32()?;
            answer.string()?;
            answer.string()?;
            let member_id = text(answer)?;
            let mut members = Vec::new();
            for _ in 0..answer.count()? {
                members.push(text(answer)?);
                answer.string()?;
                answer.byte_string()?;
            }
            Ok(match code {
                Code::NONE => Ok(Joined { generation, member_id, members }),
                Code::MEMBER_ID_REQUIRED => Ok(Joined { generation: -1, member_id, members }),
                code => Err(code),
            })
        })
    }

    /// Waits for its assignment; a leader brings everybody's.
    pub fn sync_group(&mut self, who: &Membership, assignments: &[(&str, &[u8])]) -> Result<Vec<u8>, WireError> {
        let request = self.begin(Api::SyncGroup);
        request.string(&who.group).i32(who.generation).string(&who.member_id);
        request.nullable_string(who.instance.as_deref()).count(assignments.len());
        for (member_id, assignment) in assignments {
            request.string(member_id).byte_string(assignment);
        }
        self.ask(Api::SyncGroup, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            let assignment = answer.byte_string()?.to_vec();
            Ok(if code == Code::NONE { Ok(assignment) } else { Err(code) })
        })
    }

    /// Says that the member is alive.
    pub fn heartbeat(&mut self, who: &Membership) -> Result<(), WireError> {
        let request = self.begin(Api::Heartbeat);
        request.string(&who.group).i32(who.generation).string(&who.member_id);
        request.nullable_string(who.instance.as_deref());
        self.ask(Api::Heartbeat, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            Ok(if code == Code::NONE { Ok(()) } else { Err(code) })
        })
    }

    /// Commits (partition, offset, metadata) and answers a code for each.
    pub fn commit_offsets(
        &mut self,
        who: &Membership,
        topic: &str,
        offsets: &[(i32, i64, &str)],
    ) -> Result<Vec<(i32, Code)>, WireError> {
        let request = self.begin(Api::OffsetCommit);
        request.string(&who.group).i32(who.generation).string(&who.member_id);
        request.nullable_string(who.instance.as_deref()).count(1).string(topic).count(offsets.len());
        for (partition, offset, metadata) in offsets {
            request.i32(*partition).i64(*offset).i32(-1).string(metadata);
        }
        self.ask(Api::OffsetCommit, |answer| {
            answer.i32()?;
            let mut codes = Vec::new();
            for _ in 0..answer.count()? {
                answer.string()?;
                for _ in 0..answer.count()? {
                    codes.push((answer.i32()?, Code(answer.i16()?)));
                }
            }
            Ok(Ok(codes))
        })
    }

    /// What a group has committed for these partitions of a topic.
    pub fn committed_offsets(
        &mut self,
        group: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<CommittedOffset>, WireError> {
        let request = self.begin(Api::OffsetFetch);
        request.string(group).count(1).string(topic).count(partitions.len());
        for partition in partitions {
            request.i32(*partition);
        }
        self.ask(Api::OffsetFetch, |answer| {
            answer.i32()?;
            let mut committed = Vec::new();
            for _ in 0..answer.count()? {
                answer.string()?;
                for _ in 0..answer.count()? {
                    let (partition, offset) = (answer.i32()?, answer.i64()?);
                    answer.i32()?;
                    let (metadata, error) = (text(answer)?, Code(answer.i16()?));
                    committed.push(CommittedOffset { partition, offset, metadata, error });
                }
            }
            let code = Code(answer.i16()?);
            Ok(if code == Code::NONE { Ok(committed) } else { Err(code) })
        })
    }

    /// A member goes.
    pub fn leave_group(&mut self, who: &Membership) -> Result<(), WireError> {
        let request = self.begin(Api::LeaveGroup);
        request.string(&who.group).count(1).string(&who.member_id).nullable_string(who.instance.as_deref());
        self.ask(Api::LeaveGroup, |answer| {
            answer.i32()?;
            let mut code = Code(answer.i16()?);
            for _ in 0..answer.count()? {
                answer.string()?;
                answer.string()?;
                let of_member = Code(answer.i16()?);
                if code == Code::NONE {
                    code = of_member;
                }
            }
            Ok(if code == Code::NONE { Ok(()) } else { Err(code) })
        })
    }

    /// What there is to say about a group.
    pub fn describe_group(&mut self, group: &str) -> Result<DescribedGroup, WireError> {
        self.begin(Api::DescribeGroups).count(1).string(group).bool(false);
        self.ask(Api::DescribeGroups, |answer| {
            answer.i32()?;
            if answer.count()? != 1 {
                return Err(Malformed("one group was asked for"));
            }
            let code = Code(answer.i16()?);
            answer.string()?;
            let state = text(answer)?;
            answer.string()?;
            answer.string()?;
            let mut member_ids = Vec::new();
            for _ in 0..answer.count()? {
                member_ids.push(text(answer)?);
                answer.string()?;
                answer.string()?;
                answer.string()?;
                answer.byte_string()?;
                answer.byte_string()?;
            }
            Ok(if code == Code::NONE { Ok(DescribedGroup { state, member_ids }) } else { Err(code) })
        })
    }

    /// The names of all groups.
    pub fn list_groups(&mut self) -> Result<Vec<String>, WireError> {
        self.begin(Api::ListGroups);
        self.ask(Api::ListGroups, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            let mut groups = Vec::new();
            for _ in 0..answer.count()? {
                groups.push(text(answer)?);
                answer.string()?;
            }
            Ok(if code == Code::NONE { Ok(groups) } else { Err(code) })
        })
    }

    /// A group without members goes, with all that it has committed.
    pub fn delete_group(&mut self, group: &str) -> Result<(), WireError> {
        self.begin(Api::DeleteGroups).count(1).string(group);
        self.ask(Api::DeleteGroups, |answer| {
            answer.i32()?;
            first_error(answer, |_| Ok(()))
        })
    }

    /// What a group has committed for one partition is forgotten.
    pub fn delete_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<(), WireError> {
        self.begin(Api::OffsetDelete).string(group).count(1).string(topic).count(1).i32(partition);
        self.ask(Api::OffsetDelete, |answer| {
            let mut code = Code(answer.i16()?);
            answer.i32()?;
            for _ in 0..answer.count()? {
                answer.string()?;
                for _ in 0..answer.count()? {
                    answer.i32()?;
                    let of_partition = Code(answer.i16()?);
                    if code == Code::NONE {
                        code = of_partition;
                    }
                }
            }
            Ok(if code == Code::NONE { Ok(()) } else { Err(code) })
        })
    }

    /// Which broker coordinates a group.
    pub fn find_coordinator(&mut self, group: &str) -> Result<i32, WireError> {
        self.begin(Api::FindCoordinator).string(group).i8(0);
        self.ask(Api::FindCoordinator, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            answer.string()?;
            let node_id = answer.i32()?;
            Ok(if code == Code::NONE { Ok(node_id) } else { Err(code) })
        })
    }
}
