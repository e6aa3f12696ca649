// SPDX-License-Identifier: Apache-2.0
//! The group coordinator's tests: the machine at a desk (`desk.rs`) that does for it what the kernel does, and holds it to its
//! invariants at every decision; scripts that read as behaviour (`script.rs`, `../testdata/`);
//! random lives (`lives.rs`); every bound reached (`bounds.rs`).

mod bounds;
mod desk;
mod lives;
mod script;
