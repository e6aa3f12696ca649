// SPDX-License-Identifier: Apache-2.0
//! What always holds, as predicates: called by property tests and by the simulator at every step.

use crate::log::partition::Partition;
use crate::shard::Shard;
use crate::subscription::Ledger;
use model::Offset;

/// One partition's invariants (`log/partition.rs`).
pub fn partition(partition: &Partition) -> Result<(), &'static str> {
    if partition.visible_start > partition.start {
        return Err("the visible start is beyond the decided one");
    }
    if partition.start > partition.next || partition.high > partition.next {
        return Err("a watermark is beyond the next offset");
    }
    if partition.stable() > partition.high {
        return Err("stable is beyond high");
    }
    if partition.visible_start > partition.high {
        return Err("the visible start is beyond high");
    }
    let mut covered = Offset(0);
    let runs = partition.runs.iter().map(|run| (run.first, run.end));
    let entries = partition.tail.iter().map(|entry| (entry.base, entry.end()));
    for (first, end) in runs.chain(entries) {
        if first < covered || first >= end {
            return Err("runs and tail entries overlap, or one is empty");
        }
        covered = end;
    }
    let mut next = partition.next;
    for entry in partition.tail.iter().rev() {
        if entry.end() != next {
            return Err("tail entries have a gap, or do not end at the next offset");
        }
        next = entry.base;
    }
    if covered > partition.next {
        return Err("a run ends beyond the next offset");
    }
    let bytes: u64 = partition.tail.iter().map(|entry| u64::from(entry.bytes)).sum();
    if bytes != partition.tail_bytes {
        return Err("the tail's bytes are miscounted");
    }
    Ok(())
}

/// A shard's invariants (`shard.rs`), its partitions included.
pub fn shard(shard: &Shard) -> Result<(), String> {
    if shard.durable_lsn() >= shard.tail.next() {
        return Err("a frame is durable that was never closed".into());
    }
    for found in shard.state.partitions.iter() {
        partition(found).map_err(|why| format!("partition {}: {why}", found.id))?;
        let runs = found.runs.iter().filter_map(|run| Some(shard.segments.run(run)?.1.bytes));
        if runs.sum::<u64>() != found.run_bytes {
            return Err(format!("partition {}: the runs' bytes are miscounted", found.id));
        }
        let last_visible = found.tail_index(found.high).checked_sub(1).and_then(|index| found.tail.get(index));
        if last_visible.is_some_and(|entry| shard.tail.lsn(entry) > shard.durable_lsn()) {
            return Err(format!("partition {}: records are visible that are not durable", found.id));
        }
    }
    let run_bytes: u64 = shard.state.partitions.iter().map(|partition| partition.run_bytes).sum();
    let dropped: u64 = shard.state.dropped.iter().map(|partition| partition.run_bytes).sum();
    let live_bytes: u64 = shard.segments.usages().map(|(_, usage)| usage.live_bytes).sum();
    if live_bytes != shard.segments.live_bytes() || run_bytes + dropped != live_bytes {
        return Err(format!("{run_bytes} bytes of runs are there, {live_bytes} are counted"));
    }
    let producers: usize = shard.state.partitions.iter().map(|partition| partition.producers.len()).sum();
    if producers as u64 != shard.state.producer_count {
        return Err(format!("{producers} producers are there, {} are counted", shard.state.producer_count));
    }
    if shard.state.producers_idle.len() != producers {
        return Err(format!("{producers} producers are there, {} are indexed", shard.state.producers_idle.len()));
    }
    Ok(())
}

/// A ledger's invariants (`subscription/lane.rs`): every record in exactly one state, and none miscounted.
pub fn ledger(ledger: &Ledger) -> Result<(), String> {
    ledger.holds()
}

/// That a partition whose log was never salvaged has every record from its start to its end.
pub fn dense(partition: &Partition) -> Result<(), &'static str> {
    let runs = partition.runs.iter().map(|run| (run.first, run.end));
    let entries = partition.tail.iter().map(|entry| (entry.base, entry.end()));
    let mut covered = None;
    for (first, end) in runs.chain(entries) {
        if covered.is_some_and(|covered| covered != first) {
            return Err("runs and tail entries have a gap");
        }
        covered = Some(end);
    }
    let starts_at = partition.runs.first().map(|run| run.first).or(partition.tail.front().map(|entry| entry.base));
    if starts_at.unwrap_or(partition.next) > partition.visible_start {
        return Err("records at the visible start are neither in a run nor in the tail");
    }
    if covered.is_some_and(|covered| covered != partition.next) {
        return Err("runs and tail entries do not end at the next offset");
    }
    Ok(())
}
