// SPDX-License-Identifier: Apache-2.0
//! Figures, not checks: run by name, optimised: `cargo test --release -p kernel ledger_figures -- --ignored --nocapture`.

use super::super::lane::{Busy, Lane};
use super::super::*;
use crate::tests::measured::{Started, resident_bytes};
use model::{HolderId, Now};
use std::sync::Arc;

struct Plenty;

impl Records for Plenty {
    fn look(&self, _lane: u8, _key: u64) -> Look {
        Look::Known(Meta { bytes: 100, came_ms: 0, expires_ms: None })
    }
}

fn filled(count: u64) -> Ledger {
    let mut ledger = Ledger::new(Arc::default());
    for first in (0..count).step_by(100) {
        ledger.apply(&Outcome::Appended { lane: 0, first, count: 100, bytes: 10_000 });
    }
    ledger
}

fn attach(records_max: Option<u32>) -> Attach {
    Attach {
        consumer: ConsumerId(1),
        holder: HolderId(1),
        priority: 0,
        no_ack: false,
        exclusive: false,
        records_max,
        bytes_max: None,
        room_bytes: None,
    }
}

#[test]
#[ignore = "a measurement"]
fn ledger_figures() {
    let (ledger, lane, busy) = (size_of::<Ledger>(), size_of::<(u8, Lane)>(), size_of::<Busy>());
    println!("a ledger {ledger} B, its first lane {lane} B, what only a busy lane has {busy} B");
    let before = resident_bytes();
    let idle: Vec<Ledger> = (0..1_000_000)
        .map(|_| {
            let mut ledger = filled(100);
            let mut out = Vec::new();
            // Used once, and idle again.
            let handle = match ledger.take(Now::default(), HolderId(1), false, &Plenty, &mut out) {
                Taken::Grant(grant) => grant.handle,
                other => panic!("{other:?}"),
            };
            ledger.purge(Now::default(), &mut out);
            assert_eq!(ledger.ack(handle, &mut out), Ok(()));
            ledger
        })
        .collect();
    println!("idle: {} B each of 1,000,000", (resident_bytes() - before) / idle.len() as u64);
    drop(idle);
    for count in [1_000_000, 10_000_000] {
        let before = resident_bytes();
        let ledger = filled(count);
        println!("{count} ready: {} B", resident_bytes() - before);
        drop(ledger);
    }
    for (what, records_max) in [("one at a time", 1), ("200 at a time", 200), ("10,000 at a time", 10_000)] {
        const COUNT: u64 = 1_000_000;
        let mut ledger = filled(COUNT);
        assert_eq!(ledger.attach(attach(Some(records_max))), Ok(()));
        let (mut out, mut held) = (Vec::new(), Vec::new());
        let started = Started::now();
        let mut done = 0;
        while done < COUNT {
            while let Some(Step::Deliver(grant)) = ledger.step(Now::default(), &Plenty, &mut out) {
                held.push(grant.handle);
            }
            done += held.len() as u64;
            held.drain(..).for_each(|handle| assert_eq!(ledger.ack(handle, &mut out), Ok(())));
            out.clear();
        }
        println!("given out and acked {what}: {} ns a record", started.elapsed().as_nanos() / u128::from(COUNT));
        assert_eq!(ledger.floor(0), COUNT);
    }
    // Unlimited credit; then every second acked, from the front.
    const COUNT: u64 = 10_000_000;
    let mut ledger = filled(COUNT);
    let (mut out, mut wide) = (Vec::new(), vec![Handle { lane: 0, key: 0, number: 0 }; COUNT as usize / 10]);
    wide.clear();
    assert_eq!(ledger.attach(attach(None)), Ok(()));
    let before = resident_bytes();
    let started = Started::now();
    while let Some(Step::Deliver(grant)) = ledger.step(Now::default(), &Plenty, &mut out) {
        wide.push(grant.handle);
        out.clear();
    }
    let bytes = resident_bytes().saturating_sub(before) / wide.len() as u64;
    println!("{} leased: {bytes} B each, {} ns each", wide.len(), started.elapsed().as_nanos() / wide.len() as u128);
    let mut ledger = filled(COUNT);
    let started = Started::now();
    for key in (1..COUNT).step_by(2) {
        ledger.apply(&Outcome::Settled { lane: 0, why: Why::Acked, ranges: vec![(key, key + 1)], bytes: 100 });
    }
    let settled = ledger.lane(0).and_then(|lane| lane.busy.as_ref()).map_or(0, |busy| busy.settled.bytes());
    let mut encoded = Vec::new();
    ledger.encode(&mut encoded);
    println!(
        "every second of {COUNT} acked: {settled} B, {} B in a checkpoint, {} ns an ack",
        encoded.len(),
        started.elapsed().as_nanos() / u128::from(COUNT / 2),
    );
    let started = Started::now();
    ledger.purge(Now::default(), &mut out);
    println!("purge of the other half: {} ms", started.elapsed().as_millis());
}
