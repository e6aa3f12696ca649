// SPDX-License-Identifier: Apache-2.0
//! Each planted bug of the medium does what it says: a check that looks for it has something to find. One test, because a bug is
//! planted in the whole process. Run with `cargo test -p media --features planted,contract --test planted`.

use bytes::Bytes;
use media::contract::TempDir;
use media::contract::disk::TestDisk;
use media::contract::wal::body_of;
use media::disk::real::RealDisk;
use media::disk::{Disk, DiskError, DiskOp, FileName};
use media::local::wal::{LocalWal, WalOptions};
use model::media::{Wal, WalDone, WalOp};
use model::planted::{Bug, plant};
use model::{Lsn, ShardId};

fn options() -> WalOptions {
    let mut options = WalOptions::new(ShardId(0), [1; 16], 0);
    options.slot_bytes = 64 * 1024;
    options.slot_count = 3;
    options
}

fn append<D: Disk>(wal: &mut LocalWal<D>, lsn: u64) -> Vec<WalDone> {
    wal.submit(WalOp::Append { lsn: Lsn(lsn), body: body_of(lsn, 6000) });
    std::iter::from_fn(|| wal.poll_done()).collect()
}

/// Numbers and bodies that an open returns.
fn reopened(disk: &TestDisk, from: u64) -> Result<Vec<(Lsn, Bytes)>, String> {
    match LocalWal::open(disk.clone(), options(), Lsn(from)) {
        Ok((_, opened)) => Ok(opened.frames),
        Err(error) => Err(error.to_string()),
    }
}

fn no_sync(disk: &TestDisk) {
    disk.fail(|op| matches!(op, DiskOp::Sync { .. }).then(|| DiskError::Io("killed".into())));
}

fn good(lsns: std::ops::RangeInclusive<u64>) -> Vec<(Lsn, Bytes)> {
    lsns.map(|lsn| (Lsn(lsn), body_of(lsn, 6000))).collect()
}

#[test]
fn every_planted_bug_of_the_medium_shows() {
    // A lost sync, or one left out, on a disk that loses power.
    for bug in [Bug::LostSync, Bug::SyncLeftOut] {
        let disk = TestDisk::new();
        let (mut wal, _) = LocalWal::open(disk.clone(), options(), Lsn(1)).unwrap();
        plant(Some(bug));
        assert_eq!(append(&mut wal, 1), [WalDone::Durable { through: Lsn(1) }]);
        plant(None);
        disk.cut_power(|_| 0);
        assert_eq!(reopened(&disk, 1), Ok(vec![]), "acknowledged and lost");
    }

    // A lost sync on the real disk: lost when the process dies, here when its handle is dropped.
    let dir = TempDir::new();
    let (wal, _) = LocalWal::open(RealDisk::open(dir.path()).unwrap(), options(), Lsn(1)).unwrap();
    drop(wal);
    plant(Some(Bug::LostSync));
    let (mut wal, _) = LocalWal::open(RealDisk::open(dir.path()).unwrap(), options(), Lsn(1)).unwrap();
    assert_eq!(append(&mut wal, 1), [WalDone::Durable { through: Lsn(1) }]);
    drop(wal);
    plant(None);
    let (_, opened) = LocalWal::open(RealDisk::open(dir.path()).unwrap(), options(), Lsn(1)).unwrap();
    assert!(opened.frames.is_empty(), "acknowledged and lost");

    // A torn frame.
    let disk = TestDisk::new();
    let (mut wal, _) = LocalWal::open(disk.clone(), options(), Lsn(1)).unwrap();
    append(&mut wal, 1);
    no_sync(&disk);
    append(&mut wal, 2);
    disk.heal();
    // The first page reaches the disk, the second does not.
    let mut sectors = 0;
    disk.cut_power(|_| {
        sectors += 1;
        u64::from(sectors <= 8)
    });
    assert_eq!(reopened(&disk.copy(), 1), Ok(good(1..=1)));
    plant(Some(Bug::TornFrameAccepted));
    let frames = reopened(&disk, 1).unwrap();
    plant(None);
    assert_eq!(frames.len(), 2);
    assert_ne!(frames[1].1, body_of(2, 6000), "half of it is not what was written");

    // A stale frame.
    let disk = TestDisk::new();
    let (mut wal, _) = LocalWal::open(disk.clone(), options(), Lsn(1)).unwrap();
    while wal.prepare_step() {}
    for lsn in 1..=60 {
        append(&mut wal, lsn);
        wal.submit(WalOp::Trim { below: Lsn(lsn) });
    }
    drop(wal);
    assert_eq!(reopened(&disk.copy(), 60), Ok(good(60..=60)));
    plant(Some(Bug::StaleFrameAccepted));
    let frames = reopened(&disk, 60).unwrap();
    plant(None);
    assert!(frames.len() > 1, "frames of an earlier life came back");
    assert_ne!(frames[1].1, body_of(61, 6000));

    // Recovered frames served unsynced.
    let disk = TestDisk::new();
    let (mut wal, _) = LocalWal::open(disk.clone(), options(), Lsn(1)).unwrap();
    append(&mut wal, 1);
    no_sync(&disk);
    append(&mut wal, 2);
    disk.heal();
    disk.kill();
    plant(Some(Bug::RecoveredUnsynced));
    assert_eq!(reopened(&disk, 1), Ok(good(1..=2)));
    plant(None);
    disk.cut_power(|_| 0);
    assert_ne!(reopened(&disk, 1), Ok(good(1..=2)), "served and gone");

    let slot = FileName::WalSlot { shard: ShardId(0), slot: 0 };
    assert!(disk.bytes(slot).is_some());
}
