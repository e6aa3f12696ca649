// SPDX-License-Identifier: Apache-2.0
//! Segments against a plain list of batches, against every flipped bit, and against the bytes of the first release.

use super::*;
use model::LeaderEpoch;
use model::batch::{NewRecord, Numbering, build, patch};
use proptest::prelude::*;

const NAME: BlobName = BlobName { shard: ShardId(3), kind: BlobKind::Segment, number: 77 };
const EPOCH: ShardEpoch = ShardEpoch(9);

/// What a batch is to a segment.
#[derive(Clone, Debug)]
struct Piece {
    partition: u64,
    base: u64,
    last: u64,
    timestamp_ms: i64,
    bytes: Bytes,
}

fn write(pieces: &[Piece]) -> (Vec<u8>, SegmentIndex) {
    let mut writer = SegmentWriter::new(NAME, EPOCH);
    for piece in pieces {
        let (base, last) = (Offset(piece.base), Offset(piece.last));
        writer.push(PartitionId(piece.partition), &piece.bytes, base, last, piece.timestamp_ms);
    }
    let (parts, index) = writer.finish();
    (parts.concat(), index)
}

/// What `spill::segment_index::load` does, on bytes in memory.
fn read(file: &[u8], name: BlobName) -> Result<SegmentIndex, FormatError> {
    let length = file.len() as u64;
    FileHead::decode_named(file, name)?;
    let trailer = Trailer::decode(&file[file.len() - HEAD_BYTES.min(file.len())..], name, length)?;
    let (at, bytes) = trailer.footer();
    decode_footer(&trailer, &file[at as usize..(at + bytes) as usize], length)
}

fn piece(partition: u64, base: u64, count: u64, timestamp_ms: i64, bytes: usize) -> Piece {
    let seed = partition.wrapping_mul(31).wrapping_add(base);
    let bytes = (0..bytes).map(|at| (seed as u8).wrapping_add((at * 7) as u8)).collect::<Vec<u8>>().into();
    Piece { partition, base, last: base + (count - 1), timestamp_ms, bytes }
}

fn small() -> Vec<Piece> {
    vec![
        piece(2, 0, 3, 1_000, 100),
        piece(2, 3, 1, 900, 80),
        piece(2, 10, 5, 1_200, ALONE_BYTES),
        piece(2, 15, 1, 1_100, 61),
        piece(5, 7_000_000_000, 1, -4, 61),
        piece(u64::MAX, u64::MAX - 4, 2, i64::MAX, 99),
        piece(u64::MAX, u64::MAX, 1, i64::MIN, 99),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let bytes = prop_oneof![16 => 61..3_000usize, 3 => 20_000..70_000usize, 1 => 300_000..1_100_000usize];
    let step = (0..4u64, 0..3u64, 1..500u64, any::<i64>(), bytes);
    proptest::collection::vec(step, 0..60).prop_map(|steps| {
        let (mut partition, mut next) = (0, 0);
        steps
            .into_iter()
            .map(|(skip, gap, count, timestamp_ms, bytes)| {
                if skip == 3 {
                    (partition, next) = (partition + 1 + gap * 1_000_000_000_000, gap * 5_000_000_000);
                } else {
                    next += gap;
                }
                let piece = piece(partition, next, count, timestamp_ms, bytes);
                next += count;
                piece
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_segment_is_read_back_as_it_was_written(pieces in pieces()) {
        let (file, index) = write(&pieces);
        prop_assert_eq!(read(&file, NAME), Ok(index.clone()));
        let data = pieces.iter().map(|piece| piece.bytes.as_ref()).collect::<Vec<_>>().concat();
        prop_assert_eq!(&file[HEAD_BYTES..HEAD_BYTES + data.len()], data.as_slice());
        prop_assert_eq!(index.data_bytes, data.len() as u64);

        let mut partitions: Vec<u64> = pieces.iter().map(|piece| piece.partition).collect();
        partitions.dedup();
        prop_assert_eq!(index.runs.iter().map(|run| run.partition.0).collect::<Vec<_>>(), partitions.clone());
        for partition in partitions {
            let own: Vec<&Piece> = pieces.iter().filter(|piece| piece.partition == partition).collect();
            let [run] = index.runs_of(PartitionId(partition)) else { panic!("one run a partition") };
            prop_assert_eq!(run.first_offset.0, own[0].base);
            prop_assert_eq!(run.last_offset.0, own[own.len() - 1].last);
            prop_assert_eq!(run.max_timestamp_ms, own.iter().map(|piece| piece.timestamp_ms).max().unwrap());
            let mut at = run.pos;
            for block in index.blocks_of(run) {
                prop_assert_eq!(block.pos(), at);
                let bytes = &file[at as usize..][..block.bytes as usize];
                prop_assert_eq!(block.check(NAME, bytes), Ok(()));
                prop_assert!(block.bytes as usize <= BLOCK_BYTES
                    || own.iter().any(|piece| piece.base == block.first_offset.0 && piece.bytes.len() == bytes.len()));
                at += u64::from(block.bytes);
            }
            prop_assert_eq!(at, run.pos + run.bytes);
            // Whoever reads from the found block on comes to the batch that holds the offset.
            for piece in &own {
                for offset in [piece.base, piece.last] {
                    let block = index.blocks_from(run, Offset(offset))[0];
                    let of_block = own.iter().rfind(|piece| piece.base <= block.first_offset.0).unwrap();
                    prop_assert_eq!(of_block.base, block.first_offset.0);
                    let next = index.blocks_from(run, Offset(offset)).get(1);
                    prop_assert!(block.first_offset.0 <= offset && next.is_none_or(|next| next.first_offset.0 > piece.base));
                }
                let found = index.blocks_from_timestamp(run, piece.timestamp_ms)[0];
                prop_assert!(found.max_timestamp_ms >= piece.timestamp_ms && found.first_offset.0 <= piece.base);
            }
        }
        prop_assert!(index.runs_of(PartitionId(u64::MAX)).is_empty());
    }

    #[test]
    fn any_footer_bytes_give_an_index_or_an_error(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        runs in 0..20u32,
        blocks in 0..20u32,
    ) {
        // Checksums that fit, so that what lies behind them is reached.
        let (first, second) = noise.split_at(noise.len() / 2);
        let file = with_sections(&[(SECTION_RUNS, 1, first), (SECTION_BLOCKS, 1, second)], runs, blocks, &[7; 500]);
        let _ = read(&file, NAME);
        let _ = read(&noise, NAME);
    }
}

/// A segment of the given sections, every checksum right.
fn with_sections(sections: &[(u32, u32, &[u8])], runs: u32, blocks: u32, data: &[u8]) -> Vec<u8> {
    let head = FileHead::new(NAME, EPOCH);
    let mut file = head.encode().to_vec();
    file.extend_from_slice(data);
    let sections_at = file.len() as u64;
    let mut table = Vec::new();
    for (tag, flags, body) in sections {
        table.extend_from_slice(&tag.to_le_bytes());
        table.extend_from_slice(&flags.to_le_bytes());
        table.extend_from_slice(&(file.len() as u64).to_le_bytes());
        table.extend_from_slice(&(body.len() as u64).to_le_bytes());
        table.extend_from_slice(&crc::crc32c(body).to_le_bytes());
        table.extend_from_slice(&[0; 4]);
        file.extend_from_slice(body);
    }
    let trailer = Trailer {
        name: NAME,
        has_slots: sections.len() > 2 && sections[2].0 == SECTION_PLACES,
        sections: sections.len() as u16,
        sections_at,
        table_at: file.len() as u64,
        runs,
        blocks,
        table_crc: crc::crc32c(&table),
    };
    file.extend_from_slice(&table);
    file.extend_from_slice(&trailer.encode(&head));
    file
}

#[test]
fn every_flipped_bit_is_seen() {
    let (file, index) = write(&small());
    let data_end = (DATA_START + index.data_bytes) as usize;
    let mut flipped = file.clone();
    for at in (0..file.len()).filter(|at| *at < 4_000 || *at % 16 == 0 || *at >= data_end - 500) {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            let read = read(&flipped, NAME);
            if (HEAD_BYTES..data_end).contains(&at) {
                assert_eq!(read.as_ref(), Ok(&index), "records are not looked at: byte {at}");
                let bad: Vec<&Block> = index
                    .blocks
                    .iter()
                    .filter(|block| {
                        block.check(NAME, &flipped[block.pos() as usize..][..block.bytes as usize]).is_err()
                    })
                    .collect();
                assert!(matches!(bad.as_slice(), [block] if block.pos() as usize <= at), "byte {at} bit {bit}");
            } else {
                assert!(matches!(read, Err(FormatError::Damaged { .. })), "byte {at} bit {bit}: {read:?}");
            }
            flipped[at] ^= 1 << bit;
        }
    }
}

/// True batches, which a salvage looks into.
fn batches() -> Vec<Piece> {
    let piece = |(partition, base, count): (u64, u64, u64)| {
        let record = |at: u64| NewRecord {
            timestamp_ms: (base + at) as i64,
            key: None,
            value: Some(vec![partition as u8; 30].into()),
            headers: Vec::new(),
        };
        let mut bytes = build(&(0..count).map(record).collect::<Vec<_>>(), Numbering::NONE).bytes().to_vec();
        patch(&mut bytes, Offset(base), LeaderEpoch(1));
        let last = base + (count - 1);
        Piece { partition, base, last, timestamp_ms: last as i64, bytes: bytes.into() }
    };
    [(1, 0, 3), (1, 3, 700), (1, 703, 600), (1, 1400, 2), (6, 50, 1), (6, 51, 1), (900, 0, 9)].map(piece).into()
}

#[test]
fn one_flipped_bit_around_the_data_costs_nothing() {
    let pieces = batches();
    let (file, index) = write(&pieces);
    assert!(index.blocks.len() < pieces.len() && index.runs.len() == 3);
    let saved = |file: &[u8]| {
        let read = &mut |_: BlobName, at: u64, bytes: u64| {
            file.get(at as usize..)?.get(..bytes as usize).map(Bytes::copy_from_slice)
        };
        salvage_index(NAME, file.len() as u64, read)
    };
    assert_eq!(saved(&file), Ok((index.clone(), false)));
    let data_end = (DATA_START + index.data_bytes) as usize;
    for at in (0..HEAD_BYTES).chain(data_end..file.len()) {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(saved(&flipped), Ok((index.clone(), false)), "byte {at} bit {}", at % 8);
    }
    // More than a bit of the block list: made again, a batch a block.
    let mut rotten = file.clone();
    let blocks_at = file.len() - HEAD_BYTES - 2 * TABLE_ENTRY_BYTES - 8;
    rotten[blocks_at..blocks_at + 8].fill(0xee);
    let (remade, more) = saved(&rotten).unwrap();
    assert_eq!((remade.blocks.len(), more), (pieces.len(), false));
    let bounds = |index: &SegmentIndex| {
        index
            .runs
            .iter()
            .map(|run| (run.partition, run.first_offset, run.last_offset, run.pos, run.bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(bounds(&remade), bounds(&index));
    // And a batch besides: what stands before it is saved.
    rotten[index.blocks[2].pos() as usize + 70] ^= 1;
    let (remade, more) = saved(&rotten).unwrap();
    assert!(more && remade.blocks.len() < pieces.len(), "{remade:?}");
    // The run list: nothing tells whose the batches are.
    let mut rotten = file.clone();
    rotten[data_end..data_end + 4].fill(0xee);
    assert!(saved(&rotten).is_err());
    for length in (0..file.len()).filter(|length| length % 1009 == 0 || *length < 130) {
        let _ = saved(&file[..length]);
    }
}

#[test]
fn a_file_cut_or_grown_is_refused() {
    let (file, _) = write(&small());
    for length in (0..file.len()).filter(|length| *length < 500 || file.len() - length < 2_000 || length % 97 == 0) {
        assert!(matches!(read(&file[..length], NAME), Err(FormatError::Damaged { .. })), "cut to {length}");
    }
    for more in [1, 63, 64, 4096] {
        let grown = [file.as_slice(), &vec![0; more]].concat();
        assert!(matches!(read(&grown, NAME), Err(FormatError::Damaged { .. })), "{more} bytes more");
    }
    assert!(read(&vec![0; 8192], NAME).is_err(), "zeroes are no segment");
}

#[test]
fn a_segment_under_another_name_is_refused() {
    let (file, _) = write(&small());
    for name in [
        BlobName { number: 78, ..NAME },
        BlobName { shard: ShardId(0), ..NAME },
        BlobName { kind: BlobKind::Checkpoint, ..NAME },
    ] {
        let refused = read(&file, name);
        assert_eq!(refused, Err(FormatError::damaged(0, "the file says it is seg/03/000000000077")), "{name}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_name() {
    let (file, _) = write(&small());
    let reseal = |at: usize, field: usize, value: u8| {
        let mut file = file.clone();
        file[at + field] = value;
        let crc = crc::crc32c(&file[at..at + HEAD_BYTES - 4]);
        file[at + HEAD_BYTES - 4..at + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        file
    };
    let trailer = file.len() - HEAD_BYTES;
    for at in [0, trailer] {
        let newer = |feature: &str| Err(FormatError::Newer { feature: feature.to_owned() });
        assert_eq!(read(&reseal(at, 8, 2), NAME), newer("format version 2"));
        assert_eq!(read(&reseal(at, 16, 4), NAME), newer("feature bits 0x00000004"));
        assert!(read(&reseal(at, 20, 4), NAME).is_ok(), "a compatible feature may be ignored");
    }
}

#[test]
fn an_unknown_section_is_skipped_unless_it_must_be_understood() {
    let known: [(u32, u32, &[u8]); 2] = [(SECTION_RUNS, 1, &[]), (SECTION_BLOCKS, 1, &[])];
    let extra = |flags: u32| with_sections(&[known[0], (99, flags, b"of a later version"), known[1]], 0, 0, &[]);
    assert_eq!(read(&extra(0), NAME).map(|index| index.runs.len()), Ok(0));
    assert_eq!(read(&extra(1), NAME), Err(FormatError::Newer { feature: "segment section 99".to_owned() }));
    let mut rotten = extra(0);
    rotten[HEAD_BYTES] ^= 1;
    assert!(matches!(read(&rotten, NAME), Err(FormatError::Damaged { .. })), "a skipped section is checked too");
}

#[test]
fn small_batches_are_gathered_and_large_ones_are_not_copied() {
    let large = piece(1, 0, 1, 0, 3 * BLOCK_BYTES);
    let mut writer = SegmentWriter::new(NAME, EPOCH);
    writer.push(PartitionId(1), &large.bytes, Offset(0), Offset(0), 0);
    for offset in 1..20_000 {
        let small = piece(1, offset, 1, 0, 230);
        writer.push(PartitionId(1), &small.bytes, Offset(offset), Offset(offset), 0);
    }
    let (parts, index) = writer.finish();
    assert_eq!(parts[1].as_ptr(), large.bytes.as_ptr());
    assert_eq!(index.blocks[0].bytes as usize, large.bytes.len());
    assert_eq!(index.blocks[1].bytes, 284 * 230, "as many whole batches as fit 64 KiB");
    assert!(parts.len() < 9, "{} parts for 4.6 MB", parts.len());
}

#[test]
fn a_partition_may_have_several_runs() {
    let mut writer = SegmentWriter::new(NAME, EPOCH);
    for (base, ends) in [(0, false), (5, true), (9, false), (20, true)] {
        let piece = piece(4, base, 4, 0, 61);
        writer.push(PartitionId(4), &piece.bytes, Offset(base), Offset(piece.last), 0);
        if ends {
            writer.end_run();
        }
    }
    let (parts, index) = writer.finish();
    assert_eq!(read(&parts.concat(), NAME), Ok(index.clone()));
    let runs: Vec<(u64, u64)> =
        index.runs_of(PartitionId(4)).iter().map(|run| (run.first_offset.0, run.last_offset.0)).collect();
    assert_eq!(runs, [(0, 8), (9, 23)]);
}

#[test]
#[should_panic = "batches of a partition come by offset"]
fn overlapping_batches_are_never_written() {
    write(&[piece(1, 0, 5, 0, 61), piece(1, 4, 1, 0, 61)]);
}

/// Made by version 1. Never edited: a change of layout gets a version or a feature bit, and a fixture of its own.
const FIXTURE: &[u8] = include_bytes!("../testdata/segment.bin");

#[test]
fn the_bytes_of_version_1_stay() {
    let mut pieces = small();
    pieces.remove(2);
    let (file, index) = write(&pieces);
    assert_eq!(read(FIXTURE, NAME), Ok(index));
    assert_eq!(file, FIXTURE);
}

/// Bytes between the batches of a slot, and before them, that are none of the segment's.
const BETWEEN: usize = 88;

/// Two slots of the log by number.
type Slots = std::collections::BTreeMap<u32, Vec<u8>>;

/// Every third piece is written to the data area, the others stand in two slots: the last first, with other bytes around them.
fn write_lent(pieces: &[Piece]) -> (Vec<u8>, Slots, SegmentIndex) {
    let mut slots = Slots::new();
    let mut places = vec![None; pieces.len()];
    for (number, piece) in pieces.iter().enumerate().rev().filter(|(number, _)| number % 3 != 1) {
        let slot = if number % 3 == 0 { 7 } else { 40_000 };
        let file = slots.entry(slot).or_insert_with(|| vec![0x5a; 4096]);
        places[number] = Place::in_slot(slot, file.len() as u64);
        file.extend_from_slice(&piece.bytes);
        file.extend_from_slice(&[0xa5; BETWEEN]);
    }
    let mut writer = SegmentWriter::new(NAME, EPOCH);
    for (piece, place) in pieces.iter().zip(places) {
        let (partition, base, last) = (PartitionId(piece.partition), Offset(piece.base), Offset(piece.last));
        match place {
            Some(place) => writer.push_lent(partition, &piece.bytes, place, (base, last), piece.timestamp_ms),
            None => writer.push(partition, &piece.bytes, base, last, piece.timestamp_ms),
        }
    }
    let (parts, index) = writer.finish();
    (parts.concat(), slots, index)
}

/// The bytes of a block, wherever it stands.
fn bytes_of<'a>(file: &'a [u8], slots: &'a Slots, block: &Block) -> &'a [u8] {
    let file = block.place.slot().map_or(file, |slot| &slots[&slot]);
    &file[block.pos() as usize..block.end() as usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_segment_is_read_back_wherever_its_batches_stand(pieces in pieces()) {
        let (file, slots, index) = write_lent(&pieces);
        prop_assert_eq!(read(&file, NAME), Ok(index.clone()));
        prop_assert_eq!(index.file_bytes, file.len() as u64);
        let own: u64 = pieces.iter().skip(1).step_by(3).map(|piece| piece.bytes.len() as u64).sum();
        prop_assert_eq!(index.data_bytes, own);
        for lent in &index.slots {
            prop_assert_eq!(lent.bytes, (slots[&lent.slot].len() - BETWEEN) as u64);
        }
        prop_assert_eq!(index.slots.len(), slots.len());
        let mut stored = Vec::new();
        for run in &index.runs {
            let blocks = index.blocks_of(run);
            prop_assert_eq!(run.pos, blocks[0].pos());
            prop_assert_eq!(run.bytes, blocks.iter().map(|block| u64::from(block.bytes)).sum::<u64>());
            for block in blocks {
                let bytes = bytes_of(&file, &slots, block);
                prop_assert_eq!(block.check(NAME, bytes), Ok(()));
                stored.extend_from_slice(bytes);
            }
        }
        // As if all of it stood in the data area.
        let whole = pieces.iter().map(|piece| piece.bytes.as_ref()).collect::<Vec<_>>().concat();
        prop_assert!(stored == whole);
    }

    #[test]
    fn any_places_give_an_index_or_an_error(noise in proptest::collection::vec(any::<u8>(), 0..200), blocks in 0..9u32) {
        let third = noise.len() / 3;
        let (first, rest) = noise.split_at(third);
        let (second, places) = rest.split_at(third);
        let sections = [(SECTION_RUNS, 1, first), (SECTION_BLOCKS, 1, second), (SECTION_PLACES, 1, places)];
        let _ = read(&with_sections(&sections, 2, blocks, &[7; 500]), NAME);
    }
}

#[test]
fn a_place_says_which_file_and_where() {
    for (slot, pos) in [(None, 0), (None, 1 << 43), (Some(0), 64), (Some(1_048_574), (1 << 44) - 1)] {
        let place = slot.map_or(Place::own(pos), |slot| Place::in_slot(slot, pos)).unwrap();
        assert_eq!((place.slot(), place.pos()), (slot, pos));
    }
    assert_eq!((Place::own(1 << 44), Place::in_slot(0, 1 << 44), Place::in_slot(1_048_575, 0)), (None, None, None));
    assert_eq!(size_of::<Block>(), 32);
}

#[test]
fn every_flipped_bit_of_a_segment_and_its_slots_that_matters_is_seen() {
    let (file, slots, index) = write_lent(&small());
    let data_end = (DATA_START + index.data_bytes) as usize;
    let mut flipped = file.clone();
    for at in 0..file.len() {
        let bit = 1 << (at % 8);
        flipped[at] ^= bit;
        let read = read(&flipped, NAME);
        if (HEAD_BYTES..data_end).contains(&at) {
            assert_eq!(read.as_ref(), Ok(&index), "records are not looked at: byte {at}");
            let bad = index.blocks.iter().filter(|block| block.check(NAME, bytes_of(&flipped, &slots, block)).is_err());
            assert_eq!(bad.count(), 1, "byte {at}");
        } else {
            assert!(matches!(read, Err(FormatError::Damaged { .. })), "byte {at}: {read:?}");
        }
        flipped[at] ^= bit;
    }
    for (slot, bytes) in &slots {
        for at in (0..bytes.len()).step_by(7) {
            let mut rotten = slots.clone();
            rotten.get_mut(slot).unwrap()[at] ^= 1 << (at % 8);
            let is_its =
                |block: &&Block| block.place.slot() == Some(*slot) && (block.pos()..block.end()).contains(&(at as u64));
            for block in &index.blocks {
                let checked = block.check(NAME, bytes_of(&file, &rotten, block));
                let named = checked.map_err(|corrupt| (corrupt.name, corrupt.at));
                let expected = Some(block).filter(is_its).map(|block| (format!("wal/03/{slot:04}"), block.pos()));
                assert_eq!(named, expected.map_or(Ok(()), Err), "slot {slot} byte {at}");
            }
        }
    }
}

#[test]
fn a_segment_whose_blocks_stand_over_one_another_is_refused() {
    let mut section_runs = Vec::new();
    for value in [4, 0, 9, 2] {
        varint::write_u64(&mut section_runs, value);
    }
    let refused = |places: &[u64], data: usize| {
        let mut section_blocks = Vec::new();
        for distance in [None, Some(5)] {
            distance.into_iter().for_each(|distance| varint::write_u64(&mut section_blocks, distance));
            varint::write_u64(&mut section_blocks, 100);
            varint::write_i64(&mut section_blocks, 0);
            section_blocks.extend_from_slice(&[0; 4]);
        }
        let mut section_places = Vec::new();
        places.iter().for_each(|place| varint::write_u64(&mut section_places, *place));
        let sections = [(SECTION_RUNS, 1, &section_runs[..]), (SECTION_BLOCKS, 1, &section_blocks)];
        let sections = [sections[0], sections[1], (SECTION_PLACES, 1, &section_places)];
        read(&with_sections(&sections, 1, 2, &vec![7; data]), NAME).map(|index| index.blocks.len())
    };
    assert_eq!(refused(&[1, 64, 1, 164], 0), Ok(2));
    assert_eq!(refused(&[1, 700, 1, 500], 0), Ok(2));
    assert_eq!(refused(&[1, 64, 2, 64], 0), Ok(2), "they are of two slots");
    assert_eq!(refused(&[0, 1, 64], 100), Ok(2));
    let too_large = [1 << 20, 64, 1, 64];
    let damaged: [(&[u64], usize); 8] = [
        (&[1, 64, 1, 163], 0),
        (&[1, 500, 1, 401], 0),
        (&[1, 300, 1, (1 << 44) - 50], 0),
        (&[1, 300, 1, u64::MAX], 0),
        (&[0, 1, 64], 99),
        (&[0, 1, 64], 200),
        (&[1, 64, 1, 164, 0], 0),
        (&too_large, 0),
    ];
    for (places, data) in damaged {
        assert!(matches!(refused(places, data), Err(FormatError::Damaged { .. })), "{places:?}");
    }
}

#[test]
fn one_flipped_bit_around_a_segment_with_slots_costs_nothing() {
    let pieces = batches();
    let (file, slots, index) = write_lent(&pieces);
    let saved = |file: &[u8]| {
        let read = &mut |name: BlobName, at: u64, bytes: u64| {
            let file = if name.kind == BlobKind::Slot { slots.get(&(name.number as u32))? } else { file };
            file.get(at as usize..)?.get(..bytes as usize).map(Bytes::copy_from_slice)
        };
        salvage_index(NAME, file.len() as u64, read)
    };
    let data_end = (DATA_START + index.data_bytes) as usize;
    for at in (0..HEAD_BYTES).chain(data_end..file.len()) {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_eq!(saved(&flipped), Ok((index.clone(), false)), "byte {at} bit {}", at % 8);
    }
    let section = |tag: u32| {
        let trailer = Trailer::decode(&file[file.len() - HEAD_BYTES..], NAME, file.len() as u64).unwrap();
        let (at, bytes) = trailer.footer();
        let sections = decode_sections(&trailer, &file[at as usize..(at + bytes) as usize]).unwrap();
        sections.iter().find(|(section, _)| section.tag == tag).unwrap().0.at as usize
    };
    // More than a bit of the block list: made again from the places and the batches.
    let mut rotten = file.clone();
    rotten[section(SECTION_BLOCKS) + 8..][..8].fill(0xee);
    assert_eq!(saved(&rotten), Ok((index, false)));
    // Of the places: where the batches stand is not known any more.
    let mut rotten = file.clone();
    rotten[section(SECTION_PLACES)..][..4].fill(0xee);
    assert!(saved(&rotten).is_err());
}

#[test]
#[should_panic = "batches do not overlap"]
fn batches_over_one_another_are_never_referred_to() {
    let mut writer = SegmentWriter::new(NAME, EPOCH);
    for (offset, pos) in [(0, 5_000), (1, 5_060)] {
        let place = Place::in_slot(3, pos).unwrap();
        writer.push_lent(PartitionId(1), &piece(1, offset, 1, 0, 61).bytes, place, (Offset(offset), Offset(offset)), 0);
    }
    writer.finish();
}

/// Made when slots came; never edited.
const SLOTS_FIXTURE: &[u8] = include_bytes!("../testdata/segment_slots.bin");

#[test]
fn the_bytes_of_a_segment_with_slots_stay() {
    let mut pieces = small();
    pieces.remove(2);
    let (file, _, index) = write_lent(&pieces);
    assert_eq!(read(SLOTS_FIXTURE, NAME), Ok(index));
    assert_eq!(file, SLOTS_FIXTURE);
}
