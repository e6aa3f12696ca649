// SPDX-License-Identifier: Apache-2.0
//! Listeners: accepting connections and starting their tasks.
//!
//! Owns: the sockets that listen, what each tells its clients, the choice at the bounds (`admission.rs`). Must not know: requests.
//! The loop never waits for anything but the next connection; when the system is out of file descriptors it makes room and rests.

use crate::admission::{Admission, Verdict};
use crate::connection::{Bounds, Connection, End};
use crate::fetch_memory::FetchMemory;
use crate::node::Node;
use crate::random;
use crate::request_memory::RequestMemory;
use crate::settings::Listener;
use head_kafka::session::Session;
use kernel::Ctx;
use kernel::auth::Principal;
use model::NamespaceId;
use ops::api::shapes::ListenerShape;
use ops::metrics::CloseReason;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long the loop rests when a connection cannot be accepted for want of file descriptors or memory.
const REST_AFTER_ERROR: Duration = Duration::from_millis(20);
/// Connections that the system completes before they are accepted.
const BACKLOG: i32 = 1024;
/// Local addresses for which what clients are told is kept.
const LOCAL_ADDRESSES_MAX: usize = 64;

/// A socket that listens, and what its clients are told.
pub struct Bound {
    listener: TcpListener,
    pub name: String,
    pub address: SocketAddr,
    settings: head_kafka::Settings,
    /// Clients are told the address that they came to.
    as_reached: bool,
}

/// What all listeners share.
pub struct Shared {
    pub node: Arc<Node>,
    pub admission: Admission,
    pub memory: Arc<RequestMemory>,
    pub fetch_memory: Arc<FetchMemory>,
    pub bounds: Bounds,
}

impl Bound {
    /// Starts to listen. `template` holds what is the same for all listeners.
    ///
    /// # Errors
    /// The address, and why it cannot be listened on.
    pub fn listen(listener: &Listener, template: &head_kafka::Settings) -> Result<Bound, String> {
        let wrong = |error: io::Error| format!("cannot listen on {} for Kafka clients: {error}", listener.bind);
        let socket = listen(listener.bind).map_err(wrong)?;
        let address = socket.local_addr().map_err(wrong)?;
        let mut settings = template.clone();
        settings.advertised_host = Arc::from(address.ip().to_string());
        settings.advertised_port = address.port();
        if let Some((host, port)) = &listener.advertise {
            settings.advertised_host = Arc::from(host.as_str());
            settings.advertised_port = port.unwrap_or(address.port());
        }
        let as_reached = listener.advertise.is_none() && address.ip().is_unspecified();
        Ok(Bound { listener: socket, name: listener.name.clone(), address, settings, as_reached })
    }

    /// What clients are told, for people.
    pub fn advertised(&self) -> String {
        let host = &self.settings.advertised_host;
        if self.as_reached {
            format!("the address that a client comes to, port {}", self.settings.advertised_port)
        } else if host.contains(':') {
            format!("[{host}]:{}", self.settings.advertised_port)
        } else {
            format!("{host}:{}", self.settings.advertised_port)
        }
    }

    /// For the page about the node.
    pub fn shape(&self) -> ListenerShape {
        ListenerShape {
            name: self.name.clone(),
            protocol: "kafka".to_owned(),
            address: self.address.to_string(),
            advertised: self.advertised(),
        }
    }

    /// An address of this listener that works on this machine.
    pub fn local_address(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ip => ip,
        };
        SocketAddr::new(ip, self.address.port())
    }

    /// Accepts until `stop` turns true.
    pub async fn run(self, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
        let mut told =
            Told { settings: Arc::new(self.settings), as_reached: self.as_reached, by_address: HashMap::new() };
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => start(&shared, &mut told, stream, peer.ip()),
                Err(error) => {
                    shared.node.metrics.accept_failures.add(1);
                    // A connection that is gone before it was accepted is no reason to rest.
                    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                        tracing::debug!(%error, "cannot accept a connection");
                        shared.admission.make_room();
                        tokio::time::sleep(REST_AFTER_ERROR).await;
                    }
                }
            }
        }
    }
}

/// Listens with a backlog of our own choice; an address in use by another listener is an error. An IPv4 address that is written
/// as an IPv6 one (`[::ffff:127.0.0.1]`) is the IPv4 address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() && !address.ip().is_unspecified() {
        socket.set_only_v6(true)?;
    }
    // Lets a restarted node listen while connections of its previous life are still being forgotten by the system.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// What clients of one listener are told.
struct Told {
    settings: Arc<head_kafka::Settings>,
    as_reached: bool,
    /// By local address of this machine. A machine may own a whole network (IPv6 prefixes are routed to single hosts): beyond
    /// `LOCAL_ADDRESSES_MAX` they are made anew for each connection.
    by_address: HashMap<IpAddr, Arc<head_kafka::Settings>>,
}

impl Told {
    fn to(&mut self, stream: &TcpStream) -> Arc<head_kafka::Settings> {
        let reached = if self.as_reached { stream.local_addr().ok() } else { None };
        let Some(reached) = reached else { return self.settings.clone() };
        self.at(reached.ip())
    }

    fn at(&mut self, reached: IpAddr) -> Arc<head_kafka::Settings> {
        if let Some(told) = self.by_address.get(&reached) {
            return told.clone();
        }
        let mut settings = (*self.settings).clone();
        settings.advertised_host = Arc::from(reached.to_canonical().to_string());
        let told = Arc::new(settings);
        if self.by_address.len() < LOCAL_ADDRESSES_MAX {
            self.by_address.insert(reached, told.clone());
        }
        told
    }
}

/// An address as Apache Kafka writes it: `/127.0.0.1`, and for version 6 all eight groups without zeros left out.
fn client_host(peer: IpAddr) -> Arc<str> {
    let host = match peer.to_canonical() {
        IpAddr::V4(address) => format!("/{address}"),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            format!("/{}", groups.join(":"))
        }
    };
    Arc::from(host)
}

fn start(shared: &Arc<Shared>, told: &mut Told, stream: TcpStream, peer: IpAddr) {
    let node = &shared.node;
    let (holder, outbox) = node.holders.join();
    match shared.admission.enter(peer, &outbox) {
        Verdict::Admitted => {}
        Verdict::AdmittedInstead => node.metrics.connections_evicted.add(1),
        Verdict::Refused => {
            node.holders.leave(holder);
            node.metrics.connections_refused.add(1);
            return;
        }
    }
    node.metrics.connections_accepted.add(1);
    node.metrics.connections.add(1);
    // Answers are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder };
    let session = Session::new(told.to(&stream), ctx, client_host(peer), random::seed(), node.clock.now());
    let (memory, bounds) = ((shared.memory.share(), shared.fetch_memory.share()), shared.bounds);
    let counted = Counted { shared: shared.clone(), peer, outbox: outbox.clone() };
    let connection = Connection::new(node.clone(), stream, session, (holder, outbox), bounds, memory);
    node.runtime.spawn(async move {
        let counted = counted;
        let metrics = &counted.shared.node.metrics;
        match connection.run().await {
            End::Closed => metrics.closed(CloseReason::Done),
            End::Evicted => metrics.closed(CloseReason::Evicted),
            End::Socket(error) => {
                metrics.closed(CloseReason::Lost);
                tracing::debug!(%peer, %error, "connection lost");
            }
            End::Fault(reason) => {
                metrics.closed(CloseReason::Fault);
                tracing::debug!(%peer, %reason, "connection closed");
            }
        }
    });
}

/// Takes the connection out of the counts, however it ends.
struct Counted {
    shared: Arc<Shared>,
    peer: IpAddr,
    outbox: Arc<crate::outbox::Outbox>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.admission.leave(self.peer, &self.outbox);
        self.shared.node.metrics.connections.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_named_as_apache_kafka_names_them() {
        let written = |address: &str| client_host(address.parse().unwrap());
        assert_eq!(&*written("127.0.0.1"), "/127.0.0.1");
        assert_eq!(&*written("::1"), "/0:0:0:0:0:0:0:1");
        assert_eq!(&*written("fe80::1ff:fe23"), "/fe80:0:0:0:0:0:1ff:fe23");
        assert_eq!(&*written("::ffff:10.1.2.3"), "/10.1.2.3");
    }

    #[test]
    fn clients_are_told_the_address_they_came_to_and_what_is_kept_of_that_is_bounded() {
        let settings = Arc::new(head_kafka::Settings::default());
        let mut told = Told { settings, as_reached: true, by_address: HashMap::new() };
        for number in 0..1000_u16 {
            let reached = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number]);
            assert_eq!(*told.at(reached).advertised_host, reached.to_string());
        }
        assert_eq!(told.by_address.len(), LOCAL_ADDRESSES_MAX);
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]);
        assert_eq!(*told.at(mapped).advertised_host, *"192.0.2.1");
    }
}
