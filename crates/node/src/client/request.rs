// SPDX-License-Identifier: Apache-2.0
//! Which response goes with which request.

use head_kafka::wire::messages::{
    api_versions, create_topics, delete_topics, fetch, init_producer_id, list_offsets, metadata, produce,
};
use head_kafka::wire::{ApiKey, Field};

/// A message that is answered by another.
pub trait Request: Field {
    const KEY: ApiKey;
    type Response: Field;
}

macro_rules! requests {
    ($($key:ident: $module:ident::$request:ident => $response:ident,)*) => { $(
        impl Request for $module::$request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = $module::$response;
        }
    )* };
}

requests! {
    ApiVersions: api_versions::ApiVersionsRequest => ApiVersionsResponse,
    CreateTopics: create_topics::CreateTopicsRequest => CreateTopicsResponse,
    DeleteTopics: delete_topics::DeleteTopicsRequest => DeleteTopicsResponse,
    Fetch: fetch::FetchRequest => FetchResponse,
    InitProducerId: init_producer_id::InitProducerIdRequest => InitProducerIdResponse,
    ListOffsets: list_offsets::ListOffsetsRequest => ListOffsetsResponse,
    Metadata: metadata::MetadataRequest => MetadataResponse,
    Produce: produce::ProduceRequest => ProduceResponse,
}
