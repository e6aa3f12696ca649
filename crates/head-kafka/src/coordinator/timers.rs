// SPDX-License-Identifier: Apache-2.0
//! What is due when, for all groups together.
//!
//! Owns: the order of deadlines. Must not know: what they mean; any clock.
//!
//! A deadline belongs to an [`Alarm`], which stands in the queue at most once. One that is put off (every heartbeat puts off its
//! member's) only writes down the new time: the alarm is found too early, once, and queued again. So a heartbeat touches no tree,
//! and the queue is as long as there are alarms.

use crate::wire::Text;
use std::collections::BTreeSet;

/// What a deadline is for. Groups by the number that this life gave them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A look for offsets that expired.
    Check,
    /// A rebalance waits no longer for members to join.
    Join { group: u64 },
    /// It waits no longer for them to fetch what they were assigned.
    Sync { group: u64 },
    /// A member, or somebody who was told an id, was not heard of.
    Session { group: u64, member: Text },
}

/// A deadline that can be put off.
#[derive(Debug, Default)]
pub struct Alarm {
    due_us: Option<u64>,
    queued_us: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Timers {
    queue: BTreeSet<(u64, Timer)>,
}

impl Timers {
    /// When the next is due, or earlier.
    pub fn next_us(&self) -> Option<u64> {
        self.queue.first().map(|(at_us, _)| *at_us)
    }

    /// Takes out the first that may be due. Ask [`Timers::is_due`].
    pub fn take(&mut self, now_us: u64) -> Option<Timer> {
        match self.queue.first() {
            Some((at_us, _)) if *at_us <= now_us => self.queue.pop_first().map(|(_, timer)| timer),
            _ => None,
        }
    }

    /// An alarm was taken out of the queue: is it really due? If not, it stands there again.
    pub fn is_due(&mut self, alarm: &mut Alarm, timer: Timer, now_us: u64) -> bool {
        alarm.queued_us = None;
        match alarm.due_us {
            None => false,
            Some(due_us) if due_us > now_us => {
                self.set(alarm, timer, due_us);
                false
            }
            Some(_) => {
                alarm.due_us = None;
                true
            }
        }
    }

    /// Sets it, or puts it off.
    pub fn set(&mut self, alarm: &mut Alarm, timer: Timer, due_us: u64) {
        alarm.due_us = Some(due_us);
        match alarm.queued_us {
            Some(queued_us) if queued_us <= due_us => return,
            Some(queued_us) => {
                self.queue.remove(&(queued_us, timer.clone()));
            }
            None => {}
        }
        alarm.queued_us = Some(due_us);
        self.queue.insert((due_us, timer));
    }

    pub fn cancel(&mut self, alarm: &mut Alarm, timer: Timer) {
        if let Some(queued_us) = alarm.queued_us {
            self.queue.remove(&(queued_us, timer));
        }
        *alarm = Alarm::default();
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_off_a_hundred_times_it_is_queued_once_and_fires_once() {
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        for at in 10..110 {
            timers.set(&mut alarm, Timer::Check, at);
            assert_eq!((timers.len(), timers.next_us()), (1, Some(10)));
        }
        let timer = timers.take(50).expect("looked at early");
        assert!(!timers.is_due(&mut alarm, timer, 50));
        assert_eq!((timers.take(108), timers.next_us()), (None, Some(109)));
        let timer = timers.take(109).expect("due");
        assert!(timers.is_due(&mut alarm, timer, 109));
        assert_eq!(timers.next_us(), None);
    }

    #[test]
    fn brought_forward_or_cancelled_it_leaves_nothing_behind() {
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        timers.set(&mut alarm, Timer::Check, 100);
        timers.set(&mut alarm, Timer::Check, 20);
        assert_eq!((timers.len(), timers.next_us()), (1, Some(20)));
        timers.set(&mut alarm, Timer::Check, 30);
        timers.cancel(&mut alarm, Timer::Check);
        assert_eq!(timers.next_us(), None);
    }
}
