// SPDX-License-Identifier: Apache-2.0
//! What can still be known of a segment whose head, footer or trailer is damaged.
//!
//! Owns: undoing one flipped bit, making the block list again. Must not know: what becomes of the records.
//!
//! The head repeats what the trailer says, so it is not needed. In trailer, table and sections every single bit is tried until the
//! checksum is right; the pieces are kept short, so that chance will not do it. The block list can be made again from the batches
//! themselves, each a block of its own, as long as the run list says whose they are and which offsets they have (and, where batches
//! stand in slots, the places say where).

use super::*;
use model::batch::{self, Header};
use std::collections::VecDeque;

/// A piece beyond this is not tried bit by bit: 8 * 4096 tries hit a 32-bit checksum by chance once in 130,000 times.
const TRIED_BYTES_MAX: usize = 4096;

/// Gives bytes of a file, by position and length.
pub type ReadAt<'a> = dyn FnMut(BlobName, u64, u64) -> Option<Bytes> + 'a;

/// The index of the segment called `name`. `read` is asked for its bytes, and for those of slots. True: the records go on behind what
/// it covers, and cannot be told any more.
pub fn salvage_index(
    name: BlobName,
    file_bytes: u64,
    read: &mut ReadAt<'_>,
) -> Result<(SegmentIndex, bool), FormatError> {
    let cut = |at: u64| FormatError::damaged(at, "the file cannot be read there");
    let trailer_at = file_bytes.saturating_sub(HEAD_BYTES as u64);
    let trailer_bytes = read(name, trailer_at, HEAD_BYTES as u64).ok_or_else(|| cut(trailer_at))?;
    let trailer = match Trailer::decode(&trailer_bytes, name, file_bytes) {
        Err(error @ FormatError::Damaged { .. }) => {
            flipped(&trailer_bytes).find_map(|bytes| Trailer::decode(&bytes, name, file_bytes).ok()).ok_or(error)?
        }
        decoded => decoded?,
    };
    let (footer_at, footer_bytes) = trailer.footer();
    let mut footer = read(name, footer_at, footer_bytes).ok_or_else(|| cut(footer_at))?.to_vec();
    let table_from = (trailer.table_at - trailer.sections_at) as usize;
    let table = footer.get_mut(table_from..).ok_or_else(|| cut(trailer.table_at))?;
    mend(table, trailer.table_crc);
    // Sections by what the table says, each by itself.
    let mut rows = Vec::new();
    for row in footer[table_from..].chunks_exact(TABLE_ENTRY_BYTES) {
        let word = |from: usize| u32::from_le_bytes([row[from], row[from + 1], row[from + 2], row[from + 3]]);
        let wide = |from: usize| u64::from(word(from)) | u64::from(word(from + 4)) << 32;
        rows.push((wide(8), wide(16), word(24)));
    }
    for (at, bytes, crc) in rows {
        let from = at.checked_sub(trailer.sections_at).map(|from| from as usize);
        let section = from.and_then(|from| footer[..table_from].get_mut(from..from.checked_add(bytes as usize)?));
        if let Some(section) = section {
            mend(section, crc);
        }
    }
    let whole = decode_footer(&trailer, &footer, file_bytes);
    let error = match whole {
        Err(error @ FormatError::Damaged { .. }) => error,
        whole => return whole.map(|index| (index, false)),
    };
    let good = |tag: u32| good_section(&trailer, &footer, table_from, tag);
    // Without places, which batches stand elsewhere cannot be told.
    let (Some(run_bytes), Some(places)) =
        (good(SECTION_RUNS), good(SECTION_PLACES).or((!trailer.has_slots).then_some(&[])))
    else {
        return Err(error);
    };
    walk(&trailer, run_bytes, places, file_bytes, read)
}

/// A section, if its checksum is right whatever else is not.
fn good_section<'a>(trailer: &Trailer, footer: &'a [u8], table_from: usize, tag: u32) -> Option<&'a [u8]> {
    let row =
        footer.get(table_from..)?.chunks_exact(TABLE_ENTRY_BYTES).find(|row| row.starts_with(&tag.to_le_bytes()))?;
    let word = |from: usize| u32::from_le_bytes([row[from], row[from + 1], row[from + 2], row[from + 3]]);
    let wide = |from: usize| u64::from(word(from)) | u64::from(word(from + 4)) << 32;
    let from = usize::try_from(wide(8).checked_sub(trailer.sections_at)?).ok()?;
    let bytes = footer[..table_from].get(from..from.checked_add(usize::try_from(wide(16)).ok()?)?)?;
    (crc::crc32c(bytes) == word(24)).then_some(bytes)
}

/// Makes blocks of the batches that stand in the data area and in slots.
fn walk(
    trailer: &Trailer,
    mut run_bytes: &[u8],
    mut places: &[u8],
    file_bytes: u64,
    read: &mut ReadAt<'_>,
) -> Result<(SegmentIndex, bool), FormatError> {
    let name = trailer.name;
    let data_bytes = trailer.sections_at - DATA_START;
    let mut index = SegmentIndex { number: name.number, data_bytes, file_bytes, ..SegmentIndex::default() };
    let mut own_pos = DATA_START;
    let mut is_cut = false;
    'runs: while !run_bytes.is_empty() {
        let nonsense = || FormatError::damaged(trailer.sections_at, "a run makes no sense");
        let run = read_run(&mut run_bytes, index.runs.last()).ok_or_else(nonsense)?;
        let mut lent = VecDeque::new();
        for _ in 0..if trailer.has_slots { run.block_count } else { 0 } {
            lent.extend(read_place(&mut places).ok_or_else(nonsense)?);
        }
        // How many batches its blocks of the data area are is not known, only whether there are any.
        let has_own = run.block_count as usize > lent.len();
        let mut run = Run { block_first: index.blocks.len() as u32, block_count: 0, ..run };
        let mut next = run.first_offset;
        let end = run.last_offset.0;
        while next.0 <= end {
            let mut fitting = |place: Place, file_end: u64| {
                let block = Block { first_offset: next, place, bytes: 0, crc: 0, max_timestamp_ms: 0 };
                let (header, bytes) = next_batch(block.file(name), place.pos(), file_end, read)?;
                let is_next = header.base_offset >= next
                    && header.next_offset().0 - 1 <= end
                    && (run.block_count > 0 || header.base_offset == next);
                is_next.then_some((place, header, bytes))
            };
            let in_slot = lent.front().and_then(|place| fitting(*place, u64::MAX));
            let is_due = in_slot.as_ref().is_some_and(|(_, header, _)| header.base_offset == next);
            let own = Place::own(own_pos).filter(|_| has_own && !is_due);
            let own = own.and_then(|place| fitting(place, trailer.sections_at));
            // Without gaps one of them is what comes next; with gaps it is the lower one.
            let found = [in_slot, own].into_iter().flatten().min_by_key(|(_, header, _)| header.base_offset);
            let Some((place, header, bytes)) = found else {
                // Whose the rest is cannot be told without the block list.
                run.last_offset = Offset(next.0.saturating_sub(1));
                if run.block_count > 0 {
                    index.runs.push(run);
                }
                is_cut = true;
                break 'runs;
            };
            if place.slot().is_some() {
                lent.pop_front();
            } else {
                own_pos += bytes.len() as u64;
            }
            if run.block_count == 0 {
                run.pos = place.pos();
            }
            index.blocks.push(Block {
                first_offset: header.base_offset,
                place,
                bytes: bytes.len() as u32,
                crc: crc::crc32c(&bytes),
                max_timestamp_ms: header.max_timestamp_ms,
            });
            run.block_count += 1;
            run.bytes += bytes.len() as u64;
            run.max_timestamp_ms = run.max_timestamp_ms.max(header.max_timestamp_ms);
            next = header.next_offset();
        }
        index.runs.push(run);
    }
    let overlap = || FormatError::damaged(trailer.sections_at, "batches stand over one another");
    index.slots = slots_of(&index.blocks).ok_or_else(overlap)?;
    Ok((index, is_cut || own_pos != trailer.sections_at))
}

/// The batch at `pos`, if its own checksum is right.
fn next_batch(file: BlobName, pos: u64, end: u64, read: &mut ReadAt<'_>) -> Option<(Header, Bytes)> {
    let header = Header::read(&read(file, pos, batch::HEADER_BYTES as u64)?)?;
    let fits = header.bytes >= batch::HEADER_BYTES
        && pos.checked_add(header.bytes as u64).is_some_and(|batch_end| batch_end <= end)
        && header.last_offset_delta >= 0;
    // Below the bound no sum of an offset and a count overflows.
    let bytes = read(file, pos, header.bytes as u64).filter(|_| fits && header.base_offset.0 <= i64::MAX as u64)?;
    let good = bytes.len() == header.bytes && crc::crc32c(&bytes[batch::CRC_START..]) == header.crc;
    good.then_some((header, bytes))
}

/// Undoes one flipped bit, if that is what is wrong.
fn mend(bytes: &mut [u8], crc: u32) {
    if crc::crc32c(bytes) == crc || bytes.len() > TRIED_BYTES_MAX {
        return;
    }
    let mended = flipped(bytes).find(|flipped| crc::crc32c(flipped) == crc);
    if let Some(mended) = mended {
        bytes.copy_from_slice(&mended);
    }
}

/// The bytes with each of their bits flipped in turn.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}
