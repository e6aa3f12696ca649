// SPDX-License-Identifier: Apache-2.0
//! The AMQP head: will speak AMQP 0-9-1 as RabbitMQ 4 does. Not whole yet, and no listener uses it.
//!
//! Here so far: the codec ([`wire`]), the words for what is refused ([`errors`]), and one connection's machine ([`session`]) up to what it
//! asks of the kernel. Nothing answers that yet but tests. What comes next, and in which order, stands in
//! `docs/internals/amqp-head.md`.
//!
//! Must not know: sockets, threads, clocks, random sources, other heads.

pub mod errors;
mod random;
pub mod session;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use wire::{Table, TableWriter, Value};

/// What a listener tells its clients, and the bounds of its connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Clients read the two together: several behave by what RabbitMQ of that version does.
    pub product: Arc<str>,
    pub version: Arc<str>,
    pub platform: Arc<str>,
    pub copyright: Arc<str>,
    pub information: Arc<str>,
    pub cluster_name: Arc<str>,
    /// What is announced as a capability, by the names that clients look for: only what whoever drives the sessions does.
    pub capabilities: &'static [&'static str],
    /// Channels that a client may open at once.
    pub channel_max: u16,
    /// Largest frame, not 0: it is what bounds what is gathered of one.
    pub frame_max: u32,
    /// Offered; the client decides.
    pub heartbeat_s: u16,
    /// From the first byte to the open vhost.
    pub handshake_ms_max: u64,
    /// Largest body; a larger one closes its channel.
    pub message_bytes_max: u64,
    /// Publishes of a connection that the kernel has not answered, without those of transactions. Beyond: it is not read.
    pub inflight_bytes_max: usize,
    /// Methods with `nowait` that the kernel is not done with. Beyond: the connection is not read.
    pub silent_methods_max: usize,
    /// What waits behind an answer, of all channels. Beyond: the connection is not read.
    pub held_bytes_max: usize,
    /// What the client has not taken. Beyond: nothing is delivered, and the connection is not read.
    pub output_bytes_max: usize,
    /// What uncommitted transactions of a connection hold. Beyond: it is closed (506).
    pub transaction_bytes_max: u64,
    /// Publishes of a channel from the oldest that is undecided to the newest. Beyond: the connection is not read.
    pub confirm_window_max: usize,
    /// Deliveries of a channel that are out. Beyond: nothing is delivered to it, and `basic.get` closes the connection (506).
    pub unacked_max: usize,
    /// Of a channel. Beyond: the connection is closed (506).
    pub consumers_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            product: Arc::from("RabbitMQ"),
            version: Arc::from("4.0.5"),
            platform: Arc::from("Rust"),
            copyright: Arc::from(""),
            information: Arc::from("Polylog, which speaks the protocol of RabbitMQ"),
            cluster_name: Arc::from("polylog"),
            // What the session does by itself. The others need a kernel behind it.
            capabilities: &[
                "publisher_confirms",
                "basic.nack",
                "connection.blocked",
                "authentication_failure_close",
                "per_consumer_qos",
            ],
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat_s: 60,
            handshake_ms_max: 10_000,
            message_bytes_max: 16 * 1024 * 1024,
            inflight_bytes_max: 8 * 1024 * 1024,
            silent_methods_max: 10_000,
            held_bytes_max: 4 * 1024 * 1024,
            output_bytes_max: 4 * 1024 * 1024,
            transaction_bytes_max: 64 * 1024 * 1024,
            confirm_window_max: 1_000_000,
            unacked_max: 1_000_000,
            consumers_max: 10_000,
        }
    }
}

impl Settings {
    fn server_properties(&self) -> Table {
        let capabilities = self.capabilities.iter();
        let capabilities = capabilities.fold(TableWriter::new(), |writer, name| writer.field(name, &Value::Bool(true)));
        TableWriter::new()
            .field("capabilities", &Value::Table(capabilities.table()))
            .string("cluster_name", &self.cluster_name)
            .string("copyright", &self.copyright)
            .string("information", &self.information)
            .string("platform", &self.platform)
            .string("product", &self.product)
            .string("version", &self.version)
            .table()
    }
}
