// SPDX-License-Identifier: Apache-2.0
//! A Kafka client's end of a connection: requests to bytes, bytes to answers.
//!
//! Owns: framing, correlation ids, the order of answers, versions (any that both sides know, so that every version gets traffic).
//! Must not know: what a client wants. Encoding is done by an independent implementation of the protocol, not by the head's own.

use crate::rng::Rng;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use std::collections::VecDeque;

/// Declares the answers that are understood.
macro_rules! answers {
    ($( $variant:ident($request:ident, $response:ident), )*) => {
        /// An answer, decoded.
        #[derive(Clone, Debug)]
        pub enum Answer {
            $( $variant($response), )*
        }

        impl Answer {
            fn read<T>(body: &mut Bytes, open: &Open<T>) -> Result<Answer, String> {
                match open.key {
                    $( $request::KEY => decode::<$response, T>(body, open).map(Answer::$variant), )*
                    other => Err(format!("api {other} was never asked")),
                }
            }
        }
    };
}

answers! {
    Versions(ApiVersionsRequest, ApiVersionsResponse),
    Metadata(MetadataRequest, MetadataResponse),
    Producer(InitProducerIdRequest, InitProducerIdResponse),
    Produced(ProduceRequest, ProduceResponse),
    Fetched(FetchRequest, FetchResponse),
    Offsets(ListOffsetsRequest, ListOffsetsResponse),
    Created(CreateTopicsRequest, CreateTopicsResponse),
    Deleted(DeleteTopicsRequest, DeleteTopicsResponse),
    Partitioned(CreatePartitionsRequest, CreatePartitionsResponse),
    Trimmed(DeleteRecordsRequest, DeleteRecordsResponse),
    Altered(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse),
    Coordinator(FindCoordinatorRequest, FindCoordinatorResponse),
    Joined(JoinGroupRequest, JoinGroupResponse),
    Synced(SyncGroupRequest, SyncGroupResponse),
    Beaten(HeartbeatRequest, HeartbeatResponse),
    Left(LeaveGroupRequest, LeaveGroupResponse),
    Committed(OffsetCommitRequest, OffsetCommitResponse),
    Recalled(OffsetFetchRequest, OffsetFetchResponse),
    Forgotten(OffsetDeleteRequest, OffsetDeleteResponse),
    Described(DescribeGroupsRequest, DescribeGroupsResponse),
    Listed(ListGroupsRequest, ListGroupsResponse),
    Removed(DeleteGroupsRequest, DeleteGroupsResponse),
}

/// What was asked and is not answered; `T` is the asker's note.
#[derive(Clone, Debug)]
struct Open<T> {
    correlation: i32,
    key: i16,
    version: i16,
    asked_us: u64,
    note: T,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Line<T> {
    open: VecDeque<Open<T>>,
    input: BytesMut,
    next_correlation: i32,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { open: VecDeque::new(), input: BytesMut::new(), next_correlation: 1 }
    }
}

/// Any version of a request from `lowest` on.
pub fn version_of<R: Message>(rng: &mut Rng, lowest: i16) -> i16 {
    let (min, max) = (R::VERSIONS.min.max(lowest), R::VERSIONS.max);
    min + rng.below((max - min + 1) as u64) as i16
}

impl<T> Line<T> {
    /// The bytes of a request, whose answer will come with `note`.
    ///
    /// # Panics
    /// When the request cannot be expressed in that version.
    pub fn ask<R: Request>(&mut self, now_us: u64, version: i16, request: &R, note: T) -> Bytes {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("sim")));
        let mut out = BytesMut::new();
        out.extend_from_slice(&[0; 4]);
        header.encode(&mut out, R::header_version(version)).expect("a header");
        request.encode(&mut out, version).expect("a request of a version that has all its fields");
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        self.open.push_back(Open { correlation, key: R::KEY, version, asked_us: now_us, note });
        out.freeze()
    }

    /// A request that gets no answer (Produce with acks 0).
    pub fn forget_last(&mut self) -> Option<T> {
        self.open.pop_back().map(|open| open.note)
    }

    /// How many answers are due.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The note of the oldest unanswered request.
    pub fn first_note(&self) -> Option<&T> {
        self.open.front().map(|open| &open.note)
    }

    /// When the oldest unanswered request was sent.
    pub fn waiting_since_us(&self) -> Option<u64> {
        self.open.front().map(|open| open.asked_us)
    }

    /// Takes in what arrived.
    pub fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Gives the next whole answer out.
    ///
    /// # Errors
    /// In words: what came is not the answer that was due.
    pub fn next_answer(&mut self) -> Result<Option<(T, Answer)>, String> {
        let Some(length) = self.input.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
            return Ok(None);
        };
        if self.input.len() < 4 + length {
            return Ok(None);
        }
        self.input.advance(4);
        let mut body = self.input.split_to(length).freeze();
        let Some(open) = self.open.pop_front() else { return Err("an answer to nothing that was asked".into()) };
        let answer = Answer::read(&mut body, &open)?;
        Ok(Some((open.note, answer)))
    }
}

fn decode<R: Decodable + HeaderVersion, T>(body: &mut Bytes, open: &Open<T>) -> Result<R, String> {
    let what = || format!("the answer to api {} version {}", open.key, open.version);
    let header = ResponseHeader::decode(body, R::header_version(open.version))
        .map_err(|error| format!("{} has no header: {error}", what()))?;
    if header.correlation_id != open.correlation {
        return Err(format!("{} has correlation id {} instead of {}", what(), header.correlation_id, open.correlation));
    }
    let answer = R::decode(body, open.version).map_err(|error| format!("{} does not decode: {error}", what()))?;
    if !body.is_empty() {
        return Err(format!("{} has {} bytes too many", what(), body.len()));
    }
    Ok(answer)
}
