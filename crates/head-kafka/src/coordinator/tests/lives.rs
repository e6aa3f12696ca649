// SPDX-License-Identifier: Apache-2.0
//! Random lives of a group: clients that join, assign, commit, come back, go silent; a process that is killed in between. Whatever
//! they do:
//!
//!   1. One member leads a generation, and generations only go up, also over a restart from what was told to be assigned.
//!   2. A generation assigns to each member once, and nothing to two of them.
//!   3. A commit counts if member and generation are the group's, and then exactly; nothing else changes an offset.
//!   4. Every request is answered once, and none waits for ever.
//!   5. What is remembered is what was noted (`Desk::check`), so another process has it as well; members of the last stable
//!      generation go on there as if nothing had been.
//!
//! `PLANT=fenced-commit-accepted cargo test -p head-kafka --features planted lives` shows that a mistake would be seen.

use super::desk::{Answered, Desk, topic_id};
use super::script::subscription;
use crate::coordinator::GroupSettings;
use crate::coordinator::messages::{
    Answer, Ask, Assignment, Commit, CommitPartition, CommitTopic, Delete, DeleteOffsets, Describe, Described,
    FetchOffsets, Heartbeat, Join, Leave, LeavingMember, NamedPartitionsOfTopic, Protocol, Sync,
};
use crate::wire::Text;
use bytes::Bytes;
use model::{HolderId, Ticket, TopicId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: usize = 5;
const TOPICS: [&str; 3] = ["t", "u", "v"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Join { client: usize, keeps_id: bool, known: bool, protocols: u8 },
    Sync { client: usize, old: bool },
    Beat { client: usize, old: bool },
    Leave { client: usize, by_name: bool },
    Commit { client: usize, partition: i32, how: u8 },
    DeleteOffsets { topic: usize },
    TopicGone { topic: usize },
    Delete,
    Advance { ms: u64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        8 => (client.clone(), prop::bool::weighted(0.8), any::<bool>(), 0..8u8)
            .prop_map(|(client, keeps_id, known, protocols)| Step::Join { client, keeps_id, known, protocols }),
        8 => (client.clone(), prop::bool::weighted(0.1)).prop_map(|(client, old)| Step::Sync { client, old }),
        4 => (client.clone(), prop::bool::weighted(0.1)).prop_map(|(client, old)| Step::Beat { client, old }),
        1 => (client.clone(), any::<bool>()).prop_map(|(client, by_name)| Step::Leave { client, by_name }),
        6 => (client, 0..3i32, 0..6u8).prop_map(|(client, partition, how)| Step::Commit { client, partition, how }),
        1 => (0..TOPICS.len()).prop_map(|topic| Step::DeleteOffsets { topic }),
        1 => (0..TOPICS.len()).prop_map(|topic| Step::TopicGone { topic }),
        1 => Just(Step::Delete),
        4 => prop_oneof![1..500u64, 2_000..4_000u64, 9_000..31_000u64].prop_map(|ms| Step::Advance { ms }),
        1 => Just(Step::Restart),
    ]
}

/// What a client believes.
#[derive(Clone, Debug, Default)]
struct Client {
    member_id: Text,
    generation: i32,
    leads: Vec<Text>,
    protocol: Option<Text>,
}

/// What must be so.
struct Lives {
    desk: Desk,
    clients: Vec<Client>,
    /// Who asked with which ticket, in the name of which generation, and is not answered.
    waiting: BTreeMap<Ticket, (usize, i32)>,
    leaders: BTreeMap<i32, Text>,
    /// By generation, and by member, or instance: what it was given.
    assigned: BTreeMap<(i32, Text), Bytes>,
    given: u64,
    offsets: BTreeMap<(TopicId, i32), i64>,
    next_offset: i64,
    generation_seen: i32,
    fresh_ids: u32,
}

fn group() -> Text {
    Text::from("g")
}

fn instance_of(client: usize) -> Option<Text> {
    // Two of them have names.
    (client < 2).then(|| Text::from(format!("i{client}")))
}

impl Lives {
    fn new() -> Lives {
        Lives {
            desk: Desk::new(GroupSettings { members_max: 4, pending_members_max: 2, ..GroupSettings::default() }),
            clients: vec![Client { generation: -1, ..Client::default() }; CLIENTS],
            waiting: BTreeMap::new(),
            leaders: BTreeMap::new(),
            assigned: BTreeMap::new(),
            given: 0,
            offsets: BTreeMap::new(),
            next_offset: 0,
            generation_seen: 0,
            fresh_ids: 0,
        }
    }

    fn ask(&mut self, client: usize, ask: &Ask) -> Vec<(usize, Answer)> {
        let answers = self.desk.ask(client as u64, ask);
        let generation = if let Ask::Sync(sync) = ask { sync.generation_id } else { -1 };
        self.waiting.insert(Ticket(self.desk.last_ticket), (client, generation));
        self.answered(answers)
    }

    fn answered(&mut self, answers: Vec<Answered>) -> Vec<(usize, Answer)> {
        let mut told = Vec::new();
        for (holder, ticket, answer) in answers {
            let (client, generation) = self.waiting.remove(&ticket).expect("answered once");
            assert_eq!(holder, HolderId(client as u64));
            match &answer {
                Answer::Joined(joined) => self.joined(client, joined),
                Answer::Synced(synced) if synced.error_code == 0 => self.synced(client, generation, &synced.assignment),
                _ => {}
            }
            told.push((client, answer));
        }
        told
    }

    fn joined(&mut self, client: usize, joined: &crate::coordinator::messages::Joined) {
        match joined.error_code {
            0 => {}
            79 => {
                self.clients[client].member_id = joined.member_id.clone();
                return;
            }
            25 | 82 => {
                self.clients[client] = Client { generation: -1, ..Client::default() };
                return;
            }
            _ => return,
        }
        let generation = joined.generation_id;
        assert!(generation >= self.generation_seen, "generations go up: {generation}, {}", self.generation_seen);
        self.generation_seen = generation;
        let leads = !joined.members.is_empty() && !joined.skip_assignment;
        if leads {
            let leader = self.leaders.entry(generation).or_insert_with(|| joined.member_id.clone());
            assert_eq!(*leader, joined.member_id, "one leads generation {generation}");
        }
        self.clients[client] = Client {
            member_id: joined.member_id.clone(),
            generation,
            leads: joined.members.iter().filter(|_| leads).map(|member| member.member_id.clone()).collect(),
            protocol: joined.protocol_name.clone(),
        };
    }

    fn synced(&mut self, client: usize, generation: i32, assignment: &Bytes) {
        let key = (generation, instance_of(client).unwrap_or(self.clients[client].member_id.clone()));
        let before = self.assigned.entry(key.clone()).or_insert_with(|| assignment.clone());
        assert_eq!(before, assignment, "assigned once: {key:?}");
        let same = |(other, given): (&(i32, Text), &Bytes)| {
            other.0 == key.0 && other.1 != key.1 && !given.is_empty() && given == assignment
        };
        assert!(!self.assigned.iter().any(same), "assigned to one: {key:?} {assignment:?}");
    }

    fn describe(&mut self) -> Described {
        match self.ask(0, &Ask::Describe(Describe { group: group() })).pop() {
            Some((_, Answer::Described(described))) => described,
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Join { client, keeps_id, known, protocols } => self.join(client, keeps_id, known, protocols),
            Step::Sync { client, old } => {
                let believes = self.clients[client].clone();
                let mut given = self.given;
                let assignments = believes.leads.iter().map(|member| {
                    given += 1;
                    Assignment { member_id: member.clone(), assignment: given.to_string().into() }
                });
                let assignments = assignments.collect();
                self.given = given;
                self.ask(
                    client,
                    &Ask::Sync(Sync {
                        group: group(),
                        generation_id: believes.generation - i32::from(old),
                        member_id: believes.member_id,
                        group_instance_id: instance_of(client),
                        protocol_type: Some(Text::from("consumer")),
                        protocol_name: believes.protocol,
                        assignments,
                    }),
                );
            }
            Step::Beat { client, old } => {
                let believes = self.clients[client].clone();
                self.ask(
                    client,
                    &Ask::Heartbeat(Heartbeat {
                        group: group(),
                        generation_id: believes.generation - i32::from(old),
                        member_id: believes.member_id,
                        group_instance_id: instance_of(client),
                    }),
                );
            }
            Step::Leave { client, by_name } => {
                let instance_id = instance_of(client);
                let member_id = match by_name && instance_id.is_some() {
                    true => Text::EMPTY,
                    false => self.clients[client].member_id.clone(),
                };
                let members = vec![LeavingMember { member_id, group_instance_id: instance_id }];
                self.ask(client, &Ask::Leave(Leave { group: group(), members }));
            }
            Step::Commit { client, partition, how } => self.commit(client, partition, how),
            Step::DeleteOffsets { topic } => {
                let name = TOPICS[topic];
                let topics = vec![NamedPartitionsOfTopic {
                    topic_id: topic_id(name).0,
                    name: Text::from(name),
                    partitions: vec![0, 1],
                }];
                let answers = self.ask(0, &Ask::DeleteOffsets(DeleteOffsets { group: group(), topics }));
                if let Some((_, Answer::DeletedOffsets(deleted))) = answers.last() {
                    for code in deleted.topics.iter().flat_map(|topic| &topic.partitions) {
                        if code.error_code == 0 {
                            self.offsets.remove(&(topic_id(name), code.partition));
                        }
                    }
                }
            }
            Step::TopicGone { topic } => {
                let topic = topic_id(TOPICS[topic]);
                self.desk.forget_topic(topic);
                self.offsets.retain(|(of, _), _| *of != topic);
            }
            Step::Delete => {
                let answers = self.ask(0, &Ask::Delete(Delete { group: group() }));
                if let Some((_, Answer::Deleted(done))) = answers.last()
                    && done.error_code == 0
                {
                    self.offsets.clear();
                    self.begin_anew();
                }
            }
            Step::Advance { ms } => {
                let answers = self.desk.advance(ms);
                self.answered(answers);
            }
            Step::Restart => self.restart(),
        }
        self.check_offsets();
        if self.describe().error_code != 0 {
            self.begin_anew();
        }
    }

    /// The group is gone: another of that name counts its generations from one.
    fn begin_anew(&mut self) {
        self.leaders.clear();
        self.assigned.clear();
        self.generation_seen = 0;
    }

    fn join(&mut self, client: usize, keeps_id: bool, known: bool, protocols: u8) {
        if !keeps_id {
            self.clients[client] = Client { generation: -1, ..Client::default() };
        }
        self.fresh_ids += 1;
        let names = ["range", "roundrobin", "sticky"];
        let spoken = (0..names.len()).filter(|at| *at == 0 || protocols & (1 << at) != 0);
        let metadata = subscription(if protocols & 1 == 0 { "t" } else { "t,u" });
        let ask = Ask::Join(Join {
            group: group(),
            member_id: self.clients[client].member_id.clone(),
            group_instance_id: instance_of(client),
            fresh_member_id: Text::from(format!("m{client}-{}", self.fresh_ids)),
            must_know_member_id: known,
            client_id: Text::from("c"),
            client_host: Text::from("/h"),
            session_timeout_ms: 10_000 + client as i32,
            rebalance_timeout_ms: 20_000,
            protocol_type: Text::from("consumer"),
            protocols: spoken.map(|at| Protocol { name: Text::from(names[at]), metadata: metadata.clone() }).collect(),
            can_skip_assignment: known,
        });
        self.ask(client, &ask);
    }

    fn commit(&mut self, client: usize, partition: i32, how: u8) {
        let before = self.describe();
        let believes = self.clients[client].clone();
        let (member_id, generation_id, instance_id) = match how {
            0 => (Text::EMPTY, -1, None),
            1 => (believes.member_id, believes.generation - 1, instance_of(client)),
            2 => (Text::from("stranger"), believes.generation, None),
            _ => (believes.member_id, believes.generation, instance_of(client)),
        };
        self.next_offset += 1;
        let topic = TOPICS[self.next_offset as usize % TOPICS.len()];
        let ask = Ask::Commit(Commit {
            group: group(),
            generation_id,
            member_id: member_id.clone(),
            group_instance_id: instance_id.clone(),
            topics: vec![CommitTopic {
                topic_id: topic_id(topic).0,
                name: Text::from(topic),
                partitions: vec![CommitPartition {
                    partition,
                    offset: self.next_offset,
                    leader_epoch: 3,
                    metadata: Text::EMPTY,
                }],
            }],
        });
        let holder =
            before.members.iter().find(|member| instance_id.is_some() && member.group_instance_id == instance_id);
        let expected = if before.error_code != 0 {
            if generation_id < 0 { 0 } else { 69 }
        } else if generation_id < 0 && before.state.as_str() == "Empty" {
            0
        } else if instance_id.is_some() && holder.is_some_and(|holder| holder.member_id != member_id) {
            82
        } else if !before.members.iter().any(|member| member.member_id == member_id) {
            25
        } else if generation_id != before.generation_id {
            22
        } else if before.state.as_str() == "CompletingRebalance" {
            27
        } else {
            0
        };
        match self.ask(client, &ask).pop() {
            Some((_, Answer::Committed(committed))) => {
                assert_eq!(committed.topics[0].partitions[0].error_code, expected, "{ask:?} {before:?}");
            }
            other => panic!("{other:?}"),
        }
        if expected == 0 {
            self.offsets.insert((topic_id(topic), partition), self.next_offset);
        }
    }

    fn check_offsets(&mut self) {
        let ask =
            Ask::FetchOffsets(FetchOffsets { group: group(), topics: None, member_id: Text::EMPTY, member_epoch: -1 });
        let Some((_, Answer::FetchedOffsets(fetched))) = self.ask(0, &ask).pop() else { panic!("answered at once") };
        let mut found = BTreeMap::new();
        for topic in fetched.topics {
            for partition in topic.partitions {
                found.insert((TopicId(topic.topic_id), partition.partition), partition.offset);
            }
        }
        assert_eq!(found, self.offsets);
    }

    fn restart(&mut self) {
        let before = self.describe();
        self.desk.restart();
        self.waiting.clear();
        let after = self.describe();
        // Of a group that nobody but somebody expected was ever in, nothing is remembered.
        let is_known = before.generation_id > 0 || before.offset_count > 0;
        if is_known && matches!(before.state.as_str(), "Stable" | "Empty") {
            assert_eq!(after, before);
        }
        let members: BTreeSet<(Text, Option<Text>)> =
            after.members.iter().map(|member| (member.member_id.clone(), member.group_instance_id.clone())).collect();
        for (member_id, group_instance_id) in members {
            let beat = Heartbeat { group: group(), generation_id: after.generation_id, member_id, group_instance_id };
            let Some((_, Answer::HeartbeatDone(done))) = self.ask(0, &Ask::Heartbeat(beat)).pop() else {
                panic!("answered at once")
            };
            assert_eq!(done.error_code, 0, "a member of the stable generation is one");
        }
        // Generations that were never assigned may be begun again. Who led them then finds no member of that name.
        self.generation_seen = after.generation_id.max(0);
        self.leaders.retain(|generation, _| *generation <= after.generation_id);
        self.assigned.retain(|(generation, _), _| {
            assert!(*generation <= after.generation_id, "assigned is remembered");
            true
        });
    }

    fn end(&mut self) {
        let answers = self.desk.advance(400_000);
        self.answered(answers);
        assert!(self.waiting.is_empty(), "everybody is answered: {:?}", self.waiting);
        assert_ne!(self.describe().state.as_str(), "Stable", "nobody is heard of any more");
    }
}

#[cfg(feature = "planted")]
fn plant() {
    if let Ok(name) = std::env::var("PLANT") {
        model::planted::plant(Some(model::planted::Bug::named(&name).expect("a planted bug")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn whatever_members_do_generations_and_offsets_hold(steps in prop::collection::vec(step(), 1..120)) {
        #[cfg(feature = "planted")]
        plant();
        let mut lives = Lives::new();
        for step in steps {
            lives.run(step);
        }
        lives.end();
    }
}
