// SPDX-License-Identifier: Apache-2.0
//! What is committed is true on every machine: no absolute path of the one it was written on.

use super::{Findings, Text};

/// Written in two pieces, so that this file passes.
const EVERYWHERE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
/// Programs may make temporary files; pages that a person reads must not name them.
const IN_PAGES: &[&str] = &[concat!("/t", "mp/")];

/// See the module.
pub fn check(texts: &[Text]) -> Findings {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| text.path != "Cargo.lock") {
        let page = text.path.ends_with(".md");
        for (number, line) in text.text.lines().enumerate() {
            let words = EVERYWHERE.iter().chain(IN_PAGES.iter().filter(|_| page));
            for word in words.filter(|word| line.contains(*word)) {
                findings.push(format!("{}:{}: `{word}` is a path of one machine", text.path, number + 1));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::made_up;
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found() {
        let place = EVERYWHERE[0];
        assert_eq!(check(&[made_up("src/a.rs", &format!("// see\n// {place}x\n"))]).len(), 1);
        let temporary = IN_PAGES[0];
        assert_eq!(check(&[made_up("docs/a.md", &format!("ls {temporary}x"))]).len(), 1);
        assert_eq!(check(&[made_up("a.py", &format!("open('{temporary}x')"))]), Findings::new());
    }
}
