// SPDX-License-Identifier: Apache-2.0
//! `polylog settings`: the list as a table for people and as JSON for programs.

use super::Loaded;
use super::list::LIST;
use serde::Serialize;
use std::fmt::Write;

/// The list as a table: a line of facts each, and the meaning under it.
pub fn table(loaded: &Loaded) -> String {
    let rows: Vec<[String; 4]> = LIST
        .iter()
        .map(|setting| {
            let (value, source) = &loaded.values[setting.name];
            let mut shown = quoted(&setting.kind.write(value));
            if *source != super::Source::Default {
                let _ = write!(shown, " ({source}; default {})", quoted(setting.default));
            }
            let flag =
                setting.flag.map_or(String::new(), |(flag, value)| format!("--{flag} {value}").trim_end().to_owned());
            [setting.name.to_owned(), shown, setting.kind.range(), flag]
        })
        .collect();
    let headings = ["SETTING", "VALUE", "ALLOWED", "FLAG"].map(str::to_owned);
    let width =
        |column: usize| rows.iter().chain([&headings]).map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    let mut line = |row: &[String; 4], meaning: &str| {
        let [name, value, allowed, flag] = row;
        let [first, second, third] = widths;
        let facts = format!("{name:first$}  {value:second$}  {allowed:third$}  {flag}");
        let _ = writeln!(text, "{}", facts.trim_end());
        if !meaning.is_empty() {
            let _ = writeln!(text, "    {meaning}");
        }
    };
    line(&headings, "");
    for (row, setting) in rows.iter().zip(LIST) {
        line(row, setting.meaning);
    }
    text.push_str(
        "\nA flag beats the environment, the environment beats the file (--config FILE.toml), the file beats the default.\n\
         The variable of kafka.default_partitions is POLYLOG_KAFKA_DEFAULT_PARTITIONS. Further listeners stand in the file:\n\
         [[kafka.listener]] with name, bind and advertise.\n",
    );
    text
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "\"\"".to_owned() } else { text.to_owned() }
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    unit: &'static str,
    default: &'static str,
    value: String,
    source: String,
    allowed: String,
    flag: Option<String>,
    env: String,
    meaning: &'static str,
}

/// The list as a JSON array.
///
/// # Errors
/// The library's, which text never gives.
pub fn json(loaded: &Loaded) -> Result<String, serde_json::Error> {
    let rows: Vec<Row> = LIST
        .iter()
        .map(|setting| {
            let (value, source) = &loaded.values[setting.name];
            Row {
                name: setting.name,
                unit: setting.kind.unit(),
                default: setting.default,
                value: setting.kind.write(value),
                source: source.to_string(),
                allowed: setting.kind.range(),
                flag: setting.flag.map(|(flag, _)| format!("--{flag}")),
                env: setting.env(),
                meaning: setting.meaning,
            }
        })
        .collect();
    serde_json::to_string_pretty(&rows)
}
