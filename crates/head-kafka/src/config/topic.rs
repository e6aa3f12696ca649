// SPDX-License-Identifier: Apache-2.0
//! The settings of topics.
//!
//! Owns: the table, what values are together, and what of them this head acts upon itself. Must not know: the kernel.

use super::change::{Given, Rules, Wrong};
use super::kind::{INT, LONG, items};
use super::{Definition, Kind, named};
use crate::wire::ErrorCode;
use model::limits::BATCH_BYTES_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every setting of a topic, sorted by name.
pub const TABLE: &[Definition] = &[
    Definition::new(
        "cleanup.policy",
        Some("delete"),
        Kind::ListOf(&["compact", "delete"]),
        "Acts. Without delete, retention removes nothing. With compact every record needs a key, and of those with the same key the last is kept: the others go once they are stored (which is where they come from memory) and there are enough of them.",
    ),
    Definition::kept("compression.gzip.level", Some("-1"), Kind::GzipLevel),
    Definition::kept("compression.lz4.level", Some("9"), Kind::Int(1, 17)),
    Definition::new(
        "compression.type",
        Some("producer"),
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "Kept and listed. Batches are stored as their producer made them, whatever this says.",
    ),
    Definition::kept("compression.zstd.level", Some("3"), Kind::Int(-131_072, 22)),
    Definition::new(
        "delete.retention.ms",
        Some("86400000"),
        Kind::Long(0, LONG),
        "Acts. How long compaction keeps a record without value, after it found it to be the last of its key.",
    ),
    Definition::kept("file.delete.delay.ms", Some("60000"), Kind::Long(0, LONG)),
    Definition::kept("flush.messages", Some("9223372036854775807"), Kind::Long(1, LONG)),
    Definition::kept("flush.ms", Some("9223372036854775807"), Kind::Long(0, LONG)),
    Definition::kept("follower.replication.throttled.replicas", Some(""), Kind::Replicas),
    Definition::kept("index.interval.bytes", Some("4096"), Kind::Int(0, INT)),
    Definition::kept("leader.replication.throttled.replicas", Some(""), Kind::Replicas),
    Definition::kept("local.retention.bytes", Some("-2"), Kind::Long(-2, LONG)),
    Definition::kept("local.retention.ms", Some("-2"), Kind::Long(-2, LONG)),
    Definition::new(
        "max.compaction.lag.ms",
        Some("9223372036854775807"),
        Kind::Long(1, LONG),
        "Acts. A record older than this is compacted, however little there is to do.",
    ),
    Definition::new(
        "max.message.bytes",
        Some("1048588"),
        Kind::Int(0, BATCH_BYTES_MAX as i64),
        "Acts. Largest batch of records; at most 16 MiB.",
    ),
    Definition::new(
        "message.timestamp.after.max.ms",
        Some("3600000"),
        Kind::Long(0, LONG),
        "Acts. How far ahead of the broker's clock a record's time may be.",
    ),
    Definition::new(
        "message.timestamp.before.max.ms",
        Some("9223372036854775807"),
        Kind::Long(0, LONG),
        "Acts. How far behind the broker's clock a record's time may be.",
    ),
    Definition::new(
        "message.timestamp.type",
        Some("CreateTime"),
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        "Acts. Whose clock stamps the records: the producer's or the broker's.",
    ),
    Definition::new(
        "min.cleanable.dirty.ratio",
        Some("0.5"),
        Kind::Double(0.0, 1.0),
        "Acts. The part of the stored bytes that must be new since the last compaction for the next to be worth while.",
    ),
    Definition::new(
        "min.compaction.lag.ms",
        Some("0"),
        Kind::Long(0, LONG),
        "Acts. A record younger than this is not compacted away.",
    ),
    Definition::kept("min.insync.replicas", Some("1"), Kind::Int(1, INT)),
    Definition::kept("preallocate", Some("false"), Kind::Bool),
    Definition::kept("remote.log.copy.disable", Some("false"), Kind::Bool),
    Definition::kept("remote.log.delete.on.disable", Some("false"), Kind::Bool),
    Definition::new(
        "remote.storage.enable",
        Some("false"),
        Kind::Bool,
        "true is refused, as by a broker without a second tier.",
    ),
    Definition::new(
        "retention.bytes",
        Some("-1"),
        Kind::Long(i64::MIN, LONG),
        "Acts. The oldest records of a partition beyond this size are removed; below 0: never for their size.",
    ),
    Definition::new(
        "retention.ms",
        Some("604800000"),
        Kind::Long(-1, LONG),
        "Acts. Records older than this are removed; -1: never for their age.",
    ),
    Definition::kept("segment.bytes", Some("1073741824"), Kind::Int(1_048_576, INT)),
    Definition::kept("segment.index.bytes", Some("10485760"), Kind::Int(4, INT)),
    Definition::kept("segment.jitter.ms", Some("0"), Kind::Long(0, LONG)),
    Definition::new(
        "segment.ms",
        Some("604800000"),
        Kind::Long(1, LONG),
        "Acts on compacted topics only: what is older than this leaves memory, so that it can be compacted.",
    ),
    Definition::kept("unclean.leader.election.enable", Some("false"), Kind::Bool),
];

/// The definition of that name.
///
/// # Errors
/// There is none: the number for it, and a line for people.
pub fn find(name: &str) -> Result<Option<&'static Definition>, Wrong> {
    match named(TABLE, name) {
        Some(definition) => Ok(Some(definition)),
        None => Err((ErrorCode::InvalidConfig, format!("Unknown topic config name: {name}"))),
    }
}

type Find = fn(&str) -> Result<Option<&'static Definition>, Wrong>;

/// How topics' settings change.
pub const RULES: Rules<Find> = Rules { find, wrong_value: ErrorCode::InvalidConfig };

/// The broker's setting that is the default of a topic's, where it has one.
pub fn broker_name(name: &str) -> Option<&'static str> {
    BROKER_NAMES.iter().find(|row| row.0 == name).map(|row| row.1)
}

const BROKER_NAMES: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("preallocate", "log.preallocate"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// Where a value comes from, by the protocol's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic = 1,
    Broker = 2,
    AllBrokers = 3,
    Default = 5,
}

/// The topics' settings whose default is the broker's to give: what the kernel acts upon of them.
pub const BROKERS: [&str; 3] = ["max.message.bytes", "retention.bytes", "retention.ms"];

/// The defaults that were given to the broker while it runs, by the topics' names for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults(Arc<BTreeMap<&'static str, (Arc<str>, Source)>>);

impl Defaults {
    /// `broker` and `all_brokers` know the values that were given, by the broker's names.
    pub fn of<'a>(broker: impl Fn(&str) -> Option<&'a str>, all_brokers: impl Fn(&str) -> Option<&'a str>) -> Defaults {
        let given = |name: &str| {
            let name = broker_name(name)?;
            let for_all = || all_brokers(name).map(|value| (Arc::from(value), Source::AllBrokers));
            broker(name).map(|value| (Arc::from(value), Source::Broker)).or_else(for_all)
        };
        Defaults(Arc::new(BROKERS.into_iter().filter_map(|name| Some((name, given(name)?))).collect()))
    }

    /// Whether a change of this setting of the broker's changes them.
    pub fn are_changed_by(broker_setting: &str) -> bool {
        BROKERS.iter().any(|name| broker_name(name) == Some(broker_setting))
    }
}

/// The settings of one topic that were given, checked: names and values, sorted by name; and the defaults of those that were not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    given: Arc<[(Arc<str>, Arc<str>)]>,
    defaults: Defaults,
}

impl TopicConfig {
    /// Takes names and values as a request gives them.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check<'a>(given: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Result<TopicConfig, String> {
        let mut checked = BTreeMap::new();
        for (name, value) in given {
            let Some(value) = value else {
                return Err(format!("Null value not supported for topic configs: {name}"));
            };
            let definition = find(name).map_err(|(_, message)| message)?;
            if let Some(definition) = definition {
                definition.check(value)?;
            }
            checked.insert(Arc::from(name), Arc::from(value));
        }
        TopicConfig::of(&checked)
    }

    /// Takes values that were each checked, and looks at what they are together.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn of(given: &Given) -> Result<TopicConfig, String> {
        let given = given.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let config = TopicConfig { given, defaults: Defaults::default() };
        if config.value("remote.storage.enable").trim().eq_ignore_ascii_case("true") {
            return Err(
                "Tiered storage functionality is disabled in the broker: remote.storage.enable stays false".into()
            );
        }
        let (min_ms, max_ms) = (config.number("min.compaction.lag.ms"), config.number("max.compaction.lag.ms"));
        if min_ms > max_ms {
            return Err(format!("min.compaction.lag.ms is {min_ms}, beyond max.compaction.lag.ms, which is {max_ms}"));
        }
        Ok(config)
    }

    /// Nothing given: every setting has its default.
    pub fn none() -> TopicConfig {
        TopicConfig { given: Arc::from([]), defaults: Defaults::default() }
    }

    /// Settings that were checked when they were stored.
    pub fn stored(stored: &Arc<[(Arc<str>, Arc<str>)]>) -> TopicConfig {
        TopicConfig { given: stored.clone(), defaults: Defaults::default() }
    }

    /// The same under these defaults.
    pub fn under(self, defaults: &Defaults) -> TopicConfig {
        TopicConfig { defaults: defaults.clone(), ..self }
    }

    /// What was given.
    pub fn given(&self) -> &Arc<[(Arc<str>, Arc<str>)]> {
        &self.given
    }

    /// Every setting with the value it has, and where that comes from.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, Source)> {
        TABLE.iter().map(|definition| match (self.given_value(definition.name), self.defaults.0.get(definition.name)) {
            (Some(value), _) => (definition.name, value, Source::Topic),
            (None, Some((value, source))) => (definition.name, &**value, *source),
            (None, None) => (definition.name, definition.default.unwrap_or(""), Source::Default),
        })
    }

    /// The value that was given for that name.
    pub fn given_value(&self, name: &str) -> Option<&str> {
        let at = self.given.binary_search_by(|(given, _)| (**given).cmp(name)).ok()?;
        Some(&self.given[at].1)
    }

    fn value(&self, name: &str) -> &str {
        let default = || named(TABLE, name).and_then(|definition| definition.default).unwrap_or("");
        let brokers = || self.defaults.0.get(name).map(|(value, _)| &**value);
        self.given_value(name).or_else(brokers).unwrap_or_else(default)
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name).trim().parse().unwrap_or(-1)
    }

    fn has_policy(&self, policy: &str) -> bool {
        items(self.value("cleanup.policy")).any(|word| word == policy)
    }

    /// Records are kept by key: every record needs one.
    pub fn is_compacted(&self) -> bool {
        self.has_policy("compact")
    }

    /// Between these ages (milliseconds) a record may be compacted away; at the second it is looked at.
    pub fn compaction_lag_ms(&self) -> (u64, u64) {
        let ms = |name: &str| u64::try_from(self.number(name)).unwrap_or(0);
        (ms("min.compaction.lag.ms"), ms("max.compaction.lag.ms"))
    }

    /// How long a record may rest where it is not compacted yet.
    pub fn segment_ms(&self) -> u64 {
        u64::try_from(self.number("segment.ms")).unwrap_or(0)
    }

    /// How long a record without value is kept as the last of its key.
    pub fn delete_retention_ms(&self) -> u64 {
        u64::try_from(self.number("delete.retention.ms")).unwrap_or(0)
    }

    /// Thousandths of the stored bytes that must not have been compacted yet.
    pub fn dirty_permille_min(&self) -> u32 {
        let ratio: f64 = self.value("min.cleanable.dirty.ratio").trim().parse().unwrap_or(0.5);
        (ratio.clamp(0.0, 1.0) * 1000.0) as u32
    }

    /// How long records are kept; `None`: for ever.
    pub fn retention_ms(&self) -> Option<u64> {
        self.has_policy("delete").then(|| u64::try_from(self.number("retention.ms")).ok()).flatten()
    }

    /// How many bytes of a partition are kept; `None`: all.
    pub fn retention_bytes(&self) -> Option<u64> {
        self.has_policy("delete").then(|| u64::try_from(self.number("retention.bytes")).ok()).flatten()
    }

    /// Largest batch.
    pub fn batch_bytes_max(&self) -> u32 {
        u32::try_from(self.number("max.message.bytes")).unwrap_or(0)
    }

    /// The broker's clock stamps the batches.
    pub fn has_log_append_time(&self) -> bool {
        self.value("message.timestamp.type").trim() == "LogAppendTime"
    }

    /// How far a client's time stamp may be from the broker's clock: (in the past, in the future), in milliseconds.
    pub fn timestamp_window_ms(&self) -> (i64, i64) {
        (self.number("message.timestamp.before.max.ms"), self.number("message.timestamp.after.max.ms"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker;

    fn check(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::check([(name, Some(value))].into_iter())
    }

    #[test]
    fn every_default_is_a_value_that_is_taken() {
        for definition in TABLE {
            let default = definition.default.expect("every topic setting has a default");
            assert!(check(definition.name, default).is_ok(), "{}", definition.name);
        }
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for (name, broker_name) in BROKER_NAMES {
            assert!(named(TABLE, name).is_some() && broker::find(broker_name).is_some(), "{name} {broker_name}");
        }
    }

    #[test]
    fn what_is_unknown_or_wrong_is_named() {
        assert_eq!(check("retention.md", "1").unwrap_err(), "Unknown topic config name: retention.md");
        assert_eq!(
            check("retention.ms", "soon").unwrap_err(),
            "Invalid value soon for configuration retention.ms: it takes a whole number from -1"
        );
        assert!(check("cleanup.policy", "delete,shred").is_err());
        assert!(check("remote.storage.enable", "true").is_err(), "there is no second tier");
        assert!(check("max.message.bytes", "99999999").is_err(), "no batch can be that large");
        assert!(check("segment.bytes", "1024").is_err());
        let lags = [("min.compaction.lag.ms", Some("9")), ("max.compaction.lag.ms", Some("5"))];
        assert!(TopicConfig::check(lags.into_iter()).is_err(), "together they make no sense");
        assert!(TopicConfig::check([("retention.ms", None)].into_iter()).unwrap_err().starts_with("Null value"));
    }

    #[test]
    fn retention_acts_only_where_records_are_deleted() {
        let default = TopicConfig::none();
        assert_eq!((default.retention_ms(), default.retention_bytes()), (Some(604_800_000), None));
        assert_eq!(check("retention.ms", "-1").unwrap().retention_ms(), None);
        assert_eq!(check("cleanup.policy", "compact").unwrap().retention_ms(), None);
        let both = check("cleanup.policy", "compact, delete").unwrap();
        assert!(both.is_compacted());
        assert_eq!(both.retention_ms(), Some(604_800_000));
    }

    #[test]
    fn all_settings_are_listed_with_where_they_come_from() {
        let config = check("retention.ms", "5").unwrap();
        assert_eq!(config.all().count(), 33);
        assert!(config.all().any(|row| row == ("retention.ms", "5", Source::Topic)));
        assert!(config.all().any(|row| row == ("retention.bytes", "-1", Source::Default)));
    }

    #[test]
    fn what_was_given_to_the_broker_is_the_default_of_what_was_not_given_to_the_topic() {
        let broker = |name: &str| (name == "log.retention.bytes").then_some("7");
        let all_brokers = |name: &str| match name {
            "log.retention.bytes" => Some("8"),
            "log.retention.ms" => Some("9"),
            "log.cleanup.policy" => Some("compact"),
            _ => None,
        };
        let defaults = Defaults::of(broker, all_brokers);
        let config = TopicConfig::none().under(&defaults);
        assert_eq!((config.retention_bytes(), config.retention_ms()), (Some(7), Some(9)));
        assert!(!config.is_compacted(), "not one of those");
        assert!(config.all().any(|row| row == ("retention.bytes", "7", Source::Broker)));
        assert!(config.all().any(|row| row == ("retention.ms", "9", Source::AllBrokers)));
        let config = check("retention.ms", "5").unwrap().under(&defaults);
        assert_eq!(config.retention_ms(), Some(5));
        assert!(Defaults::are_changed_by("message.max.bytes") && !Defaults::are_changed_by("log.cleanup.policy"));
    }
}
