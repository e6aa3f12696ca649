// SPDX-License-Identifier: Apache-2.0
//! The codec: bytes to frames, methods, properties and tables, and back.
//!
//! Owns: framing, the field types, every method of AMQP 0-9-1 with RabbitMQ's extensions, the basic properties.
//! Must not know: the kernel, sessions, what any method is for.
//!
//! What is read stays where it arrived: strings, tables and bodies are slices of the received bytes. A table is checked once, in one
//! pass without recursion, and then walked over in place, so that nothing is allocated for it and its bytes go on unchanged. What
//! is written goes straight into the output buffer.
//!
//! Source: the AMQP 0-9-1 specification, and RabbitMQ's table of methods and its errata for the types of fields.

pub mod field;
pub mod frame;
pub mod methods;
pub mod properties;
pub mod reader;
#[cfg(test)]
pub mod sample;
pub mod short_string;
pub mod table;
pub mod writer;

pub use field::Field;
pub use frame::{ContentHeader, Frame, FrameError};
pub use methods::{Method, MethodId};
pub use properties::Properties;
pub use reader::{Malformed, Reader};
pub use short_string::ShortString;
pub use table::{Array, Table, TableWriter, Value};
pub use writer::Writer;
