// SPDX-License-Identifier: Apache-2.0
//! Whole conversations as bytes, in `testdata/`: what a client sends and what it gets, in hex, drawn as the protocol lays it out.
//!
//! A file is lines: `> hex` the client sends, `< hex` the broker must answer, `... ms` time passes, `x words` the broker closes
//! with a reason that holds these words, `# words`. `_` in a `<` line stands for any digit (topic ids, which are random).

use super::client::Client;

fn play(script: &str) {
    let mut client = Client::new();
    for (at, line) in script.lines().enumerate() {
        let at = at + 1;
        let (kind, rest) = line.split_at_checked(1).unwrap_or(("#", ""));
        match kind {
            ">" => {
                let digits: String = rest.chars().filter(char::is_ascii_hexdigit).collect();
                let bytes: Vec<u8> = (0..digits.len() / 2)
                    .map(|byte| u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16).unwrap())
                    .collect();
                client.input.extend_from_slice(&bytes);
                client.run();
            }
            "<" => {
                let expected: String = rest.chars().filter(|letter| !letter.is_whitespace()).collect();
                let count = expected.len() / 2;
                assert!(client.output.len() >= count, "line {at}: {} bytes came", client.output.len());
                let came = client.output.split_to(count);
                let came: String = came.iter().map(|byte| format!("{byte:02x}")).collect();
                let same = |(a, b): (char, char)| a == '_' || a == b;
                assert!(expected.chars().zip(came.chars()).all(same), "line {at}: {came}");
            }
            "." => {
                let ms = rest.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap();
                assert!(client.output.is_empty(), "line {at}: an answer nobody expected");
                client.advance_ms(ms);
            }
            "x" => {
                let close = client.closed.as_ref().unwrap_or_else(|| panic!("line {at}: still open"));
                assert!(close.reason.contains(rest.trim()), "line {at}: {}", close.reason);
            }
            _ => {}
        }
    }
    assert!(client.output.is_empty(), "an answer nobody expected");
}

#[test]
fn a_first_meeting() {
    play(include_str!("../testdata/first-meeting.txt"));
}

#[test]
fn a_message_there_and_back() {
    play(include_str!("../testdata/there-and-back.txt"));
}

#[test]
fn old_and_strange_peers() {
    play(include_str!("../testdata/strange-peers.txt"));
}
