// SPDX-License-Identifier: Apache-2.0
//! One file a kind of request: its request and its response, as tables of fields.

pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod fetch;
pub mod find_coordinator;
pub mod init_producer_id;
pub mod list_offsets;
pub mod metadata;
pub mod produce;
