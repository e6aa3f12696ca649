// SPDX-License-Identifier: Apache-2.0
//! Batches that are small on the wire and large once they are opened, for topics whose batches must be opened.
//!
//! Owns: the batches, who sends them. Must not know: the broker's bounds; sizes stand on both sides of any that are sensible.
//!
//! A compacted topic needs every record's key; a look for a time opens what is stored; a topic stamped by the broker need not be
//! opened and should not be.

use super::raw::{self, Field};
use super::words;
use crate::wire::codec::Encoder;
use crate::wire::now_ms;
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::compression::Compression;
use std::io::Write;
use std::time::Duration;

const LARGE: &[(&str, &str)] = &[("cleanup.policy", "compact"), ("max.message.bytes", "16777216")];
const OWN_TIME: &[(&str, &str)] = &[("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "16777216")];
pub type TopicPlan = (&'static str, i32, &'static [(&'static str, &'static str)]);
pub const COMPACTED: TopicPlan = ("flood-compacted", 4, LARGE);
pub const STAMPED: TopicPlan = ("flood-stamped", 4, OWN_TIME);
pub const PLAIN: TopicPlan = ("flood-plain", 4, &[("max.message.bytes", "16777216")]);

/// What they become: under a bound of 64 MiB, and over it.
const OPENED_BYTES: [usize; 2] = [48 << 20, 160 << 20];
const COMPRESSIONS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
/// A request with more than this is not sent: the bomb must be small on the wire.
const BOMB_BYTES_MAX: usize = 16 << 20;
const THREADS: usize = 4;
/// Each waits for its answer before it sends the next: what is under way when the wave is over is little.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// The same bomb for so many partitions of one request.
const PARTITIONS: i32 = 4;

/// See the module.
pub fn run(field: &Field) -> Result<String, String> {
    let mut bombs = Vec::new();
    for opened_bytes in OPENED_BYTES {
        let record = NewRecord {
            key: Some(Bytes::from_static(b"bomb")),
            value: Some(vec![0; opened_bytes].into()),
            timestamp_ms: now_ms(),
            ..NewRecord::default()
        };
        let whole = batch::build(&[record], Numbering::NONE);
        for compression in COMPRESSIONS {
            let bomb = batch::compressed(&whole, compression).map_err(words)?;
            if bomb.bytes().len() <= BOMB_BYTES_MAX {
                bombs.push(bomb.bytes().clone());
            }
        }
    }
    let field = &field.anew();
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (part, bombs) = (field.part(), &bombs);
                scope.spawn(move || throw(&part, bombs))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    Ok(format!(
        "{} requests, {} answered, {} kinds of bomb of {} KiB together",
        counts.iter().map(|one| one.0).sum::<u64>(),
        counts.iter().map(|one| one.1).sum::<u64>(),
        bombs.len(),
        bombs.iter().map(Bytes::len).sum::<usize>() >> 10
    ))
}

fn throw(field: &Field, bombs: &[Bytes]) -> (u64, u64) {
    let (mut sent, mut answered) = (0, 0);
    while !field.over() {
        let Ok(mut stream) = field.connect(8) else { continue };
        if stream.set_read_timeout(Some(ANSWER_TIME_MAX)).is_err() {
            continue;
        }
        // Until something is wrong with the connection.
        while !field.over() {
            let bomb = &bombs[field.rng().below(bombs.len() as u64) as usize];
            let (topic, _, _) = field.rng().pick(&[COMPACTED, STAMPED, PLAIN]);
            let request = if field.rng().once_in(4) { look_for_time() } else { thrown(topic, bomb) };
            if stream.write_all(&request).is_err() {
                break;
            }
            sent += 1;
            if !raw::answered(&mut stream) {
                break;
            }
            answered += 1;
        }
    }
    (sent, answered)
}

fn thrown(topic: &str, bomb: &Bytes) -> Vec<u8> {
    let mut body = Encoder::default();
    body.nullable_string(None).i16(-1).i32(30_000).count(1).string(topic).count(PARTITIONS as usize);
    for partition in 0..PARTITIONS {
        body.i32(partition).byte_string(bomb);
    }
    raw::request(0, 7, &body.bytes)
}

/// The first record later than a moment between the bombs' and now.
fn look_for_time() -> Vec<u8> {
    let mut body = Encoder::default();
    body.i32(-1).i8(0).count(1).string(PLAIN.0).count(PARTITIONS as usize);
    for partition in 0..PARTITIONS {
        body.i32(partition).i32(-1).i64(now_ms() - 60_000);
    }
    raw::request(2, 5, &body.bytes)
}
