// SPDX-License-Identifier: Apache-2.0
//! The settings of groups. None of them acts: they are about kinds of group that do not exist here yet (consumer groups of the newer
//! protocol, share groups, streams groups). They are kept, so that tools which set and read them work. Their bounds are the defaults of the
//! broker's settings that bound them there.

use super::change::Wrong;
use super::kind::INT;
use super::{Definition, Kind, named};
use crate::wire::ErrorCode;

/// Every setting of a group, sorted by name.
pub const TABLE: &[Definition] = &[
    Definition::kept("consumer.assignment.interval.ms", Some("1000"), Kind::Int(0, 15_000)),
    Definition::kept("consumer.heartbeat.interval.ms", Some("5000"), Kind::Int(5_000, 15_000)),
    Definition::kept("consumer.session.timeout.ms", Some("45000"), Kind::Int(45_000, 60_000)),
    Definition::kept("share.assignment.interval.ms", Some("1000"), Kind::Int(0, 15_000)),
    Definition::kept("share.auto.offset.reset", Some("latest"), Kind::OffsetReset),
    Definition::kept("share.delivery.count.limit", Some("5"), Kind::Int(2, 10)),
    Definition::kept("share.heartbeat.interval.ms", Some("5000"), Kind::Int(5_000, 15_000)),
    Definition::kept(
        "share.isolation.level",
        Some("read_uncommitted"),
        Kind::OneOf(&["read_committed", "read_uncommitted"]),
    ),
    Definition::kept("share.partition.max.record.locks", Some("2000"), Kind::Int(100, 4_000)),
    Definition::kept("share.record.lock.duration.ms", Some("30000"), Kind::Int(15_000, 60_000)),
    Definition::kept("share.renew.acknowledge.enable", Some("true"), Kind::Bool),
    Definition::kept("share.session.timeout.ms", Some("45000"), Kind::Int(45_000, 60_000)),
    Definition::kept("streams.assignment.interval.ms", Some("1000"), Kind::Int(0, 15_000)),
    Definition::kept("streams.heartbeat.interval.ms", Some("5000"), Kind::Int(5_000, 15_000)),
    Definition::kept("streams.initial.rebalance.delay.ms", Some("3000"), Kind::Int(0, INT)),
    Definition::kept("streams.num.standby.replicas", Some("0"), Kind::Int(0, 2)),
    Definition::kept("streams.session.timeout.ms", Some("45000"), Kind::Int(45_000, 60_000)),
];

/// The definition of that name.
///
/// # Errors
/// There is none: the number for it, and a line for people.
pub fn find(name: &str) -> Result<Option<&'static Definition>, Wrong> {
    match named(TABLE, name) {
        Some(definition) => Ok(Some(definition)),
        None => Err((ErrorCode::InvalidConfig, format!("Unknown group config name: {name}"))),
    }
}

/// The broker's setting that is the default of a group's: `group.` and its name, where there is one.
pub fn broker_name(name: &str) -> Option<&'static str> {
    const NONE: [&str; 3] = ["share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable"];
    let name = (!NONE.contains(&name)).then(|| format!("group.{name}"))?;
    super::broker::find(&name).map(|(definition, _)| definition.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_is_taken_and_the_brokers() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for definition in TABLE {
            let default = definition.default.expect("every group setting has a default");
            assert_eq!(definition.check(default), Ok(()));
            if let Some(name) = broker_name(definition.name) {
                let (broker, _) = crate::config::broker::find(name).expect("the broker's");
                assert_eq!(broker.default, definition.default, "{name}");
            }
        }
        assert_eq!(TABLE.iter().filter(|definition| broker_name(definition.name).is_none()).count(), 3);
        assert_eq!(find("retention.ms").unwrap_err().0.number(), 40);
    }
}
