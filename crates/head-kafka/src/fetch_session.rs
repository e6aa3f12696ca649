// SPDX-License-Identifier: Apache-2.0
//! What a connection remembers between fetches: its incremental session (KIP-227) and which partitions it has read to the end.
//!
//! A session is the list of partitions that a client wants, so that later requests name only what changed, and later answers
//! only what is new. A connection has at most one; making another forgets the first, whose client then gets
//! FETCH_SESSION_ID_NOT_FOUND and starts again with a full fetch. Sessions end with their connection.
//!
//! A partition read to its end is watched by the kernel; until the watch fires there is nothing new in it, and it is not asked
//! again, however often the client polls.
//!
//! Bounds: `Settings::fetch_session_partitions_max` for both. A list beyond it is served without a session; a partition beyond it
//! is not remembered and asked each time.

use crate::map::{Sight, TopicKey, Watermarks};
use model::PartitionId;
use std::collections::{BTreeMap, VecDeque};

/// A partition's number within its session, in the order they were named.
pub type Slot = u64;

/// What the client wants of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub fetch_offset: i64,
    pub bytes_max: i32,
    /// -1: the client does not say.
    pub leader_epoch: i32,
}

/// One partition of a session.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub topic: TopicKey,
    pub index: i32,
    pub want: Want,
    /// Where it was found last, so that a watch of that partition finds its way here.
    pub partition: Option<PartitionId>,
    /// What the client was told last; `None`: it must be told.
    pub told: Option<(i64, i64)>,
    /// It stands in `Session::ask`.
    asking: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct FetchSession {
    pub id: i32,
    /// The epoch that the next request must carry.
    pub epoch: i32,
    /// Topics are named by id.
    pub by_id: bool,
    slots: BTreeMap<Slot, Wanted>,
    by_key: BTreeMap<(TopicKey, i32), Slot>,
    by_partition: BTreeMap<PartitionId, Slot>,
    /// Those that may have something, in the order of their turn.
    ask: VecDeque<Slot>,
    next_slot: Slot,
}

impl FetchSession {
    pub fn new(by_id: bool) -> FetchSession {
        FetchSession { by_id, ..FetchSession::default() }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a partition, or changes what is wanted of it. Either way its turn comes.
    pub fn want(&mut self, topic: &TopicKey, index: i32, want: Want) {
        let key = (topic.clone(), index);
        let slot = match self.by_key.get(&key) {
            Some(slot) => *slot,
            None => {
                let slot = self.next_slot;
                self.next_slot += 1;
                self.by_key.insert(key, slot);
                slot
            }
        };
        let wanted = self.slots.entry(slot).or_insert_with(|| Wanted {
            topic: topic.clone(),
            index,
            want,
            partition: None,
            told: None,
            asking: false,
        });
        wanted.want = want;
        self.ask_again(slot);
    }

    /// Removes a partition, if it is there.
    pub fn forget(&mut self, topic: &TopicKey, index: i32) {
        if let Some(slot) = self.by_key.remove(&(topic.clone(), index))
            && let Some(wanted) = self.slots.remove(&slot)
            && let Some(partition) = wanted.partition
        {
            self.by_partition.remove(&partition);
        }
    }

    /// Puts a partition at the end of the turns.
    pub fn ask_again(&mut self, slot: Slot) {
        if let Some(wanted) = self.slots.get_mut(&slot)
            && !wanted.asking
        {
            wanted.asking = true;
            self.ask.push_back(slot);
        }
    }

    /// Takes all turns out, in order.
    pub fn take_turns(&mut self) -> VecDeque<Slot> {
        let turns = std::mem::take(&mut self.ask);
        // What was forgotten since is passed over.
        let mut taken = VecDeque::with_capacity(turns.len());
        for slot in turns {
            if let Some(wanted) = self.slots.get_mut(&slot) {
                wanted.asking = false;
                taken.push_back(slot);
            }
        }
        taken
    }

    /// Gives back turns that were not used: they come first next time.
    pub fn give_back_turns(&mut self, turns: VecDeque<Slot>) {
        for slot in turns.into_iter().rev() {
            if let Some(wanted) = self.slots.get_mut(&slot)
                && !wanted.asking
            {
                wanted.asking = true;
                self.ask.push_front(slot);
            }
        }
    }

    pub fn get(&self, slot: Slot) -> Option<&Wanted> {
        self.slots.get(&slot)
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Wanted> {
        self.slots.get_mut(&slot)
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.keys().copied()
    }

    /// Notes where the partition of a slot is.
    pub fn found_at(&mut self, slot: Slot, partition: Option<PartitionId>) {
        let Some(wanted) = self.slots.get_mut(&slot) else { return };
        if wanted.partition != partition {
            if let Some(before) = wanted.partition {
                self.by_partition.remove(&before);
            }
            wanted.partition = partition;
        }
        if let Some(partition) = partition {
            self.by_partition.insert(partition, slot);
        }
    }

    pub fn slot_of(&self, partition: PartitionId) -> Option<Slot> {
        self.by_partition.get(&partition).copied()
    }
}

/// The epoch after `epoch`; they wrap to 1, because 0 and -1 have meanings of their own.
pub fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// A partition read to its end: nothing new until its watch fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    pub at: i64,
    pub sight: Sight,
    pub leader_epoch: i32,
    pub watermarks: Watermarks,
}

/// See the module.
#[derive(Debug, Default)]
pub struct FetchMemory {
    pub session: Option<FetchSession>,
    caught_up: BTreeMap<PartitionId, CaughtUp>,
    /// Partitions that a fetch without session had no room for, in the order of their turn: first in the next one, so that
    /// none starves.
    pub unserved: Vec<PartitionId>,
}

impl FetchMemory {
    pub fn caught_up(&self, partition: PartitionId) -> Option<&CaughtUp> {
        self.caught_up.get(&partition)
    }

    pub fn set_caught_up(&mut self, partition: PartitionId, caught_up: CaughtUp, partitions_max: usize) {
        if self.caught_up.len() < partitions_max || self.caught_up.contains_key(&partition) {
            self.caught_up.insert(partition, caught_up);
        }
    }

    /// A watch fired: the partition has something new, or is gone.
    pub fn wake(&mut self, partition: PartitionId) {
        self.caught_up.remove(&partition);
        if let Some(session) = &mut self.session
            && let Some(slot) = session.slot_of(partition)
        {
            session.ask_again(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> TopicKey {
        TopicKey::Name(name.into())
    }

    const WANT: Want = Want { fetch_offset: 0, bytes_max: 1, leader_epoch: -1 };

    #[test]
    fn turns_that_were_not_used_come_first_next_time() {
        let mut session = FetchSession::default();
        for index in 0..4 {
            session.want(&key("t"), index, WANT);
        }
        let mut turns = session.take_turns();
        assert_eq!(turns, [0, 1, 2, 3]);
        let used = turns.pop_front().unwrap();
        session.ask_again(used);
        session.give_back_turns(turns);
        assert_eq!(session.take_turns(), [1, 2, 3, 0]);
    }

    #[test]
    fn a_partition_has_one_turn_however_often_it_is_wanted_or_woken() {
        let mut session = FetchSession::default();
        session.want(&key("t"), 0, WANT);
        session.want(&key("t"), 0, WANT);
        session.found_at(0, Some(PartitionId(9)));
        let mut memory = FetchMemory { session: Some(session), ..FetchMemory::default() };
        memory.wake(PartitionId(9));
        assert_eq!(memory.session.as_mut().unwrap().take_turns(), [0]);
    }

    #[test]
    fn what_is_forgotten_has_no_turn() {
        let mut session = FetchSession::default();
        session.want(&key("t"), 0, WANT);
        session.want(&key("u"), 0, WANT);
        session.found_at(0, Some(PartitionId(9)));
        session.forget(&key("t"), 0);
        assert_eq!(session.take_turns(), [1]);
        assert_eq!(session.slot_of(PartitionId(9)), None);
        assert_eq!(session.len(), 1);
    }

    #[test]
    fn epochs_wrap_past_the_two_that_mean_something() {
        assert_eq!(next_epoch(1), 2);
        assert_eq!(next_epoch(i32::MAX), 1);
    }
}
