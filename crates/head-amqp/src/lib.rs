// SPDX-License-Identifier: Apache-2.0
//! The AMQP head: will speak AMQP 0-9-1 as RabbitMQ 4 does. Not whole yet, and no listener uses it.
//!
//! Here so far: the codec ([`wire`]), which reads and writes every frame, method, property and field type of 0-9-1 with RabbitMQ's
//! extensions, and the words for what is refused ([`errors`]). What comes next, and in which order, stands in `docs/internals/amqp-head.md`.
//!
//! Must not know: sockets, threads, clocks, random sources, other heads.

pub mod errors;
pub mod wire;

#[cfg(test)]
mod tests;
