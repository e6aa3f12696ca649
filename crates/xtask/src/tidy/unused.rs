// SPDX-License-Identifier: Apache-2.0
//! A dependency that no source of its crate names is not needed.

use super::edges::{list, members, text};
use super::source::{code_only, names};
use super::{Findings, Text};
use serde_json::Value;

/// See the module.
pub fn check(metadata: &Value, texts: &[Text]) -> Result<Findings, String> {
    let root = text(metadata, "workspace_root")?;
    let mut findings = Vec::new();
    for package in members(metadata)? {
        let name = text(package, "name")?;
        let manifest = text(package, "manifest_path")?;
        let folder =
            manifest.trim_start_matches(&root).trim_start_matches('/').trim_end_matches("Cargo.toml").to_string();
        let code: Vec<(&str, String)> = texts
            .iter()
            .filter(|text| text.path.starts_with(&folder) && text.path.ends_with(".rs"))
            .map(|text| (text.path.strip_prefix(&folder).unwrap_or(&text.path), code_only(&text.text)))
            .collect();
        for dependency in list(package, "dependencies")? {
            let called = dependency["rename"].as_str().unwrap_or(dependency["name"].as_str().unwrap_or_default());
            if !used(called, dependency["kind"].as_str(), &code) {
                findings.push(format!("{name}: dependency `{called}` is not named in its sources"));
            }
        }
    }
    Ok(findings)
}

/// `kind` as cargo says it: nothing (normal), `dev` or `build`.
fn used(dependency: &str, kind: Option<&str>, code: &[(&str, String)]) -> bool {
    let word = dependency.replace('-', "_");
    code.iter().filter(|(path, _)| looked_at(path, kind)).any(|(_, code)| names(code, &word))
}

fn looked_at(path: &str, kind: Option<&str>) -> bool {
    match kind {
        Some("build") => path == "build.rs",
        Some("dev") => path != "build.rs",
        _ => path.starts_with("src/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_counts_only_where_it_may_be_used() {
        let code = [
            ("src/lib.rs", "use crc_fast::x; let bytes_max = 1;".to_string()),
            ("tests/it.rs", "use proptest::prelude::*;".to_string()),
        ];
        assert!(used("crc-fast", None, &code));
        assert!(!used("bytes", None, &code), "part of another word");
        assert!(!used("proptest", None, &code), "named in tests only: a dev-dependency");
        assert!(used("proptest", Some("dev"), &code));
        assert!(!used("cc", Some("build"), &code));
    }
}
