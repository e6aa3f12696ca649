// SPDX-License-Identifier: Apache-2.0
//! The topic settings that the protocol's users know, by the protocol's names, with its defaults.
//!
//! Owns: the table, the check of values, and what of them this head acts upon itself. Must not know: the kernel.
//!
//! All names of Apache Kafka 4.3 are taken and kept, so that tools which set and read them work. Those that act are marked in
//! the table; the others describe machinery that does not exist here (segment files, replication, tiering) and change nothing.
//! A value that would promise what is not done is refused: `remote.storage.enable=true`.

use model::limits::BATCH_BYTES_MAX;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A whole number within these bounds.
    Number(i64, i64),
    /// A fraction from 0 to 1.
    Fraction,
    Bool,
    OneOf(&'static [&'static str]),
    /// One or more of them, separated by commas.
    ListOf(&'static [&'static str]),
    Anything,
}

const LONG: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;

/// Name, default, values. Sorted by name.
const TABLE: &[(&str, &str, Kind)] = &[
    // Acts: without `delete`, retention does not. (Compaction itself is not done yet: all records are kept.)
    ("cleanup.policy", "delete", Kind::ListOf(&["compact", "delete"])),
    ("compression.gzip.level", "-1", Kind::Number(-1, 9)),
    ("compression.lz4.level", "9", Kind::Number(1, 17)),
    // Batches are kept as they come, whatever this says.
    ("compression.type", "producer", Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"])),
    ("compression.zstd.level", "3", Kind::Number(-131_072, 22)),
    ("delete.retention.ms", "86400000", Kind::Number(0, LONG)),
    ("file.delete.delay.ms", "60000", Kind::Number(0, LONG)),
    ("flush.messages", "9223372036854775807", Kind::Number(1, LONG)),
    ("flush.ms", "9223372036854775807", Kind::Number(0, LONG)),
    ("follower.replication.throttled.replicas", "", Kind::Anything),
    ("index.interval.bytes", "4096", Kind::Number(0, INT)),
    ("leader.replication.throttled.replicas", "", Kind::Anything),
    ("local.retention.bytes", "-2", Kind::Number(-2, LONG)),
    ("local.retention.ms", "-2", Kind::Number(-2, LONG)),
    ("max.compaction.lag.ms", "9223372036854775807", Kind::Number(1, LONG)),
    // Acts. Bounded by the largest batch there can be.
    ("max.message.bytes", "1048588", Kind::Number(0, BATCH_BYTES_MAX as i64)),
    // The next three act.
    ("message.timestamp.after.max.ms", "3600000", Kind::Number(0, LONG)),
    ("message.timestamp.before.max.ms", "9223372036854775807", Kind::Number(0, LONG)),
    ("message.timestamp.type", "CreateTime", Kind::OneOf(&["CreateTime", "LogAppendTime"])),
    ("min.cleanable.dirty.ratio", "0.5", Kind::Fraction),
    ("min.compaction.lag.ms", "0", Kind::Number(0, LONG)),
    ("min.insync.replicas", "1", Kind::Number(1, INT)),
    ("preallocate", "false", Kind::Bool),
    ("remote.log.copy.disable", "false", Kind::Bool),
    ("remote.log.delete.on.disable", "false", Kind::Bool),
    // There is no second tier.
    ("remote.storage.enable", "false", Kind::OneOf(&["false"])),
    // The next two act.
    ("retention.bytes", "-1", Kind::Number(-1, LONG)),
    ("retention.ms", "604800000", Kind::Number(-1, LONG)),
    ("segment.bytes", "1073741824", Kind::Number(1_048_576, INT)),
    ("segment.index.bytes", "10485760", Kind::Number(4, INT)),
    ("segment.jitter.ms", "0", Kind::Number(0, LONG)),
    ("segment.ms", "604800000", Kind::Number(1, LONG)),
    ("unclean.leader.election.enable", "false", Kind::Bool),
];

impl Kind {
    fn takes(self, value: &str) -> bool {
        match self {
            Kind::Number(min, max) => value.trim().parse::<i64>().is_ok_and(|number| (min..=max).contains(&number)),
            Kind::Fraction => value.trim().parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number)),
            Kind::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::OneOf(words) => words.contains(&value),
            Kind::ListOf(words) => value.split(',').all(|word| words.contains(&word.trim())),
            Kind::Anything => true,
        }
    }
}

/// The settings of one topic that were given, checked: names and values, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    given: Arc<[(Arc<str>, Arc<str>)]>,
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
            let Some((_, _, kind)) = TABLE.iter().find(|row| row.0 == name) else {
                return Err(format!("Unknown topic config name: {name}"));
            };
            if !kind.takes(value) {
                return Err(format!("Invalid value {value} for configuration {name}: it takes {kind}"));
            }
            checked.insert(Arc::from(name), Arc::from(value));
        }
        Ok(TopicConfig { given: checked.into_iter().collect() })
    }

    /// Nothing given: every setting has its default.
    pub fn none() -> TopicConfig {
        TopicConfig { given: Arc::from([]) }
    }

    /// Settings that were checked when they were stored.
    pub fn stored(stored: &Arc<[(Arc<str>, Arc<str>)]>) -> TopicConfig {
        TopicConfig { given: stored.clone() }
    }

    /// What was given.
    pub fn given(&self) -> &Arc<[(Arc<str>, Arc<str>)]> {
        &self.given
    }

    /// Every setting with the value it has, and whether that is the default.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, bool)> {
        TABLE.iter().map(|(name, default, _)| match self.find(name) {
            Some(value) => (*name, value, false),
            None => (*name, *default, true),
        })
    }

    fn find(&self, name: &str) -> Option<&str> {
        let at = self.given.binary_search_by(|(given, _)| (**given).cmp(name)).ok()?;
        Some(&self.given[at].1)
    }

    fn value(&self, name: &str) -> &str {
        let default = || TABLE.iter().find(|row| row.0 == name).map_or("", |row| row.1);
        self.find(name).unwrap_or_else(default)
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name).trim().parse().unwrap_or(-1)
    }

    fn has_policy(&self, policy: &str) -> bool {
        self.value("cleanup.policy").split(',').any(|word| word.trim() == policy)
    }

    /// Records are kept by key: every record needs one.
    pub fn is_compacted(&self) -> bool {
        self.has_policy("compact")
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
        self.value("message.timestamp.type") == "LogAppendTime"
    }

    /// How far a client's time stamp may be from the broker's clock: (in the past, in the future), in milliseconds.
    pub fn timestamp_window_ms(&self) -> (i64, i64) {
        (self.number("message.timestamp.before.max.ms"), self.number("message.timestamp.after.max.ms"))
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Number(min, LONG) => write!(f, "a whole number from {min}"),
            Kind::Number(min, max) => write!(f, "a whole number from {min} to {max}"),
            Kind::Fraction => f.write_str("a fraction from 0 to 1"),
            Kind::Bool => f.write_str("true or false"),
            Kind::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Kind::ListOf(words) => write!(f, "a list of {}", words.join(", ")),
            Kind::Anything => f.write_str("anything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::check([(name, Some(value))].into_iter())
    }

    #[test]
    fn every_default_is_a_value_that_is_taken() {
        for (name, default, _) in TABLE.iter() {
            assert!(check(name, default).is_ok(), "{name}");
        }
        assert!(TABLE.iter().zip(TABLE.iter().skip(1)).all(|(a, b)| a.0 < b.0), "sorted");
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
        assert!(config.all().any(|row| row == ("retention.ms", "5", false)));
        assert!(config.all().any(|row| row == ("retention.bytes", "-1", true)));
    }
}
