// SPDX-License-Identifier: Apache-2.0
//! What a log must do, on every medium.

use crate::contract::blobs::run;
use bytes::Bytes;
use model::media::{BlobDone, BlobKind, BlobName, BlobOp, Blobs, LentSlot, Wal, WalDone, WalOp, WalOpened};
use model::{Lsn, ShardId};
use std::collections::BTreeSet;

/// Polls without an outcome after which a case gives up.
const POLLS_MAX: u32 = 100_000;

/// A medium that can be closed (by dropping the log) and opened again.
pub trait WalMedium {
    type Wal: Wal;
    type Blobs: Blobs;
    /// Opens the log of one shard, reading from `from` on, where files are lent.
    fn open_lent(&mut self, from: Lsn, lent: &BTreeSet<u32>) -> (Self::Wal, WalOpened);
    /// The blobs beside it.
    fn blobs(&mut self) -> Self::Blobs;

    /// From now on the medium has no space, or has some again and the log has looked. False: nobody can tell it so.
    fn space(&mut self, _wal: &mut Self::Wal, _is_there: bool) -> bool {
        false
    }

    /// Opens it where nothing is lent.
    fn open(&mut self, from: Lsn) -> (Self::Wal, WalOpened) {
        self.open_lent(from, &BTreeSet::new())
    }
}

/// Runs every case, each on a fresh medium.
pub fn wal_suite<M: WalMedium>(mut fresh: impl FnMut() -> M) {
    frames_become_durable_in_order_and_come_back(&mut fresh());
    what_is_appended_while_a_flush_is_under_way_is_gathered(&mut fresh());
    the_durable_mark_never_goes_back(&mut fresh());
    every_life_has_a_higher_epoch_and_goes_on_where_the_last_ended(&mut fresh());
    a_trimmed_log_opens_at_its_new_beginning(&mut fresh());
    room_is_used_again_after_a_trim(&mut fresh());
    settling_is_never_seen(&mut fresh());
    frames_of_every_size_come_back(&mut fresh());
    a_number_out_of_order_ends_the_log(&mut fresh());
    every_lend_is_answered_once_and_in_order(&mut fresh());
    a_log_without_space_says_so_in_time_and_goes_on_when_there_is_some(&mut fresh());
    lent_files_keep_their_bytes_until_they_are_given_back(&mut fresh());
}

/// A body that tells its number.
pub fn body_of(lsn: u64, bytes: usize) -> Bytes {
    let mut body = format!("frame {lsn} ").into_bytes();
    while body.len() < bytes {
        body.push((lsn as u8).wrapping_mul(31).wrapping_add(body.len() as u8));
    }
    body.truncate(bytes);
    Bytes::from(body)
}

fn append(wal: &mut impl Wal, lsn: u64, bytes: usize) {
    wal.submit(WalOp::Append { lsn: Lsn(lsn), body: body_of(lsn, bytes) });
}

/// Polls until everything up to `through` is durable; checks that the mark only grows.
fn wait(wal: &mut impl Wal, through: u64) {
    let mut last = 0;
    for _ in 0..POLLS_MAX {
        match wal.poll_done() {
            Some(WalDone::Durable { through: now }) => {
                assert!(now.0 >= last, "the durable mark went back from {last} to {now}");
                assert!(now.0 <= through, "frame {now} was never appended");
                last = now.0;
            }
            Some(other) => panic!("{other:?}"),
            None if last >= through => return,
            None => {}
        }
    }
    panic!("frame {through} did not become durable");
}

fn check(opened: &WalOpened, from: u64, to: u64, bytes: usize) {
    let found: Vec<u64> = opened.frames.iter().map(|(lsn, _)| lsn.0).collect();
    assert_eq!(found, (from..=to).collect::<Vec<_>>(), "frames {from} to {to}");
    for (lsn, body) in &opened.frames {
        assert_eq!(*body, body_of(lsn.0, bytes), "body of frame {lsn}");
    }
    assert_eq!(opened.next, Lsn(to + 1));
}

fn frames_become_durable_in_order_and_come_back(medium: &mut impl WalMedium) {
    let (mut wal, opened) = medium.open(Lsn(1));
    assert!(opened.frames.is_empty() && opened.next == Lsn(1));
    for lsn in 1..=40 {
        append(&mut wal, lsn, 100);
        wait(&mut wal, lsn);
    }
    drop(wal);
    check(&medium.open(Lsn(1)).1, 1, 40, 100);
    check(&medium.open(Lsn(17)).1, 17, 40, 100);
    check(&medium.open(Lsn(41)).1, 41, 40, 100);
}

fn what_is_appended_while_a_flush_is_under_way_is_gathered(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    let mut last = 0;
    for burst in 1..=10 {
        for _ in 0..burst {
            last += 1;
            append(&mut wal, last, 50);
        }
        // Perhaps under way by now.
        if let Some(WalDone::Failed(error)) = wal.poll_done() {
            panic!("{error}");
        }
    }
    append(&mut wal, last + 1, 50);
    wait(&mut wal, last + 1);
    drop(wal);
    check(&medium.open(Lsn(1)).1, 1, last + 1, 50);
}

fn the_durable_mark_never_goes_back(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    let mut last = 0;
    for lsn in 1..=200 {
        append(&mut wal, lsn, 30);
        if let Some(WalDone::Durable { through }) = wal.poll_done() {
            assert!(through.0 > last, "{through} after {last}");
            assert!(through.0 <= lsn);
            last = through.0;
        }
    }
}

fn every_life_has_a_higher_epoch_and_goes_on_where_the_last_ended(medium: &mut impl WalMedium) {
    let mut epoch = None;
    for life in 0..6 {
        let (mut wal, opened) = medium.open(Lsn(1));
        assert!(epoch.is_none_or(|before| opened.epoch > before), "{:?} after {epoch:?}", opened.epoch);
        epoch = Some(opened.epoch);
        check(&opened, 1, life * 3, 500);
        for lsn in life * 3 + 1..=life * 3 + 3 {
            append(&mut wal, lsn, 500);
        }
        wait(&mut wal, life * 3 + 3);
    }
}

fn a_trimmed_log_opens_at_its_new_beginning(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    for lsn in 1..=30 {
        append(&mut wal, lsn, 3000);
        wait(&mut wal, lsn);
    }
    wal.submit(WalOp::Trim { below: Lsn(21) });
    append(&mut wal, 31, 3000);
    wait(&mut wal, 31);
    drop(wal);
    check(&medium.open(Lsn(21)).1, 21, 31, 3000);
    let (mut wal, opened) = medium.open(Lsn(32));
    check(&opened, 32, 31, 3000);
    wal.submit(WalOp::Trim { below: Lsn(32) });
    append(&mut wal, 32, 3000);
    wait(&mut wal, 32);
    drop(wal);
    check(&medium.open(Lsn(32)).1, 32, 32, 3000);
}

fn room_is_used_again_after_a_trim(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    for lsn in 1..=400 {
        append(&mut wal, lsn, 4000);
        wait(&mut wal, lsn);
        wal.submit(WalOp::Trim { below: Lsn(lsn.saturating_sub(5)) });
    }
    drop(wal);
    check(&medium.open(Lsn(395)).1, 395, 400, 4000);
}

fn settling_is_never_seen(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    let settle = |wal: &mut AnyWal<'_>| {
        wal.submit(WalOp::Settle);
        for _ in 0..50 {
            assert_eq!(wal.poll_done(), None, "an outcome though nothing was appended");
        }
    };
    for lsn in 1..=20 {
        append(&mut wal, lsn, 10);
        wait(&mut wal, lsn);
        settle(&mut AnyWal(&mut wal));
        settle(&mut AnyWal(&mut wal));
    }
    drop(wal);
    check(&medium.open(Lsn(1)).1, 1, 20, 10);
}

/// Any log, by reference.
struct AnyWal<'a>(&'a mut dyn Wal);

impl Wal for AnyWal<'_> {
    fn submit(&mut self, op: WalOp) {
        self.0.submit(op);
    }
    fn poll_done(&mut self) -> Option<WalDone> {
        self.0.poll_done()
    }
}

fn frames_of_every_size_come_back(medium: &mut impl WalMedium) {
    let sizes = [0, 1, 63, 64, 4031, 4032, 4033, 16 * 1024, 16 * 1024 + 1, 300_000, 5];
    let (mut wal, _) = medium.open(Lsn(1));
    for (index, bytes) in sizes.iter().enumerate() {
        append(&mut wal, index as u64 + 1, *bytes);
    }
    wait(&mut wal, sizes.len() as u64);
    drop(wal);
    let (_, opened) = medium.open(Lsn(1));
    for ((lsn, body), bytes) in opened.frames.iter().zip(sizes) {
        assert_eq!(*body, body_of(lsn.0, bytes));
    }
    assert_eq!(opened.frames.len(), sizes.len());
}

fn a_number_out_of_order_ends_the_log(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    append(&mut wal, 1, 10);
    wait(&mut wal, 1);
    let mut failures = 0;
    for lsn in [3, 2, 4] {
        append(&mut wal, lsn, 10);
        for _ in 0..50 {
            match wal.poll_done() {
                Some(WalDone::Failed(_)) => failures += 1,
                Some(other) => panic!("after a failure: {other:?}"),
                None => {}
            }
        }
    }
    assert_eq!(failures, 3, "every append after the failure is answered with it");
    drop(wal);
    check(&medium.open(Lsn(1)).1, 1, 1, 10);
}

fn every_lend_is_answered_once_and_in_order(medium: &mut impl WalMedium) {
    let (mut wal, _) = medium.open(Lsn(1));
    let mut last = 0;
    for round in 0..30 {
        append(&mut wal, last + 1, 9000);
        last += 1;
        wait(&mut wal, last);
        for _ in 0..round % 3 {
            wal.submit(WalOp::Lend { below: Lsn(last) });
        }
        append(&mut wal, last + 1, 9000);
        let mut answers = 0;
        let mut durable = false;
        for _ in 0..POLLS_MAX {
            match wal.poll_done() {
                Some(WalDone::Lent { slots }) => {
                    assert!(!durable, "it was asked before the frame was appended");
                    assert!(slots.iter().flat_map(|slot| &slot.frames).all(|(lsn, _)| lsn.0 < last));
                    answers += 1;
                    slots.into_iter().for_each(|LentSlot { slot, .. }| wal.submit(WalOp::GiveBack { slot }));
                }
                Some(WalDone::Durable { through }) => durable = through.0 == last + 1,
                Some(other) => panic!("{other:?}"),
                None if durable => break,
                None => {}
            }
        }
        assert_eq!(answers, round % 3);
        last += 1;
        wal.submit(WalOp::Trim { below: Lsn(last) });
    }
}

fn lent_files_keep_their_bytes_until_they_are_given_back(medium: &mut impl WalMedium) {
    const BYTES: usize = 9000;
    let (mut wal, _) = medium.open(Lsn(1));
    let mut lent: Vec<LentSlot> = Vec::new();
    let mut last = 0;
    for life in 1..=3 {
        for _ in 0..100 {
            last += 1;
            append(&mut wal, last, BYTES);
            wait(&mut wal, last);
            wal.submit(WalOp::Lend { below: Lsn(last) });
            loop {
                match wal.poll_done() {
                    Some(WalDone::Lent { slots }) => break lent.extend(slots),
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
            }
            wal.submit(WalOp::Trim { below: Lsn(last) });
            if lent.len() > 5 * life {
                wal.submit(WalOp::GiveBack { slot: lent.remove(0).slot });
            }
        }
        check_lent(&mut medium.blobs(), &lent, BYTES);
        drop(wal);
        let numbers: BTreeSet<u32> = lent.iter().map(|slot| slot.slot).collect();
        assert_eq!(numbers.len(), lent.len(), "a file is lent once");
        let opened;
        (wal, opened) = medium.open_lent(Lsn(last), &numbers);
        check(&opened, last, last, BYTES);
    }
    check_lent(&mut medium.blobs(), &lent, BYTES);
}

fn a_log_without_space_says_so_in_time_and_goes_on_when_there_is_some<M: WalMedium>(medium: &mut M) {
    const BYTES: usize = 9000;
    let (mut wal, _) = medium.open(Lsn(1));
    if !medium.space(&mut wal, false) {
        return;
    }
    // Everything known, and whether there is room.
    let all = |wal: &mut M::Wal, durable: &mut u64, room: &mut bool| {
        for _ in 0..100 {
            match wal.poll_done() {
                Some(WalDone::Durable { through }) => *durable = through.0,
                Some(WalDone::Room { is_there }) => {
                    assert_ne!(is_there, *room, "told twice");
                    *room = is_there;
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
    };
    let (mut last, mut durable, mut room) = (0, 0, true);
    for _ in 0..3 {
        for _ in 0..100 {
            // It looks for more, as its driver lets it between its frames.
            medium.space(&mut wal, false);
            all(&mut wal, &mut durable, &mut room);
            if !room {
                break;
            }
            last += 1;
            append(&mut wal, last, BYTES);
            all(&mut wal, &mut durable, &mut room);
            assert_eq!(durable, last, "who waits for each gets an answer to each");
        }
        assert!(!room);
        // Who does not listen waits, and loses nothing.
        for _ in 0..20 {
            last += 1;
            append(&mut wal, last, BYTES);
        }
        all(&mut wal, &mut durable, &mut room);
        assert!(!room && durable < last);
        while durable < last || !room {
            medium.space(&mut wal, true);
            all(&mut wal, &mut durable, &mut room);
        }
        wal.submit(WalOp::Trim { below: Lsn(last) });
        medium.space(&mut wal, false);
        all(&mut wal, &mut durable, &mut room);
    }
    drop(wal);
    check(&medium.open(Lsn(last)).1, last, last, BYTES);
}

fn check_lent(blobs: &mut impl Blobs, lent: &[LentSlot], bytes: usize) {
    for LentSlot { slot, frames } in lent {
        assert!(!frames.is_empty());
        for (lsn, at) in frames {
            let name = BlobName { shard: ShardId(0), kind: BlobKind::Slot, number: u64::from(*slot) };
            let got = run(blobs, BlobOp::Get { name, at: *at, len: bytes as u32 });
            assert_eq!(got, BlobDone::Got(Ok(body_of(lsn.0, bytes))), "frame {lsn} in {name}");
        }
    }
}
