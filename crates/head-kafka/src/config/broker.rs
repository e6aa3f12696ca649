// SPDX-License-Identifier: Apache-2.0
//! The broker's settings: what is fixed at its start, what may be changed, and for whom.
//!
//! Owns: which of them act and how, the values that this node's own settings give them. Must not know: where changed values are kept
//! (`coordinator/configs.rs`), how the node was told its settings.
//!
//! A value that was given while the broker runs wins over the node's own, as in Apache Kafka: for this broker, for every broker (the
//! resource without a name), then the node's, then the default. What no table names is taken as it comes, for plug-ins would read it;
//! it is never shown again, for it might be a secret.

pub use super::broker_table::TABLE;
use super::change::Wrong;
use super::{DOES_NOTHING, Definition, Kind};
use crate::Settings;
use crate::wire::ErrorCode;
use std::collections::BTreeMap;

/// Where a setting may be changed while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nowhere.
    ReadOnly,
    /// For a broker by its id.
    PerBroker,
    /// For a broker, and for all of them.
    ClusterWide,
}

/// The definition of that name.
pub fn find(name: &str) -> Option<&'static (Definition, Mode)> {
    TABLE.binary_search_by(|(definition, _)| definition.name.cmp(name)).ok().map(|at| &TABLE[at])
}

/// The definition of a setting that is to be changed, for one broker or for all; `None`: one that is taken as it comes.
///
/// # Errors
/// It cannot be changed (there): the number for it, and a line for people.
pub fn find_changeable(name: &str, for_all: bool) -> Result<Option<&'static Definition>, Wrong> {
    let refuse = |message: String| Err((ErrorCode::InvalidRequest, message));
    match find(name) {
        None => Ok(None),
        Some((_, Mode::ReadOnly)) => refuse(format!("Cannot update these configs dynamically: {name}")),
        Some((_, Mode::PerBroker)) if for_all => {
            refuse(format!("Cannot update these configs at default cluster level: {name}"))
        }
        Some((Definition { kind: Kind::Password, .. }, _)) => {
            refuse(format!("Secrets are not kept here, for nothing uses them yet: {name}"))
        }
        Some((definition, _)) => Ok(Some(definition)),
    }
}

/// What the settings do that do something: most of them are the node's own under another name.
pub const DOES: &[(&str, &str)] = &[
    ("advertised.listeners", "Acts. The node's kafka.advertise, or the address that the client came to."),
    ("auto.create.topics.enable", "Acts. The node's kafka.auto_create_topics."),
    ("broker.id", "Acts. This node's number."),
    ("connections.max.idle.ms", "Acts. The node's kafka.idle_ms_max."),
    ("default.replication.factor", "Acts. There is one copy, on this node."),
    ("fetch.max.bytes", "Acts. The node's kafka.fetch_bytes_max."),
    ("group.initial.rebalance.delay.ms", "Acts. A new group never waits for more members."),
    ("group.max.session.timeout.ms", "Acts. The node's kafka.group_session_timeout_ms_max."),
    ("group.max.size", "Acts. The node's kafka.group_members_max."),
    ("group.min.session.timeout.ms", "Acts. The node's kafka.group_session_timeout_ms_min."),
    ("listeners", "Acts. The node's kafka.bind, or its [[kafka.listener]] tables."),
    ("log.dirs", "Acts. The node's data_dir."),
    ("log.retention.bytes", "Acts. The retention.bytes of every topic that was given none."),
    ("log.retention.check.interval.ms", "Acts. The node's retention.check_ms."),
    ("log.retention.ms", "Acts. The retention.ms of every topic that was given none."),
    ("max.connections", "The node's kafka.connections_max acts; a value given while it runs does not."),
    (
        "max.connections.per.ip",
        "The node's kafka.connections_per_address_max acts; a value given while it runs does not.",
    ),
    ("message.max.bytes", "Acts. The max.message.bytes of every topic that was given none; at most 16 MiB."),
    ("node.id", "Acts. This node's number."),
    ("num.partitions", "Acts. The node's kafka.default_partitions."),
    ("offset.metadata.max.bytes", "Acts. The node's kafka.offset_metadata_bytes_max."),
    ("offsets.retention.check.interval.ms", "Acts. The node's kafka.offsets_check_ms."),
    ("offsets.retention.minutes", "Acts. The node's kafka.offsets_retention_ms."),
    ("producer.id.expiration.ms", "The node's producer.expiry_ms acts; a value given while it runs does not."),
    ("socket.request.max.bytes", "Acts. The node's kafka.request_bytes_max."),
];

/// What a setting does, for people.
pub fn documentation(name: &str) -> &'static str {
    DOES.iter().find(|row| row.0 == name).map_or(DOES_NOTHING, |row| row.1)
}

/// The values that this node's own settings give, by name.
pub fn values_of(settings: &Settings) -> BTreeMap<&str, String> {
    let address = format!("PLAINTEXT://{}:{}", settings.advertised_host, settings.advertised_port);
    let mut values: BTreeMap<&str, String> = BTreeMap::new();
    values.insert("advertised.listeners", address.clone());
    values.insert("listeners", address);
    values.insert("auto.create.topics.enable", settings.auto_create_topics.to_string());
    values.insert("broker.id", settings.node_id.to_string());
    values.insert("connections.max.idle.ms", settings.idle_ms_max.to_string());
    values.insert("default.replication.factor", "1".to_owned());
    values.insert("fetch.max.bytes", settings.fetch_bytes_max.to_string());
    values.insert("log.dir", settings.log_dir.to_string());
    values.insert("log.dirs", settings.log_dir.to_string());
    values.insert("node.id", settings.node_id.to_string());
    values.insert("num.partitions", settings.default_partitions.to_string());
    values.insert("process.roles", "broker,controller".to_owned());
    values.insert("socket.request.max.bytes", settings.request_bytes_max.to_string());
    // What only the driver knows comes last and wins.
    values.extend(settings.broker_config.iter().map(|(name, value)| (&**name, value.to_string())));
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_is_taken() {
        assert!(TABLE.is_sorted_by(|a, b| a.0.name < b.0.name));
        for (definition, mode) in TABLE {
            if let (Some(default), false) = (definition.default, *mode == Mode::ReadOnly) {
                assert_eq!(definition.check(default), Ok(()));
            }
        }
        assert!(DOES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(DOES.iter().all(|(name, _)| find(name).is_some()));
        assert!(values_of(&Settings::default()).keys().all(|name| find(name).is_some()));
    }

    #[test]
    fn what_is_fixed_or_secret_is_not_changed() {
        let code = |name, for_all| find_changeable(name, for_all).map(|_| ()).map_err(|(code, _)| code.number());
        assert_eq!(code("advertised.listeners", false), Err(42));
        assert_eq!(code("listeners", false), Err(42));
        assert_eq!(code("ssl.keystore.password", false), Err(42));
        assert_eq!(code("sasl.kerberos.min.time.before.relogin", false), Ok(()));
        assert_eq!(code("sasl.kerberos.min.time.before.relogin", true), Err(42));
        assert_eq!(code("background.threads", true), Ok(()));
        assert_eq!(code("a.plug.in", false), Ok(()));
    }
}
