// SPDX-License-Identifier: Apache-2.0
//! A connection's bytes as AMQP frames: methods, headers, properties and tables are read or refused; what is read is written again
//! and then read the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use head_amqp::wire::{ContentHeader, Method, Properties, Table, Value, Writer, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = BytesMut::from(data);
    while let Ok(Some(came)) = frame::next(&mut input, 131_072) {
        match came.kind {
            frame::METHOD => {
                if let Ok(method) = Method::read(came.payload) {
                    let mut out = BytesMut::new();
                    method.write(&mut Writer::new(&mut out));
                    assert_eq!(Method::read(out.freeze()), Ok(method));
                }
            }
            frame::HEADER => {
                if let Ok(header) = ContentHeader::read(came.payload) {
                    properties(header.properties);
                }
            }
            _ => {}
        }
    }
    properties(Bytes::copy_from_slice(data));
    if let Ok(table) = Table::new(Bytes::copy_from_slice(data)) {
        walk(&Value::Table(table));
    }
});

fn properties(bytes: Bytes) {
    if let Ok(properties) = Properties::new(bytes.clone()) {
        assert_eq!(frame::properties_bytes(&properties), bytes);
        if let Some(headers) = properties.headers {
            walk(&Value::Table(headers));
        }
    }
}

fn walk(value: &Value) {
    match value {
        Value::Table(table) => table.iter().for_each(|(_, value)| walk(&value)),
        Value::Array(array) => array.iter().for_each(|value| walk(&value)),
        _ => {}
    }
}
