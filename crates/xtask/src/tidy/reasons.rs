// SPDX-License-Identifier: Apache-2.0
//! Every dependency from outside has its line in ARCHITECTURE.md.

use super::edges::{list, members, text};
use super::{Findings, Text};
use serde_json::Value;
use std::collections::BTreeSet;

const PAGE: &str = "ARCHITECTURE.md";

/// See the module.
pub fn check(metadata: &Value, texts: &[Text]) -> Result<Findings, String> {
    let mut names = BTreeSet::new();
    for package in members(metadata)? {
        for dependency in list(package, "dependencies")?.iter().filter(|dependency| dependency["path"].is_null()) {
            names.insert(text(dependency, "name")?);
        }
    }
    let page = texts.iter().find(|text| text.path == PAGE).map_or("", |text| text.text.as_str());
    Ok(without_reason(&names, page))
}

/// A line of the table reads `| `name` | why |`.
fn without_reason(names: &BTreeSet<String>, page: &str) -> Findings {
    let has_line = |name: &String| {
        page.lines().any(|line| {
            let mut cells = line.trim().trim_matches('|').split('|').map(str::trim);
            cells.next() == Some(&format!("`{name}`")) && cells.next().is_some_and(|why| !why.is_empty())
        })
    };
    let missing = names.iter().filter(|name| !has_line(name));
    missing.map(|name| format!("{PAGE}: no line in the table of dependencies says why `{name}` is there")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let page = "| `bytes` | slices |\n| `tokio` | |\nsnap is mentioned in prose\n";
        let names = ["bytes", "tokio", "snap"].map(str::to_string).into_iter().collect();
        let findings = without_reason(&names, page);
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|finding| !finding.contains("`bytes`")));
    }
}
