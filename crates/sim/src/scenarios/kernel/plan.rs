// SPDX-License-Identifier: Apache-2.0
//! The options and operations that a seed stands for.
//!
//! Owns: what is drawn, and from what. Every number that an operation needs is drawn here, so that leaving one out changes
//! nothing in the others. Which faults are on in a run is drawn first (`trouble.rs`).

use crate::disk::{Knobs, Tear};
use crate::process::Settings;
use crate::rng::Rng;
use crate::scenarios::drive;
use crate::scenarios::trouble::{Fault, Odds, Trouble};
use crate::world::Death;
use head_kafka::coordinator::GroupSettings;

/// What a seed chooses for the whole run.
#[derive(Clone, Debug)]
pub struct Options {
    pub settings: Settings,
    pub knobs: Knobs,
    pub operations: u64,
    pub producers: u32,
    pub numbered_percent: u64,
    pub readers: u32,
    pub topics: u32,
    pub partitions_max: u64,
    pub records_bits: u64,
    pub payload_bytes_min: u32,
    pub payload_bits: u64,
    pub gap_bits: u64,
    pub odds: Odds,
    pub storm_one_in: u64,
    pub deletes: bool,
    pub trims: bool,
    pub expiry: bool,
    pub leader_epochs: bool,
    pub last_death: Option<Death>,
    pub floods: bool,
}

/// One operation of the plan.
pub type Planned = drive::Planned<Step>;

/// Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Declare {
        topic: u32,
        partitions: u32,
        id: u64,
        retention_ms: Option<u64>,
        retention_bytes: Option<u64>,
    },
    Delete {
        topic: u32,
    },
    Publish {
        producer: u32,
        topic: u32,
        partition: u32,
        records: u32,
        bytes: u32,
    },
    /// Sends an acknowledged batch once more.
    Repeat {
        producer: u32,
        topic: u32,
        partition: u32,
    },
    /// More at once than may wait for room.
    Flood {
        producer: u32,
        topic: u32,
        partition: u32,
    },
    /// The producer takes a new identity.
    Renew {
        producer: u32,
    },
    Read {
        reader: u32,
        topic: u32,
        partition: u32,
        from: From,
        bytes_max: u32,
        watch: bool,
    },
    Look {
        topic: u32,
        partition: u32,
        end: bool,
    },
    Trim {
        topic: u32,
        partition: u32,
        percent: u32,
        all: bool,
    },
    /// The reader leaves and comes back as another.
    Leave {
        reader: u32,
    },
    Checkpoint,
    /// What the process suffers.
    Trouble(Trouble),
}

/// Where a read begins.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// Where the reader stopped.
    Position,
    /// Somewhere between start and end.
    Percent(u32),
    /// Beyond the end.
    Beyond(u64),
}

/// Draws both.
pub fn draw(seed: u64, shard_count: u32) -> (Options, Vec<Planned>) {
    let (options, mut rng) = draw_options(seed, shard_count);
    let mut plan = Vec::with_capacity(options.operations as usize);
    for topic in 0..options.topics {
        let step = declare(&mut rng, &options, topic);
        plan.push(Planned { gap_us: 0, step });
    }
    while (plan.len() as u64) < options.operations {
        let gap_us = if rng.percent(30) { 0 } else { rng.magnitude(options.gap_bits) };
        let step = draw_step(&mut rng, &options);
        plan.push(Planned { gap_us, step });
    }
    (options, plan)
}

/// Draws the options, and gives the generator on: other scenarios take no more of this than these.
pub fn draw_options(seed: u64, shard_count: u32) -> (Options, Rng) {
    let mut rng = Rng::of(seed, 1);
    let odds = Odds::draw(&mut rng);
    let swarm = odds.swarm;
    let slot_bytes = rng.pick(&[64 << 10, 64 << 10, 128 << 10]);
    let slots = rng.within(2..6);
    let tail_bytes_max = rng.pick(&[16 << 10, 40 << 10, 100 << 10, slot_bytes * slots]);
    let mut one_in = |fault, from: &[u64]| u64::from(swarm.has(fault)) * rng.pick(from);
    let stall_one_in = one_in(Fault::Stall, &[300, 1000]);
    let sync_error_one_in = one_in(Fault::SyncError, &[150, 600, 3000]);
    let write_error_one_in = one_in(Fault::WriteError, &[200, 800, 3000]);
    let read_error_one_in = one_in(Fault::ReadError, &[60, 300, 1000]);
    let storm_one_in = one_in(Fault::Storm, &[2, 3, 4]);
    let knobs = Knobs {
        latency_us: rng.pick(&[5, 20, 100]),
        latency_bits: rng.pick(&[4, 7, 10]),
        sync_latency_us: rng.pick(&[50, 120, 1000]),
        stall_one_in,
        tear: rng.pick(&[Tear::Sector, Tear::Page, Tear::AnyByte]),
        sync_error_one_in,
        write_error_one_in,
        read_error_one_in,
        under_way_percent: rng.pick(&[0, 50, 90]),
        stale_read_one_in: 0,
    };
    let settings = Settings {
        shard_count,
        tail_bytes_max,
        lent_batch_bytes_min: 64 << 10,
        slot_bytes,
        slot_count: slots as u32 + rng.within(1..4) as u32,
        slot_count_max: slots as u32 + 8,
        retention_check_ms: rng.pick(&[20, 200, 2000]),
        producers_max: 1000,
        groups: GroupSettings::default(),
        work_us: rng.pick(&[0, 100, 5000]),
        message_us: rng.pick(&[0, 50, 2000]),
    };
    let mut options = Options {
        settings,
        knobs,
        operations: rng.within(120..260),
        producers: rng.within(1..5) as u32,
        numbered_percent: rng.pick(&[0, 50, 80, 100]),
        readers: rng.within(1..4) as u32,
        topics: rng.within(1..4) as u32,
        partitions_max: rng.pick(&[1, 2, 4]),
        records_bits: rng.pick(&[0, 2, 4]),
        payload_bytes_min: 0,
        payload_bits: rng.pick(&[6, 9, 11, 13]),
        gap_bits: rng.pick(&[3, 8, 11]),
        odds,
        storm_one_in,
        deletes: rng.percent(40),
        trims: rng.percent(50),
        expiry: rng.percent(40),
        leader_epochs: rng.percent(50),
        last_death: rng.pick(&[None, Some(Death::Kill), Some(Death::Power), Some(Death::Power)]),
        floods: rng.percent(3),
    };
    if Rng::of(seed, 11).percent(4) {
        crowd(&mut options);
    } else {
        lending(&mut Rng::of(seed, 6), &mut options);
    }
    (options, rng)
}

/// So much is stored beside so small a tail, and deleted again, that on a full disk what is dead has to be copied out.
fn crowd(options: &mut Options) {
    options.settings.tail_bytes_max = 20 << 10;
    options.knobs.latency_us = 5;
    options.operations *= 2;
    (options.records_bits, options.payload_bits) = (0, 13);
    (options.deletes, options.trims) = (true, true);
}

/// In some runs slots are so small, and batches so large beside them, that the log lends often.
fn lending(rng: &mut Rng, options: &mut Options) {
    if !rng.percent(30) {
        return;
    }
    let settings = &mut options.settings;
    settings.slot_bytes = rng.pick(&[32 << 10, 32 << 10, 64 << 10]);
    settings.tail_bytes_max = settings.slot_bytes * rng.within(4..7);
    // A frame takes most of a slot, so a full tail takes many.
    settings.slot_count_max = 4 * settings.tail_bytes_max.div_ceil(settings.slot_bytes) as u32;
    settings.lent_batch_bytes_min = rng.pick(&[100, 4_000]);
    (options.payload_bytes_min, options.records_bits) = (rng.pick(&[3_500, 7_000, 14_000]), 0);
}

fn declare(rng: &mut Rng, options: &Options, topic: u32) -> Step {
    let expiry = options.expiry && rng.percent(60);
    Step::Declare {
        topic,
        partitions: rng.within(1..options.partitions_max + 1) as u32,
        id: rng.bits(),
        retention_ms: (expiry && rng.percent(50)).then(|| rng.within(1..400)),
        retention_bytes: (expiry && rng.percent(50)).then(|| rng.within(1..100_000)),
    }
}

fn draw_step(rng: &mut Rng, options: &Options) -> Step {
    let topic = rng.below(u64::from(options.topics)) as u32;
    let partition = rng.below(8) as u32;
    let producer = rng.below(u64::from(options.producers)) as u32;
    let reader = rng.below(u64::from(options.readers)) as u32;
    if let Some(trouble) = options.odds.trouble(rng) {
        return Step::Trouble(trouble);
    }
    match rng.below(100) {
        0..48 => Step::Publish {
            producer,
            topic,
            partition,
            records: 1 + rng.magnitude(options.records_bits) as u32,
            bytes: options.payload_bytes_min + rng.magnitude(options.payload_bits) as u32,
        },
        48..52 => Step::Repeat { producer, topic, partition },
        52..53 if options.floods => Step::Flood { producer, topic, partition },
        52..53 => Step::Renew { producer },
        53..78 => Step::Read {
            reader,
            topic,
            partition,
            from: match rng.below(10) {
                0..5 => From::Position,
                5..9 => From::Percent(rng.below(101) as u32),
                _ => From::Beyond(1 + rng.magnitude(6)),
            },
            bytes_max: rng.pick(&[1, 4_000, 60_000, 1_000_000]),
            watch: rng.percent(60),
        },
        78..83 => Step::Look { topic, partition, end: rng.percent(70) },
        83..87 if options.trims => {
            Step::Trim { topic, partition, percent: rng.below(121) as u32, all: rng.percent(10) }
        }
        87..88 => Step::Leave { reader },
        88..89 => Step::Checkpoint,
        89..92 => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(8) }),
        96..98 if options.deletes => Step::Delete { topic },
        98.. => declare(rng, options, topic),
        _ => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(3) }),
    }
}
