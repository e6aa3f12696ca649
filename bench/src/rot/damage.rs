// SPDX-License-Identifier: Apache-2.0
//! One piece of damage in a data directory: which file, where, what.
//!
//! Owns: the choice, and the file's bytes before and after. Must not know: layouts.

use sim::rng::Rng;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was done.
pub struct Damage {
    /// Of the file, for the table.
    pub kind: &'static str,
    /// Relative to the directory; two of them when they were swapped.
    files: Vec<String>,
    what: What,
}

enum What {
    Bit { at: u64, bit: u8 },
    Garbage { at: u64, bytes: u64 },
    Truncated { to: u64, of: u64 },
    Swapped,
}

impl Damage {
    /// A report that says where is one that an operator can act upon.
    pub fn is_named_in(&self, report: &str) -> bool {
        self.files.iter().any(|file| report.contains(file.as_str()))
    }

    /// It hits more than one block.
    pub fn is_large(&self) -> bool {
        matches!(self.what, What::Truncated { .. } | What::Swapped)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.join(" and ");
        match self.what {
            What::Bit { at, bit } => write!(f, "{files}: bit {bit} of byte {at} flipped"),
            What::Garbage { at, bytes } => write!(f, "{files}: {bytes} bytes at {at} overwritten"),
            What::Truncated { to, of } => write!(f, "{files}: cut to {to} of {of} bytes"),
            What::Swapped => write!(f, "{files}: swapped"),
        }
    }
}

/// The kind of a file, by its folder; `None`: it holds nothing.
fn kind_of(file: &str) -> Option<&'static str> {
    match file.split('/').next()? {
        "identity" => Some("identity"),
        "wal" => Some("log slot"),
        "seg" => Some("segment"),
        "ckpt" => Some("checkpoint"),
        _ => None,
    }
}

/// Files below `root` with their lengths, by name.
fn files(root: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            let facts = entry.metadata()?;
            if facts.is_dir() {
                folders.push(name);
            } else {
                found.push((name.to_string_lossy().into_owned(), facts.len()));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for (file, _) in files(from)? {
        let target = to.join(&file);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from.join(&file), target)?;
    }
    Ok(())
}

/// Damages one file: every kind as often as every other, so that the small ones get their share.
pub fn inflict(root: &Path, rng: &mut Rng) -> io::Result<Damage> {
    let all: Vec<(String, u64, &'static str)> = files(root)?
        .into_iter()
        .filter_map(|(file, bytes)| Some((kind_of(&file)?, file, bytes)))
        .map(|(kind, file, bytes)| (file, bytes, kind))
        .collect();
    let kinds = ["checkpoint", "identity", "log slot", "segment"];
    // The identity is 64 bytes: a few pieces tell all.
    let wanted = if rng.once_in(12) { "identity" } else { kinds[[0, 2, 3][rng.below(3) as usize]] };
    let of_kind: Vec<&(String, u64, &'static str)> =
        all.iter().filter(|(_, bytes, kind)| *kind == wanted && *bytes > 0).collect();
    let Some((file, bytes, kind)) = of_kind.get(rng.below(of_kind.len() as u64) as usize).copied() else {
        return Err(io::Error::other(format!("there is no {wanted}")));
    };
    let path = root.join(file);
    let mut contents = fs::read(&path)?;
    // Most of a slot is free; its beginning holds more.
    let within = if *kind == "log slot" && rng.once_in(2) { (*bytes).min(256 * 1024) } else { *bytes };
    let at = rng.below(within);
    let (files, what) = match rng.below(10) {
        0..=5 => {
            let bit = rng.below(8) as u8;
            contents[at as usize] ^= 1 << bit;
            fs::write(&path, contents)?;
            (vec![file.clone()], What::Bit { at, bit })
        }
        6..=7 => {
            let count = rng.within(1..513).min(bytes - at);
            for byte in &mut contents[at as usize..(at + count) as usize] {
                *byte = rng.below(256) as u8;
            }
            fs::write(&path, contents)?;
            (vec![file.clone()], What::Garbage { at, bytes: count })
        }
        8 => {
            contents.truncate(at as usize);
            fs::write(&path, contents)?;
            (vec![file.clone()], What::Truncated { to: at, of: *bytes })
        }
        _ => {
            let others: Vec<&String> =
                of_kind.iter().map(|(other, _, _)| other).filter(|other| *other != file).collect();
            match others.get(rng.below(others.len() as u64) as usize) {
                Some(other) => {
                    let second = fs::read(root.join(other))?;
                    fs::write(root.join(other), contents)?;
                    fs::write(&path, second)?;
                    (vec![file.clone(), (*other).clone()], What::Swapped)
                }
                None => {
                    contents[at as usize] ^= 1;
                    fs::write(&path, contents)?;
                    (vec![file.clone()], What::Bit { at, bit: 0 })
                }
            }
        }
    };
    Ok(Damage { kind, files, what })
}
