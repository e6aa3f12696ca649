// SPDX-License-Identifier: Apache-2.0
//! The options and operations that a seed of this scenario stands for.
//!
//! Owns: what is drawn, and from what. The disk, its faults and the sizes are drawn as for the kernel scenario; every number that an
//! operation needs is drawn here, so that leaving one out changes nothing in the others.

use super::super::kernel::plan::{self, Options as Around};
use crate::rng::Rng;
use crate::scenarios::drive;
use crate::scenarios::trouble::Trouble;
use kernel::command::Compaction;

/// What a seed chooses for the whole run.
#[derive(Clone, Debug)]
pub struct Options {
    pub around: Around,
    /// So many keys: few are written over and over, many fill segments with what stays.
    pub keys: u64,
    pub tombstone_percent: u64,
    pub compressed_percent: u64,
    /// The last thing that happens to each topic is that all of it becomes due.
    pub last_orders: bool,
}

/// What a topic is told to keep.
#[derive(Clone, Copy, Debug)]
pub struct Keeps {
    pub compaction: Option<Compaction>,
    pub retention_ms: Option<u64>,
    pub retention_bytes: Option<u64>,
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
        keeps: Keeps,
    },
    Alter {
        topic: u32,
        keeps: Keeps,
    },
    Publish {
        producer: u32,
        topic: u32,
        partition: u32,
        records: u32,
        bytes: u32,
        /// Keys and tombstones follow from it.
        salt: u64,
        /// The compression's number.
        compression: u8,
        /// The record of this number has no key.
        bare: Option<u32>,
    },
    /// Sends an acknowledged batch once more.
    Repeat {
        producer: u32,
        topic: u32,
        partition: u32,
    },
    Read {
        topic: u32,
        partition: u32,
        percent: u32,
        bytes_max: u32,
    },
    Trim {
        topic: u32,
        partition: u32,
        percent: u32,
    },
    Checkpoint,
    /// What the process suffers.
    Trouble(Trouble),
}

/// Draws both.
pub fn draw(seed: u64, shard_count: u32) -> (Options, Vec<Planned>) {
    let (mut around, _) = plan::draw_options(seed, shard_count);
    let mut rng = Rng::of(seed, 4);
    // Only what is spilled is compacted, and only what is looked at is found.
    around.settings.tail_bytes_max = around.settings.tail_bytes_max.min(100 << 10);
    around.settings.retention_check_ms = rng.pick(&[5, 20, 200]);
    // Ahead only: how old a record must be is told from the clock as it is when somebody reads.
    around.odds.jump_ms.0 = 0;
    around.payload_bits = rng.pick(&[5, 9, 12]);
    let options = Options {
        around,
        keys: rng.pick(&[2, 5, 12, 40]),
        tombstone_percent: rng.pick(&[0, 10, 40]),
        compressed_percent: rng.pick(&[0, 30, 100]),
        last_orders: rng.percent(60),
    };
    let mut plan = Vec::with_capacity(options.around.operations as usize);
    for topic in 0..options.around.topics {
        plan.push(Planned { gap_us: 0, step: declare(&mut rng, &options, topic) });
    }
    while (plan.len() as u64) < options.around.operations {
        let gap_us = if rng.percent(30) { 0 } else { rng.magnitude(options.around.gap_bits + 3) };
        let step = draw_step(&mut rng, &options);
        plan.push(Planned { gap_us, step });
    }
    (options, plan)
}

fn declare(rng: &mut Rng, options: &Options, topic: u32) -> Step {
    Step::Declare {
        topic,
        partitions: rng.within(1..options.around.partitions_max + 1) as u32,
        id: rng.bits(),
        keeps: keeps(rng, options.around.expiry),
    }
}

fn keeps(rng: &mut Rng, expiry: bool) -> Keeps {
    let compaction = Compaction {
        lag_ms_min: rng.pick(&[0, 0, 0, 30, 300]),
        lag_ms_max: rng.pick(&[i64::MAX as u64, 400, 50]),
        tail_ms_max: rng.pick(&[10, 100, 1000]),
        tombstone_ms: rng.pick(&[0, 60, 600]),
        dirty_permille_min: rng.pick(&[0, 10, 500, 900]),
    };
    let compaction = rng.percent(80).then_some(compaction);
    let expires = expiry && rng.percent(50);
    Keeps {
        compaction,
        retention_ms: (expires && rng.percent(50)).then(|| rng.within(50..2_000)),
        retention_bytes: (expires && rng.percent(50)).then(|| rng.within(1_000..100_000)),
    }
}

fn draw_step(rng: &mut Rng, options: &Options) -> Step {
    let around = &options.around;
    let topic = rng.below(u64::from(around.topics)) as u32;
    let partition = rng.below(8) as u32;
    let producer = rng.below(u64::from(around.producers)) as u32;
    if let Some(trouble) = around.odds.trouble(rng) {
        return Step::Trouble(trouble);
    }
    match rng.below(100) {
        0..55 => {
            let records = 1 + rng.magnitude(around.records_bits) as u32;
            Step::Publish {
                producer,
                topic,
                partition,
                records,
                bytes: rng.magnitude(around.payload_bits) as u32,
                salt: rng.bits(),
                compression: if rng.percent(options.compressed_percent) { 1 + rng.below(4) as u8 } else { 0 },
                bare: rng.percent(3).then(|| rng.below(u64::from(records)) as u32),
            }
        }
        55..58 => Step::Repeat { producer, topic, partition },
        58..78 => Step::Read {
            topic,
            partition,
            percent: rng.below(101) as u32,
            bytes_max: rng.pick(&[1, 1_000, 60_000, 1_000_000]),
        },
        78..80 if around.trims => Step::Trim { topic, partition, percent: rng.below(90) as u32 },
        80..83 => Step::Checkpoint,
        83..90 => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(8) }),
        90..92 => Step::Alter { topic, keeps: keeps(rng, around.expiry) },
        _ => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(4) }),
    }
}
