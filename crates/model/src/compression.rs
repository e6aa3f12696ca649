// SPDX-License-Identifier: Apache-2.0
//! Inflating the records of a compressed batch, within a bound; and compressing them, for our own clients.
//!
//! Owns: the five compressions of the record batch and their framings.
//! Must not know: what the bytes mean.
//! Bounds: the output never grows past `limits::INFLATED_BYTES_MAX` nor `INFLATE_RATIO_MAX` times the input; it grows with what
//! was really inflated, never with an announced size.

use crate::limits::{INFLATE_RATIO_MAX, INFLATED_BYTES_MAX};
use std::io::{Read, Write};

/// How the records of a batch are compressed, numbered as in its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// The compression of that number.
    pub fn from_number(number: u8) -> Option<Compression> {
        match number {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Compresses `bytes` in the framing that every client reads, at each library's usual level.
pub fn compress(compression: Compression, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Snappy => compress_snappy(bytes),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes)?;
            encoder.finish().map_err(std::io::Error::other)
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

/// The chunked framing of Java clients, see [`inflate_snappy`].
fn compress_snappy(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    const CHUNK_BYTES: usize = 32 * 1024;
    let mut out = XERIAL_MAGIC.to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let chunk = encoder.compress_vec(chunk).map_err(std::io::Error::other)?;
        out.extend_from_slice(&(chunk.len() as u32).to_be_bytes());
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Why the bytes could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// They are not of that compression.
    Malformed,
    /// They inflate beyond the bound.
    TooLarge,
}

/// Inflates `bytes`.
pub fn inflate(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, InflateError> {
    let bytes_max = bytes.len().saturating_mul(INFLATE_RATIO_MAX).clamp(1024 * 1024, INFLATED_BYTES_MAX);
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => read_within(flate2::read::MultiGzDecoder::new(bytes), bytes_max),
        Compression::Snappy => inflate_snappy(bytes, bytes_max),
        Compression::Lz4 => read_within(lz4_flex::frame::FrameDecoder::new(bytes), bytes_max),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| InflateError::Malformed)?;
            read_within(decoder, bytes_max)
        }
    }
}

fn read_within(reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(|_| InflateError::Malformed)?;
    if out.len() > bytes_max { Err(InflateError::TooLarge) } else { Ok(out) }
}

/// Java clients frame snappy in chunks ("xerial"): 8 magic bytes, two 4-byte versions, then (length, chunk) pairs. librdkafka
/// and others send one raw chunk.
fn inflate_snappy(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    if !bytes.starts_with(&XERIAL_MAGIC) {
        inflate_snappy_chunk(bytes, bytes_max, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes.get(16..).ok_or(InflateError::Malformed)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (chunk, after) =
            after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(InflateError::Malformed)?;
        inflate_snappy_chunk(chunk, bytes_max, &mut out)?;
        rest = after;
    }
    if rest.is_empty() { Ok(out) } else { Err(InflateError::Malformed) }
}

fn inflate_snappy_chunk(chunk: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Result<(), InflateError> {
    let announced = snap::raw::decompress_len(chunk).map_err(|_| InflateError::Malformed)?;
    // Snappy's best is 64 bytes from 3, so a chunk that announces more than 24 times its size lies.
    if announced > chunk.len().saturating_mul(24) {
        return Err(InflateError::Malformed);
    }
    if out.len() + announced > bytes_max {
        return Err(InflateError::TooLarge);
    }
    let start = out.len();
    out.resize(start + announced, 0);
    let count = snap::raw::Decoder::new().decompress(chunk, &mut out[start..]).map_err(|_| InflateError::Malformed)?;
    out.truncate(start + count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(plain: &[u8]) -> Vec<(Compression, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(plain).unwrap();
        let raw_snappy = snap::raw::Encoder::new().compress_vec(plain).unwrap();
        let mut xerial = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
        for chunk in plain.chunks(100) {
            let chunk = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
            xerial.extend_from_slice(&(chunk.len() as u32).to_be_bytes());
            xerial.extend_from_slice(&chunk);
        }
        vec![
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::Snappy, raw_snappy),
            (Compression::Snappy, xerial),
            (Compression::Lz4, lz4.finish().unwrap()),
            (Compression::Zstd, zstd::bulk::compress(plain, 1).unwrap()),
        ]
    }

    #[test]
    fn every_framing_is_inflated() {
        let plain: Vec<u8> = (0..10_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (compression, bytes) in samples(&plain) {
            assert_eq!(inflate(compression, &bytes).as_deref(), Ok(plain.as_slice()), "{compression:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let plain = vec![0u8; INFLATED_BYTES_MAX + 1];
        for (compression, bytes) in samples(&plain) {
            assert_eq!(inflate(compression, &bytes), Err(InflateError::TooLarge), "{compression:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_inflated_again(plain in proptest::collection::vec(0..4u8, 0..100_000), number in 0..5u8) {
            let compression = Compression::from_number(number).unwrap();
            let bytes = compress(compression, &plain).unwrap();
            prop_assert_eq!(inflate(compression, &bytes), Ok(plain));
        }

        #[test]
        fn any_bytes_are_inflated_or_refused(bytes in any::<Vec<u8>>(), number in 0..5u8) {
            let _ = inflate(Compression::from_number(number).unwrap(), &bytes);
        }
    }
}
