// SPDX-License-Identifier: Apache-2.0
//! Prefetch: how many deliveries may be out unacknowledged, for each consumer and for the channel.
//!
//! `basic.qos` as RabbitMQ has it: with `global` unset it is for consumers that come afterwards, each on its own; with `global` set it
//! is one more limit, shared by the channel's consumers, at once. Both hold together; 0 is no limit. A limit that is lowered below what
//! is out takes nothing back. Consumers without acknowledgements, and `basic.get`, are not limited and do not count.
//!
//! A consumer is known by a number that is never used again in its channel, so that what an earlier one of the same tag left out is
//! not given back to a later one.

use std::collections::BTreeMap;

/// A limit and what of it is used.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    limit: u16,
    used: u32,
}

impl Window {
    fn room(self) -> u32 {
        if self.limit == 0 { u32::MAX } else { u32::from(self.limit).saturating_sub(self.used) }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Prefetch {
    for_new: u16,
    channel: Window,
    consumers: BTreeMap<u64, Window>,
}

impl Prefetch {
    /// `basic.qos`.
    pub fn set(&mut self, count: u16, global: bool) {
        if global {
            self.channel.limit = count;
        } else {
            self.for_new = count;
        }
    }

    /// A consumer with acknowledgements came.
    pub fn add(&mut self, consumer: u64) {
        self.consumers.insert(consumer, Window { limit: self.for_new, used: 0 });
    }

    /// It went; what it left out still counts for the channel.
    pub fn remove(&mut self, consumer: u64) {
        self.consumers.remove(&consumer);
    }

    /// How many more may go to it.
    pub fn room(&self, consumer: u64) -> u32 {
        match self.consumers.get(&consumer) {
            Some(window) => window.room().min(self.channel.room()),
            None => u32::MAX,
        }
    }

    /// One went to a consumer with acknowledgements.
    pub fn take(&mut self, consumer: u64) {
        self.channel.used += 1;
        if let Some(window) = self.consumers.get_mut(&consumer) {
            window.used += 1;
        }
    }

    /// One that was taken is out no more.
    pub fn give_back(&mut self, consumer: u64) {
        self.channel.used = self.channel.used.saturating_sub(1);
        if let Some(window) = self.consumers.get_mut(&consumer) {
            window.used = window.used.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_for_consumers_that_come_after_it() {
        let mut prefetch = Prefetch::default();
        prefetch.add(1);
        prefetch.set(2, false);
        prefetch.add(2);
        assert_eq!((prefetch.room(1), prefetch.room(2)), (u32::MAX, 2));
        prefetch.take(2);
        prefetch.take(2);
        prefetch.take(1);
        assert_eq!((prefetch.room(1), prefetch.room(2)), (u32::MAX, 0));
        prefetch.set(1, false);
        prefetch.give_back(2);
        assert_eq!(prefetch.room(2), 1, "with the limit that it came under");
    }

    #[test]
    fn a_global_limit_is_shared_and_holds_at_once() {
        let mut prefetch = Prefetch::default();
        prefetch.set(5, false);
        prefetch.add(1);
        prefetch.add(2);
        for _ in 0..4 {
            prefetch.take(1);
        }
        prefetch.set(3, true);
        assert_eq!((prefetch.room(1), prefetch.room(2)), (0, 0), "four are out, three are allowed");
        prefetch.give_back(1);
        prefetch.give_back(1);
        assert_eq!((prefetch.room(1), prefetch.room(2)), (1, 1));
        prefetch.set(0, true);
        assert_eq!((prefetch.room(1), prefetch.room(2)), (3, 5));
        assert_eq!(prefetch.room(9), u32::MAX, "one without acknowledgements");
    }

    #[test]
    fn what_a_consumer_left_out_counts_for_the_channel_only() {
        let mut prefetch = Prefetch::default();
        prefetch.set(2, false);
        prefetch.set(2, true);
        prefetch.add(1);
        prefetch.take(1);
        prefetch.remove(1);
        prefetch.add(2);
        prefetch.take(2);
        assert_eq!(prefetch.room(2), 0, "the channel is full");
        prefetch.give_back(1);
        assert_eq!(prefetch.room(2), 1, "one of its own two is out");
    }
}
