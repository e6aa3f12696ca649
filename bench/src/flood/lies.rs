// SPDX-License-Identifier: Apache-2.0
//! Requests whose lengths lie: every place of well-formed requests is overwritten with lengths that nothing stands behind.
//!
//! Owns: the requests, the lies. Must not know: where in a request its lengths are: a lie is put at every byte, so no length of the
//! wire, of a batch's header or of a record is left out.
//!
//! Three kinds: well-formed requests of the versions before the flexible ones, in which 2, 4 or 8 bytes lie; batches, whose
//! checksum is made right again so that the lie behind it is looked at; and any request at any version that the broker speaks, made
//! of small numbers with a lie between them, as fixed number and as varint.

use super::bombs;
use super::raw::{self, Field};
use super::words;
use crate::wire::codec::Encoder;
use crate::wire::{Connection, now_ms};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::compression::Compression;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// What is written over a place.
const LIES: &[&[u8]] = &[
    &[0x7f, 0xff],
    &[0x80, 0x00],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0x00, 0x40, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];
/// Requests of any shape, for each request and version.
const SHAPES: u64 = 12;
const SHAPE_BYTES_MAX: u64 = 60;
/// Lies in a batch at its places so far: its header, and the beginning of its records.
const BATCH_PLACES_MAX: usize = 120;
const THREADS: u64 = 8;
/// An answer that has not come by then will not come: the broker waits for the rest of a request.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(40);
/// Requests on one connection before the next is opened. Many faults close it earlier.
const CONNECTION_REQUESTS_MAX: u64 = 50;

/// See the module.
pub fn run(field: &Field) -> Result<String, String> {
    let mut connection = Connection::open(field.address, super::PATIENCE).map_err(words)?;
    let versions = connection.api_versions().map_err(words)?;
    let batches = batches()?;
    let field = &field.anew();
    let liars: Vec<Liar> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (versions, batches) = (&versions, &batches);
                let mut liar = Liar::new(field.part(), number);
                scope.spawn(move || {
                    while !liar.field.over() {
                        liar.well_formed_but(&well_formed());
                        liar.batches_but(batches);
                        for &(key, lowest, highest) in versions {
                            (lowest..=highest).for_each(|version| liar.any_shape(key, version));
                        }
                        liar.rounds += u64::from(!liar.field.over());
                    }
                    liar
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let total = |of: fn(&Liar) -> u64| liars.iter().map(of).sum::<u64>();
    let rounds = liars.iter().map(|liar| liar.rounds).min().unwrap_or(0);
    let rounds = if rounds > 0 { format!("{rounds} times all of them") } else { "NOT ALL of them".to_owned() };
    Ok(format!(
        "{} lies, {rounds}; {} answered, {} closed",
        total(|one| one.said),
        total(|one| one.answered),
        total(|one| one.closed)
    ))
}

/// A small batch, and what it is compressed.
fn batches() -> Result<Vec<Bytes>, String> {
    let record = NewRecord {
        key: Some(Bytes::from_static(b"key")),
        value: Some(vec![0; 200].into()),
        headers: vec![(Bytes::from_static(b"name"), Some(Bytes::from_static(b"text")))],
        timestamp_ms: now_ms(),
    };
    let plain = batch::build(&[record], Numbering::NONE);
    let kinds = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    kinds.into_iter().map(|kind| Ok(batch::compressed(&plain, kind).map_err(words)?.bytes().clone())).collect()
}

/// Requests of the versions before the flexible ones: number, version, body.
fn well_formed() -> Vec<(i16, i16, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |key, version, make: fn(&mut Encoder)| {
        let mut body = Encoder::default();
        make(&mut body);
        all.push((key, version, body.bytes));
    };
    add(1, 11, |body| {
        body.i32(-1).i32(0).i32(1).i32(1_000).i8(0).i32(0).i32(-1).count(1).string("flood-plain").count(1);
        body.i32(0).i32(-1).i64(0).i64(-1).i32(1_000).count(1).string("other").count(1).i32(0).string("rack");
    });
    add(2, 5, |body| {
        body.i32(-1).i8(0).count(1).string("flood-plain").count(1).i32(0).i32(-1).i64(-1);
    });
    add(3, 5, |body| {
        body.count(2).string("flood-plain").string("flood-bulk").bool(false);
    });
    add(8, 7, |body| {
        body.string("flood-lies").i32(-1).string("").nullable_string(None).count(1).string("flood-plain").count(1);
        body.i32(0).i64(1).i32(-1).string("text");
    });
    add(9, 5, |body| {
        body.string("flood-lies").count(1).string("flood-plain").count(1).i32(0);
    });
    add(11, 5, |body| {
        body.string("flood-lies").i32(6_000).i32(6_000).string("").nullable_string(None).string("consumer");
        body.count(1).string("range").byte_string(b"abc");
    });
    add(14, 3, |body| {
        body.string("flood-lies").i32(1).string("member").nullable_string(None).count(1).string("member");
        body.byte_string(b"abc");
    });
    add(19, 2, |body| {
        body.count(1).string("flood-lies").i32(-1).i16(-1).count(1).i32(0).count(1).i32(1).count(1);
        body.string("retention.ms").string("1000").i32(1_000).bool(true);
    });
    add(22, 1, |body| {
        body.nullable_string(Some("transactional")).i32(60_000);
    });
    add(32, 1, |body| {
        body.count(1).i8(2).string("flood-plain").count(1).string("retention.ms").bool(true);
    });
    all
}

struct Liar {
    field: Field,
    /// Of [`THREADS`] lies it says one.
    number: u64,
    next: u64,
    stream: Option<TcpStream>,
    on_it: u64,
    said: u64,
    answered: u64,
    closed: u64,
    rounds: u64,
}

impl Liar {
    fn new(field: Field, number: u64) -> Liar {
        Liar { field, number, next: 0, stream: None, on_it: 0, said: 0, answered: 0, closed: 0, rounds: 0 }
    }

    /// Whether the next lie is its own.
    fn is_due(&mut self) -> bool {
        self.next += 1;
        self.next % THREADS == self.number && !self.field.over()
    }

    /// Says it and looks for an answer, on the connection that is there or on a new one.
    fn say(&mut self, bytes: &[u8]) {
        if self.on_it == CONNECTION_REQUESTS_MAX {
            self.stream = None;
        }
        if self.stream.is_none() {
            self.on_it = 0;
            self.stream = self.field.connect(9).ok();
        }
        let Some(stream) = &mut self.stream else { return };
        let _ = stream.set_read_timeout(Some(ANSWER_TIME_MAX));
        self.said += 1;
        self.on_it += 1;
        // Something comes at once, or the broker waits for what the length promised: then it is left waiting.
        if stream.write_all(bytes).is_ok() && raw::answered(stream) {
            self.answered += 1;
        } else {
            self.closed += 1;
            self.stream = None;
        }
    }

    /// Each lie at each place, the length of the request and its header among them.
    fn well_formed_but(&mut self, requests: &[(i16, i16, Vec<u8>)]) {
        for (key, version, body) in requests {
            let whole = raw::request(*key, *version, body);
            for lie in LIES {
                for place in 0..=whole.len().saturating_sub(lie.len()) {
                    if self.is_due() {
                        let mut bytes = whole.clone();
                        bytes[place..place + lie.len()].copy_from_slice(lie);
                        self.say(&bytes);
                    }
                }
            }
        }
    }

    /// The same in a batch, and in what a compressed one is opened to.
    fn batches_but(&mut self, batches: &[Bytes]) {
        for whole in batches {
            for lie in LIES {
                for place in 0..=whole.len().saturating_sub(lie.len()).min(BATCH_PLACES_MAX) {
                    if !self.is_due() {
                        continue;
                    }
                    let mut bytes = whole.to_vec();
                    bytes[place..place + lie.len()].copy_from_slice(lie);
                    // The checksum, so that what lies behind it is believed.
                    if place >= batch::CRC_START {
                        let crc = model::crc::crc32c(&bytes[batch::CRC_START..]);
                        bytes[batch::CRC_START - 4..batch::CRC_START].copy_from_slice(&crc.to_be_bytes());
                    }
                    let mut body = Encoder::default();
                    body.nullable_string(None).i16(-1).i32(1_000).count(1).string(bombs::COMPACTED.0).count(1).i32(0);
                    body.byte_string(&bytes);
                    self.say(&raw::request(0, 7, &body.bytes));
                }
            }
        }
    }

    /// Small numbers, among them a lie.
    fn any_shape(&mut self, key: i16, version: i16) {
        for _ in 0..SHAPES {
            if !self.is_due() {
                continue;
            }
            let mut body = Vec::new();
            {
                let mut rng = self.field.rng();
                let before = rng.below(SHAPE_BYTES_MAX);
                body.extend((0..before).map(|_| rng.pick(&[0, 0, 0, 1, 1, 2, 3])));
                let lie = rng.pick(LIES);
                body.extend_from_slice(lie);
                body.extend((0..SHAPE_BYTES_MAX).map(|_| rng.pick(&[0, 0, 1, 2, 97])));
            }
            self.say(&raw::request(key, version, &body));
        }
    }
}
