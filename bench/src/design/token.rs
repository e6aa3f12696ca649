// SPDX-License-Identifier: Apache-2.0
//! Which thread runs a shard? A model of the two answers, over a real disk: sockets' loops that take the shard's token and drain it
//! themselves, against a thread of the shard's own that everything is handed to.
//!
//! Owns: the model. It has the threads, the wake-ups and the syncs of the real thing, and none of its work: a command costs about
//! a microsecond of arithmetic.
//!
//! ```text
//! token   socket -> [mailbox, drain] -> WAL thread -> [drain] -> socket         two hand-overs
//! thread  socket -> shard thread -> WAL thread -> shard thread -> socket       four hand-overs
//! ```

use crate::floors::{Spread, prewritten};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct TokenPlan {
    /// False: the shard has a thread of its own.
    pub token: bool,
    /// Threads that do nothing but count, one for each core when the machine is to be busy.
    pub busy_threads: usize,
    pub sockets: usize,
    /// Of each socket.
    pub rate: u64,
    pub time: Duration,
}

/// Latency from the moment at which a command was due to its answer at the socket, and the process's CPU time a command.
#[derive(Clone, Copy, Debug)]
pub struct TokenFigures {
    pub spread: Spread,
    pub commands: u64,
}

/// A queue that a thread can sleep on.
struct Inbox<T> {
    queue: Mutex<VecDeque<T>>,
    filled: Condvar,
}

impl<T> Inbox<T> {
    fn new() -> Inbox<T> {
        Inbox { queue: Mutex::new(VecDeque::new()), filled: Condvar::new() }
    }

    fn push(&self, item: T) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
        self.filled.notify_one();
    }

    fn is_empty(&self) -> bool {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Everything there is; waits until there is something or the time is over.
    fn take(&self, wait: Duration) -> VecDeque<T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_empty() && !wait.is_zero() {
            queue = self.filled.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *queue)
    }
}

#[derive(Clone, Copy)]
struct Command {
    socket: usize,
    due: Instant,
}

enum Message {
    Submit(Command),
    Durable(Vec<Command>),
}

struct World {
    token: bool,
    mailbox: Inbox<Message>,
    /// The shard's state, owned by who drains.
    shard: Mutex<u64>,
    wal: Inbox<Command>,
    sockets: Vec<Inbox<Command>>,
    over: AtomicBool,
}

impl World {
    /// Gives the shard a message and, with the token, drains it here unless somebody is at it.
    fn tell(&self, message: Message) {
        self.mailbox.push(message);
        if self.token {
            // Whoever holds the token looks into the mailbox once more after letting it go, so nothing is left lying.
            while !self.mailbox.is_empty() {
                let Ok(mut shard) = self.shard.try_lock() else { return };
                let messages = self.mailbox.take(Duration::ZERO);
                self.drain(&mut shard, messages);
            }
        }
    }

    fn drain(&self, shard: &mut u64, messages: VecDeque<Message>) {
        for message in messages {
            match message {
                Message::Submit(command) => {
                    *shard = work(*shard);
                    self.wal.push(command);
                }
                Message::Durable(commands) => {
                    for command in commands {
                        self.sockets[command.socket].push(command);
                    }
                }
            }
        }
    }
}

/// About a microsecond.
fn work(mut state: u64) -> u64 {
    for _ in 0..600 {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17));
    }
    state
}

/// Runs one case.
pub fn measure(folder: &Path, plan: TokenPlan) -> io::Result<TokenFigures> {
    let path = folder.join("design-token");
    let file = prewritten(&path, 16 << 20)?;
    let world = World {
        token: plan.token,
        mailbox: Inbox::new(),
        shard: Mutex::new(1),
        wal: Inbox::new(),
        sockets: (0..plan.sockets).map(|_| Inbox::new()).collect(),
        over: AtomicBool::new(false),
    };
    let begin = Instant::now();
    let times = thread::scope(|scope| {
        for _ in 0..plan.busy_threads {
            scope.spawn(|| {
                let mut state = 7;
                while !world.over.load(Ordering::Relaxed) {
                    state = work(state);
                }
            });
        }
        if !plan.token {
            scope.spawn(|| {
                let mut shard = world.shard.lock().unwrap_or_else(PoisonError::into_inner);
                while !world.over.load(Ordering::Relaxed) {
                    let messages = world.mailbox.take(Duration::from_millis(20));
                    world.drain(&mut shard, messages);
                }
            });
        }
        let wal = scope.spawn(|| flush(&world, &file));
        let sockets: Vec<_> = (0..plan.sockets)
            .map(|socket| {
                let world = &world;
                scope.spawn(move || serve(world, socket, plan))
            })
            .collect();
        let times: Vec<Duration> =
            sockets.into_iter().flat_map(|socket| socket.join().expect("a socket does not panic")).collect();
        world.over.store(true, Ordering::Relaxed);
        wal.join().expect("the WAL thread does not panic").map(|()| times)
    });
    fs::remove_file(path)?;
    let times = times?;
    let commands = times.len() as u64;
    Ok(TokenFigures { spread: Spread::of(times, begin.elapsed()), commands })
}

/// Group commit: everything staged goes with one write and one sync.
fn flush(world: &World, file: &File) -> io::Result<()> {
    let page = vec![3; 4096];
    let mut at = 0;
    while !world.over.load(Ordering::Relaxed) {
        let staged = world.wal.take(Duration::from_millis(20));
        if staged.is_empty() {
            continue;
        }
        file.write_all_at(&page, at)?;
        file.sync_data()?;
        at = (at + 4096) % (16 << 20);
        world.tell(Message::Durable(staged.into()));
    }
    Ok(())
}

/// A socket's loop: sends commands when they are due, takes answers when they come.
fn serve(world: &World, socket: usize, plan: TokenPlan) -> Vec<Duration> {
    let (begin, gap) = (Instant::now(), Duration::from_secs(1) / plan.rate as u32);
    let total = (plan.time.as_secs_f64() * plan.rate as f64) as u32;
    let mut times = Vec::with_capacity(total as usize);
    let mut sent = 0;
    while times.len() < total as usize {
        let due = begin + gap * sent;
        let wait =
            if sent == total { Duration::from_millis(20) } else { due.saturating_duration_since(Instant::now()) };
        for command in world.sockets[socket].take(wait) {
            times.push(command.due.elapsed());
        }
        if sent < total && due <= Instant::now() {
            sent += 1;
            world.tell(Message::Submit(Command { socket, due }));
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_answered_either_way() {
        let folder = std::env::temp_dir().join(format!("polylog-token-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for token in [true, false] {
            let plan = TokenPlan { token, busy_threads: 0, sockets: 2, rate: 500, time: Duration::from_millis(100) };
            assert_eq!(measure(&folder, plan).unwrap().commands, 100);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
