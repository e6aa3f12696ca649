// SPDX-License-Identifier: Apache-2.0
//! `polylog-bench`: loads the real broker, kills it, and measures it beside its peers and beside the machine itself.
//!
//! Owns: the command line. Each command is a module: `kill` (nothing acknowledged is lost), `power` (nor when the power goes), `rot` (damage at rest is found), `disk` (disks that are full or fail), `flood` (clients that mean no good, in little memory), `soak` (everything for an hour), `kafka` (beside Apache Kafka), `scale`
//! (the engine's bounds at size), `floors` (what the machine can do), `design` (models behind decisions). Shared by them: `apart` (namespaces of its own), `fuse` (a disk of ours), `wire` (a raw client), `broker` (the program under test), `process` (`/proc`),
//! `results` (one JSON line a run).
//! Must not know: the broker's insides. It sees sockets, files and `/proc`.

mod apart;
mod broker;
mod design;
mod disk;
mod flood;
mod floors;
mod fuse;
mod kafka;
mod kill;
mod page;
mod power;
mod process;
mod results;
mod rot;
mod scale;
mod soak;
mod wire;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "polylog-bench", about = "Load, kills and measurements for Polylog")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The broker under test [default: target/release/polylog of the workspace]
    #[arg(long, global = true, visible_alias = "broker", value_name = "PROGRAM")]
    polylog: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// kill -9 under load, start again, and look for what is lost
    Kill {
        /// How many kills
        #[arg(long, default_value_t = 10)]
        rounds: u64,
        /// Decides moments and sizes; threads and disks keep a will of their own [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
        /// Switches on a mistake in a broker built with the feature `planted`, or each in turn (`all`): the loop must see it
        #[arg(long, value_name = "BUG")]
        planted: Option<String>,
    },
    /// The broker in a machine of its own that loses its power under load; then a look for what is lost
    Power {
        /// How many cuts
        #[arg(long, default_value_t = 10)]
        cuts: u64,
        /// Decides moments, sizes and what an unflushed disk keeps [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
        /// Switches on a mistake in a broker built with the feature `planted`; its loss must be seen in nine of ten cuts
        #[arg(long, value_name = "BUG")]
        planted: Option<String>,
    },
    /// Damage in a stopped data directory, piece after piece: each must be found, or harm nothing
    Rot {
        /// How many pieces of damage
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Decides what is written and where it is damaged [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Disks that are full, fail, tear, stall, forget and lose their power (needs root: it mounts)
    Disk {
        /// Rounds with faults; 14 have one of each kind
        #[arg(long, default_value_t = 28)]
        rounds: u64,
        /// Decides faults and moments; threads keep a will of their own [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
        /// Only one part: full, faults, control
        #[arg(long, value_name = "PART")]
        only: Option<String>,
    },
    /// Floods of clients that mean no good against a broker in 512 MiB (needs root: it makes a memory group)
    Flood {
        /// How long each wave lasts
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        /// Decides places and sizes; threads keep a will of their own [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
        /// Only waves whose names contain this, and the idle ones; `control` is a broker without bounds that must die
        #[arg(long, value_name = "WAVE")]
        only: Option<String>,
    },
    /// Mixed load with kills, pauses and cut connections for an hour, and a look at what grows
    Soak {
        /// How long
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Decides faults and moments; threads keep a will of their own [default: the clock]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Beside Apache Kafka: throughput, CPU, latency
    Kafka {
        /// Within ten minutes
        #[arg(long)]
        quick: bool,
        /// Only workloads whose names contain this (and what shares their topic); the table keeps its other rows
        #[arg(long, value_name = "PART")]
        only: Vec<String>,
        /// How much the bulk row writes [default: 10; 1 with --quick]; both brokers need that and half as much again on the disk, in turns
        #[arg(long, value_name = "GB")]
        bulk_gb: Option<f64>,
        /// For a look: nothing is recorded
        #[arg(long)]
        unrecorded: bool,
        /// Polylog alone; nothing is recorded
        #[arg(long)]
        alone: bool,
        /// Apache Kafka alone, to prove the clients; nothing is recorded
        #[arg(long, conflicts_with = "alone")]
        peer_only: bool,
    },
    /// The engine's bounds: 100,000 partitions, 10 GB over 10,000 of them, starts of all kinds
    Scale {
        /// 1 GB instead of 10
        #[arg(long)]
        quick: bool,
        /// Only groups whose names contain this; nothing is recorded
        #[arg(long, value_name = "PART")]
        only: Vec<String>,
        /// Leaves the last data directory behind, for a look
        #[arg(long)]
        keep: bool,
    },
    /// What the machine can do at best: loopback, disk, memory
    Floors,
    /// The measurements behind docs/internals/measurements.md: who runs a shard, how a spill is paced
    Design,
    /// Writes the tables of docs/benchmarks.md from the recorded results
    Table,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("polylog-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool, String> {
    let root = workspace_root()?;
    let program = match arguments.polylog {
        Some(program) => program,
        None => root.join("target").join("release").join("polylog"),
    };
    match arguments.command {
        Command::Kill { rounds, seed, planted } => kill::run(&kill::KillPlan {
            rounds,
            seed: seed.unwrap_or_else(clock_seed),
            program,
            planted,
            folder: root.join("target").join("torture"),
        }),
        Command::Power { cuts, seed, planted } => power::run(&power::PowerPlan {
            cuts,
            seed: seed.unwrap_or_else(clock_seed),
            program,
            planted,
            folder: root.join("target").join("torture"),
        }),
        Command::Rot { count, seed } => rot::run(&rot::RotPlan {
            count,
            seed: seed.unwrap_or_else(clock_seed),
            program,
            folder: root.join("target").join("torture"),
        }),
        Command::Disk { rounds, seed, only } => disk::run(&disk::DiskPlan {
            rounds,
            seed: seed.unwrap_or_else(clock_seed),
            program,
            folder: root.join("target").join("torture"),
            only,
        }),
        Command::Flood { seconds, seed, only } => flood::run(&flood::FloodPlan {
            seconds,
            seed: seed.unwrap_or_else(clock_seed),
            program,
            folder: root.join("target").join("torture"),
            only,
        }),
        Command::Soak { minutes, seed } => soak::run(&soak::SoakPlan {
            minutes,
            seed: seed.unwrap_or_else(clock_seed),
            program,
            folder: root.join("target").join("torture"),
        }),
        Command::Kafka { quick, only, bulk_gb, unrecorded, alone, peer_only } => {
            let bulk_gb = bulk_gb.unwrap_or(if quick { 1.0 } else { 10.0 });
            kafka::run(kafka::KafkaPlan { quick, only, root, program, alone, peer_only, unrecorded, bulk_gb })
                .map(|()| true)
        }
        Command::Scale { quick, only, keep } => scale::run(scale::ScalePlan { quick, root, program, only, keep }),
        Command::Floors => {
            let folder = root.join("target").join("bench");
            let floors = floors::measure(&folder, floors::FloorPlan::QUICK).map_err(|error| error.to_string())?;
            println!("{}", process::machine());
            for (name, figure) in floors.rows() {
                println!("{name}: {figure}");
            }
            Ok(true)
        }
        Command::Design => {
            design::run(&root.join("target").join("bench")).map_err(|error| error.to_string())?;
            Ok(true)
        }
        Command::Table => {
            kafka::table::write(&root)?;
            scale::table::write(&root).map(|()| true)
        }
    }
}

/// A seed for who gave none.
fn clock_seed() -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(clock.subsec_nanos())
}

/// The workspace around the current directory.
fn workspace_root() -> Result<PathBuf, String> {
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    here.ancestors()
        .find(|folder| folder.join("bench").join("clients").is_dir())
        .map(PathBuf::from)
        .ok_or_else(|| "run it inside the repository".to_owned())
}
