// SPDX-License-Identifier: Apache-2.0
//! The process as its clients see it: connections as byte streams, and one session of the Kafka head at the end of each.
//!
//! Owns: the connections, what a node's driver does with a session, what a death does to connections. Must not know: what clients
//! want, how requests are encoded.

use crate::network::{Arrival, Manner, Pipe};
use crate::process::Output;
use crate::rng::Rng;
use crate::world::{Death, World};
use bytes::{Bytes, BytesMut};
use head_kafka::Settings;
use head_kafka::session::Session;
use kernel::auth::Principal;
use kernel::{Catalog, Command, Ctx};
use model::{HolderId, NamespaceId, ShardId, Ticket};
use std::collections::BTreeMap;
use std::sync::Arc;

struct Link {
    manner: Manner,
    up: Pipe,
    down: Pipe,
    server: Option<Server>,
    /// What the client sends does not arrive any more, and nobody tells it.
    half_open: bool,
}

struct Server {
    session: Session,
    input: BytesMut,
    /// The most that has waited in it.
    input_bytes_max: usize,
    fresh: bool,
    blocked: bool,
}

impl Link {
    /// Something is to be done at the server's end.
    fn has_work(&self, now_us: u64) -> bool {
        self.up.next_due_us().is_some_and(|due| due <= now_us)
            || self.server.as_ref().is_some_and(|server| {
                server.fresh
                    || (server.blocked && server.session.wants_input())
                    || server.session.poll_timeout().is_some_and(|due| due <= now_us)
            })
    }
}

/// See the module.
pub struct Service {
    links: BTreeMap<u64, Link>,
    next_link: u64,
    net: Rng,
    settings: Arc<Settings>,
    manners: Vec<Manner>,
    /// What was under way when a client cut its connection may arrive all the same.
    late: bool,
    shard_count: u32,
}

/// A connection's input may hold so much, or four times of what came.
const INPUT_ROOM_BYTES_MAX: usize = 64 * 1024;

fn ctx(link: u64) -> Ctx {
    Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(link) }
}

impl Service {
    /// No connections yet; each will have one of these manners.
    pub fn new(seed: u64, settings: Settings, manners: Vec<Manner>, late: bool, shard_count: u32) -> Service {
        let (net, settings) = (Rng::of(seed, 102), Arc::new(settings));
        Service { links: BTreeMap::new(), next_link: 1, net, settings, manners, late, shard_count }
    }

    // The clients' end.

    /// A client connects.
    pub fn open(&mut self, world: &World, client: usize) -> u64 {
        let id = self.next_link;
        self.next_link += 1;
        let manner = self.net.pick(&self.manners);
        let session =
            Session::new(self.settings.clone(), ctx(id), "/127.0.0.1".into(), self.net.bits(), world.clock.now());
        let server = Some(Server { session, input: BytesMut::new(), input_bytes_max: 0, fresh: true, blocked: false });
        let link = Link { manner, up: Pipe::default(), down: Pipe::default(), server, half_open: false };
        world.clock.note(44, [id, client as u64, 0], format_args!("client {client} opens connection {id}"));
        self.links.insert(id, link);
        id
    }

    /// A client sends.
    pub fn send(&mut self, world: &World, id: u64, bytes: Bytes) {
        world.clock.note(43, [id, bytes.len() as u64, 0], format_args!("connection {id} -> {} bytes", bytes.len()));
        if let Some(link) = self.links.get_mut(&id) {
            link.up.send(world.clock.us(), link.manner, &mut self.net, bytes);
        }
    }

    /// What has arrived at the client, one piece at a time.
    pub fn arrived(&mut self, now_us: u64, id: u64) -> Option<Arrival> {
        self.links.get_mut(&id).and_then(|link| link.down.arrived(now_us))
    }

    /// The client's end breaks; the server learns of it, or not. `late`: what is under way may arrive all the same, behind what the
    /// client sends next.
    pub fn cut(&mut self, world: &mut World, id: u64, half_open: bool, late: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        world.sightings.saw(if half_open { "connection half open" } else { "connection cut" });
        if half_open {
            link.half_open = true;
            link.up.die();
        } else {
            if self.late && late && self.net.percent(50) {
                world.sightings.saw_if(link.up.next_due_us().is_some(), "bytes late after a cut");
            } else {
                link.up.lose();
            }
            link.up.end(world.clock.us(), link.manner, &mut self.net);
        }
    }

    /// From now on the connection takes everything and delivers nothing, in both directions, and nobody is told.
    pub fn go_silent(&mut self, world: &mut World, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        world.sightings.saw("connection half open");
        link.half_open = true;
        link.up.die();
        link.down.die();
    }

    /// No connection stands still any more.
    pub fn heal(&mut self) {
        self.manners.iter_mut().for_each(|manner| manner.stall_one_in = 0);
        self.links.values_mut().for_each(|link| link.manner.stall_one_in = 0);
    }

    /// The client has no use for the connection any more.
    pub fn forget(&mut self, world: &World, id: u64, client: usize) {
        world.clock.note(42, [id, client as u64, 0], format_args!("client {client} lost connection {id}"));
        if let Some(link) = self.links.get_mut(&id) {
            link.down.die();
            if link.server.is_none() {
                self.links.remove(&id);
            }
        }
    }

    /// Both ends of the connection are there and every byte arrives: whatever was asked on it must be answered.
    pub fn whole(&self, id: u64) -> bool {
        self.links.get(&id).is_some_and(|link| link.server.is_some() && !link.half_open)
    }

    /// When something arrives or comes due.
    pub fn dues(&self) -> impl Iterator<Item = u64> {
        self.links.values().flat_map(|link| {
            let timer = link.server.as_ref().and_then(|server| server.session.poll_timeout());
            [link.up.next_due_us(), link.down.next_due_us(), timer].into_iter().flatten()
        })
    }

    // The server's end.

    /// The process died.
    pub fn died(&mut self, now_us: u64, death: Death) {
        for link in self.links.values_mut().filter(|link| link.server.is_some()) {
            link.server = None;
            link.up.die();
            // A killed process's system closes its connections; after a loss of power nobody says anything.
            if death == Death::Kill || self.net.percent(50) {
                link.down.lose();
                link.down.end(now_us, link.manner, &mut self.net);
            } else {
                link.down.die();
            }
        }
    }

    /// Hands to the sessions what left the shards.
    pub fn deliver(&mut self, world: &mut World, outputs: Vec<Output>) {
        if outputs.is_empty() {
            return;
        }
        let now = world.clock.now();
        let catalog = world.process().catalog().clone();
        for output in outputs {
            let (holder, what) = match output {
                Output::Reply { holder, ticket, reply } => (holder, Ok((ticket, reply))),
                Output::Wake { holder, watch } => (holder, Err(watch)),
            };
            let Some(server) = self.links.get_mut(&holder.0).and_then(|link| link.server.as_mut()) else {
                continue;
            };
            match what {
                Ok((ticket, reply)) => server.session.handle_reply(now, &catalog, ticket, reply),
                Err(watch) => server.session.handle_wake(now, &catalog, watch),
            }
            server.fresh = true;
        }
    }

    /// Does what is due on every connection; true if anything was. A paused process does nothing.
    ///
    /// # Errors
    /// In words: a session that does what none may.
    pub fn serve(&mut self, world: &mut World) -> Result<bool, String> {
        let now_us = world.clock.us();
        if world.paused() {
            return Ok(false);
        }
        let due: Vec<u64> = self.links.iter().filter(|(_, link)| link.has_work(now_us)).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return Ok(false);
        }
        let catalog = world.process().catalog().clone();
        let mut busy = false;
        for id in due {
            busy |= self.serve_one(world, &catalog, id)?;
        }
        Ok(busy)
    }

    fn serve_one(&mut self, world: &mut World, catalog: &Catalog, id: u64) -> Result<bool, String> {
        let now = world.clock.now();
        let Some(link) = self.links.get_mut(&id) else { return Ok(false) };
        let mut busy = false;
        let mut close = None;
        while let Some(arrival) = link.up.arrived(now.mono_us) {
            busy = true;
            let Some(server) = link.server.as_mut() else { continue };
            match arrival {
                Arrival::Bytes(bytes) => {
                    server.input.extend_from_slice(&bytes);
                    server.input_bytes_max = server.input_bytes_max.max(server.input.len());
                    server.fresh = true;
                    if server.session.wants_input()
                        && let Err(reason) = server.session.handle_input(now, catalog, &mut server.input)
                    {
                        close = Some(reason.reason);
                        break;
                    }
                    server.blocked = !server.session.wants_input();
                    let (room, came) = (server.input.capacity(), server.input_bytes_max);
                    if !world.clients_alone && room > INPUT_ROOM_BYTES_MAX.max(4 * came) {
                        return Err(format!(
                            "memory follows what is announced: {room} bytes are held for {came} that came"
                        ));
                    }
                }
                Arrival::End => {
                    close = Some("the client left".into());
                    break;
                }
            }
        }
        if let Some(server) = link.server.as_mut() {
            if server.blocked && server.session.wants_input() && close.is_none() {
                server.fresh = true;
                busy = true;
                if let Err(reason) = server.session.handle_input(now, catalog, &mut server.input) {
                    close = Some(reason.reason);
                }
                server.blocked = !server.session.wants_input();
            }
            if server.session.poll_timeout().is_some_and(|due| due <= now.mono_us) && close.is_none() {
                server.fresh = true;
                busy = true;
                if let Err(reason) = server.session.handle_timeout(now, catalog) {
                    close = Some(reason.reason);
                } else if server.session.poll_timeout().is_some_and(|due| due <= now.mono_us) {
                    return Err("a session asks for a time-out in the past again".into());
                }
            }
        }
        busy |= self.flush(world, id);
        if let Some(reason) = close {
            world.clock.note(40, [id, 0, 0], format_args!("connection {id} closed by the server: {reason}"));
            let Some(link) = self.links.get_mut(&id) else { return Ok(true) };
            if link.server.take().is_some() {
                link.down.end(now.mono_us, link.manner, &mut self.net);
                for shard in 0..self.shard_count {
                    world.process().submit(ShardId(shard), &ctx(id), Ticket(0), Command::Gone);
                }
            }
            busy = true;
        }
        Ok(busy)
    }

    /// Sends what was answered before the end: it may still leave.
    pub fn flush_all(&mut self, world: &mut World) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.flush(world, id);
        }
    }

    /// Commands to the shards, bytes to the client.
    fn flush(&mut self, world: &mut World, id: u64) -> bool {
        let now_us = world.clock.us();
        let Some(link) = self.links.get_mut(&id) else { return false };
        let Some(server) = link.server.as_mut().filter(|server| server.fresh) else { return false };
        server.fresh = false;
        let mut busy = false;
        while let Some((shard, ticket, command)) = server.session.poll_command() {
            world.process().submit(shard, &ctx(id), ticket, command);
            busy = true;
        }
        while let Some(bytes) = server.session.poll_output() {
            world.clock.note(41, [id, bytes.len() as u64, 0], format_args!("connection {id} <- {} bytes", bytes.len()));
            link.down.send(now_us, link.manner, &mut self.net, bytes);
            busy = true;
        }
        while server.session.poll_served().is_some() {}
        busy
    }
}
