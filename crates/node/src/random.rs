// SPDX-License-Identifier: Apache-2.0
//! Random bits, from the system. The only file of the product that asks for them.

use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Fills an array.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // Not on any Linux of this century; the library's own source of random keys then has to do.
            Err(_) => {
                bytes[filled] = RandomState::new().build_hasher().finish() as u8;
                filled += 1;
            }
        }
    }
    bytes
}

/// 64 bits.
pub fn seed() -> u64 {
    u64::from_ne_bytes(bytes())
}
