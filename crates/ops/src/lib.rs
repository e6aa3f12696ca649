// SPDX-License-Identifier: Apache-2.0
//! What an operator sees of a running node: figures and health.
//!
//! Owns: the counters, their names on `/metrics`, and the answer to "is this node ready?".
//! Must not know: sockets, HTTP, protocols, files. `node` fills the figures and serves the texts.

pub mod health;
pub mod histogram;
pub mod metrics;

pub use health::Health;
pub use histogram::Histogram;
pub use metrics::Metrics;
