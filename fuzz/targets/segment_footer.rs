// SPDX-License-Identifier: Apache-2.0
//! A segment's trailer and footer, as they are, and built around the input with right checksums: what an index claims must fit.
//! Layout: the head of `crates/kernel/src/format/v1/segment.rs`.
#![no_main]

use bytes::Bytes;
use kernel::format::v1::segment::{DATA_START, Trailer, decode_footer, salvage_index};
use libfuzzer_sys::fuzz_target;
use model::media::{BlobKind, BlobName};
use model::{ShardId, crc};

const NAME: BlobName = BlobName { shard: ShardId(0), kind: BlobKind::Segment, number: 1 };
const TRAILER_BYTES: usize = 64;

fuzz_target!(|data: &[u8]| {
    read(data);
    let _ = salvage_index(NAME, data.len() as u64, &mut |at, bytes| {
        let end = at.checked_add(bytes)?;
        Some(Bytes::copy_from_slice(data.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)?))
    });
    let [data_kib, runs, blocks, cut, rest @ ..] = data else { return };
    let (first, second) = rest.split_at(usize::from(*cut).min(rest.len()));
    let sections_at = DATA_START + 1024 * u64::from(*data_kib);
    read(&sealed(sections_at, *runs, *blocks, first, second));
});

fn read(file: &[u8]) {
    let Some(at) = file.len().checked_sub(TRAILER_BYTES) else { return };
    let Ok(trailer) = Trailer::decode(&file[at..], NAME, file.len() as u64) else { return };
    let (from, bytes) = trailer.footer();
    let footer = &file[from as usize..(from + bytes) as usize];
    if let Ok(index) = decode_footer(&trailer, footer, file.len() as u64) {
        for run in &index.runs {
            assert!(!index.blocks_of(run).is_empty());
            assert!(!index.blocks_from(run, run.first_offset).is_empty());
            let _ = index.blocks_from_timestamp(run, 0);
        }
    }
}

/// A file with nothing in its data area, and these two sections.
fn sealed(sections_at: u64, runs: u8, blocks: u8, first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut file = vec![0; sections_at as usize];
    let mut table = Vec::new();
    for (tag, section) in [(1u32, first), (2, second)] {
        table.extend_from_slice(&tag.to_le_bytes());
        table.extend_from_slice(&1u32.to_le_bytes());
        table.extend_from_slice(&(file.len() as u64).to_le_bytes());
        table.extend_from_slice(&(section.len() as u64).to_le_bytes());
        table.extend_from_slice(&crc::crc32c(section).to_le_bytes());
        table.extend_from_slice(&[0; 4]);
        file.extend_from_slice(section);
    }
    let table_at = file.len() as u64;
    file.extend_from_slice(&table);
    let mut trailer = [0u8; TRAILER_BYTES];
    trailer[0..8].copy_from_slice(b"POLYSEG\x1a");
    trailer[8..10].copy_from_slice(&1u16.to_le_bytes());
    trailer[10..12].copy_from_slice(&2u16.to_le_bytes());
    trailer[24..32].copy_from_slice(&NAME.number.to_le_bytes());
    trailer[32..40].copy_from_slice(&sections_at.to_le_bytes());
    trailer[40..48].copy_from_slice(&table_at.to_le_bytes());
    trailer[48..52].copy_from_slice(&u32::from(runs).to_le_bytes());
    trailer[52..56].copy_from_slice(&u32::from(blocks).to_le_bytes());
    trailer[56..60].copy_from_slice(&crc::crc32c(&table).to_le_bytes());
    let seal = crc::crc32c(&trailer[..60]);
    trailer[60..].copy_from_slice(&seal.to_le_bytes());
    file.extend_from_slice(&trailer);
    file
}
