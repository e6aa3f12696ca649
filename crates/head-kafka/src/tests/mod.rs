// SPDX-License-Identifier: Apache-2.0
//! The head's tests: a client that encodes and decodes with an independent implementation of the protocol (`client.rs`) talks to
//! a session, whose commands are answered by a plain model of the kernel (`plain_kernel.rs`) or by real shards (`shards.rs`).

mod any_bytes;
mod client;
mod configs;
mod conversations;
mod fetch;
mod groups;
mod messages;
mod offsets;
mod partitions;
mod plain_kernel;
mod produce;
mod session;
mod settings_page;
mod shards;
mod topics;
