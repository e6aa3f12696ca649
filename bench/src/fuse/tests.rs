// SPDX-License-Identifier: Apache-2.0
//! The mount, through the system's own calls. Without the right to mount there is nothing to see.

use super::*;
use std::fs;
use std::os::unix::fs::FileExt;

fn mounted(name: &str) -> Option<(Disk, Mounted, PathBuf)> {
    let at = std::env::temp_dir().join(format!("polylog-fuse-{}-{name}", std::process::id()));
    fs::create_dir_all(&at).unwrap();
    let disk = Disk::new();
    match disk.mount(&at) {
        Ok(mounted) => Some((disk, mounted, at)),
        Err(why) => {
            eprintln!("skipped: {name}, because nothing can be mounted here: {why}");
            None
        }
    }
}

fn remount(disk: &Disk, mounted: Mounted, at: &Path) -> Mounted {
    mounted.power_off();
    mounted.unmount().unwrap();
    disk.lose_power(&mut Rng::new(7));
    disk.mount(at).unwrap()
}

#[test]
fn files_are_there_as_on_any_disk_and_only_what_was_synced_stays() {
    let Some((disk, mounted, at)) = mounted("stays") else { return };
    fs::create_dir_all(at.join("data/wal/00")).unwrap();
    let file = File::options().create_new(true).read(true).write(true).open(at.join("data/wal/00/0000")).unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    file.write_all_at(&bytes, 0).unwrap();
    assert_eq!(fs::read(at.join("data/wal/00/0000")).unwrap(), bytes);
    file.sync_data().unwrap();
    for folder in ["data/wal/00", "data/wal", "data", "."] {
        File::open(at.join(folder)).unwrap().sync_all().unwrap();
    }
    fs::write(at.join("data/other"), "never synced").unwrap();
    fs::rename(at.join("data/other"), at.join("data/renamed")).unwrap();
    fs::hard_link(at.join("data/renamed"), at.join("data/linked")).unwrap();
    let names: Vec<_> = fs::read_dir(at.join("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["linked", "renamed", "wal"]);
    fs::remove_file(at.join("data/renamed")).unwrap();
    assert_eq!(fs::read(at.join("data/linked")).unwrap(), b"never synced");
    drop(file);
    let mounted = remount(&disk, mounted, &at);
    assert_eq!(fs::read(at.join("data/wal/00/0000")).unwrap(), bytes);
    mounted.unmount().unwrap();
    fs::remove_dir(at).unwrap();
}

#[test]
fn faults_hit_the_request_they_wait_for() {
    let Some((_disk, mounted, at)) = mounted("faults") else { return };
    fs::create_dir(at.join("wal")).unwrap();
    let file = File::options().create_new(true).read(true).write(true).open(at.join("wal/0000")).unwrap();
    let plant = |call, fault| {
        mounted.plant(Rule { call, place: Place::Log, after: 1, times: 1, fault });
    };
    plant(Call::Sync, Fault::Fails(Errno::IO));
    file.sync_data().unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    plant(Call::Write, Fault::Short);
    assert_eq!(file.write_at(&[1; 1000], 0).unwrap(), 1000);
    assert_eq!(file.write_at(&[2; 1000], 0).unwrap(), 500);
    plant(Call::Write, Fault::Torn);
    assert_eq!(file.write_at(&[3; 100], 0).unwrap(), 100);
    assert!(file.write_at(&[4; 1000], 0).is_err());
    plant(Call::Read, Fault::Fails(Errno::IO));
    let mut bytes = [0; 1000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!((bytes[0], bytes[499], bytes[500]), (4, 4, 1));
    assert!(file.read_at(&mut bytes, 0).is_err());
    // A sync that stalls lets the others pass, and goes on when it is let.
    plant(Call::Sync, Fault::Stalls);
    file.sync_data().unwrap();
    let before = mounted.hits();
    std::thread::scope(|scope| {
        let stalled = scope.spawn(|| file.sync_data());
        assert!(mounted.wait_hits(before, 1, Duration::from_secs(20)));
        fs::write(at.join("other"), "x").unwrap();
        assert_eq!(fs::read(at.join("other")).unwrap(), b"x");
        assert!(!stalled.is_finished());
        mounted.release();
        stalled.join().unwrap().unwrap();
    });
    drop(file);
    mounted.unmount().unwrap();
    fs::remove_dir(at).unwrap();
}
