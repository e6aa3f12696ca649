// SPDX-License-Identifier: Apache-2.0
//! The settings that the protocol's users know: of topics, of the broker, of groups, by the protocol's names, with its defaults.
//!
//! Owns: the tables (`topic.rs`, `broker.rs`, `group.rs`), what values a setting takes (`kind.rs`), and how a set of given values
//! changes (`change.rs`). Must not know: the kernel, where given values are kept.
//!
//! All names of Apache Kafka 4.3.1 are known, so that tools which set and read them work. Few of them act here; `Definition::does`
//! says which, in words that DescribeConfigs gives out as documentation and that `docs/user/kafka-settings.md` is made of. The others
//! describe machinery that does not exist here: they are kept, listed, and change nothing.

pub mod broker;
mod broker_table;
pub mod change;
pub mod group;
mod kind;
pub mod topic;

pub use kind::Kind;
pub use topic::TopicConfig;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    /// `None`: it has no value until one is given.
    pub default: Option<&'static str>,
    pub kind: Kind,
    /// What it does here; empty: nothing.
    pub does: &'static str,
}

/// What DescribeConfigs says of a setting that does nothing.
pub const DOES_NOTHING: &str = "Kept and listed. It is about machinery that does not exist here and changes nothing.";

impl Definition {
    const fn kept(name: &'static str, default: Option<&'static str>, kind: Kind) -> Definition {
        Definition { name, default, kind, does: "" }
    }

    const fn new(name: &'static str, default: Option<&'static str>, kind: Kind, does: &'static str) -> Definition {
        Definition { name, default, kind, does }
    }

    /// For people.
    pub fn documentation(&self) -> &'static str {
        if self.does.is_empty() { DOES_NOTHING } else { self.does }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self.kind.takes(value) {
            true => Ok(()),
            false => Err(format!("Invalid value {value} for configuration {}: it takes {}", self.name, self.kind)),
        }
    }
}

/// The definition of that name in a table that is sorted by name.
fn named(table: &'static [Definition], name: &str) -> Option<&'static Definition> {
    table.binary_search_by(|definition| definition.name.cmp(name)).ok().map(|at| &table[at])
}
