// SPDX-License-Identifier: Apache-2.0
//! The group coordinator: the head's one machine across connections, run beside the shard of the namespace's cell.

pub mod messages;
