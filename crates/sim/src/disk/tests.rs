// SPDX-License-Identifier: Apache-2.0
//! The faulty disk keeps the promises it must keep, and breaks the others.

use super::*;
use model::ShardId;

const FILE: FileName = FileName::WalSlot { shard: ShardId(0), slot: 0 };

fn disk(seed: u64) -> (SimDisk, DiskHandle) {
    let disk = SimDisk::new(Clock::default(), Rng::new(seed), Knobs::calm());
    let handle = disk.handle();
    (disk, handle)
}

fn run(handle: &mut DiskHandle, op: DiskOp) -> Result<DiskDone, DiskError> {
    handle.submit(1, op);
    handle.wait_done().1
}

fn write(handle: &mut DiskHandle, at: u64, bytes: &[u8]) {
    run(handle, DiskOp::WriteAt { file: FILE, at, parts: vec![Bytes::copy_from_slice(bytes)] }).expect("written");
}

fn made(handle: &mut DiskHandle) {
    run(handle, DiskOp::Create { file: FILE }).expect("made");
    run(handle, DiskOp::SyncDir { dir: FILE.dir() }).expect("name synced");
}

#[test]
fn synced_bytes_and_names_survive_a_loss_of_power() {
    for seed in 0..200 {
        let (disk, mut handle) = disk(seed);
        made(&mut handle);
        write(&mut handle, 0, &[7; 9000]);
        run(&mut handle, DiskOp::Sync { file: FILE }).expect("synced");
        disk.cut_power();
        assert_eq!(disk.bytes(FILE), Some(vec![7; 9000]));
    }
}

#[test]
fn unsynced_bytes_survive_a_kill_always_and_a_loss_of_power_sometimes_in_part() {
    let (mut whole, mut none, mut part) = (0, 0, 0);
    for seed in 0..300 {
        let (disk, mut handle) = disk(seed);
        made(&mut handle);
        write(&mut handle, 0, &[7; 9000]);
        disk.kill();
        assert_eq!(disk.bytes(FILE), Some(vec![7; 9000]));
        disk.cut_power();
        let bytes = disk.bytes(FILE).expect("the name was synced");
        match bytes.iter().filter(|byte| **byte == 7).count() {
            9000 => whole += 1,
            0 => none += 1,
            _ => part += 1,
        }
    }
    assert!(whole > 0 && none > 0 && part > 0, "{whole} whole, {none} none, {part} in part");
}

#[test]
fn a_sync_does_not_cover_a_write_that_was_under_way() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, mut handle) = disk(seed);
        made(&mut handle);
        handle.submit(1, DiskOp::WriteAt { file: FILE, at: 0, parts: vec![Bytes::from_static(&[7; 100])] });
        handle.submit(2, DiskOp::Sync { file: FILE });
        handle.wait_done().1.expect("one");
        handle.wait_done().1.expect("the other");
        disk.cut_power();
        lost += u32::from(disk.bytes(FILE) != Some(vec![7; 100]));
    }
    assert!(lost > 0);
}

#[test]
fn a_failed_sync_reads_fine_and_a_second_sync_proves_nothing() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, mut handle) = disk(seed);
        made(&mut handle);
        write(&mut handle, 0, &[7; 100]);
        disk.fail_next_sync();
        run(&mut handle, DiskOp::Sync { file: FILE }).expect_err("failed");
        disk.heal();
        run(&mut handle, DiskOp::Sync { file: FILE }).expect("nothing left to do");
        let read = run(&mut handle, DiskOp::ReadAt { file: FILE, at: 0, len: 200 });
        assert_eq!(read, Ok(DiskDone::Read(Bytes::from_static(&[7; 100]))));
        disk.cut_power();
        lost += u32::from(disk.bytes(FILE) != Some(vec![7; 100]));
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn an_unsynced_rename_may_be_undone_by_a_loss_of_power() {
    let to = FileName::WalSlot { shard: ShardId(0), slot: 1 };
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let (disk, mut handle) = disk(seed);
        made(&mut handle);
        run(&mut handle, DiskOp::Rename { from: FILE, to }).expect("renamed");
        disk.cut_power();
        assert_eq!(disk.list().len(), 1);
        old += u32::from(disk.bytes(FILE).is_some());
        new += u32::from(disk.bytes(to).is_some());
    }
    assert!(old > 0 && new > 0);
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let (disk, mut handle) = disk(1);
    made(&mut handle);
    write(&mut handle, 0, &[7; 100]);
    disk.fill_until(u64::MAX);
    write(&mut handle, 0, &[8; 100]);
    let grow = DiskOp::WriteAt { file: FILE, at: 50, parts: vec![Bytes::from_static(&[9; 100])] };
    assert_eq!(run(&mut handle, grow), Err(DiskError::NoSpace));
    assert_eq!(disk.bytes(FILE).map(|bytes| bytes.len()), Some(100));
    let other = FileName::WalSlot { shard: ShardId(0), slot: 1 };
    assert_eq!(run(&mut handle, DiskOp::Create { file: other }), Err(DiskError::NoSpace));
    disk.heal();
    run(&mut handle, DiskOp::Create { file: other }).expect("space again");
}

#[test]
fn after_the_fuse_is_out_nothing_has_any_effect() {
    let (disk, mut handle) = disk(1);
    made(&mut handle);
    disk.light_fuse(1);
    write_fails(&mut handle);
    assert!(disk.dead());
    write_fails(&mut handle);
    assert_eq!(disk.bytes(FILE), Some(vec![]));
}

fn write_fails(handle: &mut DiskHandle) {
    let op = DiskOp::WriteAt { file: FILE, at: 0, parts: vec![Bytes::from_static(&[1; 10])] };
    run(handle, op).expect_err("the power is off");
}

#[test]
fn damage_stays_where_it_was_done() {
    let (disk, mut handle) = disk(1);
    made(&mut handle);
    write(&mut handle, 0, &[0; 100]);
    run(&mut handle, DiskOp::Sync { file: FILE }).expect("synced");
    assert!(disk.flip(FILE, 3, 0) && !disk.flip(FILE, 100, 0));
    disk.cut_power();
    assert_eq!(disk.bytes(FILE).map(|bytes| (bytes[2], bytes[3])), Some((0, 1)));
}
