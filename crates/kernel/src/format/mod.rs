// SPDX-License-Identifier: Apache-2.0
//! Bytes on media, drawn at the head of each file, one folder a version. Fixtures in `testdata/` are never edited.
//!
//! Owns: layouts, their encoders and decoders. Must not know: where the bytes come from or what they are for.
//! Decoders are total: any bytes at all give a value or a [`FormatError`], and nothing is allocated on an announced length.

pub mod v1;

use crate::shard::OpenError;
use model::Corrupt;
use std::fmt;

/// Why bytes at rest were not understood. The reader adds the name of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// They are not what was written: where in the file, and what was expected and found.
    Damaged { at: u64, why: String },
    /// Written by a newer version: what this one does not know.
    Newer { feature: String },
}

impl FormatError {
    /// The reason not to open, with the file's name.
    pub fn named(self, name: impl fmt::Display) -> OpenError {
        let name = name.to_string();
        match self {
            FormatError::Damaged { at, why } => OpenError::Corrupt(Corrupt { name, at, why }),
            FormatError::Newer { feature } => OpenError::Newer { name, feature },
        }
    }

    pub(crate) fn damaged(at: u64, why: impl Into<String>) -> FormatError {
        FormatError::Damaged { at, why: why.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Damaged { at, why } => write!(f, "damaged at byte {at}: {why}"),
            FormatError::Newer { feature } => write!(f, "written by a newer version ({feature})"),
        }
    }
}

impl std::error::Error for FormatError {}
