// SPDX-License-Identifier: Apache-2.0
//! Connections as byte streams: in order, in pieces, late, slow, standing still for a while, cut, or silently dead on one side.
//!
//! Owns: what is on the way in each direction and when it arrives. Must not know: what the bytes mean.
//!
//! A stream keeps order and loses nothing while both ends live; a cut loses whatever has not arrived; a half-open connection takes
//! everything and delivers nothing more.

use crate::rng::Rng;
use bytes::Bytes;
use std::collections::VecDeque;

/// How a connection treats bytes.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub latency_us: u64,
    pub jitter_bits: u64,
    /// Longest piece; 1 is byte by byte.
    pub piece_bytes_max: u64,
    /// No more fits in a millisecond; 0: anything does.
    pub bytes_per_ms: u64,
    /// Nothing moves for up to a second, before one piece in so many; 0: never.
    pub stall_one_in: u64,
}

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    Bytes(Bytes),
    /// The other side has closed; nothing follows.
    End,
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub struct Pipe {
    under_way: VecDeque<(u64, Arrival)>,
    last_due_us: u64,
    /// What was sent so far is on its way from then on.
    full_until_us: u64,
    /// Nothing arrives any more.
    dead: bool,
}

/// Pieces of one message beyond this many are sent whole, so that byte by byte stays affordable.
const PIECES_MAX: u64 = 96;
/// Longest time for which a connection stands still.
const STALL_US_MAX: u64 = 1_000_000;

impl Pipe {
    /// Sends bytes, in pieces.
    pub fn send(&mut self, now_us: u64, manner: Manner, rng: &mut Rng, mut bytes: Bytes) {
        let mut pieces = 0;
        while !bytes.is_empty() {
            let piece = if pieces >= PIECES_MAX { bytes.len() as u64 } else { 1 + rng.below(manner.piece_bytes_max) };
            let piece = bytes.split_to((piece as usize).min(bytes.len()));
            self.push(now_us, manner, rng, Arrival::Bytes(piece));
            pieces += 1;
        }
    }

    /// Closes the direction.
    pub fn end(&mut self, now_us: u64, manner: Manner, rng: &mut Rng) {
        self.push(now_us, manner, rng, Arrival::End);
    }

    fn push(&mut self, now_us: u64, manner: Manner, rng: &mut Rng, arrival: Arrival) {
        if self.dead {
            return;
        }
        self.full_until_us = self.full_until_us.max(now_us);
        if let (Arrival::Bytes(bytes), 1..) = (&arrival, manner.bytes_per_ms) {
            self.full_until_us += bytes.len() as u64 * 1000 / manner.bytes_per_ms;
        }
        if rng.once_in(manner.stall_one_in) {
            self.full_until_us += rng.below(STALL_US_MAX);
        }
        let due_us = self.full_until_us + manner.latency_us + rng.magnitude(manner.jitter_bits);
        self.last_due_us = self.last_due_us.max(due_us);
        self.under_way.push_back((self.last_due_us, arrival));
    }

    /// What has arrived, one piece at a time.
    pub fn arrived(&mut self, now_us: u64) -> Option<Arrival> {
        self.under_way.pop_front_if(|(due_us, _)| *due_us <= now_us).map(|(_, arrival)| arrival)
    }

    /// When the next piece arrives.
    pub fn next_due_us(&self) -> Option<u64> {
        self.under_way.front().map(|(due_us, _)| *due_us)
    }

    /// Loses what is on the way and what it waited for; the end may still be told.
    pub fn lose(&mut self) {
        self.under_way.clear();
        self.full_until_us = 0;
    }

    /// Takes everything and delivers nothing from here on.
    pub fn die(&mut self) {
        self.under_way.clear();
        self.dead = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Manner =
        Manner { latency_us: 0, jitter_bits: 0, piece_bytes_max: 100, bytes_per_ms: 0, stall_one_in: 0 };

    #[test]
    fn on_a_slow_connection_what_was_sent_later_waits_for_what_was_sent_earlier() {
        let manner = Manner { bytes_per_ms: 1, ..PROMPT };
        let (mut pipe, mut rng) = (Pipe::default(), Rng::new(1));
        pipe.send(0, manner, &mut rng, Bytes::from(vec![7; 40]));
        pipe.send(0, manner, &mut rng, Bytes::from_static(b"x"));
        let mut arrived = 0;
        while let Some(Arrival::Bytes(bytes)) = pipe.arrived(40_999) {
            arrived += bytes.len();
        }
        assert_eq!((arrived, pipe.next_due_us()), (40, Some(41_000)));
    }

    #[test]
    fn bytes_arrive_in_order_in_pieces_and_late() {
        let manner = Manner { latency_us: 10, jitter_bits: 6, piece_bytes_max: 3, ..PROMPT };
        let (mut pipe, mut rng) = (Pipe::default(), Rng::new(1));
        pipe.send(0, manner, &mut rng, Bytes::from_static(b"hello, "));
        pipe.send(0, manner, &mut rng, Bytes::from_static(b"world"));
        pipe.end(0, manner, &mut rng);
        assert_eq!(pipe.arrived(9), None);
        let (mut text, mut pieces) = (Vec::new(), 0);
        while let Some(arrival) = pipe.arrived(1000) {
            match arrival {
                Arrival::Bytes(bytes) => text.extend_from_slice(&bytes),
                Arrival::End => break,
            }
            pieces += 1;
        }
        assert_eq!(text, b"hello, world");
        assert!(pieces > 3);
    }

    #[test]
    fn a_dead_pipe_delivers_nothing() {
        let (manner, mut pipe, mut rng) = (PROMPT, Pipe::default(), Rng::new(1));
        pipe.send(0, manner, &mut rng, Bytes::from_static(b"a"));
        pipe.die();
        pipe.end(0, manner, &mut rng);
        assert_eq!(pipe.arrived(u64::MAX), None);
    }
}
