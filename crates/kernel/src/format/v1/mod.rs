// SPDX-License-Identifier: Apache-2.0
//! Version 1 of all bytes that the kernel puts on media. Frozen with the first tagged release; later additions carry a feature
//! bit.

pub mod checkpoint;
pub mod entry;
pub(crate) mod fields;
pub mod head;
pub mod object;
pub mod segment;
