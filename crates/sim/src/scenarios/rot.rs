// SPDX-License-Identifier: Apache-2.0
//! Damage at rest: one place of one file is not what was written. The outcome must be that somebody is told: the start is refused
//! with file and place, or a read answers "corrupt"; never other data, never records missing in silence.
//!
//! Owns: the damage. The life before it is that of the kernel scenario without a failing disk, ended when everything is durable and
//! proven: of a log whose very last frame rots within a moment of a crash nobody can tell that it was more than torn.
//!
//! Kinds of damage, those that disks are known for: a bit turned over, a page of zeros, a page as it was earlier (a write that was
//! lost though reported done), a page that went to another place, a file's end gone.

use super::drive::{Checked, Drive, play};
use super::kernel::Run;
use super::kernel::plan::{self, Options, Planned, Step};
use super::trouble::Trouble;
use super::{Outcome, Setup};
use crate::disk::{Knobs, PAGE};
use crate::history::Event;
use crate::rng::Rng;
use crate::world::{Death, Refused};
use media::disk::FileName;
use std::collections::BTreeMap;

/// Runs a seed.
pub fn run(setup: &Setup) -> Outcome {
    let (mut options, plan) = plan::draw(setup.seed, setup.shard_count);
    calm(&mut options);
    let plan = plan.into_iter().filter(|planned| !troubles(planned.step)).collect();
    let mut rng = Rng::of(setup.seed, 3);
    play(setup, &options, plan, Run::new(setup, &options), |run, plan| tell(run, plan, &mut rng))
}

fn calm(options: &mut Options) {
    options.knobs = Knobs { tear: options.knobs.tear, ..Knobs::calm() };
    options.storm_one_in = 0;
    // Small tails, so that there are segments and checkpoints to damage.
    options.settings.tail_bytes_max = options.settings.tail_bytes_max.min(40 << 10);
}

fn troubles(step: Step) -> bool {
    matches!(step, Step::Trouble(Trouble::Full { .. } | Trouble::FailSync))
}

fn tell(run: &mut Run<'_>, plan: &[(usize, Planned)], rng: &mut Rng) -> Checked {
    run.start()?;
    let middle = rng.below(plan.len() as u64 + 1) as usize;
    run.carry_out(&plan[..middle])?;
    let earlier = run.world.disk.image();
    run.carry_out(&plan[middle..])?;
    // A death that is still due would come in the middle of the judgement.
    run.world.heal();
    run.settle()?;
    if rng.percent(60) {
        run.world.process().request_checkpoint();
        run.settle()?;
    }
    // Long enough for the proof that the last frame was durable.
    run.run_for(200_000)?;
    run.settle()?;

    let running = rng.percent(25);
    if !running {
        run.world.die(Death::Kill);
        run.history.push(run.world.clock.us(), Event::Restart { power_lost: false });
    }
    let Some((file, what)) = damage(run, rng, &earlier, running) else { return Ok(()) };
    run.world.clock.note(50, [0, 0, 0], format_args!("{file}: {what}"));
    run.world.damage_done = true;
    run.history.push(run.world.clock.us(), Event::Damage);
    if !running {
        match run.world.start() {
            Ok(()) => {}
            Err(Refused::Damage(corrupt)) => {
                run.world.sightings.saw("damage refused at the start");
                if corrupt.name.is_empty() || corrupt.why.is_empty() {
                    return Err(format!("a refusal without file or reason: {corrupt:?}"));
                }
                return Ok(());
            }
            Err(Refused::Wrong(wrong)) => return Err(format!("{file}: {what}: {wrong}")),
        }
    }
    run.settle().map_err(|wrong| format!("{file}: {what}: {wrong}"))?;
    run.drain_all().map_err(|wrong| format!("{wrong} (after damage to {file}: {what})"))?;
    if run.world.sightings.count("damage answered to a reader") == 0 {
        run.world.sightings.saw("damage without effect");
    }
    Ok(())
}

/// Damages one place; which, and how.
fn damage(
    run: &Run<'_>,
    rng: &mut Rng,
    earlier: &BTreeMap<FileName, Vec<u8>>,
    running: bool,
) -> Option<(FileName, String)> {
    let disk = &run.world.disk;
    let files: Vec<(FileName, usize)> = disk
        .list()
        .into_iter()
        .filter(|(file, bytes)| {
            let blob = matches!(file, FileName::Blob(name) if name.kind == model::media::BlobKind::Segment);
            *bytes > 0 && (blob || !running)
        })
        .collect();
    if files.is_empty() {
        return None;
    }
    // Places that were written matter: the bytes of a slot are mostly zeros.
    for _ in 0..50 {
        let (file, bytes) = rng.pick(&files);
        let at = rng.below(bytes as u64) as usize;
        let page = at / PAGE * PAGE;
        let end = (page + PAGE).min(bytes);
        let now = disk.bytes(file)?;
        if now[page..end].iter().all(|byte| *byte == 0) && rng.percent(95) {
            continue;
        }
        match rng.below(100) {
            0..50 => {
                let bit = rng.below(8) as u32;
                disk.flip(file, at, bit);
                return Some((file, format!("bit {bit} of byte {at} turned over")));
            }
            50..60 => {
                disk.overwrite(file, page, &vec![0; end - page]);
                return Some((file, format!("page at {page} zeroed")));
            }
            60..75 => {
                let Some(old) = earlier.get(&file).and_then(|old| old.get(page..end)) else { continue };
                if *old == now[page..end] {
                    continue;
                }
                disk.overwrite(file, page, old);
                return Some((file, format!("page at {page} as it was earlier")));
            }
            75..90 => {
                let (from, from_bytes) = rng.pick(&files);
                let from_page = rng.below(from_bytes as u64) as usize / PAGE * PAGE;
                let from_end = (from_page + (end - page)).min(from_bytes);
                let moved = disk.bytes(from)?[from_page..from_end].to_vec();
                if moved == now[page..page + moved.len()] {
                    continue;
                }
                disk.overwrite(file, page, &moved);
                return Some((file, format!("page at {page} written over by that at {from_page} of {from}")));
            }
            _ if !running => {
                disk.cut(file, at);
                return Some((file, format!("cut at {at} of {bytes}")));
            }
            _ => {}
        }
    }
    None
}
