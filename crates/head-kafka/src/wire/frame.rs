// SPDX-License-Identifier: Apache-2.0
//! Framing and request headers.
//!
//! Layout: `length i32 (of what follows) | api_key i16 | api_version i16 | correlation_id i32 | client_id nullable string |
//! [tagged fields, flexible versions] | body`. The client id is a plain string even in flexible versions.
//! A response: `length i32 | correlation_id i32 | [tagged fields, flexible versions] | body`.

use super::{ApiKey, Format, Malformed, Reader, Text};
use bytes::{Bytes, BytesMut};
use model::planted::{Bug, planted};
use std::fmt;

/// A whole request, its body unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub key: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    /// As the client calls itself; empty where it does not say.
    pub client_id: Text,
    pub body: Bytes,
    /// Of the whole frame.
    pub bytes: usize,
}

/// Why nothing that comes from this peer can be understood any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is negative or shorter than any request.
    Length(i32),
    TooLarge {
        bytes: i32,
        bytes_max: u32,
    },
    UnknownKey(i16),
    UnsupportedVersion {
        key: ApiKey,
        version: i16,
    },
    Header(Malformed),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Length(length) => write!(f, "a request announces a length of {length}"),
            FrameError::TooLarge { bytes, bytes_max } => {
                write!(f, "a request announces {bytes} bytes and the limit is {bytes_max}")
            }
            FrameError::UnknownKey(key) => write!(f, "request kind {key} is not spoken here"),
            FrameError::UnsupportedVersion { key, version } => write!(f, "{key:?} version {version} is not taken"),
            FrameError::Header(malformed) => write!(f, "a request header is not well formed: {malformed}"),
        }
    }
}

/// `api_key`, `api_version`, `correlation_id`.
const REQUEST_BYTES_MIN: i32 = 8;

/// Takes the next whole request out of `input`. `None`: it has not arrived yet. Kind and version are looked at as soon as they
/// are there, so that a stranger's large request is not gathered first.
pub fn next(input: &mut BytesMut, bytes_max: u32) -> Result<Option<Frame>, FrameError> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    if length < REQUEST_BYTES_MIN {
        return Err(FrameError::Length(length));
    }
    if length as u32 > bytes_max {
        return Err(FrameError::TooLarge { bytes: length, bytes_max });
    }
    if planted(Bug::AnnouncedLengthReserved) {
        input.reserve(length as usize);
    }
    let Some(head) = input[4..].first_chunk::<4>() else { return Ok(None) };
    let number = i16::from_be_bytes([head[0], head[1]]);
    let version = i16::from_be_bytes([head[2], head[3]]);
    let key = ApiKey::from_number(number).ok_or(FrameError::UnknownKey(number))?;
    // ApiVersions of any version is answered: that is how a client finds out what is spoken.
    let answered = key.taken().contains(&version) || (key == ApiKey::ApiVersions && version > *key.taken().end());
    if !answered {
        return Err(FrameError::UnsupportedVersion { key, version });
    }
    let bytes = 4 + length as usize;
    if input.len() < bytes {
        return Ok(None);
    }
    let frame = input.split_to(bytes).freeze();
    let correlation_id = i32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]);
    let (client_id, body) = parts_of(frame.slice(12..), key, version).map_err(FrameError::Header)?;
    Ok(Some(Frame { key, version, correlation_id, client_id, body, bytes }))
}

fn parts_of(rest: Bytes, key: ApiKey, version: i16) -> Result<(Text, Bytes), Malformed> {
    let mut reader = Reader::new(rest);
    let client_id = reader.string(Format { version, flexible: false })?;
    let client_id = client_id.map(Text::new).transpose()?.unwrap_or_default();
    reader.skip_tags(Format { version, flexible: key.is_flexible(version) })?;
    Ok((client_id, reader.rest()))
}

/// The correlation id of a response (without its length) and a reader of its body, for whoever asked in that version.
pub fn response(rest: Bytes, key: ApiKey, version: i16) -> Result<(i32, Reader), Malformed> {
    let mut reader = Reader::new(rest);
    let correlation_id = reader.i32()?;
    reader.skip_tags(Format { version, flexible: key.has_flexible_response_header(version) })?;
    Ok((correlation_id, reader))
}
