// SPDX-License-Identifier: Apache-2.0
//! Bytes as text, in `testdata/`. A file is lines and, indented, what stands for them. `UPDATE_EXPECT=1` rewrites those of ours; the
//! bytes in `clients.txt` were made by client libraries, and are not ours to rewrite.

use crate::wire::frame;
use crate::wire::{ContentHeader, Malformed, Method, Properties, Reader, Table};
use bytes::{Bytes, BytesMut};
use std::fmt::Write;
use std::path::Path;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Bytes {
    let digits: String = text.split('#').next().unwrap_or("").chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("digits");
    (0..digits.len() / 2).map(byte).collect()
}

/// Lines that are not indented go through `answer`; the file must be what comes out.
pub fn play(name: &str, mut answer: impl FnMut(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata").join(name);
    let text = std::fs::read_to_string(&path).expect("the script");
    let mut came = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        writeln!(came, "{line}").expect("a string");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for shown in answer(line).lines() {
            writeln!(came, "  {}", shown.trim_end()).expect("a string");
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &came).expect("the script");
    }
    for (number, (expected, came)) in text.lines().zip(came.lines()).enumerate() {
        assert_eq!(came, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(came.lines().count(), text.lines().count(), "{name}");
}

fn payload_of(line: &str) -> Bytes {
    let mut out = BytesMut::new();
    if line.starts_with("properties") {
        return frame::properties_bytes(&Properties::parse(line));
    }
    Method::parse(line).write(&mut crate::wire::Writer::new(&mut out));
    out.freeze()
}

#[test]
fn every_method_has_its_bytes() {
    play("methods.txt", |line| {
        let payload = payload_of(line);
        assert_eq!(Method::read(payload.clone()).expect("read back").show(), line);
        hex(&payload)
    });
    let text = include_str!("../testdata/methods.txt");
    for (id, name) in Method::ALL {
        let there = text.lines().any(|line| line.split(' ').next() == Some(name));
        assert!(there, "{name} ({id}) is not in methods.txt");
    }
    assert_eq!(Method::ALL.len(), 66);
}

#[test]
fn properties_have_their_bytes() {
    play("properties.txt", |line| {
        let payload = payload_of(line);
        assert_eq!(Properties::new(payload.clone()).expect("read back").show(), line);
        hex(&payload)
    });
}

#[test]
fn clients_write_the_same_bytes() {
    let text = include_str!("../testdata/clients.txt");
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut count = 0;
    while let (Some(line), Some(bytes)) = (lines.next(), lines.next()) {
        let bytes = unhex(bytes);
        let (shown, again) = if line.starts_with("properties") {
            let properties = Properties::new(bytes.clone()).expect("properties");
            (properties.show(), frame::properties_bytes(&properties))
        } else {
            let method = Method::read(bytes.clone()).expect("a method");
            let mut out = BytesMut::new();
            method.write(&mut crate::wire::Writer::new(&mut out));
            (method.show(), out.freeze())
        };
        assert_eq!(shown, line);
        assert_eq!(hex(&again), hex(&bytes), "{line}");
        count += 1;
    }
    assert!(count > 80, "{count}");
}

#[test]
fn frames_are_read_or_refused() {
    play("frames.txt", |line| {
        let (bytes, frame_bytes_max) = line.split_once("max=").unwrap_or((line, "4096"));
        let mut input = BytesMut::from(&unhex(bytes)[..]);
        let mut shown = String::new();
        loop {
            match frame::next(&mut input, frame_bytes_max.parse().expect("a number")) {
                Ok(Some(came)) => writeln!(shown, "{}", show_frame(&came)).expect("a string"),
                Ok(None) if input.is_empty() => break,
                Ok(None) => {
                    writeln!(shown, "waits with {} bytes", input.len()).expect("a string");
                    break;
                }
                Err(why) => {
                    writeln!(shown, "{why:?}").expect("a string");
                    break;
                }
            }
        }
        shown
    });
}

fn show_frame(came: &frame::Frame) -> String {
    let channel = came.channel;
    match came.kind {
        frame::METHOD => match Method::read(came.payload.clone()) {
            Ok(method) => format!("{channel} {}", method.show()),
            Err(why) => format!("{channel} {why:?}"),
        },
        frame::HEADER => match ContentHeader::read(came.payload.clone()) {
            Err(why) => format!("{channel} header: {why}"),
            Ok(header) => match Properties::new(header.properties) {
                Ok(properties) => {
                    format!(
                        "{channel} header of {} bytes, class {}: {}",
                        header.body_bytes,
                        header.class_id,
                        properties.show()
                    )
                }
                Err(why) => {
                    format!("{channel} header of {} bytes, class {}: {why}", header.body_bytes, header.class_id)
                }
            },
        },
        frame::BODY => format!("{channel} body {}", hex(&came.payload)),
        frame::HEARTBEAT => format!("{channel} heartbeat {}", hex(&came.payload)),
        kind => format!("{channel} kind {kind}: {}", hex(&came.payload)),
    }
}

#[test]
fn tables_are_read_or_refused() {
    play("tables.txt", |line| {
        let read = |reader: &mut Reader| -> Result<Table, Malformed> { crate::wire::Field::read(reader) };
        match read(&mut Reader::new(unhex(line))) {
            Ok(table) => crate::wire::sample::Text::show(&table),
            Err(why) => why.to_string(),
        }
    });
}
