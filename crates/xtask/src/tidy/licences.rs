// SPDX-License-Identifier: Apache-2.0
//! The licence of every locked package is one that a binary under Apache-2.0 may carry.

use super::Findings;
use super::edges::{list, text};
use serde_json::Value;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// See the module.
pub fn check(metadata: &Value) -> Result<Findings, String> {
    let mut findings = Vec::new();
    for package in list(metadata, "packages")? {
        let licence = package["license"].as_str().unwrap_or("");
        if !allowed(licence) {
            let (name, version) = (text(package, "name")?, text(package, "version")?);
            findings.push(format!("{name} {version}: licence {licence:?} is not on the list"));
        }
    }
    Ok(findings)
}

/// An SPDX expression, `/` read as OR as older packages write it.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let verdict = any_of(&words, &mut at);
    verdict == Some(true) && at == words.len()
}

/// `None`: not well formed.
fn any_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut verdict = all_of(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= all_of(words, at)?;
    }
    Some(verdict)
}

fn all_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut verdict = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= one(words, at)?;
    }
    Some(verdict)
}

fn one(words: &[&str], at: &mut usize) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let verdict = any_of(words, at)?;
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return closed.then_some(verdict);
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = *words.get(*at + 1)?;
        *at += 2;
        return Some(ALLOWED.contains(&format!("{word} WITH {exception}").as_str()));
    }
    Some(ALLOWED.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_they_are_meant() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Zlib OR Apache-2.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in
            ["", "GPL-3.0", "MIT AND AGPL-3.0", "(MIT OR", "MIT Apache-2.0", "GPL-2.0 WITH Classpath-exception-2.0"]
        {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
