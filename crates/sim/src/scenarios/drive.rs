// SPDX-License-Identifier: Apache-2.0
//! What drives a run: time, lives and trouble, in one loop for all scenarios.
//!
//! Owns: the order in which process, clients and clock get their turn; starting, dying, starting again; waiting for what must come.
//! Must not know: who the clients are, what they want, what is right.
//!
//! A turn does everything that is due at this moment, until nothing is: the process, then what left it, then the clients. Then the
//! clock moves to the next moment at which something is due. A process that dies, or whose log fails, is started again in the same
//! turn. Clients that live within the process (`APART` is false) stand still while it is paused; others go on.
//!
//! Whoever's clients reach the process over connections is [`Wired`]; how those are served and heard is the same for all of them.

use super::trouble::Trouble;
use super::{Failure, Outcome, Setup};
use crate::actors::kafka::{Answer, Line};
use crate::checker;
use crate::guard::guard;
use crate::history::History;
use crate::network::Arrival;
use crate::process::Output;
use crate::service::Service;
use crate::sometimes::Sightings;
use crate::world::{Death, Refused, World};
use std::fmt::Debug;

/// What is wrong, in words, ends the run.
pub type Checked = Result<(), String>;

/// One operation of a plan, and how long after the one before it.
#[derive(Clone, Copy, Debug)]
pub struct Planned<S> {
    pub gap_us: u64,
    pub step: S,
}

/// What must come does so within five minutes after the last fault.
pub const SETTLE_US_MAX: u64 = 300_000_000;

/// Judges what clients saw. With `as_log` there must also be one order of everything done to a partition, as on a plain log.
pub fn judge(history: &History, as_log: bool, sightings: &mut Sightings) -> Checked {
    let report = checker::check(history);
    if let Some(violation) = report.violations.first() {
        return Err(violation.to_string());
    }
    if as_log {
        let linear = checker::linear::check(history);
        sightings.saw_if(linear.found > 0, "history in one order");
        sightings.saw_if(linear.given_up > 0, "search for an order given up");
        if let Some(wrong) = linear.wrong {
            return Err(wrong);
        }
    }
    Ok(())
}

/// Carries out what is kept of a plan in the way of a scenario, and writes down what came of it.
pub fn play<R: Drive>(
    setup: &Setup,
    options: &dyn Debug,
    plan: Vec<Planned<R::Step>>,
    mut run: R,
    how: impl FnOnce(&mut R, &[(usize, Planned<R::Step>)]) -> Checked,
) -> Outcome {
    let plan: Vec<_> = plan.into_iter().enumerate().filter(|(index, _)| setup.keeps(*index)).collect();
    if setup.trace {
        run.world().clock.trace_lines();
    }
    run.world().clients_alone = setup.clients_alone;
    let failure = guard(|| how(&mut run, &plan)).err().map(Failure::new);
    let operations = plan.iter().map(|(index, planned)| (*index, format!("+{} us {:?}", planned.gap_us, planned.step)));
    let history = run.take_history();
    Outcome::of(failure, run.world(), &history, options, operations)
}

/// A scenario at work.
pub trait Drive {
    /// Its operations.
    type Step: Copy + Debug;

    /// Its clients reach the process over connections.
    const APART: bool;

    fn world(&mut self) -> &mut World;

    /// What its clients saw, when all is over.
    fn take_history(&mut self) -> History;

    /// Carries out one operation.
    fn step(&mut self, step: Self::Step) -> Checked;

    /// Takes what left the process.
    fn take(&mut self, outputs: Vec<Output>) -> Checked;

    /// Lets clients do what they can; true if anything was done.
    fn act(&mut self) -> Result<bool, String>;

    /// When clients do something next, later than now.
    fn due_after(&self, now_us: u64) -> Option<u64>;

    /// The log has failed, the process ends: what was answered before may still leave.
    fn last_words(&mut self) {}

    /// The process has died: what that means to the clients.
    fn died(&mut self, death: Death);

    /// The process has been started again.
    fn begun_again(&mut self) {}

    // What follows is the same for all.

    /// Carries out what is kept of a plan.
    fn carry_out(&mut self, plan: &[(usize, Planned<Self::Step>)]) -> Checked {
        for (index, planned) in plan {
            self.run_for(planned.gap_us)?;
            self.world().clock.note(30, [*index as u64, 0, 0], format_args!("#{index} {:?}", planned.step));
            self.step(planned.step)?;
        }
        Ok(())
    }

    /// Does to the process what it is to suffer.
    fn suffer(&mut self, trouble: Trouble) -> Checked {
        let now_us = self.world().clock.us();
        match trouble {
            Trouble::Die { death, after_operations: 0 } => self.die(death)?,
            Trouble::Die { death, after_operations } => {
                self.world().fuse_death = death;
                self.world().disk.light_fuse(after_operations);
            }
            Trouble::Full { ms } => {
                self.world().sightings.saw("disk full");
                self.world().disk.fill_until(now_us + ms * 1000);
            }
            Trouble::FailSync => self.world().fail_next_sync(),
            Trouble::WallJump { ms } => {
                self.world().sightings.saw(if ms < 0 { "wall clock set back" } else { "wall clock set ahead" });
                self.world().jump_wall_ms(ms);
            }
            Trouble::Pause { ms } if Self::APART => self.world().pause_until(now_us + ms * 1000),
            Trouble::Pause { ms } => {
                self.world().sightings.saw("process paused");
                self.world().clock.advance_to(now_us + ms * 1000);
            }
            Trouble::Rival { pause_ms } => {
                if pause_ms > 0 {
                    self.world().pause_until(now_us + pause_ms * 1000);
                }
                self.world().start_rival()?;
                if !Self::APART {
                    self.world().clock.advance_to(now_us + pause_ms * 1000);
                }
            }
            Trouble::Quiet { ms } => self.run_for(ms * 1000)?,
        }
        Ok(())
    }

    /// Starts the process.
    fn start(&mut self) -> Checked {
        match self.world().start() {
            Ok(()) => Ok(()),
            Err(Refused::Wrong(wrong)) => Err(wrong),
            Err(Refused::Damage(corrupt)) => Err(format!("refused: {corrupt}")),
        }
    }

    /// The process dies, and is started again.
    fn die(&mut self, death: Death) -> Checked {
        self.world().die(death);
        self.begin_again(death)?;
        self.turn()
    }

    /// Starts the process after it has died.
    fn begin_again(&mut self, death: Death) -> Checked {
        self.died(death);
        self.start()?;
        self.begun_again();
        Ok(())
    }

    /// Everything that is due now, until nothing is.
    fn turn(&mut self) -> Checked {
        loop {
            let mut busy = false;
            if !self.world().paused() {
                let Some(outputs) = self.world().pump() else {
                    let death = self.world().fuse_death;
                    self.begin_again(death)?;
                    continue;
                };
                busy = !outputs.is_empty();
                self.take(outputs)?;
                if self.world().failed() {
                    self.world().sightings.saw("failed sync ended the process");
                    self.last_words();
                    self.world().die(Death::Kill);
                    self.begin_again(Death::Kill)?;
                    continue;
                }
            }
            busy |= self.act()?;
            if !busy {
                return Ok(());
            }
        }
    }

    /// Lets everything happen up to that moment.
    fn run_until(&mut self, until_us: u64) -> Checked {
        loop {
            self.turn()?;
            let now_us = self.world().clock.us();
            let clients = self.due_after(now_us);
            let next = clients.into_iter().chain(self.world().next_due_us()).min().filter(|next| *next <= until_us);
            let Some(next) = next else {
                self.world().clock.advance_to(until_us);
                return Ok(());
            };
            self.world().clock.advance_to(next);
        }
    }

    /// Lets everything happen for so long.
    fn run_for(&mut self, us: u64) -> Checked {
        let until_us = self.world().clock.us() + us;
        self.run_until(until_us)
    }

    /// Goes on, looking every `pace_us`, until nothing is missing any more; what still is after `within_us` is stuck.
    fn wait(&mut self, pace_us: u64, within_us: u64, missing: impl Fn(&mut Self) -> Option<String>) -> Checked {
        let end_us = self.world().clock.us() + within_us;
        loop {
            self.run_for(pace_us)?;
            let Some(missing) = missing(self) else { return Ok(()) };
            if self.world().clock.us() > end_us {
                return Err(format!("stuck: long after the last fault {missing}"));
            }
        }
    }

    /// Goes on, moment by moment, until there is something to be taken.
    fn await_answer<T>(&mut self, what: &str, mut taken: impl FnMut(&mut Self) -> Option<T>) -> Result<T, String> {
        let end_us = self.world().clock.us() + SETTLE_US_MAX;
        loop {
            self.turn()?;
            if let Some(answer) = taken(self) {
                return Ok(answer);
            }
            let soonest_us = self.world().clock.us() + 1;
            let next = self.world().next_due_us().unwrap_or(0).max(soonest_us);
            self.world().clock.advance_to(next);
            if next > end_us {
                return Err(format!("stuck: no answer to {what}"));
            }
        }
    }
}

/// A scenario whose clients speak over connections.
pub trait Wired {
    type Step: Copy + Debug;
    /// What a client notes with a request.
    type Note;

    fn world(&mut self) -> &mut World;
    fn take_history(&mut self) -> History;
    fn step(&mut self, step: Self::Step) -> Checked;

    /// The connections, and the process behind them.
    fn wire(&mut self) -> (&mut Service, &mut World);

    fn client_count(&self) -> usize;

    /// A client's end of its connection, if it has one.
    fn end_of(&mut self, client: usize) -> (Option<u64>, &mut Line<Self::Note>);

    /// Lets a client do what it can; true if it did anything.
    fn act_as(&mut self, client: usize) -> Result<bool, String>;

    /// A client was answered.
    fn answered(&mut self, client: usize, note: Self::Note, answer: Answer) -> Checked;

    /// A client's connection is gone.
    fn lost(&mut self, client: usize);

    /// When connections or clients do something next, later than now.
    fn due_after(&self, now_us: u64) -> Option<u64>;

    /// See [`Drive::died`]; connections have been told.
    fn died(&mut self, death: Death);

    /// See [`Drive::begun_again`].
    fn begun_again(&mut self) {}

    /// A client's connection breaks: at both ends, or only at the client's (the server does not learn of it).
    fn cut(&mut self, client: usize, half_open: bool) {
        let late = self.bears_lateness(client);
        if let Some(id) = self.end_of(client).0 {
            let (service, world) = self.wire();
            service.cut(world, id, half_open, late);
        }
        self.lost(client);
    }

    /// What this client sends on one connection may arrive behind what it sends on the next.
    fn bears_lateness(&self, _client: usize) -> bool {
        true
    }

    /// Takes what arrived at a client.
    fn hear(&mut self, client: usize) -> Result<bool, String> {
        let Some(id) = self.end_of(client).0 else { return Ok(false) };
        let mut busy = false;
        loop {
            let (service, world) = self.wire();
            let Some(arrival) = service.arrived(world.clock.us(), id) else { return Ok(busy) };
            busy = true;
            match arrival {
                Arrival::Bytes(bytes) => self.end_of(client).1.take(&bytes),
                Arrival::End => {
                    self.lost(client);
                    return Ok(true);
                }
            }
            while let Some((note, answer)) = self.end_of(client).1.next_answer()? {
                self.answered(client, note, answer)?;
            }
        }
    }
}

impl<R: Wired> Drive for R {
    type Step = R::Step;
    const APART: bool = true;

    fn world(&mut self) -> &mut World {
        Wired::world(self)
    }

    fn take_history(&mut self) -> History {
        Wired::take_history(self)
    }

    fn step(&mut self, step: R::Step) -> Checked {
        Wired::step(self, step)
    }

    fn take(&mut self, outputs: Vec<Output>) -> Checked {
        let (service, world) = self.wire();
        service.deliver(world, outputs);
        Ok(())
    }

    fn act(&mut self) -> Result<bool, String> {
        let (service, world) = self.wire();
        let mut busy = service.serve(world)?;
        for client in 0..self.client_count() {
            busy |= self.act_as(client)?;
        }
        Ok(busy)
    }

    fn due_after(&self, now_us: u64) -> Option<u64> {
        Wired::due_after(self, now_us)
    }

    fn last_words(&mut self) {
        let (service, world) = self.wire();
        service.flush_all(world);
    }

    fn died(&mut self, death: Death) {
        let (service, world) = self.wire();
        service.died(world.clock.us(), death);
        Wired::died(self, death);
    }

    fn begun_again(&mut self) {
        Wired::begun_again(self);
    }
}
