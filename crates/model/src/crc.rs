// SPDX-License-Identifier: Apache-2.0
//! CRC-32C (Castagnoli): the one checksum of record batches, WAL frames, segment blocks and checkpoints.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of one piece.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The checksum of the pieces as if they were one.
pub fn crc32c_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_of([b"1234".as_slice(), b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }
}
