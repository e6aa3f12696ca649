// SPDX-License-Identifier: Apache-2.0
//! The options and operations of a seed of the Kafka scenario. Storage options and faults are those of the kernel scenario.

use crate::network::Manner;
use crate::rng::Rng;
use crate::scenarios::drive;
use crate::scenarios::kernel::plan as storage;
use crate::scenarios::trouble::{Fault, Trouble, manners};

/// What a seed chooses for the whole run.
#[derive(Clone, Debug)]
pub struct Options {
    pub storage: storage::Options,
    pub producers: u32,
    pub numbered_percent: u64,
    pub consumers: u32,
    pub sessions_percent: u64,
    pub topics: u32,
    pub partitions: u32,
    pub manners: Vec<Manner>,
    pub cut_percent: u64,
    /// Of the cuts.
    pub half_open_percent: u64,
    pub compressed_percent: u64,
}

/// One operation of the plan.
pub type Planned = drive::Planned<Step>;

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Publish {
        producer: u32,
        topic: u32,
        partition: u32,
        records: u32,
        bytes: u32,
    },
    /// The client's connection breaks: at both ends, or only at the client's (the server does not learn of it).
    Cut {
        client: u32,
        half_open: bool,
    },
    /// Somebody who does not know the protocol, or means harm, connects and sends something.
    Babble {
        how: Babble,
        salt: u64,
    },
    /// What the process suffers.
    Trouble(Trouble),
}

/// What comes from strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Babble {
    /// A request announces more than comes.
    Lie,
    /// Some bits of a request are others.
    Flips,
    /// A request ends too early.
    Stump,
    Noise,
}

/// Draws both.
pub fn draw(seed: u64, shard_count: u32) -> (Options, Vec<Planned>) {
    let (storage, _) = storage::draw_options(seed, shard_count);
    let mut rng = Rng::of(seed, 2);
    let swarm = storage.odds.swarm;
    let manners = manners(swarm, &mut rng);
    let options = Options {
        producers: rng.within(1..4) as u32,
        numbered_percent: rng.pick(&[50, 100, 100]),
        consumers: rng.within(1..3) as u32,
        sessions_percent: rng.pick(&[0, 50, 100]),
        topics: rng.within(1..3) as u32,
        partitions: rng.within(1..4) as u32,
        manners,
        cut_percent: rng.pick(&[2, 5]) * u64::from(swarm.has(Fault::Cut) || swarm.has(Fault::HalfOpen)),
        half_open_percent: swarm.half_open_percent(),
        compressed_percent: rng.pick(&[0, 50, 100]),
        storage,
    };
    let operations = rng.within(60..140);
    let plan = (0..operations)
        .map(|_| {
            let gap_us = if rng.percent(30) { 0 } else { rng.magnitude(options.storage.gap_bits + 2) };
            Planned { gap_us, step: draw_step(&mut rng, &options) }
        })
        .collect();
    (options, plan)
}

fn draw_step(rng: &mut Rng, options: &Options) -> Step {
    let storage = &options.storage;
    if let Some(trouble) = storage.odds.trouble(rng) {
        return Step::Trouble(trouble);
    }
    if rng.below(100) < options.cut_percent {
        return Step::Cut { client: rng.below(8) as u32, half_open: rng.percent(options.half_open_percent) };
    }
    match rng.below(100) {
        0..85 => Step::Publish {
            producer: rng.below(u64::from(options.producers)) as u32,
            topic: rng.below(u64::from(options.topics)) as u32,
            partition: rng.below(u64::from(options.partitions)) as u32,
            records: 1 + rng.magnitude(storage.records_bits) as u32,
            bytes: rng.magnitude(storage.payload_bits) as u32,
        },
        85..90 => Step::Babble {
            how: rng.pick(&[Babble::Lie, Babble::Flips, Babble::Flips, Babble::Stump, Babble::Noise]),
            salt: rng.bits(),
        },
        _ => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(9) }),
    }
}
