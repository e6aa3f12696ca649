// SPDX-License-Identifier: Apache-2.0
//! Rust source reduced to what a rule may look at: code without comments, without the insides of literals, without test modules.
//!
//! Not a parser: it knows comments, strings, raw strings, characters and braces, which is enough to never mistake prose for code.

/// The code of a file. Line breaks stay, so that line numbers stay true.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let skipped = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_comment(&bytes[at..]),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment(&bytes[at..]),
            b'"' => string(&bytes[at..]),
            b'r' if !after_word(bytes, at) => raw_string(&bytes[at..]),
            b'\'' => character(&bytes[at..]),
            _ => 0,
        };
        if skipped == 0 {
            out.push(bytes[at]);
            at += 1;
        } else {
            let piece = &bytes[at..at + skipped];
            out.push(b' ');
            out.extend(piece.iter().filter(|byte| **byte == b'\n'));
            at += skipped;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The code without `#[cfg(test)]` items, which end with their `;` or closing brace.
pub fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_end(item);
        out.extend(item[..end].chars().filter(|letter| *letter == '\n'));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

/// True when `word` stands in `code` with no letter, digit or underscore on either side.
pub fn names(code: &str, word: &str) -> bool {
    find_word(code, word).is_some()
}

/// Where it stands first.
pub fn find_word(code: &str, word: &str) -> Option<usize> {
    let part_of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).find(|at| {
        !part_of_word(at.checked_sub(1).and_then(|at| bytes.get(at))) && !part_of_word(bytes.get(at + word.len()))
    })
}

fn item_end(item: &str) -> usize {
    let mut depth = 0usize;
    for (at, byte) in item.bytes().enumerate() {
        match byte {
            b';' if depth == 0 => return at + 1,
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    item.len()
}

fn after_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b'
}

fn line_comment(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string(bytes: &[u8]) -> usize {
    let hashes = bytes[1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let inside = 2 + hashes;
    let length = bytes[inside..].windows(end.len()).position(|window| window == end);
    length.map_or(bytes.len(), |length| inside + length + end.len())
}

/// A character literal; 0 for a lifetime.
fn character(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'\\') => bytes[3..].iter().position(|byte| *byte == b'\'').map_or(0, |at| 3 + at + 1),
        Some(_) => {
            let text = String::from_utf8_lossy(&bytes[1..bytes.len().min(6)]).into_owned();
            let Some(first) = text.chars().next() else { return 0 };
            let after = 1 + first.len_utf8();
            if bytes.get(after) == Some(&b'\'') { after + 1 } else { 0 }
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "let a = \"std::fs \\\" x\"; // std::net\n/* std::thread /* nested */ still */ let b = r#\"rand::\"#; let c = '\"'; let d: &'static str = b\"x\";\n";
        let code = code_only(text);
        for word in ["std::fs", "std::net", "std::thread", "rand::", "still"] {
            assert!(!code.contains(word), "{word} in {code}");
        }
        assert!(code.contains("let b =") && code.contains("let c =") && code.contains("'static str"));
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn test_modules_are_left_out_and_what_follows_is_kept() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { std::time::x(); } }\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}\n";
        let left = without_tests(code);
        assert!(!left.contains("std::time") && !left.contains("more"));
        assert!(left.contains("fn a") && left.contains("fn c") && left.contains("fn d"));
        assert_eq!(left.lines().count(), code.lines().count());
    }

    #[test]
    fn a_word_is_not_part_of_another() {
        assert!(names("use bytes::Bytes;", "bytes"));
        assert!(!names("let record_bytes = 1;", "bytes"));
        assert!(!names("bytes_max", "bytes"));
        assert_eq!(find_word("my_rand rand", "rand"), Some(8));
    }
}
