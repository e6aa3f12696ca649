// SPDX-License-Identifier: Apache-2.0
//! The broker's own metrics: how long the shard was held.
//!
//! Owns: one HTTP request and the lines wanted of its answer. Must not know: bounds.

use super::PATIENCE;
use crate::broker::Broker;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const DRAINS: &str = "polylog_shard_drain_seconds_bucket{le=\"";

/// One look at `/metrics`.
pub struct Scrape {
    /// Upper bound in seconds, and how many drains took no longer.
    drains: Vec<(f64, u64)>,
    pub bytes: usize,
    pub seconds: f64,
}

/// # Errors
/// No answer, or not what was asked for.
pub fn look(broker: &Broker) -> Result<Scrape, String> {
    let said = |error: std::io::Error| format!("/metrics: {error}");
    let address = broker.http.ok_or("the broker has no HTTP listener")?;
    let begin = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(said)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(said)?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(said)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(said)?;
    let seconds = begin.elapsed().as_secs_f64();
    let drains: Vec<(f64, u64)> = text.lines().filter_map(bucket).collect();
    if drains.is_empty() {
        return Err("/metrics: no figures of drains".to_owned());
    }
    Ok(Scrape { drains, bytes: text.len(), seconds })
}

fn bucket(line: &str) -> Option<(f64, u64)> {
    let (bound, count) = line.strip_prefix(DRAINS)?.split_once("\"} ")?;
    Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, count.trim().parse().ok()?))
}

impl Scrape {
    /// The longest hold of the shard since `before`, in seconds: the upper bound of its bucket.
    pub fn longest_hold_s(&self, before: &Scrape) -> f64 {
        let mut longest = 0.0;
        let mut below = 0;
        for ((bound, count), (_, earlier)) in self.drains.iter().zip(&before.drains) {
            let count = count.saturating_sub(*earlier);
            if count > below {
                longest = *bound;
            }
            below = count;
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_hold_is_that_of_the_last_bucket_that_grew() {
        let of = |counts: [u64; 3]| Scrape {
            drains: [0.001, 0.002, f64::INFINITY].into_iter().zip(counts).collect(),
            bytes: 0,
            seconds: 0.0,
        };
        assert_eq!(of([9, 12, 13]).longest_hold_s(&of([4, 6, 7])), 0.002);
        assert_eq!(of([5, 7, 8]).longest_hold_s(&of([4, 6, 7])), 0.001);
        assert_eq!(bucket("polylog_shard_drain_seconds_bucket{le=\"0.000016\"} 7"), Some((0.000_016, 7)));
    }
}
