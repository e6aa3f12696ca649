// SPDX-License-Identifier: Apache-2.0
//! Judges what groups do: who may own what, whose word still counts.
//!
//! Owns: the rules about generations, members and assignments, as far as clients can know. Must not know: how anybody asks. Offsets
//! are the business of `checker`.
//!
//! - A generation's assignments come from one leader's hand and are handed to whom they are for, so that a partition has one owner.
//! - Only who was told a generation in an answer to a join gets an assignment in it.
//! - A generation never goes back while its group exists. What a join was told lives as long as the process; what a sync was told
//!   lives on.
//! - Once a later generation was told to anyone, the word of an earlier one is refused; so is the word of whoever left or was
//!   replaced.
//!
//! A group that has neither members nor offsets may be forgotten, and begins again at any generation. Whether it has members nobody
//! outside knows for certain; whether it has offsets is known: it is *anchored* from an acknowledged commit until somebody
//! tries to have that forgotten. Rules that compare generations hold for anchored groups.

use std::collections::{BTreeMap, BTreeSet};

pub type Checked = Result<(), String>;

/// Who speaks: what a member was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credentials {
    pub group: u32,
    pub generation: i32,
    pub member_id: String,
    pub instance: Option<String>,
}

/// What was certain when a question was asked.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    epoch: Option<u64>,
    generation: i32,
    /// Its word did not count any more.
    gone: bool,
}

/// An assignment as it was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    pub generation: i32,
    /// The leader's sync that it came with.
    pub op: u64,
    /// The instance or member that it was made for.
    pub whose: String,
    pub partitions: Vec<(u32, i32)>,
}

#[derive(Default)]
struct Group {
    /// Partitions with a commit that nobody tried to have forgotten.
    anchors: BTreeSet<u64>,
    /// Counts how often it was anchored anew.
    epoch: u64,
    /// The highest generation told to anyone in this life of the process, and the highest that outlives it.
    told: i32,
    stable: i32,
    /// Who joined which generation.
    joined: BTreeSet<(i32, String)>,
    /// Each generation's assignments.
    owners: BTreeMap<i32, Owners>,
    /// Who left or was replaced, and in which generation; true: that is on media.
    gone: BTreeMap<String, (i32, bool)>,
    /// The instance that a member id belonged to.
    instances: BTreeMap<String, String>,
}

/// A generation's assignments, as far as they were handed out.
#[derive(Clone, Default)]
struct Owners {
    epoch: u64,
    /// The sync that they came with.
    op: u64,
    by_partition: BTreeMap<(u32, i32), String>,
}

/// See the module.
#[derive(Default)]
pub struct Judge {
    groups: BTreeMap<u32, Group>,
}

impl Judge {
    fn group(&mut self, group: u32) -> &mut Group {
        self.groups.entry(group).or_default()
    }

    /// What is certain now, for the answer to come.
    pub fn before(&self, who: &Credentials) -> Before {
        let Some(group) = self.groups.get(&who.group) else {
            return Before { epoch: None, generation: 0, gone: false };
        };
        let epoch = (!group.anchors.is_empty()).then_some(group.epoch);
        Before { epoch, generation: group.told, gone: group.gone.contains_key(&who.member_id) }
    }

    /// The group certainly exists.
    pub fn anchored(&self, group: u32) -> Option<u64> {
        self.groups.get(&group).filter(|group| !group.anchors.is_empty()).map(|group| group.epoch)
    }

    /// Another member id had that instance, and was not known to be gone.
    pub fn held(&self, who: &Credentials) -> bool {
        self.groups.get(&who.group).is_some_and(|group| {
            group.instances.iter().any(|(id, instance)| {
                Some(instance) == who.instance.as_ref() && *id != who.member_id && !group.gone.contains_key(id)
            })
        })
    }

    /// A join was answered.
    ///
    /// # Errors
    /// In words: the generation went back.
    pub fn joined(&mut self, who: &Credentials, before: Before) -> Checked {
        let group = self.group(who.group);
        let anchored = !group.anchors.is_empty();
        if anchored && before.epoch == Some(group.epoch) && who.generation < before.generation {
            return Err(format!(
                "a generation never goes back: group {} was at {}, {} joined {}",
                who.group, before.generation, who.member_id, who.generation
            ));
        }
        group.told = if anchored { group.told.max(who.generation) } else { who.generation };
        group.joined.insert((who.generation, who.member_id.clone()));
        group.gone.remove(&who.member_id);
        if let Some(instance) = &who.instance {
            // Whoever had the instance before is replaced. In a stable generation that is on media before it is told.
            let stable = group.stable >= who.generation;
            for (id, of) in &group.instances {
                if of == instance && *id != who.member_id && !group.gone.contains_key(id) {
                    group.gone.insert(id.clone(), (who.generation, stable));
                }
            }
            group.instances.insert(who.member_id.clone(), instance.clone());
        }
        Ok(())
    }

    /// A sync was answered with an assignment. `handed`: it held one.
    ///
    /// # Errors
    /// In words: the partitions have two owners, or may have.
    pub fn synced(&mut self, who: &Credentials, before: Before, handed: Option<&Handed>) -> Checked {
        self.accepted(who, before, "a sync")?;
        let group = self.group(who.group);
        if !group.joined.contains(&(who.generation, who.member_id.clone())) {
            return Err(format!("only who joined a generation is given an assignment in it: {who:?}"));
        }
        let epoch = group.epoch;
        let anchored = !group.anchors.is_empty();
        group.stable = if anchored { group.stable.max(who.generation) } else { who.generation };
        let Some(handed) = handed else { return Ok(()) };
        if handed.generation != who.generation {
            return Err(format!(
                "one owner a partition and generation: {} asked in generation {} and was handed what was meant for {}",
                who.member_id, who.generation, handed.generation
            ));
        }
        // A leader of an older version knows ids only; the id of a static member begins with its instance, and one that was made for
        // it may have been lost on its way to it.
        let mine = |whose: &str| {
            let of_instance = |instance: &String| {
                whose == instance || whose.strip_prefix(instance).is_some_and(|rest| rest.starts_with('-'))
            };
            whose == who.member_id || who.instance.as_ref().is_some_and(of_instance)
        };
        if !mine(&handed.whose) {
            return Err(format!(
                "one owner a partition and generation: {} was handed what is {}'s in generation {} of group {}",
                who.member_id, handed.whose, who.generation, who.group
            ));
        }
        let fresh = Owners { epoch, op: handed.op, by_partition: BTreeMap::new() };
        let owners = group.owners.entry(who.generation).or_insert_with(|| fresh.clone());
        if owners.op != handed.op {
            if anchored && owners.epoch == epoch {
                return Err(format!(
                    "one owner a partition and generation: generation {} of group {} has assignments of syncs {} and {}",
                    who.generation, who.group, owners.op, handed.op
                ));
            }
            *owners = fresh;
        }
        for partition in &handed.partitions {
            if let Some(other) = owners.by_partition.insert(*partition, handed.whose.clone())
                && other != handed.whose
            {
                return Err(format!(
                    "one owner a partition and generation: {partition:?} is {other}'s and {}'s in generation {} of group {}",
                    handed.whose, who.generation, who.group
                ));
            }
        }
        Ok(())
    }

    /// A member's word was taken.
    ///
    /// # Errors
    /// In words: it did not count any more.
    pub fn accepted(&mut self, who: &Credentials, before: Before, what: &str) -> Checked {
        let group = self.group(who.group);
        if before.gone && group.gone.contains_key(&who.member_id) {
            return Err(format!(
                "a fenced word does not count: {what} of {} in generation {} of group {} was accepted after it left or was replaced",
                who.member_id, who.generation, who.group
            ));
        }
        if before.epoch == Some(group.epoch) && !group.anchors.is_empty() && who.generation < before.generation {
            return Err(format!(
                "a fenced word does not count: {what} of {} in generation {} of group {} was accepted, generation {} had begun",
                who.member_id, who.generation, who.group, before.generation
            ));
        }
        Ok(())
    }

    /// A member's farewell was answered.
    pub fn left(&mut self, who: &Credentials) {
        self.group(who.group).gone.insert(who.member_id.clone(), (who.generation, false));
    }

    /// A commit was acknowledged that was sent when no forgetting was under way; -1: of nobody's generation.
    pub fn committed(&mut self, group: u32, partition: u64, generation: i32) {
        let group = self.group(group);
        if group.anchors.is_empty() {
            group.epoch += 1;
            (group.told, group.stable) = (generation.max(0), generation.max(0));
        }
        group.anchors.insert(partition);
    }

    /// Somebody tries to have commits forgotten.
    pub fn forgetting(&mut self, group: Option<u32>, partition: u64, count: u64) {
        let until = partition.saturating_add(count);
        for (number, state) in &mut self.groups {
            if group.is_none_or(|group| group == *number) {
                state.anchors.retain(|anchor| !(partition..until).contains(anchor));
            }
        }
    }

    /// The process died: what was not on media is as it was before.
    pub fn restarted(&mut self) {
        for group in self.groups.values_mut() {
            group.told = group.stable;
            let stable = group.stable;
            group.gone.retain(|_, (generation, on_media)| *on_media || *generation < stable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(generation: i32, member_id: &str) -> Credentials {
        Credentials { group: 1, generation, member_id: member_id.into(), instance: None }
    }

    fn handed(generation: i32, op: u64, whose: &str, partition: i32) -> Handed {
        Handed { generation, op, whose: whose.into(), partitions: vec![(0, partition)] }
    }

    /// Two members in generation 3, with something committed.
    fn two() -> Judge {
        let mut judge = Judge::default();
        for member in ["a", "b"] {
            let before = judge.before(&who(3, member));
            judge.joined(&who(3, member), before).expect("joined");
        }
        for (member, partition) in [("a", 0), ("b", 1)] {
            let before = judge.before(&who(3, member));
            judge.synced(&who(3, member), before, Some(&handed(3, 7, member, partition))).expect("synced");
        }
        judge.committed(1, 0, 3);
        judge
    }

    #[test]
    fn what_is_another_s_is_not_handed_out() {
        let mut judge = two();
        let before = judge.before(&who(3, "a"));
        let wrong = judge.synced(&who(3, "a"), before, Some(&handed(3, 7, "b", 1))).expect_err("b owns it");
        assert!(wrong.starts_with("one owner"), "{wrong}");
        let before = judge.before(&who(3, "c"));
        assert!(judge.synced(&who(3, "c"), before, Some(&handed(3, 7, "c", 2))).is_err(), "it never joined");
    }

    #[test]
    fn a_generation_has_one_leader_s_assignments() {
        let mut judge = two();
        let before = judge.before(&who(4, "a"));
        judge.joined(&who(4, "a"), before).expect("joined");
        judge.joined(&who(4, "b"), before).expect("joined");
        judge.synced(&who(4, "a"), before, Some(&handed(4, 8, "a", 0))).expect("synced");
        assert!(judge.synced(&who(4, "b"), before, Some(&handed(4, 9, "b", 1))).is_err());
    }

    #[test]
    fn a_generation_does_not_go_back_and_its_old_word_does_not_count() {
        let mut judge = two();
        let old = who(3, "a");
        let before = judge.before(&old);
        judge.joined(&who(4, "b"), before).expect("joined");
        let before = judge.before(&old);
        assert!(judge.accepted(&old, before, "a commit").is_err());
        assert!(judge.joined(&who(3, "c"), before).is_err());
        judge.restarted();
        let before = judge.before(&old);
        judge.accepted(&old, before, "a commit").expect("generation 4 was not on media");
        assert!(judge.joined(&who(2, "c"), before).is_err(), "generation 3 was");
    }

    #[test]
    fn who_left_or_was_replaced_has_nothing_to_say() {
        let mut judge = two();
        judge.left(&who(3, "a"));
        let before = judge.before(&who(3, "a"));
        assert!(judge.accepted(&who(3, "a"), before, "a commit").is_err());

        let one = Credentials { instance: Some("i".into()), ..who(3, "i-1") };
        let two = Credentials { member_id: "i-2".into(), ..one.clone() };
        let before = judge.before(&one);
        judge.joined(&one, before).expect("joined");
        judge.accepted(&one, before, "a commit").expect("it is the one");
        judge.joined(&two, before).expect("joined");
        let before = judge.before(&one);
        assert!(judge.accepted(&one, before, "a commit").is_err());
        judge.restarted();
        let before = judge.before(&one);
        assert!(judge.accepted(&one, before, "a commit").is_err(), "the stable generation knew it");
    }

    #[test]
    fn a_group_without_anchor_may_begin_again() {
        let mut judge = two();
        judge.forgetting(None, 0, 1000);
        let before = judge.before(&who(1, "c"));
        judge.joined(&who(1, "c"), before).expect("it may be another group");
        judge.committed(1, 0, 1);
        let before = judge.before(&who(1, "c"));
        judge.accepted(&who(1, "c"), before, "a commit").expect("its own generation");
    }
}
