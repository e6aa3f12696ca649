// SPDX-License-Identifier: Apache-2.0
//! The page of figures, `docs/benchmarks.md`: prose by hand, and between two marks what a command makes of its raw results.
//!
//! Owns: where the page is, what the marks look like, that only what stands between them changes. Must not know: what a table says.

use std::fs;
use std::path::{Path, PathBuf};

/// Puts `tables` between the marks of `command` and writes the page.
///
/// # Errors
/// A sentence: the page cannot be read or written, or has lost its marks.
pub fn write(root: &Path, command: &str, tables: &str) -> Result<(), String> {
    let page = place(root);
    let text = read(&page)?;
    let renewed =
        replace(&text, command, tables).ok_or_else(|| format!("{} has lost its marks of {command}", page.display()))?;
    fs::write(&page, renewed).map_err(|error| format!("{}: {error}", page.display()))?;
    println!("table: {}", page.display());
    Ok(())
}

/// Whether the page was made from the results that are there: a test of each table.
#[cfg(test)]
pub fn assert_shown(root: &Path, command: &str, tables: &str) {
    let text = read(&place(root)).unwrap();
    assert!(replace(&text, command, tables).as_ref() == Some(&text), "run `cargo xtask bench table`");
}

fn read(page: &Path) -> Result<String, String> {
    fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))
}

fn place(root: &Path) -> PathBuf {
    root.join("docs").join("benchmarks.md")
}

fn replace(page: &str, command: &str, tables: &str) -> Option<String> {
    let mark = |what: &str| format!("<!-- made by `{command}`: {what} -->");
    let (begin, end) = (mark("begin"), mark("end"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{tables}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_of_a_command_changes() {
        let marked = |tables: &str| {
            format!("before\n<!-- made by `x`: begin -->\n{tables}\n<!-- made by `x`: end -->\nafter `y`\n")
        };
        assert_eq!(replace(&marked("old"), "x", "new\n"), Some(marked("\nnew\n")));
        assert_eq!(replace(&marked("old"), "y", "new"), None);
    }
}
