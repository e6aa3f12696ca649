// SPDX-License-Identifier: Apache-2.0
//! Tools for a data directory that no broker has open: check it, show a file of it, save what is good of it.
//!
//! Owns: `fsck`, `inspect`, `salvage`, each with one entry function and a report that prints as text and as JSON.
//! Must not know: settings, sockets. The formats are the kernel's and the media's; nothing here lays out a byte.
//! `fsck` and `inspect` change nothing. `salvage` writes only into a new directory.

mod batches;
mod directory;
pub mod fsck;
pub mod inspect;
pub mod salvage;

#[cfg(test)]
mod tests;

use std::fmt;

/// Why a tool could not do its work. Exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotRun(pub String);

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CannotRun {}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the data directory.
    pub file: String,
    /// Byte in it.
    pub at: Option<u64>,
    pub what: String,
    pub consequence: String,
    /// Something is wrong. Otherwise it is only worth knowing.
    pub is_damage: bool,
}

impl Finding {
    pub fn damage(
        file: impl fmt::Display,
        at: impl Into<Option<u64>>,
        what: impl Into<String>,
        consequence: impl Into<String>,
    ) -> Finding {
        let (what, consequence) = (what.into(), consequence.into());
        Finding { file: file.to_string(), at: at.into(), what, consequence, is_damage: true }
    }

    pub fn note(
        file: impl fmt::Display,
        at: impl Into<Option<u64>>,
        what: impl Into<String>,
        consequence: impl Into<String>,
    ) -> Finding {
        Finding { is_damage: false, ..Finding::damage(file, at, what, consequence) }
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "file": self.file,
            "at": self.at,
            "what": self.what,
            "consequence": self.consequence,
            "damage": self.is_damage,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_damage { "damage" } else { "note" };
        write!(f, "{kind}: {}", self.file)?;
        if let Some(at) = self.at {
            write!(f, " at byte {at}")?;
        }
        write!(f, ": {}", self.what)?;
        if !self.consequence.is_empty() {
            write!(f, "\n    -> {}", self.consequence)?;
        }
        Ok(())
    }
}

/// `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `3 frames`, `1 frame`.
fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// `1.5 GiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
