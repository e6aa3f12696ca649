// SPDX-License-Identifier: Apache-2.0
//! Error kinds, grouped by who must act. Each operation has a small enum of its own; `kind()` folds it for metrics and logs.

use std::fmt;

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The client sent something wrong: it must change the request.
    Invalid,
    /// The thing named does not exist (any more).
    NotFound,
    /// The principal may not.
    Denied,
    /// Another life of the sender or of the owner has taken over.
    Fenced,
    /// Try again later: a bound is reached or a part is not ready.
    Unavailable,
    /// The medium refused: no space, or an I/O error. The operator must act.
    Storage,
    /// Bytes at rest are wrong. The operator must act.
    Corrupt,
}

/// Bytes at rest that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// File or object, relative to the data directory or bucket.
    pub name: String,
    /// Byte position in it at which the damage was found.
    pub at: u64,
    /// What was expected and what stood there.
    pub why: String,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt: {} at byte {}: {}", self.name, self.at, self.why)
    }
}

impl std::error::Error for Corrupt {}
