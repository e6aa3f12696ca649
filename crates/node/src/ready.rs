// SPDX-License-Identifier: Apache-2.0
//! `polylog ready`: asks the node of this machine whether it serves, for health checks that have nothing but this binary.
//!
//! Owns: one request for `/readyz` and the reading of its answer, within `WAIT_MAX`. Must not know: what makes a node ready.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for each of connecting, sending and the answer.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// The answer is a status line, a few headers and one line of text.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// The phase that the node is in, if it is ready.
///
/// # Errors
/// Why it is not, or why nobody knows.
pub fn ask(http: SocketAddr) -> Result<String, String> {
    let address = SocketAddr::new(here(http.ip().to_canonical()), http.port());
    let wrong = |error: std::io::Error| format!("no answer from http://{address}/readyz: {error}");
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX).map_err(wrong)?;
    stream.set_read_timeout(Some(WAIT_MAX)).map_err(wrong)?;
    stream.set_write_timeout(Some(WAIT_MAX)).map_err(wrong)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(wrong)?;
    let phase = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim_end());
    match answer.split(' ').nth(1) {
        Some("200") => Ok(phase.to_owned()),
        Some("503") => Err(format!("not ready: {phase}")),
        _ => Err(format!("what answers at http://{address}/readyz is not Polylog")),
    }
}

/// Bound to all addresses means: also to the loopback one.
fn here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
