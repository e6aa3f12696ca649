// SPDX-License-Identifier: Apache-2.0
//! The fence around the crates that the simulator must be able to repeat: no clock, thread, socket, file or random source in their
//! code, and a `clippy.toml` that says so to whoever writes it.

use super::source::{code_only, find_word, without_tests};
use super::{Findings, Text};

/// Folders that are fenced. A head is any `crates/head-…`.
const FENCED: &[&str] = &["crates/model/", "crates/kernel/", "crates/head-"];

/// What must not be named in them, and what to use instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time", "time is an argument: `now: model::Now`, durations are integers with their unit in the name"),
    ("std::thread", "machines never spawn: return `Effect::Work` and let the driver run it"),
    ("std::net", "bytes come in through `handle_input` and go out through `poll_output`"),
    ("std::fs", "storage is asked for through `model::media`"),
    ("std::env", "settings are arguments"),
    ("std::process", "return an error or an effect and let the driver decide"),
    ("Instant::now", "time is an argument: `now: model::Now`"),
    ("SystemTime", "time is an argument: `now: model::Now`"),
    ("rand", "random bits are arguments (`seed`)"),
    ("tokio", "machines know no runtime"),
    ("RandomState", "BTreeMap, or hashbrown with a fixed foldhash seed"),
];

/// Entries that the fences of clippy must hold.
const CLIPPY_ENTRIES: &[&str] =
    &["std::time::Instant::now", "std::time::SystemTime::now", "std::thread::spawn", "std::collections::HashMap"];

/// The scan of the sources.
pub fn check(texts: &[Text]) -> Findings {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| fenced_source(&text.path)) {
        let code = without_tests(&code_only(&text.text));
        for (word, instead) in FORBIDDEN {
            if let Some(at) = find_word(&code, word) {
                let line = 1 + code[..at].matches('\n').count();
                findings.push(format!("{}:{line}: `{word}`: {instead}", text.path));
            }
        }
    }
    findings
}

/// Every fenced crate has its `clippy.toml`, with the entries that matter most and a reason for each.
pub fn clippy_files(texts: &[Text]) -> Findings {
    let mut findings = Vec::new();
    let manifests = texts.iter().filter(|text| {
        FENCED.iter().any(|folder| text.path.starts_with(folder))
            && text.path.ends_with("/Cargo.toml")
            && text.path.matches('/').count() == 2
    });
    for manifest in manifests {
        let path = manifest.path.replace("Cargo.toml", "clippy.toml");
        let Some(fence) = texts.iter().find(|text| text.path == path) else {
            findings.push(format!("{path}: missing"));
            continue;
        };
        for entry in CLIPPY_ENTRIES {
            let quoted = format!("\"{entry}\"");
            let reasoned = fence.text.lines().any(|line| line.contains(&quoted) && line.contains("reason = \""));
            if !reasoned {
                findings.push(format!("{path}: no entry for {entry} with its reason"));
            }
        }
    }
    findings
}

fn fenced_source(path: &str) -> bool {
    FENCED.iter().any(|folder| path.starts_with(folder))
        && path.contains("/src/")
        && path.ends_with(".rs")
        && !path.ends_with("/tests.rs")
        && !path.contains("/tests/")
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    #[test]
    fn a_clock_in_the_kernel_is_found_with_its_line() {
        let text = made_up(
            "crates/kernel/src/log/mod.rs",
            "//! std::time in prose is fine.\nfn a() {}\nuse std::time::Instant;\n",
        );
        let findings = check(&[text]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("crates/kernel/src/log/mod.rs:3: `std::time`"), "{findings:?}");
    }

    #[test]
    fn tests_and_unfenced_crates_may_use_a_clock() {
        let clock = "fn x() { std::thread::spawn(|| {}); }\n";
        let in_tests = format!("#[cfg(test)]\nmod tests {{ {clock} }}\n");
        assert_eq!(check(&[made_up("crates/node/src/main.rs", clock)]), Findings::new());
        assert_eq!(check(&[made_up("crates/kernel/src/tests.rs", clock)]), Findings::new());
        assert_eq!(check(&[made_up("crates/kernel/src/log/mod.rs", &in_tests)]), Findings::new());
        assert_eq!(check(&[made_up("crates/head-mqtt/src/lib.rs", clock)]).len(), 1);
    }

    #[test]
    fn a_fence_that_lost_an_entry_or_its_reason_is_found() {
        let manifest = || made_up("crates/kernel/Cargo.toml", "");
        assert_eq!(clippy_files(&[manifest()]), ["crates/kernel/clippy.toml: missing"]);
        let lines: Vec<String> =
            CLIPPY_ENTRIES.iter().map(|entry| format!("{{ path = \"{entry}\", reason = \"why\" }},")).collect();
        let whole = made_up("crates/kernel/clippy.toml", &lines.join("\n"));
        assert_eq!(clippy_files(&[manifest(), whole]), Findings::new());
        let bare = made_up("crates/kernel/clippy.toml", &lines.join("\n").replacen("reason", "note", 1));
        assert_eq!(clippy_files(&[manifest(), bare]).len(), 1);
    }
}
