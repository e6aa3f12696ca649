// SPDX-License-Identifier: Apache-2.0
//! Connections that say whatever bytes they are given, from addresses of their own, and requests with any body.
//!
//! Owns: opening such a connection, the request header. Must not know: why somebody would send such a thing.

use crate::wire::codec::Encoder;
use rustix::net::{AddressFamily, SocketType, sockopt};
use sim::rng::Rng;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

/// An attacker waits no longer for a connection or for one write, so that it comes to its end in time.
const STEP_TIME_MAX: Duration = Duration::from_millis(250);

/// Where a wave happens, and until when.
pub struct Field {
    pub address: SocketAddr,
    lasts: Duration,
    until: Instant,
    rng: RefCell<Rng>,
}

impl Field {
    pub fn new(address: SocketAddr, lasts: Duration, rng: Rng) -> Field {
        Field { address, lasts, until: Instant::now() + lasts, rng: RefCell::new(rng) }
    }

    /// The part of the wave that a thread of its own carries.
    pub fn part(&self) -> Field {
        let rng = Rng::new(self.rng.borrow_mut().bits());
        Field { address: self.address, lasts: self.lasts, until: self.until, rng: RefCell::new(rng) }
    }

    /// The whole of it again, for a wave that had something to make first.
    pub fn anew(&self) -> Field {
        Field { until: Instant::now() + self.lasts, ..self.part() }
    }

    pub fn rng(&self) -> std::cell::RefMut<'_, Rng> {
        self.rng.borrow_mut()
    }

    pub fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// A pause, no longer than the wave.
    pub fn pause(&self, most: Duration) {
        std::thread::sleep(most.min(self.until.saturating_duration_since(Instant::now())));
    }

    /// A connection from 127.0.0.`host`.
    pub fn connect(&self, host: u8) -> io::Result<TcpStream> {
        let SocketAddr::V4(to) = self.address else { return Err(io::ErrorKind::Unsupported.into()) };
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(STEP_TIME_MAX))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(STEP_TIME_MAX))?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0))?;
        rustix::net::connect(&socket, &to)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A whole request: length, header (as before the flexible versions) and `body`.
pub fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.i32(0).i16(key).i16(version).i32(7).string("flood");
    out.bytes.extend_from_slice(body);
    let length = i32::try_from(out.bytes.len() - 4).expect("a request fits 32 bits");
    out.bytes[..4].copy_from_slice(&length.to_be_bytes());
    out.bytes
}

/// A request of which only the beginning is there: its length says `announced`.
pub fn beginning(key: i16, version: i16, body: &[u8], announced: i32) -> Vec<u8> {
    let mut bytes = request(key, version, body);
    bytes[..4].copy_from_slice(&announced.to_be_bytes());
    bytes
}

/// Reads what comes until the answer is whole, the connection closes, or nothing comes for a while. True when it was an answer.
pub fn answered(stream: &mut TcpStream) -> bool {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).is_err() {
        return false;
    }
    let length = u64::from(u32::from_be_bytes(length));
    io::copy(&mut Read::by_ref(stream).take(length), &mut io::sink()).is_ok_and(|count| count == length)
}

/// Writes as much as is taken at once of what is left. False when the connection is gone.
pub fn write_some(stream: &mut TcpStream, bytes: &mut &[u8]) -> bool {
    match stream.write(bytes) {
        Ok(count) => {
            *bytes = &bytes[count..];
            count > 0
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}
