// SPDX-License-Identifier: Apache-2.0
//! Standard output: aligned columns for people, JSON for programs.
//!
//! Owns: layout. One JSON document for what is known at once, one object a line for streams.

use super::outcome::CommandError;
use serde::Serialize;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::time::{Duration, Instant};

const BUFFER_BYTES: usize = 256 * 1024;

/// Standard output, buffered.
pub struct Output {
    json: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub fn new(json: bool) -> Output {
        Output { json, out: BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock()) }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The one document of a command.
    pub fn document(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        serde_json::to_writer_pretty(&mut self.out, value).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        self.flush()
    }

    /// For programs the one document, for people a text a thing, with an empty line between two.
    pub fn document_or_texts(
        &mut self,
        value: &impl Serialize,
        texts: impl Iterator<Item = String>,
    ) -> Result<(), CommandError> {
        if self.json {
            return self.document(value);
        }
        for (at, text) in texts.enumerate() {
            if at > 0 {
                self.text("\n")?;
            }
            self.text(&text)?;
        }
        self.flush()
    }

    /// One object of a stream.
    pub fn line(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        serde_json::to_writer(&mut self.out, value).map_err(std::io::Error::from)?;
        Ok(self.out.write_all(b"\n")?)
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        Ok(self.out.write_all(bytes)?)
    }

    pub fn text(&mut self, text: &str) -> Result<(), CommandError> {
        self.bytes(text.as_bytes())
    }

    pub fn flush(&mut self) -> Result<(), CommandError> {
        Ok(self.out.flush()?)
    }
}

/// What somebody else has chosen (the name of a group, of a client), as it may be shown to people: a terminal would obey control
/// characters, and a line break would make a row of its own.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}

/// A number in a cell, where it is known.
pub fn shown(number: Option<i64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// Which side a column's cells lean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// Rows below a heading.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    pub fn to_text(&self) -> String {
        let names = || {
            self.columns.iter().map(|column| match column {
                Column::Text(name) | Column::Number(name) => (*name).to_owned(),
            })
        };
        let heading: Vec<String> = names().collect();
        let width = |at: usize| {
            let rows = self.rows.iter().chain(std::iter::once(&heading));
            rows.filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut out = String::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.columns).zip(&widths) {
                if !line.is_empty() {
                    line.push_str("  ");
                }
                match column {
                    Column::Text(_) => line.push_str(&format!("{cell:<width$}")),
                    Column::Number(_) => line.push_str(&format!("{cell:>width$}")),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// A line on standard error that is written over and over, for work that is long; nothing where nobody sees it.
pub struct Progress {
    shown: bool,
    next: Instant,
    length: usize,
}

impl Progress {
    const EVERY_MS: u64 = 500;

    /// `wanted`: the terminal is not busy with something else.
    pub fn new(wanted: bool) -> Progress {
        let shown = wanted && std::io::stderr().is_terminal();
        Progress { shown, next: Instant::now() + Duration::from_millis(Progress::EVERY_MS), length: 0 }
    }

    pub fn show(&mut self, text: impl FnOnce() -> String) {
        if self.shown && Instant::now() >= self.next {
            self.next = Instant::now() + Duration::from_millis(Progress::EVERY_MS);
            let text = text();
            eprint!("\r{text:<length$}", length = self.length);
            self.length = text.chars().count();
        }
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.length) > 0 {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_told_what_to_do_by_a_name() {
        let mut table = Table::new(&[Column::Text("GROUP"), Column::Text("STATE")]);
        table.row(["a\x1b[2Jb\nc\u{9b}ä".into(), "Empty".into()]);
        assert_eq!(table.to_text(), "GROUP                  STATE\na\\u{1b}[2Jb\\nc\\u{9b}ä  Empty\n");
    }

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_spaces() {
        let mut table = Table::new(&[Column::Text("TOPIC"), Column::Number("END"), Column::Text("NOTE")]);
        table.row(["a".into(), "1".into(), String::new()]);
        table.row(["long name".into(), "12345".into(), "x".into()]);
        assert_eq!(table.to_text(), "TOPIC        END  NOTE\na              1\nlong name  12345  x\n");
    }
}
