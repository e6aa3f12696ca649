// SPDX-License-Identifier: Apache-2.0
//! The codec: bytes to messages and back.
//!
//! Owns: framing, headers, the primitive types in their plain and compact forms, the messages, the error numbers.
//! Must not know: the kernel, sessions, what any message is for.
//!
//! Every message is written by hand from the protocol's published tables (one file each in `messages/`), because a request is
//! outside input: reading one copies no record, allocates nothing on an announced count, and stops at a bound on what it may
//! allocate at all (`reader.rs`). The tests read and write every version against an independent implementation.

pub mod api_key;
pub mod error_code;
pub mod field;
pub mod frame;
pub mod messages;
pub mod reader;
#[cfg(test)]
pub mod sample;
pub mod text;
pub mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use field::{Field, Nullable, Records, Uuid};
pub use reader::{Malformed, Reader};
pub use text::Text;
pub use writer::Writer;

/// How a message is laid out: its version, and whether that version is a "flexible" one (compact lengths, tagged fields).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub version: i16,
    pub flexible: bool,
}
