// SPDX-License-Identifier: Apache-2.0
//! The requests, one kind a file.
//!
//! A verb is started with its decoded request and either has its outcome at once or is *running*: it has sent commands, and gets
//! their replies by the number it gave each (`part`). Only Fetch also waits for time and for watches.

pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod fetch;
pub mod find_coordinator;
pub mod init_producer_id;
pub mod list_offsets;
pub mod metadata;
pub mod produce;

use crate::Settings;
use crate::random::Random;
use crate::wire::messages as wire;
use crate::wire::{ApiKey, ErrorCode, Field, Format, Malformed, Reader, Writer};
use bytes::Bytes;
use fetch::FetchMemory;
use kernel::{Catalog, Command, Ctx, Reply};
use model::{Now, ShardId, Ticket};
use std::collections::VecDeque;

/// What a verb sees of the session.
pub struct Cx<'a> {
    pub now: Now,
    pub catalog: &'a Catalog,
    pub settings: &'a Settings,
    pub who: &'a Ctx,
    pub random: &'a mut Random,
    pub fetches: &'a mut FetchMemory,
    pub commands: &'a mut VecDeque<(ShardId, Ticket, Command)>,
    /// Of the request, within the connection.
    pub sequence: u32,
    pub correlation_id: i32,
    pub key: ApiKey,
    pub format: Format,
}

/// How a request ends.
pub enum Outcome {
    /// With a response frame, in pieces; and the first error number in it, for the figures.
    Answer { pieces: Vec<Bytes>, error_code: i16 },
    /// Without: the client wants none.
    Silent,
    /// With the connection.
    Close(String),
}

impl Cx<'_> {
    /// Sends a command; its reply comes back to this request with the same `part`.
    pub fn send(&mut self, part: u32, (shard, command): (ShardId, Command)) {
        let ticket = Ticket(u64::from(self.sequence) << 32 | u64::from(part));
        self.commands.push_back((shard, ticket, command));
    }

    pub fn answer(&self, body: &impl Field, error_code: i16) -> Outcome {
        self.answer_as(self.format, body, error_code)
    }

    /// An answer in another layout than the request's.
    pub fn answer_as(&self, format: Format, body: &impl Field, error_code: i16) -> Outcome {
        let mut writer = Writer::response(self.correlation_id, self.key.has_flexible_response_header(format.version));
        body.write(&mut writer, format);
        Outcome::Answer { pieces: writer.finish(), error_code }
    }
}

/// A decoded request.
pub enum Request {
    ApiVersions(Option<wire::api_versions::ApiVersionsRequest>),
    CreateTopics(wire::create_topics::CreateTopicsRequest),
    DeleteTopics(wire::delete_topics::DeleteTopicsRequest),
    Fetch(wire::fetch::FetchRequest),
    FindCoordinator(wire::find_coordinator::FindCoordinatorRequest),
    InitProducerId(wire::init_producer_id::InitProducerIdRequest),
    ListOffsets(wire::list_offsets::ListOffsetsRequest),
    Metadata(wire::metadata::MetadataRequest),
    Produce(wire::produce::ProduceRequest),
}

impl Request {
    /// Decodes `body`; says also how many bytes of memory that took beside the body itself.
    ///
    /// Bytes left over are passed over, as Apache Kafka does: librdkafka 2.16 asks for all topics (Metadata 9 and later) with
    /// three bytes too many. They stand in the request's own frame, so they cannot be taken for anything else.
    ///
    /// # Errors
    /// It is not such a request.
    pub fn read(key: ApiKey, format: Format, body: Bytes) -> Result<(Request, usize), Malformed> {
        let reader = &mut Reader::new(body);
        let request = match key {
            // Its body is of a layout unknown here; the answer does not depend on it.
            ApiKey::ApiVersions if !key.taken().contains(&format.version) => {
                return Ok((Request::ApiVersions(None), 0));
            }
            ApiKey::ApiVersions => Request::ApiVersions(Some(Field::read(reader, format)?)),
            ApiKey::CreateTopics => Request::CreateTopics(Field::read(reader, format)?),
            ApiKey::DeleteTopics => Request::DeleteTopics(Field::read(reader, format)?),
            ApiKey::Fetch => Request::Fetch(Field::read(reader, format)?),
            ApiKey::FindCoordinator => Request::FindCoordinator(Field::read(reader, format)?),
            ApiKey::InitProducerId => Request::InitProducerId(Field::read(reader, format)?),
            ApiKey::ListOffsets => Request::ListOffsets(Field::read(reader, format)?),
            ApiKey::Metadata => Request::Metadata(Field::read(reader, format)?),
            ApiKey::Produce => Request::Produce(Field::read(reader, format)?),
            // Not spoken, so no frame of that kind gets here.
            _ => return Err(Malformed::Null),
        };
        Ok((request, reader.decoded_bytes()))
    }
}

/// A request whose outcome is not known yet.
pub enum Running {
    CreateTopics(create_topics::Running),
    DeleteTopics(delete_topics::Running),
    Fetch(Box<fetch::Running>),
    InitProducerId,
    ListOffsets(list_offsets::Running),
    Metadata(metadata::Running),
    Produce(produce::Running),
}

/// Starts a request.
///
/// # Errors
/// Not an error: its outcome, when that is known at once.
pub fn start(cx: &mut Cx<'_>, request: Request) -> Result<Running, Outcome> {
    match request {
        Request::ApiVersions(request) => Err(api_versions::answer(cx, request)),
        Request::FindCoordinator(request) => Err(find_coordinator::answer(cx, request)),
        Request::CreateTopics(request) => create_topics::start(cx, request).map(Running::CreateTopics),
        Request::DeleteTopics(request) => delete_topics::start(cx, request).map(Running::DeleteTopics),
        Request::Fetch(request) => fetch::start(cx, request).map(|running| Running::Fetch(Box::new(running))),
        Request::InitProducerId(request) => init_producer_id::start(cx, request).map(|()| Running::InitProducerId),
        Request::ListOffsets(request) => list_offsets::start(cx, request).map(Running::ListOffsets),
        Request::Metadata(request) => metadata::start(cx, request).map(Running::Metadata),
        Request::Produce(request) => produce::start(cx, request).map(Running::Produce),
    }
}

impl Running {
    /// Takes the reply to the command sent with that `part`.
    pub fn reply(&mut self, cx: &mut Cx<'_>, part: u32, reply: Reply) -> Option<Outcome> {
        match (self, reply) {
            (Running::CreateTopics(running), Reply::Declared(result)) => running.reply(cx, part, result),
            (Running::DeleteTopics(running), Reply::Deleted(result)) => running.reply(cx, part, result),
            (Running::Fetch(running), Reply::Read(result)) => running.reply(cx, part, result),
            (Running::InitProducerId, Reply::Producer(result)) => Some(init_producer_id::reply(cx, result)),
            (Running::ListOffsets(running), Reply::Located(result)) => running.reply(cx, part, result),
            (Running::Metadata(running), Reply::Declared(result)) => running.reply(cx, part, result),
            (Running::Produce(running), Reply::Published(result)) => running.reply(cx, part, result),
            // The driver mixed up its tickets; an answer made of it would be a lie.
            (_, _) => Some(Outcome::Close("a reply came for a command of another kind".to_owned())),
        }
    }
}

/// The first error among these numbers.
pub fn first_error(codes: impl IntoIterator<Item = i16>) -> i16 {
    codes.into_iter().find(|code| *code != 0).unwrap_or(ErrorCode::None.number())
}
