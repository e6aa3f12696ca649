// SPDX-License-Identifier: Apache-2.0
//! Recovery and the writer against a disk that loses power, rots, fails and fills up.

use super::frame::{self, FrameHeader, FrameKind, Life, PAGE, Place};
use super::offline::{FrameState, SlotOf, inspect_slot, read_for_salvage, verify};
use super::slot::{self, SlotPage};
use super::survey::Question;
use super::{LocalWal, WalOpenError, WalOptions};
use crate::contract::disk::TestDisk;
use crate::contract::wal::body_of;
use crate::disk::{DiskError, DiskOp, FileName};
use bytes::Bytes;
use model::media::{LentSlot, MediaError, Wal, WalDone, WalOp, WalOpened};
use model::{Corrupt, Lsn, ShardEpoch, ShardId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD: ShardId = ShardId(0);
const CLUSTER: [u8; 16] = [5; 16];
/// Sixteen pages.
const SLOT_BYTES: u64 = 64 * 1024;

fn options() -> WalOptions {
    WalOptions {
        shard: SHARD,
        cluster_id: CLUSTER,
        slot_bytes: SLOT_BYTES,
        slot_count: 4,
        slot_count_max: 12,
        epoch_min: ShardEpoch(0),
        nonce: 0x0123_4567_89ab_cdef,
        lent: BTreeSet::new(),
        may_create: true,
    }
}

fn question(from: u64) -> Question<'static> {
    static NONE: BTreeSet<u32> = BTreeSet::new();
    Question { shard: SHARD, cluster_id: CLUSTER, from: Lsn(from), may_be_new: false, lent: &NONE }
}

fn file(slot: u32) -> FileName {
    FileName::WalSlot { shard: SHARD, slot }
}

fn open(disk: &TestDisk, from: u64) -> (LocalWal<TestDisk>, WalOpened) {
    LocalWal::open(disk.clone(), options(), Lsn(from)).unwrap()
}

fn refused(disk: &TestDisk, from: u64) -> WalOpenError {
    let may_create = false;
    match LocalWal::open(disk.clone(), WalOptions { may_create, ..options() }, Lsn(from)) {
        Ok((_, opened)) => panic!("opened with frames up to {}", opened.next.0 - 1),
        Err(error) => error,
    }
}

fn append(wal: &mut LocalWal<TestDisk>, lsn: u64, bytes: usize) {
    wal.submit(WalOp::Append { lsn: Lsn(lsn), body: body_of(lsn, bytes) });
}

/// Appends one flush of frames and sees them durable.
fn flush(wal: &mut LocalWal<TestDisk>, lsns: std::ops::RangeInclusive<u64>, bytes: usize) {
    let last = *lsns.end();
    for lsn in lsns {
        append(wal, lsn, bytes);
    }
    wal.advance();
    let mut through = Lsn(0);
    while let Some(done) = wal.poll_done() {
        match done {
            WalDone::Durable { through: now } => through = now,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(through, Lsn(last));
}

fn settle(wal: &mut LocalWal<TestDisk>) {
    wal.submit(WalOp::Settle);
    wal.advance();
    assert!(wal.idle());
}

fn prepare_all(wal: &mut LocalWal<TestDisk>) {
    while wal.prepare_step() {}
}

fn check(opened: &WalOpened, from: u64, to: u64, bytes: usize) {
    let found: Vec<u64> = opened.frames.iter().map(|(lsn, _)| lsn.0).collect();
    assert_eq!(found, (from..=to).collect::<Vec<_>>());
    for (lsn, body) in &opened.frames {
        assert_eq!(*body, body_of(lsn.0, bytes), "frame {lsn}");
    }
    assert_eq!(opened.next, Lsn(to + 1));
}

/// Where frame `lsn` stands, in the youngest slot that has it: slot, position, bytes.
fn place_of(disk: &TestDisk, lsn: u64) -> (u32, u64, u64) {
    let mut places = Vec::new();
    for name in disk.names() {
        let (FileName::WalSlot { slot, .. }, Some(bytes)) = (name, disk.bytes(name)) else { continue };
        let report = inspect_slot(&bytes, None);
        let wanted = report.frames.iter().find(|frame| {
            frame.state == FrameState::Good && frame.kind == Some(FrameKind::Data) && frame.lsn == Lsn(lsn)
        });
        places.extend(wanted.map(|frame| (frame.life, (slot, frame.at, frame.bytes))));
    }
    places.into_iter().max().map(|(_, place)| place).expect("the frame is in some slot")
}

/// A small generator: the same numbers for the same seed.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below.max(1)
    }
}

/// A log whose slots have been used several times over: stale frames stand behind the last one.
fn recycled() -> (TestDisk, LocalWal<TestDisk>, u64) {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    prepare_all(&mut wal);
    let last = 80;
    for lsn in 1..=last {
        flush(&mut wal, lsn..=lsn, 5000);
        wal.submit(WalOp::Trim { below: Lsn(lsn.saturating_sub(4).max(1)) });
    }
    (disk, wal, last)
}

#[test]
fn cut_at_every_byte_of_the_last_two_frames_nothing_durable_is_lost_and_nothing_stale_returns() {
    let (disk, mut wal, last) = recycled();
    let from = last - 3;
    let before = disk.copy();
    flush(&mut wal, last + 1..=last + 1, 5000);
    flush(&mut wal, last + 2..=last + 2, 3000);
    let after = disk.copy();
    let (slot, first_at, first_bytes) = place_of(&after, last + 1);
    let (second_slot, second_at, second_bytes) = place_of(&after, last + 2);
    assert_eq!(slot, second_slot, "the case needs both in one slot");
    assert_eq!(second_at, first_at + first_bytes);
    let (old, new) = (before.bytes(file(slot)).unwrap(), after.bytes(file(slot)).unwrap());
    assert!(old[first_at as usize..(second_at + second_bytes) as usize].iter().any(|byte| *byte != 0), "stale frames");

    let head = frame::HEADER_BYTES as u64;
    let first_whole = first_at + head + 5000;
    let second_whole = second_at + head + 3000;
    let cuts = (first_at..=second_at + second_bytes).filter(|cut| {
        let near = |edge: u64| cut.abs_diff(edge) <= 2;
        cut % 512 <= 1
            || cut % 512 == 511
            || cut % 37 == 0
            || near(first_whole)
            || near(second_whole)
            || *cut < first_at + head
            || (second_at..second_at + head).contains(cut)
    });
    for cut in cuts {
        let torn = after.copy();
        let mut bytes = new[..cut as usize].to_vec();
        bytes.extend_from_slice(&old[cut as usize..]);
        torn.set_bytes(file(slot), bytes);
        let whole = last + u64::from(cut >= first_whole) + u64::from(cut >= second_whole);
        let (_, opened) = open(&torn, from);
        assert_eq!(opened.next.0 - 1, whole, "cut at {cut}");
        for (lsn, body) in &opened.frames {
            assert_eq!(*body, body_of(lsn.0, if lsn.0 == last + 2 { 3000 } else { 5000 }), "cut at {cut}");
        }
        torn.cut_power(|_| 0);
        assert_eq!(open(&torn, from).1.frames, opened.frames, "after a second loss of power, cut at {cut}");
    }
}

#[test]
fn a_flush_torn_in_any_order_is_cut_at_its_first_missing_frame() {
    for seed in 0..300 {
        let (disk, mut wal, last) = recycled();
        let mut choose = random(seed);
        for lsn in last + 1..=last + 4 {
            append(&mut wal, lsn, 2000 + 1500 * (lsn % 3) as usize);
        }
        // The write is done, the sync is not.
        disk.fail(|op| matches!(op, DiskOp::Sync { .. }).then(|| DiskError::Io("power".into())));
        wal.advance();
        disk.heal();
        disk.cut_power(&mut choose);
        let (_, opened) = open(&disk, last - 3);
        let end = opened.next.0 - 1;
        assert!((last..=last + 4).contains(&end), "{end}");
        assert!(opened.epoch > ShardEpoch(1));
        for (lsn, body) in &opened.frames {
            let bytes = if lsn.0 > last { 2000 + 1500 * (lsn.0 % 3) as usize } else { 5000 };
            assert_eq!(*body, body_of(lsn.0, bytes));
        }
        disk.cut_power(|_| 0);
        assert_eq!(open(&disk, last - 3).1.frames, opened.frames);
    }
}

/// A log over several slots and two lives, settled: everything in it is provable.
fn settled() -> (TestDisk, u64) {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    prepare_all(&mut wal);
    for lsn in 1..=9 {
        flush(&mut wal, lsn..=lsn, 6000);
    }
    settle(&mut wal);
    flush(&mut wal, 10..=12, 6000);
    drop(wal);
    let (mut wal, _) = open(&disk, 1);
    flush(&mut wal, 13..=14, 6000);
    settle(&mut wal);
    flush(&mut wal, 15..=15, 6000);
    settle(&mut wal);
    (disk, 15)
}

#[test]
fn rot_in_any_durable_frame_is_told_with_its_place_and_never_shortens_the_log() {
    let (disk, last) = settled();
    let mut tried = 0;
    for lsn in 1..=last {
        let (slot, at, _) = place_of(&disk, lsn);
        let head = frame::HEADER_BYTES as u64;
        let places = (0..head).chain([head, head + 1, head + 2999, head + 5999]);
        for place in places {
            let rotten = disk.copy();
            let mut bytes = rotten.bytes(file(slot)).unwrap();
            bytes[(at + place) as usize] ^= 1 << (place % 8);
            rotten.set_bytes(file(slot), bytes);
            match refused(&rotten, 1) {
                WalOpenError::Corrupt(Corrupt { name, at: told, .. }) => {
                    assert_eq!((name, told), (file(slot).to_string(), at), "frame {lsn}, byte {place}");
                }
                other => panic!("frame {lsn}, byte {place}: {other}"),
            }
            tried += 1;
        }
        // Zeros do not rot; they are never read.
        let fine = disk.copy();
        let mut bytes = fine.bytes(file(slot)).unwrap();
        bytes[(at + head + 6000) as usize] ^= 1;
        fine.set_bytes(file(slot), bytes);
        check(&open(&fine, 1).1, 1, last, 6000);
    }
    assert!(tried > 900);
}

#[test]
fn rot_in_a_slot_header_is_told_and_a_rotten_proof_too() {
    let (disk, last) = settled();
    for slot in 0..4 {
        let report = inspect_slot(&disk.bytes(file(slot)).unwrap(), None);
        let holds = (1..=last).any(|lsn| place_of(&disk, lsn).0 == slot);
        for place in 0..128 {
            let rotten = disk.copy();
            let mut bytes = rotten.bytes(file(slot)).unwrap();
            bytes[place] ^= 0x10;
            rotten.set_bytes(file(slot), bytes);
            if holds {
                match refused(&rotten, 1) {
                    WalOpenError::Corrupt(Corrupt { name, at: 0, .. }) => assert_eq!(name, file(slot).to_string()),
                    other => panic!("slot {slot}, byte {place}: {other}"),
                }
            } else {
                check(&open(&rotten, 1).1, 1, last, 6000);
            }
        }
        let proofs: Vec<_> = report.frames.iter().filter(|frame| frame.kind == Some(FrameKind::Proof)).collect();
        for proof in proofs {
            let rotten = disk.copy();
            let mut bytes = rotten.bytes(file(slot)).unwrap();
            bytes[proof.at as usize + 33] ^= 4;
            rotten.set_bytes(file(slot), bytes);
            if proof.lsn == Lsn(last) || place_of(&disk, proof.lsn.0 + 1).0 != slot {
                // The last thing needed in its slot: nothing tells of it, and it carried nothing.
                check(&open(&rotten, 1).1, 1, last, 6000);
            } else {
                match refused(&rotten, 1) {
                    WalOpenError::Corrupt(Corrupt { name, at, .. }) => {
                        assert_eq!((name, at), (file(slot).to_string(), proof.at));
                    }
                    other => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn a_page_that_went_back_to_zeros_or_stale_bytes_is_told() {
    let (disk, last) = settled();
    for lsn in 1..=last {
        let (slot, at, bytes_long) = place_of(&disk, lsn);
        for page in 0..bytes_long / PAGE {
            let rotten = disk.copy();
            let mut bytes = rotten.bytes(file(slot)).unwrap();
            let from = (at + page * PAGE) as usize;
            bytes[from..from + PAGE as usize].fill(0);
            rotten.set_bytes(file(slot), bytes);
            assert!(matches!(refused(&rotten, 1), WalOpenError::Corrupt(_)), "frame {lsn}, page {page}");
        }
    }
}

#[test]
fn damage_below_the_checkpoint_stops_nothing() {
    let (disk, last) = settled();
    let (slot, at, _) = place_of(&disk, 3);
    let mut bytes = disk.bytes(file(slot)).unwrap();
    bytes[at as usize + 40] ^= 1;
    disk.set_bytes(file(slot), bytes);
    assert!(matches!(refused(&disk, 3), WalOpenError::Corrupt(_)));
    check(&open(&disk, 4).1, 4, last, 6000);
}

#[test]
fn a_log_that_lacks_what_the_checkpoint_lies_on_is_damaged() {
    let (disk, last) = settled();
    check(&open(&disk.copy(), last + 1).1, last + 1, last, 6000);
    assert!(matches!(refused(&disk, last + 2), WalOpenError::Corrupt(_)));
    assert!(matches!(refused(&TestDisk::new(), 1), WalOpenError::Corrupt(Corrupt { at: 0, .. })));
    let (wal, opened) = open(&TestDisk::new(), 50);
    assert_eq!((opened.next, wal.epoch()), (Lsn(50), ShardEpoch(1)), "a new log may begin anywhere");
}

#[test]
fn a_missing_shortened_foreign_or_newer_file_is_refused_by_name() {
    let (disk, _) = settled();
    let with = |slot: u32, change: &dyn Fn(&mut Vec<u8>)| {
        let changed = disk.copy();
        let mut bytes = changed.bytes(file(slot)).unwrap();
        change(&mut bytes);
        changed.set_bytes(file(slot), bytes);
        refused(&changed, 1)
    };
    match with(1, &|bytes| bytes.truncate(3 * PAGE as usize)) {
        WalOpenError::Corrupt(Corrupt { name, at, .. }) => assert_eq!((name.as_str(), at), ("wal/00/0001", 3 * PAGE)),
        other => panic!("{other}"),
    }
    let other_cluster = WalOptions { cluster_id: [6; 16], ..options() };
    match LocalWal::open(disk.copy(), other_cluster, Lsn(1)) {
        Err(WalOpenError::Foreign { name, .. }) => assert_eq!(name, "wal/00/0000"),
        _ => panic!("a foreign log was opened"),
    }
    let newer = with(2, &|bytes| {
        bytes[4] = 9;
        let crc = model::crc::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    });
    assert_eq!(newer, WalOpenError::Newer { name: "wal/00/0002".into(), feature: "log format 9".into() });
    // One slot's bytes in another's place: a misdirected write.
    let misplaced = disk.copy();
    misplaced.set_bytes(file(0), disk.bytes(file(1)).unwrap());
    assert!(matches!(refused(&misplaced, 1), WalOpenError::Corrupt(Corrupt { at: 0, .. })));
    let removed = disk.copy();
    crate::disk::run(&mut removed.clone(), DiskOp::Remove { file: file(0) }).unwrap();
    match refused(&removed, 1) {
        WalOpenError::Corrupt(Corrupt { name, .. }) => assert_eq!(name, "wal/00/0000"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_failed_write_or_sync_fails_what_is_in_flight_and_everything_after() {
    for fails_sync in [false, true] {
        let disk = TestDisk::new();
        let (mut wal, _) = open(&disk, 1);
        flush(&mut wal, 1..=3, 100);
        append(&mut wal, 4, 100);
        let operations = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&operations);
        disk.fail(move |op| {
            seen.fetch_add(1, Ordering::Relaxed);
            let hit = if fails_sync { matches!(op, DiskOp::Sync { .. }) } else { matches!(op, DiskOp::WriteAt { .. }) };
            hit.then(|| DiskError::Io("input/output error".into()))
        });
        wal.advance();
        assert!(matches!(wal.poll_done(), Some(WalDone::Failed(MediaError::Io { .. }))));
        assert_eq!(wal.poll_done(), None);
        // The page may read well by now and a second sync succeed: neither proves anything.
        disk.heal();
        let before = operations.load(Ordering::Relaxed);
        append(&mut wal, 5, 100);
        wal.submit(WalOp::Settle);
        wal.advance();
        assert!(matches!(wal.poll_done(), Some(WalDone::Failed(_))));
        assert_eq!(wal.poll_done(), None);
        assert!(!wal.prepare_step() && wal.take_preparation().is_none());
        assert_eq!(operations.load(Ordering::Relaxed), before);
        disk.cut_power(|_| 0);
        check(&open(&disk, 1).1, 1, 3, 100);
    }
}

#[test]
fn no_space_for_a_fresh_slot_makes_appends_wait_and_poisons_nothing() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    disk.room(Some(SLOT_BYTES + 20_000));
    for lsn in 1..=30 {
        append(&mut wal, lsn, 6000);
        wal.advance();
    }
    let mut durable = 0;
    let mut told = 0;
    while let Some(done) = wal.poll_done() {
        match done {
            WalDone::Durable { through } => durable = through.0,
            WalDone::Room { is_there: false } => told += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 1);
    assert!((5..30).contains(&durable));
    let figures = wal.figures();
    assert!(matches!(figures.preparing_failed, Some(MediaError::NoSpace { .. })));
    assert!(figures.waiting_for_slot && figures.staged_frames == 30 - durable);
    // Room again, by a trim that frees nothing here, then by space.
    disk.room(None);
    while durable < 30 {
        assert!(wal.prepare_step() || wal.figures().staged_frames == 0);
        match wal.poll_done() {
            Some(WalDone::Durable { through }) => durable = through.0,
            Some(WalDone::Room { is_there: true }) => told -= 1,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    prepare_all(&mut wal);
    assert!(wal.poll_done() == Some(WalDone::Room { is_there: true }) || told == 0);
    disk.cut_power(|_| 0);
    check(&open(&disk, 1).1, 1, 30, 6000);
}

#[test]
fn on_a_full_disk_one_slot_is_kept_back_for_the_next_open() {
    for bytes in [900, 6000, 20_000, 57_000] {
        let disk = TestDisk::new();
        let (mut wal, _) = open(&disk, 1);
        prepare_all(&mut wal);
        disk.room(Some(stored_bytes(&disk)));
        let (mut last, mut durable) = (0, 0);
        for life in 0..20 {
            while !wal.figures().waiting_for_slot {
                last += 1;
                append(&mut wal, last, bytes);
                while let Some(done) = wal.poll_done() {
                    assert!(matches!(done, WalDone::Durable { .. } | WalDone::Room { .. }), "{done:?}");
                }
                durable = wal.durable().0;
                assert!(last < 1000, "the disk is full");
            }
            drop(wal);
            disk.cut_power(random(life));
            let opened;
            (wal, opened) = open(&disk, 1);
            last = opened.next.0 - 1;
            assert!(last >= durable);
            check(&opened, 1, last, bytes);
        }
        // With a trim it goes on.
        wal.submit(WalOp::Trim { below: Lsn(last) });
        flush(&mut wal, last + 1..=last + 1, bytes);
    }
}

#[test]
fn when_trims_lag_slots_grow_to_their_bound_then_appends_wait_for_a_trim() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    let mut durable = 0;
    let mut lsn = 0;
    while !wal.figures().waiting_for_slot {
        lsn += 1;
        append(&mut wal, lsn, 6000);
        while let Some(WalDone::Durable { through }) = wal.poll_done() {
            durable = through.0;
        }
        assert!(lsn < 500);
    }
    assert_eq!(wal.figures().slots, 12);
    wal.submit(WalOp::Trim { below: Lsn(durable - 10) });
    wal.advance();
    assert_eq!(wal.poll_done(), Some(WalDone::Durable { through: Lsn(lsn) }));
    drop(wal);
    check(&open(&disk, durable - 10).1, durable - 10, lsn, 6000);
}

#[test]
fn frames_recovered_unsynced_are_made_durable_before_they_are_returned() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    flush(&mut wal, 1..=2, 700);
    drop(wal);
    let mut wal = LocalWal::open(disk.clone().late(1000), options(), Lsn(1)).unwrap().0;
    for lsn in 3..=7 {
        append(&mut wal, lsn, 700);
    }
    wal.advance();
    // The process is killed between write and sync; the system still shows the bytes.
    disk.kill();
    drop(wal);
    let (_, opened) = open(&disk, 1);
    check(&opened, 1, 7, 700);
    assert_eq!(opened.copied_forward, 5);
    // Only then does the power fail.
    disk.cut_power(|_| 0);
    let (_, again) = open(&disk, 1);
    assert_eq!(again.frames, opened.frames);
    assert_eq!(again.copied_forward, 0);
}

#[test]
fn an_open_that_is_cut_off_at_any_operation_loses_nothing() {
    for seed in 0..8 {
        for operations in 0..40 {
            let disk = TestDisk::new();
            let (mut wal, _) = open(&disk, 1);
            for lsn in 1..=6 {
                flush(&mut wal, lsn..=lsn, 5000);
            }
            for lsn in 7..=9 {
                append(&mut wal, lsn, 5000);
            }
            let mut choose = random(seed * 100 + operations);
            disk.fail(|op| matches!(op, DiskOp::Sync { .. }).then(|| DiskError::Io("killed".into())));
            wal.advance();
            disk.heal();
            // The first open after it dies at some operation; what it wrote survives in part.
            let mut left = operations;
            disk.fail(move |_| {
                left = left.saturating_sub(1);
                (left == 0).then(|| DiskError::Io("killed".into()))
            });
            let first = LocalWal::open(disk.clone(), options(), Lsn(1)).map(|(_, opened)| opened);
            disk.heal();
            disk.cut_power(&mut choose);
            let (_, opened) = open(&disk, 1);
            let end = opened.next.0 - 1;
            assert!((6..=9).contains(&end));
            check(&opened, 1, end, 5000);
            if let Ok(first) = first {
                assert_eq!(first.frames, opened.frames, "what an open returned is never lost");
                assert!(opened.epoch > first.epoch);
            }
        }
    }
}

/// Found by the simulator: a damaged copy that nobody wanted any more hid the frames behind it.
#[test]
fn a_rotten_copy_below_the_checkpoint_hides_nothing() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    flush(&mut wal, 1..=2, 700);
    let (mut wal, opened) = open(&disk, 1);
    assert_eq!(opened.copied_forward, 2);
    flush(&mut wal, 3..=3, 700);
    let (slot, at, _) = place_of(&disk, 2);
    let mut bytes = disk.bytes(file(slot)).unwrap();
    bytes[at as usize..][..PAGE as usize].fill(0);
    disk.set_bytes(file(slot), bytes);
    check(&open(&disk, 3).1, 3, 3, 700);
}

/// Found by the simulator: the copies of an open that was killed before its sync were taken for durable, because their marks were true
/// of the older place; that place was then set free and overwritten. Found later: what shows that copies were synced is lost with the
/// power when the open that wrote it failed, though a second open had relied on it.
#[test]
fn copies_that_a_killed_open_never_synced_do_not_replace_older_ones() {
    for (first, bytes) in (1..30).flat_map(|first| [(first, 100), (first, 5000)]) {
        for (second, power) in (1..30).flat_map(|second| [(second, false), (second, true)]) {
            let disk = TestDisk::new();
            let (mut wal, _) = open(&disk, 1);
            flush(&mut wal, 1..=5, bytes);
            drop(wal);
            let (mut wal, _) = open(&disk, 1);
            flush(&mut wal, 6..=8, bytes);
            for operations in [first, second] {
                let mut left = operations;
                disk.fail(move |_| {
                    left -= i32::from(left > 0);
                    (left == 0).then(|| DiskError::Io("killed".into()))
                });
                let _ = LocalWal::open(disk.clone(), options(), Lsn(6));
                disk.heal();
                disk.kill();
            }
            if power {
                disk.cut_power(|_| 0);
            }
            let (_, opened) = open(&disk, 6);
            check(&opened, 6, 8, bytes);
            disk.cut_power(|_| 0);
            check(&open(&disk, 6).1, 6, 8, bytes);
        }
    }
}

#[test]
fn slots_are_used_again_over_many_wraps() {
    let disk = TestDisk::new();
    let mut from = 1;
    let mut last = 0;
    let mut choose = random(7);
    let mut epoch = ShardEpoch(0);
    for _ in 0..40 {
        let (mut wal, opened) = open(&disk, from);
        assert!(opened.epoch > epoch);
        epoch = opened.epoch;
        check(&opened, from, last, 3000);
        prepare_all(&mut wal);
        for _ in 0..50 {
            last += 1;
            flush(&mut wal, last..=last, 3000);
            if choose(3) == 0 {
                settle(&mut wal);
            }
            if last > 8 {
                from = last - choose(8);
                wal.submit(WalOp::Trim { below: Lsn(from) });
            }
        }
        // The usual number, and one that was made when only the one kept back was left.
        assert!(wal.figures().slots <= 5);
    }
}

#[test]
fn a_hundred_opens_in_a_row_do_not_use_up_the_slots() {
    let disk = TestDisk::new();
    for life in 0..100 {
        let (mut wal, opened) = open(&disk, 1);
        check(&opened, 1, life, 900);
        if life % 3 == 0 {
            prepare_all(&mut wal);
        }
        flush(&mut wal, life + 1..=life + 1, 900);
    }
    assert!(disk.names().len() <= 12, "{} slots", disk.names().len());
    for _ in 0..50 {
        open(&disk, 1);
    }
    assert!(disk.names().len() <= 12);
    check(&open(&disk, 101).1, 101, 100, 900);
}

#[test]
fn a_tail_of_many_full_slots_survives_restarts() {
    let disk = TestDisk::new();
    let mut last = 0;
    for _ in 0..8 {
        let (mut wal, opened) = open(&disk, 1);
        check(&opened, 1, last, 10_000);
        flush(&mut wal, last + 1..=last + 4, 10_000);
        last += 4;
    }
    // Eight slots' worth with the bound at twelve: full ones stay where they are.
    assert!(disk.names().len() <= 13, "{} slots", disk.names().len());
}

#[test]
fn what_a_client_publishes_is_never_taken_for_a_frame() {
    // A client that knows cluster, slot and position, but not the nonce, sends bytes that look like a frame which proves that
    // frames far ahead were durable, or like one of a newer version. Then its own frame is torn so that only those bytes survive.
    for newer in [false, true] {
        let disk = TestDisk::new();
        let (mut wal, _) = open(&disk, 1);
        flush(&mut wal, 1..=1, 100);
        let at = 3 * PAGE;
        let header = FrameHeader {
            kind: FrameKind::Data,
            shard: SHARD,
            body_bytes: 0,
            life: Life { epoch: ShardEpoch(1), turn: 1, nonce: 0 },
            lsn: Lsn(900),
            durable: Lsn(899),
            previous_crc: 0,
        };
        let place = Place { cluster_id: &CLUSTER, slot: 0, at };
        let (mut forged, _) = frame::encode(&header, place, &[]);
        if newer {
            forged[5] = 9;
            let covered = [&CLUSTER[..], &0u32.to_le_bytes(), &at.to_le_bytes(), &forged[..60]].concat();
            forged[60..].copy_from_slice(&model::crc::crc32c(&covered).to_le_bytes());
            assert!(matches!(frame::decode(place, SHARD, &forged), Err(frame::FrameFault::Newer(_))));
        }
        let mut body = vec![0; PAGE as usize - frame::HEADER_BYTES];
        body.extend_from_slice(&forged);
        body.resize(body.len() + 10_000, 0);
        wal.submit(WalOp::Append { lsn: Lsn(2), body: Bytes::from(body) });
        wal.advance();
        let mut bytes = disk.bytes(file(0)).unwrap();
        assert_eq!(frame::claimed_life(&bytes[at as usize..]), Some(header.life), "the case stands where it must");
        bytes[2 * PAGE as usize..3 * PAGE as usize].fill(0);
        disk.set_bytes(file(0), bytes);
        check(&open(&disk, 1).1, 1, 1, 100);
    }
}

#[test]
fn a_frame_larger_than_a_slot_gets_one_that_fits() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    for lsn in 1..=6 {
        let bytes = if lsn % 2 == 0 { 200_000 } else { 10 };
        flush(&mut wal, lsn..=lsn, bytes);
        wal.submit(WalOp::Trim { below: Lsn(lsn) });
    }
    disk.cut_power(|_| 0);
    let (_, opened) = open(&disk, 6);
    assert_eq!(opened.frames, [(Lsn(6), body_of(6, 200_000))]);
}

#[test]
fn slots_of_a_smaller_tail_do_not_bind_a_larger_one() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    prepare_all(&mut wal);
    drop(wal);
    let larger = WalOptions { slot_bytes: 8 * SLOT_BYTES, ..options() };
    let (mut wal, _) = LocalWal::open(disk.clone(), larger.clone(), Lsn(1)).unwrap();
    let frames = larger.slot_bytes * 4 / 8192;
    for lsn in 1..=frames {
        flush(&mut wal, lsn..=lsn, 6000);
    }
    drop(wal);
    check(&LocalWal::open(disk, larger, Lsn(1)).unwrap().1, 1, frames, 6000);
}

#[test]
fn slots_can_be_prepared_elsewhere() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    let mut elsewhere = disk.clone();
    let mut prepared = 0;
    while let Some(mut preparation) = wal.take_preparation() {
        assert!(wal.take_preparation().is_none(), "one at a time");
        flush(&mut wal, prepared + 1..=prepared + 1, 10);
        while !preparation.step(&mut elsewhere).unwrap() {}
        wal.give_preparation(preparation);
        prepared += 1;
    }
    assert_eq!((prepared, wal.figures().slots_free), (3, 3));

    // Whoever prepares finds no space: it is told once there is no other slot, before frames wait.
    wal.submit(WalOp::Lend { below: Lsn(1) });
    assert_eq!(wal.poll_done(), Some(WalDone::Lent { slots: Vec::new() }));
    let mut preparation = wal.take_preparation().expect("one to lend");
    wal.preparation_fails(MediaError::NoSpace { name: "slot".into() });
    assert_eq!(wal.poll_done(), None);
    let (mut last, mut done) = (prepared, None);
    while done != Some(WalDone::Room { is_there: false }) {
        assert!(matches!(done, None | Some(WalDone::Durable { .. })), "{done:?}");
        last += 1;
        append(&mut wal, last, 5000);
        done = wal.poll_done();
        if matches!(done, Some(WalDone::Durable { .. })) {
            done = wal.poll_done();
        }
    }
    assert_eq!((wal.poll_done(), wal.durable()), (None, Lsn(last)));
    while !preparation.step(&mut elsewhere).unwrap() {}
    wal.give_preparation(preparation);
    assert_eq!(wal.poll_done(), Some(WalDone::Room { is_there: true }));
}

/// The bodies of lent slots stand where it was said.
fn check_lent(disk: &TestDisk, lent: &[LentSlot], bytes: usize) {
    for slot in lent {
        let stored = disk.bytes(file(slot.slot)).unwrap();
        for (lsn, at) in &slot.frames {
            let body = stored.get(*at as usize..*at as usize + bytes);
            assert_eq!(body, Some(&body_of(lsn.0, bytes)[..]), "frame {lsn} in slot {}", slot.slot);
        }
    }
}

/// Slots that were lent one after the other, nothing else in the log any more: with the number of the last frame.
fn lent(disk: &TestDisk, slots: usize) -> (LocalWal<TestDisk>, Vec<LentSlot>, u64) {
    let (mut wal, _) = open(disk, 1);
    let (mut lent, mut last) = (Vec::new(), 0);
    while lent.len() < slots {
        prepare_all(&mut wal);
        last += 1;
        flush(&mut wal, last..=last, 5000);
        lent.append(&mut wal.lend(Lsn(last + 1)));
        wal.submit(WalOp::Trim { below: Lsn(last) });
    }
    (wal, lent, last)
}

fn open_lent(disk: &TestDisk, from: u64, lent: &[LentSlot]) -> (LocalWal<TestDisk>, WalOpened) {
    let lent = lent.iter().map(|slot| slot.slot).collect();
    LocalWal::open(disk.clone(), WalOptions { lent, ..options() }, Lsn(from)).unwrap()
}

#[test]
fn only_slots_that_are_written_for_good_and_end_in_time_are_lent() {
    let disk = TestDisk::new();
    let (mut wal, _) = open(&disk, 1);
    assert_eq!(wal.lend(Lsn(1)), []);
    prepare_all(&mut wal);
    // The first slot of a log is smaller, the others take seven such frames.
    for lsn in 1..=20 {
        flush(&mut wal, lsn..=lsn, 5000);
    }
    assert_eq!(wal.figures().slots, 4 + 1, "one more than usual, now that some are asked for");
    prepare_all(&mut wal);
    let mut all: Vec<LentSlot> = Vec::new();
    for round in 0..4 {
        let lent = wal.lend(Lsn(21));
        assert_eq!(
            lent.len(),
            usize::from(round < 2),
            "the oldest, then the next, each once; the third is still written to"
        );
        assert_eq!(wal.lend(Lsn(21)), [], "what the log has beyond the usual number is lent");
        all.extend(lent);
        prepare_all(&mut wal);
    }
    let ends: Vec<u64> = all.iter().filter_map(|slot| slot.frames.last()).map(|(lsn, _)| lsn.0).collect();
    assert_eq!(ends, [7, 14]);
    check_lent(&disk, &all, 5000);
    wal.give_back(all[1].slot);
    assert_eq!(wal.lend(Lsn(14)), [], "its last frame is not below");
    assert_eq!(wal.figures().slots_lent, 1);
    drop(wal);
    assert_eq!(open(&disk, 1).0.lend(Lsn(21)), [], "where frames of an earlier life stand is not known");
}

#[test]
fn lent_slots_are_not_written_before_they_are_given_back() {
    let disk = TestDisk::new();
    let (mut wal, first, mut last) = lent(&disk, 2);
    let mut write = |wal: &mut LocalWal<TestDisk>| {
        for _ in 0..100 {
            prepare_all(wal);
            last += 1;
            flush(wal, last..=last, 5000);
            wal.submit(WalOp::Trim { below: Lsn(last) });
        }
        last
    };
    write(&mut wal);
    check_lent(&disk, &first, 5000);
    assert_eq!(wal.figures().slots, 2 + 4 + 1, "the usual number and one to lend beside the lent ones");
    drop(wal);
    for _ in 0..3 {
        disk.cut_power(|_| 0);
        let from = last_of(&disk);
        let (mut wal, _) = open_lent(&disk, from, &first);
        assert_eq!(wal.figures().slots_lent, 2);
        write(&mut wal);
        check_lent(&disk, &first, 5000);
    }
    let (mut wal, _) = open_lent(&disk, last_of(&disk), &first);
    for slot in &first {
        wal.give_back(slot.slot);
    }
    write(&mut wal);
    assert_eq!(wal.figures().slots, 2 + 4 + 1, "what came back is used again");
    let stored = disk.bytes(file(first[0].slot)).unwrap();
    assert_ne!(stored[first[0].frames[0].1 as usize..][..5000], body_of(1, 5000)[..]);
}

/// The youngest frame there is.
fn last_of(disk: &TestDisk) -> u64 {
    let slots = disk.names().into_iter().filter_map(|name| disk.bytes(name));
    let frames = slots.flat_map(|bytes| inspect_slot(&bytes, None).frames);
    frames.filter(|frame| frame.state == FrameState::Good).map(|frame| frame.lsn.0).max().unwrap_or(1)
}

#[test]
fn a_lent_file_that_is_missing_stops_the_start() {
    let disk = TestDisk::new();
    let (wal, _, last) = lent(&disk, 1);
    drop(wal);
    let missing = WalOptions { lent: BTreeSet::from([30]), ..options() };
    match LocalWal::open(disk, missing, Lsn(last)) {
        Err(WalOpenError::Corrupt(Corrupt { name, at: 0, why })) => {
            assert!(name == "wal/00/0030" && why.contains("missing"), "{name}: {why}");
        }
        other => panic!("{:?}", other.map(|(_, opened)| opened)),
    }
}

#[test]
fn a_slot_lent_before_the_checkpoint_that_names_it_is_still_the_log() {
    for seed in 0..20 {
        let disk = TestDisk::new();
        let (mut wal, mut lent) = (open(&disk, 1).0, Vec::new());
        let mut last = 0;
        while lent.len() < 3 {
            prepare_all(&mut wal);
            last += 1;
            flush(&mut wal, last..=last, 5000);
            lent.append(&mut wal.lend(Lsn(last + 1)));
        }
        drop(wal);
        disk.cut_power(random(seed));
        let (_, opened) = open(&disk, 1);
        check(&opened, 1, last, 5000);
        assert_eq!(read_for_salvage(&mut disk.clone(), question(1)).unwrap().frames, opened.frames);
    }
}

#[test]
fn a_slot_lent_by_a_checkpoint_after_which_the_log_was_not_trimmed_is_not_written() {
    let disk = TestDisk::new();
    let (mut wal, mut lent) = (open(&disk, 1).0, Vec::new());
    let mut last = 0;
    while lent.is_empty() {
        prepare_all(&mut wal);
        last += 1;
        flush(&mut wal, last..=last, 5000);
        lent = wal.lend(Lsn(last + 1));
    }
    let mut from = lent[0].frames.last().unwrap().0.0 + 1;
    drop(wal);
    for seed in 0..10 {
        disk.cut_power(random(seed));
        let (mut wal, opened) = open_lent(&disk, from, &lent);
        check(&opened, from, last, 5000);
        for _ in 0..100 {
            prepare_all(&mut wal);
            last += 1;
            flush(&mut wal, last..=last, 5000);
            wal.submit(WalOp::Trim { below: Lsn(last) });
        }
        from = last;
        check_lent(&disk, &lent, 5000);
    }
}

/// The next slot was begun, its header and first frame were never synced: the lent one is the youngest that there is.
#[test]
fn a_lent_slot_may_be_the_youngest() {
    for seed in 0..40 {
        let disk = TestDisk::new();
        let (wal, _, last) = lent(&disk, 1);
        drop(wal);
        let (mut wal, _) = LocalWal::open(disk.clone().late(3), options(), Lsn(last + 1)).unwrap();
        wal.lend(Lsn(last));
        prepare_all(&mut wal);
        let mut end = last;
        let lent = loop {
            end += 1;
            append(&mut wal, end, 5000);
            // Written, not synced.
            while wal.figures().in_flight_frames == 0 {
                assert_eq!(wal.poll_done(), None);
            }
            let lent = wal.lend(Lsn(end));
            if !lent.is_empty() {
                break lent;
            }
            while !wal.idle() {
                wal.poll_done();
            }
            prepare_all(&mut wal);
        };
        let cut = lent[0].frames.last().unwrap().0.0;
        assert_eq!(cut, end - 1);
        let mut from = end;
        drop(wal);
        disk.cut_power(random(seed));
        for again in 0..3 {
            let (mut wal, opened) = open_lent(&disk, from, &lent);
            assert!(opened.next == Lsn(end) || opened.next == Lsn(end + 1), "{:?}", opened.next);
            assert_eq!(wal.figures().slots_lent, 1);
            end = opened.next.0;
            for _ in 0..30 {
                prepare_all(&mut wal);
                flush(&mut wal, end..=end, 5000);
                wal.submit(WalOp::Trim { below: Lsn(end) });
                (from, end) = (end, end + 1);
            }
            check_lent(&disk, &lent, 5000);
            drop(wal);
            disk.cut_power(random(seed * 3 + again));
        }
    }
}

/// After its segment is gone a slot counts as lent or not, as the checkpoint that is found says: it is free in either case.
#[test]
fn a_slot_may_be_taken_for_lent_or_for_free_once_nobody_names_it() {
    for seed in 0..20 {
        let disk = TestDisk::new();
        let (mut wal, all, last) = lent(&disk, 2);
        wal.give_back(all[0].slot);
        flush(&mut wal, last + 1..=last + 3, 5000);
        drop(wal);
        disk.cut_power(random(seed));
        let (wal, opened) = open_lent(&disk.copy(), last, &all);
        check(&opened, last, last + 3, 5000);
        drop(wal);
        let (mut wal, opened) = open_lent(&disk, last, &all[1..]);
        check(&opened, last, last + 3, 5000);
        for lsn in last + 4..last + 60 {
            prepare_all(&mut wal);
            flush(&mut wal, lsn..=lsn, 5000);
            wal.submit(WalOp::Trim { below: Lsn(lsn) });
        }
        check_lent(&disk, &all[1..], 5000);
        let stored = disk.bytes(file(all[0].slot)).unwrap();
        assert_ne!(
            stored[all[0].frames[0].1 as usize..][..5000],
            body_of(all[0].frames[0].0.0, 5000)[..],
            "used again"
        );
    }
}

/// Their headers may have rotted: whoever has the slot looks at the blocks, not at them.
#[test]
fn what_is_damaged_in_a_lent_slot_is_nothing_to_the_log() {
    let disk = TestDisk::new();
    let (wal, all, last) = lent(&disk, 3);
    drop(wal);
    for slot in &all {
        let mut bytes = disk.bytes(file(slot.slot)).unwrap();
        bytes[20] ^= 1;
        bytes[slot.frames[0].1 as usize - 30] ^= 1;
        disk.set_bytes(file(slot.slot), bytes);
    }
    let numbers = all.iter().map(|slot| slot.slot).collect();
    let asked = Question { lent: &numbers, ..question(last) };
    assert_eq!(verify(&mut disk.clone(), asked).unwrap().last, Lsn(last));
    let salvaged = read_for_salvage(&mut disk.clone(), asked).unwrap();
    assert_eq!((salvaged.frames.len(), salvaged.lost.len(), salvaged.notes.len()), (1, 0, 0));
    let (wal, opened) = open_lent(&disk, last, &all);
    check(&opened, last, last, 5000);
    assert_eq!(wal.figures().slots_lent, 3);
}

/// Nothing can be made any more: the log goes on with what it has, as if nobody had asked.
#[test]
fn on_a_full_disk_nothing_is_lent_that_the_log_would_miss() {
    let disk = TestDisk::new();
    let (mut wal, mut last) = (open(&disk, 1).0, 0);
    prepare_all(&mut wal);
    disk.room(Some(stored_bytes(&disk)));
    for _ in 0..100 {
        last += 1;
        flush(&mut wal, last..=last, 5000);
        assert_eq!(wal.lend(Lsn(last + 1)), []);
        wal.submit(WalOp::Trim { below: Lsn(last) });
        wal.prepare_step();
    }
    let figures = wal.figures();
    assert!(figures.preparing_failed.is_some() && figures.slots == 4, "{figures:?}");
    disk.room(None);
    prepare_all(&mut wal);
    flush(&mut wal, last + 1..=last + 12, 5000);
    assert_eq!(wal.lend(Lsn(last + 12)).len(), 1);
}

fn stored_bytes(disk: &TestDisk) -> u64 {
    disk.names().into_iter().filter_map(|name| disk.bytes(name)).map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn of_slots_that_come_back_no_more_are_kept_than_the_log_may_have() {
    let disk = TestDisk::new();
    let (mut wal, first, last) = lent(&disk, 40);
    let names = disk.names().len();
    assert!(stored_bytes(&disk) > 40 * SLOT_BYTES);
    for slot in &first {
        wal.give_back(slot.slot);
    }
    prepare_all(&mut wal);
    assert!(stored_bytes(&disk) <= 13 * SLOT_BYTES + 40 * PAGE, "{} bytes", stored_bytes(&disk));
    assert_eq!(disk.names().len(), names, "numbers stay");
    disk.cut_power(|_| 0);
    let (mut wal, opened) = open(&disk, last);
    check(&opened, last, last, 5000);
    // They are the first to be used when more are wanted.
    prepare_all(&mut wal);
    for lsn in last + 1..last + 150 {
        flush(&mut wal, lsn..=lsn, 5000);
        wal.lend(Lsn(lsn));
        wal.submit(WalOp::Trim { below: Lsn(lsn) });
        prepare_all(&mut wal);
    }
    assert_eq!(disk.names().len(), names);
}

#[test]
fn power_lost_at_any_operation_while_slots_come_back_loses_nothing() {
    let made = TestDisk::new();
    let (wal, all, last) = lent(&made, 16);
    drop(wal);
    for operations in 0..60 {
        let disk = made.copy();
        let (mut wal, _) = open_lent(&disk, last, &all);
        let kept = &all[..2];
        for slot in &all[2..] {
            wal.give_back(slot.slot);
        }
        let mut left: u64 = operations;
        disk.fail(move |_| {
            left = left.saturating_sub(1);
            (left == 0).then(|| DiskError::Io("power".into()))
        });
        for _ in 0..operations {
            wal.prepare_step();
        }
        disk.heal();
        // What failed is done anew, and what follows may rely on it.
        prepare_all(&mut wal);
        let end = last + 40;
        for lsn in last + 1..=end {
            flush(&mut wal, lsn..=lsn, 5000);
            prepare_all(&mut wal);
        }
        drop(wal);
        disk.cut_power(random(operations));
        let (_, opened) = open_lent(&disk, last, kept);
        check(&opened, last, end, 5000);
        check_lent(&disk, kept, 5000);
    }
}

#[test]
fn a_disk_that_cannot_allocate_has_its_slots_filled_and_one_without_space_is_asked_again() {
    for refusal in [DiskError::Io("not supported".into()), DiskError::NoSpace] {
        let disk = TestDisk::new();
        let (mut wal, _, last) = lent(&disk, 1);
        prepare_all(&mut wal);
        let asked = Arc::new(AtomicU64::new(0));
        let (told, answer) = (asked.clone(), refusal.clone());
        disk.fail(move |op| {
            let allocates = matches!(op, DiskOp::Allocate { .. });
            (allocates && told.fetch_add(1, Ordering::Relaxed) < 2).then(|| answer.clone())
        });
        for lsn in last + 1..last + 8 {
            flush(&mut wal, lsn..=lsn, 5000);
        }
        assert_eq!(wal.lend(Lsn(last + 8)).len(), 1);
        prepare_all(&mut wal);
        assert_eq!(wal.figures().slots, 2 + 4 + 1, "the usual number and one to lend beside the lent ones");
        let times = if refusal == DiskError::NoSpace { 3 } else { 1 };
        assert_eq!(asked.load(Ordering::Relaxed), times);
    }
}

#[test]
fn inspecting_tells_good_stale_torn_and_rotten_frames_apart() {
    let (disk, mut wal, last) = recycled();
    flush(&mut wal, last + 1..=last + 1, 100);
    let states = |disk: &TestDisk, slot: u32| {
        let report = inspect_slot(&disk.bytes(file(slot)).unwrap(), None);
        report.frames.into_iter().map(|frame| (frame.lsn.0, frame.state)).collect::<Vec<_>>()
    };
    let (slot, at, _) = place_of(&disk, last + 1);
    let all = states(&disk, slot);
    assert!(all.contains(&(last + 1, FrameState::Good)));
    assert!(all.iter().any(|(lsn, state)| *lsn < last - 8 && *state == FrameState::Stale), "{all:?}");

    let torn = disk.copy();
    let mut bytes = torn.bytes(file(slot)).unwrap();
    bytes[at as usize + 70] ^= 1;
    torn.set_bytes(file(slot), bytes.clone());
    assert!(states(&torn, slot).contains(&(last + 1, FrameState::Torn)));

    settle(&mut wal);
    let rotten = disk.copy();
    let mut bytes = rotten.bytes(file(slot)).unwrap();
    bytes[at as usize + 70] ^= 1;
    rotten.set_bytes(file(slot), bytes.clone());
    assert!(states(&rotten, slot).contains(&(last + 1, FrameState::Rotten)));

    // Without a header someone must say whose slot it is.
    bytes[16] ^= 1;
    let report = inspect_slot(&bytes, None);
    assert!(matches!(report.page, SlotPage::Bad(_)) && report.frames.is_empty());
    let of = SlotOf { cluster_id: CLUSTER, shard: SHARD, slot };
    assert!(inspect_slot(&bytes, Some(of)).frames.iter().any(|frame| frame.state == FrameState::Good));
    inspect_slot(&[], Some(of));
    inspect_slot(&bytes[..5000], Some(of));
}

#[test]
fn verifying_agrees_with_opening() {
    let (disk, last) = settled();
    let found = verify(&mut disk.clone(), question(1)).unwrap();
    assert_eq!((found.first, found.last, found.unproven, found.torn_at), (Lsn(1), Lsn(last), 0, None));
    assert_eq!(found.body_bytes, last * 6000);
    let (slot, at, _) = place_of(&disk, 5);
    let mut bytes = disk.bytes(file(slot)).unwrap();
    bytes[at as usize + 100] ^= 1;
    disk.set_bytes(file(slot), bytes);
    assert_eq!(verify(&mut disk.clone(), question(1)).unwrap_err(), refused(&disk, 1));
}

#[test]
fn salvage_returns_every_good_frame_and_names_each_lost_one() {
    let (disk, last) = settled();
    let whole = read_for_salvage(&mut disk.clone(), question(1)).unwrap();
    assert_eq!(whole.frames.len() as u64, last);
    assert!(whole.lost.is_empty() && whole.notes.is_empty());

    for lost in 1..=last {
        let rotten = disk.copy();
        let (slot, at, _) = place_of(&rotten, lost);
        let mut bytes = rotten.bytes(file(slot)).unwrap();
        bytes[at as usize + 3000] ^= 1;
        rotten.set_bytes(file(slot), bytes);
        let salvaged = read_for_salvage(&mut rotten.clone(), question(1)).unwrap();
        let found: Vec<u64> = salvaged.frames.iter().map(|(lsn, _)| lsn.0).collect();
        // Frames that were copied forward may still stand in their old place, too.
        let expected: Vec<u64> = (1..=last).filter(|lsn| *lsn != lost).collect();
        if found.len() as u64 == last {
            assert!(salvaged.lost.is_empty());
            continue;
        }
        assert_eq!(found, expected);
        assert_eq!(salvaged.lost.len(), 1);
        let told = &salvaged.lost[0];
        assert_eq!((told.first, told.last), (Lsn(lost), Lsn(lost)));
        assert_eq!((told.place.name.clone(), told.place.at), (file(slot).to_string(), at));
    }

    // A rotten slot header costs nothing: frames tell their own life.
    for slot in 0..4 {
        let rotten = disk.copy();
        let mut bytes = rotten.bytes(file(slot)).unwrap();
        bytes[50] ^= 1;
        rotten.set_bytes(file(slot), bytes);
        let salvaged = read_for_salvage(&mut rotten.clone(), question(1)).unwrap();
        assert_eq!(salvaged.frames.len() as u64, last);
        assert!(salvaged.lost.is_empty());
        assert_eq!(salvaged.notes.len(), 1);
    }

    // A whole slot gone.
    let mut gone = disk.copy();
    crate::disk::run(&mut gone, DiskOp::Remove { file: file(0) }).unwrap();
    let salvaged = read_for_salvage(&mut gone, question(1)).unwrap();
    assert_eq!(salvaged.lost[0].first, Lsn(1));
    assert_eq!(salvaged.frames.last().map(|(lsn, _)| lsn.0), Some(last));
}

#[test]
fn arbitrary_bytes_in_a_slot_never_panic() {
    let (disk, _) = settled();
    let mut choose = random(3);
    for round in 0..200 {
        let rotten = disk.copy();
        let slot = choose(4) as u32;
        let mut bytes = rotten.bytes(file(slot)).unwrap();
        for _ in 0..=choose(20) {
            let at = choose(bytes.len() as u64) as usize;
            let to = (at + choose(3000) as usize).min(bytes.len());
            for byte in &mut bytes[at..to] {
                *byte = choose(256) as u8;
            }
        }
        if round % 5 == 0 {
            bytes.truncate(choose(bytes.len() as u64) as usize);
        }
        slot::decode(&bytes);
        inspect_slot(&bytes, Some(SlotOf { cluster_id: CLUSTER, shard: SHARD, slot }));
        rotten.set_bytes(file(slot), bytes);
        let _ = verify(&mut rotten.clone(), question(1));
        let _ = read_for_salvage(&mut rotten.clone(), question(1));
        let _ = LocalWal::open(rotten, options(), Lsn(1));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Append {
        frames: u8,
        bytes: u16,
    },
    Advance(u8),
    Settle,
    Trim(u8),
    Prepare,
    Lend,
    GiveBack(u8),
    /// The process dies.
    Kill,
    /// The power fails.
    Cut(u64),
    /// The power fails while opening, at that operation.
    CutInOpen(u8, u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..5u8, prop_oneof![0..200u16, 0..9000u16]).prop_map(|(frames, bytes)| Act::Append { frames, bytes }),
        8 => (0..12u8).prop_map(Act::Advance),
        1 => Just(Act::Settle),
        2 => any::<u8>().prop_map(Act::Trim),
        1 => Just(Act::Prepare),
        2 => Just(Act::Lend),
        1 => any::<u8>().prop_map(Act::GiveBack),
        1 => Just(Act::Kill),
        2 => any::<u64>().prop_map(Act::Cut),
        1 => (0..30u8, any::<u64>()).prop_map(|(operation, seed)| Act::CutInOpen(operation, seed)),
    ]
}

/// Number of a frame, position and bytes of its body.
type Placed = (u64, u64, Bytes);

/// What a log must do, in a dozen lines: bodies by number, what was reported durable, what was trimmed.
#[derive(Default)]
struct Plain {
    bodies: Vec<Bytes>,
    durable: u64,
    trimmed: u64,
    epoch: ShardEpoch,
    /// Lent slots, with the bodies that must stand in them.
    lent: Vec<(u32, Vec<Placed>)>,
}

impl Plain {
    /// What was lent counts if a checkpoint names it, and that lies behind all its frames: else the frames are the log.
    fn forget_unnamed(&mut self) {
        let ends = |bodies: &[Placed]| bodies.last().map_or(0, |(lsn, ..)| *lsn);
        self.lent.retain(|(_, bodies)| ends(bodies) <= self.trimmed);
    }

    fn reopened(&mut self, opened: &WalOpened) {
        let end = opened.next.0 - 1;
        assert!(end >= self.durable, "frames up to {} were durable, {end} came back", self.durable);
        assert!(end as usize <= self.bodies.len(), "frame {end} was never appended");
        assert!(opened.epoch > self.epoch);
        let expected: Vec<(Lsn, Bytes)> =
            (self.trimmed + 1..=end).map(|lsn| (Lsn(lsn), self.bodies[lsn as usize - 1].clone())).collect();
        assert_eq!(opened.frames, expected);
        // What was not returned never happened; what was, is durable.
        self.bodies.truncate(end as usize);
        self.durable = end;
        self.epoch = opened.epoch;
    }

    fn options(&self) -> WalOptions {
        WalOptions { lent: self.lent.iter().map(|(slot, _)| *slot).collect(), ..options() }
    }

    fn lends(&mut self, slots: Vec<LentSlot>) {
        for LentSlot { slot, frames } in slots {
            assert!(frames.iter().all(|(lsn, _)| lsn.0 <= self.durable));
            let bodies = frames.iter().map(|(lsn, at)| (lsn.0, *at, self.bodies[lsn.0 as usize - 1].clone()));
            self.lent.push((slot, bodies.collect()));
        }
    }

    fn check_lent(&self, disk: &TestDisk) {
        for (slot, bodies) in &self.lent {
            let stored = disk.bytes(file(*slot)).unwrap();
            for (_, at, body) in bodies {
                assert_eq!(&stored[*at as usize..*at as usize + body.len()], &body[..], "slot {slot} at {at}");
            }
        }
    }

    fn took(&mut self, done: &WalDone) {
        match done {
            WalDone::Durable { through } => {
                assert!(through.0 > self.durable && through.0 as usize <= self.bodies.len());
                self.durable = through.0;
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_log_returns_what_was_durable_and_nothing_that_was_not_appended(
        acts in prop::collection::vec(act(), 1..80),
        late in 0..4u32,
    ) {
        let disk = TestDisk::new();
        let mut plain = Plain::default();
        let reopen = |plain: &mut Plain| {
            plain.forget_unnamed();
            let from = Lsn(plain.trimmed + 1);
            let (wal, opened) = LocalWal::open(disk.clone().late(late), plain.options(), from).unwrap();
            plain.reopened(&opened);
            plain.check_lent(&disk);
            wal
        };
        let mut wal = reopen(&mut plain);
        for act in acts {
            match act {
                Act::Append { frames, bytes } => {
                    for _ in 0..frames {
                        let lsn = plain.bodies.len() as u64 + 1;
                        // Bodies of different lives differ, so that a stale one is seen.
                        let body = body_of(lsn + u64::from(plain.epoch.0) * 1_000_000, bytes as usize);
                        plain.bodies.push(body.clone());
                        wal.submit(WalOp::Append { lsn: Lsn(lsn), body });
                    }
                }
                Act::Advance(times) => {
                    for _ in 0..times {
                        if let Some(done) = wal.poll_done() {
                            plain.took(&done);
                        }
                    }
                }
                Act::Settle => wal.submit(WalOp::Settle),
                Act::Trim(share) => {
                    let room = plain.durable - plain.trimmed;
                    plain.trimmed += room * u64::from(share) / 255;
                    wal.submit(WalOp::Trim { below: Lsn(plain.trimmed + 1) });
                }
                Act::Prepare => {
                    wal.prepare_step();
                }
                Act::Lend => plain.lends(wal.lend(Lsn(plain.durable + 1))),
                Act::GiveBack(which) if !plain.lent.is_empty() => {
                    let (slot, _) = plain.lent.remove(usize::from(which) % plain.lent.len());
                    wal.give_back(slot);
                }
                Act::GiveBack(_) => {}
                Act::Kill => {
                    disk.kill();
                    drop(wal);
                    wal = reopen(&mut plain);
                }
                Act::Cut(seed) => {
                    drop(wal);
                    disk.cut_power(random(seed));
                    wal = reopen(&mut plain);
                }
                Act::CutInOpen(operation, seed) => {
                    drop(wal);
                    let mut left = operation;
                    disk.fail(move |_| {
                        left = left.saturating_sub(1);
                        (left == 0).then(|| DiskError::Io("power".into()))
                    });
                    plain.forget_unnamed();
                    let from = Lsn(plain.trimmed + 1);
                    let opened = LocalWal::open(disk.clone().late(late), plain.options(), from);
                    disk.heal();
                    if let Ok((_, opened)) = opened {
                        plain.reopened(&opened);
                    }
                    disk.cut_power(random(seed));
                    wal = reopen(&mut plain);
                }
            }
        }
        disk.cut_power(|_| 0);
        drop(wal);
        reopen(&mut plain);
    }
}
