// SPDX-License-Identifier: Apache-2.0
//! A member of a consumer group: joins, takes or makes assignments, says that it is alive, reads, commits, leaves.
//!
//! Owns: what a member does next, and what each answer means to it. Must not know: other members, except as the leader is told.
//!
//! A leader assigns ranges, and writes into each assignment its group, generation, the number of its sync and whose it is: so
//! whoever is handed one can tell whether it is the right one.

use super::judge::{Before, Checked, Credentials, Handed};
use super::{Committing, Key, Note, Recalling, Run, Uuid, group_name, name_of, number, text, topic_of};
use crate::history::{Event, Op};
use crate::rng::Rng;
use crate::scenarios::drive::Wired;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use std::collections::BTreeMap;

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not in the group, or on its way back in.
    Out,
    /// Its join is not answered.
    Joining,
    /// It knows its generation, not its assignment.
    Joined,
    Stable,
    /// Not there.
    Away,
}

/// What it owns of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    /// The life of the topic that it reads.
    life: Option<Uuid>,
    /// Where it reads on; not known before the committed offset was asked for.
    position: Option<u64>,
}

/// See the module.
pub struct Member {
    pub group: u32,
    pub instance: Option<String>,
    pub phase: Phase,
    pub commits: bool,
    pub rejoins: bool,
    /// It leaves, and is away for so long.
    pub leaves_for_us: Option<u64>,
    pub owned: BTreeMap<Key, Owned>,
    /// The leader's sync that its assignment came with, and how many partitions were assigned in it.
    pub handed: Option<(Op, u64)>,
    who: Credentials,
    away_until_us: u64,
    /// When it does next what it does of itself.
    heartbeat_us: u64,
    fetch_us: u64,
    rejoin_us: u64,
    looked: bool,
    found: bool,
    /// It leads: the others, by id and instance.
    followers: Option<Vec<(String, Option<String>)>>,
    /// When it asked what was last answered well, in this generation.
    contact_us: u64,
    /// It did nothing that could cost it its membership since.
    secure: bool,
    lives_then: u64,
}

impl Member {
    pub fn new(group: u32, instance: Option<String>) -> Member {
        let who = Credentials { group, generation: -1, member_id: String::new(), instance: instance.clone() };
        Member {
            group,
            instance,
            phase: Phase::Out,
            commits: false,
            rejoins: false,
            leaves_for_us: None,
            owned: BTreeMap::new(),
            handed: None,
            who,
            away_until_us: 0,
            heartbeat_us: 0,
            fetch_us: 0,
            rejoin_us: 0,
            looked: false,
            found: false,
            followers: None,
            contact_us: 0,
            secure: false,
            lives_then: 0,
        }
    }

    pub fn generation(&self) -> i32 {
        self.who.generation
    }

    /// It means to be in its group.
    pub fn present(&self) -> bool {
        self.phase != Phase::Away
    }

    /// It is away, and back by then.
    pub fn comes_back_before(&self, us: u64) -> bool {
        self.phase == Phase::Away && self.away_until_us < us
    }

    /// It certainly was a member from `since_us` until now.
    pub fn surely_there(&self, since_us: u64, now_us: u64, grace_us: u64) -> bool {
        self.phase == Phase::Stable && self.secure && self.contact_us <= since_us && now_us < self.contact_us + grace_us
    }

    /// Its word, said since then, was taken.
    pub fn answered_since(&self, us: u64) -> bool {
        self.phase == Phase::Stable && self.contact_us > us
    }

    pub fn come_back(&mut self) {
        self.away_until_us = 0;
        self.leaves_for_us = None;
        self.rejoin_us = 0;
    }

    pub fn disconnected(&mut self) {
        match self.phase {
            Phase::Joining => self.phase = Phase::Out,
            Phase::Out | Phase::Joined | Phase::Stable | Phase::Away => {}
        }
        self.found = false;
        self.fetch_us = 0;
    }

    /// There is something to do now.
    pub fn wants(&self, now_us: u64) -> bool {
        self.due_us().is_some_and(|due| due <= now_us)
    }

    pub fn due_us(&self) -> Option<u64> {
        match self.phase {
            Phase::Away => Some(self.away_until_us),
            Phase::Out => Some(self.rejoin_us),
            Phase::Joining => None,
            Phase::Joined => Some(0),
            Phase::Stable if self.leaves_for_us.is_some() || self.rejoins || self.unread() => Some(0),
            Phase::Stable if self.commits => Some(0),
            Phase::Stable => Some(self.heartbeat_us.min(self.fetch_us)),
        }
    }

    fn unread(&self) -> bool {
        self.owned.values().any(|owned| owned.position.is_none())
    }

    /// It is out, and joins again after a while.
    fn fall_out(&mut self, keeps_id: bool, at_us: u64) {
        self.phase = Phase::Out;
        self.rejoin_us = at_us;
        self.rejoins = false;
        self.looked = false;
        self.secure = false;
        self.followers = None;
        if !keeps_id {
            self.who.member_id = String::new();
            self.who.generation = -1;
            self.owned.clear();
            self.handed = None;
        }
    }
}

/// The text that goes with a commit: which it is, and the epoch that was sent with it.
pub fn commit_text(op: Op, leader_epoch: i32) -> String {
    format!("{op}:{leader_epoch}")
}

/// Reads it back.
pub fn commit_of(text: &str) -> Option<(Op, i32)> {
    let (op, leader_epoch) = text.split_once(':')?;
    Some((op.parse().ok()?, leader_epoch.parse().ok()?))
}

/// The bytes of an assignment. `all`: how many partitions were assigned by the same sync.
pub fn assignment(handed: &Handed, group: u32, all: u64, rng: &mut Rng) -> Bytes {
    let mut topics: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
    for (topic, index) in &handed.partitions {
        topics.entry(*topic).or_default().push(*index);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| TopicPartition::default().with_topic(name_of(topic)).with_partitions(partitions));
    let said = format!("{group}/{}/{}/{all}/{}", handed.generation, handed.op, handed.whose);
    let message = ConsumerProtocolAssignment::default()
        .with_assigned_partitions(topics.collect())
        .with_user_data(Some(Bytes::from(said)));
    let version = rng.below(4) as i16;
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&version.to_be_bytes());
    message.encode(&mut bytes, version).expect("an assignment");
    bytes.freeze()
}

/// Reads an assignment: how many partitions were assigned with it, and what it says. `None`: it is not one that a leader made for
/// this group.
pub fn read_assignment(group: u32, bytes: &Bytes) -> Option<(u64, Handed)> {
    let version = i16::from_be_bytes(*bytes.first_chunk()?);
    let mut bytes = bytes.slice(2..);
    let message = ConsumerProtocolAssignment::decode(&mut bytes, version).ok()?;
    let said = message.user_data?;
    let mut said = std::str::from_utf8(&said).ok()?.splitn(5, '/');
    if said.next()?.parse::<u32>().ok()? != group {
        return None;
    }
    let (generation, op, all) = (said.next()?.parse().ok()?, said.next()?.parse().ok()?, said.next()?.parse().ok()?);
    let whose = said.next()?.to_owned();
    let mut partitions = Vec::new();
    for topic in &message.assigned_partitions {
        let number = topic_of(&topic.topic.0)?;
        partitions.extend(topic.partitions.iter().map(|index| (number, *index)));
    }
    Some((all, Handed { generation, op, whose, partitions }))
}

impl Run<'_> {
    /// Does what a member does next; true if it did anything.
    pub(super) fn be_a_member(&mut self, client: usize) -> Result<bool, String> {
        let now_us = self.world.clock.us();
        if !self.speaks_groups() {
            return Ok(false);
        }
        let Some(member) = self.member(client) else { return Ok(false) };
        match member.phase {
            Phase::Away => {
                member.fall_out(false, now_us);
                Ok(true)
            }
            Phase::Joining => Ok(false),
            Phase::Out if member.leaves_for_us.is_some() => {
                // It need not join to leave; whoever has its old id waits for it in vain, and not for ever.
                member.away_until_us = now_us.saturating_add(member.leaves_for_us.take().unwrap_or(0));
                member.phase = Phase::Away;
                Ok(true)
            }
            Phase::Out if !member.looked => {
                self.look_for_topics(client);
                Ok(true)
            }
            Phase::Out if !member.found => {
                self.find_coordinator(client);
                Ok(true)
            }
            Phase::Out => {
                self.join(client);
                Ok(true)
            }
            Phase::Joined => {
                self.sync(client);
                Ok(true)
            }
            Phase::Stable if member.leaves_for_us.is_some() => {
                self.leave(client);
                Ok(true)
            }
            Phase::Stable if member.rejoins => {
                member.fall_out(true, now_us);
                Ok(true)
            }
            Phase::Stable if member.heartbeat_us <= now_us => {
                self.heartbeat(client);
                Ok(true)
            }
            Phase::Stable if member.unread() => {
                self.recall_position(client);
                Ok(true)
            }
            Phase::Stable if member.commits => {
                member.commits = false;
                Ok(self.commit_position(client))
            }
            Phase::Stable if member.fetch_us <= now_us => {
                let state = &mut self.clients[client];
                let pause_us = 50_000 + state.rng.magnitude(20);
                if let Some(member) = self.member(client) {
                    member.fetch_us = now_us + pause_us;
                }
                self.fetch(client);
                Ok(true)
            }
            Phase::Stable => Ok(false),
        }
    }

    /// The member falls silent and comes back as somebody new, static ones under their instance's name.
    pub(super) fn vanish(&mut self, client: usize, away_us: u64) {
        let now_us = self.world.clock.us();
        if let Some(id) = self.clients[client].link {
            self.service.go_silent(&mut self.world, id);
        }
        self.lost(client);
        let Some(member) = self.member(client) else { return };
        if member.phase != Phase::Away {
            member.fall_out(false, now_us);
            member.phase = Phase::Away;
            member.away_until_us = now_us + away_us;
        }
    }

    fn look_for_topics(&mut self, client: usize) {
        let topics = (0..self.options.topics)
            .map(|topic| MetadataRequestTopic::default().with_name(Some(name_of(topic))))
            .collect();
        let Some(version) = self.version::<MetadataRequest>(client, 10, i16::MAX) else { return };
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        self.ask(client, version, &request, Note::Metadata);
    }

    pub(super) fn learnt(&mut self, client: usize, metadata: &MetadataResponse) -> Checked {
        let now_us = self.world.clock.us();
        let mut any = false;
        for topic in &metadata.topics {
            match topic.error_code {
                0 => {}
                3 | 5 => continue,
                other => return Err(format!("Metadata answered {other} for {:?}", topic.name)),
            }
            let Some(number) = topic.name.as_ref().and_then(|name| topic_of(&name.0)) else {
                return Err(format!("Metadata names a topic that nobody asked for: {topic:?}"));
            };
            any = true;
            let known = self.topics.entry(number).or_default();
            let id = *topic.topic_id.as_bytes();
            if !known.lives.contains(&id) {
                known.lives.push(id);
                if known.loses {
                    self.loses(number);
                }
            }
            let known = self.topics.entry(number).or_default();
            known.partitions = topic.partitions.len() as i32;
        }
        let state = &mut self.clients[client];
        if !any {
            state.not_before_us = now_us + 20_000;
        } else if let Some(member) = self.member(client) {
            member.looked = true;
        }
        Ok(())
    }

    /// A life of a topic, for the history of what is read.
    fn reads_as(&self, life: Uuid, key: Key) -> Option<u64> {
        let life = self.topics.get(&key.0)?.lives.iter().position(|id| *id == life)?;
        Some((life as u64 + 1) * 1_000_000 + number(key))
    }

    /// Every life of the topic may lose records from here on.
    pub(super) fn loses(&mut self, topic: u32) {
        let now_us = self.world.clock.us();
        let known = self.topics.entry(topic).or_default();
        known.loses = true;
        for life in known.lives.clone() {
            for index in 0..16 {
                if let Some(partition) = self.reads_as(life, (topic, index)) {
                    self.history.push(now_us, Event::Expires { partition });
                }
            }
        }
    }

    fn find_coordinator(&mut self, client: usize) {
        let Some(group) = self.member(client).map(|member| member.group) else { return };
        let Some(version) = self.version::<FindCoordinatorRequest>(client, 0, i16::MAX) else { return };
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request = request.with_coordinator_keys(vec![group_name(group).0]);
        } else {
            request = request.with_key(group_name(group).0);
        }
        self.ask(client, version, &request, Note::Coordinator);
    }

    pub(super) fn found_coordinator(&mut self, client: usize, found: &FindCoordinatorResponse) -> Checked {
        let codes = found.coordinators.iter().map(|one| one.error_code).chain([found.error_code]);
        if let Some(code) = codes.into_iter().find(|code| *code != 0) {
            return Err(format!("FindCoordinator answered {code}"));
        }
        if let Some(member) = self.member(client) {
            member.found = true;
        }
        Ok(())
    }

    fn join(&mut self, client: usize) {
        let now_us = self.world.clock.us();
        let topics = (0..self.options.topics).map(|topic| name_of(topic).0).collect();
        let (session_ms, rebalance_ms) = (self.options.session_timeout_ms, self.options.rebalance_timeout_ms);
        let is_static = self.member(client).is_some_and(|member| member.instance.is_some());
        let Some(version) = self.version::<JoinGroupRequest>(client, if is_static { 5 } else { 0 }, i16::MAX) else {
            return;
        };
        let subscription_version = self.clients[client].rng.below(4) as i16;
        let subscription = ConsumerProtocolSubscription::default().with_topics(topics);
        let mut metadata = BytesMut::new();
        metadata.extend_from_slice(&subscription_version.to_be_bytes());
        subscription.encode(&mut metadata, subscription_version).expect("a subscription");
        let Some(member) = self.member(client) else { return };
        member.phase = Phase::Joining;
        member.secure = false;
        let who = member.who.clone();
        let mut request = JoinGroupRequest::default()
            .with_group_id(group_name(who.group))
            .with_session_timeout_ms(session_ms as i32)
            .with_member_id(text(&who.member_id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![
                JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata.freeze()),
            ]);
        if version >= 1 {
            request = request.with_rebalance_timeout_ms(rebalance_ms as i32);
        }
        if version >= 5 {
            request = request.with_group_instance_id(who.instance.as_deref().map(text));
        }
        let before = self.judge.before(&who);
        self.ask(client, version, &request, Note::Join { asked_us: now_us, before });
    }

    pub(super) fn joined(
        &mut self,
        client: usize,
        asked_us: u64,
        before: Before,
        joined: &JoinGroupResponse,
    ) -> Checked {
        let now_us = self.world.clock.us();
        let pause_us = self.clients[client].rng.magnitude(14);
        let grace_us = self.grace_us();
        let Some(member) = self.member(client) else { return Ok(()) };
        match joined.error_code {
            0 => {}
            // It is told its id first.
            79 => {
                if joined.member_id.is_empty() || member.instance.is_some() {
                    return Err(format!("JoinGroup answered {joined:?} to {:?}", member.who));
                }
                member.fall_out(true, now_us);
                member.looked = true;
                member.who.member_id = joined.member_id.to_string();
                return Ok(());
            }
            14 | 15 | 16 | 27 | 56 | 7 => {
                member.fall_out(true, now_us + pause_us);
                return Ok(());
            }
            25 => {
                if member.who.member_id.is_empty() {
                    return Err("JoinGroup calls a new member unknown".into());
                }
                member.fall_out(false, now_us + pause_us);
                self.world.sightings.saw_if(now_us > asked_us + grace_us, "join timed out");
                return Ok(());
            }
            82 => {
                if member.who.member_id.is_empty() || member.instance.is_none() {
                    return Err(format!("JoinGroup fences {:?}", member.who));
                }
                member.fall_out(false, now_us + pause_us);
                self.world.sightings.saw("static member fenced");
                return Ok(());
            }
            other => return Err(format!("JoinGroup answered {other} to {:?}", member.who)),
        }
        if joined.member_id.is_empty() || joined.generation_id < 0 || joined.protocol_name.as_deref() != Some("range") {
            return Err(format!("JoinGroup answered {joined:?}"));
        }
        let replaced = member.instance.is_some() && member.who.member_id.is_empty();
        member.who.member_id = joined.member_id.to_string();
        member.who.generation = joined.generation_id;
        member.phase = Phase::Joined;
        let leads = joined.leader == joined.member_id;
        member.followers = (leads && !joined.skip_assignment).then(|| {
            let instance = |instance: &Option<_>| instance.as_ref().map(ToString::to_string);
            joined.members.iter().map(|one| (one.member_id.to_string(), instance(&one.group_instance_id))).collect()
        });
        let who = member.who.clone();
        if leads && !joined.skip_assignment && !joined.members.iter().any(|one| one.member_id == joined.member_id) {
            return Err(format!("JoinGroup makes a leader of who is no member: {joined:?}"));
        }
        self.world.sightings.saw_if(replaced && self.judge.held(&who), "static member replaced");
        self.world.sightings.saw_if(joined.skip_assignment, "static leader came back");
        self.judge.joined(&who, before)
    }

    fn sync(&mut self, client: usize) {
        let op = self.history.next_op();
        let counts: Vec<(u32, i32)> = self.topics.iter().map(|(topic, known)| (*topic, known.partitions)).collect();
        let now_us = self.world.clock.us();
        let Some(version) = self.version::<SyncGroupRequest>(client, 0, i16::MAX) else { return };
        let is_static = self.member(client).is_some_and(|member| member.instance.is_some());
        let version = if is_static { version.max(3) } else { version };
        let mut rng = self.clients[client].rng.clone();
        let Some(member) = self.member(client) else { return };
        let who = member.who.clone();
        let mut assignments = Vec::new();
        if let Some(followers) = &mut member.followers {
            followers.sort();
            let keys: Vec<Key> =
                counts.iter().flat_map(|(topic, count)| (0..*count).map(|index| (*topic, index))).collect();
            let share = keys.len().div_ceil(followers.len().max(1)).max(1);
            let mut shares = keys.chunks(share);
            for (id, instance) in &*followers {
                let partitions = shares.next().unwrap_or(&[]).to_vec();
                let whose = instance.clone().unwrap_or_else(|| id.clone());
                let handed = Handed { generation: who.generation, op, whose, partitions };
                let bytes = assignment(&handed, who.group, keys.len() as u64, &mut rng);
                assignments.push(SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(bytes));
            }
        }
        self.clients[client].rng = rng;
        let note = Note::Sync { before: self.judge.before(&who), who: who.clone(), asked_us: now_us };
        self.ask(client, version, &sync_request(version, &who, assignments), note);
    }

    pub(super) fn synced(
        &mut self,
        client: usize,
        who: Credentials,
        before: Before,
        asked_us: u64,
        synced: &SyncGroupResponse,
    ) -> Checked {
        let now_us = self.world.clock.us();
        let lives = self.world.lives();
        let heartbeat_us = self.heartbeat_us();
        if synced.error_code != 0 {
            let pause_us = self.slow_us(client);
            return self.refused(client, &who, synced.error_code, asked_us, pause_us, "SyncGroup");
        }
        let handed = read_assignment(who.group, &synced.assignment);
        if handed.is_none() && !synced.assignment.is_empty() {
            return Err(format!("SyncGroup answered an assignment that nobody made: {synced:?}"));
        }
        self.judge.synced(&who, before, handed.as_ref().map(|(_, handed)| handed))?;
        self.old_words.entry(who.group).or_default().push(who.clone());
        self.world.sightings.saw("group stable");
        let newest: BTreeMap<u32, Option<Uuid>> =
            self.topics.iter().map(|(topic, known)| (*topic, known.lives.last().copied())).collect();
        let Some(member) = self.member(client) else { return Ok(()) };
        member.phase = Phase::Stable;
        member.heartbeat_us = now_us + heartbeat_us;
        member.fetch_us = now_us;
        member.contact_us = asked_us;
        member.secure = true;
        member.lives_then = lives;
        member.handed = handed.as_ref().map(|(all, handed)| (handed.op, *all));
        member.owned = handed
            .map(|(_, handed)| handed.partitions)
            .unwrap_or_default()
            .into_iter()
            .map(|key| (key, Owned { life: newest.get(&key.0).copied().flatten(), position: None }))
            .collect();
        Ok(())
    }

    /// Often enough for the session, and to hear of a rebalance before it goes on without it.
    fn heartbeat_us(&self) -> u64 {
        self.grace_us() / 4
    }

    /// How long a member takes before it joins again.
    fn slow_us(&mut self, client: usize) -> u64 {
        let one_in = if self.calm { 0 } else { self.options.slow_one_in };
        let rebalance_us = self.options.rebalance_timeout_ms * 1000;
        let rng = &mut self.clients[client].rng;
        if rng.once_in(one_in) { rng.below(rebalance_us * 3 / 2) } else { rng.magnitude(14) }
    }

    fn heartbeat(&mut self, client: usize) {
        let now_us = self.world.clock.us();
        let is_static = self.member(client).is_some_and(|member| member.instance.is_some());
        let Some(version) = self.version::<HeartbeatRequest>(client, if is_static { 3 } else { 0 }, i16::MAX) else {
            return;
        };
        let Some(member) = self.member(client) else { return };
        let who = member.who.clone();
        let note = Note::Heartbeat { before: self.judge.before(&who), who: who.clone(), asked_us: now_us };
        self.ask(client, version, &heartbeat_request(version, &who), note);
    }

    pub(super) fn beaten(
        &mut self,
        client: usize,
        who: Credentials,
        before: Before,
        asked_us: u64,
        code: i16,
    ) -> Checked {
        let now_us = self.world.clock.us();
        let lives = self.world.lives();
        let heartbeat_us = self.heartbeat_us();
        if code != 0 {
            let pause_us = self.slow_us(client);
            return self.refused(client, &who, code, asked_us, pause_us, "Heartbeat");
        }
        self.judge.accepted(&who, before, "a heartbeat")?;
        let Some(member) = self.member(client).filter(|member| member.who == who) else { return Ok(()) };
        member.contact_us = asked_us;
        member.heartbeat_us = now_us + heartbeat_us;
        let kept = lives > member.lives_then;
        member.lives_then = lives;
        self.world.sightings.saw_if(kept, "generation kept over a restart");
        Ok(())
    }

    /// A member's word was refused.
    fn refused(
        &mut self,
        client: usize,
        who: &Credentials,
        code: i16,
        asked_us: u64,
        pause_us: u64,
        what: &str,
    ) -> Checked {
        let now_us = self.world.clock.us();
        let grace_us = self.grace_us();
        let steady = self.steady.get(&who.group).copied();
        let alive_us = self.life_began_us;
        let Some(member) = self.member(client).filter(|member| member.who == *who) else { return Ok(()) };
        let secure = member.secure && now_us < member.contact_us + grace_us;
        match code {
            14 | 15 | 16 | 7 | 56 => {
                self.clients[client].not_before_us = now_us + 10_000;
                return Ok(());
            }
            27 => {
                member.fall_out(true, now_us + pause_us);
                self.world.sightings.saw("member told of a rebalance");
            }
            22 | 25 | 82 => {
                if secure {
                    return Err(format!(
                        "a member whose session lasts is not thrown out: {what} of {who:?} at {asked_us} us was answered {code}, \
                         it was in good standing at {} us",
                        member.contact_us
                    ));
                }
                self.world.sightings.saw(match code {
                    22 => "word of an older generation",
                    25 => "session expired",
                    _ => "static member fenced",
                });
                if let Some(member) = self.member(client) {
                    member.fall_out(code == 22, now_us + pause_us);
                }
            }
            other => return Err(format!("{what} answered {other} to {who:?}")),
        }
        if steady.is_some() && now_us < alive_us + grace_us {
            return Err(format!(
                "a restart keeps stable generations: {what} of {who:?} was answered {code}, {} ms after the start",
                (now_us - alive_us) / 1000
            ));
        }
        Ok(())
    }

    fn leave(&mut self, client: usize) {
        let is_static = self.member(client).is_some_and(|member| member.instance.is_some());
        let Some(version) = self.version::<LeaveGroupRequest>(client, if is_static { 3 } else { 0 }, i16::MAX) else {
            return;
        };
        let Some(member) = self.member(client) else { return };
        member.secure = false;
        let who = member.who.clone();
        let mut request = LeaveGroupRequest::default().with_group_id(group_name(who.group));
        if version >= 3 {
            let identity = MemberIdentity::default()
                .with_member_id(text(&who.member_id))
                .with_group_instance_id(who.instance.as_deref().map(text));
            request = request.with_members(vec![identity]);
        } else {
            request = request.with_member_id(text(&who.member_id));
        }
        self.ask(client, version, &request, Note::Leave(who));
    }

    pub(super) fn left(&mut self, client: usize, who: Credentials, left: &LeaveGroupResponse) -> Checked {
        let now_us = self.world.clock.us();
        let code = match left.members.first() {
            Some(member) if left.error_code == 0 => member.error_code,
            _ => left.error_code,
        };
        match code {
            0 => {
                self.judge.left(&who);
                self.world.sightings.saw("member left");
            }
            14 | 15 | 16 | 7 | 56 => {
                self.clients[client].not_before_us = now_us + 10_000;
                return Ok(());
            }
            25 | 82 => {}
            other => return Err(format!("LeaveGroup answered {other} to {who:?}")),
        }
        if let Some(member) = self.member(client) {
            member.fall_out(false, now_us);
            member.away_until_us = now_us.saturating_add(member.leaves_for_us.take().unwrap_or(0));
            member.phase = Phase::Away;
        }
        Ok(())
    }

    // Offsets.

    fn commit_position(&mut self, client: usize) -> bool {
        let Some(member) = self.member(client) else { return false };
        let who = member.who.clone();
        let offsets: Vec<(Key, u64)> =
            member.owned.iter().filter_map(|(key, owned)| Some((*key, owned.position?))).collect();
        if offsets.is_empty() {
            return false;
        }
        self.commit(client, who, &offsets)
    }

    /// Sends a commit in somebody's name (generation -1: in nobody's).
    pub(super) fn commit(&mut self, client: usize, who: Credentials, offsets: &[(Key, u64)]) -> bool {
        let lowest = if who.instance.is_some() { 7 } else { 0 };
        let Some(version) = self.version::<OffsetCommitRequest>(client, lowest, 9) else { return false };
        let now_us = self.world.clock.us();
        let number_of_client = self.clients[client].number;
        let mut topics: BTreeMap<u32, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        let mut parts = Vec::new();
        for (key, offset) in offsets {
            let op = self.history.next_op();
            self.history.push(
                now_us,
                Event::Commit {
                    op,
                    client: number_of_client,
                    group: who.group,
                    partition: number(*key),
                    offset: *offset,
                },
            );
            parts.push((*key, op));
            let leader_epoch = if version >= 6 { (op % 5) as i32 } else { -1 };
            let mut one = OffsetCommitRequestPartition::default()
                .with_partition_index(key.1)
                .with_committed_offset(*offset as i64)
                .with_committed_metadata(Some(text(&commit_text(op, leader_epoch))));
            if version >= 6 {
                one = one.with_committed_leader_epoch(leader_epoch);
            }
            topics.entry(key.0).or_default().push(one);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(name_of(topic)).with_partitions(partitions)
        });
        let mut request = OffsetCommitRequest::default()
            .with_group_id(group_name(who.group))
            .with_generation_id_or_member_epoch(who.generation)
            .with_member_id(text(&who.member_id))
            .with_topics(topics.collect());
        if version >= 7 {
            request = request.with_group_instance_id(who.instance.as_deref().map(text));
        }
        let commit =
            Committing { before: self.judge.before(&who), who, forgettings: self.forgettings, asked_us: now_us, parts };
        self.ask(client, version, &request, Note::Commit(commit));
        true
    }

    pub(super) fn committed(&mut self, client: usize, commit: Committing, committed: &OffsetCommitResponse) -> Checked {
        let now_us = self.world.clock.us();
        let by_member = commit.who.generation >= 0;
        let mut fenced = None;
        for (key, op) in commit.parts {
            let code = committed
                .topics
                .iter()
                .find(|topic| topic.name == name_of(key.0))
                .and_then(|topic| topic.partitions.iter().find(|one| one.partition_index == key.1))
                .map(|one| one.error_code);
            // From version 9 on a group that is gone is called so; before, its generation is called wrong.
            let code = if by_member && code == Some(69) { Some(22) } else { code };
            match code {
                Some(0) => {
                    self.history.push(now_us, Event::CommitOk { op });
                    if self.options.lapse_ms.is_some() {
                        self.lapsing.insert((commit.who.group, key));
                    }
                    let quiet = self.forgetting.is_empty() && self.forgettings == commit.forgettings;
                    if by_member {
                        self.judge.accepted(&commit.who, commit.before, "a commit")?;
                    } else {
                        self.world.sightings.saw("commit by a client alone");
                        self.alone(&commit.who, commit.asked_us)?;
                    }
                    if quiet && self.options.lapse_ms.is_none() {
                        self.judge.committed(commit.who.group, number(key), commit.who.generation);
                    }
                }
                // Nobody knows.
                Some(7 | 15) => self.history.push(now_us, Event::CommitInfo { op }),
                Some(code @ (3 | 14 | 16 | 22 | 25 | 27 | 56 | 82 | 100)) => {
                    self.history.push(now_us, Event::CommitFail { op });
                    if matches!(code, 22 | 25 | 27 | 82) {
                        self.world.sightings.saw(if by_member { "commit fenced" } else { "intruding commit refused" });
                        fenced = Some(code);
                    }
                }
                Some(-1) => {
                    return Err(format!(
                        "a known outcome is never called unknown: OffsetCommit answered -1 for {key:?}"
                    ));
                }
                other => return Err(format!("OffsetCommit answered {other:?} for {key:?}: {committed:?}")),
            }
        }
        let own = self.member(client).is_some_and(|member| member.who == commit.who);
        match fenced {
            Some(code) if own => {
                let pause_us = self.slow_us(client);
                self.refused(client, &commit.who, code, commit.asked_us, pause_us, "OffsetCommit")
            }
            _ => Ok(()),
        }
    }

    /// A commit in nobody's name was taken: its group has no members.
    fn alone(&mut self, who: &Credentials, asked_us: u64) -> Checked {
        let (now_us, grace_us) = (self.world.clock.us(), self.grace_us());
        let there = self
            .members()
            .find(|(_, member)| member.group == who.group && member.surely_there(asked_us, now_us, grace_us));
        match there {
            Some((client, _)) => Err(format!(
                "a fenced word does not count: a commit in nobody's name was accepted while client {client} is a member of group {}",
                who.group
            )),
            None => Ok(()),
        }
    }

    fn recall_position(&mut self, client: usize) {
        let Some(member) = self.member(client) else { return };
        let keys: Vec<Key> =
            member.owned.iter().filter(|(_, owned)| owned.position.is_none()).map(|(key, _)| *key).collect();
        let group = member.group;
        self.recall(client, group, &keys, false);
    }

    /// Asks what is committed, by name or all there is.
    pub(super) fn recall(&mut self, client: usize, group: u32, keys: &[Key], all: bool) {
        let Some(version) = self.version::<OffsetFetchRequest>(client, if all { 2 } else { 1 }, 9) else { return };
        let now_us = self.world.clock.us();
        let (reader, stable) = (self.clients[client].number, self.clients[client].rng.percent(50));
        let mut topics: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        let mut parts = Vec::new();
        for key in keys {
            let op = self.history.next_op();
            self.history.push(now_us, Event::Recall { op, client: reader, group, partition: number(*key) });
            parts.push((*key, op));
            topics.entry(key.0).or_default().push(key.1);
        }
        let topics = (!all).then_some(topics);
        let mut request = OffsetFetchRequest::default();
        if version >= 8 {
            let topics = topics.map(|topics| {
                let one = |(topic, indexes)| {
                    OffsetFetchRequestTopics::default().with_name(name_of(topic)).with_partition_indexes(indexes)
                };
                topics.into_iter().map(one).collect()
            });
            let one = OffsetFetchRequestGroup::default().with_group_id(group_name(group)).with_topics(topics);
            request = request.with_groups(vec![one]).with_topics(Some(Vec::new()));
        } else {
            let topics = topics.map(|topics| {
                let one = |(topic, indexes)| {
                    OffsetFetchRequestTopic::default().with_name(name_of(topic)).with_partition_indexes(indexes)
                };
                topics.into_iter().map(one).collect()
            });
            request = request.with_group_id(group_name(group)).with_topics(topics);
        }
        if version >= 7 {
            request = request.with_require_stable(stable);
        }
        self.ask(client, version, &request, Note::Recall(Recalling { group, parts, all }));
    }

    pub(super) fn recalled(&mut self, client: usize, recall: Recalling, recalled: &OffsetFetchResponse) -> Checked {
        let now_us = self.world.clock.us();
        let mut found: BTreeMap<Key, (i64, i32, String, i16)> = BTreeMap::new();
        let mut code = recalled.error_code;
        for topic in &recalled.topics {
            for one in &topic.partitions {
                let key =
                    (topic_of(&topic.name.0).ok_or("OffsetFetch names a topic that is none")?, one.partition_index);
                let metadata = one.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                found.insert(key, (one.committed_offset, one.committed_leader_epoch, metadata, one.error_code));
            }
        }
        for group in &recalled.groups {
            if group.group_id != group_name(recall.group) {
                return Err(format!("OffsetFetch answers for a group that nobody asked for: {group:?}"));
            }
            code = code.max(group.error_code);
            for topic in &group.topics {
                for one in &topic.partitions {
                    let key =
                        (topic_of(&topic.name.0).ok_or("OffsetFetch names a topic that is none")?, one.partition_index);
                    let metadata = one.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
                    found.insert(key, (one.committed_offset, one.committed_leader_epoch, metadata, one.error_code));
                }
            }
        }
        match code {
            0 | 14 | 15 | 16 | 7 | 56 => {}
            other => return Err(format!("OffsetFetch answered {other} for group {}: {recalled:?}", recall.group)),
        }
        let mut positions = Vec::new();
        for (key, op) in recall.parts {
            let one = found.get(&key);
            let failed = code != 0 || one.is_some_and(|(_, _, _, code)| *code != 0);
            if failed {
                let code = one.map_or(code, |(_, _, _, code)| *code);
                if !matches!(code, 0 | 3 | 14 | 15 | 16 | 7 | 56) {
                    return Err(format!("OffsetFetch answered {code} for {key:?}"));
                }
                self.history.push(now_us, Event::RecallFail { op });
                continue;
            }
            let found = match one {
                None if !recall.all => return Err(format!("OffsetFetch leaves out {key:?}: {recalled:?}")),
                None => None,
                Some((offset, ..)) if *offset < 0 => None,
                Some((offset, leader_epoch, metadata, _)) => {
                    let (commit, sent) = commit_of(metadata)
                        .ok_or_else(|| format!("OffsetFetch answers metadata that nobody sent: {metadata:?}"))?;
                    // Answers of older versions have no room for it.
                    if *leader_epoch != sent && *leader_epoch != -1 {
                        return Err(format!("commit {commit} was sent with epoch {sent}, found is {leader_epoch}"));
                    }
                    Some((commit, *offset as u64))
                }
            };
            let lapsed = found.is_none() && self.lapsing.contains(&(recall.group, key));
            self.world.sightings.saw_if(lapsed, "offset lapsed");
            self.history.push(now_us, Event::RecallOk { op, found });
            positions.push((key, found.map_or(0, |(_, offset)| offset)));
        }
        let any = !positions.is_empty();
        if let Some(member) = self.member(client).filter(|member| member.phase == Phase::Stable) {
            for (key, position) in positions {
                if let Some(owned) = member.owned.get_mut(&key) {
                    owned.position.get_or_insert(position);
                }
            }
        }
        if !any {
            self.clients[client].not_before_us = now_us + 10_000;
        }
        Ok(())
    }

    // Reading.

    fn fetch(&mut self, client: usize) {
        let Some(version) = self.version::<FetchRequest>(client, 13, i16::MAX) else { return };
        let now_us = self.world.clock.us();
        let reader = self.clients[client].number;
        let Some(member) = self.member(client) else { return };
        let wanted: Vec<(Key, Uuid, u64)> =
            member.owned.iter().filter_map(|(key, owned)| Some((*key, owned.life?, owned.position?))).collect();
        let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
        let mut reads = Vec::new();
        for (key, life, from) in wanted {
            let Some(partition) = self.reads_as(life, key) else { continue };
            let op = self.history.next_op();
            self.history.push(now_us, Event::Read { op, client: reader, partition, from });
            reads.push((key, from, op));
            topics.entry(life).or_default().push(
                FetchPartition::default()
                    .with_partition(key.1)
                    .with_fetch_offset(from as i64)
                    .with_partition_max_bytes(10_000),
            );
        }
        if reads.is_empty() {
            return;
        }
        let topics = topics.into_iter().map(|(life, partitions)| {
            FetchTopic::default().with_topic_id(uuid::Uuid::from_bytes(life)).with_partitions(partitions)
        });
        let mut request = FetchRequest::default()
            .with_max_wait_ms(self.clients[client].rng.pick(&[0, 5, 50]))
            .with_min_bytes(1)
            .with_max_bytes(1_000_000)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(topics.collect());
        if version <= 14 {
            request = request.with_replica_id(BrokerId(-1));
        }
        self.ask(client, version, &request, Note::Fetch(reads));
    }

    pub(super) fn fetched(&mut self, client: usize, reads: Vec<(Key, u64, Op)>, fetched: &FetchResponse) -> Checked {
        let now_us = self.world.clock.us();
        if fetched.error_code != 0 {
            return Err(format!("Fetch answered {}", fetched.error_code));
        }
        let topics = self.topics.clone();
        for (key, from, op) in reads {
            let lives = topics.get(&key.0).map(|known| known.lives.clone()).unwrap_or_default();
            let answer = fetched
                .responses
                .iter()
                .filter(|topic| lives.contains(topic.topic_id.as_bytes()))
                .find_map(|topic| topic.partitions.iter().find(|one| one.partition_index == key.1));
            let Some(answer) = answer else {
                self.history.push(now_us, Event::ReadFail { op });
                continue;
            };
            let mark = |mark: i64| u64::try_from(mark).ok();
            let (start, high) = (mark(answer.log_start_offset), mark(answer.high_watermark));
            let mut next = Some(from);
            match answer.error_code {
                0 => {
                    for piece in answer.records.iter() {
                        crate::records::walk(piece, |offset, _, _| next = Some(offset + 1));
                    }
                    self.history.push(now_us, Event::ReadOk { op, start, high });
                }
                1 => {
                    self.history.push(now_us, Event::ReadOutOfRange { op, start, high });
                    next = start;
                }
                2 => self.history.push(now_us, Event::ReadCorrupt { op }),
                3 | 5 | 6 | 56 | 74 | 75 | 100 | 103 => {
                    self.history.push(now_us, Event::ReadFail { op });
                    if answer.error_code == 100 {
                        // The topic was deleted: go on with the life that it has now, from its start.
                        next = None;
                    }
                }
                other => return Err(format!("Fetch answered {other} for {key:?}")),
            }
            let newest = lives.last().copied();
            let Some(member) = self.member(client) else { return Ok(()) };
            if let Some(owned) = member.owned.get_mut(&key) {
                match next {
                    Some(next) => owned.position = Some(owned.position.map_or(next, |at| at.max(next))),
                    None => *owned = Owned { life: newest, position: Some(0) },
                }
                if answer.error_code == 1 {
                    owned.position = next;
                }
            }
        }
        Ok(())
    }
}

/// A sync of that member.
pub fn sync_request(version: i16, who: &Credentials, assignments: Vec<SyncGroupRequestAssignment>) -> SyncGroupRequest {
    let mut request = SyncGroupRequest::default()
        .with_group_id(group_name(who.group))
        .with_generation_id(who.generation)
        .with_member_id(text(&who.member_id))
        .with_assignments(assignments);
    if version >= 3 {
        request = request.with_group_instance_id(who.instance.as_deref().map(text));
    }
    if version >= 5 {
        request = request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")));
    }
    request
}

/// A heartbeat of that member.
pub fn heartbeat_request(version: i16, who: &Credentials) -> HeartbeatRequest {
    let request = HeartbeatRequest::default()
        .with_group_id(group_name(who.group))
        .with_generation_id(who.generation)
        .with_member_id(text(&who.member_id));
    if version >= 3 { request.with_group_instance_id(who.instance.as_deref().map(text)) } else { request }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_an_answer_longer_than_its_session_is_not_at_rest() {
        let mut member = Member::new(0, None);
        (member.phase, member.contact_us) = (Phase::Stable, 1_000);
        assert!(member.answered_since(1_999 - 1_000));
        // Its heartbeat went into a connection that the broker's loss of power had left half open.
        assert!(!member.answered_since(2_000 - 1_000));
    }

    #[test]
    fn a_commit_says_which_it_is() {
        assert_eq!(commit_of(&commit_text(77, -1)), Some((77, -1)));
        assert_eq!(commit_of("77"), None);
    }

    #[test]
    fn an_assignment_says_whose_it_is() {
        let handed = Handed { generation: 3, op: 9, whose: "a/b".into(), partitions: vec![(0, 1), (1, 0)] };
        let mut rng = Rng::new(1);
        for _ in 0..8 {
            let bytes = assignment(&handed, 2, 5, &mut rng);
            assert_eq!(read_assignment(2, &bytes), Some((5, handed.clone())));
            assert_eq!(read_assignment(1, &bytes), None);
        }
    }
}
