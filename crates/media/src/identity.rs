// SPDX-License-Identifier: Apache-2.0
//! The identity of a data directory: the file `identity`.
//!
//! ```text
//!  0 magic u32 "PLID" | 4 format u16 | 6 zero u16 | 8 features that must be known u32 | 12 features that may be ignored u32
//! 16 cluster id, 16 bytes | 32 shard count u32 | 36 state u32 (0 = being made, 1 = made) | 40 zeros | 60 crc u32 of the 60 bytes before
//! ```
//! Written whole: temporary file, sync, rename, directory synced. While the state is "being made" the logs may be missing; once it is
//! "made" (`finish`), a directory without its logs is a damaged one and not a new one.
//!
//! Owns: the above. Must not know: where the random bytes come from, what else is in the directory.

use crate::disk::{DirName, Disk, DiskError, DiskOp, FileName, read_all, run};
use bytes::Bytes;
use model::Corrupt;
use model::crc::crc32c;
use model::media::MediaError;
use std::fmt;

const MAGIC: [u8; 4] = *b"PLID";
const FORMAT: u16 = 1;
const FEATURES_KNOWN: u32 = 0;
const BYTES: usize = 64;
const CRC_AT: usize = 60;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: [u8; 16],
    /// Fixed when the directory is made.
    pub shard_count: u32,
    /// The directory's logs exist. Until then they may be created ([`crate::local::wal::WalOptions::may_create`]).
    pub made: bool,
}

/// Why the directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    Corrupt(Corrupt),
    /// Written by a newer version: the feature that this one does not know.
    Newer {
        name: String,
        feature: String,
    },
    Media(MediaError),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Corrupt(corrupt) => corrupt.fmt(f),
            IdentityError::Newer { name, feature } => {
                write!(f, "{name} was written by a newer version: {feature} is not known to this one")
            }
            IdentityError::Media(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IdentityError {}

/// The directory's identity, made from `random` and `shard_count` if it has none.
pub fn open(disk: &mut dyn Disk, random: [u8; 16], shard_count: u32) -> Result<Identity, IdentityError> {
    if let Some(identity) = read(disk)? {
        // Its name is seen; it need not be durable if the last run was killed in `write`.
        let synced = run(disk, DiskOp::SyncDir { dir: DirName::Root });
        synced.map_err(|error| IdentityError::Media(error.on(FileName::Identity)))?;
        return Ok(identity);
    }
    let identity = Identity { cluster_id: random, shard_count, made: false };
    write(disk, identity)?;
    Ok(identity)
}

/// The directory's identity, if it has one. Changes nothing.
pub fn read(disk: &mut dyn Disk) -> Result<Option<Identity>, IdentityError> {
    match read_all(disk, FileName::Identity, 0, BYTES as u64 + 1) {
        Ok(bytes) => decode(&bytes).map(Some),
        Err(DiskError::Missing) => Ok(None),
        Err(error) => Err(IdentityError::Media(error.on(FileName::Identity))),
    }
}

/// Notes that the directory's logs exist.
pub fn finish(disk: &mut dyn Disk, identity: Identity) -> Result<Identity, IdentityError> {
    if identity.made {
        return Ok(identity);
    }
    let made = Identity { made: true, ..identity };
    write(disk, made)?;
    Ok(made)
}

fn write(disk: &mut dyn Disk, identity: Identity) -> Result<(), IdentityError> {
    let file = FileName::IdentityTmp;
    let write = |disk: &mut dyn Disk| -> Result<(), DiskError> {
        match run(disk, DiskOp::Remove { file }) {
            Ok(_) | Err(DiskError::Missing) => {}
            Err(error) => return Err(error),
        }
        run(disk, DiskOp::Create { file })?;
        run(disk, DiskOp::WriteAt { file, at: 0, parts: vec![encode(identity)] })?;
        run(disk, DiskOp::Sync { file })?;
        run(disk, DiskOp::Rename { from: file, to: FileName::Identity })?;
        run(disk, DiskOp::SyncDir { dir: DirName::Root })?;
        Ok(())
    };
    write(disk).map_err(|error| IdentityError::Media(error.on(FileName::Identity)))
}

/// The file's bytes.
pub fn encode(identity: Identity) -> Bytes {
    let mut bytes = vec![0; BYTES];
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..32].copy_from_slice(&identity.cluster_id);
    bytes[32..36].copy_from_slice(&identity.shard_count.to_le_bytes());
    bytes[36..40].copy_from_slice(&u32::from(identity.made).to_le_bytes());
    let crc = crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    Bytes::from(bytes)
}

/// Reads the file's bytes.
pub fn decode(bytes: &[u8]) -> Result<Identity, IdentityError> {
    let corrupt = |at: usize, why: String| {
        IdentityError::Corrupt(Corrupt { name: FileName::Identity.to_string(), at: at as u64, why })
    };
    let newer = |feature: String| IdentityError::Newer { name: FileName::Identity.to_string(), feature };
    let Ok(head) = <&[u8; BYTES]>::try_from(bytes) else {
        return Err(corrupt(bytes.len().min(BYTES), format!("the file must be {BYTES} bytes long")));
    };
    if head[0..4] != MAGIC {
        return Err(corrupt(0, "its first bytes are not those of an identity file".into()));
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let computed = crc32c(&head[..CRC_AT]);
    if word(CRC_AT) != computed {
        return Err(corrupt(CRC_AT, format!("the checksum is {computed:08x}, written was {:08x}", word(CRC_AT))));
    }
    let format = u16::from_le_bytes([head[4], head[5]]);
    if format != FORMAT {
        return Err(newer(format!("identity format {format}")));
    }
    let unknown = word(8) & !FEATURES_KNOWN;
    if unknown != 0 {
        return Err(newer(format!("directory feature bit {}", unknown.trailing_zeros())));
    }
    let made = match word(36) {
        0 => false,
        1 => true,
        state => return Err(corrupt(36, format!("state {state} is unknown"))),
    };
    if word(32) == 0 {
        return Err(corrupt(32, "a directory has at least one shard".into()));
    }
    let mut cluster_id = [0; 16];
    cluster_id.copy_from_slice(&head[16..32]);
    Ok(Identity { cluster_id, shard_count: word(32), made })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::disk::TestDisk;

    #[test]
    fn the_first_open_makes_what_later_ones_read() {
        let store = TestDisk::new();
        let made = open(&mut store.clone(), [1; 16], 2).unwrap();
        assert_eq!(made, Identity { cluster_id: [1; 16], shard_count: 2, made: false });
        assert_eq!(open(&mut store.clone(), [9; 16], 7).unwrap(), made, "the first one rules");
        let finished = finish(&mut store.clone(), made).unwrap();
        assert!(finished.made);
        store.cut_power(|_| 0);
        assert_eq!(open(&mut store.clone(), [9; 16], 7).unwrap(), finished);
    }

    #[test]
    fn damage_is_told_with_its_place_and_a_newer_version_by_name() {
        let good = encode(Identity { cluster_id: [3; 16], shard_count: 1, made: true }).to_vec();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bad), Err(IdentityError::Corrupt(_))), "bit {bit}");
        }
        assert!(matches!(decode(&good[..63]), Err(IdentityError::Corrupt(Corrupt { at: 63, .. }))));
        for (at, name) in [(4, "identity format 2"), (8, "directory feature bit 1")] {
            let mut newer = good.clone();
            newer[at] = 2;
            let crc = crc32c(&newer[..CRC_AT]);
            newer[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            let expected = IdentityError::Newer { name: "identity".into(), feature: name.into() };
            assert_eq!(decode(&newer), Err(expected));
        }
    }
}
