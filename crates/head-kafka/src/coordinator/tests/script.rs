// SPDX-License-Identifier: Apache-2.0
//! Behaviour as text: each script of `../testdata/` is what clients ask and, indented, what came out, for whom. `UPDATE_EXPECT=1`
//! rewrites the files with what comes out now.
//!
//! ```text
//! a join g range:t,u          client `a` asks to join: protocol `range`, subscribed to t and u
//!                             [id=] [instance=] [known: versions 4 and later] [skip: 9 and later] [type=] [session=] [rebalance=]
//! a sync g gen=1 id= m:x n:y  assigns x to m and y to n
//! a beat g gen=1 id= [instance=]
//! a leave g id= | instance= | m n
//! a commit g t/0=5 [gen=] [id=] [instance=] [meta=]
//! a fetch g t/0 t/1 | all        a forget g t/0         a describe g        a list [states] [type=]        a delete g
//! advance 1000        restart        topic t is gone        set members_max=2 ...
//! ```

use super::desk::{Desk, topic_id};
use crate::coordinator::GroupSettings;
use crate::coordinator::messages::{
    Answer, Ask, Assignment, Commit, CommitPartition, CommitTopic, Delete, DeleteOffsets, Describe, FetchOffsets,
    Heartbeat, Join, Leave, LeavingMember, List, NamedPartitionsOfTopic, PartitionsOfTopic, Protocol, Sync,
};
use crate::wire::Text;
use bytes::Bytes;
use model::HolderId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

struct Script {
    desk: Desk,
    clients: Vec<String>,
    ids_given: BTreeMap<String, u32>,
}

/// One line, split: words, and `name=value`.
struct Line<'a> {
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        let (mut words, mut options) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) if !name.contains('/') => {
                    options.insert(name, value);
                }
                _ => words.push(word),
            }
        }
        Line { words, options }
    }

    fn text(&self, name: &str) -> Text {
        Text::from(self.options.get(name).copied().unwrap_or(""))
    }

    fn optional(&self, name: &str) -> Option<Text> {
        self.options.get(name).map(|value| Text::from(*value))
    }

    fn number(&self, name: &str, otherwise: i32) -> i32 {
        self.options.get(name).map_or(otherwise, |value| value.parse().expect("a number"))
    }

    fn pairs(&self) -> Vec<(&'a str, &'a str)> {
        self.words[3..].iter().filter_map(|word| word.split_once(':')).collect()
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }
}

/// As consumers give it.
pub fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split(',').filter(|topic| !topic.is_empty()).collect();
    let mut bytes = vec![0, 1];
    bytes.extend((topics.len() as u32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as u16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend([0xff; 4]);
    bytes.into()
}

/// `t/0` or `t/0=5`.
fn partition(word: &str) -> (&str, i32, i64) {
    let (place, offset) = word.split_once('=').unwrap_or((word, "0"));
    let (topic, partition) = place.split_once('/').expect("topic/partition");
    (topic, partition.parse().expect("a partition"), offset.parse().expect("an offset"))
}

impl Script {
    fn client(&mut self, name: &str) -> u64 {
        let at = self.clients.iter().position(|client| client == name).unwrap_or_else(|| {
            self.clients.push(name.to_string());
            self.clients.len() - 1
        });
        at as u64
    }

    fn fresh_id(&mut self, client: &str) -> Text {
        let count = self.ids_given.entry(client.to_string()).or_default();
        *count += 1;
        Text::from(format!("{client}{count}"))
    }

    fn ask_of(&mut self, line: &Line<'_>) -> Ask {
        let group = Text::from(line.words.get(2).copied().unwrap_or(""));
        let group = if group.as_str() == "''" { Text::EMPTY } else { group };
        match line.words[1] {
            "join" => {
                let protocols = line
                    .pairs()
                    .into_iter()
                    .map(|(name, topics)| Protocol { name: Text::from(name), metadata: subscription(topics) });
                Ask::Join(Join {
                    group,
                    member_id: line.text("id"),
                    group_instance_id: line.optional("instance"),
                    fresh_member_id: if line.options.contains_key("id") {
                        Text::from("unused")
                    } else {
                        self.fresh_id(line.words[0])
                    },
                    must_know_member_id: line.has("known"),
                    client_id: Text::from(line.words[0]),
                    client_host: Text::from("/127.0.0.1"),
                    session_timeout_ms: line.number("session", 10_000),
                    rebalance_timeout_ms: line.number("rebalance", 60_000),
                    protocol_type: line.optional("type").unwrap_or(Text::from("consumer")),
                    protocols: protocols.collect(),
                    can_skip_assignment: line.has("skip"),
                })
            }
            "sync" => {
                let assignment = |(member, given): (&str, &str)| Assignment {
                    member_id: Text::from(member),
                    assignment: Bytes::copy_from_slice(given.as_bytes()),
                };
                Ask::Sync(Sync {
                    group,
                    generation_id: line.number("gen", -1),
                    member_id: line.text("id"),
                    group_instance_id: line.optional("instance"),
                    protocol_type: line.optional("type"),
                    protocol_name: line.optional("protocol"),
                    assignments: line.pairs().into_iter().map(assignment).collect(),
                })
            }
            "beat" => Ask::Heartbeat(Heartbeat {
                group,
                generation_id: line.number("gen", -1),
                member_id: line.text("id"),
                group_instance_id: line.optional("instance"),
            }),
            "leave" => {
                let named = line.words[3..].iter().map(|id| (Text::from(*id), None));
                let by_option = (!line.options.is_empty()).then(|| (line.text("id"), line.optional("instance")));
                let leaving = |(member_id, group_instance_id)| LeavingMember { member_id, group_instance_id };
                Ask::Leave(Leave { group, members: named.chain(by_option).map(leaving).collect() })
            }
            "commit" => {
                let topics = line.words[3..].iter().map(|word| {
                    let (topic, partition, offset) = partition(word);
                    CommitTopic {
                        topic_id: topic_id(topic).0,
                        name: Text::from(topic),
                        partitions: vec![CommitPartition {
                            partition,
                            offset,
                            leader_epoch: -1,
                            metadata: line.text("meta"),
                        }],
                    }
                });
                Ask::Commit(Commit {
                    group,
                    generation_id: line.number("gen", -1),
                    member_id: line.text("id"),
                    group_instance_id: line.optional("instance"),
                    topics: topics.collect(),
                })
            }
            "fetch" => {
                let topics = line.words[3..].iter().map(|word| {
                    let (topic, partition, _) = partition(word);
                    PartitionsOfTopic { topic_id: topic_id(topic).0, partitions: vec![partition] }
                });
                let topics = if line.has("all") { None } else { Some(topics.collect()) };
                Ask::FetchOffsets(FetchOffsets { group, topics, member_id: Text::EMPTY, member_epoch: -1 })
            }
            "forget" => {
                let topics = line.words[3..].iter().map(|word| {
                    let (topic, partition, _) = partition(word);
                    NamedPartitionsOfTopic {
                        topic_id: topic_id(topic).0,
                        name: Text::from(topic),
                        partitions: vec![partition],
                    }
                });
                Ask::DeleteOffsets(DeleteOffsets { group, topics: topics.collect() })
            }
            "describe" => Ask::Describe(Describe { group }),
            "list" => Ask::List(List {
                states: line.words[2..].iter().map(|state| Text::from(*state)).collect(),
                types: line.optional("type").into_iter().collect(),
            }),
            "delete" => Ask::Delete(Delete { group }),
            verb => panic!("{verb}"),
        }
    }

    fn set(&mut self, line: &Line<'_>) {
        let mut settings = GroupSettings::default();
        for (name, value) in &line.options {
            let value: u32 = value.parse().expect("a number");
            match *name {
                "members_max" => settings.members_max = value,
                "groups_max" => settings.groups_max = value,
                "pending_members_max" => settings.pending_members_max = value,
                "offsets_max" => settings.offsets_max = value,
                "offset_metadata_bytes_max" => settings.offset_metadata_bytes_max = value,
                name => panic!("{name}"),
            }
        }
        self.desk = Desk::new(settings);
    }

    fn run(&mut self, text: &str) -> String {
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            out.push_str(line);
            out.push('\n');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = Line::of(line);
            let answers = match line.words[0] {
                "set" => {
                    self.set(&line);
                    Vec::new()
                }
                "advance" => self.desk.advance(line.words[1].parse().expect("milliseconds")),
                "restart" => {
                    self.desk.restart();
                    Vec::new()
                }
                "topic" => {
                    self.desk.forget_topic(topic_id(line.words[1]));
                    Vec::new()
                }
                client => {
                    let holder = self.client(client);
                    let ask = self.ask_of(&line);
                    self.desk.ask(holder, &ask)
                }
            };
            for (holder, _, answer) in &answers {
                writeln!(out, "  {}: {}", self.name(*holder), show(answer)).expect("a string");
            }
        }
        out
    }

    fn name(&self, holder: HolderId) -> &str {
        &self.clients[holder.0 as usize]
    }
}

fn show(answer: &Answer) -> String {
    let error = |code: i16| if code == 0 { "ok".to_string() } else { format!("error {code}") };
    let text = |text: &Option<Text>| text.as_ref().map_or("-".to_string(), Text::to_string);
    let bytes = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    match answer {
        Answer::Joined(joined) if joined.error_code != 0 => {
            format!("error {} id={}", joined.error_code, joined.member_id)
        }
        Answer::Joined(joined) => {
            let members = joined.members.iter().map(|member| match &member.group_instance_id {
                Some(instance_id) => format!(" {}({instance_id})", member.member_id),
                None => format!(" {}", member.member_id),
            });
            let members: String = members.collect();
            let lead = if joined.members.is_empty() { String::new() } else { format!(" members:{members}") };
            let skip = if joined.skip_assignment { " skip" } else { "" };
            let (generation, protocol) = (joined.generation_id, text(&joined.protocol_name));
            format!("{} in gen={generation} {protocol} leader {}{skip}{lead}", joined.member_id, joined.leader)
        }
        Answer::Synced(synced) if synced.error_code != 0 => format!("error {}", synced.error_code),
        Answer::Synced(synced) => format!("assigned '{}' {}", bytes(&synced.assignment), text(&synced.protocol_name)),
        Answer::HeartbeatDone(done) | Answer::Deleted(done) => error(done.error_code),
        Answer::Left(left) => {
            let members: Vec<String> = left.members.iter().map(|member| error(member.error_code)).collect();
            format!("left {} [{}]", error(left.error_code), members.join(", "))
        }
        Answer::Committed(committed) => {
            let codes = committed.topics.iter().flat_map(|topic| &topic.partitions);
            format!("committed {}", codes.map(|partition| error(partition.error_code)).collect::<Vec<_>>().join(", "))
        }
        Answer::FetchedOffsets(fetched) => {
            let mut shown = format!("offsets {}", error(fetched.error_code));
            for topic in &fetched.topics {
                let name = String::from_utf8_lossy(&topic.topic_id).trim_end_matches('\0').to_string();
                for partition in &topic.partitions {
                    let metadata = partition.metadata.as_str();
                    let metadata = if metadata.is_empty() { String::new() } else { format!("'{metadata}'") };
                    write!(shown, " {name}/{}={}{metadata}", partition.partition, partition.offset).expect("a string");
                }
            }
            shown
        }
        Answer::DeletedOffsets(deleted) => {
            let codes = deleted.topics.iter().flat_map(|topic| &topic.partitions);
            let codes: Vec<String> = codes.map(|partition| error(partition.error_code)).collect();
            format!("forgotten {} [{}]", error(deleted.error_code), codes.join(", "))
        }
        Answer::Described(described) => {
            let mut shown = format!(
                "{} {} type '{}' protocol '{}' gen={} offsets={}",
                error(described.error_code),
                described.state,
                described.protocol_type,
                described.protocol_name,
                described.generation_id,
                described.offset_count
            );
            for member in &described.members {
                let instance_id = member.group_instance_id.as_ref().map_or(String::new(), |id| format!("({id})"));
                write!(
                    shown,
                    " {}{instance_id}@{}{}:'{}'/{}",
                    member.member_id,
                    member.client_id,
                    member.client_host,
                    bytes(&member.assignment),
                    member.metadata.len()
                )
                .expect("a string");
            }
            shown
        }
        Answer::Listed(listed) => {
            let groups = listed
                .groups
                .iter()
                .map(|group| format!("{} '{}' {} {}", group.group, group.protocol_type, group.state, group.group_type));
            format!("groups: {}", groups.collect::<Vec<_>>().join(", "))
        }
    }
}

fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/coordinator/testdata").join(name);
    let text = std::fs::read_to_string(&path).expect("the script");
    let mut script =
        Script { desk: Desk::new(GroupSettings::default()), clients: Vec::new(), ids_given: BTreeMap::new() };
    let came = script.run(&text);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &came).expect("the script");
    }
    for (number, (expected, came)) in text.lines().zip(came.lines()).enumerate() {
        assert_eq!(came, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(came.lines().count(), text.lines().count(), "{name}");
}

#[test]
fn members_come_stay_and_go() {
    play("members.txt");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    play("static_members.txt");
}

#[test]
fn nobody_is_waited_for_longer_than_was_said() {
    play("time.txt");
}

#[test]
fn a_restart_is_not_a_rebalance() {
    play("restart.txt");
}

#[test]
fn offsets_are_committed_fetched_and_forgotten() {
    play("offsets.txt");
}

#[test]
fn offsets_expire_when_nobody_needs_them() {
    play("expiry.txt");
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    play("refused.txt");
}
