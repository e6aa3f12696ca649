// SPDX-License-Identifier: Apache-2.0
//! Every bound is reached: what is refused leaves nothing behind, and what is accepted can be written, forgotten, expired, in
//! decisions that fit (`Desk` looks at each).

use super::desk::{Answered, Desk, replayed, snapshot, topic_id};
use super::script::subscription;
use crate::coordinator::GroupSettings;
use crate::coordinator::messages::{
    Answer, Ask, Assignment, Commit, CommitPartition, CommitTopic, Delete, Describe, Heartbeat, Join, Leave,
    LeavingMember, List, Protocol, Sync,
};
use crate::wire::Text;
use bytes::Bytes;
use kernel::coordinator::Note;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MIB: usize = 1024 * 1024;

fn desk(settings: GroupSettings) -> Desk {
    Desk { is_strict: false, ..Desk::new(settings) }
}

fn join(group: &str, fresh: &str, protocols: Vec<Protocol>) -> Join {
    Join {
        group: Text::from(group),
        member_id: Text::EMPTY,
        group_instance_id: None,
        fresh_member_id: Text::from(fresh),
        must_know_member_id: false,
        client_id: Text::from("c"),
        client_host: Text::from("/127.0.0.1"),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Text::from("consumer"),
        protocols,
        can_skip_assignment: true,
    }
}

fn range(metadata: Bytes) -> Vec<Protocol> {
    vec![Protocol { name: Text::from("range"), metadata }]
}

fn code(answers: &[Answered]) -> i16 {
    match &answers.last().expect("answered").2 {
        Answer::Joined(joined) => joined.error_code,
        Answer::Synced(synced) => synced.error_code,
        Answer::HeartbeatDone(done) | Answer::Deleted(done) => done.error_code,
        Answer::Committed(committed) => committed.topics[0].partitions[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn sync(group: &str, generation_id: i32, id: &str, assignments: Vec<Assignment>) -> Ask {
    Ask::Sync(Sync {
        group: Text::from(group),
        generation_id,
        member_id: Text::from(id),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments,
    })
}

fn commit(group: &str, topic: &str, partitions: std::ops::Range<i32>, metadata: &str) -> Ask {
    let partitions = partitions.map(|partition| CommitPartition {
        partition,
        offset: 7,
        leader_epoch: -1,
        metadata: Text::from(metadata),
    });
    Ask::Commit(Commit {
        group: Text::from(group),
        generation_id: -1,
        member_id: Text::EMPTY,
        group_instance_id: None,
        topics: vec![CommitTopic {
            topic_id: topic_id(topic).0,
            name: Text::from(topic),
            partitions: partitions.collect(),
        }],
    })
}

#[test]
fn ten_thousand_protocols_are_bounded_and_ten_megabytes_are_refused() {
    let mut desk = desk(GroupSettings::default());
    let protocols = (0..10_000)
        .map(|number| Protocol { name: Text::from(format!("p{number}")), metadata: Bytes::from_static(b"m") });
    let protocols: Vec<Protocol> = protocols.collect();
    assert_eq!(code(&desk.ask(1, &Ask::Join(join("g", "a", protocols.clone())))), 0);
    assert!(desk.groups.stored.bytes < MIB);
    // A second one, so that there is something to vote on.
    assert!(desk.ask(2, &Ask::Join(join("g", "b", protocols))).is_empty());
    let before = desk.groups.stored.bytes;
    for group in ["g", "h"] {
        let large = join(group, "c", range(vec![7; 10 * MIB].into()));
        assert_eq!(code(&desk.ask(3, &Ask::Join(large.clone()))), 10);
        assert_eq!(code(&desk.ask(3, &Ask::Join(Join { must_know_member_id: true, ..large }))), 10);
    }
    assert_eq!(desk.groups.stored.bytes, before);
    assert_eq!(desk.groups.stored.len(), 1);
    assert!(desk.notes.is_empty());
    desk.check();
}

#[test]
fn names_of_any_length_are_refused_where_they_cannot_be_kept() {
    let mut desk = desk(GroupSettings::default());
    let name = "n".repeat(65_536);
    assert_eq!(code(&desk.ask(1, &Ask::Join(join(&name, "a", range(Bytes::new()))))), 24);
    assert_eq!(code(&desk.ask(1, &commit(&name, "t", 0..1, ""))), 24);
    assert_eq!(code(&desk.ask(1, &Ask::Delete(Delete { group: Text::from(name.as_str()) }))), 69);
    assert_eq!(code(&desk.ask(1, &sync(&name, 1, &name, Vec::new()))), 25);
    assert_eq!(desk.groups.stored.len(), 0);
    assert_eq!(desk.groups.stored.bytes, 0);
}

#[test]
fn a_group_fills_up_and_its_generation_still_fits() {
    let mut desk = desk(GroupSettings::default());
    let metadata = Bytes::from(vec![1; MIB - 1024]);
    let mut ids = Vec::new();
    let refused = loop {
        let id = format!("m{}", ids.len());
        let answers = desk.ask(ids.len() as u64, &Ask::Join(join("g", &id, range(metadata.clone()))));
        match answers.last() {
            Some((_, _, Answer::Joined(joined))) if joined.error_code != 0 => break joined.error_code,
            _ => ids.push(id),
        }
    };
    assert_eq!((refused, ids.len()), (81, 8));
    // All others wait for the first.
    let again = Join { member_id: Text::from("m0"), ..join("g", "", range(metadata.clone())) };
    let joined = desk.ask(0, &Ask::Join(again));
    assert_eq!(joined.len(), 8);
    let assignments = |bytes: usize| {
        let assignment = Bytes::from(vec![2; bytes]);
        ids.iter().map(|id| Assignment { member_id: Text::from(id.as_str()), assignment: assignment.clone() }).collect()
    };
    assert_eq!(code(&desk.ask(0, &sync("g", 2, "m0", assignments(20_000)))), 10);
    assert!(desk.notes.is_empty());
    assert_eq!(code(&desk.ask(0, &sync("g", 2, "m0", assignments(400)))), 0);
    assert_eq!(desk.notes.len(), 1);
    desk.check();
    desk.restart();
    let beat =
        Heartbeat { group: Text::from("g"), generation_id: 2, member_id: Text::from("m7"), group_instance_id: None };
    assert_eq!(code(&desk.ask(1, &Ask::Heartbeat(beat))), 0);
    desk.check();
}

#[test]
fn assignments_take_the_place_of_those_before() {
    let mut desk = desk(GroupSettings::default());
    let metadata = range(vec![1; MIB - 1024].into());
    let ids = ["m0", "m1", "m2"];
    for (holder, id) in (0..).zip(ids) {
        desk.ask(holder, &Ask::Join(join("g", id, metadata.clone())));
    }
    let assignment = Bytes::from(vec![2; MIB - 1024]);
    let assignments = ids.map(|id| Assignment { member_id: Text::from(id), assignment: assignment.clone() });
    // The first waits for nobody; each generation from then on begins with the leader.
    for generation in 2..5 {
        for id in if generation == 2 { &ids[..1] } else { &ids[..] } {
            desk.ask(0, &Ask::Join(Join { member_id: Text::from(*id), ..join("g", "", metadata.clone()) }));
        }
        assert_eq!(code(&desk.ask(0, &sync("g", generation, "m0", assignments.to_vec()))), 0, "{generation}");
    }
    desk.check();
}

#[test]
fn all_groups_together_have_a_bound() {
    let mut desk = desk(GroupSettings { memory_bytes_max: 2 * MIB, ..GroupSettings::default() });
    let mut codes = Vec::new();
    for number in 0..4 {
        let group = format!("g{number}");
        codes.push(code(&desk.ask(1, &Ask::Join(join(&group, "a", range(vec![3; 600_000].into()))))));
    }
    assert_eq!(codes, [0, 0, 0, 15]);
    assert_eq!(code(&desk.ask(1, &commit("s", "t", 0..5_000, ""))), 28);
    assert_eq!(code(&desk.ask(1, &commit("s", "t", 0..1_500, ""))), 0);
    assert!(desk.groups.stored.bytes <= 2 * MIB);
    // Who is in goes on.
    assert_eq!(code(&desk.ask(1, &commit("s", "t", 0..1_500, ""))), 0);
    let again = Join { member_id: Text::from("a"), ..join("g0", "", range(vec![3; 600_000].into())) };
    assert_eq!(code(&desk.ask(1, &Ask::Join(again))), 0);
    // Who leaves makes room.
    let leaving = LeavingMember { member_id: Text::from("a"), group_instance_id: None };
    desk.ask(1, &Ask::Leave(Leave { group: Text::from("g0"), members: vec![leaving] }));
    assert_eq!(code(&desk.ask(1, &Ask::Join(join("g3", "a", range(vec![3; 600_000].into()))))), 0);
    desk.check();
}

#[test]
fn a_commit_is_one_decision_and_so_is_a_groups_removal() {
    let mut desk = desk(GroupSettings::default());
    let metadata = "m".repeat(4096);
    assert_eq!(code(&desk.ask(1, &commit("g", "t", 0..5_000, &metadata))), 28);
    assert_eq!(code(&desk.ask(1, &commit("g", "t", 0..3_000, &metadata))), 0);
    assert_eq!(code(&desk.ask(1, &commit("g", "t", 0..3_000, &metadata))), 0);
    // 48 MiB of metadata are too much for one group.
    let codes: Vec<i16> = (1..5)
        .map(|number| code(&desk.ask(1, &commit("g", "t", number * 3_000..(number + 1) * 3_000, &metadata))))
        .collect();
    assert_eq!(codes, [0, 0, 28, 28]);
    assert_eq!(desk.notes.len(), 9_001);
    // What is there is committed anew, as often as somebody likes.
    assert_eq!(code(&desk.ask(1, &commit("g", "t", 6_000..9_000, &metadata))), 0);
    let long = "l".repeat(4096);
    assert_eq!(code(&desk.ask(1, &commit(&long, "t", 0..3_000, ""))), 0);
    assert_eq!(code(&desk.ask(1, &commit(&long, "t", 3_000..6_000, ""))), 28);
    desk.check();
    for (group, left) in [("g", 3_001), (long.as_str(), 1)] {
        assert_eq!(code(&desk.ask(1, &Ask::Delete(Delete { group: Text::from(group) }))), 0);
        assert_eq!(desk.notes.len(), left);
    }
    desk.check();
}

#[test]
fn many_offsets_expire_in_slices() {
    // Looked for twice: before it is time, and when it is.
    let offsets_check_ms = 5 * 24 * 60 * 60 * 1000;
    let mut desk = desk(GroupSettings { offsets_check_ms, ..GroupSettings::default() });
    for number in 0..4_000 {
        assert_eq!(code(&desk.ask(1, &commit(&format!("g{number}"), "t", 0..1, ""))), 0);
    }
    assert_eq!(code(&desk.ask(1, &commit("large", "u", 0..20_000, ""))), 0);
    assert_eq!(desk.notes.len(), 4_000 + 20_000 + 2);
    desk.advance(2 * offsets_check_ms + 1_000);
    assert_eq!(desk.groups.stored.len(), 0);
    // The names of topics stay until the topics go.
    assert_eq!(desk.notes.len(), 2);
    assert_eq!(desk.groups.stored.bytes, 0);
    desk.check();
}

#[test]
fn offsets_of_a_live_group_go_when_nobody_subscribes_to_their_topic() {
    let mut desk = desk(GroupSettings::default());
    desk.ask(1, &Ask::Join(join("g", "a", range(subscription("t")))));
    desk.ask(1, &sync("g", 1, "a", Vec::new()));
    for topic in ["t", "u"] {
        let Ask::Commit(mut asked) = commit("g", topic, 0..2, "") else { panic!("a commit") };
        (asked.generation_id, asked.member_id) = (1, Text::from("a"));
        assert_eq!(code(&desk.ask(1, &Ask::Commit(asked))), 0);
    }
    let beat =
        Heartbeat { group: Text::from("g"), generation_id: 1, member_id: Text::from("a"), group_instance_id: None };
    let beats = desk.settings.offsets_retention_ms / 20_000 + 40;
    for number in 0..beats {
        if number == beats / 2 {
            desk.restart();
        }
        assert_eq!(code(&desk.ask(1, &Ask::Heartbeat(beat.clone()))), 0);
        desk.advance(20_000);
    }
    let group = desk.groups.stored.by_name().next().expect("the group");
    let left: Vec<_> = group.offsets.keys().copied().collect();
    assert_eq!(left, [(topic_id("t"), 0), (topic_id("t"), 1)]);
    desk.check();
}

#[test]
fn a_thousand_groups_and_a_group_of_five_hundred_come_and_go() {
    let mut desk = desk(GroupSettings::default());
    for number in 0..1_000 {
        let group = format!("g{number}");
        assert_eq!(code(&desk.ask(number, &Ask::Join(join(&group, "a", range(subscription("t")))))), 0);
        for other in 1..=number % 8 {
            assert!(desk.ask(number, &Ask::Join(join(&group, &format!("b{other}"), range(Bytes::new())))).is_empty());
        }
        let again = Join { member_id: Text::from("a"), ..join(&group, "", range(subscription("t"))) };
        let joined = desk.ask(number, &Ask::Join(again)).len();
        assert_eq!(joined as u64, number % 8 + 1);
        let generation = if joined == 1 { 1 } else { 2 };
        assert_eq!(code(&desk.ask(number, &sync(&group, generation, "a", Vec::new()))), 0);
    }
    assert_eq!(code(&desk.ask(5_000, &Ask::Join(join("large", "m0", range(Bytes::new()))))), 0);
    for member in 1..500 {
        let answers = desk.ask(5_000 + member, &Ask::Join(join("large", &format!("m{member}"), range(Bytes::new()))));
        assert!(answers.is_empty());
    }
    let again = Join { member_id: Text::from("m0"), ..join("large", "", range(Bytes::new())) };
    let joined = desk.ask(5_000, &Ask::Join(again));
    let lists = joined.iter().filter_map(|(_, _, answer)| match answer {
        Answer::Joined(joined) if joined.generation_id == 2 => Some(joined.members.len()),
        _ => None,
    });
    let lists: Vec<usize> = lists.collect();
    assert_eq!((lists.len(), lists.iter().sum::<usize>(), lists.iter().max()), (500, 500, Some(&500)));
    // One deadline a member, and one for each group whose members have not fetched their assignment; however often they are heard of.
    let beat = |group: &str, id: &str| {
        let (group, member_id) = (Text::from(group), Text::from(id));
        Ask::Heartbeat(Heartbeat { group, generation_id: 2, member_id, group_instance_id: None })
    };
    let deadlines = desk.groups.timers.len();
    for _ in 0..10 {
        for member in 0..500 {
            assert_eq!(code(&desk.ask(1, &beat("large", &format!("m{member}")))), 0);
        }
        desk.advance(1_000);
    }
    assert_eq!(desk.groups.timers.len(), deadlines);
    desk.check();
    // All at once are heard of no more.
    desk.advance(90_000);
    let Answer::Listed(listed) = desk
        .ask(0, &Ask::List(List { states: vec![Text::from("empty")], types: Vec::new() }))
        .pop()
        .expect("answered")
        .2
    else {
        panic!("a list")
    };
    assert_eq!(listed.groups.len(), 1_001);
    desk.check();
    desk.advance(600_000);
    assert_eq!((desk.groups.stored.len(), desk.notes.len(), desk.groups.timers.len()), (0, 0, 1));
}

#[test]
fn a_list_has_a_bound_and_many_filters_cost_no_more_than_few() {
    let mut desk = desk(GroupSettings::default());
    let list = |desk: &mut Desk, states: Vec<Text>| match desk
        .ask(1, &Ask::List(List { states, types: Vec::new() }))
        .pop()
        .expect("answered")
        .2
    {
        Answer::Listed(listed) => (listed.error_code, listed.groups.len()),
        other => panic!("{other:?}"),
    };
    let expect = |desk: &mut Desk, number: usize| {
        let name = format!("{number}{}", "g".repeat(4_000));
        let asked = Join { must_know_member_id: true, ..join(&name, "m", range(Bytes::new())) };
        assert_eq!(code(&desk.ask(1, &Ask::Join(asked))), 79);
    };
    (0..16_000).for_each(|number| expect(&mut desk, number));
    // For each group anew this would take many minutes.
    let mut states = vec![Text::from("none"); 200_000];
    assert_eq!(list(&mut desk, states.clone()), (0, 0));
    states.push(Text::from("empty"));
    assert_eq!(list(&mut desk, states), (0, 16_000));
    (16_000..17_000).for_each(|number| expect(&mut desk, number));
    assert_eq!(list(&mut desk, Vec::new()), (44, 0));
}

#[test]
fn who_was_told_an_id_and_never_comes_is_forgotten() {
    let mut desk = desk(GroupSettings { pending_members_max: 100, ..GroupSettings::default() });
    let expected = |number: usize| Join {
        must_know_member_id: true,
        ..join("g", &format!("m{number}"), range(Bytes::from(vec![1; 100_000])))
    };
    let codes: Vec<i16> = (0..200).map(|number| code(&desk.ask(1, &Ask::Join(expected(number))))).collect();
    assert_eq!(codes.iter().filter(|code| **code == 79).count(), 100);
    assert_eq!(codes.iter().filter(|code| **code == 81).count(), 100);
    // What they brought with their first request is not kept.
    assert!(desk.groups.stored.bytes < 50_000);
    desk.advance(30_000);
    assert_eq!((desk.groups.stored.len(), desk.groups.stored.bytes, desk.groups.timers.len()), (0, 0, 1));
}

#[test]
fn a_note_that_names_a_member_twice_is_taken_for_one() {
    let mut value = b"\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\x09consumer\x06range\0\x04".to_vec();
    for (id, instance) in [(b"\x02a", &b"\x02i"[..]), (b"\x02a", b"\0"), (b"\x02b", b"\x02i")] {
        value.extend([&id[..], instance, b"\x02c\x03/h\0\0\0\x64\0\0\0\x64\x03me\x03as\0"].concat());
    }
    value.push(0);
    let key = Bytes::from_static(b"\x01\0\0\0\0\0\0\0\0g");
    let mut desk = Desk::new(GroupSettings::default());
    desk.notes.insert(key, value.into());
    desk.restart();
    let describe = Ask::Describe(Describe { group: Text::from("g") });
    let answers = desk.ask(0, &describe);
    let Answer::Described(described) = &answers[0].2 else { panic!("{answers:?}") };
    assert_eq!((described.state.as_str(), described.members.len()), ("Stable", 1));
    desk.advance(1_000);
    assert_eq!(desk.groups.timers.len(), 1);
}

proptest! {
    /// Notes of any bytes, in any order, under keys that may be ours.
    #[test]
    fn whatever_was_noted_is_remembered_byte_for_byte(
        notes in prop::collection::vec(
            (prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                Just([&[1u8, 0, 0, 0, 0, 0, 0, 0, 0][..], b"g"].concat()),
                Just([&[2u8, 0, 0, 0, 0, 0, 0, 0, 0][..], &[7; 16], &[0, 0, 0, 1], b"g"].concat()),
                Just([&[3u8][..], &[7; 16]].concat()),
            ], prop::option::of(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                Just(b"\0\0\0\0\0\0\0\0\0\x09\xff\xff\xff\xff\0\0\0\0\0\0\x01\0\x02m\0".to_vec()),
                Just(b"\0\0\x02t\0".to_vec()),
                Just(b"\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\x09consumer\x06range\0\x01\0".to_vec()),
                Just(b"\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\x09consumer\x06range\0\x02\x02a\0\x02c\x03/h\0\0\0\x04\0\0\0\x05\x03me\x03as\0\0".to_vec()),
            ])), 0..30),
        topic_goes in any::<bool>(),
    ) {
        let settings = GroupSettings::default();
        let mut expected: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let mut desk = Desk::new(settings.clone());
        for (key, value) in notes {
            let note = Note { key: key.into(), value: value.map(Bytes::from) };
            kernel::coordinator::Coordinator::apply(&mut desk.groups, &note);
            match note.value {
                Some(value) => expected.insert(note.key, value),
                None => expected.remove(&note.key),
            };
        }
        desk.notes = expected;
        desk.check();
        if topic_goes {
            desk.forget_topic(model::TopicId([7; 16]));
            prop_assert!(!desk.notes.keys().any(|key| key.len() > 16 && key[0] == 3 && key[1..] == [7; 16]));
        }
        prop_assert_eq!(snapshot(&replayed(&settings, &desk.notes)), desk.notes.clone());
        desk.advance(1_000_000);
        desk.check();
    }
}
