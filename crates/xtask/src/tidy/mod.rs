// SPDX-License-Identifier: Apache-2.0
//! The repository's own rules, each a named check that can fail.
//!
//! A check is a pure function from what was read (manifests as cargo sees them, file names, texts) to a list of findings, one line
//! each; its tests give it made-up input on which it must speak. There are no exception lists: a rule that needs one is wrong.

mod edges;
mod fence;
mod licences;
mod names;
mod places;
mod reasons;
mod source;
mod spdx;
mod unused;

use crate::readme;
use crate::report::Report;
use crate::workspace::Workspace;

/// What a check found: nothing, or a line for each thing to mend.
pub type Findings = Vec<String>;

/// A text file of the project.
pub struct Text {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
}

type Check = fn(&Workspace, &[Text]) -> Result<Findings, String>;

const CHECKS: &[(&str, Check)] = &[
    ("edges between crates", |workspace, _| edges::between_crates(&workspace.metadata)),
    ("what kernel and heads can reach", |workspace, _| edges::reach(&workspace.metadata)),
    ("fence around kernel and heads", |_, texts| Ok(fence::check(texts))),
    ("clippy fences stand", |_, texts| Ok(fence::clippy_files(texts))),
    ("words in names", |_, texts| Ok(names::check(texts))),
    ("licence line first", |_, texts| Ok(spdx::check(texts))),
    ("unused dependencies", |workspace, texts| unused::check(&workspace.metadata, texts)),
    ("licences", |workspace, _| licences::check(&workspace.metadata)),
    ("a reason for each dependency", |workspace, texts| reasons::check(&workspace.metadata, texts)),
    ("readme blocks are run", |_, texts| Ok(readme::untested_blocks(texts))),
    ("no paths of one machine", |_, texts| Ok(places::check(texts))),
];

/// See the module.
pub fn run(workspace: &Workspace, report: &mut Report) {
    let texts = match texts(workspace) {
        Ok(texts) => texts,
        Err(why) => return report.fail("tidy", &why),
    };
    for (name, check) in CHECKS {
        let outcome = match check(workspace, &texts) {
            Ok(findings) if findings.is_empty() => Ok(()),
            Ok(findings) => Err(findings.join("\n")),
            Err(why) => Err(why),
        };
        report.check(&format!("tidy: {name}"), outcome);
    }
}

/// Every file that is text, read.
fn texts(workspace: &Workspace) -> Result<Vec<Text>, String> {
    let mut texts = Vec::new();
    for path in workspace.files()? {
        let bytes = std::fs::read(workspace.root.join(&path)).map_err(|why| format!("{path}: {why}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            texts.push(Text { path, text });
        }
    }
    Ok(texts)
}

#[cfg(test)]
pub fn made_up(path: &str, text: &str) -> Text {
    Text { path: path.to_string(), text: text.to_string() }
}
