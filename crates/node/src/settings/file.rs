// SPDX-License-Identifier: Apache-2.0
//! The settings file: TOML to (name, text, line).
//!
//! Owns: the shape of the file, and the line in every complaint. Must not know: what a value means (`value.rs`) or which source
//! wins (`mod.rs`).

use super::SettingsError;
use super::list::LIST;
use super::value::Kind;
use crate::nearest::nearest;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value of the file, not yet looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: &'static str,
    pub text: String,
    pub line: usize,
}

/// One `[[kafka.listener]]`, not yet looked at: `(key, text, line)`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ListenerTable {
    pub line: usize,
    pub entries: Vec<(&'static str, String, usize)>,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct File {
    pub entries: Vec<Entry>,
    pub listeners: Vec<ListenerTable>,
}

/// The keys of a `[[kafka.listener]]`.
pub const LISTENER_KEYS: [&str; 3] = ["name", "bind", "advertise"];

/// Reads the file's text; `path` is for messages.
///
/// # Errors
/// Not TOML, or a name that is no setting: with the line and the nearest right name.
pub fn parse(path: &Path, text: &str) -> Result<File, SettingsError> {
    let mut reader = Reader { path, text, file: File::default() };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| reader.line(&span));
        reader.error(line, error.message().to_owned())
    })?;
    reader.table("", table.get_ref())?;
    Ok(reader.file)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    file: File,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), SettingsError> {
        for (key, value) in table {
            let line = self.line(&key.span());
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            match value.get_ref() {
                DeValue::Array(array) if name == "kafka.listener" => {
                    for listener in array.iter() {
                        self.listener(line, listener)?;
                    }
                }
                DeValue::Table(inner) => {
                    let known = |setting: &str| setting.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'));
                    if !LIST.iter().any(|setting| known(setting.name)) {
                        return Err(self.unknown(line, "table of settings", &name, sections()));
                    }
                    self.table(&name, inner)?;
                }
                value => {
                    let Some(setting) = LIST.iter().find(|setting| setting.name == name) else {
                        return Err(self.unknown(
                            line,
                            "setting",
                            &name,
                            LIST.iter().map(|setting| setting.name.to_owned()),
                        ));
                    };
                    let text = self.scalar(line, &name, setting.kind, value)?;
                    self.file.entries.push(Entry { name: setting.name, text, line });
                }
            }
        }
        Ok(())
    }

    fn listener(&mut self, line: usize, listener: &Spanned<DeValue<'_>>) -> Result<(), SettingsError> {
        let DeValue::Table(table) = listener.get_ref() else {
            return Err(
                self.error(line, "kafka.listener: write each listener as a table under [[kafka.listener]]".to_owned())
            );
        };
        let mut found = ListenerTable { line, entries: Vec::new() };
        // A table's own span is its header line; its keys know better when there is none.
        found.line = table.keys().map(|key| self.line(&key.span())).min().unwrap_or(line);
        for (key, value) in table {
            let line = self.line(&key.span());
            let Some(known) = LISTENER_KEYS.into_iter().find(|known| known == key.get_ref()) else {
                let names = LISTENER_KEYS.iter().map(|known| format!("kafka.listener.{known}"));
                return Err(self.unknown(line, "setting", &format!("kafka.listener.{}", key.get_ref()), names));
            };
            let text = self.scalar(line, &format!("kafka.listener.{known}"), Kind::Path, value.get_ref())?;
            found.entries.push((known, text, line));
        }
        self.file.listeners.push(found);
        Ok(())
    }

    fn scalar(&self, line: usize, name: &str, kind: Kind, value: &DeValue<'_>) -> Result<String, SettingsError> {
        match (kind, value) {
            (_, DeValue::String(text)) => Ok(text.to_string()),
            (Kind::Switch, DeValue::Boolean(on)) => Ok(on.to_string()),
            (Kind::Switch | Kind::Path | Kind::Choice(_) | Kind::Address | Kind::Host, _) => {
                Err(self.error(line, format!("{name} must be {}, not {}", wanted(kind), value.type_str())))
            }
            (_, DeValue::Integer(number)) if number.radix() == 10 => Ok(number.as_str().to_owned()),
            _ => Err(self.error(line, format!("{name} must be {}, not {}", wanted(kind), value.type_str()))),
        }
    }

    fn unknown(&self, line: usize, what: &str, name: &str, known: impl IntoIterator<Item = String>) -> SettingsError {
        let hint = nearest(name, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
        self.error(line, format!("unknown {what} {name:?}{hint}"))
    }

    fn error(&self, line: usize, why: String) -> SettingsError {
        SettingsError { place: format!("{}:{line}", self.path.display()), why }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Switch => "true or false",
        Kind::Count { .. } => "a number",
        Kind::CountOrAuto { .. } => "a number or \"auto\"",
        Kind::Size { .. } | Kind::SizeOrAuto { .. } => "a size in quotes, such as \"64MiB\"",
        Kind::Time { .. } => "a time in quotes, such as \"5s\"",
        Kind::Choice(_) | Kind::Address | Kind::Host | Kind::Path => "text in quotes",
    }
}

fn sections() -> impl Iterator<Item = String> {
    LIST.iter().filter_map(|setting| setting.name.rsplit_once('.').map(|(section, _)| section.to_owned()))
}
