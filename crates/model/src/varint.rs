// SPDX-License-Identifier: Apache-2.0
//! Variable-length integers: 7 bits a byte, low bits first. Signed ones are zigzagged, as in Kafka's records.

/// Reads an unsigned varint of at most 5 bytes. `None` when the bytes end first or the number does not fit.
pub fn read_u32(bytes: &mut &[u8]) -> Option<u32> {
    let value = read_u64_within(bytes, 5)?;
    u32::try_from(value).ok()
}

/// Reads an unsigned varint of at most 10 bytes.
pub fn read_u64(bytes: &mut &[u8]) -> Option<u64> {
    read_u64_within(bytes, 10)
}

/// Reads a zigzagged varint that must fit an `i32`.
pub fn read_i32(bytes: &mut &[u8]) -> Option<i32> {
    let value = read_u32(bytes)?;
    Some((value >> 1) as i32 ^ -((value & 1) as i32))
}

/// Reads a zigzagged varint that must fit an `i64`.
pub fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    let value = read_u64(bytes)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Appends an unsigned varint.
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzagged varint.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn read_u64_within(bytes: &mut &[u8], length_max: usize) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..length_max {
        let byte = *bytes.get(index)?;
        let part = u64::from(byte & 0x7f);
        if index == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any::<i64>(), rest in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            out.extend_from_slice(&rest);
            let mut bytes = out.as_slice();
            prop_assert_eq!(read_i64(&mut bytes), Some(value));
            prop_assert_eq!(bytes, rest.as_slice());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let (mut a, mut b) = (bytes.as_slice(), bytes.as_slice());
            let (_, _) = (read_i32(&mut a), read_u64(&mut b));
        }
    }

    #[test]
    fn an_endless_or_cut_varint_is_refused() {
        assert_eq!(read_u32(&mut [0xff; 16].as_slice()), None);
        assert_eq!(read_u64(&mut [0xff; 16].as_slice()), None);
        assert_eq!(read_u64(&mut [0x80].as_slice()), None);
        assert_eq!(read_u32(&mut [0xff, 0xff, 0xff, 0xff, 0x7f].as_slice()), None, "35 bits do not fit 32");
    }
}
