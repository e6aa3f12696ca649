// SPDX-License-Identifier: Apache-2.0
//! One frame at rest: a header of 64 bytes, the body, zeros up to the next page of 4 KiB.
//!
//! ```text
//!  0 magic u32 "PLWF"   4 format u8 | 5 kind u8 | 6 flags u16   8 shard u32   12 body length u32
//! 16 epoch u32         20 turn u32                             24 frame number (lsn) u64
//! 32 durable mark u64                                          40 nonce u64
//! 48 crc of the frame before, u32   52 zero u64                60 crc u32
//! ```
//! All little-endian. The checksum (CRC-32C) covers, in this order, the cluster id, the slot's number, the position in the slot,
//! the header up to the checksum, and the body: a frame that stands where it was not written, or in another cluster's log, is no
//! frame, and bytes that a client published are none either.
//!
//! Kinds: *data* carries a body and takes a number. *Proof* carries none and takes none: it repeats the number of the last data
//! frame as its durable mark, so that this frame, should it rot, is known to have been durable.
//!
//! Epoch, turn and nonce are the *life* of the slot, repeated from its header: what an earlier life left behind is told apart.
//!
//! The durable mark says: every frame up to here was synced before this one was written. It is what tells a torn end (nobody was
//! told of it) from a rotten one.
//!
//! Owns: these bytes. Must not know: slots' headers, which frame ought to come next, what a body means.

use model::crc::crc32c_of;
use model::limits::{FRAME_BODY_BYTES_MAX, PAGE_BYTES};
use model::planted::{Bug, planted};
use model::{Lsn, ShardEpoch, ShardId};

/// Bytes before the body.
pub const HEADER_BYTES: usize = 64;
/// Page size as a file position.
pub const PAGE: u64 = PAGE_BYTES as u64;
const MAGIC: [u8; 4] = *b"PLWF";
const FORMAT: u8 = 1;
const CRC_AT: usize = 60;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Data,
    Proof,
}

/// One use of a slot. Ordered by time: the epoch is new at every open of the log, the turn grows with every slot begun in it. The
/// nonce is random, so that nothing a client publishes can look like a frame of this life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub epoch: ShardEpoch,
    pub turn: u32,
    pub nonce: u64,
}

impl Life {
    /// The life of a slot that is prepared and was never used.
    pub const NONE: Life = Life { epoch: ShardEpoch(0), turn: 0, nonce: 0 };
}

/// What stands in a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub shard: ShardId,
    pub body_bytes: u32,
    pub life: Life,
    /// Its number; of a proof, the number of the last data frame before it.
    pub lsn: Lsn,
    /// Everything up to this was synced when the frame was written.
    pub durable: Lsn,
    pub previous_crc: u32,
}

/// Where a frame stands: part of what its checksum covers.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub cluster_id: &'a [u8; 16],
    pub slot: u32,
    pub at: u64,
}

/// A frame whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub header: FrameHeader,
    pub crc: u32,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// No frame begins here.
    NoMagic,
    /// The length is more than a frame may have, or than there are bytes.
    Length,
    /// The shard in it is another one.
    Shard,
    /// The checksum is wrong: torn or rotten, or a stale frame partly written over.
    Crc,
    /// The checksum is right and the frame is of a kind that this version does not know.
    Newer(String),
}

/// Bytes that a frame with a body of that length takes in a slot.
pub const fn frame_bytes(body_bytes: usize) -> u64 {
    (HEADER_BYTES as u64 + body_bytes as u64).next_multiple_of(PAGE)
}

impl Frame {
    /// Bytes it takes in its slot.
    pub fn bytes(&self) -> u64 {
        frame_bytes(self.header.body_bytes as usize)
    }

    /// Its body, given the slot's bytes from the frame's first on.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(HEADER_BYTES..HEADER_BYTES + self.header.body_bytes as usize).unwrap_or_default()
    }
}

/// The header's bytes and the frame's checksum.
pub fn encode(header: &FrameHeader, place: Place<'_>, body: &[u8]) -> ([u8; HEADER_BYTES], u32) {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4] = FORMAT;
    bytes[5] = match header.kind {
        FrameKind::Data => 1,
        FrameKind::Proof => 2,
    };
    bytes[8..12].copy_from_slice(&header.shard.0.to_le_bytes());
    bytes[12..16].copy_from_slice(&header.body_bytes.to_le_bytes());
    bytes[16..20].copy_from_slice(&header.life.epoch.0.to_le_bytes());
    bytes[20..24].copy_from_slice(&header.life.turn.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.lsn.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.durable.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&header.life.nonce.to_le_bytes());
    bytes[48..52].copy_from_slice(&header.previous_crc.to_le_bytes());
    let crc = checksum(place, &bytes[..CRC_AT], body);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    (bytes, crc)
}

/// The frame that begins at `bytes`, which reach to the end of the slot.
pub fn decode(place: Place<'_>, shard: ShardId, bytes: &[u8]) -> Result<Frame, FrameFault> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(FrameFault::NoMagic) };
    if head[0..4] != MAGIC {
        return Err(FrameFault::NoMagic);
    }
    let body_bytes = u32_at(head, 12);
    if u32_at(head, 8) != shard.0 {
        return Err(FrameFault::Shard);
    }
    let end = HEADER_BYTES + body_bytes as usize;
    if body_bytes as usize > FRAME_BODY_BYTES_MAX || end > bytes.len() {
        return Err(FrameFault::Length);
    }
    let crc = u32_at(head, CRC_AT);
    let good = crc == checksum(place, &head[..CRC_AT], &bytes[HEADER_BYTES..end]);
    if !good && !planted(Bug::TornFrameAccepted) {
        return Err(FrameFault::Crc);
    }
    let kind = match (head[4], head[5], u16::from_le_bytes([head[6], head[7]])) {
        (FORMAT, 1, 0) => FrameKind::Data,
        (FORMAT, 2, 0) => FrameKind::Proof,
        (FORMAT, kind, 0) => return Err(FrameFault::Newer(format!("frame kind {kind}"))),
        (FORMAT, _, flags) => return Err(FrameFault::Newer(format!("frame flags {flags:#06x}"))),
        (format, _, _) => return Err(FrameFault::Newer(format!("frame format {format}"))),
    };
    Ok(Frame {
        header: FrameHeader {
            kind,
            shard,
            body_bytes,
            life: life_at(head),
            lsn: Lsn(u64_at(head, 24)),
            durable: Lsn(u64_at(head, 32)),
            previous_crc: u32_at(head, 48),
        },
        crc,
    })
}

/// The life that a frame header claims, looked at without its checksum: a hint, never a proof.
pub fn claimed_life(bytes: &[u8]) -> Option<Life> {
    let head = bytes.first_chunk::<HEADER_BYTES>()?;
    (head[0..4] == MAGIC).then(|| life_at(head))
}

fn life_at(head: &[u8; HEADER_BYTES]) -> Life {
    Life { epoch: ShardEpoch(u32_at(head, 16)), turn: u32_at(head, 20), nonce: u64_at(head, 40) }
}

fn checksum(place: Place<'_>, header: &[u8], body: &[u8]) -> u32 {
    crc32c_of([place.cluster_id.as_slice(), &place.slot.to_le_bytes(), &place.at.to_le_bytes(), header, body])
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: [u8; 16] = [7; 16];
    const LIFE: Life = Life { epoch: ShardEpoch(5), turn: 3, nonce: 0xabcd_ef01_2345_6789 };

    fn header(body: &[u8]) -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            shard: ShardId(3),
            body_bytes: body.len() as u32,
            life: LIFE,
            lsn: Lsn(1 << 40),
            durable: Lsn((1 << 40) - 2),
            previous_crc: 0xdead_beef,
        }
    }

    fn written(body: &[u8], at: u64) -> Vec<u8> {
        let (head, _) = encode(&header(body), Place { cluster_id: &CLUSTER, slot: 2, at }, body);
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let bytes = written(b"a body", 8192);
        let place = Place { cluster_id: &CLUSTER, slot: 2, at: 8192 };
        let frame = decode(place, ShardId(3), &bytes).unwrap();
        assert_eq!(frame.header, header(b"a body"));
        assert_eq!(frame.body(&bytes), b"a body");
        assert_eq!(claimed_life(&bytes), Some(LIFE));
        assert_eq!(frame_bytes(4032), 4096);
        assert_eq!(frame_bytes(4033), 8192);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = written(b"sixteen bytes...", 4096);
        let place = Place { cluster_id: &CLUSTER, slot: 2, at: 4096 };
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(place, ShardId(3), &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_elsewhere_than_written_is_no_frame() {
        let bytes = written(b"x", 4096);
        let other = [8; 16];
        for place in [
            Place { cluster_id: &CLUSTER, slot: 2, at: 8192 },
            Place { cluster_id: &CLUSTER, slot: 1, at: 4096 },
            Place { cluster_id: &other, slot: 2, at: 4096 },
        ] {
            assert_eq!(decode(place, ShardId(3), &bytes), Err(FrameFault::Crc));
        }
        let place = Place { cluster_id: &CLUSTER, slot: 2, at: 4096 };
        assert_eq!(decode(place, ShardId(2), &bytes), Err(FrameFault::Shard));
    }

    #[test]
    fn what_a_newer_version_wrote_is_named() {
        let place = Place { cluster_id: &CLUSTER, slot: 2, at: 4096 };
        for (at, value, name) in [(4, 2, "frame format 2"), (5, 9, "frame kind 9"), (6, 1, "frame flags 0x0001")] {
            let mut bytes = written(b"", 4096);
            bytes[at] = value;
            let crc = checksum(place, &bytes[..CRC_AT], &[]);
            bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(decode(place, ShardId(3), &bytes), Err(FrameFault::Newer(name.into())));
        }
    }

    #[test]
    fn an_announced_length_is_not_believed() {
        let mut bytes = written(b"short", 4096);
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let place = Place { cluster_id: &CLUSTER, slot: 2, at: 4096 };
        assert_eq!(decode(place, ShardId(3), &bytes), Err(FrameFault::Length));
    }
}
