// SPDX-License-Identifier: Apache-2.0
//! A way to the broker that is cut now and then: connections to one address are carried on to wherever the broker is, and some end
//! in the middle of whatever was under way.
//!
//! Owns: the address, when a connection is cut. Must not know: what is said over it.
//!
//! Each connection has two threads, one a direction; both end with it. At most [`CONNECTIONS_MAX`] at once: more are closed at once.

use sim::rng::Rng;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const CONNECTIONS_MAX: u64 = 200;
const PIECE_BYTES: usize = 64 * 1024;
/// One connection in so many is cut, after so many bytes of one direction.
const CUT_ONE_IN: u64 = 3;
const CUT_BYTES: std::ops::Range<u64> = 1_000..20_000_000;
/// Nobody waits for a connection that says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(90);

#[derive(Default)]
struct State {
    to: Mutex<Option<SocketAddr>>,
    connections: AtomicU64,
    cuts: AtomicU64,
    ending: AtomicBool,
}

/// See the module. Dropping it ends it.
pub struct Cuts {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Cuts {
    pub fn start(mut rng: Rng) -> std::io::Result<Cuts> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let accepting = {
            let state = state.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if state.ending.load(Ordering::Relaxed) {
                        return;
                    }
                    let cut_after = rng.once_in(CUT_ONE_IN).then(|| rng.within(CUT_BYTES));
                    if let Ok(stream) = stream {
                        // A connection that cannot be carried on is one that is closed.
                        let _ = carry(stream, &state, cut_after);
                    }
                }
            })
        };
        Ok(Cuts { address, state, accepting: Some(accepting) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections go from now on; `None`: nowhere.
    pub fn serve(&self, to: Option<SocketAddr>) {
        *self.state.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Connections that were cut.
    pub fn count(&self) -> u64 {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Cuts {
    fn drop(&mut self) {
        self.state.ending.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn carry(client: TcpStream, state: &Arc<State>, cut_after: Option<u64>) -> std::io::Result<()> {
    let to = *state.to.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(to) = to.filter(|_| state.connections.load(Ordering::Relaxed) < CONNECTIONS_MAX) else { return Ok(()) };
    let broker = TcpStream::connect(to)?;
    for stream in [&client, &broker] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
    }
    let there = (client.try_clone()?, broker.try_clone()?, cut_after);
    let back = (broker, client, None);
    for (from, to, cut_after) in [there, back] {
        let state = state.clone();
        state.connections.fetch_add(1, Ordering::Relaxed);
        std::thread::spawn(move || {
            if pass_on(from, to, cut_after) {
                state.cuts.fetch_add(1, Ordering::Relaxed);
            }
            state.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

/// Until an end closes, or the cut. True: it was cut.
fn pass_on(mut from: TcpStream, mut to: TcpStream, cut_after: Option<u64>) -> bool {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = cut_after.unwrap_or(u64::MAX);
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let passed = (count as u64).min(left);
        if to.write_all(&piece[..passed as usize]).is_err() {
            break;
        }
        left -= passed;
        if left == 0 {
            break;
        }
    }
    // Either way the other direction ends too.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    left == 0
}
