// SPDX-License-Identifier: Apache-2.0
//! The licence line stands first in every source file, behind the interpreter line of a script.

use super::{Findings, Text};

const LINE: &str = "SPDX-License-Identifier: Apache-2.0";
const ENDINGS: &[&str] = &[".rs", ".py", ".sh", ".java", ".go", ".c", ".js", ".mjs"];

/// See the module.
pub fn check(texts: &[Text]) -> Findings {
    let sources = texts
        .iter()
        .filter(|text| ENDINGS.iter().any(|ending| text.path.ends_with(ending)) || text.text.starts_with("#!/"));
    sources
        .filter(|text| !licensed(&text.text))
        .map(|text| format!("{}: the first line is not `{LINE}`", text.path))
        .collect()
}

fn licensed(text: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| line.starts_with("#!/"));
    lines.next().is_some_and(|line| line.trim_start_matches(['/', '#', ' ', '*']) == LINE)
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    #[test]
    fn a_source_without_its_licence_line_is_found() {
        let good = [
            made_up("a.rs", &format!("// {LINE}\n//! Story.\n")),
            made_up("b.py", &format!("#!/usr/bin/env python3\n# {LINE}\n")),
            made_up("notes.md", "# Notes\n"),
        ];
        assert_eq!(check(&good), Findings::new());
        let bad = [
            made_up("a.rs", "//! Story.\n"),
            made_up("b.sh", &format!("\n# {LINE}\n")),
            made_up(".ci/run", "#!/usr/bin/env bash\nset -e\n"),
            made_up("empty.go", ""),
        ];
        assert_eq!(check(&bad).len(), bad.len());
    }
}
