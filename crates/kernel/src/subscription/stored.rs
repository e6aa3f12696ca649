// SPDX-License-Identifier: Apache-2.0
//! A ledger's bytes in a checkpoint.
//!
//! Owns: the layout of what survives. Must not know: what stands around it in a checkpoint's object.
//!
//! Layout (all varints; `keys` = count, then for each the distance to the one before):
//! ```text
//! lanes, each, the highest priority first:
//!   priority | floor | end - floor | bytes | granted
//!   settled: count, each { first - end of the one before (of the floor), length }
//!   failed: keys, each { failures } | due: keys, each { due ms, bytes } | moving: keys, each { bytes } | half: keys, each { tag, bytes }
//! ```

use crate::format::FormatError;
use crate::format::v1::fields::Fields;
use crate::format::v1::object::OFFSET_MAX;
use crate::subscription::lane::{Busy, Lane};
use crate::subscription::ledger::{Ledger, Settings};
use model::varint::write_u64;
use std::collections::BTreeMap;
use std::sync::Arc;

fn put_keys<T>(out: &mut Vec<u8>, keys: &BTreeMap<u64, T>, mut put: impl FnMut(&mut Vec<u8>, &T)) {
    write_u64(out, keys.len() as u64);
    let mut before = 0;
    for (key, value) in keys {
        write_u64(out, key - before);
        before = *key;
        put(out, value);
    }
}

/// Keys that ascend, from the floor to before the end.
fn read_keys<T>(fields: &mut Fields<'_>, lane: &Lane, mut read: impl FnMut(&mut Fields<'_>) -> T) -> BTreeMap<u64, T> {
    let mut keys = BTreeMap::new();
    let mut before = 0u64;
    for number in 0..fields.count(2) {
        let distance = fields.varint();
        let key = before.saturating_add(distance);
        fields.require((number == 0 || distance > 0) && key >= lane.floor && key < lane.end);
        before = key;
        keys.insert(key, read(fields));
    }
    keys
}

fn small(fields: &mut Fields<'_>) -> u32 {
    let value = fields.varint();
    fields.require(value <= u64::from(u32::MAX));
    value as u32
}

impl Ledger {
    /// Appends what survives.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let idle = Busy::default();
        write_u64(out, self.lanes.len() as u64);
        for (priority, lane) in &self.lanes {
            let busy = lane.busy.as_deref().unwrap_or(&idle);
            for value in [u64::from(*priority), lane.floor, lane.end - lane.floor, lane.bytes, lane.granted] {
                write_u64(out, value);
            }
            write_u64(out, busy.settled.ranges().count() as u64);
            let mut before = lane.floor;
            for (first, end) in busy.settled.ranges() {
                write_u64(out, first - before);
                write_u64(out, end - first);
                before = end;
            }
            put_keys(out, &busy.failed, |out, failures| write_u64(out, u64::from(*failures)));
            put_keys(out, &busy.due, |out, (due_ms, bytes)| {
                write_u64(out, *due_ms);
                write_u64(out, u64::from(*bytes));
            });
            put_keys(out, &busy.moving, |out, bytes| write_u64(out, u64::from(*bytes)));
            put_keys(out, &busy.half, |out, (tag, bytes)| {
                write_u64(out, *tag);
                write_u64(out, u64::from(*bytes));
            });
        }
    }

    /// Reads what [`Ledger::encode`] wrote, and nothing else. What is not well formed is damage, with its place in the bytes.
    pub fn decode(settings: Arc<Settings>, bytes: &[u8]) -> Result<Ledger, FormatError> {
        let mut fields = Fields::of(bytes);
        let ledger = read_ledger(settings, &mut fields);
        fields.end().map_err(|at| FormatError::damaged(at as u64, "a ledger is not well formed"))?;
        Ok(ledger)
    }
}

fn read_ledger(settings: Arc<Settings>, fields: &mut Fields<'_>) -> Ledger {
    let mut ledger = Ledger::new(settings);
    for _ in 0..fields.count(10) {
        let priority = fields.varint();
        let (floor, length) = (fields.varint(), fields.varint());
        let end = floor.saturating_add(length);
        fields.require(priority <= u64::from(u8::MAX) && end <= OFFSET_MAX);
        fields.require(ledger.lanes.last().is_none_or(|(before, _)| u64::from(*before) > priority));
        if fields.failed() {
            break;
        }
        let mut lane = Lane { floor, frontier: floor, end, ..Lane::default() };
        (lane.bytes, lane.granted) = (fields.varint(), fields.varint());
        let mut busy = Busy::default();
        let mut before = floor;
        for _ in 0..fields.count(2) {
            let first = before.saturating_add(fields.varint());
            let stop = first.saturating_add(fields.varint());
            // The floor is not settled, and two that touch are one.
            fields.require(first > before && stop > first && stop <= end);
            if fields.failed() {
                break;
            }
            busy.settled.insert(first, stop);
            before = stop;
        }
        busy.failed = read_keys(fields, &lane, small);
        busy.due = read_keys(fields, &lane, |fields| (fields.varint(), small(fields)));
        busy.moving = read_keys(fields, &lane, small);
        busy.half = read_keys(fields, &lane, |fields| (fields.varint(), small(fields)));
        busy.waiting = busy.due.iter().map(|(key, (due_ms, _))| (*due_ms, *key)).collect();
        let waiting = busy.due.values().chain(busy.half.values()).map(|(_, bytes)| u64::from(*bytes));
        busy.held_bytes = waiting.sum::<u64>() + busy.moving.values().map(|bytes| u64::from(*bytes)).sum::<u64>();
        let is_twice = |key: &u64| {
            busy.settled.contains(*key)
                || usize::from(busy.due.contains_key(key))
                    + usize::from(busy.moving.contains_key(key))
                    + usize::from(busy.half.contains_key(key))
                    > 1
        };
        let mut keys = busy.due.keys().chain(busy.moving.keys()).chain(busy.half.keys()).chain(busy.failed.keys());
        fields.require(!keys.any(is_twice));
        if !busy.is_idle() {
            lane.busy = Some(Box::new(busy));
        }
        ledger.lanes.push((priority as u8, lane));
    }
    ledger
}
