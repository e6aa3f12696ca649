// SPDX-License-Identifier: Apache-2.0
//! One connection: the only file that touches both a socket and a head's session.
//!
//! Owns: the socket, the buffers and their bounds, the order read -> session -> shards -> session -> write. Must not know: what a
//! request means (the session) or what a command does (the shard).
//!
//! - The input buffer grows with bytes that have arrived, never with a length that was announced, and is given back when empty: an
//!   idle connection holds a task and nothing else.
//! - Answers are not copied: the session's pieces go out with `writev` as they are, `WRITE_BYTES_MAX` in one go; then the other
//!   connections of the thread have their turn.
//! - A client that does not take its answers is not read from once `kafka.output_bytes_max` wait for it, and is disconnected
//!   when it takes nothing for `kafka.write_stall_ms`.
//! - Requests and answers are counted in one budget over all connections (`request_memory.rs`), records on their way to consumers
//!   in another (`fetch_memory.rs`): reads wait here until there is room. While others wait, a client that holds memory and moves
//!   less than `MOVED_BYTES_MIN` in `HOLD_US_MAX` is disconnected.
//! - A panic ends this connection only; it is counted, and the shards are told that the holder is gone.

use crate::fetch_memory::FetchShare;
use crate::node::Node;
use crate::outbox::{Delivery, Outbox};
use crate::request_memory::{STEP_BYTES, Share};
use crate::shard_cell::{MAILBOX_BYTES_MAX, Mail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use head_kafka::session::Session;
use kernel::{Command, Ctx, Reply};
use model::{HolderId, Now, ShardId, Ticket};
use ops::metrics::Protocol;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Room offered to one read at first, and what it may grow to while a client fills it.
const READ_BYTES_MIN: usize = 16 * 1024;
const READ_BYTES_MAX: usize = 512 * 1024;
/// Pieces handed to one `writev`.
const PIECES_MAX: usize = 64;
/// Bytes written in one go. The socket would take 4 MiB at once, which is more than a millisecond of copying while a produce request
/// waits for the thread. (At 256 KiB the client is woken so often that a replay costs the broker a fifth more.)
const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// How long a connection that is to be closed may take to give its last answers away.
const LAST_WORDS_US: u64 = 2_000_000;
/// How long a connection waits before it looks again whether an overfull mailbox has been emptied.
const MAILBOX_WAIT: Duration = Duration::from_millis(1);

/// Where nothing is due.
const FAR_AWAY: Duration = Duration::from_secs(3600);

/// How long the one connection that may exceed the fetch memory may take for its answer while others wait.
const PRIVILEGED_US_MAX: u64 = 5_000_000;

/// How long a connection that holds request memory may hardly move while others wait for it, and what moving is. (A client on a
/// line of 64 kbit/s still does.)
const HOLD_US_MAX: u64 = 5_000_000;
const MOVED_BYTES_MIN: usize = STEP_BYTES;

/// What a connection is bound by.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub output_bytes_max: usize,
    pub write_stall_us: u64,
}

/// Why a connection ended, for one log line and the counters.
#[derive(Debug)]
pub enum End {
    /// The client closed, or the node stops.
    Closed,
    /// Evicted to make room.
    Evicted,
    /// The socket failed.
    Socket(io::Error),
    /// The session's reason.
    Fault(String),
}

/// One connection, from its acceptance to its end.
pub struct Connection {
    node: Arc<Node>,
    stream: TcpStream,
    session: Session,
    ctx: Arc<Ctx>,
    holder: HolderId,
    outbox: Arc<Outbox>,
    bounds: Bounds,
    share: Share,
    fetch: Fetching,
    input: BytesMut,
    /// Room offered to the next read.
    read_bytes: usize,
    /// Bytes came since the session last looked at `input`.
    input_fresh: bool,
    /// The session stopped looking because of a bound, not for want of bytes.
    input_held: bool,
    /// The client has ended its side.
    input_ended: bool,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    /// When the output last moved, or began to wait.
    output_moved_us: u64,
    /// Bytes read and written since then: looked at while others wait for memory that this connection holds.
    moved_bytes: usize,
    /// `None`: it holds none.
    moved_since_us: Option<u64>,
    /// Bytes of the client are there and wait for memory: it is not the client that does not move.
    read_held: bool,
    /// Commands that will be answered and are not yet.
    unanswered: usize,
    /// Some shard has heard of this holder.
    spoke: bool,
    /// The node stops, or the client has ended its side: what is under way is answered, nothing more is begun.
    finishing: bool,
    /// The reason, and when even the last answers are given up.
    closing: Option<(End, u64)>,
    deliveries: Vec<Delivery>,
    /// Shards that got mail since the last drain.
    mailed: Vec<ShardId>,
}

/// Records on their way to this client, as `fetch_memory.rs` counts them.
struct Fetching {
    share: FetchShare,
    /// One wave of the session's reads that waits for memory.
    waiting: Vec<(ShardId, Ticket, Command)>,
    waiting_bytes: usize,
    /// Reads that were sent and are not answered, what they may bring, and since when.
    under_way: usize,
    under_way_bytes: usize,
    since_us: u64,
    /// A read was answered with records since the output was last looked at.
    came: bool,
    /// What the session held then.
    held_bytes: usize,
    /// What of the output is records, at most.
    leaving_bytes: usize,
    /// When a privileged connection's answer began to leave.
    leaving_us: u64,
}

impl Fetching {
    fn new(share: FetchShare) -> Fetching {
        Fetching {
            share,
            waiting: Vec::new(),
            waiting_bytes: 0,
            under_way: 0,
            under_way_bytes: 0,
            since_us: 0,
            came: false,
            held_bytes: 0,
            leaving_bytes: 0,
            leaving_us: 0,
        }
    }

    /// When the others have waited for this one long enough.
    fn give_up_us(&self) -> Option<u64> {
        (self.share.is_privileged() && self.leaving_bytes > 0).then(|| self.leaving_us + PRIVILEGED_US_MAX)
    }
}

enum Event {
    Delivered,
    Read(io::Result<usize>),
    Writable,
    Timer,
}

impl Connection {
    pub fn new(
        node: Arc<Node>,
        stream: TcpStream,
        session: Session,
        (holder, outbox): (HolderId, Arc<Outbox>),
        bounds: Bounds,
        (share, fetch_share): (Share, FetchShare),
    ) -> Connection {
        let ctx = Arc::new(session.ctx().clone());
        Connection {
            node,
            stream,
            session,
            ctx,
            holder,
            outbox,
            bounds,
            share,
            fetch: Fetching::new(fetch_share),
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            input_fresh: false,
            input_held: false,
            input_ended: false,
            output: VecDeque::new(),
            output_bytes: 0,
            output_moved_us: 0,
            moved_bytes: 0,
            moved_since_us: None,
            read_held: false,
            unanswered: 0,
            spoke: false,
            finishing: false,
            closing: None,
            deliveries: Vec::new(),
            mailed: Vec::new(),
        }
    }

    /// Runs to the end.
    pub async fn run(mut self) -> End {
        let mut sleep = pin!(tokio::time::sleep(FAR_AWAY));
        let mut armed_us = u64::MAX;
        loop {
            let now = self.node.clock.now();
            self.take_deliveries(now);
            self.take_input(now);
            self.answer_early(now);
            self.send_commands(now);
            self.collect_output(now);
            let all_taken = match self.write(now) {
                Ok(all_taken) => all_taken,
                Err(error) => return self.closing.take().map_or(End::Socket(error), |(end, _)| end),
            };
            if let Some(end) = self.ended(now) {
                return end;
            }
            if all_taken && !self.output.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            if self.input_wanted() {
                continue;
            }
            if self.mailbox_full() {
                tokio::time::sleep(MAILBOX_WAIT).await;
                continue;
            }
            let wanted_us = self.next_timeout_us();
            if wanted_us < armed_us {
                armed_us = wanted_us;
                sleep.as_mut().reset(self.node.clock.instant(wanted_us).into());
            }
            match self.event(sleep.as_mut()).await {
                Event::Delivered | Event::Writable => {}
                Event::Read(Ok(0)) => self.input_ended = true,
                Event::Read(Ok(count)) => self.note_read(count),
                Event::Read(Err(error)) => return End::Socket(error),
                Event::Timer => {
                    // A sleep that is over stays ready: where nothing is due any more it would end every wait at once.
                    armed_us = u64::MAX;
                    sleep.as_mut().reset(tokio::time::Instant::now() + FAR_AWAY);
                    self.handle_timer();
                }
            }
        }
    }

    fn take_deliveries(&mut self, now: Now) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        let pending = self.outbox.take(&mut deliveries);
        if pending.close_asked {
            // Whatever was still to be said: the demand stands until the task ends.
            self.closing = Some((self.closing.take().map_or(End::Evicted, |(end, _)| end), now.mono_us));
        }
        self.finishing |= pending.finish_asked;
        if pending.deliveries {
            let catalog = self.node.catalog.load();
            for delivery in deliveries.drain(..) {
                match delivery {
                    Delivery::Reply(ticket, reply) => {
                        self.unanswered = self.unanswered.saturating_sub(1);
                        if let Reply::Read(outcome) = &reply {
                            self.note_records(now, outcome.as_ref().map_or(0, |read| read.bytes));
                        }
                        self.session.handle_reply(now, &catalog, ticket, reply);
                    }
                    Delivery::Wake(watch) => self.session.handle_wake(now, &catalog, watch),
                }
            }
        }
        self.deliveries = deliveries;
    }

    /// The session takes requests only while its answers can be kept.
    fn may_take_input(&self) -> bool {
        self.closing.is_none()
            && !self.finishing
            && self.output_bytes <= self.bounds.output_bytes_max
            && self.session.wants_input()
    }

    /// Would the session find something new in the input?
    fn input_wanted(&self) -> bool {
        ((self.input_fresh && !self.input.is_empty()) || self.input_held) && self.may_take_input()
    }

    fn take_input(&mut self, now: Now) {
        if self.input_wanted() {
            self.input_fresh = false;
            let catalog = self.node.catalog.load();
            if let Err(close) = self.session.handle_input(now, &catalog, &mut self.input) {
                self.closing = Some((End::Fault(close.reason), now.mono_us + LAST_WORDS_US));
            }
            self.input_held = !self.session.wants_input();
        }
        if self.input_ended && !self.finishing && !self.input_wanted() && self.may_take_input() {
            self.finishing = true;
        }
    }

    /// Others wait for memory: a fetch that waits for more records answers with those it has.
    fn answer_early(&mut self, now: Now) {
        let waits = self.fetch.under_way == 0 && self.fetch.waiting.is_empty();
        if waits && self.fetch.share.is_wanted() && self.session.fetched_bytes() > 0 {
            let catalog = self.node.catalog.load();
            self.session.answer_fetch_early(now, &catalog);
        }
    }

    fn send_commands(&mut self, now: Now) {
        while let Some((shard, ticket, command)) = self.session.poll_command() {
            self.unanswered += usize::from(!matches!(command, Command::Gone));
            if let Command::Read(read) = &command {
                // A wave's reads together stay within what one answer may have.
                self.fetch.waiting_bytes += read.bytes_max as usize;
                self.fetch.waiting.push((shard, ticket, command));
            } else if !self.mail(shard, ticket, command) {
                return;
            }
        }
        if !self.fetch.waiting.is_empty() && self.fetch.share.may_read(self.fetch.waiting_bytes) {
            if self.fetch.under_way == 0 {
                self.fetch.since_us = now.mono_us;
            }
            self.fetch.under_way += self.fetch.waiting.len();
            self.fetch.under_way_bytes += std::mem::take(&mut self.fetch.waiting_bytes);
            let mut wave = std::mem::take(&mut self.fetch.waiting);
            for (shard, ticket, command) in wave.drain(..) {
                if !self.mail(shard, ticket, command) {
                    return;
                }
            }
            // Its room is used again.
            self.fetch.waiting = wave;
        }
        for shard in self.mailed.drain(..) {
            if let Some(cell) = self.node.shard(shard) {
                cell.drain(&self.node);
            }
        }
    }

    /// False: there is no such shard, and the connection ends.
    fn mail(&mut self, shard: ShardId, ticket: Ticket, command: Command) -> bool {
        let Some(cell) = self.node.shard(shard) else {
            let reason = format!("bug: a command for shard {shard}, which does not exist");
            self.closing = Some((End::Fault(reason), 0));
            return false;
        };
        self.spoke = true;
        cell.put(Mail::Command { ctx: self.ctx.clone(), ticket, command });
        if !self.mailed.contains(&shard) {
            self.mailed.push(shard);
        }
        true
    }

    /// A read was answered.
    fn note_records(&mut self, now: Now, bytes: usize) {
        let fetch = &mut self.fetch;
        fetch.came |= bytes > 0;
        fetch.under_way = fetch.under_way.saturating_sub(1);
        if fetch.under_way == 0 {
            fetch.under_way_bytes = 0;
            self.node.metrics.fetch_read.add_us(now.mono_us.saturating_sub(fetch.since_us));
        }
    }

    fn collect_output(&mut self, now: Now) {
        while let Some(piece) = self.session.poll_output() {
            if piece.is_empty() {
                continue;
            }
            if self.output.is_empty() {
                self.output_moved_us = now.mono_us;
            }
            self.output_bytes += piece.len();
            self.output.push_back(piece);
        }
        let held_bytes = self.session.fetched_bytes();
        if held_bytes == 0 && (self.fetch.came || self.fetch.held_bytes > 0) {
            self.fetch.leaving_bytes = self.output_bytes;
            self.fetch.leaving_us = now.mono_us;
        }
        (self.fetch.held_bytes, self.fetch.came) = (held_bytes, false);
        while let Some(served) = self.session.poll_served() {
            self.outbox.set_established();
            let name = head_kafka::session::api_name(served.api_key);
            self.node.metrics.served(served.api_key, name, served.error_code, served.took_us);
        }
    }

    /// Writes up to `WRITE_BYTES_MAX`. True: the socket took all that was offered and may take more.
    fn write(&mut self, now: Now) -> io::Result<bool> {
        let mut room = WRITE_BYTES_MAX;
        let mut all_taken = true;
        while !self.output.is_empty() && room > 0 {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let count = offer(&mut slices, &self.output, room);
            match self.stream.try_write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.node.metrics.sent(Protocol::Kafka).add(written as u64);
                    self.output_moved_us = now.mono_us;
                    self.note_written(written);
                    room -= written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    all_taken = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let fetch = &mut self.fetch;
        fetch.leaving_bytes = fetch.leaving_bytes.min(self.output_bytes);
        fetch.share.set(fetch.under_way_bytes + fetch.held_bytes + fetch.leaving_bytes);
        // Records are counted there and not here: consumers that take nothing are no reason for producers to wait.
        self.share.set(self.input.len(), self.output_bytes - fetch.leaving_bytes);
        match (self.holds_memory(), self.moved_since_us) {
            (true, None) => (self.moved_bytes, self.moved_since_us) = (0, Some(now.mono_us)),
            (false, Some(_)) => self.moved_since_us = None,
            _ => {}
        }
        Ok(all_taken)
    }

    /// Memory that others may wait for, and that it is for the client to give back.
    fn holds_memory(&self) -> bool {
        self.share.holds() || self.fetch.leaving_bytes >= STEP_BYTES
    }

    fn is_wanted(&self) -> bool {
        self.share.is_wanted() || (self.fetch.leaving_bytes >= STEP_BYTES && self.fetch.share.others_wait())
    }

    fn note_written(&mut self, mut count: usize) {
        self.output_bytes -= count;
        self.moved_bytes += count;
        while count > 0 {
            let Some(piece) = self.output.front_mut() else { return };
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.output.pop_front();
        }
    }

    fn ended(&mut self, now: Now) -> Option<End> {
        if let Some((_, give_up_us)) = &self.closing {
            // What came before the fault is answered first.
            let all_said = self.output.is_empty() && self.unanswered == 0;
            if all_said || *give_up_us <= now.mono_us {
                return self.closing.take().map(|(end, _)| end);
            }
            return None;
        }
        // A member that waits for its group may wait for minutes: when its client has gone, or the node goes, it is left.
        let unanswered = self.unanswered > 0 && !self.session.waits_for_others();
        (self.finishing && !unanswered && self.output.is_empty()).then_some(End::Closed)
    }

    fn mailbox_full(&self) -> bool {
        self.node.shards.iter().any(|cell| cell.mailbox_bytes() > MAILBOX_BYTES_MAX)
    }

    fn next_timeout_us(&self) -> u64 {
        if let Some((_, give_up_us)) = &self.closing {
            // The session is past its time-outs: it would ask for the next one at once, again and again.
            return *give_up_us;
        }
        let mut next_us = self.session.poll_timeout().unwrap_or(u64::MAX);
        if !self.output.is_empty() {
            next_us = next_us.min(self.output_moved_us.saturating_add(self.bounds.write_stall_us));
        }
        if let Some(give_up_us) = self.fetch.give_up_us() {
            next_us = next_us.min(give_up_us);
        }
        if let Some(since_us) = self.moved_since_us {
            next_us = next_us.min(since_us.saturating_add(HOLD_US_MAX));
        }
        next_us
    }

    fn handle_timer(&mut self) {
        let now = self.node.clock.now();
        if self.closing.is_some() {
            return;
        }
        if self.moved_since_us.is_some_and(|since_us| now.mono_us >= since_us.saturating_add(HOLD_US_MAX)) {
            // An input that waits for the broker's own answers does not count: its client has nothing to do.
            let client_is_due = !self.output.is_empty() || (self.unanswered == 0 && !self.read_held);
            if client_is_due && self.moved_bytes < MOVED_BYTES_MIN && self.is_wanted() {
                let reason = "holds memory that others wait for, and neither sends nor takes anything".to_owned();
                self.closing = Some((End::Fault(reason), now.mono_us));
                return;
            }
            (self.moved_bytes, self.moved_since_us) = (0, Some(now.mono_us));
        }
        let stalled_us = now.mono_us.saturating_sub(self.output_moved_us);
        if !self.output.is_empty() && stalled_us >= self.bounds.write_stall_us {
            let reason = format!("took nothing of its answers for {} ms", stalled_us / 1000);
            self.closing = Some((End::Fault(reason), now.mono_us));
        } else if self.fetch.give_up_us().is_some_and(|at| at <= now.mono_us) {
            if !self.fetch.share.others_wait() {
                self.fetch.leaving_us = now.mono_us;
                return;
            }
            let reason = "takes its records too slowly while others wait for memory".to_owned();
            self.closing = Some((End::Fault(reason), now.mono_us));
        } else if self.session.poll_timeout().is_some_and(|at| at <= now.mono_us) {
            let catalog = self.node.catalog.load();
            if let Err(close) = self.session.handle_timeout(now, &catalog) {
                self.closing = Some((End::Fault(close.reason), now.mono_us + LAST_WORDS_US));
            }
        }
    }

    fn note_read(&mut self, count: usize) {
        self.node.metrics.received(Protocol::Kafka).add(count as u64);
        self.input_fresh = true;
        self.moved_bytes += count;
        if count >= self.read_bytes {
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_MAX);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }

    /// Waits for whatever comes first.
    async fn event(&mut self, mut sleep: Pin<&mut Sleep>) -> Event {
        if self.input.is_empty() {
            // Waiting costs no buffer.
            self.input = BytesMut::new();
        }
        let wants_read = !self.input_ended && self.may_take_input();
        let wants_write = !self.output.is_empty();
        let Connection { outbox, stream, share, fetch, input, finishing, read_bytes, read_held, .. } = self;
        *read_held = false;
        poll_fn(|context| {
            if outbox.poll(context, *finishing).is_ready() {
                return Poll::Ready(Event::Delivered);
            }
            if !fetch.waiting.is_empty() && fetch.share.wait(context, fetch.waiting_bytes) {
                return Poll::Ready(Event::Delivered);
            }
            if wants_write {
                match stream.poll_write_ready(context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Event::Writable),
                    Poll::Ready(Err(error)) => return Poll::Ready(Event::Read(Err(error))),
                    Poll::Pending => {}
                }
            }
            if wants_read {
                match stream.poll_read_ready(context) {
                    Poll::Ready(Ok(())) => {
                        let most = share.may_read(context);
                        *read_held = most == 0;
                        if most > 0 {
                            input.reserve((*read_bytes).min(most));
                            let mut room = input.limit(most);
                            let read = pin!(stream.read_buf(&mut room));
                            if let Poll::Ready(outcome) = read.poll(context) {
                                return Poll::Ready(Event::Read(outcome));
                            }
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Event::Read(Err(error))),
                    Poll::Pending => *read_held = false,
                }
            }
            sleep.as_mut().poll(context).map(|()| Event::Timer)
        })
        .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.node.metrics.connection_panics.add(1);
        }
        self.node.holders.leave(self.holder);
        if self.spoke {
            for cell in &self.node.shards {
                cell.put(Mail::Command { ctx: self.ctx.clone(), ticket: Ticket(0), command: Command::Gone });
                // Not here: this may be a panic's unwinding.
                cell.drain_soon(&self.node);
            }
        }
    }
}

/// Puts the front of what is to be written into the slices, `room` bytes of it at most. Tells how many slices that takes.
fn offer<'a>(slices: &mut [IoSlice<'a>], output: &'a VecDeque<Bytes>, mut room: usize) -> usize {
    let mut count = 0;
    for (slice, piece) in slices.iter_mut().zip(output) {
        if room == 0 {
            break;
        }
        let piece = &piece[..piece.len().min(room)];
        *slice = IoSlice::new(piece);
        room -= piece.len();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_go_takes_the_front_of_the_answers_and_a_mebibyte_at_most() {
        let sizes =
            [vec![3 * WRITE_BYTES_MAX], vec![10; 100], vec![400_000; 7], vec![0, 5, 0, WRITE_BYTES_MAX, 1], vec![]];
        for sizes in sizes {
            let mut left: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|index| (index / 3) as u8).collect();
            let mut whole = Bytes::from(left.clone());
            let output: VecDeque<Bytes> = sizes.iter().map(|size| whole.split_to(*size)).collect();
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let count = offer(&mut slices, &output, WRITE_BYTES_MAX);
            let offered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            let most: usize = sizes.iter().take(PIECES_MAX).sum();
            assert_eq!(offered.len(), most.min(WRITE_BYTES_MAX), "{sizes:?}");
            left.truncate(offered.len());
            assert_eq!(offered, left, "in order, and nothing is left out");
        }
    }
}
