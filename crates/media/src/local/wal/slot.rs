// SPDX-License-Identifier: Apache-2.0
//! A slot: a file of fixed size that holds frames, and the page at its start that says whose.
//!
//! ```text
//!   0 magic u32 "PLWS" | 4 format u16 | 6 zero u16 | 8 features that must be known u32 | 12 features that may be ignored u32
//!  16 cluster id, 16 bytes                          32 shard u32 | 36 slot u32         40 nonce u64
//!  48 number of the first frame (base) u64          56 copies through (0 = none) u64   64 size of the slot u64
//!  72 epoch u32 | 76 turn u32 | 80 crc of frame base-1 u32 (0 = not known) | 84 zeros | 124 crc u32 of the 124 bytes before
//! 128 zeros up to 4096, where the first frame begins
//! ```
//! Slots keep their names for ever and are used again in place: identity is here, not in the name. The *life* is new each time a
//! slot is put to use (epoch, turn in the epoch, nonce), and every frame repeats it. Epoch 0 means: prepared, never used.
//!
//! A header is written when every frame below its base is durable: so a header is itself a proof.
//!
//! Preparing: a slot is filled with zeros, synced, then given a header of epoch 0, synced, and its name made durable. A file whose
//! blocks exist syncs about twice as often a second as one that grows. A slot in the place of one that was lent is only given its
//! blocks: filling it would write the bytes a second time that lending saves.
//!
//! Cutting down: a slot that is not needed keeps its number but not its space. A file of the header's page alone is made beside it, as
//! above, and renamed over it.
//!
//! Owns: the header's bytes, the steps of preparing. Must not know: which slot is used when.

use super::frame::{Life, PAGE};
use crate::disk::{Disk, DiskDone, DiskError, DiskOp, FileName, run};
use bytes::Bytes;
use model::crc::crc32c;
use model::limits::PAGE_BYTES;
use model::media::MediaError;
use model::{Lsn, ShardEpoch, ShardId};

const MAGIC: [u8; 4] = *b"PLWS";
const FORMAT: u16 = 1;
/// Features that this version can read. None yet.
const FEATURES_KNOWN: u32 = 0;
const HEADER_BYTES: usize = 128;
const CRC_AT: usize = 124;
/// Zeros are written this many bytes a step, each step synced, so that preparing never builds up a storm of dirty pages.
const STEP_BYTES: u64 = 1024 * 1024;
/// What a slot keeps that was cut down: its header's page. No frame fits.
pub(super) const CUT_BYTES: u64 = PAGE;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What stands in a slot's first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotHeader {
    pub cluster_id: [u8; 16],
    pub shard: ShardId,
    pub slot: u32,
    pub life: Life,
    /// Number of its first frame.
    pub base: Lsn,
    /// Frames up to this one are copies from older slots; the slot counts only if they are all there. 0 = no copies.
    pub copies_through: Lsn,
    /// Checksum of the data frame before `base`, 0 if it was not known.
    pub previous_crc: u32,
    /// Size of the file.
    pub slot_bytes: u64,
}

/// What a first page turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotPage {
    /// A header, and its checksum (the first frame repeats it).
    Header(SlotHeader, u32),
    /// Nothing was ever written.
    Blank,
    /// Not a header.
    Bad(String),
    /// A newer version's header: the feature that is not known.
    Newer(String),
}

impl SlotHeader {
    /// The header alone: the rest of its page is zeros that preparing wrote and nobody changes.
    pub fn encode(&self) -> (Bytes, u32) {
        let mut page = vec![0; PAGE_BYTES];
        page[0..4].copy_from_slice(&MAGIC);
        page[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        page[16..32].copy_from_slice(&self.cluster_id);
        page[32..36].copy_from_slice(&self.shard.0.to_le_bytes());
        page[36..40].copy_from_slice(&self.slot.to_le_bytes());
        page[40..48].copy_from_slice(&self.life.nonce.to_le_bytes());
        page[48..56].copy_from_slice(&self.base.0.to_le_bytes());
        page[56..64].copy_from_slice(&self.copies_through.0.to_le_bytes());
        page[64..72].copy_from_slice(&self.slot_bytes.to_le_bytes());
        page[72..76].copy_from_slice(&self.life.epoch.0.to_le_bytes());
        page[76..80].copy_from_slice(&self.life.turn.to_le_bytes());
        page[80..84].copy_from_slice(&self.previous_crc.to_le_bytes());
        let crc = crc32c(&page[..CRC_AT]);
        page[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        (Bytes::from(page), crc)
    }
}

/// Reads a slot's first page.
pub fn decode(page: &[u8]) -> SlotPage {
    let Some(head) = page.first_chunk::<HEADER_BYTES>() else {
        return if page.iter().all(|byte| *byte == 0) {
            SlotPage::Blank
        } else {
            SlotPage::Bad("it is cut short".into())
        };
    };
    if head.iter().all(|byte| *byte == 0) {
        return SlotPage::Blank;
    }
    if head[0..4] != MAGIC {
        return SlotPage::Bad("its first bytes are not those of a slot".into());
    }
    let crc = u32_at(head, CRC_AT);
    let computed = crc32c(&head[..CRC_AT]);
    if crc != computed {
        return SlotPage::Bad(format!("its header's checksum is {computed:08x}, written was {crc:08x}"));
    }
    let format = u16::from_le_bytes([head[4], head[5]]);
    if format != FORMAT {
        return SlotPage::Newer(format!("log format {format}"));
    }
    let unknown = u32_at(head, 8) & !FEATURES_KNOWN;
    if unknown != 0 {
        return SlotPage::Newer(format!("log feature bit {}", unknown.trailing_zeros()));
    }
    let mut cluster_id = [0; 16];
    cluster_id.copy_from_slice(&head[16..32]);
    SlotPage::Header(
        SlotHeader {
            cluster_id,
            shard: ShardId(u32_at(head, 32)),
            slot: u32_at(head, 36),
            life: Life { epoch: ShardEpoch(u32_at(head, 72)), turn: u32_at(head, 76), nonce: u64_at(head, 40) },
            base: Lsn(u64_at(head, 48)),
            copies_through: Lsn(u64_at(head, 56)),
            slot_bytes: u64_at(head, 64),
            previous_crc: u32_at(head, 80),
        },
        crc,
    )
}

/// A slot being prepared. Steps are synced one by one; done in the log's own turn or, with another handle on the same disk, on
/// any other thread.
#[derive(Debug)]
pub struct SlotPreparation {
    header: SlotHeader,
    how: How,
    filled: u64,
    /// Its name is durable: the directory was synced when the log was opened, or when an earlier preparation was at its end. Such a
    /// file is never removed, so there is no moment at which a slot is missing among its neighbours.
    named: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Fill,
    /// Where the disk can, and the file is made for it; else it is filled. What an earlier life has left behind may owe its length to a
    /// sync that failed: no later one makes that durable, only writing it anew does.
    Allocate,
    /// A file of [`CUT_BYTES`] takes its place.
    CutDown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// After a directory could not be synced: whether the name is in it on the medium is not known, and a second sync proves
    /// nothing about it. A name made anew is covered by the sync after it.
    Remove,
    Create,
    Allocate,
    Fill,
    SyncFill,
    Header,
    SyncHeader,
    Rename,
    SyncDir,
    Ready,
}

impl SlotPreparation {
    /// Prepares `header.slot` up to `header.slot_bytes`; the file exists already up to `exists_to`, if it is there at all.
    pub(super) fn new(header: SlotHeader, exists_to: Option<u64>, how: How) -> SlotPreparation {
        let header = SlotHeader { life: Life::NONE, base: Lsn(0), copies_through: Lsn(0), previous_crc: 0, ..header };
        let (filled, named) = (exists_to.unwrap_or(0), exists_to.is_some());
        let mut preparation = SlotPreparation { header, how, filled, named, stage: Stage::Create };
        match how {
            How::CutDown => {
                preparation.header.slot_bytes = CUT_BYTES;
                preparation.filled = 0;
            }
            How::Fill | How::Allocate if exists_to.is_some() => {
                (preparation.how, preparation.stage) = (How::Fill, Stage::Fill)
            }
            How::Fill | How::Allocate => {}
        }
        preparation
    }

    fn after_create(&self) -> Stage {
        if self.how == How::Allocate { Stage::Allocate } else { Stage::Fill }
    }

    /// The slot it is about.
    pub fn slot(&self) -> u32 {
        self.header.slot
    }

    /// Its size when it is ready.
    pub fn slot_bytes(&self) -> u64 {
        self.header.slot_bytes
    }

    /// True when the slot can be used.
    pub fn ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// What is written: a slot that is cut down is made beside the one that it replaces.
    fn file(&self) -> FileName {
        let (shard, slot) = (self.header.shard, self.header.slot);
        match self.how {
            How::CutDown => FileName::WalSlotNew { shard, slot },
            How::Fill | How::Allocate => FileName::WalSlot { shard, slot },
        }
    }

    /// What must be done next.
    pub(super) fn next_op(&self) -> Option<DiskOp> {
        let file = self.file();
        Some(match self.stage {
            Stage::Remove => DiskOp::Remove { file },
            Stage::Create => DiskOp::Create { file },
            Stage::Allocate => DiskOp::Allocate { file, bytes: self.header.slot_bytes },
            Stage::Fill => {
                let mut left = self.header.slot_bytes.saturating_sub(self.filled).min(STEP_BYTES) as usize;
                let mut parts = Vec::new();
                while left > 0 {
                    let part = left.min(ZEROS.len());
                    parts.push(Bytes::from_static(&ZEROS[..part]));
                    left -= part;
                }
                DiskOp::WriteAt { file, at: self.filled, parts }
            }
            Stage::SyncFill | Stage::SyncHeader => DiskOp::Sync { file },
            Stage::Header => DiskOp::WriteAt { file, at: 0, parts: vec![self.header.encode().0] },
            Stage::Rename => {
                let to = FileName::WalSlot { shard: self.header.shard, slot: self.header.slot };
                DiskOp::Rename { from: file, to }
            }
            Stage::SyncDir => DiskOp::SyncDir { dir: file.dir() },
            Stage::Ready => return None,
        })
    }

    /// The outcome of `next_op`. After an error it can be gone on with.
    pub(super) fn took(&mut self, outcome: Result<DiskDone, DiskError>) -> Result<(), MediaError> {
        match (self.stage, outcome) {
            // A run that ended here has left it behind.
            (Stage::Create, Err(DiskError::Exists)) if self.how == How::Allocate => self.how = How::Fill,
            (Stage::Create, Err(DiskError::Exists)) => {}
            (Stage::Remove, Err(DiskError::Missing)) => {}
            (Stage::Allocate, Err(error)) if error != DiskError::NoSpace => {
                (self.how, self.stage) = (How::Fill, Stage::Fill);
                return Ok(());
            }
            (stage, Err(error)) => {
                // Of what a failed sync covered nothing is known, and a second one proves nothing: everything is written again.
                let file = self.file();
                if matches!(stage, Stage::SyncFill | Stage::SyncHeader) {
                    self.filled = 0;
                    self.stage = Stage::Fill;
                    if self.how == How::Allocate {
                        self.how = How::Fill;
                    }
                } else if stage == Stage::SyncDir {
                    self.filled = 0;
                    self.stage = if self.how == How::CutDown { Stage::Create } else { Stage::Remove };
                }
                return Err(error.on(file));
            }
            (_, Ok(_)) => {}
        }
        self.stage = match self.stage {
            Stage::Remove => Stage::Create,
            Stage::Create => self.after_create(),
            Stage::Allocate => {
                self.filled = self.header.slot_bytes;
                Stage::SyncFill
            }
            Stage::Fill => {
                self.filled = (self.filled + STEP_BYTES).min(self.header.slot_bytes);
                Stage::SyncFill
            }
            Stage::SyncFill if self.filled < self.header.slot_bytes => Stage::Fill,
            Stage::SyncFill => Stage::Header,
            Stage::Header => Stage::SyncHeader,
            Stage::SyncHeader if self.how == How::CutDown => Stage::Rename,
            Stage::SyncHeader if self.named => Stage::Ready,
            Stage::SyncHeader | Stage::Rename => Stage::SyncDir,
            Stage::SyncDir | Stage::Ready => Stage::Ready,
        };
        Ok(())
    }

    /// One step, waited for: at most 1 MiB written and synced. True when the slot is ready.
    pub fn step(&mut self, disk: &mut dyn Disk) -> Result<bool, MediaError> {
        loop {
            let Some(op) = self.next_op() else { return Ok(true) };
            let synced = matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. });
            let outcome = run(disk, op);
            self.took(outcome)?;
            if synced {
                return Ok(self.ready());
            }
        }
    }
}

/// Rounds a slot's size to whole pages, with room for the header and one page.
pub fn whole_pages(bytes: u64) -> u64 {
    bytes.max(2 * PAGE).next_multiple_of(PAGE)
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
    use crate::contract::disk::TestDisk;

    fn header() -> SlotHeader {
        SlotHeader {
            cluster_id: [9; 16],
            shard: ShardId(1),
            slot: 6,
            life: Life { epoch: ShardEpoch(4), turn: 3, nonce: u64::MAX - 1 },
            base: Lsn(1000),
            copies_through: Lsn(1003),
            previous_crc: 0x1234_5678,
            slot_bytes: 1 << 20,
        }
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_seen() {
        let (page, crc) = header().encode();
        assert_eq!(page.len(), PAGE_BYTES);
        assert_eq!(decode(&page), SlotPage::Header(header(), crc));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = page.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&bad), SlotPage::Bad(_)), "bit {bit}");
        }
        assert_eq!(decode(&[0; PAGE_BYTES]), SlotPage::Blank);
        assert_eq!(decode(&[]), SlotPage::Blank);
        assert!(matches!(decode(&page[..100]), SlotPage::Bad(_)));
    }

    #[test]
    fn after_a_failed_sync_a_slot_is_written_anew() {
        for failing in [2, 4, 6] {
            let disk = TestDisk::new();
            let header = SlotHeader { slot_bytes: 2 * STEP_BYTES, ..header() };
            let mut preparation = SlotPreparation::new(header, None, How::Fill);
            let mut syncs = 0;
            disk.fail(move |op| {
                syncs += u32::from(matches!(op, DiskOp::Sync { .. }));
                (matches!(op, DiskOp::Sync { .. }) && syncs * 2 == failing).then(|| {
                    // What it covered is lost though the next sync will succeed.
                    DiskError::Io("input/output error".into())
                })
            });
            while preparation.step(&mut disk.clone()) != Ok(true) {}
            let writes = disk.bytes(preparation.file()).unwrap();
            assert_eq!(writes.len() as u64, 2 * STEP_BYTES);
            disk.cut_power(|_| 0);
            let bytes = disk.bytes(preparation.file()).unwrap();
            assert_eq!(bytes.len() as u64, 2 * STEP_BYTES);
            assert!(matches!(decode(&bytes), SlotPage::Header(header, _) if header.life == Life::NONE));
        }
    }

    #[test]
    fn a_length_that_a_failed_sync_has_left_behind_is_not_relied_on() {
        for made_as in [How::Allocate, How::CutDown] {
            let disk = TestDisk::new();
            let header = SlotHeader { slot_bytes: 2 * STEP_BYTES, ..header() };
            let mut earlier = SlotPreparation::new(header, None, made_as);
            disk.fail(|op| matches!(op, DiskOp::Sync { .. }).then(|| DiskError::Io("input/output error".into())));
            earlier.step(&mut disk.clone()).unwrap_err();
            disk.heal();
            disk.kill();
            let exists_to = (made_as == How::CutDown).then(|| {
                while earlier.step(&mut disk.clone()) != Ok(true) {}
                // Another life grows it, and dies after its sync has failed.
                disk.fail(|op| matches!(op, DiskOp::Sync { .. }).then(|| DiskError::Io("input/output error".into())));
                SlotPreparation::new(header, Some(CUT_BYTES), How::Allocate).step(&mut disk.clone()).unwrap_err();
                disk.heal();
                disk.kill();
                CUT_BYTES
            });
            for exists_to in [exists_to, Some(0)] {
                let mut preparation = SlotPreparation::new(header, exists_to, How::Allocate);
                let disk = disk.clone();
                while preparation.step(&mut disk.clone()) != Ok(true) {}
                disk.cut_power(|_| 0);
                assert_eq!(disk.bytes(preparation.file()).unwrap().len() as u64, 2 * STEP_BYTES);
            }
        }
    }

    #[test]
    fn after_a_failed_sync_of_its_directory_a_slot_is_made_anew() {
        let disk = TestDisk::new();
        let mut preparation = SlotPreparation::new(SlotHeader { slot_bytes: STEP_BYTES, ..header() }, None, How::Fill);
        let (mut failed, mut made_anew) = (false, false);
        let again = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = again.clone();
        disk.fail(move |op| {
            made_anew |= failed && matches!(op, DiskOp::Remove { .. });
            told.store(made_anew, std::sync::atomic::Ordering::Relaxed);
            let fails = matches!(op, DiskOp::SyncDir { .. }) && !failed;
            failed |= fails;
            fails.then(|| DiskError::Io("input/output error".into()))
        });
        while preparation.step(&mut disk.clone()) != Ok(true) {}
        assert!(again.load(std::sync::atomic::Ordering::Relaxed));
        disk.cut_power(|_| 0);
        let bytes = disk.bytes(preparation.file()).unwrap();
        assert!(matches!(decode(&bytes), SlotPage::Header(header, _) if header.life == Life::NONE));
    }

    #[test]
    fn a_slot_that_grows_keeps_its_name_whatever_fails() {
        let disk = TestDisk::new();
        let header = SlotHeader { slot_bytes: STEP_BYTES, ..header() };
        let mut made = SlotPreparation::new(header, None, How::Fill);
        while made.step(&mut disk.clone()) != Ok(true) {}
        let header = SlotHeader { slot_bytes: 2 * STEP_BYTES, ..header };
        let mut grown = SlotPreparation::new(header, Some(STEP_BYTES), How::Fill);
        let mut syncs = 0;
        disk.fail(move |op| {
            assert!(!matches!(op, DiskOp::Remove { .. }), "later slots stand behind this one");
            syncs += u32::from(matches!(op, DiskOp::Sync { .. }));
            let fails = matches!(op, DiskOp::SyncDir { .. }) || matches!(op, DiskOp::Sync { .. }) && syncs < 3;
            fails.then(|| DiskError::Io("input/output error".into()))
        });
        for _ in 0..20 {
            if grown.step(&mut disk.clone()) == Ok(true) {
                break;
            }
        }
        assert!(grown.ready());
        disk.heal();
        disk.cut_power(|_| 0);
        assert_eq!(disk.bytes(grown.file()).unwrap().len() as u64, 2 * STEP_BYTES);
    }

    #[test]
    fn a_newer_version_is_named() {
        for (at, name) in [(4, "log format 3"), (8, "log feature bit 1")] {
            let mut page = header().encode().0.to_vec();
            page[at] = if at == 4 { 3 } else { 2 };
            let crc = crc32c(&page[..CRC_AT]);
            page[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(decode(&page), SlotPage::Newer(name.into()));
        }
    }
}
