// SPDX-License-Identifier: Apache-2.0
//! Records out: gathered into batches, several requests under way, nothing lost, doubled or reordered when one has to be repeated.
//!
//! Owns: the open batches, the sequence numbers, what is under way. Must not know: where records come from.
//!
//! Each record has a place (its line). A partition's batches are numbered in the order of their places. When one is refused for
//! now, or its connection is lost, everything under way is awaited, and what was not acknowledged is sent again in that same order
//! with the same numbers: the broker then tells repeats from news. A batch that is too large is halved, down to the record that is.
//! The first lasting refusal ends it, naming the line: what was taken for other partitions, and what stands before it in its own, is
//! still written.
//!
//! Bounds: [`GATHERED_BYTES_MAX`] in open batches, [`REQUESTS_MAX`] under way of [`REQUEST_BYTES`], tries until the time-out.

use super::connection::Sent;
use super::partitioner::place_of;
use super::refusal::{self, ClientError};
use super::topics::{Topic, millis};
use super::{Client, PAUSE_MS, Tries, is_ok};
use bytes::Bytes;
use head_kafka::wire::ErrorCode;
use head_kafka::wire::messages::init_producer_id::InitProducerIdRequest;
use head_kafka::wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use model::batch::{self, NewRecord, Numbering, sequence_plus};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A batch is closed at this size: half of what a topic takes by default.
const BATCH_BYTES: usize = 512 * 1024;
/// Batches of several partitions share a request up to this size.
const REQUEST_BYTES: usize = 1024 * 1024;
/// As many as brokers promise to keep in order, if batches are numbered.
const REQUESTS_MAX: usize = 5;
/// Many partitions with little each: beyond this all are sent.
const GATHERED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a record takes beside its key, value and headers, at most.
const RECORD_BYTES: usize = 32;

/// How records are to be written.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// -1, 0 or 1. Only with -1 are records numbered, so that no repeat doubles one.
    pub acks: i16,
    pub compression: Compression,
}

/// What was written to one partition. Offsets are unknown (`None`) without acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub records: u64,
    pub first_offset: Option<i64>,
    pub last_offset: Option<i64>,
}

/// Why the writing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceError {
    /// A record, or a batch with this record as its first, was refused.
    Refused {
        first_line: u64,
        last_line: u64,
        partition: i32,
        error_code: i16,
        message: Option<String>,
    },
    /// A partition that the topic has not.
    NoPartition {
        line: u64,
        partition: i32,
        count: usize,
    },
    /// It could not be compressed or was too large for any batch.
    Unfit {
        line: u64,
        why: String,
    },
    /// Not acknowledged in time.
    Late {
        first_line: u64,
        why: String,
    },
    Client(ClientError),
}

impl From<ClientError> for ProduceError {
    fn from(error: ClientError) -> ProduceError {
        ProduceError::Client(error)
    }
}

#[derive(Default)]
struct Gathering {
    records: Vec<NewRecord>,
    lines: Vec<u64>,
    bytes: usize,
}

struct Outgoing {
    partition: i32,
    base_sequence: i32,
    records: Vec<NewRecord>,
    lines: Vec<u64>,
    bytes: Bytes,
    /// Of the first try.
    since: Option<Instant>,
}

struct UnderWay {
    broker: i32,
    sent: Option<Sent>,
    batches: Vec<Outgoing>,
}

/// See the module.
pub struct Producer {
    topic: Topic,
    wanted: Wanted,
    numbering: Option<(ProducerId, ProducerEpoch)>,
    next_sequence: BTreeMap<i32, i32>,
    gathering: BTreeMap<i32, Gathering>,
    gathered_bytes: usize,
    /// Where records without a key go until that batch is full, as a place in the topic's list.
    unkeyed: usize,
    ready: VecDeque<Outgoing>,
    under_way: VecDeque<UnderWay>,
    /// Something has to be sent again: nothing new goes out until all under way is settled.
    again: Vec<Outgoing>,
    why_again: String,
    /// The first lasting refusal, and for each partition that refused something the line from which on nothing is written there.
    refused: Option<ProduceError>,
    ended: BTreeMap<i32, u64>,
    written: BTreeMap<i32, Written>,
}

impl Producer {
    /// Gets ready to write to a topic.
    pub fn new(client: &mut Client, topic: Topic, wanted: Wanted) -> Result<Producer, ClientError> {
        let numbering = if wanted.acks == -1 { Some(producer_id(client)?) } else { None };
        let unkeyed = crate::random::seed() as usize % topic.partitions.len().max(1);
        Ok(Producer {
            topic,
            wanted,
            numbering,
            next_sequence: BTreeMap::new(),
            gathering: BTreeMap::new(),
            gathered_bytes: 0,
            unkeyed,
            ready: VecDeque::new(),
            under_way: VecDeque::new(),
            again: Vec::new(),
            why_again: String::new(),
            refused: None,
            ended: BTreeMap::new(),
            written: BTreeMap::new(),
        })
    }

    /// What was acknowledged so far, by partition.
    pub fn written(&self) -> &BTreeMap<i32, Written> {
        &self.written
    }

    /// Takes a record; sends when there is enough. `line` grows from record to record.
    pub fn add(
        &mut self,
        client: &mut Client,
        line: u64,
        partition: Option<i32>,
        record: NewRecord,
    ) -> Result<(), ProduceError> {
        let partition = match self.place(line, partition, record.key.as_deref()) {
            Ok(partition) => partition,
            Err(error) => return self.end_with(client, error),
        };
        let headers: usize =
            record.headers.iter().map(|(name, value)| 10 + name.len() + value.as_ref().map_or(0, Bytes::len)).sum();
        let payload = record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
        let bytes = RECORD_BYTES + payload + headers;
        if bytes > i32::MAX as usize / 2 {
            let why = "it is larger than any batch may be".to_owned();
            return self.end_with(client, ProduceError::Unfit { line, why });
        }
        let gathering = self.gathering.entry(partition).or_default();
        if gathering.bytes + bytes > BATCH_BYTES && !gathering.records.is_empty() {
            self.close(partition)?;
        }
        let gathering = self.gathering.entry(partition).or_default();
        gathering.records.push(record);
        gathering.lines.push(line);
        gathering.bytes += bytes;
        self.gathered_bytes += bytes;
        if gathering.bytes >= BATCH_BYTES {
            self.close(partition)?;
        }
        if self.gathered_bytes >= GATHERED_BYTES_MAX {
            self.close_all()?;
        }
        self.send_ready(client)?;
        if self.refused.is_some() { self.finish(client) } else { Ok(()) }
    }

    /// What stands before a record that makes no sense is written.
    fn end_with(&mut self, client: &mut Client, error: ProduceError) -> Result<(), ProduceError> {
        self.finish(client)?;
        Err(error)
    }

    /// Sends everything that was taken, without waiting for what the broker says to it.
    pub fn push(&mut self, client: &mut Client) -> Result<(), ProduceError> {
        self.close_all()?;
        self.send_ready(client)
    }

    /// Sends everything and waits until it is acknowledged.
    ///
    /// # Errors
    /// Also when something was refused for good: then all that could be written is.
    pub fn finish(&mut self, client: &mut Client) -> Result<(), ProduceError> {
        self.push(client)?;
        while !self.under_way.is_empty() {
            self.settle_one(client)?;
            self.send_ready(client)?;
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    /// It stands behind something that its partition refused.
    fn is_behind(&self, batch: &Outgoing) -> bool {
        let first_line = batch.lines.first().copied().unwrap_or_default();
        self.ended.get(&batch.partition).is_some_and(|line| first_line >= *line)
    }

    fn send_ready(&mut self, client: &mut Client) -> Result<(), ProduceError> {
        while !self.ready.is_empty() {
            self.send_one(client)?;
        }
        Ok(())
    }

    fn place(&self, line: u64, partition: Option<i32>, key: Option<&[u8]>) -> Result<i32, ProduceError> {
        let count = self.topic.partitions.len();
        if let Some(partition) = partition {
            let known = self.topic.partitions.iter().any(|known| known.index == partition);
            return if known { Ok(partition) } else { Err(ProduceError::NoPartition { line, partition, count }) };
        }
        let place = key.map_or(self.unkeyed, |key| place_of(key, count));
        Ok(self.topic.partitions.get(place).map_or(0, |partition| partition.index))
    }

    fn close_all(&mut self) -> Result<(), ProduceError> {
        let open: Vec<i32> = self.gathering.keys().copied().collect();
        open.into_iter().try_for_each(|partition| self.close(partition))
    }

    fn close(&mut self, partition: i32) -> Result<(), ProduceError> {
        let Some(gathering) = self.gathering.remove(&partition) else { return Ok(()) };
        self.gathered_bytes -= gathering.bytes;
        let at_unkeyed = self.topic.partitions.get(self.unkeyed).is_some_and(|known| known.index == partition);
        if at_unkeyed {
            self.unkeyed = (self.unkeyed + 1) % self.topic.partitions.len();
        }
        let next = self.next_sequence.entry(partition).or_default();
        let base_sequence = *next;
        *next = sequence_plus(base_sequence, gathering.records.len() as i32);
        let batch = self.encode(partition, base_sequence, gathering.records, gathering.lines)?;
        self.ready.push_back(batch);
        Ok(())
    }

    fn encode(
        &self,
        partition: i32,
        base_sequence: i32,
        records: Vec<NewRecord>,
        lines: Vec<u64>,
    ) -> Result<Outgoing, ProduceError> {
        let numbering = match self.numbering {
            Some((producer_id, producer_epoch)) => Numbering { producer_id, producer_epoch, base_sequence },
            None => Numbering::NONE,
        };
        let mut batch = batch::build(&records, numbering);
        if self.wanted.compression != Compression::None {
            let line = lines.first().copied().unwrap_or_default();
            batch = batch::compressed(&batch, self.wanted.compression)
                .map_err(|why| ProduceError::Unfit { line, why: format!("it cannot be compressed: {why}") })?;
        }
        Ok(Outgoing { partition, base_sequence, records, lines, bytes: batch.bytes().clone(), since: None })
    }

    /// Sends one request with what is ready for one broker: at most one batch a partition, in order.
    fn send_one(&mut self, client: &mut Client) -> Result<(), ProduceError> {
        // Without numbers a broker cannot tell that something is missing before what comes next.
        let requests_max = if self.numbering.is_some() { REQUESTS_MAX } else { 1 };
        while self.under_way.len() >= requests_max || !self.again.is_empty() {
            self.settle_one(client)?;
        }
        self.drop_behind();
        let Some(first) = self.ready.front() else { return Ok(()) };
        let leader = self.topic.leader(first.partition);
        let mut batches: Vec<Outgoing> = Vec::new();
        let mut bytes = 0;
        let mut passed = VecDeque::new();
        while let Some(mut batch) = self.ready.pop_front() {
            let waits = |other: &Outgoing| other.partition == batch.partition;
            let fits = batches.is_empty() || bytes + batch.bytes.len() <= REQUEST_BYTES;
            if !fits
                || self.topic.leader(batch.partition) != leader
                || batches.iter().any(waits)
                || passed.iter().any(waits)
            {
                passed.push_back(batch);
                continue;
            }
            bytes += batch.bytes.len();
            batch.since.get_or_insert_with(Instant::now);
            batches.push(batch);
        }
        self.ready = passed;
        let request = self.request(client.timeout(), &batches);
        let acks = self.wanted.acks;
        let sent = client.broker(leader).and_then(|broker| broker.send(&request));
        match sent {
            Ok(_unanswered) if acks == 0 => {
                for batch in batches {
                    self.written.entry(batch.partition).or_default().records += batch.records.len() as u64;
                }
            }
            Ok(sent) => self.under_way.push_back(UnderWay { broker: leader, sent: Some(sent), batches }),
            // Settled like an answer that did not come; a client that cannot connect at all says so there.
            Err(
                error @ (ClientError::Unreachable { .. } | ClientError::Silent { .. } | ClientError::NoLeader { .. }),
            ) if acks != 0 => {
                self.why_again = error.to_string();
                self.under_way.push_back(UnderWay { broker: leader, sent: None, batches });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn drop_behind(&mut self) {
        if !self.ended.is_empty() {
            let mut ready = std::mem::take(&mut self.ready);
            ready.retain(|batch| !self.is_behind(batch));
            self.ready = ready;
        }
    }

    fn request(&self, timeout: Duration, batches: &[Outgoing]) -> ProduceRequest {
        let partition_data = batches
            .iter()
            .map(|batch| PartitionProduceData { index: batch.partition, records: Some(batch.bytes.clone()) })
            .collect();
        ProduceRequest {
            transactional_id: None,
            acks: self.wanted.acks,
            timeout_ms: millis(timeout),
            topic_data: vec![TopicProduceData {
                name: self.topic.name.as_str().into(),
                topic_id: self.topic.id,
                partition_data,
            }],
        }
    }

    /// Waits for the oldest answer. Once all are there, what has to be sent again is put in front.
    fn settle_one(&mut self, client: &mut Client) -> Result<(), ProduceError> {
        if let Some(UnderWay { broker, sent, batches }) = self.under_way.pop_front() {
            let answer = match sent {
                None => Err(None),
                Some(sent) => client
                    .broker(broker)
                    .and_then(|broker| broker.receive::<ProduceRequest>(sent, Duration::ZERO))
                    .map_err(Some),
            };
            match answer {
                Ok(answer) => {
                    let mut results: BTreeMap<i32, &PartitionProduceResponse> = BTreeMap::new();
                    for result in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
                        results.insert(result.index, result);
                    }
                    for batch in batches {
                        let result = results.get(&batch.partition).copied();
                        self.settle_batch(batch, result)?;
                    }
                }
                Err(why) => {
                    if let Some(error) = why {
                        if !error.is_lost_connection() {
                            return Err(error.into());
                        }
                        self.why_again = error.to_string();
                    }
                    self.again.extend(batches);
                }
            }
        }
        if self.under_way.is_empty() && !self.again.is_empty() {
            self.start_again(client)?;
        }
        Ok(())
    }

    fn settle_batch(&mut self, batch: Outgoing, result: Option<&PartitionProduceResponse>) -> Result<(), ProduceError> {
        let Some(result) = result else {
            self.why_again = "the answer does not speak of it".to_owned();
            self.again.push(batch);
            return Ok(());
        };
        let error_code = result.error_code;
        let code = ErrorCode::from_number(error_code);
        if is_ok(error_code) || code == Some(ErrorCode::DuplicateSequenceNumber) {
            let count = batch.records.len() as i64;
            let written = self.written.entry(batch.partition).or_default();
            written.records += count as u64;
            if is_ok(error_code) && result.base_offset >= 0 {
                written.first_offset.get_or_insert(result.base_offset);
                written.last_offset = Some(result.base_offset + count - 1);
            }
            return Ok(());
        }
        if self.is_behind(&batch) {
            return Ok(());
        }
        // After a gap everything behind it is out of order until the gap is filled.
        let follows_gap = code == Some(ErrorCode::OutOfOrderSequenceNumber) && !self.again.is_empty();
        // The topic may have been made a moment ago, or moved.
        let stale = code == Some(ErrorCode::UnknownTopicOrPartition) || code == Some(ErrorCode::UnknownTopicId);
        if refusal::is_retriable(error_code) || follows_gap || stale {
            if !follows_gap {
                self.why_again = refusal::name_of(error_code);
            }
            self.again.push(batch);
            return Ok(());
        }
        if code == Some(ErrorCode::MessageTooLarge) && batch.records.len() > 1 {
            self.why_again = refusal::name_of(error_code);
            return self.halve(batch);
        }
        let named = result.record_errors.first();
        let line_of = |index: i32| usize::try_from(index).ok().and_then(|index| batch.lines.get(index)).copied();
        let named_line = named.and_then(|named| line_of(named.batch_index));
        let message = named
            .and_then(|named| named.batch_index_error_message.as_ref())
            .or(result.error_message.as_ref())
            .map(ToString::to_string);
        self.ended.insert(batch.partition, batch.lines.first().copied().unwrap_or_default());
        self.refused.get_or_insert(ProduceError::Refused {
            first_line: named_line.or(batch.lines.first().copied()).unwrap_or_default(),
            last_line: named_line.or(batch.lines.last().copied()).unwrap_or_default(),
            partition: batch.partition,
            error_code,
            message,
        });
        Ok(())
    }

    fn halve(&mut self, mut batch: Outgoing) -> Result<(), ProduceError> {
        let middle = batch.records.len() / 2;
        let (records, lines) = (batch.records.split_off(middle), batch.lines.split_off(middle));
        let later_sequence = sequence_plus(batch.base_sequence, middle as i32);
        for (base_sequence, records, lines) in
            [(batch.base_sequence, batch.records, batch.lines), (later_sequence, records, lines)]
        {
            let mut half = self.encode(batch.partition, base_sequence, records, lines)?;
            half.since = batch.since;
            self.again.push(half);
        }
        Ok(())
    }

    fn start_again(&mut self, client: &mut Client) -> Result<(), ProduceError> {
        let mut again = std::mem::take(&mut self.again);
        again.retain(|batch| !self.is_behind(batch));
        if again.is_empty() {
            return Ok(());
        }
        again.sort_by_key(|batch| batch.lines.first().copied());
        let late = again.iter().find(|batch| batch.since.is_some_and(|since| since.elapsed() > client.timeout()));
        if let Some(batch) = late {
            let first_line = batch.lines.first().copied().unwrap_or_default();
            return Err(ProduceError::Late { first_line, why: std::mem::take(&mut self.why_again) });
        }
        std::thread::sleep(Duration::from_millis(PAUSE_MS));
        client.reconnect()?;
        self.topic = client.topic(&self.topic.name)?;
        for batch in again.into_iter().rev() {
            self.ready.push_front(batch);
        }
        Ok(())
    }
}

fn producer_id(client: &mut Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
    };
    let tries = Tries::within(client.timeout());
    loop {
        let answer = client.call(&request)?;
        if is_ok(answer.error_code) {
            return Ok((ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch)));
        }
        if !tries.again_after(answer.error_code) {
            return Err(ClientError::refused("a number for this producer", answer.error_code));
        }
    }
}

#[cfg(test)]
mod tests;
