// SPDX-License-Identifier: Apache-2.0
//! Rot: a stopped data directory is damaged in one place, and what the real program makes of it is judged, again and again.
//!
//! Owns: the directory that is damaged, the kinds of damage, the verdict. Must not know: any layout; a place is chosen by file and
//! byte only. (What a file is for follows from its folder.)
//!
//! For each piece of damage: `polylog fsck` looks, now and then `polylog salvage` copies, then the broker is started and everything
//! is read. Damage is *found by* fsck, by the start (which is refused), or by a read (the protocol's corruption error); or it is
//! harmless: nothing found it and every record is served as it was written. Wrong is: a record that is served and was never
//! written there; a record that is not there and nothing says so; a topic that does not exist any more; a report that does not
//! name the file; more lost in a read than the blocks that were hit; a salvage that loses more than it tells.

mod damage;
mod directory;
mod reading;

use crate::broker::{Broker, BrokerPlan};
use damage::Damage;
use directory::Written;
use sim::rng::Rng;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Salvage is tried once in so many.
const SALVAGE_ONE_IN: u64 = 5;
const WRONG_SHOWN_MAX: usize = 12;
/// A read may lose the block that was hit, which is one batch where that is larger than a block; damage may reach into the next.
const LOST_BYTES_MAX: u64 = 2 * directory::BATCH_BYTES_MAX;

/// What to do.
pub struct RotPlan {
    /// Pieces of damage.
    pub count: u64,
    pub seed: u64,
    pub program: PathBuf,
    pub folder: PathBuf,
}

/// How often damage of one kind of file was found by what.
#[derive(Default)]
struct Row {
    pieces: u64,
    fsck: u64,
    start: u64,
    read: u64,
    harmless: u64,
    wrong: u64,
}

/// Runs all of it and prints the table. True when nothing was wrong.
///
/// # Errors
/// A sentence: the rig could not be carried out.
pub fn run(plan: &RotPlan) -> Result<bool, String> {
    println!("rot: {} pieces of damage, seed {}", plan.count, plan.seed);
    let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
    let mut wrong: Vec<String> = Vec::new();
    let folder = plan.folder.join(format!("rot-{}", plan.seed));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut salvaged = 0;
    // Directories of one shard and of two, a new one for each hundred pieces.
    let mut made: Option<(PathBuf, Written)> = None;
    for number in 0..plan.count {
        if number % 100 == 0 {
            let path = folder.join("whole");
            let _ = fs::remove_dir_all(&path);
            let shards = if number % 200 == 0 { 1 } else { 2 };
            let written = directory::make(&plan.program, &path, shards, Rng::of(plan.seed, number))?;
            made = Some((path, written));
        }
        let Some((whole, written)) = &made else { continue };
        let mut rng = Rng::of(plan.seed ^ 0x0726_f740, number);
        let path = folder.join("damaged");
        let _ = fs::remove_dir_all(&path);
        damage::copy(whole, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        let damage = damage::inflict(&path, &mut rng).map_err(|error| format!("{}: {error}", path.display()))?;
        let with_salvage = rng.once_in(SALVAGE_ONE_IN);
        salvaged += u64::from(with_salvage);
        let verdict = judge(plan, &path, written, &damage, with_salvage)?;
        let row = rows.entry(damage.kind).or_default();
        row.pieces += 1;
        row.fsck += u64::from(verdict.fsck);
        row.start += u64::from(verdict.start);
        row.read += u64::from(verdict.read);
        row.harmless += u64::from(!verdict.fsck && !verdict.start && !verdict.read);
        if !verdict.wrong.is_empty() {
            row.wrong += 1;
            let evidence = folder.join(format!("wrong-{number}"));
            damage::copy(whole, &evidence).map_err(|error| format!("{}: {error}", evidence.display()))?;
            for sentence in verdict.wrong {
                wrong.push(format!("piece {number}, {damage}: {sentence}"));
            }
        }
    }
    print_table(&rows);
    println!("salvage was tried on {salvaged} of them");
    for sentence in wrong.iter().take(WRONG_SHOWN_MAX) {
        println!("  WRONG {sentence}");
    }
    let pieces: u64 = rows.values().map(|row| row.pieces).sum();
    let harmless: u64 = rows.values().map(|row| row.harmless).sum();
    println!(
        "{pieces} pieces of damage: {} found, {harmless} harmless, {} wrong",
        pieces - harmless,
        rows.values().map(|row| row.wrong).sum::<u64>()
    );
    if wrong.is_empty() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    } else {
        println!("evidence (the directories before the damage): {}", folder.display());
    }
    Ok(wrong.is_empty())
}

fn print_table(rows: &BTreeMap<&'static str, Row>) {
    println!(
        "{:<12} {:>7} {:>8} {:>8} {:>8} {:>9} {:>6}",
        "file", "pieces", "by fsck", "by start", "by read", "harmless", "wrong"
    );
    for (kind, row) in rows {
        println!(
            "{kind:<12} {:>7} {:>8} {:>8} {:>8} {:>9} {:>6}",
            row.pieces, row.fsck, row.start, row.read, row.harmless, row.wrong
        );
    }
}

#[derive(Default)]
struct Verdict {
    fsck: bool,
    start: bool,
    read: bool,
    wrong: Vec<String>,
}

fn judge(
    plan: &RotPlan,
    path: &Path,
    written: &Written,
    damage: &Damage,
    with_salvage: bool,
) -> Result<Verdict, String> {
    let mut verdict = Verdict::default();
    let (code, told) = tool(&plan.program, &["fsck".as_ref(), path.as_ref()])?;
    match code {
        Some(0) => {}
        Some(1 | 2) => {
            verdict.fsck = true;
            if !damage.is_named_in(&told) {
                verdict.wrong.push(format!("fsck does not name the file: {}", told.trim()));
            }
        }
        other => verdict.wrong.push(format!("fsck ended with {other:?}: {}", told.trim())),
    }
    if with_salvage {
        salvage(plan, path, written, damage, &mut verdict)?;
    }
    let broker = directory::broker(&plan.program, path, &[]);
    // What earlier starts said is not about this one.
    let _ = fs::remove_file(&broker.log);
    match Broker::start(&broker, PATIENCE) {
        Err(error) => {
            verdict.start = true;
            let told = error.to_string();
            if !damage.is_named_in(&told) {
                verdict.wrong.push(format!("the refused start does not name the file: {}", told.trim()));
            }
        }
        Ok(broker) => {
            let read = reading::all(broker.address, written);
            broker.kill().map_err(|error| error.to_string())?;
            match read {
                Err(why) => verdict.wrong.push(format!("reading: {why}")),
                Ok(read) => {
                    verdict.read = read.refused_records > 0;
                    verdict.wrong.extend(read.wrong);
                    if read.refused_bytes > LOST_BYTES_MAX && !damage.is_large() {
                        verdict.wrong.push(format!("{} bytes of records cannot be read", read.refused_bytes));
                    }
                }
            }
        }
    }
    Ok(verdict)
}

/// Copies what is good into a new directory, and holds what is there against what it said.
fn salvage(
    plan: &RotPlan,
    path: &Path,
    written: &Written,
    damage: &Damage,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let out = path.with_file_name("salvaged");
    let _ = fs::remove_dir_all(&out);
    let arguments: [&std::ffi::OsStr; 4] = ["salvage".as_ref(), path.as_ref(), "--out".as_ref(), out.as_ref()];
    let (code, told) = tool(&plan.program, &arguments)?;
    if !matches!(code, Some(0 | 1)) {
        // Without an identity, for one, there is nothing to go by; then it must say so.
        if !damage.is_named_in(&told) {
            verdict.wrong.push(format!("salvage ended with {code:?}: {}", told.trim()));
        }
        return Ok(());
    }
    let broker = match Broker::start(&BrokerPlan::new(&plan.program, &out), PATIENCE) {
        Ok(broker) => broker,
        Err(error) => {
            verdict.wrong.push(format!("what was salvaged does not start: {error}"));
            return Ok(());
        }
    };
    let read = reading::salvaged(broker.address, written);
    broker.kill().map_err(|error| error.to_string())?;
    match read {
        Err(why) => verdict.wrong.push(format!("reading what was salvaged: {why}")),
        Ok(read) => {
            verdict.wrong.extend(read.wrong.into_iter().map(|sentence| format!("salvaged: {sentence}")));
            if (read.missing_records > 0 || !read.absent.is_empty()) && code == Some(0) {
                let missing = read.missing_records;
                verdict.wrong.push(format!("salvage lost {missing} records and says nothing is lost: {}", told.trim()));
            }
        }
    }
    Ok(())
}

/// Runs an offline tool: exit code (none: a signal) and all it said.
fn tool(program: &Path, arguments: &[&std::ffi::OsStr]) -> Result<(Option<i32>, String), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{}: {error}", program.display()))?;
    let told = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&told).into_owned()))
}
