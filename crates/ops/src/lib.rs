// SPDX-License-Identifier: Apache-2.0
//! What an operator sees of a running node: figures and health.
//!
//! Owns: the counters, their names on `/metrics`, the answer to "is this node ready?", and the read-only API as data (`api/`): its
//! operations, the shapes of its answers, its OpenAPI document.
//! Must not know: sockets, HTTP, protocols, files. `node` fills the figures and serves the texts.

pub mod api;
pub mod health;
pub mod histogram;
pub mod metrics;

pub use health::Health;
pub use histogram::Histogram;
pub use metrics::Metrics;
