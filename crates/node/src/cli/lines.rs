// SPDX-License-Identifier: Apache-2.0
//! Lines of a file or of standard input, read on a thread of their own, so that what was read can be sent while nothing comes.
//!
//! Owns: where lines end. Bounds: a line has at most `LINE_BYTES_MAX`, beyond it the reading ends and says so; a few pieces are read
//! ahead, then the reader waits.

use bytes::{Bytes, BytesMut};
use model::limits::BATCH_BYTES_MAX;
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// No record can be larger.
const LINE_BYTES_MAX: usize = BATCH_BYTES_MAX;
const PIECE_BYTES: usize = 256 * 1024;
/// Read ahead.
const PIECES_MAX: usize = 4;

/// Whole lines, or why there are no more.
pub type Piece = Result<Bytes, String>;

/// Starts reading. The channel ends with the input.
///
/// # Errors
/// There is no thread to be had.
pub fn read(input: Box<dyn Read + Send>) -> std::io::Result<Receiver<Piece>> {
    let (sender, receiver) = sync_channel(PIECES_MAX);
    std::thread::Builder::new().name("input".to_owned()).spawn(move || pieces(input, &sender))?;
    Ok(receiver)
}

fn pieces(mut input: Box<dyn Read + Send>, sender: &SyncSender<Piece>) {
    let mut buffer = BytesMut::new();
    loop {
        let start = buffer.len();
        buffer.resize(start + PIECE_BYTES, 0);
        let read = input.read(&mut buffer[start..]);
        buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        let piece = match read {
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(why) => Err(format!("cannot read the input: {why}")),
            // The last line may have no end.
            Ok(0) if buffer.is_empty() => return,
            Ok(0) => Ok(buffer.split().freeze()),
            Ok(_) => match buffer[start..].iter().rposition(|byte| *byte == b'\n') {
                Some(end) => Ok(buffer.split_to(start + end + 1).freeze()),
                None if buffer.len() > LINE_BYTES_MAX => Err(format!("it is longer than {LINE_BYTES_MAX} bytes")),
                None => continue,
            },
        };
        let last = piece.is_err();
        // Whoever listened may have had enough.
        if sender.send(piece).is_err() || last {
            return;
        }
    }
}

/// The lines of a piece, without their ends.
pub fn lines(piece: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = piece.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = rest.split_to(end + 1);
                Some(line.slice(..end))
            }
            None => Some(rest.split_off(0)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &'static [u8]) -> Vec<String> {
        let pieces = read(Box::new(input)).unwrap();
        let lines = pieces.iter().flat_map(|piece| lines(&piece.unwrap()).collect::<Vec<_>>());
        lines.map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn lines_end_at_line_breaks_and_the_last_may_have_none() {
        assert_eq!(all(b"a\n\nb\r\nc"), ["a", "", "b\r", "c"]);
        assert_eq!(all(b"a\n"), ["a"]);
        assert!(all(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_said_so() {
        let pieces = read(Box::new(std::io::repeat(b'x'))).unwrap();
        assert!(pieces.recv().unwrap().unwrap_err().contains("longer than"));
        assert!(pieces.recv().is_err());
    }
}
