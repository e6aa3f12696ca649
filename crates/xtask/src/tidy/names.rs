// SPDX-License-Identifier: Apache-2.0
//! Words that say nothing are not names of files, folders or modules.

use super::source::code_only;
use super::{Findings, Text};

/// A name made of parts (`wire_utils`) is refused if any part is one of these.
const BANNED: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "impl", "impls"];

/// Numbers belong to formats (`format/v1/`), not to the second try at a piece of code (`journal_v2`).
const GENERATIONS: &[&str] = &["v2", "v3", "v4"];

/// See the module.
pub fn check(texts: &[Text]) -> Findings {
    let mut findings = Vec::new();
    for text in texts {
        for part in text.path.split('/') {
            let stem = part.split_once('.').map_or(part, |(stem, _)| if stem.is_empty() { part } else { stem });
            if let Some(word) = banned(stem) {
                findings.push(format!("{}: `{word}` says nothing: name the idea", text.path));
            }
        }
        if text.path.ends_with(".rs") {
            for name in modules(&code_only(&text.text)) {
                if let Some(word) = banned(&name) {
                    findings.push(format!("{}: mod {name}: `{word}` says nothing: name the idea", text.path));
                }
            }
        }
    }
    findings
}

fn banned(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let parts: Vec<&str> = name.split(['_', '-']).collect();
    let generation = GENERATIONS.iter().find(|word| parts.len() > 1 && parts.contains(*word));
    BANNED.iter().find(|word| parts.contains(*word)).or(generation).copied()
}

/// Names of modules with a body in the file itself; the others are files and looked at as such.
fn modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in code.lines() {
        let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(rest) = line.strip_prefix("mod ")
            && rest.contains('{')
        {
            names.push(
                rest.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
                    .next()
                    .unwrap_or("")
                    .to_string(),
            );
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    #[test]
    fn empty_words_are_found_in_files_folders_and_modules() {
        let bad = [
            made_up("crates/kernel/src/utils.rs", ""),
            made_up("crates/common/Cargo.toml", ""),
            made_up("conformance/kafka/topic_helpers.py", ""),
            made_up("crates/kernel/src/journal_v2.rs", ""),
            made_up("crates/kernel/src/log/mod.rs", "pub(crate) mod manager {\n}\n"),
        ];
        assert_eq!(check(&bad).len(), bad.len());
    }

    #[test]
    fn words_that_only_contain_them_are_fine() {
        let good = [
            made_up("crates/kernel/src/format/v2/entry.rs", "mod utility {}\n// mod utils {}\n"),
            made_up("docs/uncommon.md", ""),
            made_up("docs/renewal.md", ""),
            made_up(".ci/run", ""),
        ];
        assert_eq!(check(&good), Findings::new());
    }
}
