// SPDX-License-Identifier: Apache-2.0
//! The head's tests.

mod any_bytes;
mod errors;
mod golden;
mod session;
mod session_script;
mod tables;
