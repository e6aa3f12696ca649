// SPDX-License-Identifier: Apache-2.0
//! A small blocking Kafka client, for the command line.
//!
//! Owns: connections to the brokers of one cluster, and who is asked what (any broker, a partition's leader, a group's
//! coordinator). Must not know: flags, how results are shown.
//! It speaks the published protocol and no more, so it works with any broker of that protocol, Apache Kafka included.
//!
//! Bounds: a response has at most `RESPONSE_BYTES_MAX`; every wait has a deadline; what may be tried again is, for as long as the
//! deadline of the whole request allows, with a pause in between.
//!
//! `connection.rs` one socket · `request.rs` which response goes with which request · `topics.rs` names and offsets of topics ·
//! `alteration.rs` their settings and sizes, and changing them · `producer.rs` batches out · `fetcher.rs` records in · `partitioner.rs` keys to partitions ·
//! `groups.rs` groups from outside · `member.rs` being one of a group · `consumer_protocol.rs` what members tell each other ·
//! `refusal.rs` what can go wrong.

pub mod alteration;
pub mod connection;
pub mod consumer_protocol;
pub mod fetcher;
pub mod groups;
pub mod member;
pub mod partitioner;
pub mod producer;
pub mod refusal;
pub mod request;
pub mod topics;

use connection::Connection;
use head_kafka::wire::ErrorCode;
use head_kafka::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use refusal::ClientError;
use request::Request;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two tries of what may be tried again.
const PAUSE_MS: u64 = 100;

/// A cluster of brokers, one of which was named.
pub struct Client {
    timeout: Duration,
    /// To the broker that was named; any request that needs no particular broker goes here.
    named: Connection,
    others: BTreeMap<i32, Connection>,
    /// Where the brokers say they are, from the newest metadata.
    brokers: BTreeMap<i32, String>,
}

impl Client {
    /// Connects to the broker at `server` (`host:port`).
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], or what it answers makes no sense.
    pub fn connect(server: &str, timeout: Duration) -> Result<Client, ClientError> {
        let named = Connection::open(server, timeout)?;
        Ok(Client { timeout, named, others: BTreeMap::new(), brokers: BTreeMap::new() })
    }

    /// Asks the broker that was named.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        self.named.call(request)
    }

    /// The connection to a broker, made when it is needed first. Where there is one broker only, it is the one that was named, by
    /// whatever address that was: an address that only other machines can reach does no harm then.
    pub fn broker(&mut self, id: i32) -> Result<&mut Connection, ClientError> {
        if self.brokers.len() < 2 {
            return Ok(&mut self.named);
        }
        let lost = self.others.get(&id).is_some_and(Connection::is_broken);
        if lost || !self.others.contains_key(&id) {
            let Some(address) = self.brokers.get(&id) else {
                return Err(ClientError::NoLeader { what: format!("broker {id}") });
            };
            self.others.insert(id, Connection::open(address, self.timeout)?);
        }
        self.others.get_mut(&id).ok_or_else(|| ClientError::NoLeader { what: format!("broker {id}") })
    }

    /// Asks something that changes nothing, again if the connection turns out to be lost: brokers close those that were quiet.
    pub fn look_up<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        match self.call(request) {
            Err(error) if error.is_lost_connection() => {
                self.reconnect()?;
                self.call(request)
            }
            answer => answer,
        }
    }

    /// Makes connections that were lost anew, for as long as one request may take: the broker may be starting again. If there are
    /// others in the cluster, one of them takes its place.
    pub fn reconnect(&mut self) -> Result<(), ClientError> {
        self.others.retain(|_, connection| !connection.is_broken());
        let tries = Tries::within(self.timeout);
        let mut servers = vec![self.named.server().to_owned()];
        if self.brokers.len() > 1 {
            servers.extend(self.brokers.values().cloned());
        }
        for server in servers.iter().cycle() {
            if !self.named.is_broken() {
                break;
            }
            match Connection::open(server, self.timeout) {
                Ok(connection) => self.named = connection,
                Err(error) if error.is_lost_connection() && tries.again() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The ids of all brokers.
    pub fn brokers_known(&mut self) -> Result<Vec<i32>, ClientError> {
        if self.brokers.is_empty() {
            self.metadata(Some(&[]))?;
        }
        Ok(self.brokers.keys().copied().collect())
    }

    /// What the cluster knows of these topics, or of all (`None`). Makes none.
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        // In version 0 an empty list means all; nobody that speaks no more than that is left.
        let named = |name: &&str| MetadataRequestTopic { topic_id: [0; 16], name: Some((*name).into()) };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        };
        let answer = self.look_up(&request)?;
        self.brokers = answer.brokers.iter().map(|broker| (broker.node_id, address_of(broker))).collect();
        Ok(answer)
    }

    /// How long one request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

fn address_of(broker: &head_kafka::wire::messages::metadata::MetadataBroker) -> String {
    let host = broker.host.as_str();
    if host.contains(':') { format!("[{host}]:{}", broker.port) } else { format!("{host}:{}", broker.port) }
}

/// Tries again while the answer is that it may work later, until the deadline.
pub struct Tries {
    deadline: Instant,
}

impl Tries {
    pub fn within(timeout: Duration) -> Tries {
        Tries { deadline: Instant::now() + timeout }
    }

    /// Waits a moment and says yes, if the error is of that kind and there is time left.
    pub fn again_after(&self, error_code: i16) -> bool {
        refusal::is_retriable(error_code) && self.again()
    }

    /// Waits a moment and says yes, if there is time left.
    pub fn again(&self) -> bool {
        let in_time = Instant::now() < self.deadline;
        if in_time {
            std::thread::sleep(Duration::from_millis(PAUSE_MS));
        }
        in_time
    }
}

/// Whether an error number means "done".
pub fn is_ok(error_code: i16) -> bool {
    error_code == ErrorCode::None.number()
}
