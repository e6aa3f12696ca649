// SPDX-License-Identifier: Apache-2.0
//! A member of a consumer group, for one topic: joins, gets partitions, beats, commits, leaves.
//!
//! Owns: member id and generation. Must not know: how records are read.
//! The protocol in use is `range`, which every client library brings, so this member can stand beside others. A member that is told
//! that a rebalance has begun commits what it has read, gives everything up and joins again.
//!
//! Bounds: joining again ends with `JOINS_MAX` refusals in a row. Heartbeats are sent between fetches, so a member whose output is
//! not read for a whole session is taken for dead, and its partitions go to others.

use super::consumer_protocol::{
    Subscriber, assign_ranges, read_assignment, read_subscription, write_assignment, write_subscription,
};
use super::groups::{Committer, Place};
use super::refusal::{ClientError, is_retriable};
use super::{Client, PAUSE_MS, is_ok};
use head_kafka::wire::messages::heartbeat::HeartbeatRequest;
use head_kafka::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use head_kafka::wire::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use head_kafka::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use head_kafka::wire::{ApiKey, ErrorCode, Text};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";
/// As Apache Kafka's consumer has it.
const SESSION_MS: i32 = 45_000;
const REBALANCE_MS: i32 = 60_000;
const BEAT_MS: u64 = 3_000;
const JOINS_MAX: u32 = 20;

/// What the coordinator says to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Member,
    /// Others come or go: commit and join again.
    Rebalancing,
    /// Not any more: what was read since the last commit is read again, by whoever has the partition now.
    Lost,
}

/// See the module.
pub struct Member {
    group: String,
    topic: String,
    committer: Committer,
    next_beat: Instant,
}

impl Member {
    /// Not a member yet: `join` first.
    pub fn new(group: &str, topic: &str) -> Member {
        Member {
            group: group.to_owned(),
            topic: topic.to_owned(),
            committer: Committer::default(),
            next_beat: Instant::now(),
        }
    }

    /// Joins, and waits until the group has settled. The partitions that are this member's, until it is told otherwise.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] when somebody pressed Ctrl-C meanwhile.
    pub fn join(&mut self, client: &mut Client) -> Result<Vec<i32>, ClientError> {
        let mut refusals = 0;
        loop {
            let error_code = match self.join_once(client) {
                Ok(Ok(partitions)) => {
                    self.next_beat = Instant::now() + Duration::from_millis(BEAT_MS);
                    return Ok(partitions);
                }
                Ok(Err(error_code)) => error_code,
                Err(error) if error.is_lost_connection() => {
                    client.reconnect()?;
                    ErrorCode::NotCoordinator.number()
                }
                Err(error) => {
                    client.reconnect()?;
                    return Err(error);
                }
            };
            let code = ErrorCode::from_number(error_code);
            // With its id, the first request that asked for one is answered.
            if code == Some(ErrorCode::MemberIdRequired) {
                continue;
            }
            let again = match code {
                Some(ErrorCode::UnknownMemberId) => {
                    self.committer = Committer::default();
                    true
                }
                Some(ErrorCode::IllegalGeneration | ErrorCode::RebalanceInProgress) => true,
                _ => is_retriable(error_code),
            };
            refusals += 1;
            if !again || refusals == JOINS_MAX {
                return Err(ClientError::refused(format!("joining group {:?}", self.group), error_code));
            }
            std::thread::sleep(Duration::from_millis(PAUSE_MS));
        }
    }

    fn join_once(&mut self, client: &mut Client) -> Result<Result<Vec<i32>, i16>, ClientError> {
        let longer = Duration::from_millis(REBALANCE_MS.unsigned_abs().into());
        let request = JoinGroupRequest {
            group_id: self.group.as_str().into(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: self.committer.member_id.clone(),
            group_instance_id: None,
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL.into(),
                metadata: write_subscription(std::slice::from_ref(&self.topic)),
            }],
            reason: None,
        };
        let joined = client.ask_and_wait(&self.group, &request, longer)?;
        if joined.error_code == ErrorCode::MemberIdRequired.number() {
            self.committer.member_id = joined.member_id;
            return Ok(Err(joined.error_code));
        }
        if !is_ok(joined.error_code) {
            return Ok(Err(joined.error_code));
        }
        self.committer.member_id = joined.member_id.clone();
        self.committer.generation_id = joined.generation_id;
        let request = SyncGroupRequest {
            group_id: self.group.as_str().into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments: if joined.leader == joined.member_id { assign(client, &joined)? } else { Vec::new() },
        };
        let synced = client.ask_and_wait(&self.group, &request, longer)?;
        if !is_ok(synced.error_code) {
            return Ok(Err(synced.error_code));
        }
        let mut assigned = read_assignment(synced.assignment).map_err(|why| {
            ClientError::malformed(&format!("the leader of group {:?}", self.group), ApiKey::SyncGroup, why)
        })?;
        Ok(Ok(assigned.remove(&self.topic).unwrap_or_default()))
    }

    /// Tells the coordinator that this member lives, when it is time.
    pub fn beat(&mut self, client: &mut Client) -> Result<Standing, ClientError> {
        if Instant::now() < self.next_beat {
            return Ok(Standing::Member);
        }
        self.next_beat = Instant::now() + Duration::from_millis(BEAT_MS);
        let request = HeartbeatRequest {
            group_id: self.group.as_str().into(),
            generation_id: self.committer.generation_id,
            member_id: self.committer.member_id.clone(),
            group_instance_id: None,
        };
        let answer = client.ask_coordinator(&self.group, &request, |answer| answer.error_code)?;
        self.standing(answer.error_code, "a heartbeat")
    }

    /// Commits what was read: for each partition the offset to go on from.
    pub fn commit(&mut self, client: &mut Client, offsets: &BTreeMap<i32, i64>) -> Result<Standing, ClientError> {
        if offsets.is_empty() {
            return Ok(Standing::Member);
        }
        let offsets: BTreeMap<Place, i64> =
            offsets.iter().map(|(partition, offset)| ((self.topic.clone(), *partition), *offset)).collect();
        let error_code = client.commit(&self.group, &self.committer, &offsets)?;
        self.standing(error_code, "a commit")
    }

    fn standing(&mut self, error_code: i16, what: &str) -> Result<Standing, ClientError> {
        match ErrorCode::from_number(error_code) {
            Some(ErrorCode::None) => Ok(Standing::Member),
            Some(ErrorCode::RebalanceInProgress) => Ok(Standing::Rebalancing),
            Some(ErrorCode::IllegalGeneration) => Ok(Standing::Lost),
            Some(ErrorCode::UnknownMemberId) => {
                self.committer = Committer::default();
                Ok(Standing::Lost)
            }
            _ => Err(ClientError::refused(format!("{what} of group {:?}", self.group), error_code)),
        }
    }

    /// Leaves, so that the others need not wait for the end of the session. Whether that is heard does not matter here.
    pub fn leave(&mut self, client: &mut Client) -> Result<(), ClientError> {
        if self.committer.member_id == Text::EMPTY {
            return Ok(());
        }
        let request = LeaveGroupRequest {
            group_id: self.group.as_str().into(),
            member_id: self.committer.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.committer.member_id.clone(),
                group_instance_id: None,
                reason: None,
            }],
        };
        client.ask_coordinator(&self.group, &request, |answer| answer.error_code)?;
        self.committer = Committer::default();
        Ok(())
    }
}

/// The leader's part.
fn assign(client: &mut Client, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
    let mut subscribers = Vec::new();
    for member in &joined.members {
        // Whoever says nothing that makes sense gets nothing.
        let topics = read_subscription(member.metadata.clone()).unwrap_or_default();
        subscribers.push(Subscriber {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
            topics,
        });
    }
    let names: Vec<&str> =
        subscribers.iter().flat_map(|subscriber| subscriber.topics.iter().map(String::as_str)).collect();
    let metadata = client.metadata(Some(&names))?;
    let partitions = metadata
        .topics
        .iter()
        .filter_map(|topic| Some((topic.name.as_ref()?.to_string(), topic.partitions.len())))
        .collect();
    let assignments = assign_ranges(&subscribers, &partitions);
    Ok(assignments
        .iter()
        .map(|(member_id, assigned)| SyncGroupRequestAssignment {
            member_id: member_id.as_str().into(),
            assignment: write_assignment(assigned),
        })
        .collect())
}
