// SPDX-License-Identifier: Apache-2.0
//! A small Kafka client that speaks to one broker over one blocking socket and hides nothing: no retry, no metadata cache, no
//! batching of its own. What is sent, in which order, and how much of it is under way is the caller's decision, so that a
//! load generator measures the broker and a fault test knows exactly what it asked.
//!
//! Owns: one connection, framing, the requests below and in `wire/` at one version each, and how often each was sent.
//! Must not know: which broker answers (it is proven against Apache Kafka), what the records mean.
//!
//! Pipelining: `send_*` writes a request and returns its number; `receive` takes the next answer, and answers come in the order
//! of the requests. A caller that sends more than it receives must bound what is under way, or both sides block in write.

pub mod admin;
pub mod codec;
pub mod groups;

use bytes::Bytes;
use codec::{Decoder, Encoder, Malformed};
use model::batch::{self, Header, Record, Records};
use model::compression::Compression;
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No answer of a broker under test is larger: what announces more is taken for garbage.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
const CLIENT_ID: &str = "polylog-bench";

/// `timestamp` of [`Connection::list_offset`]: the first offset that is still there.
pub const EARLIEST: i64 = -2;
/// `timestamp` of [`Connection::list_offset`]: the offset after the last.
pub const LATEST: i64 = -1;
/// `timestamp` of [`Connection::list_offset`]: the record with the largest timestamp.
pub const MAX_TIMESTAMP: i64 = -3;

/// The timestamp of a record made now. Records must carry one: a broker may expire what claims to be old.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

macro_rules! apis {
    ($($name:ident = $number:literal, $version:literal, $layout:ident;)*) => {
        /// The requests, with the one version of each that is spoken here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Api {
            $($name,)*
        }

        impl Api {
            /// All of them, by number.
            pub const ALL: &'static [Api] = &[$(Api::$name,)*];

            pub fn key_and_version(self) -> (i16, i16) {
                match self {
                    $(Api::$name => ($number, $version),)*
                }
            }

            fn layout(self) -> Layout {
                match self {
                    $(Api::$name => Layout::$layout,)*
                }
            }
        }
    };
}

/// How lengths are written, and whether headers and structures end with tagged fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Plain,
    Flexible,
}

apis! {
    Produce = 0, 7, Plain;
    Fetch = 1, 11, Plain;
    ListOffsets = 2, 7, Flexible;
    Metadata = 3, 12, Flexible;
    OffsetCommit = 8, 7, Plain;
    OffsetFetch = 9, 5, Plain;
    FindCoordinator = 10, 2, Plain;
    JoinGroup = 11, 5, Plain;
    Heartbeat = 12, 3, Plain;
    LeaveGroup = 13, 3, Plain;
    SyncGroup = 14, 3, Plain;
    DescribeGroups = 15, 4, Plain;
    ListGroups = 16, 2, Plain;
    Versions = 18, 0, Plain;
    CreateTopics = 19, 2, Plain;
    DeleteTopics = 20, 1, Plain;
    DeleteRecords = 21, 1, Plain;
    InitProducerId = 22, 1, Plain;
    OffsetForLeaderEpoch = 23, 3, Plain;
    DescribeConfigs = 32, 1, Plain;
    AlterConfigs = 33, 1, Plain;
    AlterReplicaLogDirs = 34, 1, Plain;
    DescribeLogDirs = 35, 1, Plain;
    CreatePartitions = 37, 1, Plain;
    DeleteGroups = 42, 1, Plain;
    ElectLeaders = 43, 1, Plain;
    IncrementalAlterConfigs = 44, 0, Plain;
    AlterPartitionReassignments = 45, 0, Flexible;
    ListPartitionReassignments = 46, 0, Flexible;
    OffsetDelete = 47, 0, Plain;
    DescribeQuorum = 55, 0, Flexible;
    DescribeCluster = 60, 0, Flexible;
    DescribeProducers = 61, 0, Flexible;
    ListConfigResources = 74, 0, Flexible;
    DescribeTopicPartitions = 75, 0, Flexible;
}

/// How often each request was sent by this program. A count over all connections: it says what a run has exercised.
static SENT: [AtomicU64; Api::ALL.len()] = [const { AtomicU64::new(0) }; Api::ALL.len()];

/// How often each request was sent so far.
pub fn sent() -> Vec<(Api, u64)> {
    Api::ALL.iter().map(|api| (*api, SENT[*api as usize].load(Ordering::Relaxed))).collect()
}

/// A topic's id.
pub type TopicUuid = [u8; 16];

/// A broker's error code, readable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub i16);

impl Code {
    pub const NONE: Code = Code(0);
    pub const OFFSET_OUT_OF_RANGE: Code = Code(1);
    pub const CORRUPT_MESSAGE: Code = Code(2);
    pub const UNKNOWN_TOPIC_OR_PARTITION: Code = Code(3);
    pub const REQUEST_TIMED_OUT: Code = Code(7);
    pub const COORDINATOR_NOT_AVAILABLE: Code = Code(15);
    pub const NOT_ENOUGH_REPLICAS: Code = Code(19);
    pub const ILLEGAL_GENERATION: Code = Code(22);
    pub const UNKNOWN_MEMBER_ID: Code = Code(25);
    pub const REBALANCE_IN_PROGRESS: Code = Code(27);
    pub const TOPIC_ALREADY_EXISTS: Code = Code(36);
    pub const OUT_OF_ORDER_SEQUENCE_NUMBER: Code = Code(45);
    pub const KAFKA_STORAGE_ERROR: Code = Code(56);
    pub const NON_EMPTY_GROUP: Code = Code(68);
    pub const FETCH_SESSION_ID_NOT_FOUND: Code = Code(70);
    pub const MEMBER_ID_REQUIRED: Code = Code(79);
    pub const FENCED_INSTANCE_ID: Code = Code(82);
    pub const ELECTION_NOT_NEEDED: Code = Code(84);
    pub const UNKNOWN_TOPIC_ID: Code = Code(100);
    pub const THROTTLING_QUOTA_EXCEEDED: Code = Code(89);

    fn name(self) -> &'static str {
        match self.0 {
            -1 => "UNKNOWN_SERVER_ERROR",
            0 => "NONE",
            1 => "OFFSET_OUT_OF_RANGE",
            2 => "CORRUPT_MESSAGE",
            3 => "UNKNOWN_TOPIC_OR_PARTITION",
            5 => "LEADER_NOT_AVAILABLE",
            6 => "NOT_LEADER_OR_FOLLOWER",
            7 => "REQUEST_TIMED_OUT",
            10 => "MESSAGE_TOO_LARGE",
            14 => "COORDINATOR_LOAD_IN_PROGRESS",
            15 => "COORDINATOR_NOT_AVAILABLE",
            16 => "NOT_COORDINATOR",
            17 => "INVALID_TOPIC_EXCEPTION",
            19 => "NOT_ENOUGH_REPLICAS",
            21 => "INVALID_REQUIRED_ACKS",
            22 => "ILLEGAL_GENERATION",
            25 => "UNKNOWN_MEMBER_ID",
            27 => "REBALANCE_IN_PROGRESS",
            35 => "UNSUPPORTED_VERSION",
            36 => "TOPIC_ALREADY_EXISTS",
            37 => "INVALID_PARTITIONS",
            42 => "INVALID_REQUEST",
            45 => "OUT_OF_ORDER_SEQUENCE_NUMBER",
            46 => "DUPLICATE_SEQUENCE_NUMBER",
            47 => "INVALID_PRODUCER_EPOCH",
            56 => "KAFKA_STORAGE_ERROR",
            59 => "UNKNOWN_PRODUCER_ID",
            68 => "NON_EMPTY_GROUP",
            69 => "GROUP_ID_NOT_FOUND",
            70 => "FETCH_SESSION_ID_NOT_FOUND",
            71 => "INVALID_FETCH_SESSION_EPOCH",
            74 => "FENCED_LEADER_EPOCH",
            75 => "UNKNOWN_LEADER_EPOCH",
            79 => "MEMBER_ID_REQUIRED",
            82 => "FENCED_INSTANCE_ID",
            84 => "ELECTION_NOT_NEEDED",
            87 => "INVALID_RECORD",
            89 => "THROTTLING_QUOTA_EXCEEDED",
            100 => "UNKNOWN_TOPIC_ID",
            _ => "code",
        }
    }

    /// True where the same request may succeed later. It may have been carried out all the same (`REQUEST_TIMED_OUT`).
    pub fn retriable(self) -> bool {
        matches!(self.0, 3 | 5 | 6 | 7 | 19 | 56 | 89)
    }

    /// True where a group cannot be served now: the same request may succeed later.
    pub fn coordinator_busy(self) -> bool {
        self.retriable() || matches!(self.0, 14..=16)
    }

    fn check(self, api: Api) -> Result<(), WireError> {
        if self == Code::NONE { Ok(()) } else { Err(WireError::Refused { api, code: self }) }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What can go wrong with a request.
#[derive(Debug)]
pub enum WireError {
    /// The connection failed, was closed or did not answer in time: whether the request was carried out is not known.
    Io(io::Error),
    /// The answer is not what the protocol says.
    Malformed { api: Api, why: &'static str },
    /// The broker said no.
    Refused { api: Api, code: Code },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Io(error) => write!(f, "connection: {error}"),
            WireError::Malformed { api, why } => write!(f, "{api:?}: malformed answer: {why}"),
            WireError::Refused { api, code } => write!(f, "{api:?} refused: {code}"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> WireError {
        WireError::Io(error)
    }
}

/// One topic of a Metadata answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Empty for an id that names no topic.
    pub name: String,
    pub id: TopicUuid,
    pub error: Code,
    /// Of its first partition; -1 where there is none.
    pub leader_epoch: i32,
    /// Partition numbers that have a leader.
    pub partitions: Vec<i32>,
}

/// One partition of a Produce answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub partition: i32,
    pub error: Code,
    /// -1 where the broker does not say.
    pub base_offset: i64,
    /// The time that the broker stamped on the batch; -1 where it stamps none.
    pub appended_ms: i64,
}

/// One partition of a Fetch answer. `records` lies in the connection's buffer until the next answer is taken.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    pub partition: i32,
    pub error: Code,
    pub high_watermark: i64,
    pub log_start: i64,
    /// Whole batches back to back, the last perhaps cut.
    pub records: &'a [u8],
}

/// A session of fetches: the broker remembers what was asked for, and answers only where something is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSession {
    pub id: i32,
    pub epoch: i32,
}

impl FetchSession {
    /// Nothing is remembered.
    pub const NONE: FetchSession = FetchSession { id: 0, epoch: -1 };
    /// A session is to be made.
    pub const NEW: FetchSession = FetchSession { id: 0, epoch: 0 };
}

/// How much a Fetch asks for.
#[derive(Clone, Copy, Debug)]
pub struct FetchBounds {
    pub wait_ms_max: i32,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
}

impl Default for FetchBounds {
    fn default() -> FetchBounds {
        FetchBounds { wait_ms_max: 100, bytes_min: 1, bytes_max: 50 * 1024 * 1024, partition_bytes_max: 1024 * 1024 }
    }
}

/// One connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
    next_number: i32,
    oldest_number: i32,
    answer: Vec<u8>,
    request: Encoder,
}

impl Connection {
    /// Connects. Every later wait for bytes ends after `timeout`.
    pub fn open(address: SocketAddr, timeout: Duration) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let stream = BufReader::new(stream);
        Ok(Connection { stream, next_number: 0, oldest_number: 0, answer: Vec::new(), request: Encoder::default() })
    }

    /// Requests sent and not yet answered.
    pub fn under_way(&self) -> i32 {
        self.next_number.wrapping_sub(self.oldest_number)
    }

    /// True when bytes of the next answer have been read from the socket already: a poll would not tell.
    pub fn has_read_ahead(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    fn begin(&mut self, api: Api) -> &mut Encoder {
        let (key, version) = api.key_and_version();
        let number = self.next_number;
        self.next_number = number.wrapping_add(1) & i32::MAX;
        self.request.bytes.clear();
        SENT[api as usize].fetch_add(1, Ordering::Relaxed);
        let request = self.request.i32(0).i16(key).i16(version).i32(number).string(CLIENT_ID);
        if api.layout() == Layout::Flexible { request.tags() } else { request }
    }

    fn send(&mut self) -> io::Result<()> {
        let length = i32::try_from(self.request.bytes.len() - 4).expect("a request fits 32 bits");
        self.request.bytes[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.get_mut().write_all(&self.request.bytes)
    }

    /// Takes the next answer's bytes. The answer's number must be the oldest that is under way.
    fn receive(&mut self, api: Api) -> Result<Decoder<'_>, WireError> {
        let malformed = |why| WireError::Malformed { api, why };
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| malformed("negative length"))?;
        if length > ANSWER_BYTES_MAX {
            return Err(malformed("the answer is too large"));
        }
        self.answer.clear();
        if self.answer.capacity() >= length {
            // The buffer has been this large before: read without growing step by step.
            self.answer.resize(length, 0);
            self.stream.read_exact(&mut self.answer)?;
        } else {
            let count = Read::by_ref(&mut self.stream).take(length as u64).read_to_end(&mut self.answer)?;
            if count < length {
                return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let expected = self.oldest_number;
        self.oldest_number = expected.wrapping_add(1) & i32::MAX;
        let mut decoder = Decoder::of(&self.answer);
        match decoder.i32() {
            Ok(number) if number == expected => {}
            _ => return Err(malformed("an answer out of order")),
        }
        if api.layout() == Layout::Flexible {
            decoder.tags().map_err(|Malformed(why)| malformed(why))?;
        }
        Ok(decoder)
    }

    fn ask<T>(
        &mut self,
        api: Api,
        read: impl FnOnce(&mut Decoder<'_>) -> Result<Result<T, Code>, Malformed>,
    ) -> Result<T, WireError> {
        self.send()?;
        let mut decoder = self.receive(api)?;
        match read(&mut decoder) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(code)) => Err(WireError::Refused { api, code }),
            Err(Malformed(why)) => Err(WireError::Malformed { api, why }),
        }
    }

    /// What the broker speaks: (key, lowest, highest version).
    pub fn api_versions(&mut self) -> Result<Vec<(i16, i16, i16)>, WireError> {
        self.begin(Api::Versions);
        self.ask(Api::Versions, |answer| {
            let code = Code(answer.i16()?);
            let mut versions = Vec::new();
            for _ in 0..answer.count()? {
                versions.push((answer.i16()?, answer.i16()?, answer.i16()?));
            }
            Ok(if code == Code::NONE { Ok(versions) } else { Err(code) })
        })
    }

    /// Names one request that this client sends and the broker does not speak.
    pub fn first_unsupported(&mut self) -> Result<Option<Api>, WireError> {
        let versions = self.api_versions()?;
        let all = [
            Api::Produce,
            Api::Fetch,
            Api::ListOffsets,
            Api::Metadata,
            Api::CreateTopics,
            Api::DeleteTopics,
            Api::InitProducerId,
        ];
        Ok(all.into_iter().find(|api| {
            let (key, version) = api.key_and_version();
            !versions.iter().any(|&(other, lowest, highest)| other == key && (lowest..=highest).contains(&version))
        }))
    }

    /// Describes topics; a topic that is missing is made when `create` says so and the broker does that.
    pub fn metadata(&mut self, topics: &[&str], create: bool) -> Result<Vec<TopicMetadata>, WireError> {
        let request = self.begin(Api::Metadata).compact_count(topics.len());
        for topic in topics {
            request.uuid(&[0; 16]).compact_string(topic).tags();
        }
        request.bool(create).bool(false).tags();
        self.ask(Api::Metadata, read_metadata)
    }

    /// Describes the topic of an id.
    pub fn metadata_of_id(&mut self, id: &TopicUuid) -> Result<Vec<TopicMetadata>, WireError> {
        let request = self.begin(Api::Metadata).compact_count(1).uuid(id).compact_null().tags();
        request.bool(false).bool(false).tags();
        self.ask(Api::Metadata, read_metadata)
    }

    /// Describes everything there is: how many topics, and how many partitions they have together.
    pub fn metadata_of_all(&mut self) -> Result<(usize, usize), WireError> {
        self.begin(Api::Metadata).compact_null().bool(false).bool(false).tags();
        self.ask(Api::Metadata, read_metadata).map(|topics| {
            let partitions = topics.iter().map(|topic| topic.partitions.len()).sum();
            (topics.len(), partitions)
        })
    }

    /// Makes topics with one request: names and numbers of partitions.
    pub fn create_topics(&mut self, topics: &[(&str, i32)]) -> Result<(), WireError> {
        let request = self.begin(Api::CreateTopics);
        request.count(topics.len());
        for (name, partitions) in topics {
            request.string(name).i32(*partitions).i16(1).count(0).count(0);
        }
        request.i32(30_000).bool(false);
        self.ask(Api::CreateTopics, |answer| {
            answer.i32()?;
            first_error(answer, |answer| answer.string().map(drop))
        })
    }

    /// Makes a topic. Settings are the topic's own, for instance `("flush.messages", "1")`.
    pub fn create_topic(&mut self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<(), WireError> {
        let request = self.begin(Api::CreateTopics);
        request.count(1).string(name).i32(partitions).i16(1).count(0).count(settings.len());
        for (name, value) in settings {
            request.string(name).string(value);
        }
        request.i32(30_000).bool(false);
        self.ask(Api::CreateTopics, |answer| {
            answer.i32()?;
            first_error(answer, |answer| answer.string().map(drop))
        })
    }

    /// Deletes a topic.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), WireError> {
        self.delete_topics(&[name])
    }

    /// Deletes topics with one request.
    pub fn delete_topics(&mut self, names: &[&str]) -> Result<(), WireError> {
        let request = self.begin(Api::DeleteTopics).count(names.len());
        for name in names {
            request.string(name);
        }
        request.i32(30_000);
        self.ask(Api::DeleteTopics, |answer| {
            answer.i32()?;
            first_error(answer, |_| Ok(()))
        })
    }

    /// A fresh idempotent producer: its id and epoch.
    pub fn init_producer_id(&mut self) -> Result<(i64, i16), WireError> {
        self.begin(Api::InitProducerId).nullable_string(None).i32(60_000);
        self.ask(Api::InitProducerId, |answer| {
            answer.i32()?;
            let code = Code(answer.i16()?);
            let producer = (answer.i64()?, answer.i16()?);
            Ok(if code == Code::NONE { Ok(producer) } else { Err(code) })
        })
    }

    /// The offset (and the timestamp found) for a timestamp, [`EARLIEST`], [`LATEST`] or [`MAX_TIMESTAMP`].
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> Result<(i64, i64), WireError> {
        let request = self.begin(Api::ListOffsets).i32(-1).i8(0).compact_count(1).compact_string(topic);
        request.compact_count(1).i32(partition).i32(-1).i64(timestamp).tags().tags().tags();
        self.ask(Api::ListOffsets, |answer| {
            answer.i32()?;
            if answer.compact_count()? != 1 || answer.compact_string()?.is_none() || answer.compact_count()? != 1 {
                return Err(Malformed("one partition was asked for"));
            }
            answer.i32()?;
            let code = Code(answer.i16()?);
            let (timestamp, offset) = (answer.i64()?, answer.i64()?);
            Ok(if code == Code::NONE { Ok((offset, timestamp)) } else { Err(code) })
        })
    }

    /// Sends one Produce request with one batch a partition. With `acks` 0 no answer comes.
    pub fn send_produce(&mut self, topic: &str, acks: i16, batches: &[(i32, &[u8])]) -> io::Result<()> {
        let request = self.begin(Api::Produce);
        request.nullable_string(None).i16(acks).i32(30_000).count(1).string(topic).count(batches.len());
        for (partition, batch) in batches {
            request.i32(*partition).byte_string(batch);
        }
        if acks == 0 {
            self.oldest_number = self.oldest_number.wrapping_add(1) & i32::MAX;
        }
        self.send()
    }

    /// Takes the oldest Produce answer: every partition of that request.
    pub fn receive_produce(&mut self, produced: &mut Vec<Produced>) -> Result<(), WireError> {
        produced.clear();
        let mut answer = self.receive(Api::Produce)?;
        let mut read = || {
            for _ in 0..answer.count()? {
                answer.string()?;
                for _ in 0..answer.count()? {
                    let (partition, error, base_offset) = (answer.i32()?, Code(answer.i16()?), answer.i64()?);
                    let appended_ms = answer.i64()?;
                    answer.i64()?;
                    produced.push(Produced { partition, error, base_offset, appended_ms });
                }
            }
            answer.i32().map(drop)
        };
        read().map_err(|Malformed(why)| WireError::Malformed { api: Api::Produce, why })
    }

    /// Sends one Fetch request without a session.
    pub fn send_fetch(&mut self, topic: &str, positions: &[(i32, i64)], bounds: FetchBounds) -> io::Result<()> {
        self.send_fetch_in(FetchSession::NONE, topic, positions, bounds)
    }

    /// Sends one Fetch request in a session: only positions that have changed since the last one need to be told.
    pub fn send_fetch_in(
        &mut self,
        session: FetchSession,
        topic: &str,
        positions: &[(i32, i64)],
        bounds: FetchBounds,
    ) -> io::Result<()> {
        let request = self.begin(Api::Fetch);
        request.i32(-1).i32(bounds.wait_ms_max).i32(bounds.bytes_min).i32(bounds.bytes_max).i8(0);
        request.i32(session.id).i32(session.epoch).count(1).string(topic).count(positions.len());
        for (partition, offset) in positions {
            request.i32(*partition).i32(-1).i64(*offset).i64(-1).i32(bounds.partition_bytes_max);
        }
        request.count(0).string("");
        self.send()
    }

    /// Takes the oldest Fetch answer.
    pub fn receive_fetch(&mut self) -> Result<Vec<Fetched<'_>>, WireError> {
        self.receive_fetch_in().map(|(_, fetched)| fetched)
    }

    /// Takes the oldest Fetch answer, with the id of the session that it belongs to; 0: none.
    pub fn receive_fetch_in(&mut self) -> Result<(i32, Vec<Fetched<'_>>), WireError> {
        let mut answer = self.receive(Api::Fetch)?;
        let mut fetched = Vec::new();
        let mut read = || {
            answer.i32()?;
            let code = Code(answer.i16()?);
            let session_id = answer.i32()?;
            for _ in 0..answer.count()? {
                answer.string()?;
                for _ in 0..answer.count()? {
                    let (partition, error) = (answer.i32()?, Code(answer.i16()?));
                    let (high_watermark, _stable, log_start) = (answer.i64()?, answer.i64()?, answer.i64()?);
                    for _ in 0..answer.count()? {
                        answer.i64()?;
                        answer.i64()?;
                    }
                    answer.i32()?;
                    let records = answer.byte_string()?;
                    fetched.push(Fetched { partition, error, high_watermark, log_start, records });
                }
            }
            Ok((code, session_id))
        };
        let (code, session_id) = read().map_err(|Malformed(why)| WireError::Malformed { api: Api::Fetch, why })?;
        code.check(Api::Fetch)?;
        Ok((session_id, fetched))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

fn read_metadata(answer: &mut Decoder<'_>) -> Result<Result<Vec<TopicMetadata>, Code>, Malformed> {
    answer.i32()?;
    for _ in 0..answer.compact_count()? {
        answer.i32()?;
        answer.compact_string()?;
        answer.i32()?;
        answer.compact_string()?;
        answer.tags()?;
    }
    answer.compact_string()?;
    answer.i32()?;
    let mut topics = Vec::new();
    for _ in 0..answer.compact_count()? {
        let error = Code(answer.i16()?);
        let name = answer.compact_string()?.unwrap_or_default().to_owned();
        let id = answer.uuid()?;
        answer.i8()?;
        let (mut partitions, mut first_epoch) = (Vec::new(), -1);
        for _ in 0..answer.compact_count()? {
            let (error, partition, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
            let leader_epoch = answer.i32()?;
            for _ in 0..3 {
                for _ in 0..answer.compact_count()? {
                    answer.i32()?;
                }
            }
            answer.tags()?;
            if partition == 0 {
                first_epoch = leader_epoch;
            }
            if error == 0 && leader >= 0 {
                partitions.push(partition);
            }
        }
        answer.i32()?;
        answer.tags()?;
        topics.push(TopicMetadata { name, id, error, leader_epoch: first_epoch, partitions });
    }
    Ok(Ok(topics))
}

/// Reads an array of (name, code, rest) and answers the first code that is not `NONE`.
fn first_error(
    answer: &mut Decoder<'_>,
    rest: impl Fn(&mut Decoder<'_>) -> Result<(), Malformed>,
) -> Result<Result<(), Code>, Malformed> {
    let mut result = Ok(());
    for _ in 0..answer.count()? {
        answer.string()?;
        let code = Code(answer.i16()?);
        rest(answer)?;
        if result.is_ok() && code != Code::NONE {
            result = Err(code);
        }
    }
    Ok(result)
}

/// Walks the whole batches of a Fetch answer; a batch cut at the end is left out, as the protocol asks of a reader.
pub fn batches(records: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let header = Header::read(rest)?;
        let (batch, after) = rest.split_at_checked(header.bytes.max(batch::HEADER_BYTES))?;
        rest = after;
        Some((header, batch))
    })
}

/// Calls `each` with (offset, value) of every record from `from` on in the whole batches of a Fetch answer, checksums verified,
/// and returns the position to fetch next.
///
/// # Errors
/// As [`whole_records`].
pub fn records(records: &[u8], from: i64, mut each: impl FnMut(i64, Option<&[u8]>)) -> Result<i64, &'static str> {
    whole_records(records, from, |offset, record, _| each(offset, record.value))
}

/// The same with all that a record has, and the header of its batch.
///
/// # Errors
/// Bytes that no reader could take: a wrong checksum, a record that is not well formed, a batch that cannot be inflated.
pub fn whole_records(
    records: &[u8],
    from: i64,
    mut each: impl FnMut(i64, &Record<'_>, &Header),
) -> Result<i64, &'static str> {
    let mut next = from;
    for (header, bytes) in batches(records) {
        if header.magic != 2 {
            return Err("a batch of another format");
        }
        if model::crc::crc32c(&bytes[batch::CRC_START..]) != header.crc {
            return Err("a batch with a wrong checksum");
        }
        let inflated;
        let inner = match header.compression() {
            Some(Compression::None) => &bytes[batch::HEADER_BYTES..],
            _ => {
                let inner = batch::inflate(&Bytes::copy_from_slice(bytes), &header);
                inflated = inner.map_err(|_| "a batch that cannot be inflated")?;
                &inflated[..]
            }
        };
        let base = i64::try_from(header.base_offset.0).map_err(|_| "a negative offset")?;
        for record in Records::of(inner, &header) {
            let record = record.map_err(|_| "a record that is not well formed")?;
            let offset = base + i64::from(record.offset_delta);
            if offset >= from && !header.control() {
                each(offset, &record, &header);
            }
        }
        next = next.max(base + i64::from(header.last_offset_delta) + 1);
    }
    Ok(next)
}
