// SPDX-License-Identifier: Apache-2.0
//! Power cuts: the real broker in a machine that loses its power under load, and a look for anything that was acknowledged or seen
//! and is not there.
//!
//! Owns: the cuts, their moments, the verdict. Load and rules are the kill loop's (`kill::load`, `sim::checker`).
//! Must not know: how the broker keeps its promises.
//!
//! One cut: the machine boots, its file system replays its journal, the broker starts and answers; clients that live through all
//! cuts load it over a forwarded port of loopback; one time in three the broker is first killed and serves again, so that what it
//! found in the page cache and never synced itself is at stake; then QEMU is killed, which loses the guest's page cache, and the
//! drive loses, or tears, what was not flushed (`drive.rs`). Most cuts fall into a flush with much behind it, and in half of the boots
//! flushes are slow, so that there is much. After the last cut everything is read and judged.
//!
//! With a planted bug every cut has a disk and a verdict of its own, and the rig must see the loss in nine of ten.

mod drive;
mod guest;
mod image;

use crate::broker::SMALL_SETTINGS;
use crate::kill::load;
use crate::kill::shared::{PARTITIONS, Shared, TOPIC};
use crate::kill::verdict::{Findings, Tally, percentile, show, tell};
use crate::wire::{Code, Connection, LATEST, WireError};
use drive::{Aim, Cut, Pace};
use guest::{Guest, GuestPlan};
use sim::checker::{self, Report};
use sim::history::{Event, History};
use sim::rng::Rng;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A guest without KVM on a machine with other work is slow. Nobody waits so long for one that does well.
const PATIENCE: Duration = Duration::from_secs(120);
/// The cut comes when so many batches were acknowledged since the first answer, so that a slow machine is loaded as much as a fast
/// one, and then after a moment in this range.
const LOAD_BATCHES: std::ops::Range<u64> = 10..300;
/// And so many changes of topics, settings and groups.
const LOAD_CHANGES: std::ops::Range<u64> = 1..40;
const MOMENT_US: std::ops::Range<u64> = 0..200_000;
/// Or after so long, whatever happened until then.
const LOAD_TIME_MAX: Duration = Duration::from_secs(20);
/// So many of a hundred cuts fall into a flush, the others come when they come.
const CUTS_IN_FLUSH_PERCENT: u64 = 75;
/// How much must be unflushed when that flush comes. A log that is synced often has little behind most of its flushes; a spill has much.
const SECTORS_MIN: [u64; 4] = [1, 16, 128, 1_024];
/// If none comes in that time, the power goes anyhow.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);
/// From the flush until the power is gone: what was under way arrives in the drive's cache.
const LAST_GASP_US: std::ops::Range<u64> = 0..20_000;
/// What a slow flush takes.
const FLUSH_US: std::ops::Range<u64> = 1_000..40_000;
/// A guest whose kernel says nothing is started so often: on a busy host some do not boot.
const BOOTS_MAX: u32 = 3;
/// One time in so many the broker is killed and serves again before the cut.
const KILL_ONE_IN: u64 = 3;
const DISK_BYTES: u64 = 4 << 30;

/// What to do.
pub struct PowerPlan {
    pub cuts: u64,
    pub seed: u64,
    pub program: PathBuf,
    /// A mistake to be switched on in a broker that was built with them: it must be seen.
    pub planted: Option<String>,
    /// Where disks and the evidence of a failure lie.
    pub folder: PathBuf,
}

/// What a broker's environment says.
type Settings = [(&'static str, &'static str)];

struct Machine {
    name: &'static str,
    settings: &'static Settings,
    shards: &'static str,
}

const MACHINES: [Machine; 4] = [
    Machine { name: "default settings", settings: &[], shards: "1" },
    Machine { name: "small tail", settings: SMALL_SETTINGS, shards: "1" },
    Machine { name: "two shards", settings: &[], shards: "2" },
    Machine { name: "two shards, small tail", settings: SMALL_SETTINGS, shards: "2" },
];

/// What came out.
#[derive(Default)]
struct Verdict {
    cuts: u64,
    kills: u64,
    tally: Tally,
    flushes: u64,
    cut: Cut,
    in_flush: u64,
    answer_ms: Vec<f64>,
    boot_answer_ms: Vec<f64>,
}

/// Runs all cuts and prints the verdict as the last line. True when nothing was wrong, or, with a planted bug, when the rig saw it.
///
/// # Errors
/// A sentence: the rig could not be carried out, or the broker did not serve again, which is a failure too.
pub fn run(plan: &PowerPlan) -> Result<bool, String> {
    let kernel = match image::provide(&plan.folder.join("power-kernel")) {
        Ok(kernel) => kernel,
        Err(why) => {
            println!("skipped: torture power, because {why}");
            return Ok(true);
        }
    };
    println!("power: {} cuts, seed {}", plan.cuts, plan.seed);
    let folder = plan.folder.join(format!("power-seed-{}", plan.seed));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let initial = folder.join("initial.cpio");
    image::write_initial(&kernel, &plan.program, &initial)?;
    let machine = |settings: &Settings, shards: &str| {
        let mut settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        settings.push(("POLYLOG_SHARDS".to_owned(), shards.to_owned()));
        settings.extend(plan.planted.iter().map(|bug| ("POLYLOG_PLANTED".to_owned(), bug.clone())));
        GuestPlan {
            kernel: kernel.image.clone(),
            initial: initial.clone(),
            disk: folder.join("disk.img"),
            log: folder.join("guest.log"),
            // Short: the path of a socket has about a hundred bytes.
            socket: std::env::temp_dir().join(format!("polylog-power-{}", std::process::id())),
            settings,
        }
    };
    let good = match &plan.planted {
        None => honest(plan, &folder, machine)?,
        Some(bug) => control(plan, bug, &folder, machine)?,
    };
    if good {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(good)
}

/// The broker as it is: a machine of each kind, with its share of the cuts.
fn honest(plan: &PowerPlan, folder: &Path, machine: impl Fn(&Settings, &str) -> GuestPlan) -> Result<bool, String> {
    let mut verdict = Verdict::default();
    let count = MACHINES.len() as u64;
    for (index, Machine { name, settings, shards }) in (0..).zip(MACHINES) {
        let cuts = plan.cuts / count + u64::from(index < plan.cuts % count);
        if cuts == 0 {
            continue;
        }
        let guest = machine(settings, shards);
        image::write_disk(&guest.disk, DISK_BYTES)?;
        let (report, findings) =
            life_of(&guest, cuts, true, &mut Rng::of(plan.seed, index), &folder.join("history.txt"), &mut verdict)?;
        verdict.tally.add(&Tally::of(&report, &findings));
        if !tell(&format!("{name}: {cuts} cuts"), &report, &findings) {
            println!("evidence: {}: disk.img, history.txt, guest.log", folder.display());
            break;
        }
    }
    println!("{} flushes, {} cuts in one; in all cuts: {}", verdict.flushes, verdict.in_flush, verdict.cut);
    println!(
        "boot to first answer p50/p99 {:.0}/{:.0} ms, restart in the guest to first answer p50/p99 {:.0}/{:.0} ms",
        percentile(&verdict.boot_answer_ms, 0.5),
        percentile(&verdict.boot_answer_ms, 0.99),
        percentile(&verdict.answer_ms, 0.5),
        percentile(&verdict.answer_ms, 0.99)
    );
    println!("{} cuts, {} of them after a kill -9 and a restart, {}", verdict.cuts, verdict.kills, verdict.tally);
    Ok(verdict.tally.clean())
}

/// A broker that is meant to lose: a disk and a verdict for each cut.
fn control(
    plan: &PowerPlan,
    bug: &str,
    folder: &Path,
    machine: impl Fn(&Settings, &str) -> GuestPlan,
) -> Result<bool, String> {
    let guest = machine(&[], "1");
    let mut seen = 0;
    for cut in 0..plan.cuts {
        image::write_disk(&guest.disk, DISK_BYTES)?;
        let mut verdict = Verdict::default();
        let mut rng = Rng::of(plan.seed, cut);
        // At any moment: a flush that is waited for would make durable what the bug forgets.
        // A start that is refused is not counted as a loss that was seen.
        let what = match life_of(&guest, 1, false, &mut rng, &folder.join("history.txt"), &mut verdict) {
            Ok((report, _)) => {
                seen += u64::from(report.lost() > 0);
                format!("{} acked, lost {}, commits back {}", report.acked, report.lost(), report.back())
            }
            Err(why) => why,
        };
        println!("{bug}, cut {}: {what}", cut + 1);
    }
    println!("{bug} planted: records were lost, and seen to be, in {seen} of {} cuts", plan.cuts);
    Ok(seen * 10 >= plan.cuts * 9)
}

/// One machine from its first boot to the verdict after its last cut. A verdict that is not clean leaves `evidence` behind.
fn life_of(
    plan: &GuestPlan,
    cuts: u64,
    aimed: bool,
    rng: &mut Rng,
    evidence: &Path,
    verdict: &mut Verdict,
) -> Result<(Report, Findings), String> {
    let begin = Instant::now();
    let shared = Shared::new(History::default(), begin);
    let seed = rng.bits();
    let outcome = std::thread::scope(|scope| {
        load::start_with_keepers(scope, &shared, seed, 1);
        let outcome = cuts_of(plan, cuts, aimed, rng, &shared, verdict);
        if outcome.is_err() {
            // The threads must not wait for a broker that does not come.
            shared.abandon();
        }
        outcome
    });
    let (history, findings) = shared.into_parts();
    let guest = match outcome {
        Ok(guest) => guest,
        Err(why) => {
            show(&Report::default(), &findings);
            let _ = fs::write(evidence, history.to_text());
            return Err(why);
        }
    };
    let drained = Shared::new(history, begin);
    drained.record(|push| push(Event::Drain));
    let read = Connection::open(guest.address, PATIENCE).map_err(WireError::Io);
    read.and_then(|mut connection| load::read_everything(&mut connection, &drained, load::CLIENTS_AND_KEEPERS + 1))
        .map_err(|error| format!("the last full reading failed: {error}"))?;
    drop(guest);
    let (history, _) = drained.into_parts();
    let report = checker::check(&history);
    if !report.clean() || !findings.clean() {
        fs::write(evidence, history.to_text()).map_err(|error| error.to_string())?;
    }
    Ok((report, findings))
}

/// Returns the machine as it serves after the last cut, with all senders settled by it. `aimed`: cuts may wait for a flush.
fn cuts_of(
    plan: &GuestPlan,
    cuts: u64,
    aimed: bool,
    rng: &mut Rng,
    shared: &Shared,
    verdict: &mut Verdict,
) -> Result<Guest, String> {
    for number in 0..cuts {
        let pace = rng.once_in(2).then(|| Pace { rng: Rng::new(rng.bits()), flush_us: FLUSH_US });
        let mut guest = serve(plan, pace, shared, number > 0, verdict)?;
        load_for(&mut guest, shared, rng)?;
        if rng.once_in(KILL_ONE_IN) {
            shared.gone();
            guest.kill_broker(PATIENCE)?;
            shared.record(|push| push(Event::Restart { power_lost: false }));
            guest.serve_again(PATIENCE)?;
            verdict.answer_ms.push(first_answer(&guest)?);
            verdict.kills += 1;
            shared.serve_at(guest.address);
            load_for(&mut guest, shared, rng)?;
        }
        let in_flush = aimed && rng.percent(CUTS_IN_FLUSH_PERCENT) && {
            let aim = Aim { sectors_min: rng.pick(&SECTORS_MIN), is_done: rng.once_in(5) };
            guest.fall_silent(aim, FLUSH_TIME_MAX)
        };
        if in_flush {
            std::thread::sleep(Duration::from_micros(rng.within(LAST_GASP_US)));
        }
        shared.gone();
        let (cut, flushes) = guest.cut(rng)?;
        shared.record(|push| push(Event::Restart { power_lost: true }));
        println!("  cut {}{}: {cut}", number + 1, if in_flush { " in a flush" } else { "" });
        verdict.cuts += 1;
        verdict.in_flush += u64::from(in_flush);
        verdict.flushes += flushes;
        verdict.cut.add(cut);
    }
    let guest = serve(plan, None, shared, cuts > 0, verdict)?;
    shared.end();
    Ok(guest)
}

fn serve(
    plan: &GuestPlan,
    pace: Option<Pace>,
    shared: &Shared,
    again: bool,
    verdict: &mut Verdict,
) -> Result<Guest, String> {
    let mut boots = 1;
    let mut pace = pace;
    let guest = loop {
        match Guest::boot(plan, pace.take(), PATIENCE) {
            // Not even its kernel has said a word: that is the host's doing, and nobody has touched the disk.
            Err(why) if boots < BOOTS_MAX && fs::metadata(&plan.log).is_ok_and(|log| log.len() == 0) => {
                println!("  a guest that did not boot is started again: {}", why.lines().next().unwrap_or_default());
                boots += 1;
            }
            outcome => break outcome?,
        }
    };
    let answer_ms = first_answer(&guest)?;
    if again {
        verdict.boot_answer_ms.push(answer_ms);
    }
    shared.serve_at(guest.address);
    Ok(guest)
}

fn load_for(guest: &mut Guest, shared: &Shared, rng: &mut Rng) -> Result<(), String> {
    let enough = shared.acked_batches() + rng.within(LOAD_BATCHES);
    let until = Instant::now() + LOAD_TIME_MAX;
    let enough_changes = shared.changes() + rng.within(LOAD_CHANGES);
    while (shared.acked_batches() < enough || shared.changes() < enough_changes) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_micros(rng.within(MOMENT_US)));
    if guest.lives() { Ok(()) } else { Err("the guest, or the broker in it, ended by itself".to_owned()) }
}

/// Milliseconds from the start to the first answer about data, the topic made when it is not there yet.
fn first_answer(guest: &Guest) -> Result<f64, String> {
    ask(guest.address).map_err(|error| format!("no answer after the start: {error}"))?;
    Ok(guest.started.elapsed().as_secs_f64() * 1e3)
}

fn ask(address: SocketAddr) -> Result<(), WireError> {
    let mut connection = Connection::open(address, PATIENCE)?;
    match connection.list_offset(TOPIC, 0, LATEST) {
        Err(WireError::Refused { code: Code::UNKNOWN_TOPIC_OR_PARTITION, .. }) => {
            connection.create_topic(TOPIC, PARTITIONS as i32, &[])
        }
        answer => answer.map(drop),
    }
}
