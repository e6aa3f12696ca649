// SPDX-License-Identifier: Apache-2.0
//! A few seeds of every scenario, and the simulator against itself.

use super::*;

#[track_caller]
fn clean(name: &str, seeds: std::ops::Range<u64>, shard_count: u32) {
    let run = named(name).expect("a scenario");
    for seed in seeds {
        let outcome = run(&Setup::of(seed, shard_count));
        if let Some(failure) = outcome.failure {
            panic!("polylog-sim {name} --seed {seed} --shards {shard_count}: {failure}\n{}", outcome.options);
        }
    }
}

#[test]
fn commands_on_a_failing_disk_keep_every_promise_on_one_shard() {
    clean("kernel", 1..201, 1);
}

#[test]
fn commands_on_a_failing_disk_keep_every_promise_on_two_shards() {
    clean("kernel", 1001..1201, 2);
}

#[test]
fn compacted_topics_keep_the_last_of_each_key_on_one_shard() {
    clean("compaction", 1..61, 1);
}

#[test]
fn compacted_topics_keep_the_last_of_each_key_on_two_shards() {
    clean("compaction", 101..141, 2);
}

#[test]
fn kafka_clients_lose_nothing_on_one_shard() {
    clean("kafka", 1..21, 1);
}

#[test]
fn kafka_clients_lose_nothing_on_two_shards() {
    clean("kafka", 101..121, 2);
}

#[test]
fn groups_keep_their_word_on_one_shard() {
    clean("groups", 1..9, 1);
}

#[test]
fn groups_keep_their_word_on_two_shards() {
    clean("groups", 101..109, 2);
}

#[test]
fn damage_at_rest_is_found_or_harmless() {
    clean("rot", 1..61, 1);
    clean("rot", 61..101, 2);
}

#[test]
fn a_seed_does_the_same_things_at_the_same_times_every_time() {
    for seed in 1..21 {
        for shard_count in [1, 2] {
            let setup = Setup::of(seed, shard_count);
            // The last takes longest.
            let runs: [Run; 5] = [kernel::run, kafka::run, rot::run, compaction::run, groups::run];
            for run in &runs[..if seed < 4 { 5 } else { 4 }] {
                let run = *run;
                let outcome = meta::twice(run, &setup);
                assert_eq!(outcome.failure, None, "seed {seed}, {shard_count} shards");
            }
        }
    }
}

#[test]
fn a_run_without_some_operations_is_the_same_run_without_them() {
    let setup = Setup { keep: Some(vec![0, 1, 2]), trace: true, ..Setup::of(5, 1) };
    let (first, second) = (kernel::run(&setup), kernel::run(&setup));
    assert_eq!(first.trace_hash, second.trace_hash);
    assert!(!first.trace.is_empty());
    assert_ne!(first.trace_hash, kernel::run(&Setup { keep: None, ..setup }).trace_hash);
}

#[test]
fn the_page_on_reliability_has_a_row_for_every_planted_bug_and_no_other() {
    let page = include_str!("../../../../docs/reliability.md");
    let (_, table) = page.split_once("<!-- planted -->").expect("the table begins");
    let (table, _) = table.split_once("<!-- /planted -->").expect("the table ends");
    let rows: Vec<String> =
        table.lines().filter(|line| line.starts_with("| A") || line.starts_with("| ours")).map(Into::into).collect();
    for bug in Bug::ALL {
        let begin = format!("| {} | {} | {} | ", bug.anomaly().unwrap_or("ours"), bug.name(), suited(bug));
        assert!(
            rows.iter().any(|row| row.starts_with(&begin)),
            "no row begins with {begin:?}: cargo xtask sim --planted"
        );
    }
    assert_eq!(rows.len(), Bug::ALL.len(), "a row for something that is not planted");
}
