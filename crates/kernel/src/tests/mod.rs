// SPDX-License-Identifier: Apache-2.0
//! Tests of whole shards, through their own surface: text scripts, a random driver against a plain model, figures.

mod compaction;
mod counter;
mod faults;
mod figures;
mod leftovers;
mod lending;
pub(crate) mod measured;
mod merges;
mod model_check;
mod script;
mod system;
