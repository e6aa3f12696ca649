// SPDX-License-Identifier: Apache-2.0
//! The options and operations of a seed of the groups scenario. Storage options and faults are those of the kernel scenario.

use crate::network::Manner;
use crate::rng::Rng;
use crate::scenarios::drive;
use crate::scenarios::kernel::plan as storage;
use crate::scenarios::trouble::{Fault, Trouble, manners};

/// What a seed chooses for the whole run.
#[derive(Clone, Debug)]
pub struct Options {
    pub storage: storage::Options,
    pub manners: Vec<Manner>,
    /// How many members each group has.
    pub members: Vec<u32>,
    pub static_percent: u64,
    pub committers: u32,
    pub topics: u32,
    pub partitions: u32,
    pub session_timeout_ms: u64,
    pub rebalance_timeout_ms: u64,
    /// A member that hears of a rebalance takes its time once in so many times.
    pub slow_one_in: u64,
    pub cut_percent: u64,
    /// Of the cuts.
    pub half_open_percent: u64,
    pub deletes: bool,
    pub alters: bool,
    /// Offsets lapse so soon.
    pub lapse_ms: Option<u64>,
}

/// One operation of the plan.
pub type Planned = drive::Planned<Step>;

/// Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Publish {
        topic: u32,
        partition: u32,
        records: u32,
        bytes: u32,
    },
    /// A member commits where it is.
    Commit {
        member: u32,
    },
    /// A client without membership commits for a group of its own.
    CommitAlone {
        committer: u32,
        topic: u32,
        partition: u32,
        offset: u64,
    },
    /// The same for a group that has members.
    Intrude {
        group: u32,
        topic: u32,
        partition: u32,
        offset: u64,
    },
    /// What some member was told a while ago is used once more.
    Stale {
        group: u32,
        back: u32,
        use_for: Use,
    },
    Leave {
        member: u32,
        away_ms: u64,
    },
    /// The member is gone without a word.
    Vanish {
        member: u32,
        away_ms: u64,
    },
    /// The member joins anew without need.
    Rejoin {
        member: u32,
    },
    /// Another process takes the static member's place while it is there.
    Replace {
        member: u32,
    },
    Recall {
        group: u32,
        all: bool,
    },
    List,
    Describe {
        group: u32,
    },
    DeleteGroup {
        group: u32,
    },
    DeleteOffset {
        group: u32,
        topic: u32,
        partition: u32,
    },
    /// Deleted, and made again.
    Renew {
        topic: u32,
    },
    AddPartition {
        topic: u32,
    },
    Alter {
        topic: u32,
        retention_ms: u64,
    },
    Trim {
        topic: u32,
        partition: u32,
        offset: i64,
    },
    Cut {
        client: u32,
        half_open: bool,
    },
    /// What the process suffers.
    Trouble(Trouble),
}

/// What old words are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Commit,
    Heartbeat,
    Sync,
}

/// Draws both.
pub fn draw(seed: u64, shard_count: u32) -> (Options, Vec<Planned>) {
    let (mut storage, _) = storage::draw_options(seed, shard_count);
    let mut rng = Rng::of(seed, 3);
    let swarm = storage.odds.swarm;
    let manners = manners(swarm, &mut rng);
    let members = (0..rng.within(1..4)).map(|_| rng.pick(&[1, 2, 2, 3, 3, 4, 5, 8])).collect();
    let lapse_ms = rng.percent(15).then(|| rng.pick(&[300, 3_000]));
    storage.settings.groups.session_timeout_ms_min = 100;
    if let Some(lapse_ms) = lapse_ms {
        storage.settings.groups.offsets_retention_ms = lapse_ms;
        storage.settings.groups.offsets_check_ms = 100;
        // Nobody could say when they do.
        storage.odds.swarm.leave_out(Fault::ClockJump);
    }
    let options = Options {
        manners,
        members,
        static_percent: rng.pick(&[0, 30, 60]),
        committers: rng.within(0..3) as u32,
        topics: rng.within(1..3) as u32,
        partitions: rng.within(1..5) as u32,
        session_timeout_ms: rng.pick(&[300, 1_000, 1_000, 6_000]),
        rebalance_timeout_ms: rng.pick(&[500, 2_000, 2_000, 8_000]),
        slow_one_in: rng.pick(&[0, 10, 3]),
        cut_percent: rng.pick(&[2, 5]) * u64::from(swarm.has(Fault::Cut) || swarm.has(Fault::HalfOpen)),
        half_open_percent: swarm.half_open_percent(),
        deletes: rng.percent(50),
        alters: rng.percent(50),
        lapse_ms,
        storage,
    };
    let operations = rng.within(60..140);
    let plan = (0..operations)
        .map(|_| {
            let gap_us = if rng.percent(20) { 0 } else { rng.magnitude(options.storage.gap_bits + 5) };
            Planned { gap_us, step: draw_step(&mut rng, &options) }
        })
        .collect();
    (options, plan)
}

fn draw_step(rng: &mut Rng, options: &Options) -> Step {
    let storage = &options.storage;
    let topic = rng.below(u64::from(options.topics)) as u32;
    let partition = rng.below(u64::from(options.partitions) + 1) as u32;
    let group = rng.below(options.members.len() as u64) as u32;
    let member = rng.below(64) as u32;
    if let Some(trouble) = storage.odds.trouble(rng) {
        return Step::Trouble(trouble);
    }
    if rng.below(100) < options.cut_percent {
        return Step::Cut { client: member, half_open: rng.percent(options.half_open_percent) };
    }
    let away_ms = rng.within(0..2) * rng.magnitude(13);
    match rng.below(100) {
        0..20 => {
            Step::Publish { topic, partition, records: 1 + rng.magnitude(3) as u32, bytes: rng.magnitude(9) as u32 }
        }
        20..45 => Step::Commit { member },
        45..52 => Step::CommitAlone { committer: member, topic, partition, offset: rng.magnitude(20) },
        52..54 => Step::Intrude { group, topic, partition, offset: rng.magnitude(20) },
        54..62 => Step::Stale {
            group,
            back: rng.magnitude(4) as u32,
            use_for: rng.pick(&[Use::Commit, Use::Commit, Use::Heartbeat, Use::Sync]),
        },
        62..66 => Step::Leave { member, away_ms },
        66..70 => Step::Vanish { member, away_ms },
        70..73 => Step::Rejoin { member },
        73..76 => Step::Replace { member },
        76..81 => Step::Recall { group: rng.below(8) as u32, all: rng.percent(40) },
        81..82 => Step::List,
        82..84 => Step::Describe { group },
        84..85 => Step::DeleteGroup { group: rng.below(8) as u32 },
        85..86 => Step::DeleteOffset { group: rng.below(8) as u32, topic, partition },
        86..88 if options.deletes => Step::Renew { topic },
        88..89 if options.alters => Step::AddPartition { topic },
        89..90 if options.alters => Step::Alter { topic, retention_ms: 100 + rng.magnitude(12) },
        90..92 if options.alters => Step::Trim { topic, partition, offset: rng.magnitude(5) as i64 - 1 },
        94..95 => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(14) }),
        _ => Step::Trouble(Trouble::Quiet { ms: rng.magnitude(9) }),
    }
}
