// SPDX-License-Identifier: Apache-2.0
//! Who uses the product in a simulation.

pub mod kafka;
pub mod outbox;
