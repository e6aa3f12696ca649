// SPDX-License-Identifier: Apache-2.0
//! Histories written by hand: good ones, and for each rule one that breaks it.

use super::*;

/// A good history: two sends acknowledged, read, read again at the end.
const GOOD: &[&str] = &[
    "1 invoke send 1 client=1 partition=5 values=10+2",
    "2 ok send 1 offset=0",
    "3 invoke send 2 client=1 partition=5 values=12+1",
    "4 ok send 2 offset=2",
    "5 invoke read 3 client=2 partition=5 from=0",
    "6 saw 3 offset=0 values=10+3",
    "7 ok read 3 start=0 high=3",
];
const FINAL: &[&str] = &[
    "90 drain",
    "91 invoke read 90 client=9 partition=5 from=0",
    "92 saw 90 offset=0 values=10+3",
    "93 ok read 90 start=0 high=3",
];

fn judge(lines: &[&[&str]]) -> Report {
    let mut text = String::from("polylog-history 1\n");
    for line in lines.concat() {
        text.push_str(line);
        text.push('\n');
    }
    check(&History::parse(&text).expect("a history"))
}

#[track_caller]
fn broken(rule: Rule, lines: &[&[&str]]) {
    let report = judge(lines);
    assert!(report.counts.contains_key(&rule), "{rule} must be broken, found {:?}", report.violations);
}

#[track_caller]
fn clean(lines: &[&[&str]]) {
    let report = judge(lines);
    assert!(report.clean(), "{:?}", report.violations);
}

#[test]
fn a_good_history_is_clean() {
    clean(&[GOOD, FINAL]);
    assert_eq!((judge(&[GOOD, FINAL]).acked, judge(&[GOOD, FINAL]).drained), (3, 3));
}

#[test]
fn an_acknowledged_record_must_be_readable_at_the_end() {
    let last = ["8 invoke send 4 client=1 partition=5 values=13+1", "9 ok send 4 offset=3"];
    broken(Rule::AckedIsReadable, &[GOOD, &last, FINAL]);
    assert_eq!(judge(&[GOOD, &last, FINAL]).lost(), 1);
}

#[test]
fn without_a_final_read_nothing_counts_as_readable() {
    broken(Rule::AckedIsReadable, &[GOOD]);
}

#[test]
fn a_send_of_unknown_fate_may_be_there_or_not() {
    let unknown = ["8 invoke send 4 client=1 partition=5 values=13+1", "9 info send 4"];
    clean(&[GOOD, &unknown, FINAL]);
    clean(&[
        GOOD,
        &unknown,
        FINAL,
        &["94 invoke read 91 client=9 partition=5 from=3", "95 saw 91 offset=3 values=13+1"],
    ]);
}

#[test]
fn what_was_seen_must_not_vanish_even_if_never_acknowledged() {
    let seen = [
        "8 invoke send 4 client=1 partition=5 values=13+1",
        "9 invoke read 5 client=2 partition=5 from=3",
        "10 saw 5 offset=3 values=13+1",
        "11 ok read 5",
        "12 info send 4",
    ];
    let last = ["90 drain", "91 invoke read 90 client=9 partition=5 from=0", "92 saw 90 offset=0 values=10+3"];
    broken(Rule::SeenDoesNotVanish, &[GOOD, &seen, &last]);
}

#[test]
fn an_offset_must_not_change_its_value() {
    let other = ["8 invoke send 4 client=1 partition=5 values=13+1", "9 ok send 4 offset=2"];
    broken(Rule::OneValueAnOffset, &[GOOD, &other, FINAL]);
}

#[test]
fn a_value_must_not_stand_twice() {
    let twice = ["94 invoke read 91 client=9 partition=5 from=3", "95 saw 91 offset=3 values=12+1", "96 ok read 91"];
    broken(Rule::OnceOnly, &[GOOD, FINAL, &twice]);
    assert_eq!(judge(&[GOOD, FINAL, &twice]).duplicated(), 1);
}

#[test]
fn a_refused_send_must_not_be_seen() {
    let refused = ["8 invoke send 4 client=1 partition=5 values=13+1", "9 fail send 4"];
    let seen = ["94 invoke read 91 client=9 partition=5 from=3", "95 saw 91 offset=3 values=13+1", "96 ok read 91"];
    clean(&[GOOD, &refused, FINAL]);
    broken(Rule::FailedIsNeverSeen, &[GOOD, &refused, FINAL, &seen]);
}

#[test]
fn nobody_sees_what_nobody_sent() {
    let seen = ["94 invoke read 91 client=9 partition=5 from=3", "95 saw 91 offset=3 values=99+1", "96 ok read 91"];
    broken(Rule::NothingInvented, &[GOOD, FINAL, &seen]);
    let damaged = ["94 invoke read 91 client=9 partition=5 from=3", "95 saw 91 offset=3 values=18446744073709551615+1"];
    broken(Rule::NothingInvented, &[GOOD, FINAL, &damaged]);
    let elsewhere = ["94 invoke read 91 client=9 partition=6 from=0", "95 saw 91 offset=0 values=10+1"];
    broken(Rule::NothingInvented, &[GOOD, FINAL, &elsewhere]);
}

#[test]
fn a_client_order_must_be_kept() {
    let swapped = [
        "1 invoke send 1 client=1 partition=5 values=10+1",
        "1 invoke send 2 client=1 partition=5 values=11+1",
        "2 ok send 1 offset=1",
        "3 ok send 2 offset=0",
        "90 drain",
        "91 invoke read 90 client=9 partition=5 from=0",
        "92 saw 90 offset=0 values=11+1",
        "92 saw 90 offset=1 values=10+1",
        "93 ok read 90 start=0 high=2",
    ];
    broken(Rule::ProducerOrder, &[&swapped]);
    assert_eq!(judge(&[&swapped]).reordered(), 1);
}

#[test]
fn a_read_must_not_skip_or_start_elsewhere() {
    let skips = [
        "94 invoke read 91 client=9 partition=5 from=0",
        "95 saw 91 offset=0 values=10+1",
        "95 saw 91 offset=2 values=12+1",
    ];
    broken(Rule::ContiguousReads, &[GOOD, FINAL, &skips]);
    let late = ["94 invoke read 91 client=9 partition=5 from=0", "95 saw 91 offset=1 values=11+1"];
    broken(Rule::ContiguousReads, &[GOOD, FINAL, &late]);
    let range = ["94 invoke read 91 client=9 partition=5 from=2", "95 range read 91 start=0 high=3"];
    broken(Rule::ContiguousReads, &[GOOD, FINAL, &range]);
}

#[test]
fn watermarks_must_not_go_back() {
    let look = "94 invoke look 91 client=9 partition=5";
    broken(Rule::WatermarksNeverBack, &[GOOD, FINAL, &[look, "95 ok look 91 start=0 high=2"]]);
    broken(Rule::WatermarksNeverBack, &[GOOD, FINAL, &[look, "95 ok look 91 start=4 high=3"]]);
    clean(&[GOOD, FINAL, &[look, "95 ok look 91 start=0 high=3"]]);
}

#[test]
fn an_acknowledged_record_is_below_the_high_watermark_of_every_later_read() {
    let lines = [
        "1 invoke send 1 client=1 partition=5 values=10+1",
        "2 ok send 1 offset=0",
        "3 invoke read 2 client=2 partition=5 from=0",
        "4 ok read 2 start=0 high=0",
    ];
    broken(Rule::WatermarksNeverBack, &[&lines]);
    // One that began before the acknowledgement may have looked earlier.
    let overlapping = [
        "1 invoke send 1 client=1 partition=5 values=10+3",
        "1 invoke read 2 client=2 partition=5 from=0",
        "2 ok send 1 offset=0",
        "4 ok read 2 start=0 high=0",
    ];
    clean(&[&overlapping, FINAL]);
}

#[test]
fn trimmed_records_may_be_gone_and_nothing_else_may() {
    let trim = ["8 invoke trim 4 partition=5 before=2", "9 ok trim 4 start=2"];
    let rest = [
        "90 drain",
        "91 invoke read 90 client=9 partition=5 from=2",
        "92 saw 90 offset=2 values=12+1",
        "93 ok read 90 start=2 high=3",
    ];
    clean(&[GOOD, &trim, &rest]);
    let less = ["90 drain", "91 invoke read 90 client=9 partition=5 from=3", "93 ok read 90 start=3 high=3"];
    broken(Rule::TrimsConserve, &[GOOD, &trim, &less]);
    broken(Rule::TrimsConserve, &[GOOD, &["8 invoke trim 4 partition=5 before=2", "9 fail trim 4"], &rest]);
    broken(Rule::WatermarksNeverBack, &[GOOD, &trim, FINAL]);
    clean(&[GOOD, &["8 expires partition=5"], &less]);
}

#[test]
fn a_partition_goes_only_when_removed_and_then_for_good() {
    let absent = ["8 invoke read 4 client=1 partition=5 from=0", "9 absent read 4"];
    broken(Rule::PartitionsStay, &[GOOD, &absent, FINAL]);
    let removed = ["8 invoke drop 7 partition=5", "8 ok drop 7"];
    clean(&[GOOD, &removed, &absent]);
    let again = ["10 invoke read 5 client=1 partition=5 from=0", "11 saw 5 offset=0 values=10+1"];
    clean(&[GOOD, &removed, &again, &absent]);
    broken(Rule::PartitionsStay, &[GOOD, &removed, &absent, &again]);
    broken(Rule::PartitionsStay, &[GOOD, &removed, FINAL]);
    let refused = ["8 invoke drop 7 partition=5", "8 fail drop 7"];
    broken(Rule::PartitionsStay, &[GOOD, &refused, &absent, FINAL]);
}

#[test]
fn damage_must_not_be_reported_where_there_is_none() {
    let corrupt = ["8 invoke read 4 client=1 partition=5 from=0", "9 corrupt read 4"];
    broken(Rule::NoFalseAlarm, &[GOOD, &corrupt, FINAL]);
    clean(&[GOOD, &["8 damage"], &corrupt, FINAL]);
}

#[test]
fn damaged_records_are_excused_only_where_the_final_read_says_so() {
    let read = |rest: &[&'static str]| {
        let mut lines = vec!["8 damage", "90 drain", "91 invoke read 90 client=9 partition=5 from=0"];
        lines.extend_from_slice(&["92 saw 90 offset=0 values=10+1", "93 ok read 90 start=0 high=3"]);
        lines.extend_from_slice(rest);
        judge(&[GOOD, &lines])
    };
    let corrupt_1 = ["94 invoke read 91 client=9 partition=5 from=1", "95 corrupt read 91"];
    let corrupt_2 = ["94 invoke read 92 client=9 partition=5 from=2", "95 corrupt read 92"];
    assert!(read(&[corrupt_1, corrupt_2].concat()).clean());
    assert!(read(&corrupt_1).counts.contains_key(&Rule::AckedIsReadable));
}

#[test]
fn a_history_that_uses_a_value_twice_is_refused() {
    broken(Rule::NothingInvented, &[GOOD, &["8 invoke send 4 client=1 partition=5 values=11+1"], FINAL]);
}
