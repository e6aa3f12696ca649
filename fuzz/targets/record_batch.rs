// SPDX-License-Identifier: Apache-2.0
//! A batch from outside: refused, or taken and then walked, inflated where it is compressed.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use model::batch::{self, Batch, CRC_START, HEADER_BYTES, LENGTH_END, Records};
use model::crc;

fuzz_target!(|data: &[u8]| {
    taken(data);
    if data.len() < HEADER_BYTES {
        return;
    }
    // The same with length and checksum made right: chance finds neither.
    let mut sealed = data.to_vec();
    let length = (sealed.len() - LENGTH_END) as u32;
    sealed[8..12].copy_from_slice(&length.to_be_bytes());
    sealed[16] = 2;
    let sum = crc::crc32c(&sealed[CRC_START..]);
    sealed[17..21].copy_from_slice(&sum.to_be_bytes());
    taken(&sealed);
});

fn taken(data: &[u8]) {
    let Ok(taken) = Batch::check(Bytes::copy_from_slice(data), 1 << 20) else { return };
    if let Ok(records) = batch::inflate(taken.bytes(), taken.header()) {
        let mut count = 0i32;
        for record in Records::of(&records, taken.header()) {
            if record.is_err() {
                return;
            }
            count += 1;
        }
        assert!(count <= taken.header().record_count);
    }
}
