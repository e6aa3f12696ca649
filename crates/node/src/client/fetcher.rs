// SPDX-License-Identifier: Apache-2.0
//! Records in: several partitions of one topic, from where each stands, in turn.
//!
//! Owns: the next offset of each partition. Must not know: what is done with records.
//! Every batch's checksum is looked at before a record of it is given out; batches of any compression are inflated within the
//! model's bounds; transaction markers are passed over.
//!
//! Bounds: an answer is asked to have at most [`ANSWER_BYTES`], of which a partition [`PARTITION_BYTES`] (one larger batch is whole).

use super::refusal::{ClientError, is_retriable};
use super::topics::{EARLIEST, LATEST, Topic, millis};
use super::{Client, Tries, is_ok};
use bytes::Bytes;
use head_kafka::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use head_kafka::wire::{ErrorCode, Text};
use model::batch::{self, CRC_START, HEADER_BYTES, Header, Record, inflate};
use model::crc::crc32c;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const ANSWER_BYTES: i32 = 16 * 1024 * 1024;
const PARTITION_BYTES: i32 = 4 * 1024 * 1024;

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    Taken,
    /// And no more after it.
    TakenLast,
    /// It is not wanted, nor are those after it.
    NotTaken,
}

/// What came for one partition.
pub struct Fetched {
    pub partition: i32,
    records: Vec<Bytes>,
}

/// See the module.
pub struct Fetcher {
    topic: Topic,
    /// Partition and next offset; who was served last is at the end.
    positions: VecDeque<(i32, i64)>,
}

impl Fetcher {
    pub fn new(topic: Topic, positions: impl IntoIterator<Item = (i32, i64)>) -> Fetcher {
        Fetcher { topic, positions: positions.into_iter().collect() }
    }

    pub fn positions(&self) -> BTreeMap<i32, i64> {
        self.positions.iter().copied().collect()
    }

    /// A partition is not read any more.
    pub fn drop_partition(&mut self, partition: i32) {
        self.positions.retain(|(index, _)| *index != partition);
    }

    /// Asks once. What comes has to be walked (`walk`) before the next time. `say` hears of jumps.
    pub fn poll(
        &mut self,
        client: &mut Client,
        wait: Duration,
        say: &mut dyn FnMut(String),
    ) -> Result<Vec<Fetched>, ClientError> {
        let tries = Tries::within(client.timeout());
        loop {
            let mut fetched = Vec::new();
            let mut refused: Option<(i32, i16)> = None;
            let answer = match self.ask(client, wait) {
                // The broker may be starting again, or another takes its place.
                Err(error) if error.is_lost_connection() && tries.again() => {
                    client.reconnect()?;
                    self.look_again(client)?;
                    continue;
                }
                answer => answer?,
            };
            for data in answer {
                let (partition, error_code) = (data.partition_index, data.error_code);
                if error_code == ErrorCode::OffsetOutOfRange.number() {
                    // Where it is in range by now, a while will tell.
                    if !self.back_in_range(client, partition, say)? {
                        refused = Some((partition, error_code));
                    }
                } else if !is_ok(error_code) {
                    refused = Some((partition, error_code));
                } else if !data.records.0.is_empty() {
                    fetched.push(Fetched { partition, records: data.records.0 });
                }
            }
            let Some((partition, error_code)) = refused.filter(|_| fetched.is_empty()) else {
                return Ok(fetched);
            };
            self.look_again(client)?;
            let passing = [ErrorCode::UnknownTopicOrPartition, ErrorCode::OffsetOutOfRange];
            let may_pass = is_retriable(error_code) || passing.iter().any(|code| code.number() == error_code);
            if !may_pass || !tries.again() {
                return Err(ClientError::refused(format!("reading {}-{partition}", self.topic.name), error_code));
            }
        }
    }

    /// Finds out where the partitions are now. A topic that is gone says so by its name; another of its name is not this one.
    fn look_again(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let topic = client.topic(&self.topic.name)?;
        if topic.id != self.topic.id {
            let what = format!("topic {:?} was deleted and made anew", topic.name);
            return Err(ClientError::refused(what, ErrorCode::UnknownTopicId.number()));
        }
        self.topic = topic;
        Ok(())
    }

    fn ask(&mut self, client: &mut Client, wait: Duration) -> Result<Vec<PartitionData>, ClientError> {
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, fetch_offset) in &self.positions {
            let asked = FetchPartition {
                partition: *partition,
                current_leader_epoch: -1,
                fetch_offset: *fetch_offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: PARTITION_BYTES,
            };
            by_leader.entry(self.topic.leader(*partition)).or_default().push(asked);
        }
        let mut sent = Vec::new();
        let mut data = Vec::new();
        for (leader, partitions) in by_leader {
            if leader < 0 {
                // As a broker would answer for a partition that nobody leads.
                let none =
                    |asked: &FetchPartition| PartitionData::refused(asked.partition, ErrorCode::LeaderNotAvailable);
                data.extend(partitions.iter().map(none));
                continue;
            }
            let request = FetchRequest {
                replica_id: -1,
                max_wait_ms: millis(wait),
                min_bytes: 1,
                max_bytes: ANSWER_BYTES,
                isolation_level: 0,
                session_id: 0,
                session_epoch: -1,
                topics: vec![FetchTopic {
                    topic: self.topic.name.as_str().into(),
                    topic_id: self.topic.id,
                    partitions,
                }],
                forgotten_topics_data: Vec::new(),
                rack_id: Text::EMPTY,
            };
            let broker = client.broker(leader)?;
            sent.push((leader, broker.send(&request)?));
        }
        for (leader, sent) in sent {
            let answer = client.broker(leader)?.receive::<FetchRequest>(sent, wait)?;
            if !is_ok(answer.error_code) {
                return Err(ClientError::refused(format!("reading {}", self.topic.name), answer.error_code));
            }
            data.extend(answer.responses.into_iter().flat_map(|topic| topic.partitions));
        }
        Ok(data)
    }

    /// Retention may have taken what was next. False: it has not.
    fn back_in_range(
        &mut self,
        client: &mut Client,
        partition: i32,
        say: &mut dyn FnMut(String),
    ) -> Result<bool, ClientError> {
        let bound = |client: &mut Client, topic: &Topic, time| {
            client.offsets(topic, &[(partition, time)]).map(|found| found.get(&partition).copied().unwrap_or(0))
        };
        let start = bound(client, &self.topic, EARLIEST)?;
        let end = bound(client, &self.topic, LATEST)?;
        let name = &self.topic.name;
        let Some((_, position)) = self.positions.iter_mut().find(|(index, _)| *index == partition) else {
            return Ok(true);
        };
        if *position < start {
            say(format!("{name}-{partition}: records before offset {start} are gone; goes on there (from {position})"));
            *position = start;
        } else if *position > end {
            say(format!("{name}-{partition}: ends at offset {end}; goes on there (from {position})"));
            *position = end;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Gives out the records that came for one partition and moves on behind the last one taken.
    pub fn walk<E: From<ClientError>>(
        &mut self,
        fetched: &Fetched,
        mut visit: impl FnMut(i64, &Record<'_>) -> Result<Visit, E>,
    ) -> Result<(), E> {
        let Some(at) = self.positions.iter().position(|(index, _)| *index == fetched.partition) else {
            return Ok(());
        };
        // Whoever is served goes to the end, so that a busy partition does not starve the others.
        let (partition, start) = self.positions.remove(at).unwrap_or_default();
        let mut position = start;
        let outcome = self.walk_from(&mut position, fetched, &mut visit);
        self.positions.push_back((partition, position));
        outcome
    }

    fn walk_from<E: From<ClientError>>(
        &self,
        position: &mut i64,
        fetched: &Fetched,
        visit: &mut impl FnMut(i64, &Record<'_>) -> Result<Visit, E>,
    ) -> Result<(), E> {
        for piece in &fetched.records {
            let mut rest = piece.clone();
            while let Some(header) = Header::read(&rest) {
                // Brokers may cut the last batch of an answer.
                if header.bytes < HEADER_BYTES || header.bytes > rest.len() {
                    break;
                }
                let bytes = rest.split_to(header.bytes);
                let damaged = |why: &str| ClientError::Damaged {
                    topic: self.topic.name.clone(),
                    partition: fetched.partition,
                    offset: header.base_offset.0 as i64,
                    why: why.to_owned(),
                };
                if header.magic != 2 {
                    return Err(damaged(&format!("it has the old format {}", header.magic)).into());
                }
                if crc32c(&bytes[CRC_START..]) != header.crc {
                    return Err(damaged("its checksum is wrong").into());
                }
                let next = header.next_offset().0 as i64;
                if !header.control() && next > *position {
                    let inflated = inflate(&bytes, &header).map_err(|_| damaged("its records cannot be inflated"))?;
                    for record in batch::Records::of(&inflated, &header) {
                        let record = record.map_err(|why| damaged(&why.to_string()))?;
                        let offset = header.base_offset.0 as i64 + i64::from(record.offset_delta);
                        if offset < *position {
                            continue;
                        }
                        let seen = visit(offset, &record)?;
                        if seen == Visit::NotTaken {
                            return Ok(());
                        }
                        *position = offset + 1;
                        if seen == Visit::TakenLast {
                            return Ok(());
                        }
                    }
                }
                *position = next.max(*position);
            }
        }
        Ok(())
    }
}
