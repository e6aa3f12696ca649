// SPDX-License-Identifier: Apache-2.0
//! The read-only API of a node: what is answered where, and the document that says so.
//!
//! Owns: the operations with their paths and parameters (`operation.rs`), the shapes of the answers (`shapes.rs`), the OpenAPI
//! document made from both (`document.rs`). Must not know: sockets, HTTP libraries, where the figures come from.
//!
//! A shape is declared once; its JSON and its schema come from that one declaration (`shape.rs`), so neither can say what the other
//! does not.

pub mod document;
pub mod operation;
mod shape;
pub mod shapes;

pub use document::document;
pub use operation::Operation;
pub use shapes::Problem;
