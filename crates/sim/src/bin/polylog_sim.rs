// SPDX-License-Identifier: Apache-2.0
//! `polylog-sim`.
fn main() {}
