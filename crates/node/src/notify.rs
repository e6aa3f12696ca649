// SPDX-License-Identifier: Apache-2.0
//! Tells the service manager how the node is: ready, stopping, and one line for people.
//!
//! Owns: the datagrams to the socket that `NOTIFY_SOCKET` names (systemd's `sd_notify(3)`: lines of `NAME=value`). Must not know:
//! when a node is ready. Without the variable nothing is sent; a datagram that cannot be sent is logged and changes nothing, because
//! a node that serves is worth more than a manager that hears of it.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// The line for people is cut to this: it may hold an error's text.
const STATUS_BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Notify {
    /// Finds out whether there is somebody to tell.
    pub fn from_env() -> Notify {
        let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return Notify::default() };
        match Notify::to(&name) {
            Ok(notify) => notify,
            Err(error) => {
                tracing::warn!(%error, "cannot tell the service manager anything: {VARIABLE} is not usable");
                Notify::default()
            }
        }
    }

    fn to(name: &OsStr) -> io::Result<Notify> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up a start or a stop.
        socket.set_nonblocking(true)?;
        Ok(Notify { manager: Some((socket, address)) })
    }

    /// Clients are served from now on.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", line(status)));
    }

    /// What the node is at.
    pub fn status(&self, status: &str) {
        self.send(&line(status));
    }

    /// The node was asked to stop and does so.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\n{}", line(status)));
    }

    fn send(&self, lines: &str) {
        if let Some((socket, address)) = &self.manager
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// One line, whatever the text holds: a second one would be another message.
fn line(status: &str) -> String {
    let mut text: String = status.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.truncate(text.floor_char_boundary(STATUS_BYTES_MAX));
    format!("STATUS={text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_file_is_reached_by_its_name() {
        let name = format!("polylog-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notify::to(OsStr::new(&format!("@{name}"))).unwrap().ready("serving");
        let mut message = [0; 100];
        let count = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..count], b"READY=1\nSTATUS=serving\n");
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(line("failed:\nREADY=1"), "STATUS=failed: READY=1\n");
        assert!(line(&"\u{e4}".repeat(9000)).len() <= STATUS_BYTES_MAX + 8);
    }

    #[test]
    fn nobody_listening_is_no_error() {
        Notify::to(OsStr::new("/nonexistent/notify")).unwrap().stopping("stopping");
        Notify::default().ready("serving");
    }
}
