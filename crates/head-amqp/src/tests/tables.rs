// SPDX-License-Identifier: Apache-2.0
//! Tables: every depth, every lie about a length, every end that comes too early.

use crate::wire::sample::{Sample, Sampler};
use crate::wire::table::NESTING_MAX;
use crate::wire::{Array, Malformed, Table, TableWriter, Value};
use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

/// `depth` tables within each other, or arrays, the lengths true.
fn nested(depth: usize, tag: u8) -> Bytes {
    let head = if tag == b'F' { 6 } else { 5 };
    let mut out = BytesMut::new();
    for inner in (0..depth - 1).rev() {
        if tag == b'F' {
            out.put_slice(&[0]);
        }
        out.put_u8(tag);
        out.put_u32((inner * head) as u32);
    }
    out.freeze()
}

#[test]
fn as_deep_as_the_bound_is_read_and_deeper_is_refused() {
    for depth in 1..=NESTING_MAX {
        assert!(Table::new(nested(depth, b'F')).is_ok(), "{depth}");
        assert!(Array::new(nested(depth, b'A')).is_ok(), "{depth}");
    }
    for depth in [NESTING_MAX + 1, 10_000, 1_000_000] {
        assert_eq!(Table::new(nested(depth, b'F')), Err(Malformed::TooDeep), "{depth}");
        assert_eq!(Array::new(nested(depth, b'A')), Err(Malformed::TooDeep), "{depth}");
    }
    let deepest = Table::new(nested(NESTING_MAX, b'F')).unwrap();
    assert_eq!(format!("{deepest:?}").matches('{').count(), NESTING_MAX);
}

#[test]
fn a_value_that_reaches_beyond_its_own_table_is_refused() {
    // A table that holds a table of one byte, in which stands a whole boolean.
    let bytes = [&[1, b'a', b'F', 0, 0, 0, 3][..], &[1, b'b', b't', 1]].concat();
    assert_eq!(Table::new(bytes.into()), Err(Malformed::Short));
}

#[test]
fn names_repeat_and_order_stays() {
    let table = TableWriter::new().string("b", "1").field("a", &Value::Void).string("b", "2").table();
    let names: Vec<String> = table.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["b", "a", "b"]);
    assert_eq!(table.get("b"), Some(Value::String(Bytes::from_static(b"1"))));
    assert_eq!(table.get("c"), None);
}

#[test]
fn numbers_are_one_number_whatever_their_width() {
    let same = [Value::I8(5), Value::U8(5), Value::I16(5), Value::U16(5), Value::I32(5), Value::U32(5), Value::I64(5)];
    assert!(same.iter().all(|value| value.as_integer() == Some(5)));
    assert_eq!(Value::Timestamp(5).as_integer(), None);
}

/// Counts everything in it, to the bottom.
fn count(table: &Table) -> usize {
    fn of(value: &Value) -> usize {
        1 + match value {
            Value::Table(table) => count(table),
            Value::Array(array) => array.iter().map(|value| of(&value)).sum(),
            _ => 0,
        }
    }
    table.iter().map(|(_, value)| of(&value)).sum()
}

proptest! {
    #[test]
    fn any_bytes_are_a_table_or_not(bytes in any::<Vec<u8>>()) {
        let length = bytes.len();
        if let Ok(table) = Table::new(bytes.into()) {
            prop_assert!(count(&table) <= length);
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_written_again_the_same(bytes in any::<Vec<u8>>()) {
        let table = Table::sample(&mut Sampler::new(bytes));
        let mut writer = TableWriter::new();
        for (name, value) in table.iter() {
            writer = writer.field(name.as_str().unwrap(), &value);
        }
        prop_assert_eq!(writer.table(), table);
    }

    #[test]
    fn a_table_cut_anywhere_is_refused_or_is_the_fields_before_the_cut(bytes in any::<Vec<u8>>()) {
        let table = Table::sample(&mut Sampler::new(bytes));
        let whole: Vec<_> = table.iter().collect();
        for end in 0..table.as_bytes().len() {
            if let Ok(cut) = Table::new(Bytes::copy_from_slice(&table.as_bytes()[..end])) {
                let kept: Vec<_> = cut.iter().collect();
                prop_assert_eq!(&kept[..], &whole[..kept.len()]);
            }
        }
    }
}
