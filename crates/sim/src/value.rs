// SPDX-License-Identifier: Apache-2.0
//! Payloads that say who they are: every record carries a number that no other record of the history has, and bytes that follow
//! from it, so that a reader knows at once whether what it got was ever sent, and whole.
//!
//! Layout: `number u64 | length u32 | filling`, big-endian. The filling follows from the number.

use crate::rng::scatter;

/// Shortest payload.
pub const VALUE_BYTES_MIN: usize = 12;

/// The numbers that a client gives to its records grow from here on: a client's records are ordered by number.
pub fn first_of_client(client: u32) -> u64 {
    (u64::from(client) + 1) << 40
}

/// The payload of that number, of at least [`VALUE_BYTES_MIN`] bytes.
pub fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let bytes = bytes.max(VALUE_BYTES_MIN);
    let mut out = Vec::with_capacity(bytes + 8);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&(bytes as u32).to_be_bytes());
    let mut word = scatter(number);
    while out.len() < bytes {
        out.extend_from_slice(&word.to_be_bytes());
        word = word.rotate_left(17).wrapping_add(number);
    }
    out.truncate(bytes);
    out
}

/// The number of a payload; `None` when it is not one that [`payload`] made.
pub fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(*bytes.first_chunk()?);
    let length = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    if length as usize != bytes.len() {
        return None;
    }
    let mut word = scatter(number);
    for piece in bytes[VALUE_BYTES_MIN..].chunks(8) {
        if piece != &word.to_be_bytes()[..piece.len()] {
            return None;
        }
        word = word.rotate_left(17).wrapping_add(number);
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_its_number_back_and_no_other_bytes_do() {
        for bytes in [0, 12, 13, 20, 100, 5000] {
            let good = payload(42, bytes);
            assert_eq!(good.len(), bytes.max(VALUE_BYTES_MIN));
            assert_eq!(number_of(&good), Some(42));
            let last = good.len() - 1;
            let mut bad = good.clone();
            bad[last] ^= 1;
            assert_eq!(number_of(&bad), None, "a flipped bit in {bytes} bytes");
            assert_eq!(number_of(&good[..last]), None, "a byte less of {bytes}");
        }
    }
}
