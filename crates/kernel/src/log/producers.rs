// SPDX-License-Identifier: Apache-2.0
//! Idempotent producers: what a numbered batch must look like to be appended, and which one is a repeat.
//!
//! Owns: a producer's window on one partition and the rules of its sequence. Must not know: where the batches are.
//! Source: Apache Kafka's `ProducerStateManager` and `ProducerAppendInfo` (behaviour), KIP-98.
//!
//! Rules, for a producer id on a partition:
//!   1. Unknown: any first sequence is taken (its window may have been forgotten, or its records trimmed).
//!   2. An older producer epoch than the last seen is fenced; a newer one must begin at sequence 0.
//!   3. The next batch must begin where the last one ended, wrapping from `i32::MAX` to 0.
//!   4. A batch equal to one of the last five is a repeat, answered with its first offset.
//!   5. One that lies wholly before those five, but not before the first that was ever taken here, repeats what is forgotten;
//!      anything else is out of sequence. (A client takes "a repeat" for success, so it is never said of what may not be there.)

use crate::error::PublishError;
use crate::log::partition::Partition;
use crate::log::partition_producers::PartitionProducers;
use crate::reply::DescribedProducer;
use model::batch::{Header, sequence_plus};
use model::planted::{Bug, planted};
use model::{Offset, PartitionId, ProducerEpoch, ProducerId};
use std::collections::BTreeMap;

/// Batches remembered of a producer on a partition: as many as a Kafka producer keeps in flight.
pub const SEQUENCED_MAX: usize = 5;

/// A remembered batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequenced {
    pub first: i32,
    pub last: i32,
    pub base_offset: Offset,
}

/// A producer on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub epoch: ProducerEpoch,
    count: u8,
    /// When it last appended, by the wall clock then.
    pub last_ms: u64,
    /// Records taken in this epoch since it became known.
    pub accepted: u64,
    /// Under which time it stands in the shard's index of the idle. Volatile.
    pub indexed_ms: u64,
    window: [Sequenced; SEQUENCED_MAX],
}

impl Producer {
    pub fn new(epoch: ProducerEpoch) -> Producer {
        Producer {
            epoch,
            count: 0,
            last_ms: 0,
            accepted: 0,
            indexed_ms: 0,
            window: [Sequenced::default(); SEQUENCED_MAX],
        }
    }

    /// The remembered batches, oldest first.
    pub fn sequenced(&self) -> &[Sequenced] {
        &self.window[..usize::from(self.count)]
    }

    pub fn push(&mut self, batch: Sequenced, appended_ms: u64) {
        self.accepted = self.accepted.saturating_add(distance(batch.first, batch.last) as u64 + 1);
        if usize::from(self.count) == SEQUENCED_MAX {
            self.window.copy_within(1.., 0);
            self.count -= 1;
        }
        self.window[usize::from(self.count)] = batch;
        self.count += 1;
        self.last_ms = appended_ms;
    }
}

/// What to do with a numbered batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// It is in the log already, from this offset on.
    Repeat(Offset),
    Refuse(PublishError),
}

/// Decides by the rules above.
pub fn decide(producers: &PartitionProducers, header: &Header) -> Verdict {
    if !header.idempotent() {
        return Verdict::Append;
    }
    let Some(producer) = producers.get(header.producer_id) else {
        return Verdict::Append;
    };
    if header.producer_epoch < producer.epoch {
        return Verdict::Refuse(PublishError::ProducerFenced);
    }
    let (first, last) = (header.base_sequence, header.last_sequence());
    if header.producer_epoch > producer.epoch {
        return match first {
            0 => Verdict::Append,
            _ => Verdict::Refuse(PublishError::OutOfSequence { expected: 0 }),
        };
    }
    let (Some(oldest), Some(newest)) = (producer.sequenced().first(), producer.sequenced().last()) else {
        return Verdict::Append;
    };
    if let Some(repeat) = producer.sequenced().iter().find(|batch| (batch.first, batch.last) == (first, last)) {
        return Verdict::Repeat(repeat.base_offset);
    }
    let expected = sequence_plus(newest.last, 1);
    if first == expected || (planted(Bug::SequenceGapAccepted) && behind(expected, first)) {
        return Verdict::Append;
    }
    let accepted = distance(first, expected) as u64 <= producer.accepted;
    if accepted && behind(last, oldest.first) && behind(first, oldest.first) {
        return Verdict::Refuse(PublishError::DuplicateForgotten);
    }
    Verdict::Refuse(PublishError::OutOfSequence { expected })
}

/// How many steps it is from one sequence on to another.
fn distance(from: i32, to: i32) -> i64 {
    (i64::from(to) - i64::from(from)).rem_euclid(i64::from(i32::MAX) + 1)
}

/// True when `sequence` comes before `other`, in the half circle behind it.
fn behind(sequence: i32, other: i32) -> bool {
    (1..1 << 30).contains(&distance(sequence, other))
}

/// The first of a partition's producers, by id.
pub fn described(producers: &PartitionProducers, count_max: usize) -> Vec<DescribedProducer> {
    let describe = |(id, producer): (ProducerId, &Producer)| DescribedProducer {
        id,
        epoch: producer.epoch,
        last_sequence: producer.sequenced().last().map_or(-1, |batch| batch.last),
        last_ms: producer.last_ms,
    };
    producers.iter().take(count_max).map(describe).collect()
}

/// Folds an appended batch. True when its producer was not known; it is then to be indexed under the batch's time.
pub(crate) fn record(producers: &mut PartitionProducers, header: &Header, appended_ms: u64) -> bool {
    if !header.idempotent() {
        return false;
    }
    let batch =
        Sequenced { first: header.base_sequence, last: header.last_sequence(), base_offset: header.base_offset };
    let Some(producer) = producers.get_mut(header.producer_id) else {
        let mut producer = Producer { indexed_ms: appended_ms, ..Producer::new(header.producer_epoch) };
        producer.push(batch, appended_ms);
        producers.insert(header.producer_id, producer);
        return true;
    };
    if producer.epoch != header.producer_epoch {
        *producer = Producer { indexed_ms: producer.indexed_ms, ..Producer::new(header.producer_epoch) };
    }
    producer.push(batch, appended_ms);
    false
}

/// Batches of unknown producers that were refused for want of room, or because their partition is not placed yet. Until the refused one comes again, later ones of the same
/// producer are out of sequence: rule 1 would take them, and the refused batch could then never follow.
///
/// Volatile: after a restart clients send again in order. At most `GAPS_MAX`; beyond, a refusal is not remembered.
#[derive(Debug, Default)]
pub struct Gaps {
    by_producer: BTreeMap<(PartitionId, ProducerId), (ProducerEpoch, i32)>,
}

const GAPS_MAX: usize = 100_000;

impl Gaps {
    /// A numbered batch was refused though nothing is wrong with it. `here` is its partition, if that is placed already.
    pub fn refused(&mut self, partition: PartitionId, here: Option<&Partition>, header: &Header) {
        let known = here.and_then(|here| here.producers.get(header.producer_id));
        let follows = known.is_some_and(|known| known.epoch >= header.producer_epoch);
        if !header.idempotent() || follows || self.by_producer.len() >= GAPS_MAX {
            return;
        }
        let refused = (header.producer_epoch, header.base_sequence);
        let first = self.by_producer.entry((partition, header.producer_id)).or_insert(refused);
        let earlier = first.0 == header.producer_epoch && behind(header.base_sequence, first.1);
        if first.0 < header.producer_epoch || earlier {
            *first = refused;
        }
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.by_producer.len()
    }

    /// The partition is gone: nothing is sent to it again.
    pub fn forget(&mut self, partition: PartitionId) {
        if self.by_producer.is_empty() {
            return;
        }
        let (first, last) = ((partition, ProducerId(i64::MIN)), (partition, ProducerId(i64::MAX)));
        let gone: Vec<(PartitionId, ProducerId)> = self.by_producer.range(first..=last).map(|(key, _)| *key).collect();
        gone.iter().for_each(|key| {
            self.by_producer.remove(key);
        });
    }

    /// The sequence that must come before this batch, which by the rules alone could be appended.
    pub fn expected(&mut self, partition: &Partition, header: &Header) -> Option<i32> {
        if self.by_producer.is_empty() || !header.idempotent() {
            return None;
        }
        let key = (partition.id, header.producer_id);
        let (epoch, sequence) = *self.by_producer.get(&key)?;
        if epoch == header.producer_epoch && behind(sequence, header.base_sequence) {
            return Some(sequence);
        }
        // The refused one, or one before it (it waited while the other was refused): from now on the producer is known.
        self.by_producer.remove(&key);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::batch::{NewRecord, Numbering, build};

    struct Log {
        producers: PartitionProducers,
        next: u64,
    }

    impl Log {
        fn new() -> Log {
            Log { producers: PartitionProducers::default(), next: 0 }
        }

        fn offer(&mut self, epoch: i16, base_sequence: i32, count: usize) -> Verdict {
            let numbering =
                Numbering { producer_id: ProducerId(1), producer_epoch: ProducerEpoch(epoch), base_sequence };
            let batch = build(&vec![NewRecord::default(); count], numbering);
            let verdict = decide(&self.producers, batch.header());
            if verdict == Verdict::Append {
                let header = Header { base_offset: Offset(self.next), ..*batch.header() };
                record(&mut self.producers, &header, 0);
                self.next += count as u64;
            }
            verdict
        }
    }

    fn gap(expected: i32) -> Verdict {
        Verdict::Refuse(PublishError::OutOfSequence { expected })
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(Log::new().offer(3, 17, 1), Verdict::Append);
    }

    #[test]
    fn a_gap_is_refused_and_says_what_was_expected() {
        let mut log = Log::new();
        assert_eq!(log.offer(0, 0, 3), Verdict::Append);
        assert_eq!(log.offer(0, 4, 1), gap(3));
        assert_eq!(log.offer(0, 3, 1), Verdict::Append);
    }

    #[test]
    fn the_last_five_batches_are_known_again_and_older_ones_are_forgotten() {
        let mut log = Log::new();
        for sequence in 0..7 {
            assert_eq!(log.offer(0, sequence, 1), Verdict::Append);
        }
        for sequence in 2..7 {
            assert_eq!(log.offer(0, sequence, 1), Verdict::Repeat(Offset(sequence as u64)));
        }
        for sequence in 0..2 {
            assert_eq!(log.offer(0, sequence, 1), Verdict::Refuse(PublishError::DuplicateForgotten));
        }
        assert_eq!(log.offer(0, 5, 2), gap(7), "overlaps the window without being one of its batches");
    }

    #[test]
    fn a_newer_epoch_starts_at_zero_and_fences_the_older() {
        let mut log = Log::new();
        assert_eq!(log.offer(1, 0, 2), Verdict::Append);
        assert_eq!(log.offer(2, 2, 1), gap(0));
        assert_eq!(log.offer(2, 0, 1), Verdict::Append);
        assert_eq!(log.offer(1, 2, 1), Verdict::Refuse(PublishError::ProducerFenced));
        assert_eq!(log.offer(2, 0, 1), Verdict::Repeat(Offset(2)), "not the batch of epoch 1 with that sequence");
    }

    #[test]
    fn only_what_comes_after_a_refused_batch_waits_for_it() {
        let hosted = crate::log::partition::Hosted {
            topic: model::TopicId::NONE,
            namespace: model::NamespaceId(0),
            name: "t".into(),
            retention_ms: None,
            retention_bytes: None,
            batch_bytes_max: 0,
            compaction: None,
        };
        let row = crate::log::partition::HostedRow { partition: PartitionId(0), index: 0, epoch_base: 0 };
        let partition = Partition::new(hosted.into(), row);
        let header = |base_sequence| {
            let numbering = Numbering { producer_id: ProducerId(1), producer_epoch: ProducerEpoch(0), base_sequence };
            *build(&[NewRecord::default()], numbering).header()
        };
        let mut gaps = Gaps::default();
        gaps.refused(partition.id, Some(&partition), &header(5));
        gaps.refused(partition.id, Some(&partition), &header(6));
        gaps.refused(partition.id, Some(&partition), &header(4));
        assert_eq!(gaps.expected(&partition, &header(6)), Some(4));
        assert_eq!(gaps.expected(&partition, &header(5)), Some(4));
        assert_eq!(gaps.expected(&partition, &header(3)), None, "it comes before");
        assert_eq!(gaps.expected(&partition, &header(4)), None, "and makes its producer known");
        gaps.refused(partition.id, Some(&partition), &header(4));
        gaps.refused(PartitionId(1), None, &header(4));
        gaps.forget(partition.id);
        assert_eq!(gaps.count(), 1, "of the other partition");
    }

    #[test]
    fn what_was_never_taken_here_is_not_called_a_repeat() {
        let mut log = Log::new();
        for sequence in 10..20 {
            assert_eq!(log.offer(0, sequence, 1), Verdict::Append);
        }
        assert_eq!(log.offer(0, 10, 1), Verdict::Refuse(PublishError::DuplicateForgotten));
        assert_eq!(log.offer(0, 9, 1), gap(20));
        assert_eq!(log.offer(0, 0, 1), gap(20));
    }

    #[test]
    fn sequences_wrap_after_the_largest() {
        let mut log = Log::new();
        assert_eq!(log.offer(0, i32::MAX - 1, 3), Verdict::Append);
        assert_eq!(log.offer(0, 1, 1), Verdict::Append);
        assert_eq!(log.offer(0, i32::MAX - 1, 3), Verdict::Repeat(Offset(0)));
        assert_eq!(log.offer(0, i32::MAX - 2, 1), gap(2), "nothing before the first batch was ever taken");
        assert_eq!(log.offer(0, 1, 1), Verdict::Repeat(Offset(3)));
        assert_eq!(log.offer(0, 3, 1), gap(2));
    }
}
