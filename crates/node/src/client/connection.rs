// SPDX-License-Identifier: Apache-2.0
//! One connection to one broker: requests out, responses in, in order.
//!
//! Owns: the socket, the versions both sides speak, correlation ids. Must not know: what any request is for.
//! Bounds: a response has at most [`RESPONSE_BYTES_MAX`] and memory grows with what arrives; a broker that stops sending is given
//! up at the deadline. After an error in the middle of a frame the connection is broken, says so, and is of no use.

use super::refusal::ClientError;
use super::request::Request;
use crate::interrupt;
use bytes::Bytes;
use head_kafka::wire::messages::api_versions::{ApiVersion, ApiVersionsRequest};
use head_kafka::wire::{ApiKey, ErrorCode, Field, Format, Writer, frame};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A fetch asks for far less; beyond this something is wrong. One batch of Apache Kafka may be larger than any of ours.
const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest wait for a connection.
const CONNECT_MS_MAX: u64 = 10_000;
/// How often a wait looks whether somebody pressed Ctrl-C.
const LOOK_MS: u64 = 200;
const CLIENT_ID: &str = "polylog-cli";

/// Connections made so far.
static MADE: AtomicU64 = AtomicU64::new(0);

/// See the module.
pub struct Connection {
    /// Of all connections of this process.
    number: u64,
    server: String,
    stream: TcpStream,
    timeout: Duration,
    versions: Vec<ApiVersion>,
    correlation_id: i32,
    broken: bool,
}

/// A request that was sent and is not answered yet.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Sent {
    /// Whose answer is awaited there and nowhere else.
    connection: u64,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Connection {
    /// Connects and asks what is spoken.
    pub fn open(server: &str, timeout: Duration) -> Result<Connection, ClientError> {
        let stream = connect(server, timeout.min(Duration::from_millis(CONNECT_MS_MAX)))
            .map_err(|why| ClientError::Unreachable { server: server.to_owned(), why })?;
        let mut connection = Connection {
            number: MADE.fetch_add(1, Ordering::Relaxed),
            server: server.to_owned(),
            stream,
            timeout,
            versions: Vec::new(),
            correlation_id: 0,
            broken: false,
        };
        connection.negotiate()?;
        Ok(connection)
    }

    /// True once an answer was cut short or late.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: CLIENT_ID.into(),
            client_software_version: crate::VERSION.into(),
        };
        // A broker that does not know the version answers in the layout of version 0.
        for version in [3, 0] {
            let sent = self.send_in(version, &request)?;
            let body = self.receive_frame(sent, self.timeout, false)?;
            let error_code = body.get(4..6).map(|code| i16::from_be_bytes([code[0], code[1]]));
            if version > 0 && error_code == Some(ErrorCode::UnsupportedVersion.number()) {
                continue;
            }
            let answer = self.read::<ApiVersionsRequest>(sent, body)?;
            if answer.error_code != 0 {
                return Err(ClientError::refused("ApiVersions", answer.error_code));
            }
            self.versions = answer.api_keys;
            return Ok(());
        }
        Err(ClientError::Unspoken { server: self.server.clone(), what: ApiKey::ApiVersions })
    }

    /// The newest version that both sides speak.
    fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let key = R::KEY;
        let ours = *key.taken().start()..=R::VERSION_MAX.min(*key.taken().end());
        let theirs = self.versions.iter().find(|version| version.api_key == key.number());
        theirs
            .map(|theirs| (theirs.min_version.max(*ours.start()), theirs.max_version.min(*ours.end())))
            .filter(|(lowest, highest)| lowest <= highest)
            .map(|(_, highest)| highest)
            .ok_or_else(|| ClientError::Unspoken { server: self.server.clone(), what: key })
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let sent = self.send(request)?;
        self.receive::<R>(sent, Duration::ZERO)
    }

    /// Sends a request. Answers come in the order of the requests and must be taken in it.
    pub fn send<R: Request>(&mut self, request: &R) -> Result<Sent, ClientError> {
        let version = self.version::<R>()?;
        self.send_in(version, request)
    }

    fn send_in<R: Request>(&mut self, version: i16, request: &R) -> Result<Sent, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let sent = Sent { connection: self.number, key: R::KEY, version, correlation_id: self.correlation_id };
        let mut writer = Writer::request(R::KEY, version, sent.correlation_id, CLIENT_ID);
        request.write(&mut writer, Format { version, flexible: R::KEY.is_flexible(version) });
        let pieces = writer.finish();
        self.write(&pieces).map_err(|why| self.lost(why))?;
        Ok(sent)
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), String> {
        self.stream.set_write_timeout(Some(self.timeout)).map_err(|why| why.to_string())?;
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self.stream.write_vectored(left) {
                Ok(0) => return Err("the connection ended".to_owned()),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why.to_string()),
            }
        }
        Ok(())
    }

    /// Takes the answer to the oldest request that has none. `longer`: how much more than usual the broker may take, because it
    /// was asked to wait.
    pub fn receive<R: Request>(&mut self, sent: Sent, longer: Duration) -> Result<R::Response, ClientError> {
        let body = self.receive_frame(sent, self.timeout + longer, false)?;
        self.read::<R>(sent, body)
    }

    /// The same, but given up with [`ClientError::Interrupted`] when somebody presses Ctrl-C. The connection is of no use then.
    pub fn receive_unless_interrupted<R: Request>(
        &mut self,
        sent: Sent,
        longer: Duration,
    ) -> Result<R::Response, ClientError> {
        let body = self.receive_frame(sent, self.timeout + longer, true)?;
        self.read::<R>(sent, body)
    }

    fn read<R: Request>(&mut self, sent: Sent, body: Bytes) -> Result<R::Response, ClientError> {
        let malformed = |why| ClientError::malformed(&self.server, sent.key, why);
        let (correlation_id, mut reader) = frame::response(body, sent.key, sent.version).map_err(malformed)?;
        if correlation_id != sent.correlation_id {
            self.broken = true;
            let why = "it is the answer to another request".to_owned();
            return Err(ClientError::Malformed { server: self.server.clone(), what: sent.key, why });
        }
        let format = Format { version: sent.version, flexible: sent.key.is_flexible(sent.version) };
        R::Response::read(&mut reader, format).map_err(malformed)
    }

    fn receive_frame(&mut self, sent: Sent, timeout: Duration, interruptible: bool) -> Result<Bytes, ClientError> {
        if self.broken || sent.connection != self.number {
            // Waiting would be in vain, and what came could be another's answer.
            let why = "the connection was lost before it answered".to_owned();
            return Err(ClientError::Unreachable { server: self.server.clone(), why });
        }
        let wait = Wait { deadline: Instant::now() + timeout, interruptible };
        let outcome = self.take(4, wait).and_then(|length| {
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            if !(4..=RESPONSE_BYTES_MAX).contains(&length) {
                return Err(Ended::Length(length));
            }
            self.take(length, Wait { interruptible: false, ..wait })
        });
        outcome.map(Bytes::from).map_err(|ended| {
            self.broken = true;
            match ended {
                Ended::Interrupted => ClientError::Interrupted,
                Ended::Late => ClientError::Silent { server: self.server.clone(), what: sent.key, waited: timeout },
                Ended::Lost(why) => ClientError::Unreachable { server: self.server.clone(), why },
                Ended::Length(length) => ClientError::Malformed {
                    server: self.server.clone(),
                    what: sent.key,
                    why: format!("it announces {length} bytes"),
                },
            }
        })
    }

    /// Exactly that many bytes; memory grows with what arrives.
    fn take(&mut self, count: usize, wait: Wait) -> Result<Vec<u8>, Ended> {
        const STEP: usize = 256 * 1024;
        let mut out = Vec::new();
        while out.len() < count {
            let left = wait.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Ended::Late);
            }
            if wait.interruptible && interrupt::happened() {
                return Err(Ended::Interrupted);
            }
            let look = left.min(Duration::from_millis(LOOK_MS));
            self.stream.set_read_timeout(Some(look)).map_err(|why| Ended::Lost(why.to_string()))?;
            let start = out.len();
            out.resize(count.min(start + STEP), 0);
            let read = self.stream.read(&mut out[start..]);
            out.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(Ended::Lost("it closed the connection".to_owned())),
                Ok(_) => {}
                Err(why)
                    if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(why) => return Err(Ended::Lost(why.to_string())),
            }
        }
        Ok(out)
    }

    fn lost(&mut self, why: String) -> ClientError {
        self.broken = true;
        ClientError::Unreachable { server: self.server.clone(), why }
    }
}

#[derive(Clone, Copy)]
struct Wait {
    deadline: Instant,
    interruptible: bool,
}

enum Ended {
    Interrupted,
    Late,
    Lost(String),
    Length(usize),
}

/// Tries each address of the name in turn.
fn connect(server: &str, timeout: Duration) -> Result<TcpStream, String> {
    let addresses = server.to_socket_addrs().map_err(|why| why.to_string())?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|why| why.to_string())?;
                return Ok(stream);
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
